"""What the demo's models can do -> sections of its report: detection, sentiment, the built artefact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from electra.recipes.page import clock, escape, figure, section, table, verdict
from electra.recipes.pictures import bars, dots, exchanged, heat_map, pairs, scale, suspicion

NOT_HELPED = (
    "<p class=soft>Pre-training did not help here: minutes on technical text say little of what people like. An hour of "
    "<code>electra pretrain mini</code> on other text does (README).</p>"
)
AS_IT_COMES = (
    "<p class=soft>The last line is <code>shipped:sentiment</code>, which never saw the held-out texts: the same model as in the line above, "
    "fine-tuned on SST-2's 67,349 phrases of film reviews.</p>"
)
NAMES = {
    "tfidf": "TF-IDF + logistic regression",
    "random": "same network, random weights",
    "pretrained": "pre-trained here, fine-tuned",
    "shipped": "electra's own model, fine-tuned",
    "classifier": "electra's own classifier, as it comes",
}
"""What is compared, and how the report calls it."""


def detection(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence token by token as it was and with a word exchanged, all of them as dots, and the workflow on one of them."""
    told, corruption = found["detect"]["pairs"], found["detect"]["corruption"]
    rows = []
    for pair in told:
        start, word, other = exchanged(pair)
        rows.append((word, suspicion(pair["original"], start, word), other, suspicion(pair["changed"], start, other)))
    clearest = max(range(len(told)), key=lambda i: rows[i][3] - rows[i][1])
    first, second, shown = rows[clearest][1], rows[clearest][3], told[clearest]
    start, word, other = exchanged(shown)
    won, num = sum(row[3] > row[1] for row in rows), len(told)
    table_rows = []
    for item in corruption["replacements"]:
        proposals = ", ".join(f"{escape(p['token'])} <small>{p['probability']:.2f}</small>" for p in item["proposals"][:4])
        said = f"{'replaced' if item['verdict'] else 'original'} <small>{item['probability']:.2f}</small>"
        table_rows.append((escape(item["original"]), proposals, escape(item["sampled"]), said, verdict(item["verdict"] == item["changed"])))
    changed = [(item["start"], item["end"]) for item in _spans(corruption)]
    seen = sum(item["verdict"] == item["changed"] for item in corruption["replacements"])
    return section(
        "4. Detection",
        "<p>The discriminator reads a sentence and says of every token how likely it is that someone put it there. Here one word was exchanged by "
        "hand; of the six sentences tried, this is the one where it was seen most clearly.</p>" + scale(),
        figure(
            heat_map(shown["original"], [(start, start + len(word))]) + heat_map(shown["changed"], [(start, start + len(other))]),
            f"Above the sentence as it was, below with '{escape(other)}' for '{escape(word)}': {first:.2f} became {second:.2f}.",
        ),
        "<h3>All six</h3>",
        figure(
            pairs(rows),
            "The probability of 'replaced' for <span class=one>the word that belongs there</span> and for <span class=two>the one put in its "
            f"place</span>: in {won} of {num} the second is the more suspicious one.",
        ),
        f"<h3>The whole workflow on one sentence</h3><p class=quote>{escape(corruption['masked'])}</p>",
        table(("original", "generator proposes", "drawn", "discriminator says", "right?"), table_rows),
        figure(
            heat_map(corruption["corrupted"], changed),
            f"What the generator drew is underlined; of these {len(table_rows)} places the discriminator judged {seen} rightly.",
        ),
    )


def _spans(corruption: Mapping[str, Any]) -> list[dict[str, int]]:
    """Where the drawn tokens stand in the corrupted text: tokens of both sides correspond, so by their number."""
    tokens = corruption["corrupted"]["tokens"]
    return [tokens[item["index"]] for item in corruption["replacements"] if item.get("index", len(tokens)) < len(tokens)]


def sentiment(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracies with their standard error beside what is reached without pre-training or without a network; predictions."""
    scores = found["sentiment"]
    rows = [(said, scores[name], name in ("pretrained", "shipped")) for name, said in NAMES.items() if scores.get(name) is not None]
    error = math.sqrt(0.25 / scores["num_dev"])
    low = math.floor(10 * (min(scores["majority"], *(score for _, score, _ in rows)) - error)) / 10
    gap = scores["pretrained"] - scores["tfidf"]
    said = []
    for answer in found["predict"]["answers"]:
        mark = "" if answer["expected"] is None else verdict(answer["label"] == answer["expected"])
        said.append((escape(answer["text"]), escape(answer["label"]), f"{answer['probability']:.2f}", mark))
    if abs(gap) <= error:
        sentence = "What was pre-trained here is level with counting words"
    else:
        sentence = f"What was pre-trained here is {abs(100 * gap):.1f} points {'above' if gap > 0 else 'below'} counting words"
    return section(
        "5. Sentiment",
        f"<p>Data: {escape(scores['source'])}; {scores['num_train']:,} texts to learn from in {scores['epochs']:g} epochs, {scores['num_dev']:,} "
        "held out.</p>",
        figure(
            dots(rows, error, (scores["majority"], f"one answer for all: {scores['majority']:.1%}"), max(0.0, low)),
            f"Held-out texts judged rightly, one run each. {sentence}; the lines are a standard error of {100 * error:.1f} points to both sides, "
            "so what overlaps is not told apart.",
        ),
        AS_IT_COMES if "classifier" in scores else "",
        "" if scores.get("random") is None or scores["pretrained"] > scores["random"] else NOT_HELPED,
        "<h3>Predictions</h3>",
        table(("text", "label", "probability", "right?"), said, numbers=(2,)),
    )


def built(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Size, time and accuracy of the checkpoint and of what was built from it; why not, where nothing was."""
    made = found.get("build")
    if made is None:
        return ""
    if "left_out" in made:
        return section("6. Deployment", f"<p class=soft>Left out: {escape(made['left_out'])}</p>")
    first, last = made["rows"][0], made["rows"][-1]
    speedup, lowest, highest = last["speedup"]
    rows = [
        (
            escape(row["name"]),
            f"{row['accuracy']:.1%}",
            "" if row["agreement"] is None else f"{row['agreement']:.1%}",
            "" if row["load_seconds"] is None else clock(row["load_seconds"]),
        )
        for row in made["rows"]
    ]
    pictures = (
        bars("size on disk", [(row["name"], row["size_bytes"], f"{row['size_bytes'] / 1e6:.1f} MB") for row in made["rows"]]),
        bars("one review, median", [(row["name"], row["p50_ms"], f"{row['p50_ms']:.2f} ms") for row in made["rows"]]),
    )
    return section(
        "6. Deployment",
        "<p>The classifier built into a folder that runs without PyTorch, weights and products in 8 bits; both measured in turns on the same "
        "cores.</p>",
        figure(
            f'<div class="charts">{"".join(pictures)}</div>',
            f"{last['size_bytes'] / first['size_bytes']:.0%} of the size; {speedup:.1f} times as fast (95% interval {lowest:.1f} to "
            f"{highest:.1f}, wide where the machine was busy); accuracy {100 * (last['accuracy'] - first['accuracy']):+.1f} points.",
        ),
        table(("implementation", "accuracy", "same answers", "time to open"), rows, numbers=(1, 2, 3)),
    )

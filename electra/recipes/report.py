"""What the demo found -> report.html: one file with everything in it, no scripts, no fonts or pictures from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.recipes import report_results
from electra.recipes.chart import Points, chart
from electra.recipes.page import bar, clock, escape, figure, section, table
from electra.recipes.pictures import journey

STYLE = Path(__file__).with_suffix(".css")
Found = Mapping[str, Mapping[str, Any]]
Lines = Sequence[Mapping[str, Any]]


def render(found: Found, curves: Lines, first: Lines = ()) -> str:
    """Results of the demo's steps by name (`electra.recipes.demo`), lines of the run's metrics.jsonl and its first stage's -> a whole HTML page."""
    body = "".join(
        (
            _text(found),
            _vocabulary(found),
            _pretraining(found, curves, first),
            report_results.detection(found),
            report_results.sentiment(found),
            report_results.built(found),
            _further(found),
            _timings(found),
        )
    )
    about = found["about"]
    also = " and the model that comes with electra" if "shipped" in found["sentiment"] else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>electra demo</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style></head><body><main>
<h1>From raw text to a language model and a classifier</h1>
<p class="soft">Made by <code>electra demo</code> {escape(about["version"])} on {escape(about["date"])}, {escape(about["machine"])}.
Everything below was made on this machine, from text that was already on it{also}, in {clock(_total(found))}.</p>
{_journey(found)}{body}
<p class="soft">The files behind this page are in <code>{escape(about["folder"])}</code>; each command above can be repeated by itself.</p>
</main></body></html>
"""


def _total(found: Found) -> float:
    return float(sum(step.get("seconds", 0.0) for step in found.values()))


def _classifier(scores: Mapping[str, Any]) -> tuple[str, str]:
    """The score of the classifier that answers, and what to compare it with."""
    words = f"counting words (TF-IDF) {scores['tfidf']:.1%}"
    if "shipped" not in scores:
        return f"{scores['pretrained']:.1%}", f"of held-out reviews right; {words}"
    return (
        f"{scores['shipped']:.1%}",
        f"of held-out reviews right, from electra's own model; from what was learned here {scores['pretrained']:.1%}, {words}",
    )


def _journey(found: Found) -> str:
    """The stations and what came out of each."""
    scores = found["sentiment"]
    stations = [
        ("text", f"{found['collect']['size_bytes'] / 1e6:.1f} MB", "English found in this Python installation"),
        ("vocabulary", f"{found['vocab']['size']:,} pieces", "learned from that text"),
        ("pre-training", f"{found['pretrain']['tokens'] / 1e6:.1f} M tokens", f"read in {clock(found['pretrain']['seconds'])}"),
        (
            "detector",
            f"AUC {found['evaluate']['metrics']['disc_auc']:.3f}",
            "telling replaced tokens from real ones in text it never saw; 0.5 is chance",
        ),
        ("classifier", *_classifier(scores)),
    ]
    if rows := found.get("build", {}).get("rows"):
        stations.append(("artefact", f"{rows[-1]['size_bytes'] / 1e6:.1f} MB", f"answers a review in {rows[-1]['p50_ms']:.2g} ms without PyTorch"))
    return journey(stations)


def _text(found: Found) -> str:
    text = found["collect"]
    return section(
        "1. Text",
        f"<p>{text['num_sentences']:,} sentences ({text['size_bytes'] / 1e6:.1f} MB) from {text['num_documents']:,} files: docstrings and manuals "
        "of the Python installation and its packages, without code, tables, licences and "
        f"{text['num_duplicates']:,} repeated sentences. For example:</p>",
        "".join(f'<p class="quote">{escape(sample)}</p>' for sample in text["samples"]),
    )


def _vocabulary(found: Found) -> str:
    vocabulary, shards = found["vocab"], found["prepare"]
    rows = []
    for text, pieces in vocabulary["examples"]:
        rows.append(f"<p>{escape(text)}<br>{''.join(f'<span class=piece>{escape(piece)}</span>' for piece in pieces)}</p>")
    return section(
        "2. Vocabulary and shards",
        f"<p>{vocabulary['size']:,} word pieces trained on that text; <code>##</code> marks a piece that continues a word. Words that the text "
        f"has often are whole, rare ones fall apart.</p>{''.join(rows)}",
        f"<p>{shards['train_tokens']:,} tokens to learn from, {shards['held_out_tokens']:,} tokens of other documents held out for measuring.</p>",
    )


# ---- pre-training ----


def _curves(lines: Lines, name: str) -> list[tuple[str, Points]]:
    """The training's curve of a metric, and the one on held-out text."""
    out: list[tuple[str, Points]] = []
    for said, kind in (("training", "train"), ("held out", "evaluation")):
        if points := [(line["step"], line[name]) for line in lines if line["kind"] == kind and name in line]:
            out.append((said, points))
    return out


def _from_to(curves: Sequence[tuple[str, Points]], digits: int = 2) -> str:
    """'from 8.21 to 4.30 on held-out text', of the last curve; the first finite value and the last."""
    if not curves:
        return ""
    values = [value for _, value in curves[-1][1] if math.isfinite(value)] or [math.nan]
    return f"from {values[0]:.{digits}f} to {values[-1]:.{digits}f}" + (" on held-out text" if curves[-1][0] == "held out" else "")


def _pretraining(found: Found, lines: Lines, first: Lines) -> str:
    run, metrics = found["pretrain"], found["evaluate"]["metrics"]
    guess = math.log(found["vocab"]["size"])
    alone, generator, loss, auc = (
        _curves(first, "masked_lm_loss"),
        _curves(lines, "masked_lm_loss"),
        _curves(lines, "disc_loss"),
        _curves(lines, "disc_auc"),
    )
    charts = (
        figure(
            chart("1. the encoder as a masked LM: loss", alone),
            f"What stands at a masked place? The loss goes {_from_to(alone)}; blind guessing among all pieces would be {guess:.1f}. The "
            "steeper part is learning which words are frequent, the slower one is learning from context.",
        ),
        figure(
            chart("2. the generator, which makes fakes: loss", generator),
            f"{_from_to(generator).capitalize()}: smaller than the encoder on purpose, so that its fakes can be told.",
        ),
        figure(
            chart("2. the discriminator, which finds them: loss", loss),
            f"{_from_to(loss).capitalize()}. Lower is better, but better fakes raise it: one without the other says little.",
        ),
        figure(
            chart("2. the discriminator: AUC", auc, (0.5, "chance")),
            f"How often a fake looks more suspicious than a real token: {_from_to(auc, 3)}; 0.5 is a coin.",
        ),
    )
    rows = [(f"<code>{escape(name)}</code>", f"{value:.4f}") for name, value in sorted(metrics.items())]
    half = (len(rows) + 1) // 2
    both = [(*row, *(rows[half + i] if half + i < len(rows) else ("", ""))) for i, row in enumerate(rows[:half])]
    return section(
        "3. Pre-training by replaced-token detection",
        f"<p>{escape(run['shape'])}; {run['steps']:,} steps, {run['tokens']:,} tokens, {run['tokens'] / max(1.0, run['train_seconds']):,.0f} "
        "tokens/s. A generator fills masked places; the discriminator says of every token whether it was replaced.</p>",
        f'<div class="charts">{"".join(charts)}</div>',
        "<p class=soft>A high AUC alone says little: fakes of a generator that is still nearly random are easy. Read it beside the generator's loss. "
        "Minutes on a few cores show the beginning; hours show the rest.</p>",
        "<h3>On held-out text, at the end</h3><p class=soft>All of it, with the usual 15% of its tokens masked, whatever training masked.</p>",
        table(("metric", "value", "metric", "value"), both, numbers=(1, 3)),
    )


# ---- the end ----


def _further(found: Found) -> str:
    folder = escape(found["about"]["folder"])
    answers = escape(found["sentiment"].get("answers", "sentiment"))
    return section(
        "7. Your turn",
        f'<pre>echo "what a wonderful place" | electra predict {folder}/{answers}/best -\n'
        f'echo "Return a list of all the files." | electra detect {folder}/pretrained - --corrupt\n'
        f"electra serve {folder}/{answers}/best {folder}/pretrained\n"
        "electra pretrain mini --data SHARDS --output runs/mini --budget 1h</pre>",
    )


def _timings(found: Found) -> str:
    steps = [(name, step) for name, step in found.items() if "seconds" in step]
    longest = max(step["seconds"] for _, step in steps)
    rows = []
    for name, step in steps:
        commands = "<br>".join(f"<code>{escape(command)}</code>" for command in step.get("commands", ()))
        rows.append((escape(name), clock(step["seconds"]), bar(step["seconds"] / longest), commands))
    rows.append(("<b>all</b>", f"<b>{clock(_total(found))}</b>", "", ""))
    return section("8. What was run, and how long it took", table(("step", "time", "", "command"), rows, numbers=(1,)))

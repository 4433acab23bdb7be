"""What the demo found -> report.html: one file with everything in it, no scripts, no fonts or pictures from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.terminal import duration

# ---- What a page is put together from: sections, tables, figures with a sentence under them. Strings of HTML, escaped where they are ma ----


def escape(value: object) -> str:
    """Text for HTML."""
    return html.escape(str(value))


def section(title: str, *parts: str) -> str:
    """A heading and HTML -> a section."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Cells (HTML already) under a head -> a table; the columns in `numbers` are set right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def figure(picture: str, sentence: str) -> str:
    """A picture (HTML already; nothing where there is none) and what one sees in it -> a figure."""
    return f'<figure><div class="wide">{picture}</div><figcaption>{sentence}</figcaption></figure>' if picture else ""


def verdict(right: bool) -> str:
    """Yes or no, in its colour."""
    return f"<span class={'right' if right else 'wrong'}>{'yes' if right else 'no'}</span>"


def bar(fraction: float) -> str:
    """A share of a line."""
    return f'<div class="bar"><i style="width:{100 * min(1.0, max(0.0, fraction)):.1f}%"></i></div>'


# ---- Scores, suspicions and sizes -> pictures: inline SVG and HTML, coloured by the page's style sheet ----


PICTURE_NAMES = 250
"""Width of the column of names, of 700."""


def exchanged(pair: Mapping[str, Any]) -> tuple[int, str, str]:
    """A sentence before and after one of its words was exchanged -> where, the word that belongs there, the word put in its place."""
    before, after, other = pair["original"]["text"], pair["changed"]["text"], pair["word"]
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = before.rfind(" ", 0, same) + 1
    return start, before[start : start + len(before) - len(after) + len(other)], other


def suspicion(detection: Mapping[str, Any], start: int, word: str) -> float:
    """The highest probability of 'replaced' among the tokens of the word that stands there."""
    return max((t["probability"] for t in detection["tokens"] if t["start"] < start + len(word) and start < t["end"]), default=0.0)


def dots(rows: Sequence[tuple[str, float, bool]], error: float, level: tuple[float, str], low: float) -> str:
    """(name, share of 1, whether it is ours) -> a dot each on a line from `low` to 1, with `error` to both sides; `level`: a dashed line, named."""
    height = 34 * len(rows) + 46

    def x(share: float) -> float:
        return PICTURE_NAMES + (min(1.0, max(low, share)) - low) / (1.0 - low) * (680 - PICTURE_NAMES)

    out = [f'<svg class="broad" viewBox="0 0 700 {height}" role="img" aria-label="accuracy of each model">']
    for tick in range(math.ceil(low * 10), 11):
        at = x(tick / 10)
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 22}" stroke="var(--line)"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 6}" text-anchor="middle">{10 * tick}%</text>')
    at = x(level[0])
    out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 22}" stroke="var(--soft)" stroke-dasharray="4 4"/>')
    out.append(f'<text x="{at:.1f}" y="12" text-anchor="middle">{escape(level[1])}</text>')
    for number, (name, share, ours) in enumerate(rows):
        y, colour = 38 + 34 * number, "var(--two)" if ours else "var(--one)"
        out.append(f'<text x="{PICTURE_NAMES - 14}" y="{y + 4}" text-anchor="end" class="{"name ours" if ours else "name"}">{escape(name)}</text>')
        out.append(f'<line x1="{x(share - error):.1f}" x2="{x(share + error):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<rect x="{x(share) - 5:.1f}" y="{y - 5}" width="10" height="10" rx="5" fill="{colour}"></rect>')
        out.append(f'<text x="{x(share):.1f}" y="{y - 9}" text-anchor="middle" class="value">{100 * share:.1f}</text>')
    return "".join(out) + "</svg>"


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """(name, value, as it is said) -> a bar each, from zero."""
    height, most = 44 * len(rows) + 24, max((value for _, value, _ in rows), default=0.0) or 1.0
    heading = f'<text x="0" y="14" class="name ours">{escape(title)}</text>'
    out = [f'<svg viewBox="0 0 340 {height}" role="img" aria-label="{escape(title)}">{heading}']
    for number, (name, value, said) in enumerate(rows):
        y, colour = 30 + 44 * number, "var(--two)" if number else "var(--one)"
        width = 250 * value / most
        out.append(f'<text x="0" y="{y + 9}" class="name">{escape(name)}</text>')
        out.append(f'<rect x="0" y="{y + 15}" width="{max(1.0, width):.1f}" height="13" rx="3" fill="{colour}"></rect>')
        out.append(f'<text x="{max(1.0, width) + 7:.1f}" y="{y + 26}" class="value">{escape(said)}</text>')
    return "".join(out) + "</svg>"


def pairs(rows: Sequence[tuple[str, float, str, float]]) -> str:
    """(word, suspicion, other word, its suspicion) -> both as dots on one line from 0 to 1, the other one in its colour."""
    height = 34 * len(rows) + 46
    out = [f'<svg class="broad" viewBox="0 0 700 {height}" role="img" aria-label="suspicion of each word and of the one put in its place">']

    def x(share: float) -> float:
        return PICTURE_NAMES + share * (680 - PICTURE_NAMES)

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="10" y2="{height - 22}" stroke="var(--line)"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>')
    for number, (word, first, other, second) in enumerate(rows):
        y = 30 + 34 * number
        out.append(
            f'<text x="{PICTURE_NAMES - 14}" y="{y + 4}" text-anchor="end" class="name">{escape(word)} \N{RIGHTWARDS ARROW} {escape(other)}</text>'
        )
        out.append(f'<line x1="{x(first):.1f}" x2="{x(second):.1f}" y1="{y}" y2="{y}" stroke="var(--soft)" stroke-width="2"/>')
        for share, colour in ((first, "var(--one)"), (second, "var(--two)")):
            out.append(f'<rect x="{x(share) - 6:.1f}" y="{y - 6}" width="12" height="12" rx="6" fill="{colour}"></rect>')
    return "".join(out) + "</svg>"


def heat_map(detection: Mapping[str, Any], marked: Sequence[tuple[int, int]] = ()) -> str:
    """A text's tokens as cells, each as red as it is suspicious, with its probability below; tokens within `marked` spans are underlined."""
    cells = []
    for token in detection["tokens"]:
        start, end, share = token["start"], token["end"], token["probability"]
        shown = escape(detection["text"][start:end])
        if any(start < b and a < end for a, b in marked):
            shown = f"<u>{shown}</u>"
        cells.append(f'<span style="background:rgba(var(--bad),{min(1.0, share) * 0.85:.2f})">{shown}<small>{share:.2f}</small></span>')
    return f'<p class="heat">{"".join(cells)}</p>'


def scale() -> str:
    """What the reds of a heat map mean."""
    steps = "".join(f'<span style="background:rgba(var(--bad),{share * 0.85:.2f})">{share:g}</span>' for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return f'<p class="scale">believed to belong there {steps} believed to be replaced</p>'


def journey(stations: Sequence[tuple[str, str, str]]) -> str:
    """(what, figure, sentence) -> boxes in a row."""
    boxes = "".join(f'<div class="card"><i>{escape(what)}</i><b>{escape(big)}</b><span>{escape(small)}</span></div>' for what, big, small in stations)
    return f'<div class="cards">{boxes}</div>'


# ---- What the demo's models can do -> sections of its report: detection, sentiment, the built artefact ----


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
            "" if row["load_seconds"] is None else duration(row["load_seconds"]),
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


# ---- Numbers -> an inline SVG picture of curves, coloured by the page's style sheet ----


Points = Sequence[tuple[float, float]]


def chart(title: str, series: Sequence[tuple[str, Points]], level: tuple[float, str] | None = None, width: int = 440, height: int = 240) -> str:
    """Named curves (x, y) -> an inline SVG; `level`: a dashed line at a value, with its name."""
    series = [(name, [(x, y) for x, y in points if math.isfinite(y)]) for name, points in series]
    points = [point for _, curve in series for point in curve]
    if not points:
        return ""
    left, right, top, bottom = 46, 20, 34, 34
    ys = [y for _, y in points] + ([level[0]] if level else [])
    low, high = min(ys), max(ys)
    low, high = (low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
    last = max(x for x, _ in points) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + x / last * (width - left - right):.1f},{top + (high - y) / (high - low) * (height - top - bottom):.1f}"

    heading = f'<text x="{left}" y="14" style="font-size:13px;font-weight:600">{escape(title)}</text>'
    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{heading}']
    for tick in _ticks(low, high):
        x, y = place(0, tick).split(",")
        out.append(f'<line x1="{x}" x2="{width - right}" y1="{y}" y2="{y}" stroke="var(--line)"/>')
        out.append(f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(0, last):
        out.append(f'<text x="{place(tick, low).split(",")[0]}" y="{height - 16}" text-anchor="middle">{tick:,.0f}</text>')
    out.append(f'<text x="{width - right}" y="{height - 2}" text-anchor="end">steps</text>')
    if level:
        y = place(0, level[0]).split(",")[1]
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{y}" y2="{y}" stroke="var(--soft)" stroke-dasharray="4 4"/>')
        out.append(f'<text x="{width - right}" y="{float(y) - 5:.1f}" text-anchor="end">{escape(level[1])}</text>')
    for number, (name, curve) in enumerate(series):
        color = ("var(--one)", "var(--two)")[number % 2]
        path = " ".join(place(x, y) for x, y in curve)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{2 if number else 1.6}" stroke-linejoin="round"/>')
        out.append(f'<text x="{left + 88 * number}" y="28" style="fill:{color}">{escape(name)}</text>')
    return "".join(out) + "</svg>"


def _ticks(low: float, high: float) -> list[float]:
    """About four round values between two."""
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


STYLE = Path(__file__).with_suffix(".css")
Found = Mapping[str, Mapping[str, Any]]
Lines = Sequence[Mapping[str, Any]]


def render(found: Found, curves: Lines, first: Lines = ()) -> str:
    """Results of the demo's steps by name (`recipes.demo.run`), lines of the run's metrics.jsonl and its first stage's -> a whole HTML page."""
    body = "".join(
        (
            _text(found),
            _vocabulary(found),
            _pretraining(found, curves, first),
            detection(found),
            sentiment(found),
            built(found),
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
Everything below was made on this machine, from text that was already on it{also}, in {duration(_total(found))}.</p>
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
        ("pre-training", f"{found['pretrain']['tokens'] / 1e6:.1f} M tokens", f"read in {duration(found['pretrain']['seconds'])}"),
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
        rows.append((escape(name), duration(step["seconds"]), bar(step["seconds"] / longest), commands))
    rows.append(("<b>all</b>", f"<b>{duration(_total(found))}</b>", "", ""))
    return section("8. What was run, and how long it took", table(("step", "time", "", "command"), rows, numbers=(1,)))

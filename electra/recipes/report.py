"""What the demo found -> report.html: one file with everything in it, no scripts, no fonts or pictures from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.recipes.chart import Points, chart, escape

STYLE = Path(__file__).with_suffix(".css")


def render(found: Mapping[str, Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> str:
    """Results of the demo's steps by name (see `electra.recipes.demo`) and the lines of the run's metrics.jsonl -> a whole HTML page."""
    sections = (_text, _vocabulary, lambda f: _pretraining(f, curves), _detection, _sentiment, _timings)
    body = "".join(section(found) for section in sections)
    about = found["about"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>electra demo</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style></head><body><main>
<h1>From raw text to a language model and a classifier</h1>
<p class="soft">Made by <code>electra demo</code> {escape(about["version"])} on {escape(about["date"])}, {escape(about["machine"])}.
Everything below was learned on this machine, from text that was already on it, in {clock(_total(found))}.</p>
{_cards(found)}{body}
<p class="soft">The files behind this page are in <code>{escape(about["folder"])}</code>; each command above can be repeated by itself.</p>
</main></body></html>
"""


def clock(seconds: float) -> str:
    """Seconds -> '0.4 s', '45 s', '3 min 20 s'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"


def _total(found: Mapping[str, Mapping[str, Any]]) -> float:
    return float(sum(step.get("seconds", 0.0) for step in found.values()))


def _cards(found: Mapping[str, Mapping[str, Any]]) -> str:
    metrics, sentiment = found["evaluate"]["metrics"], found["sentiment"]
    cards = (
        (f"{found['collect']['size_bytes'] / 1e6:.1f} MB", "English text found in this Python installation"),
        (f"{found['pretrain']['tokens'] / 1e6:.1f} M tokens", f"read in {clock(found['pretrain']['seconds'])} of pre-training"),
        (f"{metrics['disc_auc']:.3f}", "AUC of telling replaced tokens from real ones, held-out text (0.5 is chance)"),
        (f"{sentiment['pretrained']:.1%}", f"sentiment accuracy on held-out reviews; TF-IDF with logistic regression {sentiment['tfidf']:.1%}"),
    )
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in cards)
        + "</div>"
    )


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Cells (HTML already) under a head -> a table; the columns in `numbers` are set right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"


def _text(found: Mapping[str, Mapping[str, Any]]) -> str:
    text = found["collect"]
    return _section(
        "1. Text",
        f"<p>{text['num_sentences']:,} sentences ({text['size_bytes'] / 1e6:.1f} MB) from {text['num_documents']:,} files: docstrings and manuals "
        "of the Python installation and its packages, without code, tables, licences and "
        f"{text['num_duplicates']:,} repeated sentences. For example:</p>",
        "".join(f'<p class="quote">{escape(sample)}</p>' for sample in text["samples"]),
    )


def _vocabulary(found: Mapping[str, Mapping[str, Any]]) -> str:
    vocabulary, shards = found["vocab"], found["prepare"]
    rows = []
    for text, pieces in vocabulary["examples"]:
        rows.append(f"<p>{escape(text)}<br>{''.join(f'<span class=piece>{escape(piece)}</span>' for piece in pieces)}</p>")
    return _section(
        "2. Vocabulary and shards",
        f"<p>{vocabulary['size']:,} word pieces trained on that text; <code>##</code> marks a piece that continues a word.</p>{''.join(rows)}",
        f"<p>{shards['train_tokens']:,} tokens to learn from, {shards['held_out_tokens']:,} tokens of other documents held out for measuring.</p>",
    )


# ---- pre-training ----


def _curve(lines: Sequence[Mapping[str, Any]], kind: str, name: str) -> Points:
    return [(line["step"], line[name]) for line in lines if line["kind"] == kind and name in line]


def _pretraining(found: Mapping[str, Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> str:
    run, metrics = found["pretrain"], found["evaluate"]["metrics"]

    def curves(name: str) -> list[tuple[str, Points]]:
        return [(kind, points) for kind, source in (("training", "train"), ("held out", "evaluation")) if (points := _curve(lines, source, name))]

    charts = (
        chart("generator: masked-LM loss", curves("masked_lm_loss")),
        chart("discriminator: loss", curves("disc_loss")),
        chart("discriminator: AUC", curves("disc_auc"), (0.5, "chance")),
    )
    rows = [(f"<code>{escape(name)}</code>", f"{value:.4f}") for name, value in sorted(metrics.items())]
    half = (len(rows) + 1) // 2
    both = [(*row, *(rows[half + i] if half + i < len(rows) else ("", ""))) for i, row in enumerate(rows[:half])]
    return _section(
        "3. Pre-training by replaced-token detection",
        f"<p>{escape(run['shape'])}; {run['steps']:,} steps, {run['tokens']:,} tokens, {run['tokens'] / max(1.0, run['train_seconds']):,.0f} "
        "tokens/s. A generator fills masked places; the discriminator says of every token whether it was replaced.</p>",
        f'<div class="charts">{"".join(charts)}</div>',
        "<p class=soft>How to read it: where the generator is still nearly random its fakes are easy, and the AUC is high for a bad reason. "
        "Then it learns which words are frequent, the fakes look plausible one by one, and the AUC falls towards chance. From there "
        "on the discriminator can only gain by reading context. Minutes on a few cores show the beginning of that; hours show the rest.</p>",
        "<h3>On held-out text, at the end</h3>",
        table(("metric", "value", "metric", "value"), both, numbers=(1, 3)),
    )


# ---- detection and sentiment ----


def _coloured(detection: Mapping[str, Any], marked: Iterable[tuple[int, int]] = ()) -> str:
    """A text with its tokens on a background as red as they are suspicious; `marked` spans underlined."""
    text, out, at = detection["text"], [], 0
    spans = list(marked)
    tokens = detection["tokens"]
    for token in tokens:
        start, end, p = token["start"], token["end"], token["probability"]
        shown = escape(text[start:end])
        if any(start < b and a < end for a, b in spans):
            shown = f"<u>{shown}</u>"
        out.append(f'{escape(text[at:start])}<span style="background:rgba(var(--bad),{min(1.0, p) * 0.85:.2f})" title="{p:.2f}">{shown}</span>')
        at = end
    return f'<p class="text">{"".join(out)}{escape(text[at:])}</p>'


def _detection(found: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        "<p>The redder, the more the discriminator believes that a token was put there by someone else. One word of each sentence was exchanged "
        "by hand and is underlined.</p>"
    ]
    for pair in found["detect"]["pairs"]:
        text, word = pair["changed"]["text"], pair["word"]
        start = text.find(word)
        parts.append(_coloured(pair["changed"], [(start, start + len(word))]))
    won = found["detect"]["num_ranked"]
    parts.append(
        f"<p class=soft>In {won} of {len(found['detect']['pairs'])} the exchanged word looks more suspicious than the word that belongs there.</p>"
    )
    corruption = found["detect"]["corruption"]
    parts.append(f"<h3>The whole workflow on one sentence</h3><p class=quote>{escape(corruption['masked'])}</p>")
    rows = []
    for item in corruption["replacements"]:
        proposals = ", ".join(f"{escape(p['token'])} <small>{p['probability']:.2f}</small>" for p in item["proposals"][:4])
        verdict = f"{'replaced' if item['verdict'] else 'original'} <small>{item['probability']:.2f}</small>"
        rows.append((escape(item["original"]), proposals, escape(item["sampled"]), verdict, _verdict(item["verdict"] == item["changed"])))
    parts.append(table(("original", "generator proposes", "drawn", "discriminator says", "right?"), rows))
    parts.append(_coloured(corruption["corrupted"]))
    return _section("4. Detection", *parts)


def _verdict(right: bool) -> str:
    return f"<span class={'right' if right else 'wrong'}>{'yes' if right else 'no'}</span>"


def _bar(fraction: float) -> str:
    return f'<div class="bar"><i style="width:{100 * min(1.0, max(0.0, fraction)):.1f}%"></i></div>'


NOT_HELPED = (
    "<p class=soft>Pre-training did not help here: minutes on technical text say little of what people like. An hour of "
    "<code>electra pretrain mini</code> on other text does (README).</p>"
)


def _sentiment(found: Mapping[str, Mapping[str, Any]]) -> str:
    scores = found["sentiment"]
    rows = [("always the same answer", f"{scores['majority']:.1%}", _bar(scores["majority"]), "")]
    rows.append(("TF-IDF + logistic regression", f"{scores['tfidf']:.1%}", _bar(scores["tfidf"]), "words and pairs of words"))
    if scores.get("random") is not None:
        rows.append(("the same network from random weights", f"{scores['random']:.1%}", _bar(scores["random"]), "same recipe"))
    rows.append(
        ("<b>pre-trained here, fine-tuned</b>", f"<b>{scores['pretrained']:.1%}</b>", _bar(scores["pretrained"]), f"{scores['epochs']:g} epochs")
    )
    said = []
    for answer in found["predict"]["answers"]:
        mark = "" if answer["expected"] is None else _verdict(answer["label"] == answer["expected"])
        said.append((escape(answer["text"]), escape(answer["label"]), f"{answer['probability']:.2f}", mark))
    return _section(
        "5. Sentiment",
        f"<p>Data: {escape(scores['source'])}; {scores['num_train']:,} texts to learn from, {scores['num_dev']:,} held out. One point of accuracy is "
        f"{scores['num_dev'] / 100:.1f} texts; the standard error is about {100 * math.sqrt(0.25 / scores['num_dev']):.1f} points.</p>",
        table(("model", "accuracy", "", ""), rows, numbers=(1,)),
        "" if scores.get("random") is None or scores["pretrained"] > scores["random"] else NOT_HELPED,
        "<h3>Predictions</h3>",
        table(("text", "label", "probability", "right?"), said, numbers=(2,)),
    )


def _timings(found: Mapping[str, Mapping[str, Any]]) -> str:
    steps = [(name, step) for name, step in found.items() if "seconds" in step]
    longest = max(step["seconds"] for _, step in steps)
    rows = []
    for name, step in steps:
        commands = "<br>".join(f"<code>{escape(command)}</code>" for command in step.get("commands", ()))
        rows.append((escape(name), clock(step["seconds"]), _bar(step["seconds"] / longest), commands))
    rows.append(("<b>all</b>", f"<b>{clock(_total(found))}</b>", "", ""))
    return _section("6. What was run, and how long it took", table(("step", "time", "", "command"), rows, numbers=(1,)))

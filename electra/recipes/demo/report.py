"""Results of the demo's steps -> report.html: one file without scripts, fonts or pictures from elsewhere.

The text is in report.html next to this module, a jinja2 template; here are the numbers and pictures that it shows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.settings.pretrain import FIRST_PHASE
from electra.terminal import duration

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

Found = Mapping[str, Mapping[str, Any]]
Lines = Sequence[Mapping[str, Any]]
Curve = tuple[str, list[tuple[float, float]]]
"""A name and its (step, value) pairs."""

MODELS = {
    "tfidf": "TF-IDF + logistic regression",
    "random": "same network, random weights",
    "pretrained": "pre-trained here, fine-tuned",
    "shipped": "electra's own model, fine-tuned",
    "classifier": "electra's own classifier, as it is",
}
"""Scores of the sentiment step -> names in the report."""


def render(found: Found, lines: Lines) -> str:
    """Results by step (`demo.run`), metrics.jsonl of the pre-training -> a whole HTML page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "log": math.log, "megabytes": megabytes, "number": number, "percent": percent}
    steps = {name: step for name, step in found.items() if "seconds" in step}
    context = {
        "about": found["about"],
        "found": found,
        "steps": steps,
        "total_seconds": sum(step["seconds"] for step in steps.values()),
        "longest_seconds": max(step["seconds"] for step in steps.values()),
        "charts": pretraining_charts(lines),
        "detection": detection(found["detect"]),
        "sentiment": sentiment(found["sentiment"]),
        "built": built(found.get("build", {}).get("rows", ())),
    }
    return environment.get_template("report.html").render(context)


# ---- numbers ----


def number(value: float, digits: int = 0) -> str:
    """1234.5 -> '1,234'."""
    return f"{value:,.{digits}f}"


def percent(value: float) -> str:
    """0.684 -> '68.4%'."""
    return f"{value:.1%}"


def megabytes(size: float) -> str:
    """Bytes -> '12.3 MB'."""
    return f"{size / 1e6:.1f} MB"


def replaced_word(pair: Mapping[str, Any]) -> tuple[int, str, str]:
    """A sentence before and after one of its words was replaced -> (start, original word, its replacement)."""
    before, after, other = pair["original"]["text"], pair["changed"]["text"], pair["word"]
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = before.rfind(" ", 0, same) + 1
    return start, before[start : start + len(before) - len(after) + len(other)], other


def suspicion(result: Mapping[str, Any], start: int, word: str) -> float:
    """The highest probability of 'replaced' among the tokens of the word at `start`."""
    return max((t["probability"] for t in result["tokens"] if t["start"] < start + len(word) and start < t["end"]), default=0.0)


def detection(result: Mapping[str, Any]) -> dict[str, Any]:
    """The detect step -> all pairs, the one whose replacement is seen most clearly, and the workflow on one sentence."""
    rows: list[dict[str, Any]] = []
    for pair in result["pairs"]:
        start, word, other = replaced_word(pair)
        before, after = suspicion(pair["original"], start, word), suspicion(pair["changed"], start, other)
        cells = [heat_map(pair["original"], [(start, start + len(word))]), heat_map(pair["changed"], [(start, start + len(other))])]
        rows.append({"word": word, "other": other, "before": before, "after": after, "cells": cells})
    corruption = result["corruption"]
    tokens, replacements = corruption["corrupted"]["tokens"], corruption["replacements"]
    sampled = [tokens[item["index"]] for item in replacements if item.get("index", len(tokens)) < len(tokens)]
    return {
        "rows": rows,
        "clearest": max(rows, key=lambda row: row["after"] - row["before"]),
        "num_seen": sum(row["after"] > row["before"] for row in rows),
        "picture": pairs_picture(rows),
        "corruption": corruption,
        "cells": heat_map(corruption["corrupted"], [(token["start"], token["end"]) for token in sampled]),
        "num_correct": sum(item["verdict"] == item["changed"] for item in replacements),
    }


def heat_map(result: Mapping[str, Any], marked: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """A text's tokens -> cells; those within a `marked` span are underlined."""
    return [
        {
            "text": result["text"][token["start"] : token["end"]],
            "probability": token["probability"],
            "marked": any(token["start"] < end and start < token["end"] for start, end in marked),
        }
        for token in result["tokens"]
    ]


def sentiment(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The sentiment step -> picture, standard error, and the distance to TF-IDF."""
    rows = [(title, scores[name], name in ("pretrained", "shipped")) for name, title in MODELS.items() if scores.get(name) is not None]
    error = math.sqrt(0.25 / scores["num_dev"])
    return {"picture": scores_picture(rows, error, scores["majority"]), "error": error, "gap": scores["pretrained"] - scores["tfidf"]}


def built(rows: Lines) -> dict[str, Any]:
    """Rows of the build step -> pictures of size and latency, and the artifact relative to the checkpoint; empty without any."""
    if not rows:
        return {}
    first, last = rows[0], rows[-1]
    names = [row["name"] for row in rows]
    return {
        "pictures": [
            bars_picture("size on disk", names, [row["size_bytes"] / 1e6 for row in rows], "{:.1f} MB"),
            bars_picture("latency of one review, median", names, [row["p50_ms"] for row in rows], "{:.2f} ms"),
        ],
        "size": last["size_bytes"] / first["size_bytes"],
        "accuracy": last["accuracy"] - first["accuracy"],
        "last": last,
    }


def pretraining_charts(lines: Lines) -> dict[str, dict[str, Any]]:
    """Metrics of all phases -> name -> picture, and first and last value of the last curve; without those that were not recorded."""
    first_lines = [line for line in lines if line.get("phase") == FIRST_PHASE]
    lines = [line for line in lines if line.get("phase") != FIRST_PHASE]
    wanted = {
        "mlm": ("encoder as a masked LM: loss", first_lines, "masked_lm_loss", None),
        "generator": ("generator: loss", lines, "masked_lm_loss", None),
        "loss": ("discriminator: loss", lines, "disc_loss", None),
        "auc": ("discriminator: AUC", lines, "disc_auc", (0.5, "chance")),
    }
    out = {}
    for name, (title, source, metric, level) in wanted.items():
        if found_curves := curves(source, metric):
            label, points = found_curves[-1]
            out[name] = {
                "picture": curves_picture(title, found_curves, level),
                "first": points[0][1],
                "last": points[-1][1],
                "where": " on held-out text" if label == "held out" else "",
            }
    return out


def curves(lines: Lines, metric: str) -> list[Curve]:
    """A metric's finite values in training and on held-out text; what was not recorded is left out."""
    out: list[Curve] = []
    for label, kind in (("training", "train"), ("held out", "evaluation")):
        points = [(line["step"], line[metric]) for line in lines if line["kind"] == kind and math.isfinite(line.get(metric, math.nan))]
        out += [(label, points)] if points else []
    return out


# ---- pictures ----

INK, SOFT, LINE, ONE, TWO = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", ONE: "var(--one)", TWO: "var(--two)"}
"""Placeholders in matplotlib's SVG -> the page's colours, which differ in light and dark."""


def picture(title: str, width: float, height: float, draw: Callable[[Axes], None]) -> Markup:
    """Draw on axes of `width` x `height` inches -> inline SVG in the page's colours and font."""
    import matplotlib
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelcolor=SOFT)
        axes.set_axisbelow(True)
        draw(axes)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Names must differ between the pictures of a page.
    prefix = re.sub(r"\W+", "-", title)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>|xmlns:xlink=\"[^\"]*\"", "", svg, flags=re.DOTALL).replace("xlink:href", "href")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for placeholder, colour in COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))


def curves_picture(title: str, named: Sequence[Curve], level: tuple[float, str] | None) -> Markup:
    """Curves over steps; `level`: a dashed line at a value, with its name."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.grid(color=LINE, linewidth=0.8)
        for (name, points), colour in zip(named, (ONE, TWO), strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker="o" if len(points) < 3 else None, markersize=5, label=name)
        if level is not None:
            axes.axhline(level[0], color=SOFT, linestyle=(0, (4, 4)), linewidth=1.0, label=level[1])
        axes.legend(frameon=False, labelcolor=SOFT, fontsize=9)
        axes.set_xlabel("steps", color=SOFT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter("{x:,.0f}")

    return picture(title, 4.6, 2.6, draw)


def scores_picture(rows: Sequence[tuple[str, float, bool]], error: float, majority: float) -> Markup:
    """(name, accuracy, whether it was pre-trained) -> a dot each, with a standard error to both sides; dashed: the largest class."""

    def draw(axes: Axes) -> None:
        axes.grid(color=LINE, linewidth=0.8, axis="x")
        axes.axvline(100 * majority, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.0)
        axes.annotate("largest class", (100 * majority, -0.75), color=SOFT, ha="center", va="bottom")
        for place, (_, accuracy, ours) in enumerate(rows):
            colour = TWO if ours else ONE
            axes.errorbar(100 * accuracy, place, xerr=100 * error, fmt="o", color=colour, markersize=6, linewidth=1.6)
            axes.annotate(f"{100 * accuracy:.1f}", (100 * accuracy, place - 0.2), color=INK, ha="center", va="bottom")
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.8)
        axes.xaxis.set_major_formatter("{x:g}%")
        axes.margins(x=0.08)

    return picture("accuracy of each model", 8.6, 0.46 * len(rows) + 0.6, draw)


def pairs_picture(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Suspicion of a word and of its replacement as two dots on one line."""

    def draw(axes: Axes) -> None:
        axes.grid(color=LINE, linewidth=0.8, axis="x")
        for place, row in enumerate(rows):
            axes.plot([row["before"], row["after"]], [place, place], color=SOFT, linewidth=1.4, zorder=1)
            axes.plot(row["before"], place, "o", color=ONE, markersize=7)
            axes.plot(row["after"], place, "o", color=TWO, markersize=7)
        axes.set_yticks(range(len(rows)), [f"{row['word']} \N{RIGHTWARDS ARROW} {row['other']}" for row in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("probability of 'replaced'", color=SOFT)

    return picture("suspicion of each word and of its replacement", 8.6, 0.36 * len(rows) + 0.7, draw)


def bars_picture(title: str, names: Sequence[str], values: Sequence[float], form: str) -> Markup:
    """A bar each, from zero; the values are written next to them with the format `form`."""

    def draw(axes: Axes) -> None:
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        bars = axes.barh(range(len(names)), values, height=0.5, color=[ONE, *[TWO] * (len(names) - 1)])
        axes.bar_label(bars, [form.format(value) for value in values], padding=4, color=INK)
        axes.set_yticks(range(len(names)), names, color=INK)
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.margins(x=0.25)

    return picture(title, 4.6, 0.5 * len(names) + 0.5, draw)

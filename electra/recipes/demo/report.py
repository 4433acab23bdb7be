"""Results of the demo's steps -> report.html: one file without scripts, fonts or pictures from elsewhere.

The text is in report.html next to this module, a jinja2 template; here are the numbers and pictures that it shows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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

NETWORKS = {"encoder": "encoder", "tfidf": "TF-IDF", "pretrained": "pre-trained here", "random": "random weights"}
"""What is compared -> its short name, in the order of the figure."""
SHOWN_SIZE = 64
"""The number of labelled texts of the last line."""
UPDATES = {"ELECTRA-Small": 1_000_000 * 128 * 128, "BERT": 1_000_000 * 256 * 512}
"""Model -> tokens it was pre-trained on: updates x examples x tokens (Clark et al. 2020, table 6; Devlin et al. 2019, appendix A.2)."""


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
        "charts": pretraining_charts(lines, found["evaluate"]["frequency_loss"]),
        "published": UPDATES,
        "detection": detection(found["detect"]),
        "sentiment": sentiment(found["sentiment"]),
        "encoder_name": encoder_name(found["sentiment"]),
        "films": comparison(found["films"]) if "rows" in found.get("films", {}) else None,
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
    rows = [pair_row(pair) for pair in result["pairs"]]
    for row, pair in zip(rows, result["bundled"], strict=False):
        row["bundled"] = pair_row(pair)
    corruption = result["corruption"]
    tokens, replacements = corruption["corrupted"]["tokens"], corruption["replacements"]
    sampled = [tokens[item["index"]] for item in replacements if item.get("index", len(tokens)) < len(tokens)]
    return {
        "rows": rows,
        "clearest": max(rows, key=lambda row: row["after"] - row["before"]),
        "num_seen": sum(row["after"] > row["before"] for row in rows),
        "num_bundled_seen": sum(row["bundled"]["after"] > row["bundled"]["before"] for row in rows) if result["bundled"] else None,
        "corruption": corruption,
        "cells": heat_map(corruption["corrupted"], [(token["start"], token["end"]) for token in sampled]),
        "num_correct": sum(item["verdict"] == item["changed"] for item in replacements),
    }


def pair_row(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A sentence before and after a replacement -> the word, its context, and how suspicious the place is before and after."""
    start, word, other = replaced_word(pair)
    cells = [heat_map(pair["original"], [(start, start + len(word))]), heat_map(pair["changed"], [(start, start + len(other))])]
    context = pair["original"]["text"][:start], pair["original"]["text"][start + len(word) :]
    before, after = suspicion(pair["original"], start, word), suspicion(pair["changed"], start, other)
    return {"word": word, "other": other, "context": context, "before": before, "after": after, "cells": cells}


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
    """The comparison on reviews -> its picture and table, the gap to TF-IDF where it is shown, and whether the model pre-trained here is better."""
    out = comparison(scores)
    best = {row["network"]: row for row in scores["rows"] if row["size"] == max(out["sizes"])}
    return out | {
        "picture": sizes_picture(scores["rows"], scores["majority"]),
        "gap": next(gap for gap in scores["gaps"] if gap["size"] == shown_size(out["sizes"])),
        "num_samples": max(len(row["each"]) for row in scores["rows"]),
        "best": best,
        "wins": best["pretrained"]["low"] > best["tfidf"]["mean"],
    }


def comparison(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies of networks and sizes -> the sizes, and a table: a network's name and its row of each size, None where it was left out."""
    sizes = sorted({row["size"] for row in scores["rows"]})
    found = {(row["network"], row["size"]): row for row in scores["rows"]}
    return {"sizes": sizes, "table": {name: [found.get((key, size)) for size in sizes] for key, name in NETWORKS.items()}}


def shown_size(sizes: Collection[int]) -> int:
    """Numbers of labelled texts -> the one to speak of."""
    return SHOWN_SIZE if SHOWN_SIZE in sizes else min(sizes)


def encoder_name(scores: Mapping[str, Any]) -> str:
    """The encoder as the report calls it: of a folder its name."""
    return Path(scores["encoder"]).name


def learned(scores: Mapping[str, Any]) -> str:
    """The comparison on reviews -> one line: what each network makes of few labelled reviews."""
    size = shown_size({row["size"] for row in scores["rows"]})
    means = {row["network"]: row["mean"] for row in scores["rows"] if row["size"] == size}
    names = NETWORKS | {"encoder": "bundled encoder" if scores["encoder"].startswith("shipped:") else encoder_name(scores)}
    names |= {"pretrained": "the model pre-trained here"}
    return f"with {size} labelled reviews: " + ", ".join(f"{names[key]} {means[key]:.0%}" for key in NETWORKS)


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


def pretraining_charts(lines: Lines, frequency_loss: float) -> dict[str, dict[str, Any]]:
    """Metrics of all phases -> name -> picture, and first and last value of the last curve; without those that were not recorded.

    `frequency_loss`: of predicting tokens without context, the level that a masked LM has to leave.
    """
    frequencies = frequency_loss, "word frequencies alone"
    first_lines = [line for line in lines if line.get("phase") == FIRST_PHASE]
    lines = [line for line in lines if line.get("phase") != FIRST_PHASE]
    wanted = {
        "mlm": ("encoder as a masked LM: loss", first_lines, "masked_lm_loss", frequencies),
        "generator": ("generator: loss", lines, "masked_lm_loss", frequencies),
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

INK, SOFT, LINE, ONE, TWO, THREE = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
COLOURS = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", ONE: "var(--one)", TWO: "var(--two)", THREE: "var(--good)"}
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


def sizes_picture(rows: Lines, majority: float) -> Markup:
    """Accuracy over the number of labelled texts, a line each network: its mean with its interval, and small dots of single samples."""
    import numpy as np

    sizes = sorted({row["size"] for row in rows})
    colours = {"encoder": ONE, "tfidf": TWO, "pretrained": THREE, "random": SOFT}

    def draw(axes: Axes) -> None:
        axes.grid(color=LINE, linewidth=0.8, axis="y")
        axes.axhline(100 * majority, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.0)
        axes.annotate("largest class", (1.0, 100 * majority), xycoords=("axes fraction", "data"), color=SOFT, ha="right", va="bottom", fontsize=8)
        for place, (network, name) in enumerate(NETWORKS.items()):
            mine = sorted((row for row in rows if row["network"] == network), key=lambda row: row["size"])
            # Side by side, so that intervals do not cover each other.
            at = np.array([row["size"] for row in mine]) * 1.07 ** (place - 1.5)
            mean, low, high = (100 * np.array([row[key] for row in mine]) for key in ("mean", "low", "high"))
            width = 2.2 if network == "encoder" else 1.4
            axes.errorbar(at, mean, yerr=(mean - low, high - mean), color=colours[network], marker="o", markersize=5, linewidth=width, label=name)
            for where, row in zip(at, mine, strict=True):
                if len(row["each"]) > 1:
                    axes.plot([where] * len(row["each"]), [100 * one for one in row["each"]], "_", color=colours[network], markersize=7)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xlabel("labelled reviews", color=SOFT)
        axes.yaxis.set_major_formatter("{x:g}%")
        axes.legend(frameon=False, labelcolor=SOFT, fontsize=9, loc="upper left")

    return picture("accuracy over labelled reviews", 4.8, 3.5, draw)


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

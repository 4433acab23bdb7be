"""The pictures of a report: confusions, calibration, numbers against numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOST_LABELS = 40
"""More labels than this have no room for their names."""
BLUE, RED, GREY = "#0072B2", "#D55E00", "#999999"


def draw_confusion(confusion: Mapping[str, Any], path: Path) -> None:
    """Shares of each gold label's examples by predicted label, with their counts."""
    from matplotlib.figure import Figure

    counts, labels = np.array(confusion["counts"]), confusion["labels"]
    size = min(14.0, 2.4 + 0.55 * len(labels))
    figure = Figure(figsize=(size + 0.8, size), dpi=130, layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the gold label's examples")
    if len(labels) <= MOST_LABELS:
        names = [label if len(label) <= 18 else label[:17] + "…" for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=45 if len(labels) > 2 else 0, ha="right" if len(labels) > 2 else "center", fontsize=8)
        axes.set_yticks(range(len(labels)), names, fontsize=8)
        for i, row in enumerate(counts.tolist()):
            for j, count in enumerate(row):
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if shares[i, j] > 0.6 else "black")
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    figure.savefig(path, format="png")


def draw_reliability(found: Mapping[str, Any], path: Path) -> None:
    """Mean probability of each bin against its share of right answers, over how many answers each holds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.6), dpi=130, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = found["bins"]
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    for row in bins:
        above.plot([row["probability"]] * 2, [row["probability"], row["accuracy"]], color=RED, linewidth=1.4)
    above.plot([row["probability"] for row in bins], [row["accuracy"] for row in bins], "o", color=BLUE, markersize=5, label="answers of a bin")
    above.set_ylabel("share of right answers")
    above.set_ylim(-0.02, 1.02)
    above.set_title(f"expected calibration error {found['expected_calibration_error']:.3f}", fontsize=10)
    above.legend(fontsize=8, frameon=False, loc="upper left")
    width = [row["to"] - row["from"] for row in bins]
    below.bar([row["from"] for row in bins], [row["count"] for row in bins], width=width, align="edge", color=BLUE, alpha=0.6)
    below.set_ylabel("answers")
    below.set_xlabel("probability of the answer given")
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def draw_scatter(gold: Sequence[float], predicted: Sequence[float], path: Path) -> None:
    """A point per example."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.8), dpi=130, layout="constrained")
    axes = figure.subplots()
    ends = [min(*gold, *predicted), max(*gold, *predicted)]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    axes.plot(gold, predicted, "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    axes.set_xlabel("gold")
    axes.set_ylabel("predicted")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")

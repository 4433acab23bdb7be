"""results.json -> one picture: every seed's dot, mean and 95% confidence interval per task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra import disk

DOT, MEAN, BASELINE = "#56B4E9", "#D55E00", "#777777"


def draw(results: Mapping[str, Any], output: Path) -> None:
    """A row per task (per point of a search), the average last."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = _rows(results)
    figure = Figure(figsize=(7.5, 0.42 * len(rows) + 1.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for place, (_, score, baselines) in enumerate(rows):
        each = [100 * value for value in score.get("each", [])]
        # Dots below the mean, one under the other, so that equal scores are still seen to be several.
        spread = [place + 0.06 + 0.07 * (i % 5) for i in range(len(each))]
        axes.plot(each, spread, "o", color=DOT, markersize=5, alpha=0.85, markeredgewidth=0)
        mean = 100 * score["mean"]
        axes.plot([mean, mean], [place - 0.34, place - 0.06], color=MEAN, linewidth=2.2)
        for value in baselines:
            axes.plot([100 * value], [place - 0.2], marker="D", color=BASELINE, markersize=4.5, linestyle="", markeredgewidth=0)
        if score.get("interval"):
            # No score lies outside of -1..1, however wide Student's t of two seeds is.
            low, high = (100 * min(1.0, max(-1.0, end)) for end in score["interval"])
            axes.plot([low, high], [place - 0.2, place - 0.2], color=MEAN, linewidth=1.2)
        axes.annotate(f"{mean:.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=MEAN)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # The interval of two seeds may be wider than all that there is to see.
    dots = [100 * value for _, score, baselines in rows for value in (*score.get("each", [score["mean"]]), *baselines)]
    left, right = axes.get_xlim()
    axes.set_xlim(max(left, min(dots) - 10), min(right, max(dots) + 10))
    if results["average"] is not None:
        axes.axhline(len(rows) - 1.5, color="#999999", linewidth=0.8)
    axes.set_xlabel("dev score x 100", fontsize=9)
    axes.set_title(f"{results['suite']} from {'/'.join(Path(results['model']).parts[-2:])}", fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=DOT, label="a seed"),
        Line2D([], [], color=MEAN, linewidth=2.2, label="mean, with its 95% interval over seeds"),
    ]
    if any(baselines for *_, baselines in rows):
        handles.append(Line2D([], [], marker="D", linestyle="", color=BASELINE, label="without a network"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with disk.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _rows(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], list[float]]]:
    """(label, scores of seeds, scores of baselines)."""
    rows: list[tuple[str, Mapping[str, Any], list[float]]] = []
    for task, row in results["tasks"].items():
        for point in row.get("points", [row]):
            said = ", ".join(f"{name}={value}" for name, value in point["hyper_parameters"].items())
            chosen = " *" if len(row.get("points", [])) > 1 and point["hyper_parameters"] == row["hyper_parameters"] else ""
            baselines = [scores[point["counted_metric"]] for scores in row.get("baselines", {}).values()]
            rows.append((f"{task} ({point['counted_metric']})" + (f"\n{said}{chosen}" if said else ""), point["score"], baselines))
    if results["average"] is not None:
        rows.append(("average", results["average"], []))
    return rows

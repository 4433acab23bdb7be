"""electra plot: runs -> their metrics.jsonl -> one panel per metric -> PNG."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.errors import UserError, did_you_mean, require
from electra.settings import PlotSettings
from electra.storage import atomic
from electra.terminal import say
from electra.train.run_log import PLACE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST = """loss masked_lm_loss causal_lm_loss disc_loss masked_lm_accuracy causal_lm_accuracy sampled_masked_lm_accuracy
hidden_loss teacher_cosine disc_accuracy disc_auc disc_precision disc_recall""".split()
LAST = ("learning_rate", "grad_norm", "tokens_per_second", "mfu")
# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
AXES = {"step": "step", "tokens": "tokens", "flops": "training FLOP", "seconds": "training time (minutes)"}
Curve = tuple[list[float], list[float]]


def run(settings: PlotSettings) -> None:
    """Draw and print the path."""
    require("matplotlib", "runtime")
    if settings.output is not None and settings.output.suffix.lower() != ".png":
        raise UserError(f"--output {settings.output}: expected a name that ends in .png")
    runs = {name: read(path) for name, path in zip(run_names(settings.runs), settings.runs, strict=True)}
    metrics, x = choose(runs, settings.metrics), "step" if settings.x == "steps" else settings.x
    if without := [name for name, lines in runs.items() if not any(x in line for line in lines)]:
        raise UserError(f"run {without[0]} has not recorded its {settings.x}; choose another --x, such as tokens")
    draw(runs, metrics, x, output := settings.output or settings.runs[0] / "curves.png")
    say(f"{output}: {len(metrics)} metrics of {len(runs)} run{'s' if len(runs) > 1 else ''}")


def run_names(paths: tuple[Path, ...]) -> list[str]:
    """The shortest ends of the paths that are unique.

    Raises:
        UserError: one run is given twice.
    """
    whole = [Path(os.path.realpath(path)).parts for path in paths]
    if len(set(whole)) < len(whole):
        raise UserError(f"run {max(paths, key=paths.count)} is given twice; give each run once")
    depth = 1
    while len({parts[-depth:] for parts in whole}) < len(whole):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in whole]


def read(path: Path) -> list[dict[str, Any]]:
    """A run directory -> the lines of its metrics.jsonl, all phases on continuous axes.

    Raises:
        UserError: not a run directory, or nothing recorded yet.
    """
    from electra.train.run_log import run_metrics

    file = atomic.existing_path(path, "run directory") / "metrics.jsonl"
    lines = run_metrics(path) if path.is_dir() else []
    if not lines and not file.is_file():
        seeds = sorted(str(seed.parent) for seed in path.glob("seed-*/metrics.jsonl"))
        remedy = f"give its seeds: {' '.join(seeds)}" if seeds else "give the --output of 'electra pretrain', or RUN/seed-1 of 'electra finetune'"
        raise UserError(f"{path} has no metrics.jsonl; {remedy}")
    if not lines:
        raise UserError(f"{file} is still empty; wait for the first lines of the run")
    return lines


def choose(runs: dict[str, list[dict[str, Any]]], wanted: tuple[str, ...]) -> list[str]:
    """The metrics to draw: those given, else all, losses first.

    Raises:
        UserError: no run has a given metric.
    """
    there = {name for lines in runs.values() for line in lines for name in line if name not in PLACE}
    if unknown := [name for name in wanted if name not in there]:
        raise UserError(f"no run has the metric '{unknown[0]}'; {did_you_mean(unknown[0], there)}")
    between = sorted(there - set(FIRST) - set(LAST))
    return list(wanted) or [name for name in (*FIRST, *between, *LAST) if name in there]


def curve(lines: list[dict[str, Any]], kind: str, metric: str, x: str) -> Curve:
    """(x, value) of one metric in the lines of a kind."""
    scale = 1 / 60 if x == "seconds" else 1.0
    found = [(line[x] * scale, line[metric]) for line in lines if line.get("kind") == kind and metric in line and x in line]
    return [place for place, _ in found], [value for _, value in found]


def smooth(values: list[float]) -> list[float]:
    """Gaussian smoothing over about a fortieth of the curve; curves of few points are unchanged."""
    reach = len(values) / 80
    if reach < 1:
        return values
    end = math.ceil(3 * reach)
    weights = np.exp(-0.5 * (np.arange(-end, end + 1) / reach) ** 2)
    return list(np.convolve(values, weights, "same") / np.convolve(np.ones(len(values)), weights, "same"))


def draw(runs: dict[str, list[dict[str, Any]]], metrics: list[str], x: str, output: Path) -> None:
    """One panel per metric: training as a thin line and smoothed, evaluation as points on a dashed line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * rows + 0.6), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, metric in zip(grid, metrics, strict=False):
        for number, lines in enumerate(runs.values()):
            _draw_run(axes, lines, metric, x, COLOURS[number % len(COLOURS)])
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel(AXES[x], fontsize=8)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    for axes in grid[len(metrics) :]:
        axes.set_visible(False)
    _explain(figure, list(runs))
    with atomic.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _draw_run(axes: Axes, lines: list[dict[str, Any]], metric: str, x: str, colour: str) -> None:
    places, values = curve(lines, "train", metric, x)
    if values:
        marker = "." if len(values) == 1 else ""
        axes.plot(places, values, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(places, values if metric == "learning_rate" else smooth(values), color=colour, linewidth=1.6, marker=marker)
    places, values = curve(lines, "evaluation", metric, x)
    axes.plot(places, values, color=colour, linestyle="--", linewidth=1.0, marker="o", markersize=3.5, markerfacecolor="white")


def _explain(figure: Any, names: list[str]) -> None:
    """The legend: a colour per run, a line style for training and for evaluation."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=COLOURS[number % len(COLOURS)], linewidth=2.5, label=name) for number, name in enumerate(names)]
    handles.append(Line2D([], [], color="#555555", linewidth=1.6, label="training (smoothed)"))
    handles.append(Line2D([], [], color="#555555", linestyle="--", marker="o", markersize=4, markerfacecolor="white", label="evaluation"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(5, len(handles)), fontsize=9, frameon=False)

"""results.json -> score against FLOPs and against time: a line per method, a band over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import disk
from electra.recipes.ablation_methods import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {"electra": "#0072B2", "mlm": "#D55E00", "electra-masked": "#009E73", "replace-mlm": "#CC79A7", "all-tokens-mlm": "#E69F00"}
MARKERS = {"electra": "o", "mlm": "s", "electra-masked": "^", "replace-mlm": "D", "all-tokens-mlm": "v"}
UNITS = {
    "flops": ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")),
    "seconds": ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")),
}
TITLES = {"flops": "equal FLOPs", "seconds": "equal time"}


def draw(results: Mapping[str, Any], output: Path) -> None:
    """A panel for each quantity that was made equal."""
    from matplotlib.figure import Figure

    matches = list(dict.fromkeys(run["match"] for run in results["runs"].values() if run["match"])) or ["flops"]
    figure = Figure(figsize=(5.2 * len(matches) + 0.4, 4.3), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(matches), squeeze=False, sharey=True)[0]
    for axes, match in zip(panels, matches, strict=True):
        _panel(axes, results, match)
    panels[0].set_ylabel(f"{results['task']}: dev {results['metric']} x 100", fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    net, seeds = results["network"], max(len(run["points"][0]["score"]["each"]) for run in results["runs"].values())
    going_on = "start" in results["starts"]
    where = ("on IMDb" if results["variant"] == "imdb" else "from scratch") + (", going on from a checkpoint" if going_on else "")
    figure.suptitle(
        f"pre-trained {where}, fine-tuned on {results['task']}: {net['layers']} layers of width {net['width']}; "
        f"{seeds} seed{'s' if seeds > 1 else ''}: dots, mean, mean ± sd",
        fontsize=10,
    )
    with disk.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axes: Axes, results: Mapping[str, Any], match: str) -> None:
    """The first method and those matched in this way."""
    shown = [run for run in results["runs"].values() if run["match"] in ("", match)]
    longest = max(run["points"][-1][match] for run in shown)
    scale, unit = next(((scale, unit) for scale, unit in UNITS[match] if longest >= scale), UNITS[match][-1])
    for run in shown:
        _curve(axes, run, match, scale, _start(results, run["method"]))
    _levels(axes, results)
    if (start := _start(results, shown[0]["method"])) is not None:
        name = "the checkpoint" if "start" in results["starts"] else "random weights"
        axes.annotate(name, (0, 100 * start["mean"]), xytext=(8, -3), textcoords="offset points", fontsize=8, color="#444444", va="top")
    axes.set_xlim(-0.02 * longest / scale, 1.04 * longest / scale)
    axes.set_xlabel(f"pre-training ({unit})", fontsize=9)
    axes.set_title(TITLES[match], fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _start(results: Mapping[str, Any], method: str) -> Mapping[str, Any] | None:
    """What a run stands at before its first step: the checkpoint it goes on from, else random weights."""
    names = [*(["start-mlm"] if method == "mlm" else []), "start", "random"]
    return next((results["starts"][name]["score"] for name in names if name in results["starts"]), None)


def _curve(axes: Axes, run: Mapping[str, Any], match: str, scale: float, start: Mapping[str, Any] | None) -> None:
    scores = [(0.0, start)] * (start is not None) + [(point[match] / scale, point["score"]) for point in run["points"]]
    colour, marker = COLOURS[run["method"]], MARKERS[run["method"]]
    places, means = [place for place, _ in scores], [100 * score["mean"] for _, score in scores if score is not None]
    spread = [100 * (score["sd"] or 0.0) for _, score in scores if score is not None]
    axes.fill_between(
        places,
        [m - s for m, s in zip(means, spread, strict=True)],
        [m + s for m, s in zip(means, spread, strict=True)],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(places, means, color=colour, linewidth=1.8, marker=marker, markersize=5, label=LABELS[run["method"]])
    hollow = [(point[match] / scale, 100 * point["score"]["mean"]) for point in run["points"] if point["first_stage"]]
    axes.plot(
        *([list(column) for column in zip(*hollow, strict=True)] or [[], []]),
        linestyle="",
        color=colour,
        marker=marker,
        markersize=5,
        markerfacecolor="white",
    )
    for place, score in scores:
        each = [100 * value for value in score["each"]] if score is not None and len(score["each"]) > 1 else []
        axes.plot([place] * len(each), each, linestyle="", marker=marker, color=colour, markersize=2.6, alpha=0.55, markeredgewidth=0)


def _levels(axes: Axes, results: Mapping[str, Any]) -> None:
    """Dashed lines: what needs no such pre-training."""
    if "start" in results["starts"] and "random" in results["starts"]:
        axes.axhline(100 * results["starts"]["random"]["score"]["mean"], color="#777777", linestyle=":", linewidth=1.3, label="no pre-training")
    if results["baselines"]:
        name = max(results["baselines"], key=lambda each: results["baselines"][each])
        axes.axhline(100 * results["baselines"][name], color="#555555", linestyle="--", linewidth=1.1, label=f"{name}, no network")

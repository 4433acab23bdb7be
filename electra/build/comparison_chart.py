"""Rows of measurements -> one picture: how right, how fast, how large each implementation is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from electra import disk
from electra.build.comparison import Comparison
from electra.build.row import Latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
LONGEST_NAME = 34
PATCH = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
"""Behind a number, so that a line through it leaves it readable."""


def draw(found: Comparison, output: Path) -> None:
    """A row per implementation, a panel per question; the reference on top, its value as a dashed line."""
    from matplotlib.figure import Figure

    count = len(found.rows)
    figure = Figure(figsize=(15.0, 0.52 * count + 2.4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 5, sharey=True, width_ratios=(1.1, 1.2, 1.2, 1.2, 0.8))
    score, real, padded, rate, size = panels
    _draw_scores(found, score)
    _draw_latency([row.latency for row in found.rows], real, "one text, real length")
    length = next((row.padded_length for row in found.rows if row.padded_length), 0)
    _draw_latency([row.padded for row in found.rows], padded, f"one text, padded to {length} tokens")
    _draw_throughput(found, rate)
    for place, row in enumerate(found.rows):
        if row.size_bytes is not None:
            size.barh(place, row.size_bytes / 1e6, color=GREY, height=0.55)
            size.annotate(f"{row.size_bytes / 1e6:,.1f}", (row.size_bytes / 1e6, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    size.set_title("size on disk, MB", fontsize=10)
    size.margins(x=0.28)
    for axes in panels:
        axes.grid(alpha=0.25, linewidth=0.6, axis="x")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    score.set_yticks(range(count), [_short(row.name) + (" (failed)" if row.error else "") for row in found.rows], fontsize=9)
    score.set_ylim(count - 0.5, -0.5)
    machine = found.machine
    where = f"{machine.get('processor')}, {found.threads} thread{'s' if found.threads > 1 else ''}"
    figure.suptitle(f"{found.task} ({found.num_examples:,} examples of {found.split}), {found.calls} calls, {where}", fontsize=11)
    with disk.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]


def _draw_scores(found: Comparison, axes: Axes) -> None:
    for place, row in enumerate(found.rows):
        if row.score is None:
            continue
        if row.score_interval is not None:
            axes.plot([100 * end for end in row.score_interval], [place, place], color=BLUE, linewidth=1.6)
        axes.plot(100 * row.score, place, "o", color=BLUE, markersize=6)
        axes.annotate(f"{100 * row.score:.1f}", (100 * row.score, place), (0, 7), textcoords="offset points", ha="center", fontsize=8, bbox=PATCH)
    if found.rows[0].score is not None:
        axes.axvline(100 * found.rows[0].score, color=GREY, linestyle="--", linewidth=0.8)
    axes.set_title(f"{found.metric} x 100, 95% interval", fontsize=10)
    axes.margins(x=0.1)


def _draw_latency(times: list[Latency | None], axes: Axes, title: str) -> None:
    """Dots on a scale of powers, since implementations may be fifty times apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for place, found in enumerate(times):
        if found is None:
            continue
        axes.plot([found.p50_ms, found.p99_ms], [place, place], color=ORANGE, linewidth=1.2)
        axes.plot([found.p90_ms, found.p99_ms], [place, place], "|", color=ORANGE, markersize=9)
        axes.plot(found.p50_ms, place, "o", color=BLUE, markersize=6)
        ratio = "" if found.speedup is None else f"  {found.speedup:.2f}x" + (" (=)" if found.within_noise else "")
        text = f"{found.p50_ms:.1f}{ratio}"
        axes.annotate(text, (found.p50_ms, place), (-4, 7), textcoords="offset points", ha="left", fontsize=8, bbox=PATCH)
    there = [found for found in times if found is not None]
    if there:
        axes.set_xscale("log")
        medians = [found.p50_ms for found in there]
        axes.set_xlim(min(medians) / 1.5, max(8 * max(medians), *(1.5 * found.p99_ms for found in there)))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    if times[0] is not None:
        axes.axvline(times[0].p50_ms, color=GREY, linestyle="--", linewidth=0.8)
    axes.set_title(f"{title}, ms\nmedian; marks at p90 and p99", fontsize=10)


def _draw_throughput(found: Comparison, axes: Axes) -> None:
    sizes = sorted({size for row in found.rows for size in row.throughput})
    height, named = 0.75 / max(1, len(sizes)), set[int]()
    for number, size in enumerate(sizes):
        color = (GREEN, BLUE, ORANGE)[number % 3]
        for place, row in enumerate(found.rows):
            if (rate := row.throughput.get(size)) is not None:
                at = place + (number - (len(sizes) - 1) / 2) * height
                axes.barh(at, rate.texts_per_second, color=color, height=0.9 * height, label="" if size in named else f"batch {size}")
                named.add(size)
                axes.annotate(
                    f"{rate.texts_per_second:,.0f}", (rate.texts_per_second, at), (3, 0), textcoords="offset points", va="center", fontsize=6.5
                )
    axes.set_title("texts per second, real lengths", fontsize=10)
    axes.margins(x=0.2)
    if sizes:
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(sizes))

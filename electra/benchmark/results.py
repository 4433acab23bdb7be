"""Measurements of candidates -> rows, tables for a terminal and in Markdown, JSON, a chart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.errors import UserError, require
from electra.storage import atomic
from electra.tasks import significance
from electra.tasks.significance import Interval
from electra.terminal import data_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from one text to its answer, the tokenizer included."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    num_calls: int
    turns_ms: tuple[tuple[float, ...], ...] = ()
    """Every call, run by run: the calls of a run follow each other, and all candidates have the same texts in it."""
    speedup: float | None = None
    """The reference's median divided by this one's; None for the reference."""
    speedup_interval: Interval | None = None
    """95%, of a paired bootstrap over runs."""

    @property
    def within_noise(self) -> bool:
        """Whether this may be as fast as the reference: the interval contains 1."""
        return self.speedup_interval is not None and self.speedup_interval[0] <= 1.0 <= self.speedup_interval[1]


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Texts answered per second, at real lengths, with texts of similar length together."""

    texts_per_second: float
    """Median of the repetitions."""
    slowest: float
    fastest: float
    speedup: float | None = None
    """Divided by the reference's; None for the reference."""
    within_noise: bool = False
    """Whether the ranges of this and of the reference overlap."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate. What could not be measured is None; `error` says why."""

    name: str
    """Unique among the rows."""
    source: str
    """What was opened."""
    kind: str = ""
    """'checkpoint', or the artifact's target."""
    error: str | None = None
    """Why it could not be measured (completely), in one line."""
    num_examples: int = 0
    """Answered for the score."""
    metric: str = ""
    """The task's main metric."""
    scores: dict[str, float] = field(default_factory=dict)
    """Every metric."""
    score: float | None = None
    """The main one, 0..1 or -1..1."""
    score_interval: Interval | None = None
    """95%: Wilson's for accuracy, else a bootstrap over examples."""
    drop: float | None = None
    """The reference's score minus this one's."""
    drop_interval: Interval | None = None
    """95%, of a paired bootstrap over examples."""
    agreement: float | None = None
    """Share of labels that are the reference's, 0..1."""
    largest_difference: float | None = None
    """Largest absolute difference between this one's logits and the reference's; None where their input tokens differ."""
    latency: Latency | None = None
    """One text at a time, at its real length."""
    padded: Latency | None = None
    """One text at a time, padded to `padded_length` tokens, all of which are computed."""
    padded_length: int = 0
    throughput: dict[int, Throughput] = field(default_factory=dict)
    """Batch size -> texts per second."""
    size_bytes: int | None = None
    """On disk: the model and all other files it needs."""
    peak_memory_bytes: int | None = None
    """Largest resident set of its worker, over all measurements."""
    load_seconds: float | None = None
    """From the request to open it, libraries included, until it is ready; files in the page cache."""
    first_answer_seconds: float | None = None
    """From then to the answer to the first text."""
    build_seconds: float | None = None
    """Of the artifact; None for a checkpoint."""

    def to_dict(self, *, calls: bool = False) -> dict[str, Any]:
        """Plain values, for JSON; `calls`: with the time of every call."""
        out = dataclasses.asdict(self)
        for name in ("latency", "padded"):
            if out[name] is not None:
                out[name]["within_noise"] = getattr(self, name).within_noise
                if not calls:
                    del out[name]["turns_ms"]
        return out


def speedup(
    reference: Sequence[Sequence[float]], other: Sequence[Sequence[float]], *, num_resamples: int = 2000, seed: int = 1
) -> tuple[float, Interval]:
    """Times of two candidates, run by run -> the reference's median divided by the other's, and its interval.

    Runs are resampled in pairs: both candidates had the same texts in a run, at nearly the same time.
    """
    assert len(reference) == len(other) and all(len(one) == len(two) for one, two in zip(reference, other, strict=True))
    ours, theirs = ([np.asarray(run, dtype=np.float64) for run in side] for side in (reference, other))

    def ratio(drawn: Sequence[int]) -> float:
        return float(np.median(np.concatenate([ours[i] for i in drawn])) / np.median(np.concatenate([theirs[i] for i in drawn])))

    found = significance.resample(lambda drawn: np.array([ratio(row) for row in drawn]), len(ours), num_resamples=num_resamples, seed=seed)
    return ratio(range(len(ours))), significance.interval(found)


# ---- tables and JSON ----


FEW_CALLS = 200
BUSY = 0.3
"""Load average per core above which times are unreliable."""
NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidates measured on one split, by one method."""

    task: str
    split: str
    num_examples: int
    calls: int
    threads: int
    machine: Mapping[str, Any]
    rows: Sequence[Row]
    """The first is the reference."""
    command: str = ""
    date: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, with the time of every call."""
        names = ("task", "split", "num_examples", "calls", "threads", "date", "command")
        return {name: getattr(self, name) for name in names} | {"machine": dict(self.machine), "rows": [row.to_dict(calls=True) for row in self.rows]}

    @property
    def metric(self) -> str:
        """The task's main metric."""
        return next((row.metric for row in self.rows if row.metric), "score")

    def conditions(self) -> list[str]:
        """How it was measured, in lines."""
        machine = self.machine
        instructions = ", ".join(machine.get("instruction_set", [])) or "not known"
        memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
        load = f"; load average before {machine['load_before'][0]:.1f}" if machine.get("load_before") else ""
        known = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
        padded = next((row.padded_length for row in self.rows if row.padded_length), 0)
        lines = [
            f"{self.task}, {self.split}: {self.num_examples:,} examples. The reference is {self.rows[0].name}.",
            f"{machine.get('processor')} ({instructions}), {machine.get('cores')} cores{memory}{load}.",
            f"{known}.",
            f"Each in its own process, {self.threads} thread{'s' if self.threads > 1 else ''} pinned to as many cores; runs in random order; "
            f"{self.calls} timed calls of each kind after warm-up, from text to answer, the tokenizer included.",
            f"'padded': every input padded to {padded} tokens, all of them computed; otherwise real lengths, batches grouped by length.",
            "95% intervals: Wilson's for accuracy, otherwise a bootstrap. (=): within noise of the reference: the interval of the difference "
            "contains 0, that of the ratio of medians 1; repetitions of texts per second overlap.",
        ]
        if machine.get("load_before") and machine["load_before"][0] > BUSY * machine.get("cores", 1):
            lines.append("The machine was busy with other work, which slows candidates down unequally: measure again when it is idle.")
        if self.calls < FEW_CALLS:
            lines.append(f"Only {self.calls} calls: the 99th percentile and the intervals of ratios are unreliable.")
        return lines


TableColumns = tuple[Sequence[str], Sequence[Sequence[str]]]


def answer_columns(found: Comparison) -> TableColumns:
    """Scores, agreement, sizes: header and rows."""
    header = ("candidate", "kind", found.metric, "interval", "lost", "agreement", "max logit diff", "size", "memory", "load", "build")
    rows = []
    for row in found.rows:
        rows.append(
            (
                row.name,
                row.kind,
                _points(row.score),
                _interval(row.score_interval),
                NONE if row.drop is None else f"{100 * row.drop:+.2f}{_noise(_holds(row.drop_interval, 0.0))}",
                NONE if row.agreement is None else f"{100 * row.agreement:.2f}%",
                NONE if row.largest_difference is None else f"{row.largest_difference:.2g}",
                _megabytes(row.size_bytes),
                _megabytes(row.peak_memory_bytes),
                _seconds(row.load_seconds),
                _seconds(row.build_seconds),
            )
        )
    return header, rows


def speed_columns(found: Comparison) -> TableColumns:
    """Latency and throughput: header and rows."""
    sizes = sorted({size for row in found.rows for size in row.throughput})
    times = ("p50 / p90 / p99 ms", "speed-up")
    header = ("candidate", *times, *(f"padded: {name}" for name in times), *(f"texts/s, batch {size}" for size in sizes))
    rows = []
    for row in found.rows:
        rates = (_rate(row.throughput.get(size)) for size in sizes)
        rows.append((row.name, *_times(row.latency), *_times(row.padded), *rates))
    return header, rows


def to_markdown(found: Comparison) -> str:
    """table.md."""
    lines = [f"# {found.task}: {len(found.rows)} candidate{'s' if len(found.rows) > 1 else ''}", ""]
    for title, (header, rows) in (("Answers", answer_columns(found)), ("Speed", speed_columns(found))):
        lines += [f"## {title}", "", _line(header), "|---" + "|---:" * (len(header) - 1) + "|", *map(_line, rows), ""]
    failed = [f"- {row.name}: **failed**: {row.error}" for row in found.rows if row.error]
    lines += [*failed, ""] if failed else []
    lines += [line for part in found.conditions() for line in (part, "")]
    return "\n".join([*lines, f"`{found.command}`" if found.command else "", found.date]).rstrip() + "\n"


def to_terminal(found: Comparison) -> RenderableType:
    """The tables for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for title, (header, rows) in (("answers", answer_columns(found)), ("speed", speed_columns(found))):
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
        for number, name in enumerate(header):
            table.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=False)
        for row, values in zip(found.rows, rows, strict=True):
            table.add_row(*map(Text, values), style="red" if row.error else "")
        parts.append(table)
    parts += [Text(f"{row.name} failed: {row.error}", style="red") for row in found.rows if row.error]
    return Group(*parts, *(Text(line, style="dim") for line in found.conditions()))


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def _points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def _interval(ends: Interval | None) -> str:
    return NONE if ends is None else f"{100 * ends[0]:.1f} .. {100 * ends[1]:.1f}"


def _holds(ends: Interval | None, value: float) -> bool:
    return ends is not None and ends[0] <= value <= ends[1]


def _noise(within: bool) -> str:
    return " (=)" if within else ""


def _megabytes(value: int | None) -> str:
    return NONE if value is None else data_size(value) if value < 1e8 else f"{value / 1e6:,.0f} MB"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def _times(found: Latency | None) -> tuple[str, str]:
    if found is None:
        return NONE, NONE
    times = " / ".join(f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in (found.p50_ms, found.p90_ms, found.p99_ms))
    if found.speedup is None or found.speedup_interval is None:
        return times, NONE
    low, high = found.speedup_interval
    return times, f"{found.speedup:.2f}x ({low:.2f} .. {high:.2f}){_noise(found.within_noise)}"


def _rate(found: Throughput | None) -> str:
    if found is None:
        return NONE
    ratio = "" if found.speedup is None else f" ({found.speedup:.2f}x{', =' if found.within_noise else ''})"
    return f"{found.texts_per_second:,.1f}{ratio}"


# ---- chart ----


BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
LONGEST_NAME = 34
PATCH = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
"""Background of a number, so that a line through it does not hide it."""


CHART_FORMATS = (".png", ".svg", ".pdf")


def check_chart(path: Path) -> None:
    """Raises:
    UserError: matplotlib is missing, or `path` cannot be the file of a chart.
    """
    require("matplotlib", "runtime")
    if path.suffix.lower() not in CHART_FORMATS:
        raise UserError(f"--chart {path}: expected a file that ends in {', '.join(CHART_FORMATS)}")
    if path.is_dir():
        raise UserError(f"--chart {path}: is a folder; give a file")


def draw(found: Comparison, output: Path) -> None:
    """Write a chart, in the format that the name ends in: a row per candidate, a panel per quantity; the reference on top, its value dashed."""
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
    with atomic.atomic_file(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:].lower())


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
    """Dots on a log scale: candidates may be fifty times apart."""
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

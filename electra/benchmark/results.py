"""Measurements of candidates -> rows, tables for a terminal and in Markdown, JSON, a chart."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.benchmark.records import NONE, Environment, Latency, Row, TableColumns, Throughput, environment_columns, sealed
from electra.bundled import is_shipped
from electra.errors import UserError, require
from electra.inference.artifact import hub_layout, is_artifact, write_measurements
from electra.settings import CompareSettings
from electra.storage import atomic
from electra.tasks.significance import Interval
from electra.terminal import data_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import RenderableType


# ---- tables and JSON ----


FEW_CALLS = 200


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
    environments: Sequence[Environment] = ()
    """Where the rows were measured; the first is this machine and interpreter. Empty: all rows there."""
    seed: int = 1
    command: str = ""
    date: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, with the time of every call."""
        names = ("task", "split", "num_examples", "calls", "seed", "threads", "date", "command")
        parts = {"machine": dict(self.machine), "environments": [one.to_dict() for one in self.environments]}
        return {name: getattr(self, name) for name in names} | parts | {"rows": [row.to_dict(calls=True) for row in self.rows]}

    @property
    def several(self) -> bool:
        """Whether there is more than one environment."""
        return len(self.environments) > 1

    def label(self, row: Row) -> str:
        """A row's name, with that of its environment where there are several."""
        return f"{row.name} [{row.environment}]" if self.several else row.name

    @property
    def metric(self) -> str:
        """The task's main metric."""
        return next((row.metric for row in self.rows if row.metric), "score")

    def conditions(self) -> list[str]:
        """How it was measured, in lines."""
        padded = next((row.padded_length for row in self.rows if row.padded_length), 0)
        here = self.environments or (Environment(name="", machine=self.machine, threads=self.threads),)
        lines = [f"{self.task}, {self.split}: {self.num_examples:,} examples. The reference is {self.label(self.rows[0])}."]
        if self.several:
            first = here[0].reference
            theirs = [f"{one.name}: {one.reference} on that machine" if one.date else f"{one.name}: {first} [{here[0].name}]" for one in here[1:]]
            lines.append(f"Speed-ups are ratios within one machine. The reference of {'; of '.join(theirs)}.")
        else:
            lines += [f"{here[0].hardware}.", f"{here[0].versions}."]
        lines += [
            f"Each in its own process, {_threads(self.threads)} pinned to as many cores; runs in random order; "
            f"{self.calls} timed calls of each kind after warm-up, from text to answer, the tokenizer included.",
            *(
                [f"'padded': every input padded to {padded} tokens, all of them computed; otherwise real lengths, batches grouped by length."]
                * bool(padded)
            ),
            "95% intervals: Wilson's for accuracy, otherwise a bootstrap. (=): within noise of the reference: the interval of the difference "
            "contains 0, that of the ratio of medians 1; repetitions of texts per second overlap.",
        ]
        if busy := [one.name for one in here if one.busy]:
            where = f" ({', '.join(busy)})" if self.several else ""
            lines.append(f"The machine was busy with other work{where}, which slows candidates down unequally: measure again when it is idle.")
        if self.calls < FEW_CALLS:
            lines.append(f"Only {self.calls} calls: the 99th percentile and the intervals of ratios are unreliable.")
        return lines


def _tables(found: Comparison) -> list[tuple[str, TableColumns]]:
    """Titles and tables."""
    out = [("Answers", answer_columns(found)), ("Speed", speed_columns(found))]
    if not found.several:
        return out
    names = [row.environment for row in found.rows]
    with_names = [
        (title, ((header[0], "environment", *header[1:]), [(row[0], name, *row[1:]) for row, name in zip(rows, names, strict=True)]))
        for title, (header, rows) in out
    ]
    return [("Environments", environment_columns(found.environments, found.date)), *with_names]


def _problems(found: Comparison) -> list[tuple[str, str, str]]:
    """Label, what happened ('failed', 'not measured') and why, of rows without all figures."""
    failed = [(found.label(row), "failed", row.error) for row in found.rows if row.error]
    return failed + [(found.label(row), "not measured", row.skipped) for row in found.rows if row.skipped]


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
    for title, (header, rows) in _tables(found):
        lines += [f"## {title}", "", _line(header), "|---" + "|---:" * (len(header) - 1) + "|", *map(_line, rows), ""]
    failed = [f"- {label}: **{what}**: {why}" for label, what, why in _problems(found)]
    lines += [*failed, ""] if failed else []
    lines += [line for part in found.conditions() for line in (part, "")]
    return "\n".join([*lines, f"`{found.command}`" if found.command else "", found.date]).rstrip() + "\n"


def to_terminal(found: Comparison) -> RenderableType:
    """The tables for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for title, (header, rows) in _tables(found):
        table = Table(title=title.lower(), title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
        for number, name in enumerate(header):
            table.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=False)
        errors = [None] * len(rows) if title == "Environments" else [row.error for row in found.rows]
        for error, values in zip(errors, rows, strict=True):
            table.add_row(*map(Text, values), style="red" if error else "")
        parts.append(table)
    parts += [Text(f"{label} {what}: {why}", style="red" if what == "failed" else "") for label, what, why in _problems(found)]
    return Group(*parts, *(Text(line, style="dim") for line in found.conditions()))


def to_csv(found: Comparison) -> str:
    """table.csv: a line per row, numbers as measured, the environment in words."""
    machines = {one.name: one for one in found.environments}
    sizes = sorted({size for row in found.rows for size in row.throughput})
    rows = []
    for row in found.rows:
        where = machines.get(row.environment, next(iter(found.environments), None))
        values: dict[str, Any] = {
            "candidate": row.name,
            "environment": where.name if where else "",
            "machine": where.summary if where else "",
            "kind": row.kind,
        }
        values |= {"threads": where.threads if where else found.threads, "date": (where and where.date) or found.date, "metric": row.metric}
        values |= {name: getattr(row, name) for name in ("score", "drop", "agreement", "largest_difference", "num_examples")}
        for name, times in (("latency", row.latency), ("padded", row.padded)):
            fields = ("p50_ms", "p90_ms", "p99_ms", "speedup", "within_noise")
            values |= {f"{name}_{item}": None if times is None else getattr(times, item) for item in fields}
        for size in sizes:
            rate = row.throughput.get(size)
            values |= {f"texts_per_second_{size}": rate and rate.texts_per_second, f"texts_per_second_{size}_speedup": rate and rate.speedup}
        values |= {name: getattr(row, name) for name in ("size_bytes", "peak_memory_bytes", "load_seconds", "build_seconds", "error", "skipped")}
        rows.append(values)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


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
    atomic.writable(path)


def draw(found: Comparison, output: Path) -> None:
    """Write a chart, in the format that the name ends in: a row per candidate, a panel per quantity; the reference on top, its value dashed."""
    from matplotlib.figure import Figure

    count = len(found.rows)
    figure = Figure(figsize=(15.0, 0.52 * count + 2.4 + (0.17 * len(found.environments) if found.several else 0.0)), dpi=120, layout="constrained")
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
    score.set_yticks(
        range(count),
        [_short(found.label(row)) + (" (failed)" if row.error else " (not measured)" if row.skipped else "") for row in found.rows],
        fontsize=9,
    )
    score.set_ylim(count - 0.5, -0.5)
    title = f"{found.task} ({found.num_examples:,} examples of {found.split}), {found.calls} calls"
    if found.several:
        title = "\n".join([title, *(f"{one.name}: {one.summary}, {_threads(one.threads)}" for one in found.environments)])
    else:
        title += f", {found.machine.get('processor')}, {_threads(found.threads)}"
    figure.suptitle(title, fontsize=11 if not found.several else 9)
    with atomic.atomic_file(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:].lower())


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


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


# ---- where they are stored ----


def kept_in(settings: CompareSettings) -> list[str]:
    """The models that --keep writes to."""
    return [source for source in settings.models if is_artifact(source) and not is_shipped(source) and not hub_layout(Path(source))]


def check_keep(settings: CompareSettings) -> None:
    """Raises:
    UserError: --keep has nowhere to write.
    """
    if not settings.keep:
        return
    if not (artifacts := kept_in(settings)):
        raise UserError("--keep: none of the models is an artifact of yours with an artefact.json to store measurements in; use --output")
    for source in map(Path, artifacts):
        place = source if source.is_dir() else source.parent
        if not os.access(place, os.W_OK):
            raise UserError(f"--keep: {place} cannot be written; leave --keep out, or use --output")


def keep(found: Comparison, settings: CompareSettings, say: Callable[[str], None]) -> None:
    """Write table.md, table.csv, results.json and compare.png (`output`), the chart, and the rows into the artifacts themselves (`keep`)."""
    if settings.output is not None:
        with atomic.atomic_folder(settings.output) as folder:
            draw(found, folder / "compare.png")
            (folder / "results.json").write_text(json.dumps(sealed(found.to_dict()), indent=1) + "\n", encoding="utf-8")
            (folder / "table.md").write_text(to_markdown(found), encoding="utf-8")
            (folder / "table.csv").write_text(to_csv(found), encoding="utf-8")
        say(f"{settings.output}: table.md, table.csv, results.json, compare.png")
    if settings.chart is not None:
        draw(found, settings.chart)
        say(f"{settings.chart}: chart")
    if settings.keep:
        # Without paths: they mean nothing on another machine.
        places = {one.name: one.summary for one in found.environments}
        rows = [row.to_dict() | {"name": found.label(row), "source": row.name, "environment": places.get(row.environment, "")} for row in found.rows]
        whole = sealed(found.to_dict() | {"command": "", "rows": [row.to_dict(calls=True) | {"source": row.name} for row in found.rows]})
        measured = {row.source for row in found.rows if row.error is None and not row.skipped}
        for source in kept_in(settings):
            if source in measured:
                write_measurements(source, rows, whole)
                say(f"{source}: measurements kept")

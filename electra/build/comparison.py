"""Rows of measurements -> what people read: tables for the terminal and in markdown, and all of it as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from electra.build.row import Interval, Latency, Row, Throughput

if TYPE_CHECKING:
    from rich.console import RenderableType

FEW_CALLS = 200
BUSY = 0.3
"""Running processes per core, on average of a minute, above which times say less."""
NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Implementations of one model on one split, by one method."""

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
            f"Each in a process of its own, {self.threads} thread{'s' if self.threads > 1 else ''} pinned to as many cores; turns in random order; "
            f"{self.calls} timed calls of each kind after warm-up, from text to answer, the tokenizer included.",
            f"'padded': every input filled up to {padded} tokens, all of them computed; else real lengths, and in batches grouped by length.",
            "Intervals are of 95%: Wilson's for an accuracy, else of a bootstrap. (=): within noise of the reference. The interval of the difference "
            "then holds 0, that of the ratio of medians 1; of texts per second the repetitions overlap.",
        ]
        if machine.get("load_before") and machine["load_before"][0] > BUSY * machine.get("cores", 1):
            lines.append("The machine was busy with other work, which slows implementations differently: measure again when it is quiet.")
        if self.calls < FEW_CALLS:
            lines.append(f"Only {self.calls} calls: the 99th percentile and the intervals of ratios say little.")
        return lines


Columns = tuple[Sequence[str], Sequence[Sequence[str]]]


def answer_columns(found: Comparison) -> Columns:
    """How right, and what it costs beside time: header and rows."""
    header = ("implementation", "kind", found.metric, "interval", "lost", "agreement", "max logit diff", "size", "memory", "load", "build")
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


def speed_columns(found: Comparison) -> Columns:
    """How fast: header and rows."""
    sizes = sorted({size for row in found.rows for size in row.throughput})
    times = ("p50 / p90 / p99 ms", "speed-up")
    header = ("implementation", *times, *(f"padded: {name}" for name in times), *(f"texts/s, batch {size}" for size in sizes))
    rows = []
    for row in found.rows:
        rates = (_rate(row.throughput.get(size)) for size in sizes)
        rows.append((row.name, *_times(row.latency), *_times(row.padded), *rates))
    return header, rows


def to_markdown(found: Comparison) -> str:
    """table.md."""
    lines = [f"# {found.task}: {len(found.rows)} implementation{'s' if len(found.rows) > 1 else ''}", ""]
    for title, (header, rows) in (("Answers", answer_columns(found)), ("Speed", speed_columns(found))):
        lines += [f"## {title}", "", _line(header), "|---" + "|---:" * (len(header) - 1) + "|", *map(_line, rows), ""]
    failed = [f"- {row.name}: **failed**: {row.error}" for row in found.rows if row.error]
    lines += [*failed, ""] if failed else []
    lines += [line for part in found.conditions() for line in (part, "")]
    return "\n".join([*lines, f"`{found.command}`" if found.command else "", found.date]).rstrip() + "\n"


def to_terminal(found: Comparison) -> RenderableType:
    """The same for a terminal."""
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
    return NONE if value is None else f"{value / 1e6:,.1f} MB" if value < 1e8 else f"{value / 1e6:,.0f} MB"


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

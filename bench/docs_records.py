"""Records of measurements, and what the makers of the documentation's tables share: their register, and forms of figures.

A maker takes the lines of a table as they are in a page and returns them as they should be.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for makers that ask electra
BENCH, EXPERIMENTS = "bench/records/", "experiments/records/"
MACHINE = BENCH + "2026-11-22-amd-epyc-2-cores.json"
VECTORS = BENCH + "2026-11-30-amd-epyc-2-cores.json"
"""With the named rivals of vectors and re-rankers."""
CLASSIFIERS = BENCH + "2026-11-30-amd-epyc-2-cores-classifiers.json"
"""With those of classifiers."""


class MissingRow(Exception):
    """A new row of a table with hand-written columns."""


Maker = Callable[[list[str]], list[str]]
MAKERS: dict[str, Maker] = {}


def maker(name: str) -> Callable[[Maker], Maker]:
    """Register a function: the lines of a table as they are -> as they should be."""

    def register(function: Maker) -> Maker:
        MAKERS[name] = function
        return function

    return register


@cache
def record(name: str) -> Any:
    """A record, by its path in the repository."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def section(name: str, machine: str = MACHINE) -> Any:
    """The result of a section of the bench."""
    return record(machine)["sections"][name]["result"]


def measured(name: str) -> list[tuple[str, str, Any]]:
    """Every record of `make bench` that has a section -> (its path, machine and date, the section's result), oldest first."""
    out = []
    for path in sorted((ROOT / BENCH).glob("*-cores.json")):
        found = record(place := f"{BENCH}{path.name}")
        if found["sections"].get(name, {}).get("state") == "done" and not found["options"].get("quick"):
            label = f"{re.sub(r'[(].*?[)]| Processor', '', found['machine']['processor']).strip()}, {path.name[:10]}"
            out.append((place, label, found["sections"][name]["result"]))
    return out


def span(values: Iterable[float], pattern: str) -> str:
    """Figures of several machines -> '2.25x to 4.22x'; of one: '4.22x'."""
    shown = [pattern.format(value) for value in sorted(values)]
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Cells -> a markdown table whose first `left` columns are left-aligned."""
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def cells_of(old: Sequence[str]) -> dict[str, dict[str, str]]:
    """The lines of a table -> first cell -> column -> cell."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in old if line.startswith("|") and set(line) - set("|-: ")]
    return {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[1:]}


def kept(old: dict[str, dict[str, str]], name: str, *columns: str) -> list[str]:
    """The hand-written cells of a row.

    Raises:
        MissingRow: there is none; the generator invents no text.
    """
    if name not in old or any(not old[name].get(column) for column in columns):
        raise MissingRow(f"write a row for {name} by hand, with {', '.join(columns)}")
    return [old[name][column] for column in columns]


def percent(value: float, digits: int = 1) -> str:
    """0.8392 -> '83.9'."""
    return f"{100 * value:.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """(0.78, 0.8) -> '78.0 to 80.0'."""
    return "" if ends is None else f"{percent(ends[0], digits)} to {percent(ends[1], digits)}"

"""electra inspect: a path or a name -> a description, as a table or JSON; with --verify, the damaged files."""

from __future__ import annotations

import json
from typing import Any

from electra.inference.inspect import describe, verify
from electra.settings import InspectSettings
from electra.terminal import data_size


def run(settings: InspectSettings) -> int:
    """Print the description, or with --verify a line for each damaged file; exit code 2 if there is one."""
    if settings.verify:
        damaged = verify(settings.path)
        if settings.json:
            print(json.dumps({"path": settings.path, "damaged": damaged}, ensure_ascii=False))
        else:
            print("\n".join(damaged) or f"{settings.path}: every file is as it was written")
        return 2 if damaged else 0
    found = describe(settings.path)
    if settings.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
        return 0
    rows = _rows(found)
    width = min(max(len(name) for name, _ in rows), WIDEST)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _rows(values: dict[str, Any], indent: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        label = indent + name.replace("_", " ")
        if name == "columns" and isinstance(value, dict):
            out += [(label, ""), *((f"{indent}  {column}", _column(found)) for column, found in list(value.items())[:MOST_COLUMNS])]
            out += [("", f"... ({len(value):,} columns in all)")] * (len(value) > MOST_COLUMNS)
        elif name in ("tags", "entries", "operations") and isinstance(value, dict):
            out.append((label, _cut([f"{key} ({_shown(key, item)})" for key, item in value.items()])))
        elif isinstance(value, dict):
            out += [(label, ""), *_rows(value, indent + "  ")]
        elif name == "measured" and value:
            out += [(label, ""), *((f"{indent}  {row['name']}", _measured(row)) for row in value)]
        else:
            out.append((label, _shown(name, value)))
    return out


WIDEST = 40
"""Characters of a name that others are aligned with."""
MOST_COLUMNS, MOST_SHOWN, LONGEST = 40, 12, 300
"""Columns of a table, entries of a list and characters of a text that are shown; --json has all of them."""


def _column(found: dict[str, Any]) -> str:
    """A column of a table in a few words."""
    if "counts" not in found:
        return f"{found['filled']:,} values, such as {_shown('', found['example'])}"
    return _cut([f"{value or '(empty)'} ({count:,})" for value, count in found["counts"].items()])


def _cut(items: list[str]) -> str:
    """The first items of a list, and how many there are in all."""
    shown = ", ".join(items[:MOST_SHOWN])
    return shown + (f", ... ({len(items):,} in all)" if len(items) > MOST_SHOWN else "")


def _measured(row: dict[str, Any]) -> str:
    """A row of `electra compare` in a few words; --json has all of it."""
    if row.get("error") is not None:
        return str(row["error"])
    latency = row.get("latency") or {}
    words = [f"{row['metric']} {row['score']:.4g}"] if row.get("score") is not None else []
    words += [f"{latency['p50_ms']:.3g} ms a text"] if latency.get("p50_ms") is not None else []
    return ", ".join([*words, *([_shown("size_bytes", row["size_bytes"])] if row.get("size_bytes") is not None else [])])


def _shown(name: str, value: Any) -> str:
    if name.endswith("size_bytes") and isinstance(value, int):
        return data_size(value)
    if value is None or isinstance(value, bool):
        return "-" if value is None else "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return _cut(["-" if one is None else _shown("", one) if isinstance(one, str) else str(one)[:LONGEST] for one in value]) if value else "-"
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: 10 * LONGEST]).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."

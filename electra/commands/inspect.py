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
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _rows(values: dict[str, Any], indent: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        label = indent + name.replace("_", " ")
        if isinstance(value, dict):
            out += [(label, ""), *_rows(value, indent + "  ")]
        elif name == "measured" and value:
            out += [(label, ""), *((f"{indent}  {row['name']}", _measured(row)) for row in value)]
        else:
            out.append((label, _shown(name, value)))
    return out


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
        return ", ".join("-" if one is None else str(one) for one in value) if value else "-"
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())

"""A path or a name -> what it is, as a table or JSON."""

from __future__ import annotations

import json
from typing import Any

from electra.inference.inspect import describe
from electra.settings import InspectSettings


def run(settings: InspectSettings) -> None:
    """Print what is there."""
    found = describe(settings.path)
    if settings.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
        return
    rows = _rows(found)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _rows(values: dict[str, Any], indent: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        label = indent + name.replace("_", " ")
        if isinstance(value, dict):
            out += [(label, ""), *_rows(value, indent + "  ")]
        else:
            out.append((label, _shown(name, value)))
    return out


def _shown(name: str, value: Any) -> str:
    if name.endswith("size_bytes") and isinstance(value, int):
        return f"{value / 1e6:,.1f} MB" if value >= 1e5 else f"{value:,} bytes"
    if value is None or isinstance(value, bool):
        return "-" if value is None else "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) if value else "-"
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())

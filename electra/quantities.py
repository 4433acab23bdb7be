"""Numbers as people type them: '0.5%', '30M', '1h30m'."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def fraction(text: str) -> float:
    """'0.5%' -> 0.005, '0.005' -> 0.005.

    Raises:
        ValueError: not a number between 0 and 1 (or 0% and 100%).
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("expected a fraction such as 0.005 or 0.5%")
    return value


def count(text: str) -> int:
    """'250000', '30M', '1.5B' -> a whole number.

    Raises:
        ValueError: none, or below 1.
    """
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)([kMBT]?)", text)
    value = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[match[2]] if match else 0.0
    if value < 1 or value % 1:
        raise ValueError("expected a number such as 250000, 30M or 1.5B")
    return int(value)


def duration(text: str) -> float:
    """'90s', '30m', '1h30m', '2d' -> seconds.

    Raises:
        ValueError: not a duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError("expected a duration such as 90s, 30m or 1h30m")
    return sum(float(a) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[b] for a, b in parts)


def as_typed(value: Any, parse: Callable[[str], Any] | None) -> str:
    """A setting's value as one would type it: (1, 2) -> '1 2'; a duration of 5400.0 -> '1h30m'."""
    if isinstance(value, tuple | list):
        return " ".join(as_typed(one, parse) for one in value)
    if parse is not duration or not value:
        return str(value)
    rest, parts = float(value), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if rest >= seconds:
            parts.append(f"{int(rest // seconds)}{unit}")
            rest %= seconds
    return "".join(parts) + (f"{rest:g}s" if rest or not parts else "")

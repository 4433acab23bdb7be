"""How far a stream of answers has come, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def counted(items: Iterable[T], what: str, by: str = "") -> Iterator[T]:
    """The same items; every ten seconds, and at the end of anything longer, a line says how many there were and how fast; then `by` whom."""
    start = last = time.monotonic()
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            _say(number, what, now - start)
    if last != start:
        _say(number, what, time.monotonic() - start)
    if by:
        print(by, file=sys.stderr, flush=True)


def _say(number: int, what: str, seconds: float) -> None:
    print(f"{number:,} {what}, {number / seconds:,.0f} {what}/s", file=sys.stderr, flush=True)

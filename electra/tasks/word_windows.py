"""Words as pieces -> windows a network can read; a sentence is never cut.

Windows hold whole words and overlap. Each word belongs to exactly one of them, where the smaller of its two contexts is largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

OVERLAP_FRACTION = 0.25
"""Share of a window that its neighbour also reads."""


class WordWindow(NamedTuple):
    """A range of words, and the part of it that this window decides. Ends are excluded."""

    start: int
    stop: int
    first: int
    last: int


def split_words(lengths: Sequence[int], capacity: int) -> list[WordWindow]:
    """Pieces of each word, pieces a window holds -> windows that cover all words; a word above the capacity has a window's room of pieces.

    The last window reaches as far back as it can. An empty sentence has one window.
    """
    if sum(lengths) <= capacity:
        return [WordWindow(0, len(lengths), 0, len(lengths))]
    begins = [0, *accumulate(min(length, capacity) for length in lengths)]
    bounds: list[tuple[int, int]] = []
    start = stop = 0
    while stop < len(lengths):
        while stop < len(lengths) and begins[stop + 1] - begins[start] <= capacity:
            stop += 1
        bounds.append((start, stop))
        start += 1
        while start < stop and begins[stop] - begins[start] > capacity * OVERLAP_FRACTION:
            start += 1
    start, stop = bounds.pop()
    while start > 0 and begins[stop] - begins[start - 1] <= capacity:
        start -= 1
    bounds.append((start, stop))
    windows, first = [], 0
    for index, (start, stop) in enumerate(bounds):
        last = stop if index + 1 == len(bounds) else _border(begins, bounds[index + 1][0], stop)
        if last > first:
            windows.append(WordWindow(start, stop, first, last))
            first = last
    return windows


def _border(begins: Sequence[int], start: int, stop: int) -> int:
    """The first word of the overlap start..stop that has more before it in the later window than behind it in the earlier one."""
    for word in range(start, stop):
        if begins[stop] - 1 - begins[word] < begins[word] - begins[start]:
            return word
    return stop

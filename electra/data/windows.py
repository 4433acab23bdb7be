"""Texts of any length -> overlapping windows of their tokens, so that nothing is cut off.

Every token belongs to exactly one window: between two neighbours the border lies in the middle of their overlap, so a token is answered
where it has most context on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

OVERLAP_FRACTION = 0.25
"""Share of a window that its neighbour also reads."""


@dataclass(frozen=True)
class Window:
    """A range of a text's tokens, and the part of it this window answers for. All are token indices, ends excluded."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def num_answered(self) -> int:
        """Tokens this window answers for; an empty text still has one answer."""
        return max(1, self.last - self.first)


def split(num_tokens: int, capacity: int) -> list[Window]:
    """Number of tokens, longest window -> windows that cover them all; the last one ends with the text.

    Raises:
        ValueError: the capacity is not positive.
    """
    if capacity < 1:
        raise ValueError("a window holds at least one token")
    if num_tokens <= capacity:
        return [Window(0, num_tokens, 0, num_tokens)]
    stride = max(1, capacity - int(capacity * OVERLAP_FRACTION))
    starts = [*range(0, num_tokens - capacity, stride), num_tokens - capacity]
    borders = [0, *((after + before + capacity) // 2 for before, after in pairwise(starts)), num_tokens]
    return [Window(start, start + capacity, first, last) for start, (first, last) in zip(starts, pairwise(borders), strict=True)]


def split_pair(num_first: int, num_second: int, capacity: int) -> Iterator[tuple[Window, Window]]:
    """Numbers of tokens of two texts, longest window of both together -> every window of the first with every window of the second.

    The shorter text is kept whole while it takes at most half of the room.
    """
    shorter = min(num_first, num_second)
    share = capacity - shorter if shorter <= capacity // 2 else capacity // 2
    room_first = share if num_first > num_second else capacity - share
    if num_first + num_second <= capacity:
        room_first = num_first or 1
    for first in split(num_first, max(1, room_first)):
        for second in split(num_second, max(1, capacity - room_first)):
            yield first, second

"""Text without spaces: which characters always stand alone, and where the runs between them lie.

BERT's rules make a token of every Chinese character and of every punctuation mark, whatever stands beside it. So most of a Chinese text is
a table from characters to ids, and only what lies between (words of letters, numbers, kana) is to be looked up or tokenized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_CODES = 0x110000
_UNKNOWN, _RUN, _GAP, _ALONE = range(4)
"""Of a character: never met; part of a run; nothing but a gap between tokens; a token of its own."""
GAP = -1
"""What is told of a gap where an id is told of a token."""
_BRACKET, _NEWLINE, _SPACE = (ord(character) for character in "[\n ")


@dataclass(frozen=True)
class Cuts:
    """A text's units, in order: characters that stand alone and runs between them."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """(R,) bytes where each run starts, and how many it has."""
    is_run: NDArray[np.bool_]
    """(U,)"""
    ids: NDArray[Any]
    """(U - R,) of the characters alone."""
    line: NDArray[np.int64]
    """(U,) which line a unit is in."""
    num_lines: int


class Characters:
    """A table over all of Unicode, filled as characters are met."""

    def __init__(self, stands_alone: Callable[[str], int | None], dtype: np.dtype[Any]) -> None:
        """`stands_alone`: a character -> its id where it is a token whatever is beside it, GAP where it only parts tokens, else None."""
        self._stands_alone = stands_alone
        self._kinds = np.zeros(NUM_CODES, np.uint8)
        self._ids = np.zeros(NUM_CODES, dtype)
        self._kinds[[_NEWLINE, _SPACE]] = _GAP

    def cut(self, text: bytes) -> Cuts:
        """UTF-8 lines -> their units. What has a '[' between two spaces may hold a special piece and stays whole."""
        codes = np.frombuffer((text + b"\n").decode("utf-8").encode("utf-32-le"), "<u4")
        kinds = self._kinds[codes]
        if not kinds.all():
            self._learn(np.unique(codes[kinds == _UNKNOWN]).tolist())
            kinds = self._kinds[codes]
        newline = codes == _NEWLINE
        if (bracket := codes == _BRACKET).any():
            part = np.cumsum(newline | (codes == _SPACE))
            held = np.zeros(int(part[-1]) + 1, bool)
            held[part[bracket]] = True
            kinds[held[part] & ~newline & (codes != _SPACE)] = _RUN
        run = kinds == _RUN
        first, last = run.copy(), run.copy()
        first[1:] &= ~run[:-1]
        last[:-1] &= ~run[1:]
        ends = np.cumsum(_width(codes), dtype=np.int64)
        unit = np.flatnonzero(first | (kinds == _ALONE))
        is_run = first[unit]
        starts = ends[unit[is_run]] - _width(codes[unit[is_run]])
        line = np.cumsum(newline)
        return Cuts(starts, ends[last] - starts, is_run, self._ids[codes[unit[~is_run]]], line[unit], int(line[-1]))

    def _learn(self, codes: list[int]) -> None:
        for code in codes:
            found = self._stands_alone(chr(code))
            self._kinds[code] = _RUN if found is None else _GAP if found == GAP else _ALONE
            self._ids[code] = found if found is not None and found != GAP else 0


def _width(codes: NDArray[Any]) -> NDArray[np.int8]:
    """Bytes of characters in UTF-8."""
    return (codes >= 0x80).view(np.int8) + (codes >= 0x800) + (codes >= 0x10000) + np.int8(1)

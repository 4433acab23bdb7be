"""One or two texts' ids -> what a network of limited length reads of them.

head       the beginning: the longer of two texts loses its end first (the original's rule)
tail       the end
head-tail  a quarter from the beginning, the rest from the end: 128 and 382 tokens of 512, the best of Sun et al. 2019, "How to
           Fine-Tune BERT for Text Classification?", section 5.3.1
windows    all of it, in overlapping windows that each carry the label in training and are averaged in the answer
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra.data.windows import split, split_pair
from electra.errors import UserError

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

TRUNCATIONS = ("head", "tail", "head-tail", "windows")
SHORTEST_WINDOW = 8


def fit(first: Sequence[int], second: Sequence[int] | None, tokenizer: Tokenizer, max_length: int, how: str) -> list[tuple[list[int], list[int]]]:
    """Ids of one or two texts -> (ids, segments) of each part that is read: one, or the windows.

    Raises:
        UserError: windows of fewer than eight tokens.
    """
    if len(first) + len(second or ()) + (2 if second is None else 3) <= max_length or how == "head":
        return [tokenizer.wrap(first, second, max_length)]
    if how == "windows":
        if max_length < SHORTEST_WINDOW:
            raise UserError(f"--max-length {max_length} leaves no room for windows; give at least {SHORTEST_WINDOW}")
        if second is None:
            return [tokenizer.wrap(first[window.start : window.stop]) for window in split(len(first), max_length - 2)]
        pairs = split_pair(len(first), len(second), max_length - 3)
        return [tokenizer.wrap(first[a.start : a.stop], second[b.start : b.stop]) for a, b in pairs]
    kept_first, kept_second = kept_lengths(len(first), None if second is None else len(second), max_length)
    return [tokenizer.wrap(shorten(first, kept_first, how), None if second is None else shorten(second, kept_second, how))]


def kept_lengths(first: int, second: int | None, max_length: int) -> tuple[int, int]:
    """Tokens of one or two texts -> how many of each are kept: tokens leave the longer one, the second where both are equal."""
    if second is None:
        return min(first, max(0, max_length - 2)), 0
    room = max(0, max_length - 3)
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def shorten(ids: Sequence[int], kept: int, how: str) -> Sequence[int]:
    """`kept` of a text's ids: its last, or a quarter from its beginning and the rest from its end."""
    if len(ids) <= kept:
        return ids
    # Rounded so that [CLS] and [SEP] count as if they were part of the text: 128 of 512.
    before = 0 if how == "tail" else (kept + 2) // 4
    return [*ids[:before], *ids[len(ids) - (kept - before) :]]

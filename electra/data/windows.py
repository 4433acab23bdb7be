"""Texts of any length -> overlapping windows of their tokens, so that nothing is cut off.

Every token belongs to exactly one window: between two neighbours the border lies in the middle of their overlap, so a token is answered
where it has most context on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from electra.errors import UserError

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer


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


# ---- Words as pieces -> windows a network can read; a sentence is never cut ----


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


# ---- Texts of any length -> pieces a network can read; nothing is ever cut off ----


S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

CHUNK_BATCHES = 32
"""Batches' worth of texts among which texts of similar length are grouped."""
CHUNK_CHARACTERS = 2_000_000
"""A chunk of texts closes at this many characters, whatever their number: memory stays bounded."""


@dataclass(frozen=True)
class Piece:
    """One window of a text, wrapped for the network."""

    ids: Sequence[int]
    """Word-piece ids with [CLS] and [SEP]."""
    segments: Sequence[int]
    window: Window
    weight: int = 1
    """Weight of this piece's answer among those of its text (the tokens it answers for)."""
    queries: tuple[tuple[int, float], ...] = ()
    """(index into ids, uniform number): where a generator is asked for words."""

    @property
    def inside(self) -> slice:
        """Where the tokens this piece answers for stand in `ids` (behind [CLS])."""
        return slice(1 + self.window.first - self.window.start, 1 + self.window.last - self.window.start)


def single_pieces(ids: Sequence[int], tokenizer: Tokenizer, max_length: int) -> list[Piece]:
    """Ids of one text, without special tokens -> its pieces."""
    out = []
    for window in split(len(ids), max_length - 2):
        wrapped, segments = tokenizer.wrap(ids[window.start : window.stop])
        out.append(Piece(wrapped, segments, window, window.num_answered))
    return out


def pair_pieces(ids: Sequence[int], ids_pair: Sequence[int], tokenizer: Tokenizer, max_length: int) -> list[Piece]:
    """Ids of two texts -> pieces; every window of the first meets every window of the second.

    The shorter text is kept whole while it takes at most half of the room.
    """
    out = []
    for a, b in split_pair(len(ids), len(ids_pair), max_length - 3):
        wrapped, segments = tokenizer.wrap(ids[a.start : a.stop], ids_pair[b.start : b.stop])
        out.append(Piece(wrapped, segments, a, a.num_answered * b.num_answered))
    return out


def chunks(items: Iterable[T], size: Callable[[T], int], batch_size: int) -> Iterator[list[T]]:
    """Items -> lists of them: one batch first, so that the first answer comes soon, then twice as many up to CHUNK_BATCHES."""
    chunk: list[T] = []
    characters, limit = 0, batch_size
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except UserError:
            # What came before the bad item is still answered.
            if chunk:
                yield chunk
            raise
        chunk.append(item)
        characters += size(item)
        if len(chunk) >= limit or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters, limit = [], 0, min(2 * limit, CHUNK_BATCHES * batch_size)
    if chunk:
        yield chunk


def answer(
    items: Iterable[T],
    *,
    prepare: Callable[[list[T]], list[tuple[S, list[Piece]]]],
    run: Callable[[list[Piece]], Sequence[R]],
    size: Callable[[T], int],
    batch_size: int,
) -> Iterator[tuple[S, list[Piece], list[R]]]:
    """Stream items through a network in constant memory; answers come in the order of the items.

    Within a chunk, pieces are sorted by length and run `batch_size` at a time, the longest first.

    Args:
        items: anything, endless if need be.
        prepare: items -> for each what its answer will need, and its pieces.
        run: a batch of pieces -> one result per piece; called with at most `batch_size` pieces of similar length.
        size: characters of an item.
        batch_size: pieces at a time.

    Yields:
        (what prepare gave, pieces, results) of each item.
    """
    for chunk in chunks(items, size, batch_size):
        prepared = prepare(chunk)
        pieces = list(chain.from_iterable(part for _, part in prepared))
        order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids))
        results: dict[int, R] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            results.update(zip(batch, run([pieces[i] for i in batch]), strict=True))
        position = 0
        for source, part in prepared:
            yield source, part, [results[position + i] for i in range(len(part))]
            position += len(part)

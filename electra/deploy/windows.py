"""Texts of any length -> pieces a network can read; nothing is ever cut off.

A text longer than the network's limit is read in overlapping windows. Every token belongs to exactly one of them: between two
neighbours the border lies in the middle of their overlap, so a token is answered where it has most context on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from electra.data.windows import Window, split, split_pair
from electra.errors import UserError

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

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

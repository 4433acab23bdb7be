"""Texts of any length -> overlapping windows that a model can read -> one result per text, in order and in constant memory.

Every token belongs to exactly one window: between two neighbours the border is in the middle of their overlap, so a token is answered
where it has most context on both sides. Words are never split over two windows.
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
"""Share of a window that its neighbor also reads."""


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

    The shorter text is kept whole while it takes at most half of the capacity.
    """
    shorter = min(num_first, num_second)
    share = capacity - shorter if shorter <= capacity // 2 else capacity // 2
    first_capacity = share if num_first > num_second else capacity - share
    if num_first + num_second <= capacity:
        first_capacity = num_first or 1
    for first in split(num_first, max(1, first_capacity)):
        for second in split(num_second, max(1, capacity - first_capacity)):
            yield first, second


# ---- words ----


class WordWindow(NamedTuple):
    """A range of words, and the part of it that this window decides. Ends are excluded."""

    start: int
    stop: int
    first: int
    last: int


def split_words(lengths: Sequence[int], capacity: int) -> list[WordWindow]:
    """Tokens of each word, tokens a window holds -> windows that cover all words; of a word above the capacity a window's tokens are read.

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
    """The first word of the overlap start..stop that has more before it in the later window than after it in the earlier one."""
    for word in range(start, stop):
        if begins[stop] - 1 - begins[word] < begins[word] - begins[start]:
            return word
    return stop


# ---- streams of texts ----


S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

CHUNK_BATCHES = 32
"""Batches of texts among which texts of similar length are grouped."""
CHUNK_CHARACTERS = 2_000_000
"""A chunk of texts closes at this many characters, whatever their number: memory stays bounded."""


@dataclass(frozen=True)
class WindowInput:
    """One window of a text as the model reads it."""

    ids: Sequence[int]
    """Token ids with [CLS] and [SEP]."""
    segments: Sequence[int]
    window: Window
    queries: tuple[tuple[int, float], ...] = ()
    """(index into ids, uniform number) of each position whose vocabulary logits are wanted."""

    @property
    def inside(self) -> slice:
        """The part of `ids` that this window answers for ([CLS] comes before the window's tokens)."""
        return slice(1 + self.window.first - self.window.start, 1 + self.window.last - self.window.start)


def text_windows(ids: Sequence[int], tokenizer: Tokenizer, max_length: int) -> list[WindowInput]:
    """Ids of one text, without special tokens -> its windows of at most `max_length` tokens."""
    return [WindowInput(*tokenizer.wrap(ids[window.start : window.stop]), window) for window in split(len(ids), max_length - 2)]


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


def run_sorted(inputs: Sequence[T], run: Callable[[list[T]], Iterable[R]], length: Callable[[T], int], batch_size: int) -> list[R]:
    """Inputs -> their results, in order; `run` gets at most `batch_size` of similar length, the longest first: memory runs out at once or never."""
    order = sorted(range(len(inputs)), key=lambda i: -length(inputs[i]))
    results: dict[int, R] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        results.update(zip(batch, run([inputs[i] for i in batch]), strict=True))
    return [results[i] for i in range(len(inputs))]


def run_windows(
    items: Iterable[T],
    *,
    prepare: Callable[[list[T]], list[tuple[S, list[WindowInput]]]],
    run: Callable[[list[WindowInput]], Sequence[R]],
    size: Callable[[T], int],
    batch_size: int,
) -> Iterator[tuple[S, list[WindowInput], list[R]]]:
    """Stream items through a model in constant memory, in their order.

    Args:
        items: any number of them.
        prepare: items -> for each what its result will need, and its windows.
        run: a batch of windows -> one result per window.
        size: characters of an item.
        batch_size: windows at a time.

    Yields:
        (what `prepare` returned, windows, results) of each item.
    """
    for chunk in chunks(items, size, batch_size):
        prepared = prepare(chunk)
        inputs = list(chain.from_iterable(part for _, part in prepared))
        results = run_sorted(inputs, run, lambda item: len(item.ids), batch_size)
        position = 0
        for source, part in prepared:
            yield source, part, results[position : position + len(part)]
            position += len(part)

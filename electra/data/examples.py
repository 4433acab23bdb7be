"""documents of a shard -> [CLS] a [SEP] b [SEP] examples, by the original's segment rules, on the fly.

Rules (original: `ExampleBuilder` in `build_pretraining_dataset.py`): the lines of one document are packed until they reach
the target length; 10% of examples have one segment, the others are divided near the middle at a line's end; after each
example the next one's target is, in 5% of cases, a random length between 5 and the full one.

One difference: the original cuts what stands beyond the full length, so most of a long paragraph is never seen. Here a line
longer than an example is first cut into consecutive pieces, each treated as a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from electra.data.words import PackedBits

WHOLE = 100_000
"""First-segment target of a one-segment example: longer than any example."""


@dataclass(frozen=True)
class Plan:
    """Where the examples of one shard part lie."""

    pieces: np.ndarray
    """(P + 1,) int64 token offsets of pieces (lines, or parts of long ones)."""
    first: np.ndarray
    """(N,) int64 index of each example's first piece."""
    last: np.ndarray
    """(N,) int64 index past its last piece."""
    targets: np.ndarray
    """(N,) int64 target length of each example."""
    stored: bool = False
    """Whether the pieces of an example are its segments."""

    def __len__(self) -> int:
        return len(self.first)


def cut_lines(line_starts: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """(n + 1,) token offsets of lines -> (P + 1,) offsets of pieces of at most `room` tokens, and (n + 1,) index of each line's first piece."""
    lengths = np.diff(line_starts)
    counts = np.maximum(1, -(-lengths // room))
    first = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=first[1:])
    within = np.arange(first[-1]) - np.repeat(first[:-1], counts)
    starts = np.repeat(line_starts[:-1], counts) + within * room
    return np.append(starts, line_starts[-1]), first


def plan_examples(line_starts: np.ndarray, document_starts: np.ndarray, length: int, rng: np.random.Generator, short_example_prob: float) -> Plan:
    """Token offsets of lines (n + 1,), line indices of documents (d + 1,) -> where the examples of this pass lie.

    `length` is the full example length, special tokens included.
    """
    line_starts = np.asarray(line_starts, np.int64)
    pieces, first_piece = cut_lines(line_starts, length - 3)
    ends = set(first_piece[np.asarray(document_starts, np.int64)[1:]].tolist())
    sizes = np.diff(pieces).tolist()
    # One example needs at least one piece: this many draws are always enough.
    short = (rng.random(len(sizes) + 1) < short_example_prob).tolist()
    targets = rng.integers(5, length, len(sizes) + 1, endpoint=True).tolist()
    firsts: list[int] = []
    lasts: list[int] = []
    wanted: list[int] = []
    start, filled, target = 0, 0, length
    for index, size in enumerate(sizes, 1):
        filled += size
        if filled >= target or index in ends:
            if filled:
                firsts.append(start)
                lasts.append(index)
                wanted.append(target)
                target = targets[len(firsts)] if short[len(firsts)] else length
            start, filled = index, 0
    as_array = [np.array(v, np.int64) for v in (firsts, lasts, wanted)]
    return Plan(pieces, as_array[0], as_array[1], as_array[2])


def plan_stored(line_starts: np.ndarray, document_starts: np.ndarray, length: int) -> Plan:
    """The same for documents that each are an example already."""
    starts = np.asarray(document_starts, np.int64)
    return Plan(np.asarray(line_starts, np.int64), starts[:-1], starts[1:], np.full(len(starts) - 1, length, np.int64), stored=True)


def divide(sizes: list[int], target: int, rng: np.random.Generator, single_segment_prob: float) -> list[bool]:
    """Sizes of an example's pieces -> for each, whether it goes to the first segment (the original's rule, line by line)."""
    wanted = WHOLE if rng.random() < single_segment_prob else (target - 3) // 2
    one = two = 0
    out = []
    for size in sizes:
        into_first = one == 0 or one + size < wanted or (two == 0 and one < wanted and rng.random() < 0.5)
        if into_first:
            one += size
        else:
            two += size
        out.append(into_first)
    return out


@dataclass(frozen=True)
class Layout:
    """Which tokens of a part make an example, and in which segment."""

    first: int
    last: int
    """Its tokens are first .. last - 1 of the part's, as far as they fit."""
    belongs: np.ndarray
    """(last - first,) bool: whether a token is of the first segment."""
    length: int
    """Full example length, special tokens included."""

    def fill(self, values: np.ndarray | PackedBits, opening: int, closing: int) -> tuple[np.ndarray, np.ndarray]:
        """Something known of every token of the part -> the same of the example's n tokens, [CLS] having `opening` and [SEP] `closing`; segments."""
        tokens = np.asarray(values[self.first : self.last], np.int64)
        one = tokens[self.belongs][: self.length - 2]
        two = tokens[~self.belongs][: max(0, self.length - len(one) - 3)]
        parts = [[opening], one, [closing]]
        if len(two):
            parts += [two, [closing]]
        segments = np.zeros(len(one) + 2 + (len(two) + 1 if len(two) else 0), np.int64)
        segments[len(one) + 2 :] = 1
        return np.concatenate(parts).astype(np.int64, copy=False), segments


def lay_out(plan: Plan, index: int, length: int, rng: np.random.Generator, single_segment_prob: float) -> Layout:
    """Example `index` of a plan -> which tokens it has, n <= length with [CLS] and [SEP]."""
    bounds = plan.pieces[plan.first[index] : plan.last[index] + 1].tolist()
    sizes = [b - a for a, b in pairwise(bounds)]
    into_first = [i == 0 for i in range(len(sizes))] if plan.stored else divide(sizes, int(plan.targets[index]), rng, single_segment_prob)
    return Layout(bounds[0], bounds[-1], np.repeat(into_first, sizes), length)


def build_example(
    ids: np.ndarray, plan: Plan, index: int, length: int, rng: np.random.Generator, cls_id: int, sep_id: int, single_segment_prob: float
) -> tuple[np.ndarray, np.ndarray]:
    """Example `index` of a plan -> its ids and segment ids, both (n,) int64, n <= length.

    `ids` are the tokens of the whole part (memory-mapped).
    """
    return lay_out(plan, index, length, rng, single_segment_prob).fill(ids, cls_id, sep_id)

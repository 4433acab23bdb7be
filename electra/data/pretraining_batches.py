"""Tokenized datasets -> an endless stream of this rank's pre-training batches, whose position can be saved and restored.

    split -> chunks of whole documents -> plan (where examples start and end) -> examples [CLS] a [SEP] b [SEP] -> Batch

Segment rules are the original's (`build_pretraining_dataset.py`), applied on the fly, so every epoch has other examples.

Order: in each epoch the chunks of a dataset are shuffled; the examples of a window of chunks are planned and shuffled together. Several
datasets are mixed example by example, by weight. Every example has a global index; rank r of n takes the indices r, r + n, r + 2n ..., so
the examples of n ranks together are those of one. What is random about an example is seeded by the run's seed and that index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from electra.contracts import Batch
from electra.settings import DataSettings
from electra.terminal import say

if TYPE_CHECKING:
    from electra.data.shards import Split
    from electra.data.word_boundaries import PackedBits
    from electra.data.word_statistics import MaskingInfo

CHUNK_TOKENS = 1_000_000
"""Tokens of a chunk."""
WINDOW_CHUNKS = 16
"""Chunks planned and shuffled together: about 125,000 examples of 128 tokens, a few MB of plan."""
PLANNING = 2
"""How examples are planned. 1: lines longer than an example were cut (before 2026-11-30)."""
UNLIMITED = 100_000
"""First-segment target of a one-segment example: longer than any example."""
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

# ---- examples ----


@dataclass(frozen=True)
class ExamplePlan:
    """Where the examples of a chunk are."""

    spans: np.ndarray
    """(P + 1,) int64 token offsets of spans: lines, or parts of long lines."""
    first: np.ndarray
    """(N,) int64 index of each example's first span."""
    last: np.ndarray
    """(N,) int64 index after its last span."""
    targets: np.ndarray
    """(N,) int64 target length of each example."""
    stored: bool = False
    """Whether the spans of an example are its segments."""

    def __len__(self) -> int:
        return len(self.first)


def plan_examples(
    line_starts: np.ndarray, document_starts: np.ndarray, length: int, rng: np.random.Generator, short_example_prob: float
) -> ExamplePlan:
    """Token offsets of lines (n + 1,), line indices of documents (d + 1,) -> the examples of this epoch.

    `length` is the full example length, special tokens included. With `short_example_prob` an example has a random shorter target. A line that is
    longer than an example continues in the next one. Of a shorter line that makes an example full, what does not fit is left out, as in the
    original.
    """
    line_starts = np.asarray(line_starts, np.int64)
    longest, sizes = length - 3, np.diff(line_starts)
    ends = set(np.asarray(document_starts, np.int64)[1:].tolist())
    # An example has at least one span, so this many random numbers are always enough.
    most = int(np.maximum(1, -(-sizes // longest)).sum() + (sizes > longest).sum()) + 1
    short = (rng.random(most) < short_example_prob).tolist()
    targets = rng.integers(5, length, most, endpoint=True).tolist()
    spans = [int(line_starts[0])]
    firsts: list[int] = []
    lasts: list[int] = []
    chosen: list[int] = []
    start, filled, target = 0, 0, length

    def close() -> None:
        nonlocal start, filled, target
        if filled:
            firsts.append(start)
            lasts.append(len(spans) - 1)
            chosen.append(target)
            target = targets[len(firsts)] if short[len(firsts)] else length
        start, filled = len(spans) - 1, 0

    for index, size in enumerate(sizes.tolist(), 1):
        if size <= longest:
            spans.append(spans[-1] + size)
            filled += size
            if filled >= target:
                close()
        else:  # it fills this example, and goes on in the next ones
            rest = size
            while rest:
                if filled >= longest:
                    close()
                taken = min(rest, longest - filled)
                spans.append(spans[-1] + taken)
                filled, rest = filled + taken, rest - taken
                if filled >= min(target, longest):
                    close()
        if index in ends:
            close()
    as_array = [np.array(v, np.int64) for v in (spans, firsts, lasts, chosen)]
    return ExamplePlan(as_array[0], as_array[1], as_array[2], as_array[3])


def plan_stored(line_starts: np.ndarray, document_starts: np.ndarray, length: int) -> ExamplePlan:
    """The same where each document is already an example, its lines the segments."""
    starts = np.asarray(document_starts, np.int64)
    return ExamplePlan(np.asarray(line_starts, np.int64), starts[:-1], starts[1:], np.full(len(starts) - 1, length, np.int64), stored=True)


def divide(sizes: list[int], target: int, rng: np.random.Generator, single_segment_prob: float) -> list[bool]:
    """Sizes of an example's spans -> for each, whether it goes to the first segment (the original's rule, line by line)."""
    first_target = UNLIMITED if rng.random() < single_segment_prob else (target - 3) // 2
    one = two = 0
    out = []
    for size in sizes:
        into_first = one == 0 or one + size < first_target or (two == 0 and one < first_target and rng.random() < 0.5)
        if into_first:
            one += size
        else:
            two += size
        out.append(into_first)
    return out


@dataclass(frozen=True)
class ExampleLayout:
    """Which tokens of a split make an example, and in which segment."""

    first: int
    last: int
    """Its tokens are first .. last - 1, as far as they fit."""
    in_first: np.ndarray
    """(last - first,) bool: whether a token is in the first segment."""
    length: int
    """Maximum example length, special tokens included."""

    def fill(self, values: np.ndarray | PackedBits, opening: int, closing: int) -> tuple[np.ndarray, np.ndarray]:
        """A value per token of the split -> (n,) the values of the example, `opening` at [CLS] and `closing` at [SEP]; (n,) segment ids."""
        tokens = np.asarray(values[self.first : self.last], np.int64)
        one = tokens[self.in_first][: self.length - 2]
        two = tokens[~self.in_first][: max(0, self.length - len(one) - 3)]
        parts = [[opening], one, [closing]]
        if len(two):
            parts += [two, [closing]]
        segments = np.zeros(len(one) + 2 + (len(two) + 1 if len(two) else 0), np.int64)
        segments[len(one) + 2 :] = 1
        return np.concatenate(parts).astype(np.int64, copy=False), segments


def example_layout(plan: ExamplePlan, index: int, length: int, rng: np.random.Generator, single_segment_prob: float) -> ExampleLayout:
    """Example `index` of a plan -> its tokens; n <= `length` with [CLS] and [SEP]."""
    bounds = plan.spans[plan.first[index] : plan.last[index] + 1].tolist()
    sizes = [b - a for a, b in pairwise(bounds)]
    into_first = [i == 0 for i in range(len(sizes))] if plan.stored else divide(sizes, int(plan.targets[index]), rng, single_segment_prob)
    return ExampleLayout(bounds[0], bounds[-1], np.repeat(into_first, sizes), length)


# ---- batches ----

Features = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Ids, segments and, where the dataset has word boundaries, whether each token begins a word; all (n,)."""


class SpecialTokens(Protocol):
    """What examples need of a tokenizer."""

    cls_id: int
    sep_id: int
    special_ids: frozenset[int]


def example_key(seed: int, index: int) -> int:
    """The seed of all randomness about one example: splitmix64 of the run's seed and the global index, as a signed 64-bit number."""
    state = (seed * 0xD1B54A32D192ED03 + (index + 1) * _GOLDEN) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    state ^= state >> 31
    return state - (1 << 64) if state >> 63 else state


def collate(features: Sequence[tuple[Any, Any]], keys: Sequence[int] | None = None, labels: Any = None) -> Batch:
    """(ids, segments) of B sequences (lists or arrays), their per-example seeds and task labels -> Batch, without padding."""
    lengths = tuple(len(ids) for ids, _ in features)
    counts = np.array(lengths, np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    ids = np.concatenate([np.asarray(i, np.int64) for i, _ in features])
    segments = np.concatenate([np.asarray(s, np.int64) for _, s in features])
    return Batch(
        ids=torch.from_numpy(ids),
        segments=torch.from_numpy(segments),
        positions=torch.from_numpy(np.arange(len(ids)) - starts[rows]),
        rows=torch.from_numpy(rows),
        keys=torch.tensor(list(keys) if keys is not None else [example_key(0, i) for i in range(len(lengths))], dtype=torch.int64),
        lengths=lengths,
        labels=None if labels is None else torch.as_tensor(labels),
    )


@dataclass(frozen=True)
class ExampleBuilder:
    """Plans -> examples -> batches, by the settings of a run."""

    settings: DataSettings
    tokenizer: SpecialTokens
    masking: MaskingInfo | None = None
    """Word boundaries and masking weights to put into the batches; None where the objective needs none."""

    def features(self, chunk: SplitChunk, plan: ExamplePlan, index: int, rng: np.random.Generator) -> Features:
        """Example `index` of a chunk's plan."""
        layout = example_layout(plan, index, self.settings.sequence_length, rng, self.settings.single_segment_prob)
        ids, segments = layout.fill(chunk.ids, self.tokenizer.cls_id, self.tokenizer.sep_id)
        return ids, segments, None if chunk.word_starts is None else layout.fill(chunk.word_starts, 1, 1)[0].astype(bool)

    def batch(self, features: Sequence[Features], keys: Sequence[int]) -> Batch:
        """B examples and their seeds -> Batch."""
        special = list(self.tokenizer.special_ids)
        maskable = tuple(len(ids) - int(np.isin(ids, special).sum()) for ids, _, _ in features)
        batch = replace(collate([(ids, segments) for ids, segments, _ in features], keys), maskable=maskable)
        return batch if self.masking is None else self.masking.annotate(batch, [starts for _, _, starts in features])


# ---- the stream ----


@dataclass(frozen=True, eq=False)
class SplitChunk:
    """A run of whole documents of a split, planned at once."""

    ids: np.ndarray
    """The whole split's tokens, memory-mapped."""
    line_starts: np.ndarray
    """(n + 1,) offsets into ids of this chunk's lines."""
    document_starts: np.ndarray
    """(d + 1,) indices of this chunk's documents into its lines."""
    stored: bool = False
    """Whether its documents are examples already."""
    word_starts: PackedBits | None = None
    """A bit per token of the whole split, whether it begins a word; None where unknown."""

    @property
    def num_tokens(self) -> int:
        """Tokens of this chunk."""
        return int(self.line_starts[-1] - self.line_starts[0])

    def plan(self, settings: DataSettings, rng: np.random.Generator) -> ExamplePlan:
        """Its examples in this epoch."""
        if self.stored:
            return plan_stored(self.line_starts, self.document_starts, settings.sequence_length)
        return plan_examples(self.line_starts, self.document_starts, settings.sequence_length, rng, settings.short_example_prob)


def split_chunks(split: Split, num_tokens: int) -> list[SplitChunk]:
    """A split -> chunks of whole documents of about `num_tokens` each: views, only the documents' starts are read."""
    documents = np.asarray(split.document_starts)
    if len(documents) < 2:
        return []
    starts = np.asarray(split.line_starts[documents])
    # The first document at or after each multiple of `num_tokens`; a long document can cover several of them.
    marks = np.unique(np.searchsorted(starts, np.arange(num_tokens, starts[-1], num_tokens)))
    bounds = [0, *(int(m) for m in marks if 0 < m < len(documents) - 1), len(documents) - 1]
    chunks = []
    for first, last in pairwise(bounds):
        lines = documents[first : last + 1]
        chunks.append(SplitChunk(split.ids, split.line_starts[lines[0] : lines[-1] + 1], lines - lines[0], split.stored, split.word_starts))
    return chunks


class ExampleOrder:
    """The endless, shuffled order of one dataset's examples: `next()` -> (chunk, plan, index in the plan)."""

    def __init__(self, chunks: Sequence[SplitChunk], settings: DataSettings, seed: int) -> None:
        self.chunks = chunks
        self.settings = settings
        self.seed = seed
        self.epoch, self.window, self.offset = 0, 0, 0
        self._load_window()

    def state(self) -> dict[str, int]:
        """Position as plain numbers."""
        return {"epoch": self.epoch, "window": self.window, "offset": self.offset}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Go to a saved position."""
        self.epoch, self.window, self.offset = state["epoch"], state["window"], state["offset"]
        self._load_window()

    def _windows(self) -> list[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(self.chunks)).tolist()
        return [order[i : i + WINDOW_CHUNKS] for i in range(0, len(order), WINDOW_CHUNKS)]

    def _load_window(self) -> None:
        windows = self._windows()
        self._last = self.window == len(windows) - 1
        self._plans: list[tuple[SplitChunk, ExamplePlan]] = []
        pairs = []
        for number in windows[self.window]:
            rng = np.random.default_rng([self.seed, self.epoch, 2, number])
            chunk = self.chunks[number]
            plan = chunk.plan(self.settings, rng)
            pairs.append(np.stack([np.full(len(plan), len(self._plans)), np.arange(len(plan))], 1))
            self._plans.append((chunk, plan))
        order = np.concatenate(pairs)
        self._order = order[np.random.default_rng([self.seed, self.epoch, 3, self.window]).permutation(len(order))]

    def __next__(self) -> tuple[SplitChunk, ExamplePlan, int]:
        while self.offset >= len(self._order):
            self.offset = 0
            self.window, self.epoch = (0, self.epoch + 1) if self._last else (self.window + 1, self.epoch)
            self._load_window()
        which, index = self._order[self.offset]
        self.offset += 1
        return (*self._plans[which], int(index))


class PretrainingStream:
    """The train splits of datasets -> an endless stream of batches (a `contracts.BatchStream`) for rank `rank` of `world_size`."""

    def __init__(self, splits: Sequence[Split], examples: ExampleBuilder, batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1) -> None:
        """Datasets are sampled by `examples.settings.weights`, by default by their number of tokens."""
        self.examples = examples
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        groups = [split_chunks(split, CHUNK_TOKENS) for split in splits]
        sizes = [float(sum(chunk.num_tokens for chunk in chunks)) for chunks in groups]
        weights = np.array(examples.settings.weights or sizes, float)
        self.cumulative = np.cumsum(weights / weights.sum())
        self.orders = [ExampleOrder(chunks, examples.settings, seed + 7919 * i) for i, chunks in enumerate(groups)]
        self.index = 0

    def state(self) -> dict[str, Any]:
        """The position before the next batch."""
        return {"index": self.index, "planning": PLANNING, "orders": [order.state() for order in self.orders]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position, also one of another number of ranks; a line says where the examples after it are not those of that version."""
        self.index = state["index"]
        longest = self.examples.settings.sequence_length - 3
        chunks = (chunk for order in self.orders for chunk in order.chunks if not chunk.stored)
        if state.get("planning", 1) != PLANNING and any(int(np.diff(chunk.line_starts).max(initial=0)) > longest for chunk in chunks):
            say("the run was begun by a version that cut long lines; from here on they go on in the next example, so the batches are others")
        for order, saved in zip(self.orders, state["orders"], strict=True):
            order.load_state(saved)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        features: list[Features] = []
        keys: list[int] = []
        for _ in range(self.batch_size * self.world_size):
            index, self.index = self.index, self.index + 1
            mine = index % self.world_size == self.rank
            if not mine and len(self.orders) == 1:
                next(self.orders[0])  # another rank's; making a random generator for it would take most of the time with 64 ranks
                continue
            key = example_key(self.seed, index)
            rng = np.random.default_rng(key & _MASK)
            which = int(np.searchsorted(self.cumulative[:-1], rng.random(), side="right"))
            chunk, plan, number = next(self.orders[which])
            if mine:
                features.append(self.examples.features(chunk, plan, number, rng))
                keys.append(key)
        return self.examples.batch(features, keys)


def held_out_batches(splits: Sequence[Split], examples: ExampleBuilder, batch_size: int, num_examples: int, seed: int) -> list[Batch]:
    """Held-out splits -> the same `num_examples` examples every time (fewer if there are no more), in batches of similar lengths."""
    found: list[Features] = []
    plans = [(chunk, chunk.plan(examples.settings, np.random.default_rng(seed))) for split in splits for chunk in split_chunks(split, CHUNK_TOKENS)]
    indices = [(which, number) for which, (_, plan) in enumerate(plans) for number in range(len(plan))]
    rng = np.random.default_rng([seed, 11])
    for at in rng.permutation(len(indices))[:num_examples]:
        which, number = indices[at]
        chunk, plan = plans[which]
        found.append(examples.features(chunk, plan, number, rng))
    order = sorted(range(len(found)), key=lambda i: -len(found[i][0]))
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [examples.batch([found[i] for i in group], [example_key(seed, i) for i in group]) for group in groups]

"""Features of one task or several -> an endless BatchStream of length-grouped batches; its position can be saved and restored.

Each epoch holds every example once, in an order keyed by the seed and the epoch: examples are shuffled, those of a pool of
batches are sorted by length (so that attention wastes little), then the batches are shuffled. A batch never reaches across an
epoch's end: the batches of an epoch are of nearly equal size, at most the given one. A batch is of one task.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch

from electra.contracts import Batch, Features
from electra.data.pretraining_batches import collate, example_key
from electra.errors import UserError

POOL_BATCHES = 32
"""Batches whose examples are sorted by length together."""


class FeatureStream:
    """Labelled features -> batches of this rank, without end."""

    def __init__(self, features: Sequence[Features], batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1) -> None:
        """`batch_size` is per rank: the ranks' batches together are the one batch of `batch_size * world_size` that one rank would see."""
        assert len(features) >= world_size, (len(features), world_size)
        self.features = features
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.epoch = 0
        self.batch = 0
        self._order = self._shuffle()

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, in which every example comes once."""
        return len(self._order)

    def shares(self) -> None:
        """No shares: there is one task."""

    def state(self) -> dict[str, Any]:
        """The position before the next batch."""
        return {"epoch": self.epoch, "batch": self.batch, "examples": self.batch_size * self.world_size}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            UserError: it counts batches of another size, such as those of another number of ranks.
        """
        mine = self.batch_size * self.world_size
        if (theirs := state.get("examples", mine)) != mine:
            raise UserError(
                f"this fine-tuning began with batches of {theirs} examples over all ranks, now they are {mine}; resume with the same number of ranks"
            )
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self._order = self._shuffle()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.batch == len(self._order):
            self.epoch, self.batch = self.epoch + 1, 0
            self._order = self._shuffle()
        chosen = self._order[self.batch][self.rank :: self.world_size]
        self.batch += 1
        return collate_features([self.features[i] for i in chosen], [example_key(self.seed, self.epoch * len(self.features) + i) for i in chosen])

    def _shuffle(self) -> list[list[int]]:
        """Example indices of every batch of this epoch."""
        rng = np.random.default_rng([self.seed, self.epoch, 5])
        order = rng.permutation(len(self.features)).tolist()
        size = self.batch_size * self.world_size
        count = -(-len(order) // size)
        if len(order) // count < self.world_size:
            count = len(order) // size  # every rank needs an example in every batch
        # Nearly equal batches, no small last one: a step on a few examples would have as much influence as any other.
        ends = [len(order) * i // count for i in range(count + 1)]
        batches: list[list[int]] = []
        for first in range(0, count, POOL_BATCHES):
            cuts = ends[first : first + POOL_BATCHES + 1]
            pool = sorted(order[cuts[0] : cuts[-1]], key=lambda i: self.features[i].num_tokens)
            batches += [pool[a - cuts[0] : b - cuts[0]] for a, b in itertools.pairwise(cuts)]
        return [batches[i] for i in rng.permutation(len(batches))]


def collate_features(features: Sequence[Features], keys: Sequence[int]) -> Batch:
    """B features and their keys -> Batch, with labels (see `Batch.labels`) where every feature has one."""
    columns = [features, *zip(*(feature.others for feature in features), strict=True)]
    pairs = [(sequence.ids, sequence.segments) for column in columns for sequence in column]
    if len(columns) > 1:
        keys = [example_key(key, place) for place in range(len(columns)) for key in keys]
    if all(feature.token_labels is not None for feature in features):
        tags = np.concatenate([np.asarray(feature.token_labels, np.int64) for feature in features])
        return replace(collate(pairs, keys, tags), num_tags=int((tags >= 0).sum()))
    labels = [feature.label for feature in features]
    array = None
    if all(label is not None for label in labels):
        flat = [part for label in labels for part in (label if isinstance(label, tuple) else (label,))]
        array = np.array(labels, np.int64 if all(isinstance(part, int) for part in flat) else np.float32)
    classes = tuple(int(i) for i in array) if array is not None and array.ndim == 1 and array.dtype == np.int64 else None
    batch = replace(collate(pairs, keys, array), classes=classes)
    if len(columns) > 1:
        batch = replace(batch, group=len(columns), text_keys=torch.tensor([_text_key(ids) for ids, _ in pairs]))
    soft = [feature.soft_targets for feature in features if feature.soft_targets is not None]
    return batch if len(soft) < len(features) else replace(batch, soft_targets=torch.tensor(soft, dtype=torch.float32))


def _text_key(ids: Sequence[int] | np.ndarray) -> int:
    """A signed 64-bit number, the same for the same tokens in every process."""
    return int.from_bytes(hashlib.blake2b(np.asarray(ids, np.int64).tobytes(), digest_size=8).digest(), "little", signed=True)


def evaluation_batches(features: Sequence[Features], batch_size: int) -> Iterator[tuple[list[int], Batch]]:
    """Features -> (their indices, Batch), longest first, each once: similar lengths share a batch, and out of memory shows at the start."""
    order = sorted(range(len(features)), key=lambda i: -features[i].num_tokens)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield chosen, collate_features([features[i] for i in chosen], [example_key(0, i) for i in chosen])


# ---- several tasks ----


class TaskMixture:
    """Batches of the tasks' streams, in an order that is the same on every rank.

    Without a power the tasks are concatenated, as in the original: an epoch holds every example of every task once, its batches shuffled.
    With one, every batch's task is sampled in proportion to its number of examples to that power: below 1, small tasks come more often.
    """

    def __init__(self, streams: Mapping[str, FeatureStream], seed: int, power: float | None = None) -> None:
        """Streams of the tasks by name; `power` None: concatenated."""
        self.streams, self.seed, self.power = dict(streams), seed, power
        self.names = list(streams)
        self.epoch = self.batch = 0
        self._order = self._shuffle()

    @property
    def batches_per_epoch(self) -> int:
        """Batches of all tasks' epochs together."""
        return sum(stream.batches_per_epoch for stream in self.streams.values())

    def shares(self) -> dict[str, float]:
        """The share of batches that each task gets."""
        sizes = {name: len(stream.features) ** self.power if self.power is not None else stream.batches_per_epoch for name, stream in self._items()}
        return {name: size / sum(sizes.values()) for name, size in sizes.items()}

    def _items(self) -> list[tuple[str, FeatureStream]]:
        return [(name, self.streams[name]) for name in self.names]

    def state(self) -> dict[str, Any]:
        """The position before the next batch."""
        return {"epoch": self.epoch, "batch": self.batch, "streams": {name: stream.state() for name, stream in self._items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            UserError: it counts batches of another size.
        """
        for name, stream in self._items():
            stream.load_state(state["streams"][name])
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self._order = self._shuffle()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.batch == len(self._order):
            self.epoch, self.batch = self.epoch + 1, 0
            self._order = self._shuffle()
        name = self.names[self._order[self.batch]]
        self.batch += 1
        return replace(next(self.streams[name]), task=name)

    def _shuffle(self) -> list[int]:
        """The task of every batch of this epoch."""
        rng = np.random.default_rng([self.seed, self.epoch, 6])
        if self.power is not None:
            shares = self.shares()
            return rng.choice(len(self.names), size=self.batches_per_epoch, p=[shares[name] for name in self.names]).tolist()
        counts = [self.streams[name].batches_per_epoch for name in self.names]
        return rng.permutation(np.repeat(np.arange(len(self.names)), counts)).tolist()


TaskStream: TypeAlias = FeatureStream | TaskMixture


def task_stream(streams: Mapping[str, FeatureStream], seed: int, power: float | None = None) -> TaskStream:
    """The stream of one task as it is, the `TaskMixture` of several."""
    return next(iter(streams.values())) if len(streams) == 1 else TaskMixture(streams, seed, power)

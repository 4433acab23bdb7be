"""Streams of several tasks -> one stream whose batches are of one task each; its position can be saved and restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from electra.contracts import Batch
from electra.data.task_batches import FeatureStream


class TaskMixture:
    """Batches of the tasks' own streams, in an order that is the same on every rank.

    Without a power the tasks are concatenated, as in the original: an epoch holds every example of every task once, its batches shuffled.
    With one, every batch's task is drawn in proportion to its number of examples to that power: below 1, small tasks come more often.
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

"""Streams of one task and of several: every example once an epoch, sampling by size, positions that are restored."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from electra.contracts import Features
from electra.data.task_batches import FeatureStream, TaskMixture, task_stream

torch = pytest.importorskip("torch")


def _stream(count: int, seed: int = 1) -> FeatureStream:
    return FeatureStream([Features(ids=[1, 5 + i, 2], segments=[0] * 3, example=i, label=0) for i in range(count)], 4, seed)


def test_one_task_needs_no_mixture() -> None:
    stream = _stream(10)
    assert task_stream({"a": stream}, seed=1) is stream and stream.shares() is None
    assert isinstance(task_stream({"a": stream, "b": _stream(4)}, seed=1, power=0.5), TaskMixture)


def test_an_epoch_holds_every_example_of_every_task_once() -> None:
    mixture = TaskMixture({"a": _stream(40), "b": _stream(13)}, seed=1)
    orders = []
    for _ in range(2):
        seen: Counter[tuple[str, int]] = Counter()
        order = []
        for _ in range(mixture.batches_per_epoch):
            batch = next(mixture)
            order.append(batch.task)
            seen.update((batch.task, int(i)) for i in batch.ids[1::3])
        assert set(seen.values()) == {1} and len(seen) == 53 and order != sorted(order)
        orders.append(order)
    assert orders[0] != orders[1] and Counter(orders[0]) == {"a": 10, "b": 4}


def test_a_power_draws_by_size() -> None:
    mixture = TaskMixture({"a": _stream(400), "b": _stream(25)}, seed=1, power=0.75)
    expected = 400**0.75 / (400**0.75 + 25**0.75)
    assert mixture.shares()["a"] == pytest.approx(expected)
    drawn = Counter(next(mixture).task for _ in range(4000))
    assert drawn["a"] / 4000 == pytest.approx(expected, abs=0.03)


def test_the_mixtures_position_is_restored() -> None:
    for power in (None, 0.5):
        one, two = (TaskMixture({"a": _stream(30), "b": _stream(9)}, seed=2, power=power) for _ in range(2))
        for _ in range(17):
            next(one)
        two.load_state(json.loads(json.dumps(one.state())))
        for _ in range(25):
            left, right = next(one), next(two)
            assert left.task == right.task and torch.equal(left.ids, right.ids)

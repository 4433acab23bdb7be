"""Implementations of one model and a labelled split -> how right and how fast each is, by one method.

Every implementation runs in a fresh process of its own, on the same cores with the same number of threads. They take turns, in an order
drawn anew each time, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from electra.build.row import Row
from electra.settings import EvaluateSettings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    calls: int = 200
    """Timed calls of each kind."""
    threads: int = 0
    """Threads of every implementation, each on a core of its own; 0: all cores."""
    num_examples: int = 0
    """Examples answered for the score, a random choice; 0: all."""
    seed: int = 1


def measure_source(source: str, *, task: str, data: str, calls: int = 200, threads: int = 0, split: str = "dev") -> Row:
    """One implementation alone, without a reference.

    Raises:
        UserError: no such task or data. What is wrong with the source is told in the row's `error`.
    """
    return measure([source], EvaluateSettings(model=source, task=task, data=(data,), split=split), Plan(calls=calls, threads=threads))[0]


def measure(sources: Sequence[str], asked: EvaluateSettings, plan: Plan) -> list[Row]:
    """Sources that `electra.load` opens (the first is the reference) -> a row each, in their order.

    Args:
        sources: checkpoints and artefacts.
        asked: task, data, split and columns, as for `electra evaluate`; its `model` is not looked at.
        plan: how much is measured.

    Raises:
        UserError: no such task, data, or number of threads. An implementation that fails is a row with an `error`.
    """
    raise NotImplementedError

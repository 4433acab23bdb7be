"""A wall-clock budget -> a number of steps, measured once on trial steps and frozen in RUN/budget.json.

The trial's updates are undone, so a run under a budget is bit by bit the run that names the resulting number of steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from electra import disk
from electra.train.ranks import Ranks

_SKIPPED = 2  # the first steps fill caches and compile
_TRIAL_SECONDS = 10.0
_TRIAL_FRACTION = 0.05
_MARGIN = 0.98  # of what is left, for what the trial could not see


def read_frozen(run: Path, budget: float) -> int | None:
    """The number of steps an interrupted start of this run has settled on for this budget."""
    try:
        found = json.loads((run / "budget.json").read_text(encoding="utf-8"))
        return int(found["num_train_steps"]) if found["budget_seconds"] == budget else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Trial:
    """Times trial steps: `while trial.goes_on(): step()`, then `finish`."""

    def __init__(self, budget: float, started: float, ranks: Ranks) -> None:
        """`budget` in seconds, counted from `started` (time.monotonic)."""
        self._budget, self._started, self._ranks = budget, started, ranks
        self._marks: list[float] = []

    def goes_on(self) -> bool:
        """Whether another trial step is wanted: ten seconds' worth, at most 5% of the budget, at least one after the first two."""
        if self._ranks.device.type == "cuda":
            torch.cuda.synchronize()
        self._marks.append(time.monotonic())
        steps = len(self._marks) - 1
        if steps <= _SKIPPED:
            return True
        enough = self._marks[-1] - self._marks[_SKIPPED] >= _TRIAL_SECONDS or self._marks[-1] - self._started >= _TRIAL_FRACTION * self._budget
        return not self._ranks.agree(enough)

    def finish(
        self,
        *,
        evaluate: Callable[[], object] | None,
        checkpoint: Callable[[], None],
        num_evaluations: int,
        num_checkpoints: int,
        folder: Path,
    ) -> int:
        """Time one evaluation and one checkpoint too -> the number of steps that fits, written to `folder`/budget.json."""
        step_seconds = (self._marks[-1] - self._marks[_SKIPPED]) / (len(self._marks) - 1 - _SKIPPED)
        steps = 0
        if self._ranks.first:
            start = time.monotonic()
            if evaluate is not None:
                evaluate()
            evaluated = time.monotonic()
            checkpoint()
            end = time.monotonic()
            beside = num_evaluations * (evaluated - start) + num_checkpoints * (end - evaluated)
            left = self._budget - (end - self._started) - beside
            steps = max(1, int(_MARGIN * left / step_seconds))
            values = {
                "budget_seconds": self._budget,
                "num_train_steps": steps,
                "seconds_per_step": step_seconds,
                "seconds_per_evaluation": evaluated - start,
                "seconds_per_checkpoint": end - evaluated,
                "trial_steps": len(self._marks) - 1,
            }
            disk.write_text(folder / "budget.json", json.dumps(values, indent=1) + "\n")
        return int(self._ranks.agree(steps))

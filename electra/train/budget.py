"""A wall-clock budget, or a number of tokens -> a number of steps, measured once at the start and frozen in RUN/budget.json.

The trial's updates are undone, so a run under a budget is bit by bit the run that names the resulting number of steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from electra import disk
from electra.errors import UserError
from electra.settings import LoopSettings
from electra.train import resume
from electra.train.ranks import Ranks

if TYPE_CHECKING:
    from electra.train.loop import Run

EVALUATIONS, CHECKPOINTS = 10, 20
"""Of a run that says nothing else."""
_SKIPPED = 2  # the first steps fill caches and compile
_TRIAL_SECONDS = 10.0
_TRIAL_FRACTION = 0.05
_MARGIN = 0.98  # of what is left, for what the trial could not see


LENGTHS = ("num_train_steps", "num_train_tokens", "budget")
"""The settings that say how long a run is; one of them is set."""
_COUNTED_EXAMPLES = 2_000
"""Examples whose mean length turns a number of tokens into one of steps: its standard error is below 1%."""


def given(settings: LoopSettings) -> tuple[str, float]:
    """What was said about the length of a run: the setting (of `LENGTHS`) and its value.

    Raises:
        UserError: none, several, or no step at all.
    """
    said = [(name, value) for name in LENGTHS if (value := getattr(settings, name)) is not None]
    if len(said) > 1:
        raise UserError(f"both {said[0][0]} and {said[1][0]} are set; give one of them")
    if not said:
        raise UserError("how long to train is not set; give --num-train-steps, --num-train-tokens or --budget")
    name, value = said[0]
    if name != "budget" and value < 1:
        raise UserError(f"{name} is {value}; it must be at least 1")
    return name, float(value)


def settle(run: Run) -> int:
    """The number of optimizer steps of a run, measured where it was said in another way."""
    name, value = given(run.settings)
    if name == "num_train_steps":
        return int(value)
    frozen = run.ranks.agree(read_frozen(run.record.folder, name, value) if run.ranks.first else None)
    if frozen is not None:
        return int(frozen)
    return measure(run, value) if name == "budget" else count(run, int(value))


def read_frozen(run: Path, name: str, value: float) -> int | None:
    """The number of steps an interrupted start of this run has settled on for this length."""
    try:
        found = json.loads((run / "budget.json").read_text(encoding="utf-8"))
        return int(found["num_train_steps"]) if found["budget_seconds" if name == "budget" else name] == value else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def count(run: Run, num_tokens: int) -> int:
    """Look at the lengths of the first examples -> how many steps read `num_tokens` real tokens."""
    per_update = run.settings.batch_size * run.settings.accumulation * run.ranks.world_size
    position, updates = run.stream.state(), max(1, _COUNTED_EXAMPLES // per_update)
    mine = sum(next(run.stream).num_tokens for _ in range(updates * run.settings.accumulation))
    run.stream.load_state(position)
    seen = run.ranks.sum_counts([mine])[0]
    steps = max(1, round(num_tokens * updates / seen))
    if run.ranks.first:
        values = {"num_train_tokens": num_tokens, "num_train_steps": steps, "tokens_per_step": seen / updates, "counted_steps": updates}
        disk.write_text(run.record.folder / "budget.json", json.dumps(values, indent=1) + "\n")
    run.record.say(f"{num_tokens:,} tokens are {steps:,} steps of {seen / updates:,.0f}")
    return steps


def measure(run: Run, seconds: float) -> int:
    """Try some steps, an evaluation and a checkpoint, undo them -> how many steps fit into `seconds`."""
    kept = {name: tensor.detach().clone() for name, tensor in resume.own_tensors(run.objective).items()}
    position, folder, run.num_steps = run.stream.state(), run.record.folder, 1_000_000
    trial = Trial(seconds, run.started, run.ranks)
    while trial.goes_on():
        run.update([])
    steps = trial.finish(
        evaluate=lambda: run.take([measure for _, measure in run.measures]),
        checkpoint=lambda: resume.write_checkpoint(folder / ".trial.part", run.objective, run.adam, {}, run.save, run.ranks),
        num_evaluations=EVALUATIONS,
        num_checkpoints=CHECKPOINTS,
        folder=folder,
    )
    if run.ranks.first:
        resume.sweep(folder)
    for name, tensor in resume.own_tensors(run.objective).items():
        tensor.detach().copy_(kept[name])
    run.objective.train()
    run.adam.clear()
    run.stream.load_state(position)
    run.step = run.tokens = 0
    run.record.say(f"the budget of {seconds:,.0f} s is {steps:,} steps")
    return steps


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
        start = time.monotonic()
        if evaluate is not None:
            evaluate()
        evaluated = time.monotonic()
        checkpoint()
        end = time.monotonic()
        if self._ranks.first:
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

"""Speeds + budget -> the size of every part, settled once and kept in OUTPUT/plan.json.

The first method trains N steps. Every other one trains, per `--match`, as many as come nearest to the same FLOPs or to the same seconds at the
measured speeds. All seeds have the same sizes. Fine-tunings get at most `FINETUNE_SHARE` of the budget, pre-training what is left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electra import config, disk
from electra.data.progress import clock
from electra.errors import UserError
from electra.recipes.ablation_methods import Method
from electra.settings import AblateSettings
from electra.tasks.recipe import flatten

FINETUNE_SHARE = 0.35
DEV_SHARE = 0.25
"""Of a fine-tuning's time, where the dev set can be made smaller."""
MARGIN = 0.94
"""Of the budget: evaluations, checkpoints, loading and the report take the rest."""
MIN_STEPS, MIN_TRAIN, MIN_DEV = 10, 64, 500
FREE = {"resume", "dry_run", "json", "device", "threads", "seeds", "output", "budget"}
"""Settings that a resumed ablation may have otherwise: its sizes stay as they were settled."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of a method's run, per update."""

    share: float
    """Of the run's steps."""
    flops: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pre-training, the same for every seed."""

    name: str
    """'electra', 'mlm-flops', ...: its folder below OUTPUT/seed-N."""
    method: str
    match: str
    """What was made equal to the first method's run; empty for that one."""
    num_steps: int
    """As 'electra pretrain --num-train-steps' takes it."""
    stage_steps: tuple[int, ...]
    points: tuple[tuple[int, int], ...]
    """(stage, step in it) of each checkpoint that is fine-tuned; the last one is the end."""
    flops: float
    seconds: float
    """Foretold."""
    settled: bool = False
    """Of a run of equal time: whether its length comes from recorded seconds (see `ablation_calibration`)."""


@dataclass(frozen=True, kw_only=True)
class FinetuneCost:
    """What a fine-tuning takes, in seconds."""

    per_train_example: float
    """All epochs together."""
    per_dev_example: float
    fixed: float
    num_train: int
    num_dev: int
    """All there are."""
    dev_can_shrink: bool

    def seconds(self, num_train: int, num_dev: int) -> float:
        """Of one fine-tuning."""
        return self.fixed + num_train * self.per_train_example + num_dev * self.per_dev_example


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What plan.json holds."""

    runs: tuple[Run, ...]
    num_train: int
    num_dev: int
    finetune_seconds: float
    """Foretold, of each."""
    finetune_preset: str
    vocab_size: int
    speeds: dict[str, Any]
    setup_seconds: float

    def seconds(self, seeds: int, starts: int) -> float:
        """Foretold, of everything behind the setup; `starts` are fine-tunings without a run."""
        finetunings = starts + sum(len(run.points) for run in self.runs)
        return seeds * (sum(run.seconds for run in self.runs) + finetunings * self.finetune_seconds)


# ---- compute ----


def total(stages: Sequence[Stage], steps: Sequence[int], what: str) -> float:
    """'flops' or 'seconds' of a run whose stages have so many steps."""
    return float(sum(count * getattr(stage, what) for stage, count in zip(stages, steps, strict=True)))


def matched_steps(method: Method, stages: Sequence[Stage], target: float, what: str) -> int:
    """The number of steps whose FLOPs (or seconds) come nearest to `target`: within half a step, two stages' rounding apart."""
    guess = target / sum(stage.share * getattr(stage, what) for stage in stages)
    near = range(max(len(stages), math.floor(guess) - 2), max(len(stages), math.ceil(guess) + 2) + 1)
    return min(near, key=lambda count: abs(total(stages, method.parts(count), what) - target))


def spread_points(stages: Sequence[Stage], steps: Sequence[int], count: int) -> tuple[tuple[int, int], ...]:
    """Stage and step nearest to 1/count, 2/count, ... of a run's FLOPs."""
    whole, out = total(stages, steps, "flops"), []
    for number in range(1, count):
        left = whole * number / count
        for place, (stage, there) in enumerate(zip(stages, steps, strict=True)):
            if left <= there * stage.flops or place == len(stages) - 1:
                out.append((place, min(there, max(1, round(left / stage.flops)))))
                break
            left -= there * stage.flops
    return (*out, (len(stages) - 1, steps[-1]))


def make_runs(methods: Sequence[Method], stages: Mapping[str, Sequence[Stage]], num_steps: int, settings: AblateSettings) -> tuple[Run, ...]:
    """The first method's run of `num_steps` steps, and those of the others matched to it."""
    first, *others = methods
    reference = {what: total(stages[first.name], first.parts(num_steps), what) for what in ("flops", "seconds")}
    wanted = [(first, "", num_steps)]
    wanted += [(m, match, matched_steps(m, stages[m.name], reference[match], match)) for m in others for match in settings.match]
    runs = []
    for method, match, count in wanted:
        mine, steps = stages[method.name], method.parts(count)
        runs.append(
            Run(
                name=f"{method.name}-{match}" if match else method.name,
                method=method.name,
                match=match,
                num_steps=count,
                stage_steps=steps,
                points=spread_points(mine, steps, settings.points),
                flops=total(mine, steps, "flops"),
                seconds=total(mine, steps, "seconds"),
            )
        )
    return tuple(runs)


# ---- budget ----


def seconds_per_step(methods: Sequence[Method], stages: Mapping[str, Sequence[Stage]], settings: AblateSettings) -> float:
    """Pre-training of one seed, all methods, per step of the first."""

    def mean(method: Method, what: str) -> float:
        return float(sum(stage.share * getattr(stage, what) for stage in stages[method.name]))

    first, *others = methods
    out = mean(first, "seconds")
    for other in others:
        for match in settings.match:
            out += mean(first, "seconds") if match == "seconds" else mean(other, "seconds") * mean(first, "flops") / mean(other, "flops")
    return out


def share_out(settings: AblateSettings, per_step: float, cost: FinetuneCost, starts: int, setup: float) -> tuple[int, int, int]:
    """The budget -> (steps of the first method, training examples, dev examples).

    Raises:
        UserError: it does not hold the smallest parts.
    """
    most = min(cost.num_train, settings.max_train_examples or cost.num_train)
    if settings.num_train_steps is not None:
        return settings.num_train_steps, most, cost.num_dev
    finetunings = settings.seeds * (starts + settings.points * (1 + (len(settings.methods) - 1) * len(settings.match)))
    left = MARGIN * settings.budget - setup
    each = FINETUNE_SHARE * left / finetunings
    num_dev = cost.num_dev
    if cost.dev_can_shrink:
        num_dev = min(cost.num_dev, max(min(MIN_DEV, cost.num_dev), int(DEV_SHARE * each / cost.per_dev_example)))
    num_train = min(most, int((each - cost.seconds(0, num_dev)) / cost.per_train_example))
    fewest_steps, fewest = max(MIN_STEPS, 2 * settings.points), min(MIN_TRAIN, most)
    num_steps = int((left - finetunings * cost.seconds(max(0, num_train), num_dev)) / settings.seeds / per_step)
    if num_train < fewest or num_steps < fewest_steps:
        smallest = min(MIN_DEV, cost.num_dev) if cost.dev_can_shrink else cost.num_dev
        tuning, training = finetunings * cost.seconds(fewest, smallest), settings.seeds * per_step * fewest_steps
        needed = (setup + max(tuning / FINETUNE_SHARE, training / (1 - FINETUNE_SHARE))) / MARGIN
        smaller = "; fewer --seeds or --points need less" if settings.seeds > 1 or settings.points > 1 else ""
        raise UserError(
            f"--budget {settings.budget:g}s is too short for {settings.seeds} seeds and {finetunings} fine-tunings on this machine; "
            f"give at least {math.ceil(1.1 * needed)}s ({clock(1.1 * needed)}){smaller}"
        )
    return num_steps, num_train, num_dev


# ---- plan.json ----


def write_plan(plan: Plan, output: Path) -> None:
    """Keep it."""
    disk.write_text(output / "plan.json", json.dumps(asdict(plan), indent=1) + "\n")


def read_plan(output: Path) -> Plan | None:
    """OUTPUT/plan.json; None where there is none yet.

    Raises:
        UserError: it is damaged.
    """
    path = output / "plan.json"
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(
            Run(**{**run, "stage_steps": tuple(run["stage_steps"]), "points": tuple((a, b) for a, b in run["points"])}) for run in values["runs"]
        )
        return Plan(**{**values, "runs": runs})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; choose another --output") from None


def check_same(settings: AblateSettings) -> None:
    """Refuse to go on with an ablation that was asked for otherwise.

    Raises:
        UserError: nothing to go on with, or the first setting that differs.
    """
    path = settings.output / "config.toml"
    if not path.exists():
        raise UserError(f"--resume: {settings.output} holds no ablation (no config.toml); start it without --resume")
    before, now = flatten(config.read_toml(path)), flatten(config.to_values(settings))
    for name in sorted((before.keys() | now.keys()) - FREE):
        if before.get(name) != now.get(name):
            raise UserError(
                f"{settings.output} began with {name} = {before.get(name)}, now it is {now.get(name)}; repeat its flags, or choose another --output"
            )

"""Speeds + budget -> the size of every part, settled once and kept in OUTPUT/plan.json.

The first method trains N steps. Every other one trains, per `--match`, as many as come nearest to the same FLOPs or to the same seconds at the
measured speeds. All seeds have the same sizes. Fine-tunings get at most `FINETUNE_SHARE` of the budget, pre-training what is left.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electra import config
from electra.command_line import from_command_line
from electra.errors import UserError, did_you_mean
from electra.finetuning.hyperparameters import flatten
from electra.model import flops
from electra.pretraining.setup import DETECTORS, check
from electra.settings import AblateSettings, PretrainSettings, phases
from electra.storage import atomic
from electra.terminal import duration

# ---- Methods by name -> their pre-training settings: one preset, its twin, or the same with another objective ----


LABELS = {
    "electra": "ELECTRA",
    "mlm": "BERT",
    "electra-masked": "ELECTRA 15%",
    "replace-mlm": "Replace MLM",
    "all-tokens-mlm": "All-Tokens MLM",
}
"""Objective -> its name in the paper (section 3.5)."""
MATCHES = ("flops", "seconds")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One objective with the words of its pre-training."""

    name: str
    words: tuple[str, ...]
    """The command line behind 'electra pretrain', without data, length, seed and output."""
    settings: PretrainSettings
    """What these words say."""

    def parts(self, num_steps: int) -> tuple[int, ...]:
        """Steps of each stage of a run of about `num_steps` steps; their sum may differ by rounding."""
        loop = config.replace(self.settings.loop, num_train_steps=num_steps, num_train_tokens=None, budget=None)
        # An output without a stage that is already finished.
        found = phases(config.replace(self.settings, loop=loop, output=Path("/nonexistent")))
        return tuple(int(stage.loop.num_train_steps or 0) for stage in found)

    def stages(self) -> tuple[tuple[PretrainSettings, float], ...]:
        """Each stage's settings, and its share of the steps."""
        loop = config.replace(self.settings.loop, num_train_steps=1_000_000, num_train_tokens=None, budget=None)
        found = phases(config.replace(self.settings, loop=loop, output=Path("/nonexistent")))
        return tuple((stage, (stage.loop.num_train_steps or 0) / 1_000_000) for stage in found)


def find_methods(settings: AblateSettings, shape: Sequence[str]) -> list[Method]:
    """The methods asked for, each checked; `shape` are flags that a checkpoint to go on from asks for.

    Raises:
        UserError: an unknown name or preset, a preset of another objective, or fewer than two methods.
    """
    for name in settings.methods:
        if name not in LABELS:
            raise UserError(f"--methods {name}: unknown method; {did_you_mean(name, LABELS)}")
    if len(set(settings.methods)) != len(settings.methods) or len(settings.methods) < 2:
        raise UserError(f"--methods {' '.join(settings.methods)}: give two or more different ones, such as electra mlm")
    for name in settings.match:
        if name not in MATCHES:
            raise UserError(f"--match {name}: unknown; {did_you_mean(name, MATCHES)}")
    if not settings.match or len(set(settings.match)) != len(settings.match):
        raise UserError("--match: give flops, seconds, or both, each once")
    base = from_command_line(PretrainSettings, [settings.preset], "electra ablate --preset", preset_kind="pretrain")
    if base.objective.objective != "electra":
        raise UserError(f"--preset {settings.preset} has the objective '{base.objective.objective}'; give ELECTRA's preset, such as mini")
    return [_method(name, settings, shape) for name in settings.methods]


def _method(name: str, settings: AblateSettings, shape: Sequence[str]) -> Method:
    twin = f"{settings.preset}-mlm"
    if name == "mlm" and twin in config.presets("pretrain"):
        words = [twin]
    else:
        words = [settings.preset, "--objective", name] + ([] if name in DETECTORS else ["--mlm-first", "0"])
    if settings.init is not None:
        start = settings.init_mlm if name == "mlm" and settings.init_mlm is not None else settings.init
        # A checkpoint has its start behind it.
        words += ["--init", start, *shape, "--mlm-first", "0"]
    words += ["--precision", settings.precision]
    whole = [*words, "--num-train-steps", "1000"]
    found = from_command_line(PretrainSettings, whole, "electra ablate", preset_kind="pretrain")
    check(found)
    return Method(name=name, words=tuple(words), settings=found)


def examples_per_step(settings: PretrainSettings) -> int:
    """Examples of an update on one rank."""
    return settings.loop.total_batch_size or settings.loop.batch_size * settings.loop.accumulation


def flops_per_step(settings: PretrainSettings, vocab_size: int) -> float:
    """Operations of an update of examples of full length, by our count (`model/flops.py`)."""
    length = settings.data.sequence_length
    return flops.per_token(settings.model, settings.objective, vocab_size, length) * length * examples_per_step(settings)


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
            f"give at least {math.ceil(1.1 * needed)}s ({duration(1.1 * needed)}){smaller}"
        )
    return num_steps, num_train, num_dev


# ---- plan.json ----


def write_plan(plan: Plan, output: Path) -> None:
    """Keep it."""
    atomic.write_text(output / "plan.json", json.dumps(asdict(plan), indent=1) + "\n")


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


# ---- A plan -> its parts in order, each an `electra` command; where they write, and which are finished ----


AT_THE_END = 10**9
"""--evaluate-every: held-out text and dev sets are answered once, after the last step, so that time is time of training."""
SEEDS_APART = 10
"""Pre-training seeds: a second stage uses the seed behind its first one's."""
EQUAL = {"": "", "flops": " at equal FLOPs", "seconds": " at equal time"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command of the ablation."""

    title: str
    command: str
    folder: Path
    words: tuple[str, ...]
    """Behind the command, output included."""
    seconds: float
    """Foretold."""
    flops: float = 0.0
    seed: int

    @property
    def finished(self) -> bool:
        """Whether it holds what it is for."""
        return (self.folder / ("final" if self.command == "pretrain" else "scores.json")).exists()

    def command_line(self) -> list[str]:
        """The words to run now: an interrupted part goes on."""
        if self.command == "pretrain" and (self.folder / "config.toml").exists():
            return [self.words[0], "--output", str(self.folder), "--resume"]
        return [*self.words, "--resume"] if self.command == "finetune" else [*self.words]


def starts(settings: AblateSettings) -> dict[str, tuple[str, str]]:
    """Fine-tunings without a run: folder -> (title, model)."""
    found = {"random": ("no pre-training", f"random:{settings.output / 'start'}")}
    if settings.init is not None:
        found["start"] = ("the checkpoint as it is", settings.init)
        if settings.init_mlm is not None:
            found["start-mlm"] = ("BERT's checkpoint as it is", settings.init_mlm)
    return found


def run_title(run: Run) -> str:
    """'BERT at equal FLOPs'."""
    return LABELS[run.method] + EQUAL[run.match]


def stage_folder(folder: Path, run: Run, stage: int) -> Path:
    """Where a stage of a run keeps its checkpoints and metrics."""
    return folder if stage == len(run.stage_steps) - 1 else folder / "mlm-first"


def point_model(folder: Path, run: Run, point: tuple[int, int]) -> Path:
    """The checkpoint of a point."""
    stage, step = point
    place = stage_folder(folder, run, stage)
    return place / "final" if step == run.stage_steps[stage] else place / "checkpoints" / f"step-{step:08d}"


def list_parts(settings: AblateSettings, plan: Plan, methods: Sequence[Method], shards: Sequence[str], labelled: tuple[str, Path]) -> list[Part]:
    """Every part, seed by seed; `labelled` is the task's name and the folder of its files."""
    by_name = {method.name: method for method in methods}
    return [
        part
        for seed in range(1, settings.seeds + 1)
        for part in [
            *(part for run in plan.runs for part in _run_parts(settings, plan, run, by_name[run.method], shards, labelled, seed)),
            *(
                _finetuning(settings, plan, f"seed {seed}, {title}", settings.output / f"seed-{seed}" / name, model, labelled, seed)
                for name, (title, model) in starts(settings).items()
            ),
        ]
    ]


def _run_parts(
    settings: AblateSettings, plan: Plan, run: Run, method: Method, shards: Sequence[str], labelled: tuple[str, Path], seed: int
) -> list[Part]:
    """A pre-training and the fine-tunings of its checkpoints."""
    folder, title = settings.output / f"seed-{seed}" / run.name, f"seed {seed}, {run_title(run)}"
    kept = sorted({step for stage, step in run.points if step != run.stage_steps[stage]})
    words = [*method.words, "--data", *shards, "--output", str(folder), "--num-train-steps", str(run.num_steps), "--seed", str(SEEDS_APART * seed)]
    words += [
        "--evaluate-every",
        str(AT_THE_END),
        "--keep-checkpoints",
        "1",
        "--show-examples",
        "0",
        *(["--keep-steps", *map(str, kept)] if kept else []),
        *_machine(settings),
    ]
    pretraining = Part(title=title, command="pretrain", folder=folder, words=tuple(words), seconds=run.seconds, flops=run.flops, seed=seed)
    points = [
        _finetuning(
            settings,
            plan,
            f"{title}, point {number} of {len(run.points)}",
            point_folder(settings.output, seed, run, number),
            str(point_model(folder, run, point)),
            labelled,
            seed,
        )
        for number, point in enumerate(run.points, 1)
    ]
    return [pretraining, *points]


def point_folder(output: Path, seed: int, run: Run, number: int) -> Path:
    """Where the fine-tuning of a run's point writes."""
    return output / f"seed-{seed}" / f"{run.name}-point-{number}"


def _finetuning(settings: AblateSettings, plan: Plan, title: str, folder: Path, model: str, labelled: tuple[str, Path], seed: int) -> Part:
    task, place = labelled
    words = [task, "--model", model, "--data", str(place), "--output", str(folder), "--preset", plan.finetune_preset, "--seed", str(seed)]
    words += ["--max-train-examples", str(plan.num_train), "--evaluate-every", str(AT_THE_END), *_machine(settings)]
    return Part(title=title, command="finetune", folder=folder, words=tuple(words), seconds=plan.finetune_seconds, seed=seed)


def _machine(settings: AblateSettings) -> list[str]:
    return ["--device", settings.device, *(["--threads", str(settings.threads)] if settings.threads else [])]


def sweep(parts: Sequence[Part], done: Part) -> None:
    """Remove what nothing needs any more: a scored model's weights, and a run's checkpoints when all its points are scored."""
    if done.command == "finetune":
        shutil.rmtree(done.folder / "best", ignore_errors=True)
    for run in parts:
        if run.command == "pretrain" and run.seed == done.seed and run.finished:
            points = [part for part in parts if part.command == "finetune" and part.folder.name.startswith(f"{run.folder.name}-point-")]
            if all(part.finished for part in points if part.seed == run.seed):
                for place in (run.folder, run.folder / "mlm-first"):
                    shutil.rmtree(place / "checkpoints", ignore_errors=True)

"""Settings + measured speeds + budget -> methods, the length of every training (OUTPUT/plan.json), and the list of steps.

The first method trains N steps. Every other one trains, per `--match`, as many as come nearest to the same FLOPs or to the same seconds at the
measured speeds. All seeds have the same lengths. Fine-tunings get at most `FINETUNE_SHARE` of the budget, pre-training the rest.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from electra import config
from electra.command_line import from_command_line
from electra.command_runner import Step
from electra.errors import UserError, did_you_mean, parse_json
from electra.finetuning.hyperparameters import check_same_run, with_absolute_paths
from electra.model import flops
from electra.pretraining.setup import adopt_start, check
from electra.settings import AblateSettings, PretrainSettings, phases
from electra.settings.pretrain import CAUSAL, DETECTORS, FIRST_PHASES, WARM_UP
from electra.storage import atomic
from electra.terminal import duration

# ---- methods ----

LABELS = {
    "electra": "ELECTRA",
    "mlm": "BERT",
    "clm-mlm": "causal, then masked LM",
    "electra-masked": "ELECTRA 15%",
    "replace-mlm": "Replace MLM",
    "all-tokens-mlm": "All-Tokens MLM",
}
"""Method: an objective -> its name in the paper (section 3.5); or 'clm-mlm', a masked LM after a causal one."""
BERTS = ("mlm", "clm-mlm")
"""Methods that end as a masked LM without a generator."""
MATCHES = ("flops", "seconds")
CLM_FIRST = "25%"
"""--clm-first of 'clm-mlm' where no preset says it."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One objective and its pre-training."""

    name: str
    argv: tuple[str, ...]
    """The command line after 'electra pretrain', without data, length, seed and output."""
    settings: PretrainSettings
    """The same as settings."""

    def phases(self, num_steps: int) -> tuple[PretrainSettings, ...]:
        """The settings of each phase of a run of about `num_steps` steps."""
        loop = replace(self.settings.loop, num_train_steps=num_steps, num_train_tokens=None, budget=None)
        # An output in which no phase is finished yet.
        return tuple(phases(replace(self.settings, loop=loop, output=Path("/nonexistent"))))

    def phase_steps(self, num_steps: int) -> tuple[int, ...]:
        """Steps of each phase; their sum may differ from `num_steps` by rounding."""
        return tuple(int(phase.loop.num_train_steps or 0) for phase in self.phases(num_steps))

    def phase_shares(self) -> tuple[tuple[PretrainSettings, float], ...]:
        """Each phase's settings and its fraction of the steps."""
        whole = 1_000_000
        return tuple((phase, (phase.loop.num_train_steps or 0) / whole) for phase in self.phases(whole))


def with_preset(settings: AblateSettings) -> AblateSettings:
    """The settings with their default preset."""
    return replace(settings, preset=settings.preset or ("mini" if settings.init is None else "continue"))


def completed(settings: AblateSettings) -> AblateSettings:
    """The settings with their default preset and with absolute paths: they are recorded, and may be resumed from another working directory."""
    found: AblateSettings = config.build(AblateSettings, with_absolute_paths(config.to_values(with_preset(settings))), "electra ablate")
    return found


def find_methods(settings: AblateSettings) -> list[Method]:
    """The requested methods, each checked and with the shape of its initial checkpoint.

    Raises:
        UserError: an unknown name or preset, a preset of another objective, fewer than two methods, or as `electra pretrain --init`.
    """
    settings = with_preset(settings)
    assert settings.preset is not None
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
    base = from_command_line(PretrainSettings, [settings.preset], "electra ablate --preset")
    if base.objective.objective != "electra":
        raise UserError(f"--preset {settings.preset} has the objective '{base.objective.objective}'; give ELECTRA's preset, such as mini")
    return [_method(name, settings, settings.preset, base) for name in settings.methods]


def _method(name: str, settings: AblateSettings, preset: str, base: PretrainSettings) -> Method:
    known, words = config.presets("pretrain"), [preset, "--objective", name]
    if name in BERTS:
        words = [f"{preset}-mlm"] if f"{preset}-mlm" in known else [preset, "--objective", "mlm", "--mlm-first", "0", "--generator-init", "random"]
    elif name not in DETECTORS:
        # Their one phase is a masked LM's from the start: it has the rate of that phase.
        rate = base.objective.mlm_first_learning_rate
        words += ["--mlm-first", "0", *(["--learning-rate", str(rate)] if rate is not None else [])]
    if name == "clm-mlm":
        words = [f"{preset}-clm"] if f"{preset}-clm" in known else [*words, "--clm-first", CLM_FIRST]
    if settings.init is not None:
        words += ["--init", settings.init_mlm if name in BERTS and settings.init_mlm is not None else settings.init]
    words += ["--precision", settings.precision]
    found = from_command_line(PretrainSettings, [*words, "--num-train-steps", "1000"], "electra ablate")
    found, _ = adopt_start(found)
    check(found)
    return Method(name=name, argv=tuple(words), settings=found)


def examples_per_step(settings: PretrainSettings) -> int:
    """Examples of an update on one rank."""
    return settings.loop.total_batch_size or settings.loop.batch_size * settings.loop.accumulation


def flops_per_step(settings: PretrainSettings, vocab_size: int) -> float:
    """Floating-point operations of an update of full-length examples (`model/flops.py`)."""
    return flops.training_flops(settings, vocab_size)["flops_per_token"] * settings.data.sequence_length * examples_per_step(settings)


# ---- plan.json ----

FINETUNE_SHARE = 0.35
"""Of the budget, at most."""
DEV_SHARE = 0.25
"""Of a fine-tuning's time, where the dev set may be sampled."""
MARGIN = 0.94
"""Of the budget: evaluations, checkpoints, loading and the report take the rest."""
MIN_STEPS, MIN_TRAIN, MIN_DEV = 10, 64, 500
FREE = {"resume", "dry_run", "json", "device", "threads", "seeds", "output", "budget", "log_to", "log_project"}
"""Settings that a resumed ablation may change; its lengths stay those of plan.json."""


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """What an update of one phase of a method takes."""

    share: float
    """Of the run's steps."""
    flops: float
    seconds: float
    trains_encoder: bool = True
    """False for the warm-up of a generator, whose checkpoints are of no use to fine-tune."""


@dataclass(frozen=True, kw_only=True)
class PretrainingRun:
    """One pre-training, the same for every seed. Field names are keys of plan.json."""

    name: str
    """'electra', 'mlm-flops', ...: its folder below OUTPUT/seed-N."""
    method: str
    match: str
    """The quantity equal to the first method's run; empty for that one."""
    num_steps: int
    """For 'electra pretrain --num-train-steps'."""
    stage_steps: tuple[int, ...]
    """Steps of each phase."""
    points: tuple[tuple[int, int], ...]
    """(phase, step in it) of each checkpoint that is fine-tuned; the last one is the end."""
    flops: float
    seconds: float
    """Predicted."""
    settled: bool = False
    """Of a run of equal time: whether its length comes from recorded seconds (`run.match_recorded_time`)."""

    @property
    def title(self) -> str:
        """'BERT at equal FLOPs'."""
        return LABELS[self.method] + EQUAL[self.match]

    def phase_folder(self, folder: Path, phase: int) -> Path:
        """Where a phase keeps its checkpoints and metrics."""
        return folder if phase == len(self.stage_steps) - 1 else folder / (CAUSAL if self.method == "clm-mlm" else WARM_UP)

    def checkpoint(self, folder: Path, point: tuple[int, int]) -> Path:
        """The checkpoint of a point."""
        phase, step = point
        place = self.phase_folder(folder, phase)
        return place / "final" if step == self.stage_steps[phase] else place / "checkpoints" / f"step-{step:08d}"


@dataclass(frozen=True, kw_only=True)
class FinetuneCost:
    """Seconds of a fine-tuning."""

    per_train_example: float
    """All epochs together."""
    per_dev_example: float
    fixed: float
    num_train: int
    num_dev: int
    """In the task's files, of the first at most --max-train-examples."""
    dev_can_shrink: bool

    @property
    def fewest_dev(self) -> int:
        """Dev examples of the shortest fine-tuning."""
        return min(MIN_DEV, self.num_dev) if self.dev_can_shrink else self.num_dev

    def seconds(self, num_train: int, num_dev: int) -> float:
        """Of one fine-tuning."""
        return self.fixed + num_train * self.per_train_example + num_dev * self.per_dev_example


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """The size of every fine-tuning on one task."""

    num_train: int
    num_dev: int
    finetune_seconds: float
    """Predicted, of each."""


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """The contents of plan.json."""

    runs: tuple[PretrainingRun, ...]
    tasks: tuple[TaskPlan, ...]
    """In the order of --task."""
    finetune_preset: str
    vocab_size: int
    speeds: dict[str, Any]
    setup_seconds: float


def total(costs: Sequence[PhaseCost], steps: Sequence[int], what: str) -> float:
    """'flops' or 'seconds' of a run whose phases have these numbers of steps."""
    return float(sum(count * getattr(cost, what) for cost, count in zip(costs, steps, strict=True)))


def matched_steps(method: Method, costs: Sequence[PhaseCost], target: float, what: str) -> int:
    """The number of steps whose FLOPs (or seconds) come nearest to `target`: within half a step, up to the rounding of two phases."""
    guess = target / sum(cost.share * getattr(cost, what) for cost in costs)
    near = range(max(len(costs), math.floor(guess) - 2), max(len(costs), math.ceil(guess) + 2) + 1)
    return min(near, key=lambda count: abs(total(costs, method.phase_steps(count), what) - target))


def spread_points(costs: Sequence[PhaseCost], steps: Sequence[int], count: int) -> tuple[tuple[int, int], ...]:
    """Phase and step nearest to 1/count, 2/count, ... of a run's FLOPs, in the phases that train the encoder."""
    whole, out = total(costs, steps, "flops"), []
    for number in range(1, count):
        left = whole * number / count
        for place, (cost, there) in enumerate(zip(costs, steps, strict=True)):
            if (left <= there * cost.flops and cost.trains_encoder) or place == len(costs) - 1:
                out.append((place, min(there, max(1, round(left / cost.flops)))))
                break
            left -= there * cost.flops
    return (*out, (len(costs) - 1, steps[-1]))


def make_runs(
    methods: Sequence[Method], costs: Mapping[str, Sequence[PhaseCost]], num_steps: int, settings: AblateSettings
) -> tuple[PretrainingRun, ...]:
    """The first method's run of `num_steps` steps, and those of the others matched to it."""
    first, *others = methods
    reference = {what: total(costs[first.name], first.phase_steps(num_steps), what) for what in ("flops", "seconds")}
    wanted = [(first, "", num_steps)]
    wanted += [(m, match, matched_steps(m, costs[m.name], reference[match], match)) for m in others for match in settings.match]
    runs = []
    for method, match, count in wanted:
        mine, steps = costs[method.name], method.phase_steps(count)
        runs.append(
            PretrainingRun(
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


def seconds_per_step(methods: Sequence[Method], costs: Mapping[str, Sequence[PhaseCost]], settings: AblateSettings) -> float:
    """Pre-training of one seed, all methods, per step of the first."""

    def mean(method: Method, what: str) -> float:
        return float(sum(cost.share * getattr(cost, what) for cost in costs[method.name]))

    first, *others = methods
    out = mean(first, "seconds")
    for other in others:
        for match in settings.match:
            out += mean(first, "seconds") if match == "seconds" else mean(other, "seconds") * mean(first, "flops") / mean(other, "flops")
    return out


def split_budget(
    settings: AblateSettings, per_step: float, costs: Sequence[FinetuneCost], starts: int, setup: float
) -> tuple[int, tuple[TaskPlan, ...]]:
    """The budget, the cost of fine-tuning on each task -> (steps of the first method, the size of the fine-tunings on each task).

    Raises:
        UserError: it is too short for the smallest lengths.
    """
    if settings.num_train_steps is not None:
        return settings.num_train_steps, tuple(_sized(cost, cost.num_train, cost.num_dev) for cost in costs)
    of_a_task = settings.seeds * (starts + settings.points * (1 + (len(settings.methods) - 1) * len(settings.match)))
    finetunings, left = of_a_task * len(costs), MARGIN * settings.budget - setup
    each = FINETUNE_SHARE * left / finetunings
    tasks = tuple(_fitted(cost, each) for cost in costs)
    fewest_steps = max(MIN_STEPS, 2 * settings.points)
    num_steps = int((left - of_a_task * sum(task.finetune_seconds for task in tasks)) / settings.seeds / per_step)
    smallest = [_sized(cost, min(MIN_TRAIN, cost.num_train), cost.fewest_dev) for cost in costs]
    if num_steps < fewest_steps or any(task.num_train < least.num_train for task, least in zip(tasks, smallest, strict=True)):
        # Every fine-tuning gets the same time, so that of the slowest task decides.
        tuning, training = finetunings * max(least.finetune_seconds for least in smallest), settings.seeds * per_step * fewest_steps
        needed = (setup + max(tuning / FINETUNE_SHARE, training / (1 - FINETUNE_SHARE))) / MARGIN
        smaller = "; fewer --seeds or --points need less" if settings.seeds > 1 or settings.points > 1 else ""
        raise UserError(
            f"--budget {settings.budget:g}s is too short for {settings.seeds} seeds and {finetunings} fine-tunings on this machine; "
            f"give at least {math.ceil(1.1 * needed)}s ({duration(1.1 * needed)}){smaller}"
        )
    return num_steps, tasks


def _sized(cost: FinetuneCost, num_train: int, num_dev: int) -> TaskPlan:
    return TaskPlan(num_train=num_train, num_dev=num_dev, finetune_seconds=cost.seconds(max(0, num_train), num_dev))


def _fitted(cost: FinetuneCost, seconds: float) -> TaskPlan:
    """The fine-tuning that takes at most so many seconds."""
    num_dev = cost.num_dev
    if cost.dev_can_shrink:
        num_dev = min(cost.num_dev, max(cost.fewest_dev, int(DEV_SHARE * seconds / cost.per_dev_example)))
    return _sized(cost, min(cost.num_train, int((seconds - cost.seconds(0, num_dev)) / cost.per_train_example)), num_dev)


def write_plan(plan: AblationPlan, output: Path) -> None:
    """Write OUTPUT/plan.json."""
    atomic.write_text(output / "plan.json", json.dumps(asdict(plan), indent=1) + "\n")


def read_plan(output: Path) -> AblationPlan | None:
    """OUTPUT/plan.json; None where there is none yet.

    Raises:
        UserError: it is damaged.
    """
    path = output / "plan.json"
    if not path.exists():
        return None
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        runs = tuple(
            PretrainingRun(**{**run, "stage_steps": tuple(run["stage_steps"]), "points": tuple((a, b) for a, b in run["points"])})
            for run in values["runs"]
        )
        # A plan of an earlier version has one task, without a list.
        sizes = [field.name for field in fields(TaskPlan)]
        tasks = values.pop("tasks", None) or [{name: values.pop(name) for name in sizes}]
        return AblationPlan(**{**values, "runs": runs, "tasks": tuple(TaskPlan(**task) for task in tasks)})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; choose another --output") from None


def check_same(settings: AblateSettings) -> None:
    """Refuse to resume an ablation with other settings.

    Raises:
        UserError: nothing to resume, or the first setting that differs.
    """
    path = settings.output / "config.toml"
    if not path.exists():
        raise UserError(f"--resume: {settings.output} holds no ablation (no config.toml); start it without --resume")
    before = config.read_toml(path)
    # An earlier version had one task.
    before |= {name: [before[name]] for name in ("task", "task_data") if isinstance(before.get(name), str)}
    # An earlier version recorded paths as they were given.
    check_same_run(settings.output, with_absolute_paths(before), config.to_values(settings), FREE)


# ---- steps ----

AT_THE_END = 10**9
"""--evaluate-every: evaluate after the last step only, so that the recorded time is time of training."""
SEEDS_APART = 10
"""Pre-training seeds: a second phase uses the seed after its first one's."""
EQUAL = {"": "", "flops": " at equal FLOPs", "seconds": " at equal time"}


@dataclass(frozen=True, kw_only=True)
class AblationStep(Step):
    """A pre-training, or a fine-tuning of a checkpoint; `kind` is the command."""

    seed: int


def starts(settings: AblateSettings) -> dict[str, tuple[str, str]]:
    """Fine-tunings without a pre-training of ours: folder -> (title, model)."""
    if settings.init is None:
        return {"random": ("no pre-training", f"random:{settings.output / 'start'}")}
    found = {"start": ("the initial checkpoint", settings.init)}
    if settings.init_mlm is not None:
        found["start-mlm"] = ("BERT's initial checkpoint", settings.init_mlm)
    return found


def part(settings: AblateSettings, task: int) -> str:
    """What a task's files and folders have after their name, where there are several tasks."""
    return f"-{settings.task[task]}" if len(settings.task) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class StepList:
    """Everything the steps depend on."""

    settings: AblateSettings
    plan: AblationPlan
    methods: Sequence[Method]
    shards: Sequence[str]
    tasks: Sequence[tuple[str, Path]]
    """Each task and the folder of its files."""

    def steps(self) -> list[AblationStep]:
        """Every step, seed by seed."""
        out = []
        for seed in range(1, self.settings.seeds + 1):
            for run in self.plan.runs:
                pretraining = self.pretraining(run, seed)
                out.append(pretraining)
                for number, point in enumerate(run.points, 1):
                    model = str(run.checkpoint(pretraining.folder, point))
                    title = f"{run.title}, point {number} of {len(run.points)}"
                    out += self.finetunings(title, f"{run.name}-point-{number}", model, seed)
            for name, (title, start) in starts(self.settings).items():
                out += self.finetunings(title, name, start, seed)
        return out

    def pretraining(self, run: PretrainingRun, seed: int) -> AblationStep:
        """Pre-training of one method."""
        folder = self.settings.output / f"seed-{seed}" / run.name
        method = next(method for method in self.methods if method.name == run.method)
        kept = sorted({step for phase, step in run.points if step != run.stage_steps[phase]})
        flags: list[object] = ["--output", folder, "--num-train-steps", run.num_steps, "--seed", SEEDS_APART * seed]
        flags += ["--evaluate-every", AT_THE_END, "--keep-checkpoints", 1, "--show-examples", 0]
        flags += ["--keep-steps", *kept] if kept else []
        return AblationStep(
            title=f"seed {seed}, {run.title}",
            folder=folder,
            output=folder / "final",
            argv=("pretrain", *method.argv, "--data", *self.shards, *map(str, flags), *self._passed_on()),
            resume_argv=("pretrain", method.argv[0], "--output", str(folder), "--resume"),
            seconds=run.seconds,
            kind="pretrain",
            seed=seed,
        )

    def finetunings(self, title: str, name: str, model: str, seed: int) -> list[AblationStep]:
        """Fine-tunings of one checkpoint, on each task."""
        out = []
        for number, ((task, data), sizes) in enumerate(zip(self.tasks, self.plan.tasks, strict=True)):
            folder = finetuning_folder(self.settings, seed, name, number)
            flags: list[object] = ["--model", model, "--data", data, "--output", folder, "--preset", self.plan.finetune_preset]
            flags += ["--seed", seed, "--max-train-examples", sizes.num_train, "--evaluate-every", AT_THE_END]
            flags += ["--precision", self.settings.precision]
            out.append(
                AblationStep(
                    title=f"seed {seed}, {title}" + (f", {task}" if len(self.tasks) > 1 else ""),
                    folder=folder,
                    output=folder / "scores.json",
                    argv=("finetune", task, *map(str, flags), *self._passed_on()),
                    seconds=sizes.finetune_seconds,
                    kind="finetune",
                    seed=seed,
                )
            )
        return out

    def _passed_on(self) -> list[str]:
        words = ["--device", self.settings.device, *(["--threads", str(self.settings.threads)] if self.settings.threads else [])]
        words += ["--log-to", *self.settings.log_to] if self.settings.log_to else []
        return [*words, "--log-project", self.settings.log_project] if self.settings.log_project else words


def finetuning_folder(settings: AblateSettings, seed: int, name: str, task: int) -> Path:
    """Where the fine-tuning of a start, or of RUN-point-N, on a task writes."""
    return settings.output / f"seed-{seed}" / f"{name}{part(settings, task)}"


def remove_unneeded(steps: Sequence[Step], done: AblationStep) -> None:
    """Remove a scored model's weights, and a run's checkpoints once all its points are scored."""
    if done.kind == "finetune":
        shutil.rmtree(done.folder / "best", ignore_errors=True)
    for run in steps:
        if run.kind == "pretrain" and run.folder.parent == done.folder.parent and run.done:
            points = [step for step in steps if step.folder.parent == run.folder.parent and step.folder.name.startswith(f"{run.folder.name}-point-")]
            if all(point.done for point in points):
                for place in (run.folder, *(run.folder / name for name in FIRST_PHASES)):
                    shutil.rmtree(place / "checkpoints", ignore_errors=True)

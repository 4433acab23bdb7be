"""A plan -> its parts in order, each an `electra` command; where they write, and which are finished.

OUTPUT/seed-N/RUN               a pre-training (electra, mlm-flops, mlm-seconds, ...)
OUTPUT/seed-N/RUN-point-K       the fine-tuning of its K-th checkpoint
OUTPUT/seed-N/random            ... of random weights;  start, start-mlm: of the checkpoints as they are
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from electra.recipes.ablation_methods import LABELS, Method
from electra.recipes.ablation_plan import Plan, Run
from electra.settings import AblateSettings

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

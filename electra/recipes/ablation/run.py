"""electra ablate: pre-training methods compared at equal compute.

--data, --init      -> tokenized text, one vocabulary                (imdb: made here)
task files          -> examples, baselines
timed updates       -> plan.json: the length of every training
plan                -> steps: for every seed pre-trainings, fine-tunings of their checkpoints, of random weights or the initial checkpoint
finished steps      -> results.json, table.md, results.png           (after every step)
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from electra import config
from electra.command_runner import CommandRunner, Ended, Step, Stopped, stoppable
from electra.errors import require
from electra.recipes.ablation import results, setup
from electra.recipes.ablation.plan import (
    AblationPlan,
    AblationStep,
    Method,
    PhaseCost,
    PretrainingRun,
    StepList,
    completed,
    part,
    read_plan,
    remove_unneeded,
    spread_points,
    total,
    write_plan,
)
from electra.recipes.ablation.setup import Checked
from electra.settings import AblateSettings
from electra.settings.pretrain import GeneratorWarmUp
from electra.storage import atomic
from electra.terminal import say


def match_recorded_time(plan: AblationPlan, methods: Sequence[Method], output: Path, num_points: int) -> AblationPlan:
    """The plan, its runs of equal time made as long as the seconds recorded in the first seed say (speeds measured beforehand are rougher)."""
    return replace(plan, runs=tuple(_match_time(run, plan, methods, output, num_points) for run in plan.runs))


def _match_time(run: PretrainingRun, plan: AblationPlan, methods: Sequence[Method], output: Path, num_points: int) -> PretrainingRun:
    first, twin = plan.runs[0], next((other for other in plan.runs if other.method == run.method and other.match == "flops"), None)
    if run.match != "seconds" or run.settled or twin is None:
        return run
    folders = [output / "seed-1" / each.name for each in (first, twin)]
    if not all((folder / "final").exists() for folder in folders):
        return run
    target, taken = (results.compute_at_points(folder, each)[-1]["seconds"] for folder, each in zip(folders, (first, twin), strict=True))
    method = next(method for method in methods if method.name == run.method)
    count = max(2 * num_points, round(twin.num_steps * target / taken))
    steps = method.phase_steps(count)
    trains = [not isinstance(settings, GeneratorWarmUp) for settings, _ in method.phase_shares()]
    costs = [
        PhaseCost(share=row["share"], flops=row["flops_per_step"], seconds=row["seconds_per_step"], trains_encoder=its)
        for row, its in zip(plan.speeds["pretraining"][run.method], trains, strict=True)
    ]
    points = spread_points(costs, steps, num_points)
    return replace(run, num_steps=count, stage_steps=steps, points=points, flops=total(costs, steps, "flops"), seconds=target, settled=True)


def run(settings: AblateSettings) -> int:
    """Run the steps that are not done; 128 + signal where a signal stopped it.

    Raises:
        UserError: any mistake in the settings, before any long work.
    """
    require("torch", "train")
    started, settings = time.monotonic(), completed(settings)
    checked = setup.check(settings)
    plan = read_plan(settings.output) if settings.resume else None
    if settings.dry_run:
        plan = plan or setup.make_plan(checked, 0.0)
        print("\n".join(results.plan_lines(checked, plan, list_steps(checked, plan))))
        return 0
    if plan is None and settings.variant == "scratch":
        # The text is tokenized, so a budget that is too short is reported before anything is written. Reviews have to be prepared first.
        plan = setup.make_plan(checked, time.monotonic() - started)
    if not (settings.resume and (settings.output / "config.toml").exists()):
        atomic.write_text(settings.output / "config.toml", config.to_toml(settings))
    try:
        with stoppable():
            plan = prepare(checked, plan, started)
            plan = run_steps(checked, plan)
            found = results.write(checked, plan, setup.describe_shards(settings))
    except Stopped as stopped:
        say(f"electra ablate: stopped; the same command with --resume continues {settings.output}")
        return stopped.code
    print(json.dumps(found, indent=1) if settings.json else (settings.output / "table.md").read_text(encoding="utf-8").rstrip())
    return 0


def prepare(checked: Checked, plan: AblationPlan | None, started: float) -> AblationPlan:
    """Tokenized text, a checkpoint of random weights, plan.json, the labelled examples."""
    settings = checked.settings
    if settings.variant == "imdb":
        setup.make_shards(settings, checked.vocab_size)
    if settings.init is None:
        setup.make_start(settings, checked.methods[0])
    if plan is None:
        checked = setup.with_vocabulary(checked)
        plan = setup.make_plan(checked, time.monotonic() - started)
    if not (settings.output / "plan.json").exists():
        write_plan(plan, settings.output)
        say("\n".join(results.plan_lines(checked, plan, list_steps(checked, plan))))
    for number, (labelled, sizes) in enumerate(zip(checked.tasks, plan.tasks, strict=True)):
        setup.write_labelled(labelled, sizes, settings.output, part(settings, number))
    return plan


def list_steps(checked: Checked, plan: AblationPlan) -> list[AblationStep]:
    """Every step of a plan."""
    settings = checked.settings
    return StepList(
        settings=settings,
        plan=plan,
        methods=checked.methods,
        shards=setup.shard_folders(settings),
        tasks=[(each.task.name, settings.output / "sentiment" if each.can_shrink else each.place) for each in checked.tasks],
    ).steps()


def run_steps(checked: Checked, plan: AblationPlan) -> AblationPlan:
    """Run the steps that are not done -> the plan, whose runs of equal time may have got another length."""
    settings = checked.settings

    def match_time() -> None:
        nonlocal plan
        better = match_recorded_time(plan, checked.methods, settings.output, settings.points)
        if better != plan:
            plan = better
            runner.steps[:] = list_steps(checked, plan)
            write_plan(plan, settings.output)

    def after(step: Step, ended: Ended) -> str:
        assert isinstance(step, AblationStep)
        remove_unneeded(runner.steps, step)
        match_time()
        last_of_seed = all(other.done for other in runner.steps if isinstance(other, AblationStep) and other.seed == step.seed)
        results.write(checked, plan, {}, picture=last_of_seed)
        score = results.main_score(step.folder) if step.kind == "finetune" else None
        return "" if score is None else f"{100 * score:.2f}"

    runner = CommandRunner(list_steps(checked, plan), after)
    match_time()
    runner.run_here()
    return plan

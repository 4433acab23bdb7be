"""electra ablate: methods beside each other at equal compute.

--data, --init      -> shards, one vocabulary                        (imdb: made here)
task files          -> examples, baselines
timed updates       -> plan.json: every part's size, settled once
plan                -> for every seed: pre-trainings, fine-tunings of their checkpoints, of random weights, of the checkpoint as it is
what is finished    -> results.json, table.md, results.png           (after every part)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from electra import config
from electra.errors import require
from electra.recipes.ablation import plan as ablation_parts
from electra.recipes.ablation import plan as ablation_plan
from electra.recipes.ablation import results as ablation_results
from electra.recipes.ablation import setup
from electra.recipes.ablation.plan import Method, Part, Plan, Run, Stage, spread_points, total
from electra.recipes.ablation.results import places
from electra.recipes.ablation.setup import Checked
from electra.recipes.command_runner import Stopped, call, stoppable
from electra.settings import AblateSettings
from electra.storage import atomic
from electra.terminal import duration

# ---- Seconds recorded in the first seed -> the length of the runs of equal time, settled anew before the first of them begins ----


def calibrate(plan: Plan, methods: Sequence[Method], output: Path, num_points: int) -> Plan:
    """The plan, or one whose runs of equal time are as long as the first seed's recorded seconds say."""
    return replace(plan, runs=tuple(_settle(run, plan, methods, output, num_points) for run in plan.runs))


def _settle(run: Run, plan: Plan, methods: Sequence[Method], output: Path, num_points: int) -> Run:
    first, twin = plan.runs[0], next((other for other in plan.runs if other.method == run.method and other.match == "flops"), None)
    if run.match != "seconds" or run.settled or twin is None:
        return run
    folders = [output / "seed-1" / each.name for each in (first, twin)]
    if not all((folder / "final").exists() for folder in folders):
        return run
    target, taken = (places(folder, each)[-1]["seconds"] for folder, each in zip(folders, (first, twin), strict=True))
    method = next(method for method in methods if method.name == run.method)
    count = max(2 * num_points, round(twin.num_steps * target / taken))
    steps = method.parts(count)
    stages = [
        Stage(share=row["share"], flops=row["flops_per_step"], seconds=row["seconds_per_step"]) for row in plan.speeds["pretraining"][run.method]
    ]
    points = spread_points(stages, steps, num_points)
    return replace(run, num_steps=count, stage_steps=steps, points=points, flops=total(stages, steps, "flops"), seconds=target, settled=True)


def run(settings: AblateSettings) -> int:
    """Do what is not done yet; 128 + signal when a signal stopped it.

    Raises:
        UserError: any mistake in what was given, before any long work.
    """
    require("torch", "train")
    started = time.monotonic()
    checked = setup.check(settings)
    plan = ablation_plan.read_plan(settings.output) if settings.resume else None
    if settings.dry_run:
        print("\n".join(ablation_results.plan_lines(checked, plan or setup.settle(checked, 0.0), _parts(checked, plan))))
        return 0
    if plan is None and settings.variant == "scratch":
        # Its shards are there, so a budget that is too short is told before anything is written. Reviews have to be prepared first.
        plan = setup.settle(checked, time.monotonic() - started)
    if not (settings.resume and (settings.output / "config.toml").exists()):
        atomic.write_text(settings.output / "config.toml", config.to_toml(settings))
    try:
        with stoppable():
            plan = _prepare(checked, plan, started)
            plan = _work(checked, plan, started)
            results = ablation_results.write(checked, plan, setup.describe_shards(settings))
    except Stopped as stop:
        _say(f"electra ablate: stopped; the same command with --resume goes on with {settings.output}")
        return stop.code
    print(json.dumps(results, indent=1) if settings.json else (settings.output / "table.md").read_text(encoding="utf-8").rstrip())
    return 0


def _prepare(checked: Checked, plan: Plan | None, started: float) -> Plan:
    """Shards, the start of random weights, plan.json, the labelled examples."""
    settings = checked.settings
    if settings.variant == "imdb":
        setup.make_shards(settings, checked.vocab_size, call)
    setup.make_start(settings, checked.methods[0])
    if plan is None:
        checked = setup.with_vocabulary(checked)
        plan = setup.settle(checked, time.monotonic() - started)
    if not (settings.output / "plan.json").exists():
        ablation_plan.write_plan(plan, settings.output)
        _say("\n".join(ablation_results.plan_lines(checked, plan, _parts(checked, plan))))
    setup.write_labelled(checked.labelled, plan.num_train, plan.num_dev, settings.output)
    return plan


def _parts(checked: Checked, plan: Plan | None) -> list[Part]:
    """The plan's parts; none without a plan."""
    if plan is None:
        return []
    place = checked.settings.output / "sentiment" if checked.labelled.can_shrink else checked.labelled.place
    shards = setup.shard_folders(checked.settings)
    return ablation_parts.list_parts(checked.settings, plan, checked.methods, shards, (checked.labelled.task.name, place))


def _work(checked: Checked, plan: Plan, started: float) -> Plan:
    """Run the parts that are not finished, with what is known after each -> the plan, whose runs of equal time may have been settled meanwhile."""
    settings, foretold, spent = checked.settings, 0.0, 0.0
    parts = _parts(checked, plan)
    for number in range(1, len(parts) + 1):
        better = calibrate(plan, checked.methods, settings.output, settings.points)
        if better != plan:
            plan, parts = better, _parts(checked, better)
            ablation_plan.write_plan(plan, settings.output)
        part, begun = parts[number - 1], time.monotonic()
        if part.finished:
            continue
        place = f"[{number} of {len(parts)}] {part.title}"
        _say(f"\n{place}")
        call(part.command, *part.command_line(), preset_kind="pretrain" if part.command == "pretrain" else None)
        ablation_parts.sweep(parts, part)
        ablation_results.write(checked, plan, {}, picture=number == len(parts) or parts[number].seed != part.seed)
        spent, foretold = spent + time.monotonic() - begun, foretold + part.seconds
        left = sum(other.seconds for other in parts if not other.finished) * spent / max(1e-9, foretold)
        _say(f"{place}: {ablation_results.part_score(part)}{duration(time.monotonic() - started)} so far, about {duration(left)} left")
    return plan


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

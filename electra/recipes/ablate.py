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

from electra import config, disk
from electra.data.progress import clock
from electra.errors import require
from electra.recipes import ablation_check, ablation_data, ablation_parts, ablation_plan, ablation_results
from electra.recipes.ablation_calibration import calibrate
from electra.recipes.ablation_calls import Stopped, call, stoppable
from electra.recipes.ablation_check import Checked
from electra.recipes.ablation_parts import Part
from electra.recipes.ablation_plan import Plan
from electra.settings import AblateSettings


def run(settings: AblateSettings) -> int:
    """Do what is not done yet; 128 + signal when a signal stopped it.

    Raises:
        UserError: any mistake in what was given, before any long work.
    """
    require("torch", "train")
    started = time.monotonic()
    checked = ablation_check.check(settings)
    plan = ablation_plan.read_plan(settings.output) if settings.resume else None
    if settings.dry_run:
        print("\n".join(ablation_results.plan_lines(checked, plan or ablation_check.settle(checked, 0.0), _parts(checked, plan))))
        return 0
    if plan is None and settings.variant == "scratch":
        # Its shards are there, so a budget that is too short is told before anything is written. Reviews have to be prepared first.
        plan = ablation_check.settle(checked, time.monotonic() - started)
    if not (settings.resume and (settings.output / "config.toml").exists()):
        disk.write_text(settings.output / "config.toml", config.to_toml(settings))
    try:
        with stoppable():
            plan = _prepare(checked, plan, started)
            plan = _work(checked, plan, started)
            results = ablation_results.write(checked, plan, ablation_data.describe_shards(settings))
    except Stopped as stop:
        _say(f"electra ablate: stopped; the same command with --resume goes on with {settings.output}")
        return stop.code
    print(json.dumps(results, indent=1) if settings.json else (settings.output / "table.md").read_text(encoding="utf-8").rstrip())
    return 0


def _prepare(checked: Checked, plan: Plan | None, started: float) -> Plan:
    """Shards, the start of random weights, plan.json, the labelled examples."""
    settings = checked.settings
    if settings.variant == "imdb":
        ablation_data.make_shards(settings, checked.vocab_size, call)
    ablation_data.make_start(settings, checked.methods[0])
    if plan is None:
        checked = ablation_check.with_vocabulary(checked)
        plan = ablation_check.settle(checked, time.monotonic() - started)
    if not (settings.output / "plan.json").exists():
        ablation_plan.write_plan(plan, settings.output)
        _say("\n".join(ablation_results.plan_lines(checked, plan, _parts(checked, plan))))
    ablation_data.write_labelled(checked.labelled, plan.num_train, plan.num_dev, settings.output)
    return plan


def _parts(checked: Checked, plan: Plan | None) -> list[Part]:
    """The plan's parts; none without a plan."""
    if plan is None:
        return []
    place = checked.settings.output / "sentiment" if checked.labelled.can_shrink else checked.labelled.place
    shards = ablation_data.shard_folders(checked.settings)
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
        _say(f"{place}: {ablation_results.part_score(part)}{clock(time.monotonic() - started)} so far, about {clock(left)} left")
    return plan


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

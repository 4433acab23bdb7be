"""Seconds recorded in the first seed -> the length of the runs of equal time, settled anew before the first of them begins.

Some seconds of trial updates foretell hours badly. The first seed's runs of the first method and of equal FLOPs are trainings of the very kind
that shall take equally long; what they took replaces the foretold speeds, once for all seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from electra.recipes.ablation_methods import Method
from electra.recipes.ablation_plan import Plan, Run, Stage, spread_points, total
from electra.recipes.ablation_results import places


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

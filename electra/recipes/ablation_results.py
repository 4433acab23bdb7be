"""Finished parts -> results.json, table.md, results.png; and the plan in words."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra import disk
from electra.data.progress import clock
from electra.recipes import ablation_chart, ablation_parts
from electra.recipes.ablation_check import Checked
from electra.recipes.ablation_methods import LABELS
from electra.recipes.ablation_parts import EQUAL, Part, point_folder, run_title, stage_folder
from electra.recipes.ablation_plan import Plan, Run
from electra.recipes.ablation_verdict import compare, over_examples, sentence
from electra.recipes.table import describe

PLACES = ("flops", "seconds", "tokens")


# ---- reading ----


def main_score(folder: Path) -> float | None:
    """A finished fine-tuning's main metric."""
    path = folder / "scores.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return float(found["scores"][found["main_metric"]]["mean"])


def part_score(part: Part) -> str:
    """'81.20; ' of a fine-tuning."""
    score = main_score(part.folder) if part.command == "finetune" else None
    return "" if score is None else f"{100 * score:.2f}; "


def places(folder: Path, run: Run) -> list[dict[str, float]]:
    """FLOPs, seconds and tokens of training up to each point, as the run recorded them."""
    from electra.train.record import read_metrics

    before, out = dict.fromkeys(PLACES, 0.0), []
    for stage, steps in enumerate(run.stage_steps):
        lines = {line["step"]: line for line in read_metrics(stage_folder(folder, run, stage) / "metrics.jsonl") if line["kind"] == "train"}
        out += [{name: before[name] + lines[step][name] for name in PLACES} for place, step in run.points if place == stage]
        before = {name: before[name] + lines[steps][name] for name in PLACES}
    return out


def collect(checked: Checked, plan: Plan, shards: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known so far -> what results.json holds; with `shards` described, the last word."""
    settings, seeds = checked.settings, range(1, checked.settings.seeds + 1)
    runs = {run.name: _run(settings.output, run, seeds) for run in plan.runs}
    begun: dict[str, Any] = {}
    for name, (title, _) in ablation_parts.starts(settings).items():
        scores = {seed: score for seed in seeds if (score := main_score(settings.output / f"seed-{seed}" / name)) is not None}
        if scores:
            begun[name] = {"title": title, "score": {"seeds": [*scores], **describe([*scores.values()])}}
    known = settings.output / "baselines.json"
    model = checked.methods[0].settings.model
    results: dict[str, Any] = {
        "variant": settings.variant,
        "task": checked.labelled.task.name,
        "metric": checked.labelled.task.main_metric,
        "finished": bool(shards),
        "network": {"layers": model.num_hidden_layers, "width": model.hidden_size, "embedding": model.embedding_size, "vocabulary": plan.vocab_size},
        "pretraining_data": {"shards": [str(Path(path).name) for path in settings.data], **shards},
        "num_train": plan.num_train,
        "num_dev": plan.num_dev,
        "runs": {name: run for name, run in runs.items() if run is not None},
        "starts": begun,
        "baselines": json.loads(known.read_text(encoding="utf-8")) if known.exists() else {},
    }
    results["comparisons"] = compare_all(results, plan, settings.output)
    results["sentences"] = [each["sentence"] for each in results["comparisons"]]
    results["sentences"] += [_circumstances(results)] if results["runs"] and results["comparisons"] else []
    return results


def _run(output: Path, run: Run, seeds: Sequence[int]) -> dict[str, Any] | None:
    """Points of one kind of run over its seeds; None before the first is scored."""
    scored: list[dict[int, float]] = [{} for _ in run.points]
    where: list[list[dict[str, float]]] = [[] for _ in run.points]
    for seed in seeds:
        folder = output / f"seed-{seed}" / run.name
        if not (folder / "final").exists():
            continue
        found = places(folder, run)
        for number in range(len(run.points)):
            score = main_score(point_folder(output, seed, run, number + 1))
            if score is not None:
                scored[number][seed] = score
                where[number].append(found[number])
    points = [
        {
            **{name: statistics.fmean(place[name] for place in there) for name in PLACES},
            "first_stage": stage < len(run.stage_steps) - 1,
            "score": {"seeds": [*scores], **describe([*scores.values()])},
        }
        for scores, there, (stage, _) in zip(scored, where, run.points, strict=True)
        if scores
    ]
    if not points:
        return None
    whole = len(points) == len(run.points)
    return {"title": run_title(run), "method": run.method, "match": run.match, "num_steps": sum(run.stage_steps), "points": points, "whole": whole}


def compare_all(results: Mapping[str, Any], plan: Plan, output: Path) -> list[dict[str, Any]]:
    """The first method against every matched run, then what pre-training gave it and the others."""
    finals = {name: run["points"][-1]["score"] for name, run in results["runs"].items() if run["whole"]}
    finals |= {name: start["score"] for name, start in results["starts"].items()}
    first, *others = plan.runs
    wanted = [(first.name, run.name, LABELS[first.method], LABELS[run.method], EQUAL[run.match]) for run in others]
    for run in plan.runs:
        for start in ("start-mlm" if run.method == "mlm" and "start-mlm" in finals else "start", "random"):
            if start in results["starts"]:
                title = {"random": "random weights"}.get(start, "the checkpoint as it is")
                wanted.append((run.name, start, run_title(run), title, ""))
    out = []
    for one, two, title, other, where in wanted:
        if one not in finals or two not in finals:
            continue
        scores = [dict(zip(finals[name]["seeds"], finals[name]["each"], strict=True)) for name in (one, two)]
        difference = compare(*scores)
        if difference is None:
            continue
        if results["finished"] and results["metric"] == "accuracy":
            difference["over_examples"] = over_examples(
                *([_predictions(output, seed, name, plan) for seed in difference["seeds"]] for name in (one, two))
            )
        said = sentence(title, other, where, f"{results['metric']} on {results['task']}", difference)
        out.append({"first": one, "second": two, "difference": difference, "sentence": said})
    return out


def _predictions(output: Path, seed: int, name: str, plan: Plan) -> Path:
    run = next((run for run in plan.runs if run.name == name), None)
    folder = output / f"seed-{seed}" / name if run is None else point_folder(output, seed, run, len(run.points))
    return folder / "predictions.jsonl"


def _circumstances(results: Mapping[str, Any]) -> str:
    """How much this rests on."""
    net, runs = results["network"], results["runs"]
    seeds = max(len(run["points"][-1]["score"]["seeds"]) for run in runs.values())
    tokens = ", ".join(f"{run['title']} {_amount(run['points'][-1]['tokens'])}" for run in runs.values() if run["whole"])
    unique = results["pretraining_data"].get("tokens")
    text = f"{seeds} seed{'s' if seeds > 1 else ''}, each with pre-trainings and fine-tunings of its own; tokens read: {tokens}"
    text += f", of a text of {_amount(unique)}" if unique else ""
    text += f"; a network of {net['layers']} layers of width {net['width']} with {net['vocabulary']:,} word pieces; "
    return text + f"{results['num_train']:,} training examples, {results['num_dev']:,} dev examples. Of other sizes this says nothing."


def _amount(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


# ---- writing ----


def write(checked: Checked, plan: Plan, shards: Mapping[str, Any], *, picture: bool = True) -> dict[str, Any]:
    """Write the three files (the picture takes a second: it may be left out) and return what results.json holds."""
    output, results = checked.settings.output, collect(checked, plan, shards)
    disk.write_text(output / "results.json", json.dumps(results, indent=1) + "\n")
    disk.write_text(output / "table.md", to_markdown(results))
    if results["runs"] and picture:
        ablation_chart.draw(results, output / "results.png")
    return results


def to_markdown(results: Mapping[str, Any]) -> str:
    """results.json -> what people read, scores times a hundred."""
    lines = [f"# Ablation: {results['variant']}, then {results['task']}", ""]
    lines += [f"- {text}" for text in results["sentences"]] + [""] * bool(results["sentences"])
    lines += [f"| | {results['metric']} | 95% interval | sd | seeds | PFLOP | minutes | tokens | steps |", "|---" * 9 + "|"]
    for run in results["runs"].values():
        last = run["points"][-1]
        cells = [f"{last['flops'] / 1e15:.4g}", f"{last['seconds'] / 60:.1f}", _amount(last["tokens"]), f"{run['num_steps']:,}"]
        lines.append(_line(run["title"] + ("" if run["whole"] else " (unfinished)"), last["score"], cells))
    lines += [_line(start["title"], start["score"], [""] * 4) for start in results["starts"].values()]
    lines += [f"| {name}, no network | {100 * score:.2f} |" + " |" * 7 for name, score in results["baselines"].items()]
    lines += ["", "Interval and sd are of seeds (Student's t). FLOPs are of training, by our count; minutes as recorded."]
    lines += _matching(results)
    if any(point["first_stage"] for run in results["runs"].values() for point in run["points"]):
        lines.append("Hollow marks in the picture: points in the stage in which that method's encoder still learns as a masked LM (mlm_first).")
    lines += [""] if results["finished"] else ["", "Not all parts are finished."]
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, score: Mapping[str, Any], cells: Sequence[str]) -> str:
    interval = "" if score["interval"] is None else " to ".join(f"{100 * end:.2f}" for end in score["interval"])
    spread = "" if score["sd"] is None else f"{100 * score['sd']:.2f}"
    return "| " + " | ".join([name, f"{100 * score['mean']:.2f}", interval, spread, str(len(score["each"])), *cells]) + " |"


def _matching(results: Mapping[str, Any]) -> list[str]:
    """How equal the compute came out."""
    runs, told = [run for run in results["runs"].values() if run["whole"]], list[str]()
    first = next((run for run in runs if not run["match"]), None)
    for run in runs:
        if first is not None and run["match"]:
            ratio = run["points"][-1][run["match"]] / first["points"][-1][run["match"]] - 1
            told.append(f"{run['title']}: {ratio:+.1%} {'FLOPs' if run['match'] == 'flops' else 'of time'} beside {first['title']}, as recorded.")
    return told


def plan_lines(checked: Checked, plan: Plan, parts: Sequence[Part]) -> list[str]:
    """What will be done, for people."""
    settings = checked.settings
    parts = parts or ablation_parts.list_parts(settings, plan, checked.methods, (), ("", Path()))
    whole = plan.setup_seconds + sum(part.seconds for part in parts)
    lines = [f"{'part':<44}{'steps':>9}{'PFLOP':>10}{'minutes':>9}", "for each of the seeds " + ", ".join(map(str, range(1, settings.seeds + 1)))]
    for run in plan.runs:
        lines.append(f"  {run_title(run):<42}{sum(run.stage_steps):>9,}{run.flops / 1e15:>10.4g}{run.seconds / 60:>9.1f}")
        lines.append(f"    {f'fine-tuning of {len(run.points)} checkpoints':<40}{'':>19}{len(run.points) * plan.finetune_seconds / 60:>9.1f}")
    for title, _ in ablation_parts.starts(settings).values():
        lines.append(f"  {f'fine-tuning: {title}':<42}{'':>19}{plan.finetune_seconds / 60:>9.1f}")
    lines.append(f"every fine-tuning: {checked.labelled.task.name}, {plan.num_train:,} training examples, {plan.num_dev:,} dev examples")
    lines.append(f"{len(parts)} parts, {clock(whole)} in all" + (f" of {clock(settings.budget)}" if settings.num_train_steps is None else ""))
    return lines

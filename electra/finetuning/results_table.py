"""Scores of trials -> RUN/results.json, table.md and results.png: every seed, mean and 95% confidence interval per task.

A task counts by what GLUE's own table averages (the mean of accuracy and F1 for MRPC and QQP, of both correlations for STS-B), else by its
main metric. The interval is Student's t over the seeds of one choice of hyper-parameters: what another seed would give, on the same dev set.
A sweep of one task also writes the RUN/scores.json of a run without trials.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.command_runner import Ended, Step
from electra.errors import UserError, parse_json, require
from electra.finetuning.hyperparameters import default_preset
from electra.settings import FinetuneSettings
from electra.storage import atomic
from electra.tasks.metrics import display_unit
from electra.tasks.registry import suites

Point = tuple[tuple[str, str], ...]
"""(name, value) of each hyper-parameter that is searched over."""


@dataclass(frozen=True, kw_only=True)
class SweepStep(Step):
    """A trial: one task and one seed with one choice of hyper-parameters."""

    task: str
    point: Point
    """Empty without a search."""
    seed: int


# ---- picture ----

DOT, MEAN, BASELINE = "#56B4E9", "#D55E00", "#777777"


def draw(results: Mapping[str, Any], output: Path) -> None:
    """A row per task (per point of a search), the average last."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = _rows(results)
    figure = Figure(figsize=(7.5, 0.42 * len(rows) + 1.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for place, (_, score, baselines) in enumerate(rows):
        each = [100 * value for value in score.get("each", [])]
        # Dots below the mean, each a little lower, so that equal scores remain visible as several.
        spread = [place + 0.06 + 0.07 * (i % 5) for i in range(len(each))]
        axes.plot(each, spread, "o", color=DOT, markersize=5, alpha=0.85, markeredgewidth=0)
        mean = 100 * score["mean"]
        axes.plot([mean, mean], [place - 0.34, place - 0.06], color=MEAN, linewidth=2.2)
        for value in baselines:
            axes.plot([100 * value], [place - 0.2], marker="D", color=BASELINE, markersize=4.5, linestyle="", markeredgewidth=0)
        if score.get("interval"):
            # No score lies outside of -1..1, however wide Student's t of two seeds is.
            low, high = (100 * min(1.0, max(-1.0, end)) for end in score["interval"])
            axes.plot([low, high], [place - 0.2, place - 0.2], color=MEAN, linewidth=1.2)
        axes.annotate(f"{mean:.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=MEAN)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # The interval of two seeds may be wider than all that there is to see.
    dots = [100 * value for _, score, baselines in rows for value in (*score.get("each", [score["mean"]]), *baselines)]
    left, right = axes.get_xlim()
    axes.set_xlim(max(left, min(dots) - 10), min(right, max(dots) + 10))
    if results["average"] is not None:
        axes.axhline(len(rows) - 1.5, color="#999999", linewidth=0.8)
    axes.set_xlabel("dev score x 100", fontsize=9)
    axes.set_title(f"{results['suite']} from {_short(results['model'])}", fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=DOT, label="a seed"),
        Line2D([], [], color=MEAN, linewidth=2.2, label="mean, with its 95% interval over seeds"),
    ]
    if any(baselines for *_, baselines in rows):
        handles.append(Line2D([], [], marker="D", linestyle="", color=BASELINE, label="without a network"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with atomic.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _rows(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], list[float]]]:
    """(label, scores of seeds, scores of baselines)."""
    rows: list[tuple[str, Mapping[str, Any], list[float]]] = []
    for task, row in results["tasks"].items():
        for point in row.get("points", [row]):
            searched = ", ".join(f"{name}={_short(value)}" for name, value in point["hyper_parameters"].items())
            chosen = " *" if len(row.get("points", [])) > 1 and point["hyper_parameters"] == row["hyper_parameters"] else ""
            baselines = [scores[point["counted_metric"]] for scores in row.get("baselines", {}).values()]
            rows.append((f"{task} ({point['counted_metric']})" + (f"\n{searched}{chosen}" if searched else ""), point["score"], baselines))
    if results["average"] is not None:
        rows.append(("average", results["average"], []))
    return rows


def _short(value: str) -> str:
    """A value, of a path its last two names: there is no place for more."""
    return "/".join(Path(value).parts[-2:])


# ---- scores ----

BASELINES = "baselines.json"
GLUE_SCORE = "glue_score"
"""Reported next to a task's metrics where GLUE's table averages two of them."""


def task_folder(settings: FinetuneSettings, task: str, *, trials: bool = False) -> Path:
    """Where a task's records are, or its trials: RUN and RUN/search of one task, RUN/TASK of a suite (and of any sweep of earlier versions)."""
    if settings.task in suites() or (settings.output / task).is_dir():
        return settings.output / task
    return settings.output / "search" if trials else settings.output


def read_scores(trial: Step) -> dict[str, Any] | None:
    """A trial's scores.json; None where it is not finished.

    Raises:
        UserError: it is damaged.
    """
    path = trial.folder / "scores.json"
    try:
        found: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        float(found["scores"][found["main_metric"]]["mean"]), found["seconds"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove the folder {trial.folder} to run that trial again") from None
    return found


def main_score(trial: Step) -> float | None:
    """A finished trial's main metric."""
    found = read_scores(trial)
    return None if found is None else float(found["scores"][found["main_metric"]]["mean"])


def describe(values: Sequence[float]) -> dict[str, Any]:
    """Scores of seeds -> mean, sd (n - 1), median, best, and the 95% confidence interval of the mean; sd and interval are None for one."""
    mean = statistics.fmean(values)
    out: dict[str, Any] = {"mean": mean, "sd": None, "median": statistics.median(values), "best": max(values), "interval": None, "each": [*values]}
    if len(values) > 1:
        out["sd"] = statistics.stdev(values)
        reach = float(require("scipy.stats", "train").t.ppf(0.975, len(values) - 1)) * out["sd"] / math.sqrt(len(values))
        out["interval"] = [mean - reach, mean + reach]
    return out


def collect(settings: FinetuneSettings, trials: Sequence[SweepStep], ends: Mapping[Step, Ended], missing: Sequence[str]) -> dict[str, Any]:
    """All finished trials -> the contents of RUN/results.json.

    Raises:
        UserError: a trial's scores.json is damaged.
    """
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(trial.task for trial in trials):
        mine = [trial for trial in trials if trial.task == task]
        rows = [row for point in dict.fromkeys(trial.point for trial in mine) if (row := _row([t for t in mine if t.point == point], ends))]
        if not rows:
            continue
        best = max(rows, key=lambda row: row["metrics"][row["main_metric"]]["mean"])
        tasks[task] = {**best, "points": rows} if len(rows) > 1 or mine[0].point else best
        if (known := task_folder(settings, task) / BASELINES).exists():
            tasks[task] = tasks[task] | {"baselines": atomic.read_json(known, dict)}
    failed = [{"trial": trial.title, "error": ended.error, "log": _log(trial, settings)} for trial, ended in ends.items() if ended.returncode]
    out: dict[str, Any] = {
        "suite": settings.task,
        "model": settings.model,
        "preset": settings.preset or default_preset(settings),
        "tasks": tasks,
        "average": None,
    }
    out |= {} if settings.few_shot is None else {"few_shot": settings.few_shot}
    out |= {"not_found": [*missing], "failed": failed, "unfinished": [trial.title for trial in trials if trial not in ends]}
    if len(tasks) > 1:
        out["average"] = _average(tasks, settings.task)
    if any(trial.point for trial in trials):
        out["selection"] = "hyper-parameters were chosen on the dev set by the mean of their seeds: the score of the chosen is optimistic"
    return out


def _log(trial: Step, settings: FinetuneSettings) -> str:
    return str((trial.folder / "trial.log").relative_to(settings.output))


def _row(trials: Sequence[SweepStep], ends: Mapping[Step, Ended]) -> dict[str, Any] | None:
    """Seeds of one task under one choice of hyper-parameters -> a row of the table; None where none is finished."""
    found = [(trial, scores) for trial in trials if (scores := read_scores(trial)) is not None]
    if not found:
        return None
    first = found[0][1]
    metrics = {name: describe([scores["scores"][name]["mean"] for _, scores in found]) for name in first["scores"]}
    counted = GLUE_SCORE if GLUE_SCORE in metrics else first["main_metric"]
    return {
        "hyper_parameters": dict(found[0][0].point),
        "seeds": [trial.seed for trial, _ in found],
        "main_metric": first["main_metric"],
        "counted_metric": counted,
        "score": metrics[counted],
        "metrics": metrics,
        "train_examples": first["train_examples"],
        "dev_examples": first["dev_examples"],
        "seconds": [sum(scores["seconds"]) for _, scores in found],
        "cpu_seconds": [ends[trial].cpu_seconds if trial in ends else None for trial, _ in found],
        "peak_memory_bytes": [ends[trial].peak_memory_bytes if trial in ends else None for trial, _ in found],
    }


def _average(tasks: Mapping[str, Any], suite: str) -> dict[str, Any]:
    """The mean over tasks, seed by seed where all tasks have the same seeds."""
    seeds = [tuple(row["seeds"]) for row in tasks.values()]
    same = len(set(seeds)) == 1
    each = [statistics.fmean(values) for values in zip(*(row["score"]["each"] for row in tasks.values()), strict=False)] if same else []
    found = describe(each) if each else {"mean": statistics.fmean(row["score"]["mean"] for row in tasks.values()), "sd": None, "interval": None}
    complete = suite in suites() and set(tasks) == set(suites()[suite])
    without = [row["score"]["mean"] for task, row in tasks.items() if task != "wnli"]
    found |= {"tasks": [*tasks], "every_task_of_the_suite": complete}
    return found | ({"mean_without_wnli": statistics.fmean(without)} if "wnli" in tasks and without else {})


def as_single_run(row: Mapping[str, Any], trials: Sequence[SweepStep]) -> dict[str, Any]:
    """The chosen row of one task and its trials -> the scores.json that `electra finetune` writes without trials."""
    found = [scores for trial in trials if trial.point == tuple(row["hyper_parameters"].items()) and (scores := read_scores(trial)) is not None]
    out = {**found[0], "scores": {name: {key: score[key] for key in ("mean", "sd", "each")} for name, score in row["metrics"].items()}}
    # One value per seed: each trial has a list of one.
    out |= {key: [value for scores in found for value in scores[key]] for key, first in found[0].items() if isinstance(first, list)}
    each = row["metrics"][row["main_metric"]]["each"]
    return out | {"best_seed": row["seeds"][each.index(max(each))]}


# ---- table ----


def write(settings: FinetuneSettings, trials: Sequence[SweepStep], ends: Mapping[Step, Ended], missing: Sequence[str]) -> dict[str, Any]:
    """Write the files and return the contents of results.json."""
    results = collect(settings, trials, ends, missing)
    if settings.task not in suites():
        for task, row in results["tasks"].items():
            scores = as_single_run(row, [trial for trial in trials if trial.task == task])
            atomic.write_text(settings.output / "scores.json", json.dumps(scores, indent=1) + "\n")
    atomic.write_text(settings.output / "results.json", json.dumps(results, indent=1) + "\n")
    atomic.write_text(settings.output / "table.md", to_markdown(results))
    if results["tasks"]:
        draw(results, settings.output / "results.png")
    return results


def to_markdown(results: Mapping[str, Any]) -> str:
    """results.json -> the table people read, times a hundred."""
    title = f"# {results['suite']}: fine-tuned from {results['model']} (preset {results['preset']})"
    lines = [title, "", "| task | metric | mean | 95% interval | sd | median | best | seeds | seconds | peak memory |", "|---" * 10 + "|"]
    for task, row in results["tasks"].items():
        lines.append(_line(task, row))
    if (average := results["average"]) is not None:
        lines.append(_line("**average**", {"score": average, "counted_metric": "mean of tasks"}))
    if "few_shot" in results:
        drawn = f"{results['few_shot']} training examples of each class, drawn by the seed: all methods learn from the same draws."
        lines += ["", f"Few labels: {drawn}"]
    lines += [
        "",
        "Scores are of the dev sets, times a hundred. The interval is Student's t over seeds; it does not include the choice of dev examples.",
    ]
    if average is not None:
        what = "all tasks of the suite" if average["every_task_of_the_suite"] else "the tasks above, which are not the whole suite"
        lines.append(f"The average is over {what}; MRPC, QQP and STS-B count by the mean of their two metrics, as in GLUE's own table.")
        if "mean_without_wnli" in average:
            lines.append(f"Without WNLI, which the ELECTRA paper leaves out, it is {average['mean_without_wnli'] * 100:.2f}.")
    for task, row in results["tasks"].items():
        if found := row.get("baselines"):
            counted = row["counted_metric"]
            lines.append(f"{task} without a network: {', '.join(_baseline(name, scores, counted) for name, scores in found.items())}.")
        others = [f"{name} {score['mean'] * display_unit(name):.2f}" for name, score in row["metrics"].items() if name != row["counted_metric"]]
        lines += [f"{task}: also {', '.join(others)}."] if others else []
    lines += _search_lines(results)
    lines += [""] if results["not_found"] or results["failed"] or results["unfinished"] else []
    for name in results["not_found"]:
        lines.append(f"- {name}: not found")
    lines += [f"- {item['trial']}: **failed**: {item['error']} ({item['log']})" for item in results["failed"]]
    lines += [f"- {name}: not run yet" for name in results["unfinished"]]
    return "\n".join(lines) + "\n"


def _baseline(name: str, scores: Mapping[str, Any], metric: str) -> str:
    """'TF-IDF 57.10', of several draws 'TF-IDF 57.10 (sd 3.20)'."""
    sd = scores["draws"][metric]["sd"] if "draws" in scores else None
    return f"{name} {100 * scores[metric]:.2f}" + ("" if sd is None else f" (sd {100 * sd:.2f})")


def _line(name: str, row: Mapping[str, Any]) -> str:
    score = row["score"]

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value * 100:.2f}"

    interval = "" if score.get("interval") is None else " to ".join(shown(end) for end in score["interval"])
    memory = [size for size in row.get("peak_memory_bytes", []) if size]
    cells = [
        name,
        row["counted_metric"],
        shown(score["mean"]),
        interval,
        shown(score.get("sd")),
        shown(score.get("median")),
        shown(score.get("best")),
    ]
    cells.append(f"{len(row['seeds'])}" if "seeds" in row else "")
    cells.append(f"{statistics.fmean(row['seconds']):,.0f}" if "seconds" in row else "")
    cells.append(f"{max(memory) / 1e9:.2f} GB" if memory else "")
    return "| " + " | ".join(cells) + " |"


def _search_lines(results: Mapping[str, Any]) -> list[str]:
    """Every point of a search, the chosen one marked."""
    lines: list[str] = []
    if "selection" not in results:
        return lines
    lines += ["", "## Search", "", f"The {results['selection']}.", "", "| task | hyper-parameters | metric | mean | sd | seeds |", "|---" * 6 + "|"]
    for task, row in results["tasks"].items():
        for point in row["points"]:
            searched = ", ".join(f"{name} {value}" for name, value in point["hyper_parameters"].items())
            score = point["metrics"][point["main_metric"]]
            mark = " (chosen on the dev set: its score is optimistic)" if point["hyper_parameters"] == row["hyper_parameters"] else ""
            spread = "" if score["sd"] is None else f"{score['sd'] * 100:.2f}"
            values = f"{point['main_metric']} | {score['mean'] * 100:.2f} | {spread} | {len(point['seeds'])}"
            lines.append(f"| {task} | {searched}{mark} | {values} |")
        for name, scores in row.get("baselines", {}).items():
            if "draws" in scores:
                score = scores["draws"][row["main_metric"]]
                spread = "" if score["sd"] is None else f"{score['sd'] * 100:.2f}"
                lines.append(
                    f"| {task} | without a network: {name} | {row['main_metric']} | {score['mean'] * 100:.2f} | {spread} | {len(score['each'])} |"
                )
    return [*lines, ""]

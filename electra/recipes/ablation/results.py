"""Finished steps -> results.json, table.md, results.png; and the plan as text."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.errors import UserError
from electra.finetuning.results_table import describe
from electra.recipes.ablation.plan import BERTS, EQUAL, LABELS, AblationPlan, AblationStep, PretrainingRun, finetuning_folder, part, starts
from electra.recipes.ablation.setup import Checked
from electra.settings import AblateSettings
from electra.storage import atomic
from electra.tasks.significance import interval, read_answers, resample
from electra.terminal import duration
from electra.train.run_log import run_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# ---- comparisons ----

RESAMPLES = 2000


def compare(first: Mapping[int, float], second: Mapping[int, float]) -> dict[str, Any] | None:
    """Seed -> score of two methods -> statistics of first minus second over the seeds that both have; None where there are none."""
    seeds = sorted(first.keys() & second.keys())
    return {"seeds": seeds, **describe([first[seed] - second[seed] for seed in seeds])} if seeds else None


def over_examples(first: Sequence[Path], second: Sequence[Path]) -> list[float]:
    """predictions.jsonl of each seed of two methods -> the 95% interval of their difference in accuracy over other dev examples."""
    mine, theirs = (np.mean([_right(path) for path in paths], axis=0) for paths in (first, second))
    differences = mine - theirs
    return list(interval(resample(lambda drawn: differences[drawn].mean(axis=-1), len(differences), num_resamples=RESAMPLES)))


def _right(path: Path) -> np.ndarray:
    return np.array([float(label == prediction) for _, (label, prediction) in sorted(read_answers(path).items())])


def outcome(difference: Mapping[str, Any]) -> str:
    """'better', 'worse', 'seeds' or 'examples' (zero is in that interval), or 'one' (a single seed has no interval)."""
    if difference["interval"] is None:
        return "one"
    low, high = difference["interval"]
    if low <= 0 <= high:
        return "seeds"
    if (examples := difference.get("over_examples")) is not None and examples[0] <= 0 <= examples[1]:
        return "examples"
    return "better" if difference["mean"] > 0 else "worse"


def sentence(first: str, second: str, where: str, metric: str, difference: Mapping[str, Any]) -> str:
    """What the data supports: 'ELECTRA beats BERT at equal FLOPs by 2.1 points of accuracy on sst2 (95% ...).'"""
    points, count = 100 * difference["mean"], len(difference["seeds"])
    found = outcome(difference)
    if found == "one":
        return (
            f"{first} {points:+.1f} points of {metric} against {second}{where}, with one seed: one seed has no spread, "
            "so this data does not show which is better."
        )
    low, high = (100 * end for end in difference["interval"])
    intervals = f"95% {low:+.1f} to {high:+.1f} over {count} seeds"
    if (examples := difference.get("over_examples")) is not None:
        intervals += f", {100 * examples[0]:+.1f} to {100 * examples[1]:+.1f} over dev examples"
    if found == "better":
        return f"{first} beats {second}{where} by {points:.1f} points of {metric} ({intervals})."
    if found == "worse":
        return f"{second} beats {first}{where} by {-points:.1f} points of {metric} ({first} {points:+.1f}; {intervals})."
    spread = "the spread over seeds" if found == "seeds" else "the spread over dev examples"
    found = f"within {spread}, so this data does not show which is better."
    return f"{first} {points:+.1f} points of {metric} against {second}{where} ({intervals}): {found}"


# ---- picture ----

# Okabe and Ito's colours, which colour-blind readers can distinguish too.
COLOURS = {"electra": "#0072B2", "mlm": "#D55E00", "electra-masked": "#009E73", "replace-mlm": "#CC79A7", "all-tokens-mlm": "#E69F00"}
COLOURS["clm-mlm"] = "#56B4E9"
MARKERS = {"electra": "o", "mlm": "s", "electra-masked": "^", "replace-mlm": "D", "all-tokens-mlm": "v", "clm-mlm": "P"}
UNITS = {
    "flops": ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")),
    "seconds": ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")),
}
TITLES = {"flops": "equal FLOPs", "seconds": "equal time"}


def draw(results: Mapping[str, Any], output: Path) -> None:
    """results.json -> score against FLOPs and against time: a line per method, a band over seeds."""
    from matplotlib.figure import Figure

    matches = list(dict.fromkeys(run["match"] for run in results["runs"].values() if run["match"])) or ["flops"]
    figure = Figure(figsize=(5.2 * len(matches) + 0.4, 4.3), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(matches), squeeze=False, sharey=True)[0]
    for axes, match in zip(panels, matches, strict=True):
        _panel(axes, results, match)
    panels[0].set_ylabel(f"{results['task']}: dev {results['metric']} x 100", fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    net, seeds = results["network"], max(len(run["points"][0]["score"]["each"]) for run in results["runs"].values())
    continued = "start" in results["starts"]
    where = ("on IMDb" if results["variant"] == "imdb" else "from scratch") + (", continued from a checkpoint" if continued else "")
    figure.suptitle(
        f"pre-trained {where}, fine-tuned on {results['task']}: {net['layers']} layers of width {net['width']}; "
        f"{seeds} seed{'s' if seeds > 1 else ''}: dots, mean, mean ± sd",
        fontsize=10,
    )
    with atomic.atomic_file(output) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axes: Axes, results: Mapping[str, Any], match: str) -> None:
    """The first method and those matched by `match`."""
    shown = [run for run in results["runs"].values() if run["match"] in ("", match)]
    longest = max(run["points"][-1][match] for run in shown)
    scale, unit = next(((scale, unit) for scale, unit in UNITS[match] if longest >= scale), UNITS[match][-1])
    for run in shown:
        _curve(axes, run, match, scale, _start(results, run["method"]))
    _levels(axes, results)
    if (start := _start(results, shown[0]["method"])) is not None:
        name = "the checkpoint" if "start" in results["starts"] else "random weights"
        axes.annotate(name, (0, 100 * start["mean"]), xytext=(8, -3), textcoords="offset points", fontsize=8, color="#444444", va="top")
    axes.set_xlim(-0.02 * longest / scale, 1.04 * longest / scale)
    axes.set_xlabel(f"pre-training ({unit})", fontsize=9)
    axes.set_title(TITLES[match], fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _start(results: Mapping[str, Any], method: str) -> Mapping[str, Any] | None:
    """The score of a run before its first step: of its initial checkpoint, else of random weights."""
    names = [*(["start-mlm"] if method in BERTS else []), "start", "random"]
    return next((results["starts"][name]["score"] for name in names if name in results["starts"]), None)


def _curve(axes: Axes, run: Mapping[str, Any], match: str, scale: float, start: Mapping[str, Any] | None) -> None:
    scores = [(0.0, start)] * (start is not None) + [(point[match] / scale, point["score"]) for point in run["points"]]
    colour, marker = COLOURS[run["method"]], MARKERS[run["method"]]
    places, means = [place for place, _ in scores], [100 * score["mean"] for _, score in scores if score is not None]
    spread = [100 * (score["sd"] or 0.0) for _, score in scores if score is not None]
    axes.fill_between(
        places,
        [m - s for m, s in zip(means, spread, strict=True)],
        [m + s for m, s in zip(means, spread, strict=True)],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(places, means, color=colour, linewidth=1.8, marker=marker, markersize=5, label=LABELS[run["method"]])
    hollow = [(point[match] / scale, 100 * point["score"]["mean"]) for point in run["points"] if point["first_stage"]]
    axes.plot(
        *([list(column) for column in zip(*hollow, strict=True)] or [[], []]),
        linestyle="",
        color=colour,
        marker=marker,
        markersize=5,
        markerfacecolor="white",
    )
    for place, score in scores:
        each = [100 * value for value in score["each"]] if score is not None and len(score["each"]) > 1 else []
        axes.plot([place] * len(each), each, linestyle="", marker=marker, color=colour, markersize=2.6, alpha=0.55, markeredgewidth=0)


def _levels(axes: Axes, results: Mapping[str, Any]) -> None:
    """Dashed lines: scores without this pre-training."""
    if "start" in results["starts"] and "random" in results["starts"]:
        axes.axhline(100 * results["starts"]["random"]["score"]["mean"], color="#777777", linestyle=":", linewidth=1.3, label="no pre-training")
    if results["baselines"]:
        name = max(results["baselines"], key=lambda each: results["baselines"][each])
        axes.axhline(100 * results["baselines"][name], color="#555555", linestyle="--", linewidth=1.1, label=f"{name}, no network")


# ---- scores ----

COMPUTE = ("flops", "seconds", "tokens")
Examples = Callable[[str, Sequence[int]], Sequence[Path]]
"""A run or start, seeds -> the predictions.jsonl of each."""


def main_score(folder: Path) -> float | None:
    """A finished fine-tuning's main metric."""
    path = folder / "scores.json"
    if not path.exists():
        return None
    found = atomic.read_json(path, dict)
    try:
        return float(found["scores"][found["main_metric"]]["mean"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged; remove the folder {folder} to run that fine-tuning again") from None


def compute_at_points(folder: Path, run: PretrainingRun) -> list[dict[str, float]]:
    """FLOPs, seconds and tokens of training up to each point, as the run recorded them."""
    steps_before = [sum(run.stage_steps[:phase]) for phase in range(len(run.stage_steps))]
    lines = {line["step"]: line for line in run_metrics(folder) if line["kind"] == "train"}
    return [{name: float(lines[steps_before[phase] + step][name]) for name in COMPUTE} for phase, step in run.points]


def collect(checked: Checked, plan: AblationPlan, shards: Mapping[str, Any]) -> dict[str, Any]:
    """Everything finished -> the contents of results.json: of one task, or of several by name; `shards` describes the tokenized text once all
    steps are done."""
    found = [_task(checked, plan, shards, number) for number in range(len(checked.tasks))]
    if len(found) == 1:
        return found[0]
    by_task = {results["task"]: results for results in found}
    return {"variant": checked.settings.variant, "finished": bool(shards), "by_task": by_task, "mean": over_tasks(found, plan)}


def _task(checked: Checked, plan: AblationPlan, shards: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The results on one task."""
    settings, seeds = checked.settings, range(1, checked.settings.seeds + 1)
    task, sizes = checked.tasks[number].task, plan.tasks[number]
    runs = {run.name: _run(settings, run, number) for run in plan.runs}
    untrained: dict[str, Any] = {}
    for name, (title, _) in starts(settings).items():
        scores = {seed: score for seed in seeds if (score := main_score(finetuning_folder(settings, seed, name, number))) is not None}
        if scores:
            untrained[name] = {"title": title, "score": {"seeds": [*scores], **describe([*scores.values()])}}
    known = settings.output / f"baselines{part(settings, number)}.json"
    model = checked.methods[0].settings.model
    results: dict[str, Any] = {
        "variant": settings.variant,
        "task": task.name,
        "metric": task.main_metric,
        "finished": bool(shards),
        "network": {"layers": model.num_hidden_layers, "width": model.hidden_size, "embedding": model.embedding_size, "vocabulary": plan.vocab_size},
        "pretraining_data": {"shards": [str(Path(path).name) for path in settings.data], **shards},
        "num_train": sizes.num_train,
        "num_dev": sizes.num_dev,
        "runs": {name: run for name, run in runs.items() if run is not None},
        "starts": untrained,
        "baselines": atomic.read_json(known, dict) if known.exists() else {},
    }

    def predictions(name: str, seeds: Sequence[int]) -> list[Path]:
        run = next((run for run in plan.runs if run.name == name), None)
        last = name if run is None else f"{name}-point-{len(run.points)}"
        return [finetuning_folder(settings, seed, last, number) / "predictions.jsonl" for seed in seeds]

    examples = predictions if results["finished"] and task.main_metric == "accuracy" else None
    results["comparisons"] = compare_all(final_scores(results), plan, f"{task.main_metric} on {task.name}", examples)
    results["sentences"] = [each["sentence"] for each in results["comparisons"]]
    results["sentences"] += gains(results) if results["finished"] else []
    results["sentences"] += [_circumstances(results)] if results["runs"] and results["comparisons"] else []
    return results


def _run(settings: AblateSettings, run: PretrainingRun, task: int) -> dict[str, Any] | None:
    """A run's points over its seeds; None before the first is scored."""
    scored: list[dict[int, float]] = [{} for _ in run.points]
    where: list[list[dict[str, float]]] = [[] for _ in run.points]
    for seed in range(1, settings.seeds + 1):
        folder = settings.output / f"seed-{seed}" / run.name
        if not (folder / "final").exists():
            continue
        found = compute_at_points(folder, run)
        for number in range(len(run.points)):
            score = main_score(finetuning_folder(settings, seed, f"{run.name}-point-{number + 1}", task))
            if score is not None:
                scored[number][seed] = score
                where[number].append(found[number])
    points = [
        {
            **{name: statistics.fmean(place[name] for place in there) for name in COMPUTE},
            "first_stage": phase < len(run.stage_steps) - 1,
            "score": {"seeds": [*scores], **describe([*scores.values()])},
        }
        for scores, there, (phase, _) in zip(scored, where, run.points, strict=True)
        if scores
    ]
    if not points:
        return None
    whole = len(points) == len(run.points)
    return {"title": run.title, "method": run.method, "match": run.match, "num_steps": sum(run.stage_steps), "points": points, "whole": whole}


def final_scores(results: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Finished runs and starts -> seed -> score."""
    scores = {name: run["points"][-1]["score"] for name, run in results["runs"].items() if run["whole"]}
    scores |= {name: start["score"] for name, start in results["starts"].items()}
    return {name: dict(zip(score["seeds"], score["each"], strict=True)) for name, score in scores.items()}


def compare_all(finals: Mapping[str, Mapping[int, float]], plan: AblationPlan, what: str, examples: Examples | None = None) -> list[dict[str, Any]]:
    """Final scores, named `what` -> the first method against every matched run, a masked LM after a causal one against one without, then every
    run against its start; `examples` gives the predictions of a run's seeds, for the interval over dev examples."""
    first, *others = plan.runs
    wanted = [(first.name, run.name, LABELS[first.method], LABELS[run.method], EQUAL[run.match]) for run in others]
    for run in others:
        if run.method == "clm-mlm" and (twin := next((each for each in others if (each.method, each.match) == ("mlm", run.match)), None)):
            wanted.append((run.name, twin.name, LABELS[run.method], LABELS[twin.method], EQUAL[run.match]))
    for run in plan.runs:
        for start in ("start-mlm" if run.method in BERTS and "start-mlm" in finals else "start", "random"):
            wanted.append((run.name, start, run.title, {"random": "random weights"}.get(start, "the initial checkpoint"), ""))
    out = []
    for one, two, title, other, where in wanted:
        difference = compare(finals.get(one, {}), finals.get(two, {}))
        if difference is None:
            continue
        if examples is not None:
            difference["over_examples"] = over_examples(*(examples(name, difference["seeds"]) for name in (one, two)))
        out.append({"first": one, "second": two, "difference": difference, "sentence": sentence(title, other, where, what, difference)})
    return out


def over_tasks(found: Sequence[Mapping[str, Any]], plan: AblationPlan) -> dict[str, Any]:
    """The comparisons of the mean score over several tasks."""
    finals, means = [final_scores(results) for results in found], dict[str, dict[int, float]]()
    for name in finals[0]:
        seeds = set.intersection(*(set(each.get(name, {})) for each in finals))
        means[name] = {seed: statistics.fmean(each[name][seed] for each in finals) for seed in sorted(seeds)}
    task = f"the mean over {', '.join(results['task'] for results in found)}"
    out = {"task": task, "runs": found[0]["runs"], "comparisons": compare_all(means, plan, f"score, {task}")}
    sentences = [each["sentence"] for each in out["comparisons"]]
    return {"comparisons": out["comparisons"], "sentences": sentences + (gains(out) if found[0]["finished"] else [])}


def gains(results: Mapping[str, Any]) -> list[str]:
    """Which pre-trainings made the initial checkpoint better, by both intervals; nothing where there is none, or one seed."""
    against = [each for each in results["comparisons"] if each["second"].startswith("start") and outcome(each["difference"]) != "one"]
    if not against:
        return []
    better = [results["runs"][each["first"]]["title"] for each in against if outcome(each["difference"]) == "better"]
    worse = [results["runs"][each["first"]]["title"] for each in against if outcome(each["difference"]) == "worse"]
    found = f"better on {results['task']} than the initial checkpoint: {', '.join(better) or 'none of these pre-trainings'}"
    return [f"{found[0].upper()}{found[1:]}" + (f"; worse: {', '.join(worse)}" if worse else "") + "."]


def _circumstances(results: Mapping[str, Any]) -> str:
    """The size of everything."""
    net, runs = results["network"], results["runs"]
    seeds = max(len(run["points"][-1]["score"]["seeds"]) for run in runs.values())
    tokens = ", ".join(f"{run['title']} {_amount(run['points'][-1]['tokens'])}" for run in runs.values() if run["whole"])
    unique = results["pretraining_data"].get("tokens")
    text = f"{seeds} seed{'s' if seeds > 1 else ''}, each with its own pre-trainings and fine-tunings; training tokens: {tokens}"
    text += f", from a text of {_amount(unique)}" if unique else ""
    text += f"; a network of {net['layers']} layers of width {net['width']} with a vocabulary of {net['vocabulary']:,}; "
    return text + f"{results['num_train']:,} training examples, {results['num_dev']:,} dev examples. It does not extend to other sizes."


def _amount(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


# ---- table ----


def write(checked: Checked, plan: AblationPlan, shards: Mapping[str, Any], *, picture: bool = True) -> dict[str, Any]:
    """Write table, results and pictures (which take a second each, so they may be left out) and return the contents of results.json."""
    output, results = checked.settings.output, collect(checked, plan, shards)
    atomic.write_text(output / "results.json", json.dumps(results, indent=1) + "\n")
    atomic.write_text(output / "table.md", to_markdown(results))
    for number, found in enumerate(results.get("by_task", {"": results}).values()):
        if found["runs"] and picture:
            draw(found, output / f"results{part(checked.settings, number)}.png")
    return results


def to_markdown(results: Mapping[str, Any]) -> str:
    """results.json -> a table for people, scores times a hundred; of several tasks, one after the other."""
    if "by_task" in results:
        means = ["# Mean over the tasks", "", *(f"- {text}" for text in results["mean"]["sentences"]), "", ""]
        return "\n".join(means * bool(results["mean"]["sentences"]) + [*map(to_markdown, results["by_task"].values())])
    lines = [f"# Ablation: {results['variant']}, then {results['task']}", ""]
    lines += [f"- {text}" for text in results["sentences"]] + [""] * bool(results["sentences"])
    lines += [f"| | {results['metric']} | 95% interval | sd | seeds | PFLOP | minutes | tokens | steps |", "|---" * 9 + "|"]
    for run in results["runs"].values():
        last = run["points"][-1]
        cells = [f"{last['flops'] / 1e15:.4g}", f"{last['seconds'] / 60:.1f}", _amount(last["tokens"]), f"{run['num_steps']:,}"]
        lines.append(_line(run["title"] + ("" if run["whole"] else " (unfinished)"), last["score"], cells))
    lines += [_line(start["title"], start["score"], [""] * 4) for start in results["starts"].values()]
    lines += [f"| {name}, no network | {100 * score:.2f} |" + " |" * 7 for name, score in results["baselines"].items()]
    lines += ["", "Interval and sd are over seeds (Student's t). FLOPs are of training, as electra counts them; minutes as recorded."]
    lines += _matching(results)
    if any(point["first_stage"] for run in results["runs"].values() for point in run["points"]):
        lines.append("Hollow marks in the picture: points in the first phase of that method's encoder, a masked LM (mlm_first) or a causal one.")
    lines += [""] if results["finished"] else ["", "Not all steps are finished."]
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, score: Mapping[str, Any], cells: Sequence[str]) -> str:
    interval = "" if score["interval"] is None else " to ".join(f"{100 * end:.2f}" for end in score["interval"])
    spread = "" if score["sd"] is None else f"{100 * score['sd']:.2f}"
    return "| " + " | ".join([name, f"{100 * score['mean']:.2f}", interval, spread, str(len(score["each"])), *cells]) + " |"


def _matching(results: Mapping[str, Any]) -> list[str]:
    """How equal the recorded compute is."""
    runs, lines = [run for run in results["runs"].values() if run["whole"]], list[str]()
    first = next((run for run in runs if not run["match"]), None)
    for run in runs:
        if first is not None and run["match"]:
            ratio = run["points"][-1][run["match"]] / first["points"][-1][run["match"]] - 1
            lines.append(
                f"{run['title']}: {ratio:+.1%} {'FLOPs' if run['match'] == 'flops' else 'of time'} relative to {first['title']}, as recorded."
            )
    return lines


def plan_lines(checked: Checked, plan: AblationPlan, steps: Sequence[AblationStep]) -> list[str]:
    """The plan for people."""
    settings = checked.settings
    whole = plan.setup_seconds + sum(step.seconds for step in steps)
    each = sum(sizes.finetune_seconds for sizes in plan.tasks) / 60
    lines = [f"{'step':<44}{'steps':>9}{'PFLOP':>10}{'minutes':>9}", "for each of the seeds " + ", ".join(map(str, range(1, settings.seeds + 1)))]
    for run in plan.runs:
        lines.append(f"  {run.title:<42}{sum(run.stage_steps):>9,}{run.flops / 1e15:>10.4g}{run.seconds / 60:>9.1f}")
        lines.append(f"    {f'fine-tuning of {len(run.points)} checkpoints':<40}{'':>19}{len(run.points) * each:>9.1f}")
    for title, _ in starts(settings).values():
        lines.append(f"  {f'fine-tuning: {title}':<42}{'':>19}{each:>9.1f}")
    for labelled, sizes in zip(checked.tasks, plan.tasks, strict=True):
        lines.append(
            f"every fine-tuning{' on' if len(plan.tasks) > 1 else ':'} {labelled.task.name}{':' if len(plan.tasks) > 1 else ','} "
            f"{sizes.num_train:,} training examples, {sizes.num_dev:,} dev examples"
        )
    lines.append(f"{len(steps)} steps, {duration(whole)} in all" + (f" of {duration(settings.budget)}" if settings.num_train_steps is None else ""))
    return lines

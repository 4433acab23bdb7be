"""Tables of presets, tasks and scores: what is learned, from the presets, the task table and `experiments/records`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from docs_records import EXPERIMENTS, MAKERS, ROOT, Maker, cells_of, interval, kept, maker, percent, record, span, table

START_NAMES = {"electra": "`mini`: ELECTRA, one hour", "mlm": "`mini-mlm`: masked LM, one hour", "random": "random weights"}


@maker("presets")
def presets(old: list[str]) -> list[str]:
    """Every pre-training preset: shape, length, batch, duration, description."""
    from electra import config
    from electra.settings import PretrainSettings

    rows = []
    for name, description in config.descriptions("pretrain").items():
        made = config.build(PretrainSettings, config.preset_values(name, "pretrain"))
        model, loop = made.model, made.loop
        length = f"{loop.num_train_steps:,} steps" if loop.num_train_steps else f"{loop.budget / 60:.0f} min" if loop.budget else ""
        length = f"{loop.num_train_tokens / 1e6:.0f} M tokens" if loop.num_train_tokens else length
        batch = loop.total_batch_size or loop.batch_size * loop.accumulation
        rows.append(
            (
                f"`{name}`",
                made.objective.objective,
                f"{model.num_hidden_layers} x {model.hidden_size}, {model.embedding_size}",
                str(made.data.sequence_length),
                str(batch),
                length,
                description,
            )
        )
    return table(("preset", "objective", "layers x hidden, embedding", "length", "batch", "duration", "description"), rows, left=7)


def task_table(names: Iterable[str], old: list[str]) -> list[str]:
    """Tasks with their metric and their epochs and length in the presets 'paper' and 'clue'; description, files and further metrics are kept."""
    from electra.finetuning.hyperparameters import resolve
    from electra.settings import FinetuneSettings
    from electra.tasks.registry import CLUE_SUITE, TASKS

    by_name, rows = cells_of(old), []
    for name in names:
        also = by_name.get(f"`{name}`", {}).get("also", "")
        found = {preset: resolve(FinetuneSettings(task=name, model="m", output=Path("o"), preset=preset), name, 256) for preset in ("paper", "clue")}
        shown = {preset: f"{made.epochs:g}, {made.max_length}" for preset, made in found.items()}
        chinese = shown["clue"] if name in CLUE_SUITE and name != "cmrc2018" else ""
        metric = "by kind" if name == "own" else TASKS[name].main_metric
        rows.append((f"`{name}`", *kept(by_name, f"`{name}`", "what", "files"), metric, also, shown["paper"], chinese))
    return table(("name", "what", "files", "metric", "also", "paper", "clue"), rows, left=7)


@maker("tasks")
def tasks(old: list[str]) -> list[str]:
    """Tasks of one or two texts and one label."""
    from electra.tasks.registry import TASKS

    return task_table((name for name, task in TASKS.items() if name not in ("chunk", "tagging") and name not in _questions()), old)


@maker("tasks-questions")
def question_tasks(old: list[str]) -> list[str]:
    """Question answering."""
    return task_table(_questions(), old)


@maker("tasks-tags")
def tag_tasks(old: list[str]) -> list[str]:
    """Tagging."""
    return task_table(("chunk", "tagging"), old)


def _questions() -> tuple[str, ...]:
    from electra.tasks.question_answering import QUESTION_TASKS

    return tuple(QUESTION_TASKS)


@maker("task-scores")
def task_scores(old: list[str]) -> list[str]:
    """Every task of `experiments/tasks.sh` with its baselines."""
    rows = []
    for name, found in record(EXPERIMENTS + "tasks.json")["tasks"].items():
        metric, score = found["counted_metric"], found["score"]
        known = ", ".join(f"{label} {percent(scores[metric])}" for label, scores in found.get("baselines", {}).items())
        minutes = statistics.fmean(seconds or 0.0 for seconds in found["cpu_seconds"]) / 60
        spread = percent(score["sd"]) if score["interval"] else ""
        rows.append((name, metric, known, percent(score["mean"]), spread, interval(score["interval"]), str(len(found["seeds"])), f"{minutes:.1f}"))
    return table(("task", "metric", "without a network", "mean", "sd", "95% interval", "seeds", "core minutes"), rows, left=3)


@maker("task-scores-public")
def public_task_scores(old: list[str]) -> list[str]:
    """The same tasks from a public encoder, next to what a model from this project's own pre-training reaches; each task's main metric."""
    rows = []
    own = record(EXPERIMENTS + "tasks.json")["tasks"]
    for name, found in record(EXPERIMENTS + "tasks-public.json")["tasks"].items():
        metric = found["main_metric"]
        score, minutes = found["metrics"][metric], statistics.fmean(seconds or 0.0 for seconds in found["cpu_seconds"]) / 60
        known = ", ".join(f"{label} {percent(scores[metric])}" for label, scores in found.get("baselines", {}).items())
        before = percent(own[name]["metrics"][metric]["mean"]) if name in own else ""
        spread = percent(score["sd"]) if score["interval"] else ""
        rows.append(
            (name, metric, known, before, percent(score["mean"]), spread, interval(score["interval"]), str(len(found["seeds"])), f"{minutes:.1f}")
        )
    return table(("task", "metric", "without a network", "from scratch", "mean", "sd", "95% interval", "seeds", "core minutes"), rows, left=3)


def _ablation(name: str) -> Maker:
    def lines(old: list[str]) -> list[str]:
        from electra.recipes.ablation.results import to_markdown

        return to_markdown(record(f"{EXPERIMENTS}ablation/{name}.json")["results"]).splitlines()[2:]

    return lines


MAKERS["ablation-scratch"], MAKERS["ablation-imdb"] = _ablation("scratch"), _ablation("imdb")


@maker("two-ranks")
def two_ranks(old: list[str]) -> list[str]:
    """Two ranks and one."""
    rows = []
    for name, found in record(EXPERIMENTS + "two-ranks.json")["runs"].items():
        largest = found["largest_relative_difference"]
        shown = (f"{largest['loss']:.1e}", f"{largest['grad_norm']:.1e}") if largest["loss"] else ("", "")
        rows.append((name, f"{found['loss']:.5f}", *shown))
    return table(("", "loss at step 40", "largest relative difference of the loss", "of the gradient norm"), rows)


@maker("equal-hours")
def equal_hours(old: list[str]) -> list[str]:
    """Three recipes of one hour each, on the fixed corruption set."""
    names = {
        "mini": "`mini`",
        "mini-paper": "`mini-paper`: the paper's recipe, same shape",
        "mini-mlm": "`mini-mlm`: masked LM, by -log p of each token",
    }
    rows = []
    for name, found in record(EXPERIMENTS + "equal-hours.json")["runs"].items():
        every = [f"{found[key]:.3f}" if key in found else "" for key in ("generator_auc", "frequency_auc")]
        first = [f"{found[key + '_first_64']:.3f}" for key in ("generator_auc", "frequency_auc")]
        rows.append((names[name], f"{found['tokens'] / 1e6:.1f} M", *every, *first))
    return table(("", "tokens", "AUC, frozen generator", "AUC, word frequencies", "first 64 examples: generator", "frequencies"), rows)


@maker("sst2")
def sst2(old: list[str]) -> list[str]:
    """SST-2 after pre-training."""
    found, paper = record(EXPERIMENTS + "sst2-after-pretraining.json"), record(EXPERIMENTS + "sst2-mini-paper.json")
    runs = {name: found["finetuned"][key] for key, name in START_NAMES.items()}
    runs["`mini-paper`: the paper's recipe, one hour"] = paper["finetuned"]["paper"]
    rows = []
    for name, run in runs.items():
        score = run["scores"]["accuracy"]
        rows.append((name, percent(score["mean"]), percent(score["sd"]), " ".join(percent(each) for each in score["each"])))
    rows.append(("TF-IDF + logistic regression", percent(found["tfidf_logistic_regression"]), "", ""))
    return table(("SST-2 dev accuracy from", "mean", "sd", "each seed"), rows)


@maker("corruption")
def corruption(old: list[str]) -> list[str]:
    """The detectors on fixed corruption sets."""
    found = {
        "`mini`, one hour": record(EXPERIMENTS + "mini-2026-11-21.jsonl")[0],
        "`mini-ship`, 120 M tokens (`shipped:mini`)": record(EXPERIMENTS + "shipped/record.json")["pretraining"]["corruption"],
        "`chinese-mini`, 33 minutes of one thread": record(EXPERIMENTS + "chinese-mini.json")["fixed_corruption_set"],
    }
    keys = [f"{kind}_{what}_auc" for kind in ("generator", "frequency") for what in ("disc", "context_free")]
    rows = [(name, *(f"{values[key]:.3f}" for key in keys)) for name, values in found.items()]
    return table(("AUC", "frozen generator", "context-free detector", "word frequencies", "context-free detector"), rows)


@maker("chinese")
def chinese(old: list[str]) -> list[str]:
    """Nine pre-training metrics of `chinese-mini`, and those that its seed reports."""
    found = record(EXPERIMENTS + "chinese-mini.json")
    theirs = found["electra_tiny_after_1M_steps_of_10_GB"]
    rows = [(name, f"{found['held_out'][name]:.3f}", f"{theirs[name]:.3f}") for name in theirs]
    return table(("metric", "`chinese-mini`", "electra-tiny, as reported"), rows)


@maker("few-labels")
def few_labels(old: list[str]) -> list[str]:
    """Mean and standard deviation over draws of a few labels of each class."""
    names = {"sst2": "SST-2", "imdb": "IMDb", "chnsenticorp": "ChnSentiCorp", "tnews": "TNEWS, 15 classes"}
    found = record(EXPERIMENTS + "few-labels.json")["tasks"]
    methods = {"contrastive": "`--few-shot`", "fine-tune": "fine-tuned", "frozen": "frozen vectors", "TF-IDF": "TF-IDF"}
    rows = []
    for task, name in names.items():
        for labels, cell in sorted(found.get(task, {}).items(), key=lambda item: int(item[0])):
            scores = [cell["methods"][method] for method in methods]
            rows.append((name, labels, f"{len(scores[0]['draws'])}", *(f"{percent(score['mean'])} ± {percent(score['sd'])}" for score in scores)))
    return table(("accuracy, dev", "labels of a class", "draws", *methods.values()), rows)


@maker("speedrun")
def speedrun(old: list[str]) -> list[str]:
    """Recipes of the speedrun: mean over seeds, the best score first."""
    path = EXPERIMENTS + "speedrun.json"
    if not (ROOT / path).is_file():
        return ["No run yet."]
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in record(path):
        groups.setdefault((row["budget"], row["submission"]), []).append(row)

    def mean(rows: list[Any], value: Callable[[Any], float | None], pattern: str) -> str:
        values = [found for row in rows if (found := value(row)) is not None]
        return pattern.format(statistics.mean(values)) if values else ""

    lines = []
    for (budget, name), rows in sorted(groups.items(), key=lambda item: (item[0][0], -statistics.mean(row["score"] for row in item[1]))):
        spread = f" ± {statistics.stdev(row['score'] for row in rows):.2f}" if len(rows) > 1 else ""
        rates = [max(rate for rate in row["gflop_per_second"].values() if rate) for row in rows]
        cells = (
            f"{mean(rows, lambda row: row['score'], '{:.2f}')}{spread}",
            f"{len(rows)}",
            mean(rows, lambda row: 100 * statistics.mean(row["sst2_whole"]["scores"]), "{:.1f}"),
            mean(rows, lambda row: row["bits_per_character"], "{:.2f}"),
            mean(rows, lambda row: row["corruption"].get("generator_auc"), "{:.3f}"),
            mean(rows, lambda row: row["flops"] / 1e14, "{:.2f}"),
            mean(rows, lambda row: row["seconds"] / 60, "{:.0f}"),
            span(rates, "{:,.0f}"),
            rows[0]["environment"]["commit"][:7],
        )
        lines.append((budget, f"`{name}`: {rows[0]['description']}", *cells))
    header = ("budget", "recipe", "score", "seeds", "SST-2", "bits per character", "AUC", "10¹⁴ FLOPs", "minutes", "GFLOP/s of the machine", "commit")
    return table(header, lines, left=2)


@maker("sts-b")
def sts_b(old: list[str]) -> list[str]:
    """Spearman on STS-B dev before and after training on its pairs."""
    names = {"own": "`shipped:mini`, an ELECTRA", "public": "all-MiniLM-L6-v2"}
    rows = []
    for key, name in names.items():
        found = record(EXPERIMENTS + "search.json")["sts_b_spearman"][key]
        mean = statistics.mean(found["after"])
        each = " ".join(percent(value) for value in found["after"])
        rows.append((name, percent(found["before"]), percent(mean), each, f"{100 * (mean - found['before']):+.1f}", f"{found['layers']}"))
    return table(("Spearman of", "as it is", "trained, mean", "each seed", "gain", "layers kept"), rows)


@maker("squad-search")
def squad_search(old: list[str]) -> list[str]:
    """Questions of SQuAD to its paragraphs."""
    found = record(EXPERIMENTS + "search.json")["squad"]
    vectors = {"before": "all-MiniLM-L6-v2 as it is", "after": "the same, trained"}
    names = {"BM25": "BM25", **vectors, **{f"BM25 and {key}": f"BM25 and {name}" for key, name in vectors.items()}}
    for key, name in {"BM25": "BM25", "after": "trained vectors", "BM25 and after": "BM25 and trained vectors"}.items():
        names |= {f"{key} + re-ranker": f"{name} + re-ranker", f"{key} + re-ranker, fused": f"{name} + re-ranker, `--fuse`"}
    rows = []
    for key, name in names.items():
        if key not in found["systems"]:
            continue
        scores = [f"{value:.3f}" for value in found["systems"][key].values()]
        gain = found["differences"].get(f"{key} - BM25")
        shown = "" if gain is None else f"{gain['difference']:+.3f} ({gain['interval'][0]:+.3f} to {gain['interval'][1]:+.3f})"
        rows.append((name, *scores, shown))
    return table(("", *found["systems"]["BM25"], "nDCG@10 - BM25's"), rows)


@maker("fuzz")
def fuzz(old: list[str]) -> list[str]:
    """The last fuzzing of each target that was about as long as its longest."""
    best: dict[str, Any] = {}
    for row in record(EXPERIMENTS + "fuzz.json"):
        known = best.get(row["target"])
        if known is None or row["seconds"] >= 0.9 * known["seconds"]:
            best[row["target"]] = row
    header = ("target", "reads, and is compared with", "minutes", "executions", "refused", "lines", "branches", "slowest, s", "memory, MB", "crashes")
    rows = []
    for name, row in sorted(best.items()):
        reach = ["" if row[key] is None else f"{percent(row[key], 0)}%" for key in ("lines", "branches")]
        numbers = [f"{row['seconds'] / 60:.1f}", f"{row['executions']:,}", f"{percent(row['refused'] / max(1, row['executions']), 0)}%", *reach]
        rows.append((name, row["covers"], *numbers, f"{row['slowest_seconds']:.2f}", f"{row['peak_megabytes']:.0f}", str(len(row["crashes"]))))
    return table(header, rows, left=2)

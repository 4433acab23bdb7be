"""Records, presets and the task table -> the generated tables of the documentation; links and names in it are checked.

    python bench/docs_tables.py           writes every generated table, and the new file of a test that moved
    python bench/docs_tables.py --check   exit code 1 and one line per page with a wrong table, link, test or record name

A generated table is what lies between two lines of a page. Edit its maker in this file, not the table:

    <!-- table: NAME -->
    <!-- end -->

Some columns are written by hand (what a task is, its files). A maker that has such columns keeps them row by row.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BENCH, EXPERIMENTS = "bench/records/", "experiments/records/"
MACHINE = BENCH + "2026-11-22-amd-epyc-2-cores.json"
RIVALS = BENCH + "2026-11-29-intel-xeon-2-cores.json"
"""With the named rivals of tokenizing."""
VECTORS = BENCH + "2026-11-30-amd-epyc-2-cores.json"
"""With those of vectors, re-rankers and classifiers."""
PAIRED = "bench/records/2026-11-29-paired.json"
SOAK = "bench/records/soak.json"
COMMAND = "python bench/docs_tables.py"
MARK = re.compile(r"^<!-- table: ([\w-]+) -->\n(.*?)^<!-- end -->$", re.M | re.S)
START_NAMES = {"electra": "`mini`: ELECTRA, one hour", "mlm": "`mini-mlm`: masked LM, one hour", "random": "random weights"}


class MissingRow(Exception):
    """A new row of a table with hand-written columns."""


Maker = Callable[[list[str]], list[str]]
MAKERS: dict[str, Maker] = {}


def maker(name: str) -> Callable[[Maker], Maker]:
    """Register a function: the lines of a table as they are -> as they should be."""

    def register(function: Maker) -> Maker:
        MAKERS[name] = function
        return function

    return register


@cache
def record(name: str) -> Any:
    """A record, by its path in the repository."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def section(name: str, machine: str = MACHINE) -> Any:
    """The result of a section of the bench."""
    return record(machine)["sections"][name]["result"]


def measured(name: str) -> list[tuple[str, str, Any]]:
    """Every record of `make bench` that has a section -> (its path, machine and date, the section's result), oldest first."""
    out = []
    for path in sorted((ROOT / BENCH).glob("*-cores.json")):
        found = record(place := f"{BENCH}{path.name}")
        if found["sections"].get(name, {}).get("state") == "done" and not found["options"].get("quick"):
            label = f"{re.sub(r'[(].*?[)]| Processor', '', found['machine']['processor']).strip()}, {found['date']}"
            out.append((place, label, found["sections"][name]["result"]))
    return out


def span(values: Iterable[float], pattern: str) -> str:
    """Figures of several machines -> '2.25x to 4.22x'; of one: '4.22x'."""
    shown = [pattern.format(value) for value in sorted(values)]
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Cells -> a markdown table whose first `left` columns are left-aligned."""
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def cells_of(old: Sequence[str]) -> dict[str, dict[str, str]]:
    """The lines of a table -> first cell -> column -> cell."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in old if line.startswith("|") and set(line) - set("|-: ")]
    return {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[1:]}


def kept(old: dict[str, dict[str, str]], name: str, *columns: str) -> list[str]:
    """The hand-written cells of a row.

    Raises:
        MissingRow: there is none; the generator invents no text.
    """
    if name not in old or any(not old[name].get(column) for column in columns):
        raise MissingRow(f"write a row for {name} by hand, with {', '.join(columns)}")
    return [old[name][column] for column in columns]


def percent(value: float, digits: int = 1) -> str:
    """0.8392 -> '83.9'."""
    return f"{100 * value:.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """(0.78, 0.8) -> '78.0 to 80.0'."""
    return "" if ends is None else f"{percent(ends[0], digits)} to {percent(ends[1], digits)}"


# ---- README ----


@maker("figures")
def figures(old: list[str]) -> list[str]:
    """The main figures, each with its record."""
    english = section("prepare", RIVALS)["languages"]["en"]["encode"][1]["summary"]["carried"]
    trained = measured("pretraining")
    small = [next(run["summary"] for run in result["runs"] if (run["preset"], run["dropout"]) == ("small", 0.1)) for _, _, result in trained]
    records = ", ".join(f"[{label}]({place})" for place, label, _ in trained)
    plain, ahead = english["electra, without nanotoken"]["median"], english["tokenizers"]["electra_is_faster_by"]["median"]
    built = {row["name"]: row["latency"]["p50_ms"] for row in record(BENCH + "2026-11-21-deployment.json")["rows"]}
    padded, pipeline = built["transformers, padded to 128"], built["transformers' pipeline"]
    starts, tuned = section("startup")["summary"], section("finetuning")
    script = starts["transformers' pipeline, script"]["warm"]["median"]
    fixed, sst2 = record(EXPERIMENTS + "mini-2026-11-21.jsonl")[0], record(EXPERIMENTS + "sst2-after-pretraining.json")
    scores = {name: percent(found["scores"]["accuracy"]["mean"]) for name, found in sst2["finetuned"].items()}
    bench, deployment = f"[record]({MACHINE})", f"[record]({BENCH}2026-11-21-deployment.json)"
    rows = [
        (
            "pre-train ELECTRA-Small, dropout 0.1",
            span((one["electra"]["tokens_per_second"]["median"] for one in small), "{:,.0f}") + " tokens/s",
            span((one["plain, eager"]["electra_is_faster_by"]["median"] for one in small), "{:.2f}x") + " a plain loop over `transformers` modules",
            records,
        ),
        (
            "the same with `--precision bf16`",
            span((one["electra, bf16"]["tokens_per_second"]["median"] for one in small), "{:,.0f}") + " tokens/s",
            span((one["electra, bf16"]["faster_than_fp32"]["median"] for one in small), "{:.2f}x") + " fp32",
            records,
        ),
        (
            "tokenize new English text",
            f"{english['electra']['median']:.1f} MB/s",
            f"{ahead:.2f}x `tokenizers`, identical ids; without nanotoken {plain:.1f} MB/s; Intel Xeon",
            f"[record]({RIVALS})",
        ),
        (
            "fine-tune ELECTRA-Small, 2,000 examples of SST-2",
            f"{tuned['median_seconds']['electra']:.1f} s per epoch",
            f"{turns(tuned, 'dynamic'):.2f}x `transformers` Trainer with dynamic padding",
            bench,
        ),
        (
            "one sentence, int8 `small`",
            f"{built['onnx-int8']:.1f} ms",
            f"`transformers`: model padded to 128 tokens {padded:.1f} ms, pipeline {pipeline:.1f} ms",
            deployment,
        ),
        (
            "`electra predict`, start to answer, int8",
            f"{starts['electra predict, onnx-int8']['warm']['median']:.2f} s",
            f"`transformers` pipeline {script:.2f} s",
            bench,
        ),
        (
            "one hour of `electra pretrain mini`: AUC on a fixed corruption set",
            f"{fixed['generator_disc_auc']:.3f}",
            f"{fixed['generator_context_free_auc']:.3f} from word frequencies alone",
            f"[record]({EXPERIMENTS}mini-2026-11-21.jsonl)",
        ),
        (
            "SST-2 dev after that hour, five seeds",
            scores["electra"],
            f"random weights {scores['random']}, masked LM of the same budget {scores['mlm']}, TF-IDF {percent(sst2['tfidf_logistic_regression'])}",
            f"[record]({EXPERIMENTS}sst2-after-pretraining.json)",
        ),
    ]
    return table(("on two CPU cores (AMD EPYC)", "measured", "compared with", ""), rows, left=4)


# ---- pretrain.md ----


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


# ---- finetune.md, question-answering.md, tagging.md ----


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


# ---- ablation.md ----


def _ablation(name: str) -> Maker:
    def lines(old: list[str]) -> list[str]:
        from electra.recipes.ablation.results import to_markdown

        return to_markdown(record(f"{EXPERIMENTS}ablation/{name}.json")["results"]).splitlines()[2:]

    return lines


MAKERS["ablation-scratch"], MAKERS["ablation-imdb"] = _ablation("scratch"), _ablation("imdb")


# ---- build-and-compare.md ----


@maker("targets-compared")
def targets_compared(old: list[str]) -> list[str]:
    """A classifier and what was built from it, of the targets that there are."""
    from electra.exporting.targets import TARGETS

    rows = []
    for row in record(BENCH + "2026-11-22-targets.json")["rows"]:
        if row["kind"] != "checkpoint" and row["kind"] not in TARGETS:
            continue
        agreement = "" if row["agreement"] is None else f"{percent(row['agreement'], 2)}%"
        speedup = row["latency"]["speedup"]
        rows.append(
            (
                row["kind"] if row["kind"] == "checkpoint" else f"`{row['kind']}`",
                percent(row["score"], 2),
                agreement,
                f"{row['size_bytes'] / 1e6:.1f} MB",
                f"{row['latency']['p50_ms']:.1f} ms",
                "" if speedup is None else f"{speedup:.2f}x",
                f"{row['throughput']['32']['texts_per_second']:,.0f}",
                "" if row["build_seconds"] is None else f"{row['build_seconds']:.1f} s",
            )
        )
    return table(("", "accuracy", "agreement", "size", "one sentence, p50", "speed-up", "texts/s in batches of 32", "build"), rows)


@maker("two-environments")
def two_environments(old: list[str]) -> list[str]:
    """A classifier and what was built from it, here and in another environment; rows that were measured."""
    found, rows = record(BENCH + "2026-11-29-two-environments.json"), []
    versions = {one["name"]: one["machine"]["versions"] for one in found["environments"]}
    for row in found["rows"]:
        if row["score"] is None:
            continue
        known = versions[row["environment"]]
        where = ", ".join(f"{name} {known[name]}" for name in ("python", "torch", "onnxruntime") if name in known)
        agreement = "" if row["agreement"] is None else f"{percent(row['agreement'], 2)}%"
        difference = "" if row["largest_difference"] is None else f"{row['largest_difference']:.1g}"
        sizes = f"{row['size_bytes'] / 1e6:.1f} MB", f"{row['peak_memory_bytes'] / 1e6:.0f} MB"
        latency = row["latency"]
        times = f"{latency['p50_ms']:.1f} ms", f"{latency['speedup']:.2f}x" if latency["speedup"] else ""
        rows.append((f"`{row['name']}`", f"{row['environment']}: {where}", percent(row["score"], 2), agreement, difference, *sizes, *times))
    columns = ("", "environment", "accuracy", "agreement", "max logit diff", "size", "memory", "one sentence, p50", "speed-up")
    return table(columns, rows, left=2)


@maker("without-torch")
def without_torch(old: list[str]) -> list[str]:
    """A checkpoint here and its artifacts in an environment without torch."""
    found = record(BENCH + "2026-11-22-without-torch.json")
    there, here = found["environments"]["without_torch"], found["environments"]["with_torch"]
    rows = [("checkpoint, with torch", found["checkpoint"], f"torch alone {here['torch_bytes'] / 1e6:.0f} MB")]
    where = f"{there['num_packages']} packages, {there['size_bytes'] / 1e6:.0f} MB"
    rows += [(f"`{row['name']}`, without torch", row, where) for row in found["artefacts"]]
    lines = []
    for name, row, place in rows:
        same = row.get("agreement")
        agreement = f"{same['num_same']} of {same['num_examples']}" if same else ""
        lines.append((name, place, percent(row["scores"]["accuracy"]), agreement, f"{row['start_to_answer_s']['median']:.2f} s"))
    return table(("", "environment", "accuracy", "same answers", "`electra predict`, start to answer"), lines, left=2)


# ---- performance.md ----


@maker("targets")
def targets(old: list[str]) -> list[str]:
    """The goals of the bench, as its report has them."""
    _, _, rest = (ROOT / MACHINE).with_suffix(".md").read_text(encoding="utf-8").partition("## Targets\n\n")
    text = rest.split("\n\n")[0]
    for said, plain in {
        "texts/s: than ": "texts/s: over ",
        ": than ": ": speed over ",
        ": memory of the plain loop's": ": memory, share of the plain loop's",
        "share of the limit of its products": "share of the matmul limit",
        "2 workers than 1": "2 workers, speed over 1",
        "text never seen before": "new text",
        "a token costs more with": "extra cost per token with",
    }.items():
        text = text.replace(said, plain)
    return ["| what | goal | measured | |", *text.splitlines()[1:]]


def _run_name(run: Any) -> str:
    return f"{run['preset']}, {run['shape']['batch_size']} x {run['shape']['length']}, {run['dropout']}"


PEERS = ("plain, eager", "plain, SDPA", "plain, compiled", "plain, zentorch", "improved", "improved, oneDNN products", "improved, compiled")
"""Loops over `transformers` modules in fp32; those that a record lacks have an empty cell."""


def _peer_cells(found: dict[str, Any], side: str) -> str:
    """A peer's speed and how much faster ours is."""
    if side not in found:
        return ""
    if "error" in found[side]:
        return "does not train" if side.endswith("zentorch") else "failed"
    return f"{found[side]['tokens_per_second']['median']:,.0f} ({found[side]['electra_is_faster_by']['median']:.2f}x)"


@maker("pretraining")
def pretraining(old: list[str]) -> list[str]:
    """Training speed and memory, ours and loops over `transformers` modules, on every machine."""
    rows = []
    found = [(label, run) for _, label, result in measured("pretraining") for run in result["runs"]]
    sides = [side for side in PEERS if any(side in run["summary"] for _, run in found)]
    for label, run in found:
        one = run["summary"]
        cells = [_run_name(run), f"{one['electra']['tokens_per_second']['median']:,.0f}", *(_peer_cells(one, side) for side in sides)]
        cells += [f"{100 * one['electra']['share_of_limit']['median']:.0f}%"]
        cells += [f"{one[side]['peak_memory_bytes'] / 1e9:.2f} GB" for side in ("electra", "plain, SDPA")]
        rows.append((label, *cells))
    header = ["machine", "preset, batch, dropout", "electra, tokens/s", *(side.replace(" products", "") for side in sides)]
    return table((*header, "share of the limit", "peak memory", "plain, SDPA"), rows, left=2)


@maker("pretraining-bf16")
def pretraining_bf16(old: list[str]) -> list[str]:
    """The same in bf16."""
    rows = []
    for _, label, result in measured("pretraining"):
        for run in result["runs"]:
            ours, peer = run["summary"]["electra, bf16"], run["summary"]["improved, bf16"]
            rows.append(
                (
                    label,
                    _run_name(run),
                    f"{ours['tokens_per_second']['median']:,.0f}",
                    f"{ours['faster_than_fp32']['median']:.2f}x",
                    _peer_cells(run["summary"], "improved, bf16"),
                    *(f"{side['peak_memory_bytes'] / 1e9:.2f} GB" for side in (ours, peer)),
                )
            )
    header = ("machine", "preset, batch, dropout", "electra bf16, tokens/s", "over fp32", "improved, autocast", "peak memory", "improved, autocast")
    return table(header, rows, left=2)


@maker("matmul-rates")
def matmul_rates(old: list[str]) -> list[str]:
    """What each machine multiplies, which the ratios depend on."""
    kinds = ("fp32, PyTorch's default", "fp32, oneDNN", "bf16")
    rows = []
    for place, label, result in measured("machine"):
        rates = [result["products"].get(f"{kind}, layer of small") for kind in kinds]
        rows.append((f"[{label}](../{place})", *("not used" if rate is None else f"{rate['median'] / 1e9:,.0f}" for rate in rates)))
    return table(("GFLOP/s, two threads", *kinds), rows)


@maker("encoding")
def encoding(old: list[str]) -> list[str]:
    """Tokenization alone, every candidate on the same cores."""
    names = ("electra", "electra, without nanotoken", "nanotoken", "tokie", "tokenizers", "flash-tokenizer")
    kinds = {"carried": "new text", "cold": "from an empty cache", "warm": "text seen before"}
    rows = []
    for language, title in (("en", "English"), ("zh", "Chinese")):
        for run in section("prepare", RIVALS)["languages"][language]["encode"]:
            for kind, words in kinds.items():
                found = run["summary"][kind]
                cells = [f"{found[name]['median']:.1f}" if name in found else "other ids" for name in names]
                rows.append((f"{title}, {words}, {run['cores']} core{'s' if run['cores'] > 1 else ''}", *cells))
    return table(("MB/s", *names), rows)


@maker("prepare")
def prepare(old: list[str]) -> list[str]:
    """The whole command `electra prepare`, start included."""
    rows = []
    for name, language in (("English", "en"), ("Chinese with word boundaries", "zh")):
        found = section("prepare", RIVALS)["languages"][language]
        speeds = [statistics.median(found["prepare_mb"] / run["command_seconds"] for run in found["prepare"][count]) for count in "12"]
        memory = [max(run["peak_memory_mb"][what] for run in found["prepare"]["2"]) for what in ("reader", "largest_worker")]
        rows.append((f"{name}, {found['prepare_mb']:.0f} MB", *(f"{speed:.1f} MB/s" for speed in speeds), *(f"{mb} MB" for mb in memory)))
    return table(("`electra prepare`", "1 worker", "2 workers", "memory of the reader", "of the larger worker"), rows)


@maker("prepare-engines")
def prepare_engines(old: list[str]) -> list[str]:
    """`electra prepare` by engine and store."""
    found = record(BENCH + "prepare-engines.json")
    names = {"local": "local", "ray": "Ray", "s3": "from S3 to S3"}
    rows = [
        (name, *(f"{found[key][f'workers_{n}']['median']['mb_per_s']:.1f} MB/s" for n in (1, 2)), f"{found[key]['start']['median']['seconds']:.1f} s")
        for key, name in names.items()
    ]
    return table((f"{found['sample_mb']:.0f} MB of English", "1 worker", "2 workers", "of which start"), rows)


def turns(found: Mapping[str, Any], other: str) -> float:
    """How many times as fast as `other` electra fine-tunes: the median over the turns."""
    pairs = zip(found["runs"][other], found["runs"]["electra"], strict=True)
    return statistics.median(theirs["seconds"] / ours["seconds"] for theirs, ours in pairs)


@maker("finetuning")
def finetuning(old: list[str]) -> list[str]:
    """An epoch of fine-tuning."""
    found, rows = section("finetuning"), []
    for key, name in {
        "electra": "`electra finetune`",
        "dynamic": "`transformers` Trainer, batches padded to their longest text",
        "padded": "the same, every text padded to 128 (12 of 63 steps timed)",
    }.items():
        times = "" if key == "electra" else f"{turns(found, key):.2f}x"
        rows.append((name, f"{found['median_seconds'][key]:.1f}", f"{found['runs'][key][0]['computed_tokens']:,}", times))
    return table(("", "seconds", "tokens computed", "electra is faster by"), rows)


@maker("startup")
def startup(old: list[str]) -> list[str]:
    """A fresh process to its answer on one sentence."""
    rows = [(name, f"{found['first']:.2f} s", f"{found['warm']['median']:.2f} s") for name, found in section("startup")["summary"].items()]
    return table(("fresh process", "first call", "later calls, median"), rows)


@maker("paired")
def paired(old: list[str]) -> list[str]:
    """Two versions of electra, in turns."""
    rows = []
    for name, pairs in record(PAIRED)["seconds"].items():
        ratios = sorted(after / before for after, before in pairs)
        after, before = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
        rows.append((name, f"{before:.4g} ms", f"{after:.4g} ms", f"{statistics.median(ratios):.3f}", f"{ratios[0]:.3f} to {ratios[-1]:.3f}"))
    return table(("what", "before", "after", "ratio, median", "least to most"), rows)


@maker("deployment")
def deployment(old: list[str]) -> list[str]:
    """What is built from a `small` classifier, and `transformers`."""
    found = record(BENCH + "2026-11-21-deployment.json")["rows"]
    padded, peer = found[0], found[1]

    def rate(row: Any) -> float:
        # The padded model answers one text at a time; the others at their best batch size.
        each = {size: speed["texts_per_second"] for size, speed in row["throughput"].items()}
        return float(each["1"] if row is padded else max(each.values()))

    rows = []
    names = {padded["name"]: "`transformers`, padded to 128", peer["name"]: "`transformers` pipeline", "small-sst2": "electra, PyTorch"}
    for row in found:
        first, second = (other["latency"]["p50_ms"] / row["latency"]["p50_ms"] for other in (padded, peer))
        rows.append(
            (
                names.get(row["name"], f"`{row['name']}`"),
                percent(row["score"], 2),
                "" if row is padded else f"{percent(row['agreement'], 2)}%",
                f"{row['size_bytes'] / 1e6:.1f} MB" if row["size_bytes"] else "",
                f"{row['padded']['p50_ms']:.1f} ms",
                f"{row['latency']['p50_ms']:.1f} ms",
                "" if row is padded else f"{first:.1f}x",
                "" if row in (padded, peer) else f"{second:.1f}x",
                f"{rate(row):,.0f}",
            )
        )
    header = ("", "accuracy", "agreement", "size", "128 tokens on both sides, p50", "as usually called, p50")
    return table((*header, "over the padded model", "over the pipeline", "texts/s"), rows)


@maker("serving")
def serving(old: list[str]) -> list[str]:
    """`electra serve` under load."""
    alone, beside = record(BENCH + "2026-11-21-serving.json"), record(BENCH + "2026-11-21-serving-beside-transformers.json")
    rows = []
    for name, side, load in (
        ("electra, one client", alone["electra"], "one_client"),
        ("electra, 64 clients", alone["electra"], "capacity"),
        ("electra, twice its capacity for five minutes", alone["electra"], "overload"),
        ("electra, one client (second record)", beside["electra"], "one_client"),
        ("electra, 64 clients (second record)", beside["electra"], "capacity"),
        ("`transformers` pipeline behind FastAPI, one client", beside["transformers"], "one_client"),
        ("`transformers` pipeline behind FastAPI, 64 clients", beside["transformers"], "capacity"),
    ):
        found = side[load]
        cells = [f"{found['requests']:,}", f"{found['answered_per_second']:,.0f}", f"{found['p50_ms']:,.1f} ms", f"{found['p99_ms']:,.1f} ms"]
        each = found.get("processor_ms_per_answer")
        rows.append((name, *cells, f"{100 * found['rejection_rate']:.1f}%", "" if each is None else f"{each:.1f} ms"))
    return table(("", "requests", "answered/s", "p50", "p99", "rejected (429)", "CPU time per answer"), rows)


@maker("soak")
def soak(old: list[str]) -> list[str]:
    """`electra serve` at 1.5 times its capacity with hostile clients."""
    if not (ROOT / SOAK).is_file():
        return ["Not run yet: `python bench/soak.py`."]
    found = record(SOAK)
    load, memory, after, stop = (found[key] for key in ("load", "load", "after", "stop"))
    trend = (memory := memory["memory"])["slope_mb"]
    rows = [
        (
            f"capacity, {found['machine']['cpu']}",
            f"{found['capacity']['answered_per_second']:.0f} requests/s, p99 {found['capacity']['p99_ms']:.0f} ms",
        ),
        ("unloaded, one client", f"p50 {found['unloaded']['p50_ms']:.0f} ms, p99 {found['unloaded']['p99_ms']:.0f} ms"),
    ]
    for key, name in (("open_loop", "open-loop clients"), ("steady", "steady clients")):
        one = load[key]
        counts = ", ".join(f"{count:,} x {status}" for status, count in sorted(one["statuses"].items()))
        rows.append((f"{name} under load", f"{counts}; p50 {one['p50_ms']:.0f} ms, p99 {one['p99_ms']:.0f} ms"))
        far = one["distance_to_predict"]
        other = f"{one['other_labels']} other labels of {one['labels_compared']:,}"
        rows.append((f"{name}: answers and `predict`'s", f"p99 of the distance {far['p99']:g}, largest {far['largest']:g}; {other}"))
    tries = sum(sum(counts.values()) for counts in load["hostile"].values())
    rows += [
        ("hostile clients", f"{len(load['hostile'])} kinds, {tries:,} tries"),
        (
            f"memory over {found['minutes']:g} minutes",
            f"{memory['first_mb']:.0f} to {memory['last_mb']:.0f} MB, at most {memory['largest_mb']:.0f}; "
            f"{trend['per_hour']:+.1f} MB/h (95%: {trend['interval'][0]:+.1f} to {trend['interval'][1]:+.1f})",
        ),
        ("served as before after the load", "never" if after["recovery_seconds"] is None else f"{after['recovery_seconds']:g} s"),
        (
            "open files, threads: before and after",
            ", ".join(f"{found['unloaded'][key]:g} and {found['settled'][key]:g}" for key in ("files", "threads")),
        ),
        (
            "SIGTERM under load",
            f"exit code {stop['exit_code']} after {stop['seconds']:g} s; " + ", ".join(f"{n:,} x {s}" for s, n in sorted(stop["statuses"].items())),
        ),
        ("what must hold", f"{sum(found['verdicts'].values())} of {len(found['verdicts'])}"),
    ]
    return [*table(("what", "seen"), rows, left=2), "", f"`{found['command']}`, [record](../{SOAK})"]


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


def sentence_models(task: str) -> list[str]:
    """Vectors or re-ranking, every candidate: latency by texts in a call, accuracy, memory."""
    found = section("embedding", VECTORS)["tasks"][task]
    sizes = list(found["summary"]["electra, PyTorch"])
    rows = []
    for name, candidate in found["candidates"].items():
        if "error" in candidate:  # the record and its own table say why
            continue
        latency = [f"{found['summary'][name][size]['latency_ms']['median']:.1f}" for size in sizes]
        accuracy = [f"{100 * candidate['sts_b_spearman']:.1f}" if "sts_b_spearman" in candidate else ""] if task == "embed" else []
        rows.append((name, *latency, *accuracy, f"{candidate['peak_memory_bytes'] / 1e6:,.0f} MB"))
    names = [f"{size} text{'s' if size != '1' else ''}, ms" for size in sizes]
    return table(("", *names, *(["STS-B dev"] if task == "embed" else []), "memory"), rows)


@maker("vectors")
def vectors(old: list[str]) -> list[str]:
    """Vectors of all-MiniLM-L6-v2."""
    return sentence_models("embed")


@maker("rerankers")
def rerankers(old: list[str]) -> list[str]:
    """Scores of a re-ranker of the same size."""
    return sentence_models("rerank")


@maker("classifiers")
def classifiers(old: list[str]) -> list[str]:
    """Classes of sentences."""
    return sentence_models("classify")


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


# ---- pages ----


def pages() -> list[Path]:
    """Every page of the documentation."""
    named = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md", "ops/README.md", "electra/bundled/README.md"]
    return [*(ROOT / name for name in named), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


def generated(text: str) -> str:
    """A page with its tables made anew.

    Raises:
        MissingRow: a table cannot be made; the message says which.
    """

    def fill(match: re.Match[str]) -> str:
        try:
            lines = MAKERS[match[1]](match[2].strip("\n").splitlines())
        except KeyError as error:
            raise MissingRow(f"table {match[1]}: no maker or no such value in its record ({error})") from None
        except MissingRow as error:
            raise MissingRow(f"table {match[1]}: {error}") from None
        return f"<!-- table: {match[1]} -->\n" + "\n".join(lines).strip("\n") + "\n<!-- end -->"

    return MARK.sub(fill, text)


def anchors(text: str) -> set[str]:
    """The anchors of a page's titles, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    out = []
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            out.append(link)
    return out


def defined(path: Path) -> set[str]:
    """Names that a module defines: functions, classes, and `Class.method`."""
    out = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            out.add(node.name)
        if isinstance(node, ast.ClassDef):
            out |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    return out


def unknown_names(text: str) -> list[str]:
    """Functions (`package/module.py:name`), tests (`folder/test_file::test_name`) and records that a page names and that do not exist."""
    out = []
    for file, name in set(re.findall(r"`([\w/]+\.py):([\w.]+)`", text)):
        path = ROOT / "electra" / file
        if not path.exists() or name not in defined(path):
            out.append(f"{file}:{name}")
    for file, name in set(re.findall(r"`([\w/]*test_\w+)::(test_\w+)`", text)):
        path = ROOT / "tests" / f"{file}.py"
        if not path.exists() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            out.append(f"{file}::{name}")
    records = set(re.findall(r"`((?:bench|experiments)/records/[\w.*/-]*[\w*])/?`", text))
    return sorted(out) + sorted(name for name in records if not list(ROOT.glob(name)))


def with_moved_tests(text: str) -> str:
    """A page in which tests that moved to another file, and of whose name there is one only, have their new file."""
    for missing in unknown_names(text):
        file, _, name = missing.partition("::")
        found = [path for path in (ROOT / "tests").rglob("test_*.py") if name and f"def {name}(" in path.read_text(encoding="utf-8")]
        if len(found) == 1:
            text = text.replace(f"`{file}::{name}`", f"`{found[0].relative_to(ROOT / 'tests').with_suffix('')}::{name}`")
    return text


def problems(page: Path) -> str:
    """What is wrong with a page, in one line; '' where nothing is."""
    text, out = page.read_text(encoding="utf-8"), []
    try:
        if (made := generated(text)) != text:
            stale = [match[1] for match in MARK.finditer(text) if match[0] not in made]
            out.append(f"tables differ from their records ({', '.join(stale)}): {COMMAND}")
    except MissingRow as error:
        out.append(str(error))
    if links := broken_links(page):
        out.append(f"broken links: {', '.join(links)}")
    if page.name != "log.md" and (names := unknown_names(text)):
        out.append(f"no such function, test or record (moved tests: {COMMAND}): {', '.join(names)}")
    return f"{page.relative_to(ROOT)}: {'; '.join(out)}" if out else ""


def main() -> int:
    """Write the tables, or check every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is wrong")
    options = parser.parse_args()
    if not options.check:
        for page in pages():
            text = page.read_text(encoding="utf-8")
            with contextlib.suppress(MissingRow):
                if (made := with_moved_tests(generated(text))) != text:
                    page.write_text(made, encoding="utf-8")
                    print(f"{page.relative_to(ROOT)}: written")
    found = [line for page in pages() if (line := problems(page))]
    print("\n".join(found), file=sys.stderr) if found else None
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

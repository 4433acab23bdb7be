"""Cost against length: what a token costs in sequences of 128 to 4,096 tokens, in pre-training and in a classifier's answer.

  train      a step of `small`, ours alone, in fp32 and in bf16, with the same number of real tokens in every batch
  classify   one text, by a classifier of ELECTRA-Small's shape with random weights and 4,096 positions: the checkpoint (PyTorch) and its artifacts

Every length is a process of its own, so that its peak memory is that of the length. The processes take turns; a cost is a ratio within one turn,
over the shortest length. Where little memory is free, the shortest length runs with a few others at a time. A model that does not read so many
tokens has the reason in its row.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import truediv
from pathlib import Path
from typing import Any

import models
from section import Skipped, Target, Work, at_most, environment, middle, spread, table
from throughput import QUICK, ROOMY_BYTES, TOGETHER, free_bytes, shape_of
from turns import Candidate, Failed

import electra
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError

LENGTHS, QUICK_LENGTHS = (128, 256, 512, 1024, 2048, models.LONGEST), (16, 32)
TOKENS, QUICK_TOKENS = 4096, 64
"""Real tokens of a training batch."""
TRAINED = {"fp32": "electra", "bf16": "electra, bf16"}
"""Precision -> the candidate of training_step.py."""
ANSWERED = ("PyTorch", "onnx", "onnx-int8")
WARMUP, TURNS = 2, 5
"""Turns that are not timed, timed turns."""
LEAST_CALLS = 3
"""Texts that a classifier answers in a turn at the longest length; of shorter texts so many that they have as many tokens: a process that waited
for the others answers its first texts slowly."""
ASKED_LENGTH, ASKED_COST = 512, 1.5
"""The goal: a token at this length costs at most so many times as much as at the shortest."""
Rows = dict[str, dict[str, Any]]
"""Length -> its turns (seconds, tokens) and peak memory, or its error."""


@dataclass(frozen=True)
class Job:
    """A process of a length: its script, the request that opens it, the request of a turn."""

    script: str
    opening: dict[str, Any]
    turn: dict[str, Any]


def training_jobs(work: Work, precision: str, lengths: Sequence[int]) -> dict[int, Job]:
    """Length -> a step of `small` on batches of that length."""
    dropout = (work.options.get("dropout") or [0.1])[0]
    tokens, sizes = (QUICK_TOKENS, QUICK) if work.quick else (TOKENS, {})
    jobs = {}
    for length in lengths:
        shape = shape_of("small", dropout, sizes) | {"length": length, "batch_size": tokens // length, "short": 0.0}
        opening = {"kind": "build", "name": TRAINED[precision], "shape": shape, "threads": work.threads}
        jobs[length] = Job("training_step.py", opening, {"kind": "step"})
    return jobs


def texts_of_length(vocabulary: Path, length: int, number: int) -> list[str]:
    """Texts of exactly `length` tokens, [CLS] and [SEP] included: words of the vocabulary."""
    words = [word for word in vocabulary.read_text(encoding="utf-8").splitlines() if word.isascii() and word.isalpha() and word.islower()]
    chance = random.Random(length)
    return [" ".join(chance.choices(words, k=length - 2)) for _ in range(number)]


def answering_jobs(work: Work, source: Path, lengths: Sequence[int]) -> tuple[dict[int, Job], Rows]:
    """Length -> answers of a classifier to single texts of that length; and rows of the lengths that it does not read at once.

    Raises:
        UserError: the model cannot be opened.
    """
    longest = electra.load(source, device="cpu").max_length
    refused: Rows = {str(length): {"error": f"it reads at most {longest:,} tokens at once"} for length in lengths if length > longest}
    jobs, tokenizer = {}, load_tokenizer(source)
    for length in (length for length in lengths if length <= longest):
        texts = texts_of_length(models.vocabulary(work), length, LEAST_CALLS * max(1, lengths[-1] // length))
        assert all(len(tokenizer.encode([text])[0]) == length - 2 for text in texts)
        opening = {"kind": "open", "task": "classify", "library": "electra", "rival": False, "source": str(source), "threads": work.threads}
        jobs[length] = Job("embedding_step.py", opening, {"kind": "time", "calls": [{"texts": [text]} for text in texts]})
    return jobs, refused


def run_turns(jobs: Mapping[int, Job], warmup: int, turns: int, threads: int, say: Callable[[int], None]) -> Rows:
    """The processes of some lengths, in turns."""
    out: Rows = {str(length): {"turns": []} for length in jobs}
    with ExitStack() as stack:
        live: dict[int, Candidate] = {}

        def answer_of(length: int) -> Any:
            try:
                return live[length].receive()
            except Failed as error:
                out[str(length)]["error"] = str(error)
                live.pop(length)

        for length, job in jobs.items():
            live[length] = stack.enter_context(Candidate(sys.executable, job.script, environment=environment(threads)))
            live[length].send(**job.opening)
        for length in jobs:
            answer_of(length)
        for number in range(warmup + turns):
            # The first of a turn meets caches that the last one left: everyone is first in turn.
            order = list(live)
            for length in order[number % max(1, len(order)) :] + order[: number % max(1, len(order))]:
                live[length].send(**jobs[length].turn)
                answer = answer_of(length)
                if number >= warmup and answer is not None:
                    each = {"seconds": statistics.median(answer), "tokens": length, "calls": answer} if isinstance(answer, list) else answer
                    out[str(length)]["turns"].append(each)
            say(number + 1)
        for length in list(live):
            live[length].send("memory")
            out[str(length)]["peak_memory_bytes"] = answer_of(length)
    return out


def summarize(groups: Sequence[Rows]) -> Rows:
    """Groups of lengths that ran in the same turns -> length -> ms, tokens/s, memory, the cost of a token over that of the group's first length."""
    out: Rows = {}
    for group in groups:
        costs = {length: [turn["seconds"] / turn["tokens"] for turn in found["turns"]] for length, found in group.items() if "error" not in found}
        for length, found in group.items():
            if length in out:
                continue
            if "error" in found:
                out[length] = {"error": found["error"]}
                continue
            out[length] = {
                "ms": middle(1000 * turn["seconds"] for turn in found["turns"]),
                "tokens_per_second": middle(1 / cost for cost in costs[length]),
                "peak_memory_bytes": found["peak_memory_bytes"],
            }
            if (shortest := next(iter(group))) in costs:
                out[length]["cost"] = middle(map(truediv, costs[length], costs[shortest]))
    return out


def cut_groups(lengths: Sequence[int], together: int) -> list[list[int]]:
    """Lengths -> the shortest with a few others at a time."""
    first, *others = lengths
    size = max(1, together - 1)
    return [[first, *others[start : start + size]] for start in range(0, len(others), size)]


def measure(work: Work) -> dict[str, Any]:
    """Training in each precision, then each form of a classifier."""
    lengths, warmup, turns = (QUICK_LENGTHS, 1, 2) if work.quick else (LENGTHS, WARMUP, work.options.get("repeats") or TURNS)
    together = TOGETHER if free_bytes() < ROOMY_BYTES and not work.quick else len(lengths)
    parts, made = len(TRAINED) + len(ANSWERED), 0
    out: dict[str, Any] = {"turns": turns, "threads": work.threads, "tokens": QUICK_TOKENS if work.quick else TOKENS, "lengths": list(lengths)}
    out |= {"dropout": (work.options.get("dropout") or [0.1])[0], "raw": {}, "summary": {}}

    def add(name: str, groups: Sequence[Mapping[int, Job]]) -> None:
        nonlocal made
        raw = []
        for index, jobs in enumerate(groups):

            def say(turn: int, index: int = index) -> None:
                fraction = (made + (index + turn / (warmup + turns)) / len(groups)) / parts
                work.progress(fraction, f"{name}: turn {turn} of {warmup + turns}, group {index + 1} of {len(groups)}")

            raw.append(run_turns(jobs, warmup, turns, work.threads, say))
        out["raw"][name], out["summary"][name] = raw, summarize(raw)
        made += 1

    for precision in TRAINED:
        jobs = training_jobs(work, precision, lengths)
        add(precision, [{length: jobs[length] for length in group} for group in cut_groups(lengths, together)])
    for target in ANSWERED:
        try:
            model = models.encoder_model(work, models.LONG)
            source = model if target == ANSWERED[0] else models.artifact(work, target, models.LONG)
            jobs, refused = answering_jobs(work, source, lengths)
            add(target, [jobs])
            out["summary"][target] |= refused
        except (Skipped, RuntimeError, UserError) as error:
            out["summary"][target] = {str(length): {"error": str(error)} for length in lengths}
            made += 1
    return out


def cells(found: Mapping[str, Any], key: str, pattern: str) -> list[str]:
    """A length's figure, the cost of a token, and memory; or why there is none."""
    if "error" in found:
        return [f"not run: {found['error']}", "-", "-"]
    return [spread(found[key], pattern), spread(found.get("cost")), f"{found['peak_memory_bytes'] / 1e9:.2f} GB"]


def lines(result: dict[str, Any]) -> list[str]:
    """The section's tables."""
    out = [f"Medians of {result['turns']} turns (least..most), {result['threads']} threads. Cost: of a token, over that of the first length in the"]
    out[0] += " same turn. Memory: the peak of a process that has seen this length only."
    batch = f"batches of {result['tokens']:,} real tokens, dropout {result['dropout']}"
    titles = (
        (f"Pre-training of `small`, {batch}", TRAINED, "tokens_per_second", "{:,.0f}"),
        ("Classes of one text, ELECTRA-Small's shape, random weights", ANSWERED, "ms", "{:,.2f}"),
    )
    for title, names, key, pattern in titles:
        rows = []
        for length in map(str, result["lengths"]):
            rows.append([length, *(cell for name in names for cell in cells(result["summary"][name][length], key, pattern))])
        unit = "tokens/s" if key == "tokens_per_second" else "ms"
        header = ("tokens", *(cell for name in names for cell in (f"{name}, {unit}", "cost", "memory")))
        out += ["", f"### {title}", "", *table(header, rows)]
    return out


def targets(result: dict[str, Any]) -> list[Target]:
    """A token of 512 costs little more than one of 128."""
    out = []
    for name, found in result["summary"].items():
        cost = found.get(str(ASKED_LENGTH), {}).get("cost")
        what = f"length, {'pre-training small' if name in TRAINED else 'one text'}, {name}: cost of a token at {ASKED_LENGTH} over {LENGTHS[0]}"
        out.append(at_most(what, cost and cost["median"], ASKED_COST, "x"))
    return out

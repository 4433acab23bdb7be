"""Implementations of one model and a labelled split -> how right and how fast each is, by one method.

Every implementation runs in a fresh process of its own, pinned to the same cores, with the same number of threads. All are opened, one after
the other; then they take turns, in an order drawn anew each time, so that what else the machine does falls on all of them:

    open         seconds until ready, and to the first answer
    answers      every example, 32 at a time: scores, agreement, logits
    latency      turns of ten calls with one text, each text the same for all, after three untimed ones; again with padding
    throughput   the same texts at 1, 8 and 32 at a time, five repetitions
    memory       the largest resident set of all this

One that fails is a row that says why, with what had been measured by then; the others go on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from electra import bundled, environment
from electra.benchmark import results
from electra.benchmark.results import Latency, Row, Throughput
from electra.benchmark.worker import Answered, Contestant, Failed, Open, open_ours
from electra.contracts import Example, Head, Prediction, Task
from electra.errors import UserError
from electra.inference.artifact import is_artefact, read_manifest
from electra.settings import EvaluateSettings
from electra.storage import resolve
from electra.tasks import significance
from electra.tasks.evaluate import data_place, named_task, read_labelled, settled
from electra.tasks.significance import Interval

# ---- Two implementations' answers to the same examples -> how far they agree; answers and labels -> scores with intervals ----


NUMBERS_AGREE = 0.01
"""Two numbers count as the same label within this share of the range of the gold ones."""
MOST_RESAMPLES, FEWEST_RESAMPLES = 1000, 200
RESAMPLING_SECONDS = 20.0
"""Where a score takes long to compute, fewer resamples are drawn to stay within this."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An implementation's scores."""

    scores: dict[str, float]
    interval: Interval
    drop_interval: Interval | None
    """Of the first one's score minus this one's, by the same draws; None for the first."""


def agreement(head: Head, examples: Sequence[Example], reference: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """Share of equal labels, 0..1: of examples, of words where they are tagged; numbers count as equal within 1% of their range."""
    pairs = [(one.label, two.label) for one, two in zip(reference, other, strict=True)]
    if head.kind == "regression":
        gold = [float(str(example.label)) for example in examples]
        reach = NUMBERS_AGREE * (max(gold) - min(gold))
        return float(np.mean([abs(float(str(one)) - float(str(two))) <= reach for one, two in pairs]))
    if head.kind == "tagging":
        return float(np.mean([a == b for one, two in pairs for a, b in zip(tuple(one), tuple(two), strict=True)]))  # type: ignore[arg-type]
    if head.kind == "multilabel":
        return float(np.mean([set(one) == set(two) for one, two in pairs]))  # type: ignore[arg-type]
    return float(np.mean([one == two for one, two in pairs]))


def largest_difference(reference: Answered, reference_head: Head, other: Answered, other_head: Head) -> float | None:
    """Largest absolute difference of two logits; None where one tells none, or they were not asked the same tokens."""
    if reference.outputs is None or other.outputs is None or reference.reading != other.reading:
        return None
    columns: list[int] | slice = slice(None)
    if reference_head.labels != other_head.labels:
        if set(reference_head.labels) != set(other_head.labels):
            return None
        columns = [other_head.labels.index(label) for label in reference_head.labels]
    largest = 0.0
    for one, two in zip(reference.outputs, other.outputs, strict=True):
        if reference_head.kind == "span" and one.shape[-1] == 4:
            difference = _span_difference(one, two)
        elif one.shape != two.shape:
            return None
        else:
            difference = float(np.max(np.abs(one.astype(np.float64) - two[..., columns]), initial=0.0))
        largest = max(largest, difference)
    return largest


def _span_difference(one: np.ndarray, two: np.ndarray) -> float:
    """Of two beams of the original's head for questions: 'no answer', and the spans that are in both."""
    if one.shape[-1] != two.shape[-1]:
        return float("inf")
    beams = [{(int(row[0]), int(row[1])): row[2:].astype(np.float64) for row in beam[1:]} for beam in (one, two)]
    found = [abs(float(one[0, 0]) - float(two[0, 0]))]
    found += [float(np.max(np.abs(beams[0][span] - beams[1][span]))) for span in beams[0].keys() & beams[1].keys()]
    return max(found)


def score(task: Task, head: Head, examples: Sequence[Example], answers: Sequence[Sequence[Prediction]], seed: int = 1) -> list[Scored]:
    """Several implementations' answers to N labelled examples -> the scores of each, the first being the reference.

    An accuracy of classes has Wilson's interval. Other metrics, and all differences, have those of a bootstrap over examples in which the
    implementations are given the same draws.
    """
    metric = task.main_metric
    started = time.perf_counter()
    whole = [task.score(examples, predictions, head) for predictions in answers]
    seconds = time.perf_counter() - started
    if metric == "accuracy" and head.kind == "classification":
        each = [np.array([str(e.label) == str(p.label) for e, p in zip(examples, predictions, strict=True)], float) for predictions in answers]
    elif head.kind == "span":
        # The official scores of questions are means over questions.
        each = [np.array([task.score([e], [p], head)[metric] for e, p in zip(examples, predictions, strict=True)]) for predictions in answers]
    else:
        each = []
    if each:
        count = MOST_RESAMPLES
        statistic: Callable[[np.ndarray], np.ndarray] = lambda drawn: np.stack([values[drawn].mean(axis=-1) for values in each])  # noqa: E731
    else:
        count = int(np.clip(RESAMPLING_SECONDS / max(seconds, 1e-9), FEWEST_RESAMPLES, MOST_RESAMPLES))

        def statistic(drawn: np.ndarray) -> np.ndarray:
            return np.array([[task.score([examples[i] for i in row], [given[i] for i in row], head)[metric] for row in drawn] for given in answers])

    values = significance.resample(statistic, len(examples), num_resamples=count, seed=seed)
    out = []
    for number, (scores, row) in enumerate(zip(whole, values, strict=True)):
        interval = significance.interval(row)
        if metric == "accuracy" and head.kind == "classification":
            interval = significance.wilson(round(scores[metric] * len(examples)), len(examples))
        drop = significance.interval(values[0] - row) if number else None
        out.append(Scored(scores=scores, interval=interval, drop_interval=drop))
    return out


BATCH_SIZES = (1, 8, 32)
ANSWER_BATCH = 32
TURN = 10
"""Calls of one implementation before the next one's turn."""
REPETITIONS = 5
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    calls: int = 200
    """Timed calls of each kind (rounded up to tens), and texts of a throughput."""
    threads: int = 0
    """Threads of every implementation, each on a core of its own; 0: all cores."""
    num_examples: int = 0
    """Examples answered for the score, a random choice; 0: all."""
    seed: int = 1
    device: str = "cpu"
    """Where checkpoints run: 'cpu' or 'cuda'."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One implementation to measure."""

    name: str
    source: str
    kind: str
    opener: Open
    """A function of a module, called in the new process with `arguments` and the number of threads."""
    arguments: tuple[Any, ...]
    size_bytes: int | None = None
    build_seconds: float | None = None
    python: str = ""
    """The interpreter of its process; '': this one."""


@dataclass(kw_only=True)
class _Runner:
    """An entry while it is measured."""

    entry: Entry
    contestant: Contestant
    error: str | None = None
    head: Head | None = None
    max_length: int = 0
    answered: Answered | None = None
    found: dict[str, Any] = field(default_factory=dict)
    """Fields of its row."""
    turns: dict[str, list[list[float]]] = field(default_factory=dict)
    """'latency', 'padded' -> seconds of the calls of each turn."""
    seconds: dict[int, list[float]] = field(default_factory=dict)
    """Batch size -> seconds of each repetition."""

    def ask(self, kind: str, *values: Any) -> Any:
        """The answer; None, and the error noted, where there is none."""
        if self.error is None:
            try:
                return self.contestant.ask(kind, *values)
            except Failed as error:
                self.error = str(error)
        return None


def measure_source(source: str, *, task: str, data: str, calls: int = 200, threads: int = 0, split: str = "dev") -> Row:
    """One implementation alone, without a reference.

    Raises:
        UserError: no such task or data. What is wrong with the source is told in the row's `error`.
    """
    return measure([source], EvaluateSettings(model=source, task=task, data=(data,), split=split), Plan(calls=calls, threads=threads))[0]


def measure(sources: Sequence[str], asked: EvaluateSettings, plan: Plan, say: Say = lambda line: None) -> list[Row]:
    """Sources that `electra.load` opens (the first is the reference) -> a row each, in their order.

    Args:
        sources: checkpoints and artefacts.
        asked: task, data, split and columns, as for `electra evaluate`; its `model` is not looked at.
        plan: how much is measured.
        say: takes a line of progress.

    Raises:
        UserError: no such task, data, or number of threads. An implementation that fails is a row with an `error`.
    """
    names = unique_names(sources)
    return compete([entry_of(source, name, asked, plan.device) for source, name in zip(sources, names, strict=True)], asked, plan, say)


def entry_of(source: str, name: str, asked: EvaluateSettings, device: str = "cpu") -> Entry:
    """What is known of a checkpoint or artefact before it is opened."""
    size, kind, seconds = None, "checkpoint", None
    # What is wrong with it is told when it is opened.
    with contextlib.suppress(UserError, OSError, TypeError, ValueError):
        if is_artefact(path := bundled.located(source)):
            manifest = read_manifest(path)
            kind, seconds = str(manifest["target"]), manifest["build"].get("seconds")
            size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        else:
            size = sum(file.stat().st_size for file in resolve.resolve(source).iterdir() if file.is_file())
    seconds = float(seconds) if isinstance(seconds, int | float) else None
    return Entry(name=name, source=source, kind=kind, opener=open_ours, arguments=(source, asked, device), size_bytes=size, build_seconds=seconds)


def unique_names(sources: Sequence[str]) -> list[str]:
    """Short names: as many last parts of the paths as it takes to tell them apart; a number where they are the same."""
    parts = [[part for part in Path(source).parts if part != "/"] or [source] for source in sources]
    names = ["/".join(row[-1:]) for row in parts]
    for length in range(2, max(map(len, parts), default=1) + 1):
        same = {name for name in names if names.count(name) > 1}
        names = ["/".join(row[-length:]) if name in same else name for row, name in zip(parts, names, strict=True)]
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def compete(entries: Sequence[Entry], asked: EvaluateSettings, plan: Plan, say: Say = lambda line: None) -> list[Row]:
    """`measure` for implementations of any kind.

    Raises:
        UserError: as there.
    """
    task, cores = named_task(asked), environment.choose_cores(plan.threads)
    place = data_place(task, asked.data[0])
    # Read before a model is opened: a wrong path is told at once.
    examples = [] if task.name == "own" else read_labelled(task, place, asked.split)
    with contextlib.ExitStack() as stack:
        runners = []
        for entry in entries:
            say(f"opening {entry.name}")
            runner = _Runner(entry=entry, contestant=Contestant(entry.opener, entry.arguments, cores, python=entry.python))
            stack.callback(runner.contestant.close)
            if (opened := runner.ask("open")) is not None:
                runner.head, runner.max_length, runner.found["load_seconds"] = opened
            runners.append(runner)
        head = next((runner.head for runner in runners if runner.head is not None), None)
        if head is None:
            return [_row(runner, runners[0]) for runner in runners]
        task, _ = settled(task, asked, head)
        if task.name == "own":
            examples = read_labelled(task, place, asked.split)
        return _rounds(runners, task, head, _choose(examples, plan), plan, say)


def _choose(examples: Sequence[Example], plan: Plan) -> list[Example]:
    if not 0 < plan.num_examples < len(examples):
        return list(examples)
    return [examples[i] for i in sorted(np.random.default_rng(plan.seed).permutation(len(examples))[: plan.num_examples].tolist())]


def _rounds(runners: list[_Runner], task: Task, head: Head, examples: list[Example], plan: Plan, say: Say) -> list[Row]:
    """All that is asked of opened implementations, and their rows."""
    rng = np.random.default_rng(plan.seed)

    def turns() -> Iterator[_Runner]:
        yield from (runners[i] for i in rng.permutation(len(runners)) if runners[i].error is None)

    # Nobody is shown a label.
    questions = [replace(example, label=None, answers=None) for example in examples]
    for runner in turns():
        say(f"{runner.entry.name}: {len(examples):,} answers")
        runner.ask("examples", questions)
        runner.found["first_answer_seconds"] = runner.ask("first")
        runner.answered = runner.ask("examine", ANSWER_BATCH)
    padded_length = min([task.usual_length, *(runner.max_length for runner in runners if runner.max_length)])
    order = rng.permutation(len(examples))
    calls = np.resize(order, -(-plan.calls // TURN) * TURN).tolist()
    for kind, length in (("latency", 0), ("padded", padded_length)):
        say(f"{len(calls)} calls each, " + (f"padded to {length} tokens" if length else "at real lengths"))
        for start in range(0, len(calls), TURN):
            for runner in turns():
                if (seconds := runner.ask("latency", calls[start : start + TURN], length)) is not None:
                    runner.turns.setdefault(kind, []).append(seconds)
    texts = list(dict.fromkeys(calls))
    for repetition in range(REPETITIONS):
        say(f"{len(texts)} texts each, 1, 8 and 32 at a time ({repetition + 1} of {REPETITIONS})")
        for size in BATCH_SIZES:
            for runner in turns():
                if (taken := runner.ask("throughput", texts, size)) is not None:
                    runner.seconds.setdefault(size, []).append(taken)
    for runner in turns():
        runner.found["peak_memory_bytes"] = runner.ask("memory")
    _judge(runners, task, head, examples, plan)
    for runner in runners:
        runner.found["padded_length"] = padded_length
        runner.found["throughput"] = {size: _throughput(runner, runners[0], size, len(texts)) for size in runner.seconds}
    return [_row(runner, runners[0]) for runner in runners]


def _judge(runners: Sequence[_Runner], task: Task, head: Head, examples: Sequence[Example], plan: Plan) -> None:
    """Scores, and the reference's answers beside the others'."""
    there = [(runner, runner.answered) for runner in runners if runner.answered is not None]
    scored = score(task, head, examples, [answered.predictions for _, answered in there], plan.seed)
    reference = runners[0]
    for (runner, answered), result in zip(there, scored, strict=True):
        runner.found |= {"metric": task.main_metric, "scores": result.scores, "score": result.scores[task.main_metric], "num_examples": len(examples)}
        runner.found["score_interval"] = result.interval
        if runner is not reference and reference.answered is not None and reference.head is not None and runner.head is not None:
            runner.found["drop"] = reference.found["score"] - runner.found["score"]
            runner.found["drop_interval"] = result.drop_interval
            runner.found["agreement"] = agreement(head, examples, reference.answered.predictions, answered.predictions)
            runner.found["largest_difference"] = largest_difference(reference.answered, reference.head, answered, runner.head)


def _row(runner: _Runner, reference: _Runner) -> Row:
    entry = runner.entry
    timed = {kind: _latency(runner, reference, kind) for kind in ("latency", "padded")}
    known = {"size_bytes": entry.size_bytes, "build_seconds": entry.build_seconds, "error": runner.error}
    return Row(name=entry.name, source=entry.source, kind=entry.kind, **known, **timed, **runner.found)  # type: ignore[arg-type]


def _latency(runner: _Runner, reference: _Runner, kind: str) -> Latency | None:
    turns, theirs = runner.turns.get(kind), reference.turns.get(kind)
    if not turns:
        return None
    milliseconds = 1000 * np.concatenate(turns)
    percentiles = {f"p{share}_ms": float(np.percentile(milliseconds, share)) for share in (50, 90, 99)}
    ratio, interval = (None, None)
    if runner is not reference and theirs is not None and len(theirs) == len(turns):
        ratio, interval = results.speedup(theirs, turns)
    calls = tuple(tuple(round(1000 * seconds, 4) for seconds in turn) for turn in turns)
    return Latency(**percentiles, num_calls=len(milliseconds), turns_ms=calls, speedup=ratio, speedup_interval=interval)


def _throughput(runner: _Runner, reference: _Runner, size: int, num_texts: int) -> Throughput:
    rates = [num_texts / seconds for seconds in runner.seconds[size]]
    theirs = [num_texts / seconds for seconds in reference.seconds.get(size, ())]
    out = Throughput(texts_per_second=float(np.median(rates)), slowest=min(rates), fastest=max(rates))
    if runner is reference or not theirs:
        return out
    overlap = out.slowest <= max(theirs) and min(theirs) <= out.fastest
    return replace(out, speedup=out.texts_per_second / float(np.median(theirs)), within_noise=overlap)

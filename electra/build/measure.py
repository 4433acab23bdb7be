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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from electra import hub, shipped
from electra.build import agreement, intervals, machine
from electra.build.contestant import Answered, Contestant, Failed, Open, open_ours
from electra.build.row import Latency, Row, Throughput
from electra.contracts import Example, Head, Task
from electra.deploy.artefact import is_artefact, read_manifest
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks.assessment import data_place, named_task, read_labelled, settled

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
        if is_artefact(path := shipped.located(source)):
            manifest = read_manifest(path)
            kind, seconds = str(manifest["target"]), manifest["build"].get("seconds")
            size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        else:
            size = sum(file.stat().st_size for file in hub.resolve(source).iterdir() if file.is_file())
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
    task, cores = named_task(asked), machine.choose_cores(plan.threads)
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
    scored = agreement.score(task, head, examples, [answered.predictions for _, answered in there], plan.seed)
    reference = runners[0]
    for (runner, answered), result in zip(there, scored, strict=True):
        runner.found |= {"metric": task.main_metric, "scores": result.scores, "score": result.scores[task.main_metric], "num_examples": len(examples)}
        runner.found["score_interval"] = result.interval
        if runner is not reference and reference.answered is not None and reference.head is not None and runner.head is not None:
            runner.found["drop"] = reference.found["score"] - runner.found["score"]
            runner.found["drop_interval"] = result.drop_interval
            runner.found["agreement"] = agreement.agreement(head, examples, reference.answered.predictions, answered.predictions)
            runner.found["largest_difference"] = agreement.largest_difference(reference.answered, reference.head, answered, runner.head)


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
    percentiles = {f"p{share}_ms": intervals.percentile(milliseconds, share) for share in (50, 90, 99)}
    ratio, interval = (None, None)
    if runner is not reference and theirs is not None and len(theirs) == len(turns):
        ratio, interval = intervals.speedup(theirs, turns)
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

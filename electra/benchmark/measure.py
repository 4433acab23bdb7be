"""Candidates (checkpoints, artifacts) and a labelled split -> accuracy and speed of each, by one method.

Every candidate runs in its own worker process, pinned to the same cores, with the same number of threads. All are opened, one after the
other; then they alternate in random order, so that other load on the machine affects all of them alike:

    open         seconds until ready, and to the first answer
    answers      every example, 32 at a time: scores, agreement, logits
    latency      runs of ten calls with one text, each text the same for all, after three untimed ones; again with padding
    throughput   the same texts at 1, 8 and 32 at a time, five repetitions
    memory       the largest resident set over all of this

A candidate that fails gets a row with the error and what had been measured by then; the others continue.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from electra import bundled, environment
from electra.benchmark.records import Environment, Latency, Row, Throughput, as_plain, data_sha256, from_plain, saved_rows, speedup
from electra.benchmark.worker import Answered, Open, Worker, WorkerFailed, open_electra
from electra.contracts import Example, Head, Prediction, Task
from electra.errors import UserError
from electra.inference.artifact import HUB_FILES, hash_file, hub_layout, is_artifact, read_manifest, weights_hash
from electra.inference.backends import RUNNERS, architecture_of
from electra.settings import EvaluateSettings
from electra.storage import resolve
from electra.tasks import significance
from electra.tasks.evaluate import data_place, matched_labels, named_as_in_data, named_task, read_labelled, resolved_task
from electra.tasks.significance import Interval

# ---- agreement and scores ----


NUMBERS_AGREE = 0.01
"""Two numbers count as the same label within this share of the range of the gold ones."""
MOST_RESAMPLES, FEWEST_RESAMPLES = 1000, 200
RESAMPLING_SECONDS = 20.0
"""A score that takes long to compute gets fewer resamples, to stay within this."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A candidate's scores."""

    scores: dict[str, float]
    interval: Interval
    drop_interval: Interval | None
    """Of the reference's score minus this one's, over the same resamples; None for the reference."""


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
    """Largest absolute difference of two logits; None where one gives none, or the inputs differ."""
    if reference.outputs is None or other.outputs is None or reference.inputs_digest != other.inputs_digest:
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
    """Of two beams of the original QA head: 'no answer', and the spans in both."""
    if one.shape[-1] != two.shape[-1]:
        return float("inf")
    beams = [{(int(row[0]), int(row[1])): row[2:].astype(np.float64) for row in beam[1:]} for beam in (one, two)]
    found = [abs(float(one[0, 0]) - float(two[0, 0]))]
    found += [float(np.max(np.abs(beams[0][span] - beams[1][span]))) for span in beams[0].keys() & beams[1].keys()]
    return max(found)


def score(task: Task, head: Head, examples: Sequence[Example], answers: Sequence[Sequence[Prediction]], seed: int = 1) -> list[Scored]:
    """Answers of several candidates to N labelled examples -> the scores of each; the first is the reference.

    Accuracy has Wilson's interval; other metrics, and all differences, that of a bootstrap over the same examples for all.
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
CALLS_PER_RUN = 10
"""Timed calls of one candidate before the next one runs."""
REPETITIONS = 5
CHECKPOINT = "checkpoint"
"""Kind of a candidate that is no artifact."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class MeasurementPlan:
    """How much is measured."""

    calls: int = 200
    """Timed calls of each kind (rounded up to tens), and texts of a throughput."""
    threads: int = 0
    """Threads of every candidate, each pinned to its own core; 0: all cores."""
    num_examples: int = 0
    """Examples answered for the score, a random choice; 0: all."""
    seed: int = 1
    device: str = "cpu"
    """Where checkpoints run: 'cpu' or 'cuda'."""


@dataclass(frozen=True, kw_only=True)
class CandidateSpec:
    """A model to measure."""

    name: str
    source: str
    kind: str
    opener: Open
    """A function of a module, called in the worker process with `arguments` and the number of threads."""
    arguments: tuple[Any, ...]
    size_bytes: int | None = None
    build_seconds: float | None = None
    python: str = ""
    """Interpreter of its worker; '': this one."""
    own: bool = False
    """Whether it runs with that interpreter's own packages alone, its electra included."""
    environment: str = ""
    """Name of its `Environment`."""
    runtime: str = "torch"
    """Package that runs it."""
    model_sha256: str = ""
    """Of the checkpoint's weights, also for an artifact built from it."""

    @property
    def label(self) -> str:
        """Name and environment, for lines of progress."""
        return f"{self.name} [{self.environment}]" if self.environment else self.name


@dataclass(kw_only=True)
class _Measured:
    """A candidate while it is measured."""

    candidate: CandidateSpec
    worker: Worker
    error: str | None = None
    head: Head | None = None
    max_length: int = 0
    answered: Answered | None = None
    found: dict[str, Any] = field(default_factory=dict)
    """Fields of its row."""
    runs: dict[str, list[list[float]]] = field(default_factory=dict)
    """'latency', 'padded' -> seconds of the calls of each run."""
    seconds: dict[int, list[float]] = field(default_factory=dict)
    """Batch size -> seconds of each repetition."""
    names: dict[str, str] = field(default_factory=dict)
    """Label of the model -> the data's name of it."""

    def ask(self, kind: str, *values: Any) -> Any:
        """The answer; None where it failed, and the error is recorded."""
        if self.error is None:
            try:
                return self.worker.ask(kind, *values)
            except WorkerFailed as error:
                self.error = str(error)
        return None

    def use_names_in(self, examples: Sequence[Example]) -> None:
        """Name the labels as the examples of a custom task do, where they differ in form alone."""
        if self.head is None:
            return
        try:
            wanted = named_as_in_data(self.candidate.name, self.head, examples)
            labels = matched_labels(self.candidate.name, self.head.labels, "the data", wanted.labels)
        except UserError as error:
            self.error = str(error)
            return
        self.names, self.head = dict(zip(self.head.labels, labels, strict=True)), replace(self.head, labels=labels)

    def renamed(self, answered: Answered | None) -> Answered | None:
        """Answers with the data's names of the labels."""
        if answered is None or all(name == label for name, label in self.names.items()):
            return answered
        return replace(answered, predictions=[self._renamed(prediction) for prediction in answered.predictions])

    def _renamed(self, prediction: Prediction) -> Prediction:
        label, table = prediction.label, {self.names[name]: value for name, value in prediction.probabilities.items()}
        named = tuple(self.names[one] for one in label) if isinstance(label, tuple) else self.names.get(str(label), label)
        return replace(prediction, label=named, probabilities=table)


def measure(
    sources: Sequence[str],
    settings: EvaluateSettings,
    plan: MeasurementPlan,
    say: Say = lambda line: None,
    environments: Sequence[Environment] = (),
    saved: Sequence[Mapping[str, Any]] = (),
) -> list[Row]:
    """Sources that `electra.load` opens (the first is the reference) -> a row each in every environment, in their order, then the saved rows.

    Args:
        sources: checkpoints and artifacts.
        settings: task, data, split and columns, as for `electra evaluate`; its `model` is ignored.
        plan: how much is measured.
        say: takes a line of progress.
        environments: this interpreter, and others; empty: this one.
        saved: measurements of other machines, as `read_saved` gives them, their environments renamed.

    Raises:
        UserError: no such task, data, or number of threads; an environment without the runtime of an artifact; a saved measurement of other data
            or models. A candidate that fails is a row with an `error`.
    """
    names = unique_names(sources)
    specs = [candidate_of(source, name, settings, plan.device) for source, name in zip(sources, names, strict=True)]
    everywhere = [replace(spec, environment=environments[0].name) for spec in specs] if len(environments) > 1 or saved else specs
    skipped: dict[int, str] = {}
    for other in environments[1:]:
        for spec in specs:
            if spec.runtime not in other.runtimes:
                skipped[len(everywhere)] = _no_runtime(spec, other)
            everywhere.append(replace(spec, environment=other.name, python=other.python, own=True))
        if all(number in skipped for number in range(len(everywhere) - len(specs), len(everywhere))):
            raise UserError(f"--python {other.python}: {skipped[len(everywhere) - 1]}; install its extra 'train' there, or give an artifact")
    measured = measure_candidates([spec for i, spec in enumerate(everywhere) if i not in skipped], settings, plan, say, saved)
    for i, reason in skipped.items():
        spec = everywhere[i]
        measured.insert(
            i, Row(name=spec.name, source=spec.source, kind=spec.kind, environment=spec.environment, size_bytes=spec.size_bytes, skipped=reason)
        )
    return measured


def _no_runtime(spec: CandidateSpec, other: Environment) -> str:
    """Why a checkpoint is not measured there.

    Raises:
        UserError: it is an artifact: they are made to run anywhere.
    """
    if spec.kind != CHECKPOINT:
        remedy = f"install it there ({other.python} -m pip install {spec.runtime}), or leave one of the two out"
        raise UserError(f"--python {other.python}: it has no {spec.runtime}, which runs {spec.name} ({spec.kind}); {remedy}")
    return f"{spec.name} is a checkpoint, and there is no torch in that environment"


def candidate_of(source: str, name: str, settings: EvaluateSettings, device: str = "cpu") -> CandidateSpec:
    """A checkpoint or artifact, before it is opened."""
    size, kind, seconds, runtime, weights = None, CHECKPOINT, None, "torch", ""
    # Errors are reported when it is opened.
    with contextlib.suppress(UserError, OSError, TypeError, ValueError):
        if is_artifact(path := bundled.located(source)):
            manifest = read_manifest(path)
            kind, seconds, weights = str(manifest["target"]), manifest["build"].get("seconds"), manifest["source"].get("sha256", "")
            if found := hub_layout(path):  # nothing in it names the checkpoint
                weights = hash_file(found[0] / HUB_FILES[found[1]])
            runtime = RUNNERS.get(kind.split("-")[0], ("", kind))[1]
            size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if manifest.get("layout") == "hub":  # the files of one number format, not of all
                size = sum(entry["size_bytes"] for entry in manifest["files"].values())
        else:
            folder = resolve.resolve(source)
            size, weights = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()), weights_hash(folder)
    seconds = float(seconds) if isinstance(seconds, int | float) else None
    known: dict[str, Any] = {"size_bytes": size, "build_seconds": seconds, "runtime": runtime, "model_sha256": weights}
    return CandidateSpec(name=name, source=source, kind=kind, opener=open_electra, arguments=(source, settings, device), **known)


def unique_names(sources: Sequence[str]) -> list[str]:
    """Short names: as many trailing parts of the paths as needed to be unique, of a run's folder the run's too; a number is added to equal paths."""
    parts = [[part for part in Path(source).parts if part != "/"] or [source] for source in sources]
    names = [resolve.end_of(source) for source in sources]
    for length in range(2, max(map(len, parts), default=1) + 1):
        same = {name for name in names if names.count(name) > 1}
        names = ["/".join(row[-length:]) if name in same else name for row, name in zip(parts, names, strict=True)]
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def measure_candidates(
    candidates: Sequence[CandidateSpec],
    settings: EvaluateSettings,
    plan: MeasurementPlan,
    say: Say = lambda line: None,
    saved: Sequence[Mapping[str, Any]] = (),
) -> list[Row]:
    """`measure` for candidates of any kind.

    Raises:
        UserError: as there.
    """
    task, cores = named_task(settings), environment.choose_cores(plan.threads)
    place = data_place(task, settings.data[0])
    # Read before a model is opened: a wrong path fails at once.
    examples = [] if task.name == "own" else read_labelled(task, place, settings.split)
    for candidate in candidates:
        if candidate.opener is open_electra:
            source = candidate.source
            architecture_of(bundled.located(source) if bundled.is_shipped(source) else source)
    with contextlib.ExitStack() as stack:
        measured = []
        for candidate in candidates:
            say(f"opening {candidate.label}")
            worker = Worker(candidate.opener, candidate.arguments, cores, python=candidate.python, own=candidate.own)
            stack.callback(worker.close)
            one = _Measured(candidate=candidate, worker=worker)
            if (opened := one.ask("open")) is not None:
                one.head, one.max_length, one.found["load_seconds"] = opened
            measured.append(one)
        head = next((one.head for one in measured if one.head is not None), None)
        if head is None:
            return [_row(one, measured[0]) for one in measured]
        if task.name == "own":
            examples = read_labelled(resolved_task(task, settings, head)[0], place, settings.split)
        if task.name in ("own", "tagging") and not settings.labels:
            for one in measured:
                one.use_names_in(examples)
            if all(one.error is not None for one in measured):
                return [_row(one, measured[0]) for one in measured]
            head = next((one.head for one in measured if one.error is None and one.head is not None), head)
        task, _ = resolved_task(task, settings, head)
        examples = _choose(examples, plan)
        facts: dict[str, Any] = {"task": task, "head": head, "examples": examples, "seed": plan.seed, "calls": _num_calls(plan)}
        facts |= {"models": {one.candidate.name: one.candidate.model_sha256 for one in measured}, "padded_length": _padded_length(task, measured)}
        added = [row for values in saved for row in saved_rows(values, **facts)]
        return _measure_all(measured, task, head, examples, plan, say, added)


def _choose(examples: Sequence[Example], plan: MeasurementPlan) -> list[Example]:
    if not 0 < plan.num_examples < len(examples):
        return list(examples)
    return [examples[i] for i in sorted(np.random.default_rng(plan.seed).permutation(len(examples))[: plan.num_examples].tolist())]


def _measure_all(
    measured: list[_Measured], task: Task, head: Head, examples: list[Example], plan: MeasurementPlan, say: Say, added: Sequence[Row] = ()
) -> list[Row]:
    """All requests to the opened candidates, and their rows, then those of `added`."""
    rng = np.random.default_rng(plan.seed)

    def in_random_order() -> Iterator[_Measured]:
        yield from (measured[i] for i in rng.permutation(len(measured)) if measured[i].error is None)

    # Workers get no labels.
    questions = [replace(example, label=None, answers=None) for example in examples]
    for one in in_random_order():
        say(f"{one.candidate.label}: {len(examples):,} answers")
        one.ask("examples", questions)
        one.found["first_answer_seconds"] = one.ask("first")
        one.answered = one.renamed(one.ask("examine", ANSWER_BATCH))
    for line in next((one.answered.unknown for one in measured if one.answered), ()):
        say(line)
    padded_length = _padded_length(task, measured)
    # Not of `rng`: another machine, with other candidates, has the same texts.
    order = np.random.default_rng([plan.seed, len(examples)]).permutation(len(examples))
    calls = np.resize(order, _num_calls(plan)).tolist()
    for kind, length in (("latency", 0), ("padded", padded_length)):
        say(f"{len(calls)} calls each, " + (f"padded to {length} tokens" if length else "at real lengths"))
        for start in range(0, len(calls), CALLS_PER_RUN):
            for one in in_random_order():
                if (seconds := one.ask("latency", calls[start : start + CALLS_PER_RUN], length)) is not None:
                    one.runs.setdefault(kind, []).append(seconds)
    texts = list(dict.fromkeys(calls))
    for repetition in range(REPETITIONS):
        say(f"{len(texts)} texts each, 1, 8 and 32 at a time ({repetition + 1} of {REPETITIONS})")
        for size in BATCH_SIZES:
            for one in in_random_order():
                if (taken := one.ask("throughput", texts, size)) is not None:
                    one.seconds.setdefault(size, []).append(taken)
    for one in in_random_order():
        one.found["peak_memory_bytes"] = one.ask("memory")
    added = _add_scores(measured, task, head, examples, plan, added)
    for one in measured:
        one.found["padded_length"] = padded_length
        one.found["throughput"] = {size: _throughput(one, measured[0], size, len(texts)) for size in one.seconds}
    return [*(_row(one, measured[0]) for one in measured), *added]


def _num_calls(plan: MeasurementPlan) -> int:
    return -(-plan.calls // CALLS_PER_RUN) * CALLS_PER_RUN


def _padded_length(task: Task, measured: Sequence[_Measured]) -> int:
    return min([task.usual_length, *(one.max_length for one in measured if one.max_length)])


def _add_scores(
    measured: Sequence[_Measured], task: Task, head: Head, examples: Sequence[Example], plan: MeasurementPlan, added: Sequence[Row]
) -> list[Row]:
    """Add scores, and agreement with the reference; -> the rows of `added` with theirs, by the same rules."""
    there = [(one, one.answered) for one in measured if one.answered is not None]
    theirs = {i: [from_plain(value, head) for value in row.predictions] for i, row in enumerate(added) if row.predictions}
    answers = [*(answered.predictions for _, answered in there), *theirs.values()]
    if not answers:
        return list(added)
    scored, digest = score(task, head, examples, answers, plan.seed), data_sha256(examples)
    reference = measured[0] if measured[0].answered is not None else None

    def fields(result: Scored, predictions: Sequence[Prediction]) -> dict[str, Any]:
        out: dict[str, Any] = {"metric": task.main_metric, "scores": result.scores, "score": result.scores[task.main_metric]}
        out |= {"score_interval": result.interval, "num_examples": len(examples), "data_sha256": digest}
        if reference is None or reference.answered is None:
            return out | {"drop": None, "drop_interval": None, "agreement": None}
        drop = scored[0].scores[task.main_metric] - out["score"]
        return out | {
            "drop": drop,
            "drop_interval": result.drop_interval,
            "agreement": agreement(head, examples, reference.answered.predictions, predictions),
        }

    for (one, answered), result in zip(there, scored, strict=False):
        one.found |= fields(result, answered.predictions) | {"predictions": tuple(map(as_plain, answered.predictions))}
        if one is reference:
            one.found |= {"drop": None, "agreement": None}
        elif reference is not None and reference.answered is not None and reference.head is not None and one.head is not None:
            one.found["largest_difference"] = largest_difference(reference.answered, reference.head, answered, one.head)
    out = list(added)
    for (i, predictions), result in zip(theirs.items(), scored[len(there) :], strict=True):
        out[i] = replace(added[i], **fields(result, predictions), largest_difference=None)
    return out


def _row(one: _Measured, reference: _Measured) -> Row:
    candidate = one.candidate
    timed = {kind: _latency(one, reference, kind) for kind in ("latency", "padded")}
    known = {name: getattr(candidate, name) for name in ("size_bytes", "build_seconds", "environment", "model_sha256")} | {"error": one.error}
    return Row(name=candidate.name, source=candidate.source, kind=candidate.kind, **known, **timed, **one.found)  # type: ignore[arg-type]


def _latency(one: _Measured, reference: _Measured, kind: str) -> Latency | None:
    runs, theirs = one.runs.get(kind), reference.runs.get(kind)
    if not runs:
        return None
    milliseconds = 1000 * np.concatenate(runs)
    percentiles = {f"p{share}_ms": float(np.percentile(milliseconds, share)) for share in (50, 90, 99)}
    ratio, interval = (None, None)
    if one is not reference and theirs is not None and len(theirs) == len(runs):
        ratio, interval = speedup(theirs, runs)
    calls = tuple(tuple(round(1000 * seconds, 4) for seconds in run) for run in runs)
    return Latency(**percentiles, num_calls=len(milliseconds), turns_ms=calls, speedup=ratio, speedup_interval=interval)


def _throughput(one: _Measured, reference: _Measured, size: int, num_texts: int) -> Throughput:
    rates = [num_texts / seconds for seconds in one.seconds[size]]
    theirs = [num_texts / seconds for seconds in reference.seconds.get(size, ())]
    out = Throughput(texts_per_second=float(np.median(rates)), slowest=min(rates), fastest=max(rates))
    if one is reference or not theirs:
        return out
    overlap = out.slowest <= max(theirs) and min(theirs) <= out.fastest
    return replace(out, speedup=out.texts_per_second / float(np.median(theirs)), within_noise=overlap)

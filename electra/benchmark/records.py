"""Rows, and where they were measured, as values and as JSON: this interpreter, others of this machine (--python), other machines (--add).

A saved measurement is what 'electra compare' writes: results.json of --output, what --json prints, an artifact with --keep. It has the answers to
every example, so that its rows are scored by the same rules as all others, and hashes of its data and models, so that others are refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from electra.benchmark.worker import describe, describe_interpreter
from electra.contracts import Example, Head, Prediction, SpanCandidate, SpanPrediction, Task
from electra.errors import UserError, parse_json
from electra.inference.artifact import is_artifact, read_manifest
from electra.storage import atomic
from electra.tasks import significance
from electra.tasks.significance import Interval

BUSY = 0.3
"""Load average per core above which times are unreliable."""
NONE = "-"
TableColumns = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A machine and the packages of one interpreter on it."""

    name: str
    """'A', 'B', ..."""
    machine: Mapping[str, Any]
    """As `electra.environment.describe` gives it."""
    threads: int
    reference: str = ""
    """The row that its speed-ups are ratios to, which was measured on the same machine, in turns with its own."""
    date: str = ""
    """Of a saved measurement."""
    python: str = field(default="", metadata={"saved": False})
    """Its interpreter; '': this one, or another machine's."""
    runtimes: tuple[str, ...] = field(default=(), metadata={"saved": False})
    """Those of `electra.benchmark.worker.RUNTIMES` that are installed."""

    @property
    def summary(self) -> str:
        """Processor, cores, system, versions in a few words."""
        known = self.machine.get("versions", {})
        versions = [f"{name} {known[name]}" for name in ("python", "electra", "torch", "onnxruntime", "openvino") if name in known]
        return ", ".join([str(self.machine.get("processor")), f"{self.machine.get('cores')} cores", str(self.machine.get("system")), *versions])

    @property
    def hardware(self) -> str:
        """Processor, its instruction sets, cores, memory, load."""
        machine = self.machine
        instructions = ", ".join(machine.get("instruction_set", [])) or "not known"
        memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
        load = f"; load average before {machine['load_before'][0]:.1f}" if machine.get("load_before") else ""
        return f"{machine.get('processor')} ({instructions}), {machine.get('cores')} cores{memory}{load}"

    @property
    def versions(self) -> str:
        """Of Python and all packages."""
        return ", ".join(f"{name} {version}" for name, version in self.machine.get("versions", {}).items())

    @property
    def busy(self) -> bool:
        """Whether other work was running before the measurement."""
        load = self.machine.get("load_before")
        return load is not None and load[0] > BUSY * self.machine.get("cores", 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; no path of this machine."""
        kept = [item.name for item in dataclasses.fields(self) if item.metadata.get("saved", True)]
        return {name: getattr(self, name) for name in kept} | {"machine": dict(self.machine), "summary": self.summary}


def letters() -> Iterable[str]:
    """'A', 'B', ..., 'Z', 'A2', ..."""
    for number in range(1, 1000):
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            yield letter if number == 1 else f"{letter}{number}"


def environments_of(pythons: Sequence[str], threads: int, reference: str) -> list[Environment]:
    """This interpreter and others of this machine -> their environments, this one first.

    Raises:
        UserError: one cannot be run, or has no electra that works with this one.
    """
    found = [("", describe()), *((python, describe_interpreter(python)) for python in pythons)]
    return [
        Environment(name=name, machine=one["machine"], threads=threads, reference=reference, python=python, runtimes=tuple(one["runtimes"]))
        for name, (python, one) in zip(letters(), found, strict=False)
    ]


def environment_columns(environments: Sequence[Environment], date: str) -> TableColumns:
    """Machines and versions, a column each: header and rows; `date`: of those measured now."""
    facts: dict[str, list[str]] = {}
    for one in environments:
        machine, load = one.machine, one.machine.get("load_before")
        known = {name: machine.get(name) for name in ("processor", "cores", "system")} | {"threads": one.threads, "measured": one.date or date}
        known["instructions"] = ", ".join(machine.get("instruction_set", []))
        known["memory"] = f"{machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else None
        known["load before"] = f"{load[0]:.1f}{' (busy)' if one.busy else ''}" if load else None
        for name, value in (known | dict(machine.get("versions", {}))).items():
            facts.setdefault(name, [NONE] * len(environments))[environments.index(one)] = str(value or NONE)
    return ("environment", *(one.name for one in environments)), [(name, *values) for name, values in facts.items()]


# ---- rows ----


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from one text to its answer, the tokenizer included."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    num_calls: int
    turns_ms: tuple[tuple[float, ...], ...] = ()
    """Every call, run by run: the calls of a run follow each other, and all candidates have the same texts in it."""
    speedup: float | None = None
    """The reference's median divided by this one's; None for the reference."""
    speedup_interval: Interval | None = None
    """95%, of a paired bootstrap over runs."""

    @property
    def within_noise(self) -> bool:
        """Whether this may be as fast as the reference: the interval contains 1."""
        return self.speedup_interval is not None and self.speedup_interval[0] <= 1.0 <= self.speedup_interval[1]


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Texts answered per second, at real lengths, with texts of similar length together."""

    texts_per_second: float
    """Median of the repetitions."""
    slowest: float
    fastest: float
    speedup: float | None = None
    """Divided by the reference's; None for the reference."""
    within_noise: bool = False
    """Whether the ranges of this and of the reference overlap."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate. What could not be measured is None; `error` says why."""

    name: str
    """Unique among the rows."""
    source: str
    """What was opened."""
    kind: str = ""
    """'checkpoint', or the artifact's target."""
    error: str | None = None
    """Why it could not be measured (completely), in one line."""
    environment: str = ""
    """Name of the `Environment` it was measured in; '': the first, which is the only one."""
    skipped: str | None = None
    """Why it was not measured, in one line: its environment cannot run it."""
    model_sha256: str = ""
    """Of the checkpoint's weights, also for an artifact built from it."""
    data_sha256: str = ""
    """Of the examples answered, with their labels, in their order."""
    predictions: tuple[Any, ...] = ()
    """Answer to every example, as `as_plain` writes it."""
    num_examples: int = 0
    """Answered for the score."""
    metric: str = ""
    """The task's main metric."""
    scores: dict[str, float] = field(default_factory=dict)
    """Every metric."""
    score: float | None = None
    """The main one, 0..1 or -1..1."""
    score_interval: Interval | None = None
    """95%: Wilson's for accuracy, else a bootstrap over examples."""
    drop: float | None = None
    """The reference's score minus this one's."""
    drop_interval: Interval | None = None
    """95%, of a paired bootstrap over examples."""
    agreement: float | None = None
    """Share of labels that are the reference's, 0..1."""
    largest_difference: float | None = None
    """Largest absolute difference between this one's logits and the reference's; None where their input tokens differ."""
    latency: Latency | None = None
    """One text at a time, at its real length."""
    padded: Latency | None = None
    """One text at a time, padded to `padded_length` tokens, all of which are computed."""
    padded_length: int = 0
    throughput: dict[int, Throughput] = field(default_factory=dict)
    """Batch size -> texts per second."""
    size_bytes: int | None = None
    """On disk: the model and all other files it needs."""
    peak_memory_bytes: int | None = None
    """Largest resident set of its worker, over all measurements."""
    load_seconds: float | None = None
    """From the request to open it, libraries included, until it is ready; files in the page cache."""
    first_answer_seconds: float | None = None
    """From then to the answer to the first text."""
    build_seconds: float | None = None
    """Of the artifact; None for a checkpoint."""

    def to_dict(self, *, calls: bool = False) -> dict[str, Any]:
        """Plain values, for JSON; `calls`: with the time of every call and every answer."""
        out = dataclasses.asdict(self)
        if not calls:
            del out["predictions"]
        for name in ("latency", "padded"):
            if out[name] is not None:
                out[name]["within_noise"] = getattr(self, name).within_noise
                if not calls:
                    del out[name]["turns_ms"]
        return out


def speedup(
    reference: Sequence[Sequence[float]], other: Sequence[Sequence[float]], *, num_resamples: int = 2000, seed: int = 1
) -> tuple[float, Interval]:
    """Times of two candidates, run by run -> the reference's median divided by the other's, and its interval.

    Runs are resampled in pairs: both candidates had the same texts in a run, at nearly the same time.
    """
    assert len(reference) == len(other) and all(len(one) == len(two) for one, two in zip(reference, other, strict=True))
    ours, theirs = ([np.asarray(run, dtype=np.float64) for run in side] for side in (reference, other))

    def ratio(drawn: Sequence[int]) -> float:
        return float(np.median(np.concatenate([ours[i] for i in drawn])) / np.median(np.concatenate([theirs[i] for i in drawn])))

    found = significance.resample(lambda drawn: np.array([ratio(row) for row in drawn]), len(ours), num_resamples=num_resamples, seed=seed)
    return ratio(range(len(ours))), significance.interval(found)


# ---- what is saved ----


SAVED, SAVED_VERSION = "electra-comparison", 1
SAME_SCORE = 1e-9
REMEDY = "measure again there: electra compare ... --output NEW, and give its results.json"


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison's plain values -> the same with format, version and sha256, as `read_saved` wants them."""
    plain: dict[str, Any] = {"format": SAVED, "version": SAVED_VERSION, **json.loads(json.dumps(values))}
    return plain | {"sha256": _seal(plain)}


def _seal(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps({k: v for k, v in plain.items() if k != "sha256"}, sort_keys=True).encode()).hexdigest()


def read_saved(place: Path) -> dict[str, Any]:
    """A saved measurement: a .json file, the folder of --output, or an artifact with kept measurements.

    Raises:
        UserError: not there, not one, damaged, or of another version.
    """
    where, artifact = f"--add {place}", is_artifact(place)
    if not artifact and not place.exists():
        raise UserError(f"{where}: not found; expected results.json of 'electra compare --output', the output of --json, or an artifact with --keep")
    if place.is_dir() and not artifact and not (place / "results.json").exists():
        raise UserError(f"{where}: has no results.json; expected the folder of 'electra compare --output'")
    if artifact:
        values = read_manifest(place).get("comparison")
        if values is None:
            raise UserError(f"{where}: an artifact without a kept measurement; measure it with 'electra compare ... --keep' on that machine")
    else:
        file = place / "results.json" if place.is_dir() else place
        try:
            values = parse_json(atomic.existing_path(file, where).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"damaged or not JSON ({str(error)[:80]})"
            raise UserError(f"{where}: {reason}; {REMEDY}") from None
    if not isinstance(values, dict) or values.get("format") != SAVED:
        raise UserError(f"{where}: not a measurement of this version of 'electra compare'; {REMEDY}")
    if values.get("version") != SAVED_VERSION:
        raise UserError(
            f"{where}: has version {values.get('version')!r:.20}, this electra reads {SAVED_VERSION}; use the same electra on both machines"
        )
    if values.get("sha256") != _seal(values):
        raise UserError(f"{where}: damaged: its content does not have the sha256 it was saved with; copy it again, or {REMEDY}")
    for name, kind in {"task": str, "num_examples": int, "calls": int, "seed": int, "date": str, "environments": list, "rows": list}.items():
        if not isinstance(values.get(name), kind):
            raise UserError(f"{where}: has no usable '{name}'; {REMEDY}")
    return values


def row_from(values: Mapping[str, Any]) -> Row:
    """The inverse of `Row.to_dict`.

    Raises:
        UserError: keys or values that no row has.
    """
    try:
        out = dict(values)
        for name in ("latency", "padded"):
            if (times := out.get(name)) is not None:
                times = {key: value for key, value in times.items() if key != "within_noise"}
                interval = times.get("speedup_interval")
                out[name] = Latency(**times | {"speedup_interval": interval and tuple(interval)})
        out["throughput"] = {int(size): Throughput(**rate) for size, rate in out.get("throughput", {}).items()}
        tuples = {name: tuple(out[name]) for name in ("score_interval", "drop_interval", "predictions") if out.get(name) is not None}
        return Row(**out | tuples)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"a saved row of 'electra compare' is not as this electra writes it ({error}); measure again") from None


def saved_rows(
    values: Mapping[str, Any],
    *,
    task: Task,
    head: Head,
    examples: Sequence[Example],
    calls: int,
    seed: int,
    models: Mapping[str, str],
    padded_length: int,
) -> list[Row]:
    """The rows of a saved measurement, which must be of this command's task, examples, models (name -> sha256 of the weights) and plan.

    Raises:
        UserError: they are not; the message says what differs.
    """
    where = f"--add {values['place']}: "
    ours = {"task": task.name, "--num-examples": len(examples), "--calls": calls, "--seed": seed}
    theirs = {"task": values["task"], "--num-examples": values["num_examples"], "--calls": values["calls"], "--seed": values["seed"]}
    for name, value in ours.items():
        if theirs[name] != value:
            raise UserError(f"{where}was measured with {name} {theirs[name]}, this command with {value}; measure both with the same")
    rows, digest = [row_from(row) for row in values["rows"]], data_sha256(examples)
    for row in rows:
        if row.data_sha256 and row.data_sha256 != digest:
            raise UserError(f"{where}was measured on other data (texts or labels differ from --data); measure both on the same files")
        if row.score is not None and (not row.model_sha256 or row.model_sha256 not in models.values()):
            here, there = ", ".join(f"{name} {sha256[:8]}" for name, sha256 in models.items()), row.model_sha256[:8] or "unknown"
            raise UserError(f"{where}{row.name} is another model (sha256 of its weights {there}; here {here}); give the same model in both commands")
        if row.padded_length and row.padded_length != padded_length:
            raise UserError(f"{where}inputs were padded to {row.padded_length} tokens there, {padded_length} here; measure the same models on both")
        if row.predictions and not _same_score(row, task, head, examples):
            raise UserError(f"{where}{row.name} was scored by other rules ({row.metric} {row.score}); use the same electra on both machines")
    return rows


def _same_score(row: Row, task: Task, head: Head, examples: Sequence[Example]) -> bool:
    if len(row.predictions) != len(examples) or row.score is None:
        return False
    try:
        score = task.score(examples, [from_plain(value, head) for value in row.predictions], head)[task.main_metric]
    except (TypeError, ValueError, LookupError, AttributeError):  # answers of another kind
        return False
    return abs(score - row.score) <= SAME_SCORE


def read_all_saved(places: Sequence[Path], num_environments: int) -> tuple[list[dict[str, Any]], list[Environment]]:
    """Saved measurements, with the names that their environments have after `num_environments` others -> their values, their environments.

    Raises:
        UserError: as `read_saved`; or one is given twice.
    """
    names = [name for name, _ in zip(letters(), range(1000), strict=False)][num_environments:]
    found: list[dict[str, Any]] = []
    environments: list[Environment] = []
    for place in places:
        values = read_saved(place)
        if values["sha256"] in [one["sha256"] for one in found]:
            raise UserError(f"--add {place}: the same measurement is given twice; give each once")
        try:
            renamed = {one["name"]: names[len(environments) + i] for i, one in enumerate(values["environments"])}
            for one in values["environments"]:
                known = {name: value for name, value in one.items() if name != "summary"}
                environments.append(Environment(**known | {"name": renamed[one["name"]], "date": one["date"] or values["date"]}))
            rows = [row | {"environment": renamed[row["environment"] or values["environments"][0]["name"]]} for row in values["rows"]]
        except (TypeError, ValueError, LookupError, AttributeError):
            raise UserError(f"--add {place}: its environments or rows are not as this electra writes them; {REMEDY}") from None
        found.append(values | {"rows": rows, "place": place})
    return found, environments


def data_sha256(examples: Iterable[Example]) -> str:
    """Of texts, words, labels and answers, in their order."""
    found = hashlib.sha256()
    for one in examples:
        answers = None if one.answers is None else [[answer.text, answer.start] for answer in one.answers]
        found.update(json.dumps([one.text, one.text_pair, one.words, one.label, answers]).encode() + b"\n")
    return found.hexdigest()


def as_plain(prediction: Prediction) -> Any:
    """What scores depend on: the label; of a question also its best answer and how much likelier none is."""
    label = list(prediction.label) if isinstance(prediction.label, tuple) else prediction.label
    return [label, prediction.candidates[0].text, prediction.null_odds] if isinstance(prediction, SpanPrediction) else label


def from_plain(value: Any, head: Head) -> Prediction:
    """The inverse of `as_plain`, as far as scores go."""
    if head.kind == "span":
        best = SpanCandidate(text=value[1], start=0, end=0, score=0.0, start_logit=0.0, end_logit=0.0)
        return SpanPrediction(label=value[0], candidates=(best,), null_odds=value[2])
    return Prediction(label=tuple(value) if isinstance(value, list) else value)

"""A worker process with one candidate model in it: opens the model, then answers requests for predictions and times.

Nothing is imported here that the candidate does not import itself, so that memory and loading time are its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from electra import __version__, environment
from electra.contracts import Answer, Example, Features, Head, Prediction, SpanCandidate, SpanPrediction, TagPrediction
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks.data_warnings import unknown_lines

if TYPE_CHECKING:
    from electra.inference.answerer import Answerer
    from electra.settings import CompareSettings

WARM_UP_CALLS = 3
"""Untimed calls before the timed ones of every run: caches hold what other candidates left there."""
TIMEOUT_SECONDS = 1800.0
"""One request may take this long."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A candidate's answers to N examples."""

    predictions: list[Prediction]
    outputs: list[np.ndarray] | None = None
    """Logits of every input, if the candidate gives them."""
    inputs_digest: str = ""
    """Of the token ids it read: logits are compared only where they are equal."""
    unknown: Sequence[str] = ()
    """The unknown tokens of the examples, in lines."""


class CandidateModel(Protocol):
    """An opened model to measure."""

    head: Head
    max_length: int
    """Longest input in tokens."""

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """Predictions, as users get them; `padded_length`: every input padded to so many tokens, all of them computed."""
        ...

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Predictions and their logits."""
        ...


Open = Callable[..., CandidateModel]
"""A function of a module, called in the worker process."""


class ElectraCandidate:
    """A checkpoint or an artifact, as `electra.load` opens it."""

    def __init__(self, model: Answerer, max_length: int) -> None:
        self.model, self.head, self.max_length = model, model.head, max_length

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """See `CandidateModel`."""
        if not padded_length:
            return self.model.answer(examples, batch_size)
        model = self.model.with_max_length(min(padded_length, self.max_length))
        features = [filled(feature, padded_length, model.tokenizer.pad_id) for feature in model.featurize(examples)]
        return model.answer_features(examples, features, batch_size)

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """See `CandidateModel`."""
        chunks = list(self.model.run(examples, batch_size))
        inputs = digest(feature.ids for chunk in chunks for feature in chunk.features)
        outputs = [output for chunk in chunks for output in chunk.outputs]
        predictions = [prediction for chunk in chunks for prediction in chunk.predictions]
        unknown = unknown_lines({"": examples}, self.model.tokenizer)
        return Answered(predictions=predictions, outputs=outputs, inputs_digest=inputs, unknown=unknown)


def open_electra(source: str, settings: EvaluateSettings, device: str, threads: int) -> CandidateModel:
    """A source that `electra.load` opens, with the input spec it was trained with. --labels is for models that do not use the task's labels.

    Raises:
        UserError: no such model, or its labels are not the task's.
    """
    from electra.inference.predictor import open_fine_tuned
    from electra.tasks.evaluate import named_task, resolved_task

    opened = open_fine_tuned(source, threads=threads, device=device)
    if set(opened.head.labels) == set(settings.labels):
        settings = replace(settings, labels=())
    return ElectraCandidate(opened.for_task(*resolved_task(named_task(settings), settings, opened.head), settings), opened.backend.max_length)


def digest(inputs: Iterable[Iterable[int]]) -> str:
    """Token ids of every input, without padding -> `Answered.inputs_digest`."""
    found = hashlib.sha256()
    for ids in inputs:
        found.update(np.asarray([*ids, -1], dtype=np.int64).tobytes())
    return found.hexdigest()


def filled(feature: Features, length: int, pad_id: int) -> Features:
    """An input padded to `length` tokens; only its own tokens are decoded."""
    missing = length - len(feature.ids)
    if missing <= 0:
        return feature
    parts: dict[str, Any] = {"ids": [*feature.ids, *[pad_id] * missing], "segments": [*feature.segments, *[0] * missing]}
    if feature.word_ids is not None:
        parts["word_ids"] = [*feature.word_ids, *[-1] * missing]
    if feature.offsets is not None:
        parts["offsets"] = np.concatenate([np.asarray(feature.offsets).reshape(-1, 2), np.full((missing, 2), -1)])
    if feature.has_most_context is not None:
        parts["has_most_context"] = [*feature.has_most_context, *[False] * missing]
    return replace(feature, **parts)


# ---- in the worker process ----


def main(descriptor: int) -> None:
    """The worker process: what to open comes first, then requests."""
    connection = Connection(descriptor)
    try:
        opener, arguments, threads, cores = connection.recv()
    except EOFError:
        return
    except Exception as error:  # the opener's module is not there: an answer to the first request
        connection.recv()
        connection.send(("failed", f"{type(error).__name__}: {error}"))
        return
    with suppress(BrokenPipeError):  # the measuring process is gone
        serve(connection, opener, arguments, threads, cores)


def serve(connection: Connection, opener: Open, arguments: tuple[Any, ...], threads: int, cores: Sequence[int]) -> None:
    """Open a candidate and answer requests until the connection closes. Every answer is ('ok', value) or ('failed', one line)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    model: CandidateModel | None = None
    examples: Sequence[Example] = ()
    while True:
        try:
            kind, *values = connection.recv()
        except EOFError:
            return
        try:
            if kind == "open":
                started = time.perf_counter()
                model = opener(*arguments, threads)
                answer: Any = (model.head, model.max_length, time.perf_counter() - started)
            elif kind == "examples":
                (examples,) = values
                answer = None
            elif kind == "memory":
                answer = environment.peak_memory_bytes()
            else:
                assert model is not None
                answer = REQUESTS[kind](model, examples, *values)
        except UserError as error:
            connection.send(("failed", " ".join(str(error).split())))
        except Exception as error:  # whatever a runtime raises: the other candidates are still measured
            connection.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
        else:
            connection.send(("ok", answer))


def _examine(model: CandidateModel, examples: Sequence[Example], batch_size: int) -> Answered:
    return model.examine(examples, batch_size)


def _first(model: CandidateModel, examples: Sequence[Example]) -> float:
    """Seconds to the first answer of all."""
    started = time.perf_counter()
    model.predict(examples[:1], 1)
    return time.perf_counter() - started


def _latency(model: CandidateModel, examples: Sequence[Example], chosen: Sequence[int], padded_length: int) -> list[float]:
    """Seconds of each call with one example."""
    for index in chosen[:WARM_UP_CALLS]:
        model.predict([examples[index]], 1, padded_length)
    seconds = []
    for index in chosen:
        one = [examples[index]]
        started = time.perf_counter()
        model.predict(one, 1, padded_length)
        seconds.append(time.perf_counter() - started)
    return seconds


def _throughput(model: CandidateModel, examples: Sequence[Example], chosen: Sequence[int], batch_size: int) -> float:
    """Seconds for all."""
    examples = [examples[index] for index in chosen]
    model.predict(examples[:batch_size], batch_size)
    started = time.perf_counter()
    model.predict(examples, batch_size)
    return time.perf_counter() - started


REQUESTS_VERSION = "1"
"""Another one where the meaning of a request changes."""
REQUESTS: dict[str, Callable[..., Any]] = {"examine": _examine, "first": _first, "latency": _latency, "throughput": _throughput}


# ---- in the measuring process ----


class WorkerFailed(Exception):
    """A candidate cannot continue; the message says why, in one line."""


class Worker:
    """The handle of a worker process."""

    def __init__(
        self, opener: Open, arguments: tuple[Any, ...], cores: Sequence[int], timeout_seconds: float = 0.0, python: str = "", own: bool = False
    ) -> None:
        """`python`: its interpreter ('': this one). `own`: with that interpreter's own packages alone, its electra included; otherwise this electra
        runs there, with that interpreter's packages after ours."""
        self._connection, theirs = multiprocessing.Pipe()
        self._timeout_seconds = timeout_seconds or TIMEOUT_SECONDS
        # Ctrl-C is for the measuring process, which ends its workers.
        code = "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        code += f"sys.path[:] = {_paths(python, own)}\nfrom electra.benchmark.worker import main\nmain({theirs.fileno()})"
        threads = dict.fromkeys(THREAD_VARIABLES, str(len(cores)))
        # Libraries read these when they are loaded. What they print must not be among the results.
        self._process = subprocess.Popen(
            [python or sys.executable, "-c", code], pass_fds=[theirs.fileno()], env=os.environ | threads, stdin=subprocess.DEVNULL, stdout=2
        )
        theirs.close()
        with suppress(OSError):  # it ended already: the first request finds out
            self._connection.send((opener, arguments, len(cores), list(cores)))

    def ask(self, kind: str, *values: Any) -> Any:
        """A request and its answer.

        Raises:
            WorkerFailed: the request failed, took too long, or the process has ended.
        """
        try:
            self._connection.send((kind, *values))
            if not self._connection.poll(self._timeout_seconds):
                self.close()
                raise WorkerFailed(f"no answer within {self._timeout_seconds:,.0f} s ({kind})")
            state, answer = self._connection.recv()
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            raise WorkerFailed(f"its process ended {_reason(self._process.returncode)} ({kind})") from None
        except (pickle.UnpicklingError, AttributeError, ImportError) as error:
            raise WorkerFailed(f"its answer cannot be read ({kind}): {error}") from None
        if state == "failed":
            raise WorkerFailed(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}" + (", perhaps out of memory" if code == -signal.SIGKILL else "")
    except ValueError:
        return f"by signal {-code}"


OWN_PATHS = "[place for place in sys.path if place]"
"""An interpreter's own packages: without the folder the command was typed in, which may hold another electra."""


def _paths(python: str, own: bool) -> str:
    """The expression for a worker's sys.path."""
    if own:
        return OWN_PATHS
    if not python:
        return repr([place or os.getcwd() for place in sys.path])
    done = subprocess.run([python, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], capture_output=True, text=True, check=True)
    # Folders outside of this interpreter stay, before those of the other one: peers have their own packages, and our electra.
    kept = [folder for folder in sys.path if not any(Path(folder).is_relative_to(own) for own in (sys.prefix, sys.base_prefix))]
    return repr([*kept, *json.loads(done.stdout), str(Path(__file__).resolve().parents[2])])


# ---- other interpreters ----


EXCHANGED = (Answer, Example, Head, Prediction, TagPrediction, SpanCandidate, SpanPrediction, Answered, EvaluateSettings)
RUNTIMES = ("torch", "onnxruntime", "openvino")
PROBE_SECONDS = 120.0


def describe() -> dict[str, Any]:
    """What `describe_interpreter` reads: machine and versions, the runtimes, and the form of what the two processes exchange."""
    form = [REQUESTS_VERSION, *(f"{one.__name__}({', '.join(sorted(item.name for item in fields(one)))})" for one in EXCHANGED)]
    runtimes = [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    return {"form": hashlib.sha256(repr(form).encode()).hexdigest(), "machine": environment.describe(), "runtimes": runtimes}


def describe_interpreter(python: str) -> dict[str, Any]:
    """Another interpreter's `describe`, from a process of it.

    Raises:
        UserError: it cannot be run, is no Python, or has no electra, or one that does not work with this one.
    """
    place, where = shutil.which(python), f"--python {python}"
    if Path(python).is_dir():
        hint = f"; give {Path(python) / 'bin' / 'python'}" if (Path(python) / "bin" / "python").exists() else ""
        raise UserError(f"{where}: is a folder; expected the interpreter of another environment, such as OTHER/bin/python{hint}")
    if place is None:
        state = "is not executable" if Path(python).exists() else "not found"
        raise UserError(f"{where}: {state}; expected the interpreter of another environment, such as OTHER/bin/python")
    code = f"import sys\nprint('python ' + sys.version.split()[0])\nsys.path[:] = {OWN_PATHS}\n"
    code += "import json, electra.benchmark.worker as worker\nprint(json.dumps(worker.describe()))"
    try:
        done = subprocess.run([place, "-c", code], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{where}: no answer within {PROBE_SECONDS:.0f} s; is it a Python interpreter?") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be run ({error.strerror}); expected a Python interpreter") from None
    lines = done.stdout.splitlines()
    if not lines or not lines[0].startswith("python "):
        raise UserError(f"{where}: is not a Python interpreter")
    problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
    install = f"install this version there: {python} -m pip install 'WHEEL[runtime]' (make wheel in the clone of electra)"
    if problem.startswith("ModuleNotFoundError") and "'electra'" in problem:
        raise UserError(f"{where} ({lines[0]}): it has no electra; {install}")
    try:
        found: dict[str, Any] = json.loads(lines[-1])
        form, version = found["form"], found["machine"]["versions"].get("electra", "?")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{where} ({lines[0]}): its electra cannot be measured by this one ({problem}); {install}") from None
    if form != describe()["form"]:
        raise UserError(f"{where} ({lines[0]}): its electra {version} does not work with this one ({__version__}): their code differs; {install}")
    return found


# ---- the task and data of a comparison ----


def task_of(sources: Sequence[str]) -> str:
    """The task that models were fine-tuned on.

    Raises:
        UserError: no such model; the first does not say, or others say another.
    """
    from electra.bundled import located
    from electra.inference.artifact import is_artifact, read_manifest
    from electra.storage import resolve

    found: dict[str, str] = {}
    for source in sources:
        if is_artifact(place := located(source)):
            name = read_manifest(place).get("task")
        else:
            try:
                name = json.loads((resolve.resolve(source) / "config.json").read_text(encoding="utf-8-sig")).get("finetuning_task")
            except (OSError, ValueError, AttributeError) as error:
                raise UserError(f"{source}: config.json cannot be read ({str(error)[:100]})") from None
        if isinstance(name, str) and name:
            found[source] = name
    if sources[0] not in found:
        raise UserError(f"{sources[0]} does not say which task it was fine-tuned on; give --task TASK")
    if len(set(found.values())) > 1:
        raise UserError(f"the models were fine-tuned on different tasks ({', '.join(f'{k}: {v}' for k, v in found.items())}); give --task TASK")
    return found[sources[0]]


def labelled_data(settings: CompareSettings) -> EvaluateSettings:
    """The same task and data as settings of `evaluate`."""
    from electra import config
    from electra.storage import resolve
    from electra.tasks.input_spec import columns_of, with_trained_columns

    names = {item.name for item in fields(EvaluateSettings)} - {"model", "data", "json"}
    values = {name: getattr(settings, name) for name in config.given(settings) if name in names}
    out = EvaluateSettings(model=settings.models[0], data=(settings.data,), **values | {"task": settings.task, "split": settings.split})
    config.mark_given(out, values)
    if settings.task != "own":
        return out
    try:
        first = Path(settings.models[0]) if Path(settings.models[0]).is_file() else resolve.resolve(settings.models[0])
    except UserError:
        return out  # is reported with the other models
    return with_trained_columns(out, columns_of(first))

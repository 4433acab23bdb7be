"""A worker process with one candidate model in it: opens the model, then answers requests for predictions and times.

Nothing is imported here that the candidate does not import itself, so that memory and loading time are its own.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from electra import environment
from electra.contracts import Example, Features, Head, Prediction
from electra.environment import main_not_imported
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks.data_warnings import unknown_lines

if TYPE_CHECKING:
    from electra.inference.answerer import Answerer

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


def serve(connection: Connection, opener: Open, arguments: tuple[Any, ...], threads: int, cores: Sequence[int]) -> None:
    """Open a candidate and answer requests until the connection closes. Every answer is ('ok', value) or ('failed', one line)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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


REQUESTS: dict[str, Callable[..., Any]] = {"examine": _examine, "first": _first, "latency": _latency, "throughput": _throughput}


# ---- in the measuring process ----


class WorkerFailed(Exception):
    """A candidate cannot continue; the message says why, in one line."""


class Worker:
    """The handle of a worker process."""

    def __init__(self, opener: Open, arguments: tuple[Any, ...], cores: Sequence[int], timeout_seconds: float = 0.0, python: str = "") -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, opener, arguments, len(cores), list(cores)), daemon=True)
        self._timeout_seconds = timeout_seconds or TIMEOUT_SECONDS
        main = nullcontext() if opener.__module__ == "__main__" else main_not_imported()
        with _threads_in_environment(len(cores)), _interpreter(python), main:
            self._process.start()
        theirs.close()

    def ask(self, kind: str, *values: Any) -> Any:
        """A request and its answer.

        Raises:
            WorkerWorkerFailed: the request failed, took too long, or the process has ended.
        """
        try:
            self._connection.send((kind, *values))
            if not self._connection.poll(self._timeout_seconds):
                self.close()
                raise WorkerFailed(f"no answer within {self._timeout_seconds:,.0f} s ({kind})")
            state, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise WorkerFailed(f"its process ended {_reason(self._process.exitcode)} ({kind})") from None
        if state == "failed":
            raise WorkerFailed(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}" + (", perhaps out of memory" if code == -signal.SIGKILL else "")
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Libraries read these when they are loaded, which is before any of our code runs in the worker process."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interpreter(python: str) -> Iterator[None]:
    """Processes started inside run under this interpreter ('': this one), with its packages after ours: peers have their own environments."""
    if not python:
        yield
        return
    done = subprocess.run([python, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], capture_output=True, text=True, check=True)
    before, executable = sys.path.copy(), multiprocessing.spawn.get_executable()
    # A new process inherits this one's sys.path: folders outside of this interpreter stay, before those of the other one.
    kept = [folder for folder in before if not any(Path(folder).is_relative_to(own) for own in (sys.prefix, sys.base_prefix))]
    sys.path[:] = [*kept, *json.loads(done.stdout), str(Path(__file__).resolve().parents[2])]
    multiprocessing.set_executable(python)
    try:
        yield
    finally:
        sys.path[:] = before
        multiprocessing.set_executable(executable)

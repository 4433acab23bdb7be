"""One implementation in a process of its own: opened there, then asked for answers and for times.

Nothing is imported here that an implementation does not import itself, so that memory and loading time are its own.
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

if TYPE_CHECKING:
    from electra.tasks.evaluate import FineTuned

WARM_UP_CALLS = 3
"""Untimed calls before every turn's timed ones: caches hold what the others left there."""
TIMEOUT_SECONDS = 1800.0
"""One request may take this long."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What an implementation said of N examples."""

    predictions: list[Prediction]
    outputs: list[np.ndarray] | None = None
    """Logits of every input, where it tells them."""
    reading: str = ""
    """A digest of the token ids it read: only where it is another's, logits can be compared."""


class Implementation(Protocol):
    """What is measured."""

    head: Head
    max_length: int
    """Longest input in tokens."""

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """Answers, as its users get them; `padded_length`: every input filled up to so many tokens, all of them computed."""
        ...

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Answers, and the logits behind them."""
        ...


Open = Callable[..., Implementation]
"""A function of a module, called in the new process."""


class Ours:
    """A checkpoint or an artefact, as `electra.load` opens it."""

    def __init__(self, model: FineTuned, max_length: int) -> None:
        self.model, self.head, self.max_length = model, model.head, max_length

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """Answers."""
        if not padded_length:
            return self.model.answer(examples, self.model.featurize(examples), batch_size)
        model = replace(self.model, max_length=min(padded_length, self.max_length))
        features = [filled(feature, padded_length, model.tokenizer.pad_id) for feature in model.featurize(examples)]
        return model.answer(examples, features, batch_size)

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Answers and logits."""
        features = self.model.featurize(examples)
        outputs = self.model.compute(features, batch_size)
        predictions = self.model.task.decode(outputs, features, examples, self.head)
        return Answered(predictions=predictions, outputs=outputs, reading=digest(feature.ids for feature in features))


def open_ours(source: str, asked: EvaluateSettings, device: str, threads: int) -> Implementation:
    """A source that `electra.load` opens, reading as it was trained to.

    Raises:
        UserError: no such model, or one of other labels.
    """
    from electra.inference.predictor import open_fine_tuned
    from electra.tasks.evaluate import for_task, named_task, settled

    opened = open_fine_tuned(source, threads=threads, device=device)
    return Ours(for_task(opened, *settled(named_task(asked), asked, opened.head), asked), opened.max_length)


def digest(inputs: Iterable[Iterable[int]]) -> str:
    """Token ids of every input, padding left out -> what `Answered.reading` is."""
    found = hashlib.sha256()
    for ids in inputs:
        found.update(np.asarray([*ids, -1], dtype=np.int64).tobytes())
    return found.hexdigest()


def filled(feature: Features, length: int, pad_id: int) -> Features:
    """An input with padding behind it, up to `length` tokens; what is decoded of it are its own tokens."""
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


# ---- the process ----


def serve(connection: Connection, opener: Open, arguments: tuple[Any, ...], threads: int, cores: Sequence[int]) -> None:
    """Open an implementation and answer requests until told to end. Every answer is ('ok', value) or ('failed', one line)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    implementation: Implementation | None = None
    examples: Sequence[Example] = ()
    while True:
        try:
            kind, *values = connection.recv()
        except EOFError:
            return
        try:
            if kind == "open":
                started = time.perf_counter()
                implementation = opener(*arguments, threads)
                answer: Any = (implementation.head, implementation.max_length, time.perf_counter() - started)
            elif kind == "examples":
                (examples,) = values
                answer = None
            elif kind == "memory":
                answer = environment.peak_memory_bytes()
            else:
                assert implementation is not None
                answer = REQUESTS[kind](implementation, examples, *values)
        except UserError as error:
            connection.send(("failed", " ".join(str(error).split())))
        except Exception as error:  # whatever a runtime raises: the others are measured all the same
            connection.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
        else:
            connection.send(("ok", answer))


def _examine(implementation: Implementation, examples: Sequence[Example], batch_size: int) -> Answered:
    return implementation.examine(examples, batch_size)


def _first(implementation: Implementation, examples: Sequence[Example]) -> float:
    """Seconds to the first answer of all."""
    started = time.perf_counter()
    implementation.predict(examples[:1], 1)
    return time.perf_counter() - started


def _latency(implementation: Implementation, examples: Sequence[Example], chosen: Sequence[int], padded_length: int) -> list[float]:
    """Seconds of each call with one example."""
    for index in chosen[:WARM_UP_CALLS]:
        implementation.predict([examples[index]], 1, padded_length)
    seconds = []
    for index in chosen:
        asked = [examples[index]]
        started = time.perf_counter()
        implementation.predict(asked, 1, padded_length)
        seconds.append(time.perf_counter() - started)
    return seconds


def _throughput(implementation: Implementation, examples: Sequence[Example], chosen: Sequence[int], batch_size: int) -> float:
    """Seconds for all."""
    asked = [examples[index] for index in chosen]
    implementation.predict(asked[:batch_size], batch_size)
    started = time.perf_counter()
    implementation.predict(asked, batch_size)
    return time.perf_counter() - started


REQUESTS: dict[str, Callable[..., Any]] = {"examine": _examine, "first": _first, "latency": _latency, "throughput": _throughput}


# ---- its handle ----


class Failed(Exception):
    """An implementation cannot go on; the message is why, in one line."""


class Contestant:
    """A process with an implementation in it, as the one who measures sees it."""

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
            Failed: it could not, took too long, or its process has ended.
        """
        try:
            self._connection.send((kind, *values))
            if not self._connection.poll(self._timeout_seconds):
                self.close()
                raise Failed(f"no answer within {self._timeout_seconds:,.0f} s ({kind})")
            state, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise Failed(f"its process ended {_reason(self._process.exitcode)} ({kind})") from None
        if state == "failed":
            raise Failed(answer)
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
        return f"by {signal.Signals(-code).name}" + (", perhaps for want of memory" if code == -signal.SIGKILL else "")
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Libraries read these when they are loaded, which is before anything of ours runs in the new process."""
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
    """Processes started within run under this interpreter ('': this one), with its packages beside ours: peers have environments of their own."""
    if not python:
        yield
        return
    told = subprocess.run([python, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], capture_output=True, text=True, check=True)
    before, executable = sys.path.copy(), multiprocessing.spawn.get_executable()
    # A new process takes over this one's list of folders: what is not of this interpreter's own packages stays, before theirs.
    kept = [folder for folder in before if not any(Path(folder).is_relative_to(own) for own in (sys.prefix, sys.base_prefix))]
    sys.path[:] = [*kept, *json.loads(told.stdout), str(Path(__file__).resolve().parents[2])]
    multiprocessing.set_executable(python)
    try:
        yield
    finally:
        sys.path[:] = before
        multiprocessing.set_executable(executable)

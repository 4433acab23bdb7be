"""Trials -> processes, several at a time: an `electra finetune` of one task and one seed each, on this machine's cores or GPUs, or by Ray.

A trial's folder holds what that command writes (config.toml, scores.json, best), trial.log (the command, then what it said) and trial.json
(seconds, peak memory, how it ended). What holds scores.json is finished and never run again; what does not goes on with --resume.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electra import config
from electra.data import ray_backend
from electra.environment import RSS_UNIT
from electra.errors import UserError, require
from electra.settings import FinetuneSettings, SuiteSettings
from electra.storage import atomic

NOT_A_TRIALS_OWN = {"task", "data", "output", "resume", "json", "seeds", "seed", "threads"}
"""Settings that the suite decides for each trial."""
MOST_ASKED_OF_RAY = 256
"""Trials given to a cluster at a time; it lets them wait for its cores."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One task and one seed under one choice of hyper-parameters."""

    task: str
    point: tuple[tuple[str, str], ...]
    """(name, value) of each searched hyper-parameter; empty without a search."""
    seed: int
    folder: Path
    words: tuple[str, ...]
    """The command line behind 'electra'."""

    @property
    def name(self) -> str:
        """'sst2 learning_rate=1e-4 seed 2'."""
        return " ".join([self.task, *(f"{name}={value}" for name, value in self.point), f"seed {self.seed}"])

    @property
    def finished(self) -> bool:
        """Whether it holds its scores."""
        return (self.folder / "scores.json").exists()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a trial's process ended; TRIAL/trial.json."""

    returncode: int
    """0: finished; below 0: killed by that signal."""
    seconds: float
    """Wall-clock time of the process, loading and featurizing included."""
    peak_memory_bytes: int
    """The most memory it held at once (VmHWM; on a GPU the host's share)."""
    cpu_seconds: float = 0.0
    """Time of all its threads on the cores: what a machine shared with other work does not blow up."""
    error: str | None = None
    """Its one line of error."""


def as_flags(settings: FinetuneSettings, *left_out: str) -> list[str]:
    """What was given, as flags of a trial: all but what the suite itself decides, and the fields left out."""
    given, words = config.given(settings), []
    for path, owner, field in config.leaves(FinetuneSettings):
        if owner is SuiteSettings or field.name in NOT_A_TRIALS_OWN or field.name in left_out:
            continue
        try:
            value: Any = functools.reduce(lambda table, name: table[name], path, given)
        except KeyError:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        else:
            words += [flag, f"{value}s" if field.name == "budget" else str(value)]
    return words


# ---- one process ----


def run_trial(words: Sequence[str], folder: str, environment: dict[str, str], started: Callable[[int], None] = lambda pid: None) -> dict[str, Any]:
    """A command line, in a process of its own that writes FOLDER/trial.log -> the values of its `Ended`; `started` is told the process's number.

    Raises:
        OSError: no process could be started.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(place / "trial.lock", "w") as lock, open(place / "trial.log", "a", encoding="utf-8") as log:
        try:
            # The process inherits the lock and holds it as long as it lives, also where what started it was killed.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return asdict(Ended(returncode=1, seconds=0.0, peak_memory_bytes=0, error=f"an earlier process still works in {folder}; wait for it"))
        log.write(f"$ electra {shlex.join(words)}\n")
        log.flush()
        before = log.tell()
        command = [sys.executable, "-m", "electra", *words]
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **environment}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, pass_fds=(lock.fileno(),))
        started(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = Ended(
        returncode=process.returncode,
        seconds=round(time.monotonic() - start, 2),
        peak_memory_bytes=usage.ru_maxrss * RSS_UNIT,
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        error=_error_line(place / "trial.log", before, process.returncode) if process.returncode else None,
    )
    atomic.write_text(place / "trial.json", json.dumps(asdict(ended), indent=1) + "\n")
    return asdict(ended)


def _error_line(log: Path, before: int, returncode: int) -> str:
    lines = [line for line in log.read_bytes()[before:].decode("utf-8", "replace").splitlines() if line.strip()]
    told = [line.removeprefix("electra: ") for line in lines if line.startswith("electra: ")]
    if told:
        return told[-1]
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}" + (" (out of memory?)" if returncode == -signal.SIGKILL else "")
    return lines[-1][:300] if lines else f"ended with exit code {returncode} and no word"


def read_ended(trial: Trial) -> Ended | None:
    """How an earlier process of a trial ended; None where that is not known."""
    try:
        return Ended(**json.loads((trial.folder / "trial.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


# ---- several at a time ----


@dataclass(frozen=True, kw_only=True)
class Places:
    """What trials run on."""

    workers: int
    threads: int
    """CPU threads of each."""
    gpus: tuple[str, ...] = ()
    """The GPUs, as CUDA_VISIBLE_DEVICES names them; one trial each."""


def find_places(settings: FinetuneSettings, num_trials: int) -> Places:
    """The machine and the flags -> how many trials at a time, and with what.

    Raises:
        UserError: a number of workers below zero.
    """
    workers, threads = settings.suite.workers, settings.loop.threads
    if workers < 0 or threads < 0:
        raise UserError(f"--workers {workers}, --threads {threads}: expected 0 or more")
    if settings.suite.engine == "ray":
        return Places(workers=workers or min(num_trials, MOST_ASKED_OF_RAY), threads=max(1, threads))
    if settings.loop.device in ("auto", "cuda"):
        torch = require("torch", "train")
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = tuple(shown.split(",")) if shown else tuple(str(i) for i in range(torch.cuda.device_count()))
        if torch.cuda.is_available() and gpus:
            return Places(workers=workers or len(gpus), threads=threads, gpus=gpus)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = workers or max(1, min(num_trials, cores // max(1, threads)))
    return Places(workers=workers, threads=threads or max(1, cores // workers))


def run_all(trials: Sequence[Trial], settings: FinetuneSettings, places: Places, asked: list[int]) -> Iterator[tuple[Trial | None, Ended | None]]:
    """Run trials, `places.workers` at a time -> each with its end as it ends, and (None, None) about twice a second in between.

    A signal in `asked` ends those under way, which save themselves, and starts no more.

    Raises:
        UserError: no Ray cluster.
    """
    running: dict[str, int] = {}

    def stop() -> None:
        for pid in list(running.values()):
            os.kill(pid, signal.SIGTERM)

    execute: Callable[..., dict[str, Any]] = run_trial
    if settings.suite.engine == "ray":
        execute, stop = _ray_engine(settings.suite, places)
    free = deque(places.gpus[i % len(places.gpus)] if places.gpus else "" for i in range(places.workers))

    def work(trial: Trial) -> Ended:
        gpu = free.popleft()
        environment = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        words = [*trial.words, "--threads", str(places.threads)] if places.threads else list(trial.words)
        try:
            return Ended(**execute(words, str(trial.folder), environment, lambda pid: running.update({trial.name: pid})))
        finally:
            running.pop(trial.name, None)
            free.append(gpu)

    with ThreadPoolExecutor(places.workers) as pool:
        waiting: dict[Future[Ended], Trial] = {pool.submit(work, trial): trial for trial in trials}
        told = 0
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            if len(asked) > told:
                told = len(asked)
                for future in [future for future in waiting if future.cancel()]:
                    waiting.pop(future)
                stop()
            for future in done:
                if (trial := waiting.pop(future, None)) is not None:
                    yield trial, future.result()
            yield None, None
    if settings.suite.engine == "ray":
        stop()


def _ray_engine(suite: SuiteSettings, places: Places) -> tuple[Callable[..., dict[str, Any]], Callable[[], None]]:
    """`run_trial` in a worker of a Ray cluster, which must see the same files; and what leaves the cluster, ending its work."""
    ray = require("ray", "ray")
    ray_backend.connect(ray, suite.ray_address, 0)
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    remote = ray.remote(num_cpus=max(1, places.threads), num_gpus=1 if has_gpus else 0, max_retries=0)(run_trial_there)

    def execute(words: Sequence[str], folder: str, environment: dict[str, str], started: Callable[[int], None]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = ray.get(remote.remote([*words], str(Path(folder).resolve()), os.getcwd()))
            return found
        except ray.exceptions.RayError as error:
            reason = f"its Ray worker was lost ({type(error).__name__}); the same command with --resume goes on"
            return asdict(Ended(returncode=1, seconds=0.0, peak_memory_bytes=0, error=reason))

    return execute, ray.shutdown


def run_trial_there(words: list[str], folder: str, place: str) -> dict[str, Any]:
    """`run_trial` on another machine, from the same working folder; the GPU is the one that Ray gave."""
    if not Path(place).is_dir() or not Path(folder).parent.parent.parent.is_dir():
        reason = f"machine {os.uname().nodename} does not see {place}; put everything on a disk that all machines share"
        return asdict(Ended(returncode=1, seconds=0.0, peak_memory_bytes=0, error=reason))
    os.chdir(place)
    return run_trial(words, folder, {})

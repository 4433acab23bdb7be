"""A list of steps, each an `electra` command, -> their outputs; what is done is skipped, what was interrupted continues.

steps -> `run_here`:      one after the other in this process; the first error ends the run
steps -> `run_processes`: each in a process of its own, several at a time, on this machine or a Ray cluster; a failure is reported, the rest continues
signal -> `Stopped`, with exit code 128 + its number: commands that are running save themselves, and the same run continues later

A step in a process of its own leaves trial.log (its command line and output) and trial.json (seconds, peak memory, how it ended) in its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from electra.data.prepare import connect_ray
from electra.environment import RSS_UNIT, allowed_cores, peak_memory_of_process_bytes, signals_to
from electra.errors import UserError, parse_json, require
from electra.storage import atomic
from electra.terminal import ProgressDisplay, duration, say

SIGNALLED = 128
"""Exit codes above it: ended by a signal, with its work saved."""
POLL_SECONDS = 0.05
"""The longest time between two looks at the memory of a running process; at first they are closer."""
MAX_RAY_STEPS = 256
"""Steps given to a Ray cluster at a time; it queues them for its cores."""


class Stopped(BaseException):
    """A signal ended the run; `code` is 128 + its number. Not an Exception, so that no handler takes it for a failure of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise `Stopped` wherever no training handles them itself. Files are written atomically, so any place is safe."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(SIGNALLED + number)

    with signals_to(stop):
        yield


def call(*argv: object) -> str:
    """Run a command line of electra in this process -> what it printed.

    Raises:
        Stopped: a signal ended it.
        UserError: it failed.
    """
    words = [str(word) for word in argv]
    say(f"$ electra {shlex.join(words)}")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # By name: the command table is above this module.
        code = importlib.import_module("electra.cli").dispatch(words)
    if code > SIGNALLED:
        raise Stopped(code)
    if code:
        raise UserError(f"electra {words[0]} exited with code {code}")
    return printed.getvalue()


# ---- steps ----


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a recipe, or a function for what no command does."""

    title: str
    description: str = ""
    """More about it, shown when it starts."""
    folder: Path
    """Where it writes."""
    output: Path
    """Exists once the step is done."""
    argv: tuple[str, ...] = ()
    """The command line after 'electra'."""
    resume_argv: tuple[str, ...] | None = None
    """The command line that continues it after an interruption; None: `argv` with --resume."""
    action: Callable[[], object] | None = field(default=None, compare=False)
    """Called instead of a command line."""
    seconds: float = 1.0
    """Predicted; without a prediction all steps count the same until some of their kind have ended."""
    kind: str = ""
    """Steps of one kind are expected to deviate alike from their prediction."""

    @property
    def done(self) -> bool:
        """Whether its output exists."""
        return self.output.exists()

    def command_line(self) -> tuple[str, ...]:
        """What to run now: an interrupted step continues."""
        if not (self.folder / "config.toml").exists():
            return self.argv
        return (*self.argv, "--resume") if self.resume_argv is None else self.resume_argv


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a step ended; trial.json of one in a process of its own."""

    returncode: int
    """0: finished; below 0: killed by that signal."""
    seconds: float
    """Wall-clock time, loading included."""
    peak_memory_bytes: int = 0
    """The most memory its process held at once (VmHWM; on a GPU the host's part); 0 where it had no process of its own."""
    cpu_seconds: float = 0.0
    """Time of all its threads on the cores, which other work on the machine does not inflate."""
    error: str | None = None
    """One line."""


class StepProgress(ProgressDisplay):
    """How many steps are done, and how long the rest takes, from the times of those that ended."""

    def __init__(self, runner: CommandRunner, workers: int) -> None:
        super().__init__(runner.noun)
        self.runner, self.workers = runner, workers

    def show(self) -> None:
        """Call often."""
        if self.is_due():
            done = sum(step.done for step in self.runner.steps)
            self.update(done / max(1, len(self.runner.steps)), f"{self.state()}, {duration(self.seconds)} so far")

    def seconds_left(self) -> float | None:
        """None before the first step ended, and when none is left."""
        actual, predicted = defaultdict[str, float](float), defaultdict[str, float](float)
        for step, ended in self.runner.outcomes.items():
            if not ended.returncode:
                for kind in (step.kind, "all kinds"):
                    actual[kind] += ended.seconds
                    predicted[kind] += step.seconds
        if not predicted["all kinds"]:
            return None
        left = [step for step in self.runner.steps if not step.done and step not in self.runner.outcomes]
        if not left:
            return None
        kinds = [step.kind if predicted[step.kind] else "all kinds" for step in left]
        work = sum(step.seconds * actual[kind] / predicted[kind] for step, kind in zip(left, kinds, strict=True))
        return work / min(self.workers, len(left))

    def state(self) -> str:
        """'3 of 10 trials, 1 failed, 2 at a time, about 1 min 10 s left'."""
        steps, failed = self.runner.steps, sum(ended.returncode != 0 for ended in self.runner.outcomes.values())
        words = [f"{sum(step.done for step in steps) + failed} of {len(steps)} {self.runner.noun}"]
        words += [f"{failed} failed"] if failed else []
        words += [f"{self.workers} at a time"] if self.workers > 1 else []
        left = self.seconds_left()
        return ", ".join(words if left is None else [*words, f"about {duration(left)} left"])


class CommandRunner:
    """Runs the steps that are not done and keeps how each ended in `outcomes`.

    `after(step, ended)` is called when a step ended, writes what is known by then, and returns a few words for the log line (a score).
    It may replace `steps` from the next one on.
    """

    def __init__(self, steps: Sequence[Step], after: Callable[[Step, Ended], str], *, noun: str = "steps") -> None:
        self.steps, self.after, self.noun = list(steps), after, noun
        self.outcomes: dict[Step, Ended] = {}

    def run_here(self) -> None:
        """One after the other in this process.

        Raises:
            Stopped: a signal ended the step that was running.
            UserError: a step failed; the message names it.
        """
        progress = StepProgress(self, 1)
        for index in range(len(self.steps)):
            step, start = self.steps[index], time.monotonic()
            if step.done:
                continue
            label = f"[{index + 1} of {len(self.steps)}] {step.title}"
            progress.say(f"\n{label}{f': {step.description}' if step.description else ''}")
            try:
                _ = call(*step.command_line()) if step.action is None else step.action()
            except UserError as error:
                raise UserError(f"{step.title}: {error}") from None
            self.outcomes[step] = Ended(returncode=0, seconds=time.monotonic() - start)
            words = self.after(step, self.outcomes[step])
            progress.say(f"{label}: {f'{words}, ' if words else ''}{duration(time.monotonic() - start)}; {progress.state()}")

    def run_processes(self, places: Places, *, ray_address: str | None = None) -> None:
        """Each in a process of its own, `places.workers` at a time; a failed one is in `outcomes`, the rest continues.

        Raises:
            Stopped: a signal came; the steps that were running have saved themselves.
            UserError: no Ray cluster at `ray_address`.
        """
        engine = RayEngine(ray_address, places) if places.ray else LocalEngine()
        free = deque(places.gpus[i % len(places.gpus)] if places.gpus else "" for i in range(places.workers))

        def work(step: Step) -> Ended:
            gpu = free.popleft()
            threads = ["--threads", str(places.threads)] if places.threads else []
            try:
                return engine.run([*step.command_line(), *threads], step.folder, {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
            finally:
                free.append(gpu)

        with ThreadPoolExecutor(places.workers) as pool, StepProgress(self, places.workers) as progress:
            waiting: dict[Future[Ended], Step] = {pool.submit(work, step): step for step in self.steps if not step.done}
            try:
                while waiting:
                    for future in wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED).done:
                        self._end(waiting.pop(future), future.result(), progress)
                    progress.show()
            except BaseException:
                running = {future: step for future, step in waiting.items() if not future.cancel()}
                engine.stop()
                for future, step in running.items():
                    self._end(step, future.result(), progress)
                raise
            engine.close()

    def _end(self, step: Step, ended: Ended, progress: StepProgress) -> None:
        """Note and report how a step's process ended."""
        if ended.returncode == 0 and not step.done:
            ended = replace(ended, returncode=1, error=f"ended without {step.output.name}")
        if ended.returncode > SIGNALLED:
            progress.say(f"{step.title}: {ended.error}")
            return
        self.outcomes[step] = ended
        words = self.after(step, ended)
        if ended.returncode:
            progress.say(f"{step.title}: failed: {ended.error}")
        else:
            progress.say(f"{step.title}: {f'{words}, ' if words else ''}{duration(ended.seconds)}; {progress.state()}")


# ---- processes ----


@dataclass(frozen=True, kw_only=True)
class Places:
    """What processes run on."""

    workers: int
    threads: int
    """CPU threads of each."""
    gpus: tuple[str, ...] = ()
    """The GPUs, as CUDA_VISIBLE_DEVICES names them; one step each."""
    ray: bool = False
    """On a Ray cluster instead of this machine."""


def find_places(num_steps: int, *, workers: int, threads: int, device: str, ray: bool = False) -> Places:
    """Flags (0: choose) and this machine -> how many steps at a time, and what each gets."""
    if ray:
        return Places(workers=workers or max(1, min(num_steps, MAX_RAY_STEPS)), threads=max(1, threads), ray=True)
    if device in ("auto", "cuda"):
        torch = require("torch", "train")
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = tuple(shown.split(",")) if shown else tuple(str(i) for i in range(torch.cuda.device_count()))
        if torch.cuda.is_available() and gpus:
            return Places(workers=workers or len(gpus), threads=threads, gpus=gpus)
    cores = len(allowed_cores())
    workers = workers or max(1, min(num_steps, cores // max(1, threads)))
    return Places(workers=workers, threads=threads or max(1, cores // workers))


def run_process(argv: Sequence[str], folder: Path, environment: dict[str, str], started: Callable[[int], None] = lambda pid: None) -> Ended:
    """A command line in a process of its own, which writes FOLDER/trial.log and trial.json; `started` gets the process's number.

    Raises:
        OSError: no process could be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(folder / "trial.lock", "w") as lock, open(folder / "trial.log", "a", encoding="utf-8") as log:
        try:
            # The process inherits the lock and holds it as long as it lives, even when the one that started it was killed.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Ended(returncode=1, seconds=0.0, error=f"an earlier process still works in {folder}; wait for it")
        log.write(f"$ electra {shlex.join(argv)}\n")
        log.flush()
        before = log.tell()
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **environment}
        command = [sys.executable, "-m", "electra", *argv]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, pass_fds=(lock.fileno(),))
        started(process.pid)
        peak, ended_process = 0, 0
        while not ended_process:
            peak = max(peak, peak_memory_of_process_bytes(process.pid))
            ended_process, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not ended_process:
                time.sleep(min(POLL_SECONDS, max(0.002, (time.monotonic() - start) / 10)))
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = Ended(
        returncode=process.returncode,
        seconds=round(time.monotonic() - start, 2),
        # On Linux `ru_maxrss` begins with what this process holds.
        peak_memory_bytes=peak or usage.ru_maxrss * RSS_UNIT,
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        error=_error_line(folder / "trial.log", before, process.returncode) if process.returncode else None,
    )
    atomic.write_text(folder / "trial.json", json.dumps(asdict(ended), indent=1) + "\n")
    return ended


def _error_line(log: Path, before: int, returncode: int) -> str:
    """The last error in a log after position `before`, else its last line, else what the exit code says."""
    lines = [line for line in log.read_bytes()[before:].decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("electra: ") for line in lines if line.startswith("electra: ")]
    if errors:
        return errors[-1]
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}" + (" (out of memory?)" if returncode == -signal.SIGKILL else "")
    return lines[-1][:300] if lines else f"exited with code {returncode} and no output"


def read_ended(folder: Path) -> Ended:
    """How the process of a done step ended, also where the runner was killed before it could record that."""
    try:
        found = Ended(**parse_json((folder / "trial.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = Ended(returncode=0, seconds=0.0)
    return replace(found, returncode=0, error=None)


class LocalEngine:
    """Processes of this machine."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.stopping = False

    def run(self, argv: Sequence[str], folder: Path, environment: dict[str, str]) -> Ended:
        """A command line -> how it ended."""
        mine: list[int] = []

        def started(pid: int) -> None:
            mine.append(pid)
            self.pids.add(pid)
            if self.stopping:
                os.kill(pid, signal.SIGTERM)

        try:
            return run_process(argv, folder, environment, started)
        finally:
            self.pids.difference_update(mine)

    def stop(self) -> None:
        """Ask every process to save itself and end."""
        self.stopping = True
        for pid in list(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        """Nothing is left to close."""


class RayEngine:
    """Workers of a Ray cluster, whose machines see the same files."""

    def __init__(self, address: str | None, places: Places) -> None:
        """Raises `UserError` where there is no cluster at `address` (None: one is started on this machine)."""
        self.ray = require("ray", "ray")
        connect_ray(self.ray, address, 0)
        has_gpus = self.ray.cluster_resources().get("GPU", 0) > 0
        self.remote = self.ray.remote(num_cpus=max(1, places.threads), num_gpus=1 if has_gpus else 0, max_retries=0)(run_in_ray)

    def run(self, argv: Sequence[str], folder: Path, environment: dict[str, str]) -> Ended:
        """A command line -> how it ended."""
        try:
            return Ended(**self.ray.get(self.remote.remote([*argv], str(folder.resolve()), os.getcwd())))
        except self.ray.exceptions.RayError as error:
            reason = f"its Ray worker was lost ({type(error).__name__}); the same command with --resume continues"
            return Ended(returncode=1, seconds=0.0, error=reason)

    def stop(self) -> None:
        """Leave the cluster, which ends its work."""
        self.ray.shutdown()

    close = stop


def run_in_ray(argv: list[str], folder: str, place: str) -> dict[str, Any]:
    """`run_process` on another machine, from the same working folder, on the GPU that Ray gave -> the values of its `Ended`."""
    if not Path(place).is_dir() or not Path(folder).parent.parent.parent.is_dir():
        reason = f"machine {os.uname().nodename} does not see {place}; put everything on a disk that all machines share"
        return asdict(Ended(returncode=1, seconds=0.0, error=reason))
    os.chdir(place)
    return asdict(run_process(argv, Path(folder), {}))

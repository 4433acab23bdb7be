"""How far a suite has come, on standard error: a line per ended trial, and a bar for a person or a line every ten seconds for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from electra.config import terminal
from electra.data.progress import clock
from electra.recipes.trials import Ended, Trial

SECONDS_BETWEEN_LINES = 10.0
STOPPED = 128
"""Exit codes above it: ended by a signal that was noted, its work saved."""


class Progress:
    """Trials ended and the time left; a context manager."""

    def __init__(self, trials: Sequence[Trial], num_done: int, workers: int) -> None:
        """`num_done` of the `trials` were finished before."""
        self.trials, self.workers = trials, workers
        self.num_done, self.num_failed = num_done, 0
        self.seconds: dict[str, list[float]] = {}
        self.left: dict[str, int] = {}
        for trial in trials:
            if not trial.finished:
                self.left[trial.task] = self.left.get(trial.task, 0) + 1
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._row: Any = None

    def __enter__(self) -> Progress:
        """Show the bar where a person watches."""
        if terminal():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._row = self._bar.add_task("trials", total=len(self.trials), completed=self.num_done, state=self.state())
            self._bar.start()
        else:
            self._say(self.state())
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def end(self, trial: Trial, ended: Ended, score: float | None) -> None:
        """Tell how a trial ended."""
        self.num_done += 1
        self.left[trial.task] = self.left.get(trial.task, 1) - 1
        if ended.returncode > STOPPED:
            # It was asked to, and has saved itself.
            self.num_done -= 1
            self._say(f"{trial.name}: {ended.error}")
            return
        if ended.returncode:
            self.num_failed += 1
            self._say(f"{trial.name}: failed: {ended.error}")
            return
        self.seconds.setdefault(trial.task, []).append(ended.seconds)
        self._say(f"{trial.name}: {'' if score is None else f'{score * 100:.2f}, '}{clock(ended.seconds)}; {self.state()}")

    def seconds_left(self) -> float | None:
        """By the mean time of a task's ended trials, of all ended ones for a task without; None before the first."""
        known = [seconds for each in self.seconds.values() for seconds in each]
        if not known:
            return None
        mean = {task: sum(each) / len(each) for task, each in self.seconds.items()}
        work = sum(count * mean.get(task, sum(known) / len(known)) for task, count in self.left.items())
        return work / max(1, min(self.workers, sum(self.left.values())))

    def state(self) -> str:
        """'3 of 10 trials, 1 failed, 2 at a time, 01:10 left'."""
        words = [f"{self.num_done} of {len(self.trials)} trials"]
        words += [f"{self.num_failed} failed"] if self.num_failed else []
        words += [f"{self.workers} at a time"] if self.workers > 1 else []
        left = self.seconds_left()
        return ", ".join(words if left is None else [*words, f"{clock(left)} left"])

    def update(self) -> None:
        """Call often: shows something only when it is time."""
        if self._bar is not None:
            self._bar.update(self._row, completed=self.num_done, state=self.state())
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._say(f"{self.state()}, {clock(time.monotonic() - self._start)} so far")

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

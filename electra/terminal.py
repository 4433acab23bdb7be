"""How far a long reading has come, on standard error: a bar for a person, a line every ten seconds for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar


def clock(seconds: float) -> str:
    """Seconds -> '1:02:03' or '02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Report(Protocol):
    """How much of a corpus was read."""

    text_bytes: int
    documents: int

    @property
    def fraction(self) -> float | None:
        """Share of the whole; None where it is not known."""
        ...


class Progress:
    """MB/s and the time left of a corpus being read; a context manager."""

    def __init__(self, report: Report, what: str, *, every_seconds: float = 10.0) -> None:
        """`report` is filled by the reader; `what` names the work."""
        self.report = report
        self.what = what
        self._every = every_seconds
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        """Show the bar where a person watches."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.what, total=1.0, state="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def state(self) -> str:
        """'123 MB, 6.5 MB/s, 12,345 documents, 31%, 01:10 left'."""
        megabytes = self.report.text_bytes / 1e6
        words = [f"{megabytes:,.0f} MB", f"{megabytes / max(self.seconds, 1e-9):.1f} MB/s"]
        words += [f"{self.report.documents:,} documents"] if self.report.documents else []
        if (share := self.report.fraction) is not None:
            words.append(f"{share:.0%}")
            if share > 0:
                words.append(f"{clock(self.seconds * (1 - share) / share)} left")
        return ", ".join(words)

    def update(self) -> None:
        """Call often: shows something only when it is time."""
        now = time.monotonic()
        if now - self._last < (0.2 if self._bar is not None else self._every):
            return
        self._last = now
        if self._bar is not None:
            self._bar.update(self._task, completed=self.report.fraction or 0.0, state=self.state())
        else:
            print(f"{self.what}: {self.state()}", file=sys.stderr, flush=True)


# ---- How far a stream of answers has come, on standard error ----


T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def counted(items: Iterable[T], what: str, by: str = "") -> Iterator[T]:
    """The same items; every ten seconds, and at the end of anything longer, a line says how many there were and how fast; then `by` whom."""
    start = last = time.monotonic()
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            _say(number, what, now - start)
    if last != start:
        _say(number, what, time.monotonic() - start)
    if by:
        print(by, file=sys.stderr, flush=True)


def _say(number: int, what: str, seconds: float) -> None:
    print(f"{number:,} {what}, {number / seconds:,.0f} {what}/s", file=sys.stderr, flush=True)

"""Progress on standard error: a bar for a person, a line every ten seconds for a log; durations in words."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_REDRAWS = 0.2


def is_interactive() -> bool:
    """Whether a person watches standard error (progress bars and colour)."""
    return sys.stderr.isatty()


def is_first_rank() -> bool:
    """Whether this process reports: it is alone, or the first of those that train together (torchrun)."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """One line on standard error, now; by the first rank alone, since all ranks read the same files."""
    if is_first_rank():
        print(line, file=sys.stderr, flush=True)


def data_size(num_bytes: float) -> str:
    """Bytes -> '812 bytes', '14.2 kB', '3.9 MB', '1.25 GB'."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:,.2f} GB"
    if num_bytes >= 1e5:
        return f"{num_bytes / 1e6:,.1f} MB"
    return f"{num_bytes / 1e3:,.1f} kB" if num_bytes >= 1e3 else f"{num_bytes:,.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds -> '0.4 s', '45 s', '3 min 20 s', '2 h 05 min', '3 days 4 h'."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24:,} days {hours % 24} h"


class ProgressDisplay:
    """How far some work is; a context manager. The work calls `update` often, which shows something only when it is time."""

    def __init__(self, title: str, *, bar: bool | None = None) -> None:
        """`title` names the work. `bar`: draw a bar instead of printing lines; None: where a person watches standard error."""
        self.title = title
        self._wants_bar = is_interactive() if bar is None else bar
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._row: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def is_due(self) -> bool:
        """Whether `update` would show anything now: for callers whose state is expensive to describe."""
        return time.monotonic() - self._last >= (SECONDS_BETWEEN_REDRAWS if self._wants_bar else SECONDS_BETWEEN_LINES)

    def update(self, fraction: float | None, state: str, *, now: bool = False) -> None:
        """Show the state.

        Args:
            fraction: of the work that is done, 0 .. 1; None: not known.
            state: in words, such as '3 of 10 trials'.
            now: show it even if something was shown a moment ago.
        """
        if not (now or self.is_due()) or not is_first_rank():
            return
        self._last = time.monotonic()
        if not self._wants_bar:
            say(f"{self.title}: {state}")
            return
        if self._bar is None:
            self._open()
        self._bar.update(self._row, total=None if fraction is None else 1.0, completed=fraction or 0.0, state=state, refresh=True)

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is None:
            say(line)
        else:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}", markup=False))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._row = self._bar.add_task(escape(self.title), total=None, state="")
        self._bar.start()


class ReadSoFar(Protocol):
    """How much of a corpus was read."""

    text_bytes: int
    documents: int

    @property
    def fraction(self) -> float | None:
        """Of the whole; None where it is not known."""
        ...


class ReadingProgress(ProgressDisplay):
    """Progress of a corpus that is read: MB/s, and the time left."""

    def __init__(self, report: ReadSoFar, title: str) -> None:
        """`report` is filled by the reader."""
        super().__init__(title)
        self.report = report

    def state(self) -> str:
        """'123 MB, 6.5 MB/s, 12,345 documents, 31%, 1 min 10 s left'."""
        read = self.report.text_bytes
        words = [data_size(read) if read < 1e6 else f"{read / 1e6:,.0f} MB", f"{read / 1e6 / max(self.seconds, 1e-9):.1f} MB/s"]
        words += [f"{self.report.documents:,} documents"] if self.report.documents else []
        if (share := self.report.fraction) is not None:
            words.append(f"{share:.0%}")
            if share > 0:
                words.append(f"{duration(self.seconds * (1 - share) / share)} left")
        return ", ".join(words)

    def show(self) -> None:
        """Call often."""
        if self.is_due():
            self.update(self.report.fraction, self.state())


def counted(items: Iterable[T], what: str, remark: str = "") -> Iterator[T]:
    """The same items, with a display of how many there were and how fast; at the end, where a display was shown, the total; then `remark`."""
    done = 0
    # A bar would be torn by answers printed to the same terminal.
    with ProgressDisplay(what, bar=is_interactive() and not sys.stdout.isatty()) as progress:

        def state() -> str:
            return f"{done:,}, {done / max(progress.seconds, 1e-9):,.0f}/s"

        shown = False
        for item in items:
            yield item
            done += 1
            if progress.is_due():
                progress.update(None, state())
                shown = True
        if shown:
            progress.update(None, state(), now=True)
    if remark:
        say(remark)

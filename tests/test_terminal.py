"""Progress: a bar for a person, a line every ten seconds for a log; durations in words."""

from __future__ import annotations

import io
import sys

import pytest

from electra import terminal
from electra.data.sources import CorpusReport
from electra.terminal import ProgressDisplay, ReadingProgress, counted, data_size, duration


@pytest.mark.parametrize(("world", "rank", "shown"), [(None, None, True), ("2", "0", True), ("2", "1", False), ("1", "0", True), (None, "3", True)])
def test_the_first_rank_alone_reports(
    world: str | None, rank: str | None, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("WORLD_SIZE", world), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    terminal.say("a line")
    ProgressDisplay("reading", bar=False).update(0.5, "half", now=True)
    assert capsys.readouterr().err == ("a line\nreading: half\n" if shown else "")


class Clock:
    """`time.monotonic` that moves on command."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(terminal.time, "monotonic", moved)
    return moved


DURATIONS = [
    (-1, "0 s"),
    (0.38, "0.4 s"),
    (9.96, "10 s"),
    (45, "45 s"),
    (59.6, "1 min 00 s"),
    (200, "3 min 20 s"),
    (3599.7, "1 h 00 min"),
    (7500, "2 h 05 min"),
    (40 * 3600, "40 h 00 min"),
    (100 * 3600, "4 days 4 h"),
]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_gets_a_line_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay("trials", bar=False) as progress:
        for done in range(1, 26):
            clock.now += 1
            progress.update(done / 25, f"{done} of 25")
        progress.update(1.0, "25 of 25", now=True)
        progress.say("a message")
    assert capsys.readouterr().err.splitlines() == ["trials: 10 of 25", "trials: 20 of 25", "trials: 25 of 25", "a message"]


def test_a_person_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the captured stream for a terminal
    with ProgressDisplay("trials [x]", bar=True) as progress:
        progress.update(0.5, "5 of 10 [b]", now=True)
        progress.say("a message [b] of one trial")
        progress.update(None, "how many is not known", now=True)
    shown = capsys.readouterr().err
    assert "trials [x]" in shown and "5 of 10 [b]" in shown and "a message [b] of one trial\n" in shown


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (14_230, "14.2 kB"), (99_999, "100.0 kB"), (3_898_054, "3.9 MB"), (1.254e9, "1.25 GB")],
)
def test_sizes_are_never_zero_megabytes(num_bytes: float, shown: str) -> None:
    assert data_size(num_bytes) == shown


def test_progress_shows_speed_and_the_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = CorpusReport(text_bytes=40_000_000, done_bytes=25, total_bytes=100, documents=1234)
    with ReadingProgress(report, "preparing") as progress:
        progress.show()
        clock.now += 20
        progress.show()
    assert capsys.readouterr().err == "preparing: 40 MB, 2.0 MB/s, 1,234 documents, 25%, 1 min 00 s left\n"


def test_counted_is_silent_for_short_work(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(range(3), "texts", "labels by the head")) == [0, 1, 2]
    assert capsys.readouterr().err == "labels by the head\n"


def test_counted_shows_number_and_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in counted(range(3), "texts"):
        clock.now += 6
    assert capsys.readouterr().err.splitlines() == ["texts: 2, 0/s", "texts: 3, 0/s"]


def test_answers_on_the_same_terminal_are_not_torn_by_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    errors = Screen()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", Screen())
    for _ in counted(range(1), "texts"):
        clock.now += 60
    assert errors.getvalue() == "texts: 1, 0/s\n" * 2

"""What every section of the bench receives and returns: its work, medians with their range, goals, tables.

A section is a module of this folder with three functions:

    measure(work) -> result      a dictionary that JSON can hold, every raw time in it
    lines(result) -> markdown    its table
    targets(result) -> verdicts  goals and measurements
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Skipped(Exception):
    """A section that cannot run here; the message says why."""


@dataclass(kw_only=True)
class Work:
    """What a section receives."""

    quick: bool
    """Tiny shapes and few steps: does it run, not how fast."""
    data: Path | None
    """Folder of real data (as the tests': glue/, corpus-en/, vocab/ ...), if there is one."""
    folder: Path
    """Scratch, shared by the sections of a run."""
    interpreters: Mapping[str, str]
    """Environment of peers (bench/pins) -> its interpreter, if there is one."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Environment -> why there is none."""
    threads: int
    options: Mapping[str, Any]
    """The command line."""
    progress: Callable[[float, str], None] = lambda fraction, text: None
    """Takes the fraction of the section that is done, and what is."""
    machine: dict[str, Any] = field(default_factory=dict)
    """The result of the section 'machine', if it was measured."""

    @property
    def peers(self) -> str:
        """The interpreter of most peers; '' if there is none."""
        return self.interpreters.get("peers", "")

    @property
    def peers_problem(self) -> str:
        """Why there is none."""
        return self.problem("peers")

    def problem(self, which: str) -> str:
        """Why an environment has no interpreter; '' if it has one."""
        return "" if self.interpreters.get(which) else self.problems.get(which, "its environment was not made")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A goal of the project. `reached` None: not measured, and `shown` says why."""

    what: str
    asked: str
    shown: str
    reached: bool | None

    @property
    def verdict(self) -> str:
        """One word."""
        return "not measured" if self.reached is None else "met" if self.reached else "**missed**"


def at_least(what: str, value: float | None, asked: float, unit: str = "x") -> Target:
    """A goal with a lower bound."""
    shown = "-" if value is None else f"{value:.2f}{unit}"
    return Target(what=what, asked=f">= {asked:g}{unit}", shown=shown, reached=None if value is None else value >= asked)


def at_most(what: str, value: float | None, asked: float, unit: str) -> Target:
    """A goal with an upper bound."""
    shown = "-" if value is None else f"{value:.2f}{unit}"
    return Target(what=what, asked=f"<= {asked:g}{unit}", shown=shown, reached=None if value is None else value <= asked)


def middle(values: Iterable[float]) -> dict[str, float]:
    """Values -> their median, least and most."""
    found = list(values)
    return {"median": statistics.median(found), "least": min(found), "most": max(found)}


def spread(found: Mapping[str, float] | None, pattern: str = "{:.2f}x") -> str:
    """Output of `middle` -> '2.10x (1.98..2.24)'."""
    if not found:
        return "-"
    return f"{pattern.format(found['median'])} ({pattern.format(found['least']).rstrip('x')}..{pattern.format(found['most']).rstrip('x')})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells -> a markdown table, all columns but the first right-aligned."""
    return [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def environment(threads: int) -> dict[str, str]:
    """The environment of a timed process of ours: this checkout, so many threads, no network."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    count = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    return {**os.environ, **count, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


def peer_environment(threads: int) -> dict[str, str]:
    """The same for a peer, which finds nothing of ours."""
    return {name: value for name, value in environment(threads).items() if name != "PYTHONPATH"}


def run(words: Sequence[str], *, threads: int, peer: bool = False, text: str | None = None) -> tuple[float, str]:
    """A command -> (seconds, standard output).

    Raises:
        RuntimeError: it failed, with its last line.
    """
    started = time.perf_counter()
    values = peer_environment(threads) if peer else environment(threads)
    done = subprocess.run(words, input=text, capture_output=True, text=True, env=values)
    seconds = time.perf_counter() - started
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise RuntimeError(f"{' '.join(Path(word).name for word in words[1:4])} ended with exit code {done.returncode}: {last[:300]}")
    return seconds, done.stdout


def electra(*words: str | Path, threads: int, text: str | None = None) -> tuple[float, str]:
    """An electra command in a fresh process -> (seconds, standard output)."""
    return run([sys.executable, "-m", "electra.cli", *map(str, words)], threads=threads, text=text)


def stream(words: Sequence[str], *, threads: int, take: Callable[[str], None]) -> None:
    """A script of this folder, whose lines on standard error are taken as they come.

    Raises:
        RuntimeError: it failed, with its last line.
    """
    process = subprocess.Popen(
        [sys.executable, *words], env=environment(threads), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    assert process.stderr is not None
    last = ""
    with process.stderr as lines:
        for line in lines:
            if line.strip():
                last = line.strip()
                take(last)
    if process.wait():
        raise RuntimeError(f"{Path(words[0]).name} ended with exit code {process.returncode}: {last[:300]}")

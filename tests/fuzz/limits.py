"""One input at a time, within stated limits: an answer, or a refusal by `UserError`. Anything else is a crash."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from electra.errors import UserError

LARGEST = 64 << 10
"""Bytes of an input."""
SECONDS = 1.0
"""CPU time that one input may take, of all threads."""
MEGABYTES = 256
"""By which one input may raise the memory of the process."""
SLOW = 20.0
"""Seconds after which the process of a run is stopped: a hang."""
PACKAGE = Path(__file__).resolve().parents[2] / "electra"


class Wrong(Exception):
    """The result is not that of the reference reader, or something was let in."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an input did."""

    crash: str
    """Kind and place of the fault, in a line; empty: none."""
    trace: str
    seconds: float
    """CPU time."""
    megabytes: float
    """How far the memory of the process rose."""
    refused: bool


def _resident(key: str) -> float:
    """VmRSS or VmHWM of this process in megabytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0.0


def _reset_peak() -> float:
    """Forget the highest memory so far -> the memory now; 0 where the system does not have that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _resident("VmRSS")
    except OSError:
        return 0.0


def place_of(error: BaseException) -> str:
    """Class of an error and the innermost line of the package that raised it: equal faults have equal places."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    where = f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].name}" if frames else "tests"
    return f"{type(error).__name__} in {where}" + (f": {str(error)[:80]}" if isinstance(error, Wrong) else "")


def judge(check: Callable[[bytes], None], data: bytes, *, slack: float = 1.0, memory: bool = True) -> Outcome:
    """Give an input to a check, which raises `UserError` for a refusal -> what it did.

    `slack` multiplies the time that it may take.
    """
    before = _reset_peak() if memory else 0.0
    begun = time.process_time()
    crash = trace = ""
    refused = False
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            check(data)
    except UserError as error:
        refused = True
        if not str(error).strip():
            crash = "a refusal without a message"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        crash, trace = place_of(error), "".join(traceback.format_exception(error))[-4000:]
    seconds = time.process_time() - begun
    megabytes = _resident("VmHWM") - before if before else 0.0
    if not crash and seconds > SECONDS * slack:
        crash = f"more than {SECONDS:g} s"
    if not crash and megabytes > MEGABYTES:
        crash = f"more than {MEGABYTES} MB"
    return Outcome(crash=crash, trace=trace, seconds=seconds, megabytes=megabytes, refused=refused)

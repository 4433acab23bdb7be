"""A clock that is set back, memory that is used up, and a disk that is really full: each command under them, and again without them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from injection import Faults

TRIES = 12
"""Allocations that fail, spread over a command's."""
DISKS = (0.02, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Sizes of the disk as parts of what the output takes."""


@contextmanager
def backwards() -> Iterator[None]:
    """Every look at the clock is a second before the last."""
    real = time.time, time.monotonic
    now = [real[0](), real[1]()]

    def earlier(which: int) -> Callable[[], float]:
        def clock() -> float:
            now[which] -= 1.0
            return now[which]

        return clock

    time.time, time.monotonic = earlier(0), earlier(1)
    try:
        yield
    finally:
        time.time, time.monotonic = real


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clock(command: Any, faults: Faults, root: Path, call: Any, verdict: Any, again: Any, log: Callable[[str], None]) -> dict[str, Any]:
    """A clock that goes backwards changes nothing."""
    output = root / command.output
    command.begin(output)
    with backwards():
        code, printed = call(command, command.words(output))
    found = verdict(command, code, printed, output, root) if code == 0 else f"exit code {code}: {printed[-400:]}"
    _remove(output)
    if found:
        log(f"{command.name}: clock set back: {found}")
    return {"clock_set_back": {"wrong": [found] if found else []}}


def memory(command: Any, faults: Faults, root: Path, call: Any, verdict: Any, again: Any, log: Callable[[str], None]) -> dict[str, Any]:
    """An allocation of PyTorch fails: one line with the remedy, then the same end."""
    output = root / command.output
    command.begin(output)
    with faults.without_memory(1 << 60):
        call(command, command.words(output))
    _remove(output)
    number, wrong, lines = faults.allocations(), [], 0
    for which in sorted({1 + (number - 1) * i // (TRIES - 1) for i in range(TRIES)} if number else ()):
        command.begin(output)
        with faults.without_memory(which):
            code, printed = call(command, command.words(output))
        lines += code == 2 and "out of memory" in printed
        found = verdict(command, code, printed, output, "out of memory")
        if found := found or again(command, output):
            wrong.append(f"{command.name}: allocation {which} of {number}: {found}")
            log(f"{wrong[-1]}\n    {printed.strip()[-600:]}")
        _remove(output)
    return {"out_of_memory": {"allocations": number, "tried": min(TRIES, number), "ended in one line": lines, "wrong": wrong}}


def full_disk(command: Any, faults: Faults, root: Path, call: Any, verdict: Any, again: Any, log: Callable[[str], None]) -> dict[str, Any]:
    """A disk (tmpfs) smaller than the output, then made larger; nothing where it cannot be mounted, or nothing is written."""
    disk, output = root / "disk", root / "disk" / command.output
    if not command.clean:
        return {}
    disk.mkdir(exist_ok=True)
    command.begin(root / command.output)
    call(command, command.words(root / command.output))
    files = [path for path in [root / command.output, *(root / command.output).rglob("*")] if path.is_file()]
    needed = sum(4096 * (-(-path.stat().st_size // 4096)) for path in files)
    _remove(root / command.output)
    tried, lines, wrong = 0, 0, []
    for part in DISKS:
        size = max(8192, int(needed * part))
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
            return {}
        try:
            try:
                command.begin(output)
            except (OSError, shutil.Error):
                continue  # what the run begins with is larger
            tried += 1
            code, printed = call(command, command.words(output))
            lines += code == 2 and "no space left" in printed
            found = verdict(command, code, printed, output, root)
            subprocess.run(["mount", "-o", f"remount,size={4 * needed + (4 << 20)}", str(disk)], check=True)
            if found := found or again(command, output):
                wrong.append(f"{command.name}: a disk of {size:,} bytes for {needed:,}: {found}")
                log(f"{wrong[-1]}\n    {printed.strip()[-600:]}")
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return {"full_disk": {"tried": tried, "ended in one line": lines, "wrong": wrong}}

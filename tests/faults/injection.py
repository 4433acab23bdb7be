"""Make the k-th file operation of a piece of code fail: a library under LD_PRELOAD (preload.c), controlled from this process."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("preload.c")
RANDOM_NAMES = re.compile(r"\.[A-Za-z0-9_]{8}\.(part|old)|\.tmp[A-Za-z0-9]{6}|tmp[a-z0-9_]{8}|electra-artefact-[a-z0-9_]{8}|\d{6}[^/]*")


def compiled(folder: Path) -> Path | None:
    """The library, compiled into a folder; None without a C compiler or outside of Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "preload.so"
    if not library.exists():
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Operation:
    """One operation of a run."""

    number: int
    kind: str
    """create, open-to-write, open, write, read, mmap, fsync, rename, mkdir, unlink, rmdir or chmod."""
    place: str
    """Path below the watched folder, without random parts."""


class Faults:
    """Control of the library in this process, which must have been started with it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self._library.faults_trace.restype = ctypes.c_char_p

    @contextmanager
    def armed(self, folder: Path, which: int = 0, error: int = 0, *, lasting: bool = False, short: bool = False) -> Iterator[None]:
        """Count the operations below a folder; number `which` fails with `error`, and where `lasting` all later ones that need room."""
        self._library.faults_arm(str(folder).encode(), which, error, lasting, short)
        try:
            yield
        finally:
            self._library.faults_disarm()

    @contextmanager
    def without_memory(self, which: int) -> Iterator[None]:
        """PyTorch's allocation number `which` fails."""
        self._library.faults_arm_memory(ctypes.c_long(which))
        try:
            yield
        finally:
            self._library.faults_arm_memory(ctypes.c_long(0))

    def allocations(self) -> int:
        """How many there were since the last `without_memory`."""
        return int(self._library.faults_allocations())

    def operations(self, folder: Path) -> list[Operation]:
        """What was counted since the last `armed`."""
        lines = self._library.faults_trace().decode(errors="replace").splitlines()
        rows = (line.partition(" ") for line in lines)
        return [Operation(n, kind, RANDOM_NAMES.sub("*", path.removeprefix(str(folder)))) for n, (kind, _, path) in enumerate(rows, 1)]

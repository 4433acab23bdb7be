"""The machine a measurement ran on (processor, instruction sets, cores, memory, versions, commit); this process's peak memory and signals."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from electra.errors import UserError

INSTRUCTIONS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_tile",),
    "neon": ("asimd",),
    "dot product": ("asimddp",),
    "i8mm": ("i8mm",),
    "sve": ("sve",),
}
"""What matters to matmuls -> the flags of /proc/cpuinfo that say so."""
PACKAGES = ("electra", "numpy", "tokenizers", "safetensors", "torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "transformers")
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts `ru_maxrss`."""


@functools.cache
def cpuinfo() -> str:
    """The text of /proc/cpuinfo; empty where the system has none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _fields(text: str, *names: str) -> list[str]:
    rows = (line.partition(":") for line in text.splitlines())
    return [value.strip() for key, _, value in rows if key.strip().lower() in names]


def processor() -> str:
    """The processor's name."""
    return next(iter(_fields(cpuinfo(), "model name")), "") or platform.processor() or platform.machine()


def instruction_set(text: str | None = None) -> list[str]:
    """Names of `INSTRUCTIONS` that the processor has; `text`: of another one's /proc/cpuinfo."""
    flags = {flag for value in _fields(cpuinfo() if text is None else text, "flags", "features") for flag in value.split()}
    return [name for name, wanted in INSTRUCTIONS.items() if flags.intersection(wanted)]


def allowed_cores() -> list[int]:
    """Logical processors that this process may use, one of each physical core first."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    seen: set[tuple[str, ...]] = set()
    first: list[int] = []
    rest: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
        try:
            place = tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
        except OSError:
            place = (str(core),)
        (rest if place in seen else first).append(core)
        seen.add(place)
    return first + rest


def choose_cores(threads: int) -> list[int]:
    """The cores to pin so many threads to; 0: all.

    Raises:
        UserError: more threads than cores.
    """
    cores = allowed_cores()
    if threads < 0 or threads > len(cores):
        raise UserError(f"--threads {threads}: this machine has {len(cores)} cores; give 1 .. {len(cores)}, or 0 for all")
    return cores[: threads or len(cores)]


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Python's and every installed package's, without importing them."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout the package runs from, '+changes' where files differ from it; None for an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    out = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno")):
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        out.append(done.stdout.strip())
    return out[0] + ("+changes" if out[1] else "")


def describe() -> dict[str, Any]:
    """The machine, its load now, and what runs on it. Names neither the machine nor any folder of it."""
    out: dict[str, Any] = {
        "processor": processor(),
        "instruction_set": instruction_set(),
        "cores": len(allowed_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "commit": commit(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        out["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if hasattr(os, "getloadavg"):
        out["load_before"] = [round(load, 2) for load in os.getloadavg()]
    return out


def busy_seconds() -> float:
    """Seconds that the machine's processors have worked since it started, all processes together; NaN where the system does not say (Linux does)."""
    try:
        user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    except (OSError, ValueError):
        return math.nan
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take: what the system has available, within its control groups' and its own limits (ulimit -v, -d).

    None where the system does not say (Linux does). `root` is where its /proc and /sys are.
    """
    system, own = (_sizes(root / "proc" / name) for name in ("meminfo", "self/status"))
    found = [system["MemAvailable"]] if "MemAvailable" in system else []
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft = resource.getrlimit(limit)[0]
        found += [soft - own[used]] if soft != resource.RLIM_INFINITY and used in own else []
    found += _free_in_groups(root)
    return max(0, min(found)) if found else None


def _sizes(path: Path) -> dict[str, int]:
    """A file of lines 'Name:  12 kB' -> bytes by name; empty where it cannot be read."""
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return {}
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _free_in_groups(root: Path) -> list[int]:
    """What is left below the limit of each memory control group (of version 1 or 2) that this process is in; page cache counts as free."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    out = []
    for _, kinds, path in groups:
        if kinds not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / kinds
        limit, used, cache = (
            ("memory.max", "memory.current", "inactive_file")
            if not kinds
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        place = top / path.strip("/")
        for folder in [place, *(above for above in place.parents if above == top or top in above.parents), top]:
            try:
                rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                out.append(int((folder / limit).read_text()) - int((folder / used).read_text()) + int(rows.get(cache, 0)))
            except (OSError, ValueError):
                continue  # 'max', or a container that sees its own group alone
    return out


def peak_memory_bytes() -> int:
    """Largest resident set of this process since it began."""
    # Not the usage first: on Linux `ru_maxrss` begins with what the program that started this one held.
    return peak_memory_of_process_bytes(os.getpid()) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def peak_memory_of_process_bytes(process: int) -> int:
    """Largest resident set of a running process since it began; 0 where the system does not say (Linux does) or it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def peak_memory_of_children_bytes() -> int:
    """Largest resident set of any ended child process."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT


@contextlib.contextmanager
def signals_to(handler: Callable[[int, Any], object] | None, more: Iterable[signal.Signals] = ()) -> Iterator[None]:
    """SIGTERM, Ctrl-C and the signals of `more` call `handler` (None: whatever was set before) inside; afterwards the handlers are as before,
    whatever was set meanwhile.

    Outside of the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, *more)}
    for number in before if handler else ():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def main_not_imported() -> Iterator[None]:
    """Processes that `multiprocessing` spawns inside do not import the caller's main script, which would run it again: a script that calls the
    Python API needs no `if __name__ == "__main__":`."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

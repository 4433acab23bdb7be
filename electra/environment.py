"""What a measurement ran on: processor, its instruction set, cores, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
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
"""What matters to matrix products -> the flags of /proc/cpuinfo that say so."""
PACKAGES = ("numpy", "tokenizers", "torch", "onnxruntime", "openvino", "transformers")


def instruction_set(cpuinfo: str) -> list[str]:
    """The text of /proc/cpuinfo -> names of `INSTRUCTIONS` that the processor has."""
    rows = (line.partition(":") for line in cpuinfo.splitlines())
    flags = {flag for key, _, value in rows if key.strip().lower() in ("flags", "features") for flag in value.split()}
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


def versions() -> dict[str, str]:
    """Python's and every installed package's of `PACKAGES`, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """The machine, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    out: dict[str, Any] = {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instruction_set": instruction_set(text),
        "cores": len(allowed_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        out["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if hasattr(os, "getloadavg"):
        out["load_before"] = [round(load, 2) for load in os.getloadavg()]
    return out

"""One description of the machine, one reader of peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from electra import environment
from electra.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def test_the_instruction_set_is_read_from_cpuinfo() -> None:
    text = "processor : 0\nflags\t\t: fpu sse avx avx2 avx512f avx512_vnni\nbugs: none\n"
    assert environment.instruction_set(text) == ["avx2", "avx512", "vnni"]
    assert environment.instruction_set("flags : avx2 amx_tile amx_int8 avx_vnni") == ["avx2", "vnni", "amx"]
    assert environment.instruction_set("Features : fp asimd asimddp i8mm") == ["neon", "dot product", "i8mm"]


def test_the_description_names_neither_the_machine_nor_its_folders() -> None:
    found = environment.describe()
    assert {"processor", "instruction_set", "cores", "system", "versions", "commit"} <= set(found)
    assert found["processor"] and found["cores"] >= 1 and found["versions"]["numpy"] == np.__version__
    assert os.uname().nodename not in str(found) and str(ROOT) not in str(found)


def test_the_commit_is_gits() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert environment.commit() in (commit, f"{commit}+changes")


def test_peak_memory_is_of_this_process_alone() -> None:
    """Not of the one that it was forked from, whose `ru_maxrss` Linux lets a child inherit."""
    held = np.ones(40_000_000)
    assert environment.peak_memory_bytes() > held.nbytes
    script = "from electra.environment import peak_memory_bytes as peak; before = peak(); x = b'x' * 50_000_000; print(before, peak())"
    words = [sys.executable, "-c", script]
    before, after = map(
        int, subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout.split()
    )
    assert before < 150_000_000 and 45_000_000 < after - before < 90_000_000
    assert environment.peak_memory_of_children_bytes() >= after


def test_cores_are_chosen_or_refused() -> None:
    cores = environment.allowed_cores()
    assert environment.choose_cores(0) == cores and environment.choose_cores(1) == cores[:1]
    with pytest.raises(UserError, match=rf"--threads {len(cores) + 1}: this machine has {len(cores)} cores; give 1 \.\. {len(cores)}, or 0 for all"):
        environment.choose_cores(len(cores) + 1)


def test_free_memory_is_the_least_of_all_limits(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def group(folder: str, names: tuple[str, str, str], limit: str, used: int, cache: int) -> None:
        for name, text in zip((*names[:2], "memory.stat"), (limit, str(used), f"anon 5\n{names[2]} {cache}\n"), strict=True):
            write(f"sys/fs/cgroup/{folder}/{name}", text)

    assert environment.free_memory_bytes(tmp_path) is None
    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\nHugePages_Total: 0\n")
    assert environment.free_memory_bytes(tmp_path) == 8_192_000
    second = ("memory.max", "memory.current", "inactive_file")
    write("proc/self/cgroup", "0::/a/b\n")
    group("a/b", second, "max", 7, 0)
    assert environment.free_memory_bytes(tmp_path) == 8_192_000
    group("a", second, "5000000", 3_000_000, 500_000)
    assert environment.free_memory_bytes(tmp_path) == 2_500_000
    write("proc/self/cgroup", "4:memory:/job\n3:cpuset:/\n0::/a\n")
    group("memory/job", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), "1000000", 400_000, 100_000)
    assert environment.free_memory_bytes(tmp_path) == 700_000


def test_a_limit_of_the_process_is_a_limit() -> None:
    script = (
        "import resource; from electra.environment import free_memory_bytes as free, _sizes; from pathlib import Path; "
        "used = _sizes(Path('/proc/self/status'))['VmData']; resource.setrlimit(resource.RLIMIT_DATA, (used + 5_000_000, -1)); print(free())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert 3_000_000 < int(done.stdout) <= 5_000_000

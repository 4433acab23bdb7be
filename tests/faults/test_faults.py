"""Faults of disks, memory and processes: each command ends in one line, and the same command goes on to the same end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from electra.errors import UserError, failure_line, place_of
from electra.storage import atomic

SWEEP = Path(__file__).with_name("sweep.py")


def test_some_operations_of_every_command_fail(tmp_path: Path) -> None:
    """A few of the whole sweep: `python tests/faults/sweep.py` tries every operation (docs/reliability.md has its figures)."""
    some = {"prepare": 4, "resume": 2, "finetune": 2}
    words = [
        sys.executable,
        str(SWEEP),
        "--commands",
        ",".join(f"{name}:{sites}" for name, sites in some.items()),
        "--output",
        str(tmp_path / "found"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SWEEP.parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, env=environment)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found").read_text())
    assert {name: entry["tried"] for name, entry in found.items()} == some


def failed_read(path: Path) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_failed_read_names_the_file_it_was_of(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        failed_read(tmp_path / "weights")
    assert place_of(caught.value) == str(tmp_path / "weights")
    assert (
        failure_line(caught.value)
        == f"{tmp_path / 'weights'}: Input/output error; check its disk, then run the command again (runs continue with --resume)"
    )
    assert failure_line(ValueError("ours")) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("writer", [atomic.atomic_file, atomic.atomic_folder])
def test_a_failed_write_is_one_line_that_names_the_target(number: int, writer: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^cannot write {tmp_path / 'target'}: {os.strerror(number)}; check"), writer(tmp_path / "target") as part:  # type: ignore[operator]
        raise OSError(number, os.strerror(number), str(part))
    with pytest.raises(OSError, match="elsewhere"), writer(tmp_path / "target"):  # type: ignore[operator]
        raise OSError(number, os.strerror(number), "elsewhere")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    real = os.replace

    def fails(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError(errno.EIO, "Input/output error", str(source))
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        atomic.replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == ["new", "old"]


def test_what_a_killed_process_left_does_not_block(tmp_path: Path) -> None:
    """Killed while it wrote the first file of a run, or a folder in the place of another."""
    (tmp_path / "run").mkdir()
    for name in (".config.toml.a1b2c3d4.part", ".plan.json.a1b2c3d4.part"):
        (tmp_path / "run" / name).write_text("half")
    (tmp_path / "run" / ".final.a1b2c3d4.old" / "final").mkdir(parents=True)
    assert atomic.fresh_output(tmp_path / "run", remedy="?") and not list((tmp_path / "run").iterdir())
    (tmp_path / "run" / ".hidden").write_text("a user's")
    with pytest.raises(UserError, match="already exists"):
        atomic.fresh_output(tmp_path / "run", remedy="?")
    assert (tmp_path / "run" / ".hidden").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 22986912 bytes. Error code 12"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_memory_that_is_used_up_is_one_line_with_the_remedy(error: Exception) -> None:
    line = failure_line(error)
    assert line is not None and line.startswith("out of memory") and "smaller --batch-size" in line and "--resume" in line
    assert failure_line(RuntimeError("shapes differ")) is None


def test_a_checkpoint_that_the_disk_keeps_from_us_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.train import loop

    def fails(self: Path, **options: str) -> str:
        raise OSError(errno.EIO, "Input/output error")

    assert loop.read_length(tmp_path, "budget", 1.0) is None
    monkeypatch.setattr(Path, "read_text", fails)
    with pytest.raises(OSError, match="Input/output"):
        loop.read_length(tmp_path, "budget", 1.0)  # else the length would be measured again, and the end another

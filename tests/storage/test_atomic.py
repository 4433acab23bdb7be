"""Folders that a failed command leaves free."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from electra.errors import UserError
from electra.storage import atomic


def fail(folder: Path, *, keep: bool) -> None:
    with pytest.raises(RuntimeError, match="failed"), atomic.new_folder(folder, keep=lambda: keep):
        (folder / "below").mkdir(parents=True, exist_ok=True)
        (folder / "below" / "file").write_text("half")
        (folder / "note").write_text("half")
        raise RuntimeError("failed")


def test_a_new_folder_is_removed_when_the_block_fails(tmp_path: Path) -> None:
    fail(tmp_path / "new", keep=False)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_left_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fail(tmp_path / "empty", keep=False)
    assert not list((tmp_path / "empty").iterdir())


def test_what_is_worth_keeping_stays(tmp_path: Path) -> None:
    fail(tmp_path / "kept", keep=True)
    assert (tmp_path / "kept" / "note").exists()


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine").write_text("mine")
    fail(tmp_path / "old", keep=False)
    assert (tmp_path / "old" / "mine").read_text() == "mine"


FULL_DISK = {
    "errno": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "safetensors": RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("name", FULL_DISK)
@pytest.mark.parametrize("writer", [atomic.atomic_file, atomic.atomic_folder])
def test_a_full_disk_is_one_line_and_leaves_nothing(name: str, writer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*target: no space left on its disk; free some"), writer(tmp_path / "target"):
        raise FULL_DISK[name]
    assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "target"):
        raise ZeroDivisionError


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    """A real write that the system refuses, in a process of its own."""
    code = (
        "import resource, sys; from electra.cli import main; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        f"sys.exit(main(['convert', 'shipped:mini', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "no space left" in done.stderr
    assert not list(tmp_path.iterdir())

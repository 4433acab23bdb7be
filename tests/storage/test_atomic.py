"""Folders that a failed command leaves free."""

from __future__ import annotations

from pathlib import Path

import pytest

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

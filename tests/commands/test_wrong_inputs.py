"""Every command x every argument x every kind of wrong value: one line that names it, exit code 2, no traceback, nothing left or lost.

The cases are made from the command table (tests/support/wrong_inputs.py); those of the routes are in tests/serve/test_wrong_requests.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from shop import fill, make_shop
from wrong_inputs import WORKING, Case, as_process, cases, spread

import electra.command_line
from electra.cli import COMMANDS, main

SECONDS = 30
"""A command that takes longer than this has accepted its value."""
BYTES = 8 << 30
LONGEST_MESSAGE = 1100


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path) -> Path:
    """A folder with a good and a bad one of everything."""
    return make_shop(tmp_path_factory.mktemp("shop"), tiny_corpus)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every parser is made once, the hub is not asked, and relative paths are below an empty folder."""
    monkeypatch.setattr(electra.command_line, "parser", functools.cache(electra.command_line.parser))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


class StillRunningError(BaseException):
    """Not an OSError, as TimeoutError is: what cannot be read is reported, and so would be the end of the time."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Of time, and of memory: a command may read an endless file."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StillRunningError(f"after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    memory = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, memory[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, memory)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def permissions_hold() -> Iterator[None]:
    """Root reads and writes whatever it likes; without two capabilities of this thread, permissions hold for it too."""
    libc, header, found = ctypes.CDLL(None), _Header(0x20080522, 0), (_Capabilities * 2)()
    assert libc.capget(ctypes.byref(header), found) == 0
    before = found[0].effective
    found[0].effective = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(ctypes.byref(header), found) == 0
    try:
        yield
    finally:
        found[0].effective = before
        assert libc.capset(ctypes.byref(header), found) == 0


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Every file, folder and link -> its size and time of change; of folders neither."""
    found = {}
    for folder, folders, names in os.walk(root):
        found |= {os.path.join(folder, name): (0, 0) for name in folders}
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (status.st_size, status.st_mtime_ns)
    return found


def remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else Path(path).unlink(missing_ok=True)


def fault(case: Case, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with a command's reaction; empty if nothing."""
    out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the chef cooked\n")))
    try:
        with limits(), permissions_hold(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([case.command, *case.words])
    except BaseException as error:  # SystemExit and the time limit included
        return f"raised {type(error).__name__}: {error}"
    lines = [line for line in err.getvalue().splitlines() if line.startswith("electra: ")]
    if code == 2:
        if len(lines) != 1 or not err.getvalue().endswith("\n" if lines[0] == err.getvalue().splitlines()[-1] else ""):
            return f"not one line: {err.getvalue()[-300:]!r}"
        if len(lines[0]) > LONGEST_MESSAGE:
            return f"a line of {len(lines[0])} characters"
        if case.must and not any(name in lines[0] for name in case.names):
            return f"names neither argument nor value: {lines[0]}"
        if case.says not in lines[0]:
            return f"does not say {case.says!r}: {lines[0]}"
    elif case.must or code not in (0, 1):
        return f"accepted, exit code {code}: {err.getvalue()[-200:]!r}"
    return ""


def test_the_table_covers_every_command() -> None:
    assert set(WORKING) == set(COMMANDS)


@pytest.mark.parametrize("part", ["sample", pytest.param("rest", marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_wrong_value_is_one_line(command: str, part: str, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, before = [], files(shop)
    for case in cases(command, shop, fill):
        if case.sampled != (part == "sample"):
            continue
        wrong = fault(case, monkeypatch)
        after = files(shop)
        if lost := [name for name in before if after.get(name) != before[name]]:
            wrong += f"; lost or changed: {lost[:3]}"
        made = [name for name in after if name not in before] + [str(path) for path in tmp_path.iterdir()]
        if made and case.must:
            wrong += f"; left: {made[:3]}"
        for name in made:
            remove(name)
        if wrong:
            found.append(f"{case}: {wrong}")
    assert not found, "\n".join([f"{len(found)} faults", *found[:20]])


@pytest.mark.parametrize("num", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_wrong_values_as_processes(num: int, shop: Path, tmp_path: Path) -> None:
    """The same as people see it: the program from its start to its exit code. `bench/wrong_inputs.py` records the times of a hundred."""
    before, found = files(shop), []
    (tmp_path / "empty").mkdir()
    for case in spread(shop, fill, 100)[:num]:
        if fault := as_process(case, tmp_path / "empty").fault:
            found.append(f"{case}: {fault}")
    assert files(shop) == before
    assert not found, "\n".join(found)

"""Folders that targets read: valid ones, in which an input replaces one file. They are in memory where the system has such a place."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuzz.limits import Wrong

FULL = bool(os.environ.get("ELECTRA_FUZZ_REFERENCES"))
"""Whether references that take seconds to import (pandas, transformers) are compared with, too: in `make fuzz`, not in `make test`."""


@functools.cache
def root() -> Path:
    """The folder of this process."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="electra-fuzz-", dir=shared if usable else None))
    os.environ["ELECTRA_CACHE"] = str(folder / "cache")
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def new_folder(name: str) -> Path:
    """An empty folder."""
    folder = root() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def require_equal(ours: Any, theirs: Any, what: str) -> None:
    """Compare a result with the reference's; NaN equals NaN.

    Raises:
        Wrong: they differ.
    """
    if ours != theirs and repr(ours) != repr(theirs):
        raise Wrong(f"{what} differs from the reference")


def as_json(value: Any) -> bytes:
    """A value as a line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


def numbered(contents: Sequence[bytes]) -> list[bytes]:
    """Contents -> inputs, whose first byte is the number of the kind."""
    return [bytes([number]) + content for number, content in enumerate(contents)]


def chosen(data: bytes, kinds: Sequence[str]) -> tuple[str, bytes]:
    """An input -> its kind, by the first byte, and the rest."""
    return kinds[(data[0] if data else 0) % len(kinds)], data[1:]


def put(path: Path, content: bytes) -> Path:
    """Write a file anew: what an earlier reader has mapped into memory stays as it was."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


class Folder:
    """A valid folder. An input replaces one of its files; afterwards it is as before."""

    def __init__(self, path: Path, names: Sequence[str] = (), *, also: Mapping[str, bytes] | None = None) -> None:
        self.path = path
        self.names = tuple(names) or tuple(sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()))
        self.known = self._listed()
        self.contents = {name: (path / name).read_bytes() if name in self.known else (also or {})[name] for name in self.names}

    def _listed(self) -> set[str]:
        return {str(file.relative_to(self.path)) for file in self.path.rglob("*") if not file.is_dir()}

    def seeds(self) -> list[bytes]:
        """Every file unchanged."""
        return numbered([self.contents[name] for name in self.names])

    @contextmanager
    def replaced(self, data: bytes) -> Iterator[str]:
        """The folder with the input in the place of one file -> its name.

        Raises:
            Wrong: the reader wrote into the folder.
        """
        name, content = chosen(data, self.names)
        put(self.path / name, content)
        try:
            yield name
            if self._listed() != self.known | {name}:
                raise Wrong("a file was written into a folder that is only read")
        finally:
            for extra in self._listed() - self.known:
                (self.path / extra).unlink()
            if name in self.known:
                put(self.path / name, self.contents[name])

"""Suites: names -> the tasks they stand for, and where each task's files lie under one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from electra import disk
from electra.tasks import TASKS

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
CLUE = ("afqmc", "tnews", "iflytek", "cmnli", "ocnli", "cluewsc", "csl", "bustm", "chnsenticorp", "cmrc2018")
ALIASES = {"imdb": ("aclimdb",), "cluewsc": ("cluewsc2020", "wsc"), "squad": ("squadv1", "squad1"), "chunk": ("conll2000", "chunking")}
"""Task -> further names of its folder."""
OWN = ("own", "tagging", "mrqa")
"""Tasks whose files have no name of their own."""
DEPTH = 2
"""Levels of folders looked through."""


def suites() -> dict[str, tuple[str, ...]]:
    """Suite -> the names of its tasks that there are."""
    named = {"glue": GLUE, "clue": CLUE}
    return {name: tuple(task for task in tasks if task in TASKS) for name, tasks in named.items()} | {"all": tuple(n for n in TASKS if n not in OWN)}


def find_files(task: str, data: Path) -> Path | None:
    """Where a task's files lie: `data` itself, or a folder or archive up to two levels below with the task's name; None: nowhere.

    Names are compared without case, '-', '_' and what distributors add ('SST-2', 'tnews_public', 'aclImdb_v1.tar.gz').

    Raises:
        UserError: `data` does not exist.
    """
    names = {_plain(task), *ALIASES.get(task, ())}
    for place in _places(disk.existing_path(data, "the folder of the tasks"), DEPTH):
        # An empty folder holds no task.
        if _plain(place.name) in names and (place.is_file() or any(file.is_file() for file in place.rglob("*"))):
            return place
    return None


def _plain(name: str) -> str:
    stem = re.sub(r"\.(zip|tar|tgz|tar\.(gz|xz|bz2|zst))$", "", name.lower())
    return re.sub(r"[-_ ]", "", re.sub(r"(_public|_v1)$", "", stem))


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """The folder, then what is in it, then what is in that."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [inner for outer in level if outer.is_dir() for inner in sorted(outer.iterdir()) if not inner.name.startswith(".")]

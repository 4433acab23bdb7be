"""EXAMPLES -> FEATURES -> SCORES: name -> Task, one explicit table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from electra.contracts import Example, Task
from electra.errors import UserError, did_you_mean
from electra.settings import FinetuneSettings
from electra.storage import atomic
from electra.tasks import hub_datasets, question_answering
from electra.tasks.clue import CLUE, choose_fold
from electra.tasks.conll_files import TagColumns
from electra.tasks.custom import OWN, Columns, own_task
from electra.tasks.glue import COLA, MNLI, MRPC, QNLI, QQP, RTE, SST2, STSB, WNLI
from electra.tasks.imdb import IMDB
from electra.tasks.question_answering import QUESTION_TASKS
from electra.tasks.tagging import CHUNK, TAGGING, tagging_task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (SST2, COLA, MRPC, STSB, QQP, MNLI, QNLI, RTE, WNLI, IMDB, *CLUE.values(), CHUNK, *QUESTION_TASKS.values(), OWN, TAGGING)
}
ALIASES = {"conll2000": "chunk"}


def find_task(name: str) -> Task:
    """The task of a name, as GLUE writes it ("SST-2") or as the table does ("sst2").

    Raises:
        UserError: unknown; the nearest name is given.
    """
    key = name.lower().replace("-", "").replace("_", "")
    key = ALIASES.get(key, key)
    if key not in TASKS:
        raise UserError(f"unknown task '{name}'; {did_you_mean(key, TASKS)}")
    return TASKS[key]


def choose_task(settings: FinetuneSettings) -> Task:
    """The named task; for one's own the one made of the given columns and files.

    Raises:
        UserError: unknown name, or the files it needs were not given.
    """
    task = find_task(settings.task)
    if task.name in question_answering.QUESTION_TASKS:
        return question_answering.with_files(task, settings.data, settings.train, settings.dev)
    if task.name not in ("own", "tagging"):
        if settings.train or settings.dev:
            raise UserError(f"--train and --dev are for the tasks 'own' and 'tagging' and for questions; {task.name} reads --data DIR")
        if settings.data is None:
            raise UserError(f"{task.name} needs --data DIR, the folder with its files, or --data hub")
        return choose_fold(task, settings.fold)
    if settings.data is None and (settings.train is None or settings.dev is None):
        raise UserError(
            "a task of your own needs --train FILE and --dev FILE (csv, tsv, jsonl, parquet; columns of tags), or --data DIR with train.* and dev.*"
        )
    if settings.data is not None and settings.data.is_file() and (settings.train is None or settings.dev is None):
        raise UserError(f"{settings.data} is one file; give two, --train FILE and --dev FILE, so that the score is of unseen examples")
    files = {name: file for name, file in (("train", settings.train), ("dev", settings.dev)) if file is not None}
    if task.name == "tagging":
        return tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column), files)
    names = ("text", "text_pair", "label", "kind", "label_separator")
    return own_task(Columns(**{name: getattr(settings, name) for name in names}), files)


def read_splits(task: Task, settings: FinetuneSettings) -> tuple[list[Example], list[Example]]:
    """All training and dev examples."""
    place = hub_datasets.local(task, settings.data) if settings.data is not None else Path(".")
    return task.read(place, "train"), task.read(place, "dev")


# ---- Suites: names -> the tasks they stand for, and where each task's files lie under one folder ----


GLUE_SUITE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
CLUE_SUITE = ("afqmc", "tnews", "iflytek", "cmnli", "ocnli", "cluewsc", "csl", "bustm", "chnsenticorp", "cmrc2018")
SUITE_ALIASES = {"imdb": ("aclimdb",), "cluewsc": ("cluewsc2020", "wsc"), "squad": ("squadv1", "squad1"), "chunk": ("conll2000", "chunking")}
"""Task -> further names of its folder."""
CUSTOM_TASKS = ("own", "tagging", "mrqa")
"""Tasks whose files have no name of their own."""
DEPTH = 2
"""Levels of folders looked through."""


def suites() -> dict[str, tuple[str, ...]]:
    """Suite -> the names of its tasks that there are."""
    named = {"glue": GLUE_SUITE, "clue": CLUE_SUITE}
    return {name: tuple(task for task in tasks if task in TASKS) for name, tasks in named.items()} | {
        "all": tuple(n for n in TASKS if n not in CUSTOM_TASKS)
    }


def find_files(task: str, data: Path) -> Path | None:
    """Where a task's files lie: `data` itself, or a folder or archive up to two levels below with the task's name; None: nowhere.

    Names are compared without case, '-', '_' and what distributors add ('SST-2', 'tnews_public', 'aclImdb_v1.tar.gz').

    Raises:
        UserError: `data` does not exist.
    """
    names = {_plain(task), *SUITE_ALIASES.get(task, ())}
    for place in _places(atomic.existing_path(data, "the folder of the tasks"), DEPTH):
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

"""Name of a task or a suite -> `Task`, its files and its examples: one explicit table of all tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from electra.config import flag_name, given
from electra.contracts import Example, Task
from electra.errors import UserError, did_you_mean
from electra.settings import EvaluateSettings, FinetuneSettings
from electra.storage import atomic
from electra.tasks import hub_datasets, question_answering
from electra.tasks.clue import CLUE, choose_fold
from electra.tasks.conll_files import TagColumns
from electra.tasks.custom import OWN, Columns, own_task
from electra.tasks.glue import COLA, MNLI, MRPC, QNLI, QQP, RTE, SST2, STSB, WNLI
from electra.tasks.imdb import IMDB
from electra.tasks.question_answering import QUESTION_TASKS
from electra.tasks.similarity import EMBED, RERANK, SimilarityColumns, embedding_task, reranking_task, with_metric
from electra.tasks.tagging import CHUNK, TAGGING, tagging_task

OF_FILES = (OWN, TAGGING, EMBED, RERANK)
"""Tasks of the user's own files."""
TASKS: dict[str, Task] = {
    task.name: hub_datasets.with_hub(task)
    for task in (SST2, COLA, MRPC, STSB, QQP, MNLI, QNLI, RTE, WNLI, IMDB, *CLUE.values(), CHUNK, *QUESTION_TASKS.values(), *OF_FILES)
}
ALIASES = {"conll2000": "chunk"}


def find_task(name: str) -> Task:
    """The task of a name, spelled as in GLUE ("SST-2") or as in the table ("sst2").

    Raises:
        UserError: an unknown name; the message has the nearest.
    """
    key = name.lower().replace("-", "").replace("_", "")
    key = ALIASES.get(key, key)
    if key not in TASKS:
        raise UserError(f"unknown task '{name}'; {did_you_mean(key, TASKS)}")
    return TASKS[key]


CUSTOM = tuple(task.name for task in OF_FILES)
COMPARED = (EMBED.name, RERANK.name)
"""Tasks that compare several texts of an example, which only fine-tuning does."""
COLUMNS_OF = {
    "own": ("text", "text_pair", "label", "kind", "label_separator", "label_columns"),
    "tagging": ("word_column", "tag_column", "tag_names"),
    "embed": ("label",),
    "rerank": ("label",),
}
"""Task -> the settings that only it reads."""


def check_columns(task: Task, settings: object) -> None:
    """Check that no column is named for a task that has its own.

    Raises:
        UserError: one is.
    """
    for name, columns in COLUMNS_OF.items():
        for field in fields(settings):  # type: ignore[arg-type]
            unused = name != task.name and field.name in columns and field.name not in COLUMNS_OF.get(task.name, ())
            if unused and getattr(settings, field.name) != field.default:
                raise UserError(f"{flag_name(field.name)} is for the task '{name}'; {task.name} has columns of its own, leave it out")


def choose_task(settings: FinetuneSettings) -> Task:
    """The named task; a custom one is made of the given columns and files.

    Raises:
        UserError: an unknown name, or the files it needs are not given.
    """
    task = find_task(settings.task)
    if task.name in question_answering.QUESTION_TASKS:
        check_columns(task, settings)
        return question_answering.with_files(task, settings.data, settings.train, settings.dev)
    if task.name not in CUSTOM:
        if settings.train or settings.dev:
            raise UserError(f"--train and --dev are for the tasks own, tagging, embed and rerank and for questions; {task.name} reads --data DIR")
        check_columns(task, settings)
        if settings.data is None:
            raise UserError(f"{task.name} needs --data DIR, the folder with its files, or --data hub")
        return choose_fold(task, settings.fold)
    if settings.data is None and (settings.train is None or settings.dev is None):
        raise UserError(
            "a custom task needs --train FILE and --dev FILE (csv, tsv, jsonl, parquet; columns of tags), or --data DIR with train.* and dev.*"
        )
    if settings.data is not None and settings.data.is_file() and (settings.train is None or settings.dev is None):
        raise UserError(f"{settings.data} is one file; give two, --train FILE and --dev FILE, so that the score is of unseen examples")
    check_columns(task, settings)
    files = {name: file for name, file in (("train", settings.train), ("dev", settings.dev)) if file is not None}
    if task.name == "tagging":
        return tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column, names=settings.tag_names), files)
    if task.name in COMPARED:
        make = embedding_task if task.name == "embed" else reranking_task
        return make(SimilarityColumns(texts=settings.embedding.text_columns, label=settings.label), files)
    names = ("text", "text_pair", "label", "kind", "label_separator", "label_columns")
    return own_task(Columns(**{name: getattr(settings, name) for name in names}), files)


def find_search_task(settings: EvaluateSettings) -> Task:
    """The task embed or rerank with the columns, and for a file in place of a folder the file, of the settings."""
    texts = (settings.text, settings.text_pair) if settings.text_pair else (settings.text,) if "text" in given(settings) else ()
    make = embedding_task if settings.task == EMBED.name else reranking_task
    place = Path(settings.data[0])
    return make(SimilarityColumns(texts=tuple(map(str, texts)), label=settings.label), {settings.split: place} if place.is_file() else None)


def read_splits(task: Task, settings: FinetuneSettings) -> tuple[list[Example], list[Example]]:
    """All training and dev examples of a task that `choose_task` returned."""
    place = hub_datasets.local(task, settings.data) if settings.data is not None else Path(".")
    return task.read(place, "train"), task.read(place, "dev")


def task_names(text: str) -> list[str]:
    """'sst2+RTE' -> ['sst2', 'rte'].

    Raises:
        UserError: an unknown name, one given twice, or a custom task among several.
    """
    names = [find_task(name).name for name in text.split("+")]
    if len(set(names)) < len(names):
        raise UserError(f"{text}: a task is given twice; name each once")
    if len(names) > 1 and (custom := {*CUSTOM} & set(names)):
        raise UserError(f"{text}: '{custom.pop()}' cannot be joined with other tasks; fine-tune it by itself")
    return names


def read_task(name: str, settings: FinetuneSettings) -> tuple[Task, list[Example], list[Example]]:
    """One task of `settings.task` -> the task with its training and dev examples.

    Raises:
        UserError: its files are not given, not found or damaged.
    """
    if "+" in settings.task and settings.data is not None:
        place = settings.data if hub_datasets.is_hub_name(name, settings.data) else find_files(name, settings.data) or settings.data
        settings = replace(settings, task=name, data=place)
    task = choose_task(settings)
    training, dev = read_splits(task, settings)
    return with_metric(task, dev), training, dev


# ---- suites ----

GLUE_SUITE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
CLUE_SUITE = ("afqmc", "tnews", "iflytek", "cmnli", "ocnli", "cluewsc", "csl", "bustm", "chnsenticorp", "cmrc2018")
SUITE_ALIASES = {"imdb": ("aclimdb",), "cluewsc": ("cluewsc2020", "wsc"), "squad": ("squadv1", "squad1"), "chunk": ("conll2000", "chunking")}
"""Task -> further names of its folder."""
CUSTOM_TASKS = (*CUSTOM, "mrqa")
"""Tasks whose files have no fixed folder name."""
DEPTH = 2
"""Levels of folders that are searched."""


def suites() -> dict[str, tuple[str, ...]]:
    """Suite -> the names of its tasks in the table."""
    named = {"glue": GLUE_SUITE, "clue": CLUE_SUITE}
    return {name: tuple(task for task in tasks if task in TASKS) for name, tasks in named.items()} | {
        "all": tuple(n for n in TASKS if n not in CUSTOM_TASKS)
    }


def find_files(task: str, data: Path) -> Path | None:
    """The folder or archive of a task: `data` itself, or one up to two levels below with the task's name; None: not found.

    Names are compared without case, '-', '_' and the additions of distributors ('SST-2', 'tnews_public', 'aclImdb_v1.tar.gz').

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

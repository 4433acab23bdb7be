"""A fine-tuned model and a labelled file -> its answers, side by side with what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.storage import atomic
from electra.tasks import data_warnings, hub_datasets
from electra.tasks.clue import choose_fold
from electra.tasks.conll_files import TagColumns
from electra.tasks.custom import SUFFIXES, Columns, own_task, settle
from electra.tasks.input_spec import as_trained
from electra.tasks.registry import find_task
from electra.tasks.tagging import tagging_task

# ---- A fine-tuned model, whatever runs it, and its task -> answers to examples, read as they were in training. Needs no torch ----


Compute: TypeAlias = Callable[[Sequence[Features], int], list[np.ndarray]]
"""(features, batch size) -> what `Task.decode` reads of each, float32, in their order."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that was fine-tuned, for whatever task."""

    name: str
    """What messages call it."""
    head: Head
    tokenizer: Tokenizer
    max_length: int
    """Longest input in tokens."""
    hf_config: Mapping[str, Any]
    """What config.json says."""
    compute: Compute


OpenModel: TypeAlias = Callable[[str], Opened]
"""A checkpoint's or an artefact's name -> the model.

Raises:
    UserError: no such model, or one that was not fine-tuned.
"""


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A model that answers a task."""

    task: Task
    head: Head
    tokenizer: Tokenizer
    max_length: int
    compute: Compute

    def featurize(self, examples: Sequence[Example]) -> list[Features]:
        """Examples -> what the network reads of them."""
        return self.task.featurize(examples, self.tokenizer, self.max_length, self.head)

    def answer(self, examples: Sequence[Example], features: Sequence[Features], batch_size: int = 32) -> list[Prediction]:
        """Examples and their features -> one prediction per example, in their order."""
        return self.task.decode(self.compute(features, batch_size), features, examples, self.head)


def for_task(opened: Opened, task: Task, wanted: Head, asked: EvaluateSettings | None = None) -> FineTuned:
    """A fine-tuned model as the one that answers a task, reading as it learned to, or as `asked` for by flags.

    Raises:
        UserError: it answers with something else than the task wants, or a flag that is not the task's.
    """
    head = opened.head
    if wanted.kind != head.kind:
        raise UserError(f"{opened.name} is made for {head.kind}, {task.name} asks for {wanted.kind}; fine-tune on it")
    if opened.hf_config.get("finetuning_task") == task.name and len(head.labels) == len(wanted.labels):
        # Its classes may have been given names to read; they still stand in the task's order.
        head = replace(head, labels=head.labels if set(head.labels) == set(wanted.labels) else wanted.labels)
    if set(head.labels) != set(wanted.labels):
        theirs, ours = ", ".join(head.labels[:10]), ", ".join(wanted.labels[:10])
        raise UserError(f"{opened.name} answers with {theirs}, {task.name} with {ours}; fine-tune on it")
    task, length = as_trained(task, opened.hf_config, asked)
    return FineTuned(task=task, head=head, tokenizer=opened.tokenizer, max_length=min(length, opened.max_length), compute=opened.compute)


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """N examples, and what a model said of them."""

    task: Task
    head: Head
    examples: Sequence[Example]
    features: Sequence[Features]
    """Windows of a long example stand one behind the other."""
    predictions: Sequence[Prediction]

    def scores(self) -> dict[str, float]:
        """Metric -> value over all examples."""
        return self.task.score(self.examples, self.predictions, self.head)

    def lengths(self) -> list[int]:
        """Tokens of each example, all its windows together."""
        out = [0] * len(self.examples)
        for feature in self.features:
            out[feature.example] += len(feature.ids)
        return out


def assess(settings: EvaluateSettings, open_model: OpenModel) -> Assessment:
    """Read the labelled file or folder, open the model and ask it.

    Raises:
        UserError: no such task, split, file or model; no labels; or a model of other labels.
    """
    task = named_task(settings)
    for place in (settings.report, settings.predictions):
        if place is not None:
            atomic.fresh_output(place, remedy="choose another place")
    place = data_place(task, settings.data[0])
    if task.name != "own":
        # Read before the model is opened: a wrong path is told at once.
        examples = read_labelled(task, place, settings.split)
    opened = open_model(settings.model)
    task, wanted = settled(task, settings, opened.head)
    if task.name == "own":
        examples = read_labelled(task, place, settings.split)
    model = for_task(opened, task, wanted, settings)
    features = model.featurize(examples)
    data_warnings.tell([data_warnings.head_line(opened.name, opened.hf_config, opened.head)])
    predictions = model.answer(examples, features, settings.batch_size)
    return Assessment(task=model.task, head=model.head, examples=examples, features=features, predictions=predictions)


def data_place(task: Task, given: str | Path) -> Path:
    """--data as given (a path, an archive, a data set of the hub) -> the file, folder or name that the task reads.

    Raises:
        UserError: nothing is there, or the archive is damaged.
    """
    place = Path(given)
    return place if hub_datasets.is_hub_name(task.name, place) else atomic.existing_path(hub_datasets.local(task, place), "data")


def named_task(settings: EvaluateSettings) -> Task:
    """The task asked for, with its draw or columns; one's own is not complete before the model's head is known (`settled`).

    Raises:
        UserError: no such task, split or draw, or not one place of data.
    """
    task = choose_fold(find_task(settings.task or ""), settings.fold)
    if task.name == "tagging":
        task = tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column))
    if len(settings.data) != 1:
        raise UserError(f"--task {task.name} needs --data DIR, the folder with its files, or one labelled file")
    if settings.split not in task.splits:
        raise UserError(f"{task.name} has no split '{settings.split}'; it has {', '.join(task.splits)}")
    return task


def settled(task: Task, settings: EvaluateSettings, head: Head) -> tuple[Task, Head]:
    """A task and the head of the model that answers it -> the task, complete, and the head it wants.

    One's own labels and tags are those the model has learned; a file need not hold all of them.
    """
    if task.name == "own":
        return own_with(settings, data_place(task, settings.data[0]), head), head
    if task.name == "tagging":
        return settle(task, head), head if head.kind == "tagging" else Head(kind="tagging")
    return task, task.head([])


def own_with(settings: EvaluateSettings, place: Path, head: Head) -> Task:
    """The task 'own' over one file (or a folder's), with the model's kind of label."""
    names = {name: getattr(settings, name) for name in ("text", "text_pair", "label", "label_separator")}
    columns = Columns(**names, kind=cast("Literal['classification', 'regression', 'multilabel']", head.kind))
    task = own_task(columns, {settings.split: place} if place.is_file() else None)
    return settle(task, head)


def read_labelled(task: Task, place: Path, split: str) -> list[Example]:
    """The split of a folder, or one file of the task's own layout; every example labelled.

    Raises:
        UserError: it cannot be read, or a label is missing.
    """
    if task.name != "own" and place.is_file() and place.suffix in SUFFIXES:
        if place.stem not in task.splits:
            raise UserError(
                f"{place} is no file of {task.name}'s own ({', '.join(task.splits)}); for another file use --task own --text COLUMN --label COLUMN"
            )
        place, split = place.parent, place.stem
    examples = task.read(place, split)
    if any(example.label is None and example.answers is None for example in examples):
        raise UserError(f"split '{split}' of {task.name} has no labels; use --split dev, or 'electra predict'")
    return examples


def answer_rows(found: Assessment) -> list[dict[str, Any]]:
    """One row per example: id, label, prediction, and how sure the model was."""
    rows = []
    for example, answer in zip(found.examples, found.predictions, strict=True):
        row: dict[str, Any] = {"id": example.id, "label": example.gold, "prediction": answer.label}
        if answer.probability is not None:
            row["probability"] = answer.probability
        if answer.probabilities:
            row["probabilities"] = dict(answer.probabilities)
        rows.append(row)
    return rows


def write_answers(found: Assessment, path: Path) -> None:
    """The rows as JSON lines."""
    atomic.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answer_rows(found)))

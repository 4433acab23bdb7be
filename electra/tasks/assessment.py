"""A fine-tuned model and a labelled file -> its answers, side by side with what it was asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from electra import disk
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks import find_task, hub_datasets, notices
from electra.tasks.clue import choose_fold
from electra.tasks.finetuned import OpenModel, for_task
from electra.tasks.own import SUFFIXES, Columns, own_task, settle
from electra.tasks.tag_files import TagColumns
from electra.tasks.tagging import tagging_task


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
            disk.fresh_output(place, remedy="choose another place")
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
    notices.tell([notices.head_line(opened.name, opened.hf_config, opened.head)])
    predictions = model.answer(examples, features, settings.batch_size)
    return Assessment(task=model.task, head=model.head, examples=examples, features=features, predictions=predictions)


def data_place(task: Task, given: str | Path) -> Path:
    """--data as given (a path, an archive, a data set of the hub) -> the file or folder to read.

    Raises:
        UserError: nothing is there, the archive is damaged, or the hub cannot be reached.
    """
    return disk.existing_path(hub_datasets.local(task, Path(given)), "data")


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
        label: Any = example.label if example.answers is None else [item.text for item in example.answers]
        row: dict[str, Any] = {"id": example.id, "label": label, "prediction": answer.label}
        if answer.probability is not None:
            row["probability"] = answer.probability
        if answer.probabilities:
            row["probabilities"] = dict(answer.probabilities)
        rows.append(row)
    return rows


def write_answers(found: Assessment, path: Path) -> None:
    """The rows as JSON lines."""
    disk.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answer_rows(found)))

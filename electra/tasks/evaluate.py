"""A fine-tuned model and a labelled file -> its predictions next to the labels. Needs no torch; the model is passed in by the caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

from electra import config
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.storage import atomic
from electra.tasks import data_warnings, hub_datasets
from electra.tasks.clue import choose_fold
from electra.tasks.conll_files import TagColumns
from electra.tasks.custom import SUFFIXES, Columns, own_task, resolve_metric
from electra.tasks.input_spec import OPTIONS, InputSpec, check_asked, input_spec
from electra.tasks.registry import find_task
from electra.tasks.tagging import tagging_task
from electra.terminal import say

# ---- models ----


class AnsweredExamples(Protocol):
    """Some of the examples (see `electra.inference.answerer.AnsweredChunk`)."""

    @property
    def predictions(self) -> Sequence[Prediction]: ...


class TaskAnswerer(Protocol):
    """A model that answers a task (see `electra.inference.answerer.Answerer`)."""

    @property
    def task(self) -> Task: ...
    @property
    def head(self) -> Head: ...
    @property
    def spec(self) -> InputSpec: ...
    def featurize(self, examples: Sequence[Example]) -> list[Features]: ...
    def run(self, examples: Sequence[Example], batch_size: int, features: Sequence[Features] | None = None) -> Iterable[AnsweredExamples]: ...


class TaskModel(Protocol):
    """A fine-tuned model, before it is known which task it is to answer (see `electra.inference.predictor.Predictor`)."""

    @property
    def name(self) -> str: ...
    @property
    def head(self) -> Head: ...
    @property
    def hf_config(self) -> Mapping[str, Any]: ...
    def for_task(self, task: Task, wanted: Head, settings: EvaluateSettings | None = None) -> TaskAnswerer: ...


OpenModel: TypeAlias = Callable[[str], TaskModel]
"""The name of a checkpoint or an artifact -> the model.

Raises:
    UserError: no such model, or one that was not fine-tuned.
"""


def matched_head(name: str, hf_config: Mapping[str, Any], head: Head, task: Task, wanted: Head) -> Head:
    """A model's head -> the same with the task's names of its labels.

    Raises:
        UserError: it answers with something else than the task wants.
    """
    if wanted.kind != head.kind:
        raise UserError(f"{name} is made for {head.kind}, {task.name} asks for {wanted.kind}; fine-tune on it")
    if hf_config.get("finetuning_task") == task.name and len(head.labels) == len(wanted.labels):
        # Its classes may have been renamed for readers; they are still in the task's order.
        head = replace(head, labels=head.labels if set(head.labels) == set(wanted.labels) else wanted.labels)
    if set(head.labels) != set(wanted.labels):
        theirs, ours = ", ".join(head.labels[:10]), ", ".join(wanted.labels[:10])
        raise UserError(f"{name} answers with {theirs}, {task.name} with {ours}; fine-tune on it")
    return head


def task_input_spec(hf_config: Mapping[str, Any], task: Task, limit: int, settings: EvaluateSettings | None) -> InputSpec:
    """The input spec of a model for a task: as trained, unless a flag of `settings` changes it.

    Raises:
        UserError: a flag that is not an option of the task.
    """
    if settings is None:
        return input_spec(hf_config, task, limit)
    check_asked(task, settings)
    given = config.given(settings)
    length = settings.sequence_length if "sequence_length" in given else settings.max_length
    return input_spec(hf_config, task, limit, max_length=length, **{name: getattr(settings, name) for name in OPTIONS if name in given})


# ---- evaluation ----


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """N examples, and a model's predictions of them."""

    task: Task
    head: Head
    examples: Sequence[Example]
    features: Sequence[Features]
    """Windows of a long example follow each other."""
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
    """Read the labelled file or folder, open the model, and predict.

    Raises:
        UserError: no such task, split, file or model; no labels; or a model of other labels.
    """
    task = named_task(settings)
    for place in (settings.report, settings.predictions):
        if place is not None:
            atomic.fresh_output(place, remedy="choose another place")
    place = data_place(task, settings.data[0])
    if task.name != "own":
        # Read before the model is opened: a wrong path is reported at once.
        examples = read_labelled(task, place, settings.split)
    opened = open_model(settings.model)
    task, wanted = resolved_task(task, settings, opened.head)
    if task.name == "own":
        examples = read_labelled(task, place, settings.split)
    model = opened.for_task(task, wanted, settings)
    features = model.featurize(examples)
    say(data_warnings.head_line(opened.name, opened.hf_config, opened.head))
    say(f"{opened.name}: {model.spec.describe()}")
    chunks = model.run(examples, settings.batch_size, features)
    predictions = [prediction for chunk in chunks for prediction in chunk.predictions]
    return Assessment(task=model.task, head=model.head, examples=examples, features=features, predictions=predictions)


def data_place(task: Task, given: str | Path) -> Path:
    """--data as given (a path, an archive, a data set of the hub) -> the file, folder or name that the task reads.

    Raises:
        UserError: nothing is there, or the archive is damaged.
    """
    place = Path(given)
    return place if hub_datasets.is_hub_name(task.name, place) else atomic.existing_path(hub_datasets.local(task, place), "data")


def named_task(settings: EvaluateSettings) -> Task:
    """The task of the settings, with its fold or columns; a custom one is complete once the model's head is known (`resolved_task`).

    Raises:
        UserError: no such task, split or fold, or not one place of data.
    """
    task = choose_fold(find_task(settings.task or ""), settings.fold)
    if task.name == "tagging":
        task = tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column, names=settings.tag_names))
    if len(settings.data) != 1:
        raise UserError(f"--task {task.name} needs --data DIR, the folder with its files, or one labelled file")
    if settings.split not in task.splits:
        raise UserError(f"{task.name} has no split '{settings.split}'; it has {', '.join(task.splits)}")
    return task


def resolved_task(task: Task, settings: EvaluateSettings, head: Head) -> tuple[Task, Head]:
    """A task and the head of the model that answers it -> the task, complete, and the head it wants.

    Custom labels and tags are those the model has learned; a file need not hold all of them.
    """
    if task.name == "own":
        return own_with(settings, data_place(task, settings.data[0]), head), head
    if task.name == "tagging":
        return resolve_metric(task, head), head if head.kind == "tagging" else Head(kind="tagging")
    return task, task.head([])


def own_with(settings: EvaluateSettings, place: Path, head: Head) -> Task:
    """The task 'own' over one file (or a folder's), with the model's kind of label."""
    names = {name: getattr(settings, name) for name in ("text", "text_pair", "label", "label_separator")}
    columns = Columns(**names, kind=cast("Literal['classification', 'regression', 'multilabel']", head.kind))
    task = own_task(columns, {settings.split: place} if place.is_file() else None)
    return resolve_metric(task, head)


def read_labelled(task: Task, place: Path, split: str) -> list[Example]:
    """The split of a folder, or one file of the task's own layout; every example labelled.

    Raises:
        UserError: it cannot be read, or a label is missing.
    """
    if task.name != "own" and place.is_file() and place.suffix in SUFFIXES:
        if place.stem not in task.splits:
            raise UserError(
                f"{place} is not one of {task.name}'s files ({', '.join(task.splits)}); for another file use --task own --text COLUMN --label COLUMN"
            )
        place, split = place.parent, place.stem
    examples = task.read(place, split)
    if any(example.label is None and example.answers is None for example in examples):
        raise UserError(f"split '{split}' of {task.name} has no labels; use --split dev, or 'electra predict'")
    return examples


def answer_rows(found: Assessment) -> list[dict[str, Any]]:
    """One row per example: id, label, prediction and its probability."""
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

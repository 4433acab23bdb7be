"""A fine-tuned model and a labelled file -> its predictions next to the labels. Needs no torch; the model is passed in by the caller."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

from electra import config
from electra.contracts import Example, Features, Head, Label, Prediction, Task
from electra.data.tables import read_rows
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.storage import atomic
from electra.tasks import data_warnings, hub_datasets
from electra.tasks.clue import choose_fold
from electra.tasks.conll_files import TagColumns, read_tagged
from electra.tasks.custom import Columns, items_of, label_name, own_task, resolve_metric
from electra.tasks.input_spec import OPTIONS, InputSpec, check_asked, input_spec, recorded, recorded_columns, with_trained_columns
from electra.tasks.question_answering import QUESTION_TASKS
from electra.tasks.question_metrics import score_file
from electra.tasks.registry import COMPARED, TASKS, check_columns, find_task
from electra.tasks.tagging import scores_by_type, tagging_task
from electra.tasks.text_tasks import number, read_text
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
    @property
    def tokenizer(self) -> Tokenizer: ...
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


SPLIT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings of a task's file of one split; .json is a whole benchmark's."""

OpenModel: TypeAlias = Callable[[str], TaskModel]
"""The name of a checkpoint or an artifact -> the model.

Raises:
    UserError: no such model, or one that was not fine-tuned.
"""


SENTIMENT = (("negative", "neg"), ("positive", "pos"))
CLASS_NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "sst2": SENTIMENT,
    "imdb": SENTIMENT,
    "chnsenticorp": SENTIMENT,
    "cola": (("unacceptable",), ("acceptable",)),
    "mrpc": (("not_equivalent",), ("equivalent",)),
    "qqp": (("not_duplicate",), ("duplicate",)),
    "wnli": (("not_entailment",), ("entailment",)),
}
"""Task -> other names of each of its labels, in their order: those of the data sets on the Hugging Face hub."""


def label_form(name: str) -> str:
    """A label without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def forms_of(task: str, wanted: Sequence[str]) -> dict[str, str]:
    """Form (see `label_form`) of a task's label, or of another name of it -> the label."""
    others = {label_form(other): label for label, names in zip(wanted, CLASS_NAMES.get(task, ()), strict=False) for other in names}
    return {label_form(label): label for label in wanted} | others


def matched_labels(
    name: str, theirs: Sequence[str], task: str, wanted: Sequence[str], given: Sequence[str] = (), flag: str = "--labels"
) -> tuple[str, ...]:
    """A classifier's labels -> the task's labels in the order of the classifier's outputs; how, where they differ, is printed.

    Names that differ only in form, or have the same meaning in the task's data set, are matched. LABEL_0, LABEL_1, ... say nothing: they are the
    task's labels 0, 1, ... where these are its labels, else `given` must say what they are.

    Args:
        name: the model, for messages.
        theirs: its labels in id order.
        task: name of the task.
        wanted: the task's labels in id order.
        given: the user's mapping: the task's label of each output; empty for none.
        flag: the flag that gives it.

    Raises:
        UserError: another number of labels, a mapping that names a label twice or one that the task does not have, or names that cannot be matched.
    """
    if given:
        known = ", ".join(wanted[:20])
        if len(given) != len(theirs):
            raise UserError(f"{flag} {' '.join(given)}: {len(given)} labels, {name} has {len(theirs)} outputs; give one for each (known: {known})")
        if unknown := [label for label in given if label not in wanted]:
            raise UserError(f"{flag} {' '.join(given)}: {task} has no label '{unknown[0]}'; known: {known}")
        if len(set(given)) < len(given):
            raise UserError(f"{flag} {' '.join(given)}: a label is given twice; give one for each output (known: {known})")
        return _mapped(name, theirs, task, wanted, given, f"by {flag}")
    if set(theirs) == set(wanted):
        return tuple(theirs)
    numbered = all(label_form(label) == f"label{i}" for i, label in enumerate(theirs))
    if len(theirs) == len(wanted):
        if numbered and all(label == str(i) for i, label in enumerate(wanted)):
            return _mapped(name, theirs, task, wanted, wanted, "by number")
        names = forms_of(task, wanted)
        if {names.get(label_form(label)) for label in theirs} == set(wanted):
            return _mapped(name, theirs, task, wanted, [names[label_form(label)] for label in theirs], "by name")
    message = f"{name} answers with {', '.join(theirs[:10])}, {task} with {', '.join(wanted[:10])}"
    if len(theirs) != len(wanted):
        raise UserError(f"{message}; fine-tune on it")
    example = " ".join(f"'{label}'" if " " in label else label for label in wanted[:10])
    raise UserError(f"{message}; give the task's labels in the order of the model's outputs, for example {flag} {example}, or fine-tune on it")


def _mapped(name: str, theirs: Sequence[str], task: str, wanted: Sequence[str], labels: Sequence[str], how: str) -> tuple[str, ...]:
    """Print and return a mapping."""
    meanings = {label: others[0] for label, others in zip(wanted, CLASS_NAMES.get(task, ()), strict=False)}
    shown = []
    for one, label in list(zip(theirs, labels, strict=True))[:20]:
        meaning = meanings.get(label, label)
        shown.append(f"{one} = {label}" + (f" ({meaning})" if label_form(meaning) not in (label_form(one), label_form(label)) else ""))
    say(f"{name}: labels of {task}, {how}: {', '.join(shown)}{', ...' if len(labels) > 20 else ''}")
    return tuple(labels)


def matched_head(name: str, hf_config: Mapping[str, Any], head: Head, task: Task, wanted: Head, given: Sequence[str] = ()) -> Head:
    """A model's head -> the same with the task's names of its labels (see `matched_labels`).

    Raises:
        UserError: it answers with something else than the task wants.
    """
    if wanted.kind != head.kind:
        raise UserError(f"{name} is made for {head.kind}, {task.name} asks for {wanted.kind}; fine-tune on it")
    if not head.labels:
        if given:
            raise UserError(f"--labels {' '.join(given)}: {name} answers with {data_warnings.describe(head)}, not with labels; leave it out")
        return head
    ours = hf_config.get("finetuning_task") == task.name and recorded(hf_config)[1] > 0
    if ours and not given and len(head.labels) == len(wanted.labels) and set(head.labels) != set(wanted.labels):
        # Its classes were renamed for readers; they are still in the task's order.
        return replace(head, labels=_mapped(name, head.labels, task.name, wanted.labels, wanted.labels, "in the order it was fine-tuned in"))
    return replace(head, labels=matched_labels(name, head.labels, task.name, wanted.labels, given))


def named_as_in_data(name: str, head: Head, examples: Sequence[Example]) -> Head:
    """A head for the task 'own' or 'tagging' -> the same with its labels named as in the examples, where the names differ in form alone.

    Raises:
        UserError: the model has labels, and none of the data's is among them.
    """
    if not head.labels:
        return head
    there = dict.fromkeys(label for example in examples for label in (example.label if isinstance(example.label, tuple) else (str(example.label),)))
    numbers = {f"label{i}": str(i) for i in range(len(head.labels))}
    forms = {label_form(label): label for label in there}
    if there.keys() <= set(numbers.values()):
        forms = numbers | forms
    labels = tuple(label if label in there else forms.get(label_form(label), label) for label in head.labels)
    if there and not there.keys() & set(labels):
        theirs, ours = ", ".join(head.labels[:10]), ", ".join(list(there)[:10])
        raise UserError(f"{name} answers with {theirs}, the data with {ours}; give the data's labels in the order of the model's outputs: --labels")
    return replace(head, labels=labels) if len(set(labels)) == len(labels) else head


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
    head = opened.head
    if task.name == "tagging" and head.kind == "tagging" and not settings.labels:
        head = named_as_in_data(opened.name, head, examples)
    settings = with_trained_columns(settings, recorded_columns(opened.hf_config))
    task, wanted = resolved_task(task, settings, head)
    if task.name == "own":
        examples = read_labelled(task, place, settings.split)
        wanted = wanted if settings.labels else named_as_in_data(opened.name, wanted, examples)
    model = opened.for_task(task, wanted, settings)
    features = model.featurize(examples)
    say(data_warnings.head_line(opened.name, opened.hf_config, opened.head))
    say(f"{opened.name}: {model.spec.describe()}")
    for line in data_warnings.unknown_lines({"": examples}, model.tokenizer):
        say(line)
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
    if task.name in COMPARED:
        raise UserError(
            f"--task {task.name}: not supported here; 'electra evaluate MODEL --task {task.name} --data FILE' scores a model on labelled texts"
        )
    check_columns(task, settings)
    if task.name == "tagging":
        task = tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column, names=settings.tag_names))
    if len(settings.data) != 1:
        raise UserError(f"--task {task.name} needs --data DIR, the folder with its files, or one labelled file")
    if settings.split not in task.splits:
        raise UserError(f"{task.name} has no split '{settings.split}'; it has {', '.join(task.splits)}")
    return task


def resolved_task(task: Task, settings: EvaluateSettings, head: Head) -> tuple[Task, Head]:
    """A task and the head of the model that answers it -> the task, complete, and the head it wants.

    Custom labels and tags are those the model has learned, or --labels in their place; a file need not hold all of them.
    """
    if task.name in ("own", "tagging") and settings.labels and head.labels:
        head = replace(head, labels=tuple(settings.labels))
    if task.name == "own":
        return own_with(settings, data_place(task, settings.data[0]), head), head
    if task.name == "tagging":
        return resolve_metric(task, head), head if head.kind == "tagging" else Head(kind="tagging")
    return task, task.head([])


def own_with(settings: EvaluateSettings, place: Path, head: Head) -> Task:
    """The task 'own' over one file (or a folder's), with the model's kind of label."""
    names = {name: getattr(settings, name) for name in ("text", "text_pair", "label", "label_separator", "label_columns")}
    columns = Columns(**names, kind=cast("Literal['classification', 'regression', 'multilabel']", head.kind))
    task = own_task(columns, {settings.split: place} if place.is_file() else None)
    return resolve_metric(task, head)


def read_labelled(task: Task, place: Path, split: str) -> list[Example]:
    """The split of a folder, or one file of the task's own layout; every example labelled.

    Raises:
        UserError: it cannot be read, or a label is missing.
    """
    if task.name not in ("own", "tagging", *QUESTION_TASKS) and place.is_file() and place.suffix in SPLIT_SUFFIXES:
        if place.stem not in task.splits:
            raise UserError(
                f"{place} is not one of {task.name}'s files ({', '.join(task.splits)}); for another file use --task own --text COLUMN --label COLUMN"
            )
        place, split = place.parent, place.stem
    examples = task.read(place, split)
    if any(example.label is None and example.answers is None for example in examples):
        raise UserError(f"split '{split}' of {task.name} has no labels; use --split dev, or 'electra predict'")
    return examples


# ---- predictions in a file ----

PREDICTION_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".conll", ".conllu", ".bio", ".iob", ".iob2")
PREDICTION_COLUMNS = ("prediction", "predicted_label", "predicted", "pred", "label")
ID_COLUMNS = ("id", "index", "idx")
MANY_NUMBERS = 10
"""Different whole numbers as labels; of more, with others predicted, each is no class of its own."""


def predictions_given(settings: EvaluateSettings) -> tuple[EvaluateSettings, Path] | None:
    """The settings, and the file of predictions that is to be scored in place of a model: `evaluate FILE --task TASK`, or
    `evaluate TASK --predictions FILE`; None: a model is given.

    Raises:
        UserError: such a file without --task, or no such file.
    """
    path = Path(settings.model)
    if path.is_file() and path.suffix.lower() in PREDICTION_SUFFIXES:
        if settings.task is None:
            raise UserError(f"{path} is a file of predictions; name what they answer: --task TASK --data PLACE")
        if settings.report or settings.predictions:
            raise UserError(f"--report and --predictions are of a model; {path} is a file of predictions")
        return settings, path
    if settings.task is not None or settings.predictions is None or path.exists() or label_form(settings.model) not in TASKS:
        return None
    return replace(settings, task=settings.model, predictions=None), atomic.existing_path(settings.predictions, "file of predictions")


def score_predictions(settings: EvaluateSettings, path: Path) -> dict[str, Any]:
    """A file of predictions -> `metrics`, by the rules of the task, and `num_examples`.

    Raises:
        UserError: data or predictions that cannot be read, or do not belong together.
    """
    task = named_task(settings)
    place = data_place(task, settings.data[0])
    values: list[tuple[Mapping[str, Any], Any]] = []
    if task.name not in ("tagging", "chunk") and "stride" not in task.options:
        values = _predicted_values(path)
    if task.name == "own":
        names = {name: getattr(settings, name) for name in ("text", "text_pair", "label", "label_separator", "label_columns")}
        several = settings.label_columns or "label_separator" in config.given(settings) or any(items_of(value) is not None for _, value in values)
        columns = Columns(**names, kind="multilabel" if several else "classification")
        task = own_task(columns, {settings.split: place} if place.is_file() else None)
    examples = read_labelled(task, place, settings.split)
    if task.main_metric == "f1" and "stride" in task.options:
        metrics, lines = score_file(task, examples, path, settings.na_probs, settings.na_threshold)
        for line in lines:
            say(line)
        return {"metrics": metrics, "num_examples": len(examples)}
    if settings.na_probs is not None:
        raise UserError(f"--na-probs: {task.name} asks no questions; leave it out")
    if task.name in ("tagging", "chunk"):
        predictions, labels = _tagged_predictions(settings, path, examples)
        head = Head(kind="tagging", labels=labels)
    else:
        rows = [row for row, _ in values if row]
        own_ids = _data_ids(place) if task.name == "own" and place.is_file() else {}
        found = _in_order(path, rows, [value for _, value in values], examples, own_ids)
        head = _head_of_both(found, examples, settings) if task.name == "own" else task.head(examples)
        if head.kind == "classification" and task.name != "own":  # `predict` writes the names of the model's classes
            forms = forms_of(task.name, head.labels)
            found = [value if str(value) in head.labels else forms.get(label_form(str(value)), value) for value in found]
        predictions = [_label_prediction(value, head, f"{path}: example {at}", settings.label_separator) for at, value in enumerate(found, 1)]
    metrics = task.score(examples, predictions, head)
    by_type = scores_by_type(examples, predictions, head) if settings.per_class else {}
    return {"metrics": metrics | by_type, "num_examples": len(examples)}


def _tagged_predictions(settings: EvaluateSettings, path: Path, examples: Sequence[Example]) -> tuple[list[Prediction], tuple[str, ...]]:
    """A file of words and predicted tags (the last column) -> predictions, and all tags of data and predictions."""
    rows = [row for _, row in read_rows(path, "the file of predictions")] if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else []
    if rows and "prediction" in rows[0]:
        found = _in_order(path, rows, [row.get("prediction") for row in rows], examples)
    elif (column := next((name for name in ("predicted_words", "words") if rows and _are_tagged(rows[0].get(name))), None)) is not None:
        # As `predict` writes them: {"word", "tag", ...} of each word.
        given = [row[column] if _are_tagged(row.get(column)) else [] for row in rows]
        found = _in_order(path, [], [[word["tag"] for word in words] for words in given], examples)
        for number, (example, words) in enumerate(zip(examples, given, strict=True), 1):
            if [word.get("word") for word in words] != [*(example.words or ())]:
                raise UserError(f"{path}: sentence {number} is not the data's '{example.text[:60]}'; give predictions of the same sentences")
    else:
        tagged = read_tagged(path, TagColumns(word=settings.word_column, names=settings.tag_names), "dev")
        for number, (example, other) in enumerate(zip(examples, tagged, strict=False), 1):
            if example.words != other.words:
                raise UserError(f"{path}: sentence {number} is '{other.text[:60]}', the data's '{example.text[:60]}'; give predictions of the same")
        found = _in_order(path, [], [example.label for example in tagged], examples)
    predictions = []
    for number, (example, tags) in enumerate(zip(examples, found, strict=True), 1):
        if not isinstance(tags, list | tuple) or len(tags) != len(example.words or ()):
            raise UserError(f"{path}: sentence {number} has {tags!r:.60}, expected {len(example.words or ())} tags, one a word")
        predictions.append(Prediction(label=tuple(map(str, tags))))
    every = [cast("tuple[str, ...]", label) for label in (*(example.label for example in examples), *(one.label for one in predictions))]
    return predictions, tuple(sorted({tag for tags in every for tag in tags}))


def _are_tagged(words: Any) -> bool:
    return isinstance(words, list) and bool(words) and all(isinstance(word, dict) and "tag" in word for word in words)


def _predicted_values(path: Path) -> list[tuple[Mapping[str, Any], Any]]:
    """A table with predictions, or a label a line -> each row (empty for a line) and its prediction as it is written."""
    if path.suffix.lower() == ".txt":
        return [({}, line) for line in read_text(path, "the file of predictions").removesuffix("\n").split("\n")]
    rows = [row for _, row in read_rows(path, "the file of predictions", ())]
    column = next((name for name in PREDICTION_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        known = ", ".join(map(str, rows[0]))[:200] if rows else "none"
        raise UserError(f"{path}: no column 'prediction' (columns: {known}); name the column of the predictions 'prediction'")
    return [(row, row.get(column)) for row in rows]


def _data_ids(place: Path) -> dict[str, list[str]]:
    """Column of ids -> the data file's own ids, in its order; a column in which one occurs twice is none."""
    data = [row for _, row in read_rows(place, "the data", ())]
    found = {name: [_id(row.get(name)) for row in data] for name in ID_COLUMNS if data and name in data[0]}
    return {name: ids for name, ids in found.items() if len(set(ids)) == len(ids)}


def _head_of_both(values: Sequence[Any], examples: Sequence[Example], settings: EvaluateSettings) -> Head:
    """Predictions and labels of a custom task -> its head: classes are those of either; numbers that are not all whole are a regression."""
    if any(isinstance(example.label, tuple) for example in examples):
        given = [name for value in values for name in _names(value, settings.label_separator)]
        known = [name for example in examples if isinstance(example.label, tuple) for name in example.label]
        if new := sorted({*given} - {*known, *settings.label_columns}):
            if known and len(new) == len({*given}):
                theirs = ", ".join(sorted({*known})[:10])
                raise UserError(f"the predicted labels are {', '.join(new[:10])}, those of the data {theirs}; give the right file")
            say(f"warning: no example of the data has the predicted label {', '.join(new[:10])}")
        return Head(kind="multilabel", labels=tuple(settings.label_columns or sorted({*known, *given})))
    labels = {str(example.label) for example in examples}
    predicted = {_name(value, labels) for value in values}
    every = labels | predicted
    if _are_numbers(every) and (any(float(label) % 1 for label in every) or (len(labels) > MANY_NUMBERS and predicted - labels)):
        say("labels and predictions are compared as numbers")
        return Head(kind="regression")
    # Other names for the same classes would all count as wrong: they are refused as unknown labels.
    if not predicted & labels or _are_numbers(labels) != _are_numbers(every):
        every = labels
    elif new := sorted(predicted - labels):
        say(f"warning: no example of the data has the predicted label {', '.join(new[:10])}")
    return Head(kind="classification", labels=tuple(sorted(every, key=float if _are_numbers(every) else str)))


def _are_numbers(labels: Collection[str]) -> bool:
    try:
        return all(math.isfinite(float(label)) for label in labels)
    except ValueError:
        return False


def _names(value: Any, separator: str) -> tuple[str, ...]:
    """Several predicted labels."""
    found = items_of(value)
    parts = str(value or "").split(separator) if found is None else found
    return tuple(dict.fromkeys(label_name(part) for part in parts if str(part).strip()))


def _name(value: Any, known: Collection[str]) -> str:
    """A predicted label."""
    text = "" if value is None else str(value).strip()
    return text if text in known else label_name(text)


def _label_prediction(value: Any, head: Head, place: str, separator: str) -> Prediction:
    """A predicted class, number or list of labels.

    Raises:
        UserError: nothing, or something that the task does not have.
    """
    if head.kind == "regression":
        return Prediction(label=number("" if value is None else str(value).strip(), place))
    names = _names(value, separator) if head.kind == "multilabel" else (_name(value, head.labels),)
    unknown = [name for name in names if name not in head.labels or not name]
    if unknown:
        raise UserError(f"{place} has the prediction '{unknown[0][:60]}'; known: {', '.join(head.labels[:20])}")
    return Prediction(label=names if head.kind == "multilabel" else names[0])


def _id(value: Any) -> str:
    """As it is compared: 7.0 is how pandas writes a whole number in a column with missing values."""
    return str(value).removesuffix(".0")


def _in_order(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[Any],
    examples: Sequence[Example],
    own_ids: Mapping[str, Sequence[str]] | None = None,
) -> list[Any]:
    """Predictions in the order of the examples: as they are where a column has the examples' texts in that order; else by id where the rows have
    the examples' ids, or the data's own in a column of `own_ids`; by number where they have numbers from 0.

    Raises:
        UserError: another number of predictions than examples, or an id twice or missing.
    """
    columns = [name for name in ID_COLUMNS if rows and name in rows[0]]
    if len(rows) == len(examples) and any(all(row.get(name) == e.text for row, e in zip(rows, examples, strict=True)) for name in rows[0]):
        columns = []  # the texts are next to the predictions
    numbers = [str(number) for number in range(len(examples))]
    column, ids, wanted = None, list[str](), [example.id for example in examples]
    for column in columns:
        ids = [_id(row.get(column)) for row in rows]
        known = [example.id for example in examples], (own_ids or {}).get(column, ())
        wanted = next((list(names) for names in known if set(ids) & set(names)), numbers)
        if wanted is not numbers:
            break
    if column is not None:
        by_id = dict(zip(ids, values, strict=True))
        if len(by_id) < len(ids):
            raise UserError(
                f"{path}: {column} {next(name for name in ids if ids.count(name) > 1)} occurs twice; give one prediction for each example"
            )
        if missing := [name for name in wanted if name not in by_id]:
            raise UserError(f"{path}: {len(missing):,} examples have no prediction (first: {column} {missing[0]}); give one for each")
        return [by_id[name] for name in wanted]
    if len(values) != len(examples):
        raise UserError(f"{path}: {len(values):,} predictions of {len(examples):,} examples; give one for each, in the data's order")
    return list(values)


# ---- predictions to a file ----


def reference(example: Example, head: Head) -> Label | list[str] | None:
    """What a prediction is compared with, as it is written to a file: numbers as numbers."""
    return float(str(example.label)) if head.kind == "regression" and example.label is not None else example.gold


def answer_rows(found: Assessment) -> list[dict[str, Any]]:
    """One row per example: id, label, prediction and its probability."""
    rows = []
    for example, answer in zip(found.examples, found.predictions, strict=True):
        row: dict[str, Any] = {"id": example.id, "label": reference(example, found.head), "prediction": answer.label}
        if answer.probability is not None:
            row["probability"] = answer.probability
        if answer.probabilities:
            row["probabilities"] = dict(answer.probabilities)
        rows.append(row)
    return rows


def write_answers(found: Assessment, path: Path) -> None:
    """The rows as JSON lines."""
    atomic.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answer_rows(found)))

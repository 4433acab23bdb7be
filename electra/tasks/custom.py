"""Custom tasks (`own`) from tables (`electra.data.tables`), by the names of their columns or of nested fields (review.text).

Integers of a `datasets.ClassLabel` become its names, and the classes keep its order. A row without a text or label (null, NaN, an empty label) is
refused; 1 and 1.0 are one label. Several labels are in one column, with separators or as a list, or in one column of 0 and 1 for each.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from electra.contracts import Example, Head, Label, Task
from electra.data.tables import (
    COMPRESSIONS,
    SUFFIXES,
    cell,
    class_names,
    column_in,
    csv_separator,
    is_missing,
    is_saved,
    read_rows,
    string_cell,
    table_format,
    text_cell,
)
from electra.errors import UserError, parse_json
from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.input_spec import COLUMNS
from electra.tasks.tag_schemes import marks_spans
from electra.tasks.text_tasks import TEXT_OPTIONS, decode_texts, featurize_texts, number

ZERO_ONE = frozenset(("0", "1", "True", "False"))
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    kind: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    label_separator: str = "|"
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1, one for each label, in place of `label`; with kind 'classification' exactly one of a row is 1."""

    def __post_init__(self) -> None:
        if self.label_columns and self.kind == "auto":
            object.__setattr__(self, "kind", "multilabel")

    def record(self) -> dict[str, Any]:
        """What a model's config.json keeps, as the default of later tables."""
        label = {"label_columns": list(self.label_columns)} if self.label_columns else {"label": self.label}
        return {"text": self.text, "text_pair": self.text_pair} | label | {"label_separator": self.label_separator}

    @property
    def wanted(self) -> tuple[str, ...]:
        """All columns that training reads."""
        texts = (self.text,) if self.text_pair is None else (self.text, self.text_pair)
        return (*texts, *(self.label_columns or (self.label,)))


def own_task(columns: Columns, files: Mapping[str, Path] | None = None) -> Task:
    """Columns, and the file of each split (default: train.csv, dev.csv, ... in the folder given to `read`) -> Task.

    The main metric is accuracy, Pearson's correlation where `columns.kind` is regression, or micro F1 of multiple labels; with
    'auto' it is known after `resolve_metric`, from the training examples.
    """

    declared: list[str] = []

    def read(data: Path, split: str) -> list[Example]:
        path = split_file(Path(data), split, files=files)
        examples = list(read_examples(path, columns, split))
        if split == "train":
            declared[:] = map(label_name, class_names(path, columns.label))
        return examples

    return Task(
        name="own",
        description="your own csv, tsv, jsonl, json, parquet or saved data set",
        read=read,
        featurize=featurize_texts,
        options=TEXT_OPTIONS | {COLUMNS: columns.record()},
        head=lambda examples: find_head(examples, columns, declared),
        decode=decode_texts,
        score=metrics.score_own,
        main_metric={"regression": "pearson", "multilabel": "micro_f1"}.get(columns.kind, "accuracy"),
    )


def resolve_metric(task: Task, head: Head) -> Task:
    """The task with the main metric of its head (open only for custom tasks: numbers, and tags that do not mark spans)."""
    if task.name == "own" and head.kind == "regression":
        return dataclasses.replace(task, main_metric="pearson")
    return dataclasses.replace(task, main_metric="accuracy") if task.name == "tagging" and not marks_spans(head.labels) else task


def split_file(data: Path, split: str, suffixes: Sequence[str] = SUFFIXES, files: Mapping[str, Path] | None = None) -> Path:
    """A file itself, or the one file SPLIT.csv (or with another of the suffixes) of a folder; dev may be named validation, valid or val.

    `files`: the file of a split, where it is named in place of the folder.

    Raises:
        UserError: none, or more than one.
    """
    if files and split in files:
        return files[split]
    atomic.existing_path(data, "data")
    if data.is_file() or is_saved(data):
        return data
    names = (split, "validation", "valid", "val") if split == "dev" else (split,)
    found = [path for name in names if is_saved(path := data / name)]
    packed = ("", *COMPRESSIONS) if suffixes is SUFFIXES else ("",)
    found += [path for name in names for suffix in suffixes for ending in packed if (path := data / f"{name}{suffix}{ending}").exists()]
    if not found:  # a data set of the hub, as it is downloaded
        parts = [path for name in names for folder in (data, data / "data") for path in sorted(folder.glob(f"{name}-*-of-*.parquet"))]
        if len(parts) > 1:
            raise UserError(f"{data} has the {split} split in {len(parts)} files ({parts[0].name}, ...); write one: load_dataset, then save_to_disk")
        found = parts
    if len(found) != 1:
        several = f"{len(found)} files {', '.join(path.name for path in found)}"
        none = f"no file {split}{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise UserError(f"{data} has {several if found else none}; give one by --train FILE --dev FILE")
    return found[0]


def read_examples(path: Path, columns: Columns, split: str) -> Iterator[Example]:
    """A csv, tsv, jsonl or parquet file -> examples; labels are required in train and dev, and optional elsewhere.

    Raises:
        UserError: unknown kind of file, missing column, a row that cannot be read, a missing label.
    """
    found = 0
    required = split in ("train", "dev")
    decimal_comma = columns.kind == "regression" and table_format(path) == "csv" and csv_separator(path, columns.wanted) == ";"
    zeros_and_ones = columns.kind == "multilabel" and not columns.label_columns
    forms: set[str] = set()
    for line, row in read_rows(path, f"the {split} file", columns.wanted if required else (columns.text,)):
        place = f"{path}, line {line}"
        texts = [string_cell(row, columns.text, place, "--text")]
        pair = columns.text_pair
        # The first row must have the column; what is missing or null is no second text.
        if pair is not None and (not found or column_in(row, pair)) and not is_missing(cell(row, pair, place, "--text-pair")):
            texts.append(string_cell(row, pair, place, "--text-pair"))
        labelled = required or all(column_in(row, name) for name in columns.label_columns or (columns.label,))
        label = _label(row, columns, place, decimal_comma) if labelled else None
        zeros_and_ones = zeros_and_ones and labelled and _is_multi_hot(items_of(cell(row, columns.label, place, "--label")))
        if decimal_comma and labelled:
            forms.update(mark for mark in ".," if mark in str(cell(row, columns.label, place, "--label")))
        second = texts[1] if len(texts) > 1 else None
        yield Example(id=f"{split}-{found}", text=texts[0], text_pair=second, label=label, place=place if labelled else "")
        found += 1
    if not found:
        raise UserError(f"{path} has no examples below its header; give a file with some")
    if len(forms) > 1:
        raise UserError(f"{path}: column '{columns.label}' has numbers with a point and with a comma; write all decimals with a point")
    if zeros_and_ones:
        raise _multi_hot(f"{path}: column '{columns.label}' holds lists")


def _is_multi_hot(value: Any) -> bool:
    """Whether a list has a 0 or 1 for each label, as `transformers` takes several labels."""
    return isinstance(value, list) and len(value) > 1 and {label_name(part) for part in value} <= ZERO_ONE


def _multi_hot(found: str) -> UserError:
    remedy = "write a list of the names that apply, or a column of 0 and 1 for each label (--label-columns)"
    return UserError(f"{found} with a 0 or 1 for each label, whose names are not there; {remedy}")


def _label(row: Mapping[str, Any], columns: Columns, place: str, decimal_comma: bool) -> Label:
    """The label of a row; `decimal_comma`: numbers may be written 2,5.

    Raises:
        UserError: it is missing, or not of the kind.
    """
    if columns.label_columns:
        names = tuple(name for name in columns.label_columns if _is_one(row, name, place))
        if columns.kind == "multilabel":
            return names
        if len(names) != 1:
            raise UserError(f"{place}: {len(names)} of the --label-columns are 1; expected exactly one with --kind classification")
        return names[0]
    if columns.kind == "multilabel":
        return _labels(row, columns, place)
    value = items_of(cell(row, columns.label, place, "--label"))
    if value is not None:
        if len(value) != 1:
            raise UserError(f"{place}: column '{columns.label}' holds {value!r:.60}, several labels; add --kind multilabel")
        row = {columns.label: value[0]}
    label = text_cell(row, columns.label, place, "--label").strip()
    if not label:
        raise UserError(f"{place}: the label column '{columns.label}' is empty; fill it in or remove the row")
    if columns.kind == "regression":
        comma = DECIMAL_COMMA.fullmatch(label) is not None
        remedy = "write a point before the decimals" if comma else "correct it, or use --kind classification"
        return number(label.replace(",", ".") if comma and decimal_comma else label, place, remedy)
    return label_name(label)


def label_name(value: Any) -> str:
    """A class as it is written -> its name: 1.0, as pandas writes a whole number in a column with missing values, is 1."""
    label = str(value).strip()
    whole, _, zeros = label.partition(".")
    return whole if zeros and not zeros.strip("0") and whole.lstrip("-").isdecimal() else label


def _is_one(row: Mapping[str, Any], name: str, place: str) -> bool:
    value = text_cell(row, name, place, "--label-columns").strip().lower()
    if value not in ("0", "1", "0.0", "1.0", "true", "false"):
        raise UserError(f"{place}: column '{name}' holds '{value[:40]}', expected 0 or 1 (--label-columns)")
    return value in ("1", "1.0", "true")


def _labels(row: Mapping[str, Any], columns: Columns, place: str) -> tuple[str, ...]:
    """Multiple labels: a list (of jsonl or parquet, or as JSON in a cell), or text with separators; an empty cell has none.

    Raises:
        UserError: no such column, a list of other values than labels, or an empty label.
    """
    if not columns.label_separator:
        raise UserError("--label-separator is empty; give the text between labels, such as '|'")
    value: Any = items_of(cell(row, columns.label, place, "--label")) if column_in(row, columns.label) else None
    if value is None:
        text = text_cell(row, columns.label, place, "--label").strip()
        if text.startswith("["):
            raise UserError(f"{place}: the label '{text[:60]}' is not a list; correct the row, or save the table as jsonl or parquet")
        value = [part.strip() for part in text.split(columns.label_separator)] if text else []
    elif _is_multi_hot(value) and len(set(map(label_name, value))) < len(value):
        raise _multi_hot(f"{place}: column '{columns.label}' holds {value!r:.60}")
    if any(isinstance(part, (dict, list)) or part is None or not str(part).strip() for part in value):
        raise UserError(f"{place}: column '{columns.label}' holds {value!r:.60}, expected labels; correct the row, or --label-separator")
    return tuple(dict.fromkeys(map(label_name, value)))


def items_of(value: Any) -> list[Any] | None:
    """A list, or one that is written in a cell, in JSON or, as pandas writes it, in Python -> its items; None: not a list."""
    if not isinstance(value, str):
        return value if isinstance(value, list) else None
    text = value.strip()
    if not text.startswith("[") or not text.endswith("]"):
        return None
    with contextlib.suppress(ValueError):
        found = parse_json(text)
        return found if isinstance(found, list) else None
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        found = ast.literal_eval(text)
        return found if isinstance(found, list) else None
    return None


def in_order(labels: Sequence[str], declared: Sequence[str]) -> tuple[str, ...]:
    """The sorted labels of the examples, or in the order of the declared classes where they are all among them."""
    return tuple(label for label in dict.fromkeys(declared) if label in labels) if set(labels) <= set(declared) else tuple(labels)


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Names in alphabetical order, numbers by value."""
    found = sorted(labels)
    values = _numbers(found)
    return found if values is None else [label for _, label in sorted(zip(values, found, strict=True))]


def find_head(examples: Sequence[Example], columns: Columns, declared: Sequence[str] = ()) -> Head:
    """Training labels -> head: classes in the `declared` order of a `datasets.ClassLabel`, else sorted (numbers by value), or a regression scaled
    to 0..1 in training.

    'auto': a regression if the labels are more than ten different numbers, not all integers.

    Raises:
        UserError: a single class, or so many that the column cannot be a label.
    """
    if columns.kind == "multilabel":
        return _several(examples, columns, declared)
    labels = sorted({str(example.label) for example in examples if example.label is not None})
    values = _numbers(labels)
    commas = [label for label in labels if DECIMAL_COMMA.fullmatch(label)]
    if columns.kind == "auto" and len(labels) > 10 and commas and _numbers([label.replace(",", ".") for label in labels]) is not None:
        remedy = "add --kind regression (a csv separated by ';'), or write points; classes: --kind classification"
        raise UserError(f"column '{columns.label}' has labels such as '{commas[0]}', numbers with a decimal comma; {remedy}")
    if columns.kind == "regression" or (columns.kind == "auto" and values and len(values) > 10 and any(v % 1 for v in values)):
        assert values is not None
        low, high = min(values), max(values)
        if low == high:
            raise UserError(f"every training label of column '{columns.label}' is {low:g}; there is nothing to learn")
        return Head(kind="regression", offset=low, scale=high - low)
    if columns.label_columns:
        return Head(kind="classification", labels=columns.label_columns)
    if len(labels) < 2:
        raise UserError(f"column '{columns.label}' has the single label '{labels[0]}'; a task needs at least two")
    if len(labels) > max(20, len(examples) / 2):
        raise UserError(
            f"column '{columns.label}' has {len(labels)} different labels in {len(examples)} rows; choose another --label, or --kind regression"
        )
    return Head(kind="classification", labels=in_order(sorted_labels(labels), declared))


def _several(examples: Sequence[Example], columns: Columns, declared: Sequence[str]) -> Head:
    if columns.label_columns:
        return Head(kind="multilabel", labels=columns.label_columns)
    names = sorted({name for example in examples if isinstance(example.label, tuple) for name in example.label})
    if len(names) < 2:
        what = f"the single label '{names[0]}'" if names else "no label in any row"
        raise UserError(f"column '{columns.label}' has {what}; multiple labels need at least two (--label-separator '{columns.label_separator}')")
    if len(names) > max(20, len(examples) / 2):
        raise UserError(f"column '{columns.label}' has {len(names)} different labels in {len(examples)} rows; choose another by --label")
    return Head(kind="multilabel", labels=in_order(names, declared))


def _numbers(labels: Sequence[str]) -> list[float] | None:
    try:
        return [number(label, "") for label in labels]
    except UserError:
        return None


OWN = own_task(Columns())

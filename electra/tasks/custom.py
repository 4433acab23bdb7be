"""Custom tasks (`own`) from csv, tsv, jsonl or parquet files, by the names of their columns.

csv has the usual quoting rules; in tsv quotes are ordinary characters; jsonl has one object a line. Multiple labels are in one column, with
separators or as a list.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from electra.contracts import Example, Head, Label, Task
from electra.errors import UserError, did_you_mean, require
from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.tag_schemes import marks_spans
from electra.tasks.text_tasks import TEXT_OPTIONS, decode_texts, featurize_texts, number, read_text, tab_separated

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    kind: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    label_separator: str = "|"


def own_task(columns: Columns, files: Mapping[str, Path] | None = None) -> Task:
    """Columns, and the file of each split (default: train.csv, dev.csv, ... in the folder given to `read`) -> Task.

    The main metric is accuracy, Pearson's correlation where `columns.kind` is regression, or micro F1 of multiple labels; with
    'auto' it is known after `resolve_metric`, from the training examples.
    """

    def read(data: Path, split: str) -> list[Example]:
        path = files[split] if files and split in files else split_file(Path(data), split)
        return list(read_examples(path, columns, split))

    return Task(
        name="own",
        description="your own csv, tsv, jsonl or parquet",
        read=read,
        featurize=featurize_texts,
        options=TEXT_OPTIONS,
        head=lambda examples: find_head(examples, columns),
        decode=decode_texts,
        score=metrics.score_own,
        main_metric={"regression": "pearson", "multilabel": "micro_f1"}.get(columns.kind, "accuracy"),
    )


def resolve_metric(task: Task, head: Head) -> Task:
    """The task with the main metric of its head (open only for custom tasks: numbers, and tags that do not mark spans)."""
    if task.name == "own" and head.kind == "regression":
        return dataclasses.replace(task, main_metric="pearson")
    return dataclasses.replace(task, main_metric="accuracy") if task.name == "tagging" and not marks_spans(head.labels) else task


def split_file(data: Path, split: str, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """A file itself, or the one file SPLIT.csv (or with another of the suffixes) of a folder.

    Raises:
        UserError: none, or more than one.
    """
    atomic.existing_path(data, "data")
    if data.is_file():
        return data
    found = [path for suffix in suffixes if (path := data / f"{split}{suffix}").exists()]
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
    for line, row in read_rows(path, split):
        place = f"{path}, line {line}"
        wanted = [columns.text] if columns.text_pair is None else [columns.text, columns.text_pair]
        texts = [_field(row, name, place, f"--{flag}") for name, flag in zip(wanted, ("text", "text-pair"), strict=False)]
        label: Label | None = None
        if columns.kind == "multilabel" and (split in ("train", "dev") or columns.label in row):
            label = _labels(row, columns, place)
        elif split in ("train", "dev") or columns.label in row:
            label = _field(row, columns.label, place, "--label").strip()
            if not label:
                raise UserError(f"{place}: the label column '{columns.label}' is empty; fill it in or remove the row")
            if columns.kind == "regression":
                label = number(label, place)
        yield Example(id=f"{split}-{found}", text=texts[0], text_pair=texts[1] if len(texts) > 1 else None, label=label)
        found += 1
    if not found:
        raise UserError(f"{path} has no examples below its header; give a file with some")


def _labels(row: Mapping[str, Any], columns: Columns, place: str) -> tuple[str, ...]:
    """Multiple labels: a list (of jsonl or parquet, or as JSON in a cell), or text with separators; an empty cell has none.

    Raises:
        UserError: no such column, a list of other values than labels, or an empty label.
    """
    if not columns.label_separator:
        raise UserError("--label-separator is empty; give the text between labels, such as '|'")
    value = row.get(columns.label)
    if not isinstance(value, list):
        text = _field(row, columns.label, place, "--label").strip()
        value = [part.strip() for part in text.split(columns.label_separator)] if text else []
        if text.startswith("["):
            try:
                value = json.loads(text)
            except ValueError as error:
                raise UserError(f"{place}: the label '{text[:60]}' is not a JSON list ({error}); correct the row") from None
    if not isinstance(value, list) or any(isinstance(part, (dict, list)) or part is None or not str(part).strip() for part in value):
        raise UserError(f"{place}: column '{columns.label}' holds {value!r:.60}, expected labels; correct the row, or --label-separator")
    return tuple(dict.fromkeys(str(part).strip() for part in value))


def _field(row: Mapping[str, Any], name: str, place: str, flag: str) -> str:
    if name not in row:
        known = [k for k in row if k]
        raise UserError(f"{place}: no column '{name}' ({did_you_mean(name, known)} columns: {', '.join(known)[:200]}); choose one by {flag}")
    value = row[name]
    if isinstance(value, (dict, list)) or value is None:
        raise UserError(f"{place}: column '{name}' holds {value!r:.60}, expected text; correct the row")
    return str(value)


def read_rows(path: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """A csv, tsv, jsonl or parquet file -> (line number, column name -> value) of each row.

    Raises:
        UserError: unknown kind of file, or a row that cannot be read.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or (suffix not in SUFFIXES and path.exists()):
        raise UserError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        yield from _parquet_rows(path, split)
        return
    text = read_text(path, f"the {split} file")
    if suffix == ".jsonl":
        yield from json_rows(path, text)
        return
    lines = tab_separated(text) if suffix == ".tsv" else _csv_lines(path, text)
    _, header = next(lines)
    if len(set(header)) < len(header):
        raise UserError(f"{path}: two columns have the same name (columns: {', '.join(header)[:200]}); rename one")
    for line, fields in lines:
        if len(fields) != len(header):
            raise UserError(f"{path}, line {line}: {len(fields)} columns, the header has {len(header)}; correct the row")
        yield line, dict(zip(header, fields, strict=True))


def _parquet_rows(path: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows are numbered from 1: parquet has no lines."""
    parquet, arrow = require("pyarrow.parquet", "data"), require("pyarrow", "data")
    atomic.existing_path(path, f"the {split} file")
    number_ = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number_ += 1
                    yield number_, row
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable parquet file ({str(error)[:100]}); write it again, or give csv or jsonl") from None


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(1 << 24)  # a whole document in one cell is usual; the default of 128 kB is not enough
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        start = 1
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num}: not valid csv ({error}); quote fields as "..." and double inner quotes') from None
    finally:
        csv.field_size_limit(limit)


def json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The text of a jsonl file -> (line number, object) of each line that is not empty.

    Raises:
        UserError: a line that is not a JSON object.
    """
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path}, line {line}: not valid JSON ({str(error)[:100]}); one object a line is expected") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: expected a JSON object with named fields, got {content.strip()[:40]}")
        yield line, row


def find_head(examples: Sequence[Example], columns: Columns) -> Head:
    """Training labels -> head: classes in sorted (or numeric) order, or a regression scaled to 0..1 in training.

    'auto': a regression if the labels are more than ten different numbers, not all integers.

    Raises:
        UserError: a single class, or so many that the column cannot be a label.
    """
    if columns.kind == "multilabel":
        return _several(examples, columns)
    labels = sorted({str(example.label) for example in examples if example.label is not None})
    values = _numbers(labels)
    if columns.kind == "regression" or (columns.kind == "auto" and values and len(values) > 10 and any(v % 1 for v in values)):
        assert values is not None
        low, high = min(values), max(values)
        if low == high:
            raise UserError(f"every training label of column '{columns.label}' is {low:g}; there is nothing to learn")
        return Head(kind="regression", offset=low, scale=high - low)
    if len(labels) < 2:
        raise UserError(f"column '{columns.label}' has the single label '{labels[0]}'; a task needs at least two")
    if len(labels) > max(20, len(examples) / 2):
        raise UserError(
            f"column '{columns.label}' has {len(labels)} different labels in {len(examples)} rows; choose another --label, or --kind regression"
        )
    if values is not None:
        labels = [label for _, label in sorted(zip(values, labels, strict=True))]
    return Head(kind="classification", labels=tuple(labels))


def _several(examples: Sequence[Example], columns: Columns) -> Head:
    names = sorted({name for example in examples if isinstance(example.label, tuple) for name in example.label})
    if len(names) < 2:
        what = f"the single label '{names[0]}'" if names else "no label in any row"
        raise UserError(f"column '{columns.label}' has {what}; multiple labels need at least two (--label-separator '{columns.label_separator}')")
    if len(names) > max(20, len(examples) / 2):
        raise UserError(f"column '{columns.label}' has {len(names)} different labels in {len(examples)} rows; choose another by --label")
    return Head(kind="multilabel", labels=tuple(names))


def _numbers(labels: Sequence[str]) -> list[float] | None:
    try:
        return [number(label, "") for label in labels]
    except UserError:
        return None


OWN = own_task(Columns())

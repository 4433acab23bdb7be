"""Custom tasks (`own`) from tables, by the names of their columns: csv, tsv, jsonl, json, parquet, and what `datasets` saves.

csv: the separator is that of , ; tab | which shows the wanted columns. tsv: quotes as in csv where the whole file follows these rules, else
ordinary characters. jsonl: one object a line, nested fields by dotted names (review.text). Integers of a `datasets.ClassLabel` (parquet, arrow)
become its names. A cell without a value (empty, null, NaN) is no text and no label; 1 and 1.0 are one label. Several labels are in one column,
with separators or as a list, or in one column of 0 and 1 for each.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
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

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
SEPARATORS = (",", ";", "\t", "|")
MISSING = ("nan", "NaN", "NAN", "<NA>")
"""Cells that stand for no value, besides empty ones; None and NA may be the names of classes."""


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

    def read(data: Path, split: str) -> list[Example]:
        path = files[split] if files and split in files else split_file(Path(data), split)
        return list(read_examples(path, columns, split))

    return Task(
        name="own",
        description="your own csv, tsv, jsonl, json, parquet or saved data set",
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
    if data.is_file() or is_saved(data):
        return data
    if is_saved(data / split):
        return data / split
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
    required = split in ("train", "dev")
    for line, row in read_rows(path, split, columns.wanted if required else (columns.text,)):
        place = f"{path}, line {line}"
        wanted = [columns.text] if columns.text_pair is None else [columns.text, columns.text_pair]
        texts = [text_cell(row, name, place, f"--{flag}") for name, flag in zip(wanted, ("text", "text-pair"), strict=False)]
        labelled = required or all(column_in(row, name) for name in columns.label_columns or (columns.label,))
        label = _label(row, columns, place) if labelled else None
        yield Example(id=f"{split}-{found}", text=texts[0], text_pair=texts[1] if len(texts) > 1 else None, label=label)
        found += 1
    if not found:
        raise UserError(f"{path} has no examples below its header; give a file with some")


def _label(row: Mapping[str, Any], columns: Columns, place: str) -> Label:
    """The label of a row.

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
    label = text_cell(row, columns.label, place, "--label").strip()
    if not label:
        raise UserError(f"{place}: the label column '{columns.label}' is empty; fill it in or remove the row")
    if columns.kind == "regression":
        return number(label, place)
    # 1.0 is how pandas writes a whole number in a column with missing values.
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
    value = cell(row, columns.label, place, "--label") if column_in(row, columns.label) else None
    if not isinstance(value, list):
        text = text_cell(row, columns.label, place, "--label").strip()
        value = [part.strip() for part in text.split(columns.label_separator)] if text else []
        if text.startswith("["):
            try:
                value = json.loads(text)
            except ValueError as error:
                raise UserError(f"{place}: the label '{text[:60]}' is not a JSON list ({error}); correct the row") from None
    if not isinstance(value, list) or any(isinstance(part, (dict, list)) or part is None or not str(part).strip() for part in value):
        raise UserError(f"{place}: column '{columns.label}' holds {value!r:.60}, expected labels; correct the row, or --label-separator")
    return tuple(dict.fromkeys(str(part).strip() for part in value))


def column_in(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a column, or a nested field by its dotted name."""
    if name in row:
        return True
    first, dot, rest = name.partition(".")
    return bool(dot) and isinstance(row.get(first), dict) and column_in(row[first], rest)


def cell(row: Mapping[str, Any], name: str, place: str, flag: str) -> Any:
    """The value of a column, or of a nested field by its dotted name.

    Raises:
        UserError: no such column; the message lists the columns there are.
    """
    if not column_in(row, name):
        known = [key for key in row if key]
        raise UserError(f"{place}: no column '{name}' ({did_you_mean(name, known)} columns: {', '.join(known)[:200]}); choose one by {flag}")
    if name in row:
        return row[name]
    first, _, rest = name.partition(".")
    return cell(row[first], rest, place, flag)


def text_cell(row: Mapping[str, Any], name: str, place: str, flag: str) -> str:
    """The value of a column as text; whole numbers without a fraction.

    Raises:
        UserError: no such column, a missing value, or a list or an object.
    """
    value = cell(row, name, place, flag)
    if value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and value in MISSING):
        raise UserError(f"{place}: column '{name}' has no value ({'null' if value is None else value}); fill it in, or remove the row")
    if isinstance(value, (dict, list)):
        raise UserError(f"{place}: column '{name}' holds {value!r:.60}, expected text; correct the row, or name a nested field: {name}.FIELD")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_saved(path: Path) -> bool:
    """Whether a folder is a data set that `datasets.Dataset.save_to_disk` wrote."""
    return path.is_dir() and (path / "state.json").is_file() and any(path.glob("*.arrow"))


def read_rows(path: Path, split: str, wanted: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """A table -> (line number, column name -> value) of each row; parquet's and arrow's rows are numbered from 1.

    `wanted`: columns that the header must have; of csv they show the separator.

    Raises:
        UserError: unknown kind of file, or a row that cannot be read.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if is_saved(path):
        suffix = ".arrow"
    elif path.is_dir() or (suffix not in SUFFIXES and path.exists()):
        raise UserError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    if suffix in (".parquet", ".arrow"):
        yield from _arrow_rows(path, split)
        return
    text = read_text(path, f"the {split} file")
    if suffix in (".jsonl", ".ndjson", ".json"):
        yield from json_rows(path, text)
        return
    yield from rows_below_header(path, _tsv_lines(path, text) if suffix == ".tsv" else _csv_lines(path, text, _separator(text, wanted)))


def rows_below_header(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, fields), the header first -> (line number, column name -> field) of each row.

    Raises:
        UserError: two columns of one name, or a row with another number of columns than the header.
    """
    _, header = next(lines)
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise UserError(f"{path}: two columns have the same name (columns: {', '.join(header)[:200]}); rename one")
    for line, fields in lines:
        if len(fields) != len(header):
            raise UserError(f"{path}, line {line}: {len(fields)} columns, the header has {len(header)}; correct the row")
        yield line, dict(zip(header, fields, strict=True))


def _separator(text: str, wanted: Sequence[str]) -> str:
    """The separator of a csv file: the first by which the header shows the wanted columns, else the one of most columns."""
    first = text.partition("\n")[0].removesuffix("\r")
    headers = {separator: next(csv.reader([first], delimiter=separator), []) for separator in SEPARATORS}
    shown = [separator for separator in SEPARATORS if wanted and set(wanted) <= set(headers[separator])]
    return shown[0] if shown else max(SEPARATORS, key=lambda separator: len(headers[separator]))


def _tsv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a tsv file. pandas quotes cells with quotes and line ends; GLUE's files hold stray quotes, which are text."""
    if '"' in text:
        try:
            quoted = list(_csv_lines(path, text, "\t"))
            if quoted and all(len(fields) == len(quoted[0][1]) for _, fields in quoted):
                yield from quoted
                return
        except UserError:
            pass  # not the rules of csv: quotes are text
    yield from tab_separated(text)


def _arrow_rows(path: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a parquet or arrow file, or of a saved data set's folder, numbered from 1; class labels as names."""
    parquet, arrow = require("pyarrow.parquet", "data"), require("pyarrow", "data")
    atomic.existing_path(path, f"the {split} file")
    files = sorted(path.glob("*.arrow")) if path.is_dir() else [path]
    number_ = 0
    try:
        for file in files:
            with parquet.ParquetFile(file) if file.suffix == ".parquet" else arrow.ipc.open_stream(str(file)) as reader:
                names = _class_names(reader.schema_arrow if file.suffix == ".parquet" else reader.schema)
                for batch in reader.iter_batches() if file.suffix == ".parquet" else reader:
                    for row in batch.to_pylist():
                        number_ += 1
                        yield number_, {key: _class_name(value, names.get(key)) for key, value in row.items()}
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable {path.suffix[1:] or 'arrow'} file ({str(error)[:100]}); write it again, or give csv or jsonl"
        ) from None


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The columns of a `datasets.ClassLabel`, also in lists -> their names, from the metadata that `datasets` adds to a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[column] = inner["names"]
    return found


def _class_name(value: Any, names: list[str] | None) -> Any:
    if names is None:
        return value
    if isinstance(value, list):
        return [_class_name(each, names) for each in value]
    # datasets writes -1 for a missing label, as in GLUE's test sets.
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _csv_lines(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(1 << 24)  # a whole document in one cell is usual; the default of 128 kB is not enough
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
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
    """The text of a jsonl file, or of a .json file with one list of objects -> (line number, object) of each; of a list, the number in it.

    Raises:
        UserError: a line that is not a JSON object.
    """
    if path.suffix.lower() == ".json" and text.lstrip()[:1] == "[":
        yield from _json_list(path, text)
        return
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


def _json_list(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({str(error)[:100]}); give one list of objects, or one object a line") from None
    for index, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, item {index}: expected a JSON object with named fields, got {str(row)[:40]}")
        yield index, row


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
    if columns.label_columns:
        return Head(kind="classification", labels=columns.label_columns)
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
    if columns.label_columns:
        return Head(kind="multilabel", labels=columns.label_columns)
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

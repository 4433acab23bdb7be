"""A file or standard input -> texts, one at a time, whatever its size; texts with answers -> tables; arguments -> a model and its texts."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from electra import bundled
from electra.contracts import Example
from electra.data import tables
from electra.errors import UserError, parse_json, require
from electra.inference.artifact import is_artifact
from electra.inference.backends import architecture_of
from electra.settings.sections import OutputSettings
from electra.storage import atomic, remote
from electra.terminal import say

WRITTEN_TOGETHER = 1024
"""Rows of parquet in a group."""
WRITTEN = ("csv", "tsv", "jsonl", "json", "parquet")
"""Formats of tables that are written."""


class TypedText(str):
    """A text that was typed in place of a file name."""


@dataclass(frozen=True)
class Text:
    """One input: a text, the two texts of a pair, or words, and the row of a table that it comes from."""

    text: str
    pair: str | None = None
    words: tuple[str, ...] | None = None
    """Where a table holds a list of words; `text` is them, joined by blanks."""
    places: tuple[tuple[int, int], ...] | None = None
    """Characters (first, end) of each word of `text`, where an annotation tool's export is read."""
    row: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """All columns; of a line its texts."""
    column: str = ""
    """The column of the text; empty where it is no table."""
    place: str = ""
    """For messages."""

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.text) + len(self.pair or "")


Input = str | tuple[str, str] | Text


class NoTexts(UserError):
    """A file that can be read has no text."""


def as_example(item: Input) -> Example:
    """A text or a (text, text) pair -> an unlabelled example; an empty second text is none, as in the original and in `transformers`.

    Raises:
        UserError: something else.
    """
    if isinstance(item, str):
        return Example(id="", text=item)
    if isinstance(item, Text):
        return Example(id="", text=item.text, text_pair=item.pair or None)
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Example(id="", text=item[0], text_pair=item[1] or None)
    shown = repr(item)
    raise UserError(f"expected a text or a (text, text) pair, got {type(item).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}")


def ranked_pair(query: str, passage: str) -> Example:
    """A query and a passage for a re-ranker. An empty passage stays a second text, [CLS] query [SEP] [SEP], as CrossEncoder reads it."""
    return Example(id="", text=query, text_pair=passage or " ")


# ---- files -> texts ----


@dataclass(frozen=True, kw_only=True)
class TextColumns:
    """Which columns of a table are read: those given, else those of the model's training, else the usual ones."""

    text: str | None = None
    pair: str | None = None
    trained: Mapping[str, Any] | None = None
    """Columns 'text' and 'text_pair' (None: single texts) of the model's training; None: not known."""
    usual: tuple[str, ...] = ("text",)
    usual_pair: tuple[str, ...] = ("text_pair",)

    def of_table(self, row: Mapping[str, Any], place: str) -> tuple[str, str | None]:
        """The first row -> the column of the text, and of the second text where there is one.

        Raises:
            UserError: no such column.
        """
        trained = self.trained or {}
        names = [self.text] if self.text else [name for name in (trained.get("text"), *self.usual) if name]
        text = next((name for name in names if tables.column_in(row, name)), names[0])
        try:
            tables.cell(row, text, place, "--text")
        except UserError as error:
            lines = "; a file with a text per line and no header ends in .txt" if "header line" in str(error) else ""
            raise UserError(f"{error}{lines}") from None
        if self.pair is None and self.trained is not None and trained.get("text_pair") is None:
            return text, None
        pairs = [self.pair] if self.pair else [name for name in (trained.get("text_pair"), *self.usual_pair) if name]
        pair = next((name for name in pairs if tables.column_in(row, name)), pairs[0])
        if self.pair or self.trained is not None:  # a model of pairs
            tables.cell(row, pair, place, "--text-pair")
        return text, pair


def check_readable(file: str, kind: str | None = None, *, many: bool = False) -> None:
    """Check, before a model is loaded, that `file` is '-', a typed text, a readable file or a saved data set.

    `many`: whether the command reads folders and URLs, too, with a folder as its output.

    Raises:
        UserError: missing, a folder, empty, not readable, or a table of an unknown kind.
    """
    if isinstance(file, TypedText) and not file.strip():
        raise UserError("the text is empty; give one with words")
    if file == "-" or isinstance(file, TypedText):
        return
    if remote.is_url(file):
        remedy = "give an --output FOLDER for its answers, or copy it first" if many else "texts are read from files of this machine, copy it first"
        raise UserError(f"{file} is a URL; {remedy}")
    try:
        path = atomic.existing_path(file, "text file")
    except UserError as error:
        if Path(file.strip()).suffix.lower() in ENDINGS:
            raise
        raise UserError(f"{error}; if it is a text: echo {shlex.quote(file)} | electra COMMAND MODEL -") from None
    kind = kind or tables.table_format(path)
    if path.is_dir() and (kind is None or not tables.is_saved(path)):
        inside = sorted(each.name for each in path.iterdir() if tables.is_saved(each))
        all_files = ", or an --output FOLDER for the answers of all" if many else ""
        raise UserError(f"{path} is a folder, not a text file; give one of its {'splits: ' + ', '.join(inside) if inside else 'files'}{all_files}")
    try:
        with tables.parts(path)[0].open("rb") as stream:
            start = stream.read(1 << 16)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if not start:
        raise NoTexts(f"{path} is empty; give a file with texts")
    packed = kind in ("parquet", "arrow") or path.suffix.lower() in tables.COMPRESSIONS
    if b"\0" in start and not packed and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is a binary file, not text; give plain text (UTF-8), csv, tsv, jsonl or parquet")


def read_texts(file: str, columns: TextColumns | None = None, *, pairs: bool = True, words: bool = False, kind: str | None = None) -> Iterator[Text]:
    """A file name or '-' -> its texts, in constant memory; of a typed text that one.

    A table (by its name's suffix, or `kind`) has one text a row; standard input that begins with a JSON object is JSON lines. Else a line is a
    text, and a tab separates the two texts of a pair. An empty line is an empty text: one answer per line.

    Args:
        file: a file, a folder that `datasets` saved, '-', or a typed text.
        columns: of a table.
        pairs: whether there may be second texts.
        words: whether a cell may be a list of words; the first row decides, and such a column comes before one of texts.
        kind: 'csv', 'tsv', 'jsonl', 'json', 'parquet', 'arrow' or 'lines'; None: as the name says.

    Raises:
        UserError: missing, empty, binary, not UTF-8, not a table of that kind, or a missing column; the message has the line's number.
    """
    columns = columns or TextColumns()
    check_readable(file, kind)
    if isinstance(file, TypedText):
        yield _from_line(str(file), "the text", columns, pairs)
        return
    kind = kind or (None if file == "-" else tables.table_format(file))
    rows: Iterator[tuple[int, tables.Row]] | None = None
    lines: Iterator[tuple[int, str]] = iter(())
    if kind in (None, "lines"):
        lines = tables.numbered_lines(file)
        first = list(itertools.islice(lines, 1))
        lines = itertools.chain(first, lines)
        if file == "-" and kind is None and first and _is_json_object(first[0][1]):
            rows = tables.json_line_rows(tables.named(file), lines)
        elif (
            kind is None and first and len(cells := re.split(r"[,;\t|]", first[0][1].strip())) > 1 and {"text", "label", *columns.usual} & set(cells)
        ):
            say(
                f"warning: {tables.named(file)} is read as a text per line, but its first looks like a table's header; give --input-format csv or tsv"
            )
    else:
        wanted = [name for name in (columns.text, columns.pair, *(columns.trained or {}).values(), *columns.usual) if isinstance(name, str)]
        rows = tables.read_rows(file, "text file", wanted, kind=kind, class_names=False)
    found = 0
    if rows is None and (columns.text or columns.pair):
        flag = f"--text {columns.text}" if columns.text else f"--text-pair {columns.pair}"
        remedy = "leave it out (a text is an argument), or give --input-format csv"
        raise UserError(f"{flag}: {tables.named(file)} is a text per line, without columns; {remedy}")
    if rows is None:
        for found, line in lines:
            yield _from_line(line.rstrip("\r\n"), f"{tables.named(file)}, line {found}", columns, pairs)
    else:
        for text in _from_rows(rows, tables.named(file), columns, pairs, words):
            found = 1
            yield text
    if not found:
        raise NoTexts(f"{tables.named(file)} {'is empty' if rows is None else 'has no rows'}; give a file with texts")


def _is_json_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _from_line(line: str, place: str, columns: TextColumns, pairs: bool) -> Text:
    parts = line.split("\t") if pairs else [line]
    if len(parts) > 2:
        raise UserError(f"{place}: {len(parts)} columns; a line is one text, or two with a tab between them")
    row = dict(zip((columns.usual[0], columns.usual_pair[0]), parts, strict=False))
    return Text(parts[0], parts[1] if len(parts) == 2 else None, row=row, place=place)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _from_rows(rows: Iterator[tuple[int, tables.Row]], name: str, columns: TextColumns, pairs: bool, words: bool) -> Iterator[Text]:
    text = pair = None
    for number, row in rows:
        place = f"{name}, line {number}"
        if text is None:
            text, pair = columns.of_table(row, place)
            lists = [name for name in columns.usual if words and not columns.text and _is_words(row.get(name))]
            text = lists[0] if lists else text
        value = tables.cell(row, text, place, "--text") if words else None
        if isinstance(value, list):
            if not all(isinstance(word, str) for word in value):
                raise UserError(f"{place}: column '{text}' holds {value!r:.60}, neither a text nor a list of words; correct the row")
            yield Text(" ".join(value), words=tuple(value), row=row, column=text, place=place)
            continue
        second = None
        if pairs and pair is not None and tables.column_in(row, pair) and not tables.is_missing(tables.cell(row, pair, place, "--text-pair")):
            second = tables.string_cell(row, pair, place, "--text-pair")
        yield Text(tables.string_cell(row, text, place, "--text"), second, row=row, column=text, place=place)


# ---- texts with answers -> tables ----


@dataclass(frozen=True, kw_only=True)
class AnsweredText:
    """A text and what a model says of it."""

    text: Text
    line: str
    """As it is printed."""
    record: Mapping[str, Any]
    """For JSON."""
    columns: Mapping[str, Any]
    """For tables without nested fields."""
    replaced: frozenset[str] = frozenset()
    """Columns of the text's row that are in the answer, and not written again."""


def output_format(settings: OutputSettings, file: str, kind: str | None = None, also: tuple[str, ...] = ()) -> str | None:
    """The format of the table to write: by --format, or the suffix of --output; None: lines, or JSON lines with --json. Checks the place, too.

    Args:
        settings: where to, and in what format.
        file: the input.
        kind: the input's format where it was given.
        also: other suffixes, for messages.

    Raises:
        UserError: no such format, the input's where that is no table, or something is there.
    """
    chosen = None if settings.format == "auto" else str(settings.format)
    if chosen == "input":
        chosen = format_of_input(file, kind)
    if settings.output is None:
        if chosen == "parquet":
            raise UserError("parquet is not printed; give --output FILE.parquet")
        return chosen
    if chosen is None:
        chosen = tables.FORMATS.get(Path(settings.output).suffix.lower())
    if chosen not in WRITTEN:
        known = ", ".join(f".{name}" for name in (*WRITTEN, *also))
        raise UserError(f"--output {settings.output}: expected a name ending in {known}, or a --format")
    if chosen == "parquet":
        require("pyarrow.parquet", "data")
    atomic.fresh_output(settings.output, remedy="give another name, or remove it first")
    return chosen


def format_of_input(file: str, kind: str | None = None) -> str:
    """The format that `--format input` means for a file; `kind`: the input's format where it was given.

    Raises:
        UserError: it is no table, or of a kind that is not written.
    """
    found = kind or (None if isinstance(file, TypedText) or file == "-" else tables.table_format(file))
    if found not in WRITTEN:
        raise UserError(f"--format input: {tables.named(file)} is {found or 'no table'}; choose one of {', '.join(WRITTEN)}")
    return found


def write_answers(answers: Iterator[AnsweredText], settings: OutputSettings, file: str, *, kind: str | None = None, as_json: bool = False) -> None:
    """Print lines or a table, or write the table to --output: the input's columns and the answers'. Memory is bounded; a file is there whole or not.

    Raises:
        UserError: as `output_format`, or a row that the format cannot hold.
    """
    chosen = output_format(settings, file, kind)
    if chosen is None and not as_json:
        for answer in answers:
            sys.stdout.write(answer.line)
        return
    # What reads the lines of --json finds the answers by their own names, whatever columns a file has.
    renamed: Renamed = "columns" if chosen is None else "answers"
    first = next(answers)
    table = table_of(chosen or "jsonl", file, first.text, like_input=settings.format == "input")
    answers = itertools.chain([first], answers)
    if settings.output is None:
        for line in table_lines(joined(answers, renamed, nested=table.nested), table):
            sys.stdout.write(line)
        return
    with atomic.atomic_file(settings.output) as temporary:
        total = write_table(temporary, answers, table)
    print(json.dumps({"output": str(settings.output), "rows": total})) if as_json else say(f"{settings.output}: {total:,} rows")


@dataclass(frozen=True, kw_only=True)
class Table:
    """How the answers to the texts of a file are written."""

    format: str
    """One of WRITTEN; of vectors also 'npy'."""
    separator: str = ","
    """Of csv and tsv."""
    mark: str = ""
    """Before the first line of csv and tsv: a byte order mark where the input has one."""
    schema: Any = None
    """The schema of a parquet or arrow file that was read, whose types and metadata are kept in parquet."""
    first: Text = Text("")
    """The first text of the file: its columns decide what the answers are named, also in a later part of the file."""

    @property
    def nested(self) -> bool:
        """Whether a cell may hold an object."""
        return self.format in ("json", "jsonl")


def table_of(kind: str, file: str, first: Text, *, like_input: bool) -> Table:
    """The format to write, the input file and its first text -> the table.

    `like_input`: csv has the separator of the input, csv and tsv its byte order mark.
    """
    typed = isinstance(file, TypedText) or file == "-"
    separator = "\t" if kind == "tsv" else ","
    if kind == "csv" and like_input and file != "-":
        separator = tables.csv_separator(file, [first.column])
    mark = tables.byte_order_mark(file) if kind in ("csv", "tsv") and like_input and file != "-" else ""
    schema = tables.arrow_schema(file) if kind == "parquet" and not typed else None
    return Table(format=kind, separator=separator, mark=mark, schema=schema, first=first)


def write_table(path: Path, answers: Iterable[AnsweredText], table: Table) -> int:
    """The input's columns and the answers -> a file -> its number of rows.

    Raises:
        UserError: a row that the format cannot hold.
    """
    number = itertools.count()
    rows = joined(answers, "answers", nested=table.nested, first=table.first)
    counted = (row for row, _ in zip(rows, number, strict=False))
    if table.format == "parquet":
        _write_parquet(path, counted, table.schema)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(table_lines(counted, table))
    return next(number)


Renamed: TypeAlias = Literal["answers", "columns"]
PREFIXES: dict[Renamed, str] = {"answers": "predicted_", "columns": "input_"}


def joined(answers: Iterable[AnsweredText], renamed: Renamed, *, nested: bool, first: Text | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the input with their answers; `first`: the first text of the file, where that is not the first of these.

    Where a column of the first row has the name of an answer, all names of answers begin with 'predicted_', or that of the column with 'input_'.

    Raises:
        UserError: such a name is taken, too.
    """
    prefix: str | None = None
    shown: list[str] = []
    for answer in answers:
        found = answer.record if nested else answer.columns
        row = {name: value for name, value in answer.text.row.items() if name not in answer.replaced}
        if prefix is None:
            named = row.keys() if first is None else first.row.keys() - answer.replaced
            prefix = PREFIXES[renamed] if any(name in named for name in found) else ""
            shown = [prefix + name for name in found if prefix and (renamed == "answers" or name in row)]
        if renamed == "columns":
            length, row = len(row), {prefix + name if name in found else name: value for name, value in row.items()}
            if len(row) < length:
                raise UserError(f"{answer.text.place}: a column has the name of an answer, and another one that name with '{prefix}'; rename one")
            yield row | dict(found)
            continue
        if taken := next((name for name in found if prefix + name in row), None):
            raise UserError(f"{answer.text.place}: the column '{prefix + taken}' has the name of an answer; rename it")
        yield row | {prefix + name: value for name, value in found.items()}
    if shown:
        say(f"the table has columns of the answers' names: the {renamed} are {', '.join(shown)}")


def table_lines(rows: Iterable[Mapping[str, Any]], table: Table) -> Iterator[str]:
    """Rows -> the lines of a csv, tsv, jsonl or json file (one list).

    Raises:
        UserError: of csv and tsv, a row with a column that the first one does not have.
    """
    if table.format in ("csv", "tsv"):
        yield from _separated(rows, table.separator, table.mark)
        return
    if table.format == "jsonl":
        yield from (_as_json(row) + "\n" for row in rows)
        return
    before = "["
    for row in rows:
        yield f"{before}\n{_as_json(row)}"
        before = ","
    yield "\n]\n" if before == "," else "[]\n"


def _as_json(row: Mapping[str, Any]) -> str:
    # NaN is not JSON; pandas writes null, too.
    plain = {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}
    return json.dumps(plain, ensure_ascii=False, default=str)


_QUOTED = {separator: re.compile(f'[{separator}"\r\n]|^\\s+$') for separator in tables.SEPARATORS}


def _separated(rows: Iterable[Mapping[str, Any]], separator: str, mark: str) -> Iterator[str]:
    header: list[str] = []
    for row in rows:
        if not header:
            header = list(row)
            yield mark + _csv_line(header, separator)
        if more := row.keys() - set(header):
            raise UserError(f"a row has the column '{min(more)}', which the first row does not have; write jsonl, whose rows may differ")
        yield _csv_line([_as_cell(row.get(name)) for name in header], separator)


def _as_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else str(value)


def _csv_line(cells: list[str], separator: str) -> str:
    quoted = ['"' + cell.replace('"', '""') + '"' if _QUOTED[separator].search(cell) else cell for cell in cells]
    return (separator.join(quoted) if quoted != [""] else '""') + "\n"


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], base: Any) -> None:
    """Rows -> a parquet file; `base`: the input's schema, whose types and metadata are kept."""
    arrow, parquet = require("pyarrow", "data"), require("pyarrow.parquet", "data")
    rows, writer = iter(rows), None
    try:
        while chunk := list(itertools.islice(rows, WRITTEN_TOGETHER)):
            if writer is None:
                schema = _schema_of(arrow, chunk, base)
                writer = parquet.ParquetWriter(path, schema)
            if more := {name for row in chunk for name in row} - set(schema.names):
                raise UserError(f"a row has the column '{min(more)}', which the first {WRITTEN_TOGETHER:,} do not have; write jsonl")
            writer.write_table(arrow.Table.from_pylist(chunk, schema=schema))
    except (arrow.ArrowException, TypeError) as error:
        raise UserError(f"the rows do not fit into one parquet table ({str(error)[:100]}); write jsonl, whose rows may differ") from None
    finally:
        if writer is not None:
            writer.close()


def _schema_of(arrow: Any, chunk: list[Mapping[str, Any]], base: Any) -> Any:
    known = {} if base is None else {each.name: each for each in base}
    names = dict.fromkeys(name for row in chunk for name in row)
    found = {name: arrow.array([row.get(name) for row in chunk]).type for name in names if name not in known}
    fields = [known.get(name) or arrow.field(name, arrow.string() if arrow.types.is_null(found[name]) else found[name]) for name in names]
    return arrow.schema(fields, metadata=None if base is None else base.metadata)


# ---- arguments of 'electra predict' and 'electra detect' -> a model and its texts ----


ENDINGS = frozenset(
    ".zip .txt .tsv .csv .json .jsonl .ndjson .parquet .arrow .feather .xlsx .gz .xz .zst .bz2 .toml .safetensors .bin .onnx .pt".split()
)
"""Suffixes of files; a text hardly ends so."""
NEAR = 0.8
"""Similarity, as difflib counts it, from which a file or folder here may have been meant."""


def model_and_texts(command: str, role: str, model: str, file: str, column: str | None) -> tuple[str, str]:
    """The arguments of a command, '' where there is none -> source of the model, and file name, '-' or `TypedText` text.

    Args:
        command: 'predict', 'detect' or 'embed', for messages.
        role: what the model must do; the bundled one for it is used where none is named.
        model: the first argument.
        file: the second argument.
        column: the value of --text.

    Raises:
        UserError: nothing to read, a column without a file, or a single argument that is neither a model nor surely a text.
    """
    if column is not None and not file and (not model or sys.stdin.isatty() or not re.fullmatch(r"[\w.-]+", column)):
        given = f"electra {command} {model or bundled.default(role)}"
        text = f"{given} {shlex.quote(column)}" if may_be_text(column) else f"echo {shlex.quote(column)} | {given} -"
        raise UserError(
            f"--text {shlex.quote(column)} names a column, and no file is given; give the file ('-': standard input); a text itself: {text}"
        )
    if file:
        _refuse_loose_words(command, model, file)
        return model, file_or_text(file)
    if not model:
        remedy = f'electra {command} "TEXT", electra {command} MODEL FILE, or electra {command} - for texts from standard input'
        raise UserError(f"electra {command}: nothing to read; give a text, or a model and a file: {remedy}")
    if model == "-":
        return bundled.default(role), "-"
    if may_be_text(model):
        return bundled.default(role), TypedText(model)
    _require_model(command, role, model)
    return model, "-"


def file_or_text(argument: str) -> str:
    """An argument that is a file's name, '-' or a text -> the same, a text as `TypedText`."""
    return TypedText(argument) if may_be_text(argument) else argument


def may_be_text(argument: str) -> bool:
    """Whether an argument can only be a text: white space in it, nothing that a path has, and no such file."""
    if os.path.lexists(argument) or len(argument.split()) < 2 or bundled.is_shipped(argument):
        return False
    if any(sign in argument for sign in "/\\") or argument.startswith("~") or Path(argument.strip()).suffix.lower() in ENDINGS:
        return False
    spaced = [name.casefold() for name in os.listdir() if " " in name]
    return not difflib.get_close_matches(argument.casefold(), spaced, n=1, cutoff=NEAR)


def _refuse_loose_words(command: str, model: str, file: str) -> None:
    """Check that two arguments are not a text without its quotes: plain words that name nothing here.

    Raises:
        UserError: they are such words.
    """
    if not any(os.path.lexists(word) or not word.isalpha() for word in (model, file)):
        raise UserError(
            f'neither a model {model} nor a file {file} is here; a text of several words needs quotes: electra {command} "{model} {file}"'
        )


def _require_model(command: str, role: str, argument: str) -> None:
    """Check that a single argument is a model.

    Raises:
        UserError: it is not; the message says what else it may be.
    """
    if os.path.isfile(argument) and not is_artifact(argument):
        raise UserError(f"{argument} is a file, not a model; for the texts in it: electra {command} {bundled.default(role)} {shlex.quote(argument)}")
    if os.path.exists(argument) or bundled.is_shipped(argument):
        return
    try:
        architecture_of(argument)
    except (UserError, OSError) as error:
        if remote.is_url(argument):
            raise
        raise UserError(f"{error}; if it is a text: echo {shlex.quote(argument)} | electra {command} -") from None

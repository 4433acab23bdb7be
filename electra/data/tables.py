"""Tables with named columns (csv, tsv, jsonl, json, parquet, arrow, folders that `datasets` saved) -> rows; rows -> tables; files of lines -> lines.

Whatever the size, memory is bounded: only a .json file with one list of objects is read as a whole. csv: the separator is that of , ; tab |
which shows the wanted columns. tsv: quotes as in csv where the whole file follows these rules, else ordinary characters (GLUE's files). jsonl: one
object a line. A column without a name is 'Unnamed: 0' (its index), as in pandas; empty lines are no rows; two columns of one name, a row with
another number of columns than the header, UTF-16 and archives are refused. Compressed files (.gz .bz2 .xz .zst) are read as they are.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from electra.data.sources import BLOCK_BYTES, BROKEN_STREAM, COMPRESSIONS, decompressed, reason
from electra.errors import UserError, did_you_mean, parse_json, raise_if_device, require
from electra.storage import atomic

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather")
FORMATS = {suffix: suffix[1:] for suffix in SUFFIXES} | {".ndjson": "jsonl", ".feather": "arrow"}
"""Suffix of a file -> its format."""
UNREADABLE = dict.fromkeys((".xlsx", ".xls", ".xlsb", ".ods", ".numbers"), "a spreadsheet; save it as csv")
UNREADABLE |= dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive; unpack it")
UNREADABLE |= dict.fromkeys(
    (".pkl", ".pickle", ".rds", ".dta", ".sav", ".orc", ".avro", ".h5"), "of a kind that is not read; save it as csv or parquet"
)
SEPARATORS = (",", ";", "\t", "|")
BYTE_ORDER_MARK = "\ufeff"
MISSING = ("nan", "NaN", "NAN", "<NA>")
"""Cells that stand for no value, besides empty ones; None and NA may be the names of classes."""
LONGEST_LINE = 64 << 20
"""Bytes; a longer line is no line of text, and a longer cell no cell."""
BATCH_ROWS = 256
"""Rows of parquet and arrow held at a time."""

_EXCEL_HINT = re.compile(r'"?sep=([,;\t|])"?\s*')
"""A first line that names the separator to Excel."""
_HEADED = re.compile(r"\.(csv|tsv)\b", re.IGNORECASE)
"""In the names of files whose first line names the columns."""

Row = dict[str, Any]

# ---- lines ----


def named(file: str | Path) -> str:
    """A file as messages name it; '-' is standard input."""
    return "standard input" if str(file) == "-" else str(file)


@contextmanager
def open_bytes(file: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed, or of standard input ('-').

    Raises:
        UserError: it cannot be read, or is damaged; also where that shows only while reading.
    """
    try:
        if str(file) == "-":
            yield sys.stdin.buffer
            return
        with open(file, "rb") as raw:
            yield decompressed(raw, PurePath(file).suffix.lower())
    except BROKEN_STREAM as error:
        damaged = PurePath(file).suffix.lower() in COMPRESSIONS and not getattr(error, "strerror", None)
        what = f"{file} is damaged ({reason(error)}); make it again" if damaged else f"cannot read {named(file)}: {reason(error)}"
        raise UserError(what) from None


def numbered_lines(file: str | Path, *, any_end: bool = False, longest: int = LONGEST_LINE) -> Iterator[tuple[int, str]]:
    """A file, or standard input ('-') -> (number from 1, line with its end), in constant memory.

    Lines end by "\\n"; in a file whose beginning has none, by "\\r" too, and with `any_end`, as csv has it, everywhere.

    Raises:
        UserError: it cannot be read, is binary or not UTF-8, or a line has more than `longest` bytes; the message has the line's number.
    """
    name = named(file)
    with open_bytes(file) as stream:
        for number, raw in enumerate(_raw_lines(stream, any_end, longest), 1):
            place = f"{name}, line {number}"
            if len(raw) > longest:
                raise UserError(f"{place} is longer than {longest >> 20} MB; break the text into lines")
            if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f"{name} is UTF-16 text, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
            if b"\0" in raw:
                raise UserError(f"{place}: a binary file, not text (or UTF-16: convert it to UTF-8); give plain text, csv, tsv, jsonl or parquet")
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{place}: byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8 text; convert the file first") from None
            if line:  # a file of a byte order mark alone has no line
                yield number, line


def _raw_lines(stream: BinaryIO, any_end: bool, longest: int) -> Iterator[bytes]:
    """Lines with their ends; one that grows beyond the longest is given as it is."""
    held: list[bytes] = []
    size, carriage = 0, None
    # read1: lines of a pipe are given when they come.
    while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
        if carriage is None:
            carriage = any_end or (b"\r" in block and b"\n" not in block)
        if held and held[-1].endswith(b"\r"):
            block = held.pop() + block  # "\r\n" may lie across two blocks
        parts = block.splitlines(keepends=True) if carriage else [part + b"\n" for part in block.split(b"\n")]
        last = parts.pop() if carriage else parts.pop()[:-1]  # without an end
        if carriage and last.endswith(b"\n"):
            parts.append(last)
            last = b""
        for part in parts:
            yield b"".join((*held, part))
            held, size = [], 0
        held += [last] if last else []
        size += len(last)
        if size > longest:
            yield b"".join(held)
            return
    if held:
        yield b"".join(held)


# ---- tables -> rows ----


def table_format(file: str | Path) -> str | None:
    """The format of a table by the suffix of its name ('csv', 'tsv', 'jsonl', 'json', 'parquet', 'arrow'); None: lines, or standard input.

    Raises:
        UserError: a table or an archive of a kind that is not read.
    """
    path = Path(file)
    suffix = _suffix(path)
    if path.is_dir():
        return "arrow" if (path / "state.json").exists() and is_saved(path) else "parquet" if is_saved(path) else None
    if suffix in UNREADABLE:
        raise UserError(f"{file}: expected a file ending in {', '.join(SUFFIXES)}; it is {UNREADABLE[suffix]}")
    return FORMATS.get(suffix)


def _suffix(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower()


def is_saved(path: Path) -> bool:
    """Whether a folder is one table: what `datasets.Dataset.save_to_disk` wrote, or NAME.parquet with parts, as Spark and pandas write it."""
    return ((path / "state.json").exists() and any(path.glob("*.arrow"))) or (path.suffix == ".parquet" and any(path.rglob("*.parquet")))


def parts(path: Path) -> list[Path]:
    """The files of a table: of a folder that `datasets` saved those that its state.json names, not those that it keeps for itself; of another
    those in it, by name, as Spark and pyarrow read it.

    Raises:
        UserError: parts in sub-folders, whose names hold values of columns, or a damaged state.json.
    """
    if not path.is_dir():
        return [path]
    if (state := path / "state.json").exists():
        try:
            names = [each["filename"] for each in atomic.read_json(state, dict)["_data_files"]]
        except (LookupError, TypeError):
            raise UserError(f"{state} names no files of the data set; save it again") from None
        if odd := next((name for name in names if not isinstance(name, str) or not (path / name).is_file() or PurePath(name).name != name), None):
            raise UserError(f"{state} names {odd!r:.60}, which is no file next to it; save the data set again")
        return [path / name for name in names]
    if inner := next((each.name for each in sorted(path.iterdir()) if each.is_dir() and "=" in each.name), None):
        raise UserError(f"{path} is partitioned by columns ({inner}); write one file")
    return sorted(each for each in path.iterdir() if each.suffix in (".arrow", ".parquet") and not each.name.startswith(("_", ".")))


def read_rows(
    file: str | Path, what: str = "table", wanted: Collection[str] = (), *, kind: str | None = None, class_names: bool = True
) -> Iterator[tuple[int, Row]]:
    """A table -> (line number, column name -> value) of each row; of parquet, arrow and a list in .json the row's number.

    Args:
        file: a file, a folder that `datasets` saved, or '-'.
        what: names the file in a message that it is missing, such as 'dev file'.
        wanted: columns that the header may have; of csv they show the separator.
        kind: its format; None: by the suffix of its name.
        class_names: integers of a `datasets.ClassLabel` become its names.

    Raises:
        UserError: missing, unknown kind of file, or a row that cannot be read.
    """
    piped = str(file) == "-"
    if not piped:
        atomic.existing_path(Path(file), what)
    kind = kind or table_format(file)
    if kind is None or (Path(file).is_dir() and not is_saved(Path(file))):
        raise UserError(f"{named(file)}: expected a file ending in {', '.join(SUFFIXES)}")
    if kind in ("jsonl", "json"):
        whole = kind == "json"  # a list in one line may be the whole file
        yield from json_line_rows(named(file), numbered_lines(file, longest=sys.maxsize if whole else LONGEST_LINE), whole=whole)
        return
    if kind == "csv":
        yield from _csv_rows(file, wanted)
        return
    # What is read twice, or from its end, cannot come through a pipe.
    with ExitStack() as stack:
        if piped:
            spool = stack.enter_context(tempfile.NamedTemporaryFile())
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
        place = Path(spool.name) if piped else Path(file)
        yield from _tsv_rows(place, named(file)) if kind == "tsv" else _arrow_rows(place, named(file), kind, class_names)


def rows_below_header(name: str | Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, Row]]:
    """(line number, fields), the header first -> (line number, column name -> field) of each row.

    Raises:
        UserError: nothing at all, two columns of one name, or a row with another number of columns than the header.
    """
    first = next(lines, None)
    if first is None:
        raise UserError(f"{name} is empty; give a file with a header and rows")
    header = [column or f"Unnamed: {index}" for index, column in enumerate(first[1])]
    if len(set(header)) < len(header):
        raise UserError(f"{name}: two columns have the same name (columns: {', '.join(header)[:200]}); rename one")
    for line, fields in lines:
        if len(fields) != len(header):
            remedy = "correct the row" if len(header) > 1 else "correct the row, or put cells with a separator in quotes"
            raise UserError(f"{name}, line {line}: {len(fields)} columns, the header has {len(header)}; {remedy}")
        yield line, dict(zip(header, fields, strict=True))


def _csv_rows(file: str | Path, wanted: Collection[str]) -> Iterator[tuple[int, Row]]:
    lines = numbered_lines(file, any_end=True)
    number, header, separator = _header(lines, wanted)
    yield from rows_below_header(named(file), _records(chain([(number, header)] if header else [], lines), named(file), separator, number))


def csv_separator(file: str | Path, wanted: Collection[str]) -> str:
    """The separator of a csv file, as `read_rows` finds it."""
    return _header(numbered_lines(file, any_end=True), wanted)[2]


def byte_order_mark(file: str | Path) -> str:
    """The byte order mark at the start of a file, by which Excel knows UTF-8; '' without one.

    Raises:
        UserError: it cannot be read.
    """
    with open_bytes(file) as stream:
        return BYTE_ORDER_MARK if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else ""


def _header(lines: Iterator[tuple[int, str]], wanted: Collection[str]) -> tuple[int, str, str]:
    """The lines of a csv file -> number and text of its header, and the separator; the iterator goes on after the header."""
    filled = ((number, line) for number, line in lines if line.strip(" \t\r\n"))
    number, header = next(filled, (1, ""))
    if hint := _EXCEL_HINT.fullmatch(header):
        return *next(filled, (number, "")), hint[1]
    return number, header, _separator(header, wanted)


def _separator(header: str, wanted: Collection[str]) -> str:
    """That by which the header shows most of the wanted columns, then the one of most columns."""
    found = {separator: next(csv.reader([header.strip("\r\n")], delimiter=separator), []) for separator in SEPARATORS}
    return max(SEPARATORS, key=lambda separator: (sum(name in found[separator] for name in wanted), len(found[separator])))


def _records(lines: Iterable[tuple[int, str]], name: str, separator: str, first: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Lines of csv, from number `first` on -> (number of its first line, fields) of each row; a line of white space is none, as in pandas."""
    # A whole document in one cell is usual; the default of 128 kB is not enough.
    csv.field_size_limit(max(LONGEST_LINE, csv.field_size_limit()))
    line = ""

    def remembered() -> Iterator[str]:
        nonlocal line
        for _, line in lines:
            yield line

    reader = csv.reader(remembered(), delimiter=separator, strict=True)
    start = first
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and line.strip(" \t\r\n")):
                yield start, fields
            start = first + reader.line_num
    except csv.Error as error:
        raise UserError(f'{name}, line {start}: not valid csv ({error}); quote fields as "..." and double inner quotes') from None


def _tsv_rows(path: Path, name: str) -> Iterator[tuple[int, Row]]:
    """Rows of a tsv file. pandas quotes cells with quotes and line ends; GLUE's files hold stray quotes, which are text."""
    if _is_quoted(path):
        yield from rows_below_header(name, _records(numbered_lines(path, any_end=True), name, "\t"))
    else:
        yield from rows_below_header(name, tab_separated(numbered_lines(path)))


def _is_quoted(path: Path) -> bool:
    """Whether a whole tsv file follows the rules of csv."""
    width = 0
    try:
        for _, fields in _records(numbered_lines(path, any_end=True), str(path), "\t"):
            width = width or len(fields)
            if len(fields) != width:
                return False
    except UserError:
        return False
    return True


def tab_separated(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """(number, line) -> (number, fields) of every line that is not empty. Quotes are ordinary characters, as in GLUE's files."""
    for number, line in lines:
        if content := line.rstrip("\r\n"):
            yield number, content.split("\t")


def split_lines(text: str) -> Iterator[tuple[int, str]]:
    """A text -> (number from 1, line). Only "\\n" ends one: str.splitlines would also cut at U+2028 and others, which occur inside sentences."""
    return enumerate(text.split("\n"), start=1)


def json_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    """The text of a jsonl file, or of a .json file with one list of objects -> (line number, object) of each; of a list, the number in it.

    Raises:
        UserError: a line that is not a JSON object.
    """
    return json_line_rows(str(path), split_lines(text), whole=path.suffix.lower() == ".json")


def json_line_rows(name: str, lines: Iterable[tuple[int, str]], *, whole: bool = False) -> Iterator[tuple[int, Row]]:
    """Numbered lines with a JSON object each -> (number, object); `whole`: they may be one list of objects.

    Raises:
        UserError: a line that is not a JSON object.
    """
    lines = iter(lines)
    for number, line in lines:
        if not line.strip():
            continue
        if whole and line.lstrip().startswith("["):
            yield from _json_list(name, line + "".join(f"{rest}\n" for _, rest in lines))
            return
        whole = False
        place = f"{name}, line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{place}: not valid JSON ({str(error)[:100]}); one object a line is expected") from None
        if not isinstance(row, dict):
            raise UserError(f"{place}: expected a JSON object with named fields, got {line.strip()[:40]}; give one object a line")
        if "\\ud" in line or "\\uD" in line:
            _refuse_halves(row, place)
        yield number, row


def _refuse_halves(row: Any, place: str) -> None:
    """Check that the escapes of a JSON line are whole characters."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: \\u{ord(error.object[error.start]):x} is half of a character, which no text holds; correct the row") from None


def _json_list(name: str, text: str) -> Iterator[tuple[int, Row]]:
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({str(error)[:100]}); give one list of objects, or one object a line") from None
    for index, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{name}, item {index}: expected a JSON object with named fields, got {str(row)[:40]}")
        _refuse_halves(row, f"{name}, item {index}")
        yield index, row


def _open_arrow(file: Path, kind: str) -> Any:
    """A parquet or arrow file, opened: a context with `schema`, or of parquet `schema_arrow`."""
    if kind == "parquet":
        return require("pyarrow.parquet", "data").ParquetFile(file)
    ipc = require("pyarrow", "data").ipc
    with file.open("rb") as stream:
        is_file = stream.read(6) == b"ARROW1"  # Feather; `datasets` writes streams
    return ipc.open_file(str(file)) if is_file else ipc.open_stream(str(file))


def _arrow_rows(path: Path, name: str, kind: str, class_names: bool) -> Iterator[tuple[int, Row]]:
    """Rows of a parquet or arrow file, or of a saved data set's folder, numbered from 1."""
    arrow = require("pyarrow", "data")
    files, number = parts(path), 0
    try:
        for file in files:
            with _open_arrow(file, kind) as reader:
                schema = reader.schema_arrow if kind == "parquet" else reader.schema
                # A name that is not UTF-8 raises, also where there are no rows.
                if twice := next((column for column, count in Counter(schema.names).items() if count > 1), None):
                    raise UserError(f"{name}: two columns have the name '{twice}'; rename one")
                if kind == "parquet":
                    _check_counts(reader)
                names, before = _class_names(schema) if class_names else {}, number
                for batch in _batches(reader):
                    batch.validate(full=True)  # damaged offsets would end the process
                    for row in batch.to_pylist():
                        number += 1
                        yield number, {key: _class_name(value, names.get(key)) for key, value in row.items()} if names else row
                if kind == "parquet" and number - before != reader.metadata.num_rows:
                    raise ValueError(f"{number - before} rows, its footer says {reader.metadata.num_rows}")  # a column that is cut ends them all
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:  # the last: a duration that Python's type does not hold
        raise_if_device(error)
        raise UserError(f"{name} is not a readable {kind} file ({str(error)[:100]}); write it again, or give csv or jsonl") from None


def _check_counts(reader: Any) -> None:
    """Check that the row groups of an opened parquet file have the rows that its footer says, and no column more values: they would be left out.

    Raises:
        ValueError: they differ.
    """
    groups = [reader.metadata.row_group(index) for index in range(reader.metadata.num_row_groups)]
    if (rows := sum(group.num_rows for group in groups)) != reader.metadata.num_rows:
        raise ValueError(f"its row groups have {rows} rows, its footer says {reader.metadata.num_rows}")
    for group in groups:
        for index in range(group.num_columns):
            column, flat = group.column(index), reader.schema.column(index).max_repetition_level == 0
            if flat and not 0 <= column.num_values <= group.num_rows:
                raise ValueError(f"column {column.path_in_schema} has {column.num_values} values, its row group {group.num_rows} rows")


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "iter_batches"):
        yield from reader.iter_batches(batch_size=BATCH_ROWS)
        return
    whole = reader if not hasattr(reader, "get_batch") else (reader.get_batch(i) for i in range(reader.num_record_batches))
    for batch in whole:
        yield from (batch.slice(first, BATCH_ROWS) for first in range(0, batch.num_rows, BATCH_ROWS))


def arrow_schema(file: str | Path) -> Any:
    """The schema of a parquet or arrow file or a saved folder; None of other tables."""
    path, kind = Path(file), table_format(file)
    if kind not in ("parquet", "arrow"):
        return None
    with _open_arrow(parts(path)[0], kind) as reader:
        return reader.schema_arrow if kind == "parquet" else reader.schema


def class_names(path: Path, column: str) -> list[str]:
    """The names of a column of a `datasets.ClassLabel`, in their order; none of another column or table."""
    schema = arrow_schema(path)
    return [] if schema is None else [*map(str, _class_names(schema).get(column, ()))]


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The columns of a `datasets.ClassLabel`, also in lists -> their names, from the metadata that `datasets` adds to a schema."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
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


# ---- cells ----


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
        remedy = ", or add a header line if the file has none" if _HEADED.search(place) else ""
        listed = f"({did_you_mean(name, known)} columns: {', '.join(known)[:200]})"
        raise UserError(f"{place}: no column '{name}' {listed}; choose one by {flag}{remedy}")
    if name in row:
        return row[name]
    first, _, rest = name.partition(".")
    return cell(row[first], rest, place, flag)


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: null, NaN, <NA>; an empty text is a text."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and value in MISSING)


def text_cell(row: Mapping[str, Any], name: str, place: str, flag: str) -> str:
    """The value of a column as text; whole numbers without a fraction.

    Raises:
        UserError: no such column, a missing value, or a list or an object.
    """
    value = cell(row, name, place, flag)
    if is_missing(value):
        raise UserError(f"{place}: column '{name}' has no value ({'null' if value is None else value}); fill it in, or remove the row")
    if isinstance(value, dict | list | bytes):
        columns = isinstance(value, dict) and bool(value) and all(key.isdecimal() for key in value)
        remedy = "write one object a row (pandas: orient='records')" if columns else f"correct the row, or name a nested field: {name}.FIELD"
        raise UserError(f"{place}: column '{name}' holds {value!r:.60}, expected text; {remedy}")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def string_cell(row: Mapping[str, Any], name: str, place: str, flag: str) -> str:
    """The value of a column of texts, as it is.

    Raises:
        UserError: no such column, a missing value, or something else than a text.
    """
    value = cell(row, name, place, flag)
    if isinstance(value, str | dict | list) or is_missing(value):
        return text_cell(row, name, place, flag)
    kind = type(value).__name__
    raise UserError(f"{place}: column '{name}' holds {value!r:.60} ({kind}), not text; write it as a string, or choose another column by {flag}")

"""A file or standard input -> texts, one at a time, whatever its size; the arguments of a command -> a model and its texts."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from electra import bundled
from electra.contracts import Example
from electra.errors import UserError, did_you_mean
from electra.inference.artifact import is_artifact
from electra.inference.backends import architecture_of
from electra.storage import atomic, remote
from electra.terminal import say

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

T = TypeVar("T")

LONGEST_LINE = 64 << 20
"""Bytes; a longer line is not a line of text."""
REPORTED_TOGETHER = 64
"""Texts whose unknown tokens are counted at once."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


class TypedText(str):
    """A text that was typed in place of a file name."""


@dataclass(frozen=True)
class Text:
    """One input: a text, or the two texts of a pair."""

    text: str
    pair: str | None = None

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.text) + len(self.pair or "")


Input = str | tuple[str, str] | Text


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


def check_readable(file: str) -> None:
    """Check, before a model is loaded, that `file` is '-', a typed text or a readable file.

    Raises:
        UserError: missing, a folder, empty or not readable.
    """
    if isinstance(file, TypedText) and not file.strip():
        raise UserError("the text is empty; give one with words")
    if file == "-" or isinstance(file, TypedText):
        return
    if " " in file.strip() and not Path(file).exists():
        raise UserError(f"text file not found: {file}; a text itself is given by standard input: echo {shlex.quote(file)} | electra COMMAND MODEL -")
    path = atomic.existing_path(file, "text file")
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a text file; give one of its files")
    try:
        with path.open("rb") as stream:
            start = stream.read(1 << 16)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if not start:
        raise UserError(f"{path} is empty; give a file with texts")
    if b"\0" in start:
        raise UserError(f"{path} is a binary file, not text; give plain text (UTF-8) or jsonl")


def read_texts(file: str, *, text_field: str = "text", pair_field: str | None = "text_pair", pairs: bool = True) -> Iterator[Text]:
    """A file name or '-' -> its texts, in constant memory; of a typed text that one.

    A line is a text; a tab separates the two texts of a pair (where `pairs`). Files named .jsonl, and standard input that
    begins with a JSON object, are JSON lines with the named fields. An empty line is an empty text: one answer per line.

    Raises:
        UserError: missing, empty, binary, not UTF-8, not JSON, or a missing field; the message has the line's number.
    """
    check_readable(file)
    if isinstance(file, TypedText):
        yield _from_line(str(file), "the text") if pairs else Text(str(file))
        return
    name = "standard input" if file == "-" else file
    lines = _numbered_lines(file, name)
    is_json = Path(file).suffix.lower() in JSON_SUFFIXES
    number = 0
    for number, line in lines:
        if number == 1 and file == "-":
            is_json = _is_json_object(line)
        place = f"{name}, line {number}"
        if is_json:
            if line.strip():
                yield _from_json(line, place, text_field, pair_field)
        else:
            yield _from_line(line, place) if pairs else Text(line)
    if not number:
        raise UserError(f"{name} is empty; give a file with texts")


def reporting(items: Iterable[T], tokenizer: Tokenizer) -> Iterator[T]:
    """The same texts, pairs or lists of words; after the last the share of their tokens that are unknown, and which words, on standard error."""
    from electra.data.vocabulary import UnknownWords

    unknown, waiting = UnknownWords(tokenizer), list[str]()
    for item in items:
        waiting += [item] if isinstance(item, str) else [item.text, item.pair or ""] if isinstance(item, Text) else list(item)  # type: ignore[call-overload]
        if len(waiting) >= REPORTED_TOGETHER:
            unknown.add(waiting)
            waiting = []
        yield item
    unknown.add(waiting)
    for line in unknown.lines():
        say(line)


def read_records(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A file of JSON lines or '-' -> (place for messages, object) of each line that is not empty.

    Raises:
        UserError: missing, empty, binary, not UTF-8 or not JSON; the message has the line's number.
    """
    check_readable(file)
    name, number = "standard input" if file == "-" else file, 0
    for number, line in _numbered_lines(file, name):
        if line.strip():
            yield f"{name}, line {number}", _record(line, f"{name}, line {number}")
    if not number:
        raise UserError(f"{name} is empty; give a file with texts")


def _numbered_lines(file: str, name: str) -> Iterator[tuple[int, str]]:
    stream: IO[bytes] = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115  closed below; standard input stays open
    try:
        number = 0
        while raw := stream.readline(LONGEST_LINE):
            number += 1
            place = f"{name}, line {number}"
            if len(raw) == LONGEST_LINE:
                raise UserError(f"{place} is longer than {LONGEST_LINE >> 20} MB; break the text into lines")
            if b"\0" in raw:
                raise UserError(f"{place}: a binary file, not text; give plain text (UTF-8) or jsonl")
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{place}: byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8; convert the file first") from None
            yield number, line.rstrip("\r\n")
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from None
    finally:
        if file != "-":
            stream.close()


def _is_json_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _from_line(line: str, place: str) -> Text:
    columns = line.split("\t")
    if len(columns) > 2:
        raise UserError(f"{place}: {len(columns)} columns; a line is one text, or two with a tab between them")
    return Text(columns[0], columns[1] if len(columns) == 2 else None)


def _record(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON ({error}); a .jsonl file has one object a line") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: expected a JSON object, got {type(record).__name__}; a .jsonl file has one object a line")
    return record


def _from_json(line: str, place: str, text_field: str, pair_field: str | None) -> Text:
    record = _record(line, place)
    if text_field not in record:
        raise UserError(f"{place}: no field '{text_field}'; {did_you_mean(text_field, map(str, record))} (give it with --text-field)")
    values = [record[text_field], record.get(pair_field) if pair_field else None]
    for field, value in zip((text_field, pair_field), values, strict=True):
        if value is not None and not isinstance(value, str):
            raise UserError(f"{place}: field '{field}' is {type(value).__name__}, not text")
    if values[0] is None:
        raise UserError(f"{place}: field '{text_field}' is null, not text")
    return Text(values[0], values[1])


# ---- arguments of 'electra predict' and 'electra detect' -> a model and its texts ----


ENDINGS = frozenset(".zip .txt .tsv .csv .json .jsonl .ndjson .parquet .gz .xz .zst .toml .safetensors .bin .onnx .pt".split())
"""Suffixes of files; a text hardly ends so."""
NEAR = 0.8
"""Similarity, as difflib counts it, from which a file or folder here may have been meant."""


def model_and_texts(command: str, role: str, model: str, file: str, text: str | None) -> tuple[str, str]:
    """The arguments of a command, '' where there is none -> source of the model, and file name, '-' or `TypedText` text.

    Args:
        command: 'predict' or 'detect', for messages.
        role: what the model must do; the bundled one for it is used where none is named.
        model: the first argument.
        file: the second argument.
        text: the value of --text.

    Raises:
        UserError: nothing to read, two things to read, or a single argument that is neither a model nor surely a text.
    """
    if text is not None:
        if file:
            raise UserError(f"both a file ({file}) and --text; give one of them")
        return model or bundled.default(role), TypedText(text)
    if file:
        _refuse_loose_words(command, model, file)
        return model, file
    if not model:
        remedy = f'electra {command} "TEXT", electra {command} MODEL FILE, or electra {command} - for texts from standard input'
        raise UserError(f"electra {command}: nothing to read; give a text, or a model and a file: {remedy}")
    if model == "-":
        return bundled.default(role), "-"
    if may_be_text(model):
        return bundled.default(role), TypedText(model)
    _require_model(command, role, model)
    return model, "-"


def may_be_text(argument: str) -> bool:
    """Whether a single argument can only be a text: white space in it, and nothing that a path has."""
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
        raise UserError(f"{error}; if it is a text: electra {command} --text {shlex.quote(argument)}") from None

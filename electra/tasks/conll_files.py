"""Files of tagged words -> examples: columns (CoNLL-2000, CoNLL-2003, CoNLL-U, ...) or jsonl with lists.

A line of a column file is a word, an empty line ends a sentence. Columns are separated by tabs where the first word's line has one, else
by blanks; every line has as many. Lines of -DOCSTART- are passed over, and so are lines of # without a tab in a file of tabs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.contracts import Example
from electra.errors import UserError, did_you_mean
from electra.tasks.custom import json_rows
from electra.tasks.text_tasks import read_text

SUFFIXES = (".txt", ".txt.gz", ".conll", ".conllu", ".tsv", ".bio", ".iob", ".iob2", ".jsonl")
WORD_FIELDS = ("words", "tokens")
TAG_FIELDS = ("tags", "ner_tags", "chunk_tags", "pos_tags", "labels")
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True, kw_only=True)
class TagColumns:
    """Columns of words and tags; None: the first and the last column, or jsonl's usual names."""

    word: str | None = None
    """A column's number from 1, 'last', or a field of jsonl."""
    tag: str | None = None


def read_tagged(path: Path, columns: TagColumns, split: str) -> list[Example]:
    """A column file, or jsonl -> a sentence each, ids "split-0", ...; tags are required in train and dev, and optional elsewhere.

    Raises:
        UserError: missing, empty or binary file, missing column, a line with another number of columns, lists of unequal lengths.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file of words and tags")
    text = read_text(path, f"the {split} file")
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        sentences = _json_sentences(path, text, columns, split)
    else:
        sentences = _column_sentences(path, text, columns, split)
    examples = [tagged_example(f"{split}-{number}", words, tags) for number, (words, tags) in enumerate(sentences)]
    if not examples:
        raise UserError(f"{path} holds no words; give a file of a word and its tag a line, with an empty line between sentences")
    return examples


def tagged_example(name: str, words: list[str], tags: list[str] | None = None) -> Example:
    """Words and their tags, if known -> Example."""
    return Example(id=name, text=" ".join(words), words=tuple(words), label=None if tags is None else tuple(tags))


def _column_sentences(path: Path, text: str, columns: TagColumns, split: str) -> Iterator[tuple[list[str], list[str] | None]]:
    words: list[str] = []
    tags: list[str] = []
    tabs = width = word = 0
    tag: int | None = None
    # Only "\n" ends a line, and only blanks and tabs part columns: other white space can be part of a word.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip(" \t") or line.startswith(_DOCUMENT):
            if words:
                yield words, tags if tag is not None else None
                words, tags = [], []
            continue
        if line.startswith("#") and "\t" not in line and (tabs or not width) and "\t" in text:
            continue
        place = f"{path}, line {number}"
        if not width:
            tabs = "\t" in line
        fields = line.split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t"))
        if not width:
            width = len(fields)
            word, tag = _indices(columns, width, split, place)
        if len(fields) != width:
            raise UserError(f"{place}: {len(fields)} columns, the lines before have {width}; correct the line (an empty line ends a sentence)")
        if not fields[word] or (tag is not None and not fields[tag].strip()):
            raise UserError(f"{place}: the {'tag' if fields[word] else 'word'} is empty; fill it in")
        words.append(fields[word])
        if tag is not None:
            tags.append(fields[tag].strip())
    if words:
        yield words, tags if tag is not None else None


def _indices(columns: TagColumns, width: int, split: str, place: str) -> tuple[int, int | None]:
    """Indices of the word's and the tag's column; no tag where a single column is all there is and none is needed."""
    word = _index(columns.word or "1", width, place, "--word-column")
    if columns.tag is None and width == 1 and split not in ("train", "dev"):
        return word, None
    if width == 1:
        raise UserError(f"{place}: 1 column, expected a word and its tag; is the file's separator a tab or blanks?")
    tag = _index(columns.tag or "last", width, place, "--tag-column")
    if word == tag:
        raise UserError(f"{place}: the word and its tag are both taken from column {word + 1}; name them by --word-column and --tag-column")
    return word, tag


def _index(name: str, width: int, place: str, flag: str) -> int:
    if name == "last":
        return width - 1
    if not name.isdecimal() or not 1 <= int(name) <= width:
        raise UserError(f"{place}: no column '{name}' among {width}; {flag} is a number from 1 to {width}, or 'last'")
    return int(name) - 1


def _json_sentences(path: Path, text: str, columns: TagColumns, split: str) -> Iterator[tuple[list[str], list[str] | None]]:
    for number, row in json_rows(path, text):
        place = f"{path}, line {number}"
        words = _list(row, columns.word, WORD_FIELDS, place, "--word-column")
        tagged = split in ("train", "dev") or (columns.tag or "") in row or any(field in row for field in TAG_FIELDS)
        tags = _list(row, columns.tag, TAG_FIELDS, place, "--tag-column") if tagged else None
        if tags is not None and len(tags) != len(words):
            raise UserError(f"{place}: {len(words)} words but {len(tags)} tags; give one tag a word")
        if words:
            yield words, tags


def _list(row: dict[str, Any], name: str | None, usual: tuple[str, ...], place: str, flag: str) -> list[str]:
    field = name if name is not None else next((field for field in usual if field in row), usual[0])
    if field not in row:
        raise UserError(f"{place}: no field '{field}' ({did_you_mean(field, row)}); name it by {flag}")
    value = row[field]
    if not isinstance(value, list) or not all(isinstance(item, str | int) and not isinstance(item, bool) for item in value):
        raise UserError(f"{place}: field '{field}' holds {value!r:.60}, expected a list of texts; correct the row")
    return [str(item) for item in value]

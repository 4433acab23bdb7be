"""Files of tagged words -> examples: columns (CoNLL-2000, CoNLL-2003, CoNLL-U, GermEval, ...) or jsonl with lists.

A line of a column file is a word, an empty line ends a sentence. Columns are separated by tabs where the first word's line has one, else
by blanks; every line has as many. Lines of -DOCSTART- and comments are passed over: lines of # without a tab in a file of tabs, and lines
whose first column is # alone where the number of columns differs from the words'. In CoNLL-U (a .conllu file, or ten columns of which the
first counts the words) the word is the second column and the tag the fourth; ranges (1-2) and empty nodes (2.1) are no words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from electra.contracts import Example
from electra.data.tables import json_rows
from electra.errors import UserError, did_you_mean
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
    names: tuple[str, ...] = ()
    """Names of tags that are numbers from 0; empty: tags are names."""


_CONLLU_WIDTH = 10
_WORD_NUMBER = re.compile(r"\d+(-\d+|\.\d+)?")


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
    examples = [
        tagged_example(f"{split}-{number}", words, _named(tags, columns.names, f"{path}, sentence {number + 1}"))
        for number, (words, tags) in enumerate(sentences)
    ]
    if not examples:
        raise UserError(f"{path} holds no words; give a file of a word and its tag a line, with an empty line between sentences")
    return examples


def tagged_example(name: str, words: list[str], tags: list[str] | None = None) -> Example:
    """Words and their tags, if known -> Example."""
    return Example(id=name, text=" ".join(words), words=tuple(words), label=None if tags is None else tuple(tags))


def _named(tags: list[str] | None, names: Sequence[str], place: str) -> list[str] | None:
    """Tags that are numbers -> their names."""
    if tags is None or not names:
        return tags
    for tag in tags:
        if tag not in names and not (tag.isdecimal() and int(tag) < len(names)):
            raise UserError(f"{place}: tag '{tag}' is neither one of --tag-names nor a number from 0 to {len(names) - 1}")
    return [tag if tag in names else names[int(tag)] for tag in tags]


def _column_sentences(path: Path, text: str, columns: TagColumns, split: str) -> Iterator[tuple[list[str], list[str] | None]]:
    words: list[str] = []
    tags: list[str] = []
    layout: _Layout | None = None
    # Only "\n" ends a line, and only blanks and tabs part columns: other white space can be part of a word.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line.strip(" \t") or line.startswith(_DOCUMENT):
            if words:
                yield words, tags if layout is not None and layout.tag is not None else None
                words, tags = [], []
            continue
        place = f"{path}, line {number}"
        if layout is None:
            if _leading_comment(line, lines[number:]):
                continue
            layout = _layout(path, line, columns, split, place)
        fields = layout.fields(line)
        if layout.skips(line, fields):
            continue
        if len(fields) != layout.width:
            raise UserError(f"{place}: {len(fields)} columns, the lines before have {layout.width}; correct the line (an empty line ends a sentence)")
        tag = None if layout.tag is None else fields[layout.tag].strip()
        if not fields[layout.word] or tag == "":
            raise UserError(f"{place}: the {'tag' if fields[layout.word] else 'word'} is empty; fill it in")
        _refuse_sentence(fields[layout.word], tag, place)
        words.append(fields[layout.word])
        if tag is not None:
            tags.append(tag)
    if words:
        yield words, tags if layout is not None and layout.tag is not None else None


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How the lines of a file are split."""

    tabs: bool
    """Whether tabs separate columns, in a file that has any; else blanks."""
    width: int
    word: int
    tag: int | None
    conllu: bool

    def fields(self, line: str) -> list[str]:
        return line.split("\t") if self.tabs else re.split(r"[ \t]+", line.strip(" \t"))

    def skips(self, line: str, fields: Sequence[str]) -> bool:
        """Whether a line is a comment, or in CoNLL-U a range of words or an empty node."""
        if line.startswith("#") and self.tabs and "\t" not in line:
            return True
        if fields[0] == "#" and len(fields) != self.width:
            return True
        return self.conllu and not fields[0].isdecimal() and _WORD_NUMBER.fullmatch(fields[0]) is not None


def _leading_comment(line: str, rest: Sequence[str]) -> bool:
    """Whether a line before the first word is a comment: it starts with #, and the first line after it that does not has other columns."""
    if not line.startswith("#"):
        return False
    first = next((other for other in rest if other.strip(" \t") and not other.startswith("#")), None)
    if first is None:
        return False
    if "\t" in first:
        return line.count("\t") != first.count("\t")
    return line.split()[0] == "#" and len(line.split()) != len(first.split())


def _layout(path: Path, line: str, columns: TagColumns, split: str, place: str) -> _Layout:
    """The layout that the first word's line shows."""
    tabs = "\t" in line
    fields = line.split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t"))
    width = len(fields)
    numbered = tabs and width == _CONLLU_WIDTH and _WORD_NUMBER.fullmatch(fields[0]) is not None
    conllu = numbered or (path.name.lower().endswith((".conllu", ".conllu.gz")) and width == _CONLLU_WIDTH)
    if conllu:
        columns = replace(columns, word=columns.word or "2", tag=columns.tag or "4")
    if not tabs and width > 1 and all("/" in field.strip("/") for field in fields):
        raise UserError(
            f"{place}: words and tags in one line, as '{fields[0]}'; give a word and its tag a line, with an empty line between sentences"
        )
    word, tag = _indices(columns, width, split, place)
    return _Layout(tabs=tabs, width=width, word=word, tag=tag, conllu=conllu)


def _refuse_sentence(word: str, tag: str | None, place: str) -> None:
    """Refuse a line with a whole sentence in the word's column and as many tags in the tag's.

    Raises:
        UserError: such a line.
    """
    words, tags = word.split(" "), (tag or "").split(" ")
    if len(words) == len(tags) > 1:
        remedy = "give a word and its tag a line with an empty line between sentences, or jsonl with lists 'words' and 'tags'"
        raise UserError(f"{place}: a whole sentence ({len(words)} words and {len(tags)} tags) in one line; {remedy}")


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

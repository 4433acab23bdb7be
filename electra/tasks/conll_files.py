"""Files of tagged words -> examples: columns (CoNLL-2000, CoNLL-2003, CoNLL-U, GermEval, WNUT, ...), or tables with lists of words and of tags.
Texts with marked spans, as annotation tools export them, are read by `electra.tasks.span_files`.

Columns: a line is a word, an empty line ends a sentence. Tabs separate columns where the first word's line has one, else blanks; every line
has as many. Lines of -DOCSTART- and comments are passed over: lines of # without a tab in a file of tabs, and lines whose first column is #
alone where the number of columns differs from the words'. A first line that names the columns (word, tag), and CoNLL-U Plus'
`# global.columns`, are honoured. In CoNLL-U (a .conllu file, or ten columns of which the first counts the words) the word is FORM and the tag
UPOS; ranges (1-2) and empty nodes (2.1) are no words.

Tables (`electra.data.tables`: jsonl, json, parquet, arrow, folders that `datasets` saved): a row is a sentence. Integers of a `ClassLabel`
become its names, others those of --tag-names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from electra.contracts import Example
from electra.data.tables import cell, column_in, is_saved, read_rows, table_format
from electra.errors import UserError, did_you_mean
from electra.storage import atomic
from electra.tasks.span_files import TEXT_FIELD, form_of, read_annotated, read_records
from electra.tasks.text_tasks import read_text

SUFFIXES = (".txt", ".txt.gz", ".conll", ".conllu", ".conllup", ".tsv", ".bio", ".iob", ".iob2", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
WORD_FIELDS = ("words", "tokens")
TAG_FIELDS = ("tags", "ner_tags", "chunk_tags", "pos_tags", "labels")
WORD_NAMES = (*WORD_FIELDS, "word", "token", "form")
TAG_NAMES = (*TAG_FIELDS, "tag", "ner_tag", "ner", "chunk_tag", "pos_tag", "upos", "label")
"""Names by which the first line of a column file is known to be none of words."""
LOOKED_AT = 100
"""Rows of a table by which its form is known."""
CONLLU_NAMES = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_DOCUMENT = "-DOCSTART-"
_WORD_NUMBER = re.compile(r"\d+(-\d+|\.\d+)?")
_GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_BRACKETS = re.compile(r"(\([^()*]+)*\*?\)*")
"""Tags as in CoNLL-2012: (PERSON*, *, *), (DATE)."""


@dataclass(frozen=True, kw_only=True)
class TagColumns:
    """Columns of words and tags; None: those of `WORD_NAMES` and `TAG_NAMES` in a table or below a header, else the first and the last column."""

    word: str | None = None
    """A column's number from 1, 'last', or a name."""
    tag: str | None = None
    names: tuple[str, ...] = ()
    """Names of tags that are numbers from 0; empty: tags are names."""


Sentence = tuple[list[str], list[str] | None]


def read_tagged(path: Path, columns: TagColumns, split: str) -> list[Example]:
    """A column file or a table -> a sentence each, ids "split-0", ...; tags are required in train and dev, and optional elsewhere.

    Raises:
        UserError: missing, empty or binary file, missing column, a line with another number of columns, lists of unequal lengths.
    """
    atomic.existing_path(path, f"the {split} file")
    if path.is_dir() and not is_saved(path):
        inner = next((name for name in (split, "train") if is_saved(path / name)), None)
        raise UserError(f"{path} is a folder; give {f'{path / inner}' if inner else 'a file of words and tags'}")
    kind = table_format(path)
    if kind == "csv":
        raise UserError(
            f"{path}: csv has no lists; give jsonl or parquet with lists of words and of tags, or columns: a word and its tag a line (.tsv)"
        )
    if kind not in (None, "tsv") and span_form(path, columns):
        found = read_annotated(path, split, columns.word, columns.tag)
        return [replace(e, label=tuple(_named([*e.label], columns.names, e.id) or ())) if isinstance(e.label, tuple) else e for e in found]
    if kind in (None, "tsv"):
        sentences = _column_sentences(path, read_text(path, f"the {split} file"), columns, split)
    else:
        sentences = _table_sentences(path, columns, split)
    examples = [
        tagged_example(f"{split}-{number}", words, _named(tags, columns.names, f"{path}, sentence {number + 1}"))
        for number, (words, tags) in enumerate(sentences)
    ]
    if not examples:
        raise UserError(f"{path} holds no words; give a file of a word and its tag a line, with an empty line between sentences")
    _check(examples, path, columns)
    return examples


def tagged_example(name: str, words: list[str], tags: list[str] | None = None) -> Example:
    """Words and their tags, if known -> Example."""
    return Example(id=name, text=" ".join(words), words=tuple(words), label=None if tags is None else tuple(tags))


def _named(tags: list[str] | None, names: Sequence[str], place: str) -> list[str] | None:
    """Tags that are numbers -> their names."""
    if tags is None or not names:
        return tags
    for tag in tags:
        if tag not in names and not (tag.isdecimal() and len(tag) < 10 and int(tag) < len(names)):
            raise UserError(f"{place}: tag '{tag}' is neither one of --tag-names nor a number from 0 to {len(names) - 1}; correct it")
    return [tag if tag in names else names[int(tag)] for tag in tags]


def _check(examples: Sequence[Example], path: Path, columns: TagColumns) -> None:
    """Raise a UserError where the words are their own numbers, or the tags are brackets: both would be learned without a word."""
    numbers = [[int(word) if word.isdecimal() and len(word) < 10 else -1 for word in e.words or ()] for e in examples]
    if (
        columns.word is None
        and max(map(len, numbers)) > 2
        and all(row == list(range(row[0], row[0] + len(row))) and 0 <= row[0] < 2 for row in numbers)
    ):
        raise UserError(
            f"{path}: the first column counts the words (1, 2, 3, ...); name that of the words, and that of the tags: --word-column 2 --tag-column 3"
        )
    tags = {tag for e in examples if isinstance(e.label, tuple) for tag in e.label}
    if any("(" in tag and "*" in tag for tag in tags) and all(_BRACKETS.fullmatch(tag) for tag in tags):
        raise UserError(f"{path}: tags are brackets, as '{min(tag for tag in tags if '(' in tag)}' of CoNLL-2012; write them as B-TYPE, I-TYPE and O")


# ---- columns ----


def _column_sentences(path: Path, text: str, columns: TagColumns, split: str) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    layout: _Layout | None = None
    names: list[str] = []
    # Only blanks and tabs part columns: other white space can be part of a word.
    lines, after = text.split("\n"), 0
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(_DOCUMENT):
            if words:
                yield words, tags if layout is not None and layout.tag is not None else None
                words, tags = [], []
            continue
        place = f"{path}, line {number}"
        if layout is None:
            if match := _GLOBAL_COLUMNS.fullmatch(line.strip()):
                names = match[1].split()
            while line.startswith("#") and after < len(lines) and (after < number or not lines[after].strip() or lines[after].startswith("#")):
                after += 1
            if match or _leading_comment(line, lines[after] if after < len(lines) else None):
                continue
            if not names and (header := _header(line, columns)):
                names = header
                continue
            layout = _layout(path, line, columns, split, place, names)
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
        return _fields(line, self.tabs)

    def skips(self, line: str, fields: Sequence[str]) -> bool:
        """Whether a line is a comment, or in CoNLL-U a range of words or an empty node."""
        if line.startswith("#") and self.tabs and "\t" not in line:
            return True
        if fields[0] == "#" and len(fields) != self.width:
            return True
        return self.conllu and not fields[0].isdecimal() and _WORD_NUMBER.fullmatch(fields[0]) is not None


def _fields(line: str, tabs: bool) -> list[str]:
    return line.split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t"))


def _leading_comment(line: str, first: str | None) -> bool:
    """Whether a line before the first word is a comment: it starts with #, and `first`, the next line that does not, has other columns."""
    if not line.startswith("#") or first is None:
        return False
    if "\t" in first:
        return line.count("\t") != first.count("\t")
    return line.split()[0] == "#" and len(line.split()) != len(first.split())


def _header(line: str, columns: TagColumns) -> list[str]:
    """The columns' names in a file's first line; none where it is a word's."""
    fields = [field.strip() for field in _fields(line, "\t" in line)]
    lower = [field.lower() for field in fields]
    given = [name for name in (columns.word, columns.tag) if name and name != "last" and not name.isdecimal()]
    usual = any(name in WORD_NAMES for name in lower) and any(name in TAG_NAMES for name in lower)
    return fields if usual or (given and all(name in fields for name in given)) else []


def _layout(path: Path, line: str, columns: TagColumns, split: str, place: str, names: Sequence[str]) -> _Layout:
    """The layout that the first word's line, and the columns' names if the file has any, show."""
    tabs = "\t" in line
    fields = _fields(line, tabs)
    width = len(fields)
    numbered = tabs and width == len(CONLLU_NAMES) and _WORD_NUMBER.fullmatch(fields[0]) is not None
    conllu = numbered or (".conllu" in path.name.lower() and width == len(CONLLU_NAMES)) or "FORM" in names
    if conllu and not names:
        names = CONLLU_NAMES
    if names and len(names) != width:
        raise UserError(f"{place}: {width} columns, the header names {len(names)} ({', '.join(names)[:100]}); correct the line")
    if names:
        word = next((name for name in names if name.lower() in WORD_NAMES), None)
        tag = next((name for name in names if conllu and name == "UPOS"), None) or next((n for n in reversed(names) if n.lower() in TAG_NAMES), None)
        columns = replace(columns, word=columns.word or word, tag=columns.tag or tag)
    _refuse_line(line, fields, tabs, place)
    word_index, tag_index = _indices(columns, width, split, place, names)
    return _Layout(tabs=tabs, width=width, word=word_index, tag=tag_index, conllu=conllu)


def _refuse_line(line: str, fields: Sequence[str], tabs: bool, place: str) -> None:
    """Raise a UserError for a first line that is no word's: tagged text, or JSON."""
    if line.lstrip().startswith(('{"', '[{"')):
        raise UserError(f"{place}: JSON in a file of columns; name it .jsonl (one object a line) or .json")
    marks = [mark for mark in "/|_" if not tabs and len(fields) > (1 if mark == "/" else 3) and all(mark in field.strip(mark) for field in fields)]
    if marks:
        raise UserError(
            f"{place}: words and tags in one line, as '{fields[0]}'; give a word and its tag a line, with an empty line between sentences"
        )


def _refuse_sentence(word: str, tag: str | None, place: str) -> None:
    """Refuse a line with a whole sentence in the word's column and several tags in the tag's.

    Raises:
        UserError: such a line.
    """
    words, tags = word.split(" "), (tag or "").split(" ")
    if len(words) > 1 and len(tags) > 1:
        remedy = "give a word and its tag a line with an empty line between sentences, or jsonl with lists 'words' and 'tags'"
        raise UserError(f"{place}: a whole sentence ({len(words)} words and {len(tags)} tags) in one line; {remedy}")


def _indices(columns: TagColumns, width: int, split: str, place: str, names: Sequence[str]) -> tuple[int, int | None]:
    """Indices of the word's and the tag's column; no tag where a single column is all there is and none is needed."""
    word = _index(columns.word or "1", width, place, "--word-column", names)
    if columns.tag is None and width == 1 and split not in ("train", "dev"):
        return word, None
    if width == 1:
        raise UserError(f"{place}: 1 column, expected a word and its tag; is the file's separator a tab or blanks?")
    tag = _index(columns.tag or "last", width, place, "--tag-column", names)
    if word == tag:
        raise UserError(f"{place}: the word and its tag are both taken from column {word + 1}; name them by --word-column and --tag-column")
    return word, tag


def _index(name: str, width: int, place: str, flag: str, names: Sequence[str]) -> int:
    """A column's index by its name, 'last' or its number."""
    lower = [known.lower() for known in names]
    if name in names or name.lower() in lower:
        return names.index(name) if name in names else lower.index(name.lower())
    if name == "last":
        return width - 1
    if name.isdecimal() and len(name) < 10 and 1 <= int(name) <= width:
        return int(name) - 1
    known = f"({did_you_mean(name, names)} columns: {', '.join(names)[:200]})" if names else f"among {width}"
    raise UserError(f"{place}: no column '{name}' {known}; {flag} is a number from 1 to {width}, 'last', or a name in the file's first line")


# ---- tables ----


def span_form(path: Path, columns: TagColumns) -> str | None:
    """The form of a table of texts with marked spans, by its first rows; TEXT_FIELD: texts, and no span yet; None: lists of words and of tags.

    Raises:
        UserError: these rows cannot be read.
    """
    found = None
    for place, record in islice(read_records(path, "the file of tags"), LOOKED_AT):
        words, tags = (
            isinstance(record, Mapping) and any(_is_list(record, name) for name in ([given] if given else usual))
            for given, usual in ((columns.word, WORD_FIELDS), (columns.tag, TAG_FIELDS))
        )
        if words and tags:
            return None
        if (form := form_of(record, columns.word, columns.tag)) is not None:
            return form
        text = columns.word or TEXT_FIELD
        if not words and isinstance(record, Mapping) and column_in(record, text) and isinstance(cell(record, text, place, "--word-column"), str):
            found = TEXT_FIELD
    return found


def _is_list(row: Mapping[str, Any], name: str) -> bool:
    """Whether a column holds a list of texts or numbers, and not an empty one."""
    value = cell(row, name, "", "") if column_in(row, name) else None
    return isinstance(value, list) and bool(value) and not any(isinstance(item, list | Mapping) for item in value)


def _table_sentences(path: Path, columns: TagColumns, split: str) -> Iterator[Sentence]:
    required = split in ("train", "dev")
    for number, row in read_rows(path, f"the {split} file", class_names=not columns.names):
        place = f"{path}, line {number}"
        words = _list(row, columns.word, WORD_FIELDS, place, "--word-column")
        if None in words:
            raise UserError(f"{place}: word {words.index(None) + 1} has no value (null); fill it in, or remove the row")
        tagged = required or any(column_in(row, field) for field in ([columns.tag] if columns.tag else TAG_FIELDS))
        tags = _list(row, columns.tag, TAG_FIELDS, place, "--tag-column") if tagged else None
        # `datasets` writes -1 for the tags that a test set hides.
        if tags is not None and not required and set(tags) == {None}:
            tags = None
        if tags is not None and len(tags) != len(words):
            raise UserError(f"{place}: {len(words)} words but {len(tags)} tags; give one tag a word")
        for index, tag in enumerate(tags or ()):
            if not tag or (tag.startswith("-") and tag[1:].isdecimal()):
                what = "empty" if tag == "" else f"missing ({'null or -1' if tag is None else tag})"
                raise UserError(f"{place}: the tag of word {index + 1} ('{str(words[index])[:40]}') is {what}; fill it in, or remove the row")
        if words:
            yield [str(word) for word in words], None if tags is None else [str(tag) for tag in tags]


def _list(row: Mapping[str, Any], name: str | None, usual: tuple[str, ...], place: str, flag: str) -> list[str | None]:
    """The list of a row's column as texts, None for missing values."""
    field = name if name is not None else next((field for field in usual if column_in(row, field)), usual[0])
    value = cell(row, field, place, flag)
    if isinstance(value, str) and value.lstrip().startswith("["):
        raise UserError(f"{place}: column '{field}' holds a list that is written as text ({value[:40]}); save the table as jsonl or parquet")
    if not isinstance(value, list) or any(isinstance(item, bool | list | dict) for item in value):
        raise UserError(f"{place}: column '{field}' holds {value!r:.60}, expected a list of texts; correct the row, or name another column by {flag}")
    fractions = [item for item in value if isinstance(item, float) and item == item and not item.is_integer()]
    if fractions:
        raise UserError(f"{place}: column '{field}' holds the number {fractions[0]}, expected texts; write them in quotes")
    return [None if item is None or item != item else str(int(item)) if isinstance(item, float) else str(item) for item in value]  # NaN is not itself

"""txt(.gz/.xz/.zst/.bz2), jsonl, parquet, folders and archives of them, hub datasets -> documents as lists of lines (the "sentences").

What separates documents in text files (`documents`):
  'blank-line'  one or more empty lines; in a WikiText file instead a line `= Title =` starts a document
  'line'        every line is a document
  'file'        every file is a document; HTML line breaks (`<br />`, as in the IMDb reviews) become line ends
  'auto'        WikiText's titles if the file has them; 'file' if it has one line; 'blank-line' if its first megabyte has any; else 'line'
A record of jsonl, parquet or the hub is always one document; with 'auto' so is a text below a megabyte in a tar or zip (OpenWebText's layout).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from electra.data.sources import (
    UNKNOWN_ENDING,
    UNREADABLE,
    CorpusReport,
    Source,
    estimate_text_bytes,
    find_sources,
    open_sniffed,
    read_lines,
    read_members,
)
from electra.data.tables import cell, column_in, json_line_rows
from electra.errors import UserError, did_you_mean, parse_json, raise_if_device, require
from electra.settings import VocabSettings
from electra.terminal import ReadingProgress

MAX_DOCUMENT_CHARACTERS = 8_000_000
"""A longer document is cut in two (and reported), so that memory stays bounded."""
SNIFFED_CHARACTERS = 1_000_000
_TITLE = re.compile(r" ?= [^=](?:.*[^=])? = ?")
_LINE_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """Lines of text that belong together; no line is empty or contains a newline."""

    lines: list[str]
    place: str
    """Where it starts: file:line, or file:record."""


def read_documents(
    sources: Sequence[str | Path], *, text_field: str = "text", documents: str = "auto", report: CorpusReport | None = None
) -> Iterator[Document]:
    """Corpora -> their documents in order. Problems are added to `report`; empty documents are counted there and left out.

    Raises:
        UserError: a source does not exist, a text column is missing, or no file could be read at all.
    """
    report = CorpusReport() if report is None else report
    for source in find_sources(sources, report):
        report.position = 0
        for document in _from_source(source, text_field, documents, report):
            if document.lines:
                report.documents += 1
                yield document
            else:
                report.empty_documents += 1
        report.done_bytes += source.size_bytes
        report.position = 0
    if not report.documents:
        why = "".join(f"; {line}" for line in report.lines()[:2])
        raise UserError(f"no text found in {', '.join(map(str, sources))}{why}; check the files")


def _from_source(source: Source, text_field: str, rule: str, report: CorpusReport) -> Iterator[Document]:
    kind, stream = source.kind, None
    if kind == "compressed":
        kind, stream = open_sniffed(source, report)
        if stream is None:
            return
        if kind == "text" and not source.named:
            report.add(UNKNOWN_ENDING, source.name)
            return
    if kind == "archive":
        for member in read_members(source, report, stream):
            yield from _from_source(member, text_field, rule, report)
    elif kind == "hub":
        yield from _from_hub(source, text_field, report)
    elif kind == "parquet":
        yield from _from_parquet(source, text_field, report)
    elif kind == "records":
        yield from _from_records(source, text_field, report)
    else:
        yield from _from_text(source, text_field, rule, report, stream)


# ---- text files ----


MARKUP = {
    "<mediawiki": "a dump of a wiki in XML; extract its texts first (wikiextractor --json)",
    "<doc ": "texts with marks of WikiExtractor; extract them with its flag --json",
    "<!doctype html": "HTML; extract its text first",
    "<html": "HTML; extract its text first",
}
"""How a file begins that is no plain text -> what it is."""


def _from_text(source: Source, field: str, rule: str, report: CorpusReport, stream: BinaryIO | None = None) -> Iterator[Document]:
    lines = read_lines(source, report, stream)
    first = next(lines, None)
    lines = itertools.chain([] if first is None else [first], lines)
    start = "" if first is None else first[1].lstrip()
    if _is_record(start, None if source.named else field):
        return _from_records(source, field, report, lines)
    if found := next((what for mark, what in MARKUP.items() if start.lower().startswith(mark)), None):
        if source.named:
            raise UserError(f"{source.name} is {found}")
        report.add(UNREADABLE, f"{source.name}: {found}")
        return iter(())
    if rule in ("auto", "blank-line"):
        head = list(_head(lines))
        found = _sniff([line for _, line in head])
        if rule == "auto" and source.in_archive and found != "title" and sum(len(line) for _, line in head) < SNIFFED_CHARACTERS:
            found = "file"
        rule = found if rule == "auto" or found == "title" else rule
        lines = itertools.chain(head, lines)
    report.rules[rule] = report.rules.get(rule, 0) + 1
    if rule == "line":
        return (Document([text] if (text := line.strip()) else [], f"{source.name}:{number}") for number, line in lines)
    return _gather(lines, rule, source, report)


def _head(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    characters = 0
    for number, line in lines:
        yield number, line
        characters += len(line) + 1
        if characters >= SNIFFED_CHARACTERS:
            return


def _sniff(lines: list[str]) -> str:
    full = [line for line in lines if line.strip()]
    if full and is_title(full[0]):
        return "title"
    if len(full) <= 1:
        return "file"
    # Trailing empty lines separate nothing.
    last = max((i for i, line in enumerate(lines) if line.strip()), default=0)
    return "blank-line" if any(not line.strip() for line in lines[:last]) else "line"


def is_title(line: str) -> bool:
    """Whether a line is the title of a WikiText article, ` = Title = ` (sections have more signs: ` = = History = = `)."""
    return bool(_TITLE.fullmatch(line))


def _gather(lines: Iterable[tuple[int, str]], rule: str, source: Source, report: CorpusReport) -> Iterator[Document]:
    """Lines -> documents separated by titles, by blank lines, or not at all ('file')."""
    held: list[str] = []
    start, characters, blank_before = 1, 0, True
    whole = source.size_bytes == 0
    for number, line in lines:
        texts = [text for part in (_LINE_BREAK.split(line) if rule == "file" else [line]) if (text := part.strip())]
        ends = blank_before and is_title(line) if rule == "title" else not texts and rule == "blank-line"
        if characters > MAX_DOCUMENT_CHARACTERS and not ends:
            report.add(f"documents cut because they are longer than {MAX_DOCUMENT_CHARACTERS:,} characters", f"{source.name}:{start}")
            ends = True
        if ends and held:
            yield Document(held, f"{source.name}:{start}")
            held, characters = [], 0
        if texts and not held:
            start = number
        held += texts
        characters += len(line)
        blank_before = not texts
        whole = True
    # A file without text is an empty document; one that could not be read is not a document.
    if held or (rule == "file" and whole):
        yield Document(held, f"{source.name}:{start}")


# ---- records ----


def _document(text: Any, place: str, report: CorpusReport) -> Document:
    if text is None:
        return Document([], place)
    if not isinstance(text, str):
        report.add("records whose text is not a string", place)
        return Document([], place)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        report.add("records with broken characters (replaced by U+FFFD)", place)
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return Document([line for part in text.split("\n") if (line := part.strip())], place)


def _missing_field(field: str, known: Iterable[str], place: str) -> UserError:
    return UserError(f"{place}: no column '{field}'; {did_you_mean(field, known)} (--text)")


def _is_record(line: str, field: str | None) -> bool:
    """Whether a line is a JSON object with named fields, the `field` among them: records in a file without their ending, as wikiextractor --json
    writes."""
    try:
        record = parse_json(line) if line.startswith('{"') else None
    except ValueError:
        return False
    return isinstance(record, Mapping) and (field is None or column_in(record, field))


def _begins_list(line: str) -> bool:
    """Whether a line begins a list of JSON objects, or is one; a list of other things is a line that is no object."""
    if not line.lstrip().startswith("["):
        return False
    try:
        value = parse_json(line)
    except ValueError:
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _from_list(source: Source, field: str, report: CorpusReport, lines: Iterator[tuple[int, str]]) -> Iterator[Document]:
    """One JSON list of records."""
    try:
        records = list(json_line_rows(source.name, lines, whole=True))
        if missing := next((record for _, record in records if not column_in(record, field)), None):
            raise _missing_field(field, missing, source.name)
    except UserError as error:
        if source.named:
            raise
        report.add(UNREADABLE, str(error))
        return
    for number, record in records:
        place = f"{source.name}:{number}"
        yield _document(cell(record, field, place, "--text"), place, report)


def _from_records(source: Source, field: str, report: CorpusReport, lines: Iterator[tuple[int, str]] | None = None) -> Iterator[Document]:
    good, began = 0, False
    lines = read_lines(source, report) if lines is None else lines
    for number, line in lines:
        place = f"{source.name}:{number}"
        if not line.strip():
            continue
        if not began and _begins_list(line):
            yield from _from_list(source, field, report, itertools.chain([(number, line)], lines))
            return
        began = True
        try:
            record = parse_json(line)
        except ValueError:
            report.add("lines that are not JSON", place)
            continue
        if not isinstance(record, Mapping):
            report.add("lines that are not JSON objects", place)
        elif column_in(record, field):
            good += 1
            yield _document(cell(record, field, place, "--text"), place, report)
        elif not good and not source.named and ".json" in PurePath(source.name).suffixes:
            report.add(UNKNOWN_ENDING, source.name)  # a .json.gz of something else
            return
        elif not good:
            raise _missing_field(field, record, place)
        else:
            report.add(f"records without '{field}'", place)


def _from_parquet(source: Source, field: str, report: CorpusReport) -> Iterator[Document]:
    parquet = require("pyarrow.parquet", "data")
    arrow = require("pyarrow", "data")
    number = 0
    try:
        with source.open() as stream, parquet.ParquetFile(stream) as file:
            names = list(dict.fromkeys([*file.schema_arrow.names, *(file.schema.column(i).path for i in range(len(file.schema)))]))
            if field not in names:
                raise _missing_field(field, names, source.name)
            for batch in file.iter_batches(batch_size=256, columns=[field]):
                batch.validate(full=True)  # damaged offsets would end the process
                for row in batch.to_pylist():
                    text = cell(row, field, source.name, "--text") if column_in(row, field) else None
                    number += 1
                    report.text_bytes += len(text) if isinstance(text, str) else 0
                    yield _document(text, f"{source.name}:{number}", report)
                report.position = int(source.size_bytes * number / max(1, file.metadata.num_rows))
            if number != file.metadata.num_rows:
                raise OSError(f"{number} rows, its footer says {file.metadata.num_rows}")
    except (arrow.ArrowException, OSError) as error:
        raise_if_device(error, permissions=False)
        report.add(UNREADABLE, f"{source.name}: after {number:,} records: {str(error).splitlines()[0]}")


def _from_hub(source: Source, field: str, report: CorpusReport) -> Iterator[Document]:
    """hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT (default: train), streamed; NAME may be the folder of a local dataset."""
    datasets = require("datasets", "data")
    name, config, split = [*source.name.removeprefix("hf:").split(":"), "", ""][:3]
    try:
        stream = iter(datasets.load_dataset(name, config or None, split=split or "train", streaming=True))
        first = next(stream, None)
    except Exception as error:  # no such name, configuration or split, no network: `datasets` has a class for each
        raise UserError(f"{source.name}: {(str(error).strip() or type(error).__name__).splitlines()[0]}; expected hf:NAME[:CONFIG[:SPLIT]]") from None
    for number, record in enumerate(_unbroken(itertools.chain([] if first is None else [first], stream), source.name), 1):
        if not column_in(record, field):
            raise _missing_field(field, record, source.name)
        text = cell(record, field, source.name, "--text")
        report.text_bytes += len(text) if isinstance(text, str) else 0
        yield _document(text, f"{source.name}:{number}", report)


def _unbroken(records: Iterator[Any], name: str) -> Iterator[Any]:
    done = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # the network, or a broken file: `datasets` has many classes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{name} breaks off after {done:,} records: {reason}; run the same command again") from None
        done += 1
        yield record


SAMPLED_CHARACTERS = 100_000
"""Of a document that are chosen together for a vocabulary."""


def sample_texts(settings: VocabSettings, report: CorpusReport) -> Iterator[str]:
    """Documents chosen by their hash, so that about `sample_bytes` of text come from everywhere in the corpus."""
    expected = estimate_text_bytes(settings.corpus)
    share = 1.0 if expected is None else min(1.0, settings.sample_bytes / max(1, expected))
    taken = 0
    with ReadingProgress(report, "reading for the vocabulary") as progress:
        for document in read_documents(settings.corpus, text_field=settings.text, documents=settings.documents, report=report):
            progress.show()
            for text in _pieces("\n".join(document.lines)):
                if share < 1:
                    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
                    if int.from_bytes(digest, "little") >= share * 2**64:
                        continue
                taken += len(text.encode("utf-8"))
                yield text
                if taken >= settings.sample_bytes:
                    return


def _pieces(text: str) -> Iterator[str]:
    """A document -> itself, or parts of a long one, cut at white space: a sample of whole documents would be all or nothing of a few."""
    while len(text) > SAMPLED_CHARACTERS:
        end = max(text.rfind(" ", 1, SAMPLED_CHARACTERS), text.rfind("\n", 1, SAMPLED_CHARACTERS))
        end = end if end > 0 else SAMPLED_CHARACTERS
        yield text[:end]
        text = text[end:]
    yield text

"""A file or standard input -> sentences to tag; tagged sentences -> columns or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from electra.deploy.tagging import Sentence, Tagged
from electra.deploy.texts import JSON_SUFFIXES, Typed, read_records, read_texts
from electra.errors import UserError, did_you_mean


def read_sentences(file: str, text_field: str = "text") -> Iterator[Sentence]:
    """A file name or '-' -> texts, one a line; from JSON lines the named field, a text or a list of words.

    Raises:
        UserError: missing, empty, binary, not UTF-8, not JSON, or a field that is not there; the line's number is named.
    """
    if isinstance(file, Typed) or Path(file).suffix.lower() not in JSON_SUFFIXES:
        yield from (text.text for text in read_texts(file, text_field=text_field, pair_field=None, pairs=False))
        return
    for place, record in read_records(file):
        if text_field not in record:
            raise UserError(f"{place}: no field '{text_field}'; {did_you_mean(text_field, map(str, record))} (give it with --text-field)")
        value = record[text_field]
        if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(word, str) for word in value)):
            raise UserError(f"{place}: field '{text_field}' holds {value!r:.60}, neither a text nor a list of words")
        yield value


def tagged_columns(tagged: Tagged) -> str:
    """A line per word, its tag behind a tab, and an empty line."""
    # White space inside a given word would break the columns.
    return "".join(f"{' '.join(word.word.split()) or '_'}\t{word.tag}\n" for word in tagged.words) + "\n"


def tagged_json(tagged: Tagged) -> str:
    """A line with text, words and entities."""
    record = {"text": tagged.text, "words": [asdict(word) for word in tagged.words], "entities": [asdict(entity) for entity in tagged.entities]}
    return json.dumps(record | {"windows": tagged.num_windows}, ensure_ascii=False) + "\n"

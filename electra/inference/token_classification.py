"""Texts, or lists of words -> a tag for every word, with its place; and the spans that the tags mark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from electra.data.windows import Piece, Window, answer, split_words
from electra.errors import UserError, did_you_mean
from electra.inference.replaced_tokens import probabilities_of
from electra.inference.text_io import JSON_SUFFIXES, Typed, read_records, read_texts
from electra.tasks.tag_schemes import best_path, find_spans, marks_spans, scheme_rules
from electra.tasks.tagging import window_ids, word_pieces

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Array
    from electra.inference.predictor import Predictor


Sentence: TypeAlias = str | Sequence[str]
"""A text, or its words."""
ARCHITECTURE = "ElectraForTokenClassification"


@dataclass(frozen=True)
class TaggedWord:
    """A word and what the model says of it."""

    word: str
    tag: str
    probability: float
    start: int
    """Its first character in the text; given words stand in a text with a blank between them."""
    end: int


@dataclass(frozen=True)
class Entity:
    """Words of one type."""

    text: str
    kind: str
    """The type, such as PER."""
    probability: float
    """Mean of its words'."""
    start: int
    """Its first character in the text."""
    end: int
    first_word: int
    end_word: int
    """Index behind its last word."""


@dataclass(frozen=True)
class Tagged:
    """A sentence with its tags."""

    text: str
    words: tuple[TaggedWord, ...]
    entities: tuple[Entity, ...]
    """Empty where tags are plain and mark no spans."""
    num_windows: int = 1


@dataclass(frozen=True)
class Units:
    """What a text is made of when it is tagged: words, or single word pieces."""

    text: str
    pieces: Sequence[Sequence[int]]
    """Ids of each unit."""
    places: Sequence[tuple[int, int]]
    """Characters (first, end) of each unit in the text."""


def tag(predictor: Predictor, sentences: Iterable[Sentence], *, constrained: bool = False) -> Iterator[Tagged]:
    """Sentences -> their tags, in constant memory and in order; each word is answered at its first piece, where it has most context.

    Raises:
        UserError: the checkpoint has no head for tags, or a sentence is neither a text nor a list of words.
    """
    labels, spanned = predictor.network.labels, marks_spans(predictor.network.labels)
    rules = scheme_rules(labels) if constrained else None
    for units, rows, num_windows in unit_probabilities(predictor, (word_units(s, predictor.tokenizer) for s in sentences)):
        words = []
        with np.errstate(divide="ignore"):
            path = best_path(np.log(rows), rules)
        for (start, end), row, best in zip(units.places, rows, path, strict=True):
            words.append(TaggedWord(units.text[start:end], labels[best], float(row[best]), start, end))
        yield Tagged(units.text, tuple(words), tuple(entities(units.text, words) if spanned else ()), num_windows)


def entities(text: str, words: Sequence[TaggedWord]) -> list[Entity]:
    """The spans of tagged words, from left to right."""
    out = []
    for span in find_spans([word.tag for word in words]):
        inside = words[span.first : span.end]
        start, end = inside[0].start, inside[-1].end
        probability = sum(word.probability for word in inside) / len(inside)
        out.append(Entity(text[start:end], span.kind, probability, start, end, span.first, span.end))
    return out


def word_units(sentence: Sentence, tokenizer: Tokenizer) -> Units:
    """A text -> its words by the tokenizer's own rules, so that pieces are those of the whole text; or given words, each by itself.

    Raises:
        UserError: neither.
    """
    if isinstance(sentence, str):
        found = tokenizer.encode_words(sentence)
        return Units(sentence, [ids for ids, _ in found], [place for _, place in found])
    if not isinstance(sentence, list | tuple) or not all(isinstance(word, str) for word in sentence):
        raise UserError(f"expected a text or a list of words, got {type(sentence).__name__} {str(sentence)[:60]!r}; split it into words")
    places, start = [], 0
    for word in sentence:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return Units(" ".join(sentence), word_pieces(sentence, tokenizer), places)


def piece_units(text: str, tokenizer: Tokenizer) -> Units:
    """A text -> its word pieces, each a unit of its own."""
    ids, offsets = tokenizer.encode_offsets(text)
    return Units(text, [[index] for index in ids], offsets)


def unit_probabilities(predictor: Predictor, texts: Iterable[Units]) -> Iterator[tuple[Units, Array, int]]:
    """Units of texts -> (them, (N, C) probabilities of their tags, number of windows), in order.

    Raises:
        UserError: the checkpoint has no head for tags.
    """
    network, tokenizer, max_length = predictor.network, predictor.tokenizer, predictor.max_length
    if network.architecture != ARCHITECTURE:
        remedy = f"fine-tune it first: electra finetune tagging --model {predictor.name} --train FILE --dev FILE --output RUN"
        raise UserError(f"{predictor.name} tags no words (it is an {network.architecture}); {remedy}")

    def prepare(chunk: list[Units]) -> list[tuple[Units, list[Piece]]]:
        out = []
        for units in chunk:
            pieces = []
            for window in split_words([len(ids) for ids in units.pieces], max_length - 2):
                ids, word_ids = window_ids(units.pieces, window, tokenizer, max_length)
                asked = tuple((token, 0.0) for token, word in enumerate(word_ids) if window.first <= word < window.last)
                pieces.append(Piece(ids, [network.token_segment] * len(ids), Window(*window), queries=asked))
            out.append((units, pieces))
        return out

    def run(pieces: list[Piece]) -> list[Array]:
        logits = network.token_logits(pieces)
        return [probabilities_of(rows[[token for token, _ in piece.queries]]) for piece, rows in zip(pieces, logits, strict=True)]

    for units, pieces, results in answer(texts, prepare=prepare, run=run, size=lambda units: len(units.text), batch_size=predictor.batch_size):
        yield units, np.concatenate(results), len(pieces)


# ---- A file or standard input -> sentences to tag; tagged sentences -> columns or JSON lines ----


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

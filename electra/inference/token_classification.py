"""Texts, or lists of words -> a tag for every word with its place, and the entities that the tags mark, as lines or plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from electra.contracts import Example, Features, TagPrediction
from electra.data.windows import chunks
from electra.errors import UserError
from electra.inference.answerer import Answerer
from electra.tasks.tag_schemes import find_spans, marks_spans
from electra.tasks.tagging import word_pieces, word_probabilities, word_windows

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer


Sentence: TypeAlias = str | Sequence[str]
"""A text, or its words."""


@dataclass(frozen=True)
class TaggedWord:
    """A word and its predicted tag."""

    word: str
    tag: str
    probability: float
    start: int
    """Its first character in the text; words that were given as a list are joined by single blanks."""
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
    """Index after its last word."""


@dataclass(frozen=True)
class Tagged:
    """A sentence with its tags."""

    text: str
    words: tuple[TaggedWord, ...]
    entities: tuple[Entity, ...]
    """Empty where tags are plain and mark no spans."""
    num_windows: int = 1


@dataclass(frozen=True)
class TaggingUnits:
    """What is tagged in a text: its words, or its single tokens."""

    text: str
    ids: Sequence[Sequence[int]]
    """Token ids of each unit."""
    places: Sequence[tuple[int, int]]
    """Characters (first, end) of each unit in the text."""


def tag(model: Answerer, sentences: Iterable[Sentence], batch_size: int) -> Iterator[Tagged]:
    """Sentences -> their tags, in constant memory and in order; each word is tagged at its first token, where it has most context.

    Raises:
        UserError: a sentence is neither a text nor a list of words.
    """
    units = (word_units(sentence, model.tokenizer) for sentence in sentences)
    for chunk in chunks(units, lambda unit: len(unit.text), batch_size):
        yield from tag_units(model, chunk, unit_features(model, chunk), batch_size)


def tag_units(model: Answerer, chunk: Sequence[TaggingUnits], features: Sequence[Features], batch_size: int) -> Iterator[Tagged]:
    """Sentences in units and their inputs -> their tags."""
    spanned = marks_spans(model.head.labels)
    examples = [Example(id="", text=unit.text) for unit in chunk]
    for unit, prediction in zip(chunk, model.answer_features(examples, features, batch_size), strict=True):
        assert isinstance(prediction, TagPrediction) and isinstance(prediction.label, tuple)
        rows = zip(unit.places, prediction.label, prediction.word_probabilities, strict=True)
        words = [TaggedWord(unit.text[start:end], name, probability, start, end) for (start, end), name, probability in rows]
        yield Tagged(unit.text, tuple(words), tuple(entities(unit.text, words) if spanned else ()), prediction.num_windows)


def unit_features(model: Answerer, chunk: Sequence[TaggingUnits], most: int | None = None) -> list[Features]:
    """Sentences in units -> the model's inputs, at most `most`."""
    segment, length = int(model.spec.options.get("token_segment", 0)), model.spec.max_length
    windows = (window for i, unit in enumerate(chunk) for window in word_windows(unit.ids, model.tokenizer, length, i, segment))
    return list(islice(windows, most))


def unit_probabilities(model: Answerer, chunk: Sequence[TaggingUnits], features: Sequence[Features], batch_size: int) -> Iterator[np.ndarray]:
    """TaggingUnits of texts and their inputs -> (N, C) probabilities of their tags."""
    for rows, _ in word_probabilities(model.outputs(features, batch_size), features, len(chunk)):
        yield rows


def entities(text: str, words: Sequence[TaggedWord]) -> list[Entity]:
    """The spans of tagged words, from left to right."""
    out = []
    for span in find_spans([word.tag for word in words]):
        inside = words[span.first : span.end]
        start, end = inside[0].start, inside[-1].end
        probability = sum(word.probability for word in inside) / len(inside)
        out.append(Entity(text[start:end], span.kind, probability, start, end, span.first, span.end))
    return out


def word_units(sentence: Sentence, tokenizer: Tokenizer) -> TaggingUnits:
    """A text -> its words by the tokenizer's own rules, so that tokens are those of the whole text; or given words, each by itself.

    Raises:
        UserError: neither.
    """
    if isinstance(sentence, str):
        found = tokenizer.encode_words(sentence)
        return TaggingUnits(sentence, [ids for ids, _ in found], [place for _, place in found])
    if not isinstance(sentence, list | tuple) or not all(isinstance(word, str) for word in sentence):
        raise UserError(f"expected a text or a list of words, got {type(sentence).__name__} {str(sentence)[:60]!r}; split it into words")
    places, start = [], 0
    for word in sentence:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return TaggingUnits(" ".join(sentence), word_pieces(sentence, tokenizer), places)


def token_units(text: str, tokenizer: Tokenizer) -> TaggingUnits:
    """A text -> its tokens, each a unit."""
    ids, offsets = tokenizer.encode_offsets(text)
    return TaggingUnits(text, [[index] for index in ids], offsets)


# ---- output ----


def tagged_columns(tagged: Tagged) -> str:
    """A line per word with its tag after a tab, and an empty line."""
    # White space inside a given word would break the columns.
    return "".join(f"{' '.join(word.word.split()) or '_'}\t{word.tag}\n" for word in tagged.words) + "\n"


def tagged_record(tagged: Tagged) -> dict[str, Any]:
    """Text, words and entities as plain values, for JSON."""
    words, entities = [asdict(word) for word in tagged.words], [asdict(entity) for entity in tagged.entities]
    return {"text": tagged.text, "words": words, "entities": entities, "windows": tagged.num_windows}

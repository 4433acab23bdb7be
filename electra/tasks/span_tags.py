"""Texts with marked spans -> words with BIO2 tags; `electra.tasks.span_files` reads the files.

Words are those of the file, else those into which BERT's rules split the text, as prediction does. A span is never moved: where it begins or ends
inside a word, no sequence of tags says what is marked, and its text is left out and counted (spaCy's `offsets_to_biluo_tags` marks such words
as missing and does not train on them). White space at its ends is cut off and counted. Overlapping spans are refused.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from electra.data.tokenizer import Tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.errors import UserError
from electra.terminal import say

ENCODINGS = {"UTF-16 code units, as JavaScript counts": ("utf-16-le", 2), "bytes of UTF-8": ("utf-8", 1)}
"""Units of wrong offsets -> the encoding, and bytes of a unit."""
REMEDY = "offsets count characters from 0, the end excluded: correct them"

Place: TypeAlias = tuple[int, int]
"""Characters (first, end) in a text."""


@dataclass(frozen=True, order=True)
class AnnotatedSpan:
    """Characters that a person gave a type."""

    start: int
    end: int
    kind: str
    """The type, such as PER."""
    text: str | None = field(default=None, compare=False)
    """Its characters, where the file repeats them."""

    def __str__(self) -> str:
        return f"[{self.start}, {self.end}, {self.kind!r:.60}]"


@dataclass(frozen=True, kw_only=True)
class AnnotatedText:
    """A record of a file."""

    place: str
    text: str
    words: list[Place] | None = None
    """Its words, where the file names them."""
    spans: list[AnnotatedSpan] | None = None
    """None: it has no field for spans."""
    omitted: str = ""
    """Why it is no data: 'answer reject', 'no annotation'."""


@functools.cache
def _splitter() -> Tokenizer:
    """BERT's rules without a vocabulary: they split a text into the same words with any."""
    return Tokenizer(bert_rules({piece: index for index, piece in enumerate(SPECIAL_PIECES)}, lowercase=True))


def split_text(text: str) -> list[Place]:
    """A text -> its words by BERT's rules (white space, punctuation and Chinese characters separate), as `Tokenizer.encode_words` finds them."""
    return [place for _, place in _splitter().encode_words(text)]


def _within(words: Sequence[Place], span: AnnotatedSpan) -> range:
    """Indices of the words that a span touches."""
    return range(bisect_right(words, span.start, key=lambda word: word[1]), bisect_left(words, span.end, key=lambda word: word[0]))


def _fits(words: Sequence[Place], span: AnnotatedSpan) -> bool:
    """Whether a span holds words, and all of each."""
    inside = _within(words, span)
    return len(inside) > 0 and words[inside[0]][0] >= span.start and words[inside[-1]][1] <= span.end


def _characters(text: str, span: AnnotatedSpan, encoding: str, width: int) -> AnnotatedSpan | None:
    """A span whose offsets count units of an encoding -> the same in characters; None where they cannot."""
    data = text.encode(encoding)
    if not 0 <= span.start < span.end <= len(data) // width:
        return None
    try:
        start, end = (len(data[: width * offset].decode(encoding)) for offset in (span.start, span.end))
    except UnicodeDecodeError:
        return None
    return AnnotatedSpan(start, end, span.kind, span.text)


def _check_offsets(annotated: AnnotatedText, words: Sequence[Place]) -> None:
    """Check that spans lie within their text, and are what the file repeats of it.

    Raises:
        UserError: they do not; the message has the unit that the offsets count, where that shows.
    """
    text, spans, place = annotated.text, annotated.spans or [], annotated.place
    outside = next((span for span in spans if not 0 <= span.start < span.end <= len(text)), None)
    other = next((span for span in spans if not _is_repeated(text, span)), None)
    wrong = other or outside or next((span for span in spans if not _fits(words, span)), None)
    if wrong is None:
        return
    for unit, (encoding, width) in ENCODINGS.items():
        converted = [_characters(text, span, encoding, width) for span in spans]
        if converted != spans and all(s and (_fits(words, s) if s.text is None else _is_repeated(text, s)) for s in converted):
            raise UserError(f"{place}: the offsets of the span {wrong} count {unit}, expected characters (code points); convert them")
    if outside is not None:
        what = "is empty" if 0 <= outside.end <= outside.start <= len(text) else f"is not within the text's {len(text)} characters"
        raise UserError(f"{place}: the span {outside} {what}; {REMEDY}")
    if other is not None:
        raise UserError(f"{place}: the span {other} is {other.text!r:.60}, the text has {text[other.start : other.end]!r:.60} there; {REMEDY}")


def _is_repeated(text: str, span: AnnotatedSpan) -> bool:
    """Whether the text has at a span's offsets what the file repeats, line ends and spaces apart."""
    return span.text is None or text[max(0, span.start) : max(0, span.end)].split() == span.text.split()


def _check_overlaps(annotated: AnnotatedText, spans: Iterable[AnnotatedSpan]) -> None:
    """Check that no character is in two spans.

    Raises:
        UserError: one is.
    """
    for before, after in pairwise(sorted(spans)):
        if after.start < before.end:
            shown = " and ".join(f"{annotated.text[span.start : span.end]!r:.60} {span}" for span in (before, after))
            nested = after.end <= before.end or after.start == before.start
            how = "are the same words" if before.end == after.end and after.start == before.start else "are nested" if nested else "overlap"
            raise UserError(f"{annotated.place}: the spans {shown} {how}; a word has one tag, so keep one of them")


@dataclass
class SpanNotes:
    """What is said about a file once it is read."""

    inside: list[str] = field(default_factory=list)
    """Where a span begins or ends inside a word."""
    texts: set[str] = field(default_factory=set)
    """The records of these."""
    spaces: list[str] = field(default_factory=list)
    """Where a span begins or ends with white space."""
    omitted: Counter[str] = field(default_factory=Counter)

    def say(self, path: Path, records: int) -> None:
        """A line for each thing that happened."""
        for why, count in self.omitted.items():
            say(f"{path}: {count} of {records} records are left out ({why})")
        if self.inside:
            remedy = "correct the offsets, or give the words as 'tokens'"
            found = f"{len(self.inside)}, so {len(self.texts)} of {records} texts are left out; the first: {_first(self.inside, path)}"
            say(f"warning: {path}: spans that begin or end inside a word: {found}; {remedy}")
        if self.spaces:
            say(f"warning: {path}: spans with white space at an end, which is cut off: {len(self.spaces)}; the first: {_first(self.spaces, path)}")


def _first(places: Sequence[str], path: Path) -> str:
    return places[0].removeprefix(f"{path}, ")


def tag_words(annotated: AnnotatedText, words: Sequence[Place], notes: SpanNotes) -> list[str] | None:
    """A text and the places of its words -> a BIO2 tag for each; None where a span begins or ends inside a word.

    Raises:
        UserError: offsets that are wrong, spans of white space, or spans that overlap.
    """
    _check_offsets(annotated, words)
    text, tags, exact, cut = annotated.text, ["O"] * len(words), set(), []
    for span in sorted({*(annotated.spans or [])}):
        inside = _within(words, span)
        if not inside:
            raise UserError(f"{annotated.place}: the span {span} holds no word but {text[span.start : span.end]!r:.60}; {REMEDY}")
        place = AnnotatedSpan(words[inside[0]][0], words[inside[-1]][1], span.kind)
        if not _fits(words, span):
            cut.append(span)
            notes.inside.append(f"{annotated.place}, {text[span.start : span.end]!r:.60} in {text[place.start : place.end]!r:.60}")
            notes.texts.add(annotated.place)
            continue
        if place != span:
            notes.spaces.append(f"{annotated.place}, {text[span.start : span.end]!r:.60}")
        exact.add(place)
        tags[inside[0] : inside[-1] + 1] = [f"B-{span.kind}", *[f"I-{span.kind}"] * (len(inside) - 1)]
    _check_overlaps(annotated, [*exact, *cut])
    return None if cut else tags

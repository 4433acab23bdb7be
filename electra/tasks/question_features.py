"""Questions and contexts -> [CLS] question [SEP] window of the context [SEP], as the original's qa_tasks.py makes them.

A context that does not fit is read in overlapping windows. Unlike the original, which keeps words and pieces, every token knows its
characters in the context, so that an answer is cut from the text itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from electra.contracts import Answer, Example, Features, Head
from electra.errors import UserError
from electra.tasks.question_files import WHITE_SPACE

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

SHORTEST = 16
"""Tokens; in a shorter input a question leaves no room for a context."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How questions are read and answers are chosen; a fine-tuned checkpoint remembers it in its config.json."""

    stride: int = 128
    """Tokens from one window's start to the next one's."""
    max_query_length: int = 64
    """Longest question in tokens; the rest is cut off."""
    max_answer_length: int = 30
    """Longest answer in tokens."""
    unanswerable: bool = False
    """Whether 'no answer' is an answer."""
    null_threshold: float = 0.0
    """No answer is given where the null odds are above this."""

    def check(self, max_length: int) -> None:
        """Nothing, when a context can be read.

        Raises:
            UserError: no room, or a number below one.
        """
        if max_length < SHORTEST:
            raise UserError(f"max_length {max_length} leaves no room for a question and its context; expected at least {SHORTEST}")
        for name in ("stride", "max_query_length", "max_answer_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Context:
    """A context in word pieces."""

    ids: np.ndarray
    """(N,) int32."""
    offsets: np.ndarray
    """(N, 2) int32 characters (first, end) of each."""
    words: np.ndarray
    """(N,) the word each is of."""
    word_at: np.ndarray
    """(characters,) the word a character is of; white space belongs to the word before it (-1 before the first)."""
    num_words: int


def encode_context(text: str, tokenizer: Tokenizer) -> Context:
    """A context -> its word pieces, their characters, and the words (between white space) that they are of."""
    ids, places = tokenizer.encode_offsets(text)
    offsets = np.array(places, np.int32).reshape(-1, 2)
    if not text.isascii():
        _take_marks(text, offsets)
    space = np.array([character in WHITE_SPACE for character in text], bool)
    begins = ~space & np.concatenate([[True], space[:-1]])[: len(space)]
    word_at = np.cumsum(begins) - 1
    words = word_at[offsets[:, 0]] if len(offsets) else np.zeros(0, np.int64)
    return Context(ids=np.array(ids, np.int32), offsets=offsets, words=words, word_at=word_at, num_words=int(begins.sum()))


def _take_marks(text: str, offsets: np.ndarray) -> None:
    """Let tokens end behind accents that stand as characters of their own and were taken off."""
    following = [*offsets[1:, 0].tolist(), len(text)]
    for row, limit in zip(offsets, following, strict=False):
        while row[1] < limit and unicodedata.category(text[row[1]]) in ("Mn", "Me"):
            row[1] += 1


def answer_tokens(context: Context, answer: Answer, ids: Sequence[int]) -> tuple[int, int]:
    """First and last token of an answer: those of its characters where their pieces are the answer's `ids`, else those of its words, or the
    part of them whose pieces are `ids`.

    Source: `_improve_answer_span` of the original's qa_tasks.py, which takes the first such part of the words: not always the marked one, and
    in a language without spaces, where a sentence is one word, rarely.
    """
    end = min(answer.start + len(answer.text), len(context.word_at))
    first = int(np.searchsorted(context.offsets[:, 1], answer.start, side="right"))
    last = int(np.searchsorted(context.offsets[:, 0], end)) - 1
    wanted = list(ids)
    if wanted and context.ids[first : last + 1].tolist() == wanted:
        return first, last
    first_word, last_word = int(context.word_at[answer.start]), int(context.word_at[end - 1])
    first = int(np.searchsorted(context.words, first_word))
    last = int(np.searchsorted(context.words, last_word + 1)) - 1 if last_word < context.num_words - 1 else len(context.ids) - 1
    for start in range(first, last - len(wanted) + 2) if wanted else ():
        if context.ids[start : start + len(wanted)].tolist() == wanted:
            return start, start + len(wanted) - 1
    return first, last


def windows(num_tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Number of tokens -> (first, end) of windows of at most `room` tokens that cover them; an empty context has one."""
    spans = [(0, min(room, num_tokens))]
    while spans[-1][1] < num_tokens:
        start = spans[-1][0] + min(room, stride)
        spans.append((start, min(start + room, num_tokens)))
    return spans


def longest_question(reading: Reading, max_length: int) -> int:
    """Tokens of a question that are read: `max_query_length`, and never more than three quarters of a short input."""
    return min(reading.max_query_length, max_length - 3 - max_length // 4)


def most_context(spans: Sequence[tuple[int, int]], num_tokens: int) -> np.ndarray:
    """(N,) the window in which each token has most text on its poorer side; the earliest of equals."""
    best, chosen = np.full(num_tokens, -1.0), np.zeros(num_tokens, np.int64)
    for number, (start, end) in enumerate(spans):
        left = np.arange(end - start)
        score = np.minimum(left, left[::-1]) + 0.01 * (end - start)
        better = score > best[start:end]
        best[start:end][better], chosen[start:end][better] = score[better], number
    return chosen


def featurize_questions(examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, head: Head, *, reading: Reading) -> list[Features]:
    """Examples -> their windows, with (first, last) token of the first answer known: (0, 0) in a window without it.

    Where there are questions without answer a third number says that the question is one of them.

    Raises:
        UserError: a question without a context, or settings that leave no room.
    """
    reading.check(max_length)
    limit = longest_question(reading, max_length)
    questions = tokenizer.encode([example.text for example in examples])
    known: dict[str, Context] = {}
    features: list[Features] = []
    for number, (example, question) in enumerate(zip(examples, questions, strict=True)):
        if example.text_pair is None:
            raise UserError(f"question {example.id} has no context to look for an answer in; give both")
        if example.text_pair not in known:
            # Questions about a context stand together, so one is enough to remember.
            known = {example.text_pair: encode_context(example.text_pair, tokenizer)}
        features += _windows_of(example, number, question[:limit], known[example.text_pair], tokenizer, max_length, reading)
    return features


def _windows_of(
    example: Example, number: int, question: Sequence[int], context: Context, tokenizer: Tokenizer, max_length: int, reading: Reading
) -> Iterator[Features]:
    spans = windows(len(context.ids), max_length - len(question) - 3, reading.stride)
    chosen = most_context(spans, len(context.ids))
    before = len(question) + 2
    answer = next((answer for answer in example.answers or () if answer.start >= 0), None)
    place = None if answer is None or not len(context.ids) else answer_tokens(context, answer, tokenizer.encode([answer.text])[0])
    for index, (start, end) in enumerate(spans):
        label: tuple[int, ...] | None = None
        if place is not None or example.answers == ():
            inside = place is not None and start <= place[0] and place[1] < end
            label = (place[0] - start + before, place[1] - start + before) if place is not None and inside else (0, 0)
            label += (int(example.answers == ()),) if reading.unanswerable else ()
        length = before + end - start + 1
        offsets = np.full((length, 2), -1, np.int32)
        offsets[before:-1] = context.offsets[start:end]
        shown = np.zeros(length, bool)
        shown[before:-1] = chosen[start:end] == index
        ids = np.concatenate([[tokenizer.cls_id, *question, tokenizer.sep_id], context.ids[start:end], [tokenizer.sep_id]]).astype(np.int32)
        segments = (np.arange(length) >= before).astype(np.int8)
        yield Features(
            ids=ids,
            segments=segments,
            example=number,
            label=label,
            offsets=offsets,
            has_most_context=shown if len(spans) > 1 else None,
        )

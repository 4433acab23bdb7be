"""Task names as users of `transformers` write them -> callables on texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np

from electra.errors import UserError, did_you_mean
from electra.inference.predictor import Input, Predictor, load
from electra.inference.text_io import Text
from electra.inference.token_classification import Units, piece_units, tag, unit_probabilities
from electra.tasks.tag_schemes import marks_spans

TextClassificationName: TypeAlias = Literal["sentiment-analysis", "text-classification"]
TokenClassificationName: TypeAlias = Literal["token-classification", "ner"]


class TextClassification:
    """Texts -> [{"label": ..., "score": ...}, ...]; every class, best first, with `top_k=None`."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @overload
    def __call__(self, texts: Input | Sequence[Input], *, top_k: Literal[1] = 1) -> list[dict[str, Any]]: ...
    @overload
    def __call__(self, texts: Input | Sequence[Input], *, top_k: int | None) -> list[dict[str, Any]] | list[list[dict[str, Any]]]: ...
    def __call__(self, texts: Input | Sequence[Input], *, top_k: int | None = 1) -> list[Any]:
        """One text, one (text, text) pair or a list of them -> one answer each.

        Args:
            texts: what to label.
            top_k: 1: the best class of each text; another number, or None for all: a list of classes for each.

        Returns:
            {"label", "score"} per text, the score a probability; for a regression the score is the predicted value.
        """
        out: list[Any] = []
        for answer in self.predictor.predict([texts] if isinstance(texts, str | tuple | Text) else texts):
            if not answer.probabilities:
                rows = [{"label": (self.predictor.network.labels or ("value",))[0], "score": float(str(answer.label))}]
            else:
                ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])
                rows = [{"label": label, "score": score} for label, score in ranked]
            out.append(rows[0] if top_k == 1 else rows[:top_k])
        return out


class ReplacedTokenDetection:
    """Texts -> for each, [{"token", "start", "end", "score", "replaced"}, ...], the score the probability of 'replaced'."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, texts: str | Sequence[str], *, threshold: float = 0.5) -> list[list[dict[str, Any]]]:
        """One text or a list of texts -> a list of tokens for each."""
        found = self.predictor.detect([texts] if isinstance(texts, str) else texts, threshold=threshold)
        return [
            [{"token": t.token, "start": t.start, "end": t.end, "score": t.probability, "replaced": t.replaced} for t in detection.tokens]
            for detection in found
        ]


class FeatureExtraction:
    """Texts -> for each, a (L, D) float32 array: the last hidden state of [CLS], every token, [SEP]."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, texts: str | Sequence[str]) -> list[np.ndarray]:
        """One text or a list of texts -> one array each. For one vector per text see `Predictor.embed`."""
        return list(self.predictor.token_vectors([texts] if isinstance(texts, str) else texts))


class FillMask:
    """Texts with [MASK] -> for each mask, [{"score", "token", "token_str", "sequence"}, ...], the best first."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, texts: str | Sequence[str], *, top_k: int = 5, targets: Sequence[str] | None = None) -> list[Any]:
        """A text -> its mask's proposals, of `targets` alone if given (a list of lists where it has several); texts -> a list of those."""
        answers = []
        for text in [texts] if isinstance(texts, str) else texts:
            marks = [
                [{"score": score, "token": number, "token_str": word, "sequence": filled} for word, number, score, filled in mark]
                for mark in self.predictor.fill(text, top_k=top_k, targets=targets)
            ]
            answers.append(marks[0] if len(marks) == 1 else marks)
        return answers[0] if isinstance(texts, str) else answers


AggregationStrategy: TypeAlias = Literal["none", "simple", "first", "average", "max", "spans"]
Record: TypeAlias = dict[str, Any]


class TokenClassification:
    """Texts -> for each, its word pieces with their tags, or with a strategy its entities; those outside of any are left out.

    'none' gives every piece ("entity", "score", "index", "word", "start", "end"); the others give "entity_group" in place of "entity" and
    "index". 'simple' joins neighbouring pieces of one type; 'first', 'average' and 'max' first agree on one tag for all pieces of a word.
    So does `transformers`, which knows B- and I- alone. 'spans' is ours: each word by its first piece, as taggers are trained, joined by the
    rules of the tags' scheme (BIO, BIES and the like); words alone where tags mark no spans.
    """

    def __init__(self, predictor: Predictor, aggregation_strategy: AggregationStrategy = "none") -> None:
        self.predictor = predictor
        self.aggregation_strategy = _checked(aggregation_strategy)

    def __call__(
        self, texts: str | Sequence[str], *, aggregation_strategy: AggregationStrategy | None = None, ignore_labels: Sequence[str] = ("O",)
    ) -> list[Any]:
        """A text -> a list of records; a list of texts -> a list of such lists.

        Raises:
            UserError: an unknown strategy.
        """
        strategy = self.aggregation_strategy if aggregation_strategy is None else _checked(aggregation_strategy)
        if strategy == "spans":
            found = self._spans([texts] if isinstance(texts, str) else texts, ignore_labels)
            return found[0] if isinstance(texts, str) else found
        units = (piece_units(text, self.predictor.tokenizer) for text in ([texts] if isinstance(texts, str) else texts))
        out = []
        for source, rows, _ in unit_probabilities(self.predictor, units):
            records = self._pieces(source, rows) if strategy in ("none", "simple") else self._words(source, rows, strategy)
            if strategy != "none":
                records = self._groups(records)
            kept = [r for r in records if r.get("entity") not in ignore_labels and r.get("entity_group") not in ignore_labels]
            out.append(kept)
        return out[0] if isinstance(texts, str) else out

    def _spans(self, texts: Sequence[str], ignore_labels: Sequence[str]) -> list[list[Record]]:
        """Entities as `electra predict` finds them; a word each where tags are plain."""
        out = []
        spanned = marks_spans(self.predictor.network.labels)
        for tagged in tag(self.predictor, texts):
            spans = [(span.kind, span.probability, span.start, span.end) for span in tagged.entities]
            words = [(word.tag, word.probability, word.start, word.end) for word in tagged.words]
            records = [
                {"entity_group": kind, "score": score, "word": tagged.text[start:end], "start": start, "end": end}
                for kind, score, start, end in (spans if spanned else words)
            ]
            out.append([record for record in records if record["entity_group"] not in ignore_labels])
        return out

    def _pieces(self, source: Units, rows: np.ndarray) -> list[Record]:
        """A record for every piece of a text."""
        tokenizer, labels = self.predictor.tokenizer, self.predictor.network.labels
        records = []
        for index, ((piece,), (start, end), row) in enumerate(zip(source.pieces, source.places, rows, strict=True), start=1):
            word = source.text[start:end] if piece == tokenizer.unk_id else tokenizer.pieces[piece]
            best = int(row.argmax())
            records.append({"entity": labels[best], "score": float(row[best]), "index": index, "word": word, "start": start, "end": end})
        return records

    def _words(self, source: Units, rows: np.ndarray, strategy: str) -> Iterator[Record]:
        """A record for every word: a piece and those behind it that continue it."""
        records = self._pieces(source, rows)
        begins = [i for i, record in enumerate(records) if not i or not record["word"].startswith("##")]
        for first, end in pairwise([*begins, len(records)]):
            if strategy == "first":
                row = rows[first]
            elif strategy == "max":
                row = rows[max(range(first, end), key=lambda i: float(rows[i].max()))]
            else:
                row = rows[first:end].mean(0)
            best = int(row.argmax())
            word = self._join(records[first:end])
            place = {"start": records[first]["start"], "end": records[end - 1]["end"]}
            yield {"entity": self.predictor.network.labels[best], "score": float(row[best]), "word": word, **place}

    def _groups(self, records: Sequence[Record] | Iterator[Record]) -> list[Record]:
        """Neighbouring records of one type, where the later is no B-, -> one record each."""
        groups: list[list[Record]] = []
        for record in records:
            letter, kind = _parts(record["entity"])
            if groups and letter != "B" and kind == _parts(groups[-1][-1]["entity"])[1]:
                groups[-1].append(record)
            else:
                groups.append([record])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([record["score"] for record in group])),
                "word": self._join(group),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]

    def _join(self, records: Sequence[Record]) -> str:
        return str(self.predictor.tokenizer.backend.decoder.decode([record["word"] for record in records]))


def _parts(entity: str) -> tuple[str, str]:
    """'B-PER' -> ('B', 'PER'); what begins with neither B- nor I- continues its like."""
    return (entity[0], entity[2:]) if entity.startswith(("B-", "I-")) else ("I", entity)


def _checked(strategy: str) -> AggregationStrategy:
    for name in get_args(AggregationStrategy):
        if strategy == name:
            return name  # type: ignore[no-any-return]
    raise UserError(f"unknown aggregation_strategy '{strategy}'; {did_you_mean(str(strategy), get_args(AggregationStrategy))}")


Asked: TypeAlias = Mapping[str, str]


class QuestionAnswering:
    """Questions and contexts -> {"score", "start", "end", "answer"}, in the call forms of `transformers`."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(
        self,
        inputs: Asked | Sequence[Asked] | None = None,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        top_k: int = 1,
        handle_impossible_answer: bool | None = None,
        max_answer_len: int | None = None,
        doc_stride: int | None = None,
    ) -> Any:
        """Answer one question or several.

        Args:
            inputs: {"question", "context"}, or a list of these.
            question: a question, or a list of them.
            context: its context; one for all questions, or a list as long as theirs.
            top_k: answers per question.
            handle_impossible_answer: whether "" may be the answer; None: as the model was trained.
            max_answer_len: longest answer in tokens; None: as the model was trained (30).
            doc_stride: tokens from one window of a long context to the next; None: as the model was trained (128).

        Returns:
            a dict for one question with top_k 1, a list of dicts for more of either, a list of lists for more of both.

        Raises:
            UserError: no question, or lists of different lengths.
        """
        pairs, single = _pairs(inputs, question, context)
        choices = {"top_k": top_k, "handle_impossible": handle_impossible_answer, "max_answer_length": max_answer_len, "stride": doc_stride}
        out = []
        for found in self.predictor.iterate_answers(pairs, **choices):
            rows = [{"score": one.score, "start": one.start, "end": one.end, "answer": one.text} for one in found]
            out.append(rows[0] if top_k == 1 else rows)
        return out[0] if single else out


def _pairs(
    inputs: Asked | Sequence[Asked] | None, question: str | Sequence[str] | None, context: str | Sequence[str] | None
) -> tuple[list[tuple[str, str]], bool]:
    """The forms of a call -> (question, context) pairs, and whether there is just one question."""
    if inputs is not None:
        rows = [inputs] if isinstance(inputs, Mapping) else list(inputs)
        pairs = []
        for row in rows:
            if not isinstance(row, Mapping) or not all(isinstance(row.get(key), str) for key in ("question", "context")):
                raise UserError(f"expected {{'question': text, 'context': text}}, got {str(row)[:60]!r}")
            pairs.append((row["question"], row["context"]))
        return pairs, isinstance(inputs, Mapping)
    if question is None or context is None:
        raise UserError("nothing to answer: give question=... and context=..., or {'question': ..., 'context': ...}")
    questions = [question] if isinstance(question, str) else list(question)
    contexts = [context] * len(questions) if isinstance(context, str) else list(context)
    if len(questions) != len(contexts):
        raise UserError(f"{len(questions)} questions and {len(contexts)} contexts; give one context each, or one for all")
    return list(zip(questions, contexts, strict=True)), isinstance(question, str)


Pipeline: TypeAlias = TextClassification | TokenClassification | ReplacedTokenDetection | FeatureExtraction | FillMask | QuestionAnswering

PIPELINES: dict[str, tuple[type[Pipeline], str]] = {
    "sentiment-analysis": (TextClassification, "classifier"),
    "text-classification": (TextClassification, "classifier"),
    "ner": (TokenClassification, "tagger"),
    "token-classification": (TokenClassification, "tagger"),
    "replaced-token-detection": (ReplacedTokenDetection, "discriminator"),
    "feature-extraction": (FeatureExtraction, "encoder"),
    "fill-mask": (FillMask, "any"),
    "question-answering": (QuestionAnswering, "span finder"),
}
"""Task name -> what answers it, and the role a checkpoint must play for it."""


@overload
def pipeline(task: TextClassificationName, model: str | Path | Predictor | None = None, **options: Any) -> TextClassification: ...
@overload
def pipeline(task: TokenClassificationName, model: str | Path | Predictor | None = None, **options: Any) -> TokenClassification: ...
@overload
def pipeline(task: Literal["replaced-token-detection"], model: str | Path | Predictor | None = None, **options: Any) -> ReplacedTokenDetection: ...
@overload
def pipeline(task: Literal["feature-extraction"], model: str | Path | Predictor | None = None, **options: Any) -> FeatureExtraction: ...
@overload
def pipeline(task: Literal["fill-mask"], model: str | Path | Predictor | None = None, **options: Any) -> FillMask: ...
@overload
def pipeline(task: Literal["question-answering"], model: str | Path | Predictor | None = None, **options: Any) -> QuestionAnswering: ...
@overload
def pipeline(task: str, model: str | Path | Predictor | None = None, **options: Any) -> Pipeline: ...
def pipeline(task: str, model: str | Path | Predictor | None = None, **options: Any) -> Pipeline:
    """A task's name and a model -> a callable on texts.

    Args:
        task: 'sentiment-analysis' or 'text-classification', 'token-classification' or 'ner', 'question-answering',
            'replaced-token-detection', 'feature-extraction', 'fill-mask'.
        model: checkpoint folder, run directory, hub name, or what `load` returned; None: the one that comes with electra, where one does.
        options: passed to `load` (device, threads, max_length, batch_size); aggregation_strategy of 'token-classification'.

    Raises:
        UserError: an unknown task, no such model, or a model without the head the task needs; the message says how to make one.

    Examples:
        >>> from electra import pipeline  # doctest: +SKIP
        >>> classifier = pipeline("sentiment-analysis")  # doctest: +SKIP
        >>> classifier(["ELECTRA is surprisingly fast and accurate."])  # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """
    if task not in PIPELINES:
        raise UserError(f"unknown task '{task}'; {did_you_mean(task, PIPELINES)}")
    kind, role = PIPELINES[task]
    own = {name: options.pop(name) for name in ("aggregation_strategy",) if kind is TokenClassification and name in options}
    return kind(model if isinstance(model, Predictor) else load(model, role=role, **options), **own)

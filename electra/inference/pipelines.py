"""Task names as in `transformers` -> callables on texts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np

from electra.contracts import Features, Prediction
from electra.data.windows import chunks
from electra.errors import UserError, did_you_mean
from electra.inference.answerer import Answerer, FoundAnswer
from electra.inference.masked_lm import Proposal
from electra.inference.predictor import Predictor, load
from electra.inference.replaced_tokens import Detection
from electra.inference.text_io import Input, Text
from electra.inference.token_classification import TaggingUnits, tag_units, token_units, unit_features, unit_probabilities, word_units
from electra.tasks.tag_schemes import marks_spans

TextClassificationName: TypeAlias = Literal["sentiment-analysis", "text-classification"]
TokenClassificationName: TypeAlias = Literal["token-classification", "ner"]
Record: TypeAlias = dict[str, Any]


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
        predictions = self.predictor.predict([texts] if isinstance(texts, str | tuple | Text) else texts)
        ranked = [label_records(prediction, self.predictor.backend.labels) for prediction in predictions]
        return [rows[0] if top_k == 1 else rows[:top_k] for rows in ranked]


def label_records(prediction: Prediction, labels: Sequence[str]) -> list[Record]:
    """A text's prediction -> {"label", "score"} of every class, the best first; of a regression the value, under its only label."""
    if not prediction.probabilities:
        return [{"label": (labels or ("value",))[0], "score": float(str(prediction.label))}]
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return [{"label": label, "score": score} for label, score in ranked]


class ReplacedTokenDetection:
    """Texts -> for each, [{"token", "start", "end", "score", "replaced"}, ...], the score the probability of 'replaced'."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, texts: str | Sequence[str], *, threshold: float = 0.5) -> list[list[dict[str, Any]]]:
        """One text or a list of texts -> a list of tokens for each."""
        return [token_records(found) for found in self.predictor.detect([texts] if isinstance(texts, str) else texts, threshold=threshold)]


def token_records(detection: Detection) -> list[Record]:
    """A detection -> {"token", "start", "end", "score", "replaced"} of every token."""
    return [{"token": t.token, "start": t.start, "end": t.end, "score": t.probability, "replaced": t.replaced} for t in detection.tokens]


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
        answers = [mask_records(self.predictor.fill(text, top_k=top_k, targets=targets)) for text in ([texts] if isinstance(texts, str) else texts)]
        return answers[0] if isinstance(texts, str) else answers


def mask_records(masks: Sequence[Sequence[Proposal]]) -> list[Any]:
    """The proposals of a text's masks -> records; a list of lists where it has several masks."""
    records = [[{"score": score, "token": number, "token_str": word, "sequence": filled} for word, number, score, filled in mask] for mask in masks]
    return records[0] if len(records) == 1 else records


AggregationStrategy: TypeAlias = Literal["none", "simple", "first", "average", "max", "spans"]


class TokenClassification:
    """Texts -> for each, its tokens with their tags, or with a strategy its entities; those outside of any are left out.

    'none' gives every token ("entity", "score", "index", "word", "start", "end"); the others give "entity_group" in place of "entity" and
    "index". 'simple' joins neighboring tokens of one type; 'first', 'average' and 'max' first agree on one tag for all tokens of a word.
    So does `transformers`, which knows B- and I- alone. 'spans' is ours: each word by its first token, as token classifiers are trained, joined
    by the rules of the tags' scheme (BIO, BIES and the like); words alone where tags mark no spans.
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
        model, batch_size = self.predictor.token_classifier(), self.predictor.batch_size
        out: list[list[Record]] = []
        for chunk in chunks([texts] if isinstance(texts, str) else texts, len, batch_size):
            units = [self.units(text, strategy) for text in chunk]
            out += self.records(model, units, unit_features(model, units), strategy, ignore_labels, batch_size)
        return out[0] if isinstance(texts, str) else out

    def units(self, text: str, strategy: AggregationStrategy) -> TaggingUnits:
        """What is tagged in a text: its words with 'spans', else its tokens."""
        return (word_units if strategy == "spans" else token_units)(text, self.predictor.tokenizer)

    def records(
        self,
        model: Answerer,
        units: Sequence[TaggingUnits],
        features: Sequence[Features],
        strategy: AggregationStrategy,
        ignore_labels: Sequence[str],
        batch_size: int,
    ) -> list[list[Record]]:
        """TaggingUnits of texts and their inputs -> the records of each text."""
        if strategy == "spans":
            return self._spans(model, units, features, ignore_labels, batch_size)
        out = []
        for source, rows in zip(units, unit_probabilities(model, units, features, batch_size), strict=True):
            records = self._tokens(source, rows) if strategy in ("none", "simple") else self._words(source, rows, strategy)
            if strategy != "none":
                records = self._groups(records)
            out.append([r for r in records if r.get("entity") not in ignore_labels and r.get("entity_group") not in ignore_labels])
        return out

    def _spans(
        self, model: Answerer, units: Sequence[TaggingUnits], features: Sequence[Features], ignore_labels: Sequence[str], batch_size: int
    ) -> list[list[Record]]:
        """Entities as `electra predict` finds them; a word each where tags are plain."""
        out = []
        spanned = marks_spans(model.head.labels)
        for tagged in tag_units(model, units, features, batch_size):
            spans = [(span.kind, span.probability, span.start, span.end) for span in tagged.entities]
            words = [(word.tag, word.probability, word.start, word.end) for word in tagged.words]
            records = [
                {"entity_group": kind, "score": score, "word": tagged.text[start:end], "start": start, "end": end}
                for kind, score, start, end in (spans if spanned else words)
            ]
            out.append([record for record in records if record["entity_group"] not in ignore_labels])
        return out

    def _tokens(self, source: TaggingUnits, rows: np.ndarray) -> list[Record]:
        """A record for every token of a text."""
        tokenizer, labels = self.predictor.tokenizer, self.predictor.backend.labels
        records = []
        for index, ((token,), (start, end), row) in enumerate(zip(source.ids, source.places, rows, strict=True), start=1):
            word = source.text[start:end] if token == tokenizer.unk_id else tokenizer.pieces[token]
            best = int(row.argmax())
            records.append({"entity": labels[best], "score": float(row[best]), "index": index, "word": word, "start": start, "end": end})
        return records

    def _continues(self, text: str, token: int, place: tuple[int, int]) -> bool:
        """Whether a token continues a word, by the rule of `transformers`: its piece is longer than its text, or no space is before it."""
        tokenizer, (start, end) = self.predictor.tokenizer, place
        if token == tokenizer.unk_id:
            return False
        if getattr(tokenizer.backend.model, "continuing_subword_prefix", None):
            return len(tokenizer.pieces[token]) != end - start
        return start > 0 and " " not in text[start - 1 : start + 1]

    def _words(self, source: TaggingUnits, rows: np.ndarray, strategy: str) -> Iterator[Record]:
        """A record for every word: a token and those after it that continue it."""
        records = self._tokens(source, rows)
        tokens = zip(source.ids, source.places, strict=True)
        begins = [i for i, ((token,), place) in enumerate(tokens) if not i or not self._continues(source.text, token, place)]
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
            yield {"entity": self.predictor.backend.labels[best], "score": float(row[best]), "word": word, **place}

    def _groups(self, records: Sequence[Record] | Iterator[Record]) -> list[Record]:
        """Neighboring records of one type, where the later is no B-, -> one record each."""
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
        words, decoder = [record["word"] for record in records], self.predictor.tokenizer.backend.decoder
        return " ".join(words) if decoder is None else str(decoder.decode(words))


def _parts(entity: str) -> tuple[str, str]:
    """'B-PER' -> ('B', 'PER'); what begins with neither B- nor I- continues its like."""
    return (entity[0], entity[2:]) if entity.startswith(("B-", "I-")) else ("I", entity)


def _checked(strategy: str) -> AggregationStrategy:
    for name in get_args(AggregationStrategy):
        if strategy == name:
            return name  # type: ignore[no-any-return]
    raise UserError(f"unknown aggregation_strategy '{strategy}'; {did_you_mean(str(strategy), get_args(AggregationStrategy))}")


Question: TypeAlias = Mapping[str, str]


class QuestionAnswering:
    """Questions and contexts -> {"score", "start", "end", "answer"}, in the call forms of `transformers`."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(
        self,
        inputs: Question | Sequence[Question] | None = None,
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
        out = [answer_records(found, top_k) for found in self.predictor.iterate_answers(pairs, **choices)]
        return out[0] if single else out


def answer_records(found: Sequence[FoundAnswer], top_k: int) -> Any:
    """A question's answers -> {"score", "start", "end", "answer"}, or a list of these with top_k above 1."""
    rows = [{"score": one.score, "start": one.start, "end": one.end, "answer": one.text} for one in found]
    return rows[0] if top_k == 1 else rows


def _pairs(
    inputs: Question | Sequence[Question] | None, question: str | Sequence[str] | None, context: str | Sequence[str] | None
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
    "ner": (TokenClassification, "token-classification"),
    "token-classification": (TokenClassification, "token-classification"),
    "replaced-token-detection": (ReplacedTokenDetection, "discriminator"),
    "feature-extraction": (FeatureExtraction, "encoder"),
    "fill-mask": (FillMask, "any"),
    "question-answering": (QuestionAnswering, "question-answering"),
}
"""Task name -> its class, and the role that its model needs."""


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
        model: checkpoint folder, run directory, hub name, or what `load` returned; None: the bundled one, where there is one.
        options: passed to `load` (device, threads, max_length, truncate, batch_size); aggregation_strategy of 'token-classification'.

    Raises:
        UserError: an unknown task or option, no such model, or a model without the head the task needs; the message says how to make one.

    Examples:
        >>> from electra import pipeline  # doctest: +SKIP
        >>> classifier = pipeline("sentiment-analysis")  # doctest: +SKIP
        >>> classifier(["ELECTRA is surprisingly fast and accurate."])  # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """
    if task not in PIPELINES:
        raise UserError(f"unknown task '{task}'; {did_you_mean(task, PIPELINES)}")
    kind, role = PIPELINES[task]
    extra = {name: options.pop(name) for name in ("aggregation_strategy",) if kind is TokenClassification and name in options}
    for name in options:
        if name in inspect.signature(kind.__call__).parameters:
            raise UserError(f"{name} is an option of the call; give it with the texts: pipeline('{task}')(texts, {name}=...)")
        if name not in (known := set(inspect.signature(load).parameters) - {"source", "role"}):
            raise UserError(f"unknown option '{name}' of a pipeline; {did_you_mean(name, known)}")
        if isinstance(model, Predictor):
            raise UserError(f"{name} is an option of load, and the model is loaded already; give it there: load(..., {name}=...)")
    return kind(model if isinstance(model, Predictor) else load(model, role=role, **options), **extra)

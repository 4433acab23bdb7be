"""Task names as users of `transformers` write them -> callables on texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np

from electra.deploy.loading import load
from electra.deploy.predictor import Input, Predictor
from electra.deploy.questions import QuestionAnswering
from electra.deploy.texts import Text
from electra.deploy.token_classification import TokenClassification
from electra.errors import UserError, did_you_mean

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

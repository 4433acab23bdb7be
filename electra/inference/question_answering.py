"""Questions and contexts of any length -> answers that are parts of the contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from electra.contracts import Example, Prediction, SpanPrediction
from electra.errors import UserError
from electra.inference.answerer import Answerer
from electra.tasks.question_answering import SHORTEST, QuestionOptions

CHOICES = {
    "handle_impossible": "unanswerable",
    "null_threshold": "null_threshold",
    "max_answer_length": "max_answer_length",
    "stride": "stride",
}
"""Argument of `Predictor.answer` -> the option of the task that it replaces; None leaves the model's."""


@dataclass(frozen=True, kw_only=True)
class FoundAnswer:
    """An answer, `context[start:end]`; empty (0..0) for 'the context does not say'."""

    text: str
    start: int
    end: int
    score: float
    """Probability, 0..1."""


def with_choices(model: Answerer, choices: Mapping[str, Any]) -> tuple[Answerer, int]:
    """A model and the arguments of `Predictor.answer` -> the model with these options, and top_k.

    Raises:
        UserError: an unknown argument, or a number below one.
    """
    known = ("top_k", *CHOICES)
    if unknown := sorted(choices.keys() - set(known)):
        raise UserError(f"unknown choice '{unknown[0]}'; known: {', '.join(known)}")
    top_k = choices.get("top_k", 1)
    if top_k < 1:
        raise UserError(f"top_k {top_k} must be at least 1")
    model = model.with_options(**{CHOICES[name]: value for name, value in choices.items() if name in CHOICES and value is not None})
    QuestionOptions(**model.spec.options).check(SHORTEST)
    return model, top_k


def as_question(question: str, context: str) -> Example:
    """A question and its context as an example."""
    return Example(id="", text=question, text_pair=context)


def answer_questions(model: Answerer, questions: Iterable[tuple[str, str]], top_k: int, batch_size: int) -> Iterator[list[FoundAnswer]]:
    """(question, context) -> the `top_k` likeliest answers of each, the best first."""
    for prediction in model.stream((as_question(*question) for question in questions), batch_size):
        yield best_answers(prediction, bool(model.spec.options["unanswerable"]), top_k)


def best_answers(prediction: Prediction, unanswerable: bool, top_k: int) -> list[FoundAnswer]:
    """A prediction -> its answers; 'no answer' among them where it is possible, first where it is the prediction."""
    assert isinstance(prediction, SpanPrediction)
    found = [FoundAnswer(text=c.text, start=c.start, end=c.end, score=c.score) for c in prediction.candidates]
    if unanswerable:
        none = FoundAnswer(text="", start=0, end=0, score=prediction.null_score)
        place = 0 if not prediction.label else 1 + sum(other.score >= none.score for other in found[1:])
        found.insert(place, none)
    return found[:top_k]

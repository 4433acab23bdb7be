"""Questions and contexts of any length -> answers that stand in the contexts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from electra.contracts import Example, Features, Head, SpanPrediction
from electra.data.windows import Piece, Window, answer
from electra.errors import UserError
from electra.inference.backends import require_span_finder
from electra.tasks.question_answering import SHORTEST, Reading, decode_answers, featurize_questions, recorded_reading

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Network


@dataclass(frozen=True, kw_only=True)
class Found:
    """An answer, `context[start:end]`; empty (0..0) for 'the context does not say'."""

    text: str
    start: int
    end: int
    score: float
    """Probability, 0..1."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a caller wants of answers."""

    top_k: int = 1
    handle_impossible: bool | None = None
    """Whether 'no answer' may be the answer; None: as the model was trained."""
    null_threshold: float | None = None
    """Null odds above it mean no answer; None: what the model learned on its dev set, else 0."""
    max_answer_length: int | None = None
    stride: int | None = None

    def apply(self, reading: Reading) -> Reading:
        """A model's own way of reading, with what is asked for.

        Raises:
            UserError: a number below one.
        """
        if self.top_k < 1:
            raise UserError(f"top_k {self.top_k} must be at least 1")
        asked = {
            "unanswerable": self.handle_impossible,
            "null_threshold": self.null_threshold,
            "max_answer_length": self.max_answer_length,
            "stride": self.stride,
        }
        changed = dataclasses.replace(reading, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
        changed.check(SHORTEST)
        return changed


class QuestionAnswerer:
    """What a Predictor does with questions."""

    network: Network
    tokenizer: Tokenizer
    name: str
    max_length: int
    batch_size: int

    def answer(self, question: str, context: str, **choices: Any) -> list[Found]:
        """A question and a text -> the `top_k` likeliest answers, the best first.

        Args:
            question: what is asked.
            context: the text that says it; of any length.
            choices: top_k, handle_impossible, null_threshold, max_answer_length (tokens), stride (tokens); see `Choices`.

        Raises:
            UserError: the checkpoint has no head for questions, or a number out of range.

        Examples:
            >>> load("runs/squad/best").answer("Who cooked?", "The chef cooked the meal.")[0].text  # doctest: +SKIP
            'The chef'
        """
        return next(self.iterate_answers([(question, context)], **choices))

    def iterate_answers(self, questions: Iterable[tuple[str, str]], **choices: Any) -> Iterator[list[Found]]:
        """`answer` for any number of (question, context), in constant memory and in order."""
        require_span_finder(self.name, self.network.architecture)
        unknown = sorted(choices.keys() - {field.name for field in dataclasses.fields(Choices)})
        if unknown:
            raise UserError(f"unknown choice '{unknown[0]}'; known: {', '.join(field.name for field in dataclasses.fields(Choices))}")
        wanted = Choices(**choices)
        recorded, trained_length = recorded_reading(self.network.hf_config)
        reading = wanted.apply(recorded)
        length = min(self.max_length, trained_length or self.max_length)

        def prepare(items: list[tuple[str, str]]) -> list[tuple[tuple[Example, list[Features]], list[Piece]]]:
            out = []
            for number, (question, context) in enumerate(items):
                example = Example(id=str(number), text=question, text_pair=context)
                features = featurize_questions([example], self.tokenizer, length, Head(kind="span"), reading=reading)
                whole = [Piece(feature.ids, feature.segments, Window(0, 0, 0, 0)) for feature in features]  # type: ignore[arg-type]
                out.append(((example, features), whole))
            return out

        stream = answer(questions, prepare=prepare, run=self.network.span_outputs, size=lambda q: len(q[0]) + len(q[1]), batch_size=self.batch_size)
        for (example, features), _, outputs in stream:
            (prediction,) = decode_answers(outputs, features, [example], Head(kind="span"), reading=reading)
            assert isinstance(prediction, SpanPrediction)
            yield best_answers(prediction, reading, wanted.top_k)


def best_answers(prediction: SpanPrediction, reading: Reading, top_k: int) -> list[Found]:
    """A prediction -> its answers; 'no answer' among them where it may be one, first where it is the prediction."""
    found = [Found(text=c.text, start=c.start, end=c.end, score=c.score) for c in prediction.candidates]
    if reading.unanswerable:
        none = Found(text="", start=0, end=0, score=prediction.null_score)
        place = 0 if not prediction.label else 1 + sum(other.score >= none.score for other in found[1:])
        found.insert(place, none)
    return found[:top_k]

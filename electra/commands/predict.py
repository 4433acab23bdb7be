"""texts -> labels, tags of their words, or answers to questions, in the order of the texts."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from electra import config
from electra.contracts import Prediction
from electra.errors import UserError
from electra.inference import text_io
from electra.inference.backends import architecture_of
from electra.inference.predictor import Predictor, describe, is_token_classifier, load
from electra.inference.text_io import Text, model_and_texts
from electra.settings import PredictSettings
from electra.storage import resolve
from electra.terminal import counted


def run(settings: PredictSettings) -> None:
    """Print one line per text: label, probability, text; or a JSON object. Of a token classifier: a line per word, an empty one after a text."""
    given = config.given(settings)
    model_name, file = model_and_texts("predict", "classifier", settings.model, settings.file, settings.text)
    settings = dataclasses.replace(settings, model=model_name, file=file)
    text_io.check_readable(settings.file)
    if resolve.head_of(architecture_of(settings.model)) == "span":
        answer_questions(settings, given)
        return
    if is_token_classifier(settings.model):
        from electra.inference.token_classification import read_sentences, tagged_columns, tagged_json

        tagger = _load(settings, "token-classification")
        sentences = text_io.reporting(read_sentences(settings.file, settings.text_field), tagger.tokenizer)
        for tagged in counted(tagger.iterate_tags(sentences, constrained=settings.constrained), "texts", describe(tagger)):
            sys.stdout.write(tagged_json(tagged) if settings.json else tagged_columns(tagged))
        return
    model = _load(settings, "classifier")
    texts = text_io.read_texts(settings.file, text_field=settings.text_field, pair_field=settings.pair_field)
    inputs, again = itertools.tee(text_io.reporting(texts, model.tokenizer))
    answers = counted(model.iterate_predictions(inputs), "texts", describe(model))
    for line in _lines(again, answers, as_json=settings.json):
        sys.stdout.write(line + "\n")


def _load(settings: PredictSettings, role: str) -> Predictor:
    return load(
        settings.model,
        role=role,
        threads=settings.threads,
        max_length=settings.max_length,
        truncate=settings.truncate,
        batch_size=settings.batch_size,
    )


def answer_questions(settings: PredictSettings, given: Mapping[str, Any]) -> None:
    """Print one line per question: answer, probability, question; or a JSON object."""
    model = _load(settings, "question-answering")
    questions = _questions(settings.file, given.get("text_field", "question"), given.get("pair_field", "context"))
    inputs, again = itertools.tee(text_io.reporting(questions, model.tokenizer))
    for (found,), (question, context) in zip(counted(model.iterate_answers(inputs), "questions", describe(model)), again, strict=False):
        record = {"question": question, "context": context, "answer": found.text, "probability": found.score, "start": found.start, "end": found.end}
        columns = (found.text, f"{found.score:.4f}", question)
        line = json.dumps(record, ensure_ascii=False) if settings.json else "\t".join(" ".join(column.split()) for column in columns)
        sys.stdout.write(line + "\n")


def _questions(file: str, question_field: str, context_field: str) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(text_io.read_texts(file, text_field=question_field, pair_field=context_field), start=1):
        if not text.pair:
            raise UserError(f"{file}: question {number} has no context; give 'question<TAB>context' or jsonl with question and context")
        yield text.text, text.pair


def _lines(inputs: Iterator[Text], answers: Iterator[Prediction], *, as_json: bool) -> Iterator[str]:
    # Answers first: an input is read from the file when the model asks for it, and kept only until its answer is written.
    for answer, text in zip(answers, inputs, strict=False):
        yield _as_json(text, answer) if as_json else _as_columns(text, answer)


def _as_json(text: Text, answer: Prediction) -> str:
    record: dict[str, object] = {"text": text.text}
    if text.pair is not None:
        record["text_pair"] = text.pair
    record["label"] = answer.label
    if answer.probability is not None:
        record["probability"] = answer.probability
    if answer.probabilities:
        record["probabilities"] = dict(answer.probabilities)
    return json.dumps(record | {"windows": answer.num_windows}, ensure_ascii=False)


def _as_columns(text: Text, answer: Prediction) -> str:
    label = answer.label
    columns = [f"{label:.4f}" if isinstance(label, float) else label if isinstance(label, str) else " ".join(label)]
    if answer.probability is not None:
        columns.append(f"{answer.probability:.4f}")
    # Texts from jsonl may hold tabs and line ends, which would break the columns.
    columns += [" ".join(part.split()) for part in (text.text, text.pair) if part is not None]
    return "\t".join(columns)

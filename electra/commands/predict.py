"""texts -> labels, tags of their words, or answers to questions, in the order of the texts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from electra.contracts import Prediction
from electra.errors import UserError
from electra.inference import parts, text_io
from electra.inference.answerer import FoundAnswer
from electra.inference.backends import architecture_of
from electra.inference.predictor import Predictor, describe, load_for
from electra.inference.text_io import AnsweredText, Text, TextColumns
from electra.settings import PredictSettings
from electra.storage import resolve
from electra.tasks.data_warnings import reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted


def run(settings: PredictSettings) -> None:
    """Print one line per text: label, probability, text; or a table, or JSON. Of a token classifier: a line per word, an empty one after a text."""
    model_name, file = text_io.model_and_texts("predict", "classifier", settings.model, settings.file, settings.text)
    settings = dataclasses.replace(settings, model=model_name)
    many = parts.are_wanted(settings, file)
    if not many:
        text_io.check_readable(file, settings.kind, many=True)
        text_io.output_format(settings, file, settings.kind)
    kind = KINDS.get(resolve.head_of(architecture_of(model_name)), LABELS)
    if many:
        parts.answer_files(settings, file, kind)
        return
    model = load_for(settings, settings.model, kind.role)
    texts = reporting(kind.read(settings, model, file), model.tokenizer)
    answers = counted(kind.answer(settings, model, texts), "questions" if kind is ANSWERS else "texts", describe(model))
    text_io.write_answers(answers, settings, file, kind=settings.kind, as_json=settings.json)


def read_texts(settings: PredictSettings, model: Predictor, file: str) -> Iterator[Text]:
    """A file -> texts, or pairs."""
    columns = TextColumns(text=settings.text, pair=settings.text_pair, trained=recorded_columns(model.hf_config))
    return text_io.read_texts(file, columns, kind=settings.kind)


def label_texts(settings: PredictSettings, model: Predictor, texts: Iterator[Text]) -> Iterator[AnsweredText]:
    """By a classifier or a regression."""
    inputs, again = itertools.tee(texts)
    # Answers first: an input is read from the file when the model asks for it, and kept only until its answer is written.
    for answer, text in zip(model.iterate_predictions(inputs), again, strict=False):
        yield _labelled(text, answer)


def _labelled(text: Text, answer: Prediction) -> AnsweredText:
    label = answer.label
    record: dict[str, object] = {"label": list(label) if isinstance(label, tuple) else label}
    shown = [f"{label:.4f}" if isinstance(label, float) else label if isinstance(label, str) else " ".join(label)]
    if answer.probability is not None:
        record["probability"] = answer.probability
        shown.append(f"{answer.probability:.4f}")
    columns = dict(record)
    if answer.probabilities:
        record["probabilities"] = dict(answer.probabilities)
        columns |= {"probabilities": dict(answer.probabilities)} if answer.probability is None else {}
    # Texts of a table may hold tabs and line ends, which would break the columns.
    shown += [" ".join(part.split()) for part in (text.text, text.pair) if part is not None]
    return AnsweredText(text=text, line="\t".join(shown) + "\n", record=record | {"windows": answer.num_windows}, columns=columns)


def read_questions(settings: PredictSettings, model: Predictor, file: str) -> Iterator[Text]:
    """A file -> questions and their contexts."""
    columns = TextColumns(text=settings.text, pair=settings.text_pair, usual=("question", "text"), usual_pair=("context", "text_pair"))
    for number, question in enumerate(text_io.read_texts(file, columns, kind=settings.kind), 1):
        if not question.pair:
            place = f"{question.place}: question {number}"
            raise UserError(f"{place} has no context; give 'question<TAB>context', or a table with both (--text, --text-pair)")
        yield question


def answer_questions(settings: PredictSettings, model: Predictor, questions: Iterator[Text]) -> Iterator[AnsweredText]:
    """By a question-answering model: a part of each question's context."""
    inputs, again = itertools.tee(questions)
    for (found,), text in zip(model.iterate_answers((text.text, text.pair or "") for text in inputs), again, strict=False):
        yield _answered(text, found)


def _answered(text: Text, found: FoundAnswer) -> AnsweredText:
    record = {"answer": found.text, "probability": found.score, "start": found.start, "end": found.end}
    line = "\t".join(" ".join(part.split()) for part in (found.text, f"{found.score:.4f}", text.text)) + "\n"
    return AnsweredText(text=text, line=line, record=record, columns=record)


def read_words(settings: PredictSettings, model: Predictor, file: str) -> Iterator[Text]:
    """A file -> texts, or words: the words that `electra evaluate` reads in it."""
    from electra.inference.token_classification import read_sentences

    return read_sentences(file, model.head.labels, settings.text, settings.kind)


def tag_words(settings: PredictSettings, model: Predictor, texts: Iterator[Text]) -> Iterator[AnsweredText]:
    """By a token classifier: a tag for each word."""
    from electra.inference.token_classification import sentence_of, tagged_columns, tagged_record

    inputs, again = itertools.tee(texts)
    for found, text in zip(model.iterate_tags(map(sentence_of, inputs), constrained=settings.constrained), again, strict=False):
        record = tagged_record(found)
        # What was read is part of the answer, and needs no second column of its name.
        read = frozenset({text.column or "text"} & record.keys())
        flat: dict[str, Any] = {"text": found.text} if "text" in read else {}
        flat |= {"words": [word.word for word in found.words], "tags": [word.tag for word in found.words], "entities": record["entities"]}
        yield AnsweredText(text=text, line=tagged_columns(found), record=record, columns=flat, replaced=read)


LABELS = parts.PartsOfTexts(role="classifier", read=read_texts, answer=label_texts)
ANSWERS = parts.PartsOfTexts(role="question-answering", read=read_questions, answer=answer_questions)
KINDS = {"span": ANSWERS, "tagging": parts.PartsOfTexts(role="token-classification", read=read_words, answer=tag_words)}
"""Head of a model -> what it does with texts; others label them."""

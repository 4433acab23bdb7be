"""texts -> labels, tags of their words, or answers to questions, in the order of the texts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from electra.contracts import Prediction
from electra.data.tables import table_format
from electra.errors import UserError
from electra.inference import text_io
from electra.inference.answerer import FoundAnswer
from electra.inference.backends import architecture_of
from electra.inference.predictor import Predictor, describe, load
from electra.inference.text_io import AnsweredText, Text, TextColumns, TypedText
from electra.settings import PredictSettings
from electra.storage import resolve
from electra.tasks.conll_files import TagColumns, read_tagged
from electra.tasks.data_warnings import TAGGED, looks_tagged, reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted, say


def run(settings: PredictSettings) -> None:
    """Print one line per text: label, probability, text; or a table, or JSON. Of a token classifier: a line per word, an empty one after a text."""
    model_name, file = text_io.model_and_texts("predict", "classifier", settings.model, settings.file, settings.text)
    settings = dataclasses.replace(settings, model=model_name, file=file)
    text_io.check_readable(file, settings.kind)
    text_io.output_format(settings, file, settings.kind)
    answer = {"span": answer_questions, "tagging": tag_words}.get(resolve.head_of(architecture_of(model_name)), label_texts)
    text_io.write_answers(answer(settings), settings, file, kind=settings.kind, as_json=settings.json)


def _load(settings: PredictSettings, role: str) -> Predictor:
    return load(
        settings.model,
        role=role,
        threads=settings.threads,
        max_length=settings.max_length,
        truncate=settings.truncate,
        batch_size=settings.batch_size,
    )


def label_texts(settings: PredictSettings) -> Iterator[AnsweredText]:
    """Of a classifier or a regression."""
    model = _load(settings, "classifier")
    columns = TextColumns(text=settings.text, pair=settings.text_pair, trained=recorded_columns(model.hf_config))
    texts = text_io.read_texts(settings.file, columns, kind=settings.kind)
    inputs, again = itertools.tee(reporting(texts, model.tokenizer))
    # Answers first: an input is read from the file when the model asks for it, and kept only until its answer is written.
    for answer, text in zip(counted(model.iterate_predictions(inputs), "texts", describe(model)), again, strict=False):
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


def answer_questions(settings: PredictSettings) -> Iterator[AnsweredText]:
    """Of a question-answering model: a part of each question's context."""
    model = _load(settings, "question-answering")
    columns = TextColumns(text=settings.text, pair=settings.text_pair, usual=("question", "text"), usual_pair=("context", "text_pair"))
    questions = _with_contexts(text_io.read_texts(settings.file, columns, kind=settings.kind))
    inputs, again = itertools.tee(reporting(questions, model.tokenizer))
    pairs = ((text.text, text.pair or "") for text in inputs)
    for (found,), text in zip(counted(model.iterate_answers(pairs), "questions", describe(model)), again, strict=False):
        yield _answered(text, found)


def _answered(text: Text, found: FoundAnswer) -> AnsweredText:
    record = {"answer": found.text, "probability": found.score, "start": found.start, "end": found.end}
    line = "\t".join(" ".join(part.split()) for part in (found.text, f"{found.score:.4f}", text.text)) + "\n"
    return AnsweredText(text=text, line=line, record=record, columns=record)


def _with_contexts(questions: Iterator[Text]) -> Iterator[Text]:
    for number, question in enumerate(questions, 1):
        if not question.pair:
            place = f"{question.place}: question {number}"
            raise UserError(f"{place} has no context; give 'question<TAB>context', or a table with both (--text, --text-pair)")
        yield question


def tag_words(settings: PredictSettings) -> Iterator[AnsweredText]:
    """Of a token classifier: a tag for each word; a cell may be a list of words."""
    from electra.inference.token_classification import tagged_columns, tagged_record

    model = _load(settings, "token-classification")
    columns = TextColumns(text=settings.text, usual=("text", "words", "tokens"))
    texts = _words_in_columns(settings, model.head.labels)
    if texts is None:
        texts = text_io.read_texts(settings.file, columns, pairs=False, words=True, kind=settings.kind)
    inputs, again = itertools.tee(reporting(texts, model.tokenizer))
    sentences = (text.text if text.words is None else text.words for text in inputs)
    tagged = counted(model.iterate_tags(sentences, constrained=settings.constrained), "texts", describe(model))
    for found, text in zip(tagged, again, strict=False):
        record = tagged_record(found)
        # What was read is part of the answer, and needs no second column of its name.
        read = {text.column or "text"} & record.keys()
        row = {name: value for name, value in text.row.items() if name not in read}
        flat: dict[str, Any] = {"text": found.text} if "text" in read else {}
        flat |= {"words": [word.word for word in found.words], "tags": [word.tag for word in found.words], "entities": record["entities"]}
        yield AnsweredText(text=dataclasses.replace(text, row=row), line=tagged_columns(found), record=record, columns=flat)


def _words_in_columns(settings: PredictSettings, labels: Sequence[str]) -> Iterator[Text] | None:
    """The sentences of a file of tagged words, by its suffix, or where its last column holds the model's tags alone; None: it is another file."""
    file, path = settings.file, Path(settings.file)
    if file == "-" or isinstance(file, TypedText) or settings.kind or settings.text or not path.is_file():
        return None
    named = path.name.lower().removesuffix(".gz").endswith(TAGGED)
    if not named and (table_format(file) not in (None, "tsv") or not looks_tagged(path)):
        return None
    sentences = read_tagged(path, TagColumns(), "test")
    if not named:
        if not all(tag in labels for sentence in sentences for tag in sentence.label or ()):  # type: ignore[union-attr]
            return None
        say(f"{file}: read as words and tags in columns, one word a line; for a text a line give --input-format lines")
    places = ((sentence.words or (), f"{file}, sentence {number}") for number, sentence in enumerate(sentences, 1))
    return (Text(" ".join(words), words=tuple(words), place=place) for words, place in places)

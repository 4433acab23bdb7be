"""texts -> labels: read, predict in windows of similar length, write in the order they came."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator

from electra.contracts import Prediction
from electra.deploy import texts
from electra.deploy.loading import load
from electra.deploy.progress import counted
from electra.deploy.texts import Text
from electra.settings import PredictSettings


def run(settings: PredictSettings) -> None:
    """Print one line per text: label, probability, text; or a JSON object."""
    texts.check_readable(settings.file)
    model = load(settings.model, role="classifier", threads=settings.threads, max_length=settings.max_length, batch_size=settings.batch_size)
    inputs, again = itertools.tee(texts.read_texts(settings.file, text_field=settings.text_field, pair_field=settings.pair_field))
    answers = counted(model.iterate_predictions(inputs), "texts")
    for line in _lines(again, answers, as_json=settings.json):
        sys.stdout.write(line + "\n")


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

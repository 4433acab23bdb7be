"""texts -> pseudo-log-likelihoods; n-best lists -> the same lists, best first."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from electra.errors import UserError
from electra.inference import text_io
from electra.inference.masked_lm import TextLikelihood
from electra.inference.predictor import Predictor, describe, load
from electra.settings import ScoreSettings
from electra.terminal import counted


def run(settings: ScoreSettings) -> None:
    """Print one line per text, or per n-best list."""
    text_io.check_readable(settings.file)
    model = load(settings.model, threads=settings.threads, batch_size=settings.batch_size)
    if settings.nbest is not None:
        for record in rerank(settings, model, settings.nbest):
            print(json.dumps(record, ensure_ascii=False))
        return
    texts = text_io.read_texts(settings.file, text_field=settings.text_field, pair_field=None, pairs=False)
    inputs = (text.text for text in text_io.reporting(texts, model.tokenizer))
    for found in counted(model.iterate_scores(inputs), "texts", describe(model)):
        if settings.json:
            print(json.dumps(found.to_dict() | {"per_token": found.per_token}, ensure_ascii=False))
        else:
            value = found.per_token if settings.per_token else found.score
            print(f"{value:.4f}\t{len(found.tokens)}\t{' '.join(found.text.split())}")


def rerank(settings: ScoreSettings, model: Predictor, field: str) -> Iterator[dict[str, Any]]:
    """JSON objects with a list of hypotheses -> the same, each hypothesis with its likelihood, sorted by the combined score."""
    waiting: deque[tuple[dict[str, Any], list[dict[str, Any]]]] = deque()

    def hypotheses() -> Iterator[str]:
        for place, record in text_io.read_records(settings.file):
            found = [hypothesis(item, settings, f"{place}, '{field}'") for item in candidates(record, field, place)]
            waiting.append((record, found))
            yield from (item[settings.text_field] for item in found)

    def ranked(answers: list[TextLikelihood]) -> dict[str, Any]:
        record, found = waiting.popleft()
        for item, answer in zip(found, answers, strict=True):
            item["likelihood"] = answer.per_token if settings.per_token else answer.score
            item["combined"] = item.get(settings.score_field, 0.0) + settings.weight * item["likelihood"]
        return record | {field: sorted(found, key=lambda item: -item["combined"])}

    answers: list[TextLikelihood] = []
    for answer in counted(model.iterate_scores(text_io.reporting(hypotheses(), model.tokenizer)), "hypotheses", describe(model)):
        while not waiting[0][1]:  # an empty list needs no scores
            yield ranked([])
        answers.append(answer)
        if len(answers) == len(waiting[0][1]):
            yield ranked(answers)
            answers = []
    while waiting:
        yield ranked([])


def candidates(record: dict[str, Any], field: str, place: str) -> list[Any]:
    """The list in a record.

    Raises:
        UserError: there is none.
    """
    if not isinstance(record.get(field), list):
        raise UserError(f"{place}: no list '{field}' (fields: {', '.join(map(str, record)) or 'none'}); name it with --nbest FIELD")
    found: list[Any] = record[field]
    return found


def hypothesis(item: Any, settings: ScoreSettings, place: str) -> dict[str, Any]:
    """A hypothesis as an object with a text, and with a score where it has one.

    Raises:
        UserError: it is neither text nor an object with one, or its score is not a number.
    """
    made = {settings.text_field: item} if isinstance(item, str) else item
    if not isinstance(made, dict) or not isinstance(made.get(settings.text_field), str):
        raise UserError(f"{place}: expected texts, or objects with a text under '{settings.text_field}' (--text-field)")
    value = made.get(settings.score_field, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place}: '{settings.score_field}' is {value!r}, not a number (--score-field)")
    return dict(made)

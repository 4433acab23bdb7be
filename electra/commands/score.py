"""texts -> pseudo-log-likelihoods; n-best lists, or the passages of a query -> the same, best first."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from electra.data import tables
from electra.errors import UserError
from electra.inference import text_io
from electra.inference.masked_lm import TextLikelihood
from electra.inference.predictor import Predictor, describe, load_for
from electra.inference.search import relevances
from electra.inference.text_io import AnsweredText, Text, TextColumns
from electra.settings import RerankSettings, ScoreSettings
from electra.tasks.data_warnings import reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted


def run(settings: ScoreSettings) -> None:
    """Print one line per text, or per n-best list; or a table, or JSON."""
    file = text_io.file_or_text(settings.file)
    text_io.check_readable(file, settings.kind)
    if settings.nbest is not None:
        if settings.output is not None or settings.format != "auto":
            raise UserError("--nbest prints JSON lines; leave --output and --format out")
        model = load_for(settings, settings.model)
        for record in ranked_lists(settings, model, settings.nbest):
            print(json.dumps(record, ensure_ascii=False))
        return
    text_io.output_format(settings, file, settings.kind)
    text_io.write_answers(score_texts(settings, file), settings, file, kind=settings.kind, as_json=settings.json)


def score_texts(settings: ScoreSettings, file: str) -> Iterator[AnsweredText]:
    """Texts with their likelihoods."""
    model = load_for(settings, settings.model)
    columns = TextColumns(text=settings.text, trained=recorded_columns(model.hf_config))
    texts = reporting(text_io.read_texts(file, columns, pairs=False, kind=settings.kind), model.tokenizer)
    inputs, again = itertools.tee(texts)
    for found, text in zip(counted(model.iterate_scores(text.text for text in inputs), "texts", describe(model)), again, strict=False):
        value = found.per_token if settings.per_token else found.score
        line = f"{value:.4f}\t{len(found.tokens)}\t{' '.join(found.text.split())}\n"
        record = found.to_dict() | {"score": float(found.score), "per_token": found.per_token}
        del record["text"]  # is among the input's columns
        yield AnsweredText(text=text, line=line, record=record, columns={name: record[name] for name in ("score", "per_token", "num_tokens")})


def ranked_lists(settings: ScoreSettings, model: Predictor, field: str) -> Iterator[dict[str, Any]]:
    """JSON objects with a list of hypotheses -> the same, each hypothesis with its likelihood, sorted by the combined score."""
    waiting: deque[tuple[dict[str, Any], list[dict[str, Any]]]] = deque()

    def hypotheses() -> Iterator[Text]:
        kind = settings.kind or tables.table_format(settings.file) or "jsonl"
        for number, record in tables.read_rows(settings.file, "text file", kind=kind):
            place = f"{tables.named(settings.file)}, line {number}"
            found = [hypothesis(item, settings, f"{place}, '{field}'") for item in candidates(record, field, place)]
            waiting.append((record, found))
            yield from (Text(item[settings.text or "text"]) for item in found)

    def ranked(answers: list[TextLikelihood]) -> dict[str, Any]:
        record, found = waiting.popleft()
        for item, answer in zip(found, answers, strict=True):
            item["likelihood"] = answer.per_token if settings.per_token else answer.score
            item["combined"] = item.get(settings.score_field, 0.0) + settings.weight * item["likelihood"]
        return record | {field: sorted(found, key=lambda item: -item["combined"])}

    answers: list[TextLikelihood] = []
    texts = (text.text for text in reporting(hypotheses(), model.tokenizer))
    for answer in counted(model.iterate_scores(texts), "hypotheses", describe(model)):
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
        raise UserError(f"{place}: no list '{field}' (columns: {', '.join(map(str, record)) or 'none'}); name it with --nbest COLUMN")
    found: list[Any] = record[field]
    return found


def hypothesis(item: Any, settings: ScoreSettings, place: str) -> dict[str, Any]:
    """A hypothesis as an object with a text, and with a score where it has one.

    Raises:
        UserError: it is neither text nor an object with one, or its score is not a number.
    """
    name = settings.text or "text"
    made = {name: item} if isinstance(item, str) else item
    if not isinstance(made, dict) or not isinstance(made.get(name), str):
        raise UserError(f"{place}: expected texts, or objects with a text under '{name}' (--text)")
    value = made.get(settings.score_field, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place}: '{settings.score_field}' is {value!r}, not a number (--score-field)")
    return dict(made)


def rerank(settings: RerankSettings) -> None:
    """Print a line per passage, the most relevant first: relevance, passage; or a table, or JSON."""
    file = text_io.file_or_text(settings.file)
    text_io.check_readable(file, settings.kind)
    text_io.output_format(settings, file, settings.kind)
    if not settings.query.strip():
        raise UserError("--query is empty; give a text")
    model = load_for(settings, settings.model)
    passages = list(reporting(text_io.read_texts(file, TextColumns(text=settings.text), pairs=False, kind=settings.kind), model.tokenizer))
    scores = list(counted(relevances(model, ((settings.query, text.text) for text in passages)), "passages", describe(model)))
    order = sorted(range(len(scores)), key=lambda place: -scores[place])[: settings.top_k]
    answers = (
        AnsweredText(
            text=passages[place],
            line=f"{scores[place]:.4f}\t{' '.join(passages[place].text.split())}\n",
            record=(record := {"rank": rank, "score": scores[place], "index": place}),
            columns=record,
        )
        for rank, place in enumerate(order, 1)
    )
    text_io.write_answers(answers, settings, file, kind=settings.kind, as_json=settings.json)

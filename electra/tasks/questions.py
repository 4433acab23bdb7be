"""Question answering: SQuAD 1.1 and 2.0, CMRC 2018, and the sets of MRQA 2019."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra import disk
from electra.contracts import Example, Features, Head, Prediction, SpanPrediction, Task
from electra.errors import UserError
from electra.tasks import reading
from electra.tasks.answer_scores import score_answers, score_with_no_answers
from electra.tasks.answers import decode_answers
from electra.tasks.chinese_scores import score_chinese
from electra.tasks.metrics import Score
from electra.tasks.question_features import Reading, featurize_questions
from electra.tasks.question_files import find_file, read_mrqa, read_squad
from electra.tasks.task import fixed_head
from electra.tasks.task_archives import is_archive

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

PREDICTION_FILES = ("predictions.json", "nbest_predictions.json", "null_odds.json")

USUAL_LENGTH = 384
"""Longest input of a checkpoint that does not say what it was trained on, in tokens: what `transformers` reads questions with."""

ReadFile = Callable[[Path, str], list[Example]]


def question_task(
    name: str, description: str, file_names: Mapping[str, Sequence[str]], read_file: ReadFile, score: Score, *, unanswerable: bool = False
) -> Task:
    """A task of questions; `file_names` are those a folder may hold, per split."""

    def read(data: Path, split: str) -> list[Example]:
        if split not in file_names:
            raise UserError(f"{name} has no split '{split}'; it has {', '.join(file_names)}")
        return read_file(find_file(Path(data), file_names[split], name), split)

    task = Task(
        name=name,
        description=description,
        read=read,
        featurize=_featurize,
        head=fixed_head(Head(kind="span")),
        decode=_decode,
        score=score,
        main_metric="f1",
        splits=tuple(file_names),
        options=dataclasses.asdict(Reading(unanswerable=unanswerable)),
        usual_length=USUAL_LENGTH,
    )
    return reading.with_options(task, {})


def _featurize(examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, head: Head, **options: Any) -> list[Features]:
    return featurize_questions(examples, tokenizer, max_length, head, reading=Reading(**options))


def _decode(outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, **options: Any) -> list[Prediction]:
    return decode_answers(outputs, features, examples, head, reading=Reading(**options))


def with_files(task: Task, data: Path | None, train: Path | None, dev: Path | None) -> Task:
    """The task with files of one's own for training and dev, each in place of the folder's.

    Raises:
        UserError: a split is neither in a folder nor given, or both are to come from one file.
    """
    if data is None and (train is None or dev is None):
        raise UserError(f"{task.name} needs --data DIR, the folder with its files, or --train FILE and --dev FILE")
    if data is not None and data.is_file() and not is_archive(data) and (train is None or dev is None):
        raise UserError(f"{data} is one file; give two, --train FILE and --dev FILE, so that the score is of unseen questions")
    files = {split: path for split, path in (("train", train), ("dev", dev)) if path is not None}
    return dataclasses.replace(task, read=lambda folder, split: task.read(files.get(split, folder), split))


def keep_threshold(folder: Path, task: Task, scores: Mapping[str, float]) -> None:
    """Write the threshold that was best on dev into a checkpoint's config.json, for texts to come; one that was as good stays."""
    path = folder / "config.json"
    # The official search gives the odds of the last question answered: on new texts those next to it would be refused.
    if not task.options["unanswerable"] or not path.exists() or scores["f1"] >= scores["best_f1"] - 1e-9:
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    values[reading.RECORD]["null_threshold"] = scores["best_f1_threshold"]
    disk.write_text(path, json.dumps(values, indent=2) + "\n")


def recorded_reading(values: Mapping[str, Any]) -> tuple[Reading, int]:
    """config.json -> how its model reads questions, and the longest input it was trained on (0: not known).

    A checkpoint of someone else gives the usual numbers, and no 'no answer'.
    """
    found, length = reading.recorded(values)
    fields = {field.name for field in dataclasses.fields(Reading)}
    return Reading(**{key: value for key, value in found.items() if key in fields}), length


def write_predictions(folder: Path, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    """predictions.json, nbest_predictions.json and null_odds.json as the official scripts read and write them."""
    answers = {e.id: p for e, p in zip(examples, predictions, strict=True) if isinstance(p, SpanPrediction)}
    contents: tuple[dict[str, Any], ...] = (
        {name: prediction.label for name, prediction in answers.items()},
        {name: _best_list(prediction) for name, prediction in answers.items()},
        {name: prediction.null_odds for name, prediction in answers.items()},
    )
    for name, content in zip(PREDICTION_FILES, contents, strict=True):
        disk.write_text(folder / name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _best_list(prediction: SpanPrediction) -> list[dict[str, Any]]:
    """The n-best with probabilities among themselves, as the official scripts write them."""
    totals = [candidate.start_logit + candidate.end_logit for candidate in prediction.candidates]
    weights = [math.exp(total - max(totals)) for total in totals]
    return [
        {"text": c.text, "probability": weight / sum(weights), "start_logit": c.start_logit, "end_logit": c.end_logit, "start": c.start, "end": c.end}
        for c, weight in zip(prediction.candidates, weights, strict=True)
    ]


def _squad_names(version: str) -> dict[str, tuple[str, ...]]:
    train = (f"train-{version}.json", "train.json", f"train-subset-{version}.json")
    return {"train": train, "dev": (f"dev-{version}.json", "dev.json"), "test": (f"test-{version}.json", "test.json")}


def _mrqa(name: str, description: str, official: str = "") -> Task:
    def names(split: str) -> tuple[str, ...]:
        stems = [split, *([f"{split}/{official}", f"{official}-{split}", f"{split}-{official}"] if official else [])]
        return tuple(f"{stem}{suffix}" for stem in stems for suffix in (".jsonl", ".jsonl.gz"))

    return question_task(name, description, {split: names(split) for split in ("train", "dev", "test")}, read_mrqa, score_answers)


SQUAD = question_task("squad", "questions about Wikipedia paragraphs (SQuAD 1.1)", _squad_names("v1.1"), read_squad, score_answers)
SQUAD2 = question_task(
    "squad2",
    "questions about Wikipedia paragraphs, half of them without an answer (SQuAD 2.0)",
    _squad_names("v2.0"),
    partial(read_squad, unanswerable=True),
    score_with_no_answers,
    unanswerable=True,
)
CMRC2018 = question_task(
    "cmrc2018",
    "questions about Chinese Wikipedia paragraphs (CMRC 2018)",
    {split: (f"cmrc2018_{split}.json", f"{split}.json") for split in ("train", "dev", "trial", "test")},
    read_squad,
    score_chinese,
)
MRQA = _mrqa("mrqa", "questions in the layout of MRQA 2019")
NEWSQA = _mrqa("newsqa", "questions about news (MRQA 2019)", "NewsQA")
NATURALQUESTIONS = _mrqa("naturalquestions", "questions asked of a search engine (MRQA 2019)", "NaturalQuestionsShort")
TRIVIAQA = _mrqa("triviaqa", "trivia and web pages (MRQA 2019)", "TriviaQA-web")
SEARCHQA = _mrqa("searchqa", "trivia and search snippets (MRQA 2019)", "SearchQA")

QUESTION_TASKS = {task.name: task for task in (SQUAD, SQUAD2, CMRC2018, MRQA, NEWSQA, NATURALQUESTIONS, TRIVIAQA, SEARCHQA)}

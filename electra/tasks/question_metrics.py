"""Answers, of a model or in a file -> exact match and F1 by the official rules of SQuAD 1.1 and 2.0 and of MRQA 2019.

Both compare normalized texts (lower case, without punctuation, articles and double spaces) and take the best of a question's answers.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra.contracts import Example, Head, Prediction, SpanCandidate, SpanPrediction, Task
from electra.data.tables import read_rows, table_format
from electra.errors import UserError, parse_json
from electra.tasks.text_tasks import read_text

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower case; no ASCII punctuation; no articles; single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(gold: str, predicted: str) -> float:
    """1 where both are the same but for what normalizing takes away, else 0."""
    return float(normalize_answer(gold) == normalize_answer(predicted))


def token_f1(gold: str, predicted: str) -> float:
    """F1 of the words two texts share, each as often as both have it; of two texts without words 1, as in SQuAD 2.0."""
    a, b = normalize_answer(gold).split(), normalize_answer(predicted).split()
    if not a or not b:
        return float(a == b)
    shared = (Counter(a) & Counter(b)).total()
    return 2 * shared / (len(a) + len(b))


def best_of(rule: Callable[[str, str], float], gold: Sequence[str], predicted: str) -> float:
    """The best score of a prediction over all answers."""
    return max(rule(text, predicted) for text in gold)


def gold_texts(example: Example) -> list[str]:
    """What people answered.

    Raises:
        UserError: there are none.
    """
    if example.answers is None:
        raise UserError("this split has no answers, so it cannot be scored; use the dev split")
    return [answer.text for answer in example.answers]


def score_answers(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Exact match and F1 (SQuAD 1.1, MRQA)."""
    return mean_scores(examples, predictions, exact_match, _f1_of_words)


def mean_scores(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    match: Callable[[str, str], float],
    f1: Callable[[str, str], float],
) -> dict[str, float]:
    """The means over questions of two rules (answer, predicted text) -> 0..1.

    Raises:
        UserError: no question, or one without answers.
    """
    if not examples:
        raise UserError("there are no questions to score; give a file that has some")
    pairs = [(gold_texts(example), str(prediction.label)) for example, prediction in zip(examples, predictions, strict=True)]
    return {
        "exact_match": float(np.mean([best_of(match, gold, predicted) if gold else 0.0 for gold, predicted in pairs])),
        "f1": float(np.mean([best_of(f1, gold, predicted) if gold else 0.0 for gold, predicted in pairs])),
    }


def _f1_of_words(gold: str, predicted: str) -> float:
    # SQuAD 1.1's script knows no empty answer: without a shared word its F1 is 0.
    return token_f1(gold, predicted) if normalize_answer(predicted) else 0.0


# ---- SQuAD 2.0 ----


@dataclass(frozen=True)
class Threshold:
    """Where 'no answer' begins."""

    value: float
    """Null odds above it mean no answer."""
    score: float
    """Mean score with it, 0..1."""


def best_threshold(scores: Sequence[float], odds: Sequence[float], answerable: Sequence[bool], nothing: Sequence[bool]) -> Threshold:
    """The threshold with the highest mean score: the official script's find_best_thresh.

    Args:
        scores: of each question's best answer, had it been given.
        odds: null odds of each.
        answerable: whether each has an answer.
        nothing: whether the best answer is no text at all.
    """
    current = best = float(sum(not has for has in answerable))
    value = 0.0
    for i in sorted(range(len(odds)), key=lambda i: odds[i]):
        current += scores[i] if answerable[i] else (0.0 if nothing[i] else -1.0)
        if current > best:
            best, value = current, odds[i]
    return Threshold(value, best / len(odds))


def score_with_no_answers(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """SQuAD 2.0: exact match and F1 with the model's own threshold, of each kind of question, and with the best thresholds of this very split.

    What `best_` says was chosen on the examples it is measured on.
    """
    if not examples:
        raise UserError("there are no questions to score; give a file that has some")
    gold = [[text for text in gold_texts(example) if normalize_answer(text)] or [""] for example in examples]
    has = [bool(example.answers) for example in examples]
    found = [first_answer(prediction) for prediction in predictions]
    out: dict[str, float] = {}
    for name, rule in (("exact_match", exact_match), ("f1", token_f1)):
        given = [best_of(rule, texts, str(prediction.label)) for texts, prediction in zip(gold, predictions, strict=True)]
        out[name] = float(np.mean(given))
        if any(has):
            out[f"{name}_has_answer"] = float(np.mean([value for value, is_there in zip(given, has, strict=True) if is_there]))
        if name == "f1" and not all(has):
            out["accuracy_no_answer"] = float(np.mean([value for value, is_there in zip(given, has, strict=True) if not is_there]))
        bare = [best_of(rule, texts, candidate.text) for texts, candidate in zip(gold, found, strict=True)]
        best = best_threshold(bare, [null_odds(p) for p in predictions], has, [not candidate.text for candidate in found])
        out |= {f"best_{name}": best.score, f"best_{name}_threshold": best.value}
    return out


def first_answer(prediction: Prediction) -> SpanCandidate:
    """The best answer whether or not 'no answer' is likelier."""
    assert isinstance(prediction, SpanPrediction)
    return prediction.candidates[0]


def null_odds(prediction: Prediction) -> float:
    """How much likelier 'no answer' is."""
    assert isinstance(prediction, SpanPrediction)
    return prediction.null_odds


# ---- a file of predictions ----


ANSWER_COLUMNS = ("prediction_text", "prediction", "predicted_answer", "answer")


def read_predictions(path: Path) -> dict[str, Any]:
    """A file of answers -> id -> answer: {"id": "text"}, as the official scripts read it, or rows (a list, lines or a table) with `id` and
    `prediction_text` (as in the metric of `datasets`), `prediction` or, as `electra predict` writes it, `answer`.

    Raises:
        UserError: not JSON, or something else for an answer, such as a list of the n best.
    """
    content: Any
    if table_format(path) in (None, "json"):
        try:
            content = parse_json(read_text(path, "the file of predictions"))
        except ValueError as error:
            raise UserError(f'{path} is not valid JSON ({str(error)[:100]}); expected {{"id": "text"}}') from None
    else:
        content = [row for _, row in read_rows(path, "the file of predictions", ("id", *ANSWER_COLUMNS))]
    if isinstance(content, list):
        names = ANSWER_COLUMNS
        rows = [(row.get("id"), next((row[name] for name in names if name in row), None)) for row in content if isinstance(row, dict)]
        if len(rows) < len(content) or any(name is None or text is None for name, text in rows):
            raise UserError(f"{path}: expected rows with 'id' and {' or '.join(map(repr, names))}; give predictions.json, or name the columns so")
        content = {str(name): text for name, text in rows}
        if len(content) < len(rows):
            raise UserError(f"{path}: an id occurs twice; give one answer to each question")
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected {{"id": "text"}}, an answer to each question')
    return content


def answer_texts(path: Path) -> dict[str, str]:
    """A file of answers -> id -> text.

    Raises:
        UserError: as `read_predictions`, or an answer that is no text.
    """
    content = read_predictions(path)
    for name, value in content.items():
        if isinstance(value, list):
            what = f"a list of {len(value)} candidates, as in nbest_predictions.json" if value and isinstance(value[0], dict) else "a list"
            raise UserError(f"{path}: question {name} has {what}; give predictions.json, one text for each question")
        if not isinstance(value, str):
            raise UserError(f"{path}: question {name} has {json.dumps(value)[:60]}, expected a text ('' for no answer)")
    return content


def null_probabilities(path: Path, ids: Collection[str]) -> dict[str, float]:
    """The file of --na-probs, {"id": number} -> in its order, the number of each of the questions `ids`: how likely it has no answer.

    Raises:
        UserError: not such a file, or a question is missing.
    """
    content = read_predictions(path)
    for name, value in content.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e308:
            raise UserError(f"{path}: question {name} has {json.dumps(value)[:60]}, expected a number (as in null_odds.json)")
    if missing := [name for name in ids if name not in content]:
        raise UserError(f"{path}: {len(missing):,} questions have no number (first: {missing[0]}); give one for each")
    return {name: float(value) for name, value in content.items() if name in ids}


def score_file(
    task: Task, examples: Sequence[Example], path: Path, na_probs: Path | None, threshold: float = 1.0
) -> tuple[dict[str, float], list[str]]:
    """Questions and a file of predictions -> the scores of the task's official script, and lines that say what was missing.

    Questions without a prediction count as wrong by the rules of SQuAD 1.1, MRQA and CMRC; the script of SQuAD 2.0 fails on them. Predictions
    of other questions are ignored, as by all of them. With `na_probs` an answer whose number is above `threshold` (1) is none.

    Raises:
        UserError: as `answer_texts` and `null_probabilities`; no prediction is of these questions, or with SQuAD 2.0 some are missing.
    """
    texts, odd = answer_texts(path), task.options.get("unanswerable")
    there = [example for example in examples if example.id in texts]
    missing, others = [example.id for example in examples if example.id not in texts], len(texts.keys() - {example.id for example in there})
    if not there:
        raise UserError(f"{path}: none of its {len(texts):,} ids is a question of the data (first: {next(iter(texts), 'none')}); give the right file")
    if missing and odd:
        raise UserError(f"{path}: {len(missing):,} questions have no prediction (first: {missing[0]}); give '' for those without an answer")
    if na_probs is not None and not odd:
        raise UserError(f"--na-probs: questions of {task.name} always have an answer; use --task squad2, or leave it out")
    odds = dict.fromkeys(texts, 0.0) if na_probs is None else null_probabilities(na_probs, [example.id for example in there])
    # In the order of the numbers' file, in which the official search for the best threshold passes over ties.
    place = {name: number for number, name in enumerate(odds)}
    there.sort(key=lambda example: place[example.id])
    scores = task.score(there, [_file_prediction(example, texts[example.id], odds[example.id], threshold) for example in there], Head(kind="span"))
    if na_probs is None:
        scores = {name: value for name, value in scores.items() if not name.startswith("best_")}
    lines = [f"{path}: {len(there):,} of {len(examples):,} questions have a prediction" + ("; the others count as wrong" if missing else "")]
    lines += [f"{path}: {others:,} predictions of other questions are ignored"] if others else []
    return {name: value * len(there) / len(examples) for name, value in scores.items()}, lines


def _file_prediction(example: Example, text: str, odds: float, threshold: float) -> SpanPrediction:
    """An answer of a file as a prediction. One above the threshold is wrong where there is an answer, even one of articles alone."""
    candidate = SpanCandidate(text=text, start=-1, end=-1, score=math.nan, start_logit=math.nan, end_logit=math.nan)
    label = text if odds <= threshold else "\0" if example.answers else ""
    return SpanPrediction(label=label, candidates=(candidate,), null_odds=odds)


# ---- Answers in Chinese -> exact match and F1 by the rules of CMRC 2018's official script ----


CHINESE_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What the script leaves out. It names '……' too, which as two characters never equals one."""
UNITS = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:[.,']\w+)*|[^\w\s]")
"""A Chinese character; a word or number ('3.14', '1,000'); a mark."""


def segment(text: str) -> list[str]:
    """A text -> its units, lower-cased, punctuation left out (what it separated becomes one word)."""
    out: list[str] = []
    for part in re.split(r"([\u4e00-\u9fa5])", "".join(character for character in text.lower().strip() if character not in CHINESE_PUNCTUATION)):
        out += UNITS.findall(part)
    return out


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run of units that is in both."""
    best, before = 0, [0] * (len(b) + 1)
    for unit in a:
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b, start=1):
            if unit == other:
                row[j] = before[j - 1] + 1
        best, before = max(best, *row), row
    return best


def run_f1(gold: str, predicted: str) -> float:
    """F1 of the longest shared run of units."""
    a, b = segment(gold), segment(predicted)
    return 2 * longest_run(a, b) / (len(a) + len(b)) if a and b else 0.0


def same_text(gold: str, predicted: str) -> float:
    """1 where both are the same without case and punctuation, else 0."""
    bare = ["".join(character for character in text.lower().strip() if character not in CHINESE_PUNCTUATION) for text in (gold, predicted)]
    return float(bare[0] == bare[1])


def score_chinese(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Exact match and F1 (CMRC 2018)."""
    return mean_scores(examples, predictions, same_text, run_f1)

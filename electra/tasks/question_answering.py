"""Question answering: questions and contexts -> windows -> logits -> n-best answers; SQuAD 1.1 and 2.0, CMRC 2018, the sets of MRQA 2019.

This is the one place where a question-answering head's outputs become answers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from electra.contracts import Answer, Example, Features, Head, Prediction, SpanCandidate, SpanPrediction, Task, TaskTokenizer
from electra.errors import UserError, parse_json
from electra.storage import atomic
from electra.tasks import input_spec
from electra.tasks.hub_datasets import is_archive
from electra.tasks.metrics import Score
from electra.tasks.question_metrics import score_answers, score_chinese, score_with_no_answers
from electra.tasks.squad_files import WHITE_SPACE, find_file, read_mrqa, read_squad
from electra.tasks.text_tasks import fixed_head

# ---- inputs: [CLS] question [SEP] window of the context [SEP], as in the original's qa_tasks.py ----


SHORTEST = 16
"""Tokens; a shorter input does not hold a question and a context."""


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """How questions become inputs and how answers are chosen; part of a fine-tuned model's input spec."""

    stride: int = 128
    """Tokens from one window's start to the next one's."""
    max_query_length: int = 64
    """Longest question in tokens; the rest is cut off."""
    max_answer_length: int = 30
    """Longest answer in tokens."""
    unanswerable: bool = False
    """Whether 'no answer' is an answer."""
    null_threshold: float = 0.0
    """No answer is given where the null odds are above this."""

    def check(self, max_length: int) -> None:
        """Check the numbers.

        Raises:
            UserError: an input too short for a question and a context, or a number below one.
        """
        if max_length < SHORTEST:
            raise UserError(f"max_length {max_length} is too short for a question and its context; expected at least {SHORTEST}")
        for name in ("stride", "max_query_length", "max_answer_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Context:
    """A context in tokens."""

    ids: np.ndarray
    """(N,) int32."""
    offsets: np.ndarray
    """(N, 2) int32 characters (first, end) of each."""
    words: np.ndarray
    """(N,) the word each is of."""
    word_at: np.ndarray
    """(characters,) the word a character is of; white space belongs to the word before it (-1 before the first)."""
    num_words: int


def encode_context(text: str, tokenizer: TaskTokenizer) -> Context:
    """A context -> its tokens, their characters, and the words (between white space) that they are of."""
    ids, places = tokenizer.encode_offsets(text)
    offsets = np.array(places, np.int32).reshape(-1, 2)
    if not text.isascii():
        _take_marks(text, offsets)
    space = np.array([character in WHITE_SPACE for character in text], bool)
    begins = ~space & np.concatenate([[True], space[:-1]])[: len(space)]
    word_at = np.cumsum(begins) - 1
    words = word_at[offsets[:, 0]] if len(offsets) else np.zeros(0, np.int64)
    return Context(ids=np.array(ids, np.int32), offsets=offsets, words=words, word_at=word_at, num_words=int(begins.sum()))


def _take_marks(text: str, offsets: np.ndarray) -> None:
    """Extend tokens over combining accents, which normalization removed."""
    following = [*offsets[1:, 0].tolist(), len(text)]
    for row, limit in zip(offsets, following, strict=False):
        while row[1] < limit and unicodedata.category(text[row[1]]) in ("Mn", "Me"):
            row[1] += 1


def answer_tokens(context: Context, answer: Answer, ids: Sequence[int]) -> tuple[int, int]:
    """First and last token of an answer: those of its characters where their ids are the answer's `ids`, else those of its words, or the
    part of them whose ids are `ids`.

    Source: `_improve_answer_span` of the original's qa_tasks.py, which takes the first such part of the words: not always the marked one, and
    in a language without spaces, where a sentence is one word, rarely.
    """
    end = min(answer.start + len(answer.text), len(context.word_at))
    first = int(np.searchsorted(context.offsets[:, 1], answer.start, side="right"))
    last = int(np.searchsorted(context.offsets[:, 0], end)) - 1
    wanted = list(ids)
    if wanted and context.ids[first : last + 1].tolist() == wanted:
        return first, last
    first_word, last_word = int(context.word_at[answer.start]), int(context.word_at[end - 1])
    first = int(np.searchsorted(context.words, first_word))
    last = int(np.searchsorted(context.words, last_word + 1)) - 1 if last_word < context.num_words - 1 else len(context.ids) - 1
    for start in range(first, last - len(wanted) + 2) if wanted else ():
        if context.ids[start : start + len(wanted)].tolist() == wanted:
            return start, start + len(wanted) - 1
    return first, last


def windows(num_tokens: int, capacity: int, stride: int) -> list[tuple[int, int]]:
    """Number of tokens -> (first, end) of windows of at most `capacity` tokens that cover them; an empty context has one."""
    spans = [(0, min(capacity, num_tokens))]
    while spans[-1][1] < num_tokens:
        start = spans[-1][0] + min(capacity, stride)
        spans.append((start, min(start + capacity, num_tokens)))
    return spans


def longest_question(options: QuestionOptions, max_length: int) -> int:
    """Tokens of a question that are read: `max_query_length`, and never more than three quarters of a short input."""
    return min(options.max_query_length, max_length - 3 - max_length // 4)


def most_context(spans: Sequence[tuple[int, int]], num_tokens: int) -> np.ndarray:
    """(N,) the window in which each token has most text on its poorer side; the earliest of equals."""
    best, chosen = np.full(num_tokens, -1.0), np.zeros(num_tokens, np.int64)
    for number, (start, end) in enumerate(spans):
        left = np.arange(end - start)
        score = np.minimum(left, left[::-1]) + 0.01 * (end - start)
        better = score > best[start:end]
        best[start:end][better], chosen[start:end][better] = score[better], number
    return chosen


def check_segments(tokenizer: TaskTokenizer, name: str) -> None:
    """Check that the original's head for questions can tell question and context apart, which it does by their segments.

    Raises:
        UserError: the tokenizer's files name no token_type_ids, so both are segment 0.
    """
    if not tokenizer.second_segment:
        raise UserError(
            f"{name}: the original's head for questions needs token_type_ids, and tokenizer_config.json names none (model_input_names); "
            "use the head of transformers (--head transformers)"
        )


def featurize_questions(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, *, options: QuestionOptions, most: int | None = None
) -> list[Features]:
    """Examples -> their windows (at most `most`), with (first, last) token of the first answer known: (0, 0) in a window without it.

    Where there are questions without answer a third number says that the question is one of them.

    Raises:
        UserError: a question without a context, or options that do not fit the length.
    """
    options.check(max_length)
    return list(islice(_question_inputs(examples, tokenizer, max_length, options, most), most))


def _question_inputs(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, options: QuestionOptions, most: int | None
) -> Iterator[Features]:
    limit = longest_question(options, max_length)
    questions = tokenizer.encode([example.text for example in examples])
    known: dict[str, Context] = {}
    for number, (example, question) in enumerate(zip(examples, questions, strict=True)):
        if example.text_pair is None:
            raise UserError(f"question {example.id} has no context to look for an answer in; give both")
        if example.text_pair not in known:
            # Questions about one context follow each other, so one is enough to remember.
            known = {example.text_pair: encode_context(example.text_pair, tokenizer)}
        yield from _windows_of(example, number, question[:limit], known[example.text_pair], tokenizer, max_length, options, most)


def _windows_of(
    example: Example,
    number: int,
    question: Sequence[int],
    context: Context,
    tokenizer: TaskTokenizer,
    max_length: int,
    options: QuestionOptions,
    most: int | None,
) -> Iterator[Features]:
    spans = windows(len(context.ids), max_length - len(question) - 3, options.stride)[:most]
    chosen = most_context(spans, len(context.ids))
    before = len(question) + 2
    answer = next((answer for answer in example.answers or () if answer.start >= 0), None)
    place = None if answer is None or not len(context.ids) else answer_tokens(context, answer, tokenizer.encode([answer.text])[0])
    for index, (start, end) in enumerate(spans):
        label: tuple[int, ...] | None = None
        if place is not None or example.answers == ():
            inside = place is not None and start <= place[0] and place[1] < end
            label = (place[0] - start + before, place[1] - start + before) if place is not None and inside else (0, 0)
            label += (int(example.answers == ()),) if options.unanswerable else ()
        length = before + end - start + 1
        offsets = np.full((length, 2), -1, np.int32)
        offsets[before:-1] = context.offsets[start:end]
        shown = np.zeros(length, bool)
        shown[before:-1] = chosen[start:end] == index
        ids = np.concatenate([[tokenizer.cls_id, *question, tokenizer.sep_id], context.ids[start:end], [tokenizer.sep_id]]).astype(np.int32)
        segments = ((np.arange(length) >= before) * tokenizer.second_segment).astype(np.int8)
        yield Features(
            ids=ids,
            segments=segments,
            example=number,
            label=label,
            offsets=offsets,
            has_most_context=shown if len(spans) > 1 else None,
        )


# ---- answers: outputs of a question's windows -> n-best spans of its context ----


NUM_BEST = 20
"""First tokens and last tokens tried in a window, and answers kept of a question."""
NO_CANDIDATE = 1e4
"""Null odds where no span can be an answer."""


@dataclass(frozen=True)
class WindowSpans:
    """The S candidate spans of a window, and 'no answer'."""

    first: np.ndarray
    """(S,) token of each span's start."""
    last: np.ndarray
    start_logits: np.ndarray
    end_logits: np.ndarray
    scores: np.ndarray
    """(S,) probabilities."""
    null_logit: float
    null_score: float
    joint: bool
    """Whether 'no answer' has a logit of its own."""


def window_spans(output: np.ndarray, feature: Features, max_answer_length: int) -> WindowSpans:
    """A head's output for a window -> the spans that may be answers, in no order."""
    output = np.asarray(output, np.float64)
    offsets = np.asarray(feature.offsets)
    context = offsets[:, 0] >= 0
    shown = context if feature.has_most_context is None else np.asarray(feature.has_most_context)
    if joint := output.shape[1] == 4:
        first, last = output[1:, 0].astype(int), output[1:, 1].astype(int)
        start_logits, end_logits = output[1:, 2], output[1:, 3]
        scores = np.exp(start_logits + end_logits)
        null = float(output[0, 0])
        null_score = float(0.5 + 0.5 * np.tanh(null / 2))
    else:
        allowed = context.copy()
        allowed[0] = True
        log_probs = output - _log_sum_exp(output[allowed])
        best = [np.argsort(-column, kind="stable")[:NUM_BEST] for column in output.T]
        first, last = (grid.ravel() for grid in np.meshgrid(*best, indexing="ij"))
        start_logits, end_logits = output[first, 0], output[last, 1]
        scores = np.exp(log_probs[first, 0] + log_probs[last, 1])
        null, null_score = float(output[0].sum()), float(np.exp(log_probs[0].sum()))
    good = shown[first] & context[last] & (last >= first) & (last - first < max_answer_length)
    return WindowSpans(first[good], last[good], start_logits[good], end_logits[good], scores[good], null, null_score, joint)


def decode_answers(
    outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, *, options: QuestionOptions
) -> list[Prediction]:
    """Outputs of all windows -> a prediction per question: the best answer, or "" where there may be none and the null odds are too high."""
    return [_decode_windows(windows, examples[number], options) for number, windows in _grouped(outputs, features)]


def _grouped(outputs: Sequence[np.ndarray], features: Sequence[Features]) -> Iterator[tuple[int, list[tuple[np.ndarray, Features]]]]:
    group: list[tuple[np.ndarray, Features]] = []
    for output, feature in zip(outputs, features, strict=True):
        if group and group[0][1].example != feature.example:
            yield group[0][1].example, group
            group = []
        group.append((output, feature))
    if group:
        yield group[0][1].example, group


def _decode_windows(windows: Sequence[tuple[np.ndarray, Features]], example: Example, options: QuestionOptions) -> SpanPrediction:
    spans = [window_spans(output, feature, options.max_answer_length) for output, feature in windows]
    candidates = _best_candidates(spans, [np.asarray(feature.offsets) for _, feature in windows], example.text_pair or "")
    null = min(s.null_logit for s in spans)
    best = candidates[0] if candidates else SpanCandidate(text="", start=0, end=0, score=0.0, start_logit=0.0, end_logit=0.0)
    against = null - best.start_logit - best.end_logit if candidates else NO_CANDIDATE
    odds = null if spans[0].joint else against
    empty = options.unanswerable and odds > options.null_threshold
    null_score = min(s.null_score for s in spans)
    return SpanPrediction(
        label="" if empty else best.text,
        probability=null_score if empty else best.score,
        num_windows=len(windows),
        candidates=tuple(candidates) or (best,),
        null_odds=odds,
        null_score=null_score,
    )


def _best_candidates(spans: Sequence[WindowSpans], offsets: Sequence[np.ndarray], context: str) -> list[SpanCandidate]:
    """The spans of all windows -> at most NUM_BEST of different texts."""
    totals = np.concatenate([s.start_logits + s.end_logits for s in spans])
    owners = np.concatenate([np.full(len(s.first), number) for number, s in enumerate(spans)])
    places = np.concatenate([np.arange(len(s.first)) for s in spans])
    found: dict[str, SpanCandidate] = {}
    for index in np.argsort(-totals, kind="stable").tolist():
        window, at = spans[owners[index]], places[index]
        start, end = int(offsets[owners[index]][window.first[at], 0]), int(offsets[owners[index]][window.last[at], 1])
        if (text := context[start:end]) not in found:
            numbers = {"score": float(window.scores[at]), "start_logit": float(window.start_logits[at]), "end_logit": float(window.end_logits[at])}
            found[text] = SpanCandidate(text=text, start=start, end=end, **numbers)
            if len(found) == NUM_BEST:
                break
    return list(found.values())


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    peak = values.max(axis=0)
    return np.asarray(peak + np.log(np.exp(values - peak).sum(axis=0)))


# ---- tasks ----


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
        options=dataclasses.asdict(QuestionOptions(unanswerable=unanswerable)),
        usual_length=USUAL_LENGTH,
    )
    return input_spec.with_options(task, {})


def _featurize(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, *, most: int | None = None, **options: Any
) -> list[Features]:
    return featurize_questions(examples, tokenizer, max_length, head, options=QuestionOptions(**options), most=most)


def _decode(outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, **options: Any) -> list[Prediction]:
    return decode_answers(outputs, features, examples, head, options=QuestionOptions(**options))


def with_files(task: Task, data: Path | None, train: Path | None, dev: Path | None) -> Task:
    """The task with custom files for training and dev, each in place of the folder's.

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
    values = parse_json(path.read_text(encoding="utf-8"))
    input_spec.find_record(values)["null_threshold"] = scores["best_f1_threshold"]
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")


def write_predictions(folder: Path, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    """predictions.json, nbest_predictions.json and null_odds.json as the official scripts read and write them."""
    answers = {e.id: p for e, p in zip(examples, predictions, strict=True) if isinstance(p, SpanPrediction)}
    contents: tuple[dict[str, Any], ...] = (
        {name: prediction.label for name, prediction in answers.items()},
        {name: _best_list(prediction) for name, prediction in answers.items()},
        {name: prediction.null_odds for name, prediction in answers.items()},
    )
    for name, content in zip(PREDICTION_FILES, contents, strict=True):
        atomic.write_text(folder / name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


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

"""Baselines: scores on the same files without a network and without pre-training, in seconds of one core.

classification   the largest class;  TF-IDF of words and word pairs (of characters in Chinese) under a logistic regression
multi-label      no label;           the same, one regression per label
regression       the mean;           for pairs the cosine of their TF-IDF vectors, else a ridge regression on them
tagging          the most frequent tag; each word's most frequent tag in training
questions        the whole context;  the sentence with the largest weighted overlap with the question
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from electra.contracts import Example, Head, Label, Prediction, SpanCandidate, SpanPrediction, Task
from electra.errors import UserError, require

REGULARIZATION = 4.0
"""Inverse strength, C; gives 82.0 on SST-2's dev set."""
ENOUGH = 100
"""With this many training texts, a word must occur in at least two of them."""
MANY_CLASSES = 20
"""With more, a linear support vector machine replaces the regression, which would take minutes."""
MOST_FEATURES = 500_000
CHINESE = re.compile(r"[\u3400-\u9fff]")
SENTENCE = re.compile(r"[^.!?。!?;;\n]+[.!?。!?;;\n]*")


def baseline_scores(task: Task, train: Sequence[Example], dev: Sequence[Example], head: Head) -> dict[str, dict[str, float]]:
    """Labelled training and dev examples -> name of a baseline -> its scores by the task's own metrics.

    Raises:
        UserError: scikit-learn is missing, or there is only one class.
    """
    answers = {"classification": _classes, "multilabel": _label_sets, "regression": _numbers, "tagging": _tags, "span": _spans}[head.kind](train, dev)
    return {name: task.score(dev, predictions, head) for name, predictions in answers.items()}


def tfidf_baseline(train: Sequence[Example], dev: Sequence[Example]) -> float:
    """Labelled training and dev examples of a classification -> dev accuracy of `tfidf_right`, 0..1."""
    return float(tfidf_right(train, dev).mean())


def tfidf_right(train: Sequence[Example], dev: Sequence[Example]) -> np.ndarray:
    """Labelled training and dev examples of a classification -> (N,) bool: where TF-IDF under a logistic regression answers dev correctly.

    Words and bigrams; of `ENOUGH` training texts or more those that occur in at least two; a pair of texts is concatenated.

    Raises:
        UserError: scikit-learn is missing, or there is only one class.
    """
    found = _classes(train, dev).get("TF-IDF")
    if found is None:
        raise UserError("the training texts have no words that TF-IDF could count; give other texts")
    return np.array([answer.label == example.label for answer, example in zip(found, dev, strict=True)])


Answers = dict[str, list[Prediction]]


def _classes(train: Sequence[Example], dev: Sequence[Example]) -> Answers:
    labels = [str(example.label) for example in train]
    if len(set(labels)) < 2:
        raise UserError("the baseline needs training examples of at least two classes; give more of them")
    if len(set(labels)) <= MANY_CLASSES:
        model = require("sklearn.linear_model", "train").LogisticRegression(C=REGULARIZATION, max_iter=1000, random_state=1)
    else:
        model = require("sklearn.svm", "train").LinearSVC(random_state=1)
    largest = {"largest class": _constant(Counter(labels).most_common(1)[0][0], dev)}
    if (found := _tfidf(train, dev)) is None:
        return largest
    model.fit(found[0], labels)
    return largest | {"TF-IDF": [Prediction(label=label) for label in model.predict(found[1]).tolist()]}


def _label_sets(train: Sequence[Example], dev: Sequence[Example]) -> Answers:
    sets = [tuple(example.label) if isinstance(example.label, tuple) else () for example in train]
    names = sorted({name for one in sets for name in one})
    linear, multi = require("sklearn.linear_model", "train"), require("sklearn.multiclass", "train")
    if (found := _tfidf(train, dev)) is None:
        return {"no label": _constant((), dev)}
    model = multi.OneVsRestClassifier(linear.LogisticRegression(C=REGULARIZATION, max_iter=1000, random_state=1))
    model.fit(found[0], np.array([[name in one for name in names] for one in sets], int))
    held = np.asarray(model.predict(found[1]))
    learned = [Prediction(label=tuple(name for name, on in zip(names, row, strict=True) if on)) for row in held]
    return {"no label": _constant((), dev), "TF-IDF": learned}


def _numbers(train: Sequence[Example], dev: Sequence[Example]) -> Answers:
    values = np.array([float(str(example.label)) for example in train])
    mean = {"mean": _constant(float(values.mean()), dev)}
    if any(example.text_pair is not None for example in dev):
        pairs = [replace(example, text_pair=None) for example in dev]
        pairs += [replace(example, text=example.text_pair or "", text_pair=None) for example in dev]
        if (found := _tfidf(train, pairs)) is None:
            return mean
        first, second = found[1][: len(dev)], found[1][len(dev) :]
        learned = np.asarray(first.multiply(second).sum(axis=1)).ravel()
        # Scaled to the labels, for metrics other than correlations.
        learned = values.min() + learned * (values.max() - values.min())
        name = "TF-IDF cosine"
    else:
        if (found := _tfidf(train, dev)) is None:
            return mean
        model = require("sklearn.linear_model", "train").Ridge(random_state=1)
        model.fit(found[0], values)
        learned, name = model.predict(found[1]), "TF-IDF"
    return mean | {name: [Prediction(label=float(value)) for value in learned]}


def _tags(train: Sequence[Example], dev: Sequence[Example]) -> Answers:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for word, tag in zip(example.words or (), example.label if isinstance(example.label, tuple) else (), strict=True):
            counts[word][tag] += 1
    most = sum(counts.values(), Counter()).most_common(1)[0][0]
    best = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    words = [example.words or () for example in dev]
    return {
        "most frequent tag": [Prediction(label=(most,) * len(row)) for row in words],
        "each word's most frequent tag": [Prediction(label=tuple(best.get(word, most) for word in row)) for row in words],
    }


def _spans(train: Sequence[Example], dev: Sequence[Example]) -> Answers:
    contexts = {example.text_pair or "" for example in [*train, *dev]}
    seen = Counter(unit for context in contexts for unit in set(_units(context)))

    def closest(example: Example) -> tuple[int, int]:
        context, asked = example.text_pair or "", set(_units(example.text))
        parts = [match.span() for match in SENTENCE.finditer(context)] or [(0, len(context))]
        worth = [sum(np.log(1 + len(contexts) / (1 + seen[unit])) for unit in asked & set(_units(context[a:b]))) for a, b in parts]
        return parts[int(np.argmax(worth))]

    whole = [_span(example, 0, len(example.text_pair or "")) for example in dev]
    return {"whole context": whole, "closest sentence": [_span(example, *closest(example)) for example in dev]}


def _span(example: Example, start: int, end: int) -> Prediction:
    text = (example.text_pair or "")[start:end]
    found = SpanCandidate(text=text.strip(), start=start, end=end, score=1.0, start_logit=0.0, end_logit=0.0)
    return SpanPrediction(label=found.text, candidates=(found,))


def _units(text: str) -> list[str]:
    return CHINESE.findall(text) if CHINESE.search(text) else re.findall(r"\w+", text.lower())


def _tfidf(train: Sequence[Example], dev: Sequence[Example]) -> tuple[Any, Any] | None:
    """TF-IDF of words and bigrams, of characters and their bigrams for Chinese texts -> sparse rows of train and of dev; None: no text has a word."""
    is_chinese = sum(bool(CHINESE.search(example.text)) for example in train[:ENOUGH]) > min(len(train), ENOUGH) / 2
    text = require("sklearn.feature_extraction.text", "train")
    for rarest in (2, 1) if len(train) >= ENOUGH else (1,):
        options = {"analyzer": "char" if is_chinese else "word", "ngram_range": (1, 2), "min_df": rarest, "max_features": MOST_FEATURES}
        vectorizer = text.TfidfVectorizer(**options)
        try:
            rows = vectorizer.fit_transform([_text(example) for example in train])
        except ValueError:  # no word, or none that occurs twice
            continue
        return rows, vectorizer.transform([_text(example) for example in dev])
    return None


def _constant(label: Label, dev: Sequence[Example]) -> list[Prediction]:
    return [Prediction(label=label)] * len(dev)


def _text(example: Example) -> str:
    return example.text if example.text_pair is None else f"{example.text} {example.text_pair}"

"""What a score is worth: TF-IDF of words and word pairs under a logistic regression, no pre-training, seconds of one core."""

from __future__ import annotations

from collections.abc import Sequence

from electra.contracts import Example
from electra.errors import UserError, require

REGULARIZATION = 4.0
"""Inverse strength, C; SST-2's dev accuracy is then 82.0."""


def tfidf_baseline(train: Sequence[Example], dev: Sequence[Example], seed: int = 1) -> float:
    """Labelled training and dev examples of a classification -> dev accuracy, 0..1.

    Words and pairs of neighbouring words that occur in at least two training texts; a pair of texts is read as one.

    Raises:
        UserError: scikit-learn is missing, or the labels are of one class only.
    """
    text = require("sklearn.feature_extraction.text", "train")
    linear = require("sklearn.linear_model", "train")
    labels = [str(example.label) for example in train]
    if len(set(labels)) < 2:
        raise UserError("the baseline needs training examples of at least two classes; give more of them")
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), min_df=2 if len(train) >= 100 else 1)
    model = linear.LogisticRegression(C=REGULARIZATION, max_iter=1000, random_state=seed)
    model.fit(vectorizer.fit_transform([_text(example) for example in train]), labels)
    return float(model.score(vectorizer.transform([_text(example) for example in dev]), [str(example.label) for example in dev]))


def _text(example: Example) -> str:
    return example.text if example.text_pair is None else f"{example.text} {example.text_pair}"

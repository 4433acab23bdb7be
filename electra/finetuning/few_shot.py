"""--few-shot: K labelled examples of each class -> a draw, pairs of it for a contrastive loss, and a logistic regression as the last layer.

    seed, K              -> K examples of each class, without replacement
    the drawn examples   -> pairs: two of one class have the similarity 1, two of different classes 0      (method 'contrastive')
    pairs                -> an encoder whose vectors have these cosines (squared error)
    vectors, classes     -> a logistic regression: the last layer of a classifier with the head 'mean'     (and method 'frozen')

Source: Tunstall et al. 2022, 'Efficient few-shot learning without prompts' (SetFit, arXiv 2209.11055), and its code: 20 iterations over the texts,
in each a pair of both kinds for every text, one epoch over all pairs in batches of 16, scikit-learn's regression with its defaults on vectors that
are not normalized. There a text may be paired with itself; here only where it is the only one of its class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch

from electra import config
from electra.contracts import Example, Features, Head
from electra.errors import UserError, require
from electra.finetuning.hyperparameters import has_fitted_head
from electra.model.task_models import Classifier
from electra.settings import FinetuneSettings

ITERATIONS = 20
"""Pairs of each kind that begin with a text."""
TOLERANCE, MOST_STEPS = 1e-8, 10_000
"""Of the regression, which has one optimum: with scikit-learn's 1e-4 the last bits of the vectors decide where on the way to it the fit ends."""
UNUSED = ("max_train_examples", "calibrate", "double_unordered")
"""Settings without effect on a draw."""
UNUSED_BY_REGRESSION = ("class_weights", "freeze_encoder_epochs")
"""Further ones where the last layer is a logistic regression."""


def check(settings: FinetuneSettings, heads: Mapping[str, Head]) -> None:
    """Check that the tasks have one class for each text, and that no setting is given that has no effect.

    Raises:
        UserError: another kind of task, a method without --few-shot, or such a setting.
    """
    if settings.few_shot is None:
        if settings.few_shot_method != "contrastive":
            raise UserError(f"--few-shot-method {settings.few_shot_method} needs --few-shot with a number of examples of each class; add it")
        return
    for name, head in heads.items():
        if head.kind != "classification" or len(head.labels) < 2:
            found = f"its head is of kind {head.kind}" if head.kind != "classification" else "it has a single class"
            raise UserError(f"--few-shot is for tasks with one of several classes for each text; {name}: {found}: leave it out")
    unused = UNUSED + UNUSED_BY_REGRESSION * has_fitted_head(settings)
    for field in fields(FinetuneSettings):
        if field.name in unused and getattr(settings, field.name) != field.default:
            raise UserError(f"{config.flag_name(field.name)} has no effect with --few-shot {settings.few_shot}; leave it out")
    if settings.distillation.teacher is not None:
        raise UserError(f"--teacher has no effect with --few-shot {settings.few_shot}, which learns from labels alone; leave it out")
    if has_fitted_head(settings) and settings.truncate == "windows":
        raise UserError("--few-shot makes one vector of each text: give --truncate head, tail or head-tail")


def draw(examples: Sequence[Example], head: Head, count: int, seed: int) -> list[Example]:
    """At most `count` examples of each class, chosen by `seed` without replacement, in their order; those of a smaller count are among them.

    Raises:
        UserError: a class without examples.
    """
    places: dict[str, list[int]] = {label: [] for label in head.labels}
    for i, example in enumerate(examples):
        places.setdefault(str(example.label), []).append(i)
    if missing := [label for label, found in places.items() if not found]:
        raise UserError(f"--few-shot {count}: the training set has no example of the class '{missing[0]}'; add some")
    chosen = (np.random.default_rng([seed, number, 11]).permutation(found)[:count].tolist() for number, found in enumerate(places.values()))
    return [examples[i] for i in sorted(i for part in chosen for i in part)]


def lines(name: str, examples: Sequence[Example], head: Head, count: int) -> list[str]:
    """What a run says of its draws: how many examples, and of which class there are fewer than `count`."""
    counts = dict.fromkeys(head.labels, 0)
    for example in examples:
        counts[str(example.label)] = counts.get(str(example.label), 0) + 1
    found = [f"{name}: each seed draws {count} of the training examples of each of {len(counts)} classes, {sum(counts.values()):,} in all"]
    if few := {label: number for label, number in counts.items() if number < count}:
        shown = ", ".join(f"'{label}' {number}" for label, number in [*few.items()][:10]) + (", ..." if len(few) > 10 else "")
        found.append(f"{name}: fewer than {count} training examples of {len(few)} of {len(counts)} classes, all of them are used: {shown}")
    return found


def pairs(features: Sequence[Features], seed: int) -> list[Features]:
    """N labelled inputs -> 2 x 20 x N pairs of them: with a random other input of the same class (label 1.0) and with one of another class (0.0)."""
    rng = np.random.default_rng([seed, 12])
    labels = np.array([feature.label for feature in features])
    same = {label: np.flatnonzero(labels == label) for label in set(labels.tolist())}
    others = {label: np.flatnonzero(labels != label) for label in same}
    found: list[Features] = []
    for _ in range(ITERATIONS):
        for place, (feature, label) in enumerate(zip(features, labels.tolist(), strict=True)):
            alike = same[label][same[label] != place] if len(same[label]) > 1 else same[label]
            for candidates, similarity in ((alike, 1.0), (others[label], 0.0)):
                other = features[candidates[rng.integers(len(candidates))]]
                found.append(replace(feature, others=(other,), label=similarity, example=len(found)))
    return found


def fit_head(network: Classifier, vectors: Sequence[np.ndarray], classes: Sequence[int]) -> None:
    """N vectors (D,) and their class indices, every class among them -> the last layer of the network, in place: its logits' softmax is
    `predict_proba` of scikit-learn's `LogisticRegression`.
    """
    model = require("sklearn.linear_model", "train").LogisticRegression(tol=TOLERANCE, max_iter=MOST_STEPS)
    model.fit(np.stack(vectors).astype(np.float64), np.asarray(classes))
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes: one logit, of the second against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    output = network.head.output
    assert isinstance(output, torch.nn.Linear)
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(weight))
        output.bias.copy_(torch.from_numpy(bias))

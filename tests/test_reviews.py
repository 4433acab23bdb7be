"""The labelled reviews in the repository: balanced, without near-duplicates, and with a dev part that shares no phrases with training."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from electra.contracts import Example
from electra.recipes.demo.corpus import REVIEWS
from electra.tasks.registry import find_task

LARGEST_SHARE = 0.35
"""Largest fraction of the shorter review's four-word sequences that two reviews may share."""
SHORTEST_FRAME = 5
FUNCTION_WORDS = frozenset(
    "a about after all also an and any are as at be because been before but by can could did do does even ever every for from had has have he "
    "her here him his how i if in instead is it its just last least less me more most much must my neither never no nobody none nor not nothing "
    "of on once one only or other our out over own she should so some still such than that the their them then there these they this those "
    "through time to too until up us very was we were what when where which while who why will with without would yet you your "
    "aren't can't couldn't didn't doesn't don't isn't it's wasn't won't".split()
)


def words(text: str) -> list[str]:
    return re.findall(r"[\w'’]+", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + 4]) for i in range(len(found) - 3)}


def frames(text: str) -> set[tuple[str, ...]]:
    """Sentences of a review with their content words replaced by `_`: two sentences from one template have the same frame."""
    sentences = (words(sentence) for sentence in re.split(r"[.!?;:]", text))
    return {tuple(word if word in FUNCTION_WORDS else "_" for word in s) for s in sentences if len(s) >= SHORTEST_FRAME}


def largest_share(reviews: list[str]) -> float:
    """The largest fraction of the shorter review's four-word sequences that any two reviews share."""
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    largest = 0.0
    for number, review in enumerate(reviews):
        own = runs(review)
        common = Counter(other for run in own for other in index[run])
        largest = max([largest, *(n / min(len(own), sizes[other]) for other, n in common.items())])
        for run in own:
            index[run].append(number)
        sizes.append(len(own))
    return largest


@pytest.fixture(scope="module")
def train() -> list[Example]:
    return find_task("sst2").read(Path(REVIEWS), "train")


@pytest.fixture(scope="module")
def dev() -> list[Example]:
    return find_task("sst2").read(Path(REVIEWS), "dev")


def test_sizes_and_balance(train: list[Example], dev: list[Example]) -> None:
    assert len(train) >= 1500 and len(dev) >= 300
    for part in (train, dev):
        counts = Counter(example.label for example in part)
        assert len(counts) == 2 and len(set(counts.values())) == 1
        assert all(3 <= len(words(example.text)) <= 45 and example.text == example.text.strip() for example in part)


def test_no_near_duplicates(train: list[Example], dev: list[Example]) -> None:
    texts = [example.text for example in [*train, *dev]]
    assert len({" ".join(words(text)) for text in texts}) == len(texts)
    assert largest_share(texts) < LARGEST_SHARE


def test_dev_shares_no_four_words_with_train(train: list[Example], dev: list[Example]) -> None:
    seen = {run for example in train for run in runs(example.text)}
    assert not [example.text for example in dev if runs(example.text) & seen]


def test_dev_shares_no_sentence_frame_with_train(train: list[Example], dev: list[Example]) -> None:
    seen = {frame for example in train for frame in frames(example.text)}
    assert not [example.text for example in dev if frames(example.text) & seen]


def test_a_copied_template_is_detected() -> None:
    one, other = "The soup was cold and the waiter was rude to us.", "The soup was cold and the manager was kind to us."
    assert largest_share([one, other]) > LARGEST_SHARE
    assert frames("The bed was hard, but I slept well.") & frames("The room was dark, but I worked hard.")


def test_tfidf_learns_it_in_part(train: list[Example], dev: list[Example]) -> None:
    pytest.importorskip("sklearn")
    from electra.finetuning.baselines import tfidf_baseline

    assert 0.58 < tfidf_baseline(train, dev) < 0.80

"""Baselines of every kind of head, against scikit-learn's dummies and counts made here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from electra.contracts import Answer, Example, Head
from electra.finetuning.baselines import baseline_scores
from electra.tasks.custom import Columns, own_task, resolve_metric
from electra.tasks.registry import TASKS

pytest.importorskip("sklearn")


def test_the_largest_class_is_scikit_learns_dummy() -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.metrics import accuracy_score, f1_score

    train = [Example(id=str(i), text=f"word{i % 7}", text_pair="x", label=str(int(i % 3 > 0))) for i in range(40)]
    dev = [Example(id=str(i), text="y", text_pair="x", label=str(i % 2)) for i in range(11)]
    found = baseline_scores(TASKS["mrpc"], train, dev, TASKS["mrpc"].head(train))["largest class"]
    dummy = DummyClassifier(strategy="most_frequent").fit([[0]] * 40, [e.label for e in train]).predict([[0]] * 11)
    gold = [e.label for e in dev]
    assert found["accuracy"] == accuracy_score(gold, dummy) and found["f1"] == f1_score(gold, dummy, pos_label="1")


def test_many_classes_are_learned_too() -> None:
    train = [Example(id=str(i), text=f"word{i % 30} film", label=str(i % 30)) for i in range(300)]
    found = baseline_scores(TASKS["iflytek"], train, train[:60], TASKS["iflytek"].head(train))
    assert found["TF-IDF"]["accuracy"] == 1.0 and found["largest class"]["accuracy"] == pytest.approx(1 / 30)


def test_texts_of_names_or_letters_have_baselines_too() -> None:
    """No word occurs twice, or there is none that scikit-learn would count."""
    head = Head(kind="classification", labels=("0", "1"))
    task = resolve_metric(own_task(Columns()), head)
    for word, known in ((lambda i: f"name{i}", True), (lambda i: "abc"[i % 3], False)):
        train = [Example(id=str(i), text=word(i), label=str(i % 2)) for i in range(120)]
        found = baseline_scores(task, train, train, head)
        assert found["largest class"]["accuracy"] == 0.5 and ("TF-IDF" in found) is known


def test_chinese_is_read_by_characters() -> None:
    train = [Example(id=str(i), text=("这部电影很好看" if i % 2 else "酒店房间非常差") + str(i), label=str(i % 2)) for i in range(30)]
    dev = [Example(id="a", text="好看", label="1"), Example(id="b", text="差", label="0")]
    task = TASKS["chnsenticorp"]
    assert baseline_scores(task, train, dev, task.head(train))["TF-IDF"]["accuracy"] == 1.0


def test_similar_pairs_are_those_that_share_words() -> None:
    texts = ["a small dog runs", "the sun is hot", "people sing loudly"]
    rows = [Example(id=f"{i}{j}", text=texts[i], text_pair=texts[j], label=5.0 if i == j else 0.0) for i in range(3) for j in range(3)]
    found = baseline_scores(TASKS["stsb"], rows, rows, TASKS["stsb"].head(rows))
    assert found["TF-IDF cosine"]["pearson"] == pytest.approx(1.0, abs=1e-6) and found["mean"]["spearman"] == 0.0


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_user_regression_and_several_labels(kind: str) -> None:
    label: list[object] = [1.0, 2.0] if kind == "regression" else [("a",), ("a", "b")]
    train = [Example(id=str(i), text=["cold", "hot"][i % 2], label=label[i % 2]) for i in range(20)]  # type: ignore[arg-type]
    head = Head(kind=kind, labels=() if kind == "regression" else ("a", "b"))
    task = resolve_metric(own_task(Columns(kind=kind), {}), head)  # type: ignore[arg-type]
    found = baseline_scores(task, train, train, head)
    worst, best = found.values()
    assert best[task.main_metric] == pytest.approx(1.0, abs=1e-6) and worst[task.main_metric] < 0.9


@pytest.mark.realdata
def test_each_words_tag_by_seqeval(data_root: Path) -> None:
    from seqeval.metrics import f1_score

    task = TASKS["chunk"]
    train, dev = task.read(data_root / "conll2000", "train")[:800], task.read(data_root / "conll2000", "dev")[:200]
    counts: dict[str, Counter[str]] = {}
    everything: Counter[str] = Counter()
    for sentence in train:
        for word, tag in zip(sentence.words or (), sentence.label, strict=True):  # type: ignore[arg-type]
            counts.setdefault(word, Counter())[tag] += 1
            everything[tag] += 1
    guess = [[counts[w].most_common(1)[0][0] if w in counts else everything.most_common(1)[0][0] for w in s.words or ()] for s in dev]
    found = baseline_scores(task, train, dev, task.head(train))["each word's most frequent tag"]
    assert found["f1"] == pytest.approx(f1_score([list(s.label or ()) for s in dev], guess)) and 0.3 < found["f1"] < 0.7  # type: ignore[arg-type]


def test_the_closest_sentence() -> None:
    context = "The chef cooked soup. Rain fell on the hills! Nobody saw the old ship."
    questions = [Example(id="1", text="Where did rain fall?", text_pair=context, answers=(Answer("the hills", 34),))]
    found = baseline_scores(TASKS["squad"], questions, questions, Head(kind="span"))
    assert found["closest sentence"]["f1"] == pytest.approx(2 * 1 / (4 + 1))  # rain fell on hills | hills
    assert found["whole context"]["exact_match"] == 0.0
    empty = [Example(id="1", text="?", text_pair="", answers=(Answer("", -1),))]
    assert baseline_scores(TASKS["squad"], empty, empty, Head(kind="span"))

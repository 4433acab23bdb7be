"""Scores of answers: the official rules of SQuAD 1.1 and 2.0 and of CMRC 2018, written again."""

from __future__ import annotations

import collections
import random
import re
import string
from pathlib import Path

import numpy as np
import pytest

from electra.contracts import Answer, Example, Head, SpanCandidate, SpanPrediction
from electra.errors import UserError
from electra.tasks.question_metrics import best_threshold, exact_match, longest_run, run_f1, same_text, segment, token_f1
from electra.tasks.registry import find_task
from electra.tasks.squad_files import read_squad

SPAN = Head(kind="span")


def _official_normalize(s: str) -> str:
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def _official_f1(gold: str, predicted: str) -> float:
    """SQuAD 2.0's compute_f1, written again."""
    gold_words, predicted_words = _official_normalize(gold).split(), _official_normalize(predicted).split()
    common = collections.Counter(gold_words) & collections.Counter(predicted_words)
    same = sum(common.values())
    if len(gold_words) == 0 or len(predicted_words) == 0:
        return float(gold_words == predicted_words)
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted_words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)


TEXTS = ["the Old city", "Old city!", "an old-city", "A", "", "river, river", "the river of the city", "city river river", "3.5%", "U.S.", "naïve"]


def test_scores_equal_the_official_rules() -> None:
    for gold in TEXTS:
        for predicted in TEXTS:
            assert token_f1(gold, predicted) == pytest.approx(_official_f1(gold, predicted))
            assert exact_match(gold, predicted) == float(_official_normalize(gold) == _official_normalize(predicted))
    task = find_task("squad")
    examples = [Example(id=str(i), text="q", answers=(Answer("the old city", 0), Answer(gold, 0))) for i, gold in enumerate(TEXTS)]
    predicted = [_prediction(TEXTS[(i + 1) % len(TEXTS)]) for i in range(len(TEXTS))]
    scores = task.score(examples, predicted, SPAN)
    each = []
    for example, prediction in zip(examples, predicted, strict=True):
        text = str(prediction.label)
        each.append(max(_official_f1(a.text, text) if _official_normalize(text) else 0.0 for a in example.answers or ()))
    assert scores["f1"] == pytest.approx(np.mean(each)) and 0 < scores["exact_match"] < scores["f1"] < 1
    with pytest.raises(UserError, match="has no answers, so it cannot be scored"):
        task.score([Example(id="0", text="q")], predicted[:1], SPAN)


def _prediction(text: str, best: str | None = None, odds: float = 0.0) -> SpanPrediction:
    candidate = SpanCandidate(text=text if best is None else best, start=0, end=0, score=1.0, start_logit=0.0, end_logit=0.0)
    return SpanPrediction(label=text, candidates=(candidate,), null_odds=odds)


def _official_best(has: list[bool], raw: list[float], predicted: list[str], odds: list[float]) -> float:
    """The best mean score over every threshold, by trying them all."""
    best = 0.0
    for threshold in [min(odds) - 1, *odds]:
        total = 0.0
        for one, score, text, odd in zip(has, raw, predicted, odds, strict=True):
            answered = odd <= threshold and bool(text)
            total += score if one and odd <= threshold else (0.0 if one else float(not answered))
        best = max(best, total / len(has))
    return best


@pytest.mark.realdata
def test_scores_of_squad2_on_questions_with_other_paragraphs(data_root: Path) -> None:
    """A third of the questions are paired with a paragraph of another article, which does not answer them."""
    read = read_squad(data_root / "squad" / "dev-v1.1.json", "dev")[:3000:10]
    rng = random.Random(1)
    examples, predictions = [], []
    for i, example in enumerate(read):
        other = read[(i + 150) % len(read)]
        away = i % 3 == 0
        answers = () if away else example.answers
        examples.append(Example(id=example.id, text=example.text, text_pair=other.text_pair if away else example.text_pair, answers=answers))
        best = rng.choice([example.answers[0].text, "the " + example.answers[0].text, "city", other.answers[0].text])  # type: ignore[index]
        odds = rng.gauss(1.0 if away else -1.0, 1.5)
        predictions.append(_prediction("" if odds > 0 else best, best, odds))
    scores = find_task("squad2").score(examples, predictions, SPAN)
    gold = [[a.text for a in e.answers or ()] or [""] for e in examples]
    has = [bool(e.answers) for e in examples]
    for name, rule in (("f1", _official_f1), ("exact_match", lambda a, b: float(_official_normalize(a) == _official_normalize(b)))):
        each = [max(rule(text, str(p.label)) for text in texts) for texts, p in zip(gold, predictions, strict=True)]
        assert scores[name] == pytest.approx(np.mean(each))
        assert scores[f"{name}_has_answer"] == pytest.approx(np.mean([v for v, h in zip(each, has, strict=True) if h]))
        raw = [max(rule(text, p.candidates[0].text) for text in texts) for texts, p in zip(gold, predictions, strict=True)]
        odds = [p.null_odds for p in predictions]
        assert scores[f"best_{name}"] == pytest.approx(_official_best(has, raw, [p.candidates[0].text for p in predictions], odds))
        at = scores[f"best_{name}_threshold"]
        again = [v if h and o <= at else float(not h and o > at) for v, h, o in zip(raw, has, odds, strict=True)]
        assert np.mean(again) == pytest.approx(scores[f"best_{name}"]) and scores[f"best_{name}"] >= scores[name]
    assert scores["accuracy_no_answer"] == np.mean([p.null_odds > 0 for p, h in zip(predictions, has, strict=True) if not h])


def test_a_threshold_that_helps_nothing_is_zero() -> None:
    found = best_threshold([0.0, 0.0], [3.0, 2.0], [False, False], [False, False])
    assert (found.value, found.score) == (0.0, 1.0)


def test_chinese_rules() -> None:
    assert segment("《魔兽》 World of-Warcraft 3.5，2") == ["魔", "兽", "world", "ofwarcraft", "3.52"]  # what punctuation parted is one word
    assert longest_run(list("abcde"), list("xbcdab")) == 3 and longest_run([], ["a"]) == 0
    assert same_text("光荣和ω-force", "光荣和 Ω-FORCE") == 0.0 and same_text("光荣和ω-force。", "光荣和Ω-FORCE") == 1.0
    assert run_f1("北京大学", "在北京大学") == pytest.approx(2 * (4 / 5) * 1 / (4 / 5 + 1))
    assert run_f1("北京大学", "北京的大学") == pytest.approx(2 * (2 / 5) * (2 / 4) / (2 / 5 + 2 / 4))  # runs, not bags
    assert run_f1("。", "。") == 0.0
    examples = [Example(id="0", text="q", answers=(Answer("北京", -1), Answer("北京大学", 0)))]
    assert find_task("cmrc2018").score(examples, [_prediction("北京大学，")], SPAN) == {"exact_match": 1.0, "f1": 1.0}


def _official_chinese_f1(gold: str, predicted: str) -> float:
    """CMRC's calc_f1_score for texts without other writing than digits, written again: every common substring tried."""
    a, b = ([c for c in text.lower() if c not in "，。：？！“”；’《》·、「」（）－～『』-:_*^/\\~`+="] for text in (gold, predicted))
    best = 0
    for i in range(len(a)):
        for j in range(i + 1, len(a) + 1):
            if any(b[k : k + j - i] == a[i:j] for k in range(len(b))):
                best = max(best, j - i)
    return 2 * best / (len(a) + len(b)) if best else 0.0


def test_chinese_f1_equals_the_official_rule() -> None:
    rng = random.Random(4)
    for _ in range(200):
        gold, predicted = ("".join(rng.choices("北京大学的，。", k=rng.randrange(1, 9))) for _ in range(2))
        assert run_f1(gold, predicted) == pytest.approx(_official_chinese_f1(gold, predicted))


@pytest.mark.realdata
def test_people_agree_with_themselves(data_root: Path) -> None:
    """Every dev set answered by its first annotator scores 1, by its last about as people do."""
    for name, file in (("squad", "squad/dev-v1.1.json"), ("cmrc2018", "cmrc2018/dev.json")):
        task = find_task(name)
        examples = task.read(data_root / file, "dev")
        first = task.score(examples, [_prediction(e.answers[0].text) for e in examples], SPAN)  # type: ignore[index]
        assert first == {"exact_match": 1.0, "f1": 1.0}

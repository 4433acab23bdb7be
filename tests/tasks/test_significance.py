"""electra significance against scipy, scikit-learn, and simulations whose answer is known."""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra import cli
from electra.errors import UserError
from electra.tasks.significance import PairedAnswers, bootstrap, interval, mcnemar, metric_named, p_text, pair, resample, wilson

stats = pytest.importorskip("scipy.stats")
sk = pytest.importorskip("sklearn.metrics")


def _write(path: Path, labels: list[Any], predictions: list[Any], ids: list[str] | None = None) -> Path:
    ids = ids or [f"dev-{i}" for i in range(len(labels))]
    rows = [{"id": i, "label": a, "prediction": b} for i, a, b in zip(ids, labels, predictions, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _classes(rng: np.random.Generator, count: int, names: tuple[str, ...], right: tuple[float, float]) -> PairedAnswers:
    gold = rng.integers(0, len(names), count)
    sides = [np.where(rng.random(count) < share, gold, rng.integers(0, len(names), count)) for share in right]
    return PairedAnswers(ids=tuple(map(str, range(count))), gold=gold, first=sides[0], second=sides[1], classes=names)


ORACLES = {
    "accuracy": lambda g, p: sk.accuracy_score(g, p),
    "f1": lambda g, p: sk.f1_score(g, p, labels=[2], average="macro", zero_division=0.0),
    "macro_f1": lambda g, p: sk.f1_score(g, p, average="macro", zero_division=0.0),
    "matthews": lambda g, p: sk.matthews_corrcoef(g, p),
    "pearson": lambda g, p: stats.pearsonr(g, p).statistic,
    "spearman": lambda g, p: stats.spearmanr(g, p).statistic,
    "root_mean_squared_error": lambda g, p: sk.root_mean_squared_error(g, p),
}


@pytest.mark.parametrize("name", ORACLES)
def test_every_metric_of_every_resample_equals_scikit_learns(name: str) -> None:
    rng = np.random.default_rng(3)
    answers = _classes(rng, 40, ("a", "b", "c"), (0.6, 0.4))
    if name in ("pearson", "spearman", "root_mean_squared_error"):
        gold = rng.integers(0, 6, 40) / 1.0
        answers = PairedAnswers(ids=answers.ids, gold=gold, first=gold + rng.normal(size=40), second=gold, classes=())
    drawn = rng.integers(0, 40, (20, 40))
    draws = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(float)
    ours = metric_named(name, answers, None)(answers.gold, answers.first, draws)
    theirs = [ORACLES[name](answers.gold[row], answers.first[row]) for row in drawn]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Also of many: the chance that a fair coin is as far from half, from binomial coefficients."""
    for ours, theirs in ((3, 9), (0, 5), (12, 12), (1, 0), (60, 90), (400, 500)):
        right = [True] * ours + [False] * theirs + [True] * 30
        found = mcnemar(right, [not value for value in right[: ours + theirs]] + [True] * 30)
        assert (found["only_first_right"], found["only_second_right"]) == (ours, theirs)
        tail = Fraction(sum(math.comb(ours + theirs, k) for k in range(min(ours, theirs) + 1)), 2 ** (ours + theirs))
        assert found["p_value"] == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)
    assert mcnemar([True, False], [True, False])["p_value"] == 1.0


def test_wilson_of_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    assert [round(end, 4) for end in wilson(81, 263)] == [0.2553, 0.3662]
    assert [round(end, 4) for end in wilson(15, 148)] == [0.0624, 0.1605]
    assert [round(end, 4) for end in wilson(0, 20)] == [0.0, 0.1611] and wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_is_paired_and_counts_every_resample() -> None:
    """Of a linear statistic the answer is known: mean 0.5 of the differences, standard error sd / sqrt(n)."""
    rng = np.random.default_rng(4)
    one = rng.normal(size=2000)
    two = one - 0.5 + 0.1 * rng.normal(size=2000)
    found = resample(lambda drawn: one[drawn].mean(axis=-1) - two[drawn].mean(axis=-1), 2000, num_resamples=5000, seed=3)
    assert found.shape == (5000,) and found.std() == pytest.approx((one - two).std() / math.sqrt(2000), rel=0.05)
    low, high = interval(found)
    assert (low, high) == pytest.approx(np.mean(one - two) + np.array([-1, 1]) * 1.96 * found.std(), abs=2e-4)
    two_rows = resample(lambda drawn: np.stack([one[drawn].mean(axis=-1), two[drawn].mean(axis=-1)]), 2000, num_resamples=50)
    assert two_rows.shape == (2, 50) and resample(lambda drawn: drawn.sum(axis=-1), 1, num_resamples=7).tolist() == [0] * 7


def test_bootstrap_interval_is_near_scipys() -> None:
    """scipy.stats.bootstrap over the pairs themselves, with other numbers; with many of both the intervals agree."""
    answers = _classes(np.random.default_rng(5), 300, ("0", "1"), (0.7, 0.6))
    found = bootstrap(answers, metric_named("accuracy", answers, None), num_resamples=20_000, confidence=0.95, seed=1)

    def difference(one: np.ndarray, two: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean(one, axis=axis) - np.mean(two, axis=axis)

    rights = (answers.first == answers.gold).astype(float), (answers.second == answers.gold).astype(float)
    theirs = stats.bootstrap(rights, difference, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2))
    np.testing.assert_allclose(found["interval"], theirs.confidence_interval, atol=0.004)
    again = bootstrap(answers, metric_named("accuracy", answers, None), num_resamples=20_000, confidence=0.95, seed=1)
    assert again == found


def test_no_p_value_is_shown_as_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (p_text(0.03124), p_text(0.0001), p_text(0.00009), p_text(1.0)) == ("p = 0.0312", "p = 0.0001", "p < 0.0001", "p = 1.0000")
    gold = ["pos", "neg"] * 100
    one, two = _write(tmp_path / "a.jsonl", gold, gold), _write(tmp_path / "b.jsonl", gold, ["pos"] * 200)
    assert cli.main(["significance", str(one), str(two), "--num-resamples", "20000"]) == 0
    output = capsys.readouterr().out
    assert "p < 0.0001, paired bootstrap" in output and "McNemar's exact test: p < 0.0001." in output and "0.0000" not in output


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    file = _write(tmp_path / "a.jsonl", ["x", "y"], ["x", "x"])
    assert cli.main(["significance", str(file), str(file)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "scipy" in error and "train" in error


@pytest.mark.parametrize("name", ["accuracy", "matthews", "pearson"])
def test_equal_models_are_called_different_in_about_one_case_of_twenty(name: str) -> None:
    """400 pairs of equally good models on 200 examples each: the share of p < 0.05 is 5%, give or take 2 standard errors and discreteness."""
    rng, called, tested = np.random.default_rng(11), 0, 400
    mcnemars = 0
    for seed in range(tested):
        answers = _classes(rng, 200, ("0", "1"), (0.6, 0.6))
        if name == "pearson":
            gold = rng.normal(size=200)
            answers = PairedAnswers(ids=answers.ids, gold=gold, first=gold + rng.normal(size=200), second=gold + rng.normal(size=200), classes=())
        found = bootstrap(answers, metric_named(name, answers, None), num_resamples=500, confidence=0.95, seed=seed)
        called += found["p_value"] < 0.05
        mcnemars += bool(answers.classes) and mcnemar(answers.first == answers.gold, answers.second == answers.gold)["p_value"] < 0.05
    assert 0.025 <= called / tested <= 0.085, called / tested
    assert mcnemars / tested <= 0.06  # the exact test errs on the safe side


def test_a_true_difference_is_found() -> None:
    answers = _classes(np.random.default_rng(1), 400, ("0", "1"), (0.8, 0.5))
    found = bootstrap(answers, metric_named("accuracy", answers, None), num_resamples=2000, confidence=0.95, seed=1)
    assert (
        found["p_value"] < 0.001
        and found["interval"][0] > 0
        and mcnemar(answers.first == answers.gold, answers.second == answers.gold)["p_value"] < 0.001
    )


def test_no_p_value_is_zero() -> None:
    """The sample itself is one of those that chance could have given: no resample is as far off, and p is 1 / (1 + their number)."""
    gold = np.arange(50) % 2
    answers = PairedAnswers(ids=tuple(map(str, range(50))), gold=gold, first=gold, second=1 - gold, classes=("0", "1"))
    found = bootstrap(answers, metric_named("accuracy", answers, None), num_resamples=1000, confidence=0.95, seed=1)
    assert (found["difference"], found["p_value"]) == (1.0, pytest.approx(1 / 1001))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = ["pos", "neg"] * 50
    one = _write(tmp_path / "a.jsonl", gold, [*gold[:90], *["pos"] * 10])
    # The second file's order does not matter.
    two = _write(tmp_path / "b.jsonl", gold[::-1], ["pos"] * 100, [f"dev-{i}" for i in range(99, -1, -1)])
    assert cli.main(["significance", str(one), str(two), "--json", "--num-resamples", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"], found["num_examples"], found["differ"]) == (0.95, 0.5, 100, True)
    assert found["mcnemar"]["only_first_right"] == 45 and found["mcnemar"]["p_value"] < 1e-6
    assert cli.main(["significance", str(one), str(one), "--num-resamples", "1000"]) == 0
    assert "the difference is not significant" in capsys.readouterr().out
    assert cli.main(["significance", str(one), str(two), "--metric", "f1", "--positive", "neg", "--num-resamples", "500", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["second"] == 0.0
    numbers = _write(tmp_path / "c.jsonl", [1.0, 2.0, 3.5], [1.1, 2.2, 3.0]), _write(tmp_path / "d.jsonl", [1.0, 2.0, 3.5], [1, 3, 2])
    assert cli.main(["significance", *map(str, numbers), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "pearson"


@pytest.mark.parametrize(
    ("label", "right", "wrong"),
    [
        (["Paris", "the city of Paris"], "paris.", "London"),  # texts of a question: exact match
        (["rude", "funny"], ["funny", "rude"], ["rude"]),  # several labels, which have no order
        (["B-PER", "O", "O"], ["B-PER", "O", "O"], ["O", "B-PER", "O"]),  # tags of words
        (["O", "B-LOC"], ["O", "B-LOC"], ["B-LOC", "O"]),  # of which none occurs twice
    ],
)
def test_a_right_answer_is_equal_to_its_label(label: Any, right: Any, wrong: Any, tmp_path: Path) -> None:
    for name, answer in (("a", right), ("b", wrong)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"id": i, "label": label, "prediction": answer}) + "\n" for i in range(5)))
    found = pair(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (found.first == found.gold).all() and not (found.second == found.gold).any()


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    """Runs of earlier versions, in which a regression was found in the labels."""
    for name, answers in (("a", (1.5, 2.5)), ("b", (2.5, 1.5))):
        lines = (json.dumps({"id": i, "label": f"{i + 1}.0", "prediction": answer}) for i, answer in enumerate(answers))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    found = pair(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert found.classes == () and found.gold.tolist() == [1.0, 2.0]


def test_a_run_is_its_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of one task has the answers of its best seed; another folder is refused."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "predictions.jsonl", ["x", "y"] * 20, ["x", "x" if name == "one" else "y"] * 20)
    assert cli.main(["significance", str(tmp_path / "one"), str(tmp_path / "two"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"], found["num_examples"]) == (0.5, 1.0, 40)
    (tmp_path / "one" / "predictions.jsonl").unlink()
    assert cli.main(["significance", str(tmp_path / "one"), str(tmp_path / "two")]) == 2
    assert "has no predictions.jsonl; give a run" in capsys.readouterr().err


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = _write(tmp_path / "a.jsonl", ["x", "y", "x"], ["x", "x", "x"])
    other = _write(tmp_path / "b.jsonl", ["x", "y", "x"], ["x", "x", "x"], ["dev-0", "dev-7", "dev-2"])
    with pytest.raises(UserError, match="example dev-1 is missing from"):
        pair(good, other)
    with pytest.raises(UserError, match="example dev-2 is missing from"):
        pair(good, _write(tmp_path / "s.jsonl", ["x", "y"], ["x", "x"]))
    with pytest.raises(UserError, match="example dev-1 is labelled 'y'"):
        pair(good, _write(tmp_path / "c.jsonl", ["x", "x", "x"], ["x", "x", "x"]))
    with pytest.raises(UserError, match="dev-0 occurs twice"):
        pair(good, _write(tmp_path / "d.jsonl", ["x", "y"], ["x", "x"], ["dev-0", "dev-0"]))
    with pytest.raises(UserError, match="has no label"):
        pair(good, _write(tmp_path / "e.jsonl", [None], ["x"]))
    (tmp_path / "f.jsonl").write_text('{"id": 1}\n')
    for words, message in (
        ((good, tmp_path / "none.jsonl"), "not found"),
        ((good, tmp_path / "f.jsonl"), "line 1: expected JSON with id"),
        ((good, good, "--metric", "pearson"), "is not for classes"),
        ((good, good, "--metric", "f1", "--positive", "z"), "no such class"),
        ((good, good, "--num-resamples", "5"), "at least 100"),
        ((good, good, "--confidence", "0.2"), "--confidence 0.2: expected at least 0.5 and below 1"),
    ):
        assert cli.main(["significance", *map(str, words)]) == 2
        assert message in capsys.readouterr().err


def test_models_that_share_most_errors_are_compared_on_the_same_resamples() -> None:
    """They differ in 12 of 400 examples: the standard error of the difference is sqrt(12) / 400, not that of two independent accuracies."""
    gold = np.arange(400) % 2
    first = np.where(np.arange(400) < 120, 1 - gold, gold)
    second = np.where((np.arange(400) >= 120) & (np.arange(400) < 132), 1 - gold, first)
    answers = PairedAnswers(ids=tuple(map(str, range(400))), gold=gold, first=first, second=second, classes=("0", "1"))
    found = bootstrap(answers, metric_named("accuracy", answers, None), num_resamples=5000, confidence=0.95, seed=1)
    width = found["interval"][1] - found["interval"][0]
    assert found["difference"] == pytest.approx(12 / 400) and width == pytest.approx(2 * 1.96 * math.sqrt(12) / 400, rel=0.15)

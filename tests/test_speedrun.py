"""experiments/speedrun.py: the rules are checked, the points are as described, and a run with a budget of seconds ends in a row of the record."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from tiny_models import checkpoints

import electra


@pytest.fixture
def speedrun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    yield importlib.import_module("speedrun")
    sys.modules.pop("speedrun")


def test_texts_outside_the_rules_are_refused(speedrun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun, "DATA", tmp_path)
    with pytest.raises(SystemExit, match=r"unknown text 'wikipedia-7'; the rules allow wikipedia-0, .*, wikipedia-6$"):
        speedrun.checked_texts(["wikipedia-7"], speedrun.TEXTS)
    with pytest.raises(SystemExit, match=r"wikipedia-0\.txt\.xz not found; set ELECTRA_DATA"):
        speedrun.checked_texts(["wikipedia-0"], speedrun.TEXTS)
    (tmp_path / "corpus-en").mkdir()
    (tmp_path / "corpus-en" / "wikipedia-0.txt.xz").write_bytes(b"other text")
    with pytest.raises(SystemExit, match=r"has the hash .*, the rules say dab0a12d"):
        speedrun.checked_texts(["wikipedia-0"], speedrun.TEXTS)


def test_points_are_above_the_baseline_and_at_most_ten(speedrun: Any) -> None:
    assert speedrun.points({"scores": [0.80, 0.82], "baseline": 0.78}) == pytest.approx(3.0)
    assert speedrun.points({"scores": [0.80, 0.82], "baseline": 0.78, "probe": 0.77}) == pytest.approx((3.0 - 1.0) / 2)
    # Each part is cut before the mean.
    assert speedrun.points({"scores": [0.95], "baseline": 0.5, "probe": 0.48}) == pytest.approx((10.0 - 2.0) / 2)


def test_bits_per_character_are_those_of_score(speedrun: Any, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun, "DATA", data_root)
    monkeypatch.setattr(speedrun, "SENTENCES", 3)
    seen: list[str] = []
    model = electra.load(checkpoints()["masked"], device="cpu")
    of = type(model).score

    def score(self: Any, texts: Any) -> Any:
        seen.extend(texts)
        return of(self, texts)

    monkeypatch.setattr(type(model), "score", score)
    found = speedrun.bits_per_character(str(checkpoints()["masked"]))
    natural = [sum(token.score for token in of(model, [text])[0].tokens) for text in seen]
    assert len(natural) == 3 and all(80 < len(text) < 203 for text in seen)
    assert found == pytest.approx(-sum(natural) / sum(map(len, seen)) / np.log(2), rel=1e-5)


@pytest.mark.slow
def test_a_run_of_seconds(speedrun: Any, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = "--preset mini --num-train-steps 2 --max-train-examples 64 --seeds 1 --baselines".split()
    for name, value in {"DATA": data_root, "BUDGETS": {"1h": 5e11}, "FINE_TUNING": short, "WHOLE_SST2": short, "SENTENCES": 4}.items():
        monkeypatch.setattr(speedrun, name, value)
    monkeypatch.setattr(speedrun, "corrupted_words", lambda output, of=speedrun.corrupted_words: _first_lines(of(output), 40))
    submission, record = tmp_path / "short.toml", tmp_path / "record.json"
    text = (ROOT / "experiments" / "speedruns" / "mini.toml").read_text().replace(', "wikipedia-1", "wikipedia-2", "wikipedia-3"', "")
    submission.write_text(text.replace("share = 1.0", "share = 0.5") + '\n[[stage]]\nflags = ["mini"]\nshare = 0.5\n')
    words = [str(submission), "--output", str(tmp_path / "run"), "--threads", "1", "--record", str(record)]
    for _ in range(2):  # the second time everything is there
        monkeypatch.setattr(sys, "argv", ["speedrun.py", *words])
        speedrun.main()
    (row,) = json.loads(record.read_text())
    assert row["submission"] == "short" and row["score"] == pytest.approx(np.mean([speedrun.points(task) for task in row["tasks"].values()]))
    assert set(row["tasks"]) == set(speedrun.TASKS) and {name for name, task in row["tasks"].items() if "probe" in task} == set(speedrun.PROBED)
    assert row["flops"] == pytest.approx(5e11, rel=0.2)
    assert row["bits_per_character"] > 1 and row["gflop_per_second"] and 0 <= row["corruption"]["generator_auc"] <= 1


def _first_lines(path: Path, number: int) -> Path:
    """A shorter corruption set."""
    short = path.with_name("short.jsonl")
    short.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:number]), encoding="utf-8")
    return short


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), ("texts = [", "a.toml cannot be read as TOML"), ('description = "x"', "a.toml has no 'texts'")]
)
def test_a_wrong_submission_is_one_line(
    content: str | None, message: str, speedrun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "a.toml").write_text(content)
    monkeypatch.setattr(sys, "argv", ["speedrun.py", str(tmp_path / "a.toml"), "--output", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        speedrun.main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err and not (tmp_path / "run").exists()

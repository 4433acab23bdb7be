"""Seeds' scores.json and RUN/scores.json of one task and of several; the best seed; the lines that are printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from electra.errors import UserError
from electra.finetuning.results import SeedResult, best_seed, main_score, read_seed, score_lines, summarize, write_seed
from electra.settings import FinetuneSettings
from electra.tasks.registry import find_task

SETTINGS = FinetuneSettings(task="sst2", model="m", output=Path("o"), preset="mini")
ONE, TWO = ({name: find_task(name) for name in names} for names in (("sst2",), ("sst2", "stsb")))
FACTS = {name: {"main_metric": task.main_metric, "train_examples": 9, "dev_examples": 4, "text_pairs": 0} for name, task in TWO.items()}


def seed(number: int, accuracy: float, spearman: float | None = None, **more: Any) -> SeedResult:
    scores = {"sst2": {"accuracy": accuracy}} | ({} if spearman is None else {"stsb": {"pearson": 0.5, "spearman": spearman}})
    tasks = ONE if spearman is None else TWO
    return SeedResult(seed=number, scores=scores, main_score=main_score(scores, tasks), steps=7, tokens=99, seconds=1.5, **more)


def test_the_best_seed_has_the_highest_main_score_and_is_the_first_of_equals() -> None:
    assert best_seed([seed(1, 0.5), seed(2, 0.75), seed(3, 0.75)]).seed == 2
    # 0.9 and 0.1 are an average of 0.5, 0.5 and 0.7 one of 0.6.
    assert best_seed([seed(1, 0.9, 0.1), seed(2, 0.5, 0.7)]).seed == 2


@pytest.mark.parametrize(
    ("result", "scores"),
    [
        (seed(3, 0.5, selected_step=4), {"accuracy": 0.5}),
        (
            seed(3, 0.5, 0.75, shares={"sst2": 0.25, "stsb": 0.75}),
            {"sst2": {"accuracy": 0.5}, "stsb": {"pearson": 0.5, "spearman": 0.75}, "average": 0.625},
        ),
    ],
)
def test_a_seeds_file_is_that_of_version_0_1_and_is_read_again(result: SeedResult, scores: dict[str, Any], tmp_path: Path) -> None:
    write_seed(tmp_path, result)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written.pop("scores") == scores
    shares = {"shares": result.shares} if result.shares else {}
    assert written == {"seed": 3, "steps": 7, "tokens": 99, "seconds": 1.5, "selected_step": result.selected_step, **shares}
    assert read_seed(tmp_path, TWO if result.shares else ONE) == result


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"seed": 1, "scores": {"accuracy": 1}}', '{"seed": 1, "scores": {}, "steps": 1}'])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    assert read_seed(tmp_path, ONE) is None
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(UserError, match=r"scores\.json is damaged; remove the folder .* to train that seed again"):
        read_seed(tmp_path, ONE)


def test_the_summary_of_one_task() -> None:
    found = summarize(SETTINGS, {"sst2": FACTS["sst2"]}, [seed(1, 0.5), seed(2, 0.75)])
    assert found == {
        "task": "sst2",
        "model": "m",
        "preset": "mini",
        **FACTS["sst2"],
        "scores": {"accuracy": {"mean": 0.625, "sd": pytest.approx(0.1767767), "each": [0.5, 0.75]}},
        "seeds": [1, 2],
        "best_seed": 2,
        "steps": [7, 7],
        "tokens": [99, 99],
        "seconds": [1.5, 1.5],
    }
    assert score_lines(found) == ["sst2: accuracy 62.50 (sd 17.68; seeds 50.00 75.00)"]
    early = summarize(replace(SETTINGS, early_stopping=1), {"sst2": FACTS["sst2"]}, [seed(1, 0.5, selected_step=3)])
    assert early["selected_steps"] == [3] and "optimistic" in early["selection"]


def test_the_summary_of_several_tasks() -> None:
    found = summarize(replace(SETTINGS, task="sst2+stsb"), FACTS, [seed(1, 0.5, 0.75)])
    assert found["tasks"]["stsb"] == {
        **FACTS["stsb"],
        "scores": {"pearson": {"mean": 0.5, "sd": None, "each": [0.5]}, "spearman": {"mean": 0.75, "sd": None, "each": [0.75]}},
    }
    assert found["average"] == {"mean": 0.625, "sd": None, "each": [0.625]} and found["seed"] == [1] and found["mixing"] == "all"
    assert score_lines(found) == ["sst2: accuracy 50.00", "stsb: pearson 50.00, spearman 75.00", "average of the main metrics: 62.50"]

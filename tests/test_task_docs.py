"""docs/tasks.md against the table of tasks, the presets and the commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from electra import config
from electra.finetuning.hyperparameters import resolve
from electra.settings import FinetuneSettings
from electra.tasks.registry import TASKS

TEXT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: [cell.strip() for cell in match[2].split("|")] for match in re.finditer(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.M) if match[1] in TASKS
}


def test_every_task_is_in_the_document() -> None:
    sections = TEXT.partition("## Your own data")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", sections, re.M)) == set(TASKS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_tells_the_tasks_metric(name: str) -> None:
    told = re.search(r"\*\*(\w+)\*\*", ROWS[name][2])
    assert (told is None and name == "own") or (told is not None and told[1] == TASKS[name].main_metric)


@pytest.mark.parametrize("preset", ["paper", "clue"])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_tells_the_presets(name: str, preset: str) -> None:
    told = ROWS[name][3 if preset == "paper" else 4]
    if told:
        asked = FinetuneSettings(task=name, model="m", output=Path("o"), preset=preset)
        made = resolve(asked, name, 256)
        assert told == f"{made.epochs:g}, {made.max_length}"
    else:
        assert preset == "clue"


def test_the_chinese_recipe_is_the_seeds() -> None:
    made = resolve(FinetuneSettings(task="tnews", model="m", output=Path("o"), preset="clue"), "tnews", 312)
    assert (made.optimizer.learning_rate, made.optimizer.layerwise_lr_decay, made.epochs) == (1e-4, 0.8, 10.0)


def test_its_commands_are_valid() -> None:
    from test_cli import lines_of_commands, parse

    found = [words for block in re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S) for words in lines_of_commands(block)]
    assert len(found) == 6
    for words in found:
        parse(words)


def test_its_flags_exist() -> None:
    flags = {"--" + path[-1].replace("_", "-") for cls in ("Finetune", "Evaluate", "Submit") for path, _, _ in config.leaves(_settings(cls))}
    assert set(re.findall(r"--[a-z][a-z-]+", TEXT)) <= flags


def _settings(name: str) -> type:
    from electra import settings

    return getattr(settings, f"{name}Settings")  # type: ignore[no-any-return]

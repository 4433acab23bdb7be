"""The worker's data: the task and the columns that `compare` hands to every candidate."""

from __future__ import annotations

import json
from pathlib import Path

from electra.benchmark.worker import labelled_data
from electra.command_line import from_command_line
from electra.settings import CompareSettings


def test_columns_given_by_flags_are_not_replaced_by_those_of_the_training(tmp_path: Path) -> None:
    """Also where they are the defaults of the flags: a table may have both."""
    (tmp_path / "config.json").write_text(json.dumps({"electra_input_spec": {"columns": {"text": "review", "label": "stars"}}}))
    words = [str(tmp_path), "--task", "own", "--data", "x.csv", "--text", "text", "--label", "label"]
    given = labelled_data(from_command_line(CompareSettings, words, "electra compare"))
    left = labelled_data(from_command_line(CompareSettings, words[:5], "electra compare"))
    assert (given.text, given.label, left.text, left.label) == ("text", "label", "review", "stars")

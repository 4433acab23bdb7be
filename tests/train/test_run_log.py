"""What a run directory holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from electra import config, terminal
from electra.errors import UserError
from electra.settings import LoopSettings
from electra.train.run_log import RunLog, read_metrics, run_environment


def fill(log: RunLog, steps: range) -> None:
    for step in steps:
        log.write("train", step=step, tokens=step * 10, seconds=step / 3, values={"loss": 1.0 / (step + 1), "odd": float("nan")})


def test_lines_are_json_with_the_agreed_names(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", LoopSettings(num_train_steps=3), tensorboard=False)
    fill(log, range(1, 3))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"step": 2, "tokens": 20, "seconds": 0.667, "kind": "train", "loss": 0.3333333}
    again = config.build(LoopSettings, config.read_toml(tmp_path / "run" / "config.toml"))
    assert again == LoopSettings(num_train_steps=3)


def test_a_resumed_log_has_no_line_twice(tmp_path: Path) -> None:
    fill(RunLog(tmp_path, tensorboard=False), range(1, 10))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "tok')  # killed while writing
    log = RunLog(tmp_path, tensorboard=False)
    log.truncate(4)
    fill(log, range(5, 12))
    assert [line["step"] for line in read_metrics(log.metrics_file)] == list(range(1, 12))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        read_metrics(path)


def test_environment_records_what_matters_and_names_no_machine(tmp_path: Path) -> None:
    found = run_environment()
    assert found["versions"]["torch"] == torch.__version__
    assert found["cores"] >= 1
    assert os.uname().nodename not in json.dumps({key: value for key, value in found.items() if key != "command"})
    RunLog(tmp_path, tensorboard=False)
    RunLog(tmp_path, tensorboard=False)
    assert len(json.loads((tmp_path / "environment.json").read_text())["earlier"]) == 1


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", LoopSettings(), active=False)
    fill(log, range(3))
    log.truncate(1)
    log.close()
    assert not (tmp_path / "run").exists()


def test_tensorboard_events_hold_the_values(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path)
    fill(log, range(1, 4))
    log.close()
    events = loader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.3333), (3, 0.25)]


def test_plain_progress_is_a_line_now_and_then(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: False)
    log = RunLog(tmp_path, title="mini", tensorboard=False)
    for step in range(1, 101):
        log.progress(step, 100, loss=2.5, rate=1e-3, tokens_per_second=12345.6, seconds_left=100 - step)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "mini: step 1/100  loss 2.5000  lr 1.00e-03  12,346 tokens/s  ETA 1 min 39 s",
        "mini: step 100/100  loss 2.5000  lr 1.00e-03  12,346 tokens/s  ETA 0 s",
    ]


def test_a_bar_where_a_person_watches(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = RunLog(tmp_path, title="mini", tensorboard=False)
    log.progress(100, 100, loss=2.5, rate=1e-3, tokens_per_second=10, seconds_left=0)
    log.close()
    assert "100/100" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another path"):
        RunLog(tmp_path / "file" / "run")

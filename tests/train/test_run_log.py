"""What a run directory holds."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_training
from conftest import ROOT
from logged_runs import EACH, INSTALLED, Row, by_name, expected_rows
from pretraining_runs import TINY
from pretraining_runs import shards as shards  # a fixture
from tiny_models import random_start
from toy_glue import arguments, write_glue

from electra import config, terminal
from electra.cli import main
from electra.errors import UserError
from electra.settings import LoopSettings
from electra.settings.sections import LogSettings
from electra.train import run_log
from electra.train.run_log import RunLog, read_metrics, run_environment

SUPPORT = ROOT / "tests" / "support"


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


# ---- trackio, MLflow, W&B ----

CUT = """
import os, sys, time
sys.path.insert(0, {support!r})
import offline
offline.watch()
from electra.cli import main
from electra.train.loop import Run
update = Run.update

def cut(run, *arguments):
    if run.step == {step} and run.log.folder.name == "run":
        time.sleep(2)  # trackio writes from a thread
        os._exit(9)  # as a kill: nothing is closed
    return update(run, *arguments)

Run.update = cut
sys.exit(main(sys.argv[1:]))
"""


def electra(folder: Path, *words: str, cut: int = -1) -> int:
    """A command in a process that may not leave the machine, killed before update `cut` + 1 of the last phase -> its exit code."""
    environment = {**os.environ, "TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline", "ELECTRA_ATTEMPTS": str(folder / "attempts")}
    environment |= {"HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        environment.pop(name, None)
    program = CUT.format(support=str(SUPPORT), step=cut)
    done = subprocess.run([sys.executable, "-c", program, *words], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    assert not (folder / "attempts").exists(), (folder / "attempts").read_text()
    return done.returncode


def logged(name: str, run: Path, folder: Path) -> list[Row]:
    """What a library has of a run, by its own reader, in a process with the folders of `electra`."""
    environment = {**os.environ, "TRACKIO_DIR": str(folder / "trackio"), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    command = [sys.executable, str(SUPPORT / "logged_runs.py"), name, str(run), "tests"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [(step, values) for step, values in json.loads(done.stdout)]


def check_logged(name: str, run: Path, folder: Path, lines: list[dict[str, Any]]) -> None:
    found, expected = logged(name, run, folder), expected_rows(lines)
    if name == "mlflow":
        assert by_name(found) == by_name(expected)
    else:
        assert found == expected


LOG_TO = ["--log-to", *INSTALLED, "--log-project", "tests"] if INSTALLED else []


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A run of two phases that was killed in its second one, and resumed -> its folder, and the lines that its loggers should have."""
    folder = tmp_path_factory.mktemp("logged")
    run = folder / "run"
    words = [
        "--num-train-steps",
        "16",
        "--mlm-first",
        "0.5",
        "--log-every",
        "1",
        "--evaluate-every",
        "3",
        "--checkpoint-every",
        "4",
        "--threads",
        "1",
    ]
    assert electra(folder, "pretrain", "mini", "--data", str(shards), "--output", str(run), *TINY, *words, *LOG_TO, cut=6) == 9
    before = read_metrics(run / "metrics.jsonl")
    assert electra(folder, "pretrain", "--resume", str(run)) == 0
    # The loggers have the first session's lines of steps 13 and 14, which were repeated.
    once = {(line["kind"], line["step"]): line for line in (*read_metrics(run / "metrics.jsonl"), *before)}
    assert sorted(once) == sorted((line["kind"], line["step"]) for line in read_metrics(run / "metrics.jsonl"))
    assert before[-1]["step"] == 14 and before[-1]["phase_step"] == 6 and len(before) > len([line for line in before if line["step"] <= 12])
    return folder, [once[line["kind"], line["step"]] for line in read_metrics(run / "metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_every_line_of_a_killed_and_resumed_pretraining_arrives_once(name: str, pretrained: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, lines = pretrained
    assert len({line["phase"] for line in lines}) == 2
    if name != "wandb":
        check_logged(name, folder / "run", folder, lines)
        return
    # Offline it loses what its process has not written when the run is killed, and writes a file for each session.
    found, repeated = logged(name, folder / "run", folder), expected_rows(read_metrics(folder / "run" / "metrics.jsonl"))
    first, last = ([row for row in repeated if (row[0] <= 8, row[0] > 12)[place]] for place in (0, 1))
    assert found[: len(first)] == first and found[-len(last) :] == last
    assert all(row in expected_rows(lines) for row in found[len(first) : -len(last)])


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A fine-tuning of two seeds, each of which is a run of its own in the loggers."""
    folder = tmp_path_factory.mktemp("logged")
    start, glue = random_start(folder / "start", tiny_vocab), folder / "glue"
    glue.mkdir()
    write_glue(glue)
    words = arguments("sst2", start, glue, folder / "out", "--seeds", "2", "--epochs", "2", "--log-every", "2")
    assert electra(folder, *words, *LOG_TO) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_every_line_of_a_finetuning_arrives(name: str, finetuned: Path) -> None:
    for seed in (1, 2):
        run = finetuned / "out" / f"seed-{seed}"
        lines = read_metrics(run / "metrics.jsonl")
        assert {line["kind"] for line in lines} == {"train", "evaluation"}
        check_logged(name, run, finetuned, lines)


def log_to(folder: Path, *names: str) -> RunLog:
    """A run's log that also goes to these libraries, before its first line."""
    return RunLog(folder, title="toy", tensorboard=False, logging=LogSettings(log_to=names, log_project="tests"), recorded={"loop": {"seed": 1}})


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return pytest.importorskip("mlflow", reason="could not import 'mlflow': pip install -e '.[mlflow]'").MlflowClient()


@pytest.mark.slow
def test_mlflow_knows_how_a_run_ended_and_a_failure_does_not_end_the_training(
    tmp_path: Path, mlflow_client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for ending, status in (("stopped", "KILLED"), ("failed", "FAILED"), ("finished", "FINISHED")):
        log = log_to(run, "mlflow")
        log.truncate(0)
        identity = (run / "mlflow-id").read_text().strip()
        assert mlflow_client.get_run(identity).info.status == "RUNNING"
        log.close(ending)
        found = mlflow_client.get_run(identity)
        assert found.info.status == status and found.info.run_name == "toy" and found.data.params == {"seed": "1"}
    log = log_to(run, "mlflow")
    log.truncate(0)
    log.write("evaluation", step=1, tokens=1, seconds=1.0, values={"recall@10": 0.5, "f1": 1.0})
    assert mlflow_client.get_metric_history(identity, "evaluation/recall_10")[0].value == 0.5
    mlflow_client.delete_run(identity)
    fill(log, range(2, 5))
    log.close()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--log-to mlflow: ")]
    assert len(errors) == 1 and "the run goes on without it" in errors[0]
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl")] == [1, 2, 3, 4]
    with pytest.raises(UserError, match=rf"--log-to mlflow: .*; check MLFLOW_TRACKING_URI, or leave it out; or remove {run}/mlflow-id to start"):
        log_to(run, "mlflow").truncate(0)


@pytest.mark.parametrize(
    ("name", "words", "environment", "message"),
    [
        pytest.param(
            "mlflow", [], {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}, "check MLFLOW_TRACKING_URI"
        ),
        pytest.param("trackio", ["--log-project", "registry-a"], {}, "'registry-a' is not allowed"),
        pytest.param("wandb", ["--log-project", "a/b"], {"WANDB_MODE": "offline"}, "check the name of the project"),
    ],
)
def test_a_library_that_refuses_is_one_line_before_training(
    name: str,
    words: list[str],
    environment: Mapping[str, str],
    message: str,
    tmp_path: Path,
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(name)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    command = ["pretrain", "mini", "--data", str(shards), "--output", str(tmp_path / "run"), *TINY, "--num-train-steps", "4", "--mlm-first", "0"]
    assert main([*command, "--log-to", name, *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"electra: --log-to {name}: ") and message in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", run_log.LOGGERS)
def test_a_missing_package_is_the_line_to_type(
    name: str,
    tmp_path: Path,
    shards: Path,
    tiny_vocab: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    glue = tmp_path / "glue"
    glue.mkdir()
    pretraining = ["pretrain", "mini", "--data", str(shards), "--output", str(tmp_path / "run"), "--num-train-steps", "4"]
    finetuning = arguments("sst2", random_start(tmp_path / "start", tiny_vocab), write_glue(glue), tmp_path / "run")
    for words in (pretraining, finetuning):
        assert main([*words, "--log-to", name]) == 2
        assert f"pip install -e '.[{name}]'" in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "run").exists()


class Recorder:
    """A logger that keeps what it gets."""

    remedy, last_step = "nothing", 0
    got: list[Any]

    def __init__(self, run: run_log.LoggedRun) -> None:
        self.got.append(run.title)

    def write(self, values: Mapping[str, float], step: int) -> None:
        self.got.append(step)

    def close(self, ending: run_log.Ending) -> None:
        self.got.append(ending)


@pytest.mark.parametrize(("how", "ending"), [({}, "finished"), ({"stop_at": 5}, "stopped"), ({"bad_step": 3}, "failed")])
def test_loggers_are_closed_however_a_training_ends(how: dict[str, int], ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "got", [], raising=False)
    monkeypatch.setitem(run_log.LOGGERS, "trackio", Recorder)
    monkeypatch.setattr(toy_training, "RunLog", functools.partial(RunLog, title="toy", logging=LogSettings(log_to=("trackio",))))
    if ending == "failed":
        with pytest.raises(UserError, match="not finite"):
            toy_training.run_toy(tmp_path / "run", steps=8, **how)
    else:
        toy_training.run_toy(tmp_path / "run", steps=8, **how)
    assert Recorder.got[0] == "toy" and Recorder.got[-1] == ending and Recorder.got.count(ending) == 1


def test_other_ranks_start_no_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "got", [], raising=False)
    monkeypatch.setitem(run_log.LOGGERS, "trackio", Recorder)
    log = RunLog(tmp_path / "run", active=False, logging=LogSettings(log_to=("trackio",)))
    log.truncate(0)
    fill(log, range(3))
    log.close()
    assert Recorder.got == []

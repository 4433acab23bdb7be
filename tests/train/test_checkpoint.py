"""Runs killed at any moment and continued end with the same bits as a run never stopped. Real processes, really killed."""

from __future__ import annotations

import json
import os
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import ToyObjective, launch, run_toy, save_toy

from electra.errors import UserError
from electra.settings import OptimizerSettings
from electra.train import checkpoint, distributed
from electra.train.optimizer import Adam
from electra.train.run_log import read_metrics


def wait_for(folder: Path, step: int, process: ForkServerProcess) -> None:
    """Until the run has recorded `step`."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.exitcode is None:
        path = folder / "metrics.jsonl"
        if path.exists() and any(line["step"] >= step for line in read_metrics(path)):
            return
        time.sleep(0.005)
    raise AssertionError(f"the run never came to step {step}")


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[dict[str, float]]]:
    """What must be the same: final weights, optimizer, metrics but for their times."""
    last = checkpoint.latest_checkpoint(folder)
    assert last is not None
    timeless = [{k: v for k, v in line.items() if "second" not in k} for line in read_metrics(folder / "metrics.jsonl")]
    return load_file(folder / "final" / "model.safetensors"), load_file(last / "training" / "optimizer.safetensors"), timeless


def assert_same(one: Path, two: Path) -> None:
    for mine, theirs in zip(outcome(one)[:2], outcome(two)[:2], strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert outcome(one)[2] == outcome(two)[2]


def run_here(folder: Path, *, go_on: bool = False) -> None:
    """As `launch`, in this process: one thread, products as a joined process has them."""
    threads = torch.get_num_threads()
    with distributed.join("cpu", threads=1) as place:
        run_toy(folder, place=place, go_on=go_on)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    run_here(folder)
    return folder


def test_killed_again_and_again(unbroken: Path, tmp_path: Path) -> None:
    """Before any checkpoint, after one, in the middle of writing one; each time by SIGKILL."""
    folder = tmp_path / "run"
    first = launch(folder, pause=0.05)
    wait_for(folder, 4, first)  # the first checkpoint comes at step 5
    first.kill()
    first.join()
    second = launch(folder, go_on=True, kill_in_checkpoint=20)
    second.join()
    assert second.exitcode == -signal.SIGKILL
    assert [path.name for path in checkpoint.checkpoints(folder)] == ["step-00000010", "step-00000015"]
    assert any(path.suffix == ".part" for path in (folder / "checkpoints").iterdir())
    third = launch(folder, go_on=True, pause=0.05)
    wait_for(folder, 28, third)
    third.kill()
    third.join()
    last = launch(folder, go_on=True)
    last.join()
    assert last.exitcode == 0
    assert_same(unbroken, folder)
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]


def test_sigterm_and_ctrl_c_save_and_print_how_to_resume(unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for number, step, go_on in ((signal.SIGTERM, 7, False), (signal.SIGINT, 21, True)):
        process = launch(folder, pause=0.05, go_on=go_on)
        wait_for(folder, step, process)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join()
        assert process.exitcode == 128 + number
    log = folder.with_suffix(".log").read_text()
    assert log.count("--resume to continue") == 2
    run_here(folder, go_on=True)
    final = outcome(folder)
    wanted = outcome(unbroken)
    assert all(torch.equal(final[0][name], wanted[0][name]) for name in wanted[0])
    steps = [(line["kind"], line["step"]) for line in read_metrics(folder / "metrics.jsonl")]
    assert len(steps) == len(set(steps))


def test_a_budget_once_frozen_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result, _ = run_toy(folder, steps=None, budget=2.0, evaluate_every=0, checkpoint_every=0)
    frozen = json.loads((folder / "budget.json").read_text())
    assert result.num_steps == result.step == frozen["num_train_steps"]
    # The trial steps were undone: the run is the one that names the same number of steps.
    named, _ = run_toy(tmp_path / "named", steps=result.num_steps, evaluate_every=0, checkpoint_every=0)
    assert named.tokens == result.tokens
    mine, theirs = (load_file(path / "final" / "model.safetensors") for path in (folder, tmp_path / "named"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    # A start that was killed before its first checkpoint takes the frozen number, whatever the speed is now.
    other = tmp_path / "other"
    other.mkdir()
    (other / "budget.json").write_text(json.dumps({**frozen, "num_train_steps": 17}))
    assert run_toy(other, steps=None, budget=2.0)[0].num_steps == 17


def test_a_number_of_tokens_is_one_of_steps(tmp_path: Path) -> None:
    """The toy's examples have 3 to 7 tokens, 5 in the mean; looking at them moves nothing."""
    result, _ = run_toy(tmp_path / "tokens", steps=None, num_train_tokens=1_000, accumulation=2)
    assert result.step == 25 and result.tokens == pytest.approx(1_000, rel=0.05)
    frozen = json.loads((tmp_path / "tokens" / "budget.json").read_text())
    assert (frozen["num_train_tokens"], frozen["num_train_steps"]) == (1_000, 25)
    assert frozen["tokens_per_step"] == pytest.approx(40, rel=0.02)
    named, _ = run_toy(tmp_path / "named", steps=25, accumulation=2)
    mine, theirs = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("tokens", "named"))
    assert named.tokens == result.tokens and all(torch.equal(mine[name], theirs[name]) for name in mine)
    other = tmp_path / "other"
    other.mkdir()
    (other / "budget.json").write_text(json.dumps({**frozen, "num_train_steps": 7}))
    assert run_toy(other, steps=None, num_train_tokens=1_000)[0].num_steps == 7


def test_newest_and_named_checkpoints_are_kept(tmp_path: Path) -> None:
    run_toy(tmp_path, keep_checkpoints=2, keep_steps=(3, 15))
    assert [int(path.name[5:]) for path in checkpoint.checkpoints(tmp_path)] == [3, 15, 35, 40]


def test_checkpoints_that_cannot_be_continued_are_refused(tmp_path: Path) -> None:
    _, objective = run_toy(tmp_path, steps=5)
    adam = Adam(objective.named_parameters(), OptimizerSettings())
    folder = checkpoint.latest_checkpoint(tmp_path)
    assert folder is not None
    with pytest.raises(UserError, match="not found"):
        checkpoint.read_checkpoint(tmp_path / "nothing", objective, adam)
    with pytest.raises(UserError, match=r"state.json is missing"):
        checkpoint.read_checkpoint(tmp_path / "final", objective, adam)
    other = ToyObjective()
    other.extra = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match="another model"):
        checkpoint.read_checkpoint(folder, other, adam)
    weights = folder / "training" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read_checkpoint(folder, objective, adam)


def test_seeds_differ_by_seed_step_and_rank() -> None:
    drawn = set()
    for place in ((1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)):
        checkpoint.seed_step(*place)
        drawn.add(float(torch.rand(())))
    assert len(drawn) == 4
    checkpoint.seed_step(1, 1, 0)
    assert float(torch.rand(())) in drawn


def test_a_failing_save_leaves_no_checkpoint(tmp_path: Path) -> None:
    objective = ToyObjective()
    adam = Adam(objective.named_parameters(), OptimizerSettings())

    def fail(folder: Path) -> None:
        save_toy(objective, folder)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        checkpoint.write_checkpoint(checkpoint.checkpoint_folder(tmp_path, 1), objective, adam, {}, fail)
    assert list((tmp_path / "checkpoints").iterdir()) == []

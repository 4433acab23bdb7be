"""Parts that do not learn: unchanged bit by bit, with a resume in between, and on two ranks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from electra import cli
from electra.tasks import metrics

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(5)
    for name, count in (("train", 40), ("dev", 12)):
        rows = ["text,label", *(f"{' '.join(rng.choices('the film was a good bad story'.split(), k=8))},{'yn'[i % 2]}" for i in range(count))]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def command(data: Path, output: Path, *more: str) -> list[str]:
    from tiny_models import checkpoints

    words = ["finetune", "own", "--model", str(checkpoints()["discriminator"]), "--data", str(data), "--output", str(output)]
    quick = ["--batch-size", "8", "--threads", "1", "--device", "cpu", "--learning-rate", "1e-3", "--weight-decay", "0.1"]
    return [*words, *quick, "--keep-checkpoints", "9", "--checkpoint-every", "5", *more]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of a finished seed stay."""
    remove = shutil.rmtree
    monkeypatch.setattr(
        "electra.finetuning.trainer.shutil.rmtree", lambda path, **how: None if Path(path).name == "checkpoints" else remove(path, **how)
    )


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(one: dict[str, Any], other: dict[str, Any], start: str) -> set[bool]:
    keys = [key for key in one if key.startswith(start)]
    assert keys
    return {torch.equal(one[key], other[key]) for key in keys}


def test_the_head_learns_first_then_everything(data: Path, tmp_path: Path, kept: None) -> None:
    from tiny_models import checkpoints

    assert cli.main(command(data, tmp_path / "run", "--epochs", "3", "--freeze-encoder-epochs", "1")) == 0
    begun = weights(checkpoints()["discriminator"])
    after = {step: weights(tmp_path / "run" / "seed-1" / "checkpoints" / f"step-{step:08d}") for step in (5, 10, 15)}
    assert same(begun, after[5], "electra.") == {True}, "five steps are the first epoch"
    assert same(after[5], after[10], "electra.encoder.layer.0.") == {False}
    assert same(after[5], after[10], "classifier.") == same(after[10], after[15], "classifier.") == {False}


def test_a_run_stopped_while_the_encoder_is_frozen_resumes_bit_by_bit(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("--epochs", "4", "--freeze-encoder-epochs", "1.4", "--evaluate-every", "5")
    assert cli.main(command(data, tmp_path / "whole", *more)) == 0
    score = metrics.macro_f1

    def stop(*arguments: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return score(*arguments)

    monkeypatch.setattr(metrics, "macro_f1", stop)
    assert cli.main(command(data, tmp_path / "cut", *more)) == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert cli.main(command(data, tmp_path / "cut", *more, "--resume")) == 0
    assert (tmp_path / "whole" / "best" / "model.safetensors").read_bytes() == (tmp_path / "cut" / "best" / "model.safetensors").read_bytes()


def test_the_lowest_layers_stay(data: Path, tmp_path: Path) -> None:
    from tiny_models import checkpoints

    assert cli.main(command(data, tmp_path / "run", "--epochs", "2", "--freeze-layers", "1")) == 0
    begun, ended = weights(checkpoints()["discriminator"]), weights(tmp_path / "run" / "best")
    for start, equal in {"electra.embeddings": True, "electra.encoder.layer.0.": True, "electra.encoder.layer.1.": False}.items():
        assert same(begun, ended, start) == {equal}, start


def test_two_ranks_freeze_as_one(data: Path, tmp_path: Path) -> None:
    """The parameters whose gradients are exchanged change on the way."""
    more = ("--epochs", "2", "--freeze-encoder-epochs", "1", "--freeze-layers", "0", "--dropout", "0", "--clip-norm", "0")
    assert cli.main(command(data, tmp_path / "one", *more)) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "electra"]
    place = {"PYTHONPATH": str(ROOT), **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}}
    subprocess.run([*torchrun, *command(data, tmp_path / "two", *more, "--batch-size", "4")], check=True, capture_output=True, env=place)
    one, two = (weights(tmp_path / name / "best") for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--freeze-layers", "3"], "--freeze-layers 3: the model has 2 layers"),
        (["--freeze-layers=-1"], "--freeze-layers -1"),
        (["--freeze-encoder-epochs", "3"], "--freeze-encoder-epochs 3 must be below the 3 epochs"),
        (["--freeze-encoder-epochs", "1", "--num-train-steps", "9"], "--freeze-encoder-epochs counts epochs"),
    ],
)
def test_mistakes_are_one_line(more: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(data, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_frozen_layers_stay_frozen_when_the_head_has_learned() -> None:
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.task_models import LinearProbing, freeze_lowest

    shape = EncoderConfig(vocab_size=20, embedding_size=4, hidden_size=8, num_hidden_layers=3, num_attention_heads=1, intermediate_size=8)
    encoder = Encoder(shape)
    freeze_lowest(encoder, 0)
    schedule = LinearProbing(encoder, 0.5)
    schedule.advance(0.0)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    schedule.advance(0.5)
    learning = {name.split(".")[0] for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert learning == {"layers"}

"""electra pretrain from the command line: stages, record, resume, continued pre-training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pretraining_runs import pretrain
from pretraining_runs import shards as shards  # a fixture
from safetensors.torch import load_file

from electra.cli import main
from electra.model import huggingface


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_two_stages_leave_a_checkpoint_that_transformers_opens(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    assert transformers.AutoModelForPreTraining.from_pretrained(run / "final").config.num_hidden_layers == 4
    assert transformers.AutoModelForMaskedLM.from_pretrained(run / "final" / "generator").config.num_hidden_layers == 2
    assert transformers.AutoTokenizer.from_pretrained(run / "final")("the cat").input_ids[0] == 2
    first = [json.loads(line) for line in (run / "mlm-first" / "metrics.jsonl").read_text().splitlines()]
    second = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in first) == 4 and max(line["step"] for line in second) == 4
    assert "disc_auc" in second[-1] and "disc_auc" not in first[-1]
    assert "the encoder starts from it" in capsys.readouterr().err


def test_a_record_repeats_its_run(shards: Path, tmp_path: Path) -> None:
    assert pretrain("mini", shards, tmp_path / "one", "--seed", "5") == 0
    assert main(["pretrain", str(tmp_path / "one" / "config.toml"), "--output", str(tmp_path / "two")]) == 0
    one, two = weights(tmp_path / "one" / "final"), weights(tmp_path / "two" / "final")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_first_stage_is_not_run_again(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    before = weights(run / "final")
    for name in ("final", "checkpoints"):
        (run / name).rename(tmp_path / name)
    stamp = (run / "mlm-first" / "metrics.jsonl").stat().st_mtime_ns
    assert main(["pretrain", "mini", "--output", str(run), "--resume"]) == 0
    assert (run / "mlm-first" / "metrics.jsonl").stat().st_mtime_ns == stamp
    after = weights(run / "final")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_continued_pretraining_starts_from_the_checkpoint(shards: Path, tmp_path: Path) -> None:
    assert pretrain("mini", shards, tmp_path / "one") == 0
    flags = ("--init", str(tmp_path / "one"), "--learning-rate", "0", "--mlm-first", "0")
    assert pretrain("mini", shards, tmp_path / "two", *flags) == 0
    for folder in ("final", "final/generator"):
        one, two = weights(tmp_path / "one" / folder), weights(tmp_path / "two" / folder)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_init_of_another_shape_names_the_flag(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("mini-mlm", shards, tmp_path / "one") == 0
    assert pretrain("mini", shards, tmp_path / "two", "--init", str(tmp_path / "one"), "--mlm-first", "0", "--intermediate-size", "48") == 2
    assert "set --intermediate-size 32" in capsys.readouterr().err


def test_evaluation_and_a_fixed_corruption_set(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("mini", shards, tmp_path / "run") == 0
    capsys.readouterr()
    fixed = tmp_path / "fixed.npz"
    evaluate = ["evaluate", str(tmp_path / "run"), "--json", "--sequence-length", "32"]
    assert main([*evaluate, "--data", str(shards)]) == 0
    held_out = json.loads(capsys.readouterr().out)
    nine = "disc_accuracy disc_auc disc_loss disc_recall loss masked_lm_accuracy masked_lm_loss sampled_masked_lm_accuracy".split()
    assert set(nine) <= set(held_out)
    assert main([*evaluate, "--data", str(shards), "--corruption", str(fixed)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main([*evaluate, "--corruption", str(fixed)]) == 0
    assert json.loads(capsys.readouterr().out) == made
    assert {"generator_disc_auc", "generator_context_free_auc", "frequency_disc_auc"} <= set(made)
    fixed.write_bytes(fixed.read_bytes()[:200])
    assert main([*evaluate, "--corruption", str(fixed)]) == 2
    assert "is not a corruption set" in capsys.readouterr().err


def test_a_generator_may_share_its_discriminators_embeddings_on_disk(shards: Path, tmp_path: Path) -> None:
    assert pretrain("mini", shards, tmp_path / "run") == 0
    final = tmp_path / "run" / "final"
    whole = huggingface.load_checkpoint(final, "generator")
    small = tmp_path / "small"
    huggingface.save_checkpoint(huggingface.load_checkpoint(final).module, small)
    huggingface.save_checkpoint(whole.module, small / "generator", embeddings_in_parent=True)
    again = huggingface.load_checkpoint(small, "generator")
    assert all(torch.equal(value, again.module.state_dict()[name]) for name, value in whole.module.state_dict().items())

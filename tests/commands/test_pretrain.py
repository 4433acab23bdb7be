"""electra pretrain from the command line: stages, record, resume, continued pre-training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from pretraining_runs import TINY, pretrain
from pretraining_runs import shards as shards  # a fixture
from safetensors.torch import load_file

from electra import load
from electra.cli import main
from electra.command_line import from_command_line
from electra.model import huggingface
from electra.settings import PretrainSettings, phases
from electra.train import checkpoint


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_two_stages_leave_a_checkpoint_that_transformers_opens(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    assert transformers.AutoModelForPreTraining.from_pretrained(run / "final").config.num_hidden_layers == 4
    assert transformers.AutoModelForMaskedLM.from_pretrained(run / "final" / "generator").config.num_hidden_layers == 2
    assert transformers.AutoTokenizer.from_pretrained(run / "final")("the cat").input_ids[0] == 2
    length = 32  # of 128 positions
    for folder in (run / "final", run / "final" / "generator"):
        config = json.loads((folder / "config.json").read_text())
        assert config["electra_input_spec"] == {"max_length": length} and config["max_position_embeddings"] > length
        assert transformers.AutoTokenizer.from_pretrained(folder).model_max_length == length
    assert load(run).max_length == length, "the length that was trained, not all positions"
    first = [json.loads(line) for line in (run / "mlm-first" / "metrics.jsonl").read_text().splitlines()]
    second = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in first) == 4 and max(line["step"] for line in second) == 8
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


def test_the_second_phase_has_the_batch_of_the_first(shards: Path, tmp_path: Path) -> None:
    """A run that goes on with another number of ranks keeps its examples per update, also where the next phase has no checkpoint yet."""
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    for name in ("final", "checkpoints"):
        shutil.rmtree(run / name)
    for file in (run / "mlm-first" / "checkpoints").glob("*/training/state.json"):
        state = json.loads(file.read_text())
        before = state["examples_per_update"]
        file.write_text(json.dumps(state | {"examples_per_update": 2 * before}))  # as two ranks have it
    assert main(["pretrain", "--resume", str(run)]) == 0
    states = [json.loads(file.read_text()) for file in (run / "checkpoints").glob("*/training/state.json")]
    assert {state["examples_per_update"] for state in states} == {2 * before}


def test_a_longer_run_is_as_long_in_all_after_its_first_phase(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    assert main(["pretrain", "--resume", str(run), "--num-train-steps", "20"]) == 0
    assert f"{run}/final: 20 steps" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run)]) == 0, "and stays so"
    assert f"{run}/final: 20 steps" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run), "--num-train-steps", "4"]) == 2
    assert "has taken 4 already" in capsys.readouterr().err


def test_a_signal_in_the_last_moment_of_a_phase_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, write = tmp_path / "run", checkpoint.write_model

    def slow(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_model", slow)
        assert pretrain("mini", shards, run) == 128 + signal.SIGTERM
    assert "stopped before the next phase" in capsys.readouterr().err
    assert (run / "mlm-first" / "final").exists() and not (run / "checkpoints").exists()
    assert main(["pretrain", "--resume", str(run)]) == 0 and (run / "final").exists()


def test_a_finished_run_that_is_resumed_keeps_its_metrics(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert pretrain("mini", shards, run) == 0
    card = (run / "final" / "README.md").read_text()
    assert "## Held-out metrics" in card
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert (run / "final" / "README.md").read_text() == card


def test_the_weight_of_the_generators_loss_is_for_its_sum_with_the_discriminators() -> None:
    settings = from_command_line(PretrainSettings, ["mini", "--generator-weight", "0", "--num-train-steps", "10"], "electra pretrain")
    first, second = phases(settings)
    assert (first.objective.generator_weight, second.objective.generator_weight) == (1.0, 0.0)


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
    printed = capsys.readouterr()
    held_out = json.loads(printed.out)
    assert "unknown tokens: 0.00%" in printed.err
    nine = "disc_accuracy disc_auc disc_loss disc_recall loss masked_lm_accuracy masked_lm_loss sampled_masked_lm_accuracy".split()
    assert set(nine) <= set(held_out)
    assert main([*evaluate, "--data", str(shards), "--corruption", str(fixed)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main([*evaluate, "--corruption", str(fixed)]) == 0
    assert json.loads(capsys.readouterr().out) == made
    assert main([*evaluate, "--data", str(shards), "--num-examples", "3", "--corruption", str(fixed)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == made and "exists and is reused, so --data, --num-examples, --sequence-length has no effect" in printed.err
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
    huggingface.save_checkpoint(whole.module, small / "generator", extra={"embeddings_in_parent": True})
    again = huggingface.load_checkpoint(small, "generator")
    assert all(torch.equal(value, again.module.state_dict()[name]) for name, value in whole.module.state_dict().items())


# ---- --resume RUN ----


def equal(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[name], second[name]) for name in first)


def forget_the_end(run: Path) -> None:
    """As if the run had been killed after its first checkpoint."""
    shutil.rmtree(run / "final")
    for folder in sorted((run / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)


def test_resume_takes_the_run_alone_from_any_working_directory(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards.parent)
    flags = ("--mlm-first", "0", "--checkpoint-every", "3", "--keep-checkpoints", "9")
    assert pretrain("mini", Path("shards"), tmp_path / "whole", *flags) == 0
    assert pretrain("mini", Path("shards"), tmp_path / "killed", *flags) == 0
    assert tomllib.loads((tmp_path / "killed" / "config.toml").read_text())["data"]["data"] == [str(shards)]
    forget_the_end(tmp_path / "killed")
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "--resume", "killed"]) == 0
    assert equal(tmp_path / "killed" / "final", tmp_path / "whole" / "final")
    killed, whole = ((tmp_path / name / "config.toml").read_text().replace(name, "") for name in ("killed", "whole"))
    assert killed == whole


def test_a_resumed_run_takes_moved_data_and_more_steps(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, moved, other = tmp_path / "run", tmp_path / "moved", tmp_path / "other"
    assert pretrain("mini", shards, run, "--mlm-first", "0") == 0
    shutil.copytree(shards, moved)
    assert main(["pretrain", "--resume", str(run), "--data", str(moved), "--num-train-steps", "12"]) == 0
    assert "the run now has 12 steps, not 8; the schedule follows this from step 9 on" in capsys.readouterr().err
    assert tomllib.loads((run / "config.toml").read_text())["loop"]["num_train_steps"] == 12
    before = contents(run)
    words = ["prepare", str(shards.parent / "text.txt"), "--tokenizer", str(shards.parent / "vocab"), "--output", str(other), "--workers", "1"]
    assert main([*words, "--held-out", "40%"]) == 0
    for flags, message in (
        (["--data", str(other)], "not the data that"),
        (["--num-train-steps", "5"], "--num-train-steps: {run} has done 12 already, more than 5; give a larger value"),
        (["--learning-rate", "0.5"], "--learning-rate 0.5 would change the run"),
        (["--batch-size", "8"], "--batch-size 8 would change the run"),
    ):
        capsys.readouterr()
        assert main(["pretrain", "--resume", str(run), *flags]) == 2
        error = capsys.readouterr().err
        assert message.format(run=run) in error and error.count("\n") == 1
    assert contents(run) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- a failed command leaves nothing that blocks the corrected one ----


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--init", "typo"], "model not found: 'typo'"),
        (["--budget", "100ms"], "expected a duration"),
        (["--budget", "0.01s", "--mlm-first", "0"], "the budget of 0.01 s is too short to train"),
        (["--budget", "0s"], "--budget 0: expected above 0"),
        (["--sequence-length", "256"], "--sequence-length 256 is above --max-position-embeddings 128"),
        (["--output", "s3://bucket/run"], "'s3://bucket/run': expected a local path, not a URL"),
        (["--clip-norm", "-1"], "--clip-norm -1: expected at least 0"),
        (["--warmup-fraction", "2"], "--warmup-fraction 2: expected at least 0 and at most 1"),
        (["--learning-rate", "nan"], "--learning-rate nan: expected at least 0"),
        (["--threads", "-1"], "--threads -1: expected at least 0"),
        (["--log-every", "0"], "--log-every 0: expected at least 1"),
        (["--hidden-size", "15"], "15"),
    ],
)
def test_a_failed_start_leaves_no_folder(
    flags: list[str], message: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "mini", "--data", str(shards), "--output", "run", *TINY, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_fails_in_training_leaves_no_folder_either(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gradient that is not finite, before the first checkpoint; and after it, when the run stays."""
    run = tmp_path / "run"
    bad = ("--mlm-first", "0", "--learning-rate", "1e30", "--clip-norm", "0", "--warmup-fraction", "0", "--dropout", "0")
    assert pretrain("mini", shards, run, *bad, "--checkpoint-every", "8") == 2
    assert "not finite at step" in capsys.readouterr().err and not run.exists()
    assert pretrain("mini", shards, run, *bad, "--checkpoint-every", "1", "--log-every", "100") == 2
    assert (run / "config.toml").exists() and list((run / "checkpoints").iterdir())


def test_a_failed_prepare_leaves_no_folder(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = ["prepare", "--tokenizer", str(shards.parent / "vocab"), "--output", str(tmp_path / "out"), "--workers", "1"]
    (tmp_path / "rows.jsonl").write_text('{"review": "the cat ran home"}\n')
    assert main([*prepare, str(tmp_path / "rows.jsonl")]) == 2
    assert "review" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*prepare, str(tmp_path / "rows.jsonl"), "--text", "review"]) == 0


# ---- unknown tokens ----


def with_manifest(shards: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the dataset whose manifest says something else."""
    shutil.copytree(shards, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({key: value for key, value in (manifest | changes).items() if value is not None}))
    return folder


def test_unknown_tokens_of_the_data_are_reported(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("electra.train.timing._TRIAL_SECONDS", 0.05)
    monkeypatch.setattr("electra.train.timing._PEAK_SECONDS", 0.05)
    tokens = sum(split["tokens"] for split in json.loads((shards / "manifest.json").read_text())["splits"].values())
    words = {"unknown_words": {"Σ": 9, "中": 5}}
    many = with_manifest(shards, tmp_path / "many", unknown_tokens=tokens // 10, **words)
    old = with_manifest(shards, tmp_path / "old", unknown_tokens=0, unknown_words=None, long_words=None, unknown_words_sampled=None)
    assert pretrain("mini", many, tmp_path / "one") == 0
    share = f"{tokens // 10 / tokens:.2%} ({tokens // 10:,} of {tokens:,})"
    assert f"warning: unknown tokens: {share}; the most frequent unknown words: 'Σ' (9), '中' (5)" in capsys.readouterr().err
    assert pretrain("mini", old, tmp_path / "two", "--dry-run") == 0
    assert f"unknown tokens: 0.00% (0 of {tokens:,})" in capsys.readouterr().out


def test_data_of_unknown_tokens_are_refused(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = sum(split["tokens"] for split in json.loads((shards / "manifest.json").read_text())["splits"].values())
    for unknown, code in ((tokens // 2 + 1, 2), (tokens // 2, 0)):
        data = with_manifest(shards, tmp_path / f"data-{code}", unknown_tokens=unknown)
        assert pretrain("mini", data, tmp_path / f"run-{code}") == code
        assert ("of its tokens are [UNK]" in capsys.readouterr().err) is (code == 2)
        assert (tmp_path / f"run-{code}").exists() is (code == 0)

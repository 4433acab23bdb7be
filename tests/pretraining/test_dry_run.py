"""What pre-training shows and measures along the way: dry runs, corrupted examples, probes, costs; and every preset's promise."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, WORDS

from electra import config, environment
from electra.cli import COMMANDS, main
from electra.contracts import Example
from electra.data.shards import open_shards
from electra.data.tokenizer import load_tokenizer
from electra.inference.answerer import answerer
from electra.model import flops, masking, pretraining_models
from electra.pretraining import dry_run, evaluate, setup
from electra.settings import DataSettings, LoopSettings, ModelSettings, ObjectiveSettings, OptimizerSettings, PretrainSettings, WatchSettings
from electra.tasks.evaluate import Assessment
from electra.tasks.input_spec import InputSpec, with_options
from electra.tasks.registry import find_task
from electra.train import timing as trial
from electra.train.distributed import Ranks

CPU = Ranks(0, 1, torch.device("cpu"))
TINY = "--hidden-size 16 --embedding-size 16 --num-attention-heads 2 --intermediate-size 32 --sequence-length 32 --batch-size 4".split()
SMALLEST = "--hidden-size 12 --embedding-size 8 --num-hidden-layers 1 --num-attention-heads 4 --intermediate-size 16 --vocab-size 60".split()
PRETRAIN = config.presets("pretrain")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path, tiny_vocab: Path) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "shards"
    assert main(["prepare", str(tiny_corpus), "--tokenizer", str(tiny_vocab), "--output", str(folder), "--held-out", "10%", "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SST-2's layout, where one word decides: 'good' or 'bad'."""
    folder = tmp_path_factory.mktemp("SST-2")
    rng = np.random.default_rng(0)
    for split, size in (("train", 160), ("dev", 60)):
        labels = rng.integers(2, size=size)
        rows = [f"{' '.join(rng.choice(WORDS[:40], 3))} {'good' if label else 'bad'}\t{label}" for label in labels]
        (folder / f"{split}.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter trials; the same code."""
    monkeypatch.setattr(trial, "_TRIAL_SECONDS", 0.05)
    monkeypatch.setattr("electra.train.timing._PEAK_SECONDS", 0.05)


def settings_of(shards: Path, **objective: object) -> PretrainSettings:
    return PretrainSettings(
        model=ModelSettings(hidden_size=16, embedding_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32),
        objective=ObjectiveSettings(**objective),  # type: ignore[arg-type]
        data=DataSettings(data=(shards,), sequence_length=32),
    )


# ---- a run's record ----


def test_a_run_records_its_cost_its_probe_and_shows_examples(
    shards: Path, sentiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, words = tmp_path / "run", ["--probe", "sst2", "--probe-data", str(sentiment), "--probe-every", "3", "--peak-tflops", "0.5"]
    flags = ["--num-train-steps", "8", "--log-every", "2", "--evaluate-every", "4", "--mlm-first", "0", *words]
    assert main(["pretrain", "mini", "--data", str(shards), "--output", str(run), *TINY, *flags]) == 0
    shown = capsys.readouterr().err
    assert shown.count("of the first batch") == 2 and "  label" in shown
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    settings = config.build(PretrainSettings, config.read_toml(run / "config.toml"))
    each = flops.per_token(settings.model, settings.objective, load_tokenizer(open_shards(shards).tokenizer_path).vocab_size, 32)
    assert all(line["flops"] == pytest.approx(each * line["tokens"]) for line in lines)
    assert all(line["mfu"] == pytest.approx(each * line["tokens_per_second"] / 0.5e12, rel=1e-4) for line in lines if line["kind"] == "train")
    # Every third step and at the end; evaluations at 4 and 8, and what is due together is one line.
    steps = {"probe_sst2": [3, 6, 8], "disc_auc": [4, 8]}
    for name, wanted in steps.items():
        assert [line["step"] for line in lines if line["kind"] == "evaluation" and name in line] == wanted
    assert len([line for line in lines if line["kind"] == "evaluation"]) == 4
    assert main(["inspect", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["training"]
    assert found["flops_per_token"] == pytest.approx(each) and found["flops_in_all"] == pytest.approx(each * 8 * 4 * 32)
    assert main(["plot", str(run), "--x", "flops", "--metrics", "probe_sst2", "loss"]) == 0
    capsys.readouterr()


def test_examples_can_be_turned_off(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--num-train-steps", "2", "--mlm-first", "0", "--show-examples", "0"]
    assert main(["pretrain", "mini", "--data", str(shards), "--output", str(tmp_path / "run"), *TINY, *words]) == 0
    assert "of the first batch" not in capsys.readouterr().err


# ---- corrupted examples ----


@pytest.mark.parametrize("kind", ["electra", "mlm", "replace-mlm"])
def test_the_examples_shown_are_the_first_ones_trained_on(shards: Path, kind: str) -> None:
    settings = settings_of(shards, objective=kind, disallow_correct=True)
    corpus = setup.open_corpus(settings)
    tokenizer = corpus.tokenizer
    objective, _ = setup.build(settings, corpus, CPU, fresh=True)
    batch = next(setup.open_stream(settings, corpus, 2, CPU))
    objective.train()
    lines = dry_run.examples_shown(objective, batch, tokenizer)
    assert objective.training and max(map(len, lines)) <= dry_run.WIDTH
    rows = {line.split()[0]: line.split()[1:] for line in lines[1 : lines.index(next(line for line in lines[1:] if line.startswith("example")))]}
    pieces = [tokenizer.pieces[i] for i in batch.ids[: batch.lengths[0]].tolist()]
    num = len(rows["original"])
    assert rows["original"] == pieces[-num:] or rows["original"] == pieces[:num]
    chosen = masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), objective.special_ids)
    shown = masking.mask_positions(batch, chosen, tokenizer.mask_id, 0.85)[: batch.lengths[0]].tolist()
    assert rows["masked"] == [tokenizer.pieces[i] for i in shown][-num:] or rows["masked"] == [tokenizer.pieces[i] for i in shown][:num]
    if kind == "mlm":
        assert set(rows) == {"original", "masked"}
    else:
        # With disallow_correct every chosen token differs.
        text = " ".join(lines)
        assert sum(word == "R" for word in text.split()) == len(chosen) or "..." in text
        assert all((a != b) == (label == "R") for a, b, label in zip(rows["original"], rows["corrupted"], rows["label"], strict=True))


def test_chinese_columns_are_aligned() -> None:
    lines = dry_run._rows({"original": ["[CLS]", "天", "a"], "masked": ["[CLS]", "[MASK]", "a"]})
    assert lines == ["  original [CLS] 天     a", "  masked   [CLS] [MASK] a"]


# ---- probe ----


def test_the_probe_reads_what_mean_states_know(shards: Path, sentiment: Path) -> None:
    corpus = setup.open_corpus(settings_of(shards))
    tokenizer = corpus.tokenizer
    objective, _ = setup.build(settings_of(shards), corpus, CPU, fresh=True)
    measure = evaluate.open_probe(
        WatchSettings(probe="SST-2", probe_data=sentiment), tokenizer, pretraining_models.main_network(objective).encoder, CPU.device, "fp32"
    )
    assert measure is not None
    objective.train()
    # One word of four decides, and random states still hold words apart.
    assert measure()["probe_sst2"] > 0.9
    assert objective.training
    with torch.no_grad():
        pretraining_models.main_network(objective).encoder.layers[0].norm.weight.zero_()
    assert measure()["probe_sst2"] < 0.7


class Layer:
    """A backend that gives the logits of a linear layer on mean states; nothing else of a model is asked of it."""

    def __init__(self, encoder: Any, layer: Any) -> None:
        self.encoder, self.layer = encoder, layer

    def class_logits(self, inputs: Any) -> np.ndarray:
        return np.asarray(self.layer(evaluate.mean_states(self.encoder, inputs, CPU.device, "fp32")))

    token_logits = span_outputs = None


@pytest.mark.parametrize("truncate", ["head", "windows"])
@pytest.mark.parametrize("name", ["mnli", "cola", "mrpc"])
def test_the_probe_answers_and_scores_as_evaluate_does(name: str, truncate: str, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three classes of which the training examples have two, a correlation as the metric, pairs; long texts in windows."""
    rng = np.random.default_rng(1)
    task = with_options(find_task(name), {"truncate": truncate})
    head, corpus = task.head([]), setup.open_corpus(settings_of(shards))

    def examples(count: int, labels: tuple[str, ...]) -> list[Example]:
        def text() -> str:
            return " ".join(rng.choice(WORDS[:40], int(rng.integers(2, 40))))

        pairs = name != "cola"
        return [Example(id=str(i), text=text(), text_pair=text() if pairs else None, label=str(rng.choice(labels))) for i in range(count)]

    train, dev = examples(80, head.labels[-2:]), examples(60, head.labels)
    monkeypatch.setattr(evaluate, "read_probe", lambda _: evaluate.ProbeData(task=task, head=head, train=train, dev=dev))
    objective, _ = setup.build(settings_of(shards), corpus, CPU, fresh=True)
    measure = evaluate.open_probe(WatchSettings(), corpus.tokenizer, pretraining_models.main_network(objective).encoder, CPU.device, "fp32", 32)
    assert measure is not None
    encoder = pretraining_models.main_network(objective).encoder
    known = task.featurize(train, corpus.tokenizer, 32, head)
    layer = evaluate.fitted_layer(evaluate.mean_states(encoder, known, CPU.device, "fp32"), [item.label for item in known], len(head.labels))
    spec = InputSpec(max_length=32, options=task.options, recorded=True)
    model = answerer(Layer(encoder, layer), corpus.tokenizer, task, head, spec)  # type: ignore[arg-type]
    assessed = Assessment(task=model.task, head=head, examples=dev, features=model.featurize(dev), predictions=model.answer(dev))
    assert (len(assessed.features) > len(dev)) == (truncate == "windows")
    assert {answer.label for answer in assessed.predictions} == set(head.labels[-2:])
    assert measure() == {f"probe_{name}": pytest.approx(assessed.scores()[task.main_metric], abs=1e-9)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--probe sst2", "give --probe-data"),
        ("--probe ssst2 --probe-data x", "did you mean 'sst2'?"),
        ("--probe sst2 --probe-data missing", "not found"),
        ("--probe-every 5", "need --probe TASK"),
        ("--probe stsb --probe-data {stsb}", "stsb has no classes; choose one of "),
    ],
)
def test_a_wrong_probe_is_a_one_line_error(shards: Path, tmp_path: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t2.5\nc\td\t1.0\n", encoding="utf-8")
    flags = words.format(stsb=tmp_path).split()
    assert main(["pretrain", "mini", "--data", str(shards), "--output", str(tmp_path / "run"), *TINY, "--num-train-steps", "1", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


# ---- dry run ----


@pytest.mark.parametrize("others", [0.0, 90.0])
def test_a_busy_machine_gets_no_estimate(others: float, shards: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Processors that work on something else are seen, whether or not updates differ; without them the estimate is one duration."""
    monkeypatch.setattr(environment, "busy_seconds", lambda: time.process_time() + others * time.monotonic())
    monkeypatch.setattr(dry_run, "BUSY_SLOWDOWN", 1e9)
    assert main(["pretrain", "mini", "--data", str(shards), "--num-train-steps", "8", "--dry-run", *TINY]) == 0
    out = capsys.readouterr().out
    assert ("too busy to measure: other processes used" in out) == ("no estimate: the machine is busy" in out) == (others > 0)
    if others:
        assert re.search(rf"used (8\d|9\d)\.\d of {os.cpu_count()} cores meanwhile, load average \d", out) and " or less" in out


def test_updates_of_very_unequal_length_are_a_busy_machine() -> None:
    timing = {"seconds_per_update": 1.0, "tokens_per_update": 1.0, "num_updates": 3, "examples_per_microbatch": 1, "whole": True}
    spread = {name: trial.Timing(**timing, slowdown=value, peak_bytes=0, num_parameters=1) for name, value in (("even", 1.1), ("uneven", 2.4))}
    assert dry_run.busy_line(spread["even"]) == "" and "an update took 2.4 times the fastest on average" in dry_run.busy_line(spread["uneven"])
    assert environment.busy_seconds() > 0 or sys.platform != "linux"


def test_a_dry_run_writes_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "mini", "--data", str(shards), "--output", "run", "--num-train-steps", "8", "--dry-run", *TINY]) == 0
    out = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert out.count("parameters") == 2 and "phase 2 of 2: discriminator" in out and "the data's examples" in out
    model, objective = (getattr(config.build(PretrainSettings, config.preset_values("mini", "pretrain")), name) for name in ("model", "objective"))
    shape = {"hidden_size": 16, "embedding_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    found = flops.num_parameters(dataclasses.replace(model, **shape), objective, load_tokenizer(open_shards(shards).tokenizer_path).vocab_size)
    assert f"{found['all']:,} trained" in out
    assert main(["pretrain", "mini", "--dry-run", "--resume"]) == 2
    assert main(["pretrain", "mini", "--data", str(shards)]) == 2
    assert "give --output RUN" in capsys.readouterr().err


def test_a_long_update_is_put_together_from_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that microbatches and optimizer move by known amounts the result is exact."""
    now = [0.0]
    monkeypatch.setattr(trial.time, "perf_counter", lambda: now[0])
    vocabulary = dry_run.VocabularySize(vocab_size=60)
    model = ModelSettings(hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    objective = pretraining_models.build_objective(
        model, ObjectiveSettings(), vocab_size=60, mask_id=4, special_ids=range(5), sequence_length=16, seed=1
    )

    class Counted(type(objective)):  # type: ignore[misc]
        def forward(self, batch):  # type: ignore[no-untyped-def]
            now[0] += 0.3 * len(batch.lengths)
            return super().forward(batch)

    objective.__class__ = Counted
    step = trial.Run.update

    def update(self: trial.Run) -> bool:
        now[0] += 0.1
        return step(self)

    monkeypatch.setattr(trial.Run, "update", update)
    loop = LoopSettings(batch_size=256, accumulation=2, num_train_steps=1)
    found = trial.time_updates(objective, lambda size: dry_run.RandomStream(vocabulary, 16, size, 1), loop, OptimizerSettings(), CPU)
    assert not found.whole and found.examples_per_microbatch == 16
    assert found.seconds_per_update == pytest.approx(0.1 + 0.3 * 512) and found.tokens_per_update == 512 * 16
    small = LoopSettings(batch_size=4, accumulation=2, num_train_steps=1)
    found = trial.time_updates(objective, lambda size: dry_run.RandomStream(vocabulary, 16, size, 1), small, OptimizerSettings(), CPU)
    assert found.whole and found.seconds_per_update == pytest.approx(0.1 + 0.3 * 8)


def test_activations_grow_with_the_batch() -> None:
    model = ModelSettings(hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, dropout=0.0)
    objective = pretraining_models.build_objective(
        model, ObjectiveSettings(), vocab_size=60, mask_id=4, special_ids=range(5), sequence_length=32, seed=1
    )
    one, four = (trial.activation_bytes(objective, next(dry_run.RandomStream(dry_run.VocabularySize(vocab_size=60), 32, size, 1))) for size in (1, 4))
    # Of each layer at least its input, q, k, v, attention's result and both sides of the feed-forward are kept.
    assert 3.5 < four / one < 4.5 and one > 4 * 32 * 2 * (32 + 96 + 32 + 2 * 64)


def test_a_training_that_does_not_fit_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelSettings(hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, dropout=0.0)
    objective = pretraining_models.build_objective(
        model, ObjectiveSettings(), vocab_size=60, mask_id=4, special_ids=range(5), sequence_length=32, seed=1
    )
    state = torch.get_rng_state()

    def needed(examples: int, moments: str = "fp32", **given: Any) -> float:
        batch = next(dry_run.RandomStream(dry_run.VocabularySize(vocab_size=60), 32, examples, 1))
        return trial.memory_needed(objective, batch, examples, LoopSettings(batch_size=16, num_train_steps=1, **given), CPU, moments)

    whole = next(dry_run.RandomStream(dry_run.VocabularySize(vocab_size=60), 32, 16, 1))
    exact = 16 * sum(p.numel() for p in objective.parameters()) + trial.activation_bytes(objective, whole)
    assert needed(4) == pytest.approx(exact, rel=0.03) and torch.equal(torch.get_rng_state(), state)
    assert needed(4) - needed(4, "bf16") == 4 * sum(p.numel() for p in objective.parameters())
    weights = 16 * sum(p.numel() for p in objective.parameters())
    assert needed(4, activation_checkpointing=True) - weights < 0.7 * (needed(4) - weights)
    monkeypatch.setattr(trial.environment, "free_memory_bytes", lambda: 1_500_000)
    assert trial.memory_warning(1_500_000, CPU) is None
    assert (line := trial.memory_warning(2_500_000, CPU)) is not None
    assert line.startswith(
        "warning: training takes about 2.5 MB of memory, 1.5 MB are free: it may be stopped; free memory, or give less work at once"
    )


# ---- presets ----


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_preset_has_a_description(name: str) -> None:
    header = "".join(line for line in PRETRAIN[name].read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#"))
    assert header.startswith(f"# electra pretrain {name} ")
    for word in ("Hardware", "Expected", "Source"):
        assert word in header, word


@pytest.mark.parametrize("name", PRETRAIN)
def test_every_preset_can_be_tried(name: str, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALLEST, "--sequence-length", "16", "--batch-size", "2", "--num-train-steps", "3", "--no-compile"]
    if config.preset_values(name, "pretrain")["model"].get("generator_init") == "encoder":
        words += ["--generator-init", "random"]  # no --init
    assert main(["pretrain", name, "--dry-run", *words]) == 0
    assert "of 32 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "millions"), [("small", 14), ("small-plus-plus", 14), ("base", 110), ("large", 335), ("large-1750k", 335)])
def test_a_published_preset_has_its_papers_size(name: str, millions: int) -> None:
    settings = config.build(PretrainSettings, config.preset_values(name, "pretrain"))
    with torch.device("meta"):
        module = pretraining_models.main_network(networks_of(settings))
    count = sum(parameter.numel() for parameter in module.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.6)
    assert flops.num_parameters(settings.model, settings.objective, 30522)["kept"] == count


def networks_of(settings: PretrainSettings) -> torch.nn.Module:
    """The preset's networks without initial weights, so that they can be made without memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining_models, "initialize", lambda *_, **__: None)
        return pretraining_models.build_objective(
            settings.model, settings.objective, vocab_size=30522, mask_id=103, special_ids=range(5), sequence_length=128, seed=1
        )


def test_inspect_shows_a_presets_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "small", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "preset" and found["training"]["flops_in_all_original"] == pytest.approx(1.2937e18, rel=1e-4)
    assert main(["inspect", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["vocab_size"] == 8192 and found["budget_seconds"] == 3600 and set(found) >= {"mlm_first", "training"}


# ---- docs/reproduce.md: --hparams ----

ORIGINAL = {
    "Pre-training": """
        model_name debug do_train do_eval electra_objective electric_objective gen_weight disc_weight mask_prob learning_rate lr_decay_power
        weight_decay_rate num_warmup_steps iterations_per_loop save_checkpoints_steps num_train_steps num_eval_steps model_size
        model_hparam_overrides embedding_size vocab_size do_lower_case uniform_generator two_tower_generator untied_generator_embeddings
        untied_generator generator_layers generator_hidden_size disallow_correct temperature max_seq_length train_batch_size eval_batch_size
        use_tpu num_tpu_cores tpu_job_name tpu_name tpu_zone gcp_project pretrain_tfrecords vocab_file model_dir results_txt results_pkl
        max_predictions_per_seq""",
    "Fine-tuning": """
        model_name debug log_examples num_trials do_train do_eval keep_all_models model_size task_names model_hparam_overrides embedding_size
        vocab_size do_lower_case learning_rate weight_decay_rate layerwise_lr_decay num_train_epochs warmup_proportion save_checkpoints_steps
        iterations_per_loop use_tfrecords_if_existing write_test_outputs n_writes_test max_seq_length train_batch_size eval_batch_size
        predict_batch_size double_unordered max_query_length doc_stride n_best_size max_answer_length answerable_classifier
        answerable_uses_start_logits answerable_weight joint_prediction beam_size qa_na_threshold use_tpu num_tpu_cores tpu_job_name tpu_name
        tpu_zone gcp_project data_dir raw_data_dir vocab_file init_checkpoint model_dir results_txt results_pkl qa_eval_file qa_preds_file
        qa_na_file preprocessed_data_dir test_predictions write_distill_outputs""",
}


@pytest.mark.parametrize("part", ORIGINAL)
def test_hparams_are_all_translated_into_flags_that_exist(part: str) -> None:
    from electra import settings as all_settings

    flags = {
        name: {"--" + path[-1].replace("_", "-") for path, _, _ in config.leaves(getattr(all_settings, command.settings))}
        for name, command in COMMANDS.items()
    }
    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8").split(f"### {part}: `run_")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(ORIGINAL[part].split()) <= named
    own = "pretrain" if part == "Pre-training" else "finetune"
    for row in rows:
        commands = re.findall(r"electra (\w+)", " ".join(row[1:])) or [own]
        for flag in re.findall(r"--[a-z][a-z-]*", " ".join(row[1:])):
            assert any(flag in flags[command] for command in (*commands, own)), (row, flag)
    for command in re.findall(r"electra ([a-z]+)[ `]", text):
        assert command in COMMANDS, command
    for kind, name in [
        ("pretrain", "demo"),
        ("pretrain", "electric"),
        ("pretrain", "continue-small"),
        ("finetune", "original-code"),
        ("finetune", "paper"),
    ]:
        assert name in config.presets(kind)


def test_the_deprecated_wandb_is_a_logger() -> None:
    settings = PretrainSettings(watch=WatchSettings(wandb="old"), loop=LoopSettings(log_to=("trackio",)))
    assert (setup.loggers(settings).log_to, setup.loggers(settings).log_project) == (("trackio", "wandb"), "old")
    assert setup.loggers(PretrainSettings()).log_to == ()

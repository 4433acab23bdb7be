"""electra finetune, from the command line to models that transformers opens: one task, several, seeds, early stopping, interruptions, mistakes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from tiny_models import random_start
from toy_glue import arguments, finetune, trials_in_process, write_glue

import electra
from electra import cli, config
from electra.errors import UserError
from electra.settings import FinetuneSettings, OptimizerSettings
from electra.storage import resolve
from electra.tasks import metrics

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A discriminator of 2 layers with random weights, as a checkpoint folder."""
    return random_start(tmp_path_factory.mktemp("start") / "start", tiny_vocab)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv and dev.csv: what a film is decides 'stars' (a class) and 'score' (a number 0..50)."""
    folder = tmp_path_factory.mktemp("reviews")
    rng = random.Random(5)
    for name, count in (("train", 96), ("dev", 30)):
        rows = ["review,stars,score"]
        for i in range(count):
            words = rng.choices("the film story actor scene was a and of music".split(), k=6)
            words.insert(rng.randrange(6), rng.choice(["good", "brilliant", "moving"] if i % 2 else ["bad", "dull", "boring"]))
            rows.append(f"{' '.join(words)},{'pos' if i % 2 else 'neg'},{(40 if i % 2 else 5) + rng.random():.3f}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def _command(start: Path, reviews: Path, output: Path, *more: str) -> list[str]:
    words = ["finetune", "own", "--model", str(start), "--train", str(reviews / "train.csv"), "--dev", str(reviews / "dev.csv")]
    quick = ["--text", "review", "--label", "stars", "--batch-size", "16", "--threads", "1", "--device", "cpu", "--layerwise-lr-decay", "1"]
    return [*words, "--output", str(output), *quick, *more]


LEARN = ("--epochs", "10", "--learning-rate", "1e-3", "--dropout", "0.0")


@pytest.fixture(scope="module")
def done(start: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds."""
    output = tmp_path_factory.mktemp("runs") / "run"
    assert cli.main(_command(start, reviews, output, "--seeds", "2", *LEARN)) == 0
    return output


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _evaluations(seed: Path) -> list[dict[str, Any]]:
    return [line for line in _lines(seed / "metrics.jsonl") if line["kind"] == "evaluation"]


def test_it_learns_and_reports_every_seed(done: Path) -> None:
    scores = _read(done / "scores.json")
    each = scores["scores"]["accuracy"]["each"]
    assert scores["seeds"] == [1, 2] and len(each) == 2 and max(each) == 1.0
    assert scores["scores"]["accuracy"]["mean"] == pytest.approx(np.mean(each)) and scores["scores"]["accuracy"]["sd"] == pytest.approx(
        np.std(each, ddof=1)
    )
    assert each[scores["seeds"].index(scores["best_seed"])] == max(each)
    for seed, score in zip(scores["seeds"], each, strict=True):
        rows = _lines(done / f"seed-{seed}" / "predictions.jsonl")
        assert metrics.accuracy([r["label"] for r in rows], [r["prediction"] for r in rows]) == pytest.approx(score)
        kept = sorted(path.name for path in (done / f"seed-{seed}").iterdir() if path.name != "tensorboard")
        assert kept == ["environment.json", "metrics.jsonl", "predictions.jsonl", "scores.json"]
        evaluations = _evaluations(done / f"seed-{seed}")
        assert [line["step"] for line in evaluations] == list(range(6, 61, 6)) and evaluations[-1]["accuracy"] == pytest.approx(score)
    assert (done / "predictions.jsonl").read_text() == (done / f"seed-{scores['best_seed']}" / "predictions.jsonl").read_text()


def test_tensorboard_has_the_curves_of_every_seed(done: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for seed in done.glob("seed-*"):
        events = loader.EventAccumulator(str(seed / "tensorboard"))
        events.Reload()
        expected = [(line["step"], line["macro_f1"]) for line in _evaluations(seed)]
        found = [(event.step, event.value) for event in events.Scalars("evaluation/macro_f1")]
        assert expected and [step for step, _ in found] == [step for step, _ in expected]
        np.testing.assert_allclose([value for _, value in found], [value for _, value in expected], rtol=1e-6)


def test_best_opens_in_transformers_and_answers_the_same(done: Path, reviews: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(done / "best")
    tokenizer = transformers.AutoTokenizer.from_pretrained(done / "best")
    assert type(model).__name__ == "ElectraForSequenceClassification" and model.config.id2label == {0: "neg", 1: "pos"}
    texts = [line.split(",")[0] for line in (reviews / "dev.csv").read_text().splitlines()[1:]]
    with torch.no_grad():
        probabilities = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1)
    for row, answer in zip(_lines(done / "predictions.jsonl"), probabilities, strict=True):
        assert row["prediction"] == model.config.id2label[int(answer.argmax())]
        assert row["probability"] == pytest.approx(float(answer.max()), abs=2e-5)


def test_model_card_describes_the_run(done: Path) -> None:
    card = (done / "best" / "README.md").read_text()
    scores = _read(done / "scores.json")["scores"]["accuracy"]
    for text in ("96 training examples", "30 held-out", "10 epochs", "0.001", "neg, pos", f"{scores['mean']:.4f} ± {scores['sd']:.4f}", "## Limits"):
        assert text in card, text
    assert str(done.parent.parent) not in card


def test_resume_skips_finished_seeds(done: Path, start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    shutil.copytree(done, output)
    before = (output / "seed-1" / "scores.json").stat().st_mtime_ns, (output / "best" / "model.safetensors").read_bytes()
    assert cli.main(_command(start, reviews, output, "--seeds", "3", *LEARN)) == 2
    assert "already exists; add --resume" in capsys.readouterr().err
    assert cli.main(_command(start, reviews, output, "--resume", "--seeds", "3", *LEARN, "--weight-decay", "0.1")) == 2
    assert "began with weight_decay = 0.0, now it is 0.1" in capsys.readouterr().err
    assert cli.main(_command(start, reviews, output, "--resume", "--seeds", "3", "--json", *LEARN)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == _read(output / "scores.json") and printed["seeds"] == [1, 2, 3]
    assert cli.main(["finetune", "--resume", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed and "resume = false" in (output / "config.toml").read_text()
    after = (output / "seed-1" / "scores.json").stat().st_mtime_ns, (output / "best" / "model.safetensors").read_bytes()
    assert after[0] == before[0] and (after[1] == before[1] or printed["best_seed"] == 3)


def test_an_interrupted_seed_resumes_bit_by_bit(start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = ("--epochs", "4", "--learning-rate", "1e-3")
    assert cli.main(_command(start, reviews, tmp_path / "whole", *short)) == 0
    score = metrics.macro_f1

    def stop(*arguments: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return score(*arguments)

    monkeypatch.setattr(metrics, "macro_f1", stop)
    assert cli.main(_command(start, reviews, tmp_path / "cut", *short)) == 128 + signal.SIGTERM
    assert not (tmp_path / "cut" / "best").exists() and len(list((tmp_path / "cut" / "seed-1" / "checkpoints").iterdir())) == 1
    monkeypatch.undo()
    assert cli.main(_command(start, reviews, tmp_path / "cut", "--resume", *short)) == 0
    whole, cut = ((tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_regression_answers_in_the_labels_unit(start: Path, reviews: Path, tmp_path: Path) -> None:
    long = ("--epochs", "30", "--evaluate-every", "180", "--checkpoint-every", "180")
    transformers = pytest.importorskip("transformers")
    assert cli.main(_command(start, reviews, tmp_path / "run", "--label", "score", *LEARN, *long)) == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["main_metric"] == "pearson" and scores["scores"]["pearson"]["mean"] > 0.9
    assert scores["scores"]["root_mean_squared_error"]["mean"] < 10  # the labels' own spread is 17.5
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "best").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "best")
    texts = [line.split(",")[0] for line in (reviews / "dev.csv").read_text().splitlines()[1:]]
    with torch.no_grad():
        answers = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0].numpy()
    np.testing.assert_allclose([row["prediction"] for row in _lines(tmp_path / "run" / "predictions.jsonl")], answers, atol=2e-3)


def test_random_weights_take_only_the_shape(start: Path, reviews: Path, tmp_path: Path) -> None:
    from electra.model.huggingface import load_checkpoint

    first = {}
    for name, model in (("start", str(start)), ("random", f"random:{start}")):
        still = ("--learning-rate", "1e-12", "--num-train-steps", "2")
        assert cli.main(_command(start, reviews, tmp_path / name, *still, "--model", model)) == 0
        first[name] = load_checkpoint(tmp_path / name / "best").encoder.state_dict()
    begun = load_checkpoint(start).encoder.state_dict()
    key = "layers.1.qkv.weight"
    torch.testing.assert_close(first["start"][key], begun[key])
    assert first["random"][key].shape == begun[key].shape and not torch.allclose(first["random"][key], begun[key])


def test_the_original_head(start: Path, reviews: Path, tmp_path: Path) -> None:
    from electra.model.huggingface import load_checkpoint

    more = ("--head", "original", "--max-train-examples", "20", "--epochs", "1", "--preset", "original-code")
    assert cli.main(_command(start, reviews, tmp_path / "run", *more)) == 0
    assert load_checkpoint(tmp_path / "run" / "best", "classifier").labels == ("neg", "pos")
    assert _read(tmp_path / "run" / "scores.json")["train_examples"] == 20
    assert config.read_toml(tmp_path / "run" / "config.toml")["optimizer"]["weight_decay"] == 0.01


def test_the_head_on_the_mean(start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named by flag or by the preset; a preset's falls back for words, a flag is refused there; the card says who opens the model."""
    from electra.model.huggingface import load_checkpoint

    short = ("--max-train-examples", "20", "--epochs", "1", "--preset", "public")
    assert cli.main(_command(start, reviews, tmp_path / "run", *short)) == 0
    assert load_checkpoint(tmp_path / "run" / "best", "classifier").architecture == "ElectraMeanClassifier"
    assert config.read_toml(tmp_path / "run" / "config.toml")["head"] == "mean"
    assert "`transformers` has no class for its head; it opens in `electra`" in (tmp_path / "run" / "best" / "README.md").read_text()
    assert cli.main(_command(start, reviews, tmp_path / "number", *short, "--label", "score", "--kind", "regression")) == 0
    answers = _lines(tmp_path / "number" / "predictions.jsonl")
    capsys.readouterr()
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(line.split(",")[0] + "\n" for line in (reviews / "dev.csv").read_text().splitlines()[1:]))
    assert cli.main(["predict", str(tmp_path / "number"), str(texts), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == pytest.approx([row["prediction"] for row in answers], rel=1e-4)
    words = tmp_path / "words.txt"
    words.write_text("the O\nfilm B-X\n\na O\nstory B-X\n\n" * 6)
    command = ["finetune", "tagging", "--train", str(words), "--dev", str(words), "--model", str(start), "--output", str(tmp_path / "words")]
    assert cli.main([*command, "--head", "mean"]) == 2 and not (tmp_path / "words").exists()
    assert "--head mean is for classes and numbers of whole texts; words have a head on each token" in capsys.readouterr().err
    assert cli.main([*command, "--preset", "public", "--epochs", "2", "--threads", "1"]) == 0
    assert load_checkpoint(tmp_path / "words" / "best").architecture == "ElectraForTokenClassification"
    assert cli.main(["finetune", "--resume", str(tmp_path / "words")]) == 0


# ---- calibration ----


@pytest.fixture(scope="module")
def calibrated(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a temperature, its files in the folder above; a tenth of the labels are wrong, so that the model is overconfident."""
    folder = tmp_path_factory.mktemp("calibrated")
    rng = random.Random(7)
    for name, count in (("train", 520), ("dev", 40)):
        rows = ["review,stars,score"]
        for i in range(count):
            words = rng.sample("the film story actor scene was a and of music city old meal".split(), k=6)
            words.insert(rng.randrange(6), rng.choice(["good", "brilliant", "moving"] if i % 2 else ["bad", "dull", "boring"]))
            rows.append(f"{' '.join(words)},{'pos' if (i % 2 == 1) != (rng.random() < 0.1) else 'neg'},{i / 7:.3f}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    more = ("--calibrate", "--epochs", "4", "--learning-rate", "2e-3", "--dropout", "0", "--head", "transformers")
    assert cli.main(_command(start, folder, folder / "run", *more)) == 0
    return folder / "run"


def test_the_temperature_is_in_the_weights(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `transformers` answers for the held-out examples fits them best at temperature 1, and has the recorded error."""
    transformers, scipy = pytest.importorskip("transformers"), pytest.importorskip("scipy.optimize")
    from electra.contracts import Example
    from electra.tasks.text_tasks import hold_out

    rows = [line.split(",") for line in (calibrated.parent / "train.csv").read_text().splitlines()[1:]]
    training, held_out = hold_out([Example(id=str(i), text=row[0], label=row[1]) for i, row in enumerate(rows)])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(calibrated / "best").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(calibrated / "best")
    with torch.no_grad():
        logits = model(**tokenizer([example.text for example in held_out], padding=True, return_tensors="pt")).logits.double()
    gold = torch.tensor([model.config.label2id[str(example.label)] for example in held_out])
    fitted = scipy.minimize_scalar(lambda t: float(torch.nn.functional.cross_entropy(logits / t, gold)), bounds=(0.2, 5), method="bounded")
    assert fitted.x == pytest.approx(1, abs=1e-3)
    found = _read(calibrated / "best" / "config.json")["electra_calibration"]
    p, label = logits.softmax(-1).max(-1)
    assert found["ece_after"] == pytest.approx(metrics.reliability(p.tolist(), (label == gold).tolist())["expected_calibration_error"], abs=1e-4)
    assert found["num_examples"] == len(held_out) >= 100 and found["examples"] == "held out of training" and found["temperature"] > 1.05
    scores = _read(calibrated / "scores.json")
    assert scores["calibration"] == [found] and scores["train_examples"] == len(training)
    assert f"the logits are divided by {found['temperature']:.3f}" in (calibrated / "best" / "README.md").read_text()
    assert config.read_toml(calibrated / "config.toml")["calibrate"] is True and cli.main(["finetune", "--resume", str(calibrated)]) == 0
    assert cli.main(["build", str(calibrated), "--target", "onnx", "--output", str(tmp_path / "built")]) == 0
    capsys.readouterr()
    for place in (calibrated / "best", tmp_path / "built"):
        assert cli.main(["inspect", str(place), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["calibration"] == found
    assert cli.main(["evaluate", str(calibrated), "--task", "own", "--data", str(calibrated.parent / "dev.csv"), "--json"]) == 0
    answers = _lines(calibrated / "predictions.jsonl")
    error = metrics.reliability([row["probability"] for row in answers], [row["label"] == row["prediction"] for row in answers])
    assert json.loads(capsys.readouterr().out)["expected_calibration_error"] == pytest.approx(error["expected_calibration_error"], abs=1e-4)


def test_an_interrupted_calibration_is_not_applied_twice(calibrated: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.finetuning import trainer

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    recorded = config.read_toml(calibrated / "config.toml")
    monkeypatch.setattr(trainer, "write_seed", fail)
    words = ["finetune", "own", "--preset", str(calibrated / "config.toml"), "--model", str(start), "--output", str(tmp_path / "run")]
    words += ["--train", recorded["train"], "--dev", recorded["dev"], "--threads", "1", "--device", "cpu"]
    words += ["--text", "review", "--label", "stars"]
    assert cli.main(words) == 130
    assert _read(tmp_path / "run" / "seed-1" / "final" / "config.json")["electra_calibration"]["temperature"] > 1
    monkeypatch.undo()
    assert cli.main([*words, "--resume"]) == 0
    for name in ("scores.json", "best/model.safetensors"):
        one, other = (folder / name for folder in (calibrated, tmp_path / "run"))
        if name.endswith("json"):
            assert _read(one)["calibration"] == _read(other)["calibration"]
        else:
            assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--label", "score", "--kind", "regression"), "--calibrate is for the probabilities of a text's classes; own is answered by a number"),
        (("--max-train-examples", "400"), "--calibrate: 400 training examples; expected 500 or more, 100 of them to hold out"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    flags: tuple[str, ...], message: str, calibrated: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_command(start, calibrated.parent, tmp_path / "run", "--calibrate", *flags)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_glue_task_from_the_command_line(start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "glue" / "MRPC"
    folder.mkdir(parents=True)
    rows = [
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        *(f"{i % 2}\t1\t2\tthe film was {'good' if i % 2 else 'bad'}\ta good film" for i in range(12)),
    ]
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text("\n".join(rows))
    words = ["finetune", "MRPC", "--model", str(start), "--data", str(tmp_path / "glue"), "--output", str(tmp_path / "run")]
    assert cli.main([*words, "--epochs", "1", "--threads", "1", "--max-length", "20", "--device", "cpu"]) == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["train_examples"] == 24 and set(scores["scores"]) == {"accuracy", "f1", "glue_score"}
    assert scores["steps"] == [2], "one batch an epoch: a single step would have the learning rate 0"
    assert cli.main([*words[:-1], str(tmp_path / "none"), "--epochs", "0.001", "--device", "cpu"]) == 2 and not (tmp_path / "none").exists()


@pytest.mark.realdata
def test_layerwise_rates_equal_the_originals(start: Path, reference_root: Path) -> None:
    """The head's rate is the whole one; what lies below it follows the original's exponents."""
    from electra.contracts import Head
    from electra.finetuning.trainer import depth_of
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.task_models import ClassificationObjective, Classifier
    from electra.train.optimizer import parameter_groups

    shape = EncoderConfig(vocab_size=20, embedding_size=4, hidden_size=8, num_hidden_layers=12, num_attention_heads=1, intermediate_size=8)
    objective = ClassificationObjective(Classifier(Encoder(shape), 2), Head(kind="classification", labels=("0", "1")))
    groups = parameter_groups(objective.named_parameters(), OptimizerSettings(layerwise_lr_decay=0.8), depth_of(12))
    factor = {name: group["factor"] for group in groups for name in group["names"]}
    rates = _read(reference_root / "tf1-optimizer.json")["layer_learning_rates_12_layers_decay_0.8_lr_1"]
    assert factor["network.head.output.weight"] == pytest.approx(rates["task_specific/"])
    assert factor["network.encoder.embeddings.word.weight"] == pytest.approx(rates["/embeddings/"])
    assert factor["network.encoder.projection.weight"] == pytest.approx(rates["/embeddings_project/"])
    for i in range(12):
        assert factor[f"network.encoder.layers.{i}.qkv.weight"] == pytest.approx(rates[f"encoder/layer_{i}/"])


# ---- several tasks ----


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glue(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def both(start: Path, glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("multitask") / "run"
    assert finetune("sst2+RTE", start, glue, output, "--epochs", "10", "--seeds", "2") == 0
    return output


def test_all_tasks_are_learned_by_one_encoder(both: Path) -> None:
    from safetensors.torch import load_file

    scores = _read(both / "scores.json")
    assert scores["tasks"]["sst2"]["scores"]["accuracy"]["mean"] > 0.9 and scores["tasks"]["rte"]["scores"]["accuracy"]["mean"] > 0.9
    assert scores["tasks"]["sst2"]["train_examples"] == 96 and scores["seed"] == [1, 2]
    each = [np.mean([scores["tasks"][name]["scores"]["accuracy"]["each"][i] for name in ("sst2", "rte")]) for i in (0, 1)]
    assert scores["average"]["each"] == pytest.approx(each)
    weights = {name: load_file(both / "best" / name / "model.safetensors") for name in ("sst2", "rte")}
    shared = [key for key in weights["sst2"] if key.startswith("electra.")]
    assert shared and all(torch.equal(weights["sst2"][key], weights["rte"][key]) for key in shared)
    assert not torch.equal(weights["sst2"]["classifier.dense.weight"], weights["rte"]["classifier.dense.weight"])
    assert "this task and sst2 (mixing: all)" in (both / "best" / "rte" / "README.md").read_text()


def test_each_opens_in_transformers_and_answers_the_same(both: Path, glue: Path) -> None:
    transformers = pytest.importorskip("transformers")
    best = _read(both / "scores.json")["best_seed"]
    for name, folder, labels in (("sst2", "SST-2", ("0", "1")), ("rte", "RTE", ("entailment", "not_entailment"))):
        model = transformers.AutoModelForSequenceClassification.from_pretrained(both / "best" / name).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(both / "best" / name)
        rows = [line.split("\t") for line in (glue / folder / "dev.tsv").read_text().splitlines()[1:]]
        texts = [[row[0] for row in rows], *([[row[1] for row in rows]] if name == "rte" else [])]
        with torch.no_grad():
            p = model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits.softmax(-1)
        predictions = [json.loads(line) for line in (both / f"predictions-{name}.jsonl").read_text().splitlines()]
        assert [row["prediction"] for row in predictions] == [labels[int(i)] for i in p.argmax(-1)]
        assert [row["probability"] for row in predictions] == pytest.approx(p.max(-1).values.tolist(), abs=2e-5)
        assert predictions == [json.loads(line) for line in (both / f"seed-{best}" / f"predictions-{name}.jsonl").read_text().splitlines()]


def test_an_interrupted_run_of_several_tasks_resumes_bit_by_bit(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks import metrics

    more = ("--epochs", "3", "--mixing", "size0.75")
    assert finetune("rte+stsb", start, glue, tmp_path / "whole", *more) == 0
    correlation = metrics.spearman

    def stop(*values: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return correlation(*values)

    monkeypatch.setattr(metrics, "spearman", stop)
    assert finetune("rte+stsb", start, glue, tmp_path / "cut", *more) == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert finetune("rte+stsb", start, glue, tmp_path / "cut", *more, "--resume", "--mixing", "all") == 2
    assert finetune("rte+stsb", start, glue, tmp_path / "cut", *more, "--resume") == 0
    for name in ("rte", "stsb"):
        whole, cut = ((tmp_path / run / "best" / name / "model.safetensors").read_bytes() for run in ("whole", "cut"))
        assert whole == cut
    assert _read(tmp_path / "cut" / "scores.json")["tasks"]["stsb"]["train_examples"] == 64  # swapped copies, as by itself


def test_the_lowest_layers_of_several_tasks_stay(start: Path, glue: Path, tmp_path: Path) -> None:
    """Frozen layers are the encoder's, which all tasks share; the heads learn first, then the other layers."""
    from safetensors.torch import load_file

    begun = load_file(start / "model.safetensors")
    more = ("--epochs", "2", "--freeze-layers", "1", "--freeze-encoder-epochs", "1")
    assert finetune("sst2+rte", start, glue, tmp_path / "run", *more) == 0
    for name in ("sst2", "rte"):
        ended = load_file(tmp_path / "run" / "best" / name / "model.safetensors")
        for layer, same in (("embeddings", True), ("encoder.layer.0", True), ("encoder.layer.1", False)):
            assert {torch.equal(begun[key], value) for key, value in ended.items() if key.startswith(f"electra.{layer}.")} == {same}, layer


def test_questions_and_sentences_together(start: Path, glue: Path, tmp_path: Path) -> None:
    """A span task among others keeps the official scripts' files, and its answerability threshold."""
    context = "the chef cooked the meal and it was good"
    answers = [{"text": "the meal", "answer_start": 16}]
    questions = [{"id": f"q{i}", "question": "the chef cooked", "answers": [] if i % 2 else answers, "is_impossible": bool(i % 2)} for i in range(8)]
    content = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]}
    (tmp_path / "data" / "squad2").mkdir(parents=True)
    for split in ("train", "dev"):
        (tmp_path / "data" / "squad2" / f"{split}-v2.0.json").write_text(json.dumps(content))
    shutil.copytree(glue / "SST-2", tmp_path / "data" / "SST-2")
    assert finetune("squad2+sst2", start, tmp_path / "data", tmp_path / "run", "--epochs", "1", "--max-query-length", "5") == 0
    written = _read(tmp_path / "run" / "predictions-squad2" / "predictions.json")
    assert written.keys() == {f"q{i}" for i in range(8)}
    rows = _lines(tmp_path / "run" / "predictions-squad2.jsonl")
    assert [row["prediction"] for row in rows] == list(written.values()) and rows[0]["label"] == ["the meal"]


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        ("sst2+sst2", (), "sst2+sst2: a task is given twice; name each once"),
        ("sst2+own", (), "'own' cannot be joined with other tasks; fine-tune it by itself"),
        ("sst2+rte", ("--class-weights", "balanced"), "sst2+rte: --class-weights is for one task; fine-tune each by itself"),
        ("sst2+rte", ("--teacher", "t"), "--teacher is for one task"),
        ("sst2+rte", ("--workers", "2"), "sst2+rte is one network; --workers, --engine and --search are for single tasks"),
    ],
)
def test_tasks_that_cannot_be_joined(
    task: str, more: tuple[str, ...], message: str, start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(task, start, glue, tmp_path / "run", *more) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


# ---- one layout ----


@pytest.mark.parametrize("flags", [(), ("--workers", "1"), ("--search", "dropout=0,0.1"), ("--baselines",)])
def test_the_same_path_is_the_best_model_whatever_the_flags(
    flags: tuple[str, ...], start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serial or parallel seeds, a search: RUN is a model, RUN/best the same one, and the same command continues it."""
    from electra.inference.inspect import describe

    trials_in_process(monkeypatch)
    run, more = tmp_path / "run", ("--num-train-steps", "2", *(() if "--search" in flags else ("--seeds", "2")))
    command = _command(start, reviews, run, *more, *flags)
    assert cli.main(command) == 0 and cli.main([*command, "--resume"]) == 0
    assert resolve.resolve(run) == run / "best" and cli.main(["predict", str(run), "a good film"]) == 0
    found = describe(str(run))
    assert found["status"] == "finished" and found["best"] == str(run / "best") and found["scores"]["task"] == "own"
    assert len(found["scores"]["scores"]["accuracy"]["each"]) == (1 if "--search" in flags else 2)
    assert (run / "predictions.jsonl").exists() and not [path for path in run.rglob("model.safetensors") if path.parent != run / "best"]


def test_finetune_returns_what_it_wrote(start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from electra.finetuning.trainer import finetune as run

    loop = replace(FinetuneSettings(task="", model="", output=Path()).loop, num_train_steps=2, device="cpu", threads=1)
    settings = FinetuneSettings(task="sst2", model=str(start), data=glue, output=tmp_path / "run", seeds=2, loop=loop)
    result = run(settings)
    printed = capsys.readouterr()
    assert printed.out == "" and result.signal is None and result.first
    assert "training set: unknown tokens: " in printed.err and "dev set: unknown tokens: " in printed.err
    assert result.best == {"sst2": tmp_path / "run" / "best"} and result.scores == _read(tmp_path / "run" / "scores.json")
    assert [seed.seed for seed in result.seeds] == [1, 2]
    assert [seed.scores["sst2"]["accuracy"] for seed in result.seeds] == result.scores["scores"]["accuracy"]["each"]
    several = run(replace(settings, task="sst2+rte", output=tmp_path / "both"))
    assert several.best == {name: tmp_path / "both" / "best" / name for name in ("sst2", "rte")}
    assert several.seeds[0].main_score == several.scores["average"]["each"][0]


def test_a_presets_seeds_are_run(start: Path, glue: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seeds = 2\n[loop]\nseed = 5\nnum_train_steps = 2\n")
    assert finetune("sst2", start, glue, tmp_path / "run", "--preset", str(tmp_path / "mine.toml")) == 0
    assert _read(tmp_path / "run" / "scores.json")["seeds"] == [5, 6]


# ---- early stopping ----


def test_early_stopping_keeps_the_best_evaluation(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.model.huggingface import load_checkpoint
    from electra.tasks import metrics

    accuracies = iter([0.2, 0.6, 0.9, 0.5, 0.9, 0.3, 0.1, 0.1, 0.1])
    weights: list[bytes] = []
    accuracy = metrics.accuracy
    monkeypatch.setattr(metrics, "accuracy", lambda gold, predicted: next(accuracies))
    assert finetune("sst2", start, glue, tmp_path / "run", "--epochs", "20", "--early-stopping", "3") == 0
    evaluations = _evaluations(tmp_path / "run" / "seed-1")
    # The third is the best (the fifth only equals it), so three more are waited for; six steps an epoch.
    assert [line["accuracy"] for line in evaluations] == [0.2, 0.6, 0.9, 0.5, 0.9, 0.3] and evaluations[-1]["step"] == 36
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["selected_steps"] == [18] and scores["steps"] == [36] and "optimistic" in scores["selection"]
    assert "optimistic" in (tmp_path / "run" / "best" / "README.md").read_text()
    assert not list((tmp_path / "run" / "seed-1").glob("*.safetensors"))
    # The same run stopped at step 18 by its own schedule has the very weights, and so the very answers.
    monkeypatch.setattr(metrics, "accuracy", accuracy)
    weights.append((tmp_path / "run" / "best" / "model.safetensors").read_bytes())
    more = ("--epochs", "20", "--keep-steps", "18", "--checkpoint-every", "18")
    stopped = iter([0] * 2 + [1])

    def stop_at_the_third(gold: Any, predicted: Any) -> float:
        if next(stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        return accuracy(gold, predicted)

    monkeypatch.setattr(metrics, "accuracy", stop_at_the_third)
    assert finetune("sst2", start, glue, tmp_path / "same", *more) == 128 + signal.SIGTERM
    # The signal is noted by the next update, so the newest checkpoint is one step on; the third evaluation's own was kept.
    kept = load_checkpoint(tmp_path / "same" / "seed-1" / "checkpoints" / "step-00000018", "classifier").module.state_dict()
    best = load_checkpoint(tmp_path / "run" / "best", "classifier").module.state_dict()
    assert kept.keys() == best.keys() and all(torch.equal(kept[name], best[name]) for name in kept)


def test_early_stopping_survives_an_interruption(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks import metrics

    def scripted(values: list[float], stop_at: int = -1) -> Any:
        numbered = iter(enumerate(values))

        def accuracy(gold: Any, predicted: Any) -> float:
            number, value = next(numbered)
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return value

        return accuracy

    more = ("--epochs", "20", "--early-stopping", "3")
    monkeypatch.setattr(metrics, "accuracy", scripted([0.2, 0.9, 0.5], stop_at=2))
    assert finetune("sst2", start, glue, tmp_path / "run", *more) == 128 + signal.SIGTERM
    monkeypatch.setattr(metrics, "accuracy", scripted([0.6, 0.1, 0.9]))
    assert finetune("sst2", start, glue, tmp_path / "run", *more, "--resume") == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["selected_steps"] == [12] and scores["steps"] == [30]


def test_several_tasks_stop_early_by_their_average(start: Path, glue: Path, tmp_path: Path) -> None:
    assert finetune("sst2+rte", start, glue, tmp_path / "run", "--epochs", "60", "--early-stopping", "2") == 0
    found = _read(tmp_path / "run" / "scores.json")
    evaluations = _evaluations(tmp_path / "run" / "seed-1")
    averages = [line["average"] for line in evaluations]
    assert found["steps"][0] < 480 and averages.index(max(averages)) == len(averages) - 3
    assert found["selected_step"] == [evaluations[-3]["step"]] and found["average"]["each"] == [max(averages)]


def test_two_ranks_learn_several_tasks_as_one(start: Path, glue: Path, tmp_path: Path) -> None:
    """Batches, mixture, linear probing and early stopping are those of one rank with twice the batch."""
    from safetensors.torch import load_file

    more = ("--epochs", "3", "--early-stopping", "1", "--freeze-encoder-epochs", "1", "--mixing", "size0.75")
    assert finetune("sst2+rte", start, glue, tmp_path / "one", *more, "--batch-size", "8") == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "electra"]
    words = arguments("sst2+rte", start, glue, tmp_path / "two", *more, "--batch-size", "4")
    subprocess.run([*torchrun, *words], check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    one, two = (_read(tmp_path / name / "scores.json") for name in ("one", "two"))
    assert all(one[key] == two[key] for key in ("average", "tokens", "steps", "selected_step"))
    for name in ("sst2", "rte"):
        first, second = (load_file(tmp_path / run / "best" / name / "model.safetensors") for run in ("one", "two"))
        for key, value in first.items():
            torch.testing.assert_close(value, second[key], rtol=1e-4, atol=2e-5)


# ---- half precision, accumulation ----


def test_half_precision_learns(start: Path, glue: Path, tmp_path: Path) -> None:
    assert finetune("sst2", start, glue, tmp_path / "half", "--epochs", "8", "--precision", "bf16") == 0
    assert finetune("sst2", start, glue, tmp_path / "full", "--epochs", "8") == 0
    half, full = (_read(tmp_path / name / "scores.json")["scores"]["accuracy"]["mean"] for name in ("half", "full"))
    assert half > 0.9 and full > 0.9
    weights = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("half", "full")]
    assert weights[0] != weights[1]  # bf16 was indeed in use


def test_accumulation_takes_as_many_updates_fewer(start: Path, glue: Path, tmp_path: Path) -> None:
    assert finetune("sst2", start, glue, tmp_path / "run", "--epochs", "16", "--accumulation", "2", "--batch-size", "8") == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["steps"] == [96] and scores["scores"]["accuracy"]["mean"] > 0.9


# ---- mistakes ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sst", "--data", "x"], "unknown task 'sst'; did you mean 'sst2'?"),
        (["sst2"], "sst2 needs --data DIR"),
        (["sst2", "--data", "nowhere"], "the folder of SST-2 not found: nowhere"),
        (["sst2", "--data", "x", "--train", "a.csv"], "--train and --dev are for the tasks own, tagging, embed and rerank"),
        (["own", "--train", "a.csv"], "needs --train FILE and --dev FILE"),
        (["own", "--train", "a.csv", "--dev", "b.csv"], "the train file not found: a.csv"),
        (["own", "--data", "{reviews}/train.csv"], "is one file; give two"),
        (["own", "--data", "{reviews}", "--text", "reviews"], "no column 'reviews' (did you mean 'review'?"),
        (["own", "--data", "{reviews}", "--text", "review", "--label", "score", "--kind", "classification"], "different labels in 96 rows"),
        (["own", "--data", "{reviews}", "--text", "review", "--label", "stars", "--kind", "regression"], "line 2: label 'neg' is not a number"),
        (["{ok}", "--max-length", "64"], "--max-length 64 is above the 40 positions"),
        (["{ok}", "--preset", "papers"], "unknown preset 'papers'; did you mean 'paper'?"),
        (["{ok}", "--epochs", "0"], "--epochs 0: expected above 0"),
        (["{ok}", "--dropout", "1.5"], "--dropout 1.5: expected at least 0 and below 1"),
        (["{ok}", "--learning-rat", "1"], "unknown flag '--learning-rat'; did you mean '--learning-rate'?"),
        (["{ok}", "--model", "./nowhere"], "model not found: ./nowhere"),
        (["{ok}", "--output", "{reviews}/train.csv"], "already exists"),
        (["{ok}", "--output", "{reviews}/train.csv/run"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ok = ["own", "--data", str(reviews), "--text", "review", "--label", "stars"]
    given = [part for word in words for part in (ok if word == "{ok}" else [word.replace("{reviews}", str(reviews))])]
    argv = ["finetune", given[0], "--model", str(start), "--output", str(tmp_path / "run"), "--threads", "1", *given[1:]]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("electra: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--label", "star"], "no column 'star'"),
        (["--train", "nowhere.csv"], "the train file not found"),
        (["--parallel", "fsdp"], "fine-tune with ddp"),
        (["--total-batch-size", "0"], "--total-batch-size 0: expected at least 1"),
        (["--freeze-layers", "9"], "the model has 2 layers"),
        (["--learning-rate", "1e30", "--clip-norm", "0"], "not finite at step"),
        (["--label", "star", "--search", "dropout=0,0.1"], "no column 'star'"),
    ],
)
def test_a_failed_command_does_not_block_the_corrected_one(
    wrong: list[str], message: str, start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--num-train-steps", "2", "--max-length", "20")
    assert cli.main(_command(start, reviews, tmp_path / "run", *quick, *wrong)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert cli.main(_command(start, reviews, tmp_path / "run", *quick)) == 0


def test_a_failure_after_a_checkpoint_leaves_the_run(start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.train import loop

    evaluate, evaluations = loop.Run._evaluate, []

    def fail(self: Any, measures: Any) -> None:
        evaluations.append(self.step)
        if len(evaluations) == 2:
            raise UserError("a disk is full")
        evaluate(self, measures)

    monkeypatch.setattr(loop.Run, "_evaluate", fail)
    assert cli.main(_command(start, reviews, tmp_path / "run", *LEARN)) == 2
    assert evaluations == [6, 12] and [path.name for path in (tmp_path / "run" / "seed-1" / "checkpoints").iterdir()] == ["step-00000006"]
    monkeypatch.undo()
    assert cli.main(_command(start, reviews, tmp_path / "run", *LEARN, "--resume")) == 0


def test_the_last_evaluation_is_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dev set is answered once at the end, not twice; with early stopping the kept weights answer anew."""
    from tiny_models import checkpoints

    from electra.finetuning import trainer as trials

    answered = []
    compute = trials.compute_outputs
    monkeypatch.setattr(trials, "compute_outputs", lambda *given: (answered.append(1), compute(*given))[1])
    rows = "sentence\tlabel\n" + "".join(f"film {i}\t{i % 2}\n" for i in range(12))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(rows)
    words = ["finetune", "sst2", "--model", str(checkpoints()["discriminator"]), "--data", str(tmp_path), "--device", "cpu", "--num-train-steps", "4"]
    assert cli.main([*words, "--evaluate-every", "2", "--output", str(tmp_path / "run")]) == 0
    assert len(answered) == 2
    answered.clear()
    assert cli.main([*words, "--evaluate-every", "2", "--early-stopping", "9", "--output", str(tmp_path / "early")]) == 0
    assert len(answered) == 3
    written = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert sum(row["label"] == row["prediction"] for row in written) / len(written) == pytest.approx(scores["accuracy"]["mean"])


def test_a_run_that_is_resumed_has_the_same_examples(
    done: Path, start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may be moved and the working directory may be another; other examples are refused."""
    shutil.copytree(done, tmp_path / "run")
    shutil.copytree(reviews, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    words = ["finetune", "--resume", "run", "--seeds", "3", "--train", "moved/train.csv", "--dev", "moved/dev.csv"]
    lines = (tmp_path / "moved" / "dev.csv").read_text().splitlines(keepends=True)
    (tmp_path / "moved" / "dev.csv").write_text("".join(lines[:-1]))
    assert cli.main(words) == 2
    assert "run began with other dev examples of own: give the files it began with, or choose another --output" in capsys.readouterr().err
    (tmp_path / "moved" / "dev.csv").write_text("".join(lines))
    assert cli.main(words) == 0
    recorded = config.read_toml(tmp_path / "run" / "config.toml")
    assert recorded["train"] == str(tmp_path / "moved" / "train.csv") and Path(recorded["output"]).is_absolute()
    assert _read(tmp_path / "run" / "scores.json")["seeds"] == [1, 2, 3]


def test_a_preset_file_is_read_again_from_another_directory(
    start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    # Its exception for the task is chosen again on resuming.
    (here / "my.toml").write_text("epochs = 1.0\n[for_task.own]\ndropout = 0.25\n")
    words = ["finetune", "own", "--model", str(start), "--train", str(reviews / "train.csv"), "--dev", str(reviews / "dev.csv")]
    words += ["--text", "review", "--label", "stars", "--batch-size", "16", "--threads", "1", "--device", "cpu", "--preset"]
    monkeypatch.chdir(here)
    assert cli.main([*words, "my.toml", "--output", "run"]) == 0
    assert config.read_toml("run/config.toml")["preset"] == str(here / "my.toml")
    monkeypatch.chdir(elsewhere)
    assert cli.main(["finetune", "--resume", "../here/run", "--seeds", "2"]) == 0
    assert cli.main([*words, "../here/my.toml", "--output", "../here/run", "--seeds", "3", "--resume"]) == 0
    # A preset that is recorded is a path; another file of that name is another preset.
    shutil.copy(here / "my.toml", elsewhere)
    assert cli.main([*words, "my.toml", "--output", "../here/run", "--seeds", "4", "--resume"]) == 2
    assert f"began with preset = {here}/my.toml, now it is {elsewhere}/my.toml" in capsys.readouterr().err
    assert _read(here / "run" / "scores.json")["seeds"] == [1, 2, 3]
    card = (here / "run" / "best" / "README.md").read_text()
    assert "Preset `here/my.toml`" in card and str(here) not in card


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_call_that_is_stopped_does_not_return(
    number: int, error: type[BaseException], start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook, whose next cells must not run; resumed, it ends as if nothing had happened."""
    score = metrics.macro_f1

    def stop(*arguments: Any) -> float:
        os.kill(os.getpid(), number)
        return score(*arguments)

    files = {"train": reviews / "train.csv", "dev": reviews / "dev.csv", "text": "review", "label": "stars"}
    quick = {"model": start, "output": tmp_path / "run", "epochs": 2, "batch_size": 16, "threads": 1, "device": "cpu", "layerwise_lr_decay": 1.0}
    monkeypatch.setattr(metrics, "macro_f1", stop)
    with pytest.raises(error):
        electra.finetune("own", **files, **quick)
    monkeypatch.undo()
    assert electra.finetune(resume=tmp_path / "run").model == tmp_path / "run" / "best"


def test_data_in_memory_are_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a"], "label": ["b"]})
    with pytest.raises(UserError, match=r"train is a DataFrame, expected a path; save it first"):
        electra.finetune("own", model="shipped:mini", train=frame, dev=frame, output=tmp_path / "run")


def test_another_metric_chooses(start: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--max-train-examples", "20", "--epochs", "1")
    assert cli.main(_command(start, reviews, tmp_path / "run", *short, "--metric", "macro_f1")) == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["main_metric"] == "macro_f1" and "the best of the seeds above by macro_f1" in " ".join(
        (tmp_path / "run" / "best" / "README.md").read_text().split()
    )
    assert cli.main(_command(start, reviews, tmp_path / "wrong", *short, "--metric", "f1")) == 2
    assert "--metric f1: own has no such metric; known: accuracy, macro_f1" in capsys.readouterr().err and not (tmp_path / "wrong").exists()

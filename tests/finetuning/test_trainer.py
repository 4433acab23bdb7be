"""electra finetune, from the command line to a model that transformers opens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import random_start

from electra import cli, config
from electra.command_line import from_command_line
from electra.finetuning.hyperparameters import resolve
from electra.settings import FinetuneSettings, OptimizerSettings
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
        evaluations = [line for line in _lines(done / f"seed-{seed}" / "metrics.jsonl") if line["kind"] == "evaluation"]
        assert [line["step"] for line in evaluations] == list(range(6, 61, 6)) and evaluations[-1]["accuracy"] == pytest.approx(score)
    assert (done / "predictions.jsonl").read_text() == (done / f"seed-{scores['best_seed']}" / "predictions.jsonl").read_text()


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


def test_model_card_tells_the_run(done: Path) -> None:
    card = (done / "best" / "README.md").read_text()
    scores = _read(done / "scores.json")["scores"]["accuracy"]
    for said in ("96 training examples", "30 held-out", "10 epochs", "0.001", "neg, pos", f"{scores['mean']:.4f} ± {scores['sd']:.4f}", "## Limits"):
        assert said in card, said
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
    told = json.loads(capsys.readouterr().out)
    assert told == _read(output / "scores.json") and told["seeds"] == [1, 2, 3]
    after = (output / "seed-1" / "scores.json").stat().st_mtime_ns, (output / "best" / "model.safetensors").read_bytes()
    assert after[0] == before[0] and (after[1] == before[1] or told["best_seed"] == 3)


def test_an_interrupted_seed_goes_on_bit_by_bit(start: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        still = ("--learning-rate", "1e-12", "--num-train-steps", "1")
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


# ---- recipes ----


def _settings(*flags: str, task: str = "sst2") -> FinetuneSettings:
    return from_command_line(FinetuneSettings, [task, "--model", "m", "--output", "o", *flags], "electra finetune")


@pytest.mark.parametrize(
    ("preset", "hidden", "task", "expected"),
    [
        ("mini", 192, "sst2", (1.5e-4, 1.0, 0.0, 2.0, 128)),
        ("paper", 256, "sst2", (3e-4, 0.8, 0.0, 3.0, 128)),
        ("paper", 768, "sst2", (1e-4, 0.8, 0.0, 3.0, 128)),
        ("paper", 1024, "mrpc", (5e-5, 0.9, 0.0, 3.0, 128)),
        ("paper", 128, "rte", (3e-4, 0.8, 0.0, 10.0, 128)),
        ("paper", 768, "stsb", (1e-4, 0.8, 0.0, 10.0, 128)),
        ("paper", 256, "imdb", (3e-4, 0.8, 0.0, 3.0, 512)),
        ("original-code", 256, "sst2", (1e-4, 0.8, 0.01, 3.0, 128)),
        ("original-code", 1024, "rte", (5e-5, 0.9, 0.01, 10.0, 128)),
    ],
)
def test_presets_by_size_and_task(preset: str, hidden: int, task: str, expected: tuple[float, ...]) -> None:
    made = resolve(_settings("--preset", preset, task=task), task, hidden)
    optimizer = made.optimizer
    assert (optimizer.learning_rate, optimizer.layerwise_lr_decay, optimizer.weight_decay, made.epochs, made.max_length) == expected
    assert optimizer.warmup_fraction == 0.1 and not optimizer.bias_correction and made.double_unordered


def test_what_was_given_stays() -> None:
    # The very defaults, too: 3e-4 said for a large model is not the preset's business.
    made = resolve(_settings("--learning-rate", "3e-4", "--epochs", "3", task="rte"), "rte", 1024)
    assert (made.optimizer.learning_rate, made.epochs, made.optimizer.layerwise_lr_decay, made.preset) == (3e-4, 3.0, 0.9, "paper")
    in_python = FinetuneSettings(task="rte", model="m", output=Path("o"), epochs=2.0)
    made = resolve(in_python, "rte", 768)
    assert (made.epochs, made.optimizer.learning_rate) == (2.0, 1e-4)
    faster = replace(in_python.optimizer, learning_rate=2e-3)
    made = resolve(replace(in_python, optimizer=faster), "rte", 768)
    assert (made.optimizer.learning_rate, made.optimizer.layerwise_lr_decay) == (2e-3, 0.8)


def test_a_recorded_run_is_a_preset(tmp_path: Path) -> None:
    made = resolve(_settings("--learning-rate", "2e-3"), "sst2", 256)
    (tmp_path / "config.toml").write_text(config.to_toml(made))
    again = resolve(_settings("--preset", str(tmp_path / "config.toml")), "sst2", 1024)
    assert again == replace(made, preset=again.preset)


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


# ---- mistakes ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sst", "--data", "x"], "unknown task 'sst'; did you mean 'sst2'?"),
        (["sst2"], "sst2 needs --data DIR"),
        (["sst2", "--data", "nowhere"], "the folder of SST-2 not found: nowhere"),
        (["sst2", "--data", "x", "--train", "a.csv"], "--train and --dev are for the tasks 'own'"),
        (["own", "--train", "a.csv"], "needs --train FILE and --dev FILE"),
        (["own", "--train", "a.csv", "--dev", "b.csv"], "the train file not found: a.csv"),
        (["own", "--data", "{reviews}/train.csv"], "is one file; give two"),
        (["own", "--data", "{reviews}", "--text", "reviews"], "no column 'reviews' (did you mean 'review'?"),
        (["own", "--data", "{reviews}", "--text", "review", "--label", "score", "--kind", "classification"], "different labels in 96 rows"),
        (["own", "--data", "{reviews}", "--text", "review", "--label", "stars", "--kind", "regression"], "line 2: label 'neg' is not a number"),
        (["{ok}", "--max-length", "64"], "--max-length 64 is above the 40 positions"),
        (["{ok}", "--preset", "papers"], "unknown preset 'papers'; did you mean 'paper'?"),
        (["{ok}", "--epochs", "0"], "epochs must be above 0"),
        (["{ok}", "--dropout", "1.5"], "dropout must be within 0..1"),
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

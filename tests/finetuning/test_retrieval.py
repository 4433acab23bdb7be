"""`electra finetune embed` and `rerank`: folders that sentence-transformers opens, layers, prompts, shortened vectors; wrong settings by name."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import checkpoints

from electra.cli import main
from electra.errors import UserError
from electra.inference.predictor import load
from electra.model.huggingface import load_checkpoint
from electra.settings import FinetuneSettings
from electra.train.run_log import read_metrics

WORDS = "chef meal rain home film walk cook sing read fish bird tree snow wind king road".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = [rng.choice(WORDS, 4).tolist() for _ in range(24)]
    lines = [{"question": " ".join(row), "answer": " ".join(reversed(row)), "negative": " ".join(rng.choice(WORDS, 3))} for row in rows]
    for name, part in (("train", lines[:16]), ("dev", lines[16:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (folder / "scored.csv").write_text(
        "sentence1,sentence2,score\n" + "".join(f"{' '.join(a)},{' '.join(b)},{i % 6}\n" for i, (a, b) in enumerate(itertools.pairwise(rows)))
    )
    (folder / "raw.txt").write_text("\n".join(" ".join(row) for row in rows))
    return folder


def tune(data: Path, output: Path, *flags: str, train: str = "train.jsonl", dev: str = "dev.jsonl", model: str = "lone") -> int:
    words = ["finetune", "embed", "--train", data / train, "--dev", data / dev, "--model", checkpoints()[model], "--output", output]
    return main([*map(str, words), "--device", "cpu", "--batch-size", "8", "--epochs", "1", "--max-length", "16", *flags])


def test_sentence_transformers_opens_the_result(data: Path, tmp_path: Path) -> None:
    flags = ("--query-prompt", "walk: ", "--matryoshka", "8", "--layers", "1", "--accumulation", "2", "--epochs", "2")
    assert tune(data, tmp_path / "run", *flags) == 0
    best = tmp_path / "run" / "best"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(best))
    texts = ["the chef cooked", "", "rain " * 40]
    model = load(str(best))
    assert load_checkpoint(best, "encoder").config.num_hidden_layers == 1
    for name in (None, "query"):
        np.testing.assert_allclose(model.embed(texts, prompt_name=name), theirs.encode(texts, prompt_name=name), atol=1e-5)
    assert not np.allclose(model.embed(texts), model.embed(texts, prompt_name="query"), atol=1e-3)
    card = (best / "README.md").read_text()
    assert "shortened to 8 numbers" in card and "Prompt 'query': 'walk: '" in card and "library_name: sentence-transformers" in card
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "seed-1" / "metrics.jsonl") if line["kind"] == "train"]
    assert losses and all(np.isfinite(losses))
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert set(scores["scores"]) == {"mrr@10", "ndcg@10", "accuracy@1", "recall@10"} and scores["main_metric"] == "mrr@10"


def test_microbatches_train_the_same_model(data: Path, tmp_path: Path) -> None:
    """Without dropout four microbatches of four are one batch of sixteen."""
    weights = []
    for name, flags in (("whole", ("--batch-size", "16")), ("parts", ("--batch-size", "4", "--accumulation", "4"))):
        assert tune(data, tmp_path / name, "--dropout", "0", "--epochs", "3", "--learning-rate", "1e-3", *flags) == 0
        weights.append(load_checkpoint(tmp_path / name / "best", "encoder").encoder.state_dict())
    start = load_checkpoint(checkpoints()["lone"], "encoder").encoder.state_dict()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=3e-5, msg=name)
    assert max(float((value - start[name]).abs().max()) for name, value in weights[0].items()) > 1e-3


def test_layers_are_chosen_on_the_dev_set(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(data, tmp_path / "run", "--layers", "auto", "--pooling", "max", train="raw.txt", dev="scored.csv") == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if "by layer" in line)
    scores = [float(part.split(": ")[1]) for part in line.split("training: ")[1].split(";")[0].split(", ")]
    kept = load_checkpoint(tmp_path / "run" / "best", "encoder").config.num_hidden_layers
    assert kept == 1 + int(np.argmax(scores)) and f"layer {kept} is used" in line
    assert json.loads((tmp_path / "run" / "best" / "1_Pooling" / "config.json").read_text())["pooling_mode_max_tokens"]
    assert main(["finetune", "--resume", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--loss", "cosent"), "--loss cosent does not fit the training data, texts with a similar one and negatives; expected ranking"),
        (("--matryoshka", "64"), "--matryoshka 64: the vectors have 32 numbers"),
        (("--layers", "9"), "--layers 9: the model has 2 layers"),
        (("--layers", "0"), "expected all, auto or a number of layers from 1 on"),
        (("--head", "mean"), "--head has no effect on embed"),
        (("--baselines",), "--baselines: there is none for embed"),
        (("--text", "question"), "--text is for the task 'own'"),
        (("--text-columns", "query"), "no column 'query'"),
        (("--teacher", "x"), "embed is of kind embedding"),
    ],
)
def test_wrong_settings(flags: tuple[str, ...], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(data, tmp_path / "run", *flags) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_other_wrong_input(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(data, tmp_path / "run", "--loss", "cosine", train="scored.csv") == 2
    assert "--loss cosine learns cosines, from -1 to 1; the similarities are from 0 to 5: scale them" in capsys.readouterr().err
    assert tune(data, tmp_path / "run", dev="raw.txt") == 2
    assert "the dev file has texts alone" in capsys.readouterr().err
    words = ["finetune", "own", "--train", data / "train.jsonl", "--dev", data / "dev.jsonl", "--model", checkpoints()["lone"], "--pooling", "cls"]
    assert main([*map(str, words), "--output", str(tmp_path / "run")]) == 2
    assert "--pooling is for the task embed; own does not use it" in capsys.readouterr().err
    dense = tmp_path / "dense"
    assert tune(data, tmp_path / "run") == 0
    shutil.copytree(tmp_path / "run" / "best", dense)
    modules = json.loads((dense / "modules.json").read_text())
    modules[2] = {**modules[2], "path": "2_LayerNorm", "type": "sentence_transformers.models.LayerNorm"}
    (dense / "modules.json").write_text(json.dumps(modules))
    (dense / "2_LayerNorm").mkdir()
    (dense / "2_LayerNorm" / "config.json").write_text('{"dimension": 32}')
    from safetensors.torch import save_file

    save_file({"norm.weight": torch.ones(32), "norm.bias": torch.zeros(32)}, dense / "2_LayerNorm" / "model.safetensors")
    words = ["finetune", "embed", "--train", data / "train.jsonl", "--dev", data / "dev.jsonl", "--model", dense, "--output", tmp_path / "other"]
    assert main([*map(str, words)]) == 2
    assert "its module LayerNorm after the pooling cannot be trained" in capsys.readouterr().err


@pytest.mark.parametrize("train", ["train.jsonl", "relevance.csv"])
def test_a_reranker_is_a_cross_encoder(train: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    lines = [f"{row['question']},{row[name]},{relevance}" for row in rows for name, relevance in (("answer", 1), ("negative", 0))]
    (data / "relevance.csv").write_text("query,passage,label\n" + "\n".join(lines))
    output = tmp_path / "run"
    words = ["finetune", "rerank", "--train", data / train, "--dev", data / "dev.jsonl", "--model", checkpoints()["lone"], "--output", output]
    assert main([*map(str, words), "--device", "cpu", "--batch-size", "8", "--epochs", "1", "--max-length", "16"]) == 0
    assert ("loss binary" if train == "relevance.csv" else "loss listwise") in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import CrossEncoder

        theirs = CrossEncoder(str(output / "best"))
    # Where both texts are cut equally, transformers cuts the first, the original the second.
    pairs = [("chef meal", "the chef cooked"), ("rain", "rain " * 30), ("walk " * 30, "home " * 20), ("walk home " * 8, "home walk " * 8)]
    found = [answer.label for answer in load(str(output / "best")).predict(pairs)]
    logits, expected = (np.log(p / (1 - p)) for p in map(np.array, (found, theirs.predict(pairs))))
    np.testing.assert_allclose(logits, expected, atol=2e-6)
    scores = json.loads((output / "scores.json").read_text())
    assert set(scores["scores"]) == {"ndcg@10", "mrr@10", "map"} and scores["main_metric"] == "ndcg@10"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--pooling", "cls"), "--pooling is for the task embed; a re-ranker makes no vectors"),
        (("--loss", "ranking"), "--loss ranking does not fit the training data"),
        (("--truncate", "tail"), "--truncate has no effect on rerank"),
        (("--text-columns", "question", "answer"), "a re-ranker cannot learn from pairs of texts"),
    ],
)
def test_wrong_settings_of_a_reranker(flags: tuple[str, ...], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", "rerank", "--train", data / "train.jsonl", "--dev", data / "dev.jsonl", "--model", checkpoints()["lone"]]
    assert main([*map(str, words), "--output", str(tmp_path / "run"), *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_compare_refuses_these_tasks(task: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(checkpoints()["classifier"]), "--task", task, "--data", str(data)]) == 2
    assert f"--task {task}: not supported here; 'electra evaluate MODEL --task {task} --data FILE'" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_evaluate_gives_the_scores_of_the_run(task: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", task, "--train", data / "train.jsonl", "--dev", data / "dev.jsonl", "--model", checkpoints()["lone"]]
    more = ["--query-prompt", "walk ", "--document-prompt", "rain "] if task == "embed" else []
    assert main([*map(str, words), "--output", str(tmp_path / "run"), "--device", "cpu", "--epochs", "1", "--max-length", "16", *more]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--task", task, "--data", str(data / "dev.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert found == pytest.approx({name: value["mean"] for name, value in scores.items()}, abs=1e-6)


def test_a_reranker_learns_the_differences_of_a_teacher(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) | {"scores": [2.5, -0.5 - i / 8]} for i, line in enumerate((data / "train.jsonl").read_text().splitlines())]
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["finetune", "rerank", "--train", tmp_path / "scored.jsonl", "--dev", data / "dev.jsonl", "--model", checkpoints()["lone"]]
    words += ["--output", tmp_path / "run", "--device", "cpu", "--epochs", "80", "--learning-rate", "3e-3", "--max-length", "16", "--dropout", "0"]
    assert main([*map(str, words)]) == 0
    assert "loss margin-mse" in capsys.readouterr().err
    model = load(str(tmp_path / "run"))
    pairs = [(row["question"], row[name]) for row in rows for name in ("answer", "negative")]
    logits = [np.log(p / (1 - p)) for p in (float(str(answer.label)) for answer in model.predict(pairs))]
    margins, targets = np.array(logits[::2]) - np.array(logits[1::2]), np.array([row["scores"][0] - row["scores"][1] for row in rows])
    assert np.abs(margins - targets).mean() < 0.5 * np.abs(targets).mean()


def test_files_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs --train FILE and --dev FILE"):
        from electra import api

        api.finetune(FinetuneSettings(task="embed", model=str(checkpoints()["lone"]), output=tmp_path / "run"))

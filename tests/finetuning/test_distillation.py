"""A teacher's answers: learned without labels, for unlabelled texts, scaled, of a BERT; wrong teachers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import checkpoints, oracle, random_start
from toy_glue import finetune, write_glue

from electra.contracts import Example
from electra.data.tokenizer import load_tokenizer
from electra.finetuning import distillation
from electra.settings import DistillationSettings, FinetuneSettings
from electra.tasks.registry import find_task

torch = pytest.importorskip("torch")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    return random_start(tmp_path_factory.mktemp("start") / "start", tiny_vocab)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glue(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def both(start: Path, glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks, whose models teach."""
    output = tmp_path_factory.mktemp("both") / "run"
    assert finetune("sst2+rte", start, glue, output, "--epochs", "10") == 0
    return output


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def test_a_teacher_alone_is_enough(both: Path, start: Path, glue: Path, tmp_path: Path, cache: Path) -> None:
    """Labels turned round and of no weight: the student learns the teacher's, which are right."""
    wrong = tmp_path / "glue" / "SST-2"
    wrong.mkdir(parents=True)
    rows = (glue / "SST-2" / "train.tsv").read_text().splitlines()
    turned = [f"{text}\t{1 - int(label)}" for text, label in (row.split("\t") for row in rows[1:])]
    (wrong / "train.tsv").write_text("\n".join([rows[0], *turned]) + "\n")
    (wrong / "dev.tsv").write_text((glue / "SST-2" / "dev.tsv").read_text())
    more = ("--teacher", str(both / "best" / "sst2"), "--distill-weight", "1", "--epochs", "10")
    assert finetune("sst2", start, tmp_path / "glue", tmp_path / "run", *more) == 0
    assert _read(tmp_path / "run" / "scores.json")["scores"]["accuracy"]["mean"] > 0.9
    (kept,) = cache.glob("*.npy")
    answers, before = np.load(kept), kept.stat().st_mtime_ns
    probabilities = _probabilities(both / "best" / "sst2", [row.split("\t")[0] for row in turned])
    np.testing.assert_allclose(answers, probabilities, atol=1e-5)
    # Asked a second time, the answers come from the cache: other ones put there are believed.
    np.save(kept, answers[:, ::-1])
    assert finetune("sst2", start, tmp_path / "glue", tmp_path / "again", *more) == 0
    assert _read(tmp_path / "again" / "scores.json")["scores"]["accuracy"]["mean"] < 0.1 and before


def _probabilities(folder: Path, texts: list[str]) -> Any:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
        return model(**inputs).logits.softmax(-1).numpy()


def test_unlabelled_texts_are_labelled_by_the_teacher(both: Path, start: Path, glue: Path, tmp_path: Path) -> None:
    few = tmp_path / "glue" / "SST-2"
    few.mkdir(parents=True)
    rows = (glue / "SST-2" / "train.tsv").read_text().splitlines()
    (few / "train.tsv").write_text("\n".join([*rows[:3]]) + "\n")
    (few / "dev.tsv").write_text((glue / "SST-2" / "dev.tsv").read_text())
    (tmp_path / "more.txt").write_text("\n".join(row.split("\t")[0] for row in rows[3:]) + "\n")
    more = ("--teacher", str(both / "best" / "sst2"), "--epochs", "10", "--unlabelled", str(tmp_path / "more.txt"))
    assert finetune("sst2", start, tmp_path / "glue", tmp_path / "run", *more) == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["train_examples"] == 96 and scores["scores"]["accuracy"]["mean"] > 0.9


def test_a_regressions_teacher_is_scaled_like_the_labels(start: Path) -> None:

    teacher = checkpoints()["regression"]
    task, texts = find_task("stsb"), ["the chef cooked the meal", "it was good"]
    examples = [Example(id=f"train-{i}", text=text, text_pair="a film", label=float(i)) for i, text in enumerate(texts)]
    chosen = DistillationSettings(teacher=str(teacher))
    settings = FinetuneSettings(task="stsb", model="m", output=Path("o"), distillation=chosen)
    shown, features = distillation.featurize(task, examples, load_tokenizer(start), task.head([]), settings)
    model = oracle("ElectraForSequenceClassification", "regression")
    for example, feature, text in zip(shown, features, texts, strict=True):
        assert feature.soft_targets == pytest.approx([float(model.logits(text, "a film")[0]) / 5.0], abs=1e-5)
        assert feature.label == pytest.approx(float(str(example.label)) / 5.0)


def test_a_bert_teaches_with_another_vocabulary(start: Path, tiny_vocab: Path, tmp_path: Path) -> None:

    transformers = pytest.importorskip("transformers")
    pieces = tiny_vocab.read_text().splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*pieces[:5], *sorted(pieces[5:])]) + "\n")
    config = transformers.BertConfig(vocab_size=len(pieces), max_position_embeddings=40, initializer_range=0.3, **SIZES)
    torch.manual_seed(3)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    load_tokenizer(tmp_path / "vocab.txt").save(tmp_path / "bert")
    examples = [Example(id=f"train-{i}", text=text, label="1") for i, text in enumerate(["the chef cooked the meal", "it was good"])]
    chosen = DistillationSettings(teacher=str(tmp_path / "bert"))
    settings = FinetuneSettings(task="sst2", model="m", output=Path("o"), distillation=chosen)
    task = find_task("sst2")
    _, features = distillation.featurize(task, examples, load_tokenizer(start), task.head([]), settings)
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    for example, feature in zip(examples, features, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(example.text, return_tensors="pt")).logits.softmax(-1)[0]
        assert feature.soft_targets == pytest.approx(expected.tolist(), abs=1e-5)


def test_wrong_teachers(both: Path, start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.txt").write_text("one\ttwo\n")
    for more, message in (
        (("--teacher", str(both / "best" / "rte")), "answers with entailment"),
        (("--teacher", str(both / "best" / "sst2"), "--distill-weight", "2"), "--distill-weight 2: expected at least 0 and at most 1"),
        (("--teacher", str(both / "best" / "sst2"), "--unlabelled", str(tmp_path / "pairs.txt")), "line 1: 2 texts"),
        (("--unlabelled", str(tmp_path / "pairs.txt")), "needs a --teacher"),
        (("--teacher", str(start)), "no classifier head"),
    ):
        assert finetune("sst2", start, glue, tmp_path / "run", *more) == 2
        assert message in capsys.readouterr().err

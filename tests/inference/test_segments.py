"""Models with one segment type: single texts as in `transformers`, a second text refused, which `transformers` answers with an IndexError."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conformance import conforms
from tensorflow_checkpoints import random_model
from tiny_models import SHAPE, TEXTS, vocabulary

from electra.cli import main
from electra.errors import UserError
from electra.exporting.targets import build_artifact
from electra.inference.pipelines import pipeline

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MESSAGE = "type_vocab_size is 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "m"
    shape = {key: value for key, value in SHAPE.items() if key != "embedding_size"}
    config = transformers.BertConfig(vocab_size=len(vocabulary()), type_vocab_size=1, **shape)
    random_model("BertForSequenceClassification", config, 5).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary()))
    return folder


@conforms(form="one segment type, single texts", where=("Python", "build"), outcome="exact")
@conforms(form="one segment type, a second text", where=("Python", "build"), outcome="refused")
def test_one_text_is_read_and_two_are_not(folder: Path, tmp_path: Path) -> None:
    theirs = transformers.pipeline("text-classification", model=str(folder))(list(TEXTS[:2]))
    build_artifact(str(folder), "onnx", tmp_path / "artifact")
    for source in (folder, tmp_path / "artifact"):
        ours = pipeline("text-classification", source)
        for found, expected in zip(ours(list(TEXTS[:2])), theirs, strict=True):
            assert found["label"] == expected["label"] and found["score"] == pytest.approx(expected["score"], abs=1e-5)
        with pytest.raises(UserError, match=MESSAGE):
            ours([("the chef", "ate")])


@conforms(form="one segment type, a second text", where="finetune", outcome="refused")
def test_pairs_do_not_train_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": "the chef", "b": "ate", "label": "x"}, {"a": "soup", "b": "cold", "label": "y"}] * 4
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = "--text a --text-pair b --label label --epochs 1".split()
    files = ["--train", str(tmp_path / "pairs.jsonl"), "--dev", str(tmp_path / "pairs.jsonl")]
    assert main(["finetune", "own", *files, *words, "--model", str(folder), "--output", str(tmp_path / "run")]) == 2
    assert MESSAGE in capsys.readouterr().err and not (tmp_path / "run").exists()

"""What a served model says of itself: its title, where it is from, its number format and runtime."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import task_models
from built_models import artifact
from served_models import sources

from electra.inference.predictor import load
from electra.inference.text_io import Text
from electra.serve.limits import Limits
from electra.serve.models import Model, artifact_record, as_model, open_models, origin
from electra.serve.operations import Classify, PreparedText
from electra.settings import ServeSettings

FINETUNED = {
    "classification": "classifier: 1 / 0",
    "regression": "a number for each text",
    "multilabel": "classifier, several labels at once: a, b, c",
    "tagging": "token classification: X, 3 tags",
    "span": "question answering",
}
PRETRAINED = {
    "classifier": "classifier: negative / neutral / positive",
    "tagger": "named entities: LOC, PER, 5 tags",
    "finder": "question answering",
    "discriminator": "detector of replaced tokens + generator",
    "masked": "masked language model: fills in [MASK]",
}


def model_of(source: str | Path, name: str = "served") -> Model:
    return as_model(name, load(source, threads=1), artifact_record(str(source)))


@pytest.mark.parametrize("name", [*FINETUNED, *PRETRAINED])
def test_a_title_says_what_the_model_does(tmp_path: Path, name: str) -> None:
    folder = task_models.make(name, tmp_path / "runs" / name / "best") if name in FINETUNED else sources()[name]
    found = model_of(folder, "best").describe()
    assert found["title"] == {**FINETUNED, **PRETRAINED}[name] and found["name"] == "best"
    assert (found["architecture"], found["dtype"], found["runtime"]) == ("ELECTRA 2 x 32", "float32", "PyTorch")
    assert found["source"] == (f"{name}/best" if name in FINETUNED else name) and found["built_from"] is None
    assert (found["multi_label"], found["regression"]) == (name == "multilabel", name == "regression")


def test_sentence_vectors_and_re_rankers_have_titles(tmp_path: Path) -> None:
    """Folders of sentence-transformers and of a cross-encoder, made by transformers."""
    import json

    import transformers
    from tiny_models import SHAPE, checkpoints, vocabulary

    from electra.data.tokenizer import load_tokenizer

    def make(kind: str, **more: Any) -> Path:
        folder = tmp_path / kind
        getattr(transformers, kind)(transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, **more)).save_pretrained(folder)
        load_tokenizer(checkpoints()["vocab"]).save(folder)
        return folder

    encoder, ranker = make("ElectraModel"), make("ElectraForSequenceClassification", num_labels=1)
    unnamed = make("ElectraForTokenClassification", num_labels=4)
    assert model_of(encoder).describe()["title"] == "encoder, vectors, 32 dimensions"
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (encoder / "modules.json").write_text(json.dumps(modules))
    assert model_of(encoder).describe()["title"] == "sentence vectors, 64 dimensions"
    assert model_of(ranker).describe()["title"] == "re-ranker"
    assert model_of(unnamed).describe()["title"].endswith("4 tags")


def test_the_bundled_models_and_an_artifact() -> None:
    found = model_of("shipped:sentiment", "sentiment")
    wanted = {"title": "sentiment of film review sentences: negative / positive", "source": "shipped:sentiment", "built_from": None}
    wanted |= {"architecture": "BERT 6 x 384", "runtime": "ONNX Runtime"}
    info = found.info(Limits())
    assert {key: info[key] for key in wanted} == wanted == {key: found.describe()[key] for key in wanted}
    assert found.describe()["dtype"] == info["model_dtype"] == "int8" and info["model_id"] == info["served_model_name"] == "sentiment"
    built = artifact(sources()["classifier"], "onnx-fp16", zipped=True)
    about = model_of(built).describe()
    assert (about["source"], about["built_from"], about["dtype"]) == ("built.zip", "classifier", "float16")


def test_numbers_of_a_benchmarks_files_have_meanings(tmp_path: Path) -> None:
    folder = task_models.make("mean", tmp_path / "best")
    model = model_of(folder)
    assert model.label_meanings == {}, "0 and 1 of an unknown task mean nothing"
    model.task = "sst2"
    assert model.label_meanings == {"0": "negative", "1": "positive"}
    assert model.describe()["title"] == "sentiment of film review sentences: positive / negative", "in the order of its labels"
    model.predictor.backend.labels = tuple(f"LABEL_{number}" for number in range(3))
    model.task = None
    assert model.describe()["title"] == "classifier, 3 labels without names"
    model.predictor.backend.labels = tuple(f"a long name of label {number}" for number in range(119))
    assert model.describe()["title"] == "classifier, 119 labels"
    model.task = "iflytek"
    assert model.describe()["title"] == "Chinese: kind of an app by its description, 119 classes"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("shipped:detector", "shipped:detector"),
        ("google/electra-small-discriminator", "google/electra-small-discriminator"),
        ("s3://key:secret@bucket/runs/sst2/best", "sst2/best"),
        ("https://me:secret@host/best?token=1", "host/best"),
    ],
)
def test_where_a_model_is_from_names_no_secret(source: str, wanted: str) -> None:
    assert origin(source) == wanted


def test_where_a_model_is_from_names_no_path(tmp_path: Path) -> None:
    for folder, wanted in (
        ("sst2/best", "sst2/best"),
        ("sst2/seed-3/best", "sst2/seed-3/best"),
        ("mini/checkpoints/step-100", "mini/checkpoints/step-100"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        assert origin(str(tmp_path / folder)) == wanted


def test_models_of_pytorch_load_and_compute_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread would have its own OpenMP threads, and one text would take up to twice as long."""
    folder = task_models.make("classification", tmp_path / "one")
    threads = []
    run = Classify.run

    def noted(self: Classify, predictor: Any, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        threads.append(threading.current_thread().name)
        return run(self, predictor, prepared, batch_size)

    monkeypatch.setattr(Classify, "run", noted)
    served = open_models({"a": str(folder), "b": str(folder), "c": str(artifact(sources()["classifier"]))}, ServeSettings(models=(), threads=1))
    assert threads == ["PyTorch", "PyTorch", "MainThread"]  # the warm-ups
    operation = Classify()
    text = operation.prepare(served["a"].predictor, Text("a fine film"), 32)
    first, second = (served[name].run(operation, [text], 1) for name in "ab")
    assert threads[3:] == ["PyTorch", "PyTorch"] and first == second == operation.run(served["a"].predictor, [text], 1)
    with pytest.raises(AttributeError):  # what fails there fails here, and the thread goes on
        served["a"].run(operation, [None], 1)  # type: ignore[list-item]
    assert served["b"].run(operation, [text], 1) == first

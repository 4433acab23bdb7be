"""`electra push`: the repository in a folder opens in transformers, sentence-transformers, transformers.js and electra with equal answers; the
model card's head equals what the run recorded; the upload is one commit; every refusal is one line."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hf_forms
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from built_models import artifact, checkpoint, hub_folder
from conformance import case, conforms
from hub_server import TOKEN, Hub, hub_server
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from tiny_models import TEXTS, checkpoints, random_start
from toy_glue import finetune, write_glue
from transformers_js import run as in_javascript

import electra
from electra import bundled
from electra.cli import main
from electra.inference.predictor import load

EXACT: Any = {"outcome": "exact", "section": "clients"}
MODEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}
ONNX = {"onnx/model.onnx", "onnx/model_quantized.onnx"}
QUESTION, CONTEXT = "who cooked?", "the chef cooked a meal in the old city ."


def push(source: Path | str, output: Path, *flags: str) -> Path:
    assert main(["push", str(source), "--output", str(output), *flags]) == 0
    return output


@functools.cache
def repository(source: Path | str) -> Path:
    """What `push --output` makes of a checkpoint."""
    return push(source, Path(tempfile.mkdtemp()) / "repository")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def of(name: str) -> Callable[[], Path]:
    return lambda: checkpoints()[name] if name in checkpoints() else checkpoint(name)


# ---- fine-tuned runs ----


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of sst2 (two seeds), stsb, embed, rerank, and of own tables, fine-tuned for some steps."""
    root = tmp_path_factory.mktemp("runs")
    (root / "glue").mkdir()
    glue, start = write_glue(root / "glue"), random_start(root / "start", checkpoints()["vocab"])
    assert finetune("sst2", start, glue, root / "sst2", "--seeds", "2", "--epochs", "3") == 0
    assert finetune("stsb", start, glue, root / "stsb", "--seeds", "1", "--epochs", "1") == 0
    rng = np.random.default_rng(1)
    rows = [rng.choice("chef meal rain home film walk cook sing".split(), 4).tolist() for _ in range(24)]
    lines = [{"question": " ".join(row), "answer": " ".join(row[::-1]), "negative": " ".join(rng.choice(row, 3))} for row in rows]
    for name, part in (("train", lines[:16]), ("dev", lines[16:])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    for task in ("embed", "rerank"):
        words = ["finetune", task, "--train", root / "train.jsonl", "--dev", root / "dev.jsonl", "--model", start, "--output", root / task]
        assert main([*map(str, words), "--device", "cpu", "--batch-size", "8", "--epochs", "1", "--max-length", "16"]) == 0
    return root


@pytest.fixture(scope="module")
def sst2(runs: Path) -> Path:
    """A repository of a classifier, with the names that a user gives."""
    flags = ("--name", "me/toy-sst2", "--license", "apache-2.0", "--base-model", "google/electra-small-discriminator")
    return push(runs / "sst2", runs / "sst2-repository", *flags)


# ---- transformers ----


@pytest.mark.parametrize(
    ("kind", "auto", "source"),
    [
        case(None, "AutoModelForSequenceClassification", of("classifier"), form="a repository of push: a classifier", where="transformers", **EXACT),
        case(None, "AutoModelForSequenceClassification", of("regression"), form="a repository of push: a regression", where="transformers", **EXACT),
        case(
            None,
            "AutoModelForTokenClassification",
            of("ElectraForTokenClassification"),
            form="a repository of push: a token classifier",
            where="transformers",
            **EXACT,
        ),
        case(
            None,
            "AutoModelForQuestionAnswering",
            of("ElectraForQuestionAnswering"),
            form="a repository of push: a QA model",
            where="transformers",
            **EXACT,
        ),
        case(None, "AutoModelForMaskedLM", of("ElectraForMaskedLM"), form="a repository of push: a masked LM", where="transformers", **EXACT),
        case(None, "AutoModelForPreTraining", of("discriminator"), form="a repository of push: a discriminator", where="transformers", **EXACT),
        case("generator", "AutoModelForMaskedLM", of("discriminator"), form="a repository of push: its generator", where="transformers", **EXACT),
        case(None, "AutoModel", of("ElectraModel"), form="a repository of push: an encoder", where="transformers", **EXACT),
        case(None, "AutoModelForPreTraining", lambda: "shipped:mini", form="a repository of push: bundled, fp16", where="transformers", **EXACT),
    ],
)
def test_transformers_opens_it_with_equal_outputs(kind: str | None, auto: str, source: Callable[[], Path | str]) -> None:
    transformers = pytest.importorskip("transformers")
    folder = repository(source()) / (kind or "")
    theirs = bundled.located(source()) / (kind or "")
    outputs = []
    for place in (folder, theirs):
        model, report = getattr(transformers, auto).from_pretrained(place, output_loading_info=True, dtype=torch.float32)
        assert not any(report.values()), report
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        with torch.no_grad():
            outputs.append(model.eval()(**tokenizer(list(TEXTS), padding=True, truncation=True, max_length=40, return_tensors="pt")))
    assert outputs[0].keys() == outputs[1].keys()
    for name, value in outputs[0].items():
        torch.testing.assert_close(value, outputs[1][name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("tag", "source", "inputs"),
    [
        ("text-classification", of("classifier"), (TEXTS[1],)),
        ("token-classification", of("ElectraForTokenClassification"), (TEXTS[1],)),
        ("question-answering", of("ElectraForQuestionAnswering"), ()),
        ("fill-mask", of("ElectraForMaskedLM"), ("the chef [MASK] the meal",)),
    ],
)
def test_pipelines_of_transformers_and_transformers_js_agree(tag: str, source: Callable[[], Path], inputs: tuple[str, ...]) -> None:
    transformers = pytest.importorskip("transformers")
    folder = repository(source())
    assert ModelCard.load(folder / "README.md").data.pipeline_tag == tag
    ours: Any = electra.pipeline(tag, folder, device="cpu")  # type: ignore[call-overload]
    if tag == "question-answering":
        found = ours(question=QUESTION, context=CONTEXT)
        client = in_javascript(tag, folder, QUESTION, CONTEXT)
        tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
        with torch.no_grad():
            logits = model(**tokenizer(QUESTION, CONTEXT, return_tensors="pt"))
        assert logits.start_logits.shape == logits.end_logits.shape
        assert client["answer"].replace(" ", "") == found["answer"].replace(" ", "")
        return
    theirs, client, mine = transformers.pipeline(tag, str(folder))(*inputs), in_javascript(tag, folder, *inputs), ours(*inputs)
    key = {"text-classification": "label", "token-classification": "entity", "fill-mask": "token_str"}[tag]
    assert [row[key] for row in theirs] == [row[key] for row in mine] == [row[key] for row in client]
    np.testing.assert_allclose([row["score"] for row in client], [row["score"] for row in theirs], atol=1e-4)


# ---- sentence-transformers ----


@conforms(form="a repository of push: vectors", where=("sentence-transformers", "transformers.js"), **EXACT)
def test_vectors(runs: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = repository(runs / "embed")
    assert names(folder) == MODEL | ONNX | {
        "README.md",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Normalize/config.json",
    }
    texts = ["the chef cooked", "", "rain " * 40]
    expected = SentenceTransformer(str(runs / "embed" / "best"), device="cpu").encode(texts)
    np.testing.assert_allclose(SentenceTransformer(str(folder), device="cpu").encode(texts), expected, atol=1e-6)
    np.testing.assert_allclose(load(folder).embed(texts), expected, atol=1e-5)
    card = ModelCard.load(folder / "README.md").data
    assert (card.library_name, card.pipeline_tag) == ("sentence-transformers", "sentence-similarity") and "sentence-transformers" in card.tags
    found = in_javascript("feature-extraction", folder, texts[:2], pooling="mean", normalize=True)
    np.testing.assert_allclose(np.reshape(found["data"], found["dims"]), expected[:2], atol=1e-4)


@conforms(form="a repository of push: a re-ranker", where=("sentence-transformers", "transformers.js"), **EXACT)
def test_a_reranker(runs: Path) -> None:
    from sentence_transformers import CrossEncoder

    folder, pairs = repository(runs / "rerank"), [("chef meal", "the chef cooked"), ("rain", "rain " * 30), ("walk", "home")]
    expected = CrossEncoder(str(runs / "rerank" / "best"), device="cpu").predict(pairs)
    np.testing.assert_allclose(CrossEncoder(str(folder), device="cpu").predict(pairs), expected, atol=1e-6)
    np.testing.assert_allclose([answer.label for answer in load(folder).predict(pairs)], expected, atol=1e-5)
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "text-ranking") and "cross-encoder" in card.data.tags
    assert "logits.sigmoid()" in card.text
    first, second = map(list, zip(*pairs, strict=True))
    logits = np.array(in_javascript("AutoModelForSequenceClassification", folder, first, text_pair=second)["logits"]["data"])
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, atol=1e-4)


# ---- transformers.js, ONNX Runtime, electra ----


@conforms(form="a repository of push: a fine-tuned classifier", where=("transformers", "transformers.js", "predict"), **EXACT)
def test_a_fine_tuned_classifier(sst2: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    assert names(sst2) == MODEL | ONNX | {"README.md"}
    texts = ["a film story good", "of the story bad", "the was film good"]
    expected = load(runs / "sst2", device="cpu").predict(texts)
    theirs = transformers.pipeline("text-classification", str(sst2))(texts)
    for found in (theirs, in_javascript("text-classification", sst2, texts)):
        assert [row["label"] for row in found] == [row.label for row in expected]
        np.testing.assert_allclose([row["score"] for row in found], [max(row.probabilities.values()) for row in expected], atol=1e-4)
    assert [row["label"] for row in in_javascript("text-classification", sst2, texts, dtype="q8")] == [row.label for row in expected]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    lines = []
    for model in (runs / "sst2", sst2, sst2 / "onnx" / "model.onnx"):
        capsys.readouterr()
        assert main(["predict", str(model), str(tmp_path / "texts.txt")]) == 0
        lines.append([line.split("\t")[0] for line in capsys.readouterr().out.splitlines()])
    assert lines[0] == lines[1] == lines[2] and len(lines[0]) == 3


@pytest.mark.parametrize("name", ["classifier", "regression", "discriminator", "ElectraForTokenClassification", "ElectraMeanClassifier"])
def test_electra_opens_its_own(name: str) -> None:
    source = of(name)()
    folder = repository(source)
    ours, found = load(source, device="cpu"), load(folder, device="cpu")
    np.testing.assert_array_equal(found.embed(TEXTS), ours.embed(TEXTS))
    np.testing.assert_allclose(load(folder / "onnx" / "model.onnx").embed(TEXTS), ours.embed(TEXTS), atol=1e-4)
    if name in ("classifier", "ElectraMeanClassifier"):
        assert [row.label for row in found.predict(TEXTS)] == [row.label for row in ours.predict(TEXTS)]
    if name == "ElectraMeanClassifier":
        client = in_javascript("text-classification", folder, TEXTS[1])
        assert client[0]["label"] == ours.predict(TEXTS[1:2])[0].label
        assert ModelCard.load(folder / "README.md").data.library_name == "electra"


# ---- the model card ----


def test_the_head_of_a_card_equals_the_recorded_scores(sst2: Path, runs: Path) -> None:
    card, recorded = ModelCard.load(sst2 / "README.md"), json.loads((runs / "sst2" / "scores.json").read_text())
    data = card.data
    assert (data.license, data.language, data.base_model) == ("apache-2.0", "en", "google/electra-small-discriminator")
    assert (data.library_name, data.pipeline_tag, data.datasets, data.metrics) == (
        "transformers",
        "text-classification",
        ["nyu-mll/glue"],
        ["accuracy"],
    )
    assert data.tags == ["electra", "sst2", "onnx", "transformers.js"]
    (result,) = data.eval_results
    best = recorded["seeds"].index(recorded["best_seed"])
    assert result.metric_value == recorded["scores"]["accuracy"]["each"][best]
    assert (result.task_type, result.dataset_type, result.dataset_name) == ("text-classification", "nyu-mll/glue", "glue sst2")
    assert (result.dataset_config, result.dataset_split, result.dataset_args) == ("sst2", "validation", {"num_examples": 30})
    head = metadata_load(sst2 / "README.md")
    assert head is not None and head == data.to_dict() == ModelCard(str(card)).data.to_dict()
    name, results = model_index_to_eval_results(head["model-index"])
    assert name == "toy-sst2" and results == data.eval_results and eval_results_to_model_index(name, results) == head["model-index"]
    assert "electra predict me/toy-sst2 -" in card.text and "PATH" not in card.text
    assert "await pipeline('text-classification', 'me/toy-sst2', { dtype: 'fp32' })" in card.text


def test_metrics_have_the_names_of_the_hub(runs: Path) -> None:
    found = {}
    for task in ("stsb", "embed", "rerank"):
        data = ModelCard.load(repository(runs / task) / "README.md").data
        recorded = json.loads((runs / task / "scores.json").read_text())["scores"]
        recorded.pop("glue_score", None)
        assert [result.metric_value for result in data.eval_results] == [score["each"][0] for score in recorded.values()]
        found[task] = [result.metric_type for result in data.eval_results]
        result = data.eval_results[0]
        if task != "stsb":
            assert (result.dataset_name, result.dataset_type, result.dataset_split) == ("dev.jsonl", "jsonl", "dev") and data.datasets is None
    assert found["stsb"] == ["pearsonr", "spearmanr"] and found["rerank"] == ["ndcg@10", "mrr@10", "map"]
    assert found["embed"] == ["mrr@10", "ndcg@10", "accuracy@1", "recall@10"]


def test_without_scores_there_is_no_model_index() -> None:
    for source in (checkpoints()["classifier"], "shipped:mini"):
        head = metadata_load(repository(source) / "README.md")
        assert head is not None and "model-index" not in head and "metrics" not in head
    assert head["license"] == "apache-2.0" and head["language"] == "en" and head["library_name"] == "transformers"


def test_no_path_of_this_machine_is_in_a_repository(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "home" / "me" / "work" / "final"
    shutil.copytree(checkpoints()["discriminator"], source)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home" / "me")
    for folder in (source, source / "generator"):
        hf_forms.set_fields(folder, _name_or_path=str(source), embeddings_in_parent=False)
        values = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(values | {"name_or_path": str(source), "tokenizer_file": str(source)}))
    (source / "README.md").write_text(f"# mine\n\nfrom `{source.parent}/old` and ({source}), not /etc/none/such or https://x.org/a/b\n")
    for name in ("training", "tensorboard", "checkpoints/step-1"):
        (source / name).mkdir(parents=True)
        (source / name / "state.bin").write_bytes(b"private")
    (source / "config.toml").write_text(f'output = "{source}"\n')
    folder = push(source, tmp_path / "out")
    assert names(folder) == {*(place + name for place in ("", "generator/") for name in MODEL | ONNX), "README.md"}
    for place in (folder, repository(runs / "sst2"), repository(runs / "embed")):
        text = "".join((place / name).read_text() for name in names(place) if name.endswith((".json", ".md")))
        assert str(tmp_path) not in text and str(runs) not in text
    assert "from `work/old` and (work/final), not /etc/none/such or https://x.org/a/b" in (folder / "README.md").read_text()


def test_a_card_of_the_user_keeps_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(checkpoints()["classifier"], source := tmp_path / "mine")
    (source / "README.md").write_text(
        "---\nlicense: mit\ntags: opinion\npipeline_tag: zero-shot-classification\nwidget:\n- text: hi\n---\nMy words.\n"
    )
    folder = push(source, tmp_path / "out", "--no-onnx", "--language", "de", "fr")
    head = metadata_load(folder / "README.md")
    assert head is not None and head["license"] == "mit" and head["pipeline_tag"] == "zero-shot-classification" and head["language"] == ["de", "fr"]
    assert head["tags"] == ["opinion", "electra"] and head["widget"] == [{"text": "hi"}] and "My words." in (folder / "README.md").read_text()


def test_a_written_repository_can_be_pushed_again(sst2: Path, tmp_path: Path) -> None:
    again = push(sst2, tmp_path / "again", "--name", "me/toy-sst2")
    assert names(again) == names(sst2)
    for name in names(sst2):
        assert (again / name).read_bytes() == (sst2 / name).read_bytes(), name


# ---- what is left out, and other sources ----


def test_onnx_is_left_out_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoints()["classifier"]
    assert names(push(source, tmp_path / "plain", "--no-onnx")) == MODEL | {"README.md"}
    assert "onnx" not in ModelCard.load(tmp_path / "plain" / "README.md").data.tags
    joint = push(checkpoint("ElectraOriginalQuestionAnswering"), tmp_path / "joint")
    assert names(joint) == MODEL | {"README.md"} and "onnx/ is left out: " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert names(push(source, tmp_path / "missing")) == MODEL | {"README.md"}
    line = next(line for line in capsys.readouterr().err.splitlines() if "left out" in line)
    assert "onnxscript" in line and "pip install -e '.[build]'" in line


@conforms(form="a repository of push: weights of a pytorch_model.bin, float16", where="transformers", **EXACT)
def test_other_weights_become_safetensors_of_the_same_type(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    source = tmp_path / "bin"
    hf_forms.make("BertForSequenceClassification", source)
    hf_forms.write_tokenizer(source)
    hf_forms.as_bin(source)
    state = {key: value.half() for key, value in torch.load(source / "pytorch_model.bin").items()}
    torch.save(state, source / "pytorch_model.bin")
    hf_forms.set_fields(source, dtype="float16")
    folder = push(source, tmp_path / "out", "--dtypes", "fp16")
    assert {"model.safetensors", "onnx/model_fp16.onnx"} <= names(folder) and "pytorch_model.bin" not in names(folder)
    found, report = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()) and found.dtype == torch.float16
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


@conforms(form="a folder of build --layout hub, pushed", where="onnxruntime", **EXACT)
def test_a_folder_of_onnx_files_alone(tmp_path: Path) -> None:
    built = hub_folder(checkpoints()["classifier"])
    (built / "notes.log").write_text("private")
    folder = push(built, tmp_path / "out", "--name", "me/onnx", "--license", "mit")
    (built / "notes.log").unlink()
    assert names(folder) == names(built)
    assert all((folder / name).read_bytes() == (built / name).read_bytes() for name in names(built) - {"README.md"})
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers.js" and card.data.license == "mit" and "'me/onnx'" in card.text


# ---- the upload ----


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with hub_server() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        yield server


def test_a_repository_is_uploaded_in_one_commit(hub: Hub, sst2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = {".gitattributes": b"", "picture.png": b"mine", "runs/model.safetensors": b"mine"}
    hub.files = {**others, "pytorch_model.bin": b"old", "onnx/model_fp16.onnx": b"old"}
    assert main(["push", str(sst2), "--name", "me/toy-sst2", "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.url}/me/model\n"
    assert hub.created["visibility"] == "private" and hub.created["organization"] == "me" and hub.commits == ["Upload by electra push"]
    assert hub.files == {**others, **{name: (sst2 / name).read_bytes() for name in names(sst2)}}


def test_a_public_repository_is_not_taken_for_a_private_one(hub: Hub, sst2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hub leaves the visibility of a repository that exists as it is."""
    hub.public = True
    assert main(["push", str(sst2), "--name", "me/toy-sst2", "--private"]) == 2
    error = capsys.readouterr().err
    assert "--private: me/toy-sst2 exists and is public" in error and hub.commits == []
    assert main(["push", str(sst2), "--name", "me/toy-sst2"]) == 0 and len(hub.commits) == 1


@pytest.mark.parametrize(
    ("refuse", "message", "created"),
    [
        ({"whoami": (401, "{}")}, "(401): the token is not valid", False),
        (
            {"validate-yaml": (400, '"license" must be\none of [mit]')},
            'front matter of the model card: "license" must be one of [mit]',
            False,
        ),
        ({"repos/create": (403, "{}"), "models/": (404, "{}")}, "(403): the token has no write access", True),
        ({"/commit/": (403, "{}")}, "(403): the token has no write access", True),
    ],
)
def test_a_refusal_is_one_line(hub: Hub, refuse: dict[str, tuple[int, str]], message: str, created: bool, capsys: pytest.CaptureFixture[str]) -> None:
    hub.refuse = refuse
    assert main(["push", str(checkpoints()["classifier"]), "--name", "me/model", "--no-onnx"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("electra: the hub reject") and message in error
    assert not hub.commits and ("POST /api/repos/create" in hub.calls) == created


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("shipped:sentiment", "its checkpoint is not bundled, 'make model' makes it in hours"),
        ("shipped:encoder", "its checkpoint is not bundled, 'make model' makes it in hours"),
        ("shipped:detector", "give its checkpoint, shipped:mini"),
        ("built", "give the checkpoint it was built from (classifier)"),
    ],
)
def test_an_artifact_is_refused_with_the_reason_and_what_to_give(
    source: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = source if bundled.is_shipped(source) else str(artifact(checkpoints()["classifier"], "onnx-int8"))
    assert main(["push", path, "--output", str(tmp_path / "out")]) == 2
    reason = "is an artifact for onnx-int8: it has no PyTorch weights, and its graph is not in the hub's form"
    assert capsys.readouterr().err == f"electra: {path} {reason}; {remedy}\n" and not (tmp_path / "out").exists()


def test_a_network_that_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", str(checkpoints()["classifier"]), "--name", "me/model"]) == 2
    error = capsys.readouterr().err
    assert "could not be reached to upload me/model" in error and error.count("\n") == 1


def test_the_python_function(tmp_path: Path) -> None:
    source = checkpoints()["classifier"]
    assert electra.push(source, output=tmp_path / "out", onnx=False, license="mit") == str(tmp_path / "out")
    with pytest.raises(electra.UserError, match=r"choose another --output"):
        electra.push(source, output=tmp_path / "out")

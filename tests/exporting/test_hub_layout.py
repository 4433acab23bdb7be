"""`electra build --layout hub`: the folder's files, onnxruntime directly on padded batches, electra's own commands on it, other people's folders."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import hf_forms
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from built_models import ARCHITECTURES, checkpoint
from built_models import hub_folder as hub
from conformance import case, conforms
from tiny_models import SHAPE, TEXTS, checkpoints, oracle, vocabulary
from tokenizer_folders import JSON, NAMES, trained, write
from tokenizers import decoders, normalizers, pre_tokenizers

import electra
from electra import cli
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.exporting.dense_graph import dense_graph
from electra.exporting.targets import build_hub_folder
from electra.inference.artifact import HUB_FILES, damaged_files, open_artifact, write_measurements
from electra.inference.predictor import load
from electra.model.huggingface import load_checkpoint

BUILT = [name for name in ARCHITECTURES if name != "ElectraOriginalQuestionAnswering"]
READ: Any = {"outcome": "exact", "section": "clients"}


@conforms(form="a folder of build --layout hub: a padded batch", where="onnxruntime", outcome="exact", section="clients")
def test_onnxruntime_on_a_padded_batch_equals_transformers() -> None:
    reference, folder = oracle("ElectraForSequenceClassification", "classifier"), hub(checkpoints()["classifier"])
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    feed = reference.tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="np")
    found = session.run(["logits"], {port.name: feed[port.name].astype(np.int64) for port in session.get_inputs()})[0]
    with torch.no_grad():
        expected = reference.model(**reference.tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("architecture", BUILT)
def test_names_and_operations_are_those_of_the_hub(architecture: str) -> None:
    folder = hub(checkpoint(architecture))
    graph = onnx.load(str(folder / "onnx" / "model.onnx")).graph
    assert [port.name for port in graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    first = ["start_logits", "end_logits"] if "Question" in architecture else [] if architecture == "ElectraModel" else ["logits"]
    assert [port.name for port in graph.output] == [*first, "last_hidden_state"]
    assert {node.domain for node in graph.node} == {""} and not any(node.doc_string for node in graph.node)
    config = json.loads((folder / "config.json").read_text())
    names = dict.fromkeys(("ElectraOriginalClassifier", "ElectraMeanClassifier"), "ElectraForSequenceClassification")
    assert config["architectures"] == [names.get(architecture, architecture)] and config["model_type"] == "electra"
    files = {path.name for path in folder.iterdir()}
    assert files == {"onnx", "config.json", "README.md", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_a_card_names_library_task_and_files() -> None:
    card = (hub(checkpoints()["classifier"], *HUB_FILES) / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers.js\npipeline_tag: text-classification\ntags:\n- electra\n- onnx\n---\n")
    assert all(f"| {dtype} | `{file}` |" in card for dtype, file in HUB_FILES.items())


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_masked_lm_stores_its_table_once(dtype: str) -> None:
    source = checkpoint("ElectraForMaskedLM")
    graph = onnx.load(str(hub(source, "fp32", "fp16") / HUB_FILES[dtype])).graph
    assert sum(len(vocabulary()) in tensor.dims and len(tensor.dims) == 2 for tensor in graph.initializer) == 1


def test_only_a_cut_row_gets_its_last_separator_back() -> None:
    """Rows of exactly `model_max_length` tokens end with [SEP] already, unless transformers.js cut it off; shorter and longer grids are unchanged."""
    source = checkpoints()["classifier"]
    session = onnxruntime.InferenceSession(hub(source) / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    plain = dense_graph(load_checkpoint(source))

    def logits(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        with torch.no_grad():
            return session.run(["logits"], feed)[0], plain(*map(torch.from_numpy, feed.values()))[0].numpy()

    ids = np.random.default_rng(0).integers(5, 90, (2, 64))
    whole = np.ones_like(ids)
    found, expected = logits(ids[:, :63], whole[:, :63])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    ended, padded = ids.copy(), whole.copy()
    ended[:, -1], padded[1, 50:] = load_tokenizer(source).sep_id, 0
    np.testing.assert_allclose(logits(ids, whole)[0], logits(ended, whole)[1], atol=1e-4)
    np.testing.assert_allclose(logits(ended, padded)[0], logits(ended, padded)[1], atol=1e-4)


# ---- public reports ----


@conforms(form="a tokenizer without segments: no input token_type_ids", where="onnxruntime", outcome="exact", section="clients")
def test_a_model_asks_for_no_segments_where_its_tokenizer_makes_none(tmp_path: Path) -> None:
    """optimum#1500, #1758, #2062: an exported BERT with XLM-R's tokenizer failed, "Required inputs (['token_type_ids']) are missing"."""
    transformers = pytest.importorskip("transformers")
    trained("Unigram", pre_tokenizers.Metaspace(), normalizers.NFKC(), decoders.Metaspace()).save(str(tmp_path / "tokenizer.json"))
    write(tmp_path, tokenizer_config__json={**JSON, **NAMES, "model_input_names": ["input_ids", "attention_mask"]})
    model = hf_forms.make("BertForSequenceClassification", tmp_path, **SHAPE | {"vocab_size": load_tokenizer(tmp_path).vocab_size})
    folder = hub(tmp_path, *HUB_FILES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["the quick brown Fox", "naïve café, isn't it?"]
    feed = dict(tokenizer(texts, ["he said", "and English"], padding=True, return_tensors="pt"))
    with torch.no_grad():
        expected = model(**feed).logits
    for dtype, atol in {"fp32": 1e-4, "fp16": 0.02, "q8": 0.5, "int8": 0.5, "uint8": 0.5}.items():
        session = onnxruntime.InferenceSession(folder / HUB_FILES[dtype], providers=["CPUExecutionProvider"])
        found = session.run(["logits"], {name: values.numpy() for name, values in feed.items()})[0]
        np.testing.assert_allclose(found, expected, atol=atol)
    ours = load(folder).backend.class_logits([inputs_of(tmp_path, text, "he said") for text in texts[:1]])
    np.testing.assert_allclose(ours, expected[:1], atol=1e-4)


def inputs_of(source: Path, *texts: str) -> Any:
    """A text or a pair as the input of a backend."""
    tokenizer = load_tokenizer(source)
    ids, segments = tokenizer.wrap(*tokenizer.encode(list(texts)))
    return type("Input", (), {"ids": ids, "segments": segments})


@conforms(form="8-bit weights on x86 without VNNI", where="onnxruntime", outcome="exact", section="clients")
def test_weights_of_8_bits_overflow_on_no_processor() -> None:
    """onnxruntime#6004, #5849: an int8 BERT answered wrongly on processors without VNNI, where sums of two products saturate 16 bits."""
    for dtype in ("q8", "int8", "uint8"):
        model = onnx.load(str(hub(checkpoints()["classifier"], *HUB_FILES) / HUB_FILES[dtype])).graph
        tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.initializer}
        weights = [tensors[node.input[1]] for node in model.node if node.op_type == "MatMulInteger"]
        assert len(weights) == 13 and {str(values.dtype) for values in weights} == {"uint8" if dtype == "uint8" else "int8"}
        assert dtype == "uint8" or max(np.abs(values.astype(int)).max() for values in weights) <= 64


# ---- the commands ----


@pytest.mark.parametrize("architecture", BUILT)
@conforms(form="a folder of build --layout hub", where="load", outcome="exact", section="clients")
def test_a_folder_answers_as_its_checkpoint(architecture: str) -> None:
    source = checkpoint(architecture)
    ours, built = load(source, device="cpu"), load(hub(source))
    np.testing.assert_allclose(built.embed(TEXTS), ours.embed(TEXTS), atol=1e-4)
    if "Classif" in architecture and "Token" not in architecture:
        for one, two in zip(built.predict(TEXTS), ours.predict(TEXTS), strict=True):
            assert dict(one.probabilities) == pytest.approx(dict(two.probabilities), abs=1e-4) and one.label == two.label
    elif "Token" in architecture:
        assert [[word.tag for word in text.words] for text in built.tag(TEXTS)] == [[word.tag for word in text.words] for text in ours.tag(TEXTS)]
    elif "Question" in architecture:
        questions = [("who cooked ?", "the chef cooked the meal ."), ("where was it ?", "she walked home in the old city . " * 20)]
        one, two = (list(model.iterate_answers(questions, top_k=2)) for model in (built, ours))
        assert [[a.text for a in row] for row in one] == [[a.text for a in row] for row in two]
    elif "Masked" in architecture:
        text = "the [MASK] cooked a [MASK]"
        assert [[row[0] for row in mask] for mask in built.fill(text)] == [[row[0] for row in mask] for mask in ours.fill(text)]


def test_a_single_output_without_problem_type_is_still_one_number(tmp_path: Path) -> None:
    hf_forms.make("ElectraForSequenceClassification", tmp_path, **SHAPE | {"vocab_size": len(vocabulary()), "num_labels": 1})
    load_tokenizer(checkpoints()["vocab"]).save(tmp_path, 64)
    ours, built = (list(load(model, device="cpu").predict(TEXTS)) for model in (tmp_path, hub(tmp_path)))
    assert [row.label for row in built] == pytest.approx([row.label for row in ours], abs=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        case(["predict", "{model}", "{texts}"], form="a folder of build --layout hub", where="predict", **READ),
        case(["embed", "{model}", "{texts}"], form="a folder of build --layout hub", where="embed", **READ),
        case(["detect", "{model}", "{texts}"], form="a folder of build --layout hub", where="detect", **READ),
        case(["score", "{model}", "{texts}"], form="a folder of build --layout hub", where="score", **READ),
    ],
)
def test_commands_print_what_they_print_of_the_checkpoint(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoints()["classifier" if words[0] in ("predict", "embed") else "discriminator"]
    (tmp_path / "texts.txt").write_text("the chef cooked the meal\nit was good\n")
    printed = []
    for model in (source, hub(source)):
        assert cli.main([word.format(model=model, texts=tmp_path / "texts.txt") for word in words]) == 0
        printed.append(capsys.readouterr().out.split())
    assert len(printed[0]) == len(printed[1]) > 2
    for one, two in zip(*printed, strict=True):
        assert one == two or float(one.strip("[],")) == pytest.approx(float(two.strip("[],")), abs=2e-4)


def test_one_number_format_is_chosen_by_its_file() -> None:
    folder = hub(checkpoints()["classifier"], "fp16", "q8")
    assert open_artifact(folder).target == "onnx-fp16" and open_artifact(folder / HUB_FILES["q8"]).target == "onnx-int8"
    exact, rounded = (load(place).predict(TEXTS[:1])[0].probabilities for place in (folder, folder / HUB_FILES["q8"]))
    assert 0 < max(abs(exact[name] - rounded[name]) for name in exact) < 0.2


def test_inspect_describes_and_verify_and_keep_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    folder = hub(checkpoints()["classifier"])
    assert cli.main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["layout"], found["target"], found["role"]) == ("artifact", "hub", "onnx", "classifier") and "intact" not in found
    with pytest.raises(UserError, match="records no hashes"):
        damaged_files(folder)
    with pytest.raises(UserError, match="no place for measurements"):
        write_measurements(folder, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "{0}", "--task", "sst2", "--data", "x", "--keep"], "none of the models is an artifact of yours with an artefact.json"),
        (["convert", "{0}", "new"], "has no weights: it is an artifact for inference; give the checkpoint"),
        (["build", "{0}", "--layout", "hub", "--output", "new"], "is an artifact already; give the checkpoint"),
    ],
)
def test_commands_that_need_more_than_the_folder(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word.format(hub(checkpoints()["classifier"])) for word in words]) == 2
    assert message in capsys.readouterr().err


def exported(kind: str, folder: Path, **config: Any) -> Any:
    """A model of `transformers` as optimum exports it: the head's outputs alone."""
    model = hf_forms.make(kind, folder, **SHAPE, **config, vocab_size=len(vocabulary()))
    load_tokenizer(checkpoints()["vocab"]).save(folder, 64)
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    names, grid = ["input_ids", "attention_mask", "token_type_ids"], torch.ones(2, 8, dtype=torch.long)
    outputs = ["start_logits", "end_logits"] if "Question" in kind else ["logits"]
    stream = io.BytesIO()
    axes = {name: {0: "batch", 1: "length"} for name in (*names, *outputs)}
    with torch.no_grad():
        torch.onnx.export(
            model, (grid, grid, grid), stream, input_names=names, output_names=outputs, dynamic_axes=axes, opset_version=17, dynamo=False
        )
    (folder / HUB_FILES["fp32"]).write_bytes(stream.getvalue())
    return model


@pytest.mark.filterwarnings("ignore")
@conforms(form="someone's ONNX folder (no weights of PyTorch): QA", where="load", outcome="exact", section="clients")
def test_other_peoples_question_answering(tmp_path: Path) -> None:
    model = exported("BertForQuestionAnswering", tmp_path)
    built, piece = load(tmp_path), inputs_of(tmp_path, "who cooked ?", "the chef cooked a meal")
    with torch.no_grad():
        expected = model(torch.tensor([piece.ids]), torch.ones(1, len(piece.ids), dtype=torch.long), torch.tensor([piece.segments]))
    (found,) = built.backend.span_outputs([piece])
    np.testing.assert_allclose(found.T, [expected.start_logits[0], expected.end_logits[0]], atol=1e-4)
    with pytest.raises(UserError, match="has no output last_hidden_state, its model returns end_logits, start_logits"):
        built.embed(["the chef"])


# ---- what is refused ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        case(
            ["--layout", "hub", "--dtypes", "q4"],
            r"dtype 'q4' .* choose from fp32, fp16",
            form="dtype q4",
            where="build --layout hub",
            outcome="refused",
            section="clients",
        ),
        (["--layout", "hub", "--target", "openvino"], "a folder for the hub is built for onnx"),
        (["--layout", "hub", "--calibrate", "x.txt"], "--calibrate is for artifacts"),
        (["--layout", "hub", "--task", "sst2"], "--task is for artifacts"),
        (["--target", "onnx", "--dtypes", "fp16"], "--dtypes is for --layout hub"),
        ([], "--target is missing; give one, such as onnx"),
    ],
)
def test_flags_that_do_not_fit(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(checkpoints()["classifier"]), *words, "--output", str(tmp_path / "built")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@conforms(form="the original's head for questions", where="build --layout hub", outcome="refused", section="clients")
def test_the_joint_head_for_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its last token depends on its first"):
        build_hub_folder(str(checkpoint("ElectraOriginalQuestionAnswering")), tmp_path / "built")
    assert not list(tmp_path.iterdir())


def test_from_python(tmp_path: Path) -> None:
    found = electra.build(checkpoints()["classifier"], layout="hub", output=tmp_path / "built", dtypes=("fp32", "q8"), max_length=40)
    assert found.target == "onnx" and set(found.manifest["build"]["options"]["dtypes"]) == {"fp32", "q8"} and found.size_bytes > 50_000
    assert json.loads((tmp_path / "built" / "tokenizer_config.json").read_text())["model_max_length"] == 40
    assert load(found.path).spec.max_length == 40

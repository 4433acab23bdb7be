"""Checkpoints of every head -> grids -> ONNX: the answers stay PyTorch's, on odd lengths, in batches, through windows; fused, small, recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from built_models import ARCHITECTURES, artifact, checkpoint
from tiny_models import TEXTS, checkpoints, oracle

from electra import cli
from electra.data.pretraining_batches import collate
from electra.data.tokenizer import load_tokenizer
from electra.data.windows import Window, WindowInput
from electra.errors import UserError
from electra.exporting import onnx_int8
from electra.exporting.dense_graph import dense_graph
from electra.exporting.onnx import fused_model, operations
from electra.exporting.targets import TARGETS, build_artifact, spread
from electra.inference.artifact import open_artifact
from electra.inference.backends import Backend
from electra.inference.predictor import Predictor, load
from electra.model.encoder import EncoderConfig
from electra.model.huggingface import encoder_of, load_checkpoint, new_module, reinitialize, save_checkpoint

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1"
RANDOM_TEXTS = tuple(
    " ".join(np.random.default_rng(i).choice("the chef cooked a meal in old city film was good bad".split(), 3 + i % 40)) for i in range(48)
)


@pytest.mark.parametrize(("kind", "length"), [("classifier", 4), ("squad", 12)])
def test_a_length_too_short_to_read_is_refused_before_building(kind: str, length: int, tmp_path: Path) -> None:
    source = FIXTURES / "runs" / {"classifier": "classification", "squad": "squad"}[kind]
    with pytest.raises(UserError, match=rf"max_length {length} is too short for a (text|question and its context); expected at least"):
        build_artifact(str(source), "onnx", tmp_path / "built", max_length=length)
    assert not list(tmp_path.iterdir())


def test_a_length_beyond_the_positions_is_recorded_as_the_positions(tmp_path: Path) -> None:
    build_artifact(str(FIXTURES / "runs" / "classification"), "onnx", tmp_path / "built", max_length=999)
    config = json.loads((tmp_path / "built" / "config.json").read_text(encoding="utf-8"))
    assert config["electra_input_spec"]["max_length"] == config["max_position_embeddings"] == 64


def inputs_of(lengths: list[int], size: int) -> list[WindowInput]:
    """Random inputs of given lengths, each with two queries; the second half of each is of the second segment."""
    random = np.random.default_rng(sum(lengths))
    out = []
    for length in lengths:
        ids = [2, *random.integers(5, size, length - 2).tolist(), 3]
        queries = tuple((int(at), 0.0) for at in sorted({0, length // 2}))
        out.append(WindowInput(ids, [0] * (length - length // 2) + [1] * (length // 2), Window(0, length, 0, length), queries=queries))
    return out


def answers(network: Backend, pieces: list[WindowInput]) -> dict[str, list[np.ndarray]]:
    """Everything a network computes for pieces, by architecture."""
    method = {
        "ElectraForSequenceClassification": "class_logits",
        "ElectraOriginalClassifier": "class_logits",
        "ElectraMeanClassifier": "class_logits",
        "ElectraForTokenClassification": "token_logits",
        "ElectraForPreTraining": "replaced_logits",
        "ElectraForMaskedLM": "word_logits",
        "ElectraForQuestionAnswering": "span_outputs",
        "ElectraOriginalQuestionAnswering": "span_outputs",
    }.get(network.architecture)
    out = {"hidden_states": list(network.hidden_states(pieces))}
    return out if method is None else out | {method: list(getattr(network, method)(pieces))}


def assert_close(found: dict[str, list[np.ndarray]], wanted: dict[str, list[np.ndarray]], atol: float) -> None:
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert len(rows) == len(found[name])
        for mine, theirs in zip(found[name], rows, strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, theirs, atol=atol, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_grid_gives_what_packed_tokens_give(architecture: str, attention: Any) -> None:
    found = load_checkpoint(checkpoint(architecture))
    graph = dense_graph(found, attention)
    ids, mask, segments, *rest = graph.example(3, 30)
    assert mask.sum(1).tolist() == [30, 30, 15]
    rows = [(ids[i, :n].tolist(), segments[i, :n].tolist()) for i, n in enumerate(mask.sum(1).tolist())]
    batch = collate(rows, keys=[0, 0, 0])
    with torch.inference_mode():
        named = dict(zip(graph.outputs, graph(ids, mask, segments, *rest), strict=True))
        torch.testing.assert_close(named["last_hidden_state"][mask.bool()], encoder_of(found.module)(batch), atol=1e-4, rtol=1e-4)
        if graph.role == "generator":
            torch.testing.assert_close(named["logits"], found.module(batch, at=rest[0]), atol=1e-4, rtol=1e-4)
        elif graph.role == "classifier":
            torch.testing.assert_close(named["logits"], found.module(batch), atol=1e-4, rtol=1e-4)
        elif graph.role != "encoder" and "spans" not in named:
            torch.testing.assert_close(named["logits"][mask.bool()], found.module(batch), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx_equals_pytorch_on_odd_lengths_and_batches(architecture: str) -> None:
    source = checkpoint(architecture)
    ours, built = load(source, device="cpu").network, load(artifact(source)).network
    for name in ("architecture", "labels", "is_regression", "is_multilabel", "max_length", "hidden_size", "vocab_size", "token_segment"):
        assert getattr(built, name) == getattr(ours, name), name
    for lengths in ([2], [64], [7, 7, 7], [33, 12, 3, 2, 64], [1 + 5 * i for i in range(1, 12)]):
        pieces = inputs_of(lengths, ours.vocab_size)
        assert_close(answers(built, pieces), answers(ours, pieces), atol=1e-4)


def test_onnx_equals_transformers() -> None:
    reference = oracle("ElectraForSequenceClassification", "classifier")
    network = load(artifact(checkpoints()["classifier"])).network
    tokenizer = load_tokenizer(checkpoints()["classifier"])
    for text in TEXTS:
        piece = WindowInput(*tokenizer.wrap(tokenizer.encode([text])[0]), Window(0, 1, 0, 1))
        np.testing.assert_allclose(network.class_logits([piece])[0], reference.logits(text), atol=1e-4)


def same_predictions(one: Predictor, other: Predictor, inputs: list[Any]) -> None:
    for mine, theirs in zip(one.predict(inputs), other.predict(inputs), strict=True):
        assert mine.num_windows == theirs.num_windows
        assert mine.label == (pytest.approx(theirs.label, abs=1e-4) if isinstance(theirs.label, float) else theirs.label)
        assert dict(mine.probabilities) == pytest.approx(dict(theirs.probabilities), abs=1e-4)


@pytest.mark.parametrize("kind", ["several", "multilabel", "regression"])
def test_classifiers_of_every_kind_through_windows_and_pairs(kind: str) -> None:
    source = {"several": checkpoints()["classifier"], "regression": checkpoints()["regression"]}.get(kind)
    source = source or checkpoint("ElectraForSequenceClassification", multilabel=True)
    inputs = [*TEXTS, ("the chef cooked", "she ate"), ("the old city " * 30, "it was good"), "good bad rain " * 60]
    ours, built = load(source, device="cpu", batch_size=4), load(artifact(source, zipped=True), batch_size=3)
    same_predictions(built, ours, inputs)
    assert built.predict(inputs)[-1].num_windows == 4


def test_a_pretrained_checkpoint_detects_corrupts_scores_and_fills_as_before() -> None:
    source = checkpoints()["discriminator"]
    ours, built = load(source, device="cpu"), load(artifact(source))
    assert open_artifact(artifact(source)).has_generator
    texts = [*TEXTS, "the old city " * 50]
    for mine, theirs in zip(built.detect(texts), ours.detect(texts), strict=True):
        assert [t.token for t in mine.tokens] == [t.token for t in theirs.tokens]
        assert [t.probability for t in mine.tokens] == pytest.approx([t.probability for t in theirs.tokens], abs=1e-4)
    for mine, theirs in zip(built.corrupt(texts, mask_prob=0.3), ours.corrupt(texts, mask_prob=0.3), strict=True):
        assert mine.masked == theirs.masked and mine.corrupted.text == theirs.corrupted.text
    assert [s.score for s in built.score(TEXTS)] == pytest.approx([s.score for s in ours.score(TEXTS)], abs=1e-3)
    assert [word for word, *_ in built.fill("the [MASK] cooked")[0]] == [word for word, *_ in ours.fill("the [MASK] cooked")[0]]
    np.testing.assert_allclose(built.embed(texts), ours.embed(texts), atol=1e-4)


@pytest.mark.parametrize("architecture", ["ElectraForQuestionAnswering", "ElectraOriginalQuestionAnswering"])
def test_questions_are_answered_as_before(architecture: str) -> None:
    source = checkpoint(architecture)
    questions = [("who cooked ?", "the chef cooked the meal ."), ("what ?", "a film"), ("where was it ?", "she walked home in the old city . " * 20)]
    ours = list(load(source, device="cpu").iterate_answers(questions, top_k=3))
    built = list(load(artifact(source)).iterate_answers(questions, top_k=3))
    assert [[a.text for a in row] for row in built] == [[a.text for a in row] for row in ours]
    assert [a.score for row in built for a in row] == pytest.approx([a.score for row in ours for a in row], abs=1e-4)


def test_tags_are_as_before() -> None:
    source = checkpoint("ElectraForTokenClassification")
    ours, built = load(source, device="cpu").tag(TEXTS), load(artifact(source)).tag(TEXTS)
    assert [[w.tag for w in t.words] for t in built] == [[w.tag for w in t.words] for t in ours]
    assert [w.probability for t in built for w in t.words] == pytest.approx([w.probability for t in ours for w in t.words], abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_norms_gelus_and_embeddings_are_one_operation_each(architecture: str) -> None:
    found = operations(fused_model(dense_graph(load_checkpoint(checkpoint(architecture)))))
    assert found["Attention"] == 2 and found["BiasGelu"] >= 2 and found["EmbedLayerNormalization"] == 1
    assert found["LayerNormalization"] >= 4 and "SkipLayerNormalization" not in found
    assert not {"Softmax", "ReduceMean", "Pow", "Sqrt", "Tanh"} & found.keys()
    if architecture != "ElectraOriginalQuestionAnswering":  # whose beam has additional gelus
        assert "Erf" not in found


# ---- fewer bits ----


def drift(target: str, source: Path, **options: Any) -> float:
    """Largest difference of logits between a build and PyTorch, as a share of the logits' spread."""
    pieces = inputs_of([12, 30, 5, 64, 21, 9, 40, 2], 60)
    ours = load(source, device="cpu").network.class_logits(pieces)
    return float(np.abs(load(artifact(source, target, **options)).network.class_logits(pieces) - ours).max() / (ours.max() - ours.min()))


@pytest.mark.parametrize(("target", "most"), [("onnx-fp16", 0.005), ("onnx-int8", 0.08), ("onnx-int8-static", 0.15)])
def test_fewer_bits_move_logits_little(target: str, most: float) -> None:
    source = checkpoint("ElectraForSequenceClassification")
    moved = drift(target, source, texts=RANDOM_TEXTS if TARGETS[target].calibrated else ())
    assert 0 < moved < most


@pytest.mark.parametrize("target", ["onnx-fp16", "onnx-int8", "onnx-int8-static"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_can_be_built_with_fewer_bits(architecture: str, target: str) -> None:
    source = checkpoint(architecture)
    built = load(artifact(source, target, texts=RANDOM_TEXTS[:8] if TARGETS[target].calibrated else ())).network
    ours = load(source, device="cpu").network
    pieces = inputs_of([40, 21, 64], ours.vocab_size)
    for mine, theirs in zip(answers(built, pieces)["hidden_states"], answers(ours, pieces)["hidden_states"], strict=True):
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.98
    assert len(answers(built, pieces)) == len(answers(ours, pieces))


def test_int8_quantizes_products_attention_and_embeddings_and_records_what_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_int8, "SMALLEST_TABLE", 100)
    folder = tmp_path / "built"
    build_artifact(str(checkpoint("ElectraForMaskedLM")), "onnx-int8", folder)
    options = json.loads((folder / "artefact.json").read_text())["build"]["options"]
    assert options["operations"]["QAttention"] == 2 and "Attention" not in options["operations"]
    assert options["excluded"] and all("/head/" in name for name in options["excluded"])
    graph = onnx.load(str(folder / "model.onnx")).graph
    floats = {t.name: int(np.prod(t.dims)) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    read = [name for node in graph.node if node.op_type == "Gather" for name in node.input if floats.get(name, 0) >= 100]
    assert read == ["encoder.embeddings.word.weight_row_scales"]
    # The projection, and of each layer what follows attention and both halves of the feed-forward.
    assert options["operations"]["MatMulInteger"] == 1 + 2 * 3


def test_static_scales_make_an_answer_independent_of_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_int8, "WORSE", math.inf)
    source = checkpoint("ElectraForSequenceClassification")
    pieces = inputs_of([12, 12, 12, 12], 60)

    def apart(target: str, texts: tuple[str, ...]) -> float:
        network = load(artifact(source, target, texts=texts)).network
        return float(np.abs(network.class_logits(pieces) - np.concatenate([network.class_logits([piece]) for piece in pieces])).max())

    assert apart("onnx-int8-static", RANDOM_TEXTS[:16]) < 1e-5 < apart("onnx-int8", ())


def test_an_activation_that_a_fixed_scale_rounds_badly_keeps_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_int8, "WORSE", 0.0)
    source = checkpoint("ElectraForSequenceClassification")
    options = open_artifact(artifact(source, "onnx-int8-static", texts=RANDOM_TEXTS[:4])).manifest["build"]["options"]
    assert options["num_scales"] == 0 and len(options["scales_at_run_time"]) == 8 + 1
    assert drift("onnx-int8-static", source, texts=RANDOM_TEXTS[:4]) == pytest.approx(drift("onnx-int8", source), abs=1e-6)


def test_the_best_range_cuts_a_rare_extreme_off() -> None:
    values = np.random.default_rng(0).normal(size=1 << 18).astype(np.float32)
    values[0] = 40.0
    found = onnx_int8.best_range([values], [(float(values.min()), 40.0)])
    assert 10 < found.high < 36 and found.low < -3 and found.static_error < found.dynamic_error
    assert onnx_int8.rounding_error(np.array([0.0, 1.0, -1.0], dtype=np.float32), -1.0, 1.0) < 2e-5


def test_an_int8_small_is_below_16_mb(tmp_path: Path) -> None:
    """`small` with 30,522 word pieces: the artifact with its tokenizer."""
    config = EncoderConfig(vocab_size=30522, embedding_size=128, hidden_size=256, num_hidden_layers=12, num_attention_heads=4, intermediate_size=1024)
    module = new_module("ElectraForSequenceClassification", config, 2)
    reinitialize(module, 1)
    save_checkpoint(module, tmp_path / "small", labels=("negative", "positive"))
    words = [*checkpoints()["vocab"].read_text().splitlines()]
    words += [f"word{i}" for i in range(30522 - len(words))]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    load_tokenizer(tmp_path / "vocab.txt").save(tmp_path / "small")
    build_artifact(str(tmp_path / "small"), "onnx-int8", tmp_path / "small.zip")
    assert 13_000_000 < (tmp_path / "small.zip").stat().st_size < 16_000_000


# ---- the command ----


def test_build_then_predict_prints_what_the_checkpoint_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = str(checkpoints()["classifier"]), tmp_path / "built.zip"
    (tmp_path / "texts.txt").write_text("the chef cooked the meal\nit was good\tso was she\n")
    assert cli.main(["build", source, "--target", "onnx", "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "building the classifier for onnx" in captured.err and "classifier for onnx" in captured.out
    printed = []
    for model in (source, str(output)):
        assert cli.main(["predict", model, str(tmp_path / "texts.txt")]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and len(printed[0].splitlines()) == 2
    assert cli.main(["inspect", str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "artifact" and found["target"] == "onnx" and found["intact"] is True


def test_a_static_build_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(RANDOM_TEXTS) + "\nthe chef\tcooked\n")
    argv = ["build", str(checkpoints()["discriminator"]), "--target", "onnx-int8-static", "--calibrate", str(tmp_path / "texts.txt")]
    assert cli.main([*argv, "--num-texts", "10", "--output", str(tmp_path / "built"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "unknown tokens: " in printed.err
    manifest = json.loads(printed.out)
    assert manifest["build"]["options"]["num_texts"] == 10 and manifest["role"] == "discriminator"
    assert manifest["build"]["options"]["generator"]["num_texts"] == 10
    assert manifest == json.loads((tmp_path / "built" / "artefact.json").read_text())


def test_a_number_of_texts_is_taken_evenly() -> None:
    assert spread([str(i) for i in range(10)], 5) == ["0", "2", "4", "6", "8"]
    assert spread(["a", "b"], 5) == ["a", "b"]

"""Other people's models in every interface: tables with more rows than the vocabulary, and BERTs with each head."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from served_models import call, in_thread
from tiny_models import SHAPE, checkpoints, vocabulary

from electra import cli
from electra.data.tokenizer import load_tokenizer
from electra.exporting.targets import build_artifact
from electra.inference.pipelines import pipeline
from electra.inference.predictor import load

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MARKED = ("the chef [MASK] the meal", "[MASK] was a [MASK] film")
SIZE = len(vocabulary())
ROWS = SIZE + 13
"""Of a padded table."""


def saved(folder: Path, kind: str, rows: int = ROWS, **more: Any) -> Path:
    """A random model whose rows above the vocabulary are the likeliest of all."""
    torch.manual_seed(21)
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size" or kind.startswith("Electra")}
    config = getattr(transformers, "ElectraConfig" if kind.startswith("Electra") else "BertConfig")(vocab_size=rows, **shape, **more)
    model = getattr(transformers, kind)(config).eval()
    for name, parameter in model.named_parameters():
        if name in ("generator_lm_head.bias", "cls.predictions.bias") and rows > SIZE:
            parameter.data[SIZE:] = 3.0
    model.save_pretrained(folder)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


# ---- tables with more rows than the vocabulary ----


PADDED = [
    case(kind, form=f"{kind} with more rows than tokens", where=("fill", "score", "build", "HTTP", "Python"), outcome="exact")
    for kind in ("ElectraForMaskedLM", "BertForMaskedLM", "BertForPreTraining")
]


def proposals(folder: Path, text: str) -> list[list[dict[str, Any]]]:
    """Those of `transformers` that have a token, for each mask."""
    found = transformers.pipeline("fill-mask", model=str(folder), top_k=ROWS)(text)
    masks = found if isinstance(found[0], list) else [found]
    return [[row for row in rows if row["token"] < SIZE] for rows in masks]


def as_masks(answer: list[Any]) -> list[list[dict[str, Any]]]:
    return answer if isinstance(answer[0], list) else [answer]


def assert_fills(answer: list[Any], expected: list[list[dict[str, Any]]], tolerance: float) -> None:
    for ours, theirs in zip(as_masks(answer), expected, strict=True):
        assert [row["token"] for row in ours] == [row["token"] for row in theirs[: len(ours)]]
        assert [row["score"] for row in ours] == pytest.approx([row["score"] for row in theirs[: len(ours)]], abs=tolerance)


@pytest.mark.parametrize("kind", PADDED)
def test_rows_without_a_token_are_never_proposed(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "m", kind)
    expected = {text: proposals(folder, text) for text in MARKED}
    for target, tolerance in ((None, 1e-5), ("onnx", 1e-4), ("openvino", 1e-4)):
        place = folder
        if target is not None:
            place = tmp_path / target
            build_artifact(str(folder), target, place)
        fill = pipeline("fill-mask", place)
        for text, masks in expected.items():
            assert_fills(fill(text, top_k=4), masks, tolerance)
            assert len(as_masks(fill(text, top_k=ROWS))[0]) == SIZE
    with in_thread("m", places={"m": folder}) as served:
        for text, masks in expected.items():
            assert_fills(call(served.url, "/", {"inputs": text, "parameters": {"top_k": 4}}).json, masks, 1e-5)

    assert cli.main(["score", str(folder), _file(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [token["score"] for token in found["tokens"]] == pytest.approx(likelihoods(folder, kind, "the chef cooked the meal"), abs=1e-4)


def _file(folder: Path) -> str:
    (folder / "texts.txt").write_text("the chef cooked the meal\n")
    return str(folder / "texts.txt")


def likelihoods(folder: Path, kind: str, text: str) -> list[float]:
    """log p of each token with it masked, by `transformers`."""
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), getattr(transformers, kind).from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    out = []
    for at in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[0, at] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = getattr(model(input_ids=masked), "logits", None)
            logits = model(input_ids=masked).prediction_logits if logits is None else logits
        out.append(float(logits[0, at].log_softmax(-1)[ids[0, at]]))
    return out


@pytest.mark.parametrize("generator_rows", [SIZE, ROWS, ROWS + 5])
@conforms(form="ElectraForPreTraining with more rows than tokens", where=("detect", "build", "HTTP"), outcome="exact")
def test_a_discriminator_and_its_generator_with_padded_tables(generator_rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their numbers of rows may differ; samples are always tokens."""
    folder = saved(tmp_path / "m", "ElectraForPreTraining")
    saved(folder / "generator", "ElectraForMaskedLM", generator_rows)
    text = "the chef cooked the meal again and it was good"
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.ElectraForPreTraining.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].sigmoid().numpy()[1:-1]
    build_artifact(str(folder), "onnx", tmp_path / "onnx")
    for place, tolerance in ((folder, 1e-5), (tmp_path / "onnx", 1e-4)):
        (found,) = load(place).detect([text])
        np.testing.assert_allclose([token.probability for token in found.tokens], expected, atol=tolerance)
        for seed in range(6):
            (corruption,) = load(place).corrupt([text], mask_prob=0.5, seed=seed)
            for item in corruption.replacements:
                assert item.sampled in vocabulary() and all(token in vocabulary() for token, _ in item.proposals)
                assert sum(probability for _, probability in item.proposals) <= 1 + 1e-6
    assert cli.main(["detect", str(folder), text, "--corrupt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replacements"]
    with in_thread("m", places={"m": folder}) as served:
        assert call(served.url, "/corrupt", {"inputs": text}).status == 200


def test_a_generator_with_fewer_rows_than_tokens_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "m", "ElectraForPreTraining")
    saved(folder / "generator", "ElectraForMaskedLM", SIZE - 3)
    assert cli.main(["detect", str(folder), "the chef", "--corrupt"]) == 2
    assert "another vocabulary" in capsys.readouterr().err


# ---- unknown words ----


@pytest.mark.parametrize(
    ("command", "kind"), [("predict", "classifier"), ("detect", "discriminator"), ("embed", "discriminator"), ("score", "masked")]
)
def test_the_share_of_unknown_tokens_is_reported(command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, long = checkpoints()[kind], "x" * 101
    (tmp_path / "texts.txt").write_text(f"the chef ☃ cooked the meal ☃\nit was good\n\n{long}\n")
    assert cli.main([command, str(folder), str(tmp_path / "texts.txt")]) == 0
    err = capsys.readouterr().err
    assert "warning: unknown tokens: 27.27% (3 of 11); the most frequent unknown words: '☃' (2)" in err
    assert "unknown words of more than 100 characters: 1" in err
    (tmp_path / "texts.txt").write_text("the chef cooked the meal\n")
    assert cli.main([command, str(folder), str(tmp_path / "texts.txt")]) == 0
    err = capsys.readouterr().err
    assert "unknown tokens: 0.00% (0 of 5)" in err and "warning" not in err


def test_unknown_tokens_of_requests_are_in_the_log_and_the_metrics() -> None:
    with in_thread("classifier") as served:
        assert call(served.url, "/predict", {"inputs": "the chef ☃ cooked ☃"}).status == 200
        assert served.lines()[-1]["unknown_tokens"] == 2
        assert 'electra_unknown_tokens_total{model="classifier"} 2.0' in call(served.url, "/metrics").body.decode()


def test_an_artifact_starts_without_the_table_of_tasks(tmp_path: Path) -> None:
    build_artifact(str(checkpoints()["classifier"]), "onnx", tmp_path / "onnx")
    (tmp_path / "texts.txt").write_text("the chef\n")
    heavy = ("torch", "scipy", "sklearn", "pandas", "pyarrow", "electra.tasks.registry", "electra.data.shards")
    words = ["predict", f"{tmp_path}/onnx", f"{tmp_path}/texts.txt"]
    code = f"import sys; from electra import cli; cli.main({words}); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ---- one segment type ----


@pytest.mark.parametrize(
    "kind",
    [
        case(kind, form="one segment type, a second text", where=("predict", "HTTP"), outcome="refused")
        for kind in ("BertForSequenceClassification", "ElectraForSequenceClassification", "BertForQuestionAnswering")
    ],
)
def test_one_segment_type_reads_single_texts(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`transformers` fails with an IndexError on a pair."""
    folder = saved(tmp_path / "m", kind, SIZE, type_vocab_size=1)
    build_artifact(str(folder), "onnx", tmp_path / "onnx")
    (tmp_path / "pairs.txt").write_text("the chef\tthe meal\n")
    for place in (folder, tmp_path / "onnx"):
        assert cli.main(["predict", str(place), str(tmp_path / "pairs.txt")]) == 2
        assert "type_vocab_size is 1" in capsys.readouterr().err
    if kind != "BertForQuestionAnswering":
        found = pipeline("text-classification", folder)("the chef cooked", top_k=None)
        expected = transformers.pipeline("text-classification", model=str(folder), top_k=None)(["the chef cooked"])
        assert {row["label"]: row["score"] for row in found} == pytest.approx({row["label"]: row["score"] for row in expected[0]}, abs=1e-5)
        (tmp_path / "pairs.csv").write_text("a,b,label\n" + "the chef,the meal,x\nit was,good,y\n" * 3)
        words = ["--train", str(tmp_path / "pairs.csv"), "--dev", str(tmp_path / "pairs.csv"), "--text", "a", "--text-pair", "b"]
        assert cli.main(["finetune", "own", "--model", str(folder), *words, "--output", str(tmp_path / "run")]) == 2
        assert "type_vocab_size is 1" in capsys.readouterr().err
        with in_thread("m", places={"m": folder}) as served:
            answer = call(served.url, "/predict", {"inputs": [["the chef", "the meal"]]})
        assert answer.status == 422 and "type_vocab_size" in answer.body.decode()


# ---- other networks in artifacts ----


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        *(
            case("BertForSequenceClassification", {"hidden_act": name}, form=f"hidden_act {name}", where="build", outcome="exact")
            for name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "silu", "mish")
        ),
        case("ElectraForSequenceClassification", {"hidden_act": "relu"}, form="ELECTRA with hidden_act relu", where="build", outcome="exact"),
        case("BertForMaskedLM", {"tie_word_embeddings": False}, form="BertForMaskedLM, tie_word_embeddings false", where="build", outcome="exact"),
        case(
            "ElectraForMaskedLM", {"tie_word_embeddings": False}, form="ElectraForMaskedLM, tie_word_embeddings false", where="build", outcome="exact"
        ),
        case("BertForSequenceClassification", {"type_vocab_size": 1}, form="one segment type, single texts", where="build", outcome="exact"),
        case("BertForSequenceClassification", {"layer_norm_eps": 1e-3}, form="layer_norm_eps", where="build", outcome="exact"),
    ],
)
def test_artifacts_of_other_networks(kind: str, config: dict[str, Any], target: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", kind, ROWS, **config)
    build_artifact(str(folder), target, tmp_path / target)
    if kind.endswith("MaskedLM"):
        assert_fills(pipeline("fill-mask", tmp_path / target)(MARKED[0], top_k=4), proposals(folder, MARKED[0]), 1e-4)
        return
    found = pipeline("text-classification", tmp_path / target)(["the chef cooked"], top_k=None)
    expected = transformers.pipeline("text-classification", model=str(folder), top_k=None)(["the chef cooked"])
    assert {row["label"]: row["score"] for row in found[0]} == pytest.approx({row["label"]: row["score"] for row in expected[0]}, abs=1e-4)

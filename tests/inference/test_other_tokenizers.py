"""Models with tokenizers that are not BERT's: every interface answers as `transformers` does, and what is saved opens there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case
from served_models import call, in_thread
from tiny_models import SHAPE
from tokenizer_folders import JSON, NAMES, TEXTS, trained, write
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, normalizers, pre_tokenizers, processors

import electra
from electra.cli import main
from electra.data.tokenizer import load_tokenizer
from electra.model.huggingface import load_checkpoint, save_checkpoint

LINES = [TEXTS[0], TEXTS[1], "the lazy dog, à la carte!", "한국어 각 ひらがな 他说中文"]


def byte_level() -> Backend:
    backend = trained("BPE", pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC(), decoders.ByteLevel())
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), backend.post_processor])
    return backend


KINDS: dict[str, Callable[[], Backend]] = {
    "byte-level BPE": byte_level,
    "Unigram with Metaspace": lambda: trained("Unigram", pre_tokenizers.Metaspace(), normalizers.NFKC(), decoders.Metaspace()),
    "BPE with the suffix </w>": lambda: trained(
        "BPE", pre_tokenizers.BertPreTokenizer(), normalizers.Lowercase(), decoders.BPEDecoder(), end_of_word_suffix="</w>"
    ),
    "WordPiece with NFC and Lowercase": lambda: trained(
        "WordPiece", pre_tokenizers.BertPreTokenizer(), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), decoders.WordPiece()
    ),
}
PLACES = ("pipeline", "build")
CASES = [
    case(name, segments, form=f"{name}{'' if segments else ', no token_type_ids'}", where=PLACES, outcome="exact", section="tokenizers")
    for name in KINDS
    for segments in (True, False)
]


def without_score(rows: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "score"} for row in rows]


def model_folder(folder: Path, name: str, head: str, segments: bool = True) -> Path:
    """A random ELECTRA of `transformers` with a tokenizer of this kind."""
    transformers = pytest.importorskip("transformers")
    import torch

    backend = KINDS[name]()
    torch.manual_seed(3)
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    size = backend.get_vocab_size()
    config = transformers.ElectraConfig(
        vocab_size=size, id2label=labels, label2id={v: k for k, v in labels.items()}, **{**SHAPE, "max_position_embeddings": 256}
    )
    getattr(transformers, head)(config).eval().save_pretrained(folder)
    names = {} if segments else {"model_input_names": ["input_ids", "attention_mask"]}
    return write(folder, tokenizer__json=backend.to_str(), tokenizer_config__json=JSON | NAMES | {"model_max_length": 256} | names)


@pytest.mark.parametrize(("name", "segments"), CASES)
def test_classification_of_texts_and_pairs(name: str, segments: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_folder(tmp_path / "model", name, "ElectraForSequenceClassification", segments)
    theirs = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    ours = electra.pipeline("text-classification", str(folder))
    pairs = list(pairwise(LINES))
    for inputs, same in ((LINES, LINES), (pairs, [{"text": a, "text_pair": b} for a, b in pairs])):
        for found, expected in zip(ours(inputs, top_k=None), theirs(same), strict=True):
            assert [row["label"] for row in found] == [row["label"] for row in expected]
            np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=2e-5)
    artifact = tmp_path / "artifact"
    assert main(["build", str(folder), "--target", "onnx", "--output", str(artifact)]) == 0
    capsys.readouterr()
    for found, expected in zip(electra.pipeline("text-classification", str(artifact))(LINES, top_k=None), theirs(LINES), strict=True):
        np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-4)
    assert load_tokenizer(artifact).fingerprint == load_tokenizer(folder).fingerprint
    opened = transformers.AutoTokenizer.from_pretrained(str(artifact))
    assert opened(LINES)["input_ids"] == theirs.tokenizer(LINES)["input_ids"]


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification_groups_words_alike(name: str, strategy: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_folder(tmp_path, name, "ElectraForTokenClassification")
    theirs = transformers.pipeline("token-classification", model=str(folder), aggregation_strategy=strategy)
    ours = electra.pipeline("token-classification", str(folder))
    for line in LINES:
        found: Any = ours(line, aggregation_strategy=strategy)
        expected = theirs(line)
        assert [{k: v for k, v in row.items() if k != "score"} for row in found] == [
            {k: v for k, v in row.items() if k != "score"} for row in expected
        ]
        np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=2e-5)


@pytest.mark.parametrize("name", list(KINDS))
def test_masks_are_filled_alike(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_folder(tmp_path, name, "ElectraForMaskedLM")
    theirs = transformers.pipeline("fill-mask", model=str(folder))
    ours = electra.pipeline("fill-mask", str(folder))
    for text in ("the quick <mask> fox jumps", "<mask> la carte"):
        found, expected = ours(text), theirs(text)
        assert [row["token"] for row in found] == [row["token"] for row in expected]
        assert [row["sequence"] for row in found] == [row["sequence"] for row in expected]
        assert [row["token_str"] for row in found] == [row["token_str"] for row in expected]
        np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=2e-5)
        assert ours(text.replace("<mask>", "[MASK]")) == found


@pytest.mark.parametrize("name", list(KINDS))
def test_a_dataset_keeps_the_tokenizer(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_folder(tmp_path / "model", name, "ElectraForPreTraining", False)
    (tmp_path / "corpus.txt").write_text("\n\n".join(TEXTS[:10] * 5), encoding="utf-8")
    assert main(["prepare", str(tmp_path / "corpus.txt"), "--tokenizer", str(folder), "--output", str(tmp_path / "shards"), "--workers", "1"]) == 0
    opened = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "shards" / "tokenizer"))
    pair = opened(LINES[0], LINES[1])
    assert pair["input_ids"] == transformers.AutoTokenizer.from_pretrained(str(folder))(LINES[0], LINES[1])["input_ids"]
    assert set(pair["token_type_ids"]) == {0, 1}
    save_checkpoint(load_checkpoint(folder).module, tmp_path / "again", tokenizer=tmp_path / "shards" / "tokenizer")
    again = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "again"))
    assert (type(again).__name__, again.model_max_length) == ("TokenizersBackend", 256)
    assert again(LINES)["input_ids"] == opened(LINES)["input_ids"]


@pytest.mark.parametrize(
    "name", [case(name, form=f"{name}, mask token <mask>", where="HTTP", outcome="exact", section="tokenizers") for name in KINDS]
)
def test_a_text_with_the_tokenizers_mask_is_filled_over_http(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_folder(tmp_path / "model", name, "ElectraForMaskedLM")
    expected = transformers.pipeline("fill-mask", model=str(folder))("the quick <mask> fox jumps")
    with in_thread("model", places={"model": folder}) as served:
        found = call(served.url, "/", {"inputs": "the quick <mask> fox jumps"}).json
    assert [(row["token"], row["sequence"]) for row in found] == [(row["token"], row["sequence"]) for row in expected]
    np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=2e-5)

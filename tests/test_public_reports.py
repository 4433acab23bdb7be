"""Files of public reports (docs/compatibility.md): each form, made small, is answered as its own library answers, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from tensorflow_checkpoints import random_model
from tiny_models import SHAPE, TEXTS, vocabulary

from electra.cli import main
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.inference.predictor import load

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

BERT = {key: value for key, value in SHAPE.items() if key != "embedding_size"}


def write_vocabulary(folder: Path, pieces: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in pieces).encode())


def bert(folder: Path, kind: str = "BertModel", **more: Any) -> Path:
    """A BERT of `transformers` with random weights and a lower-casing vocab.txt."""
    random_model(kind, transformers.BertConfig(vocab_size=len(vocabulary()), **BERT, **more), 5).save_pretrained(folder)
    write_vocabulary(folder, vocabulary())
    return folder


def changed(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


# ---- tokenizers ----


def line_separators(folder: Path) -> None:
    write_vocabulary(folder, [*vocabulary()[:40], "\u2028", "\u0085", *vocabulary()[40:]])


def truncating(folder: Path) -> None:
    write_vocabulary(folder, vocabulary())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def added_name(folder: Path) -> None:
    write_vocabulary(folder, vocabulary())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["Somespecialcompany"])
    tokenizer.save_pretrained(folder)


def accents_kept(folder: Path) -> None:
    write_vocabulary(folder, [*vocabulary(), "é", "##é", "ö", "##ö"])
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')


def hangul(folder: Path) -> None:
    write_vocabulary(folder, [*vocabulary(), "한", "##국", "국", "##한"])


def token(make: Callable[[Path], None], form: str) -> Any:
    return case(make, form=form, where="load", outcome="exact", section="tokenizers")


@pytest.mark.parametrize(
    "make",
    [
        token(line_separators, "vocab.txt with U+2028 and U+0085 as entries"),
        token(truncating, "tokenizer.json with truncation and padding switched on"),
        token(added_name, "added token with capitals, lower-casing tokenizer"),
        token(accents_kept, "do_lower_case with strip_accents false"),
        token(hangul, "composed Hangul, accents stripped"),
    ],
)
def test_ids_of_reported_tokenizers(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Ids of a model folder's tokenizer equal those of AutoTokenizer."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    make(folder)
    oracle, ours = transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    for text in (*TEXTS, "The Chef ate\u2028soup", "Somespecialcompany ate, somespecialcompany", "schön", "한국 한", "the \x85 chef"):
        assert ours.encode([text])[0] == oracle(text, add_special_tokens=False)["input_ids"], text


# ---- weights ----


@conforms(form="sentence-transformers, mean of all tokens, normalized", where="embed", outcome="exact")
def test_the_mean_of_all_tokens(tmp_path: Path) -> None:
    sentence_modules(tmp_path / "m", "mean_tokens", "Normalize")
    model, tokenizer = transformers.AutoModel.from_pretrained(tmp_path / "m"), transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    with torch.no_grad():
        found = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in TEXTS[:3]]
    expected = torch.nn.functional.normalize(torch.stack(found)).numpy()
    np.testing.assert_allclose(load(tmp_path / "m").embed(TEXTS[:3]), expected, atol=1e-5)


@conforms(form="sentence-transformers BERT: names without 'bert.', or with it and gamma, beta", where="embed", outcome="exact")
@pytest.mark.parametrize("old", [False, True])
def test_encoder_names_of_both_ages(old: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = bert(tmp_path / "m", "BertForMaskedLM" if old else "BertModel")
    if old:
        tensors = load_file(folder / "model.safetensors")
        renamed = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in tensors.items()}
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    model, tokenizer = transformers.AutoModel.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for text, states in zip(TEXTS[:2], load(folder).token_vectors(TEXTS[:2]), strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        np.testing.assert_allclose(states, expected, atol=1e-4)


def foreign_code(folder: Path) -> None:
    code = {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}
    changed(bert(folder), architectures=["JinaBertModel"], auto_map=code, position_embedding_type="alibi")


def pruned(folder: Path) -> None:
    changed(bert(folder), pruned_heads={"0": [1]})


def adapter(folder: Path) -> None:
    bert(folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"}))


def parallel(folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(bert(folder) / "model.safetensors")
    torch.save({f"module.{name}": value for name, value in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def sentence_modules(folder: Path, mode: str, *more: str) -> None:
    """A folder as sentence-transformers writes it: `mode` of pooling, and further modules."""
    bert(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", **{f"{i}_{kind}": kind for i, kind in enumerate(more, start=2)}}
    modules = [{"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(kinds.items())]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))


def dense_module(folder: Path) -> None:
    sentence_modules(folder, "mean_tokens", "Dense", "Normalize")


def adapter_inside(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(bert(folder) / "model.safetensors")
    tensors |= {f"encoder.layer.0.attention.self.query.lora_{part}.default.weight": torch.ones(2, 32) for part in "AB"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def norm_twice(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(bert(folder) / "model.safetensors")
    save_file(tensors | {"embeddings.LayerNorm.gamma": torch.ones(32)}, folder / "model.safetensors", metadata={"format": "pt"})


def quantized(folder: Path) -> None:
    changed(bert(folder), quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})


def refused(make: Callable[[Path], None], message: str, form: str) -> Any:
    return case(make, message, form=form, where="embed", outcome="refused")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        refused(foreign_code, "auto_map", "model_type bert with code of its own (auto_map)"),
        refused(pruned, "pruned_heads", "config.json with pruned_heads"),
        refused(adapter, "adapter_config.json", "LoRA adapter without its base model"),
        refused(adapter_inside, "belongs to an adapter", "LoRA matrices among the weights"),
        refused(norm_twice, "one and the same", "a norm under both of its names"),
        refused(parallel, "module.", "state dict of DataParallel (module.)"),
        refused(dense_module, "2_Dense has no model.safetensors", "sentence-transformers with a Dense module without weights"),
        refused(quantized, "quantization_config", "weights quantized by bitsandbytes"),
    ],
)
def test_reported_files_that_would_be_answered_wrongly(
    make: Callable[[Path], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`transformers` opens most of these with other layers or random weights; here one line names the field."""
    make(tmp_path / "m")
    (tmp_path / "texts.txt").write_text("the chef\n")
    capsys.readouterr()
    assert main(["embed", str(tmp_path / "m"), str(tmp_path / "texts.txt"), "--output", str(tmp_path / "out.npy")]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1, error
    assert not (tmp_path / "out.npy").exists()


@conforms(form="masked LM whose head is missing", where="fill", outcome="refused")
def test_a_masked_lm_without_its_head(tmp_path: Path) -> None:
    folder = changed(bert(tmp_path / "m"), architectures=["BertForMaskedLM"])
    with pytest.raises(UserError, match=r"cls\.predictions"):
        load(folder).fill("the [MASK] ate")


@conforms(form="tagger with a CRF that its class does not have", where="predict", outcome="exact")
def test_weights_that_transformers_ignores_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    folder = bert(tmp_path / "m", "BertForTokenClassification", id2label={0: "O", 1: "B-X"})
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"crf.transitions": torch.ones(2, 2)}, folder / "model.safetensors", metadata={"format": "pt"})
    theirs = transformers.pipeline("token-classification", model=str(folder), ignore_labels=[])("the chef ate")
    (tmp_path / "texts.txt").write_text("the chef ate\n")
    capsys.readouterr()
    assert main(["predict", str(folder), str(tmp_path / "texts.txt")]) == 0
    printed = capsys.readouterr()
    assert "not used, as in transformers: crf.transitions" in printed.err
    assert [line.split("\t") for line in printed.out.splitlines() if line] == [[token["word"], token["entity"]] for token in theirs][:3]

"""pretrain --init --new-vocabulary: which tokens two vocabularies share, what the others start from, and that all else is the checkpoint's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_forms
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from pretraining_runs import shards as shards  # a fixture
from safetensors.torch import load_file
from scipy.optimize import minimize
from sklearn.metrics.pairwise import cosine_similarity

from electra.cli import main
from electra.contracts import WordStatistics
from electra.data.adapted_vocabulary import VECTOR_DIMENSIONS, shared_tokens, similar_tokens, sparsemax
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_template
from electra.data.word_statistics import word_statistics
from electra.pretraining.setup import open_corpus, read_run

WORDS = "embeddings.word_embeddings.weight"
SHAPE: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40, "max_position_embeddings": 40}
QUICK = "--num-train-steps 4 --batch-size 4 --dropout 0 --sequence-length 32 --show-examples 0 --device cpu --threads 1".split()


def data_tokenizer(shards: Path) -> Tokenizer:
    return load_tokenizer(shards.parent / "vocab")


def tokenizer_of(folder: Path, pieces: list[str], **rules: Any) -> Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    found = load_tokenizer(folder / "vocab.txt", **rules)
    (folder / "vocab.txt").unlink()
    found.save(folder)
    return found


def source_of(folder: Path, shards: Path, name: str = "BertModel", **config: Any) -> Tokenizer:
    """A random checkpoint of another vocabulary: two of three of the data's tokens in another order, and some of its own."""
    rest = [piece for index, piece in enumerate(data_tokenizer(shards).pieces[5:]) if index % 3]
    pieces = [*SPECIAL_PIECES, "zebra", *reversed(rest), "##xyz"]
    hf_forms.make(name, folder, **{"vocab_size": len(pieces) + 3, **SHAPE, **config})
    return tokenizer_of(folder, pieces)


def pretrain(preset: object, shards: Path, run: Path, source: Path, *flags: object) -> int:
    words = ["pretrain", str(preset), "--data", str(shards), "--output", str(run), "--init", str(source), "--new-vocabulary"]
    return main([*words, *QUICK, *map(str, flags)])


# ---- which tokens ----


def test_tokens_are_shared_by_string_place_and_role(tmp_path: Path) -> None:
    old = tokenizer_of(tmp_path / "old", [*SPECIAL_PIECES, "the", "##ing", "ing", "paris", "7", "\u6570"])
    roles = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    new = tokenizer_of(tmp_path / "new", [*SPECIAL_PIECES, "Paris", "ing", "##s", "[unused1]", "\u6570", "7", "PARIS"], lowercase=False)
    assert shared_tokens(new, old).tolist() == [0, 1, 2, 3, 4, 8, 7, -1, -1, 10, 9, 8]
    assert shared_tokens(old, new)[5:].tolist() == [-1, -1, 6, -1, 10, 9], "a cased vocabulary's strings are compared as they are"
    # The roles of a tokenizer with other names for them.
    renamed = json.loads(old.backend.to_str())
    for name, role in zip(SPECIAL_PIECES, roles, strict=True):
        renamed["model"]["vocab"][role] = renamed["model"]["vocab"].pop(name)
    renamed["model"]["unk_token"] = "<unk>"
    renamed["added_tokens"] = [
        {**token, "content": roles[SPECIAL_PIECES.index(token["content"])]} for token in renamed["added_tokens"] if token["content"] in SPECIAL_PIECES
    ]
    renamed["post_processor"] = None
    backend = tokenizers.Tokenizer.from_str(json.dumps(renamed))
    bert_template(backend, *roles[2:4])
    (tmp_path / "renamed").mkdir()
    backend.save(str(tmp_path / "renamed" / "tokenizer.json"))
    names = {f"{role}_token": name for role, name in zip(("pad", "unk", "cls", "sep", "mask"), roles, strict=True)}
    (tmp_path / "renamed" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    other = load_tokenizer(tmp_path / "renamed")
    assert shared_tokens(new, other).tolist() == shared_tokens(new, old).tolist()


def test_sparsemax_is_the_nearest_distribution() -> None:
    scores = np.random.default_rng(1).normal(0.2, 0.5, (5, 7))
    for row, found in zip(scores, sparsemax(scores), strict=True):
        limits: Any = {"bounds": [(0, 1)] * 7, "constraints": {"type": "eq", "fun": lambda p: p.sum() - 1}}
        nearest = minimize(lambda p, row=row: ((p - row) ** 2).sum(), np.full(7, 1 / 7), options={"ftol": 1e-14}, **limits)
        assert np.abs(nearest.x - found).max() < 1e-6 and abs(found.sum() - 1) < 1e-9
    assert (sparsemax(np.array([[0.9, 0.1, 0.0]])) > 0).sum() == 2 and sparsemax(np.array([[5.0, 0.0]])).tolist() == [[1.0, 0.0]]


def test_new_tokens_are_mixed_from_shared_ones_used_alike() -> None:
    """Weights are those of the cosines; rare and uncounted tokens give and get nothing."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(8, 5)).astype(np.float32)
    vectors[6] = 0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    counts = np.array([500, 40, 30, 20, 9, 400, 0, 10])
    logs = np.log(counts + 1.0)
    words = WordStatistics(log_frequencies=(logs - logs.mean()).astype(np.float32), vectors=vectors, num_tokens=int(counts.sum()))
    shared = np.array([11, -1, 3, -1, 7, 0, -1, 2])
    found = similar_tokens(shared, words, 12)
    assert found.shape == (8, 12) and found.getnnz(1).astype(bool).tolist() == [False, True, False, True, False, False, False, False]
    anchors = [0, 2, 5, 7]  # token 4 occurs 9 times, token 7 ten times
    for token in (1, 3):
        expected = np.zeros(12)
        expected[shared[anchors]] = sparsemax(cosine_similarity(vectors[[token]], vectors[anchors]))[0]
        assert np.abs(found[[token]].toarray()[0] - expected).max() < 1e-6
    assert similar_tokens(np.full(8, -1), words, 12).nnz == 0
    assert not similar_tokens(shared, words, 12, (0, 2))[[1]].toarray()[0, [11, 3]].any(), "special tokens are used like no word"


# ---- the run ----


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("BertModel", "--mlm-first 0.5"),
        ("BertForMaskedLM", "--objective mlm"),
        ("ElectraForPreTraining", "--mlm-first 0"),
        ("BertModel", "--mlm-first 0.5 --new-token-init mean"),
        ("BertModel", "--mlm-first 0.5 --new-token-init random"),
    ],
)
def test_rows_are_moved_and_mixed_and_the_rest_is_the_checkpoints(
    name: str, flags: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    old = source_of(source, shards, name)
    if name == "ElectraForPreTraining":
        hf_forms.make("ElectraForMaskedLM", source / "generator", **{"vocab_size": old.vocab_size + 3, **SHAPE})
    preset = "continue-mlm" if "objective" in flags else "continue"
    words = [word for word in flags.split() if word not in ("--objective", "mlm")]
    assert pretrain(preset, shards, run, source, "--learning-rate", 0, *words) == 0
    said = capsys.readouterr().err
    new = data_tokenizer(shards)
    before = transformers.AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    after = transformers.AutoModel.from_pretrained(run / "final", dtype=torch.float32).eval()
    for key, value in before.state_dict().items():
        if key != WORDS and "pooler" not in key and "position_ids" not in key:
            assert torch.equal(after.state_dict()[key], value), key
    table, rows = before.state_dict()[WORDS], after.state_dict()[WORDS]
    shared = torch.tensor([old.pieces.index(piece) if piece in old.pieces else -1 for piece in new.pieces])
    assert len(rows) == new.vocab_size and torch.equal(rows[shared >= 0], table[shared[shared >= 0]]) and 20 < (shared < 0).sum() < 40
    others, mean = rows[shared < 0], table[: old.vocab_size].mean(0)
    assert f"new vocabulary of {new.vocab_size}: {int((shared >= 0).sum())} tokens have the embeddings that they have in" in said
    if "mean" in flags:
        assert torch.allclose(others, mean.expand_as(others), atol=1e-6) and "as the mean of all" in said
    elif "random" in flags:
        assert others.std(0).mean() == pytest.approx(table[: old.vocab_size].std(0).mean().item(), rel=0.4) and "start at random" in said
        assert not torch.allclose(others[0], others[1], atol=1e-3)
    else:
        corpus = open_corpus(read_run(run))
        counted = word_statistics(corpus.train, (), new.vocab_size, VECTOR_DIMENSIONS)
        occurrences = np.bincount(np.asarray(corpus.train[0].ids[:], np.int64), minlength=new.vocab_size)
        special = np.isin(np.arange(new.vocab_size), list(new.special_ids))
        anchors = np.flatnonzero((shared.numpy() >= 0) & (occurrences >= 10) & counted.vectors.any(1) & ~special)
        mixed = [index for index in np.flatnonzero(shared.numpy() < 0) if counted.vectors[index].any()]
        weights = sparsemax(cosine_similarity(counted.vectors[mixed], counted.vectors[anchors]))
        expected = torch.from_numpy(weights).float() @ table[shared[torch.from_numpy(anchors)]]
        assert len(mixed) > 5 and torch.allclose(rows[mixed], expected, atol=1e-5) and f"{len(mixed)} are means of those" in said
    assert (run / "mlm-first" / "final").exists() == ("mlm-first 0.5" in flags)
    assert ("is not used: it knows the old vocabulary's tokens" in said) == (name == "ElectraForPreTraining")
    if name == "BertForMaskedLM":
        head = transformers.BertForMaskedLM.from_pretrained(run / "final", dtype=torch.float32).cls.predictions
        theirs = transformers.BertForMaskedLM.from_pretrained(source, dtype=torch.float32).cls.predictions
        assert torch.equal(head.transform.dense.weight, theirs.transform.dense.weight)
        counts = np.bincount(np.asarray(open_corpus(read_run(run)).train[0].ids[:], np.int64), minlength=new.vocab_size) + 1.0
        assert np.allclose(head.decoder.bias.detach().numpy(), np.log(counts) - np.log(counts).mean(), atol=1e-5)
    else:
        generator = transformers.ElectraForMaskedLM.from_pretrained(run / "final" / "generator", dtype=torch.float32)
        assert torch.equal(generator.electra.embeddings.word_embeddings.weight, rows)
    assert "new vocabulary of" in (run / "final" / "README.md").read_text()


def test_the_generator_has_the_head_of_the_masked_lm(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It starts as the lowest layers of the encoder that the first phase trained, with that phase's head."""
    source, run = tmp_path / "source", tmp_path / "run"
    source_of(source, shards)
    flags = "--mlm-first 0.5 --mlm-first-learning-rate 1e-3 --learning-rate 1e-30 --num-train-steps 8".split()
    assert pretrain("continue", shards, run, source, *flags) == 0
    said = capsys.readouterr().err
    assert "the lowest 1 of its 3 layers and its masked-LM head" in said and "--init-generator" not in said
    first = load_file(run / "mlm-first" / "final" / "model.safetensors")
    generator = load_file(run / "final" / "generator" / "model.safetensors")
    for name in ("generator_predictions.dense.weight", "generator_lm_head.bias", f"electra.{WORDS}"):
        assert torch.allclose(generator[name], first[name], atol=1e-6), name


def test_it_resumes_to_the_bit_and_repeats_itself(shards: Path, tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    source_of(source, shards)
    flags = "--mlm-first 0.5 --num-train-steps 8 --learning-rate 1e-2 --checkpoint-every 1 --keep-checkpoints 9".split()
    assert pretrain("continue", shards, run, source, *flags) == 0
    final = load_file(run / "final" / "model.safetensors")
    for folder in ("final", "checkpoints/step-00000004", "checkpoints/step-00000003"):
        (run / folder).rename(tmp_path / folder.replace("/", "-"))
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert all(torch.equal(load_file(run / "final" / "model.safetensors")[name], value) for name, value in final.items())
    assert main(["pretrain", str(run / "config.toml"), "--output", str(tmp_path / "again")]) == 0
    assert all(torch.equal(load_file(tmp_path / "again" / "final" / "model.safetensors")[name], value) for name, value in final.items())


def test_frozen_layers_stay_in_the_first_phase_alone(shards: Path, tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    source_of(source, shards)
    (tmp_path / "frozen.toml").write_text('base = "continue"\n[model]\nfreeze_layers = true\n')
    assert pretrain(tmp_path / "frozen.toml", shards, run, source, "--mlm-first", 0.5, "--num-train-steps", 8, "--learning-rate", "1e-2") == 0
    before = load_file(source / "model.safetensors")
    first = {name.removeprefix("electra."): value for name, value in load_file(run / "mlm-first" / "final" / "model.safetensors").items()}
    last = {name.removeprefix("electra."): value for name, value in load_file(run / "final" / "model.safetensors").items()}
    layers = [name for name in before if name.startswith("encoder.layer.")]
    assert len(layers) > 40 and all(torch.equal(first[name], before[name]) for name in layers)
    position = "embeddings.position_embeddings.weight"
    assert not torch.equal(first[position], before[position]), "embeddings learn"
    assert not any(torch.equal(last[name], before[name]) for name in layers if name.endswith("output.dense.weight"))


def same_vocabulary(folder: Path, shards: Path) -> None:
    hf_forms.make("BertModel", folder, vocab_size=data_tokenizer(shards).vocab_size, **SHAPE)
    data_tokenizer(shards).save(folder)


def no_tokenizer(folder: Path, shards: Path) -> None:
    source_of(folder, shards)
    for file in [*folder.glob("*token*"), *folder.glob("vocab.txt")]:
        file.unlink()


def not_wordpiece(folder: Path, shards: Path) -> None:
    source_of(folder, shards)
    rules = json.loads((folder / "tokenizer.json").read_text())
    vocab = rules["model"]["vocab"]
    rules["model"] = {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "mask_token": "[MASK]"})
    )


@pytest.mark.parametrize(
    ("prepare", "flags", "message"),
    [
        (same_vocabulary, "--new-vocabulary", "has the data's vocabulary already; leave it out"),
        (no_tokenizer, "--new-vocabulary", "has no tokenizer, whose tokens the data's are compared with"),
        (not_wordpiece, "--new-vocabulary", "a WordLevel tokenizer cannot be compared with another"),
        (
            source_of,
            "--new-vocabulary --init-generator shipped:mini",
            "--init-generator: with --new-vocabulary the generator starts from --init's encoder",
        ),
        (source_of, "--new-token-init mean", "--new-token-init is for --new-vocabulary"),
        (source_of, "", "vocabulary (60 pieces) differs from the data's (85)"),
    ],
)
def test_what_does_not_fit_is_one_line(
    prepare: Any, flags: str, message: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path / "source", shards)
    capsys.readouterr()
    words = ["pretrain", "continue", "--data", str(shards), "--output", str(tmp_path / "run"), "--init", str(tmp_path / "source")]
    assert main([*words, *QUICK, *flags.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_without_a_checkpoint(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "mini", "--data", str(shards), "--output", str(tmp_path / "run"), *QUICK]
    assert main([*words, "--new-vocabulary"]) == 2
    assert "--new-vocabulary keeps what --init CHECKPOINT knows of the data's tokens; give --init" in capsys.readouterr().err
    (tmp_path / "frozen.toml").write_text('base = "mini"\n[model]\nfreeze_layers = true\n')
    assert main([words[0], str(tmp_path / "frozen.toml"), *words[2:]]) == 2
    assert "freeze_layers is for the masked LM of --new-vocabulary" in capsys.readouterr().err

"""electra vocab --extend: new words are tokens for us and for `tokenizers`; old rows stay; `transformers` and --init take the result."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import SHAPE, Oracle, checkpoints

from electra.cli import main
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import count_words, extend_tokenizer
from electra.model.huggingface import load_checkpoint

DOMAIN = "Zebrafish embryos, zebrafish larvae; the zebrafish [MASK] cooked quickly.\nembryos walk — Ünïque 数 quickly zebrafish\nthe chef quickly ate"
TEXTS = [f"{DOMAIN} {number}" for number in ("one", "two", "three", "long")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("domain") / "a.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def extended(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extended") / "out"
    source = str(checkpoints()["discriminator"])
    assert main(["vocab", str(corpus), "--documents", "blank-line", "--extend", source, "--size", "4", "--output", str(folder)]) == 0
    return folder


def test_words_are_counted_as_the_pretokenizer_splits_them() -> None:
    tokenizer = load_tokenizer(checkpoints()["lone"])
    texts = [DOMAIN, "a\x0bb c\x85d e\u0301é 中文x don't", "", "  "]
    expected: Counter[str] = Counter()
    for text in texts:
        for line in text.split("\n"):
            expected.update(w for w, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str(tokenizer.backend.normalizer.normalize_str(line)))
    assert count_words(texts, tokenizer) == expected
    assert expected["zebrafish"] == 4


def test_words_that_save_most_tokens_come_first() -> None:
    tokenizer = load_tokenizer(checkpoints()["lone"])
    counts = Counter({"the": 1000, "zebrafish": 3, "walks": 30, "walking": 20, "cooked": 50, "embryos": 1, "😀": 4, "x" * 200: 99})
    found = extend_tokenizer(tokenizer, counts, 10)
    # walk is not in this vocabulary, so walks and walking are letters and an ending.
    pieces = {word: len(ids) for word, ids in zip(counts, tokenizer.encode(list(counts)), strict=True)}
    worth = {word: counts[word] * (pieces[word] - 1) for word in ("walks", "walking", "zebrafish")} | {"😀": 4}
    assert list(found.words) == sorted(worth, key=lambda word: -worth[word])
    assert found.tokenizer.pieces == [*tokenizer.pieces, *found.words]
    at = list(found.words).index("zebrafish")
    assert [tokenizer.pieces[i] for i in found.parts[at]] == ["z", *(f"##{c}" for c in "ebrafish")]
    assert found.before["tokens_per_word"] > found.after["tokens_per_word"] > 1


def test_new_words_are_whole_for_us_and_for_tokenizers(extended: Path) -> None:
    import tokenizers
    import transformers

    ours, theirs = load_tokenizer(extended), tokenizers.Tokenizer.from_file(str(extended / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(extended)
    old = load_tokenizer(checkpoints()["discriminator"])
    assert ours.vocab_size == old.vocab_size + 4 and ours.pieces[: old.vocab_size] == old.pieces
    assert set(ours.pieces[old.vocab_size :]) >= {"zebrafish", "embryos"}
    assert ours.fingerprint == load_tokenizer(extended / "vocab.txt").fingerprint
    for text in [*DOMAIN.split("\n"), "Zebrafishes zebra,zebrafish embryo QUICKLY"]:
        ids = ours.encode([text])[0]
        assert ids == theirs.encode(text, add_special_tokens=False).ids == auto(text, add_special_tokens=False)["input_ids"]
    assert [ours.pieces[i] for i in ours.encode(["the Zebrafish embryos"])[0]] == ["the", "zebrafish", "embryos"]


@pytest.mark.parametrize(("kind", "place"), [("ElectraForPreTraining", "."), ("ElectraForMaskedLM", "generator")])
def test_old_rows_stay_and_new_ones_are_means(kind: str, place: str, extended: Path) -> None:
    """`transformers` opens both; on text of old tokens the answers are unchanged, to the bit where rows alone decide."""
    before, after = Oracle(kind, checkpoints()["discriminator"] / place), Oracle(kind, extended / place)
    old, new = load_tokenizer(checkpoints()["discriminator"]), load_tokenizer(extended)
    rows, grown = before.model.electra.embeddings.word_embeddings.weight, after.model.electra.embeddings.word_embeddings.weight
    assert torch.equal(grown[: old.vocab_size], rows)
    counts = count_words(TEXTS, old)
    for index in range(old.vocab_size, new.vocab_size):
        parts = old.encode([new.pieces[index]])[0]
        assert len(parts) > 1
        assert torch.allclose(grown[index], rows[parts].mean(0), atol=1e-6)
        if place == "generator":
            occurrences = {piece: sum(count * old.encode([word])[0].count(piece) for word, count in counts.items()) for piece in parts}
            shift = np.log(counts[new.pieces[index]] + 1) - np.mean([np.log(occurrences[piece] + 1) for piece in parts])
            bias, was = after.model.generator_lm_head.bias, before.model.generator_lm_head.bias
            assert bias[index].item() == pytest.approx(was[parts].mean().item() + shift, abs=1e-5)
    text = "the chef cooked the meal"
    one, two = before.logits(text), after.logits(text)
    assert np.allclose(one, two[..., : one.shape[-1]], atol=1e-6)


def test_pretraining_continues_from_it_and_refuses_another_vocabulary(
    extended: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--workers", "1", "--held-out", "0", "--documents", "blank-line"]
    assert main(["prepare", str(corpus), "--tokenizer", str(extended), "--output", str(tmp_path / "s"), *flags]) == 0
    sizes = [
        word for key, value in SHAPE.items() if key != "initializer_range" for word in ("--" + key.replace("_", "-"), str(value))
    ] + "--generator-size 1 --sequence-length 32 --batch-size 2 --num-train-steps 2 --mask-unit word --mask-frequency-power 0.5".split()

    def pretrain(init: Path, output: str) -> int:
        return main(["pretrain", "tiny", "--data", str(tmp_path / "s"), "--init", str(init), "--output", str(tmp_path / output), *sizes])

    assert pretrain(extended, "run") == 0
    assert load_checkpoint(tmp_path / "run" / "final").config.vocab_size == load_tokenizer(extended).vocab_size
    capsys.readouterr()
    # The same number of pieces, but others.
    other = tmp_path / "other"
    other.mkdir()
    for file in extended.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes().replace(b"zebrafish", b"zebrafosh") if "vocab" in file.name else file.read_bytes())
    (other / "tokenizer.json").unlink()
    for init in (checkpoints()["discriminator"], other):
        assert pretrain(init, "refused") == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if "deprecated" not in line]
        assert not (tmp_path / "refused").exists()
        assert len(errors) == 1 and f"--tokenizer {init}" in errors[0] and f"--extend {init}" in errors[0]


def test_bad_extensions(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(model: str | Path, *flags: str) -> str:
        assert main(["vocab", str(corpus), "--extend", str(model), "--output", str(tmp_path / "out"), *flags]) == 2
        assert not (tmp_path / "out").exists()
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith("electra: ") and len(error.splitlines()) == 1
        return error

    assert "is fine-tuned; extend the pre-trained checkpoint" in fails(checkpoints()["classifier"])
    assert "not found" in fails(tmp_path / "none")
    assert "at least 1" in fails(checkpoints()["lone"], "--size", "0")
    assert "a piece for every word that occurs 99 times" in fails(checkpoints()["lone"], "--min-frequency", "99")


def test_a_tokenizer_of_other_rules_is_refused() -> None:
    import tokenizers

    from electra.errors import UserError

    rules = json.loads(load_tokenizer(checkpoints()["lone"]).backend.to_str())
    rules["model"] = {"type": "WordLevel", "vocab": rules["model"]["vocab"], "unk_token": "[UNK]"}
    with pytest.raises(UserError, match="WordLevel tokenizer cannot be extended"):
        extend_tokenizer(Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(rules))), Counter({"zebrafish": 9}), 1)

"""electra vocab --extend and --trim: other tokens, kept rows; `transformers`, sentence-transformers and --init take the result."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import SHAPE, Oracle, checkpoints

from electra.cli import main
from electra.data.adapted_vocabulary import extend_tokenizer, trim_tokenizer
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import count_words
from electra.errors import UserError
from electra.inference.predictor import load
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

    rules = json.loads(load_tokenizer(checkpoints()["lone"]).backend.to_str())
    rules["model"] = {"type": "WordLevel", "vocab": rules["model"]["vocab"], "unk_token": "[UNK]"}
    with pytest.raises(UserError, match="WordLevel tokenizer cannot be extended"):
        extend_tokenizer(Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(rules))), Counter({"zebrafish": 9}), 1)


# ---- trimmed ----


def test_a_trimmed_reranker_answers_as_before(tmp_path: Path) -> None:
    """Its activation, its task and its length are kept, as those of other people's cross-encoders are given."""
    import transformers

    source = tmp_path / "source"
    torch.manual_seed(3)
    pieces = load_tokenizer(checkpoints()["lone"]).pieces
    more = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}, "finetuning_task": "stsb"}
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    settings = transformers.BertConfig(vocab_size=len(pieces), num_labels=1, **shape, **more)
    transformers.BertForSequenceClassification(settings).save_pretrained(source)
    (source / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 12}))
    out = trim(source, tmp_path / "out", text=USED)
    kept = json.loads((out / "config.json").read_text())
    assert {name: kept[name] for name in more} == more
    pair = (" ".join(USED.split()[:20]), " ".join(USED.split()[:3]))
    one, two = load(source), load(out)
    assert one.spec.describe() == two.spec.describe() and one.max_length == two.max_length == 12
    assert two.predict([pair])[0].label == pytest.approx(one.predict([pair])[0].label, abs=1e-5)


USED = "the chef cooked the meal; the chef walked home."
KEPT = ["the chef walked", "home cooked the meal .", "chefs"]
"""Texts whose words keep their tokens."""


def trim(source: Path, output: Path, *flags: str, text: str = USED) -> Path:
    """`electra vocab --trim` on a corpus of one text."""
    (output.parent / "used.txt").write_text(text, encoding="utf-8")
    assert main(["vocab", str(output.parent / "used.txt"), "--trim", str(source), "--min-frequency", "1", "--output", str(output), *flags]) == 0
    return output


def bert(folder: Path, kind: str = "BertForMaskedLM", **values: Any) -> Path:
    """A random BERT with the tokenizer of the other checkpoints, whose [PAD] is not the first token."""
    import transformers

    pieces = load_tokenizer(checkpoints()["lone"]).pieces
    (folder / "vocab.txt").parent.mkdir(parents=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in ["[unused0]", *pieces]), encoding="utf-8")
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    torch.manual_seed(3)
    config = transformers.BertConfig(vocab_size=len(pieces) + 4, pad_token_id=1, **shape, **values)
    model = getattr(transformers, kind)(config).eval()
    torch.nn.init.normal_(model.get_parameter("cls.predictions.bias") if "Masked" in kind else model.pooler.dense.bias)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "place"),
    [("ElectraForPreTraining", "."), ("ElectraForMaskedLM", "generator"), ("ElectraForSequenceClassification", "."), ("BertForMaskedLM", ".")],
)
def test_text_of_kept_tokens_has_the_same_answers(kind: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In `transformers`: tokens, rows, and logits (of a masked LM those of the kept tokens)."""
    name = "classifier" if "Classification" in kind else "discriminator"
    source = bert(tmp_path / "source") if kind.startswith("Bert") else checkpoints()[name]
    out = trim(source, tmp_path / "out")
    assert "tokens kept" in capsys.readouterr().out
    before, after = Oracle(kind, source / place), Oracle(kind, out / place)
    old, new = load_tokenizer(source).pieces, load_tokenizer(out).pieces
    kept = [old.index(piece) for piece in new]
    assert len(kept) < len(old) and kept == sorted(kept) and {"the", "cooked", "a", "##z", "##s"} <= set(new) and not {"rain", "[unused0]"} & set(new)
    rows, fewer = before.model.get_input_embeddings().weight, after.model.get_input_embeddings().weight
    assert torch.equal(fewer, rows[kept]) and len(new) == len(fewer)
    assert new[after.model.config.pad_token_id] == "[PAD]"
    for text in KEPT:
        pieces = [model.tokenizer.convert_ids_to_tokens(model.tokenizer(text)["input_ids"]) for model in (before, after)]
        assert pieces[0] == pieces[1]
        expected, found = before.logits(text), after.logits(text)
        assert np.allclose(found, expected[..., kept] if "Masked" in kind else expected, atol=1e-6)
    if "Classification" in kind:
        assert load(out).predict(KEPT)[0].probabilities.keys() == {"negative", "neutral", "positive"}


def test_a_sentence_encoder_stays_one(tmp_path: Path) -> None:
    """sentence-transformers opens a trimmed one; texts of kept tokens have the same vectors."""
    from sentence_transformers import SentenceTransformer

    source = tmp_path / "source"
    bert(source / "0_Transformer", "BertModel")
    parts = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    rows = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(parts)]
    (source / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    (source / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": SHAPE["hidden_size"], "pooling_mode_mean_tokens": True}
    (source / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    out = trim(source, tmp_path / "out")
    expected = SentenceTransformer(str(source), device="cpu").encode(KEPT)
    assert np.allclose(SentenceTransformer(str(out), device="cpu").encode(KEPT), expected, atol=1e-6)
    assert np.allclose(load(out).embed(KEPT), expected, atol=1e-5)


def test_the_most_used_tokens_stay_and_nothing_becomes_unknown() -> None:
    tokenizer = load_tokenizer(checkpoints()["lone"])
    counts = Counter({"the": 50, "chef": 40, "cooked": 30, "walking": 20, "rain": 1, "\U0001f600": 9})
    found = trim_tokenizer(tokenizer, counts, 5 + 2 * 36 + 11 + 3)
    always = {piece for piece in tokenizer.pieces if len(piece.removeprefix("##")) == 1 or piece.startswith("[")}
    assert set(found.tokenizer.pieces) == always | {"the", "chef", "cooked"}
    assert [tokenizer.pieces[index] for index in found.kept] == found.tokenizer.pieces
    chance = random.Random(1)
    for word in ["".join(chance.choices("abcxyz019", k=chance.randrange(1, 9))) for _ in range(300)] + [w for w in tokenizer.pieces if w.isalpha()]:
        ids, before = found.tokenizer.encode([word])[0], tokenizer.encode([word])[0]
        assert found.tokenizer.unk_id not in ids or tokenizer.unk_id in before
        assert "".join(found.tokenizer.pieces[i].removeprefix("##") for i in ids) == word
    # 'walking' loses ##ing, 'rain' its only token.
    assert found.changed_fraction == pytest.approx(21 / 150)
    assert found.after["tokens_per_word"] == pytest.approx((50 + 40 + 30 + 20 * 7 + 4 + 9) / 150)
    # Without a size all tokens stay that occur often enough.
    assert set(trim_tokenizer(tokenizer, counts, None, 2).tokenizer.pieces) == always | {"the", "chef", "cooked", "##ing"}


def test_a_piece_whose_letters_are_no_tokens_stays() -> None:
    from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules

    pieces = [*SPECIAL_PIECES, "a", "##a", "ab", "aa", "##ab", "[unused1]"]
    found = trim_tokenizer(Tokenizer(bert_rules({piece: index for index, piece in enumerate(pieces)}, lowercase=True)), Counter({"a": 9}))
    assert found.tokenizer.pieces == [*SPECIAL_PIECES, "a", "##a", "ab", "##ab"]


def test_bad_trims(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*flags: str) -> str:
        assert main(["vocab", str(corpus), "--trim", str(checkpoints()["lone"]), "--output", str(tmp_path / "out"), *flags]) == 2
        assert not (tmp_path / "out").exists()
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        return error

    assert "--size 60: 88 special tokens and single characters always stay; give at least that many" in fails("--size", "60")
    assert "--extend adds tokens to a checkpoint, --trim takes some away" in fails("--extend", str(checkpoints()["lone"]))
    assert "brings its rules; leave it out" in fails("--no-lowercase")

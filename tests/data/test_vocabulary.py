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
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.data.vocabulary import UnknownWords, count_words, extend_tokenizer
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


# ---- unknown words ----


def unknown_words(texts: list[str], **rules: bool) -> UnknownWords:
    found = UnknownWords(bert(["the", "sars", "cafe", "chef", "##s"], **rules))
    found.add(texts)
    return found


def bert(pieces: list[str], **rules: bool) -> Tokenizer:
    return Tokenizer(bert_rules({piece: index for index, piece in enumerate([*SPECIAL_PIECES, *pieces])}, **({"lowercase": True} | rules)))


def test_unknown_tokens_are_counted_and_the_five_most_frequent_words_listed() -> None:
    texts = ["the xx xx xx chefs", "aa bb cc dd, the", "the aa aa", "b" * 101 + " " + "b" * 5000]
    found = unknown_words(texts)
    assert (found.tokens, found.unknown) == (17, 12)
    assert found.lines() == [
        "warning: unknown tokens: 70.59% (12 of 17); the most frequent unknown words: 'aa' (3), 'xx' (3), ',' (1), 'bb' (1), 'cc' (1)",
        f"warning: unknown words of more than 100 characters: 2 ('{'b' * 24}... (101 characters)', '{'b' * 24}... (5,000 characters)')",
        "warning: most of the text is unknown: the vocabulary is not made for it; 'electra vocab' makes one from a corpus",
    ]
    few = unknown_words(["the chef " * 200, "xx"])
    assert few.lines() == ["unknown tokens: 0.25% (1 of 401)"]
    assert unknown_words(["the chef"]).lines() == ["unknown tokens: 0.00% (0 of 2)"] and unknown_words([]).lines()
    assert unknown_words(["the " * 200_000 + "xx"]).lines() == ["unknown tokens: 5 x 10^-06 (1 of 200,001)"]


def test_another_case_rule_that_knows_a_word_is_named() -> None:
    assert "warning: the vocabulary has 'sars' but not 'SARS': give --lowercase" in unknown_words(["SARS"], lowercase=False).lines(give="give")
    assert '"do_lower_case": true in tokenizer_config.json' in unknown_words(["SARS"], lowercase=False).lines()[-1]
    assert "'cafe' but not 'café': give --strip-accents" in unknown_words(["café"], strip_accents=False).lines(give="give")[-1]
    assert "'cafe' but not 'CAFÉ': give --lowercase --strip-accents" in unknown_words(["CAFÉ"], lowercase=False).lines(give="give")[-1]
    cased = UnknownWords(bert(["SARS"]))
    cased.add(["SARS"])
    assert "'SARS' but not 'sars': give --no-lowercase" in cased.lines(give="give")[-1]
    assert "'electra vocab' makes one" in unknown_words(["zzz"]).lines()[-1]


@pytest.mark.parametrize("rules", [{}, {"lowercase": False}, {"split_chinese": False}])
def test_lines_and_texts_give_the_same_report(rules: dict[str, bool]) -> None:
    texts = [
        "the xx chef",
        "",
        "中文 the",
        "the " + "y" * 150 + " [UNK] sars",
        "b" * 99 + "\u00e9" * 60 + " é",
        "the\tzz chefs,",
        "y" * 48 + " " + "y" * 101,
    ]
    by_text = unknown_words(texts, **rules)
    by_line = UnknownWords(bert(["the", "sars", "cafe", "chef", "##s"], **rules))
    text = "\n".join(texts).encode()
    by_line.add_lines(text, *bert(["the", "sars", "cafe", "chef", "##s"], **rules).encode_lines(text))
    assert by_text.record() == by_line.record()
    assert by_text.long_words.total() == 3 and "[UNK]" not in by_text.words and by_text.unknown > by_text.words.total() + 3
    again = UnknownWords(bert(["the"]))
    again.add_record(by_line.record())
    assert again.record() == by_line.record()


def test_much_text_is_sampled_evenly_and_counted_wholly() -> None:
    lines = [f"xx word{index % 3} " * 20 for index in range(3000)]
    found = UnknownWords(bert(["the"]))
    text = "\n".join(lines).encode()
    found.add_lines(text, *bert(["the"]).encode_lines(text))
    assert found.sampled and found.unknown == 120_000 == found.tokens
    assert [word for word, _ in found.words.most_common(1)] == ["xx"] and len(found.words) == 4
    assert "in a sample of the text: 'xx'" in found.lines()[0]

"""electra vocab --extend: new words are tokens for us and for `tokenizers`; old rows stay; `transformers` and --init take the result."""

from __future__ import annotations

from collections import Counter

import pytest
from tiny_models import checkpoints

from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.data.vocabulary import UnknownWords, choose_letters, count_words

DOMAIN = "Zebrafish embryos, zebrafish larvae; the zebrafish [MASK] cooked quickly.\nembryos walk — Ünïque 数 quickly zebrafish\nthe chef quickly ate"


def test_words_are_counted_as_the_pretokenizer_splits_them() -> None:
    tokenizer = load_tokenizer(checkpoints()["lone"])
    texts = [DOMAIN, "a\x0bb c\x85d e\u0301é 中文x don't", "", "  "]
    expected: Counter[str] = Counter()
    for text in texts:
        for line in text.split("\n"):
            expected.update(w for w, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str(tokenizer.backend.normalizer.normalize_str(line)))
    assert count_words(texts, tokenizer) == expected
    assert expected["zebrafish"] == 4


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
        f"warning: unknown words of more than 100 characters: 2 ('{'b' * 24}... (101 characters)', '{'b' * 24}... (5,000 characters)')"
        "; of text without spaces between words (Thai, Lao, Khmer, Burmese) segment it first, or such runs are lost",
        "warning: most of the text is unknown: the vocabulary is not made for it; 'electra vocab' makes one from a corpus",
    ]
    few = unknown_words(["the chef " * 200, "xx"])
    assert few.lines() == ["unknown tokens: 0.25% (1 of 401)"]
    assert unknown_words(["the chef"]).lines() == ["unknown tokens: 0.00% (0 of 2)"] and unknown_words([]).lines()
    assert unknown_words(["the " * 200_000 + "xx"]).lines() == ["unknown tokens: 5 x 10^-06 (1 of 200,001)"]


THAI = "\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27"
"""'kin khao', to eat: five letters and two marks."""


@pytest.mark.parametrize("runs", [1, 20])
def test_runs_without_spaces_count_by_their_letters(runs: int) -> None:
    """Of 2,000 words and 1,500 letters of Thai: 7,000 letters of known tokens."""
    texts = ["the chef " * 1000 + " ".join([THAI * (300 // runs)] * runs)]
    found = unknown_words(texts)
    assert (found.unknown, found.unknown_letters, found.letters) == (runs, 1500, 8500)
    line = f"warning: unknown tokens: {runs / (2000 + runs):.2%} ({runs} of {2000 + runs:,}) with 18% of the letters"
    assert found.lines()[0].startswith(line + ("; the most frequent unknown words: " if runs > 1 else ""))
    most = unknown_words(["the chef " + THAI * 300])
    assert most.lines()[0] == "warning: unknown tokens: 33.33% (1 of 3)" and "most of the text is unknown" in most.lines()[-1]


def test_letters_of_unknown_tokens_are_estimated_from_a_sample() -> None:
    lines = [f"the chef {THAI * 12 if index % 5 == 0 else 'chefs'} " for index in range(4000)]
    text = "\n".join(lines).encode()
    tokenizer = bert(["the", "chef", "##s"])
    found = UnknownWords(tokenizer)
    found.add_lines(text, *tokenizer.encode_lines(text))
    assert found.sampled and (found.unknown, found.unknown_letters) == (800, 800 * 60)
    assert found.letters == 4000 * 7 + 3200 * 5 + 800 * 60
    again = UnknownWords(tokenizer)
    again.add_record(found.record())
    assert again.share_of_letters == found.share_of_letters


def test_letters_of_other_normal_forms_are_no_unknown_ones() -> None:
    """Hangul is decomposed and accents are stripped before the pieces."""
    found = unknown_words(["caf\u00e9 cafe\u0301 " * 50 + "\ud55c"])
    assert (found.unknown, found.letters, found.unknown_letters) == (1, 50 * 8 + 1, 1)


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


def test_characters_that_are_words_take_one_piece() -> None:
    """Half of the pieces are for letters: of Chinese, whose characters have no continued form, twice as many as of Latin."""
    counts = Counter({chr(0x4E00 + i): 1000 - i for i in range(500)})
    assert len(choose_letters(counts, 200, lambda letter: True)) == 200 and len(choose_letters(counts, 200)) == 100
    assert len(choose_letters(counts, 10)) == 20

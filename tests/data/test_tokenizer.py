"""The tokenizer against `tokenizers` and `transformers`, byte for byte."""

from __future__ import annotations

import itertools
import json
import lzma
import random
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from conformance import case, conforms
from tokenizer_folders import trained
from tokenizers import decoders, pre_tokenizers

from electra.data import fast_tokenizer
from electra.data import tokenizer as tokenizer_module
from electra.data.tokenizer import Tokenizer, _has_longer_line, load_tokenizer
from electra.data.tokenizer_files import PLAIN_SETTINGS, SPECIAL_PIECES
from electra.data.vocabulary import train_tokenizer
from electra.errors import UserError

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Jumping foxes, jumped-over dogs; lazily, lazily!",
    "Crème brûlée à la carte, naïve café. ÀÉÎÕÜ",
    "他说 中文 and English, 混在一起。",
    "unaffable unaffordable affable and affordable",
]


@pytest.fixture(scope="module")
def uncased() -> Tokenizer:
    return train_tokenizer(iter(TEXTS * 20), 300)


@pytest.fixture(scope="module")
def cased() -> Tokenizer:
    return train_tokenizer(iter(TEXTS * 20), 300, lowercase=False)


def expected(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [e.ids for e in tokenizer.backend.encode_batch(texts, add_special_tokens=False)]


HARD = [
    "",
    " ",
    "   a   b  ",
    "a\tb\nc\r\nd",
    "a\x0bb c\x0cd e\x1cf g\x1dh i\x1ej k\x1fl m\x85n",  # Python's split cuts at these, BERT removes them
    "a\xa0b\u1680c\u2003d\u2028e\u2029f\u202fg\u205fh\u3000i",
    "a\u200bb \u200c \ufeffc a\xadb",
    "x\0y \ufffd z\ufffdw",
    "say [MASK] and[SEP]then [CLS][PAD] [UNK] [mask] [ MASK ]",
    "e \u0301e e\u0301 \u0301 \u0301e a\u0323\u0301 \u0301",  # combining marks at both sides of a space
    "Ａｂｃ ﬁne ½ ² İstanbul ΣΑΣ ΌΣΟΣ. ß ẞ",
    "w" * 99 + " " + "w" * 100 + " " + "w" * 101 + " " + "é" * 100 + " " + "é" * 101,
    "中文字 mixed中文text 㐀𠀀 ひらがな 한국어 กขค",
    "!!! ... --- `` '' «x» “y” 🙂 🏳️‍🌈 a🙂b",
    "http://example.org/a/very/long/address?with=many&parts=and-no-spaces-at-all-in-it" * 3,
    "\ue000 \U000f0000 \U0010ffff",
]


@pytest.mark.parametrize("case", ["uncased", "cased"])
def test_hard_texts_equal_tokenizers_cold_and_warm(case: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(case)
    fresh = Tokenizer(tokenizer.backend)
    for _ in range(2):
        assert fresh.encode(HARD) == expected(tokenizer, HARD)
    for text in HARD:
        assert fresh.encode([text]) == expected(tokenizer, [text])


@pytest.mark.parametrize("seed", range(4))
def test_random_texts_equal_tokenizers(seed: int, uncased: Tokenizer, cased: Tokenizer) -> None:
    rng = random.Random(seed)
    letters = "abcdeABC  \t\u0301\u0323éÉ中文。.,-[]\x0b\x85\xa0\u3000\u200d\ufeff🙂"
    words = ["[MASK]", "affable", "[SEP]", "İ", "ǅ", " ", "##x"]

    def anything() -> str:
        code = rng.randrange(0x20000)
        return rng.choice([rng.choice(letters), rng.choice(words), chr(code) if not 0xD800 <= code < 0xE000 else "a"])

    texts = ["".join(anything() for _ in range(rng.randrange(60))) for _ in range(300)]
    for tokenizer in (uncased, cased):
        assert tokenizer.encode(texts) == expected(tokenizer, texts)


def test_every_character_between_chunks(uncased: Tokenizer) -> None:
    texts = [f"fox{c}dog {c}fox dog{c} {c}" for c in map(chr, [*range(0x3100), *range(0xFE00, 0x10000)])]
    assert uncased.encode(texts) == expected(uncased, texts)


def test_cache_is_bounded_and_gives_way(uncased: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = fast_tokenizer.ChunkCache(uncased._encode_directly, limit=100)
    texts = [f"fox{i} dog{i % 7} {'long' * 20}{i}" for i in range(400)]
    assert [cache.encode([t])[0] for t in texts] == uncased._encode_directly(texts)
    assert len(cache) <= 101
    monkeypatch.setattr(fast_tokenizer, "WINDOW", 1000)
    calls: list[int] = []
    cache = fast_tokenizer.ChunkCache(lambda batch: calls.append(len(batch)) or uncased._encode_directly(batch))  # type: ignore[func-returns-value]
    lines = [f"没有空格的一行文字{i}" for i in range(500)]
    for start in range(0, 500, 50):
        assert cache.encode(lines[start : start + 50]) == uncased._encode_directly(lines[start : start + 50])
    assert cache._bypass > 0
    assert len(cache) <= 501


# ---- words of megabytes ----

MEGABYTE = 1 << 20
COMMANDS = ("prepare", "predict", "detect", "embed", "evaluate")
WORDS = [
    case("abcdefghij", form="a word of 20 MB: letters", where=COMMANDS, outcome="exact", section="tables"),
    case("ab+cd/ef==", form="a word of megabytes with punctuation (base64, a minified script)", where=COMMANDS, outcome="exact", section="tables"),
    case("\u4e2d\u6587\u5b57", form="megabytes of Chinese without white space", where=COMMANDS, outcome="exact", section="tables"),
    case("e\u0301\u00e9", form="a word of megabytes with accents", where=COMMANDS, outcome="exact", section="tables"),
]


@pytest.mark.parametrize("pattern", WORDS)
def test_ids_and_offsets_of_words_of_megabytes(pattern: str, uncased: Tokenizer) -> None:
    """`tokenizers` takes 0.6 s and 60 MB for a megabyte of letters, and 500 MB for one of Chinese."""
    text = f"jumps {pattern * (MEGABYTE // 4 // len(pattern))} over the lazy dogs"
    theirs = uncased.backend.encode(text, add_special_tokens=False)
    assert uncased.encode([text, "lazy"])[0] == theirs.ids
    assert uncased.encode_offsets(text) == (theirs.ids, theirs.offsets)
    ids, counts = uncased.encode_lines(f"lazy\n{text}\nlazy".encode())
    lazy = uncased.encode(["lazy"])[0]
    assert ids.tolist() == [*lazy, *theirs.ids, *lazy] and counts.tolist() == [len(lazy), len(theirs.ids), len(lazy)]


def test_a_word_of_20_megabytes_is_one_unknown_token(uncased: Tokenizer) -> None:
    ids, offsets = uncased.encode_offsets("jumps " + "abcdefghij" * 2 * MEGABYTE + " over")
    assert ids.count(uncased.unk_id) == 1 and offsets[ids.index(uncased.unk_id)] == (6, 6 + 20 * MEGABYTE)


def test_any_mixture_of_long_words_equals_tokenizers(uncased: Tokenizer, cased: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_tokenizer, "LONG_WORD", 450)
    monkeypatch.setattr(tokenizer_module, "LONG_WORD", 450)
    monkeypatch.setattr(tokenizer_module, "LONG_TEXT", 600)
    parts = [
        "abc",
        "abcd\u00e9",
        "a\u0301b",
        "\u4e2d\u6587",
        "\u4e2da",
        "ab+/",
        "....",
        "\U0001f600",
        "\ud55c",
        "a\u200bb",
        "\u03a3\u03c3\u0130\u00df",
    ]
    parts += ["[MASK]", "\u0301", "a\x00b", "A\xa0b", "=\u0338a", "a\nb"]
    rng = random.Random(4)
    for _ in range(25):
        text = ""
        for part in rng.choices(parts, k=4):
            size = rng.choice([1, 50, 300, 700, 1500])
            text += "".join(rng.choice(part) for _ in range(size)) if rng.random() < 0.7 else part * size
            text += rng.choice(["", " ", "  ", "\n", ".", "[MASK]"])
        for tokenizer in (uncased, cased):
            theirs = tokenizer.backend.encode(text, add_special_tokens=False)
            assert tokenizer.encode([text])[0] == theirs.ids
            assert tokenizer.encode_offsets(text) == (theirs.ids, theirs.offsets)
            words = tokenizer.encode_words(text)
            assert [i for ids, _ in words for i in ids] == theirs.ids and len(words) == len(set(theirs.word_ids))
            assert tokenizer.encode_lines(text.replace("\n", " ").encode())[0].tolist() == theirs.ids


@conforms(form="a word of megabytes, Unigram or BPE", where=("predict", "load"), outcome="refused", section="tables")
def test_other_rules_have_no_longest_word_so_that_one_of_megabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(PLAIN_SETTINGS, roles=("<pad>", "<unk>", "<s>", "</s>", "<mask>"))
    tokenizer = Tokenizer(trained("Unigram", pre_tokenizers.Metaspace(), None, decoders.Metaspace()), settings)
    monkeypatch.setattr(tokenizer_module, "LONGEST_WORD", 20_000)
    assert len(tokenizer.encode(["ab " * 20_000])[0]) >= 20_000
    for read in (lambda text: tokenizer.encode([text]), tokenizer.encode_offsets, lambda text: tokenizer.encode_lines(text.encode())):
        with pytest.raises(
            UserError, match=r"a word of 30,000 characters \('aaaaaaaaaaaaaaaaaaaa\.\.\.'\); this tokenizer \(Unigram\) takes at most 20,000"
        ):
            read("a" * 30_000)


def test_lone_surrogates_do_not_stop_us(uncased: Tokenizer) -> None:
    assert uncased.encode(["fox \ud800 dog"]) == uncased.encode(["fox  dog"])
    ids, offsets = uncased.encode_offsets("fox \ud800 dog")
    assert len(ids) == len(offsets)
    assert offsets[-1][1] == 9


def test_offsets_are_characters_of_the_given_text(uncased: Tokenizer) -> None:
    text = "Ça: 中文 🙂 CRÈME  Fox"
    ids, offsets = uncased.encode_offsets(text)
    assert ids == uncased.encode([text])[0]
    words = {text[a:b] for a, b in offsets}
    assert {"中", "文", "🙂"} <= words
    assert offsets == sorted(offsets)


def test_same_as_transformers_slow_rules(uncased: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    uncased.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert type(theirs).__name__.startswith(("Electra", "Bert"))
    assert (theirs.mask_token_id, theirs.pad_token_id, theirs.vocab_size) == (uncased.mask_id, uncased.pad_id, uncased.vocab_size)
    for text in TEXTS + HARD[2:4]:
        assert theirs(text)["input_ids"] == uncased.wrap(uncased.encode([text])[0])[0]
    pair = theirs(TEXTS[0], TEXTS[1])
    ids, segments = uncased.wrap(*uncased.encode(TEXTS[:2]))
    assert pair["input_ids"] == ids
    assert pair["token_type_ids"] == segments


@pytest.mark.parametrize("lowercase", [True, False])
def test_save_and_load_forms(lowercase: bool, tmp_path: Path) -> None:
    made = train_tokenizer(iter(TEXTS * 20), 250, lowercase=lowercase, strip_accents=lowercase)
    made.save(tmp_path / "run" / "final")
    folder = tmp_path / "run" / "final"
    for source in (folder, tmp_path / "run", folder / "vocab.txt", folder / "tokenizer.json", str(folder)):
        loaded = load_tokenizer(source)
        assert loaded.fingerprint == made.fingerprint
        assert loaded.encode(TEXTS) == made.encode(TEXTS)
    bare = tmp_path / "bare.txt"
    bare.write_bytes((folder / "vocab.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(bare).lowercase is lowercase
    assert load_tokenizer(bare).fingerprint == made.fingerprint


def test_switches(cased: Tokenizer, tmp_path: Path) -> None:
    cased.save(tmp_path)
    assert cased.encode(["Café"]) != cased.encode(["Cafe"])
    accents_off = load_tokenizer(tmp_path, strip_accents=True)
    assert accents_off.encode(["Café"]) == accents_off.encode(["Cafe"])
    assert not accents_off.lowercase
    whole = load_tokenizer(tmp_path / "vocab.txt", split_chinese=False)
    assert len(whole.encode(["中文"])[0]) < len(cased.encode(["中文"])[0]) + 1
    assert len({cased.fingerprint, accents_off.fingerprint, whole.fingerprint}) == 3
    assert train_tokenizer(iter(TEXTS), 200, lowercase=True, strip_accents=False).encode(["É"]) != cased.encode(["e"])


def test_truncation_is_the_originals(uncased: Tokenizer) -> None:
    def original(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
        while len(a) + len(b) > room:
            (a if len(a) > len(b) else b).pop()
        return a, b

    for n, m, length in [(10, 3, 9), (3, 10, 9), (5, 5, 8), (6, 5, 8), (0, 9, 5), (2, 2, 99)]:
        a, b = original(list(range(n)), list(range(50, 50 + m)), length - 3)
        ids, segments = uncased.wrap(range(n), range(50, 50 + m), length)
        assert ids == [uncased.cls_id, *a, uncased.sep_id, *b, uncased.sep_id]
        assert segments == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert uncased.wrap(range(10), None, 6)[0] == [uncased.cls_id, 0, 1, 2, 3, uncased.sep_id]


def test_vocabulary_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    pieces = [*SPECIAL_PIECES, "a", "\u2028", "\x85", "b", "\x1c", "c"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    assert tokenizer.pieces == pieces
    assert tokenizer.encode(["c b a"]) == [[10, 8, 5]]


def test_training_is_repeatable_in_another_process(tmp_path: Path) -> None:
    code = "import sys; from electra.data.vocabulary import train_tokenizer; t = eval(sys.argv[1]); print(train_tokenizer(iter(t), 400).fingerprint)"
    texts = [*TEXTS, *("".join(random.Random(i).choices("abcdef ", k=200)) for i in range(30))]
    prints = {subprocess.run([sys.executable, "-c", code, repr(texts)], capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(prints) == 1


def test_special_tokens_come_first_and_every_letter_has_a_token(uncased: Tokenizer) -> None:
    assert uncased.pieces[:5] == list(SPECIAL_PIECES)
    assert uncased.vocab_size <= 300
    assert uncased.unk_id not in uncased.encode([TEXTS[0]])[0]
    assert uncased.decode(uncased.wrap(uncased.encode(["the quick fox."])[0])[0]) == "the quick fox."


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "[PAD] is missing"), (b"a\nb\n", "[PAD] is missing"), (b"\xff\xfe\x00", "not UTF-8")],
)
def test_bad_vocabularies(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        load_tokenizer(tmp_path / "vocab.txt")


def test_bad_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="contains no tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="not found"):
        load_tokenizer(tmp_path / "missing" / "vocab.txt")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a tokenizer\.json"):
        load_tokenizer(tmp_path)
    bare = {
        "version": "1.0",
        "model": {"type": "WordPiece", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(bare))
    with pytest.raises(UserError, match=r"lacks \[PAD\]"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="too small"):
        train_tokenizer(iter(TEXTS), 20)
    with pytest.raises(UserError, match="no text"):
        train_tokenizer(iter([]), 200)


@pytest.mark.realdata
def test_bert_vocabularies_on_real_text(data_root: Path) -> None:
    for vocabulary, corpus in (("uncased-en", "corpus-en"), ("zh", "corpus-zh")):
        tokenizer = load_tokenizer(data_root / "vocab" / f"{vocabulary}.txt")
        with lzma.open(data_root / corpus / "wikipedia-0.txt.xz", "rt", encoding="utf-8") as stream:
            lines = list(islice(stream, 1500))
        assert tokenizer.encode(lines) == expected(tokenizer, lines)
        assert tokenizer.encode(lines) == expected(tokenizer, lines)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_line_longer_than_a_size_is_found(size: int) -> None:
    lengths = [*itertools.product(range(5), repeat=3), (size,), (size + 1,), (size, size + 1), (size + 1, size), (size, size, size)]
    for lines in lengths:
        text = b"\n".join(b"a" * length for length in lines)
        assert _has_longer_line(text, size) == (max(lines) > size), (lines, size)

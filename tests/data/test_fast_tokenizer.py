"""Whole parts through the table of chunks: the ids of `tokenizers`, line by line, whatever the text."""

from __future__ import annotations

import functools
import json
import lzma
import random
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from electra.data.fast_tokenizer import ChunkTable, Encode, Pool, compiled_encoder, unpack
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import SPECIAL_PIECES, bert_rules
from electra.data.vocabulary import train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Jumping foxes, jumped-over dogs; lazily, lazily!",
    "Crème brûlée à la carte, naïve café. ÀÉÎÕÜ",
    "他说 中文 and English, 混在一起。",
    "unaffable unaffordable affable and affordable",
]
CASED = {"uncased": True, "cased": False}


@pytest.fixture(scope="module", params=CASED.values(), ids=CASED.keys())
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(iter(TEXTS * 20), 300, lowercase=request.param)


@functools.cache
def compiled(tokenizer: Tokenizer) -> Encode:
    pytest.importorskip("nanotoken", reason="nanotoken is not installed")
    found = compiled_encoder(tokenizer.backend.to_str(), tokenizer.dtype, tokenizer._encode_utf8)
    assert found is not None
    return found


@pytest.fixture(params=["table", "nanotoken"])
def engine(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> dict[str, object]:
    """New text is encoded by `tokenizers`, or by nanotoken where that is faster."""
    return {} if request.param == "table" else {"encode": compiled(tokenizer), "compiled": True}


def table(tokenizer: Tokenizer, **changes: object) -> ChunkTable:
    given = {"encode": tokenizer._encode_utf8, "single_token": tokenizer.single_token, "lowercase": tokenizer.lowercase}
    given |= {"dtype": tokenizer.dtype, "splits_words": True, **changes}
    return ChunkTable(**given)  # type: ignore[arg-type]


def check(found: tuple[np.ndarray, np.ndarray], tokenizer: Tokenizer, text: str) -> None:
    """Against `tokenizers` itself, which sees each line as a whole."""
    ids, counts = found
    expected = [encoding.ids for encoding in tokenizer.backend.encode_batch(text.split("\n"), add_special_tokens=False)]
    assert counts.tolist() == [len(line) for line in expected]
    assert ids.tolist() == [index for line in expected for index in line] and ids.dtype == tokenizer.dtype


def test_random_text(tokenizer: Tokenizer, engine: dict[str, object]) -> None:
    """Letters, marks, digits, white space of all kinds, control characters, special tokens, Chinese, accents; short and long chunks."""
    rng = random.Random(3)
    pieces = [*"abcXYZ019.,;:!?'\"-_/\\()[]{}<>@#$%^&*~`|+= \n\t\r\x0b\x0c\x1c\x7f\x01é中文，。\u3000\u00a0\u0301İßǅ🙂"]
    pieces += ["[MASK]", "[CLS]", "[mask]", "the", "Fox", "un", "aff", "able", " ", " ", " ", "\n", "x" * 17, "y" * 120]
    held = table(tokenizer, **engine)
    for _ in range(60):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 400)))
        check(held.encode(text.encode()), tokenizer, text)


def test_every_character_between_chunks(tokenizer: Tokenizer, engine: dict[str, object]) -> None:
    text = "\n".join(f"fox{c}dog {c}fox Dog{c} {c}" for c in map(chr, [*range(1, 10), *range(11, 0x3100), *range(0xFE00, 0x10000)]))
    check(table(tokenizer, **engine).encode(text.encode()), tokenizer, text)


@pytest.mark.parametrize(
    "text", ["", "\n", "\n\n", " ", " \n ", "fox", "fox\n", "\nfox", "a\0b fox\nthe dog\0", "sixteen_letters_", "seventeen_letters"]
)
def test_ends_and_empty_lines(text: str, tokenizer: Tokenizer, engine: dict[str, object]) -> None:
    check(table(tokenizer, **engine).encode(text.encode()), tokenizer, text)


def test_keys_differ_in_every_byte_and_in_length(tokenizer: Tokenizer, engine: dict[str, object]) -> None:
    """Chunks of 1 to 17 bytes that differ in one byte only."""
    chunks = ["a" * n for n in range(1, 18)] + ["a" * i + "." + "a" * (n - i - 1) for n in range(1, 18) for i in range(n)]
    text = " ".join(chunks)
    held = table(tokenizer, **engine)
    check(held.encode(text.encode()), tokenizer, text)
    check(held.encode(text.encode()), tokenizer, text)  # now from the table


def test_a_full_table_starts_anew(tokenizer: Tokenizer) -> None:
    held = table(tokenizer, slot_bits=7)
    rng = random.Random(1)
    for _ in range(30):
        text = " ".join(f"w{rng.randrange(200)}{rng.choice('.,x')}" for _ in range(40))
        check(held.encode(text.encode()), tokenizer, text)
        assert held._chunks.num_keys <= 128


def test_slots_that_many_keys_want() -> None:
    """A table nearly full: every key is found, no other is."""
    rng = np.random.default_rng(1)
    keys = rng.permutation(np.arange(1, 2000, dtype=np.uint64))
    pool = Pool(np.dtype(np.int32), 10)
    known, other = keys[:1000], keys[1000:]
    for part in np.split(known, 10):
        pool.add((part, part ^ np.uint64(7)), part.astype(np.int32).repeat(2), np.full(len(part), 2))
    offsets, counts = unpack(pool.find((known, known ^ np.uint64(7))))
    assert (counts == 2).all() and (pool.ids[offsets] == known).all() and (pool.ids[offsets + 1] == known).all()
    assert not pool.find((other, other ^ np.uint64(7))).any()
    assert not pool.find((known, known)).any()


def test_of_chinese_only_the_text_between_is_encoded(tokenizer: Tokenizer) -> None:
    encoded: list[bytes] = []
    held = table(tokenizer, encode=lambda texts: encoded.extend(texts) or tokenizer._encode_utf8(texts))
    text = "\n".join(f"没有空格的一行文字，没有空格的一行文字{i % 10}fox。" for i in range(50))
    check(held.encode(text.encode()), tokenizer, text)
    assert sorted(encoded) == [f"{i}fox".encode() for i in range(10)]


def test_text_without_spaces(tokenizer: Tokenizer, engine: dict[str, object]) -> None:
    """Every character's neighbours of every kind: what is a token alone, what joins, what vanishes, what may open a special token."""
    rng = random.Random(5)
    pieces = [*"abZ09.,[]()中文的，。「」·—\u3000\u00a0\u0301\u0338\u200b\ufeff\ufffd\x01\tİßǅ🙂🈶\U0002f800豈か゚カﾟａ１ー々〇"]
    pieces += ["[MASK]", "[CLS]", "fox", "\n", "x" * 101]
    held = table(tokenizer, **engine)
    for _ in range(200):
        text = "中" * 40 + "".join(rng.choices(pieces, k=rng.randrange(1, 200)))
        check(held.encode(text.encode()), tokenizer, text)


@pytest.mark.parametrize("accents", [True, False])
@pytest.mark.parametrize("chinese", [True, False])
def test_every_character_without_spaces(accents: bool, chinese: bool) -> None:
    tokenizer = train_tokenizer(iter(TEXTS * 20), 300, strip_accents=accents, split_chinese=chinese)
    codes = [*range(1, 10), *range(11, 0xD800), *range(0xE000, 0x11000), *range(0x1F000, 0x20100), *range(0x2F800, 0x2FA20), *range(0xE0000, 0xE0080)]
    text = "\n".join(f"的fo{c}x，{c}foxfoxfoxfoxfoxfox{c}" for c in map(chr, codes))
    check(tokenizer.encode_lines(text.encode()), tokenizer, text)


# ---- nanotoken ----


@functools.cache
def every_letter() -> dict[str, int]:
    """A vocabulary in which two letters of Unicode's first plane never look alike."""
    letters = [c for c in map(chr, range(33, 0x10000)) if unicodedata.category(c)[0] in "LNPS"]
    return {piece: index for index, piece in enumerate([*SPECIAL_PIECES, *letters, *(f"##{c}" for c in letters if c < "\u2e80" or c >= "\ua000")])}


def differing(tokenizer: Tokenizer, codes: range) -> list[str]:
    """Each character alone, and between and after letters, by `tokenizers` and by nanotoken -> those whose ids differ."""
    lines = [f"fo{c}x Fo{c} {c}".encode() for c in map(chr, codes) if not 0xD800 <= ord(c) < 0xE000]
    (ids, counts), (its, of_its) = tokenizer._encode_utf8(lines), compiled(tokenizer)(lines)
    if np.array_equal(ids, its) and np.array_equal(counts, of_its):
        return []
    return [hex(ord(line.decode()[-1])) for line in lines if tokenizer._encode_utf8([line])[0].tolist() != compiled(tokenizer)([line])[0].tolist()]


BLOCKS = [range(1, 0x3100), range(0xA000, 0xB000), range(0xF900, 0x10800), range(0x1D000, 0x20100), range(0x2F800, 0x2FA20), range(0xE0000, 0xE0200)]


@pytest.mark.parametrize("lowercase", [True, False])
def test_nanotoken_knows_characters_as_tokenizers_does(lowercase: bool) -> None:
    tokenizer = Tokenizer(bert_rules(every_letter(), lowercase=lowercase))
    assert [found for block in BLOCKS for found in differing(tokenizer, block)] == []


@pytest.mark.slow
@pytest.mark.parametrize("accents", [True, False, None])
@pytest.mark.parametrize("chinese", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
def test_nanotoken_knows_every_character_under_every_rule(accents: bool | None, chinese: bool, lowercase: bool) -> None:
    tokenizer = Tokenizer(bert_rules(every_letter(), lowercase=lowercase, strip_accents=accents, split_chinese=chinese))
    assert [found for start in range(0, 0x110000, 0x11000) for found in differing(tokenizer, range(start, start + 0x11000))] == []


def test_text_with_spaces_goes_to_nanotoken_and_chinese_to_the_table(tokenizer: Tokenizer) -> None:
    encoded: list[bytes] = []
    held = table(tokenizer, compiled=True, encode=lambda texts: encoded.extend(texts) or compiled(tokenizer)(texts))
    held.encode(b"The quick fox\njumps")
    assert encoded == [b"The quick fox", b"jumps"] and held._chunks.num_keys == 0
    held.encode(("没有空格的一行文字" * 9 + "fox").encode())
    assert encoded[2:] == [b"fox"]


class Wrong:
    """A package whose ids are wrong in one place, or that does not begin."""

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem

    @property
    def Tokenizer(self) -> Wrong:
        return self

    backend = property(lambda self: self)

    def from_json(self, rules: str) -> Wrong:
        if self.problem:
            raise self.problem
        self.right = tokenizers.Tokenizer.from_str(rules)
        return self

    def encode_batch(self, texts: list[bytes], *, add_special_tokens: bool, parallel: bool) -> tuple[np.ndarray, np.ndarray]:
        encoded = [one.ids for one in self.right.encode_batch([text.decode() for text in texts], add_special_tokens=add_special_tokens)]
        encoded[2][0] += 1
        return np.array([index for ids in encoded for index in ids], np.uint32), np.cumsum([0, *map(len, encoded)])


PROBLEMS = {
    "other ids": (None, "its ids differ from those of tokenizers"),
    "refused": (ValueError("rules it does not know"), ""),
    "panic": (BaseException("a panic"), "but fails (BaseException: a panic)"),
}


@pytest.mark.parametrize(("problem", "warning"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_compiled_encoder_that_differs_is_not_used(
    problem: BaseException | None, warning: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nanotoken", Wrong(problem))
    assert compiled_encoder(tokenizer.backend.to_str(), tokenizer.dtype, tokenizer._encode_utf8) is None
    shown = capsys.readouterr().err
    assert warning in shown and shown.count("\n") == bool(warning)
    again = Tokenizer(tokenizer.backend)
    check(again.encode_lines(TEXTS[2].encode()), again, TEXTS[2])
    assert again._table is not None and not again._table._compiled


def test_without_nanotoken_ids_are_the_same(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(TEXTS)
    expected = Tokenizer(tokenizer.backend).encode_lines(text.encode())
    monkeypatch.setitem(sys.modules, "nanotoken", None)
    plain = Tokenizer(tokenizer.backend)
    assert all(map(np.array_equal, plain.encode_lines(text.encode()), expected)) and capsys.readouterr().err == ""
    assert plain._table is not None and not plain._table._compiled


def test_an_added_token_without_brackets_is_found_whole(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(iter(TEXTS * 20), 300)
    tokenizer.save(tmp_path)
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    backend = tokenizers.Tokenizer.from_str(json.dumps(rules))
    backend.add_tokens(["fo-x"])
    added = Tokenizer(backend)
    text = "the fo-x jumps, fo - x"
    check(added.encode_lines(text.encode()), added, text)
    assert len(added.pieces) - 1 in added.encode_lines(text.encode())[0].tolist()


@pytest.mark.realdata
@pytest.mark.parametrize(("corpus", "vocabulary"), [("corpus-en/wikipedia-3.txt.xz", "uncased-en.txt"), ("corpus-zh/wikipedia-0.txt.xz", "zh.txt")])
def test_megabytes_of_wikipedia(corpus: str, vocabulary: str, data_root: Path) -> None:
    tokenizer = load_tokenizer(data_root / "vocab" / vocabulary)
    with lzma.open(data_root / corpus) as file:
        text = file.read(3 << 20).decode("utf-8", "ignore")
    check(tokenizer.encode_lines(text.encode()), tokenizer, text)
    half = text[: 1 << 20]
    check(tokenizer.encode_lines(half.encode()), tokenizer, half)

"""Whole parts through the table of chunks: the ids of `tokenizers`, line by line, whatever the text."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from electra.data.fast_tokenizer import ChunkTable, Pool, unpack
from electra.data.tokenizer import Tokenizer, load_tokenizer
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


def table(tokenizer: Tokenizer, **changes: object) -> ChunkTable:
    given = {"encode_batch": tokenizer._encode_directly, "single_token": tokenizer.single_token, "lowercase": tokenizer.lowercase}
    given |= {"dtype": tokenizer.dtype, "splits_words": True, **changes}
    return ChunkTable(**given)  # type: ignore[arg-type]


def check(found: tuple[np.ndarray, np.ndarray], tokenizer: Tokenizer, text: str) -> None:
    """Against `tokenizers` itself, which sees each line as a whole."""
    ids, counts = found
    expected = [encoding.ids for encoding in tokenizer.backend.encode_batch(text.split("\n"), add_special_tokens=False)]
    assert counts.tolist() == [len(line) for line in expected]
    assert ids.tolist() == [index for line in expected for index in line] and ids.dtype == tokenizer.dtype


def test_random_text(tokenizer: Tokenizer) -> None:
    """Letters, marks, digits, white space of all kinds, control characters, special tokens, Chinese, accents; short and long chunks."""
    rng = random.Random(3)
    pieces = [*"abcXYZ019.,;:!?'\"-_/\\()[]{}<>@#$%^&*~`|+= \n\t\r\x0b\x0c\x1c\x7f\x01é中文，。\u3000\u00a0\u0301İßǅ🙂"]
    pieces += ["[MASK]", "[CLS]", "[mask]", "the", "Fox", "un", "aff", "able", " ", " ", " ", "\n", "x" * 17, "y" * 120]
    held = table(tokenizer)
    for _ in range(60):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 400)))
        check(held.encode(text.encode()), tokenizer, text)


def test_every_character_between_chunks(tokenizer: Tokenizer) -> None:
    text = "\n".join(f"fox{c}dog {c}fox Dog{c} {c}" for c in map(chr, [*range(1, 10), *range(11, 0x3100), *range(0xFE00, 0x10000)]))
    check(table(tokenizer).encode(text.encode()), tokenizer, text)


@pytest.mark.parametrize(
    "text", ["", "\n", "\n\n", " ", " \n ", "fox", "fox\n", "\nfox", "a\0b fox\nthe dog\0", "sixteen_letters_", "seventeen_letters"]
)
def test_ends_and_empty_lines(text: str, tokenizer: Tokenizer) -> None:
    check(table(tokenizer).encode(text.encode()), tokenizer, text)


def test_keys_differ_in_every_byte_and_in_length(tokenizer: Tokenizer) -> None:
    """Chunks of 1 to 17 bytes that differ in one byte only."""
    chunks = ["a" * n for n in range(1, 18)] + ["a" * i + "." + "a" * (n - i - 1) for n in range(1, 18) for i in range(n)]
    text = " ".join(chunks)
    held = table(tokenizer)
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
    encoded: list[str] = []
    held = table(tokenizer, encode_batch=lambda texts: encoded.extend(texts) or tokenizer._encode_directly(texts))
    text = "\n".join(f"没有空格的一行文字，没有空格的一行文字{i % 10}fox。" for i in range(50))
    check(held.encode(text.encode()), tokenizer, text)
    assert sorted(encoded) == [f"{i}fox" for i in range(10)]


def test_text_without_spaces(tokenizer: Tokenizer) -> None:
    """Every character's neighbours of every kind: what is a token alone, what joins, what vanishes, what may open a special token."""
    rng = random.Random(5)
    pieces = [*"abZ09.,[]()中文的，。「」·—\u3000\u00a0\u0301\u0338\u200b\ufeff\ufffd\x01\tİßǅ🙂🈶\U0002f800豈か゚カﾟａ１ー々〇"]
    pieces += ["[MASK]", "[CLS]", "fox", "\n", "x" * 101]
    held = table(tokenizer)
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

"""Lines -> which tokens begin a word: by the spelling of pieces, and in Chinese, which has no spaces, by a word segmenter.

BERT's rules make every Chinese character a word, so whole-word masking of Chinese (Cui et al. 2021, "Pre-training with whole word
masking for Chinese BERT") needs a segmenter. `rjieba` is jieba's dictionary and algorithm without dependencies or a model to download,
faster than reading the text. Only word boundaries are taken from it; ids do not change.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from electra.data.tokenizer import Tokenizer
from electra.errors import UserError, require

CHINESE = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
"""Blocks whose characters BERT's rules separate, as in `tokenizers` (the third last begins at 2B820 in BERT's own code)."""
_CHINESE_RUN = re.compile("([" + "".join(f"{chr(first)}-{chr(last)}" for first, last in CHINESE) + "]+)")
BYTE_SPACES = ("\u0120", "\u010a", "\u0109", "\u010d")
"""Space, newline, tab and carriage return as byte-level BPE writes them."""
CHINESE_VOCABULARY = 0.1
"""Share of Chinese characters among its pieces from which on a vocabulary counts as Chinese (BERT's Chinese one: 0.35, English: 0.01)."""


@dataclass(frozen=True, eq=False)
class WordSpelling:
    """How the spelling of pieces shows where words begin."""

    starts: np.ndarray
    """(V,) bool: whether a piece begins a word."""
    ends: np.ndarray | None = None
    """(V,) bool: whether a piece ends a word, so that the next one begins another; None where `starts` says all."""

    def mark(self, ids: np.ndarray) -> np.ndarray:
        """(N,) ids of consecutive tokens -> (N,) bool, whether each begins a word."""
        words = self.starts[ids]
        if self.ends is not None:
            words[:1] = True
            words[1:] |= self.ends[ids[:-1]]
        return words


def word_spelling(tokenizer: Tokenizer) -> WordSpelling:
    """A tokenizer -> how its pieces show words: the prefix ## (WordPiece, BPE), the suffix </w> (BPE), a marked space (Metaspace, byte-level).

    With a marked space words are what spaces separate; with the others, what the pre-tokenizer separates. Added tokens are words.

    Raises:
        UserError: a tokenizer whose pieces do not show it.
    """
    rules = json.loads(tokenizer.backend.to_str())
    model, pieces = rules["model"], tokenizer.pieces
    added = np.zeros(len(pieces), bool)
    added[[token["id"] for token in rules["added_tokens"]]] = True
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    if space := _marked_space(rules):
        return WordSpelling(np.array([piece.startswith(space) for piece in pieces]) | added)
    if model["type"] == "WordLevel":
        return WordSpelling(np.ones(len(pieces), bool))
    if suffix:
        return WordSpelling(added, np.array([piece.endswith(suffix) for piece in pieces]) | added)
    if prefix:
        return WordSpelling(np.array([not piece.startswith(prefix) for piece in pieces]) | added)
    raise UserError(
        f"--mask-unit word: the pieces of this tokenizer ({model['type']}, pre_tokenizer {(rules['pre_tokenizer'] or {}).get('type', 'none')}) do "
        "not show where words begin; mask pieces (--mask-unit piece)"
    )


def _marked_space(rules: dict[str, Any]) -> tuple[str, ...]:
    """A tokenizer.json -> the characters in front of a piece that stand for the space before a word; () where spaces are not marked."""
    steps = [step for part in ("normalizer", "pre_tokenizer") for step in _steps(rules[part])]
    for step in steps:
        if (step["type"] == "Metaspace" and step.get("prepend_scheme") == "never") or (step["type"] == "ByteLevel" and not step["add_prefix_space"]):
            field = "prepend_scheme 'never'" if step["type"] == "Metaspace" else "add_prefix_space false"
            raise UserError(
                f"--mask-unit word: pre_tokenizer {step['type']} with {field} does not mark the first word of a line; mask pieces (--mask-unit piece)"
            )
        if step["type"] == "Metaspace":
            return (step["replacement"],)
        if step["type"] == "ByteLevel":
            return BYTE_SPACES
        if step["type"] == "Prepend":
            return (step["prepend"],)
    return ()


def _steps(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    if part is None or part["type"] != "Sequence":
        return [] if part is None else [part]
    return [step for inner in part.get("normalizers", part.get("pretokenizers", [])) for step in _steps(inner)]


def chinese_pieces(pieces: Sequence[str]) -> np.ndarray:
    """(V,) bool: whether a piece is one Chinese character."""
    return np.array([len(piece) == 1 and _CHINESE_RUN.match(piece) is not None for piece in pieces])


def long_runs(text: bytes, limit: int, most: int) -> list[str]:
    """UTF-8 -> its runs of more than `limit` bytes without space or control character; about `most` bytes of them.

    A run of 101 bytes covers a whole block of 48 aligned bytes, so that only blocks without a space are looked at: a fraction of a millisecond
    per megabyte.
    """
    words = max(1, (limit + 1) // 16)
    size = 8 * words
    data = np.frombuffer(text + bytes(size), np.uint8) <= 32
    blocks = functools.reduce(np.bitwise_or, data[: len(data) // size * size].view(np.uint64).reshape(-1, words).T)
    out, last, taken = [], 0, 0
    for start in (np.flatnonzero(blocks == 0) * size).tolist():
        if taken > most:
            break
        if start < last:
            continue
        before = np.flatnonzero(data[last:start])
        first = last + int(before[-1]) + 1 if len(before) else last
        last = start + int(np.argmax(data[start:]))
        if last - first > limit:
            out.append(text[first:last].decode("utf-8"))
            taken += len(out[-1])
    return out


def resolve_words(choice: str, tokenizer: Tokenizer) -> tuple[str, str]:
    """`--words` auto, none or chinese -> none or chinese, and a warning where 'auto' found no segmenter.

    Raises:
        UserError: 'chinese' without rjieba, or with a tokenizer that does not separate Chinese characters.
    """
    if choice == "auto":
        if not tokenizer.split_chinese or chinese_pieces(tokenizer.pieces).mean() < CHINESE_VOCABULARY:
            return "none", ""
        try:
            require("rjieba", "data")
        except UserError as error:
            return "none", f"no Chinese word boundaries were kept (whole-word masking needs them): {error}"
        return "chinese", ""
    if choice == "chinese":
        require("rjieba", "data")
        if not tokenizer.split_chinese:
            raise UserError("--words chinese: this tokenizer does not separate Chinese characters; give --split-chinese, or --words none")
    return choice, ""


class ChineseWords:
    """Lines -> ids, the same as the tokenizer's, and which of them begin a word.

    A line is cut into runs of Chinese characters, each character of which is one token, and the runs between them. The segmenter reads
    only the Chinese runs, so a word of mixed scripts counts as two.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """`tokenizer` must separate Chinese characters."""
        self.tokenizer = tokenizer
        self._cut = require("rjieba", "data").cut
        self._spelled = word_spelling(tokenizer).starts

        self._characters = _Characters(tokenizer)
        self._is_chinese = chinese_pieces(tokenizer.pieces)

    def encode_lines(self, text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """UTF-8 lines -> (N,) all ids and (lines,) how many each has, as `Tokenizer.encode_lines`; (N,) bool whether a token begins a word."""
        ids, counts = self.tokenizer.encode_lines(text)
        lines = text.decode("utf-8").split("\n")
        runs = [_CHINESE_RUN.findall(line) for line in lines]
        line_of, is_chinese = np.repeat(np.arange(len(lines)), counts), self._is_chinese[ids]
        # A character missing from the vocabulary is [UNK], like other unknown words: then the ids do not show which tokens are Chinese.
        num_characters = np.array([sum(map(len, line)) for line in runs], np.int64)
        complete = np.bincount(line_of, is_chinese, len(lines)) == num_characters
        starts = self._spelled[ids]
        words = [word for line in np.flatnonzero(complete).tolist() for run in runs[line] for word in self._cut(run)]
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        ends = np.cumsum(lengths)
        begins = np.zeros(ends[-1] if len(ends) else 0, bool)
        begins[ends - lengths] = True
        starts[is_chinese & complete[line_of]] = begins
        firsts = np.cumsum(counts) - counts
        for line in np.flatnonzero(~complete).tolist():
            starts[firsts[line] : firsts[line] + counts[line]] = self.encode([lines[line]])[1][0]
        return ids, counts, starts

    def encode(self, lines: Sequence[str]) -> tuple[list[bytes], list[np.ndarray]]:
        """Lines -> for each its ids as in `Tokenizer.encode_packed`, and (n,) bool whether a token begins a word."""
        # Runs alternate: Chinese ones have odd indices, the others (perhaps empty) even ones.
        runs = [_CHINESE_RUN.split(line) for line in lines]
        between = iter(self.tokenizer.encode_packed([run for line in runs for run in line[::2]]))
        ids, starts = [], []
        for line in runs:
            found: list[bytes] = []
            marks: list[bytes] = []
            for index, run in enumerate(line):
                if index % 2:
                    found.append(b"".join(map(self._characters.__getitem__, run)))
                    marks += [b"\1" + bytes(len(word) - 1) for word in self._cut(run)]
                else:
                    found.append(next(between))
                    marks.append(b"\1" * (len(found[-1]) // self.tokenizer.dtype.itemsize))
            ids.append(b"".join(found))
            starts.append(np.frombuffer(b"".join(marks), bool) & self._spelled[np.frombuffer(ids[-1], self.tokenizer.dtype)])
        return ids, starts


class _Characters(dict[str, bytes]):
    """Chinese character -> the bytes of its one id, filled on demand."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, character: str) -> bytes:
        self[character] = self._tokenizer.encode_packed([character])[0]
        return self[character]


class PackedBits:
    """One bit per token, sliced like the array of ids."""

    def __init__(self, packed: np.ndarray) -> None:
        """`packed`: (ceil(N / 8),) uint8, the first token in the highest bit; memory-mapped."""
        self.packed = packed

    def __getitem__(self, where: slice) -> np.ndarray:
        """(n,) uint8 of zeros and ones."""
        first, last = int(where.start), int(where.stop)
        return np.unpackbits(self.packed[first // 8 : -(-last // 8)])[first % 8 : first % 8 + last - first]


def packed_size(num: int) -> int:
    """Bytes of `num` packed bits."""
    return -(-num // 8)


def write_bits(stream: Any, arrays: Iterator[np.ndarray]) -> None:
    """Arrays of bools -> their concatenation as packed bits in an open file."""
    rest = np.zeros(0, bool)
    for values in arrays:
        values = np.concatenate([rest, values])
        whole = len(values) // 8 * 8
        stream.write(np.packbits(values[:whole]).tobytes())
        rest = values[whole:]
    stream.write(np.packbits(rest).tobytes())

"""Lines -> which tokens begin a word: by the spelling of pieces, and in Chinese, which has no spaces, by a word segmenter.

BERT's rules make every Chinese character a word, so whole-word masking of Chinese (Cui et al. 2021, "Pre-training with whole word
masking for Chinese BERT") needs a segmenter. `rjieba` is jieba's dictionary and algorithm without dependencies or a model to download,
faster than reading the text. Only word boundaries are taken from it; ids do not change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
CHINESE_VOCABULARY = 0.1
"""Share of Chinese characters among its pieces from which on a vocabulary counts as Chinese (BERT's Chinese one: 0.35, English: 0.01)."""


def spelled_starts(pieces: Sequence[str]) -> np.ndarray:
    """(V,) bool: whether a piece begins a word, by its spelling."""
    return np.array([not piece.startswith("##") for piece in pieces])


def chinese_pieces(pieces: Sequence[str]) -> np.ndarray:
    """(V,) bool: whether a piece is one Chinese character."""
    return np.array([len(piece) == 1 and _CHINESE_RUN.match(piece) is not None for piece in pieces])


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
        self._spelled = spelled_starts(tokenizer.pieces)

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

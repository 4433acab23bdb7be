"""Documents -> numbered chunks of about 4 MB of text -> one .npz of tokens each: the units of work of `prepare`.

The .npz of a chunk holds, for each split: ids, tokens per line, lines per document, and with word boundaries which tokens begin a word;
and once: the chunk's key, counts of dropped lines and text bytes, and the unknown words as JSON. A chunk with the key of the corpus is not made
again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from electra.data.documents import read_documents
from electra.data.shards import SPLITS
from electra.data.sources import CorpusReport
from electra.data.tokenizer import Tokenizer
from electra.data.vocabulary import UnknownWords
from electra.data.word_boundaries import ChineseWords
from electra.errors import UserError, raise_if_device
from electra.storage import atomic

CHUNK_BYTES = 4 << 20
LineEncoder = Tokenizer | ChineseWords


@dataclass(frozen=True, kw_only=True)
class PreparePlan:
    """Everything that decides the content of a tokenized dataset; kept in plan.json and in the manifest."""

    sources: tuple[str, ...]
    fingerprint: str
    """Of the tokenizer."""
    held_out: float
    text_field: str
    documents: str
    deduplicate: bool
    words: str
    part_bytes: int
    """Text bytes from which on a chunk is complete (its name on disk)."""


@dataclass(frozen=True)
class Chunk:
    """A unit of work."""

    number: int
    documents: list[bytes]
    """UTF-8, lines joined by newlines."""
    held_out: list[bool]
    """Of each document."""
    key: bytes
    """16 bytes that change with the documents or their splits."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an engine does with many items; it can be pickled for worker processes."""

    start: Callable[[], Callable[[Any], Any]]
    """Loads what the work needs, once in each process, and returns the function of an item."""
    store: Callable[[Any, Any], None]
    """Writes what that function returned to its target."""
    noun: str = "chunk"
    """An item, for messages."""
    on_gpus: bool = False
    """Whether each worker of a cluster that has GPUs gets one."""


class Engine(Protocol):
    """Where items are processed: this process, a pool of processes, a Ray cluster. The files do not depend on it."""

    def submit(self, item: Any, target: Any) -> None:
        """Process `item` into `target`, now or later; blocks while too many items wait, so that memory stays bounded."""
        ...

    def close(self, *, failed: bool) -> None:
        """Wait for all submitted items, or if the work failed cancel them."""
        ...


class HashSet:
    """A set of 64-bit hashes in about 16 bytes each: open addressing in one array that doubles when half full."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 << 16))
        self._count = 0

    def add(self, value: int) -> bool:
        """Add a hash; whether it was new."""
        value = value or 1  # zero marks a free slot
        mask = len(self._slots) - 1
        slot = value & mask
        while (held := self._slots[slot]) != 0:
            if held == value:
                return False
            slot = (slot + 1) & mask
        self._slots[slot] = value
        self._count += 1
        if self._count * 2 > len(self._slots):
            self._grow()
        return True

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        mask = len(self._slots) - 1
        for value in old:
            if value:
                slot = value & mask
                while self._slots[slot]:
                    slot = (slot + 1) & mask
                self._slots[slot] = value


def read_chunks(plan: PreparePlan, report: CorpusReport, counts: dict[str, int], longest_word: int | None = None) -> Iterator[Chunk]:
    """The corpus in reading order, cut into chunks; `counts['duplicates']` and `counts['duplicate_bytes']` count dropped documents.

    A document's split depends only on its own hash, so it is independent of order, engine and number of workers. A word of more than
    `longest_word` characters is cut, and reported.
    """
    seen = HashSet()
    held_below = int(plan.held_out * 2**64)
    number, size_bytes = 0, 0
    texts: list[bytes] = []
    held_out: list[bool] = []
    key = hashlib.blake2b(digest_size=16)
    for document in read_documents(plan.sources, text_field=plan.text_field, documents=plan.documents, report=report):
        whole = "\n".join(document.lines)
        if longest_word is not None and len(whole) > longest_word:
            whole, found = re.subn(rf"\S{{{longest_word}}}(?=\S)", r"\g<0> ", whole)
            if found:
                report.add(f"words cut because they are longer than {longest_word:,} characters", document.place)
        text = whole.encode("utf-8")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        if plan.deduplicate and not seen.add(int.from_bytes(digest[:8], "little")):
            counts["duplicates"] += 1
            counts["duplicate_bytes"] += len(text)
            continue
        held = int.from_bytes(digest[8:], "little") < held_below
        texts.append(text)
        held_out.append(held)
        key.update(digest + (b"h" if held else b"t"))
        size_bytes += len(text)
        if size_bytes >= plan.part_bytes:
            yield Chunk(number, texts, held_out, key.digest())
            number, size_bytes, texts, held_out, key = number + 1, 0, [], [], hashlib.blake2b(digest_size=16)
    if texts:
        yield Chunk(number, texts, held_out, key.digest())


def line_encoder(tokenizer: Tokenizer, words: str) -> LineEncoder:
    """The tokenizer, or with `words` 'chinese' one that also finds where words start."""
    return ChineseWords(tokenizer) if words == "chinese" else tokenizer


def tokenize_chunk(encoder: LineEncoder, chunk: Chunk) -> bytes:
    """Chunk -> its .npz in memory. Lines without a token are left out, and counted."""
    tokenizer = encoder.tokenizer if isinstance(encoder, ChineseWords) else encoder
    arrays: dict[str, np.ndarray] = {"key": np.frombuffer(chunk.key, np.uint8)}
    unknown = UnknownWords(tokenizer)
    dropped = 0
    for name, held in zip(SPLITS, (False, True), strict=True):
        chosen = [text for text, of_held in zip(chunk.documents, chunk.held_out, strict=True) if of_held == held]
        text = b"\n".join(chosen)
        ids, lengths, starts = np.zeros(0, tokenizer.dtype), np.zeros(0, np.int64), np.zeros(0, bool)
        if chosen and isinstance(encoder, ChineseWords):
            ids, lengths, starts = encoder.encode_lines(text)
        elif chosen:
            ids, lengths = tokenizer.encode_lines(text)
        if chosen:
            unknown.add_lines(text, ids, lengths)
        if isinstance(encoder, ChineseWords):
            arrays[f"{name}_words"] = starts
        full = lengths > 0
        num_lines = np.array([one.count(b"\n") + 1 for one in chosen], np.int64)
        per_document = np.bincount(np.repeat(np.arange(len(chosen)), num_lines), full, len(chosen)).astype(np.int64)
        arrays |= {f"{name}_ids": ids, f"{name}_lines": lengths[full], f"{name}_documents": per_document[per_document > 0]}
        dropped += int((~full).sum())
    arrays |= {
        "dropped": np.array([dropped, sum(map(len, chunk.documents))]),
        "unknown": np.frombuffer(json.dumps(unknown.record()).encode(), np.uint8),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


@contextmanager
def open_chunk(file: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a chunk's file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except atomic.BROKEN_PACKED as error:
        raise_if_device(error)
        raise UserError(f"{file} cannot be read ({error}); run the same command again, which makes it anew") from None


def is_tokenized(file: Path, key: bytes) -> bool:
    """Whether a chunk's file exists, is whole and was made from the same documents."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return bytes(arrays["key"]) == key and arrays["unknown"].dtype == np.uint8  # it was a number once
    except atomic.BROKEN_PACKED:
        return False

"""Documents -> numbered parts -> one .npz of tokens each: the units of work of `preparation`."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np

from electra.data.documents import read_documents
from electra.data.shards import SPLITS
from electra.data.sources import CorpusReport
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.word_boundaries import ChineseWords
from electra.storage import atomic

CHUNK_BYTES = 4 << 20
LineReader = Tokenizer | ChineseWords


@dataclass(frozen=True, kw_only=True)
class PreparePlan:
    """What decides the shards' content."""

    sources: tuple[str, ...]
    fingerprint: str
    held_out: float
    text_field: str = "text"
    documents: str = "auto"
    deduplicate: bool = True
    words: str = "none"
    part_bytes: int = CHUNK_BYTES


@dataclass
class Chunk:
    """A piece of work: documents as UTF-8, lines joined by newlines, and whether each is held out."""

    number: int
    documents: list[bytes] = field(default_factory=list)
    held_out: list[bool] = field(default_factory=list)
    size_bytes: int = 0
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    @property
    def key(self) -> bytes:
        """16 bytes that change with the documents or their splits."""
        return bytes(self.digest.digest())


class HashSet:
    """A set of 64-bit hashes in about 16 bytes each: open addressing in one array that doubles when half full."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 << 16))
        self._count = 0

    def add(self, value: int) -> bool:
        """Add a hash; whether it was new."""
        value = value or 1  # zero marks a free slot
        mask = len(self._slots) - 1
        place = value & mask
        while (held := self._slots[place]) != 0:
            if held == value:
                return False
            place = (place + 1) & mask
        self._slots[place] = value
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
                place = value & mask
                while self._slots[place]:
                    place = (place + 1) & mask
                self._slots[place] = value


def read_chunks(plan: PreparePlan, report: CorpusReport, counts: dict[str, int]) -> Iterator[Chunk]:
    """The corpus, cut to parts in reading order; `counts['duplicates']` counts documents dropped."""
    seen = HashSet()
    held_below = int(plan.held_out * 2**64)
    part = Chunk(0)
    for document in read_documents(plan.sources, text_field=plan.text_field, documents=plan.documents, report=report):
        text = "\n".join(document.lines).encode("utf-8")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        if plan.deduplicate and not seen.add(int.from_bytes(digest[:8], "little")):
            counts["duplicates"] += 1
            counts["duplicate_bytes"] += len(text)
            continue
        held = int.from_bytes(digest[8:], "little") < held_below
        part.documents.append(text)
        part.held_out.append(held)
        part.digest.update(digest + (b"h" if held else b"t"))
        part.size_bytes += len(text)
        if part.size_bytes >= plan.part_bytes:
            yield part
            part = Chunk(part.number + 1)
    if part.documents:
        yield part


# ---- workers ----

_reader: LineReader | None = None


def start_worker(folder: str, words: str) -> None:
    """Load the tokenizer; one thread a process; leave when the reading process is gone, however it went."""
    global _reader
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the reader decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _reader = line_reader(load_tokenizer(folder), words)


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def tokenize_in_worker(key: bytes, documents: list[bytes], held_out: list[bool], file: Path) -> None:
    """`tokenize_part` with this process's reader of lines."""
    assert _reader is not None
    tokenize_part(_reader, key, documents, held_out, file)


def line_reader(tokenizer: Tokenizer, words: str) -> LineReader:
    """The tokenizer, or with `words` 'chinese' one that finds where words start as well."""
    return ChineseWords(tokenizer) if words == "chinese" else tokenizer


def tokenize_part(reader: LineReader, key: bytes, documents: list[bytes], held_out: list[bool], file: Path) -> None:
    """Documents -> one .npz, as `pack_part` makes it."""
    store_part(pack_part(reader, key, documents, held_out), file)


def store_part(packed: bytes, file: Path) -> None:
    """An .npz in memory -> a file."""
    with atomic.atomic_file(file) as temporary:
        temporary.write_bytes(packed)


def pack_part(reader: LineReader, key: bytes, documents: list[bytes], held_out: list[bool]) -> bytes:
    """Documents -> an .npz in memory: per split ids, tokens per line, lines per document; lines without a token are left out, and counted.

    A reader that finds words adds per split which tokens begin one.
    """
    tokenizer = reader.tokenizer if isinstance(reader, ChineseWords) else reader
    arrays: dict[str, np.ndarray] = {"key": np.frombuffer(key, np.uint8)}
    dropped = unknown = 0
    for name, held in zip(SPLITS, (False, True), strict=True):
        chosen = [text for text, of_held in zip(documents, held_out, strict=True) if of_held == held]
        text = b"\n".join(chosen)
        ids, lengths, marks = np.zeros(0, tokenizer.dtype), np.zeros(0, np.int64), np.zeros(0, bool)
        if chosen and isinstance(reader, ChineseWords):
            ids, lengths, marks = reader.encode_lines(text)
        elif chosen:
            ids, lengths = tokenizer.encode_lines(text)
        if isinstance(reader, ChineseWords):
            arrays[f"{name}_words"] = marks
        full = lengths > 0
        num_lines = np.array([one.count(b"\n") + 1 for one in chosen], np.int64)
        per_document = np.bincount(np.repeat(np.arange(len(chosen)), num_lines), full, len(chosen)).astype(np.int64)
        arrays |= {f"{name}_ids": ids, f"{name}_lines": lengths[full], f"{name}_documents": per_document[per_document > 0]}
        dropped += int((~full).sum())
        unknown += int((ids == tokenizer.unk_id).sum())
    arrays |= {"dropped": np.array([dropped, sum(map(len, documents))]), "unknown": np.array([unknown])}
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def is_made(file: Path, key: bytes) -> bool:
    """Whether the file of a part is there, whole and made from the same documents."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return bytes(arrays["key"]) == key
    except (OSError, ValueError, KeyError, EOFError):
        return False

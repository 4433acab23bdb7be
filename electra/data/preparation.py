"""CORPUS -> SHARDS.

    read documents in order, drop duplicates                   (this process)
      -> parts of 4 MB of text, numbered
      -> tokenize each part to SHARDS/parts/00000.npz          (worker processes)
      -> parts laid end to end: {train,held_out}/*.npy, manifest.json

What a part holds depends on the corpus alone, and a document's split on its own hash, so the shards are the same for any number of
workers and after any interruption: a part whose file is there with the right key is not made again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from electra import __version__, disk
from electra.data.corpus import read_documents
from electra.data.progress import Progress
from electra.data.shards import FORMAT, SPLITS, Shards, open_shards
from electra.data.sources import Report
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError

PART_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What decides the shards' content."""

    sources: tuple[str, ...]
    fingerprint: str
    held_out: float
    text_field: str = "text"
    documents: str = "auto"
    deduplicate: bool = True
    part_bytes: int = PART_BYTES


@dataclass
class Part:
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


class Seen:
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


def read_parts(plan: Plan, report: Report, counts: dict[str, int]) -> Iterator[Part]:
    """The corpus, cut to parts in reading order; `counts['duplicates']` counts documents dropped."""
    seen = Seen()
    held_below = int(plan.held_out * 2**64)
    part = Part(0)
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
            part = Part(part.number + 1)
    if part.documents:
        yield part


# ---- workers ----

_tokenizer: Tokenizer | None = None


def _start_worker(folder: str) -> None:
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = load_tokenizer(folder)


def _tokenize_part(part_key: bytes, documents: list[bytes], held_out: list[bool], file: Path) -> None:
    """Documents -> one .npz: per split ids, tokens per line, lines per document; lines without a token are left out, and counted."""
    assert _tokenizer is not None
    dtype = np.dtype(np.uint16 if _tokenizer.typecode == "H" else np.int32)
    ids: dict[bool, list[bytes]] = {False: [], True: []}
    lines: dict[bool, list[int]] = {False: [], True: []}
    ends: dict[bool, list[int]] = {False: [], True: []}
    dropped = 0
    for text, held in zip(documents, held_out, strict=True):
        encoded = _tokenizer.encode_packed(text.decode("utf-8").split("\n"))
        full = [line for line in encoded if line]
        dropped += len(encoded) - len(full)
        if full:
            ids[held] += full
            lines[held] += [len(line) // dtype.itemsize for line in full]
            ends[held].append(len(full))
    arrays: dict[str, np.ndarray] = {"key": np.frombuffer(part_key, np.uint8), "dropped": np.array([dropped, sum(map(len, documents))])}
    unknown = 0
    for name, held in zip(SPLITS, (False, True), strict=True):
        values = np.frombuffer(b"".join(ids[held]), dtype)
        unknown += int((values == _tokenizer.unk_id).sum())
        arrays |= {f"{name}_ids": values, f"{name}_lines": np.array(lines[held], np.int64), f"{name}_documents": np.array(ends[held], np.int64)}
    arrays["unknown"] = np.array([unknown])
    with disk.atomic_file(file) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _is_made(file: Path, key: bytes) -> bool:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return bytes(arrays["key"]) == key
    except (OSError, ValueError, KeyError, EOFError):
        return False


def _tokenize_all(plan: Plan, output: Path, workers: int, report: Report, counts: dict[str, int]) -> int:
    """Make every part that is not there yet -> number of parts."""
    folder = output / "parts"
    folder.mkdir(exist_ok=True)
    number = 0
    with Progress(report, f"preparing {output.name}") as progress:
        if workers == 1:
            _start_worker(str(output / "tokenizer"))
            for part in read_parts(plan, report, counts):
                file = folder / f"{part.number:06}.npz"
                if not _is_made(file, part.key):
                    _tokenize_part(part.key, part.documents, part.held_out, file)
                number = part.number + 1
                progress.update()
            return number
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(str(output / "tokenizer"),))
        waiting: deque[Future[None]] = deque()
        try:
            for part in read_parts(plan, report, counts):
                file = folder / f"{part.number:06}.npz"
                if not _is_made(file, part.key):
                    waiting.append(pool.submit(_tokenize_part, part.key, part.documents, part.held_out, file))
                number = part.number + 1
                while len(waiting) > workers + 2:
                    waiting.popleft().result()
                progress.update()
            while waiting:
                waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(f"a worker process was killed (out of memory?); run the same command again with fewer --workers, finished parts in {folder} are kept") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return number


# ---- merging ----


def _merge(output: Path, number: int, dtype: np.dtype[Any]) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Parts -> the arrays of each split -> (counts and hashes per split, totals)."""
    files = [output / "parts" / f"{index:06}.npz" for index in range(number)]
    totals = {"dropped_lines": 0, "unknown_tokens": 0, "text_bytes": 0}
    sizes = {(name, kind): 0 for name in SPLITS for kind in ("ids", "lines", "documents")}
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            totals["dropped_lines"] += int(arrays["dropped"][0])
            totals["text_bytes"] += int(arrays["dropped"][1])
            totals["unknown_tokens"] += int(arrays["unknown"][0])
            for name, kind in sizes:
                sizes[name, kind] += len(arrays[f"{name}_{kind}"])
    splits: dict[str, dict[str, Any]] = {}
    for name in SPLITS:
        folder = output / name
        folder.mkdir(exist_ok=True)
        splits[name] = {"documents": sizes[name, "documents"], "lines": sizes[name, "lines"], "tokens": sizes[name, "ids"], "sha256": {}}
        for array_name, kind in (("ids", "ids"), ("line_starts", "lines"), ("document_starts", "documents")):
            length = sizes[name, kind] + (kind != "ids")
            kept: np.dtype[Any] = dtype if kind == "ids" else np.dtype(np.int64)
            target = folder / f"{array_name}.npy"
            splits[name]["sha256"][array_name] = _write_array(target, files, f"{name}_{kind}", length, kept)
    return splits, totals


def _write_array(target: Path, files: Sequence[Path], key: str, length: int, dtype: np.dtype[Any]) -> str:
    """One array of every part -> one .npy, written piece by piece (ids as they are, lengths as running starts) -> its sha256."""
    with disk.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(stream, header)
        start = 0
        if not key.endswith("_ids"):
            stream.write(np.zeros(1, dtype).tobytes())
        for file in files:
            with np.load(file, allow_pickle=False) as arrays:
                values = arrays[key]
            if not key.endswith("_ids"):
                values = start + np.cumsum(values)
                start = int(values[-1]) if len(values) else start
            stream.write(values.astype(dtype, copy=False).tobytes())
    with open(target, "rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


# ---- the whole ----


def prepare(
    sources: Sequence[str | Path],
    tokenizer: Tokenizer,
    output: Path | str,
    *,
    workers: int = 0,
    held_out: float = 0.005,
    text_field: str = "text",
    documents: str = "auto",
    deduplicate: bool = True,
    part_bytes: int = PART_BYTES,
    report: Report | None = None,
) -> Shards:
    """A corpus -> a shard folder. Interrupted work goes on when called again with the same settings. `workers` 0: one per core.

    Raises:
        UserError: the output holds finished shards or work with other settings, or the corpus cannot be read.
    """
    output = Path(output)
    report = Report() if report is None else report
    plan = Plan(
        sources=tuple(map(str, sources)),
        fingerprint=tokenizer.fingerprint,
        held_out=held_out,
        text_field=text_field,
        documents=documents,
        deduplicate=deduplicate,
        part_bytes=part_bytes,
    )
    _begin(plan, tokenizer, output)
    counts = {"duplicates": 0, "duplicate_bytes": 0}
    number = _tokenize_all(plan, output, workers or os.cpu_count() or 1, report, counts)
    splits, totals = _merge(output, number, np.dtype(np.uint16 if tokenizer.typecode == "H" else np.int32))
    manifest = {
        "format": FORMAT,
        "tool_version": __version__,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size, "lowercase": tokenizer.lowercase},
        "dtype": "uint16" if tokenizer.typecode == "H" else "int32",
        "splits": splits,
        **counts,
        "empty_documents": report.empty_documents,
        **totals,
        "document_rules": report.rules,
        "problems": report.problems,
        "settings": asdict(plan),
    }
    disk.write_text(output / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(output / "parts")
    (output / "plan.json").unlink(missing_ok=True)
    for line in report.lines():
        print(f"warning: {line}", file=sys.stderr)
    return open_shards(output)


def _begin(plan: Plan, tokenizer: Tokenizer, output: Path) -> None:
    """Note the plan in the output folder, or check that the work begun there had the same."""
    if (output / "manifest.json").is_file():
        raise UserError(f"{output} already holds finished shards; choose another --output, or delete it first")
    note = output / "plan.json"
    if note.is_file():
        begun = json.loads(note.read_text(encoding="utf-8"))
        for key, value in json.loads(json.dumps(asdict(plan))).items():
            if begun.get(key) != value:
                raise UserError(f"{output} was begun with {key} = {begun.get(key)!r}, not {value!r}; give the same settings to go on, or another --output")
        return
    disk.fresh_output(output, remedy="choose another --output")
    tokenizer.save(output / "tokenizer")
    disk.write_text(note, json.dumps(asdict(plan), indent=2) + "\n")

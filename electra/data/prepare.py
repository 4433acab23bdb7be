"""CORPUS -> SHARDS.

    read documents in order, drop duplicates                   (this process)
      -> parts of 4 MB of text, numbered
      -> tokenize each part to SHARDS/parts/00000.npz          (worker processes, or a Ray cluster)
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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from electra import __version__
from electra.data.prepare_chunk import (
    CHUNK_BYTES,
    Chunk,
    LineReader,
    PreparePlan,
    is_made,
    line_reader,
    read_chunks,
    start_worker,
    tokenize_in_worker,
    tokenize_part,
)
from electra.data.shards import FORMAT, SPLITS, Shards, make_shards, open_shards
from electra.data.sources import CorpusReport, find_sources
from electra.data.tfrecord import RecordFile, find_records, store_records
from electra.data.tokenizer import Tokenizer
from electra.data.word_boundaries import packed_size, write_bits
from electra.errors import UserError
from electra.storage import atomic
from electra.terminal import ReadingProgress

Engine = tuple[Callable[[Chunk, Path], None], Callable[[bool], None]]
"""submit(part, its file), which may wait; finish(whether the work failed)."""


def _tokenize_all(plan: PreparePlan, output: Path, engine: Callable[[], Engine], report: CorpusReport, counts: dict[str, int]) -> int:
    """Make every part that is not there yet -> number of parts."""
    folder = output / "parts"
    folder.mkdir(exist_ok=True)
    number = 0
    with ReadingProgress(report, f"preparing {output.name}") as progress:
        submit, finish = engine()
        try:
            for part in read_chunks(plan, report, counts):
                file = folder / f"{part.number:06}.npz"
                if not is_made(file, part.key):
                    submit(part, file)
                number = part.number + 1
                progress.show()
        except BaseException as error:
            finish(True)
            if isinstance(error, KeyboardInterrupt):
                print(f"stopped; finished parts are kept, the same command goes on ({number} parts begun)", file=sys.stderr)
            raise
        finish(False)
    return number


def _choose_engine(name: str, plan: PreparePlan, tokenizer: Tokenizer, output: Path, workers: int, ray_address: str | None) -> Callable[[], Engine]:
    """Where parts are tokenized; nothing is started before it is called."""
    if name == "ray":
        from electra.data.ray_backend import in_ray

        return lambda: in_ray(tokenizer, plan.words, ray_address, workers)
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        return lambda: _in_this_process(line_reader(tokenizer, plan.words))
    return lambda: _in_processes(str(output / "tokenizer"), plan.words, workers)


def _in_this_process(reader: LineReader) -> Engine:
    def submit(part: Chunk, file: Path) -> None:
        tokenize_part(reader, part.key, part.documents, part.held_out, file)

    return submit, lambda failed: None


def _in_processes(tokenizer_folder: str, words: str, workers: int) -> Engine:
    """(submit, finish): a few parts wait in the queue at most, so memory does not grow with the corpus."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(tokenizer_folder, words))
    waiting: deque[Future[None]] = deque()

    def wait_for_oldest() -> None:
        try:
            waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError("a worker process was killed (out of memory?); run the same command again with fewer --workers, it goes on") from None

    def submit(part: Chunk, file: Path) -> None:
        try:
            waiting.append(pool.submit(tokenize_in_worker, part.key, part.documents, part.held_out, file))
        except BrokenProcessPool:
            wait_for_oldest()
            raise
        if len(waiting) > workers + 2:
            wait_for_oldest()

    def finish(failed: bool) -> None:
        try:
            while waiting and not failed:
                wait_for_oldest()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return submit, finish


# ---- merging ----


def _merge(output: Path, number: int, dtype: np.dtype[Any], words: str) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
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
        if words != "none":
            splits[name]["sha256"]["word_starts"] = _write_words(folder / "word_starts.npy", files, f"{name}_words", sizes[name, "ids"])
    return splits, totals


def _write_array(target: Path, files: Sequence[Path], key: str, length: int, dtype: np.dtype[Any]) -> str:
    """One array of every part -> one .npy, written piece by piece (ids as they are, lengths as running starts) -> its sha256."""
    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
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


def _write_words(target: Path, files: Sequence[Path], key: str, num_tokens: int) -> str:
    """Whether each token begins a word, of every part -> one .npy of a bit each -> its sha256."""

    def bits() -> Iterator[np.ndarray]:
        for file in files:
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays[key]

    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (packed_size(num_tokens),)}
        np.lib.format.write_array_header_1_0(stream, header)
        write_bits(stream, bits())
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
    words: str = "none",
    part_bytes: int = CHUNK_BYTES,
    engine: str = "local",
    ray_address: str | None = None,
    report: CorpusReport | None = None,
) -> Shards:
    """A corpus, or the original's TFRecords -> a shard folder, here or at a URL. `workers` 0: one per core.

    `words` 'chinese': word boundaries are kept.

    `engine` 'ray' tokenizes on the cluster at `ray_address`, or on one started here; the shards are the same.
    Interrupted work goes on when called again with the same settings.

    Raises:
        UserError: the output holds finished shards or work with other settings, or the corpus cannot be read.
    """
    report = CorpusReport() if report is None else report
    records = find_records(sources)
    if records and engine == "ray":
        raise UserError(f"{records[0].place}: TFRecords are stored as they are, there is nothing to tokenize; leave out --engine ray")
    plan = PreparePlan(
        sources=tuple(map(str, sources)),
        fingerprint=tokenizer.fingerprint,
        held_out=held_out,
        text_field=text_field,
        documents="stored examples" if records else documents,
        deduplicate=deduplicate,
        words="none" if records else words,
        part_bytes=part_bytes,
    )

    def make(folder: Path) -> Shards:
        start = _choose_engine(engine, plan, tokenizer, folder, workers, ray_address)
        return _make(plan, tokenizer, folder, records, start, report)

    return make_shards(output, make)


def _make(
    plan: PreparePlan, tokenizer: Tokenizer, output: Path, records: list[RecordFile], engine: Callable[[], Engine], report: CorpusReport
) -> Shards:
    """The whole work in a local folder."""
    if not records:
        find_sources(plan.sources, CorpusReport())  # a mistyped name must not leave a plan behind that refuses the right one
    _begin(plan, tokenizer, output)
    counts = {"duplicates": 0, "duplicate_bytes": 0}
    number = store_records(records, tokenizer, output, plan.held_out, report) if records else _tokenize_all(plan, output, engine, report, counts)
    splits, totals = _merge(output, number, np.dtype(np.uint16 if tokenizer.typecode == "H" else np.int32), plan.words)
    manifest = {
        "format": FORMAT,
        "tool_version": __version__,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size, "lowercase": tokenizer.lowercase},
        "dtype": "uint16" if tokenizer.typecode == "H" else "int32",
        "stored_examples": bool(records),
        "words": plan.words,
        "splits": splits,
        **counts,
        "empty_documents": report.empty_documents,
        **totals,
        "document_rules": report.rules,
        "problems": report.problems,
        "settings": asdict(plan),
    }
    atomic.write_text(output / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(output / "parts")
    (output / "plan.json").unlink(missing_ok=True)
    if plan.held_out > 0 and not splits["held_out"]["documents"]:
        print(f"warning: none of {splits['train']['documents']:,} documents was held out; give a larger --held-out to evaluate", file=sys.stderr)
    for line in report.lines():
        print(f"warning: {line}", file=sys.stderr)
    return open_shards(output)


def _begin(plan: PreparePlan, tokenizer: Tokenizer, output: Path) -> None:
    """Note the plan in the output folder, or check that the work begun there had the same."""
    if (output / "manifest.json").is_file():
        shutil.rmtree(output / "parts", ignore_errors=True)
        raise UserError(f"{output} already holds finished shards; choose another --output, or delete it first")
    note = output / "plan.json"
    if note.is_file():
        begun = json.loads(note.read_text(encoding="utf-8"))
        for key, value in json.loads(json.dumps(asdict(plan))).items():
            if begun.get(key) != value:
                was = begun.get(key)
                raise UserError(f"{output} was begun with {key} = {was!r}, not {value!r}; give the same settings to go on, or another --output")
        return
    atomic.fresh_output(output, remedy="choose another --output")
    tokenizer.save(output / "tokenizer")
    atomic.write_text(note, json.dumps(asdict(plan), indent=2) + "\n")

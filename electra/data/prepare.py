"""Corpus + tokenizer -> tokenized dataset (`shards`), on disk or in an object store.

    read documents in order, drop duplicates                    (this process)
      -> chunks of 4 MB of text, numbered
      -> tokenize each chunk to OUTPUT/parts/000000.npz         (worker processes, or a Ray cluster)
      -> concatenate the chunks: {train,held_out}/*.npy, manifest.json

A chunk depends on the corpus alone, and a document's split on its own hash. So the dataset is the same for any number of workers and
after any interruption: a chunk whose file exists with the right key is not made again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from electra import __version__
from electra.data.prepare_chunk import (
    CHUNK_BYTES,
    Chunk,
    Engine,
    PreparePlan,
    Work,
    is_tokenized,
    line_encoder,
    open_chunk,
    read_chunks,
    tokenize_chunk,
)
from electra.data.shards import FORMAT, SPLITS, Shards, check_plan, make_shards, open_shards
from electra.data.sources import CorpusReport, find_sources
from electra.data.tfrecord import RecordFile, find_records, store_records
from electra.data.tokenizer import Tokenizer
from electra.data.vocabulary import UnknownWords
from electra.data.word_boundaries import packed_size, resolve_words, write_bits
from electra.environment import main_not_imported, signals_to
from electra.errors import UserError, parse_json, require
from electra.settings import PrepareSettings
from electra.storage import atomic
from electra.terminal import ReadingProgress, say

FEW_DOCUMENTS = 20
RECORDED_WORDS = 20
"""Unknown words in the manifest."""


def prepare(settings: PrepareSettings, tokenizer: Tokenizer, *, report: CorpusReport | None = None, chunk_bytes: int = CHUNK_BYTES) -> Shards:
    """Tokenize the text (or the original's TFRecords) in `settings.corpus` into `settings.output`; interrupted work continues.

    `report` is filled with what was read and every problem met.

    Raises:
        UserError: the output is finished or was begun with other settings, the corpus cannot be read, or settings contradict each other.
    """
    report = CorpusReport() if report is None else report
    records = find_records(settings.corpus)
    if records and settings.engine == "ray":
        raise UserError(f"{records[0].place}: TFRecords are stored as they are, there is nothing to tokenize; leave out --engine ray")
    if records and settings.words == "chinese":
        raise UserError("--words chinese: TFRecords hold ids without the text that words are found in; prepare the text itself")
    words, warning = resolve_words(settings.words, tokenizer)
    if warning:
        say(f"warning: {warning}")
    plan = PreparePlan(
        sources=tuple(map(str, settings.corpus)),
        fingerprint=tokenizer.fingerprint,
        held_out=settings.held_out,
        text_field=settings.text,
        documents="stored examples" if records else settings.documents,
        deduplicate=settings.deduplicate,
        words="none" if records else words,
        part_bytes=chunk_bytes,
    )
    return make_shards(settings.output, lambda folder: _make(settings, plan, tokenizer, folder, records, report), _as_json(plan))


def _make(
    settings: PrepareSettings, plan: PreparePlan, tokenizer: Tokenizer, output: Path, records: list[RecordFile], report: CorpusReport
) -> Shards:
    """The whole work in a local folder."""
    if not records:
        find_sources(plan.sources, CorpusReport())  # a mistyped name must not leave a plan that rejects the right one
    counts = {"duplicates": 0, "duplicate_bytes": 0}
    with atomic.new_folder(output, keep=lambda: any(output.glob("parts/*.npz"))):
        _begin(plan, tokenizer, output)
        if records:
            num_chunks = store_records(records, tokenizer, output, plan.held_out, report)
        else:
            num_chunks = _tokenize_all(settings, plan, tokenizer, output, report, counts)
    splits, totals, unknown = _concatenate(output, num_chunks, tokenizer, plan.words)
    manifest = {
        "format": FORMAT,
        "tool_version": __version__,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size, "lowercase": tokenizer.lowercase},
        "dtype": tokenizer.dtype.name,
        "stored_examples": bool(records),
        "words": plan.words,
        "splits": splits,
        **counts,
        "empty_documents": report.empty_documents,
        **totals,
        **{key: value for key, value in unknown.record(RECORDED_WORDS).items() if key != "tokens"},
        "document_rules": report.rules,
        "problems": report.problems,
        "settings": asdict(plan),
    }
    atomic.write_text(output / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(output / "parts", ignore_errors=True)  # the dataset is finished
    (output / "plan.json").unlink(missing_ok=True)
    if plan.held_out > 0 and not splits["held_out"]["documents"]:
        few = splits["train"]["documents"] < FEW_DOCUMENTS
        remedy = "give --documents line, or evaluate on text of its own" if few else "give a larger --held-out to evaluate"
        say(f"warning: none of {splits['train']['documents']:,} documents was held out; {remedy}")
    if not splits["train"]["documents"]:
        say("warning: no document is left to train on; give a smaller --held-out, or --documents line")
    if settings.documents == "auto" and "line" in report.rules:
        tokens = sum(split["tokens"] for split in splits.values()) / max(1, sum(split["documents"] for split in splits.values()))
        what = f"every line is a document in {report.rules['line']:,} files, {tokens:.0f} tokens on average"
        say(f"{what}; if lines follow each other, --documents file or blank-line joins them")
    for line in report.lines():
        say(f"warning: {line}")
    for line in (tokenizer.settings.note, *unknown.lines(give="give")):
        if line:
            say(line)
    return open_shards(output)


def _as_json(plan: PreparePlan) -> dict[str, Any]:
    """The plan as it is in a file."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return found


def _begin(plan: PreparePlan, tokenizer: Tokenizer, output: Path) -> None:
    """Write the plan into the output folder, or check that the work begun there has the same plan."""
    atomic.remove_partial(output, output / "tokenizer", *(output / name for name in SPLITS))
    if (output / "manifest.json").is_file():
        shutil.rmtree(output / "parts", ignore_errors=True)
        raise UserError(f"{output} already holds finished shards; choose another --output, or delete it first")
    note = output / "plan.json"
    if note.is_file():
        check_plan(_as_json(plan), atomic.read_json(note, dict), str(output))
    else:
        atomic.fresh_output(output, remedy="choose another --output")
        atomic.write_text(note, json.dumps(asdict(plan), indent=2) + "\n")
    tokenizer.with_segments().save(output / "tokenizer")  # also where the start was killed before it was written


def _tokenize_all(
    settings: PrepareSettings, plan: PreparePlan, tokenizer: Tokenizer, output: Path, report: CorpusReport, counts: dict[str, int]
) -> int:
    """Make the file of every chunk that is missing -> number of chunks."""
    folder = output / "parts"
    folder.mkdir(exist_ok=True)
    num_chunks = 0
    with ReadingProgress(report, f"preparing {output.name}") as progress:
        work = Work(start=partial(_start_tokenizing, tokenizer, plan.words), store=_store_chunk)
        engine = start_engine(work, settings.engine, ray_address=settings.ray_address, workers=settings.workers)
        try:
            for chunk in read_chunks(plan, report, counts, tokenizer.longest_word):
                file = folder / f"{chunk.number:06}.npz"
                if not is_tokenized(file, chunk.key):
                    engine.submit(chunk, file)
                num_chunks = chunk.number + 1
                progress.show()
        except BaseException as error:
            engine.close(failed=True)
            if isinstance(error, KeyboardInterrupt):
                say(f"stopped; finished chunks are kept, run the same command to continue ({num_chunks} chunks begun)")
            raise
        engine.close(failed=False)
    return num_chunks


# ---- engines ----


def start_engine(work: Work, engine: str, *, ray_address: str | None = None, workers: int = 0, threads: int = 1) -> Engine:
    """Where `work` is done: 'local', in processes of this machine, or on a 'ray' cluster, `workers` items at a time (0: as many as there are cores).

    Args:
        work: what is done with each item.
        engine: 'local' or 'ray'.
        ray_address: of a running cluster; None: one is started for this run.
        workers: items at a time.
        threads: cores for each.

    Raises:
        UserError: no cluster at the address, or it has another version of electra.
    """
    if engine == "ray":
        return RayCluster(work, ray_address, workers, threads)
    workers = workers or max(1, (os.cpu_count() or 1) // threads)
    return ThisProcess(work) if workers == 1 else ProcessPool(work, workers)


def _start_tokenizing(tokenizer: Tokenizer, words: str) -> Callable[[Chunk], bytes]:
    return partial(tokenize_chunk, line_encoder(tokenizer, words))


def _store_chunk(packed: bytes, file: Path) -> None:
    atomic.write_bytes(file, packed)


class ThisProcess:
    """Does the work with each item as it comes."""

    def __init__(self, work: Work) -> None:
        self._run, self._store = work.start(), work.store

    def submit(self, item: Any, target: Any) -> None:
        """Do it now."""
        self._store(self._run(item), target)

    def close(self, *, failed: bool) -> None:
        """Nothing is pending."""


KILLED = "a worker process was killed (out of memory?); run the same command with fewer --workers to continue"


class ProcessPool:
    """Worker processes of this machine; at most a few items wait."""

    def __init__(self, work: Work, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(work,))
        self._pending: deque[Future[None]] = deque()

    def submit(self, item: Any, target: Any) -> None:
        """Hand it to a worker."""
        try:
            with main_not_imported():  # the first call starts the processes
                self._pending.append(self._pool.submit(_run_in_worker, item, target))
        except BrokenProcessPool:
            raise UserError(KILLED) from None
        if len(self._pending) > self._workers + 2:
            self._wait_for_oldest()

    def close(self, *, failed: bool) -> None:
        """Wait for the workers, or cancel their work."""
        try:
            while self._pending and not failed:
                self._wait_for_oldest()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _wait_for_oldest(self) -> None:
        try:
            self._pending.popleft().result()
        except BrokenProcessPool:
            raise UserError(KILLED) from None


_worker: ThisProcess | None = None


def _start_worker(work: Work) -> None:
    """Load what the work needs; exit when the parent is gone, for whatever reason."""
    global _worker
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _worker = ThisProcess(work)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(item: Any, target: Any) -> None:
    assert _worker is not None
    _worker.submit(item, target)


# ---- Ray ----
# The same function on the same items as in local processes, so the same files. The nodes need no shared disk, but the same version of
# electra. An item whose worker or node dies is given to another.

RETRIES = 5
"""How often an item is tried again after its worker died."""
STORE_BYTES = 512 << 20
"""Object store of a cluster started for the run; an item takes some megabytes."""

_started: dict[str, Callable[[Any], Any]] = {}
"""Of this worker, by the hash of its work: what it loaded is kept from item to item."""


def run_remotely(start: list[Any], key: str, item: Any) -> Any:
    """An item -> its result in a worker; `start` holds the reference to the pickled `Work.start`, which is fetched where its hash `key` is new."""
    if key not in _started:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # Ray gives a task its cores
        _started[key] = pickle.loads(require("ray", "ray").get(start[0]))()  # noqa: S301 (from our own driver)
    return _started[key](item)


def worker_version() -> str:
    """The version of electra on a worker."""
    return __version__


class RayCluster:
    """A cluster at `address` (None: one started on this machine for this run); `workers` items are processed at a time (0: by its cores).

    This process makes the items, hands them out and stores what comes back.
    """

    def __init__(self, work: Work, address: str | None, workers: int, threads: int) -> None:
        """Connect.

        Raises:
            UserError: no cluster at the address, or it has another version of electra.
        """
        ray = self._ray = require("ray", "ray")
        connect_ray(ray, address, (workers or max(1, (os.cpu_count() or 1) // threads)) * threads)
        resources = ray.cluster_resources()
        largest = int(max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))
        if threads > max(1, largest):  # it would wait for ever
            ray.shutdown()
            raise UserError(f"--threads {threads}: the machines of the Ray cluster have at most {largest} cores each; give fewer")
        gpus = int(resources.get("GPU", 0)) if work.on_gpus else 0
        self._workers = workers or gpus or max(1, int(resources.get("CPU", 1)) // threads)
        # A cluster that is started for this run has no more cores; of another one only so many items are given away.
        self._most = workers if workers and address else 2 * self._workers + 2
        packed = pickle.dumps(work.start)
        self._start, self._key = ray.put(packed), hashlib.sha256(packed).hexdigest()
        self._store, self._noun = work.store, work.noun
        self._run = ray.remote(num_cpus=threads, num_gpus=1 if gpus else 0, max_retries=RETRIES)(run_remotely)
        self._pending = deque[tuple[Any, Any]]()

    def submit(self, item: Any, target: Any) -> None:
        """Hand it to the cluster."""
        if len(self._pending) >= self._most:
            self._store_oldest()
        self._pending.append((self._run.remote([self._start], self._key, item), target))

    def close(self, *, failed: bool) -> None:
        """Store what is pending, or cancel it; leave the cluster."""
        try:
            while self._pending and not failed:
                self._store_oldest()
        finally:
            if self._ray.is_initialized():
                for task, _ in self._pending:
                    self._ray.cancel(task, force=True)
                self._ray.shutdown()

    def _store_oldest(self) -> None:
        ray = self._ray
        task, target = self._pending.popleft()
        try:
            result = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, UserError) else error.as_instanceof_cause()) from None
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise UserError(
                f"Ray workers died {RETRIES + 1} times over one {self._noun} ({type(error).__name__}; out of memory?); "
                "run the same command with fewer --workers to continue"
            ) from None
        self._store(result, target)


# Ray takes SIGTERM for itself, in Python and below it: it would end the process before its work is saved.
@signals_to(None)
def connect_ray(ray: Any, address: str | None, workers: int) -> None:
    """Connect to the cluster at `address`, or start one with `workers` cores (0: all) on this machine; the caller's signal handlers are kept.

    Raises:
        UserError: no cluster at the address, or its nodes have another version of electra.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        # By default Ray runs its workers at niceness 15: next to other work they would hardly run.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(address="local", num_cpus=workers or os.cpu_count(), include_dashboard=False, object_store_memory=STORE_BYTES, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"no Ray cluster at --ray-address {address} ({reason}); start one with 'ray start --head' "
            "(a cluster with a token needs RAY_AUTH_MODE=token here), or leave the flag out"
        ) from None
    try:
        found = ray.get(ray.remote(num_cpus=1)(worker_version).remote())
    except ray.exceptions.RayError:
        found = "none"
    if found != __version__:
        ray.shutdown()
        raise UserError(f"the nodes of the Ray cluster {address} have electra {found}, this process has {__version__}; install the same there")


# ---- concatenation ----


def _concatenate(output: Path, num_chunks: int, tokenizer: Tokenizer, words: str) -> tuple[dict[str, dict[str, Any]], dict[str, int], UnknownWords]:
    """The chunks' files -> the arrays of each split -> (counts and hashes per split, totals, unknown words)."""
    unknown = UnknownWords(tokenizer)
    files = [output / "parts" / f"{number:06}.npz" for number in range(num_chunks)]
    totals = {"dropped_lines": 0, "text_bytes": 0}
    sizes = {(name, kind): 0 for name in SPLITS for kind in ("ids", "lines", "documents")}
    for file in files:
        with open_chunk(file) as arrays:
            totals["dropped_lines"] += int(arrays["dropped"][0])
            totals["text_bytes"] += int(arrays["dropped"][1])
            unknown.add_record(parse_json(bytes(arrays["unknown"])))
            for name, kind in sizes:
                sizes[name, kind] += len(arrays[f"{name}_{kind}"])
    splits: dict[str, dict[str, Any]] = {}
    for name in SPLITS:
        folder = output / name
        folder.mkdir(exist_ok=True)
        num_tokens, num_lines, num_documents = (sizes[name, kind] for kind in ("ids", "lines", "documents"))
        hashes = {
            "ids": _write_ids(folder / "ids.npy", _each(files, f"{name}_ids"), num_tokens, tokenizer.dtype),
            "line_starts": _write_starts(folder / "line_starts.npy", _each(files, f"{name}_lines"), num_lines),
            "document_starts": _write_starts(folder / "document_starts.npy", _each(files, f"{name}_documents"), num_documents),
        }
        if words != "none":
            hashes["word_starts"] = _write_words(folder / "word_starts.npy", _each(files, f"{name}_words"), num_tokens)
        splits[name] = {"documents": num_documents, "lines": num_lines, "tokens": num_tokens, "sha256": hashes}
    return splits, totals, unknown


def _each(files: Sequence[Path], name: str) -> Iterator[np.ndarray]:
    """The array `name` of every chunk in turn."""
    for file in files:
        with open_chunk(file) as arrays:
            yield arrays[name]


def _write_ids(target: Path, chunks: Iterator[np.ndarray], length: int, dtype: np.dtype[Any]) -> str:
    """Ids of every chunk -> (length,) .npy, a chunk at a time -> its sha256."""
    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        _write_header(stream, length, dtype)
        for values in chunks:
            stream.write(values.astype(dtype, copy=False).tobytes())
    return atomic.sha256(target)


def _write_starts(target: Path, chunks: Iterator[np.ndarray], number: int) -> str:
    """Lengths of every chunk -> (number + 1,) int64 .npy of running starts and the end -> its sha256."""
    start = 0
    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        _write_header(stream, number + 1, np.dtype(np.int64))
        stream.write(np.zeros(1, np.int64).tobytes())
        for lengths in chunks:
            ends = start + np.cumsum(lengths)
            start = int(ends[-1]) if len(ends) else start
            stream.write(ends.astype(np.int64, copy=False).tobytes())
    return atomic.sha256(target)


def _write_words(target: Path, chunks: Iterator[np.ndarray], num_tokens: int) -> str:
    """Bools of every chunk, whether a token begins a word -> .npy of one bit each -> its sha256."""
    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        _write_header(stream, packed_size(num_tokens), np.dtype(np.uint8))
        write_bits(stream, chunks)
    return atomic.sha256(target)


def _write_header(stream: Any, length: int, dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(stream, header)

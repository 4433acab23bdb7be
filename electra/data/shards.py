"""A tokenized dataset on disk or in an object store -> memory-mapped arrays.

    SHARDS/manifest.json            counts, file hashes, the vocabulary's fingerprint, settings, problems met, tool version
    SHARDS/tokenizer/               the tokenizer it was made with
    SHARDS/{train,held_out}/        ids.npy              uint16 (int32 for vocabularies above 65,536), all documents concatenated
                                    line_starts.npy      int64, where each line starts in ids, and the end
                                    document_starts.npy  int64, where each document starts in line_starts, and the end
                                    word_starts.npy      a bit per token, whether it begins a word; only if 'words' in the manifest is not 'none'

Special tokens are not stored and no sequence length is fixed: examples are made on the fly. A dataset in an object store is downloaded once
into a local cache and mapped there; one to be written to a store is made locally, then uploaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from electra.data.sources import CorpusReport
from electra.data.tokenizer import load_tokenizer
from electra.data.word_boundaries import PackedBits, packed_size
from electra.errors import UserError, did_you_mean, parse_json, raise_if_device
from electra.storage import atomic, remote
from electra.terminal import ReadingProgress, data_size, say

FORMAT = 1
SPLITS = ("train", "held_out")
MANIFEST = "manifest.json"
ENDS = {"line_starts": "tokens", "document_starts": "lines"}
"""Array of offsets -> the count of the manifest that its last one is."""
BLOCK = 1 << 24
"""Values checked at a time."""
CHANGE_CACHE = "set the environment variable ELECTRA_CACHE to use another folder"


@dataclass(frozen=True, eq=False)
class Split:
    """The documents of one split, as memory-mapped arrays."""

    ids: np.ndarray
    """(num_tokens,) uint16 or int32, memory-mapped."""
    line_starts: np.ndarray
    """(num_lines + 1,) int64: line i is ids[line_starts[i]:line_starts[i + 1]]; no line is empty."""
    document_starts: np.ndarray
    """(num_documents + 1,) int64: document i is the lines document_starts[i] .. document_starts[i + 1] - 1; no document is empty."""
    stored: bool = False
    """Whether each document is an example made elsewhere, its lines the segments, rather than text to make examples from."""
    word_starts: PackedBits | None = None
    """A bit per token, whether it begins a word; None where the spelling (##) shows it, or it is unknown."""

    @property
    def num_tokens(self) -> int:
        """Tokens."""
        return len(self.ids)

    @property
    def num_lines(self) -> int:
        """Lines."""
        return len(self.line_starts) - 1

    @property
    def num_documents(self) -> int:
        """Documents."""
        return len(self.document_starts) - 1

    def document(self, index: int) -> list[np.ndarray]:
        """The lines of document `index`, each an array of ids (views, not copies)."""
        first, last = int(self.document_starts[index]), int(self.document_starts[index + 1])
        bounds = self.line_starts[first : last + 1]
        return [self.ids[start:end] for start, end in itertools.pairwise(bounds.tolist())]


@dataclass(frozen=True, eq=False)
class Shards:
    """An opened dataset."""

    path: Path
    manifest: dict[str, Any]

    def split(self, name: str = "train") -> Split:
        """'train' or 'held_out'.

        Raises:
            UserError: no such split, or an array that does not fit the manifest.
        """
        if name not in SPLITS:
            raise UserError(f"{self.path}: no split '{name}'; {did_you_mean(name, SPLITS)}")
        return self.train if name == "train" else self.held_out

    @cached_property
    def train(self) -> Split:
        """The documents to train on."""
        return self._open("train")

    @cached_property
    def held_out(self) -> Split:
        """The documents set aside for evaluation."""
        return self._open("held_out")

    @property
    def num_tokens(self) -> int:
        """Tokens of the train split."""
        return int(self.manifest["splits"]["train"]["tokens"])

    @property
    def tokenizer_path(self) -> Path:
        """Folder of the tokenizer the dataset was made with."""
        return self.path / "tokenizer"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the vocabulary and its case rule."""
        return str(self.manifest["tokenizer"]["fingerprint"])

    @property
    def words(self) -> str:
        """Word boundaries stored: 'none' or 'chinese'."""
        return str(self.manifest.get("words", "none"))

    def verify(self) -> list[str]:
        """Read every array: its size and hash are the manifest's, its offsets and ids fit each other -> a line for each damaged file."""
        try:
            lines = [self._damage(name, array) for name in SPLITS for array in self._lengths(name)]
        except (KeyError, TypeError, AttributeError) as error:
            return [f"{self.path / MANIFEST} is damaged ({type(error).__name__}: {error})"]
        try:
            if not load_tokenizer(self.path).matches(self.fingerprint):
                lines.append(f"{self.tokenizer_path} is not the tokenizer that the ids were made with: its fingerprint differs")
        except UserError as error:
            lines.append(str(error))
        return [line for line in lines if line]

    def _damage(self, name: str, array: str) -> str | None:
        """What is wrong with one array, in a line; None: nothing."""
        file, expected = self.path / name / f"{array}.npy", self.manifest["splits"][name]["sha256"].get(array)
        try:
            with open(file, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            values = self._array(name, array)
        except OSError as error:
            return f"{file} cannot be read ({error.strerror or error})"
        except UserError as error:
            return str(error).partition("; ")[0]
        if expected is None:
            return f"{file} has no hash in {MANIFEST}"
        if digest != expected:
            return f"{file} is damaged: its hash is {digest[:12]}, the manifest says {expected[:12]}"
        reason = self._inconsistency(name, array, values)
        return f"{file} is inconsistent: {reason}" if reason else None

    def _inconsistency(self, name: str, array: str, values: np.ndarray) -> str | None:
        """What is wrong with the contents of one array; None: nothing."""
        counts = self.manifest["splits"][name]
        if array == "ids":
            size = int(self.manifest["tokenizer"]["vocab_size"])
            for i in range(0, len(values), BLOCK):
                ids = values[i : i + BLOCK]
                if not (ids.min() >= 0 and ids.max() < size):
                    return f"it holds ids from {ids.min()} to {ids.max()}, the vocabulary has {size:,} tokens"
        if array in ENDS:
            last = int(counts[ENDS[array]])
            if values[0] != 0 or values[-1] != last:
                return f"its offsets go from {values[0]:,} to {values[-1]:,}, expected 0 to {last:,}"
            for i in range(0, len(values) - 1, BLOCK):
                if not (np.diff(values[i : i + BLOCK + 1]) > 0).all():
                    return "its offsets do not rise"
        return None

    def _lengths(self, name: str) -> dict[str, int]:
        """Array -> how many values it has."""
        counts = self.manifest["splits"][name]
        lengths = {"ids": counts["tokens"], "line_starts": counts["lines"] + 1, "document_starts": counts["documents"] + 1}
        return lengths if self.words == "none" else lengths | {"word_starts": packed_size(counts["tokens"])}

    def _array(self, name: str, array: str) -> np.ndarray:
        length, file = self._lengths(name)[array], self.path / name / f"{array}.npy"
        try:
            # An empty file cannot be mapped.
            values: np.ndarray = np.load(file, mmap_mode="r" if length else None, allow_pickle=False)
        except atomic.BROKEN_PACKED as error:
            raise_if_device(error)
            raise UserError(f"{file} cannot be read ({error}); run 'electra prepare' again") from None
        if values.shape != (length,):
            raise UserError(f"{file} holds {values.shape} values, the manifest says {length}; run 'electra prepare' again")
        return values

    def _open(self, name: str) -> Split:
        arrays = {array: self._array(name, array) for array in self._lengths(name)}
        packed = arrays.pop("word_starts", None)
        words = None if packed is None else PackedBits(packed)
        return Split(**arrays, stored=bool(self.manifest.get("stored_examples")), word_starts=words)


def open_shards(path: Path | str) -> Shards:
    """A folder made by `electra prepare`, or the URL of one (downloaded once into the local cache) -> Shards.

    Raises:
        UserError: not such a folder, unfinished, or of another format.
    """
    if remote.is_url(path):
        path = fetch_shards(str(path))
    path = atomic.existing_path(path, "tokenized dataset")
    file = path / MANIFEST
    if not file.is_file():
        if (path / "parts").is_dir():
            raise UserError(f"{path} is unfinished; run the same 'electra prepare' again to continue where it stopped")
        raise UserError(f"{path} is not a tokenized dataset (no manifest.json); make one with 'electra prepare'")
    try:
        manifest = parse_json(file.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not the manifest of a tokenized dataset; make one with 'electra prepare'") from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this version reads format {FORMAT}; run 'electra prepare' again")
    return Shards(path, manifest)


def same_vocabulary(shards: Mapping[str, Shards]) -> None:
    """Check that the datasets of one run (name -> Shards) were made with the same vocabulary.

    Raises:
        UserError: two differ.
    """
    first = next(iter(shards), None)
    for name, other in shards.items():
        if first is not None and other.fingerprint != shards[first].fingerprint:
            raise UserError(f"{name} was made with another vocabulary than {first}; prepare both with the same --tokenizer")


# ---- object stores ----


def _cached(kind: str, url: str, key: bytes) -> Path:
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in url.rstrip("/").rpartition("/")[2])[:60]
    return remote.cache_folder() / kind / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the operating system releases the lock of a process that was killed."""
    lock = folder.with_name(folder.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise UserError(f"cannot write the cache {lock.parent}: {error.strerror or error}; {CHANGE_CACHE}") from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def read_manifest(url: str) -> bytes:
    """The manifest of a dataset in a store.

    Raises:
        UserError: there is none.
    """
    if not remote.exists(remote.join(url, MANIFEST)):
        found = "unfinished, or not a tokenized dataset" if remote.exists(url) else "nothing is there"
        raise UserError(f"tokenized dataset not found: {url} ({found}: no {MANIFEST}); make one with 'electra prepare --output {url}'")
    return remote.read_bytes(remote.join(url, MANIFEST))


def expected_hashes(manifest: bytes, url: str) -> dict[str, str]:
    """A manifest -> sha256 of each array, by its path in the folder.

    Raises:
        UserError: it is not a manifest.
    """
    try:
        splits = parse_json(manifest)["splits"]
        return {f"{name}/{array}.npy": str(value) for name, facts in splits.items() for array, value in facts["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{url}/{MANIFEST} is not the manifest of a tokenized dataset; make one with 'electra prepare'") from None


def fetch_shards(url: str) -> Path:
    """A dataset in a store -> its copy in the cache, whole and checked by the manifest's hashes.

    Raises:
        UserError: nothing there, no access, no disk space, or a file that differs from its hash.
    """
    manifest = read_manifest(url)
    folder = _cached("shards", url, manifest)
    if (folder / MANIFEST).is_file():
        return folder
    with _locked(folder):
        if not (folder / MANIFEST).is_file():
            _fetch(url, manifest, folder)
    return folder


def _fetch(url: str, manifest: bytes, folder: Path) -> None:
    hashes = expected_hashes(manifest, url)
    system, _, files = remote.list_files(url, "tokenized dataset")
    names = [*hashes, *sorted(name for name in files if name.startswith("tokenizer/") and ".." not in name.split("/"))]
    if missing := [name for name in names if name not in files]:
        raise UserError(f"{url} lacks {missing[0]}, which its manifest lists; run 'electra prepare' again")
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    report = CorpusReport(total_bytes=sum(files[name][1] for name in names))
    free, needed = shutil.disk_usage(part).free, report.total_bytes or 0
    if needed > free + sum(f.stat().st_size for f in part.rglob("*") if f.is_file()):
        raise UserError(f"{url} needs {needed / 1e9:.1f} GB, the cache {part.parent} has {free / 1e9:.1f} GB free; {CHANGE_CACHE}")
    say(f"fetching {url} ({data_size(needed)}) to {folder}; {CHANGE_CACHE}")
    with ReadingProgress(report, f"fetching {url}") as progress:
        for name in names:
            target = part / name
            if not (name in hashes and target.is_file() and atomic.sha256(target) == hashes[name]):
                remote.download(system, files[name][0], target, f"{url}/{name}")
                if name in hashes and (found := atomic.sha256(target)) != hashes[name]:
                    target.unlink()
                    raise UserError(f"{url}/{name} is damaged: its hash is {found[:12]}, the manifest says {hashes[name][:12]}; prepare it again")
            report.done_bytes += files[name][1]
            report.text_bytes += files[name][1]
            progress.show()
    _check_tokenizer(part, manifest, url)
    (part / MANIFEST).write_bytes(manifest)
    atomic.replace_folder(part, folder)


def _check_tokenizer(folder: Path, manifest: bytes, url: str) -> None:
    """Compare the tokenizer with the fingerprint in the manifest."""
    from electra.data.tokenizer import load_tokenizer

    if not load_tokenizer(folder / "tokenizer").matches(parse_json(manifest)["tokenizer"]["fingerprint"]):
        shutil.rmtree(folder / "tokenizer")
        raise UserError(f"{url}/tokenizer is not the one the shards were made with; run 'electra prepare' again")


def check_plan(plan: Mapping[str, Any], begun: Mapping[str, Any], place: str) -> None:
    """Check that work begun earlier has the same plan.

    Raises:
        UserError: the first setting that differs is named.
    """
    for key, value in plan.items():
        if (was := begun.get(key)) != value:
            raise UserError(f"{place} was begun with {key} = {was!r}, not {value!r}; give the same settings to continue, or another --output")


def make_shards(output: str | Path, make: Callable[[Path], Shards], plan: Mapping[str, Any]) -> Shards:
    """Make a dataset in a local folder; for a URL in the cache, then upload it, the manifest last, and keep the copy as a downloaded one.

    Raises:
        UserError: the output already exists, other work for it was begun, or the store cannot be written.
    """
    if not remote.is_url(output):
        return make(Path(output))
    url = str(output)
    folder = _cached("prepare", url, url.encode())
    with _locked(folder):
        if remote.exists(remote.join(url, MANIFEST)):
            raise UserError(f"{url} already holds finished shards; choose another --output, or delete it first")
        if not folder.exists():
            remote.fresh_output(url, remedy="choose another --output")
            say(f"making {url} in {folder}, then uploading; {CHANGE_CACHE}")
        # Finished before but not uploaded completely: `make` would reject it.
        if not (folder / MANIFEST).is_file():
            make(folder)
        else:
            check_plan(plan, atomic.read_json(folder / MANIFEST, dict).get("settings", {}), f"{url} (in {folder}, which may be deleted)")
            say(f"uploading what was finished before in {folder}")
        return open_shards(_publish(folder, url))


def _publish(folder: Path, url: str) -> Path:
    """Upload a finished folder, then move it among the downloaded copies -> its new path."""
    note = folder / "uploaded.json"
    done: list[str] = atomic.read_json(note, list) if note.is_file() else []
    content = (folder / MANIFEST).read_bytes()
    files = [*expected_hashes(content, url), *sorted(f"tokenizer/{file.name}" for file in (folder / "tokenizer").iterdir())]
    report = CorpusReport(total_bytes=sum((folder / name).stat().st_size for name in files))
    with ReadingProgress(report, f"uploading {url}") as progress:
        for name in files:
            if name not in done:
                remote.upload(folder / name, remote.join(url, name))
                atomic.write_text(note, json.dumps(done := [*done, name]))
            report.done_bytes += (folder / name).stat().st_size
            report.text_bytes += (folder / name).stat().st_size
            progress.show()
    remote.upload(folder / MANIFEST, remote.join(url, MANIFEST))
    note.unlink(missing_ok=True)
    final = _cached("shards", url, content)
    with _locked(final):
        if final.exists():
            shutil.rmtree(folder)
        else:
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, final)
    return final

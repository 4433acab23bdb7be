"""Token shards on disk, memory-mapped.

    SHARDS/manifest.json            counts, file hashes, the vocabulary's fingerprint, settings, problems met, tool version
    SHARDS/tokenizer/               the tokenizer they were made with
    SHARDS/{train,held_out}/        ids.npy              uint16 (int32 for vocabularies above 65,536), all documents end to end
                                    line_starts.npy      int64, where each line starts in ids, and the end
                                    document_starts.npy  int64, where each document starts in line_starts, and the end
                                    word_starts.npy      a bit per token, whether it begins a word; only where 'words' of the manifest is not 'none'

No special tokens are stored and no sequence length is fixed: examples are made on the fly.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from electra import disk, remote
from electra.data.words import PackedBits, packed_size
from electra.errors import UserError, did_you_mean

FORMAT = 1
SPLITS = ("train", "held_out")


@dataclass(frozen=True, eq=False)
class Split:
    """The documents of one split."""

    ids: np.ndarray
    """(num_tokens,) uint16 or int32, memory-mapped."""
    line_starts: np.ndarray
    """(num_lines + 1,) int64: line i is ids[line_starts[i]:line_starts[i + 1]]; no line is empty."""
    document_starts: np.ndarray
    """(num_documents + 1,) int64: document i is the lines document_starts[i] .. document_starts[i + 1] - 1; no document is empty."""
    stored: bool = False
    """Whether each document is an example as it was stored elsewhere, its lines the segments, rather than text to make examples of."""
    word_starts: PackedBits | None = None
    """A bit per token, whether it begins a word; None where these are spelled (##) or not known."""

    @property
    def num_tokens(self) -> int:
        """Word pieces."""
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
    """An opened shard folder."""

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
        """Word pieces of the train split."""
        return int(self.manifest["splits"]["train"]["tokens"])

    @property
    def tokenizer_path(self) -> Path:
        """Folder of the tokenizer the shards were made with."""
        return self.path / "tokenizer"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the vocabulary and its case rule."""
        return str(self.manifest["tokenizer"]["fingerprint"])

    @property
    def words(self) -> str:
        """Word boundaries kept: 'none' or 'chinese'."""
        return str(self.manifest.get("words", "none"))

    def verify(self) -> None:
        """Read every array and compare its hash with the manifest's.

        Raises:
            UserError: the first file that differs.
        """
        for name in SPLITS:
            for array, expected in self.manifest["splits"][name]["sha256"].items():
                file = self.path / name / f"{array}.npy"
                with open(file, "rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
                if found != expected:
                    raise UserError(f"{file} is damaged: its hash is {found[:12]}, the manifest says {expected[:12]}; run 'electra prepare' again")

    def _open(self, name: str) -> Split:
        counts = self.manifest["splits"][name]
        lengths = {"ids": counts["tokens"], "line_starts": counts["lines"] + 1, "document_starts": counts["documents"] + 1}
        if self.words != "none":
            lengths["word_starts"] = packed_size(counts["tokens"])
        arrays = {}
        for array, length in lengths.items():
            file = self.path / name / f"{array}.npy"
            try:
                # An empty file cannot be mapped.
                arrays[array] = np.load(file, mmap_mode="r" if length else None, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"{file} cannot be read ({error}); run 'electra prepare' again") from None
            if arrays[array].shape != (length,):
                raise UserError(f"{file} holds {arrays[array].shape} values, the manifest says {length}; run 'electra prepare' again")
        packed = arrays.pop("word_starts", None)
        words = None if packed is None else PackedBits(packed)
        return Split(**arrays, stored=bool(self.manifest.get("stored_examples")), word_starts=words)


def open_shards(path: Path | str) -> Shards:
    """A folder made by `electra prepare`, or the URL of one (fetched once into the local cache) -> Shards.

    Raises:
        UserError: not such a folder, unfinished, or of a later format.
    """
    if remote.is_url(path):
        from electra.data.shard_store import fetch_shards

        path = fetch_shards(str(path))
    path = disk.existing_path(path, "shard folder")
    file = path / "manifest.json"
    if not file.is_file():
        if (path / "parts").is_dir():
            raise UserError(f"{path} is unfinished; run the same 'electra prepare' again, it goes on where it stopped")
        raise UserError(f"{path} is not a shard folder (no manifest.json); make one with 'electra prepare'")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not the manifest of a shard folder; make one with 'electra prepare'") from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this version reads format {FORMAT}; run 'electra prepare' again")
    return Shards(path, manifest)


def same_vocabulary(shards: Mapping[str, Shards]) -> None:
    """Check that folders mixed in one run were made with one vocabulary (name -> Shards).

    Raises:
        UserError: two differ.
    """
    first = next(iter(shards), None)
    for name, other in shards.items():
        if first is not None and other.fingerprint != shards[first].fingerprint:
            raise UserError(f"{name} was made with another vocabulary than {first}; prepare both with the same --tokenizer")

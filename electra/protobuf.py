"""TensorFlow's files, read without TensorFlow: messages of protocol buffers, checksums, sorted tables, checkpoints.

`TensorBundle` reads a checkpoint: PREFIX.index, a sorted table of entries, and PREFIX.data-*, the values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra.errors import UserError, require


class Damaged(Exception):
    """The bytes are not what the format says."""


def masked_crc(data: bytes) -> int:
    """TensorFlow's checksum: CRC-32C, rotated and offset so that checksums of checksums are not constant."""
    import google_crc32c

    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at byte `at` -> its value, and the offset after it.

    Raises:
        Damaged: it is incomplete or too long.
    """
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise Damaged("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, at
        shift += 7
    raise Damaged("a number is longer than 64 bits")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """A message -> its (field number, value) pairs; length-delimited values as bytes.

    Raises:
        Damaged: it is not a message.
    """
    at = 0
    while at < len(data):
        tag, after = varint(data, at)
        kind = tag & 7
        if not 0 < tag >> 3 < 1 << 29 or after > at + 5:  # a tag has 32 bits, in five bytes
            raise Damaged("a field's number is none")
        at = after
        if kind == 0:
            number, at = varint(data, at)
            yield tag >> 3, number
            continue
        size, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(data):
            raise Damaged("a field reaches beyond its message")
        chunk = data[at : at + size]
        yield tag >> 3, chunk if kind == 2 else int.from_bytes(chunk, "little")
        at += size


# ---- TensorFlow's sorted tables (a checkpoint's index) ----

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
MOST_KEY_BYTES = 32
"""Bytes of keys for each byte of the file; the beginning that a key shares with the one before it is not stored."""


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """An index file -> its (key, value) pairs, sorted by key.

    Raises:
        Damaged: it is not such a table, or a checksum is wrong.
    """
    if len(data) < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise Damaged("it does not end like an index")
    footer = data[-FOOTER:]
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    end = total = 0
    last: bytes | None = None
    for _, value in _block(data, *index):
        (offset, size), _ = _handle(value, 0)
        # Blocks follow each other and keys rise, so that a small file cannot have more entries than it has bytes.
        if offset < end:
            raise Damaged("its blocks overlap")
        end = offset + size
        for key, entry in _block(data, offset, size):
            total += len(key)
            if (last is not None and key <= last) or total > MOST_KEY_BYTES * len(data):
                raise Damaged("its keys do not rise")
            last = key
            yield key, entry


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) pairs of a block; after it one byte of compression and four of checksum."""
    end = offset + size
    if end + 5 > len(data) or size < 4:
        raise Damaged("a block reaches beyond the end")
    if int.from_bytes(data[end + 1 : end + 5], "little") != masked_crc(data[offset : end + 1]):
        raise Damaged("wrong checksum of a block")
    if data[end] != 0:
        raise Damaged("compressed blocks are not written by TensorFlow's checkpoints")
    block = data[offset:end]
    limit = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if limit < 0:
        raise Damaged("a block's table of restarts is longer than the block")
    at, key = 0, b""
    while at < limit:
        shared, at = varint(block, at)
        rest, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + rest + length > limit:
            raise Damaged("an entry reaches beyond its block")
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def slice_key(name: str, extents: tuple[tuple[int, int], ...]) -> bytes:
    """The key of a slice: TensorFlow's ordered code of 0, the name, the rank, and start and length of every dimension."""
    escapes = {0: b"\0\xff", 255: b"\xff\0"}
    escaped = b"".join(escapes.get(byte, bytes([byte])) for byte in name.encode()) + b"\0\x01"
    numbers = b"".join(ordered(start) + ordered(length) for start, length in extents)
    rank = len(extents)
    return b"\0" + escaped + (bytes([1, rank]) if rank else b"\0") + numbers


def ordered(value: int) -> bytes:
    """A signed number in TensorFlow's ordered code: as many leading ones as bytes, then the number, complemented below zero."""
    size = (value if value >= 0 else ~value).bit_length() // 7 + 1
    mask = ((1 << size) - 1) << (8 * size - size)
    return ((value & ((1 << 8 * size) - 1)) ^ mask).to_bytes(size, "big")


# ---- checkpoints ----

MOST_INDEX_BYTES = 256 << 20
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
"""TensorFlow's DataType -> numpy's; bfloat16 is converted separately."""
BFLOAT16 = 14


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """Position and type of a tensor in the data files."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None
    slices: tuple[tuple[tuple[int, int], ...], ...]
    """For a partitioned variable, each slice's (start, length) per dimension; length -1 is the whole dimension."""


class TensorBundle:
    """A checkpoint on disk, opened."""

    def __init__(self, prefix: Path) -> None:
        """Read the index of the checkpoint `prefix` (without .index).

        Raises:
            UserError: not found, or damaged.
        """
        require("google_crc32c", "train")
        self.prefix = prefix
        path = prefix.with_name(prefix.name + ".index")
        try:
            if path.stat().st_size > MOST_INDEX_BYTES:
                raise Damaged(f"{path.stat().st_size:,} bytes are too large for an index")
            self._table = dict(read_table(path.read_bytes()))
            self._num_shards = _header(self._table.pop(b"", b""))
            self.entries = {key.decode(): _entry(value) for key, value in self._table.items() if not key.startswith(b"\0")}
        except FileNotFoundError:
            raise UserError(f"{path} not found; give the checkpoint's name without .index, such as model.ckpt-1000000") from None
        except (Damaged, UnicodeDecodeError, OverflowError, IndexError) as error:
            raise UserError(f"{path} is damaged or not a TensorFlow checkpoint ({error}); download it again") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None

    def read(self, name: str) -> np.ndarray:
        """The variable `name`.

        Raises:
            UserError: it does not exist, or its data are damaged, missing or not numeric.
        """
        if name not in self.entries:
            raise UserError(f"{self.prefix} has no variable '{name}'")
        entry = self.entries[name]
        try:
            return self._read(entry) if not entry.slices else self._assemble(name, entry)
        except (Damaged, ValueError, OverflowError) as error:  # numpy's, of shapes that no array can have
            raise UserError(f"{self.prefix}: variable '{name}' is damaged ({error}); download the checkpoint again") from None

    def _read(self, entry: TensorEntry) -> np.ndarray:
        if entry.dtype not in DTYPES and entry.dtype != BFLOAT16:
            raise Damaged(f"TensorFlow's data type {entry.dtype} is not supported")
        kind = np.dtype("<u2" if entry.dtype == BFLOAT16 else DTYPES[entry.dtype])
        if math.prod(entry.shape) * kind.itemsize != entry.size:
            raise Damaged(f"shape {entry.shape} does not need {entry.size:,} bytes")
        if not 0 <= entry.shard < self._num_shards:
            raise Damaged(f"it is in file {entry.shard} of {self._num_shards}")
        path = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._num_shards:05d}")
        try:
            if entry.offset + entry.size > path.stat().st_size:
                raise Damaged(f"{path.name} ends before byte {entry.offset + entry.size:,}")
            with path.open("rb") as stream:
                stream.seek(entry.offset)
                data = stream.read(entry.size)
        except OSError as error:
            raise Damaged(f"{path.name}: {error.strerror}") from None
        if entry.crc is not None and masked_crc(data) != entry.crc:
            raise Damaged(f"wrong checksum in {path.name}")
        values = np.frombuffer(data, kind)
        if entry.dtype == BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(entry.shape)

    def _assemble(self, name: str, entry: TensorEntry) -> np.ndarray:
        """A partitioned variable from its slices."""
        whole: np.ndarray | None = None
        filled = 0
        for extents in entry.slices:
            key = slice_key(name, extents)
            if key not in self._table:
                raise Damaged(f"its slice {extents} is missing")
            part = self._read(_entry(self._table[key]))
            where = tuple(slice(None) if length < 0 else slice(start, start + length) for start, length in extents)
            if whole is None:
                # Slices are as large as the file at most; a declared shape far above that is damage, not to be allocated.
                if math.prod(entry.shape) > part.size * len(entry.slices) * 2 + 1:
                    raise Damaged(f"its slices do not fill shape {entry.shape}")
                whole = np.zeros(entry.shape, part.dtype)
            if len(where) != whole.ndim or whole[where].shape != part.shape:
                raise Damaged(f"its slice {extents} has shape {part.shape}")
            whole[where] = part
            filled += part.size
        if whole is None or filled != whole.size:
            raise Damaged(f"its slices hold {filled:,} values, the shape {entry.shape}")
        return whole


HUGGING_FACE = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
"""Weights of a Hugging Face directory, which take precedence over a TensorFlow checkpoint in the same folder."""


def is_checkpoint(path: Path) -> bool:
    """Whether a path names a TensorFlow checkpoint: a folder with an index and no weights of PyTorch, or the name of one, or one of its files."""
    if path.is_dir():
        return any(path.glob("*.index")) and not any(file.match(pattern) for file in path.iterdir() for pattern in HUGGING_FACE)
    if path.suffix == ".index":
        return True
    prefix = find_checkpoint(path)
    return prefix.with_name(prefix.name + ".index").exists()


def without_slots(bundle: TensorBundle) -> list[str]:
    """The variables of the model: without the step and the optimizer's, which are named as another variable with a last part (and maybe a scope)."""

    def is_slot(name: str) -> bool:
        parts = name.split("/")[:-1]
        return any("/".join(parts[start:]) in bundle.entries for start in range(len(parts)))

    averages = "/ExponentialMovingAverage"
    return [n for n in bundle.entries if (n.endswith(averages) or not is_slot(n)) and n not in ("global_step", "beta1_power", "beta2_power")]


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """What a TensorFlow checkpoint contains: its networks with their sizes, fine-tuned tasks, the step, and numbers of variables.

    Raises:
        UserError: none, several, or damaged.
    """
    prefix = find_checkpoint(path)
    bundle = TensorBundle(prefix)
    own = {name: bundle.entries[name].shape for name in without_slots(bundle)}
    networks: dict[str, dict[str, int]] = {}
    for name, shape in own.items():
        if found := re.fullmatch(r"(.+)/encoder/layer_(\d{1,9})/intermediate/dense/kernel", name):
            if len(shape) != 2:
                raise UserError(f"{prefix}: variable '{name}' has shape {shape}, expected two sizes; download the checkpoint again")
            sizes = networks.setdefault(found[1], {"num_hidden_layers": 0, "hidden_size": shape[0], "intermediate_size": shape[-1]})
            sizes["num_hidden_layers"] = max(sizes["num_hidden_layers"], int(found[2]) + 1)
    tables = [name for name in own if name.endswith("embeddings/word_embeddings") and len(own[name]) == 2]
    tasks = sorted({name.split("/")[1] for name in own if name.startswith("task_specific/")})
    step = bundle.read("global_step") if "global_step" in bundle.entries else None
    if step is not None and (step.size != 1 or step.dtype.kind not in "iu"):
        raise UserError(f"{prefix}: global_step is not a whole number; download the checkpoint again")
    return {
        "kind": "TensorFlow checkpoint",
        "path": str(prefix),
        **({"step": int(step.item())} if step is not None else {}),
        "networks": networks,
        **dict(zip(("vocab_size", "embedding_size"), own[tables[0]] if tables else (), strict=False)),
        **({"fine_tuned_tasks": tasks} if tasks else {}),
        "num_parameters": sum(math.prod(shape) for shape in own.values()),
        "num_variables": len(own),
        "num_optimizer_variables": len(bundle.entries) - len(own) - ("global_step" in bundle.entries),
        "attention_heads": "not stored; see electra convert",
    }


def find_checkpoint(path: Path) -> Path:
    """A folder, an .index or a data file, or a prefix -> the prefix. In a folder: the one named in its file `checkpoint`, else the only one.

    Raises:
        UserError: none, or several.
    """
    if not path.is_dir():
        name = path.name.removesuffix(".index").removesuffix(".meta")
        return path.with_name(name.split(".data-")[0])
    found = sorted(file.name.removesuffix(".index") for file in path.glob("*.index"))
    recorded = recorded_checkpoint(path)
    if recorded is not None and recorded in found:
        return path / recorded
    if len(found) != 1:
        known = f"several ({', '.join(found[:5])}); name one" if found else "none: it needs NAME.index and NAME.data-*"
        raise UserError(f"{path}: expected one TensorFlow checkpoint, found {known}")
    return path / found[0]


def recorded_checkpoint(folder: Path) -> str | None:
    """The checkpoint named in a folder's file `checkpoint`; only the last part, since the path may be of another computer or outside the folder."""
    record = folder / "checkpoint"
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines() if record.is_file() else ():
        if line.startswith("model_checkpoint_path:"):
            return line.partition(":")[2].strip().strip('"').replace("\\", "/").rsplit("/", 1)[-1]
    return None


def _header(data: bytes) -> int:
    found = dict(fields(data))
    if found.get(2, 0) != 0:
        raise Damaged("big-endian checkpoints are not supported")
    shards = found.get(1, 0)
    if not isinstance(shards, int) or not 0 < shards < 100_000:
        raise Damaged(f"{shards!r} data files")
    return shards


def _entry(data: bytes) -> TensorEntry:
    values: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in fields(data):
        if number == 2 and isinstance(value, bytes):
            shape = tuple(_dimension(dim) for n, dim in fields(value) if n == 2 and isinstance(dim, bytes))
        elif number == 7 and isinstance(value, bytes):
            slices.append(tuple(_extent(extent) for n, extent in fields(value) if n == 1 and isinstance(extent, bytes)))
        elif isinstance(value, int):
            values[number] = value
    return TensorEntry(
        dtype=values.get(1, 0),
        shape=shape,
        shard=values.get(3, 0),
        offset=values.get(4, 0),
        size=values.get(5, 0),
        crc=values.get(6),
        slices=tuple(slices),
    )


def _dimension(data: bytes) -> int:
    size = dict(fields(data)).get(1, 0)
    if not isinstance(size, int) or size >= 1 << 40:
        raise Damaged(f"a dimension of {size!r}")
    return size


def _extent(data: bytes) -> tuple[int, int]:
    found = dict(fields(data))
    start, length = found.get(1, 0), found.get(2, -1)
    if not isinstance(start, int) or not isinstance(length, int):
        raise Damaged("a slice without numbers")
    return start, length


# ---- the vocabulary of a checkpoint ----


def is_vocabulary(name: str) -> bool:
    """Whether a file's name is that of a WordPiece vocabulary: vocab.txt, bert_vocab.txt, vocab_small.txt."""
    return name.endswith(".txt") and "vocab" in name


def find_vocabulary(folder: Path, size: int) -> Path | None:
    """The vocabulary of a TensorFlow checkpoint: next to it, else the only one of its size in the folders where the original has it.

    These are the folder above and, for the original's layouts models/NAME and NAME/finetuning_models/TASK, the one above that.

    Raises:
        UserError: several next to the checkpoint, none named vocab.txt.
    """
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).is_file():
            return folder / name
    near = [path for path in sorted(folder.glob("*.txt")) if is_vocabulary(path.name)]
    if len(near) > 1:
        raise UserError(f"{folder} has several vocabularies ({', '.join(path.name for path in near)}); give one with --vocab")
    if near:
        return near[0]
    above = folder.resolve().parent
    folders = [above, above.parent] if above.name in ("models", "finetuning_models") else [above]
    for place in folders:
        fitting = [path for path in sorted(place.glob("*.txt")) if is_vocabulary(path.name) and _num_lines(path) == size]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _num_lines(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\n").split(b"\n"))

"""The original code's pre-training data (TFRecords of tf.train.Example) -> stored examples of a tokenized dataset, without TensorFlow.

A record is its length (8 bytes), a checksum of the length (4), the data, a checksum of the data (4). The data are a tf.train.Example with
the lists `input_ids`, `input_mask`, `segment_ids`: [CLS] a [SEP] b [SEP] and padding, as written by `build_pretraining_dataset.py`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from electra.data.prepare_chunk import is_tokenized, open_chunk
from electra.data.shards import SPLITS
from electra.data.sources import CorpusReport
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError, require
from electra.protobuf import Damaged, fields, masked_crc
from electra.storage import atomic, remote
from electra.terminal import ReadingProgress

MOST_RECORD_BYTES = 16 << 20


@dataclass(frozen=True)
class RecordFile:
    """A TFRecord file, local or in a store."""

    place: str
    """Path or URL."""
    size: int
    """Bytes."""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.place.rpartition("/")[2]

    @contextmanager
    def here(self) -> Iterator[Path]:
        """A local path: the file itself, or a temporary copy."""
        if not remote.is_url(self.place):
            yield Path(self.place)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, self.name)
            remote.download(*remote.store(self.place), copy, self.place)
            yield copy

    def key(self) -> bytes:
        """16 bytes that change with the content; for a file in a store, with its version."""
        if remote.is_url(self.place):
            return hashlib.blake2b(remote.version(self.place).encode(), digest_size=16).digest()
        with open(self.place, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()


def find_records(names: Sequence[str | Path]) -> list[RecordFile]:
    """Files and folders, or URLs of them -> the TFRecord files among them, in order; an empty list if there are none.

    Raises:
        UserError: TFRecords are mixed with something else.
    """
    found: list[RecordFile] = []
    others: list[str] = []
    for name in map(str, names):
        records = _in_store(name) if remote.is_url(name) else _in_folder(Path(name))
        found += sorted(records, key=_number)
        others += [name] * (not records)
    if found and others:
        raise UserError(f"{others[0]} holds no TFRecords, {found[0].place} is one; prepare them into two folders and give both to --data")
    return found


def _in_folder(path: Path) -> list[RecordFile]:
    files = [path] if path.is_file() and ".tfrecord" in path.name else path.glob("*.tfrecord*") if path.is_dir() else []
    return [RecordFile(file.as_posix(), file.stat().st_size) for file in files]


def _in_store(url: str) -> list[RecordFile]:
    """The TFRecords directly in a folder, or the one that the URL names. A wrong URL is reported where text is read."""
    if not remote.exists(url):
        return []
    files = remote.list_files(url)[2].items()
    found = [RecordFile(remote.join(url, name) if name else url, size) for name, (_, size) in files if "/" not in name]
    return [file for file in found if ".tfrecord" in file.name]


def _number(file: RecordFile) -> tuple[int, str]:
    """Sort key: files are numbered without leading zeros, 2 before 10."""
    digits = "".join(c if c.isdigit() else " " for c in file.name.partition(".tfrecord")[2]).split()
    return (int(digits[0]) if digits else -1, file.name)


def read_records(path: Path) -> Iterator[bytes]:
    """A TFRecord file -> its records.

    Raises:
        Damaged: a wrong checksum or length, or the file ends within a record.
    """
    require("google_crc32c", "train")
    with path.open("rb") as stream:
        while head := stream.read(12):
            size = int.from_bytes(head[:8], "little")
            if len(head) < 12 or int.from_bytes(head[8:], "little") != masked_crc(head[:8]):
                raise Damaged("a record's length is damaged")
            if size > MOST_RECORD_BYTES:
                raise Damaged(f"a record of {size:,} bytes is not a pre-training example")
            data, check = stream.read(size), stream.read(4)
            if len(check) < 4:
                raise Damaged("it ends within a record")
            if int.from_bytes(check, "little") != masked_crc(data):
                raise Damaged("wrong checksum of a record")
            yield data


def integers(record: bytes) -> dict[str, np.ndarray]:
    """A tf.train.Example -> its integer lists, int64.

    What occurs twice is read as protocol buffers do: of two features of one name the last counts, the parts of one message are joined, and of a
    list's kind the last.

    Raises:
        Damaged: it is not an Example.
    """
    out: dict[str, np.ndarray] = {}
    for features in _parts(record, 1):
        for entry in _parts(features, 1):
            name = _name(next(reversed(_parts(entry, 1)), b""))
            out.pop(name, None)
            lists: list[bytes] = []
            has_integers = False
            for kind, values in fields(b"".join(_parts(entry, 2))):
                if kind in (1, 2, 3) and isinstance(values, bytes):
                    lists = [*lists, values] if kind == 3 else []
                    has_integers = kind == 3
            if has_integers:
                out[name] = _int64_list(b"".join(lists))
    return out


def _parts(message: bytes, wanted: int) -> list[bytes]:
    """The length-delimited values of a field."""
    return [value for number, value in fields(message) if number == wanted and isinstance(value, bytes)]


def _name(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("the name of a list is not UTF-8") from None


def _int64_list(data: bytes) -> np.ndarray:
    """An Int64List, packed as TensorFlow writes it, or not."""
    values: list[np.ndarray] = []
    for number, value in fields(data):
        if number == 1:
            values.append(_packed(value) if isinstance(value, bytes) else np.array([value], np.uint64).view(np.int64))
    return np.concatenate(values) if values else np.zeros(0, np.int64)


def _packed(data: bytes) -> np.ndarray:
    """Concatenated varints (seven bits per byte, lowest first, the last byte below 128) -> int64."""
    parts = np.frombuffer(data, np.uint8)
    last = parts < 0x80
    if not len(parts) or not last[-1]:
        raise Damaged("it ends within a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    index = np.arange(len(parts)) - np.repeat(starts, ends - starts + 1)
    if index.max() > 9:
        raise Damaged("a number is longer than 64 bits")
    shifted = (parts & 0x7F).astype(np.uint64) << (7 * index).astype(np.uint64)
    return np.add.reduceat(shifted, starts).view(np.int64)


def describe_records(files: Sequence[RecordFile]) -> dict[str, object]:
    """TFRecord files -> {"kind": "TFRecords", ...}: number of records, their features and lengths, the range of ids.

    Raises:
        UserError: a record is damaged; the message names the file and the record.
    """
    lengths: dict[str, Counter[int]] = {}
    records, low, high, tokens = 0, 1 << 62, -1, 0
    for file in files:
        with file.here() as path:
            try:
                for record in read_records(path):
                    found = integers(record)
                    records += 1
                    for name, values in found.items():
                        lengths.setdefault(name, Counter())[len(values)] += 1
                    ids = found.get("input_ids", np.zeros(0, np.int64))
                    low, high = min(low, int(ids.min(initial=low))), max(high, int(ids.max(initial=high)))
                    tokens += int(found.get("input_mask", np.ones(len(ids), np.int64)).sum())
            except Damaged as error:
                raise UserError(f"{file.place}, record {records}: {error}; copy it again") from None
    shown = {name: {"lengths": {str(length): count for length, count in sorted(counts.items())[:10]}} for name, counts in sorted(lengths.items())}
    sizes = {"num_files": len(files), "size_bytes": sum(file.size for file in files), "records": records}
    ids_seen = {"smallest_id": low, "largest_id": high, "tokens": tokens} if high >= 0 else {}
    return {"kind": "TFRecords", **sizes, "features": shown, **ids_seen}


def segments(example: dict[str, np.ndarray], tokenizer: Tokenizer) -> list[np.ndarray]:
    """An example's lists -> the ids of its one or two segments, without [CLS], [SEP] and padding.

    Raises:
        Damaged: lists are missing or inconsistent.
        UserError: the example was made with another vocabulary.
    """
    if "masked_lm_positions" in example:
        raise UserError("the records are of BERT's create_pretraining_data.py: their text is masked already; prepare the text itself")
    try:
        ids, mask, segment_ids = (example[name] for name in ("input_ids", "input_mask", "segment_ids"))
    except KeyError as error:
        raise Damaged(f"a record without {error}") from None
    num = int(mask.sum())
    if not (len(ids) == len(mask) == len(segment_ids)) or not 3 <= num <= len(ids):
        raise Damaged("input_ids, input_mask and segment_ids do not fit together")
    first = int((segment_ids[:num] == 0).sum())
    if first < 3 or segment_ids[:first].any() or (segment_ids[first:num] != 1).any():
        raise Damaged("segment_ids are not 0 for the first segment and 1 for the second")
    ids = ids[:num]
    if ids.min() < 0 or ids.max() >= tokenizer.vocab_size:
        raise UserError(
            f"id {ids.max()} of the records is outside the tokenizer's {tokenizer.vocab_size} tokens; give the vocabulary they were made with"
        )
    seps = [first - 1] if first == num else [first - 1, num - 1]
    if ids[0] != tokenizer.cls_id or any(ids[at] != tokenizer.sep_id for at in seps):
        raise UserError("a record is not [CLS] a [SEP] b [SEP] with this tokenizer; give the vocabulary it was made with")
    parts = [ids[1 : first - 1], ids[first : num - 1]]
    return [part for part in parts if len(part)]


def store_records(files: Sequence[RecordFile], tokenizer: Tokenizer, output: Path, held_out: float, report: CorpusReport) -> int:
    """TFRecord files -> SHARDS/parts/*.npz, a chunk per file, in it each example as a document of one or two lines -> number of chunks.

    A damaged file is reported, and read up to the damage.

    Raises:
        UserError: there is no example in any file.
    """
    (output / "parts").mkdir(exist_ok=True)
    report.total_bytes = sum(file.size for file in files)
    report.rules["stored examples"] = len(files)
    num = 0
    with ReadingProgress(report, f"preparing {output.name}") as progress:
        for number, file in enumerate(files):
            target = output / "parts" / f"{number:06}.npz"
            key = file.key()
            if not is_tokenized(target, key):
                _store_file(file, tokenizer, target, key, held_out, report)
            with open_chunk(target) as arrays:
                num += sum(len(arrays[f"{name}_documents"]) for name in SPLITS)
            report.done_bytes += file.size
            progress.show()
    if not num:
        problem = report.lines()[0] if report.problems else "they are empty"
        raise UserError(f"no example in {len(files)} TFRecord files ({problem}); check the files and the vocabulary")
    return len(files)


def _store_file(file: RecordFile, tokenizer: Tokenizer, target: Path, key: bytes, held_out: float, report: CorpusReport) -> None:
    dtype = tokenizer.dtype
    ids: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    ends: dict[str, list[int]] = {name: [] for name in SPLITS}
    try:
        with file.here() as path:
            for record in read_records(path):
                found = segments(integers(record), tokenizer)
                digest = hashlib.blake2b(b"".join(part.tobytes() for part in found), digest_size=8).digest()
                name = SPLITS[int.from_bytes(digest, "little") < int(held_out * 2**64)]
                ids[name] += found
                ends[name].append(len(found))
    except Damaged as error:
        key = bytes(len(key))  # matches no file: after an interruption it is read again, and its damage reported again
        report.add("TFRecord files damaged, read up to the damage", f"{file.name}, record {sum(map(len, ends.values()))}: {error}")
    arrays: dict[str, np.ndarray] = {"key": np.frombuffer(key, np.uint8), "dropped": np.array([0, file.size])}
    unknown = {"tokens": 0, "unknown_tokens": 0}
    for name in SPLITS:
        values = np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in ids[name])])
        unknown["tokens"] += len(values)
        unknown["unknown_tokens"] += int((values == tokenizer.unk_id).sum())
        arrays |= {f"{name}_ids": values, f"{name}_lines": np.array([len(part) for part in ids[name]], np.int64)}
        arrays[f"{name}_documents"] = np.array(ends[name], np.int64)
    arrays["unknown"] = np.frombuffer(json.dumps(unknown).encode(), np.uint8)
    with atomic.atomic_file(target) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]

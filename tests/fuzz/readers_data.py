"""Readers of text and data in bulk: corpora, archives, tokenized datasets, arrays, TFRecords."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import random
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.limits import Wrong
from fuzz.places import Folder, as_json, chosen, new_folder, numbered, put, require_equal, root
from fuzz.readers_tables import TEXTS

# ---- corpora and archives ----

CORPUS_FILES = ("a.txt", "a.jsonl", "a.txt.gz", "a.tar", "a.zip", "a.tar.xz", "a.tgz", "a.parquet", "a.gz", "a.txt.zst", "a.txt.bz2")
DOCUMENTS = {"one.txt": "first line\nsecond line\n", "two.txt": "電影 très\n", "in/three.jsonl": '{"text": "a record"}\n', ".hidden.txt": "x\n"}


def tarred(members: dict[str, bytes], **changes: Any) -> bytes:
    """A tar; `changes` are set on every entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in changes.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zipped(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with fixed dates."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return out.getvalue()


def _packed() -> dict[str, bytes]:
    return {name: text.encode() for name, text in DOCUMENTS.items()}


def corpus_seeds() -> list[bytes]:
    import bz2
    import lzma

    import pyarrow
    import zstandard
    from pyarrow import parquet

    text = b"a title\n\nfirst document\nhas two lines\n\nsecond one<br />with a break\n"
    lines = b"".join(as_json({"text": line}) + b"\n" for line in TEXTS)
    packed, out = tarred(_packed()), io.BytesIO()
    parquet.write_table(pyarrow.table({"text": list(TEXTS)}), out)
    nested = tarred({"outer.txt": b"outside\n", "inner.tar.gz": gzip.compress(packed, mtime=0), "b.zip": zipped(_packed())})
    links = tarred({"link.txt": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd") + tarred({"dev.txt": b""}, type=tarfile.CHRTYPE)
    found = [text, lines, gzip.compress(text, mtime=0), packed, zipped(_packed()), lzma.compress(packed), gzip.compress(packed, mtime=0)]
    found += [out.getvalue(), gzip.compress(packed, mtime=0), zstandard.compress(text), bz2.compress(text)]
    climbing = {"../../evil.txt": b"out\n", "/abs.txt": b"abs\n", "a/./b.txt": b"in\n", "c:\\d.txt": b"x\n"}
    more = [b"\3" + nested, b"\3" + links, b"\3" + tarred(climbing), b"\4" + zipped(climbing), b"\2" + gzip.compress(b"a" * 3_000_000, mtime=0)]
    return [*numbered(found), *more, b"\0 = Title = \n\nbody text\n\n = = Part = = \n\nmore\n"]


def corpus(data: bytes) -> None:
    """Texts, lines of records, parquet, compressed files and archives of them (nested, bombs, links, devices), as `prepare` and `vocab` read
    them. References: `tarfile`, `zipfile`, `gzip` and `json`, where nothing was reported."""
    from electra.data.documents import read_documents
    from electra.data.sources import CorpusReport

    name, content = chosen(data, CORPUS_FILES)
    folder = new_folder("corpus")
    path = folder / name
    path.write_bytes(content)
    report = CorpusReport()
    documents = [document.lines for document in read_documents([str(path)], report=report)]
    for line in (line for document in documents for line in document):
        if not line or "\n" in line or line != line.strip():
            raise Wrong("a line that is empty or has white space around it")
        line.encode()
    if len(list(folder.rglob("*"))) != 1:
        raise Wrong("a file was unpacked")
    report.lines()
    if report.problems:
        return
    words = [line for document in documents for line in document]
    if name in ("a.txt", "a.jsonl", "a.txt.gz", "a.tar", "a.zip", "a.tgz"):
        try:
            theirs = _without_breaks(" ".join(_reference_texts(name, content)))
        except UnicodeDecodeError:  # a member that is packed by its content
            return
        require_equal(_without_breaks(" ".join(words)).split(), theirs.split(), "the words")


def _reference_texts(name: str, content: bytes) -> list[str]:
    """The texts in a file, by the standard library."""
    if name.endswith((".gz", ".tgz")):
        content = gzip.decompress(content)
    if name == "a.jsonl" and content.decode("utf-8-sig").lstrip().startswith("["):
        return [row["text"] or "" for row in json.loads(content.decode("utf-8-sig").strip())]
    if name == "a.jsonl":
        return [json.loads(line)["text"] or "" for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    if name.startswith("a.txt"):
        return _reference_texts("a.jsonl", content) if _begins_with_a_record(content) else [content.decode("utf-8-sig")]
    found = []
    if name == "a.zip":
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            members = [(entry.filename, bundle.read(entry)) for entry in bundle.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    else:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            members = [(entry.name, getattr(archive.extractfile(entry), "read", bytes)()) for entry in archive if entry.isfile()]
    for inner, body in members:
        if _is_hidden(inner):
            continue
        found += _reference_texts("a.jsonl" if inner.endswith(".jsonl") else "a.txt", body)
    return found


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in Path(name).parts)


def _begins_with_a_record(content: bytes) -> bool:
    """Whether the first line is a JSON object: lines of records without their ending."""
    line = content.decode("utf-8-sig").split("\n")[0].lstrip()
    try:
        record = json.loads(line) if line.startswith('{"') else None
        return isinstance(record, dict) and "text" in record
    except (ValueError, RecursionError):
        return False


def _without_breaks(text: str) -> str:
    return re.sub(r"<br ?/?>", " ", text, flags=re.IGNORECASE)


ARCHIVES = ("data.zip", "data.tar", "data.tar.gz", "reviews.tar", "reviews.tar.gz")


def archive_seeds() -> list[bytes]:
    data = {"SST-2/train.tsv": b"sentence\tlabel\na\t1\n", "SST-2/dev.tsv": b"sentence\tlabel\nb\t0\n", "__MACOSX/x": b"1", "SST-2/.DS": b"2"}
    reviews = {
        f"aclImdb/{half}/{label}/{number}_7.txt": b"good<br />film" for half in ("train", "test") for label in ("pos", "neg") for number in (0, 1)
    }
    reviews["aclImdb/train/unsup/0_0.txt"] = b"an unlabelled review. It has two sentences."
    unsafe = {"../../evil.txt": b"out", "/abs.txt": b"abs", "c:\\d.txt": b"x", "SST-2\\..\\..\\e.txt": b"y", "nul\0l": b"z"}
    found = [zipped(data), tarred(data), gzip.compress(tarred(data), mtime=0), tarred(reviews), gzip.compress(tarred(reviews), mtime=0)]
    links = tarred({"SST-2/link": b""}, type=tarfile.SYMTYPE, linkname="/etc") + tarred({"SST-2/link/x": b"1"})
    more = [b"\0" + zipped({name: body}) for name, body in unsafe.items() if "\0" not in name]
    return [
        *numbered(found),
        *more,
        b"\1" + links,
        b"\1" + tarred({name: body for name, body in unsafe.items()}),
        b"\0" + zipped({"a": b"x", "a/b": b"y"}),
    ]


def archives(data: bytes) -> None:
    """Benchmarks' archives, which are unpacked into the cache, and IMDb's, which is read as a stream. References: `zipfile`, `tarfile`."""
    from electra.tasks import hub_datasets, imdb

    name, content = chosen(data, ARCHIVES)
    folder = new_folder("archives")
    path = folder / name
    path.write_bytes(content)
    if name.startswith("reviews"):
        imdb.read_unlabelled(path)
        imdb.read_imdb(path, "train")
        return
    new_folder("cache")
    before = {*root().iterdir(), *folder.iterdir()}
    try:
        place = hub_datasets.unpacked(path)
    finally:
        if {*root().iterdir(), *folder.iterdir()} != before or Path("/abs.txt").exists():
            raise Wrong("a file outside of the cache")
    files = [file for file in place.rglob("*") if not file.is_dir()]
    if any(file.is_symlink() or not file.is_file() for file in files):
        raise Wrong("a link or a device was unpacked")
    theirs = _archive_contents(name, content)
    if not {hashlib.sha256(file.read_bytes()).digest() for file in files} <= theirs:
        raise Wrong("a file that is not in the archive")


def _archive_contents(name: str, content: bytes) -> set[bytes]:
    if name.endswith(".zip"):
        found = set()
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            for entry in (entry for entry in bundle.infolist() if not entry.is_dir()):
                with contextlib.suppress(OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):  # one that is not unpacked
                    found.add(hashlib.sha256(bundle.read(entry)).digest())
        return found
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {hashlib.sha256(getattr(archive.extractfile(entry), "read", bytes)()).digest() for entry in archive if entry.isreg()}


# ---- tokenized data, arrays ----

WORDS = "the cat dog sat on a mat and ran home while birds sang over old trees in spring rain".split()


def vocabulary_text() -> str:
    """A vocab.txt of some sixty pieces."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *WORDS, ".", ","]
    return "".join(f"{piece}\n" for piece in dict.fromkeys(pieces))


@functools.cache
def tokenizer() -> Any:
    """The tokenizer of `vocabulary_text`."""
    from electra.data.tokenizer import load_tokenizer

    (root() / "vocab.txt").write_text(vocabulary_text(), encoding="utf-8")
    return load_tokenizer(root() / "vocab.txt")


@functools.cache
def shards() -> Path:
    """A small tokenized dataset."""
    from prepared import prepare_shards

    rng = random.Random(4)
    documents = ["\n".join(" ".join(rng.choices(WORDS, k=6)) + " ." for _ in range(3)) for _ in range(30)]
    (root() / "text.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    output = root() / "shards"
    prepare_shards([root() / "text.txt"], tokenizer(), output, held_out=0.1, workers=1)
    return output


@functools.cache
def _dataset() -> Folder:
    return Folder(shards())


def dataset_seeds() -> list[bytes]:
    return _dataset().seeds()


def dataset(data: bytes) -> None:
    """A tokenized dataset: manifest, arrays, tokenizer; opened, verified and read. Reference: the bytes of the dataset that was written."""
    from electra.data.shards import expected_hashes, open_shards
    from electra.inference.inspect import describe

    folder = _dataset()
    with folder.replaced(data) as name:
        if name == "manifest.json":
            expected_hashes(data[1:], "s3://x/y")
        opened = open_shards(folder.path)
        damaged = opened.verify()
        if not damaged and name.endswith(".npy") and data[1:] != folder.contents[name]:
            raise Wrong("a changed array that is not reported")
        describe(str(folder.path))
        for split in ("train", "held_out"):
            part = opened.split(split)
            if not damaged:
                for index in range(min(3, part.num_documents)):
                    part.document(index)


ARRAYS = ("corruption.npz", "vectors.npy", "arrays.npz", "corruption.jsonl", "part.npz")


def array_seeds() -> list[bytes]:
    from electra.data.corruption_set import CorruptedText, CorruptionSet, replace_words, save_texts

    ids = np.arange(12, dtype=np.int32)
    found = CorruptionSet(
        ids=ids,
        segments=np.zeros(12, np.uint8),
        lengths=np.array([6, 6], np.int32),
        corrupted={"generator": ids + 1, "frequency": ids},
        fingerprint=tokenizer().fingerprint,
    )
    found.save(root() / "corruption.npz")
    np.save(root() / "vectors.npy", np.ones((3, 4), np.float32))
    np.savez(root() / "arrays.npz", a=np.arange(3), b=np.array("text"))
    save_texts([replace_words("the chef cooked", {1: "dog"}, "generator"), CorruptedText("a b", ((0, 1, False),))], root() / "corruption.jsonl")
    splits = {f"{name}_{kind}": np.arange(3) for name in ("train", "held_out") for kind in ("ids", "lines", "documents")}
    unknown = np.frombuffer(b'{"tokens": 1, "unknown_tokens": 0}', np.uint8)
    np.savez(root() / "part.npz", key=np.frombuffer(b"k" * 16, np.uint8), dropped=np.array([0, 9]), unknown=unknown, **splits)
    return numbered([(root() / name).read_bytes() for name in ARRAYS])


def arrays(data: bytes) -> None:
    """Corruption sets of ids and of texts, vectors and other arrays, parts of an unfinished `prepare`. Reference: numpy."""
    from electra.data.corruption_set import context_free_scores, load_corruption, load_texts
    from electra.data.prepare_chunk import is_tokenized
    from electra.inference.inspect import describe

    name, content = chosen(data, ARRAYS)
    path = put(root() / name, content)
    if name == "part.npz":
        is_tokenized(path, b"k" * 16)
        return
    if name == "corruption.npz":
        found = load_corruption(path, tokenizer().fingerprint)
        with np.load(path, allow_pickle=False) as theirs:
            require_equal(found.ids.tolist(), theirs["ids"].tolist(), "ids")
        found.context_free_scores("generator")
    elif name == "corruption.jsonl":
        context_free_scores(load_texts(path))
    describe(str(path))


# ---- TFRecords ----


def record(data: bytes) -> bytes:
    """A record with its length and checksums."""
    from electra.protobuf import masked_crc

    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", masked_crc(size)) + data + struct.pack("<I", masked_crc(data))


def _example(lists: dict[str, list[int]]) -> bytes:
    example = example_class()()
    for name, values in lists.items():
        example.features.feature[name].int64_list.value.extend(values)
    return bytes(example.SerializeToString())


@functools.cache
def example_class() -> Any:
    """tf.train.Example for Google's protobuf, the reference."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="fuzz_example.proto", package="fuzz", syntax="proto3")
    kinds = {"BytesList": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, "FloatList": 2, "Int64List": 3}
    for name, kind in kinds.items():
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=3)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, field) in enumerate(zip(kinds, ("bytes_list", "float_list", "int64_list"), strict=True), 1):
        feature.field.add(name=field, number=number, type=11, type_name=f".fuzz.{name}", label=1, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, type_name=".fuzz.Feature", label=1)
    features.field.add(name="feature", number=1, type=11, type_name=".fuzz.Features.FeatureEntry", label=3)
    file.message_type.add(name="Example").field.add(name="features", number=1, type=11, type_name=".fuzz.Features", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fuzz.Example"))


def tfrecord_seeds() -> list[bytes]:
    lists = {"input_ids": [2, 60, 61, 3, 62, 3, 0, 0], "input_mask": [1] * 6 + [0] * 2, "segment_ids": [0] * 4 + [1] * 2 + [0] * 2}
    one = _example(lists)
    loose = b"\n\x15\n\x13\n\tinput_ids\x12\x06\x1a\x04\x08\x02\x08\x3c"
    return [b"\0" + record(one) * 2, b"\1" + one, b"\1" + loose, b"\1" + _example({"a": [-1, 2**40]}), b"\0" + record(b"")]


def tfrecord(data: bytes) -> None:
    """TFRecords and the tf.train.Examples in them. An input is a file, or the data of one record, to which the harness adds the checksums.
    References: TensorBoard's record reader, Google's protobuf."""
    from google.protobuf import message
    from google.protobuf.unknown_fields import UnknownFieldSet

    from electra.data.sources import CorpusReport
    from electra.data.tfrecord import describe_records, find_records, integers, read_records, segments, store_records
    from electra.protobuf import Damaged

    kind, content = chosen(data, ("file", "record"))
    folder = new_folder("records")
    path = folder / "a.tfrecord-0-of-1"
    path.write_bytes(record(content) if kind == "record" else content)
    files = find_records([path])
    describe_records(files)
    records = list(read_records(path))
    require_equal(records, _reference_records(path), "records")
    for one in records:
        ours = integers(one)
        try:
            theirs = example_class().FromString(one)
        except message.DecodeError:
            continue  # damage in what is not read here: other kinds of lists
        if len(UnknownFieldSet(theirs.features)):
            continue  # Python's protobuf leaves out an entry with a field that it does not know; that of TensorFlow reads it
        known = {name: list(value.int64_list.value) for name, value in theirs.features.feature.items() if value.WhichOneof("kind") == "int64_list"}
        require_equal({name: values.tolist() for name, values in ours.items()}, known, "lists of an Example")
        with contextlib.suppress(Damaged):
            segments(ours, tokenizer())
    store_records(files, tokenizer(), new_folder("stored"), 0.1, CorpusReport())


def _reference_records(path: Path) -> list[bytes]:
    from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow

    reader = pywrap_tensorflow.PyRecordReader_New(str(path))
    found = []
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return found
        found.append(bytes(reader.record()))

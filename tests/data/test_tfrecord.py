"""The original's pre-training shards: read as TensorFlow wrote them, then trained on as they are."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from electra import load
from electra.cli import main
from electra.data.pretraining_batches import ExampleBuilder, PretrainingStream, held_out_batches
from electra.data.shards import open_shards
from electra.data.tfrecord import find_records, integers, read_records, segments
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.protobuf import Damaged, masked_crc
from electra.settings import DataSettings


@pytest.fixture(scope="module")
def records(reference_root: Path) -> Path:
    return reference_root / "tf1-tfrecords"


@pytest.mark.realdata
def test_records_hold_what_the_original_wrote(records: Path) -> None:
    expected = json.loads((records / "expected.json").read_text())
    found = [(number, integers(record)) for number, file in enumerate(find_records([records])) for record in read_records(Path(file.place))]
    assert len(found) == len(expected)
    for (number, example), wanted in zip(found, expected, strict=True):
        assert number == wanted["file"] and example["input_ids"].tolist() == wanted["input_ids"]
        assert example["input_mask"].sum() == wanted["input_mask_sum"] and example["segment_ids"].sum() == wanted["segment_ids_sum"]


@pytest.mark.realdata
def test_prepared_records_are_read_back_as_they_were(records: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prepare` on the folder; every example of the stream is one of the stored ones, segments included, and each comes once an epoch."""
    vocab = data_root / "vocab" / "uncased-en.txt"
    out = tmp_path / "shards"
    assert main(["prepare", str(records), "--tokenizer", str(vocab), "--output", str(out), "--held-out", "20%"]) == 0
    stored = set()
    for file in find_records([records]):
        for record in read_records(Path(file.place)):
            example = integers(record)
            n = int(example["input_mask"].sum())
            stored.add((*example["input_ids"][:n].tolist(), *example["segment_ids"][:n].tolist()))
    shards, tokenizer = open_shards(out), load_tokenizer(vocab)
    num_train, num_held = shards.train.num_documents, shards.held_out.num_documents
    assert num_train + num_held == 27 and num_held > 0 and shards.train.stored
    settings = DataSettings(data=(out,), sequence_length=128)
    stream = PretrainingStream([shards.train], ExampleBuilder(settings, tokenizer), num_train, 3)
    seen = set()
    for batches in ([next(stream)], held_out_batches([shards.held_out], ExampleBuilder(settings, tokenizer), 4, 100, 0)):
        for batch in batches:
            for row in range(len(batch.lengths)):
                here = batch.rows == row
                seen.add((*batch.ids[here].tolist(), *batch.segments[here].tolist()))
    assert seen == stored
    assert main(["inspect", str(out)]) == 0
    capsys.readouterr()
    assert main(["prepare", str(records), "--tokenizer", str(data_root / "vocab" / "zh.txt"), "--output", str(tmp_path / "zh")]) == 2
    assert "vocabulary" in capsys.readouterr().err


def framed(data: bytes) -> bytes:
    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", masked_crc(size)) + data + struct.pack("<I", masked_crc(data))


def test_negative_and_unpacked_numbers() -> None:
    """Ten-byte negatives, and a list written one number a field, as other writers do."""

    def number(value: int) -> bytes:
        value &= (1 << 64) - 1
        out = bytearray()
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def field(tag: int, data: bytes) -> bytes:
        return number(tag << 3 | 2) + number(len(data)) + data

    values = [0, 1, 127, 128, 300, -1, 2**62]
    packed = field(1, b"".join(map(number, values)))
    single = b"".join(number(1 << 3) + number(value) for value in values)
    for listed in (packed, single):
        example = field(1, field(1, field(1, b"x") + field(2, field(3, listed))))
        assert integers(example)["x"].tolist() == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (framed(b"abc")[:-1], "ends within a record"),
        (framed(b"abc")[:6], "length is damaged"),
        (framed(b"abc")[:12] + b"abd" + framed(b"abc")[-4:], "wrong checksum"),
        (struct.pack("<Q", 1 << 60) + struct.pack("<I", masked_crc(struct.pack("<Q", 1 << 60))), "not a pre-training example"),
        (b"not a record at all", "length is damaged"),
    ],
)
def test_damaged_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(content)
    with pytest.raises(Damaged, match=message):
        list(read_records(tmp_path / "a.tfrecord"))


def test_records_of_berts_own_script_are_refused() -> None:
    """Their text is masked already: it would be learned as it is."""
    lists = {"input_ids": [2, 7, 3], "input_mask": [1, 1, 1], "segment_ids": [0, 0, 0], "masked_lm_positions": [1]}
    with pytest.raises(UserError, match="masked already; prepare the text itself"):
        segments({name: np.array(values) for name, values in lists.items()}, load("shipped:mini").tokenizer)


@pytest.mark.realdata
def test_records_before_the_damage_are_kept(records: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    files = find_records([records])
    (source / "a.tfrecord-0-of-2").write_bytes(Path(files[0].place).read_bytes())
    (source / "a.tfrecord-1-of-2").write_bytes(Path(files[1].place).read_bytes()[:2000])
    vocab = str(data_root / "vocab" / "uncased-en.txt")
    assert main(["prepare", str(source), "--tokenizer", vocab, "--output", str(tmp_path / "out"), "--held-out", "0"]) == 0
    assert "a.tfrecord-1-of-2, record 3" in capsys.readouterr().err
    assert open_shards(tmp_path / "out").train.num_documents == 9 + 3
    (tmp_path / "text.txt").write_text("words\n")
    assert main(["prepare", str(source), str(tmp_path / "text.txt"), "--tokenizer", vocab, "--output", str(tmp_path / "both")]) == 2
    assert "two folders" in capsys.readouterr().err


def test_shards_are_taken_by_number(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"data.tfrecord-{number}-of-1000").write_bytes(b"")
    assert [file.name.split("-")[1] for file in find_records([tmp_path])] == ["1", "2", "10"]
    assert find_records([]) == [] and np.array_equal(find_records([tmp_path / "none"]), [])
    with pytest.raises(UserError, match="holds no TFRecords"):
        find_records([tmp_path, tmp_path / "other"])

"""Bytes -> fields of protocol buffers, varints, TensorFlow's checksums: the subset that TFRecords and checkpoints need."""

from __future__ import annotations

from collections.abc import Iterator


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
        if byte < 0x80:
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
        tag, at = varint(data, at)
        kind = tag & 7
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

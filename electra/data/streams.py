"""A file, as it lies there -> its bytes, decompressed, as a stream that only goes forward and holds a block at a time."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from electra.errors import require

COMPRESSIONS = (".gz", ".xz", ".zst", ".bz2")


class ArchiveBroken(OSError):
    """The archive that a stream lies in cannot be read on; told once, where the archive is read, not for all that lies in it."""


BROKEN_STREAM = (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
"""What reading damaged data raises."""


def reason(error: BaseException) -> str:
    """Why, in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


class _FromBlocks(io.RawIOBase):
    """Blocks of bytes as a stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            try:
                self._held = memoryview(next(self._blocks))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size


def decompressed(raw: BinaryIO, ending: str) -> BinaryIO:
    """A stream and its name's last ending ('.xz') -> the stream of what it holds; other endings change nothing."""
    if ending == ".zst":
        return cast(BinaryIO, io.BufferedReader(_FromBlocks(_zstd_blocks(raw)), 1 << 16))
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    return cast(BinaryIO, openers[ending](raw)) if ending in openers else raw


def _zstd_blocks(raw: BinaryIO) -> Iterator[bytes]:
    zstandard = require("zstandard", "data")
    frame = None
    try:
        while chunk := raw.read(1 << 16):
            while chunk:
                frame = frame or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
                if block := frame.decompress(chunk):
                    yield block
                chunk = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from None
    if frame is not None:
        raise EOFError("the last frame is not whole")


def peek(stream: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and the stream with them still to come."""
    head = b""
    while len(head) < size and (block := stream.read(size - len(head))):
        head += block

    def blocks() -> Iterator[bytes]:
        yield head
        while block := stream.read(1 << 16):
            yield block

    return head, cast(BinaryIO, io.BufferedReader(_FromBlocks(blocks()), 1 << 16))

"""Archives of texts, as OpenWebText is distributed -> the texts in them, nothing unpacked to the disk.

    openwebtext.tar.xz  ->  urlsf_subset00-1_data.xz (a tar.xz)  ->  0000001-....txt, a document each

A tar is read as it comes, in the memory of one block for each archive within an archive. A zip has its list of contents at the end, so
it is read where one can go to and fro: as a file of its own, not within another archive. Names of members serve as places in reports and
choose how a member is read; no file is ever written after them.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Self, cast

from electra.data.sources import UNKNOWN_ENDING, UNREADABLE, Report, Source, kind_of
from electra.data.streams import BROKEN_STREAM, ArchiveBroken, decompressed, peek, reason

TAR_MARK = b"ustar"
"""Stands at byte 257 of a tar."""
MOST_NESTED = 4
NOT_FILES = "archive members skipped, no regular files"


class _Entry(tarfile.TarInfo):
    """A tar's header. tarfile takes a damaged one for the end of the archive; here only the end is the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without an end mark") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from None


class _Member(io.RawIOBase):
    """A member of a tar. When the archive cannot be read on, the error is kept for `_read_tar` to tell."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(len(buffer))
        except ArchiveBroken:
            raise
        except BROKEN_STREAM as error:
            self.error = error
            raise ArchiveBroken(reason(error)) from None
        buffer[: len(block)] = block
        return len(block)


def open_sniffed(source: Source, report: Report) -> tuple[str, BinaryIO | None]:
    """A compressed file whose name does not say what is in it -> ('archive' or 'text', its decompressed stream, or None if it is broken)."""
    try:
        head, stream = peek(decompressed(source.open(), source.ending), 262)
    except ArchiveBroken:
        return "text", None
    except BROKEN_STREAM as error:
        report.add(UNREADABLE, f"{source.name}: at its beginning: {reason(error)}")
        return "text", None
    return ("archive" if head[257:262] == TAR_MARK else "text"), stream


def read_members(source: Source, report: Report, stream: BinaryIO | None = None, depth: int = 0) -> Iterator[Source]:
    """An archive (or, given `stream`, a decompressed tar) -> the texts in it, each to be read before the next is asked for.

    A damaged archive is reported with its place; what stands before the damage is given.
    """
    if depth >= MOST_NESTED:
        report.add(UNREADABLE, f"{source.name}: archives within archives, more than {MOST_NESTED} deep")
        return
    try:
        with source.open() if stream is None else stream as raw:
            position = raw.tell if source.in_archive is False and stream is None else None
            if source.ending == ".zip" and stream is None:
                members = _read_zip(raw, source, report)
            else:
                members = _read_tar(decompressed(raw, _compression(source)) if stream is None else stream, source, report)
            for member in members:
                if position is not None:
                    report.position = position()
                yield from _as_texts(member, report, depth)
    except ArchiveBroken:
        return  # told where the outer archive is read
    except BROKEN_STREAM as error:
        report.add(UNREADABLE, f"{source.name}: after {report.position:,} bytes: {reason(error)}")


def _compression(source: Source) -> str:
    short = {".tgz": ".gz", ".txz": ".xz", ".tzst": ".zst", ".tbz2": ".bz2"}
    return short.get(source.ending, source.ending)


def _as_texts(member: Source, report: Report, depth: int) -> Iterator[Source]:
    """A member -> itself, or the texts in it if it is an archive."""
    if member.kind == "archive":
        if member.ending == ".zip":
            report.add(UNREADABLE, f"{member.name}: a zip within an archive (its list of contents stands at its end); unpack the outer one")
        else:
            yield from read_members(member, report, depth=depth + 1)
    elif member.kind == "compressed":
        kind, stream = open_sniffed(member, report)
        if kind == "archive":
            yield from read_members(member, report, stream, depth + 1)
        elif stream is not None:
            report.add(UNKNOWN_ENDING, member.name)
    else:
        yield member


def _member(name: str, archive: Source, size: int, opener: Callable[[], BinaryIO], report: Report) -> Source | None:
    """A member -> a source, or None if it is not for us."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in name)[:300]
    if any(part.startswith(".") and part not in (".", "..") for part in PurePosixPath(name).parts):
        return None  # hidden, as in folders
    place = f"{archive.name}/{shown}"
    kind = kind_of(PurePosixPath(name))
    if kind is None:
        report.add(UNKNOWN_ENDING, place)
        return None
    if kind == "parquet":
        report.add(UNREADABLE, f"{place}: parquet within an archive; unpack it")
        return None
    return Source(kind, place, size_bytes=size, opener=opener, in_archive=True)


def _buffered(reader: _Member) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(reader, 1 << 16))


def _read_tar(stream: BinaryIO, archive: Source, report: Report) -> Iterator[Source]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Entry) as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile remembers every member it has passed
            if entry.isdir():
                continue
            if not entry.isfile():
                report.add(NOT_FILES, f"{archive.name}/{''.join(c if c.isprintable() else '?' for c in entry.name)[:300]}")
                continue
            reader = _Member(tar.extractfile(entry))
            found = _member(entry.name, archive, entry.size, partial(_buffered, reader), report)
            if found is not None:
                yield found
            if reader.error is not None:
                where = found.name if found is not None else archive.name
                report.add(UNREADABLE, f"{archive.name}: after {report.position:,} bytes, in {where}: {reason(reader.error)}")
                return


def _open_zipped(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    try:
        return cast(BinaryIO, bundle.open(entry))
    except (NotImplementedError, RuntimeError) as error:  # a rare compression, or a password
        raise OSError(str(error)) from None


def _read_zip(raw: BinaryIO, archive: Source, report: Report) -> Iterator[Source]:
    with zipfile.ZipFile(raw) as bundle:
        for entry in bundle.infolist():
            if not entry.is_dir():
                found = _member(entry.filename, archive, entry.file_size, partial(_open_zipped, bundle, entry), report)
                if found is not None:
                    yield found

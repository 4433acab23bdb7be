"""Files, folders, URLs, archives, hub names -> readable sources, their bytes and lines; problems are collected in a `CorpusReport`.

Compressed files and archives are read as forward-only streams, a block at a time; nothing is unpacked to disk.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, Self, cast

from electra.errors import UserError, raise_if_device, require
from electra.storage import atomic, remote

COMPRESSIONS = (".gz", ".xz", ".zst", ".bz2")
TEXT_ENDINGS = (".txt", ".text", ".md", ".rst", ".tokens", ".raw")
RECORD_ENDINGS = (".jsonl", ".ndjson")
ARCHIVE_ENDINGS = (".tar", ".zip", ".tgz", ".txz", ".tzst", ".tbz2")
BLOCK_BYTES = 1 << 20
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MAX_LINE_BYTES = 64 << 20
"""A longer line is cut (and reported), so that memory stays bounded."""
MAX_PLACES = 10
"""Places kept for each kind of problem; all are counted."""
UNREADABLE = "files that could not be read"
UNKNOWN_ENDING = "files skipped, ending not known"
NOT_FILES = "archive members skipped, no regular files"
TAR_MARK = b"ustar"
"""At byte 257 of a tar."""
MOST_NESTED = 4

# ---- streams ----


class ArchiveBroken(OSError):
    """The archive that contains a stream cannot be read any further; reported once for the archive, not for each member."""


BROKEN_STREAM = (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
"""What reading damaged data raises."""
ODD_HEADER = (ValueError, LookupError, OverflowError, struct.error)
"""What `tarfile` and `zipfile` raise, besides their own errors, for numbers in a header that cannot be."""


def reason(error: BaseException) -> str:
    """The message of an error in one line."""
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
    """A stream and the last ending of its name ('.xz') -> the decompressed stream; other endings change nothing."""
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
        raise EOFError("the last frame is incomplete")


def peek(stream: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and the stream from its beginning."""
    head = b""
    while len(head) < size and (block := stream.read(size - len(head))):
        head += block

    def blocks() -> Iterator[bytes]:
        yield head
        while block := stream.read(1 << 16):
            yield block

    return head, cast(BinaryIO, io.BufferedReader(_FromBlocks(blocks()), 1 << 16))


# ---- sources ----


@dataclass
class CorpusReport:
    """What was read so far, and every problem with its count and first places."""

    text_bytes: int = 0
    """Bytes of text read, decompressed."""
    done_bytes: int = 0
    """Size on disk of finished files."""
    total_bytes: int | None = 0
    """Size on disk of all files; None if there is a hub dataset among them."""
    position: int = 0
    """Position on disk in the file being read."""
    documents: int = 0
    empty_documents: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    """What separates documents -> number of such files."""
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind of problem -> {"count", "places"}."""

    def add(self, problem: str, place: str, count: int = 1) -> None:
        """Count a problem, and keep its place if it is among the first."""
        entry = self.problems.setdefault(problem, {"count": 0, "places": []})
        entry["count"] += count
        if len(entry["places"]) < MAX_PLACES:
            entry["places"].append(place)

    @property
    def fraction(self) -> float | None:
        """Fraction of the corpus read so far, by size on disk; None if the total is unknown."""
        return None if not self.total_bytes else min(1.0, (self.done_bytes + self.position) / self.total_bytes)

    def lines(self) -> list[str]:
        """The problems, one line each."""
        out = []
        for kind, entry in self.problems.items():
            more = "; ..." if len(entry["places"]) > 3 else ""
            out.append(f"{kind}: {entry['count']:,} ({'; '.join(entry['places'][:3])}{more})")
        return out


@dataclass(frozen=True)
class Source:
    """One file, on disk, in a store or in an archive, or one hub dataset."""

    kind: str
    """'text', 'records' (jsonl), 'parquet', 'archive', 'compressed' (its name does not show its content) or 'hub'."""
    name: str
    """Short name for messages: the path relative to the given folder."""
    path: Path | None = None
    size_bytes: int = 0
    opener: Callable[[], BinaryIO] | None = None
    """Opens it if it has no path."""
    in_archive: bool = False
    named: bool = False
    """Whether it was given by name, rather than found in a folder."""
    url: str = ""
    """Its address, in a store."""

    @property
    def ending(self) -> str:
        """The last ending of its name, lower-case."""
        return PurePath(self.name).suffix.lower()

    def open(self) -> BinaryIO:
        """Its bytes as stored."""
        if self.opener is not None:
            return self.opener()
        assert self.path is not None
        return open(self.path, "rb")


def kind_of(path: PurePath) -> str | None:
    """The kind of a file, by the endings of its name; None: not a text."""
    endings = [e.lower() for e in path.suffixes]
    packed = bool(endings) and endings[-1] in COMPRESSIONS
    last = endings[-1 - packed] if len(endings) > packed else ""
    if last in TEXT_ENDINGS or last in RECORD_ENDINGS:
        return "text" if last in TEXT_ENDINGS else "records"
    if packed and last == ".json":  # as C4's; a plain .json in a folder may be anything
        return "records"
    if last == ".parquet":
        return "parquet"
    if last in ARCHIVE_ENDINGS and not (packed and last != ".tar"):
        return "archive"
    return "compressed" if packed else None


def _named_kind(path: PurePath) -> str:
    """The kind of a file given by name: text, unless its ending says otherwise."""
    endings = [ending.lower() for ending in path.suffixes]
    last = endings[-2:-1] if endings and endings[-1] in COMPRESSIONS else endings[-1:]
    if last and last[0] in (".csv", ".tsv"):
        raise UserError(f"{path}: a table is not a corpus; turn it into jsonl or parquet and name its text column (--text)")
    return kind_of(path) or ("records" if last == [".json"] else "text")


FEWEST_UNDECODABLE = 4
"""Byte sequences; fewer are stray ones."""
LEAST_BLOCK = 1 << 14
"""Bytes from which the encoding of a later block is judged."""
KindOf = Callable[[PurePath], str | None]
"""The name of a file in a folder -> its kind; None: it is skipped, and reported."""


NO_CORPUS = "folders of tokenizers, models and tokenized data, not read"


def is_no_corpus(has: Callable[[str], bool]) -> bool:
    """Whether a folder holds a tokenizer, a model, or tokenized data, finished or not: its vocabulary is no text. `has`: whether a file is in it."""
    tokenized = has("tokenizer/tokenizer_config.json") and (has("manifest.json") or has("plan.json"))
    return tokenized or has("tokenizer_config.json")


def _is_in(folder: Path, file: str) -> bool:
    return (folder / file).is_file()


def _is_listed(files: Collection[str], folder: str, file: str) -> bool:
    return f"{folder}/{file}" in files


CARDS = "cards of data sets, not read"


def without_cards(sources: Iterable[Source], report: CorpusReport) -> list[Source]:
    """The files of a folder without README.md where its texts are in tables or records, as in a data set of the hub."""
    found = [*sources]
    if not any(source.kind in ("parquet", "records") for source in found):
        return found
    cards = [source for source in found if PurePath(source.name).name.lower() == "readme.md"]
    for source in cards:
        report.add(CARDS, source.name)
    return [source for source in found if source not in cards]


def _in_folder(path: Path, report: CorpusReport, kind_of: KindOf) -> Iterator[Source]:
    for folder, folders, files in os.walk(path, followlinks=True):
        made = [name for name in folders if is_no_corpus(partial(_is_in, Path(folder, name)))]
        for name in sorted(made):
            report.add(NO_CORPUS, str(Path(folder, name).relative_to(path)))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in made)
        for file in sorted(f for f in files if not f.startswith(".")):
            full = Path(folder, file)
            kind = kind_of(full)
            if kind is None:
                report.add(UNKNOWN_ENDING, str(full.relative_to(path)))
            elif not full.is_file():
                report.add(UNREADABLE, f"{full.relative_to(path)}: not a file")
            else:
                yield Source(kind, str(full.relative_to(path)), full, full.stat().st_size)


def _in_store(url: str, report: CorpusReport, kind_of: KindOf, named_kind: KindOf) -> Iterator[Source]:
    system, path, files = remote.list_files(url, "corpus")
    folders = {str(folder) for below in files for folder in PurePosixPath(below).parents} - {"."}
    made = {folder for folder in folders if is_no_corpus(partial(_is_listed, files, folder))}
    for folder in sorted(folder for folder in made if not any(str(above) in made for above in PurePosixPath(folder).parents)):
        report.add(NO_CORPUS, folder)
    for below, (full, size) in files.items():
        if any(str(folder) in made for folder in PurePosixPath(below).parents):
            continue

        def opener(full: str = full, place: str = remote.join(url, below) if below else url) -> BinaryIO:
            return remote.open_stream(system, full, place)

        if not below:
            yield Source(named_kind(PurePath(path)) or "text", PurePath(path).name, url=url, size_bytes=size, opener=opener, named=True)
        elif any(part.startswith(".") for part in below.split("/")):
            continue
        elif (kind := kind_of(PurePath(below))) is None:
            report.add(UNKNOWN_ENDING, below)
        else:
            yield Source(kind, below, url=remote.join(url, below), size_bytes=size, opener=opener)


def find_sources(names: Sequence[str | Path], report: CorpusReport, kinds: KindOf | None = None) -> list[Source]:
    """Files, folders (all files in them, sorted by path), URLs of either and hf:NAMEs -> sources in the order given.

    Args:
        names: what was given.
        report: gets the total size, and what was skipped.
        kinds: the kind of a file by its name, where it is no text of a corpus; a file given by name has a kind always.

    Raises:
        UserError: a name does not exist, or there is nothing readable.
    """
    found: list[Source] = []
    for name in names:
        if remote.is_url(name):
            found += _in_store(str(name), report, kinds or kind_of, kinds or _named_kind)
            continue
        if str(name).startswith("hf:") and kinds is None:
            found.append(Source("hub", str(name)))
            report.total_bytes = None
            continue
        path = atomic.existing_path(name, "corpus" if kinds is None else "file")
        if path.is_dir():
            found += without_cards(_in_folder(path, report, kinds or kind_of), report)
        else:
            found.append(Source((kinds or _named_kind)(path) or "text", path.name, path, path.stat().st_size, named=True))
    if not found:
        endings = " ".join(TEXT_ENDINGS + RECORD_ENDINGS)
        more = ".parquet (or .gz .xz .zst .bz2 of them), or .tar .zip" if kinds is None else ".csv .tsv .json .parquet (or .gz .xz .zst .bz2 of them)"
        skipped = report.problems.get(UNKNOWN_ENDING)
        there = f" ({skipped['count']:,} files have other endings, such as {skipped['places'][0]}: rename them, or name each)" if skipped else ""
        raise UserError(f"no text in {', '.join(map(str, names))}{there}; expected files ending in {endings} {more}")
    if report.total_bytes is not None:
        report.total_bytes += sum(source.size_bytes for source in found)
    return found


def with_newlines(text: bytes) -> bytes:
    """A text whose lines all end by "\\n", as in Python's text mode; an end that was converted twice ("\\r\\r\\n") is one."""
    if b"\r" in (text := text.replace(b"\r\n", b"\n")):
        return re.sub(rb"\r+\n?", lambda end: b"\n" if end[0].endswith(b"\n") else b"\n" * len(end[0]), text)
    return text


def read_blocks(source: Source, report: CorpusReport, stream: BinaryIO | None = None) -> Iterator[bytes]:
    """A text file (or its decompressed `stream`) -> blocks of whole lines. A damaged file is reported, and read up to the damage."""
    rest = b""
    try:
        with source.open() if stream is None else stream as raw:
            text = decompressed(raw, source.ending) if stream is None else raw
            first, held = True, b""
            while block := text.read(BLOCK_BYTES):
                if first and (block.startswith(UTF16) or b"\0" in block[:4096]):
                    what = "UTF-16 (convert it to UTF-8)" if block.startswith(UTF16) else "binary (or UTF-16: convert it to UTF-8)"
                    report.add(UNREADABLE, f"{source.name}: {what}")
                    return
                first = False
                report.text_bytes += len(block)
                if not source.in_archive and stream is None:
                    report.position = raw.tell()
                whole = (held + block).rstrip(b"\r")  # a newline may follow
                block, held = with_newlines(whole), (held + block)[len(whole) :]
                whole, newline, tail = block.rpartition(b"\n")
                if newline:
                    yield rest + whole + newline
                    rest = tail
                    continue
                rest += block
                if len(rest) > MAX_LINE_BYTES:
                    report.add(f"lines cut because they are longer than {MAX_LINE_BYTES >> 20} MB", source.name)
                    cut = rest.rfind(b" ") + 1 or next(i for i in range(MAX_LINE_BYTES, 0, -1) if rest[i] & 0xC0 != 0x80)  # whole characters
                    yield rest[:cut] + b"\n"
                    rest = rest[cut:]
    except ArchiveBroken:
        pass  # reported for the archive
    except BROKEN_STREAM as error:
        raise_if_device(error, permissions=False)
        after = "" if source.in_archive else f" after {report.position:,} bytes:"
        report.add(UNREADABLE, f"{source.name}:{after} {reason(error)}")
    if rest:
        yield rest


def read_lines(source: Source, report: CorpusReport, stream: BinaryIO | None = None) -> Iterator[tuple[int, str]]:
    """A text file -> (line number from 1, line without its end). Bytes that are not UTF-8 become U+FFFD and are reported. Where the first letters
    beyond ASCII are in another encoding, that is reported, and nothing is read from that block on."""
    number, known = 0, False
    for block in read_blocks(source, report, stream):
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            if not known and (number == 0 or len(block) >= LEAST_BLOCK) and _is_other_encoding(block):
                place = number + block.count(b"\n", 0, error.start) + 1
                what = f"not UTF-8 text (byte 0x{block[error.start]:02x}, line {place}); convert it: iconv -f ENCODING -t UTF-8"
                report.add(UNREADABLE, f"{source.name}: {what}")
                return
            lines = [_decode(line, f"{source.name}:{number + i}", report) for i, line in enumerate(block.split(b"\n"), 1)]
        known = known or not block.isascii()
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            yield number, (line.removeprefix("\ufeff") if number == 1 else line)


def _is_other_encoding(block: bytes) -> bool:
    """Whether most of what is not ASCII is no UTF-8, and it is more than a few stray bytes: such text loses its letters when it is repaired."""
    text = block.decode("utf-8", errors="replace")
    bad = text.count("\ufffd") - block.count(b"\xef\xbf\xbd")  # those of the text itself are no fault
    good = sum(not character.isascii() for character in text) - bad
    return bad >= FEWEST_UNDECODABLE and bad > good and bad * 1000 > len(block)


def _decode(line: bytes, place: str, report: CorpusReport) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        text = line.decode("utf-8", errors="replace")
        count = text.count("\ufffd") - line.count(b"\xef\xbf\xbd")
        report.add("undecodable byte sequences (replaced by U+FFFD)", f"{place}, byte {error.start + 1}", count)
        return text


def estimate_text_bytes(names: Sequence[str | Path]) -> int | None:
    """Estimated bytes of text in a corpus, from file sizes and usual compression ratios; None if there is a hub dataset among it."""
    sources = find_sources(names, CorpusReport())
    if any(source.kind == "hub" for source in sources):
        return None
    ratios = {".gz": 2.6, ".xz": 3.6, ".zst": 3.0, ".bz2": 3.4, ".parquet": 1.8, ".tgz": 2.6, ".txz": 3.6, ".tzst": 3.0, ".tbz2": 3.4, ".zip": 2.6}
    return sum(int(source.size_bytes * ratios.get(source.ending, 1.0)) for source in sources)


# ---- archives ----


class _TarHeader(tarfile.TarInfo):
    """tarfile takes a damaged header for the end of the archive; this one raises."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("no end mark") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from None


class _Member(io.RawIOBase):
    """A member of a tar. If the archive cannot be read any further, the error is kept for `_read_tar` to report."""

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
            raise_if_device(error, permissions=False)
            self.error = error
            raise ArchiveBroken(reason(error)) from None
        buffer[: len(block)] = block
        return len(block)


def open_sniffed(source: Source, report: CorpusReport) -> tuple[str, BinaryIO | None]:
    """A compressed file whose name does not show its content -> ('archive' or 'text', its decompressed stream, or None if it is damaged)."""
    try:
        head, stream = peek(decompressed(source.open(), source.ending), 262)
    except ArchiveBroken:
        return "text", None
    except BROKEN_STREAM as error:
        raise_if_device(error, permissions=False)
        report.add(UNREADABLE, f"{source.name}: at its beginning: {reason(error)}")
        return "text", None
    return ("archive" if head[257:262] == TAR_MARK else "text"), stream


def read_members(source: Source, report: CorpusReport, stream: BinaryIO | None = None, depth: int = 0) -> Iterator[Source]:
    """An archive (or, given `stream`, a decompressed tar) -> the texts in it, each to be read before the next one.

    A damaged archive is reported, and read up to the damage.
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
        return  # reported for the outer archive
    except BROKEN_STREAM as error:
        raise_if_device(error, permissions=False)
        report.add(UNREADABLE, f"{source.name}: after {report.position:,} bytes: {reason(error)}")


def _compression(source: Source) -> str:
    short = {".tgz": ".gz", ".txz": ".xz", ".tzst": ".zst", ".tbz2": ".bz2"}
    return short.get(source.ending, source.ending)


def _as_texts(member: Source, report: CorpusReport, depth: int) -> Iterator[Source]:
    """A member -> itself, or the texts in it if it is an archive."""
    if member.kind == "archive":
        if member.ending == ".zip":
            report.add(UNREADABLE, f"{member.name}: a zip within an archive (its table of contents is at its end); unpack the outer one")
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


def _member(name: str, archive: Source, size: int, opener: Callable[[], BinaryIO], report: CorpusReport) -> Source | None:
    """A member -> a source, or None if it is not a text."""
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


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next member; whatever tarfile raises for the numbers of a damaged header is a ReadError."""
    try:
        return tar.next()
    except ODD_HEADER as error:
        raise tarfile.ReadError(f"a header is damaged: {error}") from None


def _read_tar(stream: BinaryIO, archive: Source, report: CorpusReport) -> Iterator[Source]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarHeader) as tar:
        while (entry := _next(tar)) is not None:
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
    while stream.read(BLOCK_BYTES):
        pass  # the checksum of a compressed file follows its last member


def _open_zipped(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    try:
        return cast(BinaryIO, bundle.open(entry))
    except (NotImplementedError, RuntimeError) as error:  # a rare compression, or a password
        raise OSError(str(error)) from None


def _read_zip(raw: BinaryIO, archive: Source, report: CorpusReport) -> Iterator[Source]:
    try:
        opened = zipfile.ZipFile(raw)
    except (NotImplementedError, RuntimeError, *ODD_HEADER) as error:
        raise zipfile.BadZipFile(str(error)) from None
    with opened as bundle:
        for entry in bundle.infolist():
            if not entry.filename.endswith("/"):
                found = _member(entry.filename, archive, entry.file_size, partial(_open_zipped, bundle, entry), report)
                if found is not None:
                    yield found

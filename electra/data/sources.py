"""What the user named -> the files to read, and the bytes in them; what went wrong on the way is kept in a `Report`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from electra import disk
from electra.errors import UserError, require

TEXT_ENDINGS = (".txt", ".text", ".md", ".rst", ".tokens", ".raw")
RECORD_ENDINGS = (".jsonl", ".ndjson")
COMPRESSIONS = (".gz", ".xz", ".zst", ".bz2")
BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20
"""A line without end is cut here, so that memory stays bounded; the cut is reported."""
MAX_PLACES = 10
"""Places kept of each kind of problem; the count goes on."""
BROKEN_STREAM = (OSError, EOFError, lzma.LZMAError, zlib.error)


@dataclass
class Report:
    """What was read, and every problem with its count and first places."""

    text_bytes: int = 0
    """Bytes of text read, decompressed."""
    done_bytes: int = 0
    """Bytes of finished files as they lie on the disk."""
    total_bytes: int | None = 0
    """Bytes of all files as they lie on the disk; None where a data set of the hub is among them."""
    position: int = 0
    """Position in the file being read, on the disk."""
    documents: int = 0
    empty_documents: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    """What separates documents -> number of files read so."""
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind of problem -> {"count", "places"}."""

    def add(self, problem: str, place: str, count: int = 1) -> None:
        """Count a problem and keep its place, if it is among the first."""
        entry = self.problems.setdefault(problem, {"count": 0, "places": []})
        entry["count"] += count
        if len(entry["places"]) < MAX_PLACES:
            entry["places"].append(place)

    @property
    def fraction(self) -> float | None:
        """Share of the corpus read so far, by bytes on the disk; None where the whole is not known."""
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
    """One file, or one data set of the hub."""

    kind: str
    """'text', 'records' (jsonl), 'parquet' or 'hub'."""
    name: str
    """Short name for places: the path below the folder that was named."""
    path: Path | None = None
    size_bytes: int = 0


def _kind(path: Path) -> str | None:
    endings = [e.lower() for e in path.suffixes]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    last = endings[-1] if endings else ""
    return "text" if last in TEXT_ENDINGS else "records" if last in RECORD_ENDINGS else "parquet" if last == ".parquet" else None


def _named_kind(path: Path) -> str:
    """A file named by itself is text whatever its ending, unless that says otherwise."""
    if path.suffix.lower() in (".csv", ".tsv"):
        raise UserError(f"{path}: a table is not a corpus; turn it into jsonl or parquet and name its text column (--text-field)")
    return _kind(path) or ("records" if ".json" in path.suffixes else "text")


def find_sources(names: Sequence[str | Path], report: Report) -> list[Source]:
    """Files, folders (read whole, sorted by path) and hf:NAMEs -> sources in the order given.

    Raises:
        UserError: something named does not exist, or nothing readable is among it.
    """
    found: list[Source] = []
    for name in names:
        if str(name).startswith("hf:"):
            found.append(Source("hub", str(name)))
            report.total_bytes = None
            continue
        path = disk.existing_path(name, "corpus")
        if not path.is_dir():
            found.append(Source(_named_kind(path), path.name, path, path.stat().st_size))
            continue
        for folder, folders, files in os.walk(path, followlinks=True):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for file in sorted(f for f in files if not f.startswith(".")):
                full = Path(folder, file)
                kind = _kind(full)
                if kind is None:
                    report.add("files skipped, ending not known", str(full.relative_to(path)))
                elif not full.is_file():
                    report.add("files that could not be read", f"{full.relative_to(path)}: not a file")
                else:
                    found.append(Source(kind, str(full.relative_to(path)), full, full.stat().st_size))
    if not found:
        endings = " ".join(TEXT_ENDINGS + RECORD_ENDINGS)
        raise UserError(f"no text in {', '.join(map(str, names))}; expected files ending in {endings} .parquet (or .gz .xz .zst .bz2 of them)")
    if report.total_bytes is not None:
        report.total_bytes += sum(source.size_bytes for source in found)
    return found


def _blocks(raw: BinaryIO, ending: str) -> Iterator[bytes]:
    """An open file -> its bytes, decompressed, in blocks of about a megabyte."""
    if ending == ".zst":
        yield from _zstd_blocks(raw)
        return
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    stream = openers[ending](raw) if ending in openers else raw
    while block := stream.read(BLOCK_BYTES):
        yield block


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


def read_blocks(source: Source, report: Report) -> Iterator[bytes]:
    """A text file -> blocks of whole lines, decompressed. A file that breaks off is reported; what came before the break is kept."""
    assert source.path is not None
    rest = b""
    try:
        with open(source.path, "rb") as raw:
            first = True
            for block in _blocks(raw, source.path.suffix.lower()):
                if first and b"\0" in block[:4096]:
                    report.add("files that could not be read", f"{source.name}: binary (or UTF-16: convert it to UTF-8)")
                    return
                first = False
                report.text_bytes += len(block)
                report.position = raw.tell()
                whole, newline, tail = block.rpartition(b"\n")
                if newline:
                    yield rest + whole + newline
                    rest = tail
                    continue
                rest += block
                if len(rest) > MAX_LINE_BYTES:
                    report.add("lines cut because they do not end", source.name)
                    cut = rest.rfind(b" ") + 1 or MAX_LINE_BYTES
                    yield rest[:cut] + b"\n"
                    rest = rest[cut:]
    except BROKEN_STREAM as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        report.add("files that could not be read", f"{source.name}: after {report.position:,} bytes: {reason}")
    if rest:
        yield rest


def read_lines(source: Source, report: Report) -> Iterator[tuple[int, str]]:
    """A text file -> (line number from 1, line without its end). Bytes that are not UTF-8 become U+FFFD and are reported with their place."""
    number = 0
    for block in read_blocks(source, report):
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            lines = [_decode(line, f"{source.name}:{number + i}", report) for i, line in enumerate(block.split(b"\n"), 1)]
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            yield number, (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r")


def _decode(line: bytes, place: str, report: Report) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        text = line.decode("utf-8", errors="replace")
        count = text.count("\ufffd") - line.count(b"\xef\xbf\xbd")
        report.add("undecodable byte sequences (replaced by U+FFFD)", f"{place}, byte {error.start + 1}", count)
        return text


def estimate_text_bytes(names: Sequence[str | Path]) -> int | None:
    """About how much text a corpus holds, from file sizes and usual ratios of compression; None where a data set of the hub is among it."""
    sources = find_sources(names, Report())
    if any(source.kind == "hub" for source in sources):
        return None
    ratios = {".gz": 2.6, ".xz": 3.6, ".zst": 3.0, ".bz2": 3.4, ".parquet": 1.8}
    return sum(int(s.size_bytes * ratios.get(s.path.suffix.lower(), 1.0)) for s in sources if s.path is not None)

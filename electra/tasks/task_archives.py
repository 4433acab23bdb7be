"""A task's official archive (SST-2.zip, tnews_public.zip, glue.tar.gz) -> its folder, unpacked once into the cache."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from electra import disk, remote
from electra.errors import UserError

ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
MOST_BYTES = 4 << 30
"""More than any benchmark has (MRQA's largest file is below 1 GB); an archive that unpacks to more is refused on the way."""
BLOCK = 1 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, RuntimeError)
"""What a broken archive of one kind or another raises (RuntimeError: one with a password)."""


def is_archive(path: Path) -> bool:
    """Whether a path is a file with an archive's ending."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def unpacked(path: Path) -> Path:
    """An archive -> the folder of the cache with its files; the innermost where folders hold nothing but one folder.

    Raises:
        UserError: it is damaged, has names that lead outside or more than MOST_BYTES, or holds no file.
    """
    told = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {told.st_size} {told.st_mtime_ns}".encode()).hexdigest()[:16]
    place = remote.cache_folder() / "datasets" / f"{path.name}-{key}"
    if not place.is_dir():
        with disk.atomic_folder(place) as folder:
            try:
                _write(path, folder)
            except DAMAGED as error:
                raise UserError(f"{path} is damaged or no archive ({str(error)[:100] or type(error).__name__}); download it again") from None
    while len(inner := list(place.iterdir())) == 1 and inner[0].is_dir():
        place = inner[0]
    return place


def _write(path: Path, folder: Path) -> None:
    written = 0
    for name, stream in _members(path):
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name:
            raise UserError(f"{path} holds '{name[:80]}', a name that leads outside; it is no benchmark's archive")
        # What macOS adds to an archive is nobody's data.
        if parts.parts[0] == "__MACOSX" or parts.name.startswith("."):
            continue
        target = folder / parts
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            while block := stream.read(BLOCK):
                written += len(block)
                if written > MOST_BYTES:
                    raise UserError(f"{path} unpacks to more than {MOST_BYTES >> 30} GB; it is no benchmark's archive")
                file.write(block)
    if not written:
        raise UserError(f"{path} holds no file with anything in it; download it again")


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, contents) of every regular file; links and devices are left out."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as bundle:
            for entry in bundle.infolist():
                if not entry.is_dir():
                    with bundle.open(entry) as stream:
                        yield entry.filename, stream
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isreg() and (content := archive.extractfile(member)) is not None:
                yield member.name, content
        # What follows the last member is the compressed file's checksum: read to it, so that a cut file is noticed.
        while archive.fileobj is not None and archive.fileobj.read(BLOCK):
            pass

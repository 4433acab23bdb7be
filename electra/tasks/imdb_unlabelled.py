"""The unlabelled half of the Large Movie Review data set -> plain text to pre-train on.

As in `imdb.py` nothing is unpacked. A review is one document; a line of it is what stands between two `<br />`, or a sentence.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from electra import disk
from electra.errors import UserError

_UNLABELLED = re.compile(r"(?:\./)?(?:aclImdb/)?train/unsup/(\d+)_\d+\.txt")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])")
_LARGEST_REVIEW = 1 << 20


def read_unlabelled(data: Path) -> list[str]:
    """aclImdb's folder, one that holds it, or the archive -> its unlabelled reviews, in the order of their numbers.

    Raises:
        UserError: no such path, a damaged archive, no unlabelled reviews, or one that is not UTF-8.
    """
    data = disk.existing_path(data, "the IMDb folder or archive")
    found: list[tuple[int, str]] = []
    try:
        for name, content in _members(data):
            match = _UNLABELLED.fullmatch(name)
            assert match is not None
            found.append((int(match[1]), content.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise UserError(f"{data}: an unlabelled review is not UTF-8 text ({error.reason}); download the data again") from None
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{data} is not a complete tar archive ({error}); download it again") from None
    if not found:
        raise UserError(f"{data}: no reviews under train/unsup; give aclImdb, the folder that holds it, or its archive")
    return [text for _, text in sorted(found)]


def check_reviews(data: Path) -> None:
    """Refuse a path without unlabelled reviews, as far as that is seen without reading an archive.

    Raises:
        UserError: no such path, a folder without them, or a file that is no archive.
    """
    data = disk.existing_path(data, "the IMDb folder or archive")
    try:
        for _ in _members(data):
            return
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{data} is not a complete tar archive ({error}); download it again") from None
    raise UserError(f"{data}: no reviews under train/unsup; give aclImdb, the folder that holds it, or its archive")


def _members(data: Path) -> Iterator[tuple[str, bytes]]:
    if data.is_dir():
        root = data / "aclImdb" if (data / "aclImdb").is_dir() else data
        for path in (root / "train" / "unsup").glob("*.txt"):
            if _UNLABELLED.fullmatch(name := path.relative_to(root).as_posix()):
                yield name, path.read_bytes()
        return
    with tarfile.open(data, mode="r|*") as archive:
        for member in archive:
            if member.isreg() and _UNLABELLED.fullmatch(member.name) and member.size <= _LARGEST_REVIEW:
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()


def as_document(review: str) -> str:
    """A review -> its lines: no empty one, for an empty line ends a document."""
    parts = (sentence for part in review.split("<br />") for sentence in _SENTENCE_END.split(part))
    return "\n".join(line for part in parts if (line := " ".join(part.split())))

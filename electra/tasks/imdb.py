"""Large Movie Review data set: its folder, its archive read as a stream, or csv files of it -> examples.

Nothing is unpacked: an archive's member names are only matched, never used as paths. The official test half is this
task's dev split (the data set has no other held-out part; csv files may have one). `<br />` in the reviews becomes a space.
"""

from __future__ import annotations

import functools
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from electra import disk
from electra.contracts import Example, Head, Task
from electra.errors import UserError
from electra.tasks import metrics
from electra.tasks.imdb_csv import csv_file, read_csv
from electra.tasks.task import TEXT_OPTIONS, decode_texts, featurize_texts, fixed_head

LABELS = ("neg", "pos")
_HALF = {"train": "train", "dev": "test", "test": "test"}
# A climbing name ("../x", "/x") does not match, nor does the unlabelled part.
_REVIEW = re.compile(r"(?:\./)?(?:aclImdb/)?(train|test)/(pos|neg)/(\d+)_(\d+)\.txt")
_LARGEST_REVIEW = 1 << 20

Reviews = dict[str, list[Example]]


def read_imdb(data: Path, split: str) -> list[Example]:
    """(aclImdb folder, a folder holding it, the archive, or a folder of csv files; split) -> examples, ordered by label and number.

    Raises:
        UserError: none of these, a damaged archive, or a half without reviews.
    """
    data = disk.existing_path(data, "the IMDb folder or archive")
    if split not in _HALF:
        raise UserError(f"IMDb has no split '{split}'; use train or dev (its official test half)")
    if data.suffix.lower() == ".csv" and data.is_file():
        raise UserError(f"{data} is one file, and nothing says which reviews are held out; give the folder with train.csv and test.csv")
    if data.is_dir() and csv_file(data, "train") is not None:
        if (file := csv_file(data, split)) is None:
            raise UserError(f"{data} has no {split}.csv; give the folder with train.csv and test.csv")
        return read_csv(file, split)
    if data.is_file():
        return _read_archive(data, data.stat().st_mtime_ns)[_HALF[split]]
    return _gather(_folder_members(data), str(data), (_HALF[split],))[_HALF[split]]


@functools.lru_cache(maxsize=1)
def _read_archive(path: Path, modified_ns: int) -> Reviews:
    """Both halves in one pass: a stream has no way back, and a second pass would cost the decompression again."""
    try:
        with tarfile.open(path, mode="r|*") as archive:
            return _gather(_archive_members(archive), str(path), ("train", "test"))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a complete tar archive ({error}); download it again") from None
    except Exception as error:
        # Each compression raises its own class for damaged bytes (lzma.LZMAError, zlib.error, ...).
        if type(error).__module__ in ("lzma", "_lzma", "zlib", "bz2"):
            raise UserError(f"{path} is damaged ({error}); download it again") from None
        raise


def _archive_members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        if member.isreg() and _REVIEW.fullmatch(member.name):
            if member.size > _LARGEST_REVIEW:
                raise UserError(f"{archive.name!s}: {member.name} has {member.size} bytes, more than any review; is this the IMDb archive?")
            file = archive.extractfile(member)
            assert file is not None
            yield member.name, file.read()


def _folder_members(data: Path) -> Iterator[tuple[str, bytes]]:
    root = data / "aclImdb" if (data / "aclImdb").is_dir() else data
    for half in ("train", "test"):
        for label in LABELS:
            for path in (root / half / label).glob("*.txt"):
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _gather(members: Iterator[tuple[str, bytes]], place: str, halves: tuple[str, ...]) -> Reviews:
    found: dict[str, list[tuple[int, int, Example]]] = {half: [] for half in halves}
    for name, content in members:
        match = _REVIEW.fullmatch(name)
        if match is None or match[1] not in found:
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{place}: {name} is not UTF-8 text; download the data again") from None
        example = Example(id=f"{match[1]}/{match[2]}/{match[3]}", text=text.replace("<br />", " "), label=match[2])
        found[match[1]].append((LABELS.index(match[2]), int(match[3]), example))
    for half, reviews in found.items():
        if len({label for label, _, _ in reviews}) < 2:
            raise UserError(f"{place}: no reviews under {half}/pos and {half}/neg; give aclImdb, the folder that holds it, or its archive")
    return {half: [example for _, _, example in sorted(reviews, key=lambda r: r[:2])] for half, reviews in found.items()}


IMDB = Task(
    name="imdb",
    description="sentiment of whole film reviews (dev: the official test half)",
    read=read_imdb,
    featurize=featurize_texts,
    options=TEXT_OPTIONS,
    head=fixed_head(Head(kind="classification", labels=LABELS)),
    decode=decode_texts,
    score=metrics.score_accuracy,
    main_metric="accuracy",
)

"""Large Movie Review data set: its folder, its archive read as a stream, or csv files of it -> examples.

Nothing is unpacked: an archive's member names are only matched, never used as paths. The official test half is this
task's dev split (the data set has no other held-out part; csv files may have one). `<br />` in the reviews becomes a space.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from electra.contracts import Example, Head, Task
from electra.data.sources import ODD_HEADER
from electra.data.tables import read_rows
from electra.errors import UserError
from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.text_tasks import TEXT_OPTIONS, decode_texts, featurize_texts, fixed_head

# ---- csv files, of Electra_small's data set builder and others ----


TEXT_COLUMNS = ("text", "review", "sentences", "sentence")
LABEL_COLUMNS = ("label", "sentiment", "labels")
CSV_LABELS = {"0": "neg", "neg": "neg", "negative": "neg", "1": "pos", "pos": "pos", "positive": "pos"}
PLACES = {
    "train": ("train.csv", "train/train_data.csv"),
    "dev": ("valid.csv", "dev.csv", "valid/valid_data.csv", "test.csv", "test/test_data.csv"),
    "test": ("test.csv", "test/test_data.csv"),
}


def csv_file(folder: Path, split: str) -> Path | None:
    """The csv file of a split in a folder; 'dev' is a validation file if there is one, else the test half."""
    return next((path for place in PLACES[split] if (path := folder / place).is_file()), None)


def read_csv(path: Path, split: str) -> list[Example]:
    """A csv file of reviews -> examples, in its order.

    Raises:
        UserError: no column of texts or of labels, a label that is neither positive nor negative, or no reviews.
    """
    examples: list[Example] = []
    for line, row in read_rows(path, f"the {split} file"):
        place = f"{path}, line {line}"
        text, label = (next((row[name] for name in names if name in row), None) for names in (TEXT_COLUMNS, LABEL_COLUMNS))
        if text is None or label is None:
            wanted = f"{' or '.join(TEXT_COLUMNS)}, and {' or '.join(LABEL_COLUMNS)}"
            raise UserError(f"{place}: columns {', '.join(name for name in row if name)[:200]}; expected {wanted}, or use the task 'own'")
        if (known := CSV_LABELS.get(str(label).strip().lower())) is None:
            raise UserError(f"{place}: label '{label}' is neither positive nor negative; expected {', '.join(CSV_LABELS)}")
        examples.append(Example(id=f"{split}-{len(examples)}", text=str(text).replace("<br />", " "), label=known))
    if not examples:
        raise UserError(f"{path} has no reviews below its header; give a file with some")
    return examples


def to_csv(examples: Sequence[Example]) -> str:
    """Reviews -> the builder's csv."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "sentences", "labels"])
    writer.writerows([i, example.text, int(example.label == "pos")] for i, example in enumerate(examples))
    return out.getvalue()


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Reviews -> (training, validation), a random fraction of each class, each in their order.

    Raises:
        UserError: one of the two would lack a class.
    """
    chosen: set[int] = set()
    for label in sorted({str(example.label) for example in examples}):
        members = [i for i, example in enumerate(examples) if example.label == label]
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise UserError(f"--valid {share:g} of {len(members)} reviews '{label}' are {count}; give a fraction that leaves some in both")
        chosen |= set(np.random.default_rng([seed, len(members)]).permutation(members)[:count].tolist())
    return [e for i, e in enumerate(examples) if i not in chosen], [e for i, e in enumerate(examples) if i in chosen]


LABELS = ("neg", "pos")
_HALF = {"train": "train", "dev": "test", "test": "test"}
# Unsafe names ("../x", "/x") do not match, nor does the unsupervised split.
_REVIEW = re.compile(r"(?:\./)?(?:aclImdb/)?(train|test)/(pos|neg)/(\d{1,18})_(\d{1,18})\.txt")
_LARGEST_REVIEW = 1 << 20

Reviews = dict[str, list[Example]]


def read_imdb(data: Path, split: str) -> list[Example]:
    """(aclImdb folder, a folder holding it, the archive, or a folder of csv files; split) -> examples, ordered by label and number.

    Raises:
        UserError: none of these, a damaged archive, or a half without reviews.
    """
    data = atomic.existing_path(data, "the IMDb folder or archive")
    if split not in _HALF:
        raise UserError(f"IMDb has no split '{split}'; use train or dev (its official test half)")
    if data.suffix.lower() == ".csv" and data.is_file():
        raise UserError(f"{data} is one file without a held-out part; give the folder with train.csv and test.csv")
    if data.is_dir() and csv_file(data, "train") is not None:
        if (file := csv_file(data, split)) is None:
            raise UserError(f"{data} has no {split}.csv; give the folder with train.csv and test.csv")
        return read_csv(file, split)
    if data.is_file():
        return _read_archive(data, data.stat().st_mtime_ns)[_HALF[split]]
    return _gather(_folder_members(data), str(data), (_HALF[split],))[_HALF[split]]


@functools.lru_cache(maxsize=1)
def _read_archive(path: Path, modified_ns: int) -> Reviews:
    """Both halves in one pass: a stream cannot go back, and a second pass would decompress again."""
    with _archive_errors(path), tarfile.open(path, mode="r|*") as archive:
        return _gather(_archive_members(archive), str(path), ("train", "test"))


@contextlib.contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    """Whatever tarfile and the decompressors raise for damaged bytes -> `UserError`."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error, TypeError, *ODD_HEADER) as error:
        if isinstance(error, UnicodeDecodeError):
            raise  # of a review, which the caller names
        raise UserError(f"{path} is not a complete tar archive ({error}); download it again") from None


def _archive_members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        if member.isreg() and _REVIEW.fullmatch(member.name):
            if member.size > _LARGEST_REVIEW:
                raise UserError(f"{archive.name!s}: {member.name} has {member.size} bytes, more than any review; give the IMDb archive")
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
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{place}: {name} is not UTF-8 text; download the data again") from None
        example = Example(id=f"{match[1]}/{match[2]}/{match[3]}", text=text.replace("<br />", " "), label=match[2])
        found[match[1]].append((LABELS.index(match[2]), int(match[3]), example))
    for half, reviews in found.items():
        if len({label for label, _, _ in reviews}) < 2:
            raise UserError(f"{place}: no reviews under {half}/pos and {half}/neg; give aclImdb, its parent, or its archive")
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


# ---- the unsupervised split, as text for pre-training ----


_UNLABELLED = re.compile(r"(?:\./)?(?:aclImdb/)?train/unsup/(\d{1,18})_\d{1,18}\.txt")
_NO_REVIEWS = "no reviews under train/unsup; give aclImdb, its parent, or its archive"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])")


def read_unlabelled(data: Path) -> list[str]:
    """aclImdb's folder, its parent, or the archive -> the reviews of the unsupervised split, in the order of their numbers.

    Raises:
        UserError: no such path, a damaged archive, no unlabelled reviews, or one that is not UTF-8.
    """
    data = atomic.existing_path(data, "the IMDb folder or archive")
    found: list[tuple[int, str]] = []
    try:
        with _archive_errors(data):
            for name, content in _members(data):
                match = _UNLABELLED.fullmatch(name)
                assert match is not None
                found.append((int(match[1]), content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise UserError(f"{data}: an unlabelled review is not UTF-8 text ({error.reason}); download the data again") from None
    if not found:
        raise UserError(f"{data}: {_NO_REVIEWS}")
    return [text for _, text in sorted(found)]


def check_reviews(data: Path) -> None:
    """Check that a path has unlabelled reviews, without reading a whole archive.

    Raises:
        UserError: no such path, a folder without them, or a file that is not an archive.
    """
    data = atomic.existing_path(data, "the IMDb folder or archive")
    with _archive_errors(data):
        for _ in _members(data):
            return
    raise UserError(f"{data}: {_NO_REVIEWS}")


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
    """A review -> its lines, without empty ones, which would end the document."""
    parts = (sentence for part in review.split("<br />") for sentence in _SENTENCE_END.split(part))
    return "\n".join(line for part in parts if (line := " ".join(part.split())))

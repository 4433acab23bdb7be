"""Task data that is not a folder: an archive -> a folder in the cache; a data set of the Hugging Face hub -> Examples.

    rows of a split -> Examples, with the texts unchanged and the labels as in the official files

Labels that the hub hides (of test sets) are None.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any

from electra.contracts import Example, Head, Task
from electra.data.sources import ODD_HEADER
from electra.errors import UserError, require
from electra.storage import atomic, remote
from electra.tasks.clue import LAYOUTS
from electra.tasks.conll_files import tagged_example
from electra.tasks.squad_files import mrqa_answers, question_row, usable
from electra.tasks.tagging import chunk_examples

# ---- archives: SST-2.zip, tnews_public.zip, glue.tar.gz ----


ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
MOST_BYTES = 4 << 30
"""More than any benchmark has (MRQA's largest file is below 1 GB); unpacking stops with an error beyond it."""
BLOCK = 1 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, *ODD_HEADER)
"""Exceptions of broken archives (RuntimeError: with a password)."""


def is_archive(path: Path) -> bool:
    """Whether a path is a file with the ending of an archive."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def unpacked(path: Path) -> Path:
    """Unpack an archive into the cache, once -> its folder; the innermost one where a folder contains only one folder.

    Raises:
        UserError: it is damaged, has unsafe names or more than MOST_BYTES, or is empty.
    """
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    place = remote.cache_folder() / "datasets" / f"{path.name}-{key}"
    if not place.is_dir():
        with atomic.atomic_folder(place) as folder:
            try:
                _write(path, folder)
            except DAMAGED as error:
                raise UserError(f"{path} is damaged or not an archive ({str(error)[:100] or type(error).__name__}); download it again") from None
    while len(inner := list(place.iterdir())) == 1 and inner[0].is_dir():
        place = inner[0]
    return place


def _write(path: Path, folder: Path) -> None:
    written = 0
    for name, stream in _members(path):
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name:
            raise UserError(f"{path} contains the unsafe name '{name[:80]}'; download the benchmark's official archive")
        # Added by macOS.
        if parts.parts[0] == "__MACOSX" or parts.name.startswith("."):
            continue
        target = folder / parts
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            while block := stream.read(BLOCK):
                written += len(block)
                if written > MOST_BYTES:
                    raise UserError(f"{path} unpacks to more than {MOST_BYTES >> 30} GB; download the benchmark's official archive")
                file.write(block)
    if not written:
        raise UserError(f"{path} contains no data; download it again")


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, contents) of every regular file; links and devices are skipped."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as bundle:
            for entry in bundle.infolist():
                if not entry.filename.endswith("/"):
                    with bundle.open(entry) as stream:
                        yield entry.filename, stream
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isreg() and (content := archive.extractfile(member)) is not None:
                yield member.name, content
        # The checksum of the compressed file follows the last member: read it, so that a truncated file is detected.
        while archive.fileobj is not None and archive.fileobj.read(BLOCK):
            pass


# ---- the hub ----

HUB = "hub"
"""--data hub: the task's data set, whatever its name."""
CONVERTED = "refs/convert/parquet"
"""Branch with plain files of data sets that have a loading script, which is never run."""

Row = Mapping[str, Any]
Rows = Iterable[Row]
Label = Callable[[Row], str | float | None]
"""A row -> its label as in the official files; None if hidden."""


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A task's data set on the hub, and how its rows become Examples."""

    name: str
    """OWNER/NAME."""
    splits: Mapping[str, str]
    """Our split -> the hub's; 'CONFIG:SPLIT' for one of another configuration; 'A+B' for two of ours."""
    examples: Callable[[Rows, Label, str], list[Example]]
    """(rows, label of a row, our split) -> the examples."""
    config: str | None = None
    short: str = ""
    """Its former name without an owner."""
    only: tuple[str, str] | None = None
    """(column, value) of the rows that are the task's."""
    language: str = "en"

    @property
    def title(self) -> str:
        """'glue sst2', 'squad_v2', 'mrqa NewsQA'."""
        return " ".join(part for part in (self.short or self.name.rpartition("/")[2], self.config, self.only and self.only[1]) if part)


def _text(row: Row, column: str) -> str:
    if not isinstance(value := row[column], str):
        raise TypeError(f"'{column}' is {type(value).__name__}, not text")
    return value


def _texts(first: str, second: str | None, rows: Rows, label: Label, split: str) -> list[Example]:
    """One or two columns of text."""
    return [
        Example(id=f"{split}-{i}", text=_text(row, first), text_pair=None if second is None else _text(row, second), label=label(row))
        for i, row in enumerate(rows)
    ]


def _reviews(rows: Rows, label: Label, split: str) -> list[Example]:
    """IMDb's, whose line breaks are HTML."""
    return [replace(example, text=example.text.replace("<br />", " ")) for example in _texts("text", None, rows, label, split)]


def _clue_texts(name: str, rows: Rows, label: Label, split: str) -> list[Example]:
    """Texts are composed as for CLUE's own files; rows without agreement of annotators are skipped."""
    out = []
    for i, row in enumerate(rows):
        text, pair = LAYOUTS[name].texts(row, f"row {i} of {split}")
        number = row.get("id", i) if split == "test" else i
        out.append(Example(id=f"{split}-{number}", text=text, text_pair=pair, label=label(row)))
    return [example for example in out if example.label is not None or split == "test"]


def _questions(name: str, rows: Rows, label: Label, split: str, *, unanswerable: bool = False) -> list[Example]:
    """SQuAD: answers with text and first character."""
    counts: Counter[str] = Counter()
    out = [question_row(row, name, unanswerable, counts) for row in rows]
    return usable(out, split, Path(name), counts)


def _mrqa_questions(rows: Rows, label: Label, split: str) -> list[Example]:
    """MRQA 2019: answers, and where they were found in the context."""
    counts: Counter[str] = Counter()
    out = []
    for row in rows:
        found = row["detected_answers"]
        # A span's end is its last character, in MRQA's files and on the hub alike.
        spans = [[[a, b] for a, b in zip(one["start"], one["end"], strict=True)] for one in found["char_spans"]]
        detected = [{"text": text, "char_spans": places} for text, places in zip(found["text"], spans, strict=True)]
        context, name = _text(row, "context"), str(row["qid"])
        answers = mrqa_answers({"answers": row["answers"], "detected_answers": detected}, context, f"question {name}", split, counts)
        out.append(Example(id=name, text=_text(row, "question"), text_pair=context, answers=answers))
    return usable(out, split, Path("mrqa"), counts)


def _chunks(rows: Rows, label: Label, split: str) -> list[Example]:
    """CoNLL-2000: words and chunk tags."""
    sentences = [(list(row["tokens"]), list(row["chunk_tags"])) for row in rows if len(row["tokens"])]
    return chunk_examples([tagged_example(f"{split}-{i}", words, tags) for i, (words, tags) in enumerate(sentences)], "the hub's CoNLL-2000")


_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_MNLI = {"dev": "dev_matched+dev_mismatched", "test": "test_matched", "ax": "ax:test"}
_MNLI |= {f"{split}_{half}": f"{theirs}_{half}" for split, theirs in (("dev", "validation"), ("test", "test")) for half in ("matched", "mismatched")}


def _glue(config: str, first: str, second: str | None = None, splits: Mapping[str, str] = _SPLITS) -> HubDataset:
    return HubDataset(name="nyu-mll/glue", short="glue", config=config, splits=splits, examples=partial(_texts, first, second))


def _clue(name: str, config: str) -> HubDataset:
    return HubDataset(name="clue/clue", short="clue", config=config, splits=_SPLITS, language="zh", examples=partial(_clue_texts, name))


def _squad(name: str, short: str, splits: Mapping[str, str], *, unanswerable: bool = False, language: str = "en") -> HubDataset:
    return HubDataset(name=name, short=short, splits=splits, language=language, examples=partial(_questions, name, unanswerable=unanswerable))


def _mrqa(subset: str) -> HubDataset:
    splits = {"train": "train", "dev": "validation"}
    return HubDataset(name="mrqa-workshop/mrqa", short="mrqa", splits=splits, examples=_mrqa_questions, only=("subset", subset))


DATASETS: dict[str, HubDataset] = {
    "sst2": _glue("sst2", "sentence"),
    "cola": _glue("cola", "sentence"),
    "mrpc": _glue("mrpc", "sentence1", "sentence2"),
    "stsb": _glue("stsb", "sentence1", "sentence2"),
    "qqp": _glue("qqp", "question1", "question2"),
    "mnli": _glue("mnli", "premise", "hypothesis", {"train": "train"} | _MNLI),
    "qnli": _glue("qnli", "question", "sentence"),
    "rte": _glue("rte", "sentence1", "sentence2"),
    "wnli": _glue("wnli", "sentence1", "sentence2"),
    **{name: _clue(name, name) for name in ("afqmc", "tnews", "iflytek", "cmnli", "csl", "ocnli")},
    "cluewsc": _clue("cluewsc", "cluewsc2020"),
    "chnsenticorp": HubDataset(name="lansinuote/ChnSentiCorp", splits=_SPLITS, language="zh", examples=partial(_texts, "text", None)),
    "imdb": HubDataset(name="stanfordnlp/imdb", short="imdb", splits={"train": "train", "dev": "test", "test": "test"}, examples=_reviews),
    "squad": _squad("rajpurkar/squad", "squad", {"train": "train", "dev": "validation"}),
    "squad2": _squad("rajpurkar/squad_v2", "squad_v2", {"train": "train", "dev": "validation"}, unanswerable=True),
    "cmrc2018": _squad("hfl/cmrc2018", "cmrc2018", {"train": "train", "dev": "validation", "trial": "test"}, language="zh"),
    "newsqa": _mrqa("NewsQA"),
    "naturalquestions": _mrqa("NaturalQuestionsShort"),
    "triviaqa": _mrqa("TriviaQA-web"),
    "searchqa": _mrqa("SearchQA"),
    "chunk": HubDataset(name="eriktks/conll2000", short="conll2000", splits={"train": "train", "dev": "test", "test": "test"}, examples=_chunks),
}
"""Task -> its data set. The hub's 'test' of CMRC 2018 is the official trial set."""


def is_hub_name(task: str, data: Path | None) -> bool:
    """Whether --data names the task's data set on the hub: its name, its former short name, or 'hub'. An existing file or folder has priority."""
    found = DATASETS.get(task)
    return found is not None and data is not None and not data.exists() and str(data) in {HUB, found.name, found.short or HUB}


def with_hub(task: Task) -> Task:
    """The task with a `read` that also accepts a hub name in place of the folder."""

    def read(data: Path, split: str) -> list[Example]:
        return read_hub(task, split) if is_hub_name(task.name, Path(data)) else task.read(data, split)

    return replace(task, read=read) if task.name in DATASETS else task


def local(task: Task, data: Path) -> Path:
    """--data -> what the task reads: the unpacked folder of an archive, anything else unchanged.

    Raises:
        UserError: the archive is damaged.
    """
    # IMDb's archive of a hundred thousand small files is read without unpacking.
    return unpacked(data) if task.name != "imdb" and is_archive(data) else data


def read_hub(task: Task, split: str) -> list[Example]:
    """Examples of a split, with the same ids as those of the official files.

    Raises:
        UserError: the hub cannot be reached, or has no such data set, split or columns.
    """
    found = DATASETS[task.name]
    if split not in found.splits:
        raise UserError(f"{found.name} on the hub has no split '{split}' of {task.name}; it has {', '.join(found.splits)}")
    if "+" in found.splits[split]:
        return [example for part in found.splits[split].split("+") for example in read_hub(task, part)]
    config, _, name = found.splits[split].rpartition(":")
    loaded = _load(found.name, config or found.config)
    if name not in loaded:
        raise UserError(f"{found.name} on the hub has no split '{name}' (it has {', '.join(loaded)}); give the folder of its official files")
    rows, label = _rows(found, loaded[name]), _labeller(loaded[name], task.head([]))
    try:
        examples = found.examples(rows, label, split)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else f"other rows than expected ({error})"
        raise UserError(f"{found.name} on the hub has {what}; give the folder of its official files") from None
    if not examples:
        raise UserError(f"{found.name} on the hub has no rows of {task.name} in '{name}'; give the folder of its official files")
    return examples


def _load(name: str, config: str | None) -> Any:
    datasets = require("datasets", "data")
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE")
    try:
        try:
            return datasets.load_dataset(name, config)
        except RuntimeError as error:
            if "script" not in str(error):
                raise
            return datasets.load_dataset(name, config, revision=CONVERTED)
    except Exception as error:
        # All network errors have the same remedy.
        reason = f"offline: {type(error).__name__}" if offline else type(error).__name__
        raise UserError(
            f"{name} could not be read from the hub ({reason}); try again with a network, or give the folder of its official files"
        ) from None


def _rows(found: HubDataset, loaded: Any) -> Rows:
    """The task's rows, with names of tags."""
    tags: dict[str, Any] = {column: getattr(feature, "feature", None) for column, feature in loaded.features.items()}
    named = {column: feature.names for column, feature in tags.items() if hasattr(feature, "names")}
    for row in loaded:
        if found.only is None or row[found.only[0]] == found.only[1]:
            yield row | {column: [names[i] for i in row[column]] for column, names in named.items()}


def _labeller(loaded: Any, head: Head) -> Label:
    """A function from rows to labels: a number; the name of a class if the official files have names, otherwise its number; -1 is hidden."""
    names = getattr(loaded.features.get("label"), "names", None)

    def label(row: Row) -> str | float | None:
        value = row.get("label")
        if value is None or value == -1:
            return None
        if head.kind == "regression":
            if not head.offset <= float(value) <= head.offset + head.scale:
                raise ValueError(f"label {value}, expected {head.offset:g} .. {head.offset + head.scale:g}")
            return float(value)
        text = str(names[value]) if names is not None and names[value] in head.labels else str(value)
        if text not in head.labels:
            raise ValueError(f"label {text}, expected one of {', '.join(head.labels)[:100]}")
        return text

    return label

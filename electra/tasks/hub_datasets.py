"""A task's data set on the Hugging Face hub -> its files in the official layout, in the cache; from there on it is read like any other.

    rows of a split  ->  train.tsv, train.json, train-v1.1.json, train.txt, train.csv ...   (labels as the official files spell them)

What the hub hides (labels of test sets) is left out of the files, as the benchmarks' own files leave it out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any

from electra.contracts import Task
from electra.errors import UserError, require
from electra.storage import atomic, remote

# ---- A task's official archive (SST-2.zip, tnews_public.zip, glue.tar.gz) -> its folder, unpacked once into the cache ----


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
        with atomic.atomic_folder(place) as folder:
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


HUB = "hub"
"""--data hub: wherever the task's data set is."""
CONVERTED = "refs/convert/parquet"
"""Where the hub keeps data sets as plain files that were once made by a script, which is never run."""

Row = Mapping[str, Any]
Rows = Iterable[Row]
Spell = Callable[[Row], str | None]
"""A row -> its label as the official files spell it; None where it is hidden."""


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """Where a task's rows are, and how they become its files."""

    name: str
    """OWNER/NAME."""
    files: Mapping[str, str]
    """Their split -> our file; 'CONFIG:SPLIT' where it is part of another configuration."""
    write: Callable[[Rows, Spell, str], str]
    """(rows, spelling of the label, their split) -> the file's text."""
    config: str | None = None
    short: str = ""
    """The name without its owner that the data set once had."""
    only: tuple[str, str] | None = None
    """(column, value) of the rows that are the task's."""


# ---- rows -> text ----


def _tab_separated(columns: Mapping[str, str], rows: Rows, spell: Spell, split: str, *, label: str = "label", header: bool = True) -> str:
    """Columns of the file -> the rows' names for them; the label's is left out where no row has one."""
    lines, labelled = [], True
    for row in rows:
        value = spell(row)
        labelled = labelled and value is not None
        fields = {name: " ".join(str(row[theirs]).split()) for name, theirs in columns.items()}
        lines.append("\t".join([*fields.values(), *([value] if value is not None else [])]))
    names = [*columns, *([label] if labelled else [])]
    return "\n".join([*(["\t".join(names)] if header else []), *lines]) + "\n"


def _cola(rows: Rows, spell: Spell, split: str) -> str:
    """No header but in the test file: source, label, mark, sentence."""
    if split == "test":
        return "index\tsentence\n" + "".join(f"{i}\t{' '.join(row['sentence'].split())}\n" for i, row in enumerate(rows))
    return "".join(f"hub\t{spell(row)}\t\t{' '.join(row['sentence'].split())}\n" for row in rows)


def _json_lines(rows: Rows, spell: Spell, split: str) -> str:
    out = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "label"}
        value = spell(row)
        out.append(json.dumps(kept | ({} if value is None else {"label": value}), ensure_ascii=False) + "\n")
    return "".join(out)


def _squad(rows: Rows, spell: Spell, split: str, *, unanswerable: bool = False) -> str:
    """SQuAD's json, a paragraph for each context."""
    paragraphs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        answers = [{"text": text, "answer_start": at} for text, at in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)]
        question = {"id": row["id"], "question": row["question"], "answers": answers} | ({"is_impossible": not answers} if unanswerable else {})
        paragraphs.setdefault((str(row.get("title", "")), row["context"]), []).append(question)
    data = [{"title": title, "paragraphs": [{"context": context, "qas": asked}]} for (title, context), asked in paragraphs.items()]
    return json.dumps({"version": "hub", "data": data}, ensure_ascii=False) + "\n"


def _mrqa(rows: Rows, spell: Spell, split: str) -> str:
    """MRQA 2019's lines: a header, then a context with its question each."""
    out = [json.dumps({"header": {"dataset": "hub", "split": split}}) + "\n"]
    for row in rows:
        found = row["detected_answers"]
        # A span's end is the last character's place, in MRQA and on the hub alike.
        spans = [[[a, b] for a, b in zip(one["start"], one["end"], strict=True)] for one in found["char_spans"]]
        detected = [{"text": text, "char_spans": places} for text, places in zip(found["text"], spans, strict=True)]
        asked = {"qid": row["qid"], "question": row["question"], "answers": list(row["answers"]), "detected_answers": detected}
        out.append(json.dumps({"context": row["context"], "qas": [asked]}, ensure_ascii=False) + "\n")
    return "".join(out)


def _csv(rows: Rows, spell: Spell, split: str) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows([row["text"], spell(row)] for row in rows)
    return out.getvalue()


def _columns(rows: Rows, spell: Spell, split: str) -> str:
    """CoNLL-2000's lines: word, part of speech, chunk; an empty line behind each sentence."""
    sentences = (zip(row["tokens"], row["pos_tags"], row["chunk_tags"], strict=True) for row in rows if len(row["tokens"]))
    return "".join("".join(f"{' '.join(map(str, word))}\n" for word in sentence) + "\n" for sentence in sentences)


# ---- the table ----

_TSV = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_JSON = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
_HALVES = {"validation_matched": "dev_matched.tsv", "validation_mismatched": "dev_mismatched.tsv"}
_HALVES |= {"test_matched": "test_matched.tsv", "test_mismatched": "test_mismatched.tsv", "ax:test": "diagnostic.tsv"}


def _glue(config: str, columns: Mapping[str, str], files: Mapping[str, str] = _TSV, label: str = "label") -> HubDataset:
    return HubDataset(name="nyu-mll/glue", short="glue", config=config, files=files, write=partial(_tab_separated, columns, label=label))


def _clue(config: str) -> HubDataset:
    return HubDataset(name="clue/clue", short="clue", config=config, files=_JSON, write=_json_lines)


def _questions(name: str, short: str, version: str, *, unanswerable: bool = False) -> HubDataset:
    files = {"train": f"train-{version}.json", "validation": f"dev-{version}.json"}
    return HubDataset(name=name, short=short, files=files, write=partial(_squad, unanswerable=unanswerable))


def _of_mrqa(subset: str) -> HubDataset:
    files = {"train": "train.jsonl", "validation": "dev.jsonl"}
    return HubDataset(name="mrqa-workshop/mrqa", short="mrqa", files=files, write=_mrqa, only=("subset", subset))


_PAIR = {"sentence1": "sentence1", "sentence2": "sentence2"}
DATASETS: dict[str, HubDataset] = {
    "sst2": _glue("sst2", {"sentence": "sentence"}),
    "cola": HubDataset(name="nyu-mll/glue", short="glue", config="cola", files=_TSV, write=_cola),
    "mrpc": _glue("mrpc", {"#1 String": "sentence1", "#2 String": "sentence2"}, label="Quality"),
    "stsb": _glue("stsb", _PAIR, label="score"),
    "qqp": _glue("qqp", {"question1": "question1", "question2": "question2"}, label="is_duplicate"),
    "mnli": _glue("mnli", {"sentence1": "premise", "sentence2": "hypothesis"}, {"train": "train.tsv"} | _HALVES, label="gold_label"),
    "qnli": _glue("qnli", {"question": "question", "sentence": "sentence"}),
    "rte": _glue("rte", _PAIR),
    "wnli": _glue("wnli", _PAIR),
    **{name: _clue(name) for name in ("afqmc", "tnews", "iflytek", "cmnli", "csl", "ocnli")},
    "cluewsc": _clue("cluewsc2020"),
    "chnsenticorp": HubDataset(name="lansinuote/ChnSentiCorp", files=_TSV, write=partial(_tab_separated, {"text_a": "text"})),
    "imdb": HubDataset(name="stanfordnlp/imdb", short="imdb", files={"train": "train.csv", "test": "test.csv"}, write=_csv),
    "squad": _questions("rajpurkar/squad", "squad", "v1.1"),
    "squad2": _questions("rajpurkar/squad_v2", "squad_v2", "v2.0", unanswerable=True),
    "cmrc2018": HubDataset(
        name="hfl/cmrc2018", short="cmrc2018", files={"train": "train.json", "validation": "dev.json", "test": "trial.json"}, write=_squad
    ),
    "newsqa": _of_mrqa("NewsQA"),
    "naturalquestions": _of_mrqa("NaturalQuestionsShort"),
    "triviaqa": _of_mrqa("TriviaQA-web"),
    "searchqa": _of_mrqa("SearchQA"),
    "chunk": HubDataset(name="eriktks/conll2000", short="conll2000", files={"train": "train.txt", "test": "test.txt"}, write=_columns),
}
"""Task -> its data set. The hub's 'test' of CMRC 2018 is the official trial set."""


# ---- a name -> a folder ----


def is_hub_name(task: str, data: Path | None) -> bool:
    """Whether --data names the task's data set on the hub: its name, its old short name, or 'hub'. What lies here under that name comes first."""
    found = DATASETS.get(task)
    return found is not None and data is not None and not data.exists() and str(data) in {HUB, found.name, found.short or HUB}


def local(task: Task, data: Path) -> Path:
    """--data as given, a path, an archive or the data set's name on the hub -> the path, or the cache's folder with the data set's files.

    Raises:
        UserError: the hub has no such data set or cannot be reached, or its rows are not what they were.
    """
    if not is_hub_name(task.name, data):
        # IMDb's archive of a hundred thousand small files is read as it is.
        return unpacked(data) if task.name != "imdb" and is_archive(data) else data
    found = DATASETS[task.name]
    labels = task.head([]).labels
    folder = remote.cache_folder() / "datasets" / f"{found.name.replace('/', '--')}--{task.name}"
    if not folder.exists():
        try:
            texts = {file: found.write(_rows(found, loaded), _spelling(loaded, labels), split) for split, file, loaded in _load(found)}
        except (KeyError, TypeError, ValueError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else f"other rows than expected ({error})"
            raise UserError(f"{found.name} on the hub has {what}; give the folder of its official files") from None
        with atomic.atomic_folder(folder) as temporary:
            for file, text in texts.items():
                atomic.write_text(temporary / file, text)
        print(f"{task.name}: {found.name}{f' ({found.config})' if found.config else ''} from the Hugging Face hub, kept in {folder}", file=sys.stderr)
    return folder


def _load(found: HubDataset) -> Iterator[tuple[str, str, Any]]:
    """(their split, our file, rows) of each split.

    Raises:
        UserError: the hub cannot be reached, or has no such split.
    """
    loaded: dict[str | None, Any] = {}
    for split, file in found.files.items():
        config, _, name = split.rpartition(":")
        place = config or found.config
        if place not in loaded:
            loaded[place] = _splits(found.name, place)
        if name not in loaded[place]:
            there = ", ".join(loaded[place])
            raise UserError(f"{found.name} on the hub has no split '{name}' (it has {there}); give the folder of its official files")
        yield name, file, loaded[place][name]


def _splits(name: str, config: str | None) -> Any:
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
        # Whatever goes wrong in a network ends in the same remedy.
        reason = f"offline: {type(error).__name__}" if offline else type(error).__name__
        raise UserError(
            f"{name} could not be read from the hub ({reason}); fetch it with a network, or give the folder of its official files"
        ) from None


def _rows(found: HubDataset, loaded: Any) -> Rows:
    """The task's rows, tags by their names."""
    tags: dict[str, Any] = {column: getattr(feature, "feature", None) for column, feature in loaded.features.items()}
    named = {column: feature.names for column, feature in tags.items() if hasattr(feature, "names")}
    for row in loaded:
        if found.only is None or row[found.only[0]] == found.only[1]:
            yield row | {column: [names[i] for i in row[column]] for column, names in named.items()}


def _spelling(loaded: Any, labels: tuple[str, ...]) -> Spell:
    """How to read a row's label: by name where the official files have names, by number elsewhere; -1 is a hidden one."""
    names = getattr(loaded.features.get("label"), "names", None)

    def spell(row: Row) -> str | None:
        value = row.get("label")
        if value is None or value == -1:
            return None
        if names is not None and names[value] in labels:
            return str(names[value])
        return str(value)

    return spell

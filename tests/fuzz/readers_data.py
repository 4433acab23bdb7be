"""Readers of data: tables, tagged words, questions, tasks' files, corpora, archives, tokenized datasets, arrays, TFRecords."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import hashlib
import io
import itertools
import json
import random
import re
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.limits import Wrong
from fuzz.places import FULL, Folder, as_json, chosen, new_folder, numbered, put, require_equal, root

from electra.errors import UserError

TEXTS = ("the chef cooked a meal", 'a "good" film, with a comma', "café 电影 très bon", "two\nlines", "")

# ---- tables ----

TEXT_TABLES = ("table.csv", "table.tsv", "lines.txt", "table.csv.gz")


def text_table_seeds() -> list[bytes]:
    def written(separator: str) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=separator, lineterminator="\n")
        writer.writerows([("text", "label", "id"), *((text, number % 2, number) for number, text in enumerate(TEXTS))])
        return out.getvalue().encode()

    plain = b'sentence\tlabel\na stray " quote\t1\nanother\t0\n'
    lines = "\n".join(text.replace("\n", " ") for text in TEXTS).encode() + b"\none\ttwo\n"
    found = numbered([written(","), written("\t"), lines, gzip.compress(written(","), mtime=0)])
    return [*found, b"\0" + written(";"), b"\0" + written("|").replace(b"\n", b"\r\n"), b"\1" + plain, b"\0text\n1.0\n\n2\n"]


def text_table(data: bytes) -> None:
    """csv and tsv, plain and compressed, and lines of texts, as `predict` and the tasks read them. References: `csv`, pandas."""
    from electra.data import tables
    from electra.inference.text_io import read_texts

    name, content = chosen(data, TEXT_TABLES)
    path = put(root() / name, content)
    if name == "lines.txt":
        texts = [text.text if text.pair is None else f"{text.text}\t{text.pair}" for text in read_texts(str(path))]
        require_equal(texts, _lines_of(content.decode("utf-8-sig")), "lines")
        return
    rows = list(tables.read_rows(path, wanted=("text", "label")))
    if name != "table.csv":
        return
    text = content.decode("utf-8-sig")
    separator = tables.csv_separator(path, ("text", "label"))
    # Lines with nothing but white space are no rows.
    theirs = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if _is_row(row)]
    require_equal([found for _, row in rows if _is_row(found := list(row.values()))], theirs[1:], "csv")
    if FULL and rows and theirs and '"' not in text:
        import pandas

        frame = pandas.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, na_filter=False, index_col=False)
        require_equal(frame.values.tolist(), theirs[1:], "csv by pandas")


def _is_row(cells: list[str]) -> bool:
    return len(cells) > 1 or bool("".join(cells).strip(" \t"))


def _lines_of(text: str) -> list[str]:
    """Lines end by newline; in a text whose beginning has none, by carriage returns."""
    if "\n" not in text[: 1 << 20]:
        text = text.replace("\r", "\n")
    lines = text.split("\n")
    return [line.rstrip("\r\n") for line in (lines if lines[-1] else lines[:-1])]


JSON_TABLES = ("rows.jsonl", "rows.json", "rows.ndjson")


def json_table_seeds() -> list[bytes]:
    rows = [{"text": text, "label": number % 2, "more": {"score": 0.5, "tags": ["a", None]}} for number, text in enumerate(TEXTS)]
    lines = b"\n".join(map(as_json, rows)) + b"\n"
    return [
        *numbered([lines, as_json(rows), lines.replace(b"\n", b"\r\n\r\n")]),
        b"\0" + rb'{"text": "\ud83d\ude00", "n": 1e5, "big": 123456789012345678901234567890}',
    ]


def json_table(data: bytes) -> None:
    """Lines of JSON objects, or one list of them. Reference: `json` on every line."""
    from electra.data import tables

    name, content = chosen(data, JSON_TABLES)
    path = put(root() / name, content)
    rows = [row for _, row in tables.read_rows(path)]
    text = content.decode("utf-8-sig")
    if name == "rows.json" and text.lstrip().startswith("["):
        theirs = json.loads(text)
    else:
        theirs = [json.loads(line) for line in _lines_of(text) if line.strip()]
    require_equal(rows, theirs, "JSON")
    for row in rows:
        json.dumps(row, ensure_ascii=False).encode()  # whole characters
    for number, row in enumerate(rows):
        for field in ("text", "label", "more", "more.score"):
            try:
                tables.text_cell(row, field, f"row {number}", "--text")
                tables.string_cell(row, field, f"row {number}", "--text")
            except UserError:
                pass


ARROW_TABLES = ("rows.parquet", "rows.arrow", "rows.feather")


def arrow_table_seeds() -> list[bytes]:
    import pyarrow
    from pyarrow import feather, parquet

    table = pyarrow.table({"text": list(TEXTS), "label": [0, 1, 0, 1, None], "tags": [["a"], [], None, ["b", "c"], [""]], "x": [0.5, 1, 2, 3, None]})
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}}}}
    named = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    packed, plain, stream, file = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    parquet.write_table(named, packed)
    parquet.write_table(table, plain, compression="none", use_dictionary=False, write_statistics=False)
    with pyarrow.ipc.new_stream(stream, named.schema) as writer:
        writer.write_table(named)
    feather.write_feather(table, file)
    return [*numbered([packed.getvalue(), stream.getvalue(), file.getvalue()]), b"\0" + plain.getvalue()]


def arrow_table(data: bytes) -> None:
    """Parquet, Arrow and Feather files. Reference: pyarrow's whole-table readers."""
    import pyarrow
    from pyarrow import parquet

    from electra.data import tables

    name, content = chosen(data, ARROW_TABLES)
    path = put(root() / name, content)
    rows = [row for _, row in tables.read_rows(path, class_names=False)]
    tables.arrow_schema(path)
    if name == "rows.parquet":
        theirs = parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    else:
        opened = pyarrow.ipc.open_file(content) if content.startswith(b"ARROW1") else pyarrow.ipc.open_stream(content)
        theirs = opened.read_all().to_pylist()
    require_equal(rows, theirs, "the table")


# ---- tagged words, questions, tasks ----

TAG_FILES = ("tags.txt", "tags.tsv", "tags.conllu", "tags.jsonl", "tags.json")


def tag_seeds() -> list[bytes]:
    columns = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\nGerman JJ B-MISC\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n"
    conllu = "# sent_id = 1\n1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n2-3\tdogs\t_\t_\t_\t_\t_\t_\t_\t_\n2\tdog\tdog\tNOUN\tNN\t_\t0\troot\t_\t_\n\n"
    rows = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}, {"tokens": ["c"], "tags": ["I-X"]}]
    found = [columns.encode(), columns.replace(" ", "\t").encode(), conllu.encode(), b"\n".join(map(as_json, rows)), as_json(rows)]
    return [*numbered(found), b"\0word tag\nEU O\nis O\n", b"\1# global.columns = FORM UPOS\na\tX\nb\tY\n"]


def tags(data: bytes) -> None:
    """CoNLL's columns, CoNLL-U and tables of lists. Reference: plain splitting, where a file has two columns and nothing special."""
    from electra.tasks.conll_files import TagColumns, read_tagged
    from electra.tasks.data_warnings import describe_tags, looks_tagged
    from electra.tasks.tag_schemes import find_scheme

    name, content = chosen(data, TAG_FILES)
    path = put(root() / name, content)
    looks_tagged(path)
    examples = read_tagged(path, TagColumns(), "dev")
    labels = [example.label if isinstance(example.label, tuple) else () for example in examples]
    find_scheme(labels)
    describe_tags(path)
    for example, label in zip(examples, labels, strict=True):
        if len(example.words or ()) != len(label) or not all(example.words or ("",)):
            raise Wrong("words and tags do not fit")
    lines = content.decode("utf-8-sig").split("\n")
    plain = all(len(line.split(" ")) == 2 and all(line.split(" ")) and line.isascii() and line.isprintable() for line in lines if line)
    if name == "tags.txt" and plain and not any(character in content.decode() for character in '#-{"') and b" " in content:
        groups = [[line.split(" ") for line in group] for filled, group in itertools.groupby(lines, bool) if filled]
        theirs = [(tuple(word for word, _ in group), tuple(tag for _, tag in group)) for group in groups]
        if (theirs[0][0][0].lower(), theirs[0][1][0].lower()) not in {(word, tag) for word in HEADERS for tag in HEADERS}:
            require_equal([(example.words, example.label) for example in examples], theirs, "columns")


HEADERS = (
    "tokens",
    "words",
    "word",
    "token",
    "form",
    "tags",
    "ner_tags",
    "chunk_tags",
    "pos_tags",
    "labels",
    "tag",
    "ner_tag",
    "ner",
    "label",
    "upos",
)
HEADERS = (*HEADERS, "chunk_tag", "pos_tag")
QUESTION_FILES = ("dev.json", "dev2.json", "mrqa.jsonl", "rows.jsonl", "predictions.json", "predictions.jsonl", "odds.json", "answers.jsonl")


def _squad(unanswerable: bool) -> dict[str, Any]:
    context = "The chef cooked a meal at the river house near the old city."
    found = [{"id": "1", "question": "where ?", "answers": [{"text": "house", "answer_start": 36}], "is_impossible": False}]
    if unanswerable:
        found.append({"id": "2", "question": "who ?", "answers": [], "is_impossible": True})
    return {"version": "1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": found}]}]}


def question_seeds() -> list[bytes]:
    context = _squad(False)["data"][0]["paragraphs"][0]["context"]
    detected = [{"text": "house", "char_spans": [[36, 40]], "token_spans": [[8, 8]]}]
    mrqa = [
        {"header": {"dataset": "x"}},
        {"context": context, "qas": [{"qid": "1", "question": "where", "answers": ["house"], "detected_answers": detected}]},
    ]
    row = {"id": "1", "question": "where ?", "context": context, "answers": {"text": ["house"], "answer_start": [36]}}
    answer = {"id": "1", "label": "a", "prediction": "b"}
    found = [_squad(False), _squad(True), None, None, {"1": "house", "2": ""}, None, {"1": -3.5, "2": 0.0}, None]
    written = [as_json(value) for value in found]
    written[2], written[3] = b"\n".join(map(as_json, mrqa)), b"\n".join(map(as_json, [row, row]))
    written[5] = b"\n".join(as_json({"id": name, "prediction_text": "house"}) for name in "12")
    written[7] = b"\n".join(as_json(answer | {"id": number, "label": "ab"[number % 2]}) for number in range(4))
    return numbered(written)


def questions(data: bytes) -> None:
    """SQuAD, MRQA, tables of questions, files of predictions, null odds and answers. Reference: `json`, and the answers' places in the context."""
    from electra.tasks import significance
    from electra.tasks.question_metrics import answer_texts, null_probabilities, score_file
    from electra.tasks.registry import find_task
    from electra.tasks.squad_files import read_mrqa, read_squad

    name, content = chosen(data, QUESTION_FILES)
    path = put(root() / name, content)
    if name == "answers.jsonl":
        significance.pair(path, path)
        return
    if name == "odds.json":
        null_probabilities(path, ["1", "2"])
        return
    if name.startswith("predictions"):
        answer_texts(path)
        task = find_task("squad2")
        (root() / "gold.json").write_bytes(as_json(_squad(True)))
        score_file(task, read_squad(root() / "gold.json", "dev", unanswerable=True), path, None)
        return
    examples = read_mrqa(path, "dev") if name == "mrqa.jsonl" else read_squad(path, "dev", unanswerable=name != "dev.json")
    for example in examples:
        for answer in example.answers or ():
            context = example.text_pair or ""
            if answer.start < -1 or answer.start > len(context):
                raise Wrong("an answer outside of its context")
            part = context[answer.start : answer.start + len(answer.text)]
            # The original's rule allows another white space within the words that an offset touches.
            if answer.start >= 0 and part.lower() != answer.text.lower() and len(answer.text.split()) < 2 and answer.text.strip() == answer.text:
                raise Wrong("an answer that is not at its place")
    if name in ("dev.json", "dev2.json"):
        parsed = json.loads(content.decode("utf-8-sig"))
        if isinstance(parsed, dict):
            parts = [part for article in parsed["data"] for part in article.get("paragraphs", [article])]
            require_equal(len(examples), sum(len(part["qas"]) if "qas" in part else 1 for part in parts), "number of questions")


TASK_FILES = {
    "SST-2/dev.tsv": ("sst2", "sentence\tlabel\ngood film\t1\nbad film\t0\n"),
    "STS-B/dev.tsv": ("stsb", "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta b\tc d\t4.5\n1\tx\ta\tb\t0.0\n"),
    "CoLA/dev.tsv": ("cola", "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tIt.\n"),
    "tnews/dev.json": ("tnews", '{"label": "102", "label_desc": "news_entertainment", "sentence": "新闻", "keywords": "a,b"}\n'),
    "cluewsc/dev.json": (
        "cluewsc",
        '{"target": {"span1_index": 0, "span1_text": "他", "span2_index": 3, "span2_text": "她"}, "idx": 0, "label": "true", "text": "他说了她"}\n',
    ),
    "csl/dev.json": ("csl", '{"id": 1, "abst": "文本", "keyword": ["a", "b"], "label": "0"}\n'),
    "own/dev.csv": ("own", "text,label\ngood,1\nbad,0\nfine,1.0\n"),
    "several/dev.csv": ("multilabel", 'text,label\ngood,"a|b"\nbad,\nfine,"[""a""]"\n'),
    "several/dev.jsonl": ("multilabel", '{"text": "good", "label": ["a", "b"]}\n{"text": "bad", "label": "a|c"}\n'),
    "numbers/dev.tsv": ("regression", "text\tlabel\ngood\t1.5\nbad\t-2e3\n"),
    "imdb/test.csv": ("imdb", "text,label\ngood,pos\nbad,neg\n"),
    "predictions.csv": ("predictions", "id,prediction\n0,1\n1,0\n"),
    "predictions.txt": ("predictions", "1\n0\n"),
    "predictions.jsonl": ("predictions", '{"id": 0, "prediction": 1}\n{"id": 1, "prediction": "0"}\n'),
}


@functools.cache
def _task_folder() -> Folder:
    folder = new_folder("tasks")
    for name, (_, text) in TASK_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "imdb" / "train.csv").write_text("text,label\ngood,pos\nbad,neg\n", encoding="utf-8")
    return Folder(folder, tuple(TASK_FILES))


def task_file_seeds() -> list[bytes]:
    return _task_folder().seeds()


def task_files(data: bytes) -> None:
    """Files of GLUE and CLUE, custom tables of every kind of label, IMDb's csv, files of predictions."""
    from electra.settings import EvaluateSettings
    from electra.tasks.custom import Columns, find_head, own_task, read_examples
    from electra.tasks.data_warnings import describe_file, warnings
    from electra.tasks.evaluate import score_predictions
    from electra.tasks.registry import find_task

    folder = _task_folder()
    with folder.replaced(data) as name:
        task, path = TASK_FILES[name][0], folder.path / name
        if task == "predictions":
            settings = EvaluateSettings(model=str(path), task="sst2", data=(str(folder.path / "SST-2"),))
            score_predictions(settings, path)
        elif task in ("own", "multilabel", "regression"):
            columns = Columns(kind="auto" if task == "own" else task)
            examples = list(read_examples(path, columns, "dev"))
            warnings(examples, examples, find_head(examples, columns))
            own_task(columns, {"dev": path}).read(path, "dev")
        else:
            examples = find_task(task).read(path.parent, "dev")
        if task != "predictions" and not examples:
            raise Wrong("no example, and no refusal")
        describe_file(path)


# ---- corpora and archives ----

CORPUS_FILES = ("a.txt", "a.jsonl", "a.txt.gz", "a.tar", "a.zip", "a.tar.xz", "a.tgz", "a.parquet", "a.gz", "a.txt.zst", "a.txt.bz2")
DOCUMENTS = {"one.txt": "first line\nsecond line\n", "two.txt": "電影 très\n", "in/three.jsonl": '{"text": "a record"}\n', ".hidden.txt": "x\n"}


def tarred(members: dict[str, bytes], **changes: Any) -> bytes:
    """A tar; `changes` are set on every entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in changes.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zipped(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with fixed dates."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return out.getvalue()


def _packed() -> dict[str, bytes]:
    return {name: text.encode() for name, text in DOCUMENTS.items()}


def corpus_seeds() -> list[bytes]:
    import bz2
    import lzma

    import pyarrow
    import zstandard
    from pyarrow import parquet

    text = b"a title\n\nfirst document\nhas two lines\n\nsecond one<br />with a break\n"
    lines = b"".join(as_json({"text": line}) + b"\n" for line in TEXTS)
    packed, out = tarred(_packed()), io.BytesIO()
    parquet.write_table(pyarrow.table({"text": list(TEXTS)}), out)
    nested = tarred({"outer.txt": b"outside\n", "inner.tar.gz": gzip.compress(packed, mtime=0), "b.zip": zipped(_packed())})
    links = tarred({"link.txt": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd") + tarred({"dev.txt": b""}, type=tarfile.CHRTYPE)
    found = [text, lines, gzip.compress(text, mtime=0), packed, zipped(_packed()), lzma.compress(packed), gzip.compress(packed, mtime=0)]
    found += [out.getvalue(), gzip.compress(packed, mtime=0), zstandard.compress(text), bz2.compress(text)]
    climbing = {"../../evil.txt": b"out\n", "/abs.txt": b"abs\n", "a/./b.txt": b"in\n", "c:\\d.txt": b"x\n"}
    more = [b"\3" + nested, b"\3" + links, b"\3" + tarred(climbing), b"\4" + zipped(climbing), b"\2" + gzip.compress(b"a" * 3_000_000, mtime=0)]
    return [*numbered(found), *more, b"\0 = Title = \n\nbody text\n\n = = Part = = \n\nmore\n"]


def corpus(data: bytes) -> None:
    """Texts, lines of records, parquet, compressed files and archives of them (nested, bombs, links, devices), as `prepare` and `vocab` read
    them. References: `tarfile`, `zipfile`, `gzip` and `json`, where nothing was reported."""
    from electra.data.documents import read_documents
    from electra.data.sources import CorpusReport

    name, content = chosen(data, CORPUS_FILES)
    folder = new_folder("corpus")
    path = folder / name
    path.write_bytes(content)
    report = CorpusReport()
    documents = [document.lines for document in read_documents([str(path)], report=report)]
    for line in (line for document in documents for line in document):
        if not line or "\n" in line or line != line.strip():
            raise Wrong("a line that is empty or has white space around it")
        line.encode()
    if len(list(folder.rglob("*"))) != 1:
        raise Wrong("a file was unpacked")
    report.lines()
    if report.problems:
        return
    words = [line for document in documents for line in document]
    if name in ("a.txt", "a.jsonl", "a.txt.gz", "a.tar", "a.zip", "a.tgz"):
        theirs = _without_breaks(" ".join(_reference_texts(name, content)))
        require_equal(_without_breaks(" ".join(words)).split(), theirs.split(), "the words")


def _reference_texts(name: str, content: bytes) -> list[str]:
    """The texts in a file, by the standard library."""
    if name.endswith((".gz", ".tgz")):
        content = gzip.decompress(content)
    if name == "a.jsonl":
        return [json.loads(line)["text"] or "" for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    if name.startswith("a.txt"):
        return [content.decode("utf-8-sig")]
    found = []
    if name == "a.zip":
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            members = [(entry.filename, bundle.read(entry)) for entry in bundle.infolist() if not entry.is_dir()]
    else:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            members = [(entry.name, getattr(archive.extractfile(entry), "read", bytes)()) for entry in archive if entry.isfile()]
    for inner, body in members:
        if any(part.startswith(".") and part not in (".", "..") for part in Path(inner).parts):
            continue
        found += _reference_texts("a.jsonl", body) if inner.endswith(".jsonl") else [body.decode("utf-8-sig")]
    return found


def _without_breaks(text: str) -> str:
    return re.sub(r"<br ?/?>", " ", text, flags=re.IGNORECASE)


ARCHIVES = ("data.zip", "data.tar", "data.tar.gz", "reviews.tar", "reviews.tar.gz")


def archive_seeds() -> list[bytes]:
    data = {"SST-2/train.tsv": b"sentence\tlabel\na\t1\n", "SST-2/dev.tsv": b"sentence\tlabel\nb\t0\n", "__MACOSX/x": b"1", "SST-2/.DS": b"2"}
    reviews = {
        f"aclImdb/{half}/{label}/{number}_7.txt": b"good<br />film" for half in ("train", "test") for label in ("pos", "neg") for number in (0, 1)
    }
    reviews["aclImdb/train/unsup/0_0.txt"] = b"an unlabelled review. It has two sentences."
    unsafe = {"../../evil.txt": b"out", "/abs.txt": b"abs", "c:\\d.txt": b"x", "SST-2\\..\\..\\e.txt": b"y", "nul\0l": b"z"}
    found = [zipped(data), tarred(data), gzip.compress(tarred(data), mtime=0), tarred(reviews), gzip.compress(tarred(reviews), mtime=0)]
    links = tarred({"SST-2/link": b""}, type=tarfile.SYMTYPE, linkname="/etc") + tarred({"SST-2/link/x": b"1"})
    more = [b"\0" + zipped({name: body}) for name, body in unsafe.items() if "\0" not in name]
    return [
        *numbered(found),
        *more,
        b"\1" + links,
        b"\1" + tarred({name: body for name, body in unsafe.items()}),
        b"\0" + zipped({"a": b"x", "a/b": b"y"}),
    ]


def archives(data: bytes) -> None:
    """Benchmarks' archives, which are unpacked into the cache, and IMDb's, which is read as a stream. References: `zipfile`, `tarfile`."""
    from electra.tasks import hub_datasets, imdb

    name, content = chosen(data, ARCHIVES)
    folder = new_folder("archives")
    path = folder / name
    path.write_bytes(content)
    if name.startswith("reviews"):
        imdb.read_unlabelled(path)
        imdb.read_imdb(path, "train")
        return
    new_folder("cache")
    before = {*root().iterdir(), *folder.iterdir()}
    try:
        place = hub_datasets.unpacked(path)
    finally:
        if {*root().iterdir(), *folder.iterdir()} != before or Path("/abs.txt").exists():
            raise Wrong("a file outside of the cache")
    files = [file for file in place.rglob("*") if not file.is_dir()]
    if any(file.is_symlink() or not file.is_file() for file in files):
        raise Wrong("a link or a device was unpacked")
    theirs = _archive_contents(name, content)
    if not {hashlib.sha256(file.read_bytes()).digest() for file in files} <= theirs:
        raise Wrong("a file that is not in the archive")


def _archive_contents(name: str, content: bytes) -> set[bytes]:
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            return {hashlib.sha256(bundle.read(entry)).digest() for entry in bundle.infolist() if not entry.is_dir()}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {hashlib.sha256(getattr(archive.extractfile(entry), "read", bytes)()).digest() for entry in archive if entry.isreg()}


# ---- tokenized data, arrays ----

WORDS = "the cat dog sat on a mat and ran home while birds sang over old trees in spring rain".split()


def vocabulary_text() -> str:
    """A vocab.txt of some sixty pieces."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *WORDS, ".", ","]
    return "".join(f"{piece}\n" for piece in dict.fromkeys(pieces))


@functools.cache
def tokenizer() -> Any:
    """The tokenizer of `vocabulary_text`."""
    from electra.data.tokenizer import load_tokenizer

    (root() / "vocab.txt").write_text(vocabulary_text(), encoding="utf-8")
    return load_tokenizer(root() / "vocab.txt")


@functools.cache
def shards() -> Path:
    """A small tokenized dataset."""
    from prepared import prepare_shards

    rng = random.Random(4)
    documents = ["\n".join(" ".join(rng.choices(WORDS, k=6)) + " ." for _ in range(3)) for _ in range(30)]
    (root() / "text.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    output = root() / "shards"
    prepare_shards([root() / "text.txt"], tokenizer(), output, held_out=0.1, workers=1)
    return output


@functools.cache
def _dataset() -> Folder:
    return Folder(shards())


def dataset_seeds() -> list[bytes]:
    return _dataset().seeds()


def dataset(data: bytes) -> None:
    """A tokenized dataset: manifest, arrays, tokenizer; opened, verified and read. Reference: the bytes of the dataset that was written."""
    from electra.data.shards import expected_hashes, open_shards
    from electra.inference.inspect import describe

    folder = _dataset()
    with folder.replaced(data) as name:
        if name == "manifest.json":
            expected_hashes(data[1:], "s3://x/y")
        opened = open_shards(folder.path)
        damaged = opened.verify()
        if not damaged and name.endswith(".npy") and data[1:] != folder.contents[name]:
            raise Wrong("a changed array that is not reported")
        describe(str(folder.path))
        for split in ("train", "held_out"):
            part = opened.split(split)
            if not damaged:
                for index in range(min(3, part.num_documents)):
                    part.document(index)


ARRAYS = ("corruption.npz", "vectors.npy", "arrays.npz", "corruption.jsonl", "part.npz")


def array_seeds() -> list[bytes]:
    from electra.data.corruption_set import CorruptedText, CorruptionSet, replace_words, save_texts

    ids = np.arange(12, dtype=np.int32)
    found = CorruptionSet(
        ids=ids,
        segments=np.zeros(12, np.uint8),
        lengths=np.array([6, 6], np.int32),
        corrupted={"generator": ids + 1, "frequency": ids},
        fingerprint=tokenizer().fingerprint,
    )
    found.save(root() / "corruption.npz")
    np.save(root() / "vectors.npy", np.ones((3, 4), np.float32))
    np.savez(root() / "arrays.npz", a=np.arange(3), b=np.array("text"))
    save_texts([replace_words("the chef cooked", {1: "dog"}, "generator"), CorruptedText("a b", ((0, 1, False),))], root() / "corruption.jsonl")
    splits = {f"{name}_{kind}": np.arange(3) for name in ("train", "held_out") for kind in ("ids", "lines", "documents")}
    unknown = np.frombuffer(b'{"tokens": 1, "unknown_tokens": 0}', np.uint8)
    np.savez(root() / "part.npz", key=np.frombuffer(b"k" * 16, np.uint8), dropped=np.array([0, 9]), unknown=unknown, **splits)
    return numbered([(root() / name).read_bytes() for name in ARRAYS])


def arrays(data: bytes) -> None:
    """Corruption sets of ids and of texts, vectors and other arrays, parts of an unfinished `prepare`. Reference: numpy."""
    from electra.data.corruption_set import context_free_scores, load_corruption, load_texts
    from electra.data.prepare_chunk import is_tokenized
    from electra.inference.inspect import describe

    name, content = chosen(data, ARRAYS)
    path = put(root() / name, content)
    if name == "part.npz":
        is_tokenized(path, b"k" * 16)
        return
    if name == "corruption.npz":
        found = load_corruption(path, tokenizer().fingerprint)
        with np.load(path, allow_pickle=False) as theirs:
            require_equal(found.ids.tolist(), theirs["ids"].tolist(), "ids")
        found.context_free_scores("generator")
    elif name == "corruption.jsonl":
        context_free_scores(load_texts(path))
    describe(str(path))


# ---- TFRecords ----


def record(data: bytes) -> bytes:
    """A record with its length and checksums."""
    from electra.protobuf import masked_crc

    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", masked_crc(size)) + data + struct.pack("<I", masked_crc(data))


def _example(lists: dict[str, list[int]]) -> bytes:
    example = example_class()()
    for name, values in lists.items():
        example.features.feature[name].int64_list.value.extend(values)
    return bytes(example.SerializeToString())


@functools.cache
def example_class() -> Any:
    """tf.train.Example for Google's protobuf, the reference."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="fuzz_example.proto", package="fuzz", syntax="proto3")
    kinds = {"BytesList": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, "FloatList": 2, "Int64List": 3}
    for name, kind in kinds.items():
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=3)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, field) in enumerate(zip(kinds, ("bytes_list", "float_list", "int64_list"), strict=True), 1):
        feature.field.add(name=field, number=number, type=11, type_name=f".fuzz.{name}", label=1, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, type_name=".fuzz.Feature", label=1)
    features.field.add(name="feature", number=1, type=11, type_name=".fuzz.Features.FeatureEntry", label=3)
    file.message_type.add(name="Example").field.add(name="features", number=1, type=11, type_name=".fuzz.Features", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fuzz.Example"))


def tfrecord_seeds() -> list[bytes]:
    lists = {"input_ids": [2, 60, 61, 3, 62, 3, 0, 0], "input_mask": [1] * 6 + [0] * 2, "segment_ids": [0] * 4 + [1] * 2 + [0] * 2}
    one = _example(lists)
    loose = b"\n\x15\n\x13\n\tinput_ids\x12\x06\x1a\x04\x08\x02\x08\x3c"
    return [b"\0" + record(one) * 2, b"\1" + one, b"\1" + loose, b"\1" + _example({"a": [-1, 2**40]}), b"\0" + record(b"")]


def tfrecord(data: bytes) -> None:
    """TFRecords and the tf.train.Examples in them. An input is a file, or the data of one record, to which the harness adds the checksums.
    References: TensorBoard's record reader, Google's protobuf."""
    from google.protobuf import message

    from electra.data.sources import CorpusReport
    from electra.data.tfrecord import describe_records, find_records, integers, read_records, segments, store_records
    from electra.protobuf import Damaged

    kind, content = chosen(data, ("file", "record"))
    folder = new_folder("records")
    path = folder / "a.tfrecord-0-of-1"
    path.write_bytes(record(content) if kind == "record" else content)
    files = find_records([path])
    describe_records(files)
    records = list(read_records(path))
    require_equal(records, _reference_records(path), "records")
    for one in records:
        ours = integers(one)
        try:
            theirs = example_class().FromString(one)
        except message.DecodeError:
            continue  # damage in what is not read here: other kinds of lists
        known = {name: list(value.int64_list.value) for name, value in theirs.features.feature.items() if value.WhichOneof("kind") == "int64_list"}
        require_equal({name: values.tolist() for name, values in ours.items()}, known, "lists of an Example")
        with contextlib.suppress(Damaged):
            segments(ours, tokenizer())
    store_records(files, tokenizer(), new_folder("stored"), 0.1, CorpusReport())


def _reference_records(path: Path) -> list[bytes]:
    from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow

    reader = pywrap_tensorflow.PyRecordReader_New(str(path))
    found = []
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return found
        found.append(bytes(reader.record()))

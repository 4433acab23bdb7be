"""Readers of data in rows: tables, tagged words, questions, tasks' files."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import itertools
import json
from typing import Any

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
    # Lines with nothing but white space are no rows; a first line with an empty name in quotes is a header.
    every = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row == [""] or _is_row(row)]
    theirs = [*every[:1], *filter(_is_row, every[1:])]
    require_equal([found for _, row in rows if _is_row(found := list(row.values()))], theirs[1:], "csv")
    # pandas loses lines that end by a carriage return alone.
    if FULL and rows and theirs and '"' not in text and "\r" not in text.replace("\r\n", "\n"):
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
        theirs = json.loads(text.strip())  # a form feed is no white space of JSON; ours takes it as an empty line
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
        if len(example.words or ()) != len(label) or (not all(example.words or ("",)) and "json" not in name):
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
        try:
            parsed = json.loads(content.decode("utf-8-sig"))
        except ValueError:  # a table of questions, an object a line
            return
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

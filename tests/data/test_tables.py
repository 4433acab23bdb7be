"""Tables of other programs: read as pandas and `datasets` read them, by `finetune own` and by `predict`, and written with the answers."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from conformance import case, conforms
from tiny_models import checkpoints

from electra import cli
from electra.commands import predict
from electra.data.tables import csv_separator, read_rows
from electra.errors import UserError
from electra.inference.predictor import Predictor, load
from electra.tasks.custom import Columns, own_task

pandas = pytest.importorskip("pandas")
BOTH = ("finetune", "predict")
SECTION: dict[str, Any] = {"section": "tables"}
ROWS = [
    {"id": "007", "text": 'she said "no"', "label": "a"},
    {"id": "", "text": "two\nlines; and, a tab\there", "label": "b"},
    {"id": "1.50", "text": " plain | text ", "label": "NA"},
    {"id": "x", "text": "the film\u2028was\x85good", "label": "None"},
]


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    pytest.importorskip("torch")
    return load(checkpoints()["classifier"], device="cpu")


@pytest.fixture
def run(classifier: Predictor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`electra predict` of one model, which is loaded once -> what it printed."""
    monkeypatch.setattr(predict, "load_for", lambda *args, **options: classifier)

    def predicted(*words: Any, code: int = 0) -> str:
        assert cli.main(["predict", str(checkpoints()["classifier"]), *map(str, words)]) == code
        captured = capsys.readouterr()
        return captured.err.strip() if code else captured.out

    return predicted


def plain(frame: Any) -> list[dict[str, Any]]:
    """Rows of a data frame, NaN as ''."""
    return [{key: "" if value != value or value is None else value for key, value in row.items()} for row in frame.to_dict("records")]


# ---- csv and tsv ----

WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    "csv with commas": ("a.csv", {}),
    "csv with semicolons": ("a.csv", {"sep": ";"}),
    "csv with tabs": ("a.csv", {"sep": "\t"}),
    "csv with bars": ("a.csv", {"sep": "|"}),
    "tsv with quotes": ("a.tsv", {"sep": "\t"}),
    "csv with a byte-order mark": ("a.csv", {"encoding": "utf-8-sig"}),
    "csv with lines of Windows": ("a.csv", {"lineterminator": "\r\n"}),
    "csv with lines that end by CR": ("a.csv", {"lineterminator": "\r"}),
    "csv with every cell in quotes": ("a.csv", {"quoting": 1}),
    "csv with the index of pandas": ("a.csv", {"index": True}),
    "csv.gz": ("a.csv.gz", {}),
    "csv.bz2": ("a.csv.bz2", {}),
    "csv.xz": ("a.csv.xz", {}),
    "csv.zst": ("a.csv.zst", {}),
    "tsv.gz": ("a.tsv.gz", {"sep": "\t"}),
    "suffix in capitals": ("a.CSV", {}),
}


def check_table(path: Path, wanted: Any, run: Any, tmp_path: Path, kind: str = "csv") -> None:
    """The rows read for training and those written by `predict` are the data frame's."""
    rows = plain(wanted)
    examples = own_task(Columns()).read(path, "train")
    assert [(example.text, example.label) for example in examples] == [(row["text"], row["label"].strip()) for row in rows]
    run(path, "--output", tmp_path / f"out.{kind}")
    written = pandas.read_csv(tmp_path / f"out.{kind}", dtype=str, keep_default_na=False, sep="," if kind == "csv" else "\t")
    answers = [written.pop(name) for name in ("predicted_label", "predicted_probability")]
    pandas.testing.assert_frame_equal(written, pandas.DataFrame(rows), check_dtype=False)
    assert set(answers[0]) <= {"negative", "neutral", "positive"} and all(0 < float(value) <= 1 for value in answers[1])


@pytest.mark.parametrize("form", [case(form, form=form, where=BOTH, outcome="exact", **SECTION) for form in WRITTEN])
def test_tables_of_pandas(form: str, run: Any, tmp_path: Path) -> None:
    name, options = WRITTEN[form]
    options = {"index": False} | options
    pandas.DataFrame(ROWS).to_csv(tmp_path / name, **options)
    read = {key: value for key, value in options.items() if key in ("sep", "encoding", "lineterminator") and value != "\r\n"}
    check_table(tmp_path / name, pandas.read_csv(tmp_path / name, dtype=str, keep_default_na=False, **read), run, tmp_path)


TYPED = {
    "blank lines between rows": "text,label\n\nx,a\n\n\ny,b\n\n",
    "lines of white space": "text,label\nx,a\n   \ny,b\n",
    "no line end at the end": "text,label\nx,a\ny,b",
    "one column after the other in the last row": 'label,text\na,"x\n\ny"\nb,z\n',
    "unnamed last column": "text,label,\nx,a,\ny,b,c\n",
    "two unnamed columns": ",text,,label\n0,x,1,a\n1,y,2,b\n",
    "white space around cells": "text,label\n x , a \ny,b\n",
    "quotes inside a cell": 'text,label\nx "y" z,a\ny,b\n',
    "doubled quotes and empty quotes": 'text,label\n"""x""",a\n"",b\n',
    "line ends of Windows inside cells": 'text,label\r\n"x\r\ny",a\r\ny,b\r\n',
    "a CR inside a quoted cell": 'text,label\n"x\ry",a\ny,b\n',
    "a cell of 300 kB": f"text,label\n{'the film ' * 33_000},a\ny,b\n",
    "a column name with a dot": "text,label,review.body\nx,a,1\ny,b,2\n",
    "names and cells that are not ASCII": "text,label,größe\nсрок 電影 🙂,a,1\ny,b,2\n",
    "a name with a comma": 'text,label,"a,b"\nx,a,1\ny,b,2\n',
    "columns in another order": "label,id,text\na,007,x\nb,008,y\n",
    "words for missing values that may be names": "text,label,id\nNA,None,null\nN/A,NULL,n/a\n",
}


@pytest.mark.parametrize("form", [case(form, form=f"csv: {form}", where=BOTH, outcome="exact", **SECTION) for form in TYPED])
def test_csv_that_pandas_reads(form: str, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TYPED[form].encode())
    check_table(path, pandas.read_csv(path, dtype=str, keep_default_na=False), run, tmp_path)


def test_separators_follow_the_wanted_columns(run: Any, classifier: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("id;a, b, c;text\n1;x;the film\n")
    run(tmp_path / "a.csv", "--output", tmp_path / "out.tsv")
    assert pandas.read_csv(tmp_path / "out.tsv", sep="\t").columns.tolist() == ["id", "a, b, c", "text", "label", "probability"]
    (tmp_path / "a.csv").write_text("a, b, c;review\nx;the film\n")
    monkeypatch.setitem(classifier.hf_config, "electra_input_spec", {"columns": {"text": "review", "text_pair": None}})  # type: ignore[arg-type]
    assert run(tmp_path / "a.csv").endswith("\tthe film\n")


REFUSED = {
    "UTF-16": ("a.csv", "text,label\nx,a\n".encode("utf-16"), "a.csv is UTF-16 text, expected UTF-8; convert it"),
    "UTF-16 without a mark": ("a.csv", "text,label\nx,a\n".encode("utf-16-le"), "binary file"),
    "Latin-1": ("a.csv", "text,label\nx,a\nété,b\n".encode("latin-1"), "a.csv, line 3: byte 1 (0xe9) is not UTF-8"),
    "two columns of one name": ("a.csv", b"text,label,text\nx,a,y\n", "two columns have the same name"),
    "a row with more cells": ("a.csv", b"text,label\nx,a\ny,b,c\n", "line 3: 3 columns, the header has 2"),
    "a row with fewer cells": ("a.csv", b"text,label\nx,a\ny\n", "line 3: 1 columns, the header has 2"),
    "no header": ("a.csv", b"good film,a\nbad film,b\n", "no column 'text'"),
    "no header, tsv": ("a.tsv", b"good film\ta\nbad film\tb\n", "add a header line if the file has none"),
    "a header alone": ("a.csv", b"text,label\n", "a.csv has no "),
    "an open quote": ("a.csv", b'text,label\n"x,a\ny,b\n', "line 2: not valid csv"),
    "a damaged csv.gz": ("a.csv.gz", gzip.compress(b"text,label\n" + b"x,a\n" * 400)[:-40], "a.csv.gz is damaged"),
    "no csv.gz": ("a.csv.gz", b"text,label\nx,a\n", "a.csv.gz is damaged"),
    "a damaged csv.xz": ("a.csv.xz", lzma.compress(b"text,label\n" + b"x,a\n" * 400)[:-40], "a.csv.xz is damaged"),
    "a damaged csv.bz2": ("a.csv.bz2", bz2.compress(b"text,label\n" + b"x,a\n" * 400)[:-40], "a.csv.bz2 is damaged"),
    "a spreadsheet": ("a.xlsx", b"PK", "it is a spreadsheet; save it as csv"),
    "an archive": ("a.csv.zip", b"PK", "it is an archive; unpack it"),
    "a pickle": ("a.pkl", b"\x80", "of a kind that is not read; save it as csv or parquet"),
    "jsonl with a list": ("a.jsonl", b"[1, 2]\n", "expected a JSON object"),
    "jsonl with a broken line": ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": \n', "line 2: not valid JSON"),
    "null in the text": ("a.jsonl", b'{"text": null, "label": "a"}\n', "column 'text' has no value (null)"),
    "NaN in the text": ("a.jsonl", b'{"text": NaN, "label": "a"}\n', "column 'text' has no value (nan)"),
    "a number in the text": ("a.jsonl", b'{"text": 1984, "label": "a"}\n', "column 'text' holds 1984 (int), not text"),
    "an object in the text": ("a.jsonl", b'{"text": {"body": "x"}, "label": "a"}\n', "name a nested field: text.FIELD"),
    "half of a character": ("a.jsonl", b'{"text": "a \\ud83d b", "label": "a"}\n', "line 1: \\ud83d is half of a character"),
    "half of a character in a list": ("a.json", b'[{"text": "x", "label": "\\uDE00"}]', "item 1: \\ude00 is half of a character"),
    "json of columns": ("a.json", b'{"text": {"0": "x"}, "label": {"0": "a"}}', "write one object a row (pandas: orient='records')"),
    "a field that a later row lacks": ("a.jsonl", b'{"text": "x", "label": "a"}\n{"txt": "y", "label": "a"}\n', "line 2: no column 'text'"),
    "a damaged parquet": ("a.parquet", b"PAR1....PAR1", "a.parquet is not a readable parquet file"),
    "a damaged arrow": ("a.arrow", b"ARROW1..", "a.arrow is not a readable arrow file"),
}


@pytest.mark.parametrize("form", [case(form, form=f"table: {form}", where=BOTH, outcome="refused", **SECTION) for form in REFUSED])
def test_tables_that_are_refused(form: str, run: Any, tmp_path: Path) -> None:
    name, content, message = REFUSED[form]
    (tmp_path / name).write_bytes(content)
    error = run(tmp_path / name, "--output", tmp_path / "out.csv", code=2)
    assert error.startswith("electra: ") and "\n" not in error and message in error and not (tmp_path / "out.csv").exists()
    with pytest.raises(UserError) as raised:
        own_task(Columns()).read(tmp_path / name, "train")
    assert message in str(raised.value)


# ---- json, parquet, arrow, datasets ----


def jsonl_of(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_text_of_other_suffixes_and_given_formats(run: Any, tmp_path: Path) -> None:
    """A table whose name does not say so, and lines in a file that is named like a table."""
    (tmp_path / "a.dat").write_text("id,text\n1,the film\n")
    assert json.loads(run(tmp_path / "a.dat", "--input-format", "csv", "--json"))["id"] == "1"
    (tmp_path / "a.csv").write_text("the film, again\nit was\n")
    assert [line.split("\t")[2] for line in run(tmp_path / "a.csv", "--input-format", "lines").splitlines()] == ["the film, again", "it was"]


JSON_FORMS = {
    "jsonl of pandas": ("a.jsonl", pandas.DataFrame(ROWS).to_json(orient="records", lines=True)),
    "ndjson": ("a.ndjson", jsonl_of(ROWS)),
    "json of lines": ("a.json", jsonl_of(ROWS)),
    "json with one list": ("a.json", json.dumps(ROWS, indent=1)),
    "jsonl.gz": ("a.jsonl.gz", jsonl_of(ROWS)),
    "jsonl with a byte-order mark": ("a.jsonl", "\ufeff" + jsonl_of(ROWS)),
    "jsonl with empty lines": ("a.jsonl", "\n" + jsonl_of(ROWS).replace("\n", "\n\n")),
    "jsonl with lines of Windows": ("a.jsonl", jsonl_of(ROWS).replace("\n", "\r\n")),
    "jsonl with lines that end by CR": ("a.jsonl", jsonl_of(ROWS).replace("\n", "\r")),
    "jsonl with characters as they are": ("a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)),
}


@pytest.mark.parametrize("form", [case(form, form=form, where=BOTH, outcome="exact", **SECTION) for form in JSON_FORMS])
def test_json_tables(form: str, run: Any, tmp_path: Path) -> None:
    name, content = JSON_FORMS[form]
    (tmp_path / name).write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    examples = own_task(Columns()).read(tmp_path / name, "train")
    assert [(example.text, example.label) for example in examples] == [(row["text"], row["label"]) for row in ROWS]
    found = [json.loads(line) for line in run(tmp_path / name, "--format", "input" if name.endswith("l") else "jsonl").split("\n")[:-1]]
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS
    assert all(row["predicted_probabilities"][row["predicted_label"]] == row["predicted_probability"] for row in found)


def test_nested_fields_and_values_of_json_pass_through(run: Any, tmp_path: Path) -> None:
    rows = [
        {"review": {"body": "the film", "stars": 5}, "tags": ["a", "b"], "ok": True, "n": 1, "x": 0.5, "none": None, "big": 12345678901234567890},
        {"review": {"body": "it was", "stars": None}, "extra": "only here"},
    ]
    (tmp_path / "a.jsonl").write_text(jsonl_of(rows))
    found = [json.loads(line) for line in run(tmp_path / "a.jsonl", "--text", "review.body", "--json").splitlines()]
    assert [{key: value for key, value in row.items() if key in given} for row, given in zip(found, rows, strict=True)] == rows
    error = run(tmp_path / "a.jsonl", "--text", "review.body", "--output", tmp_path / "out.csv", code=2)
    assert "a row has the column 'extra', which the first row does not have; write jsonl" in error and not (tmp_path / "out.csv").exists()
    (tmp_path / "a.jsonl").write_text(jsonl_of(rows[:1]))
    run(tmp_path / "a.jsonl", "--text", "review.body", "--output", tmp_path / "out.csv")
    (row,) = pandas.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert (json.loads(row["review"]), json.loads(row["tags"]), row["ok"], row["n"], row["none"]) == (*list(rows[0].values())[:2], "True", "1", "")


@pytest.mark.parametrize("value", [b"the film", datetime.date(2020, 1, 1), decimal.Decimal("1.5"), True])
def test_columns_that_hold_no_texts_are_refused(value: Any, run: Any, tmp_path: Path) -> None:
    pandas.DataFrame({"text": [value], "label": ["a"]}).to_parquet(tmp_path / "a.parquet")
    assert f"({type(value).__name__}), not text" in run(tmp_path / "a.parquet", code=2)
    with pytest.raises(UserError, match="not text; write it as a string"):
        own_task(Columns()).read(tmp_path / "a.parquet", "train")


def frame_of(form: str) -> Any:
    frame = pandas.DataFrame(ROWS)
    if form == "parquet with categories":
        frame["label"] = frame["label"].astype("category")
    if form == "parquet with an index":
        frame.index = [10, 20, 30, 40]
    if form == "parquet with dates, decimals and lists":
        frame["day"] = [datetime.datetime(2020, 1, day) for day in range(1, 5)]
        frame["price"] = [decimal.Decimal("1.50")] * 4
        frame["list"] = [[1, 2], [], None, [3]]
        frame["score"] = [1.0, float("nan"), 0.1, 2.5]
    return frame


@pytest.mark.parametrize(
    "form",
    [
        case(form, form=form, where=BOTH, outcome="exact", **SECTION)
        for form in ("parquet of pandas", "parquet with categories", "parquet with an index", "parquet with dates, decimals and lists", "feather")
    ],
)
def test_parquet_keeps_types(form: str, run: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = frame_of(form)
    path = tmp_path / ("a.feather" if form == "feather" else "a.parquet")
    frame.to_feather(path) if form == "feather" else frame.to_parquet(path)
    assert [example.text for example in own_task(Columns()).read(path, "train")] == frame["text"].tolist()
    run(path, "--output", tmp_path / "out.parquet")
    wanted = pandas.read_feather(path) if form == "feather" else pandas.read_parquet(path)
    found = pandas.read_parquet(tmp_path / "out.parquet")
    assert found.columns.tolist() == [*wanted.columns, "predicted_label", "predicted_probability"]
    pandas.testing.assert_frame_equal(found[wanted.columns], wanted, check_categorical=False)
    run(path, "--output", tmp_path / "out.csv")
    assert pandas.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)["text"].tolist() == wanted["text"].tolist()


@pytest.mark.parametrize(
    "form",
    [
        case(form, form=form, where=BOTH, outcome="exact", **SECTION)
        for form in ("parquet of datasets", "folder of save_to_disk", "arrow file of datasets", "jsonl of datasets", "csv of datasets")
    ],
)
def test_exports_of_datasets_pass_through(form: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"]), "id": datasets.Value("int32")}
    )
    data = datasets.Dataset.from_list([{"text": "the film", "label": 1, "id": 7}, {"text": "it was", "label": 0, "id": 8}], features=features)
    path = tmp_path / {"parquet": "a.parquet", "folder": "saved", "arrow": "a.arrow", "jsonl": "a.jsonl", "csv": "a.csv"}[form.split()[0]]
    if form.startswith(("folder", "arrow")):
        data.save_to_disk(tmp_path / "saved")
        if form.startswith("arrow"):
            next((tmp_path / "saved").glob("*.arrow")).rename(path)
    else:
        {".parquet": data.to_parquet, ".jsonl": data.to_json, ".csv": data.to_csv}[path.suffix](path)
    names = ["good", "bad"] if form.startswith(("parquet", "folder", "arrow")) else ["1", "0"]
    assert [example.label for example in own_task(Columns()).read(path, "train")] == names
    run(path, "--output", tmp_path / "out.parquet")
    found = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    expected = data if names[0] == "good" else data.cast_column("label", datasets.Value("string" if form.startswith("csv") else "int64"))
    assert found["text"][:] == data["text"][:] and [str(value) for value in found["label"]] == [str(value) for value in expected["label"]]
    if names[0] == "good":
        assert found.features["label"] == features["label"] and found.features["id"] == features["id"]


def test_a_folder_of_splits_names_them(run: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list([{"text": "x"}])
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "both")
    assert "both is a folder, not a text file; give one of its splits: test, train" in run(tmp_path / "both", code=2)
    assert run(tmp_path / "both" / "test").endswith("\tx\n")
    assert "both is a folder, not a text file" in run(tmp_path / "both", "--input-format", "csv", code=2)


@conforms(form="folder of parquet parts", where=BOTH, outcome="exact", **SECTION)
def test_a_folder_of_parquet_parts_is_one_table(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(ROWS)
    (tmp_path / "a.parquet").mkdir()
    (tmp_path / "a.parquet" / "_SUCCESS").touch()
    for number in range(2):
        frame[2 * number : 2 * number + 2].to_parquet(tmp_path / "a.parquet" / f"part-{number}.parquet", index=False)
    check_table(tmp_path / "a.parquet", pandas.read_parquet(tmp_path / "a.parquet"), run, tmp_path)
    frame.to_parquet(tmp_path / "a.parquet" / "_temporary.parquet", index=False)
    frame.to_parquet(tmp_path / "a.parquet" / ".hidden.parquet", index=False)
    assert len([*read_rows(tmp_path / "a.parquet")]) == len(pandas.read_parquet(tmp_path / "a.parquet")) == 4
    frame.to_parquet(tmp_path / "b.parquet", partition_cols=["label"])
    assert "b.parquet is partitioned by columns (label=NA); write one file" in run(tmp_path / "b.parquet", code=2)


def test_a_saved_data_set_is_what_its_state_names(tmp_path: Path) -> None:
    """Not the caches of map and filter, nor the parts of an earlier save with more of them."""
    datasets = pytest.importorskip("datasets")
    place = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": ["t0", "t1", "t2", "t3"]}).save_to_disk(place, num_shards=2)
    datasets.load_from_disk(place).map(lambda row: {"text": row["text"].upper()})
    datasets.load_from_disk(place).filter(lambda row: row["text"] != "t0")
    assert [row["text"] for _, row in read_rows(place)] == ["t0", "t1", "t2", "t3"] == datasets.load_from_disk(place)["text"][:]
    datasets.Dataset.from_dict({"text": ["new"]}).save_to_disk(place)
    assert [row["text"] for _, row in read_rows(place)] == ["new"]
    (place / "state.json").write_text('{"_data_files": 3}')
    with pytest.raises(UserError, match="names no files of the data set"):
        list(read_rows(place))
    for name in ("../a.arrow", str(tmp_path / "a.arrow"), "gone.arrow", 3):
        (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(UserError, match="which is no file next to it"):
            list(read_rows(place))


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="two columns have the name 'text'"):
        list(read_rows(tmp_path / "a.parquet"))


# ---- standard input ----


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        case(form, content, words, form=f"standard input: {form}", where="predict", outcome="exact", **SECTION)
        for form, content, words in (
            ("csv", b'id,text\n007,"the\nfilm"\n', ["--input-format", "csv"]),
            ("tsv", b'id\ttext\n007\t"the\nfilm"\n', ["--input-format", "tsv"]),
            ("jsonl", b'{"id": "007", "text": "the\\nfilm"}\n', []),
            ("jsonl with a column", b'{"id": "007", "text": "the\\nfilm"}\n', ["--text", "text"]),
            ("json", b'[\n{"id": "007",\n"text": "the\\nfilm"}]\n', ["--input-format", "json"]),
            ("parquet", None, ["--input-format", "parquet"]),
        )
    ],
)
def test_tables_on_standard_input(form: str, content: bytes | None, words: list[str], run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if content is None:
        pytest.importorskip("pyarrow")
        content = pandas.DataFrame([{"id": "007", "text": "the\nfilm"}]).to_parquet()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    found = json.loads(run(*([] if "--text" in words else ["-"]), *words, "--json"))
    assert (found["id"], found["text"]) == ("007", "the\nfilm") and found["label"] in found["probabilities"]


# ---- columns ----


def test_predictions_have_names_of_their_own(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nthe film\n")
    for number, names in enumerate((["label", "probability"], ["predicted_label", "predicted_probability"])):
        run(tmp_path / "a.csv", "--output", tmp_path / f"{number}.csv")
        (tmp_path / f"{number}.csv").replace(tmp_path / "a.csv")
        assert pandas.read_csv(tmp_path / "a.csv").columns.tolist()[-2:] == names
    error = run(tmp_path / "a.csv", "--output", tmp_path / "3.csv", code=2)
    assert "line 2: the column 'predicted_label' has the name of an answer; rename it" in error


def test_columns_are_given_or_the_models_or_the_usual_ones(run: Any, classifier: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("review,other,text,text_pair\nr,o,t,p\n")
    shown = lambda *words: run(tmp_path / "a.csv", *words).rstrip("\n").split("\t")[2:]  # noqa: E731
    assert shown() == ["t", "p"] and shown("--text", "review") == ["r", "p"] and shown("--text-pair", "other") == ["t", "o"]
    for trained, wanted in (
        ({"text": "review", "text_pair": None}, ["r"]),
        ({"text": "review", "text_pair": "other"}, ["r", "o"]),
        ({"text": "nowhere", "text_pair": None}, ["t"]),
        ({"text": "nowhere", "text_pair": "nothing"}, ["t", "p"]),
    ):
        monkeypatch.setitem(classifier.hf_config, "electra_input_spec", {"columns": trained, "max_length": 64})  # type: ignore[arg-type]
        assert shown() == wanted
    assert shown("--text", "other", "--text-pair", "review") == ["o", "r"]
    error = run(tmp_path / "a.csv", "--text", "reviw", code=2)
    assert "line 2: no column 'reviw' (did you mean 'review'? columns: review, other, text, text_pair); choose one by --text" in error
    assert "no column 'x'" in run(tmp_path / "a.csv", "--text-pair", "x", code=2)


def test_an_empty_cell_is_an_empty_text_and_every_row_is_answered(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,\n2,""\n3,the film\n')
    run(tmp_path / "a.csv", "--output", tmp_path / "out.csv")
    assert pandas.read_csv(tmp_path / "out.csv", keep_default_na=False)[["id", "text"]].to_dict("records") == [
        {"id": 1, "text": ""},
        {"id": 2, "text": ""},
        {"id": 3, "text": "the film"},
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_table(kind: str, tmp_path: Path) -> None:
    import tracemalloc

    rows = 2_500
    frame = pandas.DataFrame({"id": range(rows), "text": ["the chef cooked a meal and it was good " * 70] * rows})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        frame.to_parquet(path, row_group_size=500)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    del frame
    list(zip(read_rows(path), range(10), strict=False))
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == rows
    assert tracemalloc.get_traced_memory()[1] < 6 << 20 < path.stat().st_size * (100 if kind == "parquet" else 1)
    tracemalloc.stop()


# ---- public reports ----

FARM_233 = '"text","Label"\n"Gradually, this inland sea became a swamp.","0.0"\n"Wendish","1.0", \n"1.0","1.0"\n'
TORCHTEXT_612 = 'text\tlabel\nFirst\tfirst\n"Second\tsecond\nThird "sentence"\tthird\nFourth\tfourth\n'


@conforms(form="one answer for each row of a csv with line ends in cells", where="predict", outcome="exact", **SECTION)
def test_senti4sd_3_every_row_has_one_answer(run: Any, tmp_path: Path) -> None:
    """1,826 rows went in and 1,829 came out, without the texts."""
    rows = [{"id": number, "comment": "the film\n\nwas good" if number % 3 else 'the "film"'} for number in range(12)]
    pandas.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    run(tmp_path / "a.csv", "--text", "comment", "--output", tmp_path / "out.csv")
    found = pandas.read_csv(tmp_path / "out.csv")
    assert found[["id", "comment"]].to_dict("records") == rows and found["label"].notna().all()


@conforms(form="tsv with a quotation mark at the start of a cell", where=BOTH, outcome="exact", **SECTION)
def test_torchtext_612_a_quotation_mark_starts_a_cell(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(TORCHTEXT_612)
    wanted = pandas.read_csv(tmp_path / "a.tsv", sep="\t", quoting=3, dtype=str)
    check_table(tmp_path / "a.tsv", wanted, run, tmp_path)


@conforms(form="a stray separator at the end of one row", where=BOTH, outcome="refused", **SECTION)
def test_farm_233_a_row_with_a_stray_separator_is_named(run: Any, tmp_path: Path) -> None:
    """There: 'Input is not valid. Should be a string', in training. pandas refuses the file, too."""
    (tmp_path / "a.csv").write_text(FARM_233)
    with pytest.raises(pandas.errors.ParserError, match="Expected 2 fields in line 3, saw 3"):
        pandas.read_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a\.csv, line 3: 3 columns, the header has 2; correct the row"):
        own_task(Columns(label="Label")).read(tmp_path / "a.csv", "train")
    assert "a.csv, line 3: 3 columns, the header has 2" in run(tmp_path / "a.csv", code=2)


@conforms(form="a CR inside a line of a text file", where="predict", outcome="exact", **SECTION)
def test_datasets_622_a_carriage_return_ends_no_line(run: Any, tmp_path: Path) -> None:
    """There the text loader of `datasets` failed on it; it reads lines as Python's open(newline='\\n') since."""
    (tmp_path / "a.txt").write_bytes(b"the film\rwas good\nit was\n")
    assert [json.loads(line)["text"] for line in run(tmp_path / "a.txt", "--json").splitlines()] == ["the film\rwas good", "it was"]


def test_excels_line_with_the_separator_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffsep=;\r\ntext;label\r\na, b;1\r\n", encoding="utf-8", newline="")
    assert [row for _, row in read_rows(tmp_path / "a.csv")] == [{"text": "a, b", "label": "1"}]
    assert csv_separator(tmp_path / "a.csv", ()) == ";"

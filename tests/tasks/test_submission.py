"""electra submit: the files GLUE's and CLUE's sites take, checked by rules written out here; electra dataset imdb and the csv it writes."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from electra import cli
from electra.contracts import Example, Head, Prediction
from electra.errors import UserError
from electra.tasks import submission
from electra.tasks.registry import find_task
from electra.tasks.submission import BENCHMARKS, clue_file, constant_answer, glue_file, parse_models, plan, write_zip

# What the sites say, written down a second time: file -> (rows, answers allowed).
GLUE = {
    "CoLA": (1063, "0 1"),
    "SST-2": (1821, "0 1"),
    "MRPC": (1725, "0 1"),
    "STS-B": (1379, ""),
    "QQP": (390965, "0 1"),
    "MNLI-m": (9796, "contradiction entailment neutral"),
    "MNLI-mm": (9847, "contradiction entailment neutral"),
    "QNLI": (5463, "entailment not_entailment"),
    "RTE": (3000, "entailment not_entailment"),
    "WNLI": (146, "0 1"),
    "AX": (1104, "contradiction entailment neutral"),
}


def check_glue(archive: Path, sizes: dict[str, int]) -> dict[str, list[str]]:
    """File -> its answers, once it is as the site reads it."""
    out = {}
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == sorted(f"{name}.tsv" for name in GLUE)
        for name, (rows, allowed) in GLUE.items():
            lines = opened.read(f"{name}.tsv").decode().removesuffix("\n").split("\n")
            assert lines[0] == "index\tprediction" and len(lines) == 1 + sizes.get(name, rows)
            fields = [line.split("\t") for line in lines[1:]]
            assert [index for index, _ in fields] == [str(i) for i in range(len(fields))]
            out[name] = [answer for _, answer in fields]
            if allowed:
                assert set(out[name]) <= set(allowed.split())
            else:
                assert all(0 <= float(answer) <= 5 and len(answer.partition(".")[2]) == 3 for answer in out[name])
    return out


@pytest.fixture
def glue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GLUE's SST-2 and MNLI with few rows, and official numbers of rows that fit them."""
    small = {"SST-2.tsv": 5, "MNLI-m.tsv": 3, "MNLI-mm.tsv": 4, "AX.tsv": 2, "QQP.tsv": 30}
    monkeypatch.setitem(BENCHMARKS, "glue", tuple(replace(file, num_rows=small.get(file.name, file.num_rows)) for file in submission.GLUE))
    files = {
        "SST-2/train.tsv": ["sentence\tlabel", *(f"a {'good' if i % 2 else 'bad'} film\t{i % 2}" for i in range(8))],
        "SST-2/test.tsv": ["index\tsentence", *(f"{i}\tthe film was good" for i in range(5))],
        "RTE/train.tsv": ["index\tsentence1\tsentence2\tlabel", "0\ta\tb\tnot_entailment", "1\ta\tb\tnot_entailment", "2\ta\tb\tentailment"],
        "STS-B/train.tsv": ["sentence1\tsentence2\tscore", "a\tb\t1.0", "a\tb\t4.5"],
        "MNLI/test_matched.tsv": ["index\tsentence1\tsentence2", *(f"{i}\ta film\ta story" for i in range(3))],
        "MNLI/test_mismatched.tsv": ["index\tsentence1\tsentence2", *(f"{i}\ta film\ta story" for i in range(4))],
        "diagnostic/diagnostic.tsv": ["index\tsentence1\tsentence2", *(f"{i}\ta film\ta story" for i in range(2))],
    }
    files["SST-2/dev.tsv"] = files["SST-2/train.tsv"]
    for name, lines in files.items():
        path = tmp_path / "glue" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return tmp_path / "glue"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random classifiers with the labels of SST-2 and MNLI."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tiny_models import SHAPE, checkpoints, vocabulary

    from electra.data.tokenizer import load_tokenizer

    out = {}
    torch.manual_seed(3)
    for name in ("sst2", "mnli"):
        labels = dict(enumerate(find_task(name).head([]).labels))
        config = transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, id2label=labels, label2id={v: k for k, v in labels.items()})
        out[name] = tmp_path_factory.mktemp(name)
        transformers.ElectraForSequenceClassification(config).eval().save_pretrained(out[name])
        load_tokenizer(checkpoints()["vocab"]).save(out[name])
    return out


def test_a_glue_submission(glue: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "glue", "--models", f"SST-2={models['sst2']}", f"mnli={models['mnli']}", "--data", str(glue)]
    assert cli.main([*words, "--output", str(tmp_path / "none.zip")]) == 2
    assert "no model for cola, mrpc, qnli, qqp, rte, stsb, wnli" in capsys.readouterr().err and not (tmp_path / "none.zip").exists()
    assert cli.main([*words, "--output", str(tmp_path / "a.zip"), "--fill"]) == 0
    error = capsys.readouterr().err
    answers = check_glue(tmp_path / "a.zip", {"SST-2": 5, "MNLI-m": 3, "MNLI-mm": 4, "AX": 2, "QQP": 30})
    assert set(answers["RTE"]) == {"not_entailment"} and set(answers["STS-B"]) == {"2.750"} and set(answers["QQP"]) == {"0"}
    assert "RTE.tsv: no model, 3,000 times 'not_entailment' (the majority of its training labels)" in error
    assert "SST-2.tsv: unknown tokens: " in error
    assert "WNLI.tsv: no model, 146 times '0' (a guess" in error and f"SST-2.tsv: 5 answers by {models['sst2']}" in error
    from electra.inference.predictor import load

    assert answers["SST-2"] == [answer.label for answer in load(models["sst2"]).predict(["the film was good"] * 5)]
    assert answers["MNLI-mm"] == [load(models["mnli"]).predict([("a film", "a story")])[0].label] * 4
    assert cli.main([*words, "--output", str(tmp_path / "b.zip"), "--fill"]) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_wrong_counts_and_wrong_models_are_refused(glue: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "glue", "--data", str(glue), "--output", str(tmp_path / "a.zip"), "--fill"]
    assert cli.main([*words, "--models", f"sst2={models['mnli']}"]) == 2
    assert "answers with contradiction, entailment, neutral, sst2 with 0, 1" in capsys.readouterr().err
    with (glue / "SST-2" / "test.tsv").open("a") as file:
        file.write("5\tone more\n")
    assert cli.main([*words, "--models", f"sst2={models['sst2']}"]) == 2
    assert "has 6 rows, the official one 5" in capsys.readouterr().err
    (glue / "MNLI" / "test_mismatched.tsv").unlink()
    with pytest.raises(UserError, match="test_mismatched split of MNLI not found"):
        plan("glue", {"mnli": "m"}, glue, fill=True)
    assert not (tmp_path / "a.zip").exists()


def test_the_table_is_the_sites() -> None:
    assert {file.name.removesuffix(".tsv"): file.num_rows for file in submission.GLUE} == {name: rows for name, (rows, _) in GLUE.items()}
    for files in BENCHMARKS.values():
        for file in files:
            assert file.split in find_task(file.task).splits or file.split == "test1.0"
    with pytest.raises(UserError, match="did you mean 'clue'"):
        submission.files_of("cleu")
    assert parse_models(["SST-2=a=b"], submission.GLUE) == {"sst2": "a=b"}


def test_similarities_stay_in_their_range() -> None:
    predictions = [Prediction(label=value) for value in (-0.3, 2.34567, 5.2)]
    assert glue_file(predictions, Head(kind="regression", scale=5.0)) == "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n"


def test_clue_keeps_the_test_files_ids(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = [Example(id=name, text="") for name in ("test-7", "test-x3")]
    text = clue_file([Prediction(label="102"), Prediction(label="115")], examples)
    assert [json.loads(line) for line in text.splitlines()] == [{"id": 7, "label": "102"}, {"id": "x3", "label": "115"}]
    small = tuple(replace(file, num_rows=3 if file.task == "cluewsc" else 4) for file in submission.CLUE_1_1)
    monkeypatch.setitem(BENCHMARKS, "clue", small)
    (tmp_path / "csl_public").mkdir()
    rows = [{"id": 10 + i, "abst": "good", "keyword": ["film"]} for i in range(4)]
    (tmp_path / "csl_public" / "test.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["submit", "clue", "--models", f"csl={models['sst2']}", "--data", str(tmp_path)]
    assert cli.main([*words, "--output", str(tmp_path / "a.zip")]) == 0
    assert "tnews11_predict.json: no model, omitted" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.namelist() == ["csl_predict.json"]
        answers = [json.loads(line) for line in opened.read("csl_predict.json").decode().splitlines()]
    assert [row["id"] for row in answers] == [10, 11, 12, 13] and all(row["label"] in ("0", "1") for row in answers)
    assert cli.main([*words, "--output", str(tmp_path / "b.zip"), "--fill"]) == 0
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        assert len(opened.namelist()) == 6 and len(opened.read("cluewsc11_predict.json").decode().splitlines()) == 3


@pytest.mark.realdata
def test_real_test_files_have_the_official_numbers(data_root: Path) -> None:
    read = {}
    for file in submission.GLUE:
        try:
            read[file.task] = len(find_task(file.task).read(data_root / "glue", file.split)) == file.num_rows
        except UserError:
            continue
    assert read.pop("sst2") and read.pop("rte") and read.pop("wnli"), read
    assert constant_answer(find_task("rte"), data_root / "glue")[0].label == "entailment"


def test_zips_hold_what_was_given(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"b.tsv": "二\n", "a.tsv": ""})
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.namelist() == ["a.tsv", "b.tsv"] and opened.read("b.tsv").decode() == "二\n"


# ---- electra dataset imdb ----


@pytest.fixture
def imdb(tmp_path: Path) -> Path:
    for half in ("train", "test"):
        for label in ("pos", "neg"):
            (tmp_path / "aclImdb" / half / label).mkdir(parents=True)
            for i in range(10):
                text = f'{half}: a "{label}" film,<br /><br />number {i}'
                (tmp_path / "aclImdb" / half / label / f"{i}_{9 if label == 'pos' else 2}.txt").write_text(text)
    return tmp_path / "aclImdb"


def test_csv_files_are_the_seeds_and_read_back_the_same(imdb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "csv"
    assert cli.main(["dataset", "imdb", "--data", str(imdb), "--output", str(out)]) == 0
    assert f"{out}/train/train_data.csv: 20 reviews" in capsys.readouterr().out
    rows = list(csv.reader(io.StringIO((out / "train" / "train_data.csv").read_text())))
    assert rows[0] == ["", "sentences", "labels"] and rows[1] == ["0", 'train: a "neg" film,  number 0', "0"]
    assert [row[2] for row in rows[1:]] == ["0"] * 10 + ["1"] * 10
    task = find_task("imdb")
    for split in ("train", "dev", "test"):
        assert [(e.text, e.label) for e in task.read(out, split)] == [(e.text, e.label) for e in task.read(imdb, split)]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(out / "test" / "test_data.csv", index_col=0)
    assert frame.columns.tolist() == ["sentences", "labels"] and frame["labels"].sum() == 10


def test_a_held_out_part_becomes_dev(imdb: Path, tmp_path: Path) -> None:
    assert cli.main(["dataset", "imdb", "--data", str(imdb), "--output", str(tmp_path / "csv"), "--valid", "20%"]) == 0
    task = find_task("imdb")
    train, dev, test = (task.read(tmp_path / "csv", split) for split in ("train", "dev", "test"))
    assert (len(train), len(dev), len(test)) == (16, 4, 20) and [e.label for e in dev] == ["neg", "neg", "pos", "pos"]
    assert {e.text for e in train} | {e.text for e in dev} == {e.text for e in task.read(imdb, "train")}
    assert cli.main(["dataset", "imdb", "--data", str(imdb), "--output", str(tmp_path / "other"), "--valid", "1%"]) == 2


def test_other_peoples_csv_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('review,sentiment\n"Good<br />film",positive\nBad,negative\n')
    (tmp_path / "test.csv").write_text("text,label\nFine,1\nPoor,0\n")
    task = find_task("imdb")
    assert [(e.text, e.label) for e in task.read(tmp_path, "train")] == [("Good film", "pos"), ("Bad", "neg")]
    assert [e.label for e in task.read(tmp_path, "dev")] == ["pos", "neg"]
    for content, message in {
        "review,sentiment\nx,maybe\n": "label 'maybe' is neither positive nor negative",
        "words,sentiment\nx,1\n": "columns words, sentiment; expected text or review",
        "review,sentiment\n": "no reviews below its header",
    }.items():
        (tmp_path / "train.csv").write_text(content)
        with pytest.raises(UserError, match=message):
            task.read(tmp_path, "train")
    with pytest.raises(UserError, match="is one file without a held-out part"):
        task.read(tmp_path / "train.csv", "train")
    (tmp_path / "test.csv").unlink()
    with pytest.raises(UserError, match=r"has no test\.csv"):
        task.read(tmp_path, "test")

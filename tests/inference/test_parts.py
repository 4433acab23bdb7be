"""`predict` and `embed` of many files: the parts hold what `transformers` computes, in order, the same bytes by every engine and after any end."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WORDS
from services import Cluster, killing_workers
from services import cache as cache  # fixtures
from services import cluster as cluster
from services import s3_server as s3_server
from services import store as store
from task_models import make
from tiny_models import checkpoints, oracle

from electra.cli import main
from electra.data import prepare
from electra.data.sources import CorpusReport
from electra.inference import parts
from electra.storage import remote


def sentences(number: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(1, 30))) for _ in range(number)]


FILES = {"b.txt": sentences(11, 1), "a.csv": sentences(25, 2), "c.jsonl.gz": sentences(7, 3), "inner/d.tsv": sentences(4, 4)}


def write(folder: Path, files: dict[str, list[str]] = FILES) -> Path:
    """Each list of texts in the form that the suffix names."""
    for name, texts in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress("".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(texts)).encode()))
        elif path.suffix == ".txt":
            path.write_text("".join(f"{text}\n" for text in texts))
        else:
            separator = "," if path.suffix == ".csv" else "\t"
            path.write_text(f"id{separator}text\n" + "".join(f"{i}{separator}{text}\n" for i, text in enumerate(texts)))
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(tmp_path / "in")


ORDER = ("a.csv", "b.txt", "c.jsonl.gz", "inner/d.tsv")


def predict(*words: object) -> int:
    return main(["predict", str(checkpoints()["classifier"]), *map(str, words)])


def embed(*words: object) -> int:
    return main(["embed", str(checkpoints()["discriminator"]), *map(str, words)])


def content(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_the_answers_are_those_of_transformers(corpus: Path, tmp_path: Path) -> None:
    assert predict(corpus, "--output", tmp_path / "out", "--part-rows", 10, "--workers", 1) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("00000-00000.jsonl", "00000-00001.jsonl", "00000-00002.jsonl", "00001-00000.jsonl", "00001-00001.jsonl"),
        *("00002-00000.jsonl", "00003-00000.jsonl", "parts.json"),
    ]
    texts = [text for name in ORDER for text in FILES[name]]
    found = rows(tmp_path / "out")
    assert [row["text"] for row in found] == texts
    reference = oracle("ElectraForSequenceClassification", "classifier")
    for text, row in zip(texts, found, strict=True):
        expected = np.exp(reference.logits(text)) / np.exp(reference.logits(text)).sum()
        np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=1e-5)
        assert row["label"] == ("negative", "neutral", "positive")[int(expected.argmax())]
    manifest = json.loads((tmp_path / "out" / "parts.json").read_text())
    assert manifest["rows"] == len(texts)
    for part in manifest["parts"]:
        written = (tmp_path / "out" / part["file"]).read_bytes()
        assert (part["size_bytes"], part["sha256"]) == (len(written), hashlib.sha256(written).hexdigest())
    assert [(Path(part["source"]).name, part["first_row"], part["rows"]) for part in manifest["parts"]] == [
        *(("a.csv", 1, 10), ("a.csv", 11, 10), ("a.csv", 21, 5), ("b.txt", 1, 10), ("b.txt", 11, 1)),
        *(("c.jsonl.gz", 1, 7), ("d.tsv", 1, 4)),
    ]
    weights = checkpoints()["classifier"] / "model.safetensors"
    assert manifest["model"]["sha256"]["model.safetensors"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_vectors_are_those_of_transformers(corpus: Path, tmp_path: Path) -> None:
    assert embed(corpus, "--output", f"{tmp_path}/out/", "--part-rows", 10, "--workers", 1) == 0
    found = np.concatenate([np.load(file) for file in sorted((tmp_path / "out").glob("*.npy"))])
    reference = oracle("ElectraForPreTraining", "discriminator")
    expected = [reference(text).hidden_states[-1][0].mean(0).numpy() for name in ORDER for text in FILES[name]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet", "input"])
@pytest.mark.parametrize("command", [predict, embed])
def test_a_part_is_what_the_command_writes_of_one_file(command: Any, form: str, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    words = ("--format", form, "--threads", 1)
    assert command(corpus / "a.csv", corpus / "inner/d.tsv", "--output", tmp_path / "out", *words, "--workers", 1) == 0
    for number, name in enumerate(("a.csv", "inner/d.tsv")):
        suffix = Path(name).suffix[1:] if form == "input" else form
        assert command(corpus / name, "--output", tmp_path / f"{number}.{suffix}", *words) == 0
        assert (tmp_path / "out" / f"{number:05}-00000.{suffix}").read_bytes() == (tmp_path / f"{number}.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("name", "text"), [("tagging", "the chef cooked"), ("span", "who cooked ?\tthe chef cooked the meal"), ("regression", "a meal")]
)
def test_every_kind_of_model(name: str, text: str, tmp_path: Path) -> None:
    model = make(name, tmp_path / "model")
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"{text}\n{text} again\n")
    assert main(["predict", str(model), f"{tmp_path}/[01].txt", "--output", f"{tmp_path}/out/", "--workers", "1"]) == 0
    assert main(["predict", str(model), f"{tmp_path}/0.txt", "--output", f"{tmp_path}/single.jsonl", "--threads", "1"]) == 0
    for number in range(2):
        assert (tmp_path / "out" / f"0000{number}-00000.jsonl").read_bytes() == (tmp_path / "single.jsonl").read_bytes()


def test_a_column_of_an_answers_name_renames_them_in_every_part_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the meal", "label": 1}\n{"text": "the film"}\n')
    assert predict(tmp_path / "a.jsonl", "--output", f"{tmp_path}/out/", "--part-rows", 1, "--workers", 1) == 0
    assert ["predicted_label" in row for row in rows(tmp_path / "out")] == [True, True]


def test_processes_write_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        assert predict(corpus, "--output", tmp_path / str(workers), "--part-rows", 5, "--workers", workers) == 0
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_killed_work_is_continued(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in sentences(1500)))
    words = ["predict", str(checkpoints()["classifier"]), str(tmp_path / "a.txt"), "--part-rows", "5", "--workers", "1", "--output"]
    assert main([*words, f"{tmp_path}/whole/"]) == 0
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-m", "electra", *words, f"{out}/"], stderr=subprocess.DEVNULL)
    while len(list(out.glob("done/*.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    made = {file.name: file.stat().st_ino for file in out.glob("*.jsonl") if (out / "done" / f"{file.name}.json").exists()}
    assert 3 <= len(made) < 300
    assert not (out / "parts.json").exists()
    assert main([*words, f"{out}/"]) == 0
    assert {name: (out / name).stat().st_ino for name in made} == made
    assert content(out) == content(tmp_path / "whole")


def test_a_pattern_answers_each_file_once(corpus: Path, tmp_path: Path) -> None:
    """d/** has folders, and the files in them again."""
    assert predict(str(corpus / "**"), "--output", tmp_path / "pattern", "--workers", 1) == 0
    assert predict(corpus, "--output", tmp_path / "folder", "--workers", 1) == 0
    assert sorted(row["text"] for row in rows(tmp_path / "pattern")) == sorted(row["text"] for row in rows(tmp_path / "folder"))


def test_files_of_one_name_in_two_stores_are_two(store: str) -> None:
    for folder in ("a", "b"):
        remote.write_text(f"{store}/{folder}/part-0.txt", f"of {folder}\n")
    found = parts.find_files([f"{store}/b", f"{store}/a", f"{store}/b/part-0.txt"], CorpusReport())
    assert [source.url for source in found] == [f"{store}/b/part-0.txt", f"{store}/a/part-0.txt"]


def test_answers_below_the_folder_that_is_read_are_no_texts(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (corpus, "--output", corpus / "answers", "--workers", 1)
    assert predict(*words) == 0
    before = content(corpus / "answers")
    assert predict(*words) == 0 and content(corpus / "answers") == before
    capsys.readouterr()


def test_tables_without_rows_do_not_end_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("text\n")
    with gzip.open(tmp_path / "in" / "b.txt.gz", "wb"):
        pass
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "in" / "c.parquet")
    (tmp_path / "in" / "d.txt").write_text("a meal\n")
    assert predict(tmp_path / "in", "--output", tmp_path / "out", "--workers", 1) == 0
    assert [row["text"] for row in rows(tmp_path / "out")] == ["a meal"]
    assert "files without texts: 3" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "parts.json").read_text())["problems"]["files without texts"]["count"] == 3


def test_parts_of_parquet_hold_float32_and_parts_of_csv_the_byte_order_mark(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a.csv").write_text("text;note\nthe chef;1\na meal;2\n", encoding="utf-8-sig")
    words = (tmp_path / "a.csv", "--part-rows", 1, "--workers", 1)
    assert embed(*words, "--output", f"{tmp_path}/vectors/", "--format", "parquet") == 0
    types = {str(parquet.read_schema(file).field("embedding").type) for file in (tmp_path / "vectors").glob("*.parquet")}
    assert types == {"list<element: float>"}
    assert predict(*words, "--output", f"{tmp_path}/labels/", "--format", "input") == 0
    files = sorted((tmp_path / "labels").glob("*.csv"))
    assert len(files) == 2 and all(file.read_text().startswith("\ufefftext;note;label") for file in files)


def test_a_file_of_another_name_keeps_its_part_under_the_new_one(corpus: Path, tmp_path: Path) -> None:
    words = (corpus, "--output", tmp_path / "out", "--workers", 1)
    assert embed(*words) == 0
    (corpus / "a.csv").rename(corpus / "aa.csv")
    assert embed(*words) == 0
    sources = [part["source"] for part in json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]]
    assert str(corpus / "aa.csv") in sources and str(corpus / "a.csv") not in sources and len(sources) == len(set(sources)) == 4


def test_what_has_changed_is_made_again(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (corpus, "--output", tmp_path / "out", "--part-rows", 10, "--workers", 1)
    assert predict(*words) == 0
    before = content(tmp_path / "out")
    made: list[str] = []
    real = prepare.ThisProcess.submit
    monkeypatch.setattr(prepare.ThisProcess, "submit", lambda engine, part, target: (made.append(part.name), real(engine, part, target)))
    assert predict(*words) == 0
    assert made == []
    (tmp_path / "out" / "00001-00000.jsonl").unlink()
    assert predict(*words) == 0
    assert made == ["00001-00000.jsonl"]
    assert content(tmp_path / "out") == before
    write(corpus, {"a.csv": FILES["a.csv"][:15], "c.jsonl.gz": ["a meal", *FILES["c.jsonl.gz"][1:]]})
    assert predict(*words) == 0
    assert made[1:] == ["00000-00001.jsonl", "00002-00000.jsonl"]
    assert predict(corpus, "--output", tmp_path / "new", "--part-rows", 10, "--workers", 1) == 0
    assert content(tmp_path / "out") == content(tmp_path / "new")


def test_a_part_whose_writing_was_interrupted_has_no_valid_record(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts change, the new part is written, the record is not, and the texts change back: vectors all have one size."""
    words = (corpus / "b.txt", "--output", f"{tmp_path}/out/", "--workers", 1)
    assert embed(*words) == 0
    before = content(tmp_path / "out")
    write(corpus, {"b.txt": ["another", *FILES["b.txt"][1:]]})
    with monkeypatch.context() as patch:
        patch.setattr(remote, "write_text", lambda target, text: interrupt(target, text, real=remote.write_bytes))
        assert embed(*words) == 130
    write(corpus)
    assert embed(*words) == 0
    assert content(tmp_path / "out") == before


def interrupt(target: str, text: str, real: Any) -> None:
    if "/done/" in target and len(text) > 10:
        raise KeyboardInterrupt
    real(target, text.encode())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in"], "in is a folder, not a text file; give one of its files, or an --output FOLDER"),
        (["s3://bucket/in"], "is a URL; give an --output FOLDER"),
        (["in/a.csv", "in/b.txt"], "more than one file needs a folder for its answers; give --output FOLDER"),
        (["in/*.csv"], "more than one file needs a folder"),
        (["in/a.csv", "--engine", "ray"], "--engine ray needs a folder for its answers; give --output FOLDER"),
        (["in/a.csv", "--engine", "ray", "--output", "out.csv"], "out.csv: the answers here are a folder of parts, not a file"),
        (["in", "--output", "out.jsonl"], "out.jsonl: the answers here are a folder of parts, not a file"),
        (["in/a.csv", "--ray-address", "auto"], "has no effect without --engine ray"),
        (["in/a.csv", "--output", "out/", "--ray-address", "auto"], "has no effect without --engine ray"),
        (["in/a.csv", "--workers", "2"], "--workers has no effect on one file and one output"),
        (["-", "--output", "out/"], "standard input is none; give files"),
        (["a good film", "--output", "out/"], "a text is none; give files"),
        (["in/*.nope", "--output", "out/"], "no file matches in/*.nope"),
        (["in/nope.csv", "in/a.csv", "--output", "out/"], "file not found: in/nope.csv"),
        (["empty", "--output", "out/"], "no text in empty (1 files have other endings, such as picture.png: rename them, or name each); expected"),
        (["blank", "--output", "out/"], "blank: no file has a text"),
        (["in", "--output", "taken"], "taken already exists; choose another --output"),
        (["in", "--output", "in/a.csv"], "the answers here are a folder of parts, not a file"),
        (["in", "--output", "file"], "file is not a folder; choose another path"),
        (["in", "--output", "out/", "--text", "wrong"], "in/a.csv, line 2: no column 'wrong'"),
        (["in", "--output", "out/", "--format", "input"], "--format input: in/b.txt is no table"),
        (["binary", "--output", "out/"], "binary/a.txt is a binary file"),
    ],
)
def test_refusals(words: list[str], message: str, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(corpus.parent)
    for name in ("empty/picture.png", "taken/x", "binary/a.txt", "blank/a.txt"):
        Path(name).parent.mkdir()
        Path(name).write_bytes(b"" if "blank" in name else b"a\0b")
    Path("file").write_text("x")
    assert predict(*words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("electra: ") and message in line
    assert not Path("out").exists()


def test_other_settings_and_other_models_are_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (corpus, "--output", tmp_path / "out", "--workers", 1)
    assert predict(*words) == 0
    before = content(tmp_path / "out")
    for other, name in ((("--max-length", 20), "max_length = 0, not 20"), (("--format", "csv"), "format = 'auto', not 'csv'")):
        assert predict(*words, *other) == 2
        assert f"was begun with {name}; give the same settings to continue" in capsys.readouterr().err
    assert main(["predict", str(make("classification", tmp_path / "model")), *map(str, words)]) == 2
    assert "was begun with model = " in capsys.readouterr().err
    assert embed(*words) == 2
    assert content(tmp_path / "out") == before


def test_a_bad_row_ends_the_work_and_the_corrected_file_continues_it(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "b.csv").write_text("id,text\n1,fine\n2\n")
    words = (corpus, "--output", tmp_path / "out", "--workers", 1)
    assert predict(*words) == 2
    assert "b.csv, line 3: 1 columns, the header has 2" in capsys.readouterr().err
    assert (tmp_path / "out" / "00000-00000.jsonl").exists()
    (corpus / "b.csv").write_text("id,text\n1,fine\n2,fine\n")
    assert predict(*words) == 0
    assert len(rows(tmp_path / "out")) == sum(map(len, FILES.values())) + 2


def test_unknown_words_of_all_parts_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text("the Ж\nthe meal\n")
    assert predict(tmp_path / "0.txt", tmp_path / "1.txt", "--output", f"{tmp_path}/out/", "--workers", 1) == 0
    assert "unknown tokens: 25.00% (2 of 8)" in capsys.readouterr().err


def test_stores_hold_the_same(store: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (file for file in corpus.rglob("*") if file.is_file()):
        remote.upload(file, f"{store}/in/{file.relative_to(corpus).as_posix()}")
    words = ("--part-rows", 10, "--workers", 1)
    assert predict(f"{store}/in", "--output", f"{store}/out", *words) == 0
    assert predict(corpus, "--output", tmp_path / "out", *words) == 0
    sizes = remote.file_sizes(f"{store}/out")
    found = {name: hashlib.sha256(remote.read_bytes(f"{store}/out/{name}")).hexdigest() for name in sizes}
    expected = content(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert {**found, "parts.json": ""} == {**expected, "parts.json": ""}
    # Interrupted before its last part and the manifest.
    remote.remove_files(f"{store}/out", ["00003-00000.jsonl"])
    assert predict(f"{store}/in", "--output", f"{store}/out", *words) == 0
    assert remote.file_sizes(f"{store}/out") == sizes
    assert predict(f"{store}/in/*.csv", "--output", f"{store}/one/", *words) == 0
    assert remote.read_bytes(f"{store}/one/00000-00000.jsonl") == (tmp_path / "out" / "00000-00000.jsonl").read_bytes()
    capsys.readouterr()
    assert predict(f"{store}/in", "--output", f"{store}/new", "--text", "wrong", *words) == 2
    assert "a.csv, line 2: no column 'wrong'" in capsys.readouterr().err
    assert remote.file_sizes(f"{store}/new") == {}
    assert predict(f"{store}/in", "--output", f"{store}/out", "--text", "id", *words) == 2
    assert "was begun with text = None, not 'id'" in capsys.readouterr().err
    assert predict(f"{store}/nothing", "--output", f"{store}/new") == 2
    assert f"not found: {store}/nothing" in capsys.readouterr().err


def test_inspect_describes_and_verifies(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert predict(corpus, "--output", out, "--workers", 1) == 0
    capsys.readouterr()
    assert main(["inspect", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["status"], found["rows"], found["num_files"], found["model"]) == (
        "parts",
        "finished",
        47,
        4,
        str(checkpoints()["classifier"]),
    )
    assert main(["inspect", str(out), "--verify"]) == 0
    (out / "00001-00000.jsonl").write_text("another")
    (out / "00002-00000.jsonl").unlink()
    assert main(["inspect", str(out), "--verify"]) == 2
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{out}/00001-00000.jsonl has changed since it was written",
        f"{out}/00002-00000.jsonl is missing",
    ]


@pytest.mark.slow
def test_a_cluster_writes_the_same_bytes_when_workers_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in sentences(3000)))
    words = (tmp_path / "a.txt", "--part-rows", 100)
    assert predict(*words, "--output", f"{tmp_path}/local/", "--workers", 1) == 0
    with killing_workers(cluster) as killed:
        assert predict(*words, "--output", tmp_path / "ray", "--engine", "ray", "--ray-address", cluster.address, "--workers", 2) == 0
    assert len(killed) == 2
    assert content(tmp_path / "ray") == content(tmp_path / "local")


@pytest.mark.slow
def test_work_of_one_engine_is_continued_by_the_other(
    cluster: Cluster, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_ray = ("--engine", "ray", "--ray-address", cluster.address)
    words = (corpus, "--part-rows", 5, "--format", "csv")
    assert embed(*words, "--output", tmp_path / "local", "--workers", 2) == 0
    real, stored = parts.store_part, []

    def stop_after_three(answered: Any, output: str) -> None:
        if len(stored) == 3:
            raise KeyboardInterrupt
        stored.append(answered[1]["file"])
        real(answered, output)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "store_part", stop_after_three)
        assert embed(*words, "--output", tmp_path / "out", *on_ray) == 130
    assert "finished parts are kept" in capsys.readouterr().err
    assert embed(*words, "--output", tmp_path / "out", "--workers", 1) == 0
    assert content(tmp_path / "out") == content(tmp_path / "local")
    # A row that csv cannot hold is refused on a worker, in a line.
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": "b", "more": 1}\n')
    assert predict(tmp_path / "bad.jsonl", "--output", tmp_path / "bad", "--format", "csv", *on_ray) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("electra: a row has the column 'more', which the first row does not have")
    with (tmp_path / "out" / "00000-00000.csv").open() as stream:
        assert len(json.loads(next(csv.DictReader(stream))["embedding"])) == 32


@pytest.mark.parametrize("change", [{"parts": [{"file": "00000-00000.jsonl"}]}, {"parts": 3}, {"settings": []}, {"model": "x"}])
def test_a_damaged_manifest_is_one_line(change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("the chef\n")
    assert predict(tmp_path / "a.txt", "--output", f"{tmp_path}/out/", "--workers", 1) == 0
    manifest = tmp_path / "out" / "parts.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    assert main(["inspect", str(tmp_path / "out")]) == 2
    assert "parts.json is no record of parts; choose another --output, or delete the folder first" in capsys.readouterr().err
    assert predict(tmp_path / "a.txt", "--output", f"{tmp_path}/out/", "--workers", 1) == 2

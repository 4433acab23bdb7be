"""Tables through every command that reads texts: their columns come out again as pandas reads them, next to the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from task_models import make
from tiny_models import checkpoints

from electra import api, cli
from electra.errors import UserError
from electra.inference.predictor import Predictor, load
from electra.settings import EvaluateSettings
from electra.tasks.input_spec import columns_of, record, with_trained_columns

pandas = pytest.importorskip("pandas")
pytest.importorskip("torch")
SECTION: dict[str, Any] = {"section": "tables"}
ROWS = [{"id": "007", "review": 'the chef "cooked"\n, a meal', "note": ""}, {"id": "1.0", "review": "it was good", "note": "x\ty"}]
TEXTS = [row["review"] for row in ROWS]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pandas.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False, sep=";")
    return tmp_path / "a.csv"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    folder = tmp_path_factory.mktemp("models")
    places = {name: make(name, folder / name) for name in ("tagging", "span", "multilabel", "regression")}
    return {name: load(place, device="cpu") for name, place in (places | checkpoints()).items() if name != "vocab"}


@pytest.fixture
def run(models: dict[str, Predictor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A command with one of the models, loaded once -> what it printed."""

    def ran(command: str, model: str, *words: Any, code: int = 0) -> str:
        monkeypatch.setattr(f"electra.commands.{command}.load_for", lambda *args, **options: models[model])
        assert cli.main([command, models[model].name, *map(str, words)]) == code
        captured = capsys.readouterr()
        return captured.err.strip() if code else captured.out

    return ran


def same_rows(path: Path, **options: Any) -> Any:
    """The written table, checked to begin with the input's columns -> its other columns."""
    found = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path, dtype=str, keep_default_na=False, **options)
    names = list(ROWS[0])
    assert found.columns.tolist()[:3] == names and found[names].to_dict("records") == ROWS
    return found.drop(columns=names)


@pytest.mark.parametrize(
    ("command", "model"),
    [
        case(command, model, form=f"table of pandas through {command}", where=command, outcome="exact", **SECTION)
        for command, model in (("predict", "classifier"), ("detect", "discriminator"), ("score", "discriminator"), ("embed", "discriminator"))
    ],
)
def test_columns_pass_through(command: str, model: str, table: Path, tmp_path: Path, run: Any, models: dict[str, Predictor]) -> None:
    rows = [json.loads(line) for line in run(command, model, table, "--text", "review", "--json").splitlines()]
    assert [{name: row[name] for name in ROWS[0]} for row in rows] == ROWS
    names = {
        "predict": ["label", "probability", "probabilities", "windows"],
        "detect": ["tokens"],
        "score": ["score", "num_tokens", "tokens", "per_token"],
        "embed": ["embedding"],
    }[command]
    assert all(list(row) == [*ROWS[0], *names] for row in rows)
    for name in ("out.csv", "out.tsv", "out.parquet", "out.json"):
        run(command, model, table, "--text", "review", "--output", tmp_path / name)
    found = same_rows(tmp_path / "out.csv")
    pandas.testing.assert_frame_equal(same_rows(tmp_path / "out.tsv", sep="\t"), found)
    typed = same_rows(tmp_path / "out.parquet")
    assert json.loads((tmp_path / "out.json").read_text()) == rows
    (first,) = [name for name in names if name in ("label", "tokens", "score", "embedding")][:1]
    if command == "embed":
        np.testing.assert_allclose(np.stack(typed["embedding"]), models[model].embed(TEXTS), atol=1e-6)
        np.testing.assert_allclose([json.loads(cell) for cell in found["embedding"]], models[model].embed(TEXTS), atol=1e-6)
    else:
        expected = [row[first] for row in rows]
        assert [json.loads(cell) if first == "tokens" else cell for cell in found[first]] == [str(e) if first != "tokens" else e for e in expected]
    printed = run(command, model, table, "--text", "review", "--format", "input")
    (tmp_path / "printed.csv").write_text(printed)
    pandas.testing.assert_frame_equal(same_rows(tmp_path / "printed.csv", sep=";"), found)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_format_input_keeps_the_byte_order_mark_of_excel(suffix: str, tmp_path: Path, run: Any) -> None:
    rows = [{"text": "un café", "note": "ü"}]
    separator = "\t" if suffix == ".tsv" else ";"
    options: dict[str, Any] = {"index": False, "sep": separator}
    pandas.DataFrame(rows).to_csv(tmp_path / f"excel{suffix}", encoding="utf-8-sig", **options)
    pandas.DataFrame(rows).to_csv(tmp_path / f"plain{suffix}", **options)
    header = separator.join(("text", "note", "label", "probability")) + "\n"
    words = ("--format", "input")
    for name, mark in (("excel", "\ufeff"), ("plain", "")):
        assert run("predict", "classifier", tmp_path / f"{name}{suffix}", *words).startswith(mark + header)
        run("predict", "classifier", tmp_path / f"{name}{suffix}", *words, "--output", tmp_path / f"{name}-out.csv")
        assert (tmp_path / f"{name}-out.csv").read_bytes().startswith((mark + header).encode())
    run("predict", "classifier", tmp_path / f"excel{suffix}", "--output", tmp_path / "usual.csv")
    assert (tmp_path / "usual.csv").read_text().startswith("text,note,")


def test_vectors_in_parquet_are_float32(table: Path, tmp_path: Path, run: Any, models: dict[str, Predictor]) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a.txt").write_text("\n".join(text.replace("\n", " ") for text in TEXTS) + "\n")
    expected = models["discriminator"].embed([text.replace("\n", " ") for text in TEXTS])
    for file, words in ((table, ("--text", "review")), (tmp_path / "a.txt", ())):
        output = tmp_path / f"{file.stem}{file.suffix[1:]}.parquet"
        run("embed", "discriminator", file, *words, "--output", output)
        column = parquet.read_table(output)["embedding"]
        assert column.type == arrow.list_(arrow.float32())
        # The numbers of JSON lines bring the same float32 back.
        run("embed", "discriminator", file, *words, "--output", output.with_suffix(".jsonl"))
        lines = [json.loads(line) for line in output.with_suffix(".jsonl").read_text().splitlines()]
        vectors = [line["embedding"] if isinstance(line, dict) else line for line in lines]
        np.testing.assert_array_equal(np.stack(column.to_numpy()), np.array(vectors, dtype=np.float32))
    np.testing.assert_allclose(np.stack(column.to_numpy()), expected, atol=1e-6)


@conforms(form="csv of questions with ids", where="predict", outcome="exact", section="tables")
def test_questions_from_any_table(tmp_path: Path, run: Any, models: dict[str, Predictor]) -> None:
    rows = [{"id": "a1", "title": "T", "context": "the chef cooked a meal", "question": "who cooked ?"}]
    frame = pandas.DataFrame(rows)
    frame.to_csv(tmp_path / "q.csv", index=False)
    frame.to_parquet(tmp_path / "q.parquet")
    frame.rename(columns={"question": "q", "context": "c"}).to_csv(tmp_path / "other.tsv", index=False, sep="\t")
    (answer,) = models["span"].answer(rows[0]["question"], rows[0]["context"])
    for name, words in (("q.csv", []), ("q.parquet", []), ("other.tsv", ["--text", "q", "--text-pair", "c"])):
        found = json.loads(run("predict", "span", tmp_path / name, *words, "--json"))
        assert list(found.values())[:4] == list(rows[0].values())
        assert (found["answer"], found["start"], found["end"]) == (answer.text, answer.start, answer.end)
    run("predict", "span", tmp_path / "q.csv", "--output", tmp_path / "answers.csv")
    assert pandas.read_csv(tmp_path / "answers.csv", keep_default_na=False).loc[0, ["id", "answer"]].tolist() == ["a1", answer.text]
    assert "no column 'context'" not in run("predict", "span", tmp_path / "other.tsv", "--text", "c", "--text-pair", "q")
    assert "line 2: question 1 has no context" in run("predict", "span", tmp_path / "other.tsv", "--text", "q", code=2)


@conforms(form="table of words to tag", where="predict", outcome="exact", section="tables")
def test_words_to_tag_from_any_table(tmp_path: Path, run: Any, models: dict[str, Predictor]) -> None:
    words = [["the", "chef"], ["New York", "was", "good"]]
    frame = pandas.DataFrame({"id": [7, 8], "tokens": words, "tags": [["O", "O"], ["O", "O", "O"]]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    wanted = [[word.tag for word in tagged.words] for tagged in models["tagging"].tag(words)]
    for name in ("a.parquet", "a.jsonl"):
        rows = [json.loads(line) for line in run("predict", "tagging", tmp_path / name, "--json").splitlines()]
        assert [(row["id"], row["tokens"], [word["tag"] for word in row["words"]]) for row in rows] == list(zip([7, 8], words, wanted, strict=True))
    run("predict", "tagging", tmp_path / "a.parquet", "--output", tmp_path / "out.parquet")
    found = pandas.read_parquet(tmp_path / "out.parquet")
    assert found.columns.tolist() == ["id", "tokens", "tags", "predicted_words", "predicted_tags", "predicted_entities"]
    assert [list(cell) for cell in found["predicted_tags"]] == wanted and [list(cell) for cell in found["tags"]] == frame["tags"].tolist()
    (tmp_path / "a.csv").write_text('id,text\n007,"the chef\nwas good"\n')
    run("predict", "tagging", tmp_path / "a.csv", "--output", tmp_path / "out.csv")
    (row,) = pandas.read_csv(tmp_path / "out.csv", dtype=str).to_dict("records")
    assert (row["id"], row["text"], json.loads(row["words"])) == ("007", "the chef\nwas good", ["the", "chef", "was", "good"])


def test_numbers_and_several_labels_in_a_table(table: Path, tmp_path: Path, run: Any, models: dict[str, Predictor]) -> None:
    for model in ("regression", "multilabel"):
        run("predict", model, table, "--text", "review", "--output", tmp_path / f"{model}.csv")
        found = same_rows(tmp_path / f"{model}.csv")["label"]
        wanted = [answer.label for answer in models[model].predict(TEXTS)]
        read = [tuple(json.loads(cell)) if model == "multilabel" else pytest.approx(float(cell)) for cell in found]
        assert wanted == read


def test_lines_and_typed_texts_as_a_table(tmp_path: Path, run: Any) -> None:
    (tmp_path / "a.txt").write_text("the chef\tcooked, a meal\nit was\n")
    run("predict", "classifier", tmp_path / "a.txt", "--output", tmp_path / "out.jsonl")
    first, second = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["text"], first["text_pair"], second["text"]) == ("the chef", "cooked, a meal", "it was") and "text_pair" not in second
    for command, model in (("predict", "classifier"), ("embed", "discriminator"), ("score", "discriminator"), ("detect", "discriminator")):
        assert run(command, model, "the chef cooked", "--format", "csv").startswith("text,")
    assert "no file is given" in run("detect", "discriminator", "--text", "the chef", code=2)
    assert "parquet is not printed; give --output FILE.parquet" in run("predict", "classifier", tmp_path / "a.txt", "--format", "parquet", code=2)


@conforms(form="table without a table's suffix", where="predict", outcome="exact", section="tables")
def test_lines_that_look_like_a_table_are_warned_of(tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("id\ttext\n1\tthe chef\n")
    assert cli.main(["embed", str(checkpoints()["discriminator"]), str(tmp_path / "a.txt")]) == 0
    warning = "a.txt is read as a text per line, but its first looks like a table's header; give --input-format csv or tsv"
    assert warning in capsys.readouterr().err
    assert json.loads(run("predict", "classifier", tmp_path / "a.txt", "--input-format", "tsv", "--json"))["id"] == "1"
    assert "s3://x/a.csv is a URL; give an --output FOLDER for its answers, or copy it first" in run("predict", "classifier", "s3://x/a.csv", code=2)
    assert "s3://x/a.csv is a URL; texts are read from files of this machine" in run("score", "masked", "s3://x/a.csv", code=2)


@conforms(form="CR-only text file", where="predict", outcome="exact", section="tables")
def test_lines_end_in_three_ways(tmp_path: Path, run: Any) -> None:
    for name, end in (("n", "\n"), ("rn", "\r\n"), ("r", "\r")):
        (tmp_path / f"{name}.txt").write_bytes(end.join(["the chef", "", "cooked", ""]).encode())
        assert [line.split("\t")[2] for line in run("predict", "classifier", tmp_path / f"{name}.txt").split("\n")[:-1]] == ["the chef", "", "cooked"]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_compressed_text_files(suffix: str, tmp_path: Path, run: Any) -> None:
    import bz2
    import gzip
    import lzma

    zstandard = pytest.importorskip("zstandard")
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}[suffix]
    (tmp_path / f"a.txt.{suffix}").write_bytes(pack(b"the chef\ncooked\n"))
    assert [line.split("\t")[2] for line in run("predict", "classifier", tmp_path / f"a.txt.{suffix}").splitlines()] == ["the chef", "cooked"]


def test_lists_of_hypotheses_from_parquet(tmp_path: Path, run: Any) -> None:
    pandas.DataFrame({"id": [1], "nbest": [["the chef cooked", "the chef eight"]]}).to_parquet(tmp_path / "a.parquet")
    (row,) = (json.loads(line) for line in run("score", "discriminator", tmp_path / "a.parquet", "--nbest", "nbest").splitlines())
    assert row["id"] == 1 and {item["text"] for item in row["nbest"]} == {"the chef cooked", "the chef eight"}


@conforms(form="csv of unlabelled texts", where="finetune", outcome="exact", section="tables")
def test_unlabelled_texts_from_a_table(table: Path, tmp_path: Path) -> None:
    from electra.finetuning.distillation import read_unlabelled
    from electra.inference.text_io import TextColumns

    assert [example.text for example in read_unlabelled(table, TextColumns(text="review"), pairs=False)] == TEXTS
    pairs = read_unlabelled(table, TextColumns(text="review", pair="id"), pairs=True)
    assert [(example.text, example.text_pair) for example in pairs] == [(row["review"], row["id"]) for row in ROWS]
    with pytest.raises(UserError, match="line 2: 1 texts, the task reads 2"):
        read_unlabelled(table, TextColumns(text="review"), pairs=True)
    with pytest.raises(UserError, match="line 2: 2 texts, the task reads 1"):
        read_unlabelled(table, TextColumns(text="review", pair="id"), pairs=False)


# ---- columns of the model's training ----


def test_evaluate_and_compare_take_the_columns_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of pairs that is scored on a table without naming its columns is scored on the pairs."""
    rows = [{"a": "the chef", "b": word, "x": name, "text": "it", "label": "no"} for word, name in (("cooked", "y"), ("was", "n"), ("good", "y"))] * 4
    pandas.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    words = [
        "finetune",
        "own",
        "--model",
        str(checkpoints()["discriminator"]),
        "--train",
        str(tmp_path / "pairs.csv"),
        "--epochs",
        "2",
        "--label",
        "x",
    ]
    words += ["--dev", str(tmp_path / "pairs.csv"), "--text", "a", "--text-pair", "b", "--threads", "1", "--device", "cpu", "--max-length", "24"]
    assert cli.main([*words, "--output", str(tmp_path / "run")]) == 0
    assert columns_of(tmp_path / "run" / "best") == {"text": "a", "text_pair": "b", "label": "x", "label_separator": "|"}
    given = ["--text", "a", "--text-pair", "b", "--label", "x"]
    capsys.readouterr()
    found = []
    for columns in (given, []):
        common = ["evaluate", str(tmp_path / "run"), "--task", "own", "--data", str(tmp_path / "pairs.csv"), *columns]
        assert cli.main([*common, "--predictions", str(tmp_path / f"{len(columns)}.jsonl"), "--json"]) == 0
        found.append((json.loads(capsys.readouterr().out), (tmp_path / f"{len(columns)}.jsonl").read_text()))
    assert found[0] == found[1]
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "pairs.csv"), "--format", "jsonl"]) == 0
    assert [json.loads(line)["label"] for line in found[0][1].splitlines()] == [row["x"] for row in rows]
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["predicted_label"] for row in printed] == [json.loads(line)["prediction"] for line in found[0][1].splitlines()]


def test_given_columns_win_over_those_of_training() -> None:
    trained = record(None, 8) and {"text": "a", "text_pair": "b", "label_columns": ["x", "y"], "label_separator": ";"}
    settings = with_trained_columns(EvaluateSettings(model="m"), trained)
    assert (settings.text, settings.text_pair, settings.label_columns, settings.label_separator) == ("a", "b", ("x", "y"), ";")
    settings = with_trained_columns(EvaluateSettings(model="m", text="t", label="l"), trained)
    assert (settings.text, settings.text_pair, settings.label, settings.label_columns) == ("t", "b", "l", ())
    assert with_trained_columns(settings, None) == settings


@conforms(form="csv of calibration texts", where="build", outcome="exact", section="tables")
def test_calibration_texts_from_a_table(table: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(" ".join(text.split()) for text in TEXTS) + "\n")
    from electra.settings import BuildSettings

    settings: dict[str, Any] = {"model": str(checkpoints()["classifier"]), "target": "onnx-int8-static", "output": tmp_path / "out"}
    found = api._calibration_texts(BuildSettings(**settings, calibrate=str(table), text="review"))
    assert [" ".join(text.split()) for text in found] == (tmp_path / "a.txt").read_text().splitlines()
    with pytest.raises(UserError, match="no column 'text'"):
        api._calibration_texts(BuildSettings(**settings, calibrate=str(table)))

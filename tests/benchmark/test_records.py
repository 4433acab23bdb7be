"""Two environments in one table: another interpreter, a saved measurement, and what is refused."""

from __future__ import annotations

import csv
import json
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra import cli
from electra.benchmark import records
from electra.benchmark.records import as_plain, data_sha256, from_plain, read_all_saved, read_saved, row_from, saved_rows, sealed
from electra.contracts import Answer, Example, Head, Prediction, SpanCandidate, SpanPrediction
from electra.errors import UserError
from electra.tasks.registry import find_task

ROOT = Path(__file__).resolve().parents[2]
MODEL = "shipped:sentiment"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    words = ("a good film", "a bad film", "dull", "moving and funny")
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{words[i % 4]} number {i}\t{int(i % 4 in (0, 3))}\n" for i in range(12)))
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another environment with the packages of this one, but no torch."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "other", with_pip=False)
    (packages,) = (folder / "other").glob("lib/python*/site-packages")
    (packages / "all.pth").write_text(f"{ROOT}\nimport site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    (packages / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    return folder / "other" / "bin" / "python"


def argv(reviews: Path, *more: str) -> list[str]:
    return ["compare", MODEL, "--task", "sst2", "--data", str(reviews), "--calls", "10", "--threads", "1", *more]


@pytest.fixture(scope="module")
def saved(reviews: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --output writes of two environments."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("saved") / "two"
    assert cli.main(argv(reviews, "--python", str(other), "--output", str(folder))) == 0
    return folder


def test_the_task_is_that_of_the_models(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, config in (("cola", {"finetuning_task": "cola"}), ("bare", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    for models, message in (
        ([str(tmp_path / "broken")], "broken: config.json cannot be read (Expecting"),
        ([MODEL, str(tmp_path / "cola")], f"fine-tuned on different tasks ({MODEL}: sst2, {tmp_path / 'cola'}: cola); give --task TASK"),
        ([str(tmp_path / "bare"), MODEL], "bare does not say which task it was fine-tuned on; give --task TASK"),
    ):
        assert cli.main(["compare", *models, "--data", str(reviews)]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["compare", MODEL, "--data", str(reviews), "--calls", "3"]) == 2


# ---- another interpreter ----


def test_another_interpreter_is_measured_in_turns_and_named(saved: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((saved / "results.json").read_text())
    assert cli.main(["evaluate", MODEL, "--task", "sst2", "--data", str(reviews), "--json"]) == 0
    scores = {name: value for name, value in json.loads(capsys.readouterr().out).items() if name != "expected_calibration_error"}
    first, second = found["rows"]
    assert (first["environment"], second["environment"]) == ("A", "B") and first["scores"] == second["scores"] == pytest.approx(scores)
    assert second["agreement"] == 1.0 and second["largest_difference"] == 0.0 and second["latency"]["speedup"] > 0
    assert [len(run) for run in second["latency"]["turns_ms"]] == [10] and len(second["predictions"]) == 12
    a, b = found["environments"]
    assert b["machine"]["versions"]["python"] == a["machine"]["versions"]["python"] and a["reference"] == b["reference"] == MODEL
    assert b["machine"]["processor"] in b["summary"] and "onnxruntime" in b["summary"] and f"{b['machine']['cores']} cores" in b["summary"]
    assert str(reviews.parent) not in json.dumps(found["environments"])
    table = (saved / "table.md").read_text()
    assert f"| {MODEL} | B | onnx-int8 |" in table and "| processor |" in table and "The reference of B: shipped:sentiment [A]." in table
    with (saved / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["environment"] for row in rows] == ["A", "B"] and rows[1]["machine"] == b["summary"]
    assert float(rows[1]["latency_p50_ms"]) == second["latency"]["p50_ms"] and float(rows[1]["score"]) == second["score"]


def script(place: Path, text: str) -> Path:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return place


def test_interpreters_are_refused_in_one_line(
    tmp_path: Path, reviews: Path, other: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    answer = {"form": "x", "machine": {"versions": {"electra": "9.9"}}, "runtimes": []}
    (tmp_path / "file").write_text("")
    blocked = f'PYTHONPATH={ROOT} exec {sys.executable} -c "import sys; sys.modules[\'onnxruntime\'] = None; sys.argv.pop(1); exec(sys.argv[1])" "$@"'
    cases = {
        str(tmp_path / "nowhere" / "python"): "not found; expected the interpreter",
        str(tmp_path / "file"): "is not executable",
        str(other.parent.parent): f"is a folder; expected the interpreter of another environment, such as OTHER/bin/python; give {other}",
        str(script(tmp_path / "nothing", "exit 0")): "is not a Python interpreter",
        str(script(tmp_path / "bare", f'exec {sys.executable} -S -E "$@"')): "it has no electra; install this version there",
        str(script(tmp_path / "newer", f"echo python 3.12.1; echo '{json.dumps(answer)}'")): "its electra 9.9 does not work with this one",
        str(script(tmp_path / "older", "echo python 3.12.1; echo 'ImportError: describe' >&2; exit 1")): "(ImportError: describe)",
        str(script(tmp_path / "no-runtime", blocked)): "it has no onnxruntime, which runs shipped:sentiment (onnx-int8); install it there",
    }
    for python, message in cases.items():
        assert cli.main(argv(reviews, "--python", python, "--output", str(tmp_path / "out"))) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith(f"electra: --python {python}") and error.count("\n") == 1, error
        assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_left_out_where_there_is_no_torch(other: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "shipped:mini", "--task", "sst2", "--data", str(reviews), "--python", str(other)]) == 2
    assert "there is no torch in that environment; install its extra 'train' there" in capsys.readouterr().err


# ---- saved measurements ----


def test_saved_rows_join_the_table_and_are_scored_by_the_same_rules(saved: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv(reviews, "--add", str(saved), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    before = json.loads((saved / "results.json").read_text())
    assert [row["environment"] for row in found["rows"]] == ["A", "B", "C"] == [one["name"] for one in found["environments"]]
    for row, old in zip(found["rows"][1:], before["rows"], strict=True):
        assert row["latency"] == old["latency"] and row["score_interval"] == old["score_interval"] == found["rows"][0]["score_interval"]
        assert row["drop"] == 0.0 and row["drop_interval"] == [0.0, 0.0] and row["agreement"] == 1.0 and row["largest_difference"] is None
    assert found["environments"][1]["date"] == before["date"]


def changed(values: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    return sealed({k: v for k, v in values.items() if k != "sha256"} | other)


def test_other_saved_measurements_are_refused(saved: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (saved / "results.json").read_text()
    values = json.loads(good)
    files = {
        "cut": (good[: len(good) // 2], "damaged or not JSON"),
        "touched": (good.replace('"calls": 10', '"calls": 20', 1), "its content does not have the sha256 it was saved with"),
        "table": ((saved / "table.md").read_text(), "damaged or not JSON"),
        "other": ('{"rows": []}', "not a measurement of this version"),
        "newer": (json.dumps(values | {"version": 2}), "has version 2, this electra reads 1"),
        "list": ("[1]", "not a measurement"),
        "rows": (json.dumps(changed(values, rows=None)), "has no usable 'rows'"),
        "bare": (json.dumps(changed(values, rows=[{"name": "x"}])), "its environments or rows are not as this electra writes them"),
        "machines": (json.dumps(changed(values, environments=[{"name": "A"}])), "its environments or rows are not as this electra writes them"),
    }
    for name, (text, message) in files.items():
        (tmp_path / name).write_text(text)
        assert cli.main(argv(reviews, "--add", str(tmp_path / name))) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith(f"electra: --add {tmp_path / name}: ") and error.count("\n") == 1, error
    for place, message in (
        (tmp_path / "none.json", "not found"),
        (MODEL, "an artifact without a kept measurement"),
        (tmp_path, "has no results.json"),
    ):
        with pytest.raises(UserError, match=message):
            read_all_saved([Path(place)], 1)
    twice = ["--add", str(saved), "--add", str(saved / "results.json")]
    assert cli.main(argv(reviews, *twice)) == 2 and "the same measurement is given twice" in capsys.readouterr().err


def test_saved_measurements_of_other_texts_models_or_plans_are_refused(saved: Path, reviews: Path, tmp_path: Path) -> None:
    task = find_task("sst2")
    examples, head = task.read(reviews, "dev"), Head(kind="classification", labels=("0", "1"))
    values = read_saved(saved) | {"place": "there.json"}
    models = {MODEL: values["rows"][0]["model_sha256"]}
    facts: dict[str, Any] = {"task": task, "head": head, "examples": examples, "calls": 10, "seed": 1, "models": models}
    facts["padded_length"] = values["rows"][0]["padded_length"]
    assert [row.to_dict(calls=True) for row in saved_rows(values, **facts)] == [row_from(row).to_dict(calls=True) for row in values["rows"]]
    rows = [dict(row, predictions=[*row["predictions"][:-1], "0"]) for row in values["rows"]]
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"task": find_task("cola")}, "task sst2, this command with cola"),
        ({}, {"examples": examples[:-1]}, "--num-examples 12, this command with 11"),
        ({}, {"calls": 200}, "--calls 10, this command with 200"),
        ({}, {"seed": 2}, "--seed 1, this command with 2"),
        ({}, {"examples": [*examples[:-1], examples[0]]}, "other data"),
        ({}, {"models": {"mine": "0" * 64}}, "is another model .sha256 of its weights [0-9a-f]{8}; here mine 00000000"),
        ({}, {"padded_length": 64}, "padded to 128 tokens there, 64 here"),
        ({"rows": rows}, {}, "was scored by other rules"),
        ({"rows": [dict(values["rows"][0], predictions=[{}] * 12)]}, {}, "was scored by other rules"),
        ({"rows": [dict(values["rows"][0], speed=1)]}, {}, "is not as this electra writes it"),
    ]
    for there, here, message in cases:
        with pytest.raises(UserError, match=message):
            saved_rows(values | there, **facts | here)


def test_answers_of_every_kind_come_back_as_scores_need_them() -> None:
    kinds: list[tuple[str, Any]] = [("classification", "b"), ("regression", 0.25), ("multilabel", ("a", "b")), ("tagging", ("O", "B-X"))]
    for kind, label in kinds:
        assert from_plain(json.loads(json.dumps(as_plain(Prediction(label=label)))), Head(kind=kind)).label == label
    assert json.dumps(as_plain(Prediction(label=np.float64(0.5)))) == "0.5"
    best = SpanCandidate(text="in May", start=3, end=9, score=0.5, start_logit=1.0, end_logit=2.0)
    question = Example(id="1", text="when?", text_pair="It was in May.", answers=(Answer(text="May", start=10),))
    span = SpanPrediction(label="", candidates=(best,), null_odds=1.5)
    back = from_plain(json.loads(json.dumps(as_plain(span))), Head(kind="span"))
    assert find_task("squad2").score([question], [back], Head(kind="span")) == find_task("squad2").score([question], [span], Head(kind="span"))
    other: Callable[..., str] = lambda **more: data_sha256([question, Example(id="2", **{"text": "x", "label": "1"} | more)])  # noqa: E731
    assert len({other(), other(text="y"), other(label="0"), other(text_pair="z"), other(words=("x",))}) == 5 and other() == other(task="t")


def test_environments_beyond_z_have_names() -> None:
    names = [name for name, _ in zip(records.letters(), range(60), strict=False)]
    assert names[:3] == ["A", "B", "C"] and names[26] == "A2" and len(set(names)) == 60

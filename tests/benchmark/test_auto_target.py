"""electra build --target auto: what cannot be built is named with its reason, the rest is measured, the fastest within the drop is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import checkpoints

from electra.benchmark import auto_target
from electra.benchmark.records import Latency, Row
from electra.cli import main
from electra.contracts import Example, Task
from electra.errors import UserError
from electra.exporting.targets import TARGETS
from electra.inference.artifact import open_artifact, read_manifest
from electra.inference.predictor import load
from electra.settings import EvaluateSettings

TABLE = "review,stars\nthe film was good,positive\nthe chef ate,neutral\nit was boring,negative\nthe old city,neutral\n"
COMMON = "--task own --text review --label stars"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "dev.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    code = main(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


CASES = [
    ("auto --output {out}", "give --task TASK and --data DIR"),
    ("auto --task sst2 --data {none} --output {out}", "not found"),
    ("auto --task sst3 --data {table} --output {out}", "did you mean"),
    ("auto {own} --max-drop -1 --output {out}", "--max-drop -1: expected at least 0 and at most 100"),
    ("auto {own} --calls 1 --output {out}", "--calls 1: expected at least 10"),
    ("auto {own} --skip onx --output {out}", "--skip onx: unknown target; did you mean 'onnx'?"),
    ("auto {own} --output {table}", "already exists"),
    ("auto {own} --calibrate {none} --output {out}", "none"),
    ("openvino {own} --output {out}", "is for --target auto"),
    ("openvino --max-drop 1 --output {out}", "is for --target auto, target openvino is not measured"),
    ("openvino --calibrate {table} --output {out}", "target openvino needs no texts"),
    ("openvino-int8 --output {out}", "is calibrated on texts: give --calibrate FILE"),
    ("torch-export --output {out}", "target 'torch-export' was removed"),
    ("openvinno --output {out}", "did you mean 'openvino'?"),
]


@pytest.mark.parametrize(("line", "message"), CASES, ids=[message for _, message in CASES])
def test_bad_input_is_one_line(line: str, message: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"out": tmp_path / "out", "none": tmp_path / "none", "table": table, "own": f"{COMMON} --data {table}"}
    code, _, error = run(capsys, f"build {checkpoints()['classifier']} --target " + line.format(**words))
    assert code == 2 and error.startswith("electra: ") and error.count("\n") == 1 and message in error, error
    assert not (tmp_path / "out").exists() and table.read_text(encoding="utf-8") == TABLE


def test_pretrained_models_have_no_task(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, f"build {checkpoints()['lone']} --target auto {COMMON} --data {table} --output {tmp_path / 'out'}")
    assert code == 2 and "fine-tune it first" in error and error.count("\n") == 1


def rows_for(entries: list[object]) -> list[Row]:
    """A made-up measurement: the later in the table of targets, the faster; bf16 loses too much."""
    out = []
    for number, entry in enumerate(entries):
        name = entry.name  # type: ignore[attr-defined]
        latency = Latency(p50_ms=10.0 - number, p90_ms=20.0, p99_ms=30.0, num_calls=10)
        drop = None if name == auto_target.REFERENCE else 0.02 if name == "openvino-bf16" else 0.001
        out.append(Row(name=name, source=entry.source, metric="accuracy", score=0.9, latency=latency, drop=drop))  # type: ignore[attr-defined]
    return out


def test_fastest_within_the_drop_is_kept_with_the_table(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(auto_target, "measure_candidates", lambda entries, *_: rows_for(entries))
    out = tmp_path / "best.zip"
    line = f"build {checkpoints()['classifier']} --target auto {COMMON} --data {table} --skip onnx-fp16 --output {out}"
    code, output, _ = run(capsys, line)
    assert code == 0
    names = [name for name in TARGETS if name != "onnx-fp16"]
    dropped = dict(part.strip().split(maxsplit=1) for part in output.splitlines()[:-1])
    assert {*dropped, "openvino"} == {*TARGETS}
    assert dropped["onnx-fp16"] == "skipped by --skip"
    assert "loses 2.00 points" in dropped["openvino-bf16"] or "bfloat16" in dropped["openvino-bf16"]
    assert dropped["openvino-int8"] == auto_target.NO_TEXTS and dropped["onnx"].startswith("slower: ")
    manifest = read_manifest(out)
    assert manifest["target"] == "openvino" and manifest["build"]["selection"]["dropped"] == dropped
    assert [row["name"] for row in manifest["measured"]] == [
        auto_target.REFERENCE,
        *[name for name in names if name in ("onnx", "onnx-int8", "openvino")],
        *[name for name in ("openvino-bf16",) if "loses" in dropped[name]],
    ]
    assert str(tmp_path) not in json.dumps(manifest)
    open_artifact(out)  # every hash fits
    mine, theirs = (load(source, threads=1).predict(["the film was good", "the chef ate"]) for source in (out, checkpoints()["classifier"]))
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose([*one.probabilities.values()], [*other.probabilities.values()], rtol=0, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nothing_within_the_drop_leaves_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(auto_target, "build_all", lambda *_, **__: {name: "not today" for name in TARGETS})
    monkeypatch.setattr(auto_target, "measure_candidates", lambda entries, *_: rows_for(entries))
    code, _, error = run(capsys, f"build {checkpoints()['classifier']} --target auto {COMMON} --data {table} --output {tmp_path / 'out'}")
    assert code == 2 and "no target is within --max-drop 0.5: onnx: not today" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.csv"]


def test_scales_are_never_found_on_what_is_measured(tmp_path: Path) -> None:

    for split, label in (("train", 0), ("dev", 1)):
        (tmp_path / f"{split}.tsv").write_text(f"sentence\tlabel\na {split} text\t{label}\n", encoding="utf-8")
    settings = EvaluateSettings(model="x", task="sst2", data=(str(tmp_path),))
    assert auto_target.training_texts(settings) == ["a train text"]
    assert auto_target.training_texts(EvaluateSettings(model="x", task="sst2", data=(str(tmp_path),), split="train")) == []
    (tmp_path / "train.tsv").unlink()
    assert auto_target.training_texts(settings) == []


@pytest.mark.parametrize("place", ["hub", "nyu-mll/glue"])
def test_a_data_set_of_the_hub_has_texts_for_scales(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, str]] = []

    def read(task: Task, folder: Path, split: str) -> list[Example]:
        asked.append((folder, split))
        return [Example(id="0", text="a film", label="1")]

    monkeypatch.setattr(auto_target, "read_labelled", read)
    assert auto_target.training_texts(EvaluateSettings(model="x", task="sst2", data=(place,))) == ["a film"]
    assert asked == [(Path(place), "train")]


def test_left_out_targets_do_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def build(source: str, name: str, output: Path, **_: object) -> None:
        done.append(name)
        if name == "onnx-int8":
            raise UserError("it broke")

    monkeypatch.setattr(auto_target, "build_artifact", build)
    found = auto_target.build_all(EvaluateSettings(model="x"), tmp_path, texts=["a"], skip=["openvino"])
    assert found["onnx-int8"] == "it broke" and found["openvino"] == "skipped by --skip"
    assert {"onnx", "onnx-fp16", "onnx-int8-static"} <= set(done) and "openvino" not in done

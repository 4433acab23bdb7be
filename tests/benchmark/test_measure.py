"""electra compare: one method for every candidate, every kind of head, and what happens to one that fails."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_models import make, write_data
from tiny_models import checkpoints

from electra import cli, environment
from electra.benchmark import measure
from electra.benchmark.measure import CandidateSpec, MeasurementPlan, measure_candidates, unique_names
from electra.benchmark.records import Row, read_saved
from electra.benchmark.results import Comparison, draw, to_markdown
from electra.benchmark.worker import Answered, CandidateModel, Worker, WorkerFailed, filled, open_electra
from electra.contracts import Example, Features, Head, Prediction
from electra.inference.artifact import read_manifest
from electra.settings import EvaluateSettings
from electra.tasks import significance
from electra.tasks.evaluate import named_task, read_labelled, resolved_task

LABELS = ("negative", "neutral", "positive")


def _predictions(labels: Sequence[Any]) -> list[Prediction]:
    return [Prediction(label=label) for label in labels]


def test_padding_comes_last_and_is_never_answered() -> None:
    plain = Features(
        ids=[2, 7, 3], segments=[0, 0, 0], example=0, word_ids=[-1, 0, -1], has_most_context=[True] * 3, offsets=[(-1, -1), (0, 2), (-1, -1)]
    )
    found = filled(plain, 5, 0)
    assert found.ids == [2, 7, 3, 0, 0] and found.segments == [0] * 5 and found.word_ids == [-1, 0, -1, -1, -1]
    assert found.has_most_context == [True] * 3 + [False] * 2 and np.asarray(found.offsets).tolist()[3:] == [[-1, -1]] * 2
    assert filled(plain, 3, 0) is plain


# ---- the machine ----


def test_names_are_as_short_as_they_can_be() -> None:
    assert unique_names(["/a/runs/x/best", "/a/runs/y/best", "int8.zip", "int8.zip"]) == ["x/best", "y/best", "int8.zip", "int8.zip (2)"]


# ---- processes ----


class Sleeper:
    """A candidate that takes its time and knows one answer."""

    head, max_length = Head(kind="classification", labels=("0", "1")), 64

    def __init__(self, milliseconds: float, behaviour: str = "") -> None:
        self.milliseconds, self.behaviour = milliseconds, behaviour

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        assert all(example.label is None for example in examples)
        if self.behaviour == "raises" and padded_length:
            raise RuntimeError("no such\nkernel")
        if self.behaviour == "dies" and padded_length:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.milliseconds * (2 if padded_length else 1) / 1000 * -(-len(examples) // batch_size))
        return _predictions(["torch" if "torch" in sys.modules else "1"] * len(examples))

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        return Answered(
            predictions=self.predict(examples, batch_size), outputs=[np.array([0.0, self.milliseconds])] * len(examples), inputs_digest="same"
        )


def open_sleeper(milliseconds: float, behaviour: str, threads: int) -> Sleeper:
    assert os.environ["OMP_NUM_THREADS"] == str(threads) == "1" and len(os.sched_getaffinity(0)) == 1
    if behaviour == "never opens":
        raise ValueError("bad weights")
    return Sleeper(milliseconds, behaviour)


def open_without_torch(source: str, settings: EvaluateSettings, device: str, threads: int) -> CandidateModel:
    """Whatever imports it fails, now and later."""
    assert "torch" not in sys.modules
    sys.modules.update(dict.fromkeys(("torch", "sklearn", "scipy")))  # type: ignore[arg-type]
    return open_electra(source, settings, device, threads)


def hang(threads: int) -> Sleeper:
    time.sleep(60)
    raise AssertionError


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SST-2's layout; four of five are '1'."""
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"a good film number {i}\t{int(i % 5 > 0)}\n" for i in range(20)))
    return folder


def test_one_method_for_all_and_a_failure_is_a_row(reviews: Path) -> None:
    wanted = {"first": (8.0, ""), "faster": (4.0, ""), "raises": (2.0, "raises"), "dies": (2.0, "dies"), "closed": (2.0, "never opens")}
    candidates = [CandidateSpec(name=name, source=name, kind="k", opener=open_sleeper, arguments=arguments) for name, arguments in wanted.items()]
    rows = measure_candidates(candidates, EvaluateSettings(model="", task="sst2", data=(str(reviews),)), MeasurementPlan(calls=30, threads=1))
    assert [row.name for row in rows] == list(wanted)
    first, faster, raises, dies, closed = rows
    for row in (first, faster):
        assert row.error is None and row.scores == {"accuracy": 0.8} and row.num_examples == 20 and row.score_interval == significance.wilson(16, 20)
        assert row.latency is not None and row.padded is not None and row.latency.num_calls == 30 and row.padded_length == 64
        assert row.peak_memory_bytes is not None and row.peak_memory_bytes > 10_000_000
        assert row.load_seconds is not None and list(row.throughput) == [1, 8, 32]
        # Twenty texts: twenty calls alone, three of up to eight, one of 32.
        assert row.throughput[1].texts_per_second < row.throughput[8].texts_per_second < row.throughput[32].texts_per_second
    assert first.latency is not None and 8 <= first.latency.p50_ms < 80 and first.agreement is None and first.latency.speedup is None
    assert faster.agreement == 1.0 and faster.largest_difference == 4.0 and faster.drop == 0.0 and faster.drop_interval == (0.0, 0.0)
    assert faster.latency is not None and faster.latency.speedup is not None and 1.2 < faster.latency.speedup < 3.0
    assert raises.error == "RuntimeError: no such kernel" and raises.latency is not None and raises.padded is None and raises.score == 0.8
    assert dies.error is not None and "ended by SIGKILL" in dies.error and dies.latency is not None and dies.score == 0.8
    assert closed.error == "ValueError: bad weights" and closed.score is None and closed.latency is None
    found = Comparison(task="sst2", split="dev", num_examples=20, calls=30, threads=1, machine=environment.describe(), rows=rows)
    table = to_markdown(found)
    assert "| faster | k | 80.00 | 58.4 .. 91.9 | +0.00 (=) | 100.00% | 4 |" in table and "- closed: **failed**: ValueError: bad weights" in table
    assert json.loads(json.dumps(found.to_dict()))["rows"][1]["latency"]["turns_ms"][2][9] > 3


def test_one_that_hangs_is_given_up() -> None:
    worker = Worker(hang, (), environment.choose_cores(1), timeout_seconds=3.0)
    with pytest.raises(WorkerFailed, match="no answer within 3 s"):
        worker.ask("open")
    worker.close()


def test_an_end_while_it_works_leaves_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(open_sleeper, (1.0, ""), environment.choose_cores(1))
    worker._connection.send(("open",))
    worker.close()
    assert capfd.readouterr().err == ""


def test_nothing_but_failures_is_still_a_table(reviews: Path, tmp_path: Path) -> None:
    candidate = CandidateSpec(name="closed", source="s", kind="k", opener=open_sleeper, arguments=(1.0, "never opens"))
    rows = measure_candidates([candidate], EvaluateSettings(model="", task="sst2", data=(str(reviews),)), MeasurementPlan(calls=10, threads=1))
    assert rows == [Row(name="closed", source="s", kind="k", error="ValueError: bad weights")]
    found = Comparison(task="sst2", split="dev", num_examples=0, calls=10, threads=1, machine={}, rows=rows)
    assert "failed" in to_markdown(found)
    if importlib.util.find_spec("matplotlib") is not None:
        draw(found, tmp_path / "compare.png")
        assert (tmp_path / "compare.png").stat().st_size > 1000


# ---- every kind of head ----


@pytest.mark.parametrize(
    ("name", "task"), [("regression", "own"), ("multilabel", "own"), ("tagging", "tagging"), ("span", "squad"), ("joint", "squad2")]
)
def test_every_head_answers_as_evaluate_does_and_padded(name: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: what a worker's requests do."""
    pytest.importorskip("torch")
    source, data = make(name, tmp_path / "model"), write_data(name, tmp_path / "data")
    assert cli.main(["evaluate", str(source), "--task", task, "--data", str(data), "--json"]) == 0
    expected = {name: value for name, value in json.loads(capsys.readouterr().out).items() if name != "expected_calibration_error"}
    settings = EvaluateSettings(model="", task=task, data=(str(data),))
    ours = open_electra(str(source), settings, "cpu", 0)
    known, _ = resolved_task(named_task(settings), settings, ours.head)
    examples = read_labelled(known, data, "dev")
    questions = [dataclasses.replace(example, label=None, answers=None) for example in examples]
    examined = ours.examine(questions, 7)
    if name != "regression":
        assert [answer.label for answer in ours.predict(questions, 3)] == [answer.label for answer in examined.predictions]
    (scored, again) = measure.score(known, ours.head, examples, [examined.predictions, examined.predictions])
    assert scored.scores == pytest.approx(expected) and again.drop_interval == (0.0, 0.0)
    assert scored.interval[0] <= scored.scores[known.main_metric] <= scored.interval[1]
    assert measure.agreement(ours.head, examples, examined.predictions, examined.predictions) == 1.0
    assert measure.largest_difference(examined, ours.head, examined, ours.head) == 0.0
    padded = ours.predict(questions[:6], 1, 64)
    assert len(padded) == 6
    for example, prediction in zip(examples, padded, strict=False):
        # Padding is never answered for: a tag for each word, an answer out of the context.
        if name == "tagging":
            assert example.words is not None and isinstance(prediction.label, tuple) and len(prediction.label) == len(example.words)
        elif example.text_pair is not None:
            assert str(prediction.label) in example.text_pair


# ---- the command ----


def test_compare_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(4)
    words = "the chef cooked a meal and it was good again".split()
    lines = [f"{' '.join(rng.choice(words, size=1 + i % 12))},{LABELS[int(rng.integers(3))]}" for i in range(40)]
    (tmp_path / "new.csv").write_text("\n".join(["review,stars", *lines]) + "\n")
    own = ["--task", "own", "--data", str(tmp_path / "new.csv"), "--text", "review", "--label", "stars"]
    model, built, other = str(checkpoints()["classifier"]), str(tmp_path / "built.zip"), str(checkpoints()["discriminator"])
    assert cli.main(["build", model, "--target", "onnx", "--output", built]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", model, *own, "--json"]) == 0
    expected = {name: value for name, value in json.loads(capsys.readouterr().out).items() if name != "expected_calibration_error"}
    argv = ["compare", model, built, other, *own, "--calls", "10", "--threads", "1", "--output", str(tmp_path / "out"), "--json", "--keep"]
    assert cli.main(argv) == 1
    first, second, failed = json.loads(capsys.readouterr().out)["rows"]
    assert first["scores"] == pytest.approx(expected) == second["scores"]
    assert second["agreement"] == 1.0 and second["largest_difference"] < 1e-4 and second["drop"] == 0.0
    assert (first["kind"], second["kind"]) == ("checkpoint", "onnx") and second["build_seconds"] > 0 and second["peak_memory_bytes"] > 10_000_000
    assert first["size_bytes"] == sum(file.stat().st_size for file in Path(model).iterdir()) and first["padded_length"] == 64
    assert "no task head" in failed["error"] and failed["score"] is None
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (
        [row["name"] for row in saved["rows"]] == ["classifier", "built.zip", "discriminator"]
        and saved["num_examples"] == 40
        and saved["threads"] == 1
    )
    assert "instruction_set" in saved["machine"] and saved["machine"]["versions"]["torch"]
    assert (tmp_path / "out" / "table.md").read_text().startswith("# own: 3 candidates")
    assert (tmp_path / "out" / "compare.png").read_bytes()[:4] == b"\x89PNG"
    kept = read_manifest(built)["measured"]
    assert [row["source"] for row in kept] == ["classifier", "built.zip", "discriminator"] and kept[1]["score"] == second["score"]
    assert [row["score"] for row in read_saved(Path(built))["rows"]] == [row["score"] for row in saved["rows"]]
    settings = EvaluateSettings(model="", task="own", data=(str(tmp_path / "new.csv"),), text="review", label="stars")
    candidate = CandidateSpec(name="built", source=built, kind="onnx", opener=open_without_torch, arguments=(built, settings, "auto"))
    (row,) = measure_candidates([candidate], settings, MeasurementPlan(calls=10, threads=1))
    assert row.error is None and row.scores == pytest.approx(expected) and row.latency is not None


def test_the_extra_runtime_measures_and_draws(reviews: Path, tmp_path: Path) -> None:
    """In a process in which importing torch, scipy or scikit-learn fails."""
    pytest.importorskip("matplotlib")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "kind": "train"}\n{"step": 2, "loss": 1.0, "kind": "train"}\n')
    chart = tmp_path / "chart.svg"
    argv = ["compare", "shipped:sentiment", "--task", "sst2", "--data", str(reviews), "--calls", "10", "--threads", "1", "--chart", str(chart)]
    code = "import json, sys\nsys.modules.update(dict.fromkeys(['torch', 'sklearn', 'scipy']))\nfrom electra.cli import main\n"
    code += "sys.exit(max(map(main, json.loads(sys.argv[1]))))"
    argvs = json.dumps([argv, ["plot", str(tmp_path / "run")]])
    done = subprocess.run([sys.executable, "-c", code, argvs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert chart.read_text().startswith("<?xml") and (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--calls", "3"], "--calls 3: expected at least 10"),
        (["--threads", "999"], "--threads 999: this machine has"),
        (["--num-examples", "-1"], "--num-examples -1: expected at least 0"),
        (["--split", "train"], "train.tsv"),
        (["--task", "sst3"], "did you mean 'sst2'"),
        (["--output", "{reviews}"], "already exists"),
        (["--keep"], "none of the models is an artifact of yours"),
        (["--chart", "/dev/null/chart.png"], "cannot write /dev/null/chart.png"),
        (["--chart", "chart.jpg"], "--chart chart.jpg: expected a file that ends in .png, .svg, .pdf"),
        (["--chart", "s3://charts/a.png"], "not a URL"),
        (["--output", "s3://tables/a"], "not a URL"),
        (["--data", "/nowhere/at/all"], "not found"),
    ],
)
def test_mistakes_are_one_line_errors(more: list[str], message: str, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "nowhere", "--task", "sst2", "--data", str(reviews), *(word.format(reviews=reviews) for word in more)]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("electra: ") and error.count("\n") == 1

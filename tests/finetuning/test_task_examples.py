"""A task's examples through `Network`: the numbers that the evaluation in training computes, for every kind of head, and without torch in `tasks`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from task_models import HEADS, WORDS, examples, make, write_data
from tiny_models import checkpoints

from electra import cli
from electra.contracts import Head
from electra.cpu_kernels import onednn_matmuls
from electra.errors import UserError
from electra.inference.predictor import open_fine_tuned
from electra.settings import LoopSettings
from electra.tasks.registry import find_task

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", HEADS)
def test_answers_are_those_of_trainings_evaluation(name: str, tmp_path: Path) -> None:
    from electra.finetuning.trainer import compute_outputs
    from electra.model.huggingface import load_checkpoint

    head, task_name, _ = HEADS[name]
    source = make(name, tmp_path / "model")
    opened = open_fine_tuned(str(source), device="cpu")
    assert (opened.head.kind, opened.head.labels) == (head.kind, head.labels)
    model = opened.for_task(find_task(task_name), head)
    questions = examples(model.task)
    features = model.featurize(questions)
    assert max(len(feature.ids) for feature in features) <= 40
    network = load_checkpoint(source, "task").module
    with onednn_matmuls(torch.device("cpu")):
        theirs = compute_outputs(network, features, head, LoopSettings(batch_size=7), torch.device("cpu"))  # type: ignore[arg-type]
    ours = model.outputs(features, 7)
    assert len(ours) == len(theirs) and all(one.dtype == np.float32 for one in ours)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    wanted = model.task.decode(theirs, features, questions, head)
    assert model.answer_features(questions, features, 7) == wanted
    # In chunks of other batches only the last digits differ.
    assert [p.label for p in model.answer(questions, 7)] == [
        pytest.approx(p.label, abs=1e-5) if head.kind == "regression" else p.label for p in wanted
    ]


def test_another_kind_and_other_labels_are_refused(tmp_path: Path) -> None:
    opened = open_fine_tuned(str(make("classification", tmp_path / "model")), device="cpu")
    opened.for_task(find_task("sst2"), Head(kind="classification", labels=("0", "1")))  # another order means the same labels
    with pytest.raises(UserError, match="is made for classification, squad asks for span"):
        opened.for_task(find_task("squad"), Head(kind="span"))
    with pytest.raises(UserError, match="answers with 1, 0, mnli with"):
        opened.for_task(find_task("mnli"), find_task("mnli").head([]))
    with pytest.raises(UserError, match="no task head"):
        open_fine_tuned(str(checkpoints()["discriminator"]))


def test_a_classifier_tags_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dev.txt").write_text("the O\nchef B-X\n\n")
    source = make("classification", tmp_path / "model")
    assert cli.main(["evaluate", str(source), "--task", "tagging", "--data", str(tmp_path / "dev.txt")]) == 2
    assert "is made for classification, tagging asks for tagging" in capsys.readouterr().err


def without(packages: Sequence[str], argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command in a process in which importing any of `packages` fails."""
    code = f"import sys\nsys.modules.update(dict.fromkeys({list(packages)!r}))\nfrom electra.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["classification", "tagging", "joint"])
def test_an_artifact_is_evaluated_without_torch_scikit_learn_and_scipy(name: str, tmp_path: Path) -> None:
    pytest.importorskip("electra.commands.deploy")
    source, task = make(name, tmp_path / "model"), HEADS[name][1]
    assert cli.main(["build", str(source), "--target", "onnx", "--output", str(tmp_path / "built.zip")]) == 0
    data = write_data(name, tmp_path / "data")
    more = ["--task", task, "--data", str(data), "--json"]
    done = without(
        ["torch", "sklearn", "scipy", "matplotlib"], ["evaluate", str(tmp_path / "built.zip"), *more, "--predictions", str(tmp_path / "p")]
    )
    assert done.returncode == 0, done.stderr
    plain = without([], ["evaluate", str(source), *more, "--predictions", str(tmp_path / "q")])
    assert json.loads(done.stdout) == pytest.approx(json.loads(plain.stdout))
    ours, theirs = ([json.loads(line) for line in (tmp_path / file).read_text().splitlines()] for file in "pq")
    assert [row["prediction"] for row in ours] == [row["prediction"] for row in theirs]


def test_a_report_without_matplotlib_has_no_pictures(tmp_path: Path) -> None:
    source = make("classification", tmp_path / "model")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{WORDS[i % 9]} film\t{i % 2}\n" for i in range(20)))
    argv = ["evaluate", str(source), "--task", "sst2", "--data", str(tmp_path), "--report", str(tmp_path / "report")]
    done = without(["sklearn", "scipy", "matplotlib"], argv)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.json", "report.md"]
    assert "confusion.png" not in (tmp_path / "report" / "report.md").read_text()

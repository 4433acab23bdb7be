"""What version 0.1 wrote is read by this version, with the same answers: shards, runs, an interrupted run, fine-tuned models, artifacts.

tests/fixtures/make_v0_1.py made the files and documents how. Only the command line and the public API are used here. All texts are shorter than
the models were trained on, so how long texts are read does not matter.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import electra
from electra.cli import main

FIXTURES = Path(__file__).parent / "fixtures" / "v0.1"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
TOLERANCES = {"int8": 1e-2, "bf16": 1e-2, "fp16": 1e-3}
"""By what is in the name of an artifact; without any of these 1e-4."""
PLACES = sorted(
    str(path.relative_to(FIXTURES))
    for path in (*FIXTURES.glob("runs/*"), *FIXTURES.glob("artefacts/*"), FIXTURES / "shards", FIXTURES / "vocab")
    if path.name not in ("search", "suite", "torch-export")
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(FIXTURES, tmp_path_factory.mktemp("fixtures") / "v0.1"))


@pytest.fixture(autouse=True)
def place(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands' paths are relative to the folder of the fixtures."""
    monkeypatch.chdir(copy)
    monkeypatch.setenv("ELECTRA_CACHE", str(copy.parent / "cache"))
    return copy


def tolerance(name: str) -> float:
    return next((value for mark, value in TOLERANCES.items() if mark in name), 1e-4)


def differences(found: Any, wanted: Any, allowed: float, where: str = "") -> list[str]:
    """Where an answer differs from the recorded one; new keys in an answer are not a difference."""
    if isinstance(wanted, dict):
        left_out = set()
        if allowed > 1e-4 and "probabilities" in wanted:
            first, second = sorted(wanted["probabilities"].values(), reverse=True)[:2]
            left_out = {"label"} if first - second < 2 * allowed else set()
        if not isinstance(found, dict) or wanted.keys() - found.keys():
            return [f"{where}: {found!r}, recorded {wanted!r}"]
        return [line for key in wanted.keys() - left_out for line in differences(found[key], wanted[key], allowed, f"{where}.{key}")]
    if isinstance(wanted, list):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            return [f"{where}: {found!r}, recorded {wanted!r}"]
        return [line for i, pair in enumerate(zip(found, wanted, strict=True)) for line in differences(*pair, allowed, f"{where}[{i}]")]
    if isinstance(wanted, float) and isinstance(found, int | float):
        return [] if found == pytest.approx(wanted, abs=allowed, rel=allowed) else [f"{where}: {found!r}, recorded {wanted!r}"]
    return [] if found == wanted else [f"{where}: {found!r}, recorded {wanted!r}"]


def needed(name: str) -> None:
    if "openvino" in name:
        pytest.importorskip("openvino")
        from electra.inference.runtimes import cpu_abilities

        if "bf16" in name and "BF16" not in cpu_abilities():
            pytest.skip("this processor has no bfloat16 arithmetic")
    elif "artefacts/" in name:
        pytest.importorskip("onnxruntime")


# The metrics of pre-training are those of each run's last evaluation: version 0.1's `evaluate` masked 15%, whatever the run did.
@pytest.mark.parametrize("command", EXPECTED["commands"])
def test_commands_answer_as_recorded(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed(command)
    code = main(command.split())
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert differences(found, EXPECTED["commands"][command], tolerance(command)) == []


@pytest.mark.parametrize("model", EXPECTED["fill"])
def test_masks_are_filled_as_recorded(model: str) -> None:
    needed(model)
    found = electra.pipeline("fill-mask", model=model)(["the chef walked to the [MASK] .", "the [MASK] was good"], top_k=3)
    assert differences(found, EXPECTED["fill"][model], 1e-4) == []


def test_load_answers_as_the_commands() -> None:
    texts = Path("inputs/plain.txt").read_text(encoding="utf-8").splitlines()
    detector = electra.load("runs/electra")
    assert differences(detector.embed(texts).tolist(), EXPECTED["commands"]["embed runs/electra inputs/plain.txt --json"], 1e-4) == []
    wanted = EXPECTED["commands"]["detect runs/electra inputs/plain.txt --json"]
    for detection, recorded in zip(detector.detect(texts), wanted, strict=True):
        assert [token.token for token in detection.tokens] == [token["token"] for token in recorded["tokens"]]
        assert [token.probability for token in detection.tokens] == pytest.approx([token["probability"] for token in recorded["tokens"]], abs=1e-4)
    classifier = electra.load("runs/classification")
    reviews = Path("inputs/reviews.txt").read_text(encoding="utf-8").splitlines()
    labels = [answer["label"] for answer in EXPECTED["commands"]["predict runs/classification inputs/reviews.txt --json"]]
    assert [answer.label for answer in classifier.predict(reviews)] == labels


def test_an_interrupted_run_resumes_to_the_recorded_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it wrote the checkpoint of step 9 in its second stage; the run repeats steps 7 to 9 and ends at step 12."""
    for folder in ("shards", "runs/interrupted"):
        shutil.copytree(FIXTURES / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "mini", "--output", "runs/interrupted", "--resume"]) == 0
    before = json.loads(Path("runs/interrupted/mlm-first/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    lines = [json.loads(line) for line in Path("runs/interrupted/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    # Version 0.1 counted from the second stage's beginning on.
    lines = [{**line, "step": line["phase_step"], "tokens": line["tokens"] - before["tokens"]} for line in lines if line["phase"] == "training"]
    train = [line for line in lines if line["kind"] == "train"]
    assert differences(train, EXPECTED["resumed"]["train"], 1e-4) == []
    assert differences([line for line in lines if line["kind"] == "evaluation"][-1], EXPECTED["resumed"]["evaluation"], 1e-4) == []
    assert electra.load("runs/interrupted/final").detect(["the chef"])[0].tokens


def test_a_finished_run_is_one_to_go_on_from(tmp_path: Path) -> None:
    flags = "--init runs/electra --mlm-first 0 --data shards --num-train-steps 2 --device cpu --threads 1".split()
    shape = "--hidden-size 16 --embedding-size 8 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32".split()
    sizes = "--max-position-embeddings 64 --sequence-length 48 --batch-size 8".split()
    assert main(["pretrain", "mini", *flags, *shape, *sizes, "--output", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("path", PLACES)
def test_inspect_knows_what_it_is(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", path, "--json"]) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("run", ["classification", "seeds", "several", "multilabel", "regression", "tagging", "squad2"])
def test_a_finished_finetuning_resumes_without_training(run: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((copy / "runs" / run / "scores.json").read_text())
    assert main(["finetune", "--resume", f"runs/{run}", "--json"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] == before["seconds"] and found["best_seed"] == before["best_seed"]


def test_inspect_shows_what_is_not_there_as_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "runs/several"]) == 0
    found = capsys.readouterr().out
    assert "selected step" in found and "None" not in found


def test_native_code_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Its library was removed from the fixture; an artifact of this target is not opened, and the message names the target."""
    assert main(["predict", "artefacts/torch-export", "inputs/reviews.txt"]) == 2
    assert capsys.readouterr().err == (
        "electra: artefacts/torch-export was built for target 'torch-export', which was removed; "
        "build it again: electra build CHECKPOINT --target onnx --output ARTIFACT\n"
    )

"""A machine without torch: every command that takes an artifact works where importing torch fails, and in an environment that never had it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
import pytest
from built_models import artifact, checkpoint
from conftest import ROOT
from tiny_models import checkpoints

from electra.cli import main
from electra.inference.predictor import load

WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "sklearn", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str, *arguments: str, python: str = sys.executable, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([python, "-c", code, *arguments], input=text, capture_output=True, text=True, timeout=120, env=environment)


def command(*arguments: str, text: str = "the chef cooked the meal\n") -> str:
    done = run(WITHOUT_TORCH + "from electra.cli import main\nsys.exit(main(sys.argv[1:]))", *arguments, text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_answer_without_torch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("the chef cooked the meal\n")
    classifier, pretrained = checkpoints()["classifier"], checkpoints()["discriminator"]
    assert main(["predict", str(classifier), str(tmp_path / "texts.txt")]) == 0
    assert command("predict", str(artifact(classifier)), "-") == capsys.readouterr().out
    detected = json.loads(command("detect", str(artifact(pretrained, zipped=True)), "-", "--corrupt", "--json"))
    assert detected["text"] == "the chef cooked the meal" and detected["corrupted"]["tokens"]
    vector = np.array(json.loads(command("embed", str(artifact(pretrained)), "-")))
    np.testing.assert_allclose(vector, load(pretrained, device="cpu").embed(["the chef cooked the meal"])[0], atol=1e-4)
    assert json.loads(command("inspect", str(artifact(classifier)), "--json"))["kind"] == "artifact"
    assert float(command("score", str(artifact(pretrained)), "-").split("\t")[0]) < 0
    tagged = command("predict", str(artifact(checkpoint("ElectraForTokenClassification"))), "-")
    assert [line.split("\t")[0] for line in tagged.splitlines() if line] == "the chef cooked the meal".split()
    assert command("predict", str(artifact(checkpoint("ElectraOriginalQuestionAnswering"))), "-", text="who ?\tthe chef\n")


def test_the_library_answers_without_torch() -> None:
    code = WITHOUT_TORCH + (
        "from electra import pipeline, load\n"
        "one = pipeline('text-classification', model=sys.argv[1])\n"
        "assert set(one('a film')[0]) == {'label', 'score'}\n"
        "two = load(sys.argv[2])\n"
        "assert two.fill('the [MASK] cooked') and two.network.architecture == 'ElectraForPreTraining'\n"
        "import electra.storage.resolve, electra.data.tokenizer, electra.inference.predictor\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'torch']\n"
    )
    done = run(code, str(artifact(checkpoints()["classifier"])), str(artifact(checkpoints()["discriminator"])))
    assert done.returncode == 0, done.stderr


def test_a_checkpoint_without_torch_and_an_artifact_without_its_runtime_name_the_line_to_type() -> None:
    code = "from electra.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = run(WITHOUT_TORCH + code, "detect", str(checkpoints()["discriminator"]), "-", text="a film\n")
    assert (
        done.returncode == 2
        and done.stderr.strip() == "electra: this needs the package 'torch' of the extra 'train': pip install -e '.[train]' in the clone of electra"
    )
    done = run(
        WITHOUT_TORCH.replace('"torch",', '"onnxruntime",') + code, "predict", str(artifact(checkpoints()["classifier"])), "-", text="a film\n"
    )
    assert (
        done.returncode == 2
        and done.stderr.strip()
        == "electra: this needs the package 'onnxruntime' of the extra 'runtime': pip install -e '.[runtime]' in the clone of electra"
    )


def test_predict_starts_fast() -> None:
    """Processor time of a whole 'electra predict': what a quiet machine shows as wall-clock time."""
    arguments = ["-m", "electra", "predict", str(artifact(checkpoints()["classifier"])), "-"]
    spent = []
    for _ in range(3):
        before = os.times()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *arguments], input="a film\n", capture_output=True, text=True, check=True, env=environment)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 0.7, spent


@pytest.mark.slow
def test_a_second_machine_without_torch(tmp_path: Path) -> None:
    """A fresh environment with the runtime extra alone; skipped where no package index can be reached."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = ["-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[runtime]"]
    start = time.monotonic()
    done = subprocess.run([python, *install], capture_output=True, text=True, timeout=900)
    if done.returncode and any(sign in done.stderr for sign in ("Could not find a version", "ConnectionError", "Temporary failure", "No matching")):
        pytest.skip(f"no package index within reach ({time.monotonic() - start:.0f} s)")
    assert done.returncode == 0, done.stderr
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    there = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, env=alone)
    assert "ModuleNotFoundError" in there.stderr
    source = checkpoints()["classifier"]
    texts = "the chef cooked the meal\nit was good\n"
    for model in (artifact(source), artifact(source, "onnx-int8", zipped=True)):
        arguments = [python, "-m", "electra", "predict", str(model), "-"]
        done = subprocess.run(arguments, input=texts, capture_output=True, text=True, cwd=tmp_path, env=alone)
        assert done.returncode == 0, done.stderr
        expected = load(model).predict(texts.splitlines())
        assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [answer.label for answer in expected]

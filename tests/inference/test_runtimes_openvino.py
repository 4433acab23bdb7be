"""Networks converted to OpenVINO: equal to PyTorch, 8-bit ones nearly; nothing reported to anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TEXTS, checkpoints

from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.exporting import onnx_int8 as building
from electra.exporting.dense_graph import dense_graph
from electra.exporting.onnx_int8 import calibration_batches
from electra.exporting.targets import TARGETS, Job, build_artifact, spread
from electra.inference import runtimes
from electra.inference.predictor import load
from electra.inference.runtimes import MODEL, WEIGHTS, OpenVinoRunner, open_openvino
from electra.model.huggingface import load_checkpoint
from electra.tasks.evaluate import read_labelled
from electra.tasks.registry import find_task

ROOT = Path(__file__).resolve().parents[2]


def job(source: Path, folder: Path, texts: tuple[str, ...] = ()) -> Job:
    tokenizer = load_tokenizer(source if (source / "vocab.txt").exists() else source.parent)
    return Job(
        graph=dense_graph(load_checkpoint(source), "sdpa"), folder=folder, tokenizer=tokenizer, texts=texts, say=lambda line: None, max_length=64
    )


def largest_difference(made: Job, session: OpenVinoRunner, num_rows: int, length: int) -> float:
    """Of all outputs, between the session's and the graph's, where there are tokens."""
    inputs = list(made.graph.example(2, length))
    inputs[:3] = [torch.cat([grid] * 4)[:num_rows] for grid in inputs[:3]]
    if len(inputs) > 3:
        inputs[3] = torch.arange(num_rows * length)[1::3]
    feed = {name: value.numpy() for name, value in zip(made.graph.inputs, inputs, strict=True)}
    found = dict(zip(made.graph.outputs, session(feed, made.graph.outputs), strict=True))
    with torch.inference_mode():
        wanted = dict(zip(made.graph.outputs, made.graph(*inputs), strict=True))
    mask = inputs[1].bool().numpy()
    out = 0.0
    for name, values in wanted.items():
        mine, theirs = found[name], values.numpy()
        assert mine.shape == theirs.shape
        if theirs.shape[:2] == mask.shape:
            mine, theirs = mine[mask], theirs[mask]
        out = max(out, float(np.abs(mine - theirs).max()))
    return out


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A tiny classifier in fp32."""
    made = job(checkpoints()["classifier"], tmp_path_factory.mktemp("converted"))
    assert building.build_openvino_fp32(made) == {"precision": "f32"}
    return made


def test_fp32_equals_pytorch_at_any_batch_and_length(converted: Job) -> None:
    session = open_openvino(converted.folder, 1)
    assert (session.precision, session.threads) == ("f32", 1)
    assert sorted(path.name for path in converted.folder.iterdir()) == [WEIGHTS, MODEL]
    for num_rows, length in ((1, 2), (2, 31), (7, 64)):
        assert largest_difference(converted, session, num_rows, length) < 1e-4


def test_masked_lm_is_evaluated_at_positions(tmp_path: Path) -> None:
    made = job(checkpoints()["generator"], tmp_path)
    building.build_openvino_fp32(made)
    session = open_openvino(tmp_path, 1)
    assert largest_difference(made, session, 3, 20) < 1e-4


def test_wanted_outputs_alone(converted: Job) -> None:
    session = open_openvino(converted.folder, 1)
    feed = {name: value.numpy() for name, value in zip(converted.graph.inputs, converted.graph.example(), strict=True)}
    states, first = session(feed, ["last_hidden_state", "logits"])
    assert states.ndim == 3 and first.shape == (2, 3)
    kept = first.copy()
    session({name: value[:, :5] for name, value in feed.items()}, ["logits"])
    np.testing.assert_array_equal(first, kept)  # an answer is not the session's own memory


def with_precision(converted: Job, folder: Path, precision: str) -> Path:
    """The same model, its file asking for another precision."""
    described = (converted.folder / MODEL).read_text(encoding="utf-8")
    assert described.count('<precision value="f32" />') == 1
    (folder / MODEL).write_text(described.replace('<precision value="f32" />', f'<precision value="{precision}" />'), encoding="utf-8")
    (folder / WEIGHTS).write_bytes((converted.folder / WEIGHTS).read_bytes())
    return folder


def test_processors_without_bfloat16_are_refused(converted: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "cpu_abilities", lambda: ("FP32", "INT8"))
    with pytest.raises(UserError, match="cannot be built here: this processor has no bfloat16"):
        TARGETS["openvino-bf16"].require()
    TARGETS["openvino"].require()
    with pytest.raises(UserError, match=r"model\.xml cannot run here: this processor has no bfloat16"):
        open_openvino(with_precision(converted, tmp_path, "bf16"))
    monkeypatch.setattr(runtimes, "cpu_abilities", lambda: ())
    for name in ("openvino", "openvino-int8", "openvino-bf16"):
        with pytest.raises(UserError, match="OpenVINO has no CPU plugin for this processor"):
            TARGETS[name].require()
    with pytest.raises(UserError, match="OpenVINO has no CPU plugin for this processor"):
        open_openvino(tmp_path)


def test_bfloat16_is_really_bfloat16(converted: Job, tmp_path: Path) -> None:
    """Half the size; and fp32 stays fp32 on the same processor."""
    if reason := runtimes.reason_against("bf16"):
        pytest.skip(reason)
    made = job(checkpoints()["classifier"], tmp_path)
    assert building.build_openvino_bf16(made) == {"precision": "bf16"}
    assert (tmp_path / WEIGHTS).stat().st_size < 0.6 * (converted.folder / WEIGHTS).stat().st_size
    assert 1e-4 < largest_difference(made, open_openvino(tmp_path, 1), 2, 31) < 0.2


def test_int8_is_near_and_small(converted: Job, tmp_path: Path) -> None:
    made = job(checkpoints()["classifier"], tmp_path, (*TEXTS, "the chef\tcooked soup"))
    assert building.build_openvino_int8(made) == {"precision": "f32", "calibration_texts": 1 + len(TEXTS)}
    assert (tmp_path / WEIGHTS).stat().st_size < 0.5 * (converted.folder / WEIGHTS).stat().st_size
    session = open_openvino(tmp_path, 1)
    moved, spread = [], []
    for feed in calibration_batches(made, 1):
        with torch.inference_mode():
            wanted = made.graph(*(torch.from_numpy(feed[name]) for name in made.graph.inputs))[0].numpy()
        moved.append(np.abs(session(feed, ["logits"])[0] - wanted).max())
        spread.append(wanted)
    assert 1e-4 < max(moved) < 0.2 * np.ptp(np.concatenate(spread)), (moved, spread)
    words = sum(line.count('element_type="i8"') for line in (tmp_path / MODEL).read_text(encoding="utf-8").splitlines())
    assert words >= 14, "embeddings and products are stored in 8 bits"


@pytest.mark.parametrize("name", [MODEL, WEIGHTS])
def test_damaged_files_are_refused(name: str, converted: Job, tmp_path: Path) -> None:
    for file in converted.folder.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
    with pytest.raises(UserError, match=r"model\.xml cannot be run by OpenVINO"):
        open_openvino(tmp_path)


def test_unknown_precisions_are_refused(converted: Job, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="precision 'f8'; known: f32, bf16"):
        open_openvino(with_precision(converted, tmp_path, "f8"))


def test_int8_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target openvino-int8 is calibrated on texts: give --calibrate FILE"):
        build_artifact(str(checkpoints()["classifier"]), "openvino-int8", tmp_path / "built")
    assert not (tmp_path / "built").exists()


@pytest.mark.slow
@pytest.mark.realdata
def test_real_sentences_keep_their_labels(data_root: Path, tmp_path: Path) -> None:
    """fp32 equals PyTorch; int8 nearly always gives the same label, and its accuracy is within half a point."""
    tuned = os.environ.get("ELECTRA_TUNED")
    if tuned is None or not (Path(tuned) / "config.json").exists():
        pytest.skip("set ELECTRA_TUNED to a checkpoint fine-tuned on SST-2")
    split = {name: read_labelled(find_task("sst2"), data_root / "glue" / "SST-2", name) for name in ("train", "dev")}
    texts = [example.text for example in split["dev"]]
    gold = [example.label for example in split["dev"]]
    wanted = load(tuned, threads=1).predict(texts)
    for name in ("openvino", "openvino-int8"):
        build_artifact(tuned, name, tmp_path / name, texts=spread([example.text for example in split["train"]], 256))
        found = load(tmp_path / name, threads=1).predict(texts)
        agreement = np.mean([one.label == other.label for one, other in zip(found, wanted, strict=True)])
        right, before = (np.mean([answer.label == label for answer, label in zip(answers, gold, strict=True)]) for answers in (found, wanted))
        moved = max(abs(one.probability - other.probability) for one, other in zip(found, wanted, strict=True))  # type: ignore[operator]
        print(f"{name}: agreement {100 * agreement:.2f}%, accuracy {100 * right:.2f} (PyTorch {100 * before:.2f}), probability moved {moved:.5f}")
        if name == "openvino":
            assert agreement == 1.0 and moved < 1e-4
        else:
            assert agreement >= 0.99 and before - right <= 0.005


TWO_MODELS = """
import gc, os, signal, sys
from pathlib import Path
from electra.inference.runtimes import open_openvino
first, second = (open_openvino(Path(folder)) for folder in sys.argv[1:])
del first
gc.collect()
del second
gc.collect()
caught = []
signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
os.kill(os.getpid(), signal.SIGTERM)
print(caught == [signal.SIGTERM])
"""


def test_signals_are_handled_after_two_models_were_closed(converted: Job) -> None:
    """OpenVINO's own way left the thread with a stack for signal handlers that was gone: SIGTERM ended the process with SIGSEGV, and no message."""
    folder = str(converted.folder)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", TWO_MODELS, folder, folder], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_telemetry_is_out_of_reach(tmp_path: Path) -> None:
    """What OpenVINO would report by, where `require` imports it: its own stub."""
    script = "from electra.errors import require; require('openvino', 'openvino'); import sys; from openvino.tools.ovc import telemetry_utils; "
    script += "print(telemetry_utils.tm.__name__, sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]


SILENT = """
import json, socket, sys, time
connections = []
def refuse(*arguments, **named):
    connections.append(str(arguments)[:80])
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from pathlib import Path
from electra.exporting import onnx_int8 as building
from electra.exporting.dense_graph import dense_graph
from electra.exporting.targets import TARGETS, Job
from electra.data.tokenizer import load_tokenizer
from electra.model.huggingface import load_checkpoint
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
TARGETS["openvino-int8"].require()
graph = dense_graph(load_checkpoint(source), "sdpa")
made = Job(graph=graph, folder=folder, tokenizer=load_tokenizer(source), texts=["the chef"], say=lambda line: None, max_length=64)
building.build_openvino_int8(made)
time.sleep(0.5)  # reports are sent from a thread
print(json.dumps(connections))
"""


@pytest.mark.slow
def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    folder.mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV")}
    environment = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", SILENT, str(checkpoints()["classifier"]), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert done.stdout.count("\n") == 1 and not [path for path in home.rglob("*") if path.is_file()]
    assert (folder / MODEL).exists()

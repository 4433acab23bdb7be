"""Compiled libraries: refused unless trusted, whole, plain and for this machine; then equal to PyTorch."""

from __future__ import annotations

import io
import json
import os
import pickle
import platform
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TEXTS, checkpoints

from electra.cli import main
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.exporting import aoti
from electra.exporting.dense_graph import dense_graph, export_program
from electra.exporting.targets import TARGETS, Job, build_artefact
from electra.inference.aoti_runtime import (
    FACTS,
    LIBRARY,
    MODEL,
    VARIABLE,
    ExportedRunner,
    cpu_flags,
    is_trusting,
    missing_instructions,
    open_runner,
    package_metadata,
    trusting,
)
from electra.inference.artifact import read_manifest, write_artefact
from electra.inference.predictor import load
from electra.model.huggingface import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
METADATA = {"AOTI_PLATFORM": platform.system().lower(), "AOTI_MACHINE": platform.machine(), "AOTI_CPU_ISA": ""}
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
SIZES = {"vocab_size": 40, "type_vocab_size": 2, "min_length": 2, "max_length": 16}
OPTIONS = {"torch": torch.__version__, "inputs": INPUTS, "outputs": ["logits"], **SIZES}


class Planted:
    """What a hostile archive would hold: unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")  # set, so that it is put back


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


def archive(folder: Path, metadata: object = METADATA, more: dict[str, bytes] | None = None, library: bytes | None = b"no library") -> Path:
    """A model.pt2 with the files of a real one, its library being none."""
    files = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
        f"{LIBRARY}c.wrapper_metadata.json": json.dumps(metadata).encode(),
    }
    if library is not None:
        files[f"{LIBRARY}c.wrapper.so"] = library
    with zipfile.ZipFile(folder / MODEL, "w") as out:
        for name, content in (files | (more or {})).items():
            out.writestr(f"model/{name}", content)
    return folder


def opened(folder: Path, **facts: object) -> ExportedRunner:
    (folder / FACTS).write_text(json.dumps(OPTIONS | facts), encoding="utf-8")
    return open_runner(folder, 1)


def test_not_loaded_without_trust(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds native code.*electra --trust"):
        opened(archive(tmp_path))


def test_trust_is_given_for_a_while() -> None:
    assert not is_trusting()
    with trusting():
        assert is_trusting()
    assert not is_trusting()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "place", ["models/model.json", "data/weights/model.pt", "data/constants/opaque_obj_0", "extra/x", f"{LIBRARY}../x.so", f"{LIBRARY}x.pkl"]
)
def test_archives_with_anything_else_are_refused_unread(place: str, tmp_path: Path) -> None:
    planted = tmp_path / "ran"
    content = pickle.dumps(Planted(planted))
    pickle.loads(content)
    assert planted.exists()  # it would have been seen
    planted.unlink()
    with pytest.raises(UserError, match="which no library built here has; not opened"):
        opened(archive(tmp_path, more={place: content}))
    assert not planted.exists()


@pytest.mark.usefixtures("trusted")
def test_pytorchs_own_reader_would_have_run_it(tmp_path: Path) -> None:
    """Why it is not called: when this fails, PyTorch has mended it."""
    planted = tmp_path / "ran"
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    weights = io.BytesIO()
    torch.save({"weight": Planted(planted)}, weights)
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(tmp_path / "hostile.pt2", "w") as out:
        for info in whole.infolist():
            content = whole.read(info)
            if info.filename.endswith("weights_config.json"):
                values = json.loads(content)
                entry = values["config"]["weight"]
                entry["use_pickle"], entry["path_name"] = True, "weight_planted"
                content = json.dumps(values).encode()
            out.writestr(info.filename, content)
        top = whole.infolist()[0].filename.split("/")[0]
        out.writestr(f"{top}/data/weights/weight_planted", weights.getvalue())
    with pytest.raises(Exception):  # noqa: B017
        torch._inductor.aoti_load_package(str(tmp_path / "hostile.pt2"))
    assert planted.exists()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        (METADATA | {"AOTI_MACHINE": "riscv64"}, "compiled for .* on riscv64"),
        (METADATA | {"AOTI_PLATFORM": "win32"}, "compiled for win32"),
        (METADATA | {"AOTI_CPU_ISA": "AVX512 AVX9000"}, "a processor with .*AVX9000"),
        (METADATA | {"AOTI_CPU_ISA": 5}, "does not say what it was compiled for"),
        ([], "does not say what it was compiled for"),
    ],
)
def test_other_machines_are_told(metadata: object, told: str, tmp_path: Path) -> None:
    if "AVX" in str(metadata) and cpu_flags() is None:
        pytest.skip("this system does not name its processor's instructions")
    with pytest.raises(UserError, match=told):
        opened(archive(tmp_path, metadata))


def test_instruction_sets_have_two_names() -> None:
    assert missing_instructions("AVX512 AVX512_VNNI", frozenset({"avx512f", "avx512_vnni"})) == []
    assert missing_instructions("AVX512 AVX512_VNNI", frozenset({"avx2"})) == ["AVX512", "AVX512_VNNI"]
    assert missing_instructions("", frozenset()) == []


@pytest.mark.usefixtures("trusted")
def test_damaged_ones_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        opened(tmp_path)
    (tmp_path / MODEL).write_bytes(b"PK")
    with pytest.raises(UserError, match="cannot be read"):
        opened(tmp_path)
    with pytest.raises(UserError, match="holds no compiled library"):
        opened(archive(tmp_path, library=None))
    with pytest.raises(UserError, match="PyTorch cannot load its library"):
        opened(archive(tmp_path))
    with pytest.raises(UserError, match=r"compiled with torch 1\.2, this is"):
        opened(archive(tmp_path), torch="1.2.3")
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        opened(archive(tmp_path), vocab_size="many")
    with pytest.raises(UserError, match=r"model\.json is missing or damaged"):
        opened(archive(tmp_path), inputs=None)


def test_a_compiler_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert aoti.reason_against() == "it needs a C++ compiler, and 'no-such-compiler' is not there (CXX may name another)"
    folder = checkpoints()["classifier"]
    with pytest.raises(UserError, match="target torch-export: it needs a C\\+\\+ compiler"):
        aoti.build(job(folder, tmp_path))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="cannot be built here: it needs a C"):
        TARGETS["torch-export"].require()


@pytest.mark.slow
def test_a_compiler_that_fails_is_one_line(tmp_path: Path) -> None:
    """In a process of its own: Inductor remembers its compiler."""
    broken = tmp_path / "broken-compiler"
    broken.write_text("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'g++ 12.2.0'; exit 0; fi\necho 'fatal error: out of ink' >&2\nexit 1\n")
    broken.chmod(0o755)
    environment = os.environ | {"CXX": str(broken), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    words = ("build", checkpoints()["classifier"], "--target", "torch-export", "--output", tmp_path / "out")
    done = subprocess.run([sys.executable, "-m", "electra.cli", *map(str, words)], env=environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith("electra: target torch-export: compiling failed (") and "out of ink" in last, done.stderr
    assert not (tmp_path / "out").exists()


def job(source: Path, folder: Path) -> Job:
    graph = dense_graph(load_checkpoint(source), "sdpa")
    return Job(graph=graph, folder=folder, tokenizer=load_tokenizer(source), texts=(), say=lambda line: None)


@pytest.mark.parametrize("kind", ["classifier", "discriminator", "masked"])
def test_program_takes_any_batch_and_length(kind: str) -> None:
    graph = dense_graph(load_checkpoint(checkpoints()[kind]), "sdpa")
    module = export_program(graph).module()
    for num_rows, length in ((1, 2), (2, 31), (7, 64)):
        inputs = list(graph.example(2, length))
        inputs[:3] = [torch.cat([grid] * 4)[:num_rows] for grid in inputs[:3]]
        if len(inputs) > 3:
            inputs[3] = torch.arange(num_rows * length)[1::3]
        with torch.inference_mode():
            for mine, wanted in zip(module(*inputs), graph(*inputs), strict=True):
                torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("more", ["", "--trust "])
def test_commands_run_native_code_only_with_the_flag(more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoints()["classifier"]

    def make(folder: Path) -> dict[str, object]:
        archive(folder)
        (folder / FACTS).write_text(json.dumps(OPTIONS), encoding="utf-8")
        (folder / "config.json").write_text((source / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
        load_tokenizer(source).save(folder)
        described = {"target": "torch-export", "architecture": "ElectraForSequenceClassification", "role": "classifier"}
        return described | {"labels": [], "limits": {"max_length": 64}, "source": {}, "build": {}}

    write_artefact(tmp_path / "built", make)
    (tmp_path / "texts.txt").write_text("the chef\n", encoding="utf-8")
    assert main(f"{more}predict {tmp_path / 'built'} {tmp_path / 'texts.txt'}".split()) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and ("PyTorch cannot load its library" if more else "electra --trust COMMAND") in told
    assert is_trusting() == bool(more)
    with (tmp_path / "built" / MODEL).open("ab") as file:
        file.write(b"x")
    assert main(f"{more}predict {tmp_path / 'built'} {tmp_path / 'texts.txt'}".split()) == 2
    assert "artefact.json says" in capsys.readouterr().err  # before anything of it is looked at


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Job]]:
    """A tiny classifier's artefact, and the job it was."""
    if reason := aoti.reason_against():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("compiled") / "built"
    source = checkpoints()["classifier"]
    build_artefact(str(source), "torch-export", folder)
    yield folder, job(source, folder)


@pytest.mark.slow
def test_nothing_unpacked_stays_behind(compiled: tuple[Path, Job]) -> None:
    """Of a process that ends with its model open, as commands do."""
    script = f"import glob, electra; p = electra.load({str(compiled[0])!r}); p.me = p; p.predict(['x']); print(*glob.glob('/tmp/aotinductor_*'))"
    before = set(Path("/tmp").glob("aotinductor_*"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    made = {Path(name) for name in done.stdout.split()} - before
    assert not [path for path in made if path.exists()]


@pytest.mark.slow
@pytest.mark.usefixtures("trusted")
def test_built_artefact_answers_as_the_checkpoint(compiled: tuple[Path, Job]) -> None:
    mine, theirs = load(compiled[0], threads=1), load(checkpoints()["classifier"], threads=1)
    for one, other in zip(mine.predict(TEXTS), theirs.predict(TEXTS), strict=True):
        np.testing.assert_allclose([*one.probabilities.values()], [*other.probabilities.values()], rtol=0, atol=1e-4)
    np.testing.assert_allclose(mine.embed(TEXTS[:2]), theirs.embed(TEXTS[:2]), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_library_equals_pytorch_and_refuses_what_would_end_it(compiled: tuple[Path, Job], trusted: None) -> None:
    made = compiled[1]
    assert package_metadata(made.folder / MODEL)["AOTI_CPU_ISA"] == read_manifest(made.folder)["build"]["options"]["cpu"]
    session = open_runner(made.folder, 1)
    assert session.threads == 1
    for num_rows, length in ((2, 2), (3, 31), (5, 64)):
        inputs = made.graph.example(num_rows, length)
        found = session({name: value.numpy() for name, value in zip(made.graph.inputs, inputs, strict=True)}, ["logits"])[0]
        with torch.inference_mode():
            wanted = dict(zip(made.graph.outputs, made.graph(*inputs), strict=True))
        np.testing.assert_allclose(found, wanted["logits"].numpy(), rtol=0, atol=1e-4)
    grid = np.zeros((1, 5), np.int64)
    for name, value in (("input_ids", made.graph.vocab_size), ("input_ids", -1), ("token_type_ids", 2)):
        with pytest.raises(UserError, match=name):
            session({"input_ids": grid, "attention_mask": grid + 1, "token_type_ids": grid} | {name: grid + value}, ["logits"])
    long = np.zeros((1, 65), np.int64)
    with pytest.raises(UserError, match="65 tokens"):
        session({"input_ids": long, "attention_mask": long + 1, "token_type_ids": long}, ["logits"])

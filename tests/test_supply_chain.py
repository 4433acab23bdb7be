"""What comes with electra and what it reads: dependencies used, licensed and audited; no network unasked; no code run from a file."""

from __future__ import annotations

import ast
import http.server
import importlib.metadata
import io
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from shop import fill, make_shop
from wrong_inputs import WHOLE, WORKING

from electra.cli import COMMANDS, main

sys.path.insert(0, str(ROOT / "tools"))
import audit
import licences

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_BY_OTHERS = {
    "s3fs": "fsspec opens s3:// by it",
    "httptools": "uvicorn parses HTTP by it",
    "uvloop": "uvicorn runs on it",
    "tensorboard": "torch.utils.tensorboard",
    "onnxscript": "torch.onnx.export",
    "accelerate": "the Trainer of transformers",
    "build": "tools/release_check.py runs it",
    "check-jsonschema": "a program that tests/test_ops.py runs",
    "hatch-vcs": "hatchling derives the version by it",
    "ipykernel": "nbclient runs notebooks on it",
    "trackio": "--log-to, by its name",
    "mlflow-skinny": "--log-to, by its name",
    "wandb": "--log-to, by its name",
    "sqlalchemy": "MLflow keeps local runs by it",
    "alembic": "MLflow keeps local runs by it",
    "zensical": "tools/docs_site.py runs it",
    "griffelib": "tools/docs_site.py",
    "flask": "moto's server",
    "flask-cors": "moto's server",
    "pre-commit": "a program that contributors run",
    "pytest-cov": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "zizmor": "a program that tests/test_ops.py runs",
}
PROGRAMS = {"import-linter": "lint-imports", "mypy": "mypy", "ruff": "ruff"}


# ---- dependencies ----


def imports(*folders: str) -> set[str]:
    """The top-level modules that files import, or name in `require`, `import_module`, `find_spec` and `importorskip`."""
    wanted = re.compile(r"""^\s*(?:import|from)\s+(\w+)|(?:require|import_module|find_spec|importorskip)\(["'](\w+)""", re.M)
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts)
    return {name for path in files for match in wanted.findall(path.read_text(encoding="utf-8")) for name in match if name}


def modules_of(package: str) -> set[str]:
    """The top-level modules of an installed package; its name where it is not installed."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return {package.replace("-", "_")}
    if listed := found.read_text("top_level.txt"):
        return set(listed.split())
    return {path.parts[0].partition(".")[0] for path in found.files or ()}


def test_every_direct_dependency_is_used() -> None:
    ours = imports("electra")
    everywhere = ours | imports("tests", "bench", "tools", "examples", "experiments")
    run = (ROOT / "Makefile").read_text() + (ROOT / ".pre-commit-config.yaml").read_text()
    unused = []
    for extra, lines in {"base": EXTRAS["dependencies"], **EXTRAS["optional-dependencies"]}.items():
        for name in {canonicalize_name(Requirement(line).name) for line in lines} - {"electra", *IMPORTED_BY_OTHERS}:
            if not modules_of(name) & (everywhere if extra == "dev" else ours) and PROGRAMS.get(name, "\0") not in run:
                unused.append(f"{extra}: {name}")
    assert unused == []


def test_every_licence_is_allowed_and_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["licences.py", "--check"])
    assert licences.main() == 0
    real = licences.licence
    monkeypatch.setattr(licences, "licence", lambda package: "GPL-3.0-only" if package.metadata["Name"] == "rich" else real(package))
    assert licences.main() == 1
    assert "rich: licence 'GPL-3.0-only' is not among the allowed ones" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        *((text, True) for text in ("MIT", "Apache-2.0 WITH LLVM-exception AND MIT", "GPL-2.0-only OR MIT", "(Apache-2.0 OR BSD-2-Clause)")),
        *((text, False) for text in ("", "Proprietary", "AGPL-3.0-or-later", "MIT AND GPL-3.0-only")),
    ],
)
def test_an_expression_is_allowed_by_all_of_its_parts(expression: str, allowed: bool) -> None:
    assert licences.allowed(expression) is allowed


# ---- known vulnerabilities ----


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers as api.osv.dev does: requests is affected. Its address, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            asked.extend(queries)
            answer = {"results": [{"vulns": [{"id": "GHSA-x"}]} if query["package"]["name"] == "requests" else {} for query in queries]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/querybatch", asked
        server.shutdown()


def test_found_vulnerabilities_fail_the_audit_and_a_lost_service_does_not(
    service: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, asked = service
    assert audit.main(["--service", address]) == 1
    output = capsys.readouterr().out
    assert "requests==" in output and "GHSA-x" in output and "1 known vulnerabilities" in output
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert [f"{query['package']['name']}=={query['version']}" for query in asked] == lines
    monkeypatch.setitem(audit.ACCEPTED, "GHSA-x", "not called")
    assert audit.main(["--service", address]) == 0
    assert audit.main(["--service", "http://127.0.0.1:9/"]) == 0
    assert "NOT DONE" in capsys.readouterr().err


def test_ranges_of_advisories_are_read_as_specifiers_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against packaging's own sets of versions; then a dump of advisories, without a service."""
    rng = random.Random(3)
    versions = [f"{rng.randrange(3)}.{rng.randrange(4)}{rng.choice(['', '.1', 'rc1', '.post1'])}" for _ in range(60)]
    for _ in range(300):
        low, high, ours = rng.choice(["0", *versions]), rng.choice(versions), rng.choice(versions)
        end, sign = rng.choice([("fixed", "<"), ("last_affected", "<=")])
        if SpecifierSet(f">={low}").contains(high, prereleases=True):
            events = [{"introduced": low}, {end: high}]
            # '<2.0' of PEP 440 leaves 2.0rc1 out; an advisory's range has it.
            wanted = SpecifierSet(f">={low}").contains(ours, True) and (
                audit.Version(ours) < audit.Version(high) if sign == "<" else audit.Version(ours) <= audit.Version(high)
            )
            assert audit.concerns({"ranges": [{"type": "ECOSYSTEM", "events": events}]}, ours) is wanted, (events, ours)
    entry = {
        "id": "PYSEC-1",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "NumPy"}, "ranges": [{"type": "ECOSYSTEM"}], "versions": ["9.9"]}],
    }
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(entry))
        archive.writestr("PYSEC-2.json", json.dumps(entry | {"id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}))
    (tmp_path / "pins.txt").write_text("numpy==9.9\n")
    words = ["--advisories", str(tmp_path / "all.zip"), "--constraints", str(tmp_path / "pins.txt")]
    assert audit.main(words) == 1 and "PYSEC-1\n" in capsys.readouterr().out
    (tmp_path / "pins.txt").write_text("numpy==9.8\n")
    assert audit.main(words) == 0


# ---- code in files ----

DANGEROUS = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "pickle.Unpickler", "os.system", "os.popen", "yaml.load", "marshal.loads"}
DANGEROUS |= {"shelve.open", "joblib.load", "dill.loads", "cloudpickle.loads", "torch.jit.load", "torch.package.PackageImporter", "runpy.run_path"}
SUSPECT = re.compile(r"\b(eval|exec|compile|load|loads)\(|pickle|PackageImporter|os\.(system|popen)|shelve|run_path|shell=|trust_remote_code")
OWN = {("electra/data/prepare.py", "pickle.loads")}
"""The tokenizer or the model that Ray brings from our own driver to our own worker."""


def dangerous_calls(source: str) -> list[str]:
    """Calls that run or unpickle what they are given."""
    out = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, values = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        loads = (name == "torch.load" and values.get("weights_only") != "True") or (name == "np.load" and values.get("allow_pickle") != "False")
        if name in DANGEROUS or loads or values.get("shell", "False") != "False" or values.get("trust_remote_code", "False") != "False":
            out.append(name)
    return out


def test_nothing_that_runs_code_is_called_on_what_is_read() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "electra").rglob("*.py")
        if SUSPECT.search(source := path.read_text(encoding="utf-8"))
        for name in dangerous_calls(source)
    }
    assert found == OWN
    for source in ("torch.load(p)", "np.load(p)", "eval(x)", "subprocess.run(x, shell=True)", "np.load(p, allow_pickle=True)", "pickle.loads(b)"):
        assert dangerous_calls(source), source


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.file,))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path) -> Path:
    return make_shop(tmp_path_factory.mktemp("shop"), tiny_corpus)


def hostile(kind: str, mark: Path) -> bytes:
    """A file of a kind that holds a pickle."""
    out, harm = io.BytesIO(), Harm(mark)
    if kind == "pickle":
        return pickle.dumps(harm)
    if kind == "zip":
        import torch

        torch.save({"weight": harm}, out)
        return out.getvalue()
    array = np.array([harm, harm], dtype=object)
    np.save(out, array, allow_pickle=True) if kind == "npy" else np.savez(out, allow_pickle=True, ids=array, tokens=array, offsets=array)
    return out.getvalue()


PLACES = {
    "weights, a pickle": ("classifier", "pytorch_model.bin", "pickle", "predict {copy} {texts.txt}"),
    "weights, torch's zip": ("classifier", "pytorch_model.bin", "zip", "predict {copy} {texts.txt}"),
    "weights named safetensors": ("classifier", "model.safetensors", "pickle", "predict {copy} {texts.txt}"),
    "weights to start from": ("lone", "pytorch_model.bin", "zip", "pretrain tiny --data {shards} --init {copy} --output {out} --num-train-steps 1"),
    "weights to convert": ("classifier", "pytorch_model.bin", "zip", "convert {copy} {out}"),
    "weights of a teacher": ("classifier", "pytorch_model.bin", "zip", "finetune sst2 --model {model} --teacher {copy} --data {glue} --output {out}"),
    "token ids": ("shards", "train/ids.npy", "npy", "pretrain tiny --data {copy} --output {out} --num-train-steps 1"),
    "held-out token ids": ("shards", "held_out/ids.npy", "npy", "evaluate {model} --data {copy}"),
    "token ids, a pickle": ("shards", "train/ids.npy", "pickle", "pretrain tiny --data {copy} --output {out} --num-train-steps 1"),
    "an artifact's model": ("artifact", "model.onnx", "pickle", "predict {copy} {texts.txt}"),
    "a table named parquet": ("empty", "table.parquet", "pickle", "predict {classifier} {copy}/table.parquet"),
    "texts": ("empty", "texts.txt", "pickle", "predict {classifier} {copy}/texts.txt"),
    "a corruption set": ("empty", "set.npz", "npz", "evaluate {model} --data {shards} --corruption {copy}/set.npz"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_pickle_is_run_in_no_place_where_a_file_is_read(name: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, file, kind, words = PLACES[name]
    copy, mark = shutil.copytree(shop / source, tmp_path / "copy", ignore=shutil.ignore_patterns("model.safetensors")), tmp_path / "ran"
    (copy / file).write_bytes(hostile(kind, mark))
    code = main([*fill(words.replace("{copy}", str(copy)).replace("{out}", str(tmp_path / "out")), shop)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("electra: ")]
    assert not mark.exists(), "code of a file was run"
    assert code == 2 and len(lines) == 1, (code, lines)


def test_the_hostile_files_would_do_harm(tmp_path: Path) -> None:
    """Read by the loaders that are not used."""
    import torch

    for kind in ("pickle", "zip", "npy", "npz"):
        mark, content = tmp_path / kind, io.BytesIO(hostile(kind, tmp_path / kind))
        if kind == "zip":
            torch.load(content, weights_only=False)
        else:
            loaded = pickle.load(content) if kind == "pickle" else np.load(content, allow_pickle=True)
            loaded["ids"] if kind == "npz" else None
        assert mark.exists(), kind


def test_python_files_of_a_checkpoint_are_not_imported(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those that config.json names, nor those in the folder that a command runs in or reads."""
    folder = shutil.copytree(shop / "classifier", tmp_path / "copy")
    for name in ("modeling_custom", "tokenization_custom", "numpy", "electra", "safetensors", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_custom.Model", "AutoTokenizer": ["tokenization_custom.T", None]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.chdir(folder)
    assert main(["predict", str(folder), str(shop / "texts.txt")]) in (0, 2)
    assert not (tmp_path / "ran").exists()


# ---- network ----

LEFT_OUT = {
    "dataset": "needs the files of IMDb",
    "compare": "its files here end early",
    "submit": "its files here end early",
    "demo": "runs the other commands",
    "ablate": "runs pretrain, finetune and evaluate",
}
QUICK = ("prepare", "predict", "detect", "inspect")


def offline_commands(names: tuple[str, ...], shop: Path, out: Path) -> list[list[str]]:
    """The commands of the table, each with an output of its own."""
    made = []
    for name in names:
        template = WHOLE.get(name, WORKING[name]).replace("{out}", f"{out}/{name}")
        made.append([name, *fill(template, shop)])
    return made


def without_network(commands: list[list[str]], folder: Path) -> dict[str, Any]:
    """Run them in one process, in a network of its own where the system allows one."""
    (folder / "commands.json").write_text(json.dumps(commands))
    words = [sys.executable, str(ROOT / "tests" / "support" / "offline.py"), str(folder), str(folder / "commands.json")]
    if shutil.which("unshare") and subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0:
        words = ["unshare", "--net", *words, "--own-namespace"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "COV_", "COVERAGE_"))}
    done = subprocess.run(words, env=kept | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    assert (folder / "result.json").exists(), done.stderr[-3000:]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert set(result["codes"]) == {0}, (list(zip(commands, result["codes"], strict=True)), done.stderr[-3000:])
    return result


@pytest.mark.parametrize("part", ["quick", *(pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS if name not in (*QUICK, *LEFT_OUT))])
def test_no_command_uses_the_network_unasked(part: str, shop: Path, tmp_path: Path) -> None:
    """No name is looked up, no other machine connected, by Python or native code; and no library that reports is loaded."""
    result = without_network(offline_commands(QUICK if part == "quick" else (part,), shop, tmp_path), tmp_path)
    assert result["attempts"] == []
    assert result["without_route"] in (0, None)
    assert not {"transformers", "sentence_transformers", "openvino_telemetry"} & set(result["modules"])


def test_the_watches_see_an_attempt(tmp_path: Path) -> None:
    """A name that is looked up is reported, and the command fails."""
    with pytest.raises(AssertionError, match="nobody/nothing"):
        without_network([["predict", "nobody/nothing", "a text"]], tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert any("huggingface.co" in line for line in result["attempts"])

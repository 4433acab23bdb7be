"""The project as a whole: the wheel in an empty environment, what works without torch, rules of the code."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from electra.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WITHOUT_TORCH = (
    "electra",
    "electra.cli",
    "electra.contracts",
    "electra.settings",
    "electra.data.tokenizer",
    "electra.data.documents",
    "electra.data.shards",
    "electra.tasks",
    "electra.inference.predictor",
    "electra.tasks.evaluate",
    "electra.benchmark.measure",
)


def run(*words: str | Path, **environment: str) -> str:
    """Standard output of a command that must succeed, run outside the checkout, so that Python does not find the package there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "COVERAGE_", "PYTHON"))}
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**kept, **environment}, cwd=ROOT.anchor)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tracked() -> list[Path]:
    """The project's files as git knows them."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# ---- the wheel ----


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the package without network."""
    pytest.importorskip("hatchling")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "electra", source / "electra", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", out, source)
    return next(out.glob("electra-*.whl"))


@pytest.fixture(scope="module")
def empty_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-deps", "--no-index", wheel)
    return folder


@pytest.fixture(scope="module")
def base_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to the base dependencies and theirs, and no others: what an installation without extras brings, without a network."""
    folder, waiting, seen = tmp_path_factory.mktemp("base"), list(PROJECT["project"]["dependencies"]), set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        waiting += found.requires or []
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    assert "torch" not in seen
    return folder


def test_wheel_holds_everything_but_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "electra").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in names if ".dist-info/" not in name} == ours
    assert {"electra/py.typed", "electra/presets/pretrain/small.toml", "electra/presets/finetune/paper.toml"} <= names
    assert {"electra/bundled/README.md", "electra/bundled/sentiment/model.onnx", "electra/bundled/mini/generator/model.safetensors"} <= names
    assert wheel.stat().st_size < 42_000_000
    assert any(name.endswith("LICENSE") for name in names)


def test_wheel_works_in_an_empty_environment(empty_environment: Path) -> None:
    """The help needs nothing but Python itself."""
    electra = empty_environment / "bin" / "electra"
    assert "from text to server:" in run(electra, "--help")
    for name in COMMANDS:
        assert "examples:" in run(electra, name, "--help")
    assert "hidden_size" in run(
        empty_environment / "bin" / "python", "-c", "from electra import config; print(config.preset_values('small', 'pretrain'))"
    )


def test_a_command_without_torch_names_the_line_that_installs_it(empty_environment: Path, base_packages: Path, tmp_path: Path) -> None:
    words = [str(empty_environment / "bin" / "electra"), "pretrain", "tiny", "--data", "d", "--output", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(base_packages)}, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "pip install -e '.[train]'" in done.stderr


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_the_base_install_imports(module: str, empty_environment: Path, base_packages: Path) -> None:
    """These work with the base dependencies alone, in an environment without torch."""
    run(empty_environment / "bin" / "python", "-c", f"import {module}", PYTHONPATH=str(base_packages))


def test_the_base_install_tokenizes(empty_environment: Path, base_packages: Path, tiny_vocab: Path) -> None:
    code = (
        "import sys; from electra.data.tokenizer import load_tokenizer; "
        "t = load_tokenizer(sys.argv[1]); print(t.decode(t.encode(['the chef cooked'])[0]))"
    )
    assert run(empty_environment / "bin" / "python", "-c", code, tiny_vocab, PYTHONPATH=str(base_packages)) == "the chef cooked\n"


# ---- the build ----


def test_the_version_is_the_tag(tmp_path: Path) -> None:
    """A tag, commits since, an archive of it as a host of git makes it, and folders without tag or git: what a build there would be called."""
    clone, archive, copy = (tmp_path / name for name in ("clone", "archive", "copy"))
    for folder in (clone, archive, copy):
        folder.mkdir()
    for name in ("pyproject.toml", ".git_archival.txt", ".gitattributes"):
        shutil.copy(ROOT / name, clone)
        shutil.copy(ROOT / name, copy)

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=clone, check=True, capture_output=True)

    def version(folder: Path) -> str:
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
        words = [sys.executable, "-m", "hatchling", "version"]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]+(\.d\d+)?", version(clone)) and version(copy) == "0.1.dev0"
    git("tag", "v1.2.3")
    git("archive", "--output", str(tmp_path / "a.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "a.tar", archive)
    assert version(clone) == version(archive) == "1.2.3"
    git("commit", "--quiet", "--allow-empty", "--message", "two")
    assert re.fullmatch(r"1\.2\.4\.dev1\+g[0-9a-f]+", version(clone))


def test_constraints_are_plain_pins() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert lines == sorted(set(lines), key=lambda line: line.split("=="))


def test_constraints_name_every_dependency() -> None:
    pins = {line.split("==")[0]: line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *(line for extra in extras for line in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name != "electra":
            pin = pins[canonicalize_name(requirement.name)].split("==")[1]
            assert requirement.specifier.contains(pin), requirement
    assert pins["torch"] == "torch==2.13.0"


def test_make_help_names_the_targets() -> None:
    out = run("make", "--no-print-directory", "-C", ROOT, "help")
    names = "help install demo model test test-all check format docs audit wheel release-check bench speedrun fuzz"
    assert re.findall(r"^  make ([a-z-]+)", out, re.M) == names.split()


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\ncase $1 in --version) echo 'Python 3.9.1';; *) exit 1;; esac\n")
    old.chmod(0o755)
    words = ["make", "-C", str(ROOT), "check", f"PYTHON={old}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer, found: Python 3.9.1" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_continuous_integration_runs_the_tests() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script and "make audit" in script


# ---- rules of the code ----


def test_torch_distributed_is_imported_in_one_file() -> None:
    wanted = re.compile(r"^\s*(import torch\.distributed|from torch\.distributed|from torch import .*\bdistributed)", re.M)
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "electra").rglob("*.py") if wanted.search(path.read_text(encoding="utf-8"))}
    assert found == {"electra/train/distributed.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "electra" / "commands").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_command_has_at_most_150_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150


def test_no_module_has_a_name_without_meaning() -> None:
    names = {path.stem for path in (ROOT / "electra").rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def test_no_path_of_one_machine_is_mentioned() -> None:
    """Neither a package index's host nor one machine's folders are in any text file of the project."""
    wrong = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "/wo" + "rk/(main|shared)", "/op" + "t/(wheels|py" + "pi)", "/ro" + "ot/"]))
    for path in tracked():
        if path.suffix not in {".safetensors", ".onnx", ".png", ".npy", ".npz", ".gz", ".xz"}:
            found = wrong.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path}: {found.group()}"

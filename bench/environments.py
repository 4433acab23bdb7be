"""The peers' environments: plain virtual environments with pinned versions, made once for each content of their list.

`.venv-bench/NAME` from `pins/NAME.txt`: `peers` for what can live together, one more for each package that asks for other versions of the rest, or
that may not install here without harm to the others. `electra` is in none of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from section import HERE, ROOT

UNUSED = {"openvino": ("torchvision",)}
"""Required by a list's packages, not used here, and removed: torchvision of PyPI needs CUDA's libraries, which no CPU build of torch has."""
SOURCES = {"llama-cpp": ("llama-cpp-python", "vendor/llama.cpp", ("convert_hf_to_gguf.py", "conversion/", "gguf-py/"))}
"""Of a list's package that is published as source: a folder in it, and what of that goes into the environment (llama.cpp's converter is in no
wheel)."""
VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def names() -> list[str]:
    """Every environment there is a list for."""
    return sorted(path.stem for path in (HERE / "pins").glob("*.txt"))


def pins(which: str) -> Path:
    """The list of an environment."""
    return HERE / "pins" / f"{which}.txt"


def packages(which: str) -> list[str]:
    """The packages of a list."""
    lines = pins(which).read_text(encoding="utf-8").splitlines()
    return [line.split("==")[0].split("[")[0] for line in lines if line and not line.startswith("#")]


def versions(python: str, which: str) -> dict[str, str]:
    """What an interpreter has of a list.

    Raises:
        RuntimeError: it does not start, or lacks the first package of the list.
    """
    try:
        done = subprocess.run([python, "-c", VERSIONS, *packages(which)], capture_output=True, text=True, timeout=60)
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"{python} does not start: {' '.join(str(error).split())[:200]}") from None
    missing = [name for name in packages(which)[:2] if name not in found]
    if missing:
        raise RuntimeError(f"{Path(python).name} has no {missing[0]}")
    return found


def make(which: str, folder: Path, say: Callable[[str], None]) -> str:
    """The environment's interpreter, installed first where the list has changed since.

    Raises:
        RuntimeError: it cannot be made; pip's last line.
    """
    listed = pins(which)
    python = folder / "bin" / "python"
    ready = folder / f".ready-{hashlib.sha256(listed.read_bytes()).hexdigest()[:12]}"
    if ready.exists():
        return str(python)
    say(f"installing {listed.relative_to(ROOT)} into {folder.name}: once, some minutes")
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    steps = [[sys.executable, "-m", "venv", str(folder)], [*pip, "install", "--quiet", "--requirement", str(listed)]]
    if which in UNUSED:
        steps.append([*pip, "uninstall", "--quiet", "--yes", *UNUSED[which]])
    with tempfile.TemporaryDirectory() as scratch:
        if which in SOURCES:
            package = next(line for line in listed.read_text(encoding="utf-8").splitlines() if line.startswith(f"{SOURCES[which][0]}=="))
            steps.append([*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", scratch, package])
        for words in steps:
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                last = next((line for line in reversed((done.stderr + done.stdout).splitlines()) if line.strip()), "")
                raise RuntimeError(f"{folder.name} cannot be made: {last[:300]}")
        if which in SOURCES:
            extract(which, next(Path(scratch).iterdir()), folder)
    ready.touch()
    return str(python)


def extract(which: str, archive: Path, folder: Path) -> None:
    """Put the parts of a package's source into the environment's folder."""
    _, inside, parts = SOURCES[which]
    with tarfile.open(archive) as members:
        for member in members:
            _, _, name = member.name.partition(f"/{inside}/")
            if name.startswith(parts):
                members.extract(member.replace(name=f"{Path(inside).name}/{name}"), folder, filter="data")


def find(which: str, given: str | None, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The user's interpreter ('none': nobody) or ours -> {'python', 'versions'}, or {'python': '', 'problem'}."""
    if given == "none":
        return {"python": "", "problem": "left out by the user"}
    try:
        python = given or make(which, folder, say)
        return {"python": python, "versions": versions(python, which)}
    except RuntimeError as error:
        return {"python": "", "problem": str(error)}

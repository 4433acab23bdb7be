"""A built artifact in an environment without torch, beside its checkpoint in this one: the seed's two machines on one.

    python bench/without_torch.py CHECKPOINT ARTIFACT... --task sst2 --data glue/SST-2 --name without-torch

Makes a virtual environment, installs `electra[runtime]` into it with the pins of constraints.txt, and runs there, as a user would, `electra
evaluate ARTIFACT` and 'electra predict'; `electra evaluate CHECKPOINT` runs here. Written down: packages and size of both environments, the
scores, how many answers are the same and how far probabilities lie apart, and how long a command takes from its start to its only answer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from electra.environment import describe
from electra.storage import atomic

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "import importlib.metadata as m, json; print(json.dumps(sorted({f'{d.name.lower()} {d.version}' for d in m.distributions()})))"
STARTS = 5


def run(python: str, *words: str, text: str | None = None) -> str:
    """A command of an environment -> what it printed; its own words where it failed."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, *words], input=text, capture_output=True, text=True, env=alone, cwd=ROOT if python == sys.executable else Path.home()
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def size_of(folder: Path) -> int:
    """Bytes of all files, each once."""
    files = {
        (stat.st_dev, stat.st_ino): stat.st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink() for stat in [path.stat()]
    }
    return sum(files.values())


def environment_of(python: str, folder: Path) -> dict[str, Any]:
    """What is installed, and how much it weighs; the environment of this script may hold more than `electra[train]` needs, so torch alone too."""
    packages = json.loads(run(python, "-c", PACKAGES))
    torch = sum(size_of(path) for path in folder.glob("lib/python*/site-packages/torch"))
    return {
        "num_packages": len(packages),
        "size_bytes": size_of(folder),
        "torch_bytes": torch,
        "has_torch": any(name.startswith("torch ") for name in packages),
        "packages": packages,
    }


def answers_of(python: str, model: Path, given: argparse.Namespace, folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """'electra evaluate' -> scores, and the answer to every example."""
    file = folder / "answers.jsonl"
    file.unlink(missing_ok=True)
    words = ["-m", "electra", "evaluate", str(model), "--task", given.task, "--data", str(given.data), "--json", "--predictions", str(file)]
    scores = json.loads(run(python, *words).splitlines()[-1])
    return scores, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def seconds_to_answer(python: str, model: Path) -> dict[str, float]:
    """'electra predict' on one text, from start to end, files in the page cache; the median of some runs and the fastest."""
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        run(python, "-m", "electra", "predict", str(model), "-", text="a gripping film\n")
        taken.append(time.perf_counter() - began)
    return {"median": round(median(taken), 2), "fastest": round(min(taken), 2), "runs": STARTS}


def agreement(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> dict[str, Any]:
    """Two lists of answers -> how many are the same, and the largest difference of a probability."""
    pairs = list(zip(there, here, strict=True))
    assert all(a["id"] == b["id"] for a, b in pairs)
    gaps = [abs(a["probabilities"][label] - p) for a, b in pairs for label, p in (b.get("probabilities") or {}).items()]
    same = sum(a["prediction"] == b["prediction"] for a, b in pairs)
    return {"num_examples": len(pairs), "num_same": same, "share": same / len(pairs), "largest_probability_difference": max(gaps, default=None)}


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both environments, both models -> the record."""
    began = time.perf_counter()
    venv.create(folder / "venv", with_pip=True)
    there, here = str(folder / "venv" / "bin" / "python"), sys.executable
    run(there, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[runtime]")
    installed = time.perf_counter() - began
    run(there, "-m", "pip", "uninstall", "--quiet", "--yes", "pip", "setuptools")
    environments = {"without_torch": environment_of(there, folder / "venv"), "with_torch": environment_of(here, Path(here).parent.parent)}
    assert not environments["without_torch"]["has_torch"] and environments["with_torch"]["has_torch"]
    environments["without_torch"]["install_s"] = round(installed, 1)
    # What developers have installed beside it says nothing of a user's machine.
    del environments["with_torch"]["packages"]
    scores, wanted = answers_of(here, given.checkpoint.resolve(), given, folder)
    rows = [row_of(here, given.checkpoint, scores)]
    for artifact in given.artifacts:
        scores, answers = answers_of(there, artifact.resolve(), given, folder)
        rows.append(row_of(there, artifact, scores) | {"agreement": agreement(answers, wanted)})
    return {"environments": environments, "checkpoint": rows[0], "artefacts": rows[1:]}


def row_of(python: str, model: Path, scores: dict[str, float]) -> dict[str, Any]:
    """A model's name, size, scores and start-up."""
    size = size_of(model.resolve()) if model.is_dir() else model.stat().st_size
    return {"name": model.name, "size_bytes": size, "scores": scores, "start_to_answer_s": seconds_to_answer(python, model.resolve())}


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="fine-tuned checkpoint, run here")
    parser.add_argument("artifacts", type=Path, nargs="+", help="what was built from it, run there")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--data", type=Path, required=True, help="the task's folder")
    parser.add_argument("--name", default="without-torch", help="of the record")
    given = parser.parse_args()
    given.data = given.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given, Path(folder))
    words = (
        f"{given.checkpoint.name} {' '.join(path.name for path in given.artifacts)} --task {given.task} --data {given.data.name} --name {given.name}"
    )
    record = {"date": str(date.today()), "task": given.task, "command": f"python bench/without_torch.py {words}", "machine": describe(), **found}
    file = ROOT / "bench" / "records" / f"{date.today()}-{given.name}.json"
    atomic.write_text(file, json.dumps(record, indent=1) + "\n")
    print(f"{file.relative_to(ROOT)}: {[row['agreement']['num_same'] for row in found['artefacts']]} of the answers are the same")


if __name__ == "__main__":
    main()

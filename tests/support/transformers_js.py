"""transformers.js in Node (tests/clients/run.mjs), as a function; tests that use it are skipped where Node or the packages are absent."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "clients"


@functools.cache
def node() -> subprocess.Popen[str]:
    """The one Node process of this process; it ends when its stdin does."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node (https://nodejs.org): transformers.js is not tested")
    if not (FOLDER / "node_modules" / "@huggingface" / "transformers").is_dir():
        pytest.skip("no transformers.js: 'make node' installs it into tests/clients")
    return subprocess.Popen(
        [program, str(FOLDER / "run.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )


def answers(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests as run.mjs takes them -> {"result": ...} or {"error": ...} of each."""
    process = node()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(requests) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, f"Node ended with {process.wait(10)}"
    found: list[dict[str, Any]] = json.loads(line)
    return found


def run(task: str, model: Path, *inputs: Any, dtype: str | None = "fp32", **options: Any) -> Any:
    """The result of one call of a pipeline (or of the other tasks of run.mjs, which take one input)."""
    pipeline = "-" in task
    request = {"task": task, "model": str(model), "inputs": list(inputs) if pipeline else inputs[0], "options": options}
    (answer,) = answers([request | ({"dtype": dtype} if dtype else {})])
    assert "result" in answer, answer["error"]
    return answer["result"]

"""A GLUE of a few rows whose labels one word gives away, and `electra finetune` on it."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import pytest

from electra import cli, command_runner

QUICK = ("--batch-size", "16", "--threads", "1", "--device", "cpu", "--max-length", "20", "--layerwise-lr-decay", "1", "--dropout", "0")


def write_glue(root: Path) -> Path:
    """SST-2 (is there a good word?), STS-B (its number), RTE: labels that a word gives away."""
    rng = random.Random(3)
    headers = {"SST-2": "sentence\tlabel", "RTE": "sentence1\tsentence2\tlabel", "STS-B": "sentence1\tsentence2\tscore"}
    for name, header in headers.items():
        (root / name).mkdir()
        for split, count in (("train", 96 if name == "SST-2" else 32), ("dev", 30)):
            rows = [header]
            for _ in range(count):
                good = rng.randrange(2)
                text = f"{' '.join(rng.choices('the film story was a of'.split(), k=4))} {'good' if good else 'bad'}"
                row = {"SST-2": f"{text}\t{good}", "RTE": f"{text}\ta film\t{'entailment' if good else 'not_entailment'}"}
                rows.append({**row, "STS-B": f"{text}\ta film\t{4.5 if good else 0.5}"}[name])
            (root / name / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return root


def arguments(task: str, start: Path, glue: Path, output: Path, *more: str) -> list[str]:
    """The command line of a quick fine-tuning."""
    words = ["finetune", task, "--model", str(start), "--data", str(glue), "--output", str(output), *QUICK]
    return [*words, *(() if "--learning-rate" in more else ("--learning-rate", "2e-3")), *more]


def finetune(task: str, start: Path, glue: Path, output: Path, *more: str) -> int:
    return cli.main(arguments(task, start, glue, output, *more))


def trials_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials as calls instead of processes: a process takes seconds to import torch."""

    def run_here(argv: list[str], folder: Path, environment: dict[str, str], started: Any = None) -> command_runner.Ended:
        output = io.StringIO()
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(argv)
        error = output.getvalue().splitlines()[-1].removeprefix("electra: ") if code else None
        return command_runner.Ended(returncode=code, seconds=1.0, peak_memory_bytes=10**8, error=error)

    monkeypatch.setattr(command_runner, "run_process", run_here)

"""`electra pretrain` as a user types it -> its speed from window to window of its own log, and what the GPU did meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from section import environment


def pretrain(
    preset: str, shards: Sequence[Path], output: Path, *flags: str, steps: int, window: int, threads: int, watch_gpu: bool = False
) -> dict[str, Any]:
    """A training of so many steps -> tokens per second of each window of steps but the first, FLOPs per token, GPU utilization samples.

    Nothing is evaluated, and nothing saved before the end, so that windows hold updates alone.

    Raises:
        RuntimeError: it failed, with its last line.
    """
    never = str(10 * steps)
    words = [sys.executable, "-m", "electra.cli", "pretrain", preset, "--data", *map(str, shards), "--output", str(output)]
    words += ["--num-train-steps", str(steps), "--log-every", str(window), "--evaluate-every", never, "--checkpoint-every", never]
    words += ["--keep-checkpoints", "1", "--show-examples", "0", "--threads", str(threads), *flags]
    log, busy = output / "metrics.jsonl", []
    with (output.parent / f"{output.name}.log").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(words, env=environment(threads), stdout=errors, stderr=errors)
        while process.poll() is None:
            time.sleep(0.25)
            if watch_gpu and 1 <= len(train_lines(log)) < steps // window:
                busy.append(gpu_utilization())
        if process.returncode:
            errors.seek(0)
            last = next((line for line in reversed(errors.read().splitlines()) if line.strip()), "no message")
            raise RuntimeError(f"electra pretrain {preset} ended with exit code {process.returncode}: {last[:300]}")
    found = train_lines(log)
    out: dict[str, Any] = {"tokens_per_second": [line["tokens_per_second"] for line in found[1:] or found]}
    out["flops_per_token"] = found[-1]["flops"] / found[-1]["tokens"]
    return out | ({"gpu_busy": [each for each in busy if each is not None]} if watch_gpu else {})


def train_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of training in a metrics.jsonl that may still grow."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [found for line in lines if line and (found := json.loads(line))["kind"] == "train"]


def gpu_utilization() -> float | None:
    """The share of the last moments in which the first GPU ran a kernel; None where the driver does not tell."""
    words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        return float(done.stdout.split()[0]) / 100
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None

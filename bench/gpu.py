"""Pre-training on a GPU: real tokens per second, the share of the measured bf16 peak, and how busy the GPU was.

`electra pretrain`, as a user types it, of `small` and `base` at 128 and 512 tokens (examples are packed from sentences, and nothing is padded), with
and without --compile. The peak is what large bf16 products reached on this very GPU, not a data sheet's; FLOPs are those of the run's own log
(3 x forward, vocabulary logits at masked positions alone). Busy: the share of time in which some kernel ran, as the driver tells it, sampled
between the first and the last window of the log. Skipped where there is no CUDA device.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import models
from machine_limits import GPU_SHAPES
from section import Skipped, Target, Work, at_least, electra, environment, middle, spread, table
from training_run import pretrain
from turns import Candidate

RUNS = (("small", 128, 512), ("small", 512, 128), ("base", 128, 256), ("base", 512, 64))
"""Preset, tokens, examples of a batch."""
TEXT_MB = 50.0
ASKED_SMALL, ASKED_MFU, ASKED_BUSY = 2.0e6, 45.0, 95.0


def peak(work: Work) -> float:
    """Operations per second of large bf16 products on this GPU, as the section 'machine' has measured, or now.

    Raises:
        Skipped: no CUDA device.
    """
    known = work.machine.get("gpu")
    if not known:
        with Candidate(sys.executable, "machine_limits.py", environment=environment(work.threads)) as process:
            found = process.ask("examine_gpu", seconds=0.1 if work.quick else 4.0)
        if found is None:
            raise Skipped("no CUDA device")
        return middle(found["products"][f"bf16, {next(iter(GPU_SHAPES))}"])["median"]
    return float(known["products"][f"bf16, {next(iter(GPU_SHAPES))}"]["median"])


def measure(work: Work) -> dict[str, Any]:
    """Every shape, without and with --compile."""
    limit = peak(work)
    text = models.plain_text(work, 0.5 if work.quick else TEXT_MB, "gpu.txt")
    shards = work.folder / "shards-gpu"
    electra("prepare", text, "--tokenizer", models.vocabulary(work), "--output", shards, threads=work.threads)
    steps, rows = (20, []) if work.quick else (400, [])
    total = 2 * len(RUNS)
    for index, (preset, length, batch) in enumerate(RUNS):
        for compiled in (False, True):
            flags = ["--sequence-length", str(length), "--batch-size", str(batch), "--total-batch-size", str(batch), "--device", "cuda"]
            flags += ["--precision", "bf16", *(["--compile"] if compiled else [])]
            row: dict[str, Any] = {"preset": preset, "length": length, "batch": batch, "compile": compiled}
            work.progress((2 * index + compiled) / total, f"{preset}, {batch} x {length}" + (", compiled" if compiled else ""))
            try:
                output = work.folder / f"gpu-{preset}-{length}-{compiled}"
                found = pretrain(preset, [shards], output, *flags, steps=steps, window=steps // 10, threads=work.threads, watch_gpu=True)
                speed = middle(found["tokens_per_second"])
                row |= {"raw": found, "tokens_per_second": speed, "mfu": speed["median"] * found["flops_per_token"] / limit}
                row["busy"] = statistics.mean(found["gpu_busy"]) if found["gpu_busy"] else None
            except RuntimeError as error:
                row["error"] = str(error)
            rows.append(row)
    return {"peak_flops": limit, "steps": steps, "rows": rows}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    rows = []
    for row in result["rows"]:
        name = f"{row['preset']}, {row['batch']} x {row['length']}" + (", compiled" if row["compile"] else "")
        if "error" in row:
            rows.append([name, f"failed: {row['error']}", "-", "-"])
            continue
        busy = "-" if row["busy"] is None else f"{row['busy']:.0%}"
        rows.append([name, spread(row["tokens_per_second"], "{:,.0f}"), f"{row['mfu']:.1%}", busy])
    out = [f"Real tokens; medians of windows of {result['steps'] // 10} steps (least..most), the first left out. Measured bf16 peak:"]
    out[0] += f" {result['peak_flops'] / 1e12:,.0f} TFLOP/s."
    return [*out, "", *table(("batch", "tokens/s", "MFU against the measured peak", "GPU busy"), rows)]


def targets(result: dict[str, Any]) -> list[Target]:
    """The better of compiled and not."""
    out = []
    for preset, length, _ in RUNS:
        found = [row for row in result["rows"] if row["preset"] == preset and row["length"] == length and "error" not in row]
        best = max(found, key=lambda row: row["tokens_per_second"]["median"], default=None)
        where = f"GPU, {preset} at {length}"
        if preset == "small":
            speed = None if best is None else best["tokens_per_second"]["median"] / 1e6
            out.append(at_least(f"{where}: real tokens per second", speed, ASKED_SMALL / 1e6, " M"))
        else:
            out.append(at_least(f"{where}: MFU against the measured peak", None if best is None else 100 * best["mfu"], ASKED_MFU, "%"))
        busy = None if best is None or best["busy"] is None else 100 * best["busy"]
        out.append(at_least(f"{where}: GPU busy", busy, ASKED_BUSY, "%"))
    return out

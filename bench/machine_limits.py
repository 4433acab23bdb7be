"""What this machine could do at most: matrix products, memory, and a scan of text. Every other section's share is a share of these.

Products are fp32 as PyTorch makes them by default (MKL), fp32 inside `electra.cpu_kernels.onednn_matmuls` (oneDNN, where that is exact) and bf16;
of large squares, and of the shape that a layer of `small` has. Memory: a copy (two passes) and a triad (three), of arrays far beyond the caches.
The scan: one thread of Python cuts text at spaces, the least that any reader does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import turns
from section import Skipped, Target, Work, environment, middle, spread, table

SHAPES = {"square": (2048, 2048, 2048), "layer of small": (4096, 256, 1024)}
QUICK_SHAPES = {"square": (256, 256, 256), "layer of small": (512, 64, 256)}
GPU_SHAPES = {"square": (8192, 8192, 8192)}
KINDS = ("fp32, PyTorch's default", "fp32, oneDNN", "bf16")


def rates(work: Callable[[], Any], amount: float, seconds: float, rounds: int = 5) -> list[float]:
    """Amount of work per second, once per round: as many repetitions as fit into its share of the time."""
    work()
    start = time.perf_counter()
    work()
    repetitions = max(1, int(seconds / rounds / max(time.perf_counter() - start, 1e-7)))
    out = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repetitions):
            work()
        out.append(amount * repetitions / (time.perf_counter() - start))
    return out


def products(kind: str, shape: tuple[int, int, int], seconds: float, device: str) -> list[float] | None:
    """Operations per second; None where this machine has no such products."""
    import contextlib

    import torch

    from electra.cpu_kernels import onednn_matmuls, uses_onednn

    place = torch.device(device)
    rows, inner, columns = shape
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    left, right = torch.randn(rows, inner, device=place, dtype=dtype), torch.randn(inner, columns, device=place, dtype=dtype)
    out = torch.empty(rows, columns, device=place, dtype=dtype)

    def multiply() -> None:
        torch.mm(left, right, out=out)
        if place.type == "cuda":
            torch.cuda.synchronize()

    with onednn_matmuls(place) if kind == KINDS[1] else contextlib.nullcontext():
        if kind == KINDS[1] and not uses_onednn():
            return None
        return rates(multiply, 2.0 * rows * inner * columns, seconds)


def bandwidth(num_bytes: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Bytes per second, read and written, of a copy and of a triad."""
    import torch

    a, b, c = (torch.ones(num_bytes // 4, device=device) for _ in range(3))

    def waited(work: Callable[[], Any]) -> Callable[[], None]:
        def done() -> None:
            work()
            if a.is_cuda:
                torch.cuda.synchronize()

        return done

    copy = rates(waited(lambda: b.copy_(a)), 2.0 * num_bytes, seconds)
    return {"copy": copy, "triad": rates(waited(lambda: torch.add(b, c, alpha=3.0, out=a)), 3.0 * num_bytes, seconds)}


def scan(path: Path, seconds: float) -> dict[str, list[float]]:
    """Bytes of text per second: cut at spaces, and cut and looked up one by one, as a chunk cache has to."""
    data = path.read_bytes()[:16_000_000]
    lines = data.decode("utf-8", errors="replace").split("\n")
    known = dict.fromkeys((chunk for line in lines for chunk in line.split(" ")), b"")
    find = known.__getitem__

    def cut() -> None:
        for line in lines:
            line.split(" ")

    def look_up() -> None:
        for line in lines:
            b"".join(map(find, line.split(" ")))

    return {"cut at spaces": rates(cut, len(data), seconds), "cut and looked up": rates(look_up, len(data), seconds)}


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """All limits, in a process of its own."""
    import torch

    torch.set_num_threads(request["threads"])
    quick, seconds = request["quick"], request["seconds"]
    shapes = QUICK_SHAPES if quick else SHAPES
    out: dict[str, Any] = {"products": {}, "torch": torch.__version__}
    for name, shape in shapes.items():
        for kind in KINDS:
            out["products"][f"{kind}, {name}"] = products(kind, shape, seconds, "cpu")
    out["memory"] = bandwidth(4_000_000 if quick else 512_000_000, seconds, "cpu")
    out["scan"] = scan(Path(request["text"]), seconds)
    gpu = examine_gpu(seconds)
    return out | ({"gpu": gpu} if gpu else {})


def examine_gpu(seconds: float) -> dict[str, Any] | None:
    """The first GPU's limits; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = {f"bf16, {name}": products("bf16", shape, 2 * seconds, "cuda") for name, shape in GPU_SHAPES.items()}
    return {"name": torch.cuda.get_device_name(0), "memory": bandwidth(4_000_000_000, seconds, "cuda"), "products": found}


def measure(work: Work) -> dict[str, Any]:
    """The machine's limits, raw and as medians."""
    import models

    try:
        text = models.plain_text(work, 0.2 if work.quick else 16, "scan.txt")
    except Skipped:
        text = models.write_text(work.folder / "made-up.txt", 20_000)
    work.progress(0.0, "matrix products, memory, scan of text")
    with turns.Candidate(sys.executable, "machine_limits.py", environment=environment(work.threads)) as process:
        raw = process.ask("examine", threads=work.threads, quick=work.quick, seconds=0.05 if work.quick else 2.0, text=str(text))

    def summary(found: dict[str, Any]) -> dict[str, Any]:
        return {name: None if values is None else middle(values) for name, values in found.items()}

    out = {"threads": work.threads, "raw": raw} | {name: summary(raw[name]) for name in ("products", "memory", "scan")}
    if "gpu" in raw:
        out["gpu"] = {"name": raw["gpu"]["name"]} | {name: summary(raw["gpu"][name]) for name in ("products", "memory")}
    return out


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""

    def rows(found: dict[str, Any], where: str) -> list[list[str]]:
        out = []
        for part, unit, scale in (("products", "GFLOP/s", 1e9), ("memory", "GB/s", 1e9), ("scan", "MB/s", 1e6)):
            for name, values in found.get(part, {}).items():
                shown = "not on this machine" if values is None else spread({k: v / scale for k, v in values.items()}, "{:,.1f}") + f" {unit}"
                out.append([f"{where}{part}: {name}", shown])
        return out

    found = rows(result, "") + (rows(result["gpu"], "GPU, ") if "gpu" in result else [])
    note = "" if "gpu" in result else ["", "GPU: no CUDA device: not run."]
    return [
        f"Medians of five rounds (least..most), {result['threads']} threads; the scan: one thread.",
        "",
        *table(("limit", "measured"), found),
        *note,
    ]


def targets(result: dict[str, Any]) -> list[Target]:
    """None: limits are what others are measured by."""
    return []


if __name__ == "__main__":
    turns.serve(lambda request: examine(request) if request["kind"] == "examine" else examine_gpu(request["seconds"]))

"""Trial updates -> seconds per update and memory (`electra pretrain --dry-run`); and a device's peak FLOP/s, of which MFU is a fraction.

Nothing is logged or kept. Where an update takes long (a batch of thousands on a CPU) its time is computed from quick microbatches, by
turns one and two per step: the difference is a microbatch's time, the remainder the optimizer's.
"""

from __future__ import annotations

import copy
import functools
import math
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from electra import environment
from electra.contracts import Batch, BatchStream
from electra.errors import LESS_MEMORY, UserError
from electra.settings import LoopSettings, OptimizerSettings
from electra.terminal import data_size
from electra.train.distributed import Ranks, recompute
from electra.train.evaluation import autocast
from electra.train.loop import TRIAL_NUM_STEPS, Run, trial_seconds
from electra.train.run_log import RunLog

_TRIAL_SECONDS = 15.0
"""Time spent on measured updates."""
_QUICK = 2.0
"""A microbatch that takes longer is not made larger."""
_WHOLE = 8.0
"""The time of an update estimated to take longer is computed from smaller ones."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the trial measured on one rank."""

    seconds_per_update: float
    """Of the fastest updates: other processes on the machine only add time."""
    slowdown: float
    """Mean time of an update relative to the fastest; well above 1 on a busy machine."""
    other_cores: float = 0.0
    """CPU cores that other processes used meanwhile; 0 where it is not known."""
    tokens_per_update: float
    """Real tokens, all ranks together."""
    num_updates: int
    """Updates measured."""
    examples_per_microbatch: int
    """As measured; smaller than the batch where that would have taken too long."""
    whole: bool
    """Whether whole updates were timed."""
    peak_bytes: int
    """Peak memory while measuring: the device's on CUDA, this process's elsewhere."""
    num_parameters: int
    """Trained parameters, tied ones once."""


def time_updates(
    objective: nn.Module,
    open_stream: Callable[[int], BatchStream],
    settings: LoopSettings,
    optimizer: OptimizerSettings,
    ranks: Ranks,
    seconds: float | None = None,
) -> Timing:
    """Train for about twice `seconds` (15 if not given) on `open_stream(examples per microbatch)` -> what an update takes.

    Raises:
        UserError: a microbatch does not fit into the GPU's memory.
    """
    log = RunLog(Path(), active=False)
    run = Run(objective=objective, stream=open_stream(1), settings=settings, optimizer=optimizer, log=log, save=lambda _: None, ranks=ranks)
    run.num_steps = TRIAL_NUM_STEPS
    run.prepare()
    if ranks.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _clocks()
    try:
        found = _time(run, open_stream, settings, ranks, _TRIAL_SECONDS if seconds is None else seconds)
        busy, own, taken = (after - start for after, start in zip(_clocks(), before, strict=True))
        mine = ranks.sum_counts([round(1e6 * own)])[0] / 1e6
        return replace(found, other_cores=max(0.0, (busy - mine) / taken) if math.isfinite(busy) else 0.0)
    except torch.cuda.OutOfMemoryError:
        smaller = f"--batch-size {max(1, settings.batch_size // 2)} --accumulation {2 * settings.accumulation}"
        raise UserError(f"batch_size {settings.batch_size} does not fit into this GPU's memory; try {smaller}") from None


def _clocks() -> tuple[float, float, float]:
    """Seconds: of all processors working on anything, of this process computing, of the clock."""
    return environment.busy_seconds(), time.process_time(), time.monotonic()


def _time(run: Run, open_stream: Callable[[int], BatchStream], settings: LoopSettings, ranks: Ranks, limit: float) -> Timing:
    tokens: list[int] = []

    def update(accumulation: int) -> None:
        run.settings, before = replace(settings, accumulation=accumulation), run.tokens
        run.update()
        tokens.append(run.tokens - before)

    examples, quick = _microbatch(run, open_stream, update, settings.batch_size, ranks)
    microbatches = settings.batch_size * settings.accumulation / examples
    whole = examples == settings.batch_size and bool(ranks.agree(quick * settings.accumulation <= _WHOLE))
    kinds = (settings.accumulation,) if whole else (1, 2)
    fastest, num_updates, slowdown, per_microbatch = [], 0, 1.0, 0.0
    for kind in kinds:
        times = trial_seconds(functools.partial(update, kind), ranks, lambda found: len(found) >= 3 and sum(found) >= limit / len(kinds))
        read = tokens[-len(times) :]
        # The fastest update per token: whatever else the machine does can only add to it.
        fastest.append(min(taken / count for taken, count in zip(times, read, strict=True)) * statistics.mean(read))
        num_updates, slowdown, per_microbatch = num_updates + len(times), statistics.mean(times) / fastest[-1], statistics.mean(read) / kind
    one, two = fastest[0], fastest[-1]
    # The difference of two noisy times is clamped: an optimizer takes between none and half of an update's time.
    each = min(max(two - one, 0.5 * one), one)
    return Timing(
        seconds_per_update=one if whole else one - each + microbatches * each,
        slowdown=slowdown,
        tokens_per_update=per_microbatch * microbatches,
        num_updates=num_updates,
        examples_per_microbatch=examples,
        whole=whole,
        peak_bytes=_peak_bytes(ranks.device),
        num_parameters=run.adam.num_parameters,
    )


def _microbatch(run: Run, open_stream: Callable[[int], BatchStream], update: Callable[[int], None], largest: int, ranks: Ranks) -> tuple[int, float]:
    """Examples of a microbatch that is quick enough to repeat (all of them on a GPU, elsewhere grown from one), and its seconds."""
    examples = largest if ranks.device.type == "cuda" else 1
    while True:
        run.stream = open_stream(examples)
        update(1)
        start = time.perf_counter()
        update(1)
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - start
        if examples >= largest or not ranks.agree(taken < _QUICK):
            return examples, taken
        examples = min(largest, 4 * examples)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return environment.peak_memory_bytes()


def activation_bytes(objective: nn.Module, batch: Batch) -> int:
    """Bytes that one (uncompiled) forward pass keeps for its backward pass, weights excluded."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*objective.parameters(), *objective.buffers()]}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    objective.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # The output is held until all are counted: a freed tensor's address could be reused.
        output = objective(batch)
    del output
    return sum(kept.values())


def bytes_per_parameter(moments: str) -> int:
    """Bytes of a trained parameter: its weight and gradient in fp32, and Adam's two moments ('fp32' or 'bf16')."""
    return 12 if moments == "bf16" else 16


def memory_needed(objective: nn.Module, batch: Batch, num_examples: int, settings: LoopSettings, ranks: Ranks, moments: str) -> float:
    """Bytes that training takes on this rank: weights, gradients, moments, and what a microbatch keeps, from `batch`, which has `num_examples`.

    The objective is left as it is.
    """
    trial = copy.deepcopy(objective).to(ranks.device)
    if settings.activation_checkpointing:
        recompute(trial)
    with torch.random.fork_rng(devices=[]), autocast(ranks.device, settings.precision):
        activations = activation_bytes(trial, batch.to(ranks.device)) / num_examples * settings.batch_size
    kept = bytes_per_parameter(moments)
    size = sum(parameter.numel() * kept if parameter.requires_grad else parameter.nbytes for parameter in objective.parameters())
    return size / (ranks.world_size if settings.parallel == "fsdp" else 1) + activations


def memory_warning(needed: float, ranks: Ranks) -> str | None:
    """The line for a training that needs more memory than is free now; None if it fits, or the system does not say."""
    cuda = ranks.device.type == "cuda"
    free = torch.cuda.mem_get_info(ranks.device)[0] if cuda else environment.free_memory_bytes()
    if free is None or needed <= free:
        return None
    where = "of the GPU's memory" if cuda else "of memory"
    return f"warning: training takes about {data_size(needed)} {where}, {data_size(free)} are free: it may be stopped; {LESS_MEMORY}"


# ---- peak FLOP/s ----

PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX A6000": 154.8,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
"""Words of a GPU's name -> TFLOP/s of dense bf16 matmuls accumulated in fp32; the first entry whose words all occur.

Source: NVIDIA's data sheets and (for the two GeForces) its Ada and GA102 white papers, without sparsity.
"""
_OTHERS = {"Ti", "SUPER", "Laptop", "D"}
"""Words that denote a different GPU."""
_PEAK_SECONDS = 1.0


def known_tflops(name: str) -> float | None:
    """A GPU's name -> its bf16 peak, TFLOP/s; None if not in the table."""
    words = set(re.split(r"[ -]", name))
    return None if words & _OTHERS else next((peak for key, peak in PEAK_TFLOPS.items() if set(key.split()) <= words), None)


def stated_tflops(given: float | None, device: torch.device, half: bool) -> float | None:
    """TFLOP/s: the value given, else the table's for this GPU if it computes in bf16, else None."""
    if given is not None or device.type != "cuda" or not half:
        return given
    return known_tflops(torch.cuda.get_device_name(device))


def measured_tflops(device: torch.device, precision: str) -> float:
    """TFLOP/s of large matmuls on this device now, in the precision of training; takes about a second."""
    size = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    best, started = float("inf"), time.monotonic()
    with torch.no_grad(), autocast(device, precision):
        while time.monotonic() - started < _PEAK_SECONDS:
            start = time.perf_counter()
            product = one @ other
            product[0, 0].item()  # waits for the device
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12

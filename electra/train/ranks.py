"""Who else trains: torchrun's environment, the process group, the wrapper, sums over ranks. One process where there is none.

The only file that imports torch.distributed. Data parallelism replicates the model on every rank (DDP); sharding it
(FSDP2) is not built yet. The contract kept here and by the loop: 2 ranks x B examples equal 1 rank x 2B.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from electra.contracts import Batch
from electra.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this rank writes files and progress."""
        return self.rank == 0

    def place(self, batch: Batch) -> Batch:
        """The batch on this rank's device; through pinned memory on CUDA, so that the copy overlaps with what it still computes."""
        if self.device.type == "cuda":
            values = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
            pinned: dict[str, Any] = {name: value.pin_memory() for name, value in values.items() if isinstance(value, Tensor)}
            batch = dataclasses.replace(batch, **pinned)
        return batch.to(self.device)

    def sum_counts(self, counts: list[int]) -> list[int]:
        """Host integers summed over ranks, without touching the device."""
        if self.world_size == 1:
            return counts
        tensor = torch.tensor(counts, dtype=torch.int64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sum_(self, values: Tensor) -> Tensor:
        """A device tensor summed over ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """The first rank's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Return when every rank is here."""
        if self.world_size > 1:
            dist.barrier()

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over ranks."""
        if self.world_size == 1:
            return objective
        return nn.parallel.DistributedDataParallel(objective, gradient_as_bucket_view=True)

    def quiet(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around every microbatch but the last: gradients are only exchanged once an update."""
        if last or not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return wrapped.no_sync()


def choose_device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda' or 'mps' -> a device that is there.

    Raises:
        UserError: the named kind is not on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, available in there.items() if available)
    if not there.get(name, False):
        raise UserError(f"device '{name}' is not available here; use --device auto")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if name == "cuda" else torch.device(name)


@contextlib.contextmanager
def join(device: str = "auto", threads: int = 0) -> Iterator[Ranks]:
    """Set this process up for training and join the others where torchrun started several."""
    place = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    if place.type == "cpu":
        keep_memory()
    else:
        torch.set_float32_matmul_precision("high")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1 or dist.is_initialized():
        started = dist.is_initialized()
        yield Ranks(dist.get_rank() if started else 0, dist.get_world_size() if started else 1, place)
        return
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(minutes=30))
    try:
        yield Ranks(dist.get_rank(), world_size, place)
    finally:
        dist.destroy_process_group()


def keep_memory() -> None:
    """Let glibc keep large freed blocks for the next step instead of returning them to the kernel.

    By default a large tensor is mapped anew each time it is made, and the kernel zeroes its pages on first touch. Measured
    (glibc 2.36, one thread, a (4096, 256) x (256, 4096) product with gelu, forward and backward): 99,000-101,000 page faults
    and 0.52-0.74 s without, 2,000-3,300 and 0.36-0.44 s with; the peak memory grows (524 MB to 0.9-1.0 GB there).
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD

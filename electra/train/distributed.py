"""torchrun's environment -> `Ranks`: the process group, DDP or FSDP2, sums over ranks; without torchrun a single process.

The only module that imports torch.distributed. Data parallelism replicates the model on every rank (DDP) or shards it (FSDP2). The
contract kept here and by the loop: 2 ranks x B examples equal 1 rank x 2B. What sharding needs is imported where it is used, because
distributed tensors take one to two seconds to import.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.contracts import Batch
from electra.cpu_kernels import onednn_matmuls
from electra.errors import UserError

_PATIENCE = datetime.timedelta(minutes=30)
"""How long ranks wait for each other."""


def blocks(network: nn.Module) -> list[nn.Module]:
    """The members of every ModuleList (a transformer's layers): what is sharded, compiled and recomputed one at a time."""
    return [block for stack in network.modules() if isinstance(stack, nn.ModuleList) for block in stack]


def recompute(network: nn.Module) -> None:
    """Activation checkpointing: every block keeps only its input and recomputes the rest in the backward pass."""
    for block in blocks(network):
        if "forward" in vars(block):
            continue  # already done
        # On the instance, so that parameters keep their names, and below __call__, where sharding has its hooks.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


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

    def to_device(self, batch: Batch) -> Batch:
        """The batch on this rank's device; through pinned memory on CUDA, so that the copy overlaps with computation."""
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
        """Return when every rank has called it."""
        if self.world_size > 1:
            dist.barrier()

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over ranks."""
        if self.world_size == 1 or _is_sharded(objective):
            return objective
        return nn.parallel.DistributedDataParallel(objective, gradient_as_bucket_view=True)

    def no_sync(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around every microbatch but the last: gradients are exchanged only once per update."""
        if _is_sharded(wrapped):
            cast(Any, wrapped).set_requires_gradient_sync(last)
        if last or not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return wrapped.no_sync()

    # ---- sharded models ----

    def shard(self, objective: nn.Module, *, half: torch.dtype | None) -> None:
        """Keep only this rank's shard of every parameter, in place; `half`: the type they are gathered in; gradients are summed as float32."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(self.device.type, (self.world_size,))
        # Between blocks autocast decides the precision, as without sharding.
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for block in blocks(objective):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        # Everything outside the blocks belongs to the root, which stays gathered from its first use in a step to its last: embeddings
        # shared by generator and discriminator are one parameter with one gradient.
        fully_shard(objective, mesh=mesh, mp_policy=policy)

    @contextlib.contextmanager
    def gathered(self, objective: nn.Module) -> Iterator[None]:
        """Within, a sharded objective has whole parameters on the first rank, in main memory, to be saved. Every rank must enter."""
        for module in filter(_is_sharded, objective.modules()):
            cast(Any, module).reshard()
        places = [(m, name, p) for m in objective.modules() for name, p in m.named_parameters(recurse=False) if _is_shard(p)]
        full: dict[int, nn.Parameter] = {}
        for _, _, part in places:
            if id(part) not in full:
                gathered = cast(Any, part.detach()).full_tensor()
                full[id(part)] = nn.Parameter(gathered.cpu(), part.requires_grad) if self.first else part
        for module, name, part in places:
            setattr(module, name, full[id(part)])
        try:
            yield
        finally:
            for module, name, part in places:
                setattr(module, name, part)

    def unshard(self, objective: nn.Module) -> None:
        """Allow the networks of a sharded objective to be called on their own until the next update."""
        if _is_sharded(objective):
            cast(Any, objective).unshard()

    def is_sharded(self, objective: nn.Module) -> bool:
        """Whether the objective was sharded."""
        return _is_sharded(objective)

    def write_shards(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        """Every rank writes its shards of `tensors` into its own safetensors file."""
        import torch.distributed.checkpoint as dcp

        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))

    def read_shards(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        """Fill `tensors`, whole or sharded, in place from the safetensors files in `folder`, for any number of ranks that wrote them.

        Raises:
            OSError: they cannot be read.
        """
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.api import CheckpointException

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one rank is intended
                dcp.load(tensors, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=self.world_size == 1)
        except CheckpointException as error:
            raise OSError(next((str(cause[0]) for cause in error.failures.values()), str(error))) from None


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> whole shape of every tensor in the (sharded) safetensors files of `folder`.

    Raises:
        ValueError: a shard is missing.
    """
    import torch.distributed.checkpoint as dcp

    shapes: dict[str, tuple[int, ...]] = {}
    for name, stored in dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata.items():
        assert isinstance(stored, dcp.TensorStorageMetadata)  # the only kind in safetensors
        if sum(chunk.sizes.numel() for chunk in stored.chunks) != stored.size.numel():
            raise ValueError(f"a part of {name} is missing")
        shapes[name] = tuple(stored.size)
    return shapes


def _is_sharded(module: nn.Module) -> bool:
    return hasattr(module, "set_requires_gradient_sync")


def _is_shard(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")


def local_shard(tensor: Tensor) -> Tensor:
    """This rank's shard of a sharded tensor, in the same memory; any other tensor unchanged."""
    return cast(Any, tensor.detach()).to_local() if _is_shard(tensor) else tensor


def shard_like(tensor: Tensor, whole: Tensor) -> Tensor:
    """This rank's shard of a tensor laid out like `whole` -> that tensor; unchanged where `whole` is not sharded."""
    if not _is_shard(whole):
        return tensor
    from torch.distributed.tensor import DTensor

    layout = cast(DTensor, whole)
    return DTensor.from_local(tensor, layout.device_mesh, layout.placements, run_check=False, shape=layout.shape, stride=layout.stride())


def restarted() -> bool:
    """Whether torchrun has restarted this process because a rank failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def choose_device(name: str = "auto", automatic: Sequence[str] = ("cuda", "mps", "cpu")) -> torch.device:
    """'cpu', 'cuda' (this rank's GPU), 'cuda:1' or 'mps', or 'auto', the first available of `automatic` -> an available device.

    Raises:
        UserError: it is not available here.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in automatic if there[kind])
    try:
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if name == "cuda" else torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available: {str(error).splitlines()[0]}; use 'auto' or 'cpu'") from None
    return place


@contextlib.contextmanager
def join(device: str = "auto", threads: int = 0) -> Iterator[Ranks]:
    """Set this process up for training, and join the others if torchrun started several."""
    place = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    if place.type == "cpu":
        keep_memory()
    else:
        torch.set_float32_matmul_precision("high")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    with onednn_matmuls(place), _joined(place) as ranks:
        yield ranks


@contextlib.contextmanager
def _joined(place: torch.device) -> Iterator[Ranks]:
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1 or dist.is_initialized():
        started = dist.is_initialized()
        yield Ranks(dist.get_rank() if started else 0, dist.get_world_size() if started else 1, place)
        return
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    store, rank, world_size = next(dist.rendezvous("env://", timeout=_PATIENCE))
    store = dist.PrefixStore(_this_start(store, rank, world_size), store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world_size, place)
    finally:
        dist.destroy_process_group()


def _this_start(store: dist.Store, rank: int, world_size: int) -> str:
    """A name that all ranks of this start share, and that no earlier start had.

    torchrun keeps one store for all its starts (PyTorch 2.13), with the addresses of dead processes, which a fast rank would try to
    reach. The number of restarts does not identify a start: each node counts its own.
    """
    mine = uuid.uuid4().hex
    if rank == 0:
        store.set("leader", mine)
        for other in range(1, world_size):
            store.set(f"{mine}/{store.get(f'{mine}/{other}').decode()}", "welcome")
        return mine
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while True:
        leader = store.get("leader").decode()
        store.set(f"{leader}/{rank}", mine)
        try:
            store.wait([f"{leader}/{mine}"], datetime.timedelta(seconds=1))  # the leader of an earlier start will not answer
            return leader
        except dist.DistStoreError:
            if time.monotonic() > deadline:
                raise


def keep_memory() -> None:
    """Let glibc keep large freed blocks for the next step instead of returning them to the kernel.

    By default a large tensor is mapped anew each time, and the kernel zeroes its pages on first touch. Measured (glibc 2.36, one
    thread, a (4096, 256) x (256, 4096) matmul with gelu, forward and backward): 99,000-101,000 page faults and 0.52-0.74 s without,
    2,000-3,300 and 0.36-0.44 s with; peak memory grows (524 MB to 0.9-1.0 GB there).
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
        mallopt(-8, 1)  # M_ARENA_MAX: what the backward thread frees serves the forward one

"""Checkpoints of a run: written atomically, found again, and resumed bit-exactly.

    RUN/checkpoints/step-00001000/    what the caller's `save` writes (a Hugging Face directory), and
        training/weights.safetensors  every parameter and buffer of the objective, in its own precision
                 optimizer.safetensors  the optimizer's moments and counters
                 shard-*.safetensors  instead of these two where the model is sharded: each rank's shard of both
                 state.json           step, tokens, seconds, number of steps, examples per update, every rank's position in its batches

No random state is stored, because none is carried from step to step: `seed_step` seeds the generators before every update from the
run's seed and the step. Resuming is bit-exact with the same hardware, threads and number of ranks; with another number of ranks every
update has the same examples (`split_global_batch`), and results are equal to rounding where there is no dropout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from electra.errors import UserError, parse_json, raise_if_device
from electra.settings import LoopSettings
from electra.storage import atomic
from electra.train.distributed import Ranks, local_shard, stored_shapes
from electra.train.optimizer import Adam, LossScale

ALONE = Ranks(0, 1, torch.device("cpu"))
"""A single process."""
_NAME = re.compile(r"step-(\d{8,})")


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed PyTorch's generators for update `step` of this rank."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def checkpoint_folder(run: Path, step: int) -> Path:
    """RUN/checkpoints/step-XXXXXXXX."""
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    folder = run / "checkpoints"
    found = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def latest_checkpoint(run: Path | str) -> Path | None:
    """The newest checkpoint of a run that can be continued; None if there is none."""
    return next((path for path in reversed(checkpoints(Path(run))) if (path / "training" / "state.json").exists()), None)


def prune(run: Path, keep: int, keep_steps: Sequence[int]) -> None:
    """Remove all checkpoints but the newest `keep` and those of `keep_steps`."""
    found = checkpoints(run)
    for path in found[: max(0, len(found) - max(1, keep))]:
        if int(path.name.removeprefix("step-")) not in keep_steps:
            # Renamed first, so that a half-deleted folder never carries a checkpoint's name.
            doomed = path.with_name(f".{path.name}.old")
            os.replace(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _tensors(objective: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and buffers by name."""
    return {**dict(objective.named_parameters()), **dict(objective.named_buffers())}


def local_tensors(objective: nn.Module) -> dict[str, Tensor]:
    """The same as this rank holds them: of sharded tensors its shards, in the same memory."""
    return {name: local_shard(tensor) for name, tensor in _tensors(objective).items()}


def write_model(folder: Path, objective: nn.Module, save: Callable[[Path], None], ranks: Ranks) -> None:
    """Write `folder` atomically by `save(folder)` on the first rank; every rank must call it."""
    with ranks.gathered(objective):
        if ranks.first:
            with atomic.atomic_folder(folder) as temporary:
                save(temporary)


def write_checkpoint(
    folder: Path, objective: nn.Module, optimizer: Adam, state: Mapping[str, Any], save: Callable[[Path], None], ranks: Ranks = ALONE
) -> None:
    """Write the checkpoint `folder` atomically: `save(folder)` for the model's own files, then training/. Every rank must call it."""
    if ranks.is_sharded(objective):
        _write_sharded(folder, objective, optimizer, state, save, ranks)
    elif ranks.first:
        _write_whole(folder, objective, optimizer, state, save)


def _write_whole(folder: Path, objective: nn.Module, optimizer: Adam, state: Mapping[str, Any], save: Callable[[Path], None]) -> None:
    with atomic.atomic_folder(folder) as temporary:
        save(temporary)
        training = temporary / "training"
        training.mkdir()
        for name, tensors in (("weights", _tensors(objective)), ("optimizer", optimizer.state())):
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, training / f"{name}.safetensors")
        (training / "state.json").write_text(json.dumps(state), encoding="utf-8")


def _write_sharded(folder: Path, objective: nn.Module, optimizer: Adam, state: Mapping[str, Any], save: Callable[[Path], None], ranks: Ranks) -> None:
    """Every rank writes its shards into a folder made by the first rank, which appears when all are done."""
    with atomic.atomic_folder(folder) if ranks.first else contextlib.nullcontext(folder) as made:
        temporary = Path(ranks.agree(str(made)))
        training = temporary / "training"
        with ranks.gathered(objective):
            if ranks.first:
                save(temporary)
                training.mkdir()
        ranks.wait()
        ranks.write_shards(training, {**_tensors(objective), **optimizer.state()})
        if ranks.first:
            files = sorted(path.name for path in training.glob("*.safetensors"))
            (training / "state.json").write_text(json.dumps({**state, "files": files}), encoding="utf-8")


STATE = {"step": int, "num_steps": int, "tokens": int, "seconds": int | float, "positions": list}
"""What state.json holds at least, and the types."""


def read_state(folder: Path | str) -> dict[str, Any]:
    """A checkpoint's state.json.

    Raises:
        UserError: it is missing or damaged.
    """
    training = atomic.existing_path(folder, "checkpoint") / "training"
    with _readable(folder):
        state: dict[str, Any] = parse_json((training / "state.json").read_text(encoding="utf-8"))
        if wrong := [name for name, kind in STATE.items() if not isinstance(state, dict) or not isinstance(state.get(name), kind)]:
            raise ValueError(f"no usable {wrong[0]} in state.json")
    return state


@contextlib.contextmanager
def _readable(folder: Path | str) -> Iterator[None]:
    """Errors while reading -> UserError."""
    try:
        yield
    except FileNotFoundError as error:
        missing = Path(error.filename or "training").name
        raise UserError(f"{folder} cannot be resumed: {missing} is missing; start from its weights instead (--init)") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise_if_device(error)
        raise UserError(f"{folder}: its training state is damaged ({error}); delete this checkpoint to resume from the previous one") from None


def _check_same(folder: Path | str, mine: Mapping[str, Tensor], stored: Mapping[str, Sequence[int]]) -> None:
    """Raise a UserError if stored names or shapes are not this model's."""
    if odd := sorted(mine.keys() ^ stored.keys()):
        raise UserError(f"{folder} holds another model (first difference: {odd[0]}); resume with the run's own settings")
    for name, tensor in mine.items():
        if tuple(tensor.shape) != tuple(stored[name]):
            shapes = f"{tuple(stored[name])}, this model {tuple(tensor.shape)}"
            raise UserError(f"{folder}: {name} has shape {shapes}; resume with the run's own settings")


def read_checkpoint(folder: Path | str, objective: nn.Module, optimizer: Adam, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Load weights and optimizer from a checkpoint, in place -> its state.json.

    Raises:
        UserError: it cannot be resumed, is damaged, or belongs to another model.
    """
    state = read_state(folder)
    training, mine = Path(folder) / "training", _tensors(objective)
    if ranks.is_sharded(objective) or "files" in state:
        everything = {**mine, **optimizer.state()}
        with _readable(folder):
            if lost := [name for name in state.get("files", ()) if not (training / name).exists()]:
                raise FileNotFoundError(None, None, lost[0])
            shapes = stored_shapes(training)
        # The scale of fp16 begins anew, or is not needed, where the precision was changed.
        common = {name for name in everything if not name.startswith(LossScale.PREFIX) or name in shapes}
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(LossScale.PREFIX) or name in everything}
        everything = {name: tensor for name, tensor in everything.items() if name in common}
        _check_same(folder, everything, shapes)
        with _readable(folder), torch.no_grad():
            ranks.read_shards(training, everything)
        return state
    with _readable(folder):
        weights = load_file(training / "weights.safetensors")
        moments = load_file(training / "optimizer.safetensors")
    _check_same(folder, mine, {name: tensor.shape for name, tensor in weights.items()})
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(weights[name])
    optimizer.load_state(moments)
    return state


def rank_position(folder: Path | str, positions: Sequence[Any], ranks: Ranks) -> Any:
    """Stored positions of all ranks -> this rank's; with another number of ranks, the position that all shared.

    Raises:
        UserError: the ranks had different positions.
    """
    if len(positions) == ranks.world_size:
        return positions[ranks.rank]
    if any(position != positions[0] for position in positions):
        raise UserError(f"{folder} was written by {len(positions)} ranks; resume with as many ranks, not {ranks.world_size}")
    return positions[0]


def split_global_batch(loop: LoopSettings, checkpoint: Path | None, world_size: int) -> LoopSettings:
    """The loop settings of one of `world_size` ranks: `total_batch_size` examples per update, or as many as before `checkpoint`, in
    microbatches no larger than batch_size.

    Raises:
        UserError: the number of examples is not divisible by the number of ranks.
    """
    if checkpoint is None:
        examples, where = loop.total_batch_size, "total_batch_size"
        if examples is None:
            return loop
    else:
        state = read_state(checkpoint)
        examples = state.get("examples_per_update", len(state["positions"]) * loop.batch_size * loop.accumulation)
        if not isinstance(examples, int):
            raise UserError(f"{checkpoint}: examples_per_update is {examples!r:.40} in its state.json, which is damaged; delete this checkpoint")
        where = str(checkpoint)
    if examples == loop.batch_size * loop.accumulation * world_size:
        return loop
    if examples < 1:
        raise UserError(f"{where} is {examples}; it must be at least 1")
    per_rank, remainder = divmod(examples, world_size)
    if remainder:
        raise UserError(f"{where}: the global batch size {examples} is not divisible by {world_size} ranks; start another number of ranks")
    microbatches = next(n for n in range(1, per_rank + 1) if per_rank % n == 0 and per_rank // n <= loop.batch_size)
    return replace(loop, batch_size=per_rank // microbatches, accumulation=microbatches)

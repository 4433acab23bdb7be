"""Checkpoints of a run: written whole or not at all, found again, and continued bit by bit.

    RUN/checkpoints/step-00001000/    what the caller's `save` writes (a Hugging Face directory) and
        training/weights.safetensors  every parameter and buffer of the objective, in its own precision
                 optimizer.safetensors  the optimizer's moments and counters
                 state.json           step, tokens, seconds, number of steps, position of every rank's batches, log sums

No random state is stored, because none is carried from step to step: `seed_step` seeds the generators anew before every
update from the run's seed and the step. Continuation is bit-exact on the same machine, threads and number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from electra import disk
from electra.errors import UserError
from electra.train.optim import Adam

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
    """The newest checkpoint of a run that can be continued; None where there is none yet."""
    return next((path for path in reversed(checkpoints(Path(run))) if (path / "training" / "state.json").exists()), None)


def sweep(run: Path) -> None:
    """Remove what runs killed in the middle of writing left behind."""
    for folder in (run, run / "checkpoints"):
        for path in folder.glob(".*"):
            if path.suffix not in (".part", ".old"):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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


def write_checkpoint(folder: Path, objective: nn.Module, optimizer: Adam, state: Mapping[str, Any], save: Callable[[Path], None]) -> None:
    """Write the checkpoint `folder` atomically: `save(folder)` for the model's own files, then training/."""
    with disk.atomic_folder(folder) as temporary:
        save(temporary)
        training = temporary / "training"
        training.mkdir()
        for name, tensors in (("weights", _tensors(objective)), ("optimizer", optimizer.state())):
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, training / f"{name}.safetensors")
        (training / "state.json").write_text(json.dumps(state), encoding="utf-8")


def read_checkpoint(folder: Path | str, objective: nn.Module, optimizer: Adam) -> dict[str, Any]:
    """Load weights and optimizer from a checkpoint, in place -> its state.json.

    Raises:
        UserError: not a checkpoint that can be continued, damaged, or of another model.
    """
    training = disk.existing_path(folder, "checkpoint") / "training"
    try:
        state: dict[str, Any] = json.loads((training / "state.json").read_text(encoding="utf-8"))
        weights = load_file(training / "weights.safetensors")
        moments = load_file(training / "optimizer.safetensors")
    except FileNotFoundError as error:
        missing = Path(error.filename or training).name
        raise UserError(f"{folder} cannot be continued: {missing} is missing; start from its weights instead (--init)") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{folder}: its training state is damaged ({error}); remove it to go on from the checkpoint before") from None
    mine = _tensors(objective)
    if odd := sorted(mine.keys() ^ weights.keys()):
        raise UserError(f"{folder} holds another model (first difference: {odd[0]}); resume with the run's own settings")
    with torch.no_grad():
        for name, tensor in mine.items():
            if tensor.shape != weights[name].shape:
                shapes = f"{tuple(weights[name].shape)}, this model {tuple(tensor.shape)}"
                raise UserError(f"{folder}: {name} has shape {shapes}; resume with the run's own settings")
            tensor.copy_(weights[name])
    optimizer.load_state(moments)
    return state

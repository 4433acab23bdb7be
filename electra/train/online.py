"""A run's metrics -> a Weights & Biases project; the package is imported when a run asks for it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra import disk
from electra.errors import UserError, require


def join(project: str, folder: Path, title: str, settings: Mapping[str, Any]) -> Any:
    """The project's run for this run directory: a new one, or the one that RUN/wandb-id names, so that a resumed run goes on there.

    WANDB_MODE=offline keeps everything in RUN/wandb, to be sent later by `wandb sync`.

    Raises:
        UserError: the package is missing, or the project does not answer.
    """
    wandb = require("wandb", "wandb")
    known = folder / "wandb-id"
    if not known.exists():
        disk.write_text(known, secrets.token_hex(4) + "\n")
    try:
        run = wandb.init(project=project, name=title, id=known.read_text(encoding="utf-8").strip(), dir=folder, config=dict(settings), resume="allow")
    except wandb.errors.Error as error:
        raise UserError(f"--wandb {project}: {error}; check the name and 'wandb login', or set WANDB_MODE=offline") from None
    # A run that goes on repeats steps since its last checkpoint, which W&B's own counter would refuse; ours is an axis like any other.
    run.define_metric("*", step_metric="step")
    return run

"""electra finetune: task files + pre-trained checkpoint -> RUN with the best model, every seed and their scores."""

from __future__ import annotations

import json

from electra.errors import UserError, require
from electra.finetuning.results import score_lines
from electra.settings import FinetuneSettings


def run(settings: FinetuneSettings) -> int | None:
    """Fine-tune one task or several together in this process; a suite, a search or parallel seeds in a process per seed.

    Raises:
        UserError: the settings contradict each other.
    """
    require("torch", "train")
    from electra.finetuning import sweep

    if sweep.is_many(settings):
        if "+" in settings.task:
            raise UserError(f"{settings.task} is one network; --workers, --engine and --search are for single tasks")
        return sweep.run(settings)
    from electra.finetuning.trainer import finetune

    result = finetune(settings)
    if result.signal is not None:
        return 128 + result.signal
    if result.first:
        best = ", ".join(str(folder) for folder in result.best.values())
        lines = [*score_lines(result.scores), f"best: {best} (seed {result.scores['best_seed']})"]
        print(json.dumps(result.scores, indent=1) if settings.json else "\n".join(lines))
    return None

"""electra finetune: task files + pre-trained checkpoint -> RUN with the best model, every seed and their scores."""

from __future__ import annotations

import json

from electra import api
from electra.finetuning.results import score_lines
from electra.settings import FinetuneSettings


def run(settings: FinetuneSettings) -> int:
    """Fine-tune and report: 128 + signal if a signal stopped it, 1 if a trial of a suite or a search failed."""
    result = api.finetune(settings)
    if result.signal is not None:
        return 128 + result.signal
    if result.first:
        print(json.dumps(result.scores, indent=1) if settings.json else "\n".join(_lines(result)))
    return 1 if result.failed else 0


def _lines(result: api.FinetuneResult) -> list[str]:
    """The table of a suite or a search; else a line of scores per task, and the best model."""
    if (result.output / "table.md").exists():
        return [(result.output / "table.md").read_text(encoding="utf-8").rstrip()]
    best = ", ".join(map(str, result.best.values()))
    return [*score_lines(result.scores), f"best: {best} (seed {result.scores['best_seed']})"]

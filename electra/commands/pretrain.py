"""electra pretrain: tokenized data -> a run directory with checkpoints."""

from __future__ import annotations

from electra import api
from electra.settings import PretrainSettings
from electra.terminal import duration, say

SHOWN = ("masked_lm_loss", "disc_loss", "disc_auc", "hidden_loss", "teacher_cosine")


def run(settings: PretrainSettings) -> int:
    """Pre-train and report; 128 + signal if a signal stopped it."""
    result = api.pretrain(settings)
    if result.estimate and result.first:
        print("\n".join(result.estimate))
    elif not result.signal and result.first:
        shown = ", ".join(f"{name} {result.metrics[name]:.3f}" for name in SHOWN if name in result.metrics)
        scores = f"; held out: {shown}" if shown else ""
        say(f"{result.checkpoint}: {result.steps:,} steps, {result.tokens:,} tokens, {duration(result.seconds)}{scores}")
    return 128 + result.signal if result.signal else 0

"""A budget of FLOPs -> how many tokens a pre-training may read."""

from __future__ import annotations

from collections.abc import Sequence

from electra.command_line import from_command_line
from electra.model import flops
from electra.pretraining.setup import adopt_start
from electra.settings import PretrainSettings

TRIAL = 1_000_000


def tokens_for(flags: Sequence[str], budget: float, vocab_size: int) -> int:
    """Words of `electra pretrain`, a budget in FLOPs by the count of `electra inspect` over all phases, and the vocabulary's size -> tokens."""
    words = [*flags, "--num-train-tokens", str(TRIAL), "--output", "none"]
    settings: PretrainSettings = from_command_line(PretrainSettings, words, "electra pretrain")
    settings, _ = adopt_start(settings)
    found = flops.run_cost(settings, vocab_size)
    return round(TRIAL * budget / found.get("all_phases", found["training"])["flops_in_all"])

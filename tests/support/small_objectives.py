"""A small network in its objective, and batches of random ids for it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from electra.data.pretraining_batches import collate, example_key
from electra.model.pretraining_models import build_objective
from electra.settings import ModelSettings, ObjectiveSettings

MODEL = ModelSettings(
    hidden_size=32,
    embedding_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
    dropout=0.0,
    generator_size=0.5,
)
VOCAB, MASK, SPECIAL = 120, 4, frozenset(range(5))


def make(objective: str = "electra", model: ModelSettings = MODEL, **changes: float):
    settings = ObjectiveSettings(objective=objective, **changes)  # type: ignore[arg-type]
    return build_objective(model, settings, vocab_size=VOCAB, mask_id=MASK, special_ids=SPECIAL, sequence_length=40, seed=5)


def some_batches(num: int = 3):
    rng = np.random.default_rng(0)
    out = []
    for b in range(num):
        features = []
        for n in rng.integers(6, 36, 8):
            features.append(([2, *rng.integers(5, VOCAB, n), 3], [0] * (n + 2)))
        out.append(collate(features, [example_key(b, i) for i in range(8)]))
    return out


def untie(objective: nn.Module) -> None:
    """Make predictions differ between positions, which initial weights hardly do."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)

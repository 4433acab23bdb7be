"""Pure functions: choose positions, mask them, sample replacements, label the result.

All randomness is a hash of (a sequence's key, a position, what the number is for). It does not depend on the rank, on
the batch a sequence came in, or on the device, and needs no generator state to be saved.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from electra.contracts import Batch

CHOOSE, KEEP, SAMPLE = 1, 2, 3
"""What a random number is for."""


def _mix(values: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele et al. 2014) on int64 tensors, which wrap around as it wants."""

    def shift(v: Tensor, n: int) -> Tensor:
        return (v >> n) & ((1 << (64 - n)) - 1)

    values = (values ^ shift(values, 30)) * -4658895280553007687
    values = (values ^ shift(values, 27)) * -7723592293110705685
    return values ^ shift(values, 31)


def uniforms(keys: Tensor, positions: Tensor, purpose: int) -> Tensor:
    """(N,) int64 keys and positions -> (N,) float32 in [0, 1)."""
    state = _mix(keys + (positions + 1) * -7046029254386353131 + purpose * 3202034522624059733)
    return ((_mix(state) >> 40) & 0xFFFFFF).to(torch.float32) * (1.0 / (1 << 24))


def num_masked(lengths: tuple[int, ...], mask_prob: float) -> tuple[int, ...]:
    """How many positions of each sequence are chosen: `mask_prob` of its tokens, at least one.

    Source: the original's `pretrain_helpers.mask`, which counts [CLS] and [SEP] among the tokens but never chooses them.
    """
    return tuple(max(1, min(round(n * mask_prob), n - 3)) for n in lengths)


@lru_cache(maxsize=256)
def _chosen_grid(counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    per_row = torch.tensor(counts)
    rows = torch.repeat_interleave(torch.arange(len(counts)), per_row)
    starts = torch.cumsum(per_row, 0) - per_row
    return rows, torch.arange(len(rows)) - starts[rows]


def choose_positions(batch: Batch, counts: tuple[int, ...], special_ids: Tensor) -> Tensor:
    """Exactly `counts[b]` distinct positions of each sequence, never a special token -> (M,) indices into the T tokens.

    The original draws positions with replacement (so sometimes fewer); drawing without is the same up to that.
    """
    chance = uniforms(batch.keys[batch.rows], batch.positions, CHOOSE)
    chance = torch.where(torch.isin(batch.ids, special_ids), chance + 2.0, chance)
    length = batch.max_length
    grid = chance.new_full((len(batch.lengths) * length,), 9.0)
    grid[batch.rows * length + batch.positions] = chance
    order = grid.view(-1, length).argsort(dim=1)
    rows, ranks = (t.to(batch.ids.device, non_blocking=True) for t in _chosen_grid(counts))
    lengths = torch.tensor(batch.lengths)
    starts = (torch.cumsum(lengths, 0) - lengths).to(batch.ids.device, non_blocking=True)
    return starts[rows] + order[rows, ranks]


def mask_positions(batch: Batch, chosen: Tensor, mask_id: int, mask_token_prob: float) -> Tensor:
    """(T,) ids with the chosen positions masked: each becomes [MASK] with `mask_token_prob`, else stays as it is."""
    chance = uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], KEEP)
    kept = batch.ids[chosen]
    return batch.ids.index_copy(0, chosen, torch.where(chance < mask_token_prob, torch.full_like(kept, mask_id), kept))


def sample_tokens(logits: Tensor, chance: Tensor, temperature: float | Tensor = 1.0, forbidden: Tensor | None = None) -> Tensor:
    """(M, V) logits and one uniform number each, (M,) -> (M,) ids drawn from softmax(logits / temperature), never those of `forbidden` (M,).

    By the inverse of the cumulative distribution: one random number a sample, where the Gumbel trick needs V.
    """
    scaled = logits.float() if isinstance(temperature, float | int) and temperature == 1 else logits.float() / temperature
    if forbidden is not None:
        scaled = scaled.scatter(1, forbidden[:, None], -torch.inf)
    cumulative = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    # Scaled by the sum as it came out, so that rounding can never push a sample past the vocabulary.
    target = chance[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def replace_tokens(batch: Batch, chosen: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled tokens put in their places -> (T,) corrupted ids, (T,) bool labels: True where the token now differs."""
    corrupted = batch.ids.index_copy(0, chosen, sampled)
    return corrupted, corrupted != batch.ids

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
FITTING_ROUNDS = 3
"""How often the words left out for want of room are gone through once more for those that fit."""


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

    The original draws positions with replacement (so sometimes fewer); drawing without is the same up to that. With
    `batch.mask_weights` a position is drawn in proportion to its weight among those left; with `batch.word_starts` whole
    words are drawn, see `_whole_words`.
    """
    special = torch.isin(batch.ids, special_ids)
    chance = uniforms(batch.keys[batch.rows], batch.positions, CHOOSE)
    first = None if batch.word_starts is None else _first_tokens(batch.word_starts, special, batch.positions)
    if batch.mask_weights is not None:
        chance = _favour(chance, batch.mask_weights, first)
    if first is not None:
        chance = chance[first]
    chance = torch.where(special, chance + 2.0, chance)
    length = batch.max_length
    grid = chance.new_full((len(batch.lengths) * length,), 9.0)
    places = batch.rows * length + batch.positions
    grid[places] = chance
    # The pieces of one word have one chance, and a stable order keeps them side by side.
    order = grid.view(-1, length).argsort(dim=1, stable=first is not None)
    rows, ranks = (t.to(batch.ids.device, non_blocking=True) for t in _chosen_grid(counts))
    if first is not None:
        tokens = torch.full_like(grid, len(chance), dtype=torch.int64)
        tokens[places] = torch.arange(len(chance), device=chance.device)
        return _whole_words(tokens.view(-1, length).gather(1, order), first, special, counts)[rows, ranks]
    lengths = torch.tensor(batch.lengths)
    starts = (torch.cumsum(lengths, 0) - lengths).to(batch.ids.device, non_blocking=True)
    return starts[rows] + order[rows, ranks]


def _favour(chance: Tensor, weights: Tensor, first: Tensor | None) -> Tensor:
    """Uniform numbers in [0, 1) -> others in [0, 1) whose k smallest are a draw of k by weight, without replacement.

    Each becomes an exponential waiting time of its weight as rate (Efraimidis & Spirakis 2006), mapped back to [0, 1). A word
    has the weight of its rarest piece, for it occurs no more often than that.
    """
    if first is not None:
        weights = torch.zeros_like(weights).scatter_reduce_(0, first, weights, "amax")
    waiting = -torch.log1p(-chance) / weights.clamp_min(1e-9)
    return waiting / (1.0 + waiting)


def _first_tokens(word_starts: Tensor, special: Tensor, positions: Tensor) -> Tensor:
    """(T,) -> (T,) index of the first token of each token's word; a special token is a word, and so is what follows one."""
    starts = word_starts | special | (positions == 0)
    starts[1:] |= special[:-1]
    index = torch.arange(len(starts), device=starts.device)
    return torch.cummax(torch.where(starts, index, torch.zeros_like(index)), 0).values


def _whole_words(tokens: Tensor, first: Tensor, special: Tensor, counts: tuple[int, ...]) -> Tensor:
    """(B, L) token indices, words in random order (T stands for none) -> the same, those to choose in front.

    Words are taken in that order while the sequence's count is not passed; one that no longer fits is left out for the next
    that does. What then is left to fill, seldom anything, is filled by words of one piece, and where there are none of these by
    pieces of the next word. So every sequence has its exact count, known on the host before. The price is that of BERT's own
    whole-word code: a long word fits less often (in Chinese text 16% of single characters are chosen, 15% of words of two, 13% of four).
    """
    num, length = len(first), tokens.shape[1]
    index = torch.arange(num, device=first.device)
    sizes = torch.zeros_like(first).index_add_(0, first, torch.ones_like(first))[first]
    none = first.new_full((1,), length + 1)
    size = torch.cat([torch.where(special, none, sizes), none])[tokens]
    within = torch.cat([index - first, none])[tokens]
    left = torch.tensor(counts)[:, None].to(first.device, non_blocking=True)
    taken = torch.zeros_like(tokens, dtype=torch.bool)
    for _ in range(FITTING_ROUNDS):
        fitting = ~taken & (size <= left)
        # Where the running count would stand after a word's last piece, known at each of its pieces.
        whole = fitting & (fitting.cumsum(1) - within + size - 1 <= left)
        taken |= whole
        left = left - whole.sum(1, keepdim=True)
    outside = torch.cat([special.long(), none])[tokens]
    group = torch.where(taken, 0, torch.where(size == 1, 1, 2 + outside))
    return tokens.gather(1, group.argsort(dim=1, stable=True))


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
    return draw_by_weight(torch.softmax(scaled, dim=-1), chance)


def draw_by_weight(weights: Tensor, chance: Tensor) -> Tensor:
    """(M, V) weights, not below zero, and one uniform number each, (M,) -> (M,) ids drawn in proportion to them."""
    cumulative = weights.cumsum(dim=-1)
    # Scaled by the sum as it came out, so that rounding can never push a sample past the vocabulary.
    target = chance[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=weights.shape[-1] - 1)


def replace_tokens(batch: Batch, chosen: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled tokens put in their places -> (T,) corrupted ids, (T,) bool labels: True where the token now differs."""
    corrupted = batch.ids.index_copy(0, chosen, sampled)
    return corrupted, corrupted != batch.ids

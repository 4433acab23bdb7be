"""Batch -> chosen positions -> masked ids; logits -> samples -> corrupted ids and labels. Pure functions.

All randomness is a hash of (a sequence's seed, a position, a purpose). It does not depend on rank, batch or device, and there is no
generator state to save.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from electra.contracts import Batch

CHOOSE, KEEP, SAMPLE = 1, 2, 3
"""Purposes of random numbers."""
FITTING_ROUNDS = 3
"""How many times the words that did not fit are tried again."""


def _mix(values: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele et al. 2014) on int64 tensors, which wrap around."""

    def shift(v: Tensor, n: int) -> Tensor:
        return (v >> n) & ((1 << (64 - n)) - 1)

    values = (values ^ shift(values, 30)) * -4658895280553007687
    values = (values ^ shift(values, 27)) * -7723592293110705685
    return values ^ shift(values, 31)


def uniforms(keys: Tensor, positions: Tensor, purpose: int) -> Tensor:
    """(N,) int64 seeds and positions -> (N,) float32 in [0, 1)."""
    state = _mix(keys + (positions + 1) * -7046029254386353131 + purpose * 3202034522624059733)
    return ((_mix(state) >> 40) & 0xFFFFFF).to(torch.float32) * (1.0 / (1 << 24))


def num_masked(lengths: tuple[int, ...], mask_prob: float, maskable: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The number of positions to choose in each sequence: `mask_prob` of its tokens, at least one, but no more than are `maskable`.

    Source: the original's `pretrain_helpers.mask`, which counts [CLS] and [SEP] among the tokens but never chooses them.
    """
    counts = tuple(max(1, min(round(n * mask_prob), n - 3)) for n in lengths)
    return counts if maskable is None else tuple(map(min, counts, maskable))


@lru_cache(maxsize=256)
def _chosen_grid(counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    per_row = torch.tensor(counts)
    rows = torch.repeat_interleave(torch.arange(len(counts)), per_row)
    starts = torch.cumsum(per_row, 0) - per_row
    return rows, torch.arange(len(rows)) - starts[rows]


def choose_positions(batch: Batch, counts: tuple[int, ...], special_ids: Tensor) -> Tensor:
    """Exactly `counts[b]` distinct positions of each sequence, never a special token -> (M,) indices into the T tokens.

    The original samples positions with replacement (so sometimes fewer). With `batch.mask_weights` positions are sampled in proportion to
    their weights, without replacement; with `batch.word_starts` whole words are sampled, see `_whole_words`.
    """
    special = torch.isin(batch.ids, special_ids)
    uniform = uniforms(batch.keys[batch.rows], batch.positions, CHOOSE)
    first = None if batch.word_starts is None else _first_tokens(batch.word_starts, special, batch.positions)
    if batch.mask_weights is not None:
        uniform = _by_weight(uniform, batch.mask_weights, first)
    if first is not None:
        uniform = uniform[first]
    uniform = torch.where(special, uniform + 2.0, uniform)
    length = batch.max_length
    grid = uniform.new_full((len(batch.lengths) * length,), 9.0)
    cells = batch.rows * length + batch.positions
    grid[cells] = uniform
    # The pieces of a word have the same random number, and a stable sort keeps them together.
    order = grid.view(-1, length).argsort(dim=1, stable=first is not None)
    rows, ranks = (t.to(batch.ids.device, non_blocking=True) for t in _chosen_grid(counts))
    if first is not None:
        tokens = torch.full_like(grid, len(uniform), dtype=torch.int64)
        tokens[cells] = torch.arange(len(uniform), device=uniform.device)
        return _whole_words(tokens.view(-1, length).gather(1, order), first, special, counts)[rows, ranks]
    lengths = torch.tensor(batch.lengths)
    starts = (torch.cumsum(lengths, 0) - lengths).to(batch.ids.device, non_blocking=True)
    return starts[rows] + order[rows, ranks]


def _by_weight(uniform: Tensor, weights: Tensor, first: Tensor | None) -> Tensor:
    """Uniform numbers in [0, 1) -> others in [0, 1) whose k smallest are a sample of k by weight, without replacement.

    Each becomes an exponential waiting time with its weight as rate (Efraimidis & Spirakis 2006), mapped back to [0, 1). A word has the
    weight of its rarest piece.
    """
    if first is not None:
        weights = torch.zeros_like(weights).scatter_reduce_(0, first, weights, "amax")
    waiting = -torch.log1p(-uniform) / weights.clamp_min(1e-9)
    return waiting / (1.0 + waiting)


def _first_tokens(word_starts: Tensor, special: Tensor, positions: Tensor) -> Tensor:
    """(T,) -> (T,) index of the first token of each token's word. A special token is a word, and a word starts after it."""
    starts = word_starts | special | (positions == 0)
    starts[1:] |= special[:-1]
    index = torch.arange(len(starts), device=starts.device)
    return torch.cummax(torch.where(starts, index, torch.zeros_like(index)), 0).values


def _whole_words(tokens: Tensor, first: Tensor, special: Tensor, counts: tuple[int, ...]) -> Tensor:
    """(B, L) token indices, words in random order (T: no token) -> the same, the chosen ones first.

    Words are taken in that order up to the sequence's count; one that does not fit is skipped for the next that does. What remains, rarely
    anything, is filled by words of one piece, or else by pieces of the next word. So every sequence has its exact count, known on the host.
    As in BERT's whole-word masking a long word fits less often (in Chinese text 16% of single characters are chosen, 15% of words of two,
    13% of four).
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
        # The running count after a word's last piece, at each of its pieces.
        whole = fitting & (fitting.cumsum(1) - within + size - 1 <= left)
        taken |= whole
        left = left - whole.sum(1, keepdim=True)
    outside = torch.cat([special.long(), none])[tokens]
    group = torch.where(taken, 0, torch.where(size == 1, 1, 2 + outside))
    return tokens.gather(1, group.argsort(dim=1, stable=True))


def mask_positions(batch: Batch, chosen: Tensor, mask_id: int, mask_token_prob: float) -> Tensor:
    """(T,) ids with the chosen positions masked: each becomes [MASK] with `mask_token_prob`, else is unchanged."""
    uniform = uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], KEEP)
    kept = batch.ids[chosen]
    return batch.ids.index_copy(0, chosen, torch.where(uniform < mask_token_prob, torch.full_like(kept, mask_id), kept))


def sample_tokens(logits: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0, forbidden: Tensor | None = None) -> Tensor:
    """(M, V) logits, (M,) uniform numbers -> (M,) ids sampled from softmax(logits / temperature), never those of `forbidden` (M,).

    By the inverse of the cumulative distribution: one random number per sample, where the Gumbel trick needs V.
    """
    scaled = logits.float() if isinstance(temperature, float | int) and temperature == 1 else logits.float() / temperature
    if forbidden is not None:
        scaled = scaled.scatter(1, forbidden[:, None], -torch.inf)
    return sample_by_weight(torch.softmax(scaled, dim=-1), uniform)


def sample_by_weight(weights: Tensor, uniform: Tensor) -> Tensor:
    """(M, V) non-negative weights, (M,) uniform numbers -> (M,) ids sampled in proportion to the weights."""
    cumulative = weights.cumsum(dim=-1)
    # Scaled by the computed sum, so that rounding cannot push a sample past the vocabulary.
    target = uniform[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=weights.shape[-1] - 1)


def replace_tokens(batch: Batch, chosen: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled tokens at their positions -> (T,) corrupted ids, (T,) bool labels: True where the token differs from the original."""
    corrupted = batch.ids.index_copy(0, chosen, sampled)
    return corrupted, corrupted != batch.ids

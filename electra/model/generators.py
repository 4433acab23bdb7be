"""Networks that say what could stand at a position: encoder(s) and a masked-LM head."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.contracts import Batch
from electra.model.encoder import Encoder
from electra.model.heads import MaskedLanguageHead
from electra.model.vocabulary import Draw, Found

CHUNK = 1024
"""Positions that go through the vocabulary at a time where all of them must: (T, V) never exists."""


class Generator(nn.Module):
    """Encoder and masked-LM head: also what a BERT is."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = MaskedLanguageHead(encoder.config, encoder.words)

    def forward(
        self, batch: Batch, ids: Tensor | None = None, at: Tensor | None = None, wanted: Tensor | None = None, draw: Draw | None = None
    ) -> Tensor | Found:
        """Logits (M, V) at the token indices `at` (M,), or (T, V) at all of them.

        With `wanted`, the right ids there, what the logits say of these instead, and where a `draw` is given samples.
        """
        return self.head(self.encoder(batch, ids, at=at), wanted, draw)


class TwoTowerGenerator(nn.Module):
    """q(token | all others) at every position in one pass over unmasked text: one encoder reads from the left, one from the right.

    A token is predicted from the left encoder's state of the token before it and the right one's of the token after it, so every
    token but a sequence's first and last has a prediction. Both share their embeddings.

    Source: Electric (Clark et al. 2020b, "Pre-Training Transformers as Energy-Based Cloze Models"); the original's `TwoTowerClozeTransformer`.
    """

    def __init__(self, left: Encoder, right: Encoder) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.head = MaskedLanguageHead(left.config, left.words, 2 * left.config.hidden_size)

    @property
    def encoder(self) -> Encoder:
        """The tower that owns the embeddings; the other has its shape."""
        return self.left

    def forward(self, batch: Batch) -> Tensor:
        """(N, 2D) states of the N = T - 2B inner tokens, in their order, for `head`."""
        inner = inner_tokens(batch.lengths).to(batch.ids.device, non_blocking=True)
        before, after = self.left(batch, reads="left"), self.right(batch, reads="right")
        return torch.cat([before[inner - 1], after[inner + 1]], dim=-1)


@lru_cache(maxsize=256)
def inner_tokens(lengths: tuple[int, ...]) -> Tensor:
    """(N,) indices, among the T tokens, of those that are neither the first nor the last of their sequence."""
    firsts = [sum(lengths[:row]) for row in range(len(lengths))]
    return torch.cat([torch.arange(first + 1, first + length - 1) for first, length in zip(firsts, lengths, strict=True)])


def log_likelihoods(head: nn.Module, states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) states, (N,) token ids -> (N,) log-probabilities of those tokens, (N,) bool: is it the likeliest one?

    By chunks, whose logits are made again in the backward pass instead of being kept.
    """

    def part(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float()
        return -F.cross_entropy(logits, wanted, reduction="none"), logits.argmax(-1) == wanted

    chunks = zip(states.split(CHUNK), wanted.split(CHUNK), strict=True)
    parts = [checkpoint(part, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.cat([p for p, _ in parts]), torch.cat([hit for _, hit in parts])

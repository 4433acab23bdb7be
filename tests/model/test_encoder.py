"""Attention in grids: sequences of a batch have the states that they have alone, however the batch is divided."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor

from electra.contracts import Batch
from electra.model import encoder
from electra.model.encoder import Direction, Encoder, EncoderConfig

LENGTHS = (40, 3, 5, 39, 4, 120, 5, 4, 3, 6, 5, 4, 118, 3)
"""Divided among three grids, the longest neither first nor together."""


def batch_of(sequences: Sequence[Tensor]) -> Batch:
    lengths = torch.tensor([len(ids) for ids in sequences])
    return Batch(
        ids=torch.cat(list(sequences)),
        segments=torch.cat([(torch.arange(len(ids)) > len(ids) // 2).long() for ids in sequences]),
        positions=torch.cat([torch.arange(len(ids)) for ids in sequences]),
        rows=torch.repeat_interleave(torch.arange(len(sequences)), lengths),
        keys=torch.zeros(len(sequences), dtype=torch.int64),
        lengths=tuple(lengths.tolist()),
    )


@pytest.fixture
def model() -> Encoder:
    torch.manual_seed(3)
    return Encoder(EncoderConfig(vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64))


@pytest.mark.parametrize("reads", get_args(Direction))
@pytest.mark.parametrize("half", [False, True])
def test_states_and_gradients_are_those_of_each_sequence_alone(model: Encoder, reads: Direction, half: bool) -> None:
    model.eval()
    sequences = [torch.randint(0, 50, (length,)) for length in LENGTHS]
    batch = batch_of(sequences)
    assert len(encoder.Rows.of(batch, reads).grids) == 3
    tolerance = 3e-2 if half else 2e-5
    factors = torch.randn(batch.num_tokens, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        alone = torch.cat([model(batch_of([ids]), reads=reads) for ids in sequences])
        (alone.float() * factors).sum().backward()
        wanted = [parameter.grad for parameter in model.parameters()]
        model.zero_grad()
        found = model(batch, reads=reads)
        (found.float() * factors).sum().backward()
        torch.testing.assert_close(found, alone, atol=tolerance, rtol=0)
        for parameter, gradient in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=tolerance * float(gradient.abs().max()), rtol=0)
        at = torch.tensor([0, 45, 46, 300, batch.num_tokens - 1])
        torch.testing.assert_close(model(batch, reads=reads, at=at), alone[at], atol=tolerance, rtol=0)
    if reads == "both":
        torch.testing.assert_close(model.layer_states(batch)[-1], alone.float(), atol=max(tolerance, 1e-4), rtol=0)


def test_grids_cost_least() -> None:
    """Against every way to divide the lengths."""
    chance = random.Random(5)
    for _ in range(40):
        lengths = sorted((8 * chance.choice((1, 2, 4, 9, 16, 30, 64)) for _ in range(chance.randint(1, 9))), reverse=True)

        def cost(sizes: Sequence[int], lengths: Sequence[int] = lengths) -> int:
            starts = itertools.accumulate(sizes, initial=0)
            return sum(encoder._GRID_COST + size * lengths[start] ** 2 for start, size in zip(starts, sizes, strict=False))

        ways = []
        for marks in itertools.product((False, True), repeat=len(lengths) - 1):
            ends = [i + 1 for i, mark in enumerate(marks) if mark] + [len(lengths)]
            ways.append([end - start for start, end in itertools.pairwise([0, *ends])])
        least, sizes = min(map(cost, ways)), encoder.grid_sizes(lengths)
        one = cost([len(lengths)])
        assert sum(sizes) == len(lengths)
        assert cost(sizes) == (least if least <= encoder._WORTH_DIVIDING * one else one)


def test_a_batch_of_nearly_equal_lengths_is_one_grid() -> None:
    assert encoder.grid_sizes([128] * 30 + [90, 40]) == [32] and encoder.grid_sizes([7]) == [1] and len(encoder.grid_sizes([512, *[16] * 40])) == 2

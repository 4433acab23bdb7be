"""States at masked positions -> loss, hits and samples, some positions at a time: (M, V) logits never exist, and what is made stays in cache.

The gradients are made in the forward pass too, while the logits are there, as the loss is a sum and its gradient then but a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from electra import cpu
from electra.model import masking

CHUNK_BYTES = 16 << 20
"""Of logits at a time: within a processor's last cache, and enough rows for its products."""
_MULTIPLE = 32
"""Of rows in a chunk on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How a sample is drawn at each of M positions."""

    chance: Tensor
    """(M,) uniform numbers."""
    temperature: float | Tensor = 1.0
    forbidden: Tensor | None = None
    """(M,) ids never to be drawn."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the vocabulary's logits were wanted for."""

    total: Tensor
    """() cross-entropy, summed."""
    hits: Tensor
    """(M,) bool: is the likeliest one right?"""
    sampled: Tensor | None
    """(M,) ids, where a draw was asked for."""


def predict(states: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, draw: Draw | None) -> Found:
    """(M, E) states, (V, E), (V,), (M,) ids -> what their logits say."""
    num, rows = len(states), max(16, CHUNK_BYTES // (4 * len(weight)))
    spare = 0
    if cpu.want_equal_sizes():
        # Chunks of one size, of which there are but few: blocks as large as these else find no place where others were.
        num_chunks = max(1, -(-num // rows))
        rows = max(1, -(-num // (num_chunks * _MULTIPLE))) * _MULTIPLE
        spare = -num % rows

    def filled(values: Tensor) -> Tensor:
        return F.pad(values, (0, 0) * (values.dim() - 1) + (0, spare)) if spare else values

    drawn: tuple[Any, ...] = ()
    if draw is not None:
        drawn = (filled(draw.chance), draw.temperature, None if draw.forbidden is None else filled(draw.forbidden))
    half = cpu.are_half()
    with cpu.as_given():
        found = _Predict.apply(filled(states), weight, bias, filled(wanted), num, rows, torch.is_grad_enabled(), half, *drawn)  # type: ignore[no-untyped-call]
    total, hits, sampled = found
    return Found(total=total, hits=hits[:num], sampled=None if draw is None else sampled[:num])


class _Predict(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        wanted: Tensor,
        num: int,
        rows: int,
        learns: bool,
        half: bool,
        chance: Tensor | None = None,
        temperature: float | Tensor = 1.0,
        forbidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        learns = learns and any(ctx.needs_input_grad)
        of_states = torch.empty_like(states) if learns else None
        of_weight, of_bias = (torch.zeros_like(weight), torch.zeros_like(bias)) if learns else (None, None)
        # Rounded once; logits, softmax and the sums of gradients are fp32 in any case.
        taken, words = (states.to(torch.bfloat16), weight.to(torch.bfloat16)) if half else (states, weight)
        total, hits, sampled = states.new_zeros(()), torch.empty_like(wanted, dtype=torch.bool), torch.empty_like(wanted)
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            logits, right = cpu.affine(taken[part], words, bias).float(), wanted[part, None]
            hits[part] = logits.argmax(-1) == wanted[part]
            plain = isinstance(temperature, float | int) and temperature == 1 and forbidden is None
            if chance is not None and not plain:
                sampled[part] = masking.sample_tokens(logits, chance[part], temperature, None if forbidden is None else forbidden[part])
            of_right, most = logits.gather(1, right), logits.amax(-1, keepdim=True)
            weights = logits.sub_(most).exp_()
            sums = weights.sum(-1, keepdim=True)
            total += (sums.log() + most - of_right)[: num - start].sum()
            if chance is not None and plain:
                sampled[part] = masking.draw_by_weight(weights, chance[part])
            if of_states is not None and of_weight is not None and of_bias is not None:
                wrong = weights.div_(sums).scatter_add_(1, right, right.new_full((), -1, dtype=weights.dtype).expand_as(right))
                wrong[num - start :] = 0
                of_bias += wrong.sum(0)
                wrong = wrong.to(words.dtype)
                if half:
                    of_states[part] = wrong @ words
                    of_weight += wrong.t() @ taken[part]
                else:
                    torch.mm(wrong, words, out=of_states[part])
                    torch.addmm(of_weight, wrong.t(), taken[part], out=of_weight)
        ctx.save_for_backward(of_states, of_weight, of_bias)
        ctx.mark_non_differentiable(hits, sampled)
        return total, hits, sampled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        of_states, of_weight, of_bias = ctx.saved_tensors
        return of_states * gradient, of_weight * gradient, of_bias * gradient, *(None,) * 8

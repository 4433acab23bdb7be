"""The same mathematics, faster on a CPU: linear layers, attention, feed-forward and dropout that choose their kernel by themselves.

Every function here equals its PyTorch counterpart, and falls back to it where its own kernel does not apply (other devices, other
processors, other precisions, compiled code).

fp32: PyTorch sends matmuls to MKL, which leaves half of an AMD processor's width unused: 180 GFLOP/s on two cores of an EPYC, where oneDNN,
also part of every PyTorch, has 420 (`bench/records`, docs/log.md). PyTorch calls oneDNN only where fp32 matmuls may be rounded to bf16 inside
(`torch.set_float32_matmul_precision("medium")`), but oneDNN makes use of that only on processors with AMX; on others it computes in fp32. So
`onednn_matmuls` sets it on processors with AVX-512 and without AMX, after checking that a matmul is exact.

bf16: under bf16 autocast (`--precision bf16`) on a processor with bf16 matmuls, layers round the inputs of their matmuls and keep them so for
the backward pass: half the time, half the memory. States between layers, normalization, the softmax over the vocabulary and sums of gradients
are fp32. PyTorch's own autocast of every operator loses much of the gain to small operators.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_lock = threading.Lock()
_active = 0
"""How many `onednn_matmuls` are active; the setting belongs to the process, not to a thread."""
_CHECK_SIZE = 256
"""Size of the matmuls that are checked: large enough for oneDNN to treat them as it will the others."""

# ---- which kernel applies ----


@contextlib.contextmanager
def onednn_matmuls(device: torch.device) -> Iterator[None]:
    """Within, fp32 matmuls on this CPU are oneDNN's where that is exact; afterwards the setting is restored.

    A precision that the process has chosen itself is kept.
    """
    global _active
    with _lock:
        chosen = _active == 0 and torch.get_float32_matmul_precision() != "highest"
        applies = device.type == "cpu" and not chosen and onednn_is_exact()
        _active += applies
        if applies and _active == 1:
            torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        with _lock:
            _active -= applies
            if applies and _active == 0:
                torch.set_float32_matmul_precision("highest")


def uses_onednn() -> bool:
    """Whether fp32 matmuls are oneDNN's now."""
    return _active > 0


def uses_bf16() -> bool:
    """Whether layers multiply in bf16 now: under bf16 autocast, and native to this processor."""
    if torch.compiler.is_compiling() or not torch.is_autocast_enabled("cpu"):
        return False
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and has_bf16()


def wants_repeated_sizes() -> bool:
    """Whether matmuls are oneDNN's, which compiles a kernel for every new size."""
    return uses_onednn() or uses_bf16()


def num_extra(num: int) -> int:
    """How many more make `num` tokens a multiple of 64 (of 8 if they are few) where `wants_repeated_sizes`; else 0.

    A new size costs oneDNN about a millisecond, and freed memory fits sizes that come again.
    """
    return -num % (64 if num >= 1024 else 8) if wants_repeated_sizes() else 0


def repeated_length(length: int) -> int:
    """A length for sequences of at most `length` tokens: the next multiple of 16 (of 8 if it is short) where `wants_repeated_sizes`; else itself."""
    step = 16 if length > 64 else 8
    return -(-length // step) * step if wants_repeated_sizes() else length


def no_autocast() -> contextlib.AbstractContextManager[object]:
    """Within, no operator changes the precision of its inputs; a null context, which is cheaper, if autocast is off."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else contextlib.nullcontext()


@cache
def has_bf16() -> bool:
    """Whether oneDNN is available and the processor multiplies bf16 natively (AVX512_BF16 or AMX)."""
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return available and any(getattr(torch.cpu, f"_is_{kind}_supported", bool)() for kind in ("avx512_bf16", "amx_tile"))


@cache
def onednn_is_exact() -> bool:
    """Whether oneDNN is available, likely to be faster, and its matmuls are fp32 although they may be rounded.

    Must be called while the precision is "highest", which it is again afterwards.
    """
    capable = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    # The operator is internal to PyTorch (for compiled code), without a promise to stay.
    if not capable or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    # Numbers that bf16 cannot represent: with 8 bits of mantissa 1 + 2^-12 is 1, and the sum is wrong by a quarter of a thousandth.
    left, right = torch.full((_CHECK_SIZE, _CHECK_SIZE), 1.0 + 2.0**-12), torch.ones(_CHECK_SIZE, _CHECK_SIZE)
    torch.set_float32_matmul_precision("medium")
    try:
        found, of_linear = left @ right, _onednn_linear(left, right, right[0])
    finally:
        torch.set_float32_matmul_precision("highest")
    return all(bool((one / _CHECK_SIZE - left).abs().max() < 1e-6) for one in (found, of_linear - 1))


def _uses_onednn_fp32(values: Tensor) -> bool:
    return uses_onednn() and values.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


# ---- what models call ----


class Linear(nn.Linear):
    """nn.Linear whose bias oneDNN adds while it multiplies; PyTorch fills the output with it first, one more pass over memory.

    `bf16_output`: where matmuls are bf16, so is the output; else it is fp32.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, bf16_output: bool = False) -> None:
        super().__init__(num_inputs, num_outputs)
        self.bf16_output = bf16_output

    def forward(self, values: Tensor) -> Tensor:
        half = uses_bf16() and self.weight.dtype == torch.float32
        if values.dim() != 2 or not (half or _uses_onednn_fp32(values)):
            return super().forward(values)
        with no_autocast():
            return _Linear.apply(values, self.weight, self.bias, half, self.bf16_output)  # type: ignore[no-any-return, no-untyped-call]


def attention(heads: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """`scaled_dot_product_attention`: (3, B, H, L, K) queries, keys, values, mask (B or 1, 1, L or 1, L) bool -> (B, H, L, K).

    PyTorch's CPU kernel multiplies in small blocks, which neither library does well: 18 ms forward and backward for 32 x 4 x 128 x 64, against
    8 ms as batched matmuls. These keep (B, H, L, L), which is small at training lengths. All in the precision of `heads`.
    """
    if (uses_onednn() and heads.dtype == torch.float32) or (uses_bf16() and heads.dtype == torch.bfloat16):
        with no_autocast():
            return _Attention.apply(heads, mask, dropout)  # type: ignore[no-any-return, no-untyped-call]
    q, k, v = heads
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def feed_forward(values: Tensor, up: nn.Linear, down: nn.Linear) -> Tensor:
    """down(gelu(up(values))), (N, D) -> (N, D). The kernel keeps (N, I) once for the backward pass, separate layers keep it twice.

    Where matmuls are bf16, so are what is kept and the output.
    """
    half = uses_bf16()
    if (half and up.weight.dtype == torch.float32) or _uses_onednn_fp32(values):
        with no_autocast():
            return _FeedForward.apply(values, up.weight, up.bias, down.weight, down.bias, half)  # type: ignore[no-any-return, no-untyped-call]
    return down(F.gelu(up(values)))  # type: ignore[no-any-return]


def add_dropout(residual: Tensor, values: Tensor, prob: float) -> Tensor:
    """residual + dropout(values), (N, D); the kernel is one pass over memory, with cheaper random bits."""
    if not prob:
        return residual + values
    if wants_repeated_sizes():
        return _AddDropout.apply(residual, values, prob)  # type: ignore[no-any-return, no-untyped-call]
    return residual + F.dropout(values, prob)


def linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, I), (O, I), (O,) -> (N, O) in the precision of `values`, fp32 or bf16, accumulated in fp32, without a gradient."""
    if values.dtype == torch.bfloat16:
        return _onednn_linear(values, weight.to(torch.bfloat16), bias.to(torch.bfloat16))
    return _onednn_linear(values, weight, bias) if uses_onednn() else torch.addmm(bias, values, weight.t())


# ---- kernels ----


def _onednn_linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """Matmuls in bf16 if `half`, else in fp32 without casts; gradients of weights are fp32."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, half: bool, bf16_output: bool) -> Tensor:  # type: ignore[override]
        ctx.dtype = values.dtype
        values = values.to(torch.bfloat16) if half else values
        ctx.save_for_backward(values, weight)
        out = linear(values, weight, bias)
        return out if bf16_output else out.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, weight = ctx.saved_tensors
        wants_values, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        down = gradient.to(values.dtype)
        return (
            (down @ weight.to(values.dtype)).to(ctx.dtype) if wants_values else None,
            (down.t() @ values).float() if wants_weight else None,
            _summed(gradient) if wants_bias else None,
            None,
            None,
        )


def _summed(values: Tensor) -> Tensor:
    """(N, O) -> (O,) fp32 sums. PyTorch would first copy bf16 to fp32: as a matmul it is one pass."""
    return (values.new_ones(1, len(values)) @ values)[0].float() if values.dtype == torch.bfloat16 else values.sum(0)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, mask: Tensor | None, dropout: float) -> Tensor:  # type: ignore[override]
        _, num_rows, num_heads, length, size = heads.shape
        own = heads.new_empty(heads.shape).copy_(heads).view(3, num_rows * num_heads, length, size)
        q, k, v = own
        scores = torch.bmm(q.mul_(size**-0.5), k.transpose(1, 2))
        if mask is not None:
            # Most rows see everything and need no mask.
            square, sees_all = scores.view(num_rows, num_heads, length, length), mask.flatten(1).all(1).tolist()
            for row in (i for i, everything in enumerate(sees_all) if not everything):
                part = square[row] if len(sees_all) == num_rows else square
                part.masked_fill_(~mask[row], -torch.inf)
        probs = torch.softmax(scores, -1, out=scores)
        ctx.keep, ctx.scale = None, 1.0
        if dropout:
            # The kept ones are scaled in the values, which are fewer than the probabilities.
            ctx.keep, ctx.scale = _dropout_mask(probs, dropout)
            v.mul_(ctx.scale)
        ctx.save_for_backward(own, probs)
        return torch.bmm(probs if ctx.keep is None else ctx.keep.to(probs.dtype).mul_(probs), v).view(num_rows, num_heads, length, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        own, probs = ctx.saved_tensors
        q, k, v = own
        grad = gradient.reshape(q.shape)
        out = torch.empty_like(own)
        grad_probs = torch.bmm(grad, v.transpose(1, 2))
        if ctx.keep is None:
            torch.bmm(probs.transpose(1, 2), grad, out=out[2])
        else:
            keep = ctx.keep.to(probs.dtype)
            grad_probs.mul_(keep)
            torch.bmm(keep.mul_(probs).transpose(1, 2), grad, out=out[2]).mul_(ctx.scale)
        grad_scores = torch._softmax_backward_data(grad_probs, probs, -1, probs.dtype)
        torch.bmm(grad_scores, k, out=out[0]).mul_(q.shape[-1] ** -0.5)
        torch.bmm(grad_scores.transpose(1, 2), q, out=out[1])
        return out.view(3, *gradient.shape), None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor, half: bool
    ) -> Tensor:
        ctx.dtype = values.dtype
        values = values.to(torch.bfloat16) if half else values
        before = linear(values, up, up_bias)
        ctx.save_for_backward(values, before, up, down)
        return linear(F.gelu(before), down, down_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, before, up, down = ctx.saved_tensors
        grad = gradient.to(values.dtype)
        trained = ctx.needs_input_grad[1]  # all four weights, or none: frozen layers
        grad_down = (grad.t() @ F.gelu(before)).float() if trained else None
        inner = grad @ down.to(values.dtype)
        torch.ops.aten.gelu_backward.grad_input(inner, before, grad_input=inner)
        grad_values = (inner @ up.to(values.dtype)).to(ctx.dtype)
        if not trained:
            return grad_values, None, None, None, None, None
        return grad_values, (inner.t() @ values).float(), _summed(inner), grad_down, _summed(gradient), None


def _dropout_mask(like: Tensor, prob: float) -> tuple[Tensor, float]:
    """uint8 of like's shape, 1 with probability 1 - prob (to 2^-16), else 0; and the factor for what is kept.

    PyTorch draws a float per element on one core: 7 ms for (4096, 256), against 0.3 ms. uint8 is converted to float seven times as fast as bool.
    """
    bound = min(65535, max(1, round(prob * 65536)))
    seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    keep = splitmix64(seed, -(-like.numel() // 4)).view(torch.int16)[: like.numel()].view(like.shape).ge_(bound - 32768)
    return keep.to(torch.uint8), 65536 / (65536 - bound)


class _AddDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, values: Tensor, prob: float) -> Tensor:  # type: ignore[override]
        keep, ctx.scale = _dropout_mask(values, prob)
        ctx.save_for_backward(keep)
        ctx.dtype = values.dtype
        if values.dtype != residual.dtype:
            return torch.add(residual, keep.to(values.dtype).mul_(values), alpha=ctx.scale)
        return torch.addcmul(residual, values, keep.to(values.dtype), value=ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        (keep,) = ctx.saved_tensors
        return gradient, keep.to(ctx.dtype).mul_(gradient).mul_(ctx.scale), None


# ---- random bits ----


def _signed(value: int) -> int:
    """The int64 of the same 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_GOLDEN, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BLOCK = 1 << 17
"""Numbers at a time: 1 MB, which stays in cache through all steps."""


def splitmix64(seed: Tensor, num: int) -> Tensor:
    """() int64 -> (num,) int64, the next numbers of SplitMix64: each depends only on its position, so all cores share the work.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014.
    """
    out = torch.empty(num, dtype=torch.int64)
    shifted = torch.empty(min(num, _BLOCK), dtype=torch.int64)
    for start in range(0, num, _BLOCK):
        part = out[start : start + _BLOCK]
        torch.add(_positions()[: len(part)], seed + _signed(start * _GOLDEN), out=part)
        for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
            # PyTorch's shift is arithmetic.
            torch.bitwise_right_shift(part, shift, out=shifted[: len(part)])
            part.bitwise_xor_(shifted[: len(part)].bitwise_and_((1 << (64 - shift)) - 1))
            if factor != 1:
                part.mul_(factor)
    return out


@cache
def _positions() -> Tensor:
    return torch.arange(1, _BLOCK + 1) * _GOLDEN

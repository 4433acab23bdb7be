"""What makes the same mathematics fast on a CPU: who multiplies, attention as plain products, and dropout from cheap random bits.

PyTorch sends fp32 products to MKL, which leaves half of an AMD processor's width unused: 180 GFLOP/s on two cores of an EPYC
where oneDNN, the other library in every PyTorch, has 420 (`bench/records`, docs/log.md). PyTorch asks oneDNN only where fp32 products may be
rounded to bf16 inside (`torch.set_float32_matmul_precision("medium")`), yet oneDNN makes use of that leave only on processors with AMX; on
others it computes in fp32 all the same. So the leave is given where AVX-512 is and AMX is not, and only after a look at a product.

Under bf16 autocast (`--precision bf16`) on a processor that multiplies bf16 by itself, layers round what goes into their products and keep it so
for the backward pass: half the time, half the memory. States between layers, normalization, the softmax over the vocabulary and sums of gradients are
fp32. Autocast of every operator, as PyTorch has it, loses to its small operators much of what the products win.
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
_inside = 0
"""How many hold `fast_products` now; the setting is the process's, not a thread's."""
_SIDE = 256
"""Of the products that are looked at: large enough for oneDNN to take them as it will take the others."""


@contextlib.contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Within, fp32 products on this CPU are oneDNN's where that is exact; the process's setting is then as before.

    Where the process chose a precision of its own, that stays.
    """
    global _inside
    with _lock:
        chosen = _inside == 0 and torch.get_float32_matmul_precision() != "highest"
        given = device.type == "cpu" and not chosen and exact_in_onednn()
        _inside += given
        if given and _inside == 1:
            torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        with _lock:
            _inside -= given
            if given and _inside == 0:
                torch.set_float32_matmul_precision("highest")


def are_fast() -> bool:
    """Whether products are oneDNN's now."""
    return _inside > 0


def are_half() -> bool:
    """Whether layers are to multiply in bf16 now: asked for by autocast, and native to this processor."""
    if torch.compiler.is_compiling() or not torch.is_autocast_enabled("cpu"):
        return False
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and native_half()


def as_given() -> contextlib.AbstractContextManager[object]:
    """Within, no operator changes the precision of what it is given; nothing to do, which is cheaper, where autocast is off."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else contextlib.nullcontext()


def want_equal_sizes() -> bool:
    """Whether products are oneDNN's: it compiles a kernel for every size that it meets."""
    return are_fast() or are_half()


@cache
def native_half() -> bool:
    """Whether oneDNN is there and the processor has products of bf16 (AVX512_BF16 or AMX)."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and any(getattr(torch.cpu, f"_is_{kind}_supported", bool)() for kind in ("avx512_bf16", "amx_tile"))


@cache
def exact_in_onednn() -> bool:
    """Whether oneDNN is there, is likely to be faster, and its fp32 products are fp32's when it may round them.

    To be asked where the precision is "highest", which it is again afterwards.
    """
    capable = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    # The operator is PyTorch's own for compiled code, with no promise to stay.
    if not capable or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    # Numbers that bf16 cannot hold: with 8 bits of mantissa 1 + 2^-12 is 1, and the sum is wrong by a quarter of a thousandth.
    left, right = torch.full((_SIDE, _SIDE), 1.0 + 2.0**-12), torch.ones(_SIDE, _SIDE)
    torch.set_float32_matmul_precision("medium")
    try:
        found, of_linear = left @ right, _onednn_linear(left, right, right[0])
    finally:
        torch.set_float32_matmul_precision("highest")
    return all(bool((one / _SIDE - left).abs().max() < 1e-6) for one in (found, of_linear - 1))


def _onednn_linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")  # type: ignore[no-any-return]


class Linear(nn.Linear):
    """nn.Linear, whose bias oneDNN adds while it multiplies; PyTorch fills the output with it beforehand, a pass over memory more.

    `narrow`: where products are bf16, so is its output.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, narrow: bool = False) -> None:
        super().__init__(num_inputs, num_outputs)
        self.narrow = narrow

    def forward(self, values: Tensor) -> Tensor:
        half = are_half() and self.weight.dtype == torch.float32
        plain = are_fast() and values.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if values.dim() != 2 or not (half or plain):
            return super().forward(values)
        with as_given():
            return _Linear.apply(values, self.weight, self.bias, half, self.narrow)  # type: ignore[no-any-return, no-untyped-call]


def affine(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, I), (O, I), (O,) -> (N, O) in the precision of `values`, fp32 or bf16, summed in fp32, without a gradient."""
    if values.dtype == torch.bfloat16:
        return _onednn_linear(values, weight.to(torch.bfloat16), bias.to(torch.bfloat16))
    return _onednn_linear(values, weight, bias) if are_fast() else torch.addmm(bias, values, weight.t())


class _Linear(torch.autograd.Function):
    """Products in bf16 where `half`, else in fp32, where nothing is cast; gradients of weights are fp32."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, half: bool, narrow: bool) -> Tensor:  # type: ignore[override]
        ctx.dtype = values.dtype
        values = values.to(torch.bfloat16) if half else values
        ctx.save_for_backward(values, weight)
        out = affine(values, weight, bias)
        return out if narrow else out.float()

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
    """(N, O) -> (O,) fp32 sums. Of bf16 PyTorch would make an fp32 copy first: as a product it is one pass."""
    return (values.new_ones(1, len(values)) @ values)[0].float() if values.dtype == torch.bfloat16 else values.sum(0)


def spare(num: int) -> int:
    """How many more make `num` tokens a multiple of 64 (of 8 where they are few), where products are oneDNN's; else none.

    oneDNN compiles a kernel for every size it has not met, for about a millisecond, and freed memory fits sizes that come again.
    """
    return -num % (64 if num >= 1024 else 8) if want_equal_sizes() else 0


def attention(heads: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """`scaled_dot_product_attention` as batched products: (3, B, H, L, K) queries, keys, values, mask (B or 1, 1, L or 1, L) bool -> (B, H, L, K).

    PyTorch's kernel for CPUs multiplies in small blocks, which neither library does well: 18 ms forward and back for 32 x 4 x 128 x 64,
    so 8 ms. It keeps (B, H, L, L), which at training lengths is small. All in the precision of `heads`.
    """
    with as_given():
        return _Attention.apply(heads, mask, dropout)  # type: ignore[no-any-return, no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, mask: Tensor | None, dropout: float) -> Tensor:  # type: ignore[override]
        _, num_rows, num_heads, length, size = heads.shape
        own = heads.new_empty(heads.shape).copy_(heads).view(3, num_rows * num_heads, length, size)
        q, k, v = own
        scores = torch.bmm(q.mul_(size**-0.5), k.transpose(1, 2))
        if mask is not None:
            # A product with the whole mask is left out for the rows that see everything: most of them.
            square, seen = scores.view(num_rows, num_heads, length, length), mask.flatten(1).all(1).tolist()
            for row in (i for i, everything in enumerate(seen) if not everything):
                part = square[row] if len(seen) == num_rows else square
                part.masked_fill_(~mask[row], -torch.inf)
        chance = torch.softmax(scores, -1, out=scores)
        ctx.keep, ctx.scale = None, 1.0
        if dropout:
            # What is kept is made larger once, in the values: they are fewer than the chances.
            ctx.keep, ctx.scale = _kept(chance, dropout)
            v.mul_(ctx.scale)
        ctx.save_for_backward(own, chance)
        return torch.bmm(chance if ctx.keep is None else ctx.keep.to(chance.dtype).mul_(chance), v).view(num_rows, num_heads, length, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        own, chance = ctx.saved_tensors
        q, k, v = own
        down = gradient.reshape(q.shape)
        out = torch.empty_like(own)
        of_chance = torch.bmm(down, v.transpose(1, 2))
        if ctx.keep is None:
            torch.bmm(chance.transpose(1, 2), down, out=out[2])
        else:
            keep = ctx.keep.to(chance.dtype)
            of_chance.mul_(keep)
            torch.bmm(keep.mul_(chance).transpose(1, 2), down, out=out[2]).mul_(ctx.scale)
        of_scores = torch._softmax_backward_data(of_chance, chance, -1, chance.dtype)
        torch.bmm(of_scores, k, out=out[0]).mul_(q.shape[-1] ** -0.5)
        torch.bmm(of_scores.transpose(1, 2), q, out=out[1])
        return out.view(3, *gradient.shape), None, None


def feed_forward(values: Tensor, up: nn.Linear, down: nn.Linear) -> Tensor:
    """down(gelu(up(values))), (N, D) -> (N, D), which keeps (N, I) once for the backward pass, where separate layers keep it twice.

    Where products are bf16, so are what is kept and what comes out.
    """
    half = are_half()
    with as_given():
        return _FeedForward.apply(values, up.weight, up.bias, down.weight, down.bias, half)  # type: ignore[no-any-return, no-untyped-call]


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor, half: bool
    ) -> Tensor:
        ctx.dtype = values.dtype
        values = values.to(torch.bfloat16) if half else values
        before = affine(values, up, up_bias)
        ctx.save_for_backward(values, before, up, down)
        return affine(F.gelu(before), down, down_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, before, up, down = ctx.saved_tensors
        above = gradient.to(values.dtype)
        of_down = (above.t() @ F.gelu(before)).float()
        inner = above @ down.to(values.dtype)
        torch.ops.aten.gelu_backward.grad_input(inner, before, grad_input=inner)
        of_values, of_up = (inner @ up.to(values.dtype)).to(ctx.dtype), (inner.t() @ values).float()
        return of_values, of_up, _summed(inner), of_down, _summed(gradient), None


def add_dropped(residual: Tensor, values: Tensor, prob: float) -> Tensor:
    """residual + dropout(values), in one pass over memory."""
    return _AddDropped.apply(residual, values, prob) if prob else residual + values  # type: ignore[no-any-return, no-untyped-call]


def _kept(like: Tensor, prob: float) -> tuple[Tensor, float]:
    """uint8 of like's shape, 1 with 1 - prob (to 2^-16), else 0; what the kept ones are multiplied with.

    PyTorch draws a float for each element, on one core: 7 ms for (4096, 256), 0.3 ms so. It turns uint8 into floats seven times as fast as bool.
    """
    bound = min(65535, max(1, round(prob * 65536)))
    seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    keep = split_mix(seed, -(-like.numel() // 4)).view(torch.int16)[: like.numel()].view(like.shape).ge_(bound - 32768)
    return keep.to(torch.uint8), 65536 / (65536 - bound)


def _signed(value: int) -> int:
    """The int64 of the same 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_GOLDEN, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BLOCK = 1 << 17
"""Numbers at a time: 1 MB, which stay in cache through all steps."""


def split_mix(seed: Tensor, num: int) -> Tensor:
    """() int64 -> (num,) int64, the next numbers of SplitMix64: each made from its place alone, so by all cores; PyTorch's has one.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014.
    """
    out = torch.empty(num, dtype=torch.int64)
    shifted = torch.empty(min(num, _BLOCK), dtype=torch.int64)
    for start in range(0, num, _BLOCK):
        part = out[start : start + _BLOCK]
        torch.add(_places()[: len(part)], seed + _signed(start * _GOLDEN), out=part)
        for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
            # PyTorch repeats the sign when it shifts.
            torch.bitwise_right_shift(part, shift, out=shifted[: len(part)])
            part.bitwise_xor_(shifted[: len(part)].bitwise_and_((1 << (64 - shift)) - 1))
            if factor != 1:
                part.mul_(factor)
    return out


@cache
def _places() -> Tensor:
    return torch.arange(1, _BLOCK + 1) * _GOLDEN


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, values: Tensor, prob: float) -> Tensor:  # type: ignore[override]
        keep, ctx.scale = _kept(values, prob)
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

"""Fast products, also of bf16, dropout, the vocabulary by chunks: the same mathematics as PyTorch's own. (The encoder's fast path: test_model.py.)"""

from __future__ import annotations

import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from electra import cpu_kernels
from electra.data.pretraining_batches import collate
from electra.model import heads as vocabulary
from electra.model import masking
from electra.model.heads import Sampling
from electra.model.pretraining_models import build_objective
from electra.settings import ModelSettings, ObjectiveSettings
from electra.train.distributed import recompute

CPU = torch.device("cpu")
native = pytest.mark.skipif(not cpu_kernels.has_bf16(), reason="this processor has no products of bf16")


def test_products_within_are_fp32_and_the_setting_is_given_back() -> None:
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(300, 300, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    with cpu_kernels.onednn_matmuls(CPU):
        with cpu_kernels.onednn_matmuls(CPU):
            inner = left @ right
        assert cpu_kernels.uses_onednn() == cpu_kernels.onednn_is_exact()
    assert not cpu_kernels.uses_onednn() and torch.get_float32_matmul_precision() == "highest"
    assert (inner - exact).abs().max() < 1e-4  # products rounded to bf16 are off by 0.3
    with cpu_kernels.onednn_matmuls(torch.device("meta")):
        assert not cpu_kernels.uses_onednn()


def test_several_threads_may_hold_it() -> None:
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold() -> None:
        with cpu_kernels.onednn_matmuls(CPU):
            entered.set()
            leave.wait(10)
            seen.append(cpu_kernels.uses_onednn())

    thread = threading.Thread(target=hold)
    with cpu_kernels.onednn_matmuls(CPU):
        thread.start()
        entered.wait(10)
    leave.set()
    thread.join()
    assert seen == [cpu_kernels.onednn_is_exact()]
    assert not cpu_kernels.uses_onednn() and torch.get_float32_matmul_precision() == "highest"


def test_a_users_choice_of_less_precision_is_kept() -> None:
    """Whether it was set before or after the processor is first inspected."""
    for look_first in (False, True):
        cpu_kernels.onednn_is_exact.cache_clear()
        if look_first:
            cpu_kernels.onednn_is_exact()
        torch.set_float32_matmul_precision("high")
        try:
            with cpu_kernels.onednn_matmuls(CPU):
                assert torch.get_float32_matmul_precision() == "high" and not cpu_kernels.uses_onednn()
            assert torch.get_float32_matmul_precision() == "high"
        finally:
            torch.set_float32_matmul_precision("highest")
    with cpu_kernels.onednn_matmuls(CPU):
        assert cpu_kernels.uses_onednn() == cpu_kernels.onednn_is_exact()


def test_a_linear_layer_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    ours, theirs = cpu_kernels.Linear(30, 20), torch.nn.Linear(30, 20)
    theirs.load_state_dict(ours.state_dict())
    values = torch.randn(50, 30)
    mine, other = (values.clone().requires_grad_() for _ in range(2))
    with cpu_kernels.onednn_matmuls(CPU):
        found = ours(mine)
        found.square().sum().backward()
    expected = theirs(other)
    expected.square().sum().backward()
    assert torch.allclose(found, expected, atol=1e-5)
    for one, two in ((mine, other), (ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert torch.allclose(one.grad, two.grad, atol=1e-4)
    monkeypatch.setattr(cpu_kernels, "has_bf16", lambda: False)
    with cpu_kernels.onednn_matmuls(CPU), torch.autocast("cpu", torch.bfloat16):
        assert ours(values).dtype == torch.bfloat16


@pytest.mark.parametrize("reads", ["both", "left"])
def test_attention_is_scaled_dot_product_attention(reads: str) -> None:
    heads = torch.randn(3, 4, 2, 7, 5, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(4, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., 5:] = mask[3, ..., 2:] = False
    if reads == "left":
        mask = (mask & torch.ones(7, 7, dtype=torch.bool).tril()) | torch.eye(7, dtype=torch.bool)
    for seen in (mask, mask[:1], None):
        ours, theirs = heads.clone().requires_grad_(), heads.clone().requires_grad_()
        found, expected = cpu_kernels._Attention.apply(ours, seen, 0.0), F.scaled_dot_product_attention(*theirs, attn_mask=seen)
        assert torch.allclose(found, expected, atol=1e-6)
        weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_dropout_in_attention_is_that_of_its_probabilities() -> None:
    """The gradient is checked against differences of the very same draw."""
    heads = torch.randn(3, 2, 2, 6, 4, dtype=torch.float64, requires_grad=True)

    def drawn(values: Tensor) -> Tensor:
        torch.manual_seed(5)
        return cpu_kernels._Attention.apply(values, None, 0.4)

    assert torch.autograd.gradcheck(drawn, heads)
    with torch.no_grad():
        assert not torch.allclose(drawn(heads), cpu_kernels._Attention.apply(heads, None, 0.0))


def test_random_bits_are_those_of_splitmix64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those published for this seed (Rosetta Code, Pseudo-random numbers/Splitmix64)."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(number) % 2**64 for number in cpu_kernels.splitmix64(torch.tensor(1234567), 5)] == published
    least = torch.tensor(-(2**63))
    whole = cpu_kernels.splitmix64(least, 1000)
    monkeypatch.setattr(cpu_kernels, "_BLOCK", 300)
    cpu_kernels._positions.cache_clear()
    assert torch.equal(cpu_kernels.splitmix64(least, 1000), whole)
    cpu_kernels._positions.cache_clear()
    assert len(whole.unique()) == 1000 and cpu_kernels.splitmix64(least, 0).numel() == 0


@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_dropout_keeps_the_right_share_and_mean(prob: float) -> None:
    torch.manual_seed(1)
    residual, values = torch.zeros(1000, 301), torch.ones(1000, 301, requires_grad=True)
    found = cpu_kernels._AddDropout.apply(residual, values, prob)
    kept = found != 0
    assert abs(kept.float().mean() - (1 - prob)) < 0.004  # five standard errors
    assert abs(found.mean() - 1) < 0.006
    assert found[kept].unique().numel() == 1
    # Neighbours are independent of each other, in a row and in a column.
    for one, other in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1])):
        assert abs((one & other).float().mean() - (1 - prob) ** 2) < 0.006
    found.sum().backward()
    assert torch.equal(values.grad, found)
    assert not torch.equal(kept, cpu_kernels._AddDropout.apply(residual, values, prob) != 0)
    torch.manual_seed(1)
    assert torch.equal(found, cpu_kernels._AddDropout.apply(residual, values, prob))


@pytest.mark.parametrize("changes", [{}, {"temperature": 1.7}, {"forbidden": True}, None], ids=str)
@pytest.mark.parametrize(("num", "rows"), [(53, 16), (53, 1000), (1, 16), (32, 32), (97, 32), (200, 64)])
@pytest.mark.parametrize("fast", [False, True])
def test_the_vocabulary_by_chunks(num: int, rows: int, fast: bool, changes: dict | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, gradients, hits and samples are those of all logits at once, whatever chunks are filled up with."""
    generator = torch.Generator().manual_seed(4)
    width, size = 8, 31
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", rows * size * 4)
    wanted = torch.randint(size, (num,), generator=generator)
    start = [torch.randn(shape, generator=generator) for shape in ((num, width), (size, width), (size,))]
    draw = None
    if changes is not None:
        chance = torch.rand(num, generator=generator)
        draw = Sampling(uniform=chance, temperature=changes.get("temperature", 1.0), forbidden=wanted if "forbidden" in changes else None)
    ours, theirs = ([values.clone().requires_grad_() for values in start] for _ in range(2))
    with cpu_kernels.onednn_matmuls(CPU) if fast else nullcontext():
        found = vocabulary.vocabulary_output(*ours, wanted, draw)
        (3 * found.total).backward()
    logits = F.linear(*theirs)
    expected = F.cross_entropy(logits, wanted, reduction="sum")
    assert torch.allclose(found.total, expected, rtol=1e-5)
    (3 * expected).backward()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-4)
    assert torch.equal(found.hits, logits.argmax(-1) == wanted)
    if draw is None:
        assert found.sampled is None
    else:
        assert torch.equal(found.sampled, masking.sample_tokens(logits.detach(), draw.uniform, draw.temperature, draw.forbidden))
    with torch.no_grad():
        assert torch.allclose(vocabulary.vocabulary_output(*ours, wanted, draw).total, expected)


# ---- products of bf16 ----


def gradients(kind: str, monkeypatch: pytest.MonkeyPatch, *, dropout: float = 0.0, recomputed: bool = False) -> tuple[float, Tensor]:
    """Loss and all gradients of a small ELECTRA on one batch: 'fp32', 'autocast' (PyTorch's, of every operator) or 'half' (ours)."""
    model = ModelSettings(
        hidden_size=64, embedding_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256, generator_size=0.5, dropout=dropout
    )
    objective = build_objective(model, ObjectiveSettings(), vocab_size=300, mask_id=4, special_ids=range(5), sequence_length=40, seed=3).train()
    if recomputed:
        recompute(objective)
    rng = np.random.default_rng(1)
    rows = [[2, *rng.integers(5, 300, length).tolist(), 3] for length in (38, 38, 20, 31, 7, 38)]
    batch = collate([(row, [0] * len(row)) for row in rows], keys=range(len(rows)))
    torch.manual_seed(1)
    with monkeypatch.context() as patch, cpu_kernels.onednn_matmuls(CPU):
        patch.setattr(cpu_kernels, "has_bf16", lambda: kind == "half")
        with torch.autocast("cpu", torch.bfloat16, enabled=kind != "fp32"):
            losses = objective(batch).losses
        counts = objective.counts(batch)
        loss = torch.stack([each.weight * each.total / counts[name] for name, each in losses.items()]).sum()
        loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in objective.parameters()])


@native
def test_training_in_half_is_as_exact_as_pytorchs_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of the generator are the same draw, so all three see nearly the same text."""
    (exact, of_exact), (usual, of_usual), (ours, of_ours) = (gradients(kind, monkeypatch) for kind in ("fp32", "autocast", "half"))
    assert ours == pytest.approx(exact, rel=2e-3) and usual == pytest.approx(exact, rel=2e-3)
    off = [float((found - of_exact).norm() / of_exact.norm()) for found in (of_usual, of_ours)]
    assert 1e-4 < off[1] < 1.1 * off[0] < 0.05


@native
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_layers_computed_again_are_as_the_first_time(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, kept), (other, again) = (gradients("half", monkeypatch, dropout=dropout, recomputed=recomputed) for recomputed in (False, True))
    assert one == other and torch.equal(kept, again)


@native
def test_a_linear_layer_in_half_is_autocasts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    values, weights = torch.randn(100, 48), torch.randn(100, 24)
    found = {}
    for kind, narrow in (("autocast", True), ("half", True), ("half", False)):
        torch.manual_seed(2)
        layer, mine = cpu_kernels.Linear(48, 24, bf16_output=narrow), values.clone().requires_grad_()
        monkeypatch.setattr(cpu_kernels, "has_bf16", lambda kind=kind: kind == "half")
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(mine)
        assert out.dtype == (torch.bfloat16 if narrow else torch.float32)
        (out.float() * weights).sum().backward()
        found[kind, narrow] = [out.float().detach(), mine.grad, layer.weight.grad, layer.bias.grad]
    expected = found.pop(("autocast", True))
    for ours in found.values():
        assert all(one.dtype == torch.float32 and torch.allclose(one, two, rtol=2e-2, atol=2e-2) for one, two in zip(ours, expected, strict=True))


@native
def test_dropout_in_half_is_that_of_fp32() -> None:
    values = torch.randn(500, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        mine = values.to(dtype).requires_grad_()
        out = cpu_kernels._AddDropout.apply(torch.ones(500, 64), mine, 0.3)
        assert out.dtype == torch.float32
        out.square().sum().backward()
        assert mine.grad.dtype == dtype
        found.append((out.detach(), mine.grad.float()))
    (exact, of_exact), (ours, of_ours) = found
    assert torch.allclose(exact, ours, atol=1e-6) and torch.allclose(of_exact, of_ours, rtol=1e-2)


@native
def test_the_vocabulary_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(4)
    start = [torch.randn(shape, generator=generator) for shape in ((70, 16), (90, 16), (90,))]
    wanted = torch.randint(90, (70,), generator=generator)
    draw = Sampling(uniform=torch.rand(70, generator=generator))
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", 32 * 90 * 4)
    found = []
    for half in (False, True):
        mine = [values.clone().requires_grad_() for values in start]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = vocabulary.vocabulary_output(*mine, wanted, draw)
        (2 * out.total).backward()
        found.append((out, [values.grad for values in mine]))
    (exact, of_exact), (ours, of_ours) = found
    assert ours.total.dtype == torch.float32 and 0 < abs(ours.total - exact.total) < 2e-3 * exact.total
    assert (ours.hits == exact.hits).float().mean() > 0.95 and (ours.sampled == exact.sampled).float().mean() > 0.9
    for one, two in zip(of_ours, of_exact, strict=True):
        assert one.dtype == torch.float32 and 0 < (one - two).norm() < 0.01 * two.norm()


def test_half_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "has_bf16", lambda: True)
    assert not cpu_kernels.uses_bf16()
    with torch.autocast("cpu", torch.float16):
        assert not cpu_kernels.uses_bf16()
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_kernels.uses_bf16() and cpu_kernels.wants_repeated_sizes()
        with torch.autocast("cpu", enabled=False):
            assert not cpu_kernels.uses_bf16()
        monkeypatch.setattr(cpu_kernels, "has_bf16", lambda: False)
        assert not cpu_kernels.uses_bf16()

"""FLOPs and parameters by arithmetic, against PyTorch's counter, the built networks, and the original script's printed totals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from electra import config
from electra.data.pretraining_batches import collate
from electra.model import flops, pretraining_models
from electra.settings import ModelSettings, ObjectiveSettings, PretrainSettings
from electra.train import timing

TINY = ModelSettings(
    hidden_size=24, embedding_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80, generator_size=0.5, dropout=0.0
)
VARIANTS = [
    *((ObjectiveSettings(objective="electra"), replace(TINY, generator=kind)) for kind in ("masked", "two-tower", "uniform", "shared")),
    *((ObjectiveSettings(objective="electra"), replace(TINY, embedding_sharing=kind)) for kind in ("disentangled", "untied")),
    *((ObjectiveSettings(objective=kind), TINY) for kind in ("mlm", "clm", "electra-masked", "replace-mlm", "all-tokens-mlm")),
    (ObjectiveSettings(objective="electric"), replace(TINY, generator="two-tower")),
]


def preset(name: str) -> PretrainSettings:
    settings: PretrainSettings = config.build(PretrainSettings, config.preset_values(name, "pretrain"))
    return settings


def built(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int, length: int = 32) -> torch.nn.Module:
    return pretraining_models.build_objective(
        model, objective, vocab_size=vocab_size, mask_id=4, special_ids=range(5), sequence_length=length, seed=1
    )


# What `python flops_computation.py` of google-research/electra (62e478a) prints; the paper's tables round these (1.4e18 for small is another count).
PRINTED = {"small": 1.293743798272e18, "base": 6.424541834277683e19, "large": 7.117606040895488e20}


@pytest.mark.parametrize("name", PRINTED)
def test_the_originals_totals_are_reproduced(name: str) -> None:
    settings = preset(name)
    tokens = settings.loop.num_train_steps * (settings.loop.total_batch_size or settings.loop.batch_size) * settings.data.sequence_length
    total = flops.per_token_original(settings.model, settings.objective, 30522, settings.data.sequence_length) * tokens
    assert total == pytest.approx(PRINTED[name], rel=1e-9)


def test_berts_of_the_originals_script() -> None:
    small, base = preset("small-mlm"), preset("base-mlm")
    per_token = flops.per_token_original(small.model, small.objective, 30522, 128)
    assert per_token * 128 * 128 * 1.45e6 == pytest.approx(1.4187e18, rel=1e-4)
    assert flops.per_token_original(base.model, base.objective, 30522, 512) * 256 * 512 * 1e6 == pytest.approx(6.4284e19, rel=1e-4)


def test_small_costs_71_megaflops_a_token() -> None:
    settings = preset("small")
    assert flops.per_token(settings.model, settings.objective, 30522, 128) == pytest.approx(71.06e6, rel=0.001)


@pytest.mark.parametrize(("kind", "frozen"), [("electra", False), ("mlm", False), ("clm", False), ("mlm", True)])
def test_products_are_those_that_pytorch_counts(kind: str, frozen: bool) -> None:
    model = replace(TINY, freeze_layers=frozen)
    length, rows, vocab_size = 40, 3, 90
    objective = ObjectiveSettings(objective=kind, mask_prob=0.2)
    batch = collate([(torch.randint(5, vocab_size, (length,)).numpy(), [0] * length) for _ in range(rows)])
    module = built(model, objective, vocab_size)
    if frozen:
        pretraining_models.freeze_layers(module)
    counter = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with torch.no_grad():
            module(batch)
        forward = counter.get_total_flops()
        output = module(batch)
        sum(loss.total for loss in output.losses.values()).backward()
    networks = flops.network_shapes(model, objective, length)
    mine = sum(flops.matmuls(net, vocab_size, length) for net in networks) * rows * length
    fixed = sum(flops.layer_matmuls(net) for net in networks if frozen) * rows * length
    assert forward == pytest.approx(mine, rel=1e-9)
    # The backward pass is two products for each, one for weights that stay; a lookup needs no gradient of its input.
    assert counter.get_total_flops() - forward == pytest.approx(3 * mine - fixed, rel=1e-9)
    other = sum(3 * flops.other_operations(net, vocab_size, length) for net in networks) * rows * length
    assert flops.per_token(model, objective, vocab_size, length) * rows * length == pytest.approx(3 * mine - fixed + other, rel=1e-9)


def test_a_student_costs_three_passes_and_its_teacher_one() -> None:
    length, rows, vocab_size = 40, 3, 90
    objective = ObjectiveSettings(objective="distill", teacher_shape=(3, 48, 4, 80, 24))
    batch = collate([(torch.randint(5, vocab_size, (length,)).numpy(), [0] * length) for _ in range(rows)])
    module = built(TINY, objective, vocab_size)
    counter = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        module(batch).losses["hidden_loss"].total.backward()
    student, teacher = (flops.matmuls(net, vocab_size, length) for net in flops.network_shapes(TINY, objective, length))
    assert counter.get_total_flops() == pytest.approx((3 * student + teacher) * rows * length, rel=1e-9)
    others = [flops.other_operations(net, vocab_size, length) for net in flops.network_shapes(TINY, objective, length)]
    assert flops.per_token(TINY, objective, vocab_size, length) == pytest.approx(3 * (student + others[0]) + teacher + others[1])
    found = flops.num_parameters(TINY, objective, vocab_size)
    assert found["all"] == sum(parameter.numel() for parameter in module.parameters())
    assert found["kept"] == sum(parameter.numel() for parameter in module.encoder.parameters())


@pytest.mark.parametrize(
    ("objective", "model"), VARIANTS, ids=lambda value: getattr(value, "objective", None) or value.generator + value.embedding_sharing
)
def test_parameters_are_those_of_the_built_networks(objective: ObjectiveSettings, model: ModelSettings) -> None:
    module = built(model, objective, 90)
    found = flops.num_parameters(model, objective, 90)
    assert found["all"] == sum(parameter.numel() for parameter in module.parameters())
    if model.embedding_sharing != "disentangled":
        assert found["kept"] == sum(parameter.numel() for parameter in pretraining_models.main_network(module).parameters())


def test_known_gpus() -> None:
    names = {"NVIDIA A100-SXM4-80GB": 312.0, "NVIDIA H100 PCIe": 756.0, "NVIDIA H100 80GB HBM3": 989.0, "NVIDIA L40S": 362.0}
    assert {name: timing.known_tflops(name) for name in names} == names
    assert timing.known_tflops("NVIDIA GeForce RTX 3090 Ti") is None and timing.known_tflops("NVIDIA A10G") is None
    assert timing.stated_tflops(2.5, torch.device("cpu"), half=False) == 2.5
    assert timing.stated_tflops(None, torch.device("cpu"), half=True) is None

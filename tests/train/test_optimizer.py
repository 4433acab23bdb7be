"""The optimizer against the original's numbers, and what PyTorch's optimizer gives where they should agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from electra.errors import UserError
from electra.settings import OptimizerSettings
from electra.train import optimizer
from electra.train.optimizer import Adam, LossScale, has_weight_decay, learning_rate, parameter_groups, warmup_steps


def original_depth(num_layers: int) -> Any:
    """The original's depths by its parameter names."""

    def depth(name: str) -> int:
        if "task_specific/" in name:
            return num_layers + 2
        layer = re.search(r"/layer_(\d+)/", name)
        return int(layer[1]) + 1 if layer else 0

    return depth


def replay(form: dict[str, Any], settings: OptimizerSettings, depth: Any) -> float:
    """Run the recorded gradients through our optimizer -> greatest difference from the recorded values."""
    names = form["parameters"]
    values = torch.tensor(form["values_after_each_step"])
    gradients = torch.tensor(form["gradients_per_step"])
    parameters = [nn.Parameter(values[0, i].clone()) for i in range(len(names))]
    adam = Adam(zip(names, parameters, strict=True), settings, depth)
    num_steps = form["arguments"]["num_train_steps"]
    worst = 0.0
    for step in range(1, num_steps + 1):
        for parameter, gradient in zip(parameters, gradients[:, step - 1], strict=True):
            parameter.grad = gradient.clone()
        adam.step(learning_rate(settings, step, num_steps), torch.tensor(1.0), step)
        worst = max(worst, max(float((p.detach() - v).abs().max()) for p, v in zip(parameters, values[step], strict=True)))
    return worst


@pytest.mark.realdata
def test_pretraining_form_equals_the_original(reference_root: Path) -> None:
    form = json.loads((reference_root / "tf1-optimizer.json").read_text())["pretraining"]
    given = form["arguments"]
    settings = OptimizerSettings(learning_rate=given["learning_rate"], warmup_steps=given["warmup_steps"], weight_decay=given["weight_decay_rate"])
    assert replay(form, settings, None) < 5e-7


@pytest.mark.realdata
def test_finetuning_form_equals_the_original(reference_root: Path) -> None:
    form = json.loads((reference_root / "tf1-optimizer.json").read_text())["finetuning_layerwise"]
    given = form["arguments"]
    settings = OptimizerSettings(
        learning_rate=given["learning_rate"],
        warmup_fraction=given["warmup_proportion"],
        weight_decay=given["weight_decay_rate"],
        layerwise_lr_decay=given["layerwise_lr_decay_power"],
    )
    assert replay(form, settings, original_depth(given["n_transformer_layers"])) < 5e-7


@pytest.mark.realdata
def test_factors_per_depth_equal_the_original(reference_root: Path) -> None:
    wanted = json.loads((reference_root / "tf1-optimizer.json").read_text())["layer_learning_rates_12_layers_decay_0.8_lr_1"]
    named = [(f"x/{key}/kernel", nn.Parameter(torch.zeros(1))) for key in wanted]
    groups = parameter_groups(named, OptimizerSettings(layerwise_lr_decay=0.8), original_depth(12))
    mine = {name: group["factor"] for group in groups for name in group["names"]}
    assert mine == pytest.approx({f"x/{key}/kernel": factor for key, factor in wanted.items()})


def test_with_bias_correction_it_is_adamw() -> None:
    torch.manual_seed(0)
    mine, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(mine.state_dict())
    settings = OptimizerSettings(bias_correction=True, clip_norm=0, weight_decay=0.1, adam_epsilon=1e-8)
    adam = Adam(mine.named_parameters(), settings)
    other = torch.optim.AdamW([{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}], lr=0.01)
    for step in range(1, 6):
        x = torch.randn(7, 5)
        for model in (mine, theirs):
            model.zero_grad()
            model(x).square().sum().backward()
        adam.step(0.01, torch.tensor(1.0), step)
        other.step()
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=1e-6, atol=1e-7)


def test_the_norm_is_of_all_gradients_together() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    adam = Adam(model.named_parameters(), OptimizerSettings())
    model(torch.ones(1, 4)).sum().backward()
    wanted = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    assert adam.step(0.0, torch.tensor(0.0), 1).item() == pytest.approx(wanted.item())
    assert all(p.grad is None for p in model.parameters())


def test_a_separate_optimizer_equals_one_alone() -> None:
    """In one Adam but separate, two sets of parameters go as each would with an Adam, a rate and a clip norm of its own."""

    def made() -> dict[str, nn.Parameter]:
        generator = torch.Generator().manual_seed(1)
        return {name: nn.Parameter(torch.randn(5, generator=generator)) for name in ("one.weight", "one.bias", "other.weight")}

    def train(parameters: dict[str, nn.Parameter], settings: OptimizerSettings, separate: frozenset[str] = frozenset()) -> Adam:
        adam = Adam(parameters.items(), settings, separate=separate)
        for step in range(1, 6):
            for number, (name, parameter) in enumerate(made().items()):
                if name in parameters:
                    parameters[name].grad = parameter.detach() * (step + number) * 3
            adam.step(learning_rate(settings, step, 5), torch.tensor(1.0), step)
        return adam

    settings = OptimizerSettings(learning_rate=1e-2, generator_learning_rate=3e-2, warmup_steps=2)
    together = made()
    adam = train(together, settings, frozenset({"other.weight"}))
    first = {name: parameter for name, parameter in made().items() if name != "other.weight"}
    second = {"other.weight": made()["other.weight"]}
    train(first, OptimizerSettings(learning_rate=1e-2, warmup_steps=2))
    train(second, OptimizerSettings(learning_rate=3e-2, warmup_steps=2))
    for name, parameter in {**first, **second}.items():
        assert torch.allclose(together[name], parameter, rtol=1e-6), name
    assert {name.partition(":")[0] for name in adam.state()} == set(together)
    one = made()
    train(one, OptimizerSettings(learning_rate=1e-2, warmup_steps=2), frozenset({"other.weight"}))
    assert not torch.allclose(one["other.weight"], together["other.weight"])


def test_tied_parameters_are_counted_once() -> None:
    table = nn.Parameter(torch.ones(6))
    adam = Adam([("a.weight", table), ("b.weight", table), ("c.bias", nn.Parameter(torch.ones(2)))], OptimizerSettings())
    assert adam.num_parameters == 8
    assert len(parameter_groups([("a.weight", table), ("b.weight", table)], OptimizerSettings())) == 1


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("encoder.layers.0.query.weight", True),
        ("embeddings.word.weight", True),
        ("encoder.layers.0.query.bias", False),
        ("encoder.layers.0.attention_norm.weight", False),
        ("electra.embeddings.LayerNorm.weight", False),
        ("electra/encoder/layer_0/output/LayerNorm/gamma", False),
    ],
)
def test_layer_norm_and_biases_do_not_decay(name: str, decays: bool) -> None:
    assert has_weight_decay(name) is decays


@pytest.mark.parametrize("culprit", ["gradient", "loss"])
def test_a_step_that_is_not_finite_changes_nothing_and_neither_do_later_ones(culprit: str) -> None:
    parameter = nn.Parameter(torch.ones(3))
    adam = Adam([("weight", parameter)], OptimizerSettings())
    parameter.grad = torch.tensor([0.1, 0.2, 0.3])
    adam.step(0.1, torch.tensor(1.0), 1)
    before = {key: value.clone() for key, value in {**adam.state(), "weight": parameter.detach()}.items()}
    for step in (2, 3):
        broken = step == 2
        parameter.grad = torch.tensor([0.1, torch.nan if broken and culprit == "gradient" else 0.2, 0.3])
        adam.step(0.1, torch.tensor(torch.inf if broken and culprit == "loss" else 1.0), step)
    assert adam.first_bad_step.item() == 2
    after = {**adam.state(), "weight": parameter.detach()}
    assert all(torch.equal(before[key], after[key]) for key in before if not key.endswith(":step"))


def test_loss_scaling_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, scale and skipped steps of `torch.amp.GradScaler` with AdamW, over gradients that overflow now and then."""
    monkeypatch.setattr(LossScale, "INTERVAL", 4)
    settings = OptimizerSettings(learning_rate=1e-2, bias_correction=True, clip_norm=1.0, weight_decay=0.0, adam_epsilon=1e-6)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 6)) for _ in range(2))
    adam = Adam([("weight", ours)], settings, loss_scale=LossScale())
    optimizer = torch.optim.AdamW([theirs], lr=1e-2, betas=(settings.adam_beta1, settings.adam_beta2), eps=1e-6, weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=LossScale.FIRST, growth_interval=4)
    torch.manual_seed(1)
    bad = {3, 4, 11, 21}
    for step in range(1, 31):
        gradient = torch.randn(6) * 3
        gradient[step % 6] = torch.inf if step in bad else gradient[step % 6]
        assert adam.loss_scale is not None
        ours.grad = gradient * adam.loss_scale.value
        norm = adam.step(1e-2, torch.tensor(1.0), step)
        theirs.grad = scaler.scale(gradient)
        scaler.unscale_(optimizer)
        whole = torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert adam.loss_scale.value.item() == scaler.get_scale()
        assert norm.item() == (0 if step in bad else pytest.approx(whole.item(), rel=1e-5))
    assert adam.loss_scale.skipped_steps.item() == len(bad) and adam.first_bad_step.item() == 0


def test_a_scale_of_one_that_overflows_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LossScale, "FIRST", 4.0)
    parameter = nn.Parameter(torch.ones(3))
    adam = Adam([("weight", parameter)], OptimizerSettings(), loss_scale=LossScale())
    for step in range(1, 6):
        parameter.grad = torch.full((3,), torch.nan if step < 5 else 0.1)
        adam.step(0.1, torch.tensor(1.0), step)
    assert adam.first_bad_step.item() == 3 and torch.equal(parameter, torch.ones(3))
    adam.clear()
    assert adam.first_bad_step.item() == 0 and adam.loss_scale is not None and adam.loss_scale.value.item() == 4


def test_a_scale_is_kept_begun_or_left_with_the_precision() -> None:
    made = [Adam([("a", nn.Parameter(torch.ones(3)))], OptimizerSettings(), loss_scale=scale) for scale in (LossScale(), LossScale(), None)]
    assert made[0].loss_scale is not None and made[1].loss_scale is not None
    made[0].loss_scale.value.fill_(8.0)
    made[1].load_state(made[0].state())
    assert made[1].loss_scale.value.item() == 8
    made[2].load_state(made[0].state())
    made[1].load_state(made[2].state())
    assert made[1].loss_scale.value.item() == 8


def bf16_and_fp32(num_steps: int, gradients: Any, sizes: tuple[int, ...] = (300,), **given: Any) -> dict[str, tuple[list[nn.Parameter], Adam]]:
    """The same steps with moments of both precisions; `gradients(step, size)` gives the gradient of a parameter."""
    out = {}
    for moments in ("bf16", "fp32"):
        parameters = [nn.Parameter(torch.linspace(-1, 1, size)) for size in sizes]
        adam = Adam([(f"weight{i}", p) for i, p in enumerate(parameters)], OptimizerSettings(moments=moments, clip_norm=0.0, **given))
        for step in range(1, num_steps + 1):
            for parameter in parameters:
                parameter.grad = gradients(step, parameter.numel())
            adam.step(1e-3, torch.tensor(1.0), step)
        out[moments] = parameters, adam
    return out


def test_the_first_step_with_bf16_moments_is_that_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments are rounded after the update; in chunks of any size, each parameter's counter goes up by one."""
    monkeypatch.setitem(optimizer._CHUNK, "cpu", 64)
    random = torch.Generator().manual_seed(1)
    values = {size: torch.randn(size, generator=random) for size in (300, 7)}
    for bias_correction in (True, False):
        both = bf16_and_fp32(1, lambda step, size: values[size].clone(), (300, 7), bias_correction=bias_correction, weight_decay=0.1)
        for one, other in zip(both["bf16"][0], both["fp32"][0], strict=True):
            assert torch.equal(one, other)
        half, full = both["bf16"][1].state(), both["fp32"][1].state()
        assert half["weight0:exp_avg_sq"].dtype == torch.bfloat16
        for key, value in full.items():
            torch.testing.assert_close(half[key].float(), value.float(), rtol=2**-7, atol=0)
            assert not key.endswith(":step") or torch.equal(half[key], value)


def test_the_second_moment_in_bf16_follows_small_changes() -> None:
    """Its mean over many weights decays by 0.999 a step. Rounded to the nearest, it would stay for ever."""
    both = bf16_and_fp32(500, lambda step, size: torch.full((size,), 1.0 if step == 1 else 0.0), (20_000,), bias_correction=True)
    mean = {name: adam.state()["weight0:exp_avg_sq"].float().mean().item() for name, (_, adam) in both.items()}
    assert mean["fp32"] == pytest.approx(1e-3 * 0.999**499, rel=1e-3)
    assert mean["bf16"] == pytest.approx(mean["fp32"], rel=5e-3)


def test_bf16_moments_resume_bit_exactly_and_skip_bad_steps() -> None:
    def gradient(step: int, size: int) -> torch.Tensor:
        return torch.randn(size, generator=torch.Generator().manual_seed(step))

    (whole,), adam = bf16_and_fp32(6, gradient)["bf16"]
    (resumed,), first = bf16_and_fp32(3, gradient)["bf16"]
    second = Adam([("weight0", resumed)], OptimizerSettings(moments="bf16", clip_norm=0.0))
    second.load_state({key: value.clone() for key, value in first.state().items()})
    for step in range(4, 7):
        resumed.grad = gradient(step, 300)
        second.step(1e-3, torch.tensor(1.0), step)
    assert torch.equal(whole, resumed)
    before = {key: value.clone() for key, value in adam.state().items()}
    whole.grad = torch.full((300,), float("inf"))
    adam.step(1e-3, torch.tensor(1.0), 7)
    assert torch.equal(whole, resumed)
    assert all(torch.equal(value, before[key]) for key, value in adam.state().items())


def test_bf16_moments_refuse_a_device_without_the_fused_kernel() -> None:
    parameter = nn.Parameter(torch.zeros(2, device="meta"))
    with pytest.raises(UserError, match=r"optimizer\.moments 'bf16' does not support the device meta; use --moments fp32"):
        Adam([("weight", parameter)], OptimizerSettings(moments="bf16"))


def test_state_of_another_model_is_refused() -> None:
    one = Adam([("a", nn.Parameter(torch.ones(3)))], OptimizerSettings())
    with pytest.raises(UserError, match="does not fit"):
        one.load_state(Adam([("b", nn.Parameter(torch.ones(3)))], OptimizerSettings()).state())
    with pytest.raises(UserError, match="shape"):
        one.load_state(Adam([("a", nn.Parameter(torch.ones(4)))], OptimizerSettings()).state())
    with pytest.raises(UserError, match="nothing to train"):
        Adam([("a", nn.Parameter(torch.ones(3), requires_grad=False))], OptimizerSettings())


def test_schedules() -> None:
    linear = OptimizerSettings(learning_rate=1.0, warmup_fraction=0.1)
    assert warmup_steps(linear, 200) == 20
    assert [learning_rate(linear, step, 100) for step in (1, 5, 10, 50, 100)] == pytest.approx([0.1 * 0.99, 0.5 * 0.95, 0.9, 0.5, 0.0])
    cosine = OptimizerSettings(learning_rate=1.0, warmup_steps=0, schedule="cosine")
    assert [learning_rate(cosine, step, 100) for step in (50, 100)] == pytest.approx([0.5, 0.0])
    constant = OptimizerSettings(learning_rate=2.0, warmup_steps=10, schedule="constant")
    assert [learning_rate(constant, step, 100) for step in (5, 10, 100)] == pytest.approx([1.0, 2.0, 2.0])
    # tf.train.polynomial_decay of the original, to zero: (1 - step / steps) ** power.
    power = OptimizerSettings(learning_rate=1.0, warmup_steps=0, lr_decay_power=2.0)
    assert [learning_rate(power, step, 100) for step in (50, 90, 100)] == pytest.approx([0.25, 0.01, 0.0])
    with pytest.raises(UserError, match="--lr-decay-power 0: expected above 0"):
        OptimizerSettings(lr_decay_power=0.0)
    trapezoid = OptimizerSettings(learning_rate=1.0, warmup_steps=10, schedule="trapezoidal", decay_fraction=0.4)
    assert [learning_rate(trapezoid, step, 100) for step in (5, 10, 60, 80, 100)] == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])

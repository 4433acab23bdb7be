"""The same on CUDA as on the CPU; skipped without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from electra.data.pretraining_batches import collate, example_key
from electra.model.generators import MaskedLanguageModel
from electra.model.pretraining_models import build_objective
from electra.settings import LoopSettings, ModelSettings, ObjectiveSettings, OptimizerSettings
from electra.train.evaluation import evaluate
from electra.train.loop import Run
from electra.train.run_log import RunLog

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

MODEL = ModelSettings(hidden_size=64, embedding_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, dropout=0.0)


def objective() -> MaskedLanguageModel:
    return build_objective(MODEL, ObjectiveSettings(), vocab_size=500, mask_id=4, special_ids=range(5), sequence_length=64, seed=3)


class Counting:
    """Endless batches of rows that count upwards; its position is a number."""

    def __init__(self) -> None:
        self.index = 0

    def __iter__(self):
        return self

    def __next__(self):
        rng = np.random.default_rng(self.index)
        starts, lengths = rng.integers(5, 400, 8), rng.integers(8, 40, 8)
        features = [([2, *range(s, s + n), 3], [0] * (n + 2)) for s, n in zip(starts, lengths, strict=True)]
        keys = [example_key(self.index, i) for i in range(8)]
        self.index += 1
        return collate(features, keys)

    def state(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state(self, state: dict[str, int]) -> None:
        self.index = state["index"]


def test_masks_samples_and_metrics_are_those_of_the_cpu() -> None:
    stream = Counting()
    batches = [next(stream) for _ in range(4)]
    model = objective()
    on_cpu = evaluate(model, batches, "cpu", "fp32")
    on_gpu = evaluate(model.to("cuda"), batches, "cuda", "fp32")
    assert on_gpu.keys() == on_cpu.keys()
    for name, value in on_cpu.items():
        assert on_gpu[name] == pytest.approx(value, abs=2e-3), name


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_trains(precision: str, compiled: bool, tmp_path: Path) -> None:
    settings = LoopSettings(num_train_steps=30, precision=precision, compile=compiled, device="cuda", log_every=10)  # type: ignore[arg-type]
    model = objective()
    stream = Counting()
    held_out = [next(stream) for _ in range(4)]
    before = evaluate(model.to("cuda"), held_out, "cuda", precision)["loss"]
    with_log = RunLog(tmp_path / "run", settings, tensorboard=False)
    optimizer = OptimizerSettings(learning_rate=2e-3, warmup_fraction=0.1)
    Run(objective=model, stream=stream, settings=settings, optimizer=optimizer, log=with_log, save=lambda folder: None).train()
    assert evaluate(model, held_out, "cuda", precision)["loss"] < before


def test_the_host_does_not_wait_for_the_device_within_a_step() -> None:
    model = objective().to("cuda")
    batch = next(Counting()).to("cuda")
    model(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = model(batch)
        torch.stack([loss.weight * loss.total / loss.count for loss in output.losses.values()]).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")

"""What an update and an example take on this machine, timed before anything is settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from electra import config
from electra.contracts import BatchStream, Features, Head
from electra.data.task_batches import FeatureStream
from electra.model import networks
from electra.model.classifier import task_network, task_objective
from electra.model.encoder import Encoder
from electra.model.hf import with_dropout
from electra.recipes.ablation_methods import Method, examples_per_step, flops_per_step
from electra.recipes.ablation_plan import Stage
from electra.settings import FinetuneSettings, PretrainSettings
from electra.tasks.assembly import initial_objective
from electra.tasks.rehearsal import Pieces, RandomStream
from electra.train.ranks import Ranks
from electra.train.rehearsal import time_updates

ROUNDS = 2
"""Each kind of update is timed in turns, so that a machine that grows slower meanwhile is not unfair to the last one."""
SECONDS = 6.0
"""Of each turn."""
FIXED_SECONDS = 3.0
"""Of a fine-tuning: opening files and checkpoint, writing the model."""
FEATURES_PER_SECOND = 4000.0
"""Examples tokenized, about, on one core with a warm cache."""


def time_stages(methods: Sequence[Method], vocab_size: int, here: Ranks) -> dict[str, list[Stage]]:
    """Every stage of every method, on random ids of full length -> its cost; the same network with the same objective is timed once."""
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        timed = set()
        for method in methods:
            for settings, _ in method.stages():
                if (key := _key(settings)) not in timed:
                    timed.add(key)
                    found.setdefault(key, []).append(time_update(settings, vocab_size, here))
    return {
        method.name: [
            Stage(share=share, flops=flops_per_step(settings, vocab_size), seconds=float(np.mean(found[_key(settings)])))
            for settings, share in method.stages()
        ]
        for method in methods
    }


def _key(settings: PretrainSettings) -> str:
    """What an update's time depends on."""
    model = config.to_values(settings.model)
    objective = settings.objective
    if objective.objective == "mlm":
        model = {name: value for name, value in model.items() if not name.startswith("generator")}
    return repr((model, objective.objective, objective.mask_prob, settings.data.sequence_length, examples_per_step(settings)))


def time_update(settings: PretrainSettings, vocab_size: int, here: Ranks) -> float:
    """Seconds of one update of pre-training."""
    pieces, length = Pieces(vocab_size=vocab_size), settings.data.sequence_length
    objective = initial_objective(settings, pieces)
    timing = time_updates(
        objective.to(here.device), lambda size: RandomStream(pieces, length, size, 1), settings.loop, settings.optimizer, here, SECONDS
    )
    return timing.seconds_per_update * examples_per_step(settings) / (settings.loop.batch_size * settings.loop.accumulation)


def time_finetuning(settings: FinetuneSettings, method: Method, vocab_size: int, head: Head, lengths: Sequence[int], here: Ranks) -> dict[str, float]:
    """Seconds per training example (all epochs) and per dev example: a forward pass is a third of an update."""
    shape = networks.discriminator_config(method.settings.model, vocab_size)
    network = task_network(Encoder(with_dropout(shape, settings.dropout)), head, settings.head)
    rng = np.random.default_rng(1)
    features = [
        Features(ids=rng.integers(5, vocab_size, length), segments=np.zeros(length, np.int64), example=i, label=i % len(head.labels))
        for i, length in enumerate(lengths)
    ]

    def open_stream(size: int) -> BatchStream:
        return FeatureStream(features, size, 1)

    optimizer = config.replace(settings.optimizer, layerwise_lr_decay=1.0)
    timing = time_updates(task_objective(network, head).to(here.device), open_stream, settings.loop, optimizer, here, SECONDS)
    each = timing.seconds_per_update / (settings.loop.batch_size * settings.loop.accumulation)
    reading = 1 / FEATURES_PER_SECOND
    return {"per_train_example": settings.epochs * each + reading, "per_dev_example": each / 3 + reading, "fixed": FIXED_SECONDS}


def as_record(stages: dict[str, list[Stage]], cost: dict[str, float]) -> dict[str, Any]:
    """What plan.json keeps of the measurements."""
    rows = {name: [{"share": s.share, "flops_per_step": s.flops, "seconds_per_step": s.seconds} for s in found] for name, found in stages.items()}
    return {"pretraining": rows, "finetuning": cost}

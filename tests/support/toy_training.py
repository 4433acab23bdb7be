"""A toy objective and stream for the loop's tests, and processes that train them, to be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed.checkpoint
import torch.distributed.fsdp  # imported before processes are forked, which then need not
from safetensors.torch import save_file
from torch import nn

from electra.contracts import Batch, Loss, StepOutput
from electra.model.pretraining_models import build_objective, generator_alone, main_network
from electra.settings import LoopSettings, ModelSettings, ObjectiveSettings, OptimizerSettings
from electra.train import checkpoint, distributed
from electra.train.loop import Run, TrainResult
from electra.train.run_log import RunLog

VOCABULARY = 50


class ToyStream:
    """Sequences of random ids: what each holds depends on its global index alone."""

    def __init__(self, batch_size: int, rank: int = 0, world_size: int = 1, stop_at: int = -1, ends: bool = False) -> None:
        """`stop_at`: the process is sent SIGTERM when it takes the batch that holds example `stop_at`; `ends`: see `make_batch`."""
        self.batch_size, self.rank, self.world_size, self.index, self.stop_at = batch_size, rank, world_size, 0, stop_at
        self.ends = ends

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        first = self.index + self.rank * self.batch_size
        if self.index <= self.stop_at < self.index + self.batch_size * self.world_size:
            os.kill(os.getpid(), signal.SIGTERM)
        self.index += self.batch_size * self.world_size
        return make_batch(range(first, first + self.batch_size), self.ends)

    def state(self) -> dict[str, Any]:
        return {"index": self.index}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.index = state["index"]


def make_batch(indices: range, ends: bool = False) -> Batch:
    """`ends`: ids 0 and 1 are special tokens, and a sequence starts and ends with a 0."""
    rows = [np.random.default_rng(index).integers(2 if ends else 0, VOCABULARY, 3 + index % 5) for index in indices]
    for row in rows if ends else []:
        row[[0, -1]] = 0
    lengths = tuple(len(row) for row in rows)
    return Batch(
        ids=torch.from_numpy(np.concatenate(rows)),
        segments=torch.zeros(sum(lengths), dtype=torch.int64),
        positions=torch.cat([torch.arange(length) for length in lengths]),
        rows=torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths)),
        keys=torch.tensor(list(indices)),
        lengths=lengths,
    )


class ToyObjective(nn.Module):
    """Two losses with different counts, tied weights, noise keyed by `batch.keys`, dropout."""

    def __init__(self, dropout: float = 0.0, bad_step: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(VOCABULARY, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, VOCABULARY)
        self.out.weight = self.embeddings.weight
        self.head = nn.Linear(8, 1)
        self.bad_step, self.calls = bad_step, 0

    def advance(self, done: float) -> None:
        pass

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"token_loss": batch.num_tokens, "row_loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        pairs = zip(batch.keys.tolist(), batch.lengths, strict=True)
        noise = torch.cat([torch.randn(length, 8, generator=torch.Generator().manual_seed(key)) for key, length in pairs])
        hidden = self.dropout(self.norm(self.embeddings(batch.ids) + 0.1 * noise))
        total = nn.functional.cross_entropy(self.out(hidden).float(), (batch.ids + 1) % VOCABULARY, reduction="sum")
        self.calls += self.training
        if self.training and self.calls == self.bad_step:
            total = total * float("nan")
        first = hidden[batch.positions == 0]
        labels = (batch.ids[batch.positions == 0] % 2).float()
        scores = self.head(first).squeeze(1).float()
        rows = nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum")
        return StepOutput(
            losses={"token_loss": Loss(total=total, count=batch.num_tokens), "row_loss": Loss(total=rows, count=len(labels), weight=5.0)},
            metrics={"accuracy": (((scores > 0) == (labels > 0)).sum(), torch.tensor(len(labels)))},
            scores={"auc": (scores.detach(), labels)},
        )


def tiny_electra(dropout: float = 0.0, objective: str = "electra", **model: Any) -> nn.Module:
    """Generator and discriminator of two layers with shared embeddings; one parameter (the head's bias) is too small to be divided."""
    shape = {"hidden_size": 12, "embedding_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    settings = ModelSettings(**{**shape, "generator_size": 0.5, "max_position_embeddings": 16, "dropout": dropout, **model})
    return build_objective(
        settings, ObjectiveSettings(objective=objective), vocab_size=VOCABULARY, mask_id=1, special_ids=(0, 1), sequence_length=16, seed=3
    )


def save_toy(objective: nn.Module, folder: Path) -> None:
    save_file({name: tensor.detach().clone() for name, tensor in objective.named_parameters()}, folder / "model.safetensors")


def run_toy(
    folder: Path,
    *,
    batch_size: int = 4,
    steps: int | None = 40,
    budget: float | None = None,
    dropout: float = 0.1,
    bad_step: int = 0,
    pause: float = 0.0,
    go_on: bool = False,
    place: distributed.Ranks | None = None,
    stream: Any = None,
    electra: Mapping[str, Any] | None = None,
    stop_at: int = -1,
    generator_rate: float | None = None,
    moments: Literal["fp32", "bf16"] = "fp32",
    **loop: Any,
) -> tuple[TrainResult, nn.Module]:
    objective = tiny_electra(dropout, **electra) if electra is not None else ToyObjective(dropout, bad_step)
    place = place or distributed.Ranks(0, 1, torch.device("cpu"))

    def evaluate() -> dict[str, float]:
        time.sleep(pause)
        found = {"random": float(torch.rand(()))}  # disturbs the generator, which must not matter
        if electra is not None:
            with torch.no_grad():  # a network called by itself, as probes do
                states = main_network(objective.eval()).encoder(make_batch(range(3), ends=True))
            found["states"] = float(states.square()[:, 0].mean())
        return found

    values = {"log_every": 4, "checkpoint_every": 5, "evaluate_every": 7, "batch_size": batch_size, **loop}
    resume_from = checkpoint.latest_checkpoint(folder) if go_on else None
    settings = checkpoint.split_global_batch(LoopSettings(num_train_steps=steps, budget=budget, **values), resume_from, place.world_size)
    run = Run(
        objective=objective,
        stream=stream or ToyStream(settings.batch_size, place.rank, place.world_size, stop_at, ends=electra is not None),
        settings=settings,
        optimizer=OptimizerSettings(learning_rate=0.01, warmup_steps=4, generator_learning_rate=generator_rate, moments=moments),
        log=RunLog(folder, active=place.first, tensorboard=False),
        save=lambda path: save_toy(objective, path),
        evaluate=evaluate,
        ranks=place,
        separate_parameters=generator_alone(objective) if generator_rate else (),
    )
    return run.train(resume_from), objective


def launch(folder: Path, *, kill_in_checkpoint: int | None = None, environment: Mapping[str, str] | None = None, **values: Any) -> ForkServerProcess:
    """Start a process that does `run_toy(folder, **values)`; its output goes to FOLDER.log.

    Forked from a server that has imported everything, because importing PyTorch takes longer than training the toy.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(str(path) for path in (Path(__file__).parent, Path(__file__).parents[2]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_training"])
    process = context.Process(target=_child, args=(folder, kill_in_checkpoint, dict(environment or {}), values))
    process.start()
    return process


def run_ranks(count: int, folder: Path, **values: Any) -> list[int | None]:
    """`count` processes that train together -> their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    processes = [launch(folder, environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **values) for rank in range(count)]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _child(folder: Path, kill_in_checkpoint: int | None, environment: dict[str, str], values: dict[str, Any]) -> None:
    os.environ.update(environment)
    os.dup2(os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    original, parts = checkpoint.save_file, distributed.Ranks.write_shards

    def dying_save(tensors: Any, path: Path) -> None:
        original(tensors, path)
        if f"step-{kill_in_checkpoint:08d}" in str(path) and path.name.startswith("optimizer"):
            path.write_bytes(path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)

    def dying_parts(place: distributed.Ranks, path: Path, tensors: Any) -> None:
        parts(place, path, tensors)
        if f"step-{kill_in_checkpoint:08d}" in str(path) and place.first:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_in_checkpoint is not None:
        checkpoint.save_file = dying_save
        distributed.Ranks.write_shards = dying_parts
    with distributed.join("cpu", threads=1) as place:
        result, _ = run_toy(folder, place=place, **values)
    sys.exit(128 + result.signal if result.signal else 0)

"""Early stopping: the best evaluation's weights are kept, and a run ends that has not bettered it for some evaluations.

What it keeps lies in the run's folder, and how often was evaluated is read from the run's metrics, so that an interrupted run goes on as if
it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from electra import disk
from electra.train.record import read_metrics


class BestEvaluation:
    """The best of a run's evaluations so far."""

    def __init__(self, folder: Path, network: nn.Module, metric: str, patience: int) -> None:
        """`metric` is to grow; `patience` is in evaluations, 0: nothing is kept and nothing ends."""
        self.path, self.metrics_file = folder / "best-evaluation.safetensors", folder / "metrics.jsonl"
        self.network, self.metric, self.patience = network, metric, patience
        self.evaluations = 0

    def _kept(self) -> tuple[int, float]:
        """(number of the best evaluation, from 1; its metric)."""
        if not self.path.exists():
            return 0, float("-inf")
        with safe_open(self.path, "pt") as file:
            told = file.metadata()
        return int(told["evaluation"]), float(told["score"])

    def _evaluated_steps(self) -> list[int]:
        lines = read_metrics(self.metrics_file) if self.metrics_file.exists() else []
        return [line["step"] for line in lines if line.get("kind") == "evaluation"]

    def consider(self, scores: Mapping[str, float]) -> None:
        """An evaluation's scores, before they are recorded: where they are the best, the weights are kept."""
        if not self.patience:
            return
        self.evaluations = len(self._evaluated_steps()) + 1
        if scores[self.metric] > self._kept()[1]:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.network.state_dict().items()}
            with disk.atomic_file(self.path) as temporary:
                save_file(tensors, temporary, metadata={"evaluation": str(self.evaluations), "score": repr(float(scores[self.metric]))})

    def enough(self) -> bool:
        """Whether as many evaluations as patience allows brought nothing better."""
        return self.patience > 0 and self.evaluations - self._kept()[0] >= self.patience

    def restore(self, save: Callable[[Path], None]) -> int | None:
        """Give the network the best evaluation's weights, write them as RUN/final by `save`, and forget the file -> that evaluation's step.

        None where nothing is to be kept.
        """
        if not self.patience or not self.path.exists():
            return None
        step = self._evaluated_steps()[self._kept()[0] - 1]
        with torch.no_grad():
            self.network.load_state_dict(load_file(self.path))
        with disk.atomic_folder(self.path.parent / "final") as temporary:
            save(temporary)
        return step

    def forget(self) -> None:
        """Remove the kept weights, once the run's scores are written."""
        self.path.unlink(missing_ok=True)

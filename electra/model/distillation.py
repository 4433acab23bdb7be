"""Learning from a teacher's answers beside the labels (Hinton et al. 2015, 'Distilling the knowledge in a neural network')."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch, Loss, StepOutput
from electra.model.classifier import TaskObjective

SMALLEST = 1e-9
"""A teacher's probability below this counts as this."""


class Remembering(nn.Module):
    """A network whose last logits can be asked for again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.logits: Tensor | None = None

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.network(batch)
        self.logits = logits
        return logits


class DistillationObjective(nn.Module):
    """(1 - weight) x a task's own loss + weight x the distance from the teacher's answers, per example.

    Classes: the KL divergence from the teacher's distribution to the student's, both at `temperature`, times its square so that the weight
    means the same at any temperature. Several labels at once: the same for each label by itself, their sum. A regression: squared error.
    """

    def __init__(self, objective: TaskObjective, weight: float, temperature: float) -> None:
        super().__init__()
        objective.network = self.remembering = Remembering(objective.network)
        self.objective, self.weight, self.temperature = objective, weight, temperature

    def advance(self, done: float) -> None:
        """As the task's own."""
        self.objective.advance(done)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The task's own count, and B."""
        return {"label_loss": self.objective.counts(batch)["loss"], "distillation_loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.soft_targets is not None
        output: StepOutput = self.objective(batch)
        assert self.remembering.logits is not None
        total = self.distance(self.remembering.logits.float(), batch.soft_targets)
        own = output.losses["loss"]
        losses = {
            "label_loss": Loss(total=own.total, count=own.count, weight=1 - self.weight),
            "distillation_loss": Loss(total=total, count=len(batch.lengths), weight=self.weight),
        }
        return StepOutput(losses=losses, metrics=output.metrics)

    def distance(self, logits: Tensor, soft_targets: Tensor) -> Tensor:
        """(B, C) logits, (B, C) the teacher's answers -> () summed over examples."""
        kind, heat = self.objective.task_head.kind, self.temperature
        if kind == "regression":
            return F.mse_loss(logits, soft_targets, reduction="sum")
        sure = soft_targets.clamp(SMALLEST, 1 - SMALLEST if kind == "multilabel" else 1.0).log()
        if kind == "multilabel":
            # Each label is a distribution of two: it holds or not.
            odds = sure - torch.log1p(-soft_targets.clamp(SMALLEST, 1 - SMALLEST))
            sure = torch.stack([odds, torch.zeros_like(odds)], -1)
            logits = torch.stack([logits, torch.zeros_like(logits)], -1)
        teacher, student = F.log_softmax(sure / heat, -1), F.log_softmax(logits / heat, -1)
        return F.kl_div(student, teacher, reduction="sum", log_target=True) * heat**2

"""An encoder with a classification (or regression) head, and its objective."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch, Head, Loss, StepOutput
from electra.model.encoder import Encoder, first_tokens
from electra.model.heads import classification_head


class Classifier(nn.Module):
    """(B sequences) -> (B, C) logits from the state of [CLS]."""

    def __init__(self, encoder: Encoder, num_outputs: int, head: str = "transformers") -> None:
        super().__init__()
        self.encoder = encoder
        self.num_outputs = num_outputs
        self.head_kind = head
        self.head = classification_head(encoder.config, num_outputs, head)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(first_tokens(self.encoder(batch), batch))


class ClassificationObjective(nn.Module):
    """Cross-entropy for classes, squared error for a regression; loss name 'loss', per example."""

    def __init__(self, classifier: Classifier, head: Head) -> None:
        super().__init__()
        self.classifier = classifier
        self.task_head = head

    def advance(self, done: float) -> None:
        """Nothing here changes as a run goes on."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """B."""
        return {"loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.labels is not None
        logits = self.classifier(batch).float()
        if self.task_head.kind == "regression":
            total = F.mse_loss(logits.squeeze(-1), batch.labels.float(), reduction="sum")
            metrics = {}
        else:
            total = F.cross_entropy(logits, batch.labels, reduction="sum")
            right = (logits.detach().argmax(-1) == batch.labels).sum().float()
            metrics = {"accuracy": (right, torch.full((), float(len(batch.lengths)), device=right.device))}
        return StepOutput(losses={"loss": Loss(total=total, count=len(batch.lengths))}, metrics=metrics)

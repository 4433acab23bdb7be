"""One encoder under the heads of several tasks, trained together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from electra.contracts import Batch, Loss, StepOutput
from electra.model.classifier import TaskNetwork, TaskObjective


def share_encoder(networks: Mapping[str, TaskNetwork]) -> None:
    """Put all networks on the encoder of the first, in place."""
    first = next(iter(networks.values())).encoder
    for network in networks.values():
        network.encoder = first


class MultitaskObjective(nn.Module):
    """A batch of one task -> that task's loss, a mean over its items; over an update's batches an example counts once, whatever its task.

    Every head takes part in every batch with a gradient of zero, so that all ranks exchange the same gradients; as in the original, whose
    batches hold all tasks, a head's moments fade while others are trained.
    """

    def __init__(self, objectives: Mapping[str, TaskObjective]) -> None:
        super().__init__()
        self.objectives = nn.ModuleDict(objectives)
        # A plain dict: the networks are registered once already, inside the objectives.
        self.networks = {name: cast(TaskNetwork, objective.network) for name, objective in objectives.items()}

    def advance(self, done: float) -> None:
        """As each task's own."""
        for objective in self.objectives.values():
            assert isinstance(objective, TaskObjective)
            objective.advance(done)

    def counts(self, batch: Batch) -> dict[str, int]:
        """B."""
        return {"loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        output: StepOutput = self.objectives[batch.task](batch)
        own, size = output.losses["loss"], len(batch.lengths)
        total = own.total.float() * (size / max(1, own.count)) + self._still(batch.task)
        device = total.device
        share = (own.total.detach().float(), torch.full((), float(max(1, own.count)), device=device))
        metrics = {f"{batch.task}_{name}": value for name, value in {"loss": share, **output.metrics}.items()}
        return StepOutput(losses={"loss": Loss(total=total, count=size)}, metrics=metrics)

    def _still(self, task: str) -> Tensor:
        """Zero, made of the other tasks' heads."""
        others = [network.head for name, network in self.networks.items() if name != task]
        return torch.stack([parameter.sum() for head in others for parameter in head.parameters()]).sum() * 0.0

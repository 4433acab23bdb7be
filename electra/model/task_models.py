"""Encoder + `Head` -> a task's network and the objective that trains it: one task, several on one encoder, a teacher, frozen layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch, Head, Loss, StepOutput
from electra.errors import UserError
from electra.model.encoder import Encoder, first_tokens, parameter_depth
from electra.model.heads import ANSWERABLE_WEIGHT, JointQAModel, PooledHead, TokenHead, classification_head, mean_states, row_log_softmax
from electra.settings import DistillationSettings

POOLINGS = ("mean", "cls", "max")
NO_LABEL = -100
"""Tag of a token without a label."""
WEIGHT_UNITS = 1 << 16
"""What the largest class weight becomes."""


# ---- frozen layers ----


def check_layers(frozen: int | None, num_hidden_layers: int) -> None:
    """Check that there are as many layers as are to be frozen.

    Raises:
        UserError: there are fewer.
    """
    if frozen is not None and not 0 <= frozen <= num_hidden_layers:
        raise UserError(f"--freeze-layers {frozen}: the model has {num_hidden_layers} layers; give 0 (only the embeddings) to that many")


def freeze_lowest(encoder: nn.Module, num_layers: int) -> None:
    """Exclude the embeddings and the lowest `num_layers` layers from training (0: only the embeddings)."""
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(parameter_depth(name) > num_layers)


class LinearProbing:
    """An encoder that is frozen for the first share of a run, while the head learns, then fine-tuned with it.

    The optimizer skips parameters without gradients, so their moments are still zero when they begin to learn. Nothing is kept between
    steps: the completed share of the run decides, so a resumed run continues unchanged.
    """

    def __init__(self, encoder: nn.Module, share: float) -> None:
        """`share` is that of the run, 0..1; parameters that are frozen already stay frozen."""
        self.parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        self.share = share

    def advance(self, done: float) -> None:
        """Freeze or release; `done` is the completed share of the run before an update."""
        learns = done >= self.share - 1e-9
        for parameter in self.parameters:
            parameter.requires_grad_(learns)


# ---- networks ----


class Classifier(nn.Module):
    """B sequences -> (B, C) logits from the state of [CLS], or the mean of all states: one of C classes, a number, or several of C labels."""

    def __init__(self, encoder: Encoder, num_outputs: int, head: str = "transformers", *, multilabel: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_outputs = num_outputs
        self.head_kind = head
        self.labels: tuple[str, ...] = ()
        self.problem_type: str | None = "regression" if num_outputs == 1 else None
        if multilabel:
            self.problem_type = "multi_label_classification"
        self.head: nn.Module = classification_head(encoder.config, num_outputs, head)

    def forward(self, batch: Batch) -> Tensor:
        if self.head_kind == "mean":
            return self.head(mean_states(self.encoder(batch), batch))
        return self.head(self.encoder(batch, at=first_tokens(batch)))

    def outputs(self, batch: Batch) -> Sequence[Tensor]:
        """B arrays (C,), or N arrays (group, C)."""
        logits = self(batch).float()
        return logits.unbind() if batch.group == 1 else logits.unflatten(0, (batch.group, -1)).transpose(0, 1).unbind()


class TokenClassifier(nn.Module):
    """T tokens -> (T, C) logits of each token's tag."""

    def __init__(self, encoder: Encoder, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_outputs = num_outputs
        self.labels: tuple[str, ...] = ()
        self.head = TokenHead(encoder.config, num_outputs)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.encoder(batch))

    def outputs(self, batch: Batch) -> Sequence[Tensor]:
        """B arrays (L, C)."""
        return self(batch).float().split(batch.lengths)


class QAModel(nn.Module):
    """T tokens -> (T, 2) logits of being an answer's first and last token, by one projection, as in `transformers`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = TokenHead(encoder.config, 2, dropout=0.0)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.encoder(batch))

    def outputs(self, batch: Batch) -> Sequence[Tensor]:
        """B arrays (L, 2)."""
        return self(batch).float().split(batch.lengths)


class SentenceEncoder(nn.Module):
    """B sequences -> (B, D) float32 vectors: the mean over all tokens, the state of [CLS], or the largest value of each dimension."""

    def __init__(self, encoder: Encoder, pooling: str = "mean") -> None:
        super().__init__()
        assert pooling in POOLINGS, pooling
        self.encoder = encoder
        self.pooling = pooling
        self.head = nn.Identity()

    def forward(self, batch: Batch) -> Tensor:
        if self.pooling == "cls":
            return self.encoder(batch, at=first_tokens(batch)).float()
        return pooled(self.encoder(batch), batch, self.pooling)

    def outputs(self, batch: Batch) -> Sequence[Tensor]:
        """N arrays (group, D), the vectors of each example's sequences."""
        return self(batch).unflatten(0, (batch.group, -1)).transpose(0, 1).unbind()


def pooled(hidden: Tensor, batch: Batch, pooling: str) -> Tensor:
    """(T, D) -> (B, D) float32, by a pooling of `POOLINGS`, over all tokens of each sequence, [CLS] and [SEP] included."""
    if pooling == "mean":
        return mean_states(hidden, batch)
    if pooling == "cls":
        return hidden[first_tokens(batch)].float()
    out = torch.full((len(batch.lengths), hidden.shape[1]), -torch.inf, device=hidden.device)
    return out.scatter_reduce(0, batch.rows[:, None].expand(-1, hidden.shape[1]), hidden.float(), "amax")


def start_pooler(network: nn.Module, encoder: Encoder) -> None:
    """Start the pooled head of a BERT's classifier from the checkpoint's pooler, where it has one; the projection stays new."""
    if isinstance(head := getattr(network, "head", None), PooledHead) and "pooler.dense.weight" in encoder.kept:
        head.dense.load_state_dict({name: encoder.kept[f"pooler.dense.{name}"] for name in ("weight", "bias")})


TaskNetwork: TypeAlias = Classifier | TokenClassifier | QAModel | JointQAModel | SentenceEncoder


def task_network(encoder: Encoder, head: Head, style: str = "transformers") -> TaskNetwork:
    """The encoder with a task's head; `style` is 'transformers' (a BERT's own heads, its pooler included), 'original' or, for texts, 'mean'.

    Raises:
        UserError: the original's ELECTRA heads on a BERT.
    """
    if style == "original" and encoder.config.model_type != "electra" and head.kind != "tagging":
        raise UserError("--head original is a head of ELECTRA's released code, the model is a BERT; leave it out, or give mean")
    if head.kind == "tagging":
        return TokenClassifier(encoder, head.num_outputs)
    if head.kind == "span":
        return JointQAModel(encoder) if style == "original" else QAModel(encoder)
    network = Classifier(encoder, head.num_outputs, style, multilabel=head.kind == "multilabel")
    if head.kind == "ranking":
        network.problem_type = None
    return network


# ---- objectives ----


class TaskObjective(nn.Module):
    """Base of a task's objective: the network it trains, and one loss named 'loss'."""

    def __init__(self, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.network = network
        self.task_head = head
        self.probing: LinearProbing | None = None

    def advance(self, done: float) -> None:
        """The encoder is frozen during linear probing; nothing else changes as a run goes on."""
        if self.probing is not None:
            self.probing.advance(done)

    def counts(self, batch: Batch) -> dict[str, int]:
        """B."""
        return {"loss": len(batch.lengths)}


class ClassificationObjective(TaskObjective):
    """Cross-entropy for classes, squared error for a regression, both per example; binary cross-entropy per label for several labels.

    `class_weights` weigh the examples of each class: the loss is then the weighted mean over all examples of an update, as in
    `torch.nn.functional.cross_entropy`.
    """

    def __init__(self, network: nn.Module, head: Head, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(network, head)
        self.class_weights: list[int] | None = None
        if class_weights is not None:
            # A loss is divided by an integer known on the host; a weighted mean depends only on the proportions of the weights.
            self.class_weights = [max(1, round(weight / max(class_weights) * WEIGHT_UNITS)) for weight in class_weights]

    def counts(self, batch: Batch) -> dict[str, int]:
        """B; B x C for several labels; the sum of the examples' weights where classes have weights."""
        if self.class_weights is not None:
            assert batch.classes is not None
            return {"loss": sum(self.class_weights[label] for label in batch.classes)}
        return {"loss": len(batch.lengths) * (self.task_head.num_outputs if self.task_head.kind == "multilabel" else 1)}

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.labels is not None
        logits = self.network(batch).float()
        metrics = {}
        if self.task_head.kind == "regression":
            total = F.mse_loss(logits.squeeze(-1), batch.labels.float(), reduction="sum")
        elif self.task_head.kind == "multilabel":
            total = F.binary_cross_entropy_with_logits(logits, batch.labels.float(), reduction="sum")
            metrics = {"label_accuracy": _share((logits.detach() > 0) == (batch.labels > 0.5))}
        else:
            weights = None if self.class_weights is None else torch.tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
            total = F.cross_entropy(logits, batch.labels, weight=weights, reduction="sum")
            metrics = {"accuracy": _share(logits.detach().argmax(-1) == batch.labels)}
        return StepOutput(losses={"loss": Loss(total=total, count=self.counts(batch)["loss"])}, metrics=metrics)


class TaggingObjective(TaskObjective):
    """Cross-entropy of the words' tags, on their first tokens; the mean over words, as in `transformers`."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Words of the batch."""
        return {"loss": batch.num_tags}

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.labels is not None
        logits = self.network(batch).float()
        total = F.cross_entropy(logits, batch.labels, ignore_index=NO_LABEL, reduction="sum")
        labelled = batch.labels != NO_LABEL
        right = ((logits.detach().argmax(-1) == batch.labels) & labelled).sum().float()
        count = labelled.sum()
        return StepOutput(losses={"loss": Loss(total=total, count=batch.num_tags)}, metrics={"accuracy": (right, count.float())})


class SpanObjective(TaskObjective):
    """Mean cross-entropy of the answer's first and last token over all tokens of its window ([CLS]: no answer), per window."""

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.labels is not None
        logits = self.network(batch).float()
        log_probs = row_log_softmax(logits, batch)
        starts = torch.tensor(batch.lengths, device=logits.device).cumsum(0) - torch.tensor(batch.lengths, device=logits.device)
        chosen = log_probs[(starts[:, None] + batch.labels[:, :2]).clamp(max=len(logits) - 1), torch.arange(2, device=logits.device)]
        return StepOutput(losses={"loss": Loss(total=-chosen.sum() / 2, count=len(batch.lengths))})


class JointSpanObjective(TaskObjective):
    """The original's losses for questions, per window: mean cross-entropy of first and last token, plus half the answerability loss."""

    network: JointQAModel

    def counts(self, batch: Batch) -> dict[str, int]:
        """B of each."""
        return {"span_loss": len(batch.lengths), "answerable_loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        found, count = self.network.losses(batch), len(batch.lengths)
        weighted = Loss(total=found.answerable, count=count, weight=ANSWERABLE_WEIGHT)
        return StepOutput(losses={"span_loss": Loss(total=found.span, count=count), "answerable_loss": weighted})


def task_objective(network: nn.Module, head: Head, class_weights: Sequence[float] | None = None) -> TaskObjective:
    """The objective of a task's network; `class_weights` are for classification."""
    if isinstance(network, JointQAModel):
        return JointSpanObjective(network, head)
    if head.kind == "tagging":
        return TaggingObjective(network, head)
    if head.kind == "span":
        return SpanObjective(network, head)
    return ClassificationObjective(network, head, class_weights)


def _share(right: Tensor) -> tuple[Tensor, Tensor]:
    return right.sum().float(), torch.full((), float(right.numel()), device=right.device)


# ---- several tasks ----


def share_encoder(networks: Mapping[str, TaskNetwork]) -> None:
    """Put all networks on the encoder of the first, in place."""
    first = next(iter(networks.values())).encoder
    for network in networks.values():
        network.encoder = first


class MultitaskObjective(nn.Module):
    """A batch of one task -> that task's loss, a mean over its items; over the batches of an update every example counts once.

    Every head takes part in every batch with a gradient of zero, so that all ranks exchange the same gradients; as in the original, whose
    batches hold all tasks, a head's moments fade while others are trained.
    """

    def __init__(self, objectives: Mapping[str, TaskObjective]) -> None:
        super().__init__()
        self.objectives = nn.ModuleDict(objectives)
        # A plain dict: the networks are registered once already, inside the objectives.
        self.networks = {name: cast(TaskNetwork, objective.network) for name, objective in objectives.items()}

    def advance(self, done: float) -> None:
        """Advance every task."""
        for objective in self.objectives.values():
            assert isinstance(objective, TaskObjective)
            objective.advance(done)

    def counts(self, batch: Batch) -> dict[str, int]:
        """B."""
        return {"loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        output: StepOutput = self.objectives[batch.task](batch)
        loss, size = output.losses["loss"], len(batch.lengths)
        total = loss.total.float() * (size / max(1, loss.count)) + self._zero(batch.task)
        device = total.device
        mean = (loss.total.detach().float(), torch.full((), float(max(1, loss.count)), device=device))
        metrics = {f"{batch.task}_{name}": value for name, value in {"loss": mean, **output.metrics}.items()}
        return StepOutput(losses={"loss": Loss(total=total, count=size)}, metrics=metrics)

    def _zero(self, task: str) -> Tensor:
        """Zero, made of the other tasks' heads."""
        others = [network.head for name, network in self.networks.items() if name != task]
        return torch.stack([parameter.sum() for head in others for parameter in head.parameters()]).sum() * 0.0


# ---- a teacher (Hinton et al. 2015, 'Distilling the knowledge in a neural network') ----


SMALLEST = 1e-9
"""Lower bound of a teacher's probabilities."""


class LogitRecorder(nn.Module):
    """A network that keeps its last logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.logits: Tensor | None = None

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.network(batch)
        self.logits = logits
        return logits


class DistillationObjective(nn.Module):
    """(1 - weight) x the task's loss + weight x the distance from the teacher's answers, per example.

    Classes: the KL divergence from the teacher's distribution to the student's, both at `temperature`, times its square so that the weight
    means the same at any temperature. Several labels: the sum of the same for each label. A regression: squared error.
    """

    def __init__(self, objective: TaskObjective, weight: float, temperature: float) -> None:
        super().__init__()
        # 'remembering' is part of the parameters' names in checkpoints.
        objective.network = self.remembering = LogitRecorder(objective.network)
        self.objective, self.weight, self.temperature = objective, weight, temperature

    def advance(self, done: float) -> None:
        """Advance the task."""
        self.objective.advance(done)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The task's count, and B."""
        return {"label_loss": self.objective.counts(batch)["loss"], "distillation_loss": len(batch.lengths)}

    def forward(self, batch: Batch) -> StepOutput:
        assert batch.soft_targets is not None
        output: StepOutput = self.objective(batch)
        assert self.remembering.logits is not None
        total = self.distance(self.remembering.logits.float(), batch.soft_targets)
        loss = output.losses["loss"]
        losses = {
            "label_loss": Loss(total=loss.total, count=loss.count, weight=1 - self.weight),
            "distillation_loss": Loss(total=total, count=len(batch.lengths), weight=self.weight),
        }
        return StepOutput(losses=losses, metrics=output.metrics)

    def distance(self, logits: Tensor, soft_targets: Tensor) -> Tensor:
        """(B, C) logits, (B, C) the teacher's answers -> () summed over examples."""
        kind = self.objective.task_head.kind
        if kind == "regression":
            return F.mse_loss(logits, soft_targets, reduction="sum")
        log_p = soft_targets.clamp(SMALLEST, 1 - SMALLEST if kind == "multilabel" else 1.0).log()
        if kind == "multilabel":
            # Each label is a distribution over two outcomes.
            odds = log_p - torch.log1p(-soft_targets.clamp(SMALLEST, 1 - SMALLEST))
            log_p = torch.stack([odds, torch.zeros_like(odds)], -1)
            logits = torch.stack([logits, torch.zeros_like(logits)], -1)
        teacher, student = (F.log_softmax(values / self.temperature, -1) for values in (log_p, logits))
        return F.kl_div(student, teacher, reduction="sum", log_target=True) * self.temperature**2


def combined_objective(objectives: Mapping[str, TaskObjective], distillation: DistillationSettings) -> nn.Module:
    """The objectives of a run's tasks -> what the loop trains: one with its teacher's loss where there is a teacher, or several together."""
    if len(objectives) > 1:
        return MultitaskObjective(objectives)
    objective = next(iter(objectives.values()))
    if distillation.teacher is None:
        return objective
    return DistillationObjective(objective, distillation.distill_weight, distillation.distill_temperature)

"""A fine-tuned checkpoint and its task -> answers to examples, read as they were in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.settings import EvaluateSettings, LoopSettings
from electra.tasks.reading import as_trained

if TYPE_CHECKING:
    from electra.model.classifier import TaskNetwork
    from electra.model.hf import Checkpoint

KINDS = {"ElectraForTokenClassification": "tagging", "ElectraForQuestionAnswering": "span", "ElectraOriginalQuestionAnswering": "span"}


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A network that answers a task."""

    task: Task
    head: Head
    network: TaskNetwork
    tokenizer: Tokenizer
    max_length: int

    def featurize(self, examples: Sequence[Example]) -> list[Features]:
        """Examples -> what the network reads of them."""
        return self.task.featurize(examples, self.tokenizer, self.max_length, self.head)

    def answer(self, examples: Sequence[Example], features: Sequence[Features], batch_size: int = 32) -> list[Prediction]:
        """Examples and their features -> one prediction per example, in their order."""
        from electra.tasks.trial import compute_outputs
        from electra.train.ranks import choose_device

        device = choose_device()
        outputs = compute_outputs(self.network.to(device), features, self.head, LoopSettings(batch_size=batch_size), device)
        return self.task.decode(outputs, features, examples, self.head)


def open_checkpoint(source: str) -> tuple[Checkpoint, Head]:
    """A checkpoint folder, run or hub name -> a fine-tuned model and what its head is for.

    Raises:
        UserError: no such checkpoint, or one that was not fine-tuned.
    """
    from electra.model.hf import load_checkpoint

    checkpoint = load_checkpoint(source, "task")
    return checkpoint, head_of(checkpoint)


def head_of(checkpoint: Checkpoint) -> Head:
    """What a saved model's head is for; a regression answers in the label's own unit, so nothing is left to scale."""
    if (kind := KINDS.get(checkpoint.architecture)) is not None:
        return Head(kind=kind, labels=checkpoint.labels if kind == "tagging" else ())
    problem = checkpoint.hf_config.get("problem_type")
    if problem == "regression" or (problem is None and len(checkpoint.labels) == 1):
        return Head(kind="regression")
    return Head(kind="multilabel" if problem == "multi_label_classification" else "classification", labels=checkpoint.labels)


def for_task(checkpoint: Checkpoint, task: Task, wanted: Head, source: str, asked: EvaluateSettings | None = None) -> FineTuned:
    """A fine-tuned checkpoint as the one that answers a task, reading as it learned to, or as `asked` for by flags.

    Raises:
        UserError: it answers with something else than the task wants, or a flag that is not the task's.
    """
    head = head_of(checkpoint)
    if wanted.kind != head.kind:
        raise UserError(f"{source} is made for {head.kind}, {task.name} asks for {wanted.kind}; fine-tune on it")
    if set(head.labels) != set(wanted.labels):
        raise UserError(f"{source} answers with {', '.join(head.labels[:10])}, {task.name} with {', '.join(wanted.labels[:10])}; fine-tune on it")
    task, length = as_trained(task, checkpoint.hf_config, asked)
    return FineTuned(
        task=task,
        head=head,
        network=cast("TaskNetwork", checkpoint.module),
        tokenizer=load_tokenizer(checkpoint.path),
        max_length=min(length, checkpoint.config.max_position_embeddings),
    )

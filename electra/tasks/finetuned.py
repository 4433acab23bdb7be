"""A fine-tuned checkpoint and its task -> answers to examples, read as they were in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from electra.contracts import Example, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.settings import LoopSettings
from electra.tasks.reading import as_trained

if TYPE_CHECKING:
    from electra.model.classifier import TaskNetwork


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A network that answers a task."""

    task: Task
    head: Head
    network: TaskNetwork
    tokenizer: Tokenizer
    max_length: int

    def answer(self, examples: Sequence[Example], batch_size: int = 32) -> list[Prediction]:
        """One prediction per example, in their order."""
        from electra.tasks.trial import compute_outputs
        from electra.train.ranks import choose_device

        features = self.task.featurize(examples, self.tokenizer, self.max_length, self.head)
        device = choose_device()
        outputs = compute_outputs(self.network.to(device), features, self.head, LoopSettings(batch_size=batch_size), device)
        return self.task.decode(outputs, features, examples, self.head)


def open_finetuned(source: str, task: Task, wanted: Head) -> FineTuned:
    """A checkpoint folder, run or hub name, and the head its task asks for -> what answers it, reading long texts as it learned to.

    Raises:
        UserError: no such checkpoint, or one with other labels.
    """
    from electra.model.hf import load_checkpoint

    checkpoint = load_checkpoint(source, "task" if wanted.kind in ("tagging", "span") else "classifier")
    if set(checkpoint.labels if wanted.labels else ()) != set(wanted.labels):
        raise UserError(
            f"{source} answers with {', '.join(checkpoint.labels)[:200]}, {task.name} with {', '.join(wanted.labels)[:200]}; fine-tune on it"
        )
    if wanted.kind == "regression" and checkpoint.hf_config.get("problem_type") not in ("regression", None):
        raise UserError(f"{source} answers with classes, {task.name} with a number; fine-tune on it")
    limit = checkpoint.config.max_position_embeddings
    task, length = as_trained(task, checkpoint.hf_config)
    return FineTuned(
        task=task,
        # A saved regression answers in the label's unit: nothing is left to scale.
        head=Head(kind=wanted.kind, labels=checkpoint.labels if wanted.labels else ()),
        network=cast("TaskNetwork", checkpoint.module),
        tokenizer=load_tokenizer(checkpoint.path),
        max_length=min(length, limit),
    )

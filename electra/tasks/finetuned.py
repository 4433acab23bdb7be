"""A fine-tuned model, whatever runs it, and its task -> answers to examples, read as they were in training. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.tasks.reading import as_trained

Compute: TypeAlias = Callable[[Sequence[Features], int], list[np.ndarray]]
"""(features, batch size) -> what `Task.decode` reads of each, float32, in their order."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that was fine-tuned, for whatever task."""

    name: str
    """What messages call it."""
    head: Head
    tokenizer: Tokenizer
    max_length: int
    """Longest input in tokens."""
    hf_config: Mapping[str, Any]
    """What config.json says."""
    compute: Compute


OpenModel: TypeAlias = Callable[[str], Opened]
"""A checkpoint's or an artefact's name -> the model.

Raises:
    UserError: no such model, or one that was not fine-tuned.
"""


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A model that answers a task."""

    task: Task
    head: Head
    tokenizer: Tokenizer
    max_length: int
    compute: Compute

    def featurize(self, examples: Sequence[Example]) -> list[Features]:
        """Examples -> what the network reads of them."""
        return self.task.featurize(examples, self.tokenizer, self.max_length, self.head)

    def answer(self, examples: Sequence[Example], features: Sequence[Features], batch_size: int = 32) -> list[Prediction]:
        """Examples and their features -> one prediction per example, in their order."""
        return self.task.decode(self.compute(features, batch_size), features, examples, self.head)


def for_task(opened: Opened, task: Task, wanted: Head, asked: EvaluateSettings | None = None) -> FineTuned:
    """A fine-tuned model as the one that answers a task, reading as it learned to, or as `asked` for by flags.

    Raises:
        UserError: it answers with something else than the task wants, or a flag that is not the task's.
    """
    head = opened.head
    if wanted.kind != head.kind:
        raise UserError(f"{opened.name} is made for {head.kind}, {task.name} asks for {wanted.kind}; fine-tune on it")
    if opened.hf_config.get("finetuning_task") == task.name and len(head.labels) == len(wanted.labels):
        # Its classes may have been given names to read; they still stand in the task's order.
        head = replace(head, labels=head.labels if set(head.labels) == set(wanted.labels) else wanted.labels)
    if set(head.labels) != set(wanted.labels):
        theirs, ours = ", ".join(head.labels[:10]), ", ".join(wanted.labels[:10])
        raise UserError(f"{opened.name} answers with {theirs}, {task.name} with {ours}; fine-tune on it")
    task, length = as_trained(task, opened.hf_config, asked)
    return FineTuned(task=task, head=head, tokenizer=opened.tokenizer, max_length=min(length, opened.max_length), compute=opened.compute)

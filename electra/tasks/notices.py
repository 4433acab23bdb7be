"""What a person should know of a model and its data before the work begins: lines for standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.contracts import Example, Head, Task
from electra.tasks.overlap import in_pretraining, warnings

SHOWN_LABELS = 6


def architecture_in(hf_config: Mapping[str, Any]) -> str:
    """config.json -> the name of its Hugging Face class."""
    return str((hf_config.get("architectures") or ["ElectraModel"])[0])


def head_line(source: str, hf_config: Mapping[str, Any], head: Head) -> str:
    """'runs/sst2: ElectraForSequenceClassification, its head: classification into 2 classes (0, 1)'."""
    return f"{source}: {architecture_in(hf_config)}, its head: {describe(head)}"


def describe(head: Head) -> str:
    """'classification into 2 classes (0, 1)', 'a number', 'a tag for each word, of 23', 'where an answer stands'."""
    names = ", ".join(head.labels[:SHOWN_LABELS]) + (", ..." if len(head.labels) > SHOWN_LABELS else "")
    return {
        "classification": f"classification into {len(head.labels)} classes ({names})",
        "multilabel": f"any of {len(head.labels)} labels ({names})",
        "tagging": f"a tag for each word, of {len(head.labels)} ({names})",
        "regression": "a number",
        "span": "where an answer stands in a text",
    }[head.kind]


def start_line(source: str, hf_config: Mapping[str, Any], task: Task, head: Head, style: str) -> str:
    """What fine-tuning begins with: whose encoder (its config.json tells), and which new head."""
    architecture = architecture_in(hf_config)
    encoder = f"random weights in the shape of {source[7:]}" if source.startswith("random:") else f"{source}: encoder of its {architecture}"
    return f"{encoder}; new head for {task.name} ({'the original' if style == 'original' else style}'s form): {describe(head)}"


def tell(lines: Sequence[str]) -> None:
    """Print lines to standard error."""
    for line in lines:
        print(line, file=sys.stderr)


def data_lines(train: Sequence[Example], dev: Sequence[Example], head: Head, pretraining: Sequence[Path]) -> list[str]:
    """Warnings about the examples, and about dev examples that stand in the shards of the pre-training.

    Raises:
        UserError: a shard folder that cannot be read.
    """
    found = warnings(train, dev, head)
    if pretraining and (line := in_pretraining(dev, pretraining)):
        found.append(line)
    return [f"warning: {line}" for line in found]

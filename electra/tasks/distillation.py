"""A teacher's answers to the training examples, computed once and kept, and what more texts it labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from electra import disk, hub, remote
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.settings import DistillationSettings, FinetuneSettings, LoopSettings
from electra.tasks.task import read_text

if TYPE_CHECKING:
    from torch import nn

    from electra.model.classifier import TaskNetwork, TaskObjective
    from electra.model.hf import Checkpoint

KINDS = ("classification", "multilabel", "regression")


def taught(objective: TaskObjective, settings: DistillationSettings) -> nn.Module:
    """The objective with its teacher's loss, where there is a teacher."""
    from electra.model.distillation import DistillationObjective

    if settings.teacher is None:
        return objective
    return DistillationObjective(objective, settings.distill_weight, settings.distill_temperature)


def featurize(
    task: Task, examples: Sequence[Example], tokenizer: Tokenizer, head: Head, settings: FinetuneSettings
) -> tuple[Sequence[Example], list[Features]]:
    """Training examples -> themselves (and the unlabelled texts, labelled by the teacher) and their features, with the teacher's answers.

    Raises:
        UserError: a wrong weight or temperature, a teacher that answers with other labels, or a task no teacher can help with.
    """
    chosen = settings.distillation
    if chosen.teacher is None:
        if chosen.unlabelled is not None:
            raise UserError(f"--unlabelled {chosen.unlabelled} needs a --teacher to label it")
        return examples, task.featurize(examples, tokenizer, settings.max_length, head)
    if not 0 <= chosen.distill_weight <= 1 or chosen.distill_temperature <= 0:
        raise UserError("distill_weight must be within 0..1, distill_temperature above 0; correct the flag")
    if head.kind not in KINDS:
        raise UserError(f"--teacher is for labels and numbers of a whole text; {task.name} has another kind of answer")
    more = [] if chosen.unlabelled is None else read_unlabelled(chosen.unlabelled, pairs=examples[0].text_pair is not None)
    asked = [*examples, *more]
    answers = ask(chosen.teacher, task, asked, head, settings)
    asked = [*examples, *(replace(example, label=own_label(row, head)) for example, row in zip(more, answers[len(examples) :], strict=True))]
    features = task.featurize(asked, tokenizer, settings.max_length, head)
    targets = (answers - head.offset) / head.scale if head.kind == "regression" else answers
    return asked, [replace(feature, soft_targets=tuple(targets[feature.example].tolist())) for feature in features]


def own_label(answer: np.ndarray, head: Head) -> str | float | tuple[str, ...]:
    """(C,) answers of a teacher -> the label it would give."""
    if head.kind == "regression":
        return float(answer[0])
    if head.kind == "multilabel":
        return tuple(name for name, p in zip(head.labels, answer.tolist(), strict=True) if p > 0.5)
    return head.labels[int(answer.argmax())]


def ask(teacher: str, task: Task, examples: Sequence[Example], head: Head, settings: FinetuneSettings) -> np.ndarray:
    """(N, C) float64: the teacher's probabilities in the order of the head's labels, or its numbers, from the cache where it was asked before.

    Raises:
        UserError: it is no classifier, or of other labels.
    """
    checkpoint = open_teacher(teacher)
    names = matched(teacher, checkpoint, head)
    length = min(settings.max_length, checkpoint.config.max_position_embeddings)
    kept = remote.cache_folder() / "teachers" / f"{_fingerprint(checkpoint.path, task, examples, names, length)}.npy"
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False), dtype=np.float64)
    answers = _rows(_predict(checkpoint, task, examples, replace(head, labels=names), length, settings.loop), names)
    with disk.atomic_file(kept) as temporary, open(temporary, "wb") as file:
        np.save(file, answers)
    return answers


def open_teacher(teacher: str) -> Checkpoint:
    """A classifier of ours or of the hub: an ELECTRA's, or a BERT's.

    Raises:
        UserError: not found, damaged, or no classifier.
    """
    from electra.model.bert_classifier import load_bert_classifier
    from electra.model.hf import load_checkpoint, read_config

    folder = hub.resolve(teacher)
    if read_config(folder, or_bert=True)["model_type"] == "bert":
        return load_bert_classifier(folder)
    return load_checkpoint(teacher, "classifier")


def matched(teacher: str, checkpoint: Checkpoint, head: Head) -> tuple[str, ...]:
    """The teacher's own names of its outputs, in the order of the head's labels.

    Names LABEL_0, LABEL_1, ... say nothing: such a teacher's outputs are taken in their order.

    Raises:
        UserError: others, or fewer or more of them.
    """
    theirs = checkpoint.labels
    if head.kind == "regression":
        if len(theirs) == 1:
            return theirs
        raise UserError(f"--teacher {teacher} answers with {len(theirs)} classes, the task wants a number; give a regression's model")
    if set(theirs) == set(head.labels):
        return head.labels
    if len(theirs) == len(head.labels) and all(name == f"LABEL_{i}" for i, name in enumerate(theirs)):
        return theirs
    raise UserError(f"--teacher {teacher} answers with {', '.join(theirs[:10])}, the task with {', '.join(head.labels[:10])}; give one of the task's")


def _predict(checkpoint: Checkpoint, task: Task, examples: Sequence[Example], head: Head, length: int, loop: LoopSettings) -> list[Prediction]:
    """The teacher reads with its own tokenizer, and answers in the task's unit."""
    from electra.tasks.trial import compute_outputs
    from electra.train.ranks import choose_device

    unlabelled = [replace(example, label=None) for example in examples]
    theirs = replace(head, labels=checkpoint.labels if head.labels else (), offset=0.0, scale=1.0)
    features = task.featurize(unlabelled, load_tokenizer(checkpoint.path), length, theirs)
    device = choose_device(loop.device)
    network = cast("TaskNetwork", checkpoint.module.to(device))
    return task.decode(compute_outputs(network, features, theirs, loop, device), features, unlabelled, theirs)


def _rows(predictions: Sequence[Prediction], names: Sequence[str]) -> np.ndarray:
    if predictions and not predictions[0].probabilities:
        return np.array([[float(str(answer.label))] for answer in predictions])
    return np.array([[answer.probabilities[name] for name in names] for answer in predictions])


def _fingerprint(folder: Path, task: Task, examples: Sequence[Example], names: Sequence[str], length: int) -> str:
    """What the teacher's answers depend on."""
    digest = hashlib.sha256(json.dumps([task.name, names, length]).encode())
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json", ".txt")):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        digest.update(json.dumps([example.text, example.text_pair]).encode())
    return digest.hexdigest()[:32]


def read_unlabelled(path: Path, *, pairs: bool) -> list[Example]:
    """A text file (one text a line, a tab between two) or jsonl -> examples without labels.

    Raises:
        UserError: it cannot be read, a line is no text, or has one text where two are wanted or the other way round.
    """
    out: list[Example] = []
    for number, line in enumerate(read_text(path, "the unlabelled texts").split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if path.suffix == ".jsonl":
            try:
                row = json.loads(line)
                texts = [row["text"], *([row["text_pair"]] if "text_pair" in row else [])]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{place}: expected a JSON object with 'text' (and 'text_pair')") from None
        else:
            texts = line.removesuffix("\r").split("\t")
        if len(texts) != 1 + pairs or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{place}: {len(texts)} texts, the task reads {1 + pairs}; separate two by a tab")
        out.append(Example(id=f"unlabelled-{len(out)}", text=texts[0], text_pair=texts[1] if pairs else None))
    return out

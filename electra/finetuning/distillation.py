"""A teacher's answers to the training examples, computed once and cached, and more texts that it labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from electra import config
from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.inference.answerer import answerer, head_of
from electra.inference.backends import TorchBackend
from electra.inference.text_io import TextColumns, read_texts
from electra.model.huggingface import Checkpoint, load_checkpoint
from electra.settings import FinetuneSettings, LoopSettings
from electra.storage import atomic, remote
from electra.tasks.evaluate import matched_labels
from electra.tasks.input_spec import InputSpec, input_spec
from electra.train.distributed import choose_device

KINDS = ("classification", "multilabel", "regression")


def featurize(
    task: Task, examples: Sequence[Example], tokenizer: Tokenizer, head: Head, settings: FinetuneSettings
) -> tuple[Sequence[Example], list[Features]]:
    """Training examples -> the same, with the unlabelled texts, and their features, with the teacher's answers where there is a teacher.

    Raises:
        UserError: a teacher with other labels, or a kind of task that has no teachers.
    """
    chosen = settings.distillation
    if chosen.teacher is None:
        for field in fields(chosen):
            if (value := getattr(chosen, field.name)) != field.default:
                raise UserError(f"{config.flag_name(field.name)} {value} needs a --teacher; add it, or leave this out")
        return examples, task.featurize(examples, tokenizer, settings.max_length, head)
    if head.kind not in KINDS:
        raise UserError(f"--teacher is for labels and numbers of a whole text, {task.name} is of kind {head.kind}; leave it out")
    more = [] if chosen.unlabelled is None else _unlabelled(chosen.unlabelled, examples, settings)
    answers = teacher_answers(chosen.teacher, task, [*examples, *more], head, settings)
    labelled = [replace(example, label=likeliest_label(row, head)) for example, row in zip(more, answers[len(examples) :], strict=True)]
    everything = [*examples, *labelled]
    features = task.featurize(everything, tokenizer, settings.max_length, head)
    targets = (answers - head.offset) / head.scale if head.kind == "regression" else answers
    return everything, [replace(feature, soft_targets=tuple(targets[feature.example].tolist())) for feature in features]


def _unlabelled(path: Path, examples: Sequence[Example], settings: FinetuneSettings) -> list[Example]:
    given = config.given(settings)
    columns = TextColumns(text=given.get("text"), pair=given.get("text_pair"))
    return read_unlabelled(path, columns, pairs=examples[0].text_pair is not None)


def likeliest_label(answer: np.ndarray, head: Head) -> str | float | tuple[str, ...]:
    """(C,) answers of a teacher -> its label."""
    if head.kind == "regression":
        return float(answer[0])
    if head.kind == "multilabel":
        return tuple(name for name, p in zip(head.labels, answer.tolist(), strict=True) if p > 0.5)
    return head.labels[int(answer.argmax())]


def teacher_answers(teacher: str, task: Task, examples: Sequence[Example], head: Head, settings: FinetuneSettings) -> np.ndarray:
    """(N, C) float64: the teacher's probabilities in the order of the head's labels, or its numbers; from the cache where they are known.

    Raises:
        UserError: it is not a classifier, or has other labels.
    """
    checkpoint = load_checkpoint(teacher, "classifier")
    names = matching_labels(teacher, checkpoint, head, task, settings.distillation.teacher_labels)
    spec = teacher_spec(checkpoint, task, settings.max_length)
    kept = remote.cache_folder() / "teachers" / f"{_fingerprint(checkpoint.path, task, examples, names, spec)}.npy"
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False), dtype=np.float64)
    answers = _rows(_predict(checkpoint, task, examples, replace(head, labels=names), spec, settings.loop), names)
    with atomic.atomic_file(kept) as temporary, open(temporary, "wb") as file:
        np.save(file, answers)
    return answers


def matching_labels(teacher: str, checkpoint: Checkpoint, head: Head, task: Task, given: Sequence[str] = ()) -> tuple[str, ...]:
    """The teacher's names of its outputs, in the order of the head's labels (see `electra.tasks.evaluate.matched_labels`).

    Raises:
        UserError: names that cannot be matched, or another number of them.
    """
    theirs = checkpoint.labels
    if head.kind == "regression":
        low, high = head.offset, head.offset + head.scale
        if len(theirs) == 1 and checkpoint.hf_config.get("problem_type") != "regression" and not 0 <= low <= high <= 1:
            message = f"its config.json has no problem_type, so it answers with numbers from 0 to 1, the task's labels are {low:g} to {high:g}"
            raise UserError(f"--teacher {teacher}: {message}; give a model of the task")
        if len(theirs) == 1:
            return theirs
        raise UserError(f"--teacher {teacher} answers with {len(theirs)} classes, the task with a number; give a model of a regression")
    labels = matched_labels(f"--teacher {teacher}", theirs, task.name, head.labels, given, "--teacher-labels")
    return tuple(theirs[labels.index(label)] for label in head.labels)


def teacher_spec(checkpoint: Checkpoint, task: Task, max_length: int) -> InputSpec:
    """A teacher reads as it was trained, or as the task does where its config.json does not say; never more than `max_length` tokens."""
    limit = min(max_length, checkpoint.config.max_position_embeddings)
    spec = input_spec(checkpoint.hf_config, task, limit)
    return spec if spec.recorded else replace(spec, max_length=limit, options=task.options)


def _predict(checkpoint: Checkpoint, task: Task, examples: Sequence[Example], head: Head, spec: InputSpec, loop: LoopSettings) -> list[Prediction]:
    """The teacher uses its own tokenizer, and answers in the label's unit."""
    unlabelled = [replace(example, label=None) for example in examples]
    backend = TorchBackend(checkpoint, str(choose_device(loop.device)))
    found = head_of(backend)
    transform = found.transform if found is not None and head.kind == "regression" else "default"
    theirs = replace(head, labels=checkpoint.labels if head.labels else (), offset=0.0, scale=1.0, transform=transform)
    return answerer(backend, load_tokenizer(checkpoint.path), task, theirs, spec).answer(unlabelled, batch_size=loop.batch_size)


def _rows(predictions: Sequence[Prediction], names: Sequence[str]) -> np.ndarray:
    if predictions and not predictions[0].probabilities:
        return np.array([[float(str(answer.label))] for answer in predictions])
    return np.array([[answer.probabilities[name] for name in names] for answer in predictions])


def _fingerprint(folder: Path, task: Task, examples: Sequence[Example], names: Sequence[str], spec: InputSpec) -> str:
    """What the teacher's answers depend on."""
    digest = hashlib.sha256(json.dumps([task.name, names, spec.max_length, dict(spec.options)]).encode())
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json", ".txt")):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        digest.update(json.dumps([example.text, example.text_pair]).encode())
    return digest.hexdigest()[:32]


def read_unlabelled(path: Path, columns: TextColumns, *, pairs: bool) -> list[Example]:
    """A text file (one text a line, a tab between two; empty lines left out) or a table -> examples without labels.

    Raises:
        UserError: it cannot be read, or a row has another number of texts than the task reads.
    """
    out: list[Example] = []
    for text in read_texts(str(path), columns):
        if not text.text.strip() and not text.column:
            continue
        if (text.pair is not None) != pairs:
            raise UserError(f"{text.place}: {1 + (text.pair is not None)} texts, the task reads {1 + pairs}; separate two by a tab, or name columns")
        out.append(Example(id=f"unlabelled-{len(out)}", text=text.text, text_pair=text.pair))
    return out

"""An encoder as it is now -> what its frozen states know of a task: a logistic regression on mean states, scored on dev."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.task_batches import evaluation_batches
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError, require
from electra.model.encoder import Encoder
from electra.model.networks import main_network
from electra.model.noise import MaskedLanguageModel
from electra.model.objectives import Corruption
from electra.settings import WatchSettings
from electra.tasks import TASKS, find_task
from electra.tasks.task import choose_examples
from electra.train.evaluation import autocast

TRAIN_EXAMPLES = 4000
"""A fixed choice of the training set: enough for a regression on some hundred numbers, and seconds of work."""
MAX_LENGTH = 128
STRENGTH = 0.1
"""scikit-learn's C: the penalty is strong, for the states are many and alike."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """A task's labelled examples."""

    task: Task
    head: Head
    train: Sequence[Example]
    dev: Sequence[Example]


def read_probe(settings: WatchSettings) -> Questions | None:
    """The task that --probe names and a fixed choice of its training examples; None without one.

    Raises:
        UserError: unknown task, one that has no classes, or no data.
    """
    if settings.probe is None:
        if settings.probe_data is not None or settings.probe_every:
            raise UserError("--probe-data and --probe-every want --probe TASK")
        return None
    task = find_task(settings.probe)
    if settings.probe_data is None:
        raise UserError(f"--probe {settings.probe} needs its data: give --probe-data FOLDER, as 'electra finetune {task.name} --data' takes it")
    require("sklearn", "train")
    train, dev = task.read(settings.probe_data, "train"), task.read(settings.probe_data, "dev")
    head = task.head(train)
    if head.kind != "classification":
        classes = ", ".join(name for name, known in TASKS.items() if known.main_metric in ("accuracy", "matthews"))
        raise UserError(f"--probe {settings.probe}: a probe answers with classes, and {task.name} has none; choose one of {classes}")
    if len({example.label for example in train}) < 2:
        raise UserError(f"--probe {settings.probe}: the training examples in {settings.probe_data} all have one label; give the whole set")
    return Questions(task=task, head=head, train=choose_examples(train, TRAIN_EXAMPLES, swapped=False), dev=dev)


def open_probe(
    settings: WatchSettings, tokenizer: Tokenizer, objective: MaskedLanguageModel | Corruption, device: torch.device, precision: str
) -> Callable[[], dict[str, float]] | None:
    """The probe that --probe names -> () -> {"probe_TASK": the task's main metric on dev}; None without one.

    The states are those of the last layer, averaged over a text's tokens as `electra embed` does; nothing is trained but the regression.
    """
    questions = read_probe(settings)
    if questions is None:
        return None
    task, head, train, dev = questions.task, questions.head, questions.train, questions.dev
    known, unseen = (task.featurize(examples, tokenizer, MAX_LENGTH, head) for examples in (train, dev))
    wanted = np.array([feature.label for feature in known])

    def probe() -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        encoder = main_network(objective).encoder
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300))
        regression.fit(mean_states(encoder, known, device, precision), wanted)
        answers = regression.predict(mean_states(encoder, unseen, device, precision))
        predictions = [Prediction(label=head.labels[int(answer)]) for answer in answers]
        return {f"probe_{task.name}": task.score(dev, predictions, head)[task.main_metric]}

    return probe


def mean_states(encoder: Encoder, features: Sequence[Features], device: torch.device, precision: str) -> np.ndarray:
    """Features -> (N, D) means of the last layer's states over each text's tokens. The encoder's mode is kept."""
    means = np.zeros((len(features), encoder.config.hidden_size), np.float32)
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            for indices, batch in evaluation_batches(features, 64):
                hidden = encoder(batch.to(device)).float()
                summed = hidden.new_zeros(len(indices), hidden.shape[1]).index_add_(0, batch.rows.to(device), hidden)
                means[indices] = (summed / torch.tensor(batch.lengths, device=device)[:, None]).cpu().numpy()
    finally:
        encoder.train(was_training)
    return means

"""Heads of tasks: equal to `transformers` on random weights, forward and loss; batches of every kind of label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from electra.contracts import Features, Head, Loss, StepOutput
from electra.data.task_batches import collate_features
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.huggingface import load_checkpoint, save_checkpoint
from electra.model.initialization import initialize
from electra.model.task_models import (
    DistillationObjective,
    MultitaskObjective,
    TaskObjective,
    TokenClassifier,
    share_encoder,
    task_network,
    task_objective,
)

SHAPE = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
LENGTHS = (7, 3, 5)
HEADS = {
    "ElectraForTokenClassification": Head(kind="tagging", labels=("O", "B", "I")),
    "ElectraForQuestionAnswering": Head(kind="span"),
    "ElectraForSequenceClassification": Head(kind="multilabel", labels=("x", "y", "z")),
}


def features(kind: str, rng: np.random.Generator) -> list[Features]:
    """Random rows with labels of a kind."""
    rows = []
    for i, length in enumerate(LENGTHS):
        tags = [-100, *rng.integers(0, 3, length - 2).tolist(), -100]
        label = {"tagging": None, "span": (int(rng.integers(0, length)), length - 1), "multilabel": tuple(rng.integers(0, 2, 3).astype(float))}[kind]
        row = Features(
            ids=rng.integers(5, 40, length), segments=[0] * length, example=i, label=label, token_labels=tags if kind == "tagging" else None
        )
        rows.append(row)
    return rows


@pytest.mark.parametrize("architecture", HEADS)
def test_heads_and_losses_equal_transformers(architecture: str, tmp_path: Path) -> None:
    head = HEADS[architecture]
    network = task_network(Encoder(EncoderConfig(**SHAPE, dropout=0.0)), head)
    initialize(network, torch.Generator().manual_seed(5))
    torch.nn.init.normal_(network.head.output.weight)
    save_checkpoint(network, tmp_path, labels=head.labels)
    theirs, info = getattr(transformers, architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    theirs.eval()
    rows = features(head.kind, np.random.default_rng(1))
    batch = collate_features(rows, [0, 1, 2])
    width = max(LENGTHS)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    mask = torch.tensor([[1] * length + [0] * (width - length) for length in LENGTHS])
    if head.kind == "tagging":
        labels = {"labels": torch.tensor([[*row.token_labels, *[-100] * (width - len(row.ids))] for row in rows])}  # type: ignore[misc]
    elif head.kind == "multilabel":
        labels = {"labels": torch.tensor([row.label for row in rows], dtype=torch.float32)}
    else:
        labels = {"start_positions": torch.tensor([row.label[0] for row in rows]), "end_positions": torch.tensor([row.label[1] for row in rows])}  # type: ignore[index]
    wanted = theirs(input_ids=ids, attention_mask=mask, **labels)
    logits = torch.stack([wanted.start_logits, wanted.end_logits], -1) if head.kind == "span" else wanted.logits
    objective = task_objective(network.eval(), head)
    for number, (length, output) in enumerate(zip(LENGTHS, network.outputs(batch), strict=True)):
        expected = logits[number] if head.kind == "multilabel" else logits[number, :length]
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    (loss,) = objective(batch).losses.values()
    assert objective.counts(batch) == {"loss": loss.count}
    if head.kind == "span":  # theirs takes padding for possible ends
        chosen = [torch.log_softmax(logits[i, :length], 0)[list(rows[i].label), [0, 1]].sum() for i, length in enumerate(LENGTHS)]  # type: ignore[arg-type]
        torch.testing.assert_close(loss.total / loss.count, -sum(chosen) / 6)
        alone = collate_features(rows[:1], [0])
        mine = objective(alone).losses["loss"].total
        start, end = rows[0].label  # type: ignore[misc]
        whole = theirs(input_ids=ids[:1], start_positions=torch.tensor([start]), end_positions=torch.tensor([end - 1]))
        if end == LENGTHS[0] - 1:  # transformers ignores positions at the very end
            moved = collate_features([Features(ids=rows[0].ids, segments=rows[0].segments, example=0, label=(start, end - 1))], [0])
            mine = objective(moved).losses["loss"].total
        torch.testing.assert_close(mine, whole.loss)
    else:
        torch.testing.assert_close(loss.total / loss.count, wanted.loss)


@pytest.mark.parametrize("architecture", HEADS)
def test_checkpoints_open_again_with_all_they_had(architecture: str, tmp_path: Path) -> None:
    head = HEADS[architecture]
    network = task_network(Encoder(EncoderConfig(**SHAPE)), head)
    initialize(network, torch.Generator().manual_seed(5))
    save_checkpoint(network, tmp_path, labels=head.labels)
    again = load_checkpoint(tmp_path, "task")
    assert type(again.module) is type(network) and again.labels == head.labels
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.module.state_dict().values(), strict=True))
    problem = {"multilabel": "multi_label_classification", "regression": "regression"}.get(head.kind)
    assert getattr(again.module, "problem_type", None) == problem


def test_words_without_tags_are_not_learned_and_counted() -> None:
    network = TokenClassifier(Encoder(EncoderConfig(**SHAPE, dropout=0.0)), 3)
    initialize(network, torch.Generator().manual_seed(5))
    batch = collate_features(features("tagging", np.random.default_rng(2)), [0, 1, 2])
    objective = task_objective(network, HEADS["ElectraForTokenClassification"])
    assert objective.counts(batch) == {"loss": sum(LENGTHS) - 2 * len(LENGTHS)}
    right, count = objective(batch).metrics["accuracy"]
    assert float(count) == sum(LENGTHS) - 6 and 0 <= float(right) <= float(count)


def test_a_batchs_loss_is_its_tasks_mean() -> None:
    """The gradient of a batch is that of the task by itself; other heads' are zero, not missing."""

    torch.manual_seed(0)
    config = EncoderConfig(**SHAPE, max_position_embeddings=10, dropout=0.0)
    heads = {"a": Head(kind="classification", labels=("x", "y")), "b": Head(kind="tagging", labels=("O", "B"))}
    networks = {name: task_network(Encoder(config), head) for name, head in heads.items()}
    share_encoder(networks)
    objective = MultitaskObjective({name: task_objective(networks[name], heads[name]) for name in heads})
    batches = {
        "a": collate_features([Features(ids=[1, 7, 2], segments=[0] * 3, example=0, label=1)] * 3, [1, 2, 3]),
        "b": collate_features([Features(ids=[1, 7, 8, 2], segments=[0] * 4, example=0, token_labels=[-100, 1, 0, -100])] * 2, [1, 2]),
    }
    for name, batch in batches.items():
        objective.zero_grad()
        output = objective(replace(batch, task=name))
        (output.losses["loss"].total / objective.counts(batch)["loss"]).backward()
        found = {key: value.grad.clone() for key, value in networks[name].named_parameters()}
        assert all((p.grad == 0).all() for other in heads if other != name for p in networks[other].head.parameters())
        objective.zero_grad()
        alone = task_objective(networks[name], heads[name])
        (alone(batch).losses["loss"].total / alone.counts(batch)["loss"]).backward()
        for key, value in networks[name].named_parameters():
            torch.testing.assert_close(found[key], value.grad)


def test_accumulated_microbatches_are_one_batch() -> None:
    """Two microbatches of one update give the gradient of both together."""

    torch.manual_seed(0)
    head = Head(kind="classification", labels=("x", "y"))
    network = task_network(Encoder(EncoderConfig(**SHAPE, max_position_embeddings=10, dropout=0.0)), head)
    objective = task_objective(network, head)
    features = [Features(ids=[1, 5 + i, 9, 2][: 3 + i % 2], segments=[0] * (3 + i % 2), example=i, label=i % 2) for i in range(6)]
    parts = [features, features[:4], features[4:]]
    grads = []
    for chosen in (parts[:1], parts[1:]):
        objective.zero_grad()
        batches = [collate_features(part, [1] * len(part)) for part in chosen]
        count = sum(objective.counts(batch)["loss"] for batch in batches)
        for batch in batches:
            (objective(batch).losses["loss"].total / count).backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_the_distance_is_hintons(kind: str) -> None:
    """Against the definition, written with plain sums."""

    class Own(TaskObjective):
        def forward(self, batch: Any) -> StepOutput:
            return StepOutput(losses={"loss": Loss(total=self.network(batch).sum(), count=2)})

    rng, heat = np.random.default_rng(1), 3.0
    logits = rng.normal(size=(2, 1 if kind == "regression" else 3))
    taught = rng.normal(size=logits.shape)
    odds = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    soft = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    if kind == "regression":
        targets, expected = taught, ((logits - taught) ** 2).sum()
    elif kind == "multilabel":
        p, q, targets = odds(taught / heat), odds(logits / heat), odds(taught)
        expected = heat**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    else:
        p, q, targets = soft(taught / heat), soft(logits / heat), soft(taught)
        expected = heat**2 * (p * np.log(p / q)).sum()
    module = torch.nn.Identity()
    objective = DistillationObjective(Own(module, Head(kind=kind, labels=("a", "b", "c"))), 0.3, heat)
    found = objective.distance(torch.tensor(logits).float(), torch.tensor(targets).float())
    assert float(found) == pytest.approx(float(expected), rel=1e-4)

"""Heads of tasks: equal to `transformers` on random weights, forward and loss; batches of every kind of label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from electra.contracts import Features, Head
from electra.data.task_batches import collate_features
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.huggingface import load_checkpoint, save_checkpoint
from electra.model.initialization import initialize
from electra.model.task_models import Tagger, task_network, task_objective

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
    assert getattr(again.module, "multilabel", False) == (head.kind == "multilabel")


def test_words_without_tags_are_not_learned_and_counted() -> None:
    network = Tagger(Encoder(EncoderConfig(**SHAPE, dropout=0.0)), 3)
    initialize(network, torch.Generator().manual_seed(5))
    batch = collate_features(features("tagging", np.random.default_rng(2)), [0, 1, 2])
    objective = task_objective(network, HEADS["ElectraForTokenClassification"])
    assert objective.counts(batch) == {"loss": sum(LENGTHS) - 2 * len(LENGTHS)}
    right, count = objective(batch).metrics["accuracy"]
    assert float(count) == sum(LENGTHS) - 6 and 0 <= float(right) <= float(count)

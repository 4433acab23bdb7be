"""The head on the mean of all states, and the original's for questions, written again: dense, padded, one window and one token at a time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from electra.contracts import Batch, Features, Head
from electra.data.task_batches import collate_features
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.inference.predictor import load
from electra.model import heads
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.heads import JointQAModel
from electra.model.huggingface import load_checkpoint, save_checkpoint
from electra.model.initialization import initialize
from electra.model.task_models import QAModel, task_network, task_objective

SHAPE = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
LENGTHS = (30, 6, 11)
QUESTIONS = (8, 3, 4)
LABELS = ((12, 15, 0), (0, 0, 1), (0, 0, 0))


@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_the_head_on_the_mean_equals_a_masked_mean_in_transformers(kind: str, tmp_path: Path) -> None:
    """Saved, opened again, on packed sequences and windows: `transformers`' states on padded grids, sentence-transformers' mean, one projection."""
    transformers = pytest.importorskip("transformers")
    sizes = {name: value for name, value in SHAPE.items() if kind == "electra" or name != "embedding_size"}
    torch.manual_seed(3)
    reference = getattr(transformers, f"{kind.capitalize()}Model")(
        getattr(transformers, f"{kind.capitalize()}Config")(**sizes, initializer_range=0.5)
    ).eval()
    reference.save_pretrained(tmp_path / "start")
    network = task_network(load_checkpoint(tmp_path / "start", "encoder").encoder, Head(kind="classification", labels=("a", "b", "c")), "mean")
    initialize(network.head, torch.Generator().manual_seed(1))
    save_checkpoint(network, tmp_path / "tuned", labels=("a", "b", "c"))
    values = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert values.pop("architectures") == [f"{kind.capitalize()}MeanClassifier"]
    (tmp_path / "tuned" / "config.json").write_text(json.dumps(values))  # its weights tell what it is
    found, batch = load_checkpoint(tmp_path / "tuned", "classifier"), _batch()
    ids, mask = torch.zeros(3, 30, dtype=torch.long), torch.zeros(3, 30, dtype=torch.long)
    segments = torch.zeros_like(ids)
    for row, (length, one, other) in enumerate(zip(LENGTHS, batch.ids.split(LENGTHS), batch.segments.split(LENGTHS), strict=True)):
        ids[row, :length], segments[row, :length], mask[row, :length] = one, other, 1
    with torch.no_grad():
        states = reference(ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        expected = mean @ network.head.output.weight.T + network.head.output.bias  # type: ignore[operator, union-attr]
        torch.testing.assert_close(found.module(batch), expected, atol=1e-5, rtol=1e-5)


def _network() -> JointQAModel:
    network = task_network(Encoder(EncoderConfig(**SHAPE, dropout=0.0)), Head(kind="span"), "original")
    assert isinstance(network, JointQAModel)
    initialize(network, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for part in network.head.parameters():
            part.normal_(std=0.1, generator=torch.Generator().manual_seed(part.numel()))
    return network.eval()


def _batch() -> Batch:
    rng = np.random.default_rng(2)
    rows = [
        Features(ids=rng.integers(5, 40, length), segments=[0] * question + [1] * (length - question), example=i, label=label)
        for i, (length, question, label) in enumerate(zip(LENGTHS, QUESTIONS, LABELS, strict=True))
    ]
    return collate_features(rows, [0, 1, 2])


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def _pair(part: heads.PairLayer, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """concat -> dense 512 -> gelu -> dense 1."""
    both = torch.cat([first, second])
    return (part.output.weight @ _gelu(part.dense.weight @ both + part.dense.bias) + part.output.bias)[0]


class Reference:
    """One window after the other, padded to the longest, as get_prediction_module has it."""

    def __init__(self, network: JointQAModel, batch: Batch) -> None:
        self.network = network
        states = list(network.encoder(batch).split(batch.lengths))
        segments = list(batch.segments.split(batch.lengths))
        self.length = max(batch.lengths)
        self.hidden = [torch.cat([row, torch.zeros(self.length - len(row), row.shape[1])]) for row in states]
        self.mask = []
        for row in segments:
            mask = torch.cat([row.float(), torch.zeros(self.length - len(row))])
            mask[0] += 1
            self.mask.append(mask)

    def start(self, row: int) -> torch.Tensor:
        head = self.network.head.start
        logits = torch.stack([(head.weight @ state + head.bias)[0] for state in self.hidden[row]])
        return torch.log_softmax(logits + 1000.0 * (self.mask[row] - 1), 0)

    def end(self, row: int, start: int) -> torch.Tensor:
        logits = torch.stack([_pair(self.network.head.end, self.hidden[row][start], state) for state in self.hidden[row]])
        return torch.log_softmax(logits + 1000.0 * (self.mask[row] - 1), 0)

    def no_answer(self, row: int) -> torch.Tensor:
        expected = sum(p * state for p, state in zip(self.start(row).exp(), self.hidden[row], strict=True))
        assert isinstance(expected, torch.Tensor)
        return _pair(self.network.head.answerable, self.hidden[row][0], expected)


def test_losses_and_gradients_equal_the_original() -> None:
    network, batch = _network(), _batch()
    objective = task_objective(network, Head(kind="span"))
    output = objective(batch)
    assert objective.counts(batch) == {name: loss.count for name, loss in output.losses.items()} == {"span_loss": 3, "answerable_loss": 3}
    mine = sum(loss.weight * loss.total / loss.count for loss in output.losses.values())
    assert isinstance(mine, torch.Tensor)
    reference, parts = Reference(network, batch), []
    for row, (start, end, impossible) in enumerate(LABELS):
        span = -(reference.start(row)[start] + reference.end(row, start)[end]) / 2
        logit = reference.no_answer(row)
        parts.append(span + 0.5 * -torch.log(torch.sigmoid(logit) if impossible else 1 - torch.sigmoid(logit)))
    theirs = sum(parts) / len(parts)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    weights = list(network.parameters())
    for a, b in zip(torch.autograd.grad(mine, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_two_labels_mean_that_all_have_answers() -> None:
    network, batch = _network(), _batch()
    assert batch.labels is not None
    answered = batch.labels.clone()
    answered[:, 2] = 0
    found = [network.losses(replace(batch, labels=labels)).answerable for labels in (answered, batch.labels[:, :2])]
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], network.losses(batch).answerable)


@pytest.mark.parametrize("beam", [3, 20])
def test_beam_equals_the_original(beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "BEAM_SIZE", beam)
    network, batch = _network(), _batch()
    with torch.no_grad():
        outputs, reference = network.outputs(batch), Reference(network, batch)
        for row, output in enumerate(outputs):
            torch.testing.assert_close(output[0, 0], reference.no_answer(row), rtol=1e-5, atol=1e-5)
            possible = [i for i in range(LENGTHS[row]) if i == 0 or i >= QUESTIONS[row]]
            starts = reference.start(row)
            best = sorted(possible, key=lambda i: -float(starts[i]))[:beam]
            wanted = []
            for start in best:
                ends = reference.end(row, start)
                wanted += [(start, end, float(starts[start]), float(ends[end])) for end in sorted(possible, key=lambda i: -float(ends[i]))[:beam]]
            assert len(wanted) == min(beam, len(possible)) ** 2
            torch.testing.assert_close(output[1:], torch.tensor(wanted), rtol=1e-4, atol=1e-4)


def test_it_is_saved_and_opens_again(tmp_path: Path) -> None:
    network, batch = _network(), _batch()
    save_checkpoint(network, tmp_path)
    for role in ("task", "question-answering"):
        again = load_checkpoint(tmp_path, role)
        assert again.architecture == "ElectraOriginalQuestionAnswering" and isinstance(again.module, JointQAModel) and again.labels == ()
        with torch.no_grad():
            for a, b in zip(network.outputs(batch), again.module.outputs(batch), strict=True):
                assert torch.equal(a, b)
    assert sum(t.numel() for t in again.module.parameters()) == sum(t.numel() for t in network.parameters())
    with pytest.raises(UserError, match="has no classifier head"):
        load_checkpoint(tmp_path, "classifier")


def test_the_style_chooses_the_head() -> None:
    assert type(task_network(Encoder(EncoderConfig(**SHAPE)), Head(kind="span"))) is QAModel


def test_a_plain_head_takes_three_labels() -> None:
    """Where questions may have no answer their windows say so; the plain head learns [CLS] for them and needs no more."""
    network = task_network(Encoder(EncoderConfig(**SHAPE, dropout=0.0)), Head(kind="span"))
    initialize(network, torch.Generator().manual_seed(5))
    objective, batch = task_objective(network, Head(kind="span")), _batch()
    assert batch.labels is not None
    found = [objective(b).losses["loss"].total for b in (batch, replace(batch, labels=batch.labels[:, :2]))]
    assert torch.equal(*found)


def test_a_tokenizer_without_token_type_ids_is_refused(tmp_path: Path, tiny_vocab: Path) -> None:
    """Question and context would both be segment 0, and [CLS] would be the only answer."""
    tokenizer = load_tokenizer(tiny_vocab)
    network = task_network(Encoder(EncoderConfig(**SHAPE | {"vocab_size": tokenizer.vocab_size}, dropout=0.0)), Head(kind="span"), "original")
    save_checkpoint(network, tmp_path)
    tokenizer.save(tmp_path)
    load(tmp_path, role="question-answering")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"model_input_names": ["input_ids", "attention_mask"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"needs token_type_ids, and tokenizer_config\.json names none"):
        load(tmp_path, role="question-answering")

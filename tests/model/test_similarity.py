"""Losses that compare texts: equal to those of sentence-transformers on the same vectors; microbatches and ranks give the whole batch's gradients."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from electra.contracts import Features, Head
from electra.data.task_batches import collate_features
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.similarity import LOSSES, Compared, RankingObjective, SimilarityObjective
from electra.model.task_models import POOLINGS, SentenceEncoder, pooled

HEAD = Head(kind="embedding")
WIDTH, SIZE = 16, 12


def vectors(group: int) -> Tensor:
    return torch.randn(group, SIZE, WIDTH, generator=torch.Generator().manual_seed(group), dtype=torch.float64).requires_grad_()


def theirs(name: str, group: list[Tensor], labels: Tensor | None, **options: Any) -> Tensor:
    """The loss of sentence-transformers on vectors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.sentence_transformer import losses

    class Given(nn.Module):
        """A model whose input is its output."""

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"sentence_embedding": features["x"]}

        def get_embedding_dimension(self) -> int:
            return WIDTH

        get_sentence_embedding_dimension = get_embedding_dimension

    model = Given()
    inner = options.pop("inner", None)
    loss = getattr(losses, name)(model, getattr(losses, inner)(model), **options) if inner else getattr(losses, name)(model, **options)
    return loss([{"x": vector} for vector in group], labels)


SCORES = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.3, 1.0, 0.0, 0.7, 0.2, 0.9, 0.4, 0.6], dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 3, 1, 2, 2])


@pytest.mark.parametrize(
    ("ours", "name", "group", "labels"),
    [
        ("ranking", "MultipleNegativesRankingLoss", 2, None),
        ("ranking", "MultipleNegativesRankingLoss", 4, None),
        ("symmetric-ranking", "MultipleNegativesSymmetricRankingLoss", 2, None),
        ("cosent", "CoSENTLoss", 2, SCORES),
        ("cosine", "CosineSimilarityLoss", 2, SCORES),
        ("batch-all-triplet", "BatchAllTripletLoss", 1, CLASSES),
    ],
)
@pytest.mark.parametrize("matryoshka", [False, True])
def test_losses_and_gradients(ours: str, name: str, group: int, labels: Tensor | None, matryoshka: bool) -> None:
    given = vectors(group)
    sizes = [WIDTH, 8, 4] if matryoshka else [WIDTH]
    compared = Compared(vectors=given, labels=labels)
    parts = [compared.shortened(size) for size in sizes] if matryoshka else [compared]
    found = torch.stack([LOSSES[ours](part, 20.0) for part in parts]).sum()
    (gradient,) = torch.autograd.grad(found, given)
    copies = [row.detach().clone().requires_grad_() for row in given]
    expected = theirs("MatryoshkaLoss", copies, labels, inner=name, matryoshka_dims=sizes) if matryoshka else theirs(name, copies, labels)
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(gradient, torch.stack([row.grad for row in copies]), rtol=1e-5, atol=1e-8)


def test_an_equal_text_is_no_negative() -> None:
    """The loss of a batch with duplicates is that of each row without them."""
    given = vectors(2)
    keys = torch.arange(2 * SIZE).view(2, SIZE)
    keys[1, 3] = keys[1, 0]  # the second texts of examples 0 and 3 are equal
    keys[1, 5] = keys[0, 7]  # the second text of example 5 is the first of 7
    keys[0, 2] = keys[0, 6]  # examples 2 and 6 are two similar texts of one query
    found = LOSSES["ranking"](Compared(vectors=given, text_keys=keys), 20.0)
    first, second = (nn.functional.normalize(part, dim=-1) for part in given)
    rows = []
    for i in range(SIZE):
        kept = [i, *(j for j in range(SIZE) if j != i and (i, j) not in {(0, 3), (3, 0), (7, 5), (2, 6), (6, 2)})]
        rows.append(nn.functional.cross_entropy(20 * first[i] @ second[kept].T, torch.tensor(0)))
    torch.testing.assert_close(found, torch.stack(rows).mean())


# ---- microbatches and ranks ----


def encoder(dropout: float = 0.0) -> SentenceEncoder:
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "embedding_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return SentenceEncoder(Encoder(EncoderConfig(vocab_size=50, max_position_embeddings=32, dropout=dropout, attention_dropout=dropout, **shape)))


def features(group: int, count: int = SIZE, label: Any = lambda i: None) -> list[Features]:
    generator = torch.Generator().manual_seed(3)

    def one(example: int, **more: Any) -> Features:
        length = int(torch.randint(3, 9, (), generator=generator))
        ids = [2, *torch.randint(5, 50, (length,), generator=generator).tolist(), 3]
        return Features(ids=ids, segments=[0] * len(ids), example=example, **more)

    return [one(i, label=label(i), others=[one(i) for _ in range(group - 1)]) for i in range(count)]


CASES = [("ranking", 3, lambda i: None), ("symmetric-ranking", 2, lambda i: None), ("cosent", 2, lambda i: float(SCORES[i]))]
CASES += [("cosine", 2, lambda i: float(SCORES[i])), ("batch-all-triplet", 1, lambda i: int(CLASSES[i]))]


class OneRank:
    rank = 0

    def gather(self, value: Any) -> list[Any]:
        return [value]


class TwoRanks:
    """One of two ranks, each in its thread."""

    def __init__(self, rank: int, box: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.box, self.barrier = rank, box, barrier

    def gather(self, value: Any) -> list[Any]:
        self.box[self.rank] = value
        self.barrier.wait()
        found = [*self.box]
        self.barrier.wait()
        return found


def step(objective: SimilarityObjective, parts: list[list[Features]], total: int, ranks: Any) -> float:
    """An update as the loop makes it: gradients are summed in place -> the loss."""
    batches = [collate_features(part, range(len(part))) for part in parts]
    objective.gather(batches, ranks)
    value = 0.0
    for batch in batches:
        loss = objective(batch).losses["loss"]
        share = loss.total / total
        share.backward()
        value += share.item()
    return value


@pytest.mark.parametrize(("loss", "group", "label"), CASES)
@pytest.mark.parametrize("way", ["microbatches", "ranks"])
def test_parts_give_the_gradients_of_the_whole(loss: str, group: int, label: Any, way: str) -> None:
    given = features(group, label=label)
    whole = SimilarityObjective(encoder(), HEAD, loss=loss, dimensions=(32, 8))
    value = step(whole, [given], SIZE, OneRank())
    parts = [given[:5], given[5:9], given[9:]]
    ours = [SimilarityObjective(encoder(), HEAD, loss=loss, dimensions=(32, 8)) for _ in range(2 if way == "ranks" else 1)]
    if way == "microbatches":
        found = [step(ours[0], parts, SIZE, OneRank())]
    else:
        found, box, barrier = [0.0, 0.0], [None, None], threading.Barrier(2)

        def run(rank: int) -> None:
            found[rank] = step(ours[rank], [parts[:2], parts[2:]][rank], SIZE, TwoRanks(rank, box, barrier))

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(found) == pytest.approx(value, rel=1e-5)
    for name, parameter in whole.named_parameters():
        gradients = [dict(objective.named_parameters())[name].grad for objective in ours]
        total = torch.stack([gradient for gradient in gradients if gradient is not None]).sum(0) if parameter.grad is not None else None
        if total is not None:
            torch.testing.assert_close(total, parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_second_pass_drops_what_the_first_dropped() -> None:
    """The gradient of an update with dropout is that of its own value: a difference quotient along the gradient."""
    parts = [features(2)[:6], features(2)[6:]]
    objective = SimilarityObjective(encoder(0.2), HEAD, loss="ranking")
    words = objective.network.encoder.embeddings.word.weight

    def value() -> float:
        torch.manual_seed(9)
        return step(objective, parts, SIZE, OneRank())

    before = value()
    gradient = words.grad.clone()
    assert value() == before
    values = []
    for way in (-1e-3, 2e-3):
        with torch.no_grad():
            words += way * gradient / gradient.norm()
        values.append(value())
    assert (values[1] - values[0]) / 2e-3 == pytest.approx(float(gradient.norm()), rel=2e-2)


# ---- scores of a query's passages ----


@pytest.mark.parametrize(("loss", "group"), [("binary", 1), ("listwise", 4), ("margin-mse", 2), ("margin-mse", 4)])
def test_rankings(loss: str, group: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.cross_encoder import CrossEncoder, losses
    logits = torch.randn(group, SIZE, generator=torch.Generator().manual_seed(2))
    batch = collate_features(features(group, label=lambda i: float(SCORES[i]) if group == 1 else None), range(SIZE))

    class Given(nn.Module):
        """A network of known scores."""

        def forward(self, batch: Any) -> Tensor:
            return logits.view(-1, 1)

    class Places(CrossEncoder):
        """A model of known scores; an input is the place of its score."""

        num_labels, device = 1, torch.device("cpu")

        def __init__(self) -> None:
            nn.Module.__init__(self)

        def preprocess(self, pairs: list[Any], **_: Any) -> dict[str, Tensor]:
            return {"places": torch.tensor([place for _, place in pairs])}

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"scores": logits.view(-1)[inputs["places"]].view(-1, 1)}

    teacher = torch.randn(SIZE, group, generator=torch.Generator().manual_seed(3))
    batch = dataclasses.replace(batch, soft_targets=teacher)
    found = RankingObjective(Given(), Head(kind="ranking"), loss=loss)(batch).losses["loss"]
    columns = [[*range(SIZE)], *([*range(place * SIZE, (place + 1) * SIZE)] for place in range(group))]
    if loss == "binary":
        expected = losses.BinaryCrossEntropyLoss(Places())(columns, SCORES)
    elif loss == "margin-mse":
        expected = losses.MarginMSELoss(Places())(columns, list(teacher))
    else:
        theirs = losses.MultipleNegativesRankingLoss(Places(), scale=1, activation_fn=nn.Identity())
        theirs.get_in_batch_negatives = lambda *_: []
        expected = theirs(columns, None)
    torch.testing.assert_close(found.total / found.count, expected, check_dtype=False)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling(pooling: str) -> None:
    batch = collate_features(features(1, 3), range(3))
    network = encoder().eval()
    network.pooling = pooling
    states = network.encoder(batch).split(batch.lengths)
    expected = torch.stack([{"mean": row.mean(0), "cls": row[0], "max": row.max(0).values}[pooling] for row in states])
    torch.testing.assert_close(network(batch), expected)
    torch.testing.assert_close(pooled(torch.cat(states), batch, pooling), expected)

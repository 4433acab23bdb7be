"""Losses that compare texts: of vectors, each with those of a whole batch, and of the scores that a query gives to its passages.

Every loss equals the one of that name in sentence-transformers 6.2 on the same vectors or scores; the paper is named with
it. An update's texts may be more than memory holds: their vectors are computed without a graph first, the loss is differentiated with respect
to the vectors, and each microbatch is computed again with the gradient of its vectors (Gao et al. 2021, 'Scaling deep contrastive learning
batch size under memory limited setup'). So microbatches and ranks give the gradients of the one large batch, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch, Exchange, Head, Loss, StepOutput
from electra.model.task_models import SentenceEncoder, TaskObjective

TRIPLET_MARGIN = 5.0
"""Of `BatchAllTripletLoss`."""


# ---- losses of one whole batch ----


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The vectors of an update."""

    vectors: Tensor
    """(group, N, D) of N examples: first texts, second texts, negatives."""
    labels: Tensor | None = None
    """(N,) similarities or classes."""
    text_keys: Tensor | None = None
    """(group, N) int64, equal for equal texts."""

    def shortened(self, dimensions: int) -> Compared:
        """The same with the first numbers of each vector, scaled to length one."""
        return Compared(vectors=F.normalize(self.vectors[..., :dimensions], dim=-1), labels=self.labels, text_keys=self.text_keys)


def multiple_negatives_ranking(found: Compared, scale: float) -> Tensor:
    """Each first text's own second text among the second texts and negatives of the whole batch -> () mean cross-entropy of scaled cosines.

    A text equal to the first text or to a second text of the same first text is no negative; sentence-transformers, which does not look at the
    texts, needs a sampler without duplicates for that. Source: Henderson et al. 2017, section 4.4; `MultipleNegativesRankingLoss`.
    """
    first, others = F.normalize(found.vectors[0], dim=-1), F.normalize(found.vectors[1:].flatten(0, 1), dim=-1)
    scores = scale * first @ others.T
    if found.text_keys is not None:
        own, candidates = found.text_keys[:2, :, None], found.text_keys[1:].reshape(1, 1, -1)
        same = (own == candidates).any(0)
        # Of several texts that are similar to the same first text none is a negative.
        same_first = found.text_keys[0][:, None] == found.text_keys[0]
        is_second = found.text_keys[1][:, None] == candidates[0]
        same |= (same_first.float() @ is_second.float()) > 0
        same[torch.arange(len(same)), torch.arange(len(same))] = False
        scores = scores.masked_fill(same, -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(first), device=scores.device))


def symmetric_ranking(found: Compared, scale: float) -> Tensor:
    """`multiple_negatives_ranking`, and each second text's own first text among all first texts: () the mean of both.

    Source: `MultipleNegativesSymmetricRankingLoss`.
    """
    swapped = Compared(vectors=found.vectors[[1, 0]], text_keys=None if found.text_keys is None else found.text_keys[[1, 0]])
    return (multiple_negatives_ranking(found, scale) + multiple_negatives_ranking(swapped, scale)) / 2


def cosent(found: Compared, scale: float) -> Tensor:
    """() log(1 + sum of exp(scaled cosine of pair j - that of pair i)) over all pairs (i, j) of pairs of texts where i is labelled as more similar.

    Source: Su 2022, 'CoSENT'; `CoSENTLoss`.
    """
    assert found.labels is not None
    cosines = scale * F.cosine_similarity(found.vectors[0], found.vectors[1], dim=-1)
    wrong = found.labels[:, None] < found.labels[None, :]
    differences = (cosines[:, None] - cosines[None, :])[wrong]
    return torch.logsumexp(torch.cat([differences.new_zeros(1), differences]), 0)


def cosine(found: Compared, scale: float) -> Tensor:
    """() mean squared difference of the cosine of two texts and their label. Source: `CosineSimilarityLoss`. `scale` is not used."""
    assert found.labels is not None
    return F.mse_loss(F.cosine_similarity(found.vectors[0], found.vectors[1], dim=-1), found.labels)


def batch_all_triplet(found: Compared, scale: float) -> Tensor:
    """All triplets of a text, one of its class and one of another -> () mean over those with a loss of distance - distance + 5, if above zero.

    Source: Hermans et al. 2017, 'In defense of the triplet loss'; `BatchAllTripletLoss` with its distance. `scale` is not used.
    """
    assert found.labels is not None
    vectors, labels = found.vectors[0], found.labels
    squared = vectors.square().sum(-1)
    squares = (squared[:, None] - 2 * vectors @ vectors.T + squared[None]).clamp(min=0)
    # The root of zero has no gradient.
    distances = torch.where(squares == 0, 0.0, (squares + 1e-16 * (squares == 0)).sqrt())
    same = labels[:, None] == labels[None]
    texts, positives = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero(as_tuple=True)
    losses = (distances[texts, positives, None] - distances[texts] + TRIPLET_MARGIN).clamp(min=0) * ~same[texts]
    return losses.sum() / ((losses > 1e-16).sum() + 1e-16)


Comparison = Callable[[Compared, float], Tensor]
LOSSES: dict[str, Comparison] = {
    "ranking": multiple_negatives_ranking,
    "symmetric-ranking": symmetric_ranking,
    "cosent": cosent,
    "cosine": cosine,
    "batch-all-triplet": batch_all_triplet,
}
"""Name of the loss in settings -> its function."""


# ---- the objective ----


class SimilarityObjective(TaskObjective):
    """The loss of an update's texts, compared over all its microbatches and ranks; with Matryoshka `dimensions` the sum of the losses of whole
    vectors and of those shortened to each (Kusupati et al. 2022; `MatryoshkaLoss` with weights of one).
    """

    network: SentenceEncoder

    def __init__(self, network: SentenceEncoder, head: Head, *, loss: str, scale: float = 20.0, dimensions: Sequence[int] = ()) -> None:
        super().__init__(network, head)
        self.compare, self.scale = LOSSES[loss], scale
        self.dimensions = sorted({*dimensions, network.encoder.config.hidden_size}, reverse=True) if dimensions else []
        self.waiting: list[_Microbatch] = []

    def counts(self, batch: Batch) -> dict[str, int]:
        """N."""
        return {"loss": batch.num_examples}

    def compared(self, found: Compared) -> Tensor:
        """() the loss of a whole update."""
        if not self.dimensions:
            return self.compare(found, self.scale)
        return torch.stack([self.compare(found.shortened(size), self.scale) for size in self.dimensions]).sum()

    def gather(self, batches: Sequence[Batch], ranks: Exchange) -> None:
        """Compute the gradient of every vector of the update; nothing where this is the only microbatch of the only rank."""
        self.waiting = []
        texts = ranks.gather([_texts(batch) for batch in batches])
        if sum(map(len, texts)) == 1:
            return
        # The second pass of a microbatch must drop the same units as the first.
        seeds = torch.randint(1 << 62, (len(batches),)).tolist()
        mine = []
        with torch.no_grad():
            for seed, batch in zip(seeds, batches, strict=True):
                torch.manual_seed(seed)
                mine.append(self.network(batch).unflatten(0, (batch.group, -1)))
        device = mine[0].device
        vectors = [mine] if len(texts) == 1 else [[part.to(device) for part in parts] for parts in ranks.gather([part.cpu() for part in mine])]
        # In float32: the gradients of a large batch are small, and in float16 would be zero.
        leaf = torch.cat([part for parts in vectors for part in parts], 1).float().requires_grad_()
        with torch.enable_grad():
            value = self.compared(Compared(vectors=leaf, **_joined([text for parts in texts for text in parts], device)))
            (gradient,) = torch.autograd.grad(value, leaf)
        start = sum(part.shape[1] for parts in vectors[: ranks.rank] for part in parts)
        for seed, part in zip(seeds, mine, strict=True):
            own = gradient[:, start : start + part.shape[1]]
            self.waiting.append(_Microbatch(seed=seed, gradient=own, value=value.detach(), num_examples=leaf.shape[1]))
            start += part.shape[1]

    def forward(self, batch: Batch) -> StepOutput:
        size = batch.num_examples
        if not self.waiting:
            vectors = self.network(batch).unflatten(0, (batch.group, -1))
            total = self.compared(Compared(vectors=vectors, **_joined([_texts(batch)], vectors.device))) * size
            return StepOutput(losses={"loss": Loss(total=total, count=size)})
        item = self.waiting.pop(0)
        torch.manual_seed(item.seed)
        vectors = self.network(batch).unflatten(0, (batch.group, -1))
        # Its gradient is that of the update's loss; its value is this microbatch's share of it.
        inner = (vectors * item.gradient).sum() * item.num_examples
        return StepOutput(losses={"loss": Loss(total=inner + (item.value * size - inner).detach(), count=size)})


@dataclass(frozen=True, kw_only=True)
class _Microbatch:
    """What its second forward pass needs."""

    seed: int
    gradient: Tensor
    """(group, n, D) of the update's loss by its vectors."""
    value: Tensor
    num_examples: int
    """Of the whole update."""


def _texts(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Labels (n,) and keys (group, n) of a microbatch, on the CPU."""
    keys = None if batch.text_keys is None else batch.text_keys.unflatten(0, (batch.group, -1)).cpu()
    return None if batch.labels is None else batch.labels.cpu(), keys


def _joined(parts: Sequence[tuple[Tensor | None, Tensor | None]], device: torch.device) -> dict[str, Tensor | None]:
    labels, keys = zip(*parts, strict=True)
    return {
        "labels": None if labels[0] is None else torch.cat(labels).to(device),
        "text_keys": None if keys[0] is None else torch.cat(keys, 1).to(device),
    }


# ---- scores of a query's passages ----


class RankingObjective(TaskObjective):
    """A cross-encoder's loss. Sequences are (query, passage): first the relevant passages, or those that are labelled, then the negatives.

    binary: cross-entropy of each passage's relevance (`BinaryCrossEntropyLoss`). listwise: cross-entropy of the relevant passage among the
    query's own (Gao et al. 2021, 'Rethink training of BERT rerankers'; `MultipleNegativesRankingLoss` of a CrossEncoder without in-batch
    negatives, scale and activation). margin-mse: squared error of the differences between the relevant passage's score and each negative's, whose
    targets are a teacher's (Hofstätter et al. 2020; `MarginMSELoss`).
    """

    def __init__(self, network: nn.Module, head: Head, *, loss: str) -> None:
        super().__init__(network, head)
        self.loss = loss

    def counts(self, batch: Batch) -> dict[str, int]:
        """N queries, or B passages."""
        return {"loss": len(batch.lengths) if self.loss == "binary" else batch.num_examples}

    def forward(self, batch: Batch) -> StepOutput:
        logits = self.network(batch).float().view(batch.group, -1)
        if self.loss == "listwise":
            total = F.cross_entropy(logits.T, torch.zeros(logits.shape[1], dtype=torch.long, device=logits.device), reduction="sum")
        elif self.loss == "margin-mse":
            assert batch.soft_targets is not None
            errors = (logits[:1] - logits[1:]) - (batch.soft_targets.T[:1] - batch.soft_targets.T[1:])
            total = errors.square().mean(0).sum()
        else:
            targets = torch.zeros_like(logits)
            targets[0] = 1.0 if batch.labels is None else batch.labels.float()
            total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return StepOutput(losses={"loss": Loss(total=total, count=self.counts(batch)["loss"])})

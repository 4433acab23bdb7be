"""Batches -> positions to replace and sampled replacements, with the generator's own losses.

Generators are encoders with a masked-LM head (`Generator`, `TwoTowerGenerator`). A `ReplacementSource` chooses positions and proposes tokens
for them: uniformly, from a masked LM (BERT's objective, ELECTRA's generator), or from a cloze model (Electric's generator).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.contracts import Batch, Loss, StepOutput
from electra.model import masking
from electra.model.encoder import Direction, Encoder
from electra.model.heads import MaskedLanguageHead, Sampling, VocabularyOutput
from electra.settings import ObjectiveSettings

CHUNK = 1024
"""Positions that go through the vocabulary at a time if all must: (T, V) never exists."""


class Generator(nn.Module):
    """Encoder and masked-LM head: ELECTRA's generator, and a BERT; a `causal` one, whose tokens attend to themselves and those before them, is a
    causal LM with the same weights."""

    def __init__(self, encoder: Encoder, *, causal: bool = False) -> None:
        super().__init__()
        self.encoder, self.causal = encoder, causal
        self.head = MaskedLanguageHead(encoder.config, encoder.words)

    def forward(
        self, batch: Batch, ids: Tensor | None = None, at: Tensor | None = None, targets: Tensor | None = None, sampling: Sampling | None = None
    ) -> Tensor | VocabularyOutput:
        """Logits (M, V) at the token indices `at` (M,), or (T, V) at all tokens.

        With `targets`, the right ids there, their loss and accuracy instead; with `sampling` also samples.
        """
        reads: Direction = "left" if self.causal else "both"
        return self.head(self.encoder(batch, ids, reads, at), targets, sampling)


class TwoTowerGenerator(nn.Module):
    """q(token | all others) at every position in one pass over unmasked text, with a left-to-right and a right-to-left encoder.

    A token is predicted from the left-to-right state of the token before it and the right-to-left state of the token after it, so all tokens
    but the first and last of a sequence have a prediction. The encoders share their embeddings.

    Source: Electric (Clark et al. 2020b, "Pre-Training Transformers as Energy-Based Cloze Models"); the original's `TwoTowerClozeTransformer`.
    """

    def __init__(self, left: Encoder, right: Encoder) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.head = MaskedLanguageHead(left.config, left.words, 2 * left.config.hidden_size)

    @property
    def encoder(self) -> Encoder:
        """The encoder that owns the embeddings; the other has the same shape."""
        return self.left

    def forward(self, batch: Batch) -> Tensor:
        """(N, 2D) states of the N = T - 2B inner tokens, in order, for `head`."""
        inner = inner_tokens(batch.lengths).to(batch.ids.device, non_blocking=True)
        before, after = self.left(batch, reads="left"), self.right(batch, reads="right")
        return torch.cat([before[inner - 1], after[inner + 1]], dim=-1)


@lru_cache(maxsize=256)
def inner_tokens(lengths: tuple[int, ...]) -> Tensor:
    """(N,) indices, among the T tokens, of those that are neither the first nor the last of their sequence."""
    firsts = [sum(lengths[:row]) for row in range(len(lengths))]
    return torch.cat([torch.arange(first + 1, first + length - 1) for first, length in zip(firsts, lengths, strict=True)])


@lru_cache(maxsize=256)
def followed_tokens(lengths: tuple[int, ...]) -> Tensor:
    """(T - B,) indices, among the T tokens, of those that are not the last of their sequence: each one's next token has the next index."""
    firsts = [sum(lengths[:row]) for row in range(len(lengths))]
    return torch.cat([torch.arange(first, first + length - 1) for first, length in zip(firsts, lengths, strict=True)])


def log_likelihoods(head: nn.Module, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) states, (N,) token ids -> (N,) log-probabilities of these tokens, (N,) bool whether each is the most likely one.

    Computed in chunks, whose logits are recomputed in the backward pass instead of kept.
    """

    def part(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float()
        return -F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets

    chunks = zip(states.split(CHUNK), targets.split(CHUNK), strict=True)
    parts = [checkpoint(part, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.cat([p for p, _ in parts]), torch.cat([hit for _, hit in parts])


# ---- replacements ----


@dataclass(frozen=True, kw_only=True)
class Replacements:
    """Chosen positions of a batch and sampled tokens for them."""

    chosen: Tensor
    """(M,) indices of the chosen tokens, among the T of the batch."""
    output: StepOutput
    """The generator's own losses and metrics."""
    sampled: Tensor | None = None
    """(M,) sampled ids; None if no temperature was given."""
    sampled_log_q: Tensor | None = None
    """(M,) their log-probabilities, if `log_q` is known."""
    log_q: Tensor | None = None
    """(T,) log-probability of every original token given all others, zero at the ends of a sequence; only of a cloze model."""


def ratios(**pairs: tuple[Tensor, Tensor | int]) -> dict[str, tuple[Tensor, Tensor]]:
    """name -> (sum, count), as StepOutput holds its metrics."""
    out = {}
    for name, (total, count) in pairs.items():
        total = total.detach().float()
        # `full` fills on the device, so the host does not wait.
        counted = count.detach().float() if isinstance(count, Tensor) else torch.full((), float(count), device=total.device)
        out[name] = (total, counted)
    return out


class ReplacementSource(nn.Module):
    """Chooses `mask_prob` of the tokens of each sequence, never special ones, and proposes replacements: here uniformly over the vocabulary.

    Metrics: `masked_lm_loss`, log V, and `masked_lm_accuracy`, 0. Source: the original's `uniform_generator`.
    """

    generator: Generator | TwoTowerGenerator | None
    special_ids: Tensor

    def __init__(self, settings: ObjectiveSettings, *, vocab_size: int, mask_id: int, special_ids: Collection[int]) -> None:
        super().__init__()
        self.settings, self.vocab_size, self.mask_id, self.generator = settings, vocab_size, mask_id, None
        self.register_buffer("special_ids", torch.tensor(sorted(special_ids)), persistent=False)

    def num_chosen(self, batch: Batch) -> tuple[int, ...]:
        """Chosen tokens of each sequence, known before the forward pass."""
        return masking.num_masked(batch.lengths, self.settings.mask_prob, batch.maskable)

    def choose(self, batch: Batch) -> Tensor:
        """(M,) indices of the chosen tokens."""
        return masking.choose_positions(batch, self.num_chosen(batch), self.special_ids)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Loss name -> number of predictions, known before the forward pass."""
        return {}

    def advance(self, done: float) -> None:
        """Nothing depends on the progress of the run."""

    def sampling(self, batch: Batch, chosen: Tensor, temperature: float | Tensor | None) -> Sampling | None:
        """How to sample at the chosen positions; None without a temperature."""
        if temperature is None:
            return None
        uniform = masking.uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], masking.SAMPLE)
        forbidden = batch.ids[chosen] if self.settings.disallow_correct else None
        return Sampling(uniform=uniform, temperature=temperature, forbidden=forbidden, num_tokens=self.vocab_size)

    def forward(self, batch: Batch) -> StepOutput:
        return self.propose(batch).output

    def propose(self, batch: Batch, temperature: float | Tensor | None = None) -> Replacements:
        """Chosen positions, and with a `temperature` samples for them."""
        chosen = self.choose(batch)
        sampled = None
        if sampling := self.sampling(batch, chosen, temperature):
            logits = torch.zeros((), device=chosen.device).expand(len(chosen), self.vocab_size)
            sampled = masking.sample_tokens(logits, sampling.uniform, sampling.temperature, sampling.forbidden)
        # As the original's: the loss of equal logits, whose largest is taken to be the first token's, [PAD]. There is nothing to learn from it.
        total = torch.full((), len(chosen) * math.log(self.vocab_size), device=chosen.device)
        metrics = ratios(masked_lm_loss=(total, len(chosen)), masked_lm_accuracy=(torch.zeros_like(total), len(chosen)))
        return Replacements(chosen=chosen, sampled=sampled, output=StepOutput(losses={}, metrics=metrics))


class MaskedLanguageModel(ReplacementSource):
    """BERT's objective: the cross-entropy of the original tokens at masked positions (paper, section 2).

    Metrics: `masked_lm_accuracy`. Loss: `masked_lm_loss`, per masked token.
    """

    generator: Generator

    def __init__(
        self, generator: Generator, settings: ObjectiveSettings, *, mask_id: int, special_ids: Collection[int], vocab_size: int | None = None
    ) -> None:
        """`vocab_size`: the tokens that may be sampled, where the generator's table has more rows."""
        rows = generator.encoder.config.vocab_size
        super().__init__(settings, vocab_size=min(vocab_size or rows, rows), mask_id=mask_id, special_ids=special_ids)
        self.generator = generator

    def counts(self, batch: Batch) -> dict[str, int]:
        """Masked tokens."""
        return {"masked_lm_loss": sum(self.num_chosen(batch))}

    def propose(self, batch: Batch, temperature: float | Tensor | None = None) -> Replacements:
        """The masked LM's loss at masked positions, and with a `temperature` samples of its predictions."""
        chosen = self.choose(batch)
        masked = masking.mask_positions(batch, chosen, self.mask_id, self.settings.mask_token_prob)
        found = self.generator(batch, masked, chosen, batch.ids[chosen], self.sampling(batch, chosen, temperature))
        num = len(chosen)
        loss = Loss(total=found.total, count=num, weight=self.settings.generator_weight)
        output = StepOutput(losses={"masked_lm_loss": loss}, metrics=ratios(masked_lm_accuracy=(found.hits.sum(), num)))
        return Replacements(chosen=chosen, sampled=found.sampled, output=output)


class CausalLanguageModel(MaskedLanguageModel):
    """A causal LM: the state of a token, which attends to itself and those before it, predicts the next one. Nothing is masked or sampled.

    All real tokens but the first of a sequence, [CLS], are targets, [SEP] too. The head is the masked LM's, so that a run can go on as one.
    Loss: `causal_lm_loss`, per target. Metric: `causal_lm_accuracy`.

    Source: a causal LM first, then a masked one: Gisserot-Boukhlef et al. 2025, "Should We Still Pretrain Encoders with Masked Language Modeling?".
    """

    def counts(self, batch: Batch) -> dict[str, int]:
        """Targets."""
        return {"causal_lm_loss": batch.num_tokens - len(batch.lengths)}

    def propose(self, batch: Batch, temperature: float | Tensor | None = None) -> Replacements:
        """The loss at all tokens that another one follows; the chosen positions are these."""
        at = followed_tokens(batch.lengths).to(batch.ids.device, non_blocking=True)
        found, num = self.generator(batch, at=at, targets=batch.ids[at + 1]), len(at)
        loss = Loss(total=found.total, count=num, weight=self.settings.generator_weight)
        output = StepOutput(losses={"causal_lm_loss": loss}, metrics=ratios(causal_lm_accuracy=(found.hits.sum(), num)))
        return Replacements(chosen=at, output=output)


class ClozeModel(ReplacementSource):
    """A two-tower generator: nothing is masked, and every token but the first and last of a sequence is learned from.

    Loss: `cloze_loss`, per token. Metrics: `masked_lm_loss` and `masked_lm_accuracy`, at the chosen tokens alone.

    Source: Electric (Clark et al. 2020b); the original's `_get_cloze_outputs`, which leaves out the [SEP] between two segments too.
    """

    generator: TwoTowerGenerator

    def __init__(
        self, generator: TwoTowerGenerator, settings: ObjectiveSettings, *, mask_id: int, special_ids: Collection[int], vocab_size: int | None = None
    ) -> None:
        """`vocab_size`: the tokens that may be sampled, where the generator's table has more rows."""
        rows = generator.encoder.config.vocab_size
        super().__init__(settings, vocab_size=min(vocab_size or rows, rows), mask_id=mask_id, special_ids=special_ids)
        self.generator = generator

    def counts(self, batch: Batch) -> dict[str, int]:
        """Tokens with both neighbours."""
        return {"cloze_loss": batch.num_tokens - 2 * len(batch.lengths)}

    def propose(self, batch: Batch, temperature: float | Tensor | None = None) -> Replacements:
        """The loss and log-probability of all tokens, and with a `temperature` samples at the chosen positions."""
        chosen = self.choose(batch)
        states = self.generator(batch)
        inner = inner_tokens(batch.lengths).to(chosen.device, non_blocking=True)
        log_q, hits = log_likelihoods(self.generator.head, states, batch.ids[inner])
        # Index among the inner tokens, which exclude both ends of every earlier sequence and the first token of their own.
        at = chosen - 2 * batch.rows[chosen] - 1
        sampled = sampled_log_q = None
        if sampling := self.sampling(batch, chosen, temperature):
            with torch.no_grad():
                logits = self.generator.head(states[at]).float()
                sampled = masking.sample_tokens(logits[:, : sampling.num_tokens], sampling.uniform, sampling.temperature, sampling.forbidden)
                sampled_log_q = -F.cross_entropy(logits, sampled, reduction="none")
        loss = Loss(total=-log_q.sum(), count=len(inner), weight=self.settings.generator_weight)
        num = len(chosen)
        metrics = ratios(masked_lm_loss=(-log_q[at].sum(), num), masked_lm_accuracy=(hits[at].sum(), num))
        everywhere = log_q.new_zeros(batch.num_tokens).index_copy(0, inner, log_q.detach())
        output = StepOutput(losses={"cloze_loss": loss}, metrics=metrics)
        return Replacements(chosen=chosen, output=output, sampled=sampled, sampled_log_q=sampled_log_q, log_q=everywhere)

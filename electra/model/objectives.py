"""Replaced-token detection and Electric: batch -> StepOutput. (BERT's objective is in `noise.py`, the paper's ablations in `ablations.py`.)"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.contracts import Batch, Loss, StepOutput
from electra.model import masking
from electra.model.encoder import Encoder
from electra.model.generators import CHUNK, Generator, Replacements, ReplacementSource, TwoTowerGenerator, ratios
from electra.model.heads import ReplacedTokenHead
from electra.settings import ObjectiveSettings


class Discriminator(nn.Module):
    """Encoder and replaced-token head: (T,) logits of 'replaced'; of an `electric` one energies, under the same names."""

    def __init__(self, encoder: Encoder, *, electric: bool = False) -> None:
        super().__init__()
        self.encoder, self.electric = encoder, electric
        self.head = ReplacedTokenHead(encoder.config)

    def forward(self, batch: Batch, ids: Tensor | None = None) -> Tensor:
        return self.encoder(batch, ids, head=self.head)  # type: ignore[no-any-return]


class CorruptionObjective(nn.Module):
    """Noise put into the text, and a network that learns from the result: what ELECTRA, Electric and the ablations share.

    The samples' temperature may follow the share of the run that is over.
    Metric: `sampled_masked_lm_accuracy`, how often a sample is the original token.
    """

    done: Tensor

    def __init__(self, noise: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.noise, self.settings = noise, settings
        self.register_buffer("done", torch.zeros(()), persistent=False)

    @property
    def generator(self) -> Generator | TwoTowerGenerator | None:
        """The noise's network; None where it has none."""
        return self.noise.generator

    @property
    def special_ids(self) -> Tensor:
        """Ids that are never chosen."""
        return self.noise.special_ids

    def counts(self, batch: Batch) -> dict[str, int]:
        """Loss name -> number of predictions, known before the forward pass."""
        return self.noise.counts(batch)

    def forward(self, batch: Batch) -> StepOutput:
        proposal = self.noise.propose(batch, self.temperature())
        sampled = proposal.sampled
        assert sampled is not None, "a temperature asks for samples"
        right = (sampled == batch.ids[proposal.chosen]).sum()
        learned = self.learn(batch, proposal, sampled)
        metrics = ratios(sampled_masked_lm_accuracy=(right, len(sampled)))
        return StepOutput(
            losses={**proposal.output.losses, **learned.losses},
            metrics={**proposal.output.metrics, **metrics, **learned.metrics},
            scores=learned.scores,
        )

    def advance(self, done: float) -> None:
        """The share of the run that is over."""
        self.done.fill_(done)

    def temperature(self) -> float | Tensor:
        """Of the samples, now."""
        start, end = self.settings.temperature, self.settings.temperature_end
        return start if end is None else start + (end - start) * self.done

    def learn(self, batch: Batch, proposal: Replacements, sampled: Tensor) -> StepOutput:
        """(M,) samples for the chosen positions -> the losses and metrics of the network that reads them."""
        raise NotImplementedError


class ReplacedTokenObjective(CorruptionObjective):
    """ELECTRA's objective (paper, section 2): a generator fills chosen positions, the discriminator finds what it changed.

    loss = generator_weight * masked_lm_loss + disc_weight * disc_loss, the first per masked token, the second per real
    token. The generator is not trained through its samples. A sample equal to the original counts as original.
    With `objective = "electra-masked"` the discriminator learns from the chosen positions alone (paper, section 3.5: "ELECTRA 15%").

    Metrics, under the names of the original and the Chinese seed: `masked_lm_accuracy`, `sampled_masked_lm_accuracy`,
    `disc_accuracy`, `disc_precision`, `disc_recall`, and `disc_auc` from the scores. `disc_loss_original` averages per
    sequence first, and `disc_auc_original` counts padding up to `sequence_length` as negatives of probability 0, as the
    original's evaluation did.
    """

    def __init__(self, discriminator: Discriminator, noise: ReplacementSource, settings: ObjectiveSettings, *, sequence_length: int = 0) -> None:
        super().__init__(noise, settings)
        self.discriminator = discriminator
        self.sequence_length = sequence_length
        self.only_chosen = settings.objective == "electra-masked"

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and real tokens (or chosen ones)."""
        num = sum(self.noise.num_chosen(batch)) if self.only_chosen else batch.num_tokens
        return super().counts(batch) | {"disc_loss": num}

    def learn(self, batch: Batch, proposal: Replacements, sampled: Tensor) -> StepOutput:
        """The discriminator's verdicts on the text with the samples in it."""
        corrupted, replaced = masking.replace_tokens(batch, proposal.chosen, sampled)
        logits = self.discriminator(batch, corrupted).float()
        if self.only_chosen:
            chosen = proposal.chosen
            return self.judge(logits[chosen], replaced[chosen], batch.rows[chosen], self.noise.num_chosen(batch))
        return self.judge(logits, replaced, batch.rows, batch.lengths)

    def judge(self, logits: Tensor, replaced: Tensor, rows: Tensor, lengths: tuple[int, ...]) -> StepOutput:
        """(N,) logits, (N,) bool labels, (N,) sequence of each, tokens per sequence -> the discriminator's loss and metrics."""
        each = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="none")
        num = sum(lengths)
        with torch.no_grad():
            said = logits > 0
            hits = (said & replaced).sum()
            sizes = torch.tensor(lengths).to(logits.device, non_blocking=True)
            per_sequence = logits.new_zeros(len(lengths)).index_add_(0, rows, each.detach()) / sizes
        metrics = ratios(
            disc_accuracy=((said == replaced).sum(), num),
            disc_precision=(hits, said.sum()),
            disc_recall=(hits, replaced.sum()),
            disc_loss_original=(per_sequence.sum(), len(lengths)),
        )
        scores = {"disc_auc": (logits.detach(), replaced)}
        if self.sequence_length and not self.training:
            padding = logits.new_full((len(lengths) * self.sequence_length - num,), -torch.inf)
            scores["disc_auc_original"] = (torch.cat([logits.detach(), padding]), F.pad(replaced, (0, len(padding))))
        loss = Loss(total=each.sum(), count=num, weight=self.settings.disc_weight)
        return StepOutput(losses={"disc_loss": loss}, metrics=metrics, scores=scores)


class Electric(ReplacedTokenObjective):
    """Electric (Clark et al. 2020b): the discriminator's logit is an energy E of a token in its text, learned by noise-contrastive estimation.

    p(token | others) is proportional to exp(-E). Of the tokens `mask_prob` are drawn from the two-tower generator's q; that a token is
    noise has the logit E + log q + log(mask_prob / (1 - mask_prob)), and every chosen position counts as noise, also where the sample
    is the original token. Minus the sum of a text's energies is its pseudo-log-likelihood, up to a constant per token (`electra score`).

    As in the original special tokens take part (as text, never noise); their q is set to one, for it has no meaning at a sequence's ends.

    Source: `_get_discriminator_output` of the original's `run_pretraining.py`, with `electric_objective`.
    """

    def learn(self, batch: Batch, proposal: Replacements, sampled: Tensor) -> StepOutput:
        """Noise or text? for every token."""
        of_samples = proposal.sampled_log_q
        assert proposal.log_q is not None and of_samples is not None, "Electric needs a generator that knows the probability of every token"
        chosen, mask_prob = proposal.chosen, self.settings.mask_prob
        corrupted, _ = masking.replace_tokens(batch, chosen, sampled)
        noise = torch.zeros_like(batch.ids, dtype=torch.bool).index_fill(0, chosen, True)
        with torch.no_grad():
            log_q = proposal.log_q.index_copy(0, chosen, of_samples)
            log_q = torch.where(torch.isin(batch.ids, self.special_ids), 0.0, log_q)
        energies = self.discriminator(batch, corrupted).float()
        return self.judge(energies + log_q + math.log(mask_prob / (1 - mask_prob)), noise, batch.rows, batch.lengths)


# ---- The masked-LM side of the paper's ablations (section 3.5, Table 5): what lies between BERT and ELECTRA ----


class ReplaceMaskedLM(CorruptionObjective):
    """ "Replace MLM": the original tokens are predicted at the chosen positions, where samples stand instead of [MASK].

    Loss: `replaced_lm_loss`, per chosen token. Metric: `replaced_lm_accuracy`.
    """

    def __init__(self, model: Generator, noise: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__(noise, settings)
        self.model = model

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and this network's."""
        return super().counts(batch) | {"replaced_lm_loss": sum(self.noise.num_chosen(batch))}

    def learn(self, batch: Batch, proposal: Replacements, sampled: Tensor) -> StepOutput:
        """The original tokens, from the text with the samples in it."""
        corrupted, _ = masking.replace_tokens(batch, proposal.chosen, sampled)
        found, num = self.model(batch, corrupted, proposal.chosen, batch.ids[proposal.chosen]), len(proposal.chosen)
        metrics = ratios(replaced_lm_accuracy=(found.hits.sum(), num))
        return StepOutput(losses={"replaced_lm_loss": Loss(total=found.total, count=num)}, metrics=metrics)


class AllTokensMaskedLM(ReplaceMaskedLM):
    """ "All-tokens MLM": the same for every token, with a copy mechanism.

    A sigmoid says how likely a token is still the original; the prediction is that much of the token itself, and of the masked LM's
    softmax for the rest. The copy head stays with the run's training state: the saved network is the masked LM.

    Loss: `replaced_lm_loss`, per real token. Metrics: `replaced_lm_accuracy` at the chosen tokens, `copy_auc` of the copy head.
    """

    def __init__(self, model: Generator, noise: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__(model, noise, settings)
        self.copy_head = ReplacedTokenHead(model.encoder.config)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and real tokens."""
        return super().counts(batch) | {"replaced_lm_loss": batch.num_tokens}

    def learn(self, batch: Batch, proposal: Replacements, sampled: Tensor) -> StepOutput:
        """Every original token, from the text with the samples in it."""
        corrupted, replaced = masking.replace_tokens(batch, proposal.chosen, sampled)
        hidden = self.model.encoder(batch, corrupted)
        changed = self.copy_head(hidden).float()
        chunks = zip(*(values.split(CHUNK) for values in (hidden, changed, corrupted, batch.ids)), strict=True)
        parts = [checkpoint(_mixture, self.model.head, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        each, hits = (torch.cat(values) for values in zip(*parts, strict=True))
        loss = Loss(total=each.sum(), count=batch.num_tokens)
        metrics = ratios(replaced_lm_accuracy=(hits[proposal.chosen].sum(), len(proposal.chosen)))
        return StepOutput(losses={"replaced_lm_loss": loss}, metrics=metrics, scores={"copy_auc": (changed.detach(), replaced)})


def _mixture(head: nn.Module, hidden: Tensor, changed: Tensor, read: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) states, (N,) logits of 'changed', (N,) tokens read and wanted -> (N,) losses, (N,) bool: is the likeliest one wanted?

    Copying the token read and predicting it are one event, whose probabilities add up.
    """
    log_p = F.log_softmax(head(hidden).float(), -1)
    predicted = F.logsigmoid(changed) + log_p.gather(1, wanted[:, None]).squeeze(1)
    copied = torch.where(read == wanted, F.logsigmoid(-changed), -torch.inf)
    with torch.no_grad():
        mixed = (F.logsigmoid(changed)[:, None] + log_p).exp()
        likeliest = mixed.scatter_add(1, read[:, None], torch.sigmoid(-changed)[:, None]).argmax(-1)
    return -torch.logaddexp(predicted, copied), likeliest == wanted

"""ReplacedTokenDetection and MaskedLanguageModel: batch -> StepOutput."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch, Loss, StepOutput
from electra.model import masking
from electra.model.encoder import Encoder
from electra.model.heads import MaskedLanguageHead, ReplacedTokenHead
from electra.settings import ObjectiveSettings


class Generator(nn.Module):
    """Encoder and masked-LM head: also what a BERT is."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = MaskedLanguageHead(encoder.config, encoder.embeddings.word)

    def forward(self, batch: Batch, ids: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """Logits (M, V) at the token indices `at` (M,), or (T, V) at all of them."""
        hidden = self.encoder(batch, ids)
        return self.head(hidden if at is None else hidden[at])


class Discriminator(nn.Module):
    """Encoder and replaced-token head: (T,) logits of 'replaced'."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ReplacedTokenHead(encoder.config)

    def forward(self, batch: Batch, ids: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(batch, ids))


def _ratio_metrics(**pairs: tuple[Tensor, Tensor | int]) -> dict[str, tuple[Tensor, Tensor]]:
    out = {}
    for name, (total, count) in pairs.items():
        total = total.detach().float()
        # A number becomes a tensor by a fill on the device, which the host need not wait for.
        counted = count.detach().float() if isinstance(count, Tensor) else torch.full((), float(count), device=total.device)
        out[name] = (total, counted)
    return out


class MaskedLanguageModel(nn.Module):
    """BERT's objective: the cross-entropy of the original tokens at masked positions (paper, section 2).

    Metrics: `masked_lm_accuracy`. Loss: `masked_lm_loss`, per masked token.
    """

    special_ids: Tensor

    def __init__(self, model: Generator, settings: ObjectiveSettings, *, mask_id: int, special_ids: frozenset[int]) -> None:
        super().__init__()
        self.generator = model
        self.settings = settings
        self.mask_id = mask_id
        self.register_buffer("special_ids", torch.tensor(sorted(special_ids)), persistent=False)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Masked tokens, known before the forward pass."""
        return {"masked_lm_loss": sum(masking.num_masked(batch.lengths, self.settings.mask_prob))}

    def forward(self, batch: Batch) -> StepOutput:
        output, _, _ = self._masked_lm(batch)
        return output

    def _masked_lm(self, batch: Batch) -> tuple[StepOutput, Tensor, Tensor]:
        """The masked-LM part -> its output, the chosen token indices (M,), the logits there (M, V)."""
        counts = masking.num_masked(batch.lengths, self.settings.mask_prob)
        chosen = masking.choose_positions(batch, counts, self.special_ids)
        masked = masking.mask_positions(batch, chosen, self.mask_id, self.settings.mask_token_prob)
        logits = self.generator(batch, masked, chosen)
        wanted = batch.ids[chosen]
        total = F.cross_entropy(logits.float(), wanted, reduction="sum")
        num = sum(counts)
        with torch.no_grad():
            right = (logits.argmax(-1) == wanted).sum()
        loss = Loss(total=total, count=num, weight=self.settings.generator_weight)
        metrics = _ratio_metrics(masked_lm_accuracy=(right, num))
        return StepOutput(losses={"masked_lm_loss": loss}, metrics=metrics), chosen, logits


class ReplacedTokenDetection(MaskedLanguageModel):
    """ELECTRA's objective (paper, section 2): a generator fills masked positions, the discriminator finds what it changed.

    loss = generator_weight * masked_lm_loss + disc_weight * disc_loss, the first per masked token, the second per real
    token. The generator is not trained through its samples. A sample equal to the original counts as original.

    Metrics, under the names of the original and the Chinese seed: `masked_lm_accuracy`, `sampled_masked_lm_accuracy`,
    `disc_accuracy`, `disc_precision`, `disc_recall`, and `disc_auc` from the scores. `disc_loss_original` averages per
    sequence first, and `disc_auc_original` counts padding up to `sequence_length` as negatives of probability 0, as the
    original's evaluation did.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        generator: Generator,
        settings: ObjectiveSettings,
        *,
        mask_id: int,
        special_ids: frozenset[int],
        sequence_length: int = 0,
    ) -> None:
        super().__init__(generator, settings, mask_id=mask_id, special_ids=special_ids)
        self.discriminator = discriminator
        self.sequence_length = sequence_length

    def counts(self, batch: Batch) -> dict[str, int]:
        """Masked tokens and real tokens, known before the forward pass."""
        return super().counts(batch) | {"disc_loss": batch.num_tokens}

    def forward(self, batch: Batch) -> StepOutput:
        generated, chosen, logits = self._masked_lm(batch)
        with torch.no_grad():
            chance = masking.uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], masking.SAMPLE)
            forbidden = batch.ids[chosen] if self.settings.disallow_correct else None
            sampled = masking.sample_tokens(logits.detach(), chance, self.settings.temperature, forbidden)
            corrupted, replaced = masking.replace_tokens(batch, chosen, sampled)
            right = (sampled == batch.ids[chosen]).sum()
        detected = self.detect(batch, corrupted, replaced)
        metrics = _ratio_metrics(sampled_masked_lm_accuracy=(right, len(chosen)))
        return StepOutput(
            losses={**generated.losses, **detected.losses},
            metrics={**generated.metrics, **metrics, **detected.metrics},
            scores=detected.scores,
        )

    def detect(self, batch: Batch, corrupted: Tensor, replaced: Tensor) -> StepOutput:
        """The discriminator's part alone: (T,) corrupted ids and bool labels -> its loss and metrics."""
        logits = self.discriminator(batch, corrupted).float()
        each = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="none")
        with torch.no_grad():
            said = logits > 0
            hits = (said & replaced).sum()
            lengths = torch.tensor(batch.lengths).to(logits.device, non_blocking=True)
            per_sequence = logits.new_zeros(len(batch.lengths)).index_add_(0, batch.rows, each.detach()) / lengths
        num = batch.num_tokens
        metrics = _ratio_metrics(
            disc_accuracy=((said == replaced).sum(), num),
            disc_precision=(hits, said.sum()),
            disc_recall=(hits, replaced.sum()),
            disc_loss_original=(per_sequence.sum(), len(batch.lengths)),
        )
        scores = {"disc_auc": (logits.detach(), replaced)}
        if self.sequence_length and not self.training:
            padding = logits.new_full((len(batch.lengths) * self.sequence_length - num,), -torch.inf)
            scores["disc_auc_original"] = (torch.cat([logits.detach(), padding]), F.pad(replaced, (0, len(padding))))
        loss = Loss(total=each.sum(), count=num, weight=self.settings.disc_weight)
        return StepOutput(losses={"disc_loss": loss}, metrics=metrics, scores=scores)

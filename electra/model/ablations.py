"""The masked-LM side of the paper's ablations (section 3.5, Table 5): what lies between BERT and ELECTRA.

The network is a masked LM, as BERT; its text holds a small generator's samples where BERT's holds [MASK]. What is saved is that network;
`CKPT/generator` is the small one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra.contracts import Batch, Loss, StepOutput
from electra.model import masking
from electra.model.generators import CHUNK, Generator
from electra.model.heads import ReplacedTokenHead
from electra.model.noise import Noise, Proposal, ratios
from electra.model.objectives import Corruption
from electra.settings import ObjectiveSettings


class ReplaceMaskedLM(Corruption):
    """ "Replace MLM": the original tokens are predicted at the chosen positions, where samples stand instead of [MASK].

    Loss: `replaced_lm_loss`, per chosen token. Metric: `replaced_lm_accuracy`.
    """

    def __init__(self, model: Generator, noise: Noise, settings: ObjectiveSettings) -> None:
        super().__init__(noise, settings)
        self.model = model

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and this network's."""
        return super().counts(batch) | {"replaced_lm_loss": sum(self.noise.num_chosen(batch))}

    def learn(self, batch: Batch, proposal: Proposal, sampled: Tensor) -> StepOutput:
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

    def __init__(self, model: Generator, noise: Noise, settings: ObjectiveSettings) -> None:
        super().__init__(model, noise, settings)
        self.copy_head = ReplacedTokenHead(model.encoder.config)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and real tokens."""
        return super().counts(batch) | {"replaced_lm_loss": batch.num_tokens}

    def learn(self, batch: Batch, proposal: Proposal, sampled: Tensor) -> StepOutput:
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

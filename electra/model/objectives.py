"""Batch -> StepOutput: replaced-token detection (ELECTRA), Electric, the paper's masked-LM ablations, distillation of layers.

BERT's objective is in `generators`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from electra import cpu_kernels
from electra.contracts import Batch, Loss, StepOutput
from electra.model import masking
from electra.model.encoder import Encoder
from electra.model.generators import CHUNK, Generator, MaskedLanguageModel, Replacements, ReplacementSource, TwoTowerGenerator, ratios
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
    """Replacements put into the text, and a network that learns from the result: the base of ELECTRA, Electric and the ablations.

    The samples' temperature may change linearly over the run.
    Metric: `sampled_masked_lm_accuracy`, how often a sample is the original token.
    """

    done: Tensor

    def __init__(self, source: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__()
        # Its name is part of the parameters' names in checkpoints.
        self.noise, self.settings = source, settings
        self.register_buffer("done", torch.zeros(()), persistent=False)

    @property
    def generator(self) -> Generator | TwoTowerGenerator | None:
        """The network that replacements come from; None if they are uniform."""
        return self.noise.generator

    @property
    def special_ids(self) -> Tensor:
        """Ids that are never chosen."""
        return self.noise.special_ids

    def counts(self, batch: Batch) -> dict[str, int]:
        """Loss name -> number of predictions, known before the forward pass."""
        return self.noise.counts(batch)

    def forward(self, batch: Batch) -> StepOutput:
        replacements = self.noise.propose(batch, self.temperature())
        sampled = replacements.sampled
        assert sampled is not None, "a temperature gives samples"
        right = (sampled == batch.ids[replacements.chosen]).sum()
        learned = self.learn(batch, replacements, sampled)
        metrics = ratios(sampled_masked_lm_accuracy=(right, len(sampled)))
        return StepOutput(
            losses={**replacements.output.losses, **learned.losses},
            metrics={**replacements.output.metrics, **metrics, **learned.metrics},
            scores=learned.scores,
        )

    def advance(self, done: float) -> None:
        """`done` is the fraction of the run that is over."""
        self.done.fill_(done)

    def temperature(self) -> float | Tensor:
        """The current sampling temperature."""
        start, end = self.settings.temperature, self.settings.temperature_end
        return start if end is None else start + (end - start) * self.done

    def learn(self, batch: Batch, replacements: Replacements, sampled: Tensor) -> StepOutput:
        """(M,) samples at the chosen positions -> losses and metrics of the network that reads the corrupted text."""
        raise NotImplementedError


class ReplacedTokenObjective(CorruptionObjective):
    """ELECTRA's objective (paper, section 2): a generator fills the chosen positions, the discriminator detects which tokens were replaced.

    loss = generator_weight * masked_lm_loss + disc_weight * disc_loss, the first per masked token, the second per real
    token. The generator gets no gradient through its samples. A sample equal to the original counts as original.
    With `objective = "electra-masked"` the discriminator learns from the chosen positions alone (paper, section 3.5: "ELECTRA 15%").

    Metrics, under the names of the original and the Chinese seed: `masked_lm_accuracy`, `sampled_masked_lm_accuracy`,
    `disc_accuracy`, `disc_precision`, `disc_recall`, and `disc_auc` from the scores. `disc_loss_original` averages per
    sequence first, and `disc_auc_original` counts padding up to `sequence_length` as negatives of probability 0, as the
    original's evaluation did.
    """

    def __init__(self, discriminator: Discriminator, source: ReplacementSource, settings: ObjectiveSettings, *, sequence_length: int = 0) -> None:
        super().__init__(source, settings)
        self.discriminator = discriminator
        self.sequence_length = sequence_length
        self.only_chosen = settings.objective == "electra-masked"

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and real tokens (or chosen ones)."""
        num = sum(self.noise.num_chosen(batch)) if self.only_chosen else batch.num_tokens
        return super().counts(batch) | {"disc_loss": num}

    def learn(self, batch: Batch, replacements: Replacements, sampled: Tensor) -> StepOutput:
        """The discriminator's loss on the corrupted text."""
        corrupted, replaced = masking.replace_tokens(batch, replacements.chosen, sampled)
        logits = self.discriminator(batch, corrupted).float()
        if self.only_chosen:
            chosen = replacements.chosen
            return self.detection_output(logits[chosen], replaced[chosen], batch.rows[chosen], self.noise.num_chosen(batch))
        return self.detection_output(logits, replaced, batch.rows, batch.lengths)

    def detection_output(self, logits: Tensor, replaced: Tensor, rows: Tensor, lengths: tuple[int, ...]) -> StepOutput:
        """(N,) logits, (N,) bool labels, (N,) sequence of each, tokens per sequence -> the discriminator's loss and metrics."""
        each = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="none")
        num = sum(lengths)
        with torch.no_grad():
            predicted = logits > 0
            hits = (predicted & replaced).sum()
            sizes = torch.tensor(lengths).to(logits.device, non_blocking=True)
            per_sequence = logits.new_zeros(len(lengths)).index_add_(0, rows, each.detach()) / sizes
        metrics = ratios(
            disc_accuracy=((predicted == replaced).sum(), num),
            disc_precision=(hits, predicted.sum()),
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

    p(token | others) is proportional to exp(-E). A fraction `mask_prob` of the tokens is sampled from the two-tower generator's q; the logit of
    'this token is noise' is E + log q + log(mask_prob / (1 - mask_prob)), and every chosen position counts as noise, even if the sample is
    the original token. Minus the sum of a text's energies is its pseudo-log-likelihood, up to a constant per token (`electra score`).

    As in the original, special tokens take part (as data, never noise), with q = 1, because q is undefined at the ends of a sequence.

    Source: `_get_discriminator_output` of the original's `run_pretraining.py`, with `electric_objective`.
    """

    def learn(self, batch: Batch, replacements: Replacements, sampled: Tensor) -> StepOutput:
        """For every token: noise or data?"""
        of_samples = replacements.sampled_log_q
        assert replacements.log_q is not None and of_samples is not None, "Electric needs a generator that knows the probability of every token"
        chosen, mask_prob = replacements.chosen, self.settings.mask_prob
        corrupted, _ = masking.replace_tokens(batch, chosen, sampled)
        noise = torch.zeros_like(batch.ids, dtype=torch.bool).index_fill(0, chosen, True)
        with torch.no_grad():
            log_q = replacements.log_q.index_copy(0, chosen, of_samples)
            log_q = torch.where(torch.isin(batch.ids, self.special_ids), 0.0, log_q)
        energies = self.discriminator(batch, corrupted).float()
        return self.detection_output(energies + log_q + math.log(mask_prob / (1 - mask_prob)), noise, batch.rows, batch.lengths)


# ---- masked-LM ablations between BERT and ELECTRA (paper, section 3.5 and Table 5) ----


class ReplaceMaskedLM(CorruptionObjective):
    """ "Replace MLM": the original tokens are predicted at the chosen positions, which hold samples instead of [MASK].

    Loss: `replaced_lm_loss`, per chosen token. Metric: `replaced_lm_accuracy`.
    """

    def __init__(self, model: Generator, source: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__(source, settings)
        self.model = model

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and this network's."""
        return super().counts(batch) | {"replaced_lm_loss": sum(self.noise.num_chosen(batch))}

    def learn(self, batch: Batch, replacements: Replacements, sampled: Tensor) -> StepOutput:
        """Predict the original tokens from the corrupted text."""
        corrupted, _ = masking.replace_tokens(batch, replacements.chosen, sampled)
        found, num = self.model(batch, corrupted, replacements.chosen, batch.ids[replacements.chosen]), len(replacements.chosen)
        metrics = ratios(replaced_lm_accuracy=(found.hits.sum(), num))
        return StepOutput(losses={"replaced_lm_loss": Loss(total=found.total, count=num)}, metrics=metrics)


class AllTokensMaskedLM(ReplaceMaskedLM):
    """ "All-tokens MLM": the same for every token, with a copy mechanism.

    A sigmoid gives the probability that a token is the original; the prediction mixes the token itself with this probability and the masked
    LM's softmax with the rest. The copy head is only in the training state: the saved network is the masked LM.

    Loss: `replaced_lm_loss`, per real token. Metrics: `replaced_lm_accuracy` at the chosen tokens, `copy_auc` of the copy head.
    """

    def __init__(self, model: Generator, source: ReplacementSource, settings: ObjectiveSettings) -> None:
        super().__init__(model, source, settings)
        self.copy_head = ReplacedTokenHead(model.encoder.config)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The generator's predictions, and real tokens."""
        return super().counts(batch) | {"replaced_lm_loss": batch.num_tokens}

    def learn(self, batch: Batch, replacements: Replacements, sampled: Tensor) -> StepOutput:
        """Predict every original token from the corrupted text."""
        corrupted, replaced = masking.replace_tokens(batch, replacements.chosen, sampled)
        hidden = self.model.encoder(batch, corrupted)
        changed = self.copy_head(hidden).float()
        chunks = zip(*(values.split(CHUNK) for values in (hidden, changed, corrupted, batch.ids)), strict=True)
        parts = [checkpoint(_mixture, self.model.head, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        each, hits = (torch.cat(values) for values in zip(*parts, strict=True))
        loss = Loss(total=each.sum(), count=batch.num_tokens)
        metrics = ratios(replaced_lm_accuracy=(hits[replacements.chosen].sum(), len(replacements.chosen)))
        return StepOutput(losses={"replaced_lm_loss": loss}, metrics=metrics, scores={"copy_auc": (changed.detach(), replaced)})


def _mixture(head: nn.Module, hidden: Tensor, replaced: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) states, (N,) logits of 'replaced', (N,) input and target tokens -> (N,) losses, (N,) bool whether the most likely token is the target.

    Copying the input token and predicting it are the same event, so their probabilities add up.
    """
    log_p = F.log_softmax(head(hidden).float(), -1)
    predicted = F.logsigmoid(replaced) + log_p.gather(1, targets[:, None]).squeeze(1)
    copied = torch.where(inputs == targets, F.logsigmoid(-replaced), -torch.inf)
    with torch.no_grad():
        mixed = (F.logsigmoid(replaced)[:, None] + log_p).exp()
        likeliest = mixed.scatter_add(1, inputs[:, None], torch.sigmoid(-replaced)[:, None]).argmax(-1)
    return -torch.logaddexp(predicted, copied), likeliest == targets


# ---- distillation ----


def matched_layers(student: int, teacher: int) -> list[int]:
    """Numbers of layers -> the teacher's layer for the student's embeddings (0) and each of its layers: evenly spaced, the last for the last."""
    return [math.ceil(index * teacher / student) for index in range(student + 1)]


class LayerDistillation(nn.Module):
    """A student encoder learns a teacher's hidden states on the same text, without corruption.

    The student's embeddings and each of its layers are mapped to the teacher's width by a learned projection each, and compared with the
    teacher's embeddings and evenly spaced layers: `hidden_loss`, per real token the squared difference as a share of the teacher's squared
    length (1: as far as zero is), averaged over the compared states. Without that share the last states, which heads read, would count a quarter
    of the others: of all-MiniLM-L6-v2 they are half as long. Both networks read the same tokens, so every token of every layer is a target, which
    needs less text than attention relations (MiniLM, Wang et al. 2020), one matrix for a layer's heads. The projections are in the training state
    alone. Metric: `teacher_cosine`, the cosine of the last states.

    Source: TinyBERT (Jiao et al. 2020, section 3.1), equations 8 and 9, without its attention loss; the share is ours.
    """

    generator = None

    def __init__(self, student: Encoder, teacher: Encoder) -> None:
        super().__init__()
        self.encoder = student
        width, target = student.config.hidden_size, teacher.config.hidden_size
        self.maps = nn.ModuleList(cpu_kernels.Linear(width, target) for _ in range(len(student.layers) + 1))
        self.layers = matched_layers(len(student.layers), len(teacher.layers))
        self.set_teacher(teacher)

    def set_teacher(self, teacher: Encoder) -> None:
        """The network to learn from. It is no submodule: it is not trained, not saved, not exchanged between ranks."""
        self._teacher = (teacher.eval().requires_grad_(False),)

    @property
    def teacher(self) -> Encoder:
        """The frozen network."""
        return self._teacher[0]

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.teacher._apply(function, recurse)  # to the same device
        return super()._apply(function, recurse)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Real tokens."""
        return {"hidden_loss": batch.num_tokens}

    def advance(self, done: float) -> None:
        """Nothing depends on the progress of the run."""

    def forward(self, batch: Batch) -> StepOutput:
        with torch.no_grad():
            states = self.teacher.layer_states(batch)
            targets = [states[index].float() for index in self.layers]
        found = [linear(states).float() for linear, states in zip(self.maps, self.encoder.layer_states(batch), strict=True)]
        total = torch.stack([_relative_error(mine, target).sum() for mine, target in zip(found, targets, strict=True)]).mean()
        cosine = F.cosine_similarity(found[-1].detach(), targets[-1]).sum()
        loss = Loss(total=total, count=batch.num_tokens)
        return StepOutput(losses={"hidden_loss": loss}, metrics=ratios(teacher_cosine=(cosine, batch.num_tokens)))


def _relative_error(found: Tensor, target: Tensor) -> Tensor:
    """(T, D) twice -> (T,) squared difference as a share of the target's squared length."""
    return (found - target).square().sum(-1) / target.square().sum(-1).clamp_min(1e-12)


PretrainingObjective = MaskedLanguageModel | CorruptionObjective | LayerDistillation
"""What a pre-training run trains."""

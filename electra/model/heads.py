"""hidden states -> logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from electra import cpu_kernels
from electra.contracts import Batch
from electra.model import masking
from electra.model.encoder import Encoder, EncoderConfig, first_tokens

# ---- States at masked positions -> loss, hits and samples, some positions at a time: (M, V) logits never exist, and what is made stays  ----


CHUNK_BYTES = 16 << 20
"""Of logits at a time: within a processor's last cache, and enough rows for its products."""
_MULTIPLE = 32
"""Of rows in a chunk on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a sample is drawn at each of M positions."""

    chance: Tensor
    """(M,) uniform numbers."""
    temperature: float | Tensor = 1.0
    forbidden: Tensor | None = None
    """(M,) ids never to be drawn."""


@dataclass(frozen=True, kw_only=True)
class VocabularyOutput:
    """What the vocabulary's logits were wanted for."""

    total: Tensor
    """() cross-entropy, summed."""
    hits: Tensor
    """(M,) bool: is the likeliest one right?"""
    sampled: Tensor | None
    """(M,) ids, where a draw was asked for."""


def vocabulary_output(states: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, draw: Sampling | None) -> VocabularyOutput:
    """(M, E) states, (V, E), (V,), (M,) ids -> what their logits say."""
    num, rows = len(states), max(16, CHUNK_BYTES // (4 * len(weight)))
    spare = 0
    if cpu_kernels.wants_repeated_sizes():
        # Chunks of one size, of which there are but few: blocks as large as these else find no place where others were.
        num_chunks = max(1, -(-num // rows))
        rows = max(1, -(-num // (num_chunks * _MULTIPLE))) * _MULTIPLE
        spare = -num % rows

    def filled(values: Tensor) -> Tensor:
        return F.pad(values, (0, 0) * (values.dim() - 1) + (0, spare)) if spare else values

    drawn: tuple[Any, ...] = ()
    if draw is not None:
        drawn = (filled(draw.chance), draw.temperature, None if draw.forbidden is None else filled(draw.forbidden))
    half = cpu_kernels.uses_bf16()
    with cpu_kernels.no_autocast():
        found = _Predict.apply(filled(states), weight, bias, filled(wanted), num, rows, torch.is_grad_enabled(), half, *drawn)  # type: ignore[no-untyped-call]
    total, hits, sampled = found
    return VocabularyOutput(total=total, hits=hits[:num], sampled=None if draw is None else sampled[:num])


class _Predict(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        wanted: Tensor,
        num: int,
        rows: int,
        learns: bool,
        half: bool,
        chance: Tensor | None = None,
        temperature: float | Tensor = 1.0,
        forbidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        learns = learns and any(ctx.needs_input_grad)
        of_states = torch.empty_like(states) if learns else None
        of_weight, of_bias = (torch.zeros_like(weight), torch.zeros_like(bias)) if learns else (None, None)
        # Rounded once; logits, softmax and the sums of gradients are fp32 in any case.
        taken, words = (states.to(torch.bfloat16), weight.to(torch.bfloat16)) if half else (states, weight)
        total, hits, sampled = states.new_zeros(()), torch.empty_like(wanted, dtype=torch.bool), torch.empty_like(wanted)
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            logits, right = cpu_kernels.linear(taken[part], words, bias).float(), wanted[part, None]
            hits[part] = logits.argmax(-1) == wanted[part]
            plain = isinstance(temperature, float | int) and temperature == 1 and forbidden is None
            if chance is not None and not plain:
                sampled[part] = masking.sample_tokens(logits, chance[part], temperature, None if forbidden is None else forbidden[part])
            of_right, most = logits.gather(1, right), logits.amax(-1, keepdim=True)
            weights = logits.sub_(most).exp_()
            sums = weights.sum(-1, keepdim=True)
            total += (sums.log() + most - of_right)[: num - start].sum()
            if chance is not None and plain:
                sampled[part] = masking.draw_by_weight(weights, chance[part])
            if of_states is not None and of_weight is not None and of_bias is not None:
                wrong = weights.div_(sums).scatter_add_(1, right, right.new_full((), -1, dtype=weights.dtype).expand_as(right))
                wrong[num - start :] = 0
                of_bias += wrong.sum(0)
                wrong = wrong.to(words.dtype)
                if half:
                    of_states[part] = wrong @ words
                    of_weight += wrong.t() @ taken[part]
                else:
                    torch.mm(wrong, words, out=of_states[part])
                    torch.addmm(of_weight, wrong.t(), taken[part], out=of_weight)
        ctx.save_for_backward(of_states, of_weight, of_bias)
        ctx.mark_non_differentiable(hits, sampled)
        return total, hits, sampled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        of_states, of_weight, of_bias = ctx.saved_tensors
        return of_states * gradient, of_weight * gradient, of_bias * gradient, *(None,) * 8


class MaskedLanguageHead(nn.Module):
    """(M, D) states of masked positions -> (M, V) logits over the vocabulary, tied to the word embeddings.

    `input_size` is D where that is not the encoder's width.

    Source: `get_masked_lm_output` of the original's `run_pretraining.py`.
    """

    def __init__(self, config: EncoderConfig, word_embeddings: nn.Embedding, input_size: int | None = None) -> None:
        super().__init__()
        self.dense = cpu_kernels.Linear(input_size or config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.embedding_size, config.vocab_size)
        self.output.weight = word_embeddings.weight

    def forward(self, states: Tensor, wanted: Tensor | None = None, draw: Sampling | None = None) -> Tensor | VocabularyOutput:
        """Logits, or with `wanted` (M,) ids what they say of these, and where a `draw` is given samples."""
        states = self.norm(F.gelu(self.dense(states)))
        if wanted is None:
            return self.output(states)
        plain = cpu_kernels.uses_bf16() or not torch.is_autocast_enabled("cpu")
        if states.device.type == "cpu" and self.output.weight.dtype == torch.float32 and plain:
            return vocabulary_output(states, self.output.weight, self.output.bias, wanted, draw)
        logits = self.output(states)
        total = F.cross_entropy(logits.float(), wanted, reduction="sum")
        with torch.no_grad():
            sampled = None if draw is None else masking.sample_tokens(logits, draw.chance, draw.temperature, draw.forbidden)
            return VocabularyOutput(total=total, hits=logits.argmax(-1) == wanted, sampled=sampled)


class ReplacedTokenHead(nn.Module):
    """(T, D) -> (T,) logits of 'this token was replaced' (original: `_get_discriminator_output`)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = cpu_kernels.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(F.gelu(self.dense(hidden))).squeeze(-1)


class ClassificationHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: dropout, dense, gelu, dropout, projection, as in `transformers`."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.dense = cpu_kernels.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        states = F.gelu(self.dense(F.dropout(states, self.dropout, self.training)))
        return self.output(F.dropout(states, self.dropout, self.training))


class OriginalClassificationHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: dropout and one projection, as the original fine-tunes."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        return self.output(F.dropout(states, self.dropout, self.training))


class TokenHead(nn.Module):
    """(T, D) -> (T, C) logits of each token: dropout and one projection (`transformers`: token classification, question answering)."""

    def __init__(self, config: EncoderConfig, num_outputs: int, dropout: float | None = None) -> None:
        super().__init__()
        self.dropout = config.dropout if dropout is None else dropout
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(F.dropout(hidden, self.dropout, self.training))


def classification_head(config: EncoderConfig, num_outputs: int, kind: str) -> ClassificationHead | OriginalClassificationHead:
    """The head named 'transformers' or 'original'."""
    return (OriginalClassificationHead if kind == "original" else ClassificationHead)(config, num_outputs)


# ---- The original's head for questions: where an answer begins, where it ends given that, and whether there is one ----


HIDDEN_SIZE = 512
"""Width of the layer between two states and a logit."""
BEAM_SIZE = 20
"""Starts tried in a window, and ends tried after each."""
MASKED = -1000.0
"""Added to the logits of tokens outside of the context and [CLS]."""
ANSWERABLE_WEIGHT = 0.5
"""Weight of the answerability loss."""


class PairLayer(nn.Module):
    """Two states of width D -> one logit: dense to 512 over both, gelu, projection."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(2 * config.hidden_size, HIDDEN_SIZE)
        self.output = nn.Linear(HIDDEN_SIZE, 1)

    def halves(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D), (M, D) -> each state's share of the hidden layer before gelu, (N, 512) and (M, 512): a start's is the same for all tokens."""
        width = first.shape[-1]
        return F.linear(first, self.dense.weight[:, :width]), F.linear(second, self.dense.weight[:, width:], self.dense.bias)

    def logit(self, hidden: Tensor) -> Tensor:
        """(N, 512) sums of halves -> (N,) float32."""
        return self.output(F.gelu(hidden)).squeeze(-1).float()


class JointSpanHead(nn.Module):
    """The three parts of the head; see the module's text."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.start = nn.Linear(config.hidden_size, 1)
        self.end = PairLayer(config)
        self.answerable = PairLayer(config)


@dataclass(frozen=True)
class JointLosses:
    """Sums over the windows of a batch."""

    span: Tensor
    """Mean of the cross-entropies of the first and the last token."""
    answerable: Tensor
    """Binary cross-entropy of 'this question has no answer'."""


class JointQAModel(nn.Module):
    """An encoder under the original's head for questions."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = JointSpanHead(encoder.config)

    def forward(self, batch: Batch) -> Tensor:
        """(T, D) states."""
        return self.encoder(batch)

    def losses(self, batch: Batch) -> JointLosses:
        """Labels (B, 2 or 3) -> the losses; ends are judged after the true start."""
        assert batch.labels is not None
        hidden = self(batch)
        starts, outside = _row_starts(batch), _outside(batch)
        first, last = starts + batch.labels[:, 0], starts + batch.labels[:, 1]
        start_log_probs = self._start_log_probs(hidden, batch, outside)
        begun, ended = self.head.end.halves(hidden[first], hidden)
        end_log_probs = row_log_softmax(self.head.end.logit(begun[batch.rows] + ended)[:, None] + outside, batch)[:, 0]
        span = -(start_log_probs[first] + end_log_probs[last]).sum() / 2
        logits = self._no_answer_logits(hidden, start_log_probs, batch)
        impossible = batch.labels[:, 2].float() if batch.labels.shape[1] > 2 else torch.zeros_like(logits)
        return JointLosses(span, F.binary_cross_entropy_with_logits(logits, impossible, reduction="sum"))

    def outputs(self, batch: Batch) -> Sequence[Tensor]:
        """B arrays (1 + N, 4): row 0 is (logit of 'no answer', 0, 0, 0); the others are the beam's N spans: first token, last token,
        log p(first), log p(last | first). N is 400, or less in a window of few tokens."""
        hidden = self(batch)
        starts, outside = _row_starts(batch), _outside(batch)
        start_log_probs = self._start_log_probs(hidden, batch, outside)
        best, places = _grid(start_log_probs, batch).topk(min(BEAM_SIZE, batch.max_length), dim=1)
        # A short window has fewer tokens than the longest: what is tried beyond them has no probability and is dropped below.
        lengths = torch.tensor(batch.lengths, device=hidden.device)
        states = hidden[starts[:, None] + torch.minimum(places, lengths[:, None] - 1)]
        begun, ended = self.head.end.halves(states.flatten(0, 1), hidden)
        begun = begun.view(*places.shape, -1)
        beams = []
        for k in range(places.shape[1]):
            logits = self.head.end.logit(begun[batch.rows, k] + ended)[:, None] + outside
            values, ends = _grid(row_log_softmax(logits, batch)[:, 0], batch).topk(places.shape[1], dim=1)
            beams.append(torch.stack([places[:, k, None].expand_as(ends).float(), ends.float(), best[:, k, None].expand_as(values), values], -1))
        spans = torch.cat(beams, dim=1)
        first_rows = F.pad(self._no_answer_logits(hidden, start_log_probs, batch)[:, None], (0, 3))
        kept = (spans[..., 2:] > MASKED / 2).all(-1)
        return [torch.cat([row[None], span[good]]) for row, span, good in zip(first_rows, spans, kept, strict=True)]

    def _start_log_probs(self, hidden: Tensor, batch: Batch, outside: Tensor) -> Tensor:
        """(T,)."""
        return row_log_softmax(self.head.start(hidden).float() + outside, batch)[:, 0]

    def _no_answer_logits(self, hidden: Tensor, start_log_probs: Tensor, batch: Batch) -> Tensor:
        """(B,) from the state of [CLS] and the mean state by the probability of being a start."""
        weighted = hidden * start_log_probs.exp()[:, None].to(hidden.dtype)
        expected = torch.zeros(len(batch.lengths), hidden.shape[1], dtype=weighted.dtype, device=hidden.device).index_add(0, batch.rows, weighted)
        first, second = self.head.answerable.halves(hidden[first_tokens(batch)], expected)
        return self.head.answerable.logit(first + second)


def row_log_softmax(logits: Tensor, batch: Batch) -> Tensor:
    """(T, C) logits -> their log-softmax over the tokens of each sequence, column by column."""
    count, index = len(batch.lengths), batch.rows[:, None].expand_as(logits)
    peak = torch.full((count, logits.shape[1]), float("-inf"), device=logits.device)
    peak = peak.scatter_reduce(0, index, logits.detach(), "amax")
    shifted = logits - peak[batch.rows]
    total = torch.zeros((count, logits.shape[1]), device=logits.device).scatter_add(0, index, shifted.exp())
    return shifted - total.log()[batch.rows]


def _row_starts(batch: Batch) -> Tensor:
    """(B,) index of each sequence's first token among T."""
    lengths = torch.tensor(batch.lengths, device=batch.ids.device)
    return lengths.cumsum(0) - lengths


def _outside(batch: Batch) -> Tensor:
    """(T, 1): 0 for tokens of the context (segment 1, its [SEP] too, as in the original) and [CLS], -1000 for the others."""
    allowed = (batch.segments == 1) | (batch.positions == 0)
    return torch.where(allowed, 0.0, MASKED)[:, None]


def _grid(values: Tensor, batch: Batch) -> Tensor:
    """(T,) -> (B, L), -inf where there is no token."""
    grid = torch.full((len(batch.lengths), batch.max_length), float("-inf"), device=values.device)
    return grid.index_put((batch.rows, batch.positions), values)

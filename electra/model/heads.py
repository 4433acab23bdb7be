"""Hidden states -> logits: masked-LM, replaced-token, classification, token and question-answering heads.

The vocabulary's logits are computed in chunks of positions on a CPU, so that (M, V) never exists; a chunk stays in cache, and its gradients
are computed with it (`vocabulary_output`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from electra import cpu_kernels
from electra.contracts import Batch
from electra.model import masking
from electra.model.encoder import ACTIVATION, Encoder, EncoderConfig, first_tokens

CHUNK_BYTES = 16 << 20
"""Logits of a chunk: fits into a processor's last cache, with enough rows for its matmuls."""
_MULTIPLE = 32
"""Rows of a chunk are a multiple of this on a CPU."""
PAIR_SIZE = 512
"""Width of the layer between two states and a logit."""
BEAM_SIZE = 20
"""Starts tried in a window, and ends tried after each."""
MASKED = -1000.0
"""Added to the logits of tokens outside the context and [CLS]."""
ANSWERABLE_WEIGHT = 0.5
"""Weight of the answerability loss."""

# ---- masked LM ----


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample a token at each of M positions."""

    uniform: Tensor
    """(M,) uniform random numbers."""
    temperature: float | Tensor = 1.0
    forbidden: Tensor | None = None
    """(M,) ids that are never sampled."""
    num_tokens: int | None = None
    """Tokens of the vocabulary, where the output has more rows: these are never sampled."""

    @property
    def is_plain(self) -> bool:
        """Whether samples follow the plain softmax."""
        return isinstance(self.temperature, float | int) and self.temperature == 1 and self.forbidden is None


@dataclass(frozen=True, kw_only=True)
class VocabularyOutput:
    """Loss, accuracy and samples from the vocabulary's logits at M positions."""

    total: Tensor
    """() sum of the cross-entropies."""
    hits: Tensor
    """(M,) bool: whether the most likely token is the target."""
    sampled: Tensor | None
    """(M,) sampled ids; None without `Sampling`."""


def vocabulary_output(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, sampling: Sampling | None) -> VocabularyOutput:
    """(M, E) states, (V, E) and (V,) output weights, (M,) target ids -> loss, accuracy, samples; on a CPU, by chunks."""
    num, rows = len(states), max(16, CHUNK_BYTES // (4 * len(weight)))
    extra = 0
    if cpu_kernels.wants_repeated_sizes():
        # Few chunks of one size: blocks of memory this large otherwise do not fit where earlier ones were.
        num_chunks = max(1, -(-num // rows))
        rows = max(1, -(-num // (num_chunks * _MULTIPLE))) * _MULTIPLE
        extra = -num % rows

    def padded(values: Tensor) -> Tensor:
        return F.pad(values, (0, 0) * (values.dim() - 1) + (0, extra)) if extra else values

    chunks = _Chunks(num=num, rows=rows, learns=torch.is_grad_enabled(), half=cpu_kernels.uses_bf16(), sampling=None)
    if sampling is not None:
        forbidden = None if sampling.forbidden is None else padded(sampling.forbidden)
        chunks = replace(chunks, sampling=replace(sampling, uniform=padded(sampling.uniform), forbidden=forbidden))
    with cpu_kernels.no_autocast():
        total, hits, sampled = _Vocabulary.apply(padded(states), weight, bias, padded(targets), chunks)  # type: ignore[no-untyped-call]
    return VocabularyOutput(total=total, hits=hits[:num], sampled=None if sampling is None else sampled[:num])


@dataclass(frozen=True, kw_only=True)
class _Chunks:
    """How the padded positions are processed."""

    num: int
    """Positions before padding."""
    rows: int
    """Positions of a chunk."""
    learns: bool
    half: bool
    """Whether matmuls are in bf16."""
    sampling: Sampling | None


class _Vocabulary(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, chunks: _Chunks
    ) -> tuple[Tensor, Tensor, Tensor]:
        learns, half, sampling = chunks.learns and any(ctx.needs_input_grad), chunks.half, chunks.sampling
        grad_states = torch.empty_like(states) if learns else None
        grad_weight, grad_bias = (torch.zeros_like(weight), torch.zeros_like(bias)) if learns else (None, None)
        # Rounded once; logits, softmax and the sums of gradients are always fp32.
        inputs, words = (states.to(torch.bfloat16), weight.to(torch.bfloat16)) if half else (states, weight)
        total, hits, sampled = states.new_zeros(()), torch.empty_like(targets, dtype=torch.bool), torch.empty_like(targets)
        for start in range(0, len(states), chunks.rows):
            part = slice(start, start + chunks.rows)
            logits, right = cpu_kernels.linear(inputs[part], words, bias).float(), targets[part, None]
            hits[part] = logits.argmax(-1) == targets[part]
            if sampling is not None and not sampling.is_plain:
                forbidden = None if sampling.forbidden is None else sampling.forbidden[part]
                known = logits[:, : sampling.num_tokens]
                sampled[part] = masking.sample_tokens(known, sampling.uniform[part], sampling.temperature, forbidden)
            right_logits, most = logits.gather(1, right), logits.amax(-1, keepdim=True)
            weights = logits.sub_(most).exp_()
            sums = weights.sum(-1, keepdim=True)
            total += (sums.log() + most - right_logits)[: chunks.num - start].sum()
            if sampling is not None and sampling.is_plain:
                sampled[part] = masking.sample_by_weight(weights[:, : sampling.num_tokens], sampling.uniform[part])
            if grad_states is not None and grad_weight is not None and grad_bias is not None:
                grad = weights.div_(sums).scatter_add_(1, right, right.new_full((), -1, dtype=weights.dtype).expand_as(right))
                grad[chunks.num - start :] = 0
                grad_bias += grad.sum(0)
                grad = grad.to(words.dtype)
                if half:
                    grad_states[part] = grad @ words
                    grad_weight += grad.t() @ inputs[part]
                else:
                    torch.mm(grad, words, out=grad_states[part])
                    torch.addmm(grad_weight, grad.t(), inputs[part], out=grad_weight)
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.mark_non_differentiable(hits, sampled)
        return total, hits, sampled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_states, grad_weight, grad_bias = ctx.saved_tensors
        return grad_states * gradient, grad_weight * gradient, grad_bias * gradient, None, None


class MaskedLanguageHead(nn.Module):
    """(M, D) states of masked positions -> (M, V) logits over the vocabulary, tied to the word embeddings unless the config says otherwise.

    `input_size` is D if it differs from the encoder's width. The activation is gelu; of a BERT, which has the same head, that of its layers.

    Source: `get_masked_lm_output` of the original's `run_pretraining.py`.
    """

    def __init__(self, config: EncoderConfig, word_embeddings: nn.Embedding, input_size: int | None = None) -> None:
        super().__init__()
        self.dense = cpu_kernels.Linear(input_size or config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.embedding_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.output.weight = word_embeddings.weight
        self.activation = config.hidden_act if config.model_type == "bert" else "gelu"

    def forward(self, states: Tensor, targets: Tensor | None = None, sampling: Sampling | None = None) -> Tensor | VocabularyOutput:
        """Logits; with `targets` (M,) ids their loss and accuracy instead, and with `sampling` samples."""
        states = self.norm(ACTIVATION[self.activation](self.dense(states)))
        if targets is None:
            return self.output(states)
        by_chunks = cpu_kernels.uses_bf16() or not torch.is_autocast_enabled("cpu")
        if states.device.type == "cpu" and self.output.weight.dtype == torch.float32 and by_chunks:
            return vocabulary_output(states, self.output.weight, self.output.bias, targets, sampling)
        logits = self.output(states)
        total = F.cross_entropy(logits.float(), targets, reduction="sum")
        with torch.no_grad():
            sampled = None
            if sampling is not None:
                known = logits[:, : sampling.num_tokens]
                sampled = masking.sample_tokens(known, sampling.uniform, sampling.temperature, sampling.forbidden)
            return VocabularyOutput(total=total, hits=logits.argmax(-1) == targets, sampled=sampled)


# ---- token and text heads ----


class ReplacedTokenHead(nn.Module):
    """(T, D) -> (T,) logits of 'this token was replaced' (original: `_get_discriminator_output`)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.activation = config.hidden_act
        self.dense = cpu_kernels.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(ACTIVATION[self.activation](self.dense(hidden))).squeeze(-1)


class ClassificationHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: dropout, dense, gelu, dropout, projection, as in `transformers`."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.classifier_prob
        self.dense = cpu_kernels.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        states = F.gelu(self.dense(F.dropout(states, self.dropout, self.training)))
        return self.output(F.dropout(states, self.dropout, self.training))


class PooledHead(ClassificationHead):
    """(B, D) states of [CLS] -> (B, C) logits: BERT's pooler (dense, tanh), dropout, projection."""

    def forward(self, states: Tensor) -> Tensor:
        return self.output(F.dropout(self.dense(states).tanh(), self.dropout, self.training))


class ProjectionHead(nn.Module):
    """(B, D) -> (B, C) logits: dropout and one projection, of the state of [CLS] as the original fine-tunes, or of the mean (`mean_states`)."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.classifier_prob
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        return self.output(F.dropout(states, self.dropout, self.training))


class TokenHead(nn.Module):
    """(T, D) -> (T, C) logits of each token: dropout and one projection (`transformers`: token classification, question answering)."""

    def __init__(self, config: EncoderConfig, num_outputs: int, dropout: float | None = None) -> None:
        super().__init__()
        self.dropout = config.classifier_prob if dropout is None else dropout
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(F.dropout(hidden, self.dropout, self.training))


def classification_head(config: EncoderConfig, num_outputs: int, kind: str) -> ClassificationHead | ProjectionHead:
    """The head named 'transformers' (for a BERT, its own), 'original' or 'mean'."""
    if kind in ("original", "mean"):
        return ProjectionHead(config, num_outputs)
    return (PooledHead if config.model_type == "bert" else ClassificationHead)(config, num_outputs)


def mean_states(hidden: Tensor, batch: Batch) -> Tensor:
    """(T, D) -> (B, D) float32: the mean over all tokens of each sequence, [CLS] and [SEP] included, as sentence-transformers' mean pooling."""
    lengths = torch.tensor(batch.lengths, dtype=torch.float32).to(hidden.device, non_blocking=True)
    sums = torch.zeros(len(batch.lengths), hidden.shape[1], device=hidden.device).index_add(0, batch.rows, hidden.float())
    return sums / lengths[:, None]


# ---- the original's question-answering head: start, end given the start, answerability ----


class PairLayer(nn.Module):
    """Two states of width D -> one logit: dense to 512 over both, gelu, projection."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(2 * config.hidden_size, PAIR_SIZE)
        self.output = nn.Linear(PAIR_SIZE, 1)

    def halves(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D), (M, D) -> each state's part of the hidden layer before gelu, (N, 512) and (M, 512): a start's is computed once for all ends."""
        width = first.shape[-1]
        return F.linear(first, self.dense.weight[:, :width]), F.linear(second, self.dense.weight[:, width:], self.dense.bias)

    def logit(self, hidden: Tensor) -> Tensor:
        """(N, 512) sums of two halves -> (N,) float32."""
        return self.output(F.gelu(hidden)).squeeze(-1).float()


class JointSpanHead(nn.Module):
    """Logits of a start, of an end given the start, and of 'no answer' (original: `QATaskBase`)."""

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
    """An encoder with the original's question-answering head."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = JointSpanHead(encoder.config)

    def forward(self, batch: Batch) -> Tensor:
        """(T, D) states."""
        return self.encoder(batch)

    def losses(self, batch: Batch) -> JointLosses:
        """Labels (B, 2 or 3: first token, last token, unanswerable) -> the losses; ends are predicted given the true start."""
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
        # A window shorter than the longest has fewer tokens; candidates beyond them have no probability and are dropped below.
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
        """(B,) from the state of [CLS] and the mean state weighted by the probability of being the start."""
        weighted = hidden * start_log_probs.exp()[:, None].to(hidden.dtype)
        expected = torch.zeros(len(batch.lengths), hidden.shape[1], dtype=weighted.dtype, device=hidden.device).index_add(0, batch.rows, weighted)
        first, second = self.head.answerable.halves(hidden[first_tokens(batch)], expected)
        return self.head.answerable.logit(first + second)


def row_log_softmax(logits: Tensor, batch: Batch) -> Tensor:
    """(T, C) logits -> (T, C) their log-softmax over the tokens of each sequence, per column."""
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
    """(T,) -> (B, L), -inf at padding."""
    grid = torch.full((len(batch.lengths), batch.max_length), float("-inf"), device=values.device)
    return grid.index_put((batch.rows, batch.positions), values)

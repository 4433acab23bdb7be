"""The original's head for questions: where an answer begins, where it ends given that, and whether there is one.

Source: `get_prediction_module` of google-research/electra, finetune/qa/qa_tasks.py, with joint_prediction, answerable_classifier and
answerable_uses_start_logits, as it runs by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.contracts import Batch
from electra.model.encoder import Encoder, EncoderConfig, first_tokens

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


class JointSpanFinder(nn.Module):
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

"""What a span head says of a question's windows -> its n-best answers, as parts of the context.

Two forms of output are read. A plain head gives (L, 2) logits of being the first and the last token. The original's joint head gives
(1 + N, 4): row 0 begins with the logit of 'no answer'; each further row is a span of its beam: first token, last token, log p(first),
log p(last | first).

Source: the original's qa_metrics.py: a span counts in the window where its first token has most context, the best 20 first and 20 last tokens
of a window are tried, and texts that come twice are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from electra.contracts import Candidate, Example, Features, Head, Prediction, SpanPrediction
from electra.tasks.question_features import Reading

NUM_BEST = 20
"""First tokens and last tokens tried in a window, and answers kept of a question."""
NO_CANDIDATE = 1e4
"""Null odds where no span can be an answer."""


@dataclass(frozen=True)
class Spans:
    """What a window says: S spans, and 'no answer'."""

    first: np.ndarray
    """(S,) token of each span's start."""
    last: np.ndarray
    start_logits: np.ndarray
    end_logits: np.ndarray
    scores: np.ndarray
    """(S,) probabilities."""
    null_logit: float
    null_score: float
    joint: bool
    """Whether 'no answer' has a logit of its own."""


def window_spans(output: np.ndarray, feature: Features, max_answer_length: int) -> Spans:
    """A head's output for a window -> the spans that may be answers, in no order."""
    output = np.asarray(output, np.float64)
    offsets = np.asarray(feature.offsets)
    context = offsets[:, 0] >= 0
    shown = context if feature.has_most_context is None else np.asarray(feature.has_most_context)
    if joint := output.shape[1] == 4:
        first, last = output[1:, 0].astype(int), output[1:, 1].astype(int)
        start_logits, end_logits = output[1:, 2], output[1:, 3]
        scores = np.exp(start_logits + end_logits)
        null = float(output[0, 0])
        null_score = float(0.5 + 0.5 * np.tanh(null / 2))
    else:
        allowed = context.copy()
        allowed[0] = True
        log_probs = output - _log_sum_exp(output[allowed])
        best = [np.argsort(-column, kind="stable")[:NUM_BEST] for column in output.T]
        first, last = (grid.ravel() for grid in np.meshgrid(*best, indexing="ij"))
        start_logits, end_logits = output[first, 0], output[last, 1]
        scores = np.exp(log_probs[first, 0] + log_probs[last, 1])
        null, null_score = float(output[0].sum()), float(np.exp(log_probs[0].sum()))
    good = shown[first] & context[last] & (last >= first) & (last - first < max_answer_length)
    return Spans(first[good], last[good], start_logits[good], end_logits[good], scores[good], null, null_score, joint)


def decode_answers(
    outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, *, reading: Reading
) -> list[Prediction]:
    """Outputs of all windows -> a prediction per question: the best answer, or "" where there may be none and the null odds are too high."""
    return [_decode(windows, examples[number], reading) for number, windows in _grouped(outputs, features)]


def _grouped(outputs: Sequence[np.ndarray], features: Sequence[Features]) -> Iterator[tuple[int, list[tuple[np.ndarray, Features]]]]:
    group: list[tuple[np.ndarray, Features]] = []
    for output, feature in zip(outputs, features, strict=True):
        if group and group[0][1].example != feature.example:
            yield group[0][1].example, group
            group = []
        group.append((output, feature))
    if group:
        yield group[0][1].example, group


def _decode(windows: Sequence[tuple[np.ndarray, Features]], example: Example, reading: Reading) -> SpanPrediction:
    spans = [window_spans(output, feature, reading.max_answer_length) for output, feature in windows]
    candidates = _best_candidates(spans, [np.asarray(feature.offsets) for _, feature in windows], example.text_pair or "")
    null = min(s.null_logit for s in spans)
    best = candidates[0] if candidates else Candidate(text="", start=0, end=0, score=0.0, start_logit=0.0, end_logit=0.0)
    against = null - best.start_logit - best.end_logit if candidates else NO_CANDIDATE
    odds = null if spans[0].joint else against
    empty = reading.unanswerable and odds > reading.null_threshold
    null_score = min(s.null_score for s in spans)
    return SpanPrediction(
        label="" if empty else best.text,
        probability=null_score if empty else best.score,
        num_windows=len(windows),
        candidates=tuple(candidates) or (best,),
        null_odds=odds,
        null_score=null_score,
    )


def _best_candidates(spans: Sequence[Spans], offsets: Sequence[np.ndarray], context: str) -> list[Candidate]:
    """The spans of all windows -> at most NUM_BEST of different texts."""
    totals = np.concatenate([s.start_logits + s.end_logits for s in spans])
    owners = np.concatenate([np.full(len(s.first), number) for number, s in enumerate(spans)])
    places = np.concatenate([np.arange(len(s.first)) for s in spans])
    found: dict[str, Candidate] = {}
    for index in np.argsort(-totals, kind="stable").tolist():
        window, at = spans[owners[index]], places[index]
        start, end = int(offsets[owners[index]][window.first[at], 0]), int(offsets[owners[index]][window.last[at], 1])
        if (text := context[start:end]) not in found:
            numbers = {"score": float(window.scores[at]), "start_logit": float(window.start_logits[at]), "end_logit": float(window.end_logits[at])}
            found[text] = Candidate(text=text, start=start, end=end, **numbers)
            if len(found) == NUM_BEST:
                break
    return list(found.values())


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    peak = values.max(axis=0)
    return np.asarray(peak + np.log(np.exp(values - peak).sum(axis=0)))

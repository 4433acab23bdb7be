"""Objective + batches -> metrics: sums and counts, for the training log and for evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from electra.contracts import Batch, StepOutput


def placements(scores: ArrayLike, others: ArrayLike) -> np.ndarray:
    """(N,) scores, (M,) others -> (N,) the share of the others below each score, equal ones counting half."""
    ordered = np.sort(np.asarray(others, dtype=np.float64))
    below, until = (np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side=side) for side in ("left", "right"))
    return (below + until) / (2 * len(ordered))


def area_under_curve(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half: the exact area under the ROC curve.

    `scores` (N,) any real numbers, `labels` (N,) 0 or 1 (or bool). NaN where one of the classes is absent.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if positive.all() or not positive.any():
        return float("nan")
    return float(placements(values[positive], values[~positive]).mean())


def area_by_group(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> np.ndarray:
    """Contribution of each group (numbers from 0) to the deviation of the area under the ROC curve: (G,) with sum 0.

    The variance of the area over a sample of G groups is G / (G - 1) times the sum of their squares, that of the difference of two scorings of the
    same groups the same of the differences (Obuchowski 1997: DeLong's variance with clusters). Both classes have to occur.
    """
    values, positive, group = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool), np.asarray(groups)
    size = int(group.max()) + 1
    above, below = placements(values[positive], values[~positive]), 1 - placements(values[~positive], values[positive])
    area = above.mean()
    parts = np.bincount(group[positive], (above - area) / len(above), size)
    return parts + np.bincount(group[~positive], (below - area) / len(below), size)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean of the precisions at every positive, in the order of the scores (N,); equal scores are taken together. NaN without a positive."""
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if not positive.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(values[order][1:] != values[order][:-1]), len(values) - 1)
    hits = positive[order].cumsum()[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / positive.sum())


def half(device: torch.device, precision: str) -> torch.dtype | None:
    """The 16-bit type of the forward pass, or None: with precision 'auto' bfloat16 on a GPU that has it, float16 on one that has not (before
    Ampere: T4, V100, RTX 20), none elsewhere.
    """
    if precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The precision of the forward pass."""
    dtype = half(device, precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def _wide(value: Tensor) -> Tensor:
    """In float64, so that sums over many millions of tokens stay exact (MPS has only float32)."""
    return value.to(torch.float32 if value.device.type == "mps" else torch.float64)


class Sums:
    """StepOutputs added up on the device; the host reads them only in `read`."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | int] = {}
        self._weights: dict[str, float] = {}
        self._losses: set[str] = set()

    def add(self, output: StepOutput) -> None:
        """Add one microbatch."""
        for name, loss in output.losses.items():
            self._losses.add(name)
            self._weights[name] = loss.weight
            self._add(name, loss.total.detach(), loss.count)
        for name, (total, count) in output.metrics.items():
            self._add(name, total.detach(), _wide(count.detach()))

    def add_value(self, name: str, value: Tensor) -> None:
        """Add a scalar to be averaged over steps."""
        self._add(name, value.detach(), 1)

    def _add(self, name: str, total: Tensor, count: Tensor | int) -> None:
        total = _wide(total)
        if name in self._totals:
            self._totals[name] = self._totals[name] + total
            self._counts[name] = self._counts[name] + count
        else:
            self._totals[name], self._counts[name] = total, count

    def tensor(self) -> Tensor:
        """(2, N) totals and counts in the order of names, to be summed over ranks."""
        if not self._totals:
            return torch.zeros(2, 0)
        totals = torch.stack([self._totals[name] for name in sorted(self._totals)])
        counts = torch.stack([torch.as_tensor(self._counts[name]).to(totals) for name in sorted(self._totals)])
        return torch.stack([totals, counts])

    def read(self, summed: Tensor | None = None) -> dict[str, float]:
        """Name -> total / count, and `loss`, the weighted sum of the losses.

        A metric that counted nothing is 0 (the precision where nothing was predicted as replaced), as in TensorFlow's metrics, which the
        original used; a loss of nothing is left out.
        """
        values = (self.tensor() if summed is None else summed).tolist()
        names = sorted(self._totals)
        out = {name: total / (count or 1) for name, total, count in zip(names, *values, strict=True) if count or name not in self._losses}
        if self._losses:
            out["loss"] = sum(self._weights[name] * out.get(name, 0.0) for name in sorted(self._losses))
        return out


def scores_of(pairs: Iterable[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
    """(name, scores (N,), labels (N,)) -> name -> exact area under the ROC curve over all of a name's pairs.

    Where one of the classes is absent the curve says nothing, and its area is that of chance, 0.5.
    """
    kept: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for name, scores, labels in pairs:
        lists = kept.setdefault(name, ([], []))
        lists[0].append(scores.detach().float().cpu().numpy())
        lists[1].append(labels.detach().cpu().numpy())
    found = {name: area_under_curve(np.concatenate(scores), np.concatenate(labels)) for name, (scores, labels) in kept.items()}
    return {name: 0.5 if np.isnan(value) else value for name, value in found.items()}


def evaluate(objective: nn.Module, batches: Iterable[Batch], device: torch.device | str = "cpu", precision: str = "auto") -> dict[str, float]:
    """Objective in evaluation mode over all `batches` -> its metrics.

    Losses and metrics are sum / count over all batches, `loss` is the weighted sum of the losses, scores become the exact area under the
    ROC curve over all batches. The objective's training mode is restored.
    """
    device = torch.device(device)
    sums = Sums()
    pairs: list[tuple[str, Tensor, Tensor]] = []
    was_training = objective.training
    objective.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            for batch in batches:
                output: StepOutput = objective(batch.to(device))
                sums.add(output)
                pairs += [(name, scores.float().cpu(), labels.cpu()) for name, (scores, labels) in output.scores.items()]
    finally:
        objective.train(was_training)
    return sums.read() | scores_of(pairs)

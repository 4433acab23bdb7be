"""Probabilities and which answers were right -> how far the probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_BINS = 15


def reliability(probabilities: Sequence[float], right: Sequence[bool], num_bins: int = NUM_BINS) -> dict[str, Any]:
    """N probabilities of the answers given, and whether each was right -> the expected calibration error (Guo et al. 2017) and its bins.

    The bins cut (0, 1] into equal parts, each with its upper end. The error is the mean gap between mean probability and share of right
    answers, a bin weighing as many as it holds; `maximum` is the largest gap, `overconfidence` the mean probability less the accuracy.
    """
    p, r = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.float64)
    assert len(p) == len(r) > 0
    place = np.clip(np.ceil(p * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    total_p, total_r = (np.bincount(place, weights=values, minlength=num_bins) for values in (p, r))
    bins = [
        {
            "from": i / num_bins,
            "to": (i + 1) / num_bins,
            "count": int(count[i]),
            "probability": float(total_p[i] / count[i]),
            "accuracy": float(total_r[i] / count[i]),
        }
        for i in range(num_bins)
        if count[i]
    ]
    gaps = np.abs(total_p - total_r)
    return {
        "expected_calibration_error": float(gaps.sum() / len(p)),
        "maximum": float((gaps / np.maximum(count, 1)).max()),
        "overconfidence": float(p.mean() - r.mean()),
        "bins": bins,
    }

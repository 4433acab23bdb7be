"""How sure a measured number is: Wilson's interval, bootstraps, percentiles."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from electra.build.row import Interval

CONFIDENCE = 0.95


def wilson(successes: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a share (Wilson 1927), without continuity correction; (0, 1) of nothing."""
    if count == 0:
        return 0.0, 1.0
    z, share = statistics.NormalDist().inv_cdf((1 + confidence) / 2), successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # What rounding leaves outside of 0..1 at a share of all or none.
    return max(0.0, middle - reach), min(1.0, middle + reach)


def percentile(values: Sequence[float] | np.ndarray, share: float) -> float:
    """The value below which `share` (0..100) of the values lie, by a straight line between the two nearest."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), share))


def quantile_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The middle `confidence` of a bootstrap's values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high


def speedup(
    reference: Sequence[Sequence[float]], other: Sequence[Sequence[float]], *, num_resamples: int = 2000, seed: int = 1
) -> tuple[float, Interval]:
    """Times of two implementations, turn by turn -> the reference's median over the other's, and its interval.

    Turns are drawn with replacement, the same ones for both: both saw the same texts in a turn, and what the machine did beside it.
    """
    assert len(reference) == len(other) and all(len(one) == len(two) for one, two in zip(reference, other, strict=True))
    rng, found = np.random.default_rng(seed), []
    ours, theirs = ([np.asarray(turn, dtype=np.float64) for turn in side] for side in (reference, other))
    for drawn in rng.integers(0, len(ours), size=(num_resamples, len(ours))).tolist():
        found.append(np.median(np.concatenate([ours[i] for i in drawn])) / np.median(np.concatenate([theirs[i] for i in drawn])))
    return float(np.median(np.concatenate(ours)) / np.median(np.concatenate(theirs))), quantile_interval(np.array(found))


def resample(scores: Sequence[Callable[[np.ndarray], float]], count: int, *, num_resamples: int, seed: int = 1) -> np.ndarray:
    """Functions of (count,) drawn example indices -> (functions, resamples) values, of the same draws."""
    rng = np.random.default_rng(seed)
    out = np.empty((len(scores), num_resamples))
    for number in range(num_resamples):
        drawn = rng.integers(0, count, size=count)
        out[:, number] = [score(drawn) for score in scores]
    return out

"""--target auto: the fastest within the drop, and a reason for each other one."""

from __future__ import annotations

import pytest

from electra.benchmark.auto_target import select
from electra.benchmark.records import Latency, Row
from electra.errors import UserError


def row(name: str, p50_ms: float, score: float, speedup: tuple[float, float] | None = None, error: str | None = None) -> Row:
    """As `electra.benchmark.measure` gives it, the reference scoring 0.9."""
    latency = Latency(p50_ms=p50_ms, p90_ms=2 * p50_ms, p99_ms=3 * p50_ms, num_calls=200, speedup=1.0, speedup_interval=speedup)
    drop, interval = (None, None) if name == "model" else (0.9 - score, (0.895 - score, 0.905 - score))
    return Row(name=name, source=name, metric="accuracy", score=score, latency=latency, drop=drop, drop_interval=interval, error=error)


REFERENCE = row("model", 9.0, 0.9)


def test_fastest_within_the_drop() -> None:
    rows = [REFERENCE, row("slow", 5.0, 0.9, (1.7, 1.9)), row("fast", 2.0, 0.896, (4.4, 4.6)), row("lossy", 1.0, 0.89, (8.9, 9.1))]
    found = select(rows, 0.5, {"absent": "it needs a C++ compiler"})
    assert found.chosen == "fast"
    assert found.dropped == {
        "absent": "it needs a C++ compiler",
        "lossy": "loses 1.00 points (0.50 to 1.50) of accuracy, 0.5 allowed",
        "slow": "slower: 5.00 ms against 2.00 ms of fast",
    }
    assert found.reason == "2.00 ms a text (median, batch 1), 0.40 points (-0.10 to 0.90) lost"


def test_limit_belongs_to_the_allowed() -> None:
    assert select([REFERENCE, row("exact", 1.0, 0.895)], 0.5, {}).chosen == "exact"
    with pytest.raises(UserError, match=r"loses 0\.51 points"):
        select([REFERENCE, row("beyond", 1.0, 0.8949)], 0.5, {})


def test_a_gain_is_no_loss() -> None:
    found = select([REFERENCE, row("better", 1.0, 0.92)], 0.0, {})
    assert found.chosen == "better" and "-2.00 points" in found.reason


def test_reference_is_no_candidate() -> None:
    found = select([row("model", 0.1, 0.9), row("built", 3.0, 0.9)], 0.5, {})
    assert found.chosen == "built"


def test_nearly_as_fast_is_called_noise() -> None:
    found = select([REFERENCE, row("a", 2.0, 0.9, (4.0, 5.0)), row("b", 2.1, 0.9, (3.9, 4.6)), row("c", 3.0, 0.9, (2.9, 3.1))], 0.5, {})
    assert found.dropped["b"].endswith("which is within noise") and "noise" not in found.dropped["c"]


def test_what_failed_is_dropped_with_its_reason() -> None:
    found = select([REFERENCE, row("broken", 0.1, 0.9, error="ended by signal 9"), row("whole", 3.0, 0.9)], 0.5, {})
    assert found.chosen == "whole" and found.dropped["broken"] == "could not be measured: ended by signal 9"


def test_nothing_left_is_reported_with_every_reason() -> None:
    with pytest.raises(UserError, match=r"within --max-drop 0\.5: gone: no such package; worse: loses 10\.00 points"):
        select([REFERENCE, row("worse", 1.0, 0.8)], 0.5, {"gone": "no such package"})
    with pytest.raises(UserError, match="model cannot be measured: cut"):
        select([row("model", 1.0, 0.9, error="cut"), row("built", 1.0, 0.9)], 0.5, {})

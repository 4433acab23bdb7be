"""Measured implementations -> the fastest whose score stays within a drop, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from electra.build.row import Row
from electra.errors import UserError

ROUNDING = 1e-9
"""Scores are ratios: a drop of exactly the limit must not fall to the last bit."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen of a table."""

    chosen: str
    """A row's name."""
    reason: str
    """Why, in one line."""
    dropped: Mapping[str, str]
    """Name -> why not, in one line; those that could not be built included."""


def select(rows: Sequence[Row], max_drop: float, unavailable: Mapping[str, str]) -> Selection:
    """The row with the least median latency at batch 1, among those within the drop.

    Args:
        rows: the first is the reference, which is no candidate.
        max_drop: points (hundredths of the main metric) that may be lost.
        unavailable: name -> why it could not be built, for the record.

    Raises:
        UserError: none is within the drop, or none could be measured; the message has each one's reason.
    """
    reference, *candidates = rows
    if reference.error:
        raise UserError(f"{reference.name} itself cannot be measured: {reference.error}")
    dropped = dict(unavailable)
    kept: list[tuple[float, Row]] = []
    for row in candidates:
        if row.error or row.latency is None or row.drop is None:
            dropped[row.name] = f"could not be measured: {row.error or 'no latency or score'}"
        elif 100 * row.drop > max_drop + ROUNDING:
            dropped[row.name] = f"loses {_points(row)} of {row.metric}, {max_drop:g} allowed"
        else:
            kept.append((row.latency.p50_ms, row))
    if not kept:
        told = "; ".join(f"{name}: {reason}" for name, reason in dropped.items())
        raise UserError(f"no target stays within --max-drop {max_drop:g}: {told or 'there is none to try'}")
    fastest, best = min(kept, key=lambda pair: pair[0])
    for p50_ms, row in kept:
        if row is not best:
            noise = ", which is within noise" if _overlap(row, best) else ""
            dropped[row.name] = f"slower: {p50_ms:.2f} ms against {fastest:.2f} ms of {best.name}{noise}"
    return Selection(chosen=best.name, reason=f"{fastest:.2f} ms a text (median, batch 1), {_points(best)} lost", dropped=dropped)


def _points(row: Row) -> str:
    """The drop with its interval, in points: '0.34 points (-0.11 to 0.92)'; what is gained is lost with a minus."""
    assert row.drop is not None
    interval = f" ({100 * row.drop_interval[0]:.2f} to {100 * row.drop_interval[1]:.2f})" if row.drop_interval else ""
    return f"{100 * row.drop + 0.0:.2f} points{interval}"


def _overlap(row: Row, other: Row) -> bool:
    """Whether the intervals of two speed-ups have a number in common."""
    one, two = (r.latency.speedup_interval if r.latency else None for r in (row, other))
    return one is not None and two is not None and one[0] <= two[1] and two[0] <= one[1]

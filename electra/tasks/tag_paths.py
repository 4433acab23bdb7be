"""Probabilities of tags -> the likeliest sequence that a scheme of spans allows (Viterbi)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from electra.tasks.tag_schemes import marks_spans, split_tag


@dataclass(frozen=True)
class Rules:
    """What a scheme allows; 0 where it does, minus infinity where not."""

    begins: np.ndarray
    """(C,) a sentence's first tag."""
    steps: np.ndarray
    """(C, C) from a tag (row) to the next (column)."""
    ends: np.ndarray
    """(C,) a sentence's last tag."""


def scheme_rules(labels: Sequence[str]) -> Rules | None:
    """Tags -> the rules of BIO2, or of BIOES (BILOU) where a letter of theirs occurs; None for plain tags, which have none."""
    if not marks_spans(labels):
        return None
    tags, outside = [split_tag(label) for label in labels], ("O", "")
    closing = any(letter in "ES" for letter, _ in tags)
    steps = [[_allowed(before, now, closing) for now in tags] for before in tags]
    return Rules(
        begins=_penalty([_allowed(outside, now, closing) for now in tags]),
        steps=_penalty(steps),
        ends=_penalty([_allowed(before, outside, closing) for before in tags]),
    )


def _allowed(before: tuple[str, str], now: tuple[str, str], closing: bool) -> bool:
    if closing and before[0] in "BI":
        return now[0] in "IE" and now[1] == before[1]
    inside = before[0] in "BI" and not closing
    return now[0] not in "IE" or (inside and now[1] == before[1])


def _penalty(allowed: Sequence[object]) -> np.ndarray:
    return np.where(np.array(allowed, bool), 0.0, -np.inf)


def best_path(logits: np.ndarray, rules: Rules | None) -> list[int]:
    """(N, C) logits of a sentence's words -> a tag for each: the likeliest sequence by the rules; each word's own best without any, or
    where nothing is allowed."""
    if rules is None or not len(logits):
        return [int(best) for best in logits.argmax(axis=1)] if len(logits) else []
    rows = logits.astype(np.float64)
    rows = rows - np.logaddexp.reduce(rows, axis=1, keepdims=True)
    total, back = rows[0] + rules.begins, []
    for row in rows[1:]:
        ways = total[:, None] + rules.steps
        back.append(ways.argmax(axis=0))
        total = ways.max(axis=0) + row
    total = total + rules.ends
    if not np.isfinite(total.max()):
        return best_path(logits, None)
    path = [int(total.argmax())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return path[::-1]

"""Tags of words -> spans, whatever the scheme: BIO1, BIO2, BIOES (IOBES), BILOU; or plain tags, which have none.

A span begins and ends by the rules of CoNLL's script `conlleval` (seqeval's default mode), which also say what sequences mean that no scheme
allows: I-NP behind O or behind I-VP begins a span.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_TAG = re.compile(r"O|[BIESLU](-.*)?")
_PREFIXES = {"L": "E", "U": "S"}
"""BILOU's letters -> BIOES's."""


@dataclass(frozen=True, order=True)
class Span:
    """Words of one type."""

    first: int
    """Index of its first word."""
    end: int
    """Index behind its last word."""
    kind: str
    """The type, such as NP; empty where tags are bare letters."""


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether these tags are a scheme of spans: every one is O or a scheme's letter, alone or with a type behind a hyphen."""
    names = set(tags)
    return all(_TAG.fullmatch(name) for name in names) and any("-" in name or name in ("B", "I") for name in names)


def find_spans(tags: Sequence[str]) -> list[Span]:
    """The tags of a sentence -> its spans from left to right."""
    parts = [("O", ""), *map(split_tag, tags), ("O", "")]
    spans, first = [], 0
    for index, (before, now) in enumerate(pairwise(parts)):
        if _ends(before, now):
            spans.append(Span(first, index, before[1]))
        if _begins(before, now):
            first = index
    return spans


def split_tag(tag: str) -> tuple[str, str]:
    """'B-NP' -> ('B', 'NP'); L and U of BILOU become E and S; anything without a scheme's letter is outside."""
    letter, _, kind = tag.partition("-")
    letter = _PREFIXES.get(letter, letter)
    return (letter, kind) if letter in ("B", "I", "E", "S") else ("O", "")


def to_bioes(tags: Sequence[str]) -> list[str]:
    """The same spans in BIOES: S for one word, else B, I, E (the original trains on these: `tagging_utils.py`)."""
    out = ["O"] * len(tags)
    for span in find_spans(tags):
        kind = f"-{span.kind}" if span.kind else ""
        letters = ["S"] if span.end - span.first == 1 else ["B", *["I"] * (span.end - span.first - 2), "E"]
        out[span.first : span.end] = [letter + kind for letter in letters]
    return out


def _ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a span ends between two words."""
    return before[0] != "O" and (before[0] in "ES" or now[0] in "OBS" or before[1] != now[1])


def _begins(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a span begins between two words."""
    return now[0] != "O" and (now[0] in "BS" or before[0] in "OES" or before[1] != now[1])

"""Tags of words -> spans, whatever the scheme: IOB1, BIO2, IO, BIOES (IOBES), BIOS, BILOU, BMES; or plain tags, which have none.

A tag is a letter and a type: B-PER, or with the letter last (PER-B). A span begins and ends by the rules of CoNLL's script `conlleval`
(seqeval's default mode), which also say what sequences mean that no scheme allows: I-NP after O or after I-VP begins a span.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
"""Letters of BIOES, BILOU and BMES (BMEWO) -> those of BIOES."""
_FIRST = re.compile(r"([BIESLUMW])(?:[-_](.*))?|([biesluwm])[-_](.*)", re.DOTALL)
_LAST = re.compile(r"(.+)[-_]([BIESLUMW])", re.DOTALL)
_OUTSIDE = ("O", "o")


@dataclass(frozen=True, order=True)
class Span:
    """Words of one type."""

    first: int
    """Index of its first word."""
    end: int
    """Index after its last word."""
    kind: str
    """The type, such as NP; empty where tags are bare letters."""


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether these tags are a scheme of spans: every one is O, or a letter alone or with a type after it (B-PER) or before it (PER-B).

    With the letter last, some type must have two letters: HEPATITIS-B alone is a plain tag.
    """
    names = {name for name in tags if name not in _OUTSIDE}
    if all(_FIRST.fullmatch(name) for name in names):
        return any(len(name) > 1 or name in ("B", "I") for name in names)
    found = [match for name in names if (match := _LAST.fullmatch(name)) and not _FIRST.fullmatch(name)]
    letters: dict[str, set[str]] = {}
    for match in found:
        letters.setdefault(match[1], set()).add(match[2])
    return len(found) == len(names) and any(len(of_type) > 1 for of_type in letters.values())


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
    """'B-NP' or 'NP-B' -> ('B', 'NP'), letters as in BIOES; anything without a scheme's letter is outside."""
    letter, kind = _parts(tag)
    return _LETTERS.get(letter, "O"), kind


def _parts(tag: str) -> tuple[str, str]:
    """A tag -> its own letter in upper case, and its type; ('O', '') outside."""
    if match := _FIRST.fullmatch(tag):
        return (match[1] or match[3]).upper(), match[2] or match[4] or ""
    if match := _LAST.fullmatch(tag):
        return match[2], match[1]
    return "O", ""


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


# ---- Probabilities of tags -> the likeliest sequence that a scheme of spans allows (Viterbi) ----


@dataclass(frozen=True)
class Rules:
    """What a scheme allows; 0 where it does, minus infinity where not."""

    begins: np.ndarray
    """(C,) a sentence's first tag."""
    steps: np.ndarray
    """(C, C) from a tag (row) to the next (column)."""
    ends: np.ndarray
    """(C,) a sentence's last tag."""


PLAIN = "plain"
MIXED = "mixed"
"""Tags with B and I that follow neither IOB1 nor BIO2 throughout."""


def find_scheme(rows: Sequence[Sequence[str]]) -> str:
    """The tags of training sentences -> 'IOB1', 'BIO2', 'IO', 'BIOES', 'BIOS', 'BILOU', 'BMES', 'mixed', or 'plain' where they mark no spans.

    IOB1 writes B only where a span follows another of its type, BIO2 at every beginning. As of seqeval's `auto_detect`, the letters decide;
    IOB1 and BIO2 have the same letters, so there the sequences do.
    """
    labels = {tag for row in rows for tag in row}
    if not marks_spans(labels):
        return PLAIN
    letters = {_parts(label)[0] for label in labels}
    if letters & set("MW"):
        return "BMES"
    if letters & set("LU"):
        return "BILOU"
    if letters & set("ES"):
        return "BIOES" if "E" in letters else "BIOS"
    if "B" not in letters:
        return "IO"
    return next((name for name in ("BIO2", "IOB1") if all(_follows(row, name) for row in rows)), MIXED)


def _follows(row: Sequence[str], scheme: str) -> bool:
    tags = [("O", ""), *map(split_tag, row)]
    return all(_allowed(before, now, scheme) for before, now in pairwise(tags))


def scheme_rules(labels: Sequence[str], scheme: str = "") -> Rules | None:
    """Tags -> the rules of their scheme; None where everything is allowed (plain, mixed and IO tags).

    Without a `scheme`, as of a model that records none: BIO2, or BIOES where a letter of it occurs.
    """
    if not marks_spans(labels) or scheme in (PLAIN, MIXED, "IO"):
        return None
    tags, outside = [split_tag(label) for label in labels], ("O", "")
    letters = {letter for letter, _ in tags}
    name = scheme or ("BIOES" if "E" in letters else "BIOS" if "S" in letters else "BIO2")
    return Rules(
        begins=_penalty([_allowed(outside, now, name) for now in tags]),
        steps=_penalty([[_allowed(before, now, name) for now in tags] for before in tags]),
        ends=_penalty([_allowed(before, outside, name) for before in tags]),
    )


def _allowed(before: tuple[str, str], now: tuple[str, str], scheme: str) -> bool:
    """Whether a scheme lets one tag follow another."""
    same = before[0] in "BI" and now[1] == before[1]
    if scheme == "IOB1":
        return now[0] != "B" or same
    if before[0] in "BI" and scheme not in ("BIO2", "BIOS"):
        return now[0] in "IE" and same
    return now[0] not in "IE" or same


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


# ---- Gold and predicted tags -> precision, recall and F1 of whole spans, as `conlleval` and seqeval count ----


Tags = Sequence[Sequence[str]]


def span_scores(gold: Tags, predicted: Tags) -> dict[str, float]:
    """Sentences' tags -> precision, recall and F1 over all spans, 0..1. A span counts where its words and its type are right."""
    right, found, wanted = (sum(counts.values()) for counts in _counts(gold, predicted))
    return _scores(right, found, wanted)


def class_scores(gold: Tags, predicted: Tags) -> dict[str, dict[str, float]]:
    """Type -> precision, recall, F1, and the number of its spans in the gold tags, types in alphabetical order."""
    right, found, wanted = _counts(gold, predicted)
    return {kind: _scores(right[kind], found[kind], wanted[kind]) | {"support": wanted[kind]} for kind in sorted(found.keys() | wanted.keys())}


def _counts(gold: Tags, predicted: Tags) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Of each type: spans found that are right, spans found, spans wanted."""
    right, found, wanted = Counter[str](), Counter[str](), Counter[str]()
    for ours, theirs in zip(predicted, gold, strict=True):
        mine, true = set(find_spans(ours)), set(find_spans(theirs))
        right.update(span.kind for span in mine & true)
        found.update(span.kind for span in mine)
        wanted.update(span.kind for span in true)
    return right, found, wanted


def _scores(right: int, found: int, wanted: int) -> dict[str, float]:
    precision, recall = right / found if found else 0.0, right / wanted if wanted else 0.0
    return {"f1": 2 * right / (found + wanted) if right else 0.0, "precision": precision, "recall": recall}

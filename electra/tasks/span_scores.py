"""Gold and predicted tags -> precision, recall and F1 of whole spans, as `conlleval` and seqeval count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from electra.tasks.tag_schemes import find_spans

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

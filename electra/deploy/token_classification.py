"""The pipeline 'token-classification': the answers of `transformers`, with texts of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from electra.deploy.predictor import Predictor
from electra.deploy.tagging import Tagged, Units, piece_units, tag, unit_probabilities
from electra.errors import UserError, did_you_mean
from electra.tasks.tag_schemes import marks_spans

AggregationStrategy: TypeAlias = Literal["none", "simple", "first", "average", "max", "spans"]
Record: TypeAlias = dict[str, Any]


class TokenClassification:
    """Texts -> for each, its word pieces with their tags, or with a strategy its entities; those outside of any are left out.

    'none' gives every piece ("entity", "score", "index", "word", "start", "end"); the others give "entity_group" in place of "entity" and
    "index". 'simple' joins neighbouring pieces of one type; 'first', 'average' and 'max' first agree on one tag for all pieces of a word.
    'spans', which `transformers` lacks, gives the spans of 'electra predict': words by their first piece, joined as the scheme of the tags says.
    The others know no letters but B and I, so the E and S of BIOES (chunking) end in entities of single words there.
    """

    def __init__(self, predictor: Predictor, aggregation_strategy: AggregationStrategy = "none") -> None:
        self.predictor = predictor
        self.aggregation_strategy = _checked(aggregation_strategy)

    def __call__(
        self, texts: str | Sequence[str], *, aggregation_strategy: AggregationStrategy | None = None, ignore_labels: Sequence[str] = ("O",)
    ) -> list[Any]:
        """A text -> a list of records; a list of texts -> a list of such lists.

        Raises:
            UserError: an unknown strategy.
        """
        strategy = self.aggregation_strategy if aggregation_strategy is None else _checked(aggregation_strategy)
        if strategy == "spans" and marks_spans(self.predictor.network.labels):
            found = [self._spans(tagged, ignore_labels) for tagged in tag(self.predictor, [texts] if isinstance(texts, str) else texts)]
            return found[0] if isinstance(texts, str) else found
        units = (piece_units(text, self.predictor.tokenizer) for text in ([texts] if isinstance(texts, str) else texts))
        out = []
        for source, rows, _ in unit_probabilities(self.predictor, units):
            # Plain tags mark no spans: each word's own tag is then all there is to join.
            records = self._pieces(source, rows) if strategy in ("none", "simple") else self._words(source, rows, strategy.replace("spans", "first"))
            if strategy != "none":
                records = self._groups(records)
            kept = [r for r in records if r.get("entity") not in ignore_labels and r.get("entity_group") not in ignore_labels]
            out.append(kept)
        return out[0] if isinstance(texts, str) else out

    @staticmethod
    def _spans(tagged: Tagged, ignore_labels: Sequence[str]) -> list[Record]:
        return [
            {"entity_group": entity.kind, "score": entity.probability, "word": entity.text, "start": entity.start, "end": entity.end}
            for entity in tagged.entities
            if entity.kind not in ignore_labels
        ]

    def _pieces(self, source: Units, rows: np.ndarray) -> list[Record]:
        """A record for every piece of a text."""
        tokenizer, labels = self.predictor.tokenizer, self.predictor.network.labels
        records = []
        for index, ((piece,), (start, end), row) in enumerate(zip(source.pieces, source.places, rows, strict=True), start=1):
            word = source.text[start:end] if piece == tokenizer.unk_id else tokenizer.pieces[piece]
            best = int(row.argmax())
            records.append({"entity": labels[best], "score": float(row[best]), "index": index, "word": word, "start": start, "end": end})
        return records

    def _words(self, source: Units, rows: np.ndarray, strategy: str) -> Iterator[Record]:
        """A record for every word: a piece and those behind it that continue it."""
        records = self._pieces(source, rows)
        begins = [i for i, record in enumerate(records) if not i or not record["word"].startswith("##")]
        for first, end in pairwise([*begins, len(records)]):
            if strategy == "first":
                row = rows[first]
            elif strategy == "max":
                row = rows[max(range(first, end), key=lambda i: float(rows[i].max()))]
            else:
                row = rows[first:end].mean(0)
            best = int(row.argmax())
            word = self._join(records[first:end])
            place = {"start": records[first]["start"], "end": records[end - 1]["end"]}
            yield {"entity": self.predictor.network.labels[best], "score": float(row[best]), "word": word, **place}

    def _groups(self, records: Sequence[Record] | Iterator[Record]) -> list[Record]:
        """Neighbouring records of one type, where the later is no B-, -> one record each."""
        groups: list[list[Record]] = []
        for record in records:
            letter, kind = _parts(record["entity"])
            if groups and letter != "B" and kind == _parts(groups[-1][-1]["entity"])[1]:
                groups[-1].append(record)
            else:
                groups.append([record])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([record["score"] for record in group])),
                "word": self._join(group),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]

    def _join(self, records: Sequence[Record]) -> str:
        return str(self.predictor.tokenizer.backend.decoder.decode([record["word"] for record in records]))


def _parts(entity: str) -> tuple[str, str]:
    """'B-PER' -> ('B', 'PER'); what begins with neither B- nor I- continues its like."""
    return (entity[0], entity[2:]) if entity.startswith(("B-", "I-")) else ("I", entity)


def _checked(strategy: str) -> AggregationStrategy:
    for name in get_args(AggregationStrategy):
        if strategy == name:
            return name  # type: ignore[no-any-return]
    raise UserError(f"unknown aggregation_strategy '{strategy}'; {did_you_mean(str(strategy), get_args(AggregationStrategy))}")

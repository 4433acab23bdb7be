"""Search over a collection of passages: files in BEIR's layout, and how well rankings find what is relevant.

    corpus.jsonl     one passage a line: _id, text, and a title where there is one (it is put before the text)
    queries.jsonl    one query a line: _id, text
    qrels/SPLIT.tsv  query-id, corpus-id, score: the relevance, above zero of what is relevant

Source: Thakur et al. 2021, 'BEIR', and its loader. The measures are trec_eval's, through ir-measures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra.data.sources import COMPRESSIONS
from electra.data.tables import SUFFIXES, Row, column_in, is_missing, read_rows, string_cell, text_cell
from electra.errors import UserError, require
from electra.storage import atomic
from electra.tasks.significance import CONFIDENCE, interval, p_value, resample

Ranking = Mapping[str, Mapping[str, float]]
"""Query id -> passage id -> score, the best first."""

MEASURES = {"ndcg@10": "nDCG@10", "mrr@10": "RR@10", "map@100": "AP@100", "recall@10": "R@10", "recall@100": "R@100"}
"""Name of a metric -> that of ir-measures; the first is the main one."""
MAIN = "ndcg@10"
DEPTH = 100
"""Passages of a ranking that are measured."""
NUM_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Passages, queries, and what is relevant to them."""

    passages: Mapping[str, str]
    """Id -> text."""
    queries: Mapping[str, str]
    """Id -> text, of the queries with a relevant passage."""
    relevant: Mapping[str, Mapping[str, int]]
    """Query id -> passage id -> relevance."""

    def sampled(self, count: int, seed: int) -> Collection:
        """The same with `count` of its queries, drawn at random; with all where there are no more."""
        if count >= len(self.queries):
            return self
        names = sorted(self.queries)
        chosen = {names[i] for i in np.random.default_rng(seed).choice(len(names), count, replace=False)}
        queries = {name: text for name, text in self.queries.items() if name in chosen}
        return Collection(passages=self.passages, queries=queries, relevant={name: self.relevant[name] for name in queries})


# ---- files ----


def read_collection(folder: Path, split: str) -> Collection:
    """A folder in BEIR's layout -> its passages, and the queries of a split.

    Raises:
        UserError: a file or column is missing, an id occurs twice, an id is unknown, or no query has a relevant passage.
    """
    atomic.existing_path(folder, "data")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder with corpus.jsonl, queries.jsonl and qrels/{split}.tsv (BEIR's layout)")
    passages = dict(_texts(folder, "corpus"))
    queries = dict(_texts(folder, "queries"))
    relevant: dict[str, dict[str, int]] = {}
    qrels = _file(folder / "qrels", split)
    for number, row in read_rows(qrels, "relevances", ("query-id", "corpus-id", "score")):
        place = f"{qrels}, line {number}"
        query, passage, score = (_cell(row, name, place) for name in ("query-id", "corpus-id", "score"))
        try:
            grade = int(score)
        except ValueError:
            raise UserError(f"{place}: score '{score[:40]}' is not a whole number; correct the row") from None
        for kind, name, known in (("query", query, queries), ("passage", passage, passages)):
            if name not in known:
                raise UserError(f"{place}: {kind} '{name[:60]}' is not in {folder}/{'queries' if kind == 'query' else 'corpus'}; correct the row")
        relevant.setdefault(query, {})[passage] = grade
    relevant = {query: grades for query, grades in relevant.items() if any(grade > 0 for grade in grades.values())}
    if not relevant:
        raise UserError(f"{qrels}: no query has a relevant passage (a score above 0); give a file with some")
    return Collection(passages=passages, queries={name: queries[name] for name in relevant}, relevant=relevant)


def is_collection(folder: Path) -> bool:
    """Whether a folder is in BEIR's layout."""
    return folder.is_dir() and (folder / "qrels").is_dir() and any(folder.glob("corpus.*"))


def _file(folder: Path, name: str) -> Path:
    """The one table of a name in a folder."""
    found = [path for suffix in SUFFIXES for packed in ("", *COMPRESSIONS) if (path := folder / f"{name}{suffix}{packed}").is_file()]
    if len(found) == 1:
        return found[0]
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    shown = f"; it has {', '.join(there[:10])}" if there else ""
    what = (
        f"{len(found)} files {', '.join(path.name for path in found)}" if found else f"no file {name}.jsonl, {name}.tsv or of another table's suffix"
    )
    raise UserError(f"{folder} has {what}{shown}; expected BEIR's layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv")


def _cell(row: Row, name: str, place: str, read: Callable[[Row, str, str, str], str] = text_cell) -> str:
    """The value of a column that BEIR's layout has."""
    if not column_in(row, name):
        raise UserError(f"{place}: no column '{name}' (columns: {', '.join(row)[:200]}); BEIR's layout needs it: rename the column")
    return read(row, name, place, "--data")


def _texts(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """(id, text) of every row of a file."""
    path, seen = _file(folder, name), set[str]()
    for number, row in read_rows(path, name, ("_id", "text")):
        place = f"{path}, line {number}"
        key = _cell(row, "_id", place)
        if key in seen:
            raise UserError(f"{place}: _id '{key[:60]}' occurs twice; give each its own")
        seen.add(key)
        yield key, passage_text(row, place)
    if not seen:
        raise UserError(f"{path} has no rows; give a file with some")


def passage_text(row: Row, place: str) -> str:
    """A row -> its title, where it has one, and its text."""
    text = _cell(row, "text", place, string_cell)
    title = string_cell(row, "title", place, "--data") if column_in(row, "title") and not is_missing(row["title"]) else ""
    return f"{title} {text}".strip()


def write_run(ranking: Ranking, name: str, path: Path) -> None:
    """A ranking as trec_eval reads it: query Q0 passage rank score name."""
    lines = [
        f"{query} Q0 {passage} {rank} {score:.9g} {name}\n"
        for query, found in ranking.items()
        for rank, (passage, score) in enumerate(found.items(), 1)
    ]
    atomic.write_text(path, "".join(lines))


# ---- measures ----


def measure(collection: Collection, ranking: Ranking) -> dict[str, np.ndarray]:
    """A ranking -> metric -> (Q,) values, in the order of the queries; 0 of a query for which nothing was found.

    A passage with the id of its query is left out, as in BEIR: in some data sets the queries are among the passages.

    Raises:
        UserError: ir-measures is not installed.
    """
    irm = require("ir_measures", "search")
    measures = {irm.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    # Scores that are equal would be sorted by id: the ranks decide.
    ranks = {
        query: {passage: -float(rank) for rank, passage in enumerate([name for name in found if name != query][:DEPTH])}
        for query, found in ranking.items()
    }
    relevant = {query: dict(grades) for query, grades in collection.relevant.items()}
    places = {query: place for place, query in enumerate(collection.queries)}
    values = {name: np.zeros(len(places)) for name in MEASURES}
    for found in irm.iter_calc(list(measures), relevant, ranks):
        values[measures[found.measure]][places[found.query_id]] = found.value
    return values


@dataclass(frozen=True, kw_only=True)
class System:
    """A way to search, measured."""

    name: str
    ranking: Ranking
    values: Mapping[str, np.ndarray]
    """Metric -> (Q,)."""

    def scores(self) -> dict[str, float]:
        """Metric -> mean over the queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def against(system: System, other: System, metric: str = MAIN, seed: int = 1) -> dict[str, Any]:
    """The difference of two systems on the same queries, its interval and p-value (paired bootstrap over queries)."""
    gains = system.values[metric] - other.values[metric]
    difference = float(gains.mean())
    found = resample(lambda drawn: gains[drawn].mean(axis=1), len(gains), num_resamples=NUM_RESAMPLES, seed=seed)
    facts = {"metric": metric, "other": other.name, "difference": difference, "interval": list(interval(found)), "confidence": CONFIDENCE}
    return facts | {"p_value": p_value(found, difference)}


def record(systems: Sequence[System]) -> dict[str, Any]:
    """Scores of all systems, and each one's difference to every earlier one."""
    pairs = [against(system, other) | {"system": system.name} for place, system in enumerate(systems) for other in systems[:place]]
    return {"num_queries": len(systems[0].values[MAIN]), "systems": {system.name: system.scores() for system in systems}, "differences": pairs}


def write_report(systems: Sequence[System], folder: Path) -> None:
    """report.json, report.md, and a ranking of each system in trec_eval's format."""
    with atomic.atomic_folder(folder) as made:
        atomic.write_text(made / "report.json", json.dumps(record(systems), indent=2) + "\n")
        names = [f"ranking-{place}.trec" for place, _ in enumerate(systems, 1)]
        listed = "".join(f"- {name}: {system.name}\n" for name, system in zip(names, systems, strict=True))
        atomic.write_text(made / "report.md", f"# Retrieval\n\n```\n{table(systems)}\n```\n\nRankings:\n\n{listed}")
        for name, system in zip(names, systems, strict=True):
            write_run(system.ranking, re.sub(r"\W+", "-", system.name), made / name)


def table(systems: Sequence[System]) -> str:
    """Lines of scores, each with the difference to the first system."""
    names = [system.name for system in systems]
    width = max(len(name) for name in [*names, "system"])
    lines = [f"{'system':<{width}}  " + "  ".join(f"{name:>10}" for name in MEASURES) + f"  {MAIN} - that of {names[0]} (95% interval)"]
    for place, system in enumerate(systems):
        line = f"{system.name:<{width}}  " + "  ".join(f"{value:>10.4f}" for value in system.scores().values())
        if place:
            found = against(system, systems[0])
            low, high = found["interval"]
            line += f"  {found['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(line)
    return "\n".join(lines)

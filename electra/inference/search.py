"""Queries -> the passages that answer them: by BM25, by vectors, and in the order of a re-ranker; hard negatives for training.

Passages have numbers, their places in the list that was given.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from electra import config
from electra.contracts import Example, Task
from electra.errors import UserError, require
from electra.inference.predictor import Predictor, load_for
from electra.inference.text_io import TextColumns, ranked_pair, read_texts
from electra.settings import EvaluateSettings, MineSettings
from electra.tasks.retrieval import DEPTH, Collection, System, is_collection, measure, read_collection
from electra.tasks.similarity import KINDS, SimilarityColumns, decode, kind_of, prepared, read_examples, similarities, texts_after
from electra.terminal import counted

Array = np.ndarray
Found = list[tuple[int, float]]
"""(passage, score), the best first."""

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_SCRIPT = re.compile(rf"[{_IDEOGRAPHS}]")
QUERIES_AT_A_TIME, PASSAGES_AT_A_TIME = 256, 65_536
"""Similarities held in memory at once: 64 MB."""
NEIGHBORS, EFFORT = 32, 128
"""Of the approximate index: links of each vector, and vectors looked at when it is built and searched (M, efConstruction, efSearch of HNSW)."""


HYBRID = "BM25 and vectors"
"""Name of the search by the sum of both."""

# ---- BM25 ----


@functools.cache
def _words() -> re.Pattern[str]:
    """Runs of ideographs, and runs of other letters and digits with their marks, such as vowel signs and accents of their own."""
    marks = [number for number in range(sys.maxunicode + 1) if unicodedata.category(chr(number)) in ("Mn", "Mc")]
    marks = [number for number in marks if not (0xFE00 <= number <= 0xFE0F or 0xE0100 <= number <= 0xE01EF)]  # they choose between emoji and text
    starts = [number for number in marks if number - 1 not in (known := set(marks))]
    ends = [number for number in marks if number + 1 not in known]
    ranges = "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in zip(starts, ends, strict=True))
    return re.compile(rf"[{_IDEOGRAPHS}]+|[^\W{_IDEOGRAPHS}](?:[^\W{_IDEOGRAPHS}]|[{ranges}])*")


def words(text: str) -> list[str]:
    """A text -> its words in lower case; of Chinese and Japanese characters, which have no spaces, every one and every two neighbors."""
    found: list[str] = []
    for word in _words().findall(unicodedata.normalize("NFC", text.lower())):
        if not _SCRIPT.match(word):
            found.append(word)
            continue
        found += [*word, *(word[i : i + 2] for i in range(len(word) - 1))]
    return found


class Bm25:
    """An index of words (Robertson and Zaragoza 2009; Lucene's variant with k1 1.5 and b 0.75, through bm25s)."""

    def __init__(self, passages: Iterable[str]) -> None:
        """Count the words of all passages.

        Raises:
            UserError: bm25s is not installed.
        """
        self.index = require("bm25s", "search").BM25()
        tokens = [words(passage) for passage in passages]
        self.size = len(tokens)
        self.index.index(tokens, show_progress=False)

    def search(self, queries: Sequence[str], top: int) -> Iterator[Found]:
        """Queries -> for each at most `top` passages; passages without a word of the query are left out."""
        top = min(top, self.size)
        for query in queries:
            tokens = words(query)
            if not tokens:
                yield []
                continue
            places, scores = self.index.retrieve([tokens], k=top, show_progress=False)
            yield [(int(place), float(score)) for place, score in zip(places[0], scores[0], strict=True) if score > 0]


# ---- vectors ----


class VectorIndex:
    """Vectors of passages, compared as the model's files say: exactly, in blocks, or approximately by a graph of neighbors (HNSW, through faiss)."""

    def __init__(self, vectors: Array, similarity: str = "cosine", *, approximate: bool = False) -> None:
        """Keep (N, D) float32 vectors.

        Raises:
            UserError: an approximate index of a similarity that it does not support, or faiss is not installed.
        """
        self.similarity = similarity
        self.vectors = self.prepared(vectors)
        self.graph: Any = None
        if approximate:
            if similarity == "manhattan":
                raise UserError("--approximate does not support the similarity 'manhattan' of this model; leave it out")
            faiss = require("faiss", "search")
            metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
            self.graph = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBORS, metric)
            self.graph.hnsw.efConstruction = self.graph.hnsw.efSearch = EFFORT
            self.graph.add(self.vectors)

    def prepared(self, vectors: Array) -> Array:
        """Vectors as they are compared."""
        return prepared(np.ascontiguousarray(vectors, dtype=np.float32), self.similarity)

    def search(self, queries: Array, top: int) -> Iterator[Found]:
        """(Q, D) vectors -> for each the `top` nearest passages with their similarities."""
        top = min(top, len(self.vectors))
        for start in range(0, len(queries), QUERIES_AT_A_TIME):
            rows = self.prepared(queries[start : start + QUERIES_AT_A_TIME])
            scores, places = self._nearest(rows, top) if self.graph is None else self._near(rows, top)
            for values, found in zip(scores, places, strict=True):
                yield [(int(place), float(value)) for place, value in zip(found, values, strict=True) if place >= 0]

    def _near(self, rows: Array, top: int) -> tuple[Array, Array]:
        scores, places = self.graph.search(rows, top)
        return (-np.sqrt(np.maximum(scores, 0)) if self.similarity == "euclidean" else scores), places

    def _nearest(self, rows: Array, top: int) -> tuple[Array, Array]:
        """The best of each block, and of those the best; of equal ones the first passage."""
        best, places = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64)
        for start in range(0, len(self.vectors), PASSAGES_AT_A_TIME):
            scores = self.similarities(rows, self.vectors[start : start + PASSAGES_AT_A_TIME])
            best = np.concatenate([best, scores], axis=1)
            places = np.concatenate([places, np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)], axis=1)
            if best.shape[1] > top:
                kept = np.sort(np.argpartition(-best, top - 1, axis=1)[:, :top], axis=1)
                best, places = np.take_along_axis(best, kept, 1), np.take_along_axis(places, kept, 1)
        order = np.argsort(-best, axis=1, kind="stable")
        return np.take_along_axis(best, order, 1), np.take_along_axis(places, order, 1)

    def similarities(self, rows: Array, passages: Array) -> Array:
        """(Q, D) and (N, D) prepared vectors -> (Q, N), the nearer the larger."""
        return similarities(rows, passages, self.similarity)


def vectors_of(model: Predictor, texts: Sequence[str], what: Literal["queries", "passages", "texts"]) -> Array:
    """N texts -> (N, D) float32, with the model's own prompt for such texts; without one, its default, as in sentence-transformers."""
    prompt = None if what == "texts" else model.modules.prompt_of("query" if what == "queries" else "document")
    return np.stack(list(counted(model.iterate_embeddings(texts, prompt_name=prompt), what)))


def fused(rankings: Sequence[Found], not_found: Sequence[float | None] = ()) -> Found:
    """Rankings of one query by several searches -> one, by the sum of their scores, each search's scaled to mean 0 and deviation 1.

    A passage that a search did not find has the lowest of its scores, or its number in `not_found`. Such a sum of scores is better than one of
    ranks (Bruch et al. 2023, 'An analysis of fusion functions for hybrid retrieval'; docs/log.md).
    """
    total = dict.fromkeys((place for row in rankings for place, _ in row), 0.0)
    for row, other in itertools.zip_longest(rankings, not_found[: len(rankings)]):
        if not row:
            continue
        if other is not None:
            row = list({**dict.fromkeys(total, other), **dict(row)}.items())
        values = np.array([score for _, score in row], np.float64)
        scaled = dict(zip((place for place, _ in row), (values - values.mean()) / max(values.std(), 1e-12), strict=True))
        least = min(scaled.values())
        for place in total:
            total[place] += float(scaled.get(place, least))
    return sorted(total.items(), key=lambda pair: -pair[1])


# ---- re-rankers ----


def relevances(model: Predictor, pairs: Iterable[tuple[str, str]]) -> Iterator[float]:
    """(query, passage) pairs -> how relevant each passage is, by the activation that the model's files name.

    Raises:
        UserError: the model is no re-ranker.
    """
    for answer in model.reranker().stream((ranked_pair(*pair) for pair in pairs), model.batch_size):
        yield float(str(answer.label))


def reranked(
    model: Predictor, queries: Sequence[str], passages: Sequence[str], rankings: Sequence[Sequence[Found]], candidates: int
) -> Iterator[list[Found]]:
    """Rankings of several searches -> the same, their first `candidates` in the order of the re-ranker. A pair that several have is scored once.

    The others follow as they were, with scores below.
    """
    asked = dict.fromkeys((query, place) for found in rankings for query, row in enumerate(found) for place, _ in row[:candidates])
    pairs = ((queries[query], passages[place]) for query, place in asked)
    scores = dict(zip(asked, counted(relevances(model, pairs), "pairs"), strict=True))
    for found in rankings:
        out = []
        for query, row in enumerate(found):
            first = sorted(((place, scores[query, place]) for place, _ in row[:candidates]), key=lambda pair: -pair[1])
            out.append(with_the_others(first, row[candidates:]))
        yield out


def with_the_others(first: Found, others: Found) -> Found:
    """A ranking, and after it others in their order, with scores below."""
    least = first[-1][1] if first else 0.0
    return first + [(place, least - rank) for rank, (place, _) in enumerate(others, 1)]


# ---- labelled texts ----


def scored_texts(model: Predictor, task: Task, examples: Sequence[Example]) -> dict[str, float]:
    """Labelled texts of the tasks embed and rerank -> the scores of a model's vectors, or of its relevances.

    Raises:
        UserError: texts without anything to score, or a model that is no re-ranker.
    """
    head = task.head(examples)
    texts = [texts_after(example) for example in examples]
    rows: list[Array]
    if task.name == "rerank":
        scores = relevances(model, ((example.text, text) for example, others in zip(examples, texts, strict=True) for text in others))
        rows = [np.array([next(scores) for _ in others]) for others in texts]
    else:
        if kind_of(examples) == "plain texts":
            raise UserError("these are texts alone, on which nothing can be scored; give pairs, scored pairs or texts with a label")
        # Scored pairs and texts with a label are no queries and passages: they have the model's default prompt.
        queries = kind_of(examples) not in ("scored pairs", "classes")
        first = vectors_of(model, [example.text for example in examples], "queries" if queries else "texts")
        other = (
            vectors_of(model, unique, "passages" if queries else "texts")
            if (unique := list(dict.fromkeys(text for others in texts for text in others)))
            else first[:0]
        )
        places = {text: place for place, text in enumerate(unique)}
        rows = [np.concatenate([vector[None], other[[places[text] for text in others]]]) for vector, others in zip(first, texts, strict=True)]
        return task.score(examples, decode(rows, [], examples, head, model.modules.similarity), head)
    return task.score(examples, task.decode(rows, [], examples, head), head)


# ---- hard negatives ----


def mined(settings: MineSettings) -> Iterator[dict[str, Any]]:
    """Pairs of a query and a relevant passage -> rows of the query, the passage and negatives: passages that are found for the query and are not
    its own; with a re-ranker also `scores`, of the passage and of each negative. A query with too few negatives has no row.

    Source: sentence-transformers' `mine_hard_negatives`, whose `range_min`, `range_max` and `relative_margin` are `skip`, `candidates` and
    `relative_margin`.

    Raises:
        UserError: files that cannot be read, or a margin without scores that can be compared.
    """
    margin = settings.relative_margin
    if settings.approximate and settings.model is None:
        raise UserError("--approximate is for vectors; add --model, or leave it out")
    if settings.num_negatives > settings.candidates:
        raise UserError(f"--num-negatives {settings.num_negatives} is above --candidates {settings.candidates}; raise that, or lower this")
    if margin is not None and settings.model is None and settings.reranker is None:
        raise UserError("--relative-margin compares scores of a model; add --model or --reranker")
    pairs, passages = _pairs_and_passages(settings)
    own: dict[str, dict[str, float]] = {}
    for query, passage in pairs:
        own.setdefault(query, {})[passage] = 0.0
    queries, top = list(own), settings.skip + settings.candidates + max(map(len, own.values()))
    if settings.model is None:
        found: Iterable[Found] = Bm25(passages).search(queries, top)
    else:
        model = load_for(settings, settings.model)
        index = VectorIndex(vectors_of(model, passages, "passages"), model.modules.similarity, approximate=settings.approximate)
        vectors, places = vectors_of(model, queries, "queries"), {passage: place for place, passage in enumerate(passages)}
        for vector, mine in zip(index.prepared(vectors), own.values(), strict=True):
            scores = index.similarities(vector[None], index.vectors[[places[passage] for passage in mine]])
            mine.update(zip(mine, scores[0].tolist(), strict=True))
        found = index.search(vectors, top)
    others = {
        query: [(passages[place], score) for place, score in ranking if passages[place] not in own[query] and passages[place] != query]
        for query, ranking in zip(queries, found, strict=True)
    }
    if settings.reranker is not None:
        ranker = load_for(settings, settings.reranker)
        asked = ((query, passage) for query in queries for passage in (*own[query], *(text for text, _ in others[query])))
        answers = counted(relevances(ranker, asked), "pairs")
        for query in queries:
            own[query] = {passage: next(answers) for passage in own[query]}
            others[query] = sorted(((passage, next(answers)) for passage, _ in others[query]), key=lambda pair: -pair[1])
    rng = np.random.default_rng(settings.seed)
    for query, passage in pairs:
        least, row = min(own[query].values()), others[query]
        if margin is not None:
            row = [(text, score) for text, score in row if score <= least - margin * abs(least)]
        row = row[settings.skip :][: settings.candidates]
        if len(row) < settings.num_negatives:
            continue
        chosen = row[: settings.num_negatives]
        if settings.sampling == "random":
            chosen = [row[i] for i in sorted(rng.choice(len(row), settings.num_negatives, replace=False))]
        scored = {"scores": [own[query][passage], *(score for _, score in chosen)]} if settings.reranker is not None else {}
        yield {"query": query, "passage": passage, "negatives": [text for text, _ in chosen], **scored}


def _pairs_and_passages(settings: MineSettings) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs of a table or a collection, and all different passages."""
    place = Path(settings.file)
    if is_collection(place):
        if settings.passages is not None or settings.text_columns:
            raise UserError(f"{place} is a collection with passages of its own; leave --passages and --text-columns out")
        collection = read_collection(place, settings.split)
        relevant = collection.relevant.items()
        pairs = [(collection.queries[q], collection.passages[p]) for q, grades in relevant for p, grade in grades.items() if grade > 0]
        return list(dict.fromkeys(pairs)), list(dict.fromkeys(collection.passages.values()))
    if "split" in config.given(settings):
        raise UserError(f"--split {settings.split} is for a folder in BEIR's layout; {place} is none: leave it out")
    examples = list(read_examples(place, SimilarityColumns(texts=settings.text_columns), "train"))
    if (kind := kind_of(examples)) not in ("pairs", "triplets"):
        raise UserError(f"{place} holds {KINDS[kind][1]}; expected pairs, a query and a relevant passage: choose two columns by --text-columns")
    pairs = list(dict.fromkeys((example.text, str(example.text_pair)) for example in examples))
    more = [] if settings.passages is None else [text.text for text in read_texts(settings.passages, TextColumns(), pairs=False)]
    return pairs, list(dict.fromkeys([*(passage for _, passage in pairs), *more]))


# ---- a collection, searched in every way ----


def searched(settings: EvaluateSettings, model: Predictor, collection: Collection) -> list[System]:
    """BM25, the model's vectors, both together, and each in the order of a re-ranker, measured on the same queries.

    A re-ranker as the model is measured on the passages that BM25 finds.

    Raises:
        UserError: a second re-ranker, or `--approximate` without vectors.
    """
    ranker = model if model.is_reranker else None
    if settings.reranker is not None:
        if ranker is not None:
            raise UserError(f"--reranker {settings.reranker}: {model.name} is a re-ranker itself; give a model of vectors, or leave this out")
        ranker = load_for(settings, settings.reranker)
        ranker.reranker()
    if ranker is None and "candidates" in config.given(settings):
        raise UserError(f"--candidates {settings.candidates} has no effect without a re-ranker; add --reranker, or leave it out")
    if ranker is None and settings.fuse:
        raise UserError("--fuse adds the scores of the search to those of a re-ranker; add --reranker, or leave it out")
    if ranker is model and settings.approximate:
        raise UserError(f"--approximate is for vectors; {model.name} is a re-ranker: leave it out")
    names, passages, queries = list(collection.passages), list(collection.passages.values()), list(collection.queries.values())
    top = max(DEPTH, settings.candidates) + 1  # a passage may have the id of its query, and is left out
    rankings: dict[str, list[Found]] = {"BM25": list(Bm25(passages).search(queries, top))}
    if ranker is not model:
        index = VectorIndex(vectors_of(model, passages, "passages"), model.modules.similarity, approximate=settings.approximate)
        rankings[model.name] = list(index.search(vectors_of(model, queries, "queries"), top))
        # A passage without a word of the query has the BM25 score 0; where all that have one were found, these are all others.
        pairs = zip(rankings["BM25"], rankings[model.name], strict=True)
        rankings[HYBRID] = [fused(both, (0.0 if len(both[0]) < min(top, len(passages)) else None,))[:top] for both in pairs]
    if ranker is not None:
        first, count = dict(rankings), settings.candidates
        ordered = dict(zip(first, reranked(ranker, queries, passages, list(first.values()), count), strict=True))
        rankings |= {f"{name} + {ranker.name}": found for name, found in ordered.items()}
        for name, rows in first.items() if settings.fuse else ():
            both = zip(rows, ordered[name], strict=True)
            rankings[f"{name} + {ranker.name}, fused"] = [with_the_others(fused([row[:count], new[:count]]), row[count:]) for row, new in both]
    systems = []
    for name, found in rankings.items():
        ranking = {query: {names[place]: score for place, score in row} for query, row in zip(collection.queries, found, strict=True)}
        systems.append(System(name=name, ranking=ranking, values=measure(collection, ranking)))
    return systems

"""The tasks 'embed' and 'rerank': tables of texts that are similar or not -> examples, features, rankings and their scores.

A table's columns say what it is, as in sentence-transformers: 'label', 'labels', 'score' or 'scores' is the label, all others are texts in the
order of the table. Columns of numbers or of ids are refused, not read as texts.

    two texts                      pairs             every first text's own second text is to be found among all
    three texts or more            triplets          the same, with negatives; a list of texts in a column is one text for each
    two texts and a number         scored pairs      the number is their similarity
    three or more, and numbers     scored triplets   a teacher's scores of the second text and of each negative, or how much the second is above each
    one text and a label           classes           texts of one label are similar
    one text                       plain texts       a text is similar to itself under other dropout (SimCSE)

A list in the second column of three, or in one named 'pos', 'positive' or 'positives', has several texts that are similar to the first, as in
FlagEmbedding's files: each makes an example with the negatives. A list of zeros and ones in 'label' or 'labels' says of each text after the first
whether it is similar.

A re-ranker reads a query and a passage together: it learns from scored pairs (the number is the relevance), from triplets or from scored triplets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, Task, TaskTokenizer
from electra.data.tables import Row, cell, column_in, is_missing, numbered_lines, read_rows, string_cell, table_format, text_cell
from electra.errors import UserError, parse_json
from electra.tasks import metrics
from electra.tasks.custom import items_of, label_name, split_file
from electra.tasks.text_tasks import fit, number
from electra.terminal import say

LABELS = ("label", "labels", "score", "scores")
"""Columns that are no text."""
KINDS = {
    "pairs": ("mrr@10", "pairs of texts"),
    "triplets": ("mrr@10", "texts with a similar one and negatives"),
    "scored triplets": ("mrr@10", "texts with a similar one, negatives and a teacher's scores"),
    "scored pairs": ("spearman", "pairs of texts with their similarity"),
    "classes": ("nearest_neighbor_accuracy", "texts with a label"),
    "plain texts": ("mrr@10", "texts alone"),
}
"""Kind of data -> main metric on such dev data, description."""
FLAG_EMBEDDING = ("query", "pos", "neg")
"""Columns of FlagEmbedding's files; others there are instructions."""
POSITIVES = ("pos", "positive", "positives")
"""Names of a column whose list has texts that are all similar to the first."""
_ID = re.compile(r"_*(?:.*[_ -])?(?:id|ids|idx|index|guid|uuid|pid|qid|docid)\d*", re.IGNORECASE)
"""Names of columns that hold no texts."""
CHECKED_ROWS = 20
LONGEST_NAME, MOST_WORDS = 60, 4
"""Of a column; a longer one is a text, in a file without a line of names."""
NLI = {"entailment": "0", "neutral": "1", "contradiction": "2"}
"""Classes of natural language inference, and their numbers in SNLI, MNLI and sentence-transformers' all-nli (there for a SoftmaxLoss)."""
NLI_REMEDY = "of NLI give the similarities 1, 0.5 and 0 as a column 'score' in its place, or columns anchor, positive, negative"
NLI_COLUMNS = {("premise", "hypothesis"): frozenset("012"), ("sentence1", "sentence2"): frozenset("2")}
"""Columns of NLI data -> labels of which one shows that all are classes: sentence1 and sentence2 with 0 and 1 alone may be paraphrases."""
CUTOFF = 10
BLOCK = 256
"""Texts whose similarities to all others are held at once."""


@dataclass(frozen=True, kw_only=True)
class SimilarityColumns:
    """Names of the columns."""

    texts: Sequence[str] = ()
    """Empty: all but the label's and those without a name, in their order."""
    label: str = LABELS[0]
    """Or one of LABELS."""

    def of(self, row: Row, place: str) -> tuple[list[str], str | None]:
        """A row -> columns of texts, column of the label or None.

        Raises:
            UserError: a column that is named and not there, or no text.
        """
        label = next((name for name in (self.label, *LABELS) if column_in(row, name)), None)
        if label is None and self.label != LABELS[0]:
            cell(row, self.label, place, "--label")
        # pandas' index, written with a table, is no text.
        texts = [*self.texts] or [name for name in row if name not in (label, *LABELS) and not re.fullmatch(r"Unnamed: \d+", name)]
        if not texts:
            raise UserError(f"{place}: no column of texts (columns: {', '.join(row)[:200]}); name it by --text-columns")
        if not self.texts and set(FLAG_EMBEDDING) <= set(row):
            if "pos_scores" in row:
                raise UserError(f"{place}: 'pos_scores' and 'neg_scores' are not read; remove them, or give a list 'scores' of all passages")
            texts = [*FLAG_EMBEDDING]
        return texts, label


def embedding_task(columns: SimilarityColumns, files: Mapping[str, Path] | None = None) -> Task:
    """Columns, and the file of each split (default: train.*, dev.* in the folder given to `read`) -> Task.

    Its main metric is that of pairs until `with_metric`.
    """

    def read(data: Path, split: str) -> list[Example]:
        return list(read_examples(split_file(Path(data), split, files=files), columns, split))

    return Task(
        name="embed",
        description="sentence vectors from your pairs, triplets, scored pairs, labels or plain texts",
        read=read,
        featurize=featurize,
        head=find_head,
        decode=decode,
        score=score,
        main_metric="mrr@10",
    )


def reranking_task(columns: SimilarityColumns, files: Mapping[str, Path] | None = None) -> Task:
    """The same of a cross-encoder."""
    embedding = embedding_task(columns, files)
    return dataclasses.replace(
        embedding,
        name="rerank",
        description="the relevance of a passage to a query, from your scored pairs or queries with passages and negatives",
        featurize=featurize_pairs,
        head=ranking_head,
        decode=decode_scores,
        score=score_rankings,
        main_metric="ndcg@10",
    )


def kind_of(examples: Sequence[Example]) -> str:
    """The kind of data that examples are; a key of KINDS."""
    first = examples[0]
    if first.text_pair is None:
        return "plain texts" if first.label is None else "classes"
    if first.negatives:
        return "scored triplets" if first.scores else "triplets"
    return "pairs" if first.label is None else "scored pairs"


def with_metric(task: Task, dev: Sequence[Example]) -> Task:
    """The task with the main metric of its dev data."""
    return dataclasses.replace(task, main_metric=KINDS[kind_of(dev)][0]) if task.name == "embed" else task


def find_head(examples: Sequence[Example]) -> Head:
    """Vectors; the labels of classes, in sorted order, are numbers for the loss."""
    labels = sorted({str(example.label) for example in examples}) if kind_of(examples) == "classes" else []
    if len(labels) == 1:
        raise UserError(f"every training text has the label '{labels[0]}'; similar and other texts need at least two labels")
    return Head(kind="embedding", labels=tuple(labels))


def ranking_head(examples: Sequence[Example]) -> Head:
    """One number.

    Raises:
        UserError: data without passages that are not relevant, or a relevance outside of 0 to 1.
    """
    kind = kind_of(examples)
    if kind not in ("triplets", "scored triplets", "scored pairs"):
        remedy = "add a column of negatives, or of the relevance (1 or 0) of each pair"
        raise UserError(f"a re-ranker cannot learn from {KINDS[kind][1]}, which say of no passage that it is not relevant; {remedy}")
    relevances = [float(str(example.label)) for example in examples] if kind == "scored pairs" else [0.0, 1.0]
    if not 0 <= min(relevances) < max(relevances) <= 1:
        found = f"the relevances are from {min(relevances):g} to {max(relevances):g}"
        raise UserError(f"{found}; expected numbers from 0 to 1, of both relevant and other passages")
    return Head(kind="ranking")


# ---- files ----


def read_examples(path: Path, columns: SimilarityColumns, split: str) -> Iterator[Example]:
    """A table, or a file with a text per line -> examples, all with the same number of texts.

    Raises:
        UserError: a row that cannot be read, without a text, or with another number of texts than the first.
    """
    wanted: int | None = None
    found = 0
    for place, texts, label in _rows(path, columns, split):
        if wanted is None:
            wanted = len(texts)
        if len(texts) != wanted:
            raise UserError(f"{place}: {len(texts)} texts, the first row has {wanted}; give every row the same number of negatives")
        if empty := [i for i, text in enumerate(texts, 1) if not text.strip()]:
            raise UserError(f"{place}: text {empty[0]} of the row is empty; fill it in or remove the row")
        example = Example(id=f"{split}-{found}", text=texts[0], text_pair=texts[1] if len(texts) > 1 else None, negatives=tuple(texts[2:]))
        if len(texts) > 2 and label is not None:
            example = dataclasses.replace(example, scores=_scores(label, len(texts) - 2, place))
        elif len(texts) == 2 and label is not None:
            value = _one(label, place)
            remedy = NLI_REMEDY if value in NLI else "give the similarity of the two texts as a number"
            example = dataclasses.replace(example, label=number(value, place, remedy))
        elif label is not None:
            example = dataclasses.replace(example, label=_one(label, place))
        yield example
        found += 1
    if not found:
        raise UserError(f"{path} has no examples; give a file with some")


def _scores(value: Any, negatives: int, place: str) -> tuple[float, ...]:
    """A teacher's scores of the second text and of each negative; of the differences, the second's less each negative's, 0 and their opposites."""
    remedy = f"give {negatives + 1} scores, of the second text and of each negative, or the differences of the second's and each negative's"
    with contextlib.suppress(ValueError):  # a list in a cell of csv
        value = parse_json(value) if isinstance(value, str) and value.startswith("[") else value
    items = value if isinstance(value, list) else [value]
    found = tuple(number(str(item), place, remedy) for item in items)
    if len(found) not in (negatives, negatives + 1):
        raise UserError(f"{place}: {len(found)} scores and {negatives} negatives; {remedy}")
    return found if len(found) == negatives + 1 else (0.0, *(-value for value in found))


def _one(value: Any, place: str) -> str:
    """The label of a text or a pair."""
    return text_cell({"label": value}, "label", place, "--label").strip()


def _rows(path: Path, columns: SimilarityColumns, split: str) -> Iterator[tuple[str, list[str], Any]]:
    """(place, texts, label) of every row."""
    if table_format(path) is None and path.is_file():
        for line, text in numbered_lines(path):
            if text.strip():
                yield f"{path}, line {line}", [text.strip()], None
        return
    rows = read_rows(path, f"the {split} file")
    first = [*itertools.islice(rows, CHECKED_ROWS)]
    if not first:
        return
    texts, label = columns.of(first[0][1], f"{path}, line {first[0][0]}")
    if not columns.texts:
        _check_names(path, texts)
        _check_cells(path, [row for _, row in first], texts)
    lists = [items_of(row.get(label)) for _, row in first if label in LABELS[:2]]
    are_relevances = bool(lists) and all(items and all(item in (0, 1) for item in items) for items in lists)
    if split == "train":
        roles = [f"first text '{texts[0]}'", *([f"similar '{texts[1]}'"] if texts[1:] else [])]
        roles += ([f"negatives '{', '.join(texts[2:])}'"] if texts[2:] else []) + ([f"label '{label}'"] if label else [])
        say(f"{path.name}: columns: {', '.join(roles)}")
    values = set[str]()
    for line, row in itertools.chain(first, rows):
        place = f"{path}, line {line}"
        if label is not None and len(values) <= len(NLI) + 1:
            values.add(label_name(row.get(label)))
        yield from ((place, *found) for found in _of_row(row, texts, label, place, are_relevances))
    _check_no_classes(path, texts, label, values)


def _check_no_classes(path: Path, texts: Sequence[str], label: str | None, values: Collection[str]) -> None:
    """Check that the labels of pairs are no classes of NLI, which would be learned as similarities, contradiction as the largest.

    Raises:
        UserError: by the names of the columns and all values of the label they may be.
    """
    shown_by = next((found for names, found in NLI_COLUMNS.items() if names == tuple(map(str.lower, texts))), frozenset())
    if label in LABELS[:2] and shown_by & set(values) and set(values) <= {"-1", *NLI.values()}:
        classes = ", ".join(f"{index} {name}" for name, index in NLI.items())
        found = f"column '{label}' holds {', '.join(sorted(values))} alone, which may be classes ({classes}), not similarities"
        raise UserError(f"{path}: {found}; {NLI_REMEDY}; similarities of any size: name their column 'score'")


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Check that the names of columns are no texts of a first row.

    Raises:
        UserError: the file has no line of names.
    """
    if table_format(path) in ("csv", "tsv"):
        long = [name for name in names if len(name) > LONGEST_NAME or len(name.split()) > MOST_WORDS]
        odd = next(filter(_is_number, names), long[0] if len(long) == len(names) else None)
        if odd is not None:
            remedy = "add a line of names, such as query, positive, negative"
            raise UserError(f"{path}: the first line names the columns, and '{odd[:60]}' is no name; {remedy}")


def _check_cells(path: Path, rows: Sequence[Row], texts: Sequence[str]) -> None:
    """Check that no column of texts that was not named holds numbers, or ids, alone.

    Raises:
        UserError: one does.
    """
    for name in texts:
        cells = [row.get(name) for row in rows]
        if all(isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)) for value in cells):
            remedy = f"name the columns of texts by --text-columns; a similarity or relevance by --label {name}"
            raise UserError(f"{path}: column '{name}' holds numbers ({cells[0]}), not texts; {remedy}")
        if _ID.fullmatch(name) and all(isinstance(value, str) and not re.search(r"\s", value) for value in cells):
            raise UserError(f"{path}: column '{name}' holds ids ({cells[0]!r:.40}), not texts; name the columns of texts by --text-columns")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _of_row(row: Row, names: Sequence[str], label: str | None, place: str, are_relevances: bool) -> Iterator[tuple[list[str], Any]]:
    """A row -> (texts, label) of each of its examples: one, or one for each of several texts that are similar to the first.

    `are_relevances`: whether lists of labels say which texts are similar; else they are a teacher's scores.

    Raises:
        UserError: a list that may be of similar texts or of others.
    """
    parts = [_texts(row, name, place) for name in names]
    every = [text for part in parts for text in part]
    value = None if label is None else cell(row, label, place, "--label")
    lists = len(parts) > 1 and len(parts[0]) == 1
    if len(parts) > 1 and not parts[1]:
        raise UserError(f"{place}: column '{names[1]}' is an empty list, expected texts that are similar to the first; remove the row")
    if lists and are_relevances:
        relevant = _relevant(value, len(every) - 1, place)
        after = [*zip(every[1:], relevant, strict=True)]
        negatives = [text for text, is_relevant in after if not is_relevant]
        yield from (([every[0], text, *negatives], None) for text, is_relevant in after if is_relevant)
    elif lists and len(parts[1]) > 1 and not isinstance(value, list):
        if value is not None or (len(parts) == 2 and names[1].lower() not in POSITIVES):
            remedy = "give the similar texts in 'positive' and the others in 'negative', or 'labels' with a 1 or 0 for each"
            raise UserError(f"{place}: column '{names[1]}' holds {len(parts[1])} texts, and nothing says which are similar to the first; {remedy}")
        yield from (([every[0], text, *every[1 + len(parts[1]) :]], None) for text in parts[1])
    else:
        yield every, value


def _relevant(value: Any, number: int, place: str) -> list[bool]:
    """A list of zeros and ones -> whether each text is relevant.

    Raises:
        UserError: it is none, is of another length, or no text is relevant.
    """
    items = items_of(value)
    if not items or any(item not in (0, 1) for item in items):
        raise UserError(f"{place}: {value!r:.60}, where the rows before have a 1 or 0 for each text; a teacher's scores belong in a column 'scores'")
    if len(items) != number:
        raise UserError(f"{place}: {len(items)} labels and {number} texts after the first; give a 1 or 0 for each")
    if not any(items):
        raise UserError(f"{place}: no text has the label 1; remove the row")
    return [bool(item) for item in items]


def _texts(row: Row, name: str, place: str) -> list[str]:
    """The text of a column, or all of a list, also of one that is written in a cell of csv."""
    value: Any = cell(row, name, place, "--text-columns")
    found = items_of(value)
    if found is not None and all(isinstance(item, str) for item in found):
        value = found
    if not isinstance(value, list):
        return [string_cell(row, name, place, "--text-columns")]
    if wrong := [item for item in value if not isinstance(item, str) or is_missing(item)]:
        raise UserError(
            f"{place}: column '{name}' holds {wrong[0]!r:.60} in its list, expected texts; correct the row, or choose columns by --text-columns"
        )
    return value


# ---- features ----


def featurize(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, prompts: Sequence[str] = ("", "")
) -> list[Features]:
    """Examples -> [CLS] text [SEP] of each of their texts, cut to `max_length` tokens.

    `prompts` are put before first texts and before all others.
    """
    rows: list[list[Features]] = [[] for _ in examples]
    texts = [(i, text) for i, example in enumerate(examples) for text in (example.text, *texts_after(example))]
    seen = [False] * len(examples)
    prompted = []
    for i, text in texts:
        prompted.append(prompts[seen[i]] + text)
        seen[i] = True
    for (i, _), ids in zip(texts, tokenizer.encode(prompted), strict=True):
        kept, segments = tokenizer.wrap(ids[: max_length - 2])
        rows[i].append(Features(ids=kept, segments=segments, example=i))
    return [dataclasses.replace(row[0], others=row[1:], label=_target(example, head)) for row, example in zip(rows, examples, strict=True)]


def texts_after(example: Example) -> tuple[str, ...]:
    """The texts that an example's first is compared with: of a text alone the same one again."""
    if example.text_pair is None:
        return (example.text,) if example.label is None else ()
    return (example.text_pair, *example.negatives)


def _target(example: Example, head: Head) -> int | float | None:
    if example.label is None:
        return None
    if isinstance(example.label, float):
        return example.label
    return head.labels.index(str(example.label)) if str(example.label) in head.labels else -1


def featurize_pairs(examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head) -> list[Features]:
    """Examples -> [CLS] query [SEP] passage [SEP] of each of their passages; of what is too long the longer text is cut, as sentence-transformers
    does.
    """
    queries = tokenizer.encode([example.text for example in examples])
    passages = iter(tokenizer.encode([text for example in examples for text in texts_after(example)]))
    rows = []
    for i, (example, query) in enumerate(zip(examples, queries, strict=True)):
        row = []
        for _ in texts_after(example):
            ((ids, segments, _),) = fit(query, next(passages), tokenizer, max_length, "longest-first")
            row.append(Features(ids=ids, segments=segments, example=i))
        label = None if example.label is None else float(str(example.label))
        rows.append(dataclasses.replace(row[0], others=row[1:], label=label, soft_targets=example.scores or None))
    return rows


# ---- vectors -> rankings -> scores ----


def prepared(vectors: np.ndarray, similarity: str) -> np.ndarray:
    """(..., D) vectors as they are compared: for the cosine, of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12) if similarity == "cosine" else vectors


def similarities(rows: np.ndarray, others: np.ndarray, similarity: str) -> np.ndarray:
    """(Q, D) and (N, D) prepared vectors -> (Q, N), the nearer the larger: 'cosine', 'dot', 'euclidean' or 'manhattan' of sentence-transformers."""
    if similarity in ("cosine", "dot"):
        return rows @ others.T
    order = 1 if similarity == "manhattan" else 2
    return -np.stack([np.linalg.norm(others - row, ord=order, axis=1) for row in rows])


def decode(
    outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, similarity: str = "cosine"
) -> list[Prediction]:
    """(group, D) vectors of each example -> a number for each: the similarity of a scored pair, the label of a text's nearest other text, or the
    place, from 1, of the own second text among all texts that are not first ones.
    """
    vectors = prepared(np.stack(outputs).astype(np.float64), similarity)
    kind = kind_of(examples)
    if kind == "scored pairs":
        return [Prediction(label=float(similarities(first[None], second[None], similarity)[0, 0])) for first, second in vectors]
    if kind == "classes":
        return [Prediction(label=str(examples[i].label)) for i in _nearest_other(vectors[:, 0], similarity)]
    return [Prediction(label=float(place)) for place in _places(vectors, examples, similarity)]


def _nearest_other(vectors: np.ndarray, similarity: str) -> list[int]:
    """(N, D) -> the index of each one's nearest other; the first of equals."""
    found: list[int] = []
    for start in range(0, len(vectors), BLOCK):
        near = similarities(vectors[start : start + BLOCK], vectors, similarity)
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        found += near.argmax(1).tolist()
    return found


def _places(vectors: np.ndarray, examples: Sequence[Example], similarity: str) -> list[int]:
    """The place of each example's own second text; texts that are similar to the same first text, and the first text itself, do not count."""
    numbers: dict[str, int] = {}
    for example in examples:
        for text in texts_after(example):
            numbers.setdefault(text, len(numbers))
    candidates = np.zeros((len(numbers), vectors.shape[-1]))
    similar: dict[str, set[int]] = {}
    for rows, example in zip(vectors, examples, strict=True):
        places = [numbers[text] for text in texts_after(example)]
        candidates[places] = rows[1:]
        similar.setdefault(example.text, set()).add(places[0])
    found = []
    for start in range(0, len(examples), BLOCK):
        scores = similarities(vectors[start : start + BLOCK, 0], candidates, similarity)
        for row, example in zip(scores, examples[start : start + BLOCK], strict=True):
            own = numbers[texts_after(example)[0]]
            value = row[own]
            row[[*similar[example.text]]] = -np.inf
            if example.text_pair is not None and example.text in numbers:
                row[numbers[example.text]] = -np.inf
            # A tie is counted against the model: equal vectors find nothing.
            found.append(1 + int((row >= value).sum()))
    return found


def score(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """The numbers of `decode` -> Spearman and Pearson correlations of scored pairs, the share of texts whose nearest neighbour has their label, or
    of the places the mean reciprocal rank and nDCG at 10 (one relevant text a query) and the shares of first places and of the first ten.
    """
    kind = kind_of(examples)
    if kind == "scored pairs":
        gold, found = ([float(str(item.label)) for item in items] for items in (examples, predictions))
        return {"spearman": metrics.spearman(gold, found), "pearson": metrics.pearson(gold, found)}
    if kind == "classes":
        return {"nearest_neighbor_accuracy": metrics.accuracy([str(e.label) for e in examples], [str(p.label) for p in predictions])}
    places = [int(float(str(prediction.label))) for prediction in predictions]
    near = [place if place <= CUTOFF else math.inf for place in places]
    mean = {
        "mrr@10": [1 / place for place in near],
        "ndcg@10": [1 / math.log2(1 + place) if place <= CUTOFF else 0.0 for place in near],
        "accuracy@1": [float(place == 1) for place in places],
        "recall@10": [float(place <= CUTOFF) for place in places],
    }
    return {name: float(np.mean(values)) for name, values in mean.items()}


def decode_scores(outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head) -> list[Prediction]:
    """(1,) logits of a pair, or (group, 1) of an example with negatives -> the first's logit, and of all in their order."""
    scores = [output.reshape(-1).tolist() for output in outputs]
    return [Prediction(label=row[0], probabilities={str(place): value for place, value in enumerate(row)}) for row in scores]


def score_rankings(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Each query's own passages, ranked by the model -> means over queries with a relevant one: nDCG and reciprocal rank at 10, average precision.

    A passage is relevant where its relevance is above zero; the gain of nDCG is the relevance. Of equal scores the least relevant comes first.
    A passage that several rows of a query have counts once, with its highest relevance.
    """
    passages: dict[str, dict[str, tuple[float, float]]] = {}
    for example, prediction in zip(examples, predictions, strict=True):
        relevances = [float(str(example.label))] if example.label is not None else [1.0] + [0.0] * len(example.negatives)
        known = passages.setdefault(example.text, {})
        for text, scored, relevance in zip(texts_after(example), prediction.probabilities.values(), relevances, strict=True):
            known[text] = (scored, max(relevance, known[text][1] if text in known else 0.0))
    rankings = {query: [*known.values()] for query, known in passages.items()}
    found: dict[str, list[float]] = {"ndcg@10": [], "mrr@10": [], "map": []}
    for ranking in rankings.values():
        order = [relevance for _, relevance in sorted(ranking, key=lambda pair: (-pair[0], pair[1]))]
        if places := [place for place, relevance in enumerate(order, 1) if relevance > 0]:
            found["ndcg@10"].append(_gain(order) / _gain(sorted(order, reverse=True)))
            found["mrr@10"].append(1 / places[0] if places[0] <= CUTOFF else 0.0)
            found["map"].append(sum(count / place for count, place in enumerate(places, 1)) / len(places))
    if not found["map"]:
        raise UserError("no query of the dev set has a relevant passage; give a dev file with some")
    return {name: float(np.mean(values)) for name, values in found.items()}


def _gain(order: Sequence[float]) -> float:
    return sum(relevance / math.log2(1 + place) for place, relevance in enumerate(order[:CUTOFF], 1))


EMBED = embedding_task(SimilarityColumns())
RERANK = reranking_task(SimilarityColumns())

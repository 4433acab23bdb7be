"""Warnings printed before fine-tuning and evaluation: head, label and data problems, contamination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from electra.contracts import Example, Head, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import UnknownWords, at_start
from electra.storage.resolve import architecture_in
from electra.terminal import say

NGRAM = 13
"""Tokens of an n-gram that is not shared by chance: 13, as in GPT-3's contamination study (Brown et al. 2020, appendix C)."""
EXAMPLES_READ = 10_000
REPORTED_TOGETHER = 128
"""Texts whose unknown tokens are counted at once."""
CHUNK_TOKENS = 4_000_000
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def text_key(example: Example) -> tuple[str, ...]:
    """An example's texts with case and white space normalized: equal for duplicates."""
    texts = example.words if example.words is not None else (example.text, example.text_pair or "")
    return tuple(" ".join(text.casefold().split()) for text in texts)


def warnings(train: Sequence[Example], dev: Sequence[Example], head: Head) -> list[str]:
    """One line for each problem of the data that affects the score."""
    lines = []
    seen = {text_key(example) for example in train}
    if shared := [example.id for example in dev if text_key(example) in seen]:
        lines.append(f"{len(shared):,} of {len(dev):,} dev examples are also in the training set ({_first(shared)}): the score is optimistic")
    for name, examples in (("training", train), ("dev", dev)):
        if twice := [key for key, count in Counter(example.id for example in examples).items() if count > 1]:
            lines.append(f"{len(twice):,} ids occur more than once in the {name} set ({_first(twice)}): predictions cannot be matched by id")
        if empty := [example.id for example in examples if not any(text_key(example))]:
            lines.append(f"{len(empty):,} of {len(examples):,} {name} examples have empty texts ({_first(empty)})")
    if head.kind == "classification":
        labels = Counter(str(example.label) for example in dev)
        if len(labels) == 1 and len(head.labels) > 1:
            lines.append(f"all {len(dev):,} dev examples are labelled '{next(iter(labels))}': the score does not cover the other classes")
        conflicts = _conflicts(train)
        if conflicts:
            lines.append(f"{len(conflicts):,} training texts have different labels in different rows ({_first(conflicts)})")
    return lines


def _conflicts(train: Sequence[Example]) -> list[str]:
    labels: dict[tuple[str, ...], set[str]] = {}
    first: dict[tuple[str, ...], str] = {}
    for example in train:
        key = text_key(example)
        labels.setdefault(key, set()).add(str(example.label))
        first.setdefault(key, example.id)
    return [first[key] for key, found in labels.items() if len(found) > 1]


def _first(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")


def unknown_lines(sets: Mapping[str, Sequence[Example]], tokenizer: Tokenizer) -> list[str]:
    """Sets of examples by name ('': no name) -> the unknown tokens of each, in lines; of a large set, in EXAMPLES_READ examples spread evenly."""
    lines = []
    for name, examples in sets.items():
        unknown = UnknownWords(tokenizer)
        chosen = examples[:: 1 + len(examples) // EXAMPLES_READ] if name else examples
        unknown.add([text for example in chosen for text in (example.words or (example.text, example.text_pair)) if text])
        where = f"{name}{f' ({len(chosen):,} of {len(examples):,} examples)' if len(chosen) < len(examples) else ''}: " if name else ""
        lines += [at_start(where, line) for line in unknown.lines()]
    return lines


class OneOrTwoTexts(Protocol):
    """An input of a model (see `electra.inference.text_io.Text`)."""

    @property
    def text(self) -> str: ...
    @property
    def pair(self) -> str | None: ...


T = TypeVar("T", bound=OneOrTwoTexts)


def reporting(items: Iterable[T], tokenizer: Tokenizer) -> Iterator[T]:
    """The same texts; after the last the share of their tokens that are unknown, and which words, on standard error."""
    unknown, waiting = UnknownWords(tokenizer), list[str]()
    for item in items:
        waiting += [item.text, item.pair or ""]
        if len(waiting) >= REPORTED_TOGETHER:
            unknown.add(waiting)
            waiting = []
        yield item
    unknown.add(waiting)
    for line in unknown.lines():
        say(line)


def in_pretraining(dev: Sequence[Example], folders: Sequence[Path]) -> str | None:
    """Contamination check: dev examples and the tokenized data a model was pre-trained on -> a line with the number that share an n-gram; None: none.

    Texts are encoded by each dataset's own tokenizer; texts shorter than NGRAM are not counted.

    Raises:
        UserError: not tokenized data, or damaged.
    """
    from electra.data.shards import open_shards

    found: set[str] = set()
    long_enough: set[str] = set()
    for folder in folders:
        shards = open_shards(folder)
        ngrams = dev_ngrams(dev, shards.tokenizer_path)
        long_enough |= {example for examples in ngrams.values() for example in examples}
        wanted = np.array(sorted(ngrams), dtype=np.uint64)
        for hashes in ngram_hashes(shards.train.ids):
            found |= {example for value in np.unique(hashes[_isin(hashes, wanted)]).tolist() for example in ngrams[value]}
    if not found:
        return None
    share = f"{len(found):,} of {len(dev):,} dev examples ({len(long_enough):,} are long enough to check)"
    return f"{share} share a {NGRAM}-token n-gram with the pre-training text ({_first(sorted(found))}): the score may be optimistic"


def dev_ngrams(dev: Sequence[Example], tokenizer: Path) -> Mapping[int, list[str]]:
    """Hash of every n-gram -> the ids of the examples that contain it."""
    opened = load_tokenizer(tokenizer)
    texts = [(example.id, text) for example in dev for text in (example.text, example.text_pair) if text]
    ngrams: dict[int, list[str]] = {}
    for (name, _), ids in zip(texts, opened.encode([text for _, text in texts]), strict=True):
        if len(ids) >= NGRAM:
            for value in set(next(ngram_hashes(np.asarray(ids))).tolist()):
                ngrams.setdefault(value, []).append(name)
    return ngrams


def ngram_hashes(ids: np.ndarray) -> Iterator[np.ndarray]:
    """(T,) ids -> hashes of every NGRAM consecutive ids, some millions at a time."""
    for start in range(0, max(1, len(ids) - NGRAM + 1), CHUNK_TOKENS):
        part = np.asarray(ids[start : start + CHUNK_TOKENS + NGRAM - 1]).astype(np.uint64) + np.uint64(1)
        count = len(part) - NGRAM + 1
        if count <= 0:
            return
        total = np.zeros(count, dtype=np.uint64)
        for offset in range(NGRAM):
            total = total * MULTIPLIER + part[offset : offset + count]
        yield total


def _isin(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) whether each value is among the sorted ones."""
    if not len(wanted):
        return np.zeros(len(values), dtype=bool)
    places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    found: np.ndarray = wanted[places] == values
    return found


SHOWN_LABELS = 6


def head_line(source: str, hf_config: Mapping[str, Any], head: Head) -> str:
    """'runs/sst2: ElectraForSequenceClassification, head: classification into 2 classes (0, 1)'."""
    return f"{source}: {architecture_in(hf_config)}, head: {describe(head)}"


def describe(head: Head) -> str:
    """'classification into 2 classes (0, 1)', 'a number', 'a tag for each word, of 23', 'an answer span in a text'."""
    if head.transform != "default":
        what = "a number from 0 to 1 (one output and no problem_type: a sigmoid)" if head.transform == "sigmoid" else ""
        return what or f"{len(head.labels)} numbers, the name of the largest ({', '.join(head.labels[:SHOWN_LABELS])})"
    names = ", ".join(head.labels[:SHOWN_LABELS]) + (", ..." if len(head.labels) > SHOWN_LABELS else "")
    return {
        "classification": f"classification into {len(head.labels)} classes ({names})",
        "multilabel": f"any of {len(head.labels)} labels ({names})",
        "tagging": f"a tag for each word, of {len(head.labels)} ({names})",
        "regression": "a number",
        "span": "an answer span in a text",
    }[head.kind]


def start_line(source: str, hf_config: Mapping[str, Any], task: Task, head: Head, style: str) -> str:
    """Which encoder (by its config.json) and which new head fine-tuning starts from."""
    architecture = architecture_in(hf_config)
    encoder = f"random weights in the shape of {source[7:]}" if source.startswith("random:") else f"{source}: encoder of its {architecture}"
    return f"{encoder}; new head for {task.name} ({'the original' if style == 'original' else style}'s form): {describe(head)}"


def data_lines(train: Sequence[Example], dev: Sequence[Example], head: Head, pretraining: Sequence[Path]) -> list[str]:
    """Warnings about the examples, and about dev examples that are in the pre-training data.

    Raises:
        UserError: tokenized data that cannot be read.
    """
    found = warnings(train, dev, head)
    if pretraining and (line := in_pretraining(dev, pretraining)):
        found.append(line)
    return [f"warning: {line}" for line in found]

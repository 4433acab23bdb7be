"""Tasks of one or two texts: files -> lines, texts -> features, logits -> predictions.

This is the one place where the logits of a classifier become labels and probabilities: training's evaluations, `electra evaluate`, `predict`,
`compare`, `serve` and pipelines all call `featurize_texts` and `decode_texts`.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, TaskTokenizer
from electra.data.sources import with_newlines
from electra.data.tables import open_bytes
from electra.data.windows import split, split_pair
from electra.errors import UserError
from electra.storage import atomic

# ---- truncation ----


TRUNCATIONS = ("head", "tail", "head-tail", "windows")
SHORTEST_WINDOW = 8


def fit(
    first: Sequence[int], second: Sequence[int] | None, tokenizer: TaskTokenizer, max_length: int, how: str
) -> Iterator[tuple[list[int], list[int], int]]:
    """Ids of one or two texts -> (ids, segments, weight) of each input: one, or the windows, whose weights are the tokens they answer for.

    Raises:
        UserError: windows of fewer than eight tokens.
    """
    if len(first) + len(second or ()) + (2 if second is None else 3) <= max_length or how == "head":
        yield *tokenizer.wrap(first, second, max_length), 1
    elif how == "longest-first":
        kept_first, kept_second = (max_length - 2, 0) if second is None else longest_first(len(first), len(second), max_length - 3)
        parts = [
            part[len(part) - min(kept, len(part)) :] if tokenizer.truncate_left else part[:kept]
            for part, kept in ((first, kept_first), (second or (), kept_second))
        ]
        yield *tokenizer.wrap(parts[0], None if second is None else parts[1]), 1
    elif how != "windows":
        kept_first, kept_second = kept_lengths(len(first), None if second is None else len(second), max_length)
        yield *tokenizer.wrap(shorten(first, kept_first, how), None if second is None else shorten(second, kept_second, how)), 1
    elif max_length < SHORTEST_WINDOW:
        raise UserError(f"--max-length {max_length} is too short for windows; give at least {SHORTEST_WINDOW}")
    elif second is None:
        for window in split(len(first), max_length - 2):
            yield *tokenizer.wrap(first[window.start : window.stop]), window.num_answered
    else:
        for a, b in split_pair(len(first), len(second), max_length - 3):
            yield *tokenizer.wrap(first[a.start : a.stop], second[b.start : b.stop]), a.num_answered * b.num_answered


def kept_lengths(first: int, second: int | None, max_length: int) -> tuple[int, int]:
    """Tokens of one or two texts -> how many of each are kept: tokens leave the longer one, the second where both are equal."""
    if second is None:
        return min(first, max(0, max_length - 2)), 0
    capacity = max(0, max_length - 3)
    while first + second > capacity:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def longest_first(first: int, second: int, capacity: int) -> tuple[int, int]:
    """Tokens of two texts -> how many of each `transformers` keeps, which is not the original's rule where both are cut.

    Source: `truncate_encodings` of `tokenizers`.
    """
    shorter = min(first, second)
    longer = shorter if shorter > capacity else max(shorter, capacity - shorter)
    if shorter + longer > capacity:
        shorter, longer = capacity // 2, capacity - capacity // 2
    return (longer, shorter) if first > second else (shorter, longer)


def shorten(ids: Sequence[int], kept: int, how: str) -> Sequence[int]:
    """`kept` of a text's ids: its last, or a quarter from its beginning and the rest from its end."""
    if len(ids) <= kept:
        return ids
    # Rounded so that [CLS] and [SEP] count as if they were part of the text: 128 of 512.
    before = 0 if how == "tail" else (kept + 2) // 4
    return [*ids[:before], *ids[len(ids) - (kept - before) :]]


# ---- features ----


TEXT_OPTIONS = {"truncate": "head"}
"""Options of the tasks that use `featurize_texts` (see `input_spec.py`)."""


def featurize_texts(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, truncate: str = "head", most: int | None = None
) -> list[Features]:
    """Examples -> [CLS] text [SEP] (pair [SEP]) of at most `max_length` tokens; `truncate` says what of a longer text is read: its 'head'
    (of a pair the longer text loses tokens, as in the original), 'tail', both ('head-tail') or all of it in 'windows'.

    An empty second text counts as none, as in the original. No more than `most` inputs are made.

    Raises:
        UserError: a label the head does not know.
    """
    return list(islice(_text_inputs(examples, tokenizer, max_length, head, truncate), most))


def _text_inputs(examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, truncate: str) -> Iterator[Features]:
    first = tokenizer.encode([example.text for example in examples])
    paired = [i for i, example in enumerate(examples) if example.text_pair]
    second = dict(zip(paired, tokenizer.encode([examples[i].text_pair or "" for i in paired]), strict=True))
    for i, example in enumerate(examples):
        label = target(example, head)
        for ids, segments, weight in fit(first[i], second.get(i), tokenizer, max_length, truncate):
            yield Features(ids=ids, segments=segments, example=i, label=label, weight=weight)


def target(example: Example, head: Head) -> int | float | tuple[float, ...] | None:
    """What the model learns: the class's index, C zeros and ones for several labels at once, or the number moved and scaled to the head's
    range; None without a label.

    Raises:
        UserError: a class the head does not have, or no number.
    """
    if example.label is None:
        return None
    place = example.place or f"example {example.id}"
    if head.kind == "regression":
        return (number(str(example.label), place) - head.offset) / head.scale
    names = example.label if isinstance(example.label, tuple) else (str(example.label),)
    if unknown := [name for name in names if name not in head.labels]:
        known = f"known: {', '.join(head.labels[:20])}"
        raise UserError(f"{place}: unknown label '{unknown[0]}', which no training example has; {known}: correct or remove the row")
    if head.kind == "multilabel":
        return tuple(float(name in names) for name in head.labels)
    return head.labels.index(names[0])


def number(text: str, place: str, remedy: str = "correct it, or use --kind classification") -> float:
    """A finite number.

    Raises:
        UserError: `text` is not a number; `place` says where it is, `remedy` what to do.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: label '{text}' is not a number; {remedy}")
    return value


# ---- predictions ----


def decode_texts(
    outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, transform: str = "default"
) -> list[Prediction]:
    """(C,) logits of each input -> a prediction per example; the values of an example's windows are averaged by their weights, so that every
    token counts once.

    `transform`: 'softmax', 'sigmoid' or 'none' (raw logits) in place of the head's own.
    """
    values = window_values(outputs, head, transform)
    total, weight, windows = np.zeros((len(examples), values.shape[1])), np.zeros((len(examples), 1)), [0] * len(examples)
    for row, feature in zip(values, features, strict=True):
        total[feature.example] += row * feature.weight
        weight[feature.example] += feature.weight
        windows[feature.example] += 1
    return [predicted(row, head, count) for row, count in zip(total / weight, windows, strict=True)]


def window_values(outputs: Sequence[np.ndarray], head: Head, transform: str = "default") -> np.ndarray:
    """N arrays (C,) of logits -> (N, C) float64: probabilities of classes, of each label by itself, or a regression's numbers as they are."""
    logits = np.stack(outputs).astype(np.float64)
    transform = head.transform if transform == "default" else transform
    if transform == "default":
        transform = {"regression": "none", "multilabel": "sigmoid"}.get(head.kind, "softmax")
    return {"softmax": softmax, "sigmoid": sigmoid}.get(transform, np.asarray)(logits)


LOWEST_TEMPERATURE = 0.02


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(..., C) logits -> probabilities over the last axis, float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits -> probabilities, each by itself, float64."""
    return np.asarray(0.5 + 0.5 * np.tanh(logits.astype(np.float64) / 2))


def predicted(values: np.ndarray, head: Head, num_windows: int = 1) -> Prediction:
    """(C,) values -> the likeliest class, or all labels above one half; a number where the head is a regression's."""
    if head.kind == "regression":
        return Prediction(label=float(values[0]), num_windows=num_windows)
    table = dict(zip(head.labels, values.tolist(), strict=True))
    if head.kind == "multilabel":
        return Prediction(label=tuple(name for name, p in table.items() if p > 0.5), probabilities=table, num_windows=num_windows)
    best = int(values.argmax())
    return Prediction(label=head.labels[best], probability=float(values[best]), probabilities=table, num_windows=num_windows)


def fit_temperature(logits: np.ndarray, features: Sequence[Features], gold: np.ndarray, head: Head) -> float:
    """The temperature at which the logits' probabilities fit labels best: the least negative log-likelihood (Guo et al. 2017), deterministic.

    Args:
        logits: (W, C) of the inputs of N examples; those of one example's windows are averaged as `decode_texts` averages them.
        features: the W inputs.
        gold: (N, C) of zeros and ones: one class of each example, or several labels.
        head: of kind 'classification' or 'multilabel'.

    Returns:
        1.0 where every answer is right, so that no temperature is too low.
    """
    place = np.array([feature.example for feature in features])
    weights = np.array([feature.weight for feature in features], dtype=np.float64)
    weights /= np.bincount(place, weights=weights)[place]

    def loss(log_temperature: float) -> float:
        values = window_values(logits / np.exp(log_temperature), head)
        p = np.zeros(gold.shape)
        np.add.at(p, place, values * weights[:, None])
        right = np.where(gold > 0, p, 1.0 - p if head.kind == "multilabel" else 1.0)
        return float(-np.log(np.maximum(right, 1e-300)).sum())

    grid = np.linspace(np.log(LOWEST_TEMPERATURE), np.log(1 / LOWEST_TEMPERATURE), 61)
    best = int(np.argmin([loss(value) for value in grid]))
    if best == 0:
        return 1.0
    low, high = grid[best - 1], grid[min(best + 1, len(grid) - 1)]
    golden = (np.sqrt(5.0) - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(f"{np.exp((low + high) / 2):.6g}")


# ---- examples and files ----

HELD_OUT, LEAST_HELD_OUT, MOST_HELD_OUT = 0.05, 100, 5000
"""Share of the training examples that are held out, and bounds of their number."""
LEAST_TRAINING = 5 * LEAST_HELD_OUT
_WORD = re.compile("[\u3400-\u9fff]|[^\\W\u3400-\u9fff]+")
_PART = 4
"""Words (or Chinese characters) of the shortest text that counts as a part of another."""


def fixed_head(head: Head) -> Callable[[Sequence[Example]], Head]:
    """The `Task.head` of a benchmark, whose labels are known in advance."""
    return lambda examples: head


def swapped_copies(examples: Sequence[Example]) -> list[Example]:
    """Each pair once more with its texts exchanged (the original's `double_unordered`)."""
    copies = []
    for example in examples:
        assert example.text_pair is not None
        copies.append(Example(id=f"{example.id}-swapped", text=example.text_pair, text_pair=example.text, label=example.label))
    return copies


def choose_examples(examples: Sequence[Example], limit: int, *, swapped: bool) -> list[Example]:
    """At most `limit` of the training examples (0: all; always the same random choice), then their swapped copies where `swapped`."""
    chosen = list(examples)
    if 0 < limit < len(chosen):
        chosen = [chosen[i] for i in sorted(np.random.default_rng(17).permutation(len(chosen))[:limit].tolist())]
    return chosen + swapped_copies(chosen) if swapped else chosen


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Training examples -> those that are trained on, and about 5% that are not, always the same random choice.

    Examples of which a text is equal to, or a part of, a text of another are held out together: of SST-2's phrases 99% are parts of
    others, and a model is surer of what it has seen in part than of new texts.

    Raises:
        UserError: there are too few.
    """
    wanted = min(max(LEAST_HELD_OUT, round(HELD_OUT * len(examples))), MOST_HELD_OUT)
    groups: dict[int, list[int]] = {}
    for place, group in enumerate(related(examples)):
        groups.setdefault(group, []).append(place)
    held: set[int] = set()
    for group in np.random.default_rng(17).permutation(list(groups)).tolist():
        # The last group may bring more than are wanted, so that small sets reach the least number; larger ones are trained on.
        if len(held) < wanted and len(groups[group]) <= wanted:
            held.update(groups[group])
    if len(examples) < LEAST_TRAINING or len(held) < LEAST_HELD_OUT:
        found = f"{len(examples):,} training examples"
        found += "" if len(examples) < LEAST_TRAINING else f", most of them parts of each other, so that only {len(held)} can be held out"
        raise UserError(f"--calibrate: {found}; expected {LEAST_TRAINING} or more, {LEAST_HELD_OUT} of them to hold out: leave it out")
    return [e for i, e in enumerate(examples) if i not in held], [examples[i] for i in sorted(held)]


def related(examples: Sequence[Example]) -> list[int]:
    """The group of each example, a number: two are in one if a text of one is equal to a text of the other, or a part of it from 4 words on."""
    parents = list(range(len(examples)))

    def group(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    texts = [(i, tuple(_WORD.findall(text.casefold()))) for i, e in enumerate(examples) for text in (e.text, e.text_pair or "")]
    owners: dict[tuple[str, ...], int] = {}
    for i, words in texts:
        if words:
            parents[group(i)] = group(owners.setdefault(words, i))
    lengths: dict[tuple[str, ...], set[int]] = {}
    for words in owners:
        if len(words) >= _PART:
            lengths.setdefault(words[:_PART], set()).add(len(words))
    for words, i in owners.items():
        for start in range(len(words) - _PART + 1):
            for length in lengths.get(words[start : start + _PART], ()):
                if start + length <= len(words) and (owner := owners.get(words[start : start + length])) is not None:
                    parents[group(owner)] = group(i)
    return [group(i) for i in range(len(examples))]


def read_text(path: Path, what: str) -> str:
    """A whole UTF-8 file, with or without a byte-order mark, plain or compressed; lines end by "\\n" (as in Python's text mode, also for "\\r").

    Raises:
        UserError: missing, a folder, unreadable, empty, or not UTF-8 text.
    """
    atomic.existing_path(path, what)
    with open_bytes(path) as stream:
        raw = stream.read()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is UTF-16 text, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); convert it, or give another file") from None
    if "\0" in text[:100_000]:
        raise UserError(f"{path} is a binary file, not text (or UTF-16: convert it to UTF-8); give a csv, tsv or jsonl file")
    if not text.strip():
        raise UserError(f"{path} is empty; give a file with examples")
    return with_newlines(text.encode("utf-8")).decode("utf-8") if "\r" in text else text

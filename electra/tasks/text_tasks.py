"""What tasks of one or two texts share: features, decoding, and reading text files line by line."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from electra.contracts import Example, Features, Head, Prediction
from electra.data.windows import split, split_pair
from electra.errors import UserError
from electra.storage import atomic

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer


# ---- One or two texts' ids -> what a network of limited length reads of them ----


TRUNCATIONS = ("head", "tail", "head-tail", "windows")
SHORTEST_WINDOW = 8


def fit(first: Sequence[int], second: Sequence[int] | None, tokenizer: Tokenizer, max_length: int, how: str) -> list[tuple[list[int], list[int]]]:
    """Ids of one or two texts -> (ids, segments) of each part that is read: one, or the windows.

    Raises:
        UserError: windows of fewer than eight tokens.
    """
    if len(first) + len(second or ()) + (2 if second is None else 3) <= max_length or how == "head":
        return [tokenizer.wrap(first, second, max_length)]
    if how == "windows":
        if max_length < SHORTEST_WINDOW:
            raise UserError(f"--max-length {max_length} leaves no room for windows; give at least {SHORTEST_WINDOW}")
        if second is None:
            return [tokenizer.wrap(first[window.start : window.stop]) for window in split(len(first), max_length - 2)]
        pairs = split_pair(len(first), len(second), max_length - 3)
        return [tokenizer.wrap(first[a.start : a.stop], second[b.start : b.stop]) for a, b in pairs]
    kept_first, kept_second = kept_lengths(len(first), None if second is None else len(second), max_length)
    return [tokenizer.wrap(shorten(first, kept_first, how), None if second is None else shorten(second, kept_second, how))]


def kept_lengths(first: int, second: int | None, max_length: int) -> tuple[int, int]:
    """Tokens of one or two texts -> how many of each are kept: tokens leave the longer one, the second where both are equal."""
    if second is None:
        return min(first, max(0, max_length - 2)), 0
    room = max(0, max_length - 3)
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def shorten(ids: Sequence[int], kept: int, how: str) -> Sequence[int]:
    """`kept` of a text's ids: its last, or a quarter from its beginning and the rest from its end."""
    if len(ids) <= kept:
        return ids
    # Rounded so that [CLS] and [SEP] count as if they were part of the text: 128 of 512.
    before = 0 if how == "tail" else (kept + 2) // 4
    return [*ids[:before], *ids[len(ids) - (kept - before) :]]


TEXT_OPTIONS = {"truncate": "head"}
"""Of tasks that read texts with `featurize_texts` (see `reading.py`)."""


def featurize_texts(examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, head: Head, truncate: str = "head") -> list[Features]:
    """Examples -> [CLS] text [SEP] (pair [SEP]) of at most `max_length` tokens; what is left out is chosen by `truncate` (see `truncation`):
    'head' cuts the longer text's end, as the original.

    Raises:
        UserError: a label the head does not know.
    """
    first = tokenizer.encode([example.text for example in examples])
    paired = [i for i, example in enumerate(examples) if example.text_pair is not None]
    second = dict(zip(paired, tokenizer.encode([examples[i].text_pair or "" for i in paired]), strict=True))
    features = []
    for i, example in enumerate(examples):
        label = target(example, head)
        for ids, segments in fit(first[i], second.get(i), tokenizer, max_length, truncate):
            features.append(Features(ids=ids, segments=segments, example=i, label=label))
    return features


def target(example: Example, head: Head) -> int | float | tuple[float, ...] | None:
    """What the network learns: the class's index, C zeros and ones for several labels at once, or the number moved and scaled to the head's
    range; None without a label.

    Raises:
        UserError: a class the head does not have, or no number.
    """
    if example.label is None:
        return None
    if head.kind == "regression":
        return (number(str(example.label), f"example {example.id}") - head.offset) / head.scale
    names = example.label if isinstance(example.label, tuple) else (str(example.label),)
    if unknown := [name for name in names if name not in head.labels]:
        raise UserError(f"example {example.id}: unknown label '{unknown[0]}'; known: {', '.join(head.labels[:20])}")
    if head.kind == "multilabel":
        return tuple(float(name in names) for name in head.labels)
    return head.labels.index(names[0])


def number(text: str, place: str, remedy: str = "correct it, or use --kind classification") -> float:
    """A finite number.

    Raises:
        UserError: `text` is none; `place` says where it stands, `remedy` what to do.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: label '{text}' is not a number; {remedy}")
    return value


def decode_texts(outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head) -> list[Prediction]:
    """(C,) logits of each feature -> a prediction per example; those of an example's windows are averaged, a window weighing as it is long."""
    values = window_values(outputs, head)
    total, weight, windows = np.zeros((len(examples), values.shape[1])), np.zeros((len(examples), 1)), [0] * len(examples)
    for row, feature in zip(values, features, strict=True):
        total[feature.example] += row * len(feature.ids)
        weight[feature.example] += len(feature.ids)
        windows[feature.example] += 1
    return [predicted(row, head, count) for row, count in zip(total / weight, windows, strict=True)]


def window_values(outputs: Sequence[np.ndarray], head: Head) -> np.ndarray:
    """N arrays (C,) of logits -> (N, C) probabilities, each by itself for several labels at once; a regression's numbers stay as they are."""
    logits = np.stack(outputs).astype(np.float64)
    if head.kind == "regression":
        return logits
    if head.kind == "multilabel":
        return 0.5 + 0.5 * np.tanh(logits / 2)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def predicted(values: np.ndarray, head: Head, num_windows: int = 1) -> Prediction:
    """(C,) probabilities -> the likeliest class, or all labels above one half; a number where the head is a regression's."""
    if head.kind == "regression":
        return Prediction(label=float(values[0]), num_windows=num_windows)
    table = dict(zip(head.labels, values.tolist(), strict=True))
    if head.kind == "multilabel":
        return Prediction(label=tuple(name for name, p in table.items() if p > 0.5), probabilities=table, num_windows=num_windows)
    best = int(values.argmax())
    return Prediction(label=head.labels[best], probability=float(values[best]), probabilities=table, num_windows=num_windows)


def fixed_head(head: Head) -> Callable[[Sequence[Example]], Head]:
    """The `Task.head` of a benchmark, whose labels are known beforehand."""
    return lambda examples: head


def swapped_copies(examples: Sequence[Example]) -> list[Example]:
    """Each pair once more with its texts exchanged (the original's `double_unordered`)."""
    copies = []
    for example in examples:
        assert example.text_pair is not None
        copies.append(Example(id=f"{example.id}-swapped", text=example.text_pair, text_pair=example.text, label=example.label))
    return copies


def choose_examples(examples: Sequence[Example], limit: int, *, swapped: bool) -> list[Example]:
    """At most `limit` of the training examples (0: all; always the same random choice), then their swapped copies if asked for."""
    chosen = list(examples)
    if 0 < limit < len(chosen):
        chosen = [chosen[i] for i in sorted(np.random.default_rng(17).permutation(len(chosen))[:limit].tolist())]
    return chosen + swapped_copies(chosen) if swapped else chosen


def read_text(path: Path, what: str) -> str:
    """A whole UTF-8 file, with or without a byte-order mark, plain or as .gz.

    Raises:
        UserError: missing, a folder, unreadable, empty, or not UTF-8 text.
    """
    atomic.existing_path(path, what)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; give a readable file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); convert it, or give another file") from None
    if "\0" in text[:100_000]:
        raise UserError(f"{path} is a binary file, not text; give a csv, tsv or jsonl file")
    if not text.strip():
        raise UserError(f"{path} is empty; give a file with examples")
    return text


def tab_separated(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of every line that is not empty. Quotes are ordinary characters, as in GLUE's files."""
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, U+0085 and others, which occur inside real sentences.
    for i, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield i, line.split("\t")

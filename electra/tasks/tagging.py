"""Tags of words: sentences -> features, logits -> tags, tags -> scores; CoNLL-2000 chunking, and custom tags.

A word is trained and predicted at its first token (original: `tagging_tasks.py`). Longer sentences are read in overlapping windows. This is the
one place where a token classifier's logits become tags and probabilities.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, TagPrediction, Task, TaskTokenizer
from electra.data.windows import split_words
from electra.errors import UserError, did_you_mean
from electra.tasks import metrics
from electra.tasks.conll_files import SUFFIXES, TagColumns, read_tagged
from electra.tasks.custom import split_file
from electra.tasks.input_spec import with_options
from electra.tasks.tag_schemes import (
    MIXED,
    PLAIN,
    best_path,
    class_scores,
    find_scheme,
    marks_spans,
    scheme_rules,
    span_scores,
    split_tag,
    to_bioes,
)
from electra.tasks.text_tasks import fixed_head, softmax
from electra.terminal import say

NO_TAG = -100
"""In `Features.token_labels`: this token has no tag."""
OPTIONS = {"token_segment": 0, "constrained": False, "tag_scheme": ""}
"""Segment of all tokens; whether only sequences of the scheme are answered; the scheme of the training tags ('': by the letters)."""
CHUNK_TYPES = {
    "B": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP",
    "E": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP",
    "I": "ADJP ADVP CONJP INTJ NP PP PRT UCP VP",
    "S": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR VP",
}
CHUNK_TAGS = tuple(sorted(["O", *(f"{letter}-{kind}" for letter, kinds in CHUNK_TYPES.items() for kind in kinds.split())]))
"""All tags of CoNLL-2000 in BIOES, in the original's order."""


def word_pieces(words: Sequence[str], tokenizer: TaskTokenizer) -> list[list[int]]:
    """Words -> the ids of each; [UNK] for one of which nothing is left (control characters)."""
    return [ids or [tokenizer.unk_id] for ids in tokenizer.encode(words)]


def word_windows(
    words: Sequence[Sequence[int]], tokenizer: TaskTokenizer, max_length: int, example: int, token_segment: int = 0
) -> Iterator[Features]:
    """The ids of each word of a sentence -> its windows, [CLS] words [SEP]; all tokens are of `token_segment` (the original's are 1)."""
    windows = split_words([len(part) for part in words], max_length - 2)
    for window in windows:
        ids, word_ids = [tokenizer.cls_id], [-1]
        for word in range(window.start, window.stop):
            kept = words[word][: max_length - 2]
            ids += kept
            word_ids += [word, *[-1] * (len(kept) - 1)]
        word_ids.append(-1)
        decides = [window.first <= word < window.last for word in word_ids] if len(windows) > 1 else None
        ids.append(tokenizer.sep_id)
        yield Features(ids=ids, segments=[token_segment] * len(ids), example=example, word_ids=word_ids, has_most_context=decides)


def featurize_words(
    examples: Sequence[Example], tokenizer: TaskTokenizer, max_length: int, head: Head, token_segment: int = 0, most: int | None = None
) -> list[Features]:
    """Examples with words -> the windows of each, in order, at most `most`.

    Raises:
        UserError: a tag that the head does not know, unless other tags of its span's type are known: such a one is not learned from.
    """
    numbers = {label: number for number, label in enumerate(head.labels)}
    kinds = {split_tag(label)[1] for label in head.labels} if marks_spans(head.labels) else set()

    def inputs() -> Iterator[Features]:
        for index, example in enumerate(examples):
            assert example.words is not None
            tags = None if example.label is None else _tag_ids(example, numbers, kinds)
            for window in word_windows(word_pieces(example.words, tokenizer), tokenizer, max_length, index, token_segment):
                yield window if tags is None else dataclasses.replace(window, token_labels=_token_labels(window, tags))

    return list(islice(inputs(), most))


def _token_labels(window: Features, tags: Sequence[int]) -> list[int]:
    """A tag's id for each token that this window decides on, else NO_TAG."""
    assert window.word_ids is not None
    return [tags[word] if word >= 0 and decides else NO_TAG for word, decides in zip(window.word_ids, _decides(window), strict=True)]


def _decides(window: Features) -> Sequence[bool]:
    """For each token, whether its word is predicted from this window."""
    assert window.word_ids is not None
    return [True] * len(window.word_ids) if window.has_most_context is None else list(window.has_most_context)


def _tag_ids(example: Example, numbers: Mapping[str, int], kinds: set[str]) -> list[int]:
    """The id of each word's tag."""
    assert example.words is not None and isinstance(example.label, tuple)
    out = []
    for word, tag in zip(example.words, example.label, strict=True):
        known = tag in numbers or (marks_spans([tag]) and split_tag(tag)[1] in kinds)
        if not known:
            near = did_you_mean(tag, numbers) if len(numbers) <= 50 else ""
            raise UserError(
                f"sentence {example.id}, word '{word}': tag '{tag}' is none of the training sentences'; {near} (correct it, or train on some)"
            )
        out.append(numbers.get(tag, NO_TAG))
    return out


def decode_words(
    outputs: Sequence[np.ndarray],
    features: Sequence[Features],
    examples: Sequence[Example],
    head: Head,
    constrained: bool = False,
    tag_scheme: str = "",
) -> list[Prediction]:
    """(L, C) logits of each window -> a tag for each word with its probability, from the window in which it has most context.

    Each word has its own best tag; `constrained`: the likeliest sequence that the training tags' scheme allows.
    """
    rules = scheme_rules(head.labels, tag_scheme) if constrained else None
    if rules is not None and not tag_scheme:
        _say_assumed(tuple(head.labels))
    found = []
    for rows, count in word_probabilities(outputs, features, len(examples)):
        with np.errstate(divide="ignore"):
            path = best_path(np.log(rows), rules)
        tags = tuple(head.labels[best] for best in path)
        certain = tuple(float(row[best]) for row, best in zip(rows, path, strict=True))
        found.append(TagPrediction(label=tags, num_windows=count, word_probabilities=certain))
    return list(found)


@functools.cache
def _say_assumed(labels: tuple[str, ...]) -> None:
    """Say once that BIO2 is assumed where IOB1 has the same letters: rules of the wrong one change what is answered."""
    if {split_tag(label)[0] for label in labels} <= set("BIO"):
        record = '"electra_input_spec": {"tag_scheme": "IOB1"}'
        say(f"warning: config.json records no scheme of tags, and --constrained takes BIO2; for a model of IOB1 tags add {record} to it")


def word_probabilities(outputs: Sequence[np.ndarray], features: Sequence[Features], num_examples: int) -> Iterator[tuple[np.ndarray, int]]:
    """(L, C) logits of each window -> of each sentence the (N, C) probabilities of its words' tags, and its number of windows."""
    grouped: list[list[np.ndarray]] = [[] for _ in range(num_examples)]
    for logits, feature in zip(outputs, features, strict=True):
        assert feature.word_ids is not None
        decided = [token for token, (word, decides) in enumerate(zip(feature.word_ids, _decides(feature), strict=True)) if word >= 0 and decides]
        grouped[feature.example].append(softmax(logits[decided]))
    for rows in grouped:
        yield np.concatenate(rows), len(rows)


def score_words(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """F1, precision and recall of whole spans, and accuracy per word; for plain tags accuracy and macro F1.

    Raises:
        UserError: no examples, or no tags to compare with.
    """
    gold, predicted = tag_lists(examples), [tuple(p.label) if isinstance(p.label, tuple) else () for p in predictions]
    words = [tag for row in gold for tag in row], [tag for row in predicted for tag in row]
    if not marks_spans(head.labels):
        return {"accuracy": metrics.accuracy(*words), "macro_f1": metrics.macro_f1(*words)}
    return span_scores(gold, predicted) | {"accuracy": metrics.accuracy(*words)}


def scores_by_type(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """F1, precision and recall of each type of span, as "NP_f1"; nothing for plain tags and other tasks.

    Raises:
        UserError: no tags to compare with.
    """
    if head.kind != "tagging" or not marks_spans(head.labels):
        return {}
    found = class_scores(tag_lists(examples), [p.label if isinstance(p.label, tuple) else () for p in predictions])
    return {f"{kind}_{name}": value for kind, scores in found.items() for name, value in scores.items()}


def with_scheme(task: Task, examples: Sequence[Example]) -> Task:
    """A task of tags with the scheme of its training examples as an option, which decoding uses and config.json records; others unchanged."""
    if "tag_scheme" not in task.options:
        return task
    return with_options(task, {**task.options, "tag_scheme": find_scheme(tag_lists(examples))})


def scheme_lines(task: Task, head: Head) -> list[str]:
    """'tags: BIO2, 4 types (LOC, ORG, ...)', and what to do where they mark no spans or contradict each other; nothing for other tasks."""
    scheme = task.options.get("tag_scheme")
    if not scheme:
        return []
    if scheme == PLAIN:
        numbers = all(label.isdecimal() for label in head.labels)
        names = "; to score spans, name the numbers in order: --tag-names O B-PER ..." if numbers else ""
        return [f"tags: plain, scored by accuracy: {', '.join(head.labels[:6])}{', ...' if len(head.labels) > 6 else ''}{names}"]
    kinds = sorted({split_tag(label)[1] for label in head.labels if split_tag(label)[0] != "O"})
    found = f"tags: {scheme}, {len(kinds)} types ({', '.join(kinds[:6])}{', ...' if len(kinds) > 6 else ''}), scored by spans"
    if scheme != MIXED:
        return [found]
    return [
        found,
        "warning: the tags follow neither IOB1 nor BIO2 throughout: spans are counted as conlleval does, and --constrained changes nothing",
    ]


def tag_lists(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """The gold tags of labelled examples.

    Raises:
        UserError: there are none.
    """
    gold = [example.label for example in examples if isinstance(example.label, tuple)]
    if not examples or len(gold) < len(examples):
        raise UserError("these sentences have no tags, so they cannot be scored; give a file with tags")
    return gold


def find_tags(examples: Sequence[Example]) -> Head:
    """Training examples -> a head of their tags in sorted order.

    Raises:
        UserError: a single tag, or so many that the column cannot be one of tags.
    """
    rows = tag_lists(examples)
    labels = sorted({tag for row in rows for tag in row})
    if len(labels) < 2:
        raise UserError(f"every word has the tag '{labels[0]}'; name the column of the tags by --tag-column")
    if len(labels) > max(100, sum(map(len, rows)) / 10):
        raise UserError(f"{len(labels)} different tags for {sum(map(len, rows))} words; name the column of the tags by --tag-column")
    return Head(kind="tagging", labels=tuple(labels))


def tagging_task(columns: TagColumns, files: Mapping[str, Path] | None = None) -> Task:
    """Columns, and the place of each split (unset: the folder given to `read` holds train.txt, dev.txt, ...) -> Task.

    The main metric is F1 of spans; where tags mark none, `resolve_metric` makes it accuracy.
    """

    def read(data: Path, split: str) -> list[Example]:
        return read_tagged(split_file(Path(data), split, SUFFIXES, files), columns, split)

    return Task(
        name="tagging",
        description="your own words and tags, in columns, jsonl, json, parquet or a saved data set",
        read=read,
        featurize=featurize_words,
        head=find_tags,
        decode=decode_words,
        score=score_words,
        main_metric="f1",
        options=OPTIONS,
    )


def read_chunks(data: Path, split: str) -> list[Example]:
    """CoNLL-2000's folder -> sentences with tags in BIOES, as the original trains; dev is dev.txt if it is there, else the official test half.

    Raises:
        UserError: no such folder or file, or a line that cannot be read.
    """
    data = Path(data)
    official = next((path for name in ("test.txt", "test.txt.gz") if (path := data / name).exists()), None)
    path = official if split == "dev" and not (data / "dev.txt").exists() and official is not None else split_file(data, split, SUFFIXES)
    return chunk_examples(read_tagged(path, TagColumns(), split), str(path))


def chunk_examples(sentences: Sequence[Example], place: str) -> list[Example]:
    """Sentences with CoNLL-2000's tags -> the same with tags in BIOES.

    Raises:
        UserError: another tag.
    """
    tags = {tag for sentence in sentences if isinstance(sentence.label, tuple) for tag in sentence.label}
    known = {"O", *(f"{letter}-{kind}" for letter in "BIES" for kind in CHUNK_TYPES["B"].split())}
    # An unknown tag would pass for one outside of all chunks.
    if strange := sorted(tags - known):
        raise UserError(f"{place}: tag '{strange[0]}' is none of CoNLL-2000's; is it another file? other tags are learned by the task 'tagging'")
    return [dataclasses.replace(s, label=tuple(to_bioes(s.label)) if isinstance(s.label, tuple) else None) for s in sentences]


TAGGING = tagging_task(TagColumns())
CHUNK = Task(
    name="chunk",
    description="CoNLL-2000 text chunking (dev: the official test half)",
    read=read_chunks,
    featurize=featurize_words,
    head=fixed_head(Head(kind="tagging", labels=CHUNK_TAGS)),
    decode=decode_words,
    score=score_words,
    main_metric="f1",
    options=OPTIONS,
)

"""Tagging words: features, decoding and scores; the task of CoNLL-2000 chunking, and that of one's own tags.

A word is learned from and answered at its first piece (original: `tagging_tasks.py`). Sentences above the limit are read in overlapping windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, Task
from electra.data.windows import WordWindow, split_words
from electra.errors import UserError, did_you_mean
from electra.tasks import metrics
from electra.tasks.conll_files import SUFFIXES, TagColumns, read_tagged
from electra.tasks.custom import split_file
from electra.tasks.tag_schemes import best_path, class_scores, marks_spans, scheme_rules, span_scores, split_tag, to_bioes
from electra.tasks.text_tasks import fixed_head

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

NO_TAG = -100
"""What stands in `Features.token_labels` where no tag is asked for."""
OPTIONS = {"token_segment": 0, "constrained": False}
CHUNK_TYPES = {
    "B": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP",
    "E": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP",
    "I": "ADJP ADVP CONJP INTJ NP PP PRT UCP VP",
    "S": "ADJP ADVP CONJP INTJ LST NP PP PRT SBAR VP",
}
CHUNK_TAGS = tuple(sorted(["O", *(f"{letter}-{kind}" for letter, kinds in CHUNK_TYPES.items() for kind in kinds.split())]))
"""All tags of CoNLL-2000 in BIOES, in the original's order."""


def word_pieces(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Words -> the ids of each; [UNK] for one of which nothing is left (control characters)."""
    return [ids or [tokenizer.unk_id] for ids in tokenizer.encode(words)]


def window_ids(pieces: Sequence[Sequence[int]], window: WordWindow, tokenizer: Tokenizer, max_length: int) -> tuple[list[int], list[int]]:
    """A sentence's pieces -> ([CLS] the window's pieces [SEP], for each token the word whose first piece it is, else -1)."""
    ids, word_ids = [tokenizer.cls_id], [-1]
    for word in range(window.start, window.stop):
        kept = pieces[word][: max_length - 2]
        ids += kept
        word_ids += [word, *[-1] * (len(kept) - 1)]
    return [*ids, tokenizer.sep_id], [*word_ids, -1]


def featurize_words(examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, head: Head, token_segment: int = 0) -> list[Features]:
    """Examples with words -> the windows of each, one behind the other; all tokens are of `token_segment` (the original's are 1).

    Raises:
        UserError: a tag that the head does not know, unless other tags of its span's type are known: such a one is not learned from.
    """
    numbers = {label: number for number, label in enumerate(head.labels)}
    kinds = {split_tag(label)[1] for label in head.labels} if marks_spans(head.labels) else set()
    features = []
    for index, example in enumerate(examples):
        assert example.words is not None
        pieces = word_pieces(example.words, tokenizer)
        tags = None if example.label is None else _tag_ids(example, numbers, kinds)
        windows = split_words([len(part) for part in pieces], max_length - 2)
        for window in windows:
            ids, word_ids = window_ids(pieces, window, tokenizer, max_length)
            decides = [window.first <= word < window.last for word in word_ids]
            features.append(
                Features(
                    ids=ids,
                    segments=[token_segment] * len(ids),
                    example=index,
                    token_labels=None if tags is None else [tags[w] if mine else NO_TAG for w, mine in zip(word_ids, decides, strict=True)],
                    word_ids=word_ids,
                    has_most_context=decides if len(windows) > 1 else None,
                )
            )
    return features


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
    outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head, constrained: bool = False
) -> list[Prediction]:
    """(L, C) logits of each window -> a tag for each word, from the window in which it has most context.

    Each word has its own best tag; `constrained`: the likeliest sequence that the scheme (BIO2, BIOES, BILOU) allows.
    """
    rows = [np.zeros((len(example.words or ()), len(head.labels)), np.float32) for example in examples]
    windows = [0] * len(examples)
    for logits, feature in zip(outputs, features, strict=True):
        assert feature.word_ids is not None
        windows[feature.example] += 1
        for token, word in enumerate(feature.word_ids):
            if word >= 0 and (feature.has_most_context is None or feature.has_most_context[token]):
                rows[feature.example][word] = logits[token]
    rules = scheme_rules(head.labels) if constrained else None
    tags = (tuple(head.labels[best] for best in best_path(row, rules)) for row in rows)
    return [Prediction(label=label, num_windows=count) for label, count in zip(tags, windows, strict=True)]


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
    """Columns, and where each split stands (unset: the folder given to `read` holds train.txt, dev.txt, ...) -> Task.

    The main metric is F1 of spans; where tags mark none, `settle` makes it accuracy.
    """

    def read(data: Path, split: str) -> list[Example]:
        return read_tagged(files[split] if files and split in files else split_file(Path(data), split, SUFFIXES), columns, split)

    return Task(
        name="tagging",
        description="your own words and tags, in columns or jsonl",
        read=read,
        featurize=featurize_words,
        head=find_tags,
        decode=decode_words,
        score=score_words,
        main_metric="f1",
        options=OPTIONS,
    )


def is_tagging(task: Task) -> bool:
    """Whether a task asks for a tag of each word."""
    return task.score is score_words


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
    # What is no tag of a chunk would pass for one outside of all.
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

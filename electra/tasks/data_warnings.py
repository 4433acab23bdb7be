"""What labelled data are: descriptions of files for `electra inspect`; warnings before fine-tuning and evaluation, contamination."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from electra.contracts import Example, Head, Task
from electra.data.tables import numbered_lines, read_rows, table_format
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import UnknownWords, at_start
from electra.errors import UserError, parse_json
from electra.storage import atomic
from electra.storage.resolve import architecture_in
from electra.tasks.conll_files import TAG_FIELDS, WORD_FIELDS, TagColumns, read_tagged, span_form
from electra.tasks.span_files import TEXT_FIELD
from electra.tasks.squad_files import read_mrqa, read_squad
from electra.tasks.tag_schemes import find_scheme, split_tag
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


# ---- descriptions of files ----

MOST_COUNTED = 20
"""A column with more different values is not one of labels."""
LOOKED_AT = 200
"""Lines by which a text file is taken for one of tagged words."""
TAGGED = (".conll", ".conllu", ".bio", ".iob", ".iob2")
"""Suffixes of files of tagged words."""
LABEL_FIELDS = ("label", "labels", "prediction", "tokens", "embedding", "vector", "rank", *TAG_FIELDS)
"""Columns of labelled data and of what commands write, which a corpus does not have."""
METRIC = re.compile(r"[a-zA-Z]+(_[a-zA-Z0-9]+)*")
TAG = re.compile(r"O|[BIESLUM]-.+|.+-[BIESLUM]")
Description = dict[str, Any]


def describe_file(path: Path) -> Description | None:
    """A table, tagged words, questions or predictions in a file -> {"kind": ...}; None for anything else, such as a corpus.

    Raises:
        UserError: it is one of these, and damaged.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in TAGGED or (suffix in (".txt", ".tsv") and looks_tagged(path)):
        return describe_tags(path)
    if suffix == ".json":
        return _describe_json(path)
    kind = table_format(path)
    if kind is None:
        return None
    first_line = next((line for _, line in numbered_lines(path)), "") if kind == "jsonl" else ""
    if first_line.startswith("[") and not first_line.startswith('["'):
        widths = Counter(line.count(",") + 1 for _, line in numbered_lines(path))
        return {"kind": "vectors", "path": str(path), "size_bytes": path.stat().st_size, "vectors": widths.total(), "width": max(widths)}
    if kind not in ("csv", "tsv") and (form := span_form(path, TagColumns())) not in (None, TEXT_FIELD):
        return describe_tags(path, form)
    first = next((row for _, row in read_rows(path, class_names=False)), {})
    lists = [any(isinstance(first.get(name), list) for name in names) for names in (WORD_FIELDS, TAG_FIELDS)]
    if kind in ("jsonl", "parquet", "arrow") and all(lists):
        return describe_tags(path)
    if {"question", "context", "answers"} <= first.keys() and not isinstance(first["answers"], str):
        examples = read_squad(path, "test", unanswerable=True)
        return _questions(path, examples, "squad2" if any(example.answers == () for example in examples) else "squad or cmrc2018")
    if kind == "jsonl" and ("header" in first or "qas" in first):
        return _questions(path, read_mrqa(path, "dev"), "mrqa")
    corpus = kind in ("jsonl", "parquet", "arrow") and "text" in first and not any(name in first for name in LABEL_FIELDS)
    return None if corpus else describe_table(path, kind)


def describe_table(path: Path, kind: str) -> Description:
    """Rows of a table, and of each column how many values it has: counts where they are few, else an example."""
    rows = 0
    columns: dict[str, dict[str, Any]] = {}
    for _, row in read_rows(path):
        rows += 1
        for name, value in row.items():
            found = columns.setdefault(name, {"filled": 0, "counts": Counter(), "example": str(value)[:60]})
            found["filled"] += value is not None and value != ""
            if found["counts"] is not None and len(found["counts"]) <= MOST_COUNTED:
                found["counts"][str(value)[:60]] += 1
    for found in columns.values():
        if (few := len(found["counts"])) > MOST_COUNTED or few == rows > 2:
            del found["counts"]
        else:
            found["counts"] = dict(found["counts"].most_common())
            del found["example"]
    what = "predictions" if "prediction" in columns else "table"
    return {"kind": what, "path": str(path), "format": kind, "size_bytes": path.stat().st_size, "rows": rows, "columns": columns}


def looks_tagged(path: Path) -> bool:
    """Whether a text file has a word and a tag a line: as many columns everywhere, few different values in the last one."""
    try:
        lines = [line.strip("\r\n") for _, line in itertools.islice(numbered_lines(path), LOOKED_AT)]
    except UserError:
        return False
    fields = [line.split("\t") if "\t" in line else line.split() for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    tags = [row[-1] for row in fields]
    one = len({len(row) for row in fields}) == 1 and len(fields[0]) in range(2, 12)
    few = len(set(tags)) <= len(tags) // 3 or all(map(TAG.fullmatch, tags))
    return one and len(fields) >= 5 and few and not any(" " in row[0] for row in fields)


def describe_tags(path: Path, form: str | None = None) -> Description:
    """Sentences, words, tags and their scheme in a file of tagged words, or of texts with marked spans, whose form is then named."""
    examples = read_tagged(path, TagColumns(), "dev")
    rows = [example.label if isinstance(example.label, tuple) else () for example in examples]
    tags = Counter(tag for row in rows for tag in row)
    counts = {"sentences": len(examples), "words": sum(map(len, rows)), "scheme": find_scheme(rows)}
    types = sorted({split_tag(tag)[1] for tag in tags if split_tag(tag)[0] != "O"}) if counts["scheme"] != "plain" else []
    named = {"form": form} if form else {}
    return {"kind": "tagged words", "path": str(path), **named, **counts, **({"types": types} if types else {}), "tags": dict(tags.most_common())}


def _describe_json(path: Path) -> Description | None:
    """Questions in SQuAD's layout, answers to them, or a list of rows."""
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
    if isinstance(content, list) and (form := span_form(path, TagColumns())) not in (None, TEXT_FIELD):
        return describe_tags(path, form)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return describe_table(path, "json")
    if not isinstance(content, dict) or not content:
        return None
    if isinstance(content.get("data"), list) and any(isinstance(one, dict) and "paragraphs" in one for one in content["data"]):
        examples = read_squad(path, "test", unanswerable=True)
        return _questions(path, examples, "squad2" if any(example.answers == () for example in examples) else "squad or cmrc2018")
    values, out = list(content.values()), {"kind": "predictions", "path": str(path), "form": "answers to questions", "questions": len(content)}
    names = {"version", "architectures", "model_type", "do_lower_case"} & content.keys()
    if all(isinstance(value, str) for value in values) and not names:
        return out | {"without_answer": sum(not value for value in values)}
    if all(isinstance(value, list) and value and all(isinstance(one, dict) and "text" in one for one in value) for value in values):
        return out | {"form": "n best answers to questions", "most": max(map(len, values))}
    if all(isinstance(value, float) for value in values) and all(METRIC.fullmatch(name) for name in content):
        return {"kind": "metrics", "path": str(path), **content}
    if all(isinstance(value, float) for value in values):
        return out | {"form": "null odds of questions", "smallest": min(values), "largest": max(values)}
    return None


def _questions(path: Path, examples: Sequence[Example], task: str) -> Description:
    answered = [example for example in examples if example.answers]
    counts = {"questions": len(examples), "contexts": len({example.text_pair for example in examples}), "with_answers": len(answered)}
    counts |= {"unanswerable": sum(example.answers == () for example in examples), "answers": sum(len(e.answers or ()) for e in answered)}
    return {"kind": "questions", "path": str(path), "task": task, **counts}


EVENTS = "events.out.tfevents.*"
BINARY = (".npy", ".npz", ".png")


def describe_binary(path: Path) -> Description:
    """Vectors (`embed`), a fixed corruption set (`evaluate --corruption`) or other arrays, a picture (`plot`)."""
    out: Description = {"path": str(path), "size_bytes": path.stat().st_size}
    if path.match(EVENTS):
        return {"kind": "TensorBoard log", **out}
    if path.suffix not in (".npy", ".npz"):
        head = path.read_bytes()[:24]
        return {"kind": "picture", **out, "width": int.from_bytes(head[16:20], "big"), "height": int.from_bytes(head[20:24], "big")}
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        return _describe_arrays(arrays, out)
    except atomic.BROKEN_PACKED as error:
        raise UserError(f"{path} is not a readable file of arrays ({error}); write it again") from None


def _describe_arrays(arrays: Mapping[str, np.ndarray], out: Description) -> Description:
    shapes = {name: f"{value.dtype} {' x '.join(map(str, value.shape)) or 'scalar'}" for name, value in arrays.items()}
    if {"format", "fingerprint", "lengths"} <= arrays.keys():
        sources = [name.removeprefix("corrupted_") for name in arrays if name.startswith("corrupted_")]
        sizes = {"examples": len(arrays["lengths"]), "tokens": len(arrays["ids"]), "vocabulary": str(arrays["fingerprint"])}
        replaced = {name: float((np.not_equal(arrays[f"corrupted_{name}"], arrays["ids"])).mean()) for name in sources}
        return {"kind": "corruption set", **out, **sizes, "replaced_fraction": replaced}
    return {"kind": "vectors" if str(out["path"]).endswith(".npy") else "arrays", **out, "arrays": shapes}


# ---- heads and data in a line ----

SHOWN_LABELS = 6


def head_line(source: str, hf_config: Mapping[str, Any], head: Head) -> str:
    """'runs/sst2: ElectraForSequenceClassification, head: classification into 2 classes (0, 1)'."""
    return f"{source}: {architecture_in(hf_config)}, head: {describe(head)}"


def describe(head: Head) -> str:
    """'classification into 2 classes (0, 1)', 'a number', 'a tag for each word, of 23', 'an answer span in a text'."""
    if head.transform != "default":
        form = " from 0 to 1 (by a sigmoid)" if head.transform == "sigmoid" else ""
        shown = ", ".join(head.labels[:SHOWN_LABELS])
        return f"{len(head.labels)} numbers{form}, the name of the largest ({shown})" if head.labels else f"a number{form}"
    names = ", ".join(head.labels[:SHOWN_LABELS]) + (", ..." if len(head.labels) > SHOWN_LABELS else "")
    return {
        "classification": f"classification into {len(head.labels)} classes ({names})",
        "multilabel": f"any of {len(head.labels)} labels ({names})",
        "tagging": f"a tag for each word, of {len(head.labels)} ({names})",
        "regression": "a number",
        "span": "an answer span in a text",
        "ranking": "the relevance of a passage to a query",
    }[head.kind]


def start_line(source: str, hf_config: Mapping[str, Any], task: Task, head: Head, style: str) -> str:
    """Which encoder (by its config.json) and which new head fine-tuning starts from."""
    architecture = architecture_in(hf_config)
    encoder = f"random weights in the shape of {source[7:]}" if source.startswith("random:") else f"{source}: encoder of its {architecture}"
    form = {"original": "the original's form", "mean": "on the mean of all states"}.get(style, "transformers's form")
    return f"{encoder}; new head for {task.name} ({form}): {describe(head)}"


def data_lines(train: Sequence[Example], dev: Sequence[Example], head: Head, pretraining: Sequence[Path]) -> list[str]:
    """Warnings about the examples, and about dev examples that are in the pre-training data.

    Raises:
        UserError: tokenized data that cannot be read.
    """
    found = warnings(train, dev, head)
    if pretraining and (line := in_pretraining(dev, pretraining)):
        found.append(line)
    return [f"warning: {line}" for line in found]

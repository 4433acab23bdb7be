"""CLUE's and FewCLUE's single files: a task's folder (or the folder of all tasks) -> examples.

    train.json dev.json test.json                          CLUE: one object a line (OCNLI's training file is train.50k.json)
    train_0.json .. train_4.json train_few_all.json ...    FewCLUE: five small splits and their union (`choose_fold`), test_public.json
    train.tsv dev.tsv test.tsv                             ChnSentiCorp: header "label", "text_a"

The label sets are the official ones, in the baselines' order (CLUEbenchmark/CLUE, `processors/clue.py`), not those that occur in a
small split: IFLYTEK's splits lack classes of its test set. Texts are composed as there, too:
TNEWS and IFLYTEK give the sentence alone; CSL gives the keywords, joined by blanks, and then the abstract; CLUEWSC2020 gives one text
with the noun between underscores and the pronoun between brackets: "_noun_ ... [pronoun]".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from electra.contracts import Example, Head, Task
from electra.data.tables import json_rows, rows_below_header, split_lines, tab_separated
from electra.errors import UserError, did_you_mean
from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.text_tasks import TEXT_OPTIONS, decode_texts, featurize_texts, fixed_head, read_text

FOLDS = ("0", "1", "2", "3", "4", "few_all")
NO_AGREEMENT = "-"
"""Label of a pair whose annotators did not agree (CMNLI, OCNLI): such rows are skipped."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ClueLayout:
    """Folders, labels and texts of a task."""

    folders: tuple[str, ...]
    """Names its folder goes by, without "_public", capitals, "-" and "_"."""
    labels: tuple[str, ...]
    texts: Callable[[Row, str], tuple[str, str | None]]
    """(row, place) -> one or two texts."""
    suffix: str = ".json"


# ---- one row ----


def _text(row: Row, name: str, place: str) -> str:
    if not isinstance(value := row.get(name), str):
        known = ", ".join(map(str, row))[:200]
        raise UserError(f"{place}: no text '{name}' (fields: {known}); is this the right task's file?")
    return value


def _single(name: str) -> Callable[[Row, str], tuple[str, str | None]]:
    return lambda row, place: (_text(row, name, place), None)


def _pair(row: Row, place: str) -> tuple[str, str | None]:
    return _text(row, "sentence1", place), _text(row, "sentence2", place)


def _keywords(row: Row, place: str) -> tuple[str, str | None]:
    words = row.get("keyword")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{place}: 'keyword' is not a list of texts; is this CSL?")
    return " ".join(words), _text(row, "abst", place)


def _marked(row: Row, place: str) -> tuple[str, str | None]:
    text, target = _text(row, "text", place), row.get("target")
    if not isinstance(target, dict):
        raise UserError(f"{place}: no object 'target' with the two spans; is this CLUEWSC2020?")
    return mark_spans(text, target, place), None


def mark_spans(text: str, target: Row, place: str) -> str:
    """A text and its noun (span1) and pronoun (span2) -> the text with "_" around the one and "[", "]" around the other.

    Raises:
        UserError: a span is missing, or is not at its index, or the two overlap.
    """
    spans = []
    for name, marks in (("span1", "__"), ("span2", "[]")):
        words, start = target.get(f"{name}_text"), target.get(f"{name}_index")
        if not isinstance(words, str) or not isinstance(start, int) or start < 0 or text[start : start + len(words)] != words:
            raise UserError(f"{place}: {name} '{words}' is not at character {start} of the text; correct the row")
        spans.append((start, start + len(words), marks))
    (first, end, opening), (second, last, closing) = sorted(spans)
    if end > second:
        raise UserError(f"{place}: the two spans overlap; correct the row")
    parts = (text[:first], opening[0], text[first:end], opening[1], text[end:second], closing[0], text[second:last], closing[1], text[last:])
    return "".join(parts)


# ---- files ----


def task_folder(data: Path, name: str, layout: ClueLayout) -> Path:
    """The task's own folder, given either itself or the folder of all tasks.

    Raises:
        UserError: neither.
    """
    atomic.existing_path(data, f"the folder of {name}")
    if data.is_file():
        raise UserError(f"{data} is a file; give the folder of {name} with its train and dev files (or its parent)")
    if any(data.glob(f"train*{layout.suffix}")) or any(data.glob(f"dev*{layout.suffix}")) or any(data.glob(f"test*{layout.suffix}")):
        return data
    for inner in sorted(data.iterdir()):
        plain = inner.name.lower().removesuffix("_public").replace("-", "").replace("_", "")
        if inner.is_dir() and plain in layout.folders:
            return inner
    raise UserError(f"{data} contains neither train{layout.suffix} nor a folder {layout.folders[0]}; give the folder of {name}, or its parent")


def split_file(folder: Path, layout: ClueLayout, split: str, fold: str | None) -> Path:
    """The file of a split, of CLUE or of a fold of FewCLUE.

    Raises:
        UserError: there is none; if the folder contains FewCLUE's splits, the message says how to choose one.
    """
    end = layout.suffix
    if fold is not None and split in ("train", "dev"):
        names = [f"{split}_{fold}{end}"]
    elif split == "test1.0":
        names = [f"test1.0{end}", f"test{end}"]
    elif split == "test":
        names = [f"test{end}", f"test1.1{end}", f"test_public{end}"] if fold is None else [f"test_public{end}", f"test{end}"]
    else:
        names = [f"{split}{end}"] + ([f"train.50k{end}"] if split == "train" else [])
    found = next((path for name in names if (path := folder / name).exists()), None)
    if found is not None:
        return found
    if fold is None and any(folder.glob(f"{split}_*{end}")):
        raise UserError(f"{folder} contains FewCLUE's splits of {split}, not {names[0]}; choose one by --fold 0 .. 4 or few_all")
    if fold is not None:
        raise UserError(f"{folder} has no {names[0]}; it is not in FewCLUE's layout, leave --fold out")
    raise UserError(f"{folder} has no {names[0]}; give the task's complete folder")


def rows_of(path: Path, split: str) -> Iterator[tuple[str, Row]]:
    """(place for messages, row) of a file of JSON lines, or of a tab-separated one with a header.

    Raises:
        UserError: a line that is not a JSON object, or with another number of columns than the header.
    """
    text = read_text(path, f"the {split} split")
    rows = rows_below_header(path, tab_separated(split_lines(text))) if path.suffix == ".tsv" else json_rows(path, text)
    for line, row in rows:
        yield f"{path}, line {line}", row


def read_clue(name: str, layout: ClueLayout, data: Path, split: str, fold: str | None = None) -> list[Example]:
    """(folder, split) -> examples, ids "split-0", ... or, in a test file, what its field "id" says; no labels where a test file has none.

    Raises:
        UserError: missing file, a row that cannot be read, or a label outside the task's.
    """
    folder = task_folder(Path(data), name, layout)
    path = split_file(folder, layout, split, fold)
    check_labels_file(folder / "labels.json", name, layout)
    examples: list[Example] = []
    for number, (place, row) in enumerate(rows_of(path, split)):
        label = _label(row, layout, name, place, required=split in ("train", "dev"))
        if label != NO_AGREEMENT:
            text, pair = layout.texts(row, place)
            id_ = row.get("id", number) if split.startswith("test") else number
            examples.append(Example(id=f"{split}-{id_}", text=text, text_pair=pair, label=label))
    if not examples:
        raise UserError(f"{path} has no examples; give the complete file")
    return examples


def _label(row: Row, layout: ClueLayout, name: str, place: str, *, required: bool) -> str | None:
    value = row.get("label", row.get("gold_label"))
    if value is None and not required:
        return None
    # Numbers and their names are both found (FewCLUE's tnews says 102, CLUE's "102"), and JSON's true for "true".
    label = str(value).lower() if isinstance(value, bool) else str(value)
    if label == NO_AGREEMENT and "neutral" in layout.labels:
        return label
    if label not in layout.labels:
        hint = did_you_mean(label, layout.labels) if len(layout.labels) < 20 else f"known: {layout.labels[0]} .. {layout.labels[-1]}"
        raise UserError(f"{place}: label '{label[:60]}' is not one of {name}'s; {hint}")
    return label


def check_labels_file(path: Path, name: str, layout: ClueLayout) -> None:
    """Check CLUE's labels.json (one object a line), if it exists.

    Raises:
        UserError: its labels are not the task's.
    """
    if not path.exists():
        return
    found = {str(row["label"]) for _, row in rows_of(path, "labels") if "label" in row}
    if found and (odd := sorted(found ^ set(layout.labels))):
        raise UserError(f"{path} and {name} differ in the label '{odd[0]}'; for other labels use the task 'own'")


# ---- the tasks ----

_ENTAILMENT = ("contradiction", "entailment", "neutral")
_BINARY = ("0", "1")

LAYOUTS = {
    "afqmc": ClueLayout(folders=("afqmc",), labels=_BINARY, texts=_pair),
    "tnews": ClueLayout(folders=("tnews",), labels=tuple(str(i) for i in range(100, 117) if i not in (105, 111)), texts=_single("sentence")),
    "iflytek": ClueLayout(folders=("iflytek",), labels=tuple(map(str, range(119))), texts=_single("sentence")),
    "cmnli": ClueLayout(folders=("cmnli",), labels=_ENTAILMENT, texts=_pair),
    "cluewsc": ClueLayout(folders=("cluewsc", "cluewsc2020", "wsc"), labels=("true", "false"), texts=_marked),
    "csl": ClueLayout(folders=("csl",), labels=_BINARY, texts=_keywords),
    "ocnli": ClueLayout(folders=("ocnli", "ocnli50k"), labels=_ENTAILMENT, texts=_pair),
    "bustm": ClueLayout(folders=("bustm",), labels=_BINARY, texts=_pair),
    "chnsenticorp": ClueLayout(folders=("chnsenticorp",), labels=_BINARY, texts=_single("text_a"), suffix=".tsv"),
}
_DESCRIPTIONS = {
    "afqmc": "Chinese: whether two questions about finance mean the same",
    "tnews": "Chinese: topic of a news title, 15 classes",
    "iflytek": "Chinese: kind of an app by its description, 119 classes",
    "cmnli": "Chinese: entailment, translated from MNLI",
    "cluewsc": "Chinese: whether a pronoun means a noun (CLUEWSC2020)",
    "csl": "Chinese: whether keywords are those of an abstract",
    "ocnli": "Chinese: entailment, written in Chinese",
    "bustm": "Chinese: whether two short dialogue lines mean the same",
    "chnsenticorp": "Chinese: sentiment of reviews of hotels, books and computers",
}


def _clue(name: str, layout: ClueLayout) -> Task:
    return Task(
        name=name,
        description=_DESCRIPTIONS[name],
        read=partial(read_clue, name, layout),
        featurize=featurize_texts,
        options=TEXT_OPTIONS,
        head=fixed_head(Head(kind="classification", labels=layout.labels)),
        decode=decode_texts,
        score=metrics.score_accuracy,
        main_metric="accuracy",
    )


CLUE: dict[str, Task] = {name: _clue(name, layout) for name, layout in LAYOUTS.items()}


def has_folds(name: str) -> bool:
    """Whether FewCLUE has the task."""
    return name in LAYOUTS and LAYOUTS[name].suffix == ".json"


def choose_fold(task: Task, fold: str | None) -> Task:
    """The task on one of FewCLUE's splits, "0" .. "4" or "few_all"; None: the full files.

    Raises:
        UserError: no such fold, or the task has none.
    """
    if fold is None:
        return task
    if not has_folds(task.name):
        raise UserError(f"--fold is for FewCLUE's tasks ({', '.join(filter(has_folds, LAYOUTS))}); {task.name} has none")
    if fold not in FOLDS:
        raise UserError(f"--fold {fold}: expected one of {', '.join(FOLDS)}")
    return replace(task, read=partial(read_clue, task.name, LAYOUTS[task.name], fold=fold))

"""GLUE's single files: a task's folder (or the folder of all tasks) with train.tsv, dev.tsv, test.tsv -> examples.

Quotation marks are ordinary characters and columns are found by the header's names, so that a rebuilt file with
columns in another order still reads right. CoLA has a header only in its test file. MNLI's dev split is its matched and its mismatched
half, scored apart; its diagnostic set (AX) is a split without labels.

The main metrics are those of the ELECTRA paper (section 3.1): Matthews correlation for CoLA, Spearman for STS-B,
accuracy for the others; F1, Pearson and GLUE's own means (`glue_score`) are reported as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from electra.contracts import Example, Head, Prediction, Task
from electra.data.tables import split_lines, tab_separated
from electra.errors import UserError, did_you_mean
from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.text_tasks import TEXT_OPTIONS, decode_texts, featurize_texts, fixed_head, number, read_text
from electra.terminal import say


@dataclass(frozen=True, kw_only=True)
class GlueLayout:
    """Files and columns of a task."""

    folder: str
    """Name of its folder under GLUE's root."""
    text: str | int
    """Column of the text: a header's name, or an index where the file has no header."""
    label: str | int
    text_pair: str | int | None = None
    test_text: str | None = None
    """The text's name in a test file that has a header when the others have none."""
    labels: tuple[str, ...] = ()
    """Class names in id order; empty for a regression."""
    minimum: float = 0.0
    maximum: float = 1.0
    """Range of a regression's label."""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Split -> paths of its file relative to the task's folder, if not SPLIT.tsv; the first that exists is read."""
    has_broken_rows: bool = False
    """Whether the official files have rows with too few columns, which are skipped and counted."""

    def places(self, split: str) -> tuple[str, ...]:
        """Possible paths of a split's file."""
        return self.files.get(split, (f"{split}.tsv",))


def task_folder(data: Path, layout: GlueLayout) -> Path:
    """The task's own folder, given either itself or GLUE's root (names compared without case).

    Raises:
        UserError: neither.
    """
    folder = layout.folder
    atomic.existing_path(data, f"the folder of {folder}")
    if data.is_file():
        raise UserError(f"{data} is a file; give the folder {folder} with train.tsv and dev.tsv (or its parent)")
    if any((data / layout.places(split)[0]).exists() for split in ("train", "dev", "test", *layout.files)):
        return data
    for inner in sorted(data.iterdir()):
        if inner.is_dir() and inner.name.lower().replace("-", "") == folder.lower().replace("-", ""):
            return inner
    raise UserError(f"{data} contains neither train.tsv nor a folder {folder}; give GLUE's folder {folder}, or its parent")


def read_glue(layout: GlueLayout, data: Path, split: str) -> list[Example]:
    """(folder, split) -> examples, ids "split-0", "split-1", ...; labels are None in a file without that column.

    Rows with too few columns are skipped and counted on standard error if the layout allows them; in a file without labels they are kept,
    with empty text, because a submission needs every row.

    Raises:
        UserError: missing file, missing column, a row that is too short, or a label outside the task's.
    """
    folder = task_folder(Path(data), layout)
    places = [folder / place for place in layout.places(split)]
    path = next((place for place in places if place.exists()), places[0])
    rows = list(tab_separated(split_lines(read_text(path, f"the {split} split of {layout.folder}"))))
    columns = _columns(layout, path, rows, split)
    examples: list[Example] = []
    broken: list[int] = []
    for line, fields in rows[columns.skip :]:
        place = f"{path}, line {line}"
        if len(fields) < columns.width:
            if not layout.has_broken_rows:
                raise UserError(f"{place}: {len(fields)} columns, expected {columns.width}; is the file cut off, or not tab-separated?")
            broken.append(line)
            if columns.label is not None:
                continue
            fields = fields + [""] * (columns.width - len(fields))
        label = None if columns.label is None else _label(layout, fields[columns.label], place)
        pair = None if columns.text_pair is None else fields[columns.text_pair]
        examples.append(Example(id=f"{split}-{len(examples)}", text=fields[columns.text], text_pair=pair, label=label))
    if not examples:
        raise UserError(f"{path} has a header but no examples; give the complete file")
    if broken:
        what = "skipped" if columns.label is not None else "read as empty texts"
        first = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")
        say(f"{path}: {len(broken):,} rows with fewer than {columns.width} columns {what} (lines {first})")
    return examples


@dataclass(frozen=True)
class _Columns:
    text: int
    text_pair: int | None
    label: int | None
    skip: int
    """Header lines."""

    @property
    def width(self) -> int:
        return max(self.text, -1 if self.text_pair is None else self.text_pair, -1 if self.label is None else self.label) + 1


def _columns(layout: GlueLayout, path: Path, rows: list[tuple[int, list[str]]], split: str) -> _Columns:
    header = rows[0][1]
    if isinstance(layout.text, int):
        assert isinstance(layout.label, int)
        if split == "test" and layout.test_text in header:
            return _Columns(header.index(layout.test_text), None, None, 1)
        return _Columns(layout.text, None, layout.label, 0)

    def find(name: str | int | None) -> int:
        if name not in header:
            raise UserError(f"{path} has no column '{name}' (columns: {', '.join(header)[:200]}); is this {layout.folder} in GLUE's layout?")
        return header.index(str(name))

    pair = None if layout.text_pair is None else find(layout.text_pair)
    # GLUE's test files have no labels (MRPC's puts an index in the label's place, under another name).
    label = None if not split.startswith(("train", "dev")) and layout.label not in header else find(layout.label)
    return _Columns(find(layout.text), pair, label, 1)


def _label(layout: GlueLayout, value: str, place: str) -> str | float:
    if not layout.labels:
        found = number(value, place)
        if not layout.minimum <= found <= layout.maximum:
            raise UserError(f"{place}: score {value} is not within {layout.minimum:g}..{layout.maximum:g}; is this {layout.folder}?")
        return found
    if value not in layout.labels:
        hint = did_you_mean(value, layout.labels) if len(value) < 30 else "known: " + ", ".join(layout.labels)
        raise UserError(f"{place}: label '{value[:60]}' is not one of {layout.folder}'s; {hint}")
    return value


def _glue(name: str, description: str, layout: GlueLayout, score: metrics.Score, main_metric: str, *, unordered_pairs: bool = False) -> Task:
    if layout.labels:
        head = Head(kind="classification", labels=layout.labels)
    else:
        head = Head(kind="regression", offset=layout.minimum, scale=layout.maximum - layout.minimum)
    read: Callable[[Path, str], list[Example]] = lambda data, split: read_glue(layout, data, split)  # noqa: E731
    return Task(
        name=name,
        description=description,
        read=read,
        featurize=featurize_texts,
        options=TEXT_OPTIONS,
        head=fixed_head(head),
        decode=decode_texts,
        score=score,
        main_metric=main_metric,
        unordered_pairs=unordered_pairs,
        splits=("train", "dev", "test", *(split for split in layout.files if split not in ("train", "dev", "test"))),
    )


def read_mnli(data: Path, split: str) -> list[Example]:
    """`read_glue`, but 'dev' is the matched half followed by the mismatched one, if its file exists."""
    if split != "dev":
        return read_glue(_MNLI, data, split)
    matched = read_glue(_MNLI, data, "dev_matched")
    other = task_folder(Path(data), _MNLI) / "dev_mismatched.tsv"
    return matched + (read_glue(_MNLI, data, "dev_mismatched") if other.exists() else [])


def score_mnli(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> dict[str, float]:
    """Accuracy of the matched half under the plain name, as GLUE's tables give it; the other as `accuracy_mismatched`."""
    halves: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        halves.setdefault("accuracy_mismatched" if "mismatched" in example.id else "accuracy", []).append(i)
    if len(halves) < 2:
        return metrics.score_accuracy(examples, predictions, head)
    return {
        name: metrics.score_accuracy([examples[i] for i in chosen], [predictions[i] for i in chosen], head)["accuracy"]
        for name, chosen in sorted(halves.items())
    }


_BINARY = ("0", "1")

SST2 = _glue(
    "sst2",
    "sentiment of film review sentences",
    GlueLayout(folder="SST-2", text="sentence", label="label", labels=_BINARY),
    metrics.score_accuracy,
    "accuracy",
)
COLA = _glue(
    "cola",
    "linguistic acceptability",
    GlueLayout(folder="CoLA", text=3, label=1, test_text="sentence", labels=_BINARY),
    metrics.score_matthews,
    "matthews",
)
MRPC = _glue(
    "mrpc",
    "paraphrase of two sentences",
    GlueLayout(folder="MRPC", text="#1 String", text_pair="#2 String", label="Quality", labels=_BINARY),
    metrics.score_paraphrase,
    "accuracy",
    unordered_pairs=True,
)
STSB = _glue(
    "stsb",
    "similarity of two sentences, 0 to 5",
    GlueLayout(folder="STS-B", text="sentence1", text_pair="sentence2", label="score", maximum=5.0),
    metrics.score_similarity,
    "spearman",
    unordered_pairs=True,
)
RTE = _glue(
    "rte",
    "entailment",
    GlueLayout(folder="RTE", text="sentence1", text_pair="sentence2", label="label", labels=("entailment", "not_entailment")),
    metrics.score_accuracy,
    "accuracy",
)
WNLI = _glue(
    "wnli",
    "entailment by resolving a pronoun",
    GlueLayout(folder="WNLI", text="sentence1", text_pair="sentence2", label="label", labels=_BINARY),
    metrics.score_accuracy,
    "accuracy",
)
QQP = _glue(
    "qqp",
    "whether two questions mean the same",
    GlueLayout(folder="QQP", text="question1", text_pair="question2", label="is_duplicate", labels=_BINARY, has_broken_rows=True),
    metrics.score_paraphrase,
    "accuracy",
)
QNLI = _glue(
    "qnli",
    "whether a sentence answers a question",
    GlueLayout(folder="QNLI", text="question", text_pair="sentence", label="label", labels=("entailment", "not_entailment")),
    metrics.score_accuracy,
    "accuracy",
)
_MNLI = GlueLayout(
    folder="MNLI",
    text="sentence1",
    text_pair="sentence2",
    label="gold_label",
    labels=("contradiction", "entailment", "neutral"),
    files={
        "dev": ("dev_matched.tsv",),
        "dev_matched": ("dev_matched.tsv",),
        "dev_mismatched": ("dev_mismatched.tsv",),
        "test": ("test_matched.tsv",),
        "test_matched": ("test_matched.tsv",),
        "test_mismatched": ("test_mismatched.tsv",),
        # The two scripts that download GLUE put the diagnostic set next to the tasks' folders, under different names.
        "ax": ("diagnostic.tsv", "AX.tsv", "diagnostic/diagnostic.tsv", "../diagnostic/diagnostic.tsv", "../AX/AX.tsv", "../AX.tsv"),
    },
)
MNLI = replace(_glue("mnli", "entailment between two sentences (dev: matched and mismatched)", _MNLI, score_mnli, "accuracy"), read=read_mnli)

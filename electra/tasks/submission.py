"""Predictions for the unlabelled test sets of GLUE and CLUE -> the files that their sites accept, in one zip.

GLUE (gluebenchmark.com): a tsv for each task, header "index<TAB>prediction", rows numbered from 0 in the order of the test file; entailment in
words, similarity as a number from 0 to 5 with three decimals; every task is required. CLUE (cluebenchmarks.com): JSON lines with the test
file's own ids and the label as text; tasks may be missing.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from electra.contracts import Example, Head, Prediction, Task
from electra.errors import UserError, did_you_mean
from electra.storage import atomic
from electra.tasks import hub_datasets
from electra.tasks.registry import find_task


@dataclass(frozen=True)
class SubmissionFile:
    """One file of a submission."""

    task: str
    split: str
    name: str
    num_rows: int | None
    """Rows of the official test file, from the data set's card; None: not known, so not checked and never filled."""
    optional: bool = False
    """Whether its test file may be missing although its task has a model (GLUE's diagnostic set)."""


GLUE = (
    SubmissionFile("cola", "test", "CoLA.tsv", 1063),
    SubmissionFile("sst2", "test", "SST-2.tsv", 1821),
    SubmissionFile("mrpc", "test", "MRPC.tsv", 1725),
    SubmissionFile("stsb", "test", "STS-B.tsv", 1379),
    SubmissionFile("qqp", "test", "QQP.tsv", 390965),
    SubmissionFile("mnli", "test_matched", "MNLI-m.tsv", 9796),
    SubmissionFile("mnli", "test_mismatched", "MNLI-mm.tsv", 9847),
    SubmissionFile("qnli", "test", "QNLI.tsv", 5463),
    SubmissionFile("rte", "test", "RTE.tsv", 3000),
    SubmissionFile("wnli", "test", "WNLI.tsv", 146),
    SubmissionFile("mnli", "ax", "AX.tsv", 1104, optional=True),
)
_CLUE = (
    SubmissionFile("afqmc", "test", "afqmc_predict.json", 3861),
    SubmissionFile("iflytek", "test", "iflytek_predict.json", None),
    SubmissionFile("csl", "test", "csl_predict.json", None),
)
CLUE_1_1 = (
    *_CLUE,
    SubmissionFile("tnews", "test", "tnews11_predict.json", 10000),
    SubmissionFile("cluewsc", "test", "cluewsc11_predict.json", 2574),
    SubmissionFile("ocnli", "test", "ocnli_50k_predict.json", None),
)
CLUE_1_0 = (
    *_CLUE,
    SubmissionFile("tnews", "test1.0", "tnews10_predict.json", 10000),
    SubmissionFile("cluewsc", "test1.0", "cluewsc10_predict.json", None),
    SubmissionFile("cmnli", "test", "cmnli_predict.json", None),
)
BENCHMARKS: dict[str, tuple[SubmissionFile, ...]] = {"glue": GLUE, "clue": CLUE_1_1, "clue1.0": CLUE_1_0}


def files_of(benchmark: str) -> tuple[SubmissionFile, ...]:
    """The files of a benchmark's submission.

    Raises:
        UserError: unknown.
    """
    if benchmark not in BENCHMARKS:
        raise UserError(f"no submission to '{benchmark}'; {did_you_mean(benchmark, BENCHMARKS)}")
    return BENCHMARKS[benchmark]


def parse_models(words: Sequence[str], wanted: Sequence[SubmissionFile]) -> dict[str, str]:
    """'sst2=RUN', ... -> task -> where its model is.

    Raises:
        UserError: not of that form, a task that the benchmark does not have, or one named twice.
    """
    known = sorted({file.task for file in wanted})
    models: dict[str, str] = {}
    for word in words:
        name, equals, source = word.partition("=")
        if not equals or not source:
            raise UserError(f"--models {word}: expected TASK=MODEL, such as {known[0]}=runs/{known[0]}/best")
        key = name.lower().replace("-", "").replace("_", "")
        if key not in known:
            raise UserError(f"--models {word}: no such task in this submission; {did_you_mean(key, known)}")
        if key in models:
            raise UserError(f"--models names {key} twice; leave one out")
        models[key] = source
    return models


@dataclass(frozen=True)
class SubmissionPlan:
    """What goes into every file of a submission."""

    answered: dict[SubmissionFile, list[Example]]
    """By a model: the test examples."""
    filled: dict[SubmissionFile, list[Example]]
    """By one constant answer, without a model."""
    omitted: tuple[SubmissionFile, ...] = ()


def plan(benchmark: str, models: Mapping[str, str], data: Path, *, fill: bool) -> SubmissionPlan:
    """Read every test file that a model will answer, before any model is opened.

    Raises:
        UserError: a task without a model (GLUE, without `fill`), a missing test file, or one
            without the official number of rows.
    """
    made = SubmissionPlan({}, {})
    omitted = []
    for file in files_of(benchmark):
        if file.task not in models:
            if fill and file.num_rows is not None:
                made.filled[file] = _unanswered(file)
            else:
                omitted.append(file)
            continue
        try:
            examples = (task := find_task(file.task)).read(hub_datasets.local(task, data), file.split)
        except UserError:
            if not (file.optional and fill):
                raise
            made.filled[file] = _unanswered(file)
            continue
        if file.num_rows is not None and len(examples) != file.num_rows:
            raise UserError(
                f"the {file.split} split of {file.task} in {data} has {len(examples):,} rows, the official one {file.num_rows:,}; download it again"
            )
        made.answered[file] = examples
    if not made.answered:
        raise UserError("no task has a model; give one by --models TASK=MODEL")
    if omitted and benchmark == "glue":
        missing = ", ".join(sorted({file.task for file in omitted}))
        raise UserError(f"GLUE takes complete submissions only, and there is no model for {missing}; give them by --models, or use --fill")
    return SubmissionPlan(made.answered, made.filled, tuple(omitted))


def _unanswered(file: SubmissionFile) -> list[Example]:
    return [Example(id=f"{file.split}-{i}", text="") for i in range(file.num_rows or 0)]


def constant_answer(task: Task, data: Path) -> tuple[Prediction, str]:
    """The most frequent training label (a number: their mean), and where it comes from; without training files, the first label or the
    middle of the range."""
    head = task.head([])
    try:
        train = task.read(hub_datasets.local(task, data), "train")
    except UserError:
        guess = head.labels[0] if head.labels else head.offset + head.scale / 2
        return Prediction(label=guess), "a guess: there is no training file"
    if head.kind == "regression":
        return Prediction(label=sum(float(str(e.label)) for e in train) / len(train)), "the mean of its training labels"
    counts = Counter(str(example.label) for example in train)
    return Prediction(label=max(head.labels, key=lambda name: counts[name])), "the majority of its training labels"


def glue_file(predictions: Sequence[Prediction], head: Head) -> str:
    """Predictions in the order of the test file -> its tsv."""
    if head.kind == "regression":
        answers = [f"{min(head.offset + head.scale, max(head.offset, float(str(p.label)))):.3f}" for p in predictions]
    else:
        answers = [str(p.label) for p in predictions]
    return "index\tprediction\n" + "".join(f"{i}\t{answer}\n" for i, answer in enumerate(answers))


def clue_file(predictions: Sequence[Prediction], examples: Sequence[Example]) -> str:
    """Predictions and their examples, in the order of the test file -> its JSON lines."""
    rows = []
    for prediction, example in zip(predictions, examples, strict=True):
        number = example.id.partition("-")[2]
        rows.append({"id": int(number) if number.isdecimal() and len(number) < 19 else number, "label": str(prediction.label)})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_zip(path: Path, files: Mapping[str, str]) -> None:
    """Name -> content, as one zip; the same contents give the same bytes."""
    with atomic.atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name)  # dated 1980, whatever the time
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name])

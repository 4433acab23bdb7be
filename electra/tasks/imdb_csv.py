"""Movie reviews as csv: as Electra_small's data set builder writes them, and as others do.

That builder (LiZongyue/Electra_small, `DataGenerator.py`) makes train/train_data.csv and test/test_data.csv: a running number without a
name, "sentences", "labels" (1 positive, 0 negative), negative reviews first. It takes `<br />` out without a trace, which glues words
together; here a blank stands in its place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from electra.contracts import Example
from electra.errors import UserError
from electra.tasks.own import read_rows

TEXT_COLUMNS = ("text", "review", "sentences", "sentence")
LABEL_COLUMNS = ("label", "sentiment", "labels")
LABELS = {"0": "neg", "neg": "neg", "negative": "neg", "1": "pos", "pos": "pos", "positive": "pos"}
PLACES = {
    "train": ("train.csv", "train/train_data.csv"),
    "dev": ("valid.csv", "dev.csv", "valid/valid_data.csv", "test.csv", "test/test_data.csv"),
    "test": ("test.csv", "test/test_data.csv"),
}


def csv_file(folder: Path, split: str) -> Path | None:
    """The csv file of a split in a folder of such; 'dev' is a held-out part where there is one, else the test half."""
    return next((path for place in PLACES[split] if (path := folder / place).is_file()), None)


def read_csv(path: Path, split: str) -> list[Example]:
    """A csv file of reviews -> examples, in its order.

    Raises:
        UserError: no column of texts or of labels, a label that is neither positive nor negative, or no reviews.
    """
    examples: list[Example] = []
    for line, row in read_rows(path, split):
        place = f"{path}, line {line}"
        text, label = (next((row[name] for name in names if name in row), None) for names in (TEXT_COLUMNS, LABEL_COLUMNS))
        if text is None or label is None:
            wanted = f"{' or '.join(TEXT_COLUMNS)}, and {' or '.join(LABEL_COLUMNS)}"
            raise UserError(f"{place}: columns {', '.join(name for name in row if name)[:200]}; expected {wanted}, or use the task 'own'")
        if (known := LABELS.get(str(label).strip().lower())) is None:
            raise UserError(f"{place}: label '{label}' is neither positive nor negative; expected {', '.join(LABELS)}")
        examples.append(Example(id=f"{split}-{len(examples)}", text=str(text).replace("<br />", " "), label=known))
    if not examples:
        raise UserError(f"{path} has no reviews below its header; give a file with some")
    return examples


def to_csv(examples: Sequence[Example]) -> str:
    """Reviews -> the builder's csv."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "sentences", "labels"])
    writer.writerows([i, example.text, int(example.label == "pos")] for i, example in enumerate(examples))
    return out.getvalue()


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Reviews -> (those to learn from, a random share of each class), each in their order.

    Raises:
        UserError: a share that leaves one of the two without a class.
    """
    chosen: set[int] = set()
    for label in sorted({str(example.label) for example in examples}):
        members = [i for i, example in enumerate(examples) if example.label == label]
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise UserError(f"--valid {share:g} of {len(members)} reviews '{label}' are {count}; give a share that leaves some on both sides")
        chosen |= set(np.random.default_rng([seed, len(members)]).permutation(members)[:count].tolist())
    return [e for i, e in enumerate(examples) if i not in chosen], [e for i, e in enumerate(examples) if i in chosen]

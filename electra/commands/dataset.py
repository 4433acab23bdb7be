"""electra dataset: a data set's official files -> csv files."""

from __future__ import annotations

from electra.errors import UserError
from electra.settings import DatasetSettings
from electra.storage import atomic
from electra.tasks.imdb import hold_out, read_imdb, to_csv

FILES = {"train": "train/train_data.csv", "valid": "valid/valid_data.csv", "test": "test/test_data.csv"}


def run(settings: DatasetSettings) -> None:
    """Write the two halves of the Large Movie Review data set; print the number of reviews in each."""
    if settings.name != "imdb":
        raise UserError(f"no data set '{settings.name}'; known: imdb")
    atomic.fresh_output(settings.output, remedy="choose another --output")
    splits = {"train": read_imdb(settings.data, "train"), "test": read_imdb(settings.data, "test")}
    if settings.valid:
        splits["train"], splits["valid"] = hold_out(splits["train"], settings.valid, settings.seed)
    with atomic.atomic_folder(settings.output) as temporary:
        for split, examples in splits.items():
            atomic.write_text(temporary / FILES[split], to_csv(examples))
    for split, examples in splits.items():
        print(f"{settings.output / FILES[split]}: {len(examples):,} reviews")

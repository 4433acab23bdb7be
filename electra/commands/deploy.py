"""The commands that convert for others: build, push, dataset."""

from __future__ import annotations

import json

from electra import api
from electra.errors import UserError
from electra.settings import BuildSettings, DatasetSettings, PushSettings
from electra.storage import atomic
from electra.tasks.imdb import hold_out, read_imdb, to_csv
from electra.terminal import data_size

FILES = {"train": "train/train_data.csv", "valid": "valid/valid_data.csv", "test": "test/test_data.csv"}


def build(settings: BuildSettings) -> None:
    """Build and report; of target 'auto' also why not the others."""
    found = api.build(settings)
    if settings.json:
        print(json.dumps(dict(found.manifest), ensure_ascii=False))
    elif found.reason:
        for name, reason in found.dropped.items():
            print(f"  {name:<18}{reason}")
        print(f"{found.path}: {found.target}, {found.reason}; all measurements are in its artefact.json")
    elif settings.layout == "hub":
        seconds, formats = found.manifest["build"]["seconds"], ", ".join(found.manifest["build"]["options"]["dtypes"])
        print(f"{found.path}: {found.manifest['role']} for transformers.js and optimum in {formats}, built in {seconds:.0f} s")
    else:
        seconds = found.manifest["build"]["seconds"]
        print(f"{found.path}: {found.manifest['role']} for {found.target}, {data_size(found.size_bytes)}, built in {seconds:.0f} s")


def push(settings: PushSettings) -> None:
    """Write or upload the repository; print its place."""
    print(api.push(settings))


def dataset(settings: DatasetSettings) -> None:
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

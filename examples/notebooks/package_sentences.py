"""The labelled sentences of the notebooks: those of installed packages' docstrings, labelled by the package they are from."""

import csv
import random
import re
import sysconfig
import zlib
from pathlib import Path

from electra.recipes.demo.corpus import sentences_of

PACKAGES = ("numpy", "scipy", "sklearn", "matplotlib", "torch")
NAMES = re.compile("|".join((*PACKAGES, "scikit-learn", "pytorch", "pyplot")), re.I)
"""Sentences that name a library are left out: they would give the answer away."""


def sentences(package: str, half: int) -> list[str]:
    """The sentences of one half of a package's files, so that no file gives both training and test sentences."""
    folder = Path(sysconfig.get_path("purelib"), package)
    files = sorted(path for path in folder.rglob("*.py") if "test" not in path.relative_to(folder).as_posix())
    texts = (text for path in files if zlib.crc32(path.name.encode()) % 2 == half for text in sentences_of(path))
    return sorted({text for text in texts if len(text) > 60 and not NAMES.search(text)})


def write_sentences(file: Path, half: int, each: int) -> None:
    """Write a csv file with columns text and label: `each` sentences of every package, shuffled."""
    rows = [(text, package) for package in PACKAGES for text in random.Random(1).sample(sentences(package, half), each)]
    random.Random(2).shuffle(rows)
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])

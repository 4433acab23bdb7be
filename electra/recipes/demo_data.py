"""Where the demo's labelled sentences come from: the user's folder, SST-2 on the hub when it answers, else the project's own reviews."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from electra import disk

REVIEWS = Path(__file__).parent / "reviews"
HUB_NAME = "stanfordnlp/sst2"
ANSWER_SECONDS = 5.0
"""Time the hub has to answer at all."""
DOWNLOAD_SECONDS = 60.0

T = TypeVar("T")


def choose(data: Path | None, folder: Path) -> tuple[Path, str]:
    """The folder of SST-2's layout to fine-tune on, and a sentence that says what it is; a download lands in `folder`."""
    if data is not None:
        return data, f"the files in {data}"
    if (folder / "train.tsv").exists() or (reason := _download(folder)) is None:
        return folder, f"SST-2 (film reviews) from the Hugging Face hub, {HUB_NAME}"
    print(f"the hub's SST-2 is out of reach ({reason}): using the reviews that come with electra", file=sys.stderr)
    return REVIEWS, f"short reviews written for this project (the hub's SST-2 was out of reach: {reason})"


def _download(folder: Path) -> str | None:
    """SST-2 in GLUE's layout into `folder` -> None, or why not, within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        within(ANSWER_SECONDS, _ask)
        splits = within(DOWNLOAD_SECONDS, _read)
    except ModuleNotFoundError as error:
        return f"the package '{error.name}' is not installed"
    except Exception as error:
        # Whatever goes wrong in somebody else's network is an answer here, not a failure of the demo.
        return type(error).__name__
    with disk.atomic_folder(folder) as temporary:
        for name, rows in splits.items():
            lines = "".join(f"{' '.join(text.split())}\t{label}\n" for text, label in rows)
            (temporary / f"{name}.tsv").write_text("sentence\tlabel\n" + lines, encoding="utf-8")
    return None


def _ask() -> object:
    import huggingface_hub

    return huggingface_hub.HfApi().dataset_info(HUB_NAME, timeout=ANSWER_SECONDS)


def _read() -> dict[str, list[tuple[str, int]]]:
    import datasets

    loaded: Any = datasets.load_dataset(HUB_NAME)
    return {ours: [(row["sentence"], row["label"]) for row in loaded[theirs]] for ours, theirs in (("train", "train"), ("dev", "validation"))}


def within(seconds: float, call: Callable[[], T]) -> T:
    """`call()`, given up after `seconds` (its thread is left behind: a name server that does not answer cannot be interrupted).

    Raises:
        TimeoutError: it was not done by then. Its own exceptions come through.
    """
    box: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            box.append(call())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not box:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return box[0]

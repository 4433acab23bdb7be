"""Every example runs at toy size; none is longer than sixty lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TOY = """
base = "mini"

[model]
hidden_size = 32
embedding_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 64

[data]
sequence_length = 32

[loop]
batch_size = 8
precision = "fp32"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path) -> Path:
    """A folder with a corpus, labelled files and a small preset."""
    folder = tmp_path_factory.mktemp("examples")
    documents = tiny_corpus.read_text(encoding="utf-8").strip().split("\n\n")
    more = [f"{document}\nthe end of part {number} ." for number in range(8) for document in documents]
    (folder / "corpus.txt").write_text("\n\n".join(more) + "\n", encoding="utf-8")
    (folder / "toy.toml").write_text(TOY, encoding="utf-8")
    for name, number in (("train", 48), ("dev", 24)):
        rows = [f"the {'good' if i % 2 else 'bad'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(number)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return folder


def run(name: str, folder: Path, *words: str) -> str:
    """An example in a fresh process, run in its folder -> what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_own_language(place: Path) -> None:
    out = run("own_language", place, "corpus.txt", "--vocab-size", "300", "--preset", "toy.toml", "--steps", "6", "--output", "language")
    assert "6 steps" in out and (place / "language" / "run" / "final" / "model.safetensors").exists()
    out = run("objective_in_your_loop", place, "language/shards", "--steps", "11", "--hidden-size", "32")
    assert "replaced" in out or "disc" in out
    assert (place / "my-loop" / "generator" / "config.json").exists()


def test_journey(place: Path) -> None:
    words = ["--corpus", "corpus.txt", "--train", "train.csv", "--dev", "dev.csv", "--preset", "toy.toml", "--vocab-size", "300"]
    out = run("journey", place, *words, "--steps", "6", "--epochs", "1", "--calls", "10")
    assert "from random weights" in out and "median latency" in out
    assert out.rstrip().startswith("pre-trained: ") and "label" in out.splitlines()[-1]


def test_continue_from_checkpoint(place: Path) -> None:
    out = run("continue_from_checkpoint", place, "corpus.txt", "--steps", "2", "--output", "continued")
    assert [line.split()[0] for line in out.splitlines()][-1] == "disc_auc"


def test_finetune_build_and_serve(place: Path) -> None:
    out = run("finetune_own_csv", place, "train.csv", "dev.csv", "--epochs", "1", "--output", "classifier")
    assert "accuracy" in out
    out = run("build_and_compare", place, "classifier/best", "--data", "dev.csv", "--calls", "10", "--output", "int8")
    assert out.count("median latency") == 2
    out = run("serve_and_query", place, "int8", "--port", "8765")
    assert "text-embeddings-inference: " in out and "Hugging Face: " in out


def test_examples_are_short_and_all_of_them_run() -> None:
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    text = Path(__file__).read_text(encoding="utf-8")
    # "mteb_model" runs in tests/inference/test_search.py.
    assert len(names) == 8 and all(f'"{name}"' in text for name in names)
    for name in names:
        assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60

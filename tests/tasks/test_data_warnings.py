"""What a reader of a score should know: dev examples seen before, and data that is not what it seems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from electra import cli
from electra.contracts import Example, Head
from electra.data.tokenizer import load_tokenizer
from electra.tasks.data_warnings import EXAMPLES_READ, NGRAM, in_pretraining, ngram_hashes, unknown_lines, warnings

HEAD = Head(kind="classification", labels=("0", "1"))


def rows(*texts: str, labels: str = "01") -> list[Example]:
    return [Example(id=f"r{i}", text=text, label=labels[i % len(labels)]) for i, text in enumerate(texts)]


def test_clean_data_gets_no_word() -> None:
    assert warnings(rows("a b", "c d"), rows("e f", "g h"), HEAD) == []


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        (rows("A  good film", "x"), rows("a good film ", "y"), r"1 of 2 dev examples are also in the training set (r0)"),
        (rows("a", "b"), [*rows("c", "d"), Example(id="r0", text="e", label="1")], "1 ids occur more than once in the dev set (r0)"),
        (rows("a", " "), rows("c", "d"), "1 of 2 training examples have empty texts (r1)"),
        (rows("a", "b"), rows("c", "d", labels="1"), "all 2 dev examples are labelled '1'"),
        (rows("a", "A"), rows("c", "d"), "1 training texts have different labels in different rows (r0)"),
    ],
)
def test_each_fault_is_reported(train: list[Example], dev: list[Example], message: str) -> None:
    found = warnings(train, dev, HEAD)
    assert len(found) == 1 and message in found[0]


def test_pairs_are_the_same_only_as_a_whole() -> None:
    train = [Example(id="a", text="x", text_pair="y", label="0"), Example(id="b", text="p", text_pair="q", label="1")]
    dev = [Example(id="c", text="x", text_pair="q", label="0"), Example(id="d", text="P", text_pair="Q", label="1")]
    (line,) = warnings(train, dev, HEAD)
    assert line.startswith("1 of 2 dev examples are also in the training set (d)")


def test_runs_are_found_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a plain search, over the borders of chunks too."""
    from electra.tasks import data_warnings

    monkeypatch.setattr(data_warnings, "CHUNK_TOKENS", 50)
    ids = np.random.default_rng(1).integers(5, 9, size=400).astype(np.uint16)
    runs: dict[tuple[int, ...], int] = {}
    found = np.concatenate(list(ngram_hashes(ids)))
    assert len(found) == 400 - NGRAM + 1
    for i, value in enumerate(found.tolist()):
        key = tuple(ids[i : i + NGRAM].tolist())
        assert runs.setdefault(key, value) == value
    assert len(set(runs.values())) == len(runs)
    assert list(ngram_hashes(ids[: NGRAM - 1])) == []


def test_dev_examples_in_the_pretraining_text(tmp_path: Path, tiny_vocab: Path) -> None:
    vocabulary = [line for line in tiny_vocab.read_text().split("\n") if line.isalpha()]
    words = [vocabulary[i % len(vocabulary)] for i in np.random.default_rng(2).integers(0, 10_000, size=300)]
    (tmp_path / "text.txt").write_text(" ".join(words) + "\n")
    assert (
        cli.main(["prepare", str(tmp_path / "text.txt"), "--tokenizer", str(tiny_vocab), "--output", str(tmp_path / "shards"), "--workers", "1"]) == 0
    )
    seen = Example(id="seen", text="and then " + " ".join(words[100:130]), label="0")
    short = Example(id="short", text=" ".join(words[50:52]), label="0")
    new = Example(id="new", text=" ".join(reversed(words[100:130])), label="1")
    line = in_pretraining([new, short, seen], [tmp_path / "shards"])
    assert line is not None and line.startswith("1 of 3 dev examples (2 are long enough to check)") and "(seen)" in line
    assert in_pretraining([new, short], [tmp_path / "shards"]) is None


def test_finetune_warns_and_prints_its_head(tmp_path: Path, tiny_vocab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_models import random_start

    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    start = random_start(tmp_path / "start", tiny_vocab, **sizes)
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": f"film {i}", "label": "ab"[i % 2]}) + "\n" for i in range(6)))
    words = ["finetune", "own", "--train", str(tmp_path / "train.jsonl"), "--dev", str(tmp_path / "dev.jsonl"), "--model", str(start)]
    assert cli.main([*words, "--output", str(tmp_path / "run"), "--num-train-steps", "2", "--device", "cpu"]) == 0
    error = capsys.readouterr().err
    assert "warning: 6 of 6 dev examples are also in the training set" in error
    assert "encoder of its ElectraForPreTraining; new head for own (transformers's form): classification into 2 classes (a, b)" in error
    words = ["evaluate", str(tmp_path / "run"), "--task", "own", "--data", str(tmp_path / "dev.jsonl")]
    assert cli.main(words) == 0
    assert "ElectraForSequenceClassification, head: classification into 2 classes (a, b)" in capsys.readouterr().err


def test_unknown_tokens_are_counted_by_set(tiny_vocab: Path) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    train = [Example(id=str(i), text="the chef", text_pair="the chef") for i in range(99)]
    tagged = [Example(id="1", text="", words=("the", "\u732b\u732b", "chef"))]
    assert unknown_lines({"training set": train, "dev set": tagged}, tokenizer) == [
        f"training set: unknown tokens: 0.00% (0 of {99 * len(tokenizer.encode(['the chef the chef'])[0])})",
        f"warning: dev set: unknown tokens: {2 / 4:.2%} (2 of 4); the most frequent unknown words: '\u732b' (2)",
    ]
    many = [Example(id=str(i), text="the") for i in range(EXAMPLES_READ + 2)]
    assert unknown_lines({"training set": many}, tokenizer)[0].startswith("training set (5,001 of 10,002 examples): unknown tokens: 0.00%")
    assert unknown_lines({"": many}, tokenizer) == ["unknown tokens: 0.00% (0 of 10,002)"]

"""A small tokenized dataset, and `electra pretrain` on it at toy size."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra.cli import main

TINY = "--hidden-size 16 --embedding-size 16 --num-attention-heads 2 --intermediate-size 32 --sequence-length 32 --batch-size 4".split()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    words = "the cat dog sat on a mat and ran home while birds sang over old trees in spring rain".split()
    documents = [
        "\n".join(" ".join(words[(i * j + k) % len(words)] for k in range(5 + (i + j) % 9)) + "." for j in range(1, 8)) for i in range(1, 60)
    ]
    (folder / "text.txt").write_text("\n\n".join(documents), encoding="utf-8")
    assert main(["vocab", str(folder / "text.txt"), "--size", "120", "--output", str(folder / "vocab")]) == 0
    prepare = ["prepare", str(folder / "text.txt"), "--tokenizer", str(folder / "vocab"), "--output", str(folder / "shards")]
    assert main([*prepare, "--held-out", "10%", "--workers", "1"]) == 0
    return folder / "shards"


def pretrain(preset: str, shards: Path, output: Path, *flags: str) -> int:
    return main(["pretrain", preset, "--data", str(shards), "--output", str(output), *TINY, "--num-train-steps", "8", "--log-every", "2", *flags])

"""`electra pretrain` that starts from a random model of `transformers`, at toy size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_forms

from electra.cli import main
from electra.data.tokenizer import load_tokenizer

ODD: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40, "max_position_embeddings": 40}
QUICK = "--num-train-steps 2 --batch-size 4 --dropout 0 --sequence-length 32 --show-examples 0 --device cpu --threads 1".split()
STILL = ("--learning-rate", "0")


def vocabulary(shards: Path) -> Path:
    return shards.parent / "vocab"


def make(name: str, folder: Path, shards: Path, **config: Any) -> Any:
    """A random model of `transformers` in a folder, with the data's tokenizer."""
    tokenizer = load_tokenizer(vocabulary(shards))
    made = hf_forms.make(name, folder, **{"vocab_size": tokenizer.vocab_size, **ODD, **config})
    tokenizer.save(folder)
    return made


def pretrain(preset: str, shards: Path, output: Path, init: object, *flags: object) -> int:
    return main(["pretrain", preset, "--data", str(shards), "--output", str(output), "--init", str(init), *QUICK, *map(str, flags)])


def first_evaluation(run: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return next(line for line in lines if line["kind"] == "evaluation")

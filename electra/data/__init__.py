"""Corpus -> tokenized dataset -> batches; knows no model.

The building blocks for research have their stable import path here:

    from electra.data import ExampleBuilder, PretrainingStream, load_tokenizer, open_shards

    dataset = open_shards("shards")                  # memory-mapped token ids: dataset.train, dataset.held_out
    tokenizer = load_tokenizer(dataset.tokenizer_path)
    examples = ExampleBuilder(DataSettings(data=("shards",), sequence_length=128), tokenizer)
    batches = PretrainingStream([dataset.train], examples, batch_size=32, seed=1)     # endless, its position can be saved
    next(batches)                                    # electra.contracts.Batch

Names are imported on first use, so that `import electra.data` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.data.documents import read_documents
    from electra.data.pretraining_batches import ExampleBuilder, PretrainingStream, held_out_batches
    from electra.data.shards import Shards, open_shards
    from electra.data.tokenizer import Tokenizer, load_tokenizer
    from electra.data.vocabulary import train_tokenizer

_MODULES = {
    "ExampleBuilder": "pretraining_batches",
    "PretrainingStream": "pretraining_batches",
    "Shards": "shards",
    "Tokenizer": "tokenizer",
    "held_out_batches": "pretraining_batches",
    "load_tokenizer": "tokenizer",
    "open_shards": "shards",
    "read_documents": "documents",
    "train_tokenizer": "vocabulary",
}
__all__ = [
    "ExampleBuilder",
    "PretrainingStream",
    "Shards",
    "Tokenizer",
    "held_out_batches",
    "load_tokenizer",
    "open_shards",
    "read_documents",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'electra.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"electra.data.{_MODULES[name]}"), name)

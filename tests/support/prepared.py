"""A tokenized dataset from a corpus and a tokenizer in memory, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra.data.prepare import prepare
from electra.data.prepare_chunk import CHUNK_BYTES
from electra.data.shards import Shards
from electra.data.tokenizer import Tokenizer
from electra.settings import PrepareSettings


def prepare_shards(
    corpus: Sequence[str | Path], tokenizer: Tokenizer, output: str | Path, *, chunk_bytes: int = CHUNK_BYTES, **settings: Any
) -> Shards:
    values = {"words": "none", **settings}
    settings = PrepareSettings(corpus=tuple(map(str, corpus)), tokenizer="in memory", output=str(output), **values)
    return prepare(settings, tokenizer, chunk_bytes=chunk_bytes)

"""electra prepare: corpus + tokenizer -> a tokenized dataset."""

from __future__ import annotations

import json

from electra import api
from electra.settings import PrepareSettings
from electra.terminal import data_size


def run(settings: PrepareSettings) -> None:
    """Tokenize the corpus and report the counts."""
    found = api.prepare(settings)
    if settings.json:
        print(json.dumps({**found.manifest, "run": found.run}, ensure_ascii=False))
        return
    train, held_out = (found.manifest["splits"][name] for name in ("train", "held_out"))
    print(
        f"{found.path}: {train['documents']:,} documents, {train['tokens']:,} tokens to train on; "
        f"{held_out['documents']:,} documents, {held_out['tokens']:,} tokens held out; {found.manifest['duplicates']:,} duplicates dropped; "
        f"{data_size(found.text_bytes)} in {found.run['seconds']:.1f} s ({found.run['text_mb_per_s']} MB/s)"
    )

"""CORPUS + TOKENIZER -> SHARDS."""

from __future__ import annotations

import json
import os
import time

from electra import environment
from electra.data.prepare import prepare
from electra.data.sources import CorpusReport
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.settings import PrepareSettings
from electra.storage import remote


def run(settings: PrepareSettings) -> None:
    """Tokenize the corpus, write manifest.json and run.json (this run's speed and memory), tell the counts."""
    if settings.ray_address and settings.engine != "ray":
        raise UserError(f"--ray-address {settings.ray_address} has no effect without --engine ray; add it")
    tokenizer = load_tokenizer(settings.tokenizer, settings.lowercase, strip_accents=settings.strip_accents, split_chinese=settings.split_chinese)
    report = CorpusReport()
    start = time.monotonic()
    shards = prepare(settings, tokenizer, report=report)
    seconds = time.monotonic() - start
    speed = {
        "seconds": round(seconds, 2),
        "text_mb_per_s": round(report.text_bytes / 1e6 / seconds, 2),
        "peak_memory_mb": {
            "reader": environment.peak_memory_bytes() // 1_000_000,
            "largest_worker": environment.peak_memory_of_children_bytes() // 1_000_000,
        },
        "workers": settings.workers or os.cpu_count(),
        "engine": settings.engine,
    }
    remote.write_text(remote.join(settings.output, "run.json"), json.dumps(speed, indent=2) + "\n")
    if settings.json:
        print(json.dumps(shards.manifest | {"run": speed}, ensure_ascii=False))
        return
    train, held = (shards.manifest["splits"][name] for name in ("train", "held_out"))
    print(
        f"{settings.output}: {train['documents']:,} documents, {train['tokens']:,} tokens to train on; "
        f"{held['documents']:,} documents, {held['tokens']:,} tokens held out; {shards.manifest['duplicates']:,} duplicates dropped; "
        f"{report.text_bytes / 1e6:,.1f} MB in {seconds:.1f} s ({speed['text_mb_per_s']} MB/s)"
    )

"""CORPUS -> WordPiece vocabulary."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

from electra import disk
from electra.data.corpus import read_documents
from electra.data.progress import Progress
from electra.data.sources import Report, estimate_text_bytes
from electra.data.tokenizer import train_tokenizer
from electra.settings import VocabSettings


def sample_texts(settings: VocabSettings, report: Report) -> Iterator[str]:
    """Documents chosen by their hash, so that about `sample_bytes` of text come from everywhere in the corpus."""
    expected = estimate_text_bytes(settings.corpus)
    share = 1.0 if expected is None else min(1.0, settings.sample_bytes / max(1, expected))
    taken = 0
    with Progress(report, "reading for the vocabulary") as progress:
        for document in read_documents(settings.corpus, text_field=settings.text_field, documents=settings.documents, report=report):
            progress.update()
            text = "\n".join(document.lines)
            if share < 1:
                digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
                if int.from_bytes(digest, "little") >= share * 2**64:
                    continue
            taken += len(text.encode("utf-8"))
            yield text
            if taken >= settings.sample_bytes:
                return


def run(settings: VocabSettings) -> None:
    """Train the vocabulary and write it to the output folder."""
    disk.fresh_output(settings.output, remedy="choose another --output")
    report = Report()
    tokenizer = train_tokenizer(
        sample_texts(settings, report),
        settings.size,
        settings.lowercase,
        settings.min_frequency,
        strip_accents=settings.strip_accents,
        split_chinese=settings.split_chinese,
    )
    tokenizer.save(settings.output)
    for line in report.lines():
        print(f"warning: {line}", file=sys.stderr)
    print(f"{settings.output}: {tokenizer.vocab_size:,} pieces from {report.text_bytes / 1e6:,.1f} MB read")

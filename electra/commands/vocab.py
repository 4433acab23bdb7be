"""CORPUS -> WordPiece vocabulary; or CORPUS + CHECKPOINT -> the checkpoint with more words."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from electra.data.documents import read_documents
from electra.data.sources import CorpusReport, estimate_text_bytes
from electra.data.tokenizer import load_tokenizer, train_tokenizer
from electra.data.vocabulary_extension import Extension, count_words, extend_tokenizer
from electra.errors import UserError, require
from electra.settings import VocabSettings
from electra.storage import remote, resolve
from electra.terminal import ReadingProgress

SIZE, ADDED = 30522, 1000
"""Pieces of a new vocabulary, and of an extension, where nothing is said."""


def sample_texts(settings: VocabSettings, report: CorpusReport) -> Iterator[str]:
    """Documents chosen by their hash, so that about `sample_bytes` of text come from everywhere in the corpus."""
    expected = estimate_text_bytes(settings.corpus)
    share = 1.0 if expected is None else min(1.0, settings.sample_bytes / max(1, expected))
    taken = 0
    with ReadingProgress(report, "reading for the vocabulary") as progress:
        for document in read_documents(settings.corpus, text_field=settings.text_field, documents=settings.documents, report=report):
            progress.show()
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
    """Train or extend the vocabulary and write it to the output folder."""
    remote.fresh_output(settings.output, remedy="choose another --output")
    report = CorpusReport()
    if settings.extend is not None:
        said = extend(settings, resolve.resolve(settings.extend), report)
    else:
        tokenizer = train_tokenizer(
            sample_texts(settings, report),
            SIZE if settings.size is None else settings.size,
            settings.lowercase,
            settings.min_frequency,
            strip_accents=settings.strip_accents,
            split_chinese=settings.split_chinese,
        )
        with remote.made_locally(settings.output) as folder:
            tokenizer.save(folder)
        said = f"{tokenizer.vocab_size:,} pieces"
    for line in report.lines():
        print(f"warning: {line}", file=sys.stderr)
    print(f"{settings.output}: {said} from {report.text_bytes / 1e6:,.1f} MB read")


def extend(settings: VocabSettings, source: Path, report: CorpusReport) -> str:
    """The checkpoint in `source` with more words, into the output folder, complete or not at all -> what was done, in a line."""
    require("torch", "train")
    from electra.model.huggingface import extend_network, load_checkpoint, save_checkpoint
    from electra.model.model_card import extended_card

    size = ADDED if settings.size is None else settings.size
    if size < 1:
        raise UserError(f"--size {size}: give the number of pieces to add, at least 1")
    checkpoint = load_checkpoint(source)
    if checkpoint.labels:
        raise UserError(f"{settings.extend} is fine-tuned; extend the pre-trained checkpoint, pre-train it a little longer, and fine-tune that")
    tokenizer = load_tokenizer(source)
    found = extend_tokenizer(tokenizer, count_words(sample_texts(settings, report), tokenizer), size, settings.min_frequency)
    networks = {".": checkpoint}
    if (source / "generator" / "config.json").exists():
        networks["generator"] = load_checkpoint(source / "generator")
    card = extended_card(settings.output.rstrip("/").rpartition("/")[2], Path(str(settings.extend)).name, len(found.words))
    with remote.made_locally(settings.output) as folder:
        for place, network in networks.items():
            extended = extend_network(network, tokenizer.vocab_size, found.parts, found.log_ratios)
            save_checkpoint(extended, folder / place, card=card if place == "." else None)
            found.tokenizer.save(folder / place)
    return describe(found)


def describe(found: Extension) -> str:
    """'1,000 pieces added (film, actor, ...): 1.31 -> 1.22 tokens per word, 18.1% -> 12.0% of words split'."""
    first = ", ".join(found.words[:4])
    more = ", ..." if len(found.words) > 4 else ""
    tokens = f"{found.before['tokens_per_word']:.3f} -> {found.after['tokens_per_word']:.3f} tokens per word"
    split = f"{found.before['split_fraction']:.1%} -> {found.after['split_fraction']:.1%} of words split"
    return f"{len(found.words):,} pieces added ({first}{more}): {tokens}, {split},"

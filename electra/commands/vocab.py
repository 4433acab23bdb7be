"""electra vocab: corpus -> WordPiece vocabulary, or corpus + checkpoint -> the checkpoint with more tokens."""

from __future__ import annotations

from electra import api
from electra.settings import VocabSettings


def run(settings: VocabSettings) -> None:
    """Train or extend the vocabulary and report it."""
    found = api.train_vocabulary(settings)
    print(f"{found.path}: {found.description} from {found.text_bytes / 1e6:,.1f} MB read")

"""electra vocab: corpus -> WordPiece vocabulary, or corpus + checkpoint -> the checkpoint with more tokens or fewer."""

from __future__ import annotations

from electra import api
from electra.settings import VocabSettings
from electra.terminal import data_size


def run(settings: VocabSettings) -> None:
    """Train, extend or trim the vocabulary and report it."""
    found = api.train_vocabulary(settings)
    print(f"{found.path}: {found.description} from {data_size(found.text_bytes)} read")

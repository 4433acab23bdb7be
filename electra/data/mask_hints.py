"""Shards + objective -> what a batch says of its tokens to the choice of masked positions: where words start, how rare tokens are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from electra.contracts import Batch
from electra.data.cooccurrence import word_statistics
from electra.data.shards import Shards
from electra.data.tokenizer import Tokenizer
from electra.data.words import chinese_pieces, spelled_starts
from electra.errors import UserError
from electra.settings import ObjectiveSettings

FREQUENT = 1e-5
"""Relative frequency from which on a token is chosen less readily (word2vec's threshold, Mikolov et al. 2013, section 2.3)."""
CHINESE_TEXT = 0.1
"""From this share of Chinese characters on, text has words that pieces do not show."""
LOOKED_AT = 1_000_000
"""Tokens of a shard folder looked at to know that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskHints:
    """What is known of every piece of the vocabulary."""

    starts: np.ndarray | None = None
    """(V,) bool: whether it begins a word by its spelling; None where single pieces are masked."""
    weights: torch.Tensor | None = None
    """(V,) float32 weights; None where all tokens are alike."""

    def note(self, batch: Batch, known: Sequence[np.ndarray | None]) -> Batch:
        """The batch with its hints; `known`: per sequence, whether each token begins a word, where its shards say so."""
        words = None
        if self.starts is not None:
            words = self.starts[batch.ids.numpy()]
            ends = np.cumsum(batch.lengths)
            for found, end in zip(known, ends.tolist(), strict=True):
                if found is not None:
                    words[end - len(found) : end] = found
        return dataclasses.replace(
            batch,
            word_starts=None if words is None else torch.from_numpy(words),
            mask_weights=None if self.weights is None else self.weights[batch.ids],
        )


def mask_hints(settings: ObjectiveSettings, shards: Mapping[str, Shards], weights: Sequence[float], tokenizer: Tokenizer) -> MaskHints | None:
    """Shard folders by name, drawn from by weight (empty: by size) -> hints; None where the objective needs none.

    Raises:
        UserError: whole words are to be masked in Chinese text whose shards do not know them.
    """
    whole, power = settings.mask_unit == "word", settings.mask_frequency_power
    if not whole and not power:
        return None
    check_words(settings, shards, tokenizer)
    favoured = None
    if power:
        logs = word_statistics([s.train for s in shards.values()], weights, tokenizer.vocab_size, 0).log_frequencies.astype(float)
        frequencies = np.exp(logs) / np.exp(logs).sum()
        favoured = torch.from_numpy(np.minimum(1.0, (FREQUENT / frequencies) ** power).astype(np.float32))
    return MaskHints(starts=spelled_starts(tokenizer.pieces) if whole else None, weights=favoured)


def check_words(settings: ObjectiveSettings, shards: Mapping[str, Shards], tokenizer: Tokenizer) -> None:
    """Raise a UserError where whole words are to be masked in Chinese text whose shards do not know them."""
    for name, folder in shards.items() if settings.mask_unit == "word" else ():
        if folder.words == "none" and _chinese_share(folder, tokenizer) > CHINESE_TEXT:
            raise UserError(
                f"--mask-unit word: {name} holds Chinese text without word boundaries; prepare it again with --words chinese, or mask pieces"
            )


def _chinese_share(folder: Shards, tokenizer: Tokenizer) -> float:
    ids = np.asarray(folder.train.ids[:LOOKED_AT])
    return float(chinese_pieces(tokenizer.pieces)[ids].mean()) if len(ids) else 0.0

"""A tokenizer + text of a domain -> the same tokenizer with the words that spare it most pieces, appended after what it had."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tokenizers

from electra.data.tokenizer import Tokenizer, encodable, looks_at_chunks_alone
from electra.errors import UserError

MOST_CHUNKS = 500_000
"""Different chunks held before they are broken into words."""
LONGEST_WORD = 100
"""Characters of a word beyond which BERT's rules do not look at its pieces."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extension:
    """A larger tokenizer, and where its new pieces come from."""

    tokenizer: Tokenizer
    words: tuple[str, ...]
    """New pieces in the order of their ids, the first of which is the old vocabulary's size."""
    parts: tuple[tuple[int, ...], ...]
    """Old ids each of them was made of."""
    log_ratios: np.ndarray
    """(N,) float32: logarithm of how often each occurs, less the mean of its parts'."""
    before: dict[str, float]
    """'tokens_per_word' and 'split_fraction' of the text with the old tokenizer."""
    after: dict[str, float]
    """The same with the new one."""


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Texts -> how often each word occurs, as the tokenizer sees it before it looks for pieces."""
    backend = tokenizer.backend
    alone = looks_at_chunks_alone(json.loads(backend.to_str()))
    chunks: Counter[str] = Counter()
    words: Counter[str] = Counter()

    def break_up() -> None:
        for chunk, count in chunks.items():
            normal = backend.normalizer.normalize_str(chunk) if backend.normalizer is not None else chunk
            for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal):
                words[word] += count
        chunks.clear()

    for text in texts:
        for line in encodable(text).split("\n"):
            chunks.update(line.split(" ") if alone else [line])
        if len(chunks) > MOST_CHUNKS:
            break_up()
    break_up()
    return words


def extend_tokenizer(tokenizer: Tokenizer, counts: Counter[str], number: int, min_frequency: int = 2) -> Extension:
    """At most `number` words of the counted ones that the tokenizer splits, those first that spare most pieces: frequency x (pieces - 1).

    A word it does not know at all ([UNK]) counts as two pieces. Old ids stay as they are.

    Raises:
        UserError: not a WordPiece tokenizer, or no word is worth a piece.
    """
    rules = json.loads(tokenizer.backend.to_str())
    if rules["model"].get("type") != "WordPiece":
        raise UserError(f"a {rules['model'].get('type')} tokenizer cannot be extended; give a checkpoint with a WordPiece vocabulary")
    words = sorted(word for word in counts if len(word) <= LONGEST_WORD)
    pieces = tokenizer.encode(words)
    worth = []
    for word, ids in zip(words, pieces, strict=True):
        spared = max(len(ids) - 1, int(tokenizer.unk_id in ids))
        if spared and counts[word] >= min_frequency:
            worth.append((-counts[word] * spared, word, ids))
    if not worth:
        raise UserError(f"the tokenizer has a piece for every word that occurs {min_frequency} times; give more text of the domain")
    chosen = sorted(worth)[:number]
    for index, (_, word, _) in enumerate(chosen, tokenizer.vocab_size):
        rules["model"]["vocab"][word] = index
    extended = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(rules, ensure_ascii=False)))
    logs = np.log(_occurrences(pieces, [counts[word] for word in words], tokenizer.vocab_size) + 1.0)
    return Extension(
        tokenizer=extended,
        words=tuple(word for _, word, _ in chosen),
        parts=tuple(tuple(ids) for _, _, ids in chosen),
        log_ratios=np.array([np.log(counts[word] + 1.0) - logs[ids].mean() for _, word, ids in chosen], np.float32),
        before=_measure(words, pieces, counts),
        after=_measure(words, extended.encode(words), counts),
    )


def _occurrences(pieces: list[list[int]], counts: list[int], vocab_size: int) -> np.ndarray:
    lengths = [len(ids) for ids in pieces]
    return np.bincount(np.concatenate(pieces), weights=np.repeat(counts, lengths), minlength=vocab_size)


def _measure(words: list[str], pieces: list[list[int]], counts: Counter[str]) -> dict[str, float]:
    often = np.array([counts[word] for word in words], float)
    lengths = np.array([len(ids) for ids in pieces], float)
    return {"tokens_per_word": float((often * lengths).sum() / often.sum()), "split_fraction": float(often[lengths > 1].sum() / often.sum())}

"""A tokenizer and counted words -> the same rules with other tokens: extended by a domain's words, or trimmed to the tokens that a corpus uses.

What the model knows stays (`model.adapted_embeddings`). Extended: old ids do not change, a new word starts from its old tokens.
Trimmed: the kept tokens take their embeddings along under new ids, and a word whose token went is split into tokens that stayed.

Replaced (`pretrain --new-vocabulary`): the tokenizer is another one. Which tokens both have, and for the others, which of those are used alike.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from electra.contracts import WordStatistics
from electra.data.tokenizer import Tokenizer
from electra.data.tokenizer_files import bert_template
from electra.data.vocabulary import LONGEST_WORD
from electra.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse

VECTOR_DIMENSIONS = 256
"""Dimensions of the counted vectors by which tokens are compared."""
FEWEST_OCCURRENCES = 10
"""Occurrences from which on a token's counted vector says how it is used."""
BLOCK = 1024
"""Tokens that are compared with all shared ones at a time."""

# ---- extended ----


@dataclass(frozen=True, kw_only=True, eq=False)
class Extension:
    """An extended tokenizer, and where its new pieces come from."""

    tokenizer: Tokenizer
    words: tuple[str, ...]
    """New pieces in the order of their ids, the first of which is the old vocabulary's size."""
    parts: tuple[tuple[int, ...], ...]
    """The old ids of each new piece."""
    log_ratios: np.ndarray
    """(N,) float32: logarithm of each new piece's count minus the mean logarithm of its parts' counts."""
    before: dict[str, float]
    """'tokens_per_word' and 'split_fraction' of the text with the old tokenizer."""
    after: dict[str, float]
    """The same with the new one."""

    @property
    def description(self) -> str:
        """'1,000 tokens added (film, actor, ...): 1.310 -> 1.220 tokens per word, 18.1% -> 12.0% of words split,'."""
        words = ", ".join(self.words[:4]) + (", ..." if len(self.words) > 4 else "")
        tokens = f"{self.before['tokens_per_word']:.3f} -> {self.after['tokens_per_word']:.3f} tokens per word"
        split = f"{self.before['split_fraction']:.1%} -> {self.after['split_fraction']:.1%} of words split"
        return f"{len(self.words):,} tokens added ({words}): {tokens}, {split},"


def extend_tokenizer(tokenizer: Tokenizer, counts: Counter[str], number: int, min_frequency: int = 2) -> Extension:
    """Add at most `number` of the counted words, those that save most tokens first: count x (pieces - 1); [UNK] counts as two pieces.

    Raises:
        UserError: not a WordPiece tokenizer, or every frequent word is a piece already.
    """
    rules, words = _wordpiece_rules(tokenizer, "extended"), _countable(counts)
    pieces = tokenizer.encode(words)
    candidates = []
    for word, ids in zip(words, pieces, strict=True):
        saved = max(len(ids) - 1, int(tokenizer.unk_id in ids))
        if saved and counts[word] >= min_frequency:
            candidates.append((-counts[word] * saved, word, ids))
    if not candidates:
        raise UserError(f"the tokenizer has a piece for every word that occurs {min_frequency} times; give more text of the domain")
    chosen = sorted(candidates)[:number]
    for index, (_, word, _) in enumerate(chosen, tokenizer.vocab_size):
        rules["model"]["vocab"][word] = index
    extended = tokenizer.with_backend(tokenizers.Tokenizer.from_str(json.dumps(rules, ensure_ascii=False)))
    logs = np.log(_occurrences(pieces, [counts[word] for word in words], tokenizer.vocab_size) + 1.0)
    return Extension(
        tokenizer=extended,
        words=tuple(word for _, word, _ in chosen),
        parts=tuple(tuple(ids) for _, _, ids in chosen),
        log_ratios=np.array([np.log(counts[word] + 1.0) - logs[ids].mean() for _, word, ids in chosen], np.float32),
        before=_measure(words, pieces, counts),
        after=_measure(words, extended.encode(words), counts),
    )


# ---- trimmed ----


@dataclass(frozen=True, kw_only=True, eq=False)
class Trimmed:
    """A trimmed tokenizer, and what that costs."""

    tokenizer: Tokenizer
    kept: tuple[int, ...]
    """The old id of each new id; in their old order."""
    before: dict[str, float]
    """'tokens_per_word' and 'split_fraction' of the text with the old tokenizer."""
    after: dict[str, float]
    """The same with the new one."""
    changed_fraction: float
    """Fraction of the text's words that are split otherwise than before."""
    num_before: int
    """Tokens of the old tokenizer."""

    @property
    def description(self) -> str:
        """'12,000 of 30,522 tokens kept: 1.100 -> 1.190 tokens per word, 6.7% of the words are split otherwise,'."""
        tokens = f"{self.before['tokens_per_word']:.3f} -> {self.after['tokens_per_word']:.3f} tokens per word"
        return f"{len(self.kept):,} of {self.num_before:,} tokens kept: {tokens}, {self.changed_fraction:.1%} of the words are split otherwise,"


def trim_tokenizer(tokenizer: Tokenizer, counts: Counter[str], size: int | None = None, min_frequency: int = 2) -> Trimmed:
    """Keep the tokens that the counted words use most, at most `size` in all and none that occurs fewer than `min_frequency` times.

    Added tokens and single characters always stay, and the tokens whose letters have no tokens of their own: what was known does not become
    [UNK]. Counts are those of the words as they are split now.

    Raises:
        UserError: not a WordPiece tokenizer, no words, or `size` is too small for what always stays.
    """
    rules, words = _wordpiece_rules(tokenizer, "trimmed"), _countable(counts)
    if not words:
        raise UserError("the corpus holds no text to choose tokens by; check the files and --text")
    pieces, frequency = tokenizer.encode(words), np.array([counts[word] for word in words], float)
    used = _occurrences(pieces, frequency.tolist(), tokenizer.vocab_size)
    always = _irreplaceable(tokenizer, rules)
    if size is not None and size < len(always):
        raise UserError(f"--size {size}: {len(always):,} special tokens and single characters always stay; give at least that many")
    others = sorted((-used[index], index) for index in range(tokenizer.vocab_size) if index not in always and used[index] >= max(1, min_frequency))
    kept = sorted(always | {index for _, index in others[: None if size is None else size - len(always)]})
    new = {tokenizer.pieces[index]: number for number, index in enumerate(kept)}
    rules["model"]["vocab"] = new
    rules["added_tokens"] = [{**token, "id": new[token["content"]]} for token in rules["added_tokens"]]
    rules["post_processor"] = None
    backend = tokenizers.Tokenizer.from_str(json.dumps(rules, ensure_ascii=False))
    bert_template(backend, tokenizer.settings.roles[2], tokenizer.settings.roles[3])
    trimmed = tokenizer.with_backend(backend)
    after = trimmed.encode(words)
    otherwise = np.array([[kept[index] for index in found] != before for found, before in zip(after, pieces, strict=True)])
    return Trimmed(
        tokenizer=trimmed,
        kept=tuple(kept),
        before=_measure(words, pieces, counts),
        after=_measure(words, after, counts),
        changed_fraction=float(frequency[otherwise].sum() / frequency.sum()),
        num_before=tokenizer.vocab_size,
    )


def _irreplaceable(tokenizer: Tokenizer, rules: dict[str, Any]) -> set[int]:
    """Ids of added tokens, of single characters, and of pieces with a character that has no token of its own in its place."""
    inside = rules["model"]["continuing_subword_prefix"]
    added = {token["content"] for token in rules["added_tokens"]}
    letters = {piece for piece in tokenizer.pieces if len(piece.removeprefix(inside)) == 1}
    kept = set(tokenizer.special_ids)
    for index, piece in enumerate(tokenizer.pieces):
        body = piece.removeprefix(inside)
        spelled = {body[:1] if body == piece else inside + body[:1], *(inside + letter for letter in body[1:])}
        placeholder = piece.startswith("[unused") or not piece  # no text is split into these
        if piece in added or piece in letters or not (placeholder or spelled <= letters):
            kept.add(index)
    return kept


def _wordpiece_rules(tokenizer: Tokenizer, what: str) -> dict[str, Any]:
    """The backend's tokenizer.json."""
    rules: dict[str, Any] = json.loads(tokenizer.backend.to_str())
    if rules["model"].get("type") != "WordPiece":
        raise UserError(f"a {rules['model'].get('type')} tokenizer cannot be {what}; give a checkpoint with a WordPiece vocabulary")
    return rules


def _countable(counts: Counter[str]) -> list[str]:
    """The words that are split into pieces."""
    return sorted(word for word in counts if len(word) <= LONGEST_WORD)


def _occurrences(pieces: list[list[int]], counts: list[int], vocab_size: int) -> np.ndarray:
    lengths = [len(ids) for ids in pieces]
    return np.bincount(np.concatenate(pieces), weights=np.repeat(counts, lengths), minlength=vocab_size)


def _measure(words: list[str], pieces: list[list[int]], counts: Counter[str]) -> dict[str, float]:
    frequency = np.array([counts[word] for word in words], float)
    lengths = np.array([len(ids) for ids in pieces], float)
    total = frequency.sum()
    return {"tokens_per_word": float((frequency * lengths).sum() / total), "split_fraction": float(frequency[lengths > 1].sum() / total)}


# ---- replaced ----


def shared_tokens(new: Tokenizer, old: Tokenizer) -> np.ndarray:
    """(V,) int64: for each token of a vocabulary the id of the same token in another one, -1 where it has none.

    Tokens of the five roles ([CLS], ...) are the same whatever they are called. Others are the same string at the same place of a word, or where the
    old vocabulary is lower-cased, the lower-cased string.

    Raises:
        UserError: one of them is not a WordPiece tokenizer.
    """
    ids = {piece: index for index, piece in enumerate(_plain_pieces(old)) if piece}
    found = np.full(new.vocab_size, -1, np.int64)
    for index, piece in enumerate(_plain_pieces(new)):
        if piece:
            found[index] = ids.get(piece, ids.get(piece.lower(), -1) if old.lowercase else -1)
    special = [*old.special_ids]
    found[np.isin(found, special)] = -1
    for role in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id"):
        found[getattr(new, role)] = getattr(old, role)
    return found


def _plain_pieces(tokenizer: Tokenizer) -> list[str]:
    """The pieces, those inside a word with '##' in front."""
    inside = _wordpiece_rules(tokenizer, "compared with another")["model"]["continuing_subword_prefix"]
    return [f"##{piece.removeprefix(inside)}" if piece.startswith(inside) else piece for piece in tokenizer.pieces]


def similar_tokens(shared: np.ndarray, words: WordStatistics, old_size: int, special_ids: Collection[int] = ()) -> sparse.csr_matrix:
    """Which shared tokens a new one is used like -> (V, `old_size`) weights that add up to 1 in each row, none for shared and uncounted tokens.

    The weights are sparsemax (Martins and Astudillo 2016) of the cosines of the counted vectors, as in FOCUS (Dobler and de Melo 2023,
    section 3.2), which takes fastText's vectors. Tokens that occur fewer than `FEWEST_OCCURRENCES` times count for nothing.

    Args:
        shared: from `shared_tokens`.
        words: counts and vectors of the data's tokens.
        old_size: tokens of the checkpoint's vocabulary.
        special_ids: of the data's tokens; [UNK], which occurs in any context, is used like no word.
    """
    from scipy import sparse

    relative = np.exp(words.log_frequencies.astype(float))
    occurrences = relative / relative.sum() * (words.num_tokens + len(relative)) - 1
    known = words.vectors.any(1)
    usable = known & (shared >= 0) & (occurrences >= FEWEST_OCCURRENCES - 0.5)
    usable[list(special_ids)] = False
    anchors = np.flatnonzero(usable)
    new = np.flatnonzero(known & (shared < 0))
    shape = (len(shared), old_size)
    if not len(anchors) or not len(new):
        return sparse.csr_matrix(shape, dtype=np.float32)
    rows, columns, weights = [], [], []
    for first in range(0, len(new), BLOCK):
        block = new[first : first + BLOCK]
        found = sparsemax(words.vectors[block] @ words.vectors[anchors].T)
        row, column = np.nonzero(found)
        rows.append(block[row])
        columns.append(shared[anchors[column]])
        weights.append(found[row, column])
    return sparse.csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=shape, dtype=np.float32)


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """(N, K) scores -> the nearest (N, K) distributions: max(score - t, 0), with t so that a row adds up to 1."""
    ordered = -np.sort(-scores, axis=1)
    sums = np.cumsum(ordered, axis=1)
    counts = np.arange(1, scores.shape[1] + 1)
    size = (1 + counts * ordered > sums).sum(1, keepdims=True)
    threshold = (np.take_along_axis(sums, size - 1, axis=1) - 1) / size
    out: np.ndarray = np.maximum(scores - threshold, 0)
    return out

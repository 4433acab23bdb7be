"""Tokenized datasets -> counts of tokens: frequencies and vectors to start a network from, and information for masking.

Initialization: what a masked LM learns first, and slowly in a short run, can be counted in seconds: word frequencies (the output bias)
and co-occurrence (the embeddings). Vectors are the leading singular vectors of the positive pointwise mutual information of pieces within
a window (Levy & Goldberg 2014, "Neural word embedding as implicit matrix factorization"). Both are only initial values.

Masking (`MaskingInfo`): for whole-word masking, which tokens begin a word; for frequency-dependent masking, how rare tokens are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from electra.contracts import Batch, WordStatistics
from electra.data.shards import Shards, Split
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import MOSTLY_UNKNOWN, UnknownWords, at_start
from electra.data.word_boundaries import WordSpelling, chinese_pieces, word_spelling
from electra.errors import UserError
from electra.settings import ObjectiveSettings

WINDOW = 20
"""Pieces to either side. Wide windows capture topics and sentiment, narrow ones parts of speech (docs/log.md)."""
MOST_TOKENS = 16_000_000
"""Tokens counted over all datasets together: enough for vectors, about 25 seconds on two cores."""
MOST_CONTEXTS = 8_192
"""Most frequent pieces that count as contexts: bounds the memory for any vocabulary."""
FREQUENT = 1e-5
"""Relative frequency from which on a token is masked less often (word2vec's threshold, Mikolov et al. 2013, section 2.3)."""
CHINESE_TEXT = 0.1
"""Share of Chinese characters from which on text has words that pieces do not show."""
SAMPLED_TOKENS = 1_000_000
"""Tokens of a dataset from which that share is estimated."""

# ---- initial values ----


def word_statistics(splits: Sequence[Split], weights: Sequence[float], vocab_size: int, dimensions: int) -> WordStatistics:
    """Splits, sampled by weight (empty: by size) -> log frequencies (V,) and vectors (V, `dimensions`; 0: none); deterministic."""
    ids, documents = _sample(splits, weights)
    counts = np.bincount(ids, minlength=vocab_size) + 1.0
    frequencies = np.log(counts / counts.sum())
    vectors = np.zeros((vocab_size, dimensions), np.float32)
    if dimensions and len(ids) > 1:
        found = _vectors(ids, documents, counts, dimensions)
        vectors[:, : found.shape[1]] = found
    return WordStatistics(log_frequencies=(frequencies - frequencies.mean()).astype(np.float32), vectors=vectors, num_tokens=len(ids))


def _sample(splits: Sequence[Split], weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Splits -> (N,) int32 ids of whole documents spread evenly over each split, (N,) int32 the document of each."""
    shares = np.array(list(weights) or [split.num_tokens for split in splits], float)
    documents: list[np.ndarray] = []
    for split, share in zip(splits, shares / shares.sum(), strict=True):
        step = max(1.0, split.num_tokens / (share * MOST_TOKENS))
        for index in np.arange(0, split.num_documents, step).astype(int).tolist():
            first, last = (int(split.line_starts[split.document_starts[i]]) for i in (index, index + 1))
            documents.append(np.asarray(split.ids[first:last], np.int32))
    lengths = [len(document) for document in documents]
    return np.concatenate([np.zeros(0, np.int32), *documents]), np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def _vectors(ids: np.ndarray, documents: np.ndarray, counts: np.ndarray, dimensions: int) -> np.ndarray:
    """(N,) ids and document numbers -> (V, k) unit rows, k = `dimensions` or what the vocabulary allows."""
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    vocab_size = len(counts)
    contexts = np.argsort(-counts, kind="stable")[:MOST_CONTEXTS]
    index = np.full(vocab_size, -1, np.int32)
    index[contexts] = np.arange(len(contexts), dtype=np.int32)
    shape = (vocab_size, len(contexts))
    counted = sparse.csr_matrix(shape, dtype=np.float32)
    for offset in range(1, min(WINDOW, len(ids) - 1) + 1):
        within = documents[:-offset] == documents[offset:]
        before, after = ids[:-offset][within], ids[offset:][within]
        for word, context in ((before, index[after]), (after, index[before])):
            known = context >= 0
            ones = np.ones(int(known.sum()), np.float32)
            counted += sparse.coo_matrix((ones, (word[known], context[known])), shape=shape).tocsr()
    pairs = counted.tocoo()
    rows = np.asarray(counted.sum(1), float).ravel() + 1.0
    columns = np.asarray(counted.sum(0), float).ravel() + 1.0
    information = np.log(pairs.data * columns.sum() / (rows[pairs.row] * columns[pairs.col]))
    kept = information > 0
    positive = sparse.csr_matrix((information[kept].astype(np.float32), (pairs.row[kept], pairs.col[kept])), shape=shape)
    k = min(dimensions, *shape)
    left, values, _ = randomized_svd(positive, k, n_iter=3, random_state=0)
    vectors = left * np.sqrt(values)
    # A row without contexts is zero but for rounding errors, which normalizing would amplify.
    vectors[np.diff(positive.indptr) == 0] = 0
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


# ---- masking ----


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskingInfo:
    """What masking needs to know of every token."""

    spelling: WordSpelling | None = None
    """Which tokens begin a word; None where single pieces are masked."""
    weights: torch.Tensor | None = None
    """(V,) float32 relative probabilities of being masked; None: all equal."""

    def annotate(self, batch: Batch, known: Sequence[np.ndarray | None]) -> Batch:
        """The batch with `word_starts` and `mask_weights`; `known`: per sequence (n,) bool, its word starts if its dataset has them."""
        words = None
        if self.spelling is not None:
            words = self.spelling.mark(batch.ids.numpy())
            ends = np.cumsum(batch.lengths)
            for found, end in zip(known, ends.tolist(), strict=True):
                if found is not None:
                    words[end - len(found) : end] = found
        return dataclasses.replace(
            batch,
            word_starts=None if words is None else torch.from_numpy(words),
            mask_weights=None if self.weights is None else self.weights[batch.ids],
        )


def masking_info(settings: ObjectiveSettings, shards: Mapping[str, Shards], weights: Sequence[float], tokenizer: Tokenizer) -> MaskingInfo | None:
    """Datasets by name, sampled by weight (empty: by size) -> MaskingInfo; None where the objective needs none.

    Raises:
        UserError: whole words are to be masked in Chinese text prepared without word boundaries, or the pieces do not show words.
    """
    whole, power = settings.mask_unit == "word", settings.mask_frequency_power
    if not whole and not power:
        return None
    check_words(settings, shards, tokenizer)
    mask_weights = None
    if power:
        logs = word_statistics([s.train for s in shards.values()], weights, tokenizer.vocab_size, 0).log_frequencies.astype(float)
        frequencies = np.exp(logs) / np.exp(logs).sum()
        mask_weights = torch.from_numpy(np.minimum(1.0, (FREQUENT / frequencies) ** power).astype(np.float32))
    return MaskingInfo(spelling=word_spelling(tokenizer) if whole else None, weights=mask_weights)


def check_unknown(shards: Mapping[str, Shards], *, most: float = MOSTLY_UNKNOWN) -> list[str]:
    """Datasets by name -> the unknown tokens of each, in lines; `most`: the largest share that is not refused.

    Raises:
        UserError: most of a dataset is unknown tokens.
    """
    lines = []
    for name, folder in shards.items():
        unknown = UnknownWords(load_tokenizer(folder.tokenizer_path))
        unknown.add_record(folder.manifest)
        if unknown.share > most:
            raise UserError(
                f"--data {name}: {unknown.share:.0%} of its tokens are [UNK], so there is little to learn; its vocabulary is not made for this text: "
                "make one with 'electra vocab', or prepare the text with another --tokenizer"
            )
        where = f"{name}: " if len(shards) > 1 else ""
        lines += [at_start(where, line) for line in unknown.lines(give="prepare the text again with")]
    return lines


def check_words(settings: ObjectiveSettings, shards: Mapping[str, Shards], tokenizer: Tokenizer) -> None:
    """Raise a UserError if whole words are to be masked in Chinese text prepared without word boundaries, or the pieces do not show words."""
    if settings.mask_unit == "word":
        word_spelling(tokenizer)
    for name, folder in shards.items() if settings.mask_unit == "word" else ():
        if folder.words == "none" and _chinese_share(folder, tokenizer) > CHINESE_TEXT:
            raise UserError(
                f"--mask-unit word: {name} holds Chinese text without word boundaries; prepare it again with --words chinese, or mask pieces"
            )


def _chinese_share(folder: Shards, tokenizer: Tokenizer) -> float:
    ids = np.asarray(folder.train.ids[:SAMPLED_TOKENS])
    return float(chinese_pieces(tokenizer.pieces)[ids].mean()) if len(ids) else 0.0

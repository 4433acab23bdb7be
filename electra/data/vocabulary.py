"""Text -> a new WordPiece vocabulary; tokenizer + text of a domain -> the tokenizer extended by the words that save most tokens (old ids do not
change).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tokenizers
from tokenizers import trainers

from electra.data.documents import read_documents
from electra.data.sources import CorpusReport, estimate_text_bytes
from electra.data.tokenizer import SPECIAL_PIECES, Tokenizer, bert_rules, encodable, is_chunk_local
from electra.errors import UserError
from electra.settings import VocabSettings
from electra.terminal import ReadingProgress

ALPHABET_COVERAGE = 0.9999
"""Fraction of a corpus's characters that have single-letter pieces when a vocabulary is trained."""
MOST_CHUNKS = 500_000
"""Distinct chunks kept before they are split into words."""
LONGEST_WORD = 100
"""Longest word, in characters, that BERT's rules split into pieces; a longer one is [UNK]."""


# ---- the text ----


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


# ---- a new vocabulary ----


def choose_letters(counts: Counter[str], most: int) -> list[str]:
    """The most frequent letters that cover the text, at most `most`, in code point order (equal counts: the lower code point first)."""
    needed = ALPHABET_COVERAGE * counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: max(most, 20)]
    before = itertools.accumulate((count for _, count in ranked), initial=0)
    return sorted(letter for (letter, _), covered in zip(ranked, before, strict=False) if covered < needed)


def train_tokenizer(
    texts: Iterator[str],
    size: int,
    lowercase: bool = True,
    min_frequency: int = 2,
    *,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
) -> Tokenizer:
    """Texts -> a Tokenizer of at most `size` pieces, the five special ones first.

    The most frequent letters get pieces until they cover 99.99% of the first 20 million characters, but at most a quarter of the
    vocabulary (each letter has two pieces: at the start of a word and inside); rarer letters become [UNK].

    Raises:
        UserError: no text, or `size` is too small.
    """
    if size < 100:
        raise UserError(f"--size {size} is too small for a vocabulary; give at least 100")
    backend = bert_rules({}, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
    texts = map(encodable, texts)
    head: list[str] = []
    counts: Counter[str] = Counter()
    for text in texts:
        head.append(text)
        counts.update(backend.normalizer.normalize_str(text))
        if counts.total() > 20_000_000:
            break
    counts.pop(" ", None)
    if not counts:
        raise UserError("the corpus holds no text to train a vocabulary on; check the files and --text-field")
    letters = choose_letters(counts, size // 4)
    inner = [letter for letter in letters if len(backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{letter}a"))) == 1]
    # The trainer numbers pieces in the order of a hash map and breaks ties by number. With single letters given beforehand, their numbers
    # are fixed, and the same corpus gives the same vocabulary.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        limit_alphabet=len(letters),
        initial_alphabet=letters,
        special_tokens=[*SPECIAL_PIECES, *letters, *(f"##{letter}" for letter in inner)],
        show_progress=False,
    )
    backend.train_from_iterator(itertools.chain(head, texts), trainer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    return Tokenizer(bert_rules(vocabulary, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese))


# ---- an extended vocabulary ----


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


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Texts -> counts of words, normalized as before they are split into pieces."""
    backend = tokenizer.backend
    alone = is_chunk_local(json.loads(backend.to_str()))
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
    """Add at most `number` of the counted words, those that save most tokens first: count x (pieces - 1); [UNK] counts as two pieces.

    Raises:
        UserError: not a WordPiece tokenizer, or every frequent word is a piece already.
    """
    rules = json.loads(tokenizer.backend.to_str())
    if rules["model"].get("type") != "WordPiece":
        raise UserError(f"a {rules['model'].get('type')} tokenizer cannot be extended; give a checkpoint with a WordPiece vocabulary")
    words = sorted(word for word in counts if len(word) <= LONGEST_WORD)
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
    frequency = np.array([counts[word] for word in words], float)
    lengths = np.array([len(ids) for ids in pieces], float)
    total = frequency.sum()
    return {"tokens_per_word": float((frequency * lengths).sum() / total), "split_fraction": float(frequency[lengths > 1].sum() / total)}

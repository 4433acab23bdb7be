"""BERT's rules around a vocabulary, as a `tokenizers.Tokenizer`."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from electra.errors import UserError

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET_COVERAGE = 0.9999
"""Share of a corpus's characters whose letters get a piece of their own when a vocabulary is trained."""


def encodable(text: str) -> str:
    """Lone surrogates (from broken JSON escapes) -> U+FFFD, one for one, so that offsets keep."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def looks_at_chunks_alone(rules: dict[str, Any]) -> bool:
    """Whether a tokenizer.json's rules are BERT's, which never look across a space."""
    kinds = [(rules.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    spaces = any(" " in added["content"] for added in rules.get("added_tokens", []))
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not spaces


def bert_rules(vocabulary: dict[str, int], *, lowercase: bool, strip_accents: bool | None = None, split_chinese: bool = True) -> tokenizers.Tokenizer:
    """BERT's rules around a vocabulary (piece -> id); `strip_accents` None: as `lowercase`."""
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    if all(piece in vocabulary for piece in SPECIAL_PIECES):
        backend.add_special_tokens(list(SPECIAL_PIECES))
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[(piece, vocabulary[piece]) for piece in ("[CLS]", "[SEP]")],
        )
    return backend


def read_vocabulary(path: Path) -> dict[str, int]:
    """vocab.txt -> piece -> line number. Lines end at newline alone: U+2028 and the like can be pieces.

    Raises:
        UserError: empty, not UTF-8, or without the special pieces.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a vocabulary: byte {error.start} is not UTF-8; expected one piece a line") from None
    if lines and not lines[-1]:
        lines.pop()
    vocabulary = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    missing = [piece for piece in SPECIAL_PIECES if piece not in vocabulary]
    if missing:
        raise UserError(f"{path} is not a WordPiece vocabulary: {missing[0]} is missing; expected one piece a line, {', '.join(SPECIAL_PIECES)} too")
    return vocabulary


def choose_letters(counts: Counter[str], most: int) -> list[str]:
    """The most frequent letters that cover the text, in code order (equal counts: the lower code first)."""
    needed = ALPHABET_COVERAGE * counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: max(most, 20)]
    before = itertools.accumulate((count for _, count in ranked), initial=0)
    return sorted(letter for (letter, _), covered in zip(ranked, before, strict=False) if covered < needed)

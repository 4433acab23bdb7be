"""A folder of tokenizer files, a vocab.txt or a tokenizer.json -> `Tokenizer`: texts -> ids and back, equal to `transformers.AutoTokenizer`.

BERT's rules: remove control characters, separate Chinese characters, lower-case and strip accents (uncased models), split at white space and
punctuation, then match the longest pieces from the left. Other rules are those of a tokenizer.json. `tokenizers` does the work;
`fast_tokenizer` looks up repeated chunks; `tokenizer_files` reads the files.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from electra import bundled
from electra.data.fast_tokenizer import GAP, LONG_WORD, ChunkCache, ChunkTable, LongWords, compiled_encoder, original_offset
from electra.data.tokenizer_files import INPUT_NAMES, PLAIN_SETTINGS, ROLES, SPECIAL_PIECES, TokenizerSettings, assemble, bert_rules, check_ids
from electra.errors import UserError, raise_if_device
from electra.storage import atomic, remote
from electra.storage.resolve import encoder_folder

FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
TOKENIZER_FILES = (*FILES, *(f"tokenizer/{name}" for name in FILES))
OTHER_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json", "merges.txt")
"""Files of other vocabularies; without a tokenizer.json they are not read."""
ONE_BY_ONE = 16
"""Up to this many texts are encoded one by one: waking the thread pool of `tokenizers` would cost more."""
LONG_TEXT = 1 << 18
"""Characters from which on a text is tokenized in blocks, so that memory stays bounded: `tokenizers` needs 200 bytes for each."""
LONGEST_WORD = 1_000_000
"""Longest run of characters without white space, in texts for tokenizers that would make a token of every few characters of it."""

# ---- texts ----


def encodable(text: str) -> str:
    """Lone surrogates (from broken JSON escapes) -> U+FFFD, one for one, so that offsets do not change."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def is_chunk_local(rules: dict[str, Any]) -> bool:
    """Whether a tokenizer.json's rules are BERT's, which never look across a space; nor may an added token hold or match white space."""
    kinds = [(rules.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    plain = all(unicodedata.category(c)[0] in "LNPS" for added in rules.get("added_tokens", []) for c in added["content"])
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and plain


# ---- the tokenizer ----


class Tokenizer:
    """Text -> word-piece ids, and back."""

    def __init__(self, backend: tokenizers.Tokenizer, settings: TokenizerSettings = PLAIN_SETTINGS) -> None:
        """`backend`: a `tokenizers.Tokenizer`; its truncation and padding are turned off.

        Raises:
            UserError: a token of the five roles is missing, or two tokens have one id.
        """
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.settings = backend, settings
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [piece for piece in settings.roles if piece not in vocabulary]
        if missing:
            raise UserError(f"the vocabulary ({len(vocabulary)} pieces) lacks {missing[0]}; it must hold {' '.join(settings.roles)}")
        check_ids(vocabulary)
        rules = json.loads(backend.to_str())  # as long as the largest id
        # Blank lines at the end of a vocab.txt are no pieces.
        self.pieces = [""] * (max(index for piece, index in vocabulary.items() if piece) + 1)
        for piece, index in vocabulary.items():
            if piece and self.pieces[index]:
                raise UserError(f"the tokens {self.pieces[index]!r:.60} and {piece!r:.60} have the same id {index}; give each token its own")
            if piece:
                self.pieces[index] = piece
        self.vocab_size = len(self.pieces)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (vocabulary[piece] for piece in settings.roles)
        self.second_segment, self.truncate_left = int(settings.segments), settings.truncate_left
        self.special_ids = frozenset(vocabulary[piece] for piece in settings.roles)
        normalizer = rules.get("normalizer") or {}
        is_bert = normalizer.get("type") == "BertNormalizer"
        self.lowercase = bool(normalizer["lowercase"]) if is_bert else self._normal("A") == "a"
        accents = normalizer.get("strip_accents")
        self.strip_accents = (self.lowercase if accents is None else bool(accents)) if is_bert else self._normal("\u00e9") == "e"
        self.split_chinese = bool(normalizer.get("handle_chinese_chars", False))
        self.fingerprint = self._fingerprint(rules, bool(normalizer.get("clean_text", False)))
        for token in rules.get("added_tokens", []):
            # `tokenizers` panics on every text: the empty string is found everywhere.
            if token["normalized"] and token["content"] and not self._normal(token["content"]):
                raise UserError(
                    f'the normalizer leaves nothing of the added token {token["content"]!r:.60}; remove it, or set its "normalized" to false'
                )
        self.typecode = "H" if self.vocab_size <= 1 << 16 else "i"
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if self.typecode == "H" else np.int32)
        self._chunk_local = is_chunk_local(rules)
        self._splits_words = all("[" in added["content"] for added in rules.get("added_tokens", []))
        self._cache = ChunkCache(self._encode_directly) if self._chunk_local else None
        self._table: ChunkTable | None = None
        self._table_lock = threading.Lock()
        self._long_words: LongWords | None = None
        if self._chunk_local:
            self._long_words = LongWords(self._joined, rules["model"]["max_input_chars_per_word"], [t["content"] for t in rules["added_tokens"]])

    def _normal(self, text: str) -> str:
        return text if self.backend.normalizer is None else str(self.backend.normalizer.normalize_str(text))

    def _fingerprint(self, rules: dict[str, Any], clean_text: bool) -> str:
        """A hash that differs between tokenizers that may give different ids."""
        parts: list[Any] = [self.pieces, [self.lowercase, self.strip_accents, self.split_chinese, clean_text]]
        is_bert = (rules["normalizer"] or {}).get("type") == "BertNormalizer"
        self._first_fingerprint = _digest(parts if is_bert else [self.pieces, [False] * 4])
        plain = json.loads(bert_rules({piece: index for index, piece in enumerate(SPECIAL_PIECES)}, lowercase=True).to_str())
        added = [{**token, "id": 0} for token in rules["added_tokens"]]
        same = all((rules[part] or {}).get("type") == plain[part]["type"] for part in ("normalizer", "pre_tokenizer"))
        same &= {**rules["model"], "vocab": 0} == {**plain["model"], "vocab": 0}
        # BERT's rules are hashed as in version 0.1, so that its datasets stay valid.
        if not same or sorted(map(str, added)) != sorted(str({**token, "id": 0}) for token in plain["added_tokens"]):
            parts.append([rules["normalizer"], rules["pre_tokenizer"], rules["model"], rules["added_tokens"], self.settings.roles])
        return _digest(parts)

    def matches(self, fingerprint: str) -> bool:
        """Whether ids with this fingerprint are this tokenizer's; version 0.1 hashed only pieces and case rule of every kind of tokenizer."""
        return fingerprint in (self.fingerprint, self._first_fingerprint)

    def with_segments(self) -> Tokenizer:
        """This tokenizer, with segment 1 for the second text of a pair: for a model that is pre-trained here."""
        return self if self.settings.segments else Tokenizer(self.backend, replace(self.settings, segments=True))

    def with_backend(self, backend: tokenizers.Tokenizer) -> Tokenizer:
        """Another backend with this tokenizer's settings."""
        return Tokenizer(backend, self.settings)

    def lowercased(self) -> Tokenizer:
        """This tokenizer, with texts lower-cased before its own rules, as sentence-transformers' `do_lower_case` does."""
        rules = json.loads(self.backend.to_str())
        own = rules["normalizer"]
        parts = own["normalizers"] if (own or {}).get("type") == "Sequence" else [own] if own else []
        # BERT's own lower-casing gives every character what it gives a lower-cased one.
        if any(part["type"] == "Lowercase" for part in parts) or ((own or {}).get("type") == "BertNormalizer" and own["lowercase"]):
            return self
        rules["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *parts]}
        return self.with_backend(tokenizers.Tokenizer.from_str(json.dumps(rules)))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> ids without special tokens, not truncated; identical to `tokenizers` (special tokens written out are recognized)."""
        return [array(self.typecode, ids).tolist() for ids in self.encode_packed(texts)]

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """Texts -> each text's ids as the bytes of a uint16 array (int32 for vocabularies above 65,536): the fastest form.

        Raises:
            UserError: a word of more than a million characters, and a tokenizer with other rules than BERT's.
        """
        if self._cache is None:
            return self._encode_directly(list(texts))
        if max(map(len, texts), default=0) <= LONG_TEXT:
            return self._cache.encode(texts)
        return [self._encode_long(text).tobytes() if len(text) > LONG_TEXT else self._cache.encode([text])[0] for text in texts]

    def encode_lines(self, text: bytes) -> tuple[np.ndarray, np.ndarray]:
        """UTF-8 lines, megabytes at a time -> (N,) all their ids, (lines,) how many each has; as `encode_packed`, several times as fast."""
        if self._long_words is None:
            return self._encode_utf8(text.split(b"\n"))
        if not _has_longer_line(text, 4 * LONG_TEXT):
            return self._look_up(text)
        lines = text.split(b"\n")
        long = [index for index, line in enumerate(lines) if len(line) > 4 * LONG_TEXT]
        parts, done = [], 0
        for index in (*long, len(lines)):
            if index > done:
                parts.append(self._look_up(b"\n".join(lines[done:index])))
            if index < len(lines):
                ids = self._encode_long(lines[index].decode("utf-8"))
                parts.append((ids, np.array([len(ids)])))
            done = index + 1
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([counts for _, counts in parts])

    def _look_up(self, text: bytes) -> tuple[np.ndarray, np.ndarray]:
        with self._table_lock:
            if self._table is None:
                compiled = compiled_encoder(self.backend.to_str(), self.dtype, self._encode_utf8)
                self._table = ChunkTable(
                    compiled or self._encode_utf8,
                    self.dtype,
                    single_token=self.single_token,
                    lowercase=self.lowercase,
                    splits_words=self._splits_words,
                    compiled=compiled is not None,
                )
            return self._table.encode(text)

    def _encode_long(self, text: str) -> np.ndarray:
        """A text of any length, a block at a time -> (N,) ids."""
        assert self._long_words is not None
        text, _ = self._long_words.shorten(encodable(text).replace("\n", " "))
        return np.concatenate([self._look_up(block.encode("utf-8"))[0] for _, block in self._long_words.blocks(text, LONG_TEXT)])

    def _joined(self, character: str) -> int | None:
        """How many characters are left of one inside a word; None where it separates words."""
        words = self.backend.pre_tokenizer.pre_tokenize_str(self.backend.normalizer.normalize_str(f"a{character}a"))
        return len(words[0][0]) - 2 if len(words) == 1 else None

    @property
    def longest_word(self) -> int | None:
        """Most characters without white space that a text may hold; None: any number, for a longer word is one unknown token."""
        return None if self._long_words is not None and self._long_words.shortens else LONGEST_WORD

    def within_limit(self, text: str) -> str:
        """A text with the same ids in which no word is long.

        Raises:
            UserError: a word of more than a million characters, and a tokenizer that would split it.
        """
        if self._long_words is not None and self._long_words.shortens:
            return self._long_words.shorten(text)[0]
        if len(text) > LONGEST_WORD and (found := re.search(rf"\S{{{LONGEST_WORD + 1},}}", text)):
            kind = type(self.backend.model).__name__
            raise UserError(
                f"a text with a word of {len(found[0]):,} characters ('{found[0][:20]}...'); this tokenizer ({kind}) takes at most "
                f"{LONGEST_WORD:,} without white space; split it, or leave it out"
            )
        return text

    def independent_parts(self, text: str) -> Iterator[str]:
        """A text -> parts with the same ids, each short enough for `tokenizers`, where its rules allow that.

        Raises:
            UserError: as `within_limit`.
        """
        text = self.within_limit(text)
        if self._long_words is None:
            yield text
        else:
            yield from (part for _, part in self._long_words.blocks(text, LONG_TEXT))

    def _encodings(self, text: str) -> Iterator[tuple[Any, list[tuple[int, int]]]]:
        """A text of any length -> the encoding of each of its blocks, with the offsets in the text."""
        text = encodable(text)
        if self._long_words is None or len(text) <= LONG_TEXT:
            encoding = self.backend.encode(self.within_limit(text) if self._long_words is None else text, add_special_tokens=False)
            yield encoding, encoding.offsets
            return
        short, cuts = self._long_words.shorten(text)
        for start, block in self._long_words.blocks(short, LONG_TEXT):
            encoding = self.backend.encode(block, add_special_tokens=False)
            yield encoding, [(original_offset(start + a, cuts), original_offset(start + b, cuts)) for a, b in encoding.offsets]

    def single_token(self, character: str) -> int | None:
        """A character's id if by BERT's rules it is a token in any context; GAP if it only separates tokens; else None."""
        parts = self.backend.pre_tokenizer.pre_tokenize_str(self.backend.normalizer.normalize_str(f"a{character}a"))
        words = [word for word, _ in parts]
        if words == ["a", "a"]:
            return GAP
        if len(words) != 3 or words[::2] != ["a", "a"] or len(words[1]) != 1:
            return None
        ids = self.backend.encode(character, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 else None

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Text -> (ids, character offsets in the original text), without special tokens."""
        parts = [(encoding.ids, offsets) for encoding, offsets in self._encodings(text)]
        return [index for ids, _ in parts for index in ids], [offset for _, offsets in parts for offset in offsets]

    def encode_tokens(self, text: str) -> Iterator[tuple[int, tuple[int, int]]]:
        """Text -> each token's id and its (first, end) characters in the text, block by block, so that a long text need not be read to its end."""
        for encoding, offsets in self._encodings(text):
            yield from zip(encoding.ids, offsets, strict=True)

    def encode_words(self, text: str) -> list[tuple[list[int], tuple[int, int]]]:
        """Text -> its words, split by white space, punctuation and Chinese characters: the ids of each, and its (first, end) characters."""
        text = encodable(text)
        found: list[tuple[list[int], int, int]] = []
        for encoding, offsets in self._encodings(text):
            last: int | None = None
            for index, word, (start, end) in zip(encoding.ids, encoding.word_ids, offsets, strict=True):
                ids, first, _ = found.pop() if found and word == last else ([], start, end)
                ids.append(index)
                found.append((ids, first, end))
                last = word
        words = []
        for (ids, start, end), follow in zip(found, [*(start for _, start, _ in found), len(text)][1:], strict=True):
            while end < follow and unicodedata.category(text[end]) == "Mn":
                end += 1  # a stripped accent belongs to its letter
            while start < end and text[start].isspace():
                start += 1  # with marked spaces (Metaspace, byte-level) the space belongs to the piece
            words.append((ids, (start, end)))
        return words

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Ids -> text, pieces joined; what normalization removed (case, accents) is lost."""
        text = str(self.backend.decode(list(ids), skip_special_tokens=skip_special))
        return _cleaned(text) if self.settings.clean_up and type(self.backend.model).__name__ != "BPE" else text

    def wrap(self, ids_a: Sequence[int], ids_b: Sequence[int] | None = None, max_length: int | None = None) -> tuple[list[int], list[int]]:
        """One or two texts' ids -> ([CLS] a [SEP] (b [SEP]), segments 0..0 (1..1; 0 where the tokenizer's files name no token_type_ids)).

        A pair that is too long loses tokens from the end of the longer text, one at a time, and of b if both are equal: the original's rule.
        """
        a = list(ids_a)
        b = None if ids_b is None else list(ids_b)
        if max_length is not None and b is None:
            a = a[: max(0, max_length - 2)]
        elif max_length is not None and b is not None:
            for _ in range(len(a) + len(b) - max(0, max_length - 3)):
                (a if len(a) > len(b) else b).pop()
        ids = [self.cls_id, *a, self.sep_id]
        segments = [0] * len(ids)
        if b is not None:
            ids += [*b, self.sep_id]
            segments += [self.second_segment] * (len(b) + 1)
        return ids, segments

    def save(self, folder: Path | str, max_length: int = 512) -> None:
        """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json: `transformers.AutoTokenizer` opens the folder with equal ids.

        With BERT's rules the class is ElectraTokenizer and a vocab.txt is written too; others are a PreTrainedTokenizerFast.
        `max_length`: what `model_max_length` says, the longest input of the model in tokens.
        """
        folder = Path(folder)
        rules = json.loads(self.backend.to_str())
        # A role without a name in the files is no added token; named, it would become one.
        added = {token["content"] for token in rules["added_tokens"]}
        names = {role: token for role, token in zip(ROLES, self.settings.roles, strict=True) if token in added}
        common: dict[str, Any] = {"model_max_length": max_length, **names}
        if self.settings.clean_up:
            common["clean_up_tokenization_spaces"] = True
        if self.settings.truncate_left:
            common["truncation_side"] = "left"
        if not self._is_bert(rules):
            common = {"tokenizer_class": "PreTrainedTokenizerFast", **common}
            common["model_input_names"] = [name for name in INPUT_NAMES if self.settings.segments or name != "token_type_ids"]
        else:
            accents = rules["normalizer"]["strip_accents"]
            common = {
                "tokenizer_class": "ElectraTokenizer",
                "do_lower_case": self.lowercase,
                "strip_accents": self.strip_accents if accents is None else accents,
                "tokenize_chinese_chars": self.split_chinese,
                **common,
            }
        written = {"tokenizer.json": self.backend.to_str(pretty=True)}
        written["tokenizer_config.json"] = json.dumps(common, indent=2) + "\n"
        written["special_tokens_map.json"] = json.dumps(names, indent=2) + "\n"
        if self._is_bert(rules):
            written["vocab.txt"] = "".join(piece + "\n" for piece in self.pieces)
        for name, text in written.items():
            atomic.write_text(folder / name, text)

    def _is_bert(self, rules: dict[str, Any]) -> bool:
        """Whether BertTokenizer's rules with these pieces and options are exactly the backend's, and nothing is added."""
        normalizer, vocabulary = rules["normalizer"] or {}, rules["model"].get("vocab")
        if normalizer.get("type") != "BertNormalizer" or rules["model"]["type"] != "WordPiece" or not self.settings.segments:
            return False
        if any(piece not in vocabulary for piece in (*SPECIAL_PIECES, *self.settings.roles)) or self.settings.roles != SPECIAL_PIECES:
            return False
        options = {"lowercase": self.lowercase, "strip_accents": normalizer["strip_accents"], "split_chinese": self.split_chinese}
        return bool(json.loads(bert_rules(vocabulary, **options).to_str()) == rules)

    def _encode_directly(self, texts: list[str]) -> list[bytes]:
        texts = [text if len(text) <= LONG_WORD else self.within_limit(text) for text in texts]
        try:
            if len(texts) <= ONE_BY_ONE:
                encodings = [self.backend.encode(text, add_special_tokens=False) for text in texts]
            else:
                encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:  # lone surrogates have no UTF-8
            return self._encode_directly([encodable(text) for text in texts])
        return [array(self.typecode, encoding.ids).tobytes() for encoding in encodings]

    def _encode_utf8(self, texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        encoded = self._encode_directly([text.decode("utf-8") for text in texts])
        return np.frombuffer(b"".join(encoded), self.dtype), np.array([len(ids) for ids in encoded], np.int64) // self.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.backend.to_str(), self.settings)


def _has_longer_line(text: bytes, size: int) -> bool:
    """Whether a line has more than `size` bytes: looks for the last newline of each `size` bytes, and makes no list of the lines."""
    start = 0
    while len(text) - start > size:
        newline = text.rfind(b"\n", start, start + size + 1)
        if newline < 0:
            return True
        start = newline + 1
    return False


def _revive(text: str, settings: TokenizerSettings = PLAIN_SETTINGS) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text), settings)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _cleaned(text: str) -> str:
    """Without spaces before punctuation, as `clean_up_tokenization_spaces` does."""
    for spaced in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(spaced, spaced.strip())
    return text


def load_tokenizer(
    source: str | Path, lowercase: bool | None = None, *, strip_accents: bool | None = None, split_chinese: bool | None = None
) -> Tokenizer:
    """A folder (tokenizer, checkpoint, run, dataset), a vocab.txt, a tokenizer.json, a URL of these, 'shipped:NAME' or a hub name -> Tokenizer.

    A folder is read as `transformers.AutoTokenizer` reads it, see `tokenizer_files`. A vocab.txt without a tokenizer_config.json is judged by
    its pieces, and `Tokenizer.settings.note` says how. Rules of BERT that are given replace those of the files.

    Raises:
        UserError: not found, or rules that are not known.
    """
    if remote.is_url(source):
        with remote.local_copy(str(source), TOKENIZER_FILES, "tokenizer") as folder:
            files = list(folder.iterdir())
            local = files[0] if len(files) == 1 else folder
            try:
                return load_tokenizer(local, lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
            except UserError as error:
                raise UserError(str(error).replace(str(local), str(source))) from None
    path = _find_tokenizer(source)
    with _usable(path):
        backend, settings = assemble(path, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
        tokenizer = Tokenizer(backend, settings)
        _check_template(tokenizer, path)
    return tokenizer


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Files whose values have other types or contradict each other -> UserError. A panic of `tokenizers` is no Exception."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    except (OSError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise_if_device(error)
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise UserError(f"{path}: its files do not make a tokenizer ({reason}); they are damaged, or of another version") from None


def _check_template(tokenizer: Tokenizer, path: Path) -> None:
    """Raise a UserError if the backend does not write [CLS] a [SEP] b [SEP]."""
    texts = ("a b", "c")
    single, pair = tokenizer.backend.encode(texts[0]), tokenizer.backend.encode(*texts)
    a, b = tokenizer.encode(texts)
    same = single.ids == tokenizer.wrap(a)[0] and pair.ids == tokenizer.wrap(a, b)[0] and not any(single.type_ids)
    if same and (not tokenizer.settings.segments or pair.type_ids == tokenizer.wrap(a, b)[1]):
        return
    wanted = " ".join(tokenizer.pieces[i] if i in tokenizer.special_ids else "..." for i in tokenizer.wrap(a[:1], b[:1])[0])
    found = " ".join(f"{token}:{kind}" for token, kind in zip(pair.tokens, pair.type_ids, strict=True))
    raise UserError(
        f"{path}: post_processor: two texts become {found}; this package writes {wanted} with segments 0 and 1, so correct the post_processor "
        "of tokenizer.json"
    )


def check_start(source: str | Path, folder: Path, tokenizer: Tokenizer, flag: str = "--init") -> bool:
    """Check that a checkpoint to start or learn from (`flag` SOURCE, in `folder`) has the data's tokens and rules -> whether it has a tokenizer.

    The rules of a bare vocab.txt are not known, so only its tokens are compared.

    Raises:
        UserError: the vocabularies differ, or the rules (case, accents, Chinese characters, others), which would give other ids.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return False
    own = load_tokenizer(folder)
    if own.pieces != tokenizer.pieces:
        raise UserError(
            f"{flag} {source}: its vocabulary ({own.vocab_size:,} pieces) differs from the data's ({tokenizer.vocab_size:,}); prepare the data with "
            f"--tokenizer {source} (to add words of the data: 'electra vocab CORPUS --extend {source}')"
        )
    stated = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    if stated and own.fingerprint != tokenizer.fingerprint:
        rules = []
        for name in ("lowercase", "strip_accents", "split_chinese"):
            its, data = ("on" if getattr(one, name) else "off" for one in (own, tokenizer))
            if its != data:
                rules.append(f"{name} {its} (the data: {data})")
        shown = ", ".join(rules) or "normalization, splitting or added tokens"
        raise UserError(
            f"{flag} {source}: its tokenizer has the data's vocabulary, but other rules: {shown}; prepare the data with --tokenizer {source}"
        )
    return True


def _find_tokenizer(source: str | Path) -> Path:
    path = bundled.located(source)
    if path.is_file():
        return path
    if path.is_dir():
        folders = [path, encoder_folder(path), *(path / name for name in ("tokenizer", "final", "best"))]
        folders += sorted((path / "checkpoints").glob("step-*"), reverse=True)
        for folder in folders:
            if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
                return folder
        other = next((f" but {name}, which needs other software" for name in OTHER_FILES if (path / name).is_file()), "")
        raise UserError(f"{path} contains no tokenizer{other}; expected tokenizer.json or vocab.txt in it (or in tokenizer/, final/, best/)")
    name = str(source)
    if name.count("/") <= 1 and not name.startswith((".", "/")) and not path.suffix:
        return _download_tokenizer(name)
    return atomic.existing_path(path, "tokenizer")


def _download_tokenizer(name: str) -> Path:
    import huggingface_hub

    try:
        folder = encoder_folder(Path(huggingface_hub.snapshot_download(name, allow_patterns=[*FILES, "modules.json", "0_*/*.json", "0_*/vocab.txt"])))
    except Exception as error:  # no such name, no network, no cache: one answer for all
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"tokenizer '{name}' is not a local folder, and not on the hub ({reason}); give a folder or a vocab.txt") from None
    if any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        return folder
    raise UserError(f"'{name}' on the hub has neither tokenizer.json nor vocab.txt; give a model with a WordPiece tokenizer")

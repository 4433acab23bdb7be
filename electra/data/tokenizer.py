"""vocab.txt or tokenizer.json -> `Tokenizer`: texts -> word-piece ids and back.

The rules are BERT's: remove control characters, separate Chinese characters, lower-case and strip accents (uncased models), split at white
space and punctuation, then match the longest pieces from the left. `tokenizers` does the work; `fast_tokenizer` looks up repeated chunks.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from electra import bundled
from electra.data.fast_tokenizer import GAP, ChunkCache, ChunkTable, concatenated
from electra.errors import UserError
from electra.storage import atomic, remote

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
TOKENIZER_FILES = (*FILES, *(f"tokenizer/{name}" for name in FILES))
ONE_BY_ONE = 16
"""Up to this many texts are encoded one by one: waking the thread pool of `tokenizers` would cost more."""

# ---- BERT's rules ----


def encodable(text: str) -> str:
    """Lone surrogates (from broken JSON escapes) -> U+FFFD, one for one, so that offsets do not change."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def is_chunk_local(rules: dict[str, Any]) -> bool:
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


# ---- the tokenizer ----


class Tokenizer:
    """Text -> word-piece ids, and back."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        """`backend`: a `tokenizers.Tokenizer`; its truncation and padding are turned off.

        Raises:
            UserError: one of the five special pieces is missing.
        """
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        rules = json.loads(backend.to_str())
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [piece for piece in SPECIAL_PIECES if piece not in vocabulary]
        if missing:
            raise UserError(f"the vocabulary ({len(vocabulary)} pieces) lacks {missing[0]}; it must hold {' '.join(SPECIAL_PIECES)}")
        self.pieces = [""] * (max(vocabulary.values()) + 1)
        for piece, index in vocabulary.items():
            self.pieces[index] = piece
        self.vocab_size = len(self.pieces)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (vocabulary[piece] for piece in SPECIAL_PIECES)
        self.special_ids = frozenset(vocabulary[piece] for piece in SPECIAL_PIECES)
        normalizer = rules.get("normalizer") or {}
        self.lowercase = bool(normalizer.get("lowercase", False))
        accents = normalizer.get("strip_accents")
        self.strip_accents = self.lowercase if accents is None else bool(accents)
        self.split_chinese = bool(normalizer.get("handle_chinese_chars", False))
        case_rule = [self.lowercase, self.strip_accents, self.split_chinese, bool(normalizer.get("clean_text", False))]
        self.fingerprint = hashlib.sha256(json.dumps([self.pieces, case_rule]).encode()).hexdigest()
        self.typecode = "H" if self.vocab_size <= 1 << 16 else "i"
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if self.typecode == "H" else np.int32)
        self._chunk_local = is_chunk_local(rules)
        self._splits_words = all("[" in added["content"] for added in rules.get("added_tokens", []))
        self._cache = ChunkCache(self._encode_directly) if self._chunk_local else None
        self._table: ChunkTable | None = None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> ids without special tokens, not truncated; identical to `tokenizers` (special tokens written out are recognized)."""
        return [array(self.typecode, ids).tolist() for ids in self.encode_packed(texts)]

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """Texts -> each text's ids as the bytes of a uint16 array (int32 for vocabularies above 65,536): the fastest form."""
        return self._cache.encode(texts) if self._cache is not None else self._encode_directly(list(texts))

    def encode_lines(self, text: bytes) -> tuple[np.ndarray, np.ndarray]:
        """UTF-8 lines, megabytes at a time -> (N,) all their ids, (lines,) how many each has; as `encode_packed`, several times as fast."""
        if not self._chunk_local:
            return concatenated(self._encode_directly(text.decode("utf-8").split("\n")), self.dtype)
        if self._table is None:
            self._table = ChunkTable(
                self._encode_directly, self.dtype, single_token=self.single_token, lowercase=self.lowercase, splits_words=self._splits_words
            )
        return self._table.encode(text)

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
        encoding = self.backend.encode(encodable(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def encode_words(self, text: str) -> list[tuple[list[int], tuple[int, int]]]:
        """Text -> its words, split by white space, punctuation and Chinese characters: the ids of each, and its (first, end) characters."""
        encoding = self.backend.encode(encodable(text), add_special_tokens=False)
        words: list[tuple[list[int], tuple[int, int]]] = []
        last: int | None = None
        follows = [*(start for start, _ in encoding.offsets), len(text)][1:]
        for index, word, (start, end), follow in zip(encoding.ids, encoding.word_ids, encoding.offsets, follows, strict=True):
            while end < follow and unicodedata.category(text[end]) == "Mn":
                end += 1  # a stripped accent belongs to its letter
            if words and word == last:
                ids, (first, _) = words[-1]
                words[-1] = ([*ids, index], (first, end))
            else:
                words.append(([index], (start, end)))
            last = word
        return words

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Ids -> text, pieces joined; what normalization removed (case, accents) is lost."""
        return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))

    def wrap(self, ids_a: Sequence[int], ids_b: Sequence[int] | None = None, max_length: int | None = None) -> tuple[list[int], list[int]]:
        """One or two texts' ids -> ([CLS] a [SEP] (b [SEP]), segments 0..0 (1..1)).

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
            segments += [1] * (len(b) + 1)
        return ids, segments

    def save(self, folder: Path | str, max_length: int = 512) -> None:
        """Write vocab.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json: `transformers.AutoTokenizer` opens the folder.

        `max_length`: what `model_max_length` says, the longest input of the model in tokens.
        """
        folder = Path(folder)
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_PIECES, strict=True))
        settings = {
            "tokenizer_class": "ElectraTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.split_chinese,
            "model_max_length": max_length,
            **names,
        }
        atomic.write_text(folder / "vocab.txt", "".join(piece + "\n" for piece in self.pieces))
        atomic.write_text(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        atomic.write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
        atomic.write_text(folder / "special_tokens_map.json", json.dumps(names, indent=2) + "\n")

    def _encode_directly(self, texts: list[str]) -> list[bytes]:
        try:
            if len(texts) <= ONE_BY_ONE:
                encodings = [self.backend.encode(text, add_special_tokens=False) for text in texts]
            else:
                encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:  # lone surrogates have no UTF-8
            return self._encode_directly([encodable(text) for text in texts])
        return [array(self.typecode, encoding.ids).tobytes() for encoding in encodings]

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.backend.to_str(),)


def _revive(text: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text))


def load_tokenizer(
    source: str | Path, lowercase: bool | None = None, *, strip_accents: bool | None = None, split_chinese: bool | None = None
) -> Tokenizer:
    """A folder (tokenizer, checkpoint, run, dataset), a vocab.txt, a tokenizer.json, a URL of these, 'shipped:NAME' or a hub name -> Tokenizer.

    Rules that are not given are taken from the files; a bare vocab.txt is uncased if no piece has a capital letter.

    Raises:
        UserError: not found, or not a WordPiece tokenizer.
    """
    if remote.is_url(source):
        with remote.local_copy(str(source), TOKENIZER_FILES, "tokenizer") as folder:
            files = list(folder.iterdir())
            local = files[0] if len(files) == 1 else folder
            try:
                return load_tokenizer(local, lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
            except UserError as error:
                raise UserError(str(error).replace(str(local), str(source))) from None
    file = _find_tokenizer(source)
    given = {"lowercase": lowercase, "strip_accents": strip_accents, "split_chinese": split_chinese}
    if file.name.endswith(".json"):
        try:
            tokenizer = Tokenizer(tokenizers.Tokenizer.from_file(str(file)))
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        except Exception as error:  # `tokenizers` raises bare Exception
            raise UserError(f"{file} is not a tokenizer.json: {error}") from None
        changes = {k: v for k, v in given.items() if v is not None and v != getattr(tokenizer, k)}
        if changes:
            rules = {k: getattr(tokenizer, k) for k in given} | changes
            return Tokenizer(bert_rules({p: i for i, p in enumerate(tokenizer.pieces)}, **rules))
        return tokenizer
    vocabulary = read_vocabulary(file)
    config = file.with_name("tokenizer_config.json")
    stored = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if lowercase is None:
        lowercase = stored.get("do_lower_case")
    if lowercase is None:
        lowercase = not any(p != p.lower() for p in vocabulary if not (p.startswith("[") and p.endswith("]")))
    strip_accents = stored.get("strip_accents") if strip_accents is None else strip_accents
    split_chinese = stored.get("tokenize_chinese_chars", True) if split_chinese is None else split_chinese
    return Tokenizer(bert_rules(vocabulary, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese))


def check_start(source: str | Path, folder: Path, tokenizer: Tokenizer) -> None:
    """Check that a checkpoint to start from (`--init SOURCE`, in `folder`) has the data's vocabulary.

    Raises:
        UserError: the vocabularies differ. Of a checkpoint without one, only the size is compared, later.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return
    own = load_tokenizer(folder)
    if own.pieces != tokenizer.pieces:
        raise UserError(
            f"--init {source}: its vocabulary ({own.vocab_size:,} pieces) differs from the data's ({tokenizer.vocab_size:,}); prepare the data with "
            f"--tokenizer {source} (to add words of the data: 'electra vocab CORPUS --extend {source}')"
        )


def _find_tokenizer(source: str | Path) -> Path:
    path = bundled.located(source)
    if path.is_file():
        return path
    if path.is_dir():
        folders = [path, *(path / name for name in ("tokenizer", "final", "best"))]
        folders += sorted((path / "checkpoints").glob("step-*"), reverse=True)
        for folder in folders:
            for name in ("tokenizer.json", "vocab.txt"):
                if (folder / name).is_file():
                    return folder / name
        raise UserError(f"{path} contains no tokenizer; expected tokenizer.json or vocab.txt in it (or in tokenizer/, final/, best/)")
    name = str(source)
    if name.count("/") <= 1 and not name.startswith((".", "/")) and not path.suffix:
        return _download_tokenizer(name)
    return atomic.existing_path(path, "tokenizer")


def _download_tokenizer(name: str) -> Path:
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # no such name, no network, no cache: one answer for all
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"tokenizer '{name}' is not a local folder, and not on the hub ({reason}); give a folder or a vocab.txt") from None
    for file in ("tokenizer.json", "vocab.txt"):
        if (folder / file).is_file():
            return folder / file
    raise UserError(f"'{name}' on the hub has neither tokenizer.json nor vocab.txt; give a model with a WordPiece tokenizer")

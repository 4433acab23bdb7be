"""Texts -> word-piece ids by look-up, identical to `tokenizers` and several times as fast.

BERT's rules never look across a space, so the chunks between spaces can be looked up. Two forms:

`ChunkTable` takes megabytes of lines (`electra prepare`): splitting, look-up and joining are a few numpy passes, without Python per word. A
chunk of up to 16 bytes is its own key, as two 64-bit numbers; no information is lost, so ids are exact. A new chunk of plain ASCII is split
by BERT's rules (every punctuation mark is a token, letters are lower-cased) into words, most of which are known. Only new words, chunks with
other characters and longer ones go to `tokenizers`. Text without spaces (Chinese) is cut into characters that are tokens on their own and the
runs between them (`CharacterTable`).

`compiled_encoder` is the package nanotoken, which does the same in Rust, where it is installed and gives equal ids: text with spaces goes to
it, and of Chinese what is new. Without it nothing is different but the time.

`LongWords` bounds what a word of megabytes costs (a minified script, base64): by BERT's rules it is one unknown token, whatever its letters.

`ChunkCache` takes lists of texts (fine-tuning, inference): a dictionary. It needs no 100 MB of tables and answers one short text in
microseconds, where a table's numpy passes take a quarter of a millisecond.
"""

from __future__ import annotations

import importlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electra.terminal import say

# ---- text without spaces ----

NUM_CODES = 0x110000
_UNKNOWN, _RUN, _GAP, _ALONE = range(4)
"""Kinds of characters: not seen yet; part of a run; only a separator; a token on its own."""
GAP = -1
"""In place of an id, for a separator."""
_BRACKET, _NEWLINE, _SPACE = (ord(character) for character in "[\n ")


@dataclass(frozen=True)
class CharacterUnits:
    """The U units of a text, in order: single-character tokens and the R runs between them."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """(R,) first byte and number of bytes of each run."""
    is_run: NDArray[np.bool_]
    """(U,)"""
    ids: NDArray[Any]
    """(U - R,) ids of the single-character tokens."""
    line_ends: NDArray[np.int64]
    """(lines,) units up to the end of each line."""


class CharacterTable:
    """Kind and id of every Unicode character, filled on demand."""

    def __init__(self, single_token: Callable[[str], int | None], dtype: np.dtype[Any]) -> None:
        """`single_token`: a character -> its id if it is a token in any context, GAP if it only separates tokens, else None."""
        self._single_token = single_token
        self._kinds = np.zeros(NUM_CODES, np.uint8)
        self._ids = np.zeros(NUM_CODES, dtype)
        self._kinds[[_NEWLINE, _SPACE]] = _GAP

    def units(self, text: bytes) -> CharacterUnits:
        """UTF-8 lines -> their units. A chunk with a '[' may contain a special token and stays whole."""
        text += b"\n"
        codes = np.frombuffer(text.decode("utf-8").encode("utf-32-le"), "<u4")
        kinds = self._kinds[codes]
        if not kinds.all():
            self._learn(np.unique(codes[kinds == _UNKNOWN]).tolist())
            kinds = self._kinds[codes]
        newline = codes == _NEWLINE
        if (bracket := codes == _BRACKET).any():
            chunk = np.cumsum(newline | (codes == _SPACE))
            has_bracket = np.zeros(int(chunk[-1]) + 1, bool)
            has_bracket[chunk[bracket]] = True
            kinds[has_bracket[chunk] & ~newline & (codes != _SPACE)] = _RUN
        run = kinds == _RUN
        first = run.copy()
        first[1:] &= ~run[:-1]
        # First bytes of characters, of runs, and of what follows a run.
        places = np.flatnonzero(np.frombuffer(text, np.int8) >= -64)
        starts, ends = places[first], places[1:][run[:-1] & ~run[1:]]
        unit = np.flatnonzero(first | (kinds == _ALONE))
        is_run = first[unit]
        line_ends = np.searchsorted(unit, np.flatnonzero(newline))
        return CharacterUnits(starts, ends - starts, is_run, self._ids[codes[unit[~is_run]]], line_ends)

    def _learn(self, codes: list[int]) -> None:
        for code in codes:
            found = self._single_token(chr(code))
            self._kinds[code] = _RUN if found is None else _GAP if found == GAP else _ALONE
            self._ids[code] = found if found is not None and found != GAP else 0


# ---- the table ----

Ids = NDArray[Any]
Encode = Callable[[list[bytes]], tuple[Ids, NDArray[np.int64]]]
"""Texts in UTF-8 -> all their ids, and how many each has."""
Keys = tuple[NDArray[np.uint64], NDArray[np.uint64]]

LONGEST = 16
"""Most bytes of a chunk that is its own key."""
BLOCK_BYTES = 1 << 18
"""Text of one pass: what a pass makes stays in the processor's cache."""
FIRST_SLOT_BITS, SLOT_BITS = 13, 21
"""2 ** this many slots of 24 bytes in a table at first and at most; when half of these are used, the table is emptied."""
SPACELESS = 20
"""Bytes from one space or newline to the next, on average, from which on the table is faster than the compiled encoder."""
SAMPLE_BYTES = 1 << 14
"""Text at the beginning of a block that decides between the table and the compiled encoder, whose ids are the same."""
MOST_OTHER = 0.5
"""Fraction of a text in longer chunks from which on it counts as a language without spaces."""
_USED = np.uint64(1 << 63)
_KEPT = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
"""Masks of the first n bytes of 8, little-endian."""
_LETTER, _MARK, _OTHER = 1, 2, 3


def _classes() -> NDArray[np.uint8]:
    """Byte -> space (0), letter or digit, punctuation mark, or other: not ASCII, a control character, or '[', which may begin a special token."""
    found = np.full(256, _OTHER, np.uint8)
    for code in range(33, 127):
        found[code] = _LETTER if chr(code).isalnum() else _MARK
    found[ord("[")] = _OTHER
    found[ord(" ")] = 0
    return found


CLASSES = _classes()
LOWERED = np.array([ord(chr(code).lower()) if code < 128 else code for code in range(256)], np.uint8)


class Pool:
    """Concatenated sequences of ids, and a hash table (open addressing) from keys to their positions, which grows when half of it is used."""

    def __init__(self, dtype: np.dtype[Any], slot_bits: int) -> None:
        self._clear(slot_bits)
        self.ids = np.zeros(1 << 12, dtype)
        self.num_ids = self.num_keys = 0

    def _clear(self, slot_bits: int) -> None:
        self.slot_bits, self.mask = slot_bits, np.uint64((1 << slot_bits) - 1)
        self.rows = np.zeros((1 << slot_bits, 3), np.uint64)

    def find(self, keys: Keys) -> NDArray[np.uint64]:
        """Keys -> packed positions of their ids, see `unpack`; 0 for unknown keys."""
        low, high = keys
        slot = self._first(keys)
        rows = self.rows[slot]
        found = rows[:, 2].copy()
        todo = np.flatnonzero((found != 0) & ((rows[:, 0] != low) | (rows[:, 1] != high)))
        while len(todo):
            slot[todo] = (slot[todo] + np.uint64(1)) & self.mask
            rows = self.rows[slot[todo]]
            found[todo] = rows[:, 2]
            todo = todo[(rows[:, 2] != 0) & ((rows[:, 0] != low[todo]) | (rows[:, 1] != high[todo]))]
        return found

    def add(self, keys: Keys, ids: Ids, counts: NDArray[np.int64]) -> None:
        """Add new, distinct keys: their concatenated ids, and how many each has."""
        offsets = self.num_ids + np.cumsum(counts) - counts
        while self.num_ids + len(ids) > len(self.ids):
            self.ids = np.concatenate([self.ids, np.zeros_like(self.ids)])
        self.ids[self.num_ids : self.num_ids + len(ids)] = ids
        self.num_ids += len(ids)
        self.num_keys += len(counts)
        rows = np.stack([*keys, (offsets.astype(np.uint64) << np.uint64(8)) | counts.astype(np.uint64) | _USED], 1)
        if self.num_keys * 2 > len(self.rows):
            rows = np.concatenate([self.rows[self.rows[:, 2] != 0], rows])
            self._clear((4 * self.num_keys - 1).bit_length())
        self._insert(rows)

    def _insert(self, rows: NDArray[np.uint64]) -> None:
        slot, todo = self._first((rows[:, 0], rows[:, 1])), np.arange(len(rows))
        while len(todo):
            free = self.rows[slot[todo], 2] == 0
            # Of several keys for one slot the first takes it; the others continue from there.
            slots, firsts = np.unique(slot[todo[free]], return_index=True)
            chosen = todo[free][firsts]
            self.rows[slots] = rows[chosen]
            taken = np.zeros(len(rows), bool)
            taken[chosen] = True
            todo = todo[~taken[todo]]
            slot[todo] = (slot[todo] + np.uint64(1)) & self.mask

    def _first(self, keys: Keys) -> NDArray[np.uint64]:
        mixed = (keys[0] ^ (keys[1] * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
        return (mixed ^ (mixed >> np.uint64(32))) & self.mask


def unpack(found: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What `Pool.find` returned -> (offsets, counts)."""
    return ((found & ~_USED) >> np.uint64(8)).astype(np.int64), (found & np.uint64(255)).astype(np.int64)


def spread(offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of every element of runs that start at `offsets` and have `counts` elements, concatenated."""
    ends = np.cumsum(counts)
    return np.repeat(offsets - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)


def keys_of(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Keys:
    """Positions of chunks of at most 16 bytes in `data`, which has 16 more bytes after the last -> their keys."""
    eights = np.ndarray((len(data) - 7,), "<u8", data.data, strides=(1,))
    low, high = eights[starts] & _KEPT[np.minimum(lengths, 8)], np.zeros(len(starts), np.uint64)
    more = np.flatnonzero(lengths > 8)
    high[more] = eights[starts[more] + 8] & _KEPT[lengths[more] - 8]
    return low, high


def distinct(keys: Keys) -> NDArray[np.int64]:
    """The index of one of each distinct key."""
    order = np.lexsort(keys)
    low, high = keys[0][order], keys[1][order]
    new = np.ones(len(order), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return order[new]


def _has_spaces(text: bytes) -> bool:
    """Whether a text has so many spaces and newlines that the compiled encoder is faster than the table."""
    return len(text) < SPACELESS * (text.count(b" ") + text.count(b"\n") + 1)


class ChunkTable:
    """Bounded tables of chunks and words, filled by `encode`."""

    def __init__(
        self,
        encode: Encode,
        dtype: np.dtype[Any],
        *,
        single_token: Callable[[str], int | None],
        lowercase: bool,
        splits_words: bool,
        compiled: bool = False,
        slot_bits: int = SLOT_BITS,
    ) -> None:
        """
        Args:
            encode: what makes ids of new text, as arrays of `dtype`.
            dtype: of ids.
            single_token: see `CharacterTable`.
            lowercase: whether BERT's rules lower-case.
            splits_words: whether new chunks may be split by BERT's rules, which needs a '[' in every special token.
            compiled: whether `encode` is faster than the table where text has spaces.
            slot_bits: 2 ** this many slots at most.
        """
        self._encode, self._dtype, self._lowercase, self._splits_words, self._compiled = encode, dtype, lowercase, splits_words, compiled
        self._characters = CharacterTable(single_token, dtype)
        self._slot_bits = slot_bits
        self._chunks, self._words = (Pool(dtype, min(FIRST_SLOT_BITS, slot_bits)) for _ in range(2))

    def encode(self, text: bytes) -> tuple[Ids, NDArray[np.int64]]:
        """UTF-8 lines separated by newlines -> all their ids, and how many each line has."""
        start, parts = 0, []
        while start <= len(text):
            end = text.find(b"\n", start + BLOCK_BYTES)
            end = end if end >= 0 else len(text)
            parts.append(self._encode_block(text[start:end]))
            start = end + 1
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([counts for _, counts in parts])

    def _encode_block(self, text: bytes) -> tuple[Ids, NDArray[np.int64]]:
        if self._compiled and (not self._splits_words or _has_spaces(text[:SAMPLE_BYTES])):
            return self._encode(text.split(b"\n"))
        data = np.frombuffer(text + b"\n" + bytes(LONGEST + 8), np.uint8)
        inner = data[: len(text) + 1]
        cuts = np.flatnonzero((inner == 32) | (inner == 10))
        starts = np.concatenate([[0], cuts[:-1] + 1])
        lengths = cuts - starts
        newline = inner[cuts] == 10
        some = np.flatnonzero(lengths)
        line = (np.cumsum(newline) - newline)[some]
        starts, lengths = starts[some], lengths[some]
        num_lines = int(newline.sum())
        # A zero byte would look like the end of a key.
        if not inner.all():
            return self._encode(text.split(b"\n"))
        if lengths[lengths > LONGEST].sum() > MOST_OTHER * len(text):
            return self._by_characters(text, data) if self._splits_words else self._encode(text.split(b"\n"))
        pool, offsets, counts = self._look_up(data, starts, lengths)
        return pool[spread(offsets, counts)], np.bincount(line, counts, num_lines).astype(np.int64)

    def _by_characters(self, text: bytes, data: NDArray[np.uint8]) -> tuple[Ids, NDArray[np.int64]]:
        units = self._characters.units(text)
        pool, offsets, counts = self._look_up(data, units.starts, units.lengths)
        of_units = np.ones(len(units.is_run) + 1, np.int64)
        of_units[0] = 0
        of_units[1:][units.is_run] = counts
        ends = np.cumsum(of_units)
        ids = np.empty(ends[-1], self._dtype)
        ids[ends[:-1][~units.is_run]] = units.ids
        ids[spread(ends[:-1][units.is_run], counts)] = pool[spread(offsets, counts)]
        return ids, np.diff(ends[units.line_ends], prepend=0)

    def _look_up(
        self, data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[Ids, NDArray[np.int64], NDArray[np.int64]]:
        """Positions of chunks in `data` -> a pool of ids; in it the offset and count of each chunk's ids."""
        self._chunks, self._words = map(self._emptied, (self._chunks, self._words))
        short, longer = np.flatnonzero(lengths <= LONGEST), np.flatnonzero(lengths > LONGEST)
        keys = keys_of(data, starts[short], lengths[short])
        found = self._chunks.find(keys)
        if len(missing := np.flatnonzero(found == 0)):
            unknown = (keys[0][missing], keys[1][missing])
            new = missing[distinct(unknown)]
            self._learn(data, starts[short[new]], lengths[short[new]], (keys[0][new], keys[1][new]))
            found[missing] = self._chunks.find(unknown)
        offsets, counts = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        offsets[short], counts[short] = unpack(found)
        pool: Ids = self._chunks.ids[: self._chunks.num_ids]
        if len(longer):
            extra, counts[longer] = self._encode_slices(data, starts[longer], lengths[longer])
            offsets[longer] = len(pool) + np.cumsum(counts[longer]) - counts[longer]
            pool = np.concatenate([pool, extra])
        return pool, offsets, counts

    def _emptied(self, pool: Pool) -> Pool:
        """The pool, or where it is full an empty one."""
        return Pool(self._dtype, pool.slot_bits) if pool.num_keys * 2 > 1 << self._slot_bits else pool

    def _encode_slices(self, data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64]]:
        """Slices of UTF-8 -> all their ids, and how many each has."""
        raw = data.tobytes()
        return self._encode([raw[start : start + length] for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)])

    def _learn(self, data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], keys: Keys) -> None:
        """Add new, distinct chunks to the table."""
        # Joined by spaces, so that the following passes handle all of them at once.
        ends = np.cumsum(lengths + 1)
        firsts = ends - lengths - 1
        joined = np.full(int(ends[-1]) + LONGEST + 8, 32, np.uint8)
        joined[spread(firsts, lengths)] = data[spread(starts, lengths)]
        kinds = CLASSES[joined]
        plain = ~np.logical_or.reduceat(kinds[: ends[-1]] == _OTHER, firsts) if self._splits_words else np.zeros(len(starts), bool)
        whole = np.flatnonzero(~plain)
        if len(whole):
            self._chunks.add((keys[0][whole], keys[1][whole]), *self._encode_slices(joined, firsts[whole], lengths[whole]))
        apart = np.flatnonzero(plain)
        if len(apart):
            of_chunk = np.repeat(np.arange(len(starts)), lengths + 1)
            ids, (word_starts, word_counts) = self._encode_words(joined, kinds, plain[of_chunk])
            counts = np.bincount(of_chunk[word_starts], word_counts, len(starts)).astype(np.int64)[apart]
            self._chunks.add((keys[0][apart], keys[1][apart]), ids, counts)

    def _encode_words(
        self, joined: NDArray[np.uint8], kinds: NDArray[np.uint8], plain: NDArray[np.bool_]
    ) -> tuple[Ids, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Plain ASCII with spaces -> ids of its words and punctuation marks; the start of each of these and its number of ids."""
        if self._lowercase:
            joined = LOWERED[joined]
        size = len(plain)
        letters, marks = (kinds[:size] == _LETTER) & plain, (kinds[:size] == _MARK) & plain
        before, after = np.zeros(size, bool), np.zeros(size, bool)
        before[1:], after[:-1] = letters[:-1], letters[1:]
        starts = np.flatnonzero(marks | (letters & ~before))
        lengths = np.flatnonzero(marks | (letters & ~after)) + 1 - starts
        keys = keys_of(joined, starts, lengths)
        found = self._words.find(keys)
        if len(missing := np.flatnonzero(found == 0)):
            unknown = (keys[0][missing], keys[1][missing])
            new = missing[distinct(unknown)]
            self._words.add((keys[0][new], keys[1][new]), *self._encode_slices(joined, starts[new], lengths[new]))
            found[missing] = self._words.find(unknown)
        offsets, counts = unpack(found)
        return self._words.ids[spread(offsets, counts)], (starts, counts)


# ---- the compiled encoder ----

PROBES = (
    "The quick-brown Fox, jumped; over 3,141 lazy dogs' (unaffable) [MASK] end[SEP]. $x=y^2 ~`a|b` <b> @you #1 %2 &c *d _e_ \\ / ? ! : {f}",
    "Crème brûlée naïve İstanbul straße ǅ Σίσυφος Йод e\u0301 a\u0338 ﬁn Ａ１ ẞ 한글 ไทย",
    "他说English混，中文。\u3000豈々〇\U00020000\U0002f800か\u309aカﾟ a\u00a0b\u2003c\u200bd\u200de\ufefff\ufffdg\u00adh",
    "tab\tret\rvt\x0bff\x0cfs\x1cnel\x85ls\u2028del\x7fnul\x00soh\x01 🙂👨\u200d👩 − · ’s … \ue000",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101 + " " + "é" * 100 + " " + "." * 120,
    "",
    " ",
)
"""What the compiled encoder has to answer as `tokenizers` does before it is used."""
LONGEST_ADDED_TOKEN = 1_000
"""Characters: the compiled encoder takes time that grows with the square of the longest."""


def compiled_encoder(rules: str, dtype: np.dtype[Any], reference: Encode) -> Encode | None:
    """The package nanotoken with the rules of a tokenizer.json.

    None: it is not installed or refuses the rules, or an added token is so long that reading them takes seconds; or, with a warning, it fails or
    its ids differ from `reference`'s.
    """
    added = [token["content"] for token in json.loads(rules)["added_tokens"]]
    if max(map(len, added), default=0) > LONGEST_ADDED_TOKEN:
        return None
    try:
        backend = importlib.import_module("nanotoken").Tokenizer.from_json(rules).backend

        def encode(texts: list[bytes]) -> tuple[Ids, NDArray[np.int64]]:
            # One thread: `prepare` has a process for each core.
            ids, offsets = backend.encode_batch(texts, add_special_tokens=False, parallel=False)
            return ids.astype(dtype, copy=False), np.diff(offsets)

        texts = [text.encode("utf-8") for text in (*PROBES, *(f"a{token}b {token.upper()} {token.lower()}" for token in added))]
        same = all(np.array_equal(ours, its) for ours, its in zip(reference(texts), encode(texts), strict=True))
    except (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except (ModuleNotFoundError, ValueError):  # not installed; rules that it does not know
        return None
    except BaseException as error:  # a panic of Rust is no Exception
        say(f"warning: nanotoken is installed, but fails ({type(error).__name__}: {str(error)[:80]}); tokenizing without it, ids are the same")
        return None
    if not same:
        say("warning: nanotoken is installed, but its ids differ from those of tokenizers; tokenizing without it")
    return encode if same else None


# ---- the dictionary ----

MAX_CACHED_CHARACTERS = 40
"""A longer chunk is encoded every time: it is a web address, or a whole line of a language without spaces."""
WINDOW = 1_000_000
"""Characters after which the miss rate is checked."""
BYPASS = 20_000_000
"""Characters encoded without the cache after a high miss rate, before it is tried again."""


class ChunkCache:
    """A bounded dictionary of chunk -> ids (as the bytes of an array), filled by `encode_batch`."""

    def __init__(self, encode_batch: Callable[[list[str]], list[bytes]], limit: int = 200_000) -> None:
        """`encode_batch`: texts -> ids as bytes, one per text. `limit`: most chunks kept (about 250 bytes each)."""
        self._encode_batch = encode_batch
        self._limit = limit
        self._known: dict[str, bytes] = {"": b""}
        self._seen_characters = 0
        self._missed_characters = 0
        self._bypass = 0

    def __len__(self) -> int:
        """Chunks kept."""
        return len(self._known)

    def encode(self, lines: Sequence[str]) -> list[bytes]:
        """Lines -> the bytes of each line's ids, equal to `encode_batch(lines)`."""
        if self._bypass > 0:
            self._bypass -= sum(map(len, lines))
            return self._encode_batch(list(lines))
        known = self._known
        find, join = known.__getitem__, b"".join
        out: list[bytes] = []
        incomplete: list[tuple[int, list[str]]] = []
        for line in lines:
            chunks = line.split(" ")
            try:
                out.append(join(map(find, chunks)))
            except KeyError:
                incomplete.append((len(out), chunks))
                out.append(b"")
        if incomplete:
            fresh = self._learn(known, incomplete)
            for index, chunks in incomplete:
                out[index] = join([known[c] if c in known else fresh[c] for c in chunks])
            self._trim()
        self._check_misses(sum(map(len, lines)))
        return out

    def _learn(self, known: dict[str, bytes], incomplete: list[tuple[int, list[str]]]) -> dict[str, bytes]:
        """Encode every unknown chunk once; short ones are kept, long ones returned."""
        missing = list(dict.fromkeys(c for _, chunks in incomplete for c in chunks if c not in known))
        fresh: dict[str, bytes] = {}
        for chunk, ids in zip(missing, self._encode_batch(missing), strict=True):
            (known if len(chunk) <= MAX_CACHED_CHARACTERS else fresh)[chunk] = ids
            self._missed_characters += len(chunk)
        return fresh

    def _trim(self) -> None:
        # Frequent chunks come first, so the older half is kept.
        if len(self._known) > self._limit:
            # A list first: another thread may add chunks meanwhile.
            self._known = dict(list(self._known.items())[: self._limit // 2])

    def _check_misses(self, characters: int) -> None:
        self._seen_characters += characters
        if self._seen_characters >= WINDOW:
            if self._missed_characters > self._seen_characters / 2:
                self._bypass = BYPASS
            self._seen_characters = self._missed_characters = 0


# ---- words of megabytes ----

LONG_WORD = 10_000
"""Characters from which on a word is shortened before it is tokenized."""
Cuts = list[tuple[int, int]]
"""Places of a shortened text where characters are left out: (index after which, how many up to there)."""


class LongWords:
    """Texts with the same ids as before, but with long words shortened; BERT's rules only, which make a word above `limit` one unknown token."""

    def __init__(self, joined: Callable[[str], int | None], limit: int, added: Sequence[str]) -> None:
        """`joined`: a character -> how many are left of it inside a word, None if it separates words. `added`: tokens that are found anywhere."""
        self._joined, self._known, self._limit = joined, {}, limit  # type: ignore[var-annotated]
        self._in_added = frozenset("".join(added))
        inside = any(all(self._inside(c) is not None for c in token) for token in added)
        self.shortens = not inside and 4 * limit < LONG_WORD and max(map(len, added), default=0) < limit
        """Whether words are shortened: not where an added token could be a part of one."""

    def _inside(self, character: str) -> int | None:
        if character not in self._known:
            self._known[character] = self._joined(character)
        return self._known[character]

    def shorten(self, text: str) -> tuple[str, Cuts]:
        """Of each long word its first and last characters are kept."""
        if len(text) <= LONG_WORD or not self.shortens:
            return text, []
        parts: list[str] = []
        cuts: Cuts = []
        done = kept = left_out = 0
        for chunk in re.finditer(rf"\S{{{LONG_WORD},}}", text):
            inside = "".join(re.escape(c) for c in sorted(set(chunk[0])) if self._inside(c) is not None)
            for run in re.compile(f"[{inside}]{{{LONG_WORD},}}").finditer(text, *chunk.span()) if inside else ():
                start, end = run.span()
                first, last = start + self._enough(run[0]), end - self._enough(reversed(run[0]))
                if first < last:
                    parts.append(text[done:first])
                    kept += first - done
                    left_out += last - first
                    cuts.append((kept, left_out))
                    done = last
        return ("".join([*parts, text[done:]]), cuts) if cuts else (text, cuts)

    def _enough(self, characters: Iterable[str]) -> int:
        """How many characters are longer than the limit, even after letters with accents have lost them."""
        sizes = accumulate(min(1, self._inside(character) or 0) for character in characters)
        return 1 + sum(1 for _ in takewhile(lambda size: size <= self._limit, sizes))

    def blocks(self, text: str, size: int) -> Iterator[tuple[int, str]]:
        """Parts of about `size` characters that are tokenized as the whole text is: (index of the first character, part)."""
        start = 0
        while len(text) - start > size:
            end = self._border(text, start, start + size)
            yield start, text[start:end]
            start = end
        yield start, text[start:]

    def _border(self, text: str, start: int, end: int) -> int:
        """The last index where two words part: after a space, or a character that separates words and belongs to no added token."""
        if (space := max(text.rfind(" ", start, end), text.rfind("\n", start, end))) > start:
            return space + 1
        for index in range(end, start, -1):
            if self._inside(text[index - 1]) is None and text[index - 1] not in self._in_added:
                return index
        spaces = [found for mark in " \n" if (found := text.find(mark, end)) >= 0]
        return min(spaces, default=len(text) - 1) + 1


def original_offset(offset: int, cuts: Cuts) -> int:
    """An index of a shortened text -> the index in the text itself; of an end, the end."""
    before = bisect_left(cuts, (offset, 0))
    return offset + (cuts[before - 1][1] if before else 0)

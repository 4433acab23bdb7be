"""Lines -> word-piece ids at the speed of a dictionary.

BERT's rules never look across a space: cleaning, lower-casing and the splitting at punctuation and Chinese characters go character by
character, NFD reorders only runs of combining marks (a space ends one), and a word piece never holds a space. So a line's ids are the
ids of its pieces between spaces ("chunks"), and natural language repeats its chunks. Only U+0020 cuts: any other white space, and any
control character (which BERT removes, gluing its neighbours together), stays inside a chunk and is treated by `tokenizers` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

MAX_CACHED_CHARACTERS = 40
"""A longer chunk is encoded each time: it is a web address, or a whole line of a language without spaces."""
WINDOW = 1_000_000
"""Characters after which the share of misses is judged."""
HOLIDAY = 20_000_000
"""Characters encoded directly once the cache has proved useless, before it is tried again."""


class ChunkCache:
    """A bounded memory of chunk -> ids (as the bytes of an array), with `encode_batch` behind it."""

    def __init__(self, encode_batch: Callable[[list[str]], list[bytes]], limit: int = 200_000) -> None:
        """`encode_batch`: texts -> ids as bytes, one per text. `limit`: chunks remembered (about 250 bytes each)."""
        self._encode_batch = encode_batch
        self._limit = limit
        self._known: dict[str, bytes] = {"": b""}
        self._seen_characters = 0
        self._missed_characters = 0
        self._holiday = 0

    def __len__(self) -> int:
        """Chunks remembered."""
        return len(self._known)

    def encode(self, lines: Sequence[str]) -> list[bytes]:
        """Lines -> the bytes of each line's ids, equal to `encode_batch(lines)`."""
        if self._holiday > 0:
            self._holiday -= sum(map(len, lines))
            return self._encode_batch(list(lines))
        known = self._known
        find, join = known.__getitem__, b"".join
        out: list[bytes] = []
        late: list[tuple[int, list[str]]] = []
        for line in lines:
            chunks = line.split(" ")
            try:
                out.append(join(map(find, chunks)))
            except KeyError:
                late.append((len(out), chunks))
                out.append(b"")
        if late:
            fresh = self._learn(known, late)
            for index, chunks in late:
                out[index] = join([known[c] if c in known else fresh[c] for c in chunks])
            self._trim()
        self._judge(sum(map(len, lines)))
        return out

    def _learn(self, known: dict[str, bytes], late: list[tuple[int, list[str]]]) -> dict[str, bytes]:
        """Encode every unknown chunk once; the short ones are remembered, the long ones handed back."""
        missing = list(dict.fromkeys(c for _, chunks in late for c in chunks if c not in known))
        fresh: dict[str, bytes] = {}
        for chunk, ids in zip(missing, self._encode_batch(missing), strict=True):
            (known if len(chunk) <= MAX_CACHED_CHARACTERS else fresh)[chunk] = ids
            self._missed_characters += len(chunk)
        return fresh

    def _trim(self) -> None:
        # Frequent chunks are met first, so the older half is the better one.
        if len(self._known) > self._limit:
            self._known = dict(islice(self._known.items(), self._limit // 2))

    def _judge(self, characters: int) -> None:
        self._seen_characters += characters
        if self._seen_characters >= WINDOW:
            if self._missed_characters > self._seen_characters / 2:
                self._holiday = HOLIDAY
            self._seen_characters = self._missed_characters = 0

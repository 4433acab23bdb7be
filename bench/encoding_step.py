"""One candidate of tokenization: encodes a block of documents on request, and reports the time and a digest of every document's ids.

  electra      `encode_lines`, some megabytes of documents at a time, the table of chunks carried along, as `electra prepare` does
  tokenizers   the same lines in one call of its batch encoder, the fastest it has

Run under the interpreter of its side; a peer's has no `electra`. Reading the block and hashing the ids are not timed.
"""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from pathlib import Path
from typing import Any

import turns

PART_BYTES = 4 << 20


def read_block(path: str, part: int, parts: int) -> list[list[str]]:
    """Every parts-th document (its lines) of a block."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[part::parts] if line]


def digest(ids: list[bytes]) -> str:
    """A document's lines, each the bytes of its ids -> a digest that knows where lines end."""
    found = hashlib.blake2b(digest_size=12)
    for line in ids:
        found.update(len(line).to_bytes(8, "little"))
        found.update(line)
    return found.hexdigest()


def parts_of(documents: list[list[str]]) -> list[list[list[str]]]:
    """Documents -> parts of about 4 MB, as `electra prepare` hands them to its workers."""
    parts: list[list[list[str]]] = [[]]
    size = 0
    for document in documents:
        if size >= PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(document)
        size += sum(map(len, document)) + len(document)
    return parts


def encode_part(tokenizer: Any, part: list[list[str]]) -> tuple[Any, Any, list[int]]:
    """A part's documents -> ids, ids per line, lines per document."""
    text = "\n".join("\n".join(lines) for lines in part).encode("utf-8")
    return *tokenizer.encode_lines(text), [len(lines) for lines in part]


def split_part(encoded: tuple[Any, Any, list[int]]) -> list[list[bytes]]:
    """What `encode_part` gave -> the bytes of every line's ids, by document."""
    ids, counts, lines = encoded
    raw, out, place, line = ids.tobytes(), [], 0, 0
    for num in lines:
        document = []
        for count in counts[line : line + num].tolist():
            document.append(raw[place : place + count * ids.itemsize])
            place += count * ids.itemsize
        out.append(document)
        line += num
    return out


def build(engine: str, tokenizer: str, typecode: str) -> Any:
    """(Documents -> what the engine makes of them, part by part), (such a part -> the bytes of every line's ids, by document)."""
    if engine == "electra":
        from electra.data.tokenizer import load_tokenizer

        ours = load_tokenizer(tokenizer)
        return lambda documents: [encode_part(ours, part) for part in parts_of(documents)], split_part
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(tokenizer)

    def encode(documents: list[list[str]]) -> list[list[Any]]:
        encodings = iter(backend.encode_batch_fast([line for lines in documents for line in lines], add_special_tokens=False))
        return [[next(encodings) for _ in lines] for lines in documents]

    return encode, lambda document: [[array(typecode, encoding.ids).tobytes() for encoding in document]]


def main() -> None:
    """Serve: 'build', then 'encode'."""
    held: dict[str, Any] = {}

    def answer(request: dict[str, Any]) -> Any:
        if request["kind"] == "build":
            held["encode"], held["bytes"] = build(request["engine"], request["tokenizer"], request["typecode"])
            return None
        if request["kind"] == "memory":
            return turns.peak_memory_bytes()
        documents = read_block(request["path"], request["part"], request["parts"])
        wall, processor = time.perf_counter(), time.process_time()
        found = held["encode"](documents)
        taken = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        return taken | {"digests": [digest(document) for some in found for document in held["bytes"](some)]}

    turns.serve(answer)


if __name__ == "__main__":
    main()

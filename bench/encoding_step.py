"""One contestant of tokenizing: encodes a block of documents when asked, and tells the time and a digest of every document's ids.

  electra      `encode_packed`, a document at a time, the chunk cache carried along, as `electra prepare` does
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


def build(engine: str, tokenizer: str, typecode: str) -> Any:
    """Documents -> ids of every line of each, as bytes."""
    if engine == "electra":
        from electra.data.tokenizer import load_tokenizer

        ours = load_tokenizer(tokenizer)
        return lambda documents: [ours.encode_packed(lines) for lines in documents], lambda document: document
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(tokenizer)

    def encode(documents: list[list[str]]) -> list[list[Any]]:
        encodings = iter(backend.encode_batch_fast([line for lines in documents for line in lines], add_special_tokens=False))
        return [[next(encodings) for _ in lines] for lines in documents]

    return encode, lambda document: [array(typecode, encoding.ids).tobytes() for encoding in document]


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
        return taken | {"digests": [digest(held["bytes"](document)) for document in found]}

    turns.serve(answer)


if __name__ == "__main__":
    main()

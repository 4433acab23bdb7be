"""One candidate of tokenization: encodes a block of documents on request, and reports the time and a digest of every document's ids.

  electra                      `encode_lines`, some megabytes of documents at a time, the table of chunks carried along, as `electra prepare` does
  electra, without nanotoken   the same where that package is not installed
  tokenizers, tokie            all lines in one call of the batch encoder, the fastest they have
  nanotoken                    the same; its lines are UTF-8
  flash-tokenizer              the same; it adds [CLS], [SEP] and padding, which are left out before the ids are compared

Run under the interpreter of its side; a peer's has no `electra`. Reading the block and hashing the ids are not timed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import turns

PART_BYTES = 4 << 20
LONGEST_LINE = 1 << 20
"""Tokens, for the engine that cuts longer lines."""


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


def lines_of(documents: list[list[str]]) -> list[str]:
    """Documents -> all their lines."""
    return [line for lines in documents for line in lines]


def by_document(documents: list[list[str]], lines: Iterable[Any]) -> list[list[Any]]:
    """Something for every line -> the same by document."""
    rest = iter(lines)
    return [[next(rest) for _ in document] for document in documents]


def build(request: dict[str, Any]) -> tuple[Callable[[list[list[str]]], Any], Callable[[list[list[str]], Any], list[list[bytes]]]]:
    """A request -> (documents -> what the engine makes of them), (documents, that -> the bytes of every line's ids, by document)."""
    engine, source, typecode = request["engine"], request["tokenizer"], request["typecode"]
    if engine.startswith("electra"):
        if "without" in engine:
            sys.modules["nanotoken"] = None  # type: ignore[assignment]
        from electra.data.tokenizer import load_tokenizer

        ours = load_tokenizer(source)
        ours.encode_lines(b"")  # makes the encoder, which is not a part of any block
        return (
            lambda documents: [encode_part(ours, part) for part in parts_of(documents)],
            lambda documents, parts: [document for part in parts for document in split_part(part)],
        )
    if engine == "nanotoken":
        import nanotoken

        its = nanotoken.Tokenizer(source)

        def rows(documents: list[list[str]], found: Any) -> list[list[bytes]]:
            return by_document(documents, (found[index].astype(typecode).tobytes() for index in range(len(found))))

        parallel = request["threads"] > 1
        return lambda documents: its.encode_batch(lines_of(documents), add_special_tokens=False, parallel=parallel), rows
    if engine == "flash-tokenizer":
        from flash_tokenizer import BertTokenizerFlash

        flash, pad = BertTokenizerFlash(source, do_lower_case=request["lowercase"], model_max_length=LONGEST_LINE), -1

        def encode(documents: list[list[str]]) -> Any:
            found = flash(lines_of(documents), padding="longest", max_length=LONGEST_LINE, do_multiprocess=request["threads"] > 1)
            return found.input_ids

        def plain(documents: list[list[str]], found: Any) -> list[list[bytes]]:
            ids = ([index for index in row if index != pad][1:-1] for row in found)
            return by_document(documents, (array(typecode, row).tobytes() for row in ids))

        pad = flash("a", padding="max_length", max_length=8).input_ids[0][-1]
        return encode, plain
    if engine == "tokie":
        import tokie

        batch = tokie.Tokenizer.from_json(source).encode_batch
    else:
        import tokenizers

        batch = tokenizers.Tokenizer.from_file(source).encode_batch_fast
    return (
        lambda documents: batch(lines_of(documents), add_special_tokens=False),
        lambda documents, found: by_document(documents, (array(typecode, encoding.ids).tobytes() for encoding in found)),
    )


def main() -> None:
    """Serve: 'build', then 'encode'."""
    held: dict[str, Any] = {}

    def answer(request: dict[str, Any]) -> Any:
        if request["kind"] == "build":
            held["encode"], held["bytes"] = build(request)
            return None
        if request["kind"] == "memory":
            return turns.peak_memory_bytes()
        documents = read_block(request["path"], request["part"], request["parts"])
        wall, processor = time.perf_counter(), time.process_time()
        found = held["encode"](documents)
        taken = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        return taken | {"digests": [digest(document) for document in held["bytes"](documents, found)]}

    turns.serve(answer)


if __name__ == "__main__":
    main()

"""Bytes -> other bytes: faults that know text, JSON, numbers and repetition. Used by both engines, with their own source of randomness."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "0", "nan", "\0", "\ud800", "\u2028", "é", "a" * 300, "../../etc/passwd", "/dev/zero", "C:\\x", "__proto__", "\x1b[31m", "%s{}"),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], {"a": {"b": []}}, [{}], {"0": 0}, ["a", "a"]),
)
BYTES: tuple[bytes, ...] = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\n", b"\n\n", b"\t", b" ", b",", b";", b"|", b'"', b'""', b"'", b"#", b"-"),
    *(b"[", b"]", b"{", b"}", b":", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\x85", b"\x0c", b"\x1c", b"\x80" * 9 + b"\x01"),
    *(
        b"\xff" * 9 + b"\x01",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"0x10",
        b"\x7f" * 8,
        b"\xff" * 8,
        b"\0" * 8,
        b"null",
        b"true",
        b"[[" * 40,
        b'{"a":' * 30,
    ),
)


def mutate(data: bytes, rng: random.Random, words: Sequence[bytes] = (), largest: int = 1 << 16) -> bytes:
    """One to four changes of an input."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        change = rng.choice((_json, _json, _bytes, _insert, _lines, _repeat, _number, _cut, _words))
        data = change(data, rng, words)[:largest]
    return data


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((0, 1, 2, 4, 8, 16, 64, 1000)))


def _bytes(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 8))):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice((rng.randrange(256), changed[at] ^ (1 << rng.randrange(8)), 0, 255, 127, 128))
    return bytes(changed)


def _insert(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.choice(BYTES) + data[rng.choice((start, end)) :]


def _words(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + (rng.choice(list(words)) if words else rng.choice(BYTES)) + data[rng.choice((start, end)) :]


def _lines(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    end = rng.choice((b"\n", b"\n", b",", b"\t", b" "))
    lines = data.split(end)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[j])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = b""
    return end.join(lines)


def _repeat(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    """A part many times: what takes quadratic time or memory shows by it."""
    start, end = _span(data, rng)
    part = data[start:end] or rng.choice(BYTES)
    return data[:start] + part * rng.choice((2, 10, 100, 1000, max(1, 60_000 // len(part)))) + data[end:]


def _number(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    """A number of 1, 2, 4 or 8 bytes, or one in digits, replaced by an extreme one."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if digits and rng.randrange(2):
        start = end = rng.choice(digits)
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        return data[:start] + rng.choice((b"0", b"-1", b"9" * 20, b"9" * 5000, b"4294967296", b"1e400", b"1.5", b"")) + data[end:]
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    at = rng.randrange(len(data) - size + 1)
    value = rng.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), len(data), rng.randrange(2 ** (8 * size))))
    return data[:at] + (value % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _cut(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    start, end = _span(data, rng)
    return rng.choice((data[:start], data[:start] + data[end:], data[start:]))


def _json(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    """A value, key or level of JSON replaced; of lines of JSON in one of them. The first byte may be the harness's."""
    for skip in (0, 1):
        lines = data[skip:].split(b"\n")
        whole = rng.randrange(2) or len(lines) == 1
        at = rng.randrange(len(lines))
        try:
            value = json.loads(data[skip:] if whole else lines[at])
        except (ValueError, RecursionError):
            continue
        text = json.dumps(_changed(value, rng)).encode("utf-8", "surrogatepass")
        return data[:skip] + (text if whole else b"\n".join([*lines[:at], text, *lines[at + 1 :]]))
    return _insert(data, rng, words)


def _changed(value: Any, rng: random.Random) -> Any:
    places = list(_places(value))
    if not places or not rng.randrange(20):
        return rng.choice((*HOSTILE, [value], {"a": value}))
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif kind == 1:
        holder[str(rng.choice(HOSTILE))] = holder[key]
    elif kind == 2:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif kind == 3:
        holder[key] = [holder[key]] if rng.randrange(2) else {"a": holder[key]}
    else:
        holder[key] = rng.choice(HOSTILE)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every value, of the first few thousand."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 5000:
        holder = waiting.pop()
        pairs = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder)) if isinstance(holder, list) else []
        found += [(holder, key) for key, _ in pairs]
        waiting += [inner for _, inner in pairs]
    return found

"""What artefact.json must say to be believed."""

from __future__ import annotations

import json
import re
from typing import Any

from electra.errors import UserError

MANIFEST = "artefact.json"
FORMAT, VERSION = "electra-artefact", 1
SAFE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}/){0,2}[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
LARGEST_MANIFEST = 16 << 20
LARGEST_FILE = 64 << 30
"""Bytes; above any model of this kind."""
KEYS: dict[str, type] = {
    "target": str,
    "architecture": str,
    "role": str,
    "labels": list,
    "limits": dict,
    "source": dict,
    "build": dict,
    "files": dict,
}
"""What a manifest must have, and of which kind."""

Description = dict[str, Any]


def validated(content: bytes, where: str) -> Description:
    """The bytes of artefact.json -> its values, of the kinds they must be; names that lead nowhere but into the artefact.

    Raises:
        UserError: not JSON, not ours, of a newer version, or something is missing or absurd.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {MANIFEST} is not valid JSON ({str(error)[:100]}); it is damaged or incomplete") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{where} is no artefact of electra: its {MANIFEST} does not say format '{FORMAT}'")
    version = values.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{where}: {MANIFEST} has version {version!r:.40}; expected {VERSION}")
    if version > VERSION:
        raise UserError(f"{where} was built by a newer electra (artefact version {version}, this one reads {VERSION}); upgrade, or build it again")
    for key, kind in KEYS.items():
        if not isinstance(values.get(key), kind):
            raise UserError(f"{where}: {MANIFEST} has no usable '{key}'; it is damaged: build it again")
    length = values["limits"].get("max_length")
    if not isinstance(length, int) or isinstance(length, bool) or not 8 <= length <= 1 << 20:
        raise UserError(f"{where}: {MANIFEST} has limits max_length {length!r:.40}; expected a number of tokens")
    for name, entry in values["files"].items():
        if not SAFE_NAME.fullmatch(name) or ".." in name or name == MANIFEST:
            raise UserError(f"{where}: {MANIFEST} names a file {name[:80]!r}, which no artefact has; not opened")
        size, digest = (entry.get("size_bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(size, int) or not 0 <= size <= LARGEST_FILE or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise UserError(f"{where}: {MANIFEST} has no usable size and sha256 of {name}; it is damaged: build it again")
    if "config.json" not in values["files"]:
        raise UserError(f"{where}: {MANIFEST} names no config.json; it is damaged: build it again")
    return values

"""The models bundled with the package: 'shipped:NAME' -> a local folder, without network, every byte checked.

    shipped:sentiment   classifies sentiment: int8 artifact, runs without torch
    shipped:encoder     makes vectors of texts, for similarity and search: int8 artifact, runs without torch
    shipped:detector    finds replaced tokens, with its generator: int8 artifact, runs without torch
    shipped:mini        the pre-trained checkpoint of the detector and its generator, fp16, to fine-tune

README.md in this folder is their model card; `make model` makes new ones from a public encoder.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.resources import files
from pathlib import Path

from electra.errors import UserError, did_you_mean

PREFIX = "shipped:"
NAMES = ("sentiment", "encoder", "detector", "mini")
MANIFEST = "shipped.json"
FOR_ROLE = {"classifier": "sentiment", "encoder": "encoder", **dict.fromkeys(("any", "discriminator", "generator"), "detector")}
"""Role -> the default model for it."""


def is_shipped(source: object) -> bool:
    """Whether a source is 'shipped:NAME' rather than a path, a URL or a hub name."""
    return str(source).startswith(PREFIX)


def default(role: str) -> str:
    """A role -> 'shipped:NAME' of its default model.

    Raises:
        UserError: there is none.
    """
    if role not in FOR_ROLE:
        raise UserError(f"no {role} is bundled with electra; give a fine-tuned checkpoint (electra finetune --help) or a hub name")
    return PREFIX + FOR_ROLE[role]


def folder(source: str | Path) -> Path:
    """'shipped:NAME' -> its folder, after checking size and sha256 of every file.

    Raises:
        UserError: no such name, or a file is missing, changed or unexpected.
    """
    name = str(source).removeprefix(PREFIX)
    if name not in NAMES:
        raise UserError(f"'{source}': no such model is bundled with electra; {did_you_mean(name, NAMES)}")
    return _checked(Path(str(files(__name__))), name)


def located(source: str | Path) -> Path:
    """'shipped:NAME' -> its folder; any other source -> its path."""
    return folder(source) if is_shipped(source) else Path(source)


def described(root: Path) -> dict[str, dict[str, str | int]]:
    """The folder of all bundled models -> the content of `MANIFEST`: file name -> size and sha256."""
    found = sorted(path for name in NAMES for path in (root / name).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): {"size_bytes": path.stat().st_size, "sha256": _hash(path)} for path in found}


@functools.cache
def _checked(root: Path, name: str) -> Path:
    remedy = "install electra again (pip install --force-reinstall . in the clone of electra)"
    try:
        wanted = json.loads((root / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{root / MANIFEST} cannot be read ({type(error).__name__}); {remedy}") from None
    here = {key: entry for key, entry in wanted.items() if key.startswith(f"{name}/")}
    present = {path.relative_to(root).as_posix() for path in (root / name).rglob("*") if path.is_file()}
    for key in sorted(here.keys() ^ present):
        raise UserError(f"{root / key} {'is missing' if key in here else 'was not shipped with electra'}; {remedy}")
    for key, entry in here.items():
        if (root / key).stat().st_size != entry["size_bytes"] or _hash(root / key) != entry["sha256"]:
            raise UserError(f"{root / key} is damaged: it differs from the file that came with electra; {remedy}")
    if not here:
        raise UserError(f"{root / name} is missing; {remedy}")
    return root / name


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""The models that come with the package: 'shipped:NAME' -> a folder on this machine, no network asked, every byte checked.

    shipped:sentiment   label a text: int8 artefact, runs without torch
    shipped:detector    which tokens were replaced, with its generator: int8 artefact, runs without torch
    shipped:mini        the pre-trained checkpoint both come from, fp16, to fine-tune

README.md here is their card; `make model` makes them again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.resources import files
from pathlib import Path

from electra.errors import UserError, did_you_mean

PREFIX = "shipped:"
NAMES = ("sentiment", "detector", "mini")
MANIFEST = "shipped.json"
FOR_ROLE = {"classifier": "sentiment", **dict.fromkeys(("any", "discriminator", "generator", "encoder"), "detector")}
"""What a model must do -> which of them does it, where none was named."""


def is_shipped(source: object) -> bool:
    """Whether a source is one of these by its name, rather than a path, a URL or a name on the hub."""
    return str(source).startswith(PREFIX)


def default(role: str) -> str:
    """What a model must do -> 'shipped:NAME' of the one that does it.

    Raises:
        UserError: none does.
    """
    if role not in FOR_ROLE:
        raise UserError(
            f"no {role} comes with electra; name a model of your own: a fine-tuned checkpoint (electra finetune --help), or one of the hub"
        )
    return PREFIX + FOR_ROLE[role]


def folder(source: str | Path) -> Path:
    """'shipped:NAME' -> its folder, after size and sha256 of every file in it were compared with what was shipped.

    Raises:
        UserError: no such name, or a file is missing, changed or strange.
    """
    name = str(source).removeprefix(PREFIX)
    if name not in NAMES:
        raise UserError(f"'{source}': no such model comes with electra; {did_you_mean(name, NAMES)}")
    return _checked(Path(str(files(__name__))), name)


def located(source: str | Path) -> Path:
    """A source that may be a shipped one -> its folder; any other as the path it is."""
    return folder(source) if is_shipped(source) else Path(source)


def described(root: Path) -> dict[str, dict[str, str | int]]:
    """The folder of all of them -> what `MANIFEST` says of their files: name -> size and sha256."""
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
            raise UserError(f"{root / key} is damaged: it is not the file that was shipped with electra; {remedy}")
    if not here:
        raise UserError(f"{root / name} is missing; {remedy}")
    return root / name


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""A path or a name -> a folder on this machine: local checkpoints, run directories, shipped models, Hugging Face hub names."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from electra import bundled
from electra.errors import UserError, did_you_mean
from electra.storage import remote

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
FILES = [
    "config.json",
    "*.safetensors",
    "pytorch_model.bin",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generator/*",
]


def newest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run directory, if it has one."""
    found = sorted(p for p in (run / "checkpoints").glob("step-*") if (p / "config.json").exists())
    return found[-1] if found else None


def resolve(source: str | Path, *, marker: str = "config.json") -> Path:
    """A checkpoint folder, a run directory (its best, final or newest checkpoint), the URL of one, a shipped model or a hub name -> a local folder.

    Raises:
        UserError: nothing there, or the hub has no such model, or cannot be reached.
    """
    if bundled.is_shipped(source):
        return bundled.folder(source)
    if remote.is_url(source):
        return fetch(str(source), marker)
    path = Path(source)
    if path.is_file():
        raise UserError(f"{path} is a file; give the checkpoint's folder")
    if path.is_dir():
        run = [path / "best", path / "final", newest_checkpoint(path)]
        for folder in [path, *run]:
            if folder is not None and (folder / marker).exists():
                return folder
        raise UserError(f"{path} is no checkpoint: it has no {marker}, nor a best, final or checkpoints folder with one")
    text = str(source)
    if text.count("/") > 1 or text.startswith((".", "/", "~")) or not HUB_NAME.fullmatch(text) or (path.parent != Path(".") and path.parent.is_dir()):
        hint = "check the path"
        if path.parent.is_dir():
            guess = did_you_mean(path.name, [p.name for p in path.parent.iterdir()] or ["?"])
            hint = guess if guess.startswith("did") else hint
        raise UserError(f"model not found: {text}; {hint}")
    return download(text)


def fetch(url: str, marker: str) -> Path:
    """A checkpoint folder or run directory of a store -> the checkpoint's copy in the cache.

    Raises:
        UserError: nothing there, no access, or no checkpoint.
    """
    names = list(remote.list_files(url, "model")[2])
    steps = sorted(name.rpartition("/")[0] + "/" for name in names if re.fullmatch(rf"checkpoints/step-\d+/{re.escape(marker)}", name))
    for folder in ("", "best/", "final/", *steps[-1:]):
        if folder + marker in names:
            wanted = [name.removeprefix(folder) for name in names if name.startswith(folder)]
            wanted = [name for name in wanted if any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in FILES)]
            return remote.fetched(remote.join(url, folder), wanted, "model")
    raise UserError(f"{url} is no checkpoint: it has no {marker}, nor a best, final or checkpoints folder with one")


def download(name: str) -> Path:
    """A model of the Hugging Face hub, through the hub's cache -> its local folder.

    Raises:
        UserError: no such model, no access, or no network and not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"model not found: '{name}' is neither a folder here nor a model you can read on the hub; check the name, or 'hf auth login'"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = type(error).__name__
        raise UserError(
            f"model not found: '{name}' is no folder here, and the hub could not be reached ({reason}); check the path, or fetch it with a network"
        ) from None

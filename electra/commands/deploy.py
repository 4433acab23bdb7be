"""The commands that convert for others: build, push, dataset."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from electra import api
from electra.errors import UserError
from electra.inference.inspect import Description, describe
from electra.model.model_card import uploaded_card
from electra.settings import BuildSettings, DatasetSettings, PushSettings
from electra.storage import atomic
from electra.tasks.imdb import hold_out, read_imdb, to_csv
from electra.terminal import data_size

NOT_UPLOADED = ["training/*", "checkpoints/*", "tensorboard/*", ".*"]
"""Needed only to resume a run."""
FILES = {"train": "train/train_data.csv", "valid": "valid/valid_data.csv", "test": "test/test_data.csv"}


def build(settings: BuildSettings) -> None:
    """Build and report; of target 'auto' also why not the others."""
    found = api.build(settings)
    if settings.json:
        print(json.dumps(dict(found.manifest), ensure_ascii=False))
    elif found.reason:
        for name, reason in found.dropped.items():
            print(f"  {name:<18}{reason}")
        print(f"{found.path}: {found.target}, {found.reason}; all measurements are in its artefact.json")
    elif settings.layout == "hub":
        seconds, formats = found.manifest["build"]["seconds"], ", ".join(found.manifest["build"]["options"]["dtypes"])
        print(f"{found.path}: {found.manifest['role']} for transformers.js and optimum in {formats}, built in {seconds:.0f} s")
    else:
        seconds = found.manifest["build"]["seconds"]
        print(f"{found.path}: {found.manifest['role']} for {found.target}, {data_size(found.size_bytes)}, built in {seconds:.0f} s")


def push(settings: PushSettings) -> None:
    """Upload config, weights, tokenizer, generator and model card; print the URL."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.name):
        raise UserError(f"--name '{settings.name}': expected OWNER/NAME, such as me/electra-mini")
    folder = atomic.existing_path(settings.path, "checkpoint folder")
    found = describe(str(folder)) if any((folder / name).is_file() for name in ("config.json", "config.toml")) else {}
    if found.get("kind") == "run":
        best = found.get("best") or found.get("final") or " or ".join(found.get("models", ["its checkpoint folder"]))
        raise UserError(f"{folder} is a run, not a checkpoint; push {best}")
    if found.get("kind") != "checkpoint" and found.get("layout") != "hub":
        raise UserError(
            f"{folder} is not a checkpoint folder (config.json, model.safetensors), nor one of build --layout hub; give one such as runs/mini/final"
        )
    print(_upload(folder, settings, found))


def _upload(folder: Path, settings: PushSettings, found: Description) -> str:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not huggingface_hub.get_token():
        raise UserError("no Hugging Face token: log in with 'hf auth login', or set HF_TOKEN to a token with write access")
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(settings.name, private=settings.private, exist_ok=True)
        if not (folder / "README.md").exists():
            api.upload_file(path_or_fileobj=uploaded_card(settings.name, found).encode(), path_in_repo="README.md", repo_id=settings.name)
        api.upload_folder(repo_id=settings.name, folder_path=str(folder), ignore_patterns=NOT_UPLOADED, commit_message="Upload by electra push")
    except HfHubHTTPError as error:
        status: Any = getattr(error.response, "status_code", "no answer")
        reasons = {401: "the token is not valid", 403: "the token has no write access"}
        reason = reasons.get(status, str(error).split("\n")[0])
        raise UserError(f"the hub rejected {settings.name} ({status}): {reason}; check the name and 'hf auth login'") from None
    except HFValidationError as error:
        raise UserError(f"--name '{settings.name}': {error}") from None
    except (OfflineModeIsEnabled, OSError) as error:
        raise _unreachable(settings.name, error) from None
    except Exception as error:
        # The hub's client uses httpx or requests, depending on its version: their errors have no common base but Exception.
        if type(error).__module__.split(".")[0] not in ("httpx", "httpcore", "requests", "urllib3"):
            raise
        raise _unreachable(settings.name, error) from None
    return str(address)


def _unreachable(name: str, error: Exception) -> UserError:
    reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{type(error).__name__}: {error}"[:120]
    return UserError(f"the Hugging Face hub could not be reached to upload {name} ({reason}); try again with a network")


def dataset(settings: DatasetSettings) -> None:
    """Write the two halves of the Large Movie Review data set; print the number of reviews in each."""
    if settings.name != "imdb":
        raise UserError(f"no data set '{settings.name}'; known: imdb")
    atomic.fresh_output(settings.output, remedy="choose another --output")
    splits = {"train": read_imdb(settings.data, "train"), "test": read_imdb(settings.data, "test")}
    if settings.valid:
        splits["train"], splits["valid"] = hold_out(splits["train"], settings.valid, settings.seed)
    with atomic.atomic_folder(settings.output) as temporary:
        for split, examples in splits.items():
            atomic.write_text(temporary / FILES[split], to_csv(examples))
    for split, examples in splits.items():
        print(f"{settings.output / FILES[split]}: {len(examples):,} reviews")

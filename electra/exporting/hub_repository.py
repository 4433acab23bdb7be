"""A checkpoint -> a complete repository of the Hugging Face hub: in a folder, or uploaded in one commit.

    config.json, model.safetensors, tokenizer.json ...    transformers; of a re-ranker also the CrossEncoder of sentence-transformers
    modules.json, 1_Pooling/config.json ...               sentence-transformers, of a model of vectors
    onnx/model.onnx, onnx/model_quantized.onnx            transformers.js and optimum
    generator/...                                         the same of the generator of a discriminator
    README.md                                             the model card; its scores are those that the run recorded

Nothing else of a run is in it: no optimizer states, logs or settings, and no path of this machine.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import bundled
from electra.errors import UserError
from electra.exporting.targets import HUB, SAME_NAME, hub_text, open_source, trained_length, write_hub_files
from electra.inference.artifact import is_artifact, read_manifest
from electra.inference.embeddings import save_modules
from electra.inference.inspect import describe
from electra.model import model_card
from electra.model.huggingface import Checkpoint, load_checkpoint, save_checkpoint
from electra.storage import atomic, resolve

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelCard

    from electra.data.tokenizer import Tokenizer

FILES = [*resolve.FILES, "onnx/*", "generator/onnx/*", "README.md"]
"""What a repository holds."""
NOT_COPIED = ("_name_or_path", "name_or_path", "embeddings_in_parent")
"""Keys of config.json: paths of this machine, and what is true of the training's folder alone."""


# ---- the folder ----


def check_source(path: Path) -> Path:
    """A checkpoint's folder, a run, a bundled model, or a folder of `build --layout hub` -> the folder that is read.

    Raises:
        UserError: it is something else.
    """
    folder = bundled.located(path) if bundled.is_shipped(path) else atomic.existing_path(path, "checkpoint folder")
    if is_artifact(folder):
        if read_manifest(folder).get("layout") == "hub" and folder.is_dir():
            return folder
        raise UserError(_why_no_artifact(path, read_manifest(folder)))
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(
            f"{path} is not a checkpoint folder (config.json, model.safetensors), nor one of build --layout hub; give one such as runs/mini/final"
        )
    found = resolve.modules_folder(folder, resolve.resolve(folder))
    describe(str(found))  # damaged files are found before anything is asked or made
    return found


def _why_no_artifact(path: Path, manifest: Mapping[str, Any]) -> str:
    """Why an artifact is not made a repository, and what is.

    Its 8-bit graph is not the hub's model_quantized.onnx: its operations are ONNX Runtime's own, its weights have 8 bits, which overflow on an x86
    processor without VNNI, and a QA model or generator has other inputs and outputs.
    """
    built_from = resolve.end_of(str(manifest["source"].get("name") or ""))
    remedy = f"give the checkpoint it was built from{f' ({built_from})' if built_from else ''}"
    if bundled.is_shipped(path):
        remedy = (
            "give its checkpoint, shipped:mini"
            if str(path) == "shipped:detector"
            else "its checkpoint is not bundled, 'make model' makes it in hours"
        )
    return f"{path} is an artifact for {manifest['target']}: it has no PyTorch weights, and its graph is not in the hub's form; {remedy}"


def write_repository(
    source: Path, output: Path, *, name: str, dtypes: Sequence[str], metadata: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Write a repository to the new folder `output`.

    Args:
        source: from `check_source`.
        output: the folder.
        name: OWNER/NAME, for the card.
        dtypes: number formats of onnx/; none: it is left out.
        metadata: what the card says in place of its own: license, language, base_model, datasets.
        say: takes lines of progress, and what is left out.

    Raises:
        UserError: damaged, without a tokenizer, a card whose head cannot be read, or not to be written.
    """
    with atomic.atomic_folder(output) as folder:
        if is_artifact(source):
            _copy(source, folder)
            plain = model_card.onnx_card(name, name, read_manifest(source)["architecture"], "")
            text = _text_of(source / "README.md") if (source / "README.md").is_file() else plain
            card = _completed(text.replace(f"'{source.name}'", f"'{name}'"), source, name, {"library_name": "transformers.js"}, metadata)
        else:
            checkpoint, onnx = _write_model(source, folder, name, dtypes, say)
            card = _completed(_card_of(source, checkpoint, name), source, name, _known(checkpoint, folder), metadata)
            card.text = _with_section(card.text, onnx)
        atomic.write_text(folder / "README.md", str(card))


def _copy(source: Path, folder: Path) -> None:
    """The files of a folder with ONNX files alone."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and _is_ours(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def _is_ours(name: str) -> bool:
    return any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in FILES)


def _write_model(source: Path, folder: Path, name: str, dtypes: Sequence[str], say: Callable[[str], None]) -> tuple[Checkpoint, str]:
    """Write all but the card -> the checkpoint, and what the card says of onnx/ (empty: it is left out)."""
    checkpoint, modules, tokenizer = open_source(str(source))
    differences = _write_onnx(checkpoint, tokenizer, folder, dtypes, say) if dtypes else {}
    networks = {".": checkpoint}
    if (source / "generator" / "config.json").is_file():
        networks["generator"] = load_checkpoint(source / "generator")
    for place, network in networks.items():
        _save(network, folder / place)
        if not differences or not (folder / place / "tokenizer.json").is_file():
            tokenizer.save(folder / place, trained_length(network))
    save_modules(modules, folder, checkpoint.config.hidden_size, trained_length(checkpoint))
    onnx = hub_text(name, checkpoint.architecture, checkpoint.hf_config, modules, folder, differences) if differences else ""
    return checkpoint, onnx


def _write_onnx(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, dtypes: Sequence[str], say: Callable[[str], None]) -> Mapping[str, float]:
    """Write onnx/ and the tokenizer as transformers.js reads it -> number format -> difference; empty where it is left out, which is said."""
    try:
        HUB.require()
        return write_hub_files(checkpoint, tokenizer, folder, dtypes, say)["dtypes"]
    except atomic.CannotWrite:
        raise
    except UserError as error:
        say(f"onnx/ is left out: {error}")
    for place in folder.iterdir():
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    return {}


def _save(network: Checkpoint, folder: Path) -> None:
    """Write config.json, with every field of the checkpoint's, and the weights in its number format."""
    import torch

    config = {key: value for key, value in network.hf_config.items() if key not in NOT_COPIED}
    config |= {key: getattr(network.config, key) for key in SAME_NAME if key in config}
    if network.config.model_type == "bert":
        config.pop("embedding_size", None)
    name = str(config.pop("torch_dtype", None) or config.get("dtype") or "float32").removeprefix("torch.")
    config["dtype"] = name if name in ("float16", "bfloat16") else "float32"
    save_checkpoint(network.module, folder, labels=network.labels, extra=config, dtype=getattr(torch, config["dtype"]))


# ---- the card ----


def _text_of(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{card} is not UTF-8 text; correct it, or remove it") from None


def _card_of(source: Path, checkpoint: Checkpoint, name: str) -> str:
    """The card next to a checkpoint, with the repository's name where ours have a placeholder; without one, what is known."""
    if (source / "README.md").is_file():
        return re.sub(r'(?<=")PATH(?=")|(?<=electra predict )PATH|(?<=electra embed )PATH', name, _text_of(source / "README.md"))
    if source.parent == Path(bundled.__file__).parent:
        # The card of all bundled models; what it says of another's task is not true of this one.
        return re.sub(r"^(library_name|pipeline_tag|tags): .*\n", "", _text_of(source.parent / "README.md"), flags=re.MULTILINE)
    size = sum(value.numel() for value in checkpoint.module.parameters())
    return model_card.uploaded_card(name, checkpoint.architecture, checkpoint.labels, size)


def _known(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """What the front matter says of a checkpoint in any case."""
    vectors, pairs = (folder / "modules.json").is_file(), any(key in checkpoint.hf_config for key in resolve.CROSS_ENCODER)
    tag = model_card.pipeline_tag_of(checkpoint.architecture)
    library = "transformers" if model_card.in_transformers(checkpoint.architecture) else "electra"
    tags = ["electra"]
    if vectors or pairs:
        tag, library = ("sentence-similarity" if vectors else "text-ranking"), "sentence-transformers"
        tags += ["sentence-transformers", "feature-extraction" if vectors else "cross-encoder"]
    tags += ["onnx", "transformers.js"] if (folder / "onnx").is_dir() else []
    return {"library_name": library, "pipeline_tag": tag, "tags": tags}


def _completed(text: str, source: Path, name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> ModelCard:
    """A card whose front matter has what is known where it says nothing, and in any case what is given; without paths of this machine."""
    from huggingface_hub import ModelCard

    try:
        card = ModelCard(model_card.without_local_paths(text))
    except Exception as error:  # those of yaml, and what huggingface_hub raises for values of another form
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise UserError(f"{source / 'README.md'}: its YAML front matter cannot be read ({reason}); correct it, or remove the file") from None
    tags = card.data.get("tags") or []
    # Cards of conversions say transformers in any case.
    said = {key: value for key in known if (value := card.data.get(key)) and (key, value) != ("library_name", "transformers")}
    for key, value in {**known, **said, **given}.items():
        card.data[key] = value
    card.data["tags"] = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *known.get("tags", ())]))
    if card.data.get("eval_results"):
        card.data["model_name"] = name.rpartition("/")[2]
    return card


def _with_section(text: str, onnx: str) -> str:
    """A card's text with the section about onnx/ at its end, in place of an earlier one."""
    heading = f"## {model_card.ONNX_HEADING}\n"
    plain = re.sub(rf"^{re.escape(heading)}.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE).rstrip("\n")
    return f"{plain}\n" + (f"\n{heading}\n{onnx}\n" if onnx else "")


# ---- the upload ----


def check_name(name: str) -> None:
    """Check a repository's name.

    Raises:
        UserError: not OWNER/NAME, or with characters that the hub does not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"--name '{name}': expected OWNER/NAME, such as me/electra-mini")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--name '{name}': {error}") from None


def check_access(name: str) -> None:
    """Ask the hub whose token this is, before minutes of work.

    Raises:
        UserError: there is no token, it is not valid, or the hub cannot be reached.
    """
    import huggingface_hub

    if not huggingface_hub.get_token():
        raise UserError("no Hugging Face token: log in with 'hf auth login', or set HF_TOKEN to a token with write access")
    _asked(name, lambda hub: hub.whoami())


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Upload a repository in one commit, which also removes files of earlier models there -> its address.

    Raises:
        UserError: the hub rejects the card or the upload, or cannot be reached.
    """
    return str(_asked(name, lambda hub: _commit(hub, folder, name, private)))


def _commit(hub: HfApi, folder: Path, name: str, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, ModelCard

    try:
        ModelCard.load(folder / "README.md").validate()
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the hub rejects the front matter of the model card: {reason}; correct README.md, --license, --language, ...") from None
    # Without the flag an organization's default holds; a repository that exists stays as it is.
    address = hub.create_repo(name, private=private or None, exist_ok=True)
    if private and not hub.repo_info(name).private:
        raise UserError(f"--private: {name} exists and is public; make it private on the hub first, or leave --private out")
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    # A model that was there before may have other files, which would be read in place of these.
    old = [file for file in hub.list_repo_files(name) if file not in files and _is_ours(file)]
    operations = [CommitOperationDelete(file) for file in old] + [CommitOperationAdd(file, str(path)) for file, path in files.items()]
    hub.create_commit(name, operations, commit_message="Upload by electra push")
    return str(address)


def _asked(name: str, ask: Callable[[HfApi], Any]) -> Any:
    """What the hub answers; each of its errors is one line."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return ask(huggingface_hub.HfApi())
    except HfHubHTTPError as error:
        status: Any = getattr(error.response, "status_code", "no answer")
        reasons = {401: "the token is not valid", 403: "the token has no write access"}
        reason = reasons.get(status, str(error).split("\n")[0])
        raise UserError(f"the hub rejected {name} ({status}): {reason}; check the name and 'hf auth login'") from None
    except (OfflineModeIsEnabled, OSError, RuntimeError) as error:  # hf_xet raises the last
        raise _unreachable(name, error) from None
    except Exception as error:
        # The hub's client uses requests, httpx or httpx2, depending on its version: their errors have no common base but Exception.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise _unreachable(name, error) from None


def _unreachable(name: str, error: Exception) -> UserError:
    reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{type(error).__name__}: {error}"[:120]
    return UserError(f"the Hugging Face hub could not be reached to upload {name} ({reason}); try again with a network")

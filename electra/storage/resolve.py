"""A path or a name -> the folder of a checkpoint on this machine: checkpoints, run directories, URLs, bundled models, hub names."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from electra import bundled
from electra.errors import UserError, did_you_mean, parse_json
from electra.protobuf import HUGGING_FACE, find_checkpoint, is_checkpoint, is_vocabulary
from electra.storage import atomic, remote

Model = TypeVar("Model", Path, str)
PART_OF_RUN = re.compile(r"best|final|checkpoints|(seed|step|fold)-\d+")
"""Folders of a run."""
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
FILES = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "adapter_config.json",
    "modules.json",
    "sentence_*_config.json",
    "config_sentence_transformers.json",
    "[0-9]*_*/*",
    "generator/*",
]
HEADS = {
    "ElectraModel": "encoder",
    "ElectraForPreTraining": "replaced-tokens",
    "ElectraForMaskedLM": "masked-lm",
    "ElectraForSequenceClassification": "classification",
    "ElectraForTokenClassification": "tagging",
    "ElectraForQuestionAnswering": "span",
    "BertModel": "encoder",
    "BertForPreTraining": "masked-lm",
    "BertForMaskedLM": "masked-lm",
    "BertForSequenceClassification": "classification",
    "BertForTokenClassification": "tagging",
    "BertForQuestionAnswering": "span",
    # Not classes of transformers: these heads have no counterpart there, and Electric's generator reads no masked text.
    "ElectraOriginalClassifier": "classification",
    "ElectraMeanClassifier": "classification",
    "BertMeanClassifier": "classification",
    "ElectraOriginalQuestionAnswering": "span",
    "ElectraTwoTowerGenerator": "cloze",
}
"""Architecture -> what its head does."""
CAUSAL_ONLY = "is a causal LM (electra_objective 'clm' in its config.json): it predicts next tokens, no masked ones; continue it as a masked LM"
"""What is said of a masked LM's head that was trained to predict the next token."""


_SAVE_AGAIN = "open it in transformers 4 with from_pretrained(DIR, {}=True) and save_pretrained(NEW), then convert NEW"
_ORIGINAL = "give the training checkpoint it was made from (NAME.index and NAME.data-*)"
FORMS = {
    "adapter_config.json": ("an adapter without its model", "merge it into its base model (merge_and_unload of peft), save that, and give it"),
    "*.h5": ("a Keras model of TensorFlow 2", _SAVE_AGAIN.format("from_tf")),
    "*.keras": ("a Keras model of TensorFlow 2", _SAVE_AGAIN.format("from_tf")),
    "*.msgpack": ("a Flax model", _SAVE_AGAIN.format("from_flax")),
    "saved_model.pb": ("a TensorFlow SavedModel", _ORIGINAL),
    "*.pb": ("a frozen TensorFlow graph", _ORIGINAL),
    "*.tflite": ("a TensorFlow Lite model", _ORIGINAL),
    "rust_model.ot": ("a model of rust-bert", "give the PyTorch model it was made from"),
    "*.zip": ("an archive", "unpack it, and give its folder"),
    "*.tar.gz": ("an archive", "unpack it, and give its folder"),
    "*.tgz": ("an archive", "unpack it, and give its folder"),
    "*.meta": ("the graph of a TensorFlow checkpoint without its weights", "NAME.index and NAME.data-* must lie next to it"),
    "*.data-?????-of-?????": ("a part of a TensorFlow checkpoint without its index", "NAME.index must lie next to it"),
    **dict.fromkeys(
        ("*.ckpt", "*.ckpt-*"),
        ("no TensorFlow checkpoint of version V2 (NAME.index and NAME.data-*)", "save it again with TensorFlow 1.x's tf.train.Saver"),
    ),
}
"""Pattern of a file's name -> what it is, and the remedy: forms of weights that are not read."""


def architecture_in(hf_config: Mapping[str, Any]) -> str:
    """config.json -> the name of its Hugging Face class."""
    bare = "BertModel" if hf_config.get("model_type") == "bert" else "ElectraModel"
    return str((hf_config.get("architectures") or [bare])[0])


def head_of(architecture: str) -> str:
    """Architecture -> 'replaced-tokens', 'masked-lm', 'classification', 'tagging', 'span', 'encoder' (none) or 'cloze' (Electric's generator).

    Raises:
        UserError: an architecture whose head is not implemented.
    """
    if architecture not in HEADS:
        supported = ", ".join(HEADS)
        raise UserError(
            f"config.json: architecture '{architecture}' is not supported; give one of {supported}; its encoder can be embedded and fine-tuned"
        )
    return HEADS[architecture]


def check_form(source: Path) -> None:
    """Refuse weights in forms that are not read; nothing happens for a folder with weights that are, or with none.

    Raises:
        UserError: the path is a file or folder of such a form; the message names it and the remedy.
    """
    files = sorted(source.iterdir()) if source.is_dir() else [source] if source.is_file() else []
    weights = [path for path in files if not path.name.startswith("adapter_") and any(path.match(pattern) for pattern in HUGGING_FACE)]
    if source.is_dir() and weights:
        return
    for path in files:
        for pattern, (form, remedy) in FORMS.items():
            if path.match(pattern):
                raise UserError(f"{path} is {form}, which is not read; {remedy}")
    folders = [path for path in files if path.is_dir() and any(path.glob("*.index"))]
    if len(folders) == 1 and not (source / "config.json").exists():
        raise UserError(f"{source}: the TensorFlow checkpoint is in {folders[0]}; give that folder")


def with_article(architecture: str) -> str:
    """'an ElectraModel', 'a BertModel'."""
    return f"{'an' if architecture[:1] in 'AEIOU' else 'a'} {architecture}"


def end_of(source: str) -> str:
    """The last part of a path or URL, after the folders that it means nothing without: 'sst2/best' of /home/me/runs/sst2/best; no password."""
    scheme, _, path = source.rpartition("://")
    parts = [part for part in (path.partition("?")[0].rpartition("@")[2] if scheme else path).split("/") if part]
    first = max(len(parts) - 1, 0)
    while first > 0 and PART_OF_RUN.fullmatch(parts[first]):
        first -= 1
    return "/".join(parts[first:]) or source


def newest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run directory; None if it has none."""
    found = sorted(p for p in (run / "checkpoints").glob("step-*") if (p / "config.json").exists())
    return found[-1] if found else None


def resolve(source: str | Path, *, marker: str = "config.json") -> Path:
    """A checkpoint folder, a run directory (its best, final or newest checkpoint), the URL of one, a bundled model or a hub name -> a local folder.

    Raises:
        UserError: nothing there, a run with models of several tasks, or the hub has no such model or cannot be reached.
    """
    if bundled.is_shipped(source):
        return bundled.folder(source)
    if remote.is_url(source):
        return fetch(str(source), marker)
    path = Path(source)
    if is_checkpoint(path):
        raise UserError(f"{path} is a TensorFlow checkpoint; convert it first: electra convert {path} NEW, then give NEW")
    if path.is_file():
        check_form(path)
        raise UserError(f"{path} is a file; give the checkpoint's folder")
    if path.is_dir():
        run = [path / "best", path / "final", newest_checkpoint(path)]
        for folder in [path, *run]:
            if folder is not None and (found := encoder_folder(folder) if marker == "config.json" else folder) and (found / marker).exists():
                return found
        if (path / "modules.json").is_file():
            kind, place = module_entries(path)[0]
            raise UserError(f"{path}/modules.json: module {kind} at '{place}' has no {marker}; expected the Transformer of an ELECTRA or a BERT")
        if not (models := local_models(path)):
            check_form(path)
        return _only(models, path, marker)
    if os.path.exists(path):
        atomic.existing_path(path, "model")  # a device, a pipe or a socket
    text = str(source)
    if text.count("/") > 1 or text.startswith((".", "/", "~")) or not HUB_NAME.fullmatch(text) or (path.parent != Path(".") and path.parent.is_dir()):
        hint = "check the path"
        if path.parent.is_dir():
            guess = did_you_mean(path.name, [p.name for p in path.parent.iterdir()] or ["?"])
            hint = guess if guess.startswith("did") else hint
        raise UserError(f"model not found: {text}; {hint}")
    return encoder_folder(download(text))


LONGEST_PATH = 200
"""Characters of a module's path."""


def module_entries(folder: Path) -> list[tuple[str, str]]:
    """A folder with modules.json -> (dotted name of the class, path in the folder) of each of sentence-transformers' modules.

    Raises:
        UserError: not the list that sentence-transformers writes, or a path out of the folder.
    """
    listed = folder / "modules.json"
    try:
        rows = [(str(row["type"]), str(row["path"]), str(row.get("name", place))) for place, row in enumerate(parse_json(listed.read_bytes()))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{listed} cannot be read ({error}); expected the list that sentence-transformers writes") from None
    if not rows or len({name for _, _, name in rows}) < len(rows):
        raise UserError(f"{listed}: expected modules, each with a name of its own, as sentence-transformers writes them")
    for _, path, _ in rows:
        if len(path) > LONGEST_PATH or "\0" in path:
            raise UserError(f"{listed}: path {path[:60]!r} of {len(path)} characters; expected the name of a folder")
        if PureWindowsPath(path).anchor or ".." in PureWindowsPath(path).parts:
            raise UserError(f"{listed}: path {path!r} leads out of the folder; expected a folder in it")
    return [(kind, path) for kind, path, _ in rows]


def encoder_folder(folder: Path) -> Path:
    """Where a folder's encoder is: in the folder, or in the part of it that modules.json names first, such as 0_Transformer.

    Raises:
        UserError: a damaged modules.json.
    """
    return folder / module_entries(folder)[0][1] if (folder / "modules.json").is_file() else folder


CROSS_ENCODER = ("sentence_transformers", "sbert_ce_default_activation_function", "sbert_ce_default_activation_fn")
"""Keys of config.json by which sentence-transformers knows a CrossEncoder's scores."""


def sentence_files(root: Path, encoder: Path) -> dict[str, Path]:
    """The files of sentence-transformers in a folder and its encoder's -> name in the output, where the encoder is in no folder of its own."""
    files = [*root.glob("modules.json"), *root.glob("config_sentence_transformers.json"), *encoder.glob("sentence_*_config.json")]
    modules = module_entries(root)[1:] if (root / "modules.json").is_file() else []
    return {path.name: path for path in files} | {place: root / place for _, place in modules if place and (root / place).is_dir()}


def copy_sentence_files(files: Mapping[str, Path], folder: Path) -> None:
    """What `sentence_files` found -> a folder that holds the encoder itself."""
    for name, path in files.items():
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / name)
    if (listed := folder / "modules.json").is_file() and (rows := parse_json(listed.read_bytes()))[0]["path"]:
        atomic.write_text(listed, json.dumps([{**rows[0], "path": ""}, *rows[1:]], indent=2) + "\n")


def modules_folder(source: str | Path, encoder: Path) -> Path:
    """A source and what `resolve` made of it -> the folder with its modules.json, if it has one."""
    given = Path(source)
    nested = encoder.parent / "modules.json"
    if nested.is_file() and not (given.is_dir() and given.resolve() == encoder.resolve()) and encoder_folder(encoder.parent) == encoder:
        return encoder.parent
    return encoder


def unused_modules(source: str | Path, encoder: Path) -> tuple[str, ...]:
    """A line for the user where a source whose encoder alone is used has modules of sentence-transformers after it."""
    folder = modules_folder(source, encoder)
    if not (folder / "modules.json").is_file() or len(module_entries(folder)) < 2:
        return ()
    return (f"{source} is a sentence encoder (modules.json): its pooling is not used",)


def local_models(run: Path) -> list[Path]:
    """The best model of each task of a run of several tasks; empty for any other folder."""
    names = [str(file.relative_to(run)) for depth in ("*", "*/*", "*/*/*") for file in run.glob(depth)]
    return [run / name for name in task_models(run.name, names)]


def task_models(run: str, names: Collection[str], marker: str = "config.json") -> list[str]:
    """Name of a folder, names of its files -> the folders in it with the best model of each task, where it is a run of several tasks.

    They are RUN/best/TASK, or RUN/TASK/best in a suite of version 0.1.
    """
    folders = sorted(name.removesuffix(f"/{marker}") for name in names if name.endswith(f"/{marker}"))
    if run == "best":
        return [folder for folder in folders if "/" not in folder]
    suite = [folder for folder in folders if folder.endswith("/best") and "/" not in folder.removesuffix("/best")]
    return [folder for folder in folders if folder.startswith("best/")] or (suite if "results.json" in names else [])


def _only(models: Sequence[Model], run: Path | str, marker: str) -> Model:
    """The one model of a run.

    Raises:
        UserError: there is none, or more than one.
    """
    if not models:
        raise UserError(f"{run} is not a checkpoint: it has no {marker}, nor a best, final or checkpoints folder with one")
    if len(models) > 1:
        raise UserError(f"{run} has the models of {len(models)} tasks; give one of {', '.join(map(str, models))}")
    return models[0]


def fetch(url: str, marker: str) -> Path:
    """A checkpoint folder or run directory in a store -> the checkpoint's copy in the cache.

    Raises:
        UserError: nothing there, no access, or not a checkpoint.
    """
    names = list(remote.list_files(url, "model")[2])
    steps = sorted(name.rpartition("/")[0] + "/" for name in names if re.fullmatch(rf"checkpoints/step-\d+/{re.escape(marker)}", name))
    for folder in ("", "best/", "final/", *steps[-1:]):
        if folder + marker in names or (folder + "modules.json" in names and any(fnmatch(name, f"{folder}[0-9]*_*/{marker}") for name in names)):
            wanted = [name.removeprefix(folder) for name in names if name.startswith(folder)]
            wanted = [name for name in wanted if any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in FILES)]
            copy = remote.fetched(remote.join(url, folder), wanted, "model")
            return encoder_folder(copy) if marker == "config.json" else copy
    models = task_models(url.rstrip("/").rpartition("/")[2], [name for name in names if name.count("/") <= 2], marker)
    return fetch(_only([remote.join(url, model) for model in models], url, marker), marker)


def fetch_tensorflow(source: str) -> Path | None:
    """The URL of a TensorFlow checkpoint, its folder or its prefix -> the prefix of a copy in the cache; None for any other source.

    Raises:
        UserError: there is none, or more than one.
    """
    if not remote.is_url(source):
        return None
    folder = source if remote.exists(source) and not source.endswith((".index", ".meta")) and ".data-" not in source else source.rpartition("/")[0]
    names = [name for name in remote.list_files(folder, "checkpoint")[2] if name and "/" not in name]
    if any(fnmatch(name, pattern) for name in names for pattern in HUGGING_FACE) or not any(name.endswith(".index") for name in names):
        return None
    light = remote.fetched(folder, [name for name in names if name == "checkpoint" or name.endswith(".index")], "checkpoint")
    chosen = find_checkpoint(light if folder == source else light / source.rpartition("/")[2]).name
    of_checkpoint = (f"{chosen}.index", f"{chosen}.data-")
    wanted = [name for name in names if name.startswith(of_checkpoint) or name.endswith(".json") or is_vocabulary(name)]
    return remote.fetched(folder, wanted, "checkpoint") / chosen


def hub_name(source: str) -> str | None:
    """A source that `resolve` has opened -> its name on the hub; None: it is a local place, a URL, a bundled model, or random weights."""
    return source if HUB_NAME.fullmatch(source) and not Path(source).exists() else None


def download(name: str) -> Path:
    """A model on the Hugging Face hub, through the hub's cache -> its local folder.

    Raises:
        UserError: no such model, no access, or no network and not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"model not found: '{name}' is neither a local folder nor a model you can access on the hub; check the name, or run 'hf auth login'"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = type(error).__name__
        raise UserError(
            f"model not found: '{name}' is not a local folder, and the hub could not be reached ({reason}); check the path and the network"
        ) from None

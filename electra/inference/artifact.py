"""An artifact: an exported model in one folder or one .zip, with everything inference needs. Written completely or not at all; opened only if
every hash matches.

    artefact.json      target, role, labels, limits, source, build, sha256 and size of every file, measurements
    config.json        of the checkpoint
    vocab.txt ...      the tokenizer's files
    model.onnx ...     the model
    generator/...      config.json and model of the generator, if there is one

A folder in the hub's layout for ONNX (config.json, tokenizer, onnx/model.onnx or another of `HUB_FILES`; no weights of PyTorch) is opened like an
artifact, too: ours and those of others. It has no hashes; what artefact.json says is found in its config.json.

Neither this module nor the runtimes import torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from electra import bundled
from electra.errors import UserError, parse_json, raise_if_device
from electra.model.hf_config import weight_files
from electra.storage import atomic, resolve

# ---- the manifest, artefact.json ----


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
"""Required keys of a manifest and their types."""

Description = dict[str, Any]

HUB_FILES = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "q8": "onnx/model_quantized.onnx",
    "int8": "onnx/model_int8.onnx",
    "uint8": "onnx/model_uint8.onnx",
}
"""`dtype` of transformers.js -> its file in the hub's layout; the first that is there is run."""
HUB_TARGETS = {"fp32": "onnx", "fp16": "onnx-fp16"}
"""The target whose number format a dtype has; of others onnx-int8."""
ONE_OUTPUT = "electra_one_output"
"""Key in config.json of a hub layout: a classifier with one output, read by a sigmoid; its `problem_type` is for transformers.js."""


def validated(content: bytes, where: str) -> Description:
    """The bytes of artefact.json -> its values, after checking keys, types, sizes, hashes and file names.

    Raises:
        UserError: not JSON, not a manifest, of a newer version, or a value is missing or invalid.
    """
    try:
        values = parse_json(content)
    except ValueError as error:
        raise UserError(f"{where}: {MANIFEST} is not valid JSON ({str(error)[:100]}); it is damaged or incomplete") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{where} is not an artifact of electra: its {MANIFEST} does not have format '{FORMAT}'")
    version = values.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{where}: {MANIFEST} has version {version!r:.40}; expected {VERSION}")
    if version > VERSION:
        raise UserError(f"{where} was built by a newer electra (artifact version {version}, this one reads {VERSION}); upgrade, or build it again")
    for key, kind in KEYS.items():
        if not isinstance(values.get(key), kind):
            raise UserError(f"{where}: {MANIFEST} has no usable '{key}'; it is damaged: build it again")
    length = values["limits"].get("max_length")
    if not isinstance(length, int) or isinstance(length, bool) or not 8 <= length <= 1 << 20:
        raise UserError(f"{where}: {MANIFEST} has limits max_length {length!r:.40}; expected a number of tokens")
    for name, entry in values["files"].items():
        if not SAFE_NAME.fullmatch(name) or ".." in name or name == MANIFEST:
            raise UserError(f"{where}: {MANIFEST} lists a file {name[:80]!r}, which no artifact has; not opened")
        size, digest = (entry.get("size_bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(size, int) or not 0 <= size <= LARGEST_FILE or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise UserError(f"{where}: {MANIFEST} has no usable size and sha256 of {name}; it is damaged: build it again")
    if "config.json" not in values["files"]:
        raise UserError(f"{where}: {MANIFEST} lists no config.json; it is damaged: build it again")
    return values


ROLE_ALIASES = {"tagger": "token-classification", "span finder": "question-answering"}
"""Roles as version 0.1 named them, in artifacts and arguments."""
REMOVED_TARGETS = {"torch-export": "AOTInductor was slower than ONNX Runtime and ran native code from a file"}
"""Targets of earlier versions -> why they were removed. Their artifacts can be inspected, but not run."""
LARGEST_EXPANSION = 200
"""Largest compression ratio of a file in a .zip; weights hardly compress, zip bombs must."""
MOST_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An opened artifact: every file exists and is unchanged."""

    name: str
    """The source, for messages."""
    path: Path
    """Folder with its files; for a .zip a temporary one, which is removed with this object."""
    manifest: Mapping[str, Any]
    keep: Any = field(default=None, repr=False)
    """Keeps the temporary folder alive."""
    model_file: str = ""
    """The model's file in `path`, in the hub's layout; elsewhere the target names it."""

    @property
    def target(self) -> str:
        """Its target, a name of `electra.exporting.targets.TARGETS`."""
        return str(self.manifest["target"])

    @property
    def architecture(self) -> str:
        """The checkpoint's class in Hugging Face's names."""
        return str(self.manifest["architecture"])

    @property
    def role(self) -> str:
        """'classifier', 'token-classification', 'question-answering', 'discriminator', 'generator' or 'encoder'."""
        return ROLE_ALIASES.get(str(self.manifest["role"]), str(self.manifest["role"]))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in id order."""
        return tuple(map(str, self.manifest["labels"]))

    @property
    def has_generator(self) -> bool:
        """Whether it contains the generator of its discriminator."""
        return "generator/config.json" in self.manifest["files"]

    @property
    def size_bytes(self) -> int:
        """Of all files, unpacked."""
        return sum(entry["size_bytes"] for entry in self.manifest["files"].values())


def is_artifact(source: str | Path) -> bool:
    """Whether a path looks like an artifact: a folder with artefact.json, a .zip (which `open_artifact` may reject), or the hub's layout."""
    path = bundled.located(source)
    if path.is_dir() and (path / MANIFEST).exists():
        return True
    return hub_layout(path) is not None or (path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path)))


def hub_layout(path: Path) -> tuple[Path, str] | None:
    """A folder in the hub's layout, or one of its model files -> the folder and the dtype of the file that is run; None for anything else."""
    folder, files = path, HUB_FILES
    if path.suffix == ".onnx" and path.parent.name == "onnx" and path.is_file():
        folder, files = path.parent.parent, {dtype: file for dtype, file in HUB_FILES.items() if file == f"onnx/{path.name}"}
    elif not path.is_dir() or any(any(path.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin", MANIFEST)):
        return None
    if not (folder / "config.json").is_file():
        return None
    return next(((folder, dtype) for dtype, file in files.items() if (folder / file).is_file()), None)


def _hub_manifest(folder: Path, dtype: str) -> Description:
    """What artefact.json would say of a folder in the hub's layout; its files are those that are read.

    Raises:
        UserError: its config.json is not of a model that is known here.
    """
    from electra.model.hf_config import ROLE_HEADS, read_config

    config = read_config(folder, "encoder")  # without weights, its architecture is the one it names
    architecture = resolve.architecture_in(config)
    head = resolve.head_of(architecture)
    role = next((role for role, heads in ROLE_HEADS.items() if role != "task" and head in heads), "encoder")
    tokenizer = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    parts = ("config.json", *tokenizer, HUB_FILES[dtype], f"{HUB_FILES[dtype]}_data")
    read = [f"{place}{name}" for place in ("", "generator/") for name in parts]
    return {
        "target": HUB_TARGETS.get(dtype, "onnx-int8"),
        "layout": "hub",
        "architecture": architecture,
        "role": role,
        "task": config.get("finetuning_task"),
        "labels": [*config["id2label"].values()] if head in ("classification", "tagging") else [],
        "limits": {"max_length": config["max_position_embeddings"]},
        "source": {"name": folder.name, "dtype": dtype},
        "build": {},
        "files": {name: {"size_bytes": (folder / name).stat().st_size} for name in read if (folder / name).is_file()},
        "measured": [],
    }


def read_manifest(source: str | Path) -> Description:
    """Read the manifest of an artifact without checking its files.

    Raises:
        UserError: not an artifact, damaged, or of a newer version.
    """
    path = bundled.located(source)
    if found := hub_layout(path):
        return _hub_manifest(*found)
    if path.is_dir():
        return _folder_manifest(path)
    with _opened_zip(path) as archive:
        return _zip_manifest(archive, path)[0]


def open_artifact(source: str | Path) -> Artifact:
    """Open a folder or .zip after checking the size and sha256 of every file.

    Raises:
        UserError: not an artifact, made by a newer version, incomplete, changed since it was built, or with unsafe names.
    """
    path = bundled.located(source)
    if found := hub_layout(path):
        return Artifact(name=str(source), path=found[0], manifest=_hub_manifest(*found), model_file=HUB_FILES[found[1]])
    if path.is_dir():
        manifest = _folder_manifest(path)
        _reject_unknown_files(_names(path), manifest, path)
        for name in manifest["files"]:
            if not (path / name).is_file():
                raise UserError(f"{path} is incomplete: {name} is missing; copy it again, or build it again")
            with (path / name).open("rb") as stream:
                _checked(stream, manifest["files"][name], f"{path / name}", None)
        return Artifact(name=str(source), path=path, manifest=manifest)
    with _opened_zip(path) as archive:
        manifest, top = _zip_manifest(archive, path)
        present = {info.filename: info for info in archive.infolist() if not info.filename.endswith("/")}  # is_dir() fails where a name is empty
        _reject_unknown_files({name.removeprefix(top) for name in present}, manifest, path)
        folder = tempfile.TemporaryDirectory(prefix="electra-artefact-", ignore_cleanup_errors=True)
        for name, entry in manifest["files"].items():
            if (info := present.get(top + name)) is None:
                raise UserError(f"{path} is incomplete: {name} is missing; copy it again, or build it again")
            bomb = info.file_size > 1 << 20 and info.file_size > LARGEST_EXPANSION * max(1, info.compress_size)
            if bomb or info.file_size != entry["size_bytes"]:
                raise UserError(f"{path}: {name} would unpack to {info.file_size:,} bytes, artefact.json lists {entry['size_bytes']:,}; not opened")
            target = Path(folder.name) / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as stream, target.open("wb") as copy:
                    _checked(stream, entry, f"{path}: {name}", copy)
            except atomic.BROKEN_PACKED as error:
                if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:  # that is zipfile's, of a place before the file
                    raise UserError(
                        f"{path}: {name} cannot be unpacked to {target.parent} ({error.strerror}); set TMPDIR to another folder"
                    ) from None
                raise UserError(f"{path}: {name} cannot be unpacked ({str(error)[:100]}); copy it again, or build it again") from None
    return Artifact(name=str(source), path=Path(folder.name), manifest=manifest, keep=folder)


def damaged_files(source: str | Path) -> list[str]:
    """Compare every file of an artifact with its manifest -> a line for each that is missing, changed or added (of a .zip the first one).

    Raises:
        UserError: not an artifact, or made by a newer version.
    """
    path = bundled.located(source)
    if hub_layout(path):
        raise UserError(f"{path} is in the hub's layout, which records no hashes; compare its files with those on the hub")
    if not path.is_dir():
        read_manifest(path)
        try:
            open_artifact(path)
        except UserError as error:
            return [str(error).partition("; ")[0]]
        return []
    manifest, found = _folder_manifest(path), []
    try:
        _reject_unknown_files(_names(path), manifest, path)
    except UserError as error:
        found.append(str(error).partition("; ")[0])
    for name, entry in manifest["files"].items():
        try:
            with (path / name).open("rb") as stream:
                _checked(stream, entry, f"{path / name}", None)
        except OSError as error:
            found.append(f"{path / name} cannot be read ({error.strerror})")
        except UserError as error:
            found.append(str(error).partition("; ")[0])
    return found


def write_artifact(output: str | Path, make: Callable[[Path], Mapping[str, Any]]) -> Description:
    """Write an artifact (a .zip if `output` ends in .zip) -> its manifest.

    Args:
        output: folder or .zip; an existing one is replaced.
        make: writes the files into the folder given to it, and returns the manifest without format, version and files.

    Raises:
        UserError: it cannot be written.
    """
    output = Path(output)
    if output.suffix == ".zip":
        # Next to the archive: another disk may be too small for a model.
        with atomic.atomic_file(output) as temporary, tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
            work = Path(name)
            with atomic.writing(output, work):
                manifest = _describe(work, make(work))
                _pack(work, temporary)
        return manifest
    with atomic.atomic_folder(output) as folder:
        return _describe(folder, make(folder))


def write_measurements(source: str | Path, rows: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any] | None = None) -> None:
    """Write rows of measurements into an artifact's manifest, and all of the comparison; its files are unchanged.

    Raises:
        UserError: not an artifact, or it cannot be written.
    """
    path, measured = Path(source), {"measured": list(rows)} | ({} if comparison is None else {"comparison": comparison})
    if hub_layout(path):
        raise UserError(f"{path} is in the hub's layout, which has no place for measurements; write them elsewhere (--output)")
    if len(_as_text(measured)) > LARGEST_MANIFEST // 2:
        del measured["comparison"]
    if path.is_dir():
        atomic.write_text(path / MANIFEST, _as_text(_folder_manifest(path) | measured))
        return
    artifact = open_artifact(path)
    (artifact.path / MANIFEST).write_text(_as_text({**artifact.manifest, **measured}), encoding="utf-8")
    with atomic.atomic_file(path) as temporary:
        _pack(artifact.path, temporary)


def hash_file(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_hash(folder: Path) -> str:
    """sha256 of a checkpoint's file of weights; of shards, that of their hashes."""
    hashes = [hash_file(path) for path in weight_files(folder)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


# ---- reading and writing ----


def _describe(folder: Path, description: Mapping[str, Any]) -> Description:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert MANIFEST not in names and all(SAFE_NAME.fullmatch(name) for name in names), names
    files = {name: {"sha256": hash_file(folder / name), "size_bytes": (folder / name).stat().st_size} for name in names}
    manifest = {"format": FORMAT, "version": VERSION, **description, "files": files, "measured": list(description.get("measured", ()))}
    (folder / MANIFEST).write_text(_as_text(manifest), encoding="utf-8")
    return manifest


def _as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _pack(folder: Path, archive: Path) -> None:
    """Not compressed: weights hardly shrink, and opening would be slower."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as out:
        for path in sorted(folder.rglob("*"), key=lambda p: (p.name != MANIFEST, str(p))):
            if path.is_file():
                # A fixed date, so that equal builds give equal bytes.
                info = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                with path.open("rb") as stream, out.open(info, "w", force_zip64=path.stat().st_size > 1 << 31) as copy:
                    while block := stream.read(1 << 20):
                        copy.write(block)


def _folder_manifest(path: Path) -> Description:
    file = path / MANIFEST
    if not file.is_file():
        raise UserError(f"{path} is not an artifact: it has no {MANIFEST}; make one with: electra build CHECKPOINT --target onnx --output {path}")
    if file.stat().st_size > LARGEST_MANIFEST:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes, too many for a manifest; not opened")
    return validated(file.read_bytes(), str(path))


def _zip_manifest(archive: zipfile.ZipFile, path: Path) -> tuple[Description, str]:
    """The manifest, and its folder in the archive ('', or 'name/' if it was packed by hand)."""
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise UserError(f"{path} contains {len(infos):,} files, more than any artifact; not opened")
    found = sorted(
        (info for info in infos if info.filename.split("/")[-1] == MANIFEST and info.filename.count("/") < 2), key=lambda i: len(i.filename)
    )
    if not found:
        raise UserError(f"{path} is not an artifact: it has no {MANIFEST}; make one with: electra build CHECKPOINT --target onnx --output {path}")
    try:
        with archive.open(found[0]) as stream:
            content = stream.read(LARGEST_MANIFEST + 1)
    except atomic.BROKEN_PACKED as error:
        raise UserError(f"{path}: {MANIFEST} cannot be unpacked ({str(error)[:100]}); copy it again, or build it again") from None
    if len(content) > LARGEST_MANIFEST:
        raise UserError(f"{path}: {MANIFEST} has more than {LARGEST_MANIFEST:,} bytes, too many for a manifest; not opened")
    return validated(content, str(path)), found[0].filename.removesuffix(MANIFEST)


def _opened_zip(path: Path) -> zipfile.ZipFile:
    atomic.existing_path(path, "artifact")
    try:
        return zipfile.ZipFile(path)
    except atomic.BROKEN_PACKED as error:
        raise_if_device(error)
        raise UserError(f"{path} is not an artifact, or is incomplete: not a readable .zip ({str(error)[:100]}); copy it again") from None


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def _reject_unknown_files(present: set[str], manifest: Description, path: Path) -> None:
    """A file that is not in the manifest might be read in place of one that is."""
    unknown = sorted(name for name in present - {MANIFEST, *manifest["files"]} if not os.path.basename(name).startswith("."))
    if unknown:
        raise UserError(f"{path} contains {unknown[0][:80]!r}, which is not in its {MANIFEST}; remove it, or build it again")


def _checked(stream: IO[bytes], entry: Mapping[str, Any], where: str, copy: IO[bytes] | None) -> None:
    """Check size and hash of a file, reading at most one block beyond its size; copy it to `copy`, if given."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(1 << 20):
        size += len(block)
        if size > entry["size_bytes"]:
            break
        digest.update(block)
        if copy is not None:
            copy.write(block)
    if size != entry["size_bytes"]:
        actual = f"{size:,}" if size < entry["size_bytes"] else f"more than {entry['size_bytes']:,}"
        raise UserError(f"{where} has {actual} bytes, {MANIFEST} lists {entry['size_bytes']:,}; copy it again, or build it again")
    if digest.hexdigest() != entry["sha256"]:
        raise UserError(
            f"{where} was changed since it was built (sha256 {digest.hexdigest()[:12]}..., expected {entry['sha256'][:12]}...); build it again"
        )

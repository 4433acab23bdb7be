"""A built model: one folder, or one .zip, with everything an answer needs. Written whole or not at all; believed only when every hash fits.

    artefact.json      what it is: target, role, labels, limits, source, how it was built, sha256 and size of every file, measurements
    config.json        the checkpoint's
    vocab.txt ...      the tokenizer's files
    model.onnx ...     what runs
    generator/...      config.json and model of the generator, where there is one

Nothing here, or in what opens it, imports torch.
"""

from __future__ import annotations

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
from electra.errors import UserError
from electra.storage import atomic

# ---- What artefact.json must say to be believed ----


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


REMOVED_TARGETS = {"torch-export": "AOTInductor was slower than ONNX Runtime and ran native code from a file"}
"""Targets of earlier versions -> why they were removed. Their artifacts can be inspected, but not run."""
LARGEST_EXPANSION = 200
"""Times a file in a .zip may grow; weights hardly do, a bomb must."""
MOST_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """An opened artefact: every file is there, and is what was written."""

    name: str
    """What was opened, for messages."""
    path: Path
    """Folder with its files; of a .zip a temporary one, which lives as long as this object."""
    manifest: Mapping[str, Any]
    keep: Any = field(default=None, repr=False)
    """Holds the temporary folder."""

    @property
    def target(self) -> str:
        """What it was built for, a name of `electra.exporting.targets.TARGETS`."""
        return str(self.manifest["target"])

    @property
    def architecture(self) -> str:
        """The checkpoint's class in Hugging Face's names."""
        return str(self.manifest["architecture"])

    @property
    def role(self) -> str:
        """'classifier', 'tagger', 'span finder', 'discriminator', 'generator' or 'encoder'."""
        return str(self.manifest["role"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in id order."""
        return tuple(map(str, self.manifest["labels"]))

    @property
    def has_generator(self) -> bool:
        """Whether a generator came with its discriminator."""
        return "generator/config.json" in self.manifest["files"]

    @property
    def size_bytes(self) -> int:
        """Of all files, unpacked."""
        return sum(entry["size_bytes"] for entry in self.manifest["files"].values())


def is_artefact(source: str | Path) -> bool:
    """Whether a path is meant as an artefact: a folder with artefact.json, or a .zip (which may still turn out to be something else)."""
    path = bundled.located(source)
    if path.is_dir():
        return (path / MANIFEST).exists()
    return path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path))


def read_manifest(source: str | Path) -> Description:
    """What an artefact says of itself, without its files being looked at.

    Raises:
        UserError: no artefact, damaged, or of a newer version.
    """
    path = bundled.located(source)
    if path.is_dir():
        return _folder_manifest(path)
    with _opened_zip(path) as archive:
        return _zip_manifest(archive, path)[0]


def open_artefact(source: str | Path) -> Artefact:
    """A folder or .zip -> the artefact, after the size and sha256 of every file were compared with what artefact.json says.

    Raises:
        UserError: no artefact, made by a newer version, incomplete, changed since it was built, or a name that leads outside.
    """
    path = bundled.located(source)
    if path.is_dir():
        manifest = _folder_manifest(path)
        _refuse_strangers({str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir()}, manifest, path)
        for name in manifest["files"]:
            if not (path / name).is_file():
                raise UserError(f"{path} is incomplete: {name} is missing; copy it again, or build it again")
            with (path / name).open("rb") as stream:
                _checked(stream, manifest["files"][name], f"{path / name}", None)
        return Artefact(name=str(source), path=path, manifest=manifest)
    with _opened_zip(path) as archive:
        manifest, top = _zip_manifest(archive, path)
        present = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        _refuse_strangers({name.removeprefix(top) for name in present}, manifest, path)
        folder = tempfile.TemporaryDirectory(prefix="electra-artefact-")
        for name, entry in manifest["files"].items():
            if (info := present.get(top + name)) is None:
                raise UserError(f"{path} is incomplete: {name} is missing; copy it again, or build it again")
            bomb = info.file_size > 1 << 20 and info.file_size > LARGEST_EXPANSION * max(1, info.compress_size)
            if bomb or info.file_size != entry["size_bytes"]:
                raise UserError(f"{path}: {name} would unpack to {info.file_size:,} bytes, artefact.json says {entry['size_bytes']:,}; not opened")
            target = Path(folder.name) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(info) as stream, target.open("wb") as copy:
                    _checked(stream, entry, f"{path}: {name}", copy)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
                raise UserError(f"{path}: {name} cannot be unpacked ({str(error)[:100]}); copy it again, or build it again") from None
            except OSError as error:
                raise UserError(f"{path}: {name} cannot be unpacked to {target.parent} ({error.strerror}); set TMPDIR to another place") from None
    return Artefact(name=str(source), path=Path(folder.name), manifest=manifest, keep=folder)


def damaged_files(source: str | Path) -> list[str]:
    """Compare every file of an artifact with its manifest -> a line for each that is missing or was changed (of a .zip the first one).

    Raises:
        UserError: no artifact, or made by a newer version.
    """
    path = bundled.located(source)
    if not path.is_dir():
        read_manifest(path)
        try:
            open_artefact(path)
        except UserError as error:
            return [str(error).partition("; ")[0]]
        return []
    manifest, found = _folder_manifest(path), []
    for name, entry in manifest["files"].items():
        try:
            with (path / name).open("rb") as stream:
                _checked(stream, entry, f"{path / name}", None)
        except OSError as error:
            found.append(f"{path / name} cannot be read ({error.strerror})")
        except UserError as error:
            found.append(str(error).partition("; ")[0])
    return found


def write_artefact(output: str | Path, make: Callable[[Path], Mapping[str, Any]]) -> Description:
    """Make a folder's files and describe them -> an artefact at `output` (a .zip where the name ends so), and its manifest.

    Args:
        output: where to; what is there is replaced.
        make: fills the folder given to it, and returns the manifest without format, version and files.

    Raises:
        UserError: it cannot be written.
    """
    output = Path(output)
    if output.suffix == ".zip":
        # Made beside the archive: a temporary folder elsewhere may be smaller than a model.
        with atomic.atomic_file(output) as temporary, tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as work:
            manifest = _describe(Path(work), make(Path(work)))
            _pack(Path(work), temporary)
        return manifest
    with atomic.atomic_folder(output) as folder:
        return _describe(folder, make(folder))


def write_measurements(source: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows of measurements into an artefact's manifest; its files stay as they are.

    Raises:
        UserError: no artefact, or it cannot be written.
    """
    path = Path(source)
    if path.is_dir():
        atomic.write_text(path / MANIFEST, _as_text(_folder_manifest(path) | {"measured": list(rows)}))
        return
    artefact = open_artefact(path)
    (artefact.path / MANIFEST).write_text(_as_text({**artefact.manifest, "measured": list(rows)}), encoding="utf-8")
    with atomic.atomic_file(path) as temporary:
        _pack(artefact.path, temporary)


def hash_file(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---- inside ----


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
    """Not compressed: weights hardly shrink, and starting up would pay for it."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as out:
        for path in sorted(folder.rglob("*"), key=lambda p: (p.name != MANIFEST, str(p))):
            if path.is_file():
                # A fixed date: the same build gives the same bytes.
                info = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                with path.open("rb") as stream, out.open(info, "w", force_zip64=path.stat().st_size > 1 << 31) as copy:
                    while block := stream.read(1 << 20):
                        copy.write(block)


def _folder_manifest(path: Path) -> Description:
    file = path / MANIFEST
    if not file.is_file():
        raise UserError(f"{path} is no artefact: it has no {MANIFEST}; make one with: electra build CHECKPOINT --target onnx --output {path}")
    if file.stat().st_size > LARGEST_MANIFEST:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes, more than any manifest; not opened")
    return validated(file.read_bytes(), str(path))


def _zip_manifest(archive: zipfile.ZipFile, path: Path) -> tuple[Description, str]:
    """The manifest, and the folder inside the archive that holds it ('' or 'name/': packed again by hand, it often has one)."""
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise UserError(f"{path} holds {len(infos):,} files, more than any artefact; not opened")
    found = sorted(
        (info for info in infos if info.filename.split("/")[-1] == MANIFEST and info.filename.count("/") < 2), key=lambda i: len(i.filename)
    )
    if not found:
        raise UserError(f"{path} is no artefact: it has no {MANIFEST}; make one with: electra build CHECKPOINT --target onnx --output {path}")
    try:
        with archive.open(found[0]) as stream:
            content = stream.read(LARGEST_MANIFEST + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: {MANIFEST} cannot be unpacked ({str(error)[:100]}); copy it again, or build it again") from None
    if len(content) > LARGEST_MANIFEST:
        raise UserError(f"{path}: {MANIFEST} has more than {LARGEST_MANIFEST:,} bytes, more than any manifest; not opened")
    return validated(content, str(path)), found[0].filename.removesuffix(MANIFEST)


def _opened_zip(path: Path) -> zipfile.ZipFile:
    atomic.existing_path(path, "artefact")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UserError(f"{path} is no artefact, or is incomplete: not a readable .zip ({str(error)[:100]}); copy it again") from None


def _refuse_strangers(present: set[str], manifest: Description, path: Path) -> None:
    """A file that the manifest does not know might be read in place of one that it does."""
    strange = sorted(name for name in present - {MANIFEST, *manifest["files"]} if not os.path.basename(name).startswith("."))
    if strange:
        raise UserError(f"{path} holds {strange[0][:80]!r}, which its {MANIFEST} does not name; remove it, or build it again")


def _checked(stream: IO[bytes], entry: Mapping[str, Any], where: str, copy: IO[bytes] | None) -> None:
    """Read a file through, at most one block beyond its size; write it to `copy` where there is one."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(1 << 20):
        size += len(block)
        if size > entry["size_bytes"]:
            break
        digest.update(block)
        if copy is not None:
            copy.write(block)
    if size != entry["size_bytes"]:
        told = f"{size:,}" if size < entry["size_bytes"] else f"more than {entry['size_bytes']:,}"
        raise UserError(f"{where} has {told} bytes, {MANIFEST} says {entry['size_bytes']:,}; copy it again, or build it again")
    if digest.hexdigest() != entry["sha256"]:
        raise UserError(
            f"{where} was changed since it was built (sha256 {digest.hexdigest()[:12]}..., expected {entry['sha256'][:12]}...); build it again"
        )

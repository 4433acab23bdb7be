"""Artifacts cut, changed, foreign or made to harm are refused in one line with the reason; whole ones open alike as folder and .zip."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from electra.cli import main
from electra.errors import UserError
from electra.exporting.targets import target
from electra.inference import artifact as module
from electra.inference.artifact import is_artifact, open_artifact, read_manifest, write_artifact, write_measurements
from electra.inference.backends import open_artifact_backend

CONFIG = {"architectures": ["ElectraModel"], "model_type": "electra", "max_position_embeddings": 64, "hidden_size": 32, "vocab_size": 100}


def make(folder: Path) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.onnx").write_bytes(b"weights" * 1000)
    (folder / "generator").mkdir()
    (folder / "generator" / "config.json").write_text("{}")
    return {
        "target": "onnx",
        "architecture": "ElectraModel",
        "role": "encoder",
        "task": None,
        "labels": [],
        "limits": {"max_length": 64},
        "source": {"name": "x", "sha256": "0" * 64},
        "build": {"command": "electra build", "options": {}},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "built", make)
    return tmp_path / "built"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "built.zip", make)
    return tmp_path / "built.zip"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / "artefact.json").read_text())
    change(values)
    (folder / "artefact.json").write_text(json.dumps(values))


def pack(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in folder.rglob("*"):
            if path.is_file():
                out.write(path, prefix + str(path.relative_to(folder)))
    return archive


def test_folder_and_zip_hold_the_same(folder: Path, archive: Path, tmp_path: Path) -> None:
    one, other = open_artifact(folder), open_artifact(archive)
    assert one.manifest == other.manifest == read_manifest(folder) == read_manifest(archive)
    assert one.manifest["format"] == "electra-artefact" and one.manifest["version"] == 1 and one.manifest["measured"] == []
    assert sorted(one.manifest["files"]) == ["config.json", "generator/config.json", "model.onnx"]
    for name, entry in one.manifest["files"].items():
        content = (other.path / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"] and len(content) == entry["size_bytes"]
    assert one.has_generator and one.size_bytes == sum(entry["size_bytes"] for entry in one.manifest["files"].values())
    for path in (pack(folder, tmp_path / "again.zip"), pack(folder, tmp_path / "within.zip", "built/")):
        assert open_artifact(path).manifest == one.manifest
    where = other.path
    del other
    assert not where.exists(), "the unpacked copy outlives its artifact"


def test_two_builds_of_the_same_are_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "second.zip", make)
    assert archive.read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        make(folder)
        raise UserError("no")

    for name in ("built", "built.zip"):
        with pytest.raises(UserError):
            write_artifact(tmp_path / name, fail)
    assert list(tmp_path.iterdir()) == []


def test_what_is_an_artifact(folder: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    assert is_artifact(folder) and is_artifact(str(archive))
    assert not is_artifact(tmp_path / "text.txt") and not is_artifact(tmp_path) and not is_artifact("google/electra-small-discriminator")


def test_measurements_are_put_in_without_a_new_build(folder: Path, archive: Path) -> None:
    for path in (folder, archive):
        before = open_artifact(path).manifest
        write_measurements(path, [{"name": "x", "p50_ms": 1.5}])
        assert open_artifact(path).manifest == {**before, "measured": [{"name": "x", "p50_ms": 1.5}]}


# ---- hostile ----

FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "changed weights": (lambda p: (p / "model.onnx").write_bytes(b"Weights" + b"weights" * 999), "was changed since it was built"),
    "cut weights": (lambda p: (p / "model.onnx").write_bytes(b"weights"), "has 7 bytes, artefact.json lists 7,000"),
    "longer weights": (lambda p: (p / "model.onnx").write_bytes(b"weights" * 1001), "more than 7,000 bytes"),
    "a missing file": (lambda p: (p / "model.onnx").unlink(), "model.onnx is missing"),
    "a stranger": (lambda p: (p / "tokenizer.json").write_text("{}"), "'tokenizer.json', which is not in its artefact.json"),
    "no manifest": (lambda p: (p / "artefact.json").unlink(), "is not an artifact: it has no artefact.json"),
    "not JSON": (lambda p: (p / "artefact.json").write_text('{"format": '), "not valid JSON"),
    "deep JSON": (lambda p: (p / "artefact.json").write_text("[" * 100_000), "not valid JSON"),
    "not an object": (lambda p: (p / "artefact.json").write_text("[]"), "does not have format"),
    "another format": (lambda p: edit(p, lambda v: v.update(format="onnx-bundle")), "does not have format"),
    "a newer version": (lambda p: edit(p, lambda v: v.update(version=99)), "newer electra (artifact version 99"),
    "no version": (lambda p: edit(p, lambda v: v.update(version="1")), "version '1'"),
    "no files": (lambda p: edit(p, lambda v: v.pop("files")), "no usable 'files'"),
    "labels of another kind": (lambda p: edit(p, lambda v: v.update(labels="x")), "no usable 'labels'"),
    "no limit": (lambda p: edit(p, lambda v: v.update(limits={"max_length": True})), "max_length True"),
    "a name that climbs": (lambda p: edit(p, lambda v: v["files"].update({"../x": v["files"]["model.onnx"]})), "'../x', which no artifact has"),
    "a name from the root": (lambda p: edit(p, lambda v: v["files"].update({"/etc/passwd": v["files"]["model.onnx"]})), "'/etc/passwd'"),
    "a name of another system": (lambda p: edit(p, lambda v: v["files"].update({"..\\x": v["files"]["model.onnx"]})), "which no artifact has"),
    "itself": (lambda p: edit(p, lambda v: v["files"].update({"artefact.json": v["files"]["model.onnx"]})), "which no artifact has"),
    "no hash": (lambda p: edit(p, lambda v: v["files"].update({"model.onnx": {"size_bytes": 7000}})), "no usable size and sha256"),
    "a size below zero": (lambda p: edit(p, lambda v: v["files"]["model.onnx"].update(size_bytes=-1)), "no usable size and sha256"),
    "no settings": (lambda p: edit(p, lambda v: v["files"].pop("config.json")), "lists no config.json"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_artifact_is_refused_with_the_reason(name: str, zipped: bool, folder: Path, tmp_path: Path) -> None:
    break_it, message = FOLDERS[name]
    break_it(folder)
    path = pack(folder, tmp_path / "bad.zip") if zipped else folder
    with pytest.raises(UserError) as error:
        open_artifact(path)
    if zipped and name in ("cut weights", "longer weights"):
        message = "artefact.json lists 7,000"
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def with_entry(archive: Path, name: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(archive, "a", compression) as out:
        out.writestr(name, content)


@pytest.mark.parametrize("name", ["../climbed.txt", "/tmp/climbed.txt", "a/../../climbed.txt"])
def test_an_entry_that_climbs_out_of_a_zip_is_refused_and_nothing_written(name: str, archive: Path, tmp_path: Path) -> None:
    with_entry(archive, name, b"harm")
    with pytest.raises(UserError, match="is not in its"):
        open_artifact(archive)
    assert not (tmp_path.parent / "climbed.txt").exists() and not Path("/tmp/climbed.txt").exists()


def bomb(tmp_path: Path, size: int, declared: int) -> Path:
    """A .zip whose model.onnx is `size` zeros, its manifest saying `declared`."""
    write_artifact(tmp_path / "bomb", make)
    content = b"\0" * size
    (tmp_path / "bomb" / "model.onnx").write_bytes(content)
    entry = {"size_bytes": declared, "sha256": hashlib.sha256(content).hexdigest()}
    edit(tmp_path / "bomb", lambda values: values["files"].update({"model.onnx": entry}))
    return pack(tmp_path / "bomb", tmp_path / "bomb.zip")


@pytest.mark.parametrize("declared", [50_000_000, 7000])
def test_a_zip_bomb_is_not_unpacked(declared: int, tmp_path: Path) -> None:
    path = bomb(tmp_path, 50_000_000, declared)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="would unpack to 50,000,000 bytes"):
        open_artifact(path)


def test_a_bomb_that_lies_about_its_size_is_cut_short(tmp_path: Path) -> None:
    """Sizes in the archive itself are changed to those of the manifest: reading must still stop."""
    path = bomb(tmp_path, 5_000_000, 7000)
    data = bytearray(path.read_bytes())
    real, claimed = (5_000_000).to_bytes(4, "little"), (7000).to_bytes(4, "little")
    assert data.count(real) >= 2
    path.write_bytes(bytes(data).replace(real, claimed))
    with pytest.raises(UserError, match=r"model\.onnx"):
        open_artifact(path)


def test_a_bomb_of_a_manifest_is_not_read(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("artefact.json", b" " * (module.LARGEST_MANIFEST + 10))
    with pytest.raises(UserError, match="too many for a manifest"):
        open_artifact(tmp_path / "bomb.zip")


def test_thousands_of_entries_are_not_looked_at(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as out:
        for number in range(module.MOST_FILES + 1):
            out.writestr(f"f{number}", b"")
    with pytest.raises(UserError, match="more than any artifact"):
        open_artifact(tmp_path / "many.zip")


@pytest.mark.parametrize("cut", [10, 2000, 6000])
def test_a_cut_zip_is_named(cut: int, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"not a readable \.zip"):
        open_artifact(archive)


def test_a_damaged_zip_is_named(archive: Path) -> None:
    """One byte of the weights, which the archive's own checksum notices too."""
    data = bytearray(archive.read_bytes())
    data[data.index(b"weightsweights") + 20] ^= 1
    archive.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"model.onnx cannot be unpacked|was changed"):
        open_artifact(archive)


def test_another_zip_is_no_artifact(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as out:
        out.writestr("photo.txt", "x")
    with pytest.raises(UserError, match=r"is not an artifact: it has no artefact.json; make one with: electra build"):
        open_artifact(tmp_path / "photos.zip")
    with pytest.raises(UserError, match="not found"):
        open_artifact(tmp_path / "fotos.zip")


def test_an_encrypted_zip_is_named(archive: Path) -> None:
    """The flag alone: bit 0 of each header."""
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    archive.write_bytes(bytes(data))
    with pytest.raises(UserError, match="cannot be unpacked"):
        open_artifact(archive)


# ---- opened as a network ----


def test_what_an_artifact_lacks_is_refused(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match="no classifier head"):
        open_artifact_backend(folder, role="classifier")
    with pytest.raises(UserError, match="built for the CPU"):
        open_artifact_backend(folder, device="cuda")
    with pytest.raises(UserError, match="cannot be run by ONNX Runtime"):
        open_artifact_backend(folder)


def test_a_target_of_another_world_is_named(tmp_path: Path) -> None:
    write_artifact(tmp_path / "built", lambda folder: {**make(folder), "target": "tpu-v9"})
    with pytest.raises(UserError, match="no runtime here for artifacts of target 'tpu-v9'"):
        open_artifact_backend(tmp_path / "built")


@pytest.mark.parametrize("content", ["{}", "[]", '{"max_position_embeddings": 64, "hidden_size": "wide", "vocab_size": 3}'])
def test_settings_that_are_none_are_named(content: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")

    def other(folder: Path) -> dict[str, Any]:
        values = make(folder)
        (folder / "config.json").write_text(content)
        return values

    write_artifact(tmp_path / "built", other)
    with pytest.raises(UserError, match=r"config.json"):
        open_artifact_backend(tmp_path / "built")


def test_a_full_disk_while_unpacking_is_reported(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream: io.BytesIO, entry: Any, where: str, copy: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_checked", full)
    with pytest.raises(UserError, match="No space left"):
        open_artifact(archive)


def test_a_folder_copied_file_by_file_still_opens(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / ".DS_Store").write_bytes(b"x")
    assert open_artifact(tmp_path / "copy").role == "encoder"


def test_an_artifact_of_a_removed_target_is_inspected_but_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, lambda values: values.update(target="torch-export"))
    (folder.parent / "texts.txt").write_text("the chef\n", encoding="utf-8")
    assert main(["embed", str(folder), str(folder.parent / "texts.txt"), "--output", str(folder.parent / "vectors.npy")]) == 2
    assert capsys.readouterr().err == (
        f"electra: {folder} was built for target 'torch-export', which was removed; "
        "build it again: electra build CHECKPOINT --target onnx --output ARTIFACT\n"
    )
    assert not (folder.parent / "vectors.npy").exists()
    assert main(["inspect", str(folder)]) == 0
    assert "torch-export" in capsys.readouterr().out
    with pytest.raises(UserError, match="target 'torch-export' was removed"):
        target("torch-export")

"""Shard folders of an object store: fetched once into a local cache and mapped there; made locally, then uploaded.

    CACHE/shards/NAME-KEY/       a whole copy; KEY is the hash of its manifest, which holds the hashes of all its arrays
    CACHE/shards/NAME-KEY.part/  a copy being fetched; files that are whole are not fetched again
    CACHE/prepare/NAME-KEY/      a folder being made by `electra prepare --output URL`; KEY is the hash of the URL

CACHE is `remote.cache_folder()`. A lock beside each lets one process work while others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import disk, remote
from electra.data.progress import Progress
from electra.data.sources import Report
from electra.errors import UserError

if TYPE_CHECKING:
    from electra.data.shards import Shards

MANIFEST = "manifest.json"
CHANGE_PLACE = "the environment variable ELECTRA_CACHE names another place"


def _place(kind: str, url: str, key: bytes) -> Path:
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in url.rstrip("/").rpartition("/")[2])[:60]
    return remote.cache_folder() / kind / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One process of this machine at a time; the system takes the lock back from one that was killed."""
    lock = place.with_name(place.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise UserError(f"cannot write the cache {lock.parent}: {error.strerror or error}; {CHANGE_PLACE}") from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(url: str) -> bytes:
    """The manifest of a store's shard folder.

    Raises:
        UserError: there is none.
    """
    if not remote.exists(remote.join(url, MANIFEST)):
        found = "it is not finished, or no shard folder" if remote.exists(url) else "nothing is there"
        raise UserError(f"shard folder not found: {url} ({found}: no {MANIFEST}); make one with 'electra prepare --output {url}'")
    return remote.read_bytes(remote.join(url, MANIFEST))


def expected_hashes(manifest: bytes, url: str) -> dict[str, str]:
    """A manifest -> sha256 of each array, by its path below the folder.

    Raises:
        UserError: it is no manifest.
    """
    try:
        splits = json.loads(manifest)["splits"]
        return {f"{name}/{array}.npy": str(value) for name, facts in splits.items() for array, value in facts["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{url}/{MANIFEST} is not the manifest of a shard folder; make one with 'electra prepare'") from None


# ---- down ----


def fetch_shards(url: str) -> Path:
    """A shard folder of a store -> its copy in the cache, whole and checked by the manifest's hashes.

    Raises:
        UserError: nothing there, no access, no room, or a file that differs from its hash.
    """
    manifest = read_manifest(url)
    place = _place("shards", url, manifest)
    if (place / MANIFEST).is_file():
        return place
    with _locked(place):
        if not (place / MANIFEST).is_file():
            _fetch(url, manifest, place)
    return place


def _fetch(url: str, manifest: bytes, place: Path) -> None:
    hashes = expected_hashes(manifest, url)
    system, _, files = remote.list_files(url, "shard folder")
    names = [*hashes, *sorted(name for name in files if name.startswith("tokenizer/") and ".." not in name.split("/"))]
    if missing := [name for name in names if name not in files]:
        raise UserError(f"{url} has no {missing[0]}, its manifest names it; run 'electra prepare' again")
    part = place.with_name(place.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    report = Report(total_bytes=sum(files[name][1] for name in names))
    free, needed = shutil.disk_usage(part).free, report.total_bytes or 0
    if needed > free + sum(f.stat().st_size for f in part.rglob("*") if f.is_file()):
        raise UserError(f"{url} needs {needed / 1e9:.1f} GB, the cache {part.parent} has {free / 1e9:.1f} GB free; {CHANGE_PLACE}")
    print(f"fetching {url} ({needed / 1e6:,.1f} MB) to {place}; {CHANGE_PLACE}", file=sys.stderr)
    with Progress(report, f"fetching {url}") as progress:
        for name in names:
            target = part / name
            if not (name in hashes and target.is_file() and _sha256(target) == hashes[name]):
                remote.download(system, files[name][0], target, f"{url}/{name}")
                if name in hashes and (found := _sha256(target)) != hashes[name]:
                    target.unlink()
                    raise UserError(f"{url}/{name} is damaged: its hash is {found[:12]}, the manifest says {hashes[name][:12]}; prepare it again")
            report.done_bytes += files[name][1]
            report.text_bytes += files[name][1]
            progress.update()
    _check_tokenizer(part, manifest, url)
    (part / MANIFEST).write_bytes(manifest)
    disk.replace_folder(part, place)


def _check_tokenizer(folder: Path, manifest: bytes, url: str) -> None:
    """The manifest knows the tokenizer by its fingerprint."""
    from electra.data.tokenizer import load_tokenizer

    if load_tokenizer(folder / "tokenizer").fingerprint != json.loads(manifest)["tokenizer"]["fingerprint"]:
        shutil.rmtree(folder / "tokenizer")
        raise UserError(f"{url}/tokenizer is not the one the shards were made with; prepare them again")


# ---- up ----


def make_shards(output: str | Path, make: Callable[[Path], Shards]) -> Shards:
    """Make shards in a local folder; for a URL in the cache, then upload them, the manifest last, and keep the copy as a fetched one.

    Raises:
        UserError: finished shards or something else are there already, or the store cannot be written.
    """
    if not remote.is_url(output):
        return make(Path(output))
    url = str(output)
    place = _place("prepare", url, url.encode())
    with _locked(place):
        if remote.exists(remote.join(url, MANIFEST)):
            raise UserError(f"{url} already holds finished shards; choose another --output, or delete it first")
        if not place.exists():
            remote.fresh_output(url, remedy="choose another --output")
            print(f"making {url} in {place}, then uploading; {CHANGE_PLACE}", file=sys.stderr)
        # Made before and not yet uploaded whole: `make` would refuse it.
        shards = _open(place) if (place / MANIFEST).is_file() else make(place)
        return _open(_publish(place, url, shards.manifest))


def _open(folder: Path) -> Shards:
    from electra.data.shards import open_shards

    return open_shards(folder)


def _publish(place: Path, url: str, manifest: dict[str, Any]) -> Path:
    """A finished folder -> the store -> its place among the fetched copies."""
    note = place / "uploaded.json"
    done: list[str] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else []
    content = (place / MANIFEST).read_bytes()
    files = [*expected_hashes(content, url), *sorted(f"tokenizer/{file.name}" for file in (place / "tokenizer").iterdir())]
    report = Report(total_bytes=sum((place / name).stat().st_size for name in files))
    with Progress(report, f"uploading {url}") as progress:
        for name in files:
            if name not in done:
                remote.upload(place / name, remote.join(url, name))
                disk.write_text(note, json.dumps(done := [*done, name]))
            report.done_bytes += (place / name).stat().st_size
            report.text_bytes += (place / name).stat().st_size
            progress.update()
    remote.upload(place / MANIFEST, remote.join(url, MANIFEST))
    note.unlink(missing_ok=True)
    final = _place("shards", url, content)
    with _locked(final):
        if final.exists():
            shutil.rmtree(place)
        else:
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(place, final)
    return final

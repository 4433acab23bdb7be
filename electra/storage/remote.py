"""URLs of object stores (s3://, gs://, memory://, anything fsspec knows) -> files. fsspec is imported only if a URL is given.

Access is configured as for each store's own tools: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL and so on for s3://.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from electra.errors import EXTRAS, UserError, did_you_mean, install_line, require
from electra.storage import atomic

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
READ_AHEAD_BYTES = 8 << 20
WAITS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each repetition of a request that was throttled or lost its connection."""
THROTTLED = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status of a request that may succeed later."""
LOST = (errno.EBUSY, errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH)
LOST_NAMES = {"ClientConnectionError", "ClientPayloadError", "HTTPClientError", "IncompleteRead", "ChunkedEncodingError", "Timeout"}
"""Classes of aiohttp, botocore, http.client and requests for a lost connection, which have no base in common."""

Result = TypeVar("Result")


def is_url(name: object) -> bool:
    """Whether a name is a URL rather than a local path (or `hf:NAME`)."""
    return isinstance(name, str) and bool(URL.match(name))


def join(folder: str | Path, name: str) -> str:
    """The address of a file in a folder, both local or both of a store."""
    return f"{folder.rstrip('/')}/{name}" if isinstance(folder, str) and is_url(folder) else str(Path(folder, name))


def store(url: str) -> tuple[Any, str]:
    """A URL -> (its fsspec file system, the path in it).

    Raises:
        UserError: an unknown protocol, or one whose package is not installed.
    """
    fsspec = require("fsspec.core", "remote")
    protocol = re.split("://|::", url)[0]
    try:
        system, path = fsspec.url_to_fs(url)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or getattr(error, "name", None)
        package = str(missing).split(".")[0] if missing else ""
        line = install_line(EXTRAS[package]) if package in EXTRAS else f"pip install {package}" if package else str(error)
        raise UserError(f"{protocol}:// needs the package '{package}': {line}") from None
    except ValueError as error:
        known = require("fsspec.registry", "remote").known_implementations
        if protocol in known:
            raise UserError(f"{url}: {_reason(error)}; check the address") from None
        raise UserError(f"{url}: unknown protocol '{protocol}'; {did_you_mean(protocol, known)}") from None
    return system, str(path)


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_passing(error: BaseException) -> bool:
    """Whether an error may not come again: a lost connection, a time-out, throttling."""
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False
    response = getattr(error, "response", None)
    facts = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    found = (*(getattr(error, name, None) for name in ("status", "code")), getattr(response, "status_code", None), facts.get("HTTPStatusCode"))
    if any(str(status) in map(str, THROTTLED) for status in found):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in LOST or bool(names & LOST_NAMES)


def retried(request: Callable[[], Result]) -> Result:
    """A request that may be made twice -> its result; made again after longer and longer waits while it is throttled or the connection is lost."""
    for wait in WAITS:
        try:
            return request()
        except Exception as error:
            if not _is_passing(error):
                raise
            # Processes that were throttled together come back apart; the generator of the run's seed is left alone.
            time.sleep(wait * random.SystemRandom().uniform(0.5, 1.0))
    return request()


@contextmanager
def store_errors(url: str, what: str = "file") -> Iterator[None]:
    """Any error of a store -> one line. Each store has its own classes for no access, no network, no bucket.

    Raises:
        UserError: the URL and the store's reason.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except FileNotFoundError:
        raise UserError(f"{what} not found: {url}; check the address") from None
    except PermissionError as error:
        raise UserError(f"{url}: no access ({_reason(error)}); check your credentials for this store") from None
    except Exception as error:
        raise UserError(f"{url}: {type(error).__name__}: {_reason(error)}; check address and network, then run the same again") from None


class _RemoteFile(io.RawIOBase):
    """A file in a store. An error of the store ends the work; as a damaged file, its beginning would be kept."""

    def __init__(self, file: Any, url: str) -> None:
        self._file = file
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with store_errors(self._url):
            position = self._file.tell()

            def read() -> bytes:
                if self._file.tell() != position:
                    self._file.seek(position)
                return bytes(self._file.read(len(buffer)))

            block = retried(read)
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = 0) -> int:
        with store_errors(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_stream(system: Any, path: str, url: str) -> BinaryIO:
    """A file in a store as a stream, read ahead in blocks of 8 MB."""
    with store_errors(url):
        file = retried(lambda: system.open(path, "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead"))
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(file, url), 1 << 16))


def list_files(url: str, what: str = "folder") -> tuple[Any, str, dict[str, tuple[str, int]]]:
    """A file or folder in a store -> (file system, path, {relative path: (whole path, bytes)}), in the order a local folder is read.

    A single file has the relative path ''.

    Raises:
        UserError: nothing there, or no access.
    """
    system, path = store(url)
    with store_errors(url, what):
        system.invalidate_cache()  # another process may have written
        found = retried(lambda: system.find(path, detail=True))
        if not found:
            raise FileNotFoundError
    base = path.rstrip("/")
    out = {}
    for full, facts in found.items():
        if full.rstrip("/") == base and facts.get("type") != "directory" and not url.endswith("/"):
            return system, path, {"": (full, int(facts.get("size") or 0))}
        below = full[len(base) :].lstrip("/")
        if below and facts.get("type") != "directory" and not full.endswith("/"):
            out[below] = (full, int(facts.get("size") or 0))
    return system, path, dict(sorted(out.items(), key=lambda item: _walking_order(item[0])))


def _walking_order(name: str) -> list[tuple[bool, str]]:
    """Sort key of `os.walk`: the files of a folder before its subfolders."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


def exists(url: str) -> bool:
    """Whether a file or a non-empty folder exists."""
    system, path = store(url)
    with store_errors(url):
        system.invalidate_cache()
        return bool(retried(lambda: system.exists(path)))


def version(url: str) -> str:
    """A string that changes when the file does, from what the store reports (etag, time, size)."""
    system, path = store(url)
    with store_errors(url):
        if url.partition(":")[0] in ("http", "https"):  # fsspec takes files of web servers for unchanging
            system.invalidate_cache()
            facts = retried(lambda: system.info(path))
            known = {name: facts[name] for name in ("ETag", "Last-Modified", "Content-MD5", "Digest") if facts.get(name)}
            return repr([*sorted(known.items()), facts.get("size")]) if known else f"{facts.get('size')} {time.time_ns()}"
        return str(retried(lambda: system.ukey(path)))


def read_bytes(url: str, what: str = "file") -> bytes:
    """The content of a small file."""
    system, path = store(url)
    with store_errors(url, what):
        return bytes(retried(lambda: system.cat_file(path)))


def write_bytes(target: str | Path, content: bytes) -> None:
    """Write a local file (atomically) or one of a store (where objects appear whole)."""
    if not is_url(target):
        atomic.write_bytes(target, content)
        return
    system, path = store(str(target))
    with store_errors(str(target)):
        retried(lambda: system.pipe_file(path, content))


def write_text(target: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(target, text.encode("utf-8"))


def file_sizes(folder: str) -> dict[str, int]:
    """A folder, local or in a store -> {relative path: bytes} of its files; empty where nothing is there.

    Raises:
        UserError: it is a file, or there is no access.
    """
    if not is_url(folder):
        place = Path(folder)
        if place.exists() and not place.is_dir():
            raise UserError(f"{folder} is not a folder; choose another path")
        return {file.relative_to(place).as_posix(): file.stat().st_size for file in place.rglob("*") if file.is_file()}
    if not exists(folder):
        return {}
    files = list_files(folder)[2]
    if "" in files:
        raise UserError(f"{folder} is a file, not a folder; choose another address")
    return {below: size for below, (_, size) in files.items()}


def read_files(folder: str, names: Sequence[str]) -> list[bytes]:
    """The contents of small files of a folder, local or in a store; of a store several at a time."""
    if not is_url(folder):
        return [Path(folder, name).read_bytes() for name in names]
    system, path = store(folder)
    paths = [f"{path.rstrip('/')}/{name}" for name in names]
    with store_errors(folder):
        found = retried(lambda: system.cat(paths)) if paths else {}
    return [bytes(found[each]) for each in paths]


def remove_files(folder: str, names: Sequence[str]) -> None:
    """Remove files of a folder, local or in a store; a folder in a local one that has no more files goes with them."""
    if is_url(folder):
        system, path = store(folder)
        with store_errors(folder):
            retried(lambda: system.rm([f"{path.rstrip('/')}/{name}" for name in names]) if names else None)
        return
    for file in (Path(folder, name) for name in names):
        file.unlink(missing_ok=True)
        if file.parent != Path(folder) and not any(file.parent.iterdir()):
            file.parent.rmdir()


def download(system: Any, path: str, target: Path, url: str) -> None:
    """A file in a store -> a local file, atomically."""
    with atomic.atomic_file(target) as temporary, store_errors(url):
        retried(lambda: system.get_file(path, str(temporary)))


def upload(file: Path, url: str) -> None:
    """A local file -> a file in a store."""
    system, path = store(url)
    with store_errors(url):
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        retried(lambda: system.put_file(str(file), path))


def fresh_output(target: str | Path, *, remedy: str) -> None:
    """Check that a target, local or in a store, does not exist, so that nothing is overwritten.

    Raises:
        UserError: it exists; the message ends with `remedy`.
    """
    if not is_url(target):
        atomic.fresh_output(target, remedy=remedy)
    elif exists(str(target)):
        raise UserError(f"{target} already exists; {remedy}")


@contextmanager
def made_locally(target: str | Path) -> Iterator[Path]:
    """A temporary folder to fill: on success it becomes `target`, or its files are uploaded to it."""
    if not is_url(target):
        with atomic.atomic_folder(target) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)
        for file in sorted(p for p in Path(name).rglob("*") if p.is_file()):
            upload(file, join(str(target), file.relative_to(name).as_posix()))


@contextmanager
def local_copy(url: str, names: tuple[str, ...], what: str) -> Iterator[Path]:
    """A temporary folder with the files of a store's folder that are among `names` (or the one file that the URL names)."""
    system, _, files = list_files(url, what)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for below, (full, _) in files.items():
            name = below or full.rpartition("/")[2]
            if name in names or not below:
                download(system, full, Path(folder, name), url)
        yield Path(folder)


def fetched(url: str, names: Sequence[str], what: str) -> Path:
    """The files `names` of a store's folder -> a folder in the cache that holds them, downloaded again if one has changed."""
    system, base = store(url)
    versions = {name: version(join(url, name)) for name in names}
    key = hashlib.sha256(repr((url.rstrip("/"), sorted(versions.items()))).encode()).hexdigest()[:16]
    folder = cache_folder() / "checkpoints" / f"{url.rstrip('/').rpartition('/')[2]}-{key}"
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write the cache {folder.parent}: {error.strerror or error}; set ELECTRA_CACHE to use another folder") from None
        with atomic.atomic_folder(folder) as temporary:
            for name in names:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                download(system, f"{base.rstrip('/')}/{name}", temporary / name, f"{url}: {what}")
    return folder


def cache_folder() -> Path:
    """The folder for copies of remote files: $ELECTRA_CACHE, else $XDG_CACHE_HOME/electra, else ~/.cache/electra."""
    if folder := os.environ.get("ELECTRA_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "electra"

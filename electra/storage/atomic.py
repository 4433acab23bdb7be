"""Files and folders written atomically, and checks of paths.

A file is written under a temporary name in its folder, flushed to disk, then renamed to its target; a folder likewise. So no reader, and
no run killed at any moment, ever sees a partial one.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from electra.errors import NO_SPACE_LEFT, UserError, is_full, parse_json, place_of, raise_if_device, shortened, system_error, system_reason


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


FULL_BYTES = 1 << 16
"""A disk with less free space counts as full."""


class CannotWrite(UserError):
    """A file or folder could not be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}")
        self.path, self.reason = path, reason


@contextmanager
def writing(path: Path, temporary: Path) -> Iterator[None]:
    """A failure to write `path`, under its temporary name, however a library reports it -> one line that names the place.

    An error with another file, such as one that is read meanwhile, is left as it is.

    Raises:
        UserError: the disk is full, a permission is missing, or the device fails.
    """
    try:
        yield
    except CannotWrite as error:
        if temporary in error.path.parents:
            raise CannotWrite(path, error.reason) from None  # the outer folder's name, not a temporary one
        raise
    except UserError:
        raise
    except Exception as error:
        named = isinstance(error, OSError) and error.filename is not None
        place = Path(place_of(error) or path)
        inside = place in (path, path.parent) or temporary in (place, *place.parents)
        if not named and (is_full(error) or shutil.disk_usage(path.parent).free < FULL_BYTES):
            raise CannotWrite(path, NO_SPACE_LEFT) from None
        # numpy reports a short write without a number.
        if not inside or (system_error(error) is None and not (isinstance(error, OSError) and "requested and" in str(error))):
            raise
        raise CannotWrite(path, system_reason(error)) from None


def _begun(path: Path, make: Callable[[], str]) -> Path:
    """The temporary file or folder next to `path`, by `make`.

    Raises:
        UserError: the folder above cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(make())
    except OSError as error:
        reason = NO_SPACE_LEFT if is_full(error) else f"{error.strerror or error}; choose another path"
        raise CannotWrite(path, reason) from None


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it becomes `path`, on failure it is removed.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is a {'folder' if path.is_dir() else 'device'}; choose another path")

    def make() -> str:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
        return name

    temporary = _begun(path, make)
    try:
        with writing(path, temporary):
            yield temporary
            os.chmod(temporary, 0o644)  # mkstemp's is 0o600
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; on success it becomes `path`, replacing any existing one.

    Raises:
        UserError: the parent folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"cannot write {path}: it is a {'file' if path.is_file() else 'device'}; choose another path")
    temporary = _begun(path, lambda: tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        with writing(path, temporary):
            os.chmod(temporary, 0o755)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            _sync(temporary)
            replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix in (".part", ".old")


def remove_partial(*folders: Path) -> None:
    """Remove the temporary files and folders that killed processes left in these folders."""
    for path in [path for folder in folders if folder.is_dir() for path in folder.iterdir() if _is_partial(path)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target`; an existing target is moved away first, then removed, or put back where that fails."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".old"))
        try:
            os.replace(target, aside / target.name)
            os.replace(source, target)
        except OSError:
            if not target.exists():
                os.replace(aside / target.name, target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(source, target)
    _sync(target.parent)


def sha256(path: Path | str) -> str:
    """Hex digest of a file's content."""
    import hashlib  # loads OpenSSL, which `--help` does not need

    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_terminal(path: Path) -> bool:
    """Whether a character device is a terminal, such as /dev/stdin without redirection."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def existing_path(path: Path | str, what: str) -> Path:
    """`path` if it exists.

    Raises:
        UserError: it does not, and the message names what was expected and a similar name; or it is a device, a pipe or a socket.
    """
    from electra.errors import did_you_mean

    path = Path(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not path.samefile(os.devnull) and not _is_terminal(path)):
            raise UserError(f"{path} is a device, not a file; give a file")
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            # A file is read more than once (its kind first), and opening a pipe that nobody writes would wait for ever.
            raise UserError(
                f"{path} is a {'pipe' if stat.S_ISFIFO(mode) else 'socket'}, not a file; give a file, or - and the text on standard input"
            )
        return path
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{what}: {shortened(str(path))}: {error.strerror}; check the path") from None  # type: ignore[union-attr]
    hint = "check the path"
    if path.parent.is_dir() and (names := [p.name for p in path.parent.iterdir() if not p.name.startswith(".")]):
        guess = did_you_mean(path.name, names)
        hint = guess if guess.startswith("did") else hint
    raise UserError(f"{what} not found: {path}; {hint}")


BROKEN_PACKED = (
    *(OSError, ValueError, LookupError, EOFError, TypeError, MemoryError, OverflowError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""What `zipfile` and numpy raise for damaged .zip, .npz and .npy files (MemoryError: a header that declares more values than fit)."""


def read_json(path: Path, kind: type = object) -> Any:
    """The value in a JSON file; `kind` is the type that it must have, dict or list.

    Raises:
        UserError: it cannot be read, is not JSON, or another value.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise_if_device(error)
        raise UserError(f"{path} is not valid JSON ({error}); it is damaged or incomplete") from None
    if not isinstance(value, kind):
        raise UserError(f"{path}: expected a JSON {'list' if kind is list else 'object'}, found {str(value)[:40]!r}; it is damaged")
    return value


def fresh_output(path: Path | str, *, remedy: str) -> Path:
    """`path` if it does not exist or is an empty folder, so that nothing is overwritten, and can be made, so that no work is lost at the end.

    What a process that was killed at once left there is removed.

    Raises:
        UserError: it exists, be it a device or a dangling link (the message ends with `remedy`), or a folder above it is a file or cannot be written.
    """
    path = Path(path)
    if path.is_dir() and all(map(_is_partial, path.iterdir())):
        remove_partial(path)
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} already exists; {remedy}")
    return writable(path)


def writable(path: Path) -> Path:
    """`path` if it can be made.

    Raises:
        UserError: a folder above it is a file or cannot be written.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    below = next((folder for folder in path.absolute().parents if folder.parent == above), above)
    if not above.is_dir() or os.path.lexists(below) > below.exists():
        raise UserError(f"cannot write {path}: {above if below.exists() else below} is not a folder; choose another path")
    try:
        os.rmdir(tempfile.mkdtemp(dir=above, prefix=".electra.", suffix=".part"))
    except OSError as error:
        # os.access returns True for root even in /proc, so a folder is created to find out.
        raise UserError(f"cannot write {path}: {above} is not writable ({error.strerror}); choose another path") from None
    return path


@contextmanager
def new_folder(path: Path | str, *, keep: Callable[[], bool]) -> Iterator[None]:
    """Remove what the block wrote to `path` if it fails before there is anything to `keep`, so that the corrected command finds the place free.

    A folder that holds something already is left alone.
    """
    path = Path(path)
    existed = path.is_dir()
    empty = not existed or not any(path.iterdir())
    try:
        yield
    except BaseException:
        if empty and path.is_dir() and not keep():
            for entry in path.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)
            if not existed:
                path.rmdir()
        raise

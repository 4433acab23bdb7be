"""Files and folders written atomically, and checks of paths.

A file is written under a temporary name in its folder, flushed to disk, then renamed to its target; a folder likewise. So no reader, and
no run killed at any moment, ever sees a partial one.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from electra.errors import NO_SPACE, UserError, shortened


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


NO_SPACE_TEXTS = ("No space left", "quota exceeded", "File too large")
FULL_BYTES = 1 << 16
"""A disk with less free space counts as full."""


class DiskFull(UserError):
    """Nothing more can be written at a place."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"cannot write {path}: no space left on its disk; free some, then run the command again (runs continue with --resume)")


@contextmanager
def named_full_disk(path: Path) -> Iterator[None]:
    """A failure to write because the disk is full, however a library reports it -> one line that names the place.

    Raises:
        UserError: the disk of `path` is full.
    """
    try:
        yield
    except DiskFull as error:
        raise DiskFull(path) from error.__cause__  # the outer folder's name, not a temporary one
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # safetensors, torch and numpy raise errors of their own, without a number.
        named = number in NO_SPACE or any(text in str(error) for text in NO_SPACE_TEXTS)
        if not named and shutil.disk_usage(path.parent).free >= FULL_BYTES:
            raise
        raise DiskFull(path) from None


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it becomes `path`, on failure it is removed.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is a {'folder' if path.is_dir() else 'device'}; choose another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
        os.chmod(name, 0o644)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another path") from None
    temporary = Path(name)
    try:
        with named_full_disk(path):
            yield temporary
            os.chmod(temporary, 0o644)  # a writer may have replaced the file
            _sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        os.chmod(temporary, 0o755)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another path") from None
    try:
        with named_full_disk(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            _sync(temporary)
            replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target`; an existing target is moved away first, then removed."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".old"))
        os.replace(target, aside / target.name)
        os.replace(source, target)
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
        UserError: it does not, and the message names what was expected and a similar name; or it is a device.
    """
    from electra.errors import did_you_mean

    path = Path(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not path.samefile(os.devnull) and not _is_terminal(path)):
            raise UserError(f"{path} is a device, not a file; give a file")
        return path
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{what}: {shortened(str(path))}: {error.strerror}; check the path") from None  # type: ignore[union-attr]
    hint = "check the path"
    if path.parent.is_dir() and (names := [p.name for p in path.parent.iterdir() if not p.name.startswith(".")]):
        guess = did_you_mean(path.name, names)
        hint = guess if guess.startswith("did") else hint
    raise UserError(f"{what} not found: {path}; {hint}")


def fresh_output(path: Path | str, *, remedy: str) -> Path:
    """`path` if it does not exist or is an empty folder, so that nothing is overwritten, and can be made, so that no work is lost at the end.

    Raises:
        UserError: it exists, be it a device or a dangling link (the message ends with `remedy`), or a folder above it is a file or cannot be written.
    """
    path = Path(path)
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

"""Mistakes of the user, reported in one line: the value, the place, the remedy.

Everything here is raised as `UserError`; `electra.cli` prints it as one line and leaves with exit code 2.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any


class UserError(Exception):
    """A mistake in what was given to us. The message is one line that names the value, the place and the remedy."""


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a quota, and a limit on a file's size."""
NO_SPACE_TEXTS = ("No space left", "quota exceeded", "File too large")
NO_SPACE_LEFT = "no space left on its disk; free some, then run the command again (runs continue with --resume)"
LESS_MEMORY = (
    "free memory, or give less work at once: a smaller --batch-size (with --accumulation an update stays the same), a shorter --max-length or "
    "--sequence-length, --precision bf16, --moments bf16"
)
NO_MEMORY_TEXTS = ("allocate memory", "not enough memory", "out of memory", "bad_alloc", "bad allocation", "Failed to allocate", "NotEnoughMemory")
"""What PyTorch, ONNX Runtime and OpenVINO say, in errors without a number."""


def shortened(text: str, longest: int = 200) -> str:
    """A text for a message: at most `longest` characters, "..." in the place of the middle."""
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-(longest // 3) :]}"


def system_error(error: BaseException) -> int | None:
    """The number of the system's error, which safetensors and tokenizers have in their text alone; None for any other error."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


DEVICE = (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV)
"""Error numbers that say nothing about a file's content."""


def raise_if_device(error: BaseException, *, permissions: bool = True) -> None:
    """Raise a system error again that comes from the device, the machine or a missing permission: what cannot be read now is not damaged or absent.

    Raises:
        Exception: `error` itself.
    """
    if system_error(error) in (*DEVICE, *((errno.EACCES, errno.EPERM) if permissions else ())):
        raise error


def is_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be written, however a library reports it."""
    return system_error(error) in NO_SPACE or any(text in str(error) for text in NO_SPACE_TEXTS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a device, is used up."""
    if isinstance(error, MemoryError) or system_error(error) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY_TEXTS)


def place_of(error: BaseException) -> str | None:
    """The file that a system error is about; None if unknown.

    The system does not name the file of a failed read or write: then it is the open file or path in the innermost call that has one.
    """
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes, os.PathLike)):
        return os.fsdecode(error.filename)
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        values = list(frame.f_locals.values())
        names = [name for value in values if isinstance(value, io.IOBase) and isinstance(name := getattr(value, "name", None), str)]
        if names or any(isinstance(value, Path) for value in values):
            return names[-1] if names else str(next(value for value in values if isinstance(value, Path)))
    return None


def system_reason(error: BaseException) -> str:
    """A system error -> its reason and the remedy, the end of an error line."""
    if is_full(error):
        return NO_SPACE_LEFT
    number = system_error(error)
    reason = os.strerror(number) if number is not None else shortened(str(error))
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{reason}; check the path and its permissions"
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{reason}; raise the limit (ulimit -n)"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY):
        return f"{reason}; check the path"
    return f"{reason}; check its disk, then run the command again (runs continue with --resume)"


def failure_line(error: BaseException) -> str | None:
    """A failure of the machine (a disk, a permission, memory) that no command foresaw -> its line; None for any other error."""
    place = place_of(error)
    if is_out_of_memory(error):
        words = str(error).strip().splitlines()
        needed = re.search(r"tried to allocate ([\d.]+ ?\w+)", words[0] if words else "")
        where = f"{shortened(place)}: " if place and system_error(error) is not None else ""
        return f"{where}out of memory{f' ({needed[0]})' if needed else ''}; {LESS_MEMORY}, then run the command again (runs continue with --resume)"
    if system_error(error) is None or (place is None and not is_full(error)):
        return None
    return f"{shortened(place)}: {system_reason(error)}" if place else system_reason(error)


def parse_json(text: str | bytes) -> Any:
    """`json.loads` of text from elsewhere: what is nested too deeply is a ValueError too, as all other text that is not JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error line for an unknown `name`: the nearest known name, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    if near:
        match = next(n for n in names if n.lower() == near[0])
        return f"did you mean '{match}'?"
    return "known: " + ", ".join(names)


EXTRAS = {"torch": "train", "sklearn": "train", "scipy": "train", "tensorboard": "train", "google_crc32c": "train"}
EXTRAS |= {"pyarrow": "data", "datasets": "data", "zstandard": "data", "rjieba": "data"}
EXTRAS |= {"trackio": "trackio", "mlflow": "mlflow", "wandb": "wandb"}
EXTRAS |= {"fsspec": "remote", "s3fs": "remote", "ray": "ray"}
EXTRAS |= {
    "onnxruntime": "runtime",
    "matplotlib": "runtime",
    "openvino": "openvino",
    "onnx": "build",
    "onnxscript": "build",
    "nncf": "build",
}
EXTRAS |= {"bm25s": "search", "ir_measures": "search", "faiss": "search"}
EXTRAS |= {"fastapi": "serve", "uvicorn": "serve", "prometheus_client": "serve"}


def install_line(extra: str) -> str:
    """The line that installs an extra. The package is not published, so it installs from a clone and not from an index."""
    return f"pip install -e '.[{extra}]' in the clone of electra"


def missing_package(module: str, extra: str | None = None) -> UserError:
    """The error for an optional package that is not installed; without `extra`, the one that `EXTRAS` names."""
    package = module.split(".")[0]
    extra = extra or EXTRAS[package]
    return UserError(f"this needs the package '{package}' of the extra '{extra}': {install_line(extra)}")


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise the error with the line that installs it.

    Raises:
        UserError: the package is not installed.
    """
    # OpenVINO and NNCF report what is done with them unless this package is missing; nothing here touches the network unasked.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise missing_package(module, extra) from None

"""Mistakes of the user, reported in one line: the value, the place, the remedy.

Everything here is raised as `UserError`; `electra.cli` prints it as one line and leaves with exit code 2.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
from collections.abc import Iterable
from types import ModuleType


class UserError(Exception):
    """A mistake in what was given to us. The message is one line that names the value, the place and the remedy."""


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a quota, and a limit on a file's size."""


def shortened(text: str, longest: int = 200) -> str:
    """A text for a message: at most `longest` characters, "..." in the place of the middle."""
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-(longest // 3) :]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error line for an unknown `name`: the nearest known name, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    if near:
        match = next(n for n in names if n.lower() == near[0])
        return f"did you mean '{match}'?"
    return "known: " + ", ".join(names)


EXTRAS = {"torch": "train", "sklearn": "train", "scipy": "train", "tensorboard": "train", "google_crc32c": "train"}
EXTRAS |= {"pyarrow": "data", "datasets": "data", "zstandard": "data", "rjieba": "data", "wandb": "wandb"}
EXTRAS |= {"fsspec": "remote", "s3fs": "remote", "ray": "ray"}
EXTRAS |= {
    "onnxruntime": "runtime",
    "psutil": "runtime",
    "matplotlib": "runtime",
    "openvino": "openvino",
    "onnx": "build",
    "onnxscript": "build",
    "nncf": "build",
}
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

"""Whether native code in an artefact may run: only where the user said so.

Most artefacts are data: weights and a graph of known operations, read by a runtime that refuses the rest. One of target 'torch-export' is a
compiled library. Hashes say that it is whole, not who made it; loading it is running a program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from electra.errors import UserError

VARIABLE = "ELECTRA_TRUST"
"""Environment variable: '1' lets native code of artefacts run, in this process and in those it starts."""


def is_trusting() -> bool:
    """Whether native code may run."""
    return os.environ.get(VARIABLE, "") == "1"


def require_trust(name: str) -> None:
    """Nothing, when native code may run.

    Raises:
        UserError: it may not; the flag is part of the message.
    """
    if not is_trusting():
        raise UserError(
            f"{name} holds native code (target torch-export), which would run with your rights; "
            f"if you trust who built it: electra --trust COMMAND ..., or {VARIABLE}=1"
        )


def trust() -> None:
    """Let native code run from now on."""
    os.environ[VARIABLE] = "1"


@contextmanager
def trusting() -> Iterator[None]:
    """Let native code run meanwhile: for what was built a moment ago."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before

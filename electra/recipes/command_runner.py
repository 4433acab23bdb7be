"""Commands run as typed, and stopped by signals."""

from __future__ import annotations

import contextlib
import importlib
import io
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from electra import settings as all_settings
from electra.command_line import from_command_line


class Stopped(BaseException):
    """A signal came; `code` is 128 + its number. Not an Exception, so that nothing takes it for a failure of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def call(command: str, *argv: object, preset_kind: str | None = None) -> str:
    """Run a command as typed -> what it printed.

    Raises:
        Stopped: it ended by a signal.
    """
    words = [str(word) for word in argv]
    print(f"$ electra {shlex.join([command, *words])}", file=sys.stderr, flush=True)
    settings: Any = from_command_line(getattr(all_settings, f"{command.capitalize()}Settings"), words, f"electra {command}", preset_kind=preset_kind)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = importlib.import_module(f"electra.commands.{command}").run(settings)
    if code:
        raise Stopped(code)
    return printed.getvalue()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C become `Stopped` wherever no training takes note of them itself; every file is written whole, so all goes on later."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

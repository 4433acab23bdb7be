"""One JSON object a line on standard error: what happened, never what a user wrote unless --log-text asks for it."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Any

LONGEST_TEXT = 2_000
"""Characters of a request's texts that --log-text writes."""


class RequestLog:
    """Writes lines; also takes those of uvicorn."""

    def __init__(self, stream: IO[str] | None = None, *, log_text: bool = False) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.log_text = log_text

    def write(self, event: str, **fields: Any) -> None:
        """One line: the time (UTC), the event, its fields; those that are None are left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"time": now, "event": event, **{key: value for key, value in fields.items() if value is not None}}
        try:
            self.stream.write(json.dumps(record, ensure_ascii=True) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass  # a full disk or a closed pipe stops no answers

    def failure(self, where: str, error: BaseException, **fields: Any) -> None:
        """An error of ours: its type and the lines of code it came through. Its message may quote a text and is kept back."""
        frames = traceback.extract_tb(error.__traceback__)
        code = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames][-12:]
        self.write("failure", where=where, type=type(error).__name__, message=str(error) if self.log_text else None, code=code, **fields)

    def quoted(self, texts: list[str]) -> list[str] | None:
        """Texts as the log may show them: not at all by default."""
        return [text[:LONGEST_TEXT] for text in texts] if self.log_text else None


class UvicornLines(logging.Handler):
    """Uvicorn's own messages (warnings and worse) as lines of the log."""

    def __init__(self, log: RequestLog) -> None:
        super().__init__(level=logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One message, one line; a traceback becomes its type and place."""
        if record.exc_info and record.exc_info[1] is not None:
            self.log.failure("http", record.exc_info[1])
        else:
            self.log.write("http", level=record.levelname.lower(), message=record.getMessage())


def redirect_uvicorn(log: RequestLog) -> None:
    """Hand uvicorn's messages to the log."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [UvicornLines(log)] if name == "uvicorn" else []
        logger.propagate = name != "uvicorn"
        logger.setLevel(logging.WARNING)

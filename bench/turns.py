"""A candidate in its own process, under any interpreter, with requests and answers as lines of JSON.

So every side runs in its own environment, keeps nothing of the others', and does its work when it is its turn. Both ends are here; no more
than the standard library is imported, since peers' environments have this file and no `electra`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A candidate failed; the message says why, in one line."""


class Candidate:
    """The handle: `ask` sends a request and waits for its answer."""

    def __init__(self, python: str, script: str, *words: str, environment: Mapping[str, str] | None = None, cores: list[int] | None = None) -> None:
        """Start `bench/script` with `words` under `python`; on these cores only, if given.

        Raises:
            Failed: no such interpreter.
        """
        self.name, self._asked = script, ""
        # A file, not a pipe: nobody reads it while the candidate works.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed by close)
        values = {**os.environ, **dict(environment or {})}
        if cores is not None:
            words = (*words, "--cores", ",".join(map(str, cores)))
        try:
            self._process = subprocess.Popen(
                [python, str(HERE / script), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=values
            )
        except OSError as error:
            raise Failed(f"cannot start {python}: {error.strerror or error}") from None

    def ask(self, kind: str, **values: Any) -> Any:
        """The answer to a request.

        Raises:
            Failed: it could not, or its process has ended.
        """
        self.send(kind, **values)
        return self.receive()

    def send(self, kind: str, **values: Any) -> None:
        """A request, whose answer `receive` waits for."""
        assert self._process.stdin is not None
        self._asked = kind
        with contextlib.suppress(OSError):  # receive tells what happened
            self._process.stdin.write(json.dumps({"kind": kind, **values}) + "\n")
            self._process.stdin.flush()

    def receive(self) -> Any:
        """The answer to the last request.

        Raises:
            Failed: as `ask`.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(10)
            raise Failed(f"{self.name} ended with exit code {code} ({self._asked}): {self.last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self.name}, {self._asked}: {answer['error']}")
        return answer["value"]

    def last_words(self) -> str:
        """The last line it wrote to standard error."""
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1][:300] if lines else "no message"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- the other end ----


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Answer every request on standard input until it ends. What libraries print goes to standard error."""
    line_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if "--cores" in sys.argv and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in sys.argv[sys.argv.index("--cores") + 1].split(",")])
    for line in sys.stdin:
        try:
            found = {"value": answer(json.loads(line))}
        except Exception as error:  # whatever a library raises: the others are measured all the same
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        line_out.write(json.dumps(found) + "\n")
        line_out.flush()


def peak_memory_bytes(process: int | None = None) -> int:
    """Largest resident set of this process or of another one since it began; 0: of another one where the system has no /proc."""
    status = Path(f"/proc/{process or 'self'}/status")
    if status.exists():
        # getrusage also counts the process that this one was forked from.
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if process is not None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

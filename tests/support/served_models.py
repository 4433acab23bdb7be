"""Tiny checkpoints served by a real server on a free port, in a thread or in a process; and a client of the standard library."""

from __future__ import annotations

import functools
import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_models import SHAPE, checkpoints, vocabulary

ROOT = Path(__file__).resolve().parents[2]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@functools.cache
def sources() -> dict[str, Path]:
    """'classifier', 'tagger', 'finder', 'discriminator', 'masked' -> checkpoint folders."""
    import torch
    import transformers

    from electra.data.tokenizer import load_tokenizer

    root = Path(tempfile.mkdtemp(prefix="electra-served-"))
    tokenizer = load_tokenizer(checkpoints()["vocab"])
    torch.manual_seed(11)
    labels = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: i for i, tag in enumerate(TAGS)}}
    for folder, kind, more in (("tagger", "ElectraForTokenClassification", labels), ("finder", "ElectraForQuestionAnswering", {})):
        config = transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, **more)
        getattr(transformers, kind)(config).eval().save_pretrained(root / folder)
        tokenizer.save(root / folder)
    made = {"tagger": root / "tagger", "finder": root / "finder"}
    return {name: checkpoints()[name] for name in ("classifier", "discriminator", "masked")} | made


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(url: str, path: str, value: Any = None, *, body: bytes | None = None, headers: dict[str, str] | None = None, method: str = "") -> Reply:
    """GET, or POST a value as JSON (or a body as it is)."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        content = body if body is not None else None if value is None else json.dumps(value).encode()
        connection.request(method or ("GET" if content is None else "POST"), path, content, {"Content-Type": "application/json"} | (headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {key.lower(): v for key, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def metric(url: str, line: str) -> float:
    """The value of a line of /metrics that begins so; 0 where there is none."""
    return sum(float(row.split()[-1]) for row in call(url, "/metrics").body.decode().splitlines() if row.startswith(line))


@dataclass
class Served:
    url: str
    serving: Any
    log: io.StringIO

    def lines(self, event: str = "request") -> list[dict[str, Any]]:
        """The log's lines of one kind."""
        return [record for record in map(json.loads, self.log.getvalue().splitlines()) if record["event"] == event]


@contextmanager
def in_thread(
    *names: str, places: dict[str, Path] | None = None, delay: float = 0.0, token: str | None = None, log_text: bool = False, **limits: Any
) -> Iterator[Served]:
    """Serve models (tiny ones, or those at `places`) from a thread; each batch takes `delay` seconds longer."""
    from electra.inference.predictor import load
    from electra.serve.app import create_app
    from electra.serve.limits import Limits
    from electra.serve.models import Model, as_model
    from electra.serve.observability import RequestLog
    from electra.serve.server import GracefulServer, bind, configuration, listeners
    from electra.serve.service import Serving

    models: dict[str, Model] = {name: as_model(name, load((places or sources())[name], threads=1)) for name in names}
    log = io.StringIO()
    serving = Serving(models, Limits(**limits), token=token, log=RequestLog(log, log_text=log_text))
    for batcher in serving.batchers.values():
        batcher.run = _slower(batcher.run, delay) if delay else batcher.run
    bound = bind("127.0.0.1", 0)
    bound.listen()
    server = GracefulServer(configuration(create_app(serving), serving), serving)
    thread = threading.Thread(target=server.run, kwargs={"sockets": listeners(bound)}, daemon=True)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Served(url, serving, log)
    finally:
        server.handle_exit(15, None)
        thread.join(30)
        assert not thread.is_alive()


def _slower(run: Any, delay: float) -> Any:
    def slow(*arguments: Any) -> Any:
        time.sleep(delay)
        return run(*arguments)

    return slow


def wait_until(reached: Any, seconds: float = 20.0) -> None:
    """Return once a condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


@contextmanager
def in_process(*words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """'electra serve WORDS' on a free port -> the process and its URL."""
    port = () if "--port" in words else ("--port", "0")
    command = [sys.executable, "-m", "electra.cli", "serve", *words, *port, "--threads", "1"]
    # To a file: a pipe that nobody reads is full after some hundred requests, and the server then waits for ever.
    with tempfile.NamedTemporaryFile("w") as log, Path(log.name).open(encoding="utf-8") as lines:
        process = subprocess.Popen(
            command, stderr=log, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}
        )
        process.stderr = lines
        try:
            yield process, ready_url(process)
        finally:
            process.kill()
            process.wait()


def ready_url(process: subprocess.Popen[str], seconds: float = 60.0) -> str:
    """The URL in the line that a ready server writes to its log."""
    assert process.stderr is not None
    seen = ""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended = process.poll() is not None
        part = process.stderr.readline()
        seen += part
        if part.endswith("\n"):
            line = seen.splitlines()[-1]
            if line.startswith("{") and (record := json.loads(line))["event"] == "ready":
                return str(record["url"])
        elif ended:
            break
        else:
            time.sleep(0.02)
    raise AssertionError(f"the server did not start: {seen}")

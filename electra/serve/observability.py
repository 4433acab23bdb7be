"""The log, one JSON object per line on standard error without users' texts (unless --log-text); metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest

LONGEST_TEXT = 2_000
"""Characters of a request's texts that --log-text writes."""


class RequestLog:
    """Writes lines; also those of uvicorn."""

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
        """An internal error: its type and the lines of code it came through. Its message may quote a text and is left out."""
        frames = traceback.extract_tb(error.__traceback__)
        code = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames][-12:]
        self.write("failure", where=where, type=type(error).__name__, message=str(error) if self.log_text else None, code=code, **fields)

    def quoted(self, texts: list[str]) -> list[str] | None:
        """Texts for the log; None by default."""
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


# ---- Prometheus metrics (/metrics); each server has its own registry ----


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """Counters and histograms of one server. Labels take few values: models come from the command line, routes from the route table."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        route = ("model", "route", "status")
        self.requests = Counter("electra_requests", "Requests answered or rejected.", route, registry=registry)
        self.duration = Histogram("electra_request_seconds", "Arrival to answer.", ("model", "route"), buckets=SECONDS, registry=registry)
        self.rejected = Counter("electra_rejected", "Requests rejected, by reason.", ("model", "reason"), registry=registry)
        self.texts = Counter("electra_texts", "Texts answered.", ("model",), registry=registry)
        self.tokens = Counter("electra_tokens", "Tokens answered.", ("model",), registry=registry)
        self.unknown_tokens = Counter("electra_unknown_tokens", "Tokens read that are not in the vocabulary.", ("model",), registry=registry)
        self.batch_texts = Histogram("electra_batch_texts", "Texts answered together.", ("model",), buckets=COUNTS, registry=registry)
        self.batch_tokens = Histogram("electra_batch_tokens", "Tokens answered together.", ("model",), buckets=TOKENS, registry=registry)
        self.queue_seconds = Histogram("electra_queue_seconds", "A text's wait for its batch.", ("model",), buckets=SECONDS, registry=registry)
        self.inference = Histogram("electra_inference_seconds", "One batch through its model.", ("model",), buckets=SECONDS, registry=registry)
        self.queue = Gauge("electra_queue_texts", "Texts waiting.", ("model",), registry=registry)
        self.connections = Gauge("electra_connections", "Open connections.", registry=registry)
        self.cut = Counter("electra_connections_cut", "Connections ended by the server, by reason.", ("reason",), registry=registry)
        self.in_flight = Gauge("electra_requests_in_flight", "Requests being received, waiting or answered.", registry=registry)

    def watch(self, model: str, waiting: Callable[[], int]) -> None:
        """Read a model's queue length whenever metrics are requested."""
        self.queue.labels(model).set_function(waiting)

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

"""Clients for bench/serving.py: asyncio and plain sockets, in a process of their own, so that they take no time from the server's.

`closed` keeps a number of requests in flight, the next one sent when an answer comes: what a server can do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 60.0
"""Seconds after which a client gives up."""


@dataclass
class Outcome:
    """What became of requests."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    """HTTP status, or why there was none."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of those answered with 200."""

    def summary(self) -> dict[str, Any]:
        """Rates and percentiles."""
        answered, total = self.statuses["200"], sum(self.statuses.values())
        refused = sum(self.statuses[status] for status in ("429", "503"))
        ordered = sorted(self.latencies_ms) or [0.0]
        points = {f"p{p}_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))], 1) for p in (50, 90, 99)}
        return {
            "seconds": round(self.seconds, 1),
            "requests": total,
            "requests_per_second": round(total / self.seconds, 1),
            "answered_per_second": round(answered / self.seconds, 1),
            "rejection_rate": round(refused / max(1, total), 4),
            "accepted_not_answered": total - answered - refused,
            "statuses": dict(self.statuses),
            **points,
            "longest_ms": round(ordered[-1], 1),
        }


class Connection:
    """One keep-alive HTTP/1.1 connection, from an address of this machine."""

    def __init__(self, host: str, port: int, address: str | None = None) -> None:
        self.host, self.port, self.address = host, port, address
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        """Send a body -> (status, answer)."""
        if self.reader is not None and self.reader.at_eof():
            # The server took an idle connection down; every HTTP client looks before it asks.
            self.close()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, local_addr=(self.address, 0) if self.address else None)
        assert self.reader is not None
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode("latin-1") + body)
        await self.writer.drain()
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        answer = await self.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(status_line.split()[1]), answer

    def close(self) -> None:
        """Leave."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def timed(connection: Connection, path: str, body: bytes, since: float, outcome: Outcome) -> None:
    """One request, counted."""
    try:
        status, _ = await asyncio.wait_for(connection.post(path, body), PATIENCE)
        outcome.statuses[str(status)] += 1
        if status == 200:
            outcome.latencies_ms.append(1000 * (time.perf_counter() - since))
    except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.LimitOverrunError) as error:
        outcome.statuses[type(error).__name__] += 1
        connection.close()


async def closed(host: str, port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float, address: str | None = None) -> Outcome:
    """A fixed number of clients, each asking again as soon as it has its answer."""
    outcome, start = Outcome(), time.perf_counter()

    async def client(number: int) -> None:
        connection, turn = Connection(host, port, address), number
        while time.perf_counter() - start < seconds:
            await timed(connection, path, bodies[turn % len(bodies)], time.perf_counter(), outcome)
            turn += connections
        connection.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    outcome.seconds = time.perf_counter() - start
    return outcome


def in_own_process(coroutine: Callable[..., Any], *arguments: Any) -> Any:
    """Run one of the above in a process of its own -> what it returns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, coroutine, arguments).result()


def _run(coroutine: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return asyncio.run(coroutine(*arguments))

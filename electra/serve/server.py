"""An application -> a running server: the port is bound before models load; on a signal accepted requests are finished; no connection is kept that
is slow, or sends headers without end."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from electra.environment import signals_to
from electra.errors import UserError
from electra.serve.limits import client_of
from electra.serve.observability import redirect_uvicorn
from electra.serve.service import Serving

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept longer than the 60 s for which proxies commonly keep theirs, so that none sends on one that is just closing."""
LARGEST_HEADERS = 32 << 10
"""Bytes of a request's first line and headers, or of what comes between the parts of its body."""
LONGEST_PIPELINE = 64
"""Requests that wait on one connection for the answer to an earlier one."""
PART = 4 << 10
"""Bytes that are parsed before both are looked at."""
ACCEPTED_TOGETHER = 16
"""Connections that are accepted in one turn of the event loop."""
OTHER_FILES = 128
"""Files that a server has open besides its connections."""


def allow_connections(count: int) -> None:
    """Let this process have `count` connections open.

    Raises:
        UserError: the system forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            most = max(1, hard - OTHER_FILES)
            raise UserError(f"--max-connections {count}: a process may have {hard} files open here; give {most} or less, or raise 'ulimit -n'")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A host and a port -> a bound socket, not yet listening; port 0 takes any that is free.

    `reuse_port`: other processes of this user that say so too may have the same port.

    Raises:
        UserError: no such port, it is taken, not allowed, or no such address, or the system shares no ports.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise UserError("--reuse-port: this system does not support it; give every process a port of its own, and put a proxy in front")
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: expected a number from 0 (any free port) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host {host}: no such address on this machine; use 127.0.0.1, or 0.0.0.0 for all of its addresses") from None
    found = socket.socket(family, kind, protocol)
    try:
        # After a kill -9 the port's old connections may linger; this lets a new server have it.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise _taken(port) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host {host}: this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all it has") from None
        raise UserError(f"--port {port}: {error.strerror}; choose a port above 1023") from None
    return found


def listeners(bound: socket.socket) -> list[socket.socket]:
    """A bound socket -> several for the same queue of connections. uvloop takes one connection of each in a turn of its loop: under load a turn is
    long, and clients would wait in the system's queue, past all limits, for a minute.
    """
    return [bound, *(bound.dup() for _ in range(ACCEPTED_TOGETHER - 1))]


def _taken(port: int) -> UserError:
    return UserError(f"--port {port} is in use by another program; choose another, or 0 for any that is free")


class Connections:
    """The open connections of a server, by client."""

    def __init__(self, serving: Serving) -> None:
        self.limits = serving.limits
        self.metrics = serving.metrics
        self._by_client: Counter[str] = Counter()

    def add(self, client: str) -> bool:
        """Count a connection; whether it is within the limits of all and of its client."""
        limit, used, mine = self.limits.max_connections, self._by_client.total(), self._by_client[client]
        self._by_client[client] += 1
        self.metrics.connections.set(used + 1)
        return used < limit and self.limits.allows(client, limit, used, mine)

    def remove(self, client: str) -> None:
        """It is closed."""
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        self.metrics.connections.set(self._by_client.total())


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 connection within limits that it lacks. Each ends the connection:

    - headers that are not complete after --timeout, also of a connection that sends nothing; a body that goes on after its answer;
    - `LARGEST_HEADERS` bytes of first line and headers (431), of trailers, or of the extensions of one chunk;
    - more than `LONGEST_PIPELINE` requests that wait for an earlier one;
    - an answer of which nothing could be sent for --timeout;
    - more connections than --max-connections, or than the client's share of them.
    """

    def __init__(self, connections_open: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._open = connections_open
        self._client_key = ""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """'slow': for the headers of a request. 'stalled': for the sending of what is not sent."""
        self._unread = 0
        """Bytes since the beginning of a message, or the last of its body."""
        self._running: Any = None
        """The request that is answered now; `cycle` is the last that was parsed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it; a first request is due."""
        super().connection_made(transport)
        self._client_key = client_of(self.client[0] if self.client else None)
        if self._open.add(self._client_key):
            self._due("slow")
        else:
            self._cut("limit")

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more, drop the timers, and notify the request that runs: uvicorn notifies the last that was parsed."""
        self._open.remove(self._client_key)
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        for reason in list(self._timers):
            self._in_time(reason)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse part by part, within the limits."""
        if "slow" not in self._timers and (self.cycle is None or self.cycle.response_complete):
            self._due("slow")
        for start in range(0, len(data), PART):
            if self.transport.is_closing():
                return
            part = data[start : start + PART]
            self._unread += len(part)
            super().data_received(part)
            if self._unread > LARGEST_HEADERS and not self.transport.is_closing():
                self._refuse_headers()
            elif len(self.pipeline) > LONGEST_PIPELINE:
                self._cut("pipeline")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._unread = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers came in time; from here on `AccessMiddleware` counts the time."""
        self._in_time("slow")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unread = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """An answer is in the hands of the system, or in a buffer that must become empty."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._due("stalled")

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what is not sent by now must be soon."""
        super().timeout_keep_alive_handler()
        self._due("stalled")

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._due("stalled")

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._in_time("stalled")

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _due(self, reason: str) -> None:
        self._in_time(reason)
        self._timers[reason] = self.loop.call_later(self._open.limits.timeout, self._cut, reason)

    def _in_time(self, reason: str) -> None:
        if (timer := self._timers.pop(reason, None)) is not None:
            timer.cancel()

    def _refuse_headers(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            message = b"Headers are too large"
            head = (
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d"
            )
            self.transport.write(head % len(message) + b"\r\n\r\n" + message)
            self._open.metrics.cut.labels("headers").inc()
            self.transport.close()
            self._due("stalled")
        else:
            self._cut("headers")

    def _cut(self, reason: str) -> None:
        self._open.metrics.cut.labels(reason).inc()
        if reason == "slow":
            self.transport.close()
            self._due("stalled")
        else:
            self.transport.abort()


class GracefulServer(uvicorn.Server):
    """Uvicorn's server; the first SIGTERM, SIGHUP or Ctrl-C stops accepting requests, and the exit code is 0."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self.serving = serving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Accept no more requests; the second Ctrl-C ends at once."""
        self.serving.close()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again afterwards: finishing the accepted requests is a success."""
        # SIGHUP: the terminal was closed. Under nohup it is ignored, and stays so.
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        with signals_to(self.handle_exit, hangup):
            yield


def configuration(app: Any, serving: Serving) -> uvicorn.Config:
    """How uvicorn runs the application."""
    protocol: Any = partial(GuardedProtocol, Connections(serving))
    return uvicorn.Config(
        app,
        http=protocol,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(serving.limits.timeout) + 1,
    )


def run(app: Any, serving: Serving, bound: socket.socket) -> None:
    """Serve until a signal comes, then finish the accepted requests, for at most the time limit of one.

    Raises:
        UserError: another program took the port meanwhile.
    """
    config = configuration(app, serving)
    redirect_uvicorn(serving.log)
    try:
        bound.listen(config.backlog)
    except OSError:
        raise _taken(bound.getsockname()[1]) from None
    server = GracefulServer(config, serving)
    host, port = bound.getsockname()[:2]
    serving.log.write("ready", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", models=list(serving.models))
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=listeners(bound)))
    serving.log.write("stopped")

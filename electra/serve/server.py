"""An application -> a running server: the port is bound before models load; on a signal accepted requests are finished."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from electra.environment import signals_to
from electra.errors import UserError
from electra.serve.observability import redirect_uvicorn
from electra.serve.service import Serving

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept longer than the 60 s for which proxies commonly keep theirs, so that none sends on one that is just closing."""


def bind(host: str, port: int) -> socket.socket:
    """A host and a port -> a bound socket, not yet listening; port 0 takes any that is free.

    Raises:
        UserError: no such port, it is taken, not allowed, or no such address.
    """
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
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise _taken(port) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host {host}: this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all it has") from None
        raise UserError(f"--port {port}: {error.strerror}; choose a port above 1023") from None
    return found


def _taken(port: int) -> UserError:
    return UserError(f"--port {port} is in use by another program; choose another, or 0 for any that is free")


class GracefulServer(uvicorn.Server):
    """Uvicorn's server; the first SIGTERM or Ctrl-C stops accepting requests, and the exit code is 0."""

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
        with signals_to(self.handle_exit):
            yield


def run(app: Any, serving: Serving, bound: socket.socket) -> None:
    """Serve until a signal comes, then finish the accepted requests, for at most the time limit of one.

    Raises:
        UserError: another program took the port meanwhile.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(serving.limits.timeout) + 1,
    )
    redirect_uvicorn(serving.log)
    try:
        bound.listen(config.backlog)
    except OSError:
        raise _taken(bound.getsockname()[1]) from None
    server = GracefulServer(config, serving)
    host, port = bound.getsockname()[:2]
    serving.log.write("ready", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", models=list(serving.models))
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[bound]))
    serving.log.write("stopped")

"""Middleware around the routes: access token, limits, valid JSON; afterwards a line in the log and the metrics."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from pydantic_core import from_json

from electra.serve.batch_scheduler import CLIENT_FULL
from electra.serve.limits import RequestError, client_of, error_body
from electra.serve.service import RequestContext, Serving

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
REQUEST_ID = b"x-request-id"
MODEL, TOKENS, UNKNOWN_TOKENS = b"x-model", b"x-tokens", b"x-unknown-tokens"
"""Of an answer: the model that gave it, tokens of its texts, and how many of them the vocabulary lacks."""
SAFE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""A request's id that is taken from its client."""
CONTEXT = "electra.context"
"""Key of a request's RequestContext in its ASGI scope."""
PAGE_PREFIX = "/page/"
"""Where the page's files are. They and GET / hold no answers of a model and need no token."""
ANSWER_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Headers of every answer that has none of its own; the page's are in `app`. None of CORS: other sites read nothing."""


class AccessMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: Any, serving: Serving) -> None:
        self.app = app
        self.serving = serving
        self._in_flight = 0
        self._by_client: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it; count and log it either way."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._pass(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _pass(self, scope: Message, receive: Receive, send: Send) -> None:
        context = RequestContext(receive, time.monotonic() + self.serving.limits.timeout)
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"").decode("latin-1")
        context.id = given if SAFE_ID.fullmatch(given) else context.id
        context.client = client_of((scope.get("client") or ("",))[0])
        scope[CONTEXT] = context
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = dict(message.get("headers", ()))
                more = ((name, value) for name, value in ANSWER_HEADERS.items() if name not in own)
                read = read_headers(context) if context.texts and status == 200 else ()
                message = {**message, "headers": [*message.get("headers", ()), *more, *read, (REQUEST_ID, context.id.encode())]}
            await send(message)

        self._in_flight += 1
        self._by_client[context.client] += 1
        self.serving.metrics.in_flight.set(self._in_flight)
        try:
            await self.app(scope, await self._admit(scope, receive, context.client), counted)
        except RequestError as error:
            context.reason = error.reason
            await _reject(counted, error, scope["path"])
        except Exception as error:
            self.serving.log.failure("request", error, route=_route(scope))
            if not status:
                await _reject(counted, RequestError(500, "Inference failed", "failure"), scope["path"])
        finally:
            self._in_flight -= 1
            self._by_client[context.client] -= 1
            if not self._by_client[context.client]:
                del self._by_client[context.client]
            self.serving.metrics.in_flight.set(self._in_flight)
            self._note(scope, context, status)

    async def _admit(self, scope: Message, receive: Receive, client: str) -> Receive:
        """The request's `receive` for the routes; its body is read and is JSON.

        Raises:
            RequestError: another host (421), no token (401), too many at once (429), HTTP/2 or no JSON (400, 415), too large (413), too slow (408).
        """
        headers = dict(scope["headers"])
        if self.serving.local and not is_local(headers.get(b"host", b"localhost")):
            raise RequestError(421, HOST_MESSAGE, "host")
        if self.serving.token is not None and not is_open(scope) and not self._knows_token(headers.get(b"authorization", b"")):
            raise RequestError(401, "this server asks for a token: send 'Authorization: Bearer TOKEN'", "token")
        if scope["method"] != "POST":
            return receive
        if self.serving.closing:
            raise RequestError(503, "shutting down; ask again in a moment", "closing", 1)
        if self._in_flight > self.serving.limits.max_requests:
            raise RequestError(429, "Model is overloaded", "requests", max(b.retry_after() for b in self.serving.batchers.values()))
        if not self.serving.limits.allows(client, self.serving.limits.max_requests, self._in_flight - 1, self._by_client[client] - 1):
            raise RequestError(429, CLIENT_FULL, "client", max(b.retry_after() for b in self.serving.batchers.values()))
        if b"upgrade" in headers:  # the parser leaves the body unread
            raise RequestError(
                400, "send plain HTTP/1.1, without the header 'Upgrade' (curl --http1.1; Java: HttpClient.Version.HTTP_1_1)", "upgrade"
            )
        if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
            raise RequestError(415, "send JSON, with the header 'Content-Type: application/json'", "json")
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            raise RequestError(415, "send JSON as it is, without 'Content-Encoding': compressed bodies are not unpacked", "encoding")
        limit = self.serving.limits.max_body_bytes
        if headers.get(b"content-length", b"0").isdigit() and int(headers.get(b"content-length", b"0")[:18]) > limit:
            raise RequestError(413, f"the body is longer than {limit} bytes", "body")
        try:
            body = await asyncio.wait_for(_read(receive, limit), self.serving.limits.timeout)
        except TimeoutError:
            raise RequestError(408, "the body did not arrive in time", "slow") from None
        check_json(body)
        return replayed(body, receive)

    def _knows_token(self, given: bytes) -> bool:
        scheme, _, token = given.partition(b" ")
        assert self.serving.token is not None
        return hmac.compare_digest(token.strip(), self.serving.token) and scheme.lower() == b"bearer"

    def _note(self, scope: Message, context: RequestContext, status: int) -> None:
        route, model = _route(scope), context.model or ""
        status = 499 if context.reason == "left" else status
        seconds = time.monotonic() - context.started
        metrics = self.serving.metrics
        metrics.requests.labels(model, route, str(status)).inc()
        metrics.duration.labels(model, route).observe(seconds)
        if context.reason:
            metrics.rejected.labels(model, context.reason).inc()
        if route in QUIET and status == 200:
            return
        counts = {"texts": context.texts or None, "tokens": context.tokens or None, "unknown_tokens": context.unknown_tokens or None}
        more = {"id": context.id, "model": context.model, "reason": context.reason, "text": context.shown, **counts}
        self.serving.log.write("request", method=scope["method"][:10], route=route, status=status, ms=round(1000 * seconds, 2), **more)


def read_headers(context: RequestContext) -> tuple[tuple[bytes, bytes], ...]:
    """Which model answered, and how many tokens it was given."""
    counts = ((TOKENS, b"%d" % context.tokens), (UNKNOWN_TOKENS, b"%d" % context.unknown_tokens))
    return ((MODEL, (context.model or "").encode()), *counts)


QUIET = ("/health", "/ping", "/metrics")
"""Requested every few seconds by monitors: no line in the log while all is well."""


def is_open(scope: Message) -> bool:
    """Whether a request needs no token: /health, /ping, and the page, which holds no answer of a model."""
    path = scope["path"]
    return path in ("/health", "/ping") or (scope["method"] in ("GET", "HEAD") and (path == "/" or path.startswith(PAGE_PREFIX)))


HOST_MESSAGE = (
    "this server is for its own machine and has no token: name it by its address or 'localhost' in the header 'Host', or start it with --token-file"
)
"""Else a web page could reach it under a name of its own that leads to 127.0.0.1 (DNS rebinding)."""


def is_local(host: bytes) -> bool:
    """Whether a Host header is an address or localhost, neither of which a DNS server of someone else answers for."""
    name = host.decode("latin-1").strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def check_json(body: bytes) -> None:
    """Check that a body is standard JSON: UTF-8, no NaN, no lone surrogates, limited nesting; and that no object names a field twice.

    Raises:
        RequestError: 400, it is not JSON; 422, a field is given twice.
    """
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, f"the body is not valid JSON: {str(error)[:120]}", "json") from None
    json.loads(body, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RequestError(422, f"field {twice[:40]!r} is given twice; leave one out", "question")
    return found


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, then what comes."""
    waiting = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return again


async def _read(receive: Receive, limit: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(499, "the client has left", "left")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise RequestError(413, f"the body is longer than {limit} bytes", "body")
        more = message.get("more_body", False)
    return b"".join(parts)


async def _reject(send: Send, error: RequestError, path: str) -> None:
    body = error_body(error, path)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    if error.reason == "upgrade" or error.status in (401, 408, 413, 415, 421, 429, 503):
        headers["connection"] = "close"  # a body that nobody reads may follow
    await send({"type": "http.response.start", "status": error.status, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
    await send({"type": "http.response.body", "body": body})


def _route(scope: Message) -> str:
    """The route's template: few values, and nothing that a client made up."""
    return getattr(scope.get("route"), "path", None) or "none"

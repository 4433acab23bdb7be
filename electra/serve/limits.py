"""Limits of one request and of all requests at a time, each a flag of 'electra serve'; and the errors sent where one is exceeded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from electra.errors import UserError
from electra.settings import ServeSettings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts. The defaults are those of the command line."""

    max_body_bytes: int = 2_000_000
    max_texts: int = 32
    max_tokens: int = 16_384
    max_requests: int = 256
    max_connections: int = 1_024
    max_queue: int = 512
    max_batch_tokens: int = 4_096
    max_wait_ms: float = 2.0
    timeout: float = 30.0
    client_share: float = 0.5

    def allows(self, client: str, limit: int, used: int, mine: int, count: int = 1) -> bool:
        """Whether a client that holds `mine` of the `used` places may take `count` more of `limit`.

        It may hold `client_share` of its places and the free ones together (dynamic thresholds, Choudhury and Hahne 1998): one flooder leaves half of
        all places free, two leave a third, and a client without a place finds one.
        """
        held = mine + count
        return not client or not mine or held <= self.client_share * (held + limit - used - count)


def client_of(address: str | None) -> str:
    """A peer's address -> what the shares of clients are counted by: an IPv4 address, or the /64 that a host commonly has; '' where unknown."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return str(found)


def limits_of(settings: ServeSettings) -> Limits:
    """Settings -> limits that make sense together.

    Raises:
        UserError: one that is not above zero, or a queue that is too short for one request.
    """
    values = {name: getattr(settings, name) for name in Limits.__dataclass_fields__}
    for name, value in values.items():
        if value < 0 or (value == 0 and name != "max_wait_ms"):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
    if settings.max_queue < settings.max_texts:
        raise UserError(
            f"--max-queue {settings.max_queue} is below --max-texts {settings.max_texts}: a request of that many texts would never be taken; raise it"
        )
    return Limits(**values)


# ---- errors: a status and {"error", "error_type"}, as in text-embeddings-inference ----


ERROR_TYPES = {
    400: "validation",
    401: "unauthorized",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    413: "validation",
    415: "validation",
    421: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    500: "backend",
    503: "unhealthy",
    504: "timeout",
}
OPENAI_PATHS = re.compile(r"(/models/[^/]+)?/(v1/embeddings|embeddings|v1/models(/[^/]+)?)/?")
"""The addresses of OpenAI's routes."""
CLIENT_GONE = 499
"""Status in logs and metrics of a request whose client disconnected before its answer; nothing is sent."""


@dataclass(eq=False)
class RequestError(Exception):
    """A request that gets no answer."""

    status: int
    message: str
    """What was wrong and what to do; never a path on the server."""
    reason: str
    """One word for the metrics."""
    retry_after: int | None = None
    """Seconds after which another try makes sense."""

    @property
    def kind(self) -> str:
        """The error's type in the answer."""
        return "empty" if self.status == 400 and self.reason == "empty" else ERROR_TYPES.get(self.status, "validation")

    @property
    def headers(self) -> dict[str, str]:
        """Those that the status needs."""
        out = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return out | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def is_openai(path: str) -> bool:
    """Whether an address is one of OpenAI's routes, whose errors have a form of their own."""
    return OPENAI_PATHS.fullmatch(path) is not None


def error_body(error: RequestError, path: str) -> bytes:
    """An error and the address of its request -> the JSON that is sent; /v1/embeddings and /embeddings have a form of their own."""
    if is_openai(path):
        return json.dumps({"message": error.message, "code": error.status, "type": error.kind}, ensure_ascii=True).encode()
    return json.dumps({"error": error.message, "error_type": error.kind}, ensure_ascii=True).encode()

"""What a server says instead of an answer: a status and {"error", "error_type"}, the shape of text-embeddings-inference."""

from __future__ import annotations

import json
from dataclasses import dataclass

ERROR_TYPES = {
    400: "validation",
    401: "unauthorized",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    413: "validation",
    415: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    500: "backend",
    503: "unhealthy",
    504: "timeout",
}
CLIENT_GONE = 499
"""What logs and metrics call a request whose client left before its answer; nothing is sent."""


@dataclass(eq=False)
class Refused(Exception):
    """A request that gets no answer."""

    status: int
    message: str
    """What was wrong and what to do; never a path of this machine."""
    reason: str
    """One word for the metrics."""
    retry_after: int | None = None
    """Seconds after which another try makes sense."""

    @property
    def body(self) -> bytes:
        """JSON."""
        return error_body(self.status, self.message)

    @property
    def headers(self) -> dict[str, str]:
        """Those that the status asks for."""
        out = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return out | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def error_body(status: int, message: str) -> bytes:
    """A status and a message -> the JSON that is sent."""
    return json.dumps({"error": message, "error_type": ERROR_TYPES.get(status, "validation")}, ensure_ascii=True).encode()

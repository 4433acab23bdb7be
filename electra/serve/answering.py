"""What the routes share: which model was asked, the way to its answer, and the refusals they declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from electra.serve.catalog import Model
from electra.serve.gate import PASSAGE
from electra.serve.operations import Operation
from electra.serve.schemas import Error
from electra.serve.serving import Serving

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "Not valid JSON"},
    401: {"model": Error, "description": "No token, or a wrong one"},
    404: {"model": Error, "description": "No model of that name"},
    408: {"model": Error, "description": "The body came too slowly"},
    413: {"model": Error, "description": "Too much at once: body, texts or tokens"},
    415: {"model": Error, "description": "Not sent as JSON"},
    422: {"model": Error, "description": "Something else was expected"},
    424: {"model": Error, "description": "The model cannot answer this"},
    429: {"model": Error, "description": "Too many are waiting; Retry-After says for how long"},
    503: {"model": Error, "description": "Shutting down"},
    504: {"model": Error, "description": "No answer in time"},
}


def serving_of(request: Request) -> Serving:
    """The server's models."""
    found: Serving = request.app.state.serving
    return found


def model_of(request: Request) -> Model:
    """The model a request's path names, or the first.

    Raises:
        Refused: 404.
    """
    return serving_of(request).find(request.path_params.get("name"))


async def ask(request: Request, operation: Operation, items: Sequence[Any], *, truncate: bool = False) -> list[Any]:
    """A request's texts -> their answers (see `Serving.ask`)."""
    return await serving_of(request).ask(request.scope[PASSAGE], model_of(request), operation, items, truncate=truncate)


def as_json(value: Any) -> Response:
    """A value as the body of a 200."""
    return Response(to_json(value), media_type="application/json")

"""Models -> an ASGI application: routes, refusals in one shape, the gate around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from electra import __version__
from electra.serve import routes_hf, routes_own, routes_tei
from electra.serve.answering import REFUSALS
from electra.serve.docs_page import docs_page
from electra.serve.gate import PASSAGE, Gate
from electra.serve.page import page_router
from electra.serve.refusals import Refused, error_body
from electra.serve.schemas import ModelCard
from electra.serve.serving import Serving

DESCRIPTION = """Models made with electra. Routes at the root ask the first model; each model has the same routes under /models/NAME."""


def create_app(serving: Serving, *, docs: bool = True) -> Gate:
    """Models with their queues -> the application that a server runs; its lifespan starts and stops the models' threads."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        serving.start()
        yield
        serving.stop()

    app = FastAPI(
        title="electra",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.serving = serving
    _add_routes(app, serving)
    if docs:
        app.add_route("/docs", docs_page, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _broken)
    return Gate(app, serving)


def _add_routes(app: FastAPI, serving: Serving) -> None:
    names = Path(description="A served model", json_schema_extra={"enum": list(serving.models)})

    def name_of(name: str = names) -> None:
        pass  # the path's parameter, for the document; `model_of` looks it up

    named: dict[str, Any] = {"prefix": "/models/{name}", "dependencies": [Depends(name_of)]}
    app.include_router(routes_own.server)
    for router in (routes_tei.router, routes_own.router, routes_hf.router):
        app.include_router(router)
        app.include_router(router, **named)
    answer: dict[str, Any] = {"methods": ["POST"], "response_model": list[Any] | dict[str, Any], "responses": REFUSALS, "tags": ["Hugging Face"]}
    app.add_api_route("/", routes_hf.infer, **answer)
    app.add_api_route("/models/{name}", routes_hf.infer, dependencies=[Depends(name_of)], **answer)
    about: dict[str, Any] = {"methods": ["GET"], "response_model": ModelCard, "responses": {code: REFUSALS[code] for code in (401, 404)}}
    app.add_api_route("/models/{name}", routes_own.describe_model, dependencies=[Depends(name_of)], tags=["server"], **about)
    app.include_router(page_router())


# ---- refusals ----


def _respond(status: int, message: str, headers: Any = None) -> Response:
    return Response(error_body(status, message), status_code=status, media_type="application/json", headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.scope[PASSAGE].reason = error.reason
    return _respond(error.status, error.message, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that was not as expected: where, and what was; what was sent instead is not repeated."""
    assert isinstance(error, RequestValidationError)
    request.scope[PASSAGE].reason = "question"
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _respond(422, f"{place[:100]}: {first['msg'][:200]}" if place else "expected a JSON object with `inputs`")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    request.scope[PASSAGE].reason = "route"
    return _respond(error.status_code, f"{error.detail}: see /openapi.json" if error.status_code in (404, 405) else str(error.detail), error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return _respond(500, "Inference failed")  # the gate writes it into the log

"""Models -> an ASGI application: routes, errors in one shape, middleware, the page, the reference of the routes."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from electra import __version__
from electra.serve import routes
from electra.serve.limits import RequestError, error_body
from electra.serve.middleware import CONTEXT, PAGE_PREFIX, AccessMiddleware
from electra.serve.routes import ERROR_RESPONSES
from electra.serve.schemas import UNKNOWN, ServedModel
from electra.serve.service import Serving

# ---- the page at '/': plain files, in memory ----


MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Nothing from elsewhere, nothing inline: text that a model or a user wrote can never become a script.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The browser asks each time whether a file changed: a newer server never gets an older script.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Asset:
    """One file of the page, in memory."""

    content: bytes
    media_type: str
    etag: str


def read_assets() -> dict[str, Asset]:
    """The page's files as packaged: file name -> asset."""
    out = {}
    for file in (resources.files("electra.serve") / "page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in MEDIA_TYPES:
            content = file.read_bytes()
            out[file.name] = Asset(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return out


def page_router() -> APIRouter:
    """GET / (for whoever takes HTML) and GET /page/FILE, from memory: no request names a path on the disk."""
    router = APIRouter()
    assets = read_assets()

    def answer(asset: Asset, request: Request) -> Response:
        headers = {**HEADERS, "ETag": asset.etag}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    async def index(request: Request) -> Response:
        if not takes_html(request.headers.get("accept", "*/*")):
            return Response("GET / is a page of HTML; programs: GET /models, GET /openapi.json\n", status_code=406, media_type="text/plain")
        return answer(assets["index.html"], request)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in assets:
            return Response("no such file\n", status_code=404, media_type="text/plain")
        return answer(assets[name], request)

    # Plain routes: they are not part of the API document.
    router.add_route("/", index, methods=["GET"], include_in_schema=False)
    router.add_route(PAGE_PREFIX + "{name}", file, methods=["GET"], include_in_schema=False)
    return router


def takes_html(accept: str) -> bool:
    """Whether an Accept header allows HTML (weights are ignored, but a weight of zero excludes)."""
    for part in accept.lower().split(","):
        kind, _, parameters = part.partition(";")
        if kind.strip() in ("text/html", "text/*", "*/*") and parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return True
    return False


# ---- the OpenAPI document as one plain page, without scripts or files from elsewhere ----


STYLE = """
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code,pre{font:.9rem/1.4 ui-monospace,monospace}pre{overflow:auto;padding:.5rem;border:1px solid #8886;border-radius:.3rem}
h2{font-size:1.1rem;margin-top:2rem}.method{font-weight:700;margin-right:.5rem}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


async def docs_page(request: Request) -> HTMLResponse:
    """GET /docs."""
    return HTMLResponse(render(request.app.openapi()), headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"})


def render(document: dict[str, Any]) -> str:
    """An OpenAPI document -> HTML: every route with its request and answer."""
    schemas = document.get("components", {}).get("schemas", {})
    parts = [f"<h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1><p>{_text(document['info']['description'])}</p>"]
    parts.append('<p>For programs: <a href="/openapi.json">/openapi.json</a></p>')
    for path, operations in document["paths"].items():
        if path.startswith("/models/{name}/"):
            continue  # the same as at the root
        for method, operation in operations.items():
            parts.append(f'<h2><span class="method">{method.upper()}</span><code>{_text(path)}</code></h2>')
            parts.append(f"<p>{_text(operation.get('description', ''))}</p>")
            if "requestBody" in operation:
                parts.append("<p>Takes</p>" + _schema(operation["requestBody"]["content"]["application/json"]["schema"], schemas))
            answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema")
            parts.append("<p>Gives</p>" + _schema(answer, schemas) if answer else "")
            others = [f"{code} {_text(response['description'])}" for code, response in operation["responses"].items() if code != "200"]
            parts.append(f"<p><small>{'; '.join(others)}</small></p>" if others else "")
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>electra: routes</title><style>{STYLE}</style><body>\n{body}\n</body></html>'


def _schema(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    shown = schemas.get(name, schema)
    return f"<pre>{_text(json.dumps(shown, indent=1, ensure_ascii=False))}</pre>"


def _text(value: str) -> str:
    return html.escape(str(value))


DESCRIPTION = """Models made with electra. Routes at the root ask the first model; each model has the same routes under /models/NAME."""


def create_app(serving: Serving, *, docs: bool = True) -> AccessMiddleware:
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
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _broken)
    return AccessMiddleware(app, serving)


def _add_routes(app: FastAPI, serving: Serving) -> None:
    names = Path(description="A served model", json_schema_extra={"enum": list(serving.models)})

    def name_of(name: str = names) -> None:
        pass  # the path's parameter, for the document; `model_of` looks it up

    named: dict[str, Any] = {"prefix": "/models/{name}", "dependencies": [Depends(name_of)]}
    app.include_router(routes.server)
    for router in (routes.tei_router, routes.openai_router, routes.own_router, routes.hf_router, routes.health_router):
        app.include_router(router)
        app.include_router(router, **named)
    answer: dict[str, Any] = {
        "methods": ["POST"],
        "response_model": list[Any] | dict[str, Any],
        "responses": ERROR_RESPONSES,
        "tags": ["Hugging Face"],
        "summary": "The model's own task",
        "openapi_extra": routes.INFER_BODY,
    }
    app.add_api_route("/", routes.infer, **answer)
    app.add_api_route("/models/{name}", routes.infer, dependencies=[Depends(name_of)], **answer)
    about: dict[str, Any] = {"methods": ["GET"], "response_model": ServedModel, "responses": {code: ERROR_RESPONSES[code] for code in (401, 404)}}
    about["summary"] = "One model"
    app.add_api_route("/models/{name}", routes.describe_model, dependencies=[Depends(name_of)], tags=["server"], **about)
    app.include_router(page_router())


# ---- errors ----


MESSAGES = {"missing": "this field is missing", **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "expected a JSON object")}
"""Type of a validation error -> words for it, where pydantic's name its classes."""


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    request.scope[CONTEXT].reason = error.reason
    body = error_body(error, request.scope["path"])
    return Response(body, status_code=error.status, media_type="application/json", headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """A field that is not known, else the first error: its place and the expected value; the value that was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    first = next((one for one in found if one["type"] == UNKNOWN), found[0])
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    said = MESSAGES.get(first["type"], first["msg"][:400])
    message = f"{place[:100]}: {said}" if place else said if first["type"] == UNKNOWN else "expected a JSON object"
    return await _request_error(request, RequestError(422, message, "question"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: see /openapi.json" if error.status_code in (404, 405) else str(error.detail)
    response = await _request_error(request, RequestError(error.status_code, message, "route"))
    response.headers.update(error.headers or {})
    return response


async def _broken(request: Request, error: Exception) -> Response:
    return await _request_error(request, RequestError(500, "Inference failed", "failure"))  # the middleware writes it into the log

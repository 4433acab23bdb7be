"""Models -> an ASGI application: routes, errors in one shape, middleware, the page, the reference of the routes."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from electra import __version__
from electra.serve import routes
from electra.serve.limits import RequestError, error_body
from electra.serve.middleware import CONTEXT, PAGE_PREFIX, AccessMiddleware
from electra.serve.routes import ERROR_RESPONSES
from electra.serve.schemas import UNKNOWN, ServedModel
from electra.serve.service import RequestContext, Serving

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


# ---- the reference at /docs: every route of the OpenAPI document, with examples that this server's models have answered ----


@dataclass(frozen=True)
class RouteExample:
    """A request and what came back."""

    path: str
    body: Any = None
    answer: str | None = None
    """The body of a 200; None: no model here answers such a request."""


@dataclass(frozen=True)
class Field:
    """A field of a request or an answer."""

    name: str
    kind: str
    required: bool
    default: str | None
    description: str


async def docs_page(request: Request) -> HTMLResponse:
    """GET /docs."""
    app, document = request.app, request.app.openapi()
    if (asked := getattr(app.state, "examples", None)) is None or (asked.done() and (asked.cancelled() or asked.exception() or not asked.result())):
        app.state.examples = asked = asyncio.ensure_future(examples_of(app, document))
    examples = await asyncio.shield(asked)
    return HTMLResponse(render(document, examples or {}, str(request.base_url).rstrip("/"), app.state.serving.token is not None), headers=HEADERS)


async def examples_of(app: FastAPI, document: Mapping[str, Any]) -> dict[tuple[str, str], RouteExample]:
    """(path, method) -> its example; empty where models are too busy to answer now."""
    out = {}
    for path, method, operation in operations_of(document):
        candidates = [RouteExample(path, body) for body in bodies_of(operation, document)] or [RouteExample(path)]
        names = [f"/models/{name}" for name in list(app.state.serving.models)[1:]] if method == "post" else []
        tried = [RouteExample(place, one.body) for one in candidates for place in (path, *(f"{name}{path}".rstrip("/") for name in names))]
        found = candidates[0]
        for one in [RouteExample(re.sub(r"{\w+}", next(iter(app.state.serving.models)), path))] if "{" in path else tried:
            status, answer = await _answer(app, method, one)
            if status in (429, 500, 503, 504):
                return {}
            if status == 200:
                found = RouteExample(one.path, one.body, answer)
                break
        out[path, method] = found
    return out


async def _answer(app: FastAPI, method: str, example: RouteExample) -> tuple[int, str]:
    """The application's answer to itself: status, body. Inside of the middleware: it is not counted, nor logged."""
    waiting, sent = [json.dumps(example.body).encode() if example.body is not None else b""], []

    async def receive() -> dict[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        await asyncio.Event().wait()  # this client never leaves
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    context = RequestContext(receive, time.monotonic() + app.state.serving.limits.timeout)
    scope: dict[str, Any] = {"type": "http", "method": method.upper(), "path": example.path, "raw_path": example.path.encode(), "query_string": b""}
    scope |= {"headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http", "root_path": "", CONTEXT: context}
    try:
        await app(scope, receive, send)
    except Exception:  # whatever a model raises has been sent as a 500
        return 500, ""
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


def operations_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Path, method and operation of every route; those of /models/{name}/ are the same as at the root."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/models/{name}/") and (path, method) != ("/models/{name}", "post"):
                yield path, method, operation


def resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or the one that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def forms_of(schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A schema's alternatives without null."""
    return [resolved(one, document) for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]


def schema_of(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of the request's body."""
    found: Mapping[str, Any] | None = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return found


def bodies_of(operation: Mapping[str, Any], document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An example of each form of a route's body: the first example of every field that must be given."""
    out = []
    for form in forms_of(schema_of(operation) or {}, document):
        needed = {name: form["properties"][name].get("examples", [None])[0] for name in form.get("required", ())}
        if needed and None not in needed.values():
            out.append(needed)
    return out


PLURALS = {"text": "texts", "number": "numbers", "whole number": "whole numbers", "object": "objects", "list": "lists"}
SINGULAR = re.compile(f"^({'|'.join(PLURALS)})")


def kind_of(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """A schema in words: 'text or list of texts', 'whole number from 1 to 1000'."""
    forms = forms_of(schema, document)
    if len(forms) != 1:
        return " or ".join(dict.fromkeys(kind_of(form, document) for form in forms)) or "anything"
    (form,) = forms
    if values := form.get("enum") or ([form["const"]] if "const" in form else []):
        return ("one of " if len(values) > 1 else "") + ", ".join(json.dumps(value) for value in values)
    if form.get("type") == "array":
        parts = forms_of(form.get("items", {}), document)
        kinds = [kind_of(part, document) for part in parts] or ["anything"]
        return "list of " + " or ".join(SINGULAR.sub(lambda found: PLURALS[found[0]], kind, count=1) for kind in dict.fromkeys(kinds))
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "object"}.get(
        form.get("type", ""), "anything"
    )
    low, high = (form.get(one, form.get(other)) for one, other in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")))
    ends = [f"{'above' if 'exclusiveMinimum' in form else 'from' if high is not None else 'at least'} {low:.16g}"] if low is not None else []
    if high is not None and high >= 2**53:  # rounded in the document
        ends.append(f"below 2^{int(high).bit_length() - 1}")
    elif high is not None:
        ends.append(f"{'below' if 'exclusiveMaximum' in form else 'to' if ends else 'at most'} {high:.16g}")
    return " ".join([kind, *ends])


def fields_of(schema: Mapping[str, Any], document: Mapping[str, Any], prefix: str = "") -> list[Field]:
    """The fields of an object, of its parts after it as 'parameters.top_k'."""
    out: list[Field] = []
    for form in forms_of(schema, document):
        # Of an object or a list of such objects, the object's fields are enough.
        if form.get("type") == "array" and not out and not prefix.endswith("[]."):
            out += fields_of(form["items"], document, f"{prefix.rstrip('.')}[].")
        for name, value in sorted(form.get("properties", {}).items(), key=lambda item: item[0] not in form.get("required", ())):
            plain = not isinstance(value.get("default"), dict | list | type(None))
            (only, *others), about = forms_of(value, document) or [{}], value.get("description", "")
            about = about or ("" if others else only.get("description", ""))
            field = Field(
                prefix + name, kind_of(value, document), name in form.get("required", ()), json.dumps(value["default"]) if plain else None, about
            )
            out += [field, *fields_of(value, document, f"{prefix}{name}.")]
    return list({field.name: field for field in out}.values())


SHOWN_NUMBERS, SHOWN_WIDTH, SHOWN_LINES = 4, 64, 16


def shown(value: Any, indent: int = 0) -> str:
    """JSON for readers: short values on one line, numbers of long lists left out."""
    if isinstance(value, float):
        return f"{value:.4g}" if value else "0.0"
    if isinstance(value, list) and len(value) > SHOWN_NUMBERS and all(isinstance(part, int | float) for part in value):
        return f"[{', '.join(shown(part) for part in value[: SHOWN_NUMBERS - 1])}, ... {len(value):,} numbers]"
    if isinstance(value, list) and value:
        ends, parts = "[]", [shown(part, indent + 2) for part in value]
    elif isinstance(value, dict) and value:
        ends, parts = "{}", [f"{json.dumps(key)}: {shown(part, indent + 2)}" for key, part in value.items()]
    else:
        return json.dumps(value, ensure_ascii=False)
    line = f"{ends[0]}{', '.join(parts)}{ends[1]}"
    if len(line) + indent <= SHOWN_WIDTH and "\n" not in line:
        return line
    space = " " * (indent + 2)
    return f"{ends[0]}\n{space}" + f",\n{space}".join(parts) + f"\n{' ' * indent}{ends[1]}"


def shown_answer(text: str) -> str:
    """The body of an answer; of a long one its beginning."""
    try:
        text = shown(json.loads(text))
    except ValueError:
        text = text.strip()
    lines = text.split("\n")
    return "\n".join([*lines[:SHOWN_LINES], f"... {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES + 1 else lines)


def render(document: Mapping[str, Any], examples: Mapping[tuple[str, str], RouteExample], url: str, token: bool) -> str:
    """An OpenAPI document -> HTML; `token`: whether requests need one."""
    info, groups, errors = document["info"], dict[str, list[str]](), dict[str, str]()
    takers = {
        resolved(schema, document)["title"]: path for path, _, one in operations_of(document) if (schema := schema_of(one)) and "$ref" in schema
    }
    sections: dict[str, list[str]] = {}
    for path, method, operation in operations_of(document):
        place, tag = f"{method}{path.replace('/', '-').strip('{}')}", operation.get("tags", [""])[0]
        name = f'<b class="method">{method.upper()}</b> <code>{_text(path)}</code>'
        groups.setdefault(tag, []).append(f'<li><a href="#{place}">{name}</a> <span>{_text(operation.get("summary", ""))}</span></li>')
        errors |= {code: response["description"] for code, response in operation["responses"].items() if code != "200"}
        example = examples.get(
            (path, method), next(iter([RouteExample(path, body) for body in bodies_of(operation, document)] or [RouteExample(path)]))
        )
        parts = [f'<h4 id="{place}">{name}</h4><p>{_prose(operation.get("description", operation.get("summary", "")))}</p>']
        about = _fields(operation, document, takers), _example(example, method, url, token, bool(examples)), _answer_fields(operation, document)
        parts.append(f'<div class="columns"><div>{about[0]}{about[2]}</div><div>{about[1]}</div></div>')
        codes = ", ".join(f'<a href="#error-{code}">{code}</a>' for code in operation["responses"] if code != "200")
        parts.append(f'<p class="hint">Errors: {codes}</p>' if codes else "")
        sections.setdefault(tag, []).append(f'<section class="card" aria-labelledby="{place}">{"".join(parts)}</section>')
    index = "".join(f"<h3>{_text(tag)}</h3><ul>{''.join(rows)}</ul>" for tag, rows in groups.items())
    body = "".join(f"<h3>{_text(tag)}</h3>{''.join(rows)}" for tag, rows in sections.items())
    rows = "".join(f'<dt id="error-{code}"><code>{code}</code></dt><dd>{_text(text)}</dd>' for code, text in sorted(errors.items()))
    return REFERENCE.format(
        title=_text(info["title"]), version=_text(info["version"]), about=_text(info["description"]), index=index, body=body, errors=rows
    )


REFERENCE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: the routes</title><link rel="icon" href="page/icon.svg"><link rel="stylesheet" href="page/style.css">
<link rel="stylesheet" href="page/reference.css"></head><body>
<a class="skip" href="#content">Skip to the content</a>
<header class="top"><div class="wide"><h1>{title} {version}</h1>
<p><a href="./">Try the models</a> · <a href="openapi.json">openapi.json</a></p></div></header>
<main id="content" class="wide" tabindex="-1"><h2>The routes</h2>
<p class="lead">{about} Bodies are JSON; a field that is not known is refused by name.
The answers below are those of the models that are loaded here.</p>
<nav class="card" aria-label="Routes">{index}</nav>
{body}
<h3 id="errors">Errors</h3><section class="card" aria-labelledby="errors"><p>The body says what was wrong in <code>error</code>
(OpenAI's routes: <code>message</code>),
and every answer has the header <code>x-request-id</code>.</p><dl>{errors}</dl></section>
</main></body></html>
"""


def _fields(operation: Mapping[str, Any], document: Mapping[str, Any], takers: Mapping[str, str]) -> str:
    """The fields of a route's body; of one with several forms, the routes that describe each."""
    if (schema := schema_of(operation)) is None:
        return ""
    forms = forms_of(schema, document)
    if len(forms) == 1:
        return f"<h5>Fields</h5>{_list(fields_of(schema, document))}"
    paths = [takers[form["title"]] for form in forms if form["title"] in takers]
    links = ", ".join(f'<a href="#post{path.replace("/", "-")}"><code>{_text(path)}</code></a>' for path in paths)
    return f"<h5>Fields</h5><p>Those of the route for the model's own task: {links}.</p>"


def _answer_fields(operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema")
    found = fields_of(schema, document) if schema else []
    return f"<details><summary>Fields of the answer</summary>{_list(found, answer=True)}</details>" if found else ""


def _list(fields: Sequence[Field], *, answer: bool = False) -> str:
    rows = []
    for one in fields:
        state = "" if answer else "required" if one.required else f"default {one.default}" if one.default is not None else "optional"
        about = f"<p>{_prose(one.description)}</p>" if one.description else ""
        rows.append(
            f"<dt><code>{_text(one.name)}</code></dt><dd><p>{_text(one.kind)}{f' · <em>{_text(state)}</em>' if state else ''}</p>{about}</dd>"
        )
    return f"<dl>{''.join(rows)}</dl>"


def _example(example: RouteExample, method: str, url: str, token: bool, asked: bool) -> str:
    """An example for curl and Python, and its answer."""
    place, body = f"{url}{example.path}", json.dumps(example.body, ensure_ascii=False)
    header = " -H 'Authorization: Bearer TOKEN'" if token else ""
    more = ', headers={"Authorization": "Bearer TOKEN"}' if token else ""
    quoted = body.replace("'", "'\\''")
    curl = f"curl {place}{header}" + (f" \\\n  -H 'Content-Type: application/json' \\\n  -d '{quoted}'" if method == "post" else "")
    given = f", json={example.body!r}" if method == "post" else ""
    text = example.answer is not None and not example.answer.startswith(("{", "["))
    python = f'import requests\n\nanswer = requests.{method}("{place}"{given}{more})\nprint(answer.{"text" if text else "json()"})'
    parts = [_code("curl", curl, example.path), f"<details><summary>In Python</summary>{_code('Python', python, example.path)}</details>"]
    if example.answer is None:
        reason = "No model that is loaded here answers this." if asked else "The models are too busy to show an answer now."
        return f'<h5>Example</h5>{"".join(parts)}<p class="hint">{reason}</p>'
    return f"<h5>Example</h5>{''.join(parts)}<h5>Answer</h5>{_code('answer', shown_answer(example.answer), example.path)}"


def _code(what: str, text: str, path: str) -> str:
    return f'<pre tabindex="0" role="region" aria-label="{what}, {_text(path)}"><code>{_text(text)}</code></pre>'


def _prose(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(value: Any) -> str:
    return html.escape(str(value))


DESCRIPTION = """Models made with electra. Each model has the routes under /models/NAME; those at the root ask the model that is made for them."""


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
    routers = (routes.tei_router, routes.openai_router, routes.own_router, routes.hf_router, routes.health_router)
    for router in routers:
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
    health = next(route for route in routes.health_router.routes if isinstance(route, APIRoute))
    app.add_api_route("/ping", routes.health, responses=health.responses, tags=["server"], summary="As /health, for SageMaker")
    # FastAPI answers HEAD of pages alone; probes and proxies send it to any GET route.
    gets = [(prefix + path, route) for router in routers for path, route in _get_routes(router) for prefix in ("", "/models/{name}")]
    gets += [*_get_routes(routes.server), ("/ping", routes.health), ("/models/{name}", routes.describe_model)]
    for path, endpoint in gets:
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    app.include_router(page_router())


def _get_routes(router: APIRouter) -> list[tuple[str, Any]]:
    """Path and function of each GET route."""
    return [(route.path, route.endpoint) for route in router.routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]


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

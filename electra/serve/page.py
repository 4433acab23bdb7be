"""The page at '/': plain files -> routes that a server includes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter, Request, Response

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE_PREFIX = "/page/"
"""Where the page's files are. They and GET / hold no answers of a model and need no token."""
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
    from fastapi import APIRouter, Response

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

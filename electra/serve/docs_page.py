"""The OpenAPI document as one plain page: nothing is fetched from elsewhere, nothing runs in the browser."""

from __future__ import annotations

import html
import json
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

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
    """An OpenAPI document -> HTML: every route with what it takes and gives."""
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

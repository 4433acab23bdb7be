"""A hub on this machine that speaks what `huggingface_hub` calls to upload: whoami, validate-yaml, create, preupload, LFS and commit."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_of_the_tests"


@dataclass
class Hub:
    """One repository, me/model, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """The title of each."""
    calls: list[str] = field(default_factory=list)
    created: dict[str, Any] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Part of a path -> status and text of its answer."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS: hash -> content."""
    url: str = ""
    public: bool = False
    """Whether the repository exists already, for everyone."""

    def answer(self, path: str, body: bytes) -> Any:
        """A request -> the JSON of its answer; None for a path that is not known."""
        if path.endswith("/whoami-v2"):
            return {"type": "user", "name": "me", "fullname": "Me", "auth": {"accessToken": {"role": "write"}}}
        if path.endswith("/validate-yaml"):
            assert json.loads(body)["content"].startswith("---\n")
            return {"errors": [], "warnings": []}
        if path.endswith("/repos/create"):
            self.created = json.loads(body)
            return {"url": f"{self.url}/me/model", "name": "me/model"}
        if re.search(r"/api/models/[^/]+/[^/]+$", path):
            return {"id": "me/model", "private": not self.public}
        if "/tree/" in path:
            return [{"type": "file", "path": name, "oid": "0" * 40, "size": len(content)} for name, content in self.files.items()]
        if "/preupload/" in path:
            return {"files": [{"path": file["path"], "uploadMode": mode(file["path"]), "shouldIgnore": False} for file in json.loads(body)["files"]]}
        if path.endswith("/objects/batch"):
            rows = json.loads(body)["objects"]
            return {"transfer": "basic", "objects": [{**row, "actions": {"upload": {"href": f"{self.url}/lfs/{row['oid']}"}}} for row in rows]}
        if "/commit/" in path:
            return self.commit([json.loads(line) for line in body.splitlines()])
        return None

    def commit(self, lines: list[dict[str, Any]]) -> dict[str, str]:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits.append(value["summary"])
            elif line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        return {"commitUrl": f"{self.url}/me/model/commit/1", "commitOid": "1" * 40, "hookOutput": ""}


def mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".onnx")) else "regular"


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A running hub."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.calls.append(f"{self.command} {path}")
            refused = next((answer for part, answer in hub.refuse.items() if part in path), None)
            if self.command == "PUT":
                hub.objects[path.rpartition("/")[2]] = body
                status, text = 200, ""
            elif refused is not None:
                status, text = refused
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.endswith("/validate-yaml"):
                status, text = 401, '{"error": "Invalid credentials"}'
            else:
                found = hub.answer(path, body)
                status, text = (404, "{}") if found is None else (200, json.dumps(found))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()

"""A server of the documented shapes without a model: what the page is tested against; it refuses on request."""

from __future__ import annotations

import re
import socket
import threading
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from electra.serve.app import page_router

LATENCY = {"p50_ms": 8.0, "p90_ms": 9.5, "p99_ms": 14.0, "num_calls": 200, "speedup": None, "speedup_interval": None, "within_noise": False}
ROW = {
    "source": "runs/sst2/best",
    "error": None,
    "metric": "accuracy",
    "scores": {"accuracy": 0.839},
    "score": 0.839,
    "score_interval": [0.813, 0.862],
    "agreement": 1.0,
    "padded": None,
    "padded_length": 0,
    "throughput": {
        "1": {"texts_per_second": 120.0, "slowest": 110.0, "fastest": 128.0, "speedup": None, "within_noise": False},
        "32": {"texts_per_second": 400.0, "slowest": 380.0, "fastest": 410.0, "speedup": None, "within_noise": False},
    },
    "size_bytes": 14_200_000,
    "peak_memory_bytes": 420_000_000,
    "load_seconds": 2.1,
    "build_seconds": None,
}
FAST = {"p50_ms": 1.9, "p90_ms": 2.2, "p99_ms": 3.1, "num_calls": 200, "speedup": 4.2, "speedup_interval": [4.0, 4.4], "within_noise": False}
SAME = {"p50_ms": 7.9, "p90_ms": 9.3, "p99_ms": 13.2, "num_calls": 200, "speedup": 1.01, "speedup_interval": [0.98, 1.05], "within_noise": True}
MEASURED = [
    {**ROW, "name": "checkpoint", "kind": "checkpoint", "latency": LATENCY},
    {
        **ROW,
        "name": "onnx-int8",
        "kind": "onnx-int8",
        "latency": FAST,
        "score": 0.835,
        "agreement": 0.993,
        "size_bytes": 4_100_000,
        "build_seconds": 11.0,
    },
    {**ROW, "name": "openvino", "kind": "openvino", "latency": SAME, "agreement": 0.999},
]


TITLES = {
    "mini": "detector of replaced tokens + generator",
    "ner": "named entities: LOC, PER, 3 tags",
    "squad": "question answering",
    "vectors": "sentence vectors, 384 dimensions",
    "ranker": "re-ranker",
}
MEANINGS = {"0": "negative", "1": "positive"}


def _model(name: str, role: str, **more: Any) -> dict[str, Any]:
    title = TITLES.get(name, "sentiment of film review sentences: negative / positive")
    made = {"title": title, "source": f"{name}/best", "built_from": None, "architecture": "ELECTRA 4 x 192", "dtype": "float32", "runtime": "PyTorch"}
    labels = {"labels": [], "label_meanings": {}, "multi_label": False}
    spec = {"max_length": 128, "truncate": "head" if role == "classifier" else "windows", "target": "pytorch"}
    return {"name": name, **made, "role": role, "task": None, **labels, "regression": False, **spec, "measured": [], **more}


MODELS = [
    _model("mini", "discriminator", abilities=["corrupt", "detect", "embed", "fill"]),
    _model("sst2", "classifier", task="sst2", labels=["0", "1"], label_meanings=MEANINGS, abilities=["classify", "embed"], measured=MEASURED),
    _model(
        "sst2-int8",
        "classifier",
        **{"task": "sst2", "labels": ["0", "1"], "label_meanings": MEANINGS, "target": "onnx-int8", "abilities": ["classify"], "measured": MEASURED},
        **{"source": "sst2-int8.zip", "built_from": "sst2/best", "dtype": "int8", "runtime": "ONNX Runtime"},
    ),
    _model("ner", "tagger", labels=["O", "B-PER", "B-LOC"], abilities=["tag"]),
    _model("squad", "span finder", abilities=["answer"]),
]
SEARCHERS = [
    _model("vectors", "encoder", abilities=["embed"]),
    _model("ranker", "classifier", labels=["LABEL_0"], abilities=["classify", "embed", "rerank"]),
]
FAKES = {"ate": 0.91, "river": 0.83, "because": 0.97, "down": 0.4}


def tokens_of(text: str) -> list[dict[str, Any]]:
    found = [(m.group(), m.start(), m.end()) for m in re.finditer(r"\w+|[^\w\s]", text)]
    out = []
    for word, start, end in found:
        score = FAKES.get(word, 0.04)
        parts = [(word, start, end)] if len(word) < 6 else [(word[:4], start, start + 4), ("##" + word[4:], start + 4, end)]
        out += [{"token": t, "start": s, "end": e, "score": score, "replaced": score >= 0.5} for t, s, e in parts]
    return out


class PageServer:
    """Runs in a thread on a free port. `refuse`: (status, headers, body) for every request to a model; `seen`: the requests."""

    def __init__(self, models: list[dict[str, Any]] | None = None, token: str = "", port: int = 0) -> None:
        self.models = MODELS if models is None else models
        self.token = token
        self.max_texts = 32
        self.refuse: tuple[int, dict[str, str], dict[str, Any]] | None = None
        self.delays: dict[str, float] = {}
        self.seen: list[tuple[str, Any]] = []
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self._app(), log_level="warning", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> PageServer:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(5)
        self.socket.close()

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.include_router(page_router())

        def known(request: Request) -> bool:
            return not self.token or request.headers.get("authorization") == f"Bearer {self.token}"

        @app.get("/models")
        def models(request: Request) -> Any:
            return {"models": self.models, "max_texts": self.max_texts} if known(request) else JSONResponse({"error": "token"}, 401)

        @app.post("/models/{name}")
        @app.post("/models/{name}/{route}")
        def answer(request: Request, name: str, body: dict[str, Any], route: str = "") -> Any:
            self.seen.append((f"{name}/{route}", body))
            if not known(request):
                return JSONResponse({"error": "token"}, 401)
            if self.refuse:
                status, headers, content = self.refuse
                return JSONResponse(content, status, headers)
            inputs = body.get("inputs")
            time.sleep(self.delays.get(inputs if isinstance(inputs, str) else "", 0))
            return getattr(self, route or {"ner": "tag", "squad": "ask"}.get(name, "fill"))(inputs, body)

        return app

    def similarity(self, inputs: dict[str, Any], body: dict[str, Any]) -> Any:
        """The share of shared letters."""
        query = set(inputs["source_sentence"])
        return [len(query & set(text)) / max(1, len(query | set(text))) for text in inputs["sentences"]]

    def rerank(self, inputs: None, body: dict[str, Any]) -> Any:
        """The first shall be last."""
        count = len(body["texts"])
        return [{"index": place, "score": (place + 1) / (count + 1)} for place in reversed(range(count))]

    def detect(self, text: str, body: dict[str, Any]) -> Any:
        return [tokens_of(text)]

    def corrupt(self, text: str, body: dict[str, Any]) -> Any:
        """Every fourth word becomes 'ate'; offsets are those of the corrupted text."""
        words = text.split(" ")
        put = [("ate" if i % 4 == body.get("seed", 1) % 4 else word) for i, word in enumerate(words)]
        tokens, place = [], 0
        for index, (original, word) in enumerate(zip(words, put, strict=True)):
            score = FAKES.get(word, 0.04)
            masked = index % 4 == body.get("seed", 1) % 4
            proposals = [{"token": word, "score": 0.31}, {"token": "made", "score": 0.2}, {"token": "ran", "score": 0.05}] if masked else []
            row = {"token": word, "original": original, "start": place, "end": place + len(word), "masked": masked, "changed": original != word}
            tokens.append({**row, "score": score, "proposals": proposals})
            place += len(word) + 1
        return {"text": text, "corrupted": " ".join(put), "tokens": tokens}

    def predict(self, inputs: Any, body: dict[str, Any]) -> Any:
        good = 0.97 if "wonderful" in str(inputs) else 0.08
        return [{"label": "1", "score": good}, {"label": "0", "score": 1 - good}]

    def tag(self, text: str, body: dict[str, Any]) -> Any:
        kinds = {"Ada Lovelace": "PER", "London": "LOC", "Charles Babbage": "PER"}
        found = [(m, kind) for name, kind in kinds.items() for m in re.finditer(name, text)]
        return [{"entity_group": kind, "score": 0.96, "word": m.group(), "start": m.start(), "end": m.end()} for m, kind in found]

    def ask(self, inputs: dict[str, str], body: dict[str, Any]) -> Any:
        start = inputs["context"].find("Horace Jones")
        if start < 0:
            return {"answer": "", "score": 0.7, "start": 0, "end": 0}
        return {"answer": "Horace Jones", "score": 0.88, "start": start, "end": start + 12}

    def fill(self, text: str, body: dict[str, Any]) -> Any:
        words = [("cooked", 0.4), ("ate", 0.2), ("made", 0.1)]
        gap = [{"score": p, "token": i, "token_str": w, "sequence": text.replace("[MASK]", w, 1)} for i, (w, p) in enumerate(words)]
        return gap if text.count("[MASK]") == 1 else [gap] * text.count("[MASK]")


if __name__ == "__main__":
    PageServer(port=8765).start().thread.join()

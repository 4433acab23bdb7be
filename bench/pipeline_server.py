"""Peers of bench/serving.py: `transformers`' pipeline behind FastAPI and behind LitServe, as their users write it.

    python bench/pipeline_server.py fastapi|litserve MODEL PORT THREADS

FastAPI: each request is one call of the pipeline, in the thread pool that FastAPI gives to plain functions. LitServe: requests that come within five
milliseconds are one batch, as its documentation teaches.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
import torch
import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

LARGEST_BATCH, WAIT_SECONDS = 32, 0.005


class PredictRequest(BaseModel):
    """What is sent."""

    inputs: str


def pipeline(model: str, threads: int) -> Any:
    """The classifier of a folder."""
    torch.set_num_threads(threads or torch.get_num_threads())
    return transformers.pipeline("text-classification", model=model, device="cpu", top_k=None)


def with_fastapi(model: str, port: int, threads: int) -> None:
    """POST /predict and GET /health."""
    classify = pipeline(model, threads)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: PredictRequest) -> Any:
        return classify(body.inputs)

    @app.get("/health")
    def health() -> Any:
        return {"status": "ok"}

    uvicorn.run(app, port=port, log_level="error", access_log=False)


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """A pipeline that takes batches, in a process of LitServe's."""

    def __init__(self, model: str, threads: int, **options: Any) -> None:
        """A folder, and threads of PyTorch."""
        super().__init__(**options)
        self.model, self.threads = model, threads

    def setup(self, device: str) -> None:
        """Load."""
        self.classify = pipeline(self.model, self.threads)

    def decode_request(self, request: dict[str, str]) -> str:
        """A body -> its text."""
        return request["inputs"]

    def predict(self, texts: list[str]) -> Any:
        """A batch."""
        return self.classify(texts, batch_size=LARGEST_BATCH)

    def encode_response(self, output: Any) -> Any:
        """The answer to one text."""
        return output


def with_litserve(model: str, port: int, threads: int) -> None:
    """The same by LitServe, one worker."""
    api = Classifier(model, threads, max_batch_size=LARGEST_BATCH, batch_timeout=WAIT_SECONDS, api_path="/predict")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False).run(port=port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    (with_fastapi if sys.argv[1] == "fastapi" else with_litserve)(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

"""The peer of bench/serving.py: `transformers`' pipeline behind FastAPI, as its users write it.

    python bench/pipeline_server.py MODEL PORT THREADS

Each request is one call of the pipeline, in the thread pool that FastAPI gives to plain functions.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class PredictRequest(BaseModel):
    """What is sent."""

    inputs: str


def create_app(model: str) -> FastAPI:
    """A model's folder -> POST /predict and GET /health."""
    classify = transformers.pipeline("text-classification", model=model, device="cpu", top_k=None)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: PredictRequest) -> Any:
        return classify(body.inputs)

    @app.get("/health")
    def health() -> Any:
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    if int(sys.argv[3]):
        torch.set_num_threads(int(sys.argv[3]))
    uvicorn.run(create_app(sys.argv[1]), port=int(sys.argv[2]), log_level="error", access_log=False)

"""What ELECTRA can do and others have no route for: /detect, /corrupt; and what is served: /models."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from electra.serve.answering import REFUSALS, as_json, ask, model_of, serving_of
from electra.serve.operations import Corrupt, Detect
from electra.serve.refusals import Refused
from electra.serve.routes_tei import as_list
from electra.serve.schemas import Corruption, CorruptRequest, DetectedToken, DetectRequest, Error, Models

router = APIRouter(tags=["electra"], responses=REFUSALS)
server = APIRouter(tags=["server"], responses={401: REFUSALS[401]})


@router.post("/detect", response_model=list[list[DetectedToken]])
async def detect(body: DetectRequest, request: Request) -> Response:
    """Each token of each text with the probability that it was replaced."""
    return as_json(await ask(request, Detect(threshold=body.threshold), as_list(body.inputs)))


@router.post("/corrupt", response_model=Corruption)
async def corrupt(body: CorruptRequest, request: Request) -> Response:
    """Mask a text, fill it by the generator, and ask the discriminator; the same seed gives the same answer."""
    (answer,) = await ask(request, Corrupt(body.mask_prob, body.temperature, body.seed), [body.inputs])
    return as_json(answer)


@server.get("/models", response_model=Models)
async def models(request: Request) -> Response:
    """The served models; the first answers at the root, each at /models/NAME."""
    return as_json({"models": [model.describe() for model in serving_of(request).models.values()]})


async def describe_model(request: Request) -> Response:
    """One model."""
    return as_json(model_of(request).describe())


@server.get("/health", responses={200: {"description": "Requests are taken"}, 503: {"model": Error, "description": "Shutting down, or broken"}})
async def health(request: Request) -> Response:
    """Whether requests are taken. Needs no token."""
    if not serving_of(request).healthy:
        raise Refused(503, "unhealthy", "unhealthy", 1)
    return as_json({"status": "ok"})


@server.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}})
async def metrics(request: Request) -> Response:
    """Counts, latencies, batches and queues for Prometheus."""
    return Response(serving_of(request).metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

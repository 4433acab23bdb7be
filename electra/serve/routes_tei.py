"""The routes of text-embeddings-inference: /predict, /embed, /embed_all, /info."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from electra import __version__
from electra.deploy.texts import Text
from electra.serve.answering import REFUSALS, as_json, ask, model_of, serving_of
from electra.serve.operations import Classify, Embed, EmbedAll
from electra.serve.refusals import Refused
from electra.serve.schemas import EmbedRequest, Info, PredictRequest, Score

router = APIRouter(tags=["text-embeddings-inference"], responses=REFUSALS)


@router.post("/predict", response_model=list[Score] | list[list[Score]])
async def predict(body: PredictRequest, request: Request) -> Response:
    """Classify a text, a pair of texts, or a batch of them: every class with its score, the best first."""
    items, single = sequences(body.inputs)
    answers = await ask(request, Classify(transform="none" if body.raw_scores else "default"), items, truncate=body.truncate)
    return as_json(answers[0] if single else answers)


@router.post("/embed", response_model=list[list[float]])
async def embed(body: EmbedRequest, request: Request) -> Response:
    """One vector for each text: the mean of its last hidden states."""
    return as_json(await ask(request, Embed(normalize=body.normalize), as_list(body.inputs), truncate=body.truncate))


@router.post("/embed_all", response_model=list[list[list[float]]])
async def embed_all(body: EmbedRequest, request: Request) -> Response:
    """One vector for each token of each text, [CLS] and [SEP] included."""
    return as_json(await ask(request, EmbedAll(), as_list(body.inputs), truncate=body.truncate))


@router.get("/info", response_model=Info)
async def info(request: Request) -> Response:
    """What is served, and how much may be asked at once."""
    model, limits = model_of(request), serving_of(request).limits
    labels = list(model.predictor.network.labels)
    kind: dict[str, Any] = {"embedding": {"pooling": "mean"}}
    if model.role == "classifier":
        kind = {
            "classifier": {"id2label": {str(i): label for i, label in enumerate(labels)}, "label2id": {label: i for i, label in enumerate(labels)}}
        }
    return as_json(
        {
            "model_id": model.name,
            "model_type": kind,
            "max_concurrent_requests": limits.max_requests,
            "max_input_length": model.predictor.max_length,
            "max_batch_tokens": limits.max_batch_tokens,
            "max_client_batch_size": limits.max_texts,
            "auto_truncate": False,
            "version": __version__,
        }
    )


def sequences(inputs: Any) -> tuple[list[Text], bool]:
    """`inputs` of /predict -> texts and pairs, and whether it is just one: the reading of text-embeddings-inference.

    A flat list is one input, of one text or two; a batch is a list of such lists.

    Raises:
        Refused: 422, a flat list of more than two, or lists and texts mixed.
    """
    if isinstance(inputs, str):
        return [Text(inputs)], True
    if inputs and all(isinstance(part, str) for part in inputs):
        if len(inputs) > 2:
            raise Refused(422, '`inputs` is one flat list: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
        return [Text(*inputs)], True
    if any(isinstance(part, str) for part in inputs):
        raise Refused(422, '`inputs` mixes texts and lists: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
    return [Text(*part) for part in inputs], False


def as_list(inputs: str | list[str]) -> list[str]:
    """One text or several -> several."""
    return [inputs] if isinstance(inputs, str) else inputs

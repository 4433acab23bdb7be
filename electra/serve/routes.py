"""The routes: text-embeddings-inference's (/predict, /embed, /embed_all, /info), Hugging Face's payloads (POST /), /detect, /corrupt, /models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from electra import __version__
from electra.inference.text_io import Text
from electra.serve.limits import RequestError
from electra.serve.middleware import CONTEXT
from electra.serve.models import TASKS, Model
from electra.serve.operations import AnswerQuestion, Classify, Corrupt, Detect, Embed, EmbedAll, Fill, Operation, Tag
from electra.serve.schemas import (
    ClassScore,
    CorruptedText,
    CorruptRequest,
    DetectedToken,
    DetectRequest,
    EmbedRequest,
    Error,
    InferenceRequest,
    Info,
    Models,
    Pair,
    Parameters,
    PredictRequest,
    QuestionWithContext,
)
from electra.serve.service import Serving

# ---- shared by the routes ----


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "Not valid JSON"},
    401: {"model": Error, "description": "No token, or a wrong one"},
    404: {"model": Error, "description": "No model of that name"},
    408: {"model": Error, "description": "The body came too slowly"},
    413: {"model": Error, "description": "Too much at once: body, texts or tokens"},
    415: {"model": Error, "description": "Not sent as JSON"},
    422: {"model": Error, "description": "Something else was expected"},
    424: {"model": Error, "description": "The model cannot answer this"},
    429: {"model": Error, "description": "Too many are waiting; Retry-After says for how long"},
    503: {"model": Error, "description": "Shutting down"},
    504: {"model": Error, "description": "No answer in time"},
}


def serving_of(request: Request) -> Serving:
    """The server's models."""
    found: Serving = request.app.state.serving
    return found


def model_of(request: Request) -> Model:
    """The model a request's path names, or the first.

    Raises:
        RequestError: 404.
    """
    return serving_of(request).find(request.path_params.get("name"))


async def ask(request: Request, operation: Operation, items: Sequence[Any]) -> list[Any]:
    """A request's texts -> their answers (see `Serving.ask`)."""
    return await serving_of(request).ask(request.scope[CONTEXT], model_of(request), operation, items)


def as_json(value: Any) -> Response:
    """A value as the body of a 200."""
    return Response(to_json(value), media_type="application/json")


tei_router = APIRouter(tags=["text-embeddings-inference"], responses=ERROR_RESPONSES)


@tei_router.post("/predict", response_model=list[ClassScore] | list[list[ClassScore]])
async def predict(body: PredictRequest, request: Request) -> Response:
    """Classify a text, a pair of texts, or a batch of them: every class with its score, the best first."""
    items, single = sequences(body.inputs)
    answers = await ask(request, Classify(transform="none" if body.raw_scores else "default", truncate=body.truncate), items)
    return as_json(answers[0] if single else answers)


@tei_router.post("/embed", response_model=list[list[float]])
async def embed(body: EmbedRequest, request: Request) -> Response:
    """One vector for each text: the mean of its last hidden states."""
    return as_json(await ask(request, Embed(normalize=body.normalize, truncate=body.truncate), as_list(body.inputs)))


@tei_router.post("/embed_all", response_model=list[list[list[float]]])
async def embed_all(body: EmbedRequest, request: Request) -> Response:
    """One vector for each token of each text, [CLS] and [SEP] included."""
    return as_json(await ask(request, EmbedAll(truncate=body.truncate), as_list(body.inputs)))


@tei_router.get("/info", response_model=Info)
async def info(request: Request) -> Response:
    """The model, its input spec, and the limits of a request."""
    model, limits = model_of(request), serving_of(request).limits
    labels = list(model.predictor.backend.labels)
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
            "max_length": model.predictor.max_length,
            "truncate": model.predictor.spec.truncate,
            "max_batch_tokens": limits.max_batch_tokens,
            "max_client_batch_size": limits.max_texts,
            "auto_truncate": False,
            "version": __version__,
        }
    )


def sequences(inputs: Any) -> tuple[list[Text], bool]:
    """`inputs` of /predict -> texts and pairs, and whether it is just one, by the rules of text-embeddings-inference.

    A flat list is one input, of one text or two; a batch is a list of such lists.

    Raises:
        RequestError: 422, a flat list of more than two, or lists and texts mixed.
    """
    if isinstance(inputs, str):
        return [Text(inputs)], True
    if inputs and all(isinstance(part, str) for part in inputs):
        if len(inputs) > 2:
            raise RequestError(422, '`inputs` is one flat list: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
        return [Text(*inputs)], True
    if any(isinstance(part, str) for part in inputs):
        raise RequestError(422, '`inputs` mixes texts and lists: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
    return [Text(*part) for part in inputs], False


def as_list(inputs: str | list[str]) -> list[str]:
    """One text or several -> several."""
    return [inputs] if isinstance(inputs, str) else inputs


# ---- Hugging Face's payloads: {"inputs", "parameters", "options"}, as `huggingface_hub.InferenceClient` sends them ----


hf_router = APIRouter(tags=["Hugging Face"], responses=ERROR_RESPONSES)
TaskName = Literal["text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction", "replaced-token-detection"]


@hf_router.post("/pipeline/{task}", response_model=list[Any] | dict[str, Any])
async def run_task(task: TaskName, body: InferenceRequest, request: Request) -> Response:
    """Answer as the named pipeline does."""
    return await answered(request, task, body)


async def infer(body: InferenceRequest, request: Request) -> Response:
    """Answer as the pipeline of the model's own task does."""
    model = model_of(request)
    return await answered(request, TASKS.get(model.role) or _task_of(body, model), body)


async def answered(request: Request, task: str, body: InferenceRequest) -> Response:
    """A payload -> the task's answer: of one input, or a list of those of several.

    Raises:
        RequestError: 422, the inputs are not those of the task; or as `Serving.ask`.
    """
    given = body.parameters
    operation = operation_for(task, body)
    items = [_item(task, part) for part in (body.inputs if isinstance(body.inputs, list) else [body.inputs])]
    answers: list[Any] = await ask(request, operation, items)
    if task == "text-classification":
        # The clients expect a list of lists, of one text too.
        return as_json([answer[: given.top_k] for answer in answers])
    several = isinstance(body.inputs, list) or task in ("feature-extraction", "replaced-token-detection")
    return as_json(answers if several else answers[0])


def operation_for(task: str, body: InferenceRequest) -> Operation:
    """A task and its parameters -> the operation."""
    given: Parameters = body.parameters
    truncate = bool(body.truncate or given.truncate)
    if task == "text-classification":
        return Classify(transform=given.function_to_apply or "default", truncate=truncate)
    if task == "token-classification":
        ignored = ("O",) if given.ignore_labels is None else tuple(given.ignore_labels)
        return Tag(strategy=given.aggregation_strategy or "simple", ignore_labels=ignored)
    if task == "question-answering":
        return AnswerQuestion(given.top_k or 1, given.handle_impossible_answer, given.max_answer_len, given.doc_stride)
    if task == "fill-mask":
        return Fill(top_k=given.top_k or 5, targets=tuple(given.targets or ()))
    if task == "replaced-token-detection":
        return Detect()
    normalize = given.normalize if body.normalize is None else body.normalize
    return Embed(normalize=normalize is not False, truncate=truncate)


def _item(task: str, part: Any) -> Any:
    if task == "question-answering":
        if isinstance(part, QuestionWithContext):
            return part.question, part.context
        raise RequestError(422, '`inputs` of question-answering: {"question": text, "context": text}, or a list of these', "question")
    if task == "text-classification" and isinstance(part, Pair):
        return Text(part.text, part.text_pair)
    if not isinstance(part, str):
        raise RequestError(422, f"`inputs` of {task}: a text, or a list of texts", "question")
    return Text(part) if task == "text-classification" else part


def _task_of(body: InferenceRequest, model: Model) -> str:
    texts = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    masks = ("[MASK]", model.predictor.tokenizer.pieces[model.predictor.tokenizer.mask_id]) if "fill" in model.abilities else ()
    return "fill-mask" if any(mask in text for mask in masks for text in texts if isinstance(text, str)) else "feature-extraction"


# ---- /detect, /corrupt, /models, /health, /metrics ----


own_router = APIRouter(tags=["electra"], responses=ERROR_RESPONSES)
server = APIRouter(tags=["server"], responses={401: ERROR_RESPONSES[401]})


@own_router.post("/detect", response_model=list[list[DetectedToken]])
async def detect(body: DetectRequest, request: Request) -> Response:
    """Each token of each text with the probability that it was replaced."""
    return as_json(await ask(request, Detect(threshold=body.threshold), as_list(body.inputs)))


@own_router.post("/corrupt", response_model=CorruptedText)
async def corrupt(body: CorruptRequest, request: Request) -> Response:
    """Mask a text, fill it by the generator, and detect by the discriminator; the same seed gives the same answer."""
    (answer,) = await ask(request, Corrupt(mask_prob=body.mask_prob, temperature=body.temperature, seed=body.seed), [body.inputs])
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
        raise RequestError(503, "unhealthy", "unhealthy", 1)
    return as_json({"status": "ok"})


@server.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}})
async def metrics(request: Request) -> Response:
    """Counts, latencies, batches and queues for Prometheus."""
    return Response(serving_of(request).metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

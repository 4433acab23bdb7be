"""The routes: text-embeddings-inference's, OpenAI's embeddings, Hugging Face's payloads by task, /detect, /corrupt, /models, /health, /metrics."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from electra.errors import UserError
from electra.inference.call_forms import Cut, read_cut
from electra.inference.text_io import Text
from electra.serve import schemas
from electra.serve.limits import RequestError
from electra.serve.middleware import CONTEXT
from electra.serve.models import TASKS, Model
from electra.serve.operations import (
    AnswerQuestion,
    Classify,
    Corrupt,
    Decode,
    Detect,
    Embed,
    EmbedAll,
    End,
    Fill,
    Operation,
    Rerank,
    Tag,
    Tokenize,
)
from electra.serve.service import Serving

# ---- shared by the routes ----


def error_responses(form: type[Any]) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that are not 200, for the document."""
    return {
        400: {"model": form, "description": "Not valid JSON, or nothing to answer"},
        401: {"model": form, "description": "No token, or a wrong one"},
        404: {"model": form, "description": "No model of that name"},
        408: {"model": form, "description": "The body came too slowly"},
        413: {"model": form, "description": "Too much at once: body, texts or tokens"},
        415: {"model": form, "description": "Not sent as JSON"},
        421: {"model": form, "description": "The header Host names another machine"},
        422: {"model": form, "description": "Something else was expected, or a field is not known"},
        424: {"model": form, "description": "The model cannot answer this"},
        429: {"model": form, "description": "Too many are waiting; Retry-After says for how long"},
        503: {"model": form, "description": "Shutting down"},
        504: {"model": form, "description": "No answer in time"},
    }


ERROR_RESPONSES = error_responses(schemas.Error)


def serving_of(request: Request) -> Serving:
    """The server's models."""
    found: Serving = request.app.state.serving
    return found


def model_of(request: Request, operation: type[Operation] | None = None) -> Model:
    """The model that a request's path names, or the one for the operation (see `Serving.choose`).

    Raises:
        RequestError: 404; 424, no model is named and several are right; 422 for a query string, which no route with a model reads: '?model=b'
            would be answered by another model.
    """
    for key in request.query_params:
        message = f"query parameter {key[:40]!r} has no effect; send fields in the body, and name a model in the path: /models/NAME/..."
        raise RequestError(422, message, "question")
    name, serving = request.path_params.get("name"), serving_of(request)
    return serving.choose(operation) if name is None else serving.find(name)


async def ask(request: Request, operation: Operation, items: Sequence[Any], model: Model | None = None) -> list[Any]:
    """A request's texts -> their answers (see `Serving.ask`)."""
    return await serving_of(request).ask(request.scope[CONTEXT], model or model_of(request, type(operation)), operation, items)


def as_json(value: Any) -> Response:
    """A value as the body of a 200."""
    return Response(to_json(value), media_type="application/json")


def cut_of(body: schemas.Truncation) -> End:
    """`truncate` and `truncation_direction` -> the end that a longer text loses.

    Raises:
        RequestError: 422, an end without `truncate`.
    """
    if body.truncate is None:
        if body.left:
            raise RequestError(422, "`truncation_direction` 'left' has an effect with `truncate` alone; set `truncate` to true", "question")
        return ""
    return "none" if not body.truncate else "left" if body.left else "right"


def cutting(model: Model, body: schemas.Truncation) -> dict[str, Any]:
    """The same for a classifier, which also reads pairs: fields of `Classify`."""
    end, spec = cut_of(body), model.predictor.spec
    return {"cut": Cut("longest_first", spec.max_length, left=end == "left") if end in ("left", "right") else None, "whole": end == "none"}


def prompt_of(model: Model, name: str | None = None) -> str:
    """A prompt's name -> what comes before each text; None: the model's default prompt, if it has one.

    Raises:
        RequestError: 422, the model has no such prompt.
    """
    modules = model.predictor.modules
    if name is not None and not modules.declared:
        message = f"`prompt_name` '{name[:64]}': model '{model.name}' is no sentence-transformers folder and has no prompts; leave it out"
        raise RequestError(422, message, "question")
    try:
        return modules.prompt(name=name)
    except UserError as error:
        raise RequestError(422, f"`prompt_name`: {error}", "question") from None


def as_list(inputs: Any, field: str = "inputs") -> list[Any]:
    """A text, its token ids, or a list of these -> a list of these.

    Raises:
        RequestError: 400, a text's ids are an empty list.
    """
    items = [inputs] if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)) else inputs
    if [] in items:
        raise RequestError(400, f"`{field}` cannot be empty", "empty")
    return items  # type: ignore[no-any-return]


# ---- text-embeddings-inference ----


tei_router = APIRouter(tags=["text-embeddings-inference"], responses=ERROR_RESPONSES)


@tei_router.post("/predict", response_model=list[schemas.ClassScore] | list[list[schemas.ClassScore]], summary="Classify")
async def predict(body: schemas.PredictRequest, request: Request) -> Response:
    """Classify a text, a pair of texts, or a batch of them: every class with its score, the best first."""
    items, single = sequences(body.inputs)
    how = cutting(model_of(request, Classify), body)
    answers = await ask(request, Classify(transform="none" if body.raw_scores else "default", **how), items)
    return as_json(answers[0] if single else answers)


@tei_router.post("/rerank", response_model=list[schemas.Rank], summary="Rank texts by a query")
async def rerank(body: schemas.RerankRequest, request: Request) -> Response:
    """Score texts by a query with a cross-encoder, a classifier of one output: the best first."""
    if not body.texts:
        raise RequestError(400, "`texts` cannot be empty", "empty")
    operation = Rerank(transform="none" if body.raw_scores else "sigmoid", **cutting(model_of(request, Rerank), body))
    scores = await ask(request, operation, [Text(body.query, text) for text in body.texts])
    # Sorted upwards, then reversed, as there: of equal scores the later text comes first.
    order = sorted(range(len(scores)), key=lambda index: scores[index])[::-1]
    texts = [{"text": text} if body.return_text else {} for text in body.texts]
    return as_json([{"index": index, **texts[index], "score": scores[index]} for index in order])


@tei_router.post("/v1/rerank", response_model=schemas.RerankedDocuments, summary="Rank documents, for Cohere's and Jina's clients")
@tei_router.post("/v2/rerank", response_model=schemas.RerankedDocuments, summary="The same, with a newer address")
async def rerank_documents(body: schemas.RerankDocumentsRequest, request: Request) -> Response:
    """Score documents by a query with a cross-encoder: the best `top_n` first. A long document is read as the model was trained."""
    if not body.documents:
        raise RequestError(400, "`documents` cannot be empty", "empty")
    request.scope[CONTEXT].field = "documents"
    model = _named_model(request, body.model, Rerank)
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    scores = await ask(request, Rerank(transform="sigmoid"), [Text(body.query, text) for text in texts], model)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    documents = [{"document": {"text": text}} if body.return_documents else {} for text in texts]
    results = [{"index": index, "relevance_score": scores[index], **documents[index]} for index in order]
    return as_json({"model": model.name, "results": results, "usage": {"total_tokens": request.scope[CONTEXT].read}})


@tei_router.post("/embed", response_model=list[list[float]], summary="Vectors of texts")
async def embed(body: schemas.EmbedRequest, request: Request) -> Response:
    """One vector for each text: the mean of its last hidden states, unless the model's folder says otherwise."""
    return as_json(await vectors(request, body, as_list(body.inputs), normalize=body.normalize, dimensions=body.dimensions))


async def vectors(request: Request, body: Any, items: list[Any], *, normalize: bool, dimensions: int | None = None) -> list[list[float]]:
    """Texts -> their vectors; `body` has `truncate`, `truncation_direction` and `prompt_name`."""
    prompt = prompt_of(model_of(request, Embed), body.prompt_name)
    return await ask(request, Embed(cut=cut_of(body), prompt=prompt, normalize=normalize, dimensions=dimensions), items)


@tei_router.post("/embed_all", response_model=list[list[list[float]]], summary="Vectors of tokens")
async def embed_all(body: schemas.EmbedAllRequest, request: Request) -> Response:
    """One vector for each token of each text, [CLS] and [SEP] included."""
    prompt = prompt_of(model_of(request, EmbedAll), body.prompt_name)
    return as_json(await ask(request, EmbedAll(cut=cut_of(body), prompt=prompt), as_list(body.inputs)))


@tei_router.post("/embed_sparse", response_model=list[Any], summary="Sparse vectors (refused)")
async def embed_sparse(body: schemas.EmbedAllRequest, request: Request) -> Response:
    """Refused with 424: no model here is a SPLADE."""
    message = f"model '{model_of(request, EmbedAll).name}' is not an embedding model with SPLADE pooling; use /embed"
    raise RequestError(424, message, "ability")


@tei_router.post("/similarity", response_model=list[float], summary="Compare sentences")
async def similarity(body: schemas.SimilarityRequest, request: Request) -> Response:
    """The cosine of a sentence's vector with that of each of the others."""
    if not body.inputs.sentences:
        raise RequestError(400, "`inputs.sentences` cannot be empty", "empty")
    given = body.parameters or schemas.SimilarityParameters()
    rows = await vectors(request, given, [body.inputs.source_sentence, *body.inputs.sentences], normalize=True)
    first, *others = np.asarray(rows, dtype=np.float64)
    return as_json([float(np.clip(first @ other, -1, 1)) for other in others])


@tei_router.post("/tokenize", response_model=list[list[schemas.SimpleToken]], summary="Texts to tokens")
async def tokenize(body: schemas.TokenizeRequest, request: Request) -> Response:
    """The tokens of each text; `start` and `stop` count bytes of UTF-8."""
    operation = Tokenize(add_special_tokens=body.add_special_tokens, prompt=prompt_of(model_of(request, Tokenize), body.prompt_name))
    return as_json(await ask(request, operation, as_list(body.inputs)))


@tei_router.post("/decode", response_model=list[str], summary="Tokens to texts")
async def decode(body: schemas.DecodeRequest, request: Request) -> Response:
    """The text of each list of token ids."""
    ids = as_list(body.ids)
    return as_json(await ask(request, Decode(skip_special_tokens=body.skip_special_tokens), ids))


@tei_router.get("/info", response_model=schemas.Info, summary="The model and its limits")
async def info(request: Request) -> Response:
    """The model, its input spec, and the limits of a request."""
    return as_json(model_of(request).info(serving_of(request).limits))


def sequences(inputs: Any) -> tuple[list[Text], bool]:
    """`inputs` of /predict -> texts and pairs, and whether it is just one, by the rules of text-embeddings-inference.

    A flat list is one input, of one text or two; a batch is a list of such lists.

    Raises:
        RequestError: 422, an empty list, a flat list of more than two, or lists and texts mixed.
    """
    if isinstance(inputs, str):
        return [Text(inputs)], True
    if not inputs:
        raise RequestError(422, "`inputs` is an empty list; give a text, a pair of texts, or a batch [[text], [text, text], ...]", "question")
    if all(isinstance(part, str) for part in inputs):
        if len(inputs) > 2:
            raise RequestError(422, '`inputs` is one flat list: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
        return [_text(inputs)], True
    if any(isinstance(part, str) for part in inputs):
        raise RequestError(422, '`inputs` mixes texts and lists: write a batch as [["first text"], ["second text"], ["a", "pair"]]', "question")
    return [_text(part) for part in inputs], False


def _text(part: Sequence[str]) -> Text:
    """One text or two; an empty second text is none, as in every other interface."""
    return Text(part[0], part[1] or None) if len(part) == 2 else Text(part[0])


# ---- OpenAI's embeddings ----


openai_router = APIRouter(tags=["OpenAI"], responses=error_responses(schemas.OpenAIError))


@openai_router.post("/v1/embeddings", response_model=schemas.OpenAIResponse, summary="Vectors, for OpenAI's clients")
@openai_router.post("/embeddings", response_model=schemas.OpenAIResponse, summary="The same, with a shorter address")
async def openai_embed(body: schemas.OpenAIRequest, request: Request) -> Response:
    """One vector of length one for each text. A text that is too long is read as the model was trained."""
    request.scope[CONTEXT].field = "input"
    model = _named_model(request, body.model, Embed)
    found = await ask(request, Embed(prompt=prompt_of(model), dimensions=body.dimensions), as_list(body.input, "input"), model)
    data = [{"object": "embedding", "embedding": _encoded(row, body.encoding_format), "index": index} for index, row in enumerate(found)]
    read = request.scope[CONTEXT].read
    return as_json({"object": "list", "data": data, "model": model.name, "usage": {"prompt_tokens": read, "total_tokens": read}})


@openai_router.get("/v1/models", response_model=schemas.OpenAIModels, summary="The served models, for OpenAI's clients")
async def openai_models(request: Request) -> Response:
    """The names that the field `model` takes; under /models/NAME that one alone."""
    serving = serving_of(request)
    names = [model_of(request).name] if "name" in request.path_params else [*serving.models]
    return as_json({"object": "list", "data": [_openai_model(name) for name in names]})


@openai_router.get("/v1/models/{model_id}", response_model=schemas.OpenAIModel, summary="One of them")
async def openai_model(model_id: Annotated[str, Path(max_length=256)], request: Request) -> Response:
    """A model by its name."""
    return as_json(_openai_model(serving_of(request).find(model_id).name))


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "electra"}


STARTED = int(time.time())


def _named_model(request: Request, name: str | None, operation: type[Operation]) -> Model:
    """The model of OpenAI's field `model`. Where there is no choice, one model or one that the address names, any name will do, as in
    text-embeddings-inference."""
    serving = serving_of(request)
    if name is None or len(serving.models) == 1 or "name" in request.path_params:
        return model_of(request, operation)
    model_of(request)  # refuses a query string
    return serving.find(name)


def _encoded(row: list[float], form: str | None) -> list[float] | str:
    return base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode() if form == "base64" else row


# ---- Hugging Face's payloads: {"inputs", "parameters", "options"}, as `huggingface_hub.InferenceClient` sends them ----


hf_router = APIRouter(tags=["Hugging Face"], responses=ERROR_RESPONSES)


@hf_router.post("/pipeline/text-classification", response_model=list[list[schemas.ClassScore]], summary="Classify")
async def text_classification(body: schemas.TextClassificationRequest, request: Request) -> Response:
    """The classes of each text with their scores, the best first: a list for each text, also for one."""
    given = body.parameters or schemas.TextClassificationParameters()
    items = [Text(part.text, part.text_pair or None) if isinstance(part, schemas.Pair) else Text(part) for part in several(body.inputs)]
    named = {"truncation": given.truncation, "max_length": given.max_length}
    if any(value is not None for value in named.values()):
        if given.truncate is not None:
            raise RequestError(422, "`truncate` and `truncation` (or `max_length`) say how a text is cut; leave one out", "question")
        predictor = model_of(request, Classify).predictor
        cut = read_cut("parameters", named, predictor.tokenizer.settings.max_length or predictor.limit)
        how: dict[str, Any] = {"cut": cut and replace(cut, left=given.left or None)}
    else:
        how = cutting(model_of(request, Classify), given)
    answers = await ask(request, Classify(transform=given.function_to_apply or "default", **how), items)
    return as_json([answer[: given.top_k] for answer in answers])


@hf_router.post("/pipeline/token-classification", response_model=list[Any], summary="Find entities, or tag tokens")
async def token_classification(body: schemas.TokenClassificationRequest, request: Request) -> Response:
    """The entities of a text, or its tokens with their tags; a list of these for a list of texts."""
    given = body.parameters or schemas.TokenClassificationParameters()
    ignored = ("O",) if given.ignore_labels is None else tuple(given.ignore_labels)
    return await answered(request, Tag(given.aggregation_strategy or "simple", ignored, given.stride), body.inputs)


@hf_router.post("/pipeline/question-answering", response_model=list[Any] | dict[str, Any], summary="Answer a question")
async def question_answering(body: schemas.QuestionAnsweringRequest, request: Request) -> Response:
    """The part of the context that answers the question; with `top_k` above 1 a list of these; a list for a list of questions."""
    given = body.parameters or schemas.QuestionAnsweringParameters()
    operation = AnswerQuestion(**{**dict(given), "top_k": given.top_k or 1, "align_to_words": bool(given.align_to_words)})
    answers = await ask(request, operation, [(part.question, part.context) for part in several(body.inputs)])
    return as_json(answers if isinstance(body.inputs, list) else answers[0])


@hf_router.post("/pipeline/fill-mask", response_model=list[Any], summary="Fill masks")
async def fill_mask(body: schemas.FillMaskRequest, request: Request) -> Response:
    """The likeliest words for a text's mask, for each of them where it has several; a list of these for a list of texts."""
    given = body.parameters or schemas.FillMaskParameters()
    return await answered(request, Fill(top_k=given.top_k or 5, targets=None if given.targets is None else tuple(given.targets)), body.inputs)


@hf_router.post("/pipeline/feature-extraction", response_model=list[list[float]], summary="Vectors of texts")
async def feature_extraction(body: schemas.FeatureExtractionRequest, request: Request) -> Response:
    """One vector for each text, as POST /embed."""
    given = _joined(body)
    found = await vectors(request, given, as_list(body.inputs), normalize=given.normalize is not False, dimensions=given.dimensions)
    return as_json(found)


def _joined(body: schemas.FeatureExtractionRequest) -> schemas.FeatureExtractionParameters:
    """The fields next to `inputs` and those of `parameters`.

    Raises:
        RequestError: 422, one that is in both places.
    """
    inner = body.parameters.model_dump(exclude_none=True, exclude_unset=True) if body.parameters else {}
    outer = body.model_dump(exclude_none=True, exclude_unset=True, exclude={"inputs", "parameters", "options"})
    if twice := sorted(inner.keys() & outer.keys()):
        raise RequestError(422, f"`{twice[0]}` is given twice, next to `inputs` and in `parameters`; leave one out", "question")
    return schemas.FeatureExtractionParameters(**inner, **outer)


@hf_router.post("/pipeline/replaced-token-detection", response_model=list[list[schemas.DetectedToken]], summary="Detect replaced tokens")
async def replaced_token_detection(body: schemas.ReplacedTokensRequest, request: Request) -> Response:
    """Each token of each text with the probability that it was replaced."""
    given = body.parameters or schemas.ReplacedTokensParameters()
    return as_json(await ask(request, Detect(threshold=given.threshold), as_list(body.inputs)))


@hf_router.post("/pipeline/sentence-similarity", response_model=list[float], summary="Compare sentences")
async def sentence_similarity(body: schemas.SimilarityRequest, request: Request) -> Response:
    """As POST /similarity."""
    return await similarity(body, request)


async def answered(request: Request, operation: Operation, inputs: Any) -> Response:
    """A text -> its answer, a list of texts -> a list of answers."""
    answers = await ask(request, operation, several(inputs))
    return as_json(answers if isinstance(inputs, list) else answers[0])


def several(inputs: Any) -> list[Any]:
    """One input or a list of them -> a list."""
    return inputs if isinstance(inputs, list) else [inputs]


FORMS: dict[str, tuple[type[BaseModel], Callable[[Any, Request], Awaitable[Response]]]] = {
    "text-classification": (schemas.TextClassificationRequest, text_classification),
    "token-classification": (schemas.TokenClassificationRequest, token_classification),
    "question-answering": (schemas.QuestionAnsweringRequest, question_answering),
    "fill-mask": (schemas.FillMaskRequest, fill_mask),
    "feature-extraction": (schemas.FeatureExtractionRequest, feature_extraction),
    "replaced-token-detection": (schemas.ReplacedTokensRequest, replaced_token_detection),
    "sentence-similarity": (schemas.SimilarityRequest, sentence_similarity),
    "predict": (schemas.PredictRequest, predict),
    "rerank": (schemas.RerankRequest, rerank),
}
"""Task -> the form of its body and what answers it; the last two are text-embeddings-inference's bodies at POST /."""


@hf_router.post("/pipeline/{task}", include_in_schema=False)
async def unknown_task(request: Request) -> Response:
    """Refuse a task that is not served, by name."""
    known = ", ".join(task for task, (kind, _) in FORMS.items() if kind.__name__ not in ("PredictRequest", "RerankRequest"))
    raise RequestError(422, f"task '{request.path_params['task'][:40]}' is not served; known: {known}", "question")


async def infer(request: Request) -> Response:
    """Answer as the pipeline of the model's own task does. What the body asks for decides where a model can do more: `query` and `texts` are ranked,
    `source_sentence` is compared, and `raw_scores`, `truncate` or `truncation_direction` next to `inputs` mean POST /predict."""
    model, body = model_of(request), from_json(await request.body())
    kind, answer = FORMS[_form_of(body, model) if isinstance(body, dict) else "feature-extraction"]
    try:
        return await answer(kind.model_validate(body), request)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None


def _form_of(body: dict[str, Any], model: Model) -> str:
    inputs = body.get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else inputs
    if "inputs" not in body and body.keys() & {"query", "texts"}:
        return "rerank"
    if isinstance(first, dict) and first.keys() & {"source_sentence", "sentences"}:
        return "sentence-similarity"
    if model.role in TASKS:
        task = TASKS[model.role]
        tei = task == "text-classification" and body.keys() & {"raw_scores", "truncate", "truncation_direction"}
        return "predict" if tei else task
    masks = ("[MASK]", model.predictor.tokenizer.pieces[model.predictor.tokenizer.mask_id]) if "fill" in model.abilities else ()
    return "fill-mask" if any(mask in text for mask in masks for text in several(inputs) if isinstance(text, str)) else "feature-extraction"


INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind, _ in FORMS.values()]}}},
    }
}
"""The body of POST / in the OpenAPI document."""


# ---- /detect, /corrupt, /models, /health, /metrics ----


own_router = APIRouter(tags=["electra"], responses=ERROR_RESPONSES)
server = APIRouter(tags=["server"], responses={401: ERROR_RESPONSES[401]})
health_router = APIRouter(tags=["server"], responses={code: ERROR_RESPONSES[code] for code in (401, 404)})


@own_router.post("/detect", response_model=list[list[schemas.DetectedToken]], summary="Detect replaced tokens")
async def detect(body: schemas.DetectRequest, request: Request) -> Response:
    """Each token of each text with the probability that it was replaced."""
    return as_json(await ask(request, Detect(threshold=body.threshold), as_list(body.inputs)))


@own_router.post("/corrupt", response_model=schemas.CorruptedText, summary="Replaced-token detection step by step")
async def corrupt(body: schemas.CorruptRequest, request: Request) -> Response:
    """Mask a text, fill it by the generator, and detect by the discriminator; the same seed gives the same answer."""
    (answer,) = await ask(request, Corrupt(mask_prob=body.mask_prob, temperature=body.temperature, seed=body.seed), [body.inputs])
    return as_json(answer)


@server.get("/models", response_model=schemas.Models, summary="The served models")
async def models(request: Request) -> Response:
    """The served models; each answers at /models/NAME."""
    serving = serving_of(request)
    return as_json({"models": [model.describe() for model in serving.models.values()], "max_texts": serving.limits.max_texts})


async def describe_model(request: Request) -> Response:
    """One model: its name, role, task, labels, input spec and abilities."""
    return as_json(model_of(request).describe())


@health_router.get(
    "/health",
    responses={200: {"description": "Requests are taken"}, 503: {"model": schemas.Error, "description": "Shutting down, or broken"}},
    summary="Whether requests are taken",
)
async def health(request: Request) -> Response:
    """Whether requests are taken. At the root it needs no token."""
    if "name" in request.path_params:
        serving_of(request).find(request.path_params["name"])
    if not serving_of(request).healthy:
        raise RequestError(503, "unhealthy", "unhealthy", 1)
    return as_json({"status": "ok"})


@server.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
    summary="Metrics for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Counts, latencies, batches and queues for Prometheus."""
    return Response(serving_of(request).metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

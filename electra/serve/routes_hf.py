"""Hugging Face's inference payloads: {"inputs", "parameters", "options"}, as `huggingface_hub.InferenceClient` sends them.

What is meant follows from the model: a classifier classifies. A discriminator fills masks where there are some and embeds other texts;
/pipeline/TASK says it outright.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from electra.deploy.texts import Text
from electra.serve.answering import REFUSALS, as_json, ask, model_of
from electra.serve.catalog import TASKS
from electra.serve.operations import Answer, Classify, Detect, Embed, Fill, Operation, Tag
from electra.serve.refusals import Refused
from electra.serve.schemas import InferenceRequest, Pair, Parameters, Question

router = APIRouter(tags=["Hugging Face"], responses=REFUSALS)
TaskName = Literal["text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction", "replaced-token-detection"]


@router.post("/pipeline/{task}", response_model=list[Any] | dict[str, Any])
async def run_task(task: TaskName, body: InferenceRequest, request: Request) -> Response:
    """Answer as the named pipeline does."""
    return await answered(request, task, body)


async def infer(body: InferenceRequest, request: Request) -> Response:
    """Answer as the pipeline of the model's own task does."""
    model = model_of(request)
    return await answered(request, TASKS.get(model.role) or _task_of(body, "fill" in model.abilities), body)


async def answered(request: Request, task: str, body: InferenceRequest) -> Response:
    """A payload -> the task's answer: of one input, or a list of those of several.

    Raises:
        Refused: 422, the inputs are not those of the task; or as `Serving.ask`.
    """
    given = body.parameters
    operation = operation_for(task, body)
    items = [_item(task, part) for part in (body.inputs if isinstance(body.inputs, list) else [body.inputs])]
    truncate = bool(body.truncate or given.truncate) and task in ("text-classification", "feature-extraction")
    answers: list[Any] = await ask(request, operation, items, truncate=truncate)
    if task == "text-classification":
        # The clients expect a list of lists, of one text too.
        return as_json([answer[: given.top_k] for answer in answers])
    several = isinstance(body.inputs, list) or task in ("feature-extraction", "replaced-token-detection")
    return as_json(answers if several else answers[0])


def operation_for(task: str, body: InferenceRequest) -> Operation:
    """A task and its parameters -> what the model is asked."""
    given: Parameters = body.parameters
    if task == "text-classification":
        return Classify(transform=given.function_to_apply or "default")
    if task == "token-classification":
        ignored = ("O",) if given.ignore_labels is None else tuple(given.ignore_labels)
        return Tag(strategy=given.aggregation_strategy or "simple", ignore_labels=ignored)
    if task == "question-answering":
        return Answer(given.top_k or 1, given.handle_impossible_answer, given.max_answer_len, given.doc_stride)
    if task == "fill-mask":
        return Fill(top_k=given.top_k or 5, targets=tuple(given.targets or ()))
    if task == "replaced-token-detection":
        return Detect()
    asked = given.normalize if body.normalize is None else body.normalize
    return Embed(normalize=True if asked is None else asked)


def _item(task: str, part: Any) -> Any:
    if task == "question-answering":
        if isinstance(part, Question):
            return part.question, part.context
        raise Refused(422, '`inputs` of question-answering: {"question": text, "context": text}, or a list of these', "question")
    if task == "text-classification" and isinstance(part, Pair):
        return Text(part.text, part.text_pair)
    if not isinstance(part, str):
        raise Refused(422, f"`inputs` of {task}: a text, or a list of texts", "question")
    return Text(part) if task == "text-classification" else part


def _task_of(body: InferenceRequest, fills: bool) -> str:
    texts = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    return "fill-mask" if fills and any(isinstance(text, str) and "[MASK]" in text for text in texts) else "feature-extraction"

"""JSON bodies of requests and answers, as the OpenAPI document shows them; unknown keys are ignored, as in the servers whose routes these are."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Text: TypeAlias = Annotated[str, Field(examples=["a gripping film"])]
TopK: TypeAlias = Annotated[int, Field(ge=1, le=1000)]


class Request(BaseModel):
    """An object whose known keys have the right types."""

    model_config = ConfigDict(extra="ignore", strict=True)


# ---- text-embeddings-inference ----


class PredictRequest(Request):
    """POST /predict."""

    inputs: Annotated[
        str | list[str | Annotated[list[str], Field(min_length=1, max_length=2)]],
        Field(
            description="A text; a pair [text, text]; or a batch [[text], [text, text], ...]. A list of one or two plain texts is one text or pair.",
            examples=["a gripping film", [["a gripping film"], ["a dull film"]]],
        ),
    ]
    raw_scores: bool = Field(default=False, description="Logits in place of probabilities.")
    truncate: bool = Field(default=False, description="Cut a longer text at its end, whatever the model's input spec says.")


class EmbedRequest(Request):
    """POST /embed and /embed_all."""

    inputs: str | list[str] = Field(examples=["a sentence", ["a sentence", "another"]])
    normalize: bool = Field(default=True, description="Vectors of length one (for /embed).")
    truncate: bool = False


class ClassScore(BaseModel):
    """A class and its score."""

    label: str
    score: float


# ---- Hugging Face ----


class QuestionWithContext(Request):
    """A question and the text that answers it."""

    question: str
    context: str


class Pair(Request):
    """Two texts to classify together."""

    text: str
    text_pair: str | None = None


class Parameters(Request):
    """Options of the tasks, with the names of `transformers` and `InferenceClient`; those of other tasks are ignored."""

    top_k: TopK | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None
    aggregation_strategy: Literal["none", "simple", "first", "average", "max", "spans"] | None = None
    ignore_labels: list[str] | None = None
    targets: Annotated[list[str], Field(max_length=1000)] | None = None
    handle_impossible_answer: bool | None = None
    max_answer_len: Annotated[int, Field(ge=1, le=512)] | None = None
    doc_stride: Annotated[int, Field(ge=1, le=4096)] | None = None
    normalize: bool | None = None
    truncate: bool | None = None


class InferenceRequest(Request):
    """POST / and /models/NAME."""

    inputs: str | list[str] | QuestionWithContext | list[QuestionWithContext] | Pair | list[Pair] = Field(
        examples=["a gripping film", {"question": "Who cooked?", "context": "The chef cooked the meal."}]
    )
    parameters: Parameters = Field(default_factory=Parameters)
    options: dict[str, Any] = Field(default_factory=dict, description="Accepted and ignored: nothing is cached here, and models are always loaded.")
    normalize: bool | None = None
    truncate: bool | None = None


# ---- /detect, /corrupt, /models ----


class DetectRequest(Request):
    """POST /detect."""

    inputs: str | list[str] = Field(examples=["the chef ate the meal"])
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class DetectedToken(BaseModel):
    """One token of a text, `text[start:end]`."""

    token: str
    start: int
    end: int
    score: float = Field(description="Probability that the token was replaced.")
    replaced: bool


class CorruptRequest(Request):
    """POST /corrupt."""

    inputs: str = Field(examples=["the chef cooked the meal"])
    mask_prob: Annotated[float, Field(gt=0, le=1)] = 0.15
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 1


class MaskProposal(BaseModel):
    """A token proposed by the generator, with its probability."""

    token: str
    score: float


class CorruptedToken(BaseModel):
    """One token of the corrupted text, its place in it, and the original token."""

    token: str
    original: str
    start: int
    end: int
    masked: bool
    changed: bool
    score: float = Field(description="The discriminator's probability of 'replaced'.")
    proposals: list[MaskProposal]


class CorruptedText(BaseModel):
    """Replaced-token detection on one text, step by step."""

    text: str
    corrupted: str
    tokens: list[CorruptedToken]


class ServedModel(BaseModel):
    """A served model."""

    name: str
    role: str
    task: str | None
    labels: list[str]
    max_length: int
    truncate: str
    target: str
    measured: list[Any]
    abilities: list[str]


class Models(BaseModel):
    """GET /models."""

    models: list[ServedModel]


class Info(BaseModel):
    """GET /info, as in text-embeddings-inference, and the input spec."""

    model_id: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_length: int
    truncate: str
    max_batch_tokens: int
    max_client_batch_size: int
    auto_truncate: bool
    version: str


class Error(BaseModel):
    """Every answer that is not 200."""

    error: str
    error_type: Literal["validation", "unauthorized", "not_found", "timeout", "backend", "overloaded", "unhealthy"]

"""JSON bodies of requests and answers, as the OpenAPI document shows them. A field that is not known is refused by name, at every depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

UNKNOWN = "unknown_field"
"""Type of the validation error of a field that is not known."""
OTHER_TASKS = {
    **dict.fromkeys(("candidate_labels", "multi_label", "hypothesis_template"), "zero-shot-classification"),
    **dict.fromkeys(("table", "query"), "table-question-answering"),
    **dict.fromkeys(("generate_parameters", "clean_up_tokenization_spaces"), "summarization and translation"),
    **dict.fromkeys(("src_lang", "tgt_lang"), "translation"),
    **dict.fromkeys(("max_new_tokens", "return_full_text", "do_sample", "temperature"), "text-generation"),
    **dict.fromkeys(("messages",), "chat completion"),
    **dict.fromkeys(("image",), "images"),
}
"""Field of `InferenceClient` -> its task, where no model here can answer that."""
OTHER_ROUTES = dict.fromkeys(("documents", "top_n", "return_documents"), "/v1/rerank")
"""Field of another route of the same purpose -> that route."""


class Request(BaseModel):
    """An object of known keys with the right types."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        unknown = [key for key in value if key not in cls.model_fields] if isinstance(value, dict) else []
        if unknown:
            names = ", ".join(repr(str(key)[:40]) for key in unknown[:4])
            task = next((f" (of {OTHER_TASKS[key]}, which is not served)" for key in unknown if key in OTHER_TASKS), "")
            task = next((f" (of POST {OTHER_ROUTES[key]})" for key in unknown if key in OTHER_ROUTES), task)
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError(UNKNOWN, "{message}", {"message": f"unknown field {names}{task}; known: {known}"})
        return value


def expected(what: str) -> WrapValidator:
    """Of a value in several forms: one error that says what was expected, in place of one for each form; an unknown field is named all the same."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            unknown = [found["msg"] for found in error.errors(include_url=False) if found["type"] == UNKNOWN]
            kind, message = (UNKNOWN, unknown[0]) if unknown else ("expected", f"expected {what}")
            raise PydanticCustomError(kind, "{message}", {"message": message}) from None  # type: ignore[arg-type]

    return WrapValidator(check)


TopK: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
FIRST = Field(fail_fast=True)
"""Of a list: the first wrong element ends its check. With all of them a body of a megabyte would hold the server up for seconds."""
TextList: TypeAlias = Annotated[list[str], FIRST]
Texts: TypeAlias = Annotated[str | TextList, expected("a text, or a list of texts")]
TokenIds: TypeAlias = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], FIRST]
TextsOrIds: TypeAlias = Annotated[
    str | TokenIds | Annotated[list[str | TokenIds], FIRST], expected("a text, its token ids, or a list of texts and lists of token ids")
]
Dimensions: TypeAlias = Annotated[int, Field(ge=1, description="Only so many numbers of each vector, its first; normalized afterwards (Matryoshka).")]
PromptName: TypeAlias = Annotated[
    str, Field(description="Name of a prompt of the sentence-transformers folder; it is put before each text. Default: none.")
]


# ---- text-embeddings-inference ----


class Truncation(Request):
    """What is read of a text that is longer than the model's input."""

    truncate: bool | None = Field(
        default=None, description="true: cut; false: refuse with 422; not given: as the model was trained, which may be in windows."
    )
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = Field(
        default="right", description="Which end `truncate` cuts off: with 'right' the beginning is kept."
    )

    @property
    def left(self) -> bool:
        """Whether the beginning is cut off."""
        return self.truncation_direction in ("left", "Left")


class PredictRequest(Truncation):
    """POST /predict."""

    inputs: Annotated[
        str | Annotated[list[str | Annotated[list[str], Field(min_length=1, max_length=2)]], FIRST],
        expected("a text, a pair of texts, or a batch [[text], [text, text], ...]"),
        Field(
            description="A text; a pair [text, text]; or a batch [[text], [text, text], ...]. A list of one or two plain texts is one text or pair.",
            examples=["a gripping film", [["a gripping film"], ["a dull film"]]],
        ),
    ]
    raw_scores: bool = Field(default=False, description="Logits in place of probabilities.")


class EmbedAllRequest(Truncation):
    """POST /embed_all and /embed_sparse."""

    inputs: TextsOrIds = Field(
        description="A text or its token ids, or a list of these. Ids are those of POST /tokenize, [CLS] and [SEP] included.",
        examples=["a sentence", ["a sentence", "another"]],
    )
    prompt_name: PromptName | None = None


class EmbedRequest(EmbedAllRequest):
    """POST /embed."""

    normalize: bool = Field(default=True, description="Vectors of length one.")
    dimensions: Dimensions | None = None


class RerankRequest(Truncation):
    """POST /rerank."""

    query: str = Field(examples=["who cooked the meal?"])
    texts: TextList = Field(examples=[["the chef cooked the meal", "it rained"]])
    raw_scores: bool = Field(default=False, description="The logit in place of its sigmoid.")
    return_text: bool = Field(default=False, description="Repeat the texts in the answer.")


class Document(Request):
    """A document of POST /v1/rerank."""

    text: str


class RerankDocumentsRequest(Request):
    """POST /v1/rerank and /v2/rerank."""

    query: str = Field(examples=["who cooked the meal?"])
    documents: Annotated[list[str | Document], FIRST, expected("a list of texts or of objects with `text`")] = Field(
        examples=[["the chef cooked the meal", "it rained"]]
    )
    model: str | None = Field(default=None, description="A served model, where several are served and the address names none.")
    top_n: TopK | None = Field(default=None, description="So many of the best; default: all.")
    return_documents: bool | None = Field(default=False, description="Repeat the documents in the answer.")


class RerankedDocument(BaseModel):
    """A document's place in the request and its score, from 0 to 1."""

    index: int
    relevance_score: float
    document: Document | None = None


class TotalTokens(BaseModel):
    """Tokens read, [CLS] and [SEP] included."""

    total_tokens: int


class RerankedDocuments(BaseModel):
    """The best documents first."""

    model: str
    results: list[RerankedDocument]
    usage: TotalTokens


class Rank(BaseModel):
    """A text's place in the request and its score."""

    index: int
    text: str | None = None
    score: float


class Sentences(Request):
    """A sentence and those it is compared with."""

    source_sentence: str
    sentences: TextList


class SimilarityParameters(Truncation):
    """Options of POST /similarity."""

    prompt_name: PromptName | None = None


class Options(Request):
    """Options of Hugging Face's inference API. None changes an answer: nothing is cached here, and models are always loaded."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None
    use_gpu: bool | None = None


class SimilarityRequest(Request):
    """POST /similarity."""

    inputs: Sentences = Field(examples=[{"source_sentence": "a gripping film", "sentences": ["a thrilling movie", "it rained"]}])
    parameters: SimilarityParameters | None = None
    options: Options | None = None


class TokenizeRequest(Request):
    """POST /tokenize."""

    inputs: Texts = Field(examples=["a sentence", ["a sentence", "another"]])
    add_special_tokens: bool = Field(default=True, description="[CLS] and [SEP], too.")
    prompt_name: PromptName | None = None


class SimpleToken(BaseModel):
    """A token; `start` and `stop` count the bytes of the text in UTF-8. A special one that was added has none."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(Request):
    """POST /decode."""

    ids: Annotated[TokenIds | Annotated[list[TokenIds], FIRST], expected("a list of token ids, or a list of such lists")] = Field(
        examples=[[2, 5, 3]]
    )
    skip_special_tokens: bool = True


class OpenAIRequest(Request):
    """POST /v1/embeddings."""

    input: TextsOrIds = Field(examples=["a sentence", ["a sentence", "another"]], description="As `inputs` of POST /embed.")
    model: str | None = Field(default=None, description="A served model, where several are served and the address names none.")
    user: str | None = Field(default=None, description="Changes nothing.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default="float", description="base64: of float32 numbers, little-endian. null, which some clients send: float."
    )
    dimensions: Dimensions | None = None


class OpenAIEmbedding(BaseModel):
    """A vector, as numbers or in base64."""

    object: Literal["embedding"]
    embedding: list[float] | str
    index: int


class OpenAIUsage(BaseModel):
    """Tokens read, [CLS] and [SEP] included."""

    prompt_tokens: int
    total_tokens: int


class OpenAIResponse(BaseModel):
    """Vectors of the texts, in their order."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """The served models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIError(BaseModel):
    """Every answer of OpenAI's routes that is not 200."""

    message: str
    code: int
    type: str


class ClassScore(BaseModel):
    """A class and its score."""

    label: str
    score: float


# ---- Hugging Face ----


class Pair(Request):
    """Two texts to classify together."""

    text: str
    text_pair: str | None = None


class TextClassificationParameters(Truncation):
    """As in `transformers`, and text-embeddings-inference's `truncate`."""

    truncation: bool | None = Field(default=None, description="As in `transformers`; in place of `truncate`.")
    max_length: Annotated[int, Field(ge=2)] | None = Field(default=None, description="Tokens, [CLS] and [SEP] included, for `truncation`.")

    top_k: TopK | None = Field(default=None, description="The best so many classes; default: all.")
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(default=None, description="Default: as the model was trained.")


class TextClassificationRequest(Request):
    """POST /pipeline/text-classification."""

    inputs: Annotated[str | Pair | Annotated[list[str | Pair], FIRST], expected('a text, {"text": ..., "text_pair": ...}, or a list of these')] = (
        Field(examples=["a gripping film", {"text": "a film", "text_pair": "it was good"}])
    )
    parameters: TextClassificationParameters | None = None
    options: Options | None = None


class TokenClassificationParameters(Request):
    """As in `transformers`; the strategy 'spans' is that of 'electra predict'."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max", "spans"] | None = None
    ignore_labels: TextList | None = None
    stride: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Tokens that a window of a long text shares with the next; not given: each token is tagged where it has most context.",
    )


class TokenClassificationRequest(Request):
    """POST /pipeline/token-classification."""

    inputs: Texts = Field(examples=["Ada Lovelace lived in London."])
    parameters: TokenClassificationParameters | None = None
    options: Options | None = None


class QuestionWithContext(Request):
    """A question and the text that answers it."""

    question: str
    context: str


class QuestionAnsweringParameters(Request):
    """As in `InferenceClient.question_answering`."""

    top_k: TopK | None = None
    handle_impossible_answer: bool | None = None
    max_answer_len: Annotated[int, Field(ge=1, le=512)] | None = Field(default=None, description="Tokens.")
    max_question_len: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Tokens; a longer question is cut.")
    max_seq_len: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Tokens of a window, the question included.")
    doc_stride: Annotated[int, Field(ge=0, le=4096)] | None = Field(default=None, description="Tokens that a window shares with the next.")
    align_to_words: bool | None = Field(default=None, description="Answers that begin and end with words.")


class QuestionAnsweringRequest(Request):
    """POST /pipeline/question-answering."""

    inputs: Annotated[
        QuestionWithContext | Annotated[list[QuestionWithContext], FIRST], expected('{"question": text, "context": text}, or a list of these')
    ] = Field(examples=[{"question": "Who cooked?", "context": "The chef cooked the meal."}])
    parameters: QuestionAnsweringParameters | None = None
    options: Options | None = None


class FillMaskParameters(Request):
    """As in `transformers`."""

    top_k: TopK | None = Field(default=None, description="Default: 5.")
    targets: Annotated[list[str], Field(max_length=1000, fail_fast=True)] | None = Field(default=None, description="Propose only these words.")


class FillMaskRequest(Request):
    """POST /pipeline/fill-mask."""

    inputs: Texts = Field(examples=["the chef [MASK] the meal"])
    parameters: FillMaskParameters | None = None
    options: Options | None = None


class FeatureExtractionParameters(Truncation):
    """Those of POST /embed; `InferenceClient` sends them next to `inputs`."""

    normalize: bool | None = Field(default=None, description="Vectors of length one; default: true.")
    prompt_name: PromptName | None = None
    dimensions: Dimensions | None = None
    encoding_format: Annotated[Literal["float"], expected("'float' (base64: POST /v1/embeddings)")] | None = None


class FeatureExtractionRequest(FeatureExtractionParameters):
    """POST /pipeline/feature-extraction."""

    inputs: TextsOrIds = Field(examples=["a sentence", ["a sentence", "another"]])
    parameters: FeatureExtractionParameters | None = Field(default=None, description="The same fields; none in both places.")
    options: Options | None = None


class ReplacedTokensParameters(Request):
    """That of POST /detect."""

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class ReplacedTokensRequest(Request):
    """POST /pipeline/replaced-token-detection."""

    inputs: Texts = Field(examples=["the chef ate the meal"])
    parameters: ReplacedTokensParameters | None = None
    options: Options | None = None


# ---- /detect, /corrupt, /models ----


class DetectRequest(Request):
    """POST /detect."""

    inputs: Texts = Field(examples=["the chef ate the meal"])
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

    name: str = Field(description="Its name in requests: /models/NAME.")
    title: str = Field(description="What it does, in words.")
    source: str = Field(description="Where it is from: the name of its run or file, without a path.")
    built_from: str | None = Field(description="Where an artifact's checkpoint was from.")
    architecture: str = Field(description="Architecture, number of layers and hidden size.")
    dtype: str = Field(description="Number format of its weights.")
    runtime: str
    role: str
    task: str | None
    labels: list[str]
    label_meanings: dict[str, str] = Field(description="What labels mean that are numbers of a benchmark's files.")
    multi_label: bool = Field(description="Whether several labels may be right at once; those above 0.5 are given.")
    regression: bool = Field(description="Whether it gives a number for each text that is not a relevance.")
    max_length: int
    truncate: str
    target: str
    measured: list[Any]
    abilities: list[str]


class Models(BaseModel):
    """GET /models."""

    models: list[ServedModel]
    max_texts: int = Field(description="Texts that one request may have.")


class Info(BaseModel):
    """GET /info, as in text-embeddings-inference, and the input spec."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    served_model_name: str
    title: str = Field(description="What it does, in words.")
    source: str = Field(description="Where it is from: the name of its run or file, without a path.")
    built_from: str | None = Field(description="Where an artifact's checkpoint was from.")
    architecture: str = Field(description="Architecture, number of layers and hidden size.")
    runtime: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_length: int
    truncate: str
    prompts: dict[str, str] = Field(description="Prompts of a sentence-transformers folder, by name.")
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool = Field(description="Whether a longer text is cut unless the request says otherwise.")
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


class Error(BaseModel):
    """Every answer that is not 200."""

    error: str
    error_type: Literal["validation", "empty", "unauthorized", "not_found", "timeout", "backend", "overloaded", "unhealthy"]

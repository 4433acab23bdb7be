"""The routes of text-embeddings-inference and of OpenAI's embeddings: answered as these do, or refused by name."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_references import LENGTH, LONG, OTHER, SHORT, at, every_kind, ids, post, refused, states, tokenizer, vector
from conformance import case, conforms
from served_models import Served, call, in_thread
from tiny_models import checkpoints, oracle

tei = functools.partial(case, where="TEI", outcome="exact", section="clients")
tei_refused = functools.partial(case, where="TEI", outcome="refused", section="clients")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with every_kind() as found:
        yield found


# ---- text-embeddings-inference: vectors ----


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        tei({"inputs": SHORT}, lambda: [vector(SHORT)], form="/embed of a text"),
        tei({"inputs": [SHORT, OTHER]}, lambda: [vector(SHORT), vector(OTHER)], form="/embed of a list"),
        tei({"inputs": SHORT, "normalize": False}, lambda: [states(SHORT).mean(0)], form="/embed, normalize false"),
        tei({"inputs": SHORT, "dimensions": 16}, lambda: [vector(SHORT, size=16)], form="/embed, dimensions"),
        tei({"inputs": SHORT, "dimensions": 32}, lambda: [vector(SHORT)], form="/embed, all dimensions"),
        tei(
            {"inputs": SHORT, "dimensions": 7, "normalize": False}, lambda: [states(SHORT).mean(0)[:7]], form="/embed, dimensions and normalize false"
        ),
        tei({"inputs": LONG, "truncate": True}, lambda: [vector(LONG)], form="/embed, truncate"),
        tei({"inputs": SHORT, "truncate": False}, lambda: [vector(SHORT)], form="/embed, truncate false of a short text"),
        tei({"inputs": SHORT, "truncate": None, "prompt_name": None, "dimensions": None}, lambda: [vector(SHORT)], form="/embed, null fields"),
        tei(
            {"inputs": LONG, "truncate": True, "truncation_direction": "left"},
            lambda: [vector(LONG, "left")],
            form="/embed, truncation_direction left",
        ),
        tei(
            {"inputs": [LONG, SHORT], "truncate": True, "truncation_direction": "Right"},
            lambda: [vector(LONG), vector(SHORT)],
            form="/embed, truncation_direction Right",
        ),
        # text-embeddings-inference#394: `truncate` did not reach texts of more than 32,000 characters; #56: nor lists.
        tei({"inputs": ["the old river " * 3000], "truncate": True}, lambda: [vector(LONG)], form="/embed, truncate of 42,000 characters"),
        tei({"inputs": lambda: ids(SHORT)}, lambda: [vector(SHORT)], form="/embed of token ids"),
        tei(
            {"inputs": lambda: [ids(SHORT), OTHER, ids("")]}, lambda: [vector(SHORT), vector(OTHER), vector("")], form="/embed of texts and token ids"
        ),
    ],
)
def test_embed(served: Served, body: dict[str, Any], wanted: Any) -> None:
    body = {key: value() if callable(value) else value for key, value in body.items()}
    np.testing.assert_allclose(post(served, "/embed", **body), wanted(), atol=1e-5)
    if "normalize" not in body:
        np.testing.assert_allclose(post(served, "/", **body), wanted(), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        tei({"inputs": SHORT}, lambda: [states(SHORT)], form="/embed_all of a text"),
        tei({"inputs": [OTHER, SHORT]}, lambda: [states(OTHER), states(SHORT)], form="/embed_all of a list"),
        tei({"inputs": lambda: ids(SHORT)}, lambda: [states(SHORT)], form="/embed_all of token ids"),
        tei(
            {"inputs": LONG, "truncate": True, "truncation_direction": "left"},
            lambda: [states(LONG, "left")],
            form="/embed_all, truncation_direction left",
        ),
    ],
)
def test_embed_all(served: Served, body: dict[str, Any], wanted: Any) -> None:
    body = {key: value() if callable(value) else value for key, value in body.items()}
    for found, rows in zip(post(served, "/embed_all", **body), wanted(), strict=True):
        np.testing.assert_allclose(found, rows, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "parameters", "side"),
    [
        tei([OTHER, SHORT, "rain"], None, "right", form="/similarity"),
        tei([LONG], {"truncate": True, "truncation_direction": "left"}, "left", form="/similarity, truncation_direction left"),
    ],
)
def test_similarity(served: Served, texts: list[str], parameters: Any, side: str) -> None:
    body = {"inputs": {"source_sentence": SHORT, "sentences": texts}, "parameters": parameters}
    wanted = [float(vector(SHORT) @ vector(text, side)) for text in texts]
    np.testing.assert_allclose(post(served, "/similarity", **body), wanted, atol=1e-5)
    np.testing.assert_allclose(post(served, "/", **body), wanted, atol=1e-5)


# ---- sentence-transformers folders: its library is the reference ----


@functools.cache
def sentence_folder() -> Path:
    """[CLS] pooling, inputs of 24 tokens, a prompt that the pooling leaves out where it can."""
    folder = Path(tempfile.mkdtemp()) / "embedder"
    shutil.copytree(checkpoints()["lone"], folder)
    (folder / "1_Pooling").mkdir()
    rows = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (kind, path) in enumerate(MODULES)]
    files = {
        "modules.json": rows,
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "the query : ", "none": ""}, "default_prompt_name": None},
        "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": False},
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


MODULES = (("Transformer", ""), ("Pooling", "1_Pooling"))


@pytest.fixture(scope="module")
def sentences() -> Iterator[tuple[Served, Any]]:
    """The folder, served, and its library's model."""
    from sentence_transformers import SentenceTransformer

    with in_thread("embedder", places={"embedder": sentence_folder()}) as found:
        yield found, SentenceTransformer(str(sentence_folder()), device="cpu")


@pytest.mark.parametrize(
    ("body", "same"),
    [
        tei({}, {}, form="/embed of a sentence-transformers folder"),
        tei({"prompt_name": "query"}, {"prompt_name": "query"}, form="/embed, prompt_name"),
        tei({"prompt_name": "query", "dimensions": 9}, {"prompt_name": "query", "truncate_dim": 9}, form="/embed, prompt_name and dimensions"),
        tei({"truncate": True, "prompt_name": "query"}, {"prompt_name": "query"}, form="/embed, prompt_name and truncate"),
        tei({"normalize": False, "prompt_name": "none"}, {"prompt_name": "none", "normalize_embeddings": False}, form="/embed, an empty prompt"),
    ],
)
def test_a_sentence_transformers_folder(sentences: tuple[Served, Any], body: dict[str, Any], same: dict[str, Any]) -> None:
    served, reference = sentences
    texts = [SHORT, OTHER, LONG, ""]
    wanted = reference.encode(texts, **{"normalize_embeddings": True, **same})
    np.testing.assert_allclose(post(served, "/embed", inputs=texts, **body), wanted, atol=1e-5)
    np.testing.assert_allclose(at(served, "embedder").feature_extraction(texts, **body), wanted, atol=1e-5)
    again = [tokenizer().encode(text).ids for text in texts[:2]]
    np.testing.assert_allclose(post(served, "/embed", inputs=again, **body), wanted[:2], atol=1e-5)


@conforms(form="other routes of a sentence-transformers folder", where="TEI", outcome="exact", section="clients")
def test_prompts_of_other_routes(sentences: tuple[Served, Any]) -> None:
    served, reference = sentences
    first, *others = reference.encode([SHORT, OTHER, LONG], prompt_name="query", normalize_embeddings=True)
    body = {"inputs": {"source_sentence": SHORT, "sentences": [OTHER, LONG]}, "parameters": {"prompt_name": "query"}}
    np.testing.assert_allclose(post(served, "/similarity", **body), [float(first @ other) for other in others], atol=1e-5)
    assert post(served, "/tokenize", inputs=SHORT, prompt_name="query") == [tokens("the query : " + SHORT)]
    found = post(served, "/v1/embeddings", input=[SHORT], model="text-embedding-3-small")["data"][0]["embedding"]
    np.testing.assert_allclose(found, reference.encode(SHORT, normalize_embeddings=True), atol=1e-5)
    length = len(tokens("the query : " + SHORT))
    np.testing.assert_allclose(np.shape(post(served, "/embed_all", inputs=SHORT, prompt_name="query")), (1, length, 32))
    refused(call(served.url, "/embed", {"inputs": "a", "prompt_name": "passage"}), 422, "no prompt 'passage'")
    refused(call(served.url, "/embed", {"inputs": "the " * 30, "truncate": False}), 422, "less than 24 tokens. Given: 32")
    info = call(served.url, "/info").json
    assert info["model_type"]["embedding"]["pooling"] == "mean" and info["max_input_length"] == 24 and info["auto_truncate"] is True


# ---- text-embeddings-inference: a cross-encoder ----


def logit(query: str, text: str, side: str = "right") -> float:
    reference = oracle("ElectraForSequenceClassification", "regression")
    reference.tokenizer.truncation_side = side
    # As a batch: of a single pair `transformers` takes an empty second text for none, `tokenizers` does not.
    inputs = reference.tokenizer([query], [text], truncation=True, max_length=LENGTH, return_tensors="pt")
    return float(reference.model(**inputs).logits[0, 0].detach())


def sigmoid(value: float) -> float:
    return 1 / (1 + float(np.exp(-value)))


@pytest.mark.parametrize(
    ("texts", "more", "side"),
    [
        tei([OTHER, SHORT, "rain"], {}, "right", form="/rerank"),
        tei([OTHER, SHORT, "rain"], {"raw_scores": True}, "right", form="/rerank, raw_scores"),
        tei([OTHER, SHORT], {"return_text": True}, "right", form="/rerank, return_text"),
        tei([OTHER, ""], {}, "right", form="/rerank of an empty text"),
        tei([LONG, OTHER], {"truncate": True, "raw_scores": True}, "right", form="/rerank, truncate"),
        tei([LONG, OTHER], {"truncate": True, "truncation_direction": "left"}, "left", form="/rerank, truncation_direction left"),
    ],
)
def test_rerank(served: Served, texts: list[str], more: dict[str, Any], side: str) -> None:
    scores = [logit(SHORT, text, side) if more.get("raw_scores") else sigmoid(logit(SHORT, text, side)) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    for path in ("/models/ranker/rerank", "/models/ranker"):
        found = post(served, path, query=SHORT, texts=texts, **more)
        assert [row["index"] for row in found] == order
        np.testing.assert_allclose([row["score"] for row in found], [scores[index] for index in order], atol=1e-5)
        assert [row.get("text") for row in found] == [texts[index] if more.get("return_text") else None for index in order]


@conforms(form="/predict of a pair with an empty text", where="InferenceClient", outcome="exact", section="clients")
def test_an_empty_second_text(served: Served) -> None:
    """The pipeline of `transformers`, and every other interface here, leaves it out; /rerank does not: there it is a document like others."""
    found = post(served, "/models/ranker/predict", inputs=[SHORT, ""], raw_scores=True)
    assert found == post(served, "/models/ranker/predict", inputs=SHORT, raw_scores=True)
    (one,) = post(served, "/models/ranker", inputs={"text": SHORT, "text_pair": ""})
    assert one == post(served, "/models/ranker", inputs=SHORT)[0]


@conforms(form="/rerank of equal texts", where="TEI", outcome="exact", section="clients")
def test_of_equal_scores_the_later_comes_first(served: Served) -> None:
    assert [row["index"] for row in post(served, "/models/ranker/rerank", query="a", texts=[SHORT, SHORT])] == [1, 0]


@conforms(form="POST / with raw_scores: a body of /predict", where="TEI", outcome="exact", section="clients")
def test_the_root_takes_the_body_of_predict(served: Served) -> None:
    for more in ({"raw_scores": True}, {"truncate": True}, {"raw_scores": False, "truncate": True, "truncation_direction": "left"}):
        for inputs in (SHORT, [SHORT, OTHER], [[SHORT], [SHORT, OTHER]]):
            at = "/models/classifier"
            assert post(served, at, inputs=inputs, **more) == post(served, at + "/predict", inputs=inputs, **more)


# ---- text-embeddings-inference: the tokenizer ----


def tokens(text: str, special: bool = True) -> list[dict[str, Any]]:
    """As `into_tokens` of text-embeddings-inference makes them of what `tokenizers` gives."""
    found = tokenizer().encode(text, add_special_tokens=special)
    out = []
    for index, token, mask, (start, end) in zip(found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True):
        row = {"id": index, "special": bool(mask), "text": token, "start": None, "stop": None}
        first, last = len(text[:start].encode()), len(text[:end].encode())
        out.append(row if mask else row | {"text": text.encode()[first:last].decode(), "start": first, "stop": last})
    return out


@pytest.mark.parametrize(
    ("inputs", "more"),
    [
        tei(SHORT, {}, form="/tokenize of a text"),
        tei([SHORT, OTHER], {}, form="/tokenize of a list"),
        tei("an Épic 👍 film 한글", {}, form="/tokenize: places in bytes"),
        tei("the [MASK] cooked [SEP]", {}, form="/tokenize: special tokens in the text"),
        tei(SHORT, {"add_special_tokens": False}, form="/tokenize, add_special_tokens false"),
    ],
)
def test_tokenize(served: Served, inputs: Any, more: dict[str, Any]) -> None:
    texts = [inputs] if isinstance(inputs, str) else inputs
    assert post(served, "/tokenize", inputs=inputs, **more) == [tokens(text, more.get("add_special_tokens", True)) for text in texts]


@pytest.mark.parametrize(
    ("texts", "more"),
    [
        tei(SHORT, {}, form="/decode of token ids"),
        tei([SHORT, "it rained , was n't it ?"], {}, form="/decode of a list"),
        tei("the [MASK] cooked", {"skip_special_tokens": False}, form="/decode, skip_special_tokens false"),
    ],
)
def test_decode(served: Served, texts: Any, more: dict[str, Any]) -> None:
    found = post(served, "/decode", ids=ids(texts) if isinstance(texts, str) else [ids(text) for text in texts], **more)
    assert found == [tokenizer().decode(ids(text), **more) for text in ([texts] if isinstance(texts, str) else texts)]


CUT = {"truncate": None, "truncation_direction": "right"}
FIELDS: dict[str, dict[str, Any]] = {
    "/embed": {"inputs": ..., **CUT, "prompt_name": None, "normalize": True, "dimensions": None},
    "/embed_all": {"inputs": ..., **CUT, "prompt_name": None},
    "/embed_sparse": {"inputs": ..., **CUT, "prompt_name": None},
    "/predict": {"inputs": ..., **CUT, "raw_scores": False},
    "/rerank": {"query": ..., "texts": ..., **CUT, "raw_scores": False, "return_text": False},
    "/tokenize": {"inputs": ..., "add_special_tokens": True, "prompt_name": None},
    "/decode": {"ids": ..., "skip_special_tokens": True},
    "/v1/embeddings": {"input": ..., "model": None, "user": None, "encoding_format": "float", "dimensions": None},
}
"""Fields of the requests of text-embeddings-inference 1.9 and what its server takes where they are missing; ...: they must be there. Its document
says false for `truncate`, its server does what `auto_truncate` says."""


@pytest.mark.parametrize("route", [tei(route, form=f"{route}: names and defaults of fields") for route in FIELDS])
def test_the_fields_are_those_of_text_embeddings_inference(served: Served, route: str) -> None:
    document = call(served.url, "/openapi.json").json
    name = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    found = {key: ... if key in schema["required"] else value.get("default") for key, value in schema["properties"].items()}
    assert found == FIELDS[route] and schema["additionalProperties"] is False


@conforms(form="GET /info, /health, /metrics", where="TEI", outcome="exact", section="clients")
def test_info(served: Served) -> None:
    """The fields of text-embeddings-inference's `Info`."""
    fields = {
        "model_id", "model_sha", "model_dtype", "served_model_name", "model_type", "max_concurrent_requests", "max_input_length", "max_batch_tokens",
        "max_batch_requests", "max_client_batch_size", "auto_truncate", "tokenization_workers", "version", "sha", "docker_label",
    }  # fmt: skip
    assert call(served.url, "/info").json.keys() >= fields
    assert [next(iter(call(served.url, f"/models/{name}/info").json["model_type"])) for name in ("discriminator", "classifier", "ranker")] == [
        "embedding", "classifier", "reranker"
    ]  # fmt: skip
    assert call(served.url, "/health").status == call(served.url, "/metrics").status == 200


# ---- OpenAI's embeddings ----


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        tei({"input": SHORT, "model": "discriminator", "user": "u-1"}, lambda: [vector(SHORT)], form="/v1/embeddings of a text"),
        tei({"input": [SHORT, OTHER]}, lambda: [vector(SHORT), vector(OTHER)], form="/v1/embeddings of a list"),
        tei({"input": lambda: ids(SHORT)}, lambda: [vector(SHORT)], form="/v1/embeddings of token ids"),
        tei({"input": lambda: [ids(SHORT), ids(OTHER)]}, lambda: [vector(SHORT), vector(OTHER)], form="/v1/embeddings of lists of token ids"),
        tei({"input": [SHORT], "encoding_format": "base64"}, lambda: [vector(SHORT)], form="/v1/embeddings, encoding_format base64"),
        tei({"input": SHORT, "encoding_format": "float"}, lambda: [vector(SHORT)], form="/v1/embeddings, encoding_format float"),
        tei({"input": SHORT, "encoding_format": None}, lambda: [vector(SHORT)], form="/v1/embeddings, encoding_format null, as LiteLLM sends it"),
        tei({"input": SHORT, "dimensions": 8}, lambda: [vector(SHORT, size=8)], form="/v1/embeddings, dimensions"),
    ],
)
def test_openai_embeddings(served: Served, body: dict[str, Any], wanted: Any) -> None:
    body = {key: value() if callable(value) else value for key, value in body.items()}
    for path in ("/v1/embeddings", "/embeddings"):
        found = post(served, path, **body)
        assert (found["object"], found["model"]) == ("list", "discriminator")
        assert [(row["object"], row["index"]) for row in found["data"]] == [("embedding", index) for index in range(len(wanted()))]
        rows = [row["embedding"] for row in found["data"]]
        if body.get("encoding_format") == "base64":
            rows = [struct.unpack(f"<{len(base64.b64decode(row)) // 4}f", base64.b64decode(row)) for row in rows]
        np.testing.assert_allclose(rows, wanted(), atol=1e-5)
        given = body["input"] if isinstance(body["input"], list) and not isinstance(body["input"][0], int) else [body["input"]]
        number = sum(len(ids(item) if isinstance(item, str) else item) for item in given)
        assert found["usage"] == {"prompt_tokens": number, "total_tokens": number}


@conforms(form="/v1/embeddings, model of several", where="TEI", outcome="exact", section="clients")
def test_the_model_can_be_named(served: Served) -> None:
    found = post(served, "/v1/embeddings", input=SHORT, model="tagger")
    assert found["model"] == "tagger" and found["data"] == post(served, "/models/tagger/v1/embeddings", input=SHORT, model="any")["data"]
    reply = call(served.url, "/v1/embeddings", {"input": SHORT, "model": "taggers"})
    assert reply.status == 404 and reply.json["code"] == 404 and "did you mean 'tagger'" in reply.json["message"]


@conforms(form="/v1/models", where="OpenAI", outcome="exact", section="clients")
def test_openai_lists_the_models(served: Served) -> None:
    """The fields of OpenAI's reference ("List models"); `client.models.list()` of openai 3.57 reads it."""
    listed = call(served.url, "/v1/models").json
    assert listed["object"] == "list" and [model["id"] for model in listed["data"]] == [m["name"] for m in call(served.url, "/models").json["models"]]
    assert {(model["object"], model["owned_by"], type(model["created"])) for model in listed["data"]} == {("model", "electra", int)}
    assert call(served.url, "/v1/models/tagger").json == next(model for model in listed["data"] if model["id"] == "tagger")
    assert [model["id"] for model in call(served.url, "/models/tagger/v1/models").json["data"]] == ["tagger"]
    for place in ("", "/models/tagger"):
        reply = call(served.url, f"{place}/v1/models/taggers")
        assert reply.status == 404 and reply.json["code"] == 404 and "did you mean 'tagger'" in reply.json["message"]


@conforms(form="/v1/rerank", where="Cohere, Jina", outcome="exact", section="clients")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_documents_are_ranked(version: str, served: Served) -> None:
    texts = [OTHER, SHORT, "the old river"]
    wanted = [sigmoid(logit(SHORT, text)) for text in texts]
    order = sorted(range(3), key=lambda index: -wanted[index])
    documents = [texts[0], {"text": texts[1]}, texts[2]]
    found = post(served, f"/{version}/rerank", model="ranker", query=SHORT, documents=documents, top_n=2, return_documents=True)
    assert [row["index"] for row in found["results"]] == order[:2] and [row["document"]["text"] for row in found["results"]] == [
        texts[i] for i in order[:2]
    ]
    np.testing.assert_allclose([row["relevance_score"] for row in found["results"]], sorted(wanted)[::-1][:2], atol=1e-5)
    plain = post(served, f"/models/ranker/{version}/rerank", query=SHORT, documents=texts)
    assert [row["index"] for row in plain["results"]] == order and "document" not in plain["results"][0] and plain["usage"]["total_tokens"] > 0
    refused(call(served.url, f"/{version}/rerank", {"model": "ranker", "query": SHORT, "documents": []}), 400, "`documents` cannot be empty")


# ---- text-embeddings-inference: refused ----


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        tei_refused("/embed", {"inputs": "a", "pooling": "cls"}, 422, "unknown field 'pooling'; known: truncate", form="unknown field of /embed"),
        tei_refused("/predict", {"inputs": "a", "top_k": 2}, 422, "unknown field 'top_k'", form="unknown field of /predict"),
        tei_refused(
            "/models/ranker/rerank",
            {"query": "a", "texts": ["b"], "top_n": 1},
            422,
            "'top_n' (of POST /v1/rerank); known: truncate",
            form="unknown field of /rerank",
        ),
        tei_refused("/tokenize", {"inputs": "a", "truncate": True}, 422, "unknown field 'truncate'", form="unknown field of /tokenize"),
        tei_refused("/decode", {"ids": [2], "inputs": "a"}, 422, "unknown field 'inputs'", form="unknown field of /decode"),
        tei_refused(
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"metric": "dot"}},
            422,
            "parameters: unknown field 'metric'",
            form="unknown field in parameters of /similarity",
        ),
        tei_refused("/v1/embeddings", {"input": "a", "inputs": "b"}, 422, "unknown field 'inputs'", form="unknown field of /v1/embeddings"),
        tei_refused("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "`prompt_name` 'query'", form="prompt_name without prompts"),
        tei_refused("/embed", {"inputs": "a", "dimensions": 0}, 422, "dimensions", form="dimensions 0"),
        tei_refused("/embed", {"inputs": "a", "dimensions": 33}, 422, "have 32", form="dimensions above the vectors'"),
        tei_refused("/embed", {"inputs": "a", "truncation_direction": "middle"}, 422, "truncation_direction", form="truncation_direction middle"),
        tei_refused(
            "/embed", {"inputs": LONG, "truncate": False}, 422, "must have less than 64 tokens. Given: 122", form="truncate false of a long text"
        ),
        tei_refused(
            "/predict", {"inputs": [LONG, "a"], "truncate": False}, 424, "has no answer to 'classify'", form="/predict of a model without classes"
        ),
        tei_refused(
            "/models/classifier/predict",
            {"inputs": [LONG, "a"], "truncate": False},
            422,
            "Given: 124",
            form="/predict, truncate false of a long pair",
        ),
        tei_refused(
            "/embed", {"inputs": "a", "truncation_direction": "left"}, 422, "`truncate` to true", form="truncation_direction without truncate"
        ),
        tei_refused(
            "/pipeline/feature-extraction",
            {"inputs": "a", "normalize": True, "parameters": {"normalize": False}},
            422,
            "`normalize` is given twice",
            form="a field both next to inputs and in parameters",
        ),
        tei_refused("/embed", {"inputs": []}, 400, "`inputs` cannot be empty", form="/embed of an empty list"),
        tei_refused("/embed", {"inputs": [[]]}, 400, "`inputs` cannot be empty", form="/embed of no token ids"),
        tei_refused("/embed", {"inputs": [2, 99999, 3]}, 422, "id 99999 is not in the vocabulary", form="/embed of ids outside of the vocabulary"),
        tei_refused("/embed", {"inputs": [6, 7]}, 422, "ids of a text begin with 2 ([CLS])", form="/embed of ids without [CLS] and [SEP]"),
        tei_refused("/embed", {"inputs": [-1]}, 422, "token ids", form="/embed of negative ids"),
        tei_refused("/decode", {"ids": [99999]}, 422, "id 99999 is not in the vocabulary", form="/decode of ids outside of the vocabulary"),
        tei_refused("/decode", {"ids": []}, 400, "cannot be empty", form="/decode of an empty list"),
        tei_refused(
            "/models/tagger/rerank", {"query": "a", "texts": ["b"]}, 424, "use /models/ranker/...", form="/rerank of a model without classes"
        ),
        tei_refused("/models/classifier/rerank", {"query": "a", "texts": ["b"]}, 424, "'rerank'", form="/rerank of a classifier of several classes"),
        tei_refused("/models/ranker/rerank", {"query": "a", "texts": []}, 400, "`texts` cannot be empty", form="/rerank of no texts"),
        tei_refused(
            "/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "`inputs.sentences` cannot", form="/similarity to no sentences"
        ),
        tei_refused("/embed_sparse", {"inputs": "a"}, 424, "SPLADE", form="/embed_sparse"),
        tei_refused("/embed", {"inputs": ["a"] * 33}, 413, "batch size 33 > maximum allowed batch size 32", form="too many texts"),
        tei_refused("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "encoding_format", form="/v1/embeddings, encoding_format int8"),
        tei_refused("/v1/embeddings", {"input": []}, 400, "`input` cannot be empty", form="/v1/embeddings of an empty list"),
        tei_refused(
            "/v1/embeddings", {"input": [[9, 11, 19]]}, 422, "ids of another tokenizer mean other words", form="/v1/embeddings, ids of LangChain"
        ),
        tei_refused(
            "/v1/embeddings", {"input": ["a"] * 33}, 413, "maximum allowed batch size 32 (--max-texts)", form="/v1/embeddings, too many texts"
        ),
    ],
)
def test_what_text_embeddings_inference_would_not_answer(served: Served, path: str, body: Any, status: int, message: str) -> None:
    refused(call(served.url, path, body), status, message, openai=path.endswith("/embeddings"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        tei_refused(b'{"inputs": "a", "inputs": "b"}', "inputs", form="a field given twice"),
        tei_refused(b'{"inputs": "a", "options": {"use_cache": true, "use_cache": false}}', "use_cache", form="a field of options given twice"),
    ],
)
def test_no_field_is_given_twice(served: Served, body: bytes, field: str) -> None:
    for path in ("/embed", "/", "/tokenize"):
        refused(call(served.url, path, body=body), 422, f"field '{field}' is given twice")

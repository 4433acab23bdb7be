"""What `huggingface_hub.InferenceClient` sends: answered as the pipelines of `transformers`, or refused by name; ids and counts of every request."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from client_references import LENGTH, LONG, OTHER, SHORT, at, every_kind, post, refused, states, vector
from conformance import case, conforms
from served_models import Served, call, in_thread, sources

from electra import pipeline

hub = functools.partial(case, where="InferenceClient", outcome="exact", section="clients")
hub_refused = functools.partial(case, where="InferenceClient", outcome="refused", section="clients")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with every_kind() as found:
        yield found


# ---- huggingface_hub.InferenceClient, its requests and its answers ----


def plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return [plain(row) for row in answer]
    return {key: value for key, value in vars(answer).items() if value is not None} if hasattr(answer, "__dataclass_fields__") else answer


def near(found: Any, wanted: Any) -> None:
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            near(one, other)
        return
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float | np.floating) else value), key


@functools.cache
def theirs(task: str, kind: str, name: str) -> Any:
    """The pipeline of `transformers`."""
    import transformers

    place = str(sources()[name])
    model = getattr(transformers, kind).from_pretrained(place).eval()
    return transformers.pipeline(task, model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(place), device="cpu")


@pytest.mark.parametrize(
    ("more", "same"),
    [
        hub({}, {"top_k": None}, form="text_classification"),
        hub({"top_k": 2}, {"top_k": 2}, form="text_classification, top_k"),
        hub({"function_to_apply": "sigmoid"}, {"top_k": None, "function_to_apply": "sigmoid"}, form="text_classification, function_to_apply sigmoid"),
        hub({"function_to_apply": "softmax"}, {"top_k": None, "function_to_apply": "softmax"}, form="text_classification, function_to_apply softmax"),
        hub({"top_k": 100}, {"top_k": None}, form="text_classification, top_k above the classes"),
        hub({"function_to_apply": "none"}, {"top_k": None, "function_to_apply": "none"}, form="text_classification, function_to_apply none"),
    ],
)
def test_text_classification(served: Served, more: dict[str, Any], same: dict[str, Any]) -> None:
    wanted = theirs("text-classification", "ElectraForSequenceClassification", "classifier")(SHORT, **same)
    near(plain(at(served, "classifier").text_classification(SHORT, **more)), wanted)
    near(plain(asyncio.run(at(served, "classifier", wait=True).text_classification(SHORT, **more))), wanted)


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        *(hub(name, {}, form=f"token_classification, aggregation_strategy {name}") for name in ("none", "simple", "first", "average", "max")),
        hub("simple", {"ignore_labels": ["PER", "O"]}, form="token_classification, ignore_labels"),
        hub("none", {"ignore_labels": []}, form="token_classification, ignore_labels empty"),
        *(hub(name, {"stride": 11}, form=f"token_classification, stride and {name}") for name in ("simple", "first", "average", "max")),
    ],
)
def test_token_classification(served: Served, strategy: Any, more: dict[str, Any]) -> None:
    text = "the chef walked home to the rain , cooking meals " * (9 if "stride" in more else 1)
    pipe = theirs("token-classification", "ElectraForTokenClassification", "tagger")
    given = {"ignore_labels": ["O"], "stride": None, **more}
    pipe.tokenizer.model_max_length = LENGTH
    wanted = [{key: value for key, value in row.items() if value is not None} for row in pipe(text, aggregation_strategy=strategy, **given)]
    near(plain(at(served, "tagger").token_classification(text, aggregation_strategy=strategy, **more)), wanted)
    near(plain(asyncio.run(at(served, "tagger", wait=True).token_classification(text, aggregation_strategy=strategy, **more))), wanted)


@pytest.mark.parametrize(
    "more",
    [
        hub({}, form="question_answering"),
        hub({"top_k": 3}, form="question_answering, top_k"),
        hub({"handle_impossible_answer": True}, form="question_answering, handle_impossible_answer"),
        hub({"max_answer_len": 2}, form="question_answering, max_answer_len"),
        hub({"doc_stride": 5}, form="question_answering, doc_stride"),
        hub({"max_seq_len": 32, "doc_stride": 10}, form="question_answering, max_seq_len"),
        hub({"max_question_len": 2}, form="question_answering, max_question_len"),
        hub({"align_to_words": True}, form="question_answering, align_to_words"),
    ],
)
def test_question_answering(served: Served, more: dict[str, Any]) -> None:
    """As the pipeline of this package, which is compared with that of transformers 4 in its own tests."""
    question, context = "who cooked the good meal ?", "the chef was cooking in the cold rain . she walked home again , 4242 times . " * 4
    wanted = pipeline("question-answering", model=sources()["finder"])(question=question, context=context, **more)
    near(plain(at(served, "finder").question_answering(question, context, **more)), wanted)
    near(plain(asyncio.run(at(served, "finder", wait=True).question_answering(question, context, **more))), wanted)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        hub("the chef [MASK] the meal .", {}, form="fill_mask"),
        hub("the chef [MASK] the meal .", {"top_k": 3}, form="fill_mask, top_k"),
        hub("the chef [MASK] the meal .", {"targets": ["good", "rain", "cooking"]}, form="fill_mask, targets"),
        hub("the [MASK] [MASK] the meal .", {"top_k": 2}, form="fill_mask of several masks"),
        hub("the [MASK] [MASK] the meal .", {"targets": ["good", "rain"]}, form="fill_mask of several masks, targets"),
    ],
)
def test_fill_mask(served: Served, text: str, more: dict[str, Any]) -> None:
    wanted = theirs("fill-mask", "ElectraForMaskedLM", "masked")(text, **more)
    near(plain(at(served, "masked").fill_mask(text, **more)), wanted)
    near(plain(asyncio.run(at(served, "masked", wait=True).fill_mask(text, **more))), wanted)


@pytest.mark.parametrize(
    ("text", "more", "wanted"),
    [
        hub(SHORT, {}, lambda: [vector(SHORT)], form="feature_extraction"),
        hub([SHORT, OTHER], {}, lambda: [vector(SHORT), vector(OTHER)], form="feature_extraction of a list"),
        hub(SHORT, {"normalize": False}, lambda: [states(SHORT).mean(0)], form="feature_extraction, normalize false"),
        hub(SHORT, {"dimensions": 5}, lambda: [vector(SHORT, size=5)], form="feature_extraction, dimensions"),
        hub(LONG, {"truncate": True}, lambda: [vector(LONG)], form="feature_extraction, truncate"),
        hub(
            LONG,
            {"truncate": True, "truncation_direction": "left"},
            lambda: [vector(LONG, "left")],
            form="feature_extraction, truncation_direction left",
        ),
        hub(SHORT, {"encoding_format": "float"}, lambda: [vector(SHORT)], form="feature_extraction, encoding_format float"),
    ],
)
def test_feature_extraction(served: Served, text: Any, more: dict[str, Any], wanted: Any) -> None:
    np.testing.assert_allclose(at(served, "discriminator").feature_extraction(text, **more), wanted(), atol=1e-5)
    one, *rest = [{key: value} for key, value in more.items()] or [{}]
    body = {"inputs": text, **one, "parameters": dict(pair for part in rest for pair in part.items())}
    np.testing.assert_allclose(post(served, "/pipeline/feature-extraction", **body), wanted(), atol=1e-5)
    np.testing.assert_allclose(asyncio.run(at(served, "discriminator", wait=True).feature_extraction(text, **more)), wanted(), atol=1e-5)


TYPED: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "TextClassificationInput": ("classifier", lambda kind, _: kind(inputs=SHORT)),
    "TokenClassificationInput": ("tagger", lambda kind, more: kind(inputs=SHORT, parameters=more.TokenClassificationParameters(stride=3))),
    "QuestionAnsweringInput": (
        "finder",
        lambda kind, more: kind(
            inputs=more.QuestionAnsweringInputData(question="who ?", context=SHORT), parameters=more.QuestionAnsweringParameters(top_k=2)
        ),
    ),
    "FillMaskInput": ("masked", lambda kind, more: kind(inputs="the [MASK]", parameters=more.FillMaskParameters(top_k=2))),
    "FeatureExtractionInput": ("discriminator", lambda kind, _: kind(inputs=[SHORT], normalize=True)),
    "SentenceSimilarityInput": (
        "discriminator",
        lambda kind, more: kind(inputs=more.SentenceSimilarityInputData(source_sentence=SHORT, sentences=[OTHER])),
    ),
}
"""Type of `huggingface_hub` -> a model, and how a request is made of it."""


@pytest.mark.parametrize("name", [hub(name, form=f"{name} with its nulls") for name in TYPED])
def test_the_hubs_types_of_requests(served: Served, name: str) -> None:
    """As JSON they say null where the client's methods send nothing."""
    from huggingface_hub.inference._generated import types

    model, make = TYPED[name]
    body = dataclasses.asdict(make(getattr(types, name), types))
    assert None in [*body.values(), *(body.get("parameters") or {}).values()]

    def without(value: Any) -> Any:
        return {key: without(part) for key, part in value.items() if part is not None} if isinstance(value, dict) else value

    assert post(served, f"/models/{model}", **body) == post(served, f"/models/{model}", **without(body))


@conforms(form="sentence_similarity", where="InferenceClient", outcome="exact", section="clients")
def test_sentence_similarity(served: Served) -> None:
    wanted = [float(vector(SHORT) @ vector(text)) for text in (OTHER, SHORT)]
    np.testing.assert_allclose(at(served, "discriminator").sentence_similarity(SHORT, [OTHER, SHORT]), wanted, atol=1e-5)
    np.testing.assert_allclose(asyncio.run(at(served, "discriminator", wait=True).sentence_similarity(SHORT, [OTHER, SHORT])), wanted, atol=1e-5)


@conforms(form="get_endpoint_info, health_check", where="InferenceClient", outcome="exact", section="clients")
def test_the_hubs_client_asks_for_the_endpoint(served: Served) -> None:
    from huggingface_hub import InferenceClient

    for place, name in (("", "discriminator"), ("/models/tagger", "tagger"), ("/models/nobody", None)):
        client = InferenceClient(model=served.url + place, provider="hf-inference")
        assert client.health_check() is (name is not None)
        assert name is None or client.get_endpoint_info()["model_id"] == name


@pytest.mark.parametrize(
    ("name", "send", "status", "message"),
    [
        hub_refused(
            "classifier",
            lambda client: client.zero_shot_classification("a", ["b", "c"]),
            422,
            "'candidate_labels', 'multi_label' (of zero-shot-classification",
            form="zero_shot_classification",
        ),
        hub_refused(
            "classifier",
            lambda client: client.summarization("a", truncation="only_first"),
            422,
            "parameters.truncation",
            form="summarization, truncation",
        ),
        hub_refused("finder", lambda client: client.summarization("a"), 422, "question", form="summarization of another model"),
        hub_refused("tagger", lambda client: client.translation("a", src_lang="en", tgt_lang="fr"), 422, "translation", form="translation"),
        hub_refused(
            "classifier",
            lambda client: client.table_question_answering({"a": ["b"]}, "c"),
            422,
            "table-question-answering",
            form="table_question_answering",
        ),
        hub_refused("masked", lambda client: client.chat_completion([{"role": "user", "content": "a"}]), 404, "Not Found", form="chat_completion"),
        hub_refused("masked", lambda client: client.text_generation("a [MASK]", max_new_tokens=2), 422, "text-generation", form="text_generation"),
        hub_refused(
            "discriminator",
            lambda client: client.feature_extraction("a", encoding_format="base64"),
            422,
            "POST /v1/embeddings",
            form="feature_extraction, encoding_format base64",
        ),
        hub_refused(
            "discriminator",
            lambda client: client.feature_extraction("a", prompt_name="query"),
            422,
            "prompt_name",
            form="feature_extraction, prompt_name",
        ),
        hub_refused(
            "tagger", lambda client: client.text_classification("a", top_k=1), 422, "unknown field 'top_k'", form="parameters of another task"
        ),
        hub_refused(
            "masked", lambda client: client.fill_mask("[MASK]", top_k=900), 422, "top_k 900 is above", form="fill_mask, top_k above the vocabulary"
        ),
        hub_refused("masked", lambda client: client.fill_mask("[MASK]", targets=[]), 422, "target", form="fill_mask, targets empty"),
        hub_refused("masked", lambda client: client.fill_mask("no mask"), 422, "[MASK]", form="fill_mask without a mask"),
        hub_refused("classifier", lambda client: client.text_classification("a", top_k=0), 422, "top_k", form="text_classification, top_k 0"),
        hub_refused(
            "tagger", lambda client: client.token_classification("a", stride=62), 422, "stride 62", form="token_classification, stride too large"
        ),
        hub_refused(
            "tagger",
            lambda client: client.token_classification("a", stride=3, aggregation_strategy="none"),
            422,
            "stride with aggregation_strategy 'none'",
            form="token_classification, stride without a strategy",
        ),
        hub_refused(
            "finder",
            lambda client: client.question_answering("a", "b", max_seq_len=65),
            422,
            "max_seq_len 65",
            form="question_answering, max_seq_len too large",
        ),
        hub_refused(
            "finder",
            lambda client: client.question_answering("a", "b c", doc_stride=60),
            422,
            "doc_stride 60",
            form="question_answering, doc_stride too large",
        ),
    ],
)
def test_what_the_hubs_client_is_refused(served: Served, name: str, send: Any, status: int, message: str) -> None:
    from huggingface_hub.errors import HfHubHTTPError, ValidationError

    with pytest.raises((HfHubHTTPError, ValidationError)) as found:  # the latter by text_generation, from our error_type
        send(at(served, name))
    # The client adds the body of a 422 to what it raises.
    if status == 422:
        assert message in str(found.value)
    response = getattr(found.value, "response", None) or found.value.__cause__.response  # type: ignore[union-attr]
    assert response.status_code == status and message in response.json()["error"]


@pytest.mark.parametrize(
    ("text", "parameters", "same"),
    [
        hub(SHORT, {"truncation": True}, {"truncation": True}, form="text-classification, truncation"),
        hub(LONG, {"truncation": True, "max_length": 9}, {"truncation": True, "max_length": 9}, form="text-classification, max_length"),
        hub(
            {"text": LONG, "text_pair": OTHER * 5},
            {"truncation": True, "max_length": 20, "top_k": 1},
            {"truncation": True, "max_length": 20, "top_k": 1},
            form="text-classification, truncation of a pair",
        ),
        hub_refused(SHORT, {"truncation": True, "truncate": True}, None, form="text-classification, truncate and truncation"),
        hub_refused(SHORT, {"truncation": "only_first"}, None, form="text-classification, truncation only_first"),
        hub_refused(SHORT, {"return_all_scores": True}, None, form="text-classification, return_all_scores"),
    ],
)
def test_truncation_as_transformers_names_it(served: Served, text: Any, parameters: dict[str, Any], same: dict[str, Any] | None) -> None:
    reply = call(served.url, "/models/classifier", {"inputs": text, "parameters": parameters})
    if same is None:
        return refused(reply, 422, "trunc" if "return_all_scores" not in parameters else "'return_all_scores'; known: truncate")
    pipe = theirs("text-classification", "ElectraForSequenceClassification", "classifier")
    near(reply.json, [pipe([text], **{"top_k": None, **same})[0]])
    return None


# ---- every route: token, counts, request ids ----


def test_new_routes_are_counted_and_have_ids(served: Served) -> None:
    from served_models import metric

    for path, body in (("/rerank", {"query": "a", "texts": ["b"]}), ("/tokenize", {"inputs": [SHORT, "a"]}), ("/v1/embeddings", {"input": "a"})):
        line = f'electra_requests_total{{model="ranker",route="{path}",status="200"}}'
        before = metric(served.url, line)
        reply = call(served.url, f"/models/ranker{path}", body, headers={"X-Request-Id": "mine-1"})
        assert reply.status == 200 and reply.headers["x-request-id"] == "mine-1"
        assert metric(served.url, line) == before + 1
    assert any(line["id"] == "mine-1" for line in served.lines())
    made = [call(served.url, "/v1/embeddings", {"input": 3}, headers={"X-Request-Id": given}).headers["x-request-id"] for given in ("", "a\tb", "é")]
    assert len({*made}) == 3 and all(len(one) == 32 for one in made)


def test_new_routes_need_the_token_and_keep_their_form_of_errors() -> None:
    with in_thread("discriminator", token="0123456789abcdef", max_texts=2, max_tokens=16, max_body_bytes=300) as served:
        for path, body in (("/tokenize", {"inputs": "a"}), ("/similarity", {}), ("/v1/embeddings", {"input": "a"}), ("/rerank", {})):
            reply = call(served.url, path, body)
            assert reply.status == 401 and reply.json.keys() == ({"message", "code", "type"} if "embeddings" in path else {"error", "error_type"})
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        for path, body in (
            ("/tokenize", {"inputs": "the " * 20}),
            ("/decode", {"ids": [[2], [2], [2]]}),
            ("/v1/embeddings", {"input": ["a", "b", "c"]}),
            ("/v1/embeddings", {"input": "a " * 200}),
        ):
            reply = call(served.url, path, body, headers=headers)
            assert reply.status == 413 and reply.json.keys() == ({"message", "code", "type"} if "embeddings" in path else {"error", "error_type"})

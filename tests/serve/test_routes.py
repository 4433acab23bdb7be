"""'electra serve' over a real socket: every route gives what `electra.pipeline` gives, to the clients that people have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from served_models import Served, call, in_thread, metric, sources, wait_until
from tiny_models import oracle

from electra import load, pipeline
from electra.contracts import Example
from electra.data.windows import split

TEXTS = ["the chef cooked the meal", "an Épic film , was it ?", "", "she walked home again in the rain .", "the river " * 60]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("classifier", "discriminator", "tagger", "finder", "masked") as found:
        yield found


def near(found: Any, wanted: Any) -> None:
    """Equal, numbers within what batches of another composition may change."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            near(found[key], wanted[key])
    elif isinstance(wanted, list | tuple | np.ndarray):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            near(one, other)
    else:
        assert found == (pytest.approx(float(wanted), abs=1e-5) if isinstance(wanted, float | np.floating) else wanted)


# ---- huggingface_hub.InferenceClient, unchanged ----


def client(served: Served, name: str = "") -> Any:
    from huggingface_hub import InferenceClient

    return InferenceClient(model=served.url + (f"/models/{name}" if name else ""))


@pytest.mark.parametrize("text", TEXTS)
def test_the_hubs_client_classifies(served: Served, text: str) -> None:
    wanted = pipeline("text-classification", model=sources()["classifier"])(text, top_k=None)
    for one in (client(served), client(served, "classifier")):
        near([dict(row) for row in one.text_classification(text)], wanted)
    near([dict(row) for row in client(served).text_classification(text, top_k=1)], wanted[:1])
    near(
        sorted(row.score for row in client(served).text_classification(text, function_to_apply="none")),
        sorted(oracle("ElectraForSequenceClassification", "classifier").logits(text)) if len(text) < 100 else sorted(raw(text)),
    )


def raw(text: str) -> list[float]:
    model, examples = load(sources()["classifier"]).classifier(), [Example(id="", text=text)]
    found = model.answer_features(examples, model.featurize(examples), transform="none")
    return list(found[0].probabilities.values())


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("strategy", [None, "none", "simple", "first", "average", "max"])
def test_the_hubs_client_tags(served: Served, text: str, strategy: Any) -> None:
    wanted = pipeline("token-classification", model=sources()["tagger"], aggregation_strategy=strategy or "simple")(text)
    found = client(served, "tagger").token_classification(text, aggregation_strategy=strategy)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        near({key: one[key] for key in other}, other)


@pytest.mark.parametrize(("top_k", "impossible"), [(None, None), (3, None), (None, True)])
def test_the_hubs_client_answers_questions(served: Served, top_k: Any, impossible: Any) -> None:
    ask = pipeline("question-answering", model=sources()["finder"])
    for question, context in (("who cooked ?", "the chef cooked the meal in the old house ."), ("where ?", "she walked home in the rain . " * 20)):
        wanted = ask(question=question, context=context, top_k=top_k or 1, handle_impossible_answer=impossible)
        found = client(served, "finder").question_answering(question, context, top_k=top_k, handle_impossible_answer=impossible)
        near([dict(row) for row in found] if isinstance(found, list) else dict(found), wanted)


@pytest.mark.parametrize("name", ["masked", "discriminator"])
@pytest.mark.parametrize(("top_k", "targets"), [(None, None), (3, None), (None, ["good", "Bad", "rain"])])
def test_the_hubs_client_fills_masks(served: Served, name: str, top_k: Any, targets: Any) -> None:
    """Also by the generator saved with a discriminator, and among given words."""
    text = "the chef [MASK] the meal ."
    wanted = pipeline("fill-mask", model=sources()[name])(text, top_k=top_k or 5, targets=targets)
    found = client(served, name).fill_mask(text, top_k=top_k, targets=targets)
    near([{key: row[key] for key in wanted[0]} for row in found], wanted)


def test_targets_are_those_of_transformers() -> None:
    import transformers

    reference = oracle("ElectraForMaskedLM", "masked")
    theirs = transformers.pipeline("fill-mask", model=reference.model, tokenizer=reference.tokenizer, device="cpu")
    text, targets = "the chef [MASK] the meal .", ["good", "rain", "cooking"]
    wanted = theirs(text, targets=targets)
    found = pipeline("fill-mask", model=sources()["masked"])(text, targets=targets)
    assert [row["token"] for row in found] == [row["token"] for row in wanted]
    np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in wanted], atol=1e-5)


def test_the_hubs_client_extracts_features(served: Served) -> None:
    model = load(sources()["discriminator"])
    np.testing.assert_allclose(client(served, "discriminator").feature_extraction(TEXTS), model.embed(TEXTS, normalize=True), atol=1e-5)
    found = client(served, "discriminator").feature_extraction(TEXTS[0], normalize=False)
    np.testing.assert_allclose(found, model.embed(TEXTS[:1]), atol=1e-5)
    longest = client(served, "discriminator").feature_extraction(TEXTS[-1], normalize=False, truncate=True)
    np.testing.assert_allclose(longest, model.embed(["the river " * 31]), atol=1e-5)


def test_a_task_can_be_named_and_lists_answered(served: Served) -> None:
    text = ["the chef ate", "rain"]
    wanted = pipeline("replaced-token-detection", model=sources()["discriminator"])(text)
    near(call(served.url, "/models/discriminator/pipeline/replaced-token-detection", {"inputs": text}).json, wanted)
    wanted = pipeline("token-classification", model=sources()["tagger"], aggregation_strategy="simple")(TEXTS[:3])
    near(call(served.url, "/models/tagger", {"inputs": TEXTS[:3], "options": {"use_cache": False}}).json, wanted)
    pair: Any = pipeline("text-classification", model=sources()["classifier"])(("a film", "it was good"), top_k=None)
    near(call(served.url, "/", {"inputs": {"text": "a film", "text_pair": "it was good"}}).json, pair)
    questions = [{"question": "who ?", "context": "the chef"}, {"question": "what ?", "context": "the meal"}]
    near(call(served.url, "/models/finder", {"inputs": questions}).json, pipeline("question-answering", model=sources()["finder"])(questions))


# ---- text-embeddings-inference ----


def test_predict_reads_inputs_as_text_embeddings_inference_does(served: Served) -> None:
    classify = pipeline("text-classification", model=sources()["classifier"])
    one: Any = classify("rain", top_k=None)
    pair: Any = classify(("a film", "it was good"), top_k=None)
    for path in ("/predict", "/models/classifier/predict"):
        near(call(served.url, path, {"inputs": "rain"}).json, one)
        near(call(served.url, path, {"inputs": ["rain"]}).json, one)
        near(call(served.url, path, {"inputs": ["a film", "it was good"]}).json, pair[0])
        near(call(served.url, path, {"inputs": [["rain"], ["a film", "it was good"]]}).json, [one, pair[0]])
    for wrong in (["a", "b", "c"], ["a", ["b"]], [["a", "b", "c"]], [[]], [], [1], None, {"a": "b"}):
        assert call(served.url, "/predict", {"inputs": wrong}).status == 422, wrong


def test_predict_gives_raw_scores_and_truncates(served: Served) -> None:
    logits = oracle("ElectraForSequenceClassification", "classifier").logits
    found = call(served.url, "/predict", {"inputs": "the chef", "raw_scores": True}).json
    near([row["score"] for row in found], sorted(logits("the chef").tolist(), reverse=True))
    cut = call(served.url, "/predict", {"inputs": "the river " * 60, "raw_scores": True, "truncate": True}).json
    near([row["score"] for row in cut], sorted(logits("the river " * 31).tolist(), reverse=True))
    reference = oracle("ElectraForSequenceClassification", "classifier")
    long, other, short = "the river " * 60, "a cold rain " * 40, "a film"
    equal = ("the river " * 60, "a cold " * 60)
    for pair in ((long, short), (short, long), (long, other), (other, long), (long, "rain " * 120), ("she ate " * 16, long), (short, short), equal):
        for side in ("left", "right"):
            body = {"inputs": pair, "raw_scores": True, "truncate": True, "truncation_direction": side}
            reference.tokenizer.truncation_side = side
            encoded = reference.tokenizer(*pair, truncation=True, max_length=64, return_tensors="pt")
            wanted = sorted(reference.model(**encoded).logits[0].tolist(), reverse=True)
            near([row["score"] for row in call(served.url, "/predict", body).json], wanted)
    reference.tokenizer.truncation_side = "right"


def test_raw_scores_of_a_long_text_are_its_windows_mean_weighted_by_their_tokens(served: Served) -> None:
    """150 words, 62 a window: each window counts by the tokens it answers for, as in `predict`."""
    words = ["good", "bad", "rain"] * 30 + ["meal"] * 60
    parts = split(150, 62)
    weights = [window.last - window.first for window in parts]
    assert len({*weights}) > 1
    rows = [oracle("ElectraForSequenceClassification", "classifier").logits(" ".join(words[w.start : w.stop])) for w in parts]
    wanted, plain = np.average(rows, axis=0, weights=weights), np.mean(rows, axis=0)
    assert np.abs(wanted - plain).max() > 1e-3
    found = call(served.url, "/predict", {"inputs": " ".join(words), "raw_scores": True}).json
    near([row["score"] for row in found], sorted(wanted.tolist(), reverse=True))


def test_embed_and_embed_all(served: Served) -> None:
    model = load(sources()["discriminator"])
    for path, wanted in (
        ("/models/discriminator/embed", model.embed(TEXTS, normalize=True)),
        ("/embed", load(sources()["classifier"]).embed(TEXTS, normalize=True)),
    ):
        near(call(served.url, path, {"inputs": TEXTS}).json, wanted.tolist())
    near(call(served.url, "/models/discriminator/embed", {"inputs": "rain", "normalize": False}).json, model.embed(["rain"]).tolist())
    features = pipeline("feature-extraction", model=model)(TEXTS)
    near(call(served.url, "/models/discriminator/embed_all", {"inputs": TEXTS}).json, [rows for (rows,) in features])


def test_info_names_the_model_and_its_limits(served: Served) -> None:
    found = call(served.url, "/info").json
    assert found["model_id"] == "classifier" and found["max_client_batch_size"] == 32 and found["max_input_length"] == 64
    assert found["model_type"]["classifier"]["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert call(served.url, "/models/tagger/info").json["model_id"] == "tagger"


# ---- ours ----


def test_detect_and_corrupt(served: Served) -> None:
    model = load(sources()["discriminator"])
    wanted = pipeline("replaced-token-detection", model=model)(TEXTS, threshold=0.3)
    near(call(served.url, "/models/discriminator/detect", {"inputs": TEXTS, "threshold": 0.3}).json, wanted)
    for text, seed in (("the chef cooked the meal", 1), ("the chef cooked the meal", 2), ("", 1), ("walking homes", 5)):
        found = call(served.url, "/models/discriminator/corrupt", {"inputs": text, "seed": seed, "mask_prob": 0.4}).json
        (reference,) = model.corrupt([text], seed=seed, mask_prob=0.4)
        assert (found["text"], found["corrupted"]) == (text, reference.corrupted.text)
        assert [token["token"] for token in found["tokens"]] == [token.token for token in reference.corrupted.tokens]
        near([token["score"] for token in found["tokens"]], [token.probability for token in reference.corrupted.tokens])
        masked = [token for token in found["tokens"] if token["masked"]]
        assert [token["original"] for token in masked] == [item.original for item in reference.replacements]
        assert [token["changed"] for token in masked] == [item.changed for item in reference.replacements]
        near([[p["score"] for p in token["proposals"]] for token in masked], [[p for _, p in item.proposals] for item in reference.replacements])
        for token in found["tokens"]:
            assert token["changed"] == (token["token"] != token["original"])


def test_what_is_drawn_does_not_depend_on_other_requests(served: Served) -> None:
    text = {"inputs": "the chef cooked the meal in the old house", "seed": 3, "mask_prob": 0.5}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: call(served.url, "/models/discriminator/corrupt", text).json["corrupted"], range(16)))
    assert len(set(found)) == 1


def test_models_are_listed_without_paths(served: Served) -> None:
    answer = call(served.url, "/models").json
    found = answer["models"]
    assert answer["max_texts"] == 32 == call(served.url, "/info").json["max_client_batch_size"]
    assert [(m["name"], m["role"]) for m in found] == [
        ("classifier", "classifier"), ("discriminator", "discriminator"), ("tagger", "tagger"), ("finder", "span finder"), ("masked", "generator")
    ]  # fmt: skip
    assert found[0]["labels"] == ["negative", "neutral", "positive"] and found[0]["target"] == "pytorch" and found[0]["max_length"] == 64
    assert found[1]["abilities"] == ["corrupt", "detect", "embed", "embed_all", "fill"]
    assert call(served.url, "/models/tagger").json == found[2]
    listed = call(served.url, "/models").body.decode()
    assert not [place for place in sources().values() if str(place.parent) in listed]


@pytest.mark.parametrize(
    ("path", "value", "status", "message"),
    [
        ("/models/classifier/detect", {"inputs": "a"}, 424, "a classifier"),
        ("/models/finder/predict", {"inputs": "a"}, 424, "it can: answer"),
        ("/models/nobody/predict", {"inputs": "a"}, 404, "no model 'nobody'"),
        ("/models/tager/predict", {"inputs": "a"}, 404, "did you mean 'tagger'"),
        ("/models/finder", {"inputs": "a"}, 422, "question"),
        ("/models/tagger", {"inputs": {"question": "a", "context": "b"}}, 422, "a text"),
        ("/models/masked", {"inputs": "no mask"}, 422, "[MASK]"),
        ("/models/masked", {"inputs": "a [MASK]", "parameters": {"targets": [""]}}, 422, "targets"),
        ("/models/tagger", {"inputs": "a", "parameters": {"aggregation_strategy": "most"}}, 422, "aggregation_strategy"),
        ("/predict", {"inputs": "a", "truncate": "yes"}, 422, "truncate"),
        ("/predict", {"input": "a"}, 422, "inputs"),
        ("/predict", [], 422, ""),
        ("/models/discriminator/corrupt", {"inputs": "a", "temperature": 0}, 422, "temperature"),
        ("/models/discriminator/pipeline/summarization", {"inputs": "a"}, 422, "task"),
        ("/elsewhere", {"inputs": "a"}, 404, "Not Found"),
        ("/predict/", {"inputs": "a"}, 404, "Not Found"),
    ],
)
def test_refusals_have_one_shape(served: Served, path: str, value: Any, status: int, message: str) -> None:
    reply = call(served.url, path, value)
    assert reply.status == status, reply.body
    assert reply.json.keys() == {"error", "error_type"} and message in reply.json["error"], reply.json
    assert str(sources()["masked"].parent) not in reply.json["error"]


def test_one_text_that_cannot_be_answered_takes_no_others_with_it() -> None:
    with in_thread("masked", max_wait_ms=100.0) as served, ThreadPoolExecutor(8) as pool:
        texts = ["a [MASK]", "no mask", "the [MASK] meal", "none", "[MASK]", "rain", "she [MASK]", "!"]
        replies = list(pool.map(lambda text: call(served.url, "/", {"inputs": text}), texts))
        assert [reply.status for reply in replies] == [200 if "[MASK]" in text else 422 for text in texts]


def test_metrics_and_log_count(served: Served) -> None:
    before = metric(served.url, 'electra_texts_total{model="classifier"}')
    done = metric(served.url, 'electra_requests_total{model="classifier",route="/predict",status="200"}')
    call(served.url, "/predict", {"inputs": [["a secret film"], ["rain"]]})
    assert metric(served.url, 'electra_texts_total{model="classifier"}') == before + 2
    assert metric(served.url, 'electra_requests_total{model="classifier",route="/predict",status="200"}') == done + 1
    assert metric(served.url, "process_resident_memory_bytes") > 1e7
    wait_until(lambda: served.lines()[-1].get("texts") == 2)
    line = served.lines()[-1]
    assert (line["model"], line["route"], line["status"], line["texts"]) == ("classifier", "/predict", 200, 2) and line["ms"] > 0
    assert line["tokens"] == 2 + len(load(sources()["classifier"]).tokenizer.encode(["secret film"])[0])
    assert "secret" not in served.log.getvalue()


def test_texts_are_logged_only_on_request() -> None:
    with in_thread("classifier", log_text=True) as served:
        call(served.url, "/predict", {"inputs": "a secret film"})
        wait_until(served.lines)
        assert served.lines()[-1]["text"] == ["a secret film"]


def test_docs_need_nothing_from_elsewhere(served: Served) -> None:
    page = call(served.url, "/docs")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert "/predict" in page.body.decode() and "<script" not in page.body.decode()
    # Addresses are those of this server, in examples.
    assert not re.findall(rf"(?:src|href)=.(?:http|//)|http(?!://{re.escape(served.url.split('/')[2])})", page.body.decode())
    assert call(served.url, "/openapi.json").json["paths"].keys() >= {
        "/predict",
        "/embed",
        "/",
        "/models/{name}",
        "/models/{name}/predict",
        "/detect",
    }


def test_the_document_names_every_flag_with_its_default() -> None:
    """docs/serve.md against the settings, and the settings against the limits."""
    import dataclasses
    import re

    from served_models import ROOT

    from electra.serve.limits import Limits, limits_of
    from electra.settings import ServeSettings

    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--(?:no-)?([a-z][a-z-]+)", text)) - {"minutes", "texts", "sections", "model"}
    fields = {field.name.replace("_", "-"): field for field in dataclasses.fields(ServeSettings)}
    assert named == set(fields) - {"models"}
    for flag, default in re.findall(r"^\| `--([a-z-]+)` \| ([0-9.]+)", text, re.M):
        assert float(default) == fields[flag].default, flag
    assert {flag.replace("-", "_") for flag, _ in re.findall(r"^\| `--([a-z-]+)` \| ([0-9.]+)", text, re.M)} >= {
        f.name for f in dataclasses.fields(Limits)
    }
    assert limits_of(ServeSettings(models=("x",))) == Limits()


def test_serving_itself_needs_no_torch() -> None:
    """A built artifact is served where there is none."""
    import subprocess
    import sys

    from served_models import ROOT

    code = "import sys; sys.modules['torch'] = None; import electra.serve.app, electra.serve.server, electra.commands.serve"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["/predict", "/", "/models/classifier/predict", "/info"])
def test_a_query_string_names_no_model(served: Served, path: str) -> None:
    value = None if path == "/info" else {"inputs": "a film"}
    assert call(served.url, path, value).status == 200
    refused = call(served.url, f"{path}?model=tagger", value)
    assert refused.status == 422 and "query parameter 'model' has no effect" in refused.json["error"] and "/models/NAME/" in refused.json["error"]

"""Which model answers a request that names none: the one that is made for it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_references import refused
from served_models import Served, call, in_thread, sources
from tiny_models import SHAPE, checkpoints, vocabulary

TEXTS = {"inputs": ["the chef cooked the meal", "rain"]}
PAIRS = {"inputs": {"source_sentence": "the meal", "sentences": ["the chef cooked", "rain"]}}
RANKED = {"query": "the meal", "texts": ["the chef cooked", "rain"]}
DOCUMENTS = {"query": "the meal", "documents": ["the chef cooked", "rain"]}
QUESTION = {"inputs": {"question": "who cooked ?", "context": "the chef cooked the meal"}}
VECTORS = [
    ("/embed", TEXTS),
    ("/embed_all", TEXTS),
    ("/v1/embeddings", {"input": TEXTS["inputs"]}),
    ("/embeddings", {"input": "rain", "model": None}),
    ("/similarity", PAIRS),
    ("/", PAIRS),
    ("/pipeline/feature-extraction", TEXTS),
    ("/tokenize", TEXTS),
    ("/decode", {"ids": [2, 9, 3]}),
]


@functools.cache
def encoder() -> Path:
    """A network without a head, and with its words in another order than the other models have them."""
    import torch
    import transformers

    from electra.data.tokenizer import load_tokenizer

    folder = Path(tempfile.mkdtemp()) / "encoder"
    torch.manual_seed(3)
    transformers.ElectraModel(transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE)).save_pretrained(folder)
    words = [*vocabulary()[:5], *vocabulary()[:4:-1]]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    load_tokenizer(folder / "vocab.txt").save(folder)
    return folder


def places() -> dict[str, Path]:
    return {**sources(), "ranker": checkpoints()["regression"], "encoder": encoder(), "other": encoder()}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("classifier", "encoder", "discriminator", "finder", places=places()) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        *((path, body, "encoder") for path, body in VECTORS),
        ("/predict", {"inputs": "rain"}, "classifier"),
        ("/predict", {"inputs": "rain", "truncate": True}, "classifier"),
        ("/", {"inputs": "rain"}, "classifier"),
        ("/detect", TEXTS, "discriminator"),
        ("/corrupt", {"inputs": "the chef cooked the meal"}, "discriminator"),
        ("/pipeline/question-answering", QUESTION, "finder"),
    ],
)
def test_the_model_that_is_made_for_it_answers(served: Served, path: str, body: dict[str, Any], name: str) -> None:
    found, named = call(served.url, path, body), call(served.url, f"/models/{name}{path}".rstrip("/"), body)
    assert (found.status, named.status) == (200, 200), found.body
    assert found.headers["x-model"] == named.headers["x-model"] == name
    np.testing.assert_equal(found.json, named.json)


def test_token_ids_are_those_of_the_model_that_reads_them(served: Served) -> None:
    """The tokenizers differ: ids of the classifier would be other words of the encoder."""
    tokens = call(served.url, "/tokenize", {"inputs": "the chef cooked"}).json[0]
    vectors = [call(served.url, "/embed", {"inputs": given}).json[0] for given in ("the chef cooked", [token["id"] for token in tokens])]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    assert tokens != call(served.url, "/models/classifier/tokenize", {"inputs": "the chef cooked"}).json[0]


def test_a_name_is_obeyed(served: Served) -> None:
    for path, body in (("/models/classifier/embed", {"inputs": "rain"}), ("/v1/embeddings", {"input": "rain", "model": "classifier"})):
        assert call(served.url, path, body).headers["x-model"] == "classifier"


def test_the_first_answers_where_it_is_made_for_it_or_nothing_else_is() -> None:
    with in_thread("encoder", "other", "masked", places=places()) as served:
        for path, body in VECTORS:
            assert call(served.url, path, body).headers["x-model"] == "encoder"
    with in_thread("classifier", "discriminator") as served:
        assert call(served.url, "/embed", TEXTS).headers["x-model"] == "classifier", "no encoder is served"


def test_of_several_that_are_made_for_it_one_must_be_named() -> None:
    with in_thread("discriminator", "encoder", "other", "classifier", "ranker", places=places()) as served:
        both = "and the request names no model; use /models/encoder/... or /models/other/..."
        for path, body in VECTORS:
            message = f"model 'discriminator' (a discriminator) was not made for vectors, {both}"
            refused(call(served.url, path, body), 424, message, openai=path.endswith("embeddings"))
        refused(call(served.url, "/predict", {"inputs": "rain"}), 424, "use /models/classifier/... or /models/ranker/...")
        for path, body in (("/rerank", RANKED), ("/v1/rerank", DOCUMENTS), ("/", RANKED)):
            assert call(served.url, path, body).headers["x-model"] == "ranker", "a classifier of several classes ranks nothing"
    with in_thread("classifier", "finder") as served:
        refused(call(served.url, "/detect", TEXTS), 424, "model 'classifier' (a classifier) has no answer to 'detect'; it can: classify")

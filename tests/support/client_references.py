"""What tests of clients share: a server with a model of every kind, the networks of `transformers` as references, the form of errors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tokenizers
from served_models import Reply, Served, call, in_thread, sources
from tiny_models import checkpoints, oracle

SHORT, OTHER, LONG = "the chef cooked the meal", "she walked home again in the rain .", "the old river " * 40
LENGTH = 64
"""Tokens that the models read."""


@contextmanager
def every_kind() -> Iterator[Served]:
    """A server with a model of every kind; a discriminator is the first."""
    places = {**sources(), "ranker": checkpoints()["regression"]}
    with in_thread("discriminator", "classifier", "tagger", "finder", "masked", "ranker", places=places) as found:
        yield found


def post(served: Served, path: str, **body: Any) -> Any:
    """The answer of a request that is answered."""
    reply = call(served.url, path, body)
    assert reply.status == 200, reply.body
    return reply.json


def refused(reply: Reply, status: int, message: str, *, openai: bool = False) -> None:
    assert reply.status == status and len(reply.body) < 600, reply.body
    assert reply.json.keys() == ({"message", "code", "type"} if openai else {"error", "error_type"})
    assert message in reply.json["message" if openai else "error"], reply.json
    kinds = {400: "empty", 413: "validation", 422: "validation", 424: "backend"}
    assert reply.json["type" if openai else "error_type"] == kinds[status]


def at(served: Served, name: str, *, wait: bool = False) -> Any:
    from huggingface_hub import AsyncInferenceClient, InferenceClient

    return (AsyncInferenceClient if wait else InferenceClient)(model=f"{served.url}/models/{name}")


# ---- references: the networks and tokenizers of `transformers` ----


def states(text: str, side: str = "right") -> np.ndarray:
    """(L, D) last hidden states of a text that is cut to the model's length."""
    import torch

    reference = oracle("ElectraForPreTraining", "discriminator")
    reference.tokenizer.truncation_side = side
    inputs = reference.tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        return reference.model(**inputs, output_hidden_states=True).hidden_states[-1][0].numpy()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def vector(text: str, side: str = "right", size: int | None = None) -> np.ndarray:
    return unit(states(text, side).mean(0)[:size])


@functools.cache
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(sources()["discriminator"] / "tokenizer.json"))


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text).ids)

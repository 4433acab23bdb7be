"""Every route x every field x every kind of wrong value: an error of one line that names the field, never an answer or an internal error.

The routes and their fields are those of /openapi.json, so a route that is added later joins by itself.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from served_models import Served, call, in_thread

BEYOND = float("-inf")
"""Sent as 1e400, which is JSON, and beyond floating point."""
VALUES: tuple[Any, ...] = (None, True, 0, -1, 3, 10**30, 1.5, float("nan"), float("inf"), "", "nonsense", "\0", "x" * 100_000, "\ud800")
VALUES += ([], [None], [[]], [[[]]], ["a", 3], [{}], {}, {"nonsense": 1}, [[["a", "b", "c"]]], ["a"] * 1000, -(2**63), 2**64, "\x1b[31m", BEYOND)
MODELS = {"classification": "classifier", "predict": "classifier", "token": "tagger", "question": "finder", "fill": "masked"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("classifier", "tagger", "finder", "masked", "discriminator") as found:
        yield found


def model_for(path: str) -> str:
    """The served model that answers a route; those that it does not list answer with the discriminator."""
    return next((name for word, name in MODELS.items() if word in path), "discriminator")


def resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A schema without its first reference."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return whole["components"]["schemas"][name] if name else schema


def example(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A valid body: the required fields, by their examples."""
    return {name: copy.deepcopy(schema["properties"][name]["examples"][0]) for name in schema["required"]}


def fields(schema: dict[str, Any], whole: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any], bool]]:
    """(place of a field, its schema, whether it is required), and those of the objects in it."""
    for name, found in schema.get("properties", {}).items():
        yield (*place, name), found, name in schema.get("required", ())
        for choice in (found, *found.get("anyOf", ())):
            yield from fields(resolved(choice, whole), whole, (*place, name)) if "$ref" in choice else ()


def holder(body: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """The object of a body that holds the field at `place`; it takes the place of anything else."""
    for name in place[:-1]:
        if not isinstance(body.get(name), dict):
            body[name] = {}
        body = body[name]
    return body


def bodies(schema: dict[str, Any], whole: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any], bool]]:
    """(place of the field, name that an error must have, body, whether it is wrong for sure)."""
    validator = Draft202012Validator({**schema, "components": whole["components"]})
    for place, _, required in fields(schema, whole):
        name = place[-1]
        for value in VALUES:
            body = example(schema, whole)
            holder(body, place)[name] = value
            yield place, name, body, not validator.is_valid(body)
        body = example(schema, whole)
        if required:
            holder(body, place).pop(name, None)
            yield place, name, body, True
        body = example(schema, whole)
        holder(body, place)[f"{name}x"] = 1
        yield place, f"{name}x", body, True


def test_every_wrong_field_is_named(served: Served) -> None:
    whole = call(served.url, "/openapi.json").json
    faults, count = [], 0
    for path, methods in whole["paths"].items():
        if "post" not in methods:
            continue
        body_schema = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
        if "anyOf" in body_schema:  # POST /: one of the bodies below
            continue
        target = path.replace("{name}", model_for(path)) if "{name}" in path else f"/models/{model_for(path)}{path}"
        if "{name}" in path:
            continue
        for place, name, body, must in bodies(resolved(body_schema, whole), whole):
            count += 1
            reply = call(served.url, target, body=json.dumps(body).replace("-Infinity", "1e400").encode())
            shown = f"{target} {'.'.join(place)}: {json.dumps(body)[:150]} -> {reply.status} {reply.body[:300]!r}"
            if reply.status >= 500 or not (200 <= reply.status < 300 or 400 <= reply.status < 430):
                faults.append(shown)
            elif reply.status >= 400:
                error = reply.json.get("error", reply.json.get("message"))  # OpenAI's routes have the latter
                if not isinstance(error, str) or "\n" in error or len(error) > 1200:
                    faults.append("not one line: " + shown)
                elif must and not re.search(rf"\b{re.escape(name)}", error) and reply.status not in (400, 413):
                    faults.append("not named: " + shown)
            elif must:
                faults.append("accepted: " + shown)
    assert count > 1000 and not faults, "\n".join([f"{len(faults)} of {count}", *faults[:40]])

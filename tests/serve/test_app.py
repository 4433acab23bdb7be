"""The reference at /docs: every route with its fields, examples that run, and answers that are real; for everyone."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from page_visit import AUDIT, Visit, browser
from served_models import Served, call, in_thread, sources
from tiny_models import checkpoints

from electra.serve.app import fields_of, kind_of, operations_of, shown, shown_answer

__all__ = ["browser"]  # pytest finds fixtures by their names here


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Two models can answer /predict, so its example names one."""
    with in_thread("discriminator", "classifier", "ranker", places={**sources(), "ranker": checkpoints()["regression"]}) as found:
        yield found


@pytest.fixture(scope="module")
def document(served: Served) -> Any:
    return call(served.url, "/openapi.json").json


@pytest.fixture(scope="module")
def page(served: Served) -> str:
    """The second time, answers are not computed again."""
    first = call(served.url, "/docs")
    log = served.log.getvalue()
    assert first.status == 200 and call(served.url, "/docs").body == first.body
    assert "/embed" not in log and "/predict" not in log, "its own requests are not in the log"
    return first.body.decode()


def section(page: str, path: str, method: str = "post") -> str:
    start = page.index(f'aria-labelledby="{method}{path.replace("/", "-")}"')
    return page[start : page.index("</section>", start)]


def codes(part: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", part, re.DOTALL)]


def test_every_route_and_field_of_the_document_is_there(page: str, document: Any) -> None:
    routes = list(operations_of(document))
    assert len(routes) == page.count('<section class="card" aria-labelledby="') - 1 >= 20
    assert {path for path, _, _ in routes} == {path for path in document["paths"] if not path.startswith("/models/{name}/")}
    for path, method, operation in routes:
        part = section(page, path.replace("}", ""), method)
        assert html.escape(operation.get("description") or operation["summary"]).split("`")[0] in part, path
        for code in operation["responses"]:
            assert code == "200" or (f'href="#error-{code}"' in part and f'id="error-{code}"' in page)
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for field in fields_of(schema, document) if "$ref" in schema else ():
            assert f"<dt><code>{field.name}</code></dt>" in part, (path, field)
    for place in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{place}"') == 1, place


def test_fields_have_type_range_default_and_meaning(page: str) -> None:
    part = section(page, "/corrupt")
    for name, words in {
        "inputs": "text · <em>required</em>",
        "mask_prob": "number above 0 to 1 · <em>default 0.15</em>",
        "temperature": "number from 0.01 to 100 · <em>default 1.0</em>",
        "seed": "whole number from 0 below 2^63 · <em>default 1</em>",
    }.items():
        assert f"<dt><code>{name}</code></dt><dd><p>{words}</p>" in part, part
    part = section(page, "/pipeline/text-classification")
    assert "<dt><code>parameters.top_k</code></dt><dd><p>whole number from 1 to 1000 · <em>optional</em></p><p>The best so many" in part
    assert part.index("<code>inputs</code>") < part.index("<code>parameters</code>") < part.index("<code>parameters.top_k</code>")
    assert part.index("<code>parameters.top_k</code>") < part.index("<code>options</code>"), "parts come after their whole"
    assert "<code>inputs[]." not in part and "Two texts to classify" not in part


def test_examples_run_and_their_answers_are_real(page: str, document: Any, served: Served) -> None:
    num_answers = 0
    for path, method, _ in operations_of(document):
        found = codes(section(page, path.replace("}", ""), method))
        words = shlex.split(found[0].replace("\\\n", " "))
        place = words[1].removeprefix(served.url.rstrip("/"))
        body = json.loads(words[words.index("-d") + 1]) if method == "post" else None
        calls = [node for node in ast.walk(ast.parse(found[1])) if isinstance(node, ast.Call)]
        (asked,) = (node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == method)
        assert isinstance(asked.args[0], ast.Constant) and asked.args[0].value == words[1]
        assert body is None or ast.literal_eval(asked.keywords[0].value) == body
        if place not in ("/metrics",) and len(found) == 3:
            reply = call(served.url, place, body)
            assert reply.status == 200 and shown_answer(reply.body.decode()) == found[2], path
            num_answers += 1
    assert num_answers >= 15 and "/models/classifier/predict" in codes(section(page, "/predict"))[0]
    assert f"{served.url}/rerank " in codes(section(page, "/rerank"))[0], "only the ranker can"
    assert "No model that is loaded here answers this." in section(page, "/pipeline/question-answering")


def test_a_token_is_in_the_examples() -> None:
    with in_thread("classifier", token="a-secret-token-of-24-characters") as served:
        headers = {"Authorization": "Bearer a-secret-token-of-24-characters"}
        part = section(call(served.url, "/docs", headers=headers).body.decode(), "/predict")
    curl, python, answer = codes(part)
    assert "-H 'Authorization: Bearer TOKEN'" in curl and 'headers={"Authorization": "Bearer TOKEN"}' in python and "label" in answer
    assert "a-secret" not in part


def test_it_is_readable_on_a_phone_and_in_the_dark(browser: Any, served: Served) -> None:
    with Visit(browser, served.url.rstrip("/") + "/docs", reduced_motion="reduce") as visit:  # colours that fade are not audited half-way
        for scheme, width in (("light", 390), ("dark", 390), ("dark", 1280)):
            visit.page.emulate_media(color_scheme=scheme)
            visit.page.set_viewport_size({"width": width, "height": 800})
            found = visit.page.evaluate(AUDIT)
            assert found.pop("count") > 300 and found == {"unnamed": [], "repeated": [], "dim": []}
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert not visit.complaints and {place.split("/")[3] for place in visit.foreign} == {"page"}


def test_types_in_words() -> None:
    document: dict[str, Any] = {
        "components": {"schemas": {"Part": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}}
    }
    part = {"$ref": "#/components/schemas/Part"}
    texts = {"type": "array", "items": {"type": "string"}}
    assert kind_of({"anyOf": [{"type": "string"}, texts, {"type": "null"}]}, document) == "text or list of texts"
    assert kind_of({"type": "array", "items": {"anyOf": [texts, part]}}, document) == "list of lists of texts or objects"
    assert kind_of({"enum": ["left", "right"]}, document) == 'one of "left", "right"' and kind_of({}, document) == "anything"
    assert kind_of({"type": "integer", "minimum": 1.0}, document) == "whole number at least 1"
    assert kind_of({"type": "number", "exclusiveMaximum": 2}, document) == "number below 2"
    assert [field.name for field in fields_of({"type": "array", "items": part}, document)] == ["[].text"]


def test_long_answers_are_cut() -> None:
    assert shown([[0.123456, 1, 2, 3, 4]]) == "[[0.1235, 1, 2, ... 5 numbers]]" and shown({"a": [], "b": None}) == '{"a": [], "b": null}'
    lines = shown_answer(json.dumps([{"word": "x" * 60}] * 40)).split("\n")
    assert lines[0] == "[" and re.fullmatch(r"\.\.\. \d+ more lines", lines[-1]) and len(lines) < 20

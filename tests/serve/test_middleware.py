"""Hostile requests: bodies, tokens, sizes, paths. Never an undeclared 5xx, never a path or a stack trace in an answer."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from served_models import Served, call, in_thread, sources, wait_until

from electra.cli import main
from electra.inference.predictor import load
from electra.serve import schemas

DECLARED = {400, 401, 404, 405, 408, 413, 415, 422, 424, 429, 503, 504}
ROUTES = (
    "/predict",
    "/embed",
    "/embed_all",
    "/",
    "/models/discriminator/detect",
    "/models/discriminator/corrupt",
    "/models/finder",
    "/models/tagger",
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("classifier", "discriminator", "tagger", "finder", max_tokens=2_000, max_texts=8, max_body_bytes=100_000) as found:
        yield found


# ---- bodies ----

MALFORMED = {
    "empty": b"",
    "cut": b'{"inputs": "a',
    "deep list": b'{"inputs": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "deep object": b'{"inputs": ' + b'{"a":' * 15_000 + b"1" + b"}" * 15_000 + b"}",
    "NaN": b'{"inputs": "a", "threshold": NaN}',
    "infinity": b'{"inputs": "a", "temperature": -Infinity}',
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "overlong UTF-8": b'{"inputs": "\xc0\xaf"}',
    "half a surrogate": rb'{"inputs": "a \ud800 b"}',
    "surrogate in UTF-8": b'{"inputs": "\xed\xa0\x80"}',
    "byte order mark": b'\xef\xbb\xbf{"inputs": "a"}',
    "UTF-16": '{"inputs": "a"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"inputs": "a"}'.encode("utf-16-le"),
    "Latin-1": '{"inputs": "été"}'.encode("latin-1"),
    "two values": b'{"inputs": "a"} {"inputs": "b"}',
    "endless number": b'{"inputs": "a", "seed": ' + b"9" * 6000 + b"}",
    "control character": b'{"inputs": "a\x00b"}',
    "a form": b"inputs=a",
    "gzip": b"\x1f\x8b\x08\x00" + bytes(40),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
}
WRONG: list[Any] = [
    None, 1, "a", [], [1], {}, {"inputs": None}, {"inputs": 1}, {"inputs": {}}, {"inputs": [None]}, {"inputs": [["a"], None]}, {"inputs": True},
    {"inputs": [{"question": "a"}]}, {"inputs": {"question": 1, "context": "b"}}, {"inputs": [[["a"]]]}, {"INPUTS": "a"},
    {"inputs": 5, "parameters": [], "normalize": "x", "raw_scores": {}, "threshold": "high", "options": 3},
]  # fmt: skip
WRONG_HERE: list[tuple[str, dict[str, Any]]] = [
    *(("/", {"parameters": value}) for value in ([], {"top_k": 0}, {"top_k": 10**30}, {"top_k": True}, {"top_k": 1.5})),
    ("/", {"parameters": {"ignore_labels": "O"}}), ("/", {"parameters": {"normalize": 1}}),
    ("/", {"options": 3}), ("/", {"truncate": 1}), ("/predict", {"truncate": 1}), ("/predict", {"raw_scores": {}}), ("/embed", {"normalize": "x"}),
    ("/models/discriminator/detect", {"threshold": "high"}), ("/models/discriminator/corrupt", {"mask_prob": None}),
]  # fmt: skip


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_json_is_refused(served: Served, kind: str) -> None:
    for route in ROUTES:
        reply = call(served.url, route, body=MALFORMED[kind])
        assert reply.status == 400, (route, reply.body)
        assert reply.json["error_type"] == "validation" and len(reply.body) < 400


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_wrong_types_are_refused(served: Served, value: Any) -> None:
    for route in ROUTES:
        reply = call(served.url, route, body=json.dumps(value).encode())
        assert reply.status == 422, (route, reply.body)
        assert reply.json.keys() == {"error", "error_type"} and len(reply.body) < 600


@pytest.mark.parametrize(
    ("route", "more"),
    [
        *WRONG_HERE,
        ("/models/discriminator/detect", {"threshold": 1e400}),
        ("/models/discriminator/detect", {"threshold": 1.01}),
        ("/models/discriminator/corrupt", {"mask_prob": 0}),
        ("/models/discriminator/corrupt", {"mask_prob": 1e400}),
        ("/models/discriminator/corrupt", {"temperature": 1e-300}),
        ("/models/discriminator/corrupt", {"seed": -1}),
        ("/models/discriminator/corrupt", {"seed": 2**64}),
        ("/models/discriminator/corrupt", {"seed": 1.5}),
    ],
)
def test_numbers_out_of_range_are_refused(served: Served, route: str, more: dict[str, Any]) -> None:
    body = json.dumps({"inputs": "the chef ate", **more}).replace("Infinity", "1e999").encode()
    assert call(served.url, route, body=body).status == 422


STRANGE = [
    "", " ", "\u0000", "\u202e\u2066abc", "🧑‍🍳" * 50, "a" * 3000, "\u0301" * 500, "[CLS] [SEP] [PAD] [MASK]", "[MASK]" * 3,
    "##a ##b", "̈́ΐﬃ㌀", "\ufffd\uffff", "한글" * 40,
    "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "<script>alert(1)</script>", "\r\nSet-Cookie: a=b", "%s%n{0}${jndi:ldap://x}",
    "'; DROP TABLE", "\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_strange_texts_are_texts(served: Served, text: str) -> None:
    for route in ("/predict", "/embed", "/", "/models/discriminator/detect", "/models/discriminator/corrupt", "/models/tagger"):
        reply = call(served.url, route, {"inputs": text})
        assert reply.status == 200, (route, reply.body)
    for question, context in ((text, "the chef"), ("who ?", text), (text, text)):
        assert call(served.url, "/models/finder", {"inputs": {"question": question, "context": context}}).status == 200
    assert all(set(token) >= {"start", "end"} and 0 <= token["start"] <= token["end"] <= len(text)
               for token in call(served.url, "/models/discriminator/detect", {"inputs": text}).json[0])  # fmt: skip


# ---- sizes ----


@pytest.mark.parametrize(
    ("route", "value", "message"),
    [
        ("/predict", {"inputs": [["a"]] * 9}, "batch size 9 > maximum allowed batch size 8"),
        ("/predict", {"inputs": "the " * 3000}, "tokens to read, at most 2000"),
        ("/predict", {"inputs": ["the " * 700, "a " * 700]}, "tokens to read"),
        ("/embed", {"inputs": ["the " * 400] * 8}, "tokens to read"),
        ("/embed", {"inputs": "a" * 100_000}, "longer than 100000 bytes"),
        ("/models/finder", {"inputs": {"question": "the", "context": "rain " * 900}, "parameters": {"doc_stride": 59}}, "tokens to read"),
        ("/models/discriminator", {"inputs": "[MASK] " * 600, "parameters": {"top_k": 100}}, "the answer would be too long"),
    ],
)
def test_too_much_is_refused_before_it_costs_anything(served: Served, route: str, value: Any, message: str) -> None:
    start = time.monotonic()
    reply = call(served.url, route, value)
    assert (reply.status, reply.json["error_type"]) == (413, "validation") and message in reply.json["error"], reply.body
    assert time.monotonic() - start < 1.5


def test_a_body_without_end_is_cut(served: Served) -> None:
    """Chunks without a length: refused at the limit, however long the body is."""
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(400):
                connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        connection.settimeout(5)
        assert b" 413 " in connection.recv(200)


def test_a_slow_body_is_given_up() -> None:
    with in_thread("classifier", timeout=0.4) as served, socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
        connection.settimeout(5)
        assert b" 408 " in connection.recv(200)


def test_the_truth_of_a_length_is_not_believed(served: Served) -> None:
    for length in (b"-5", b"9" * 400, b"0x10", b"1e3"):
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
            connection.settimeout(10)
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + length + b"\r\n\r\n{}")
            connection.shutdown(socket.SHUT_WR)
            assert b" 500 " not in connection.recv(200)
    assert call(served.url, "/health").status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_only_json_is_taken(served: Served, kind: str) -> None:
    """A web page elsewhere can send the other kinds without asking first."""
    assert call(served.url, "/predict", body=b'{"inputs": "a"}', headers={"Content-Type": kind}).status == 415
    assert call(served.url, "/predict", body=b'{"inputs": "a"}', headers={"Content-Type": "Application/JSON; charset=utf-8"}).status == 200


# ---- paths, methods ----


@pytest.mark.parametrize(
    "path",
    ["/models/..%2f..%2fetc%2fpasswd", "/models/../../etc/passwd/info", "//etc/passwd", "/models/classifier/../../x", "/models/%00/info",
     "/models/" + "a" * 5000 + "/info", "/page/..%2f..%2fsettings.py", "/static/x", "/%ff%fe", "/models/" + str(Path.home()).replace("/", "%2f")],
)  # fmt: skip
def test_no_path_leads_to_a_file(served: Served, path: str) -> None:
    reply = call(served.url, path)
    assert reply.status in (400, 404) and b"root:" not in reply.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "PROPFIND"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    # HEAD of the page and of every route that answers GET is answered.
    for path in ("/predict", "/nowhere", *([] if method == "HEAD" else ["/", "/models"])):
        assert call(served.url, path, method=method).status in (404, 405)


@pytest.mark.parametrize(
    "path", ["/health", "/ping", "/metrics", "/info", "/models", "/models/classifier", "/models/classifier/health", "/health?x=1"]
)
def test_head_is_get_without_a_body(served: Served, path: str) -> None:
    """Of probes and proxies (RFC 9110)."""
    reply, wanted = call(served.url, path, method="HEAD"), call(served.url, path, method="GET")
    assert (reply.status, reply.body, wanted.status) == (200, b"", 200)
    assert reply.headers["content-type"] == wanted.headers["content-type"]


@pytest.mark.parametrize("kind", [schemas.TextList, schemas.TokenIds])
def test_the_first_wrong_element_ends_the_check_of_a_list(kind: Any) -> None:
    """With an error for each, a body of a megabyte would hold the server up for seconds and take a gigabyte."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python([1.5] * 1000)
    assert caught.value.error_count() == 1


def test_a_request_never_names_a_model_by_path(served: Served) -> None:
    folder = str(sources()["masked"])
    for value in ({"inputs": "a", "model": folder}, {"inputs": "a", "parameters": {"model": folder}, "options": {"model": folder}}):
        reply = call(served.url, "/", value)
        assert reply.status == 422 and "unknown field 'model'" in reply.json["error"] and folder not in reply.json["error"]


def test_an_internal_error_is_logged_without_the_text() -> None:
    with in_thread("classifier") as served:

        def broken(*arguments: Any) -> Any:
            raise RuntimeError("tensor of 'a secret film' broke")  # fmt: skip

        served.serving.batchers["classifier"].run = broken
        reply = call(served.url, "/predict", {"inputs": "a secret film"})
        assert (reply.status, reply.json) == (500, {"error": "Inference failed", "error_type": "backend"})
        wait_until(lambda: served.lines("failure"))
        assert served.lines("failure")[0]["type"] == "RuntimeError" and "secret" not in served.log.getvalue()
        served.serving.batchers["classifier"].run = served.serving.models["classifier"].run
        assert call(served.url, "/predict", {"inputs": "rain"}).status == 200


# ---- tokens ----

TOKEN = "5f0c" * 8


def test_a_token_is_required_everywhere_but_at_health() -> None:
    with in_thread("classifier", token=TOKEN) as served:
        wrong = [
            {},
            *(
                {"Authorization": value}
                for value in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff")
            ),
        ]
        for headers in wrong:
            for path, value in (
                ("/predict", {"inputs": "a"}),
                ("/metrics", None),
                ("/models", None),
                ("/openapi.json", None),
                ("/docs", None),
                ("/no", None),
            ):
                reply = call(served.url, path, value, headers=headers)
                assert (reply.status, reply.json["error_type"]) == (401, "unauthorized") and reply.headers["www-authenticate"] == "Bearer", (
                    path,
                    headers,
                )
            assert call(served.url, "/health", headers=headers).status == 200
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            assert call(served.url, "/predict", {"inputs": "a"}, headers={"Authorization": right}).status == 200
        from huggingface_hub import InferenceClient

        assert InferenceClient(model=served.url, token=TOKEN).text_classification("a")
        assert TOKEN not in served.log.getvalue()


# ---- the document ----


def fuzzed(max_examples: int) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

    from electra.serve.app import create_app
    from electra.serve.limits import Limits
    from electra.serve.models import as_model
    from electra.serve.observability import RequestLog
    from electra.serve.service import Serving

    names = ("classifier", "discriminator", "finder")
    models = {name: as_model(name, load(sources()[name], threads=1)) for name in names}
    with open(os.devnull, "w") as nowhere:
        serving = Serving(models, Limits(max_wait_ms=0.0), log=RequestLog(nowhere))
        serving.start()
        gate = create_app(serving)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":  # which schemathesis begins and ends with every request
                await gate(scope, receive, send)
            else:
                for done in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{done}.complete"})

        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
        count = 0
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=max_examples,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def one(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(checks=checks)

            takes = operation.body or operation.path_parameters
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)[: 2 if takes else 1]:
                given(case=operation.as_strategy(generation_mode=mode))(one)()
        serving.stop()
        assert count > 20 * max_examples / 2


def test_generated_requests_get_declared_answers() -> None:
    fuzzed(5)


@pytest.mark.slow
def test_many_generated_requests_get_declared_answers() -> None:
    fuzzed(100)


# ---- the command line ----


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("short\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{a} --port 70000", "--port 70000"),
        ("{a} --port {taken}", "in use by another program"),
        ("{a} --host 192.0.2.1", "no such address"),
        ("{a} --host nowhere.invalid", "no such address"),
        ("{a} {a}", "two models are called 'classifier'"),
        ("x={a} x={b}", "two models are called 'x'"),
        ("{a} {none}", "not found"),
        ("x={none}", "not found"),
        ("a/b={a}", "cannot be a model's name"),
        ("x=", "names no model"),
        ("{a} --max-queue 4", "below --max-texts 32"),
        ("{a} --max-texts 0", "--max-texts 0"),
        ("{a} --threads -1", "--threads -1"),
        ("{a} --timeout soon", "duration"),
        ("{a} --token-file {token}", "holds no good token"),
        ("{a} --token-file {none}", "not found"),
    ],
)
def test_mistakes_are_reported_before_a_model_is_loaded(
    words: str, message: str, token_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("electra.serve.models.load", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places = {"a": sources()["classifier"], "b": sources()["tagger"], "none": token_file.parent / "none", "token": token_file}
        arguments = words.format(taken=taken.getsockname()[1], **places).split()
        assert main(["serve", *([] if "--port" in words else ["--port", "0"]), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("electra: ") and error.count("\n") == 1 and message in error, error


def test_names_come_from_folders(tmp_path: Path) -> None:
    from electra.serve.models import named_sources

    best = tmp_path / "sst2" / "best"
    best.mkdir(parents=True)
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert named_sources([str(best), "ner=google/x", "google/electra-small", "s3://b/run/final", "x.zip"]) == {
        "sst2": str(best), "ner": "google/x", "electra-small": "google/electra-small", "run": "s3://b/run/final", "x": "x.zip"
    }  # fmt: skip
    assert named_sources([f"c={odd}"]) == {"c": str(odd)}


def test_many_hostile_clients_at_once(served: Served) -> None:
    bodies = [*MALFORMED.values(), *(json.dumps(value).encode() for value in WRONG), *(json.dumps({"inputs": text}).encode() for text in STRANGE)]
    requests = [(route, body) for body in bodies for route in ROUTES]
    with ThreadPoolExecutor(16) as pool:
        statuses = {reply.status for reply in pool.map(lambda one: call(served.url, one[0], body=one[1]), requests)}
    assert statuses <= DECLARED | {200}
    assert not served.lines("failure")

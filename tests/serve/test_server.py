"""Connections that do not behave, and clients next to them: each is ended or limited, and the others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from served_models import Served, call, in_thread, metric, wait_until

from electra.errors import UserError
from electra.serve import middleware, server
from electra.serve.batch_scheduler import Batcher
from electra.serve.limits import Limits, client_of
from electra.serve.middleware import is_local
from electra.serve.observability import Metrics
from electra.serve.operations import Classify, PreparedText, TextCost

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"inputs": "the chef"}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with in_thread("classifier", timeout=0.5, max_connections=8) as found:
        yield found


def connected(served: Served, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=10, source_address=(address, 0))


def answers(served: Served, sent: bytes, address: str = "127.0.0.1") -> bytes:
    """All that comes until the server ends the connection."""
    with connected(served, address) as connection, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):  # the answer may come before all is sent
            connection.sendall(sent)
        found = b""
        while part := connection.recv(1 << 16):
            found += part
        return found
    return b""


def cuts(served: Served, reason: str) -> float:
    return metric(served.url, f'electra_connections_cut_total{{reason="{reason}"}}')


# ---- slow, endless, never read ----


@pytest.mark.parametrize("sent", [b"", b"GET /he", HEAD], ids=["nothing", "half a line", "half of the headers"])
def test_headers_that_do_not_come_end_the_connection(served: Served, sent: bytes) -> None:
    before = cuts(served, "slow")
    assert answers(served, sent) == b"" and cuts(served, "slow") == before + 1


def test_a_body_that_goes_on_after_its_answer_ends_the_connection(served: Served) -> None:
    with connected(served) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        assert b" 200 OK" in connection.recv(1 << 16)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                connection.sendall(b"a")
                time.sleep(0.05)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"X: " + b"a" * 200_000,
        HEAD + b"X: a\r\n" * 20_000,
        b"GET /" + b"a" * 200_000,
        CHUNKED + b"0\r\n" + b"X: a\r\n" * 20_000,
        CHUNKED + b"1;" + b"a" * 200_000,
    ],
    ids=["one header", "many headers", "an address", "trailers", "an extension of a chunk"],
)
def test_what_comes_without_end_besides_a_body_is_cut(served: Served, sent: bytes) -> None:
    before = cuts(served, "headers")
    found = answers(served, sent)
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")
    assert cuts(served, "headers") == before + 1


def test_pipelined_requests_are_answered_in_order_and_a_flood_of_them_is_cut(served: Served) -> None:
    with connected(served) as connection:
        for count in range(20):
            connection.sendall(WHOLE.replace(b"\r\n\r\n", b"\r\nX-Request-Id: %d\r\n\r\n" % count))
        found = b""
        while found.count(b"}]") < 20:
            found += connection.recv(1 << 16)
    ids = [line.split()[1] for line in found.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [b"%d" % count for count in range(20)] and found.count(b"HTTP/1.1 200 OK") == 20
    before = cuts(served, "pipeline")
    answers(served, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
    assert cuts(served, "pipeline") == before + 1


def test_a_client_that_never_reads_holds_no_place() -> None:
    body = json.dumps({"inputs": ["the chef ate " * 400] * 8}).encode()
    with in_thread("discriminator", timeout=1.0, max_requests=4) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
        connection.sendall((HEAD.replace(b"/predict", b"/embed_all") + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 4)
        wait_until(lambda: cuts(served, "stalled") == 1)
        wait_until(lambda: metric(served.url, "electra_connections ") == 1 and metric(served.url, "electra_requests_in_flight") == 1)
        assert not served.lines("failure")


@pytest.mark.parametrize(
    "more",
    [
        b"Content-Length: 22\r\nContent-Length: 22\r\n\r\n" + BODY,
        b"Content-Length: 22\r\nContent-Length: 5\r\n\r\n" + BODY,
        b"Content-Length: 36\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length : 22\r\n\r\n" + BODY,
        b"X: a\r\n b\r\nContent-Length: 22\r\n\r\n" + BODY,
        b"X: a\0b\r\nContent-Length: 22\r\n\r\n" + BODY,
    ],
    ids=["length twice", "two lengths", "length and chunks", "chunked twice", "xchunked", "space", "folded", "NUL"],
)
def test_a_request_that_two_servers_read_differently_is_refused(served: Served, more: bytes) -> None:
    """Request smuggling: one 400, and nothing after it is read."""
    found = answers(served, HEAD + more + WHOLE)
    assert found.count(b"HTTP/1.1 ") == 1 and found.startswith(b"HTTP/1.1 400 ")


def test_old_and_new_http(served: Served) -> None:
    old = answers(served, b"POST /predict HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert old.startswith(b"HTTP/1.1 200 OK") and b"connection: close" in old
    upgrade = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    assert answers(served, upgrade).startswith(b"HTTP/1.1 400 ") and b"HTTP/1.1, without the header 'Upgrade'" in answers(served, upgrade)


def test_compressed_bodies_are_not_unpacked(served: Served) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "GZIP, identity"):
        reply = call(served.url, "/predict", body=b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": encoding})
        assert reply.status == 415 and "Content-Encoding" in reply.json["error"]
    assert call(served.url, "/predict", body=BODY, headers={"Content-Encoding": "identity"}).status == 200


# ---- clients next to each other; on Linux all of 127.0.0.0/8 is this machine ----


def test_a_client_with_all_its_connections_leaves_room_for_others(served: Served) -> None:
    before = cuts(served, "limit")
    with contextlib.ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(connected(served, "127.0.0.2"))
        wait_until(lambda: cuts(served, "limit") >= before + 3)
        assert call(served.url, "/health").status == 200


def test_shares() -> None:
    """Of 12 places one client takes 6, two take 4 each, three 3 each; a share of 1 is no limit."""
    for count, most in ((1, 6), (2, 4), (3, 3), (5, 2), (11, 1)):
        held = dict.fromkeys(map(str, range(count)), 0)
        for _ in range(12):
            for client, mine in held.items():
                held[client] += Limits().allows(client, 12, sum(held.values()), mine)
        assert set(held.values()) == {most}
    assert Limits(client_share=1.0).allows("a", 12, 11, 11) and Limits().allows("", 12, 11, 11) and Limits().allows("b", 12, 11, 0)


def asked_from(served: Served, address: str, count: int = 1) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(served.url.rpartition(":")[2]), timeout=60, source_address=(address, 0))
    connection.request("POST", "/predict", json.dumps({"inputs": [["the chef"]] * count}), {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_flooder_does_not_starve_others() -> None:
    """Six threads send 8 texts at a time without a pause; a client next to them sends one at a time and is always answered, in a few batches."""
    with in_thread("classifier", delay=0.02, max_queue=32, max_texts=8, max_requests=16, max_batch_tokens=40, max_wait_ms=0.0) as served:
        over, flooded = threading.Event(), list[int]()

        def flood() -> None:
            while not over.is_set():
                flooded.append(asked_from(served, "127.0.0.2", 8))

        with ThreadPoolExecutor(6) as pool:
            for _ in range(6):
                pool.submit(flood)
            try:
                wait_until(lambda: 429 in flooded and 200 in flooded)
                mine = [asked_from(served, "127.0.0.3") for _ in range(8)]
            finally:
                over.set()
        assert mine == [200] * 8 and set(flooded) == {200, 429}
        assert metric(served.url, 'electra_rejected_total{model="classifier",reason="client"}') > 0
        assert metric(served.url, 'electra_rejected_total{model="classifier",reason="queue"}') == 0


def test_clients_take_turns_by_tokens() -> None:
    """Each waits for as much as it sends itself, whoever came first; one client's texts stay in order."""
    batcher = Batcher("a model", lambda *_: [], Limits(max_batch_tokens=10, max_wait_ms=0.0), Metrics())  # never started: nothing leaves by itself

    async def ask(client: str, count: int, tokens: int) -> None:
        batcher.submit(Classify(), [PreparedText(f"{client}{index}", TextCost(tokens, 1, tokens)) for index in range(count)], client)

    def taken(count: int) -> list[str]:
        return [entry.text.item for _ in range(count) for entry in batcher._next_batch()]

    asyncio.run(ask("flooder ", 50, 10))
    assert taken(3) == ["flooder 0", "flooder 1", "flooder 2"]
    asyncio.run(ask("a", 2, 10))
    asyncio.run(ask("b", 4, 5))
    assert taken(9) == ["a0", "b0", "b1", "flooder 3", "a1", "b2", "b3", *(f"flooder {index}" for index in range(4, 8))]
    assert len(batcher._next_turns) <= 3 and taken(42) == [f"flooder {index}" for index in range(8, 50)]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"), ("::ffff:10.1.2.3", "10.1.2.3"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"), ("fe80::1%eth0", "fe80::"), ("", ""), (None, ""), ("testclient", ""),
    ],
)  # fmt: skip
def test_clients_are_counted_by_address(address: str | None, client: str) -> None:
    assert client_of(address) == client


def test_more_connections_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *values: found.append(values))
    server.allow_connections(100)
    server.allow_connections(2_000)
    assert found == [(resource.RLIMIT_NOFILE, (2_128, 4096))]
    with pytest.raises(UserError, match=r"--max-connections 5000: a process may have 4096 files open here; give 3968 or less"):
        server.allow_connections(5_000)


def test_waiting_connections_are_accepted_together() -> None:
    """Not one in each turn of the event loop, which is long under load: 64 of them waited for a minute at the port."""
    taken, clients = 0, []

    class Counting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal taken
            taken += 1

    async def turns(bound: socket.socket) -> int:
        loop, count = asyncio.get_running_loop(), 0
        opened = [await loop.create_server(Counting, sock=one) for one in server.listeners(bound)]
        clients.extend(socket.create_connection(bound.getsockname()) for _ in range(64))
        while taken < 64:
            await asyncio.sleep(0)
            count += 1
        for one in opened:
            one.close()
        return count

    with server.bind("127.0.0.1", 0) as bound, asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        assert runner.run(turns(bound)) < 20
    for client in clients:
        client.close()


# ---- who may ask, and what an answer says ----


def test_a_name_that_leads_here_is_not_this_machine() -> None:
    """DNS rebinding: a web page of evil.example, which leads to 127.0.0.1, sends its own name as the host."""
    assert all(is_local(host) for host in (b"localhost:8000", b"LOCALHOST", b"a.localhost", b"127.0.0.1:80", b"[::1]:8000", b"192.168.1.2"))
    assert not any(
        is_local(host) for host in (b"evil.example", b"127.0.0.1.evil.example", b"localhost.evil.example:8000", b"", b"[", b"\xff", b"1.2")
    )
    with in_thread("classifier") as served:
        hosts = {"Host": "evil.example"}
        assert call(served.url, "/models", headers=hosts).status == 200, "with a token, or reachable from elsewhere"
        served.serving.local = True
        for path, value in (("/predict", {"inputs": "a"}), ("/models", None), ("/", None), ("/health", None), ("/no", None)):
            reply = call(served.url, path, value, headers=hosts)
            assert reply.status == 421 and "localhost" in reply.json["error"] and reply.headers["connection"] == "close"
        assert call(served.url, "/predict", {"inputs": "a"}).status == 200


def test_every_answer_has_the_headers_and_none_of_another_site(served: Served) -> None:
    origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path, value, method, status in (
        ("/predict", {"inputs": "a"}, "", 200), ("/predict", {"inputs": 1}, "", 422), ("/no", None, "", 404), ("/predict", None, "OPTIONS", 405),
        ("/metrics", None, "", 200), ("/models", None, "", 200), ("/", None, "", 200), ("/docs", None, "", 200), ("/page/app.js", None, "", 200),
        ("/page/none.js", None, "", 404),
    ):  # fmt: skip
        reply = call(served.url, path, value, method=method, headers=origin)
        assert reply.status == status, path
        wanted = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-resource-policy": "same-origin"}
        assert {name: reply.headers.get(name) for name in wanted} == wanted, path
        page = path == "/docs" or (path.startswith(("/page/a", "/")) and reply.status == 200 and (path == "/" or path == "/page/app.js"))
        assert reply.headers["cache-control"] == ("no-cache" if page else "no-store"), path
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(reply.headers["content-security-policy"].split("; ")), path
        assert not [name for name in reply.headers if name.startswith("access-control-")], path


def test_tokens_are_compared_in_constant_time_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    equal = middleware.hmac.compare_digest
    monkeypatch.setattr(middleware.hmac, "compare_digest", lambda *values: compared.append(values) or equal(*values))
    with in_thread("classifier", token="0123456789abcdef") as served:
        for given, status in (
            ("Bearer 0123456789abcdef", 200),
            ("Bearer \xe9\xff", 401),
            ("Bearer " + "0" * 5_000, 401),
            ("Basic 0123456789abcdef", 401),
        ):
            assert call(served.url, "/models", headers={"Authorization": given}).status == status
    assert len(compared) == 4 and all(isinstance(value, bytes) for pair in compared for value in pair)


MARK = "zqxsecretzqx"
NAMES = ("unknown field", "prompt_name")
"""What repeats a name that a request gave, of a field or a prompt; never a text."""


def marked_bodies() -> Iterator[str]:
    """Requests with the marker in every place of a text, right and wrong."""
    question, names = {"question": MARK, "context": MARK}, ("inputs", "ids", "input")
    inputs: list[Any] = [
        MARK, [MARK] * 3, [[MARK], [MARK, MARK]], f"{MARK} " * 200, {"text": MARK, "text_pair": MARK}, question, [question], {MARK: MARK}, [[[MARK]]],
        {"source_sentence": MARK, "sentences": [MARK]},
    ]  # fmt: skip
    yield from (json.dumps({name: value}) for value in inputs for name in (names if isinstance(value, str) else names[:1]))
    yield json.dumps({"query": MARK, "texts": [MARK], "truncate": MARK})
    yield json.dumps({"inputs": f"{MARK} [MASK]", "parameters": {"targets": [MARK]}})
    yield from (json.dumps({"inputs": MARK, "parameters": {key: MARK}}) for key in ("top_k", "aggregation_strategy", "truncation"))
    yield from (json.dumps({"inputs": MARK, key: MARK}) for key in ("truncation_direction", "prompt_name", "threshold", "dimensions"))
    yield from (MARK, '{"inputs": "' + MARK, '{"inputs": "' + MARK + r'\ud800"}', '{"inputs": "' + MARK * 3_000 + '"}')


def test_no_text_of_a_request_is_in_a_log_a_metric_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Every POST route and every refusal, the loggers of all libraries at DEBUG."""
    caplog.set_level(logging.DEBUG)
    limits = {"max_texts": 2, "max_tokens": 300, "max_body_bytes": 20_000, "max_wait_ms": 0.0}
    with in_thread("classifier", "discriminator", "tagger", "finder", token="0123456789abcdef", **limits) as served:
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        document = call(served.url, "/openapi.json", headers=headers).json["paths"]
        paths = [path for path, kinds in document.items() if "post" in kinds and "{name}" not in path]
        paths += ["/models/discriminator/detect", "/models/discriminator/corrupt", "/models/discriminator/pipeline/fill-mask", "/models/tagger"]
        statuses = set()
        for path in [*paths, "/models/finder", f"/models/{MARK}", f"/{MARK}"]:
            for body in marked_bodies():
                reply = call(served.url, path, body=body.encode(), headers=headers)
                statuses.add(reply.status)
                said = reply.body.decode() if reply.status != 200 and MARK not in path else ""
                assert MARK not in said or any(name in said for name in NAMES), (path, body[:200], said)
        for more in ({"Content-Type": MARK}, {"Content-Encoding": MARK}, {"Authorization": f"Bearer {MARK}"}, {"X-Request-Id": f"{MARK} !"}):
            reply = call(served.url, "/predict", {"inputs": MARK}, headers=headers | more)
            assert MARK.encode() not in reply.body
        assert statuses == {200, 400, 404, 413, 422, 424}
        exposition = call(served.url, "/metrics", headers=headers).body.decode()
    assert MARK not in served.log.getvalue() and MARK not in caplog.text and MARK not in exposition

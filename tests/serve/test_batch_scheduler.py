"""Batches, queues, overload, timeouts, clients that leave, signals: what happens under many simultaneous requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from served_models import call, in_process, in_thread, metric, sources, wait_until

from electra import load
from electra.serve.batch_scheduler import LONGEST_RETRY, Batcher, QueuedText, choose
from electra.serve.limits import Limits, RequestError
from electra.serve.observability import Metrics
from electra.serve.operations import Classify, Corrupt, Detect, Operation, PreparedText, TextCost
from electra.serve.service import Turns

WORDS = "the chef cooked a good meal in the old house near the river one cold morning".split()


def texts(count: int, seed: int = 1) -> list[str]:
    random_words = random.Random(seed)
    return [" ".join(random_words.choices(WORDS, k=random_words.randint(1, 12))) for _ in range(count)]


# ---- batches ----


def entry(operation: Operation, tokens: int, windows: int = 1) -> QueuedText:
    return QueuedText(None, 0, operation, PreparedText("", TextCost(tokens * windows, windows, tokens)))  # type: ignore[arg-type]


def test_a_batch_is_what_asks_the_same_and_fits() -> None:
    same, other = Classify(), Classify(transform="none")
    queue = [entry(same, 10), entry(other, 5), entry(same, 20), entry(same, 80), entry(same, 20), entry(same, 20)]
    batch, kept = choose(queue, 64)
    assert [queue.index(e) for e in batch] == [0, 2, 4], "three of 20 with padding; 80 is too long, four of 20 too many"
    assert [queue.index(e) for e in kept] == [1, 3, 5]
    assert [queue.index(e) for e in choose(kept, 64)[0]] == [1]
    assert [queue.index(e) for e in choose([queue[3], queue[5]], 64)[0]] == [3], "the first goes whatever it costs"
    assert len(choose([entry(Corrupt(), 5), entry(Corrupt(), 5)], 64)[0]) == 1, "what depends on its number goes alone"
    assert len(choose([entry(Detect(), 8, 4), entry(Detect(), 8, 4), entry(Detect(), 8, 1)], 64)[0]) == 2, "windows count"


def test_simultaneous_requests_share_batches_and_get_the_right_answers() -> None:
    sent = texts(60)
    wanted = [p.probabilities for p in load(sources()["classifier"]).predict(sent)]
    with in_thread("classifier", delay=0.05) as served, ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda text: call(served.url, "/predict", {"inputs": text}), sent))
        batches = metric(served.url, 'electra_batch_texts_count{model="classifier"}')
        assert metric(served.url, 'electra_batch_texts_sum{model="classifier"}') == 60
        assert batches <= 12, f"{batches:.0f} batches for 60 texts of 20 clients"
    for reply, scores in zip(replies, wanted, strict=True):
        assert {row["label"]: row["score"] for row in reply.json} == pytest.approx(dict(scores), abs=1e-5)


def test_an_idle_model_waits_no_longer_than_set() -> None:
    with in_thread("classifier", max_wait_ms=400.0) as served, ThreadPoolExecutor(3) as pool:
        start = time.monotonic()
        list(pool.map(lambda text: call(served.url, "/predict", {"inputs": text}), texts(3)))
        assert 0.35 < time.monotonic() - start < 3
        assert metric(served.url, "electra_batch_texts_count") == 1
    with in_thread("classifier", max_wait_ms=60_000.0, max_batch_tokens=8) as served:
        start = time.monotonic()
        assert call(served.url, "/predict", {"inputs": "the chef cooked the good meal"}).status == 200
        assert time.monotonic() - start < 10, "a full batch does not wait"


def test_a_client_that_is_alone_does_not_wait() -> None:
    with in_thread("classifier", delay=0.1, max_wait_ms=600.0) as served, ThreadPoolExecutor(3) as pool:
        call(served.url, "/predict", {"inputs": "rain"})  # nothing is known of the clients yet
        start = time.monotonic()
        for text in texts(3):
            assert call(served.url, "/predict", {"inputs": [[text], [text]]}).status == 200
        assert time.monotonic() - start < 1.2
        first = pool.submit(call, served.url, "/predict", {"inputs": "rain"})
        time.sleep(0.05)  # it is computed: the next two are a batch
        others = [pool.submit(call, served.url, "/predict", {"inputs": text}) for text in texts(2)]
        assert [one.result().status for one in (first, *others)] == [200, 200, 200]
        start = time.monotonic()
        assert call(served.url, "/predict", {"inputs": "rain"}).status == 200
        assert time.monotonic() - start > 0.5, "the last requests overlapped"


def test_whoever_has_an_answer_finds_it_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes its time here: an answer that were handed over first would be missing from the metrics."""
    count = Batcher._note

    def slow(*arguments: Any) -> None:
        time.sleep(0.3)
        count(*arguments)

    monkeypatch.setattr(Batcher, "_note", slow)
    with in_thread("classifier", max_wait_ms=0.0) as served:
        assert call(served.url, "/predict", {"inputs": "rain"}).status == 200
        assert metric(served.url, 'electra_texts_total{model="classifier"}') == 1


def test_a_request_is_spread_over_batches() -> None:
    sent = texts(16)
    with in_thread("classifier", max_batch_tokens=32, max_wait_ms=0.0) as served:
        found = call(served.url, "/predict", {"inputs": [[text] for text in sent]}).json
        assert metric(served.url, "electra_batch_texts_count") >= 4
    for rows, one in zip(found, load(sources()["classifier"]).predict(sent), strict=True):
        assert {row["label"]: row["score"] for row in rows} == pytest.approx(dict(one.probabilities), abs=1e-5)


# ---- too much ----


def test_overload_is_refused_and_what_is_accepted_is_answered() -> None:
    with (
        in_thread("classifier", delay=0.1, max_queue=6, max_texts=4, max_batch_tokens=40, client_share=1.0) as served,
        ThreadPoolExecutor(40) as pool,
    ):
        replies = list(pool.map(lambda text: call(served.url, "/predict", {"inputs": text}), texts(80)))
        counted = {status: sum(reply.status == status for reply in replies) for status in (200, 429)}
        assert counted[200] + counted[429] == 80 and min(counted.values()) >= 6, counted
        for reply in replies:
            if reply.status == 429:
                assert reply.json == {"error": "Model is overloaded", "error_type": "overloaded"} and int(reply.headers["retry-after"]) >= 1
        assert metric(served.url, 'electra_texts_total{model="classifier"}') == counted[200]
        assert metric(served.url, 'electra_rejected_total{model="classifier",reason="queue"}') == counted[429]
        assert metric(served.url, "electra_queue_texts") == 0
        assert call(served.url, "/predict", {"inputs": "rain"}).status == 200


def test_retry_after_is_the_time_that_the_queue_will_take() -> None:
    """In proportion to the tokens that wait, at the pace a model is first taken to have (2,000 a second); never 0, never above a minute."""
    batcher = Batcher("a model", lambda *_: [], Limits(max_queue=4), Metrics())  # never started: nothing leaves the queue

    async def ask(tokens: int) -> None:
        batcher.submit(Classify(), [PreparedText("a text", TextCost(tokens=tokens, windows=1, longest=tokens))])

    found = [batcher.retry_after()]
    for tokens in (7_000, 5_000, 40_000, 200_000):
        asyncio.run(ask(tokens))
        found.append(batcher.retry_after())
    assert found == [1, 4, 6, 26, LONGEST_RETRY]
    with pytest.raises(RequestError) as refused:
        asyncio.run(ask(1))
    assert refused.value.headers == {"retry-after": "60"}


def test_too_many_requests_are_refused_before_their_bodies_are_read() -> None:
    with in_thread("classifier", delay=0.3, max_requests=4, client_share=1.0) as served, ThreadPoolExecutor(12) as pool:
        statuses = [reply.status for reply in pool.map(lambda text: call(served.url, "/predict", {"inputs": text}), texts(12))]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 4
        assert metric(served.url, 'electra_rejected_total{model="",reason="requests"}') == statuses.count(429)


def test_the_time_is_limited_and_a_place_is_free_again() -> None:
    with in_thread("classifier", delay=0.7, timeout=0.5, max_queue=4, max_texts=2, client_share=1.0) as served, ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda text: call(served.url, "/predict", {"inputs": text}), texts(4)))
        assert {reply.status for reply in replies} == {504}
        assert replies[0].json["error_type"] == "timeout"
        assert served.serving.batchers["classifier"]._queue == []
        served.serving.batchers["classifier"].run = served.serving.models["classifier"].run
        wait_until(lambda: not served.serving.batchers["classifier"]._running_tokens)
        assert call(served.url, "/predict", {"inputs": "rain"}).status == 200


def test_a_client_that_left_is_dropped_from_the_queue() -> None:
    with in_thread("classifier", delay=0.5, max_wait_ms=0.0) as served, ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, served.url, "/predict", {"inputs": "rain"})
        wait_until(lambda: served.serving.batchers["classifier"]._running_tokens)
        body = json.dumps({"inputs": [[text] for text in texts(9)]}).encode()
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as leaving:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            leaving.sendall(head.encode() + body)
            wait_until(lambda: metric(served.url, "electra_queue_texts") == 9)
        wait_until(lambda: metric(served.url, "electra_queue_texts") == 0, 0.4)
        assert first.result().status == 200
        wait_until(lambda: metric(served.url, 'electra_rejected_total{model="classifier",reason="left"}') == 1)
        assert metric(served.url, "electra_texts_total") == 1


def test_models_do_not_wait_for_each_other() -> None:
    with in_thread("classifier", "masked") as served, ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        run = served.serving.batchers["classifier"].run
        served.serving.batchers["classifier"].run = lambda *arguments: (gate.wait(20), run(*arguments))[1]
        slow = pool.submit(call, served.url, "/predict", {"inputs": "rain"})
        assert call(served.url, "/models/masked", {"inputs": "[MASK]"}).status == 200
        assert not slow.done()
        gate.set()
        assert slow.result().status == 200


def test_closing_refuses_what_comes_and_answers_what_came() -> None:
    with in_thread("classifier", delay=0.4) as served, ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(call, served.url, "/predict", {"inputs": text}) for text in texts(6)]
        # The request for the metrics is one of those in flight; the last of the others may still be on its way into the queue.
        wait_until(lambda: metric(served.url, "electra_requests_in_flight") >= 7)
        time.sleep(0.1)
        served.serving.close()
        late = call(served.url, "/predict", {"inputs": "late"})
        assert (late.status, late.json["error_type"]) == (503, "unhealthy") and int(late.headers["retry-after"]) >= 1
        assert call(served.url, "/health").status == 503
        assert [reply.result().status for reply in waiting] == [200] * 6


# ---- the process ----


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM, signal.SIGTERM), *(pytest.param((number,), marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP))],
)
def test_a_signal_under_load_answers_what_was_accepted(numbers: tuple[int, ...]) -> None:
    """Every request was answered or refused at the port; none was cut off, and a second SIGTERM changes nothing."""
    with in_process(str(sources()["classifier"]), "--max-wait-ms", "50") as (process, url):
        outcomes: list[Any] = []

        def ask(seed: int) -> None:
            for text in texts(500, seed):
                try:
                    outcomes.append(call(url, "/predict", {"inputs": text}).status)
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:
                    # Connected, but the port was closed before anyone took the connection: no request was read.
                    outcomes.append("reset")
                    return

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(outcomes) > 30)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.02)
        assert process.wait(20) == 0
        for thread in threads:
            thread.join()
        assert process.stderr is not None
        records = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert records[-1]["event"] == "stopped"
    assert set(outcomes) <= {200, 503, "reset"} and outcomes.count(200) > 30
    logged = [record["status"] for record in records if record["event"] == "request"]
    assert outcomes.count(200) == logged.count(200), "each accepted request was answered, and each answer arrived"


def test_killed_and_started_again_at_the_same_port() -> None:
    with in_process(str(sources()["classifier"])) as (process, url):
        assert call(url, "/predict", {"inputs": "rain"}).status == 200
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        with in_process(str(sources()["classifier"]), "--port", url.rpartition(":")[2]) as (_, again):
            assert again == url and call(url, "/predict", {"inputs": "rain"}).status == 200


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no ports")
def test_processes_share_a_port_and_one_goes_on_alone() -> None:
    model = str(sources()["classifier"])
    with in_process(model, "--reuse-port") as (first, url):
        port = ("--port", url.rpartition(":")[2])
        refused = subprocess.run([sys.executable, "-m", "electra.cli", "serve", model, *port], capture_output=True, text=True)
        assert refused.returncode == 2 and "is in use by another program" in refused.stderr
        with in_process(model, "--reuse-port", *port) as (_, again):
            assert again == url
            answers = [call(url, "/predict", {"inputs": "rain"}) for _ in range(40)]
            assert all(answer.status == 200 and answer.json == answers[0].json for answer in answers)
            first.send_signal(signal.SIGTERM)
            assert first.wait(20) == 0
            assert first.stderr is not None
            mine = sum(json.loads(line)["event"] == "request" for line in first.stderr.read().splitlines())
            assert 0 < mine < 40, "both answered"
            assert all(call(url, "/predict", {"inputs": "rain"}).status == 200 for _ in range(10))


def test_a_model_file_lost_while_serving_does_no_harm(tmp_path: Path) -> None:
    for name in ("removed", "cut"):
        shutil.copytree(sources()["discriminator"], tmp_path / name)
    request = {"inputs": "the chef [MASK] the meal"}
    paths = [f"/models/{name}{route}" for name in ("removed", "cut") for route in ("", "/detect", "/corrupt")]
    with in_process(str(tmp_path / "removed"), str(tmp_path / "cut")) as (process, url):
        before = [call(url, path, request).json for path in paths]
        shutil.rmtree(tmp_path / "removed")
        for file in (tmp_path / "cut").rglob("*"):
            if file.is_file():
                os.truncate(file, 0)
        assert [call(url, path, request).json for path in paths] == before
        assert process.poll() is None


# ---- turns of clients ----


def test_texts_that_were_withdrawn_take_no_turn_of_their_client() -> None:
    """A client whose requests were given up is served next, not after all that others have sent since."""

    async def queued() -> list[str]:
        batcher = Batcher("m", None, Limits(), Metrics())  # type: ignore[arg-type]
        operation, text = Classify(), PreparedText(None, TextCost(100, 1, 100))
        batcher.withdraw(batcher.submit(operation, [text] * 50, "a"))
        batcher.submit(operation, [text] * 20, "b")
        kept = batcher.submit(operation, [text] * 3, "a")
        batcher.withdraw(batcher.submit(operation, [text] * 50, "a"))
        batcher.submit(operation, [text], "a")
        assert kept.missing == 3
        return [entry.client for entry in batcher._queue]

    assert asyncio.run(queued())[:8].count("a") == 4


def test_what_was_read_before_it_was_withdrawn_is_a_turn() -> None:
    async def turns() -> list[float]:
        batcher = Batcher("m", None, Limits(), Metrics())  # type: ignore[arg-type]
        operation, text, found = Classify(), PreparedText(None, TextCost(500, 1, 500)), []
        for _ in range(3):
            ticket = batcher.submit(operation, [text] * 6, "a")
            found.append(batcher._queue[0].turn)
            batcher._queue = batcher._queue[2:]  # a batch was taken
            batcher.withdraw(ticket)
        return found

    assert asyncio.run(turns()) == [0, 1000, 2000]


def test_long_texts_of_several_clients_are_prepared_in_turns() -> None:
    async def order() -> list[str]:
        turns, done, begun = Turns(), list[str](), threading.Event()

        def work(name: str) -> None:
            begun.wait(10)
            done.append(name)

        found = [turns.submit("flood", partial(work, f"flood {i}")) for i in range(4)]
        found[2].cancel()
        found += [turns.submit("quiet", partial(work, "quiet")), turns.submit("wrong", partial(int, "x"))]
        begun.set()
        ends = await asyncio.gather(*found, return_exceptions=True)
        assert isinstance(ends[-1], ValueError) and isinstance(ends[2], asyncio.CancelledError)
        slow, started = threading.Event(), threading.Event()
        last = [turns.submit("flood", lambda: (started.set(), slow.wait(10))) for _ in range(3)]
        assert started.wait(10)
        turns.stop()
        assert [future.cancelled() for future in (*last[1:], turns.submit("late", int))] == [True] * 3
        slow.set()
        await last[0]
        return done

    assert asyncio.run(order()) == ["flood 0", "flood 1", "quiet", "flood 3"]

"""What bounds one request: its time, counting included; its tokens, as the network will read them; and what its answer costs."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from served_models import call, in_thread, metric, sources, wait_until

from electra import load
from electra.inference.replaced_tokens import likeliest
from electra.serve import service as serving_module
from electra.serve.batch_scheduler import Batcher
from electra.serve.limits import Limits, RequestError
from electra.serve.observability import Metrics
from electra.serve.operations import AnswerQuestion, Classify, PreparedText, TextCost

LONG = "the chef cooked the meal " * 400


def test_counting_a_long_text_is_part_of_the_time_that_a_request_has(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[float] = []
    measured = serving_module._prepared

    def slow(*arguments: Any) -> Any:
        time.sleep(0.7)
        counted.append(time.monotonic())
        return measured(*arguments)

    monkeypatch.setattr(serving_module, "_prepared", slow)
    with in_thread("classifier", timeout=1.0) as served, ThreadPoolExecutor(6) as pool:

        def ask(_: int) -> tuple[int, float]:
            began = time.monotonic()
            return call(served.url, "/predict", {"inputs": LONG}).status, time.monotonic() - began

        replies = list(pool.map(ask, range(6)))
        assert sorted(status for status, _ in replies) == [200, 504, 504, 504, 504, 504]
        assert max(seconds for _, seconds in replies) < 2.0, "six times 0.7 s without a time limit"
        time.sleep(1.0)
        assert len(counted) <= 2, "what was given up before its turn is not counted any more"
        assert metric(served.url, 'electra_rejected_total{model="classifier",reason="timeout"}') == 5


def test_windows_of_a_passage_are_counted_as_they_are_read() -> None:
    """A long question leaves few tokens for the context, and windows then begin closer to each other than `doc_stride`."""
    finder = load(sources()["finder"], threads=1)
    read: list[int] = []
    outputs = finder.network.span_outputs

    def spied(pieces: Any) -> Any:
        read.extend(len(piece.ids) for piece in pieces)
        return outputs(pieces)

    finder.network.span_outputs = spied  # type: ignore[method-assign]
    for question, context, stride in (
        ("who " * 40, LONG, None),
        ("who", LONG, None),
        ("who " * 20, LONG, 7),
        ("who", "a meal", None),
        ("", "", None),
    ):
        read.clear()
        operation = AnswerQuestion(doc_stride=stride)
        prepared = operation.prepare(finder, (question, context), 1_000_000)
        operation.run(finder, [prepared], 32)
        assert (prepared.cost.windows, prepared.cost.longest) == (len(read), max(read)), (question[:10], stride)


def test_the_likeliest_are_those_of_a_stable_sort() -> None:
    random = np.random.default_rng(3)
    for size, count in ((1, 1), (5, 5), (5, 9), (1000, 5), (1000, 999)):
        for values in (random.random(size), random.integers(0, 3, size).astype(float), np.zeros(size)):
            assert likeliest(values, count) == np.argsort(-values, kind="stable")[:count].tolist(), (size, count)


def test_a_client_that_leaves_while_its_text_is_counted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import http.client
    import json

    measured = serving_module._prepared
    monkeypatch.setattr(serving_module, "_prepared", lambda *arguments: (time.sleep(0.6), measured(*arguments))[1])
    with in_thread("classifier") as served:
        connection = http.client.HTTPConnection("127.0.0.1", int(served.url.rpartition(":")[2]), timeout=10)
        connection.request("POST", "/predict", json.dumps({"inputs": LONG}), {"Content-Type": "application/json"})
        time.sleep(0.2)
        connection.close()
        wait_until(lambda: [line["status"] for line in served.lines()] == [499], 5)
        time.sleep(0.6)
        assert metric(served.url, 'electra_batch_texts_sum{model="classifier"}') == 0, "nothing is computed for a client that left"


def test_a_request_fits_into_the_queue_whole_or_is_refused() -> None:
    """The bound holds for the texts that come, not for those that wait: 5 wait, 3 more fit into 8, 4 do not."""
    batcher = Batcher("a model", lambda *_: [], Limits(max_queue=8), Metrics())  # never started: nothing leaves the queue

    async def ask(count: int) -> None:
        batcher.submit(Classify(), [PreparedText("a text", TextCost(tokens=1, windows=1, longest=3))] * count)

    def refused(count: int) -> bool:
        try:
            asyncio.run(ask(count))
        except RequestError as error:
            assert (error.status, error.reason) == (429, "queue")
            return True
        return False

    assert refused(9)
    assert [refused(count) for count in (5, 4, 3, 1)] == [False, True, False, True]

"""'electra serve' for half an hour at 1.5 times its capacity, with hostile clients: what is answered, what memory does, and how it recovers.

    python bench/soak.py --minutes 30

The bundled sentiment model is served in one process. Its capacity is measured; then two processes load it. The first has the ordinary clients.
Open-loop clients send real sentences from several addresses at a fixed rate, without waiting for answers; together with eight steady clients, which
have one request in flight each and an address of their own, they send 1.5 times the capacity. The second has the hostile clients, one address for
each kind (`KINDS`). Every answer is compared with `electra predict`. Each second this process reads the server's memory, files and threads. Then the
load ends, the first client measures how long it takes until it is served as before, a last load begins, and SIGTERM must answer all that was
accepted. The record says all of it.

Addresses are 127.0.0.0/8, all of which is this machine on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from load_generator import Connection, closed, in_own_process
from serving import free_port, machine, memory_mb, served, texts_of

import electra
from electra.storage import atomic

HERE = Path(__file__).resolve().parent
STEADY, OPEN_LOOP = 8, 8
"""Addresses of the steady clients, and of the open-loop clients, which do not wait for answers before they send more."""
STEADY_PART = 0.1
"""Of the capacity, what the steady clients send at most."""
PATIENCE = 60.0
STUDENT = 2.048
"""97.5% of Student's t at 28 degrees of freedom, of 30 blocks."""
RECOVERED = 1.5
"""Times the p50 of an unloaded server, plus two milliseconds: served as before."""
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


# ---- ordinary clients ----


class Answers:
    """What became of requests: statuses, latencies by second of the load, the largest distance to `electra predict`."""

    def __init__(self, expected: Sequence[dict[str, float]]) -> None:
        self.expected = expected
        self.statuses: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self.distances: list[float] = []
        self.other_labels = self.clear_labels = 0

    async def ask(self, connection: Connection, number: int, body: bytes, since: float) -> None:
        """One request."""
        try:
            status, answer = await asyncio.wait_for(connection.post("/predict", body), PATIENCE)
        except ConnectionRefusedError:
            self.statuses["refused at the port"] += 1
            connection.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.statuses["cut by the server" if not isinstance(error, TimeoutError) else "no answer in 60 s"] += 1
            connection.close()
        else:
            self.statuses[str(status)] += 1
            if status == 200:
                self.latencies_ms.append(1000 * (time.perf_counter() - since))
                self._compare(json.loads(answer), self.expected[number])

    def _compare(self, rows: list[dict[str, Any]], wanted: dict[str, float]) -> None:
        self.distances.append(max(abs(row["score"] - wanted[row["label"]]) for row in rows))
        best = max(wanted, key=wanted.__getitem__)
        self.clear_labels += (clear := wanted[best] > 0.6)
        self.other_labels += clear and rows[0]["label"] != best

    def summary(self) -> dict[str, Any]:
        """Counts, percentiles and distances."""
        points = np.percentile(self.latencies_ms or [0.0], (50, 99, 100)).round(1).tolist()
        far = np.percentile(self.distances or [0.0], (50, 99, 100)).tolist()
        return {
            "requests": sum(self.statuses.values()),
            "statuses": dict(self.statuses),
            **dict(zip(("p50_ms", "p99_ms", "longest_ms"), points, strict=True)),
            "distance_to_predict": {name: float(f"{value:.2g}") for name, value in zip(("p50", "p99", "largest"), far, strict=True)},
            "labels_compared": self.clear_labels,
            "other_labels": self.other_labels,
        }


async def ordinary(
    port: int, bodies: Sequence[bytes], expected: Sequence[dict[str, float]], capacity: float, factor: float, seconds: float
) -> dict[str, dict[str, Any]]:
    """Open-loop and steady clients for some seconds -> what became of the requests of each."""
    end, draw = time.perf_counter() + seconds, random.Random(5)
    open_loop, steady = Answers(expected), Answers(expected)
    unsent = 0

    async def one_steady(address: str, pause: float) -> None:
        connection, own = Connection("127.0.0.1", port, address), random.Random(address)
        while (begun := time.perf_counter()) < end:
            number = own.randrange(len(bodies))
            await steady.ask(connection, number, bodies[number], begun)
            await asyncio.sleep(own.expovariate(1 / pause))
        connection.close()

    async def one_open(connection: Connection, due: float) -> None:
        number = draw.randrange(len(bodies))
        await open_loop.ask(connection, number, bodies[number], due)
        idle.append(connection)

    rate = (factor - STEADY_PART) * capacity
    pause = STEADY / (STEADY_PART * capacity)
    idle = [Connection("127.0.0.1", port, f"127.0.1.{1 + index % OPEN_LOOP}") for index in range(75 * OPEN_LOOP)]
    draw.shuffle(idle)
    tasks = {asyncio.create_task(one_steady(f"127.0.2.{1 + index}", pause)) for index in range(STEADY)}
    due = time.perf_counter()
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if idle:
            tasks.add(task := asyncio.create_task(one_open(idle.pop(0), due)))
            task.add_done_callback(tasks.discard)
        else:
            unsent += 1
        due += draw.expovariate(rate)
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return {"open_loop": {"offered_per_second": round(rate, 1), "unsent": unsent, **open_loop.summary()}, "steady": steady.summary()}


# ---- hostile clients: each returns what the server did with it ----


def opened(port: int, address: str) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from an address."""
    return asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def outcome(reader: asyncio.StreamReader, seconds: float = 45.0) -> str:
    """The status that comes, or how the connection ended."""
    try:
        line = await asyncio.wait_for(reader.readline(), seconds)
    except OSError as error:
        return "left open, ended by the client" if isinstance(error, TimeoutError) else "cut by the server"
    return line.split()[1].decode() if line.startswith(b"HTTP/1.") else "cut by the server"


Hostile = Callable[[int, str, random.Random], Awaitable[str]]


def sender(data: Callable[[random.Random], bytes], *, half: bool = False, leave: bool = False) -> Hostile:
    """Bytes at once; then half-closed, or left before an answer comes."""

    async def send(port: int, address: str, draw: random.Random) -> str:
        reader, writer = await opened(port, address)
        try:
            with contextlib.suppress(OSError):
                writer.write(data(draw))
                await asyncio.wait_for(writer.drain(), 20)
                if half:
                    writer.write_eof()
            if leave:
                await asyncio.sleep(draw.random() / 20)
                return "ended by the client"
            return await outcome(reader)
        finally:
            writer.transport.abort()

    return send


def slow(first: bytes) -> Hostile:
    """A byte each second after a beginning (slowloris)."""

    async def drip(port: int, address: str, draw: random.Random) -> str:
        reader, writer = await opened(port, address)

        async def bytes_without_end() -> None:
            writer.write(first)
            while True:
                await asyncio.sleep(1)
                writer.write(b"a")

        task = asyncio.create_task(bytes_without_end())
        try:
            return await outcome(reader, 100)
        finally:
            task.cancel()
            writer.transport.abort()

    return drip


async def endless(port: int, address: str, draw: random.Random) -> str:
    """Chunks without an end."""
    reader, writer = await opened(port, address)
    answer = asyncio.create_task(outcome(reader))
    with contextlib.suppress(OSError):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not answer.done():
            writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)
    found = await answer
    writer.transport.abort()
    return found


async def never_reads(port: int, address: str, draw: random.Random) -> str:
    """Large answers, none of which is read."""
    _, writer = await opened(port, address)
    body = json.dumps({"inputs": ["a film " * 1_500] * 5}).encode()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write((HEAD.replace(b"/predict", b"/tokenize") + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 16)
    for _ in range(100):
        await asyncio.sleep(1)
        with contextlib.suppress(OSError):
            writer.write(b"\r\n")
        if writer.transport.is_closing():
            return "cut by the server"
    writer.transport.abort()
    return "left open, ended by the client"


async def flood(port: int, address: str, draw: random.Random) -> str:
    """Ten seconds of requests of 32 texts without a pause from 32 connections."""
    body = json.dumps({"inputs": [["a gripping film"]] * 32}).encode()
    found = await closed("127.0.0.1", port, "/predict", [body], 32, 10.0, address)
    return ", ".join(sorted(found.statuses))


def posted(body: Callable[[random.Random], bytes] | bytes, more: bytes = b"", head: bytes = HEAD) -> Hostile:
    """A body with its length."""

    def data(draw: random.Random) -> bytes:
        content = body if isinstance(body, bytes) else body(draw)
        return head + more + b"Content-Length: %d\r\n\r\n" % len(content) + content

    return sender(data)


BODY = b'{"inputs": "a gripping film"}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
BOMB = bytes.fromhex("1f8b08000000000002ff") + bytes(1_000_000)
STRANGE = {"not UTF-8": b"\xff\xfe", "NUL": rb"a\u0000b", "half a surrogate": rb"\ud800"}
KINDS: dict[str, tuple[int, float, Hostile]] = {
    # name: clients, seconds between two tries of one of them, what it does
    "slow headers": (40, 1, slow(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: ")),
    "slow body": (40, 1, slow(HEAD + b'Content-Length: 1000\r\n\r\n{"inputs": "')),
    "silent": (20, 1, sender(lambda _: b"")),
    "never reads its answers": (4, 1, never_reads),
    "half-closed": (2, 0.5, sender(lambda _: WHOLE, half=True)),
    "left in the middle of a body": (2, 0.5, sender(lambda draw: WHOLE[: draw.randrange(20, len(WHOLE))], leave=True)),
    "left before its answer": (4, 0.3, sender(lambda _: WHOLE, leave=True)),
    "one header of 1 MB": (1, 2, sender(lambda _: HEAD + b"X: " + b"a" * 1_000_000)),
    "headers without end": (1, 2, sender(lambda _: HEAD + b"X: a\r\n" * 100_000)),
    "address of 1 MB": (1, 2, sender(lambda _: b"GET /" + b"a" * 1_000_000)),
    "body of 5 MB": (1, 2, posted(lambda _: b'{"inputs": "' + b"a" * 5_000_000 + b'"}')),
    "chunks without end": (2, 2, endless),
    "trailers without end": (1, 2, sender(lambda _: HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: a\r\n" * 100_000)),
    **{f"{name} bomb": (1, 2, posted(BOMB, b"Content-Encoding: %s\r\n" % name.encode())) for name in ("gzip", "deflate", "br")},
    "gzip without a header": (1, 2, posted(BOMB)),
    **{name: (1, 0.5, posted(b'{"inputs": "%s"}' % text)) for name, text in STRANGE.items()},
    "nested 100,000 deep": (1, 1, posted(b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    "random bytes": (2, 0.5, sender(lambda draw: draw.randbytes(draw.choice((1, 50, 5_000))))),
    "random bodies": (2, 0.5, posted(lambda draw: draw.randbytes(draw.choice((0, 50, 50_000))))),
    "16 pipelined": (1, 2, sender(lambda _: WHOLE * 16)),
    "10,000 pipelined": (1, 2, sender(lambda _: b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000)),
    "HTTP/1.0": (1, 1, posted(BODY, head=HEAD.replace(b"/1.1", b"/1.0"))),
    "upgrade to HTTP/2": (1, 1, posted(BODY, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")),
    "wrong host": (1, 0.5, posted(BODY, head=HEAD.replace(b"localhost", b"evil.example"))),
    "two lengths": (1, 0.5, posted(BODY, b"Content-Length: 4\r\n")),
    "length and chunks": (1, 0.5, posted(b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"Transfer-Encoding: chunked\r\n")),
    "one token, 16,000 times": (1, 5, posted(json.dumps({"inputs": "film " * 16_000}).encode())),
    "one word of 1 MB": (1, 5, posted(json.dumps({"inputs": "a" * 1_000_000}).encode())),
    "flood of one client": (1, 5, flood),
}


async def hostile(port: int, seconds: float) -> dict[str, dict[str, int]]:
    """All kinds at once -> kind -> what the server did -> how often."""
    end = time.perf_counter() + seconds
    found: dict[str, Counter[str]] = {name: Counter() for name in KINDS}

    async def client(name: str, address: str, number: int, pause: float, kind: Hostile) -> None:
        draw = random.Random(f"{name} {number}")
        await asyncio.sleep(pause * draw.random())
        while time.perf_counter() < end:
            try:
                found[name][await kind(port, address, draw)] += 1
            except OSError:
                found[name]["cut by the server"] += 1
            await asyncio.sleep(pause * (0.5 + draw.random()))

    tasks = [
        asyncio.create_task(client(name, f"127.0.3.{1 + index}", number, pause, kind))
        for index, (name, (count, pause, kind)) in enumerate(KINDS.items())
        for number in range(count)
    ]
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    done, late = await asyncio.wait(tasks, timeout=0.5)
    for task in late:  # slow clients leave with the load
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    return {name: dict(counts) for name, counts in found.items()}


# ---- the server from outside ----


def observed(process: Any) -> dict[str, float]:
    """Memory, open files and threads of a process."""
    folder = Path(f"/proc/{process.pid}")
    return {"rss_mb": memory_mb(process), "files": len(list((folder / "fd").iterdir())), "threads": len(list((folder / "task").iterdir()))}


def metrics(port: int) -> dict[str, float]:
    """/metrics: name and labels -> value."""
    lines = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def slope(values: Sequence[float], seconds: float, blocks: int = 30) -> dict[str, Any]:
    """Values at equal distances over some seconds -> their linear trend an hour with its 95% interval, from means of blocks, which are nearly
    independent; the first tenth, while buffers and pools grow, is left out."""
    kept = np.asarray(values[len(values) // 10 :], dtype=float)
    means = np.array([block.mean() for block in np.array_split(kept, min(blocks, len(kept)))])
    hours = np.linspace(0, 0.9 * seconds / 3600, len(means))
    gradient, start = np.polyfit(hours, means, 1)
    residuals = means - (gradient * hours + start)
    error = STUDENT * np.sqrt((residuals**2).sum() / max(1, len(means) - 2) / ((hours - hours.mean()) ** 2).sum())
    low, middle, high = (round(float(value), 2) for value in (gradient - error, gradient, gradient + error))
    return {"per_hour": middle, "interval": [low, high], "blocks": len(means)}


def quiet(port: int, bodies: Sequence[bytes], expected: Sequence[dict[str, float]], seconds: float) -> tuple[dict[str, Any], list[float]]:
    """One client alone, one request after the other -> its summary; and the moment of each answer, in seconds."""

    async def run() -> tuple[dict[str, Any], list[float]]:
        answers, connection, begun, moments = Answers(expected), Connection("127.0.0.1", port, "127.0.4.1"), time.perf_counter(), list[float]()
        number = 0
        while time.perf_counter() - begun < seconds:
            await answers.ask(connection, number % len(bodies), bodies[number % len(bodies)], time.perf_counter())
            moments.append(time.perf_counter() - begun)
            number += 1
        connection.close()
        return answers.summary() | {"latencies_ms": answers.latencies_ms}, moments

    return asyncio.run(run())


def recovery_seconds(latencies_ms: Sequence[float], moments: Sequence[float], unloaded_ms: float, window: int = 10) -> float | None:
    """When the median of `window` answers first was as before; None: never."""
    for index in range(window, len(latencies_ms) + 1):
        if np.median(latencies_ms[index - window : index]) <= RECOVERED * unloaded_ms + 2:
            return round(moments[index - window], 2)
    return None


def _run(coroutine: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return asyncio.run(coroutine(*arguments))


def under_load(port: int, process: Any, ordinary_arguments: tuple[Any, ...], seconds: float) -> dict[str, Any]:
    """World and hostile clients in a process each, while the server is observed each second."""
    samples: list[dict[str, float]] = []
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(_run, ordinary, (port, *ordinary_arguments, seconds)), pool.submit(_run, hostile, (port, seconds))]
        while not all(task.done() for task in tasks):
            time.sleep(1)
            if process.poll() is not None:
                raise SystemExit(f"the server ended with code {process.returncode}")
            samples.append(observed(process))
        found = tasks[0].result() | {"hostile": tasks[1].result()}
    step, memory = max(1, len(samples) // 180), [sample["rss_mb"] for sample in samples]
    found["memory"] = {"slope_mb": slope(memory, seconds), "first_mb": memory[0], "largest_mb": max(memory), "last_mb": memory[-1]}
    found["most_files"] = max(sample["files"] for sample in samples)
    found["samples"] = {"every_seconds": step, **{key: [sample[key] for sample in samples[::step]] for key in samples[0]}}
    return found


def stopped_under_load(port: int, process: Any, ordinary_arguments: tuple[Any, ...], log: Path) -> dict[str, Any]:
    """Ordinary clients for ten seconds, SIGTERM after six: what became of the requests by the clients and by the server's log, and the exit code."""
    before = len(log.read_bytes().splitlines())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        task = pool.submit(_run, ordinary, (port, *ordinary_arguments, 10.0))
        time.sleep(6)
        process.send_signal(signal.SIGTERM)
        begun, code = time.monotonic(), process.wait(90)
        seconds, found = time.monotonic() - begun, task.result()
    statuses = Counter(found["open_loop"]["statuses"]) + Counter(found["steady"]["statuses"])
    lines = [json.loads(line) for line in log.read_bytes().splitlines()[before:]]
    logged = Counter(str(line["status"]) for line in lines if line["event"] == "request")
    return {"exit_code": code, "seconds": round(seconds, 1), "statuses": dict(statuses), "logged": dict(logged)}


def soak(options: argparse.Namespace, bodies: list[bytes], expected: list[dict[str, float]], log: Path) -> dict[str, Any]:
    """All phases -> the record."""
    port, record = free_port(), dict[str, Any]()
    flags = {"--port": port, "--threads": options.threads, "--max-batch-tokens": options.max_batch_tokens}
    command = [sys.executable, "-m", "electra.cli", "serve", options.model, *(str(word) for pair in flags.items() for word in pair)]
    with served(command, port, log) as process:
        in_own_process(closed, "127.0.0.1", port, "/predict", bodies, options.clients, min(5.0, options.capacity_seconds))
        capacity = in_own_process(closed, "127.0.0.1", port, "/predict", bodies, options.clients, options.capacity_seconds).summary()
        record["capacity"] = capacity
        alone, _ = quiet(port, bodies, expected, 10)
        alone.pop("latencies_ms")
        record["unloaded"] = alone | observed(process)
        ordinary_arguments = (bodies, expected, capacity["answered_per_second"], options.factor)
        record["load"] = under_load(port, process, ordinary_arguments, 60 * options.minutes)
        after, moments = quiet(port, bodies, expected, 10)
        latencies = after.pop("latencies_ms")
        record["after"] = after | {"recovery_seconds": recovery_seconds(latencies, moments, alone["p50_ms"])}
        time.sleep(options.settle)
        record["settled"] = observed(process) | {"connections": metrics(port)["electra_connections"] - 1}
        found = metrics(port)
        record["server"] = {name: value for name, value in found.items() if name.startswith(("electra_requests_total", "electra_rejected_total"))}
        record["server"] |= {name: value for name, value in found.items() if name.startswith("electra_connections_cut_total")}
        record["stop"] = stopped_under_load(port, process, ordinary_arguments, log)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    record["failures_logged"] = [line for line in lines if line["event"] == "failure"][:20]
    return record


def verdicts(record: dict[str, Any]) -> dict[str, bool]:
    """What must hold."""
    load, unanswered = record["load"], ("cut by the server", "no answer in 60 s")
    low, high = load["memory"]["slope_mb"]["interval"]
    return {
        "every accepted request of the open-loop clients is answered": not any(load["open_loop"]["statuses"].get(name) for name in unanswered)
        and set(load["open_loop"]["statuses"]) <= {"200", "429", "503"},
        "every request of the steady clients is answered with 200": set(load["steady"]["statuses"]) == {"200"},
        "no answer with 5xx but 503 and 504": not any('status="500"' in name for name in record["server"]) and not record["failures_logged"],
        "answers are those of predict": load["open_loop"]["other_labels"] == load["steady"]["other_labels"] == 0,
        "memory is flat: the slope's interval reaches 0, or is below 10 MB an hour": low <= 0 or high < 10,
        "recovered within 2 s": record["after"]["recovery_seconds"] is not None and record["after"]["recovery_seconds"] <= 2,
        "open files as before": record["settled"]["files"] <= record["unloaded"]["files"] + 1 and record["settled"]["connections"] == 0,
        "threads as before": record["settled"]["threads"] <= record["unloaded"]["threads"] + 1,
        "SIGTERM under load: exit code 0, nothing accepted is lost": record["stop"]["exit_code"] == 0
        # A request on a kept connection that the server closes at that moment was never read: the client may send it again.
        and all(record["stop"]["statuses"].get(name, 0) == record["stop"]["logged"].get(name, 0) for name in ("200", "429", "503", "499")),
    }


def parse() -> argparse.Namespace:
    """The flags."""
    data = Path(os.environ.get("ELECTRA_DATA", HERE.parents[1] / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="shipped:sentiment", help="a classifier: bundled, checkpoint or artifact")
    parser.add_argument("--texts", type=Path, default=data / "glue" / "SST-2" / "dev.tsv", help="texts to send: lines, or a .tsv with a header")
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of load")
    parser.add_argument("--factor", type=float, default=1.5, help="offered load in capacities")
    parser.add_argument("--capacity-seconds", type=float, default=30.0, help="seconds of the capacity's measurement")
    parser.add_argument("--clients", type=int, default=64, help="requests in flight while measuring the capacity")
    parser.add_argument("--settle", type=float, default=40.0, help="seconds from the load's end until files and threads are counted")
    parser.add_argument("--threads", type=int, default=1, help="threads of the model; 0: one per core")
    parser.add_argument("--max-batch-tokens", type=int, default=4096, help="of the server; an answer waits for up to two batches")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "soak.json")
    return parser.parse_args()


def main() -> int:
    """Run all of it and write the record; 1 where something that must hold does not."""
    options = parse()
    texts = [text for text in texts_of(options.texts) if text.strip()]
    predictor = electra.load(options.model, threads=1)
    expected = [{name: float(value) for name, value in predictor.predict([text])[0].probabilities.items()} for text in texts]
    bodies = [json.dumps({"inputs": text}).encode() for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        record = {
            "machine": machine(),
            "command": " ".join(["python bench/soak.py", *sys.argv[1:]]),
            "minutes": options.minutes,
            "factor": options.factor,
        }
        record |= soak(options, bodies, expected, Path(folder) / "log")
    record["verdicts"] = verdicts(record)
    atomic.write_text(options.output, json.dumps(record, indent=1) + "\n")
    for name, holds in record["verdicts"].items():
        print("ok  " if holds else "FAIL", name)
    return 0 if all(record["verdicts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

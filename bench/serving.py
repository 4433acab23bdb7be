"""Serving: a classifier behind HTTP, ours and the servers that people would take, with one client and with many.

Every server gets the same single texts of SST-2 dev from clients that send the next one when an answer comes (`load_generator.py`, in a process
of its own on the same cores). They take turns: one client, then 16, then 64. Answers are compared before anything is timed. `bench/soak.py` has
the rest: half an hour at 1.5 times the capacity, with hostile clients.

  transformers, FastAPI    the pipeline, one call of it for each request, in FastAPI's thread pool
  transformers, LitServe   the pipeline behind LitServe, which batches what comes within five milliseconds
  infinity                 infinity-emb's own server, POST /classify
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from load_generator import closed, in_own_process
from section import HERE, Target, Work, environment, middle, peer_environment, spread, table

import electra
from electra import environment as machine_of

CLIENTS = (1, 16, 64)
SECONDS = {1: 5.0, 16: 8.0, 64: 10.0}
"""Clients -> seconds of a turn."""
BATCHED_WAIT = 0.005
"""Seconds LitServe waits for a batch to fill."""
FARTHEST, FARTHEST_INT8 = 1e-3, 0.2
"""Largest distance to the probabilities of the checkpoint in fp32, above which a server is not timed; int8 may turn a close decision."""


@dataclass(frozen=True)
class Server:
    """One candidate."""

    environment: str = ""
    """Of peers; '': ours."""
    kind: str = "electra"
    source: str = "checkpoint"
    """What it serves: the checkpoint, or an artifact of this target."""
    processes: int = 1
    """Processes that share a port, each with its part of the threads."""


SERVERS = {
    "electra serve, PyTorch": Server(),
    "electra serve, onnx": Server(source="onnx"),
    "electra serve, onnx-int8": Server(source="onnx-int8"),
    "electra serve, onnx-int8, 2 processes": Server(source="onnx-int8", processes=2),
    "transformers, FastAPI": Server(environment="litserve", kind="fastapi"),
    "transformers, LitServe": Server(environment="litserve", kind="litserve"),
    "infinity": Server(environment="infinity", kind="infinity"),
}


# ---- servers ----


def texts_of(path: Path) -> list[str]:
    """The texts of a .tsv (its first column, below the header) or of lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines[1:]] if path.suffix == ".tsv" else lines


def free_port() -> int:
    """A port nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(command: list[str], port: int, log: Path, values: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it is healthy; ended by SIGTERM. `values`: its environment.

    Raises:
        RuntimeError: it ended, or is not healthy after two minutes; with the last line that names an error, or the last one.
    """
    with log.open("wb") as stream:
        # In a session of its own: some servers leave the processes that they started.
        values = values or {**os.environ, "PYTHONPATH": str(HERE.parent)}
        process = subprocess.Popen(command, stderr=stream, stdout=stream, env=values, start_new_session=True)
        try:
            for _ in range(600):
                time.sleep(0.2)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        break
            else:
                process.kill()
                process.wait()
            if process.poll() is not None:
                last = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
                why = [line for line in last if re.match(r"[\w.]+(Error|Exception): ", line)] or last
                raise RuntimeError(f"it did not start: {''.join(why[-1:])[:300]}")
            yield process
            process.terminate()
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def command_of(server: Server, python: str, source: str, port: int, threads: int) -> list[str]:
    """The command line of a server's process."""
    if server.kind == "electra":
        words = [sys.executable, "-m", "electra.cli", "serve", source, "--port", str(port), "--threads", str(threads), "--device", "cpu"]
        return [*words, "--reuse-port"] if server.processes > 1 else words
    if server.kind == "infinity":
        words = ["v2", "--model-id", source, "--served-model-name", "classifier", "--engine", "torch", "--device", "cpu", "--port", str(port)]
        return [str(Path(python).with_name("infinity_emb")), *words, "--no-bettertransformer", "--no-compile", "--host", "127.0.0.1"]
    return [python, str(HERE / "pipeline_server.py"), server.kind, source, str(port), str(threads)]


def request_of(server: Server, text: str) -> tuple[str, bytes]:
    """A text -> path and body."""
    if server.kind == "infinity":
        return "/classify", json.dumps({"model": "classifier", "input": [text]}).encode()
    return "/predict", json.dumps({"inputs": text}).encode()


def probabilities_of(server: Server, answer: Any) -> dict[str, float]:
    """An answer -> label -> probability."""
    rows = answer["data"][0] if server.kind == "infinity" else answer
    while isinstance(rows[0], list):
        rows = rows[0]
    return {row["label"]: row["score"] for row in rows}


def ask(server: Server, port: int, text: str) -> dict[str, float]:
    """One text, one connection."""
    path, body = request_of(server, text)
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return probabilities_of(server, json.load(response))


# ---- what processes use ----


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    for task in children.parent.parent.glob("*/children"):
        found += [each for child in task.read_text().split() for each in _family(int(child))]
    return found


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process and its children, where pages that they share count once for each."""
    total = 0
    for pid in _family(process.pid):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += int(next((line for line in lines if line.startswith("VmRSS")), "VmRSS: 0").split()[1])
    return round(total / 1024, 1)


def processor_seconds(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Time on processors so far, which other programs on the machine disturb less than the clock."""
    total = 0
    for process in processes:
        for pid in _family(process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Where this ran."""
    return {
        "cpu": machine_of.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": machine_of.versions(("torch", "transformers", "tokenizers", "fastapi", "uvicorn")),
    }


# ---- the section ----


def opened(work: Work, sources: dict[str, Path], stack: ExitStack, failed: dict[str, str]) -> dict[str, tuple[int, list[subprocess.Popen[bytes]]]]:
    """Start every server -> its port and processes; those that do not start are in `failed`."""
    found = {}
    for name, server in SERVERS.items():
        if server.environment and not work.interpreters.get(server.environment):
            failed[name] = work.problem(server.environment)
            continue
        port, threads = free_port(), max(1, work.threads // server.processes)
        values = peer_environment(threads) if server.environment else environment(threads)
        command = command_of(server, work.interpreters.get(server.environment, ""), str(sources[server.source]), port, threads)
        try:
            logs = [work.folder / f"{port}-{number}.log" for number in range(server.processes)]
            found[name] = port, [stack.enter_context(served(command, port, log, values)) for log in logs]
        except RuntimeError as error:
            failed[name] = str(error)
    return found


def compared(found: dict[str, tuple[int, Any]], expected: list[dict[str, float]], texts: list[str], failed: dict[str, str]) -> dict[str, float]:
    """The largest distance of each server's probabilities to the checkpoint's; who gives others in fp32 is not timed."""
    out = {}
    for name, (port, _) in list(found.items()):
        try:
            answers = [ask(SERVERS[name], port, text) for text in texts]
            far = max(abs(one[label] - other[label]) for one, other in zip(answers, expected, strict=True) for label in other)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            del found[name]
            continue
        out[name] = far
        if far > (FARTHEST_INT8 if "int8" in SERVERS[name].source else FARTHEST):
            failed[name] = f"other answers than the checkpoint's: {far:.2g} at most"
            del found[name]
    return out


def measure(work: Work) -> dict[str, Any]:
    """Every server with each number of clients, in turns."""
    work.progress(0.0, "a classifier and its artifacts")
    checkpoint = models.classifier(work)
    sources = {"checkpoint": checkpoint} | {target: models.artifact(work, target) for target in ("onnx", "onnx-int8")}
    texts = [text for text in texts_of(models.sst2(work) / "dev.tsv") if text.strip()]
    turns = 1 if work.quick else max(2, work.options.get("repeats") or 3)
    failed: dict[str, str] = {}
    predictions = electra.load(checkpoint, device="cpu", threads=work.threads).predict(texts[:32])
    with ExitStack() as stack:
        found = opened(work, sources, stack, failed)
        distances = compared(found, [dict(each.probabilities) for each in predictions], texts[:32], failed)
        rows: dict[str, dict[str, list[Any]]] = {name: {str(clients): [] for clients in CLIENTS} for name in found}
        for turn in range(turns + 1):  # the first is for warming up
            for index, (name, (port, processes)) in enumerate(found.items()):
                path = request_of(SERVERS[name], "")[0]
                bodies = [request_of(SERVERS[name], text)[1] for text in texts]
                for clients in CLIENTS:
                    seconds = 0.5 if work.quick or not turn else SECONDS[clients]
                    begun = processor_seconds(processes)
                    row = in_own_process(closed, "127.0.0.1", port, path, bodies, clients, seconds).summary()
                    row["processor_ms_per_answer"] = 1000 * (processor_seconds(processes) - begun) / max(1, row["statuses"].get("200", 0))
                    if turn:
                        rows[name][str(clients)].append(row)
                work.progress((turn * len(found) + index + 1) / ((turns + 1) * len(found)), f"turn {turn} of {turns}, {name}")
        memory = {name: sum(memory_mb(process) for process in processes) for name, (_, processes) in found.items()}
    return {"turns": turns, "clients": list(CLIENTS), "rows": rows, "distance": distances, "memory_mb": memory, "failed": failed}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    rows = []
    for name, loads in result["rows"].items():
        for clients, turns in loads.items():
            rows.append(
                [
                    name,
                    clients,
                    spread(middle(row["answered_per_second"] for row in turns), "{:,.0f}"),
                    spread(middle(row["p50_ms"] for row in turns), "{:,.1f}"),
                    spread(middle(row["p99_ms"] for row in turns), "{:,.1f}"),
                    f"{middle(row['processor_ms_per_answer'] for row in turns)['median']:.1f}",
                    f"{100 * max(row['rejection_rate'] for row in turns):.1f}%",
                    f"{result['memory_mb'][name]:,.0f}",
                ]
            )
    header = ("server", "clients", "answers/s", "p50, ms", "p99, ms", "CPU ms per answer", "rejected", "memory, MB")
    out = [
        f"Single texts of SST-2 dev; median of {result['turns']} turns (least..most); the clients run on the same cores.",
        "",
        *table(header, rows),
    ]
    return out + [f"\nNot run: {name}: {why}." for name, why in result["failed"].items()]


def targets(result: dict[str, Any]) -> list[Target]:
    """The project has no goal here."""
    return []

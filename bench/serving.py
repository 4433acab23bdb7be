"""'electra serve' under load: capacity, twice the capacity for minutes, thousands of hostile requests, and the same beside `transformers`.

    python bench/serving.py runs/sst2/best --texts glue/SST-2/dev.tsv --minutes 5

A classifier is served in one process and receives single texts from another. First closed: the capacity. Then open, at twice that
rate: how many are refused, whether every accepted request is answered, how long it takes, what memory does. Then random and hostile
requests: which statuses come, and memory again. Then `transformers`' pipeline behind the same kind of FastAPI application, closed and at
the same rate as ours. The record says all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load_generator import closed, exchange, hostile, in_own_process, open_

from electra import environment
from electra.storage import atomic

HERE = Path(__file__).resolve().parent
DECLARED = {"200", "400", "401", "404", "405", "408", "413", "415", "422", "424", "429", "503", "504"}


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
def served(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it is healthy; ended by SIGTERM."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=stream, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
        try:
            for _ in range(600):
                time.sleep(0.2)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()[-2000:]
            yield process
            process.terminate()
            code = process.wait(60)
            assert code in (0, -15), code
        finally:
            process.kill()


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024, 1)


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Time on processors so far, which other programs on the machine disturb less than the clock."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def batches(port: int) -> dict[str, float]:
    """Texts per batch so far."""
    lines = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode().splitlines()
    found = {
        line.split("{")[0]: float(line.split()[-1]) for line in lines if line.startswith(("electra_batch_texts_sum", "electra_batch_texts_count"))
    }
    return {"texts_per_batch": round(found["electra_batch_texts_sum"] / max(1, found["electra_batch_texts_count"]), 2)}


def under_load(port: int, process: subprocess.Popen[bytes], bodies: list[bytes], options: argparse.Namespace, rate: float | None) -> dict[str, Any]:
    """Warm up, find the capacity, then send at `rate` (twice the capacity where none is given)."""
    in_own_process(closed, "127.0.0.1", port, "/predict", bodies, options.clients, min(5.0, options.capacity_seconds))
    begun = processor_seconds(process)
    capacity = in_own_process(closed, "127.0.0.1", port, "/predict", bodies, options.clients, options.capacity_seconds).summary()
    capacity["processor_ms_per_answer"] = round(1000 * (processor_seconds(process) - begun) / max(1, capacity["statuses"].get("200", 0)), 2)
    alone = in_own_process(closed, "127.0.0.1", port, "/predict", bodies, 1, options.capacity_seconds / 2).summary()
    rate = rate or 2 * capacity["answered_per_second"]
    before = memory_mb(process)
    load = in_own_process(open_, "127.0.0.1", port, "/predict", bodies, rate, options.connections, 60 * options.minutes, 1).summary()
    return {
        "one_client": alone,
        "capacity": capacity,
        "overload": {"offered_per_second": round(rate, 1), **load, "memory_mb_before": before, "memory_mb_after": memory_mb(process)},
    }


def under_attack(port: int, process: subprocess.Popen[bytes], count: int) -> dict[str, Any]:
    """Random and hostile requests in ten parts -> statuses, those that should not be, and memory after each part."""
    draw, statuses, memory = random.Random(7), Counter[str](), []
    for _ in range(10):
        statuses += in_own_process(exchange, "127.0.0.1", port, [hostile(draw) for _ in range(count // 10)], 16)
        memory.append(memory_mb(process))
    return {"requests": count, "statuses": dict(statuses), "undeclared": sorted(set(statuses) - DECLARED), "memory_mb": memory}


def machine() -> dict[str, Any]:
    """Where this ran."""
    return {
        "cpu": environment.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": environment.versions(("torch", "transformers", "tokenizers", "fastapi", "uvicorn")),
    }


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a classifier: checkpoint or artifact")
    parser.add_argument("--texts", type=Path, required=True, help="texts to send: lines, or a .tsv with a header")
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes at twice the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=30.0, help="seconds of each capacity measurement")
    parser.add_argument("--clients", type=int, default=64, help="requests in flight while measuring the capacity")
    parser.add_argument("--connections", type=int, default=2000, help="connections of the open load at most")
    parser.add_argument("--hostile", type=int, default=10_000, help="random and hostile requests")
    parser.add_argument("--threads", type=int, default=0, help="threads of the models; 0: one per core")
    parser.add_argument("--peer", default="", help="checkpoint for transformers' pipeline; unset: MODEL; 'none': no peer")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "serving.json")
    return parser.parse_args()


def main() -> None:
    """Run all of it and write the record."""
    options = parse()
    bodies = [json.dumps({"inputs": text}).encode() for text in texts_of(options.texts) if text.strip()]
    record: dict[str, Any] = {"machine": machine(), "threads": options.threads, "clients": options.clients}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [sys.executable, "-m", "electra.cli", "serve", options.model, "--port", str(port), "--threads", str(options.threads)]
        with served(command, port, Path(folder) / "log") as process:
            record["electra"] = under_load(port, process, bodies, options, None) | batches(port)
            record["hostile"] = under_attack(port, process, options.hostile)
            print(json.dumps(record, indent=1), flush=True)
        log = [json.loads(line) for line in (Path(folder) / "log").read_text(encoding="utf-8").splitlines()]
        record["hostile"]["failures_logged"] = sum(line["event"] == "failure" for line in log)
        if options.peer != "none":
            port = free_port()
            command = [sys.executable, str(HERE / "pipeline_server.py"), options.peer or options.model, str(port), str(options.threads)]
            with served(command, port, Path(folder) / "peer") as process:
                record["transformers"] = under_load(port, process, bodies, options, record["electra"]["overload"]["offered_per_second"])
                print(json.dumps(record["transformers"], indent=1), flush=True)
    atomic.write_text(options.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

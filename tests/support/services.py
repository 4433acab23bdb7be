"""What a test needs a server for: a Ray cluster of this machine, an S3 server in a thread, and places in stores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# ---- Ray ----

TOKEN = uuid.uuid4().hex
"""Of every cluster started here: a process of Ray's keeps the first one it has seen."""


@dataclass(frozen=True)
class Cluster:
    address: str
    process: int


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster of two cores, open to those who know the token made here."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
        for name, value in {"USAGE_STATS_ENABLED": "0", "AUTH_MODE": "token", "AUTH_TOKEN": TOKEN, "worker_niceness": "0"}.items():
            patch.setenv(f"RAY_{name}", value)
        pytest.importorskip("ray")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--object-store-memory={200 << 20}"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert any("--block" in line for line in process.stdout), "ray start has failed"
        yield Cluster(f"127.0.0.1:{port}", process.pid)
        process.terminate()
        process.wait(60)


def busy_workers(cluster: Cluster) -> list[int]:
    """Processes of this cluster that work on a part."""
    titles, parents = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            titles[int(place.name)] = (place / "cmdline").read_bytes()
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue

    def belongs(process: int) -> bool:
        return process == cluster.process or (process in parents and belongs(parents[process]))

    return [process for process, title in titles.items() if title.startswith(b"ray::run_remotely") and belongs(process)]


@contextmanager
def killing_workers(cluster: Cluster, number: int = 2) -> Iterator[list[int]]:
    """Kill `number` workers of the cluster, each at its work, while the block runs -> the list of those that were killed."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < number and not done.is_set():
            for worker in busy_workers(cluster):
                if worker not in killed and len(killed) < number:
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)

    watch = threading.Thread(target=kill)
    watch.start()
    try:
        yield killed
    finally:
        done.set()
        watch.join()


# ---- object stores ----


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, a process's thread."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"
    server.stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in a store."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    if request.param == "memory":
        return f"memory://{name}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"

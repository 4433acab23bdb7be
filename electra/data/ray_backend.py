"""Chunks -> their .npz on a Ray cluster: the same function on the same chunks as in local processes, so the same dataset.

The nodes need no shared disk, but the same version of electra. A chunk whose worker or node dies is given to another.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from pathlib import Path
from typing import Any

from electra import __version__
from electra.data.prepare_chunk import Chunk, LineEncoder, line_encoder, tokenize_chunk
from electra.data.tokenizer import Tokenizer
from electra.environment import signals_to
from electra.errors import UserError, require
from electra.storage.atomic import write_bytes

RETRIES = 5
"""How often a chunk is tried again after its worker died."""
STORE_BYTES = 512 << 20
"""Object store of a cluster started for the run; a chunk takes some megabytes."""

_encoders: dict[tuple[str, str], LineEncoder] = {}
"""Of this worker, by fingerprint and kind of words: kept, with its cache, from chunk to chunk."""


def tokenize_remotely(tokenizer: bytes, encoder: tuple[str, str], chunk: Chunk) -> bytes:
    """`tokenize_chunk` in a worker; `tokenizer` is pickled, `encoder` is (its fingerprint, kind of words)."""
    if encoder not in _encoders:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # Ray gives a task one core
        _encoders[encoder] = line_encoder(pickle.loads(tokenizer), encoder[1])
    return tokenize_chunk(_encoders[encoder], chunk)


def worker_version() -> str:
    """The version of electra on a worker."""
    return __version__


class RayCluster:
    """A cluster at `address` (None: one started on this machine for this run); `workers` chunks are processed at a time (0: one per core).

    This process reads the corpus, hands out chunks and writes what comes back.
    """

    def __init__(self, tokenizer: Tokenizer, words: str, address: str | None, workers: int) -> None:
        """Connect.

        Raises:
            UserError: no cluster at the address, or it has another version of electra.
        """
        ray = self._ray = require("ray", "ray")
        connect(ray, address, workers)
        self._workers = workers or int(ray.cluster_resources().get("CPU", 1))
        self._tokenizer, self._encoder = ray.put(pickle.dumps(tokenizer)), (tokenizer.fingerprint, words)
        self._tokenize = ray.remote(num_cpus=1, max_retries=RETRIES)(tokenize_remotely)
        self._pending = deque[tuple[Any, Path]]()

    def submit(self, chunk: Chunk, file: Path) -> None:
        """Hand it to the cluster."""
        self._pending.append((self._tokenize.remote(self._tokenizer, self._encoder, chunk), file))
        if len(self._pending) > 2 * self._workers + 2:
            self._write_oldest()

    def close(self, *, failed: bool) -> None:
        """Write what is pending, or cancel it; leave the cluster."""
        try:
            while self._pending and not failed:
                self._write_oldest()
        finally:
            if self._ray.is_initialized():
                for task, _ in self._pending:
                    self._ray.cancel(task, force=True)
                self._ray.shutdown()

    def _write_oldest(self) -> None:
        ray = self._ray
        task, file = self._pending.popleft()
        try:
            packed = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise UserError(
                f"Ray workers died {RETRIES + 1} times over one chunk ({type(error).__name__}; out of memory?); "
                "run the same command with fewer --workers to continue"
            ) from None
        write_bytes(file, packed)


# Ray takes SIGTERM for itself, in Python and below it: it would end the process before its work is saved.
@signals_to(None)
def connect(ray: Any, address: str | None, workers: int) -> None:
    """Connect to the cluster at `address`, or start one with `workers` cores (0: all) on this machine; the caller's signal handlers are kept.

    Raises:
        UserError: no cluster at the address, or its nodes have another version of electra.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        # By default Ray runs its workers at niceness 15: next to other work they would hardly run.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(address="local", num_cpus=workers or os.cpu_count(), include_dashboard=False, object_store_memory=STORE_BYTES, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"no Ray cluster at --ray-address {address} ({reason}); start one with 'ray start --head' "
            "(a cluster with a token needs RAY_AUTH_MODE=token here), or leave the flag out"
        ) from None
    try:
        found = ray.get(ray.remote(num_cpus=1)(worker_version).remote())
    except ray.exceptions.RayError:
        found = "none"
    if found != __version__:
        ray.shutdown()
        raise UserError(f"the nodes of the Ray cluster {address} have electra {found}, this process has {__version__}; install the same there")

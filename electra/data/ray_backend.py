"""Parts tokenized on a Ray cluster: the same function on the same parts as in local processes, so the same shards.

This process reads the corpus, hands out parts and writes what comes back: the machines share no disk, and each needs this version of
electra installed. A part whose worker or machine dies is given to another.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from electra import __version__
from electra.data.prepare_chunk import Chunk, LineReader, line_reader, pack_part, store_part
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError, require

RETRIES = 5
"""Times a part is tried again after its worker died; one that kills every worker must end."""
STORE_BYTES = 512 << 20
"""Memory for parts under way in a cluster started for the run; a part takes some megabytes."""

_held: dict[tuple[str, str], LineReader] = {}


def tokenize_remotely(rules: str, reader: tuple[str, str], key: bytes, documents: list[bytes], held_out: list[bool]) -> bytes:
    """`pack_part` in a worker, which keeps its reader of lines, known by fingerprint and kind of words, and that its cache, from part to part."""
    if reader not in _held:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # Ray gives a task one core
        _held[reader] = line_reader(Tokenizer(tokenizers.Tokenizer.from_str(rules)), reader[1])
    return pack_part(_held[reader], key, documents, held_out)


def worker_version() -> str:
    """The version of electra that a worker imports."""
    return __version__


def in_ray(tokenizer: Tokenizer, words: str, address: str | None, workers: int) -> tuple[Callable[[Chunk, Path], None], Callable[[bool], None]]:
    """A cluster (None: one on this machine for this run) -> (submit, finish). `workers` parts are worked on at a time; 0: one per core.

    Raises:
        UserError: no cluster at the address, or its machines have another version of electra.
    """
    ray = require("ray", "ray")
    connect(ray, address, workers)
    workers = workers or int(ray.cluster_resources().get("CPU", 1))
    rules, waiting = ray.put(tokenizer.backend.to_str()), deque[tuple[Any, Path]]()
    work = ray.remote(num_cpus=1, max_retries=RETRIES)(tokenize_remotely)

    def store_oldest() -> None:
        task, file = waiting.popleft()
        try:
            packed = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise UserError(
                f"Ray workers died {RETRIES + 1} times over a part ({type(error).__name__}; out of memory?); "
                "run the same command again with fewer --workers, it goes on"
            ) from None
        store_part(packed, file)

    def submit(part: Chunk, file: Path) -> None:
        waiting.append((work.remote(rules, (tokenizer.fingerprint, words), part.key, part.documents, part.held_out), file))
        # A few parts wait at most, so memory does not grow with the corpus.
        if len(waiting) > 2 * workers + 2:
            store_oldest()

    def finish(failed: bool) -> None:
        try:
            while waiting and not failed:
                store_oldest()
        finally:
            if ray.is_initialized():
                for task, _ in waiting:
                    ray.cancel(task, force=True)
                ray.shutdown()

    return submit, finish


def connect(ray: Any, address: str | None, workers: int) -> None:
    """Join the cluster at `address`, or start one of `workers` cores (0: all) on this machine.

    Raises:
        UserError: no cluster at the address, or its machines have another version of electra.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        # Ray lets its workers yield to all else (15 steps of nice): beside other work they would hardly run. Local processes do not either.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(address="local", num_cpus=workers or os.cpu_count(), include_dashboard=False, object_store_memory=STORE_BYTES, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"no Ray cluster at --ray-address {address} ({reason}); start one with 'ray start --head' "
            "(one that asks for a token needs RAY_AUTH_MODE=token here), or leave the flag out"
        ) from None
    try:
        found = ray.get(ray.remote(num_cpus=1)(worker_version).remote())
    except ray.exceptions.RayError:
        found = "none"
    if found != __version__:
        ray.shutdown()
        raise UserError(f"the machines of the Ray cluster {address} have electra {found}, this one has {__version__}; install the same there")

"""A model on a Ray cluster, by Ray Serve: replicas that answer the texts of several requests together.

    python ops/ray_serve.py sst2-int8 --replicas 2
    curl -H 'Content-Type: application/json' -d '{"inputs": "a gripping film"}' http://127.0.0.1:8000/

A body is {"inputs": TEXT}; the answer is that of `electra.pipeline`. Ray Serve has no token and no limits of its own: put a proxy in front.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

import electra
from electra.errors import UserError


@serve.deployment(max_ongoing_requests=64)
class Model:
    """One replica."""

    def __init__(self, source: str, threads: int) -> None:
        self.predict = electra.pipeline(model=electra.load(source, threads=threads, device="cpu"))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def together(self, texts: list[str]) -> list[Any]:
        """Texts of several requests -> the answer to each."""
        return list(await asyncio.to_thread(self.predict, texts, batch_size=len(texts)))

    async def __call__(self, request: Request) -> JSONResponse:
        """One request."""
        try:
            text = (await request.json())["inputs"]
        except (ValueError, TypeError, KeyError):
            text = None
        if not isinstance(text, str) or not text.strip():
            return JSONResponse({"error": "expected a JSON object with a text as 'inputs'", "error_type": "validation"}, status_code=400)
        return JSONResponse(await self.together(text))


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint or artifact, in a place that all machines of the cluster read")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="cores of each replica (default: 1)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    for name in ("replicas", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: expected 1 or more")
    source = str(Path(options.model).resolve()) if Path(options.model).exists() else options.model
    try:
        electra.load(source, device="cpu")  # a replica that cannot load would be started again and again
    except UserError as error:
        parser.error(str(error))
    serve.start(http_options={"host": options.host, "port": options.port})
    model = Model.options(num_replicas=options.replicas, ray_actor_options={"num_cpus": options.threads})
    serve.run(model.bind(source, options.threads))
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


if __name__ == "__main__":
    main()

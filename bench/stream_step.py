"""One dataset (or many) as training reads them: batches from the pipeline without a network, on request."""

from __future__ import annotations

import time
from typing import Any

import turns


def main() -> None:
    """Serve: 'build' (folders), then 'batches' (a number)."""
    held: dict[str, Any] = {}

    def answer(request: dict[str, Any]) -> Any:
        if request["kind"] == "build":
            import torch

            from electra.command_line import from_command_line
            from electra.pretraining.setup import open_corpus, open_stream
            from electra.settings import PretrainSettings
            from electra.train.distributed import Ranks

            torch.set_num_threads(1)
            settings = from_command_line(PretrainSettings, ["small", "--data", *request["folders"]], "bench")
            started = time.perf_counter()
            held["stream"] = open_stream(settings, open_corpus(settings), 32, Ranks(0, 1, torch.device("cpu")))
            next(held["stream"])
            return {"open_seconds": time.perf_counter() - started}
        if request["kind"] == "memory":
            return turns.peak_memory_bytes()
        tokens, started = 0, time.perf_counter()
        for _ in range(request["number"]):
            tokens += next(held["stream"]).num_tokens
        return {"seconds": time.perf_counter() - started, "tokens": tokens}

    turns.serve(answer)


if __name__ == "__main__":
    main()

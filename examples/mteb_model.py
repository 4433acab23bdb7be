"""Measure a model with MTEB: `python examples/mteb_model.py runs/vectors/best STS17 ...` runs these tasks of the package `mteb`.

Any folder, hub name or artifact that `electra embed` reads; MTEB itself opens sentence-transformers folders alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import mteb
import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

import electra


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """What `mteb.evaluate` takes."""

    def __init__(self, model_name: str, revision: str | None = None, *, device: str | None = None, **options: Any) -> None:
        """Load a model; `options` are those of `electra.load`."""
        self.predictor = electra.load(model_name, device=device or "auto", **options)
        name = f"electra/{model_name.strip('/').replace('/', '__')}"
        self.mteb_model_meta = ModelMeta.create_empty({"name": name, "similarity_fn_name": ScoringFunction(self.predictor.modules.similarity)})

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, batch_size: int = 32, **_: Any) -> np.ndarray:
        """Batches of texts -> (N, D) float32 vectors, with the model's own prompt for queries or documents."""
        prompt = self.predictor.modules.prompt_of(getattr(prompt_type, "value", prompt_type))
        texts = (text for batch in inputs for text in batch["text"])
        return np.stack(list(self.predictor.iterate_embeddings(texts, batch_size=batch_size, prompt_name=prompt)))


if __name__ == "__main__":
    for result in mteb.evaluate(MtebEncoder(sys.argv[1]), mteb.get_tasks(tasks=sys.argv[2:])).task_results:
        print(f"{result.task_name}: {result.get_score():.4f}")

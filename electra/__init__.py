"""The complete, fast ELECTRA toolkit in PyTorch.

Everything the command line does with a trained model is here too. Importing this package imports nothing heavy: torch is loaded
with the first model.

    from electra import load, pipeline

    classifier = pipeline("sentiment-analysis")                       # a model that comes with it; or model="runs/sst2/best"
    classifier(["ELECTRA is surprisingly fast and accurate."])        # [{'label': 'positive', 'score': 0.98}]

    discriminator = load()                                            # another one; or a name on the hub, a checkpoint folder, a run directory
    for token in discriminator.detect(["The quick brown fox fake over the lazy dog"])[0].tokens:
        print(token.token, "fake" if token.replaced else "real", token.probability)
    discriminator.embed(["a sentence", "another one"])                # (2, hidden_size) float32
    discriminator.tokenizer, discriminator.model                      # what it is made of

A mistake of the caller is an `electra.UserError` whose message names the remedy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.errors import UserError
    from electra.inference.pipelines import pipeline
    from electra.inference.predictor import Predictor, load
    from electra.inference.replaced_tokens import Corruption, Detection, Token
    from electra.inference.token_classification import Entity, Tagged, TaggedWord

__version__ = "0.1.0"

__all__ = ["Corruption", "Detection", "Entity", "Predictor", "Tagged", "TaggedWord", "Token", "UserError", "load", "pipeline"]

# Loaded on first use (PEP 562), so that `import electra` and `electra --help` stay instant.
_PLACES = {
    "Corruption": "electra.inference.replaced_tokens",
    "Detection": "electra.inference.replaced_tokens",
    "Entity": "electra.inference.token_classification",
    "Predictor": "electra.inference.predictor",
    "Tagged": "electra.inference.token_classification",
    "TaggedWord": "electra.inference.token_classification",
    "Token": "electra.inference.replaced_tokens",
    "UserError": "electra.errors",
    "load": "electra.inference.predictor",
    "pipeline": "electra.inference.pipelines",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'electra' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

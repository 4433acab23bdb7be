"""The complete, fast ELECTRA toolkit in PyTorch.

The commands are functions here (`electra.api`), with the same settings as keyword arguments. Importing this package is fast: torch is
loaded when it is first needed.

    import electra
    from electra import load, pipeline

    classifier = pipeline("sentiment-analysis")                       # a bundled model; or model="runs/sst2/best"
    classifier(["ELECTRA is surprisingly fast and accurate."])        # [{'label': 'positive', 'score': 0.98}]

    discriminator = load()                                            # another one; or a name on the hub, a checkpoint, a run, an artifact
    for token in discriminator.detect(["The quick brown fox fake over the lazy dog"])[0].tokens:
        print(token.token, "fake" if token.replaced else "real", token.probability)
    discriminator.embed(["a sentence", "another one"])                # (2, hidden_size) float32
    discriminator.tokenizer, discriminator.model                      # its parts

    run = electra.pretrain("mini", data=["shards"], output="runs/mini", budget="1h")
    result = electra.finetune("sst2", model=run.checkpoint, data="glue/SST-2", output="runs/sst2")
    electra.build(result.model, target="onnx-int8", output="sst2-int8")

For research, the building blocks are in `electra.model` (encoder, heads, objectives) and `electra.data` (tokenized datasets, batches).
A mistake of the caller raises `electra.UserError`, whose message names the remedy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.api import (
        BuiltArtifact,
        Evaluation,
        FinetuneResult,
        TokenizedDataset,
        Vocabulary,
        build,
        compare,
        evaluate,
        finetune,
        prepare,
        pretrain,
        push,
        train_vocabulary,
    )
    from electra.errors import UserError
    from electra.inference.pipelines import pipeline
    from electra.inference.predictor import Predictor, load
    from electra.inference.replaced_tokens import Corruption, Detection, Token
    from electra.inference.token_classification import Entity, Tagged, TaggedWord

    __version__: str

# Imported on first use (PEP 562), so that `import electra` and `electra --help` stay fast.
_MODULES = {
    "BuiltArtifact": "electra.api",
    "Corruption": "electra.inference.replaced_tokens",
    "Detection": "electra.inference.replaced_tokens",
    "Entity": "electra.inference.token_classification",
    "Evaluation": "electra.api",
    "FinetuneResult": "electra.api",
    "Predictor": "electra.inference.predictor",
    "Tagged": "electra.inference.token_classification",
    "TaggedWord": "electra.inference.token_classification",
    "Token": "electra.inference.replaced_tokens",
    "TokenizedDataset": "electra.api",
    "UserError": "electra.errors",
    "Vocabulary": "electra.api",
    "build": "electra.api",
    "compare": "electra.api",
    "evaluate": "electra.api",
    "finetune": "electra.api",
    "load": "electra.inference.predictor",
    "pipeline": "electra.inference.pipelines",
    "prepare": "electra.api",
    "pretrain": "electra.api",
    "push": "electra.api",
    "train_vocabulary": "electra.api",
}

__all__ = [
    "BuiltArtifact",
    "Corruption",
    "Detection",
    "Entity",
    "Evaluation",
    "FinetuneResult",
    "Predictor",
    "Tagged",
    "TaggedWord",
    "Token",
    "TokenizedDataset",
    "UserError",
    "Vocabulary",
    "build",
    "compare",
    "evaluate",
    "finetune",
    "load",
    "pipeline",
    "prepare",
    "pretrain",
    "push",
    "train_vocabulary",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module 'electra' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def _version() -> str:
    """The version that was installed, from its git tag; '0+unknown' where this code is on the path without being installed."""
    from importlib import metadata

    try:
        return metadata.version("electra")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])

"""The networks and objectives: batch -> loss, and weights <-> disk.

The building blocks for research have their stable import path here; they are plain `torch.nn.Module`s over `electra.contracts.Batch`:

    from electra.model import Discriminator, Encoder, EncoderConfig, Generator, MaskedLanguageModel, ReplacedTokenObjective

    encoder = Encoder(EncoderConfig(...))            # (T, D) hidden states of T real tokens, no padding
    build_objective(model_settings, objective_settings, ...)      # generator + discriminator in their objective, initialized
    load_checkpoint("google/electra-small-discriminator")         # a Hugging Face directory -> Checkpoint
    save_pretrained(objective, folder, ...)          # an objective's networks as Hugging Face directories

Names are imported on first use, so that `import electra.model` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.generators import Generator, MaskedLanguageModel, TwoTowerGenerator
    from electra.model.heads import ClassificationHead, MaskedLanguageHead, ReplacedTokenHead, TokenHead
    from electra.model.huggingface import Checkpoint, load_checkpoint, save_checkpoint
    from electra.model.objectives import Discriminator, Electric, ReplacedTokenObjective
    from electra.model.pretraining_models import build_objective
    from electra.model.pretraining_models import save as save_pretrained

_MODULES = {
    "Checkpoint": "huggingface",
    "ClassificationHead": "heads",
    "Discriminator": "objectives",
    "Electric": "objectives",
    "Encoder": "encoder",
    "EncoderConfig": "encoder",
    "Generator": "generators",
    "MaskedLanguageHead": "heads",
    "MaskedLanguageModel": "generators",
    "ReplacedTokenHead": "heads",
    "ReplacedTokenObjective": "objectives",
    "TokenHead": "heads",
    "TwoTowerGenerator": "generators",
    "build_objective": "pretraining_models",
    "load_checkpoint": "huggingface",
    "save_checkpoint": "huggingface",
    "save_pretrained": "pretraining_models",
}
__all__ = [
    "Checkpoint",
    "ClassificationHead",
    "Discriminator",
    "Electric",
    "Encoder",
    "EncoderConfig",
    "Generator",
    "MaskedLanguageHead",
    "MaskedLanguageModel",
    "ReplacedTokenHead",
    "ReplacedTokenObjective",
    "TokenHead",
    "TwoTowerGenerator",
    "build_objective",
    "load_checkpoint",
    "save_checkpoint",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'electra.model' has no attribute '{name}'")
    module = importlib.import_module(f"electra.model.{_MODULES[name]}")
    return getattr(module, "save" if name == "save_pretrained" else name)

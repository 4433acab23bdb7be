"""Every setting, by verb: frozen keyword-only dataclasses, without torch.

A docstring under a field is its help on the command line; a class docstring is its command's help, with examples.
Sizes have Hugging Face's names, ideas the paper's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.settings.export import BuildSettings, CompareSettings, ConvertSettings, PushSettings
    from electra.settings.finetune import AblateSettings, DemoSettings, DistillationSettings, EmbeddingSettings, FinetuneSettings, SuiteSettings
    from electra.settings.infer import (
        DetectSettings,
        EmbedSettings,
        EvaluateSettings,
        InspectSettings,
        MineSettings,
        PlotSettings,
        PredictSettings,
        RerankSettings,
        ScoreSettings,
        ServeSettings,
        SignificanceSettings,
        SubmitSettings,
    )
    from electra.settings.pretrain import (
        DatasetSettings,
        DataSettings,
        LoopSettings,
        ModelSettings,
        ObjectiveSettings,
        OptimizerSettings,
        PrepareSettings,
        PretrainSettings,
        VocabSettings,
        WatchSettings,
        phases,
    )
    from electra.settings.sections import ColumnSettings, ComputeSettings

# Imported on first use (PEP 562): a command makes the classes of its own verb, not of all.
_NAMES = {
    "export": "BuildSettings CompareSettings ConvertSettings PushSettings",
    "finetune": "AblateSettings DemoSettings DistillationSettings EmbeddingSettings FinetuneSettings SuiteSettings",
    "infer": "DetectSettings EmbedSettings EvaluateSettings InspectSettings MineSettings PlotSettings PredictSettings RerankSettings "
    "ScoreSettings ServeSettings SignificanceSettings SubmitSettings",
    "pretrain": "DataSettings DatasetSettings LoopSettings ModelSettings ObjectiveSettings OptimizerSettings PrepareSettings "
    "PretrainSettings VocabSettings WatchSettings phases",
    "sections": "ColumnSettings ComputeSettings",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AblateSettings",
    "BuildSettings",
    "ColumnSettings",
    "CompareSettings",
    "ComputeSettings",
    "ConvertSettings",
    "DataSettings",
    "DatasetSettings",
    "DemoSettings",
    "DetectSettings",
    "DistillationSettings",
    "EmbedSettings",
    "EmbeddingSettings",
    "EvaluateSettings",
    "FinetuneSettings",
    "InspectSettings",
    "LoopSettings",
    "MineSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimizerSettings",
    "PlotSettings",
    "PredictSettings",
    "PrepareSettings",
    "PretrainSettings",
    "PushSettings",
    "RerankSettings",
    "ScoreSettings",
    "ServeSettings",
    "SignificanceSettings",
    "SubmitSettings",
    "SuiteSettings",
    "VocabSettings",
    "WatchSettings",
    "phases",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'electra.settings' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"electra.settings.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

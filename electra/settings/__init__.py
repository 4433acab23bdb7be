"""Every setting, by verb: frozen keyword-only dataclasses, without torch.

A docstring under a field is its help on the command line; a class docstring is its command's help, with examples.
Sizes have Hugging Face's names, ideas the paper's.
"""

from electra.settings.corpus import DatasetSettings, PrepareSettings, VocabSettings
from electra.settings.export import BuildSettings, CompareSettings, ConvertSettings, PushSettings
from electra.settings.finetune import AblateSettings, DemoSettings, DistillationSettings, FinetuneSettings, SuiteSettings
from electra.settings.infer import (
    DetectSettings,
    EmbedSettings,
    EvaluateSettings,
    InspectSettings,
    PlotSettings,
    PredictSettings,
    ScoreSettings,
    ServeSettings,
    SignificanceSettings,
    SubmitSettings,
)
from electra.settings.pretrain import (
    DataSettings,
    LoopSettings,
    ModelSettings,
    ObjectiveSettings,
    OptimizerSettings,
    PretrainSettings,
    WatchSettings,
    phases,
)
from electra.settings.sections import ColumnSettings, ComputeSettings

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
    "EvaluateSettings",
    "FinetuneSettings",
    "InspectSettings",
    "LoopSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimizerSettings",
    "PlotSettings",
    "PredictSettings",
    "PrepareSettings",
    "PretrainSettings",
    "PushSettings",
    "ScoreSettings",
    "ServeSettings",
    "SignificanceSettings",
    "SubmitSettings",
    "SuiteSettings",
    "VocabSettings",
    "WatchSettings",
    "phases",
]

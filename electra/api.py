"""The Python API: the commands as functions, with the same settings as keyword arguments and typed results.

    import electra

    vocabulary = electra.train_vocabulary(["corpus/"], output="vocab", size=8192)
    dataset = electra.prepare(["corpus/"], tokenizer=vocabulary.path, output="shards")
    run = electra.pretrain("mini", data=[dataset.path], output="runs/mini", budget="1h")
    result = electra.finetune("sst2", model=run.checkpoint, data="glue/SST-2", output="runs/sst2", seeds=5)
    artifact = electra.build(result.best, target="onnx-int8", output="sst2-int8")
    electra.pipeline("sentiment-analysis", model=artifact.path)("a wonderful film")

Keyword arguments are the flags of the command of the same name (`electra pretrain --help-all`), with underscores; values may be given as
on the command line ("1h", "30M", "0.5%"). Each function also takes its settings class as the only argument, which is how the commands call it.
Mistakes are `electra.UserError`s with the message the command prints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from electra import config
from electra.command_line import from_arguments
from electra.errors import UserError
from electra.settings import BuildSettings, CompareSettings, EvaluateSettings, FinetuneSettings, PrepareSettings, PretrainSettings, VocabSettings

S = TypeVar("S")
Names = str | Path | Sequence[str | Path]
"""One file, folder, run or name, or several."""


def _bind(cls: type[S], first: str, value: Any, arguments: Mapping[str, Any], *, preset_kind: str | None = None) -> S:
    """The arguments of a function -> its settings."""
    if isinstance(value, cls):
        if arguments:
            raise TypeError(f"{cls.__name__} takes no further arguments, got {', '.join(arguments)}; use dataclasses.replace")
        return value
    return from_arguments(cls, arguments if value is None else {first: value, **arguments}, preset_kind=preset_kind)

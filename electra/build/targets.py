"""The table of what a checkpoint can be built for. A new target is one row here and one row in `electra.deploy.built_network.RUNNERS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.errors import EXTRAS, UserError, did_you_mean, require

if TYPE_CHECKING:
    from electra.build.graph import DenseGraph
    from electra.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to build."""

    graph: DenseGraph
    """What `electra.build.graph.dense_graph` made of it."""
    folder: Path
    """Where its model files go; the names are the target's."""
    tokenizer: Tokenizer
    texts: Sequence[str]
    """Texts to calibrate with; empty unless the target asks for them. 'a<TAB>b' is a pair."""
    say: Callable[[str], None]
    """Takes a line of progress."""


Build = Callable[[Job], Mapping[str, Any]]
"""Writes the model files of a job -> what was done, for the manifest's build.options."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A way to run a network outside of PyTorch's training code."""

    summary: str
    build: str
    """'module:function', a `Build`, imported when it is wanted."""
    packages: tuple[str, ...]
    """Modules that building needs, beside torch."""
    runtime: str
    """The module that runs the result."""
    attention: str = "eager"
    """The form of attention that its compiler wants, as in `electra.build.graph.dense_graph`."""
    calibrated: bool = False
    """Whether it needs texts to calibrate with."""

    def require(self) -> None:
        """Nothing, when everything needed is installed.

        Raises:
            UserError: the line to type.
        """
        for package in (*self.packages, self.runtime):
            require(package, EXTRAS[package])

    def builder(self) -> Build:
        """The function that does it."""
        module, function = self.build.split(":")
        found: Build = getattr(importlib.import_module(module), function)
        return found


def _onnx(summary: str, build: str, *, calibrated: bool = False) -> Target:
    return Target(summary=summary, build=build, packages=("onnx", "onnxscript"), runtime="onnxruntime", calibrated=calibrated)


TARGETS: dict[str, Target] = {
    "onnx": _onnx("ONNX Runtime, fp32, fused", "electra.build.onnx_export:build_fp32"),
    "onnx-fp16": _onnx("ONNX Runtime, weights in half precision", "electra.build.onnx_export:build_fp16"),
    "onnx-int8": _onnx("ONNX Runtime, 8-bit, scales found at run time", "electra.build.quantize:build_dynamic"),
    "onnx-int8-static": _onnx("ONNX Runtime, 8-bit, scales from texts", "electra.build.quantize:build_static", calibrated=True),
}
"""Name -> target."""


def target(name: str) -> Target:
    """The target of a name.

    Raises:
        UserError: there is none.
    """
    if name not in TARGETS:
        raise UserError(f"unknown target '{name}'; {did_you_mean(name, TARGETS)}")
    return TARGETS[name]

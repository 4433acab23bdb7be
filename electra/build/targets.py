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
    machine: str | None = None
    """'module:function' that says why this machine cannot build or run it, or None where it can."""

    def require(self) -> None:
        """Nothing, when everything needed is installed and this machine can do it.

        Raises:
            UserError: the line to type, or what the machine lacks.
        """
        for package in (*self.packages, self.runtime):
            require(package, EXTRAS[package])
        if self.machine is not None:
            module, function = self.machine.split(":")
            if reason := getattr(importlib.import_module(module), function)():
                raise UserError(f"this target cannot be built here: {reason}; choose another")

    def builder(self) -> Build:
        """The function that does it."""
        module, function = self.build.split(":")
        found: Build = getattr(importlib.import_module(module), function)
        return found


def _onnx(summary: str, build: str, *, calibrated: bool = False) -> Target:
    return Target(summary=summary, build=build, packages=("onnx", "onnxscript"), runtime="onnxruntime", calibrated=calibrated)


def _openvino(summary: str, build: str, *, packages: tuple[str, ...] = (), calibrated: bool = False, reason: str = "reason_against") -> Target:
    return Target(
        summary=summary,
        build=f"electra.build.openvino:{build}",
        packages=packages,
        runtime="openvino",
        attention="sdpa",
        calibrated=calibrated,
        machine=f"electra.deploy.openvino_network:{reason}",
    )


TARGETS: dict[str, Target] = {
    "onnx": _onnx("ONNX Runtime, fp32, fused", "electra.build.onnx_export:build_fp32"),
    "onnx-fp16": _onnx("ONNX Runtime, weights in half precision", "electra.build.onnx_export:build_fp16"),
    "onnx-int8": _onnx("ONNX Runtime, 8-bit, scales found at run time", "electra.build.quantize:build_dynamic"),
    "onnx-int8-static": _onnx("ONNX Runtime, 8-bit, scales from texts", "electra.build.quantize:build_static", calibrated=True),
    "openvino": _openvino("OpenVINO, fp32", "build_fp32"),
    "openvino-bf16": _openvino("OpenVINO, bfloat16, for processors that have it", "build_bf16", reason="reason_against_bf16"),
    "openvino-int8": _openvino("OpenVINO, 8-bit by NNCF, scales from texts", "build_int8", packages=("nncf",), calibrated=True),
    "torch-export": Target(
        summary="PyTorch's AOTInductor: a compiled library; needs torch to run, and trust",
        build="electra.build.aot:build",
        packages=(),
        runtime="torch",
        attention="sdpa",
        machine="electra.build.aot:reason_against",
    ),
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

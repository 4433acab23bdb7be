"""A network -> a library compiled by PyTorch's AOTInductor (model.pt2), for processors like this one.

The one target that needs torch to run: the library calls it for its matrix products.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from electra.errors import UserError
from electra.exporting.dense_graph import export_program
from electra.exporting.targets import Job
from electra.inference.aoti_runtime import FACTS, MODEL, package_metadata


def reason_against() -> str | None:
    """Why nothing can be compiled here; None where it can."""
    named = os.environ.get("CXX", "g++")  # where AOTInductor looks
    return None if shutil.which(named) else f"it needs a C++ compiler, and '{named}' is not there (CXX may name another)"


def build(job: Job) -> Mapping[str, Any]:
    """Compile; a minute or more.

    Raises:
        UserError: there is no C++ compiler, or it fails.
    """
    if reason := reason_against():
        raise UserError(f"target torch-export: {reason}; install it, or build another target")
    job.say("compiling with AOTInductor: about a minute")
    graph = job.graph
    _compile(export_program(graph), job.folder / MODEL)
    facts: dict[str, Any] = {"torch": torch.__version__, "inputs": graph.inputs, "outputs": graph.outputs, "min_length": max(2, graph.shortest)}
    # The library ends the process for what is beyond these.
    facts |= {"vocab_size": graph.vocab_size, "type_vocab_size": graph.type_vocab_size, "max_length": graph.max_length}
    (job.folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return {"cpu": package_metadata(job.folder / MODEL).get("AOTI_CPU_ISA", "")}


def _compile(program: torch.export.ExportedProgram, output: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aoti_compile_and_package(program, package_path=str(output))
    except Exception as error:  # what the compiler, Inductor and the packer raise has no class in common
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if "error: " in line), lines[0] if lines else type(error).__name__)
        raise UserError(f"target torch-export: compiling failed ({told[:160]}); build another target") from None

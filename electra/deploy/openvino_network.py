"""model.xml and model.bin run by OpenVINO on the CPU. Imports no torch.

Answers do not depend on the machine where that can be had: left alone, OpenVINO computes in bfloat16 on processors that know it, which moves
logits by a hundredth; here the artefact says which arithmetic it was built for.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.errors import UserError, require

Array = np.ndarray
MODEL, WEIGHTS = "model.xml", "model.bin"
PRECISIONS = ("f32", "bf16")
"""What everything that is not 8-bit is computed in."""


def cpu_abilities() -> tuple[str, ...]:
    """What OpenVINO's CPU plugin can compute in here: 'FP32', 'INT8', 'BF16', ...; nothing where it has no CPU plugin for this processor.

    Raises:
        UserError: OpenVINO is not installed.
    """
    openvino = require("openvino", "openvino")
    try:
        return tuple(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError:
        return ()


def reason_against(precision: str = "f32") -> str | None:
    """Why OpenVINO cannot run here in a precision; None where it can.

    Raises:
        UserError: OpenVINO is not installed.
    """
    abilities = cpu_abilities()
    if not abilities:
        return f"OpenVINO has no CPU plugin for this processor ({platform.machine()})"
    if precision == "bf16" and "BF16" not in abilities:
        return "this processor has no bfloat16 arithmetic (AVX512_BF16 or AMX)"
    return None


class OpenVinoSession:
    """One compiled model: named inputs -> named outputs. One call at a time; further callers wait.

    Attributes:
        inputs: names, in the model's order.
        outputs: names, in the model's order.
        threads: how many compute an answer.
    """

    def __init__(self, folder: Path, *, threads: int = 0, precision: str = "f32", name: str = "") -> None:
        """Compile the model of a folder.

        Args:
            folder: has model.xml and model.bin.
            threads: CPU threads; 0: one per core.
            precision: of PRECISIONS.
            name: what messages call it.

        Raises:
            UserError: OpenVINO is missing or cannot run this here, or the files are no model of it.
        """
        openvino = require("openvino", "openvino")
        name = name or str(folder)
        if precision not in PRECISIONS:
            raise UserError(f"{name} asks for precision '{precision}'; known: {', '.join(PRECISIONS)}; it is damaged: build it again")
        if reason := reason_against(precision):
            raise UserError(f"{name} cannot run here: {reason}; build another target")
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Threads tied to cores would all be tied to the same ones in every process of a server.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        # Read, not mapped: a file that shrinks under a mapping ends the process.
        core.set_property({"ENABLE_MMAP": False})
        try:
            model = core.read_model(folder / MODEL, folder / WEIGHTS)
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise UserError(f"{name}: OpenVINO cannot read its model ({_last_line(error)}); build it again") from None
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()
        self.inputs = tuple(port.get_any_name() for port in self._compiled.inputs)
        self.outputs = tuple(port.get_any_name() for port in self._compiled.outputs)
        self.threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))

    def run(self, inputs: Mapping[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
        """Inputs by name -> outputs by name, copies of one's own; `wanted`: these alone."""
        with self._lock:
            self._request.infer({name: inputs[name] for name in self.inputs}, share_inputs=True)
            return {name: np.array(self._request.get_tensor(name).data) for name in wanted or self.outputs}


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__

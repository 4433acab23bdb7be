"""Model files of artifacts, run on the CPU by ONNX Runtime (model.onnx) or OpenVINO (model.xml and model.bin). Imports no torch.

Answers do not depend on the machine where that can be had: left alone, OpenVINO computes in bfloat16 on processors that know it, which moves
logits by a hundredth; here the artifact says which arithmetic it was built for.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from electra.errors import UserError, require

Array = np.ndarray
ONNX_FILE = "model.onnx"
SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""On a CPU the fused operation takes three times as long as an addition and a layer norm."""
MODEL, WEIGHTS = "model.xml", "model.bin"
"""Files of OpenVINO."""
PRECISION_KEY = ("electra", "precision")
"""Place in model.xml of the precision."""
LENGTH_KEY = ("electra", "max_length")
"""Place in model.xml of the longest row."""
STRIDE = 8
"""Rows are filled up to a multiple of this: OpenVINO compiles again for every new length, which takes as long as several answers."""
PRECISIONS = ("f32", "bf16")
"""Precision of everything that is not 8-bit."""


# ---- ONNX Runtime ----


class OnnxRunner:
    """A session of ONNX Runtime; safe to call from several threads at once.

    Attributes:
        inputs, outputs: their names.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = frozenset(port.name for port in session.get_inputs())
        self.outputs = frozenset(port.name for port in session.get_outputs())

    def __call__(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """See `electra.inference.backends.Runner`."""
        outputs: list[Array] = self.session.run(list(wanted), dict(inputs))
        return outputs


def open_onnx(folder: Path, threads: int = 0, file: str = ONNX_FILE) -> OnnxRunner:
    """The model.onnx of a folder, or another file in it, ready; `threads` 0: one per core.

    Raises:
        UserError: ONNX Runtime is missing, or cannot read the file.
    """
    onnxruntime = require("onnxruntime", "runtime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Lengths change from batch to batch: a plan of memory for each would only grow.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS)
    except Exception as error:  # its exceptions have no common class but this
        raise UserError(f"{folder / file} cannot be run by ONNX Runtime {onnxruntime.__version__} ({str(error)[:200]}); build it again") from None
    return OnnxRunner(session)


# ---- OpenVINO ----


@cache
def core() -> Any:
    """This process's OpenVINO core; it is never closed.

    Every core gives its thread a stack for signal handlers, and takes it away when it is closed. Of two cores that are not closed in the reverse
    order the thread keeps one that is gone, and the next signal ends the process without a word.

    Raises:
        UserError: OpenVINO is not installed.
    """
    opened = require("openvino", "openvino").Core()
    # Read, not mapped: a file that shrinks under a mapping ends the process. And nothing is left in a cache.
    opened.set_property({"ENABLE_MMAP": False, "CACHE_DIR": ""})
    return opened


def cpu_abilities() -> tuple[str, ...]:
    """What OpenVINO's CPU plugin can compute in here: 'FP32', 'INT8', 'BF16', ...; empty where it has no CPU plugin for this processor.

    Raises:
        UserError: OpenVINO is not installed.
    """
    try:
        return tuple(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
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


def reason_against_bf16() -> str | None:
    """`reason_against` for bfloat16."""
    return reason_against("bf16")


class OpenVinoRunner:
    """One compiled model. One call at a time; further callers wait.

    Attributes:
        threads: how many compute an answer.
        precision: what everything that is not 8-bit is computed in.
        inputs, outputs: their names.
    """

    def __init__(self, compiled: Any, precision: str, max_length: int) -> None:
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.precision = precision
        self._max_length = max_length
        self.inputs = frozenset(port.get_any_name() for port in compiled.inputs)
        # An output may also have a name that OpenVINO gave it.
        self.outputs = frozenset(name for port in compiled.outputs for name in port.get_names())
        # Outputs with a row's tokens on their second axis: only there is that axis open.
        token_wise = [port for port in compiled.outputs if len(port.partial_shape) > 1 and port.partial_shape[1].is_dynamic]
        self._token_wise = {name for port in token_wise for name in port.get_names()}
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """See `electra.inference.backends.Runner`; the arrays are copies, the next call does not change them."""
        length = inputs["input_ids"].shape[1]
        filled = max(length, min(-(-length // STRIDE) * STRIDE, self._max_length))
        feed = {name: self._fill(name, inputs[name], length, filled) for name in self.inputs}
        with self._lock:
            self._request.infer(feed, share_inputs=True)
            found = {name: self._request.get_tensor(name).data for name in wanted}
            return [np.array(found[name][:, :length] if name in self._token_wise else found[name]) for name in wanted]

    def _fill(self, name: str, values: Array, length: int, filled: int) -> Array:
        """A grid (B, L) with padding at the end; positions (M,), row * L + column, for grids of the new length."""
        if values.ndim == 1:
            return values + values // length * (filled - length)
        return np.pad(values, ((0, 0), (0, filled - length))) if filled > length else values


def open_openvino(folder: Path, threads: int = 0) -> OpenVinoRunner:
    """The model.xml and model.bin of a folder, ready; `threads` 0: one per core.

    Raises:
        UserError: OpenVINO is missing or cannot run this here, or the files are no model of it.
    """
    openvino = require("openvino", "openvino")
    if reason := reason_against():
        raise UserError(f"{folder / MODEL} cannot run here: {reason}; build another target")
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Threads tied to cores would all be tied to the same ones in every process of a server.
        "ENABLE_CPU_PINNING": False,
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        model = core().read_model(folder / MODEL, folder / WEIGHTS)
        precision = str(model.get_rt_info(list(PRECISION_KEY)).value) if model.has_rt_info(list(PRECISION_KEY)) else "f32"
        longest = str(model.get_rt_info(list(LENGTH_KEY)).value) if model.has_rt_info(list(LENGTH_KEY)) else "0"
        if precision not in PRECISIONS:
            raise UserError(f"{folder / MODEL} asks for precision '{precision}'; known: {', '.join(PRECISIONS)}; build it again")
        if reason := reason_against(precision):
            raise UserError(f"{folder / MODEL} cannot run here: {reason}; build another target")
        compiled = core().compile_model(model, "CPU", options | {"INFERENCE_PRECISION_HINT": precision})
    except RuntimeError as error:
        raise UserError(f"{folder / MODEL} cannot be run by OpenVINO {openvino.__version__[:8]} ({_last_line(error)}); build it again") from None
    return OpenVinoRunner(compiled, precision, int(longest) if longest.isdecimal() else 0)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__

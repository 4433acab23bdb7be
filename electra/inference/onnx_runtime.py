"""model.onnx, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from electra.errors import UserError

FILE = "model.onnx"
UNHELPFUL = ["SkipLayerNormFusion"]
"""On a CPU the fused operation takes three times as long as an addition and a layer norm."""


class OnnxRunner:
    """A session of ONNX Runtime; safe to call from several threads at once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session

    def __call__(self, inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> list[np.ndarray]:
        """See `electra.inference.backends.Runner`."""
        outputs: list[np.ndarray] = self.session.run(list(wanted), dict(inputs))
        return outputs


def open_runner(folder: Path, threads: int = 0) -> OnnxRunner:
    """The model.onnx of a folder, ready; `threads` 0: one per core.

    Raises:
        UserError: ONNX Runtime cannot read it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Lengths change from batch to batch: a plan of memory for each would only grow.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"], disabled_optimizers=UNHELPFUL)
    except Exception as error:  # its exceptions have no common class but this
        raise UserError(f"{folder / FILE} cannot be run by ONNX Runtime {onnxruntime.__version__} ({str(error)[:200]}); build it again") from None
    return OnnxRunner(session)

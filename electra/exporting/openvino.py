"""A network -> OpenVINO's model.xml and model.bin: fp32, for bfloat16, or 8-bit by NNCF.

Neither package may send telemetry: `electra.errors.require` imports them without it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from electra.errors import require
from electra.exporting.dense_graph import export_program
from electra.exporting.onnx_int8 import calibration_batches
from electra.exporting.targets import Job
from electra.inference.runtimes import LENGTH_KEY, MODEL, PRECISION_KEY


def build_fp32(job: Job) -> Mapping[str, Any]:
    """fp32 weights, fp32 arithmetic on every machine."""
    _save(_converted(job), job, "f32")
    return {"precision": "f32"}


def build_bf16(job: Job) -> Mapping[str, Any]:
    """fp16 weights, bfloat16 arithmetic: only for processors with bfloat16."""
    _save(_converted(job), job, "bf16")
    return {"precision": "bf16"}


def build_int8(job: Job) -> Mapping[str, Any]:
    """8-bit weights (embeddings too) and 8-bit matmuls with static scales from the job's texts; the rest in fp32.

    ModelType.TRANSFORMER excludes the sensitive parts of attention and smooths the inputs of matmuls.
    """
    nncf = require("nncf", "build")
    # One text at a time: the ranges are those of real tokens, not of padding.
    feeds = list(calibration_batches(job, 1))
    model = _converted(job)
    job.say(f"calibrating on {len(feeds)} texts")
    with _quiet():
        model = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds), fast_bias_correction=True)
    _save(model, job, "f32")
    return {"precision": "f32", "calibration_texts": len(feeds)}


def _converted(job: Job) -> Any:
    """An openvino.Model whose inputs and outputs have the graph's names."""
    openvino = require("openvino", "openvino")
    job.say("converting to OpenVINO")
    with _quiet():
        model = openvino.convert_model(export_program(job.graph))
    for ports, names in ((model.inputs, job.graph.inputs), (model.outputs, job.graph.outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    return model


def _save(model: Any, job: Job, precision: str) -> None:
    """`precision` of the computation, which is written into the file; bf16 weights are stored as fp16."""
    model.set_rt_info(precision, list(PRECISION_KEY))
    model.set_rt_info(str(job.graph.max_length), list(LENGTH_KEY))
    require("openvino", "openvino").save_model(model, job.folder / MODEL, compress_to_fp16=precision == "bf16")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's progress bars and tables, and other libraries' warnings to their developers."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

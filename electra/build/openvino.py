"""A network -> OpenVINO's model.xml and model.bin: fp32, for bfloat16, or 8-bit by NNCF.

Neither package may report home: `electra.errors.require` imports them with their telemetry shut out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from electra.build.graph import POSITIONS
from electra.build.program import export_program
from electra.build.targets import Job
from electra.deploy.openvino_network import MODEL, reason_against
from electra.errors import UserError, require

CALIBRATION_TEXTS = 300
"""NNCF's own choice; more changed nothing that mattered."""


def build_fp32(job: Job) -> Mapping[str, Any]:
    """fp32 weights, fp32 arithmetic on every machine."""
    _save(_converted(job), job)
    return {"precision": "f32"}


def build_bf16(job: Job) -> Mapping[str, Any]:
    """fp16 weights, bfloat16 arithmetic: only for processors that have it.

    Raises:
        UserError: this one has not, so that nothing built here could be tried here.
    """
    if reason := reason_against("bf16"):
        raise UserError(f"target openvino-bf16: {reason}; build target openvino")
    _save(_converted(job), job, half=True)
    return {"precision": "bf16"}


def build_int8(job: Job) -> Mapping[str, Any]:
    """8-bit weights (the embeddings' too) and 8-bit products whose scales come from the job's texts; the rest in fp32.

    ModelType.TRANSFORMER keeps what attention cannot lose out of it and smooths the products' inputs.
    """
    nncf = require("nncf", "build")
    feeds = calibration_feeds(job)
    model = _converted(job)
    job.say(f"calibrating on {len(feeds)} texts")
    with _quiet():
        model = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds), fast_bias_correction=True)
    _save(model, job)
    return {"precision": "f32", "calibration_texts": len(feeds)}


def calibration_feeds(job: Job) -> list[dict[str, np.ndarray]]:
    """The job's texts, at most CALIBRATION_TEXTS of them, evenly chosen -> inputs by name, a row each."""
    graph, tokenizer = job.graph, job.tokenizer
    texts = [job.texts[i] for i in np.unique(np.linspace(0, len(job.texts) - 1, CALIBRATION_TEXTS).astype(int))] if job.texts else []
    out = []
    for text in texts:
        parts = tokenizer.encode([part for part in text.split("\t", 1) if part.strip()])
        if not parts:
            continue
        # The second part gives way: of a question and its context that is the context.
        room = graph.max_length - 1 - len(parts)
        first = parts[0][: room if len(parts) == 1 else room // 2]
        ids, segments = tokenizer.wrap(first, parts[1][: room - len(first)]) if len(parts) > 1 else tokenizer.wrap(first)
        padding = [0] * max(0, graph.shortest - len(ids))
        rows = ([*ids, *padding], [1] * len(ids) + padding, [*segments, *padding])
        feed = {name: np.array([row], np.int64) for name, row in zip(graph.inputs, rows, strict=False)}
        if POSITIONS in graph.inputs:
            feed[POSITIONS] = np.arange(1, len(ids), 7, dtype=np.int64)
        out.append(feed)
    if not out:
        raise UserError("no text to calibrate with; give some by --calibrate FILE")
    return out


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


def _save(model: Any, job: Job, *, half: bool = False) -> None:
    require("openvino", "openvino").save_model(model, job.folder / MODEL, compress_to_fp16=half)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's progress bars and tables of what it left alone, and other libraries' warnings to their authors."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

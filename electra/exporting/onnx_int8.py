"""A fused ONNX network -> 8 bits for matmuls, attention and embeddings, by dynamic or static quantization.

Weights are rounded per column, embeddings per row, activations per tensor. A static build has the scale of each activation, found by
calibration on texts, written into the file; where a static scale rounds much worse than a dynamic one, that activation stays dynamic.

Also the files of a folder for the hub, which hold one network in several number formats.

The last part builds for OpenVINO, whose 8-bit form is calibrated on the same batches. Neither package may send telemetry:
`electra.errors.require` imports them without it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra import environment
from electra.errors import require
from electra.exporting.dense_graph import export_program
from electra.exporting.onnx import (
    FILE,
    OPSET,
    TOLERANCE,
    check,
    exported_model,
    fused_model,
    halve_weights,
    operations,
    quiet,
    share_tables,
    write_model,
)
from electra.inference.artifact import HUB_FILES
from electra.inference.runtimes import LENGTH_KEY, MODEL, PRECISION_KEY

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from electra.exporting.targets import Job

Array = np.ndarray

QUANTIZED = ("MatMul", "Gemm", "Attention")
SMALLEST_TABLE = 1 << 12
"""Smaller embedding tables stay in fp32."""
SMALL_HEAD = 1 << 18
"""Smaller matmuls of a head stay in fp32: they cost little, and every logit depends on them."""
BATCH = 8
"""Texts calibrated at a time."""
MOST_VALUES = 1 << 14
"""Values of an activation sampled from each batch."""
SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Fractions of an activation's full range tried as its range: clipping rare extremes may round the rest better."""
WORSE = 1.4
"""An activation stays dynamic if its static mean squared rounding error is above this many times the dynamic one."""


def build_dynamic(job: Job) -> Mapping[str, Any]:
    """model.onnx in 8 bits with dynamic scales of activations."""
    model, excluded = quantized_model(fused_model(job.graph, embeddings=False))
    write_model(model, job.folder / FILE)
    done = {"opset": OPSET, "operations": operations(model), "excluded": excluded, "reduced_range": reduces_range()}
    return {**done, "largest_difference": check(job.graph, job.folder / FILE, tolerance=np.inf)}


def build_static(job: Job) -> Mapping[str, Any]:
    """model.onnx in 8 bits with static scales of activations, from calibration on texts."""
    fused = fused_model(job.graph, embeddings=False)
    model, excluded = quantized_model(fused)
    wanted = sorted({node.input[0] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"})
    job.say(f"calibrating {len(wanted)} activations on {len(job.texts)} texts")
    ranges = calibrate(fused, wanted, job)
    dynamic = sorted(name for name, found in ranges.items() if found.static_error > WORSE * found.dynamic_error)
    fix_scales(model, {name: found for name, found in ranges.items() if name not in dynamic})
    fuse_static_matmuls(model)
    write_model(model, job.folder / FILE)
    return {
        "opset": OPSET,
        "operations": operations(model),
        "excluded": excluded,
        "scales_at_run_time": dynamic,
        "num_scales": len(wanted) - len(dynamic),
        "num_texts": len(job.texts),
        "reduced_range": reduces_range(),
        "largest_difference": check(job.graph, job.folder / FILE, tolerance=np.inf),
    }


def build_hub(job: Job) -> dict[str, float]:
    """The files of `HUB_FILES` for the job's number formats -> the largest difference of each from PyTorch's logits.

    Of the operations of ONNX's own set alone, which every runtime has; ONNX Runtime fuses them when it loads a file. fp16 is weights in half
    precision, computed in fp32. int8 and q8 are one model: signed weights of 7 bits, since the file may run on an x86 processor without VNNI.
    uint8 has unsigned weights of 8 bits, whose sums overflow nowhere.
    """
    from onnxruntime.quantization import QuantType

    plain, found = exported_model(job.graph), {}
    plain.producer_name, plain.producer_version, plain.doc_string = "electra", "", ""
    for node in plain.graph.node:
        node.doc_string = ""
    for port in [port for port in plain.graph.input if all(port.name not in node.input for node in plain.graph.node)]:
        plain.graph.input.remove(port)
    for dtype in job.dtypes:
        model, tolerance = copy.deepcopy(plain), np.inf
        if dtype in ("fp32", "fp16"):
            share_tables(model)
            tolerance = TOLERANCE
        if dtype == "fp16":
            halve_weights(model)
            tolerance = 0.05
        elif dtype != "fp32":
            kind = QuantType.QUInt8 if dtype == "uint8" else QuantType.QInt8
            model, _ = quantized_model(model, kind, reduce_range=dtype != "uint8")
        path = job.folder / HUB_FILES[dtype]
        path.parent.mkdir(exist_ok=True)
        write_model(model, path)
        found[dtype] = check(job.graph, path, tolerance=tolerance)
    return found


def quantized_model(model: ModelProto, weight_type: Any = None, *, reduce_range: bool | None = None) -> tuple[ModelProto, list[str]]:
    """A model -> the same in 8 bits with dynamic scales, and the names of the matmuls left in fp32.

    `weight_type`: of onnxruntime.quantization.QuantType; None: QInt8. `reduce_range`: None: as this machine needs it.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = onnx.ModelProto()
    small.CopyFrom(model)
    model = quantize_tables(small)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    matmuls = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    excluded = sorted(node.name for node in matmuls if "/head/" in node.name and sizes.get(node.input[1], 0) < SMALL_HEAD)
    # The quantizer first turns a Gemm into a MatMul with this name.
    renamed = [f"{node.name}_MatMul" for node in matmuls if node.op_type == "Gemm" and node.name in excluded]
    with tempfile.TemporaryDirectory() as folder, quiet():
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        write_model(model, before)
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=[*excluded, *renamed],
            per_channel=True,
            reduce_range=reduces_range() if reduce_range is None else reduce_range,
            weight_type=QuantType.QInt8 if weight_type is None else weight_type,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
        return onnx.load(str(after)), excluded


def quantize_tables(model: ModelProto) -> ModelProto:
    """Embedding tables in 8 bits with a scale for each row; other readers of a table (a mpositions LM's output) keep fp32.

    ONNX Runtime's quantization has one scale for a whole table, and quantizes the layer norm after it too.
    """
    import onnx
    from onnx import helper, numpy_helper

    tables = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        name, index, out = node.input[0], node.input[1], node.output[0]
        if np.prod(tables[name].dims) < SMALLEST_TABLE:
            # A copy: the quantizer transposes a table that a matmul reads too.
            model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tables[name]), f"{name}_table"))
            node.input[0] = f"{name}_table"
            continue
        values = numpy_helper.to_array(tables[name])
        scales = np.maximum(np.abs(values).max(1, keepdims=True), 1e-12).astype(np.float32) / 127
        rounded = np.clip(np.round(values / scales), -127, 127).astype(np.int8)
        model.graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_rows"))
        model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_row_scales"))
        nodes[-1] = helper.make_node("Gather", [f"{name}_rows", index], [f"{out}_rows"], name=f"{node.name}_rows")
        nodes.append(helper.make_node("Gather", [f"{name}_row_scales", index], [f"{out}_scales"], name=f"{node.name}_scales"))
        nodes.append(helper.make_node("Cast", [f"{out}_rows"], [f"{out}_float"], name=f"{node.name}_float", to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out], name=f"{node.name}_scaled"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)
    return model


def reduces_range() -> bool:
    """Whether weights take 7 bits: without VNNI instructions, sums of 8-bit products overflow 16 bits on x86."""
    found = environment.instruction_set()
    return "avx2" in found and "vnni" not in found


# ---- static scales ----


@dataclass(frozen=True)
class ActivationRange:
    """Calibrated range of an activation."""

    low: float
    high: float
    static_error: float
    """Mean squared rounding error with this range."""
    dynamic_error: float
    """The same with a dynamic range for each batch."""


def calibrate(model: ModelProto, names: Sequence[str], job: Job) -> dict[str, ActivationRange]:
    """Run texts through the fp32 model -> the range of each named activation that rounds it best."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The runtime's own fusions would remove tensors that are to be observed.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    samples: dict[str, list[Array]] = {name: [] for name in names}
    edges: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for inputs in calibration_batches(job):
        for name, values in zip(names, session.run(list(names), inputs), strict=True):
            flat = values.reshape(-1)
            edges[name].append((min(0.0, float(flat.min())), max(0.0, float(flat.max()))))
            samples[name].append(flat if flat.size <= MOST_VALUES else random.choice(flat, MOST_VALUES, replace=False))
    return {name: best_range(samples[name], edges[name]) for name in names}


def calibration_batches(job: Job, batch_size: int = BATCH) -> Iterator[dict[str, Array]]:
    """The job's texts as inputs of its graph, grouped by length."""
    wrapped = []
    for text in job.texts:
        first, _, second = text.partition("\t")
        encoded = job.tokenizer.encode([first, second] if second else [first])
        wrapped.append(job.tokenizer.wrap(encoded[0], encoded[1] if second else None, max_length=job.max_length))
    wrapped.sort(key=lambda item: len(item[0]))
    for start in range(0, len(wrapped), batch_size):
        rows = wrapped[start : start + batch_size]
        length = max(job.graph.shortest, max(len(ids) for ids, _ in rows))
        grids = np.zeros((3, len(rows), length), dtype=np.int64)
        for row, (ids, segments) in enumerate(rows):
            grids[0, row, : len(ids)], grids[1, row, : len(ids)], grids[2, row, : len(ids)] = ids, 1, segments
        inputs = dict(zip(job.graph.inputs, grids, strict=False))
        if len(job.graph.inputs) > len(grids):
            # A mpositions LM predicts every seventh token, mpositions, as at inference.
            positions = np.flatnonzero(grids[1])[1::7] if grids[1].sum() > 1 else np.flatnonzero(grids[1])
            grids[0].reshape(-1)[positions] = job.tokenizer.mask_id
            inputs[job.graph.inputs[3]] = positions.astype(np.int64)
        yield inputs


def best_range(samples: Sequence[Array], edges: Sequence[tuple[float, float]]) -> ActivationRange:
    """Samples of an activation, batch by batch, and each batch's smallest and largest value -> the range with the least rounding error."""
    low, high = min(edge[0] for edge in edges), max(edge[1] for edge in edges)
    together = np.concatenate(samples)
    together = together[:: max(1, len(together) >> 18)]
    # One end after the other: outliers are rarely on both.
    high = min((high * shrink for shrink in SHRINKS), key=lambda end: rounding_error(together, low, end))
    low = min((low * shrink for shrink in SHRINKS), key=lambda end: rounding_error(together, end, high))
    dynamic = [rounding_error(values, *edge) for values, edge in zip(samples, edges, strict=True)]
    sizes = [len(values) for values in samples]
    return ActivationRange(low, high, rounding_error(together, low, high), float(np.average(dynamic, weights=sizes)))


def rounding_error(values: Array, low: float, high: float) -> float:
    """Mean squared error of values rounded to 256 steps from low to high."""
    scale, zero = scale_of(low, high)
    rounded = (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * scale
    return float(np.square(values - rounded, dtype=np.float64).mean())


def scale_of(low: float, high: float) -> tuple[float, int]:
    """A range around zero -> the scale and the zero point (0 .. 255)."""
    scale = max(high - low, 1e-8) / 255
    return scale, int(np.clip(round(-low / scale), 0, 255))


def fix_scales(model: ModelProto, ranges: Mapping[str, ActivationRange]) -> None:
    """Replace dynamic scales by static ones."""
    from onnx import helper, numpy_helper

    nodes = []
    for node in model.graph.node:
        if node.op_type != "DynamicQuantizeLinear" or node.input[0] not in ranges:
            nodes.append(node)
            continue
        found = ranges[node.input[0]]
        scale, zero = scale_of(found.low, found.high)
        model.graph.initializer.append(numpy_helper.from_array(np.array(scale, dtype=np.float32), node.output[1]))
        model.graph.initializer.append(numpy_helper.from_array(np.array(zero, dtype=np.uint8), node.output[2]))
        nodes.append(helper.make_node("QuantizeLinear", [node.input[0], *node.output[1:]], node.output[:1], name=node.name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def fuse_static_matmuls(model: ModelProto) -> None:
    """Fuse a matmul with static scale, its cast, scaling and bias into one operation; the runtime does so only for dynamic scales."""
    from onnx import helper

    constants, every = {tensor.name for tensor in model.graph.initializer}, list(model.graph.node)
    readers: dict[str, list[NodeProto]] = {}
    for node in every:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made = {name: node for node in every for name in node.output}
    replaced: dict[int, NodeProto] = {}
    gone: set[int] = set()
    for matmul in every:
        if matmul.op_type != "MatMulInteger" or matmul.input[2] not in constants:
            continue
        (cast,) = readers[matmul.output[0]]
        (scaling,) = readers[cast.output[0]]
        scales = made[next(name for name in scaling.input if name != cast.output[0])]
        last, bias = scaling, []
        after = readers.get(scaling.output[0], [])
        if len(after) == 1 and after[0].op_type == "Add":
            bias = [name for name in after[0].input if name in constants]
            last = after[0] if bias else scaling
        values, weights, *zeros = matmul.input
        inputs = [values, weights, *scales.input, *zeros, *bias]
        replaced[id(last)] = helper.make_node("MatMulIntegerToFloat", inputs, last.output, name=matmul.name, domain="com.microsoft")
        gone |= {id(node) for node in (matmul, cast, scaling, scales, last)}
    nodes = [replaced.get(id(node), node) for node in every if id(node) not in gone or id(node) in replaced]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


# ---- OpenVINO: model.xml and model.bin, fp32, for bfloat16, or 8-bit by NNCF on the same batches ----


def build_openvino_fp32(job: Job) -> Mapping[str, Any]:
    """fp32 weights, fp32 arithmetic on every machine."""
    _save(_converted(job), job, "f32")
    return {"precision": "f32"}


def build_openvino_bf16(job: Job) -> Mapping[str, Any]:
    """fp16 weights, bfloat16 arithmetic: only for processors with bfloat16."""
    _save(_converted(job), job, "bf16")
    return {"precision": "bf16"}


def build_openvino_int8(job: Job) -> Mapping[str, Any]:
    """8-bit weights (embeddings too) and 8-bit matmuls with static scales from the job's texts; the rest in fp32.

    ModelType.TRANSFORMER excludes the sensitive parts of attention and smooths the inputs of matmuls.
    """
    nncf = require("nncf", "build")
    # One text at a time: the ranges are those of real tokens, not of padding.
    feeds = list(calibration_batches(job, 1))
    model = _converted(job)
    job.say(f"calibrating on {len(feeds)} texts")
    with _quiet_nncf():
        model = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds), fast_bias_correction=True)
    _save(model, job, "f32")
    return {"precision": "f32", "calibration_texts": len(feeds)}


def _converted(job: Job) -> Any:
    """An openvino.Model whose inputs and outputs have the graph's names."""
    openvino = require("openvino", "openvino")
    job.say("converting to OpenVINO")
    with _quiet_nncf():
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
def _quiet_nncf() -> Iterator[None]:
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

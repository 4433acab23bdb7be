"""A network on padded batches -> an ONNX file in which attention, layer norms, gelus and embeddings are one operation each.

This is PyTorch's older exporter (`dynamo=False`), because ONNX Runtime's fusions recognize its output: with the newer one they fuse no
attention, and onnxscript's own fusions end at MultiHeadAttention with q, k and v in three matmuls, which cannot be quantized as one. Residual
additions are not fused into the layer norms: on a CPU the fused SkipLayerNormalization takes three times as long.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.errors import UserError
from electra.exporting.dense_graph import LOGITS, START, STATES
from electra.inference.runtimes import open_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

    from electra.exporting.dense_graph import DenseGraph
    from electra.exporting.targets import Job

FILE = "model.onnx"
OPSET = 17
"""The last with LayerNormalization that the older exporter writes."""
LARGEST_PROTOBUF = 2_000_000_000
TOLERANCE = 1e-3
"""Largest allowed difference between the logits of an fp32 build and PyTorch's, relative to the largest logit."""
SMALLEST_HALF = 1024
"""Smaller weights stay in fp32: biases and norms, where half precision saves nothing."""


def build_fp32(job: Job) -> Mapping[str, Any]:
    """model.onnx, fused."""
    model = fused_model(job.graph)
    write_model(model, job.folder / FILE)
    return {"opset": OPSET, "operations": operations(model), "largest_difference": check(job.graph, job.folder / FILE)}


def build_fp16(job: Job) -> Mapping[str, Any]:
    """model.onnx, fused, its weights stored in half precision.

    They become fp32 again when the file is loaded: ONNX Runtime's CPU kernels have no half precision for the fused operations, so the file
    is half as large but not faster.
    """
    model = fused_model(job.graph)
    halved = halve_weights(model)
    write_model(model, job.folder / FILE)
    difference = check(job.graph, job.folder / FILE, tolerance=0.05)
    return {"opset": OPSET, "operations": operations(model), "halved_weights": halved, "largest_difference": difference}


def fused_model(graph: DenseGraph, *, embeddings: bool = True) -> ModelProto:
    """Export and fuse; `embeddings`: also the three embedding tables and their layer norm."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = embeddings
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    attention: Any = graph.encoder.layers[0].attention
    with quiet():
        optimized = optimize_model(
            exported_model(graph),
            model_type="bert",
            num_heads=attention.num_heads,
            hidden_size=attention.num_heads * attention.head_size,
            optimization_options=options,
            opt_level=0,
        )
    model: ModelProto = optimized.model
    for node in model.graph.node:
        # ONNX Runtime's quantization leaves the operation in fp32 where these sizes, which it infers anyway, are written out.
        for attribute in [a for a in node.attribute if a.name == "qkv_hidden_sizes"]:
            node.attribute.remove(attribute)
    del model.graph.value_info[:]
    if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
        model.opset_import.add(domain="com.microsoft", version=1)
    model.producer_name, model.producer_version, model.doc_string = "electra", "", ""
    return model


def exported_model(graph: DenseGraph) -> ModelProto:
    """Export without fusing.

    Raises:
        UserError: the network is too large for one ONNX file.
    """
    import onnx
    import torch

    size = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    if size > LARGEST_PROTOBUF:
        raise UserError(f"the network has {size / 1e9:.1f} GB of weights, an ONNX file holds at most 2; build it for target openvino")
    stream = io.BytesIO()
    with quiet(), torch.no_grad():
        torch.onnx.export(
            graph,
            graph.example(),
            stream,  # type: ignore[arg-type]
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.dynamic_axes(),
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(stream.getvalue())


def write_model(model: ModelProto, path: Path) -> None:
    """Write a file and run ONNX's checker on it.

    Raises:
        UserError: it cannot be written.
    """
    import onnx
    from google.protobuf.message import EncodeError

    try:
        content = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise UserError(f"{path} cannot be written ({error}); expected a model below 2 GB") from None
    path.write_bytes(content)
    onnx.checker.check_model(content, full_check=False)


def share_tables(model: ModelProto) -> int:
    """Matmuls with a copy of a table that is read elsewhere, transposed (a masked LM's output), read the table itself -> their number.

    ONNX Runtime transposes it once, when it loads the file.
    """
    from onnx import helper, numpy_helper

    elsewhere = {name for node in model.graph.node if node.op_type != "MatMul" for name in node.input}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    tables = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name in elsewhere}
    copies: dict[str, str] = {}
    for weight in {node.input[1] for node in model.graph.node if node.op_type == "MatMul"} & (tensors.keys() - elsewhere):
        wanted = numpy_helper.to_array(tensors[weight]).T
        same = [name for name, table in tables.items() if table.shape == wanted.shape and np.array_equal(table, wanted)]
        if same:
            copies[weight] = same[0]
    for weight, name in copies.items():
        model.graph.initializer.remove(tensors[weight])
        model.graph.node.insert(0, helper.make_node("Transpose", [name], [weight], name=f"{weight}_transposed", perm=[1, 0]))
    return len(copies)


def halve_weights(model: ModelProto) -> int:
    """Turn every large fp32 weight into fp16 and a cast -> their number.

    Raises:
        UserError: a weight is out of range for half precision.
    """
    import onnx
    from onnx import helper, numpy_helper

    count, casts = 0, []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < SMALLEST_HALF:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise UserError(
                f"weight {tensor.name} reaches {np.abs(values).max():.3g}, out of range for half precision; build with --target onnx, or dtype fp32"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT))
        count += 1
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return count


def operations(model: ModelProto) -> dict[str, int]:
    """Operation -> its number, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def check(graph: DenseGraph, path: Path, *, tolerance: float = TOLERANCE) -> float:
    """Run the file and PyTorch on a small example -> the largest difference of their logits.

    Raises:
        UserError: they differ by more than `tolerance` of the largest logit, or the file cannot be read.
    """
    import torch

    run = open_onnx(path.parent, file=path.name)
    inputs = graph.example(3, 40)
    name = next((name for name in (LOGITS, START) if name in graph.outputs), STATES)
    ports = {port.name for port in run.session.get_inputs()}
    with torch.inference_mode():
        expected = graph(*inputs)[graph.outputs.index(name)].numpy()
    (found,) = run({key: value.numpy() for key, value in zip(graph.inputs, inputs, strict=True) if key in ports}, [name])
    if graph.dynamic_axes()[name].get(1) == "length":
        # What is computed for padding has no meaning.
        expected, found = (values[inputs[1].numpy() == 1] for values in (expected, found))
    difference = float(np.abs(expected - found).max())
    if not difference <= tolerance * max(1.0, float(np.abs(expected).max())):
        raise UserError(f"the built network differs from the checkpoint by {difference:.3g} in its logits; please report this, and use --target onnx")
    return difference


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's and optimizer's messages to their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

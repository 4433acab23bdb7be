"""TensorFlow checkpoints written with numpy, and the variables of the original code from weights of `transformers` (the oracle)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from protobuf_writer import field, varint
from support.conformance import case

from electra.protobuf import masked_crc, slice_key

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def shape_of(sizes: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in sizes)


def entry(array: np.ndarray, offset: int, kind: int = 1, **changes: bytes | int) -> bytes:
    data = array.tobytes()
    values = {"dtype": kind, "shape": shape_of(array.shape), "offset": offset, "size": len(data)} | changes
    numbers = {"dtype": 1, "shape": 2, "offset": 4, "size": 5}
    crc = varint(6 << 3 | 5) + struct.pack("<I", masked_crc(data))
    return b"".join(field(numbers[name], value) for name, value in values.items()) + crc


def write_bundle(prefix: Path, entries: Mapping[bytes, bytes], data: bytes) -> None:
    """A table of one data block, keys without shared prefixes."""

    def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
        body = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs) + struct.pack("<II", 0, 1)
        return body + b"\0" + struct.pack("<I", masked_crc(body + b"\0"))

    first = block([(b"", field(1, 1)), *sorted(entries.items())])
    meta = block([])
    index = block([(b"\xff", varint(0) + varint(len(first) - 5))])
    at = len(first)
    footer = varint(at) + varint(len(meta) - 5) + varint(at + len(meta)) + varint(len(index) - 5)
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(first + meta + index + footer.ljust(40, b"\0") + magic)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


FLOAT, HALF, BFLOAT16, INT64 = 1, 19, 14, 9


def extents(slices: tuple[tuple[int, int], ...]) -> bytes:
    """A slice of a partitioned variable; length -1 is the whole dimension."""
    parts = (b"" if length < 0 else (field(1, start) if start else b"") + field(2, length) for start, length in slices)
    return b"".join(field(1, part) for part in parts)


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray], *, kind: int = FLOAT, partitioned: str = "") -> Path:
    """Variables as TensorFlow 1's Saver writes them; `partitioned` names one that is stored in two slices."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    entries, data = {}, b""

    def add(array: np.ndarray) -> bytes:
        nonlocal data
        number = INT64 if array.dtype == np.int64 else kind
        if number == BFLOAT16:
            array = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        elif number == HALF:
            array = array.astype(np.float16)
        array = np.ascontiguousarray(array).reshape(array.shape)
        found = entry(array, len(data), number)
        data += array.tobytes()
        return found

    for name, array in variables.items():
        if name != partitioned:
            entries[name.encode()] = add(array)
            continue
        half = len(array) // 2
        slices = [((start, length), *((0, -1),) * (array.ndim - 1)) for start, length in ((0, half), (half, len(array) - half))]
        entries[name.encode()] = field(1, kind) + field(2, shape_of(array.shape)) + b"".join(field(7, extents(s)) for s in slices)
        for part in slices:
            start, length = part[0]
            entries[slice_key(name, part)] = add(array[start : start + length])
    write_bundle(prefix, entries, data)
    return prefix


ORIGINAL_NAMES = (
    (r"^discriminator_predictions\.dense_prediction\.", "discriminator_predictions.dense_1."),
    (r"^generator_lm_head\.bias$", "generator_predictions.output_bias"),
    (r"^generator_lm_head\.weight$", ""),
    (r"^cls\.predictions\.decoder\.(weight|bias)$", ""),
    (r"^cls\.predictions\.bias$", "cls.predictions.output_bias"),
    (r"^cls\.seq_relationship\.(weight|bias)$", r"cls.seq_relationship.output_\1"),
    (r"^classifier\.(weight|bias)$", r"output_\1"),
    (r"^qa_outputs\.(weight|bias)$", r"cls.squad.output_\1"),
    (r"output_weight$", "output_weights"),
    (r"\.layer\.(\d+)\.", r".layer_\1."),
    (r"_embeddings\.weight$", "_embeddings"),
    (r"LayerNorm\.weight$", "LayerNorm.gamma"),
    (r"LayerNorm\.bias$", "LayerNorm.beta"),
    (r"\.weight$", ".kernel"),
    (r"\.", "/"),
)
"""From names of `transformers` to those of google-research/electra and google-research/bert."""


def original_variables(model: Any, *, scope: str = "", shared_embeddings: bool = False) -> dict[str, np.ndarray]:
    """A model of `transformers` -> the original's variables; `scope` replaces `electra`, whose embeddings may be left to the discriminator."""
    found = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in ORIGINAL_NAMES:
            name = re.sub(pattern, replacement, name)
        if not name or name.endswith("position_ids") or (shared_embeddings and "electra/embeddings/" in name):
            continue
        values = value.numpy()
        found[re.sub(r"^electra\b", scope, name) if scope else name] = values.T if name.endswith("/kernel") else values
    return found


def random_model(kind: str, config: Any, seed: int) -> Any:
    """A model of `transformers` with random weights, biases and norms included."""
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


# ---- small models and electra convert ----

SMALL = {"vocab_size": 90, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
BERT = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}


def exact(*forms: str) -> list[Any]:
    return [case(form, form=f"TF1 checkpoint, {form}", where="convert", outcome="exact") for form in forms]


def refused(*forms: str) -> list[Any]:
    return [case(form, form=f"TF1 checkpoint, {form}", where="convert", outcome="refused") for form in forms]


IDS = torch.tensor([[2, 5, 9, 40, 7, 3, 11, 12, 3]])
SEGMENTS = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1]])


def config(**values: Any) -> Any:
    return transformers.ElectraConfig(**({"max_position_embeddings": 64} | values))


def answers(model: Any) -> Any:
    with torch.no_grad():
        found = model.eval()(input_ids=IDS, token_type_ids=SEGMENTS)
    return found.last_hidden_state if hasattr(found, "last_hidden_state") else found.logits


def convert(source: Path, out: Path, *flags: str) -> int:
    from electra.cli import main

    return main(["convert", str(source), str(out), *flags])


def written(kind: str, folder: Path) -> Any:
    """The output opened by transformers, without a missing or unknown weight."""
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    return model

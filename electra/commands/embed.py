"""texts -> sentence vectors, as a .npy file or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from electra.errors import UserError
from electra.inference import text_io
from electra.inference.predictor import describe, load
from electra.settings import EmbedSettings
from electra.storage import atomic
from electra.terminal import counted


def run(settings: EmbedSettings) -> None:
    """Write one vector per text to the output file, or print them as JSON lines."""
    output = settings.output
    if output is not None:
        if output.suffix not in (".npy", ".jsonl"):
            raise UserError(f"--output {output}: expected a name ending in .npy or .jsonl")
        atomic.fresh_output(output, remedy="give another name, or remove it first")
    text_io.check_readable(settings.file)
    given = {name: getattr(settings, name) for name in ("threads", "batch_size", "max_length", "truncate")}
    model = load(settings.model, role="encoder", **given)
    texts = text_io.read_texts(settings.file, text_field=settings.text_field, pair_field=None, pairs=False)
    inputs = (text.text for text in text_io.reporting(texts, model.tokenizer))
    options = {name: getattr(settings, name) for name in ("normalize", "prompt", "prompt_name", "truncate_dim")}
    vectors = counted(model.iterate_embeddings(inputs, **options), "texts", f"{describe(model)}; {model.modules.describe()}")
    if output is None:
        for line in _json_lines(vectors):
            sys.stdout.write(line)
        return
    with atomic.atomic_file(output) as temporary:
        if output.suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as stream:
                stream.writelines(_json_lines(vectors))
            return
        shape = write_npy(temporary, vectors, model.modules.width(model.backend.hidden_size, settings.truncate_dim))
    if settings.json:
        print(json.dumps({"output": str(output), "shape": shape, "dtype": "float32"}))
    else:
        print(f"{output}: {shape[0]:,} vectors of {shape[1]}, float32")


def _json_lines(vectors: Iterable[np.ndarray]) -> Iterable[str]:
    # Nine significant digits bring a float32 back exactly.
    return ("[" + ", ".join(f"{value:.9g}" for value in vector.tolist()) + "]\n" for vector in vectors)


def write_npy(path: Path, vectors: Iterable[np.ndarray], width: int) -> tuple[int, int]:
    """Vectors (width,) one at a time -> a .npy file of all of them, in constant memory -> its shape.

    The number of rows is known only at the end: the header, which numpy pads, is written again then.
    """

    def header(rows: int) -> None:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})

    rows = 0
    with path.open("wb") as stream:
        header(0)
        after_header = stream.tell()
        for vector in vectors:
            stream.write(vector.astype("<f4").tobytes())
            rows += 1
        stream.seek(0)
        header(rows)
        assert stream.tell() == after_header
    return rows, width

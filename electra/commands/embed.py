"""texts -> sentence vectors, as a .npy file, as JSON lines or in a table."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from electra.inference import text_io
from electra.inference.predictor import Predictor, describe, load
from electra.inference.text_io import AnsweredText, TextColumns
from electra.settings import EmbedSettings
from electra.storage import atomic
from electra.tasks.data_warnings import reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted


def run(settings: EmbedSettings) -> None:
    """Write one vector per text to the output file, or print them: of lines the vectors alone, of a table its columns, too."""
    output, file = settings.output, text_io.file_or_text(settings.file)
    text_io.check_readable(file, settings.kind)
    as_npy = output is not None and output.suffix == ".npy" and settings.format == "auto"
    if output is not None and as_npy:
        atomic.fresh_output(output, remedy="give another name, or remove it first")
    chosen = None if as_npy else text_io.output_format(settings, file, settings.kind, also=("npy",))
    given = {name: getattr(settings, name) for name in ("threads", "batch_size", "max_length", "truncate")}
    model = load(settings.model, role="encoder", **given)
    answers = embed_texts(settings, file, model)
    if output is not None and as_npy:
        width = model.modules.width(model.backend.hidden_size, settings.truncate_dim)
        with atomic.atomic_file(output) as temporary:
            shape = write_npy(temporary, (answer.record["embedding"] for answer in answers), width)
        if settings.json:
            print(json.dumps({"output": str(output), "shape": shape, "dtype": "float32"}))
        else:
            print(f"{output}: {shape[0]:,} vectors of {shape[1]}, float32")
        return
    first = next(answers)
    answers = itertools.chain([first], answers)
    if first.text.column or chosen not in (None, "jsonl"):
        text_io.write_answers((as_row(answer) for answer in answers), settings, file, kind=settings.kind, as_json=True)
    elif output is None:
        for answer in answers:
            sys.stdout.write(array_line(answer))
    else:
        with atomic.atomic_file(output) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(map(array_line, answers))


def embed_texts(settings: EmbedSettings, file: str, model: Predictor) -> Iterator[AnsweredText]:
    """Texts with their vectors, (width,) float32."""
    columns = TextColumns(text=settings.text, trained=recorded_columns(model.hf_config))
    texts = reporting(text_io.read_texts(file, columns, pairs=False, kind=settings.kind), model.tokenizer)
    inputs, again = itertools.tee(texts)
    options = {name: getattr(settings, name) for name in ("normalize", "prompt", "prompt_name", "truncate_dim")}
    found = model.iterate_embeddings((text.text for text in inputs), **options)
    vectors = counted(found, "texts", f"{describe(model)}; {model.modules.describe()}")
    for vector, text in zip(vectors, again, strict=False):
        yield AnsweredText(text=text, line="", record={"embedding": vector}, columns={})


def array_line(answer: AnsweredText) -> str:
    """A vector as a line of JSON."""
    # Nine significant digits bring a float32 back exactly.
    return "[" + ", ".join(f"{value:.9g}" for value in answer.record["embedding"].tolist()) + "]\n"


def as_row(answer: AnsweredText) -> AnsweredText:
    """The vector as a list of such numbers."""
    record = {"embedding": [float(f"{value:.9g}") for value in answer.record["embedding"].tolist()]}
    return dataclasses.replace(answer, record=record, columns=record)


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

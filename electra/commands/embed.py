"""texts -> sentence vectors, as a .npy file, as JSON lines or in a table; of many files a folder of parts."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from electra.inference import parts, text_io
from electra.inference.predictor import Predictor, describe, load_for
from electra.inference.text_io import AnsweredText, Table, Text, TextColumns
from electra.settings import EmbedSettings
from electra.storage import atomic
from electra.tasks.data_warnings import reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted


def run(settings: EmbedSettings) -> None:
    """Write one vector per text to the output file, or print them: of lines the vectors alone, of a table its columns, too."""
    model_name, file = text_io.model_and_texts("embed", "encoder", settings.model, settings.file, settings.text)
    settings = dataclasses.replace(settings, model=model_name)
    if parts.are_wanted(settings, file):
        parts.answer_files(settings, file, VECTORS)
        return
    output = None if settings.output is None else Path(settings.output)
    text_io.check_readable(file, settings.kind, many=True)
    as_npy = output is not None and output.suffix == ".npy" and settings.format == "auto"
    if output is not None and as_npy:
        atomic.fresh_output(output, remedy="give another name, or remove it first")
    chosen = None if as_npy else text_io.output_format(settings, file, settings.kind, also=("npy",))
    model = load_for(settings, settings.model, "encoder")
    texts = reporting(read_texts(settings, model, file), model.tokenizer)
    answers = counted(embed_texts(settings, model, texts), "texts", describe_vectors(model))
    if output is not None and as_npy:
        with atomic.atomic_file(output) as temporary:
            shape = write_npy(temporary, (answer.record["embedding"] for answer in answers))
        if settings.json:
            print(json.dumps({"output": str(output), "shape": shape, "dtype": "float32"}))
        else:
            print(f"{output}: {shape[0]:,} vectors of {shape[1]}, float32")
        return
    first = next(answers)
    answers = itertools.chain([first], answers)
    if first.text.column or chosen not in (None, "jsonl"):
        text_io.write_answers((as_row(answer, chosen) for answer in answers), settings, file, kind=settings.kind, as_json=True)
    elif output is None:
        for answer in answers:
            sys.stdout.write(array_line(answer))
    else:
        with atomic.atomic_file(output) as temporary:
            write_arrays(temporary, answers)


def read_texts(settings: EmbedSettings, model: Predictor, file: str) -> Iterator[Text]:
    """A file -> its texts."""
    columns = TextColumns(text=settings.text, trained=recorded_columns(model.hf_config))
    return text_io.read_texts(file, columns, pairs=False, kind=settings.kind)


def embed_texts(settings: EmbedSettings, model: Predictor, texts: Iterator[Text]) -> Iterator[AnsweredText]:
    """Texts with their vectors, (width,) float32."""
    inputs, again = itertools.tee(texts)
    options = {name: getattr(settings, name) for name in ("normalize", "prompt", "prompt_name", "truncate_dim")}
    for vector, text in zip(model.iterate_embeddings((text.text for text in inputs), **options), again, strict=False):
        yield AnsweredText(text=text, line="", record={"embedding": vector}, columns={})


def describe_vectors(model: Predictor) -> str:
    """The model, and how its vectors are made."""
    return f"{describe(model, model.vector_spec)}; {model.modules.describe()}"


def write_part(path: Path, answers: Iterator[AnsweredText], table: Table) -> None:
    """As `run` writes the vectors of one file."""
    if table.format == "npy":
        write_npy(path, (answer.record["embedding"] for answer in answers))
    elif table.first.column or table.format != "jsonl":
        text_io.write_table(path, (as_row(answer, table.format) for answer in answers), table)
    else:
        write_arrays(path, answers)


VECTORS = parts.PartsOfTexts(role="encoder", read=read_texts, answer=embed_texts, write=write_part, describe=describe_vectors, default="npy")


def array_line(answer: AnsweredText) -> str:
    """A vector as a line of JSON."""
    # Nine significant digits bring a float32 back exactly.
    return "[" + ", ".join(f"{value:.9g}" for value in answer.record["embedding"].tolist()) + "]\n"


def write_arrays(path: Path, answers: Iterable[AnsweredText]) -> None:
    """A line of JSON for each vector."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(map(array_line, answers))


def as_row(answer: AnsweredText, kind: str | None) -> AnsweredText:
    """The vector as a list of such numbers; in parquet, whose columns have types, as it is: float32."""
    if kind == "parquet":
        return dataclasses.replace(answer, columns=answer.record)
    record = {"embedding": [float(f"{value:.9g}") for value in answer.record["embedding"].tolist()]}
    return dataclasses.replace(answer, record=record, columns=record)


def write_npy(path: Path, vectors: Iterable[np.ndarray]) -> tuple[int, int]:
    """Vectors (width,) one at a time, at least one -> a .npy file of all of them, in constant memory -> its shape.

    The number of rows is known only at the end: the header, which numpy pads, is written again then.
    """

    def header(rows: int) -> None:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (rows, len(first))})

    vectors = iter(vectors)
    first, rows = next(vectors), 0
    with path.open("wb") as stream:
        header(0)
        after_header = stream.tell()
        for vector in itertools.chain([first], vectors):
            stream.write(vector.astype("<f4").tobytes())
            rows += 1
        stream.seek(0)
        header(rows)
        assert stream.tell() == after_header
    return rows, len(first)

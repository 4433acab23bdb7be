"""Settings of the commands that turn a checkpoint into something else, and compare the results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import argument


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Turn a checkpoint of another form into a Hugging Face directory, the generator in its folder generator/.

    Reads the original TensorFlow code's checkpoints and BERT's (without TensorFlow; sizes come from the checkpoint), our own, and the hub's.

    Examples:
      electra convert electra_small/ electra-small
      electra convert model.ckpt-1000000 out --vocab vocab.txt
      electra convert google-bert/bert-base-uncased bert --dtype float16
    """

    source: str = argument()
    """TensorFlow checkpoint (its folder, or its name without .index), checkpoint folder, run, or a name on the hub."""
    output: Path = argument()
    """Folder to write."""
    vocab: str | None = None
    """Vocabulary: vocab.txt, tokenizer.json or a folder; unset: the one beside the checkpoint."""
    lowercase: bool | None = None
    """Lower-case the text; unset: as the vocabulary's files say (a bare vocab.txt is uncased when no piece holds a capital)."""
    num_attention_heads: int | None = None
    """Heads of a TensorFlow checkpoint's discriminator, which leave no trace in it; unset: one per 64 of width, as every released model has."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the written weights."""


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """Upload a checkpoint to the Hugging Face hub (its folder is already in the hub's format).

    Examples:
      electra push runs/sst2/best --name me/electra-mini-sst2
      electra push runs/mini/final --name me/electra-mini --private
    """

    path: Path = argument()
    """Checkpoint folder."""
    name: str
    """Repository on the hub, OWNER/NAME."""
    private: bool = False
    """Create it as a private repository."""


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Turn a checkpoint into an artefact: model, tokenizer, labels and hashes in one folder or .zip, run without PyTorch.

    What a checkpoint does (predict, detect, embed, inspect, pipeline, load), an artefact does too, on any machine with
    pip install 'WHEEL[runtime]' (a wheel: make wheel in the clone).

    Examples:
      electra build runs/sst2/best --target onnx --output sst2.onnx
      electra build runs/sst2/best --target onnx-int8 --output sst2-int8.zip
      electra build runs/sst2/best --target onnx-int8-static --calibrate reviews.txt --output sst2-static
      electra build runs/mini/final --target onnx-fp16 --output mini-fp16
      electra build runs/sst2/best --target auto --task sst2 --data glue/SST-2 --max-drop 0.5 --output sst2-fast
      echo "what a wonderful film" | electra predict sst2-int8.zip -
    """

    model: str = argument()
    """Checkpoint of any head: folder, run or hub name. A generator/ beside a discriminator is built with it."""
    target: str
    """What to build for: onnx (fp32, fused), onnx-fp16 (half the size), onnx-int8 (a quarter, scales found at run time), onnx-int8-static
    (scales found on --calibrate's texts); openvino (fp32), openvino-bf16, openvino-int8 (scales found on --calibrate's texts); auto: the
    fastest of all that this machine can run, within --max-drop."""
    output: Path
    """The artefact: a folder, or one file where the name ends in .zip."""
    calibrate: str | None = None
    """Text file (one text a line; tab between the two texts of a pair) or jsonl, like those the model will read; for onnx-int8-static
    and openvino-int8. Of auto unset: the train split of --data, where there is one."""
    num_texts: int = 256
    """How many of its texts are used, evenly taken from the file."""
    text_field: str = "text"
    """Field of the text in jsonl."""
    pair_field: str = "text_pair"
    """Field of the second text in jsonl."""
    task: str | None = None
    """auto: task the checkpoint was fine-tuned on."""
    data: str | None = None
    """auto: the task's folder, or one labelled file."""
    split: str = "dev"
    """auto: split that is measured."""
    max_drop: float = 0.5
    """auto: points of the task's main metric that may be lost against the checkpoint."""
    calls: int = 200
    """auto: timed calls of each kind."""
    threads: int = 0
    """auto: threads of each, a core of its own for every one; 0: all cores."""
    skip: tuple[str, ...] = ()
    """auto: targets to leave out, such as openvino-int8."""
    text: str = "text"
    """auto, task 'own': column of the text."""
    text_pair: str | None = None
    """auto, task 'own': column of the second text."""
    label: str = "label"
    """auto, task 'own': column of the label."""
    json: bool = False
    """Print the artefact's manifest."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Measure a model and what was built from it by one method: how right, how fast, how large.

    Each runs in a fresh process, all on the same cores with as many threads; they take turns in random order. Exit code 1 where one failed.

    Examples:
      electra compare runs/sst2/best sst2-onnx sst2-int8.zip --task sst2 --data glue/SST-2
      electra compare runs/sst2/best sst2-int8 --task sst2 --data glue/SST-2 --threads 1 --calls 500 --output compared
      electra compare runs/own/best own-onnx --task own --data new.csv --text review --label stars --json
    """

    models: tuple[str, ...] = argument()
    """Checkpoint folders, runs, hub names, artefacts (folder or .zip); the first is the reference."""
    task: str
    """Task they were fine-tuned on."""
    data: str
    """The task's folder, or one labelled file."""
    split: str = "dev"
    """Split of the task's data."""
    calls: int = 200
    """Timed calls of each kind, and texts of a throughput."""
    threads: int = 0
    """Threads of every implementation, each pinned to a core of its own; 0: all cores."""
    num_examples: int = 0
    """Examples answered for the score, a random choice; 0: all."""
    output: Path | None = None
    """New folder for table.md, results.json and compare.png."""
    keep: bool = False
    """Write the rows into the artefacts compared, for 'electra inspect' and the served page."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where checkpoints run; artefacts run where they were built for."""
    seed: int = 1
    """Seed of the order, and of the choice of texts."""
    text: str = "text"
    """Task 'own': column of the text."""
    text_pair: str | None = None
    """Task 'own': column of the second text."""
    label: str = "label"
    """Task 'own': column of the label."""
    label_separator: str = "|"
    """Task 'own': what stands between several labels at once."""
    word_column: str | None = None
    """Tagging: column of the words, a number from 1, 'last', or a field of jsonl; unset: the first ('words' or 'tokens')."""
    tag_column: str | None = None
    """Tagging: column of the tags; unset: the last ('tags', 'ner_tags', ...)."""
    fold: str | None = None
    """FewCLUE's draw of a Chinese task: 0 .. 4 or few_all."""
    json: bool = False
    """Print JSON."""

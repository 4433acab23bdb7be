"""Settings of the commands that convert, export, publish and compare checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import Settings, argument, flag
from electra.settings.sections import MAX_SEED, ColumnSettings, InputSpecSettings


@dataclass(frozen=True, kw_only=True)
class ConvertSettings(Settings):
    """Convert a checkpoint to a Hugging Face directory, its generator in the sub-folder generator/.

    Reads TensorFlow checkpoints of original ELECTRA and BERT, pre-trained and fine-tuned (without TensorFlow), electra's own, and the hub's.
    Attention heads, which a TensorFlow checkpoint does not store, are read from a configuration next to it (bert_config.json, ...) and printed.

    Examples:
      electra convert electra_small/ electra-small
      electra convert model.ckpt-1000000 out --vocab vocab.txt --num-attention-heads 12
      electra convert finetuning_models/mnli_model_1 mnli
      electra convert google-bert/bert-base-uncased bert --dtype float16
    """

    source: str = argument()
    """TensorFlow checkpoint (its folder, or its name without .index), checkpoint folder, run, or hub name."""
    output: Path = argument()
    """Output folder."""
    vocab: str | None = None
    """Vocabulary: vocab.txt, tokenizer.json or a folder; default: the one next to the checkpoint."""
    lowercase: bool | None = None
    """Lower-case the text; default: as the vocabulary's files say (a bare vocab.txt without capitals is uncased)."""
    num_attention_heads: int | None = flag(None, minimum=1)
    """Attention heads of a TensorFlow checkpoint (of the discriminator, if there are two networks); default: from the configuration next to it,
    else hidden size / 64 if it has the shape of a released model."""
    generator_attention_heads: int | None = flag(None, minimum=1)
    """Attention heads of its generator; default: from the configuration next to it, else max(1, hidden size // 64), as the original makes it."""
    task: str | None = None
    """Fine-tuned TensorFlow checkpoint of several tasks: the one whose head is converted; default: the only one."""
    head: Literal["classification", "tagging", "encoder"] | None = None
    """Fine-tuned TensorFlow checkpoint: the kind of its head where its task is not the original's; encoder: none; default: that of the task."""
    labels: tuple[str, ...] = ()
    """Fine-tuned TensorFlow checkpoint: class names in the order of the head's outputs; default: LABEL_0, ... or the original's."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the written weights."""


@dataclass(frozen=True, kw_only=True)
class PushSettings(Settings):
    """Upload a checkpoint to the Hugging Face hub, as a complete repository in one commit.

    It opens in transformers (weights as safetensors, tokenizer), sentence-transformers (vectors and re-rankers), transformers.js and optimum
    (onnx/). The model card has the scores that the run recorded, in the hub's form. With --output the same folder is written, nothing is uploaded.

    Examples:
      electra push runs/sst2 --name me/electra-mini-sst2 --license apache-2.0 --language en
      electra push runs/sst2 --output repository
      electra push runs/mini/final --name me/electra-mini --private --no-onnx
      electra push sst2-onnx --name me/electra-mini-sst2-onnx
    """

    path: Path = argument()
    """Checkpoint folder, run, bundled model, or a folder of 'electra build --layout hub'."""
    name: str | None = None
    """Repository on the hub, OWNER/NAME; needed unless --output is given. Default: none."""
    output: Path | None = None
    """Write the repository to this new folder, to look at it or to upload it in another way; default: upload it."""
    private: bool = False
    """Create it as a private repository."""
    onnx: bool = True
    """Export the model to onnx/, too."""
    dtypes: tuple[str, ...] = ("fp32", "q8")
    """Number formats of onnx/ as transformers.js names them: fp32, fp16, q8, int8, uint8."""
    license: str | None = None
    """Licence in the model card, as the hub names it, such as apache-2.0; default: as README.md of the checkpoint says, else none."""
    language: tuple[str, ...] = ()
    """Languages in the model card, such as en; default: as README.md of the checkpoint says, else none."""
    base_model: str | None = None
    """Model on the hub that it was fine-tuned from, in the model card; default: as README.md of the checkpoint says, else none."""
    datasets: tuple[str, ...] = ()
    """Data sets on the hub in the model card; default: as README.md of the checkpoint says, else none."""


@dataclass(frozen=True, kw_only=True)
class BuildSettings(ColumnSettings, InputSpecSettings):
    """Export a checkpoint to an artifact: model, tokenizer, labels and hashes in one folder or .zip, run without PyTorch.

    predict, detect, embed, inspect, pipeline and load accept an artifact like a checkpoint, on any machine with
    pip install 'WHEEL[runtime]' (a wheel: make wheel in the clone). With --layout hub: a folder for the Hugging Face hub, which transformers.js
    runs in browsers and Node; these commands accept it, too.

    Examples:
      electra build runs/sst2/best --target onnx --output sst2.onnx
      electra build runs/sst2/best --target onnx-int8 --output sst2-int8.zip
      electra build runs/sst2/best --target onnx-int8-static --calibrate reviews.txt --output sst2-static
      electra build runs/mini/final --target onnx-fp16 --output mini-fp16
      electra build runs/sst2/best --target auto --task sst2 --data glue/SST-2 --max-drop 0.5 --output sst2-fast
      electra build runs/sst2/best --layout hub --output sst2-onnx
      echo "what a wonderful film" | electra predict sst2-int8.zip -
    """

    model: str = argument()
    """Checkpoint with any head: folder, run or hub name. A generator/ next to a discriminator is built with it."""
    target: str = ""
    """Backend (default: none; --layout hub needs none): onnx (fp32, fused), onnx-fp16 (half the size), onnx-int8 (a quarter; dynamic quantization),
    onnx-int8-static (calibrated on --calibrate); openvino (fp32), openvino-bf16, openvino-int8 (calibrated on --calibrate); auto: the fastest of
    these on this machine, within --max-drop."""
    output: Path
    """The artifact: a folder, or one file if the name ends in .zip."""
    layout: Literal["artifact", "hub"] = "artifact"
    """artifact: as described above. hub: the files that transformers.js and optimum look for: onnx/model.onnx and one more file for each other
    of --dtypes, config.json, the tokenizer, a model card."""
    dtypes: tuple[str, ...] = ("fp32", "fp16", "q8", "int8", "uint8")
    """--layout hub: number formats as transformers.js names them (its `dtype`)."""
    calibrate: str | None = None
    """Calibration texts for onnx-int8-static and openvino-int8: text file (one text per line; a tab between the two texts of a pair) or a table
    (csv, tsv, jsonl, parquet; columns --text and --text-pair). Default: none; for auto, the train split of --data."""
    num_texts: int = flag(256, minimum=1)
    """Number of calibration texts, sampled evenly."""
    task: str | None = None
    """auto: task the checkpoint was fine-tuned on; default: none."""
    data: str | None = None
    """auto: the task's folder, or one labelled file; default: none."""
    split: str = "dev"
    """auto: split to score on."""
    labels: tuple[str, ...] = ()
    """auto: the task's labels in the order of the model's outputs, for a model that says LABEL_0, LABEL_1, ... Default: by the model's names."""
    max_drop: float = flag(0.5, minimum=0, maximum=100)
    """auto: points of the task's main metric that may be lost against the checkpoint."""
    calls: int = flag(200, minimum=10)
    """auto: timed calls of each kind."""
    threads: int = flag(0, minimum=0, maximum=4096)
    """auto: threads per target, each pinned to its own core; 0: all cores."""
    skip: tuple[str, ...] = ()
    """auto: targets to leave out, such as openvino-int8; default: none."""
    json: bool = False
    """Print the artifact's manifest."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings(ColumnSettings):
    """Measure the accuracy, speed and size of a model and its artifacts with one method.

    Each runs in a fresh process, on the same cores and threads, in random order. Exit code 1 if one failed.

    Examples:
      electra compare runs/sst2/best sst2-onnx sst2-int8.zip --task sst2 --data glue/SST-2
      electra compare runs/sst2/best sst2-int8 --task sst2 --data glue/SST-2 --threads 1 --calls 500 --output compared
      electra compare runs/own/best own-onnx --task own --data new.csv --text review --label stars --json
      electra compare sst2-onnx --task sst2 --data glue/SST-2 --python other/bin/python
      electra compare runs/sst2/best sst2-onnx --task sst2 --data glue/SST-2 --add there.json --output compared
    """

    models: tuple[str, ...] = argument()
    """Checkpoint folders, runs, hub names, artifacts (folder or .zip); the first is the reference."""
    data: str
    """The task's folder, or one labelled file."""
    task: str | None = None
    """Task they were fine-tuned on; default: the one that the models name."""
    python: tuple[str, ...] = ()
    """Interpreters of other environments on this machine (OTHER/bin/python): the models are measured in each as well, with its electra and its
    packages, in turns. Default: none."""
    add: tuple[Path, ...] = ()
    """Measurements of the same models and data saved on other machines: results.json (or the folder) of --output, what --json printed, or an
    artifact with --keep. Default: none."""
    split: str = "dev"
    """Split of the task's data."""
    labels: tuple[str, ...] = ()
    """The task's labels in the order of a model's outputs, for models that say LABEL_0, LABEL_1, ...; default: by the models' names."""
    calls: int = flag(200, minimum=10)
    """Timed calls of each kind, and texts for throughput."""
    threads: int = flag(0, minimum=0, maximum=4096)
    """Threads per model, each pinned to its own core; 0: all cores."""
    num_examples: int = flag(0, minimum=0)
    """Examples to score, sampled at random; 0: all."""
    output: Path | None = None
    """New folder for table.md, table.csv, results.json and compare.png; default: print only."""
    chart: Path | None = None
    """File for the chart: .png, .svg or .pdf; default: none besides --output's."""
    keep: bool = False
    """Store the results in the artifacts, for 'electra inspect' and the served page."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device for checkpoints; artifacts run where they were built for."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of the order and of the sample of texts."""
    json: bool = False
    """Print JSON."""

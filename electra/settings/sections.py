"""Settings that several commands share: each is defined, explained and range-checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from electra.config import Settings, flag
from electra.errors import UserError

MAX_SEED = 2**31 - 1
"""Largest seed: what every random generator in use accepts."""


def check_ray_address(engine: str, address: str | None) -> None:
    """Check that an address is given for an engine that uses it.

    Raises:
        UserError: it is given for another engine.
    """
    if address and engine != "ray":
        raise UserError(f"--ray-address {address} has no effect without --engine ray; add it")


@dataclass(frozen=True, kw_only=True)
class ColumnSettings(Settings):
    """Columns of labelled data."""

    text: str = flag("text", aliases=("text_field",))
    """Column of the text (task 'own')."""
    text_pair: str | None = flag(None, aliases=("pair_field",))
    """Column of the second text (task 'own'); default: single texts."""
    label: str = "label"
    """Column of the label (task 'own')."""
    label_columns: tuple[str, ...] = flag((), advanced=True)
    """Columns of 0 and 1, one for each label, in place of --label (task 'own'): several labels of a text, or with --kind classification exactly
    one. Default: --label."""
    label_separator: str = flag("|", advanced=True)
    """Separator between several labels of one text (task 'own'); a JSON list also works."""
    word_column: str | None = flag(None, advanced=True)
    """Tagging: column of the words: a number from 1, 'last', or a name; default: the first, or 'words' or 'tokens'."""
    tag_column: str | None = flag(None, advanced=True)
    """Tagging: column of the tags; default: the last, or 'tags', 'ner_tags', ..."""
    tag_names: tuple[str, ...] = flag((), advanced=True)
    """Tagging: names of tags that are numbers, from 0 on; default: the tags are names."""
    fold: str | None = flag(None, advanced=True)
    """FewCLUE: split of a Chinese task, 0 to 4 or few_all; default: the task's full data."""


@dataclass(frozen=True, kw_only=True)
class InputSettings(Settings):
    """Input table."""

    text: str | None = flag(None, aliases=("text_field",))
    """Column of the text in a table, or a nested field by its dotted name; default: that of the model's training, else text (of a question:
    question)."""
    input_format: Literal["auto", "lines", "csv", "tsv", "jsonl", "json", "parquet", "arrow"] = flag("auto", advanced=True)
    """Format of the input; 'auto': by its suffix, else a text per line. 'lines': a text per line whatever the suffix."""

    @property
    def kind(self) -> str | None:
        """The format that was given."""
        return None if self.input_format == "auto" else self.input_format


@dataclass(frozen=True, kw_only=True)
class PairInputSettings(InputSettings):
    """Input table."""

    text_pair: str | None = flag(None, aliases=("pair_field",))
    """Column of the second text; default: that of the model's training, else text_pair where there is one (of a context: context)."""


@dataclass(frozen=True, kw_only=True)
class OutputSettings(Settings):
    """Output table."""

    output: str | None = None
    """File for the input's columns and the answers: .csv, .tsv, .jsonl, .json or .parquet; default: print lines."""
    format: Literal["auto", "input", "csv", "tsv", "jsonl", "json", "parquet"] = "auto"
    """Format of the output; 'input': that of the input, with its separator and, as Excel needs it, its byte order mark; 'auto': by the suffix of
    --output. Without --output the table is printed."""


@dataclass(frozen=True, kw_only=True)
class CorpusOutputSettings(Settings):
    """Many files (--output FOLDER)."""

    engine: Literal["local", "ray"] = "local"
    """Answer the parts of many files in processes on this machine, or on a Ray cluster; the bytes are the same."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); default: start one for this run."""
    workers: int = flag(0, minimum=0, maximum=4096)
    """Parts that are answered at a time, each by a model of its own with --threads cores (0: one); 0: as many as the cores (or GPUs of the cluster)
    allow."""
    part_rows: int = flag(4096, minimum=1, maximum=1 << 24, advanced=True)
    """Texts of a part, of which each is a file: a longer input file becomes several. A part also ends after 16 million characters."""


@dataclass(frozen=True, kw_only=True)
class DecodingSettings(Settings):
    """Tagging."""

    constrained: bool = flag(False, advanced=True)
    """Tagging: allow only tag sequences that are valid in the scheme (BIO2, BIOES, BILOU); off: each word's most likely tag."""


@dataclass(frozen=True, kw_only=True)
class InputSpecSettings(Settings):
    """Inputs."""

    max_length: int = flag(0, minimum=0)
    """Longest input in tokens; 0: as the model was trained."""
    truncate: Literal["head", "tail", "head-tail", "windows"] | None = None
    """Part of a longer text that a classifier reads; default: as the model was trained."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings):
    """Compute."""

    batch_size: int = flag(32, minimum=1)
    """Texts per batch."""


@dataclass(frozen=True, kw_only=True)
class ThreadSettings(Settings):
    """Compute."""

    threads: int = flag(0, minimum=0, maximum=4096, may_change=True)
    """CPU threads; 0: PyTorch's default, one per core."""


@dataclass(frozen=True, kw_only=True)
class InferenceSettings(BatchSettings, ThreadSettings):
    """Compute."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of a checkpoint's matmuls: 'bf16' is faster on CPUs with AVX512_BF16 or AMX and on GPUs, 'fp16' on GPUs; answers then differ from
    those of the default, fp32, in about the third digit. An artifact has the format of its target."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(ThreadSettings):
    """Compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = flag("auto", may_change=True)
    """Training device; 'auto': CUDA if available, then MPS, then the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = flag("auto", may_change=True)
    """'auto': bf16 autocast on CUDA, fp16 with dynamic loss scaling on GPUs without bf16 (T4, V100, RTX 20), fp32 elsewhere. bf16 also pays on
    CPUs with AVX512_BF16 or AMX."""


@dataclass(frozen=True, kw_only=True)
class LogSettings(Settings):
    """Libraries that also receive the metrics."""

    log_to: tuple[Literal["trackio", "mlflow", "wandb"], ...] = flag((), may_change=True)
    """Libraries that receive every line of metrics.jsonl too, each with an extra of its name: trackio (kept on this machine in TRACKIO_DIR, or sent
    to TRACKIO_SPACE_ID or TRACKIO_SERVER_URL), mlflow (MLFLOW_TRACKING_URI, else the file mlflow.db here), wandb (the account of 'wandb login';
    WANDB_MODE=offline: RUN/wandb). TensorBoard's files are always written. Default: none."""
    log_project: str | None = flag(None, advanced=True, may_change=True)
    """Project (trackio, wandb) or experiment (mlflow) of --log-to, without which it is refused; default: WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME,
    else 'electra'."""

"""Settings that several commands share: each is defined, explained and range-checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from electra.config import Settings, flag

MAX_SEED = 2**31 - 1
"""Largest seed: what every random generator in use accepts."""


@dataclass(frozen=True, kw_only=True)
class ColumnSettings(Settings):
    """Columns of labelled data."""

    text: str = "text"
    """Column of the text (task 'own')."""
    text_pair: str | None = None
    """Column of the second text (task 'own'); default: single texts."""
    label: str = "label"
    """Column of the label (task 'own')."""
    label_columns: tuple[str, ...] = flag((), advanced=True)
    """Columns of 0 and 1, one for each label, in place of --label (task 'own'): several labels of a text, or with --kind classification exactly
    one. Default: --label."""
    label_separator: str = flag("|", advanced=True)
    """Separator between several labels of one text (task 'own'); a JSON list also works."""
    word_column: str | None = flag(None, advanced=True)
    """Tagging: column of the words: a number from 1, 'last', or a jsonl field; default: the first, or 'words' or 'tokens'."""
    tag_column: str | None = flag(None, advanced=True)
    """Tagging: column of the tags; default: the last, or 'tags', 'ner_tags', ..."""
    tag_names: tuple[str, ...] = flag((), advanced=True)
    """Tagging: names of tags that are numbers, from 0 on; default: the tags are names."""
    fold: str | None = flag(None, advanced=True)
    """FewCLUE: split of a Chinese task, 0 to 4 or few_all; default: the task's full data."""


@dataclass(frozen=True, kw_only=True)
class TextFieldSettings(Settings):
    """Text fields."""

    text_field: str = "text"
    """Field of the text in jsonl, parquet and hub data sets."""


@dataclass(frozen=True, kw_only=True)
class PairFieldSettings(TextFieldSettings):
    """Text fields."""

    pair_field: str = "text_pair"
    """Field of the second text in jsonl."""


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

    threads: int = flag(0, minimum=0, may_change=True)
    """CPU threads; 0: PyTorch's default, one per core."""


@dataclass(frozen=True, kw_only=True)
class InferenceSettings(BatchSettings, ThreadSettings):
    """Compute."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(ThreadSettings):
    """Compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = flag("auto", may_change=True)
    """Training device; 'auto': CUDA if available, then MPS, then the CPU."""
    precision: Literal["auto", "fp32", "bf16"] = flag("auto", may_change=True)
    """'auto': bf16 autocast on CUDA, fp32 elsewhere. bf16 also pays on CPUs with AVX512_BF16 or AMX."""

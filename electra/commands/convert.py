"""electra convert: a checkpoint in another form -> a Hugging Face directory, with its generator in generator/.

SRC   a TensorFlow checkpoint of the original code or of BERT (read without TensorFlow), a checkpoint or run of electra, a hub name
DST   config.json, model.safetensors, tokenizer files, README.md, and the same in DST/generator
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.data.tokenizer import OTHER_FILES, load_tokenizer
from electra.errors import UserError, require
from electra.protobuf import find_checkpoint, find_vocabulary, is_checkpoint, recorded_checkpoint
from electra.settings import ConvertSettings
from electra.storage import atomic, resolve
from electra.tasks.input_spec import RECORD, copied_record, recorded

if TYPE_CHECKING:
    from torch import nn

FLAGS = ("num_attention_heads", "generator_attention_heads", "task", "head", "labels")
"""Settings for what a TensorFlow checkpoint does not say."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What is written."""

    first: nn.Module
    second: nn.Module | None
    """For DST/generator."""
    labels: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Added to config.json."""
    vocabulary: Path | None = None
    lowercase: bool | None = None
    notes: list[str] = field(default_factory=list)
    copied: Mapping[str, Path] = field(default_factory=dict)
    """Name in the output -> file or folder that is copied as it is: what sentence-transformers adds to a checkpoint."""


def run(settings: ConvertSettings) -> None:
    """Read, write, print what was used and a summary."""
    require("torch", "train")
    atomic.fresh_output(settings.output, remedy="choose another name")
    source = resolve.fetch_tensorflow(settings.source) or Path(settings.source)
    found = from_tensorflow(source, settings) if is_checkpoint(source) else from_huggingface(settings)
    write(settings, found)
    written = ", with ".join(describe(module) for module in (found.first, found.second) if module is not None)
    print("\n".join([*found.notes, f"{settings.output}: {written}"]))


def from_tensorflow(source: Path, settings: ConvertSettings) -> Converted:
    """Networks of a TensorFlow checkpoint, and the vocabulary next to it."""
    from electra.model.huggingface import encoder_of
    from electra.model.tensorflow import Choices, read_networks

    prefix = find_checkpoint(source)
    found = read_networks(prefix, choices=Choices(**{name: getattr(settings, name) for name in FLAGS}))
    named = recorded_checkpoint(prefix.parent)
    remark = "" if named in (None, prefix.name) else f" (the file 'checkpoint' names {named})"
    notes = [f"checkpoint: {prefix.name}{remark}", *found.notes]
    notes += left_out(found.unused, "not converted, because they belong to no network of the output", "variables ")
    vocabulary = None if settings.vocab else find_vocabulary(prefix.parent, encoder_of(found.main).config.vocab_size)
    notes += [f"vocabulary: {vocabulary}"] if vocabulary is not None else []
    return Converted(
        first=found.main,
        second=found.generator,
        labels=found.labels,
        extra={RECORD: dict(found.options)} if found.options else {},
        vocabulary=vocabulary,
        lowercase=found.lowercase,
        notes=notes,
    )


def from_huggingface(settings: ConvertSettings) -> Converted:
    """The same from a Hugging Face directory, a run, or a hub name."""
    from electra.model.huggingface import load_checkpoint

    for name in FLAGS:
        if getattr(settings, name):
            raise UserError(f"--{name.replace('_', '-')} is for TensorFlow checkpoints; a config.json has it")
    resolve.check_form(Path(settings.source))
    folder = resolve.resolve(settings.source)
    found = load_checkpoint(folder)
    notes = left_out(found.ignored, "ignored, because the architecture has no such weights")
    # The folder, not a file of it: transformers reads the rules from several files.
    has_vocabulary = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    if other := next((name for name in OTHER_FILES if (folder / name).is_file() and not has_vocabulary), None):
        notes.append(f"{folder / other} needs other software and is not read")
    return Converted(
        first=found.module,
        second=load_checkpoint(folder / "generator").module if (folder / "generator" / "config.json").exists() else None,
        labels=found.labels,
        extra=copied_record(found.hf_config),
        vocabulary=folder if has_vocabulary else None,
        notes=notes,
        copied=resolve.sentence_files(resolve.modules_folder(settings.source, folder), folder),
    )


def left_out(names: Sequence[str], reason: str, what: str = "") -> list[str]:
    """The note about weights of the source that are not in the output, if there are any."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [f"{reason}: {len(names)} {what}({shown})"] if names else []


def write(settings: ConvertSettings, found: Converted) -> None:
    """Write DST, completely or not at all."""
    import torch

    from electra.model.huggingface import encoder_of, save_checkpoint
    from electra.model.model_card import converted_card

    vocabulary = settings.vocab or found.vocabulary
    tokenizer = None if vocabulary is None else load_tokenizer(vocabulary, settings.lowercase if settings.lowercase is not None else found.lowercase)
    size = encoder_of(found.first).config.vocab_size
    if tokenizer is None:
        found.notes.append("no vocabulary next to the checkpoint: the output has no tokenizer; give --vocab vocab.txt to add one")
    elif tokenizer.vocab_size > size:
        raise UserError(f"{vocabulary} has {tokenizer.vocab_size} tokens, the checkpoint {size}; give the vocabulary that belongs to it")
    elif tokenizer.settings.note:
        found.notes.append(tokenizer.settings.note)
    with atomic.atomic_folder(settings.output) as folder:
        for module, place in ((found.first, folder), (found.second, folder / "generator")):
            if module is not None:
                described = converted_card(settings.output.name, describe(module), settings.source)
                names = found.labels if module is found.first else ()
                save_checkpoint(module, place, dtype=getattr(torch, settings.dtype), labels=names, card=described, extra=found.extra)
                if tokenizer is not None:
                    positions = encoder_of(module).config.max_position_embeddings
                    tokenizer.save(place, recorded(found.extra)[1] or min(tokenizer.settings.max_length or positions, positions))
        resolve.copy_sentence_files(found.copied, folder)


def describe(module: nn.Module) -> str:
    """'ElectraForPreTraining (12 layers of width 256, 13.5 M parameters)'."""
    from electra.model.huggingface import architecture_of, encoder_of

    config, millions = encoder_of(module).config, sum(p.numel() for p in module.parameters()) / 1e6
    return f"{architecture_of(module)} ({config.num_hidden_layers} layers of width {config.hidden_size}, {millions:.1f} M parameters)"

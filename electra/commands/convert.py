"""electra convert: a checkpoint in another form -> a Hugging Face directory, with its generator in generator/.

SRC   a TensorFlow checkpoint of the original code or of BERT (read without TensorFlow), a checkpoint or run of electra, a hub name
DST   config.json, model.safetensors, tokenizer files, README.md, and the same in DST/generator
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.data.tokenizer import OTHER_FILES, load_tokenizer
from electra.errors import UserError, require
from electra.protobuf import HUGGING_FACE, is_checkpoint, recorded_checkpoint
from electra.settings import ConvertSettings
from electra.storage import atomic, remote, resolve
from electra.tasks.input_spec import RECORD, copied_record, recorded

if TYPE_CHECKING:
    from torch import nn


SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "[0-9]_*")
"""What sentence-transformers adds to a checkpoint: its modules after the encoder, such as 1_Pooling."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What is written."""

    first: nn.Module
    second: nn.Module | None
    """For DST/generator."""
    labels: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Added to config.json."""
    vocabulary: str | None = None
    lowercase: bool | None = None
    notes: list[str] = field(default_factory=list)
    copied: tuple[Path, ...] = ()
    """Files and folders that are copied as they are."""


def run(settings: ConvertSettings) -> None:
    """Read, write, print what was used and a summary."""
    require("torch", "train")
    atomic.fresh_output(settings.output, remedy="choose another name")
    source = fetch_tensorflow(settings.source) or Path(settings.source)
    if is_checkpoint(source):
        found = from_tensorflow(source, settings)
    else:
        resolve.check_form(source)
        found = from_huggingface(settings)
    write(settings, found)
    for note in found.notes:
        print(note)
    print(f"{settings.output}: {', with '.join(describe(module) for module in (found.first, found.second) if module is not None)}")


def fetch_tensorflow(source: str) -> Path | None:
    """The URL of a TensorFlow checkpoint, its folder or its prefix -> the prefix of a copy in the cache; None for any other source.

    Raises:
        UserError: there is none, or more than one.
    """
    if not remote.is_url(source):
        return None
    from electra.model.tensorflow import find_checkpoint

    folder = source if remote.exists(source) and not source.endswith((".index", ".meta")) and ".data-" not in source else source.rpartition("/")[0]
    names = [name for name in remote.list_files(folder, "checkpoint")[2] if name and "/" not in name]
    if any(fnmatch(name, pattern) for name in names for pattern in HUGGING_FACE) or not any(name.endswith(".index") for name in names):
        return None
    light = remote.fetched(folder, [name for name in names if name == "checkpoint" or name.endswith(".index")], "checkpoint")
    chosen = find_checkpoint(light if folder == source else light / source.rpartition("/")[2]).name
    of_checkpoint = (f"{chosen}.index", f"{chosen}.data-")
    wanted = [name for name in names if name.startswith(of_checkpoint) or name.endswith(".json") or is_vocabulary(name)]
    return remote.fetched(folder, wanted, "checkpoint") / chosen


def is_vocabulary(name: str) -> bool:
    """Whether a file's name is that of a WordPiece vocabulary: vocab.txt, bert_vocab.txt, vocab_small.txt."""
    return name.endswith(".txt") and "vocab" in name


def from_tensorflow(source: Path, settings: ConvertSettings) -> Converted:
    """Networks of a TensorFlow checkpoint, and the vocabulary next to it."""
    from electra.model.huggingface import encoder_of
    from electra.model.tensorflow import Choices, find_checkpoint, read_networks

    prefix = find_checkpoint(source)
    choices = Choices(
        num_attention_heads=settings.num_attention_heads,
        generator_attention_heads=settings.generator_attention_heads,
        task=settings.task,
        head=settings.head,
        labels=settings.labels,
    )
    found = read_networks(prefix, choices=choices)
    notes = [f"checkpoint: {prefix.name}{_other_name(prefix)}", *found.notes]
    if found.unused:
        names = ", ".join(found.unused[:3]) + (", ..." if len(found.unused) > 3 else "")
        notes.append(f"not converted, because they belong to no network of the output: {len(found.unused)} variables ({names})")
    vocabulary = None if settings.vocab else find_vocabulary(prefix.parent, encoder_of(found.main).config.vocab_size)
    if vocabulary is not None:
        notes.append(f"vocabulary: {vocabulary}")
    return Converted(
        first=found.main,
        second=found.generator,
        labels=found.labels,
        extra={RECORD: dict(found.options)} if found.options else {},
        vocabulary=None if vocabulary is None else str(vocabulary),
        lowercase=found.lowercase,
        notes=notes,
    )


def _other_name(prefix: Path) -> str:
    """A remark if the folder's file `checkpoint` names another checkpoint."""
    named = recorded_checkpoint(prefix.parent)
    return "" if named in (None, prefix.name) else f" (the file 'checkpoint' names {named})"


def find_vocabulary(folder: Path, size: int) -> Path | None:
    """The vocabulary of a TensorFlow checkpoint: next to it, else the only one of its size in the folders where the original has it.

    These are the folder above and, for the original's layouts models/NAME and NAME/finetuning_models/TASK, the one above that.

    Raises:
        UserError: several next to the checkpoint, none named vocab.txt.
    """
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).is_file():
            return folder / name
    near = [path for path in sorted(folder.glob("*.txt")) if is_vocabulary(path.name)]
    if len(near) > 1:
        raise UserError(f"{folder} has several vocabularies ({', '.join(path.name for path in near)}); give one with --vocab")
    if near:
        return near[0]
    above = folder.resolve().parent
    folders = [above, above.parent] if above.name in ("models", "finetuning_models") else [above]
    for place in folders:
        fitting = [path for path in sorted(place.glob("*.txt")) if is_vocabulary(path.name) and _num_lines(path) == size]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _num_lines(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\n").split(b"\n"))


def from_huggingface(settings: ConvertSettings) -> Converted:
    """The same from a Hugging Face directory, a run, or a hub name."""
    from electra.model.huggingface import load_checkpoint

    for name in ("num_attention_heads", "generator_attention_heads", "task", "head", "labels"):
        if getattr(settings, name):
            raise UserError(f"--{name.replace('_', '-')} is for TensorFlow checkpoints; a config.json has it")
    folder = resolve.resolve(settings.source)
    found = load_checkpoint(folder)
    notes = ignored_weights(found.ignored)
    has_generator = (folder / "generator" / "config.json").exists()
    # The folder, not a file of it: transformers reads the rules from several files.
    has_vocabulary = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    if other := next((name for name in OTHER_FILES if (folder / name).is_file() and not has_vocabulary), None):
        notes.append(f"{folder / other} needs other software and is not read")
    return Converted(
        first=found.module,
        second=load_checkpoint(folder / "generator").module if has_generator else None,
        labels=found.labels,
        extra=copied_record(found.hf_config),
        vocabulary=str(folder) if has_vocabulary else None,
        notes=notes,
        copied=tuple(path for pattern in SENTENCE_FILES for path in sorted(folder.glob(pattern))),
    )


def ignored_weights(names: Sequence[str]) -> list[str]:
    """The note about weights that the architecture has no use for, as `transformers` warns of them."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [f"ignored, because the architecture has no such weights: {len(names)} ({shown})"] if names else []


def write(settings: ConvertSettings, found: Converted) -> None:
    """Write DST, completely or not at all."""
    import torch

    from electra.model.huggingface import encoder_of, save_checkpoint
    from electra.model.model_card import converted_card

    dtype = getattr(torch, settings.dtype)
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
                described = converted_card(settings.output.name, describe(module), Path(settings.source).name)
                labels = found.labels if module is found.first else ()
                save_checkpoint(module, place, dtype=dtype, labels=labels, card=described, extra=found.extra)
                if tokenizer is not None:
                    positions = encoder_of(module).config.max_position_embeddings
                    tokenizer.save(place, recorded(found.extra)[1] or min(tokenizer.settings.max_length or positions, positions))
        for path in found.copied:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)


def describe(module: nn.Module) -> str:
    """'ElectraForPreTraining (12 layers of width 256, 13.5 M parameters)'."""
    from electra.model.huggingface import architecture_of, encoder_of

    config = encoder_of(module).config
    millions = sum(p.numel() for p in module.parameters()) / 1e6
    return f"{architecture_of(module)} ({config.num_hidden_layers} layers of width {config.hidden_size}, {millions:.1f} M parameters)"

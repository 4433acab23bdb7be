"""electra convert: a checkpoint in another form -> a Hugging Face directory, with its generator in generator/.

SRC   a TensorFlow checkpoint of the original code or of BERT (read without TensorFlow), a checkpoint or run of electra, a hub name
DST   config.json, model.safetensors, tokenizer files, README.md, and the same in DST/generator
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.settings import ConvertSettings
from electra.storage import atomic, remote, resolve
from electra.tasks.input_spec import copied_record, recorded

if TYPE_CHECKING:
    from torch import nn


def run(settings: ConvertSettings) -> None:
    """Read, write, print notes and a summary."""
    require("torch", "train")
    atomic.fresh_output(settings.output, remedy="choose another name")
    source = fetch_tensorflow(settings.source) or Path(settings.source)
    values: Mapping[str, Any] = {}
    if is_tensorflow(source):
        first, second, notes, source_folder = from_tensorflow(source, settings)
    else:
        from electra.model.huggingface import read_config

        first, second, notes, source_folder = from_huggingface(settings)
        values = read_config(source_folder, or_bert=True)
    write(settings, first, second, source_folder, notes, values)
    for note in notes:
        print(note)
    print(f"{settings.output}: {', with '.join(describe(module) for module in (first, second) if module is not None)}")


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
    if "config.json" in names or not any(name.endswith(".index") for name in names):
        return None
    light = remote.fetched(folder, [name for name in names if name == "checkpoint" or name.endswith(".index")], "checkpoint")
    chosen = find_checkpoint(light if folder == source else light / source.rpartition("/")[2]).name
    wanted = [name for name in names if name == f"{chosen}.index" or name.startswith(f"{chosen}.data-") or name in resolve.FILES]
    return remote.fetched(folder, wanted, "checkpoint") / chosen


def is_tensorflow(source: Path) -> bool:
    """Whether a path names a TensorFlow checkpoint: a folder with an index, or the name of one."""
    if source.is_dir():
        return any(source.glob("*.index")) and not (source / "config.json").exists()
    return source.suffix in (".index", ".meta") or ".data-" in source.name or source.with_name(source.name + ".index").exists()


def from_tensorflow(source: Path, settings: ConvertSettings) -> tuple[nn.Module, nn.Module | None, list[str], Path]:
    """The network for DST, the one for DST/generator, notes, and the folder that may hold a vocabulary."""
    from electra.model.tensorflow import find_checkpoint, read_networks

    prefix = find_checkpoint(source)
    found = read_networks(prefix, settings.num_attention_heads)
    notes = []
    if found.unused:
        names = ", ".join(found.unused[:3]) + (", ..." if len(found.unused) > 3 else "")
        notes.append(f"ignored, because they belong to neither network: {len(found.unused)} variables ({names})")
    if found.discriminator is None:
        notes.append("no discriminator in the checkpoint: the output is a masked language model")
        assert found.generator is not None
        return found.generator, None, notes, prefix.parent
    if found.generator is None:
        notes.append("no generator in the checkpoint: only the discriminator was written")
    return found.discriminator, found.generator, notes, prefix.parent


def from_huggingface(settings: ConvertSettings) -> tuple[nn.Module, nn.Module | None, list[str], Path]:
    """The same from a Hugging Face directory, a run, or a hub name."""
    from electra.model.huggingface import load_checkpoint

    if settings.num_attention_heads is not None:
        raise UserError("--num-attention-heads is for TensorFlow checkpoints; a config.json has it")
    folder = resolve.resolve(settings.source)
    found = load_checkpoint(folder)
    has_generator = (folder / "generator" / "config.json").exists()
    return found.module, load_checkpoint(folder / "generator").module if has_generator else None, [], folder


def write(
    settings: ConvertSettings, first: nn.Module, second: nn.Module | None, source_folder: Path, notes: list[str], values: Mapping[str, Any]
) -> None:
    """Write DST, completely or not at all; the input spec of the source's config.json (`values`) is copied."""
    import torch

    from electra.model.huggingface import encoder_of, save_checkpoint
    from electra.model.model_card import converted_card

    dtype = getattr(torch, settings.dtype)
    vocabulary = settings.vocab or next(
        (str(source_folder / name) for name in ("tokenizer.json", "vocab.txt") if (source_folder / name).is_file()), None
    )
    tokenizer = None if vocabulary is None else load_tokenizer(vocabulary, settings.lowercase)
    size = encoder_of(first).config.vocab_size
    if tokenizer is None:
        notes.append("no vocabulary next to the checkpoint: the output has no tokenizer; give --vocab vocab.txt to add one")
    elif tokenizer.vocab_size > size:
        raise UserError(f"{vocabulary} has {tokenizer.vocab_size} tokens, the checkpoint {size}; give the vocabulary that belongs to it")
    with atomic.atomic_folder(settings.output) as folder:
        for module, place in ((first, folder), (second, folder / "generator")):
            if module is not None:
                described = converted_card(settings.output.name, describe(module), Path(settings.source).name)
                save_checkpoint(module, place, dtype=dtype, card=described, extra=copied_record(values))
                if tokenizer is not None:
                    tokenizer.save(place, recorded(values)[1] or encoder_of(module).config.max_position_embeddings)


def describe(module: nn.Module) -> str:
    """'ElectraForPreTraining (12 layers of width 256, 13.5 M parameters)'."""
    from electra.model.huggingface import architecture_of, encoder_of

    config = encoder_of(module).config
    millions = sum(p.numel() for p in module.parameters()) / 1e6
    return f"{architecture_of(module)} ({config.num_hidden_layers} layers of width {config.hidden_size}, {millions:.1f} M parameters)"

"""Settings -> the networks of a run: discriminator and generator with shared embeddings, or a BERT alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from electra.contracts import WordStatistics
from electra.errors import UserError
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.hf import Checkpoint, load_checkpoint, save_checkpoint
from electra.model.initial import initialize
from electra.model.objectives import Discriminator, Generator, MaskedLanguageModel, ReplacedTokenDetection
from electra.model.shape import SHAPE
from electra.settings import ModelSettings, ObjectiveSettings


def discriminator_config(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    """The discriminator's (or the BERT's) shape.

    Raises:
        UserError: the heads do not divide the width.
    """
    if settings.hidden_size % settings.num_attention_heads:
        raise UserError(
            f"hidden_size {settings.hidden_size} is not a multiple of num_attention_heads {settings.num_attention_heads}; change one of them"
        )
    return EncoderConfig(
        vocab_size=vocab_size,
        embedding_size=settings.embedding_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=settings.max_position_embeddings,
        dropout=settings.dropout,
    )


def generator_config(settings: ModelSettings, config: EncoderConfig) -> EncoderConfig:
    """The generator's shape: width, heads and depth scaled; feed-forward 4 x its own width, as in the original.

    Source: `get_generator_config` of the original's `util/training_utils.py`.
    """
    size = settings.generator_size
    heads = max(1, int(config.num_attention_heads * size))
    width = max(heads, int(config.hidden_size * size) // heads * heads)
    return replace(
        config,
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=max(1, int(config.num_hidden_layers * settings.generator_layers)),
        intermediate_size=config.intermediate_size if size == 1 else 4 * width,
    )


def build_objective(
    model: ModelSettings,
    objective: ObjectiveSettings,
    *,
    vocab_size: int,
    mask_id: int,
    special_ids: Collection[int],
    sequence_length: int,
    seed: int,
    words: WordStatistics | None = None,
) -> MaskedLanguageModel | ReplacedTokenDetection:
    """Networks with initial weights from `seed`, and from `words` where they were counted, in their objective."""
    config = discriminator_config(model, vocab_size)
    special = frozenset(special_ids)
    built: MaskedLanguageModel | ReplacedTokenDetection
    if objective.objective == "mlm":
        built = MaskedLanguageModel(Generator(Encoder(config)), objective, mask_id=mask_id, special_ids=special)
    else:
        discriminator = Discriminator(Encoder(config))
        shared = discriminator.encoder.embeddings if model.tie_embeddings else None
        generator = Generator(Encoder(generator_config(model, config), shared))
        built = ReplacedTokenDetection(discriminator, generator, objective, mask_id=mask_id, special_ids=special, sequence_length=sequence_length)
    initialize(built, torch.Generator().manual_seed(seed), attention=model.attention_init, words=words)
    return built


def start_from(objective: MaskedLanguageModel, source: str | Path) -> list[str]:
    """`--init`: fill an objective from a checkpoint folder, run directory or hub name -> remarks on what was not there.

    Raises:
        UserError: not found, or its shape is not the preset's.
    """
    checkpoint = load_checkpoint(source)
    has_generator = isinstance(objective, ReplacedTokenDetection) and (checkpoint.path / "generator" / "config.json").exists()
    return load_weights(objective, checkpoint, load_checkpoint(checkpoint.path, "generator") if has_generator else None)


def save(objective: MaskedLanguageModel, folder: Path, *, tokenizer: Path, card: str) -> None:
    """Write an objective's networks: the discriminator at the top and the generator below it, or the BERT at the top."""
    if isinstance(objective, ReplacedTokenDetection):
        save_checkpoint(objective.discriminator, folder, tokenizer=tokenizer, card=card)
        save_checkpoint(objective.generator, folder / "generator", tokenizer=tokenizer)
    else:
        save_checkpoint(objective.generator, folder, tokenizer=tokenizer, card=card)


def load_weights(objective: MaskedLanguageModel, checkpoint: Checkpoint, generator: Checkpoint | None) -> list[str]:
    """Fill an objective from a checkpoint (`--init`), and its generator's where there is one -> remarks on what was not there.

    A masked-LM checkpoint starts the discriminator's encoder, and where it has the generator's shape, the generator too.

    Raises:
        UserError: the checkpoint's shape is not the preset's.
    """
    if not isinstance(objective, ReplacedTokenDetection):
        return _fill(objective.generator, checkpoint)
    if generator is None and isinstance(checkpoint.module, Generator) and same_shape(checkpoint.config, objective.generator.encoder.config):
        generator = checkpoint
    remarks = _fill(objective.discriminator, checkpoint)
    if generator is None:
        return [*remarks, "no generator in the checkpoint: it starts from the discriminator's embeddings and random layers"]
    return remarks + _fill(objective.generator, generator)


def same_shape(one: EncoderConfig, other: EncoderConfig) -> bool:
    """Whether weights of one fit the other: all but dropout and initial values."""
    return all(getattr(one, name) == getattr(other, name) for name in SHAPE)


def _fill(target: Discriminator | Generator, source: Checkpoint) -> list[str]:
    _copy_encoder(source.encoder, target.encoder)
    if type(source.module) is type(target):
        target.load_state_dict(source.module.state_dict())
        return []
    return [f"{source.path} is an {source.architecture}: the encoder starts from it, the {type(target).__name__.lower()}'s head from random weights"]


def _copy_encoder(source: Encoder, target: Encoder) -> None:
    ours, theirs = target.config, source.config
    for name in SHAPE:
        if getattr(ours, name) != getattr(theirs, name):
            flag = f"set --{name.replace('_', '-')} {getattr(theirs, name)}"
            remedy = "prepare the data with the checkpoint's own vocabulary" if name == "vocab_size" else flag
            raise UserError(f"--init: {name} of the checkpoint is {getattr(theirs, name)}, of this network {getattr(ours, name)}; {remedy}")
    target.load_state_dict(source.state_dict())

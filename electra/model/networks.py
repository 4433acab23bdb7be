"""Settings -> the networks of a run: discriminator and generator with shared embeddings, or a BERT alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from electra.errors import UserError
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.hf import Checkpoint
from electra.model.initial import initialize
from electra.model.objectives import Discriminator, Generator, MaskedLanguageModel, ReplacedTokenDetection
from electra.settings import ModelSettings, ObjectiveSettings


def discriminator_config(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    """The discriminator's (or the BERT's) shape.

    Raises:
        UserError: the heads do not divide the width.
    """
    if settings.hidden_size % settings.num_attention_heads:
        raise UserError(f"hidden_size {settings.hidden_size} is not a multiple of num_attention_heads {settings.num_attention_heads}; change one of them")
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
        intermediate_size=4 * width,
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
) -> MaskedLanguageModel | ReplacedTokenDetection:
    """Networks with initial weights from `seed`, in their objective."""
    config = discriminator_config(model, vocab_size)
    special = frozenset(special_ids)
    built: MaskedLanguageModel | ReplacedTokenDetection
    if objective.objective == "mlm":
        built = MaskedLanguageModel(Generator(Encoder(config)), objective, mask_id=mask_id, special_ids=special)
    else:
        discriminator = Discriminator(Encoder(config))
        generator = Generator(Encoder(generator_config(model, config), discriminator.encoder.embeddings))
        built = ReplacedTokenDetection(
            discriminator, generator, objective, mask_id=mask_id, special_ids=special, sequence_length=sequence_length
        )
    initialize(built, torch.Generator().manual_seed(seed), attention=model.attention_init)
    return built


def load_weights(objective: MaskedLanguageModel, checkpoint: Checkpoint, generator: Checkpoint | None) -> list[str]:
    """Fill an objective from a checkpoint (`--init`) -> remarks on what was not there.

    Raises:
        UserError: the checkpoint's shape is not the preset's.
    """
    remarks = []
    target = objective.discriminator if isinstance(objective, ReplacedTokenDetection) else objective.generator
    _copy_encoder(checkpoint.encoder, target.encoder)
    if type(checkpoint.module) is type(target):
        target.load_state_dict(checkpoint.module.state_dict())
    else:
        remarks.append(f"{checkpoint.path} is an {checkpoint.architecture}: the head starts from random weights")
    if isinstance(objective, ReplacedTokenDetection):
        if generator is None:
            remarks.append("no generator in the checkpoint: it starts from the discriminator's embeddings and random layers")
        else:
            mine = objective.generator
            _copy_encoder(generator.encoder, mine.encoder)
            mine.load_state_dict(generator.module.state_dict())
    return remarks


def _copy_encoder(source: Encoder, target: Encoder) -> None:
    ours, theirs = target.config, source.config
    for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"):
        if getattr(ours, name) != getattr(theirs, name):
            remedy = "prepare the data with the checkpoint's own vocabulary" if name == "vocab_size" else f"set --{name.replace('_', '-')} {getattr(theirs, name)}"
            raise UserError(f"--init: {name} of the checkpoint is {getattr(theirs, name)}, of this run {getattr(ours, name)}; {remedy}")
    target.load_state_dict(source.state_dict())

"""Settings -> the networks of a run in their objective; checkpoints -> their weights; their networks -> checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from electra.contracts import WordStatistics
from electra.errors import UserError
from electra.model.encoder import DisentangledEmbeddings, Embeddings, Encoder, EncoderConfig
from electra.model.flops import SHAPE, generator_sizes
from electra.model.generators import ClozeModel, Generator, MaskedLanguageModel, ReplacementSource, TwoTowerGenerator
from electra.model.huggingface import Checkpoint, load_checkpoint, save_checkpoint
from electra.model.initialization import initialize
from electra.model.objectives import AllTokensMaskedLM, CorruptionObjective, Discriminator, Electric, ReplacedTokenObjective, ReplaceMaskedLM
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
    """The generator's shape, of a discriminator's."""
    return replace(config, **generator_sizes(settings))


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
) -> MaskedLanguageModel | CorruptionObjective:
    """The objective and its networks, with initial weights from `seed` and, if given, from counted `words`."""
    config = discriminator_config(model, vocab_size)
    built: MaskedLanguageModel | CorruptionObjective
    if objective.objective == "mlm":
        built = MaskedLanguageModel(Generator(Encoder(config)), objective, mask_id=mask_id, special_ids=special_ids)
    else:
        encoder, source = encoder_and_source(model, objective, config, mask_id=mask_id, special_ids=special_ids)
        if objective.objective == "replace-mlm":
            built = ReplaceMaskedLM(Generator(encoder), source, objective)
        elif objective.objective == "all-tokens-mlm":
            built = AllTokensMaskedLM(Generator(encoder), source, objective)
        else:
            kind = Electric if objective.objective == "electric" else ReplacedTokenObjective
            built = kind(Discriminator(encoder, electric=kind is Electric), source, objective, sequence_length=sequence_length)
    initialize(built, torch.Generator().manual_seed(seed), attention=model.attention_init, words=words)
    for part in built.modules():
        if isinstance(part, DisentangledEmbeddings):
            part.copy_shared()
    return built


def encoder_and_source(
    model: ModelSettings, objective: ObjectiveSettings, config: EncoderConfig, *, mask_id: int, special_ids: Collection[int]
) -> tuple[Encoder, ReplacementSource]:
    """The main encoder, and the source of replacements."""
    if model.generator in ("uniform", "shared"):
        encoder = Encoder(config)
        if model.generator == "uniform":
            return encoder, ReplacementSource(objective, vocab_size=config.vocab_size, mask_id=mask_id, special_ids=special_ids)
        return encoder, MaskedLanguageModel(Generator(encoder), objective, mask_id=mask_id, special_ids=special_ids)
    small = generator_config(model, config)
    own = Embeddings(config)
    first = Encoder(small, own)
    if model.embedding_sharing == "disentangled":
        encoder = Encoder(config, DisentangledEmbeddings(config, own))
    else:
        encoder = Encoder(config, own if model.embedding_sharing == "tied" else None)
    if model.generator == "two-tower":
        towers = TwoTowerGenerator(first, Encoder(small, own))
        return encoder, ClozeModel(towers, objective, mask_id=mask_id, special_ids=special_ids)
    return encoder, MaskedLanguageModel(Generator(first), objective, mask_id=mask_id, special_ids=special_ids)


def start_from(objective: MaskedLanguageModel | CorruptionObjective, source: str | Path) -> list[str]:
    """`--init`: fill an objective from a checkpoint folder, run directory or hub name -> warnings about what was missing.

    Raises:
        UserError: not found, or its shape is not the preset's.
    """
    checkpoint = load_checkpoint(source)
    has_generator = isinstance(objective, CorruptionObjective) and (checkpoint.path / "generator" / "config.json").exists()
    return load_weights(objective, checkpoint, load_checkpoint(checkpoint.path / "generator") if has_generator else None)


def main_network(objective: MaskedLanguageModel | CorruptionObjective) -> Discriminator | Generator:
    """The network that a run is for, at the top of its checkpoints: the discriminator or the masked LM."""
    if isinstance(objective, ReplacedTokenObjective):
        return objective.discriminator
    network = objective.model if isinstance(objective, ReplaceMaskedLM) else objective.generator
    assert isinstance(network, Generator)
    return network


def generator_alone(objective: MaskedLanguageModel | CorruptionObjective) -> frozenset[str]:
    """Names of the generator's parameters that it does not share with the main network."""
    if not isinstance(objective, CorruptionObjective) or objective.generator is None:
        return frozenset()
    shared = {id(parameter) for parameter in main_network(objective).parameters()}
    its = {id(parameter) for parameter in objective.generator.parameters()} - shared
    return frozenset(name for name, parameter in objective.named_parameters() if id(parameter) in its)


def save(
    objective: MaskedLanguageModel | CorruptionObjective,
    folder: Path,
    *,
    tokenizer: Path,
    card: str,
    extra: Mapping[str, Any] | None = None,
    max_length: int = 0,
) -> None:
    """Write an objective's networks: the main one to `folder`, the generator to `folder`/generator; `extra` goes into both config.json."""
    network = main_network(objective)
    shared: dict[str, Any] = {"tokenizer": tokenizer, "extra": extra, "max_length": max_length}
    save_checkpoint(plain(network), folder, card=card, **shared)
    if isinstance(objective, CorruptionObjective) and objective.generator is not None:
        save_checkpoint(objective.generator, folder / "generator", **shared)


def plain(network: Discriminator | Generator) -> Discriminator | Generator:
    """The network itself, or if its embeddings are disentangled an equivalent one with plain embeddings."""
    embeddings = network.encoder.embeddings
    if not isinstance(embeddings, DisentangledEmbeddings):
        return network
    assert isinstance(network, Discriminator), "a masked LM has its own word embeddings"
    prefix = "encoder.embeddings."
    state = {name: value for name, value in network.state_dict().items() if not name.startswith(prefix)}
    copy = Discriminator(Encoder(network.encoder.config), electric=network.electric)
    copy.load_state_dict(state | {prefix + name: value for name, value in embeddings.plain_state().items()})
    return copy


def load_weights(objective: MaskedLanguageModel | CorruptionObjective, checkpoint: Checkpoint, generator: Checkpoint | None) -> list[str]:
    """Fill an objective from a checkpoint (`--init`), and its generator's where there is one -> warnings about what was missing.

    A masked-LM checkpoint initializes the encoder, and if it has the generator's shape, the generator too.

    Raises:
        UserError: the checkpoint's shape is not the preset's.
    """
    network, target = main_network(objective), objective.generator
    warnings: list[str] = []
    if isinstance(objective, CorruptionObjective) and target is not None and target.encoder is not network.encoder:
        if generator is None and type(checkpoint.module) is type(target) and same_shape(checkpoint.config, target.encoder.config):
            generator = checkpoint
        if generator is None:
            warnings.append("no generator in the checkpoint: the generator starts from the discriminator's embeddings and random layers")
            target.encoder.embeddings.load_state_dict(checkpoint.encoder.embeddings.state_dict())
        else:
            warnings += _fill(target, generator)
    # The generator first: disentangled embeddings are relative to the generator's.
    return _fill(network, checkpoint) + warnings


def same_shape(one: EncoderConfig, other: EncoderConfig) -> bool:
    """Whether weights of one fit the other."""
    return all(getattr(one, name) == getattr(other, name) for name in SHAPE)


def _fill(target: Discriminator | Generator | TwoTowerGenerator, source: Checkpoint) -> list[str]:
    """Load a network's weights from a checkpoint: all if it has the same architecture, else the encoder's."""
    check_shape(source.config, target.encoder.config)
    same = type(source.module) is type(target)
    state = source.module.state_dict() if same else {f"encoder.{name}": value for name, value in source.encoder.state_dict().items()}
    embeddings = target.encoder.embeddings
    if isinstance(embeddings, DisentangledEmbeddings):
        embeddings.load_plain(source.encoder.embeddings.state_dict())
        state = {name: value for name, value in state.items() if not name.startswith("encoder.embeddings.")}
    missing = target.load_state_dict(state, strict=False).missing_keys
    assert not same or all("embeddings" in name for name in missing), missing
    if same:
        return []
    return [f"{source.path} is an {source.architecture}: the encoder starts from it, the {type(target).__name__.lower()}'s head is random"]


def check_shape(theirs: EncoderConfig, ours: EncoderConfig) -> None:
    """Check that weights have the network's shape.

    Raises:
        UserError: names the first difference and the flag to change.
    """
    for name in SHAPE:
        if getattr(ours, name) != getattr(theirs, name):
            flag = f"set --{name.replace('_', '-')} {getattr(theirs, name)}"
            remedy = "prepare the data with the checkpoint's vocabulary" if name == "vocab_size" else flag
            raise UserError(f"--init: {name} is {getattr(theirs, name)} in the checkpoint, {getattr(ours, name)} in this run; {remedy}")

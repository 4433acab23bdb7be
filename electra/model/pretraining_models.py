"""Settings -> the networks of a run in their objective; checkpoints -> their weights; their networks -> checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from electra.contracts import WordStatistics
from electra.errors import UserError
from electra.model.encoder import ACTIVATION, DisentangledEmbeddings, Embeddings, Encoder, EncoderConfig
from electra.model.flops import SHAPE
from electra.model.generators import CausalLanguageModel, ClozeModel, Generator, MaskedLanguageModel, ReplacementSource, TwoTowerGenerator
from electra.model.huggingface import Checkpoint, architecture_of, encoder_of, is_causal, is_electric, load_checkpoint, save_checkpoint
from electra.model.initialization import initialize, start_from_teacher
from electra.model.objectives import (
    AllTokensMaskedLM,
    CorruptionObjective,
    Discriminator,
    Electric,
    LayerDistillation,
    PretrainingObjective,
    ReplacedTokenObjective,
    ReplaceMaskedLM,
)
from electra.protobuf import find_checkpoint, is_checkpoint
from electra.settings import ModelSettings, ObjectiveSettings
from electra.settings.pretrain import DETECTORS, FIRST_PHASES, LANGUAGE_MODELS, generator_sizes
from electra.storage import resolve

ENCODER_FIELDS = (*(name for name in SHAPE if name != "vocab_size"), "type_vocab_size", "layer_norm_eps", "hidden_act")
"""Fields of `ModelSettings` and `EncoderConfig` that decide what an encoder computes, besides its number of tokens."""


def is_detector(objective: ObjectiveSettings) -> bool:
    """Whether the network of an objective is a discriminator."""
    return objective.objective in DETECTORS


def discriminator_config(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    """The discriminator's shape for a vocabulary; its table may have more rows than that.

    Raises:
        UserError: the heads do not divide the width, fewer rows than tokens, or an unknown activation.
    """
    if settings.hidden_size % settings.num_attention_heads:
        raise UserError(
            f"hidden_size {settings.hidden_size} is not a multiple of num_attention_heads {settings.num_attention_heads}; change one of them"
        )
    rows = settings.embedding_rows or vocab_size
    if rows < vocab_size:
        raise UserError(f"embedding_rows {rows} is below the {vocab_size} tokens of the vocabulary; leave it out")
    if settings.hidden_act not in ACTIVATION:
        raise UserError(f"hidden_act '{settings.hidden_act}' is not supported; supported: {', '.join(ACTIVATION)}")
    return EncoderConfig(
        vocab_size=rows,
        dropout=settings.dropout,
        tie_word_embeddings=settings.tie_word_embeddings,
        **{name: getattr(settings, name) for name in ENCODER_FIELDS},
    )


def masked_lm_config(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    """The shape of a masked LM that a run is for: the same, and a BERT if it continues one.

    Raises:
        UserError: as `discriminator_config`, or a BERT with embeddings of another width.
    """
    if settings.model_type == "bert" and settings.embedding_size != settings.hidden_size:
        raise UserError(f"model_type 'bert' needs embedding_size {settings.hidden_size}, its hidden_size; it is {settings.embedding_size}")
    return replace(discriminator_config(settings, vocab_size), model_type=settings.model_type)


def generator_config(settings: ModelSettings, config: EncoderConfig) -> EncoderConfig:
    """The generator's shape, of a discriminator's.

    Raises:
        UserError: its heads do not divide its width, or it shares embeddings of another width.
    """
    sizes = generator_sizes(settings)
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise UserError(
            f"generator_hidden_size {sizes['hidden_size']} is not a multiple of generator_num_attention_heads {sizes['num_attention_heads']}; "
            "change one of them"
        )
    table = sizes["embedding_size"], settings.generator_embedding_rows or config.vocab_size
    if table != (config.embedding_size, config.vocab_size) and settings.embedding_sharing != "untied":
        raise UserError(
            f"the generator's embeddings are {table[1]} x {table[0]}, the discriminator's {config.vocab_size} x {config.embedding_size}; "
            "set --embedding-sharing untied"
        )
    return replace(config, **sizes, vocab_size=table[1])


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
) -> PretrainingObjective:
    """The objective and its networks, with initial weights from `seed` and, if given, from counted `words`."""
    config = (discriminator_config if is_detector(objective) else masked_lm_config)(model, vocab_size)
    vocabulary: dict[str, Any] = {"vocab_size": vocab_size, "mask_id": mask_id, "special_ids": special_ids}
    built: PretrainingObjective
    if objective.objective in LANGUAGE_MODELS:
        causal = objective.objective == "clm"
        built = (CausalLanguageModel if causal else MaskedLanguageModel)(Generator(Encoder(config), causal=causal), objective, **vocabulary)
    elif objective.objective == "distill":
        built = LayerDistillation(Encoder(config), Encoder(teacher_config(model, objective, vocab_size)))
    else:
        encoder, source = encoder_and_source(model, objective, config, **vocabulary)
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
    model: ModelSettings, objective: ObjectiveSettings, config: EncoderConfig, **vocabulary: Any
) -> tuple[Encoder, ReplacementSource]:
    """The main encoder, and the source of replacements; `vocabulary`: `vocab_size`, `mask_id` and `special_ids`."""
    if model.generator in ("uniform", "shared"):
        encoder = Encoder(config)
        if model.generator == "uniform":
            return encoder, ReplacementSource(objective, **vocabulary)
        return encoder, MaskedLanguageModel(Generator(encoder), objective, **vocabulary)
    small = replace(generator_config(model, config), model_type="electra")
    own = Embeddings(small)
    first = Encoder(small, own)
    if model.embedding_sharing == "disentangled":
        encoder = Encoder(config, DisentangledEmbeddings(config, own))
    else:
        encoder = Encoder(config, own if model.embedding_sharing == "tied" else None)
    if model.generator == "two-tower":
        towers = TwoTowerGenerator(first, Encoder(small, own))
        return encoder, ClozeModel(towers, objective, **vocabulary)
    return encoder, MaskedLanguageModel(Generator(first), objective, **vocabulary)


def main_network(objective: PretrainingObjective) -> Discriminator | Generator | LayerDistillation:
    """The network that a run is for, at the top of its checkpoints: the discriminator, the masked LM, or what holds the student's encoder."""
    if isinstance(objective, ReplacedTokenObjective):
        return objective.discriminator
    if isinstance(objective, LayerDistillation):
        return objective
    network = objective.model if isinstance(objective, ReplaceMaskedLM) else objective.generator
    assert isinstance(network, Generator)
    return network


def generator_alone(objective: PretrainingObjective) -> frozenset[str]:
    """Names of the generator's parameters that it does not share with the main network."""
    if not isinstance(objective, CorruptionObjective) or objective.generator is None:
        return frozenset()
    shared = {id(parameter) for parameter in main_network(objective).parameters()}
    its = {id(parameter) for parameter in objective.generator.parameters()} - shared
    return frozenset(name for name, parameter in objective.named_parameters() if id(parameter) in its)


def save(
    objective: PretrainingObjective,
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
    module = network.encoder if isinstance(network, LayerDistillation) else plain(network)
    save_checkpoint(module, folder, card=card, **shared)
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


# ---- teacher ----


def read_teacher(source: str) -> Encoder:
    """`--teacher` -> its encoder.

    Raises:
        UserError: no encoder.
    """
    return load_checkpoint(source, "encoder").encoder


def teacher_shape(teacher: Encoder) -> tuple[int, ...]:
    """What `ObjectiveSettings.teacher_shape` says of a teacher."""
    config = teacher.config
    return (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size, config.embedding_size)


def teacher_config(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int) -> EncoderConfig:
    """A network of the teacher's shape, until its weights are read; `model` is the student's."""
    layers, width, heads, inner, embedding = objective.teacher_shape
    sizes: dict[str, Any] = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "embedding_size": embedding,
    }
    return discriminator_config(replace(model, **sizes, dropout=0.0), vocab_size)


@torch.no_grad()
def start_student(objective: LayerDistillation, model: ModelSettings, seed: int) -> list[str]:
    """Initial weights of a student from its teacher, by `embedding_init` and where layers are of one shape -> sentences for the user."""
    student, teacher, lines = objective.encoder, objective.teacher, []
    if model.embedding_init == "teacher":
        line, back, shift = start_from_teacher(student, teacher, torch.Generator().manual_seed(seed))
        nn.init.zeros_(objective.maps[-1].get_parameter("weight"))  # the last states are the farthest from them
        for linear in list(objective.maps)[:-1]:  # layers add to the embeddings, in both networks
            linear.get_parameter("weight").copy_(back)
            linear.get_parameter("bias").copy_(shift)
        lines.append(line)
    names = ("hidden_size", "num_attention_heads", "intermediate_size")
    pairs = ", ".join(f"{mine}-{its}" for mine, its in enumerate(objective.layers))
    if all(getattr(student.config, name) == getattr(teacher.config, name) for name in names):
        for layer, index in zip(student.layers, objective.layers[1:], strict=True):
            layer.load_state_dict(teacher.layers[index - 1].state_dict())
        for linear in objective.maps:
            nn.init.eye_(linear.get_parameter("weight"))
            nn.init.zeros_(linear.get_parameter("bias"))
        lines.append(f"layers: the teacher's {', '.join(map(str, objective.layers[1:]))}")
    return [*lines, f"states compared, student-teacher: {pairs} (0: the embeddings)"]


# ---- start from a checkpoint ----


@dataclass(frozen=True, kw_only=True)
class Start:
    """The networks that a run starts from (`--init`, `--init-generator`)."""

    source: str
    """As the user named it."""
    main: Checkpoint
    """The network at the top of the checkpoint."""
    generator: Checkpoint | None = None
    generator_source: str = ""
    notes: tuple[str, ...] = ()
    """What was read and how, in sentences for the user."""


def read_start(source: str, generator: str | None = None) -> Start:
    """`--init` and `--init-generator` -> networks; without the second, the generator in SOURCE/generator or in the same TensorFlow checkpoint.

    Raises:
        UserError: not found, damaged, or a generator without a masked-LM head.
    """
    start = _read_networks(source, "any")
    if generator is None:
        return start
    other = _read_networks(generator, "generator")
    found = other.generator or other.main
    if resolve.head_of(found.architecture) not in ("masked-lm", "cloze"):
        raise UserError(
            f"--init-generator {generator} is {resolve.with_article(found.architecture)}; give a masked language model (ElectraForMaskedLM)"
        )
    return replace(start, generator=found, generator_source=generator, notes=start.notes + other.notes)


def _read_networks(source: str, role: str) -> Start:
    """The networks of a folder, a name or a TensorFlow checkpoint."""
    if is_checkpoint(Path(source)):
        from electra.model.tensorflow import read_networks

        prefix = find_checkpoint(Path(source))
        networks = read_networks(prefix)
        generator = None if networks.generator is None else _as_checkpoint(networks.generator, prefix)
        notes = tuple(f"{prefix.name}: {note}" for note in networks.notes)
        return Start(
            source=source, main=_as_checkpoint(networks.main, prefix), generator=generator, generator_source=f"the generator of {source}", notes=notes
        )
    main = load_checkpoint(source, role)
    folder = main.path / "generator"
    generator = load_checkpoint(folder) if (folder / "config.json").exists() else None
    notes = resolve.unused_modules(source, main.path)
    return Start(source=source, main=main, generator=generator, generator_source=f"the generator of {source}", notes=notes)


def _as_checkpoint(module: nn.Module, prefix: Path) -> Checkpoint:
    return Checkpoint(
        module=module, config=encoder_of(module).config, architecture=architecture_of(module), labels=(), path=prefix.parent, hf_config={}
    )


def usable_generator(start: Start, model: ModelSettings, objective: ObjectiveSettings) -> tuple[Checkpoint | None, str]:
    """The checkpoint that the run's generator starts from, and why none if there is one that does not fit; ('' if there is none).

    A masked LM of the generator's shape is both.
    """
    if objective.objective in LANGUAGE_MODELS or model.generator in ("uniform", "shared"):
        return None, ""
    kind = TwoTowerGenerator if model.generator == "two-tower" else Generator
    found = start.generator
    fits = isinstance(start.main.module, kind) and not is_causal(start.main)
    if found is None and fits and generator_config(model, start.main.config) == start.main.config:
        found = start.main
    if found is None:
        return None, ""
    if not isinstance(found.module, kind):
        return None, f"{start.generator_source} is {resolve.with_article(found.architecture)}, this run's generator is '{model.generator}'"
    if found.config.model_type == "bert" and found.config.hidden_act not in ("gelu", "gelu_python"):
        return None, f"{start.generator_source} is a BERT whose head has the activation {found.config.hidden_act}; a generator's has gelu"
    return found, ""


def shape_of(start: Start, model: ModelSettings, objective: ObjectiveSettings) -> dict[str, Any]:
    """The values of `ModelSettings` that the networks of a start have.

    Raises:
        UserError: one segment type, or discriminator and generator differ in what they have in common in a run.
    """
    config = start.main.config
    if config.type_vocab_size < 2:
        raise UserError(f"--init {start.source}: its type_vocab_size is 1, and examples of pre-training have two segments; give another checkpoint")
    values: dict[str, Any] = {name: getattr(config, name) for name in ENCODER_FIELDS} | {"embedding_rows": config.vocab_size}
    if not is_detector(objective):
        values["model_type"] = config.model_type
    if isinstance(start.main.module, Generator) and objective.objective in LANGUAGE_MODELS:
        values["tie_word_embeddings"] = config.tie_word_embeddings
    sharing: dict[str, Any] = {"embedding_sharing": "untied"} if start.generator is not None else {}
    adopted = replace(model, **values | sharing)
    found, _ = usable_generator(start, adopted, objective)
    if found is None:
        return values
    common = ("max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act")
    if different := [name for name in common if getattr(found.config, name) != getattr(config, name)]:
        shown = ", ".join(f"{name} {getattr(found.config, name)} (the main network: {getattr(config, name)})" for name in different)
        raise UserError(f"{start.generator_source}: the generator has {shown}; give one that fits with --init-generator, or move it away")
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    values |= {f"generator_{name}": getattr(found.config, name) for name in sizes}
    values["tie_word_embeddings"] = found.config.tie_word_embeddings
    if found.config.embedding_size != config.embedding_size:
        values["generator_embedding_size"] = found.config.embedding_size
    if found.config.vocab_size != config.vocab_size:
        values["generator_embedding_rows"] = found.config.vocab_size
    if model.embedding_sharing != "untied" and not _same_embeddings(found, start.main):
        fits = model.embedding_sharing == "disentangled" and not {"generator_embedding_size", "generator_embedding_rows"} & values.keys()
        values["embedding_sharing"] = "disentangled" if fits else "untied"
    return values


def _same_embeddings(one: Checkpoint, other: Checkpoint) -> bool:
    mine, theirs = one.encoder.embeddings.state_dict(), other.encoder.embeddings.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())  # False for other shapes, too


def load_start(objective: PretrainingObjective, start: Start, model: ModelSettings, settings: ObjectiveSettings) -> list[str]:
    """Fill an objective's networks from a start of its shape -> what each starts from, in sentences for the user.

    Where the checkpoint brings no generator, it starts from the main network's embeddings and random layers, or its lowest ones (generator_init).
    """
    network, target = main_network(objective), objective.generator
    found, unfit = usable_generator(start, model, settings)
    lines: list[str] = []
    if isinstance(objective, CorruptionObjective) and target is not None and target.encoder is not network.encoder:
        if found is not None:
            _fill(target, found)
            where = start.source if found is start.main else start.generator_source
            lines.append(f"the generator starts from {where}, {resolve.with_article(found.architecture)}")
        else:
            reason = unfit or f"no generator in {start.source}"
            own = Path(start.source).parent.name in FIRST_PHASES  # what this run has trained itself
            remedy = "" if own else "; --init-generator names one"
            lines.append(f"{reason}: the generator starts from {_copy_lowest(target, start, model)}{remedy}")
    assert not isinstance(network, LayerDistillation), "a student starts from its teacher"
    # The generator first: disentangled embeddings are relative to the generator's.
    return _fill_main(network, start) + lines


def _fill_main(network: Discriminator | Generator, start: Start) -> list[str]:
    """Fill the main network -> what it starts from."""
    main, mine = start.main, "discriminator" if isinstance(network, Discriminator) else "causal LM" if network.causal else "masked LM"
    what = f"{start.source} is {resolve.with_article(main.architecture)}{' trained as a causal LM' if is_causal(main) else ''}"
    if _fill(network, main):
        lines = [f"{what}: the {mine} starts from it"]
        if isinstance(network, Discriminator) and network.electric != is_electric(main):
            lines.append(
                f"its head was trained for {'energies (Electric)' if is_electric(main) else 'replaced tokens'}, this run's objective differs"
            )
    else:
        lines = [f"{what}: the encoder starts from it, the {mine}'s head is random"]
        if resolve.head_of(main.architecture) != "encoder":
            lines[0] += f"; its own head ({resolve.head_of(main.architecture)}) is not used"
    if main.encoder.kept:
        lines.append("its pooler is dropped: nothing in pre-training uses it")
    if main.config.model_type == "bert" and network.encoder.config.model_type == "electra":
        lines.append(f"the run saves {resolve.with_article(architecture_of(network))}, which computes the same encoder")
    return lines


def _copy_lowest(network: nn.Module, start: Start, model: ModelSettings) -> str:
    """Fill a generator's encoder from the checkpoint's: embeddings of its width, by `generator_init` the layers, with them the head of a masked LM
    -> from what, in words."""
    encoder: Encoder = network.get_submodule("encoder")  # type: ignore[assignment]
    source, mine = start.main.encoder.state_dict(), encoder.state_dict()
    if encoder.config.embedding_size != start.main.config.embedding_size:
        return "random weights"
    if model.generator_init == "encoder":
        encoder.load_state_dict({name: source[name] for name in mine})
        layers = f"the lowest {len(encoder.layers)} of its {len(start.main.encoder.layers)} layers"
        other = start.main.module
        if isinstance(network, Generator) and isinstance(other, Generator) and not is_causal(start.main) and _same_head(network, other):
            network.head.load_state_dict(other.head.state_dict())
            return f"the checkpoint's embeddings, {layers} and its masked-LM head"
    else:
        encoder.embeddings.load_state_dict(start.main.encoder.embeddings.state_dict())
        layers = "random layers"
    return f"the checkpoint's embeddings and {layers}, with a masked-LM head of random weights"


def _same_head(mine: Generator, other: Generator) -> bool:
    """Whether a masked LM's head computes the same with the other's weights."""
    names = ("tie_word_embeddings", "hidden_act", "embedding_size", "vocab_size")
    gelu = other.encoder.config.model_type == "electra" or other.encoder.config.hidden_act in ("gelu", "gelu_python")
    return gelu and all(getattr(mine.encoder.config, name) == getattr(other.encoder.config, name) for name in names)


def load_warm_up(objective: PretrainingObjective, start: Start, model: ModelSettings) -> list[str]:
    """The warm-up of a generator: a masked LM gets the embeddings of the checkpoint, and by `generator_init` its lowest layers -> a sentence."""
    begins = _copy_lowest(main_network(objective), start, model)
    stay = ", which stay as they are" if model.embedding_sharing == "tied" else ""
    return [f"no generator in {start.source}: it starts from {begins}, and learns as a masked LM first, on the checkpoint's embeddings{stay}"]


def freeze_embeddings(objective: PretrainingObjective) -> None:
    """Train everything but the embeddings (and the output matrix, if it is tied to them)."""
    main_network(objective).encoder.embeddings.requires_grad_(False)


def freeze_layers(objective: PretrainingObjective) -> None:
    """Train the embeddings and the head of a masked or causal LM only."""
    main_network(objective).encoder.layers.requires_grad_(False)


def same_shape(one: EncoderConfig, other: EncoderConfig) -> bool:
    """Whether weights of one fit the other."""
    return all(getattr(one, name) == getattr(other, name) for name in SHAPE)


def _fill(target: Discriminator | Generator | TwoTowerGenerator, source: Checkpoint) -> bool:
    """Load a network's weights from a checkpoint of its shape -> whether all, because it has the same head; else the encoder's."""
    same = type(source.module) is type(target)
    state = source.module.state_dict() if same else {f"encoder.{name}": value for name, value in source.encoder.state_dict().items()}
    embeddings = target.encoder.embeddings
    if isinstance(embeddings, DisentangledEmbeddings):
        embeddings.load_plain(source.encoder.embeddings.state_dict())
        state = {name: value for name, value in state.items() if not name.startswith("encoder.embeddings.")}
    missing = target.load_state_dict(state, strict=False).missing_keys
    assert not same or all("embeddings" in name for name in missing), missing
    return same

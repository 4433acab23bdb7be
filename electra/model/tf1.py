"""Original TensorFlow checkpoint -> discriminator and generator, without TensorFlow.

Names follow google-research/electra's `model/modeling.py`: the discriminator under `electra/`, the generator under `generator/` (its embeddings
only where they are its own), heads beside them; BERT's own under `bert/` and `cls/predictions/`. Sizes are read off the variables'
shapes; the number of heads leaves no trace in them, so it is taken to be one per 64 of width, as in every released model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from electra.errors import UserError
from electra.model.encoder import EncoderConfig
from electra.model.generators import Generator
from electra.model.hf import new_module
from electra.model.hf_keys import from_hf
from electra.model.objectives import Discriminator
from electra.model.tensor_bundle import TensorBundle

HEAD_WIDTH = 64
RENAMED = (
    (r"/", "."),
    (r"\.layer_(\d+)\.", r".layer.\1."),
    (r"\.(kernel|gamma)$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"_embeddings$", "_embeddings.weight"),
    (r"^(generator|bert)\.", "electra."),
    (r"^discriminator_predictions\.dense_1\.", "discriminator_predictions.dense_prediction."),
    (r"^cls\.predictions\.transform\.", "generator_predictions."),
    (r"^(generator_predictions|cls\.predictions)\.output_bias$", "generator_lm_head.bias"),
)
"""Pattern -> replacement, in this order, from the original's names to Hugging Face's."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a checkpoint holds."""

    discriminator: Discriminator | None
    generator: Generator | None
    """The generator; of a BERT checkpoint, the BERT."""
    unused: tuple[str, ...]
    """Variables that belong to neither, without the optimizer's."""


def read_networks(prefix: Path, num_attention_heads: int | None = None) -> Networks:
    """The networks of the checkpoint `prefix`; `num_attention_heads` are the discriminator's, unset: one per 64 of width.

    Raises:
        UserError: damaged, no ELECTRA and no BERT, or incomplete; the message names what is missing.
    """
    bundle = TensorBundle(prefix)
    used: set[str] = set()
    scopes = {name.split("/")[0] for name in bundle.entries}
    if "bert" in scopes and "electra" not in scopes:
        config = _config(bundle, "bert", "bert", num_attention_heads)
        bert = _fill(bundle, "ElectraForMaskedLM", config, ("bert/", "cls/predictions/"), used)
        return Networks(discriminator=None, generator=bert, unused=_unused(bundle, used))  # type: ignore[arg-type]
    if "electra" not in scopes and "generator" not in scopes:
        raise UserError(f"{prefix} is no ELECTRA and no BERT: its variables begin with {', '.join(sorted(scopes)[:5]) or 'nothing'}")
    discriminator: nn.Module | None = None
    generator: nn.Module | None = None
    heads, width = num_attention_heads, None
    if _has_encoder(bundle, "electra"):
        config = _config(bundle, "electra", "electra", num_attention_heads)
        heads, width = config.num_attention_heads, config.hidden_size
        discriminator = _fill(bundle, "ElectraForPreTraining", config, ("electra/", "discriminator_predictions/"), used)
    if _has_encoder(bundle, "generator"):
        embeddings = "generator" if "generator/embeddings/word_embeddings" in bundle.entries else "electra"
        own = _config(bundle, "generator", embeddings, None)
        if heads is not None and width is not None:
            # The original's rule (`get_generator_config`): heads shrink with the width.
            own = _config(bundle, "generator", embeddings, max(1, heads * own.hidden_size // width))
        parts = ("generator/", f"{embeddings}/embeddings/", "generator_predictions/")
        generator = _fill(bundle, "ElectraForMaskedLM", own, parts, used)
    if discriminator is None and generator is None:
        raise UserError(f"{prefix} holds no encoder: neither electra/encoder nor generator/encoder is among its variables")
    return Networks(discriminator=discriminator, generator=generator, unused=_unused(bundle, used))  # type: ignore[arg-type]


def _has_encoder(bundle: TensorBundle, scope: str) -> bool:
    return any(name.startswith(f"{scope}/encoder/") for name in bundle.entries)


def _config(bundle: TensorBundle, scope: str, embeddings: str, heads: int | None) -> EncoderConfig:
    """Sizes from shapes."""

    def shape(name: str, rank: int = 2) -> tuple[int, ...]:
        if name not in bundle.entries:
            raise UserError(f"{bundle.prefix}: variable '{name}' is missing; the checkpoint is not complete")
        found = bundle.entries[name].shape
        if len(found) != rank or not all(found):
            raise UserError(f"{bundle.prefix}: variable '{name}' has shape {found}, expected {rank} sizes above zero")
        return found

    vocab_size, embedding_size = shape(f"{embeddings}/embeddings/word_embeddings")
    hidden_size, intermediate_size = shape(f"{scope}/encoder/layer_0/intermediate/dense/kernel")
    layers = {int(m[1]) for name in bundle.entries if (m := re.match(rf"{scope}/encoder/layer_(\d{{1,4}})/", name))}
    if missing := set(range(max(layers))) - layers:
        raise UserError(f"{bundle.prefix}: layer {min(missing)} of {scope}/encoder is missing; the checkpoint is not complete")
    if heads is None:
        heads = max(1, hidden_size // HEAD_WIDTH)
    if heads < 1 or hidden_size % heads:
        raise UserError(f"{bundle.prefix}: {heads} heads do not divide its width of {hidden_size}; give --num-attention-heads")
    return EncoderConfig(
        vocab_size=vocab_size,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=shape(f"{embeddings}/embeddings/position_embeddings")[0],
        type_vocab_size=shape(f"{embeddings}/embeddings/token_type_embeddings")[0],
    )


def hf_name(name: str) -> str:
    """A variable's name -> Hugging Face's name of that weight."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _fill(bundle: TensorBundle, architecture: str, config: EncoderConfig, parts: tuple[str, ...], used: set[str]) -> nn.Module:
    """A module from the variables below `parts`; an encoder's own embeddings stand before another's."""
    tensors: dict[str, Tensor] = {}
    for name in bundle.entries:
        if not name.startswith(parts) or name.endswith(("/adam_m", "/adam_v")) or hf_name(name) in tensors:
            continue
        if "pooler" in name:
            continue
        values = bundle.read(name)
        if name.endswith("/kernel"):
            values = values.T
        tensors[hf_name(name)] = torch.tensor(values, dtype=torch.float32)
        used.add(name)
    module = new_module(architecture, config)
    from_hf(module, tensors, bundle.prefix)
    return module.eval()


def _unused(bundle: TensorBundle, used: set[str]) -> tuple[str, ...]:
    kinds = ("/adam_m", "/adam_v")
    return tuple(sorted(name for name in bundle.entries if name not in used and not name.endswith(kinds) and name != "global_step"))

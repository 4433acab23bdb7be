"""Which values of a config.json say whether weights fit a network, and the generator's shape; no torch."""

from __future__ import annotations

from electra.settings import ModelSettings

SHAPE = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)


def generator_sizes(settings: ModelSettings) -> dict[str, int]:
    """What of the generator's shape differs from the discriminator's: width, heads and depth scaled; feed-forward 4 x its own width.

    Heads keep the discriminator's size. The original makes them 64 wide, which is the same at the paper's sizes; of a discriminator with other
    heads its generator has another number (312 wide with 12 heads: one of 78 there, three of 26 here).

    Source: `get_generator_config` of the original's `run_pretraining.py`.
    """
    size = settings.generator_size
    heads = max(1, int(settings.num_attention_heads * size))
    width = max(heads, int(settings.hidden_size * size) // heads * heads)
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": max(1, int(settings.num_hidden_layers * settings.generator_layers)),
        "intermediate_size": settings.intermediate_size if size == 1 else 4 * width,
    }

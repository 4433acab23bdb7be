"""Settings -> floating-point operations and parameters, by arithmetic alone; no torch.

Two ways of counting. Both take a matrix product of (m, k) and (k, n) as 2mkn operations, and count the small work on activations with the
constants of the original's `flops_computation.py`.

Ours counts what is done: a step is three forward passes (the backward pass makes two products of each), the vocabulary's logits are made at
the masked positions only, as is what follows the attention of a masked LM's last layer, and looking up an embedding costs nothing. MFU is this
number over a stated peak.

The original's (google-research/electra; the totals in the paper's tables are of this kind) counts a step as two forward passes, takes
every embedding lookup for a product with one-hot vectors, and assumes 64-wide heads, a feed-forward layer of four widths and 15.625% masked
tokens whatever the settings. Use it to compare with the paper and with nothing else.

Every sequence is taken to have the full length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from electra.settings import ModelSettings, ObjectiveSettings

# ---- Which values of a config.json say whether weights fit a network, and the generator's shape; no torch ----


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


DROPOUT, LAYER_NORM, GELU, SOFTMAX = 4, 5, 8, 5
"""Operations per activation."""
ORIGINAL_MASKED = 0.15625
"""Share of tokens that reach the softmax in the original's count: 20 of 128."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """One encoder and its head, as far as counting goes."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    embedding_size: int
    dropout: float
    predicts: float = 0.0
    """Share of its tokens with logits over the vocabulary."""
    detects: bool = False
    """Whether it has a replaced-token head."""
    towers: int = 1
    """Encoders side by side, whose states its head reads together."""

    @property
    def unasked(self) -> float:
        """Share of its tokens that nobody asks of its last layer, which then ends with their attention."""
        return 1.0 - self.predicts if 0 < self.predicts < 1 and not self.detects and self.towers == 1 else 0.0


def network_shapes(model: ModelSettings, objective: ObjectiveSettings) -> list[NetworkShape]:
    """The networks that every token of a run passes through."""
    large = NetworkShape(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size,
        embedding_size=model.embedding_size,
        dropout=model.dropout,
    )
    masked = objective.mask_prob
    if objective.objective in ("mlm", "replace-mlm"):
        large = replace(large, predicts=masked)
    elif objective.objective == "all-tokens-mlm":
        large = replace(large, predicts=1.0, detects=True)  # its copy head is one
    else:
        large = replace(large, detects=True)
    if objective.objective == "mlm" or model.generator == "uniform":
        return [large]
    if model.generator == "shared":
        return [large, replace(large, predicts=masked, detects=False)]
    small = replace(large, **generator_sizes(model), detects=False)
    two = model.generator == "two-tower"
    return [large, replace(small, predicts=1.0 if two else masked, towers=2 if two else 1)]


# ---- ours ----


def per_token(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int, length: int) -> float:
    """Operations of training per token: three times the forward pass."""
    return 3 * sum(matmuls(net, vocab_size, length) + other_operations(net, vocab_size, length) for net in network_shapes(model, objective))


def matmuls(net: NetworkShape, vocab_size: int, length: int) -> float:
    """Matrix products of the forward pass, operations per token."""
    width, embedding = net.hidden_size, net.embedding_size
    weights = 4 * width * width + 2 * width * net.intermediate_size
    attention = 2 * length * width  # every query with every key, and every weight with its value
    projection = embedding * width if embedding != width else 0
    head = net.predicts * (net.towers * width * embedding + embedding * vocab_size) + net.detects * (width * width + width)
    saved = net.unasked * (width * width + 2 * width * net.intermediate_size)
    return 2.0 * (net.towers * (net.num_hidden_layers * (weights + attention) + projection) - saved + head)


def other_operations(net: NetworkShape, vocab_size: int, length: int) -> float:
    """Everything else of the forward pass: biases, softmax, dropout, residuals, LayerNorm, gelu; operations per token."""
    width, embedding, inner = net.hidden_size, net.embedding_size, net.intermediate_size
    dropout = DROPOUT if net.dropout else 0
    scores = length * net.num_attention_heads * (1 + SOFTMAX + dropout)
    above = 2 * width + inner + GELU * inner + 2 * width * (1 + dropout + LAYER_NORM)  # what follows attention
    layer = scores + 3 * width + above
    below = embedding * (2 + LAYER_NORM + dropout) + (width if embedding != width else 0)
    vocabulary = net.predicts * (embedding * (1 + GELU + LAYER_NORM) + vocab_size * (1 + SOFTMAX))
    detection = net.detects * (width * (1 + GELU) + 1 + SOFTMAX)
    return float(net.towers * (net.num_hidden_layers * layer + below) - net.unasked * above + vocabulary + detection)


# ---- the original's ----


def per_token_original(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int, length: int) -> float:
    """Operations of training per token as the original's script counts them: twice a forward pass with dense lookups."""
    return 2 * sum(_forward_original(net, vocab_size, length) for net in network_shapes(model, objective))


def _forward_original(net: NetworkShape, vocab_size: int, length: int) -> float:
    width, embedding, inner, heads = net.hidden_size, net.embedding_size, 4 * net.hidden_size, max(net.hidden_size // 64, 1)
    weights = 2 * (4 * width * width + 2 * width * inner)
    scores = length * (4 * width + heads * (1 + SOFTMAX + DROPOUT))
    # Its first LayerNorm is counted once a token, not once an activation.
    small = 5 * width + inner + GELU * inner + 2 * width * (1 + DROPOUT) + LAYER_NORM * (1 + width)
    lookups = 2 * embedding * (vocab_size + length + 2)
    below = embedding * (2 + LAYER_NORM + DROPOUT) + (2 * width * embedding + width if embedding != width else 0)
    dense = 2 * width * embedding + embedding * (1 + GELU + LAYER_NORM)
    predicts = ORIGINAL_MASKED if 0 < net.predicts < 1 else net.predicts
    head = predicts * (dense + vocab_size * (2 * embedding + SOFTMAX + 2)) + net.detects * width * (2 * width + 1 + GELU + 2)
    return net.towers * (net.num_hidden_layers * (weights + scores + small) + lookups + below) + head


# ---- parameters ----


def num_parameters(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int) -> dict[str, int]:
    """Weights, tied ones once: 'kept' what a checkpoint is for (the discriminator, or a masked LM), 'beside' what training adds, 'all'."""
    embeddings = model.embedding_size * (vocab_size + model.max_position_embeddings + 2 + 2)
    large, *others = network_shapes(model, objective)
    kept = embeddings + _encoder(large) + _heads(replace(large, detects=large.detects and not large.predicts), vocab_size)
    beside = _heads(replace(large, predicts=0.0), vocab_size) if large.predicts else 0
    for small in others:
        shared = model.generator == "shared"
        own = 0 if shared or model.embedding_sharing == "tied" else embeddings
        beside += own + _heads(small, vocab_size) + (0 if shared else small.towers * _encoder(small))
    return {"kept": kept, "beside": beside, "all": kept + beside}


def _encoder(net: NetworkShape) -> int:
    """An encoder's weights above the embeddings."""
    width, embedding, inner = net.hidden_size, net.embedding_size, net.intermediate_size
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    return net.num_hidden_layers * layer + (embedding * width + width if embedding != width else 0)


def _heads(net: NetworkShape, vocab_size: int) -> int:
    """Weights of the heads; the vocabulary's are tied to the word embeddings."""
    width, embedding = net.hidden_size, net.embedding_size
    vocabulary = net.towers * width * embedding + 3 * embedding + vocab_size if net.predicts else 0
    return vocabulary + (width * width + 2 * width + 1 if net.detects else 0)

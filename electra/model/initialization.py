"""Module -> initial weights: the paper's; and for short runs local attention and counted words.

The paper's: normal with standard deviation `initializer_range`, truncated at two of them; biases zero, LayerNorm weights one.

`local`: post-norm encoders first learn word frequencies, and nothing else until some heads have found neighbouring tokens, in a small run
tens of millions of tokens later. Here positions start as sinusoids in a block of the embedding, and heads of the lower layers start by
attending to fixed offsets: with P the sinusoids of a position, W_q P(p) = s R_offset P(p) and W_k P(p') = s P(p'), whose product peaks at
p' = p + offset. Half of the heads of a layer stay global: a network of local heads alone learns syntax, confuses 'good' and 'bad', and its
[CLS] sees two or three words (docs/log.md). All weights stay trainable, and the result is an ordinary ELECTRA checkpoint.

Source: in the spirit of Trockman & Kolter 2023, "Mimetic initialization of self-attention layers".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from electra.contracts import WordStatistics
from electra.model.encoder import Embeddings, Encoder, Layer
from electra.model.heads import MaskedLanguageHead

OFFSETS = (-1, 1, -2, 2, -3, 3, 0, -4)
"""Offsets of the local heads, in this order through the layers."""
POSITION_SHARE = 0.25
"""Fraction of the embedding's width that starts as sinusoids."""
PEAK = 10.0
"""Attention logit of a head at its offset; far away it is near zero."""
SCALE = 0.05
"""Standard deviation of a word embedding's entries: small, because it is also the output matrix."""


def initialize(module: nn.Module, generator: torch.Generator, *, attention: str = "normal", words: WordStatistics | None = None) -> None:
    """Fill every parameter of `module` from `generator`; `attention` is 'normal' or 'local', `words` are counts to start from."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            std = next((m.config.initializer_range for m in module.modules() if isinstance(m, Encoder)), 0.02)
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    if attention == "local":
        with torch.no_grad():
            for encoder in (m for m in module.modules() if isinstance(m, Encoder)):
                _start_local(encoder, generator)
    if words is not None:
        with torch.no_grad():
            _start_words(module, words)


@torch.no_grad()
def start_from_teacher(student: Encoder, teacher: Encoder, generator: torch.Generator) -> tuple[str, Tensor, Tensor]:
    """Embeddings of a student from its teacher's, which are at least as wide -> what they are, in words; the map of the student's states into the
    teacher's that begins with them: (teacher's D, D) and (teacher's D,).

    Of the teacher's width they are equal. Narrower ones are the teacher's in the basis of the leading right singular vectors of its word
    embeddings; positions and segments too. A projection to wider layers leads back into the teacher's space if that has their width, else it
    only turns.
    """
    source, mine = teacher.embeddings, student.embeddings
    assert isinstance(source, Embeddings) and isinstance(mine, Embeddings), "neither is of a discriminator with disentangled embeddings"
    wide, narrow = source.word.weight.shape[1], mine.word.weight.shape[1]
    rows, positions = len(mine.word.weight), len(mine.position.weight)
    what, basis = "the teacher's", torch.eye(wide)
    back, shift = torch.eye(wide), torch.zeros(wide)
    if narrow < wide:
        _, values, right = torch.linalg.svd(source.word.weight[:rows].float(), full_matrices=False)
        basis, share = right[:narrow].T.contiguous(), float(values[:narrow].square().sum() / values.square().sum())
        what = f"the {narrow} leading singular vectors of the teacher's, {share:.0%} of their squared length"
        # LayerNorm gives a vector of n dimensions the length sqrt(n).
        back, shift = source.norm.weight[:, None] * basis * math.sqrt(wide / narrow), source.norm.bias
    for target, table in ((mine.word, source.word), (mine.position, source.position), (mine.segment, source.segment)):
        target.weight.copy_(table.weight[: len(target.weight)] @ basis)
    if narrow == wide:
        mine.norm.load_state_dict(source.norm.state_dict())
    if teacher.projection is not None:
        back, shift = teacher.projection.weight @ back, teacher.projection.weight @ shift + teacher.projection.bias
    if student.projection is not None and student.config.hidden_size == len(back):
        student.projection.weight.copy_(back)
        student.projection.bias.copy_(shift)
        back, shift = torch.eye(len(back)), torch.zeros(len(back))
    elif student.projection is not None:
        # As long as what LayerNorm makes of the layers' states, so that one map fits all of them.
        gain = math.sqrt(student.config.hidden_size / narrow)
        nn.init.orthogonal_(student.projection.weight, gain, generator=generator)
        back = back @ student.projection.weight.T / gain**2
    return f"embeddings: {what} ({rows:,} tokens, {positions} positions)", back, shift


def word_dimensions(embedding_size: int, attention: str) -> int:
    """Dimensions of a word embedding available for its vector: all, or those without sinusoids."""
    return embedding_size - (_position_block(embedding_size) if attention == "local" else 0)


def _start_words(module: nn.Module, words: WordStatistics) -> None:
    """Vectors in the last dimensions of the word embeddings, scaled to their initial size; log frequencies as the masked-LM head's bias."""
    known = torch.from_numpy(words.vectors.any(1))
    vectors = torch.from_numpy(words.vectors)[known]
    dimensions = words.vectors.shape[1]
    for part in module.modules():
        if isinstance(part, Embeddings) and dimensions:
            free = part.word.weight[: len(known), -dimensions:]
            free[known] = vectors * (free.std() * math.sqrt(dimensions))
        elif isinstance(part, MaskedLanguageHead):
            part.output.bias[: len(known)] = torch.from_numpy(words.log_frequencies)


def _position_block(embedding_size: int) -> int:
    return 2 * max(2, int(embedding_size * POSITION_SHARE) // 2)


def _frequencies(pairs: int) -> Tensor:
    return torch.logspace(math.log10(2.0), math.log10(0.1), pairs)


def _start_local(encoder: Encoder, generator: torch.Generator) -> None:
    config, embeddings = encoder.config, encoder.embeddings
    block = _position_block(config.embedding_size)
    pairs = block // 2
    if isinstance(embeddings, Embeddings):  # disentangled ones start as the generator's
        _start_positions(embeddings, block, generator)
    layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
    for layer in layers:
        # What a layer adds must start smaller than its input, or words and positions vanish within a few layers of LayerNorm.
        for linear, gain in ((layer.qkv, 1.0), (layer.attention_output, 0.5), (layer.up, 1.0), (layer.down, 0.25)):
            nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features), generator=generator)
    if encoder.projection is not None:
        weight = torch.randn(config.hidden_size, config.embedding_size, generator=generator) / math.sqrt(config.embedding_size - block)
        weight[:, :block] = 0
        weight[:block] = 0
        weight[:block, :block] = torch.eye(block)
        encoder.projection.weight.copy_(weight)
    for index, layer in enumerate(layers[: max(1, len(layers) // 2)]):
        _aim_heads(layer, config.head_size, block, pairs, index)


def _start_positions(embeddings: Embeddings, block: int, generator: torch.Generator) -> None:
    """Sinusoids in the first `block` dimensions of the positions, words in the others."""
    num_positions, width = embeddings.position.weight.shape
    angles = torch.arange(num_positions)[:, None] * _frequencies(block // 2)
    table = torch.zeros(num_positions, width)
    table[:, 0:block:2], table[:, 1:block:2] = angles.sin(), angles.cos()
    table *= SCALE * math.sqrt(2.0)
    # Words and sinusoids start in disjoint dimensions, and LayerNorm keeps their proportions.
    embeddings.position.weight.copy_(table)
    word = torch.randn(embeddings.word.weight.shape, generator=generator) * SCALE
    word[:, :block] = 0
    embeddings.word.weight.copy_(word)
    embeddings.segment.weight.mul_(0.1)


def _aim_heads(layer: Layer, head_size: int, block: int, pairs: int, index: int) -> None:
    """Give the first half of a layer's heads their offsets: sinusoids are rotated in the query, unchanged in the key."""
    heads = layer.num_heads
    num_local = (heads + 1) // 2
    width = heads * head_size
    used = min(pairs, head_size // 2)
    # Spread over all frequencies if a head has fewer dimensions than the block.
    chosen = torch.linspace(0, pairs - 1, used).round().long()
    frequencies = _frequencies(pairs)[chosen]
    # LayerNorm makes every entry's variance one, so a sinusoid's pair has the squared radius 2.
    strength = math.sqrt(PEAK * math.sqrt(head_size) / (2 * used))
    weight = layer.qkv.weight
    for head in range(num_local):
        offset = OFFSETS[(head + index * num_local) % len(OFFSETS)]
        q, k = head * head_size, width + head * head_size
        weight[q : q + head_size, :block].zero_()
        weight[k : k + head_size, :block].zero_()
        for i, pair in enumerate(chosen.tolist()):
            s, c = 2 * pair, 2 * pair + 1
            sin, cos = torch.sin(offset * frequencies[i]), torch.cos(offset * frequencies[i])
            # sin(a + d) = sin a cos d + cos a sin d;  cos(a + d) = cos a cos d - sin a sin d
            weight[q + 2 * i, s], weight[q + 2 * i, c] = strength * cos, strength * sin
            weight[q + 2 * i + 1, s], weight[q + 2 * i + 1, c] = -strength * sin, strength * cos
            weight[k + 2 * i, s], weight[k + 2 * i + 1, c] = strength, strength

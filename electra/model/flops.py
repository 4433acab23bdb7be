"""Settings -> FLOPs and parameters, by arithmetic alone (of a run, with the steps it measured); without torch.

Two ways of counting. Both count a matmul of (m, k) and (k, n) as 2mkn operations, and other operations on activations with the constants of
the original's `flops_computation.py`.

`per_token` counts what is done: a step is three forward passes (the backward pass has two matmuls for each of the forward pass), the
vocabulary's logits and what follows attention in a masked LM's last layer are computed at the masked positions only, and embedding lookups
are free. MFU is this number divided by the peak.

`per_token_original` (google-research/electra; used for the totals in the paper's tables) counts a step as two forward passes and every
embedding lookup as a matmul with one-hot vectors, and assumes heads of size 64, a feed-forward size of 4D and 15.625% masked tokens for all
settings. Use it only to compare with the paper.

Every sequence is assumed to have the full length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from electra.errors import UserError
from electra.settings import ModelSettings, ObjectiveSettings, PretrainSettings
from electra.settings.pretrain import FIRST_PHASES, LANGUAGE_MODELS, LAST_PHASE, SO_FAR, all_phases, generator_sizes
from electra.storage import atomic

SHAPE = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
"""The values of a config.json that decide whether weights fit a network."""
DROPOUT, LAYER_NORM, GELU, SOFTMAX = 4, 5, 8, 5
"""Operations per activation."""
ORIGINAL_MASKED = 0.15625
"""Fraction of tokens that reach the softmax in the original's count: 20 of 128."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """The sizes of an encoder and its head that are needed for counting."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    embedding_size: int
    dropout: float
    predicts: float = 0.0
    """Fraction of its tokens with logits over the vocabulary."""
    detects: bool = False
    """Whether it has a replaced-token head."""
    towers: int = 1
    """Number of encoders, whose states the head concatenates."""
    maps: int = 0
    """Outputs of the projections of its states, over all layers: of a student."""
    frozen: bool = False
    """Whether it is only read: a teacher."""
    fixed_layers: bool = False
    """Whether the weights of its layers stay: their gradients are not computed."""

    @property
    def skipped(self) -> float:
        """Fraction of its tokens for which nothing after attention is computed in the last layer."""
        return 1.0 - self.predicts if 0 < self.predicts < 1 and not self.detects and self.towers == 1 else 0.0


def network_shapes(model: ModelSettings, objective: ObjectiveSettings, length: int = 0) -> list[NetworkShape]:
    """The networks that every token of a run passes through; the main one first. A causal LM predicts all but one of `length` tokens (0: all)."""
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
    elif objective.objective == "clm":
        large = replace(large, predicts=1.0 - (1 / length if length else 0.0))
    elif objective.objective == "distill":
        return _student_and_teacher(large, objective.teacher_shape)
    elif objective.objective == "all-tokens-mlm":
        large = replace(large, predicts=1.0, detects=True)  # its copy head has the same size
    else:
        large = replace(large, detects=True)
    if objective.objective in LANGUAGE_MODELS or model.generator == "uniform":
        return [replace(large, fixed_layers=model.freeze_layers)]
    if model.generator == "shared":
        return [large, replace(large, predicts=masked, detects=False)]
    small = replace(large, **generator_sizes(model), detects=False)
    two = model.generator == "two-tower"
    return [large, replace(small, predicts=1.0 if two else masked, towers=2 if two else 1)]


def _student_and_teacher(student: NetworkShape, teacher: Sequence[int]) -> list[NetworkShape]:
    """The teacher by its layers, width, heads, feed-forward and embedding width."""
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "embedding_size")
    sizes: dict[str, Any] = dict(zip(names, teacher, strict=True))
    frozen = NetworkShape(**sizes, dropout=0.0, frozen=True)
    return [replace(student, maps=(student.num_hidden_layers + 1) * frozen.hidden_size), frozen]


def training_flops(settings: PretrainSettings, vocab_size: int) -> dict[str, float]:
    """FLOPs per token of a run, or of one phase of it, counted both ways: what logs, dry runs and `electra inspect` report."""
    rows = max(vocab_size, settings.model.embedding_rows or 0)
    sizes = (settings.model, settings.objective, rows, settings.data.sequence_length)
    return {"flops_per_token": per_token(*sizes), "flops_per_token_original": per_token_original(*sizes)}


def run_cost(settings: PretrainSettings, vocab_size: int, lines: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """FLOPs of a pre-training run, counted both ways, by phase if it has several; `lines` of its metrics.jsonl add what was spent.

    `flops_in_all` is of the whole planned run, all examples of full length; `flops` is what was recorded so far.
    """
    out: dict[str, Any] = {}
    for phase in (phases := all_phases(settings)):
        name = LAST_PHASE if phase is phases[-1] else FIRST_PHASES[phase.output.name]
        out[name] = training_flops(phase, vocab_size)
        if tokens := planned_tokens(phase):
            out[name] |= {count.replace("per_token", "in_all"): value * tokens for count, value in list(out[name].items())}
        mine = [line for line in lines if line.get("phase", LAST_PHASE) == name]
        earlier = (line for line in reversed(lines) if line.get("phase", LAST_PHASE) != LAST_PHASE)
        before: Mapping[str, Any] = next(earlier, {}) if name == LAST_PHASE else {}
        out[name] |= {key: mine[-1][key] - before.get(key, 0) for key in SO_FAR if mine and key in mine[-1]}
    if len(phases) > 1:
        first = next(iter(out.values()))
        planned = [key for key in out[LAST_PHASE] if "per_token" not in key and key in first]
        keys = dict.fromkeys([*planned, *(key for key in SO_FAR if key in first)])
        out |= {"all_phases": {key: sum(phase.get(key, 0) for phase in out.values()) for key in keys}} if keys else {}
    return out


def planned_tokens(phase: PretrainSettings) -> int:
    """Tokens of a phase: given, or its steps times full examples; 0 where its length is a time that was not measured yet."""
    loop = phase.loop
    if loop.num_train_tokens:
        return loop.num_train_tokens
    steps, measured = loop.num_train_steps or 0, phase.output / "budget.json"
    if loop.budget and measured.is_file():
        found = atomic.read_json(measured, dict).get("num_train_steps", 0)
        if not isinstance(found, int):
            raise UserError(f"{measured}: num_train_steps is {found!r:.40}, expected a whole number; the file is damaged: remove it")
        steps = found
    return steps * (loop.total_batch_size or loop.batch_size * loop.accumulation) * phase.data.sequence_length


# ---- what is done ----


def per_token(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int, length: int) -> float:
    """FLOPs of training per token: three forward passes, of a teacher one, two of the matmuls with weights that stay."""
    networks = network_shapes(model, objective, length)
    whole = sum((1 if net.frozen else 3) * (matmuls(net, vocab_size, length) + other_operations(net, vocab_size, length)) for net in networks)
    return whole - sum(layer_matmuls(net) for net in networks if net.fixed_layers)


def layer_matmuls(net: NetworkShape) -> float:
    """Matmuls of the layers with their weights in the forward pass, FLOPs per token."""
    width, inner = net.hidden_size, 2 * net.hidden_size * net.intermediate_size
    return 2.0 * (net.towers * net.num_hidden_layers * (4 * width * width + inner) - net.skipped * (width * width + inner))


def matmuls(net: NetworkShape, vocab_size: int, length: int) -> float:
    """Matmuls of the forward pass, FLOPs per token."""
    width, embedding = net.hidden_size, net.embedding_size
    attention = 2 * length * width  # queries with keys, probabilities with values
    projection = embedding * width if embedding != width else 0
    head = net.predicts * (net.towers * width * embedding + embedding * vocab_size) + net.detects * (width * width + width)
    return layer_matmuls(net) + 2.0 * (net.towers * (net.num_hidden_layers * attention + projection) + head + width * net.maps)


def other_operations(net: NetworkShape, vocab_size: int, length: int) -> float:
    """The rest of the forward pass: biases, softmax, dropout, residuals, LayerNorm, gelu; FLOPs per token."""
    width, embedding, inner = net.hidden_size, net.embedding_size, net.intermediate_size
    dropout = DROPOUT if net.dropout else 0
    scores = length * net.num_attention_heads * (1 + SOFTMAX + dropout)
    above = 2 * width + inner + GELU * inner + 2 * width * (1 + dropout + LAYER_NORM)  # what follows attention
    layer = scores + 3 * width + above
    below = embedding * (2 + LAYER_NORM + dropout) + (width if embedding != width else 0)
    vocabulary = net.predicts * (embedding * (1 + GELU + LAYER_NORM) + vocab_size * (1 + SOFTMAX))
    detection = net.detects * (width * (1 + GELU) + 1 + SOFTMAX)
    return float(net.towers * (net.num_hidden_layers * layer + below) - net.skipped * above + vocabulary + detection + 4 * net.maps)


# ---- the original's count ----


def per_token_original(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int, length: int) -> float:
    """FLOPs of training per token as in the original's script: two forward passes with dense lookups."""
    return sum((1 if net.frozen else 2) * _forward_original(net, vocab_size, length) for net in network_shapes(model, objective))


def _forward_original(net: NetworkShape, vocab_size: int, length: int) -> float:
    width, embedding, inner, heads = net.hidden_size, net.embedding_size, 4 * net.hidden_size, max(net.hidden_size // 64, 1)
    weights = 2 * (4 * width * width + 2 * width * inner)
    scores = length * (4 * width + heads * (1 + SOFTMAX + DROPOUT))
    # Its first LayerNorm is counted per token, not per activation.
    small = 5 * width + inner + GELU * inner + 2 * width * (1 + DROPOUT) + LAYER_NORM * (1 + width)
    lookups = 2 * embedding * (vocab_size + length + 2)
    below = embedding * (2 + LAYER_NORM + DROPOUT) + (2 * width * embedding + width if embedding != width else 0)
    dense = 2 * width * embedding + embedding * (1 + GELU + LAYER_NORM)
    predicts = ORIGINAL_MASKED if 0 < net.predicts < 1 else net.predicts
    head = predicts * (dense + vocab_size * (2 * embedding + SOFTMAX + 2)) + net.detects * width * (2 * width + 1 + GELU + 2)
    return net.towers * (net.num_hidden_layers * (weights + scores + small) + lookups + below) + head


# ---- parameters ----


def num_parameters(model: ModelSettings, objective: ObjectiveSettings, vocab_size: int) -> dict[str, int]:
    """Number of weights, tied ones once: 'kept' (the discriminator or masked LM), 'training_only' (what training adds), 'all'."""
    rows = max(vocab_size, model.embedding_rows or 0) + model.max_position_embeddings + model.type_vocab_size + 2
    embeddings = model.embedding_size * rows
    large, *others = network_shapes(model, objective)
    kept = embeddings + _encoder(large) + _heads(replace(large, detects=large.detects and not large.predicts), vocab_size)
    extra = _heads(replace(large, predicts=0.0), vocab_size) if large.predicts else 0
    extra += large.maps * (large.hidden_size + 1)
    for small in (net for net in others if not net.frozen):
        shared = model.generator == "shared"
        own = 0 if shared or model.embedding_sharing == "tied" else small.embedding_size * rows
        extra += own + _heads(small, vocab_size) + (0 if shared else small.towers * _encoder(small))
    return {"kept": kept, "training_only": extra, "all": kept + extra}


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

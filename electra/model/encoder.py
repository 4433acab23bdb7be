"""A batch -> hidden states. Token-wise layers run on the T real tokens; only attention uses the (B, L) grid.

The architecture is BERT's (post-norm) with ELECTRA's factorized embedding: word, position and type embeddings of width E, a LayerNorm on
them, and a projection to D where E differs from D (paper, section 3.2 and Table 6). `cpu_kernels` has faster CPU versions of the same layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra import cpu_kernels
from electra.contracts import Batch

Direction = Literal["both", "left", "right"]
"""Which tokens a token attends to besides itself: all, those before it, those after it."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of one encoder, in Hugging Face's names."""

    model_type: Literal["electra", "bert"] = "electra"
    """Whose classes of `transformers` open it. The encoders are the same function; names of weights and some heads differ."""
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    dropout: float = 0.1
    attention_dropout: float | None = None
    """Dropout of the attention weights; None: `dropout`."""
    classifier_dropout: float | None = None
    """Dropout in the heads of tasks; None: `dropout`."""
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    hidden_act: str = "gelu"
    """Activation of the feed-forward layers, one of `ACTIVATION`."""
    tie_word_embeddings: bool = True
    """Whether a masked LM's output matrix is the word embeddings; else it has its own."""
    pad_token_id: int | None = 0

    @property
    def attention_prob(self) -> float:
        """Dropout of the attention weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def classifier_prob(self) -> float:
        """Dropout in the heads of tasks."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    @property
    def head_size(self) -> int:
        """K."""
        return self.hidden_size // self.num_attention_heads


def _gelu_tanh(values: Tensor) -> Tensor:
    return F.gelu(values, approximate="tanh")


ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("gelu", "gelu_python"), F.gelu),
    # The four differ in rounding only.
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), _gelu_tanh),
    "quick_gelu": lambda values: values * torch.sigmoid(1.702 * values),
    "gelu_10": lambda values: F.gelu(values).clip(-10, 10),
    "relu": F.relu,
    "relu6": F.relu6,
    "relu2": lambda values: F.relu(values).square(),
    **dict.fromkeys(("silu", "swish"), F.silu),
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda values: values,
    "leaky_relu": F.leaky_relu,
    "hardswish": F.hardswish,
}
"""`hidden_act` of a config.json -> the function, as `transformers.activations.ACT2FN` has them."""


class Embeddings(nn.Module):
    """(T,) ids, segments, positions -> (T, E), normalized. Shared between generator and discriminator."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.embedding_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.embedding_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        summed = self.word(ids) + self.position(positions) + self.segment(segments)
        return self.norm(summed)


class DisentangledEmbeddings(nn.Module):
    """Embeddings whose word vectors are the generator's, without their gradient, plus a trained difference; positions and segments are their own.

    So the discriminator's gradients do not change what the generator's softmax needs.

    Source: gradient-disentangled embedding sharing, DeBERTaV3 (He et al. 2021, section 3.3).
    """

    def __init__(self, config: EncoderConfig, shared: Embeddings) -> None:
        super().__init__()
        # In a tuple it is not a submodule: it belongs to the generator.
        self._shared = (shared,)
        self.word_change = nn.Embedding(config.vocab_size, config.embedding_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.embedding_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    @property
    def shared_words(self) -> Tensor:
        """(V, E) the generator's word embeddings, without a gradient."""
        return self._shared[0].word.weight.detach()

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        words = F.embedding(ids, self.shared_words) + self.word_change(ids)
        return self.norm(words + self.position(positions) + self.segment(segments))

    def copy_shared(self) -> None:
        """Initialize as the generator's embeddings."""
        self.load_plain(self._shared[0].state_dict())

    def plain_state(self) -> dict[str, Tensor]:
        """The state of equivalent plain `Embeddings`."""
        state = self.state_dict()
        return {"word.weight": self.shared_words + state.pop("word_change.weight"), **state}

    def load_plain(self, plain: dict[str, Tensor]) -> None:
        """Become equivalent to plain `Embeddings` with that state."""
        rest = {key: value for key, value in plain.items() if key != "word.weight"}
        self.load_state_dict({"word_change.weight": plain["word.weight"] - self.shared_words, **rest})


_WORTH_PACKING = 0.9
"""If fewer of the grid's cells than this fraction are real tokens, skipping the others saves more than moving in and out of the grid costs."""


@dataclass(frozen=True)
class Rows:
    """Where the N tokens of the layers are in the (B, L) grid: the T real ones, and on a CPU extra ones that make sizes repeat."""

    num_rows: int
    length: int
    slots: Tensor | None
    """(N,) index into the flattened grid and the extra cells after it; None if layers run on the whole grid."""
    mask: Tensor | None
    """(B, 1, 1 or L, L) bool, True where a token (third) attends to another (fourth); None if all attend to all."""
    num_extra: int = 0
    """Extra tokens after the real ones, and extra cells after the grid for them."""
    real: Tensor | None = None
    """(T,) index of the real tokens in the grid, if layers run on all of it although it has padding."""

    @staticmethod
    def of(batch: Batch, reads: Direction = "both") -> Rows:
        """The grid of a batch; shapes are known from its lengths on the host, so nothing waits for the device."""
        num_rows, length = len(batch.lengths), batch.max_length
        num_extra, real = 0, None
        slots = mask = None
        if batch.num_tokens != num_rows * length:
            slots = batch.rows * length + batch.positions
            mask = torch.zeros(num_rows * length, dtype=torch.bool, device=slots.device)
            mask[slots] = True
            mask = mask.view(num_rows, 1, 1, length)
            if cpu_kernels.wants_repeated_sizes() and batch.num_tokens >= _WORTH_PACKING * num_rows * length:
                slots, real = None, slots
            elif num_extra := cpu_kernels.num_extra(batch.num_tokens):
                slots = torch.cat([slots, torch.arange(num_rows * length, num_rows * length + num_extra)])
        if reads != "both":
            square = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device)
            seen = square.tril() if reads == "left" else square.triu()
            # Padding attends to itself: softmax over nothing is undefined.
            mask = seen[None, None] if mask is None else (mask & seen) | torch.eye(length, dtype=torch.bool, device=seen.device)
        return Rows(num_rows, length, slots, mask, num_extra, real)

    def expand(self, values: Tensor) -> Tensor:
        """(T,) numbers of the real tokens -> (N,), 0 for the others."""
        if self.real is not None:
            return values.new_zeros(self.num_rows * self.length).index_copy(0, self.real, values)
        return F.pad(values, (0, self.num_extra)) if self.num_extra else values

    def indices(self, at: Tensor) -> Tensor:
        """(M,) indices of real tokens -> (M + extra,) their indices among the N, the first repeated to make sizes repeat."""
        if extra := cpu_kernels.num_extra(len(at)):
            at = torch.cat([at, at[:1].expand(extra)])
        return at if self.real is None else self.real[at]

    def select(self, hidden: Tensor) -> Tensor:
        """(N, ...) -> (T, ...) real tokens."""
        if self.real is not None:
            return hidden[self.real]
        return hidden[: len(hidden) - self.num_extra] if self.num_extra else hidden


class Layer(nn.Module):
    """One post-norm transformer layer: (N, D) -> (N, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.dropout, self.attention_dropout = config.dropout, config.attention_prob
        self.activation = config.hidden_act
        self.qkv = cpu_kernels.Linear(width, 3 * width, bf16_output=True)
        self.attention_output = cpu_kernels.Linear(width, width, bf16_output=True)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up = cpu_kernels.Linear(width, config.intermediate_size)
        self.down = cpu_kernels.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, rows: Rows, at: Tensor | None = None) -> Tensor:
        """All N tokens; or with `at` (M,) -> (M, D): these attend to all, but what follows attention is computed for them only."""
        attended = self._attend(self.qkv(hidden), rows)
        if at is not None:
            attended, hidden = attended[at], hidden[at]
        dropout = self.dropout if self.training else 0.0
        hidden = self.attention_norm(cpu_kernels.add_dropout(hidden, self.attention_output(attended), dropout))
        return self.norm(cpu_kernels.add_dropout(hidden, self._feed_forward(hidden), dropout))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        if self.activation == "gelu":
            return cpu_kernels.feed_forward(hidden, self.up, self.down)
        return self.down(ACTIVATION[self.activation](self.up(hidden)))  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor, rows: Rows) -> Tensor:
        """(T, 3D) -> (T, D)."""
        width = qkv.shape[-1] // 3
        if rows.slots is not None:
            grid = qkv.new_zeros(rows.num_rows * rows.length + rows.num_extra, 3 * width)
            qkv = grid.index_copy(0, rows.slots, qkv)[: rows.num_rows * rows.length]
        heads = qkv.view(rows.num_rows, rows.length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out = cpu_kernels.attention(heads, rows.mask, self.attention_dropout if self.training else 0.0)
        out = out.transpose(1, 2).reshape(rows.num_rows * rows.length, width)
        if rows.slots is None:
            return out
        return F.pad(out, (0, 0, 0, rows.num_extra))[rows.slots] if rows.num_extra else out[rows.slots]


class Encoder(nn.Module):
    """A batch -> hidden states (T, D) of its real tokens.

    `embeddings` may be another encoder's: then they are shared, and the optimizer counts them once.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings | DisentangledEmbeddings | None = None) -> None:
        super().__init__()
        self.config = config
        self.embeddings = embeddings if embeddings is not None else Embeddings(config)
        same = config.embedding_size == config.hidden_size
        self.projection = None if same else cpu_kernels.Linear(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        # A BERT's pooler and next-sentence head, by name: nothing here computes with them, they are written again with the encoder.
        self.kept: dict[str, Tensor] = {}

    @property
    def words(self) -> nn.Embedding:
        """The word embeddings, which a masked LM's output is tied to."""
        embeddings = self.embeddings
        assert isinstance(embeddings, Embeddings), "a masked LM needs its own word embeddings"
        return embeddings.word

    def forward(
        self,
        batch: Batch,
        ids: Tensor | None = None,
        reads: Direction = "both",
        at: Tensor | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The batch, or the batch with other `ids` (T,) -> (T, D); with `at` (M,) -> (M, D), the states of these tokens alone.

        With `at` most of the last layer is computed for these tokens only. A `head` for all tokens, (N, D) -> (N, ...), is applied before
        extra tokens are dropped: large blocks of memory then have the same size in every batch.
        """
        rows = Rows.of(batch, reads)
        hidden = self._embed(batch, rows, batch.ids if ids is None else ids)
        if at is None:
            for layer in self.layers:
                hidden = layer(hidden, rows)
            return rows.select(hidden if head is None else head(hidden))
        *lower, last = self.layers
        for layer in lower:
            hidden = layer(hidden, rows)
        return last(hidden, rows, rows.indices(at))[: len(at)]

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """The batch -> (T, D) after the embeddings and after each layer: `hidden_states` of `transformers`."""
        rows = Rows.of(batch)
        hidden = [self._embed(batch, rows, batch.ids)]
        for layer in self.layers:
            hidden.append(layer(hidden[-1], rows))
        return [rows.select(states) for states in hidden]

    def _embed(self, batch: Batch, rows: Rows, ids: Tensor) -> Tensor:
        """(T,) ids -> (N, D) what the first layer reads."""
        hidden = self.embeddings(*map(rows.expand, (ids, batch.segments, batch.positions)))
        if self.config.dropout:
            hidden = F.dropout(hidden, self.config.dropout, self.training)
        return hidden if self.projection is None else self.projection(hidden)


def first_tokens(batch: Batch) -> Tensor:
    """(B,) the index of each sequence's [CLS] among the T tokens."""
    starts = [0]
    for length in batch.lengths[:-1]:
        starts.append(starts[-1] + length)
    return torch.tensor(starts).to(batch.ids.device, non_blocking=True)


def parameter_depth(name: str) -> int:
    """Depth of a parameter for layer-wise learning rates: 0 embeddings, 1..n layers, -1 heads.

    Source: the original's `model/optimization.py`, which puts the embedding projection at depth 0 too.
    """
    parts = name.split(".")
    if "layers" in parts:
        return int(parts[parts.index("layers") + 1]) + 1
    return 0 if "embeddings" in parts or "projection" in parts else -1

"""ids -> hidden states. Token-wise layers run on the T real tokens; only attention sees rows.

The architecture is BERT's (post-norm) with ELECTRA's factorized embedding: word, position and type embeddings of
width E, a LayerNorm on them, and a projection to D where E differs from D (paper, section 3.2 and Table 6).
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

Reads = Literal["both", "left", "right"]
"""Which tokens one sees besides itself: all, those before it, those after it."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of one encoder, in Hugging Face's names."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02

    @property
    def head_size(self) -> int:
        """K."""
        return self.hidden_size // self.num_attention_heads


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
    """Embeddings whose words are another's, which they do not train, plus a change of their own; the rest is their own.

    The detector's gradients then do not pull at what the generator's softmax needs.

    Source: gradient-disentangled embedding sharing, DeBERTaV3 (He et al. 2021, section 3.3).
    """

    def __init__(self, config: EncoderConfig, shared: Embeddings) -> None:
        super().__init__()
        # In a tuple it is no submodule of this one: it belongs to the generator.
        self._shared = (shared,)
        self.word_change = nn.Embedding(config.vocab_size, config.embedding_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.embedding_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    @property
    def shared_words(self) -> Tensor:
        """(V, E) the other's word embeddings, without a gradient."""
        return self._shared[0].word.weight.detach()

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        words = F.embedding(ids, self.shared_words) + self.word_change(ids)
        return self.norm(words + self.position(positions) + self.segment(segments))

    def start(self) -> None:
        """Begin as the other's embeddings."""
        self.take(self._shared[0].state_dict())

    def merged(self) -> dict[str, Tensor]:
        """The state of plain `Embeddings` that give the same."""
        state = self.state_dict()
        return {"word.weight": self.shared_words + state.pop("word_change.weight"), **state}

    def take(self, plain: dict[str, Tensor]) -> None:
        """Become the same as plain `Embeddings` with that state."""
        rest = {key: value for key, value in plain.items() if key != "word.weight"}
        self.load_state_dict({"word_change.weight": plain["word.weight"] - self.shared_words, **rest})


_WORTH_PACKING = 0.9
"""Where fewer of the grid's cells than this are real tokens, leaving out the others saves more than going in and out of the grid costs."""


@dataclass(frozen=True)
class Rows:
    """Where the N tokens that layers see lie in their (B, L) grid: the T real ones, and on a CPU others that make sizes repeat."""

    num_rows: int
    length: int
    slots: Tensor | None
    """(N,) index into the flattened grid, followed by its spare cells; None when layers see the whole grid."""
    mask: Tensor | None
    """(B, 1, 1 or L, L) bool, True where a token (third) sees another (fourth); None when all see all."""
    num_spare: int = 0
    """Tokens behind the real ones, and cells behind the grid's for them."""
    spread: Tensor | None = None
    """(T,) index of the real tokens in the grid, where layers see all of it although not all of it is real."""

    @staticmethod
    def of(batch: Batch, reads: Reads = "both") -> Rows:
        """The grid of a batch; shapes come from its host lengths, so nothing waits for the device."""
        num_rows, length = len(batch.lengths), batch.max_length
        num_spare, spread = 0, None
        slots = mask = None
        if batch.num_tokens != num_rows * length:
            slots = batch.rows * length + batch.positions
            mask = torch.zeros(num_rows * length, dtype=torch.bool, device=slots.device)
            mask[slots] = True
            mask = mask.view(num_rows, 1, 1, length)
            if cpu_kernels.want_equal_sizes() and batch.num_tokens >= _WORTH_PACKING * num_rows * length:
                slots, spread = None, slots
            elif num_spare := cpu_kernels.spare(batch.num_tokens):
                slots = torch.cat([slots, torch.arange(num_rows * length, num_rows * length + num_spare)])
        if reads != "both":
            square = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device)
            seen = square.tril() if reads == "left" else square.triu()
            # Padding sees itself: a row that sees nothing has no softmax.
            mask = seen[None, None] if mask is None else (mask & seen) | torch.eye(length, dtype=torch.bool, device=seen.device)
        return Rows(num_rows, length, slots, mask, num_spare, spread)

    def place(self, values: Tensor) -> Tensor:
        """(T,) numbers of the real tokens -> (N,), 0 for the others."""
        if self.spread is not None:
            return values.new_zeros(self.num_rows * self.length).index_copy(0, self.spread, values)
        return F.pad(values, (0, self.num_spare)) if self.num_spare else values

    def among(self, at: Tensor) -> Tensor:
        """(M,) indices of real tokens -> (M + F,) of the same among the N, the first one again behind them to make sizes repeat."""
        if spare := cpu_kernels.spare(len(at)):
            at = torch.cat([at, at[:1].expand(spare)])
        return at if self.spread is None else self.spread[at]

    def leave(self, hidden: Tensor) -> Tensor:
        """(N, ...) -> (T, ...) real tokens."""
        if self.spread is not None:
            return hidden[self.spread]
        return hidden[: len(hidden) - self.num_spare] if self.num_spare else hidden


class Layer(nn.Module):
    """One post-norm transformer layer: (T, D) -> (T, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.dropout = config.dropout
        self.qkv = cpu_kernels.Linear(width, 3 * width, narrow=True)
        self.attention_output = cpu_kernels.Linear(width, width, narrow=True)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up = cpu_kernels.Linear(width, config.intermediate_size)
        self.down = cpu_kernels.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, rows: Rows, at: Tensor | None = None) -> Tensor:
        """All N tokens, or only those `at` (M,) of them -> (M, D): they see all others, but only theirs go on from there."""
        attended = self._attend(self.qkv(hidden), rows)
        if at is not None:
            attended, hidden = attended[at], hidden[at]
        hidden = self.attention_norm(self._add(hidden, self.attention_output(attended)))
        return self.norm(self._add(hidden, self._feed_forward(hidden)))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        plain = cpu_kernels.are_fast() and hidden.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if plain or (cpu_kernels.are_half() and self.up.weight.dtype == torch.float32):
            return cpu_kernels.feed_forward(hidden, self.up, self.down)
        return self.down(F.gelu(self.up(hidden)))  # type: ignore[no-any-return]

    def _add(self, hidden: Tensor, values: Tensor) -> Tensor:
        """hidden + dropout(values)."""
        if not (self.dropout and self.training):
            return hidden + values
        return cpu_kernels.add_dropped(hidden, values, self.dropout) if cpu_kernels.want_equal_sizes() else hidden + F.dropout(values, self.dropout)

    def _attend(self, qkv: Tensor, rows: Rows) -> Tensor:
        """(T, 3D) -> (T, D)."""
        width = qkv.shape[-1] // 3
        if rows.slots is not None:
            grid = qkv.new_zeros(rows.num_rows * rows.length + rows.num_spare, 3 * width)
            qkv = grid.index_copy(0, rows.slots, qkv)[: rows.num_rows * rows.length]
        dropout = self.dropout if self.training else 0.0
        heads = qkv.view(rows.num_rows, rows.length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        if (cpu_kernels.are_fast() and qkv.dtype == torch.float32) or (cpu_kernels.are_half() and qkv.dtype == torch.bfloat16):
            out = cpu_kernels.attention(heads, rows.mask, dropout)
        else:
            q, k, v = heads
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=rows.mask, dropout_p=dropout)
        out = out.transpose(1, 2).reshape(rows.num_rows * rows.length, width)
        if rows.slots is None:
            return out
        return F.pad(out, (0, 0, 0, rows.num_spare))[rows.slots] if rows.num_spare else out[rows.slots]


class Encoder(nn.Module):
    """A batch -> hidden states (T, D) of its real tokens.

    `embeddings` may be another encoder's, which then is shared and counted once by the optimizer.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings | DisentangledEmbeddings | None = None) -> None:
        super().__init__()
        self.config = config
        self.embeddings = embeddings if embeddings is not None else Embeddings(config)
        same = config.embedding_size == config.hidden_size
        self.projection = None if same else cpu_kernels.Linear(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    @property
    def words(self) -> nn.Embedding:
        """The word embeddings, which a masked LM's output is tied to."""
        embeddings = self.embeddings
        assert isinstance(embeddings, Embeddings), "a masked LM needs word embeddings of its own"
        return embeddings.word

    def forward(
        self,
        batch: Batch,
        ids: Tensor | None = None,
        reads: Reads = "both",
        at: Tensor | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The batch, or the batch with other `ids` (T,) in the same places -> (T, D); or (M, D), the states of the tokens `at` (M,).

        Where only some are asked for, most of the last layer is not computed for the others. A `head` for all tokens, (N, D) -> (N, ...), is
        applied before what is no token is left out: large blocks of memory then have the same size in every batch.
        """
        rows = Rows.of(batch, reads)
        hidden = self.embeddings(*map(rows.place, (batch.ids if ids is None else ids, batch.segments, batch.positions)))
        if self.config.dropout:
            hidden = F.dropout(hidden, self.config.dropout, self.training)
        if self.projection is not None:
            hidden = self.projection(hidden)
        if at is None:
            for layer in self.layers:
                hidden = layer(hidden, rows)
            return rows.leave(hidden if head is None else head(hidden))
        *lower, last = self.layers
        for layer in lower:
            hidden = layer(hidden, rows)
        return last(hidden, rows, rows.among(at))[: len(at)]


def first_tokens(batch: Batch) -> Tensor:
    """(B,) the index of each sequence's [CLS] among the T tokens."""
    starts = [0]
    for length in batch.lengths[:-1]:
        starts.append(starts[-1] + length)
    return torch.tensor(starts).to(batch.ids.device, non_blocking=True)


def parameter_depth(name: str) -> int:
    """Depth of a parameter for layer-wise learning rates: 0 embeddings, 1..n layers, -1 whatever stands above.

    Source: the original's `model/optimization.py`, which puts the embedding projection at depth 0 too.
    """
    parts = name.split(".")
    if "layers" in parts:
        return int(parts[parts.index("layers") + 1]) + 1
    return 0 if "embeddings" in parts or "projection" in parts else -1

"""A batch -> hidden states. Token-wise layers run on the T real tokens; only attention uses (B, L) grids.

The architecture is BERT's (post-norm) with ELECTRA's factorized embedding: word, position and type embeddings of width E, a LayerNorm on
them, and a projection to D where E differs from D (paper, section 3.2 and Table 6). `cpu_kernels` has faster CPU versions of the same layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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
_GRID_COST = 8192
"""Pairs of tokens whose attention takes as long on a CPU as the operators of one more grid (docs/log.md, 2026-11-30)."""
_WORTH_DIVIDING = 0.8
"""Sequences are divided among several grids if attention then costs less than this fraction."""


@dataclass(frozen=True)
class Grid:
    """(B, L) cells, for sequences whose attention is computed together."""

    num_rows: int
    length: int
    slots: Tensor | None
    """(T,) index of each token in the flattened grid and the extra cells after it; None if every cell has one."""
    mask: Tensor | None
    """(B or 1, 1, 1 or L, L) bool, True where a token (third) attends to another (fourth); None if all attend to all."""
    num_extra: int = 0
    """Cells after the grid, for extra tokens."""

    @staticmethod
    def of(num_rows: int, length: int, slots: Tensor | None, reads: Direction, device: torch.device, num_extra: int = 0) -> Grid:
        """A grid and its mask; `slots` are those of real tokens."""
        mask, cells = None, num_rows * length
        if slots is not None:
            mask = torch.zeros(cells, dtype=torch.bool, device=device)
            mask[slots] = True
            mask = mask.view(num_rows, 1, 1, length)
        if reads != "both":
            square = torch.ones(length, length, dtype=torch.bool, device=device)
            seen = square.tril() if reads == "left" else square.triu()
            # Padding attends to itself: softmax over nothing is undefined.
            mask = seen[None, None] if mask is None else (mask & seen) | torch.eye(length, dtype=torch.bool, device=device)
        if num_extra:
            slots = torch.cat([torch.arange(cells) if slots is None else slots, torch.arange(cells, cells + num_extra)])
        return Grid(num_rows, length, slots, mask, num_extra)


@dataclass(frozen=True)
class Rows:
    """Where the N tokens of the layers are in grids: the T real ones, and on a CPU extra ones that make sizes repeat.

    Attention costs the square of a grid's length, so on a CPU short sequences have grids of their own. Layers then see the tokens in another order,
    that of the grids.
    """

    grids: tuple[Grid, ...]
    num_tokens: tuple[int, ...]
    """Tokens of each grid, with the extra ones."""
    num_extra: int = 0
    """Extra tokens, the last of the last grid."""
    real: Tensor | None = None
    """(T,) index of the real tokens in the grid, if layers run on all of its cells although it has padding."""
    order: Tensor | None = None
    """(T,) index in the batch of the layers' tokens; None if the order is that of the batch."""
    place: Tensor | None = None
    """(T,) index among the layers' tokens of the batch's: the inverse of `order`."""

    @staticmethod
    def of(batch: Batch, reads: Direction = "both") -> Rows:
        """The grids of a batch; shapes are known from its lengths on the host, so nothing waits for the device."""
        num_rows, length, device = len(batch.lengths), batch.max_length, batch.ids.device
        cells = num_rows * length
        if batch.num_tokens == cells:
            return Rows((Grid.of(num_rows, length, None, reads, device),), (cells,))
        if device.type == "cpu" and not torch.compiler.is_compiling() and len(sizes := grid_sizes(sorted(batch.lengths, reverse=True))) > 1:
            return Rows._by_length(batch, sizes, reads)
        if cpu_kernels.wants_repeated_sizes() and batch.num_tokens >= _WORTH_PACKING * cells:
            slots = batch.rows * length + batch.positions
            grid = Grid.of(num_rows, length, slots, reads, device)
            return Rows((dataclasses.replace(grid, slots=None),), (cells,), real=slots)
        length = cpu_kernels.repeated_length(length) if device.type == "cpu" else length
        slots = batch.rows * length + batch.positions
        extra = cpu_kernels.num_extra(batch.num_tokens)
        return Rows((Grid.of(num_rows, length, slots, reads, device, extra),), (batch.num_tokens + extra,), num_extra=extra)

    @staticmethod
    def _by_length(batch: Batch, sizes: list[int], reads: Direction) -> Rows:
        """As `of`, with the longest sequences in a grid of the first of `sizes`, the next longest in one of the second, ..."""
        lengths = torch.tensor(batch.lengths)
        by_length = torch.argsort(lengths, descending=True, stable=True)
        starts = (lengths.cumsum(0) - lengths)[by_length]
        lengths = lengths[by_length]
        ends = lengths.cumsum(0)
        positions = torch.arange(batch.num_tokens) - torch.repeat_interleave(ends - lengths, lengths)
        order = positions + torch.repeat_interleave(starts, lengths)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        extra = cpu_kernels.num_extra(batch.num_tokens)
        parts = lengths.split(sizes)
        num_tokens = [int(part.sum()) for part in parts]
        grids: list[Grid] = []
        for part, at in zip(parts, positions.split(num_tokens), strict=True):
            longest = cpu_kernels.repeated_length(int(part[0]))
            slots = None if len(at) == len(part) * longest else torch.repeat_interleave(torch.arange(len(part)) * longest, part) + at
            grids.append(Grid.of(len(part), longest, slots, reads, batch.ids.device, extra if len(grids) == len(parts) - 1 else 0))
        num_tokens[-1] += extra
        return Rows(tuple(grids), tuple(num_tokens), extra, order=order, place=place)

    def expand(self, values: Tensor) -> Tensor:
        """(T,) numbers of the real tokens -> (N,), 0 for the others."""
        if self.real is not None:
            return values.new_zeros(sum(self.num_tokens)).index_copy(0, self.real, values)
        values = values if self.order is None else values[self.order]
        return F.pad(values, (0, self.num_extra)) if self.num_extra else values

    def indices(self, at: Tensor) -> Tensor:
        """(M,) indices of real tokens -> (M + extra,) their indices among the N, the first repeated to make sizes repeat."""
        if extra := cpu_kernels.num_extra(len(at)):
            at = torch.cat([at, at[:1].expand(extra)])
        where = self.place if self.real is None else self.real
        return at if where is None else where[at]

    def select(self, hidden: Tensor) -> Tensor:
        """(N, ...) -> (T, ...) real tokens."""
        where = self.place if self.real is None else self.real
        if where is not None:
            return hidden[where]
        return hidden[: len(hidden) - self.num_extra] if self.num_extra else hidden


def grid_sizes(lengths: Sequence[int]) -> list[int]:
    """Lengths of sequences, the longest first -> how many sequences each grid has, so that attention costs least; one grid where more do not pay."""
    # The first of each length in steps of 8, which are few.
    firsts = [i for i, length in enumerate(lengths) if i == 0 or -(-length // 8) != -(-lengths[i - 1] // 8)] + [len(lengths)]
    costs, before = [0], [0]
    for end in range(1, len(firsts)):
        ways = [(costs[i] + _GRID_COST + (firsts[end] - firsts[i]) * lengths[firsts[i]] ** 2, i) for i in range(end)]
        cost, start = min(ways)
        costs.append(cost)
        before.append(start)
    if costs[-1] > _WORTH_DIVIDING * (_GRID_COST + len(lengths) * lengths[0] ** 2):
        return [len(lengths)]
    sizes, end = [], len(firsts) - 1
    while end:
        sizes.append(firsts[end] - firsts[before[end]])
        end = before[end]
    return sizes[::-1]


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
        """(N, 3D) -> (N, D), 0 for extra tokens."""
        if len(rows.grids) == 1:
            return self._attend_grid(qkv, rows.grids[0])
        return torch.cat([self._attend_grid(part, grid) for part, grid in zip(qkv.split(rows.num_tokens), rows.grids, strict=True)])

    def _attend_grid(self, qkv: Tensor, grid: Grid) -> Tensor:
        """(T, 3D) -> (T, D)."""
        width, cells = qkv.shape[-1] // 3, grid.num_rows * grid.length
        if grid.slots is not None:
            qkv = qkv.new_zeros(cells + grid.num_extra, 3 * width).index_copy(0, grid.slots, qkv)[:cells]
        heads = qkv.view(grid.num_rows, grid.length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out = cpu_kernels.attention(heads, grid.mask, self.attention_dropout if self.training else 0.0)
        out = out.transpose(1, 2).reshape(cells, width)
        if grid.slots is None:
            return out
        return F.pad(out, (0, 0, 0, grid.num_extra))[grid.slots] if grid.num_extra else out[grid.slots]


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

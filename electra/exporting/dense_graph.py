"""A checkpoint -> the same network on padded batches, for exporters and other runtimes.

Training and inference in PyTorch use packed tokens (`electra.model.encoder`), whose shapes depend on the batch. Here the same weights work on
(B, L) batches with a mask, in plain operations that every exporter supports and that graph optimizers recognize.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from electra.errors import UserError
from electra.model.encoder import ACTIVATION, Embeddings, Encoder, Layer
from electra.model.generators import Generator
from electra.model.heads import BEAM_SIZE, MASKED, JointQAModel
from electra.model.hf_config import ROLE_HEADS
from electra.model.huggingface import Checkpoint, encoder_of
from electra.model.objectives import Discriminator
from electra.model.task_models import Classifier, QAModel, TokenClassifier
from electra.storage import resolve
from electra.storage.resolve import head_of

Attention: TypeAlias = Literal["eager", "sdpa"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""(B, L) int64 each; L at most max_position_embeddings; a row's real tokens come first."""
POSITIONS = "positions"
"""(M,) int64, a masked LM's fourth input: row * L + column of each position to predict."""
LOGITS, STATES, SPANS = "logits", "last_hidden_state", "spans"
START, END = "start_logits", "end_logits"


@dataclass(frozen=True, kw_only=True)
class HubForm:
    """The names and shapes of the hub's ONNX models, as optimum exports them and transformers.js reads them.

    A QA model returns START and END (B, L) in place of LOGITS (B, L, 2), a masked LM LOGITS (B, L, V) without an input POSITIONS.

    transformers.js truncates a text after its special tokens are added, so that it loses its last [SEP]. A row that fills a grid of exactly
    `max_length` gets it back: that is what every other tokenizer with truncation ends it with.
    """

    max_length: int
    """`model_max_length` of the tokenizer's files."""
    sep_id: int
    segment: int | None = None
    """The segment of every token, where that is fixed: then there is no input for it. None: as in the input."""


class DenseAttention(nn.Module):
    """(B, L, D) states, (B, 1, 1, L) mask -> (B, L, D): what `Layer` does before its first normalization, with separate q, k and v."""

    def __init__(self, layer: Layer, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.num_heads = layer.num_heads
        self.head_size = layer.qkv.in_features // layer.num_heads
        self.query, self.key, self.value = (_linear(w, b) for w, b in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True))
        self.output = layer.attention_output

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`mask` is added to the scores: 0 where attention is allowed, very negative elsewhere."""
        q, k, v = (self._heads(part(hidden)) for part in (self.query, self.key, self.value))
        if self.attention == "sdpa":
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.head_size)
            mixed = torch.matmul(torch.softmax(scores + mask, dim=-1), v)
        mixed = mixed.permute(0, 2, 1, 3).contiguous()
        joined: Tensor = self.output(mixed.view(mixed.size(0), mixed.size(1), self.num_heads * self.head_size))
        return joined

    def _heads(self, values: Tensor) -> Tensor:
        return values.view(values.size(0), values.size(1), self.num_heads, self.head_size).permute(0, 2, 1, 3)


class DenseLayer(nn.Module):
    """One transformer layer on a padded batch."""

    def __init__(self, layer: Layer, attention: Attention) -> None:
        super().__init__()
        self.attention = DenseAttention(layer, attention)
        self.attention_norm, self.up, self.down, self.norm = layer.attention_norm, layer.up, layer.down, layer.norm
        self.activation = layer.activation

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        hidden = self.attention_norm(self.attention(hidden, mask) + hidden)
        out: Tensor = self.norm(self.down(ACTIVATION[self.activation](self.up(hidden))) + hidden)
        return out


class DenseEncoder(nn.Module):
    """The three inputs -> (B, L, D) states; those of padding are meaningless."""

    def __init__(self, encoder: Encoder, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__()
        assert isinstance(encoder.embeddings, Embeddings), "checkpoints have their own embeddings"
        self.form = form
        self.embeddings = encoder.embeddings
        self.projection = encoder.projection
        self.layers = nn.ModuleList(DenseLayer(layer, attention) for layer in encoder.layers)  # type: ignore[arg-type]
        self.register_buffer("places", torch.arange(encoder.config.max_position_embeddings)[None], persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Ids, 1 for real tokens and 0 for padding, segments."""
        places: Tensor = self.places[:, : input_ids.size(1)]  # type: ignore[index]
        if self.form is not None:
            last = (places == self.form.max_length - 1) & (places[:, -1:] == self.form.max_length - 1) & (attention_mask == 1)
            input_ids = torch.where(last, self.form.sep_id, input_ids)
            if self.form.segment is not None:
                token_type_ids = torch.zeros_like(input_ids) + self.form.segment
        hidden: Tensor = self.embeddings(input_ids, token_type_ids, places)
        if self.projection is not None:
            hidden = self.projection(hidden)
        mask = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * torch.finfo(torch.float32).min
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class DenseGraph(nn.Module):
    """A checkpoint's network on padded batches: named inputs -> named outputs, in the order of `inputs` and `outputs`.

    Attributes:
        role: 'classifier', 'token-classification', 'question-answering', 'discriminator', 'generator' or 'encoder'.
        inputs: names of forward's arguments; a generator has POSITIONS as its fourth, except in the hub's form.
        outputs: names of what forward returns; every graph returns STATES (B, L, D), as the last one.
        vocab_size, max_length: upper limits of ids and of L.
        shortest: smallest L the graph accepts (the beam of the joint QA head); shorter batches are padded.
    """

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__()
        config = checkpoint.config
        self.role = role_of(checkpoint)
        self.architecture = checkpoint.architecture
        self.vocab_size, self.max_length, self.type_vocab_size = config.vocab_size, config.max_position_embeddings, config.type_vocab_size
        self.encoder = DenseEncoder(encoder_of(checkpoint.module), attention, form)
        self.shortest = 1
        self.inputs: tuple[str, ...] = INPUTS
        self.outputs: tuple[str, ...] = (LOGITS, STATES)

    def example(self, num_rows: int = 2, length: int = 24) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and types; the second half of the last row is padding."""
        length = max(self.shortest, min(length, self.max_length))
        ids = torch.arange(num_rows * length).view(num_rows, length) % self.vocab_size
        mask, segments = torch.ones_like(ids), torch.zeros_like(ids)
        mask[-1, (length + 1) // 2 :] = 0
        if self.type_vocab_size > 1:
            segments[:, length // 2 :] = 1
        return ids, mask, segments

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Name -> {axis: its name} of every axis that varies; B 'batch', L 'length', M 'positions'."""
        grid = {0: "batch", 1: "length"}
        return {**dict.fromkeys(INPUTS, grid), STATES: grid}


class ClassifierGraph(DenseGraph):
    """LOGITS (B, C)."""

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        assert isinstance(checkpoint.module, Classifier)
        self.head: nn.Module = checkpoint.module.head
        self.pools_mean = checkpoint.module.head_kind == "mean"

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        if not self.pools_mean:
            return self.head(hidden[:, 0]), hidden
        real = attention_mask[:, :, None].to(hidden.dtype)
        return self.head((hidden * real).sum(1) / real.sum(1)), hidden

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """See `DenseGraph`."""
        return {**super().dynamic_axes(), LOGITS: {0: "batch"}}


class TokenGraph(DenseGraph):
    """LOGITS (B, L, C) of a token classifier, (B, L, 2) of a QA model, (B, L) of a discriminator."""

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        self.head: nn.Module = checkpoint.module.head  # type: ignore[assignment]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        return self.head(hidden), hidden

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """See `DenseGraph`."""
        return {**super().dynamic_axes(), LOGITS: {0: "batch", 1: "length"}}


class SpanGraph(TokenGraph):
    """START and END (B, L) of a QA model, in the hub's form."""

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        self.outputs = (START, END, STATES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        logits, hidden = super().forward(input_ids, attention_mask, token_type_ids)
        return logits[..., 0], logits[..., 1], hidden

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """See `DenseGraph`."""
        axes = super().dynamic_axes()
        return {**axes, START: axes[LOGITS], END: axes.pop(LOGITS)}


class MaskedLMGraph(DenseGraph):
    """LOGITS (M, V) at the given positions only: (B, L, V) is never computed. In the hub's form (B, L, V)."""

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        self.head: nn.Module = checkpoint.module.head  # type: ignore[assignment]
        self.inputs = (*INPUTS, POSITIONS) if form is None else INPUTS

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        return self.head(hidden if positions is None else hidden.flatten(0, 1)[positions]), hidden

    def example(self, num_rows: int = 2, length: int = 24) -> tuple[Tensor, ...]:
        """See `DenseGraph`."""
        grids = super().example(num_rows, length)
        return (*grids, torch.tensor([1, 2, grids[0].size(1)])) if POSITIONS in self.inputs else grids

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """See `DenseGraph`."""
        axes = super().dynamic_axes()
        return axes | ({POSITIONS: {0: "positions"}, LOGITS: {0: "positions"}} if POSITIONS in self.inputs else {LOGITS: axes[STATES]})


class EncoderGraph(DenseGraph):
    """STATES only."""

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        self.outputs = (STATES,)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.encoder(input_ids, attention_mask, token_type_ids),)


class JointSpanGraph(DenseGraph):
    """LOGITS (B, 1) of 'no answer', SPANS (B, 400, 4) as in `electra.model.heads.JointQAModel.outputs`, impossible ones included.

    L is at least the beam size, 20, so that the beam has a fixed shape.
    """

    def __init__(self, checkpoint: Checkpoint, attention: Attention, form: HubForm | None = None) -> None:
        super().__init__(checkpoint, attention, form)
        assert isinstance(checkpoint.module, JointQAModel)
        self.head = checkpoint.module.head
        self.shortest = BEAM_SIZE
        self.outputs = (LOGITS, SPANS, STATES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        lowest = torch.finfo(torch.float32).min
        first = (self.encoder.places[:, : input_ids.size(1)] == 0).to(hidden.dtype)  # type: ignore[index]
        allowed = torch.clamp((token_type_ids == 1).to(hidden.dtype) + first, max=1.0)
        outside = (1.0 - allowed) * MASKED + (1.0 - attention_mask.to(hidden.dtype)) * lowest
        begins = torch.log_softmax(torch.clamp(self.head.start(hidden).squeeze(-1) + outside, min=lowest), dim=-1)
        best, places = begins.topk(BEAM_SIZE, dim=1)
        states = hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.size(2)))
        begun, ended = self.head.end.halves(states, hidden)
        beams = []
        for k in range(BEAM_SIZE):
            logits = torch.clamp(self.head.end.logit(begun[:, k : k + 1] + ended) + outside, min=lowest)
            values, ends = torch.log_softmax(logits, dim=-1).topk(BEAM_SIZE, dim=1)
            column = torch.ones_like(values)
            beams.append(torch.stack([column * places[:, k : k + 1], ends.to(values.dtype), column * best[:, k : k + 1], values], dim=-1))
        expected = torch.matmul(begins.exp()[:, None, :], hidden).squeeze(1)
        one, other = self.head.answerable.halves(hidden[:, 0], expected)
        return self.head.answerable.logit(one + other)[:, None], torch.cat(beams, dim=1), hidden

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """See `DenseGraph`."""
        return {**super().dynamic_axes(), LOGITS: {0: "batch"}, SPANS: {0: "batch"}}


def role_of(checkpoint: Checkpoint) -> str:
    """The role of a checkpoint.

    Raises:
        UserError: a network without a form on padded batches (Electric's two-tower generator).
    """
    for role, heads in ROLE_HEADS.items():
        if role != "task" and head_of(checkpoint.architecture) in heads:
            return role
    if isinstance(checkpoint.module, Encoder):
        return "encoder"
    kind = resolve.with_article(checkpoint.architecture)
    raise UserError(f"{checkpoint.path} is {kind}, which cannot be built; give a discriminator, masked LM or fine-tuned model")


def dense_graph(checkpoint: Checkpoint, attention: Attention = "eager", form: HubForm | None = None) -> DenseGraph:
    """A checkpoint of any head -> the same network on padded batches, in evaluation mode, sharing the checkpoint's weights (q, k and v are copies).

    Args:
        checkpoint: from `electra.model.huggingface.load_checkpoint`.
        attention: 'eager' writes attention as matmuls, the form that ONNX Runtime's fusions recognize; 'sdpa' keeps it as one operation.
        form: for the names and shapes of the hub's ONNX models; None: those of artifacts.

    Raises:
        UserError: a network without such a form.
    """
    kinds: dict[type[nn.Module], type[DenseGraph]] = {
        Classifier: ClassifierGraph,
        TokenClassifier: TokenGraph,
        QAModel: TokenGraph if form is None else SpanGraph,
        Discriminator: TokenGraph,
        JointQAModel: JointSpanGraph,
        Generator: MaskedLMGraph,
        Encoder: EncoderGraph,
    }
    role_of(checkpoint)
    if form is not None and isinstance(checkpoint.module, JointQAModel):
        raise UserError(
            f"{checkpoint.path} is {resolve.with_article(checkpoint.architecture)}: its last token depends on its first, and the hub's layout has "
            "one score for each; fine-tune with --head transformers, or build an artifact (--target onnx)"
        )
    return kinds[type(checkpoint.module)](checkpoint, attention, form).eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight.detach().clone(), bias.detach().clone()
    return linear


# ---- torch.export with dynamic batch and length ----


LARGEST_BATCH = 1 << 16
"""Rows; a bound above any batch, which the compiler needs."""


def export_program(graph: DenseGraph) -> ExportedProgram:
    """A graph -> its program: any batch size, any length from `graph.shortest` to `graph.max_length`, any number of positions."""
    largest = {"batch": LARGEST_BATCH, "length": graph.max_length, "positions": LARGEST_BATCH * graph.max_length}
    # torch.export turns an axis of size one into a constant.
    least = {"length": max(2, graph.shortest)}
    axes = {name: Dim(name, min=least.get(name, 1), max=most) for name, most in largest.items()}
    dynamic = graph.dynamic_axes()
    shapes = tuple({axis: axes[called] for axis, called in dynamic[name].items()} for name in graph.inputs)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.export.export(graph, graph.example(num_rows=3), dynamic_shapes=shapes)

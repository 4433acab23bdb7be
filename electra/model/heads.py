"""hidden states -> logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra import cpu
from electra.model import masking, vocabulary
from electra.model.encoder import EncoderConfig
from electra.model.vocabulary import Draw, Found


class MaskedLanguageHead(nn.Module):
    """(M, D) states of masked positions -> (M, V) logits over the vocabulary, tied to the word embeddings.

    `input_size` is D where that is not the encoder's width.

    Source: `get_masked_lm_output` of the original's `run_pretraining.py`.
    """

    def __init__(self, config: EncoderConfig, word_embeddings: nn.Embedding, input_size: int | None = None) -> None:
        super().__init__()
        self.dense = cpu.Linear(input_size or config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.embedding_size, config.vocab_size)
        self.output.weight = word_embeddings.weight

    def forward(self, states: Tensor, wanted: Tensor | None = None, draw: Draw | None = None) -> Tensor | Found:
        """Logits, or with `wanted` (M,) ids what they say of these, and where a `draw` is given samples."""
        states = self.norm(F.gelu(self.dense(states)))
        if wanted is None:
            return self.output(states)
        plain = cpu.are_half() or not torch.is_autocast_enabled("cpu")
        if states.device.type == "cpu" and self.output.weight.dtype == torch.float32 and plain:
            return vocabulary.predict(states, self.output.weight, self.output.bias, wanted, draw)
        logits = self.output(states)
        total = F.cross_entropy(logits.float(), wanted, reduction="sum")
        with torch.no_grad():
            sampled = None if draw is None else masking.sample_tokens(logits, draw.chance, draw.temperature, draw.forbidden)
            return Found(total=total, hits=logits.argmax(-1) == wanted, sampled=sampled)


class ReplacedTokenHead(nn.Module):
    """(T, D) -> (T,) logits of 'this token was replaced' (original: `_get_discriminator_output`)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = cpu.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(F.gelu(self.dense(hidden))).squeeze(-1)


class ClassificationHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: dropout, dense, gelu, dropout, projection, as in `transformers`."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.dense = cpu.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        states = F.gelu(self.dense(F.dropout(states, self.dropout, self.training)))
        return self.output(F.dropout(states, self.dropout, self.training))


class OriginalClassificationHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: dropout and one projection, as the original fine-tunes."""

    def __init__(self, config: EncoderConfig, num_outputs: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        return self.output(F.dropout(states, self.dropout, self.training))


class TokenHead(nn.Module):
    """(T, D) -> (T, C) logits of each token: dropout and one projection (`transformers`: token classification, question answering)."""

    def __init__(self, config: EncoderConfig, num_outputs: int, dropout: float | None = None) -> None:
        super().__init__()
        self.dropout = config.dropout if dropout is None else dropout
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(F.dropout(hidden, self.dropout, self.training))


def classification_head(config: EncoderConfig, num_outputs: int, kind: str) -> ClassificationHead | OriginalClassificationHead:
    """The head named 'transformers' or 'original'."""
    return (OriginalClassificationHead if kind == "original" else ClassificationHead)(config, num_outputs)

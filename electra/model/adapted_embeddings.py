"""Checkpoint + changed vocabulary -> the same network with other rows of its tokens: some dropped, more added, or those of another vocabulary.

Which tokens: `electra.data.adapted_vocabulary`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from electra.errors import UserError
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.huggingface import Checkpoint

if TYPE_CHECKING:
    from scipy import sparse

ROWS = ("embeddings.word.weight", "head.output.weight", "head.output.bias")
"""Suffixes of the parameters with a row per word piece."""


def with_vocabulary(
    checkpoint: Checkpoint, kept: Sequence[int], parts: Sequence[Sequence[int]] = (), log_ratios: np.ndarray | None = None
) -> nn.Module:
    """A checkpoint, the old ids that stay in their new order, the old ids (per new word) and (N,) log ratios -> a network with N new rows after them.

    Kept rows are unchanged, to the bit. A new embedding is the mean of its parts' embeddings. A generator's output bias, which follows
    frequency, is the mean of theirs plus the log ratio of frequencies (`data.adapted_vocabulary.Extension.log_ratios`).

    Raises:
        UserError: the vocabulary is larger than the network's.
    """
    size, last = checkpoint.config.vocab_size, max(kept)
    if last >= size:
        raise UserError(f"{checkpoint.path}: the vocabulary has {last + 1} pieces, but the network has {size} rows; they do not belong together")
    padding, new_ids = checkpoint.config.pad_token_id, {old: number for number, old in enumerate(kept)}
    config = replace(checkpoint.config, vocab_size=len(kept) + len(parts), pad_token_id=None if padding is None else new_ids.get(padding))

    def change(name: str, rows: Tensor) -> Tensor:
        new = [rows[list(ids)].mean(0, keepdim=True) for ids in parts]
        shift = torch.from_numpy(log_ratios) if name.endswith("bias") and log_ratios is not None else 0.0
        return torch.cat([rows[list(kept)], *([torch.cat(new) + shift] if new else [])])

    return _with_rows(checkpoint, config, change)


def _with_rows(checkpoint: Checkpoint, config: EncoderConfig, change: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A copy of a checkpoint's network with another vocabulary: `change` makes the new rows of a parameter, by its name and its old ones."""
    module = copy.deepcopy(checkpoint.module)
    for part in module.modules():
        if isinstance(part, Encoder):
            part.config = config
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(ROWS) and len(parameter) == checkpoint.config.vocab_size:
                parameter.data = change(name, parameter)
    return module.eval()


def with_new_vocabulary(
    checkpoint: Checkpoint,
    shared: np.ndarray,
    similar: sparse.csr_matrix | None,
    log_frequencies: np.ndarray,
    *,
    num_tokens: int,
    pad_id: int,
    others: Literal["mean", "random"] = "random",
    seed: int = 1,
) -> Checkpoint:
    """A checkpoint with the tokens of another vocabulary; all but the rows of its tokens is unchanged.

    Args:
        checkpoint: its table may have more rows than tokens.
        shared: (V,) its id for each new token, -1 where it has none; such rows are unchanged, to the bit.
        similar: (V, num_tokens) weights of its tokens for new ones; None, or a row without weights: by `others`.
        log_frequencies: (V,) what a masked LM's output biases become.
        num_tokens: tokens of its vocabulary.
        pad_id: the new id of the padding token.
        others: the mean of all its tokens, or normal with their mean and deviation in each dimension.
        seed: of the normal ones.
    """
    padding = checkpoint.config.pad_token_id
    config = replace(checkpoint.config, vocab_size=len(shared), pad_token_id=None if padding is None else pad_id)
    same = torch.from_numpy(shared >= 0)
    mixed = None if similar is None else torch.from_numpy(np.diff(similar.indptr) > 0)

    def change(name: str, rows: Tensor) -> Tensor:
        if name.endswith("bias"):
            return torch.from_numpy(log_frequencies.copy()).to(rows.dtype)
        old = rows[:num_tokens]
        new = old.mean(0).expand(len(shared), -1).clone()
        if others == "random":
            new += old.std(0) * torch.randn(new.shape, generator=torch.Generator().manual_seed(seed))
        if similar is not None and mixed is not None:
            new[mixed] = torch.from_numpy(similar @ old.float().numpy())[mixed].to(rows.dtype)
        new[same] = rows[torch.from_numpy(shared[shared >= 0])]
        return new

    return replace(checkpoint, module=_with_rows(checkpoint, config, change), config=config)

"""A network + new words made of old pieces -> the same network with a row for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from electra.errors import UserError
from electra.model.hf import Checkpoint, is_electric, new_module

ROWS = ("embeddings.word.weight", "head.output.weight", "head.output.bias")
"""Ends of the names of what has a row per word piece."""


def extend_network(checkpoint: Checkpoint, num_kept: int, parts: Sequence[Sequence[int]], log_ratios: np.ndarray) -> nn.Module:
    """A pre-trained checkpoint, the old vocabulary's size, the old ids (per new word) and (N,) log ratios -> a network with N more rows.

    A new embedding is the mean of its pieces'. A generator's output bias, which follows frequency, is the mean of theirs shifted by
    how much rarer the word is than they (`data.extension.Extension.log_ratios`). What is known of the old pieces is unchanged, to the bit.

    Raises:
        UserError: the vocabulary is larger than the network's.
    """
    size = checkpoint.config.vocab_size
    if num_kept > size:
        raise UserError(f"{checkpoint.path}: the vocabulary has {num_kept} pieces, the network rows for {size}; they do not belong together")
    extended = new_module(checkpoint.architecture, replace(checkpoint.config, vocab_size=num_kept + len(parts)), electric=is_electric(checkpoint))
    state = {}
    for name, value in checkpoint.module.state_dict().items():
        if name.endswith(ROWS) and len(value) == size:
            new = torch.stack([value[list(ids)].mean(0) for ids in parts])
            shift = torch.from_numpy(log_ratios) if name.endswith("bias") else 0.0
            value = torch.cat([value[:num_kept], new + shift])
        state[name] = value
    extended.load_state_dict(state)
    return extended.eval()

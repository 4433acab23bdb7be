"""The repeated blocks of a network: what is sharded, compiled and recomputed one at a time."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks(network: nn.Module) -> list[nn.Module]:
    """The members of every ModuleList: a transformer's layers."""
    return [block for stack in network.modules() if isinstance(stack, nn.ModuleList) for block in stack]


def recompute(network: nn.Module) -> None:
    """Make every block keep only its input and compute the rest again in the backward pass (activation checkpointing)."""
    for block in blocks(network):
        if "forward" in vars(block):
            continue  # it does already
        # On the instance, so that parameters keep their names, and below __call__, where sharding has its hooks.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]

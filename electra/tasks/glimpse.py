"""A batch as the networks of an objective read it: masked text, the generator's samples, labels; for the eye."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from electra.contracts import Batch
from electra.data.tokenizer import Tokenizer
from electra.model.networks import main_network
from electra.model.noise import MaskedLanguageModel
from electra.model.objectives import Corruption

WIDTH = 110
"""Columns of a line."""
LINES = 2
"""Rows of tokens shown of an example."""


def examples_shown(objective: MaskedLanguageModel | Corruption, batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """What the networks are given for `batch`, token under token; the objective's mode and gradients are left alone.

    `masked` is what the generator (or a BERT) reads, `corrupted` what the discriminator reads; `label` is R where that token was replaced
    and = where the generator's sample is the original.
    """
    networks: dict[str, nn.Module] = {} if objective.generator is None else {"masked": objective.generator}
    if isinstance(objective, Corruption):
        networks["corrupted"] = main_network(objective)
    was_training = objective.training
    objective.eval()
    try:
        with torch.no_grad(), _read_ids(networks, batch) as found:
            objective(batch)
    finally:
        objective.train(was_training)
    lines: list[str] = []
    start = 0
    for number, length in enumerate(batch.lengths, 1):
        ids = {"original": batch.ids, **found}
        pieces = {name: [tokenizer.pieces[i] for i in values[start : start + length].tolist()] for name, values in ids.items()}
        if "corrupted" in pieces:
            chosen = [piece != masked for piece, masked in zip(pieces["original"], pieces.get("masked", pieces["corrupted"]), strict=True)]
            pairs = zip(pieces["original"], pieces["corrupted"], chosen, strict=True)
            pieces["label"] = ["R" if read != piece else "=" if was else "." for piece, read, was in pairs]
        lines += [f"example {number} of the first batch, {length} tokens", *_rows(pieces)]
        start += length
    return lines


@contextlib.contextmanager
def _read_ids(networks: dict[str, nn.Module], batch: Batch) -> Iterator[dict[str, Tensor]]:
    """Notes the (T,) ids that each network is called with."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            given = [value for value in inputs if isinstance(value, Tensor) and value.shape == batch.ids.shape and value.dtype == torch.int64]
            found[name] = given[0] if given else batch.ids

        return hook

    handles = [network.register_forward_pre_hook(note(name)) for name, network in networks.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _rows(pieces: dict[str, list[str]]) -> list[str]:
    """Aligned rows of tokens, as many as fit into LINES."""
    label = max(map(len, pieces))
    widths = [max(map(_columns, column)) for column in zip(*pieces.values(), strict=True)]
    lines: list[str] = []
    at = 0
    for _ in range(LINES):
        first, used = at, label + 2
        while at < len(widths) and (used + widths[at] + 1 <= WIDTH or at == first):
            used += widths[at] + 1
            at += 1
        cells = slice(first, at)
        for name, row in pieces.items():
            padded = (piece + " " * (width - _columns(piece)) for piece, width in zip(row[cells], widths[cells], strict=True))
            lines.append(f"  {name:<{label}} {' '.join(padded)}".rstrip())
        if at == len(widths):
            return lines
    return [*lines, "  ..."]


def _columns(text: str) -> int:
    """Columns a text takes in a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

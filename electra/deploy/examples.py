"""A task's examples through a network, whatever runs it: checkpoints and built artefacts are asked in the same words. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from electra.contracts import Features, Head
from electra.deploy.loading import load
from electra.deploy.network import Network
from electra.deploy.windows import Piece, Window
from electra.tasks.finetuned import Opened

KINDS = {"ElectraForTokenClassification": "tagging", "ElectraForQuestionAnswering": "span", "ElectraOriginalQuestionAnswering": "span"}


def open_fine_tuned(source: str, *, threads: int = 0, device: str = "auto") -> Opened:
    """A checkpoint folder, run, hub name or artefact -> a fine-tuned model.

    Args:
        source: what `electra.load` opens.
        threads: CPU threads; 0 leaves the library's choice.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda'.

    Raises:
        UserError: no such model, or one that was not fine-tuned.
    """
    predictor = load(source, role="task", threads=threads, device=device)
    network, head = predictor.network, head_of(predictor.network)

    def compute(features: Sequence[Features], batch_size: int) -> list[np.ndarray]:
        return compute_outputs(network, features, head, batch_size)

    return Opened(
        name=str(source),
        head=head,
        tokenizer=predictor.tokenizer,
        max_length=network.max_length,
        hf_config=network.hf_config,
        compute=compute,
    )


def head_of(network: Network) -> Head:
    """What a network's head is for; a regression answers in the label's own unit, so nothing is left to scale."""
    if (kind := KINDS.get(network.architecture)) is not None:
        return Head(kind=kind, labels=tuple(network.labels) if kind == "tagging" else ())
    if network.is_regression:
        return Head(kind="regression")
    return Head(kind="multilabel" if network.is_multilabel else "classification", labels=tuple(network.labels))


def compute_outputs(network: Network, features: Sequence[Features], head: Head, batch_size: int) -> list[np.ndarray]:
    """Features -> (C,) logits of a text, (L, C) of its tokens or what a span head says of each, float32, in their order.

    Similar lengths share a batch, the longest first: memory runs out at once or never.
    """
    pieces = [Piece(feature.ids, feature.segments, Window(0, 0, 0, 0)) for feature in features]  # type: ignore[arg-type]
    ask = {"tagging": network.token_logits, "span": network.span_outputs}.get(head.kind, network.class_logits)
    order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids))
    found: dict[int, np.ndarray] = {}
    with _precision(network):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found.update(zip(batch, ask([pieces[i] for i in batch]), strict=True))
    return [found[i] for i in range(len(pieces))]


def _precision(network: Network) -> AbstractContextManager[object]:
    """On CUDA that of training's own evaluations, so that a checkpoint scores as it did there."""
    device = getattr(network, "device", "cpu")
    if not str(device).startswith("cuda"):
        return nullcontext()
    import torch

    from electra.train.evaluation import autocast

    return autocast(torch.device(device), "auto")

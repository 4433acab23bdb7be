"""Pieces of text -> numbers. What a predictor asks of a network, and the one that answers with PyTorch.

A built artefact will answer the same four questions without torch; nothing above this file knows which one it talks to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from electra import hub
from electra.deploy.artefact import is_artefact, read_manifest
from electra.deploy.windows import Piece
from electra.errors import UserError, require
from electra.tasks.reading import recorded

if TYPE_CHECKING:
    from torch import Tensor

    from electra.contracts import Batch
    from electra.model.hf import Checkpoint

Array = np.ndarray
PRETRAINED_NAMES = frozenset(f"google/electra-{size}-{part}" for size in ("small", "base", "large") for part in ("discriminator", "generator"))
"""The published checkpoints: known to be without a task's head before anything is downloaded."""


class Network(Protocol):
    """A trained network, whatever runs it. Every question takes pieces and gives one answer per piece, float32 on the host."""

    architecture: str
    """Name of the Hugging Face class, such as ElectraForPreTraining."""
    labels: tuple[str, ...]
    """Class names in id order; one name for a regression."""
    is_regression: bool
    is_multilabel: bool
    """Whether several labels may hold at once."""
    is_electric: bool
    """Whether a discriminator's logits are Electric's energies."""
    max_length: int
    """Longest input in tokens, [CLS] and [SEP] included."""
    hidden_size: int
    vocab_size: int
    hf_config: Mapping[str, Any]
    """What config.json says."""
    token_segment: int
    """Segment of all tokens of a tagger's input: 0, or 1 as the original's."""
    module: Any
    """What runs: a torch.nn.Module here."""

    def class_logits(self, pieces: Sequence[Piece]) -> Array:
        """B pieces -> (B, C)."""
        ...

    def token_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L, C), special tokens included."""
        ...

    def replaced_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L,), special tokens included."""
        ...

    def span_outputs(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces of a question and its context -> what a span head says of each (see `electra.tasks.answers`)."""
        ...

    def hidden_states(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L, D), special tokens included."""
        ...

    def word_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces with M queries each -> B arrays (M, V)."""
        ...


class TorchNetwork:
    """A checkpoint run by PyTorch in evaluation mode: CUDA in bf16 is left to the caller, numbers here are fp32."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        from torch import nn

        module: nn.Module = checkpoint.module
        self.module: Any = module.to(device).eval()
        self.encoder: nn.Module = getattr(module, "encoder", module)
        self.device = device
        self.architecture = checkpoint.architecture
        self.labels = tuple(checkpoint.labels)
        problem = checkpoint.hf_config.get("problem_type")
        self.is_regression = problem == "regression" or (problem is None and len(self.labels) == 1)
        self.is_multilabel = problem == "multi_label_classification"
        self.is_electric = bool(getattr(module, "electric", False))
        self.token_segment = int(recorded(checkpoint.hf_config)[0].get("token_segment", 0))
        self.max_length = checkpoint.config.max_position_embeddings
        self.hidden_size = checkpoint.config.hidden_size
        self.vocab_size = checkpoint.config.vocab_size
        self.hf_config = checkpoint.hf_config

    def class_logits(self, pieces: Sequence[Piece]) -> Array:
        """B pieces -> (B, C)."""
        with self._batch(pieces) as batch:
            return _host(self.module(batch))

    def token_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L, C)."""
        with self._batch(pieces) as batch:
            return _rows(_host(self.module(batch)), batch.lengths)

    def replaced_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L,)."""
        with self._batch(pieces) as batch:
            return _rows(_host(self.module(batch)), batch.lengths)

    def span_outputs(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L, 2) or (1 + N, 4)."""
        with self._batch(pieces) as batch:
            return [_host(output) for output in self.module.outputs(batch)]

    def hidden_states(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces -> B arrays (L, D)."""
        with self._batch(pieces) as batch:
            return _rows(_host(self.encoder(batch)), batch.lengths)

    def word_logits(self, pieces: Sequence[Piece]) -> list[Array]:
        """B pieces with M queries each -> B arrays (M, V); only those positions go through the vocabulary."""
        import torch

        with self._batch(pieces) as batch:
            starts = np.concatenate([[0], np.cumsum(batch.lengths)[:-1]])
            at = [int(start) + index for start, piece in zip(starts, pieces, strict=True) for index, _ in piece.queries]
            logits = self.module(batch, at=torch.tensor(at, dtype=torch.int64, device=self.device))
            return _rows(_host(logits), [len(piece.queries) for piece in pieces])

    @contextmanager
    def _batch(self, pieces: Sequence[Piece]) -> Iterator[Batch]:
        import torch

        from electra.cpu import fast_products
        from electra.data.batches import collate

        with torch.inference_mode(), fast_products(torch.device(self.device)):
            yield collate([(piece.ids, piece.segments) for piece in pieces], keys=[0] * len(pieces)).to(self.device)


def _host(values: Tensor) -> Array:
    return values.float().cpu().numpy()


def _rows(values: Array, lengths: Sequence[int]) -> list[Array]:
    return np.split(values, np.cumsum(lengths)[:-1])


def open_network(source: str | Path, *, role: str = "any", device: str = "auto", threads: int = 0) -> Network:
    """Checkpoint folder, run directory, hub name or artefact -> network.

    Args:
        source: where the weights are.
        role: what is wanted of it, as in `electra.model.hf.load_checkpoint`.
        device: 'auto' takes CUDA, then the CPU.
        threads: CPU threads; 0 leaves the choice to PyTorch or the artefact's runtime.

    Raises:
        UserError: no such checkpoint, a damaged one, torch or the device is missing.
    """
    if is_artefact(source):
        from electra.deploy.built_network import open_built_network

        return open_built_network(source, role=role, device=device, threads=threads)
    torch = require("torch", "train")
    from electra.model.hf import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{device}' is not available: {str(error).splitlines()[0]}; use 'cpu'") from None
    return TorchNetwork(load_checkpoint(source, role), device)


def architecture_of(source: str | Path) -> str:
    """Checkpoint folder, run directory, hub name or artefact -> the name of its Hugging Face class, without loading the weights.

    Raises:
        UserError: no such model.
    """
    if str(source) in PRETRAINED_NAMES:
        return "ElectraForPreTraining" if str(source).endswith("discriminator") else "ElectraForMaskedLM"
    if is_artefact(source):
        return str(read_manifest(source)["architecture"])
    return architecture_in(hub.resolve(source))


def architecture_in(folder: Path) -> str:
    """Checkpoint folder -> the name of its Hugging Face class, without loading the weights."""
    from electra.model.hf import read_config

    return str((read_config(folder).get("architectures") or ["ElectraModel"])[0])


SPAN_FINDERS = ("ElectraForQuestionAnswering", "ElectraOriginalQuestionAnswering")


def require_span_finder(name: str, architecture: str) -> None:
    """Nothing, when a checkpoint of this architecture answers questions.

    Raises:
        UserError: it does not; the command that makes one of it that does is part of the message.
    """
    if architecture not in SPAN_FINDERS:
        raise UserError(
            f"{name} answers no questions (it is an {architecture}); fine-tune it first: "
            f"electra finetune squad --model {name} --data squad --output runs/squad, then use runs/squad/best"
        )


def require_classifier(name: str, architecture: str) -> None:
    """Nothing, when a checkpoint of this architecture gives labels.

    Raises:
        UserError: it does not; the command that makes one of it that does is part of the message.
    """
    if architecture in ("ElectraForSequenceClassification", "ElectraOriginalClassifier"):
        return
    raise UserError(
        f"{name} has no classification head (it is an {architecture}, pre-trained only), so its labels would be random; fine-tune it first: "
        f"electra finetune sst2 --model {name} --data glue/SST-2 --output runs/sst2, then use runs/sst2/best"
    )

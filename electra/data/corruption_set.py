"""Held-out batches -> a fixed corruption set (.npz): replacements stored once, the same for every compared model.

Replaced-token metrics depend on the generator that made the replacements: a weak generator makes its discriminator look good. Here the
replacements come from a frozen generator (`generator`) and from word frequencies (`frequency`), and the baseline for every detector is
one without context, which knows only how often each token was a replacement.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from electra.contracts import Batch
from electra.data.pretraining_batches import collate, example_key
from electra.errors import UserError
from electra.storage import atomic

FORMAT = 1


@dataclass(frozen=True, eq=False)
class CorruptionSet:
    """N tokens of B examples, concatenated, and their replacements."""

    ids: np.ndarray
    """(N,) int32 original ids."""
    segments: np.ndarray
    """(N,) uint8."""
    lengths: np.ndarray
    """(B,) int32."""
    corrupted: Mapping[str, np.ndarray]
    """Source of replacements -> (N,) int32 ids."""
    fingerprint: str
    """Of the vocabulary."""

    def save(self, path: Path) -> None:
        """Write it as .npz, atomically."""
        arrays: dict[str, Any] = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "ids": self.ids,
            "segments": self.segments,
            "lengths": self.lengths,
        }
        arrays |= {f"corrupted_{name}": ids for name, ids in self.corrupted.items()}
        with atomic.atomic_file(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)

    def batches(self, source: str, batch_size: int) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """(batch of the originals, (T,) corrupted ids, (T,) bool replaced) in order."""
        bounds = np.concatenate([[0], np.cumsum(self.lengths)])
        for first in range(0, len(self.lengths), batch_size):
            rows = range(first, min(first + batch_size, len(self.lengths)))
            batch = collate(
                [(self.ids[bounds[i] : bounds[i + 1]], self.segments[bounds[i] : bounds[i + 1]]) for i in rows], [example_key(0, i) for i in rows]
            )
            corrupted = torch.from_numpy(self.corrupted[source][bounds[rows[0]] : bounds[rows[-1] + 1]].astype(np.int64))
            yield batch, corrupted, corrupted != batch.ids

    def context_free_scores(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        """(N,) scores of a detector that sees one token at a time, and (N,) labels.

        A score is the fraction of a piece's occurrences that were replacements, counted on one half of the examples and applied to the
        other, both ways; pieces that do not occur in that half get the average.
        """
        corrupted = self.corrupted[source]
        replaced = corrupted != self.ids
        half = np.repeat(np.arange(len(self.lengths)) % 2, self.lengths)
        scores = np.zeros(len(corrupted))
        size = int(max(corrupted.max(initial=0), self.ids.max(initial=0))) + 1
        for side in (0, 1):
            seen = half != side
            hits = np.bincount(corrupted[seen], weights=replaced[seen], minlength=size)
            total = np.bincount(corrupted[seen], minlength=size)
            average = replaced[seen].mean() if seen.any() else 0.0
            scores[half == side] = ((hits + average) / (total + 1))[corrupted[half == side]]
        return scores, replaced


def load_corruption(path: Path, fingerprint: str) -> CorruptionSet:
    """Read a corruption set.

    Raises:
        UserError: missing, damaged, of another format, or made with another vocabulary.
    """
    try:
        with np.load(path, allow_pickle=False) as values:
            if int(values["format"]) != FORMAT:
                raise UserError(f"{path} has format {int(values['format'])}, this version reads {FORMAT}; make it again")
            found = CorruptionSet(
                ids=values["ids"],
                segments=values["segments"],
                lengths=values["lengths"],
                corrupted={name.removeprefix("corrupted_"): values[name] for name in values.files if name.startswith("corrupted_")},
                fingerprint=str(values["fingerprint"]),
            )
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a corruption set ({error}); delete it and give --data to make a new one") from None
    if found.fingerprint != fingerprint:
        raise UserError(f"{path} was made with another vocabulary than the model's; make one with this model: --corruption NEW.npz --data SHARDS")
    return found


def make_corruption(
    batches: Sequence[Batch],
    choose: Callable[[Batch], Tensor],
    generate: Callable[[Batch, Tensor], Tensor],
    frequencies: np.ndarray,
    fingerprint: str,
    seed: int,
) -> CorruptionSet:
    """Batches of held-out text -> a corruption set.

    `choose(batch)` -> (M,) token indices; `generate(batch, indices)` -> (M,) ids from the frozen generator; `frequencies`
    (V,) counts of the training text, from which the other source samples.
    """
    rng = np.random.default_rng([seed, 17])
    probabilities = frequencies / frequencies.sum()
    by_source: dict[str, list[np.ndarray]] = {"generator": [], "frequency": []}
    for batch in batches:
        at = choose(batch)
        by_frequency = torch.from_numpy(rng.choice(len(probabilities), size=len(at), p=probabilities))
        for source, sampled in (("generator", generate(batch, at).cpu()), ("frequency", by_frequency)):
            by_source[source].append(batch.ids.index_copy(0, at, sampled).numpy().astype(np.int32))
    return CorruptionSet(
        ids=np.concatenate([b.ids.numpy() for b in batches]).astype(np.int32),
        segments=np.concatenate([b.segments.numpy() for b in batches]).astype(np.uint8),
        lengths=np.concatenate([b.lengths for b in batches]).astype(np.int32),
        corrupted={source: np.concatenate(batches_of) for source, batches_of in by_source.items()},
        fingerprint=fingerprint,
    )

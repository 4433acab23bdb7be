"""Held-out text -> a fixed corruption set: replacements stored once, the same for every compared model.

Of token ids (.npz), for models with one vocabulary; of words in texts (.jsonl), for any.

Replaced-token metrics depend on the generator that made the replacements: a weak generator makes its discriminator look good. Here the
replacements come from a frozen generator (`generator`) and from word frequencies (`frequency`), and the baseline for every detector is
one without context, which knows only how often each token was a replacement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.contracts import Batch
from electra.data import tables
from electra.errors import UserError, raise_if_device
from electra.storage import atomic

if TYPE_CHECKING:
    from torch import Tensor

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
        import torch

        from electra.data.pretraining_batches import collate, example_key

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
        other, both ways.
        """
        corrupted = self.corrupted[source]
        replaced = corrupted != self.ids
        return cross_fitted_rates(corrupted, replaced, np.repeat(np.arange(len(self.lengths)) % 2, self.lengths)), replaced


def cross_fitted_rates(kinds: np.ndarray, replaced: np.ndarray, half: np.ndarray) -> np.ndarray:
    """(N,) kinds (whole numbers from 0), whether each was replaced, its half (0 or 1) -> (N,) share of the kind's replacements in the other half.

    One more, of the average, is counted for each kind: one that does not occur in the other half gets the average.
    """
    scores = np.zeros(len(kinds))
    size = int(kinds.max(initial=0)) + 1
    for side in (0, 1):
        seen = half != side
        hits = np.bincount(kinds[seen], weights=replaced[seen], minlength=size)
        total = np.bincount(kinds[seen], minlength=size)
        average = replaced[seen].mean() if seen.any() else 0.0
        scores[half == side] = ((hits + average) / (total + 1))[kinds[half == side]]
    return scores


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
        _check(found)
    except atomic.BROKEN_PACKED as error:
        raise_if_device(error)
        raise UserError(f"{path} is not a corruption set ({error}); delete it and give --data to make a new one") from None
    if found.fingerprint != fingerprint:
        raise UserError(f"{path} was made with another vocabulary than the model's; make one with this model: --corruption NEW.npz --data SHARDS")
    return found


def _check(found: CorruptionSet) -> None:
    """Raise a ValueError where the arrays do not fit each other."""
    arrays = {"ids": found.ids, "segments": found.segments, "lengths": found.lengths} | {f"corrupted_{k}": v for k, v in found.corrupted.items()}
    for name, values in arrays.items():
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min(initial=0) < 0:
            raise ValueError(f"{name} are no whole numbers from 0")
        if name != "lengths" and len(values) != int(found.lengths.sum()):
            raise ValueError(f"{len(values)} {name}, the lengths say {int(found.lengths.sum())}")
    if not found.corrupted:
        raise ValueError("nothing is replaced in it")


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
    import torch

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


# ---- words in texts ----

WORD = re.compile(r"[^\W_]+")
"""Letters and digits between anything else: what no tokenizer of words joins with its neighbours."""
SOURCES = ("generator", "frequency")


@dataclass(frozen=True)
class CorruptedText:
    """A text in which words were replaced."""

    text: str
    words: tuple[tuple[int, int, bool], ...]
    """(first character, character after the last, whether it was replaced) of each word that is scored."""
    source: str = "generator"
    """What made the replacements; each source is scored by itself."""

    def to_dict(self) -> dict[str, Any]:
        """A line of the file."""
        return {"text": self.text, "words": [list(word) for word in self.words], "source": self.source}


def find_words(text: str) -> list[tuple[int, int]]:
    """Characters (first, end) of a text's words: runs of letters and digits."""
    return [match.span() for match in WORD.finditer(text)]


def replace_words(text: str, replacements: Mapping[int, str], source: str) -> CorruptedText:
    """A text and, by number, the new ones of its words -> the text with them; all its words are scored.

    A new word without capitals gets those of the old one: 'THE' and 'The' stay such.
    """
    parts: list[str] = []
    words: list[tuple[int, int, bool]] = []
    length = done = 0
    for number, (start, end) in enumerate(find_words(text)):
        new = _capitals(replacements[number], text[start:end]) if number in replacements else text[start:end]
        parts += [text[done:start], new]
        first = length + start - done
        words.append((first, first + len(new), number in replacements))
        length, done = first + len(new), end
    return CorruptedText("".join([*parts, text[done:]]), tuple(words), source)


def _capitals(new: str, old: str) -> str:
    if new != new.lower() or old == old.lower():
        return new
    return new.upper() if len(old) > 1 and old.isupper() else new[0].upper() + new[1:]


def save_texts(texts: Iterable[CorruptedText], path: Path) -> None:
    """Write JSON lines, atomically."""
    atomic.write_text(path, "".join(json.dumps(text.to_dict(), ensure_ascii=False) + "\n" for text in texts))


def load_texts(path: Path) -> list[CorruptedText]:
    """JSON lines of `text`, `words` ([first, end, replaced] each) and, where there are several, `source`.

    Raises:
        UserError: missing, damaged, a word outside of its text, or no text.
    """
    found = []
    for number, row in tables.read_rows(path, "corruption set", kind="jsonl"):
        text, words, source = row.get("text"), row.get("words"), row.get("source", "generator")
        if not isinstance(text, str) or not isinstance(words, list) or not isinstance(source, str):
            raise UserError(
                f'{path}, line {number}: expected {{"text": TEXT, "words": [[FIRST, END, REPLACED], ...], "source": NAME}}; correct the line'
            )
        for word in words:
            if not (
                isinstance(word, list) and len(word) == 3 and all(isinstance(value, int) for value in word) and 0 <= word[0] < word[1] <= len(text)
            ):
                raise UserError(
                    f"{path}, line {number}: word {json.dumps(word)[:60]}; expected [first character, end, whether it was replaced] within "
                    f"{len(text)} characters; correct it"
                )
        found.append(CorruptedText(text, tuple((first, end, bool(replaced)) for first, end, replaced in words), source))
    if not found:
        raise UserError(f"{path} has no texts; give --data FILE to make a corruption set")
    return found


def context_free_scores(texts: Sequence[CorruptedText]) -> np.ndarray:
    """Texts -> the score of each of their words, in order, by a detector without context: by word forms, as `CorruptionSet.context_free_scores`."""
    forms = [text.text[first:end].lower() for text in texts for first, end, _ in text.words]
    kinds = np.unique(forms, return_inverse=True)[1].reshape(-1) if forms else np.zeros(0, np.int64)
    replaced = np.array([replaced for text in texts for *_, replaced in text.words], bool)
    return cross_fitted_rates(kinds, replaced, np.repeat(np.arange(len(texts)) % 2, [len(text.words) for text in texts]))

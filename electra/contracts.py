"""What the floors hand each other.

Shape legend, used everywhere: B batch, L sequence, T real tokens of a batch, D hidden, E embedding, H heads,
K head size, V vocabulary, M masked positions, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B sequences without padding: their T real tokens laid end to end.

    Padding is never computed: token-wise layers see (T, D). Lengths are kept on the host, so nothing has to wait
    for the device to know a shape.
    """

    ids: torch.Tensor
    """(T,) int64 word-piece ids, [CLS] and [SEP] included."""
    segments: torch.Tensor
    """(T,) int64 segment (token type) ids."""
    positions: torch.Tensor
    """(T,) int64 position within its sequence."""
    rows: torch.Tensor
    """(T,) int64 index of its sequence, 0..B-1."""
    keys: torch.Tensor
    """(B,) int64 key of all randomness about a sequence: made from the seed and its global example index."""
    lengths: tuple[int, ...]
    """Length of each of the B sequences, on the host."""
    labels: torch.Tensor | None = None
    """Task labels: (B,) int64 classes or float32 targets, (B, C) float32 of several labels at once, (B, 2 or 3) int64 first and last token
    of an answer (and whether there is none), or (T,) int64 tags (-100 where none is asked for); None in pre-training."""
    classes: tuple[int, ...] | None = None
    """The B classes once more, on the host, where labels are classes."""
    num_tags: int = 0
    """Tags asked for among (T,) labels, on the host."""
    soft_targets: torch.Tensor | None = None
    """(B, C) float32 of a teacher: probabilities of classes or of labels, or a regression's (scaled) number; None without a teacher."""
    task: str = ""
    """The one task of all B sequences, where several are trained together."""
    word_starts: torch.Tensor | None = None
    """(T,) bool, whether a token begins a word: then whole words are chosen for masking; None: word pieces are."""
    mask_weights: torch.Tensor | None = None
    """(T,) float32 above zero, how readily a token is chosen for masking relative to others; None: all alike."""

    @property
    def num_tokens(self) -> int:
        """T."""
        return sum(self.lengths)

    @property
    def max_length(self) -> int:
        """L, the longest sequence of the batch."""
        return max(self.lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device` (asynchronously where they are pinned)."""
        moved: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if hasattr(value, "to"):
                moved[item.name] = value.to(device, non_blocking=True)
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss as a sum, so that it can be divided by its count over all ranks and microbatches."""

    total: torch.Tensor
    """Scalar: the sum over `count` items."""
    count: int
    """Number of items, known on the host before the forward pass."""
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """What an objective says of one microbatch."""

    losses: Mapping[str, Loss]
    """Name -> loss; the training loss is the sum of weight * total / count."""
    metrics: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Name -> (sum, count), detached scalars on the device; the metric is sum / count over all batches."""
    scores: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Name -> (score (N,), label (N,)), detached: ranking metrics (AUC) are exact over everything evaluated."""


class Objective(Protocol):
    """A torch.nn.Module that turns a Batch into a StepOutput. It owns the networks it trains."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Loss name -> count of this microbatch, from host lengths alone (the loop sums these before the forward pass)."""
        ...

    def advance(self, done: float) -> None:
        """The share of the run that is over, before every update: for what changes as a run goes on."""
        ...

    def __call__(self, batch: Batch) -> StepOutput: ...


class BatchStream(Protocol):
    """An endless iterator of this rank's batches whose position can be saved and restored exactly."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def state(self) -> dict[str, Any]:
        """JSON-able position: the next batch after `load_state(state())` is the one that would have come."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


# ---- tasks ----

Label: TypeAlias = str | float | tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """An answer to a question: a part of the context."""

    text: str
    start: int
    """Index of its first character in the context; -1 where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled (or unlabelled) input of a task."""

    id: str
    """Stable within its split."""
    text: str
    """The text; a question; a sentence of words joined by blanks."""
    text_pair: str | None = None
    """The second text; a question's context."""
    label: Label | None = None
    """Class name, target of a regression, the names that hold of several labels, or a tag for each word."""
    words: tuple[str, ...] | None = None
    """The words to tag."""
    answers: tuple[Answer, ...] | None = None
    """What a question's context says, as several people marked it; empty where it says nothing, None where that is not known."""
    task: str = ""
    """The task it is of, where several are trained together."""

    @property
    def gold(self) -> Label | list[str] | None:
        """What a prediction is compared with: the label, or the texts of a question's answers."""
        return self.label if self.answers is None else [answer.text for answer in self.answers]


@dataclass(frozen=True, kw_only=True)
class Features:
    """An example as the network reads it."""

    ids: Sequence[int] | np.ndarray
    """Word-piece ids with [CLS] and [SEP]."""
    segments: Sequence[int] | np.ndarray
    example: int
    """Index of its Example; a long one has several features, its windows, one behind the other."""
    weight: int = 1
    """Weight of this window's answer among those of its example: the tokens it answers for."""
    label: int | float | tuple[int, ...] | tuple[float, ...] | None = None
    """Class, target, C targets of 0 and 1, or first and last token of the answer (0, 0 where this window has none) and, where
    questions may have no answer, 1 for such a question."""
    soft_targets: Sequence[float] | None = None
    """A teacher's C probabilities, or its (scaled) number."""
    token_labels: Sequence[int] | None = None
    """Tagging: a tag's id for each token, -100 where none is asked for."""
    word_ids: Sequence[int] | None = None
    """Tagging: for each token the index of the word whose first piece it is, else -1."""
    offsets: Sequence[tuple[int, int]] | np.ndarray | None = None
    """Questions: for each token its characters (first, end) in the context, (-1, -1) outside of it."""
    has_most_context: Sequence[bool] | np.ndarray | None = None
    """For each token, whether no other window of its example sees more around it; None: there is but one window."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is put on the encoder for a task."""

    kind: str
    """'classification', 'regression', 'multilabel', 'tagging' or 'span'."""
    labels: tuple[str, ...] = ()
    """Class names in id order; empty for a regression and for spans."""
    offset: float = 0.0
    """Regression: training targets are (label - offset) / scale, about 0..1; a saved model answers in the label's unit."""
    scale: float = 1.0

    @property
    def num_outputs(self) -> int:
        """C: one logit per class, one for a regression, first and last token for spans."""
        return 2 if self.kind == "span" else max(1, len(self.labels))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's answer for one example."""

    label: Label
    """Class, number, names that hold, a tag for each word, or the answer's text."""
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    num_windows: int = 1
    """Parts a text longer than the model's limit was read in; their probabilities are averaged."""


@dataclass(frozen=True, kw_only=True)
class TagPrediction(Prediction):
    """The tags of a sentence's words."""

    word_probabilities: tuple[float, ...]
    """Probability of each word's tag."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A possible answer to a question."""

    text: str
    """Exactly what stands in the context."""
    start: int
    """Its first character in the context."""
    end: int
    """Behind its last character."""
    score: float
    """Probability of its first times that of its last token, among the tokens of its window's context and [CLS]."""
    start_logit: float
    end_logit: float


@dataclass(frozen=True, kw_only=True)
class SpanPrediction(Prediction):
    """The answer to a question, and what else it might be."""

    candidates: tuple[Candidate, ...]
    """Different texts, the best first; at least one."""
    null_odds: float = 0.0
    """How much likelier 'no answer' is than the best candidate, as a difference of logits."""
    null_score: float = 0.0
    """Probability of 'no answer' in the window where it is least likely."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task is five functions: files -> examples -> features -> (network) -> predictions -> scores."""

    name: str
    description: str
    read: Callable[[Path, str], list[Example]]
    """(folder or archive, split) -> examples."""
    featurize: Callable[[Sequence[Example], Any, int, Head], list[Features]]
    """(examples, `data.tokenizer.Tokenizer`, max_length, head) -> features."""
    head: Callable[[Sequence[Example]], Head]
    """Training examples -> head (fixed for benchmarks, found for one's own data)."""
    decode: Callable[[Sequence[np.ndarray], Sequence[Features], Sequence[Example], Head], list[Prediction]]
    """(outputs of the features, features, examples, head) -> one prediction per example. An output is (C,) logits of a text, (L, C) of its
    tokens, or what a span head says (L, ...)."""
    score: Callable[[Sequence[Example], Sequence[Prediction], Head], dict[str, float]]
    """Labelled examples and predictions -> metric name -> value (0..1, correlations -1..1)."""
    main_metric: str
    unordered_pairs: bool = False
    """Whether the two texts may be swapped (MRPC, STS-B)."""
    splits: tuple[str, ...] = ("train", "dev", "test")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Name -> usual value of what `featurize` and `decode` also take by keyword (see `tasks/input_spec.py`)."""
    usual_length: int = 128
    """Longest input in tokens where nothing else is known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WordStatistics:
    """What counting says of every piece of a vocabulary."""

    log_frequencies: np.ndarray
    """(V,) float32 natural logarithms of relative frequencies, smoothed by one occurrence; their mean is zero."""
    vectors: np.ndarray
    """(V, dimensions) float32 of unit length; zero for a piece too rare to have company."""
    num_tokens: int
    """Tokens counted."""

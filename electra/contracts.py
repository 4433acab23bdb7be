"""Types that pass between packages: batches, losses, objectives; examples, features, heads, predictions, tasks.

Shape legend, used everywhere: B batch, L sequence, T real tokens of a batch, D hidden, E embedding, H heads,
K head size, V vocabulary, M masked positions, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B sequences without padding: their T real tokens, concatenated.

    Padding is never computed: token-wise layers see (T, D). Lengths are kept on the host, so that no shape has to wait for
    the device.
    """

    ids: torch.Tensor
    """(T,) int64 token ids, [CLS] and [SEP] included."""
    segments: torch.Tensor
    """(T,) int64 segment (token type) ids."""
    positions: torch.Tensor
    """(T,) int64 position within its sequence."""
    rows: torch.Tensor
    """(T,) int64 index of its sequence, 0..B-1."""
    keys: torch.Tensor
    """(B,) int64 per-example seed, made from the run's seed and the global example index."""
    lengths: tuple[int, ...]
    """Length of each of the B sequences, on the host."""
    labels: torch.Tensor | None = None
    """Task labels: (B,) int64 classes or float32 targets, (B, C) float32 for multi-label, (B, 2 or 3) int64 first and last token of an answer
    (and whether there is none), or (T,) int64 tags (-100: ignored); None in pre-training."""
    classes: tuple[int, ...] | None = None
    """The B classes again, on the host, if labels are classes."""
    num_tags: int = 0
    """Number of tags that are not ignored, on the host."""
    soft_targets: torch.Tensor | None = None
    """(B, C) float32 of a teacher: probabilities, or a regression's (scaled) number; None without a teacher."""
    task: str = ""
    """The task of all B sequences, if several are trained together."""
    word_starts: torch.Tensor | None = None
    """(T,) bool, whether a token begins a word, for whole-word masking; None: mask single tokens."""
    maskable: tuple[int, ...] | None = None
    """Tokens of each of the B sequences that may be masked (not special), on the host; None: all but three."""
    mask_weights: torch.Tensor | None = None
    """(T,) float32 above zero, relative weight of a token in the choice for masking; None: uniform."""
    group: int = 1
    """Sequences of each example: with N examples the first N sequences are their first ones, the next N their second ones, and so on."""
    text_keys: torch.Tensor | None = None
    """(B,) int64, equal for equal sequences, where a loss compares the sequences of a batch."""

    @property
    def num_tokens(self) -> int:
        """T."""
        return sum(self.lengths)

    @property
    def num_examples(self) -> int:
        """N: B, or fewer where an example has several sequences."""
        return len(self.lengths) // self.group

    @property
    def max_length(self) -> int:
        """L, the longest sequence of the batch."""
        return max(self.lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device` (asynchronously if pinned)."""
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
    """Losses and metrics of one microbatch."""

    losses: Mapping[str, Loss]
    """Name -> loss; the training loss is the sum of weight * total / count."""
    metrics: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Name -> (sum, count), detached scalars on the device; the metric is sum / count over all batches."""
    scores: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Name -> (score (N,), label (N,)), detached: ranking metrics (AUC) are exact over everything evaluated."""


class Objective(Protocol):
    """A torch.nn.Module: Batch -> StepOutput. It owns the networks it trains."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Loss name -> count of this microbatch, from host lengths alone (the loop sums these before the forward pass)."""
        ...

    def advance(self, done: float) -> None:
        """Called before every update with the finished fraction of the run, for schedules."""
        ...

    def __call__(self, batch: Batch) -> StepOutput: ...


class Exchange(Protocol):
    """What an objective needs of the ranks that train together (`train.distributed.Ranks`)."""

    @property
    def rank(self) -> int: ...
    def gather(self, value: Any) -> list[Any]:
        """Every rank's value in rank order, on every rank."""
        ...


@runtime_checkable
class BatchwideObjective(Protocol):
    """An objective whose loss compares the sequences of all microbatches and ranks of an update."""

    def gather(self, batches: Sequence[Batch], ranks: Exchange) -> None:
        """Called before the forward passes of an update, in the precision of training, with this rank's batches on its device."""
        ...


class BatchStream(Protocol):
    """An endless iterator of this rank's batches whose position can be saved and restored exactly."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def state(self) -> dict[str, Any]:
        """JSON-able position: after `load_state(state())`, the next batch is the one that would have come."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


# ---- tasks ----


class TaskTokenizer(Protocol):
    """What tasks need of a tokenizer (`data.tokenizer.Tokenizer`)."""

    unk_id: int
    cls_id: int
    sep_id: int
    second_segment: int
    """Segment of the second text of a pair: 1; 0 where the tokenizer's files name no token_type_ids."""
    truncate_left: bool
    """Whether a text that is cut as `transformers` cuts it loses its beginning."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> ids without special tokens, not truncated."""
        ...

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Text -> (ids, their (start, end) characters), without special tokens."""
        ...

    def wrap(self, ids_a: Sequence[int], ids_b: Sequence[int] | None = None, max_length: int | None = None) -> tuple[list[int], list[int]]:
        """One or two texts' ids -> ids and segments with [CLS] and [SEP], at most `max_length` of them."""
        ...


Label: TypeAlias = str | float | tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """An answer to a question: a span of the context."""

    text: str
    start: int
    """Index of its first character in the context; -1 if unknown."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled (or unlabelled) input of a task."""

    id: str
    """Stable within its split."""
    text: str
    """The text; a question; a sentence of words joined by spaces."""
    text_pair: str | None = None
    """The second text; a question's context."""
    negatives: tuple[str, ...] = ()
    """Texts that are less similar to the first than the second is."""
    scores: tuple[float, ...] = ()
    """A teacher's scores of the second text and of each negative."""
    label: Label | None = None
    """Class name, regression target, names of all labels that apply (multi-label), or a tag for each word."""
    words: tuple[str, ...] | None = None
    """The words to tag."""
    answers: tuple[Answer, ...] | None = None
    """Annotated answers; empty if unanswerable, None if unlabelled."""
    task: str = ""
    """Its task, if several are trained together."""
    place: str = field(default="", compare=False, repr=False)
    """File and line, for messages; empty where its labels were checked when it was read."""

    @property
    def gold(self) -> Label | list[str] | None:
        """The reference of a prediction: the label, or the texts of a question's answers."""
        return self.label if self.answers is None else [answer.text for answer in self.answers]


@dataclass(frozen=True, kw_only=True)
class Features:
    """An example as input of the network; a long text has several, its windows."""

    ids: Sequence[int] | np.ndarray
    """Token ids with [CLS] and [SEP]."""
    segments: Sequence[int] | np.ndarray
    example: int
    """Index of its Example; the windows of one example follow each other."""
    weight: int = 1
    """Weight of this window's output among those of its example: the tokens it is responsible for."""
    label: int | float | tuple[int, ...] | tuple[float, ...] | None = None
    """Class, target, C targets of 0 and 1, or first and last token of the answer (0, 0 if this window has none) and, if questions may be
    unanswerable, 1 for such a question."""
    soft_targets: Sequence[float] | None = None
    """A teacher's C probabilities, or (scaled) number; of a re-ranker its score of each passage."""
    others: Sequence[Features] = ()
    """Further sequences of the same example, which stay in one batch with it: of a pair of texts the second, then negatives."""
    token_labels: Sequence[int] | None = None
    """Tagging: a tag id for each token; -100: ignored."""
    word_ids: Sequence[int] | None = None
    """Tagging: for each token the index of the word it begins, else -1."""
    offsets: Sequence[tuple[int, int]] | np.ndarray | None = None
    """Questions: for each token its (start, end) characters in the context; (-1, -1) outside."""
    has_most_context: Sequence[bool] | np.ndarray | None = None
    """For each token, whether no other window of its example has more context around it; None: there is only one window."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all its sequences."""
        return len(self.ids) + sum(len(other.ids) for other in self.others)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head on the encoder for a task."""

    kind: str
    """'classification', 'regression', 'multilabel', 'tagging', 'span', 'embedding' or 'ranking'."""
    labels: tuple[str, ...] = ()
    """Class names in id order; empty for regression and spans."""
    offset: float = 0.0
    """Regression: training targets are (label - offset) / scale, about 0..1; a saved model predicts in the label's unit."""
    scale: float = 1.0
    transform: str = "default"
    """How logits become values: 'softmax', 'sigmoid' or 'none' (as they are); 'default': as the kind does."""

    @property
    def num_outputs(self) -> int:
        """C: one logit per class, one for regression, start and end for spans."""
        return 2 if self.kind == "span" else max(1, len(self.labels))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's prediction for one example."""

    label: Label
    """Class, number, names of the labels that apply, a tag for each word, or the answer's text."""
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    num_windows: int = 1
    """Windows that a text longer than the model's limit was split into; their probabilities are averaged."""


@dataclass(frozen=True, kw_only=True)
class TagPrediction(Prediction):
    """The tags of a sentence's words."""

    word_probabilities: tuple[float, ...]
    """Probability of each word's tag."""


@dataclass(frozen=True, kw_only=True)
class SpanCandidate:
    """A candidate answer to a question."""

    text: str
    """Exactly as in the context."""
    start: int
    """First character in the context."""
    end: int
    """One past the last character."""
    score: float
    """Probability of its first token times that of its last, over the window's context and [CLS]."""
    start_logit: float
    end_logit: float


@dataclass(frozen=True, kw_only=True)
class SpanPrediction(Prediction):
    """The answer to a question, with alternatives."""

    candidates: tuple[SpanCandidate, ...]
    """Distinct texts, best first; at least one."""
    null_odds: float = 0.0
    """Logit difference between 'no answer' and the best candidate."""
    null_score: float = 0.0
    """Lowest probability of 'no answer' over the windows."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task is five functions: files -> examples -> features -> (network) -> predictions -> scores."""

    name: str
    description: str
    read: Callable[[Path, str], list[Example]]
    """(folder or archive, split) -> examples."""
    featurize: Callable[[Sequence[Example], TaskTokenizer, int, Head], list[Features]]
    """(examples, tokenizer, max_length, head) -> features."""
    head: Callable[[Sequence[Example]], Head]
    """Training examples -> head (fixed for benchmarks, inferred for custom data)."""
    decode: Callable[[Sequence[np.ndarray], Sequence[Features], Sequence[Example], Head], list[Prediction]]
    """(outputs of the features, features, examples, head) -> one prediction per example. An output is (C,) logits of a text, (L, C) of its
    tokens, or a span head's output (L, ...)."""
    score: Callable[[Sequence[Example], Sequence[Prediction], Head], dict[str, float]]
    """Labelled examples and predictions -> metric name -> value (0..1, correlations -1..1)."""
    main_metric: str
    unordered_pairs: bool = False
    """Whether the two texts may be swapped (MRPC, STS-B)."""
    splits: tuple[str, ...] = ("train", "dev", "test")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `featurize` and `decode` -> defaults (see `tasks/input_spec.py`)."""
    usual_length: int = 128
    """Default of the longest input, in tokens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WordStatistics:
    """Statistics of every token of a vocabulary."""

    log_frequencies: np.ndarray
    """(V,) float32 natural logarithms of relative frequencies, smoothed by one occurrence; their mean is zero."""
    vectors: np.ndarray
    """(V, dimensions) float32 of unit length; zero for a token too rare to have co-occurrences."""
    num_tokens: int
    """Tokens counted."""

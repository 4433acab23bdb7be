"""What measuring one implementation says: a row of the comparison."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from one text to its answer, the tokenizer included."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    num_calls: int
    turns_ms: tuple[tuple[float, ...], ...] = ()
    """Every call, turn by turn: those of one turn followed each other, and all implementations had the same texts in it."""
    speedup: float | None = None
    """The reference's median divided by this one's; None for the reference."""
    speedup_interval: Interval | None = None
    """95%, of a paired bootstrap over the turns that the implementations took."""

    @property
    def within_noise(self) -> bool:
        """Whether this may be as fast as the reference: the interval holds 1."""
        return self.speedup_interval is not None and self.speedup_interval[0] <= 1.0 <= self.speedup_interval[1]


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Texts answered per second, at real lengths, with texts of similar length together."""

    texts_per_second: float
    """Median of the repetitions."""
    slowest: float
    fastest: float
    speedup: float | None = None
    """Divided by the reference's; None for the reference."""
    within_noise: bool = False
    """Whether the ranges of this and of the reference overlap."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One implementation. What could not be measured is None; `error` says why."""

    name: str
    """Unique among the rows."""
    source: str
    """What was opened."""
    kind: str = ""
    """'checkpoint', or the artefact's target."""
    error: str | None = None
    """Why it could not be measured (to the end), in one line."""
    num_examples: int = 0
    """Answered for the score."""
    metric: str = ""
    """The task's main metric."""
    scores: dict[str, float] = field(default_factory=dict)
    """Every metric."""
    score: float | None = None
    """The main one, 0..1 or -1..1."""
    score_interval: Interval | None = None
    """95%: Wilson's for accuracy, else a bootstrap over examples."""
    drop: float | None = None
    """The reference's score minus this one's."""
    drop_interval: Interval | None = None
    """95%, of a paired bootstrap over examples."""
    agreement: float | None = None
    """Share of labels that are the reference's, 0..1."""
    largest_difference: float | None = None
    """Largest absolute difference between this one's logits and the reference's; None where they do not read the same tokens."""
    latency: Latency | None = None
    """One text at a time, at its real length."""
    padded: Latency | None = None
    """One text at a time, filled up with padding to `padded_length` tokens, all of which are computed."""
    padded_length: int = 0
    throughput: dict[int, Throughput] = field(default_factory=dict)
    """Batch size -> texts per second."""
    size_bytes: int | None = None
    """On disk: the model and all that answering needs."""
    peak_memory_bytes: int | None = None
    """Largest resident set of its process, over everything that was measured."""
    load_seconds: float | None = None
    """From the request to open it, libraries included, until it is ready; files in the page cache."""
    first_answer_seconds: float | None = None
    """The first text's, after that."""
    build_seconds: float | None = None
    """What making the artefact took; None for a checkpoint."""

    def to_dict(self, *, calls: bool = False) -> dict[str, Any]:
        """Plain values, for JSON; `calls`: with the time of every single one."""
        out = dataclasses.asdict(self)
        for name in ("latency", "padded"):
            if out[name] is not None:
                out[name]["within_noise"] = getattr(self, name).within_noise
                if not calls:
                    del out[name]["turns_ms"]
        return out

"""Pre-training settings -> what the run would cost on this machine: parameters, memory, FLOPs, tokens/s, time; a preview of its corrupted examples.

Nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from electra.contracts import Batch, BatchStream
from electra.data.pretraining_batches import collate, example_key
from electra.data.shards import open_shards
from electra.data.tokenizer import Tokenizer
from electra.data.word_statistics import check_unknown
from electra.model import flops
from electra.model.generators import CausalLanguageModel
from electra.model.objectives import CorruptionObjective, PretrainingObjective
from electra.model.pretraining_models import main_network
from electra.pretraining.evaluate import num_evaluation_examples
from electra.pretraining.setup import cost, initial_objective, open_corpus, open_stream
from electra.settings import PretrainSettings
from electra.settings.pretrain import GeneratorWarmUp, all_phases
from electra.terminal import data_size, duration
from electra.train.checkpoint import split_global_batch
from electra.train.distributed import Ranks, recompute
from electra.train.evaluation import autocast
from electra.train.loop import EVALUATIONS, fit_length
from electra.train.timing import Timing, activation_bytes, bytes_per_parameter, measured_tflops, memory_warning, time_updates

CLS_ID, SEP_ID = 2, 3
"""Ids of [CLS] and [SEP] in random batches; the first five ids are special."""
BUSY_SLOWDOWN, BUSY_CORES = 1.5, 0.2
"""A machine is too busy to measure if trial updates take this many times the fastest one on average, or others use this share of its cores."""


@dataclass(frozen=True, kw_only=True)
class VocabularySize:
    """A vocabulary known by its size alone."""

    vocab_size: int
    mask_id: int = 4
    special_ids: frozenset[int] = field(default=frozenset(range(5)))


class RandomStream:
    """Endless batches of full length with random ids, if there is no data."""

    def __init__(self, vocabulary: VocabularySize, length: int, batch_size: int, seed: int) -> None:
        self.vocabulary, self.length, self.batch_size, self.seed, self.index = vocabulary, length, batch_size, seed, 0

    def state(self) -> dict[str, Any]:
        """The position before the next batch."""
        return {"index": self.index}

    def load_state(self, state: Any) -> None:
        """Go to a saved position."""
        self.index = state["index"]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.index += 1
        rng = np.random.default_rng([self.seed, self.index])
        ids = rng.integers(len(self.vocabulary.special_ids), self.vocabulary.vocab_size, (self.batch_size, self.length))
        ids[:, 0], ids[:, -1] = CLS_ID, SEP_ID
        keys = [example_key(self.seed, self.index * self.batch_size + row) for row in range(self.batch_size)]
        return collate([(row, np.zeros(self.length, np.int64)) for row in ids], keys)


def report(settings: PretrainSettings, ranks: Ranks) -> list[str]:
    """Time each phase of the run for about half a minute -> the lines to print."""
    parts = all_phases(settings)
    lines = [f"pretrain {settings.preset}: a dry run, nothing is written"]
    lines += check_unknown({str(path): open_shards(path) for path in settings.data.data})
    seconds = [0.0, 0.0]
    for number, part in enumerate(parts, 1):
        if len(parts) > 1:
            names = {"mlm": "masked LM", "clm": "causal LM"}
            what = "generator" if isinstance(part, GeneratorWarmUp) else names.get(part.objective.objective, "discriminator")
            lines.append(f"phase {number} of {len(parts)}: {what}")
        found, taken = _phase(part, ranks)
        lines += [f"  {name:<12}{text}" for name, text in found]
        seconds = [before + part_seconds for before, part_seconds in zip(seconds, taken, strict=True)]
    if len(parts) > 1:
        lines.append(f"all phases: {_durations(*seconds)}")
    return lines


def _durations(least: float, most: float) -> str:
    """A duration, or its range on a busy machine."""
    return duration(least) if most == least else f"{duration(least)} to {duration(most)} or less, no estimate: the machine is busy"


def busy_line(timing: Timing) -> str:
    """How busy the machine was while it was measured, with the figures; empty if it was not."""
    cores = os.cpu_count() or 1
    if timing.slowdown <= BUSY_SLOWDOWN and timing.other_cores <= BUSY_CORES * cores:
        return ""
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"too busy to measure: other processes used {timing.other_cores:.1f} of {cores} cores meanwhile{load}; an update took {timing.slowdown:.1f} "
        "times the fastest on average; repeat when the machine is idle"
    )


def _phase(settings: PretrainSettings, ranks: Ranks) -> tuple[list[tuple[str, str]], tuple[float, float]]:
    """One phase -> named lines, its total time in seconds: by the fastest updates, and by all of them if the machine was busy."""
    settings = replace(settings, loop=split_global_batch(settings.loop, None, ranks.world_size))
    loop, length = settings.loop, settings.data.sequence_length
    corpus = open_corpus(settings) if settings.data.data else None
    pieces = corpus.tokenizer if corpus is not None else VocabularySize(vocab_size=settings.model.embedding_rows or settings.data.vocab_size)
    objective = initial_objective(settings, pieces)

    def open_batches(batch_size: int) -> BatchStream:
        if corpus is not None:
            return open_stream(settings, corpus, batch_size, ranks)
        return RandomStream(VocabularySize(vocab_size=pieces.vocab_size), length, batch_size, loop.seed + ranks.rank)

    objective.to(ranks.device)
    if loop.activation_checkpointing:
        recompute(objective)
    few = min(4, loop.batch_size)
    with autocast(ranks.device, loop.precision):
        activations = activation_bytes(objective, next(open_batches(few)).to(ranks.device)) / few * loop.batch_size
    timing = time_updates(objective, open_batches, loop, settings.optimizer, ranks)
    return _lines(settings, timing, pieces.vocab_size, activations, "the data's examples" if corpus is not None else "random ids", ranks)


def _lines(
    settings: PretrainSettings, timing: Timing, vocab_size: int, activations: float, data: str, ranks: Ranks
) -> tuple[list[tuple[str, str]], tuple[float, float]]:
    loop = settings.loop
    speed = timing.tokens_per_update / timing.seconds_per_update
    per_example = timing.seconds_per_update / (loop.batch_size * loop.accumulation)
    evaluating = num_evaluation_examples(settings) * per_example / 3
    if loop.budget is None:
        steps = loop.num_train_steps or max(1, round((loop.num_train_tokens or 0) / timing.tokens_per_update))
        times = steps // loop.evaluate_every if loop.evaluate_every else EVALUATIONS
        seconds = steps * timing.seconds_per_update + times * evaluating
    else:
        seconds = loop.budget
        steps = fit_length(seconds, timing.seconds_per_update, evaluating, 0.0, loop).num_steps
    known = cost(settings, vocab_size, ranks)
    peak = known.peak_flops or ranks.world_size * 1e12 * measured_tflops(ranks.device, loop.precision)
    source = "stated" if known.peak_flops else "measured here on matmuls"
    original = flops.training_flops(settings, vocab_size)["flops_per_token_original"]
    tokens = steps * timing.tokens_per_update
    trial = f"{timing.num_updates} updates of {loop.batch_size * loop.accumulation} examples"
    if not timing.whole:
        trial = f"computed from {timing.num_updates} updates of {timing.examples_per_microbatch} and {2 * timing.examples_per_microbatch} examples"
    busy = busy_line(timing)
    slow = max(1.01, timing.slowdown) if busy else 1.0
    most = seconds if loop.budget is not None else seconds * slow
    count = f"{steps:,}" if loop.budget is None or not busy else f"{max(1, round(steps / slow)):,} to {steps:,} or more"
    kept = bytes_per_parameter(settings.optimizer.moments) * timing.num_parameters / (ranks.world_size if loop.parallel == "fsdp" else 1)
    memory = f"weights, gradients, moments {data_size(kept)} + activations {data_size(activations)} (computed)"
    if timing.examples_per_microbatch == loop.batch_size:
        memory += f"; measured peak {data_size(timing.peak_bytes)} ({'the GPU' if ranks.device.type == 'cuda' else 'this whole process'})"
    if warning := memory_warning(kept + activations, ranks):
        memory += f"\n  {warning}"
    lines = [
        ("parameters", f"{timing.num_parameters:,} trained, tied ones once; vocabulary of {vocab_size:,} tokens"),
        ("memory", memory),
        ("FLOPs", f"{known.flops_per_token / 1e6:,.1f} MFLOP per token (original ELECTRA's count: {original / 1e6:,.1f})"),
        ("speed", f"{speed:,.0f} tokens/s, {timing.seconds_per_update:.3g} s per update ({trial}; {data}; {ranks.world_size} rank(s))"),
        ("MFU", f"{known.flops_per_token * speed / peak:.1%} of {peak / 1e12:.3g} TFLOP/s ({source})"),
        ("steps", f"{count} of {timing.tokens_per_update:,.0f} tokens, {tokens:.3g} in all, {known.flops_per_token * tokens:.3g} FLOP"),
        (
            "time",
            f"{_durations(seconds, most)}, {EVALUATIONS if not loop.evaluate_every else 'the'} evaluations included, checkpoints and start-up not",
        ),
    ]
    return ([("busy", busy)] if busy else []) + lines, (seconds, most)


# ---- preview of corrupted examples ----

WIDTH = 110
"""Width in columns."""
LINES = 2
"""Rows of tokens per example."""


def examples_shown(objective: PretrainingObjective, batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The inputs of an objective's networks for `batch`, aligned by token; leaves the objective's mode and gradients unchanged.

    `masked` is the generator's (or a BERT's) input, `corrupted` the discriminator's; `label` is R for a replaced token and = if the
    generator's sample is the original. Of a causal LM, which reads the text as it is, `next` is what each token predicts.
    """
    causal = isinstance(objective, CausalLanguageModel)
    networks: dict[str, nn.Module] = {} if objective.generator is None or causal else {"masked": objective.generator}
    if isinstance(objective, CorruptionObjective):
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
        if causal:
            pieces["next"] = [*pieces["original"][1:], ""]
        lines += [f"example {number} of the first batch, {length} tokens", *_rows(pieces)]
        start += length
    return lines


@contextlib.contextmanager
def _read_ids(networks: dict[str, nn.Module], batch: Batch) -> Iterator[dict[str, Tensor]]:
    """Record the (T,) ids that each network is called with."""
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            given = [value for value in inputs if isinstance(value, Tensor) and value.shape == batch.ids.shape and value.dtype == torch.int64]
            found[name] = given[0] if given else batch.ids

        return hook

    handles = [network.register_forward_pre_hook(record(name)) for name, network in networks.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _rows(pieces: dict[str, list[str]]) -> list[str]:
    """Aligned rows of tokens, at most LINES."""
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
    """Terminal columns of a text; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

"""The only training loop.

    settle the number of steps (given, or measured from the budget and frozen in RUN/budget.json)
    while step < number of steps and nobody asked to stop:
        take `accumulation` batches
        counts = what each loss will be divided by, summed over microbatches and ranks     (host only)
        for each batch:
            loss = sum over losses of  weight * total / counts                             (autocast)
            backward
        norm = global norm of the gradients; clip; Adam with this step's learning rate     (skipped where not finite)
        every log_every steps:      read the sums from the device -> metrics.jsonl, TensorBoard, progress; stop if not finite
        every evaluate_every steps: evaluate() -> metrics.jsonl  (and what else is measured `beside`, at its own interval)
        every checkpoint_every steps, and on SIGTERM or Ctrl-C: checkpoint, atomically
    RUN/final

It knows no ELECTRA. The host never waits for the device except at log steps, evaluations and checkpoints.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from electra.contracts import Batch, BatchStream, Objective, StepOutput
from electra.errors import UserError
from electra.settings import LoopSettings, OptimizerSettings
from electra.train import budget, resume, signals
from electra.train.blocks import blocks, recompute
from electra.train.evaluation import Sums, autocast, half, scores_of
from electra.train.optim import Adam, learning_rate
from electra.train.ranks import Ranks, choose_device
from electra.train.record import Record

Measure = Callable[[], dict[str, float]]
"""() -> metrics."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training ended."""

    step: int
    """Updates made in all, those before a resume included."""
    num_steps: int
    """Updates planned."""
    stopped: bool
    """Whether a signal ended it before its last step."""
    signal: int | None
    """That signal; a command leaves with exit code 128 + signal."""
    tokens: int
    """Real tokens trained on."""
    seconds: float
    """Wall-clock seconds, interruptions not counted."""
    checkpoint: Path | None
    """The last checkpoint written (or resumed from)."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The last evaluation's metrics."""


def train(
    objective: nn.Module,
    stream: BatchStream,
    settings: LoopSettings,
    optimizer: OptimizerSettings,
    record: Record,
    save: Callable[[Path], None],
    evaluate: Measure | None = None,
    parameter_depth: Callable[[str], int] | None = None,
    resume_from: Path | None = None,
    ranks: Ranks | None = None,
    beside: Sequence[tuple[int, Measure]] = (),
    apart: Collection[str] = (),
    enough: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train `objective` (a `contracts.Objective`) on `stream`, keeping the run in `record.folder`.

    `save(folder)` writes the model's own files into an existing folder. `evaluate()` -> metrics, called on the first rank
    only, or, where the model is sharded, on all. `parameter_depth` turns on layer-wise learning rates (see `optim.parameter_groups`).
    `resume_from` is a checkpoint of the same run. `ranks` is what `ranks.join` yielded; None: this process alone. `beside` are further
    measurements, each with the steps between two of them (0: as evaluations). `apart` are names of parameters with an optimizer of their own.
    `enough`, asked of the first rank after every evaluation, ends the run as if its last step had come.

    Raises:
        UserError: no number of steps, a checkpoint that does not fit, or a loss or gradient that is not finite (the
            step is named, the last checkpoint stays).
    """
    ranks = ranks or Ranks(0, 1, choose_device(settings.device))
    run = Run(objective, stream, settings, optimizer, record, save, evaluate, parameter_depth, ranks, beside, apart, enough)
    try:
        with signals.noted() as asked:
            return run.go(resume_from, asked)
    finally:
        record.close()


class Run:
    """The state of one training."""

    def __init__(
        self,
        objective: nn.Module,
        stream: BatchStream,
        settings: LoopSettings,
        optimizer: OptimizerSettings,
        record: Record,
        save: Callable[[Path], None],
        evaluate: Measure | None,
        parameter_depth: Callable[[str], int] | None,
        ranks: Ranks,
        beside: Sequence[tuple[int, Measure]] = (),
        apart: Collection[str] = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self.objective = objective.to(ranks.device)
        self.sharded = settings.parallel == "fsdp" and ranks.world_size > 1
        if settings.activation_checkpointing:
            recompute(objective)
        if self.sharded:
            ranks.shard(objective, half=half(ranks.device, settings.precision))
        self.stream, self.settings, self.record, self.save, self.ranks, self.enough = stream, settings, record, save, ranks, enough
        self.measures: list[tuple[int, Measure]] = [*([(0, evaluate)] if evaluate else []), *beside]
        self.adam = Adam(objective.named_parameters(), optimizer, parameter_depth, ranks.sum_ if self.sharded else None, apart)
        self.wrapped: nn.Module = objective
        self.learns: list[bool] = []
        self.step = self.tokens = self.num_steps = 0
        self.started = self.window_start = time.monotonic()
        self.seconds_before = 0.0
        self.window_tokens = 0
        self.sums = Sums()
        self.last: StepOutput | None = None
        self.checkpoint: Path | None = None
        self.evaluation: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions included."""
        return self.seconds_before + time.monotonic() - self.started

    def go(self, resume_from: Path | None, asked: list[int]) -> TrainResult:
        """The loop of the module's docstring."""
        settings, folder = self.settings, self.record.folder
        if self.ranks.first:
            resume.sweep(folder)
        if resume_from is not None:
            self._restore(resume_from)
        self.record.cut(self.step)
        self.prepare()
        self.num_steps = self.num_steps or budget.settle(self)
        evaluate_every = settings.evaluate_every or self._every(budget.EVALUATIONS)
        checkpoint_every = settings.checkpoint_every or self._every(budget.CHECKPOINTS)
        stop = enough = False
        self._open_window()
        while self.step < self.num_steps and not stop and not enough:
            stop = self.update(asked)
            last = self.step == self.num_steps
            due = last or stop or self.step % checkpoint_every == 0 or self.step in settings.keep_steps
            if due or self.step % settings.log_every == 0:
                self._log()
            if now := [measure for every, measure in self.measures if last or self.step % (every or evaluate_every) == 0]:
                self._evaluate(now)
                enough = self.ranks.sum_counts([int(self.ranks.first and self.enough())])[0] > 0
            if due:
                self._checkpoint()
        done = enough or self.step >= self.num_steps
        if done:
            resume.write_model(folder / "final", self.objective, self.save, self.ranks)
        self.ranks.wait()
        if not done:
            where = f"stopped after step {self.step:,} of {self.num_steps:,}, saved in {self.checkpoint}"
            self.record.say(f"{where}; the same command with --resume goes on")
        return TrainResult(
            step=self.step,
            num_steps=self.num_steps,
            stopped=not done,
            signal=None if done else (asked[0] if asked else int(signal.SIGTERM)),
            tokens=self.tokens,
            seconds=self.seconds,
            checkpoint=self.checkpoint,
            evaluation=self.evaluation,
        )

    def prepare(self) -> None:
        """Make the objective ready for updates."""
        if self.settings.compile:
            for module in blocks(self.objective) if self.sharded else [self.objective]:
                module.compile()
        self.wrapped, self.learns = self.ranks.wrap(self.objective), self._learning()
        self.objective.train()

    def _learning(self) -> list[bool]:
        """Whether each parameter learns now; asked only where ranks exchange gradients."""
        return [parameter.requires_grad for parameter in self.objective.parameters()] if self.ranks.world_size > 1 else []

    def _wrap_what_learns(self) -> None:
        """Wrap anew when other parameters learn than before: gradients are exchanged of those that learned when it was wrapped."""
        if (learns := self._learning()) != self.learns:
            self.wrapped, self.learns = self.objective, learns  # the old wrapper takes its hooks along
            self.wrapped = self.ranks.wrap(self.objective)

    def update(self, asked: list[int]) -> bool:
        """One optimizer update -> whether any rank was asked to stop."""
        objective = cast(Objective, self.objective)
        batches = [next(self.stream) for _ in range(self.settings.accumulation)]
        found = [objective.counts(batch) for batch in batches]
        names = sorted(found[0])
        mine = [sum(counts[name] for counts in found) for name in names]
        *summed, tokens, stop = self.ranks.sum_counts([*mine, sum(batch.num_tokens for batch in batches), len(asked)])
        counts = {name: max(1, count) for name, count in zip(names, summed, strict=True)}
        objective.advance(self.step / self.num_steps)
        self._wrap_what_learns()
        self.step += 1
        resume.seed_step(self.settings.seed, self.step, self.ranks.rank)
        loss = torch.zeros((), device=self.ranks.device)
        for number, batch in enumerate(batches, 1):
            with self.ranks.quiet(self.wrapped, last=number == len(batches)):
                loss = loss + self._backward(batch, counts)
        rate = learning_rate(self.adam.settings, self.step, self.num_steps)
        self.sums.add_value("grad_norm", self.adam.step(rate, self.ranks.sum_(loss), self.step))
        self.tokens += tokens
        self.window_tokens += tokens
        return stop > 0

    def _backward(self, batch: Batch, counts: dict[str, int]) -> Tensor:
        """One microbatch forward and back -> its share of the loss."""
        with autocast(self.ranks.device, self.settings.precision):
            output: StepOutput = self.wrapped(self.ranks.place(batch))
        parts = [loss.weight * loss.total.float() / counts[name] for name, loss in output.losses.items()]
        share = torch.stack(parts).sum()
        # DistributedDataParallel divides the summed gradients by the number of ranks; the counts already cover all of them.
        (share * self.ranks.world_size).backward()  # type: ignore[no-untyped-call]
        self.sums.add(output)
        self.last = output
        return share.detach()

    def _every(self, times: int) -> int:
        """Steps between things done `times` in a run; at log steps where it is long enough, so that no log line covers a scrap."""
        every, log_every = max(1, self.num_steps // times), self.settings.log_every
        return every if every < log_every else every - every % log_every

    # ---- now and then ----

    def _open_window(self) -> None:
        self.sums, self.window_tokens, self.window_start = Sums(), 0, time.monotonic()

    def _log(self) -> None:
        """Read the sums since the last line; the one place where the host waits for the device."""
        if bad := int(self.adam.first_bad_step.item()):
            kept = f"the last good checkpoint is {self.checkpoint}" if self.checkpoint else "no checkpoint was written yet"
            raise UserError(f"the loss or its gradient is not finite at step {bad}; {kept}; lower --learning-rate, or use --precision fp32")
        values = self.sums.read(self.ranks.sum_(self.sums.tensor()))
        values |= scores_of((name, *pair) for name, pair in self.last.scores.items()) if self.last else {}
        rate = learning_rate(self.adam.settings, self.step, self.num_steps)
        speed = self.window_tokens / max(1e-9, time.monotonic() - self.window_start)
        values |= {"learning_rate": rate, "tokens_per_second": speed}
        self.record.log("train", step=self.step, tokens=self.tokens, seconds=self.seconds, values=values)
        left = (self.num_steps - self.step) * self.tokens / max(1, self.step) / max(1e-9, speed)
        self.record.progress(self.step, self.num_steps, loss=values.get("loss"), rate=rate, tokens_per_second=speed, seconds_left=left)
        self._open_window()

    def take(self, measures: list[Measure]) -> dict[str, float]:
        """Measurements by the first rank; a sharded model computes only when all ranks do."""
        if not (self.ranks.first or self.sharded):
            return {}
        self.ranks.open(self.objective)
        return {name: value for measure in measures for name, value in measure().items()}

    def _evaluate(self, measures: list[Measure]) -> None:
        start = time.monotonic()
        self.evaluation = self.take(measures)
        self.record.log("evaluation", step=self.step, tokens=self.tokens, seconds=self.seconds, values=self.evaluation)
        self.objective.train()
        self.ranks.wait()
        self.window_start += time.monotonic() - start  # the speed is of training alone

    def _checkpoint(self) -> None:
        positions = self.ranks.gather(self.stream.state())
        self.checkpoint = folder = resume.checkpoint_folder(self.record.folder, self.step)
        state = {"step": self.step, "num_steps": self.num_steps, "tokens": self.tokens, "seconds": self.seconds, "positions": positions}
        state["examples_per_update"] = self.settings.batch_size * self.settings.accumulation * self.ranks.world_size
        resume.write_checkpoint(folder, self.objective, self.adam, state, self.save, self.ranks)
        if self.ranks.first:
            resume.prune(self.record.folder, self.settings.keep_checkpoints, self.settings.keep_steps)
        self.ranks.wait()
        self._open_window()

    def _restore(self, folder: Path) -> None:
        state = resume.read_checkpoint(folder, self.objective, self.adam, self.ranks)
        self.step, self.tokens, self.seconds_before = state["step"], state["tokens"], state["seconds"]
        self.num_steps, self.checkpoint = state["num_steps"], Path(folder)
        self.stream.load_state(resume.own_position(folder, state["positions"], self.ranks))

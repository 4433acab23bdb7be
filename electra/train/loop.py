"""The only training loop: objective + batches -> a run directory with checkpoints, metrics and the final model.

    resolve the number of steps (given, or measured from the budget and kept in RUN/budget.json)
    while step < number of steps and no signal to stop has come:
        take `accumulation` batches
        counts = what each loss will be divided by, summed over microbatches and ranks     (host only)
        for each batch:
            loss = sum over losses of  weight * total / counts                             (autocast)
            backward
        norm = global norm of the gradients; clip; Adam with this step's learning rate     (skipped where not finite; fp16: loss scaled)
        every log_every steps:      read the sums from the device -> metrics.jsonl, TensorBoard, progress; stop if not finite
        every evaluate_every steps: evaluate() -> metrics.jsonl                            (`probes` at their own intervals)
        every checkpoint_every steps, and on SIGTERM or Ctrl-C: checkpoint, atomically
    RUN/final

The loop knows nothing of ELECTRA. The host waits for the device only at log steps, evaluations and checkpoints.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from electra.contracts import Batch, BatchStream, BatchwideObjective, Objective, StepOutput
from electra.environment import signals_to
from electra.errors import UserError, parse_json, raise_if_device
from electra.settings import LoopSettings, OptimizerSettings
from electra.storage import atomic
from electra.train import checkpoint as checkpoints
from electra.train.distributed import Ranks, blocks, choose_device, recompute
from electra.train.evaluation import Sums, autocast, half, scores_of
from electra.train.optimizer import Adam, LossScale, learning_rate, never_learns
from electra.train.run_log import Ending, RunLog

Measure = Callable[[], dict[str, float]]
"""() -> metrics."""

LENGTHS = ("num_train_steps", "num_train_tokens", "budget")
"""The settings that give the length of a run; exactly one of them is set."""
EVALUATIONS, CHECKPOINTS = 10, 20
"""How many a run makes where their intervals are not set."""
_COUNTED_EXAMPLES = 2_000
"""Examples whose mean length turns a number of tokens into a number of steps: its standard error is below 1%."""
_SKIPPED = 2  # the first steps fill caches and compile
_TRIAL_SECONDS = 10.0
_TRIAL_FRACTION = 0.05
TRIAL_NUM_STEPS = 1_000_000
"""Number of steps assumed for learning rate and schedule while steps are only timed."""
_MARGIN = 0.98  # of the remaining time, for what the trial could not see
_RESERVED = 0.25
"""Largest fraction of a budget for evaluations and checkpoints."""
FEWEST_STEPS = 3
"""A budget that allows fewer steps is refused: the learning rate is zero at the last one."""


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
    """That signal; a command exits with 128 + signal."""
    late_signal: int | None = None
    """A signal that came too late to stop it; the same on every rank."""
    tokens: int
    """Real tokens trained on."""
    seconds: float
    """Wall-clock seconds, interruptions not counted."""
    checkpoint: Path | None
    """The last checkpoint written (or resumed from)."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The last evaluation's metrics."""


@dataclass(kw_only=True, eq=False)
class Run:
    """One training run: what it is made of (the fields given), and its state.

    `Run(...).train(resume_from)` is the whole use of it.
    """

    objective: nn.Module
    """A `contracts.Objective`."""
    stream: BatchStream
    """This rank's batches."""
    settings: LoopSettings
    optimizer: OptimizerSettings
    log: RunLog
    """Its folder is the run directory."""
    save: Callable[[Path], None]
    """Writes the model's own files into an existing folder."""
    evaluate: Measure | None = None
    """Called on the first rank only, or on all where the model is sharded."""
    probes: Sequence[tuple[int, Measure]] = ()
    """Further measurements, each with the number of steps between two of them (0: as evaluations)."""
    early_stop: Callable[[], bool] = lambda: False
    """Called on the first rank after every evaluation; True ends the run as if its last step had come."""
    parameter_depth: Callable[[str], int] | None = None
    """Turns on layer-wise learning rates (see `optimizer.parameter_groups`)."""
    separate_parameters: Collection[str] = ()
    """Names of parameters with an optimizer of their own (see `optimizer.Adam`)."""
    ranks: Ranks = None  # type: ignore[assignment]  # always set by __post_init__
    """What `distributed.join` yielded; None: this process alone."""

    def __post_init__(self) -> None:
        settings, objective = self.settings, self.objective
        self.ranks = self.ranks or Ranks(0, 1, choose_device(settings.device))
        objective.to(self.ranks.device)
        self.sharded = settings.parallel == "fsdp" and self.ranks.world_size > 1
        if settings.activation_checkpointing:
            recompute(objective)
        if self.sharded:
            self.ranks.shard(objective, half=half(self.ranks.device, settings.precision))
        self.measures: list[tuple[int, Measure]] = [*([(0, self.evaluate)] if self.evaluate else []), *self.probes]
        sum_ranks = self.ranks.sum_ if self.sharded else None
        scale = LossScale() if half(self.ranks.device, settings.precision) == torch.float16 else None
        self.adam = Adam(objective.named_parameters(), self.optimizer, self.parameter_depth, sum_ranks, self.separate_parameters, scale)
        self.wrapped: nn.Module = objective
        self.trainable: list[bool] = []
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

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the end, or until a signal comes; `resume_from` is a checkpoint of the same run.

        Raises:
            UserError: no number of steps, a checkpoint that does not fit, or a loss or gradient that is not finite (the
                message names the step; the last checkpoint stays).
        """
        ending: Ending = "failed"
        try:
            with catch_signals() as signals:
                result = self._train(resume_from, signals)
            ending = "stopped" if result.stopped else "finished"
            return result
        finally:
            self.log.close(ending)

    def _train(self, resume_from: Path | None, signals: list[int]) -> TrainResult:
        """The loop of the module's docstring."""
        settings, folder = self.settings, self.log.folder
        if self.ranks.first:
            atomic.remove_partial(folder, folder / "checkpoints")
        if resume_from is not None:
            self._restore(resume_from)
        start = time.monotonic()
        self.log.truncate(self.step)
        self.started += time.monotonic() - start  # a logger's server takes no time of the training
        self.prepare()
        length = self._resolve_length()
        self.num_steps = length.num_steps
        evaluate_every = settings.evaluate_every or self._every(length.num_evaluations)
        checkpoint_every = settings.checkpoint_every or self._every(length.num_checkpoints)
        stop = stop_early = False
        self._open_window()
        while self.step < self.num_steps and not stop and not stop_early:
            stop = self.update(signals)
            last = self.step == self.num_steps
            due = last or stop or self.step % checkpoint_every == 0 or self.step in settings.keep_steps
            if due or self.step % settings.log_every == 0:
                self._log()
            if now := [measure_steps for every, measure_steps in self.measures if last or self.step % (every or evaluate_every) == 0]:
                self._evaluate(now)
                stop_early = self.ranks.sum_counts([int(self.ranks.first and self.early_stop())])[0] > 0
            if due:
                self._checkpoint()
        done = stop_early or self.step >= self.num_steps
        if done:
            checkpoints.write_model(folder / "final", self.objective, self.save, self.ranks)
        self.ranks.wait()
        if not done:
            where = f"stopped after step {self.step:,} of {self.num_steps:,}, saved in {self.checkpoint}"
            self.log.message(f"{where}; run the same command with --resume to continue")
        return TrainResult(
            step=self.step,
            num_steps=self.num_steps,
            stopped=not done,
            signal=None if done else (signals[0] if signals else int(signal.SIGTERM)),
            late_signal=next(filter(None, self.ranks.gather(signals[0] if done and signals else None)), None),
            tokens=self.tokens,
            seconds=self.seconds,
            checkpoint=self.checkpoint,
            evaluation=self.evaluation,
        )

    def prepare(self) -> None:
        """Make the objective ready for updates: compiled, wrapped, in training mode."""
        if self.settings.compile:
            for module in blocks(self.objective) if self.sharded else [self.objective]:
                module.compile()
        self.wrapped, self.trainable = self.ranks.wrap(self.objective), self._requires_grad()
        self.objective.train()

    def _requires_grad(self) -> list[bool]:
        """Whether each parameter is trained now; needed only where ranks exchange gradients."""
        return [parameter.requires_grad for parameter in self.objective.parameters()] if self.ranks.world_size > 1 else []

    def _rewrap_if_changed(self) -> None:
        """Wrap again when the set of trained parameters has changed: the wrapper exchanges gradients of those trained when it was made."""
        if (trainable := self._requires_grad()) != self.trainable:
            self.wrapped, self.trainable = self.objective, trainable  # the old wrapper removes its hooks
            self.wrapped = self.ranks.wrap(self.objective)

    def update(self, signals: Sequence[int] = ()) -> bool:
        """One optimizer update -> whether any rank has caught a signal to stop."""
        objective = cast(Objective, self.objective)
        batches = [next(self.stream) for _ in range(self.settings.accumulation)]
        found = [objective.counts(batch) for batch in batches]
        names = sorted(found[0])
        mine = [sum(counts[name] for counts in found) for name in names]
        *summed, tokens, stop = self.ranks.sum_counts([*mine, sum(batch.num_tokens for batch in batches), len(signals)])
        counts = {name: max(1, count_steps) for name, count_steps in zip(names, summed, strict=True)}
        objective.advance(self.step / self.num_steps)
        self._rewrap_if_changed()
        self.step += 1
        checkpoints.seed_step(self.settings.seed, self.step, self.ranks.rank)
        loss = torch.zeros((), device=self.ranks.device)
        if isinstance(objective, BatchwideObjective):
            batches = [self.ranks.to_device(batch) for batch in batches]
            with autocast(self.ranks.device, self.settings.precision):
                objective.gather(batches, self.ranks)
        for number, batch in enumerate(batches, 1):
            with self.ranks.no_sync(self.wrapped, last=number == len(batches)):
                loss = loss + self._backward(batch, counts)
        rate = learning_rate(self.adam.settings, self.step, self.num_steps)
        self.sums.add_value("grad_norm", self.adam.step(rate, self.ranks.sum_(loss), self.step))
        self.tokens += tokens
        self.window_tokens += tokens
        return stop > 0

    def _backward(self, batch: Batch, counts: dict[str, int]) -> Tensor:
        """One microbatch, forward and backward -> () its part of the update's loss."""
        with autocast(self.ranks.device, self.settings.precision):
            output: StepOutput = self.wrapped(self.ranks.to_device(batch))
        parts = [loss.weight * loss.total.float() / counts[name] for name, loss in output.losses.items()]
        share = torch.stack(parts).sum()
        # DistributedDataParallel divides the summed gradients by the number of ranks; the counts already cover all of them.
        scale = self.adam.loss_scale
        (share * self.ranks.world_size * (1.0 if scale is None else scale.value)).backward()  # type: ignore[no-untyped-call]
        self.sums.add(output)
        self.last = output
        return share.detach()

    def _every(self, times: int) -> int:
        """Steps between things done `times` in a run, a multiple of log_every where the run is long enough, so that log windows are whole."""
        every, log_every = max(1, self.num_steps // times), self.settings.log_every
        return every if every < log_every else every - every % log_every

    # ---- log, evaluate, checkpoint ----

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
        if (scale := self.adam.loss_scale) is not None:
            values |= {"loss_scale": scale.value.item(), "skipped_steps": scale.skipped_steps.item()}
        self.log.write("train", step=self.step, tokens=self.tokens, seconds=self.seconds, values=values)
        left = (self.num_steps - self.step) * self.tokens / max(1, self.step) / max(1e-9, speed)
        self.log.progress(self.step, self.num_steps, loss=values.get("loss"), rate=rate, tokens_per_second=speed, seconds_left=left)
        self._open_window()

    def measure(self, measures: list[Measure]) -> dict[str, float]:
        """Measurements by the first rank; a sharded model computes only when all ranks do."""
        if not (self.ranks.first or self.sharded):
            return {}
        self.ranks.unshard(self.objective)
        return {name: value for measure_steps in measures for name, value in measure_steps().items()}

    def _evaluate(self, measures: list[Measure]) -> None:
        start = time.monotonic()
        self.evaluation = self.measure(measures)
        self.log.write("evaluation", step=self.step, tokens=self.tokens, seconds=self.seconds, values=self.evaluation)
        self.objective.train()
        self.ranks.wait()
        self.window_start += time.monotonic() - start  # the speed is that of training alone

    def _checkpoint(self) -> None:
        positions = self.ranks.gather(self.stream.state())
        self.checkpoint = folder = checkpoints.checkpoint_folder(self.log.folder, self.step)
        state = {"step": self.step, "num_steps": self.num_steps, "tokens": self.tokens, "seconds": self.seconds, "positions": positions}
        state["examples_per_update"] = self.settings.batch_size * self.settings.accumulation * self.ranks.world_size
        checkpoints.write_checkpoint(folder, self.objective, self.adam, state, self.save, self.ranks)
        if self.ranks.first:
            checkpoints.prune(self.log.folder, self.settings.keep_checkpoints, self.settings.keep_steps)
        self.ranks.wait()
        self._open_window()

    def _restore(self, folder: Path) -> None:
        state = checkpoints.read_checkpoint(folder, self.objective, self.adam, self.ranks)
        self.step, self.tokens, self.seconds_before = state["step"], state["tokens"], state["seconds"]
        self.num_steps, self.checkpoint = state["num_steps"], Path(folder)
        self.stream.load_state(checkpoints.rank_position(folder, state["positions"], self.ranks))

    # ---- the length ----

    def _resolve_length(self) -> Length:
        """The length of the run, measured where it is given in tokens or seconds.

        A resumed run keeps its length unless another one is given; then the schedule follows the new one from the current step on.

        Raises:
            UserError: a new length that the run has already passed, or a budget too short to train.
        """
        name, value = requested_length(self.settings)
        before, done = self.num_steps, self.step
        if name == "num_train_steps":
            length = Length(int(value))
        else:
            known = self.ranks.agree(read_length(self.log.folder, name, value) if self.ranks.first else None)
            length = known or (self._length_of_budget(value) if name == "budget" else self._length_of_tokens(int(value)))
        if before and length.num_steps != before:
            if length.num_steps < done:
                raise UserError(f"{name} {value:g} is {length.num_steps:,} steps, but the run is at step {done:,} already; give more")
            self.log.message(f"the run now has {length.num_steps:,} steps, not {before:,}; the schedule follows this from step {done + 1:,} on")
        return length

    def _length_of_tokens(self, num_tokens: int) -> Length:
        """The steps that read `num_tokens` real tokens in all, from the lengths of the next examples."""
        per_update = self.settings.batch_size * self.settings.accumulation * self.ranks.world_size
        position, updates = self.stream.state(), max(1, _COUNTED_EXAMPLES // per_update)
        mine = sum(next(self.stream).num_tokens for _ in range(updates * self.settings.accumulation))
        self.stream.load_state(position)
        seen = self.ranks.sum_counts([mine])[0]
        steps = self.step + max(0 if self.step else 1, round((num_tokens - self.tokens) * updates / seen))
        if never_learns(self.optimizer, steps):
            raise UserError(f"--num-train-tokens {num_tokens}: one step of {seen / updates:,.0f} tokens, at which the learning rate is 0; give more")
        if self.ranks.first:
            values = {"num_train_tokens": num_tokens, "num_train_steps": steps, "tokens_per_step": seen / updates, "counted_steps": updates}
            _write_length(self.log.folder, values)
        self.log.message(f"{num_tokens:,} tokens are {steps:,} steps of {seen / updates:,.0f} tokens")
        return Length(steps)

    def _length_of_budget(self, seconds: float) -> Length:
        """The steps that fit into `seconds` in all: some steps, an evaluation and a checkpoint are timed, then undone."""
        left = seconds - self.seconds_before
        kept = {name: tensor.detach().clone() for name, tensor in checkpoints.local_tensors(self.objective).items()}
        position, folder, done, self.num_steps = self.stream.state(), self.log.folder, self.step, TRIAL_NUM_STEPS
        enough = min(_TRIAL_SECONDS, _TRIAL_FRACTION * left)
        times = trial_seconds(self.update, self.ranks, lambda found: sum(found) >= enough or time.monotonic() - self.started >= enough)
        evaluation, write = self._time_evaluation_and_checkpoint(folder)
        left -= time.monotonic() - self.started
        step = sum(times) / len(times)
        length: Length = self.ranks.agree(fit_length(left, step, evaluation, write, self.settings))
        if length.num_steps < FEWEST_STEPS:
            needed = math.ceil(seconds - left + FEWEST_STEPS * step / _MARGIN + (evaluation + write) / _RESERVED)
            raise UserError(
                f"the budget of {seconds:,.3g} s is too short to train: a step takes {step:.2g} s, an evaluation {evaluation:.2g} s, a checkpoint "
                f"{write:.2g} s, the start {seconds - left - self.seconds_before:.2g} s; give at least {needed:,} s"
            )
        length = dataclasses.replace(length, num_steps=done + length.num_steps)
        if self.ranks.first:
            atomic.remove_partial(folder, folder / "checkpoints")
            values = {"budget_seconds": seconds, "num_train_steps": length.num_steps, "trial_steps": len(times)}
            values |= {"num_evaluations": length.num_evaluations, "num_checkpoints": length.num_checkpoints}
            _write_length(folder, values | {"seconds_per_step": step, "seconds_per_evaluation": evaluation, "seconds_per_checkpoint": write})
        if self.checkpoint is not None:
            self._restore(self.checkpoint)
        else:
            for name, tensor in checkpoints.local_tensors(self.objective).items():
                tensor.detach().copy_(kept[name])
            self.adam.clear()
            self.stream.load_state(position)
            self.step = self.tokens = 0
        self.objective.train()
        self.log.message(f"the budget of {seconds:,.0f} s is {length.num_steps:,} steps")
        return length

    def _time_evaluation_and_checkpoint(self, folder: Path) -> tuple[float, float]:
        """Seconds of one evaluation and of one checkpoint."""
        start = time.monotonic()
        self.measure([take for _, take in self.measures])
        evaluated = time.monotonic()
        checkpoints.write_checkpoint(folder / ".trial.part", self.objective, self.adam, {}, self.save, self.ranks)
        return evaluated - start, time.monotonic() - evaluated


# ---- signals ----


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Catch SIGTERM and Ctrl-C, so that the current step can be finished and saved -> a list that receives them.

    A second Ctrl-C interrupts at once. Outside the main thread none are caught.
    """
    caught: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    with signals_to(receive):
        yield caught


# ---- the length of a run ----


def requested_length(settings: LoopSettings) -> tuple[str, float]:
    """The setting that gives the length of a run (one of `LENGTHS`) and its value.

    Raises:
        UserError: none is set, or several are.
    """
    found = [(name, value) for name in LENGTHS if (value := getattr(settings, name)) is not None]
    if len(found) > 1:
        raise UserError(f"both {found[0][0]} and {found[1][0]} are set; give one of them")
    if not found:
        raise UserError("how long to train is not set; give --num-train-steps, --num-train-tokens or --budget")
    name, value = found[0]
    return name, float(value)


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    num_steps: int
    """Optimizer updates."""
    num_evaluations: int = EVALUATIONS
    """Evaluations, unless their interval is set."""
    num_checkpoints: int = CHECKPOINTS
    """Checkpoints, unless their interval is set."""


def read_length(run: Path, name: str, value: float) -> Length | None:
    """The length that an earlier start of this run measured for a setting `name` and its value; None: none yet."""
    try:
        found = parse_json((run / "budget.json").read_text(encoding="utf-8"))
        if found["budget_seconds" if name == "budget" else name] != value:
            return None
        return Length(int(found["num_train_steps"]), int(found.get("num_evaluations", EVALUATIONS)), int(found.get("num_checkpoints", CHECKPOINTS)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise_if_device(error)
        return None


def _write_length(run: Path, values: dict[str, float]) -> None:
    atomic.write_text(run / "budget.json", json.dumps(values, indent=1) + "\n")


def fit_length(seconds: float, step: float, evaluation: float, checkpoint: float, settings: LoopSettings) -> Length:
    """The length of a run that fits into `seconds`, from the seconds of one step, evaluation and checkpoint.

    Evaluations and checkpoints whose intervals are not set are made less often where they would take more than a quarter of the time.
    """
    evaluations, saves = (
        0 if every else count for every, count in ((settings.evaluate_every, EVALUATIONS), (settings.checkpoint_every, CHECKPOINTS))
    )
    wanted = evaluations * evaluation + saves * checkpoint
    fraction = min(1.0, _RESERVED * seconds / wanted) if wanted > 0 and seconds > 0 else 1.0
    evaluations, saves = (max(1, int(count * fraction)) for count in (evaluations, saves))
    each = step + (evaluation / settings.evaluate_every if settings.evaluate_every else 0)
    each += checkpoint / settings.checkpoint_every if settings.checkpoint_every else 0
    left = _MARGIN * seconds - evaluations * evaluation - saves * checkpoint
    return Length(max(0, int(left / each)), evaluations, saves)


def trial_seconds(update: Callable[[], object], ranks: Ranks, enough: Callable[[list[float]], bool]) -> list[float]:
    """Seconds of each of some trial updates, after the first ones, which fill caches and compile; at least one, until all ranks have `enough`."""

    def timed() -> float:
        start = time.perf_counter()
        update()
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(_SKIPPED):
        timed()
    found: list[float] = []
    while not found or not ranks.agree(enough(found)):
        found.append(timed())
    return found

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

import json
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from electra.contracts import Batch, BatchStream, Objective, StepOutput
from electra.errors import UserError
from electra.settings import LoopSettings, OptimizerSettings
from electra.storage import atomic
from electra.train import checkpoint as resume
from electra.train.distributed import Ranks, blocks, choose_device, recompute
from electra.train.evaluation import Sums, autocast, half, scores_of
from electra.train.optimizer import Adam, learning_rate
from electra.train.run_log import RunLog

# ---- SIGTERM and Ctrl-C, noted instead of obeyed, so that the step under way is finished and saved ----


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Yield a list that receives the signals; a second Ctrl-C interrupts at once. Outside the main thread none are caught."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- A wall-clock budget, or a number of tokens -> a number of steps, measured once at the start and frozen in RUN/budget.json ----


EVALUATIONS, CHECKPOINTS = 10, 20
"""Of a run that says nothing else."""
_SKIPPED = 2  # the first steps fill caches and compile
_TRIAL_SECONDS = 10.0
_TRIAL_FRACTION = 0.05
_MARGIN = 0.98  # of what is left, for what the trial could not see


LENGTHS = ("num_train_steps", "num_train_tokens", "budget")
"""The settings that say how long a run is; one of them is set."""
_COUNTED_EXAMPLES = 2_000
"""Examples whose mean length turns a number of tokens into one of steps: its standard error is below 1%."""


def requested_length(settings: LoopSettings) -> tuple[str, float]:
    """What was said about the length of a run: the setting (of `LENGTHS`) and its value.

    Raises:
        UserError: none, several, or no step at all.
    """
    said = [(name, value) for name in LENGTHS if (value := getattr(settings, name)) is not None]
    if len(said) > 1:
        raise UserError(f"both {said[0][0]} and {said[1][0]} are set; give one of them")
    if not said:
        raise UserError("how long to train is not set; give --num-train-steps, --num-train-tokens or --budget")
    name, value = said[0]
    if name != "budget" and value < 1:
        raise UserError(f"{name} is {value}; it must be at least 1")
    return name, float(value)


def resolve_num_steps(run: Run) -> int:
    """The number of optimizer steps of a run, measured where it was said in another way."""
    name, value = requested_length(run.settings)
    if name == "num_train_steps":
        return int(value)
    frozen = run.ranks.agree(read_num_steps(run.record.folder, name, value) if run.ranks.first else None)
    if frozen is not None:
        return int(frozen)
    return measure_steps(run, value) if name == "budget" else count_steps(run, int(value))


def read_num_steps(run: Path, name: str, value: float) -> int | None:
    """The number of steps an interrupted start of this run has settled on for this length."""
    try:
        found = json.loads((run / "budget.json").read_text(encoding="utf-8"))
        return int(found["num_train_steps"]) if found["budget_seconds" if name == "budget" else name] == value else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def count_steps(run: Run, num_tokens: int) -> int:
    """Look at the lengths of the first examples -> how many steps read `num_tokens` real tokens."""
    per_update = run.settings.batch_size * run.settings.accumulation * run.ranks.world_size
    position, updates = run.stream.state(), max(1, _COUNTED_EXAMPLES // per_update)
    mine = sum(next(run.stream).num_tokens for _ in range(updates * run.settings.accumulation))
    run.stream.load_state(position)
    seen = run.ranks.sum_counts([mine])[0]
    steps = max(1, round(num_tokens * updates / seen))
    if run.ranks.first:
        values = {"num_train_tokens": num_tokens, "num_train_steps": steps, "tokens_per_step": seen / updates, "counted_steps": updates}
        atomic.write_text(run.record.folder / "budget.json", json.dumps(values, indent=1) + "\n")
    run.record.say(f"{num_tokens:,} tokens are {steps:,} steps of {seen / updates:,.0f}")
    return steps


def measure_steps(run: Run, seconds: float) -> int:
    """Try some steps, an evaluation and a checkpoint, undo them -> how many steps fit into `seconds`."""
    kept = {name: tensor.detach().clone() for name, tensor in resume.own_tensors(run.objective).items()}
    position, folder, run.num_steps = run.stream.state(), run.record.folder, 1_000_000
    trial = StepTimer(seconds, run.started, run.ranks)
    while trial.goes_on():
        run.update([])
    steps = trial.finish(
        evaluate=lambda: run.take([measure_steps for _, measure_steps in run.measures]),
        checkpoint=lambda: resume.write_checkpoint(folder / ".trial.part", run.objective, run.adam, {}, run.save, run.ranks),
        num_evaluations=EVALUATIONS,
        num_checkpoints=CHECKPOINTS,
        folder=folder,
    )
    if run.ranks.first:
        resume.remove_partial(folder)
    for name, tensor in resume.own_tensors(run.objective).items():
        tensor.detach().copy_(kept[name])
    run.objective.train()
    run.adam.clear()
    run.stream.load_state(position)
    run.step = run.tokens = 0
    run.record.say(f"the budget of {seconds:,.0f} s is {steps:,} steps")
    return steps


class StepTimer:
    """Times trial steps: `while trial.goes_on(): step()`, then `finish`."""

    def __init__(self, budget: float, started: float, ranks: Ranks) -> None:
        """`budget` in seconds, counted from `started` (time.monotonic)."""
        self._budget, self._started, self._ranks = budget, started, ranks
        self._marks: list[float] = []

    def goes_on(self) -> bool:
        """Whether another trial step is wanted: ten seconds' worth, at most 5% of the budget, at least one after the first two."""
        if self._ranks.device.type == "cuda":
            torch.cuda.synchronize()
        self._marks.append(time.monotonic())
        steps = len(self._marks) - 1
        if steps <= _SKIPPED:
            return True
        enough = self._marks[-1] - self._marks[_SKIPPED] >= _TRIAL_SECONDS or self._marks[-1] - self._started >= _TRIAL_FRACTION * self._budget
        return not self._ranks.agree(enough)

    def finish(
        self,
        *,
        evaluate: Callable[[], object] | None,
        checkpoint: Callable[[], None],
        num_evaluations: int,
        num_checkpoints: int,
        folder: Path,
    ) -> int:
        """Time one evaluation and one checkpoint too -> the number of steps that fits, written to `folder`/budget.json."""
        step_seconds = (self._marks[-1] - self._marks[_SKIPPED]) / (len(self._marks) - 1 - _SKIPPED)
        steps = 0
        start = time.monotonic()
        if evaluate is not None:
            evaluate()
        evaluated = time.monotonic()
        checkpoint()
        end = time.monotonic()
        if self._ranks.first:
            beside = num_evaluations * (evaluated - start) + num_checkpoints * (end - evaluated)
            left = self._budget - (end - self._started) - beside
            steps = max(1, int(_MARGIN * left / step_seconds))
            values = {
                "budget_seconds": self._budget,
                "num_train_steps": steps,
                "seconds_per_step": step_seconds,
                "seconds_per_evaluation": evaluated - start,
                "seconds_per_checkpoint": end - evaluated,
                "trial_steps": len(self._marks) - 1,
            }
            atomic.write_text(folder / "budget.json", json.dumps(values, indent=1) + "\n")
        return int(self._ranks.agree(steps))


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
    record: RunLog,
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
        with catch_signals() as asked:
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
        record: RunLog,
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
            resume.remove_partial(folder)
        if resume_from is not None:
            self._restore(resume_from)
        self.record.cut(self.step)
        self.prepare()
        self.num_steps = self.num_steps or resolve_num_steps(self)
        evaluate_every = settings.evaluate_every or self._every(EVALUATIONS)
        checkpoint_every = settings.checkpoint_every or self._every(CHECKPOINTS)
        stop = enough = False
        self._open_window()
        while self.step < self.num_steps and not stop and not enough:
            stop = self.update(asked)
            last = self.step == self.num_steps
            due = last or stop or self.step % checkpoint_every == 0 or self.step in settings.keep_steps
            if due or self.step % settings.log_every == 0:
                self._log()
            if now := [measure_steps for every, measure_steps in self.measures if last or self.step % (every or evaluate_every) == 0]:
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
        counts = {name: max(1, count_steps) for name, count_steps in zip(names, summed, strict=True)}
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
        return {name: value for measure_steps in measures for name, value in measure_steps().items()}

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
        self.stream.load_state(resume.rank_position(folder, state["positions"], self.ranks))

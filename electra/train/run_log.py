"""Metrics of a run -> its files and displays: config.toml, environment.json, metrics.jsonl, TensorBoard, Weights & Biases, progress.

A line of metrics.jsonl is one JSON object: `kind` ("train" or "evaluation"), `step`, `tokens` (real tokens so far), `seconds` (of
training so far, interruptions not counted), where the cost is known `flops` (so far), then the metrics by name.

In a run of several phases (`mlm_first`) these four count all phases; `phase` names the line's, and `phase_step` is the step in it, by which
its checkpoints are numbered. RUN/mlm-first has the first phase's lines alone, too.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electra import config, environment
from electra.errors import UserError, parse_json, require
from electra.settings.pretrain import FIRST_PHASE, LAST_PHASE, SO_FAR, WARM_UP
from electra.storage import atomic
from electra.terminal import ProgressDisplay, duration, say


def start_wandb(project: str, folder: Path, title: str, settings: Mapping[str, Any]) -> Any:
    """The Weights & Biases run of this run directory: a new one, or the one that RUN/wandb-id names, which a resumed run continues.

    WANDB_MODE=offline keeps everything in RUN/wandb, to be sent later by `wandb sync`.

    Raises:
        UserError: the package is missing, or W&B cannot be reached.
    """
    wandb = require("wandb", "wandb")
    known = folder / "wandb-id"
    if not known.exists():
        atomic.write_text(known, secrets.token_hex(4) + "\n")
    try:
        run = wandb.init(project=project, name=title, id=known.read_text(encoding="utf-8").strip(), dir=folder, config=dict(settings), resume="allow")
    except wandb.errors.Error as error:
        raise UserError(f"--wandb {project}: {error}; check the name and 'wandb login', or set WANDB_MODE=offline") from None
    # A resumed run repeats the steps since its last checkpoint, which W&B's own step counter would reject.
    run.define_metric("*", step_metric="step")
    return run


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """FLOPs of training, and the peak of all devices together."""

    flops_per_token: float
    peak_flops: float | None = None
    """Peak FLOP/s of all ranks' devices; None: unknown, so no MFU."""

    def utilization(self, values: Mapping[str, float]) -> dict[str, float]:
        """A line's values, `tokens_per_second` among them -> `mfu`, model FLOPs utilization."""
        if self.peak_flops is None or "tokens_per_second" not in values:
            return {}
        return {"mfu": values["tokens_per_second"] * self.flops_per_token / self.peak_flops}


PHASE = ("phase", "phase_step")
"""Further keys of a line in a run of several phases."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One of the phases of a run."""

    name: str
    run: Path
    """The run directory, which the displays of all phases are in."""
    before: Mapping[str, float] = field(default_factory=dict)
    """What the phases before it have spent, of `SO_FAR`."""

    def line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """A line of the phase alone -> the line of the whole run."""
        counted = {name: line[name] + self.before.get(name, 0) for name in SO_FAR if name in line}
        return {**line, **counted, "phase": self.name, "phase_step": line["step"]}


class RunLog:
    """The run directory's log, and progress on standard error."""

    def __init__(
        self,
        folder: Path | str,
        settings: object | None = None,
        *,
        title: str = "",
        active: bool = True,
        tensorboard: bool = True,
        cost: TrainingCost | None = None,
        wandb: str | None = None,
        phase: Phase | None = None,
    ) -> None:
        """Open the log of the run in `folder`; `settings`, if given, become its config.toml.

        A resumed run keeps its config.toml and metrics. With `active=False` (all ranks but the first) nothing is written. `cost` adds
        `flops` and `mfu` to the lines; `wandb` names a Weights & Biases project that receives them too. `phase`, of a run of several, has
        its displays in the folder of the whole run.

        Raises:
            UserError: the folder cannot be written.
        """
        self.folder = Path(folder)
        self.title = title or self.folder.name
        self.active = active
        self.phase = phase
        self.run = self.folder if phase is None else phase.run
        self._tensorboard = tensorboard
        self._cost = cost
        self._writer: Any = None
        self._online: Any = None
        self._display: ProgressDisplay | None = None
        if not active:
            return
        write_settings(self.folder, settings)
        self._write_environment()
        if wandb is not None:
            self._online = start_wandb(wandb, self.run, self.title, {} if settings is None else config.to_values(settings))

    @property
    def metrics_file(self) -> Path:
        """The run's metrics.jsonl."""
        return self.folder / "metrics.jsonl"

    def _write_environment(self) -> None:
        path = self.folder / "environment.json"
        found = run_environment()
        before: dict[str, Any] = {}
        if path.exists():
            before = atomic.read_json(path, dict)
            found["earlier"] = [*before.pop("earlier", []), before]
        atomic.write_text(path, json.dumps(found, indent=1) + "\n")

    def truncate(self, step: int) -> None:
        """Drop all lines after `step` (and one half written by a killed run): those steps will be repeated."""
        if not self.active:
            return
        # A line of another phase is kept: it is of an earlier one.
        name, before = ("", 0) if self.phase is None else (self.phase.name, int(self.phase.before.get("step", 0)))
        for folder in {self.folder, self.run}:
            lines = run_metrics(folder)
            kept = [line for line in lines if line.get("phase", name) != name or line.get("phase_step", line["step"]) <= step]
            if lines or (folder / "metrics.jsonl").exists():
                atomic.write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        self._open_tensorboard(before + step)

    def _open_tensorboard(self, step: int) -> None:
        if not self._tensorboard or self._writer is not None:
            return
        try:
            self._writer = EventFile(self.run / "tensorboard", step + 1 if step else None)
        except ImportError:
            self._tensorboard = False

    def write(self, kind: str, *, step: int, tokens: int, seconds: float, values: Mapping[str, float]) -> None:
        """Add one line to metrics.jsonl and its values to TensorBoard."""
        if not self.active:
            return
        line: dict[str, Any] = {"step": step, "tokens": tokens, "seconds": round(seconds, 3), "kind": kind}
        if self._cost is not None:
            line["flops"] = self._cost.flops_per_token * tokens
            values = {**values, **self._cost.utilization(values)}
        values = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no NaN
        line |= {name: float(f"{value:.7g}") for name, value in values.items()}
        whole = line if self.phase is None else self.phase.line(line)
        for folder, written in {self.folder: line, self.run: whole}.items():
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(written) + "\n")
        self._open_tensorboard(step=0)
        if self._writer is not None:
            self._writer.write({f"{kind}/{name}": value for name, value in values.items()}, whole["step"])
        if self._online is not None:
            axes = {name: whole[name] for name in SO_FAR if name in whole}
            self._online.log(axes | {f"{kind}/{name}": value for name, value in values.items()})
        if kind == "evaluation":
            self.message(f"step {step}: " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def message(self, text: str) -> None:
        """One line on standard error, above the progress bar."""
        if not self.active:
            return
        (say if self._display is None else self._display.say)(text)

    def progress(self, step: int, num_steps: int, *, loss: float | None, rate: float, tokens_per_second: float, seconds_left: float) -> None:
        """Show progress: a bar in a terminal, else a line every ten seconds."""
        if not self.active:
            return
        state = f"step {step:,}/{num_steps:,}  " + ("" if loss is None else f"loss {loss:.4f}  ")
        state += f"lr {rate:.2e}  {tokens_per_second:,.0f} tokens/s  ETA {duration(seconds_left)}"
        if self._display is None:
            self._display = ProgressDisplay(self.title)
            self._display.update(step / num_steps, state, now=True)
        else:
            self._display.update(step / num_steps, state, now=step == num_steps)

    def close(self) -> None:
        """Remove the progress bar, and flush TensorBoard and W&B."""
        if self._display is not None:
            self._display.close()
            self._display = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._online is not None:
            self._online.finish()
            self._online = None


class EventFile:
    """A new file of TensorBoard's events. PyTorch's SummaryWriter writes from a thread, where a full disk would be a traceback and no error."""

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        """Open it; TensorBoard drops what other files have from `purge_step` on.

        Raises:
            ImportError: TensorBoard is not installed.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names, also where the clock was set back.
        earlier = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*") if path.name.split(".")[3].isdecimal()]
        number = max([int(time.time()), *(last + 1 for last in earlier)])
        self._writer = RecordWriter((folder / f"events.out.tfevents.{number:010d}.{os.getpid()}").open("wb"))
        self._add(file_version="brain.Event:2")
        if purge_step is not None:
            self._add(step=purge_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def _add(self, **parts: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **parts).SerializeToString())
        self._writer.flush()

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add the values of a step."""
        self._add(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]))

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def write_settings(folder: Path, settings: object | None) -> None:
    """Make the run directory and write `settings` to its config.toml, unless it has one (a resumed run).

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; choose another path") from None
    if settings is not None and not (folder / "config.toml").exists():
        atomic.write_text(folder / "config.toml", config.to_toml(settings))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl -> its lines; an unfinished last line of a killed run is left out.

    Raises:
        UserError: a line before the last is not a metrics line.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    out: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
            if not _is_line(value):
                raise ValueError
        except ValueError:
            if number >= len(lines) - 1:
                break
            raise UserError(f"{path}: line {number} is not a line of metrics; remove it") from None
        out.append(value)
    return out


def _is_line(value: Any) -> bool:
    """Whether a value is a line of metrics: a step, and numbers and names where they belong."""
    if not isinstance(value, dict) or not isinstance(value.get("step"), int):
        return False
    numbers = [value[name] for name in (*SO_FAR, "phase_step") if name in value]
    names = [value[name] for name in ("kind", "phase") if name in value]
    return all(isinstance(number, int | float) for number in numbers) and all(isinstance(name, str) for name in names)


def run_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run directory's metrics.jsonl, of all its phases; none if nothing was recorded.

    Runs of earlier versions have each phase's lines in its own folder only.

    Raises:
        UserError: as `read_metrics`.
    """
    own, first = (read_metrics(file) if (file := folder / "metrics.jsonl").exists() else [] for folder in (run, run / WARM_UP))
    if not first or any("phase" in line for line in own):
        return own
    before = Phase(name=FIRST_PHASE, run=run)
    after = Phase(name=LAST_PHASE, run=run, before=first[-1])
    return [*map(before.line, first), *map(after.line, own)]


def run_environment() -> dict[str, Any]:
    """What a run's speed and numbers depend on: the machine, its GPUs, versions, the command line, the package's commit."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    machine = environment.describe()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        # The key of every run so far.
        "cpu": machine.pop("processor"),
        **machine,
        "threads": torch.get_num_threads(),
        "gpu": gpus,
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }

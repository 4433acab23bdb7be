"""Metrics of a run -> its files and displays: config.toml, environment.json, metrics.jsonl, TensorBoard, progress; trackio, MLflow, W&B.

A line of metrics.jsonl is one JSON object: `kind` ("train" or "evaluation"), `step`, `tokens` (real tokens so far), `seconds` (of
training so far, interruptions not counted), where the cost is known `flops` (so far), then the metrics by name.

In a run of several phases (`mlm_first`) these four count all phases; `phase` names the line's, and `phase_step` is the step in it, by which
its checkpoints are numbered. RUN/mlm-first has the first phase's lines alone, too.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from electra import config, environment
from electra.errors import UserError, parse_json, require, shortened
from electra.settings.pretrain import FIRST_PHASE, LAST_PHASE, SO_FAR, WARM_UP
from electra.settings.sections import LogSettings
from electra.storage import atomic
from electra.terminal import ProgressDisplay, duration, say

# ---- loggers of other libraries ----

Ending = Literal["finished", "stopped", "failed"]
"""How a training ended; 'stopped': by a signal."""


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a logger records of a run at its start."""

    folder: Path
    """The run directory. FOLDER/NAME-id names the logger's own run, which a resumed run continues."""
    title: str
    project: str | None
    """None: the library's own variable, else `PROJECT`."""
    settings: Mapping[str, Any]
    """Nested plain values."""


class Logger(Protocol):
    """A run in another library. It may raise any error of the library."""

    remedy: str
    """What to check when it does not start."""
    last_step: int
    """The last step that it has of an interrupted session; 0: none, or not known."""

    def __init__(self, run: LoggedRun) -> None:
        """Start the run, or continue it."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add the values of a step."""

    def close(self, ending: Ending) -> None:
        """Send what is still to be sent, and end the run."""


PLACE = (*SO_FAR, "kind", "phase", "phase_step")
"""What a line of metrics.jsonl says besides its metrics."""
PROJECT = "electra"
"""Project or experiment of runs without another one."""


class Trackio:
    """A run of trackio, which keeps it in TRACKIO_DIR, or sends it to the server or Space that the environment names."""

    remedy = "check TRACKIO_SPACE_ID, TRACKIO_SERVER_URL and TRACKIO_DIR"

    def __init__(self, run: LoggedRun) -> None:
        self._trackio = _library("trackio")
        # trackio resumes by name.
        known = run.folder / "trackio-id"
        name = known.read_text(encoding="utf-8").strip() if known.exists() else f"{run.title} {secrets.token_hex(4)}"
        project, values = run.project or PROJECT, config.flatten(run.settings)
        with _quiet_trackio():
            self._run = self._trackio.init(project=project, name=name, config=values, resume="allow")
        # It writes from a thread: what it has not written when a run is killed is not there.
        self.last_step = self._trackio.sqlite_storage.SQLiteStorage.get_max_step_for_run(project, name, run_id=self._run.id) or 0
        atomic.write_text(known, name + "\n")

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        with _quiet_trackio():
            self._trackio.finish()


@contextmanager
def _quiet_trackio() -> Iterator[None]:
    """What trackio prints goes to standard error, a warning as one line: what a server does not take now, it keeps and sends later.

    For a run that stays on this machine it must not ask the hub who is logged in.
    """
    from huggingface_hub import constants

    offline, remote = constants.HF_HUB_OFFLINE, os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
    constants.HF_HUB_OFFLINE = offline or not remote
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline
    for warning in found:
        if issubclass(warning.category, UserWarning):
            say(f"--log-to trackio: {_one_line(str(warning.message))}")


class Mlflow:
    """A run of MLflow, at MLFLOW_TRACKING_URI or in its default, the file mlflow.db of the working directory."""

    remedy = "check MLFLOW_TRACKING_URI"
    endings: Mapping[str, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

    def __init__(self, run: LoggedRun) -> None:
        mlflow = _library("mlflow")
        self._metric, param, self._client = mlflow.entities.Metric, mlflow.entities.Param, mlflow.MlflowClient()
        known = run.folder / "mlflow-id"
        self.last_step = 0
        if known.exists():
            self._id = known.read_text(encoding="utf-8").strip()
            self._client.update_run(self._id, status="RUNNING")
            self.last_step = max((each.step for each in self._client.get_metric_history(self._id, "tokens")), default=0)
            return
        self._id = self._client.create_run(self._experiment(run.project), run_name=run.title).info.run_id
        params = [param(name, str(value)) for name, value in config.flatten(run.settings).items()]
        for start in range(0, len(params), 100):  # at most that many in a batch
            self._client.log_batch(self._id, params=params[start : start + 100])
        atomic.write_text(known, self._id + "\n")

    def _experiment(self, project: str | None) -> str:
        """The id of the experiment, which is made if there is none of its name."""
        name = project or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if name is None and (known := os.environ.get("MLFLOW_EXPERIMENT_ID")):
            return known
        name = name or PROJECT
        if (found := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                # Another process may have made it meanwhile.
                if (found := self._client.get_experiment_by_name(name)) is None:
                    raise
        return str(found.experiment_id)

    def write(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        # MLflow refuses other characters, such as that of recall@10; so does the Trainer of transformers replace them.
        named = {re.sub(r"[^0-9A-Za-z_\-. /]", "_", name): value for name, value in values.items()}
        self._client.log_batch(self._id, metrics=[self._metric(name, value, now, step) for name, value in named.items()])

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, self.endings[ending])


class Wandb:
    """A run of Weights & Biases. WANDB_MODE=offline keeps everything in RUN/wandb, to be sent later by `wandb sync`."""

    remedy = "check the name of the project and 'wandb login', or set WANDB_MODE=offline"

    def __init__(self, run: LoggedRun) -> None:
        wandb = _library("wandb")
        known = run.folder / "wandb-id"
        identity = known.read_text(encoding="utf-8").strip() if known.exists() else secrets.token_hex(4)
        project = run.project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._run = wandb.init(project=project, name=run.title, id=identity, dir=run.folder, config=dict(run.settings), resume="allow")
        atomic.write_text(known, identity + "\n")
        # Lines of the same step are rows of their own, which W&B's step counter would reject.
        self._run.define_metric("*", step_metric="step")
        # Its server's; offline a session knows nothing of the one before, which was not sent yet.
        self.last_step = int(self._run.summary.get("step") or 0)

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({"step": step, **values})

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)


LOGGERS: Mapping[str, type[Logger]] = {"trackio": Trackio, "mlflow": Mlflow, "wandb": Wandb}
"""Name, which is that of the package and of its extra -> logger."""


UNLESS_SET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_LOGGING_LEVEL": "WARNING"}
"""MLflow reports nothing about its use, says after seconds that a server is away, and does not tell how it makes its tables."""
UNLESS_SET |= {"WANDB_ERROR_REPORTING": "false"}


def _library(name: str) -> Any:
    for variable, value in UNLESS_SET.items():
        os.environ.setdefault(variable, value)
    return require(name, name)


def check_loggers(settings: LogSettings) -> None:
    """Check that the packages of --log-to are installed.

    Raises:
        UserError: one is not, or --log-project is given alone.
    """
    if settings.log_project is not None and not settings.log_to:
        raise UserError(f"--log-project {settings.log_project} has no effect without --log-to {'|'.join(LOGGERS)}; add it, or leave the project out")
    for name in settings.log_to:
        _library(name)


def start_logger(name: str, run: LoggedRun) -> Logger:
    """A logger by its name.

    Raises:
        UserError: its package is missing, or it cannot be reached, or it refuses the run.
    """
    kind = LOGGERS[name]
    try:
        return kind(run)
    except UserError:
        raise
    except Exception as error:
        again = f"; or remove {run.folder}/{name}-id to start another run there" if (run.folder / f"{name}-id").exists() else ""
        raise UserError(f"--log-to {name}: {_one_line(error)}; {kind.remedy}, or leave it out{again}") from None


def _one_line(message: object) -> str:
    return shortened(" ".join(str(message).split()).rstrip(".") or type(message).__name__)


# ---- the log ----


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
        logging: LogSettings | None = None,
        recorded: Mapping[str, Any] | None = None,
        phase: Phase | None = None,
    ) -> None:
        """Open the log of the run in `folder`; `settings`, if given, become its config.toml.

        A resumed run keeps its config.toml and metrics. With `active=False` (all ranks but the first) nothing is written. `cost` adds
        `flops` and `mfu` to the lines. `logging` names the libraries that receive them too, and `recorded` the settings that these record
        (default: the whole run's config.toml). `phase`, of a run of several, has its displays in the folder of the whole run.

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
        self._logging, self._recorded = logging or LogSettings(), recorded
        self._loggers: dict[str, Logger] | None = None
        self._repeated: set[tuple[str, int]] = set()
        self._display: ProgressDisplay | None = None
        if not active:
            return
        write_settings(self.folder, settings)
        self._write_environment()

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
        """Drop all lines after `step` (and one half written by a killed run), since those steps will be repeated, and open the displays.

        Raises:
            UserError: a logger does not start.
        """
        if not self.active:
            return
        # A line of another phase is kept: it is of an earlier one.
        name, before = ("", 0) if self.phase is None else (self.phase.name, int(self.phase.before.get("step", 0)))

        def stays(line: Mapping[str, Any]) -> bool:
            return bool(line.get("phase", name) != name or line.get("phase_step", line["step"]) <= step)

        for folder in {self.folder, self.run}:
            lines = run_metrics(folder)
            kept = [line for line in lines if stays(line)]
            if lines or (folder / "metrics.jsonl").exists():
                atomic.write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
            if folder == self.run:
                self._repeated = {(str(line.get("kind")), line["step"]) for line in lines if not stays(line)}
        self._open(before + step)

    def _open(self, step: int) -> None:
        """Open TensorBoard and the loggers, once; `step` is the whole run's."""
        if self._tensorboard and self._writer is None:
            try:
                self._writer = EventFile(self.run / "tensorboard", step + 1 if step else None)
            except ImportError:
                self._tensorboard = False
        if self._loggers is None:
            self._loggers, file = {}, self.run / "config.toml"
            for name in dict.fromkeys(self._logging.log_to):
                values = self._recorded if self._recorded is not None else config.read_toml(file) if file.exists() else {}
                run = LoggedRun(folder=self.run, title=self.title, project=self._logging.log_project, settings=values)
                self._loggers[name] = start_logger(name, run)

    def _tell_loggers(self, call: Callable[[Logger], None]) -> None:
        """Call every logger. One that fails is left out from then on: the training goes on, and metrics.jsonl has every line."""
        for name, logger in list((self._loggers or {}).items()):
            try:
                call(logger)
            except Exception as error:
                assert self._loggers is not None
                del self._loggers[name]
                self.message(f"--log-to {name}: {_one_line(error)}; the run goes on without it, and {self.metrics_file} has every line")

    def write(self, kind: str, *, step: int, tokens: int, seconds: float, values: Mapping[str, float]) -> None:
        """Add one line to metrics.jsonl and its values to TensorBoard and the loggers."""
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
        self._open(step=0)
        step_of_run, named = whole["step"], {f"{kind}/{name}": line[name] for name in values}
        if self._writer is not None:
            self._writer.write(named, step_of_run)
        sent = {name: whole[name] for name in SO_FAR if name in whole and name != "step"} | named
        # What a logger has of an interrupted session it does not get again.
        again = (kind, step_of_run) in self._repeated
        self._tell_loggers(lambda logger: None if again and step_of_run <= logger.last_step else logger.write(sent, step_of_run))
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

    def close(self, ending: Ending = "finished") -> None:
        """Remove the progress bar, and close TensorBoard and the loggers."""
        if self._display is not None:
            self._display.close()
            self._display = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._tell_loggers(lambda logger: logger.close(ending))
        self._loggers = None


# ---- files ----


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

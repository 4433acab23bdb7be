"""A suite of tasks, a search, or one task's seeds in parallel -> trials -> one table.

settings          -> trials: task x point of the search x seed       (every flag checked before any is run)
trials            -> processes, several at a time                    (what is finished stays; failed ones are told, the rest go on)
every end         -> RUN/TASK/best: the best trial's model           (the other trials' weights go)
task files        -> RUN/TASK/baselines.json                         (if asked for)
all ends          -> RUN/results.json, RUN/table.md, RUN/results.png
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from electra import config
from electra.command_line import from_command_line
from electra.errors import UserError, did_you_mean, require
from electra.finetuning import results_table
from electra.finetuning.hyperparameters import check_same_run
from electra.finetuning.launcher import NOT_A_TRIALS_OWN, Ended, Trial, as_flags, find_places, read_ended, run_all
from electra.settings import FinetuneSettings, SuiteSettings
from electra.storage import atomic
from electra.tasks.baselines import baseline_scores
from electra.tasks.clue import has_folds
from electra.tasks.custom import settle
from electra.tasks.hub_datasets import is_hub_name
from electra.tasks.registry import choose_task, find_files, find_task, read_splits, suites
from electra.terminal import duration, is_interactive
from electra.train import loop

# ---- How far a suite has come, on standard error: a line per ended trial, and a bar for a person or a line every ten seconds for a log ----


SECONDS_BETWEEN_LINES = 10.0
STOPPED = 128
"""Exit codes above it: ended by a signal that was noted, its work saved."""


class Progress:
    """Trials ended and the time left; a context manager."""

    def __init__(self, trials: Sequence[Trial], num_done: int, workers: int) -> None:
        """`num_done` of the `trials` were finished before."""
        self.trials, self.workers = trials, workers
        self.num_done, self.num_failed = num_done, 0
        self.seconds: dict[str, list[float]] = {}
        self.left: dict[str, int] = {}
        for trial in trials:
            if not trial.finished:
                self.left[trial.task] = self.left.get(trial.task, 0) + 1
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._row: Any = None

    def __enter__(self) -> Progress:
        """Show the bar where a person watches."""
        if is_interactive():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._row = self._bar.add_task("trials", total=len(self.trials), completed=self.num_done, state=self.state())
            self._bar.start()
        else:
            self._say(self.state())
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def end(self, trial: Trial, ended: Ended, score: float | None) -> None:
        """Tell how a trial ended."""
        self.num_done += 1
        self.left[trial.task] = self.left.get(trial.task, 1) - 1
        if ended.returncode > STOPPED:
            # It was asked to, and has saved itself.
            self.num_done -= 1
            self._say(f"{trial.name}: {ended.error}")
            return
        if ended.returncode:
            self.num_failed += 1
            self._say(f"{trial.name}: failed: {ended.error}")
            return
        self.seconds.setdefault(trial.task, []).append(ended.seconds)
        self._say(f"{trial.name}: {'' if score is None else f'{score * 100:.2f}, '}{duration(ended.seconds)}; {self.state()}")

    def seconds_left(self) -> float | None:
        """By the mean time of a task's ended trials, of all ended ones for a task without; None before the first."""
        known = [seconds for each in self.seconds.values() for seconds in each]
        if not known:
            return None
        mean = {task: sum(each) / len(each) for task, each in self.seconds.items()}
        work = sum(count * mean.get(task, sum(known) / len(known)) for task, count in self.left.items())
        return work / max(1, min(self.workers, sum(self.left.values())))

    def state(self) -> str:
        """'3 of 10 trials, 1 failed, 2 at a time, 01:10 left'."""
        words = [f"{self.num_done} of {len(self.trials)} trials"]
        words += [f"{self.num_failed} failed"] if self.num_failed else []
        words += [f"{self.workers} at a time"] if self.workers > 1 else []
        left = self.seconds_left()
        return ", ".join(words if left is None else [*words, f"{duration(left)} left"])

    def update(self) -> None:
        """Call often: shows something only when it is time."""
        if self._bar is not None:
            self._bar.update(self._row, completed=self.num_done, state=self.state())
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._say(f"{self.state()}, {duration(time.monotonic() - self._start)} so far")

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


SHORT_NAMES = {"lr": "learning_rate", "layer_decay": "layerwise_lr_decay", "warmup": "warmup_fraction", "length": "max_length"}
NOT_SEARCHED = NOT_A_TRIALS_OWN | {"train", "dev", "label", "text", "text_pair", "kind"}
Point = tuple[tuple[str, str], ...]


def is_many(settings: FinetuneSettings) -> bool:
    """Whether these settings ask for a suite, a search, or seeds in parallel."""
    return settings.task in suites() or settings.suite != SuiteSettings()


def run(settings: FinetuneSettings) -> int:
    """Run the trials that are not finished, and write the table -> 0, or 1 where a trial failed.

    Raises:
        UserError: an output that is there, a wrong flag, no task's files.
    """
    if not settings.resume:
        atomic.fresh_output(settings.output, remedy="add --resume to go on with it, or choose another --output")
    require("torch", "train")
    found, missing = find_tasks(settings)
    points = read_search(settings.suite.search)
    trials = plan(settings, found, points)
    check_same_run(settings)
    atomic.write_text(settings.output / "config.toml", config.to_toml(settings))
    for name in missing:
        print(f"{name}: not found under {settings.data}", file=sys.stderr)
    ends = {trial: finished_end(trial) for trial in trials if trial.finished}
    for finished in ends:
        keep_best(finished, settings.output)
    if settings.suite.baselines:
        write_baselines(settings, trials)
    left = [trial for trial in trials if trial not in ends]
    with loop.catch_signals() as asked, Progress(trials, len(ends), find_places(settings, len(left)).workers) as progress:
        for trial, ended in run_all(left, settings, find_places(settings, len(left)), asked):
            if trial is not None and ended is not None:
                if ended.returncode == 0 and not trial.finished:
                    ended = Ended(returncode=1, seconds=ended.seconds, peak_memory_bytes=ended.peak_memory_bytes, error="ended without scores")
                if ended.returncode <= STOPPED:
                    ends[trial] = ended
                keep_best(trial, settings.output)
                progress.end(trial, ended, results_table.main_score(trial))
                results_table.write(settings, trials, ends, missing)
            progress.update()
        if asked:
            print(f"stopped; the same command with --resume goes on with {settings.output}", file=sys.stderr)
            return 128 + asked[0]
    results = results_table.write(settings, trials, ends, missing)
    print(json.dumps(results, indent=1) if settings.json else (settings.output / "table.md").read_text(encoding="utf-8").rstrip())
    return 1 if any(ended.returncode for ended in ends.values()) else 0


def write_baselines(settings: FinetuneSettings, trials: Sequence[Trial]) -> None:
    """RUN/TASK/baselines.json of every task: what is reached without a network, by the task's own metrics; what is there stays.

    Raises:
        UserError: a task's files cannot be read.
    """
    for trial in {trial.task: trial for trial in reversed(trials)}.values():
        place = settings.output / trial.task / results_table.BASELINES
        if place.exists() or "+" in trial.task:
            continue
        print(f"{trial.task}: baselines", file=sys.stderr)
        alone = from_command_line(FinetuneSettings, trial.words[1:], "electra finetune")
        task = choose_task(alone)
        train, dev = read_splits(task, alone)
        head = task.head(train)
        atomic.write_text(place, json.dumps(baseline_scores(settle(task, head), train, dev, head), indent=1) + "\n")


def finished_end(trial: Trial) -> Ended:
    """The end of a trial that has its scores, also where the suite was killed before it could note that."""
    known = read_ended(trial) or Ended(returncode=0, seconds=0.0, peak_memory_bytes=0)
    return replace(known, returncode=0, error=None)


def find_tasks(settings: FinetuneSettings) -> tuple[dict[str, Path | None], list[str]]:
    """Settings -> task -> where its files lie, and the suite's tasks whose files are nowhere.

    Raises:
        UserError: --data is missing, or holds none of the suite's tasks.
    """
    if settings.task not in suites():
        return {find_task(settings.task).name: settings.data}, []
    names = suites()[settings.task]
    if settings.data is None:
        raise UserError(f"the suite '{settings.task}' needs --data DIR, the folder that holds its tasks' folders")
    if settings.train or settings.dev:
        raise UserError(f"--train and --dev are for the task 'own'; the suite '{settings.task}' reads --data DIR")
    if any(is_hub_name(name, settings.data) for name in names):
        there = [name for name in names if is_hub_name(name, settings.data)]
        return dict.fromkeys(there, settings.data), [name for name in names if name not in there]
    places = {name: find_files(name, settings.data) for name in names}
    if not any(places.values()):
        raise UserError(f"{settings.data} holds no folder of the suite '{settings.task}' ({', '.join(names)}); give the folder that holds them")
    return {name: place for name, place in places.items() if place is not None}, [name for name, place in places.items() if place is None]


def read_search(search: Sequence[str]) -> list[Point]:
    """('lr=1e-4,3e-4', 'epochs=3,5') -> every combination of values, by the settings' full names; one empty point without a search.

    Raises:
        UserError: not NAME=VALUE,..., an unknown name, or one that cannot be searched over.
    """
    known = {field.name for _, owner, field in config.leaves(FinetuneSettings) if owner is not SuiteSettings} - NOT_SEARCHED
    axes: dict[str, list[tuple[str, str]]] = {}
    for item in search:
        short, equals, values = item.partition("=")
        name = SHORT_NAMES.get(short.replace("-", "_"), short.replace("-", "_"))
        if not equals or not all(values.split(",")):
            raise UserError(f"--search {item}: expected NAME=VALUE,VALUE such as lr=1e-4,3e-4")
        if name not in known:
            raise UserError(f"--search {item}: unknown setting '{short}'; {did_you_mean(short, known | set(SHORT_NAMES))}")
        if name in axes:
            raise UserError(f"--search {item}: {name} is given twice; give all its values in one list")
        axes[name] = [(name, value) for value in dict.fromkeys(values.split(","))]
    return list(itertools.product(*axes.values()))


def plan(settings: FinetuneSettings, found: dict[str, Path | None], points: Sequence[Point]) -> list[Trial]:
    """Every trial, each with its command line already parsed once, the seeds of a point one behind the other.

    Raises:
        UserError: a searched value that its flag does not take.
    """
    trials = []
    for (task, place), point in itertools.product(found.items(), points):
        for seed in range(settings.loop.seed, settings.loop.seed + settings.seeds):
            # Slashes of a searched path would make folders of their own.
            label = "_".join(f"{name}-{value.replace('/', '-')}" for name, value in point)
            folder = settings.output / task / label / f"seed-{seed}" if point else settings.output / task / f"seed-{seed}"
            # Within a suite, a draw is for the tasks that have some.
            given = as_flags(settings, *(["fold"] if settings.task in suites() and not has_folds(task) else []))
            words = ["finetune", task, *given, *itertools.chain.from_iterable(_flag(name, value) for name, value in point)]
            words += ["--data", str(place)] if place is not None else []
            words += ["--output", str(folder), "--seed", str(seed), "--resume"]
            from_command_line(FinetuneSettings, words[1:], "electra finetune --search")
            trials.append(Trial(task=task, point=point, seed=seed, folder=folder, words=tuple(words)))
    return trials


def _flag(name: str, value: str) -> list[str]:
    flag = name.replace("_", "-")
    return [f"--no-{flag}"] if value == "false" else [f"--{flag}"] if value == "true" else [f"--{flag}", value]


def keep_best(trial: Trial, output: Path) -> None:
    """RUN/TASK/best is the model of the trial with the highest main metric, RUN/TASK/best.json names it; other trials keep no weights."""
    mine = trial.folder / "best"
    score = results_table.main_score(trial)
    if score is None or not mine.exists():
        return
    told = output / trial.task / "best.json"
    before = json.loads(told.read_text(encoding="utf-8"))["score"] if told.exists() else float("-inf")
    if score > before:
        text = f"\nIt is the best of all trials of this task under `{output.name}` on its dev set; the table there has every trial.\n"
        with open(mine / "README.md", "a", encoding="utf-8") as card:
            card.write(text)
        atomic.replace_folder(mine, output / trial.task / "best")
        atomic.write_text(told, json.dumps({"trial": str(trial.folder.relative_to(output)), "score": score}) + "\n")
    else:
        shutil.rmtree(mine, ignore_errors=True)

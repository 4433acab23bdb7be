"""A suite of tasks, a search, or one task's seeds in parallel -> trials -> one table and the best models.

settings     -> trials: task x point of the search x seed      (every flag checked before any is run)
trials       -> processes, several at a time                   (what is finished stays; a failure is reported, the rest continues)
task files   -> baselines.json                                 (with --baselines)
every trial  -> RUN/best, of several tasks RUN/best/TASK       (the best seed of the best point; other weights are removed)
all trials   -> RUN/results.json, table.md, results.png; of one task also scores.json and predictions.jsonl, as a run without trials

The trials of one task are in RUN/search/[POINT/]seed-N, those of a suite in RUN/TASK/[POINT/]seed-N.
"""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from electra import config
from electra.command_line import from_command_line
from electra.command_runner import SIGNALLED, CommandRunner, Ended, Step, Stopped, find_places, read_ended, stoppable
from electra.errors import UserError, did_you_mean, require
from electra.finetuning import results_table
from electra.finetuning.baselines import baseline_scores
from electra.finetuning.hyperparameters import CALIBRATED, DATA_FILE, absolute, check_same_run, head_form, with_absolute_paths
from electra.finetuning.results import FinetuneResult
from electra.finetuning.results_table import Point, SweepStep
from electra.settings import FinetuneSettings, SuiteSettings
from electra.settings.finetune import CHANGE_ON_RESUME
from electra.settings.sections import check_ray_address
from electra.storage import atomic
from electra.tasks.clue import has_folds
from electra.tasks.custom import resolve_metric
from electra.tasks.hub_datasets import is_hub_name
from electra.tasks.question_answering import PREDICTION_FILES
from electra.tasks.registry import COMPARED, choose_task, find_files, find_task, read_splits, read_task, suites
from electra.tasks.text_tasks import choose_examples
from electra.terminal import say

SHORT_NAMES = {"lr": "learning_rate", "layer_decay": "layerwise_lr_decay", "warmup": "warmup_fraction", "length": "max_length"}
SET_BY_SWEEP = {"task", "data", "output", "resume", "json", "seeds", "seed", "threads"}
"""Settings that the sweep chooses for each trial."""
MISTAKE = 2
"""The exit code of a command that names a mistake in what it was given."""
NOT_SEARCHED = SET_BY_SWEEP | {"train", "dev", "label", "text", "text_pair", "kind", "log_to", "log_project"}


def is_many(settings: FinetuneSettings) -> bool:
    """Whether these settings need several trials: a suite, a search, seeds in parallel, or the continuation of such a run."""
    return settings.task in suites() or settings.suite != SuiteSettings() or (settings.resume and (settings.output / "search").is_dir())


def run(settings: FinetuneSettings) -> FinetuneResult:
    """Run the trials that are not finished and write the table; `scores` of the result is what RUN/results.json holds.

    Raises:
        UserError: the output exists, a flag is wrong, or no task's files are found.
    """
    check_ray_address(settings.suite.engine, settings.suite.ray_address)
    if settings.suite.baselines and settings.task in COMPARED:
        raise UserError(f"--baselines: there is none for {settings.task}; leave it out")
    if not settings.resume:
        atomic.fresh_output(settings.output, remedy="add --resume to continue it, or choose another --output")
    require("torch", "train")
    found, missing = find_tasks(settings)
    search = with_methods(settings, find_search(settings))
    trials = plan(settings, found, read_search(search))
    suite, left = settings.suite, sum(not trial.done for trial in trials)
    places = find_places(left, workers=suite.workers, threads=settings.loop.threads, device=settings.loop.device, ray=suite.engine == "ray")
    hashes = check_data(settings, trials) if left else {}
    write_config(settings, search, same_data=check_one_data(trials))
    if hashes:
        atomic.write_text(settings.output / DATA_FILE, json.dumps(hashes, indent=1) + "\n")
    for name in missing:
        say(f"{name}: not found under {settings.data}")

    def after(step: Step, ended: Ended) -> str:
        assert isinstance(step, SweepStep)
        keep_best([trial for trial in trials if trial.task == step.task], settings, finished={*runner.outcomes, step})
        results_table.write(settings, trials, runner.outcomes, missing)
        score = results_table.main_score(step)
        return "" if score is None else f"{score * 100:.2f}"

    runner = CommandRunner(trials, after, noun="trials")
    runner.outcomes |= {trial: read_ended(trial.folder) for trial in trials if trial.done}
    try:
        with stoppable():
            if settings.suite.baselines:
                write_baselines(settings, trials)
            runner.run_processes(places, ray_address=suite.ray_address)
            check_one_data(trials)
            for task in dict.fromkeys(trial.task for trial in trials):
                keep_best([trial for trial in trials if trial.task == task], settings, ended=True)
            results = results_table.write(settings, trials, runner.outcomes, missing)
    except Stopped as stopped:
        say(f"stopped; the same command with --resume continues {settings.output}")
        return FinetuneResult(output=settings.output, best={}, scores={}, seeds=(), signal=stopped.code - SIGNALLED)
    ends = list(runner.outcomes.values())
    if ends and not settings.resume and all(ended.returncode == MISTAKE for ended in ends):
        # Nothing was trained: the corrected command finds the place free.
        shutil.rmtree(settings.output)
        raise UserError(f"every trial failed: {(ends[0].error or 'see above').removeprefix('electra: ')}")
    several = settings.task in suites()
    best = {trial.task: settings.output / "best" / (trial.task if several else "") for trial in trials}
    failed = [step.title for step, ended in runner.outcomes.items() if ended.returncode]
    return FinetuneResult(output=settings.output, best=best, scores=results, seeds=(), failed=failed)


def find_search(settings: FinetuneSettings) -> tuple[str, ...]:
    """The search, which need not be repeated to resume its run, with absolute paths: its points are the same from another working directory.

    Values that the run has recorded stay: earlier versions named the folders of trials by paths as they were given.
    """
    path = settings.output / "config.toml"
    recorded = tuple(config.read_toml(path).get("suite", {}).get("search", ())) if settings.resume and path.exists() else ()
    known = {(name, value) for name, _, values in (item.partition("=") for item in recorded) for value in values.split(",")}

    def absolute_item(item: str) -> str:
        name, equals, values = item.partition("=")
        setting = name.replace("-", "_")
        return name + equals + ",".join(value if (name, value) in known else absolute(setting, value) for value in values.split(","))

    return tuple(map(absolute_item, settings.suite.search or recorded))


METHODS = "few-shot-method"
"""The setting whose values --few-shot --baselines compares."""


def with_methods(settings: FinetuneSettings, search: Sequence[str]) -> tuple[str, ...]:
    """The search, with --few-shot and --baselines also over the methods that are compared on the same draws."""
    alone = settings.few_shot is None or not settings.suite.baselines or settings.few_shot_method != "contrastive"
    if alone or any(item.replace("_", "-").startswith(f"{METHODS}=") for item in search):
        return (*search,)
    return (*search, f"{METHODS}=contrastive,fine-tune,frozen")


def check_one_data(trials: Sequence[SweepStep]) -> bool:
    """Check that all seeds of a point learned from the same examples, as far as they have begun -> whether all say from which (not in version 0.1).

    Raises:
        UserError: two did not.
    """
    found: dict[tuple[str, Point], tuple[Path, Any]] = {}
    begun = [trial for trial in trials if (trial.folder / "config.toml").exists()]
    for trial in begun:
        if (file := trial.folder / DATA_FILE).exists():
            folder, hashes = found.setdefault((trial.task, trial.point), (trial.folder, atomic.read_json(file, dict)))
            if atomic.read_json(file, dict) != hashes:
                raise UserError(f"{trial.folder} began with other examples of {trial.task} than {folder}; choose another --output")
    return all((trial.folder / DATA_FILE).exists() for trial in begun)


def check_data(settings: FinetuneSettings, trials: Sequence[SweepStep]) -> Mapping[str, Mapping[str, str]]:
    """Check, before anything is trained, that the files hold the examples that a resumed run began with -> hashes of the only task's; of a suite {}.

    Raises:
        UserError: they hold others, or the only task cannot be trained.
    """
    from electra.finetuning import setup

    if settings.task not in suites():
        hashes = setup.read_inputs(from_command_line(FinetuneSettings, trials[0].argv[1:], "electra finetune")).hashes
        setup.check_same_data(settings.output, hashes)
        return hashes
    checked = set[bytes]()
    for trial in trials:
        # One hash of each: most points of a search read a task's files alike.
        if not (file := trial.folder / DATA_FILE).exists() or (before := file.read_bytes()) in checked:
            continue
        checked.add(before)
        alone = from_command_line(FinetuneSettings, trial.argv[1:], "electra finetune")
        try:
            _, training, dev = read_task(trial.task, alone)
        except UserError:
            continue  # its trials are reported as failed, and the other tasks run
        setup.check_same_data(trial.folder, {trial.task: setup.data_hashes(training, dev)})
    return {}


def write_config(settings: FinetuneSettings, search: Sequence[str], *, same_data: bool) -> None:
    """RUN/config.toml: the settings that were given (what was not is chosen per task, and is in each trial's config.toml).

    `same_data`: whether the trials' examples are known to be the same, so that their files may be at another place.

    Raises:
        UserError: the run being resumed was started with other settings, or without trials.
    """
    path = settings.output / "config.toml"
    if settings.task not in suites() and next(settings.output.glob("seed-*"), None) is not None:
        raise UserError(
            f"{settings.output} was started without --workers, --engine, --search and --baselines; resume it without them, or choose another --output"
        )
    values = {
        **given_values(settings),
        "resume": False,
        "task": settings.task,
        "model": settings.model,
        "seeds": settings.seeds,
        "output": str(settings.output),
    }
    if search:
        values["suite"] = {**values.get("suite", {}), "search": list(search)}
    if path.exists():
        defaults = config.flatten(config.to_values(FinetuneSettings(task="", model="", output=Path())))
        may_change = CHANGE_ON_RESUME - (set() if same_data else {"data", "train", "dev"})
        check_same_run(settings.output, defaults | config.flatten(config.read_toml(path)), config.to_values(settings), may_change)
    atomic.write_text(path, tomli_w.dumps(with_absolute_paths(values)))


def write_baselines(settings: FinetuneSettings, trials: Sequence[SweepStep]) -> None:
    """baselines.json of every task: scores without a network, by the task's own metrics; an existing file is kept.

    With --few-shot they are means over the draws of all seeds, with each seed's, and made again.

    Raises:
        UserError: the files of the only task cannot be read.
    """
    for trial in {trial.task: trial for trial in reversed(trials)}.values():
        path = results_table.task_folder(settings, trial.task) / results_table.BASELINES
        if (path.exists() and settings.few_shot is None) or "+" in trial.task:
            continue
        say(f"{trial.task}: baselines")
        try:
            found = baselines_of(trial, trials, settings)
        except UserError as error:
            if settings.task not in suites():
                raise
            say(f"{trial.task}: no baselines: {error}")  # its trials are reported as failed, and the other tasks run
            continue
        if found:
            atomic.write_text(path, json.dumps(found, indent=1) + "\n")


def baselines_of(trial: SweepStep, trials: Sequence[SweepStep], settings: FinetuneSettings) -> dict[str, Any]:
    """Name of a baseline -> its scores on a trial's task; empty for a task of a suite that has no few labels."""
    from electra.finetuning.few_shot import draw

    alone = from_command_line(FinetuneSettings, trial.argv[1:], "electra finetune")
    task = choose_task(alone)
    train, dev = read_splits(task, alone)
    head = task.head(train)
    task = resolve_metric(task, head)
    if settings.few_shot is None:
        # Of the examples that the network is trained on, not of more.
        return dict(baseline_scores(task, choose_examples(train, settings.max_train_examples, swapped=False), dev, head))
    if head.kind != "classification":
        return {}
    seeds = dict.fromkeys(trial.seed for trial in trials)
    return spread([baseline_scores(task, draw(train, head, settings.few_shot, seed), dev, head) for seed in seeds])


def spread(draws: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Scores of the baselines on each draw -> name -> mean of each metric, and under 'draws' metric -> what `describe` says of all."""
    found: dict[str, Any] = {}
    for name, metrics in draws[0].items():
        described = {metric: results_table.describe([scores[name][metric] for scores in draws]) for metric in metrics}
        found[name] = {metric: score["mean"] for metric, score in described.items()} | {"draws": described}
    return found


# ---- which trials ----


def find_tasks(settings: FinetuneSettings) -> tuple[dict[str, Path | None], list[str]]:
    """Settings -> task -> the folder of its files, and the suite's tasks whose files were not found.

    Raises:
        UserError: --data is missing, or has none of the suite's tasks.
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


def plan(settings: FinetuneSettings, found: dict[str, Path | None], points: Sequence[Point]) -> list[SweepStep]:
    """Every trial, its command line already parsed once; the seeds of a point follow each other.

    Raises:
        UserError: a value that its flag does not take.
    """
    trials = []
    for (task, data), point in itertools.product(found.items(), points):
        for seed in range(settings.loop.seed, settings.loop.seed + settings.seeds):
            # A slash in a value would be a folder of its own.
            label = "_".join(f"{name}-{value.replace('/', '-')}" for name, value in point)
            folder = results_table.task_folder(settings, task, trials=True) / label / f"seed-{seed}"
            flags = as_flags(settings, *(not_for(task, settings) if settings.task in suites() else ()))
            argv = ["finetune", task, *flags, *itertools.chain.from_iterable(_flag(name, value) for name, value in point)]
            argv += ["--data", str(data)] if data is not None else []
            # Always with --resume: the folder exists before the run, with the log of its process.
            argv += ["--output", str(folder), "--seed", str(seed), "--resume"]
            from_command_line(FinetuneSettings, argv[1:], "electra finetune --search")
            title = " ".join([task, *(f"{name}={value}" for name, value in point), f"seed {seed}"])
            words, output = tuple(argv), folder / "scores.json"
            step = SweepStep(title=title, folder=folder, output=output, argv=words, resume_argv=words, kind=task, task=task, point=point, seed=seed)
            trials.append(step)
    return trials


def not_for(task: str, settings: FinetuneSettings) -> list[str]:
    """The given settings of a suite that this task of it would refuse: --fold, --calibrate, --head mean, --metric."""
    given, head = given_values(settings), find_task(task).head([])
    refused = {
        "fold": not has_folds(task),
        "calibrate": head.kind not in CALIBRATED,
        "head": given.get("head") == "mean" and head_form("mean", head) != "mean",
        "metric": given.get("metric") != find_task(task).main_metric,
    }
    return [name for name in refused if name in given and refused[name]]


def given_values(settings: FinetuneSettings) -> dict[str, Any]:
    """What was given, nested. Version 0.1 recorded every setting of a suite or search: of such a run what differs from the defaults."""
    found = config.given(settings)
    return config.given(replace(settings)) if settings.resume and found.keys() >= {"json", "kind", "mixing"} else found


def as_flags(settings: FinetuneSettings, *left_out: str) -> list[str]:
    """What was given, as flags of a trial: all but what the sweep itself chooses, and the fields left out."""
    given, words = given_values(settings), []
    for path, owner, field in config.leaves(FinetuneSettings):
        if owner is SuiteSettings or field.name in SET_BY_SWEEP or field.name in left_out:
            continue
        try:
            value: Any = functools.reduce(lambda table, name: table[name], path, given)
        except KeyError:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        else:
            words += [flag, f"{value}s" if field.name == "budget" else str(value)]
    return words


def _flag(name: str, value: str) -> list[str]:
    flag = name.replace("_", "-")
    return [f"--no-{flag}"] if value == "false" else [f"--{flag}"] if value == "true" else [f"--{flag}", value]


# ---- the best model ----


def keep_best(trials: Sequence[SweepStep], settings: FinetuneSettings, *, finished: Collection[Step] | None = None, ended: bool = False) -> None:
    """Of one task's trials, keep the weights that may be the best: at the end those of the best seed of the best point, as the table has it, in
    RUN/best (of a suite RUN/best/TASK), named in best.json. Weights that cannot become the best are removed.

    Args:
        trials: all of the task.
        settings: the sweep's.
        finished: trials whose process has ended (None: all): one that still runs may have its scores, and be moving its model.
        ended: whether every trial has run; else a point counts when all of its seeds have.
    """
    several, task = settings.task in suites(), trials[0].task
    folder = results_table.task_folder(settings, task)
    best, record = settings.output / "best" / (task if several else ""), folder / "best.json"
    if not best.exists() and (earlier := settings.output / task / "best").exists():
        # Where versions before kept it.
        best.parent.mkdir(exist_ok=True)
        earlier.rename(best)
    scores: dict[Point, dict[SweepStep, float]] = {}
    for trial in trials:
        if (finished is None or trial in finished) and (score := results_table.main_score(trial)) is not None:
            scores.setdefault(trial.point, {})[trial] = score
    seeds = Counter(trial.point for trial in trials)
    complete = {point: statistics.fmean(found.values()) for point, found in scores.items() if ended or len(found) == seeds[point]}
    leading = max(complete, key=complete.__getitem__, default=None)
    leaders = {point: max(found, key=found.__getitem__) for point, found in scores.items() if point == leading or point not in complete}
    for trial in (trial for found in scores.values() for trial in found):
        if trial not in leaders.values():
            shutil.rmtree(trial.folder / "best", ignore_errors=True)
    if (ended or len(seeds) == 1) and scores:
        chosen = leaders[leading] if leading is not None else next(iter(leaders.values()))
        _promote(chosen, scores[chosen.point][chosen], best, record, settings)


def _promote(chosen: SweepStep, score: float, best: Path, record: Path, settings: FinetuneSettings) -> None:
    """Move a trial's model to `best`, unless it is there."""
    name = str(chosen.folder.relative_to(settings.output))
    if not (mine := chosen.folder / "best").exists():
        known = atomic.read_json(record, dict).get("trial") if record.exists() else None
        if known is not None and known != name:
            say(f"{best} is still the model of {known}: {name} is the best now, but its weights were removed earlier; run that trial again")
        return
    text = f"\nIt is the best of all trials of this task under `{settings.output.name}` on its dev set; the table there has every trial.\n"
    with open(mine / "README.md", "a", encoding="utf-8") as card:
        card.write(text)
    best.parent.mkdir(exist_ok=True)
    atomic.replace_folder(mine, best)
    if settings.task not in suites():
        for file in ("predictions.jsonl", *PREDICTION_FILES):
            if (chosen.folder / file).exists():
                shutil.copyfile(chosen.folder / file, settings.output / file)
    atomic.write_text(record, json.dumps({"trial": name, "score": score}) + "\n")

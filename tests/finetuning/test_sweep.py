"""electra finetune over a suite, a search and several workers: trials as processes, resumed, killed, failed, in one table."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_models import random_start
from toy_glue import trials_in_process

from electra import cli, command_runner, config
from electra.command_line import from_command_line
from electra.errors import UserError
from electra.finetuning import results_table, sweep
from electra.finetuning.sweep import as_flags
from electra.settings import FinetuneSettings
from electra.tasks.registry import find_files, suites

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A discriminator of one layer with random weights."""
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    return random_start(tmp_path_factory.mktemp("start") / "start", tiny_vocab, **sizes)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SST-2 and MRPC, an empty RTE, and nothing else."""
    root, rng = tmp_path_factory.mktemp("glue"), random.Random(3)
    for name, header in (("SST-2", "sentence\tlabel"), ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String")):
        (root / name).mkdir()
        for split, count in (("train", 40), ("dev", 21)):
            rows = [header]
            for _ in range(count):
                label = rng.randrange(2)
                text = f"{' '.join(rng.choices('the film story was a of'.split(), k=4))} {'good' if label else 'bad'}"
                rows.append(f"{text}\t{label}" if name == "SST-2" else f"{label}\t1\t2\t{text}\ta good film")
            (root / name / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    (root / "RTE").mkdir()
    return root


QUICK = ("--num-train-steps", "6", "--batch-size", "8", "--device", "cpu", "--threads", "1", "--max-length", "20", "--evaluate-every", "6")


def _command(start: Path, glue: Path, output: Path, *more: str, task: str = "glue") -> list[str]:
    return ["finetune", task, "--model", str(start), "--data", str(glue), "--output", str(output), *QUICK, *more]


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials as calls instead of processes: a process takes seconds to import torch."""
    trials_in_process(monkeypatch)


@pytest.fixture(scope="module")
def done(start: Path, glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished suite: two tasks, two seeds."""
    output = tmp_path_factory.mktemp("suite") / "run"
    assert cli.main(_command(start, glue, output, "--seeds", "2", "--workers", "2")) == 0
    return output


def test_every_trial_is_in_the_table(done: Path) -> None:
    results = _read(done / "results.json")
    assert set(results["tasks"]) == {"sst2", "mrpc"} and results["failed"] == [] and results["unfinished"] == []
    assert {"cola", "rte", "wnli"} <= set(results["not_found"])
    text = (done / "table.md").read_text()
    for task, row in results["tasks"].items():
        each = []
        for seed in (1, 2):
            scores = _read(done / task / f"seed-{seed}" / "scores.json")["scores"]
            each.append(scores["glue_score" if task == "mrpc" else "accuracy"]["mean"])
        assert row["score"]["each"] == each and row["score"]["mean"] == pytest.approx(sum(each) / 2) and row["seeds"] == [1, 2]
        assert row["score"]["sd"] == pytest.approx(statistics.stdev(each)) and row["score"]["best"] == max(each)
        assert all(seconds > 0 for seconds in row["seconds"]) and all(50e6 < size < 4e9 for size in row["peak_memory_bytes"])
        assert f"| {task} | {row['counted_metric']} | {row['score']['mean'] * 100:.2f} |" in text
    means = [row["score"]["mean"] for row in results["tasks"].values()]
    assert results["average"]["mean"] == pytest.approx(sum(means) / 2) and "not the whole suite" in text
    assert (done / "results.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_model_of_each_task_is_kept(done: Path) -> None:
    from electra.model.huggingface import load_checkpoint

    for task in ("sst2", "mrpc"):
        record = _read(done / task / "best.json")
        scores = [_read(done / task / f"seed-{seed}" / "scores.json")["scores"]["accuracy"]["mean"] for seed in (1, 2)]
        assert record["score"] == max(scores) and scores[int(record["trial"][-1]) - 1] == max(scores)
        assert load_checkpoint(done / "best" / task, "classifier").labels == ("0", "1")
        assert "best of all trials" in (done / "best" / task / "README.md").read_text()
    assert len(list(done.rglob("model.safetensors"))) == 2
    # Only what was given: epochs, learning rates, ... are chosen per task.
    used = config.read_toml(done / "config.toml")
    assert used["seeds"] == 2 and used["suite"] == {"workers": 2} and "epochs" not in used and "optimizer" not in used
    assert config.build(FinetuneSettings, used).task == "glue"


@pytest.mark.usefixtures("in_process")
def test_a_suite_of_an_earlier_version_continues(done: Path, start: Path, glue: Path, tmp_path: Path) -> None:
    """It kept RUN/TASK/best, and every setting in config.toml."""
    output = tmp_path / "run"
    shutil.copytree(done, output)
    for task in ("sst2", "mrpc"):
        (output / "best" / task).rename(output / task / "best")
    (output / "best").rmdir()
    words = _command(start, glue, output, "--seeds", "2", "--workers", "1")
    (output / "config.toml").write_text(config.to_toml(from_command_line(FinetuneSettings, words[1:], "electra finetune")))
    resumed = from_command_line(FinetuneSettings, ["--resume", str(output)], "electra finetune")
    given = from_command_line(FinetuneSettings, words[1:], "electra finetune")
    assert sorted(sweep.as_flags(resumed)) == sorted(sweep.as_flags(given))
    assert cli.main([*words, "--resume", "--dropout", "0.3"]) == 2
    assert cli.main(["finetune", "--resume", str(output)]) == 0
    assert (output / "best" / "sst2" / "config.json").exists() and not (output / "sst2" / "best").exists()
    assert _read(output / "results.json")["tasks"] == _read(done / "results.json")["tasks"]


def test_baselines_are_next_to_the_scores(done: Path, start: Path, glue: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(done, tmp_path / done.name)
    more = ("--seeds", "2", "--workers", "2")
    assert cli.main(_command(start, glue, copy, *more, "--baselines", "--resume")) == 0
    rows = _read(copy / "results.json")["tasks"]
    labels = [line.split("\t")[1] for line in (glue / "SST-2" / "dev.tsv").read_text().splitlines()[1:]]
    train = [line.split("\t")[1] for line in (glue / "SST-2" / "train.tsv").read_text().splitlines()[1:]]
    largest = max("01", key=train.count)
    assert rows["sst2"]["baselines"]["largest class"]["accuracy"] == pytest.approx(labels.count(largest) / len(labels))
    assert rows["sst2"]["baselines"]["TF-IDF"]["accuracy"] == 1.0
    assert "sst2 without a network: largest class" in (copy / "table.md").read_text()


@pytest.mark.usefixtures("in_process")
def test_baselines_learn_from_the_same_examples(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.finetuning import baselines, sweep

    seen: list[int] = []

    def scores(task: Any, train: Any, dev: Any, head: Any) -> Any:
        seen.append(len(train))
        return baselines.baseline_scores(task, train, dev, head)

    monkeypatch.setattr(sweep, "baseline_scores", scores)
    words = ["finetune", "sst2", "--model", str(start), "--data", str(glue / "SST-2"), "--output", str(tmp_path / "run"), "--num-train-steps", "2"]
    assert cli.main([*words, "--threads", "1", "--max-train-examples", "6", "--baselines"]) == 0
    assert seen == [6]


def test_a_trials_command_repeats_it(done: Path, tmp_path: Path) -> None:
    log = (done / "sst2" / "seed-2" / "trial.log").read_text().splitlines()[0]
    words = log.removeprefix("$ electra ").split()
    words[words.index("--output") + 1] = str(tmp_path / "again")
    assert cli.main(words) == 0
    assert _read(tmp_path / "again" / "scores.json")["scores"] == _read(done / "sst2" / "seed-2" / "scores.json")["scores"]


@pytest.mark.usefixtures("in_process")
def test_resume_runs_only_what_is_new(done: Path, start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    shutil.copytree(done, output)
    assert cli.main(_command(start, glue, output, "--seeds", "2")) == 2
    assert "already exists; add --resume" in capsys.readouterr().err
    assert cli.main(_command(start, glue, output, "--seeds", "2", "--resume", "--dropout", "0.3")) == 2
    assert "began with dropout" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in output.rglob("scores.json")}
    (output / "mrpc" / "seed-2" / "scores.json").unlink()
    assert cli.main(_command(start, glue, output, "--seeds", "2", "--workers", "1", "--resume", "--json")) == 0
    after = {path: path.stat().st_mtime_ns for path in output.rglob("scores.json")}
    assert {path.parent for path in before if before[path] != after.get(path)} <= {output / "mrpc" / "seed-2", output / "mrpc" / "seed-2" / "seed-2"}
    printed = json.loads(capsys.readouterr().out)
    assert printed["tasks"]["mrpc"]["score"] == _read(done / "results.json")["tasks"]["mrpc"]["score"]


@pytest.mark.usefixtures("in_process")
def test_a_failing_task_is_reported_and_the_rest_continues(start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(glue, tmp_path / "glue")
    (tmp_path / "glue" / "MRPC" / "train.tsv").write_text("Quality\t#1 String\n1\tone\n")
    assert cli.main(_command(start, tmp_path / "glue", tmp_path / "run", "--workers", "1")) == 1
    printed, results = capsys.readouterr(), _read(tmp_path / "run" / "results.json")
    assert set(results["tasks"]) == {"sst2"} and results["average"] is None
    assert [item["trial"] for item in results["failed"]] == ["mrpc seed 1"] and "no column '#2 String'" in results["failed"][0]["error"]
    assert "**failed**" in printed.out and "mrpc seed 1: failed" in printed.err and "\n" not in results["failed"][0]["error"]
    shutil.copy(glue / "MRPC" / "train.tsv", tmp_path / "glue" / "MRPC" / "train.tsv")
    assert cli.main(_command(start, tmp_path / "glue", tmp_path / "run", "--workers", "1", "--resume")) == 0
    assert set(_read(tmp_path / "run" / "results.json")["tasks"]) == {"sst2", "mrpc"}


def _wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


LONG = ("--num-train-steps", "4000", "--checkpoint-every", "5", "--evaluate-every", "4000", "--log-every", "5")


def test_a_killed_trial_is_reported_and_a_stopped_suite_saves_its_trials(start: Path, glue: Path, tmp_path: Path) -> None:
    """One trial is killed: the suite reports it and continues. Then the suite itself is stopped: its trials save themselves."""
    output = tmp_path / "run"
    words = [sys.executable, "-m", "electra", *_command(start, glue, output, *LONG, "--workers", "1", task="sst2"), "--seeds", "2"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for seed in (1, 2):
            _wait_for(output / "search" / f"seed-{seed}" / f"seed-{seed}" / "checkpoints")
            if seed == 1:
                trial = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "seed-1"], capture_output=True, text=True).stdout.split()
                os.kill(int(trial[0]), signal.SIGKILL)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "sst2 seed 1: failed: killed by SIGKILL" in err and "with --resume continues" in err
    assert "sst2 seed 2: stopped after step" in err
    kept = sorted((output / "search" / "seed-2" / "seed-2" / "checkpoints").iterdir())[-1]
    assert "stopped after step" in (output / "search" / "seed-2" / "trial.log").read_text()
    assert int(kept.name.split("-")[-1]) >= 5 and not (output / "search" / "seed-2" / "scores.json").exists()


def test_a_trial_that_still_runs_is_not_started_twice(tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / "trial.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "still works in" in str(command_runner.run_process(["--version"], tmp_path, {}).error)
    assert command_runner.run_process(["--version"], tmp_path, {}).returncode == 0


def test_ray_runs_every_trial(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    """With a replacement of Ray: each trial goes through one remote call, a lost worker is a failed trial, and the cluster is left at the end."""

    class RayError(Exception):
        pass

    options_given: list[dict[str, Any]] = []
    left: list[bool] = []

    class Ray:
        exceptions = type("exceptions", (), {"RayError": RayError})

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 4.0}

        def remote(self, **options: Any) -> Any:
            options_given.append(options)
            return lambda function: type("Remote", (), {"remote": lambda _, *values: (function, values)})()

        def get(self, call: Any) -> Any:
            function, values = call
            if "seed-2" in values[1]:
                raise RayError
            return function(*values)

        def shutdown(self) -> None:
            left.append(True)

    monkeypatch.setattr(command_runner, "require", lambda module, extra: Ray())
    monkeypatch.setattr(command_runner, "connect_ray", lambda ray, address, workers: None)
    assert cli.main(_command(start, glue, tmp_path / "run", "--engine", "ray", "--workers", "1", "--seeds", "2", task="sst2")) == 1
    results = _read(tmp_path / "run" / "results.json")
    assert results["tasks"]["sst2"]["seeds"] == [1] and "Ray worker was lost" in results["failed"][0]["error"]
    assert options_given == [{"num_cpus": 1, "num_gpus": 0, "max_retries": 0}] and left == [True]


# ---- search ----


@pytest.mark.usefixtures("in_process")
def test_a_search_reports_how_it_chose(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is learned at 1e-9, everything at 1e-2.
    more = ("--search", "lr=1e-9,1e-2", "dropout=0", "--seeds", "2", "--num-train-steps", "80", "--workers", "1", "--layerwise-lr-decay", "1")
    assert cli.main(_command(start, glue, tmp_path / "run", *more, task="SST-2")) == 0
    row = _read(tmp_path / "run" / "results.json")["tasks"]["sst2"]
    assert [point["hyper_parameters"]["learning_rate"] for point in row["points"]] == ["1e-9", "1e-2"]
    assert all(point["seeds"] == [1, 2] for point in row["points"]) and row["hyper_parameters"] == {"learning_rate": "1e-2", "dropout": "0"}
    assert row["score"]["mean"] > row["points"][0]["score"]["mean"]
    text = (tmp_path / "run" / "table.md").read_text()
    assert "learning_rate 1e-2, dropout 0 (chosen on the dev set: its score is optimistic)" in text and text.count("chosen on the dev set:") == 1
    chosen = _read(tmp_path / "run" / "best.json")["trial"]
    assert chosen.startswith("search/learning_rate-1e-2_dropout-0/")
    # The same files as of a run without a search.
    assert (tmp_path / "run" / "best" / "config.json").exists()
    assert (tmp_path / "run" / "predictions.jsonl").read_text() == (tmp_path / "run" / chosen / "predictions.jsonl").read_text()
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["seeds"] == [1, 2] and scores["best_seed"] == int(chosen[-1]) and len(scores["steps"]) == len(scores["seconds"]) == 2
    assert scores["scores"]["accuracy"]["each"] == row["metrics"]["accuracy"]["each"]
    # Resumed without the flags that made it a search, it is still one: a third seed of each point.
    words = _command(start, glue, tmp_path / "run", *more[3:], "--resume", task="SST-2")
    words[words.index("--seeds") + 1] = "3"
    del words[words.index("--workers") : words.index("--workers") + 2]
    monkeypatch.setattr(command_runner, "allowed_cores", lambda: [0])
    assert cli.main(words) == 0
    points = _read(tmp_path / "run" / "results.json")["tasks"]["sst2"]["points"]
    assert [(point["hyper_parameters"]["learning_rate"], point["seeds"]) for point in points] == [("1e-9", [1, 2, 3]), ("1e-2", [1, 2, 3])]


def test_a_search_in_which_nothing_trains_leaves_nothing(
    start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_process: None
) -> None:
    words = _command(start, glue, tmp_path / "run", "--search", "lr=1e-4,1e-3", "--num-train-steps", "1", "--workers", "1", task="SST-2")
    assert cli.main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("electra: every trial failed: ") and "trains nothing" in error
    assert not (tmp_path / "run").exists(), "the corrected command finds the place free"


@pytest.mark.usefixtures("in_process")
def test_a_run_without_trials_is_not_resumed_with_them(start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _command(start, glue, tmp_path / "run", task="sst2")
    assert cli.main(words) == 0
    before = (tmp_path / "run" / "config.toml").read_bytes()
    assert cli.main([*words, "--resume", "--workers", "2"]) == 2
    assert "was started without --workers" in capsys.readouterr().err and (tmp_path / "run" / "config.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (("lr",), "expected NAME=VALUE"),
        (("lr=1e-4,",), "expected NAME=VALUE"),
        (("learning_rat=1",), "did you mean 'learning_rate'"),
        (("seeds=1,2",), "unknown setting 'seeds'"),
        (("epochs=1", "epochs=2"), "given twice"),
    ],
)
def test_wrong_searches(search: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep.read_search(search)


def test_every_combination_is_tried() -> None:
    points = sweep.read_search(("lr=1e-4,3e-4", "epochs=3,5,7"))
    assert len(points) == 6 and points[1] == (("learning_rate", "1e-4"), ("epochs", "5"))


def test_a_value_its_flag_does_not_take_is_reported_before_anything_runs(
    start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_command(start, glue, tmp_path / "run", "--search", "epochs=3,many", task="sst2")) == 2
    assert "many" in capsys.readouterr().err and not (tmp_path / "run").exists()


# ---- parts ----


def test_the_model_of_a_search_is_of_the_point_with_the_best_mean(tmp_path: Path) -> None:
    """Not that of the luckiest seed of all: RUN/best, scores.json and the table are of one model. Weights that cannot be it go early."""
    words = ["sst2", "--model", "m", "--data", "d", "--output", str(tmp_path), "--seeds", "2", "--search", "lr=1e-4,3e-4,1e-5"]
    settings = from_command_line(FinetuneSettings, words, "finetune")
    trials = sweep.plan(settings, {"sst2": tmp_path}, sweep.read_search(settings.suite.search))
    scores = dict(zip(trials, (0.80, 0.81, 0.85, 0.60, 0.7, 0.7), strict=True))
    for number, trial in enumerate(trials, 1):
        (trial.folder / "best").mkdir(parents=True)
        (trial.folder / "best" / "README.md").write_text(trial.title)
        for name in ("predictions.jsonl", "predictions.json"):
            (trial.folder / name).write_text(trial.title)
        found = {"main_metric": "accuracy", "scores": {"accuracy": {"mean": scores[trial]}}, "seconds": [1]}
        (trial.folder / "scores.json").write_text(json.dumps(found))
        sweep.keep_best(trials, settings)
        kept = [trials.index(each) + 1 for each in trials if (each.folder / "best").exists() and each in trials[:number]]
        assert kept == {1: [1], 2: [2], 3: [2, 3], 4: [2], 5: [2, 5], 6: [2]}[number] and not (tmp_path / "best").exists()
    shutil.rmtree(trials[4].folder / "best", ignore_errors=True)
    (trials[4].folder / "best").mkdir()  # of a trial that has its scores and still moves its model
    sweep.keep_best(trials, settings, finished=[trial for trial in trials if trial is not trials[4]])
    assert (trials[4].folder / "best").exists()
    sweep.keep_best(trials, settings, ended=True)
    assert _read(tmp_path / "best.json") == {"trial": "search/learning_rate-1e-4/seed-2", "score": 0.81}
    assert (tmp_path / "best" / "README.md").read_text().startswith(trials[1].title)
    assert (tmp_path / "predictions.jsonl").read_text() == (tmp_path / "predictions.json").read_text() == trials[1].title
    sweep.keep_best(trials, settings, ended=True)  # again: it stays
    assert (tmp_path / "best" / "README.md").read_text().startswith(trials[1].title)


def test_a_task_of_a_suite_whose_files_are_damaged_has_no_baselines(glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(glue, tmp_path / "glue")
    (tmp_path / "glue" / "MRPC" / "dev.tsv").write_text("nothing\n")
    words = ["glue", "--model", "m", "--data", str(tmp_path / "glue"), "--output", str(tmp_path / "run"), "--baselines"]
    settings = from_command_line(FinetuneSettings, words, "finetune")
    trials = sweep.plan(settings, sweep.find_tasks(settings)[0], [()])
    sweep.write_baselines(settings, trials)
    assert "mrpc: no baselines: " in capsys.readouterr().err
    assert (tmp_path / "run" / "sst2" / "baselines.json").exists() and not (tmp_path / "run" / "mrpc" / "baselines.json").exists()
    with pytest.raises(UserError):
        sweep.write_baselines(dataclasses.replace(settings, task="mrpc"), [trial for trial in trials if trial.task == "mrpc"])


def test_a_suite_leaves_out_what_a_task_refuses(tmp_path: Path) -> None:
    """--fold reaches FewCLUE's tasks, --calibrate those with classes, --head mean those of whole texts; alone, each task refuses them."""
    words = ["clue", "--model", "m", "--data", str(tmp_path), "--output", "o", "--fold", "1", "--calibrate", "--head", "mean"]
    settings = from_command_line(FinetuneSettings, words, "finetune")
    trials = sweep.plan(settings, dict.fromkeys(("tnews", "chnsenticorp", "stsb", "cmrc2018"), tmp_path), [()])
    flags = {trial.task: {flag for flag in ("--fold", "--calibrate", "--head") if flag in trial.argv} for trial in trials}
    assert flags == {
        "tnews": {"--fold", "--calibrate", "--head"},
        "chnsenticorp": {"--calibrate", "--head"},
        "stsb": {"--head"},
        "cmrc2018": set(),
    }
    alone = sweep.plan(dataclasses.replace(settings, task="stsb"), {"stsb": tmp_path}, [()])
    assert "--calibrate" in alone[0].argv


def test_flags_of_a_trial_are_those_given() -> None:
    words = ["sst2", "--model", "m", "--output", "o", "--data", "d", "--no-double-unordered", "--budget", "90s", "--keep-steps", "3", "5"]
    words += ["--learning-rate", "2e-5", "--seeds", "4", "--workers", "3", "--preset", "original-code", "--num-train-tokens", "30M"]
    given = from_command_line(FinetuneSettings, words, "electra finetune")
    again = from_command_line(FinetuneSettings, ["sst2", "--output", "o", "--data", "d", *as_flags(given)], "electra finetune")
    assert again == dataclasses.replace(given, seeds=1, suite=again.suite) and "--workers" not in as_flags(given)


def test_folders_are_found_by_name(tmp_path: Path) -> None:
    for name in ("glue/SST-2/train.tsv", "clue/RTE/train.tsv", "aclImdb_v1.tar.gz", "wnli/.hidden/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "CoLA").mkdir()
    assert find_files("sst2", tmp_path) == tmp_path / "glue" / "SST-2" and find_files("imdb", tmp_path) == tmp_path / "aclImdb_v1.tar.gz"
    assert find_files("rte", tmp_path / "clue" / "RTE") == tmp_path / "clue" / "RTE" and find_files("cola", tmp_path) is None
    assert "own" not in suites()["all"] and set(suites()["glue"]) <= set(suites()["all"])


def test_the_interval_is_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.81, 0.84, 0.79, 0.83, 0.80]
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert results_table.describe(values)["interval"] == pytest.approx([low, high])
    assert results_table.describe([0.5])["interval"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["glue", "--data", "{none}"], "not found"),
        (["glue", "--data", "{empty}"], "holds no folder of the suite 'glue'"),
        (["glue"], "needs --data DIR"),
        (["glu", "--data", "{empty}"], "unknown task 'glu'"),
    ],
)
def test_suites_that_cannot_be(words: list[str], message: str, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(none=tmp_path / "none", empty=tmp_path / "empty") for word in words]
    assert cli.main(["finetune", *words, "--model", str(start), "--output", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
def test_all_trials_have_the_same_examples(start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(glue, tmp_path / "glue")
    words = ["--workers", "1", "--max-train-examples", "20", "--epochs", "1"]
    for task, data in (("mrpc", tmp_path / "glue" / "MRPC"), ("glue", tmp_path / "glue")):
        assert cli.main(_command(start, data, tmp_path / f"run-{task}", *words, task=task)) == 0
    rows = (tmp_path / "glue" / "MRPC" / "dev.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "glue" / "MRPC" / "dev.tsv").write_text("".join(rows[:-1]))
    capsys.readouterr()
    assert cli.main(_command(start, tmp_path / "glue" / "MRPC", tmp_path / "run-mrpc", *words, "--seeds", "2", "--resume", task="mrpc")) == 2
    assert "began with other dev examples of mrpc" in capsys.readouterr().err
    assert cli.main(_command(start, tmp_path / "glue", tmp_path / "run-glue", *words, "--seeds", "2", "--resume")) == 2
    # Before SST-2, the first task, is trained.
    assert f"{tmp_path}/run-glue/mrpc/seed-1 began with other dev examples of mrpc: give the files" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run-glue" / "sst2" / "seed-2").exists()
    assert config.read_toml(tmp_path / "run-glue" / "config.toml")["seeds"] == 1
    # A task that cannot be read is reported, and the others are trained.
    (tmp_path / "glue" / "MRPC" / "dev.tsv").write_text("damaged\n")
    assert cli.main(_command(start, tmp_path / "glue", tmp_path / "run-glue", *words, "--seeds", "2", "--resume")) == 1
    assert (tmp_path / "run-glue" / "sst2" / "seed-2" / "scores.json").exists()


def test_seeds_of_a_point_that_began_with_other_examples_are_named(start: Path, glue: Path, tmp_path: Path) -> None:
    settings = from_command_line(FinetuneSettings, _command(start, glue, tmp_path, "--seeds", "2", task="sst2")[1:], "electra finetune")
    trials = sweep.plan(settings, {"sst2": glue}, [()])
    for trial, found in zip(trials, ("a", "b"), strict=True):
        trial.folder.mkdir(parents=True)
        (trial.folder / "config.toml").write_text("")
        (trial.folder / "data.json").write_text(json.dumps({"sst2": {"train": found}}))
    with pytest.raises(UserError, match=r"seed-2 began with other examples of sst2 than .*seed-1; choose another --output"):
        sweep.check_one_data(trials)


@pytest.mark.usefixtures("in_process")
def test_models_and_presets_of_a_search_are_the_same_from_another_directory(
    start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    for name in ("one", "two"):
        shutil.copytree(start, here / "models" / name)
    (here / "my.toml").write_text("dropout = 0.0\n[optimizer]\nlearning_rate = 1e-3\n")
    words = ["--num-train-steps", "2", "--batch-size", "8", "--device", "cpu", "--threads", "1", "--max-length", "20", "--workers", "1"]
    words += ["--search", "model=models/one,models/two", "preset=my.toml,paper"]
    monkeypatch.chdir(here)
    assert cli.main(["finetune", "sst2", "--model", "models/one", "--preset", "my.toml", "--data", str(glue), "--output", "run", *words]) == 0
    recorded = config.read_toml(here / "run" / "config.toml")
    models = f"model={here}/models/one,{here}/models/two"
    assert recorded["suite"]["search"] == [models, f"preset={here}/my.toml,paper"] and recorded["preset"] == str(here / "my.toml")
    points = [point["hyper_parameters"] for point in _read(here / "run" / "results.json")["tasks"]["sst2"]["points"]]
    # Another file of the same name where the run is resumed.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my.toml").write_text("dropout = 0.5\n")
    monkeypatch.chdir(elsewhere)
    folders = sorted(str(path) for path in (here / "run" / "search").iterdir())
    assert cli.main(["finetune", "--resume", str(here / "run"), "--seeds", "2"]) == 0
    assert sorted(str(path) for path in (here / "run" / "search").iterdir()) == folders and len(folders) == 4
    again = _read(here / "run" / "results.json")["tasks"]["sst2"]["points"]
    assert [point["hyper_parameters"] for point in again] == points and [point["seeds"] for point in again] == [[1, 2]] * 4
    trial = config.read_toml(Path(folders[0]) / "seed-2" / "config.toml")
    assert (trial["preset"], trial["dropout"]) == (str(here / "my.toml"), 0.0)
    assert cli.main(["finetune", "--resume", str(here / "run"), "--preset", "my.toml"]) == 2
    assert f"PRESET my.toml would change the run (it has '{here}/my.toml'); leave it out" in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
def test_a_search_whose_paths_were_recorded_as_given_keeps_its_folders(
    start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before recorded them; a model that is added is recorded by its absolute path."""
    for name in ("one", "two"):
        shutil.copytree(start, tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path)
    words = [*_command(start, glue, Path("run"), "--num-train-steps", "2", "--workers", "1", task="sst2"), "--search"]
    with monkeypatch.context() as before:
        before.setattr(sweep, "find_search", lambda settings: settings.suite.search)
        assert cli.main([*words, "model=models/one"]) == 0
    assert [path.name for path in Path("run", "search").iterdir()] == ["model-models-one"]
    assert cli.main(["finetune", "--resume", "run", "--search", "model=models/one,models/two"]) == 0
    assert config.read_toml("run/config.toml")["suite"]["search"] == [f"model=models/one,{tmp_path}/models/two"]
    assert len(list(Path("run", "search").iterdir())) == 2

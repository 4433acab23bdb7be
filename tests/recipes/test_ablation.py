"""The ablation: equal compute, arithmetic of the budget, whole runs, resuming, the conclusions, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import hf_forms
import numpy as np
import pytest
from conftest import WORDS

from electra import command_runner, config
from electra.cli import main
from electra.command_line import from_command_line
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.model import flops
from electra.recipes.ablation import plan as ablation_plan
from electra.recipes.ablation import results as ablation_results
from electra.recipes.ablation import setup
from electra.recipes.ablation.plan import FinetuneCost, Method, PhaseCost, find_methods, flops_per_step
from electra.recipes.ablation.results import compare, outcome, over_examples, sentence
from electra.recipes.ablation.run import match_recorded_time
from electra.settings import AblateSettings
from electra.tasks.imdb import as_document, read_unlabelled
from electra.train.run_log import read_metrics

PRESET = """
[model]
hidden_size = 16
embedding_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 32
max_position_embeddings = 32
generator_size = 0.5
dropout = 0.0
[objective]
mlm_first = 0.5
[data]
data = []
vocab_size = 120
sequence_length = 32
[optimizer]
learning_rate = 1e-3
warmup_fraction = 0.1
[loop]
batch_size = 4
budget = 60.0
log_every = 5
checkpoint_every = 3
"""


def settings_of(*words: object) -> AblateSettings:
    found: AblateSettings = from_command_line(AblateSettings, [str(word) for word in words], "electra ablate")
    return found


# ---- equal compute ----


@pytest.mark.parametrize("preset", ["mini", "small", "tiny", "base"])
@pytest.mark.parametrize("num_steps", [100, 977, 20_000])
def test_matched_runs_have_equal_flops_within_a_step(preset: str, num_steps: int) -> None:
    settings = settings_of("scratch", "--data", "x", "--preset", preset, "--methods", "electra", "mlm", "replace-mlm")
    methods = find_methods(settings)
    stages = {
        m.name: [PhaseCost(share=share, flops=flops_per_step(s, 8000), seconds=0.1 + 0.2 * i) for i, (s, share) in enumerate(m.phase_shares())]
        for m in methods
    }
    runs = {run.name: run for run in ablation_plan.make_runs(methods, stages, num_steps, settings)}
    assert set(runs) == {"electra", "mlm-flops", "mlm-seconds", "replace-mlm-flops", "replace-mlm-seconds"}

    def spent(name: str, method: Method) -> float:
        """Counted anew: every stage's steps x its examples x their tokens x operations per token."""
        return sum(
            steps
            * s.loop.batch_size
            * s.loop.accumulation
            * s.data.sequence_length
            * flops.per_token(s.model, s.objective, 8000, s.data.sequence_length)
            for steps, (s, _) in zip(runs[name].stage_steps, method.phase_shares(), strict=True)
        )

    target = spent("electra", methods[0])
    for method in methods[1:]:
        step = flops_per_step(method.settings, 8000)
        assert abs(spent(f"{method.name}-flops", method) - target) <= step
        assert abs(runs[f"{method.name}-seconds"].seconds - runs["electra"].seconds) <= max(stage.seconds for stage in stages[method.name])
    # A BERT reads more text for the same FLOPs: it has no generator.
    assert sum(runs["mlm-flops"].stage_steps) > num_steps


def test_every_pretraining_has_the_given_precision() -> None:
    methods = find_methods(settings_of("scratch", "--data", "x", "--precision", "bf16"))
    assert [stage.loop.precision for method in methods for stage, _ in method.phase_shares()] == ["bf16"] * 3
    assert all("bf16" in method.argv for method in methods)


def test_methods_with_one_phase_learn_at_the_rate_of_a_first_one() -> None:
    methods = find_methods(settings_of("scratch", "--data", "x", "--methods", "electra", "mlm", "replace-mlm", "all-tokens-mlm"))
    rates = {method.name: [phase.optimizer.learning_rate for phase, _ in method.phase_shares()] for method in methods}
    assert rates == {"electra": [5e-4, 2e-4], "mlm": [5e-4], "replace-mlm": [5e-4], "all-tokens-mlm": [5e-4]}


def test_points_are_evenly_spread_over_flops_and_end_at_the_end() -> None:
    stages = [PhaseCost(share=0.5, flops=1.0, seconds=1.0), PhaseCost(share=0.5, flops=3.0, seconds=1.0)]
    # Of 400 FLOPs, 133.3 lie 11 steps into the second stage, 266.7 lie 55.6 into it.
    assert ablation_plan.spread_points(stages, (100, 100), 3) == ((1, 11), (1, 56), (1, 100))
    assert ablation_plan.spread_points(stages, (100, 100), 8)[:2] == ((0, 50), (0, 100))
    assert ablation_plan.spread_points(stages[:1], (10,), 1) == ((0, 10),)


# ---- budget ----

COST = FinetuneCost(per_train_example=0.01, per_dev_example=0.002, fixed=2.0, num_train=25_000, num_dev=25_000, dev_can_shrink=True)


@pytest.mark.parametrize("hours", [0.5, 2, 8, 48])
def test_the_budget_is_spent_and_not_more(hours: float) -> None:
    settings = settings_of("scratch", "--data", "x", "--budget", f"{hours}h")
    methods = find_methods(settings)
    stages = {m.name: [PhaseCost(share=share, flops=flops_per_step(s, 8000), seconds=0.1) for s, share in m.phase_shares()] for m in methods}
    per_step = ablation_plan.seconds_per_step(methods, stages, settings)
    num_steps, (sizes,) = ablation_plan.split_budget(settings, per_step, [COST], 1, 100.0)
    num_train, num_dev = sizes.num_train, sizes.num_dev
    runs = ablation_plan.make_runs(methods, stages, num_steps, settings)
    finetunings = 3 * (1 + 3 * 3)
    spent = 100.0 + 3 * sum(run.seconds for run in runs) + finetunings * COST.seconds(num_train, num_dev)
    assert 0.9 * hours * 3600 < spent < 0.96 * hours * 3600
    assert finetunings * COST.seconds(num_train, num_dev) <= ablation_plan.FINETUNE_SHARE * hours * 3600
    assert 500 <= num_dev <= 25_000 and num_train <= 25_000
    if hours == 48:
        # What fine-tuning cannot use goes to pre-training.
        assert (num_train, num_dev) == (25_000, 25_000)


def test_twice_the_budget_is_twice_the_training() -> None:
    cost = FinetuneCost(per_train_example=0.01, per_dev_example=0.0, fixed=0.0, num_train=10**9, num_dev=100, dev_can_shrink=False)
    one, two = (ablation_plan.split_budget(settings_of("scratch", "--budget", f"{h}h"), 0.5, [cost], 1, 0.0) for h in (1, 2))
    assert two[0] == pytest.approx(2 * one[0], abs=2) and two[1][0].num_train == pytest.approx(2 * one[1][0].num_train, abs=2)


def test_a_budget_too_short_names_what_is_enough() -> None:
    with pytest.raises(UserError, match="too short for 3 seeds and 30 fine-tunings") as raised:
        ablation_plan.split_budget(settings_of("scratch", "--budget", "30s"), 1.0, [COST], 1, 20.0)
    enough = int(str(raised.value).split("at least ")[1].split("s")[0])
    ablation_plan.split_budget(settings_of("scratch", "--budget", f"{enough}s"), 1.0, [COST], 1, 20.0)


# ---- conclusions ----


def conclusion(first: list[float], second: list[float], examples: list[float] | None = None) -> str:
    difference = compare(dict(enumerate(first)), dict(enumerate(second)))
    assert difference is not None
    if examples:
        difference["over_examples"] = examples
    return sentence("ELECTRA", "BERT", " at equal FLOPs", "accuracy on sst2", difference)


def test_a_clear_win_is_called_one() -> None:
    text = conclusion([0.85, 0.852, 0.848], [0.82, 0.823, 0.821], [0.01, 0.05])
    differences = [0.03, 0.029, 0.027]
    reach = 4.302653 * statistics.stdev(differences) / 3**0.5  # Student's t of two degrees of freedom
    low, high = (100 * (statistics.fmean(differences) + sign * reach) for sign in (-1, 1))
    assert text.startswith("ELECTRA beats BERT at equal FLOPs by 2.9 points of accuracy on sst2 ")
    assert f"95% {low:+.1f} to {high:+.1f} over 3 seeds, +1.0 to +5.0 over dev examples" in text


def test_a_clear_loss_is_called_one() -> None:
    assert conclusion([0.82, 0.823, 0.821], [0.85, 0.852, 0.848]).startswith("BERT beats ELECTRA at equal FLOPs by 2.9 points")


@pytest.mark.parametrize(
    ("first", "second", "examples", "reason"),
    [
        ([0.85, 0.80, 0.83], [0.82, 0.83, 0.82], None, "within the spread over seeds, so this data does not show which is better"),
        ([0.85, 0.852, 0.848], [0.82, 0.823, 0.821], [-0.01, 0.05], "within the spread over dev examples, so this data does not show"),
        ([0.95], [0.55], None, "one seed has no spread, so this data does not show"),
    ],
)
def test_no_winner_is_named_where_there_is_none(first: list[float], second: list[float], examples: list[float] | None, reason: str) -> None:
    text = conclusion(first, second, examples)
    assert reason in text and "beats" not in text


def test_seeds_that_only_one_has_do_not_count() -> None:
    difference = compare({1: 0.8, 2: 0.9}, {2: 0.7, 3: 0.1})
    assert difference is not None and difference["seeds"] == [2] and difference["mean"] == pytest.approx(0.2)
    assert outcome(difference) == "one" and compare({1: 0.5}, {2: 0.5}) is None


def test_the_interval_over_examples_is_that_of_the_mean_over_seeds(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    # Hard examples are hard for both: put side by side in another order, their difference would spread more.
    right = np.stack([rng.random(400) < 0.8] * 6).reshape(2, 3, 400)
    right[1] &= rng.random((3, 400)) < 0.9
    paths: list[list[Path]] = [[], []]
    for method in range(2):
        for seed in range(3):
            path = tmp_path / f"{method}-{seed}.jsonl"
            rows = [{"id": str(i), "label": "pos", "prediction": "pos" if ok else "neg"} for i, ok in enumerate(right[method, seed])]
            path.write_text("".join(json.dumps(row) + "\n" for row in (rows if method else rows[::-1])))
            paths[method].append(path)
    low, high = over_examples(paths[0], paths[1])
    each = right[0].mean(0) - right[1].mean(0)
    reach = 1.96 * each.std() / 400**0.5  # the normal approximation
    assert low == pytest.approx(each.mean() - reach, abs=0.006) and high == pytest.approx(each.mean() + reach, abs=0.006)


# ---- unlabelled reviews ----


def make_imdb(root: Path) -> Path:
    rng = np.random.default_rng(5)

    def write(folder: str, number: int, words: list[str]) -> None:
        place = root / "aclImdb" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}_{number % 10}.txt").write_text(" ".join(words) + " .<br /><br />The end is " + words[0] + " !", encoding="utf-8")

    for number in range(120):
        write("train/unsup", number, [WORDS[i] for i in rng.integers(0, len(WORDS), 30)])
    for half, count in (("train", 24), ("test", 20)):
        for label, sign in (("pos", ["good", "great", "brilliant"]), ("neg", ["bad", "terrible", "boring"])):
            for number in range(count):
                write(f"{half}/{label}", number, [*rng.permutation(sign).tolist(), *(WORDS[i] for i in rng.integers(0, len(WORDS), 5))])
    return root / "aclImdb"


def test_unlabelled_reviews_are_the_same_from_folder_and_archive(tmp_path: Path) -> None:
    folder = make_imdb(tmp_path)
    shutil.make_archive(str(tmp_path / "imdb"), "gztar", tmp_path, "aclImdb")
    reviews = read_unlabelled(folder)
    assert len(reviews) == 120 and reviews == read_unlabelled(tmp_path) == read_unlabelled(tmp_path / "imdb.tar.gz")
    assert reviews[7] == (folder / "train/unsup/7_7.txt").read_text()
    shutil.rmtree(folder / "train/unsup")
    with pytest.raises(UserError, match="no reviews under train/unsup"):
        read_unlabelled(folder)


def test_a_review_becomes_lines_and_stays_one_document() -> None:
    assert as_document('One. "Two" it said.<br /><br />  Mr. x  is three\n\nfour') == 'One.\n"Two" it said.\nMr. x is three four'


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_archive_has_50000(data_root: Path) -> None:
    reviews = read_unlabelled(data_root / "imdb" / "aclImdb_v1.tar.xz")
    assert len(reviews) == 50_000 and "<br" not in as_document(reviews[0])


# ---- whole runs ----


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path, tiny_vocab: Path) -> Path:
    """preset.toml, aclImdb, shards, SST-2."""
    root = tmp_path_factory.mktemp("ablation")
    (root / "preset.toml").write_text(PRESET)
    make_imdb(root)
    assert (
        main(["prepare", str(tiny_corpus), "--tokenizer", str(tiny_vocab), "--output", str(root / "shards"), "--workers", "1", "--held-out", "10%"])
        == 0
    )
    rng = np.random.default_rng(6)
    for name, count in (("train", 80), ("dev", 30)):
        rows = [f"a {'good' if label else 'bad'} {WORDS[rng.integers(0, len(WORDS))]} film\t{label}" for label in (i % 2 for i in range(count))]
        (root / "SST-2").mkdir(exist_ok=True)
        (root / "SST-2" / f"{name}.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    return root


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SECONDS", 0.05)
    monkeypatch.setattr(setup, "ROUNDS", 1)


def scratch(shop: Path, output: Path, *more: object) -> list[str]:
    words = ["ablate", "scratch", "--data", shop / "shards", "--task-data", shop / "SST-2", "--preset", shop / "preset.toml", "--output", output]
    return [str(word) for word in [*words, "--num-train-steps", 12, "--seeds", 2, "--points", 2, "--device", "cpu", *more]]


@pytest.fixture(scope="module")
def whole(shop: Path) -> Path:
    """A finished ablation from scratch."""
    patch = pytest.MonkeyPatch()
    patch.setattr(setup, "SECONDS", 0.05)
    patch.setattr(setup, "ROUNDS", 1)
    assert main(scratch(shop, shop / "whole")) == 0
    patch.undo()
    return shop / "whole"


def test_scratch_ends_with_results_table_and_picture(whole: Path) -> None:
    results = json.loads((whole / "results.json").read_text())
    plan = ablation_plan.read_plan(whole)
    assert plan is not None and results["finished"]
    assert list(results["runs"]) == ["electra", "mlm-flops", "mlm-seconds"] and list(results["starts"]) == ["random"]
    for name, run in results["runs"].items():
        assert run["whole"] and [point["score"]["seeds"] for point in run["points"]] == [[1, 2], [1, 2]]
        for point, values in enumerate(run["points"], 1):
            scores = [json.loads((whole / f"seed-{seed}" / f"{name}-point-{point}" / "scores.json").read_text()) for seed in (1, 2)]
            assert values["score"]["each"] == [score["scores"]["accuracy"]["mean"] for score in scores]
    assert set(results["baselines"]) == {"largest class", "TF-IDF"} and results["baselines"]["TF-IDF"] == 1.0
    assert (whole / "results.png").read_bytes().startswith(b"\x89PNG")
    table = (whole / "table.md").read_text()
    assert "| ELECTRA | " in table and "| BERT at equal FLOPs | " in table and "| no pre-training | " in table and "TF-IDF, no network" in table
    first, second, *_, last = results["sentences"]
    assert "at equal FLOPs" in first and "at equal time" in second and last.startswith("2 seeds") and "2 layers of width 16" in last
    assert all(sentence in table for sentence in results["sentences"])
    # Checkpoints that nothing needs are gone; what can be used stays.
    assert (whole / "seed-1/electra/final/model.safetensors").exists() and not list(whole.glob("seed-*/*/checkpoints"))


def test_recorded_flops_are_equal_within_a_step(whole: Path) -> None:
    plan = ablation_plan.read_plan(whole)
    assert plan is not None
    for seed in (1, 2):
        spent = {run.name: ablation_results.compute_at_points(whole / f"seed-{seed}" / run.name, run)[-1] for run in plan.runs}
        lines = read_metrics(whole / f"seed-{seed}" / "mlm-flops" / "metrics.jsonl")
        step = lines[-1]["flops"] / lines[-1]["step"]
        # Examples of the tiny corpus are not all of full length, which is what the plan counts.
        assert abs(spent["electra"]["flops"] - spent["mlm-flops"]["flops"]) < 1.5 * step
        assert spent["mlm-flops"]["flops"] == pytest.approx(lines[-1]["flops"])
        both = [read_metrics(whole / f"seed-{seed}" / "electra" / place / "metrics.jsonl")[-1] for place in ("mlm-first", ".")]
        assert spent["electra"]["tokens"] == both[1]["tokens"] > both[0]["tokens"]


def test_the_length_of_runs_of_equal_time_comes_from_recorded_seconds(whole: Path, tmp_path: Path) -> None:
    plan = ablation_plan.read_plan(whole)
    assert plan is not None and [run.settled for run in plan.runs] == [False, False, True]
    for name, stage_seconds in (("electra/mlm-first", 3.0), ("electra", 8.0), ("mlm-flops", 4.0)):
        place = tmp_path / "seed-1" / name
        (place / "final").mkdir(parents=True)
        lines = read_metrics(whole / "seed-1" / name / "metrics.jsonl")
        scale = stage_seconds / [line for line in lines if line["kind"] == "train"][-1]["seconds"]
        (place / "metrics.jsonl").write_text("".join(json.dumps({**line, "seconds": line["seconds"] * scale}) + "\n" for line in lines))
    methods = find_methods(settings_of("scratch", "--data", "x", "--preset", whole.parent / "preset.toml"))
    fresh = replace(plan, runs=tuple(replace(run, settled=False) for run in plan.runs))
    found = match_recorded_time(fresh, methods, tmp_path, 2)
    # ELECTRA took 8 seconds where BERT at equal FLOPs took 4: twice its steps take equally long.
    assert found.runs[:2] == plan.runs[:2] and found.runs[2].settled
    assert found.runs[2].num_steps == 2 * plan.runs[1].num_steps == found.runs[2].points[-1][1]
    assert match_recorded_time(found, methods, tmp_path, 2) == found
    assert match_recorded_time(fresh, methods, tmp_path / "none", 2) == fresh


def scores_of(output: Path) -> dict[str, Any]:
    out = {str(path.parent.relative_to(output)): json.loads(path.read_text())["scores"] for path in output.glob("seed-*/*/scores.json")}
    results = json.loads((output / "results.json").read_text())
    points = {name: [(p["flops"], p["tokens"], p["score"]["each"]) for p in run["points"]] for name, run in results["runs"].items()}
    weights = {str(path.relative_to(output)): path.read_bytes() for path in output.glob("seed-*/**/final/model.safetensors")}
    assert len(weights) == 8  # ELECTRA's two stages and two BERTs, of two seeds
    answers = {str(path.relative_to(output)): path.read_text() for path in output.glob("seed-*/*/predictions.jsonl")}
    return {"scores": out, "points": points, "weights": weights, "answers": answers}


def begin_like(shop: Path, whole: Path, output: Path) -> None:
    """An ablation with the sizes of another: its speeds were measured on another day."""
    output.mkdir()
    shutil.copy(whole / "plan.json", output / "plan.json")
    (output / "config.toml").write_text(config.to_toml(settings_of(*scratch(shop, output)[1:])))


def test_a_stopped_ablation_resumes_to_the_same_results(
    shop: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in a pre-training, in a fine-tuning, before a command, and once killed without a word."""
    from electra.train import loop

    output = tmp_path / "out"
    begin_like(shop, whole, output)
    update, call = loop.Run.update, command_runner.call
    place, calls = "", 0

    def update_and_stop(run: Any, signals: list[int]) -> bool:
        folder = str(run.log.folder)
        if place == "pre-training" and folder.endswith("seed-1/mlm-flops") and run.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        if place == "killed" and folder.endswith("seed-2/electra") and run.step == 4:
            raise KeyError("killed")
        if place == "fine-tuning" and "seed-2/electra-point-2" in folder and run.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return update(run, signals)

    def call_and_stop(*argv: object) -> str:
        nonlocal calls
        calls += 1
        if place == "between" and calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(*argv)

    monkeypatch.setattr(loop.Run, "update", update_and_stop)
    monkeypatch.setattr(command_runner, "call", call_and_stop)
    counts = []
    for place, number in (  # noqa: B007 - read by update_and_stop
        ("pre-training", signal.SIGTERM),
        ("between", signal.SIGTERM),
        ("killed", None),
        ("fine-tuning", signal.SIGINT),
    ):
        before = {path: path.stat().st_mtime_ns for path in output.glob("seed-*/*/scores.json")}
        calls = 0
        if number is None:
            with pytest.raises(KeyError, match="killed"):
                main(scratch(shop, output, "--resume"))
        else:
            assert main(scratch(shop, output, "--resume")) == 128 + number
            assert "the same command with --resume continues" in capsys.readouterr().err
        assert {path: path.stat().st_mtime_ns for path in before} == before
        counts.append(len(list(output.glob("seed-*/*/scores.json"))))
    assert 0 < counts[0] < counts[1] < counts[2] < counts[3] < 14
    place = ""
    assert main(scratch(shop, output, "--resume")) == 0
    assert scores_of(output) == scores_of(whole)


def test_it_resumes_from_another_folder(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to where the command is given; what is recorded and run has absolute ones."""
    from electra.recipes.ablation import run as ablation_run

    seen = []

    def list_and_stop(checked: setup.Checked, plan: ablation_plan.AblationPlan) -> ablation_plan.AblationPlan:
        seen.append([step.argv for step in ablation_run.list_steps(checked, plan)])
        raise KeyError("stopped")

    monkeypatch.setattr(ablation_run, "run_steps", list_and_stop)
    (shop / "tuning.toml").write_text('base = "paper"\nepochs = 1.0\n')
    records = []
    for folder, places in ((shop, Path()), (tmp_path, Path(os.path.relpath(shop, tmp_path)))):
        monkeypatch.chdir(folder)
        words = scratch(places, places / "moved", "--finetune-preset", f"{places / 'tuning.toml'}", *(["--resume"] if folder == tmp_path else []))
        with pytest.raises(KeyError, match="stopped"):
            main(["./preset.toml" if word == "preset.toml" else "./tuning.toml" if word == "tuning.toml" else word for word in words])
        records.append([(shop / "moved" / name).read_bytes() for name in ("config.toml", "plan.json")])
    assert seen[0] == seen[1] and records[0] == records[1]
    recorded = config.read_toml(shop / "moved" / "config.toml")
    assert [recorded[name] for name in ("data", "task_data", "preset", "finetune_preset", "output")] == [
        [str(shop / "shards")], [str(shop / "SST-2")], str(shop / "preset.toml"), str(shop / "tuning.toml"), str(shop / "moved")
    ]  # fmt: skip
    plan = ablation_plan.read_plan(shop / "moved")
    assert plan is not None and plan.finetune_preset == str(shop / "tuning.toml")


def test_an_ablation_recorded_with_relative_paths_resumes(shop: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions recorded them."""
    monkeypatch.chdir(shop)
    settings = settings_of(*scratch(Path("."), tmp_path / "old")[1:])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.toml").write_text(config.to_toml(settings))
    assert config.read_toml(tmp_path / "old" / "config.toml")["data"] == ["shards"]
    ablation_plan.check_same(ablation_plan.completed(settings))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="began with data"):
        ablation_plan.check_same(ablation_plan.completed(settings_of(*scratch(shop, tmp_path / "old")[1:])))


def test_more_seeds_come_later_with_the_same_sizes(shop: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "more")
    assert main([*scratch(shop, tmp_path / "more"), "--resume", "--seeds", "3", "--json"]) == 0
    results = json.loads((tmp_path / "more" / "results.json").read_text())
    assert results["runs"]["electra"]["points"][-1]["score"]["seeds"] == [1, 2, 3]
    assert (tmp_path / "more" / "plan.json").read_text() == (whole / "plan.json").read_text()


def test_imdb_from_random_weights_and_from_a_checkpoint(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data", shop / "aclImdb", "--preset", shop / "preset.toml", "--num-train-steps", 6, "--points", 1, "--seeds", 1, "--device", "cpu"]
    assert main([str(word) for word in ["ablate", "imdb", *common, "--output", tmp_path / "one", "--json"]]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["task"] == "imdb" and (results["num_train"], results["num_dev"]) == (48, 40) and list(results["starts"]) == ["random"]
    assert "one seed has no spread" in results["sentences"][0]
    text = (tmp_path / "one" / "text.txt").read_text()
    assert text.count("\n\n") == 120 and "<br" not in text
    # The labelled reviews are not part of it, the test half least of all.
    assert (shop / "aclImdb/test/pos/3_3.txt").read_text().split(" .<br")[0] not in text

    start = tmp_path / "one" / "seed-1" / "electra"
    assert main([str(word) for word in ["ablate", "imdb", *common, "--init", start, "--output", tmp_path / "two"]]) == 0
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert list(results["starts"]) == ["start"] and len(results["sentences"]) == 6
    assert not (tmp_path / "two" / "vocab").exists()
    used = config.read_toml(tmp_path / "two" / "seed-1" / "electra" / "config.toml")
    assert used["init"] == str(start) and used["objective"]["mlm_first"] == 0.0


def test_objectives_continue_from_an_encoder_on_two_tasks(shop: Path, tiny_vocab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A BERT without heads: ELECTRA's FLOPs include the warm-up of its generator, the others' are matched; each task has a table and a picture."""
    tokenizer = load_tokenizer(tiny_vocab)
    shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    hf_forms.make("BertModel", tmp_path / "encoder", vocab_size=tokenizer.vocab_size, max_position_embeddings=32, **shape)
    tokenizer.save(tmp_path / "encoder")
    output = tmp_path / "out"
    words = ["ablate", "imdb", "--data", shop / "aclImdb", "--init", tmp_path / "encoder", "--methods", "electra", "mlm", "clm-mlm"]
    words += ["--task", "imdb", "sst2", "--task-data", shop / "aclImdb", shop / "SST-2", "--match", "flops", "--max-train-examples", "16"]
    words += ["--num-train-steps", "14", "--points", "1", "--seeds", "1", "--device", "cpu", "--precision", "fp32", "--output", output]
    capsys.readouterr()
    assert main([*map(str, words), "--dry-run"]) == 0 and not output.exists()
    out = capsys.readouterr().out
    assert "causal, then masked LM at equal FLOPs" in out and "every fine-tuning on sst2: 16 training examples, 30 dev examples" in out
    assert main([*map(str, words)]) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["finished"] and list(results["by_task"]) == ["imdb", "sst2"]
    plan = ablation_plan.read_plan(output)
    assert plan is not None and [len(run.stage_steps) for run in plan.runs] == [2, 1, 2]
    for name, preset in (("electra", "continue"), ("mlm-flops", "continue-mlm"), ("clm-mlm-flops", "continue-clm")):
        assert config.read_toml(output / "seed-1" / name / "config.toml")["preset"] == preset
    assert config.read_toml(output / "seed-1" / "electra" / "config.toml")["model"]["generator_init"] == "encoder"
    for name in ("electra", "electra-point-1-imdb", "start-sst2"):
        assert config.read_toml(output / "seed-1" / name / "config.toml")["loop"]["precision"] == "fp32", "pre-trainings and fine-tunings"
    spent = {run.name: ablation_results.compute_at_points(output / "seed-1" / run.name, run)[-1]["flops"] for run in plan.runs}
    warm, whole = (read_metrics(output / "seed-1" / "electra" / place / "metrics.jsonl")[-1]["flops"] for place in ("mlm-first", "."))
    assert 0 < warm < whole == spent["electra"]
    step = max(spent["mlm-flops"] / plan.runs[1].num_steps, spent["clm-mlm-flops"] / plan.runs[2].num_steps)
    assert all(abs(value - whole) < 2 * step for value in spent.values())
    table = (output / "table.md").read_text()
    for task, found in results["by_task"].items():
        assert (output / f"results-{task}.png").exists() and f"# Ablation: imdb, then {task}" in table and list(found["starts"]) == ["start"]
        for name in ("electra", "clm-mlm-flops"):
            scores = json.loads((output / "seed-1" / f"{name}-point-1-{task}" / "scores.json").read_text())
            assert found["runs"][name]["points"][0]["score"]["each"] == [scores["scores"]["accuracy"]["mean"]]
        assert "causal, then masked LM" in " ".join(found["sentences"])
        pairs = {(each["first"], each["second"]) for each in found["comparisons"]}
        assert pairs >= {("clm-mlm-flops", "mlm-flops"), ("electra", "start"), ("clm-mlm-flops", "start")}
    means = {each["second"]: each["difference"]["mean"] for each in results["mean"]["comparisons"] if each["first"] == "electra"}
    for second, mean in means.items():
        pair = [found["comparisons"] for found in results["by_task"].values()]
        each = [next(row for row in rows if (row["first"], row["second"]) == ("electra", second))["difference"]["mean"] for rows in pair]
        assert mean == pytest.approx(sum(each) / 2)
    assert set(means) == {"mlm-flops", "clm-mlm-flops", "start"} and "score, the mean over imdb, sst2 against" in table
    capsys.readouterr()
    assert main(["inspect", str(output), "--json"]) == 0
    assert {"imdb electra", "sst2 clm-mlm-flops"} <= json.loads(capsys.readouterr().out)["scores"].keys()


def test_the_last_words_name_what_made_the_checkpoint_better() -> None:
    def against(first: str, second: str, *differences: float) -> dict[str, Any]:
        return {"first": first, "second": second, "difference": compare(dict(enumerate(differences)), dict.fromkeys(range(3), 0.0))}

    results: dict[str, Any] = {"task": "sst2", "runs": {name: {"title": name.upper()} for name in ("a", "b", "c")}}
    results["comparisons"] = [against("a", "b", 0.1, 0.11, 0.12), against("a", "start", 0.01, -0.01, 0.0)]
    assert ablation_results.gains(results) == ["Better on sst2 than the initial checkpoint: none of these pre-trainings."]
    results["comparisons"] += [against("b", "start", 0.1, 0.11, 0.12), against("c", "start-mlm", -0.1, -0.11, -0.12)]
    assert ablation_results.gains(results) == ["Better on sst2 than the initial checkpoint: B; worse: C."]
    results["comparisons"] = [against("a", "start", 0.1)]
    assert ablation_results.gains(results) == []


def test_no_point_is_in_the_warm_up_of_a_generator() -> None:
    costs = [PhaseCost(share=0.5, flops=1.0, seconds=1.0, trains_encoder=False), PhaseCost(share=0.5, flops=1.0, seconds=1.0)]
    assert ablation_plan.spread_points(costs, (100, 100), 4) == ((1, 1), (1, 1), (1, 50), (1, 100))


def test_a_plan_of_an_earlier_version_is_read(whole: Path, tmp_path: Path) -> None:
    values = json.loads((whole / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(values | values.pop("tasks")[0]))
    assert ablation_plan.read_plan(tmp_path) == ablation_plan.read_plan(whole)


def test_a_dry_run_writes_nothing(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = scratch(shop, tmp_path / "out", "--dry-run")
    words[words.index("--num-train-steps") : words.index("--num-train-steps") + 2] = ["--budget", "10m"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "ELECTRA" in out and "BERT at equal time" in out and "PFLOP" in out and "of 10 min 00 s" in out
    assert not (tmp_path / "out").exists()


# ---- bad input ----


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("scratch --output {out}", "no data: give --data SHARDS"),
        ("imdb --output {out}", "give --data aclImdb"),
        ("imagenet --output {out}", "imagenet"),
        ("scratch --data {shop}/none --task-data {shop}/SST-2 --output {out}", "not found"),
        ("imdb --data {shop}/none --output {out}", "the IMDb folder or archive not found"),
        ("imdb --data {shop}/SST-2 --output {out}", "no reviews under"),
        ("imdb --data {shop}/aclImdb {shop}/SST-2 --output {out}", "imdb takes one"),
        ("scratch --data {shop}/shards --output {out}", "give --task-data DIR"),
        ("scratch --data {shop}/shards --task-data {shop}/none --output {out}", "not found"),
        ("scratch --data {shop}/shards --task sst3 --task-data {shop}/SST-2 --output {out}", "did you mean 'sst2'"),
        ("scratch --data {shop}/shards --task sst2 cola --task-data {shop}/SST-2 --output {out}", "1 folder for the tasks sst2, cola"),
        ("scratch --data {shop}/shards --task sst2 sst2 --task-data {shop}/SST-2 {shop}/SST-2 --output {out}", "give each task once"),
        ("scratch --data {shop}/shards --task stsb --task-data {shop}/SST-2 --output {out}", "has no column 'sentence2'"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --methods electra mml", "did you mean 'mlm'"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --methods electra", "two or more"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --match flop", "did you mean 'flops'"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --preset minni", "did you mean 'mini'"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --preset mini-mlm", "give ELECTRA's preset"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --budget long", "expected a duration"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --budget 0s", "--budget 0: expected above 0"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --preset {shop}/preset.toml --budget 2s", "is too short for 3 seeds"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --seeds 0", "--seeds 0: expected at least 1"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --points 0", "--points 0"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --num-train-steps 3", "--num-train-steps 3"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --init {shop}/whole", "leave it out"),
        ("imdb --data {shop}/aclImdb --output {out} --init {shop}/SST-2", "is not a checkpoint"),
        ("imdb --data {shop}/aclImdb --output {out} --init-mlm {shop}/SST-2", "--init-mlm needs --init"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {shop}/SST-2", "already exists"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --resume", "holds no ablation"),
        ("scratch --data {shop}/shards --task-data {shop}/SST-2 --output {out} --sedes 3", "did you mean '--seeds'"),
    ],
)
def test_bad_input_is_reported_in_one_line(words: str, says: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", *words.format(shop=shop, out=tmp_path / "out").split()]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("electra: ") and says in err, err
    assert not (tmp_path / "out").exists()
    if "too short" not in says:
        assert len(err.splitlines()) == 1


def test_a_budget_too_short_for_reviews_keeps_their_shards(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Making them took time: a longer budget uses them."""
    words = ["ablate", "imdb", "--data", shop / "aclImdb", "--preset", shop / "preset.toml", "--output", tmp_path / "out"]
    assert main([*map(str, words), "--budget", "2s"]) == 2
    assert "too short" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("shards/manifest.json"))
    assert main([*map(str, words), "--resume", "--budget", "2s"]) == 2 and list((tmp_path / "out").glob("shards/manifest.json"))


def test_another_ablation_is_not_resumed(shop: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole / "results.json").read_bytes()
    assert main([*scratch(shop, whole), "--resume", "--points", "3"]) == 2
    assert "began with points = 2, now it is 3" in capsys.readouterr().err
    assert main(scratch(shop, whole)) == 2
    assert "continue with --resume" in capsys.readouterr().err
    assert (whole / "results.json").read_bytes() == before

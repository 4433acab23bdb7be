"""`electra evaluate` measures a run as the run did; the metrics are complete; what is recorded covers all phases of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pretraining_runs import TINY, pretrain, shards  # noqa: F401

from electra import config, evaluate
from electra.cli import main
from electra.commands import plot
from electra.contracts import Loss, StepOutput
from electra.data.shards import open_shards
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.model import flops
from electra.settings import PretrainSettings
from electra.settings.pretrain import all_phases
from electra.train.evaluation import Sums, scores_of
from electra.train.run_log import read_metrics, run_metrics

NINE = {"masked_lm_loss", "masked_lm_accuracy", "sampled_masked_lm_accuracy", "disc_loss", "disc_accuracy", "disc_auc", "disc_precision"}
NINE |= {"disc_recall", "loss"}
"""The metrics of the Chinese seed's README."""
AXES = {"step", "tokens", "seconds", "flops", "kind", "phase", "phase_step"}
ELECTRA = "--mlm-first 0 --num-train-steps 2"
RUNS = {
    "mini": "--mask-prob 0.3 --generator-weight 2",
    "sampling": f"{ELECTRA} --mask-prob 0.25 --temperature 0.5 --disallow-correct --mask-token-prob 0.5 --disc-weight 7 --single-segment-prob 0.9",
    "schedule": f"{ELECTRA} --mask-frequency-power 0.5 --temperature-end 0.3 --sequence-length 24",
    "words": f"{ELECTRA} --mask-unit word --objective electra-masked",
    "uniform": f"{ELECTRA} --generator uniform --precision bf16",
    "electric": f"{ELECTRA} --objective electric --generator two-tower",
    "all-tokens-mlm": f"{ELECTRA} --objective all-tokens-mlm",
    "clm": f"{ELECTRA} --objective clm",
}


def last_evaluation(run: Path) -> dict[str, float]:
    line = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "evaluation"][-1]
    return {name: value for name, value in line.items() if name not in AXES}


@pytest.fixture(scope="module")
def mini(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    run = tmp_path_factory.mktemp("mini") / "run"
    assert pretrain("mini", shards, run, *RUNS["mini"].split()) == 0
    return run


@pytest.mark.parametrize("name", RUNS)
def test_evaluate_repeats_the_run(name: str, mini: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    run = mini if name == "mini" else tmp_path / "run"
    assert run is mini or pretrain("mini", shards, run, *RUNS[name].split()) == 0
    expected = last_evaluation(run)
    assert set(expected) >= NINE or "lm" in name
    capsys.readouterr()
    # Of the run, its data included; of the model; of a copy elsewhere, which knows nothing of the run's folder.
    copy = shutil.copytree(run / "final", tmp_path / "copy")
    for words in ([run], [run / "final", "--data", shards], [copy, "--data", shards]):
        if name == "all-tokens-mlm" and words[0] == copy:
            assert main(["evaluate", *map(str, words)]) == 2 and "the copy head" in capsys.readouterr().err
            continue
        assert main(["evaluate", *map(str, words), "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == pytest.approx(expected, abs=1e-6, rel=2e-7)
        assert "as its run evaluated itself" in printed.err


def test_runs_without_a_record_are_measured_by_their_settings(mini: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Runs of earlier versions have no record in config.json; someone else's checkpoint has neither, and gets the paper's masking."""
    run = shutil.copytree(mini, tmp_path / "run")
    for folder in (run / "final", run / "final" / "generator"):
        values = json.loads((folder / "config.json").read_text())
        del values["electra_pretraining"]
        (folder / "config.json").write_text(json.dumps(values))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert dict(evaluate(run).metrics) == pytest.approx(last_evaluation(mini), abs=1e-6, rel=2e-7)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}, "a run is measured, and left as it is"
    capsys.readouterr()
    lone = shutil.copytree(run / "final", tmp_path / "lone")
    assert main(["evaluate", str(lone), "--data", str(shards)]) == 0
    assert "masking: 15% of the tokens; at most 2,000 held-out examples" in (error := capsys.readouterr().err) and "the paper's masking" in error
    assert main(["evaluate", str(lone)]) == 2 and "nothing to measure on" in capsys.readouterr().err


def test_flags_come_before_the_record(mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(mini), "--num-examples", "5", "--seed", "3", "--sequence-length", "16"]) == 0
    printed = capsys.readouterr()
    assert "at most 5 held-out examples of up to 16 tokens, seed 3" in printed.err
    assert {line.split()[0] for line in printed.out.splitlines()} >= NINE
    values = json.loads((mini / "final" / "config.json").read_text())["electra_pretraining"]
    values["objective"]["mask_prob"] = 3
    broken = shutil.copytree(mini / "final", mini.parent / "broken")
    (broken / "config.json").write_text(json.dumps(json.loads((broken / "config.json").read_text()) | {"electra_pretraining": values}))
    with pytest.raises(UserError, match=r"electra_pretraining\.objective"):
        evaluate(broken, data=str(mini))


def test_metrics_of_nothing_are_zero_and_an_area_of_one_class_is_chance() -> None:
    sums, zero = Sums(), torch.zeros(())
    for _ in range(2):
        loss = Loss(total=torch.ones(()), count=4, weight=50.0)
        sums.add(StepOutput(losses={"disc_loss": loss}, metrics={"disc_precision": (zero, zero), "disc_recall": (zero, zero)}))
    assert sums.read() == {"disc_loss": 0.25, "disc_precision": 0.0, "disc_recall": 0.0, "loss": 12.5}
    assert scores_of([("disc_auc", torch.arange(3.0), torch.zeros(3))]) == {"disc_auc": 0.5}


# ---- all phases ----


def test_what_is_recorded_covers_both_phases(mini: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    settings: PretrainSettings = config.build(PretrainSettings, config.read_toml(mini / "config.toml") | {"output": str(mini)})
    vocab_size = load_tokenizer(open_shards(shards).tokenizer_path).vocab_size
    first = read_metrics(mini / "mlm-first" / "metrics.jsonl")
    lines = read_metrics(mini / "metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 9))
    for axis in ("step", "tokens", "seconds", "flops"):
        values = [line[axis] for line in lines]
        assert values == sorted(values) and values[0] > 0
    # By hand: each phase's tokens times its FLOPs per token.
    each = [flops.per_token(phase.model, phase.objective, vocab_size, 32) for phase in all_phases(settings)]
    tokens = [first[-1]["tokens"], lines[-1]["tokens"] - first[-1]["tokens"]]
    assert tokens[0] > 0 and tokens[1] > 0 and each[0] != each[1]
    assert lines[-1]["flops"] == pytest.approx(each[0] * tokens[0] + each[1] * tokens[1])
    assert main(["inspect", str(mini), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["tokens"], found["flops"]) == (8, sum(tokens), pytest.approx(lines[-1]["flops"]))
    for name, count, cost in (("mlm_first", tokens[0], each[0]), ("training", tokens[1], each[1])):
        assert found[name]["tokens"] == count and found[name]["step"] == 4
        assert found[name]["flops"] == pytest.approx(cost * count) and found[name]["flops_in_all"] == pytest.approx(cost * 4 * 4 * 32)
    assert found["all_phases"]["flops_in_all"] == pytest.approx(sum(each) * 4 * 4 * 32)
    assert found["all_phases"]["tokens"] == sum(tokens) and found["all_phases"]["step"] == 8
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(mini / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/masked_lm_loss")] == list(range(1, 9))
    assert {tag.partition("/")[2] for tag in events.Tags()["scalars"] if tag.startswith("evaluation/")} >= NINE
    assert plot.curve(plot.read(mini), "train", "masked_lm_loss", "tokens")[0][-1] == sum(tokens)
    assert set(plot.choose({"run": plot.read(mini)}, ())) >= NINE and not set(plot.choose({"run": plot.read(mini)}, ())) & AXES


def test_a_resumed_run_stays_continuous(mini: Path, tmp_path: Path) -> None:
    """A run that was killed in its second phase, also one whose lines an earlier version wrote by phase."""
    expected = [{key: value for key, value in line.items() if "second" not in key} for line in read_metrics(mini / "metrics.jsonl")]

    def timeless(run: Path) -> list[dict[str, Any]]:
        return [{key: value for key, value in line.items() if "second" not in key} for line in read_metrics(run / "metrics.jsonl")]

    for layout in ("new", "old"):
        run = shutil.copytree(mini, tmp_path / layout)
        shutil.rmtree(run / "final")
        for newest in ("step-00000004", "step-00000003"):
            shutil.rmtree(run / "checkpoints" / newest, ignore_errors=True)
        lines = read_metrics(run / "metrics.jsonl")
        if layout == "old":
            before = read_metrics(run / "mlm-first" / "metrics.jsonl")[-1]
            lines = [line for line in lines if line.get("phase") == "training"]
            for line in lines:
                line |= {axis: line[axis] - before[axis] for axis in ("step", "tokens", "seconds", "flops")}
                del line["phase"], line["phase_step"]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert [line["step"] for line in run_metrics(run)] == [line["step"] for line in expected]
        assert main(["pretrain", "--resume", str(run)]) == 0
        assert timeless(run) == [pytest.approx(line) if layout == "new" else {**line, "flops": pytest.approx(line["flops"])} for line in expected]

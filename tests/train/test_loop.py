"""The loop against a plain one written here, its arithmetic over microbatches and ranks, and how it ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from toy_training import ToyObjective, ToyStream, make_batch, run_toy, save_toy

from electra.errors import UserError
from electra.settings import LoopSettings, OptimizerSettings
from electra.train import checkpoint, loop
from electra.train import optimizer as optimizer_module
from electra.train.distributed import choose_device
from electra.train.evaluation import area_by_group, area_under_curve, average_precision, evaluate
from electra.train.loop import Run
from electra.train.optimizer import learning_rate
from electra.train.run_log import RunLog, read_metrics


def test_it_is_the_plain_loop(tmp_path: Path) -> None:
    """Ten steps against the straightforward loop: mean losses, clip_grad_norm_, the original's Adam spelled out."""
    _, trained = run_toy(tmp_path, steps=10, dropout=0.0)
    plain = ToyObjective()
    stream, moments = ToyStream(4), {}
    for step in range(1, 11):
        output = plain(next(stream))
        loss = sum(part.weight * part.total / part.count for part in output.losses.values())
        plain.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        rate = 0.01 * (1 - step / 10) * min(1, step / 4)
        for name, parameter in plain.named_parameters():
            first, second = moments.get(name, (0.0, 0.0))
            moments[name] = first, second = 0.9 * first + 0.1 * parameter.grad, 0.999 * second + 0.001 * parameter.grad**2
            decay = 0.01 if parameter.ndim > 1 else 0.0
            parameter.data -= rate * (first / (second.sqrt() + 1e-6) + decay * parameter.data)
    torch.testing.assert_close(trained.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-6)


def test_accumulated_microbatches_are_one_batch(tmp_path: Path) -> None:
    _, whole = run_toy(tmp_path / "a", steps=12, batch_size=8, dropout=0.0)
    _, parts = run_toy(tmp_path / "b", steps=12, batch_size=2, accumulation=4, dropout=0.0)
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-4, atol=1e-6)
    logs = [[line for line in read_metrics(tmp_path / run / "metrics.jsonl") if line["kind"] == "train"] for run in "ab"]
    for a, b in zip(*logs, strict=True):
        for name in ("loss", "token_loss", "row_loss", "accuracy", "grad_norm", "tokens"):
            assert a[name] == pytest.approx(b[name], rel=1e-4)


def test_it_learns_and_records(tmp_path: Path) -> None:
    result, objective = run_toy(tmp_path, steps=60, batch_size=16, dropout=0.0)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < losses[0] * 0.8
    assert result.tokens == lines[-1]["tokens"] == sum(batch.num_tokens for batch in itertools.islice(ToyStream(16), 60))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert {"accuracy", "learning_rate", "tokens_per_second", "grad_norm"} <= lines[0].keys()
    final = load_file(tmp_path / "final" / "model.safetensors")
    assert all(torch.equal(final[name], parameter) for name, parameter in objective.named_parameters())
    assert not result.stopped and result.signal is None


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not finite at step 12; the last good checkpoint is .*step-00000010"):
        run_toy(tmp_path, bad_step=12, dropout=0.0)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000005", "step-00000010"]
    assert max(line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")) == 10
    with pytest.raises(UserError, match="no checkpoint was written yet"):
        run_toy(tmp_path / "early", bad_step=1)


def test_bf16_on_a_cpu_trains(tmp_path: Path) -> None:
    _, objective = run_toy(tmp_path, steps=10, precision="bf16")
    assert objective.head.weight.dtype == torch.float32
    assert all(torch.isfinite(parameter).all() for parameter in objective.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": None}, "give --num-train-steps, --num-train-tokens or --budget"),
        ({"steps": 0}, "--num-train-steps 0: expected at least 1"),
        ({"steps": 3, "budget": 1.0}, "give one of them"),
        ({"steps": None, "num_train_tokens": 9, "budget": 1.0}, "both num_train_tokens and budget are set"),
        ({"steps": None, "num_train_tokens": 0}, "--num-train-tokens 0: expected at least 1"),
    ],
)
def test_the_length_of_the_run_is_given_exactly_once(tmp_path: Path, values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_toy(tmp_path, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "step"), [(600.0, 0.5), (3600.0, 0.08), (60.0, 0.2)])
@pytest.mark.parametrize("intervals", [{}, {"evaluate_every": 7}, {"checkpoint_every": 11, "evaluate_every": 5}])
def test_a_budget_is_used_up_and_not_exceeded(seconds: float, step: float, intervals: dict[str, int]) -> None:
    """With the number of steps that comes out, steps, evaluations and checkpoints take 96% to 100% of the time."""
    evaluation, saving = 0.01 * seconds / 10, 0.02 * seconds / 20
    found = loop.fit_length(seconds, step, evaluation, saving, LoopSettings(**intervals))
    evaluations = found.num_steps / intervals["evaluate_every"] if "evaluate_every" in intervals else 10
    saves = found.num_steps / intervals["checkpoint_every"] if "checkpoint_every" in intervals else 20
    if not intervals:
        assert (found.num_evaluations, found.num_checkpoints) == (10, 20)
    assert 0.96 * seconds <= found.num_steps * step + evaluations * evaluation + saves * saving <= seconds


def test_a_short_budget_evaluates_and_saves_less_often() -> None:
    """One minute; the usual ten evaluations and twenty checkpoints would take two."""
    found = loop.fit_length(60.0, 0.1, 4.0, 4.0, LoopSettings())
    assert found.num_evaluations == 1 and found.num_checkpoints == 2
    assert found.num_steps == int((0.98 * 60 - 12) / 0.1)


def test_a_budget_too_short_to_train_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "trial_seconds", lambda *_: [0.5])
    with pytest.raises(UserError, match=r"the budget of 1 s is too short to train: a step takes 0\.5 s, .*; give at least \d+ s"):
        run_toy(tmp_path, steps=None, budget=1.0)


@pytest.mark.parametrize("length", [{"steps": 30}, {"steps": None, "num_train_tokens": 600}])
def test_a_resumed_run_can_be_extended(length: dict[str, int | None], tmp_path: Path) -> None:
    """The schedule follows the new length from the current step on; without a new length nothing changes."""
    first, _ = run_toy(tmp_path, steps=20)
    assert first.step == 20
    again, _ = run_toy(tmp_path, steps=20, go_on=True)
    assert again.step == again.num_steps == 20
    longer, _ = run_toy(tmp_path, **length, go_on=True)  # type: ignore[arg-type]
    assert longer.step == longer.num_steps == pytest.approx(30, abs=2)
    rates = {line["step"]: line["learning_rate"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "train"}
    assert rates[24] == pytest.approx(learning_rate(OptimizerSettings(learning_rate=0.01, warmup_steps=4), 24, longer.num_steps))
    with pytest.raises(UserError, match=r"num_train_steps 5 is 5 steps, but the run is at step \d+ already; give more"):
        run_toy(tmp_path, steps=5, go_on=True)


def test_fp16_skips_steps_that_overflow_and_resumes_bit_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale far too large at first: the steps that overflow are left out and counted, and a run stopped in between ends with the same bits."""
    monkeypatch.setattr(optimizer_module.LossScale, "FIRST", 2.0**40)
    _, whole = run_toy(tmp_path / "whole", steps=60, precision="fp16")
    lines = [line for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if line["kind"] == "train"]
    skipped = lines[-1]["skipped_steps"]
    assert 5 < skipped < 40 and lines[-1]["loss_scale"] == 2.0 ** (40 - skipped) and np.isfinite([line["grad_norm"] for line in lines]).all()
    assert lines[-1]["loss"] < lines[0]["loss"]
    run_toy(tmp_path / "parts", steps=60, precision="fp16", stop_at=4 * 9)
    result, parts = run_toy(tmp_path / "parts", steps=60, precision="fp16", go_on=True)
    assert result.step == 60 and all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    _, plain = run_toy(tmp_path / "plain", steps=60)
    assert not torch.equal(plain.out.weight, whole.out.weight)


def test_a_device_that_is_not_here_is_refused(tmp_path: Path) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    objective = ToyObjective()
    for name in ("mps", "warp", "cuda:99"):
        with pytest.raises(UserError, match=f"device '{name}' is not available: .*; use 'auto' or 'cpu'"):
            choose_device(name)
    with pytest.raises(UserError, match="device 'mps' is not available"):
        settings = LoopSettings(num_train_steps=1, device="mps")
        Run(
            objective=objective,
            stream=ToyStream(2),
            settings=settings,
            optimizer=OptimizerSettings(),
            log=RunLog(tmp_path),
            save=lambda folder: save_toy(objective, folder),
        )


# ---- evaluation ----


@pytest.mark.parametrize("seed", range(4))
def test_area_under_curve_equals_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 500)
    scores = random.normal(size=500) + labels
    for values in (scores, np.round(scores), np.where(labels == 0, -np.inf, np.round(scores, 1)), np.zeros(500)):
        finite = np.where(np.isinf(values), -1e9, values)
        assert area_under_curve(values, labels) == pytest.approx(roc_auc_score(labels, finite))
        assert average_precision(values, labels) == pytest.approx(average_precision_score(labels, finite))
    assert np.isnan(area_under_curve([1.0, 2.0], [1, 1])) and np.isnan(average_precision([1.0, 2.0], [0, 0]))


def test_the_areas_variance_is_delongs_and_a_bootstraps() -> None:
    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(150), random.integers(1, 9, 150))
    shared = random.normal(size=150)[groups]
    labels = random.random(len(groups)) < 0.3
    one, other = (labels + shared + random.normal(size=len(groups)) * width for width in (1.0, 2.0))
    parts = area_by_group(one, labels, groups) - area_by_group(other, labels, groups)
    error = np.sqrt(150 / 149 * (parts**2).sum())
    samples = []
    for _ in range(300):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in random.integers(0, 150, 150)])
        samples.append(roc_auc_score(labels[rows], one[rows]) - roc_auc_score(labels[rows], other[rows]))
    assert error == pytest.approx(np.std(samples), rel=0.15)
    # Each word its own group: DeLong's variance, by its definition.
    above = (one[labels][:, None] > one[~labels]).astype(float)
    wanted = above.mean(1).var(ddof=1) / labels.sum() + above.mean(0).var(ddof=1) / (~labels).sum()
    alone = area_by_group(one, labels, np.arange(len(labels)))
    assert (alone**2).sum() == pytest.approx(wanted, rel=0.02) and abs(alone.sum()) < 1e-12


def test_evaluation_equals_scikit_learn_over_all_batches() -> None:
    objective = ToyObjective(dropout=0.5).train()
    batches = [make_batch(range(0, 5)), make_batch(range(5, 40)), make_batch(range(40, 42))]
    got = evaluate(objective, batches)
    assert objective.training
    with torch.no_grad():
        outputs = [objective.eval()(batch) for batch in batches]
    scores = torch.cat([output.scores["auc"][0] for output in outputs]).numpy()
    labels = torch.cat([output.scores["auc"][1] for output in outputs]).numpy()
    assert got["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert got["row_loss"] == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-scores))), rel=1e-4)
    assert got["accuracy"] == pytest.approx(((scores > 0) == labels).mean())
    assert got["loss"] == pytest.approx(got["token_loss"] + 5 * got["row_loss"])

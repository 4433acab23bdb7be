"""Several ranks against one: copies (DDP) and parts (FSDP2) of the model, sharded checkpoints, other numbers of ranks, a rank lost."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import ToyStream, run_ranks, run_toy, tiny_electra

from electra.cli import main
from electra.contracts import Features
from electra.data.task_batches import FeatureStream
from electra.errors import UserError
from electra.pretraining.setup import after_restart
from electra.settings import DataSettings, LoopSettings, OptimizerSettings, PretrainSettings
from electra.train import checkpoint, distributed
from electra.train.optimizer import Adam
from electra.train.run_log import read_metrics, write_settings

STEPS = 12
# What 2 ranks make of the examples that one takes at a time: a copy of the model on each, or a part of it.
WAYS = {
    "ddp": {"batch_size": 4},
    "fsdp": {"batch_size": 4, "parallel": "fsdp"},
    "one batch for all": {"batch_size": 3, "total_batch_size": 8},
    "fsdp in two microbatches, recomputed": {"batch_size": 2, "accumulation": 2, "parallel": "fsdp", "activation_checkpointing": True},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others have to equal: one rank, eight examples at a time."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    run_toy(folder, steps=STEPS, batch_size=8, dropout=0.0, electra={})
    return folder


def assert_equal(one: Path, two: Path) -> None:
    """Weights and logged sums of two runs, to rounding."""
    torch.testing.assert_close(*(load_file(path / "final" / "model.safetensors") for path in (one, two)), rtol=2e-4, atol=2e-6)
    logs = [{line["step"]: line for line in read_metrics(path / "metrics.jsonl") if line["kind"] == "train"} for path in (one, two)]
    states = [[line["states"] for line in read_metrics(path / "metrics.jsonl") if "states" in line][-1] for path in (one, two)]
    assert states[0] == pytest.approx(states[1], rel=1e-3)
    shared = logs[0].keys() & logs[1].keys()
    assert STEPS in shared
    for step in shared:
        mine, theirs = (log[step] for log in logs)
        assert mine["tokens"] == theirs["tokens"]
        if step == STEPS or len(logs[0]) == len(logs[1]):
            for name in ("loss", "masked_lm_loss", "disc_loss", "disc_accuracy", "grad_norm"):
                assert mine[name] == pytest.approx(theirs[name], rel=1e-4), (step, name)


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_are_one_rank_with_twice_the_batch(alone: Path, way: str, tmp_path: Path) -> None:
    assert run_ranks(2, tmp_path / "run", steps=STEPS, dropout=0.0, electra={}, **WAYS[way]) == [0, 0]
    assert_equal(alone, tmp_path / "run")


def test_a_generator_with_a_separate_optimizer_is_sharded_as_well(tmp_path: Path) -> None:
    values = {"steps": STEPS, "dropout": 0.0, "electra": {}, "generator_rate": 0.03}
    run_toy(tmp_path / "alone", batch_size=8, **values)
    assert run_ranks(2, tmp_path / "run", batch_size=4, parallel="fsdp", **values) == [0, 0]
    assert_equal(tmp_path / "alone", tmp_path / "run")


OBJECTIVES = {
    "one encoder for both": {"generator": "shared", "embedding_size": 12},
    "embeddings and what is added to them": {"embedding_sharing": "disentangled"},
    "electric": {"objective": "electric", "generator": "two-tower"},
    "every token, in chunks": {"objective": "all-tokens-mlm"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_objectives_whose_networks_share_more_are_sharded_as_well(kind: str, tmp_path: Path) -> None:
    common = {"steps": 6, "dropout": 0.0, "electra": OBJECTIVES[kind]}
    run_toy(tmp_path / "one", batch_size=8, **common)
    assert run_ranks(2, tmp_path / "two", batch_size=4, parallel="fsdp", activation_checkpointing=True, **common) == [0, 0]
    torch.testing.assert_close(*(load_file(tmp_path / run / "final" / "model.safetensors") for run in ("one", "two")), rtol=2e-4, atol=2e-6)


def test_sharded_bf16_keeps_whole_precision_in_what_it_stores(alone: Path, tmp_path: Path) -> None:
    assert run_ranks(2, tmp_path / "run", steps=STEPS, dropout=0.0, electra={}, parallel="fsdp", precision="bf16") == [0, 0]
    weights, wanted = (load_file(path / "final" / "model.safetensors") for path in (tmp_path / "run", alone))
    assert all(value.dtype == torch.float32 for value in weights.values())
    word = next(value for name, value in weights.items() if name.endswith("word.weight"))
    assert not torch.equal(word, word.bfloat16().float())
    assert all((value - wanted[name]).abs().mean() < 0.02 for name, value in weights.items())


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_from_two_ranks_to_one_to_two(alone: Path, parallel: str, tmp_path: Path) -> None:
    """Stopped after steps 4 and 8; the examples of every update stay the same ones. A sharded run's one rank writes whole files."""
    folder = tmp_path / "run"
    common = {"steps": STEPS, "dropout": 0.0, "electra": {}, "batch_size": 4, "parallel": parallel}
    assert run_ranks(2, folder, stop_at=3 * 8, **common) == [143, 143]
    parts = sorted(path.name for path in (folder / "checkpoints" / "step-00000004" / "training").glob("shard-*"))
    assert len(parts) == (2 if parallel == "fsdp" else 0)
    stopped, _ = run_toy(folder, go_on=True, stop_at=7 * 8, **common)
    assert stopped.stopped and stopped.step == 8
    assert {path.name for path in (stopped.checkpoint / "training").iterdir()} == {"weights.safetensors", "optimizer.safetensors", "state.json"}
    assert run_ranks(2, folder, go_on=True, **common) == [0, 0]
    assert_equal(alone, folder)


def test_a_sharded_run_goes_on_in_another_precision(tmp_path: Path) -> None:
    """In fp16 and from it: the scale of its loss begins anew, or is not needed."""
    folder, common = tmp_path / "run", {"steps": STEPS, "dropout": 0.0, "electra": {}, "batch_size": 4, "parallel": "fsdp"}
    assert run_ranks(2, folder, stop_at=3 * 8, **common) == [143, 143]
    assert run_ranks(2, folder, go_on=True, stop_at=7 * 8, precision="fp16", **common) == [143, 143]
    assert run_ranks(2, folder, go_on=True, **common) == [0, 0]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_bf16_moments_on_two_ranks_resume_bit_exactly(alone: Path, parallel: str, tmp_path: Path) -> None:
    """They are stored in bf16; the run learns as with fp32 moments, to what bf16 resolves."""
    common = {"steps": STEPS, "dropout": 0.0, "electra": {}, "batch_size": 4, "parallel": parallel, "moments": "bf16"}
    assert run_ranks(2, tmp_path / "whole", **common) == [0, 0]
    assert run_ranks(2, tmp_path / "run", stop_at=3 * 8, **common) == [143, 143]
    stored = [load_file(path) for path in (tmp_path / "run" / "checkpoints" / "step-00000004" / "training").glob("*.safetensors")]
    moments = {value.dtype for part in stored for name, value in part.items() if "exp_avg" in name}
    assert moments == {torch.bfloat16}
    assert run_ranks(2, tmp_path / "run", go_on=True, **common) == [0, 0]
    whole, resumed, fp32 = (load_file(folder / "final" / "model.safetensors") for folder in (tmp_path / "whole", tmp_path / "run", alone))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], fp32[name]) for name in whole)
    torch.testing.assert_close(whole, fp32, rtol=0.05, atol=0.01)


def test_a_rank_killed_while_writing_its_part_leaves_no_checkpoint(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    common = {"steps": STEPS, "dropout": 0.0, "electra": {}, "batch_size": 4, "parallel": "fsdp"}
    first, second = run_ranks(2, folder, kill_in_checkpoint=10, **common)
    assert first == -signal.SIGKILL and second != 0
    assert [path.name for path in checkpoint.checkpoints(folder)] == ["step-00000005"]
    assert any(path.suffix == ".part" for path in (folder / "checkpoints").iterdir())
    assert run_ranks(2, folder, go_on=True, **common) == [0, 0]
    assert_equal(alone, folder)
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]


def test_ranks_of_one_start_never_meet_those_of_an_earlier_one() -> None:
    """torchrun's store outlives the ranks; one that is quicker than its leader finds there what the dead have written."""
    store = torch.distributed.HashStore()
    names: list[str] = []
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            followers = [pool.submit(distributed._this_start, store, rank, 3) for rank in (1, 2)]
            if names:
                time.sleep(0.3)
                assert not any(follower.done() for follower in followers)
            leader = pool.submit(distributed._this_start, store, 0, 3)
            found = {future.result(timeout=60) for future in (leader, *followers)}
        assert len(found) == 1
        names += found
    assert len(set(names)) == 3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks' processes in /proc")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_torchrun_restarts_a_lost_rank_and_the_run_continues(parallel: str, tiny_corpus: Path, tiny_vocab: Path, tmp_path: Path) -> None:
    assert main(["prepare", str(tiny_corpus), "--tokenizer", str(tiny_vocab), "--output", str(tmp_path / "shards"), "--workers", "1"]) == 0
    shape = "--hidden-size 16 --embedding-size 16 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --sequence-length 32"
    rest = "--batch-size 4 --num-train-steps 30 --warmup-steps 3 --checkpoint-every 10 --evaluate-every 30 --device cpu --threads 1 --parallel"
    flags = ["pretrain", "small", "--data", str(tmp_path / "shards"), *shape.split(), *rest.split(), parallel, "--output"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "electra"]
    folder = tmp_path / "run"
    agent = subprocess.Popen([*torchrun, *flags, str(folder)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not checkpoint.checkpoints(folder) and time.monotonic() < deadline:
            time.sleep(0.005)
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        error = agent.communicate(timeout=600)[1]
    finally:
        agent.terminate()  # it ends its ranks
    assert agent.returncode == 0, error
    assert len(json.loads((folder / "environment.json").read_text())["earlier"]) == 1, error
    subprocess.run([*torchrun, *flags, str(tmp_path / "undisturbed")], check=True, capture_output=True)
    for model in ("final", "final/generator"):
        one, two = (load_file(path / model / "model.safetensors") for path in (folder, tmp_path / "undisturbed"))
        assert all(torch.equal(one[name], two[name]) for name in one)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_parts_are_read_as_data_and_only_when_all_are_there(tmp_path: Path) -> None:
    run_ranks(2, tmp_path / "run", steps=1, dropout=0.0, electra={}, parallel="fsdp")
    written = checkpoint.latest_checkpoint(tmp_path / "run")
    assert written is not None

    def read(folder: Path) -> torch.nn.Module:
        objective = tiny_electra()
        checkpoint.read_checkpoint(folder, objective, Adam(objective.named_parameters(), OptimizerSettings()))
        return objective

    training = written / "training"
    (training / ".metadata").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))  # where torch.distributed.checkpoint keeps a pickle
    wanted = load_file(written / "model.safetensors")
    assert all(torch.equal(wanted[name], parameter) for name, parameter in read(written).named_parameters())
    assert not (tmp_path / "canary").exists()

    files = sorted(training.glob("shard-*"))
    kept = files[1].read_bytes()
    files[1].write_bytes(kept[: len(kept) // 2])
    with pytest.raises(UserError, match="damaged"):
        read(written)
    files[1].unlink()
    with pytest.raises(UserError, match=r"shard-00002-model-00001-of-00001\.safetensors is missing"):
        read(written)
    # A part of another run in its place: the parts no longer make up a whole.
    shutil.copy(files[0], files[1])
    with pytest.raises(UserError, match="damaged"):
        read(written)
    other = Adam([("a", torch.nn.Parameter(torch.zeros(1)))], OptimizerSettings())
    files[1].write_bytes(kept)
    with pytest.raises(UserError, match="another model"):
        checkpoint.read_checkpoint(written, torch.nn.Linear(1, 1), other)


def test_recomputed_layers_give_the_same_gradients() -> None:
    gradients, computed = [], []
    for again in (False, True):
        objective = tiny_electra(dropout=0.1)
        calls = [0]
        for block in distributed.blocks(objective):
            block.up.register_forward_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        if again:
            distributed.recompute(objective)
        torch.manual_seed(1)
        output = objective(next(ToyStream(8, ends=True)))
        sum(loss.weight * loss.total / loss.count for loss in output.losses.values()).backward()
        gradients.append([parameter.grad for parameter in objective.parameters()])
        computed.append(calls[0])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
    assert computed == [4, 8]


# ---- another number of ranks ----


def checkpoint_of(folder: Path, **state: object) -> Path:
    (folder / "training").mkdir(parents=True)
    whole = {"step": 1, "num_steps": 2, "tokens": 3, "seconds": 4.0, **state}
    (folder / "training" / "state.json").write_text(json.dumps(whole))
    return folder


@pytest.mark.parametrize(
    ("examples", "batch_size", "world_size", "wanted"),
    [
        (64, 32, 2, (32, 1)),  # as it was
        (64, 32, 1, (32, 2)),
        (64, 32, 4, (16, 1)),  # more ranks, smaller microbatches
        (48, 16, 2, (12, 2)),  # 24 a rank: two microbatches, none above 16
    ],
)
def test_an_update_keeps_its_number_of_examples(examples: int, batch_size: int, world_size: int, wanted: tuple[int, int], tmp_path: Path) -> None:
    folder = checkpoint_of(tmp_path / "c", positions=[{}] * 2, examples_per_update=examples)
    found = checkpoint.split_global_batch(LoopSettings(batch_size=batch_size), folder, world_size)
    assert (found.batch_size, found.accumulation) == wanted
    split = checkpoint.split_global_batch(LoopSettings(batch_size=batch_size, total_batch_size=examples), None, world_size)
    assert (split.batch_size, split.accumulation) == wanted


def test_ranks_that_cannot_share_an_update_are_refused(tmp_path: Path) -> None:
    # A checkpoint from before the number was stored: two ranks of 32.
    folder = checkpoint_of(tmp_path / "c", positions=[{}] * 2)
    assert checkpoint.split_global_batch(LoopSettings(batch_size=32), folder, 1).accumulation == 2
    with pytest.raises(UserError, match="global batch size 64 is not divisible by 3 ranks"):
        checkpoint.split_global_batch(LoopSettings(batch_size=32), folder, 3)
    with pytest.raises(UserError, match="--total-batch-size 0: expected at least 1"):
        checkpoint.split_global_batch(LoopSettings(total_batch_size=0), None, 1)


def test_fine_tuning_refuses_another_number_of_ranks() -> None:
    features = [Features(ids=[1, 2, 3], segments=[0, 0, 0], example=i, label=0) for i in range(16)]
    state = FeatureStream(features, 4, seed=1, world_size=2).state()
    FeatureStream(features, 8, seed=1).load_state(state)
    with pytest.raises(UserError, match="batches of 8 examples over all ranks, now they are 4"):
        FeatureStream(features, 4, seed=1).load_state(state)


def test_a_restart_resumes_only_the_same_run(tmp_path: Path) -> None:
    mine = PretrainSettings(preset="mini", output=tmp_path / "run", data=DataSettings(data=(str(tmp_path / "shards"),)))
    assert after_restart(mine) == mine
    write_settings(mine.output, mine)
    assert after_restart(mine) == replace(mine, resume=True)
    other = replace(mine, loop=LoopSettings(seed=7))
    assert after_restart(other) == other

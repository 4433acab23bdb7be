"""Adam's moments in bf16 (--moments bf16) or fp32: the same pre-training with both, several seeds, held-out losses at the end.

  python experiments/bf16_moments.py --data runs/shards --output runs/bf16-moments --record experiments/records/bf16-moments.json

The preset `mini` in small batches, so that there are many updates: the second moment changes by a thousandth in each. Runs that exist are resumed.
Ten minutes of a CPU thread a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from electra import environment
from electra.storage import atomic

LOSSES = ("masked_lm_loss", "disc_loss", "disc_auc")


def train(run: Path, data: list[str], moments: str, seed: int, steps: int) -> dict[str, Any]:
    """One run in a process of one thread -> its last evaluation."""
    command = [sys.executable, "-m", "electra", "pretrain"]
    if (run / "config.toml").exists():
        command += ["--resume", str(run)]
    else:
        command += ["mini", "--data", *data, "--output", str(run), "--moments", moments, "--seed", str(seed), "--batch-size", "8"]
        command += ["--num-train-steps", str(steps), "--threads", "1", "--precision", "bf16", "--show-examples", "0"]
    if not (run / "final").exists():
        subprocess.run(command, check=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "evaluation"][-1]
    return {"moments": moments, "seed": seed, "steps": last["step"], "tokens": last["tokens"]} | {name: last[name] for name in LOSSES}


def main() -> None:
    """Train, then write the record and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="folders made by 'electra prepare'")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--record", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    options = parser.parse_args()
    jobs = [(moments, seed) for seed in range(1, options.seeds + 1) for moments in ("fp32", "bf16")]
    with ThreadPoolExecutor(options.workers) as pool:
        runs = list(pool.map(lambda job: train(options.output / f"{job[0]}-{job[1]}", options.data, *job, options.steps), jobs))
    means = {
        moments: {name: statistics.mean(run[name] for run in runs if run["moments"] == moments) for name in LOSSES} for moments in ("fp32", "bf16")
    }
    record = {"machine": environment.describe(), "runs": runs, "means": means}
    atomic.write_text(options.record, json.dumps(record, indent=1) + "\n")
    print(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()

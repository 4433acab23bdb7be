"""Two ranks of B examples compared with one rank of 2B, on real shards: the logged values, and the final distance of the weights.

    python experiments/two_ranks.py --data runs/shards-wiki --output runs/ranks

Three runs of the preset 'demo' without dropout and from the same seed: one process, `torchrun --nproc-per-node 2` with DDP, and with FSDP2.
Writes --record, with the machine and the commands.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from electra.storage import atomic
from electra.train.run_log import read_metrics, run_environment

BATCH, STEPS = 16, 40
COMMON = ["--mlm-first", "0", "--dropout", "0", "--num-train-steps", str(STEPS), "--log-every", "1", "--total-batch-size", str(BATCH)]
SHOWN = ("loss", "masked_lm_loss", "disc_loss", "disc_accuracy", "grad_norm")
RUNS = {"1 rank x 16": (1, "ddp"), "2 ranks x 8, DDP": (2, "ddp"), "2 ranks x 8, FSDP2": (2, "fsdp")}


def main() -> None:
    """Train three times, compare, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--record", type=Path, default=Path("experiments/records/two-ranks.json"))
    options = parser.parse_args()
    commands, logs, weights = [], {}, {}
    for number, (name, (ranks, parallel)) in enumerate(RUNS.items()):
        run = options.output / f"run-{number}"
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", "electra"] if ranks > 1 else ["-m", "electra"]
        words = [
            *start,
            "pretrain",
            "demo",
            "--data",
            options.data,
            "--output",
            str(run),
            "--batch-size",
            str(BATCH),
            "--parallel",
            parallel,
            *COMMON,
        ]
        commands.append(shlex.join(["python", *words]))
        subprocess.run([sys.executable, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        logs[name] = {line["step"]: line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"}
        weights[name] = load_file(run / "final" / "model.safetensors")
    first = next(iter(RUNS))
    rows = {}
    for name in RUNS:
        last = logs[name][STEPS]
        apart = {
            m: max(abs(logs[name][s][m] - logs[first][s][m]) / abs(logs[first][s][m]) for s in logs[first] if logs[first][s].get(m)) for m in SHOWN
        }
        gap = max(float((weights[name][key] - tensor).abs().max()) for key, tensor in weights[first].items())
        rows[name] = {"tokens": last["tokens"], **{m: last[m] for m in SHOWN}, "largest_relative_difference": apart, "largest_weight_difference": gap}
        print(name, json.dumps(rows[name]), flush=True)
    atomic.write_text(options.record, json.dumps({"commands": commands, "environment": run_environment(), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

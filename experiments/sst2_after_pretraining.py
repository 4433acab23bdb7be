"""Does pre-training show? SST-2 dev accuracy over seeds: from checkpoints, from random weights, and TF-IDF + logistic regression.

    python experiments/sst2_after_pretraining.py --data glue/SST-2 --output runs/sst2 --seeds 5 \\
        --start electra=runs/mini/final --start mlm=runs/mini-mlm/final --start random=random:runs/mini/final

Every start goes through `electra finetune sst2` with the same settings. Resumable: finished seeds are kept. The record, with
the machine and the command, is written to --record.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from electra.finetuning.baselines import tfidf_baseline
from electra.storage import atomic
from electra.tasks.registry import find_task
from electra.train.run_log import run_environment


def main() -> None:
    """Fine-tune from every start, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--start", action="append", required=True, metavar="NAME=MODEL")
    parser.add_argument("--record", type=Path, default=Path("experiments/records/sst2-after-pretraining.json"))
    options, extra = parser.parse_known_args()
    rows = {}
    for start in options.start:
        name, _, model = start.partition("=")
        folder = options.output / name
        command = ["finetune", "sst2", "--model", model, "--data", str(options.data), "--output", str(folder), "--seeds", str(options.seeds), *extra]
        if folder.exists():
            command.append("--resume")
        print("electra", shlex.join(command), flush=True)
        if code := subprocess.run([sys.executable, "-m", "electra.cli", *command], check=False).returncode:
            sys.exit(code)
        rows[name] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    task = find_task("sst2")
    baseline = tfidf_baseline(task.read(options.data, "train"), task.read(options.data, "dev"))
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": run_environment(),
        "tfidf_logistic_regression": baseline,
        "finetuned": rows,
    }
    atomic.write_text(options.record, json.dumps(record, indent=1) + "\n")
    print(f"TF-IDF + logistic regression: {baseline:.4f}; record: {options.record}")


if __name__ == "__main__":
    main()

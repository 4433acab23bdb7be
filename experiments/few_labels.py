"""Few labels: SetFit's recipe, plain fine-tuning, frozen vectors under a logistic regression and TF-IDF on the same draws, into one record.

    ELECTRA_DATA=../shared/data python experiments/few_labels.py --output runs/few                          # everything: days of two cores, hours of a GPU
    ELECTRA_DATA=../shared/data python experiments/few_labels.py --output runs/few --tasks sst2 --labels 16 --draws 1 --record runs/few/first.json

Each cell is `electra finetune TASK --few-shot LABELS --seeds DRAWS --baselines`, scored on the whole dev set; of IMDb's 25,000 test reviews on 1,000, drawn
once, read up to 128 tokens. The same command resumes: what is finished
stays, and more draws, labels or tasks are added. The record is written after each cell. English tasks start from --model (default: all-MiniLM-L6-v2, see
public_encoder.py), Chinese ones from --chinese. What follows `--` is for every run, such as `-- --precision bf16`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from public_encoder import public_encoder

from electra.cli import main as run_electra
from electra.errors import UserError
from electra.storage import atomic
from electra.tasks.imdb import hold_out, read_imdb, to_csv
from electra.train.run_log import run_environment

DATA = Path(os.environ.get("ELECTRA_DATA", "../shared/data"))
IMDB = "imdb/aclImdb_v1.tar.xz"
IMDB_SHARE = 0.04
"""Of its test reviews: 1,000."""
TASKS = {
    "sst2": ("glue/SST-2",),
    "imdb": (IMDB, "--max-length", "128"),
    "chnsenticorp": ("clue/ChnSentiCorp",),
    "tnews": ("clue/FewCLUE/tnews", "--fold", "few_all"),
}
"""Task -> its files below $ELECTRA_DATA, and further flags."""
CHINESE = ("chnsenticorp", "tnews")


def row(results: dict[str, Any], task: str) -> dict[str, Any]:
    """results.json of a run -> method -> mean, sd, interval and each draw's score, in the task's main metric."""
    found = results["tasks"][task]
    metric = found["main_metric"]
    methods = {point["hyper_parameters"]["few_shot_method"]: point for point in found["points"]}
    scores = {name: point["metrics"][metric] | {"seconds": point["seconds"], "draws": point["seeds"]} for name, point in methods.items()}
    scores |= {name: baseline["draws"][metric] for name, baseline in found["baselines"].items()}
    return {"metric": metric, "train_examples": found["train_examples"], "dev_examples": found["dev_examples"], "methods": scores}


def imdb_sample(archive: Path, folder: Path) -> Path:
    """IMDb's archive -> a folder with all training reviews and `IMDB_SHARE` of the test reviews, the same in each call."""
    if not (folder / "test.csv").exists():
        atomic.write_text(folder / "train.csv", to_csv(read_imdb(archive, "train")))
        atomic.write_text(folder / "test.csv", to_csv(hold_out(read_imdb(archive, "test"), IMDB_SHARE, seed=0)[1]))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--chinese", default="checkpoints/chinese-mini")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--labels", nargs="+", type=int, default=[8, 16, 64], help="of each class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--record", type=Path, default=Path("experiments/records/few-labels.json"))
    parser.add_argument("more", nargs="*", help="flags of electra finetune, after --")
    options = parser.parse_args()
    english = options.model or str(public_encoder())
    record = json.loads(options.record.read_text(encoding="utf-8")) if options.record.exists() else {"tasks": {}}
    for task in options.tasks:
        place, *flags = TASKS[task]
        try:
            data = imdb_sample(DATA / place, options.output / "imdb") if place == IMDB else DATA / place
        except UserError as error:
            parser.error(str(error))
        model = options.chinese if task in CHINESE else english
        for labels in options.labels:
            folder = options.output / f"{task}-{labels}"
            words = ["finetune", task, "--few-shot", str(labels), "--seeds", str(options.draws), "--baselines", "--model", model]
            words += ["--data", str(data), "--output", str(folder), *flags, *options.more, "--resume"]
            if code := run_electra(words):
                sys.exit(code)
            found = row(json.loads((folder / "results.json").read_text(encoding="utf-8")), task)
            record["tasks"].setdefault(task, {})[str(labels)] = {"model": Path(model).name, "flags": [*flags, *options.more], **found}
            record |= {
                "command": f"python experiments/few_labels.py --draws {options.draws}, by task and labels; the flags of each are with it",
                "environment": run_environment(),
            }
            options.record.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(options.record, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Results of single tasks, as `experiments/tasks.sh` leaves them -> one record, one picture; `make docs` then writes the table of docs/finetune.md.

python experiments/task_table.py runs/tasks --model shipped:mini --chinese checkpoints/chinese-mini

Tasks that the folder does not hold keep their rows in the record. The picture has the record's name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from electra.finetuning.results_table import draw
from electra.storage import atomic
from electra.tasks.registry import CLUE_SUITE
from electra.train.run_log import run_environment

RECORDS = Path(__file__).parent / "records"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="shipped:mini")
    parser.add_argument("--chinese", default="checkpoints/chinese-mini")
    parser.add_argument("--record", type=Path, default=RECORDS / "tasks.json")
    options = parser.parse_args()
    before = json.loads(options.record.read_text(encoding="utf-8")) if options.record.exists() else {"tasks": {}}
    tasks: dict[str, Any] = dict(before["tasks"])
    for path in sorted(options.folder.glob("*/results.json")):
        for name, row in json.loads(path.read_text(encoding="utf-8"))["tasks"].items():
            # One task's trials are in RUN/search, a suite's (and those of earlier versions) in RUN/TASK.
            trials = path.parent / name if (path.parent / name).is_dir() else path.parent / "search"
            command = (trials / f"seed-{row['seeds'][0]}" / "trial.log").read_text(encoding="utf-8").splitlines()[0]
            tasks[name] = row | {"command": _portable(command), "environment": run_environment() | {"command": None}}
    order = sorted(tasks, key=lambda name: (name in CLUE_SUITE, list(tasks).index(name)))
    tasks = {name: tasks[name] for name in order}
    models = {"english": options.model} | ({"chinese": options.chinese} if set(tasks) & set(CLUE_SUITE) else {})
    atomic.write_text(
        options.record,
        json.dumps({"command": "sh experiments/tasks.sh", "models": models, "tasks": tasks, "environment": before.get("environment")}, indent=1)
        + "\n",
    )
    title = " and ".join(Path(model).name for model in models.values())
    picture = Path(__file__).parents[1] / "docs" / "images" / f"{options.record.stem}.png"
    draw({"suite": "tasks", "model": title, "tasks": tasks, "average": None}, picture)


def _portable(command: str) -> str:
    """The command line of a job without this machine's folders."""
    words = []
    for word in command.removeprefix("$ ").split():
        parts = Path(word).parts
        words.append("/".join(parts[-2:]) if word.startswith("/") else word)
    return " ".join(words)


if __name__ == "__main__":
    main()

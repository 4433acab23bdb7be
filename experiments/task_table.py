"""Tables of single tasks, as `experiments/tasks.sh` leaves them -> one table, one picture, one record.

python experiments/task_table.py runs/tasks --model shipped:mini --chinese checkpoints/chinese-mini
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

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
    parser.add_argument("--picture", type=Path, default=Path(__file__).parents[1] / "docs" / "images" / "tasks.png")
    options = parser.parse_args()
    tasks = {}
    for path in sorted(options.folder.glob("*/results.json")):
        for name, row in json.loads(path.read_text(encoding="utf-8"))["tasks"].items():
            # One task's trials are in RUN/search, a suite's (and those of earlier versions) in RUN/TASK.
            trials = path.parent / name if (path.parent / name).is_dir() else path.parent / "search"
            command = (trials / f"seed-{row['seeds'][0]}" / "trial.log").read_text(encoding="utf-8").splitlines()[0]
            tasks[name] = row | {"command": _portable(command)}
    order = sorted(tasks, key=lambda name: (name in CLUE_SUITE, list(tasks).index(name)))
    tasks = {name: tasks[name] for name in order}
    lines = ["| task | metric | without a network | mean | sd | 95% interval | seeds | minutes of a core |", "|---" * 8 + "|"]
    for name, row in tasks.items():
        counted, score = row["counted_metric"], row["score"]
        known = ", ".join(f"{label} {100 * scores[counted]:.1f}" for label, scores in row.get("baselines", {}).items())
        low, high = score["interval"] or (None, None)
        spread = ("", "") if low is None else (f"{100 * score['sd']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}")
        minutes = statistics.fmean(seconds or 0.0 for seconds in row["cpu_seconds"]) / 60
        lines.append(
            f"| {name} | {counted} | {known} | {100 * score['mean']:.1f} | {spread[0]} | {spread[1]} | {len(row['seeds'])} | {minutes:.1f} |"
        )
    print("\n".join(lines))
    models = {"english": options.model, "chinese": options.chinese}
    atomic.write_text(
        options.record,
        json.dumps(
            {"command": "sh experiments/tasks.sh", "models": models, "tasks": tasks, "environment": {**run_environment(), "command": None}}, indent=1
        )
        + "\n",
    )
    draw({"suite": "tasks", "model": f"{options.model} and {Path(options.chinese).name}", "tasks": tasks, "average": None}, options.picture)


def _portable(command: str) -> str:
    """A trial's command line without this machine's folders."""
    words = []
    for word in command.removeprefix("$ ").split():
        parts = Path(word).parts
        words.append("/".join(parts[-2:]) if word.startswith("/") else word)
    return " ".join(words)


if __name__ == "__main__":
    main()

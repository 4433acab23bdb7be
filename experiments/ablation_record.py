"""The ablations that `experiments/ablation.sh` made -> experiments/records/ablation/*.json and their pictures in docs/images.

python experiments/ablation_record.py runs/ablations
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from electra.storage import atomic

ROOT = Path(__file__).parents[1]
MADE_BY = Path("seed-1") / "electra" / "environment.json"
"""Of the ablation's first training: machine, versions and commit of the run, not of whoever writes the record."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=Path, default=ROOT / "experiments" / "records" / "ablation")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    found = [path for name in ("scratch", "imdb") if (path := options.folder / name / "results.json").exists()]
    if not found:
        parser.error(f"no results.json in {options.folder}/scratch or {options.folder}/imdb: run experiments/ablation.sh first")
    results = {path: json.loads(path.read_text(encoding="utf-8")) for path in found}
    if unfinished := [str(path.parent) for path, each in results.items() if not each["finished"]]:
        parser.error(f"{', '.join(unfinished)}: not all steps are finished; experiments/ablation.sh continues them")
    options.records.mkdir(parents=True, exist_ok=True)
    options.images.mkdir(parents=True, exist_ok=True)
    for path in found:
        name = path.parent.name
        record = {
            "command": f"sh experiments/ablation.sh {name}",
            "results": results[path],
            "plan": json.loads((path.parent / "plan.json").read_text(encoding="utf-8")),
            "environment": {**json.loads((path.parent / MADE_BY).read_text(encoding="utf-8")), "command": None},
        }
        atomic.write_text(options.records / f"{name}.json", json.dumps(record, indent=1) + "\n")
        with atomic.atomic_file(options.images / f"ablation-{name}.png") as picture:
            shutil.copyfile(path.parent / "results.png", picture)
        print((path.parent / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

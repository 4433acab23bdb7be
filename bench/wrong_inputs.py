"""A hundred wrong command lines as processes, from start to exit code: what is said, CPU and wall seconds -> a record.

    python bench/wrong_inputs.py                 bench/records/wrong-inputs.json
    python bench/wrong_inputs.py --num 20 --output /tmp/wrong.json

The cases are those of tests/support/wrong_inputs.py, spread over all commands and kinds. CPU seconds hold on a busy machine, wall seconds do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]

from shop import fill, make_shop  # noqa: E402
from wrong_inputs import as_process, cases, spread  # noqa: E402

from electra import environment  # noqa: E402
from electra.cli import COMMANDS  # noqa: E402
from electra.storage import atomic  # noqa: E402

CORPUS = "".join(f"the chef cooked the meal {number} .\nit was good .\n\n" for number in range(60))


def main() -> int:
    """Run the cases one after another; exit code 1 where one of them is not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "records" / "wrong-inputs.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, empty = Path(folder) / "shop", Path(folder) / "empty"
        root.mkdir(), empty.mkdir()
        (Path(folder) / "corpus.txt").write_text(CORPUS, encoding="utf-8")
        shop = make_shop(root, Path(folder) / "corpus.txt")
        rows = []
        for number, case in enumerate(spread(shop, fill, options.num)):
            found = as_process(case, empty)
            line = found.line.replace(str(shop), "SHOP").replace(folder, "FOLDER")[:300]
            rows.append(
                {"command": case.command, "argument": case.argument, "kind": case.kind}
                | found._asdict()
                | {"line": line, "cpu_seconds": round(found.cpu_seconds, 3), "wall_seconds": round(found.wall_seconds, 3)}
            )
            print(
                f"{number + 1}/{options.num} {case.command} {case.argument} {case.kind}: {found.fault or 'refused'}, {found.cpu_seconds:.1f} s",
                flush=True,
            )
        in_process = sum(1 for command in COMMANDS for _ in cases(command, shop, fill))
    summary = {"cases_in_process": in_process, "processes": len(rows), "commands": len({row["command"] for row in rows})}
    summary |= {"kinds": len({row["kind"] for row in rows}), "faults": sum(bool(row["fault"]) for row in rows)}
    for name in ("cpu_seconds", "wall_seconds"):
        values = [row[name] for row in rows]
        summary[name] = {"median": round(statistics.median(values), 2), "max": round(max(values), 2)}
    atomic.write_text(options.output, json.dumps({"environment": environment.describe(), "summary": summary, "rows": rows}, indent=1) + "\n")
    print(json.dumps(summary))
    return 1 if summary["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())

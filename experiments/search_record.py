"""What `experiments/search.sh` leaves -> experiments/records/search.json; `make docs` then writes the tables of docs/embeddings.md.

python experiments/search_record.py runs/search experiments/records/search.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from electra.inference.search import HYBRID
from electra.storage import atomic
from electra.train.run_log import run_environment


def main() -> None:
    """Gather the scores."""
    out, target = map(Path, sys.argv[1:3])

    def read(name: str) -> Any:
        return json.loads((out / name).read_text(encoding="utf-8"))

    # STS-B may have been measured in an earlier run, on another machine.
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    here, similarity = run_environment() | {"command": None}, dict(known.get("sts_b_spearman", {}))
    its_machine = known.get("sts_b_environment", known.get("environment"))
    if (out / "sts-own-1.json").exists():
        its_machine = here
    for name in ("own", "public") if (out / "sts-own-1.json").exists() else ():
        seeds = [read(f"sts-{name}-{seed}.json")["spearman"] for seed in (1, 2, 3)]
        similarity[name] = {
            "before": read(f"sts-{name}-before.json")["spearman"],
            "after": seeds,
            "layers": layers(out / f"sts-{name}-1"),
        }
    before, after = (read(f"search-{name}/report.json") for name in ("before", "after"))
    ranker = list(after["systems"])[3].removeprefix("BM25 + ")
    names = {
        "BM25": "BM25",
        "before": list(before["systems"])[1],
        "after": list(after["systems"])[1],
        "BM25 and before": HYBRID,
        "BM25 and after": HYBRID,
    }
    for name in ("BM25", "after", "BM25 and after"):
        names[f"{name} + re-ranker"] = f"{names[name]} + {ranker}"
        names[f"{name} + re-ranker, fused"] = f"{names[name]} + {ranker}, fused"
    assert before["systems"]["BM25"] == after["systems"]["BM25"], "other questions"
    reports = {name: before if "before" in name else after for name in names}
    systems = {name: reports[name]["systems"][theirs] for name, theirs in names.items()}
    pairs = [(name, "BM25") for name in names if name != "BM25"] + [("after + re-ranker", "after"), ("after + re-ranker", "BM25 + re-ranker")]
    differences = {}
    for one, other in pairs:
        found = next(d for d in reports[one]["differences"] if (d["system"], d["other"]) == (names[one], names[other]))
        differences[f"{one} - {other}"] = {key: found[key] for key in ("difference", "interval", "p_value")}
    record = {
        "command": "sh experiments/search.sh",
        "sts_b_spearman": similarity,
        "sts_b_environment": its_machine,
        "squad": {
            "num_queries": after["num_queries"],
            "num_passages": sum(1 for _ in (out / "squad" / "corpus.jsonl").open(encoding="utf-8")),
            "systems": systems,
            "differences": differences,
        },
        "environment": here,
    }
    atomic.write_text(target, json.dumps(record, indent=1) + "\n")


def layers(run: Path) -> int:
    """Layers of a run's model."""
    return int(json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])


main()

"""What `experiments/search.sh` leaves -> experiments/records/search.json; `make docs` then writes the tables of docs/embeddings.md.

python experiments/search_record.py runs/search experiments/records/search.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from electra.storage import atomic
from electra.train.run_log import run_environment


def main() -> None:
    """Gather the scores."""
    out, target = map(Path, sys.argv[1:3])

    def read(name: str) -> Any:
        return json.loads((out / name).read_text(encoding="utf-8"))

    similarity = {}
    for name in ("own", "public"):
        seeds = [read(f"sts-{name}-{seed}.json")["spearman"] for seed in (1, 2, 3)]
        similarity[name] = {
            "before": read(f"sts-{name}-before.json")["spearman"],
            "after": seeds,
            "layers": layers(out / f"sts-{name}-1"),
        }
    before, after = read("search-before/report.json"), read("search-after/report.json")
    names = {"BM25": "BM25", "before": list(before["systems"])[1], "after": list(after["systems"])[1]}
    names |= {"BM25 + re-ranker": list(after["systems"])[2], "after + re-ranker": list(after["systems"])[3]}
    assert before["systems"]["BM25"] == after["systems"]["BM25"], "other questions"
    systems = {name: (before if name == "before" else after)["systems"][theirs] for name, theirs in names.items()}
    pairs = [("BM25 + re-ranker", "BM25"), ("after", "BM25"), ("after + re-ranker", "after"), ("after + re-ranker", "BM25 + re-ranker")]
    differences = {}
    for one, other in pairs:
        found = next(d for d in after["differences"] if (d["system"], d["other"]) == (names[one], names[other]))
        differences[f"{one} - {other}"] = {key: found[key] for key in ("difference", "interval", "p_value")}
    found = next(d for d in before["differences"] if d["other"] == "BM25")
    differences["before - BM25"] = {key: found[key] for key in ("difference", "interval", "p_value")}
    record = {
        "command": "sh experiments/search.sh",
        "sts_b_spearman": similarity,
        "squad": {
            "num_queries": after["num_queries"],
            "num_passages": sum(1 for _ in (out / "squad" / "corpus.jsonl").open(encoding="utf-8")),
            "systems": systems,
            "differences": differences,
        },
        "environment": run_environment() | {"command": None},
    }
    atomic.write_text(target, json.dumps(record, indent=1) + "\n")


def layers(run: Path) -> int:
    """Layers of a run's model."""
    return int(json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])


main()

"""SQuAD 1.1 as a search: the questions of dev-v1.1 and its paragraphs in BEIR's layout, and training pairs of the training questions.

    python experiments/squad_retrieval.py ../shared/data/squad runs/squad-retrieval

OUT/corpus.jsonl, OUT/queries.jsonl, OUT/qrels/test.tsv: every paragraph of dev-v1.1 once, and all its questions.
OUT/train.jsonl, OUT/dev.jsonl: questions and paragraphs of the training subset; dev has one paragraph of ten with
all its questions, so that no paragraph is in both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def articles(path: Path) -> Iterator[list[tuple[str, list[str]]]]:
    """Each article's (paragraph, questions)."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        yield [(p["context"].strip(), [q["question"].strip() for q in p["qas"]]) for p in article["paragraphs"]]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows):,}")


def main() -> None:
    """Write all files."""
    data, out = map(Path, sys.argv[1:3])
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    paragraphs: dict[str, str] = {}
    queries, relevant = [], ["query-id\tcorpus-id\tscore"]
    for article in articles(data / "dev-v1.1.json"):
        for paragraph, questions in article:
            key = paragraphs.setdefault(paragraph, f"p{len(paragraphs)}")
            for question in questions:
                queries.append({"_id": f"q{len(queries)}", "text": question})
                relevant.append(f"{queries[-1]['_id']}\t{key}\t1")
    write(out / "corpus.jsonl", [{"_id": key, "text": text} for text, key in paragraphs.items()])
    write(out / "queries.jsonl", queries)
    (out / "qrels" / "test.tsv").write_text("\n".join(relevant) + "\n", encoding="utf-8")
    parts: dict[str, list[dict[str, str]]] = {"train": [], "dev": []}
    seen: dict[str, int] = {}
    for article in articles(data / "train-subset-v1.1.json"):
        for paragraph, questions in article:
            if paragraph not in paragraphs:
                part = "dev" if seen.setdefault(paragraph, len(seen)) % 10 == 9 else "train"
                parts[part] += [{"question": question, "paragraph": paragraph} for question in questions]
    for name, rows in parts.items():
        write(out / f"{name}.jsonl", rows)


main()

"""Small files of questions whose answers a tiny network can learn: where a person is, given by 'at the PLACE'."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

PLACES = "river city house street station".split()
FILLERS = "chef actor meal soup she he film story was cold warm old young walked ate one two".split()


def paragraphs(count: int, seed: int, unanswerable: bool = False, longest: int = 12) -> list[dict[str, Any]]:
    """One question a paragraph; every third has no answer where `unanswerable`."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        words = rng.choices(FILLERS, k=rng.randrange(5, longest))
        none = unanswerable and i % 3 == 0
        place = rng.randrange(len(words))
        text = rng.choice(PLACES)
        before = " ".join([*words[:place], *([] if none else ["at the"])])
        before = f"{before} " if before else ""
        context = before + ("" if none else f"{text} ") + " ".join(words[place:]) + " ."
        question: dict[str, Any] = {"id": f"q{seed}-{i}", "question": "was it in a house ?" if i % 2 else "where ?"}
        question["answers"] = [] if none else [{"text": text, "answer_start": len(before)}]
        if unanswerable:
            question["is_impossible"] = none
        out.append({"context": context, "qas": [question]})
    return out


def write_squad(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": rows}]}, ensure_ascii=False), encoding="utf-8")
    return path

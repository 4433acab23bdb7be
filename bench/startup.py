"""Start-up: how long a command takes from nothing to its answer, every call a fresh process.

The first call of each finds what the machine's disk cache holds by chance and is told apart; the others take turns. The peer is the script that
`transformers`' page on pipelines teaches, with the same checkpoint from the same folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import models
from section import Target, Work, at_most, electra, middle, run, spread, table

SCRIPT = """
import sys
from transformers import pipeline
print(pipeline("text-classification", model=sys.argv[1], device="cpu")(sys.stdin.read().strip())[0]["label"])
"""
HELP, TORCH, BUILT, PIPELINE = "electra --help", "electra predict, checkpoint", "electra predict, onnx-int8", "transformers' pipeline, script"
BARE = "python -c pass"
ASKED = {TORCH: 2.5, BUILT: 0.7}


def call(name: str, work: Work, places: dict[str, Path]) -> tuple[float, str]:
    """One command -> (seconds, what it printed)."""
    if name == HELP:
        return electra("--help", threads=work.threads)
    if name == BARE:
        return run([sys.executable, "-c", "pass"], threads=work.threads)
    if name == PIPELINE:
        return run([work.peers, "-c", SCRIPT, str(places["checkpoint"])], threads=work.threads, peer=True, text=models.SENTENCE)
    place = places["checkpoint" if name == TORCH else "artifact"]
    return electra("predict", place, "-", "--threads", str(work.threads), threads=work.threads, text=models.SENTENCE)


def measure(work: Work) -> dict[str, Any]:
    """Every command once, then in turns."""
    work.progress(0.0, "a classifier and its onnx-int8 artifact")
    places = {"checkpoint": models.classifier(work)}
    failed: dict[str, str] = {}
    try:
        places["artifact"] = models.artifact(work, "onnx-int8")
    except RuntimeError as error:
        failed[BUILT] = str(error)
    names = [BARE, HELP, TORCH, *([] if BUILT in failed else [BUILT]), *([PIPELINE] if work.peers else [])]
    if not work.peers:
        failed[PIPELINE] = work.peers_problem
    turns = 2 if work.quick else max(5, work.options.get("repeats") or 7)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    answers: dict[str, str] = {}
    for turn in range(turns + 1):
        for name in [name for name in names if name not in failed]:
            try:
                taken, answers[name] = call(name, work, places)
            except RuntimeError as error:
                failed[name] = str(error)
                continue
            seconds[name].append(taken)
        work.progress((turn + 1) / (turns + 1), f"turn {turn} of {turns}")
    summary = {name: {"first": values[0], "warm": middle(values[1:])} for name, values in seconds.items() if name not in failed}
    if PIPELINE in summary:
        for name in (TORCH, BUILT):
            if name in summary:
                pairs = zip(seconds[PIPELINE][1:], seconds[name][1:], strict=True)
                summary[name]["faster_than_pipeline_by"] = middle(slow / fast for slow, fast in pairs)
    labels = {name: answers[name].split()[0] for name in (TORCH, BUILT, PIPELINE) if name in summary}
    return {"turns": turns, "seconds": seconds, "summary": summary, "failed": failed, "answers": labels}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    rows = []
    for name, found in result["summary"].items():
        rows.append([name, f"{found['first']:.2f}", spread(found["warm"], "{:.2f}"), spread(found.get("faster_than_pipeline_by"))])
    rows += [[name, f"not run: {why}", "-", "-"] for name, why in result["failed"].items()]
    out = [f"Seconds of a fresh process to its answer on one sentence; median of {result['turns']} warm calls (least..most), in turns.", ""]
    return out + table(("command", "first call", "warm", "faster than the pipeline's script by"), rows)


def targets(result: dict[str, Any]) -> list[Target]:
    """One sentence, with torch and from an artifact."""
    found = result["summary"]
    return [at_most(f"start-up: {name}", found[name]["warm"]["median"] if name in found else None, asked, " s") for name, asked in ASKED.items()]

"""Whether a token costs the same in a large corpus as in a small one, and in many shard folders as in one.

The shared text (repeated where it is shorter, every repetition's documents told apart by a number, so that none is dropped as a duplicate) in three
sizes, and one size cut into so many files. Of each: `electra prepare`, the batch pipeline alone, and `electra pretrain` of a small network.
All of a kind take turns.

  python bench/run.py --sections scaling --sizes-mb 10 100 --shards 1 10
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import models
from section import Target, Work, at_most, electra, environment, middle, spread, table
from training_run import pretrain
from turns import Candidate

SIZES_MB, SHARDS = (10.0, 100.0, 1000.0), (1, 10, 100)
MINI = ("--mlm-first", "0", "--embedding-init", "normal", "--device", "cpu")
"""The preset mini from random weights: what precedes its first update reads the corpus, and is not what is measured."""
KINDS = {"prepare": "MB/s", "stream": "tokens/s", "pretrain": "tokens/s"}


def cut(text: Path, number: int, folder: Path) -> list[Path]:
    """A text file -> so many files of about the same size, cut between documents."""
    folder.mkdir(exist_ok=True)
    size, paths = text.stat().st_size, [folder / f"{index:03d}.txt" for index in range(number)]
    with text.open(encoding="utf-8") as lines:
        for index, path in enumerate(paths):
            written = 0
            with path.open("w", encoding="utf-8") as out:
                for line in lines:
                    written += out.write(line)
                    if not line.strip() and written >= size / number and index < number - 1:
                        break
    return [path for path in paths if path.stat().st_size]


def prepare(work: Work, corpus: list[Path], output: Path) -> dict[str, Any]:
    """`electra prepare` -> seconds, tokens, memory."""
    source = models.vocabulary(work)
    seconds, _ = electra(
        "prepare", *corpus, "--tokenizer", source, "--output", output, "--workers", str(work.threads), "--held-out", "0.01", threads=work.threads
    )
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    train = json.loads((output / "manifest.json").read_text(encoding="utf-8"))["splits"]["train"]
    return {"seconds": seconds, "own_seconds": run["seconds"], "tokens": train["tokens"], "peak_memory_mb": run["peak_memory_mb"]}


def make_shards(work: Work, rounds: int, progress: Any) -> tuple[dict[str, list[Path]], dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Texts and shard folders: way ('10 MB', '100 shards') -> its folders; the times of `electra prepare`; MB of each text."""
    sizes = (0.05, 0.2) if work.quick else tuple(work.options.get("sizes_mb") or SIZES_MB)
    numbers = (1, 2) if work.quick else tuple(work.options.get("shards") or SHARDS)
    texts = {f"{size:g} MB": [models.plain_text(work, size, f"text-{size:g}.txt")] for size in sizes}
    middle_text = texts[f"{sizes[len(sizes) // 2]:g} MB"][0]
    for number in numbers:
        texts[f"{number} shards"] = cut(middle_text, number, work.folder / f"cut-{number}")
    megabytes = {way: sum(path.stat().st_size for path in paths) / 1e6 for way, paths in texts.items()}
    times: dict[str, list[dict[str, Any]]] = {way: [] for way in texts}
    folders: dict[str, list[Path]] = {}
    for turn in range(rounds):
        for index, (way, paths) in enumerate(texts.items()):
            output = work.folder / f"shards-{turn}-{index}"
            times[way].append(prepare(work, paths, output))
            if turn == 0:
                folders[way] = [output]
            else:
                remove(output)
            progress((turn + (index + 1) / len(texts)) / rounds, f"electra prepare, {way}, {turn + 1} of {rounds}")
    for number in numbers:
        way = f"{number} shards"
        if number > 1:
            folders[way] = []
            for path in texts[way]:
                folders[way].append(work.folder / f"shards-{number}-{path.stem}")
                prepare(work, [path], folders[way][-1])
    return folders, times, megabytes


def remove(folder: Path) -> None:
    """A folder that is not needed any more."""
    import shutil

    shutil.rmtree(folder)


def measure(work: Work) -> dict[str, Any]:
    """Three kinds of work, each with every size and every number of shards, in turns."""
    rounds = 1 if work.quick else work.options.get("repeats") or 5
    batches, steps = (4, 4) if work.quick else (400, 60)
    folders, prepared, megabytes = make_shards(work, rounds, lambda share, text: work.progress(0.55 * share, text))
    out: dict[str, Any] = {"rounds": rounds, "mb": megabytes, "prepare": prepared, "stream": {way: [] for way in folders}, "open_seconds": {}}
    with ExitStack() as stack:
        live = {way: stack.enter_context(Candidate(sys.executable, "stream_step.py", environment=environment(1))) for way in folders}
        for way, process in live.items():
            out["open_seconds"][way] = process.ask("build", folders=[str(path) for path in folders[way]])["open_seconds"]
        for turn in range(rounds):
            for way, process in live.items():
                out["stream"][way].append(process.ask("batches", number=batches))
            work.progress(0.55 + 0.1 * (turn + 1) / rounds, f"batches without a network, {turn + 1} of {rounds}")
        out["stream_memory_bytes"] = {way: process.ask("memory") for way, process in live.items()}
    out["pretrain"] = {way: [] for way in folders}
    for turn in range(rounds):
        for index, way in enumerate(folders):
            run = work.folder / f"run-{turn}-{index}"
            found = pretrain("mini", folders[way], run, *MINI, steps=steps, window=max(1, steps // 6), threads=work.threads)
            out["pretrain"][way].append(found)
            remove(run)
            work.progress(0.65 + 0.35 * (turn + (index + 1) / len(folders)) / rounds, f"electra pretrain mini, {way}, {turn + 1} of {rounds}")
    return out


def speeds(result: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Kind -> way -> MB/s or tokens/s, as median, least and most."""
    out: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in KINDS}
    for way, megabytes in result["mb"].items():
        out["prepare"][way] = middle(megabytes / run["seconds"] for run in result["prepare"][way])
        out["stream"][way] = middle(run["tokens"] / run["seconds"] for run in result["stream"][way])
        out["pretrain"][way] = middle(speed for run in result["pretrain"][way] for speed in run["tokens_per_second"])
    return out


def rises(found: dict[str, dict[str, float]], unit: str) -> float | None:
    """The largest extra cost of a token in percent, over the first way of this unit."""
    medians = [speed["median"] for way, speed in found.items() if way.endswith(unit)]
    return max(100 * (medians[0] / other - 1) for other in medians) if len(medians) > 1 else None


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    found, rows = speeds(result), []
    for way, megabytes in result["mb"].items():
        first = next(other for other in result["mb"] if other.split()[1] == way.split()[1])
        cells = []
        for kind in KINDS:
            speed = found[kind][way]
            cells += [
                spread(speed, "{:.2f}" if kind == "prepare" else "{:,.0f}"),
                f"{100 * (found[kind][first]['median'] / speed['median'] - 1):+.1f}%",
            ]
        memory = result["prepare"][way][0]["peak_memory_mb"]
        cells += [f"{memory['reader']} + {memory['largest_worker']} MB", f"{result['stream_memory_bytes'][way] / 1e6:,.0f} MB"]
        rows.append([f"{way} ({megabytes:,.0f} MB of text)", *cells])
    header = [
        "corpus",
        "prepare, MB/s",
        "cost",
        "batches alone, tokens/s",
        "cost",
        "pretrain mini, tokens/s",
        "cost",
        "memory of prepare",
        "of the batches",
    ]
    out = [
        f"Medians of {result['rounds']} turns (least..most). 'cost': of a token (of text, for prepare), beside the first row of its kind; 'memory of"
    ]
    out[0] += " prepare': reader and largest worker."
    return [*out, "", *table(header, rows)]


def targets(result: dict[str, Any]) -> list[Target]:
    """Flat within 5%: no way costs 5% more than the first."""
    found, out = speeds(result), []
    for kind in KINDS:
        for unit, what in (("MB", "with the size of the corpus"), ("shards", "with the number of shards")):
            out.append(at_most(f"scaling, {kind}: extra cost per token {what}", rises(found[kind], unit), 5.0, "%"))
    return out

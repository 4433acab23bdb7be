"""The same work by two versions of `electra`, in turns: has a change made anything slower?

  python bench/paired.py --base 506b936                     this checkout against a commit (checked out into a temporary folder)
  python bench/paired.py --base HEAD~1 --only startup       one group: pretraining, inference, startup
  python bench/paired.py --base 506b936 --repeats 9         more runs

Both versions run with this interpreter and its packages, each in fresh processes that import its own checkout, the two in turns (A B, B A, ...),
so that what else the machine does falls on both. A ratio is of one pair: the time of this checkout over the time of the base. The record is
bench/records/DATE-paired.json (machine, commits, every raw time); the table is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "tiny": {"hidden_size": 312, "embedding_size": 312, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 1200},
    "small": {"hidden_size": 256, "embedding_size": 128, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024},
}
"""Networks of the pre-training step; batch 32 x 128, vocabulary 30,522, dropout 0.1, as in `throughput.py`."""
INFERENCE = """
import sys, time
from electra import load
texts = [line for line in open(sys.argv[2], encoding="utf-8").read().split("\\n") if line]
model = load(sys.argv[1], device="cpu", threads={threads})
single, many = texts[:100], texts[:512]
model.predict(single[:8])
start = time.perf_counter()
for text in single:
    model.predict([text])
one = (time.perf_counter() - start) / len(single)
start = time.perf_counter()
model.predict(many)
print(one, (time.perf_counter() - start) / len(many))
"""


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A commit's files in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "base")
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(place)], check=True)


def environment(place: Path, threads: int) -> dict[str, str]:
    """The environment of a process that imports the package in `place`."""
    count = str(threads)
    return {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false"}


class Training:
    """One process of a checkout's `bench/training_step.py`; it answers requests in lines of JSON."""

    def __init__(self, place: Path, preset: str, name: str, threads: int) -> None:
        command = [sys.executable, str(place / "bench" / "training_step.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(place, threads))
        shape = {"batch_size": 32, "length": 128, "short": 0.05, "vocab_size": 30522, "generator_size": 0.25, "dropout": 0.1, **SHAPES[preset]}
        self.ask(kind="build", name=name, shape=shape, threads=threads)

    def ask(self, **request: Any) -> Any:
        """A request -> its answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SystemExit(f"bench/paired.py: {answer['error']}")
        return answer["value"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def in_turns(sides: list[Any], repeats: int) -> list[tuple[float, float]]:
    """Two functions that return seconds -> pairs of times, the order changing from pair to pair."""
    pairs = []
    for number in range(repeats):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {side: sides[side]() for side in order}
        pairs.append((found[0], found[1]))
    return pairs


def training(places: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an optimizer update in fp32 and bf16."""
    rows = {}
    for preset in SHAPES:
        for name in ("electra", "electra, bf16"):
            processes = [Training(place, preset, name, options.threads) for place in places]
            for process in processes:
                process.ask(kind="step")
            sides = [lambda p=process: min(float(p.ask(kind="step")["seconds"]) for _ in range(2)) for process in processes]
            rows[f"update, {preset}{name.removeprefix('electra')}"] = in_turns(sides, options.repeats)
            for process in processes:
                process.close()
    return rows


def run(place: Path, words: list[str], threads: int) -> tuple[float, str]:
    """A fresh process -> (seconds, what it printed)."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], env=environment(place, threads), input="the chef ate the meal\n", capture_output=True, text=True, cwd=place
    )
    if done.returncode:
        raise SystemExit(f"bench/paired.py: {' '.join(words)[:120]} failed: {done.stderr.strip()[-400:]}")
    return time.perf_counter() - start, done.stdout


def inference(places: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds a text: the bundled int8 classifier and the checkpoint it comes from, sentences one by one and in batches."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts.txt")
        words = "the a film is good bad and very moving story of people who walk home in the rain with their old friends".split()
        texts.write_text("\n".join(" ".join(words[(i * k) % len(words)] for k in range(1, 6 + i % 30)) for i in range(1, 600)), encoding="utf-8")
        for model in ("shipped:sentiment", *([str(options.model)] if options.model else [])):
            found: list[list[tuple[float, float]]] = [[], []]
            for number in range(options.repeats):
                for side in (0, 1) if number % 2 == 0 else (1, 0):
                    _, printed = run(places[side], ["-c", INFERENCE.replace("{threads}", str(options.threads)), model, str(texts)], options.threads)
                    one, many = map(float, printed.split()[-2:])
                    found[side].append((one, many))
            for index, title in enumerate(("one text", "512 texts, a text")):
                rows[f"{title}, {Path(model).name}"] = [(a[index], b[index]) for a, b in zip(*found, strict=True)]
    return rows


def startup(places: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of fresh processes."""
    commands = {
        "electra --help": ["-m", "electra", "--help"],
        "electra pretrain --help": ["-m", "electra", "pretrain", "--help"],
        "electra predict, artifact": ["-m", "electra", "predict", "what a film"],
        "electra detect, checkpoint": ["-m", "electra", "detect", "shipped:mini", "-"],
    }
    rows = {}
    for title, words in commands.items():
        sides = [lambda place=place, words=words: run(place, words, options.threads)[0] for place in places]
        for side in sides:
            side()
        rows[title] = in_turns(sides, options.repeats)
    return rows


GROUPS = {"pretraining": training, "inference": inference, "startup": startup}


def table(rows: dict[str, list[tuple[float, float]]]) -> str:
    """Rows of (this checkout, base) -> Markdown: medians, and the ratio pair by pair."""
    out = ["| what | this checkout, ms | base, ms | ratio (least to most) |", "|---|---:|---:|---|"]
    for title, pairs in rows.items():
        ratios = sorted(a / b for a, b in pairs)
        ours, theirs = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
        out.append(f"| {title} | {ours:.4g} | {theirs:.4g} | {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |")
    return "\n".join(out) + "\n"


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups (default: all)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of each (default: 7)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of both (default: one per core)")
    parser.add_argument("--model", type=Path, help="a fine-tuned checkpoint to measure inference with, too")
    parser.add_argument("--records", type=Path, default=ROOT / "bench" / "records", help="folder of the record")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    with checkout(options.base) as base:
        for name in options.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows |= GROUPS[name]([ROOT, base], options)
    commit = {
        name: subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", ref], capture_output=True, text=True).stdout.strip()
        for name, ref in (("this", "HEAD"), ("base", options.base))
    }
    found = {"commits": commit, "command": " ".join(["python", "bench/paired.py", *sys.argv[1:]]), "load": os.getloadavg(), "seconds": rows}
    with contextlib.suppress(ImportError):
        from electra import environment as machine

        found["machine"] = machine.describe() if hasattr(machine, "describe") else None
    options.records.mkdir(parents=True, exist_ok=True)
    target = options.records / f"{datetime.date.today()}-paired.json"
    target.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"`{found['command']}` ({commit['this']} against {commit['base']})\n\n{table(rows)}")


if __name__ == "__main__":
    main()

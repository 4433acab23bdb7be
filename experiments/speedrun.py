"""The encoder speedrun: raw text to one number, under fixed rules (docs/speedrun.md).

    ELECTRA_DATA=../shared/data python experiments/speedrun.py experiments/speedruns/mini.toml --output runs/speedrun/mini           # an hour, then the score
    ELECTRA_DATA=../shared/data python experiments/speedrun.py experiments/speedruns/mini.toml --output runs/speedrun/mini-15m --budget 15m --seeds 1 2 3

Rules. Only the texts of TEXTS are read, by their hashes; the vocabulary comes from them, and no public weights. The budget is in FLOPs by the count of `electra inspect` over all
stages, so that a faster machine gains nothing but time; two CPU cores should take an hour. A task's points are what the model has above the best baseline without a network, at most ten: of a
short fine-tuning (at most 10,000 examples, three seeds); where PROBED names the task, the mean of those and of a linear probe's. The number is their mean over TASKS. Recorded next to it:
SST-2 from all its examples, bits per character of sentences that no submission may train on, and the areas on the fixed corruption set.

A submission is a TOML file: texts, flags of `electra vocab` and `electra prepare`, and one or several stages of `electra pretrain`, each with its share of the budget; a stage after the
first starts from the one before (--init). The same command resumes; the record gets a row for each seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from flop_budget import tokens_for

import electra
from electra.cli import main as run_electra
from electra.data.documents import read_documents
from electra.data.tokenizer import load_tokenizer
from electra.model.huggingface import load_checkpoint
from electra.pretraining.evaluate import open_probe
from electra.settings import WatchSettings
from electra.storage import atomic
from electra.train.run_log import read_metrics, run_environment

DATA = Path(os.environ.get("ELECTRA_DATA", "../shared/data"))
TEXTS = {
    "wikipedia-0": "dab0a12dac3c1718d4c2651bf2183c516e83a59a7f0fd13027ddf9eb24d836d6",
    "wikipedia-1": "f04894d057d2828ba814dd936f7bf879af0701685cdd2f13b764531709cf8171",
    "wikipedia-2": "8b864c360f3fb4c0f53f6590fe92c3c8e47d6ebf9ce55aa830c3fc3dfeb8c777",
    "wikipedia-3": "6ef56d0efd8c70dd24975f9589f4b63920f5570634b945668b7df370276faead",
    "wikipedia-4": "9ca3b839b602bd0ca2fc7eb0b03f6c2927b69c387b699a32ac6b18dc434c446a",
    "wikipedia-5": "1cd729e3bcc7374ee33102d83290677acf8171582cf9d2d6a082b8c3bc89f59d",
    "wikipedia-6": "5b3eada460446a03de4e2f6e9a81c5209940a8b111d85632411b3881900077ce",
}
"""English Wikipedia of 2015 (CC BY-SA 3.0), corpus-en/NAME.txt.xz -> sha256."""
UNSEEN = {"wikipedia-7": "fda43987e5645c1a1c9257ab380d02f57b675d3168fc54917e75f1f320ecc9b1"}
"""The text of the bits per character."""
SENTENCES = 500
BUDGETS = {"1h": 4.0e14, "15m": 1.0e14}
"""FLOPs: what `mini` does in an hour of two cores, and a quarter of that."""
TASKS = {
    "sst2": "--data glue/SST-2",
    "cola": "--data glue/CoLA",
    "stsb": "--data glue/STS-B",
    "mrpc": "--data glue/MRPC",
    "chunk": "--data conll2000",
    "rte": "--data glue/RTE",
}
"""Task -> its flags; files below $ELECTRA_DATA."""
PROBED = ("sst2", "cola", "mrpc", "rte")
"""Tasks of classes, which `electra pretrain --probe` knows."""
FINE_TUNING = "--preset mini --epochs 3 --max-train-examples 10000 --seeds 3 --baselines".split()
WHOLE_SST2 = "--preset mini --epochs 2 --seeds 3 --baselines".split()
MOST_POINTS = 10.0
"""Points above the best baseline that a task may bring."""


def run(*words: object) -> None:
    """A command of electra; what it refuses ends the speedrun."""
    if code := run_electra([str(word) for word in words]):
        sys.exit(code)


def checked_texts(names: Iterable[str], allowed: dict[str, str]) -> list[Path]:
    """The files of the rules, with their hashes."""
    found = []
    for name in names:
        if name not in allowed:
            sys.exit(f"speedrun: unknown text '{name}'; the rules allow {', '.join(allowed)}")
        path = DATA / "corpus-en" / f"{name}.txt.xz"
        if not path.is_file():
            sys.exit(f"speedrun: {path} not found; set ELECTRA_DATA to the folder of corpus-en and glue")
        if (given := hashlib.sha256(path.read_bytes()).hexdigest()) != allowed[name]:
            sys.exit(f"speedrun: {path} has the hash {given}, the rules say {allowed[name]}; get the file again")
        found.append(path)
    return found


def pretrained(submission: dict[str, Any], folder: Path, shards: Path, budget: float, seed: int, threads: list[str]) -> dict[str, Any]:
    """All stages, or the rest of them -> tokens, seconds and FLOPs."""
    size, last, spent = load_tokenizer(shards / "tokenizer").vocab_size, None, {"tokens": 0.0, "seconds": 0.0, "flops": 0.0}
    for number, stage in enumerate(submission["stage"], 1):
        place = folder / f"stage-{number}"
        flags = [*stage["flags"], *([] if last is None else ["--init", str(last / "final")])]
        if (place / "config.toml").exists() and not (place / "final").exists():
            run("pretrain", "--resume", place)
        elif not (place / "final").exists():
            tokens = tokens_for(flags, stage["share"] * budget, size)
            run("pretrain", *flags, "--data", shards, "--output", place, "--num-train-tokens", tokens, "--seed", seed, "--show-examples", 1, *threads)
        line = read_metrics(place / "metrics.jsonl")[-1]
        spent = {name: value + line[name] for name, value in spent.items()}
        last = place
    return {**spent, "model": str(last / "final")} if last is not None else spent


def fine_tuned(model: str, folder: Path, task: str, flags: list[str], threads: list[str]) -> dict[str, Any]:
    """A task's metric by seed, and its best baseline."""
    if not (folder / "results.json").exists():
        place = ["--data", str(DATA / TASKS[task].split()[1])]
        run("finetune", task, "--model", model, *place, *flags, "--output", folder, *threads, "--resume")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))["tasks"][task]
    metric = found["main_metric"]
    baseline = max(scores[metric] for scores in found["baselines"].values() if metric in scores)
    return {"metric": metric, "scores": found["metrics"][metric]["each"], "baseline": baseline}


def probed(model: str, task: str) -> float:
    """A task's metric by a linear probe."""
    start = load_checkpoint(model, "encoder")
    watch = WatchSettings(probe=task, probe_data=DATA / TASKS[task].split()[1])
    probe = open_probe(watch, load_tokenizer(start.path), start.encoder, torch.device("cpu"), "fp32")
    assert probe is not None
    return probe()[f"probe_{task}"]


def bits_per_character(model: str) -> float | None:
    """The pseudo-log-likelihood of fixed sentences by the submission's masked LM, which an ELECTRA's generator is; None where it has none."""
    sentences: list[str] = []
    for document in read_documents([str(path) for path in checked_texts(UNSEEN, UNSEEN)], documents="blank-line"):
        sentences += [line.strip() for line in document.lines if re.fullmatch(r"[A-Z].{80,200}[.]", line.strip())][:1]
        if len(sentences) == SENTENCES:
            break
    try:
        found = electra.load(model, device="cpu").score(sentences)
    except electra.UserError:
        return None
    return -sum(text.score for text in found) / math.log(2) / sum(map(len, sentences))


def points(row: dict[str, Any]) -> float:
    """A task's points above the best baseline, at most `MOST_POINTS`."""
    values = [statistics.mean(row["scores"]), *([row["probe"]] if "probe" in row else [])]
    return statistics.mean(min(MOST_POINTS, 100 * (value - row["baseline"])) for value in values)


def matmul_rates(threads: int) -> dict[str, float | None]:
    """GFLOP/s of this machine's matrix products, as `make bench` measures them; None for products that it does not have."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
    from machine_limits import KINDS, SHAPES, products

    torch.set_num_threads(threads or torch.get_num_threads())
    found = {kind: products(kind, SHAPES["layer of small"], 1.0, "cpu") for kind in KINDS}
    return {kind: None if values is None else statistics.median(values) / 1e9 for kind, values in found.items()}


def corrupted_words(output: Path) -> Path:
    """The fixed corruption set, see corruption.py."""
    words = output / "words.jsonl"
    if not words.exists():
        command = [sys.executable, str(Path(__file__).with_name("corruption.py")), "join", str(words), "--data", str(DATA / "wikitext2" / "test.txt")]
        subprocess.run(command, check=True)
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("submission", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--budget", choices=BUDGETS, default="1h")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--record", type=Path, default=Path("experiments/records/speedrun.json"))
    options = parser.parse_args()
    try:
        submission = tomllib.loads(options.submission.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{options.submission} cannot be read as TOML: {getattr(error, 'strerror', None) or error}; correct it, or give another file")
    if missing := [name for name in ("description", "texts", "vocabulary", "prepare", "stage") if name not in submission]:
        parser.error(f"{options.submission} has no '{missing[0]}'; see experiments/speedruns/mini.toml")
    threads, output = ["--threads", str(options.threads)], options.output
    texts, shards = checked_texts(submission["texts"], TEXTS), output / "shards"
    if not (output / "vocab").exists():
        run("vocab", *texts, "--documents", "blank-line", *submission["vocabulary"], "--output", output / "vocab")
    if not (shards / "manifest.json").exists():
        run("prepare", *texts, "--documents", "blank-line", "--tokenizer", output / "vocab", *submission["prepare"], "--output", shards)
    for seed in options.seeds:
        folder = output / f"seed-{seed}"
        spent = pretrained(submission, folder, shards, BUDGETS[options.budget], seed, threads)
        model = spent.pop("model")
        rows = {task: fine_tuned(model, folder / "tasks" / task, task, FINE_TUNING, threads) for task in TASKS}
        rows |= {task: rows[task] | {"probe": probed(model, task)} for task in PROBED}
        row = {
            "submission": options.submission.stem,
            "description": submission["description"],
            "budget": options.budget,
            "seed": seed,
            "score": statistics.mean(map(points, rows.values())),
            **spent,
            "tasks": rows,
            "bits_per_character": bits_per_character(model),
            "sst2_whole": fine_tuned(model, folder / "tasks" / "sst2-whole", "sst2", WHOLE_SST2, threads),
            "corruption": dict(electra.evaluate(model, corruption=corrupted_words(output)).metrics),
            "gflop_per_second": matmul_rates(options.threads),
            "environment": run_environment(),
        }
        known = json.loads(options.record.read_text(encoding="utf-8")) if options.record.exists() else []
        same = (row["submission"], row["budget"], seed)
        known = [old for old in known if (old["submission"], old["budget"], old["seed"]) != same]
        atomic.write_text(options.record, json.dumps([*known, row], indent=1) + "\n")
        print(f"{options.submission.stem}, {options.budget}, seed {seed}: score {row['score']:.2f}")


if __name__ == "__main__":
    main()

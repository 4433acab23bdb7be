"""Fine-tuning ELECTRA-Small on a slice of SST-2: ours and `transformers`' Trainer, on this machine.

Each candidate is its own process, as its users would write it, and they take turns, so that what else the machine does falls on all of them:

  electra   `electra finetune sst2`: batches of similar length, padding never computed
  dynamic   Trainer with DataCollatorWithPadding: every batch padded to its longest text
  padded    Trainer on texts padded to 128 when they are tokenized, as most tutorials (and the seed) do

The same checkpoint of random weights, texts, batch size, dropout, learning rate and one epoch for all. What is timed is the training alone: no
tokenizing, no loading, no evaluation. Every step of 'padded' costs the same, so that only some of its steps are run, and the whole epoch is reckoned
from their median; the record says how many.

  python bench/finetuning.py --data ../shared/data/glue/SST-2 --vocab ../shared/data/vocab/uncased-en.txt --peers .venv-bench/peers/bin/python
  python bench/finetuning.py ... --hidden-size 64 --num-hidden-layers 2 --examples 200 --repeats 1        a trial
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from section import HERE, Skipped, Target, Work, at_least, environment, middle, peer_environment, spread, stream, table

RECORDS = Path(__file__).parent / "records"
CANDIDATES = ("electra", "dynamic", "padded")
LENGTH = 128


def make_checkpoint(options: argparse.Namespace, folder: Path) -> None:
    """ELECTRA-Small with random weights, as `transformers` saves it."""
    import torch
    from transformers import ElectraConfig, ElectraForPreTraining, ElectraTokenizerFast

    torch.manual_seed(1)
    sizes = {"embedding_size": 128, "hidden_size": options.hidden_size, "num_hidden_layers": options.num_hidden_layers}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 4 * options.hidden_size}
    tokenizer = ElectraTokenizerFast(vocab=str(options.vocab), do_lower_case=True)
    dropout = {"hidden_dropout_prob": options.dropout, "attention_probs_dropout_prob": options.dropout}
    ElectraForPreTraining(ElectraConfig(vocab_size=len(tokenizer), **sizes, **dropout)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_slice(options: argparse.Namespace, folder: Path) -> None:
    """The first examples of SST-2's training file; a dev file of a few, which nobody times."""
    lines = (options.data / "train.tsv").read_text(encoding="utf-8").splitlines()
    folder.mkdir()
    (folder / "train.tsv").write_text("\n".join(lines[: 1 + options.examples]) + "\n", encoding="utf-8")
    (folder / "dev.tsv").write_text("\n".join(lines[:9]) + "\n", encoding="utf-8")


def run_electra(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The command a user types; the seconds are those of its own training log."""
    output = work / f"electra-{time.monotonic_ns()}"
    flags = ["--epochs", "1", "--batch-size", str(options.batch_size), "--dropout", str(options.dropout), "--threads", str(options.threads)]
    words = [sys.executable, "-m", "electra", "finetune", "sst2", "--model", str(work / "model"), "--data", str(work / "slice")]
    words += ["--output", str(output), "--device", "cpu", *flags]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(options.threads))
    if done.returncode:
        raise SystemExit(f"electra finetune failed: {done.stderr.splitlines()[-1]}")
    lines = [json.loads(line) for line in (output / "seed-1" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "train"][-1]
    return {"seconds": last["seconds"], "steps": last["step"], "computed_tokens": last["tokens"], "steps_timed": last["step"]}


def run_peer(options: argparse.Namespace, work: Path, candidate: str) -> dict[str, Any]:
    """Trainer (or what makes the checkpoint) in a fresh process, under the peers' interpreter."""
    names = ("batch_size", "dropout", "threads", "padded_steps", "data", "vocab", "hidden_size", "num_hidden_layers")
    told = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names]
    words = [options.peers, __file__, "--candidate", candidate, "--work", str(work), *told]
    found = subprocess.run(words, capture_output=True, text=True, env=peer_environment(options.threads) | {"TOKENIZERS_PARALLELISM": "false"})
    if found.returncode:
        raise SystemExit(f"{candidate} failed: {found.stderr.splitlines()[-1]}")
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def train(options: argparse.Namespace, work: Path, candidate: str) -> dict[str, Any]:
    """One epoch by Trainer: seconds of its steps."""
    import torch
    from transformers import AutoTokenizer, DataCollatorWithPadding, ElectraForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    model = ElectraForSequenceClassification.from_pretrained(work / "model", num_labels=2)
    rows = [line.split("\t") for line in (work / "slice" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    padding = {"padding": "max_length"} if candidate == "padded" else {}
    encoded = [{**tokenizer(text, truncation=True, max_length=LENGTH, **padding), "labels": int(label)} for text, label in rows]
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(work / candidate),
        num_train_epochs=1,
        max_steps=options.padded_steps if candidate == "padded" else -1,
        per_device_train_batch_size=options.batch_size,
        learning_rate=3e-4,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        logging_strategy="no",
        seed=1,
    )
    collate = DataCollatorWithPadding(tokenizer)
    computed = 0

    def counted(batch: list[dict[str, Any]]) -> Any:
        nonlocal computed
        made = collate(batch)
        computed += made["input_ids"].numel()
        return made

    Trainer(model=model, args=arguments, train_dataset=encoded, data_collator=counted, callbacks=[Clock()]).train()
    steps = math.ceil(len(rows) / options.batch_size)
    each = [b - a for a, b in itertools.pairwise(marks)]
    if candidate == "padded":
        seconds, computed = statistics.median(each[1:]) * steps, LENGTH * len(rows)
    else:
        seconds = marks[-1] - marks[0]
    return {"seconds": seconds, "steps": steps, "computed_tokens": computed, "steps_timed": len(each)}


def main() -> None:
    """Take turns, write the record, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="SST-2's folder")
    parser.add_argument("--vocab", type=Path, required=True, help="vocab.txt of the released models")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--padded-steps", type=int, default=12, help="steps of 'padded' that are run")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-hidden-layers", type=int, default=12)
    parser.add_argument("--output", type=Path, default=RECORDS / "finetuning.json")
    parser.add_argument("--candidate", choices=("checkpoint", *CANDIDATES), help=argparse.SUPPRESS)
    parser.add_argument("--peers", default=sys.executable, help="interpreter with transformers and accelerate (default: this one)")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate:
        print(
            json.dumps(
                make_checkpoint(options, options.work / "model")
                if options.candidate == "checkpoint"
                else train(options, options.work, options.candidate)
            )
        )
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CANDIDATES}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run_peer(options, work, "checkpoint")
        make_slice(options, work / "slice")
        for repeat in range(options.repeats):
            order = CANDIDATES[repeat % 3 :] + CANDIDATES[: repeat % 3]
            for name in order:
                runs[name].append(run_electra(options, work) if name == "electra" else run_peer(options, work, name))
                print(f"repeat {repeat + 1} of {options.repeats}: {name} {runs[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    median = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items()}
    ratio = {
        name: round(statistics.median(theirs["seconds"] / ours["seconds"] for theirs, ours in zip(runs[name], runs["electra"], strict=True)), 3)
        for name in ("dynamic", "padded")
    }
    from electra.train.run_log import run_environment as surroundings

    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("work", "candidate", "output", "peers")
    }
    values |= {"data": options.data.name, "vocab": options.vocab.name}
    record = {"what": "seconds of one epoch of training", "median_seconds": median, "times_as_fast": ratio, "options": values, "runs": runs}
    here = surroundings()
    here["command"] = [Path(word).name if "/" in word else word for word in here["command"]]
    options.output.write_text(json.dumps(record | {"environment": here}, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"{name:8} {seconds:8.1f} s   {ratio.get(name, 1.0):5.2f}x" for name, seconds in median.items()))


# ---- the section of bench/run.py ----


def measure(work: Work) -> dict[str, Any]:
    """This script on SST-2."""
    import models

    data = models.sst2(work)
    if not work.peers:
        raise Skipped(f"no Trainer to compare with: {work.peers_problem}")
    output = work.folder / "finetuning.json"
    words = [
        str(HERE / "finetuning.py"),
        "--data",
        str(data),
        "--vocab",
        str(models.vocabulary(work)),
        "--peers",
        work.peers,
        "--output",
        str(output),
    ]
    repeats = 1 if work.quick else work.options.get("repeats") or 5
    words += ["--threads", str(work.threads), "--repeats", str(repeats)]
    words += ["--examples", "24", "--batch-size", "8", "--hidden-size", "32", "--num-hidden-layers", "2", "--padded-steps", "2"] if work.quick else []
    seen = 0

    def take(line: str) -> None:
        nonlocal seen
        seen += line.startswith("repeat")
        work.progress(min(0.99, seen / (3 * repeats)), line)

    stream(words, threads=work.threads, take=take)
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return found


def ratios(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Trainer's seconds over ours, turn by turn."""
    ours = [run["seconds"] for run in result["runs"]["electra"]]
    return {name: middle(run["seconds"] / one for run, one in zip(result["runs"][name], ours, strict=True)) for name in CANDIDATES[1:]}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    names = {
        "electra": "`electra finetune`",
        "dynamic": "Trainer, batches padded to their longest text",
        "padded": "Trainer, every text padded to 128",
    }
    found, rows = ratios(result), []
    for name, runs in result["runs"].items():
        timed = f"{runs[0]['steps_timed']} of {runs[0]['steps']}"
        cells = [spread(middle(run["seconds"] for run in runs), "{:.1f}"), f"{runs[0]['computed_tokens']:,}", timed, spread(found.get(name))]
        rows.append([names[name], *cells])
    options = result["options"]
    batch = f"batches of {options['batch_size']}, dropout {options['dropout']}"
    out = [
        f"One epoch of {options['examples']:,} examples of SST-2, {batch}: seconds of training; median of {options['repeats']} turns (least..most)."
    ]
    return [*out, "", *table(("candidate", "seconds", "tokens computed", "steps timed", "electra is faster by"), rows)]


def targets(result: dict[str, Any]) -> list[Target]:
    """Against dynamic padding."""
    return [at_least("fine-tuning SST-2: speed over Trainer with dynamic padding", ratios(result)["dynamic"]["median"], 2.0)]


if __name__ == "__main__":
    main()

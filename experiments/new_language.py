"""A model of another language from an English encoder, against one from random weights, at equal FLOPs: each cell pre-trained, evaluated and fine-tuned.

    ELECTRA_DATA=../shared/data python experiments/new_language.py --output runs/new-language --minutes 20                 # 4 starts x 3 seeds: 7 hours of two cores
    ELECTRA_DATA=../shared/data python experiments/new_language.py --output runs/new-language --minutes 40 80
    ELECTRA_DATA=../shared/data python experiments/new_language.py --output runs/permuted --language permuted --minutes 20  # English with permuted letters, a control

The starts: 'scratch' (the preset mini), 'similar', 'mean' and 'random' (--new-vocabulary of all-MiniLM-L6-v2, by --new-token-init), 'body-random' (as similar, but the
layers are random). A minute is 1.5e13 FLOP by the count of `electra inspect`, about what two cores with bf16 do in one. The same command resumes; the record is written
after each cell. The corruption set comes from a scratch run of its own (seed 100). What follows `--` is for every pre-training, such as `-- --precision bf16`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import string
import sys
from pathlib import Path

import numpy as np
from flop_budget import tokens_for
from public_encoder import public_encoder

import electra
from electra.cli import main as run_electra
from electra.data.documents import read_documents
from electra.data.shards import open_shards
from electra.data.tokenizer import load_tokenizer
from electra.model.huggingface import load_checkpoint, save_checkpoint
from electra.model.initialization import initialize
from electra.storage import atomic
from electra.train.run_log import read_metrics, run_environment

DATA = Path(os.environ.get("ELECTRA_DATA", "../shared/data"))
FLOP_PER_MINUTE = 1.5e13
STARTS = ("scratch", "similar", "mean", "random", "body-random")
TASKS = {
    "chinese": {
        "chnsenticorp": "--data clue/ChnSentiCorp --epochs 1",
        "tnews": "--data clue/FewCLUE/tnews --fold few_all --epochs 10",
        "csl": "--data clue/FewCLUE/csl --fold few_all --epochs 5",
        "cmrc2018": "--train cmrc2018/dev.json --dev cmrc2018/trial.json --epochs 1",
    },
    "permuted": {"sst2": "--data permuted/SST-2 --epochs 1 --max-train-examples 20000"},
}
"""Language -> task -> its flags; files below $ELECTRA_DATA, or the output."""


def run(*words: object) -> None:
    """A command of electra; what it refuses ends the experiment."""
    if code := run_electra([str(word) for word in words]):
        sys.exit(code)


def permuted(text: str) -> str:
    """English with other letters: the same structure, no shared words."""
    letters = list(string.ascii_lowercase)
    random.Random(1).shuffle(letters)
    return text.translate(str.maketrans(string.ascii_lowercase + string.ascii_uppercase, "".join(letters) + "".join(letters).upper()))


def prepared(language: str, output: Path, vocabulary: str) -> Path:
    """The tokenized text, with a vocabulary that exists, or one of its own of so many tokens."""
    corpus = [DATA / "corpus-zh"]
    if language == "permuted":
        corpus = [output / "permuted" / "corpus.txt"]
        if not corpus[0].exists():
            corpus[0].parent.mkdir(parents=True, exist_ok=True)
            texts = read_documents([str(DATA / "corpus-en" / "wikipedia-0.txt.xz")], documents="blank-line")
            atomic.write_text(corpus[0], "\n\n".join(permuted("\n".join(text.lines)) for text in texts))
            for name in ("train.tsv", "dev.tsv"):
                place = output / "permuted" / "SST-2" / name
                place.parent.mkdir(exist_ok=True)
                header, *rows = (DATA / "glue" / "SST-2" / name).read_text(encoding="utf-8").splitlines()
                rows = [f"{permuted(text)}\t{label}" for text, label in (row.rsplit("\t", 1) for row in rows)]
                atomic.write_text(place, "\n".join([header, *rows]) + "\n")
    own = output / "vocab" if vocabulary.isdigit() else vocabulary
    if vocabulary.isdigit() and not (output / "vocab").exists():
        run("vocab", *corpus, "--documents", "blank-line", "--size", vocabulary, "--output", output / "vocab")
    if not (output / "shards" / "manifest.json").exists():
        run("prepare", *corpus, "--documents", "blank-line", "--tokenizer", own, "--output", output / "shards", "--words", "none")
    return output / "shards"


def with_random_layers(encoder: Path, folder: Path) -> Path:
    """The encoder with its embeddings and random layers."""
    if not folder.exists():
        import torch

        found = load_checkpoint(encoder, "encoder")
        initialize(found.encoder.layers, torch.Generator().manual_seed(1))
        with atomic.atomic_folder(folder) as place:
            save_checkpoint(found.module, place, tokenizer=encoder)
    return folder


def flags_of(start: str, encoder: Path, output: Path) -> list[str]:
    """Preset and flags of a start."""
    if start == "scratch":
        return ["mini"]
    body = with_random_layers(encoder, output / "random-layers") if start == "body-random" else encoder
    how = start if start in ("mean", "random") else "similar"
    return ["continue", "--init", str(body), "--new-vocabulary", "--new-token-init", how, "--mlm-first", "50%"]


def characters_per_token(shards: Path) -> float:
    """Of the held-out text, without spaces between tokens."""
    found = open_shards(shards)
    pieces = load_tokenizer(found.tokenizer_path).pieces
    lengths = np.array([len(piece.removeprefix("##")) for piece in pieces])
    return float(lengths[np.asarray(found.held_out.ids[:], np.int64)].mean())


def pretrained(folder: Path, flags: list[str], tokens: int, shards: Path, seed: int, more: list[str]) -> None:
    """A run, or the rest of one."""
    if (folder / "final").exists():
        return
    if (folder / "config.toml").exists():
        run("pretrain", "--resume", folder)
        return
    run("pretrain", *flags, "--data", shards, "--output", folder, "--num-train-tokens", tokens, "--seed", seed, "--show-examples", 1, *more)


def scores(folder: Path, tasks: dict[str, str], shards: Path, corruption: Path, output: Path, seed: int) -> dict[str, float]:
    """What a pre-trained model is worth: masked-LM loss in bits per character, AUC, the tasks' main metrics."""
    per_token = math.log(2) * characters_per_token(shards)
    losses = {name: read_metrics(folder / name / "metrics.jsonl")[-1] for name in ("mlm-first", ".") if (folder / name / "metrics.jsonl").exists()}
    out = {"encoder_bits_per_character": losses["mlm-first"]["masked_lm_loss"] / per_token, "disc_auc_own_generator": losses["."]["disc_auc"]}
    out |= {f"corruption_{name}": value for name, value in electra.evaluate(folder, corruption=corruption).metrics.items()}
    for task, words in tasks.items():
        place = folder / "tasks" / task
        if not (place / "results.json").exists():
            flags = [str(p) if (p := output / word).exists() and "/" in word else str(DATA / word) if "/" in word else word for word in words.split()]
            run("finetune", task, "--model", folder, "--seeds", 1, "--seed", seed, "--preset", "mini", *flags, "--output", place, "--resume")
            shutil.rmtree(place / "best", ignore_errors=True)
        found = json.loads((place / "results.json").read_text(encoding="utf-8"))["tasks"][task]
        out[task] = found["points"][0]["metrics"][found["main_metric"]]["mean"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--language", choices=TASKS, default="chinese")
    parser.add_argument("--minutes", nargs="+", type=float, default=[20.0])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["scratch", "similar", "random", "body-random"])
    parser.add_argument("--tasks", nargs="*", help="default: all of the language")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--vocab", help="a tokenizer, or the size of a new one; default: BERT's for Chinese (checkpoints/chinese-mini), else 8192")
    parser.add_argument("--record", type=Path, default=Path("experiments/records/new-language.json"))
    parser.add_argument("more", nargs="*", help="flags of electra pretrain, after --")
    options = parser.parse_args()
    tasks = {name: flags for name, flags in TASKS[options.language].items() if options.tasks is None or name in options.tasks}
    encoder = public_encoder()
    shards = prepared(options.language, options.output, options.vocab or ("checkpoints/chinese-mini" if options.language == "chinese" else "8192"))
    vocab_size = load_tokenizer(open_shards(shards).tokenizer_path).vocab_size
    reference, corruption = options.output / "reference", options.output / "corruption.npz"
    flags = flags_of("scratch", encoder, options.output)
    pretrained(reference, flags, tokens_for(flags, min(options.minutes) * FLOP_PER_MINUTE, vocab_size), shards, 100, options.more)
    if not corruption.exists():
        electra.evaluate(reference, data=[str(shards)], corruption=corruption)
    record = json.loads(options.record.read_text(encoding="utf-8")) if options.record.exists() else {"cells": {}}
    for minutes in options.minutes:
        for seed in options.seeds:
            for start in options.starts:
                folder = options.output / f"{minutes:g}" / f"{start}-{seed}"
                flags = flags_of(start, encoder, options.output)
                tokens = tokens_for(flags, minutes * FLOP_PER_MINUTE, vocab_size)
                pretrained(folder, flags, tokens, shards, seed, options.more)
                last = read_metrics(folder / "metrics.jsonl")[-1]
                cell = {
                    "start": start,
                    "minutes": minutes,
                    "seed": seed,
                    **{name: last[name] for name in ("tokens", "seconds", "flops") if name in last},
                }
                cell |= scores(folder, tasks, shards, corruption, options.output, seed)
                record["cells"][f"{options.language} {minutes:g} {start} {seed}"] = cell
                record |= {"command": "python experiments/new_language.py", "environment": run_environment()}
                atomic.write_text(options.record, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

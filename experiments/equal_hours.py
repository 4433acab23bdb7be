"""Three recipes, an hour each, on the same shards: what they detect on the fixed corruption set, and their curves in one picture.

    python experiments/equal_hours.py --corruption runs/fixed.npz --run mini=runs/mini --run mini-paper=runs/mini-paper --run mini-mlm=runs/mini-mlm

A discriminator says how likely each token was replaced. A masked LM has no such head: it detects by how unlikely it finds a token with only
that one masked, -log p(token | all others), which takes a forward pass per token; so it reads the first --examples only, and the
discriminators are scored on those too. Writes --record, with the machine and the command.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from electra.contracts import Batch
from electra.data.corruption_set import load_corruption
from electra.data.pretraining_batches import collate
from electra.data.tokenizer import load_tokenizer
from electra.model.huggingface import load_checkpoint
from electra.storage import atomic, resolve
from electra.train.evaluation import area_under_curve
from electra.train.run_log import run_environment, run_metrics

BATCH = 32


def surprise(module: torch.nn.Module, ids: np.ndarray, segments: np.ndarray, mask_id: int) -> np.ndarray:
    """(L,) ids of one example -> (L,) -log p(token | all others), each token masked alone."""
    out = []
    for first in range(0, len(ids), BATCH):
        at = np.arange(first, min(first + BATCH, len(ids)))
        rows = np.repeat(ids[None], len(at), 0)
        rows[np.arange(len(at)), at] = mask_id
        batch = collate([(row, segments) for row in rows])
        logits = module(batch, at=torch.from_numpy(np.arange(len(at)) * len(ids) + at))
        out.append(-torch.log_softmax(logits.float(), -1)[torch.arange(len(at)), torch.from_numpy(ids[at].astype(np.int64))].numpy())
    return np.concatenate(out)


def judged(run: Path, corruption: Path, examples: int) -> dict[str, float]:
    """Area under the curve per source of replacements, without special tokens: of all examples if that is cheap, and of the first ones."""
    checkpoint = load_checkpoint(resolve.resolve(run))
    tokenizer = load_tokenizer(checkpoint.path)
    fixed = load_corruption(corruption, tokenizer.fingerprint)
    detector = checkpoint.architecture == "ElectraForPreTraining"
    special = np.array(sorted(tokenizer.special_ids))
    found: dict[str, float] = {}
    for source in fixed.corrupted:
        scores, labels = [], []
        for batch, corrupted, replaced in islice(fixed.batches(source, 1), None if detector else examples):
            kept = ~np.isin(batch.ids.numpy(), special)
            row = checkpoint.module(batch, corrupted).numpy() if detector else surprise_of(checkpoint.module, batch, corrupted, tokenizer.mask_id)
            scores.append(row[kept])
            labels.append(replaced.numpy()[kept])
        found[f"{source}_auc_first_{examples}"] = area_under_curve(np.concatenate(scores[:examples]), np.concatenate(labels[:examples]))
        if detector:
            found[f"{source}_auc"] = area_under_curve(np.concatenate(scores), np.concatenate(labels))
    return found


def surprise_of(module: torch.nn.Module, batch: Batch, corrupted: torch.Tensor, mask_id: int) -> np.ndarray:
    """`surprise` of a batch of one."""
    return surprise(module, corrupted.numpy(), batch.segments.numpy(), mask_id)


def main() -> None:
    """Evaluate every run, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corruption", type=Path, required=True)
    parser.add_argument("--run", action="append", required=True, metavar="NAME=RUN")
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--record", type=Path, default=Path("experiments/records/equal-hours.json"))
    options = parser.parse_args()
    rows = {}
    for item in options.run:
        name, _, place = item.partition("=")
        with torch.inference_mode():
            rows[name] = judged(Path(place), options.corruption, options.examples)
        last = run_metrics(Path(place))[-1]
        rows[name] |= {"tokens": last["tokens"], "minutes": round(last["seconds"] / 60, 1)}
        print(name, json.dumps(rows[name]), flush=True)
    record = {"command": shlex.join(["python", *sys.argv]), "environment": run_environment(), "runs": rows}
    atomic.write_text(options.record, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

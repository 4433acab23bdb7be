"""What a checkpoint's frozen states know about sentiment, layer by layer, and which words have similar embeddings.

    python experiments/frozen_probe.py shipped:mini --data glue/SST-2

A logistic regression on the mean of each layer's states over 12,000 phrases of SST-2's training set (a fixed choice), scored on dev; the
first figure is the embeddings'. Then the nearest neighbours of a few words. --random does the same with random weights of that shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from electra.contracts import Features
from electra.data.task_batches import evaluation_batches
from electra.data.tokenizer import load_tokenizer
from electra.model.encoder import Encoder, Rows
from electra.model.huggingface import load_checkpoint, reinitialize
from electra.tasks.registry import find_task

WORDS = ("good", "terrible", "boring", "brilliant", "bad", "king")


def layer_means(encoder: Encoder, features: Sequence[Features]) -> list[np.ndarray]:
    """Features -> for the embeddings and every layer, (N, D) means over each sequence's tokens."""
    means = [np.zeros((len(features), encoder.config.hidden_size), np.float32) for _ in range(len(encoder.layers) + 1)]
    with torch.no_grad():
        for indices, batch in evaluation_batches(features, 64):
            hidden = encoder.embeddings(batch.ids, batch.segments, batch.positions)
            hidden = hidden if encoder.projection is None else encoder.projection(hidden)
            rows, lengths = Rows.of(batch), torch.tensor(batch.lengths)[:, None]
            for number, mean in enumerate(means):
                hidden = hidden if number == 0 else encoder.layers[number - 1](hidden, rows)
                mean[indices] = torch.zeros(len(lengths), hidden.shape[1]).index_add_(0, batch.rows, hidden) / lengths
    return means


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--random", action="store_true")
    options = parser.parse_args()
    task = find_task("sst2")
    train, dev = task.read(options.data, "train"), task.read(options.data, "dev")
    head = task.head(train)
    train = [train[i] for i in np.random.default_rng(0).permutation(len(train))[:12_000]]
    for name in options.checkpoints:
        start = load_checkpoint(name, "encoder")
        encoder, tokenizer = start.encoder, load_tokenizer(start.path)
        if options.random:
            reinitialize(encoder, 0)
        known, unseen = (task.featurize(examples, tokenizer, 64, head) for examples in (train, dev))
        labels, wanted = (np.array([f.label for f in features]) for features in (known, unseen))
        scores = []
        for fit, test in zip(layer_means(encoder, known), layer_means(encoder, unseen), strict=True):
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)).fit(fit, labels)
            scores.append(f"{100 * probe.score(test, wanted):.1f}")
        print(f"{name}{' (random weights)' if options.random else ''}: {' '.join(scores)}")
        words = encoder.embeddings.word.weight.detach()
        likeness = F.normalize(words - words.mean(0), dim=1)
        for word in () if options.random else WORDS:
            (first, *rest) = tokenizer.encode([word])[0]
            if not rest:
                nearest = (likeness @ likeness[first]).topk(8).indices.tolist()[1:]
                print(f"  {word}: {' '.join(tokenizer.pieces[i] for i in nearest)}")


if __name__ == "__main__":
    main()

"""Replaced-token detection in a training loop of your own: the objective, the batches and the networks are plain PyTorch.

  python examples/objective_in_your_loop.py shards/ --steps 100

`shards/` is made by `electra prepare`. What `electra pretrain` adds to this loop: the learning-rate schedule, accumulation, several GPUs,
mixed precision, evaluation, checkpoints that resume bit by bit.
"""

import argparse
from pathlib import Path

import torch

from electra.data import ExampleBuilder, PretrainingStream, load_tokenizer, open_shards
from electra.model import build_objective, save_pretrained
from electra.settings import DataSettings, ModelSettings, ObjectiveSettings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("shards")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--hidden-size", type=int, default=128)
parser.add_argument("--output", default="my-loop")
args = parser.parse_args()

dataset = open_shards(args.shards)
tokenizer = load_tokenizer(dataset.tokenizer_path)
data = DataSettings(data=(args.shards,), sequence_length=64)
batches = PretrainingStream([dataset.train], ExampleBuilder(data, tokenizer), batch_size=16, seed=1)

model = ModelSettings(
    hidden_size=args.hidden_size, embedding_size=args.hidden_size, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
)
objective = build_objective(
    model,
    ObjectiveSettings(mask_prob=0.15, disc_weight=50.0),
    vocab_size=tokenizer.vocab_size,
    mask_id=tokenizer.mask_id,
    special_ids=tokenizer.special_ids,
    sequence_length=data.sequence_length,
    seed=1,
)
optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4)

for step, batch in zip(range(args.steps), batches, strict=False):
    counts = objective.counts(batch)  # loss name -> number of predictions
    output = objective(batch)  # losses as sums, so that they can be divided over microbatches and ranks
    loss = sum(item.weight * item.total / counts[name] for name, item in output.losses.items())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(step, {name: round(float(item.total) / counts[name], 3) for name, item in output.losses.items()})

# A Hugging Face directory, generator included: electra.load and transformers open it.
save_pretrained(objective, Path(args.output), tokenizer=dataset.tokenizer_path, card="An experiment.\n")

"""Continue pre-training from a checkpoint on text of your domain.

  python examples/continue_from_checkpoint.py reviews/ --checkpoint shipped:mini --output reviews-electra --budget 30m

The checkpoint gives the vocabulary and the shape of the networks. It may be a folder, a run, a name on the Hugging Face hub
("google/electra-small-discriminator"), or a model bundled with electra ("shipped:mini").
"""

import argparse

import electra

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("corpus", nargs="+")
parser.add_argument("--checkpoint", default="shipped:mini")
parser.add_argument("--preset", default="mini", help="objective, rates and batch size; the shape is the checkpoint's")
parser.add_argument("--output", default="continued")
parser.add_argument("--budget", default="30m")
parser.add_argument("--steps", type=int, help="optimizer updates, instead of a budget")
args = parser.parse_args()

# The tokenizer must be the checkpoint's: its embeddings belong to that vocabulary.
dataset = electra.prepare(args.corpus, tokenizer=args.checkpoint, output=f"{args.output}/shards", held_out=0.02)

before = electra.evaluate(args.checkpoint, data=[dataset.path], num_examples=200)
run = electra.pretrain(
    args.preset,
    data=[dataset.path],
    init=args.checkpoint,
    learning_rate=1e-4,  # lower than from scratch
    output=f"{args.output}/run",
    **({"num_train_steps": args.steps} if args.steps else {"budget": args.budget}),
)
after = electra.evaluate(run.checkpoint, data=[dataset.path], num_examples=200)

for name in ("masked_lm_loss", "masked_lm_accuracy", "disc_loss", "disc_auc"):
    print(f"{name:20} {before.metrics[name]:.3f} -> {after.metrics[name]:.3f}")

"""A text encoder for your own language, from raw text: vocabulary, tokenized dataset, pre-training.

  python examples/own_language.py corpus/ --output my-language --budget 1h

The corpus is files or folders of .txt (.gz, .xz, .zst), .jsonl or .parquet, one document per line or blank lines between documents.
`mini` is made for two CPU cores and an hour; take `small` for a GPU and a day.
"""

import argparse
from pathlib import Path

import electra

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("corpus", nargs="+")
parser.add_argument("--output", default="my-language")
parser.add_argument("--preset", default="mini")
parser.add_argument("--vocab-size", type=int, default=8192)
parser.add_argument("--budget", default="1h", help="wall-clock time of the pre-training")
parser.add_argument("--steps", type=int, help="optimizer updates, instead of a budget")
args = parser.parse_args()

# 1. A WordPiece vocabulary of your language. It keeps accents where they tell words apart, and says what it decided and why.
vocabulary = electra.train_vocabulary(args.corpus, output=f"{args.output}/vocab", size=args.vocab_size)
print(f"{vocabulary.vocab_size} tokens, from {vocabulary.text_bytes / 1e6:.1f} MB of text")

# 2. Documents -> token ids on disk, 0.5% of the documents held out.
dataset = electra.prepare(args.corpus, tokenizer=vocabulary.path, output=f"{args.output}/shards", held_out=0.02)
print(f"{dataset.train_tokens:,} tokens to train on, {dataset.held_out_tokens:,} held out")

# 3. Replaced-token detection. Interrupted runs go on with electra.pretrain(resume="...").
length = {"num_train_steps": args.steps} if args.steps else {"budget": args.budget}
run = electra.pretrain(args.preset, data=[dataset.path], output=f"{args.output}/run", **length)
print(f"{run.checkpoint}: {run.steps} steps, {run.tokens:,} tokens; held out: {run.metrics}")

# 4. The discriminator tells which tokens do not belong.
detector = electra.load(run.checkpoint)
vocabulary_file = Path(args.output, "vocab", "vocab.txt").read_text(encoding="utf-8")
line = next(line for line in vocabulary_file.splitlines() if line.isalpha())
for token in detector.detect([line])[0].tokens:
    print(f"{token.token:>16}  {token.probability:.2f}")

"""The whole story, readable from top to bottom: raw text -> vocabulary -> tokenized dataset -> pre-trained encoder -> fine-tuned classifier
-> int8 artifact, measured next to the checkpoint -> answers.

  python examples/journey.py --corpus corpus/ --train train.tsv --dev dev.tsv --budget 1h --output journey

Every step is one function with the settings of the command of the same name; what it returns is what the next step needs.
"""

import argparse

import electra

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--corpus", nargs="+", required=True, help="raw text: files or folders")
parser.add_argument("--train", required=True, help="labelled training file with columns text and label (csv, tsv, jsonl, parquet)")
parser.add_argument("--dev", required=True, help="labelled file to score on")
parser.add_argument("--output", default="journey")
parser.add_argument("--preset", default="mini")
parser.add_argument("--vocab-size", type=int, default=8192)
parser.add_argument("--budget", default="1h", help="wall-clock time of the pre-training")
parser.add_argument("--steps", type=int, help="optimizer updates, instead of a budget")
parser.add_argument("--epochs", type=float, default=3.0)
parser.add_argument("--calls", type=int, default=200)
args = parser.parse_args()
out = args.output

# Text -> tokens. The vocabulary is learned from the corpus; the corpus becomes memory-mapped token ids with a held-out part.
vocabulary = electra.train_vocabulary(args.corpus, output=f"{out}/vocab", size=args.vocab_size)
dataset = electra.prepare(args.corpus, tokenizer=vocabulary.path, output=f"{out}/shards", held_out=0.02)

# Tokens -> encoder. A small generator replaces tokens, the discriminator learns to tell which ones.
length = {"num_train_steps": args.steps} if args.steps else {"budget": args.budget}
run = electra.pretrain(args.preset, data=[dataset.path], output=f"{out}/pretrain", **length)
print(f"pre-trained: {run.steps} steps, {run.tokens:,} tokens, AUC of the discriminator {run.metrics['disc_auc']:.3f}")

# Encoder -> classifier, and the same network from random weights: what was the pre-training worth?
own = {"train": args.train, "dev": args.dev, "epochs": args.epochs}
classifier = electra.finetune("own", model=run.checkpoint, output=f"{out}/classifier", **own)
control = electra.finetune("own", model=f"random:{run.checkpoint}", output=f"{out}/control", **own)
print(f"accuracy: pre-trained {classifier.metrics['accuracy']:.3f}, from random weights {control.metrics['accuracy']:.3f}")

# Classifier -> artifact that needs no PyTorch; both measured by one method.
artifact = electra.build(classifier.model, target="onnx-int8", output=f"{out}/artifact")
comparison = electra.compare([classifier.model, artifact.path], task="own", data=args.dev, calls=args.calls)
for row in comparison.rows:
    print(f"{row.name:24} accuracy {row.score:.3f}, median latency {row.latency.p50_ms:.2f} ms")

# The artifact answers: here, by `electra predict`, or over HTTP by `electra serve`.
answer = electra.pipeline("text-classification", model=artifact.path)
print(answer(["what a wonderful film", "two hours I will not get back"]))

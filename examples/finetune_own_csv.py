"""Fine-tune a classifier on your own labelled file (csv, tsv, jsonl or parquet), score it and use it.

python examples/finetune_own_csv.py train.csv dev.csv --text review --label stars --model shipped:mini --output my-classifier
"""

import argparse

import electra

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("train")
parser.add_argument("dev")
parser.add_argument("--text", default="text", help="column of the text")
parser.add_argument("--label", default="label", help="column of the label")
parser.add_argument("--model", default="shipped:mini", help="checkpoint to start from")
parser.add_argument("--output", default="my-classifier")
parser.add_argument("--epochs", type=float, default=3.0)
parser.add_argument("--seeds", type=int, default=1)
args = parser.parse_args()

result = electra.finetune(
    "own",
    model=args.model,
    train=args.train,
    dev=args.dev,
    text=args.text,
    label=args.label,
    epochs=args.epochs,
    seeds=args.seeds,
    output=args.output,
)
print(f"best of {args.seeds} seed(s): {result.model}, {result.metrics}")

# Any interface gives the same answers: load, pipeline, `electra predict`, `electra serve`.
classifier = electra.pipeline("text-classification", model=result.model)
print(classifier(["An example text.", "Another one."]))
# With the inputs and options of transformers' pipelines: lists, generators, columns; top_k, truncation, batch_size.
for answer in classifier((text for text in ("A stream", "of any length")), top_k=None, batch_size=16):
    print(answer)

# The same file once more, scored by `evaluate`.
print(electra.evaluate(result.model, task="own", data=[args.dev], text=args.text, label=args.label).metrics)

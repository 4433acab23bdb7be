"""Build a fine-tuned model for ONNX Runtime in int8, and measure what that costs and gains.

python examples/build_and_compare.py runs/sst2/best --task sst2 --data glue/SST-2
python examples/build_and_compare.py my-classifier/best --task own --data dev.csv --text review --label stars
"""

import argparse

import electra

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="fine-tuned checkpoint")
parser.add_argument("--task", default="own")
parser.add_argument("--data", required=True, help="the task's folder, or one labelled file")
parser.add_argument("--text", default="text")
parser.add_argument("--label", default="label")
parser.add_argument("--output", default="model-int8")
parser.add_argument("--calls", type=int, default=200, help="timed calls of each kind")
args = parser.parse_args()

# An artifact holds the model, the tokenizer, the labels and how texts are read. It runs without PyTorch.
artifact = electra.build(args.model, target="onnx-int8", output=args.output)
print(f"{artifact.path}: {artifact.size_bytes / 1e6:.1f} MB for {artifact.target}")

# Every model runs in a fresh process of its own, on the same cores, in random order.
columns = {"text": args.text, "label": args.label} if args.task == "own" else {}
comparison = electra.compare([args.model, artifact.path], task=args.task, data=args.data, calls=args.calls, **columns)
for row in comparison.rows:
    print(f"{row.name:30} {row.score:.3f} {row.metric}, median latency {row.latency.p50_ms:.2f} ms")

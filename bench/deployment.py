"""A fine-tuned classifier of ours and its artefacts beside `transformers`, on this machine, by the method of `electra compare`.

Two comparisons, in one run; every contestant is a process of its own and they take turns:

  padded to 128 on both sides   one text at a time, every input filled up to 128 tokens: `transformers`' model as it comes (PyTorch, eager)
                                against ours; the same work for both
  as people call it             each in its own way, one text or many: the model always padded to 128 (as the demo that this project set out
                                from does it), `transformers`' own pipeline without and with batching, and ours at real lengths

The reference is `transformers`' model padded to 128, so that agreement and logits are judged by somebody else's code.

  python bench/deployment.py runs/sst2/best sst2-onnx sst2-int8 --task sst2 --data glue/SST-2
  python bench/deployment.py runs/sst2/best --task sst2 --data glue/SST-2 --calls 20 --num-examples 64 --name trial --records /tmp    a trial
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra import disk, hub
from electra.build import intervals, machine
from electra.build.comparison import Comparison, to_markdown
from electra.build.contestant import Answered, Implementation, digest
from electra.build.measure import Entry, Plan, compete, entry_of, unique_names
from electra.build.row import Interval, Latency, Row
from electra.contracts import Example, Head, Prediction
from electra.errors import UserError
from electra.settings import EvaluateSettings

RECORDS = Path(__file__).parent / "records"
EAGER, PIPELINE = "transformers, padded to 128", "transformers' pipeline"
LENGTH = 128
ASKED = {"padded": 2.2, "seed": 8.0, "pipeline": 4.0, "seed texts/s": 15.0, "pipeline texts/s": 3.0}
"""How many times faster the project set out to be."""


class Peer:
    """What both ways of `transformers` share."""

    def __init__(self, folder: str, threads: int) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        names = self.model.config.id2label
        self.head = Head(kind="classification", labels=tuple(names[number] for number in sorted(names)))
        self.max_length = LENGTH


class Eager(Peer):
    """The model called as it comes; every input is padded to 128 tokens, whatever is asked for."""

    def logits(self, examples: Sequence[Example], batch_size: int) -> tuple[list[Any], list[list[int]]]:
        """(C,) of each example, and its token ids."""
        outputs, ids = [], []
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            pairs = [example.text_pair or "" for example in batch] if batch[0].text_pair is not None else None
            options: dict[str, Any] = {"padding": "max_length", "truncation": True, "max_length": LENGTH, "return_tensors": "pt"}
            inputs = self.tokenizer([example.text for example in batch], pairs, **options)
            with self.torch.no_grad():
                outputs += list(self.model(**inputs).logits.numpy())
            ids += [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        return outputs, ids

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """The likeliest label of each."""
        return [Prediction(label=self.head.labels[int(row.argmax())]) for row in self.logits(examples, batch_size)[0]]

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Labels and logits."""
        outputs, ids = self.logits(examples, batch_size)
        predictions = [Prediction(label=self.head.labels[int(row.argmax())]) for row in outputs]
        return Answered(predictions=predictions, outputs=outputs, reading=digest(ids))


class Pipeline(Peer):
    """`pipeline("text-classification")`, at real lengths; batches of more than one are padded to their longest by it."""

    def __init__(self, folder: str, threads: int) -> None:
        import transformers

        super().__init__(folder, threads)
        self.pipeline = transformers.pipeline("text-classification", model=self.model, tokenizer=self.tokenizer, device="cpu")

    def predict(self, examples: Sequence[Example], batch_size: int, padded_length: int = 0) -> list[Prediction]:
        """The likeliest label of each."""
        pairs = ({"text": example.text, "text_pair": example.text_pair} for example in examples)
        texts: list[Any] = [pair["text"] if pair["text_pair"] is None else pair for pair in pairs]
        options: dict[str, Any] = {"truncation": True, "max_length": LENGTH}
        options |= {"padding": "max_length"} if padded_length else {}
        return [Prediction(label=answer["label"]) for answer in self.pipeline(texts, batch_size=batch_size, **options)]

    def examine(self, examples: Sequence[Example], batch_size: int) -> Answered:
        """Labels; a pipeline tells no logits."""
        return Answered(predictions=self.predict(examples, batch_size))


def open_eager(folder: str, threads: int) -> Implementation:
    """In the process of its own."""
    return Eager(folder, threads)


def open_pipeline(folder: str, threads: int) -> Implementation:
    """In the process of its own."""
    return Pipeline(folder, threads)


# ---- what comes of it ----


def ratio(slow: Latency | None, fast: Latency | None) -> tuple[float, Interval] | None:
    """Medians, slow over fast, with the interval of a paired bootstrap over turns."""
    if slow is None or fast is None or len(slow.turns_ms) != len(fast.turns_ms):
        return None
    return intervals.speedup(slow.turns_ms, fast.turns_ms)


def compared(eager: Row, pipeline: Row, row: Row) -> dict[str, dict[str, Any]]:
    """One of ours against both peers: name of the comparison -> times faster, its interval where there is one, what was asked for."""
    out: dict[str, dict[str, Any]] = {}
    pairs = {"padded": (eager.padded, row.padded), "seed": (eager.latency, row.latency), "pipeline": (pipeline.latency, row.latency)}
    for name, (slow, fast) in pairs.items():
        if (found := ratio(slow, fast)) is not None:
            out[name] = {"times": found[0], "interval": found[1], "asked": ASKED[name]}
    batched = [rate.texts_per_second for size, rate in pipeline.throughput.items() if size > 1]
    best = max((rate.texts_per_second for rate in row.throughput.values()), default=None)
    slow_rates = {
        "seed texts/s": eager.throughput[1].texts_per_second if 1 in eager.throughput else None,
        "pipeline texts/s": max(batched, default=None),
    }
    for name, rate in slow_rates.items():
        if rate is not None and best is not None:
            out[name] = {"times": best / rate, "asked": ASKED[name]}
    return out


def summary(rows: Sequence[Row], verdicts: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Both comparisons as markdown tables."""

    def cell(name: str, key: str) -> str:
        found = verdicts[name].get(key)
        if found is None:
            return "-"
        reach = f" ({found['interval'][0]:.2f} .. {found['interval'][1]:.2f})" if "interval" in found else ""
        return f"{found['times']:.2f}x{reach}"

    def p50(found: Latency | None) -> str:
        return "-" if found is None else f"{found.p50_ms:.2f}"

    named = {row.name: row for row in rows}
    eager, pipeline = named[EAGER], named[PIPELINE]
    lines = ["## Padded to 128 on both sides", "", f"One text at a time, {LENGTH} tokens computed by each; asked for: {ASKED['padded']}x.", ""]
    lines += ["| implementation | p50 ms | faster than transformers |", "|---|---:|---:|", f"| {EAGER} | {p50(eager.padded)} | - |"]
    lines += [f"| {name} | {p50(named[name].padded)} | {cell(name, 'padded')} |" for name in verdicts]
    lines += [
        "",
        "## As people call it",
        "",
        "Each in its own way: ours and the pipeline at real lengths, the model padded to 128 (the seed's way). Asked for: ",
    ]
    lines[-1] += (
        f"{ASKED['seed']:g}x and {ASKED['pipeline']:g}x at one text; {ASKED['seed texts/s']:g}x and {ASKED['pipeline texts/s']:g}x in texts/s."
    )
    lines[-1] += " Texts per second: ours and the pipeline's at their best batch size, the seed's one at a time."
    header = ("implementation", "p50 ms", "than the seed's way", "than the pipeline", "texts/s", "than the seed's way", "than the pipeline, batched")
    lines += ["", "| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for row, best in ((eager, {1: eager.throughput.get(1)}), (pipeline, pipeline.throughput)):
        rate = max((found.texts_per_second for found in best.values() if found is not None), default=0.0)
        lines.append(f"| {row.name} | {p50(row.latency)} | - | - | {rate:,.1f} | - | - |")
    for name in verdicts:
        rate = max((found.texts_per_second for found in named[name].throughput.values()), default=0.0)
        cells = (p50(named[name].latency), cell(name, "seed"), cell(name, "pipeline"), f"{rate:,.1f}", cell(name, "seed texts/s"))
        lines.append("| " + " | ".join((name, *cells, cell(name, "pipeline texts/s"))) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write bench/records/DATE-NAME.json and .md; exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="our fine-tuned checkpoint, with the head of transformers")
    parser.add_argument("artefacts", nargs="*", help="what was built from it")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True, help="the task's folder")
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each kind")
    parser.add_argument("--threads", type=int, default=0, help="of every contestant; 0: one per core")
    parser.add_argument("--num-examples", type=int, default=0, help="examples of the score; 0: all")
    parser.add_argument("--name", default="deployment", help="name of the record")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the record")
    options = parser.parse_args()
    asked = EvaluateSettings(model=options.model, task=options.task, data=(options.data,))
    plan = Plan(calls=options.calls, threads=options.threads, num_examples=options.num_examples)
    folder = hub.resolve(options.model)
    if json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"] != ["ElectraForSequenceClassification"]:
        raise UserError(f"{options.model}: transformers opens no such model for text classification; fine-tune with --head transformers")
    before = machine.describe()
    sources = [options.model, *options.artefacts]
    entries = [
        Entry(name=EAGER, source=str(folder), kind="transformers", opener=open_eager, arguments=(str(folder),)),
        Entry(name=PIPELINE, source=str(folder), kind="transformers", opener=open_pipeline, arguments=(str(folder),)),
        *(entry_of(source, name, asked) for source, name in zip(sources, unique_names(sources), strict=True)),
    ]
    rows = compete(entries, asked, plan, lambda line: print(line, file=sys.stderr, flush=True))
    verdicts = {row.name: compared(rows[0], rows[1], row) for row in rows[2:]}
    count = next((row.num_examples for row in rows if row.num_examples), 0)
    found = Comparison(
        task=options.task,
        split="dev",
        num_examples=count,
        calls=options.calls,
        threads=len(machine.choose_cores(options.threads)),
        machine=before,
        rows=rows,
        command=shlex.join(["python", "bench/deployment.py", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])]),
        date=time.strftime("%Y-%m-%d"),
    )
    record = found.to_dict() | {"comparisons": verdicts}
    for row in record["rows"]:
        row["source"] = Path(row["source"]).name
    text = to_markdown(found).replace("## Answers", summary(rows, verdicts) + "\n## Answers", 1)
    disk.write_text(options.records / f"{found.date}-{options.name}.json", json.dumps(record, indent=1) + "\n")
    disk.write_text(options.records / f"{found.date}-{options.name}.md", text)
    print(text)
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"deployment.py: {error}")

"""The record of the bundled models -> their card, electra/bundled/README.md.

python experiments/model_card.py experiments/records/shipped/record.json > electra/bundled/README.md
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bias_probe

STAGES = {"mlm": "masked language model", "electra": "replaced-token detection"}


def card(record: Mapping[str, Any]) -> str:
    """A record of `experiments/ship.py` -> Markdown with the hub's front matter; every figure comes from the record."""
    pre, tuned, artifacts = record["pretraining"], record["finetuning"], record["artefacts"]
    shape, sizes = pre["shape"], {name: f"{size / 1e6:.1f} MB" for name, size in artifacts["size_bytes"].items()}
    sentiment, detector = artifacts["sentiment"], artifacts["detector"]
    return f"""---
language: en
license: apache-2.0
library_name: electra
pipeline_tag: text-classification
tags: [electra, sst2, replaced-token-detection]
---

# The bundled models

A small English ELECTRA ({shape["num_hidden_layers"]} layers, hidden size {shape["hidden_size"]}, {shape["num_attention_heads"]} heads, {pre["num_parameters"] / 1e6:.1f} M weights, lower case, \
its own vocabulary of 8,192 tokens, 128 tokens at a time), trained from random weights on two CPU cores on {pre["started"]} with the preset `{pre["preset"]}` in \
{_hours(sum(stage["seconds"] for stage in pre["stages"]))}.

| name | what it does | form |
|---|---|---|
| `shipped:sentiment` | predicts whether an English text has a positive or a negative opinion | int8 artifact, {sizes["sentiment"]}, runs without torch |
| `shipped:detector` | predicts for every token how likely it was replaced; includes its generator | int8 artifact, {sizes["detector"]}, runs without torch |
| `shipped:mini` | the pre-trained checkpoint of both, to fine-tune | fp16 Hugging Face directory, {sizes["mini"]} |

```sh
electra predict "what a wonderful film"
electra detect "the chef ate the meal"
electra finetune sst2 --model shipped:mini --preset mini --data glue/SST-2 --output runs/sst2
```

## Intended use

Trying electra, tests, teaching, a small start for fine-tuning. Sentiment: sentences of English film reviews and similar texts. Not for decisions about people, and not for other languages.

## Data and licences

Pre-training, sampled {_ratio(pre["weights"])}:

{_list(pre["corpora"])}

`shards-wiki` is English Wikipedia of 2015 (CC BY-SA 3.0); `shards-imdb` the 50,000 unlabelled reviews of the Large Movie Review Dataset (Maas et al. 2011; for research). Fine-tuning:
{tuned["train_examples"]:,} phrases and sentences of SST-2 (Socher et al. 2013, as GLUE distributes it; no licence stated). The weights and this code are under Apache-2.0; none of the texts is distributed here. For the exact
terms of the data see its sources.

## Compute

| phase | steps | tokens | hours | FLOP |
|---|---|---|---|---|
{_stages(pre["stages"])}

On {_machine(pre["machine"])}.{" " + pre["remark"] if pre.get("remark") else ""} Fine-tuning {len(tuned["seeds"])} seeds took another {tuned["seconds"] / 60:.0f} minutes. `make model` repeats everything.

## Scores

SST-2 dev ({tuned["dev_examples"]} sentences; one standard error of a score is {_error(tuned):.1f} points), fine-tuning preset `{tuned["preset"]}`:

| start | mean | sd | each seed |
|---|---|---|---|
| this pre-training | {_row(tuned["accuracy"])} |
| the same network, random weights | {_row(tuned["without_pretraining"])} |
| TF-IDF + logistic regression | {tuned["tfidf_logistic_regression"]:.1%} | | |

{_verdict(tuned)}

The bundled model is seed {tuned["chosen_seed"]}: {tuned["rule"]}. Its fp32 weights have {sentiment["accuracy_fp32"]:.1%}, the int8 artifact {sentiment["accuracy"]:.1%} (the same label on
{sentiment["agreement"]:.1%} of the sentences). The int8 discriminator gives the verdict of the fp16 checkpoint on {detector["verdicts_as_fp16"]:.2%} of {detector["tokens"]:,} tokens (mean difference of the probabilities
{detector["mean_difference"]:.4f}).

Pre-training, on held-out text:

| metric | value |
|---|---|
{_metrics(pre)}

## Bias probe

{bias_probe.to_markdown(record["bias"])}
## Limits

Four layers that have read {sum(stage["tokens"] for stage in pre["stages"]) / 1e6:,.0f} million tokens know words better than sentences: they often fail at negation across a clause, irony and comparison. They read 128 tokens.
Probabilities are not calibrated, and a text without an opinion still gets a label. A text that is not English gets a label too, a meaningless one. The models have the errors and prejudices of
their training texts; the probe above shows some.
"""


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"


def _ratio(weights: Sequence[float]) -> str:
    return " : ".join(f"{weight:g}" for weight in weights) if weights else "by their size"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [(STAGES.get(s["objective"], s["objective"]), s["updates"], s["tokens"], s["seconds"], s["flops"]) for s in stages]
    rows.append(("both", *(sum(row[i] for row in rows) for i in range(1, 5))))
    return "\n".join(
        f"| {name} | {updates:,} | {tokens / 1e6:.1f} M | {seconds / 3600:.2f} | {flops:.2e} |" for name, updates, tokens, seconds, flops in rows
    )


def _machine(machine: Mapping[str, Any]) -> str:
    gpus = ", ".join(machine["gpu"] or [])
    return gpus or f"{machine['cores']} cores of an {machine['cpu']}"


def _error(tuned: Mapping[str, Any]) -> float:
    """Standard error of a fraction, in points."""
    share = statistics.fmean(tuned["accuracy"])
    return float(100 * (share * (1 - share) / tuned["dev_examples"]) ** 0.5)


def _row(values: Sequence[float]) -> str:
    spread = f"{100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1%} | {spread} | {' '.join(f'{100 * value:.1f}' for value in values)}"


def _verdict(tuned: Mapping[str, Any]) -> str:
    """Whether it beats both baselines by more than the seeds differ."""
    ours = tuned["accuracy"]
    out = []
    for name, other in (("the same network without pre-training", tuned["without_pretraining"]), ("TF-IDF", [tuned["tfidf_logistic_regression"]])):
        gain = 100 * (statistics.fmean(ours) - statistics.fmean(other))
        apart = "every seed above each of its scores" if min(ours) > max(other) else "not every seed above"
        out.append(f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'} {name} ({apart})")
    return "The mean is " + ", and ".join(out) + "."


def _metrics(pre: Mapping[str, Any]) -> str:
    rows = {f"{STAGES.get(stage['objective'], stage['objective'])}: {name}": stage["metrics"][name]
            for stage in pre["stages"] for name in ("masked_lm_loss", "masked_lm_accuracy", "disc_auc", "disc_loss") if name in stage["metrics"]}  # fmt: skip
    rows |= {f"fixed corruption set: {name}": value for name, value in pre.get("corruption", {}).items() if name.endswith("auc")}
    return "\n".join(f"| {name} | {value:.4f} |" for name, value in rows.items())


if __name__ == "__main__":
    print(card(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")

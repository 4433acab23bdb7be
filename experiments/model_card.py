"""The record of the bundled models -> their card, electra/bundled/README.md.

python experiments/model_card.py experiments/records/bundled/record.json > electra/bundled/README.md
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bias_probe

STAGES = {
    "distill": "student: hidden states of the encoder",
    "generator": "generator alone, masked language model",
    "electra": "detector and generator, replaced-token detection",
}


def card(record: Mapping[str, Any]) -> str:
    """A record of `experiments/ship.py` -> Markdown with the hub's front matter; every figure comes from the record."""
    student, tuned, artifacts = record["student"], record["finetuning"], record["artifacts"]
    shape, sizes = student["shape"], {name: f"{size / 1e6:.1f} MB" for name, size in artifacts["size_bytes"].items()}
    sentiment, detector, encoder = artifacts["sentiment"], artifacts["detector"], record["encoder"]
    stages = [*student["stages"], *record["detector"]["stages"]]
    return f"""---
language: en
license: apache-2.0
library_name: electra
pipeline_tag: text-classification
base_model: sentence-transformers/all-MiniLM-L6-v2
tags: [electra, sst2, replaced-token-detection, distillation]
---

# The bundled models

Made from a public encoder, all-MiniLM-L6-v2 (a BERT of {encoder["num_hidden_layers"]} layers of width {encoder["hidden_size"]}, lower-case English), on {student["started"]}.{_space(record["remark"])}

| name | what it does | form |
|---|---|---|
| `shipped:sentiment` | predicts whether an English text has a positive or a negative opinion: the encoder itself, fine-tuned | int8 artifact, {sizes["sentiment"]}, runs without torch |
| `shipped:detector` | predicts for every token how likely it was replaced; includes its generator | int8 artifact, {sizes["detector"]}, runs without torch |
| `shipped:mini` | the checkpoint of the detector and its generator, an encoder to fine-tune | fp16 Hugging Face directory, {sizes["mini"]} |

`detector` and `mini` are one network, a student of the encoder: {shape["num_hidden_layers"]} layers of width {shape["hidden_size"]}, {shape["num_attention_heads"]} heads, {student["num_parameters"] / 1e6:.1f} M weights, {shape["max_position_embeddings"]} tokens at a time. \
Vocabulary: {encoder["vocabulary"]}.

```sh
electra predict "what a wonderful film"
electra detect "the chef ate the meal"
electra finetune sst2 --model shipped:mini --preset public --data glue/SST-2 --output runs/sst2
```

## Intended use

Trying electra, tests, teaching, a small start for fine-tuning. Sentiment: sentences of English film reviews and similar texts. Not for decisions about people, and not for other languages.

## Origin, data and licences

The encoder: [all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) of sentence-transformers, Apache-2.0, trained on a billion pairs of sentences; its start is Microsoft's
[MiniLM](https://github.com/microsoft/unilm/tree/master/minilm) (Wang et al. 2020), MIT, in the version of 6 layers of nreimers/MiniLM-L6-H384-uncased. What they were trained on: see there.

The student's text, sampled {_ratio(student["weights"])}:

{_list(student["corpora"])}

`shards-wiki` is English Wikipedia of 2015 (CC BY-SA 3.0); `shards-imdb` the 50,000 unlabelled reviews of the Large Movie Review Dataset (Maas et al. 2011; for research). Fine-tuning:
{tuned["train_examples"]:,} phrases and sentences of SST-2 (Socher et al. 2013, as GLUE distributes it; no licence stated) and generated rows in which a person's group says nothing about the label
(`experiments/counterfactual.py`). The weights and this code are under Apache-2.0; none of the texts is distributed here. For the exact terms of the data see its sources.

## Compute

| phase | steps | tokens | hours | FLOP |
|---|---|---|---|---|
{_stages(stages)}

On {_machine(student["machine"])}. Fine-tuning {len(tuned["seeds"])} seeds took another {tuned["seconds"] / 60:.0f} minutes. `make model` repeats everything but the encoder's own training.

## Scores

SST-2 dev ({tuned["dev_examples"]} sentences; one standard error of a score is {_error(tuned):.1f} points), fine-tuning preset `{tuned["preset"]}`:

| | mean | sd | each seed |
|---|---|---|---|
| the encoder, fine-tuned | {_row(tuned["accuracy"])} |
| TF-IDF + logistic regression | {tuned["tfidf_logistic_regression"]:.1%} | | |

The bundled model is seed {tuned["chosen_seed"]}: {tuned["rule"]}. Its fp32 weights have {sentiment["accuracy_fp32"]:.1%}, the int8 artifact {sentiment["accuracy"]:.1%} (the same label on
{sentiment["agreement"]:.1%} of the sentences). Expected calibration error (15 bins), after a temperature found on held-out training examples: {sentiment["ece_fp32"]:.3f}, in int8 {sentiment["ece"]:.3f}.

The int8 detector gives the verdict of the fp16 checkpoint on {detector["verdicts_as_fp16"]:.2%} of {detector["tokens"]:,} tokens (mean difference of the probabilities {detector["mean_difference"]:.4f}).
On held-out text, and on the words of the corruption set that `experiments/corruption.py` makes (`_against`: the detector bundled before):

| metric | value |
|---|---|
{_metrics(stages, record["corruption"])}

## Bias probe

{bias_probe.to_markdown(record["bias"])}
## Limits

The sentiment classifier was trained on sentences of film reviews: it fails at irony, at comparison, at opinions about other things and at texts that mix opinions, and a text without an opinion still gets a label. A text
that is not English gets a label too, a meaningless one. The student has read {sum(stage["tokens"] for stage in stages) / 1e6:,.0f} million tokens, {shape["max_position_embeddings"]} at a time. The models have the errors and prejudices of the encoder and of
their texts; the probe above shows some.
"""


def _space(text: str) -> str:
    return f" {text}" if text else ""


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"


def _ratio(weights: Sequence[float]) -> str:
    return " : ".join(f"{weight:g}" for weight in weights) if weights else "by their size"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [(STAGES.get(s["objective"], s["objective"]), s["updates"], s["tokens"], s["seconds"], s["flops"]) for s in stages]
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, 5))))
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


def _metrics(stages: Sequence[Mapping[str, Any]], corruption: Mapping[str, Any]) -> str:
    rows = {f"{STAGES.get(stage['objective'], stage['objective'])}: {name}": stage["metrics"][name]
            for stage in stages for name in ("hidden_loss", "teacher_cosine", "masked_lm_loss", "masked_lm_accuracy", "disc_auc", "disc_loss") if name in stage["metrics"]}  # fmt: skip
    kinds = ("auc", "precision", "_against", "_difference", "_low", "_high")
    rows |= {f"corruption set: {name}": value for name, value in corruption.items() if isinstance(value, float) and name.endswith(kinds)}
    return "\n".join(f"| {name} | {value:.4f} |" for name, value in rows.items())


if __name__ == "__main__":
    print(card(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")

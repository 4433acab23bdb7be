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
    "distill": "hidden states of the encoder",
    "mlm": "masked language model",
    "generator": "generator alone, masked language model",
    "electra": "replaced-token detection",
}
SHOWN = ("hidden_loss", "teacher_cosine", "masked_lm_loss", "masked_lm_accuracy", "disc_auc", "disc_loss")
PUBLIC = "[all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)"


def card(record: Mapping[str, Any]) -> str:
    """A record of `experiments/ship.py` -> Markdown with the hub's front matter; every figure comes from the record."""
    student, detector, tuned = (record[name] for name in ("student", "detector", "finetuning"))
    sizes = {name: f"{size / 1e6:.1f} MB" for name, size in record["size_bytes"].items()}
    runs = {"encoder": student, "detector, mini": detector}
    return f"""---
language: en
license: apache-2.0
library_name: electra
pipeline_tag: text-classification
base_model: sentence-transformers/all-MiniLM-L6-v2
tags: [electra, sst2, sentence-similarity, replaced-token-detection, distillation]
---

# The bundled models

Four small models for English, lower case. `sentiment` and `encoder` were made from a public encoder, {PUBLIC} (a BERT of {student["teacher"]["num_hidden_layers"]} layers of width {student["teacher"]["hidden_size"]}).{_space(record.get("remark", ""))}

| name | what it does | form |
|---|---|---|
| `shipped:sentiment` | predicts whether a text has a positive or a negative opinion: the public encoder itself, fine-tuned | int8 artifact, {sizes["sentiment"]}, runs without torch |
| `shipped:encoder` | a vector for each text, for similarity and search: a student of the public encoder | int8 artifact, {sizes["encoder"]}, runs without torch |
| `shipped:detector` | predicts for every token how likely it was replaced; includes its generator | int8 artifact, {sizes["detector"]}, runs without torch |
| `shipped:mini` | the checkpoint of the detector and its generator, to fine-tune or to continue | fp16 Hugging Face directory, {sizes["mini"]} |

- `encoder`: {_shape(student)}. Vocabulary: {student["teacher"]["vocabulary"]}.
- `detector` and `mini` are one network, {"continued from that student" if detector["start"] == "student" else "trained from random weights"}: {_shape(detector)}.

```sh
electra predict "what a wonderful film"
electra embed "what a wonderful film"
electra detect "the chef ate the meal"
electra finetune sst2 --model shipped:mini --preset mini --data glue/SST-2 --output runs/sst2
```

{_use_and_origin(runs, tuned)}
## Compute

| model | phase | steps | tokens | hours | FLOP |
|---|---|---|---|---|---|
{_stages(runs)}

{_machines(runs)} Fine-tuning {len(tuned["seeds"])} seeds took {tuned["seconds"] / 60:.0f} minutes. `make model` makes `sentiment` and `encoder` again.

{_scores(record, runs)}
## Bias probe

{bias_probe.to_markdown(record["bias"])}
## Limits

The sentiment classifier was trained on sentences of film reviews: it fails at irony, at comparison, at opinions about other things and at texts that mix opinions, and a text without an opinion still gets a label. A text
that is not English gets a label and a vector too, meaningless ones. The encoder has read {_tokens(student):,.0f} million tokens, the detector {_tokens(detector):,.0f} million, 128 at a time. The models have the errors and prejudices of the public encoder and of
their texts; the probe above shows some.
"""


def _use_and_origin(runs: Mapping[str, Mapping[str, Any]], tuned: Mapping[str, Any]) -> str:
    """What the models are for, what they were made from, and licences."""
    return f"""## Intended use

Trying electra, tests, teaching, a start without network. Sentiment: sentences of English film reviews and similar texts. Vectors: similarity of sentences. Not for decisions about people, and not for other languages. For better vectors and for fine-tuning
take the public encoder.

## Origin, data and licences

The public encoder: {PUBLIC} of sentence-transformers, Apache-2.0, trained on a billion pairs of sentences; its start is Microsoft's [MiniLM](https://github.com/microsoft/unilm/tree/master/minilm)
(Wang et al. 2020), MIT, in the version of 6 layers of nreimers/MiniLM-L6-H384-uncased. What they were trained on: see there.

Text of the two pre-trainings:

{_texts(runs)}

`shards-wiki` is English Wikipedia of 2015 (CC BY-SA 3.0); `shards-imdb` the 50,000 unlabelled reviews of the Large Movie Review Dataset (Maas et al. 2011; for research). Fine-tuning:
{tuned["train_examples"]:,} phrases and sentences of SST-2 (Socher et al. 2013, as GLUE distributes it; no licence stated) and generated rows in which a person's group says nothing about the label
(`experiments/counterfactual.py`). The weights and this code are under Apache-2.0; none of the texts is distributed here. For the exact terms of the data see its sources.
"""


def _scores(record: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> str:
    """What each model reaches, with what its numbers are of."""
    tuned, sentiment, detector, similarity = record["finetuning"], record["sentiment"], record["detector"], record["student"]["sts_b_spearman"]
    return f"""## Scores

**Sentiment**, SST-2 dev ({tuned["dev_examples"]} sentences; one standard error of a score is {_error(tuned):.1f} points), fine-tuning preset `{tuned["preset"]}`, {tuned["epochs"]:g} epochs, batches of {tuned["batch_size"]}, learning rate {tuned["learning_rate"]:g}:

| | mean | sd | each seed |
|---|---|---|---|
| the public encoder, fine-tuned | {_row(tuned["accuracy"])} |
| TF-IDF + logistic regression | {tuned["tfidf_logistic_regression"]:.1%} | | |

The bundled model is seed {tuned["chosen_seed"]}: {tuned["rule"]}. Its fp32 weights have {sentiment["accuracy_fp32"]:.1%}, the int8 artifact {sentiment["accuracy"]:.1%} (the same label on
{sentiment["agreement"]:.1%} of the sentences). Expected calibration error (15 bins), after a temperature found on held-out training examples: {sentiment["ece_fp32"]:.3f}, in int8 {sentiment["ece"]:.3f}.

**Encoder**, Spearman's rank correlation on STS-B dev without training on it: {100 * similarity["int8"]:.1f} in int8; its teacher, the public encoder with the smaller vocabulary, {100 * similarity["teacher"]:.1f}.

**Detector**: int8 gives the verdict of the fp16 checkpoint on {detector["int8"]["verdicts_as_fp16"]:.2%} of {detector["int8"]["tokens"]:,} tokens (mean difference of the probabilities {detector["int8"]["mean_difference"]:.4f}).

On held-out text, and the detector on the words of the corruption set that `experiments/corruption.py` makes, replaced by another masked LM or by frequent words:

| metric | value |
|---|---|
{_metrics(runs, detector["corruption"])}
"""


def _space(text: str) -> str:
    return f" {text}" if text else ""


def _shape(run: Mapping[str, Any]) -> str:
    shape = run["shape"]
    sizes = f"{shape['num_hidden_layers']} layers of width {shape['hidden_size']}, {shape['num_attention_heads']} heads, {run['num_parameters'] / 1e6:.1f} M weights"
    return f"{sizes}; made with the preset `{run['preset']}` on {run['started']}"


def _texts(runs: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- `{name}`: {', '.join(run['corpora'])}; sampled {' : '.join(f'{weight:g}' for weight in run['weights']) or 'by their size'}"
        for name, run in runs.items()
    )


def _stages(runs: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"| {name} | {STAGES[s['objective']]} | {s['updates']:,} | {s['tokens'] / 1e6:.1f} M | {s['seconds'] / 3600:.2f} | {s['flops']:.2e} |"
        for name, run in runs.items()
        for s in run["stages"]
    )


def _machines(runs: Mapping[str, Mapping[str, Any]]) -> str:
    found = {f"{run['machine']['cores']} cores of an {run['machine']['cpu']}": run["machine"] for run in runs.values()}
    return " ".join(f"On {', '.join(machine['gpu'] or []) or words}." for words, machine in found.items())


def _tokens(run: Mapping[str, Any]) -> float:
    return sum(stage["tokens"] for stage in run["stages"]) / 1e6


def _error(tuned: Mapping[str, Any]) -> float:
    """Standard error of a fraction, in points."""
    share = statistics.fmean(tuned["accuracy"])
    return float(100 * (share * (1 - share) / tuned["dev_examples"]) ** 0.5)


def _row(values: Sequence[float]) -> str:
    spread = f"{100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1%} | {spread} | {' '.join(f'{100 * value:.1f}' for value in values)}"


def _metrics(runs: Mapping[str, Mapping[str, Any]], corruption: Mapping[str, Any]) -> str:
    rows = {f"{name}, {STAGES[s['objective']]}: {key}": s["metrics"][key] for name, run in runs.items() for s in run["stages"] for key in SHOWN if key in s["metrics"]}  # fmt: skip
    kinds = ("auc", "precision", "_against", "_difference", "_low", "_high")
    rows |= {f"detector, corruption set: {name}": value for name, value in corruption.items() if isinstance(value, float) and name.endswith(kinds)}
    return "\n".join(f"| {name} | {value:.4f} |" for name, value in rows.items())


if __name__ == "__main__":
    print(card(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")

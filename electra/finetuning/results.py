"""Results of seeds -> scores.json, the line people read, and the best model's card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.contracts import Head, Task
from electra.settings import FinetuneSettings
from electra.tasks.metrics import mean_and_sd

if TYPE_CHECKING:
    from electra.finetuning.trainer import SeedResult


SELECTION = "each score is of the step that was best on these same dev examples: it is optimistic"


def summarize(task: Task, settings: FinetuneSettings, results: Sequence[SeedResult], counts: Mapping[str, int]) -> dict[str, Any]:
    """Results of the finished seeds -> what RUN/scores.json holds; `counts` are the numbers of examples."""
    summary: dict[str, Any] = {"task": task.name, "model": settings.model, "preset": settings.preset, "main_metric": task.main_metric, **counts}
    for name in results[0].scores:
        mean, sd = mean_and_sd([result.scores[name] for result in results])
        summary.setdefault("scores", {})[name] = {"mean": mean, "sd": sd, "each": [result.scores[name] for result in results]}
    summary["seeds"] = [result.seed for result in results]
    summary["best_seed"] = best(task, results).seed
    if settings.early_stopping:
        summary["selected_steps"] = [result.selected_step for result in results]
        summary["selection"] = SELECTION
    summary["steps"] = [result.steps for result in results]
    summary["tokens"] = [result.tokens for result in results]
    summary["seconds"] = [result.seconds for result in results]
    return summary


def best(task: Task, results: Sequence[SeedResult]) -> SeedResult:
    """The seed with the highest main metric; the earliest of equals."""
    return max(results, key=lambda result: (result.scores[task.main_metric], -result.seed))


def score_line(summary: Mapping[str, Any]) -> str:
    """'sst2: accuracy 90.1 (sd 0.3; 5 seeds: ...), ...', times a hundred."""
    parts = []
    for name, score in summary["scores"].items():
        one = 1.0 if name == "root_mean_squared_error" or name.endswith("_threshold") else 100.0
        text = f"{name} {score['mean'] * one:.2f}"
        if score["sd"] is not None:
            text += f" (sd {score['sd'] * one:.2f}; seeds {' '.join(f'{value * one:.2f}' for value in score['each'])})"
        parts.append(text)
    return f"{summary['task']}: " + ", ".join(parts)


_AUTO = {"span": "QuestionAnswering", "tagging": "TokenClassification"}
_PIPELINE = {"span": "question-answering", "tagging": "token-classification"}


def model_card(task: Task, head: Head, settings: FinetuneSettings, summary: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """The README.md of the best checkpoint, written from the run alone."""
    optimizer, loop = settings.optimizer, settings.loop
    batch = loop.total_batch_size or loop.batch_size * loop.accumulation
    several = f"{'any' if head.kind == 'multilabel' else 'one'} of {len(head.labels)} labels"
    named = f"({', '.join(head.labels[:10])}{', ...' if len(head.labels) > 10 else ''})"
    kinds = {
        "span": "the part of a context that answers a question",
        "regression": "a number",
        "tagging": f"a tag to each word, one of {len(head.labels)} {named},",
    }
    kind = kinds.get(head.kind, f"{several} {named}")
    ours = settings.head == "original" and head.kind != "tagging"
    opened = (
        "`transformers` has no class for its head; it opens in `electra`."
        if ours
        else f"It opens in `transformers` as AutoModelFor{_AUTO.get(head.kind, 'SequenceClassification')}."
        + (" Its tokens are all of segment 1." if head.kind == "tagging" and settings.token_segment else "")
    )
    hardware = ", ".join(environment.get("gpu") or []) or f"{environment.get('cpu')} ({environment.get('threads')} threads)"
    used = f" (a fixed random choice of {settings.max_train_examples:,})" if settings.max_train_examples else ""
    swapped = " Each pair also comes with its texts exchanged." if task.unordered_pairs and settings.double_unordered else ""
    given = "questions and their contexts" if head.kind == "span" else "two texts" if summary["text_pairs"] else "a text"
    texts = "question<TAB>context" if head.kind == "span" else "first text<TAB>second text" if summary["text_pairs"] else "a text"
    long = "were read in windows" if head.kind in ("span", "tagging") else _TRUNCATED[settings.truncate]
    return f"""---
library_name: {"electra" if ours else "transformers"}
pipeline_tag: {_PIPELINE.get(head.kind, "text-classification")}
tags: [electra, {task.name}]
---

# {task.name}: {task.description}

An ELECTRA encoder fine-tuned to give {kind} for {given}. {opened}

    echo "{texts}" | electra predict PATH -

## Data

{summary["train_examples"]:,} training examples{used}, {summary["dev_examples"]:,} held-out ones. Read from {_places(settings)}.{swapped}

## Recipe

Started from `{_origin(settings.model)}`. Preset `{settings.preset}`: {_length(settings)}, batches of {batch}, \
peak learning rate {optimizer.learning_rate:g}, layer-wise decay {optimizer.layerwise_lr_decay:g}, \
warm-up {optimizer.warmup_fraction:g} of the steps, \
weight decay {optimizer.weight_decay:g}, dropout {settings.dropout:g}, at most {settings.max_length} tokens. The run's config.toml repeats it.

## Compute

{sum(summary["seconds"]):,.0f} seconds for {len(summary["seeds"])} seed(s), {sum(summary["tokens"]):,} tokens, on {hardware}.

## Scores

On the held-out examples, {_when(summary)}:

{_score_table(summary)}

## Limits

This model is the best of the seeds above by {task.main_metric} on the same examples it is scored on, so expect the mean rather than its
own score on new texts. It knows only texts like its training data; texts above {settings.max_length} tokens
{long} in training.
{_class_limits(head)}
"""


def _score_table(summary: Mapping[str, Any]) -> str:
    """A row per seed, and mean and standard deviation of several."""
    metrics = list(summary["scores"])
    rows = ["| seed | " + " | ".join(metrics) + " | steps | seconds |", "|---" * (len(metrics) + 3) + "|"]
    for i, seed in enumerate(summary["seeds"]):
        marked = f"**{seed}** (this model)" if seed == summary["best_seed"] else str(seed)
        values = [f"{summary['scores'][name]['each'][i]:.4f}" for name in metrics]
        rows.append(f"| {marked} | {' | '.join(values)} | {summary['steps'][i]:,} | {summary['seconds'][i]:,.0f} |")
    if len(summary["seeds"]) > 1:
        spread = [f"{summary['scores'][name]['mean']:.4f} ± {summary['scores'][name]['sd']:.4f}" for name in metrics]
        rows.append(f"| mean ± sd | {' | '.join(spread)} | | |")
    return "\n".join(rows)


_TRUNCATED = {
    "head": "lost their end",
    "tail": "lost their beginning",
    "head-tail": "kept a quarter from their beginning and the rest from their end",
    "windows": "were read in overlapping windows",
}


def _places(settings: FinetuneSettings) -> str:
    files = [settings.data] if settings.data else [settings.train, settings.dev]
    return ", ".join(f"`{Path(file).name}`" for file in files if file)


def _origin(model: str) -> str:
    """A hub name, or the last two names of a local path: where it lies on one machine helps nobody else."""
    prefix, path = ("random:", model.removeprefix("random:")) if model.startswith("random:") else ("", model)
    return prefix + "/".join(Path(path).parts[-2:]) if Path(path).exists() else model


def _length(settings: FinetuneSettings) -> str:
    loop = settings.loop
    if loop.num_train_steps:
        return f"{loop.num_train_steps:,} steps"
    return f"{loop.num_train_tokens:,} tokens" if loop.num_train_tokens else f"{loop.budget:g} s" if loop.budget else f"{settings.epochs:g} epochs"


def _when(summary: Mapping[str, Any]) -> str:
    if "selection" not in summary:
        return "after the last step of each seed"
    return f"at the best of each seed's evaluations (steps {', '.join(map(str, summary['selected_steps']))}; {summary['selection']})"


def _class_limits(head: Head) -> str:
    if head.kind == "span":
        return "It answers with a part of the given text even where that does not answer the question, unless it was trained on such questions."
    if head.kind == "regression":
        return f"Its training targets lay between {head.offset:g} and {head.offset + head.scale:g}; answers may leave that range a little."
    if head.kind == "tagging":
        return "Probabilities are not calibrated."
    if head.kind == "multilabel":
        return "Probabilities are not calibrated; a label is given where its own is above one half, so a text may get none."
    return "Probabilities are not calibrated; a text that belongs to none of the labels still gets one."


def to_json(summary: Mapping[str, Any]) -> str:
    """The summary as indented JSON."""
    return json.dumps(summary, indent=1) + "\n"

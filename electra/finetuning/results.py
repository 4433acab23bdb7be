"""Scores of seeds -> seed-N/scores.json, RUN/scores.json, the lines that are printed, and the best model's card.

With one task a file holds its scores directly; with several, a table by task and the average of their main metrics.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electra.contracts import Head, Task
from electra.errors import UserError, parse_json
from electra.model.model_card import model_card
from electra.settings import FinetuneSettings
from electra.storage import atomic
from electra.storage.resolve import hub_name
from electra.tasks.hub_datasets import DATASETS
from electra.tasks.metrics import display_unit, mean_and_sd

AVERAGE = "average"
"""Mean of the main metrics of several tasks."""
SELECTION = "each score is of the step that was best on these same dev examples: it is optimistic"

Scores = Mapping[str, Mapping[str, float]]
"""Task -> metric -> value."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """A finished seed."""

    seed: int
    scores: Scores
    """On dev, after the last step or at `selected_step`."""
    main_score: float
    """What the best seed is chosen by, see `main_score`."""
    steps: int
    tokens: int
    """Real tokens trained on."""
    seconds: float
    selected_step: int | None = None
    """The step of the best evaluation, whose weights early stopping kept."""
    shares: Mapping[str, float] | None = None
    """Several tasks: the share of the batches that each got."""
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task -> the temperature in its model's weights and how it was found, with --calibrate."""


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """How a fine-tuning ended."""

    output: Path
    """The run directory."""
    best: Mapping[str, Path]
    """Task -> the folder of its best model."""
    scores: Mapping[str, Any]
    """What RUN/scores.json holds; empty before the first finished seed."""
    seeds: Sequence[SeedResult]
    """The finished seeds."""
    signal: int | None = None
    """The signal that stopped it; None: all seeds are finished."""
    first: bool = True
    """Whether this process is rank 0, which reports."""
    failed: Sequence[str] = ()
    """Trials of a suite or a search that failed."""

    @property
    def model(self) -> Path:
        """The best model of a single task.

        Raises:
            UserError: several tasks were learned; choose one of `best`.
        """
        if len(self.best) != 1:
            raise UserError(f"{self.output} has a model for each task: {', '.join(map(str, self.best.values()))}")
        return next(iter(self.best.values()))

    @property
    def metrics(self) -> dict[str, float]:
        """Mean scores of a single task over the seeds, on its dev set: metric -> value."""
        summary = self.scores
        if "scores" not in summary and (path := self.output / "scores.json").exists():  # of a search, whose table has every trial
            summary = atomic.read_json(path, dict)
        return {name: float(score["mean"]) for name, score in summary.get("scores", {}).items()}


def main_score(scores: Scores, tasks: Mapping[str, Task]) -> float:
    """The main metric of one task, the mean of the main metrics of several."""
    return statistics.fmean(scores[name][task.main_metric] for name, task in tasks.items())


def best_seed(results: Sequence[SeedResult]) -> SeedResult:
    """The seed with the highest main score; the first of equals."""
    return max(results, key=lambda result: (result.main_score, -result.seed))


def write_seed(folder: Path, result: SeedResult) -> None:
    """Write FOLDER/scores.json, which marks the seed as finished."""
    several = len(result.scores) > 1
    scores = {**result.scores, AVERAGE: result.main_score} if several else next(iter(result.scores.values()))
    values: dict[str, Any] = {"seed": result.seed, "scores": scores, "steps": result.steps, "tokens": result.tokens}
    values |= {"seconds": result.seconds, "selected_step": result.selected_step, **({"shares": result.shares} if several else {})}
    values |= {"calibration": result.calibration} if result.calibration else {}
    atomic.write_text(folder / "scores.json", json.dumps(values, indent=1) + "\n")


def read_seed(folder: Path, tasks: Mapping[str, Task]) -> SeedResult | None:
    """The result of a finished seed; None where it is not finished.

    Raises:
        UserError: its scores.json is damaged.
    """
    path = folder / "scores.json"
    if not path.exists():
        return None
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        found = values.pop("scores")
        scores = {name: found[name] for name in tasks} if len(tasks) > 1 else dict.fromkeys(tasks, found)
        return SeedResult(**values, scores=scores, main_score=main_score(scores, tasks))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged; remove the folder {folder} to train that seed again") from None


def summarize(settings: FinetuneSettings, facts: Mapping[str, Mapping[str, Any]], results: Sequence[SeedResult]) -> dict[str, Any]:
    """Results of the finished seeds -> what RUN/scores.json holds; `facts` are each task's main metric and numbers of examples."""
    tasks = {name: {**known, "scores": _spread([result.scores[name] for result in results])} for name, known in facts.items()}
    one = len(tasks) == 1
    out: dict[str, Any] = {"task": next(iter(tasks)) if one else settings.task, "model": settings.model, "preset": settings.preset}
    if one:
        out |= next(iter(tasks.values()))
    else:
        out |= {"mixing": settings.mixing, "tasks": tasks, **_spread([{AVERAGE: result.main_score} for result in results])}
    out |= {"seeds" if one else "seed": [result.seed for result in results], "best_seed": best_seed(results).seed}
    if settings.early_stopping or not one:
        out["selected_steps" if one else "selected_step"] = [result.selected_step for result in results]
    if settings.early_stopping:
        out["selection"] = SELECTION
    if results[0].calibration:
        found = {name: [result.calibration[name] for result in results] for name in results[0].calibration}
        out["calibration"] = next(iter(found.values())) if one else found
    return out | {key: [getattr(result, key) for result in results] for key in ("steps", "tokens", "seconds")}


def of_task(summary: Mapping[str, Any], name: str) -> dict[str, Any]:
    """RUN/scores.json -> what it says of one of its tasks, as in the file of a single task."""
    if "tasks" not in summary:
        return {**summary}
    known = {"seeds": summary["seed"], "selected_steps": summary["selected_step"], "calibration": summary.get("calibration", {}).get(name)}
    return {**summary, **known, **summary["tasks"][name]}


def _spread(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Scores of each seed -> mean, standard deviation and every value, by metric."""
    out = {}
    for name in scores[0]:
        values = [each[name] for each in scores]
        mean, sd = mean_and_sd(values)
        out[name] = {"mean": mean, "sd": sd, "each": values}
    return out


def score_lines(summary: Mapping[str, Any]) -> list[str]:
    """RUN/scores.json -> 'sst2: accuracy 90.10 (sd 0.30; seeds 89.80 90.40), ...', times a hundred: a line per task, and one for the average."""
    if "tasks" not in summary:
        return [f"{summary['task']}: {', '.join(_shown(name, score) for name, score in summary['scores'].items())}"]
    lines = [f"{task}: {', '.join(_shown(name, score) for name, score in found['scores'].items())}" for task, found in summary["tasks"].items()]
    return [*lines, f"average of the main metrics: {_shown('', summary[AVERAGE])}"]


def _shown(name: str, score: Mapping[str, Any]) -> str:
    unit = display_unit(name)
    text = f"{name} {score['mean'] * unit:.2f}".strip()
    if score["sd"] is None:
        return text
    return f"{text} (sd {score['sd'] * unit:.2f}; seeds {' '.join(f'{value * unit:.2f}' for value in score['each'])})"


# ---- the card ----


_AUTO = {"span": "QuestionAnswering", "tagging": "TokenClassification"}
_PIPELINE = {"span": "question-answering", "tagging": "token-classification", "embedding": "sentence-similarity", "ranking": "text-ranking"}
_TRUNCATED = {
    "head": "lost their end",
    "tail": "lost their beginning",
    "head-tail": "kept a quarter from their beginning and the rest from their end",
    "windows": "were read in overlapping windows",
}
_FROZEN = "; the last layer is a logistic regression on the encoder's vectors"
_CONTRASTIVE = "; the encoder learned from pairs of them, as in SetFit" + _FROZEN
_LIMITS = {
    "span": "It answers with a part of the given text even where that does not answer the question, unless it was trained on such questions.",
    "tagging": "Probabilities are not calibrated.",
    "embedding": "The cosine of two vectors ranks texts by similarity; it is no probability, and its range depends on the training data.",
    "ranking": "Its scores order the passages of one query; they are not calibrated.",
    "multilabel": "Probabilities are not calibrated; a label is given where its probability is above one half, so a text may get none.",
    "classification": "Probabilities are not calibrated; a text that belongs to none of the labels still gets one.",
}


def finetuning_card(task: Task, head: Head, settings: FinetuneSettings, summary: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """The README.md of a run's best model; `summary` is what scores.json says of the task, `environment` what the run log says of the machine."""
    transformers = settings.head == "transformers" or head.kind in ("tagging", "embedding")
    hardware = ", ".join(environment.get("gpu") or []) or f"{environment.get('cpu')} ({environment.get('threads')} threads)"
    used = f" (a fixed random choice of {settings.max_train_examples:,})" if settings.max_train_examples else ""
    if settings.few_shot is not None:
        how = {"contrastive": _CONTRASTIVE, "frozen": _FROZEN, "fine-tune": ""}[settings.few_shot_method]
        used = f" (at most {settings.few_shot:,} examples of each class, drawn by the seed{how})"
    swapped = " Each pair is also given with its texts exchanged." if task.unordered_pairs and settings.double_unordered else ""
    long = "were read in windows" if head.kind in ("span", "tagging") else _TRUNCATED[settings.truncate]
    sections = {
        "Data": f"{summary['train_examples']:,} training examples{used}, {summary['dev_examples']:,} held-out ones. "
        f"Read from {_places(settings)}.{swapped}",
        "Hyperparameters": _hyperparameters(settings),
        "Compute": f"{sum(summary['seconds']):,.0f} seconds for {len(summary['seeds'])} seed(s), {sum(summary['tokens']):,} tokens, on {hardware}.",
        "Scores": f"On the held-out examples, {_when(summary)}:\n\n{_score_table(summary)}",
        "Limits": f"This model is the best of the seeds above by {task.main_metric} on the same examples it is scored on: on new texts expect the "
        f"mean, not this seed's score. It knows only texts like its training data; texts above {settings.max_length} tokens\n{long} in training.\n"
        f"{_limits(head, summary)}",
    }
    return model_card(
        f"{task.name}: {task.description}",
        _vectors(settings) if head.kind == "embedding" else _introduction(head, settings, bool(summary["text_pairs"]), transformers),
        sections,
        tags=("electra", task.name),
        pipeline_tag=_PIPELINE.get(head.kind, "text-classification"),
        library="sentence-transformers" if head.kind in ("embedding", "ranking") and transformers else "transformers" if transformers else "electra",
        base_model=hub_name(settings.model),
        **evaluation(task, head, settings, summary),
    )


METRIC_TYPES = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "root_mean_squared_error": "rmse",
    "macro_f1": "f1",
    "micro_f1": "f1",
    "accuracy_mismatched": "accuracy",
}
"""Our metric -> the hub's name of it, where it is another."""


def evaluation(task: Task, head: Head, settings: FinetuneSettings, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What scores.json says of a task -> the model card's scores of this model, data sets and language, as `ModelCardData` takes them."""
    from huggingface_hub import EvalResult

    # Files, and folds of FewCLUE, may be other data than the task's on the hub.
    known = DATASETS.get(task.name) if settings.data is not None and settings.fold is None else None
    place = Path(str(settings.dev or settings.data))
    halves = known is not None and "+" in known.splits["dev"]
    kind = _PIPELINE.get(head.kind, "text-classification")
    results = []
    for name, score in summary["scores"].items():
        value = score["each"][summary["seeds"].index(summary["best_seed"])]
        if name == "glue_score" or name.endswith("_threshold") or not math.isfinite(value):
            continue  # GLUE's mean of two others, and a setting: no metrics of the hub
        metric = METRIC_TYPES.get(name, name)
        split = "dev" if known is None else known.splits["dev"]
        if known is not None and halves:
            split = known.splits["dev_mismatched" if name.endswith("mismatched") else "dev_matched"]
        results.append(
            EvalResult(
                task_type=kind,
                task_name=kind.replace("-", " ").capitalize(),
                dataset_type=place.suffix.strip(".") or place.name if known is None else known.name,
                dataset_name=place.name if known is None else known.title,
                dataset_config=None if known is None else known.config,
                dataset_split=split,
                dataset_args=None if halves else {"num_examples": summary["dev_examples"]},
                metric_type=f"{name}_cosine" if head.kind == "embedding" and metric != name else metric,
                metric_name=name.replace("_", " "),
                metric_value=value,
            )
        )
    out: dict[str, Any] = {} if known is None else {"datasets": [known.name], "language": known.language}
    if results:
        out |= {"model_name": settings.output.name or task.name, "eval_results": results}
        out["metrics"] = list(dict.fromkeys(result.metric_type for result in results))
    return out


def _vectors(settings: FinetuneSettings) -> str:
    """What the vectors of a model are, and how they are computed."""
    chosen = settings.embedding
    pooling = "the state of [CLS]" if chosen.pooling == "cls" else f"the {chosen.pooling} of all tokens' states"
    sizes = f" They may be shortened to {', '.join(map(str, chosen.matryoshka))} numbers, which were trained too." if chosen.matryoshka else ""
    prompts = {"query": chosen.query_prompt, "document": chosen.document_prompt}
    named = "".join(f" Prompt '{name}': {text!r}." for name, text in prompts.items() if text)
    return f"""An encoder whose vectors are near for similar texts: {pooling}, of length one (loss: {chosen.loss}).{sizes}{named}
It opens in sentence-transformers as SentenceTransformer("PATH").

    electra embed PATH texts.txt --output vectors.npy"""


def _introduction(head: Head, settings: FinetuneSettings, pairs: bool, transformers: bool) -> str:
    """What the model answers, for what input, how it is opened, and a command that uses it."""
    names = f"({', '.join(head.labels[:10])}{', ...' if len(head.labels) > 10 else ''})"
    answer = {
        "span": "the part of a context that answers a question",
        "regression": "a number",
        "ranking": "the relevance of a passage",
        "tagging": f"a tag to each word, one of {len(head.labels)} {names},",
        "multilabel": f"any of {len(head.labels)} labels {names}",
    }.get(head.kind, f"one of {len(head.labels)} labels {names}")
    texts = {"span": "questions and their contexts", "ranking": "a query and a passage"}.get(head.kind, "two texts" if pairs else "a text")
    command = "question<TAB>context" if head.kind == "span" else "first text<TAB>second text" if pairs else "a text"
    opened = "`transformers` has no class for its head; it opens in `electra`."
    if transformers:
        opened = f"It opens in `transformers` as AutoModelFor{_AUTO.get(head.kind, 'SequenceClassification')}."
        opened += " All its tokens are of segment 1." if head.kind == "tagging" and settings.token_segment else ""
    return f"""An encoder fine-tuned to give {answer} for {texts}. {opened}

    echo "{command}" | electra predict PATH -"""


def _hyperparameters(settings: FinetuneSettings) -> str:
    optimizer, loop = settings.optimizer, settings.loop
    length = f"{settings.epochs:g} epochs"
    if loop.num_train_steps:
        length = f"{loop.num_train_steps:,} steps"
    elif loop.num_train_tokens:
        length = f"{loop.num_train_tokens:,} tokens"
    elif loop.budget:
        length = f"{loop.budget:g} s"
    return (
        f"Started from `{_origin(settings.model)}`. Preset `{_origin(str(settings.preset))}`: {length}, "
        f"batches of {loop.total_batch_size or loop.batch_size * loop.accumulation}, peak learning rate {optimizer.learning_rate:g}, "
        f"layer-wise decay {optimizer.layerwise_lr_decay:g}, warm-up {optimizer.warmup_fraction:g} of the steps, "
        f"weight decay {optimizer.weight_decay:g}, dropout {settings.dropout:g}, at most {settings.max_length} tokens. "
        "The run's config.toml repeats it."
    )


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


def _places(settings: FinetuneSettings) -> str:
    files = [settings.data] if settings.data else [settings.train, settings.dev]
    return ", ".join(f"`{Path(file).name}`" for file in files if file)


def _origin(model: str) -> str:
    """The name of a model or preset as it is, or the last two names of a local path: the rest of it means nothing on another machine."""
    prefix, path = ("random:", model.removeprefix("random:")) if model.startswith("random:") else ("", model)
    return prefix + "/".join(Path(path).parts[-2:]) if Path(path).exists() else model


def _when(summary: Mapping[str, Any]) -> str:
    if "selection" not in summary:
        return "after the last step of each seed"
    return f"at the best of each seed's evaluations (steps {', '.join(map(str, summary['selected_steps']))}; {summary['selection']})"


def _limits(head: Head, summary: Mapping[str, Any]) -> str:
    if head.kind == "regression":
        low, high = head.offset, head.offset + head.scale
        return f"Its training targets were between {low:g} and {high:g}; answers may be slightly outside of that range."
    if not summary.get("calibration"):
        return _LIMITS[head.kind]
    found = summary["calibration"][summary["seeds"].index(summary["best_seed"])]
    fitted = (
        f"Probabilities are calibrated: the logits are divided by {found['temperature']:.3f}, which fits {found['num_examples']:,} training examples "
        f"that were held out\nbest (expected calibration error there {found['ece_before']:.3f} before, {found['ece_after']:.3f} after)"
    )
    return _LIMITS[head.kind].replace("Probabilities are not calibrated", fitted)

"""Settings as given, task and size of the model -> the hyperparameters that are used, and what a run records of them.

A fine-tuning preset is a settings file with two kinds of exceptions: `[for_size.base]` for models of a size, `[for_task.rte]`
for a task. Flags override all of it.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from electra import config
from electra.contracts import Features, Head
from electra.errors import UserError
from electra.settings import FinetuneSettings, LoopSettings
from electra.settings.finetune import CHANGE_ON_RESUME
from electra.tasks.text_tasks import number

DEFAULT_PRESET = "paper"
LENGTHS = ("num_train_steps", *config.INSTEAD_OF["num_train_steps"])
"""The settings that give the length of a run, instead of epochs."""
CALIBRATED = ("classification", "multilabel")
"""Kinds of heads with probabilities that --calibrate fits."""
RANDOM = "random:"
"""Prefix of --model for random weights in a checkpoint's shape."""
DATA_FILE = "data.json"
"""In a run: task -> split -> a hash of its examples."""
ONE_TASK = ("teacher", "class_weights", "fold", "few_shot", "metric")
"""Settings that several tasks cannot share."""


def size_name(hidden_size: int) -> str:
    """The paper's name for the nearest of its sizes: small (256), base (768), large (1024)."""
    return "small" if hidden_size < 512 else "base" if hidden_size < 1024 else "large"


def default_preset(settings: FinetuneSettings) -> str:
    """The preset of a run without --preset."""
    if settings.few_shot is None:
        return DEFAULT_PRESET
    return "few-shot-fine-tune" if settings.few_shot_method == "fine-tune" else "few-shot"


def has_fitted_head(settings: FinetuneSettings) -> bool:
    """Whether the last layer is the logistic regression of --few-shot, which no step trains."""
    return settings.few_shot is not None and settings.few_shot_method != "fine-tune"


def resolve(settings: FinetuneSettings, task: str, hidden_size: int) -> FinetuneSettings:
    """Settings as given -> the settings used, with what was not given taken from the preset.

    Order, the last wins: defaults, preset, its exceptions for the model's size, those for the task, what was given.

    Raises:
        UserError: an unknown preset or a wrong value in it, or settings that contradict each other.
    """
    name = settings.preset or default_preset(settings)
    values = config.preset_values(name, "finetune")
    for exceptions, chosen in ((values.pop("for_size", {}), size_name(hidden_size)), (values.pop("for_task", {}), task)):
        values = config.merge(values, exceptions.get(chosen, {}))
    merged = config.merge(config.merge(config.to_values(settings), values), config.given(settings))
    resolved: FinetuneSettings = config.build(FinetuneSettings, merged | {"preset": name}, f"preset '{name}'")
    lengths = [name for name in LENGTHS if getattr(resolved.loop, name) is not None]
    if len(lengths) > 1:
        raise UserError(f"both {lengths[0]} and {lengths[1]} are set; give one of them")
    if resolved.freeze_encoder_epochs >= resolved.epochs:
        raise UserError(
            f"--freeze-encoder-epochs {resolved.freeze_encoder_epochs:g} must be below the {resolved.epochs:g} epochs; correct one of them"
        )
    if resolved.freeze_encoder_epochs and (resolved.loop.budget or resolved.loop.num_train_tokens or resolved.loop.num_train_steps):
        raise UserError("--freeze-encoder-epochs counts epochs: give the run's length by --epochs as well")
    return resolved


def with_heads(resolved: FinetuneSettings, given: FinetuneSettings, heads: Mapping[str, Head]) -> FinetuneSettings:
    """A preset's `head` 'mean' is for texts, its `calibrate` for classes: a run without any has the one head of its words or questions, and
    probabilities as they are.

    Raises:
        UserError: such a run with --head mean or --calibrate.
    """
    kinds = {head.kind for head in heads.values()}
    if resolved.head == "mean" and not kinds - {"tagging", "span", "embedding"}:
        if "head" in config.given(given):
            what = "questions" if kinds == {"span"} else "words"
            raise UserError(f"--head mean is for classes and numbers of whole texts; {what} have a head on each token: leave it out")
        resolved = replace(resolved, head="transformers")
    if has_fitted_head(resolved) and resolved.head != "mean":
        if "head" in config.given(given):
            raise UserError(f"--head {resolved.head}: the regression of --few-shot reads the mean of all states; leave it out")
        resolved = replace(resolved, head="mean")
    if resolved.calibrate and not kinds & set(CALIBRATED):
        if "calibrate" in config.given(given):
            what = {
                "regression": "a number",
                "tagging": "a tag for each word",
                "span": "an answer in a text",
                "embedding": "vectors",
                "ranking": "a relevance",
            }[next(iter(heads.values())).kind]
            raise UserError(f"--calibrate is for the probabilities of a text's classes; {next(iter(heads))} is answered by {what}: leave it out")
        resolved = replace(resolved, calibrate=False)
    return resolved


def head_form(wanted: str, head: Head) -> Literal["transformers", "original", "mean"]:
    """The form of a task's head where a run's is `wanted`: words and questions have no mean of their states."""
    if wanted == "mean" and head.kind in ("tagging", "span", "embedding"):
        return "transformers"
    return wanted  # type: ignore[return-value]


def fit_length(resolved: FinetuneSettings, given: FinetuneSettings, limit: int) -> FinetuneSettings:
    """A preset's max_length is lowered to the model's number of positions; one given by a flag is not.

    Raises:
        UserError: --max-length above the model's limit.
    """
    if resolved.max_length <= limit:
        return resolved
    if "max_length" in config.given(given):
        raise UserError(f"--max-length {resolved.max_length} is above the {limit} positions of {given.model}; lower it")
    return replace(resolved, max_length=limit)


def recorded_values(settings: FinetuneSettings, input_specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What config.toml holds: the settings used and, where a task's input spec (`input_specs`, by task) differs from theirs, a table of it.

    Given as a preset, the file repeats the run.
    """
    own = {task: {name: value for name, value in spec.items() if value != getattr(settings, name)} for task, spec in input_specs.items()}
    own = {task: spec for task, spec in own.items() if spec}
    return with_absolute_paths(config.to_values(replace(settings, resume=False)) | ({"for_task": own} if own else {}))


PLACES = frozenset("data train dev output model teacher unlabelled pretraining_data preset task_data init init_mlm finetune_preset".split())
"""Settings that may be paths, of `finetune` and `ablate`."""


def with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of a run's settings -> the same with absolute paths, so that it can be resumed from another working directory."""
    return {name: with_absolute_paths(value) if isinstance(value, Mapping) else absolute(name, value) for name, value in values.items()}


def absolute(name: str, value: Any) -> Any:
    """The value of a setting -> the same, absolute where it is a path of this machine; of a list each."""
    if name not in PLACES:
        return value
    if isinstance(value, list):
        return [absolute(name, each) for each in value]
    prefix = RANDOM if str(value).startswith(RANDOM) else ""
    place = str(value).removeprefix(prefix)
    is_path = config.is_settings_file(place, "finetune") if name.endswith("preset") else name == "output" or os.path.exists(place)
    return prefix + os.path.abspath(place) if is_path else value


def check_same_run(output: Path, before: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str] = CHANGE_ON_RESUME) -> None:
    """Check that the run in `output`, which is resumed, began with the same settings; both as nested values or flattened.

    Raises:
        UserError: the first setting that differs.
    """
    # A list of nothing, or a setting's default, is what a version without the setting did.
    defaults = {path[-1]: item.default for path, _, item in config.leaves(FinetuneSettings)}
    before, now = ({name: value for name, value in config.flatten(values).items() if value not in ([], ())} for values in (before, now))
    before = {name: value for name, value in now.items() if name in defaults and value == defaults[name]} | before
    for name in sorted((before.keys() | now.keys()) - set(may_change)):
        one, other = before.get(name), now.get(name)
        if one != other and not (name in PLACES and config.same_place(str(one), str(other))):
            raise UserError(
                f"{output} began with {name} = {before.get(name)}, now it is {now.get(name)}; repeat its flags, or choose another --output"
            )


def plan_steps(settings: FinetuneSettings, batches_per_epoch: int) -> LoopSettings:
    """Epochs -> the loop's steps; evaluations and checkpoints after every epoch unless an interval is set.

    Data that are a single batch have one step an epoch; the schedule ends at 0 there, so at least two steps are made of whole epochs.

    Raises:
        UserError: the learning rate is 0 at every step.
    """
    from electra.train.optimizer import never_learns

    loop = settings.loop
    epoch = max(1, math.ceil(batches_per_epoch / loop.accumulation))
    steps = loop.num_train_steps
    if all(getattr(loop, name) is None for name in LENGTHS):
        steps = max(1, math.ceil(batches_per_epoch * settings.epochs / loop.accumulation))
        if settings.epochs >= 1 and never_learns(settings.optimizer, steps):
            steps += 1
    if steps is not None and never_learns(settings.optimizer, steps):
        named = f"{steps} step{'s' if steps > 1 else ''}"
        raise UserError(f"a run of {named} trains nothing: the learning rate is 0 at every step; give more steps or epochs")
    return replace(loop, num_train_steps=steps, evaluate_every=loop.evaluate_every or epoch, checkpoint_every=loop.checkpoint_every or epoch)


# ---- several tasks ----


def check_together(settings: FinetuneSettings, tasks: Sequence[str]) -> None:
    """Check that the settings fit a training of all these tasks together.

    Raises:
        UserError: a setting that is for one task, or no --data.
    """
    if len(tasks) == 1:
        return
    if settings.data is None:
        raise UserError(f"{settings.task} needs --data DIR, the folder that holds the tasks' folders")
    one_task = {name: getattr(settings.distillation if name == "teacher" else settings, name) for name in ONE_TASK}
    if given := [name for name, value in one_task.items() if value is not None]:
        raise UserError(f"{settings.task}: --{given[0].replace('_', '-')} is for one task; fine-tune each by itself")


def mixing_power(mixing: str) -> float | None:
    """'all' -> None; 'size0.75' -> 0.75."""
    return None if mixing == "all" else float(mixing.removeprefix("size"))


# ---- class weights ----


BALANCED = "balanced"


def check_class_weights(text: str | None, head: Head) -> list[float] | None:
    """The value of --class-weights -> weights in the order of the head's labels, 1 of a class that 'name=weight' leaves out; None where it is unset
    or 'balanced'.

    Raises:
        UserError: the task is no classification, another number of weights than classes, or a weight that is not above zero.
    """
    if text is None:
        return None
    if head.kind != "classification":
        raise UserError(f"--class-weights is for classification; this task's label is of kind {head.kind}, leave it out")
    if text == BALANCED:
        return None
    parts = [part.rpartition("=") for part in text.split(",")]
    weights = [number(weight.strip(), "--class-weights", remedy=f"give '{BALANCED}' or numbers such as 1,2.5") for _, _, weight in parts]
    if any(equals for _, equals, _ in parts):
        named = dict(zip((name.strip() for name, _, _ in parts), weights, strict=True))
        if "" in named or len(named) < len(parts):
            raise UserError(f"--class-weights {text}: expected a weight for each name, each name once, such as bad=2,good=1")
        if unknown := [name for name in named if name not in head.labels]:
            raise UserError(f"--class-weights {text}: no class '{unknown[0]}'; known: {', '.join(head.labels[:20])}")
        weights = [named.get(label, 1.0) for label in head.labels]
    if len(weights) != len(head.labels):
        raise UserError(
            f"--class-weights {text}: {len(weights)} weights for {len(head.labels)} classes ({', '.join(head.labels[:20])}); give one each"
        )
    if min(weights) <= 0:
        raise UserError(f"--class-weights {text}: every weight must be above zero; remove the rows of a class that is to be ignored")
    return weights


def class_weights(text: str | None, head: Head, train: Sequence[Features]) -> list[float] | None:
    """The same for training features: 'balanced' is n / (number of classes x n of the class), as in scikit-learn; 1 for a class without examples.

    Raises:
        UserError: see `check_class_weights`.
    """
    if text != BALANCED:
        return check_class_weights(text, head)
    check_class_weights(text, head)
    counts = Counter(feature.label for feature in train)
    return [len(train) / (len(counts) * counts[i]) if counts[i] else 1.0 for i in range(len(head.labels))]

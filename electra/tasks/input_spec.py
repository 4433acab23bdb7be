"""How a task reads its inputs and chooses its answers: options that flags set and a fine-tuned checkpoint's config.json remembers.

A task names its options with their usual values (`Task.options`); `featurize` and `decode` take by keyword those they know.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from electra import config
from electra.contracts import Task
from electra.errors import UserError
from electra.settings import EvaluateSettings, FinetuneSettings

RECORD = "electra_reading"
"""Our key of config.json: a task's options, and max_length."""
OPTIONS = ("truncate", "token_segment", "constrained", "stride", "max_query_length", "max_answer_length", "null_threshold")
"""Those that a flag may set. Others are the task's own, such as whether a question may have no answer."""


def with_options(task: Task, changes: Mapping[str, Any]) -> Task:
    """The task with some of its options changed; changes of options that it does not have are left aside."""
    options = {name: changes.get(name, value) for name, value in task.options.items()}
    return dataclasses.replace(task, options=options, featurize=_bound(task.featurize, options), decode=_bound(task.decode, options))


def _bound(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    plain = function.func if isinstance(function, partial) else function
    known = inspect.signature(plain).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    return partial(plain, **{name: value for name, value in options.items() if takes_all or name in known})


def set_by(task: Task, settings: FinetuneSettings | EvaluateSettings, asked: FinetuneSettings | EvaluateSettings) -> Task:
    """The task reading as the settings say; `asked` are those of the command line alone, before any preset.

    Raises:
        UserError: a flag for an option that the task does not have.
    """
    check_asked(task, asked)
    return as_set(task, settings)


def as_set(task: Task, settings: FinetuneSettings | EvaluateSettings) -> Task:
    """The task reading as the settings say, where it has the options they name."""
    return with_options(task, {name: value for name in OPTIONS if (value := getattr(settings, name, None)) is not None})


def check_asked(task: Task, asked: FinetuneSettings | EvaluateSettings) -> None:
    """Nothing, when every option asked for is one of the task's.

    Raises:
        UserError: the first that is not.
    """
    for name in OPTIONS:
        if name in config.given(asked) and name not in task.options:
            known = ", ".join(f"--{option.replace('_', '-')}" for option in task.options if option in OPTIONS)
            raise UserError(
                f"--{name.replace('_', '-')} is not for {task.name}, which reads its inputs in its own way; it has {known or 'no such flag'}"
            )


def record(task: Task, max_length: int) -> dict[str, Any]:
    """What config.json of a fine-tuned checkpoint says of its reading."""
    return {RECORD: {**task.options, "max_length": max_length}}


def recorded(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """config.json -> the options its model was fine-tuned with, and the longest input (0: not known, as of someone else's checkpoint)."""
    found = values.get(RECORD)
    options = dict(found) if isinstance(found, dict) else {}
    length = options.pop("max_length", 0)
    return options, length if isinstance(length, int) and length > 3 else 0


def as_trained(task: Task, values: Mapping[str, Any], asked: EvaluateSettings | None = None) -> tuple[Task, int]:
    """A task, a checkpoint's config.json -> the task reading as the model learned to, and the longest input.

    What was asked for by a flag stands above that; without a record the task's usual length is taken.

    Raises:
        UserError: a flag for an option that the task does not have.
    """
    learned, length = recorded(values)
    task = with_options(task, {name: value for name, value in learned.items() if name in OPTIONS})
    if asked is not None:
        check_asked(task, asked)
        given = config.given(asked)
        task = with_options(task, {name: getattr(asked, name) for name in OPTIONS if name in given})
        length = asked.sequence_length if "sequence_length" in given else length
    return task, length or task.usual_length

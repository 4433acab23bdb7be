"""The input spec of a model: how texts become inputs and outputs become answers, recorded in config.json and the default everywhere.

`pretrain` records the length it trained at; `finetune` records that and its task's options (truncation or windows, segments, stride and lengths
of questions); `build` copies the record. A flag overrides it, and the answer says so. Models without a record, which other people made, read
windows as long as their positions and their tokenizer's `model_max_length` allow.

A task names its options with their usual values (`Task.options`); its `featurize` and `decode` take by keyword those they know.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import config
from electra.contracts import Task
from electra.data.tokenizer_files import model_max_length
from electra.errors import UserError

if TYPE_CHECKING:
    from electra.settings import EvaluateSettings, FinetuneSettings

RECORD = "electra_input_spec"
"""Key in config.json: max_length and, of a fine-tuned model, the options of its task."""
OLD_RECORD = "electra_reading"
"""The same key until version 0.1."""
PRETRAINING = "electra_pretraining"
"""Key in the config.json of a pre-trained model: how its run evaluates itself (see `electra.pretraining.evaluate`)."""
OPTIONS = ("truncate", "token_segment", "constrained", "stride", "max_query_length", "max_answer_length", "null_threshold")
"""Options that a flag may set. Others are the task's own, such as whether a question may have no answer."""
FOUND = ("tag_scheme",)
"""Options that training finds in its data."""
SHORTEST = 8
"""Tokens of the shortest input a model is used with."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How a model's inputs are made."""

    max_length: int
    """Longest input in tokens."""
    options: Mapping[str, Any]
    """Options of the task; empty for a model that is only pre-trained."""
    recorded: bool
    """Whether the model's config.json says it."""
    overridden: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What a flag or argument changed -> what was recorded."""
    above_limit: int = 0
    """The length that was given, where the model's limit is lower."""

    @property
    def truncate(self) -> str:
        """'head', 'tail' or 'head-tail' of a longer text is read, or all of it in 'windows'."""
        return str(self.options.get("truncate", "windows"))

    def describe(self) -> str:
        """'input: the first 128 tokens, as trained'."""
        parts = {"head": "the first", "tail": "the last", "head-tail": "from beginning and end", "windows": "windows of"}
        origin = "as trained" if self.recorded else "the model's limit, its training length is not recorded"
        if self.overridden:
            origin = "by request; " + ("trained with " if self.recorded else "otherwise ")
            origin += ", ".join(f"{name} {value}" for name, value in self.overridden.items())
        if self.above_limit:
            origin += f"; {self.above_limit} is above the model's limit"
        return f"input: {parts[self.truncate]} {self.max_length} tokens ({origin})"


def input_spec(
    values: Mapping[str, Any], task: Task | None, limit: int, *, max_length: int = 0, names: Collection[str] = (*OPTIONS, *FOUND), **changes: Any
) -> InputSpec:
    """A model's config.json -> its input spec.

    Args:
        values: config.json.
        task: the task it answers; None for a model that is only pre-trained.
        limit: longest input that its positions and its tokenizer allow.
        max_length: in place of the recorded length, at most `limit`; 0: as recorded.
        names: options that are taken from the record; others are the task's.
        changes: options in place of the recorded ones; those that the task does not have, or None, are ignored.

    Raises:
        UserError: a length below eight.
    """
    record, length = recorded(values)
    known = dict(task.options) if task is not None else {}
    if not length:
        # Questions: the length `transformers` uses. Texts: nothing is cut off.
        length = task.usual_length if task is not None and "stride" in known else limit
        known |= {"truncate": "windows"} if "truncate" in known else {}
    known |= {name: value for name, value in record.items() if name in known and name in names}
    length = min(length, limit)
    wanted = {name: value for name, value in changes.items() if value is not None and name in known}
    chosen = min(max_length or length, limit)
    if max_length and chosen < SHORTEST:
        raise UserError(f"max_length {chosen} is too short for a text; expected at least {SHORTEST}")
    overridden = {name: known[name] for name, value in wanted.items() if known[name] != value}
    overridden |= {"max_length": length} if chosen != length else {}
    above = max_length if max_length > limit else 0
    return InputSpec(max_length=chosen, options=known | wanted, recorded=bool(recorded(values)[1]), overridden=overridden, above_limit=above)


def with_options(task: Task, changes: Mapping[str, Any]) -> Task:
    """The task with some of its options changed; changes of options that it does not have are ignored."""
    options = {name: changes.get(name, value) for name, value in task.options.items()}
    return dataclasses.replace(task, options=options, featurize=_bound(task.featurize, options), decode=_bound(task.decode, options))


def _bound(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    plain = function.func if isinstance(function, partial) else function
    known = inspect.signature(plain).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    return partial(plain, **{name: value for name, value in options.items() if takes_all or name in known})


def as_set(task: Task, settings: FinetuneSettings | EvaluateSettings) -> Task:
    """The task with those of its options that the settings name."""
    return with_options(task, {name: value for name in OPTIONS if (value := getattr(settings, name, None)) is not None})


def check_asked(task: Task, asked: FinetuneSettings | EvaluateSettings) -> None:
    """Check that every option given is one of the task's.

    Raises:
        UserError: the first that is not.
    """
    for name in OPTIONS:
        if name in config.given(asked) and name not in task.options:
            known = ", ".join(f"--{option.replace('_', '-')}" for option in task.options if option in OPTIONS)
            raise UserError(f"--{name.replace('_', '-')} is not an option of {task.name}; it has {known or 'none'}")


def record(task: Task | None, max_length: int) -> dict[str, Any]:
    """What is added to config.json: of a pre-trained model (no task) the length, of a fine-tuned one its task's options too."""
    return {RECORD: {**(task.options if task is not None else {}), "max_length": max_length}}


def find_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record in a config.json, under the key of today or that of version 0.1; empty where there is none."""
    found = values.get(RECORD, values.get(OLD_RECORD))
    return found if isinstance(found, dict) else {}


def copied_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is added to config.json of a checkpoint made from one with config.json `values`."""
    found = {RECORD: find_record(values), PRETRAINING: values.get(PRETRAINING)}
    return {name: value for name, value in found.items() if value}


def recorded(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """config.json -> the options its model was fine-tuned with, and the longest input (0: not known, as of someone else's checkpoint)."""
    options = dict(find_record(values))
    length = options.pop("max_length", 0)
    return options, length if isinstance(length, int) and length > 3 else 0


def tokenizer_limit(folder: Path) -> int:
    """A checkpoint's folder -> its tokenizer's `model_max_length`; 0 where it is not given, or is the huge number of 'no limit'."""
    try:
        return model_max_length(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, AttributeError):
        return 0


def check_sentence_modules(folder: Path) -> None:
    """Check that a sentence-transformers folder computes its vectors as we do: the mean of the encoder's last states, normalized or not.

    Raises:
        UserError: modules.json names another module, or 1_Pooling another mode.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        for module in modules:
            kind, path = str(module["type"]).rpartition(".")[2], str(module.get("path", ""))
            if kind == "Pooling":
                values = json.loads((folder / path / "config.json").read_text(encoding="utf-8"))
                modes = [key.removeprefix("pooling_mode_") for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
                kind = {"mean_tokens": "", "mean": ""}.get(found := "+".join(modes) or str(values.get("pooling_mode", "mean")), f"Pooling {found}")
            if kind not in ("", "Transformer", "Normalize"):
                remedy = "use sentence-transformers, or a copy without modules.json for the mean of the encoder's states"
                raise UserError(f"{folder}/modules.json: module {kind} ({path}) is not supported; expected the mean of all tokens; {remedy}")
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder}/modules.json cannot be read ({error}); expected the list that sentence-transformers writes") from None

"""Task and size of the model -> the hyper-parameters of a fine-tuning preset.

A fine-tuning preset is a settings file with two kinds of exceptions: `[for_size.base]` for models of a size, `[for_task.rte]`
for a task. What a person gave by a flag stands above all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from electra import config
from electra.contracts import Features, Head
from electra.errors import UserError
from electra.settings import FinetuneSettings
from electra.tasks.text_tasks import number

DEFAULT_PRESET = "paper"
FREE_TO_CHANGE = {"seeds", "resume", "json", "output", "device", "threads", "log_every", "checkpoint_every", "keep_checkpoints", "keep_steps"}
FREE_TO_CHANGE |= {"workers", "engine", "ray_address", "search", "baselines", "pretraining_data"}
"""Settings that a resumed run may have otherwise than it began."""


def size_name(hidden_size: int) -> str:
    """The paper's name for the nearest of its sizes: small (256), base (768), large (1024)."""
    return "small" if hidden_size < 512 else "base" if hidden_size < 1024 else "large"


def resolve(settings: FinetuneSettings, task: str, hidden_size: int) -> FinetuneSettings:
    """Settings as given -> settings with everything not given taken from the preset.

    Order, the last wins: defaults, preset, its exceptions for the model's size, those for the task, what was given.

    Raises:
        UserError: an unknown preset, or an unknown key in it.
    """
    name = settings.preset or DEFAULT_PRESET
    values = config.preset_values(name, "finetune")
    for exceptions, chosen in ((values.pop("for_size", {}), size_name(hidden_size)), (values.pop("for_task", {}), task)):
        values = config.merge(values, exceptions.get(chosen, {}))
    merged = config.merge(config.merge(config.to_values(settings), values), config.given(settings))
    resolved: FinetuneSettings = config.build(FinetuneSettings, merged | {"preset": name}, f"preset '{name}'")
    if not 0 <= resolved.dropout < 1 or resolved.loop.batch_size < 1 or resolved.loop.accumulation < 1:
        raise UserError("dropout must be within 0..1, batch_size and accumulation at least 1; correct the flag")
    if resolved.loop.total_batch_size is not None and resolved.loop.total_batch_size < 1:
        raise UserError(f"total_batch_size {resolved.loop.total_batch_size} must be at least 1")
    said = [name for name in ("num_train_steps", *config.INSTEAD_OF["num_train_steps"]) if getattr(resolved.loop, name) is not None]
    if len(said) > 1:
        raise UserError(f"both {said[0]} and {said[1]} are set; give one of them")
    if not 0 <= resolved.freeze_encoder_epochs < resolved.epochs and resolved.freeze_encoder_epochs:
        raise UserError(
            f"--freeze-encoder-epochs {resolved.freeze_encoder_epochs:g} must be below the {resolved.epochs:g} epochs; correct one of them"
        )
    if resolved.freeze_encoder_epochs and (resolved.loop.budget or resolved.loop.num_train_tokens or resolved.loop.num_train_steps):
        raise UserError("--freeze-encoder-epochs counts epochs: give the run's length by --epochs as well")
    if resolved.epochs <= 0 or resolved.seeds < 1 or resolved.max_length < 4:
        raise UserError("epochs must be above 0, seeds at least 1, max_length at least 4; correct the flag")
    return resolved


def fit_length(resolved: FinetuneSettings, asked: FinetuneSettings, limit: int) -> FinetuneSettings:
    """A recipe's max_length is lowered to what the model can read; one asked for by name is not.

    Raises:
        UserError: --max-length above the model's limit.
    """
    if resolved.max_length <= limit:
        return resolved
    if "max_length" in config.given(asked):
        raise UserError(f"--max-length {resolved.max_length} is above the {limit} positions of {asked.model}; lower it")
    return config.replace(resolved, max_length=limit)


def check_same_run(settings: FinetuneSettings) -> None:
    """Nothing, unless a run being resumed began with other settings.

    Raises:
        UserError: the first setting that differs.
    """
    path = settings.output / "config.toml"
    if not path.exists():
        return
    before, now = flatten(config.read_toml(path)), flatten(config.to_values(settings))
    for name in sorted((before.keys() | now.keys()) - FREE_TO_CHANGE):
        if before.get(name) != now.get(name):
            raise UserError(
                f"{settings.output} began with {name} = {before.get(name)}, now it is {now.get(name)}; repeat its flags, or choose another --output"
            )


def flatten(values: dict[str, object]) -> dict[str, object]:
    """Nested settings -> leaf name -> value (leaf names are unique within a command)."""
    out: dict[str, object] = {}
    for key, value in values.items():
        out |= flatten(value) if isinstance(value, dict) else {key: value}
    return out


# ---- --class-weights -> a weight for each class, for data in which some classes are rare ----


BALANCED = "balanced"


def check_class_weights(text: str | None, head: Head) -> list[float] | None:
    """What --class-weights says -> weights in the order of the head's labels; None where it says nothing, or 'balanced'.

    Raises:
        UserError: not one class of several, another number of weights than classes, or a weight that is not above zero.
    """
    if text is None:
        return None
    if head.kind != "classification":
        raise UserError(f"--class-weights is for one class of several; this task's label is a {head.kind} one, leave it out")
    if text == BALANCED:
        return None
    weights = [number(part.strip(), "--class-weights", remedy=f"give '{BALANCED}' or numbers such as 1,2.5") for part in text.split(",")]
    if len(weights) != len(head.labels):
        raise UserError(
            f"--class-weights {text}: {len(weights)} weights for {len(head.labels)} classes ({', '.join(head.labels[:20])}); give one each"
        )
    if min(weights) <= 0:
        raise UserError(f"--class-weights {text}: every weight must be above zero; leave out the rows of a class that is not wanted")
    return weights


def class_weights(text: str | None, head: Head, train: Sequence[Features]) -> list[float] | None:
    """The same for training features: 'balanced' is n / (number of classes x n of the class), as scikit-learn weighs.

    A class without training examples gets 1, which nothing asks for.

    Raises:
        UserError: see `check_class_weights`.
    """
    if text != BALANCED:
        return check_class_weights(text, head)
    check_class_weights(text, head)
    counts = Counter(feature.label for feature in train)
    return [len(train) / (len(counts) * counts[i]) if counts[i] else 1.0 for i in range(len(head.labels))]

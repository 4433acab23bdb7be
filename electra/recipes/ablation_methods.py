"""Methods by name -> their pre-training settings: one preset, its twin, or the same with another objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from electra import config
from electra.command_line import from_command_line
from electra.errors import UserError, did_you_mean
from electra.model import flops
from electra.settings import AblateSettings, PretrainSettings
from electra.tasks.stages import DETECTORS, check, stages

LABELS = {
    "electra": "ELECTRA",
    "mlm": "BERT",
    "electra-masked": "ELECTRA 15%",
    "replace-mlm": "Replace MLM",
    "all-tokens-mlm": "All-Tokens MLM",
}
"""Objective -> its name in the paper (section 3.5)."""
MATCHES = ("flops", "seconds")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One objective with the words of its pre-training."""

    name: str
    words: tuple[str, ...]
    """The command line behind 'electra pretrain', without data, length, seed and output."""
    settings: PretrainSettings
    """What these words say."""

    def parts(self, num_steps: int) -> tuple[int, ...]:
        """Steps of each stage of a run of about `num_steps` steps; their sum may differ by rounding."""
        loop = config.replace(self.settings.loop, num_train_steps=num_steps, num_train_tokens=None, budget=None)
        # An output without a stage that is already finished.
        found = stages(config.replace(self.settings, loop=loop, output=Path("/nonexistent")))
        return tuple(int(stage.loop.num_train_steps or 0) for stage in found)

    def stages(self) -> tuple[tuple[PretrainSettings, float], ...]:
        """Each stage's settings, and its share of the steps."""
        loop = config.replace(self.settings.loop, num_train_steps=1_000_000, num_train_tokens=None, budget=None)
        found = stages(config.replace(self.settings, loop=loop, output=Path("/nonexistent")))
        return tuple((stage, (stage.loop.num_train_steps or 0) / 1_000_000) for stage in found)


def find_methods(settings: AblateSettings, shape: Sequence[str]) -> list[Method]:
    """The methods asked for, each checked; `shape` are flags that a checkpoint to go on from asks for.

    Raises:
        UserError: an unknown name or preset, a preset of another objective, or fewer than two methods.
    """
    for name in settings.methods:
        if name not in LABELS:
            raise UserError(f"--methods {name}: unknown method; {did_you_mean(name, LABELS)}")
    if len(set(settings.methods)) != len(settings.methods) or len(settings.methods) < 2:
        raise UserError(f"--methods {' '.join(settings.methods)}: give two or more different ones, such as electra mlm")
    for name in settings.match:
        if name not in MATCHES:
            raise UserError(f"--match {name}: unknown; {did_you_mean(name, MATCHES)}")
    if not settings.match or len(set(settings.match)) != len(settings.match):
        raise UserError("--match: give flops, seconds, or both, each once")
    base = from_command_line(PretrainSettings, [settings.preset], "electra ablate --preset", preset_kind="pretrain")
    if base.objective.objective != "electra":
        raise UserError(f"--preset {settings.preset} has the objective '{base.objective.objective}'; give ELECTRA's preset, such as mini")
    return [_method(name, settings, shape) for name in settings.methods]


def _method(name: str, settings: AblateSettings, shape: Sequence[str]) -> Method:
    twin = f"{settings.preset}-mlm"
    if name == "mlm" and twin in config.presets("pretrain"):
        words = [twin]
    else:
        words = [settings.preset, "--objective", name] + ([] if name in DETECTORS else ["--mlm-first", "0"])
    if settings.init is not None:
        start = settings.init_mlm if name == "mlm" and settings.init_mlm is not None else settings.init
        # A checkpoint has its start behind it.
        words += ["--init", start, *shape, "--mlm-first", "0"]
    words += ["--precision", settings.precision]
    whole = [*words, "--num-train-steps", "1000"]
    found = from_command_line(PretrainSettings, whole, "electra ablate", preset_kind="pretrain")
    check(found)
    return Method(name=name, words=tuple(words), settings=found)


def examples_per_step(settings: PretrainSettings) -> int:
    """Examples of an update on one rank."""
    return settings.loop.total_batch_size or settings.loop.batch_size * settings.loop.accumulation


def flops_per_step(settings: PretrainSettings, vocab_size: int) -> float:
    """Operations of an update of examples of full length, by our count (`model/flops.py`)."""
    length = settings.data.sequence_length
    return flops.per_token(settings.model, settings.objective, vocab_size, length) * length * examples_per_step(settings)

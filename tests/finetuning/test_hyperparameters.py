"""Presets by size and task, what flags override, and a run's config.toml as the preset that repeats it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from electra import config
from electra.command_line import from_command_line
from electra.contracts import Head
from electra.errors import UserError
from electra.finetuning.hyperparameters import (
    check_class_weights,
    check_same_run,
    fit_length,
    head_form,
    mixing_power,
    recorded_values,
    resolve,
    with_heads,
)
from electra.settings import FinetuneSettings


def _settings(*flags: str, task: str = "sst2") -> FinetuneSettings:
    return from_command_line(FinetuneSettings, [task, "--model", "m", "--output", "o", *flags], "electra finetune")


@pytest.mark.parametrize(
    ("preset", "hidden", "task", "expected"),
    [
        ("mini", 192, "sst2", (1.5e-4, 1.0, 0.0, 2.0, 128)),
        ("paper", 256, "sst2", (3e-4, 0.8, 0.0, 3.0, 128)),
        ("paper", 768, "sst2", (1e-4, 0.8, 0.0, 3.0, 128)),
        ("paper", 1024, "mrpc", (5e-5, 0.9, 0.0, 3.0, 128)),
        ("paper", 128, "rte", (3e-4, 0.8, 0.0, 10.0, 128)),
        ("paper", 768, "stsb", (1e-4, 0.8, 0.0, 10.0, 128)),
        ("paper", 256, "imdb", (3e-4, 0.8, 0.0, 3.0, 512)),
        ("public", 384, "sst2", (1e-4, 0.9, 0.01, 4.0, 128)),
        ("public", 768, "rte", (1e-4, 0.9, 0.01, 10.0, 128)),
        ("original-code", 256, "sst2", (1e-4, 0.8, 0.01, 3.0, 128)),
        ("original-code", 1024, "rte", (5e-5, 0.9, 0.01, 10.0, 128)),
    ],
)
def test_presets_by_size_and_task(preset: str, hidden: int, task: str, expected: tuple[float, ...]) -> None:
    made = resolve(_settings("--preset", preset, task=task), task, hidden)
    optimizer = made.optimizer
    assert (optimizer.learning_rate, optimizer.layerwise_lr_decay, optimizer.weight_decay, made.epochs, made.max_length) == expected
    assert optimizer.warmup_fraction == 0.1 and made.double_unordered
    assert (optimizer.bias_correction, made.head) == ((True, "mean") if preset == "public" else (False, "transformers"))


def test_a_preset_file_may_choose_the_head_of_a_task(tmp_path: Path) -> None:
    """And calibrate; what a task cannot have falls back where the preset says it, and is refused where a flag does."""
    file = tmp_path / "mine.toml"
    file.write_text('base = "public"\ncalibrate = true\n[for_task.rte]\nhead = "transformers"\n[for_task.stsb]\nepochs = 1.0\n')
    given = _settings("--preset", str(file))
    assert {name: resolve(given, name, 384).head for name in ("sst2", "rte", "stsb")} == {"sst2": "mean", "rte": "transformers", "stsb": "mean"}
    number, words, classes = (Head(kind=kind) for kind in ("regression", "tagging", "classification"))
    made = with_heads(resolve(given, "stsb", 384), given, {"stsb": number})
    assert (made.head, made.calibrate) == ("mean", False)
    made = with_heads(resolve(given, "chunk", 384), given, {"chunk": words})
    assert (made.head, made.calibrate) == ("transformers", False)
    flags = _settings("--head", "mean", "--calibrate")
    made = with_heads(resolve(flags, "sst2+chunk", 384), flags, {"chunk": words, "sst2": classes})
    assert (made.head, made.calibrate, head_form("mean", words), head_form("mean", classes)) == ("mean", True, "transformers", "mean")
    with pytest.raises(UserError, match="--head mean is for classes and numbers of whole texts"):
        with_heads(resolve(flags, "chunk", 384), flags, {"chunk": words})
    with pytest.raises(UserError, match="--calibrate is for the probabilities of a text's classes; stsb is answered by a number"):
        with_heads(resolve(flags, "stsb", 384), flags, {"stsb": number})


def test_what_was_given_stays() -> None:
    # Values equal to the defaults, too: 3e-4 given for a large model overrides the preset.
    made = resolve(_settings("--learning-rate", "3e-4", "--epochs", "3", task="rte"), "rte", 1024)
    assert (made.optimizer.learning_rate, made.epochs, made.optimizer.layerwise_lr_decay, made.preset) == (3e-4, 3.0, 0.9, "paper")
    in_python = FinetuneSettings(task="rte", model="m", output=Path("o"), epochs=2.0)
    made = resolve(in_python, "rte", 768)
    assert (made.epochs, made.optimizer.learning_rate) == (2.0, 1e-4)
    faster = replace(in_python.optimizer, learning_rate=2e-3)
    made = resolve(replace(in_python, optimizer=faster), "rte", 768)
    assert (made.optimizer.learning_rate, made.optimizer.layerwise_lr_decay) == (2e-3, 0.8)


def test_a_recorded_run_is_a_preset(tmp_path: Path) -> None:
    made = resolve(_settings("--learning-rate", "2e-3"), "sst2", 256)
    (tmp_path / "config.toml").write_text(config.to_toml(made))
    again = resolve(_settings("--preset", str(tmp_path / "config.toml")), "sst2", 1024)
    assert again == replace(made, preset=again.preset)


def test_a_run_of_several_tasks_records_each_input_spec(tmp_path: Path) -> None:
    """IMDb is read at 512 positions, SST-2 at 128: config.toml has both, and repeats both."""
    given = _settings("--data", "d", task="imdb+sst2")
    whole, own = resolve(given, "imdb+sst2", 256), {name: resolve(given, name, 256).max_length for name in ("imdb", "sst2")}
    assert own == {"imdb": 512, "sst2": 128}
    values = recorded_values(whole, {name: {"max_length": length, "truncate": whole.truncate} for name, length in own.items()})
    assert values["for_task"] == {"imdb": {"max_length": 512}} and values["max_length"] == 128
    (tmp_path / "config.toml").write_text(tomli_w.dumps(values))
    again = _settings("--data", "d", "--preset", str(tmp_path / "config.toml"), task="imdb+sst2")
    assert {name: resolve(again, name, 1024).max_length for name in own} == own
    assert resolve(again, "imdb+sst2", 1024).optimizer == whole.optimizer
    check_same_run(tmp_path, config.read_toml(tmp_path / "config.toml"), values)
    older = {name: value for name, value in values.items() if name not in ("embedding", "calibrate")}
    check_same_run(tmp_path, older, values)
    with pytest.raises(UserError, match="began with pooling = None, now it is cls"):
        check_same_run(tmp_path, older, values | {"embedding": {"pooling": "cls"}})
    with pytest.raises(UserError, match=r"began with imdb\.max_length = 512, now it is 256; repeat its flags"):
        check_same_run(tmp_path, values, values | {"for_task": {"imdb": {"max_length": 256}}})


def test_a_presets_length_fits_the_model_and_a_flags_does_not() -> None:
    given = _settings(task="imdb")
    assert fit_length(resolve(given, "imdb", 256), given, 40).max_length == 40
    given = _settings("--max-length", "64", task="imdb")
    with pytest.raises(UserError, match="--max-length 64 is above the 40 positions of m; lower it"):
        fit_length(resolve(given, "imdb", 256), given, 40)


def test_mixing() -> None:
    assert (mixing_power("all"), mixing_power("size0.75"), mixing_power("size0")) == (None, 0.75, 0.0)


@pytest.mark.parametrize("mixing", ["sized", "size", "size2", "size-1", "0.75"])
def test_wrong_mixtures(mixing: str) -> None:
    with pytest.raises(UserError, match=r"expected 'all', or 'size' and a power from 0 to 1, such as size0\.75"):
        _settings(f"--mixing={mixing}")
    with pytest.raises(UserError, match="expected 'all', or 'size'"):
        resolve(replace(_settings(), mixing=mixing), "sst2", 256)


def test_class_weights_may_have_names() -> None:
    head = Head(kind="classification", labels=("bad", "so=so", "good"))
    assert check_class_weights("good=3, so=so=2", head) == [1.0, 2.0, 3.0]
    for text in ("bad=2,3", "bad=2,bad=3"):
        with pytest.raises(UserError, match="expected a weight for each name, each name once"):
            check_class_weights(text, head)
    with pytest.raises(UserError, match="--class-weights better=3: no class 'better'; known: bad, so=so, good"):
        check_class_weights("better=3", head)

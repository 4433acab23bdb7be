"""Presets, flags and TOML against the promises of electra.config and electra.settings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from electra import cli, config, settings
from electra.cli import COMMANDS
from electra.command_line import from_command_line
from electra.errors import UserError
from electra.settings import finetune

SETTINGS = sorted(
    (
        cls
        for _, cls in inspect.getmembers(settings, inspect.isclass)
        if dataclasses.is_dataclass(cls) and cls.__module__.startswith(settings.__name__)
    ),
    key=lambda cls: cls.__name__,
)
OF_COMMANDS = {name: getattr(settings, command.settings) for name, command in COMMANDS.items()}
PRESETS = [(kind, name) for kind in ("pretrain", "finetune") for name in config.presets(kind)]
OTHER = {int: 7, float: 0.25, str: "value", bool: None, Path: Path("some/where")}


def another_value(kind: Any, item: dataclasses.Field[Any]) -> Any:
    """A valid value of a field that is not its default, so that a field lost on the way is noticed."""
    plain, many = config.plain_type(kind)
    current, allowed = item.default, item.metadata.get("range")
    if typing.get_origin(plain) is typing.Literal:
        value = next((v for v in typing.get_args(plain) if v != current), current)
    elif plain is bool:
        value = not current
    elif item.metadata.get("parse") is finetune.mixing:
        value = "size0.5"
    elif item.metadata.get("parse") is finetune.layers:
        value = "auto"
    else:
        value = OTHER[plain]
    if allowed is not None and value not in allowed:
        value += plain(allowed.minimum)
    return (value, value) if many else value


def filled(cls: type) -> Any:
    """An instance of a settings class in which every leaf differs from its default."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[item.name]
        values[item.name] = filled(kind) if dataclasses.is_dataclass(kind) else another_value(kind, item)
    return cls(**values)


# ---- every settings class ----


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
def test_toml_round_trip_of_every_class(cls: type) -> None:
    instance = filled(cls)
    assert config.build(cls, tomllib.loads(config.to_toml(instance))) == instance


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
def test_toml_round_trip_of_defaults(cls: type) -> None:
    required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    full = filled(cls)
    instance = cls(**{name: getattr(full, name) for name in required})
    assert config.build(cls, tomllib.loads(config.to_toml(instance))) == instance


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
def test_every_class_is_frozen_and_documented(cls: Any) -> None:
    assert cls.__dataclass_params__.frozen and all(item.kw_only for item in dataclasses.fields(cls))
    assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")
    missing = [".".join(path) for path, owner, item in config.leaves(cls) if not config.field_help(owner).get(item.name)]
    assert not missing


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_leaf_names_are_unique_within_a_command(name: str) -> None:
    names = [path[-1] for path, _, _ in config.leaves(OF_COMMANDS[name])]
    assert len(names) == len(set(names))


def given(item: dataclasses.Field[Any], value: Any) -> list[str]:
    """A leaf's value as command-line words."""
    name = "--" + item.name.replace("_", "-")
    if isinstance(value, bool):
        return [name if value else name.replace("--", "--no-", 1)]
    words = [str(v) for v in value] if isinstance(value, tuple) else [str(value)]
    return words if item.metadata.get("positional") else [name, *words]


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_every_leaf_is_a_flag(name: str) -> None:
    """Each leaf of a command, given alone on the command line, arrives in its place."""
    cls = OF_COMMANDS[name]
    full = filled(cls)
    first = ["small"] if name == "pretrain" else []
    leaves = [(path, item) for path, _, item in config.leaves(cls) if not first or path not in (("preset",), ("resume",))]
    required = [(p, f) for p, f in leaves if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and len(p) == 1]
    positional = [f for _, f in required if f.metadata.get("positional")]
    for index, (path, item) in enumerate(leaves):
        value = full
        for part in path:
            value = getattr(value, part)
        if item.metadata.get("parse") is config.duration:
            value, word = 90.0, ["--" + item.name.replace("_", "-"), "1m30s"]
        else:
            word = given(item, value)
        flags = [w for _, f in required if f not in positional and f is not item for w in given(f, getattr(full, f.name))]
        words = [w for f in positional for w in (word if f is item else given(f, getattr(full, f.name)))]
        # Arguments before an optional one must be given for it to be reached.
        optional = [f for _, f in leaves[:index] if item.metadata.get("positional") and f.metadata.get("positional") and f not in positional]
        words = [*(w for f in optional for w in given(f, getattr(full, f.name))), *words]
        order = (
            words
            if item in positional
            else ([*words, *word] if optional else [*word, *words])
            if item.metadata.get("positional")
            else [*words, *word]
        )
        built = from_command_line(cls, [*first, *order, *flags], f"electra {name}")
        for part in path:
            built = getattr(built, part)
        assert built == value, path


# ---- presets ----


def test_there_are_presets() -> None:
    assert {"tiny", "mini", "small", "base", "large"} <= set(config.presets("pretrain"))
    assert {"paper", "original-code", "mini"} <= set(config.presets("finetune"))


@pytest.mark.parametrize(("kind", "name"), PRESETS, ids=[f"{kind}-{name}" for kind, name in PRESETS])
def test_preset_is_valid(kind: str, name: str) -> None:
    values = config.preset_values(name, kind)
    if kind == "finetune":
        # What differs by model size and by task lies over the rest; every such table must fit as well.
        tables = [table for key in list(values) if key.startswith("for_") for table in values.pop(key).values()]
        for table in [{}, *tables]:
            config.build(settings.FinetuneSettings, {**config.merge(values, table), "task": "sst2", "model": "m", "output": "x"})
        return
    built = config.build(settings.PretrainSettings, {**values, "output": "x"})
    assert built.model.hidden_size % built.model.num_attention_heads == 0
    assert built.data.sequence_length <= built.model.max_position_embeddings


DEPRECATED = sorted(config.PRESETS.glob("*/deprecated/*.toml"))


@pytest.mark.parametrize("path", DEPRECATED, ids=[path.stem for path in DEPRECATED])
def test_a_deprecated_preset_is_what_is_used_instead(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kind, name = path.parts[-3], path.stem
    found = from_command_line(settings.PretrainSettings, [name, "--output", "x"], "electra pretrain")
    instead = tomllib.loads(path.read_text(encoding="utf-8"))["instead"]
    assert capsys.readouterr().err == f"warning: preset '{name}' is deprecated and will be removed; use {instead}\n"
    again = from_command_line(settings.PretrainSettings, [*instead.split(), "--output", "x"], "electra pretrain")
    assert found.preset == name and dataclasses.replace(found, preset=again.preset) == again
    assert name not in config.presets(kind) and name not in config.descriptions(kind)
    (tmp_path / "own.toml").write_text(f'base = "{name}"\n')
    assert config.read_toml(tmp_path / "own.toml") == config.read_toml(path)


@pytest.mark.parametrize(("kind", "name"), PRESETS, ids=[f"{kind}-{name}" for kind, name in PRESETS])
def test_preset_opens_with_its_command(kind: str, name: str) -> None:
    text = config.presets(kind)[name].read_text(encoding="utf-8")
    comment = "\n".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith("#"))
    assert text.startswith("#") and "electra " + kind in comment


@pytest.mark.parametrize(
    ("name", "shape"), [("small", (256, 128, 12, 4, 1024)), ("base", (768, 768, 12, 12, 3072)), ("large", (1024, 1024, 24, 16, 4096))]
)
def test_shapes_of_the_paper(name: str, shape: tuple[int, ...]) -> None:
    """Table 6 of the paper: hidden, embedding, layers, heads, feed-forward; generator 1/4, 1/3, 1/4; mask 15, 15, 25 %."""
    preset = from_command_line(settings.PretrainSettings, [name, "--data", "d", "--output", "o"], "p")
    model = preset.model
    assert (model.hidden_size, model.embedding_size, model.num_hidden_layers, model.num_attention_heads, model.intermediate_size) == shape
    assert model.generator_size == pytest.approx({"small": 1 / 4, "base": 1 / 3, "large": 1 / 4}[name], abs=1e-3)
    assert preset.objective.mask_prob == {"small": 0.15, "base": 0.15, "large": 0.25}[name]


def test_base_is_laid_underneath(tmp_path: Path) -> None:
    (tmp_path / "grand.toml").write_text("[model]\nhidden_size = 1\nembedding_size = 2\n[loop]\nseed = 3\n")
    (tmp_path / "parent.toml").write_text('base = "grand"\n[model]\nhidden_size = 4\n')
    (tmp_path / "child.toml").write_text('base = "parent"\n[loop]\nseed = 5\n')
    assert config.read_toml(tmp_path / "child.toml") == {"model": {"hidden_size": 4, "embedding_size": 2}, "loop": {"seed": 5}}


@pytest.mark.parametrize(
    ("parent", "child", "wanted"),
    [
        ("[loop]\nnum_train_steps = 9\n", "[loop]\nbudget = 60.0\n", {"loop": {"budget": 60.0}}),
        ("[loop]\nbudget = 60.0\n", "[loop]\nnum_train_tokens = 8\n", {"loop": {"num_train_tokens": 8}}),
        ("[optimizer]\nwarmup_steps = 9\n", "[optimizer]\nwarmup_fraction = 0.1\n", {"optimizer": {"warmup_fraction": 0.1}}),
        ("[loop]\nbatch_size = 4\ntotal_batch_size = 8\n", "[loop]\nbatch_size = 2\n", {"loop": {"batch_size": 2}}),
        ("[loop]\naccumulation = 4\n", "[loop]\ntotal_batch_size = 8\n", {"loop": {"total_batch_size": 8}}),
    ],
)
def test_an_equivalent_setting_replaces_the_presets(parent: str, child: str, wanted: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "parent.toml").write_text(parent)
    (tmp_path / "child.toml").write_text('base = "parent"\n' + child)
    assert config.read_toml(tmp_path / "child.toml") == wanted


@pytest.mark.parametrize(
    ("flags", "warmup"),
    [
        ([], (10_000, 0.01)),
        (["--budget", "60m"], (None, 0.01)),
        (["--num-train-tokens", "30M"], (None, 0.01)),
        (["--num-train-steps", "500", "--warmup-steps", "20"], (20, 0.01)),
        (["--num-train-steps", "500", "--warmup-fraction", "0.2"], (None, 0.2)),
        (["--warmup-fraction", "0.2"], (None, 0.2)),
    ],
)
def test_a_length_given_by_a_flag_scales_the_warm_up_of_the_preset(flags: list[str], warmup: tuple[int | None, float]) -> None:
    """10,000 of a million steps in 'small': one percent of any other number."""
    found = from_command_line(settings.PretrainSettings, ["small", "--data", "d", "--output", "o", *flags], "p")
    assert (found.optimizer.warmup_steps, found.optimizer.warmup_fraction) == warmup


@pytest.mark.parametrize(("text", "value"), [("250000", 250_000), ("30M", 30_000_000), ("1.5B", 1_500_000_000), ("2k", 2_000), ("1_000", 1_000)])
def test_counts(text: str, value: int) -> None:
    assert config.count(text) == value


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "3K", "", "1e6"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number such as"):
        config.count(text)


def test_base_may_be_a_packaged_preset(tmp_path: Path) -> None:
    """Also for a file with the preset's name."""
    for name in ("mine.toml", "small.toml"):
        (tmp_path / name).write_text('base = "small"\n[model]\nhidden_size = 4\n')
        assert config.read_toml(tmp_path / name)["model"] == {**config.preset_values("small", "pretrain")["model"], "hidden_size": 4}
        (tmp_path / name).unlink()


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_base_is_a_preset_of_the_kind_that_is_read(kind: str, tmp_path: Path) -> None:
    """'mini' is a preset of both."""
    (tmp_path / "mine.toml").write_text('base = "mini"\n')
    assert config.preset_values(str(tmp_path / "mine.toml"), kind) == config.preset_values("mini", kind)


def test_a_cycle_of_bases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "b"\n')
    (tmp_path / "b.toml").write_text('base = "a"\n')
    with pytest.raises(UserError, match="leads back to itself"):
        config.read_toml(tmp_path / "a.toml")


def test_unknown_base_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text("")
    (tmp_path / "mine.toml").write_text('base = "smal"\n')
    with pytest.raises(UserError, match="did you mean 'small'"):
        config.read_toml(tmp_path / "mine.toml")


def test_flags_lie_over_the_preset(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[model]\nhidden_size = 64\nnum_hidden_layers = 3\n[optimizer]\nlearning_rate = 1e-3\n")
    argv = [str(preset), "--data", "d", "--output", "o", "--hidden-size", "32", "--budget", "1h30m"]
    built = from_command_line(settings.PretrainSettings, argv, "electra pretrain")
    assert (built.model.hidden_size, built.model.num_hidden_layers, built.optimizer.learning_rate, built.loop.budget) == (32, 3, 1e-3, 5400.0)
    assert built.preset == str(preset)


def test_a_flag_equal_to_the_default_still_wins(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[model]\nhidden_size = 64\n")
    default = settings.ModelSettings().hidden_size
    built = from_command_line(settings.PretrainSettings, [str(preset), "--output", "o", "--hidden-size", str(default)], "electra pretrain")
    assert built.model.hidden_size == default


def test_the_record_of_a_run_is_a_preset(tmp_path: Path) -> None:
    """config.toml of a run, given as preset, is the same run again."""
    argv = ["small", "--data", "a", "b", "--weights", "3", "1", "--output", "o", "--budget", "90s", "--keep-steps", "10", "20"]
    first = from_command_line(settings.PretrainSettings, argv, "p")
    (tmp_path / "config.toml").write_text(config.to_toml(first))
    again = from_command_line(settings.PretrainSettings, [str(tmp_path / "config.toml"), "--output", "o"], "p")
    assert dataclasses.replace(again, preset=first.preset) == first


# ---- mistakes ----


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "unknown key 'modle'; did you mean 'model'"),
        ({"model": {"hiden_size": 3}}, r"\[model\]: unknown key 'hiden_size'; did you mean 'hidden_size'"),
        ({"model": 3}, "'model' is a table"),
        ({"model": {"hidden_size": "wide"}}, "'hidden_size': expected int, got 'wide'"),
        ({"model": {"hidden_size": 2.5}}, "'hidden_size': expected int, got 2.5"),
        ({"model": {"hidden_size": True}}, "'hidden_size': expected int, got True"),
        ({"objective": {"objective": "elektra"}}, "'elektra'; did you mean 'electra'"),
        ({"loop": {"budget": "soon"}}, "'soon': expected a duration"),
        ({"loop": {"keep_steps": 5}}, "'keep_steps': expected a list"),
    ],
)
def test_wrong_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.build(settings.PretrainSettings, {"output": "o", **values})


def test_a_missing_value_is_named() -> None:
    with pytest.raises(UserError, match="'output' is missing"):
        config.build(settings.VocabSettings, {"corpus": ["c"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = ", "not valid TOML"), (b"\xff\xfe\x00", "not valid TOML"), (None, "not found")],
    ids=["truncated", "binary", "missing"],
)
def test_broken_settings_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        config.preset_values(str(path), "pretrain")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[optimizer]\nmoments = "int8"\n', r"^{file}, \[optimizer\]: 'moments': 'int8'; known"),
        ("[loop]\nsteps = 3\n", r"^{file}, \[loop\]: unknown key 'steps'"),
    ],
    ids=["value", "key"],
)
def test_a_wrong_value_in_a_settings_file_names_the_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message.format(file=re.escape(str(path)))):
        from_command_line(settings.PretrainSettings, [str(path), "--data", "d", "--output", "o"], "electra pretrain")


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder, not a settings file"):
        config.preset_values(str(tmp_path) + "/", "pretrain")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["smal", "--output", "o"], "unknown preset 'smal'; did you mean 'small'"),
        (["small", "--outptu", "o"], "unknown flag '--outptu'; did you mean '--output'"),
        (["small", "--outptu=o"], "unknown flag '--outptu'; did you mean '--output'"),
        (["small", "--output", "o", "--hiden-size", "3"], "unknown flag '--hiden-size'; did you mean '--hidden-size'"),
        (["small", "--output", "o", "--hidden-size", "wide"], "'wide': expected int"),
        (["small", "--output", "o", "--budget", "1 hour"], "expected a duration"),
        (["small", "--output", "o", "--objective", "bert"], "bert"),
        (["small", "--output", "o", "stray"], "unexpected argument 'stray'"),
        ([], "give a preset"),
        (["--output", "o"], "give a preset"),
    ],
)
def test_wrong_words(argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_command_line(settings.PretrainSettings, argv, "electra pretrain")


# ---- little languages ----


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800), ("1m30s", 90)])
def test_duration(text: str, seconds: float) -> None:
    assert config.duration(text) == seconds == config.duration(config.as_typed(seconds, config.duration))


@pytest.mark.parametrize("text", ["", "30", "m", "1h 30m", "-5m", "1x", "1h30"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        config.duration(text)


@pytest.mark.parametrize(("text", "value"), [("0.5%", 0.005), ("0.005", 0.005), ("0", 0), ("100%", 1), ("1", 1)])
def test_fraction(text: str, value: float) -> None:
    assert config.fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["-1%", "101%", "1.5", "nan", "half", "%"])
def test_not_a_fraction(text: str) -> None:
    with pytest.raises(ValueError, match="expected a fraction"):
        config.fraction(text)


@dataclass(frozen=True, kw_only=True)
class Below:
    width: int = 1
    """How wide,
    in metres."""


@dataclass(frozen=True, kw_only=True)
class Above(Below):
    height: int = field(default=2)
    """How high."""


def test_help_of_a_field_is_its_docstring() -> None:
    assert config.field_help(Above) == {"width": "How wide, in metres.", "height": "How high."}


def test_steps_on_the_command_line_take_the_place_of_a_presets_budget_and_the_other_way_round() -> None:
    def loop(*words: str) -> tuple[int | None, float | None]:
        argv = [*words, "--data", "s", "--output", "o"]
        found = from_command_line(settings.PretrainSettings, argv, "electra pretrain")
        return found.loop.num_train_steps, found.loop.budget

    assert loop("mini") == (None, 3600.0)
    assert loop("mini", "--num-train-steps", "7") == (7, None)
    assert loop("small", "--budget", "30m") == (None, 1800.0)


# ---- ranges ----

NUMBERS = [
    pytest.param(name, path, item, id=f"{name}-{path[-1]}")
    for name, cls in OF_COMMANDS.items()
    for path, owner, item in config.leaves(cls)
    if config.plain_type(config.hints(owner)[item.name])[0] in (int, float)
]


def outside(item: dataclasses.Field[Any], kind: type) -> list[str]:
    """Typed values that a numeric setting must refuse."""
    allowed, step = item.metadata["range"], 1 if kind is int else 0.001
    found = [limit - step for limit in (allowed.minimum,) if limit is not None] + [limit + step for limit in (allowed.maximum,) if limit is not None]
    found += [limit for limit in (allowed.above, allowed.below) if limit is not None]
    words = [f"{kind(value)}" for value in found if abs(value) != float("inf")]
    if item.metadata["parse"] is config.duration:
        return ["0s"]
    return words + ([] if kind is int else ["nan", "inf", "-inf"])


@pytest.mark.parametrize(("name", "path", "item"), NUMBERS)
def test_every_number_has_a_range_that_is_checked(
    name: str,
    path: tuple[str, ...],
    item: dataclasses.Field[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line that names flag, value and range; exit code 2; nothing written. The same from TOML and in Python."""
    cls = OF_COMMANDS[name]
    owner = next(o for p, o, _ in config.leaves(cls) if p == path)
    kind, many = config.plain_type(config.hints(owner)[item.name])
    assert item.metadata.get("range") is not None, f"{owner.__name__}.{item.name} needs a range"
    monkeypatch.chdir(tmp_path)
    full, flag = filled(cls), config.flag_name(item.name)
    required = [f for p, _, f in config.leaves(cls) if len(p) == 1 and f.default is f.default_factory is dataclasses.MISSING]
    words = [w for f in sorted(required, key=lambda f: not f.metadata.get("positional")) for w in given(f, getattr(full, f.name))]
    words += ["small", "--output", "o"] if name == "pretrain" else []
    for typed in outside(item, kind):
        assert cli.main([name, *words, f"{flag}={typed}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("electra: ") and error.count("\n") == 1
        assert flag in error and "expected " in error, error
        if item.metadata["parse"] is None:
            value = kind(typed)
            assert f"{flag} {config.as_typed(value, None)}: expected {item.metadata['range']}" in error
            with pytest.raises(UserError, match=f"{flag} .*: expected "):
                dataclasses.replace(filled(owner), **{item.name: (value,) if many else value})
    assert not list(tmp_path.iterdir())


def test_ranges() -> None:
    assert 3 in config.Range(minimum=3) and 2 not in config.Range(minimum=3) and 2 not in config.Range(above=2)
    assert 1 in config.Range(maximum=1) and 1 not in config.Range(below=1) and float("nan") not in config.FINITE
    assert float("inf") not in config.FINITE and -1e30 in config.FINITE
    assert str(config.Range(above=0, maximum=1)) == "above 0 and at most 1" and str(config.FINITE) == "a finite number"
    assert str(config.Range(minimum=0, maximum=2**31 - 1)) == "at least 0 and at most 2147483647"


def test_a_range_holds_in_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[loop]\nbatch_size = 0\n")
    with pytest.raises(UserError, match=r"\[loop\]: --batch-size 0: expected at least 1"):
        from_command_line(settings.PretrainSettings, [str(tmp_path / "mine.toml")], "electra pretrain")


# ---- PRESET and --resume ----


@pytest.mark.parametrize(
    "words", [["mini", "--data", "x"], ["--data", "x", "mini"], ["--seed", "1", "mini", "--data", "x"], ["--preset", "mini", "--data", "x"]]
)
def test_the_preset_may_be_anywhere(words: list[str]) -> None:
    found = from_command_line(settings.PretrainSettings, words, "electra pretrain")
    assert (found.preset, found.data.data, found.model.hidden_size) == ("mini", ("x",), 192)


def test_two_presets_are_refused() -> None:
    with pytest.raises(UserError, match="PRESET 'mini' and --preset 'small' differ"):
        from_command_line(settings.PretrainSettings, ["mini", "--preset", "small"], "electra pretrain")


@pytest.fixture
def a_run(tmp_path: Path) -> Path:
    """A run directory with the settings of 'mini'."""
    made = from_command_line(settings.PretrainSettings, ["mini", "--data", "/shards", "--output", "elsewhere", "--seed", "3"], "electra pretrain")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config.to_toml(made))
    return tmp_path / "run"


def resume(*words: object) -> settings.PretrainSettings:
    return from_command_line(settings.PretrainSettings, [str(word) for word in words], "electra pretrain")


def test_resume_takes_the_run_alone(a_run: Path) -> None:
    found = resume("--resume", a_run)
    assert found == resume("mini", "--output", a_run, "--resume") == resume(a_run / "config.toml", "--output", a_run, "--resume")
    assert found.resume and found.output == a_run and found.loop.seed == 3 and found.preset == "mini" and found.data.data == ("/shards",)
    assert resume("--resume", a_run, "--seed", "3", "--output", a_run) == found
    assert config.resumed(settings.PretrainSettings, a_run, config.given(found), "pretrain") == found


def test_resume_takes_what_may_change(a_run: Path) -> None:
    found = resume("--resume", a_run, "--num-train-steps", "9", "--threads", "2", "--data", "/moved", "--precision", "fp32", "--device", "cpu")
    assert (found.loop.num_train_steps, found.loop.budget) == (9, None)
    assert (found.loop.threads, found.data.data, found.loop.precision, found.loop.device) == (2, ("/moved",), "fp32", "cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "RUN", "--learning-rate", "0.1"], r"--learning-rate 0\.1 would change the run \(it has 0\.0002\).*only: .*--data, .*--budget"),
        (["--resume", "RUN", "--batch-size", "64"], r"--batch-size 64 would change the run \(it has 16\)"),
        (["small", "--resume", "RUN"], r"PRESET small would change the run \(it has 'mini'\)"),
        (["--resume"], "give --resume RUN"),
        (["--resume", "RUN", "--output", "other"], "differ; give the run once"),
        (["--resume", "nowhere"], "nowhere is not a run directory"),
        (["--resume", "RUN", "--seed", "-1"], "--seed -1: expected at least 0"),
    ],
)
def test_resume_refuses(words: list[str], message: str, a_run: Path) -> None:
    with pytest.raises(UserError, match=message):
        resume(*[a_run if word == "RUN" else word for word in words])


@pytest.fixture
def a_finetuning(tmp_path: Path) -> Path:
    """A run directory of two tasks; the preset chose 512 tokens for one of them."""
    words = ["sst2+squad", "--model", "m", "--data", "glue", "--output", "elsewhere", "--learning-rate", "1e-4"]
    made = from_command_line(settings.FinetuneSettings, words, "electra finetune")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config.to_toml(made) + "\n[for_task.squad]\nmax_length = 512\n")
    return tmp_path / "run"


def resume_finetuning(*words: object) -> settings.FinetuneSettings:
    return from_command_line(settings.FinetuneSettings, [str(word) for word in words], "electra finetune")


def test_a_finetuning_resumes_by_its_run_alone(a_finetuning: Path) -> None:
    found = resume_finetuning("--resume", a_finetuning, "--seeds", "3")
    assert (found.task, found.model, found.output, found.resume, found.seeds) == ("sst2+squad", "m", a_finetuning, True, 3)
    assert config.given(found)["optimizer"]["learning_rate"] == 1e-4 and "max_length" not in config.given(found)


def test_resume_with_the_whole_command_may_be_its_first_start(tmp_path: Path) -> None:
    found = resume_finetuning("sst2", "--model", "m", "--output", tmp_path / "new", "--resume")
    assert found.resume and config.given(found) == {"task": "sst2", "model": "m", "output": str(tmp_path / "new"), "resume": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "RUN", "--epochs", "9"], r"--epochs 9 would change the run \(it has 3\).*only: .*--seeds, "),
        (["--resume", "RUN", "--num-train-steps", "9"], r"--num-train-steps 9 would change the run \(it has none\)"),
        (["--resume"], "give --resume RUN"),
        (["sst2", "--resume"], "give --resume RUN"),
        (["--resume", "nowhere"], "nowhere is not a run directory"),
    ],
)
def test_resume_of_a_finetuning_refuses(words: list[str], message: str, a_finetuning: Path) -> None:
    with pytest.raises(UserError, match=message):
        resume_finetuning(*[a_finetuning if word == "RUN" else word for word in words])


# ---- help ----


def help_text(cls: type, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        from_command_line(cls, list(words), "electra x")
    return " ".join(capsys.readouterr().out.split())


def test_help_shows_what_people_change_and_help_all_everything(capsys: pytest.CaptureFixture[str]) -> None:
    short, full = (help_text(settings.PretrainSettings, word, capsys=capsys) for word in ("--help", "--help-all"))
    assert "usage: electra x PRESET [flags]" in short
    leaves = [item for _, _, item in config.leaves(settings.PretrainSettings)]
    assert 20 <= len({config.flag_name(item.name) for item in leaves} & set(short.replace(",", " ").split())) <= 28
    flags = {config.flag_name(item.name) for item in leaves if not item.metadata.get("positional") and not item.metadata.get("toml_only")}
    assert flags <= set(full.replace(",", " ").split())
    assert "--adam-epsilon" in full and "--adam-epsilon" not in short


@pytest.mark.parametrize("cls", [settings.PretrainSettings, settings.FinetuneSettings])
def test_help_lists_the_presets(cls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "pretrain" if cls is settings.PretrainSettings else "finetune"
    text = help_text(cls, "--help", capsys=capsys)
    assert all(f"{name} {line}" in text for name, line in config.descriptions(kind).items())


def test_defaults_in_the_help_are_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    alone, mini = help_text(settings.PretrainSettings, "-h", capsys=capsys), help_text(settings.PretrainSettings, "mini", "-h", capsys=capsys)
    assert "Peak learning rate. (set by the preset)" in alone
    assert "Peak learning rate. (default: 0.0002)" in mini and "(default: 1h)" in mini and "(set by the preset)" not in mini


@pytest.mark.parametrize("cls", OF_COMMANDS.values(), ids=OF_COMMANDS)
def test_every_default_is_visible(cls: type) -> None:
    for path, owner, item in config.leaves(cls):
        if item.default in (None, (), "", Path()) and path != ("preset",):
            assert "default" in config.field_help(owner)[item.name].lower(), path


def test_a_setting_of_presets_is_deprecated_as_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    found = from_command_line(settings.PretrainSettings, ["mini", "--mask-frequency-power", "2"], "electra pretrain")
    assert found.objective.mask_frequency_power == 2
    assert capsys.readouterr().err == (
        "electra pretrain: --mask-frequency-power is deprecated; set mask_frequency_power under [objective] in a TOML file given as preset\n"
    )


def test_settings_are_imported_by_verb() -> None:
    """`electra predict` does not make the classes of pre-training; every public name is found."""
    assert sorted(settings._MODULES) == settings.__all__ and all(getattr(settings, name) for name in settings.__all__)
    code = "import sys; from electra.settings import PredictSettings; print(sorted(n for n in sys.modules if n.startswith('electra.settings.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['electra.settings.infer', 'electra.settings.sections']\n"


def test_a_flag_of_several_values_that_is_given_again_adds_them() -> None:
    words = ["a", "--task", "own", "--data", "x", "--labels", "yes", "no", "--labels", "maybe"]
    assert from_command_line(settings.CompareSettings, words, "electra compare").labels == ("yes", "no", "maybe")

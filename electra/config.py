"""TOML preset -> frozen dataclass -> TOML record. (Flags: `electra.command_line`.)

A settings class (see `electra.settings`) is a frozen dataclass whose fields are plain values or other settings classes
(sections). In TOML a section is a table; on the command line every leaf is a flag of its own name (`learning_rate` ->
`--learning-rate`), so leaf names are unique within a command. A field made by `argument()` is positional. The docstring under
a field is its help. A numeric field states its range, which `Settings` checks wherever an instance is made: from TOML, from
flags, or in Python.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import os
import re
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.errors import UserError, did_you_mean, shortened
from electra.storage import atomic
from electra.terminal import say

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values a number may have: `minimum` and `maximum` are included, `above` and `below` are not."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        named = (("at least", self.minimum), ("above", self.above), ("at most", self.maximum), ("below", self.below))
        limits = [f"{name} {limit:.12g}" for name, limit in named if limit is not None and math.isfinite(limit)]
        return " and ".join(limits) or "a finite number"


FINITE = Range(minimum=-math.inf)
"""Any number but NaN and infinity."""


def flag(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    allowed: Range | None = None,
    parse: Callable[[str], Any] | None = None,
    metavar: str | None = None,
    advanced: bool = False,
    toml_only: bool = False,
    may_change: bool | Collection[str] = False,
    aliases: Collection[str] = (),
    **metadata: Any,
) -> Any:
    """A field with more than a default.

    Args:
        minimum, maximum, above, below: the range of a number, or of each number of a tuple; or `allowed`, a `Range`.
        parse: text -> value; raises ValueError with the remedy.
        metavar: how the value is shown in the help.
        advanced: shown by --help-all, not by --help.
        toml_only: meant for presets; the flag still works, with a deprecation line, and is in no help.
        may_change: may be given with --resume. On the field of --resume: the names of all that may, instead of their own marks.
        aliases: deprecated names, which still work and are in no help.
        metadata: `preset` (kind of preset that the field names) and `run` (field that --resume's optional value sets).
    """
    if allowed is None and any(limit is not None for limit in (minimum, maximum, above, below)):
        allowed = Range(minimum=minimum, maximum=maximum, above=above, below=below)
    known = {"range": allowed, "parse": parse, "metavar": metavar, "advanced": advanced, "toml_only": toml_only, "may_change": may_change}
    known["aliases"] = aliases
    return dataclasses.field(default=default, metadata=known | metadata)


def argument(default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """A positional argument of a command."""
    return flag(default, positional=True, **options)


LARGEST_INTEGER = 2**63 - 1
"""The largest number that the libraries below accept."""
LONGEST_NAME = 255
"""Bytes in the name of a file or folder, on every common file system."""


class Settings:
    """What every settings class inherits: numbers outside their range, and texts and paths that no system accepts, are refused."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, str | Path):
                    _check_text(field.name, each)
                elif isinstance(each, int | float) and not isinstance(each, bool):
                    allowed = field.metadata.get("range") or FINITE
                    huge = isinstance(each, int) and abs(each) > LARGEST_INTEGER
                    if huge or each not in allowed:
                        shown = shortened(as_typed(each, field.metadata.get("parse")))
                        expected = f"{'at most ' if each > 0 else 'at least -'}{LARGEST_INTEGER}" if huge else allowed
                        raise UserError(f"{flag_name(field.name)} {shown}: expected {expected}")


def _check_text(name: str, value: str | Path) -> None:
    """Check what no file system accepts, before any command tries it.

    Raises:
        UserError: a null byte, or a path with a part that is too long.
    """
    if "\0" in str(value):
        raise UserError(f"{flag_name(name)} {str(value)!r}: expected text without a null byte")
    if isinstance(value, Path) and (long := [part for part in value.parts if len(os.fsencode(part)) > LONGEST_NAME]):
        raise UserError(f"{flag_name(name)} {long[0][:20]}...: a name of {len(os.fsencode(long[0]))} bytes; expected at most {LONGEST_NAME}")


def flag_name(name: str) -> str:
    """A field's name -> its flag."""
    return "--" + name.replace("_", "-")


ON_OFF = {"auto": None, "on": True, "off": False}

INSTEAD_OF = {
    "num_train_steps": ("num_train_tokens", "budget"),
    "num_train_tokens": ("num_train_steps", "budget"),
    "budget": ("num_train_steps", "num_train_tokens"),
    "warmup_fraction": ("warmup_steps",),
    "total_batch_size": ("accumulation",),
    "accumulation": ("total_batch_size",),
    "batch_size": ("total_batch_size",),
}
"""Alternative settings for the same thing: one given by a flag or a preset replaces the others in the presets below it."""


# ---- fields of settings classes ----


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The types of a settings class's fields."""
    return typing.get_type_hints(cls)


@functools.cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """A module's name -> the statements of each of its top-level classes; much faster than `inspect.getsource` of every class."""
    return {node.name: node.body for node in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(node, ast.ClassDef)}


@functools.cache
def field_help(cls: type) -> dict[str, str]:
    """The docstring under each field of a settings class, inherited fields included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = _classes(base.__module__)[base.__name__]
        for node, after in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                assert isinstance(node.target, ast.Name)
                found[node.target.id] = " ".join(str(after.value.value).split())
    return found


def leaves(cls: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type, dataclasses.Field[Any]]]:
    """Every leaf field as (path of names, owning class, field), sections walked depth first."""
    for field in dataclasses.fields(cls):
        kind = hints(cls)[field.name]
        if dataclasses.is_dataclass(kind):
            yield from leaves(typing.cast(type, kind), (*path, field.name))
        else:
            yield (*path, field.name), cls, field


def plain_type(kind: Any) -> tuple[Any, bool]:
    """A field's type without `| None`, and whether it may be a sequence."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    return kind, False


# ---- TOML ----


DEEPEST, LONGEST_KEY = 8, 100
"""Levels of tables in a settings file; parts of a key with dots."""


def read_toml(path: Path | str, kind: str = "pretrain", _above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A TOML file merged over its `base = "name"`: a file next to it, else a packaged preset, of `kind` if there is one. Its `description` and
    `instead` are left out.

    Raises:
        UserError: missing, not TOML, or a base that does not exist or leads back to the file itself.
    """
    path = atomic.existing_path(path, "settings file")
    try:
        text = path.read_bytes().decode("utf-8")  # as bytes: TOML does not allow a carriage return alone as the end of a line
        if any(part.count(".") > LONGEST_KEY for part in re.split(r"[=,{}\[\]\n]", text)):
            raise ValueError(f"a key of more than {LONGEST_KEY} parts")  # for which tomllib takes quadratic time
        values = tomllib.loads(text)
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a settings file; give its config.toml") from None
    except (ValueError, RecursionError) as error:  # ValueError: besides TOMLDecodeError, a number of too many digits, and bytes that are not UTF-8
        raise UserError(f"{path} is not valid TOML: {error}") from None
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        level = [inner for table in level if isinstance(table, dict) for inner in table.values()]
    if any(isinstance(inner, dict) for inner in level):
        raise UserError(f"{path}: tables within tables, more than {DEEPEST} deep; settings have sections, which have values")
    for key in ("description", "instead"):
        values.pop(key, None)
    base = values.pop("base", None)
    if base is None:
        return values
    # Nearest first: next to the file, else packaged, else deprecated. 'mini' is a preset of both kinds.
    kinds = sorted(PRESETS.glob("*/"), key=lambda folder: folder.name != kind)
    folders = [path.parent, *kinds, *(folder / "deprecated" for folder in kinds)]
    files = (folder / f"{base}.toml" for folder in folders)
    named = isinstance(base, str) and len(base) < LONGEST_NAME // 4  # of up to four bytes each
    below = next((file for file in files if named and file.stem == base and file.is_file() and not file.samefile(path)), None)
    if below is None:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.toml")})
        raise UserError(f"{path}: base '{shortened(str(base))}' not found; {did_you_mean(str(base), known)}")
    if str(below) in _above:
        raise UserError(f"{path}: base '{base}' leads back to itself; remove one of them")
    return merge(read_toml(below, kind, (*_above, str(path))), values)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, tables merged key by key; what is given `INSTEAD_OF` something below takes its place."""
    out = dict(below)
    for other in {other for key in above for other in INSTEAD_OF.get(key, ())} - above.keys():
        out.pop(other, None)
    for key, value in above.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def presets(kind: str) -> dict[str, Path]:
    """Name -> file of the packaged presets of a kind ('pretrain', 'finetune')."""
    return {path.stem: path for path in sorted((PRESETS / kind).glob("*.toml"), key=lambda path: path.stem)}


@functools.cache
def preset_files(kind: str) -> dict[str, dict[str, Any]]:
    """Name -> what the file of a packaged preset says, without its base; not to be changed."""
    return {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in presets(kind).items()}


def descriptions(kind: str) -> dict[str, str]:
    """Name -> one line for the help, of the packaged presets that have one."""
    return {name: values["description"] for name, values in preset_files(kind).items() if "description" in values}


def is_settings_file(name: str, kind: str) -> bool:
    """Whether the name of a preset is the path of a settings file."""
    return name not in presets(kind) and (name.endswith(".toml") or "/" in name)


def preset_values(name: str, kind: str) -> dict[str, Any]:
    """The values of a preset given by name, or of a settings file given by path. A deprecated preset says on standard error what to use instead.

    Raises:
        UserError: neither a preset nor a file.
    """
    known = presets(kind)
    if name in known:
        return read_toml(known[name])
    if is_settings_file(name, kind):
        return read_toml(name, kind)
    if (old := PRESETS / kind / "deprecated" / f"{name}.toml").is_file():
        instead = tomllib.loads(old.read_text(encoding="utf-8"))["instead"]
        say(f"warning: preset '{name}' is deprecated and will be removed; use {instead}")
        return read_toml(old)
    raise UserError(f"unknown preset '{name}'; {did_you_mean(name, known)} (or give a .toml file)")


def build(cls: type, values: dict[str, Any], where: str = "settings") -> Any:
    """Nested values -> a settings instance, every key and type checked.

    Raises:
        UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    known = {field.name: field for field in dataclasses.fields(cls)}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {did_you_mean(key, known)}")
        kind = hints(cls)[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise UserError(f"{where}: '{key}' is a table of settings, got {value!r}")
            section = known[key].default_factory
            below = to_values(section()) if section is not dataclasses.MISSING else {}
            out[key] = build(typing.cast(type, kind), merge(below, value), f"{where}, [{key}]")
        else:
            out[key] = _convert(kind, value, f"{where}: '{key}'", known[key].metadata.get("parse"))
    missing = [n for n, f in known.items() if n not in out and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where}: '{missing[0]}' is missing")
    try:
        settings = cls(**out)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    object.__setattr__(settings, "_given", values)
    return settings


def mark_given(settings: Any, names: Iterable[str]) -> None:
    """Settings made in Python from others: say which of them were given, also where a value is the default."""
    object.__setattr__(settings, "_given", {name: to_values(settings)[name] for name in names if name in to_values(settings)})


def given(settings: Any) -> dict[str, Any]:
    """What was given rather than left at its default, as nested plain values, so that a recipe chosen later leaves it alone.

    Of settings from a command line: the flags (over the preset). Of settings made in Python: what differs from the defaults.
    """
    typed: dict[str, Any] | None = getattr(settings, "_given", None)
    values = to_values(settings)
    if typed is not None:
        return _restrict(values, typed)
    out = {}
    for field in dataclasses.fields(settings):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = getattr(settings, field.name)
        if value != default and field.name in values:
            out[field.name] = to_values(value, unlike=default) if dataclasses.is_dataclass(value) else values[field.name]
    return out


def typed(settings: Any) -> dict[str, Any]:
    """What was given by flags or arguments, as nested plain values, without a preset's values. Of settings made in Python: as `given`."""
    values: dict[str, Any] | None = getattr(settings, "_typed", None)
    return given(settings) if values is None else values


def resumed(cls: type, run: Path, typed: dict[str, Any], where: str) -> Any:
    """The settings recorded in RUN/config.toml, with those `typed` settings that may change when a run is resumed.

    Args:
        typed: nested values, such as flags; those equal to the run's are accepted, other ones only if the field is marked `may_change`.

    Raises:
        UserError: no run there, or a setting that would change the run.
    """
    file = run / "config.toml"
    if not file.exists():
        raise UserError(f"--resume: {run} is not a run directory (no config.toml); start it without --resume")
    resume = next(field for field in dataclasses.fields(cls) if field.metadata.get("run"))
    folder, named = resume.metadata["run"], resume.metadata["may_change"]
    recorded = read_toml(file) | {folder: str(run)}
    # The preset chose for each task what differs by task (several tasks fine-tuned together), and does so again.
    differing = {name for spec in recorded.pop("for_task", {}).values() for name in spec}
    recorded = {name: value for name, value in recorded.items() if name not in differing}
    changeable = [f.name for _, _, f in leaves(cls) if (f.metadata.get("may_change") if named is True else f.name in named)]
    before = build(cls, recorded, str(file))
    preset = typed.pop("preset", None)
    began = str(recorded.get("preset", ""))
    if preset is not None and preset != began and not same_place(began, preset) and not (Path(preset).is_file() and file.samefile(preset)):
        raise UserError(f"{where} --resume {run}: PRESET {preset} would change the run (it has '{began or None}'); leave it out")
    after = build(cls, merge(recorded, typed), where)
    changes: dict[str, Any] = {}
    for path, _, field in leaves(cls):
        old, new = (functools.reduce(getattr, path, settings) for settings in (before, after))
        value: Any = functools.reduce(lambda table, name: table.get(name, {}), path[:-1], typed).get(path[-1])
        if value is None or old == new or field.name == "resume" or (isinstance(old, str | Path) and same_place(str(old), str(new))):
            continue
        if field.name not in changeable:
            allowed = [flag_name(name) for name in changeable if name not in ("resume", folder)]
            raise UserError(
                f"{where} --resume {run}: {flag_name(field.name)} {as_typed(new, field.metadata.get('parse'))} would change the run (it has "
                f"{'none' if old is None else as_typed(old, field.metadata.get('parse'))}); start a new run, or change only: {', '.join(allowed)}"
            )
        functools.reduce(lambda table, name: table.setdefault(name, {}), path[:-1], changes)[path[-1]] = value
    return build(cls, merge(recorded, changes) | {"resume": True}, where)


def same_place(recorded: str, given: str) -> bool:
    """Whether a recorded path is the one that is given now, both perhaps behind 'random:'; empty texts are no paths."""
    both = [name.removeprefix("random:") for name in (recorded, given)]
    same = recorded.startswith("random:") == given.startswith("random:")
    return same and all(both) and os.path.abspath(both[0]) == os.path.abspath(both[1])


def _restrict(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """`values` without the keys that `keys` does not have, table by table."""
    return {k: _restrict(v, keys[k]) if isinstance(v, dict) else v for k, v in values.items() if k in keys}


def _convert(kind: Any, value: Any, where: str, parse: Callable[[str], Any] | None = None) -> Any:
    plain, many = plain_type(kind)
    if value is None:
        return None
    if parse is not None and isinstance(value, str):
        try:
            return parse(value)
        except ValueError as error:
            raise UserError(f"{where}: {value!r}: {error}") from None
    if many:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: expected a list, got {value!r}")
        return tuple(_convert(plain, v, where) for v in value)
    if typing.get_origin(plain) is typing.Literal:
        if value not in typing.get_args(plain):
            raise UserError(f"{where}: {value!r}; {did_you_mean(str(value), map(str, typing.get_args(plain)))}")
        return value
    if plain is Path:
        try:
            return local_path(str(value))
        except ValueError as error:
            raise UserError(f"{where}: {value!r}: {error}") from None
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > LARGEST_INTEGER:
            raise UserError(f"{where}: a number of {value.bit_length()} bits; expected at most {LARGEST_INTEGER}")
        return float(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise UserError(f"{where}: expected {plain.__name__}, got {value!r}")
    return value


def to_values(settings: Any, unlike: Any = None) -> dict[str, Any]:
    """A settings instance -> nested plain values; fields that are None are left out (TOML has no null), and those equal to `unlike`'s."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if unlike is not None and value == getattr(unlike, field.name):
            continue
        if dataclasses.is_dataclass(value):
            out[field.name] = to_values(value)
        elif isinstance(value, tuple):
            out[field.name] = [str(v) if isinstance(v, Path) else v for v in value]
        elif value is not None:
            out[field.name] = str(value) if isinstance(value, Path) else value
    return out


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings -> leaf name -> value: leaf names are unique within a command, those of `for_task` get the task's name before them."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key == "for_task":
            out |= {f"{task}.{name}": found for task, spec in value.items() for name, found in spec.items()}
        else:
            out |= flatten(value) if isinstance(value, dict) else {key: value}
    return out


def to_toml(settings: Any) -> str:
    """A settings instance as TOML that `build` turns into the same instance again."""
    import tomli_w

    return tomli_w.dumps(to_values(settings))


# ---- numbers as typed: '0.5%', '30M', '1h30m' ----


def on_off(text: str) -> bool | None:
    """'on' -> True, 'off' -> False, 'auto' -> None. A setting with it has the flags `--name [auto|on|off]` and `--no-name`.

    Raises:
        ValueError: something else.
    """
    if text not in ON_OFF:
        raise ValueError(f"expected {', '.join(ON_OFF)}")
    return ON_OFF[text]


def fraction(text: str) -> float:
    """'0.5%' -> 0.005, '0.005' -> 0.005.

    Raises:
        ValueError: not a number between 0 and 1 (or 0% and 100%).
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("expected a fraction such as 0.005 or 0.5%")
    return value


def local_path(text: str) -> Path:
    """A path of this machine.

    Raises:
        ValueError: empty, or a URL.
    """
    if not text:
        raise ValueError("expected a path")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise ValueError("expected a local path, not a URL")
    return Path(text)


def count(text: str) -> int:
    """'250000', '30M', '1.5B' -> a whole number.

    Raises:
        ValueError: not a whole number of at least 1.
    """
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)([kMBT]?)", text)
    value = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[match[2]] if match else 0.0
    if value < 1 or value % 1:
        raise ValueError("expected a number such as 250000, 30M or 1.5B")
    return int(value)


def duration(text: str) -> float:
    """'90s', '30m', '1h30m', '2d' -> seconds.

    Raises:
        ValueError: not a duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text[:100])  # of a million digits without a unit, findall would try every one
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError("expected a duration such as 90s, 30m or 1h30m")
    return sum(float(a) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[b] for a, b in parts)


def as_typed(value: Any, parse: Callable[[str], Any] | None) -> str:
    """A setting's value as typed on the command line: (1, 2) -> '1 2'; 0.0002 -> '0.0002'; a duration of 5400.0 -> '1h30m'."""
    if isinstance(value, tuple | list):
        return " ".join(as_typed(one, parse) for one in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if parse is not duration or not value or not value > 0 or not math.isfinite(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    rest, parts = float(value), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if rest >= seconds:
            parts.append(f"{int(rest // seconds)}{unit}")
            rest %= seconds
    return "".join(parts) + (f"{rest:g}s" if rest or not parts else "")

"""Typed words, over a preset or a run's recorded settings -> a settings instance; `--help` from the class's docstrings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import inspect
import itertools
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from electra.config import (
    INSTEAD_OF,
    ON_OFF,
    as_typed,
    build,
    descriptions,
    field_help,
    flag_name,
    hints,
    is_settings_file,
    leaves,
    local_path,
    merge,
    on_off,
    plain_type,
    preset_files,
    preset_values,
    presets,
    resumed,
)
from electra.errors import UserError, did_you_mean, shortened
from electra.terminal import say

_PRESET_FLAG = "--preset"
"""Where the parser keeps --preset of a command whose PRESET is positional."""
HELP = {"-h": False, "--help": False, "--help-all": True}
"""Word -> whether it lists every setting."""


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are `UserError`s with the nearest known flag."""

    def check_flags(self, argv: Sequence[str]) -> None:
        """Refuse an unknown flag before argparse reports what its misspelling left missing."""
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        for word in argv:
            name = word.split("=")[0]
            if word == "--":
                return
            if name.startswith("--") and name not in known:
                # What 'pretrain' starts from is no --model.
                guess = "did you mean '--init'?" if name in ("--model", "--checkpoint") and "--init" in known else did_you_mean(name, known)
                raise UserError(f"{self.prog}: unknown flag '{name}'; {guess if guess.startswith('did') else f'see {self.prog} --help-all'}")

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            message = f"unexpected argument '{word}'; see {self.prog} --help"
        raise UserError(f"{self.prog}: {message}")


# ---- help ----


def _split_doc(cls: type) -> tuple[str, str]:
    """A class docstring -> description, examples."""
    text = inspect.cleandoc(cls.__doc__ or "")
    head, _, examples = text.partition("Examples:\n")
    return head.strip(), ("examples:\n" + examples.rstrip()) if examples else ""


def _preset_list(kind: str) -> str:
    """The packaged presets of a kind, one line each."""
    found = descriptions(kind)
    width = max(map(len, found), default=0)
    return "presets:\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in found.items()) + "\n\n"


def _preset_field(cls: type) -> dataclasses.Field[Any] | None:
    """The field of a command that names a preset."""
    return next((field for field in dataclasses.fields(cls) if field.metadata.get("preset")), None)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _usage(cls: type, prog: str) -> str:
    words = []
    for field in dataclasses.fields(cls):
        required = _required(field)
        if field.metadata.get("positional"):
            name = field.name.upper() + (" ..." if plain_type(hints(cls)[field.name])[1] else "")
            words.append(name if required or field.metadata.get("preset") else f"[{name}]")
        elif required:
            words.append(f"{flag_name(field.name)} {field.name.upper()}")
    return " ".join([prog, *words, "[flags]"])


def _default(cls: type, path: tuple[str, ...]) -> Any:
    """A leaf's default as the command has it: a section may have other defaults than its class."""
    field = next(f for f in dataclasses.fields(cls) if f.name == path[0])
    if len(path) > 1 and field.default_factory is not dataclasses.MISSING:
        return functools.reduce(getattr, path[1:], field.default_factory())
    return _default(typing.cast(type, hints(cls)[path[0]]), path[1:]) if len(path) > 1 else field.default


def _set_by_presets(kind: str) -> set[tuple[str, ...]]:
    """Paths of the leaves that at least one packaged preset sets."""
    # Their bases are packaged, too.
    tables = (item for values in preset_files(kind).values() for item in values.items())
    return {(section, name) for section, table in tables if isinstance(table, dict) for name in table}


def _shown_default(current: Any, parse: Callable[[str], Any] | None, by_preset: bool) -> str:
    """The end of a flag's help; a setting without a value says in its own text what then holds."""
    if current in (None, dataclasses.MISSING, (), "", Path()):
        return ""
    return " (set by the preset)" if by_preset else f" (default: {as_typed(current, parse)})"


def _group(owner: type, section: str, name: str) -> str:
    """Title of the help group of a leaf: the docstring of the shared class it comes from, else its section."""
    shared = next((base for base in owner.__bases__ if name in getattr(base, "__dataclass_fields__", {})), None)
    return section if shared is None else str(shared.__doc__).rstrip(".").lower()


# ---- parser ----


def _reader(kind: Any, parse: Callable[[str], Any] | None, empty: bool = False) -> Callable[[str], Any]:
    """What reads a word; `empty`: whether it may be empty."""

    def read(text: str) -> Any:
        if not text and not empty:
            raise argparse.ArgumentTypeError("expected a value, got an empty text")
        try:
            return (parse or (local_path if kind is Path else kind))(text)
        except ValueError as error:
            remedy = str(error) if "expected" in str(error) else f"expected {kind.__name__}"
            raise argparse.ArgumentTypeError(f"'{text}': {remedy}") from None

    return read


def _value_options(plain: Any, field: dataclasses.Field[Any]) -> dict[str, Any]:
    """What argparse needs to know of a flag's value."""
    if typing.get_origin(plain) is typing.Literal:
        choices = typing.get_args(plain)
        return {"choices": choices, "type": type(choices[0])}
    metavar = field.metadata.get("metavar") or (plain.__name__.upper() if plain is not str else field.name.upper())
    return {"metavar": metavar, "type": _reader(plain, field.metadata.get("parse"), empty=field.default == "")}


def _add_flag(target: Any, field: dataclasses.Field[Any], kind: tuple[Any, bool], required: bool, options: dict[str, Any]) -> None:
    """Add the flag of a field to a parser or group; `kind`: its type, and whether it takes several values."""
    name, (plain, many), parse = flag_name(field.name), kind, field.metadata.get("parse")
    if field.metadata.get("run"):
        target.add_argument(name, default=argparse.SUPPRESS, nargs="?", const=True, metavar="RUN", **options)
        target.add_argument(f"--no-{field.name}", dest=options["dest"], action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    elif parse is on_off:
        off = name.replace("--", "--no-", 1)
        target.add_argument(name, default=argparse.SUPPRESS, metavar="|".join(ON_OFF), type=_reader(plain, parse), **options)
        target.add_argument(off, default=argparse.SUPPRESS, action="store_false", dest=options["dest"], help=argparse.SUPPRESS)
    elif plain is bool:
        target.add_argument(name, default=argparse.SUPPRESS, action=argparse.BooleanOptionalAction, **options)
    else:
        options |= _value_options(plain, field)
        if many:
            options |= {"nargs": "+", "action": "extend"}  # given again, it adds its values
        target.add_argument(name, default=argparse.SUPPRESS, required=required, **options)
        if aliases := [flag_name(alias) for alias in field.metadata.get("aliases", ())]:
            target.add_argument(*aliases, default=argparse.SUPPRESS, **options | {"help": argparse.SUPPRESS})


def parser(cls: type, prog: str, default: Any = None, *, everything: bool = False, complete: bool = True) -> _Parser:
    """The parser of a settings class.

    Args:
        default: an instance whose values the help shows; None: the class's defaults.
        everything: the help lists the advanced settings too.
        complete: required settings must be given (not so with --resume, where the run has them).
    """
    description, epilog = _split_doc(cls)
    by_preset: set[tuple[str, ...]] = set()
    if named := _preset_field(cls):
        epilog = _preset_list(named.metadata["preset"]) + epilog
        if default is None and named.metadata.get("positional"):
            by_preset = _set_by_presets(named.metadata["preset"])
    out = _Parser(
        prog=prog,
        usage=_usage(cls, prog),
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="show the settings that are changed most often")
    out.add_argument("--help-all", action="store_true", default=argparse.SUPPRESS, help="show all settings")
    groups: dict[str, Any] = {}
    for path, owner, field in leaves(cls):
        plain, many = plain_type(hints(owner)[field.name])
        current = functools.reduce(getattr, path, default) if default is not None else _default(cls, path)
        parse = field.metadata.get("parse")
        text = field_help(owner).get(field.name, "") + _shown_default(current, parse, path in by_preset)
        hidden = field.metadata.get("toml_only") or (field.metadata.get("advanced") and not everything)
        options: dict[str, Any] = {"dest": ".".join(path), "help": argparse.SUPPRESS if hidden else text.replace("%", "%%")}
        required = complete and current is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.metadata.get("positional"):
            options |= {"metavar": field.name.upper(), "type": _reader(plain, parse)}
            if many:
                options["nargs"] = "+" if required else "*"
            elif not required:
                options["nargs"] = "?"
            out.add_argument(options.pop("dest"), default=argparse.SUPPRESS, **options)
            if field.metadata.get("preset"):
                out.add_argument(flag_name(field.name), dest=_PRESET_FLAG, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            continue
        section = _group(owner, path[-2] if len(path) > 1 else "", field.name)
        if section and section not in groups:
            groups[section] = out.add_argument_group(section)
        _add_flag(groups.get(section, out), field, (plain, many), required, options)
    return out


# ---- words -> settings ----


def from_command_line(cls: type, argv: Sequence[str], prog: str) -> Any:
    """Flags, over a preset or (with --resume) a run's recorded settings -> a settings instance.

    Raises:
        UserError: any mistake in the flags, the preset or its values.
        SystemExit: after `--help` or `--help-all`.
    """
    for word in argv:
        # Bytes of another encoding: what is written of them (settings, manifests) could not be UTF-8.
        if word != word.encode(errors="replace").decode():
            raise UserError(f"{prog}: '{shortened(word)}' is not UTF-8 text; write it in UTF-8, or rename the file")
    switches = {flag_name(field.name) for _, _, field in leaves(cls) if field.metadata.get("parse") is on_off}
    argv = [f"{word}=on" if word in switches and follow not in ON_OFF else word for word, follow in itertools.pairwise([*argv, ""])]
    typed = argv[: argv.index("--")] if "--" in argv else argv
    if chosen := [HELP[word] for word in typed if word in HELP]:
        _print_help(cls, [word for word in argv if word not in HELP], prog, everything=any(chosen))
        raise SystemExit(0)
    resumable = next((field for field in dataclasses.fields(cls) if field.metadata.get("run")), None)
    resuming = resumable is not None and any(word.split("=")[0] == "--resume" for word in typed)
    known = parser(cls, prog, complete=not resuming)
    known.check_flags(argv)
    flags = vars(known.parse_intermixed_args(argv))
    preset = _take_preset(cls, flags, prog)
    above: dict[str, Any] = {}
    for dotted, value in flags.items():
        *sections, leaf = dotted.split(".")
        functools.reduce(lambda table, name: table.setdefault(name, {}), sections, above)[leaf] = value
    settings = _over_preset(cls, above | ({"preset": preset} if preset else {}), prog)
    _warn_of_toml_only(cls, flags, prog)
    return settings


def from_arguments(cls: type, arguments: Mapping[str, Any], where: str) -> Any:
    """Keyword arguments of a Python function -> a settings instance, as `from_command_line` makes it from flags.

    Args:
        cls: settings class.
        arguments: name of a setting (sections are flat, as in flags) -> value; None leaves it out. A setting of several values takes one, too.
        where: names the function in messages.

    Raises:
        UserError: an unknown name, a wrong value, or a required setting is missing.
    """
    above: dict[str, Any] = {}
    known = {path[-1]: (path, config_field, hints(owner)[path[-1]]) for path, owner, config_field in leaves(cls)}
    aliases = {alias: path[-1] for path, config_field, _ in known.values() for alias in config_field.metadata.get("aliases", ())}
    for given, value in arguments.items():
        name = aliases.get(given, given)
        if name not in known:
            raise UserError(f"{where}: unknown argument '{name}'; {did_you_mean(name, known)}")
        path, _, kind = known[name]
        plain, many = plain_type(kind)
        if value is None:
            continue
        if many and (isinstance(value, str | Path) or not isinstance(value, Sequence)):
            value = [value]
        if plain in (str, Path):
            for each in value if many else [value]:
                if not isinstance(each, str | os.PathLike | int | float):
                    expected = "text, as of the flag"
                    if plain is Path:
                        expected = "a path; save it first (a data frame: to_parquet; a data set: save_to_disk)"
                    raise UserError(f"{where}: {name} is a {type(each).__name__}, expected {expected}")
        if plain is str:
            value = [str(each) for each in value] if many else str(value) if isinstance(value, Path) else value
        functools.reduce(lambda table, section: table.setdefault(section, {}), path[:-1], above)[path[-1]] = value
    return _over_preset(cls, above, where)


def _over_preset(cls: type, above: dict[str, Any], where: str) -> Any:
    """Given values (nested), over the preset that they name or the run that they resume -> a settings instance."""
    resumable = next((field for field in dataclasses.fields(cls) if field.metadata.get("run")), None)
    run = above.get("resume", False) if resumable is not None else False
    if resumable is not None and run is not False and not _repeats_command(cls, above):
        del above["resume"]
        return resumed(cls, _run_folder(run, above.get(resumable.metadata["run"]), flag_name(resumable.metadata["run"]), where), above, where)
    below: dict[str, Any] = {}
    kind = preset = ""
    if (named := _preset_field(cls)) and named.metadata.get("positional"):
        kind, preset = named.metadata["preset"], str(above.pop(named.name, ""))
        if not preset:
            raise UserError(f"{where}: give a preset or a config.toml; presets: {', '.join(descriptions(kind))}")
        below = preset_values(preset, kind) | {named.name: preset}
    scale_warmup(below, above)
    try:
        settings = build(cls, merge(below, above), where)
    except UserError as error:
        if kind and is_settings_file(preset, kind):
            _raise_for_file(cls, below, preset, str(error).removeprefix(where))
        raise
    object.__setattr__(settings, "_typed", above)
    return settings


def _raise_for_file(cls: type, values: dict[str, Any], file: str, message: str) -> None:
    """Raise the error as one of the settings file, where the file has it by itself."""
    try:
        _preset_settings(cls, values, file)
    except UserError as error:
        if str(error).removeprefix(file) == message:
            raise


def _preset_settings(cls: type, values: dict[str, Any], where: str) -> Any:
    """The settings that a preset has by itself, without what every command must give."""
    return build(cls, {field.name: None for field in dataclasses.fields(cls) if _required(field)} | values, where)


def _print_help(cls: type, argv: Sequence[str], prog: str, *, everything: bool) -> None:
    """Print the help; with a PRESET among the words, its values are the defaults."""
    default = None
    with contextlib.suppress(UserError):
        flags = vars(parser(cls, prog, complete=False).parse_intermixed_args(argv)) if argv else {}
        preset = _take_preset(cls, flags, prog)
        if preset and (named := _preset_field(cls)):
            default = _preset_settings(cls, preset_values(preset, named.metadata["preset"]), preset)
    parser(cls, prog, default, everything=everything).print_help()


def _take_preset(cls: type, flags: dict[str, Any], prog: str) -> str:
    """Remove a positional PRESET from the parsed flags -> its value; '' if there is none."""
    named = _preset_field(cls)
    if named is None or not named.metadata.get("positional"):
        return ""
    by_flag, preset = flags.pop(_PRESET_FLAG, ""), flags.pop(named.name, "")
    if not preset and not by_flag and not flags.get("resume"):
        # '--data shards mini': argparse gives a flag of several values all words that follow.
        for name, value in flags.items():
            if isinstance(value, list) and len(value) > 1 and (value[-1] in presets(named.metadata["preset"]) or str(value[-1]).endswith(".toml")):
                *flags[name], preset = value
                break
    if preset and by_flag and preset != by_flag:
        raise UserError(f"{prog}: PRESET '{preset}' and --preset '{by_flag}' differ; give one of them")
    return str(preset or by_flag)


def _repeats_command(cls: type, above: dict[str, Any]) -> bool:
    """Whether --resume comes with all required settings instead of a run: they are compared with the run's, if there is one."""
    required = {field.name for field in dataclasses.fields(cls) if _required(field)}
    return above["resume"] is True and bool(required) and required <= above.keys()


def _run_folder(run: Any, output: Any, name: str, where: str) -> Path:
    """The run of '--resume RUN', or of '--output RUN --resume', where `run` is True."""
    named = [Path(folder) for folder in (run, output) if folder not in (True, None)]
    if not named:
        raise UserError(f"{where}: --resume needs the run directory: give --resume RUN")
    if named[0] != named[-1]:
        raise UserError(f"{where}: --resume {named[0]} and {name} {named[-1]} differ; give the run once")
    return named[0]


def _warn_of_toml_only(cls: type, flags: dict[str, Any], prog: str) -> None:
    for path, _, field in leaves(cls):
        if field.metadata.get("toml_only") and ".".join(path) in flags:
            where = f" under [{path[-2]}]" if len(path) > 1 else ""
            say(f"{prog}: {flag_name(field.name)} is deprecated; set {field.name}{where} in a TOML file given as preset")


def scale_warmup(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Turn a preset's `warmup_steps` into a fraction of its run if a flag sets another length: 10,000 of the paper's million steps would be all of
    an hour on a laptop."""
    if not {"num_train_steps", *INSTEAD_OF["num_train_steps"]} & above.get("loop", {}).keys():
        return
    given, loop, optimizer = above.get("optimizer", {}), below.get("loop", {}), below.get("optimizer", {})
    if "warmup_steps" not in given and "warmup_steps" in optimizer and "num_train_steps" in loop:
        below["optimizer"] = merge(optimizer, {"warmup_fraction": optimizer["warmup_steps"] / loop["num_train_steps"]})

"""Words as typed, over a preset -> a settings instance; `--help` from the docstrings of its class."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from electra.config import INSTEAD_OF, as_typed, build, field_help, hints, leaves, merge, plain_type, preset_values, presets
from electra.errors import UserError, did_you_mean


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are `UserError`s with the nearest known flag."""

    def check_flags(self, argv: Sequence[str]) -> None:
        """Refuse an unknown flag before argparse complains of what its misspelling left missing."""
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        for word in argv:
            name = word.split("=")[0]
            if word == "--":
                return
            if name.startswith("--") and name not in known:
                guess = did_you_mean(name, known)
                raise UserError(f"{self.prog}: unknown flag '{name}'; {guess if guess.startswith('did') else f'see {self.prog} --help'}")

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            message = f"unexpected argument '{word}'; see {self.prog} --help"
        raise UserError(f"{self.prog}: {message}")


def _split_doc(cls: type) -> tuple[str, str]:
    text = inspect.cleandoc(cls.__doc__ or "")
    head, _, examples = text.partition("Examples:\n")
    return head.strip(), ("examples:\n" + examples.rstrip()) if examples else ""


def _reader(kind: Any, parse: Callable[[str], Any] | None) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return (parse or kind)(text)
        except ValueError as error:
            remedy = str(error) if parse and "expected" in str(error) else f"expected {kind.__name__}"
            raise argparse.ArgumentTypeError(f"'{text}': {remedy}") from None

    return read


def _default(cls: type, path: tuple[str, ...]) -> Any:
    """A leaf's default as the command has it: a section may be made with other defaults than its class."""
    field = next(f for f in dataclasses.fields(cls) if f.name == path[0])
    if len(path) > 1 and field.default_factory is not dataclasses.MISSING:
        return functools.reduce(getattr, path[1:], field.default_factory())
    return _default(typing.cast(type, hints(cls)[path[0]]), path[1:]) if len(path) > 1 else field.default


def parser(cls: type, prog: str, default: Any = None) -> _Parser:
    """The command-line parser of a settings class; `default` (an instance) gives the values shown in --help."""
    description, epilog = _split_doc(cls)
    out = _Parser(prog=prog, description=description, epilog=epilog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups: dict[str, Any] = {}
    for path, owner, field in leaves(cls):
        plain, many = plain_type(hints(owner)[field.name])
        current = functools.reduce(getattr, path, default) if default is not None else _default(cls, path)
        parse = field.metadata.get("parse")
        unset = current in (None, dataclasses.MISSING, (), "", Path()) or isinstance(current, bool)
        shown = "" if unset else f" (default: {as_typed(current, parse)})"
        options: dict[str, Any] = {"dest": ".".join(path), "help": (field_help(owner).get(field.name, "") + shown).replace("%", "%%")}
        required = current is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.metadata.get("positional"):
            options |= {"metavar": field.name.upper(), "type": _reader(plain, parse)}
            if many:
                options["nargs"] = "+" if required else "*"
            elif not required:
                options["nargs"] = "?"
            out.add_argument(options.pop("dest"), default=argparse.SUPPRESS, **options)
            continue
        section = path[-2] if len(path) > 1 else ""
        if section and section not in groups:
            groups[section] = out.add_argument_group(section)
        target = groups.get(section, out)
        name = "--" + field.name.replace("_", "-")
        if plain is bool:
            target.add_argument(name, default=argparse.SUPPRESS, action=argparse.BooleanOptionalAction, **options)
            continue
        if typing.get_origin(plain) is typing.Literal:
            options["choices"] = typing.get_args(plain)
            options["type"] = type(typing.get_args(plain)[0])
        else:
            options |= {
                "type": _reader(plain, parse),
                "metavar": field.metadata.get("metavar") or (plain.__name__.upper() if plain is not str else field.name.upper()),
            }
        target.add_argument(name, default=argparse.SUPPRESS, required=required, nargs="+" if many else None, **options)
    return out


def from_command_line(cls: type, argv: Sequence[str], prog: str, *, preset_kind: str | None = None) -> Any:
    """Flags (over a preset, where the command takes one as its first word) -> a settings instance.

    Raises:
        UserError: any mistake in the flags, the preset or its values.
        SystemExit: after `--help`.
    """
    below: dict[str, Any] = {}
    argv = list(argv)
    if preset_kind is not None and argv and not argv[0].startswith("-"):
        below = preset_values(argv[0], preset_kind)
        below["preset"] = argv.pop(0)
    default = None
    if below:
        required = {
            f.name: None
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in below
        }
        default = build(cls, {**below, **required})
    elif preset_kind is not None and not {"-h", "--help"} & set(argv):
        raise UserError(f"{prog}: give a preset or a config.toml first; known presets: {', '.join(presets(preset_kind))}")
    known = parser(cls, prog, default)
    known.check_flags(argv)
    # Intermixed: the optional file may stand behind flags, as in 'electra score MODEL --nbest lists FILE'. Help is not: there argparse
    # formats its own usage a second time, and trips over a "%" in it.
    parse = known.parse_args if {"-h", "--help"} & set(argv) else known.parse_intermixed_args
    flags = vars(parse(argv))
    above: dict[str, Any] = {}
    for dotted, value in flags.items():
        *sections, leaf = dotted.split(".")
        functools.reduce(lambda table, name: table.setdefault(name, {}), sections, above)[leaf] = value
    scale_warmup(below, above)
    return build(cls, merge(below, above), prog)


def scale_warmup(below: dict[str, Any], above: dict[str, Any]) -> None:
    """A preset's `warmup_steps` become the same share of a run whose length was given by a flag: 10,000 of the paper's million steps would
    be all of an hour on a laptop."""
    if not {"num_train_steps", *INSTEAD_OF["num_train_steps"]} & above.get("loop", {}).keys():
        return
    asked, loop, optimizer = above.get("optimizer", {}), below.get("loop", {}), below.get("optimizer", {})
    if "warmup_steps" not in asked and "warmup_steps" in optimizer and "num_train_steps" in loop:
        below["optimizer"] = merge(optimizer, {"warmup_fraction": optimizer["warmup_steps"] / loop["num_train_steps"]})

"""What was typed behind 'electra predict' or 'electra detect' -> a model and where its texts are.

Two arguments are MODEL and FILE. One may be a model or a text, and a mistyped model must never be read as a text. So one argument is

    -                            texts from standard input, for the shipped model
    what exists here, or a URL   a model, its texts from standard input
    a text                       where it holds white space and nothing else that a path has (a slash, a file's ending, a folder's name near to it)
    anything else                a model, if there is one of that name on the hub; else an error that names both readings

`--text` is a text whatever it holds.
"""

from __future__ import annotations

import difflib
import os
import shlex
from pathlib import Path

from electra import remote, shipped
from electra.deploy.artefact import is_artefact
from electra.deploy.network import architecture_of
from electra.deploy.texts import Typed
from electra.errors import UserError

ENDINGS = frozenset(".zip .txt .tsv .csv .json .jsonl .ndjson .parquet .gz .xz .zst .toml .safetensors .bin .onnx .pt".split())
"""Of files that people have; a text hardly ends so."""
NEAR = 0.8
"""Likeness, as difflib counts it, from which the name of something here may have been meant."""


def model_and_texts(command: str, role: str, model: str, file: str, text: str | None) -> tuple[str, str]:
    """The arguments of a command, '' where there was none -> source of the model, and file name, '-' or `Typed` text.

    Args:
        command: 'predict' or 'detect', for messages.
        role: what the model must do; the shipped one that does is taken where none was named.
        model: the first argument.
        file: the second argument.
        text: what --text gave.

    Raises:
        UserError: nothing to read, two things to read, or a single argument that is no model and need not be a text.
    """
    if text is not None:
        if file:
            raise UserError(f"both a file ({file}) and --text; give one of them")
        return model or shipped.default(role), Typed(text)
    if file:
        _refuse_loose_words(command, model, file)
        return model, file
    if not model:
        remedy = f'electra {command} "TEXT", electra {command} MODEL FILE, or electra {command} - for texts from standard input'
        raise UserError(f"electra {command}: nothing to read; give a text, or a model and a file: {remedy}")
    if model == "-":
        return shipped.default(role), "-"
    if may_be_text(model):
        return shipped.default(role), Typed(model)
    _require_model(command, role, model)
    return model, "-"


def may_be_text(argument: str) -> bool:
    """Whether a single argument can only be meant as a text: white space in it, and nothing that a path has."""
    if os.path.lexists(argument) or len(argument.split()) < 2 or shipped.is_shipped(argument):
        return False
    if any(sign in argument for sign in "/\\") or argument.startswith("~") or Path(argument.strip()).suffix.lower() in ENDINGS:
        return False
    spaced = [name.casefold() for name in os.listdir() if " " in name]
    return not difflib.get_close_matches(argument.casefold(), spaced, n=1, cutoff=NEAR)


def _refuse_loose_words(command: str, model: str, file: str) -> None:
    """Nothing, unless two arguments are both plain words that name nothing here: a text without its quotes.

    Raises:
        UserError: they are.
    """
    if not any(os.path.lexists(word) or not word.isalpha() for word in (model, file)):
        raise UserError(
            f'neither a model {model} nor a file {file} is here; a text of several words needs quotes: electra {command} "{model} {file}"'
        )


def _require_model(command: str, role: str, argument: str) -> None:
    """Nothing, where a single argument is a model.

    Raises:
        UserError: it is not; what else it may have been meant as is part of the message.
    """
    if os.path.isfile(argument) and not is_artefact(argument):
        raise UserError(f"{argument} is a file, not a model; for the texts in it: electra {command} {shipped.default(role)} {shlex.quote(argument)}")
    if os.path.exists(argument) or shipped.is_shipped(argument):
        return
    try:
        architecture_of(argument)
    except (UserError, OSError) as error:
        if remote.is_url(argument):
            raise
        raise UserError(f"{error}; if it is a text: electra {command} --text {shlex.quote(argument)}") from None

"""Writes electra/arguments.py: the keyword arguments of the Python API as TypedDicts, made from the settings classes.

python tools/typed_arguments.py           write it
python tools/typed_arguments.py --check   exit code 1 where it differs from the settings (part of `make check`)
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any

from electra import config, settings

TARGET = Path(__file__).resolve().parent.parent / "electra" / "arguments.py"
CLASSES = {
    "VocabularyArguments": (settings.VocabSettings, "train_vocabulary", "corpus"),
    "PrepareArguments": (settings.PrepareSettings, "prepare", "corpus"),
    "PretrainArguments": (settings.PretrainSettings, "pretrain", "preset"),
    "FinetuneArguments": (settings.FinetuneSettings, "finetune", "task"),
    "EvaluateArguments": (settings.EvaluateSettings, "evaluate", "model"),
    "BuildArguments": (settings.BuildSettings, "build", "model"),
    "PushArguments": (settings.PushSettings, "push", "path"),
    "CompareArguments": (settings.CompareSettings, "compare", "models"),
}
"""TypedDict -> settings class, function, the argument that is given by position."""
PLACES = {"output", "tokenizer", "extend", "trim", "init", "model", "data", "teacher", "calibrate", "resume"}
"""Texts that name a place, for which a Path is taken, too."""


def type_of(name: str, kind: Any, parse: Any) -> str:
    """A field's annotation -> that of the keyword argument: sequences for tuples, text for what is parsed and for paths."""
    plain, many = config.plain_type(kind)
    if typing.get_origin(plain) is typing.Literal:
        text = "Literal[" + ", ".join(repr(value) for value in typing.get_args(plain)).replace("'", '"') + "]"
    else:
        text = {Path: "str | Path", float: "float", int: "int", bool: "bool", str: "str"}[plain]
    if plain is str and name in PLACES:
        text = "str | Path"
    if parse is not None and "str" not in text:
        text += " | str"
    if many:
        text = f"{text} | Sequence[{text}]"
    return text + (" | None" if type(None) in typing.get_args(kind) else "")


def source() -> str:
    """The whole module."""
    out = [
        '"""Keyword arguments of the Python API (`electra.api`), typed; written by tools/typed_arguments.py from `electra.settings`."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "from pathlib import Path",
        "from typing import Literal, TypedDict",
        "",
    ]
    for name, (cls, function, first) in CLASSES.items():
        out += ["", f"class {name}(TypedDict, total=False):", f'    """Of `electra.{function}`."""', ""]
        for _, owner, field in config.leaves(cls):
            if field.name == first or field.name == "json":
                continue
            out.append(f"    {field.name}: {type_of(field.name, config.hints(owner)[field.name], field.metadata.get('parse'))}")
        out.append("")
    return "\n".join(out)


def main() -> int:
    """Write, or compare."""
    text = source()
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            print("electra/arguments.py differs from electra/settings; run: python tools/typed_arguments.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    assert dataclasses.is_dataclass(settings.PretrainSettings)
    sys.exit(main())

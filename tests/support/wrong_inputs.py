"""Wrong values for every argument of every command, made from the command table: a command or setting that is added later joins by itself.

A case is a command that works, with one argument changed. `must` says that the new value is wrong for sure; other values (a huge number
within its range) may also be valid, and then the command has to succeed.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
import typing
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from electra import settings as all_settings
from electra.cli import COMMANDS
from electra.config import flag_name, leaves, on_off, plain_type

# Commands that work on the files of `shop` in tests/commands/test_bad_inputs.py; words in {braces} are its paths.
WORKING = {
    "vocab": "{corpus.txt} --size 120 --output {out}",
    "prepare": "{corpus.txt} --tokenizer {vocab.txt} --output {out} --workers 1",
    "pretrain": "tiny --data {shards} --output {out} --num-train-steps 2",
    "finetune": "sst2 --model {model} --data {glue} --output {out} --num-train-steps 2",
    "ablate": "scratch --data {shards} --task-data {glue} --output {out} --budget 1s",
    "demo": "--output {out} --data {none}",
    "predict": "{classifier} {texts.txt}",
    "detect": "{model} {texts.txt}",
    "score": "{masked} {texts.txt}",
    "embed": "{model} {texts.txt} --json",
    "rerank": "{regression} {texts.txt} --query x",
    "mine": "{pairs.jsonl} --num-negatives 1 --output {out}.jsonl",
    "evaluate": "{model} --data {shards} --num-examples 4",
    "significance": "{first.jsonl} {second.jsonl} --num-resamples 100",
    "compare": "{classifier} --task sst2 --data {none}",
    "inspect": "{model}",
    "plot": "{run} --output {out}.png",
    "build": "{none} --target onnx --output {out}",
    "serve": "{none} --port 0",
    "convert": "{model} {out}",
    "push": "{model} --name me/model",
    "submit": "glue --models sst2={classifier} --data {none} --output {out}.zip",
    "dataset": "imdb --data {glue} --output {out}",
}
"""Those that would take long (demo, compare, build, serve, ablate) end early, at one of their own checks: for values that may be valid."""
WHOLE = {
    "demo": "--output {out} --data {glue}",
    "compare": "{classifier} --task sst2 --data {glue} --output {out}",
    "build": "{model} --target onnx --output {out}",
    "push": "{model} --output {out}",
    "serve": "{model} --port 0",
    "submit": "glue --models sst2={classifier} --data {glue} --output {out}.zip --fill",
}
"""The same commands without that fault: for values that are surely wrong, so that nothing is ever run to its end."""
OUTPUTS = {"output", "report"}
INPUTS = {"corpus", "data", "model", "models", "tokenizer", "file", "train", "dev", "source", "path", "runs", "first", "second", "init", "teacher"}
INPUTS |= {"extend", "trim", "calibrate", "task_data", "vocab", "unlabelled", "token_file", "pretraining_data", "probe_data", "teacher_model"}
NUMBERS = (int, float)
MADE_IF_MISSING = {"corruption"}
TRAINS = {"pretrain", "finetune", "ablate"}
"""Where a number may be as large as one likes, seconds of training would follow."""


ONE_IN = 8
RARE = set(
    "infinite below,beyond floating point,null byte,not UTF-8,hexadecimal,a list,a megabyte,socket,no permission,a file without permission".split(",")
)
RARE |= set("full device,name that is not UTF-8,pipe that nobody writes,in no permission,UTF-16,null bytes,control characters,near name".split(","))
"""Kinds of which `make test` takes one in eight cases; the others are slow tests."""
SWITCHES = {"not a switch's value", "no switch's value"}


class Case(NamedTuple):
    """One wrong value of one argument."""

    command: str
    argument: str
    kind: str
    words: tuple[str, ...]
    value: str
    must: bool
    says: str = ""
    """What the message must have besides."""

    @property
    def names(self) -> set[str]:
        """What the message must have one of: the argument's name, or the value."""
        value, bare = " ".join(self.value.split()), self.argument.lstrip("-")
        end = value.rstrip("/").rpartition("/")[2]
        return {name for name in (self.argument, bare.replace("-", "_"), bare.upper(), value[:60], value[-60:], end[:60]) if name}

    @property
    def sampled(self) -> bool:
        """Whether it is among those that `make test` takes, the same ones each time."""
        return self.kind not in RARE or zlib.crc32(f"{self.command} {self.argument} {self.kind}".encode()) % ONE_IN == 0

    def __str__(self) -> str:
        return f"{self.command} {self.argument} {self.kind}: electra {self.command} {' '.join(self.words)[:300]!r}"


def _numbers(field: dataclasses.Field[Any], kind: type) -> Iterator[tuple[str, str, bool]]:
    """(kind, value, must be refused) of a number."""
    allowed = field.metadata.get("range")
    parsed = field.metadata.get("parse")
    yield from (("a word", "many", True), ("empty", "", True), ("not a number", "nan", True), ("infinite", "inf", True), ("text after", "3x", True))
    yield from (("huge", "1" + "0" * 30, kind is int and not parsed), ("very long", "9" * 5000, kind is int), ("negative", "-5", False))
    yield from (("beyond floating point", "1e400", True), ("null byte", "1\0", True), ("not UTF-8", "1\udcff", True), ("hexadecimal", "0x10", True))
    yield from (("infinite below", "-inf", True), ("a list", "1,2,3", not parsed), ("a megabyte", "9" * 1_000_000, kind is int))
    if kind is int and not parsed:
        yield "a fraction", "1.5", True
    if allowed is not None and not parsed:
        step = 1 if kind is int else 0.5
        for limit, name in ((allowed.minimum, "below"), (allowed.above, "below")):
            if limit is not None and abs(limit) != float("inf"):
                yield f"{name} its range", str(kind(limit) - step if limit != allowed.above else kind(limit)), True
        for limit in (allowed.maximum, allowed.below):
            if limit is not None and abs(limit) != float("inf"):
                yield "above its range", str(kind(limit) + step if limit != allowed.below else kind(limit)), True


def _inputs(shop: Path) -> Iterator[tuple[str, str, bool]]:
    """(kind, value, must be refused) of a file or folder to read."""
    for kind, name in (("missing", "nowhere"), ("empty folder", "empty"), ("empty file", "empty.txt"), ("binary file", "binary.txt")):
        yield kind, str(shop / name), True
    yield "in a file", str(shop / "corpus.txt" / "below"), True
    yield "dangling link", str(shop / "dangling"), True
    yield "link to itself", str(shop / "loop"), True
    yield "line end", str(shop / "two\nlines"), True
    yield from (("no bytes", "/dev/null", True), ("endless bytes", "/dev/zero", True), ("long name", "x" * 5000, True))
    yield from (("full device", "/dev/full", True), ("a megabyte", "x" * 1_000_000, True), ("name that is not UTF-8", str(shop / "a\udcff"), True))
    for kind, name in (("pipe that nobody writes", "pipe"), ("socket", "socket"), ("no permission", "unread.txt"), ("in no permission", "locked/x")):
        yield kind, str(shop / name), True
    yield from (("null byte", "a\0b", True), ("other store", "gopher://host/name", True), ("empty", "", True))


def _outputs(shop: Path) -> Iterator[tuple[str, str, bool]]:
    """(kind, value, must be refused) of a file or folder to write."""
    # No device of /dev: what is tested runs as root in many places.
    yield "pipe", str(shop / "pipe"), True
    for kind, name in (("a file", "vectors.npy"), ("a folder with files", "classifier"), ("in a file", "corpus.txt/below")):
        yield kind, str(shop / name), True
    yield from (("no place", "/proc/nowhere/out", True), ("long name", "x" * 5000, True), ("null byte", "a\0b", True))
    yield from (("other store", "gopher://host/name", True), ("empty", "", True), ("in a dangling link", str(shop / "dangling" / "out"), True))
    for kind, name in (("socket", "socket"), ("no permission", "locked/out"), ("a file without permission", "unread.txt")):
        yield kind, str(shop / name), True


def _values(owner: type, field: dataclasses.Field[Any], shop: Path) -> Iterator[tuple[str, str, bool]]:
    plain, _ = plain_type(typing.get_type_hints(owner)[field.name])
    if typing.get_origin(plain) is typing.Literal:
        yield from (("unknown", "nonsense", True), ("empty", "", True), ("other case", str(typing.get_args(plain)[0]).upper() + "X", True))
    elif plain is bool:
        yield from (("not a switch's value", "maybe", True), ("no switch's value", "", True))
    elif field.metadata.get("parse") is on_off:
        yield from (("not a switch's value", "maybe", True), ("number", "1e400", True))
    elif plain in NUMBERS:
        yield from _numbers(field, plain)
    elif field.name in OUTPUTS:
        yield from _outputs(shop)
    elif field.name in INPUTS or (plain is Path and field.name not in MADE_IF_MISSING):
        yield from _inputs(shop)
        if field.name not in ("corpus", "path"):  # of a corpus, bytes that are not UTF-8 are replaced, with a warning
            yield "not UTF-8", str(shop / "latin.txt"), True
        yield "UTF-16", str(shop / "utf16.txt"), True
        yield "null bytes", str(shop / "nul.txt"), False
    else:
        yield from (("empty", "", False), ("unknown", "nonsense-name", False), ("null byte", "a\0b", False), ("long", "x" * 5000, False))
        yield from (("not UTF-8", "a\udcff", False), ("control characters", "\x1b[31mred\x07", False), ("a megabyte", "x" * 1_000_000, False))


def _near(owner: type, field: dataclasses.Field[Any], words: list[str], shop: Path) -> Iterator[tuple[str, str]]:
    """(a value with a letter too much, the one that is meant): of a choice, and of a file or folder that the command names."""
    plain, _ = plain_type(typing.get_type_hints(owner)[field.name])
    if typing.get_origin(plain) is typing.Literal:
        yield f"{typing.get_args(plain)[0]}q", str(typing.get_args(plain)[0])
    name = flag_name(field.name)
    for index, word in enumerate(words):
        own = words[index - 1] == name if index and words[index - 1].startswith("--") else field.metadata.get("positional")
        if own and field.name in INPUTS and Path(word).parent == shop and Path(word).exists():
            yield f"{word}q", f"did you mean '{Path(word).name}'"


def _changed(words: list[str], name: str, field: str, positions: list[str], value: str, switch: bool = False) -> list[str] | None:
    """A command line with another value of one argument; None where it lacks that positional argument."""
    if field in positions:
        loose = [index for index, word in enumerate(words) if not word.startswith("--") and (not index or not words[index - 1].startswith("--"))]
        place = positions.index(field)
        return None if place >= len(loose) else [value if index == loose[place] else word for index, word in enumerate(words)]
    if name in words and not switch:
        return [value if index and words[index - 1] == name else word for index, word in enumerate(words)]
    return [*words, f"{name}={value}"]


def cases(command: str, shop: Path, fill: Any) -> Iterator[Case]:
    """Every wrong value of every argument of a command."""
    cls = getattr(all_settings, COMMANDS[command].settings)
    positions = [field.name for field in dataclasses.fields(cls) if field.metadata.get("positional")]
    templates = {must: fill(WHOLE.get(command, WORKING[command]) if must else WORKING[command], shop) for must in (True, False)}
    for _, owner, field in leaves(cls):
        name = flag_name(field.name)
        if field.metadata.get("toml_only"):
            continue
        for kind, value, must in _values(owner, field, shop):
            if not must and kind in ("huge", "very long") and command in TRAINS:
                continue
            if (changed := _changed(templates[must], name, field.name, positions, value, kind in SWITCHES)) is not None:
                yield Case(command, name, kind, tuple(changed), value, must)
        words = templates[True]
        for value, known in _near(owner, field, words, shop):
            if (changed := _changed(words, name, field.name, positions, value)) is not None:
                yield Case(command, name, "near name", tuple(changed), value, True, known)
        if field.name not in positions and not field.metadata.get("run"):
            yield Case(command, name, "misspelled", (*words, f"{name[:-1]}{'y' if name[-1] != 'y' else 'z'}=1"), name[:-1], True, "did you mean '--")
            if plain_type(typing.get_type_hints(owner)[field.name])[0] is not bool and not field.metadata.get("preset"):
                rest = [w for i, w in enumerate(words) if w != name and (not i or words[i - 1] != name)]
                yield Case(command, name, "no value", (*rest, name), name, True)
        if name in words and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            place = words.index(name)
            yield Case(command, name, "left out", tuple(words[:place] + words[place + 2 :]), "", True)


# ---- as processes ----


class Outcome(NamedTuple):
    """What became of a case in a process of its own: what is wrong ('' if nothing), its line, CPU and wall seconds."""

    fault: str
    line: str
    cpu_seconds: float
    wall_seconds: float


def spread(shop: Path, fill: Any, num: int) -> list[Case]:
    """Cases that are surely wrong and that a command line can hold: as many of each command as of the others, of as many kinds as there are."""
    chosen: list[Case] = []
    kinds: Counter[str] = Counter()
    of_command = {
        command: sorted(
            (case for case in cases(command, shop, fill) if case.must and _typed(case)), key=lambda case: zlib.crc32(str(case.words).encode())
        )
        for command in sorted(WORKING)
    }
    while len(chosen) < num:
        for left in of_command.values():
            if left and len(chosen) < num:
                case = min(left, key=lambda one: kinds[one.kind])
                left.remove(case)
                kinds[case.kind] += 1
                chosen.append(case)
        if not any(of_command.values()):
            break
    return chosen


def _typed(case: Case) -> bool:
    """Whether the system passes such words on: no null byte, 128 kB a word at most."""
    return all("\0" not in word and len(word) < 100_000 for word in case.words)


def as_process(case: Case, folder: Path, seconds: float = 300) -> Outcome:
    """`electra` with the case's words, in an empty folder, where permissions hold for root too, without the hub."""
    before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 and shutil.which("setpriv") else []
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "COVERAGE_"))} | {"HF_HUB_OFFLINE": "1"}
    words = [*before, sys.executable, "-m", "electra", case.command, *case.words]
    started = time.perf_counter()
    with (folder.parent / "stderr").open("w+b") as errors:
        process = subprocess.Popen(words, cwd=folder, env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        stop = threading.Timer(seconds, process.kill)
        stop.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stop.cancel()
        errors.seek(0)
        text = errors.read().decode(errors="surrogateescape")
    wall = time.perf_counter() - started
    lines = [line for line in text.splitlines() if line.startswith("electra: ")]
    line, fault = lines[-1] if lines else "", ""
    if process.returncode != 2:
        fault = f"exit code {process.returncode}: {text[-300:]}"
    elif len(lines) != 1 or "Traceback" in text:
        fault = f"not one line: {text[-300:]}"
    elif not any(name in line or ascii(name)[1:-1] in line for name in case.names):
        fault = f"names neither argument nor value: {line}"
    elif case.says not in line:
        fault = f"does not say {case.says!r}: {line}"
    elif left := sorted(path.name for path in folder.iterdir()):
        fault = f"left: {left}"
    return Outcome(fault, line, used.ru_utime + used.ru_stime, wall)

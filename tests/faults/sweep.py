"""Fail every file operation of prepare, pretrain, finetune, build and serve in turn, and see what is left, what is said, and what a second run makes.

    python tests/faults/sweep.py [--commands prepare,pretrain:20] [--sites 40] [--output experiments/records/faults.json]

The whole sweep takes some minutes of one core; `--sites N`, or COMMAND:N, takes N operations, spread over
them (`make test`: a few).
A fault passes if the command ends in one line with exit code 2 (or did its whole work), every finished file is that of an undisturbed run,
and the same command, with --resume where it says so, ends with the same files bit by bit.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conditions
from injection import Faults, Operation, compiled

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent), str(HERE.parents[1])]

FULL, DENIED, BROKEN, QUOTA, READ_ONLY, NO_MEMORY = errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOMEM
KILLED = -signal.SIGKILL
ERRORS: dict[str, tuple[int, ...]] = {
    "create": (FULL, DENIED, BROKEN, QUOTA, READ_ONLY, KILLED),
    "open-to-write": (DENIED, BROKEN, READ_ONLY),
    "open": (DENIED, BROKEN),
    "write": (FULL, BROKEN, QUOTA, 0, KILLED),
    "read": (BROKEN,),
    "mmap": (BROKEN, NO_MEMORY),
    "fsync": (BROKEN, FULL, KILLED),
    "rename": (DENIED, BROKEN, READ_ONLY, KILLED),
    "mkdir": (FULL, DENIED, READ_ONLY, KILLED),
    "unlink": (DENIED,),
    "rmdir": (DENIED,),
    "chmod": (DENIED,),
}
"""Kind of operation -> errors it is given; 0: a short write; KILLED: the process is killed there."""
CONDITIONS_FROM = 10
"""Operations from which on clock, memory and a real full disk are tried as well."""
LASTING = (FULL, QUOTA, READ_ONLY)
UNEQUAL = re.compile(r"(^|/)(run\.json|README\.md|environment\.json|tensorboard/.*|plan\.json)$")
"""Files that name times or the machine."""
TIMES = ("seconds", "tokens_per_second", "mfu", "started", "load_before", "command", "output", "machine", "measured")


@dataclass
class Command:
    """One command at its smallest size."""

    name: str
    words: Callable[[Path], list[str]]
    """Output -> command line."""
    begin: Callable[[Path], None] = lambda output: None
    """Makes what a run finds in its output folder."""
    run: Callable[[list[str]], int] | None = None
    output: str = "out"
    clean: dict[str, str] = field(default_factory=dict)


def without_times(value: Any) -> Any:
    """JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def digests(output: Path) -> dict[str, str]:
    """Path below an output (a folder or one file) -> digest of its content, times left out; temporary files are named too."""
    found = {}
    for path in sorted(output.rglob("*")) if output.is_dir() else [output] if output.exists() else []:
        name = path.relative_to(output).as_posix() if path != output else ""
        if not path.is_file() or UNEQUAL.search(name):
            continue
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                found |= {f"{name}/{entry}": digest(entry, archive.read(entry)) for entry in archive.namelist() if not UNEQUAL.search(entry)}
        else:
            found[name] = digest(name, path.read_bytes(), output)
    return found


def digest(name: str, content: bytes, output: Path = Path("/")) -> str:
    """Hash of a file's content, times and the place of the output left out."""
    if name.endswith((".json", ".jsonl", ".toml")) and output.parent != output:
        # On a small disk (root/disk) a run is continued that began next to it (root).
        for place in (output, output.parent.parent / output.name):
            content = content.replace(str(place).encode(), b"OUTPUT")
    with contextlib.suppress(ValueError):  # half written
        if name.endswith(".jsonl"):
            content = json.dumps([without_times(json.loads(line)) for line in content.splitlines()]).encode()
        elif name.endswith(".json"):
            content = json.dumps(without_times(json.loads(content))).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def call(command: Command, words: list[str]) -> tuple[int | str, str]:
    """Run a command line -> its exit code, or the exception that it let through; what it wrote to standard error."""
    from electra import cli

    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            return (command.run or cli.main)(words), printed.getvalue()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{type(error).__name__}: {error}", printed.getvalue() + traceback.format_exc()


def killed(command: Command, words: list[str], arm: contextlib.AbstractContextManager[None]) -> tuple[int | str, str]:
    """Run a command line in a process of its own that a signal ends -> as `call`, the signal as a negative number."""
    child = os.fork()
    if child == 0:
        with arm:
            call(command, words)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ""


def finished(name: str) -> bool:
    """Whether a file is one that must be whole wherever it is."""
    return bool(re.search(r"(^|/)(final|best|step-\d+|tokenizer)/", name)) or name.endswith(".npy")


def verdict(command: Command, code: int | str, printed: str, output: Path, root: Path | str) -> str:
    """What is wrong after a command with a fault; '' if nothing is."""
    errors = [line for line in printed.splitlines() if line.startswith("electra: ")]
    if code == KILLED:
        return whole(command, output)
    if not isinstance(code, int) or "Traceback" in printed or "Exception ignored" in printed:
        return "a traceback"
    if code == 0:
        return "" if digests(output) == command.clean else "exit code 0 with another result"
    if code != 2 or len(errors) != 1 or printed.rstrip().splitlines()[-1] != errors[0]:
        return "not one line and exit code 2"
    if str(root) not in errors[0]:
        return "the line names no path"
    return whole(command, output)


def whole(command: Command, output: Path) -> str:
    """What is wrong with the files that a stopped command leaves under their final names."""
    for name, digest in digests(output).items() if output.is_dir() else ():
        if finished(name) and "." not in {part[:1] for part in name.split("/")} and command.clean.get(name, digest) != digest:
            return f"a finished file is not whole: {name}"
    return ""


def again(command: Command, output: Path) -> str:
    """What is wrong with the same command, started again without a fault; '' if it ends as an undisturbed run does."""
    words = command.words(output)
    code, printed = call(command, words)
    if code == 2 and "--resume" in printed and "--resume" not in words:
        code, printed = call(command, [*words, "--resume"])
    if code != 0:
        done = re.search(r"already (exists|holds finished|finished|complete)", printed)
        if not (code == 2 and done and digests(output) == command.clean):
            return f"the same command fails: {printed.strip().splitlines()[-1] if printed.strip() else code}"
    found = digests(output)
    if found != command.clean:
        odd = sorted(name for name in found.keys() | command.clean.keys() if found.get(name) != command.clean.get(name))
        return f"another result after the second run: {odd[0]} ({len(odd)} files)"
    return ""


def chosen(operations: list[Operation], sites: int | None, rng: random.Random) -> list[Operation]:
    """One operation of every kind and place, and a tenth of the rest; or `sites` of them, spread."""
    first = {(operation.kind, operation.place): operation for operation in reversed(operations)}
    picked = sorted(first.values(), key=lambda operation: operation.number)
    if sites is not None:
        return [picked[round(i * (len(picked) - 1) / max(1, sites - 1))] for i in range(min(sites, len(picked)))]
    rest = [operation for operation in operations if operation not in first.values()]
    return picked + rng.sample(rest, len(rest) // 10)


def sweep(command: Command, faults: Faults, root: Path, sites: int | None, log: Callable[[str], None]) -> dict[str, Any]:
    """All faults of one command -> its entry of the record."""
    rng = random.Random(1)
    output = root / command.output
    for _ in range(2):  # the second run is the one without first imports
        remove(output)
        command.begin(output)
        with faults.armed(root):
            code, printed = call(command, command.words(output))
        assert code == 0, (code, printed)
        command.clean = digests(output)
    operations = faults.operations(root)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for operation in chosen(operations, sites, rng):
        errors = ERRORS[operation.kind] if sites is None else [rng.choice(ERRORS[operation.kind])]
        for error in errors:
            remove(output)
            command.begin(output)
            arm = faults.armed(root, operation.number, error, lasting=error in LASTING, short=error == 0)
            if error == KILLED:
                code, printed = killed(command, command.words(output), arm)
            else:
                with arm:
                    code, printed = call(command, command.words(output))
            found = verdict(command, code, printed, output, root)
            outcomes[{2: "ended in one line", 0: "did all its work", KILLED: "killed"}.get(code, "other")] += 1
            found = found or again(command, output)
            # What a killed process was writing, or a folder whose removal is refused, may stay next to its output, but not in it.
            places = [*output.rglob("*"), *(output.parent.iterdir() if error != KILLED and operation.kind != "rmdir" else ())]
            left = [p.name for p in places if p.name.endswith((".part", ".old")) or ".tmp" in p.name]
            found = found or (f"left behind: {left[0]}" if left else "")
            for path in [*root.glob(".*"), *(root / "tmp").iterdir()]:
                remove(path)
            if found:
                name = "SIGKILL" if error == KILLED else errno.errorcode.get(error, "short write")
                line = f"{command.name}: {operation.kind} {operation.place} (operation {operation.number}) {name}: {found}"
                wrong.append(line)
                log(f"{line}\n    {printed.strip()[-600:]}")
    remove(output)
    kinds = Counter(operation.kind for operation in operations)
    return {"operations": len(operations), "by_kind": dict(kinds), "tried": sum(outcomes.values()), "outcomes": dict(outcomes), "wrong": wrong}


def remove(path: Path) -> None:
    """Remove a file or folder, if there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- the commands ----

WORDS = "the cat dog sat on a mat and ran home while birds sang over old trees in spring rain".split()
TINY = (
    "--hidden-size 16 --embedding-size 16 --num-attention-heads 2 --intermediate-size 32 --num-hidden-layers 1 --sequence-length 32 --batch-size 4"
).split()


def inputs(root: Path) -> dict[str, Path]:
    """A corpus, a vocabulary, shards, a GLUE task, and a checkpoint of each kind, below the watched folder."""
    from toy_glue import write_glue

    from electra.data import prepare

    folder = root / "in"
    (folder / "glue").mkdir(parents=True)
    write_glue(folder / "glue")
    documents = ["\n".join(" ".join(WORDS[(i * j + k) % 18] for k in range(5 + (i + j) % 9)) + "." for j in range(1, 8)) for i in range(1, 60)]
    (folder / "corpus.txt").write_text("\n\n".join(documents), encoding="utf-8")
    prepare.prepare.__kwdefaults__["chunk_bytes"] = 6000  # three chunks
    paths = {name: folder / name for name in ("corpus.txt", "vocab", "shards", "glue", "start")}
    made = [
        ["vocab", str(paths["corpus.txt"]), "--size", "120", "--output", str(paths["vocab"])],
        ["prepare", str(paths["corpus.txt"]), "--tokenizer", str(paths["vocab"]), "--output", str(paths["shards"]), "--held-out", "10%", *ALONE],
        pretraining(paths["shards"], folder / "run"),
    ]
    for words in made:
        quietly(words)
    shutil.copytree(folder / "run" / "final", paths["start"])
    shutil.rmtree(folder / "run")
    return paths


ALONE = ("--workers", "1")


def quietly(words: list[str]) -> None:
    """A command that must succeed."""
    from electra.cli import main

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        assert main(words) == 0, words


def pretraining(shards: Path, output: Path) -> list[str]:
    steps = "--num-train-steps 6 --checkpoint-every 2 --evaluate-every 3 --log-every 1 --threads 1 --device cpu".split()
    return ["pretrain", "mini", "--data", str(shards), "--output", str(output), *TINY, *steps]


def served(words: list[str]) -> int:
    """`serve` until it is ready: one answer, then its end."""
    from electra import cli
    from electra.serve import server

    real = server.run

    def ready(app: Any, serving: Any, bound: Any) -> None:
        serving.close()

    server.run = ready
    try:
        return cli.main(words)
    finally:
        server.run = real


def commands(root: Path, names: list[str]) -> Iterator[Command]:
    """The commands, those named."""
    paths = inputs(root)
    vocab, start = str(paths["vocab"]), str(paths["start"])

    def stopped(make: Callable[[Path], list[str]], folder: str) -> Callable[[Path], None]:
        """A run that stopped at the first of its checkpoints."""
        source = root / "begun"

        def begin(output: Path) -> None:
            if not source.exists():
                quietly(make(output))
                for place in (*output.glob("final"), *sorted(output.glob(f"{folder}checkpoints/step-*"))[1:]):
                    shutil.rmtree(place)
                output.rename(source)
            shutil.copytree(source, output)

        return begin

    def preparing(output: Path) -> list[str]:
        return ["prepare", str(paths["corpus.txt"]), "--tokenizer", vocab, "--output", str(output), "--held-out", "10%", *ALONE]

    def tuning(output: Path) -> list[str]:
        quick = "--batch-size 16 --threads 1 --device cpu --max-length 20 --epochs 1 --checkpoint-every 3".split()
        return ["finetune", "sst2", "--model", start, "--data", str(paths["glue"]), "--output", str(output), *quick]

    def building(output: Path) -> list[str]:
        return ["build", start, "--target", "onnx", "--output", str(output)]

    def serving(output: Path) -> list[str]:
        archive = root / "in" / "built.zip"
        if not archive.exists():
            quietly(building(archive))
        return ["serve", start, str(archive), "--port", "0", "--threads", "1"]

    def pretraining_to(output: Path) -> list[str]:
        return pretraining(paths["shards"], output)

    table = [
        Command("prepare", preparing),
        Command("pretrain", pretraining_to),
        Command("resume", lambda output: [*pretraining_to(output), "--resume"], stopped(pretraining_to, "")),
        Command("finetune", tuning),
        Command("build", building),
        Command("build-zip", building, output="out.zip"),
        Command("serve", serving, run=served),
    ]
    yield from (command for command in table if command.name in names or not names)


def main() -> int:
    """Start again under the library, then sweep -> 1 if a fault was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", default="", help="of prepare, pretrain, resume, finetune, build, build-zip, serve; default: all")
    parser.add_argument("--sites", type=int)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        library = compiled(Path(tempfile.mkdtemp(prefix="electra-faults-")))
        if library is None:
            print("skipped: no C compiler, or not Linux")
            return 77
        # What one process of one thread computes is the same bits.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"})
    faults, root = Faults(), Path(tempfile.mkdtemp(prefix="electra-faults-"))
    tempfile.tempdir = os.environ["TMPDIR"] = str(root / "tmp")
    Path(tempfile.tempdir).mkdir()
    os.environ["ELECTRA_CACHE"] = str(root / "cache")
    record = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    try:
        wanted = {
            name: int(sites) if sites else options.sites for name, _, sites in (word.partition(":") for word in options.commands.split(",")) if name
        }
        for command in commands(root, [*wanted]):
            sites = wanted.get(command.name, options.sites)
            entry = record[command.name] = sweep(command, faults, root, sites, log)
            if sites is None or sites >= CONDITIONS_FROM:
                for condition in (conditions.clock, conditions.memory, conditions.full_disk):
                    entry |= condition(command, faults, root, call, verdict, again, log)
            print(command.name, json.dumps({key: value for key, value in entry.items() if key != "wrong"}), flush=True)
            if options.output:
                options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return int(any('"wrong": ["' in json.dumps(entry) for entry in record.values()))


def log(line: str) -> None:
    """A fault that was found."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Every claim of `electra` about speed, measured with its peers: one command, one record, one table.

  python bench/run.py                                       all sections (about three hours on two cores)
  python bench/run.py --sections pretraining inference      some of them
  python bench/run.py --quick                               all with tiny shapes, in minutes: does it run?
  python bench/run.py --interpreter peers=/venv/bin/python  one that has the packages of bench/pins/peers.txt
  python bench/run.py --model runs/sst2/best --again        another classifier; sections that are done once more
  make bench ARGS="--sections startup"                      the same through make, which installs what is missing

The record is bench/records/DATE-MACHINE.json, its table the .md of the same name; both are written after every section. A section that is done with
the same options is not repeated (--again does), so an interrupted run goes on where it stopped. Exit code 1 where a section failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import environments
import models
import report
from section import ROOT, Skipped, Work

from electra import bundled, config, environment
from electra.errors import UserError
from electra.storage import atomic
from electra.terminal import duration

ESTIMATES = {"machine": 60, "pretraining": 3600, "length": 600, "prepare": 900, "finetuning": 600, "inference": 420}
ESTIMATES |= {"embedding": 1700, "serving": 600, "startup": 200, "scaling": 1500, "gpu": 600}
"""Seconds on two cores, for the estimate of the remaining time."""
QUICK_SECONDS = 15.0
NEEDS = dict.fromkeys(("length", "finetuning", "startup"), ("peers",))
NEEDS |= {"prepare": ("peers", "nanotoken", "tokie", "flash-tokenizer"), "inference": ("peers", "optimum")}
NEEDS |= {"pretraining": ("peers", "zentorch")}
NEEDS |= {"serving": ("peers", "litserve", "infinity")}
NEEDS |= {"embedding": ("peers", "optimum", "openvino", "zentorch", "ctranslate2", "tract", "llama-cpp", "model2vec")}
"""Section -> the environments of peers that it wants."""


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def reporter(name: str, place: str, later: float, expected: float) -> Callable[[float, str], None]:
    """A section's progress: fraction done and what -> a line with the remaining time of this section and in all."""
    started = time.monotonic()

    def progress(fraction: float, text: str) -> None:
        gone = time.monotonic() - started
        left = gone * (1 - fraction) / fraction if fraction > 0.02 else max(0.0, expected - gone)
        say(f"[{place} {name}] {text}; about {duration(left)} left here, {duration(left + later)} in all")

    return progress


def read_options(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(report.SECTIONS)
    parser.add_argument("--sections", nargs="+", choices=names, default=names, metavar="SECTION", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, few turns: does it run, not how fast")
    parser.add_argument("--again", action="store_true", help="repeat finished sections")
    parser.add_argument("--data", type=Path, help="folder of real data: glue/, corpus-en/, vocab/ (default: ELECTRA_DATA, else ../shared/data)")
    parser.add_argument(
        "--model",
        nargs="+",
        help="fine-tuned SST-2 classifier for inference, serving and startup; embedding measures each of several: folders, shipped:NAME, "
        "'random' for one of random weights (default: random)",
    )
    parser.add_argument("--tasks", nargs="+", choices=("embed", "rerank", "classify"), help="embedding: some of its tasks (default: all)")
    parser.add_argument(
        "--interpreter",
        nargs="+",
        default=[],
        metavar="NAME=PYTHON",
        help=f"of an environment of peers: {', '.join(environments.names())}; 'none' leaves it out (default: .venv-bench/NAME, made from "
        "bench/pins/NAME.txt; in a quick run of 'peers' alone)",
    )
    parser.add_argument("--bi-encoder", type=Path, help="embedding: sentence-transformers folder (default: one of random weights)")
    parser.add_argument("--cross-encoder", type=Path, help="embedding: re-ranker's folder (default: one of random weights)")
    parser.add_argument("--threads", type=int, default=0, help="of every candidate; 0: one per core (default: 0)")
    parser.add_argument("--presets", nargs="+", help="pretraining: presets (default: tiny small base)")
    parser.add_argument("--dropout", type=float, nargs="+", help="pretraining: one comparison each (default: 0.1 0.0)")
    parser.add_argument("--steps", type=int, help="pretraining: timed turns (default: 5)")
    parser.add_argument("--repeats", type=int, help="startup, finetuning, prepare, embedding, scaling: turns (default: each its own, 3 to 7)")
    parser.add_argument("--limit-mb", type=float, help="prepare: MB of English text (default: 400)")
    parser.add_argument("--sizes-mb", type=float, nargs="+", help="scaling: sizes of the corpus (default: 10 100 1000)")
    parser.add_argument("--shards", type=int, nargs="+", help="scaling: numbers of shard folders (default: 1 10 100)")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files, 5 GB (default: the system's)")
    parser.add_argument("--records", type=Path, default=Path(__file__).resolve().parent / "records", help="folder of the record")
    parser.add_argument("--name", help="the record's name (default: DATE-MACHINE)")
    options = parser.parse_args(argv)
    cores = len(environment.allowed_cores())
    check(options, cores, parser.error)
    # Two threads that wait for each other on a busy machine make tiny steps take seconds.
    options.threads = options.threads or (1 if options.quick else cores)
    usual = Path(os.environ.get("ELECTRA_DATA", ROOT.parent / "shared" / "data"))
    options.data = options.data or (usual if usual.is_dir() else None)
    return options


def check(options: argparse.Namespace, cores: int, error: Callable[[str], NoReturn]) -> None:
    """Report a wrong value by `error`, which ends the program; `cores`: of this machine."""
    for one in options.interpreter:
        if one.partition("=")[0] not in environments.names() or not one.partition("=")[2]:
            error(f"--interpreter {one}: expected NAME=PYTHON, NAME one of {', '.join(environments.names())}")
    paths = [(name, getattr(options, name)) for name in ("data", "bi_encoder", "cross_encoder", "scratch")]
    try:
        paths += [("model", bundled.located(model)) for model in options.model or () if model != models.RANDOM]
    except UserError as why:
        error(f"--model: {why}")
    for name, path in paths:
        if path is not None and not path.is_dir():
            error(f"--{name.replace('_', '-')} {path}: no such folder")
    for preset in options.presets or ():
        try:
            config.preset_values(preset, "pretrain")
        except UserError as why:
            error(f"--presets: {why}")
    if not 0 <= options.threads <= cores:
        error(f"--threads {options.threads}: this machine has {cores} cores; give 1 .. {cores}, or 0 for all")
    for name, least in (("steps", 1), ("repeats", 1), ("limit_mb", 0.001)):
        value = getattr(options, name)
        if value is not None and value < least:
            error(f"--{name.replace('_', '-')} {value:g}: at least {least:g}")


def gpu_name() -> str:
    """The first GPU's name, '' where there is none."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else ""


def machine_slug(found: dict[str, Any]) -> str:
    """A short name for files: processor, cores, GPU."""
    words = [
        re.sub(r"\(.*?\)|\b\d+-core\b|processor|cpu|@.*", " ", found["processor"].lower()),
        f"{found['cores']}-cores",
        found.get("gpu", "").lower(),
    ]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words)).strip("-")


def read_record(path: Path) -> dict[str, Any]:
    """What was measured before; empty if there is no record.

    Raises:
        UserError: it is not a record.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sections: dict[str, Any] = found["sections"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a record of this bench; remove it, or choose another --name") from None
    return sections


def measure(name: str, work: Work) -> dict[str, Any]:
    """One section -> its entry of the record, errors included."""
    entry: dict[str, Any] = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": environment.commit()}
    started, entry["load_before"] = time.monotonic(), os.getloadavg()[0]
    try:
        entry |= {"result": importlib.import_module(report.SECTIONS[name]).measure(work), "state": "done"}
    except Skipped as why:
        entry |= {"state": "skipped", "why": str(why)}
    except Exception as error:  # one section's trouble is not the others'
        entry |= {"state": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    return entry | {"seconds": time.monotonic() - started, "load_after": os.getloadavg()[0]}


def main(argv: list[str] | None = None) -> int:
    """Measure section by section; the exit code."""
    options = read_options(argv)
    here = environment.describe() | ({"gpu": found} if (found := gpu_name()) else {})
    date = time.strftime("%Y-%m-%d")
    name = options.name or f"{date}-{machine_slug(here)}" + ("-quick" if options.quick else "")
    path = options.records / f"{name}.json"
    known = read_record(path)
    given, peers = dict(one.split("=", 1) for one in options.interpreter), {}
    for which in dict.fromkeys(which for section in options.sections for which in NEEDS.get(section, ())):
        chosen = given.get(which) or ("none" if which != "peers" and options.quick else None)
        found = peers[which] = environments.find(which, chosen, ROOT / ".venv-bench" / which, say)
        if not found["python"] and chosen != "none":
            say(f"bench: {found['problem']}; its rows say so")
    apart = ("sections", "again", "records", "name", "scratch", "interpreter")
    asked = {key: value.name if isinstance(value, Path) else value for key, value in vars(options).items() if key not in apart}
    asked["model"] = options.model and [Path(model).name for model in options.model]
    record: dict[str, Any] = {"date": date, "options": asked, "machine": here, "commit": here["commit"]}
    record["peers"] = {which: {key: value for key, value in found.items() if key != "python"} for which, found in peers.items()}
    record["sections"] = known

    def usable(section: str) -> bool:
        entry = known.get(section, {})
        same = entry.get("options") == asked and all(entry["peers"].get(which) == record["peers"][which] for which in NEEDS.get(section, ()))
        return entry.get("state") == "done" and same

    todo = [section for section in report.SECTIONS if section in options.sections and (options.again or not usable(section))]
    for section in set(options.sections) - set(todo):
        say(f"bench: {section} is done (commit {known[section]['commit']}); --again repeats it")
    estimates = dict.fromkeys(ESTIMATES, QUICK_SECONDS) if options.quick else ESTIMATES
    with tempfile.TemporaryDirectory(prefix="electra-bench-", dir=options.scratch) as scratch:
        for index, section in enumerate(todo):
            later = sum(estimates[other] for other in todo[index + 1 :])
            progress = reporter(section, f"{index + 1}/{len(todo)}", later, estimates[section])
            progress(0.0, "begins")
            work = Work(
                quick=options.quick,
                data=options.data,
                folder=Path(scratch),
                interpreters={which: found["python"] for which, found in peers.items()},
                problems={which: found.get("problem", "") for which, found in peers.items()},
                threads=options.threads,
                options=vars(options),
                progress=progress,
                machine=known.get("machine", {}).get("result", {}),
            )
            entry = known[section] = measure(section, work) | {"options": asked, "peers": record["peers"]}
            say(
                f"[{index + 1}/{len(todo)} {section}] {entry['state']} after {duration(entry['seconds'])}"
                + (f": {entry['why']}" if "why" in entry else "")
            )
            atomic.write_text(path, json.dumps(record, indent=1) + "\n")
            atomic.write_text(path.with_suffix(".md"), report.to_markdown(record))
    if not todo:
        atomic.write_text(path.with_suffix(".md"), report.to_markdown(record))
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    say(f"bench: {path} and {path.with_suffix('.md').name}")
    return int(any(known[section]["state"] == "failed" for section in options.sections))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        say("bench: interrupted; the same command goes on with the section that was not done")
        sys.exit(130)

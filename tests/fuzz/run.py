"""Fuzz one target, some, or all: `make fuzz ARGS="tags --seconds 1800"`, or python tests/fuzz/run.py.

Inputs are chosen by the coverage they reach (atheris, where it is installed; else they are mutated without feedback). What was found is kept under
runs/fuzz/TARGET, so that the next run continues there; a crash becomes a small file in tests/fuzz/corpus/TARGET, which `make test` replays. At the
end a row is added to experiments/records/fuzz.json.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from fuzz import limits  # noqa: E402
from fuzz.mutations import mutate  # noqa: E402

RUNS, KEPT, RECORD = ROOT / "runs" / "fuzz", ROOT / "tests" / "fuzz" / "corpus", ROOT / "experiments" / "records" / "fuzz.json"
MOST_MEMORY = 6 << 30
"""Bytes of address space beyond what the process has when it begins: an allocation above fails, and is a crash of the input."""


# ---- one process of a run ----


class Session:
    """A target in this process: judges inputs, keeps the smallest input of each crash, counts."""

    def __init__(self, name: str, seconds: float) -> None:
        from fuzz.targets import TARGETS

        self.target = TARGETS[name]
        self.folder = RUNS / name
        for part in ("corpus", "crashes"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.ends = time.monotonic() + seconds
        self.stats: dict[str, Any] = {"executions": 0, "refused": 0, "slowest_seconds": 0.0, "peak_megabytes": 0.0, "crashes": []}
        self.written = 0.0
        seeds = [*self.target.seeds(), *(path.read_bytes() for path in sorted((KEPT / name).glob("*")))]
        for seed in seeds:
            limits.judge(self.target.check, seed)  # imports and caches, whose memory is not an input's
            (self.folder / "corpus" / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)
        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY, size + MOST_MEMORY))

    def one(self, data: bytes) -> None:
        """Judge an input."""
        found = limits.judge(self.target.check, data, slack=self.target.slack)
        stats = self.stats
        stats["executions"] += 1
        stats["refused"] += found.refused
        stats["slowest_seconds"] = max(stats["slowest_seconds"], found.seconds)
        stats["peak_megabytes"] = max(stats["peak_megabytes"], found.megabytes)
        if found.crash:
            self._keep(data, found)
        if time.monotonic() - self.written > 1:
            self.write()

    def _keep(self, data: bytes, found: limits.Outcome) -> None:
        name = hashlib.sha256(found.crash.encode()).hexdigest()[:12]
        path = self.folder / "crashes" / f"{name}.bin"
        self.stats["crashes"] = sorted({*self.stats["crashes"], found.crash})
        if path.exists() and len(path.read_bytes()) <= len(data):
            return
        data = self._smaller(data, found.crash) if not path.exists() and found.seconds < 0.2 else data
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{found.crash}\n{found.seconds:.2f} s, {found.megabytes:.0f} MB\n{found.trace}", encoding="utf-8")
        self.write()

    def _smaller(self, data: bytes, crash: str) -> bytes:
        """A shorter input with the same crash: parts are cut out while that is so, for at most ten seconds."""
        ends, size = time.monotonic() + 10, max(1, len(data) // 2)
        while size and time.monotonic() < ends:
            at = 1
            while at < len(data) and time.monotonic() < ends:
                shorter = data[:at] + data[at + size :]
                if len(shorter) < len(data) and limits.judge(self.target.check, shorter).crash == crash:
                    data = shorter
                else:
                    at += size
            size //= 2
        return data

    def write(self) -> None:
        """Write the counts, for the process that started this one."""
        self.written = time.monotonic()
        (self.folder / "stats.json").write_text(json.dumps(self.stats), encoding="utf-8")

    def guided(self) -> None:
        """Atheris until the time is over; it ends the process."""
        import atheris

        def mutator(data: bytes, largest: int, seed: int) -> bytes:
            rng = random.Random(seed)
            return bytes(atheris.Mutate(data, largest)) if rng.random() < 0.4 else mutate(bytes(data), rng, self.target.words, largest)

        left = max(1, int(self.ends - time.monotonic()))
        options = {"max_len": limits.LARGEST, "max_total_time": left, "timeout": int(limits.SLOW), "rss_limit_mb": 0, "malloc_limit_mb": 0}
        options |= {"print_final_stats": 1, "use_value_profile": 1}
        words = [f"-{key}={value}" for key, value in options.items()]
        atheris.Setup(
            [sys.argv[0], *words, f"-artifact_prefix={self.folder / 'crashes'}/", str(self.folder / "corpus")], self.one, custom_mutator=mutator
        )
        atheris.Fuzz()

    def unguided(self) -> None:
        """Mutations of the seeds and of nothing else."""
        rng = random.Random(time.time_ns())
        known = [path.read_bytes() for path in sorted((self.folder / "corpus").iterdir())]
        while time.monotonic() < self.ends:
            self.one(mutate(rng.choice(known), rng, self.target.words, limits.LARGEST))
        self.write()


def has_atheris() -> bool:
    """Whether the guided engine is installed."""
    try:
        importlib.metadata.version("atheris")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def work(name: str, seconds: float) -> None:
    """The process of a run."""
    if not has_atheris():
        Session(name, seconds).unguided()
        return
    import atheris

    with atheris.instrument_imports(include=["electra"]):
        import fuzz.targets  # noqa: F401

        session = Session(name, seconds)
    session.guided()


def replay(name: str) -> None:
    """Every kept input once, for the measurement of coverage."""
    from fuzz.targets import TARGETS

    for seed in TARGETS[name].seeds():
        limits.judge(TARGETS[name].check, seed, memory=False)
    for path in sorted((RUNS / name / "corpus").iterdir())[:3000]:
        limits.judge(TARGETS[name].check, path.read_bytes(), memory=False)


# ---- the run ----


def _process(*words: str, log: Path, before: tuple[str, ...] = (), wait: float = 0.0) -> int:
    environment = {**os.environ, "ELECTRA_FUZZ_REFERENCES": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
    with log.open("ab") as stream:
        command = [sys.executable, *before, str(Path(__file__).resolve()), *words]
        try:
            return subprocess.run(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, timeout=wait or None).returncode
        except subprocess.TimeoutExpired:
            return -1


def _processor_seconds() -> float:
    """Processor time of the processes that ended so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def fuzz(name: str, seconds: float) -> dict[str, Any]:
    """Fuzz a target for so many seconds of one core, restarting its process where an input ended it -> its row of the record.

    Processor time is what counts, so that other work on the machine takes nothing from the target.
    """
    from fuzz.targets import TARGETS

    folder = RUNS / name
    (folder / "crashes").mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    log.write_bytes(b"")
    known = {path.name for path in (folder / "crashes").iterdir()}
    row: dict[str, Any] = {
        "target": name,
        "covers": TARGETS[name].covers,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": 0,
        "executions": 0,
        "refused": 0,
        "slowest_seconds": 0.0,
    }
    row |= {
        "peak_megabytes": 0.0,
        "engine": f"atheris {importlib.metadata.version('atheris')}" if has_atheris() else "mutations",
        "processes_ended": 0,
    }
    crashes: set[str] = set()
    begun, used = time.monotonic(), _processor_seconds()
    while (left := seconds - (_processor_seconds() - used)) > min(10, seconds / 2) and row["processes_ended"] < 20:
        (folder / "stats.json").unlink(missing_ok=True)
        code = _process("--work", name, "--seconds", f"{left:.0f}", log=log, wait=left + 120)
        stats = json.loads((folder / "stats.json").read_text(encoding="utf-8")) if (folder / "stats.json").exists() else {}
        crashes |= set(stats.pop("crashes", ()))
        for key, value in stats.items():
            row[key] = max(row[key], value) if key in ("slowest_seconds", "peak_megabytes") else row[key] + value
        row["processes_ended"] += code != 0
    row |= {"seconds": round(_processor_seconds() - used), "wall_seconds": round(time.monotonic() - begun)}
    ended = [path for path in (folder / "crashes").iterdir() if path.name not in known and path.suffix == ""]
    crashes |= {path.name.partition("-")[0] for path in ended if path.name.startswith(("crash", "timeout", "oom"))}
    features = re.findall(rb"ft: (\d+)", log.read_bytes())
    row |= {"crashes": sorted(crashes), "features": int(features[-1]) if features else None, "corpus": len(list((folder / "corpus").iterdir()))}
    return row | coverage(name, folder, log)


def coverage(name: str, folder: Path, log: Path) -> dict[str, Any]:
    """Lines and branches of the target's modules that its corpus reaches."""
    from fuzz.targets import TARGETS

    modules = TARGETS[name].modules
    include = ",".join(str(ROOT / "electra" / module) for module in modules)
    data = folder / "coverage"
    run = ("-m", "coverage", "run", "--rcfile=/dev/null", "--branch", f"--include={include}", f"--data-file={data}")
    _process("--replay", name, log=log, before=run, wait=900)
    report = folder / "coverage.json"
    words = ["-m", "coverage", "json", "--rcfile=/dev/null", "-q", f"--data-file={data}", "-o", str(report)]
    if subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True).returncode:
        return {"lines": None, "branches": None}
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    return {
        "lines": round(totals["covered_lines"] / max(1, totals["num_statements"]), 3),
        "branches": round(totals["covered_branches"] / max(1, totals["num_branches"]), 3),
        "modules": list(modules),
    }


def main() -> int:
    """Parse the command line."""
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=120.0, help="of processor time for each target (default: 120)")
    parser.add_argument("--no-record", action="store_true", help="leave experiments/records/fuzz.json as it is")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--replay", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"unknown target '{unknown[0]}'; known: {', '.join(TARGETS)}")
    if given.work:
        work(given.work, given.seconds)
        return 0
    if given.replay:
        replay(given.replay)
        return 0
    failed = False
    for name in given.targets or TARGETS:
        row = fuzz(name, given.seconds)
        failed |= bool(row["crashes"] or row["processes_ended"])
        print(json.dumps(row), flush=True)
        if not given.no_record:
            rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
            RECORD.write_text("[\n" + ",\n".join(json.dumps(one) for one in [*rows, row]) + "\n]\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

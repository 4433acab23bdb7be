"""Tokenizing a corpus: identity with `tokenizers` on every document, speed cold, carried and warm, and a whole `electra prepare`.

The text goes by in blocks of 16 MB. Each is encoded by every candidate of `encoding_step.py` on the same cores (electra with a process per core, each
with every n-th document; the others with a thread per core), first on one core, then on all. They take turns. Whoever gives other ids than
`tokenizers` to a document of a block is reported, and not timed from there on. 'cold' is a block met with an empty cache; 'carried' all blocks in
their order, each never seen before, as `prepare` meets them; 'warm' a block once more. Ratios are of one block each. Then `electra prepare` runs
as a user would run it.

    python bench/prepare.py CORPUS... --tokenizer vocab.txt --peers .venv-bench/peers/bin/python
    python bench/prepare.py CORPUS... --tokenizer vocab.txt --limit-mb 40 --repeats 1        a trial
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import models
from section import Skipped, Target, Work, at_least, electra, environment, middle, peer_environment, spread, table
from turns import Candidate, Failed

BLOCK_BYTES = 16_000_000
WHOLE_MB = 400.0
"""Text of a whole `electra prepare`, which is repeated."""
ASKED_ENGLISH, ASKED_CHINESE, ASKED_WORKERS = 4.0, 1.0, 1.7
ASKED_RIVALS = 0.95
"""Level with the fastest, within what two runs of the same program differ by."""
OURS, PLAIN, REFERENCE = "electra", "electra, without nanotoken", "tokenizers"
NAMED = ("nanotoken", "tokie", "flash-tokenizer")
"""Peers that have environments of their own."""


def write_blocks(corpus: list[str], folder: Path, limit_mb: float, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[Path, float]]:
    """Documents in blocks: a file with one JSON list of lines per document, and the text's size in MB."""
    from electra.data.documents import read_documents

    folder.mkdir(parents=True, exist_ok=True)
    held: list[str] = []
    size = total = 0

    def flush() -> tuple[Path, float]:
        path = folder / "block.jsonl"
        path.write_text("\n".join(held), encoding="utf-8")
        return path, size / 1e6

    for document in read_documents(corpus):
        held.append(json.dumps(document.lines))
        count = sum(len(line.encode("utf-8")) + 1 for line in document.lines)
        size, total = size + count, total + count
        if size >= block_bytes or (limit_mb and total >= limit_mb * 1e6):
            yield flush()
            held, size = [], 0
            if limit_mb and total >= limit_mb * 1e6:
                return
    if held:
        yield flush()


class Side:
    """All processes of one side on some cores."""

    def __init__(self, stack: ExitStack, engine: str, python: str, cores: list[int], build: dict[str, str]) -> None:
        """One process per core for ours, one with a thread per core for the peer."""
        self.name, self._build = engine, {"engine": engine} | build
        ours = engine.startswith(OURS)
        places = [[core] for core in cores] if ours else [cores]
        make = environment if ours else peer_environment
        self.processes = [stack.enter_context(Candidate(python, "encoding_step.py", environment=make(len(p)), cores=p)) for p in places]
        self.forget()

    def forget(self) -> None:
        """Begin with an empty cache."""
        for process in self.processes:
            process.ask("build", **self._build)

    def encode(self, path: Path) -> tuple[dict[str, float], list[str]]:
        """A block -> seconds (of the slowest process), CPU seconds (of all), the digest of every document."""
        parts = len(self.processes)
        for part, process in enumerate(self.processes):
            process.send("encode", path=str(path), part=part, parts=parts)
        answers = [process.receive() for process in self.processes]
        digests = [""] * sum(len(answer["digests"]) for answer in answers)
        for part, answer in enumerate(answers):
            digests[part::parts] = answer["digests"]
        seconds = {"seconds": max(a["seconds"] for a in answers), "processor_seconds": sum(a["processor_seconds"] for a in answers)}
        return seconds, digests


def open_sides(stack: ExitStack, source: Path, folder: Path, cores: list[int], pythons: Mapping[str, str], failed: dict[str, str]) -> list[Side]:
    """Every candidate with an interpreter, ours first. Who does not open is in `failed`."""
    from electra.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(source))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in tokenizer.pieces), encoding="utf-8")
    common = {"typecode": tokenizer.typecode, "lowercase": tokenizer.lowercase, "threads": len(cores)}
    sides = []
    for name in (OURS, PLAIN, REFERENCE, *NAMED):
        python = sys.executable if name.startswith(OURS) else pythons.get(name, "")
        if not python:
            continue
        given = str(source) if name.startswith(OURS) else str(folder / ("vocab.txt" if name == "flash-tokenizer" else "tokenizer.json"))
        try:
            sides.append(Side(stack, name, python, cores, {"tokenizer": given, **common}))
        except Failed as error:
            failed[name] = str(error)
    return sides


def compare(
    corpus: list[str],
    source: Path,
    folder: Path,
    cores: list[int],
    pythons: Mapping[str, str],
    limit_mb: float,
    rounds: int,
    say: Callable[[float, str], None],
) -> dict[str, Any]:
    """Encode the corpus by all candidates on these cores -> every time, and how many documents of each have other ids than the reference's."""
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        sides = {side.name: side for side in open_sides(stack, source, folder, cores, pythons, failed)}
        times: dict[str, dict[str, list[dict[str, float]]]] = {kind: {name: [] for name in sides} for kind in ("cold", "carried", "warm")}
        judge = REFERENCE if REFERENCE in sides else OURS
        different = dict.fromkeys(sides, 0)
        documents, megabytes = 0, 0.0

        def turn(kind: str, path: Path, size: float, number: int) -> int:
            found = {}
            names = [name for name in sides if name not in failed]
            for name in names[number % len(names) :] + names[: number % len(names)]:
                try:
                    if kind == "cold":
                        sides[name].forget()
                    seconds, found[name] = sides[name].encode(path)
                    times[kind][name].append(seconds | {"mb": size})
                except Failed as error:
                    if name in (OURS, judge):
                        raise
                    failed[name] = str(error)
            for name, digests in found.items():
                if others := sum(one != other for one, other in zip(digests, found[judge], strict=True)):
                    different[name] += others
                    failed[name] = f"not timed: the ids of {others} of {len(digests)} documents differ from those of {judge}"
            return len(found[judge])

        for number, (path, size) in enumerate(write_blocks(corpus, folder, limit_mb)):
            if number == 0:
                for again in range(rounds):
                    turn("cold", path, size, again)
                for name in set(sides) - set(failed):
                    sides[name].forget()
            documents += turn("carried", path, size, number)
            megabytes += size
            say(megabytes, f"{megabytes:,.0f} MB: {documents:,} documents, different: {sum(different.values())}")
        for again in range(rounds):
            turn("warm", path, size, again)
    differing = {name: number for name, number in different.items() if name != judge}
    return {
        "cores": len(cores),
        "mb": megabytes,
        "documents": documents,
        "reference": judge,
        "documents_different": differing,
        "failed": failed,
        "times": {kind: {name: values for name, values in found.items() if name not in failed} for kind, found in times.items()},
    }


def summarize(found: dict[str, Any]) -> dict[str, Any]:
    """Times -> for cold, carried, warm and each candidate: MB/s, MB per second of processor time, and how many times faster ours is in a block."""
    out: dict[str, Any] = {}
    for kind, sides in found["times"].items():
        mine, out[kind] = sides[OURS], {}
        for name, values in sides.items():
            row = out[kind][name] = middle(each["mb"] / each["seconds"] for each in values)
            row["whole_mb_per_s"] = sum(each["mb"] for each in values) / sum(each["seconds"] for each in values)
            row["processor_mb_per_s"] = statistics.median(each["mb"] / each["processor_seconds"] for each in values)
            if name != OURS:
                row["electra_is_faster_by"] = middle(other["seconds"] / one["seconds"] for one, other in zip(mine, values, strict=True))
    return out


def run_prepare(corpus: list[str], source: Path, workers: int, folder: Path) -> dict[str, Any]:
    """`electra prepare` in a process of its own -> its run.json and counts."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        output = Path(scratch) / "shards"
        seconds, _ = electra("prepare", *corpus, "--tokenizer", source, "--output", output, "--workers", str(workers), threads=workers)
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        run: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))
        return run | {
            "command_seconds": seconds,
            "splits": manifest["splits"],
            "duplicates": manifest["duplicates"],
            "problems": manifest["problems"],
        }


def measure(work: Work) -> dict[str, Any]:
    """English and Chinese, on one core and on all; the whole command with so many workers."""
    from electra.environment import allowed_cores

    cores = allowed_cores()[: work.threads]
    counts = sorted({1, len(cores)})
    rounds = 1 if work.quick else work.options.get("repeats") or 5
    limits = {"en": work.options.get("limit_mb") or 400.0, "zh": work.options.get("limit_mb") or 0.0}
    pythons = {REFERENCE: work.peers} | {name: work.interpreters.get(name, "") for name in NAMED}
    problems = {REFERENCE: work.peers_problem} | {name: work.problem(name) for name in NAMED}
    out: dict[str, Any] = {"rounds": rounds, "languages": {}, "not_run": {name: why for name, why in problems.items() if why}}
    done = 0.0
    for language, weight in (("en", 0.85), ("zh", 0.15)):
        try:
            corpus = models.corpus(work, language)
        except Skipped as why:
            out["languages"][language] = {"skipped": str(why)}
            continue
        source, limit = models.vocabulary(work, language), 0.0 if work.quick else limits[language]
        folder, runs = work.folder / f"blocks-{language}", []
        for index, count in enumerate(counts):

            def say(megabytes: float, text: str, index: int = index, count: int = count, limit: float = limit, name: str = language) -> None:
                share = min(1.0, megabytes / (limit or 40)) * 0.6 / len(counts) + index * 0.6 / len(counts)
                work.progress(done + weight * share, f"{name}, {count} cores, {text}")  # noqa: B023 (called at once)

            found = compare(corpus, source, folder, cores[:count], pythons, limit, rounds, say)
            runs.append(found | {"summary": summarize(found)})
        # A little less than was encoded, so that none of it is repeated.
        text = models.plain_text(work, 0.98 * min(WHOLE_MB, runs[0]["mb"]), f"prepare-{language}.txt", language)
        size = text.stat().st_size / 1e6
        whole: dict[str, list[dict[str, Any]]] = {str(count): [] for count in counts}
        for number in range(rounds):
            for count in counts:
                whole[str(count)].append(run_prepare([str(text)], source, count, work.folder))
            work.progress(done + weight * (0.6 + 0.4 * (number + 1) / rounds), f"{language}, electra prepare, {number + 1} of {rounds}")
        done += weight
        out["languages"][language] = {"encode": runs, "prepare": whole, "prepare_mb": size}
    return out


def prepare_speeds(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Workers -> MB/s of the whole command, start included."""
    return {count: middle(found["prepare_mb"] / run["command_seconds"] for run in runs) for count, runs in found["prepare"].items()}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's tables."""
    out, rows, whole, notes = ["MB of text per second; medians of blocks of 16 MB (least..most), all on the same cores.", ""], [], [], []
    for language, found in result["languages"].items():
        if "skipped" in found:
            notes.append(f"{language}: not run: {found['skipped']}.")
            continue
        for run in found["encode"]:
            for kind, candidates in run["summary"].items():
                for name, row in candidates.items():
                    cells = [spread(row, "{:.2f}"), f"{row['processor_mb_per_s']:.2f}", spread(row.get("electra_is_faster_by"))]
                    rows.append([f"{language}, {run['cores']} cores, {kind}", name, *cells])
            place = f"{language}, {run['cores']} cores"
            others = ", ".join(f"{name} {number}" for name, number in run["documents_different"].items())
            notes.append(
                f"{place}: {run['documents']:,} documents, {run['mb']:,.0f} MB; documents whose ids differ from {run['reference']}'s: {others}."
            )
            notes += [f"{place}, {name}: {why}." for name, why in run["failed"].items()]
        speeds = prepare_speeds(found)
        whole += [
            [f"{language}, {count} workers", spread(speed, "{:.2f}"), f"{speed['median'] / speeds['1']['median']:.2f}x"]
            for count, speed in speeds.items()
        ]
    out += [*table(("encoding", "candidate", "MB/s", "MB per CPU second", "electra is faster by"), rows), "", *(f"- {note}" for note in notes), ""]
    out += table(("whole `electra prepare`", "MB/s", "than one worker"), whole)
    return out + [line for name, why in result["not_run"].items() for line in ("", f"{name} not run: {why}.")]


def targets(result: dict[str, Any]) -> list[Target]:
    """New text, on all cores; identity; workers."""
    out = []
    for language, asked in (("en", ASKED_ENGLISH), ("zh", ASKED_CHINESE)):
        found = result["languages"].get(language, {})
        if "encode" not in found:
            continue
        run = found["encode"][-1]
        carried = run["summary"]["carried"]
        ratio = carried.get(REFERENCE, {}).get("electra_is_faster_by", {}).get("median")
        out.append(at_least(f"preparing {language}, {run['cores']} cores, new text: speed over encode_batch", ratio, asked))
        if REFERENCE in carried:
            number = sum(each["documents_different"][OURS] for each in found["encode"])
            out.append(Target(what=f"preparing {language}: ids", asked="identical", shown=f"{number} different", reached=not number))
        for kind, candidates in found["encode"][0]["summary"].items():
            rivals = {name: row["electra_is_faster_by"]["median"] for name, row in candidates.items() if name in NAMED}
            if rivals:
                name = min(rivals, key=rivals.__getitem__)
                out.append(at_least(f"preparing {language}, one core, {kind}: speed over the fastest rival ({name})", rivals[name], ASKED_RIVALS))
        speeds = prepare_speeds(found)
        if language == "en" and "2" in speeds:
            out.append(at_least("preparing en: 2 workers, speed over 1", speeds["2"]["median"] / speeds["1"]["median"], ASKED_WORKERS))
    return out


def main() -> int:
    """Compare one corpus and print; `bench/run.py` writes the record. Exit code 1 where ids differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", help="files or folders")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder or vocab.txt")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="cores of both sides")
    parser.add_argument("--limit-mb", type=float, default=0, help="stop after so many MB (0: the whole corpus)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of what is cold and what is warm")
    parser.add_argument("--peers", default=sys.executable, help="interpreter with tokenizers (default: this one)")
    options = parser.parse_args()

    def say(_: float, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    from electra.environment import processor

    with tempfile.TemporaryDirectory() as folder:
        given = (options.tokenizer, Path(folder), list(range(options.cores)), {REFERENCE: options.peers}, options.limit_mb, options.repeats)
        found = compare(options.corpus, *given, say)
    print(json.dumps({"processor": processor(), "summary": summarize(found)} | found, indent=1))
    return 1 if any(found["documents_different"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())

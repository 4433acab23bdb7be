"""Tokenizing a corpus: identity with `tokenizers` on every document, speed cold, carried and warm, and a whole `electra prepare`.

The text goes by in blocks of 16 MB. Each is encoded by ours (a process per core, each with every n-th document) and by the batch encoder of
`tokenizers` in its own environment (one process, a thread per core) on the same cores, first on one core, then on all. They take turns, and the ids
of every document are compared. 'cold' is a block met with an empty cache; 'carried' all blocks in their order, each never seen before, as `prepare`
meets them; 'warm' a block once more. Ratios are of one block each. Then `electra prepare` runs as a user would run it.

    python bench/prepare.py CORPUS... --tokenizer vocab.txt --peers .venv-peers/bin/python
    python bench/prepare.py CORPUS... --tokenizer vocab.txt --limit-mb 40 --repeats 1        a trial
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import models
from section import Skipped, Target, Work, at_least, electra, environment, middle, peer_environment, spread, table
from turns import Candidate

BLOCK_BYTES = 16_000_000
WHOLE_MB = 400.0
"""Text of a whole `electra prepare`, which is repeated."""
ASKED_ENGLISH, ASKED_CHINESE, ASKED_WORKERS = 4.0, 1.0, 1.9


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
        places = [[core] for core in cores] if engine == "electra" else [cores]
        make = environment if engine == "electra" else peer_environment
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


def compare(
    corpus: list[str], source: Path, folder: Path, cores: list[int], peers: str, limit_mb: float, rounds: int, say: Callable[[float, str], None]
) -> dict[str, Any]:
    """Encode the corpus both ways on these cores -> every time, and the documents whose ids differ."""
    from electra.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(source))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    times: dict[str, dict[str, list[dict[str, float]]]] = {}
    documents = different = 0
    megabytes = 0.0
    with ExitStack() as stack:
        sides = [Side(stack, "electra", sys.executable, cores, {"tokenizer": str(source), "typecode": tokenizer.typecode})]
        if peers:
            sides.append(Side(stack, "tokenizers", peers, cores, {"tokenizer": str(folder / "tokenizer.json"), "typecode": tokenizer.typecode}))
        times = {kind: {side.name: [] for side in sides} for kind in ("cold", "carried", "warm")}

        def turn(kind: str, path: Path, size: float, number: int) -> list[list[str]]:
            found = {}
            for side in sides if number % 2 == 0 else sides[::-1]:
                if kind == "cold":
                    side.forget()
                seconds, found[side.name] = side.encode(path)
                times[kind][side.name].append(seconds | {"mb": size})
            return list(found.values())

        for number, (path, size) in enumerate(write_blocks(corpus, folder, limit_mb)):
            if number == 0:
                for again in range(rounds):
                    turn("cold", path, size, again)
                for side in sides:
                    side.forget()
            digests = turn("carried", path, size, number)
            documents += len(digests[0])
            different += sum(one != other for one, other in zip(digests[0], digests[-1], strict=True))
            megabytes += size
            say(megabytes, f"{megabytes:,.0f} MB: {documents:,} documents, {different} different")
        for again in range(rounds):
            turn("warm", path, size, again)
    return {"cores": len(cores), "mb": megabytes, "documents": documents, "documents_different": different if peers else None, "times": times}


def summarize(found: dict[str, Any]) -> dict[str, Any]:
    """Times -> for cold, carried, warm: MB/s of both sides, and ours over the peer's block by block."""
    out: dict[str, Any] = {}
    for kind, sides in found["times"].items():
        speeds = {name: [each["mb"] / each["seconds"] for each in values] for name, values in sides.items()}
        row: dict[str, Any] = {name: middle(values) for name, values in speeds.items()}
        # The whole text's speed, in which long blocks count for more, beside the median of blocks.
        row["whole_mb_per_s"] = {name: sum(e["mb"] for e in values) / sum(e["seconds"] for e in values) for name, values in sides.items()}
        if "tokenizers" in speeds:
            row["electra_is_faster_by"] = middle(a / b for a, b in zip(speeds["electra"], speeds["tokenizers"], strict=True))
        out[kind] = row
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
    out: dict[str, Any] = {"rounds": rounds, "languages": {}} | ({} if work.peers else {"peers_problem": work.peers_problem})
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

            found = compare(corpus, source, folder, cores[:count], work.peers, limit, rounds, say)
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
    out, rows, whole, notes = ["MB of text per second; medians of blocks of 16 MB (least..most), both sides on the same cores.", ""], [], [], []
    for language, found in result["languages"].items():
        if "skipped" in found:
            notes.append(f"{language}: not run: {found['skipped']}.")
            continue
        for run in found["encode"]:
            for kind, row in run["summary"].items():
                cells = [spread(row.get(name), "{:.2f}") for name in ("electra", "tokenizers")]
                rows.append([f"{language}, {run['cores']} cores, {kind}", *cells, spread(row.get("electra_is_faster_by"))])
            notes.append(f"{language}, {run['cores']} cores: {run['documents']:,} documents, {run['mb']:,.0f} MB; ids that differ: ")
            notes[-1] += "not compared." if run["documents_different"] is None else f"{run['documents_different']}."
        speeds = prepare_speeds(found)
        whole += [
            [f"{language}, {count} workers", spread(speed, "{:.2f}"), f"{speed['median'] / speeds['1']['median']:.2f}x"]
            for count, speed in speeds.items()
        ]
    out += [*table(("encoding", "electra", "tokenizers", "electra is faster by"), rows), "", *(f"- {note}" for note in notes), ""]
    out += table(("whole `electra prepare`", "MB/s", "than one worker"), whole)
    return out + (["", f"Peer not run: {result['peers_problem']}."] if "peers_problem" in result else [])


def targets(result: dict[str, Any]) -> list[Target]:
    """New text, on all cores; identity; workers."""
    out = []
    for language, asked in (("en", ASKED_ENGLISH), ("zh", ASKED_CHINESE)):
        found = result["languages"].get(language, {})
        if "encode" not in found:
            continue
        run = found["encode"][-1]
        ratio = run["summary"]["carried"].get("electra_is_faster_by", {}).get("median")
        out.append(at_least(f"preparing {language}, {run['cores']} cores, new text: speed over encode_batch", ratio, asked))
        different = (
            None if any(run["documents_different"] is None for run in found["encode"]) else sum(r["documents_different"] for r in found["encode"])
        )
        shown = "not compared" if different is None else f"{different} different"
        out.append(Target(what=f"preparing {language}: ids", asked="identical", shown=shown, reached=None if different is None else not different))
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
        given = (options.tokenizer, Path(folder), list(range(options.cores)), options.peers, options.limit_mb, options.repeats)
        found = compare(options.corpus, *given, say)
    print(json.dumps({"processor": processor(), "summary": summarize(found)} | found, indent=1))
    return 1 if found["documents_different"] else 0


if __name__ == "__main__":
    sys.exit(main())

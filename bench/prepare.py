"""Tokenizing a corpus: identity with `tokenizers` on every document, speed cold and warm, memory of a whole `electra prepare`.

    python bench/prepare.py CORPUS... --tokenizer vocab --workers 2

The corpus goes by in blocks of 16 MB. Each is encoded by ours (one thread, the chunk cache carried along) and by
`tokenizers.encode_batch_fast` (the peer, all cores), and the ids of every document are compared. 'cold' is the first block, begun with an
empty cache; 'carried' all blocks, as `prepare` meets them; 'warm' the last block once more. Beside each speed by the clock stands the
speed by processor time, which other programs on the machine disturb less. Then `electra prepare` runs as a user would run it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from electra import disk
from electra.data.corpus import read_documents
from electra.data.tokenizer import Tokenizer, load_tokenizer

BLOCK_BYTES = 16_000_000


class Clock:
    """Text encoded, and the time it took."""

    def __init__(self) -> None:
        self.megabytes = self.wall = self.processor = 0.0

    def time(self, work: Callable[[], Any], megabytes: float) -> Any:
        """Do the work and count it -> its result."""
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor
        self.megabytes += megabytes
        return result

    def record(self) -> dict[str, float]:
        """Megabytes, and MB/s by the clock and by processor time."""
        speed = {"mb_per_s": self.megabytes / self.wall, "mb_per_s_of_one_core": self.megabytes / self.processor}
        return {"mb": round(self.megabytes, 1)} | {name: round(value, 2) for name, value in speed.items()}


def blocks(corpus: list[str]) -> Iterator[tuple[list[list[str]], float]]:
    """Documents (their lines) in blocks of 16 MB, with the size in MB."""
    held: list[list[str]] = []
    size = 0
    for document in read_documents(corpus):
        held.append(document.lines)
        size += sum(len(line.encode("utf-8")) + 1 for line in document.lines)
        if size >= BLOCK_BYTES:
            yield held, size / 1e6
            held, size = [], 0
    if held:
        yield held, size / 1e6


def encode_ours(tokenizer: Tokenizer, documents: list[list[str]]) -> list[list[bytes]]:
    """As `prepare` does: a document at a time."""
    return [tokenizer.encode_packed(lines) for lines in documents]


def encode_peer(tokenizer: Tokenizer, documents: list[list[str]]) -> list[list[Any]]:
    """The same lines in one call of `tokenizers`' batch encoder, the fastest it has."""
    encodings = iter(tokenizer.backend.encode_batch_fast([line for lines in documents for line in lines], add_special_tokens=False))
    return [[next(encodings) for _ in lines] for lines in documents]


def compare(corpus: list[str], source: str, limit_mb: float) -> dict[str, Any]:
    """Encode the corpus both ways -> speeds, and the documents whose ids differ."""
    tokenizer = load_tokenizer(source)
    clocks = {name: Clock() for name in ("cold", "carried", "warm", "peer")}
    documents = different = 0
    held: tuple[list[list[str]], float] = ([], 0.0)
    for number, (block, megabytes) in enumerate(blocks(corpus)):
        ours = clocks["carried"].time(lambda: encode_ours(tokenizer, block), megabytes)  # noqa: B023 (called at once)
        if number == 0:
            vars(clocks["cold"]).update(vars(clocks["carried"]))
        peer = clocks["peer"].time(lambda: encode_peer(tokenizer, block), megabytes)  # noqa: B023
        for one, other in zip(ours, peer, strict=True):
            documents += 1
            different += one != [array(tokenizer.typecode, encoding.ids).tobytes() for encoding in other]
        held = (block, megabytes)
        print(f"{clocks['carried'].megabytes:,.0f} MB: {documents:,} documents, {different} different", file=sys.stderr, flush=True)
        if limit_mb and clocks["carried"].megabytes >= limit_mb:
            break
    clocks["warm"].time(lambda: encode_ours(tokenizer, held[0]), held[1])
    return {"documents": documents, "documents_different": different} | {name: clock.record() for name, clock in clocks.items()}


def run_prepare(corpus: list[str], source: str, workers: int) -> dict[str, Any]:
    """`electra prepare` in a process of its own -> its run.json and counts."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "shards"
        command = [sys.executable, "-m", "electra.cli", "prepare", *corpus, "--tokenizer", source, "--output", str(output), "--workers", str(workers)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        run: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))
        return run | {"splits": manifest["splits"], "duplicates": manifest["duplicates"], "problems": manifest["problems"]}


def processor_name() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    """Measure, print, and write bench/records/prepare-NAME.json; exit code 1 where ids differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", help="files or folders")
    parser.add_argument("--tokenizer", required=True, help="folder or vocab.txt")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of the prepare run; 0 leaves it out")
    parser.add_argument("--limit-mb", type=float, default=0, help="stop the comparison after so many MB (0: the whole corpus)")
    parser.add_argument("--name", help="name of the record (the first corpus's name otherwise)")
    parser.add_argument("--records", type=Path, default=Path(__file__).parent / "records", help="folder of the record")
    options = parser.parse_args()
    name = options.name or Path(options.corpus[0]).name.split(".")[0]
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "corpus": [Path(c).name for c in options.corpus],
        "tokenizer": {"name": Path(options.tokenizer).name, "fingerprint": load_tokenizer(options.tokenizer).fingerprint},
        "machine": {"processor": processor_name(), "cores": os.cpu_count(), "load_before": [round(load, 1) for load in os.getloadavg()]},
        "versions": {package: version(package) for package in ("tokenizers", "numpy")} | {"python": platform.python_version()},
        "encode": compare(options.corpus, options.tokenizer, options.limit_mb),
    }
    if options.workers:
        record["prepare"] = run_prepare(options.corpus, options.tokenizer, options.workers)
    text = json.dumps(record, indent=2) + "\n"
    disk.write_text(options.records / f"prepare-{name}.json", text)
    print(text)
    return 1 if record["encode"]["documents_different"] else 0


if __name__ == "__main__":
    sys.exit(main())

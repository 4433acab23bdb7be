"""`electra prepare` by engine and place: local processes, a Ray cluster of this machine, an S3 server of this machine for input and output.

    python bench/prepare_engines.py CORPUS... --tokenizer vocab.txt --limit-mb 40 --note "other work shared the cores"

The first `--limit-mb` of the corpus become a sample file. Each way runs the command as a user would, in a process of its own, with 1
and 2 workers; all have to give the same arrays. 'start' is the same command on one document: what Ray's cluster or the store cost before
any text is read. The S3 server is moto's: it says what our side costs, not how fast a store is.

The ways take turns for `--rounds` rounds, so that other work on the machine meets them all, and every value is kept: one pass from the first
way to the last once made S3 ten times faster than a local file, because other work paused towards its end. Beside the clock stands the
processor time of the command and its children, which other work disturbs less; Ray's processes are not the command's children, so not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from electra.data.documents import read_documents
from electra.data.tokenizer import load_tokenizer
from electra.environment import processor
from electra.storage import atomic

WAYS = ("local", "ray", "s3")
BUCKET = "bench"


def write_sample(corpus: list[str], limit_mb: float, folder: Path) -> dict[str, Path]:
    """The corpus' first documents as one file, and its first alone."""
    files = {"sample": folder / "sample.txt", "start": folder / "start.txt"}
    size = 0
    with files["sample"].open("w", encoding="utf-8") as out:
        for document in read_documents(corpus):
            text = "\n".join(document.lines) + "\n\n"
            size += out.write(text)
            if not files["start"].exists():
                files["start"].write_text(text, encoding="utf-8")
            if size >= limit_mb * 1e6:
                break
    return files


def serve_s3() -> Any:
    """An S3 server of this machine with one bucket; the environment is set so that s3:// means it."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    fsspec.filesystem("s3").mkdir(BUCKET)
    return server


def run(way: str, text: Path, source: str, workers: int, folder: Path) -> dict[str, Any]:
    """One `electra prepare` -> its printed manifest, with its run's speed."""
    corpus, output = str(text), str(folder / f"{way}-{text.stem}-{workers}")
    if way == "s3":
        corpus, output = f"s3://{BUCKET}/{text.name}", f"s3://{BUCKET}/{folder.name}/shards-{text.stem}-{workers}"
    engine = ["--engine", "ray"] if way == "ray" else []
    words = ["prepare", corpus, "--tokenizer", source, "--output", output, "--workers", str(workers), "--held-out", "10%", "--json", *engine]
    # One thread a process, as in a cluster: tokenizers' own pool would make one worker two.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "ELECTRA_CACHE": str(folder / f"cache-{workers}-{text.stem}")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "electra.cli", *words], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    manifest: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    manifest["measured"] = {"seconds": manifest["run"]["seconds"], "processor_seconds": None if way == "ray" else round(spent, 2)}
    return manifest


def summarize(values: list[dict[str, Any]], megabytes: float) -> dict[str, float]:
    """Runs -> their medians, and MB/s by the clock and by processor time."""
    out = {}
    for name, speed in (("seconds", "mb_per_s"), ("processor_seconds", "mb_per_s_of_one_core")):
        found = [value[name] for value in values if value[name] is not None]
        if found:
            out[name] = round(statistics.median(found), 2)
            if megabytes:
                out[speed] = round(megabytes / statistics.median(found), 2)
    return out


def measure(options: argparse.Namespace, folder: Path, keep: Callable[[dict[str, Any]], None]) -> None:
    """Every way with every number of workers -> speeds, kept after each round; the arrays must agree."""
    texts = write_sample(options.corpus, options.limit_mb, folder)
    server = serve_s3() if "s3" in options.ways else None
    if server is not None:
        from electra.storage import remote

        for text in texts.values():
            remote.upload(text, f"s3://{BUCKET}/{text.name}")
    megabytes = texts["sample"].stat().st_size / 1e6
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {way: {"start": [], "workers_1": [], "workers_2": []} for way in options.ways}
    hashes = set()
    for number in range(options.rounds):
        for way in options.ways:
            for name, text, workers in (("start", "start", 1), ("workers_1", "sample", 1), ("workers_2", "sample", 2)):
                manifest = run(way, texts[text], options.tokenizer, workers, folder / str(number))
                if text == "sample":
                    hashes.add(json.dumps([split["sha256"] for split in manifest["splits"].values()], sort_keys=True))
                runs[way][name].append(manifest["measured"] | {"load": round(os.getloadavg()[0], 1)})
                print(number, way, name, runs[way][name][-1], file=sys.stderr, flush=True)
        out: dict[str, Any] = {"sample_mb": round(megabytes, 1), "rounds": number + 1}
        for way, rows in runs.items():
            out[way] = {name: {"median": summarize(values, megabytes if name != "start" else 0.0), "runs": values} for name, values in rows.items()}
        keep(out | {"arrays_equal": len(hashes) == 1})
    if server is not None:
        server.stop()


def main() -> int:
    """Measure, print, and write bench/records/prepare-engines.json; exit code 1 where the arrays differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", help="files or folders")
    parser.add_argument("--tokenizer", required=True, help="folder or vocab.txt")
    parser.add_argument("--limit-mb", type=float, default=40, help="text in the sample")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every way")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what to measure")
    parser.add_argument("--note", default="", help="what the reader of the record must know")
    parser.add_argument("--records", type=Path, default=Path(__file__).parent / "records", help="folder of the record")
    options = parser.parse_args()
    packages = [name for way, name in (("ray", "ray"), ("s3", "s3fs"), ("s3", "moto")) if way in options.ways]
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "note": options.note,
        "corpus": [Path(c).name for c in options.corpus],
        "tokenizer": {"name": Path(options.tokenizer).name, "fingerprint": load_tokenizer(options.tokenizer).fingerprint},
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load_before": [round(load, 1) for load in os.getloadavg()]},
        "versions": {name: version(name) for name in ("tokenizers", "numpy", *packages)} | {"python": platform.python_version()},
    }

    def keep(found: dict[str, Any]) -> None:
        record.update(found)
        record["machine"]["load_after"] = [round(load, 1) for load in os.getloadavg()]
        atomic.write_text(options.records / "prepare-engines.json", json.dumps(record, indent=2) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder), keep)
    print(json.dumps(record, indent=2))
    return 0 if record["arrays_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())

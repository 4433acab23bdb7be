"""A fine-tuned classifier, its artifacts and `transformers`, on this machine, by the method of `electra compare`.

Two comparisons, in one run; every candidate is its own process, and they take turns:

  padded to 128 on both sides   one text at a time, every input filled up to 128 tokens: `transformers`' model as it comes (PyTorch, eager)
                                against ours; the same work for both
  as people call it             each in its own way, one text or many: the model always padded to 128 (as the demo that this project set out
                                from does it), `transformers`' own pipeline without and with batching, and ours at real lengths

The reference is `transformers`' model padded to 128, so that agreement and logits are judged by somebody else's code. Beside them optimum's export of
the model in ONNX Runtime, where `--exported` names it. Peers run under `--peers`, an interpreter of their own.

  python bench/deployment.py runs/sst2/best sst2-onnx sst2-int8 --task sst2 --data glue/SST-2 --peers .venv-bench/peers/bin/python
  python bench/deployment.py runs/sst2/best --task sst2 --data glue/SST-2 --calls 20 --num-examples 64 --name trial --records /tmp    a trial
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from operator import truediv
from pathlib import Path
from typing import Any

import models
from classifier_peers import LENGTH, open_eager, open_exported, open_pipeline
from section import HERE, Target, Work, at_least, at_most, environment, middle, run, spread, stream, table
from serving import texts_of
from turns import Candidate, Failed

from electra import environment as machine
from electra.benchmark.measure import CandidateSpec, MeasurementPlan, candidate_of, measure_candidates, unique_names
from electra.benchmark.records import Interval, Latency, Row, speedup
from electra.benchmark.results import Comparison, to_markdown
from electra.errors import UserError
from electra.settings import EvaluateSettings
from electra.storage import atomic, resolve

RECORDS = Path(__file__).parent / "records"
EAGER, PIPELINE, EXPORTED = "transformers, padded to 128", "transformers' pipeline", "optimum's ONNX, ONNX Runtime"
BUILT = ("onnx", "onnx-int8", "openvino-int8")
"""Targets that are built for the section of the bench."""
ASKED = {"padded": 2.2, "seed": 8.0, "pipeline": 4.0, "seed texts/s": 15.0, "pipeline texts/s": 3.0}
"""The goals: how many times faster."""
PROFILED, ASKED_OVER_MATMULS, PROFILED_TEXTS, SHOWN = "onnx-int8", 1.3, 200, 5
"""The artifact whose operators are timed, the goal for its latency over its matmuls, texts of the profile, operator types in the table."""


# ---- what comes of it ----


def ratio(slow: Latency | None, fast: Latency | None) -> tuple[float, Interval] | None:
    """Medians, slow over fast, with the interval of a paired bootstrap over turns."""
    if slow is None or fast is None or len(slow.turns_ms) != len(fast.turns_ms):
        return None
    return speedup(slow.turns_ms, fast.turns_ms)


def compared(eager: Row, pipeline: Row, exported: Row | None, row: Row) -> dict[str, dict[str, Any]]:
    """One of ours against both peers: name of the comparison -> times faster, its interval where there is one, the goal."""
    out: dict[str, dict[str, Any]] = {}
    pairs = {"padded": (eager.padded, row.padded), "seed": (eager.latency, row.latency), "pipeline": (pipeline.latency, row.latency)}
    if exported is not None:
        pairs["optimum"] = (exported.latency, row.latency)
    for name, (slow, fast) in pairs.items():
        if (found := ratio(slow, fast)) is not None:
            out[name] = {"times": found[0], "interval": found[1], "asked": ASKED.get(name)}
    batched = [rate.texts_per_second for size, rate in pipeline.throughput.items() if size > 1]
    best = max((rate.texts_per_second for rate in row.throughput.values()), default=None)
    slow_rates = {
        "seed texts/s": eager.throughput[1].texts_per_second if 1 in eager.throughput else None,
        "pipeline texts/s": max(batched, default=None),
    }
    for name, rate in slow_rates.items():
        if rate is not None and best is not None:
            out[name] = {"times": best / rate, "asked": ASKED[name]}
    return out


def summary(rows: Sequence[Row], verdicts: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Both comparisons as markdown tables."""

    def cell(name: str, key: str) -> str:
        found = verdicts[name].get(key)
        if found is None:
            return "-"
        reach = f" ({found['interval'][0]:.2f} .. {found['interval'][1]:.2f})" if "interval" in found else ""
        return f"{found['times']:.2f}x{reach}"

    def p50(found: Latency | None) -> str:
        return "-" if found is None else f"{found.p50_ms:.2f}"

    named = {row.name: row for row in rows}
    others = [named[name] for name in (EAGER, PIPELINE, EXPORTED) if name in named]
    lines = ["## Padded to 128 on both sides", "", f"One text at a time, {LENGTH} tokens computed by each; goal: {ASKED['padded']}x.", ""]
    lines += ["| candidate | p50 ms | faster than transformers |", "|---|---:|---:|"]
    lines += [f"| {row.name} | {p50(row.padded)} | - |" for row in others]
    lines += [f"| {name} | {p50(named[name].padded)} | {cell(name, 'padded')} |" for name in verdicts]
    lines += [
        "",
        "## As people call it",
        "",
        "Each in its own way: ours and the pipeline at real lengths, the model padded to 128 (the seed's way). Goals: ",
    ]
    lines[-1] += (
        f"{ASKED['seed']:g}x and {ASKED['pipeline']:g}x at one text; {ASKED['seed texts/s']:g}x and {ASKED['pipeline texts/s']:g}x in texts/s."
    )
    lines[-1] += " Texts per second: ours and the pipeline's at their best batch size, the seed's one at a time."
    header = ["candidate", "p50 ms", "over the padded model", "over the pipeline", "over optimum's ONNX"]
    header += ["texts/s", "over the padded model", "over the pipeline, batched"]
    lines += ["", "| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for row in others:
        rates = [found.texts_per_second for size, found in row.throughput.items() if row.name != EAGER or size == 1]
        lines.append(f"| {row.name} | {p50(row.latency)} | - | - | - | {max(rates, default=0.0):,.1f} | - | - |")
    for name in verdicts:
        rate = max((found.texts_per_second for found in named[name].throughput.values()), default=0.0)
        cells = (p50(named[name].latency), *(cell(name, key) for key in ("seed", "pipeline", "optimum")), f"{rate:,.1f}", cell(name, "seed texts/s"))
        lines.append("| " + " | ".join((name, *cells, cell(name, "pipeline texts/s"))) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write bench/records/DATE-NAME.json and .md; exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="our fine-tuned checkpoint, with the head of transformers")
    parser.add_argument("artifacts", nargs="*", help="artifacts built from it")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True, help="the task's folder")
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each kind")
    parser.add_argument("--threads", type=int, default=0, help="of every candidate; 0: one per core")
    parser.add_argument("--num-examples", type=int, default=0, help="examples of the score; 0: all")
    parser.add_argument("--name", default="deployment", help="name of the record")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the record")
    parser.add_argument("--peers", default=sys.executable, help="interpreter with transformers (default: this one); '': no peers")
    parser.add_argument("--exported", default="", help="what optimum exported the model to")
    parser.add_argument("--optimum", default="", help="interpreter for that (default: that of the peers)")
    options = parser.parse_args()
    asked = EvaluateSettings(model=options.model, task=options.task, data=(options.data,))
    plan = MeasurementPlan(calls=options.calls, threads=options.threads, num_examples=options.num_examples)
    folder = resolve.resolve(options.model)
    if json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"] != ["ElectraForSequenceClassification"]:
        raise UserError(f"{options.model}: transformers opens no such model for text classification; fine-tune with --head transformers")
    before = machine.describe()
    sources = [options.model, *options.artifacts]
    place, other = str(folder), options.optimum or options.peers
    known = [(EAGER, place, open_eager, options.peers), (PIPELINE, place, open_pipeline, options.peers)] if options.peers else []
    known += [(EXPORTED, options.exported, open_exported, other)] if options.exported else []
    entries = [
        CandidateSpec(name=name, source=source, kind="peer", opener=opener, arguments=(source,), python="" if python == sys.executable else python)
        for name, source, opener, python in known
    ]
    entries += [candidate_of(source, name, asked) for source, name in zip(sources, unique_names(sources), strict=True)]
    rows = measure_candidates(entries, asked, plan, lambda line: print(line, file=sys.stderr, flush=True))
    named = {row.name: row for row in rows}
    ours = rows[len(known) :] if options.peers else []
    verdicts = {row.name: compared(named[EAGER], named[PIPELINE], named.get(EXPORTED), row) for row in ours}
    count = next((row.num_examples for row in rows if row.num_examples), 0)
    found = Comparison(
        task=options.task,
        split="dev",
        num_examples=count,
        calls=options.calls,
        threads=len(machine.choose_cores(options.threads)),
        machine=before,
        rows=rows,
        command=shlex.join(["python", "bench/deployment.py", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])]),
        date=time.strftime("%Y-%m-%d"),
    )
    record = found.to_dict() | {"comparisons": verdicts}
    for row in record["rows"]:
        row["source"] = Path(row["source"]).name
    text = to_markdown(found)
    if verdicts:
        text = text.replace("## Answers", summary(rows, verdicts) + "\n## Answers", 1)
    record["markdown"] = text
    atomic.write_text(options.records / f"{found.date}-{options.name}.json", json.dumps(record, indent=1) + "\n")
    atomic.write_text(options.records / f"{found.date}-{options.name}.md", text)
    print(text)
    return 1 if any(row.error for row in rows) else 0


# ---- the section of bench/run.py ----


def export(work: Work) -> tuple[str, str]:
    """The classifier as optimum exports it -> (its folder, '') or ('', why there is none)."""
    if why := work.problem("optimum"):
        return "", why
    words = [work.interpreters["optimum"], "-m", "optimum.commands.optimum_cli", "export", "onnx", "--model", str(models.classifier(work))]
    folder = work.folder / "optimum"
    try:
        run([*words, "--task", "text-classification", str(folder)], threads=work.threads, peer=True)
    except (OSError, RuntimeError) as error:
        return "", str(error)
    return str(folder), ""


def over_matmuls(work: Work, artifact: Path, texts: list[str]) -> dict[str, Any]:
    """An ONNX artifact -> its latency at one text over the time of its matmuls, in a process of its own; every text's times.

    Raises:
        Failed: it cannot be profiled.
    """
    with Candidate(sys.executable, "embedding_step.py", environment=environment(work.threads)) as process:
        found: dict[str, Any] = process.ask("operators", source=str(artifact), threads=work.threads, texts=texts)
    found |= {name.removesuffix("_ms"): middle(found[name]) for name in ("latency_ms", "matmul_ms")}
    return found | {"ratio": middle(map(truediv, found["latency_ms"], found["matmul_ms"]))}


def measure(work: Work) -> dict[str, Any]:
    """A classifier, what is built from it, and the peers, by this script; then the operators of one artifact."""
    data, model = models.sst2(work), models.classifier(work)
    targets = BUILT[:2] if work.quick else BUILT
    artifacts = []
    failed: dict[str, str] = {}
    for index, target in enumerate(targets):
        work.progress(0.05 * index, f"building {target}")
        try:
            artifacts.append(str(models.artifact(work, target)))
        except RuntimeError as error:
            failed[target] = str(error)
    exported, why = export(work)
    if why:
        failed[EXPORTED] = why
    if not work.peers:
        failed[EAGER] = failed[PIPELINE] = work.peers_problem
    words = [str(HERE / "deployment.py"), str(model), *artifacts, "--task", "sst2", "--data", str(data), "--threads", str(work.threads)]
    words += [
        "--peers",
        work.peers,
        "--exported",
        exported,
        "--optimum",
        work.interpreters.get("optimum", ""),
        "--records",
        str(work.folder),
        "--name",
        "section",
    ]
    words += ["--calls", "10", "--num-examples", "10"] if work.quick else []
    seen, total = 0, 2 * (len(artifacts) + 1 + 3) + 7

    def take(line: str) -> None:
        nonlocal seen
        seen += 1
        work.progress(min(0.99, 0.15 + 0.85 * seen / total), line)

    try:
        stream(words, threads=work.threads, take=take)
    except RuntimeError:
        # One implementation that fails is a row that says so.
        if not any(work.folder.glob("*-section.json")):
            raise
    path = max(work.folder.glob("*-section.json"))
    result: dict[str, Any] = {"comparison": json.loads(path.read_text(encoding="utf-8")), "failed": failed}
    if PROFILED not in failed:
        texts = [text for text in texts_of(data / "dev.tsv") if text.strip()][: 10 if work.quick else PROFILED_TEXTS]
        try:
            result["over_matmuls"] = over_matmuls(work, models.artifact(work, PROFILED), texts)
        except Failed as error:
            failed[f"{PROFILED}, profile"] = str(error)
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """The section's tables: those of the script, one level lower."""
    found = [f"#{line}" if line.startswith("#") else line for line in result["comparison"]["markdown"].splitlines()[2:]]
    if profile := result.get("over_matmuls"):
        found += ["", f"### {PROFILED}: latency over its matmuls", ""]
        found += [f"{len(profile['latency_ms'])} texts, one at a time, in a process of its own: latency {spread(profile['latency'], '{:.2f}')} ms,"]
        found[-1] += f" matmuls {spread(profile['matmul'], '{:.2f}')} ms by ONNX Runtime's profiler, ratio {spread(profile['ratio'])}. An"
        found[-1] += " attention operator, softmax included, counts as matmuls. The most expensive operators:"
        whole = sum(profile["operators"].values())
        shown = [(name, f"{ms:.2f}", f"{ms / whole:.0%}") for name, ms in list(profile["operators"].items())[:SHOWN]]
        found += ["", *table(("operator", "ms in a text", "share"), shown)]
    return [*found, "", *(f"- {name}: not run: {why}." for name, why in result["failed"].items())]


def targets(result: dict[str, Any]) -> list[Target]:
    """The best of what was built."""
    what = {"padded": "padded to 128 on both sides, p50: speed over transformers", "seed": "p50: speed over the model padded to 128"}
    what |= {
        "pipeline": "p50: speed over the pipeline",
        "seed texts/s": "texts/s: over the model padded to 128",
        "pipeline texts/s": "texts/s: over the pipeline",
    }
    out = []
    for key, asked in ASKED.items():
        found = {name: verdict[key]["times"] for name, verdict in result["comparison"]["comparisons"].items() if key in verdict}
        best = max(found, key=lambda name: found[name], default=None)
        out.append(at_least(f"inference, {best or 'ours'}, {what[key]}", found[best] if best else None, asked))
    over = result["over_matmuls"]["ratio"]["median"] if "over_matmuls" in result else None
    return [*out, at_most(f"inference, {PROFILED}, p50: over the sum of its matmuls", over, ASKED_OVER_MATMULS, "x")]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"deployment.py: {error}")

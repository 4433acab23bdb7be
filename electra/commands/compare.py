"""electra compare: one model in several implementations -> how right and how fast each is, side by side.

every source: a process of its own -> answers, latency, throughput, memory   (electra.benchmark.measure)
rows -> terminal; with --output table.md, results.json, compare.png
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time

from electra import config, environment
from electra.benchmark.measure import Plan, measure
from electra.benchmark.results import Comparison, Row, to_markdown, to_terminal
from electra.bundled import is_shipped
from electra.errors import UserError, require
from electra.inference.artifact import is_artefact, write_measurements
from electra.settings import CompareSettings, EvaluateSettings
from electra.storage import atomic

FEWEST_CALLS = 10


def run(settings: CompareSettings) -> int:
    """Measure and show; exit code 1 where an implementation failed."""
    if not settings.models:
        raise UserError("nothing to compare: give a model, and artefacts of it")
    if settings.calls < FEWEST_CALLS:
        raise UserError(f"--calls {settings.calls} tells nothing; give at least {FEWEST_CALLS}, better 200")
    if settings.num_examples < 0:
        raise UserError(f"--num-examples {settings.num_examples}: expected 0 (all) or more")
    require("scipy", "train")  # for the intervals: before minutes of measuring
    threads = len(environment.choose_cores(settings.threads))
    if settings.output is not None:
        require("matplotlib", "train")
        atomic.fresh_output(settings.output, remedy="choose another --output")
    plan = Plan(calls=settings.calls, threads=threads, num_examples=settings.num_examples, seed=settings.seed, device=settings.device)
    before = environment.describe()
    rows = measure(settings.models, asked_of(settings), plan, say)
    found = compared(rows, settings, threads, before)
    if settings.output is not None:
        write(found, settings)
    if settings.keep:
        keep(found, settings)
    show(found, settings)
    return 1 if any(row.error for row in rows) else 0


def asked_of(settings: CompareSettings) -> EvaluateSettings:
    """The same, as `electra evaluate` is asked."""
    names = {field.name for field in dataclasses.fields(EvaluateSettings)} - {"model", "data"}
    said = {name: value for name, value in config.given(settings).items() if name in names}
    values = {name: getattr(settings, name) for name in said}
    values |= {"task": settings.task, "split": settings.split}
    return EvaluateSettings(model=settings.models[0], data=(settings.data,), **values)


def compared(rows: list[Row], settings: CompareSettings, threads: int, before: dict[str, object]) -> Comparison:
    """Rows and how they were measured."""
    calls = next((row.latency.num_calls for row in rows if row.latency is not None), settings.calls)
    counts = [row.num_examples for row in rows if row.num_examples]
    return Comparison(
        task=settings.task,
        split=settings.split,
        num_examples=counts[0] if counts else 0,
        calls=calls,
        threads=threads,
        machine=before,
        rows=rows,
        command=shlex.join(["electra", *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
    )


def write(found: Comparison, settings: CompareSettings) -> None:
    """table.md, results.json and compare.png, all or none."""
    from electra.benchmark import results

    assert settings.output is not None
    with atomic.atomic_folder(settings.output) as folder:
        results.draw(found, folder / "compare.png")
        (folder / "results.json").write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "table.md").write_text(to_markdown(found), encoding="utf-8")
    say(f"{settings.output}: table.md, results.json, compare.png")


def keep(found: Comparison, settings: CompareSettings) -> None:
    """All rows into every artefact that was measured and is the user's own."""
    # Where things lay on this machine is nobody's business on another.
    rows = [row.to_dict() | {"source": row.name} for row in found.rows]
    for source, row in zip(settings.models, found.rows, strict=True):
        if row.error is None and is_artefact(source) and not is_shipped(source):
            write_measurements(source, rows)
            say(f"{source}: measurements kept")


def show(found: Comparison, settings: CompareSettings) -> None:
    """The tables, or JSON."""
    if settings.json:
        print(json.dumps(found.to_dict()))
        return
    from rich.console import Console

    # Not cut where there is no terminal to say how wide it is.
    Console(width=None if sys.stdout.isatty() else 220, highlight=False).print(to_terminal(found))


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)

"""--target auto: build every target this machine can run, measure each as 'electra compare' does, keep the fastest within a score drop.

checkpoint -> an artifact per target -> a row each, the checkpoint's the first -> the chosen one at `output`, with the whole table in it
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra.benchmark.measure import MeasurementPlan, candidate_of, measure_candidates
from electra.benchmark.records import Row
from electra.errors import UserError
from electra.exporting.targets import TARGETS, build_artifact
from electra.inference.artifact import read_manifest, write_artifact
from electra.settings import EvaluateSettings
from electra.tasks import hub_datasets
from electra.tasks.evaluate import data_place, named_task, read_labelled

# ---- selection ----


ROUNDING = 1e-9
"""Scores are ratios: a drop of exactly the limit must not depend on the last bit."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen row of a table."""

    chosen: str
    """Its name."""
    reason: str
    """Why, in one line."""
    dropped: Mapping[str, str]
    """Name -> why not, in one line, including those that could not be built."""


def select(rows: Sequence[Row], max_drop: float, unavailable: Mapping[str, str]) -> Selection:
    """The row with the lowest median latency at batch size 1, among those within the drop.

    Args:
        rows: the first is the reference, which is not chosen.
        max_drop: largest drop of the main metric, in points (hundredths).
        unavailable: name -> why it could not be built.

    Raises:
        UserError: none is within the drop, or none could be measured; the message gives each one's reason.
    """
    reference, *candidates = rows
    if reference.error:
        raise UserError(f"{reference.name} cannot be measured: {reference.error}")
    dropped = dict(unavailable)
    kept: list[tuple[float, Row]] = []
    for row in candidates:
        if row.error or row.latency is None or row.drop is None:
            dropped[row.name] = f"could not be measured: {row.error or 'no latency or score'}"
        elif 100 * row.drop > max_drop + ROUNDING:
            dropped[row.name] = f"loses {_points(row)} of {row.metric}, {max_drop:g} allowed"
        else:
            kept.append((row.latency.p50_ms, row))
    if not kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in dropped.items())
        raise UserError(f"no target is within --max-drop {max_drop:g}: {reasons or 'none could be built'}")
    fastest, best = min(kept, key=lambda pair: pair[0])
    for p50_ms, row in kept:
        if row is not best:
            noise = ", which is within noise" if _overlap(row, best) else ""
            dropped[row.name] = f"slower: {p50_ms:.2f} ms against {fastest:.2f} ms of {best.name}{noise}"
    return Selection(chosen=best.name, reason=f"{fastest:.2f} ms a text (median, batch 1), {_points(best)} lost", dropped=dropped)


def _points(row: Row) -> str:
    """The drop with its interval, in points: '0.34 points (-0.11 to 0.92)'; a gain is negative."""
    assert row.drop is not None
    interval = f" ({100 * row.drop_interval[0]:.2f} to {100 * row.drop_interval[1]:.2f})" if row.drop_interval else ""
    return f"{100 * row.drop + 0.0:.2f} points{interval}"


def _overlap(row: Row, other: Row) -> bool:
    """Whether the intervals of two speed-ups overlap."""
    one, two = (r.latency.speedup_interval if r.latency else None for r in (row, other))
    return one is not None and two is not None and one[0] <= two[1] and two[0] <= one[1]


REFERENCE = "checkpoint"
"""Name of the reference's row."""
NO_TEXTS = "it needs calibration texts, and --data has no train split; give --calibrate FILE"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """Result of `build_fastest`."""

    manifest: Mapping[str, Any]
    """Of the chosen artifact."""
    rows: list[Row]
    """The checkpoint's, then one of each target that was built."""
    selection: Selection


def build_fastest(
    settings: EvaluateSettings,
    output: Path,
    *,
    max_drop: float,
    plan: MeasurementPlan,
    texts: Sequence[str],
    skip: Sequence[str] = (),
    say: Say = lambda line: None,
) -> Fastest:
    """The artifact of a checkpoint with the lowest latency on this machine, among those that lose at most `max_drop`.

    Args:
        settings: checkpoint, task, labelled data and split.
        output: the artifact: a folder, or a .zip.
        max_drop: largest drop of the task's main metric, in points.
        plan: how much is measured.
        texts: for calibration; empty: targets that need them are skipped.
        skip: targets to skip.
        say: takes lines of progress.

    Raises:
        UserError: no such checkpoint, task or data; or no target is within the drop.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
        work = Path(name)
        unavailable = build_all(settings, work, texts=texts, skip=skip, say=say)
        built = [target for target in TARGETS if target not in unavailable]
        candidates = [candidate_of(settings.model, REFERENCE, settings), *(candidate_of(str(work / target), target, settings) for target in built)]
        rows = measure_candidates(candidates, settings, plan, say)
        selection = select(rows, max_drop, unavailable)
        table = [row.to_dict() | {"source": row.name} for row in rows]
        manifest = _keep(work / selection.chosen, output, selection, table, max_drop)
    return Fastest(manifest=manifest, rows=rows, selection=selection)


def build_all(
    settings: EvaluateSettings, folder: Path, *, texts: Sequence[str], skip: Sequence[str] = (), say: Say = lambda line: None
) -> dict[str, str]:
    """Build every target that this machine can build, each in a folder of its name -> name and reason of the others."""
    unavailable = {}
    for name, target in TARGETS.items():
        try:
            if name in skip:
                raise UserError("skipped by --skip")
            target.require()
            if target.calibrated and not texts:
                raise UserError(NO_TEXTS)
            say(f"target {name}")
            build_artifact(settings.model, name, folder / name, texts=texts, max_length=settings.max_length, truncate=settings.truncate, say=say)
        except UserError as error:
            unavailable[name] = str(error)
            say(f"skipped target {name}: {error}")
    return unavailable


def training_texts(settings: EvaluateSettings, say: Say = lambda line: None) -> list[str]:
    """Texts of the data's train split, 'a<TAB>b' for pairs; none where there is no such split.

    Never those of the measured split: calibration on them would inflate the score.

    Raises:
        UserError: no such task.
    """
    task = named_task(settings)
    place = data_place(task, settings.data[0])
    if (
        not (place.is_dir() or hub_datasets.is_hub_name(task.name, place))
        or task.name == "own"
        or "train" not in task.splits
        or settings.split == "train"
    ):
        return []
    try:
        examples = read_labelled(task, place, "train")
    except UserError as error:
        say(f"no training texts for calibration: {error}")
        return []
    return [f"{example.text}\t{example.text_pair}" if example.text_pair else example.text for example in examples]


def _keep(chosen: Path, output: Path, selection: Selection, table: list[dict[str, Any]], max_drop: float) -> Mapping[str, Any]:
    """Copy a built artifact to `output`, with the table and the reasons in its manifest."""
    found = read_manifest(chosen)

    def make(folder: Path) -> Mapping[str, Any]:
        for name in found["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(chosen / name, folder / name)
        record = {"max_drop": max_drop, "chosen": selection.chosen, "reason": selection.reason, "dropped": dict(selection.dropped)}
        command = found["build"]["command"].replace(f"--target {found['target']} --output {chosen.name}", f"--target auto --output {output.name}")
        kept = {key: value for key, value in found.items() if key not in ("format", "version", "files")}
        return {**kept, "build": {**found["build"], "command": command, "selection": record}, "measured": table}

    return write_artifact(output, make)

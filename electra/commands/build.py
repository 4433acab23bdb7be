"""electra build: CHECKPOINT -> ARTEFACT, for a target.

CHECKPOINT   a folder, run or hub name; any head; a generator/ beside a discriminator is built with it
ARTEFACT     model, tokenizer, labels, limits and hashes: one folder, or one .zip
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from electra import config
from electra.errors import UserError, did_you_mean, require
from electra.inference import text_io
from electra.inference.artifact import REMOVED_TARGETS, is_artefact
from electra.settings import BuildSettings, ColumnSettings, EvaluateSettings
from electra.storage import atomic

if TYPE_CHECKING:
    from electra.benchmark.auto_target import Fastest

AUTO = "auto"
FEWEST_CALLS = 10


def run(settings: BuildSettings) -> None:
    """Check what was asked for, build, say what came of it."""
    from electra.exporting.targets import target

    if settings.target == AUTO:
        run_auto(settings)
        return
    refuse_for_one_target(settings)
    chosen = target(settings.target)
    atomic.fresh_output(settings.output, remedy="choose another name, or remove it first")
    if is_artefact(settings.model):
        raise UserError(f"{settings.model} is an artefact already; give the checkpoint it was built from")
    require("torch", "train")
    chosen.require()
    given = calibration_texts(settings) if chosen.calibrated else []
    if settings.calibrate is not None and not chosen.calibrated:
        raise UserError(f"--calibrate is for 8-bit targets with fixed scales, target {settings.target} needs no texts; leave it out")
    from electra.exporting.targets import build_artefact

    manifest = build_artefact(settings.model, settings.target, settings.output, texts=given, say=say)
    if settings.json:
        print(json.dumps(manifest, ensure_ascii=False))
        return
    size = sum(entry["size_bytes"] for entry in manifest["files"].values())
    print(f"{settings.output}: {manifest['role']} for {manifest['target']}, {size / 1e6:,.1f} MB, built in {manifest['build']['seconds']:.0f} s")


def run_auto(settings: BuildSettings) -> None:
    """Build every target, measure, keep the fastest; say what became of each."""
    from electra import environment
    from electra.exporting.targets import TARGETS

    if settings.task is None or settings.data is None:
        raise UserError("--target auto measures what it builds: give --task TASK and --data DIR, with labels")
    if not 0 <= settings.max_drop <= 100:
        raise UserError(f"--max-drop {settings.max_drop:g}: expected points between 0 and 100, such as 0.5")
    if settings.calls < FEWEST_CALLS:
        raise UserError(f"--calls {settings.calls} tells nothing; give at least {FEWEST_CALLS}, better 200")
    for name in settings.skip:
        if name not in TARGETS and name not in REMOVED_TARGETS:
            raise UserError(f"--skip {name}: unknown target; {did_you_mean(name, TARGETS)}")
    atomic.fresh_output(settings.output, remedy="choose another name, or remove it first")
    if is_artefact(settings.model):
        raise UserError(f"{settings.model} is an artefact already; give the checkpoint it was built from")
    require("torch", "train")
    from electra.benchmark.auto_target import build_fastest, training_texts
    from electra.benchmark.measure import Plan
    from electra.exporting.targets import spread
    from electra.model.huggingface import load_checkpoint
    from electra.tasks.evaluate import data_place, named_task, read_labelled

    columns = {name: value for name, value in config.given(settings).items() if name in ColumnSettings.__dataclass_fields__}
    asked = EvaluateSettings(model=settings.model, task=settings.task, data=(settings.data,), split=settings.split, **columns)
    # All of this is looked at before minutes of building.
    load_checkpoint(settings.model, "task")
    task = named_task(asked)
    place = data_place(task, settings.data)
    if task.name != "own":
        read_labelled(task, place, settings.split)
    texts_found = training_texts(asked, say) if settings.calibrate is None else calibration_texts(settings)
    plan = Plan(calls=settings.calls, threads=len(environment.choose_cores(settings.threads)))
    found = build_fastest(
        asked,
        settings.output,
        max_drop=settings.max_drop,
        plan=plan,
        texts=spread(texts_found, settings.num_texts) if texts_found else (),
        skip=settings.skip,
        say=say,
    )
    show_choice(found, settings)


def show_choice(found: Fastest, settings: BuildSettings) -> None:
    """The chosen target, the others' reasons; or the manifest."""
    if settings.json:
        print(json.dumps(found.manifest, ensure_ascii=False))
        return
    for name, reason in found.selection.dropped.items():
        print(f"  {name:<18}{reason}")
    print(f"{settings.output}: {found.selection.chosen}, {found.selection.reason}; the whole table is in its artefact.json")


def refuse_for_one_target(settings: BuildSettings) -> None:
    """Nothing, when no flag was given that only --target auto reads.

    Raises:
        UserError: the first such flag.
    """
    for name in ("task", "data", "max_drop", "split", "calls", "threads", "skip"):
        if name in config.given(settings):
            raise UserError(f"--{name.replace('_', '-')} is for --target auto, target {settings.target} is not measured; leave it out")


def calibration_texts(settings: BuildSettings) -> list[str]:
    """The texts of --calibrate that are used.

    Raises:
        UserError: no file was given, or it cannot be read.
    """
    from electra.exporting.targets import spread

    if settings.calibrate is None:
        raise UserError(f"target {settings.target} finds its scales on texts: give --calibrate FILE with texts like those the model will read")
    found = text_io.read_texts(settings.calibrate, text_field=settings.text_field, pair_field=settings.pair_field)
    return spread([text.text if text.pair is None else f"{text.text}\t{text.pair}" for text in found], settings.num_texts)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)

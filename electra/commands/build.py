"""electra build: CHECKPOINT -> ARTEFACT, for a target.

CHECKPOINT   a folder, run or hub name; any head; a generator/ beside a discriminator is built with it
ARTEFACT     model, tokenizer, labels, limits and hashes: one folder, or one .zip
"""

from __future__ import annotations

import json
import sys

from electra import disk
from electra.deploy import texts
from electra.deploy.artefact import is_artefact
from electra.errors import UserError, require
from electra.settings import BuildSettings


def run(settings: BuildSettings) -> None:
    """Check what was asked for, build, say what came of it."""
    from electra.build.targets import target

    chosen = target(settings.target)
    disk.fresh_output(settings.output, remedy="choose another name, or remove it first")
    if is_artefact(settings.model):
        raise UserError(f"{settings.model} is an artefact already; give the checkpoint it was built from")
    require("torch", "train")
    chosen.require()
    given = calibration_texts(settings) if chosen.calibrated else []
    if settings.calibrate is not None and not chosen.calibrated:
        raise UserError(f"--calibrate is for onnx-int8-static, target {settings.target} needs no texts; leave it out")
    from electra.build.assembly import build_artefact

    manifest = build_artefact(settings.model, settings.target, settings.output, texts=given, say=say)
    if settings.json:
        print(json.dumps(manifest, ensure_ascii=False))
        return
    size = sum(entry["size_bytes"] for entry in manifest["files"].values())
    print(f"{settings.output}: {manifest['role']} for {manifest['target']}, {size / 1e6:,.1f} MB, built in {manifest['build']['seconds']:.0f} s")


def calibration_texts(settings: BuildSettings) -> list[str]:
    """The texts of --calibrate that are used.

    Raises:
        UserError: no file was given, or it cannot be read.
    """
    from electra.build.assembly import spread

    if settings.calibrate is None:
        raise UserError(f"target {settings.target} finds its scales on texts: give --calibrate FILE with texts like those the model will read")
    found = texts.read_texts(settings.calibrate, text_field=settings.text_field, pair_field=settings.pair_field)
    return spread([text.text if text.pair is None else f"{text.text}\t{text.pair}" for text in found], settings.num_texts)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)

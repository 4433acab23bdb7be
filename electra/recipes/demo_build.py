"""The demo's last step: the classifier as an artefact that needs no PyTorch, measured beside the checkpoint."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from electra.errors import UserError

if TYPE_CHECKING:
    from electra.recipes.demo import Workspace

TARGET = "onnx-int8"
CALLS = 40
"""Timed calls of each: enough for a median, over in seconds."""


def build(place: Workspace) -> dict[str, Any]:
    """The classifier as a file that needs no PyTorch: how large, how fast, how right"""
    from electra.build.targets import target

    try:
        target(TARGET).require()
    except UserError as missing:
        # All that went before is worth its report without this.
        print(f"left out: {missing}", file=sys.stderr)
        return {"left_out": str(missing)}
    best, artefact = place.folder / place.found["sentiment"].get("answers", "sentiment") / "best", place.folder / f"sentiment-{TARGET}"
    shutil.rmtree(artefact, ignore_errors=True)
    place.electra("build", best, "--target", TARGET, "--output", artefact)
    data = place.found["sentiment"]["data"]
    printed = place.electra("compare", best, artefact, "--task", "sst2", "--data", data, "--calls", CALLS, "--json", quiet=True)
    rows = [
        {
            "name": name,
            "size_bytes": row["size_bytes"],
            "p50_ms": row["latency"]["p50_ms"],
            "speedup": [row["latency"]["speedup"], *(row["latency"]["speedup_interval"] or ())],
            "accuracy": row["score"],
            "agreement": row["agreement"],
            "load_seconds": row["load_seconds"],
        }
        for name, row in zip(("checkpoint, PyTorch", "built, ONNX Runtime int8"), json.loads(printed)["rows"], strict=True)
    ]
    for row in rows:
        print(f"  {row['name']:<26}{row['size_bytes'] / 1e6:6.1f} MB  {row['p50_ms']:6.2f} ms a text  {row['accuracy']:.1%} right")
    return {"rows": rows}

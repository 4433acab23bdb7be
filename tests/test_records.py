"""What the documents say of a record is what the record says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "bench" / "records"
DEPLOY = " ".join((ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").split())


def said(pattern: str) -> tuple[str, ...]:
    """The numbers of a sentence of docs/deploy.md."""
    found = re.search(pattern, DEPLOY)
    assert found, f"docs/deploy.md does not say: {pattern}"
    return found.groups()


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    found = json.loads((RECORDS / "2026-11-22-targets.json").read_text(encoding="utf-8"))
    return {"load": found["machine"]["load_before"][0], **{row["kind"]: row for row in found["rows"]}}


def test_every_target_was_measured_on_the_same_examples(rows: dict[str, Any]) -> None:
    from electra.exporting.targets import TARGETS

    assert set(rows) == {"load", "checkpoint", *TARGETS}
    assert all(
        row["error"] is None and row["num_examples"] == 872 and row["latency"]["num_calls"] >= 200 for row in rows.values() if isinstance(row, dict)
    )
    table = (RECORDS / "2026-11-22-targets.md").read_text(encoding="utf-8")
    for row in (row for row in rows.values() if isinstance(row, dict)):
        latency = row["latency"]
        times = " / ".join(f"{latency[key]:.1f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
        assert re.search(rf"^\| {row['name']} \| {times} \|", table, re.M), row["name"]
        assert re.search(rf"^\| {row['name']} \| {row['kind']} \| {100 * row['score']:.2f} \|", table, re.M), row["name"]


def test_the_words_about_all_targets_follow_the_record(rows: dict[str, Any]) -> None:
    checkpoint, fast, static = rows["checkpoint"], rows["onnx-int8"], rows["onnx-int8-static"]
    p50 = {kind: f"{row['latency']['p50_ms']:.1f}" for kind, row in rows.items() if kind != "load"}
    score = {kind: f"{100 * row['score']:.1f}" for kind, row in rows.items() if kind != "load"}
    assert said(r"\(load ([\d.]+)\)") == (f"{rows['load']:.1f}",)
    assert said(r"checkpoint ([\d.]+), `onnx-int8` ([\d.]+), `onnx-int8-static` ([\d.]+)\.") == (
        score["checkpoint"],
        score["onnx-int8"],
        score["onnx-int8-static"],
    )
    assert all(row["drop_interval"][0] <= 0 <= row["drop_interval"][1] for kind, row in rows.items() if kind not in ("load", "checkpoint"))
    assert said(
        r"takes the checkpoint ([\d.]+) ms at the median and `onnx-int8` ([\d.]+) ms, ([\d.]+) times as fast, in ([\d.]+) instead of ([\d.]+) MB"
    ) == (
        p50["checkpoint"],
        p50["onnx-int8"],
        f"{fast['latency']['speedup']:.1f}",
        f"{fast['size_bytes'] / 1e6:.1f}",
        f"{checkpoint['size_bytes'] / 1e6:.1f}",
    )
    rates = [f"{row['throughput']['32']['texts_per_second']:,.0f}" for row in (static, checkpoint)]
    assert list(said(r"`onnx-int8-static` answers ([\d,]+) texts a second, the checkpoint ([\d,]+)\.")) == rates
    assert said(r"\(`openvino` ([\d.]+) ms, `onnx` ([\d.]+) ms\)") == (p50["openvino"], p50["onnx"])
    assert rows["onnx"]["latency"]["p50_ms"] < rows["openvino"]["latency"]["p50_ms"] < checkpoint["latency"]["p50_ms"], (
        "what the words say of OpenVINO"
    )


def test_the_words_about_the_run_without_torch_follow_the_record() -> None:
    found = json.loads((RECORDS / "2026-11-22-without-torch.json").read_text(encoding="utf-8"))
    there, here = found["environments"]["without_torch"], found["environments"]["with_torch"]
    assert not there["has_torch"] and not [name for name in there["packages"] if name.startswith("torch")]
    assert said(r"(\d+) packages of (\d+) MB, where torch alone has (\d+) MB") == (
        str(there["num_packages"]),
        f"{there['size_bytes'] / 1e6:.0f}",
        f"{here['torch_bytes'] / 1e6:.0f}",
    )
    full, small = found["artefacts"]
    scores = {f"{100 * row['scores']['accuracy']:.1f}" for row in (found["checkpoint"], full, small)}
    assert scores == set(said(r"All score ([\d.]+);"))
    numbers = said(r"of (\d+) answers, `onnx` gives (\d+) as the checkpoint does and `onnx-int8` (\d+)\.")
    assert numbers == tuple(str(n) for n in (full["agreement"]["num_examples"], full["agreement"]["num_same"], small["agreement"]["num_same"]))
    starts = said(r"takes ([\d.]+) s from its start to its only answer there, with the checkpoint ([\d.]+) s here")
    assert starts == tuple(f"{row['start_to_answer_s']['median'] + 1e-9:.1f}" for row in (small, found["checkpoint"]))

"""The losses of 20 steps of every preset, and of settings that no preset has, are those recorded in tests/golden/losses.json.

Through the command line alone. A preset without a record fails with the line that makes one. How the runs look: tests/golden/make.py.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_golden() -> ModuleType:
    """tests/golden/make.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).parent / "golden" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden"] = module
    spec.loader.exec_module(module)
    return module


golden = load_golden()
RECORD = golden.read_record()
TOLERANCE = 1e-4
NORM_TOLERANCE = 1e-3
"""Relative, of gradient norms."""


def check(found: dict[str, dict[str, list[float]]], wanted: dict[str, dict[str, list[float]]]) -> None:
    assert {phase: sorted(losses) for phase, losses in found.items()} == {phase: sorted(losses) for phase, losses in wanted.items()}
    for phase, losses in wanted.items():
        for name, values in losses.items():
            close = pytest.approx(values, rel=NORM_TOLERANCE) if name == "grad_norm" else pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE)
            assert found[phase][name] == close, f"{name} of phase '{phase}'"


@pytest.mark.parametrize("preset", golden.presets("pretrain"))
def test_every_pretraining_preset_has_a_record(preset: str) -> None:
    rows = [row["presets"] for row in RECORD["pretrain"].values() if preset in row["presets"]]
    remedy = f"python tests/golden/make.py pretrain/{preset}"
    assert rows, f"preset {preset} has no golden losses; make them: {remedy}"
    first = rows[0][0]
    assert golden.key(preset) == golden.key(first), f"preset {preset} differs from {first}, whose golden losses it shared; make its own: {remedy}"


@pytest.mark.parametrize("name", sorted({*RECORD["pretrain"], *golden.VARIANTS}))
def test_pretraining(name: str, tmp_path: Path) -> None:
    """A group's record is that of any of its presets: one that was removed is replaced by another."""
    assert name in RECORD["pretrain"], f"no golden losses of {name}; make them: python tests/golden/make.py pretrain/{name}"
    row = RECORD["pretrain"][name]
    there = {*golden.presets("pretrain"), *golden.VARIANTS}
    run = next((preset for preset in (name, *row["presets"]) if preset in there), None)
    assert run, f"the presets {', '.join(row['presets'])} are gone; remove '{name}' from tests/golden/losses.json"
    check(golden.pretraining_losses(run, tmp_path), row["losses"])


@pytest.mark.parametrize("preset", golden.presets("finetune"))
def test_finetuning(preset: str, tmp_path: Path) -> None:
    assert preset in RECORD["finetune"], f"preset {preset} has no golden losses; make them: python tests/golden/make.py finetune/{preset}"
    check(golden.finetuning_losses(preset, tmp_path), RECORD["finetune"][preset]["losses"])

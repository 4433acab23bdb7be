"""Every notebook runs at its small size; what is committed is valid, without outputs, and names only what electra has."""

from __future__ import annotations

import ast
import importlib
import typing
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

import electra
from electra import arguments

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
SETTINGS = {
    "train_vocabulary": arguments.VocabularyArguments,
    "prepare": arguments.PrepareArguments,
    "pretrain": arguments.PretrainArguments,
    "finetune": arguments.FinetuneArguments,
    "build": arguments.BuildArguments,
    "compare": arguments.CompareArguments,
}
"""Function of electra -> its keyword arguments."""
pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> ast.Module:
    """The code cells of a notebook as one program."""
    cells = nbformat.read(path, as_version=4).cells
    return ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))


def test_what_is_committed_is_valid_and_has_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and notebook.metadata.language_info == {"name": "python"}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and all(cell.metadata == {} for cell in notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.id
    assert [cell.id for cell in notebook.cells[:3]] == ["title", "install", "settings"]
    assert "ELECTRA_NOTEBOOK" in notebook.cells[2].source and any("plt.show()" in cell.source for cell in notebook.cells)


def test_every_name_and_setting_of_electra_exists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("experiments", "examples/notebooks"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    called = set()
    for node in ast.walk(code(path)):
        if isinstance(node, ast.Import):
            assert all(importlib.import_module(name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "electra" and node.attr != "__file__":
            assert node.attr in electra.__all__, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SETTINGS:
            known = typing.get_type_hints(SETTINGS[node.func.attr])
            assert {keyword.arg for keyword in node.keywords if keyword.arg} <= set(known), ast.unparse(node)
            called.add(node.func.attr)
    assert "finetune" in called


@pytest.mark.slow
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its small size, in an empty folder, by the kernel of this environment; a cell that fails fails the test."""
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("ELECTRA_NOTEBOOK", "small")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the notebook's own folder
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)

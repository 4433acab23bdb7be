"""A network over grids -> what `torch.export` makes of it, batch and length left open."""

from __future__ import annotations

import warnings

import torch
from torch.export import Dim, ExportedProgram

from electra.build.graph import DenseGraph

LARGEST_BATCH = 1 << 16
"""Rows; a bound that the compiler may believe, above any batch."""


def export_program(graph: DenseGraph) -> ExportedProgram:
    """A graph -> its program: inputs of any batch, any length from `graph.shortest` to `graph.max_length`, any number of asked positions."""
    largest = {"batch": LARGEST_BATCH, "length": graph.max_length, "asked": LARGEST_BATCH * graph.max_length}
    # Below two, torch.export would make a constant of an axis that happens to be one.
    least = {"length": max(2, graph.shortest)}
    axes = {name: Dim(name, min=least.get(name, 1), max=most) for name, most in largest.items()}
    dynamic = graph.dynamic_axes()
    shapes = tuple({axis: axes[called] for axis, called in dynamic[name].items()} for name in graph.inputs)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.export.export(graph, graph.example(num_rows=3), dynamic_shapes=shapes)

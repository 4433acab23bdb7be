"""Networks over grids: exported programs take any batch and length, with equal answers."""

from __future__ import annotations

import pytest
import torch
from tiny_models import checkpoints

from electra.exporting.dense_graph import dense_graph, export_program
from electra.model.huggingface import load_checkpoint


@pytest.mark.parametrize("kind", ["classifier", "discriminator", "masked"])
def test_program_takes_any_batch_and_length(kind: str) -> None:
    graph = dense_graph(load_checkpoint(checkpoints()[kind]), "sdpa")
    module = export_program(graph).module()
    for num_rows, length in ((1, 2), (2, 31), (7, 64)):
        inputs = list(graph.example(2, length))
        inputs[:3] = [torch.cat([grid] * 4)[:num_rows] for grid in inputs[:3]]
        if len(inputs) > 3:
            inputs[3] = torch.arange(num_rows * length)[1::3]
        with torch.inference_mode():
            for mine, wanted in zip(module(*inputs), graph(*inputs), strict=True):
                torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)

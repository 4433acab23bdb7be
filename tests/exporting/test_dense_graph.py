"""Networks over grids: exported programs take any batch and length, with equal answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conformance import case
from hf_forms import features, make, padded
from tiny_models import checkpoints

from electra.data.pretraining_batches import collate
from electra.exporting.dense_graph import dense_graph, export_program
from electra.model.hf_config import ACTIVATIONS
from electra.model.huggingface import load_checkpoint


@pytest.mark.parametrize("name", ["ElectraForPreTraining", "BertForSequenceClassification", "BertForMaskedLM"])
@pytest.mark.parametrize("activation", [case(name, form=f"hidden_act {name}", where="build", outcome="exact") for name in ACTIVATIONS])
def test_graphs_have_the_models_activation(activation: str, name: str, tmp_path: Path) -> None:
    reference = make(name, tmp_path, hidden_act=activation, num_labels=3)
    batch = collate(features())
    inputs = padded(batch)
    grids = [inputs[key] for key in ("input_ids", "attention_mask", "token_type_ids")]
    positions = [torch.arange(16)] if name == "BertForMaskedLM" else []
    with torch.inference_mode():
        wanted = reference(**inputs)[0]
        found = dense_graph(load_checkpoint(tmp_path), "eager")(*grids, *positions)[0].view(wanted.shape)
    real = slice(None) if name == "BertForSequenceClassification" else (batch.rows, batch.positions)
    torch.testing.assert_close(found[real], wanted[real], rtol=1e-5, atol=1e-5)


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

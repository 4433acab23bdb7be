"""A fine-tuned BERT of Hugging Face -> a network that answers as it does, to teach one of ours."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from electra.errors import UserError
from electra.model.bert import as_electra
from electra.model.classifier import Classifier
from electra.model.encoder import Encoder
from electra.model.hf import Checkpoint, encoder_config, read_config, read_weights
from electra.model.hf_keys import from_hf

HEAD = {"dense": "bert.pooler.dense", "output": "classifier"}
"""Our name -> BERT's."""


class PooledHead(nn.Module):
    """(B, D) states of [CLS] -> (B, C) logits: BERT's pooler (dense, tanh) and a projection."""

    def __init__(self, hidden_size: int, num_outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, num_outputs)

    def forward(self, states: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dense(states).tanh())
        return logits


def load_bert_classifier(folder: Path) -> Checkpoint:
    """A folder with a BertForSequenceClassification -> the same network, on the CPU, in evaluation mode.

    Raises:
        UserError: damaged, or a BERT without that head.
    """
    values, tensors = read_config(folder, or_bert=True), read_weights(folder)
    head = {f"{ours}.{kind}": tensors.get(f"{theirs}.{kind}") for ours, theirs in HEAD.items() for kind in ("weight", "bias")}
    if "BertForSequenceClassification" not in (values.get("architectures") or []) or any(tensor is None for tensor in head.values()):
        raise UserError(f"{folder} is a BERT without a classifier (BertForSequenceClassification); give a fine-tuned model")
    values, renamed = as_electra(values, tensors)
    config = encoder_config(values, folder)
    encoder = Encoder(config)
    from_hf(encoder, {name: tensor for name, tensor in renamed.items() if not name.startswith("classifier.")}, folder)
    names = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = tuple(names[key] for key in sorted(names, key=int))
    network = Classifier(encoder, len(labels), multilabel=values.get("problem_type") == "multi_label_classification")
    pooled = PooledHead(config.hidden_size, len(labels))
    pooled.load_state_dict({name: tensor for name, tensor in head.items() if tensor is not None})
    network.add_module("head", pooled)
    return Checkpoint(
        module=network.eval(), config=config, architecture="BertForSequenceClassification", labels=labels, path=folder, hf_config=values
    )

"""The one key table: our parameters <-> the names of Hugging Face's ELECTRA classes.

The only arithmetic is joining q, k, v into one matrix and splitting it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from electra.errors import UserError
from electra.model.classifier import Classifier, SpanFinder, Tagger
from electra.model.encoder import Encoder
from electra.model.generators import Generator, TwoTowerGenerator
from electra.model.objectives import Discriminator
from electra.model.spans import JointSpanFinder

ENCODER_KEYS = {
    "embeddings.word.weight": "embeddings.word_embeddings.weight",
    "embeddings.position.weight": "embeddings.position_embeddings.weight",
    "embeddings.segment.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.norm": "embeddings.LayerNorm",
    "projection": "embeddings_project",
}
LAYER_KEYS = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
QKV = ("attention.self.query", "attention.self.key", "attention.self.value")
MASKED_LM_KEYS = {
    "head.dense": "generator_predictions.dense",
    "head.norm": "generator_predictions.LayerNorm",
    "head.output.bias": "generator_lm_head.bias",
}
HEAD_KEYS = {
    "ElectraForPreTraining": {"head.dense": "discriminator_predictions.dense", "head.output": "discriminator_predictions.dense_prediction"},
    "ElectraForMaskedLM": MASKED_LM_KEYS,
    # Not a class of transformers: Electric's generator, whose right tower is under names of its own.
    "ElectraTwoTowerGenerator": MASKED_LM_KEYS,
    "ElectraForSequenceClassification": {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"},
    # Not a class of transformers: the original's head has no counterpart there.
    "ElectraOriginalClassifier": {"head.output": "classifier.original"},
    "ElectraForTokenClassification": {"head.output": "classifier"},
    "ElectraForQuestionAnswering": {"head.output": "qa_outputs"},
    # Nor is this one: the original's head for questions.
    "ElectraOriginalQuestionAnswering": {
        "head.start": "qa_start",
        "head.end.dense": "qa_end.dense",
        "head.end.output": "qa_end.out_proj",
        "head.answerable.dense": "qa_answerable.dense",
        "head.answerable.output": "qa_answerable.out_proj",
    },
    "ElectraModel": {},
}


def architecture_of(module: nn.Module) -> str:
    """The class of `transformers` that opens a module."""
    if isinstance(module, Classifier):
        return "ElectraOriginalClassifier" if module.head_kind == "original" else "ElectraForSequenceClassification"
    names = {
        Discriminator: "ElectraForPreTraining",
        Generator: "ElectraForMaskedLM",
        TwoTowerGenerator: "ElectraTwoTowerGenerator",
        Tagger: "ElectraForTokenClassification",
        SpanFinder: "ElectraForQuestionAnswering",
        JointSpanFinder: "ElectraOriginalQuestionAnswering",
        Encoder: "ElectraModel",
    }
    return names[type(module)]


TOWERS = {"ElectraModel": {"": ""}, "ElectraTwoTowerGenerator": {"left.": "electra.", "right.": "electra_right."}}
"""Where the encoders of an architecture are: ours -> theirs."""


def parameter_names(architecture: str, num_layers: int, projected: bool) -> list[tuple[str, tuple[str, ...]]]:
    """(our parameter, its one name there or three for q, k, v), for every parameter of an architecture."""
    table: list[tuple[str, tuple[str, ...]]] = []

    def add(mine: str, names: Sequence[str]) -> None:
        ends = [""] if mine.endswith((".weight", ".bias")) else [".weight", ".bias"]
        table.extend((mine + end, tuple(n + end for n in names)) for end in ends)

    for tower, (ours, theirs) in enumerate(TOWERS.get(architecture, {"encoder.": "electra."}).items()):
        for mine, name in ENCODER_KEYS.items():
            # A second tower shares the embeddings of the first.
            if projected if mine == "projection" else tower == 0:
                add(ours + mine, [theirs + name])
        for i in range(num_layers):
            mine, name = f"{ours}layers.{i}.", f"{theirs}encoder.layer.{i}."
            add(mine + "qkv", [name + part for part in QKV])
            for key, value in LAYER_KEYS.items():
                add(mine + key, [name + value])
    for mine, name in HEAD_KEYS[architecture].items():
        add(mine, [name])
    return table


def to_hf(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights under Hugging Face's names."""
    config = encoder_of(module).config
    state = module.state_dict()
    out: dict[str, Tensor] = {}
    for mine, names in parameter_names(architecture_of(module), config.num_hidden_layers, config.embedding_size != config.hidden_size):
        for name, part in zip(names, state[mine].chunk(len(names)), strict=True):
            out[name] = part.detach().contiguous()
    return out


def from_hf(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Fill a module from Hugging Face's names.

    Raises:
        UserError: a weight is missing or has another shape.
    """
    config = encoder_of(module).config
    wanted = dict(module.state_dict())
    state: dict[str, Tensor] = {}
    for mine, names in parameter_names(architecture_of(module), config.num_hidden_layers, config.embedding_size != config.hidden_size):
        missing = [n for n in names if n not in tensors]
        if missing:
            raise UserError(f"{where}: weight '{missing[0]}' is missing; the file is not a complete {architecture_of(module)}")
        value = torch.cat([tensors[n] for n in names]) if len(names) > 1 else tensors[names[0]]
        if value.shape != wanted[mine].shape:
            raise UserError(f"{where}: weight '{names[0]}' has shape {tuple(value.shape)}, config.json says {tuple(wanted[mine].shape)}")
        state[mine] = value.to(wanted[mine].dtype)
    module.load_state_dict(state, strict=False)


def encoder_of(module: nn.Module) -> Encoder:
    """The encoder of a module, whatever stands on it."""
    return module if isinstance(module, Encoder) else module.encoder  # type: ignore[return-value]

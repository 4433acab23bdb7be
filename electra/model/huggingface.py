"""Module <-> Hugging Face directory (config.json, model.safetensors, tokenizer files) that `transformers` opens.

Also: BERT checkpoints as ELECTRA, and checkpoints extended by rows for new word pieces. One table maps our parameters to the names of Hugging
Face's ELECTRA classes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from electra.errors import UserError
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.flops import SHAPE
from electra.model.generators import Generator, TwoTowerGenerator
from electra.model.heads import JointQAModel
from electra.model.initialization import initialize
from electra.model.objectives import Discriminator
from electra.model.task_models import Classifier, QAModel, TokenClassifier
from electra.storage import atomic, resolve

# ---- names of weights ----

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
    # Not a class of transformers: Electric's generator, whose right tower has its own names.
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
    """The name of the `transformers` class of a module, or of ours where there is none."""
    if isinstance(module, Classifier):
        return "ElectraOriginalClassifier" if module.head_kind == "original" else "ElectraForSequenceClassification"
    names = {
        Discriminator: "ElectraForPreTraining",
        Generator: "ElectraForMaskedLM",
        TwoTowerGenerator: "ElectraTwoTowerGenerator",
        TokenClassifier: "ElectraForTokenClassification",
        QAModel: "ElectraForQuestionAnswering",
        JointQAModel: "ElectraOriginalQuestionAnswering",
        Encoder: "ElectraModel",
    }
    return names[type(module)]


TOWERS = {"ElectraModel": {"": ""}, "ElectraTwoTowerGenerator": {"left.": "electra.", "right.": "electra_right."}}
"""Prefixes of an architecture's encoders: ours -> theirs."""


def parameter_names(architecture: str, num_layers: int, projected: bool) -> list[tuple[str, tuple[str, ...]]]:
    """(our parameter, its one name there or three for q, k, v) for every parameter of an architecture."""
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
    """A module's weights, with Hugging Face's names."""
    config = encoder_of(module).config
    state = module.state_dict()
    out: dict[str, Tensor] = {}
    for mine, names in parameter_names(architecture_of(module), config.num_hidden_layers, config.embedding_size != config.hidden_size):
        for name, part in zip(names, state[mine].chunk(len(names)), strict=True):
            out[name] = part.detach().contiguous()
    return out


def from_hf(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load weights with Hugging Face's names into a module.

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
    """The encoder of a module, for any head."""
    return module if isinstance(module, Encoder) else module.encoder  # type: ignore[return-value]


# ---- BERT ----

RENAMED = (
    (r"^bert\.", "electra."),
    (r"^cls\.predictions\.transform\.", "generator_predictions."),
    (r"^cls\.predictions\.(decoder\.)?bias$", "generator_lm_head.bias"),
)
LEFT_OUT = ("pooler.", "electra.pooler.", "cls.seq_relationship.", "cls.predictions.decoder.weight")


def as_electra(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json's values and weights of a BERT -> those of the same network as ELECTRA: a masked LM if it has that head, else an encoder."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if not name.startswith(LEFT_OUT) and not name.endswith("position_ids"):
            renamed[name] = tensor
    has_head = "generator_predictions.dense.weight" in renamed
    if not has_head:
        renamed = {name.removeprefix("electra."): tensor for name, tensor in renamed.items()}
    # Defaults of transformers' BertConfig, which a config.json may omit.
    defaults = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    changes = {"model_type": "electra", "architectures": ["ElectraForMaskedLM" if has_head else "ElectraModel"]}
    found = {**defaults, **values, **changes}
    return found | {"embedding_size": found["hidden_size"]}, renamed


# ---- checkpoints ----

EMBEDDINGS = "electra.embeddings."
TOKENIZER_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
OBJECTIVE = "electra_objective"
"""Our key in config.json: 'electric' if a discriminator's logits are energies."""
CONFIG_KEYS = (*SHAPE, "type_vocab_size", "layer_norm_eps", "initializer_range")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded model and its config.json."""

    module: nn.Module
    """Discriminator, Generator, Classifier, TokenClassifier, QAModel, JointQAModel or Encoder, after `architecture`."""
    config: EncoderConfig
    architecture: str
    """Name of the `transformers` class that opens it."""
    labels: tuple[str, ...]
    """Class names in id order; empty unless it classifies texts or tokens."""
    path: Path
    hf_config: Mapping[str, Any]

    @property
    def encoder(self) -> Encoder:
        """The encoder, for any head."""
        return encoder_of(self.module)


def is_electric(checkpoint: Checkpoint) -> bool:
    """Whether a discriminator's logits are Electric's energies."""
    return isinstance(checkpoint.module, Discriminator) and checkpoint.module.electric


def read_config(folder: Path, *, or_bert: bool = False) -> dict[str, Any]:
    """config.json of a checkpoint folder: of an ELECTRA, or with `or_bert` of a BERT.

    Raises:
        UserError: missing, not JSON, or of another model.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is not a checkpoint: it has no config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != "electra" and not (or_bert and kind == "bert"):
        raise UserError(f"{path} describes a model of type '{kind}', not an ELECTRA (model_type 'electra')")
    if values.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"{path}: activation '{values['hidden_act']}' is not supported; ELECTRA uses 'gelu'")
    return values


def encoder_config(values: Mapping[str, Any], where: Path) -> EncoderConfig:
    """config.json's values -> EncoderConfig.

    Raises:
        UserError: a size is out of range.
    """
    # Defaults of transformers' ElectraConfig, which a config.json may omit.
    defaults = dict(zip(CONFIG_KEYS, (30522, 128, 256, 12, 4, 1024, 512, 2, 1e-12, 0.02), strict=True))
    sizes = {key: values.get(key, defaults[key]) for key in CONFIG_KEYS}
    for key, value in sizes.items():
        limit = 10_000_000 if key == "vocab_size" else 100_000
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= limit:
            raise UserError(f"{where}/config.json: {key} is {value!r}; expected a number between 1 and {limit}")
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise UserError(
            f"{where}/config.json: hidden_size {sizes['hidden_size']} is not a multiple of num_attention_heads {sizes['num_attention_heads']}"
        )
    return EncoderConfig(**sizes, dropout=float(values.get("hidden_dropout_prob", 0.1)))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """model.safetensors, else pytorch_model.bin (tensors only, never pickled code) -> name -> tensor, with current names.

    Raises:
        UserError: neither exists, or the file is damaged.
    """
    path, legacy = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if path.exists():
            tensors = load_file(path)
        elif legacy.exists():
            path = legacy
            tensors = torch.load(legacy, map_location="cpu", weights_only=True)
        else:
            built = ": it is an artifact for inference; give the checkpoint it was built from" if (folder / "artefact.json").exists() else ""
            raise UserError(f"{folder} has no model.safetensors or pytorch_model.bin{built}")
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); it is damaged or incomplete: fetch it again") from None
    except Exception as error:  # torch raises pickle.UnpicklingError for code and for garbage alike
        if type(error).__name__ != "UnpicklingError":
            raise
        raise UserError(f"{path} is damaged, or contains more than plain tensors, which is never loaded") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise UserError(f"{path} contains no table of tensors")
    renamed = {re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", k)): v for k, v in tensors.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in renamed.items()}


def new_module(architecture: str, config: EncoderConfig, num_labels: int = 0, *, electric: bool = False, multilabel: bool = False) -> nn.Module:
    """A module of an architecture, not yet initialized."""
    builders: dict[str, Callable[[Encoder], nn.Module]] = {
        "ElectraForPreTraining": lambda e: Discriminator(e, electric=electric),
        "ElectraForMaskedLM": Generator,
        "ElectraTwoTowerGenerator": lambda e: TwoTowerGenerator(e, Encoder(config, e.embeddings)),
        "ElectraForSequenceClassification": lambda e: Classifier(e, num_labels, "transformers", multilabel=multilabel),
        "ElectraOriginalClassifier": lambda e: Classifier(e, num_labels, "original", multilabel=multilabel),
        "ElectraForTokenClassification": lambda e: TokenClassifier(e, num_labels),
        "ElectraForQuestionAnswering": QAModel,
        "ElectraOriginalQuestionAnswering": JointQAModel,
        "ElectraModel": lambda e: e,
    }
    return builders[architecture](Encoder(config))


ROLES = {
    "discriminator": ("ElectraForPreTraining",),
    "generator": ("ElectraForMaskedLM",),
    "classifier": ("ElectraForSequenceClassification", "ElectraOriginalClassifier"),
    "token-classification": ("ElectraForTokenClassification",),
    "question-answering": ("ElectraForQuestionAnswering", "ElectraOriginalQuestionAnswering"),
}
ROLES["task"] = (*ROLES["classifier"], *ROLES["token-classification"], *ROLES["question-answering"])
_LABELLED = (*ROLES["classifier"], *ROLES["token-classification"])
_FINE_TUNE = "fine-tune it first: electra finetune {task} --model {source} --data DIR --output RUN"


def load_checkpoint(source: str | Path, role: str = "any") -> Checkpoint:
    """A checkpoint folder, run directory or hub name -> the model in it, on the CPU, in evaluation mode, fp32.

    `role`: 'discriminator', 'generator' (also in CKPT/generator), 'classifier', 'token-classification', 'question-answering', 'task' (one of
    these three), 'encoder' (of any model) or 'any'. For the last two a BERT is accepted too, and becomes a masked LM of ELECTRA.

    Raises:
        UserError: not found, damaged, or without such a head; the message names the remedy.
    """
    folder = resolve.resolve(source)
    values = read_config(folder, or_bert=role in ("encoder", "any"))
    tensors = None
    if values["model_type"] == "bert":
        values, tensors = as_electra(values, read_weights(folder))
    architecture = resolve.architecture_in(values)
    if role == "generator" and architecture != "ElectraForMaskedLM" and (folder / "generator" / "config.json").exists():
        return load_checkpoint(folder / "generator", role)
    wanted = ROLES.get(role)
    if wanted is not None and architecture not in wanted:
        remedies = {
            "discriminator": "give a pre-trained discriminator (ElectraForPreTraining)",
            "generator": "give a checkpoint with its generator (CKPT/generator, or an ElectraForMaskedLM)",
            "classifier": _FINE_TUNE.format(task="TASK", source=source),
            "token-classification": _FINE_TUNE.format(task="conll2000", source=source),
            "question-answering": _FINE_TUNE.format(task="squad", source=source),
            "task": _FINE_TUNE.format(task="TASK", source=source),
        }
        raise UserError(f"{source} is an {architecture}: it has no {role} head; {remedies[role]}")
    if architecture not in HEAD_KEYS:
        if role != "encoder":
            raise UserError(f"{folder}: architecture '{architecture}' is not supported; supported: {', '.join(HEAD_KEYS)}")
        architecture = "ElectraModel"
    config = encoder_config(values, folder)
    tensors = read_weights(folder) if tensors is None else tensors
    if values.get("embeddings_in_parent"):
        tensors |= {key: value for key, value in read_weights(folder.parent).items() if key.startswith(EMBEDDINGS)}
    if role == "encoder" or architecture == "ElectraModel":
        architecture = "ElectraModel"
        tensors = {k.removeprefix("electra."): v for k, v in tensors.items()}
    names = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = tuple(names[k] for k in sorted(names, key=int))
    labelled = architecture in _LABELLED
    options = {"electric": values.get(OBJECTIVE) == "electric", "multilabel": values.get("problem_type") == "multi_label_classification"}
    module = new_module(architecture, config, len(labels) if labelled else 0, **options)
    from_hf(module, tensors, folder)
    return Checkpoint(
        module=module.eval(),
        config=config,
        architecture=architecture,
        labels=labels if labelled else (),
        path=folder,
        hf_config=values,
    )


def reinitialize(module: nn.Module, seed: int) -> None:
    """Random weights from `seed`: the same network without pre-training."""
    initialize(module, torch.Generator().manual_seed(seed))


def with_dropout(config: EncoderConfig, dropout: float) -> EncoderConfig:
    """The same shape with another dropout."""
    return replace(config, dropout=dropout)


def config_values(module: nn.Module, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a module's config.json."""
    config = encoder_of(module).config
    values: dict[str, Any] = {
        "architectures": [architecture_of(module)],
        "model_type": "electra",
        **{key: getattr(config, key) for key in CONFIG_KEYS},
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "classifier_dropout": None,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if isinstance(module, Discriminator) and module.electric:
        values[OBJECTIVE] = "electric"
    if isinstance(module, Classifier | TokenClassifier):
        names = list(labels) or [f"LABEL_{i}" for i in range(module.num_outputs)]
        values["id2label"] = {str(i): name for i, name in enumerate(names)}
        values["label2id"] = {name: i for i, name in enumerate(names)}
    if isinstance(module, Classifier):
        if module.multilabel:
            values["problem_type"] = "multi_label_classification"
        elif module.num_outputs == 1:
            values["problem_type"] = "regression"
    return values


def save_checkpoint(
    module: nn.Module,
    folder: Path,
    *,
    tokenizer: Path | None = None,
    labels: Sequence[str] = (),
    card: str | None = None,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    embeddings_in_parent: bool = False,
    max_length: int = 0,
) -> None:
    """Write a module as a Hugging Face directory into an existing (usually still temporary) folder.

    `tokenizer` is a folder whose tokenizer files are copied; `card` becomes README.md; `extra` is added to config.json.
    `max_length`, if given, is written as the tokenizer's `model_max_length`. `embeddings_in_parent` omits a generator's embeddings, which are
    also in the discriminator's folder above it: a smaller file that only this package opens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = config_values(module, labels) | {"dtype": str(dtype).removeprefix("torch.")} | dict(extra or {})
    if embeddings_in_parent:
        values["embeddings_in_parent"] = True
    atomic.write_text(folder / "config.json", json.dumps(values, indent=2) + "\n")
    tensors = {k: v.to(device="cpu", dtype=dtype).clone() for k, v in to_hf(module).items()}
    if embeddings_in_parent:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(EMBEDDINGS)}
    with atomic.atomic_file(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    if tokenizer is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer / name).exists():
                shutil.copyfile(tokenizer / name, folder / name)
        if max_length and (config_file := folder / "tokenizer_config.json").exists():
            settings = json.loads(config_file.read_text(encoding="utf-8")) | {"model_max_length": max_length}
            atomic.write_text(config_file, json.dumps(settings, indent=2) + "\n")
    if card is not None:
        atomic.write_text(folder / "README.md", card)


# ---- extension by new word pieces ----

ROWS = ("embeddings.word.weight", "head.output.weight", "head.output.bias")
"""Suffixes of the parameters with a row per word piece."""


def extend_network(checkpoint: Checkpoint, num_kept: int, parts: Sequence[Sequence[int]], log_ratios: np.ndarray) -> nn.Module:
    """A pre-trained checkpoint, the old vocabulary's size, the old ids (per new word) and (N,) log ratios -> a network with N more rows.

    A new embedding is the mean of its parts' embeddings. A generator's output bias, which follows frequency, is the mean of theirs plus the
    log ratio of frequencies (`data.vocabulary.Extension.log_ratios`). The rows of old pieces are unchanged, to the bit.

    Raises:
        UserError: the vocabulary is larger than the network's.
    """
    size = checkpoint.config.vocab_size
    if num_kept > size:
        raise UserError(f"{checkpoint.path}: the vocabulary has {num_kept} pieces, but the network has {size} rows; they do not belong together")
    extended = new_module(checkpoint.architecture, replace(checkpoint.config, vocab_size=num_kept + len(parts)), electric=is_electric(checkpoint))
    state = {}
    for name, value in checkpoint.module.state_dict().items():
        if name.endswith(ROWS) and len(value) == size:
            new = torch.stack([value[list(ids)].mean(0) for ids in parts])
            shift = torch.from_numpy(log_ratios) if name.endswith("bias") else 0.0
            value = torch.cat([value[:num_kept], new + shift])
        state[name] = value
    extended.load_state_dict(state)
    return extended.eval()

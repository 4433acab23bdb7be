"""Module <-> Hugging Face directory (config.json, weights, tokenizer files) that `transformers` opens: of an ELECTRA or a BERT.

One table maps our parameters to the names of Hugging Face's classes; `electra.model.hf_config` reads config.json and finds the files of weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from electra.errors import UserError, parse_json
from electra.model.encoder import Encoder, EncoderConfig
from electra.model.flops import SHAPE
from electra.model.generators import Generator, TwoTowerGenerator
from electra.model.heads import JointQAModel
from electra.model.hf_config import read_config, read_weights, require_role
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
BERT_MASKED_LM_KEYS = {
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head.output.bias": "cls.predictions.bias",
}
OUTPUT_MATRIX = {"Electra": "generator_lm_head.weight", "Bert": "cls.predictions.decoder.weight"}
"""A masked LM's own output matrix, where it is not the word embeddings."""
DECODER_BIAS = "cls.predictions.decoder.bias"
"""The bias that a BERT adds; 'cls.predictions.bias' is the same tensor where output and embeddings are tied."""
POOLER = ("pooler.dense.weight", "pooler.dense.bias")
NEXT_SENTENCE = ("cls.seq_relationship.weight", "cls.seq_relationship.bias")
HEAD_KEYS = {
    "ElectraForPreTraining": {"head.dense": "discriminator_predictions.dense", "head.output": "discriminator_predictions.dense_prediction"},
    "ElectraForMaskedLM": MASKED_LM_KEYS,
    # Not a class of transformers: Electric's generator, whose right tower has its own names.
    "ElectraTwoTowerGenerator": MASKED_LM_KEYS,
    "ElectraForSequenceClassification": {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"},
    # Not classes of transformers: the original's head and that on the mean have no counterpart there.
    "ElectraOriginalClassifier": {"head.output": "classifier.original"},
    "ElectraMeanClassifier": {"head.output": "classifier.mean"},
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
    "BertForPreTraining": BERT_MASKED_LM_KEYS,
    "BertForMaskedLM": BERT_MASKED_LM_KEYS,
    "BertForSequenceClassification": {"head.dense": "bert.pooler.dense", "head.output": "classifier"},
    "BertMeanClassifier": {"head.output": "classifier.mean"},
    "BertForTokenClassification": {"head.output": "classifier"},
    "BertForQuestionAnswering": {"head.output": "qa_outputs"},
    "BertModel": {},
}
KEPT = {"BertModel": POOLER, "BertForPreTraining": (*POOLER, *NEXT_SENTENCE)}
"""Weights of an architecture that our module does not compute with: `Encoder.kept`, written again when it is saved."""


def family_of(architecture: str) -> str:
    """'Electra' or 'Bert'."""
    return "Bert" if architecture.startswith("Bert") else "Electra"


def architecture_of(module: nn.Module) -> str:
    """The name of the `transformers` class of a module, or of ours where there is none."""
    names: dict[type[nn.Module], str] = {
        Discriminator: "ForPreTraining",
        Generator: "ForMaskedLM",
        TwoTowerGenerator: "TwoTowerGenerator",
        Classifier: "ForSequenceClassification",
        TokenClassifier: "ForTokenClassification",
        QAModel: "ForQuestionAnswering",
        JointQAModel: "OriginalQuestionAnswering",
        Encoder: "Model",
    }
    encoder, name = encoder_of(module), names[type(module)]
    if isinstance(module, Classifier) and module.head_kind != "transformers":
        name = f"{module.head_kind.capitalize()}Classifier"
    if isinstance(module, Generator) and set(KEPT["BertForPreTraining"]) <= encoder.kept.keys():
        name = "ForPreTraining"
    return encoder.config.model_type.capitalize() + name


def towers(architecture: str) -> dict[str, str]:
    """Prefixes of an architecture's encoders: ours -> theirs."""
    if architecture in ("ElectraModel", "BertModel"):
        return {"": ""}
    if architecture == "ElectraTwoTowerGenerator":
        return {"left.": "electra.", "right.": "electra_right."}
    return {"encoder.": f"{family_of(architecture).lower()}."}


def parameter_names(architecture: str, num_layers: int, projected: bool, tied: bool = True) -> list[tuple[str, tuple[str, ...]]]:
    """(our parameter, its one name there or three for q, k, v) for every parameter of an architecture."""
    table: list[tuple[str, tuple[str, ...]]] = []

    def add(mine: str, names: Sequence[str]) -> None:
        ends = [""] if mine.endswith((".weight", ".bias")) else [".weight", ".bias"]
        table.extend((mine + end, tuple(n + end for n in names)) for end in ends)

    for tower, (ours, theirs) in enumerate(towers(architecture).items()):
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
        own = not tied and name == "cls.predictions.bias"
        add(mine, [DECODER_BIAS if own else name])
    if not tied and "head.norm" in HEAD_KEYS[architecture]:
        add("head.output.weight", [OUTPUT_MATRIX[family_of(architecture)]])
    return table


def names_of(module: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    """`parameter_names` of a module."""
    config = encoder_of(module).config
    projected = config.embedding_size != config.hidden_size
    return parameter_names(architecture_of(module), config.num_hidden_layers, projected, config.tie_word_embeddings)


def kept_name(architecture: str, name: str) -> str:
    """The name of a weight of `KEPT` in a file of the architecture."""
    return name if name in NEXT_SENTENCE or architecture == "BertModel" else f"bert.{name}"


def to_hf(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights, with Hugging Face's names."""
    architecture, encoder, state = architecture_of(module), encoder_of(module), module.state_dict()
    out: dict[str, Tensor] = {}
    for mine, names in names_of(module):
        for name, part in zip(names, state[mine].chunk(len(names)), strict=True):
            out[name] = part.detach().contiguous()
    if DECODER_BIAS in out:
        # `transformers` has this parameter, too, and does not add it.
        out["cls.predictions.bias"] = out[DECODER_BIAS]
    return out | {kept_name(architecture, name): encoder.kept[name] for name in KEPT.get(architecture, ()) if name in encoder.kept}


def from_hf(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> tuple[str, ...]:
    """Load weights with Hugging Face's names into a module -> names of those that it has no use for.

    Raises:
        UserError: a weight is missing, has another shape, is not of a floating type, or has NaN in it.
    """
    architecture, wanted = architecture_of(module), dict(module.state_dict())
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    for mine, names in names_of(module):
        missing = [n for n in names if n not in tensors]
        if missing:
            prefix = next((n.removesuffix(missing[0]) for n in tensors if n.endswith(f".{missing[0]}")), "")
            hint = f"; its names begin with '{prefix}': save the model without its wrapper (DataParallel, torch.compile, Lightning)" if prefix else ""
            raise UserError(f"{where}: weight '{missing[0]}' is missing; the file is not a complete {architecture}{hint}")
        value = torch.cat([_checked(tensors[n], n, where) for n in names])
        if value.shape != wanted[mine].shape:
            raise UserError(f"{where}: weight '{names[0]}' has shape {tuple(value.shape)}, the configuration needs {tuple(wanted[mine].shape)}")
        state[mine] = value.to(wanted[mine].dtype)
        used.update(names)
    module.load_state_dict(state, strict=False)
    for name in KEPT.get("BertForPreTraining" if architecture == "BertForMaskedLM" else architecture, ()):
        theirs = kept_name(architecture, name)
        if theirs in tensors:
            encoder_of(module).kept[name] = _checked(tensors[theirs], theirs, where).float()
            used.add(theirs)
    if "head.output.bias" in state:
        # A tied output has these names in old files.
        used |= {DECODER_BIAS, "cls.predictions.bias", OUTPUT_MATRIX[family_of(architecture)]}
    return tuple(name for name in tensors if name not in used and not name.endswith((".position_ids", ".token_type_ids")))


def _checked(value: Tensor, name: str, where: Path) -> Tensor:
    """A weight of a type that keeps its value as float32, without NaN; only a vocabulary's bias may be -inf."""
    if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        kind = str(value.dtype).removeprefix("torch.")
        raise UserError(
            f"{where}: weight '{name}' is of type {kind}; expected float32, float16 or bfloat16: give the weights that were not quantized"
        )
    value = value.float()
    if not torch.isfinite(value).all() and not (name.endswith(("lm_head.bias", "predictions.bias", "decoder.bias")) and (value < torch.inf).all()):
        raise UserError(
            f"{where}: weight '{name}' contains NaN or infinity; fetch the file again, or give a checkpoint whose training did not diverge"
        )
    return value


def encoder_of(module: nn.Module) -> Encoder:
    """The encoder of a module, for any head."""
    return module if isinstance(module, Encoder) else module.encoder  # type: ignore[return-value]


# ---- checkpoints ----

EMBEDDINGS = "electra.embeddings."
TOKENIZER_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
OBJECTIVE = "electra_objective"
"""Our key in config.json: 'electric' if a discriminator's logits are energies, 'clm' if a masked LM's weights are those of a causal LM."""
CONFIG_KEYS = (*SHAPE, "type_vocab_size", "layer_norm_eps", "initializer_range")
SAME_NAME = (*CONFIG_KEYS, "model_type", "hidden_act", "tie_word_embeddings", "classifier_dropout", "pad_token_id")
"""Fields of `EncoderConfig` with their name in config.json."""


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
    """config.json as `electra.model.hf_config.read_config` completes it."""
    ignored: tuple[str, ...] = ()
    """Names of weights in the file that the architecture has no use for; `transformers` ignores them too."""

    @property
    def encoder(self) -> Encoder:
        """The encoder, for any head."""
        return encoder_of(self.module)


def is_electric(checkpoint: Checkpoint) -> bool:
    """Whether a discriminator's logits are Electric's energies."""
    return isinstance(checkpoint.module, Discriminator) and checkpoint.module.electric


def is_causal(checkpoint: Checkpoint) -> bool:
    """Whether a masked LM's weights are those of a causal LM, which predicts next tokens, not masked ones."""
    return isinstance(checkpoint.module, Generator) and checkpoint.module.causal


def encoder_config(values: Mapping[str, Any]) -> EncoderConfig:
    """What `read_config` returned -> EncoderConfig."""
    rates = {"dropout": values["hidden_dropout_prob"], "attention_dropout": values["attention_probs_dropout_prob"]}
    return EncoderConfig(**{key: values[key] for key in SAME_NAME if key in values}, **rates)


def fit_names(tensors: Mapping[str, Tensor], architecture: str, config: EncoderConfig, where: Path) -> dict[str, Tensor]:
    """Weights of a file -> the same with the names of an architecture: with or without the family's prefix, as `transformers` fits them.

    Raises:
        UserError: two different weights of one name.
    """
    prefix = f"{family_of(architecture).lower()}."
    projected = config.embedding_size != config.hidden_size
    tables = [parameter_names(architecture, config.num_hidden_layers, projected, tied) for tied in (True, False)]
    expected = {name for table in tables for _, names in table for name in names}
    expected |= {kept_name(architecture, name) for name in (*POOLER, *NEXT_SENTENCE)}
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in expected:
            name = name.removeprefix(prefix)
        elif prefix + name in expected:
            name = prefix + name
        if name in out and name in expected and not torch.equal(out[name], value):
            raise UserError(f"{where}: weight '{name}' is there twice, with and without '{prefix}', and they differ; delete one")
        out[name] = value
    return out


def tie(tensors: dict[str, Tensor], architecture: str, config: EncoderConfig, where: Path) -> bool:
    """Whether a masked LM's output matrix is its word embeddings; the weight that a tied one lacks is added to `tensors`.

    As in `transformers`: if config.json says so, they are tied unless the file holds two different ones; else it must hold both.

    Raises:
        UserError: config.json says that they are not tied, and the file has no output matrix.
    """
    family = family_of(architecture)
    output, words = OUTPUT_MATRIX[family], f"{family.lower()}.embeddings.word_embeddings.weight"
    if not config.tie_word_embeddings:
        missing = [name for name in (output, *([DECODER_BIAS] if family == "Bert" else [])) if name not in tensors]
        if missing:
            remedy = "set it to true if they are tied" if missing[0] == output else "copy 'cls.predictions.bias' under that name if it is the same"
            raise UserError(f"{where}: tie_word_embeddings is false, and weight '{missing[0]}' is missing; {remedy}")
        return False
    bias = tensors.get(DECODER_BIAS, tensors.get("cls.predictions.bias"))
    if bias is not None:
        tensors |= {DECODER_BIAS: bias, "cls.predictions.bias": bias}
    if output not in tensors or words not in tensors:
        if output in tensors:
            tensors[words] = tensors[output]
        return True
    return torch.equal(tensors[output], tensors[words])


def new_module(architecture: str, config: EncoderConfig, num_labels: int = 0, *, objective: str | None = None, multilabel: bool = False) -> nn.Module:
    """A module of an architecture, not yet initialized; `objective`: what config.json says of a discriminator or a masked LM (`OBJECTIVE`)."""
    family = family_of(architecture)

    def language_model(encoder: Encoder) -> Generator:
        return Generator(encoder, causal=objective == "clm")

    builders: dict[str, Callable[[Encoder], nn.Module]] = {
        "ForPreTraining": language_model if family == "Bert" else lambda e: Discriminator(e, electric=objective == "electric"),
        "ForMaskedLM": language_model,
        "TwoTowerGenerator": lambda e: TwoTowerGenerator(e, Encoder(e.config, e.embeddings)),
        "ForSequenceClassification": lambda e: Classifier(e, num_labels, "transformers", multilabel=multilabel),
        "OriginalClassifier": lambda e: Classifier(e, num_labels, "original", multilabel=multilabel),
        "MeanClassifier": lambda e: Classifier(e, num_labels, "mean", multilabel=multilabel),
        "ForTokenClassification": lambda e: TokenClassifier(e, num_labels),
        "ForQuestionAnswering": QAModel,
        "OriginalQuestionAnswering": JointQAModel,
        "Model": lambda e: e,
    }
    config = replace(config, model_type="bert" if family == "Bert" else "electra")
    return builders[architecture.removeprefix(family)](Encoder(config))


def load_checkpoint(source: str | Path, role: str = "any") -> Checkpoint:
    """A checkpoint folder, run directory or hub name, of an ELECTRA or a BERT -> the model in it, on the CPU, in evaluation mode, fp32.

    `role`: 'discriminator', 'generator' (a masked LM, also in CKPT/generator), 'classifier', 'token-classification', 'question-answering',
    'task' (one of these three), 'encoder' (of any model) or 'any'.

    Raises:
        UserError: not found, damaged, not exactly computable here, or without such a head; the message names the remedy.
    """
    folder = resolve.resolve(source)
    values = read_config(folder, role)
    architecture = resolve.architecture_in(values)
    if role == "generator" and resolve.HEADS.get(architecture) != "masked-lm" and (folder / "generator" / "config.json").exists():
        return load_checkpoint(folder / "generator", role)
    require_role(source, architecture, role)
    if role == "generator" and values.get(OBJECTIVE) == "clm":
        raise UserError(f"{source} {resolve.CAUSAL_ONLY}")
    if role == "encoder":
        architecture = f"{str(values['model_type']).capitalize()}Model"
    elif architecture not in HEAD_KEYS:
        try:
            resolve.head_of(architecture)
        except UserError as error:
            raise UserError(f"{folder}/{error}") from None
    config = encoder_config(values)
    tensors = read_weights(folder)
    if values.get("embeddings_in_parent"):
        tensors |= {key: value for key, value in read_weights(folder.parent).items() if key.startswith(EMBEDDINGS)}
    tensors = fit_names(tensors, architecture, config, folder)
    if resolve.head_of(architecture) == "masked-lm":
        config = replace(config, tie_word_embeddings=tie(tensors, architecture, config, folder))
    labelled = resolve.head_of(architecture) in ("classification", "tagging")
    names = tuple(values["id2label"].values()) if labelled else ()
    module = new_module(architecture, config, len(names), objective=values.get(OBJECTIVE))
    if isinstance(module, Classifier):
        module.problem_type = values.get("problem_type")
    if isinstance(module, Classifier | TokenClassifier):
        module.labels = names
    ignored = from_hf(module, tensors, folder)
    return Checkpoint(
        module=module.eval(),
        config=encoder_of(module).config,
        architecture=architecture_of(module),
        labels=names,
        path=folder,
        hf_config=values,
        ignored=ignored,
    )


def reinitialize(module: nn.Module, seed: int) -> None:
    """Random weights from `seed`: the same network without pre-training."""
    initialize(module, torch.Generator().manual_seed(seed))


def with_dropout(config: EncoderConfig, dropout: float) -> EncoderConfig:
    """The same shape with another dropout, everywhere."""
    return replace(config, dropout=dropout, attention_dropout=None, classifier_dropout=None)


def config_values(module: nn.Module, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a module's config.json."""
    config = encoder_of(module).config
    values: dict[str, Any] = {
        "architectures": [architecture_of(module)],
        **{key: getattr(config, key) for key in SAME_NAME},
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_prob,
        "dtype": "float32",
    }
    if config.model_type == "bert":
        # BERT's configuration has no such field.
        del values["embedding_size"]
    if isinstance(module, Discriminator) and module.electric:
        values[OBJECTIVE] = "electric"
    if isinstance(module, Generator) and module.causal:
        values[OBJECTIVE] = "clm"
    if isinstance(module, Classifier | TokenClassifier):
        names = list(labels or module.labels) or [f"LABEL_{i}" for i in range(module.num_outputs)]
        values["id2label"] = {str(i): name for i, name in enumerate(names)}
        values["label2id"] = {name: i for i, name in enumerate(names)}
    if isinstance(module, Classifier) and module.problem_type is not None:
        values["problem_type"] = module.problem_type
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
    max_length: int = 0,
) -> None:
    """Write a module as a Hugging Face directory into an existing (usually still temporary) folder.

    `tokenizer` is a folder whose tokenizer files are copied; `card` becomes README.md; `extra` is added to config.json.
    `max_length` is written as the tokenizer's `model_max_length`; 0: what it says, at most the positions. With `embeddings_in_parent` in
    `extra`, a generator's embeddings, which are also in the discriminator's folder above it, are omitted: a smaller file that only this
    package opens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = config_values(module, labels) | {"dtype": str(dtype).removeprefix("torch.")} | dict(extra or {})
    atomic.write_text(folder / "config.json", json.dumps(values, indent=2) + "\n")
    tensors = {k: v.to(device="cpu", dtype=dtype).clone() for k, v in to_hf(module).items()}
    if values.get("embeddings_in_parent"):
        tensors = {key: value for key, value in tensors.items() if not key.startswith(EMBEDDINGS)}
    with atomic.atomic_file(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    if tokenizer is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer / name).exists():
                shutil.copyfile(tokenizer / name, folder / name)
        if (config_file := folder / "tokenizer_config.json").exists():
            settings = parse_json(config_file.read_text(encoding="utf-8"))
            positions = values["max_position_embeddings"]
            settings["model_max_length"] = max_length or min(settings.get("model_max_length", positions), positions)
            atomic.write_text(config_file, json.dumps(settings, indent=2) + "\n")
    if card is not None:
        atomic.write_text(folder / "README.md", card)

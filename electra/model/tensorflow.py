"""Original TensorFlow checkpoint of ELECTRA or BERT -> networks, without TensorFlow.

Names follow google-research/electra's `model/modeling.py`: the discriminator in `electra/`, the generator in `generator/` (with embeddings
only if it does not share them), heads next to them, those of fine-tuned tasks in `task_specific/TASK/`; BERT in `bert/` and `cls/`. Sizes are
taken from the variables' shapes. These do not show the number of heads, nor the activation: they are read from a configuration next to the
checkpoint, which must agree with the shapes. Without one, released models have one head per 64 of width, and any other is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from electra.errors import UserError
from electra.model.encoder import EncoderConfig
from electra.model.generators import Generator, TwoTowerGenerator
from electra.model.hf_config import HEAD_WIDTH, LOWERCASE, SHAPES, complete, find_configurations
from electra.model.huggingface import encoder_config, from_hf, new_module, to_hf
from electra.model.objectives import Discriminator
from electra.model.task_models import Classifier
from electra.protobuf import TensorBundle, find_checkpoint, without_slots

__all__ = ["Choices", "Networks", "TensorBundle", "find_checkpoint", "read_networks"]

# ---- networks ----

ENCODER = re.compile(r"(?:(.+)/)?(electra|bert|generator|generator_ltr|generator_rtl)/encoder/layer_(\d{1,4})/")
RELEASED = {
    "electra": {(256, 128, 12), (256, 256, 24), (768, 768, 12), (1024, 1024, 24)},
    "bert": {(width, width, layers) for width in (128, 256, 512, 768) for layers in (2, 4, 6, 8, 10, 12)}
    | {(768, 768, 3), (1024, 1024, 3), (1024, 1024, 24)},
}
"""(width, embedding width, layers) of the models that Google, HFL and others released, all with one head per 64 of width."""
CLASSIFICATION_TASKS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("cola", "mrpc", "sst", "qqp", "sts", "bqcorpus", "chnsenticorp", "lcqmc"), ()),
    **dict.fromkeys(("rte", "qnli"), ("entailment", "not_entailment")),
    "mnli": ("contradiction", "entailment", "neutral"),
    "xnli": ("contradictory", "entailment", "neutral"),
}
"""The original's and HFL's classification tasks -> their labels, where these are words."""
TAGGING_TASKS = ("chunk", "ccg")
NULL_THRESHOLD = -2.75
"""The original's `qa_na_threshold`, for SQuAD 2.0 (task squad); its other tasks always answer."""
MASKED_LM = {"dense": "generator_predictions.dense", "LayerNorm": "generator_predictions.LayerNorm", "output": "generator_lm_head"}
BERT_HEADS = {
    "cls/predictions/transform": "cls.predictions.transform",
    "cls/predictions/output": "cls.predictions",
    "cls/seq_relationship/output": "cls.seq_relationship",
}
CLASSIFIERS = {
    ("electra", "classification"): ("ElectraOriginalClassifier", "classifier.original"),
    ("electra", "tagging"): ("ElectraForTokenClassification", "classifier"),
    ("bert", "classification"): ("BertForSequenceClassification", "classifier"),
    ("bert", "tagging"): ("BertForTokenClassification", "classifier"),
}
JOINT_QA = {
    "dense": "qa_start",
    "qa_hidden": "qa_end.dense",
    "dense_1": "qa_end.out_proj",
    "dense_2": "qa_answerable.dense",
    "dense_3": "qa_answerable.out_proj",
}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of a checkpoint."""

    main: nn.Module
    """The discriminator, the fine-tuned model, the masked LM or the encoder."""
    generator: nn.Module | None
    """The generator next to a discriminator."""
    labels: tuple[str, ...]
    """Names of the classes of a fine-tuned model; empty where they are not known."""
    options: Mapping[str, Any]
    """How a fine-tuned model was trained to read its input, as in an input spec."""
    lowercase: bool | None
    """Whether the text is lower-cased, where the original's hyperparameters say so."""
    notes: tuple[str, ...]
    """What was used, in sentences for the user."""
    unused: tuple[str, ...]
    """Variables of neither, except the optimizer's."""

    @property
    def discriminator(self) -> Discriminator | None:
        """The discriminator, if there is one."""
        return self.main if isinstance(self.main, Discriminator) else None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a checkpoint does not say."""

    num_attention_heads: int | None = None
    """Of the discriminator, or of the only network."""
    generator_attention_heads: int | None = None
    task: str | None = None
    """The fine-tuned task to convert, of several."""
    head: str | None = None
    """'classification' or 'tagging' for a task of an unknown name; 'encoder' to leave heads out."""
    labels: tuple[str, ...] = ()


def read_networks(prefix: Path, num_attention_heads: int | None = None, choices: Choices | None = None) -> Networks:
    """The networks of the checkpoint `prefix`, with the configuration next to it; `choices` take precedence.

    Raises:
        UserError: damaged, neither ELECTRA nor BERT, incomplete, or with a number of heads that is not known; the message names what is missing.
    """
    choices = choices or Choices()
    if num_attention_heads is not None:
        choices = replace(choices, num_attention_heads=num_attention_heads)
    return _Reader(TensorBundle(prefix), choices).networks()


class _Reader:
    """The networks of one bundle."""

    def __init__(self, bundle: TensorBundle, choices: Choices) -> None:
        self.bundle, self.choices, self.prefix = bundle, choices, bundle.prefix
        self.names = _variables(bundle)
        self.scopes = {match[2] for name in self.names if (match := ENCODER.match(name))}
        self.configurations = find_configurations(self.prefix.parent)
        self.inherited: dict[str, Any] = {}
        self.used: set[str] = set()
        self.notes: list[str] = []

    def networks(self) -> Networks:
        """Read them."""
        electra, choices = "electra" in self.scopes, self.choices
        if choices.generator_attention_heads is not None and not self.scopes - {"electra", "bert"}:
            raise UserError(f"{self.prefix} has no generator of its own: --generator-attention-heads does not apply")
        if not electra and "bert" in self.scopes:
            return self._bert()
        config = self._config("electra") if electra else None
        is_discriminator = self._has("discriminator_predictions/")
        if config is not None and choices.head == "encoder":
            return self._encoder(config)
        generator = self._generator(config)
        if config is not None and not is_discriminator and (generator is None or self.scopes != {"electra"}):
            return self._fine_tuned(config)
        self._check_pretrained()
        if config is None or not is_discriminator:
            if generator is None:
                raise UserError(f"{self.prefix} has no complete network, only {', '.join(sorted(self.scopes))}")
            return self._result(generator)
        heads = {"dense": "discriminator_predictions.dense", "dense_1": "discriminator_predictions.dense_prediction"}
        table = {"electra": "electra", **{f"discriminator_predictions/{key}": value for key, value in heads.items()}}
        return self._result(self._build("ElectraForPreTraining", config, table, electric="generator_ltr" in self.scopes), generator)

    def _generator(self, discriminator: EncoderConfig | None) -> nn.Module | None:
        """The generator: an encoder of its own, two towers (Electric), or the discriminator's encoder."""
        masked_lm = {f"generator_predictions/{key}": value for key, value in MASKED_LM.items()}
        if "generator" in self.scopes:
            return self._build("ElectraForMaskedLM", self._config("generator"), {"generator": "electra", **masked_lm})
        if {"generator_ltr", "generator_rtl"} <= self.scopes:
            cloze = {f"cloze_predictions/{key}": value for key, value in MASKED_LM.items()}
            table = {"generator_ltr": "electra", "generator_rtl": "electra_right", **cloze}
            return self._build("ElectraTwoTowerGenerator", self._config("generator_ltr"), table)
        if discriminator is not None and self._has("generator_predictions/"):
            # The original's `untied_generator: false`, and its BERT objective.
            return self._build("ElectraForMaskedLM", discriminator, {"electra": "electra", **masked_lm})
        return None

    def _result(self, main: nn.Module, generator: nn.Module | None = None, **more: Any) -> Networks:
        unused = tuple(sorted(set(self.names.values()) - self.used))
        if isinstance(main, Discriminator) and generator is None:
            self.notes.append("no generator in the checkpoint: only the discriminator is written")
        elif isinstance(main, Generator) and "bert" not in self.scopes:
            self.notes.append("no discriminator in the checkpoint: the output is a masked language model")
        lowercase = next((value for c in self.configurations if isinstance(value := c.values.get(LOWERCASE), bool)), None)
        found = {"labels": (), "options": {}, "lowercase": lowercase, **more}
        return Networks(main=main, generator=generator, notes=tuple(self.notes), unused=unused, **found)

    def _has(self, start: str) -> bool:
        return any(name.startswith(start) for name in self.names)

    def _check_pretrained(self) -> None:
        for name in ("task", "head", "labels"):
            if getattr(self.choices, name):
                raise UserError(f"{self.prefix} is pre-trained: --{name} is for fine-tuned checkpoints")

    # ---- fine-tuned models ----

    def _encoder(self, config: EncoderConfig, note: str = "") -> Networks:
        """The encoder alone."""
        if note:
            self.notes.append(f"encoder only: {note}")
        return self._result(self._build(f"{config.model_type.capitalize()}Model", config, {config.model_type: config.model_type}))

    def _fine_tuned(self, config: EncoderConfig) -> Networks:
        """An ELECTRA with the head of its task, where that is known."""
        tasks = sorted({name.split("/")[1] for name in self.names if name.startswith("task_specific/") and name.count("/") > 1})
        task = self.choices.task or (tasks[0] if len(tasks) == 1 else None)
        if self.choices.task and task not in tasks:
            raise UserError(f"--task {task}: the checkpoint has {', '.join(tasks) or 'no task'}")
        if task is None:
            if tasks:
                return self._encoder(config, f"the checkpoint has the heads of {', '.join(tasks)}; choose one with --task")
            return self._plain_head(config)
        scope = f"task_specific/{task}"
        shapes = {name[len(scope) + 1 : -7]: self._shape(name) for name in self.names if name.startswith(f"{scope}/") and name.endswith("/kernel")}
        if set(shapes) == set(JOINT_QA):
            self.notes.append(f"head of {task}: the original's for questions (joint start and end, answerable)")
            table = {"electra": "electra", **{f"{scope}/{key}": value for key, value in JOINT_QA.items()}}
            options = {"unanswerable": True, "null_threshold": NULL_THRESHOLD} if task == "squad" else {}
            if options:
                self.notes.append(f"no answer where the null odds are above {NULL_THRESHOLD}, the original's qa_na_threshold")
            return self._result(self._build("ElectraOriginalQuestionAnswering", config, table), options=options)
        kind = self.choices.head or ("classification" if task in CLASSIFICATION_TASKS else "tagging" if task in TAGGING_TASKS else None)
        if set(shapes) != {"dense"} or kind is None:
            remedy = "give --head classification or --head tagging to convert its head" if set(shapes) == {"dense"} else "its head is not known"
            return self._encoder(config, f"{task} is not a task of the original; {remedy}")
        if task == "sts":
            self.notes.append("the original trains sts on scores divided by 5: the output is from 0 to 1")
        return self._labelled(config, kind, f"{scope}/dense", shapes["dense"][1], CLASSIFICATION_TASKS.get(task, ()))

    def _labelled(self, config: EncoderConfig, kind: str, scope: str, num: int, known: tuple[str, ...] = ()) -> Networks:
        """A classifier of texts or tokens whose projection is in a scope."""
        architecture, name = CLASSIFIERS[config.model_type, kind]
        what = "regression" if kind == "classification" and num == 1 else kind
        self.notes.append(f"head ({scope.replace('output', 'output_weights')}): {what}, {num} output{'s' * (num > 1)}")
        labels = self._labels(num, known)
        module = self._build(architecture, config, {config.model_type: config.model_type, scope: name}, num_labels=num)
        if isinstance(module, Classifier) and num == 1:
            module.problem_type = "regression"
        # The original of ELECTRA gives all tokens of a sentence to tag segment 1.
        return self._result(module, labels=labels, options={"token_segment": 1} if kind == "tagging" and config.model_type == "electra" else {})

    def _plain_head(self, config: EncoderConfig) -> Networks:
        """The heads of google-research/bert: `run_squad.py`'s, and `output_weights` of `run_classifier.py`, which token classifiers use too."""
        family = config.model_type
        if "cls/squad/output_weights" in self.names:
            self._check_pretrained()
            self.notes.append("head (cls/squad): questions, 2 outputs")
            return self._result(self._build(f"{family.capitalize()}ForQuestionAnswering", config, {family: family, "cls/squad/output": "qa_outputs"}))
        if "output_weights" not in self.names:
            self._check_pretrained()
            parts = tuple(f"{family}/{part}" for part in ("embeddings", "encoder", "pooler"))
            others = sorted(name for name in self.names if not name.startswith(parts))
            return self._encoder(config, f"a head with the variable '{others[0]}' is not known" if others else "the checkpoint has no head")
        if self.choices.head is None and family == "electra":
            return self._encoder(config, "give --head classification or --head tagging to convert the head (output_weights)")
        if self.choices.head is None:
            self.notes.append(
                "output_weights are taken for a classifier of texts, as run_classifier.py writes them; --head tagging if they label tokens"
            )
        return self._labelled(config, self.choices.head or "classification", "output", self._shape("output_weights")[0])

    def _labels(self, num: int, known: tuple[str, ...]) -> tuple[str, ...]:
        """Names of `num` classes: from --labels, the configuration, or known; empty if nothing says them."""
        given = self.choices.labels
        if given and (len(given) != num or len(set(given)) != num):
            raise UserError(f"--labels gives {len(given)} names; the head has {num} outputs")
        if given or num == 1:
            return given
        for configuration in self.configurations:
            names = configuration.values.get("id2label")
            if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(num))):
                self.notes.append(f"labels: {', '.join(names.values())} ({configuration.path.name})")
                return tuple(str(names[key]) for key in sorted(names, key=int))
        if len(known) == num:
            self.notes.append(f"labels: {', '.join(known)} (the original's)")
            return known
        self.notes.append(f"labels: LABEL_0 to LABEL_{num - 1}, because a TensorFlow checkpoint does not store them; give --labels")
        return ()

    def _bert(self) -> Networks:
        """A BERT: pre-trained, fine-tuned, or its encoder."""
        config = self._config("bert")
        if config.embedding_size != config.hidden_size:
            raise UserError(
                f"{self.prefix}: a BERT's embeddings are as wide as its layers, these are {config.embedding_size} of {config.hidden_size}"
            )
        if self.choices.task:
            raise UserError(f"--task {self.choices.task}: a BERT's checkpoint has one task at most")
        if self.choices.head == "encoder":
            return self._encoder(config)
        if not self._has("cls/predictions/"):
            return self._plain_head(config)
        self._check_pretrained()
        architecture = "BertForPreTraining" if self._has("cls/seq_relationship/") else "BertForMaskedLM"
        return self._result(self._build(architecture, config, {"bert": "bert", **BERT_HEADS}))

    # ---- shapes and configuration ----

    def _shape(self, name: str, rank: int = 2) -> tuple[int, ...]:
        if name not in self.names:
            raise UserError(f"{self.prefix}: variable '{name}' is missing; the checkpoint is not complete")
        found = self.bundle.entries[self.names[name]].shape
        if len(found) != rank or not all(found):
            raise UserError(f"{self.prefix}: variable '{name}' has shape {found}, expected {rank} sizes above zero")
        return found

    def _embeddings(self, scope: str) -> str:
        """The scope whose embeddings an encoder uses: its own, or the shared ones."""
        return scope if f"{scope}/embeddings/word_embeddings" in self.names or "electra" not in {n.split("/")[0] for n in self.names} else "electra"

    def _config(self, scope: str) -> EncoderConfig:
        """Sizes from shapes; heads and the rest from what the user gave, a configuration, or the released models."""
        embeddings = self._embeddings(scope)
        vocab_size, embedding_size = self._shape(f"{embeddings}/embeddings/word_embeddings")
        hidden_size, intermediate_size = self._shape(f"{scope}/encoder/layer_0/intermediate/dense/kernel")
        layers = {int(match[3]) for name in self.names if (match := ENCODER.match(name)) and match[2] == scope}
        if missing := set(range(max(layers))) - layers:
            raise UserError(f"{self.prefix}: layer {min(missing)} of {scope}/encoder is missing; the checkpoint is not complete")
        positions, types = (self._shape(f"{embeddings}/embeddings/{kind}_embeddings")[0] for kind in ("position", "token_type"))
        numbers = (vocab_size, embedding_size, hidden_size, max(layers) + 1, intermediate_size, positions, types)
        sizes = dict(zip(SHAPES, numbers, strict=True))
        network = {"electra": "discriminator" if self._has("discriminator_predictions/") else "encoder", "bert": "BERT"}.get(scope, "generator")
        path, values = self._configured(network, sizes)
        if network == "generator":
            # The original makes it from the discriminator's configuration.
            values = {**self.inherited, **values}
        self.inherited = {key: values[key] for key in ("hidden_act", "layer_norm_eps") if key in values}
        heads = self._heads(network, scope, sizes, path, values)
        if heads < 1 or hidden_size % heads:
            raise UserError(f"{self.prefix}: {heads} heads do not divide the {network}'s width of {hidden_size}; give {self._flag(network)}")
        family = {"model_type": "bert" if scope == "bert" else "electra"}
        return encoder_config(complete({**values, **sizes, "num_attention_heads": heads, **family}, path or self.prefix))

    def _flag(self, network: str) -> str:
        return "--generator-attention-heads" if network == "generator" and self.scopes != {"generator"} else "--num-attention-heads"

    def _heads(self, network: str, scope: str, sizes: Mapping[str, int], path: Path | None, values: Mapping[str, Any]) -> int:
        """The number of attention heads; notes where it comes from."""
        width, flag = sizes["hidden_size"], self._flag(network)
        given = self.choices.generator_attention_heads if network == "generator" else self.choices.num_attention_heads
        if given is None and flag == "--num-attention-heads":
            given = self.choices.num_attention_heads
        configured = values.get("num_attention_heads")
        if given is not None:
            heads, source = given, flag + (f"; {path.name} says {configured}" if path and configured not in (None, given) else "")
        elif isinstance(configured, int) and path is not None:
            heads, source = configured, path.name
        elif network == "generator":
            heads, source = (
                max(1, width // HEAD_WIDTH),
                f"max(1, {width} // {HEAD_WIDTH}), as the original makes generators; {flag} for another number",
            )
        elif (width, sizes["embedding_size"], sizes["num_hidden_layers"]) in RELEASED[scope] and sizes["intermediate_size"] == 4 * width:
            heads, source = width // HEAD_WIDTH, f"one per {HEAD_WIDTH} of width, as in the released model of this size; {flag} for another number"
        else:
            shape = f"{sizes['num_hidden_layers']} layers of width {width}"
            raise UserError(
                f"{self.prefix}: a TensorFlow checkpoint does not store the number of attention heads, and this {network} ({shape}) is no released "
                f"model; give {flag}, or put its bert_config.json next to it"
            )
        self.notes.append(f"{network}: {heads} attention head{'s' * (heads != 1)} ({source})")
        return heads

    def _configured(self, network: str, sizes: Mapping[str, int]) -> tuple[Path | None, dict[str, Any]]:
        """The configuration of a network that agrees with its shapes: its file, and its values; (None, {}) if there is none.

        Raises:
            UserError: none agrees, or two that do contradict each other.
        """
        of_generator = network == "generator"
        found = [c for c in self.configurations if c.of_generator == of_generator]
        if of_generator and not found and self.scopes == {"generator"}:
            found = self.configurations
        wrong, fitting = "", []
        for configuration in found:
            bad = next((key for key in SHAPES if configuration.values.get(key, sizes[key]) != sizes[key]), None)
            if bad is None:
                fitting.append(configuration)
            elif not wrong:
                wrong = f"{configuration.path}: {bad} is {configuration.values[bad]!r}, but the {network} has {sizes[bad]}"
        if wrong and not fitting:
            raise UserError(f"{wrong}; give the configuration of this checkpoint, or move it away and give {self._flag(network)}")
        merged: dict[str, Any] = {}
        for configuration in fitting:
            for key in ("num_attention_heads", "hidden_act", "layer_norm_eps"):
                value = configuration.values.get(key)
                if value is not None and key in merged and merged[key] != value:
                    other = fitting[0].path.name
                    raise UserError(f"{configuration.path}: {key} is {value!r}, but {other} says {merged[key]!r}; remove the one that is wrong")
            merged = {**configuration.values, **merged}
        path = next((c.path for c in fitting if "num_attention_heads" in c.values), fitting[0].path if fitting else None)
        return path, merged

    # ---- weights ----

    def _build(self, architecture: str, config: EncoderConfig, table: Mapping[str, str], num_labels: int = 0, *, electric: bool = False) -> nn.Module:
        """A module from the variables whose scopes are in the table: TensorFlow's -> Hugging Face's.

        Raises:
            UserError: a weight is missing, has another shape, or the encoder has variables that are not part of the architecture.
        """
        encoders = [scope for scope in table if scope in self.scopes]
        shared = {f"{self._embeddings(scope)}/embeddings": f"{table[scope]}.embeddings" for scope in encoders[:1] if self._embeddings(scope) != scope}
        module = new_module(architecture, config, num_labels, objective="electric" if electric else None)
        if config.model_type == "electra" and config.hidden_act != "gelu" and isinstance(module, Generator | TwoTowerGenerator):
            raise UserError(f"{self.prefix}: hidden_act '{config.hidden_act}': a masked-LM head of ELECTRA has gelu in Hugging Face's form, always")
        names, tensors = {}, {}
        for name in self.names:
            if (found := _renamed(name, {**shared, **table})) is None:
                continue
            weight, transposed = found
            weight = re.sub(r"^(electra|bert)\.", "", weight) if architecture.endswith("Model") else weight
            values = self.bundle.read(self.names[name])
            tensors[weight] = torch.tensor(values.T if transposed else values, dtype=torch.float32).contiguous()
            names[weight] = name
        unknown = from_hf(module, tensors, self.prefix)
        parts = tuple(f"{scope}/{part}" for scope in encoders for part in ("embeddings", "encoder"))
        if wrong := next((names[weight] for weight in unknown if names[weight].startswith(parts)), None):
            raise UserError(f"{self.prefix}: variable '{wrong}' is not part of {architecture}; a model with it is not supported")
        self.used |= {self.names[names[weight]] for weight in to_hf(module) if weight in names}
        return module.eval()


LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias", "weights": "weight"}


def _renamed(name: str, table: Mapping[str, str]) -> tuple[str, bool] | None:
    """A variable -> Hugging Face's name of that weight and whether it is transposed; None if its scope is not in the table."""
    scope, _, leaf = name.rpartition("/")
    if leaf.startswith("output_"):
        scope, leaf = f"{scope}/output".lstrip("/"), leaf.removeprefix("output_")
    elif leaf.endswith("_embeddings"):
        scope, leaf = name, "kernel"
    for start in sorted(table, key=len, reverse=True):
        if scope == start or scope.startswith(f"{start}/"):
            rest = re.sub(r"\blayer_(\d+)\b", r"layer/\1", scope[len(start) :]).replace("/", ".")
            return f"{table[start]}{rest}.{LEAVES.get(leaf, leaf)}", leaf == "kernel" and scope != name
    return None


def _variables(bundle: TensorBundle) -> dict[str, str]:
    """Names without the scope that all encoders are in, such as TF Hub's `module/` -> names in the file; without the optimizer's variables.

    Raises:
        UserError: a TensorFlow 2 checkpoint, none of ELECTRA or BERT, or networks in several scopes.
    """
    names = without_slots(bundle)
    if any(name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") or name == "_CHECKPOINTABLE_OBJECT_GRAPH" for name in names):
        raise UserError(
            f"{bundle.prefix} is an object-based checkpoint of TensorFlow 2, which has other names; convert its model with the code that made it, "
            "or take the release for TensorFlow 1 or for PyTorch"
        )
    if albert := next((name for name in names if "/encoder/transformer/group_" in name), None):
        raise UserError(f"{bundle.prefix} is an ALBERT, whose layers share weights ('{albert}'); only ELECTRA and BERT are supported")
    scopes = {match[1] or "" for name in names if (match := ENCODER.match(name))}
    if len(scopes) > 1:
        raise UserError(f"{bundle.prefix} has networks in several scopes: {', '.join(sorted(s or '(top)' for s in scopes))}; expected one")
    if not scopes:
        starts = sorted({name.split("/")[0] for name in names})
        raise UserError(f"{bundle.prefix} is neither an ELECTRA nor a BERT: its variables begin with {', '.join(starts[:5]) or 'nothing'}")
    prefix = f"{scopes.pop()}/".removeprefix("/")
    found = {name.removeprefix(prefix): name for name in names}
    if len(found) < len(names):
        raise UserError(f"{bundle.prefix} has variables twice, with and without '{prefix}'; expected one network")
    return found

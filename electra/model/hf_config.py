"""config.json of an ELECTRA or a BERT -> checked values, as `transformers` resolves them: architecture, labels, sizes, activation.

Also the files of the weights (torch is imported only to read these), and the configurations that lie next to TensorFlow checkpoints.

A field that changes the computation is implemented or refused; a field that is not known here is refused too, unless it is empty. The lists
below name what `transformers` and the model files in circulation write.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.errors import UserError, is_out_of_memory, parse_json, raise_if_device
from electra.storage.resolve import HEADS, check_form

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings", "type_vocab_size")
SIZES = dict(zip(_NAMES, zip((30522, 256, 12, 4, 1024, 512, 2), (30522, 768, 12, 12, 3072, 512, 2), strict=True), strict=True))
"""Field -> its default in `transformers` for an ELECTRA and a BERT, which a config.json may omit."""
RATES = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "initializer_range": 0.02}
ACTIVATIONS = (
    *("gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh", "quick_gelu", "gelu_10"),
    *("relu", "relu6", "relu2", "silu", "swish", "mish", "tanh", "sigmoid", "linear", "leaky_relu", "hardswish"),
)
"""Names of activations that are implemented (`electra.model.encoder.ACTIVATION`)."""
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "is_encoder_decoder": (None, False),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "auto_map": (None, {}),
    "configuration_files": (None, []),
    "per_layer_config": (None, {}),
    "adapters": (None, {}),
    "use_bfloat16": (None, False),
}
"""Fields that change the computation -> the values at which they do not."""
REMEDIES = {
    "auto_map": "the model has its own code, which is never run: give a model of plain ELECTRA or BERT",
    "quantization_config": "give the weights that were not quantized",
    "adapters": "merge the adapters into the weights and save the model again",
    "configuration_files": "rename the file of your version to config.json and delete the field",
    "pruned_heads": "give the model before its heads were pruned",
}
OWN = ("finetuning_task", "embeddings_in_parent")
READ = (
    *(*SIZES, *RATES, *OWN, "embedding_size", "hidden_act", "classifier_dropout", "pad_token_id", "tie_word_embeddings", "model_type"),
    *("architectures", "id2label", "label2id", "num_labels", "problem_type"),
)
HARMLESS = frozenset(
    # About the file and how it was made.
    "_name_or_path name_or_path _commit_hash transformers_version dtype torch_dtype torchscript language model_max_length task_specific_params "
    "tokenizer_class vocab_file do_lower_case sentence_transformers sbert_ce_default_activation_function sbert_ce_default_activation_fn name license "
    "transformers.js_config use_cache gradient_checkpointing chunk_size_feed_forward tf_legacy_loss is_composition "
    # Form of what `transformers` returns.
    "output_attentions output_hidden_states output_past return_dict use_return_dict keys_to_ignore_at_inference "
    "_attn_implementation attn_implementation _attn_implementation_autoset _attn_implementation_internal experts_implementation "
    # BERT's first release and other libraries; no code reads them.
    "directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type _num_labels "
    "summary_type summary_use_proj summary_activation summary_last_dropout summary_first_dropout summary_proj_to_labels "
    "eos_token_ids cell structure pre_trained training generator_size label_smoothing loss_type tie_encoder_decoder cross_attention_hidden_size "
    # Generation, which these models do not do.
    "bos_token_id eos_token_id sep_token_id cls_token_id mask_token_id unk_token_id decoder_start_token_id prefix "
    "assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping "
    "encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff eta_cutoff exponential_decay_length_penalty forced_bos_token_id "
    "forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule "
    "num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values repetition_penalty return_dict_in_generate "
    "suppress_tokens target_lookbehind temperature top_k top_p typical_p".split()
)
"""Fields without influence on these networks' outputs."""


def read_config(folder: Path, role: str = "any") -> dict[str, Any]:
    """config.json of an ELECTRA or a BERT, checked and completed: `model_type`, `architectures` (one), sizes, a classifier's labels.

    `role`, as in `electra.model.huggingface.load_checkpoint`, decides where the file names no architecture and the weights allow several.

    Raises:
        UserError: missing, not JSON, of another model, or with a field that is not implemented; the line names the field.
    """
    path = folder / "config.json"
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is not a checkpoint: it has no config.json") from None
    except (ValueError, OSError) as error:
        raise_if_device(error)
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a model's: expected a JSON object, it is a {type(values).__name__}")
    values = complete({**values, "model_type": _model_type(values, path)}, path)
    architecture = _architecture(values, folder, role)
    values["architectures"] = [architecture]
    head = HEADS.get(architecture, "")
    if head in ("classification", "tagging"):
        names = labels(values, path)
        values |= {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {name: i for i, name in enumerate(names)}}
        values.pop("num_labels", None)
        _check_problem(values, len(names), path)
    elif head == "span" and not isinstance(table := values.get("id2label"), dict | None):
        raise UserError(f"{path}: id2label is a {type(table).__name__}; expected an object with the ids 0, 1, ... as keys")
    elif head == "span" and (count := values.get("num_labels", len(values.get("id2label") or (0, 0)))) != 2:
        raise UserError(f"{path}: num_labels is {count}; expected 2 for {architecture}, which scores a first and a last token")
    return values


def complete(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Values with a `model_type` -> the same with all sizes and rates, after checking every field; `path` is for errors.

    Raises:
        UserError: a field that is not implemented, or out of range.
    """
    _check_fields(values, path)
    return {**values, **_sizes(values, path)}


def _model_type(values: Mapping[str, Any], path: Path) -> str:
    """'electra' or 'bert'; where the field is missing, what the architectures' names begin with."""
    kind = values.get("model_type")
    names = values.get("architectures")
    if kind is None and isinstance(names, list):
        families = {family for name in names for family in ("electra", "bert") if str(name).lower().startswith(family)}
        kind = families.pop() if len(families) == 1 else None
    if kind is None:
        raise UserError(f'{path}: model_type is missing; add "model_type": "electra" or "bert", whichever the weights are of')
    if kind not in ("electra", "bert"):
        raise UserError(f"{path} describes a model of type '{kind}', not an ELECTRA (model_type 'electra') or a BERT ('bert'); give one of these")
    return str(kind)


def _check_fields(values: Mapping[str, Any], path: Path) -> None:
    """Check that every field is implemented, has no influence, or has the value at which it has none."""
    for key, value in values.items():
        if key in DEFAULTS:
            if not any(value is default or (value == default and type(value) is type(default)) for default in DEFAULTS[key]):
                shown = json.dumps(value)[:60]
                remedy = REMEDIES.get(key, f"only {' or '.join(json.dumps(default) for default in DEFAULTS[key])} is implemented")
                raise UserError(f"{path}: {key} {shown} changes the computation and is not supported; {remedy}")
        elif key == "emb_size" and value == values.get("hidden_size"):
            continue  # TinyBERT's name for the width of its states
        elif key not in READ and key not in HARMLESS and not key.startswith("electra_") and value is not None and value not in ({}, [], ""):
            raise UserError(
                f"{path}: field '{key}' ({json.dumps(value)[:60]}) is not known, so it may change the computation; delete it if it does not"
            )
    if (name := values.get("hidden_act", "gelu")) not in ACTIVATIONS:
        raise UserError(f"{path}: hidden_act {name!r} is not supported; supported activations: {', '.join(ACTIVATIONS)}")
    if not isinstance(values.get("tie_word_embeddings", True), bool):
        raise UserError(f"{path}: tie_word_embeddings is {values['tie_word_embeddings']!r}; expected true or false")


def _sizes(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Sizes and rates, with the defaults of `transformers`; a BERT's embeddings have the width of its states."""
    bert = values["model_type"] == "bert"
    found: dict[str, Any] = {key: values.get(key, pair[bert]) for key, pair in SIZES.items()}
    found["embedding_size"] = found["hidden_size"] if bert else values.get("embedding_size", 128)
    for key, value in found.items():
        limit = 10_000_000 if key == "vocab_size" else 100_000
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
            raise UserError(f"{path}: {key} is {value!r}; expected a whole number between 1 and {limit}")
    if found["hidden_size"] % found["num_attention_heads"]:
        raise UserError(f"{path}: hidden_size {found['hidden_size']} is not a multiple of num_attention_heads {found['num_attention_heads']}")
    for key, default in RATES.items():
        found[key] = value = values.get(key, default)
        most = 1.0 if key.endswith("prob") else 1e4
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise UserError(f"{path}: {key} is {value!r}; expected a number between 0 and {most:g}")
    rate = values.get("classifier_dropout")
    if rate is not None and (not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1):
        raise UserError(f"{path}: classifier_dropout is {rate!r}; expected a number between 0 and 1, or null")
    pad = values.get("pad_token_id", 0)
    if pad is not None and (not isinstance(pad, int) or isinstance(pad, bool) or not 0 <= pad < found["vocab_size"]):
        raise UserError(f"{path}: pad_token_id is {pad!r}; expected null or an id below vocab_size {found['vocab_size']}")
    return found


# ---- architecture ----


def _architecture(values: Mapping[str, Any], folder: Path, role: str) -> str:
    """The first architecture that is implemented here and has the role's head, else the first that is implemented.

    Of a list that names no head, what the names of the weights show: `transformers` reads any head for which the file has weights. An
    architecture that is not implemented is returned as it is: its encoder can be read.
    """
    path, family = folder / "config.json", str(values["model_type"]).capitalize()
    given = values.get("architectures")
    if given is not None and not (isinstance(given, list) and all(isinstance(name, str) for name in given)):
        raise UserError(f"{path}: architectures is {json.dumps(given)[:60]}; expected a list of names")
    known = [name for name in given or () if name in HEADS and name.startswith(family)]
    fitting = [name for name in known if HEADS[name] in ROLE_HEADS.get(role, ())]
    if known and (fitting or HEADS[known[0]] != "encoder"):
        return (fitting or known)[0]
    if given and not known:
        if given[0] in HEADS:
            raise UserError(f"{path}: architectures {given} and model_type '{values['model_type']}' contradict each other; correct one of them")
        return str(given[0])
    return f"{family}Model" if role == "encoder" else architecture_by_names(family, weight_names(folder), path, role, named=bool(known))


ROLE_HEADS = {
    "classifier": ("classification",),
    "token-classification": ("tagging",),
    "question-answering": ("span",),
    "generator": ("masked-lm",),
    "discriminator": ("replaced-tokens",),
    "task": ("classification", "tagging", "span"),
}
"""What a checkpoint must do -> the heads that do it."""


def require_role(source: str | Path, architecture: str, role: str) -> None:
    """Check that a checkpoint of an architecture has the head that a role needs.

    Raises:
        UserError: it has another; the message names the remedy.
    """
    if role in ("any", "encoder") or HEADS.get(architecture) in ROLE_HEADS[role]:
        return
    remedies = {
        "discriminator": "give a pre-trained discriminator (ElectraForPreTraining)",
        "generator": "give a checkpoint with its generator (CKPT/generator), or a masked LM (ElectraForMaskedLM, BertForMaskedLM)",
    }
    examples = {"token-classification": "conll2000", "question-answering": "squad"}
    tune = f"fine-tune it first: electra finetune {examples.get(role, 'TASK')} --model {source} --data DIR --output RUN"
    kind = f"{'an' if architecture[0] in 'AEIOU' else 'a'} {architecture}"
    raise UserError(f"{source} is {kind}: it has no {role} head; {remedies.get(role, tune)}")


def architecture_by_names(family: str, names: Collection[str], path: Path, role: str, *, named: bool = False) -> str:
    """The architecture whose head is among the names of the weights: FamilyModel if there is none, or several and config.json says so (`named`).

    Raises:
        UserError: several are possible, and the role does not decide.
    """
    found: list[str] = []

    def add(kind: str, weight: str) -> None:
        if weight in names:
            found.append(family + kind)

    if family == "Electra":
        add("ForPreTraining", "discriminator_predictions.dense.weight")
        add("ForMaskedLM", "generator_predictions.dense.weight")
        add("ForSequenceClassification", "classifier.out_proj.weight")
        add("OriginalClassifier", "classifier.original.weight")
        add("ForTokenClassification", "classifier.weight")
        add("OriginalQuestionAnswering", "qa_start.weight")
    else:
        add("ForPreTraining" if "cls.seq_relationship.weight" in names else "ForMaskedLM", "cls.predictions.transform.dense.weight")
        add("ForTokenClassification", "classifier.weight")
        if any(name.endswith("pooler.dense.weight") for name in names):
            # Old files of a token classifier have a pooler too, which it does not use.
            add("ForSequenceClassification", "classifier.weight")
    add("MeanClassifier", "classifier.mean.weight")
    add("ForQuestionAnswering", "qa_outputs.weight")
    if len(found) > 1 and role in ROLE_HEADS:
        found = [name for name in found if HEADS[name] in ROLE_HEADS[role]] or found
    if len(found) > 1 and not named:
        raise UserError(
            f'{path}: architectures is missing, and the weights fit {" and ".join(found)}; add "architectures": ["{found[0]}"] or the other'
        )
    return found[0] if len(found) == 1 else f"{family}Model"


# ---- labels ----


def labels(values: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Class names in id order, as `transformers` resolves `id2label` and `num_labels`; LABEL_0, LABEL_1, ... where they are not given.

    A `num_labels` that contradicts `id2label` wins; `label2id` alone is not read.

    Raises:
        UserError: ids that are not 0, 1, ..., or names that are not unique.
    """
    table, count = values.get("id2label"), values.get("num_labels", 2 if values.get("id2label") is None else None)
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1_000_000):
        raise UserError(f"{path}: num_labels is {count!r}; expected a whole number above 0")
    if table is not None and not isinstance(table, dict):
        raise UserError(f"{path}: id2label is a {type(table).__name__}; expected an object with the ids 0, 1, ... as keys")
    if table is None or (count is not None and count != len(table)):
        return tuple(f"LABEL_{i}" for i in range(count or 2))
    by_id = {int(key): name for key, name in table.items() if re.fullmatch(r"\s*\d{1,9}\s*", key)}
    if not table or sorted(by_id) != list(range(len(table))):
        shown = ", ".join(f"{key:.20}" for key in list(table)[:5]) or "of nothing"
        raise UserError(f"{path}: id2label has the ids {shown}; expected 0 to {max(0, len(table) - 1)}, each once")
    names = []
    for i in range(len(by_id)):
        if isinstance(by_id[i], bool) or not isinstance(by_id[i], str | int | float):
            raise UserError(f"{path}: id2label {i} is {by_id[i]!r}; expected a name")
        names.append(str(by_id[i]))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: id2label has the name '{twice}' twice; give every id a name of its own")
    return tuple(names)


def _check_problem(values: Mapping[str, Any], count: int, path: Path) -> None:
    problem = values.get("problem_type")
    if problem is not None and problem not in PROBLEMS:
        raise UserError(f"{path}: problem_type is {problem!r}; expected null or one of {', '.join(PROBLEMS)}")
    if problem == "single_label_classification" and count == 1:
        raise UserError(f"{path}: problem_type '{problem}' needs more than one label, id2label has 1; for a number use 'regression'")


# ---- files of weights ----

SINGLE = ("model.safetensors", "pytorch_model.bin")
SAFETENSORS_INDEX, BIN_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors header."""
LONGEST_NAME = 60
"""Characters of the name of a shard."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint's weights, looked for as `transformers` does: safetensors, its shards, pytorch_model.bin, its shards.

    Raises:
        UserError: there are none, a shard is missing, or an index names files elsewhere.
    """
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder}/adapter_config.json: an adapter changes these weights; merge it into the model and save that again")
    for single, index in ((SINGLE[0], SAFETENSORS_INDEX), (SINGLE[1], BIN_INDEX)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _shards(folder / index)
    if (folder / "artefact.json").exists() or any(folder.glob("onnx/*.onnx")):
        raise UserError(f"{folder} has no weights: it is an artifact for inference; give the checkpoint it was built from")
    check_form(folder)
    others = sorted(path.name for path in folder.glob("*") if path.suffix in (".safetensors", ".bin", ".gguf"))
    hint = f"; {', '.join(others[:3])} is not read, save the model with transformers again" if others else ""
    raise UserError(f"{folder} has no model.safetensors or pytorch_model.bin, nor their shards{hint}")


def _shards(index: Path) -> list[Path]:
    try:
        table = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in table.values()})
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        raise_if_device(error)
        raise UserError(f"{index} is not an index of weights ({type(error).__name__}: {error}); fetch it again") from None
    if not names or any("/" in name or "\\" in name or "\0" in name or name.startswith(".") or len(name) > LONGEST_NAME for name in names):
        raise UserError(f"{index}: weight_map names {str(names[:3])[:200]}; expected files next to it")
    for name in names:
        if not (index.parent / name).is_file():
            raise UserError(f"{index}: shard {name} is missing; fetch all {len(names)} files")
    return [index.parent / name for name in names]


def weight_names(folder: Path) -> set[str]:
    """Names of a checkpoint's weights; of safetensors files by their headers alone.

    Raises:
        UserError: no weights, or damaged ones.
    """
    names: set[str] = set()
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            names |= safetensors_header(path).keys()
        else:
            names |= _read_file(path).keys()
    return names


def safetensors_header(path: Path) -> dict[str, Any]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file.

    Raises:
        UserError: damaged.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = parse_json(stream.read(length)) if length <= min(LARGEST_HEADER, path.stat().st_size) else None
    except (OSError, ValueError) as error:
        raise_if_device(error)
        header = None
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"} if isinstance(header, dict) else {"": None}
    for entry in entries.values():
        dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        if not isinstance(dtype, str) or not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise UserError(f"{path} is damaged or incomplete; fetch it again")
    return entries


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder (tensors only, never pickled code) -> name -> tensor as it is in the file, with current names.

    Raises:
        UserError: there are none, or a file is damaged.
    """
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found |= _read_file(path)
    current = {name: name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias") for name in found}
    for name, renamed in current.items():
        if renamed != name and renamed in found:
            raise UserError(f"{folder}: weights '{name}' and '{renamed}' are one and the same; delete one of them")
        if re.search(r"\blora_|\badapter", name):
            raise UserError(f"{folder}: weight '{name}' belongs to an adapter; {REMEDIES['adapters']}")
    return {current[name]: value for name, value in found.items()}


def _read_file(path: Path) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with path.open("rb") as stream:
        pointer = stream.read(40).startswith(b"version https://git-lfs")
    if pointer:
        raise UserError(f"{path} is a pointer of Git LFS, not the weights: run 'git lfs pull' in the folder, or download the file itself")
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _load_pickled(path)
    except UserError:
        raise
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise_if_device(error)
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} cannot be read ({reason}); it is damaged or incomplete: fetch it again") from None
    except Exception as error:  # torch raises pickle.UnpicklingError for code and for garbage alike, and much else for garbage
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} is damaged, or contains more than plain tensors, which is never loaded") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise UserError(f"{path} contains no table of tensors; expected name -> tensor, as save_pretrained writes it")
    for name in (name for name, tensor in tensors.items() if tensor.layout != torch.strided):
        raise UserError(f"{path}: weight '{name}' is a sparse tensor; save it as a dense one")
    return dict(tensors)


LONGEST_LINE = 4096
"""Bytes of the name of a class or function in a pickled file."""


class _ShortLines(io.BufferedReader):
    """A file whose lines have a limit: when torch refuses a class, it searches its own message in time that grows with the square of the name."""

    def readline(self, size: int | None = -1) -> bytes:
        """A line.

        Raises:
            ValueError: it is longer than any name.
        """
        line = super().readline(LONGEST_LINE if size is None or size < 0 else min(size, LONGEST_LINE))
        if len(line) == LONGEST_LINE:
            raise ValueError(f"a name of {LONGEST_LINE} bytes or more")
        return line


def _load_pickled(path: Path) -> Any:
    """What `torch.save` wrote, if it is of plain tensors.

    Raises:
        UserError: it names other classes or functions.
        Exception: it is damaged.
    """
    import torch

    with path.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if not is_zip:  # torch before 1.6
        with _ShortLines(io.FileIO(path)) as lines:
            return torch.load(lines, map_location="cpu", weights_only=True)
    if names := torch.serialization.get_unsafe_globals_in_checkpoint(path):
        raise UserError(f"{path} contains {sorted(names)[0]:.80}, which is more than plain tensors, and is never loaded; save the tensors alone")
    return torch.load(path, map_location="cpu", weights_only=True)


# ---- configurations next to a TensorFlow checkpoint ----

HEAD_WIDTH = 64
"""Width per attention head of the original's models, unless they say otherwise."""
SHAPES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings", "type_vocab_size")
"""What the shapes of the variables say; a configuration must agree."""
HPARAMS = ("model_size", "model_hparam_overrides", "generator_hidden_size", "generator_layers", "electra_objective")
"""Keys by which the original's `--hparams` are recognized."""
LOWERCASE = "do_lower_case"
MODEL_SIZES = {"small": (256, 12), "base": (768, 12), "large": (1024, 24)}
NESTED = {"bert_config": "", "discriminator_config": "", "generator_config": "generator"}
MOST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Values of one network from a JSON file."""

    path: Path
    of_generator: bool
    values: Mapping[str, Any]


def find_configurations(folder: Path) -> list[Configuration]:
    """The configurations in a folder: BERT's and ELECTRA's config.json under any name, and the original's `--hparams`.

    Raises:
        UserError: a file named as a configuration is not valid JSON.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            values = parse_json(path.read_text(encoding="utf-8")) if path.stat().st_size <= MOST_CONFIG_BYTES else None
        except (OSError, ValueError) as error:
            raise_if_device(error)
            if "config" in path.name and "tokenizer" not in path.name:
                raise UserError(f"{path} is not valid JSON ({error}); correct it, or move it away") from None
            continue
        if not isinstance(values, dict):
            continue
        generator = "generator" in path.name.lower()
        parts = [(generator, values)] if "num_attention_heads" in values or "hidden_size" in values else []
        parts += [(bool(role), values[key]) for key, role in NESTED.items() if isinstance(values.get(key), dict)]
        for hparams in (values, values.get("hparams")):
            if isinstance(hparams, dict) and any(key in hparams for key in HPARAMS) and not parts:
                parts = list(zip((False, True), _from_hparams(hparams, path), strict=True))
        found += [Configuration(path=path, of_generator=of_generator, values=part) for of_generator, part in parts]
    return found


def _from_hparams(hparams: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The original's hyperparameters -> its configurations of discriminator and generator (`get_bert_config`, `get_generator_config`)."""
    size, overrides = hparams.get("model_size", "small"), hparams.get("model_hparam_overrides") or {}
    if not isinstance(size, str) or not isinstance(overrides, dict):
        raise UserError(f"{path}: model_size is no name, or model_hparam_overrides no object; correct it, or move the file away")
    width, layers = MODEL_SIZES.get(size, (None, None))
    values: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "vocab_size": hparams.get("vocab_size"), **overrides}
    values[LOWERCASE] = hparams.get(LOWERCASE)
    try:
        if values["hidden_size"]:
            usual = {"num_attention_heads": max(1, values["hidden_size"] // HEAD_WIDTH), "intermediate_size": 4 * values["hidden_size"]}
            values = usual | values
        generator = {key: value for key, value in values.items() if key not in ("hidden_size", "num_hidden_layers", "embedding_size")}
        generator |= {"intermediate_size": None, "num_attention_heads": None}
        if values["hidden_size"]:
            width = round(values["hidden_size"] * hparams.get("generator_hidden_size", 0.25))
            generator |= {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": max(1, width // HEAD_WIDTH)}
        if values["num_hidden_layers"]:
            generator["num_hidden_layers"] = round(values["num_hidden_layers"] * hparams.get("generator_layers", 1.0))
        embedding = hparams.get("embedding_size") or (128 if size == "small" else values["hidden_size"])
        values["embedding_size"] = embedding
    except (TypeError, AttributeError):
        raise UserError(f"{path}: a size is not a number; correct it, or move the file away") from None
    return tuple({k: v for k, v in part.items() if v is not None} for part in (values, generator))  # type: ignore[return-value]

"""The input spec of a model: how texts become inputs and outputs become answers, recorded in config.json and the default everywhere.

`pretrain` records the length it trained at; `finetune` records that and its task's options (truncation or windows, segments, stride and lengths
of questions); `build` copies the record. A flag overrides it, and the answer says so. Models without a record, which other people made, read
windows as long as their positions and their tokenizer's `model_max_length` allow.

A task names its options with their usual values (`Task.options`); its `featurize` and `decode` take by keyword those they know.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import config
from electra.contracts import Task
from electra.data.tokenizer_files import model_max_length
from electra.errors import UserError, parse_json, raise_if_device
from electra.storage import atomic, resolve

if TYPE_CHECKING:
    from electra.settings import EvaluateSettings, FinetuneSettings

RECORD = "electra_input_spec"
"""Key in config.json: max_length and, of a fine-tuned model, the options of its task."""
OLD_RECORD = "electra_reading"
"""The same key until version 0.1."""
PRETRAINING = "electra_pretraining"
"""Key in the config.json of a pre-trained model: how its run evaluates itself (see `electra.pretraining.evaluate`)."""
CALIBRATION = "electra_calibration"
"""Key in the config.json of a classifier: the temperature that its last layer was divided by, and how it was found."""
OPTIONS = ("truncate", "token_segment", "constrained", "stride", "max_query_length", "max_answer_length", "null_threshold")
"""Options that a flag may set. Others are the task's own, such as whether a question may have no answer."""
COLUMNS = "columns"
"""Option of a custom task: the columns it reads."""
FOUND = ("tag_scheme",)
"""Options that training finds in its data."""
SHORTEST = 8
"""Tokens of the shortest input a model is used with."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How a model's inputs are made."""

    max_length: int
    """Longest input in tokens."""
    options: Mapping[str, Any]
    """Options of the task; empty for a model that is only pre-trained."""
    recorded: bool
    """Whether the model's config.json says it."""
    overridden: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What a flag or argument changed -> what was recorded."""
    above_limit: int = 0
    """The length that was given, where the model's limit is lower."""

    @property
    def truncate(self) -> str:
        """'head', 'tail' or 'head-tail' of a longer text is read, or all of it in 'windows'."""
        return str(self.options.get("truncate", "windows"))

    def describe(self) -> str:
        """'input: the first 128 tokens, as trained'."""
        parts = {
            "head": "the first",
            "longest-first": "the first",
            "tail": "the last",
            "head-tail": "from beginning and end",
            "windows": "windows of",
        }
        origin = "as trained" if self.recorded else "the model's limit, its training length is not recorded"
        if self.overridden:
            origin = "by request; " + ("trained with " if self.recorded else "otherwise ")
            origin += ", ".join(f"{name} {value}" for name, value in self.overridden.items())
        if self.above_limit:
            origin += f"; {self.above_limit} is above the model's limit"
        return f"input: {parts[self.truncate]} {self.max_length} tokens ({origin})"


def input_spec(
    values: Mapping[str, Any], task: Task | None, limit: int, *, max_length: int = 0, names: Collection[str] = (*OPTIONS, *FOUND), **changes: Any
) -> InputSpec:
    """A model's config.json -> its input spec.

    Args:
        values: config.json.
        task: the task it answers; None for a model that is only pre-trained.
        limit: longest input that its positions and its tokenizer allow.
        max_length: in place of the recorded length, at most `limit`; 0: as recorded.
        names: options that are taken from the record; others are the task's.
        changes: options in place of the recorded ones; those that the task does not have, or None, are ignored.

    Raises:
        UserError: a length below eight.
    """
    record, length = recorded(values)
    if "truncate" not in record and activation_name(values) is not None:
        # sentence-transformers cuts a CrossEncoder's texts at the tokenizer's length, of a pair the longer one; so 'finetune rerank' does.
        record, length = record | {"truncate": "longest-first"}, length or limit
    known = dict(task.options) if task is not None else {}
    if not length:
        # Questions: the length `transformers` uses. Texts: nothing is cut off.
        length = task.usual_length if task is not None and "stride" in known else limit
        known |= {"truncate": "windows"} if "truncate" in known else {}
    known |= {name: value for name, value in record.items() if name in known and name in names}
    length = min(length, limit)
    wanted = {name: value for name, value in changes.items() if value is not None and name in known}
    chosen = min(max_length or length, limit)
    if max_length and chosen < SHORTEST:
        raise UserError(f"max_length {chosen} is too short for a text; expected at least {SHORTEST}")
    overridden = {name: known[name] for name, value in wanted.items() if known[name] != value}
    overridden |= {"max_length": length} if chosen != length else {}
    above = max_length if max_length > limit else 0
    return InputSpec(max_length=chosen, options=known | wanted, recorded=bool(recorded(values)[1]), overridden=overridden, above_limit=above)


def with_options(task: Task, changes: Mapping[str, Any]) -> Task:
    """The task with some of its options changed; changes of options that it does not have are ignored."""
    options = {name: changes.get(name, value) for name, value in task.options.items()}
    return dataclasses.replace(task, options=options, featurize=_bound(task.featurize, options), decode=_bound(task.decode, options))


def _bound(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    plain, bound = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    known = inspect.signature(plain).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    return partial(plain, **bound | {name: value for name, value in options.items() if takes_all or name in known})


def as_set(task: Task, settings: FinetuneSettings | EvaluateSettings) -> Task:
    """The task with those of its options that the settings name."""
    return with_options(task, {name: value for name in OPTIONS if (value := getattr(settings, name, None)) is not None})


def check_asked(task: Task, asked: FinetuneSettings | EvaluateSettings) -> None:
    """Check that every option given is one of the task's.

    Raises:
        UserError: the first that is not.
    """
    for name in OPTIONS:
        if name in config.given(asked) and name not in task.options:
            known = ", ".join(f"--{option.replace('_', '-')}" for option in task.options if option in OPTIONS)
            raise UserError(f"--{name.replace('_', '-')} is not an option of {task.name}; it has {known or 'none'}")


def record(task: Task | None, max_length: int) -> dict[str, Any]:
    """What is added to config.json: of a pre-trained model (no task) the length, of a fine-tuned one its task's options too."""
    return {RECORD: {**(task.options if task is not None else {}), "max_length": max_length}}


def find_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record in a config.json, under the key of today or that of version 0.1; empty where there is none."""
    found = values.get(RECORD, values.get(OLD_RECORD))
    return found if isinstance(found, dict) else {}


def copied_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is added to config.json of a checkpoint made from one with config.json `values`."""
    found = {RECORD: find_record(values)} | {name: values.get(name) for name in (PRETRAINING, CALIBRATION, "finetuning_task", *resolve.CROSS_ENCODER)}
    return {name: value for name, value in found.items() if value}


def recorded(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """config.json -> the options its model was fine-tuned with, and the longest input (0: not known, as of someone else's checkpoint)."""
    options = dict(find_record(values))
    length = options.pop("max_length", 0)
    return options, length if isinstance(length, int) and length > 3 else 0


def activation_name(values: Mapping[str, Any]) -> str | None:
    """config.json -> dotted name of the function on a CrossEncoder's scores, "" for the usual one; None: not a CrossEncoder.

    Raises:
        UserError: not what sentence-transformers writes.
    """
    found = [values[key] for key in ("sbert_ce_default_activation_function", "sbert_ce_default_activation_fn") if values.get(key) is not None]
    table = values.get("sentence_transformers")
    if isinstance(table, dict):
        found = [table.get("activation_fn", found[0] if found else None) or ""]
    if (table is not None and not isinstance(table, dict)) or not all(isinstance(name, str) for name in found):
        raise UserError(
            f"config.json: sentence_transformers is {json.dumps(table or found)[:60]}; expected activation_fn and the name of a torch function"
        )
    return found[0] if found else None


def cross_encoder(folder: Path) -> dict[str, Any]:
    """What sentence-transformers keeps of a CrossEncoder in a file of its own since version 5.4, under the key that config.json had until then.

    Raises:
        UserError: not a JSON object, or a prompt that is put before every text.
    """
    values = read_object(folder / GENERAL)
    if values.get("model_type") != "CrossEncoder":
        return {}
    if (name := values.get("default_prompt_name")) is not None and read_general(values, folder / GENERAL)["prompts"][name]:
        raise UserError(f"{folder / GENERAL}: default_prompt_name {name!r} puts a prompt before every text, which is not supported; set it to null")
    return {"sentence_transformers": {"activation_fn": values.get("activation_fn")}}


def recorded_columns(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """config.json -> the columns of the custom table that its model was fine-tuned on ('text', 'text_pair', 'label', ...); None: not known."""
    found = find_record(values).get(COLUMNS)
    return found if isinstance(found, dict) else None


def with_trained_columns(settings: EvaluateSettings, trained: Mapping[str, Any] | None) -> EvaluateSettings:
    """The settings, with the columns of the model's training in place of those that were not given."""
    given = config.given(settings)
    labels = {"label", "label_columns"}
    known: dict[str, Any] = {}
    for name, value in (trained or {}).items():
        if name not in given and not (name in labels and labels & given.keys()):
            known[name] = tuple(value) if isinstance(value, list) else value
    out = dataclasses.replace(settings, **known)
    if hasattr(settings, "_given"):
        object.__setattr__(out, "_given", settings._given)
    return out


LARGEST_CONFIG = 16 << 20
"""Bytes of a config.json that are read from a zip."""


def columns_of(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's folder, or an artifact (a folder or a zip) -> its `recorded_columns`."""
    try:
        if folder.is_dir():
            return recorded_columns(parse_json((folder / "config.json").read_text(encoding="utf-8-sig")))
        with zipfile.ZipFile(folder) as archive:
            name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "config.json")
            return recorded_columns(parse_json(archive.open(name).read(LARGEST_CONFIG)))
    except (AttributeError, StopIteration, *atomic.BROKEN_PACKED) as error:
        raise_if_device(error)
        return None


def tokenizer_limit(folder: Path) -> int:
    """A checkpoint's folder -> its tokenizer's `model_max_length`; 0 where it is not given, or is the huge number of 'no limit'."""
    try:
        return model_max_length(parse_json((folder / "tokenizer_config.json").read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, AttributeError) as error:
        raise_if_device(error)
        return 0


# ---- the files of sentence-transformers ----


GENERAL = "config_sentence_transformers.json"
TRANSFORMER_FILES = tuple(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))
REMEDY = "use sentence-transformers for this model, or a copy without modules.json for the mean of the encoder's states"
HARMLESS: dict[str, tuple[str, ...]] = {
    "model": ("attn_implementation", "dtype", "torch_dtype", "low_cpu_mem_usage", "use_safetensors", "device_map", "add_pooling_layer"),
    "processor": ("use_fast", "padding_side", "clean_up_tokenization_spaces", "model_max_length", "truncation_side"),
    "config": ("use_cache",),
    "call": ("padding", "pad_to_multiple_of", "return_tensors", "return_attention_mask", "max_length"),
}
"""Arguments in the Transformer's file that are honoured, or do not change vectors."""
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
USUAL_PROMPTS = {"query": "", "document": ""}
"""Names that every model of the library has."""


def module_kind(name: str, where: Path) -> str:
    """The dotted name of a module's class, of any version -> the class.

    Raises:
        UserError: it is not one of the library's.
    """
    if not name.startswith("sentence_transformers."):
        raise UserError(f"{where}: module '{name}' is code of its own, which is never run; {REMEDY}")
    return name.rpartition(".")[2]


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        UserError: not JSON, or no object.
    """
    return dict(atomic.read_json(path, dict)) if path.is_file() else {}


def known_keys(values: Mapping[str, Any], path: Path, *keys: str) -> Mapping[str, Any]:
    """The values, after checking that there are none but of these keys.

    Raises:
        UserError: the first other one.
    """
    if unknown := [key for key in values if key not in keys]:
        raise UserError(f"{path}: key '{unknown[0]}' is not known, so it may change the vectors; expected {', '.join(keys)}; {REMEDY}")
    return values


def read_transformer(folder: Path, *, scores: bool = False) -> dict[str, Any]:
    """The file of the Transformer module -> length, truncation and case; `scores`: of a CrossEncoder, whose tokenizer alone says these.

    Raises:
        UserError: a key or value that changes the vectors and is not computed here.
    """
    path = next((folder / name for name in TRANSFORMER_FILES if read_object(folder / name)), folder / TRANSFORMER_FILES[0])
    values = read_object(path)
    arguments = {part: _arguments(values, part, path) for part in ("model", "processor", "config", "call")}
    own = ("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "processing_kwargs", "unpad_inputs")
    unused = ("query_length", "document_length", "query_expansion", "tokenizer_name_or_path")
    known_keys(
        values, path, *own, *unused, *(f"{part}_{end}" for part in ("model", "processor", "tokenizer", "config") for end in ("args", "kwargs"))
    )
    task, state, output = (
        ("sequence-classification", "logits", "scores") if scores else ("feature-extraction", "last_hidden_state", "token_embeddings")
    )
    modalities = {"text": {"method": "forward", "method_output_name": state}}
    expected: dict[str, Any] = {"transformer_task": task, "modality_config": modalities, "module_output_name": output}
    expected |= {"max_seq_length": None, "do_lower_case": False, "processing_kwargs": {}, "processor_kwargs": {}} if scores else {}
    for key, value in {**expected, **dict.fromkeys(unused)}.items():
        if values.get(key, value) != value:
            raise UserError(f"{path}: {key} is {json.dumps(values[key])[:80]}; only {json.dumps(value)} is supported; {REMEDY}")
    length = arguments["call"].get("max_length", arguments["processor"].get("model_max_length", values.get("max_seq_length")))
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 4):
        raise UserError(f"{path}: max_seq_length is {length!r}; expected null or a whole number of tokens from 4 on")
    side = arguments["processor"].get("truncation_side", read_object(folder / "tokenizer_config.json").get("truncation_side", "right"))
    return {"max_length": length or 0, "truncate": "tail" if side == "left" else "head", "lowercase": bool(values.get("do_lower_case"))}


def _arguments(values: Mapping[str, Any], part: str, path: Path) -> dict[str, Any]:
    """Arguments of the model, its configuration, the tokenizer or its calls, in a file of any version."""
    source, keys = values, ("tokenizer_args" if part == "processor" else f"{part}_args", f"{part}_kwargs")
    if part == "call":
        source, keys = values.get("processing_kwargs") or {}, ("text", "common")
    given = [source.get(key) or {} for key in keys] if isinstance(source, dict) else [source]
    if not all(isinstance(table, dict) for table in given):
        raise UserError(f"{path}: {json.dumps(source)[:80]}: expected the arguments of {' and '.join(keys)} as JSON objects")
    found = {key: value for table in given for key, value in table.items() if key != "trust_remote_code"}
    if part == "call" and found.get("truncation", True) in (True, "longest_first", "only_first"):
        found.pop("truncation", None)
    if unknown := [key for key in found if key not in HARMLESS[part]]:
        raise UserError(f"{path}: argument '{unknown[0]}' ({json.dumps(found[unknown[0]])[:60]}) may change the vectors; {REMEDY}")
    return found


def read_general(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """config_sentence_transformers.json -> prompts, similarity and size of the vectors; versions and requirements say nothing about them.

    Raises:
        UserError: a value that is not known.
    """
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        raise UserError(f"{path}: prompts is {json.dumps(prompts)[:80]}; expected name -> text")
    prompts = USUAL_PROMPTS | {name: prompt or "" for name, prompt in prompts.items()}
    default, similarity = values.get("default_prompt_name"), values.get("similarity_fn_name") or "cosine"
    if default is not None and default not in prompts:
        raise UserError(f"{path}: default_prompt_name is {default!r}; expected null or one of {', '.join(prompts)}")
    if similarity not in SIMILARITIES:
        raise UserError(f"{path}: similarity_fn_name is {similarity!r}; expected one of {', '.join(SIMILARITIES)}")
    kept = values.get("truncate_dim")
    if kept is not None and (not isinstance(kept, int) or isinstance(kept, bool) or kept < 1):
        raise UserError(f"{path}: truncate_dim is {kept!r}; expected null or a whole number above 0")
    return {"prompts": prompts, "default_prompt_name": default, "similarity": similarity, "truncate_dim": kept}

"""The table of targets, and a checkpoint + a target -> an artifact. A new target is a row here and a row in `electra.inference.backends.RUNNERS`."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra import environment
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import EXTRAS, UserError, did_you_mean, require
from electra.exporting.dense_graph import HubForm, dense_graph, role_of
from electra.inference.artifact import HUB_FILES, ONE_OUTPUT, REMOVED_TARGETS, read_manifest, weights_hash, write_artifact
from electra.inference.embeddings import SentenceModules, check_widths, read_modules, save_modules
from electra.model.huggingface import SAME_NAME, Checkpoint, is_causal, load_checkpoint
from electra.model.model_card import onnx_card, onnx_text
from electra.storage import atomic, resolve
from electra.tasks.input_spec import CALIBRATION, RECORD, cross_encoder, find_record, input_spec, recorded, tokenizer_limit
from electra.tasks.question_answering import QuestionOptions

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.exporting.dense_graph import DenseGraph
    from electra.inference.artifact import Description


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to build."""

    graph: DenseGraph
    """The network on padded batches, from `electra.exporting.dense_graph.dense_graph`."""
    folder: Path
    """Folder for the model files, which the target names."""
    tokenizer: Tokenizer
    texts: Sequence[str]
    """Calibration texts; empty unless the target needs them. 'a<TAB>b' is a pair."""
    say: Callable[[str], None]
    """Takes a line of progress."""
    max_length: int
    """Longest input of calibration in tokens: the length that the network was trained at."""
    dtypes: tuple[str, ...] = ()
    """Number formats, where the target has several: names of `HUB_FILES`."""


Build = Callable[[Job], Mapping[str, Any]]
"""Writes the model files of a job -> build.options of the manifest."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A runtime and number format to build for."""

    summary: str
    build: str
    """'module:function', a `Build`, imported when needed."""
    packages: tuple[str, ...]
    """Modules that building needs in addition to torch."""
    runtime: str
    """The module that runs the result."""
    attention: str = "eager"
    """Form of attention for its compiler, see `electra.exporting.dense_graph.dense_graph`."""
    calibrated: bool = False
    """Whether it needs calibration texts."""
    machine: str | None = None
    """'module:function' that returns why this machine cannot build or run it; None if it can."""

    def require(self) -> None:
        """Check that everything needed is installed and that this machine can build it.

        Raises:
            UserError: a package is missing (with the line that installs it), or the machine lacks something.
        """
        for package in (*self.packages, self.runtime):
            require(package, EXTRAS[package])
        if self.machine is not None:
            module, function = self.machine.split(":")
            if reason := getattr(importlib.import_module(module), function)():
                raise UserError(f"this target cannot be built here: {reason}; choose another")

    def builder(self) -> Build:
        """Import its `Build`."""
        module, function = self.build.split(":")
        found: Build = getattr(importlib.import_module(module), function)
        return found


def _onnx(summary: str, build: str, *, calibrated: bool = False) -> Target:
    return Target(summary=summary, build=build, packages=("onnx", "onnxscript"), runtime="onnxruntime", calibrated=calibrated)


def _openvino(summary: str, build: str, *, packages: tuple[str, ...] = (), calibrated: bool = False, reason: str = "reason_against") -> Target:
    return Target(
        summary=summary,
        build=f"electra.exporting.onnx_int8:build_openvino_{build}",
        packages=packages,
        runtime="openvino",
        attention="sdpa",
        calibrated=calibrated,
        machine=f"electra.inference.runtimes:{reason}",
    )


TARGETS: dict[str, Target] = {
    "onnx": _onnx("ONNX Runtime, fp32, fused", "electra.exporting.onnx:build_fp32"),
    "onnx-fp16": _onnx("ONNX Runtime, weights in half precision", "electra.exporting.onnx:build_fp16"),
    "onnx-int8": _onnx("ONNX Runtime, 8-bit, dynamic scales", "electra.exporting.onnx_int8:build_dynamic"),
    "onnx-int8-static": _onnx("ONNX Runtime, 8-bit, static scales from calibration", "electra.exporting.onnx_int8:build_static", calibrated=True),
    "openvino": _openvino("OpenVINO, fp32", "fp32"),
    "openvino-bf16": _openvino("OpenVINO, bfloat16, for processors that have it", "bf16", reason="reason_against_bf16"),
    "openvino-int8": _openvino("OpenVINO, 8-bit by NNCF, static scales from calibration", "int8", packages=("nncf",), calibrated=True),
}
"""Name -> target."""
HUB = _onnx("ONNX Runtime, a file for each number format of transformers.js", "electra.exporting.onnx_int8:build_hub")
"""What a folder for the hub is built for."""


def target(name: str) -> Target:
    """The target of a name.

    Raises:
        UserError: there is none, or it was removed.
    """
    if name in REMOVED_TARGETS:
        raise UserError(f"target '{name}' was removed ({REMOVED_TARGETS[name]}); choose {', '.join(TARGETS)}, or auto")
    if name not in TARGETS:
        raise UserError(f"unknown target '{name}'; {did_you_mean(name, TARGETS)}")
    return TARGETS[name]


# ---- building an artifact ----


def build_artifact(
    source: str,
    name: str,
    output: Path,
    *,
    texts: Sequence[str] = (),
    max_length: int = 0,
    truncate: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Description:
    """Build a checkpoint, with its generator, for a target -> the artifact at `output`, and its manifest.

    Args:
        source: checkpoint folder, run or hub name.
        name: a target of `electra.exporting.targets`.
        output: folder, or .zip.
        texts: for targets that are calibrated; 'a<TAB>b' is a pair.
        max_length: longest input in tokens, in place of the recorded one; 0: as trained.
        truncate: in place of the recorded one; None: as trained.
        say: takes lines of progress.

    Raises:
        UserError: no such checkpoint or target, no calibration texts, a package is missing, or the network cannot be built for it.
    """
    chosen = target(name)
    chosen.require()
    if chosen.calibrated and not texts:
        raise UserError(f"target {name} is calibrated on texts: give --calibrate FILE with texts like those the model will read")
    start = time.perf_counter()
    checkpoint, modules, tokenizer = open_source(source, max_length, truncate)
    _refuse_causal(checkpoint)
    if trained_length(checkpoint) < max_length:
        say(f"max_length {max_length} is above the model's limit; {trained_length(checkpoint)} is recorded")
    role = role_of(checkpoint)
    generator = _generator(checkpoint, say) if role == "discriminator" else None

    def make(folder: Path) -> Mapping[str, Any]:
        # Vectors have the length of their modules, other answers that of the tokenizer.
        tokenizer.save(folder, _limit(checkpoint, recorded_too=False) if modules.declared else trained_length(checkpoint))
        save_modules(modules, folder, checkpoint.config.hidden_size, trained_length(checkpoint))
        say(f"building the {role} for {name}")
        options, shortest = _build_part(checkpoint, chosen, folder, tokenizer, texts, say)
        if generator is not None:
            say(f"building its generator for {name}")
            (folder / "generator").mkdir()
            options = {**options, "generator": _build_part(generator, chosen, folder / "generator", tokenizer, texts, say)[0]}
        return {
            "target": name,
            "architecture": checkpoint.architecture,
            "role": role,
            "task": checkpoint.hf_config.get("finetuning_task"),
            "labels": list(checkpoint.labels),
            **({"calibration": checkpoint.hf_config[CALIBRATION]} if CALIBRATION in checkpoint.hf_config else {}),
            "limits": {"max_length": checkpoint.config.max_position_embeddings, "min_length": shortest},
            "source": {"name": _short(source), "sha256": weights_hash(checkpoint.path)},
            "build": _build_record(f"electra build {_short(source)} --target {name} --output {output.name}", start, options),
        }

    return write_artifact(output, make)


def open_source(source: str, max_length: int = 0, truncate: str | None = None) -> tuple[Checkpoint, SentenceModules, Tokenizer]:
    """A checkpoint whose config.json has its input spec and all of sentence-transformers' settings; how its vectors are made; its tokenizer."""
    found = load_checkpoint(source)
    modules = read_modules(resolve.modules_folder(source, found.path))
    check_widths(modules, found.config.hidden_size, source)
    values = {**found.hf_config, **cross_encoder(found.path)}
    if modules.declared:
        values[RECORD] = {"max_length": modules.length(tokenizer_limit(found.path), found.config.max_position_embeddings)}
    tokenizer = load_tokenizer(found.path)
    tokenizer = tokenizer.lowercased() if modules.lowercase else tokenizer
    return with_input_spec(replace(found, hf_config=values), max_length, truncate), modules, tokenizer


def _refuse_causal(checkpoint: Checkpoint) -> None:
    if is_causal(checkpoint):
        raise UserError(f"{checkpoint.path} {resolve.CAUSAL_ONLY}")


def _build_record(command: str, start: float, options: Mapping[str, Any]) -> dict[str, Any]:
    """How an artifact was built, by a command that began at `start`."""
    machine = environment.describe()
    versions = machine.pop("versions")
    return {"command": command, "versions": versions, "seconds": round(time.perf_counter() - start, 1), "options": options, "machine": machine}


def _generator(checkpoint: Checkpoint, say: Callable[[str], None]) -> Checkpoint | None:
    """The generator next to a discriminator, if it is a masked LM."""
    folder = checkpoint.path / "generator"
    if not (folder / "config.json").exists():
        return None
    found = load_checkpoint(folder)
    if resolve.head_of(found.architecture) == "masked-lm":
        return found
    say(f"omitted: generator/, because {found.architecture} cannot predict by itself")
    return None


def trained_length(checkpoint: Checkpoint) -> int:
    """Longest input of a checkpoint in tokens: as trained where that is recorded, at most its positions."""
    limit = _limit(checkpoint)
    return min(recorded(checkpoint.hf_config)[1] or limit, limit)


def _limit(checkpoint: Checkpoint, *, recorded_too: bool = True) -> int:
    """Longest input that positions and tokenizer allow; a longer one that is recorded counts more than the tokenizer's."""
    positions = checkpoint.config.max_position_embeddings
    return min(positions, max(tokenizer_limit(checkpoint.path) or positions, recorded(checkpoint.hf_config)[1] if recorded_too else 0))


def with_input_spec(checkpoint: Checkpoint, max_length: int, truncate: str | None) -> Checkpoint:
    """A checkpoint whose config.json records another length or truncation.

    Raises:
        UserError: a length that is too short, or a truncation for something else than a classifier of texts.
    """
    changes: dict[str, Any] = {}
    if max_length:
        # As `predict` takes it: at most the model's positions, at least what a text or a question needs.
        changes["max_length"] = input_spec(checkpoint.hf_config, None, _limit(checkpoint), max_length=max_length).max_length
        if role_of(checkpoint) == "question-answering":
            QuestionOptions().check(changes["max_length"])
    if truncate is not None:
        if role_of(checkpoint) != "classifier":
            raise UserError(f"--truncate is for classifiers of texts, this is {resolve.with_article(checkpoint.architecture)}; leave it out")
        changes["truncate"] = truncate
    if not changes:
        return checkpoint
    old = {"max_length": trained_length(checkpoint), **find_record(checkpoint.hf_config)}
    return replace(checkpoint, hf_config={**checkpoint.hf_config, RECORD: {**old, **changes}})


def _build_part(
    checkpoint: Checkpoint, chosen: Target, folder: Path, tokenizer: Tokenizer, texts: Sequence[str], say: Callable[[str], None]
) -> tuple[dict[str, Any], int]:
    """Write config.json and the model files of one network -> build options, and the shortest input."""
    _write_config(checkpoint, folder, architectures=[checkpoint.architecture])
    graph = dense_graph(checkpoint, chosen.attention)  # type: ignore[arg-type]
    job = Job(graph=graph, folder=folder, tokenizer=tokenizer, texts=texts, say=say, max_length=trained_length(checkpoint))
    options = chosen.builder()(job)
    return dict(options), graph.shortest


def _write_config(checkpoint: Checkpoint, folder: Path, **changes: Any) -> None:
    config = {**checkpoint.hf_config, **{key: getattr(checkpoint.config, key) for key in SAME_NAME}, **changes}
    config.pop("embeddings_in_parent", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, sampled evenly.

    Raises:
        UserError: `count` is below 1.
    """
    if count < 1:
        raise UserError(f"num_texts {count} must be at least 1")
    step = max(1.0, len(texts) / count)
    return [texts[int(i * step)] for i in range(min(count, len(texts)))]


# ---- a folder for the hub ----


def build_hub_folder(
    source: str,
    output: Path,
    *,
    dtypes: Sequence[str] = tuple(HUB_FILES),
    max_length: int = 0,
    truncate: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Description:
    """Build a checkpoint, with its generator, as a folder for the hub, which transformers.js reads -> its manifest, which is in no file.

    Args:
        source: checkpoint folder, run or hub name.
        output: folder.
        dtypes: number formats, names of `HUB_FILES`.
        max_length: longest input in tokens, in place of the recorded one; 0: as trained.
        truncate: in place of the recorded one, for electra's own commands; None: as trained.
        say: takes lines of progress.

    Raises:
        UserError: no such checkpoint or number format, a package is missing, or the layout has no form for the network.
    """
    check_dtypes(dtypes)
    HUB.require()
    start = time.perf_counter()
    checkpoint, modules, tokenizer = open_source(source, max_length, truncate)
    if trained_length(checkpoint) < max_length:
        say(f"max_length {max_length} is above the model's limit; {trained_length(checkpoint)} is recorded")
    with atomic.atomic_folder(output) as folder:
        options = write_hub_files(checkpoint, tokenizer, folder, dtypes, say)
        save_modules(modules, folder, checkpoint.config.hidden_size, trained_length(checkpoint))
        for line in _vectors_beyond_pooling(modules):
            say(line)
        config = {**checkpoint.hf_config, **_hub_config(checkpoint)}
        onnx = hub_text(output.name, checkpoint.architecture, config, modules, folder, options["dtypes"])
        (folder / "README.md").write_text(onnx_card(output.name, _short(source), checkpoint.architecture, onnx), encoding="utf-8")
    command = f"electra build {_short(source)} --layout hub --output {output.name}"
    return read_manifest(output) | {"build": _build_record(command, start, options)}


def check_dtypes(dtypes: Sequence[str]) -> None:
    """Check the number formats of a folder for the hub.

    Raises:
        UserError: there are none, or one is not made here.
    """
    for dtype in dtypes:
        if dtype not in HUB_FILES:
            raise UserError(f"dtype '{dtype}' of transformers.js is not made here; choose from {', '.join(HUB_FILES)}")
    if not dtypes:
        raise UserError(f"--dtypes is empty; choose from {', '.join(HUB_FILES)}")


def write_hub_files(
    checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, dtypes: Sequence[str], say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Write onnx/, config.json and the tokenizer of a checkpoint, and in generator/ those of its generator -> number format -> its difference."""
    _refuse_causal(checkpoint)
    generator = _generator(checkpoint, say) if role_of(checkpoint) == "discriminator" else None
    options = {"dtypes": _build_hub_part(checkpoint, folder, tokenizer, dtypes, say)}
    if generator is not None:
        (folder / "generator").mkdir()
        options["generator"] = _build_hub_part(generator, folder / "generator", tokenizer, dtypes, say)
    return options


def hub_text(
    name: str, architecture: str, config: Mapping[str, Any], modules: SentenceModules, folder: Path, differences: Mapping[str, float]
) -> str:
    """What the card of a folder says of its files in onnx/; `differences` of each number format."""
    files = [(dtype, HUB_FILES[dtype], (folder / HUB_FILES[dtype]).stat().st_size, found) for dtype, found in differences.items()]
    pooling = "cls" if modules.pooling.modes == ("cls",) else "mean"
    return onnx_text(name, architecture, config, files, pooling=pooling, limits=_vectors_beyond_pooling(modules))


def _vectors_beyond_pooling(modules: SentenceModules) -> list[str]:
    """A line where sentence-transformers' vectors are more than `pooling` mean or cls and `normalize`, which is all that transformers.js has."""
    parts = {module.kind for module in modules.later} | set(modules.pooling.modes)
    if (parts <= {"mean", "Normalize"} or parts <= {"cls", "Normalize"}) and not (modules.truncate_dim or modules.prompt()):
        return []
    return [f"transformers.js does not make the {modules.describe()}; sentence-transformers and `electra embed` do."]


def _build_hub_part(
    checkpoint: Checkpoint, folder: Path, tokenizer: Tokenizer, dtypes: Sequence[str], say: Callable[[str], None]
) -> dict[str, float]:
    """Everything of one network but its card -> number format -> its largest difference."""
    length = trained_length(checkpoint)
    segment = None if tokenizer.settings.segments else 0
    if resolve.head_of(checkpoint.architecture) == "tagging" and recorded(checkpoint.hf_config)[0].get("token_segment"):
        segment = 1  # as the original tags, and no other client
    form = HubForm(max_length=length, sep_id=tokenizer.sep_id, segment=segment)
    graph = dense_graph(checkpoint, HUB.attention, form)  # type: ignore[arg-type]
    say(f"building the {graph.role} in {', '.join(dtypes)}")
    job = Job(graph=graph, folder=folder, tokenizer=tokenizer, texts=(), say=say, max_length=length, dtypes=tuple(dict.fromkeys(dtypes)))
    found = dict(HUB.builder()(job))
    _write_config(checkpoint, folder, **_hub_config(checkpoint))
    save_for_transformers_js(tokenizer, folder, length)
    return found


def _hub_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """What config.json says otherwise for the hub: names that transformers.js knows; the graph computes what it computes."""
    name = re.sub("(Original|Mean)Classifier", "ForSequenceClassification", checkpoint.architecture)
    changes: dict[str, Any] = {"architectures": [name]}
    if len(checkpoint.labels) == 1 and resolve.head_of(name) == "classification" and checkpoint.hf_config.get("problem_type") is None:
        # `transformers` applies a sigmoid to a single output, transformers.js a softmax, which is always 1, unless it may be one of several.
        changes |= {"problem_type": "multi_label_classification", ONE_OUTPUT: "sigmoid"}
    return changes


JS_TYPES = {
    "normalizer": "BertNormalizer Sequence Replace NFC NFD NFKC NFKD Strip StripAccents Lowercase Prepend",
    "pre_tokenizer": "BertPreTokenizer Sequence Metaspace ByteLevel Split",
    "model": "WordPiece Unigram BPE",
    "post_processor": "TemplateProcessing ByteLevel BertProcessing RobertaProcessing Sequence",
    "decoder": "ByteLevel WordPiece Metaspace BPEDecoder CTC Sequence Replace Fuse Strip ByteFallback",
}
"""Part of a tokenizer.json -> the types that transformers.js has with the rules of `tokenizers`; others are written as a Split, or refused."""
_WORD = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}"
_MARKS = r"[\p{P}!-/:-@\[-`{-~]"
_CHINESE = r"[\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{2F800}-\x{2FA1F}]"
"""Chinese characters of BERT's rules beyond the first 65,536."""


def save_for_transformers_js(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """A tokenizer's files, so that transformers.js, too, makes the same ids and segments and decodes alike.

    Of a tokenizer without BERT's rules transformers.js returns segments only if its class is one of those that it knows to have them; of these,
    `transformers` takes ConvBertTokenizer's tokenizer.json as it is. Rules that transformers.js applies otherwise than `tokenizers` are written as
    others that mean the same to both.

    Raises:
        UserError: a rule that transformers.js does not have.
    """
    rules = json.loads(tokenizer.backend.to_str())
    rules["pre_tokenizer"] = _as_splits(rules["pre_tokenizer"])
    for part, known in JS_TYPES.items():
        if unknown := sorted(_types(rules[part]) - set(known.split())):
            raise UserError(
                f"tokenizer.json: {part} {unknown[0]} does not exist in transformers.js with these rules; build an artifact (--target onnx)"
            )
    if words := [token["content"] for token in rules["added_tokens"] if token["single_word"]]:
        raise UserError(f"tokenizer.json: added token {words[0]!r} has single_word, which transformers.js ignores; build an artifact (--target onnx)")
    normalizer = rules["normalizer"] or {}
    if normalizer.get("handle_chinese_chars"):
        rare = {"type": "Split", "pattern": {"Regex": _CHINESE}, "behavior": "Isolated", "invert": False}
        rules["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [rules["pre_tokenizer"], rare]}
    if normalizer.get("lowercase") or "Lowercase" in _types(normalizer):
        # JavaScript lower-cases a sigma at the end of a word to another letter.
        sigma = {"type": "Replace", "pattern": {"String": "\u03a3"}, "content": "\u03c3"}
        rules["normalizer"] = {"type": "Sequence", "normalizers": [sigma, normalizer]}
    tokenizer.save(folder, max_length)
    (folder / "tokenizer.json").write_text(json.dumps(rules, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["tokenizer_class"] == "PreTrainedTokenizerFast" and tokenizer.settings.segments:
        values["tokenizer_class"] = "ConvBertTokenizer"
    # Where it is missing, transformers.js removes spaces, `transformers` does not.
    values.setdefault("clean_up_tokenization_spaces", False)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _types(part: Any) -> set[str]:
    """The types of a part of tokenizer.json and of all parts within it."""
    if isinstance(part, list):
        return set().union(*map(_types, part))
    if not isinstance(part, dict) or "type" not in part:
        return set()
    return {part["type"]}.union(*(_types(part[key]) for key in ("normalizers", "pretokenizers", "processors", "decoders") if key in part))


def _as_splits(part: Any) -> Any:
    """A pre-tokenizer -> the same, where transformers.js has other rules for its type written as a Split."""
    if part is None:
        return None
    kind, behavior = part["type"], str(part.get("behavior", "Isolated"))
    if kind == "Sequence":
        return {**part, "pretokenizers": [_as_splits(one) for one in part["pretokenizers"]]}
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    if kind == "Digits":
        return {**split, "pattern": {"Regex": r"\p{N}" if part["individual_digits"] else r"\p{N}+"}}
    if kind in ("Whitespace", "WhitespaceSplit"):
        return {
            **split,
            "pattern": {"Regex": rf"[{_WORD}]+|[^{_WORD}\s]+" if kind == "Whitespace" else r"\S+"},
            "behavior": "Removed",
            "invert": True,
        }
    if kind == "Punctuation" and behavior in ("Isolated", "Removed", "Contiguous"):
        pattern = f"{_MARKS}+" if behavior == "Contiguous" else _MARKS
        return {**split, "pattern": {"Regex": pattern}, "behavior": "Removed" if behavior == "Removed" else "Isolated"}
    if kind == "Split" and not part["invert"] and behavior not in ("Isolated", "Removed"):
        raise UserError(f"tokenizer.json: a Split with behavior {behavior} is Isolated in transformers.js; build an artifact (--target onnx)")
    return part


def _short(source: str) -> str:
    """A source without its path on this machine."""
    path = Path(source)
    return "/".join(path.parts[-3:]) if path.is_absolute() else source

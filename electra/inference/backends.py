"""Token ids -> logits and hidden states: the `Backend` protocol, PyTorch's backend, and that of artifacts, which needs no torch.

Nothing above this module knows which backend runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from electra.data.tokenizer import Tokenizer
from electra.data.windows import WindowInput
from electra.errors import UserError, did_you_mean, parse_json, require
from electra.inference.artifact import ONE_OUTPUT, REMOVED_TARGETS, ROLE_ALIASES, Artifact, is_artifact, open_artifact, read_manifest
from electra.inference.call_forms import shown
from electra.storage import resolve
from electra.tasks.input_spec import cross_encoder, recorded

if TYPE_CHECKING:
    from torch import Tensor

    from electra.contracts import Batch
    from electra.model.huggingface import Checkpoint


Array = np.ndarray
PRETRAINED_NAMES = frozenset(f"google/electra-{size}-{part}" for size in ("small", "base", "large") for part in ("discriminator", "generator"))
"""The published checkpoints: known to be without a task's head before anything is downloaded."""


class ModelInput(Protocol):
    """One sequence of tokens: a task's `Features`, or a `WindowInput`."""

    @property
    def ids(self) -> Sequence[int] | Array: ...
    @property
    def segments(self) -> Sequence[int] | Array: ...


class Backend(Protocol):
    """A trained model, whatever runs it. Every method takes B inputs and returns one result for each, float32 on the host."""

    architecture: str
    """Name of the Hugging Face class, such as ElectraForPreTraining."""
    labels: tuple[str, ...]
    """Class names in id order; one name for a regression."""
    is_regression: bool
    """Whether config.json says so; one output alone does not make it one."""
    is_multilabel: bool
    """Whether several labels may hold at once."""
    is_electric: bool
    """Whether a discriminator's logits are Electric's energies."""
    max_length: int
    """Longest input in tokens, [CLS] and [SEP] included."""
    hidden_size: int
    vocab_size: int
    hf_config: Mapping[str, Any]
    """What config.json says."""
    token_segment: int
    """Segment of all tokens of a token classifier's input: 0, or 1 as in the original."""
    module: Any
    """What runs: a torch.nn.Module, or an artifact's runner."""

    def class_logits(self, inputs: Sequence[ModelInput]) -> Array:
        """B inputs -> (B, C)."""
        ...

    def token_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, C), special tokens included."""
        ...

    def replaced_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L,), special tokens included."""
        ...

    def span_outputs(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs of a question and its context -> a span head's outputs of each (see `electra.tasks.question_answering`)."""
        ...

    def hidden_states(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, D), special tokens included."""
        ...

    def word_logits(self, inputs: Sequence[WindowInput]) -> list[Array]:
        """B windows with M queries each -> B arrays (M, V)."""
        ...


class TorchBackend:
    """A checkpoint run by PyTorch in evaluation mode, on the CPU or CUDA; in fp32, or with autocast in bf16 or fp16."""

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str = "fp32") -> None:
        from torch import nn

        module: nn.Module = checkpoint.module
        self.module: Any = module.to(device).eval()
        self.encoder: nn.Module = getattr(module, "encoder", module)
        self.device, self.precision = device, precision
        self.architecture = checkpoint.architecture
        self.labels = tuple(checkpoint.labels)
        problem = checkpoint.hf_config.get("problem_type")
        self.is_regression = problem == "regression"
        self.is_multilabel = problem == "multi_label_classification"
        self.is_electric = bool(getattr(module, "electric", False))
        self.token_segment = int(recorded(checkpoint.hf_config)[0].get("token_segment", 0))
        self.max_length = checkpoint.config.max_position_embeddings
        self.hidden_size = checkpoint.config.hidden_size
        self.vocab_size = checkpoint.config.vocab_size
        self.num_segments = checkpoint.config.type_vocab_size
        self.ignored = checkpoint.ignored
        self.hf_config = checkpoint.hf_config

    def class_logits(self, inputs: Sequence[ModelInput]) -> Array:
        """B inputs -> (B, C)."""
        with self._batch(inputs) as batch:
            return _host(self.module(batch))

    def token_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, C)."""
        with self._batch(inputs) as batch:
            return _rows(_host(self.module(batch)), batch.lengths)

    def replaced_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L,)."""
        with self._batch(inputs) as batch:
            return _rows(_host(self.module(batch)), batch.lengths)

    def span_outputs(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, 2) or (1 + N, 4)."""
        with self._batch(inputs) as batch:
            return [_host(output) for output in self.module.outputs(batch)]

    def hidden_states(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, D)."""
        with self._batch(inputs) as batch:
            return _rows(_host(self.encoder(batch)), batch.lengths)

    def word_logits(self, inputs: Sequence[WindowInput]) -> list[Array]:
        """B windows with M queries each -> B arrays (M, V); only those positions go through the vocabulary."""
        import torch

        with self._batch(inputs) as batch:
            starts = np.concatenate([[0], np.cumsum(batch.lengths)[:-1]])
            at = [int(start) + index for start, item in zip(starts, inputs, strict=True) for index, _ in item.queries]
            logits = self.module(batch, at=torch.tensor(at, dtype=torch.int64, device=self.device))
            return _rows(_host(logits), [len(item.queries) for item in inputs])

    @contextmanager
    def _batch(self, inputs: Sequence[ModelInput]) -> Iterator[Batch]:
        import torch

        from electra.cpu_kernels import onednn_matmuls
        from electra.data.pretraining_batches import collate
        from electra.train.evaluation import autocast

        check_segments(inputs, self.num_segments)
        place = torch.device(self.device)
        with torch.inference_mode(), onednn_matmuls(place), autocast(place, self.precision):
            yield collate([(item.ids, item.segments) for item in inputs], keys=[0] * len(inputs)).to(self.device)


def check_segments(inputs: Iterable[ModelInput], num_segments: int) -> None:
    """Check that a model with one segment type gets no second text.

    Raises:
        UserError: it does.
    """
    if num_segments < 2 and any(np.any(item.segments) for item in inputs):
        raise UserError("config.json: type_vocab_size is 1, so the model has no segment for a second text; give single texts, or another model")


def _host(values: Tensor) -> Array:
    return values.float().cpu().numpy()


def _rows(values: Array, lengths: Sequence[int]) -> list[Array]:
    return np.split(values, np.cumsum(lengths)[:-1])


def open_backend(source: str | Path, *, role: str = "any", device: str = "auto", threads: int = 0, precision: str = "fp32") -> Backend:
    """Checkpoint folder, run directory, hub name or artifact -> backend.

    Args:
        source: where the weights are.
        role: what it must do, as in `electra.model.huggingface.load_checkpoint`.
        device: 'auto' takes CUDA, then the CPU.
        threads: CPU threads; 0 leaves the choice to PyTorch or the artifact's runtime.
        precision: of matmuls: 'fp32', 'bf16', or on a GPU 'fp16'.

    Raises:
        UserError: no such checkpoint, a damaged one, torch or the device is missing, or a precision that does not apply.
    """
    check_precision(source, precision)
    if is_artifact(source):
        return open_artifact_backend(source, role=role, device=device, threads=threads)
    torch = require("torch", "train")
    from electra.model.huggingface import load_checkpoint
    from electra.train.distributed import choose_device

    if threads:
        torch.set_num_threads(threads)
    place = choose_device(device, ("cuda", "cpu"))
    check_half(precision, place.type)
    checkpoint = load_checkpoint(source, role)
    return TorchBackend(replace(checkpoint, hf_config={**checkpoint.hf_config, **cross_encoder(checkpoint.path)}), str(place), precision)


def check_half(precision: str, device_type: str) -> None:
    """Raise a UserError for float16 on a CPU, which has no matmuls of it."""
    if precision == "fp16" and device_type == "cpu":
        raise UserError("precision fp16 is for GPUs; on a CPU give bf16 or fp32")


def check_precision(source: str | Path, precision: str) -> None:
    """Check that it is one, and that of an artifact none is chosen.

    Raises:
        UserError: it is not.
    """
    if precision not in ("fp32", "bf16", "fp16"):
        raise UserError(f"unknown precision '{precision}'; {did_you_mean(precision, ('fp32', 'bf16', 'fp16'))}")
    if precision != "fp32" and is_artifact(source):
        raise UserError(
            f"precision {precision}: {source} is an artifact, whose number format is that of its target; leave it out, or build another target"
        )


IGNORED = {
    "config": ((None,), "config.json of the model's folder is read"),
    "framework": ((None, "pt"), "models are read by PyTorch"),
    "binary_output": ((None, False), "answers are Python values"),
    "attn_implementation": ((None, "eager", "sdpa"), "leave it out"),
    **dict.fromkeys(("use_fast", "trust_remote_code", "low_cpu_mem_usage", "use_safetensors"), ((None, True, False), "give True or False")),
    **dict.fromkeys("feature_extractor image_processor video_processor processor modelcard".split(), ((None,), "models of text have none")),
    **dict.fromkeys(("args_parser", "pipeline_class", "code_revision"), ((None,), "leave it out")),
}
"""Argument of `transformers.pipeline`, or of its `model_kwargs` -> the values that change nothing, and why others are refused."""


def load_options(model: Any, options: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The arguments of `transformers.pipeline` -> those of `electra.load`, and the options `known` to the pipeline as they are.

    Raises:
        UserError: an argument that is unknown, or a value that would change what is computed.
    """
    given = dict(options)
    inner = given.pop("model_kwargs", None) or {}
    if not isinstance(inner, Mapping) or inner.keys() & given.keys():
        raise UserError(f"pipeline: model_kwargs {shown(inner)}; expected a dict of arguments that are not given by themselves")
    given |= inner
    for name, (values, why) in IGNORED.items():
        value = given.pop(name, None)
        if not any(value is one or (isinstance(value, str) and value == one) for one in values):
            raise UserError(f"pipeline: {name} {shown(value)} is not supported: {why}")
    for name in ("dtype", "torch_dtype"):
        if str(value := given.pop(name, None)).removeprefix("torch.") not in ("None", "auto", "float32", "float"):
            raise UserError(f"pipeline: {name} {value}; weights stay in float32; leave it out, or give precision='bf16' for faster matmuls")
    remote = model is not None and not Path(str(model)).exists()
    remedies = {"revision": "download it (hf download NAME --revision REVISION --local-dir DIR) and give DIR", "token": "set HF_TOKEN"}
    for name, remedy in (remedies | {"local_files_only": "set HF_HUB_OFFLINE=1"}).items():
        if given.pop(name, None) not in (None, False, "main") and remote:
            raise UserError(f"pipeline: {name} of a model on the hub is not an option here; {remedy}")
    given |= _device(given.pop("device", None), given.pop("device_map", None))
    if not isinstance(words := given.get("tokenizer"), str | Path | Tokenizer | None):
        raise UserError(f"pipeline: tokenizer {shown(words)}; expected a folder or the hub's name; save it, and give its folder")
    all_known = {"device", "threads", "precision", "max_length", "batch_size", "truncate", "tokenizer", *known}
    for name in given:
        if name not in all_known:
            raise UserError(f"unknown option '{name}' of a pipeline; {did_you_mean(name, all_known)} (expected {', '.join(sorted(all_known))})")
    return given


def _device(device: Any, device_map: Any) -> dict[str, str]:
    """The device of a pipeline: a name, a number (-1: the CPU; without CUDA every number is), or a torch.device."""
    if device is not None and device_map is not None:
        raise UserError(f"pipeline: device {device} and device_map {shown(device_map)}; give one of them")
    found = device if device_map is None else device_map
    if isinstance(found, int) and not isinstance(found, bool):
        torch = sys.modules.get("torch") or importlib.import_module("torch") if importlib.util.find_spec("torch") else None
        found = f"cuda:{found}" if found >= 0 and torch is not None and torch.cuda.is_available() else "cpu"
    if not isinstance(found, str | None) and type(found).__name__ != "device":
        raise UserError(f"pipeline: device {shown(found)}; expected 'auto', 'cpu', 'cuda', 'cuda:1' or a number")
    return {} if found is None else {"device": str(found)}


def architecture_of(source: str | Path, role: str = "any") -> str:
    """Checkpoint folder, run directory, hub name or artifact -> the name of its Hugging Face class, without loading the weights.

    `role`: what the model is for; it decides where config.json names no architecture and the weights fit several.

    Raises:
        UserError: no such model.
    """
    if str(source) in PRETRAINED_NAMES:
        return "ElectraForPreTraining" if str(source).endswith("discriminator") else "ElectraForMaskedLM"
    if is_artifact(source):
        return str(read_manifest(source)["architecture"])
    from electra.model.hf_config import read_config

    return resolve.architecture_in(read_config(resolve.resolve(source), role))


def require_question_answering(name: str, architecture: str) -> None:
    """Check that a checkpoint of this architecture answers questions.

    Raises:
        UserError: it does not; the message names the command that fine-tunes it.
    """
    if resolve.head_of(architecture) != "span":
        raise UserError(
            f"{name} answers no questions (it is {resolve.with_article(architecture)}); fine-tune it first: "
            f"electra finetune squad --model {name} --data squad --output runs/squad, then use runs/squad/best"
        )


def require_classifier(name: str, architecture: str) -> None:
    """Check that a checkpoint of this architecture predicts labels.

    Raises:
        UserError: it does not; the message names the command that fine-tunes it.
    """
    if resolve.head_of(architecture) == "classification":
        return
    raise UserError(
        f"{name} has no classification head (it is {resolve.with_article(architecture)}), so its labels would be random; fine-tune it first: "
        f"electra finetune sst2 --model {name} --data glue/SST-2 --output runs/sst2, then use runs/sst2/best"
    )


# ---- artifacts ----


Inputs = Mapping[str, Array]

IDS, MASK, SEGMENTS, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "positions"
LOGITS, STATES, SPANS = "logits", "last_hidden_state", "spans"
START, END = "start_logits", "end_logits"
"""Names of the inputs and outputs of an artifact's model, as in `electra.exporting.dense_graph`."""
NEGLIGIBLE = -500.0
"""Log-probability below which a span is outside of the context, as in `electra.model.heads`."""


class Runner(Protocol):
    """Runs one model file."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    """Their names."""

    def __call__(self, inputs: Inputs, wanted: Sequence[str]) -> list[Array]:
        """(B, L) int64 grids (and POSITIONS (M,) of a masked LM) -> the wanted outputs, float32."""
        ...


RUNNERS = {
    "onnx": ("open_onnx", "onnxruntime"),
    "openvino": ("open_openvino", "openvino"),
}
"""Target, up to its first '-' or whole -> the function of `electra.inference.runtimes` that opens its files, and the package it needs."""


def open_artifact_backend(source: str | Path | Artifact, *, role: str = "any", device: str = "auto", threads: int = 0) -> ArtifactBackend:
    """An artifact -> its model; its generator where `role` is 'generator' and it has one.

    Args:
        source: folder, .zip, or what `open_artifact` returned.
        role: what it must do, as in `electra.model.huggingface.load_checkpoint`.
        device: 'auto' or 'cpu'; an artifact runs where it was built for.
        threads: CPU threads; 0: one per core.

    Raises:
        UserError: not an artifact, damaged, without what `role` needs, or its runtime is not installed.
    """
    manifest = source.manifest if isinstance(source, Artifact) else read_manifest(source)
    if manifest["target"] in REMOVED_TARGETS:
        raise UserError(
            f"{source.name if isinstance(source, Artifact) else source} was built for target '{manifest['target']}', which was removed; "
            "build it again: electra build CHECKPOINT --target onnx --output ARTIFACT"
        )
    artifact = source if isinstance(source, Artifact) else open_artifact(source)
    if device not in ("auto", "cpu"):
        raise UserError(f"{artifact.name} is built for the CPU ({artifact.target}); leave out device '{device}'")
    folder, own_role, role = artifact.path, artifact.role, ROLE_ALIASES.get(role, role)
    if role == "generator" and own_role != "generator" and artifact.has_generator:
        folder, own_role = folder / "generator", "generator"
    _require_role(artifact, own_role, role)
    config = _config(folder)
    return ArtifactBackend(_open_runner(artifact, folder, threads), config, artifact, role=own_role, threads=threads)


class ArtifactBackend:
    """The model of an artifact: pads a batch to its longest input, runs the model file, and removes the padding from the outputs."""

    device = "cpu"

    def __init__(self, runner: Runner, hf_config: Mapping[str, Any], artifact: Artifact, *, role: str, threads: int) -> None:
        self.module: Any = runner
        self.artifact = artifact
        self.role = role
        self.threads = threads
        self.hf_config = hf_config
        self.architecture = resolve.architecture_in(hf_config)
        self.labels = artifact.labels if role in ("classifier", "token-classification") else ()
        problem = None if hf_config.get(ONE_OUTPUT) else hf_config.get("problem_type")
        self.is_regression = problem == "regression"
        self.is_multilabel = problem == "multi_label_classification"
        self.is_electric = hf_config.get("electra_objective") == "electric"
        self.token_segment = int(recorded(hf_config)[0].get("token_segment", 0))
        self.max_length = int(hf_config["max_position_embeddings"])
        self.hidden_size = int(hf_config["hidden_size"])
        self.vocab_size = int(hf_config["vocab_size"])
        self.num_segments = int(hf_config.get("type_vocab_size", 2))
        self.shortest = int(artifact.manifest["limits"].get("min_length", 1))

    def class_logits(self, inputs: Sequence[ModelInput]) -> Array:
        """B inputs -> (B, C)."""
        return self._run(inputs, [LOGITS])[0]

    def token_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, C)."""
        return _cut(self._run(inputs, [LOGITS])[0], inputs)

    def replaced_logits(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L,)."""
        return _cut(self._run(inputs, [LOGITS])[0], inputs)

    def span_outputs(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, 2) or (1 + N, 4)."""
        if START in self.module.outputs:
            return _cut(np.stack(self._run(inputs, [START, END]), axis=-1), inputs)
        if self.architecture != "ElectraOriginalQuestionAnswering":
            return _cut(self._run(inputs, [LOGITS])[0], inputs)
        logits, spans = self._run(inputs, [LOGITS, SPANS])
        out = []
        for logit, beam in zip(logits, spans, strict=True):
            row = np.zeros((1, 4), dtype=np.float32)
            row[0, 0] = logit[0]
            out.append(np.concatenate([row, beam[(beam[:, 2:] > NEGLIGIBLE).all(-1)]]))
        return out

    def hidden_states(self, inputs: Sequence[ModelInput]) -> list[Array]:
        """B inputs -> B arrays (L, D)."""
        return _cut(self._run(inputs, [STATES])[0], inputs)

    def word_logits(self, inputs: Sequence[WindowInput]) -> list[Array]:
        """B windows with M queries each -> B arrays (M, V)."""
        if POSITIONS not in self.module.inputs:
            (whole,) = self._run(inputs, [LOGITS])
            return [row[[index for index, _ in item.queries]] for row, item in zip(whole, inputs, strict=True)]
        length = max(self.shortest, max(len(item.ids) for item in inputs))
        positions = [row * length + index for row, item in enumerate(inputs) for index, _ in item.queries]
        logits = self._run(inputs, [LOGITS], np.array(positions, dtype=np.int64))[0]
        return np.split(logits, np.cumsum([len(item.queries) for item in inputs])[:-1])

    def _run(self, inputs: Sequence[ModelInput], wanted: Sequence[str], positions: Array | None = None) -> list[Array]:
        check_segments(inputs, self.num_segments)
        length = max(self.shortest, max(len(item.ids) for item in inputs))
        ids, mask, segments = (np.zeros((len(inputs), length), dtype=np.int64) for _ in range(3))
        for row, item in enumerate(inputs):
            count = len(item.ids)
            ids[row, :count], mask[row, :count], segments[row, :count] = item.ids, 1, item.segments
        grids: dict[str, Array] = {IDS: ids, MASK: mask, SEGMENTS: segments}
        if POSITIONS in self.module.inputs:
            # A masked LM has this fourth input even where only its states are wanted.
            grids[POSITIONS] = np.zeros(0, dtype=np.int64) if positions is None else positions
        if missing := [name for name in wanted if name not in self.module.outputs]:
            raise UserError(
                f"{self.artifact.name} has no output {missing[0]}, its model returns {', '.join(sorted(self.module.outputs))}; "
                "build it from its checkpoint: electra build"
            )
        feed = {name: values for name, values in grids.items() if name in self.module.inputs}
        return [np.asarray(values, dtype=np.float32) for values in self.module(feed, wanted)]


def _cut(values: Array, inputs: Sequence[ModelInput]) -> list[Array]:
    return [row[: len(item.ids)] for row, item in zip(values, inputs, strict=True)]


def _require_role(artifact: Artifact, own: str, wanted: str) -> None:
    """Check that an artifact of one role can do the work of another."""
    if wanted in ("any", "encoder", own) or (wanted == "task" and own in ("classifier", "token-classification", "question-answering")):
        return
    remedies = {
        "generator": "build it from a checkpoint with its generator (CKPT/generator)",
        "discriminator": "build one from a pre-trained discriminator",
    }
    remedy = remedies.get(wanted, "fine-tune a checkpoint first (electra finetune), then build that")
    raise UserError(f"{artifact.name} is an artifact of {resolve.with_article(artifact.architecture)}: it has no {wanted} head; {remedy}")


def _config(folder: Path) -> dict[str, Any]:
    """config.json; its hash fits, but someone may have written both."""
    try:
        values = parse_json((folder / "config.json").read_text(encoding="utf-8"))
        sizes = [values[key] for key in ("max_position_embeddings", "hidden_size", "vocab_size")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/config.json is not that of a network ({type(error).__name__}: {error}); build the artifact again") from None
    if not all(isinstance(size, int) and 0 < size <= 10_000_000 for size in sizes):
        raise UserError(f"{folder}/config.json has sizes {sizes}; expected whole numbers above 0; build the artifact again")
    return dict(values)


def _open_runner(artifact: Artifact, folder: Path, threads: int) -> Runner:
    target = artifact.target
    row = RUNNERS.get(target) or RUNNERS.get(target.split("-")[0])
    if row is None:
        raise UserError(f"no runtime here for artifacts of target '{target}'; {did_you_mean(target, RUNNERS)}; upgrade, or build it again")
    function, package = row
    # Checked first, so that the error about a missing runtime has the line that installs it.
    from electra.errors import EXTRAS

    require(package, EXTRAS[package])
    file = (artifact.model_file,) if artifact.model_file else ()
    runner: Runner = getattr(importlib.import_module("electra.inference.runtimes"), function)(folder, threads, *file)
    return runner

"""Texts -> vectors: pooling of a text's last hidden states and what follows it, as the files of a sentence-transformers folder say.

Source: sentence-transformers 6.2, `base/model.py` (order of the steps), `base/modules` and `sentence_transformer/modules` (what each does and
which keys its config.json has). A checkpoint without modules.json, which is not of that library, has the mean of all tokens, of windows where
it is longer than the model's limit. Nothing here imports torch: a checkpoint and an artifact share every line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.data.windows import Window, WindowInput, run_windows, text_windows
from electra.errors import UserError, did_you_mean
from electra.inference.replaced_tokens import EncodedText, text_size
from electra.model.hf_config import read_weights, safetensors_header
from electra.storage import atomic
from electra.storage.resolve import module_entries
from electra.tasks.input_spec import (
    GENERAL,
    REMEDY,
    TRANSFORMER_FILES,
    USUAL_PROMPTS,
    InputSpec,
    known_keys,
    module_kind,
    read_general,
    read_object,
    read_transformer,
)
from electra.tasks.similarity import prepared, similarities
from electra.tasks.text_tasks import shorten

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Backend

Array = np.ndarray

# ---- pooling ----

LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Key of an older config.json -> mode, in the order in which the library joins several."""
MODES = tuple(LEGACY_MODES.values())
Part = tuple[Array, float]
"""What a mode needs of one window: a vector (D,), and how much of the text it stands for; 0: none of its tokens counts."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """A text's states -> one vector, or several joined."""

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    """Whether the tokens of a prompt count."""

    def parts(self, states: Array, first: int, skipped: int) -> list[Part]:
        """(n, D) states of a text's tokens from number `first` on, without the text's `skipped` first ones -> a part for each mode."""
        rows = states[max(0, skipped - first) :]
        positions = np.arange(max(first, skipped) + 1, first + len(states) + 1, dtype=np.float64)
        return [_part(mode, states, rows, positions) for mode in self.modes]

    def combine(self, windows: Sequence[Sequence[Part]]) -> Array:
        """The parts of a text's windows, in order -> (modes * D,) float32."""
        return np.concatenate([_combined(mode, parts) for mode, parts in zip(self.modes, zip(*windows, strict=True), strict=True)]).astype(np.float32)


def _part(mode: str, states: Array, rows: Array, positions: Array) -> Part:
    if not len(rows):
        return {"cls": states[0], "max": np.full(states.shape[1], -np.inf, dtype=np.float32)}.get(mode, np.zeros(states.shape[1])), 0.0
    if mode in ("cls", "lasttoken"):
        return rows[0 if mode == "cls" else -1], 1.0
    if mode == "max":
        return rows.max(0), 1.0
    if mode == "weightedmean":
        return positions @ rows, float(positions.sum())
    return rows.sum(0, dtype=np.float64), float(len(rows))


def _combined(mode: str, parts: Sequence[Part]) -> Array:
    parts = [part for part in parts if part[1]] or parts[:1]
    if mode in ("cls", "lasttoken"):
        return parts[0 if mode == "cls" else -1][0]
    if mode == "max":
        return np.max([vector for vector, _ in parts], axis=0)
    weight = max(sum(weight for _, weight in parts), 1e-9)
    total: Array = np.sum([vector for vector, _ in parts], axis=0)
    return total / (math.sqrt(weight) if mode == "mean_sqrt_len_tokens" else weight)


# ---- what follows the pooling ----

_erf = np.frompyfunc(math.erf, 1, 1)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "SELU": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "GELU": lambda x: x * (0.5 + 0.5 * np.asarray(_erf(x / math.sqrt(2)), dtype=np.float32)),
    "SiLU": lambda x: x * (0.5 + 0.5 * np.tanh(x / 2)),
    "Mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Hardtanh": lambda x: np.clip(x, -1, 1),
    "Hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
"""Class of torch.nn, made without arguments -> what it computes."""
_ACTIVATION = re.compile(r"torch\.nn\.(?:modules\.(?:activation\.|linear\.)?)?(\w+)")


@dataclass(frozen=True, kw_only=True)
class SentenceModule:
    """A module after the pooling: (D,) float32 -> (D',) float32.

    'Normalize' scales to length one; 'LayerNorm' to mean 0 and variance 1, then by its weights; 'Dense' is a linear layer with its activation.
    """

    kind: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    """Name as in the module's model.safetensors -> float32."""
    activation: str = "Identity"
    residual: bool = False
    """Whether a Dense adds its input, projected where the widths differ."""

    def __call__(self, vector: Array) -> Array:
        if self.kind == "Normalize":
            return vector / np.float32(max(float(np.linalg.norm(vector.astype(np.float64))), 1e-12))
        if self.kind == "LayerNorm":
            scaled = (vector - vector.mean(dtype=np.float64)) / math.sqrt(float(vector.var(dtype=np.float64)) + 1e-5)
            return (scaled * self.weights["norm.weight"] + self.weights["norm.bias"]).astype(np.float32)
        out = ACTIVATIONS[self.activation](self.weights["linear.weight"] @ vector + self.weights.get("linear.bias", np.float32(0)))
        if self.residual:
            out = out + (self.weights["residual.weight"] @ vector if "residual.weight" in self.weights else vector)
        return out.astype(np.float32)

    def widths(self, width: int) -> tuple[int, int]:
        """D of the module before it -> D that it takes, D' that it gives."""
        shape = {"Dense": "linear.weight", "LayerNorm": "norm.weight"}.get(self.kind)
        return (width, width) if shape is None else (self.weights[shape].shape[-1], self.weights[shape].shape[0])

    def config(self) -> dict[str, Any]:
        """The values of its config.json."""
        if self.kind == "Normalize":
            return {}
        given, made = self.widths(0)
        if self.kind == "LayerNorm":
            return {"dimension": made}
        place = "linear" if self.activation == "Identity" else "activation"
        values = {"in_features": given, "out_features": made, "bias": "linear.bias" in self.weights}
        return values | {"activation_function": f"torch.nn.modules.{place}.{self.activation}"} | ({"use_residual": True} if self.residual else {})

    def describe(self) -> str:
        """'Dense to 256 (Tanh)'."""
        return f"Dense to {self.widths(0)[1]} ({self.activation})" if self.kind == "Dense" else self.kind


# ---- a model's modules ----

NORMALIZE = SentenceModule(kind="Normalize")


@dataclass(frozen=True, kw_only=True)
class SentenceModules:
    """How a model's vectors are made."""

    pooling: Pooling = field(default_factory=Pooling)
    later: tuple[SentenceModule, ...] = ()
    declared: bool = True
    """Whether the model's files say it; else it is the mean of all tokens."""
    max_length: int = 0
    """Longest input in tokens, [CLS] and [SEP] included; 0: what the tokenizer's files and the positions allow."""
    truncate: str = "head"
    """What of a longer text is read: 'head', 'tail' where the tokenizer cuts at the left, all in 'windows' where nothing is declared."""
    lowercase: bool = False
    """Whether texts are lower-cased before the tokenizer's own rules."""
    prompts: Mapping[str, str] = field(default_factory=lambda: USUAL_PROMPTS)
    default_prompt_name: str | None = None
    similarity: str = "cosine"
    truncate_dim: int | None = None
    """How many of a vector's numbers are kept; None: all."""

    def width(self, hidden_size: int, truncate_dim: int | None = None) -> int:
        """Numbers of a vector."""
        width = len(self.pooling.modes) * hidden_size
        for module in self.later:
            width = module.widths(width)[1]
        return min(width, truncate_dim or self.truncate_dim or width)

    def prompt(self, prompt: str | None = None, name: str | None = None) -> str:
        """The text before every text: `prompt`, else the one of a name, else the default one.

        Raises:
            UserError: no prompt of that name, or both are given.
        """
        if prompt is not None and name is not None:
            raise UserError(f"prompt and prompt_name '{name}' are both given; give one of them")
        if prompt is not None:
            return prompt
        name = self.default_prompt_name if name is None else name
        if name is None:
            return ""
        if not self.declared:
            raise UserError(f"prompt_name '{name}': the model is no sentence-transformers folder and has no prompts; give the text itself as prompt")
        if name not in self.prompts:
            raise UserError(f"the model has no prompt '{name}'; {did_you_mean(name, self.prompts)}")
        return self.prompts[name]

    def prompt_of(self, kind: str) -> str | None:
        """The name of the model's own prompt for a 'query' or a 'document'; None: it has none, and its default is used."""
        names = PROMPT_NAMES.get(kind, ()) if self.declared else ()
        return next((name for name in names if name in self.prompts), None)

    def finish(self, vector: Array, *, truncate_dim: int | None, normalize: bool) -> Array:
        """A pooled vector -> the text's."""
        for module in self.later:
            vector = module(vector)
        vector = vector[: truncate_dim or self.truncate_dim or len(vector)]
        return NORMALIZE(vector) if normalize else vector

    def scores(self, first: Array, second: Array) -> Array:
        """(N, D) and (M, D) vectors -> (N, M) similarities by the model's `similarity_fn_name`, the nearer the larger."""
        a, b = (prepared(np.atleast_2d(rows).astype(np.float64), self.similarity) for rows in (first, second))
        return similarities(a, b, self.similarity).astype(np.float32)

    def spec(self, spec: InputSpec, truncate: str | None) -> InputSpec:
        """A model's input spec -> the same with what is read of longer texts; `truncate` in place of the model's."""
        if not self.declared and (truncate is None or "truncate" in spec.options):
            return spec
        chosen = truncate or self.truncate
        changed = {"truncate": self.truncate} if chosen != self.truncate else {}
        return replace(spec, options={**spec.options, "truncate": chosen}, overridden={**spec.overridden, **changed})

    def length(self, tokenizer: int, positions: int) -> int:
        """Longest input in tokens; `tokenizer`: what its files allow, 0: any."""
        return min(self.max_length or tokenizer or positions, positions)

    def describe(self) -> str:
        """'vectors: cls + mean, Dense to 256 (Tanh), Normalize, the first 128 numbers; default prompt 'query: ''."""
        parts = [" + ".join(self.pooling.modes) + (" of all tokens" if self.pooling.modes == ("mean",) else "")]
        parts += ["without the prompt's tokens"] if not self.pooling.include_prompt else []
        parts += [module.describe() for module in self.later]
        parts += [f"the first {self.truncate_dim} numbers"] if self.truncate_dim else []
        prompt = self.prompt()
        return f"vectors: {', '.join(parts)}" + (f"; prompt {prompt!r} before every text" if prompt else "")


PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Kind of text -> names of prompts for it, as sentence-transformers' `encode_query` and `encode_document` look for them."""
PLAIN = SentenceModules(declared=False, truncate="windows")
"""Of a model without such files."""


# ---- the files ----


def read_modules(folder: Path) -> SentenceModules:
    """A model's folder -> how its vectors are made: PLAIN without a modules.json, or with that of a CrossEncoder, which has none.

    Raises:
        UserError: a module, key or value that changes the vectors and is not computed here; the line names it.
    """
    listed = folder / "modules.json"
    if not listed.is_file():
        return PLAIN
    general = read_object(folder / GENERAL)
    entries = module_entries(folder)
    kinds = [module_kind(kind, listed) for kind, _ in entries]
    family = general.get("model_type", "SentenceTransformer")
    if family == "CrossEncoder" and kinds == ["Transformer"]:
        read_transformer(folder / entries[0][1], scores=True)
        return PLAIN
    if family != "SentenceTransformer":
        raise UserError(
            f"{folder / GENERAL}: model_type {family}: its {' + '.join(kinds)} makes no sentence vectors that are computed here; {REMEDY}"
        )
    for place, kind in enumerate(kinds):
        wanted = ("Transformer",) if not place else ("Pooling",) if place == 1 else tuple(LATER)
        if kind not in wanted:
            expected = "Transformer, Pooling, then any of Dense, Normalize, LayerNorm, Dropout"
            raise UserError(f"{listed}: module {kind} ({entries[place][1]}) is not supported at place {place}; expected {expected}; {REMEDY}")
    if len(kinds) < 2:
        raise UserError(f"{listed}: no Pooling follows the Transformer; {REMEDY}")
    later = [LATER[kind](folder / path) for kind, (_, path) in zip(kinds[2:], entries[2:], strict=True)]
    settings = {**read_transformer(folder / entries[0][1]), **read_general(general, folder / GENERAL)}
    pooling = _pooling(folder / entries[1][1] / "config.json")
    return SentenceModules(pooling=pooling, later=tuple(module for module in later if module is not None), **settings)


def check_widths(modules: SentenceModules, hidden_size: int, name: str) -> None:
    """Check that every module fits the one before it.

    Raises:
        UserError: the first that does not.
    """
    width = len(modules.pooling.modes) * hidden_size
    for module in modules.later:
        wanted, made = module.widths(width)
        if wanted != width:
            raise UserError(f"{name}: module {module.kind} takes {wanted} numbers, the one before it gives {width}; they do not belong together")
        width = made


def _pooling(path: Path) -> Pooling:
    sizes = ("embedding_dimension", "word_embedding_dimension")
    values = known_keys(read_object(path), path, *sizes, "pooling_mode", "include_prompt", *LEGACY_MODES)
    if not any(key in values for key in sizes):
        raise UserError(f"{path}: embedding_dimension is missing; expected the config.json that sentence-transformers writes")
    modes = values.get("pooling_mode", [mode for key, mode in LEGACY_MODES.items() if values.get(key)] or ["mean"])
    modes = tuple(modes) if isinstance(modes, list) else (modes,)
    if not modes or any(mode not in MODES for mode in modes):
        raise UserError(f"{path}: pooling_mode is {json.dumps(modes)}; expected one or several of {', '.join(MODES)}")
    return Pooling(modes=modes, include_prompt=bool(values.get("include_prompt", True)))


def _places(folder: Path, *keys: str) -> Mapping[str, Any]:
    """A module's config.json, which may say that it reads and writes the sentence's vector, and nothing else."""
    path = folder / "config.json"
    values = known_keys(read_object(path), path, *keys, "module_input_name", "module_output_name")
    for key in ("module_input_name", "module_output_name"):
        if values.get(key) not in (None, "sentence_embedding"):
            raise UserError(f"{path}: {key} is {values[key]!r}; only 'sentence_embedding' is supported; {REMEDY}")
    return values


def _normalize(folder: Path) -> SentenceModule:
    _places(folder)
    return NORMALIZE


def _dropout(folder: Path) -> None:
    """Nothing is dropped when a trained model answers."""
    _places(folder, "dropout")


def _dense(folder: Path) -> SentenceModule:
    path = folder / "config.json"
    values = _places(folder, "in_features", "out_features", "bias", "activation_function", "use_residual")
    name = str(values.get("activation_function", "torch.nn.modules.activation.Tanh"))
    found = _ACTIVATION.fullmatch(name)
    if found is None or found[1] not in ACTIVATIONS:
        raise UserError(f"{path}: activation_function {name} is not supported; expected one of torch.nn.modules.activation: {', '.join(ACTIVATIONS)}")
    size = (values.get("out_features"), values.get("in_features"))
    shapes: dict[str, tuple[Any, ...]] = {"linear.weight": size}
    shapes |= {"linear.bias": size[:1]} if values.get("bias", True) else {}
    residual = bool(values.get("use_residual", False))
    shapes |= {"residual.weight": size} if residual and size[0] != size[1] else {}
    return SentenceModule(kind="Dense", weights=_weights(folder, shapes), activation=found[1], residual=residual)


def _layer_norm(folder: Path) -> SentenceModule:
    size = (_places(folder, "dimension").get("dimension"),)
    return SentenceModule(kind="LayerNorm", weights=_weights(folder, {"norm.weight": size, "norm.bias": size}))


LATER: dict[str, Callable[[Path], SentenceModule | None]] = {"Dense": _dense, "Normalize": _normalize, "LayerNorm": _layer_norm, "Dropout": _dropout}
"""Class of a module after the pooling -> what reads its folder; None: it changes nothing."""


def _weights(folder: Path, shapes: Mapping[str, tuple[Any, ...]]) -> dict[str, Array]:
    """A module's weights, float32; torch is needed for a pytorch_model.bin or bfloat16 alone."""
    path = folder / "model.safetensors"
    if path.is_file() and {entry["dtype"] for entry in safetensors_header(path).values()} <= {"F64", "F32", "F16"}:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = {name: value.astype(np.float32) for name, value in load_file(path).items()}
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({str(error)[:100]}); it is damaged or incomplete: fetch it again") from None
    else:
        found = {name: value.float().numpy() for name, value in read_weights(folder).items()}
    for name in sorted({*found, *shapes}):
        if name not in found or name not in shapes or found[name].shape != shapes[name]:
            shown = found[name].shape if name in found else "missing"
            raise UserError(f"{folder}: weight '{name}' is {shown}, its config.json expects {shapes.get(name, 'none')}; they do not belong together")
    return found


def save_modules(modules: SentenceModules, folder: Path, hidden_size: int, max_length: int) -> None:
    """Write the files next to an encoder's, as every version of sentence-transformers reads them; nothing where none are declared."""
    if not modules.declared:
        return
    modes = modules.pooling.modes
    table: dict[str, Any] = {key: mode in modes for key, mode in LEGACY_MODES.items()}
    if tuple(mode for mode in MODES if mode in modes) != modes:
        table = {"pooling_mode": list(modes)}
    table = {"word_embedding_dimension": hidden_size, **table, "include_prompt": modules.pooling.include_prompt}
    kinds = ["Transformer", "Pooling", *(module.kind for module in modules.later)]
    paths = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds) if place)]
    rows = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    general: dict[str, Any] = {"prompts": dict(modules.prompts), "default_prompt_name": modules.default_prompt_name}
    general |= {"similarity_fn_name": modules.similarity, "truncate_dim": modules.truncate_dim}
    own: dict[str, Any] = {"max_seq_length": max_length, "do_lower_case": modules.lowercase}
    own |= {"tokenizer_args": {"truncation_side": "left"}} if modules.truncate == "tail" else {}
    files = {"modules.json": rows, TRANSFORMER_FILES[0]: own, GENERAL: general, f"{paths[1]}/config.json": table}
    files |= {f"{path}/config.json": module.config() for path, module in zip(paths[2:], modules.later, strict=True)}
    for name, values in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        atomic.write_text(folder / name, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    for path, module in zip(paths[2:], modules.later, strict=True):
        if module.weights:
            from safetensors.numpy import save_file

            save_file({name: np.ascontiguousarray(value) for name, value in module.weights.items()}, folder / path / "model.safetensors")


# ---- texts ----


@dataclass(frozen=True)
class Embedder:
    """A model that turns texts into vectors."""

    backend: Backend
    tokenizer: Tokenizer
    modules: SentenceModules
    max_length: int
    truncate: str
    """What is read of longer texts, as in `electra.tasks.text_tasks.TRUNCATIONS`."""

    def vectors(
        self,
        texts: Iterable[str | EncodedText],
        batch_size: int,
        *,
        normalize: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
    ) -> Iterator[Array]:
        """Any number of texts -> a (D,) float32 vector each, in order and in constant memory.

        Raises:
            UserError: no prompt of that name, or a size below one.
        """
        if truncate_dim is not None and truncate_dim < 1:
            raise UserError(f"truncate_dim {truncate_dim} must be at least 1")
        if truncate_dim is not None and truncate_dim > (width := self.modules.width(self.backend.hidden_size, 2**31)):
            raise UserError(f"truncate_dim {truncate_dim}: the vectors have {width} numbers; give at most that")
        before = self.modules.prompt(prompt, prompt_name)
        length = len(self.tokenizer.encode([before])[0])
        if self.truncate != "windows":
            length = min(length, self.max_length - 2)
        skipped = 1 + length if before and not self.modules.pooling.include_prompt else 0

        def run(windows: list[WindowInput]) -> list[list[Part]]:
            found = zip(windows, self._states(windows), strict=True)
            return [self.modules.pooling.parts(states, item.window.first and item.window.first + 1, skipped) for item, states in found]

        if before:
            # Together with the prompt a text may have other tokens than alone.
            texts = (before + (item.text if isinstance(item, EncodedText) else item) for item in texts)
        pooled = (self.modules.pooling.combine(parts) for parts in self._run(texts, run, batch_size))
        return (self.modules.finish(vector, truncate_dim=truncate_dim, normalize=normalize) for vector in pooled)

    def token_vectors(self, texts: Iterable[str | EncodedText], batch_size: int) -> Iterator[Array]:
        """Texts -> (L, D) float32 each: the last hidden state of [CLS], every token, [SEP]."""
        return (np.concatenate(results) for results in self._run(texts, self._states, batch_size))

    def _states(self, windows: list[WindowInput]) -> list[Array]:
        return [_answered(window, states) for window, states in zip(windows, self.backend.hidden_states(windows), strict=True)]

    def _run(self, texts: Iterable[str | EncodedText], run: Callable[[list[WindowInput]], Sequence[Any]], batch_size: int) -> Iterator[list[Any]]:
        """Texts -> what `run` makes of each of their windows."""

        def prepare(chunk: list[str | EncodedText]) -> list[tuple[None, list[WindowInput]]]:
            plain = iter(self.tokenizer.encode([item for item in chunk if isinstance(item, str)]))
            ids = [item.ids if isinstance(item, EncodedText) else next(plain) for item in chunk]
            return [(None, self._windows(row)) for row in ids]

        return (results for _, _, results in run_windows(texts, prepare=prepare, run=run, size=text_size, batch_size=batch_size))

    def _windows(self, ids: Sequence[int]) -> list[WindowInput]:
        if self.truncate == "windows":
            return text_windows(ids, self.tokenizer, self.max_length)
        kept = ids[: self.max_length - 2] if self.truncate == "head" else shorten(ids, self.max_length - 2, self.truncate)
        return [WindowInput(*self.tokenizer.wrap(kept), Window(0, len(kept), 0, len(kept)))]


def _answered(item: WindowInput, states: Array) -> Array:
    """(L, D) of a window -> the rows it answers for: its own tokens, [CLS] with a text's first token, [SEP] with its last.

    A window starts with the text when nothing comes before it, and ends with it when it answers for all the rest.
    """
    inside = item.inside
    first = 0 if item.window.first == 0 else inside.start
    last = len(states) if inside.stop == len(states) - 1 else inside.stop
    return states[first:last]

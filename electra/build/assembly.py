"""A checkpoint and a target -> an artefact: everything that is not the target's own business."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra.build.graph import dense_graph, role_of
from electra.build.targets import Job, Target, target
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.deploy.artefact import hash_file, write_artefact
from electra.errors import UserError
from electra.model.hf import CONFIG_KEYS, Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from electra.deploy.artefact import Description

INSTRUCTIONS = ("avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm")
"""Flags of a processor that decide how fast small numbers are multiplied."""
TRACED = ("electra", "torch", "onnx", "onnxruntime", "onnxscript", "openvino", "nncf", "numpy")


def build_artefact(source: str, name: str, output: Path, *, texts: Sequence[str] = (), say: Callable[[str], None] = lambda line: None) -> Description:
    """A checkpoint, a target's name -> the artefact at `output`, its generator with it, and the manifest.

    Args:
        source: checkpoint folder, run or hub name.
        name: a target of `electra.build.targets`.
        output: folder, or .zip.
        texts: for targets that are calibrated; 'a<TAB>b' is a pair.
        say: takes lines of progress.

    Raises:
        UserError: no such checkpoint or target, a package is missing, or the network cannot be built for it.
    """
    chosen = target(name)
    chosen.require()
    start = time.perf_counter()
    checkpoint = load_checkpoint(source)
    role = role_of(checkpoint)
    tokenizer = load_tokenizer(checkpoint.path)
    generator = None
    if role == "discriminator" and (checkpoint.path / "generator" / "config.json").exists():
        generator = load_checkpoint(checkpoint.path / "generator")
        if generator.architecture != "ElectraForMaskedLM":
            say(f"left out: generator/, an {generator.architecture}, which answers no questions by itself")
            generator = None

    def make(folder: Path) -> Mapping[str, Any]:
        tokenizer.save(folder)
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
            "limits": {"max_length": checkpoint.config.max_position_embeddings, "min_length": shortest},
            "source": {"name": _short(source), "sha256": _weights_hash(checkpoint)},
            "build": {
                "command": f"electra build {_short(source)} --target {name} --output {output.name}",
                "versions": _versions(),
                "seconds": round(time.perf_counter() - start, 1),
                "options": options,
                "machine": _machine(),
            },
        }

    return write_artefact(output, make)


def _build_part(
    checkpoint: Checkpoint, chosen: Target, folder: Path, tokenizer: Tokenizer, texts: Sequence[str], say: Callable[[str], None]
) -> tuple[dict[str, Any], int]:
    """config.json and the model's files of one network -> what was done, and the shortest input."""
    config = {**checkpoint.hf_config, **{key: getattr(checkpoint.config, key) for key in CONFIG_KEYS}, "architectures": [checkpoint.architecture]}
    config.pop("embeddings_in_parent", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    graph = dense_graph(checkpoint, chosen.attention)  # type: ignore[arg-type]
    options = chosen.builder()(Job(graph=graph, folder=folder, tokenizer=tokenizer, texts=texts, say=say))
    return dict(options), graph.shortest


def spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, evenly taken.

    Raises:
        UserError: a count below one.
    """
    if count < 1:
        raise UserError(f"num_texts {count} must be at least 1")
    step = max(1.0, len(texts) / count)
    return [texts[int(i * step)] for i in range(min(count, len(texts)))]


def _short(source: str) -> str:
    """A source without the way to it on this machine."""
    path = Path(source)
    return "/".join(path.parts[-3:]) if path.is_absolute() else source


def _weights_hash(checkpoint: Checkpoint) -> str:
    found = [checkpoint.path / name for name in ("model.safetensors", "pytorch_model.bin")]
    return hash_file(next(path for path in found if path.exists()))


def _versions() -> dict[str, str]:
    out = {"python": platform.python_version()}
    for package in TRACED:
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return out


def _machine() -> dict[str, Any]:
    """Processor, its instructions, cores: what a time or a choice of this build depends on."""
    out: dict[str, Any] = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return out
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            out.setdefault("processor", value.strip())
        elif key.strip() in ("flags", "Features"):
            out.setdefault("instructions", [flag for flag in INSTRUCTIONS if flag in value.split()])
    return out

"""A path or a hub name -> a description of its kind and contents, as plain values; the damaged files in it. Needs no torch."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from electra import bundled, config
from electra.errors import UserError, did_you_mean
from electra.inference.artifact import damaged_files, is_artifact, open_artifact
from electra.inference.embeddings import read_modules
from electra.model import flops
from electra.model.flops import SHAPE
from electra.model.hf_config import BIN_INDEX, SAFETENSORS_INDEX, SINGLE, read_config, weight_files
from electra.protobuf import describe_checkpoint, is_checkpoint
from electra.settings import PretrainSettings
from electra.settings.pretrain import WARM_UP, all_phases
from electra.storage import remote, resolve
from electra.train.run_log import FIRST_PHASE, LAST_PHASE, SO_FAR, run_metrics

Description = dict[str, Any]

LARGEST_HEADER = 100_000_000


def describe(source: str) -> Description:
    """A corpus, tokenizer, tokenized data, checkpoint, run directory, preset or hub name -> {"kind": ..., "path": ..., ...}.

    Raises:
        UserError: not found, damaged, or none of these.
    """
    if remote.is_url(source):
        return _in_store(source)
    path = bundled.located(source)
    if not path.exists() and is_checkpoint(path):
        return describe_checkpoint(path)
    if not path.exists() and source in config.presets("pretrain"):
        return _preset(source)
    if not path.exists():
        # Before asking the hub: a single word is more likely a preset than a model.
        guess = did_you_mean(source, config.presets("pretrain"))
        if guess.startswith("did") and "/" not in source:
            raise UserError(f"'{source}' is not a file, folder or preset; {guess} (hub models are OWNER/NAME)")
        return {"name": source, **_checkpoint(resolve.resolve(source))}
    if is_artifact(path):
        return _artifact(path)
    if is_checkpoint(path):
        return describe_checkpoint(path)
    if path.is_file():
        return _file(path)
    for marks, reader in FOLDERS:
        if any((path / mark).exists() for mark in marks):
            return reader(path)
    return _corpus(path)


def verify(source: str) -> list[str]:
    """Read everything in tokenized data, an artifact, a checkpoint or a run -> a line for each damaged file.

    Raises:
        UserError: not found, or something without recorded sizes or hashes.
    """
    path = Path(source) if remote.is_url(source) else bundled.located(source)
    if remote.is_url(source) or (path / "manifest.json").exists():
        from electra.data.shards import open_shards

        return open_shards(source).verify()
    if not path.exists():
        path = resolve.resolve(source)
    if is_artifact(path):
        return damaged_files(path)
    # Everywhere in a run: several tasks, seeds, trials and suites have folders of their own. A checkpoint's generator is checked with it.
    folders = sorted(file.parent for file in path.rglob("config.json") if path == file.parent or not (file.parent.parent / "config.json").exists())
    if not (found := [folder for folder in folders if not any(part.startswith(".") for part in folder.relative_to(path).parts)]):
        raise UserError(f"--verify reads tokenized data, artifacts, checkpoints and runs; {source} is none of these")
    return [line for folder in found for line in _damaged_checkpoint(folder)]


def _damaged_checkpoint(folder: Path) -> list[str]:
    try:
        _checkpoint(folder)
        if (folder / "tokenizer.json").exists() or (folder / "vocab.txt").exists():
            _tokenizer(folder)
    except UserError as error:
        return [str(error).partition("; ")[0]]
    return []


def _file(path: Path) -> Description:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: there is nothing to describe")
    if path.suffix == ".safetensors":
        return {"kind": "weights", "path": str(path), **_weights(path)}
    if path.name == "tokenizer.json" or (path.suffix == ".txt" and _is_vocabulary(path)):
        return _tokenizer(path)
    return _corpus(path)


def _is_vocabulary(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(1 << 16).split(b"\n")
    return b"[UNK]" in start and b"[CLS]" in start


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); it is damaged or incomplete") from None


# ---- checkpoint ----


def _checkpoint(folder: Path) -> Description:
    """Of an ELECTRA or a BERT with any head, and of the generator next to it."""
    root, folder, note = folder, resolve.encoder_folder(folder), None
    try:
        values = read_config(folder)
    except UserError as error:
        # Without 'architectures' the head may be uncertain; the encoder, which `embed` uses, is not.
        values, note = read_config(folder, "encoder"), str(error)
    architecture = resolve.architecture_in(values)
    head = resolve.HEADS.get(architecture, "not implemented; the encoder is")
    out: Description = {"kind": "checkpoint", "path": str(folder), "architecture": architecture, "model_type": values["model_type"], "head": head}
    out |= {key: values[key] for key in (*SHAPE, "type_vocab_size")} | {"hidden_act": values.get("hidden_act", "gelu")}
    if head in ("classification", "tagging"):
        out |= {"labels": list(values["id2label"].values())} | ({"problem_type": values["problem_type"]} if values.get("problem_type") else {})
    files = [{"file": path.name, "size_bytes": path.stat().st_size} | _weights(path) for path in weight_files(folder)]
    out |= files[0] if len(files) == 1 else _joined(files)
    if (folder / "generator" / "config.json").exists():
        out["generator"] = {key: value for key, value in _checkpoint(folder / "generator").items() if key != "kind"}
    out["tokenizer"] = any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt"))
    out |= _tokens(folder, values["vocab_size"]) if out["tokenizer"] else {}
    out["resumable"] = (folder / "training").is_dir()
    if (root / "modules.json").is_file():
        try:
            out["sentence_transformers"] = read_modules(root).describe()
        except UserError as error:
            out["sentence_transformers"] = str(error)
    return out | ({"note": note} if note else {})


def _joined(shards: Sequence[Description]) -> Description:
    """The descriptions of several files of weights as one."""
    out: Description = {"files": [shard["file"] for shard in shards]}
    if all("num_tensors" in shard for shard in shards):
        out |= {key: sum(shard[key] for shard in shards) for key in ("num_parameters", "num_tensors")}
        out["dtype"] = ", ".join(sorted({name for shard in shards for name in shard["dtype"].split(", ")}))
    return out | {"size_bytes": sum(shard["size_bytes"] for shard in shards)}


def _tokens(folder: Path, rows: int) -> Description:
    """A checkpoint's tokenizer: its kind, its tokens, and how many of the embedding table's rows have none."""
    from electra.data.tokenizer import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
    except UserError as error:
        return {"tokenizer_error": str(error)}
    kind = f"{type(tokenizer.backend.model).__name__}, {'uncased' if tokenizer.lowercase else 'cased'}"
    return {"tokenizer_kind": kind, "tokens": tokenizer.vocab_size, "rows_without_token": rows - tokenizer.vocab_size}


def _artifact(path: Path) -> Description:
    """Of an artifact, after checking every hash."""
    found = open_artifact(path)
    manifest = found.manifest
    out: Description = {"kind": "artifact", "path": str(path), "size_bytes": found.size_bytes}
    out |= {
        key: manifest[key]
        for key in ("version", "layout", "target", "architecture", "role", "task", "labels", "limits", "source")
        if manifest.get(key)
    }
    out |= {"generator": found.has_generator, "num_files": len(manifest["files"])} | ({"intact": True} if manifest.get("version") else {})
    out["build"] = {key: value for key, value in manifest["build"].items() if key != "options"} | dict(manifest["build"].get("options") or {})
    return out | ({"measured": manifest["measured"]} if manifest.get("measured") else {})


def _weights(path: Path) -> Description:
    """The header of a safetensors file -> parameters, types, bytes; the file's length must agree with it. Of other files nothing."""
    if path.suffix != ".safetensors":
        return {}
    damaged = UserError(f"{path} is damaged or incomplete; fetch or write it again")
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise damaged
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            shapes = {name: entry["shape"] for name, entry in header.items()}
            types = sorted({entry["dtype"] for entry in header.values()})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise damaged from None
    if 8 + length + end != size:
        raise damaged
    num_parameters = sum(math.prod(shape) for shape in shapes.values())
    return {"file": path.name, "num_parameters": num_parameters, "num_tensors": len(shapes), "dtype": ", ".join(types), "size_bytes": size}


# ---- tokenizer, tokenized data, run, corpus ----


def _tokenizer(path: Path | str) -> Description:
    from electra.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(path)
    return {
        "kind": "tokenizer",
        "path": str(path),
        "vocab_size": tokenizer.vocab_size,
        "lowercase": tokenizer.lowercase,
        "continuation_pieces": sum(piece.startswith("##") for piece in tokenizer.pieces),
        "special_ids": {tokenizer.pieces[i]: i for i in sorted(tokenizer.special_ids)},
        "fingerprint": tokenizer.fingerprint,
    }


def _shards(path: Path) -> Description:
    from electra.data.shards import open_shards

    shards = open_shards(path)
    for name in shards.manifest["splits"]:
        shards.split(name)  # checks that its arrays fit the manifest
    small = {key: value for key, value in shards.manifest.items() if not isinstance(value, list)}
    return {"kind": "shards", **small, "path": str(path)}


def _preset(name: str) -> Description:
    """Shape and cost of a pre-training preset."""
    settings = config.build(PretrainSettings, config.preset_values(name, "pretrain"), f"preset {name}")
    model = {key: getattr(settings.model, key) for key in SHAPE if hasattr(settings.model, key)}
    parameters = flops.num_parameters(settings.model, settings.objective, settings.data.vocab_size)
    out: Description = {"kind": "preset", "preset": name, "objective": settings.objective.objective, "vocab_size": settings.data.vocab_size}
    out |= {**model, "num_parameters": parameters, **_cost(settings, settings.data.vocab_size)}
    return out | ({} if settings.loop.budget is None else {"budget_seconds": settings.loop.budget})


def _cost(settings: PretrainSettings, vocab_size: int, lines: Sequence[Description] = ()) -> Description:
    """FLOPs of a pre-training run, counted both ways, by phase if it has several; `lines` of its metrics.jsonl add what was spent.

    `flops_in_all` is of the whole planned run, all examples of full length; `flops` is what was recorded so far.
    """
    out: Description = {}
    for stage in (stages := all_phases(settings)):
        name = LAST_PHASE if stage is stages[-1] else FIRST_PHASE
        out[name] = flops.training_flops(stage, vocab_size)
        if tokens := _planned_tokens(stage):
            out[name] |= {count.replace("per_token", "in_all"): value * tokens for count, value in list(out[name].items())}
        mine = [line for line in lines if line.get("phase", LAST_PHASE) == name]
        before = next((line for line in reversed(lines) if line.get("phase") == FIRST_PHASE), {}) if name == LAST_PHASE else {}
        out[name] |= {key: mine[-1][key] - before.get(key, 0) for key in SO_FAR if mine and key in mine[-1]}
    if len(stages) > 1:
        keys = [key for key in out[LAST_PHASE] | out[FIRST_PHASE] if "per_token" not in key]
        planned = [key for key in keys if all(key in phase for phase in out.values())]
        spent = [key for key in keys if key in SO_FAR]
        out["all_phases"] = {key: sum(phase.get(key, 0) for phase in out.values()) for key in dict.fromkeys([*planned, *spent])}
    return out


def _planned_tokens(stage: PretrainSettings) -> int:
    """Tokens of a phase: given, or its steps times full examples; 0 where its length is a time that was not measured yet."""
    loop = stage.loop
    if loop.num_train_tokens:
        return loop.num_train_tokens
    measured = stage.output / "budget.json"
    steps = loop.num_train_steps or (read_json(measured).get("num_train_steps", 0) if loop.budget and measured.is_file() else 0)
    return int(steps * (loop.total_batch_size or loop.batch_size * loop.accumulation) * stage.data.sequence_length)


def _in_store(url: str) -> Description:
    """Describe a URL. Of tokenized data only the manifest is fetched; a corpus is read completely."""
    _, _, files = remote.list_files(url, "corpus, tokenizer or tokenized dataset")
    if "manifest.json" in files:
        from electra.data import shards as shard_store

        content = shard_store.read_manifest(url)
        hashes, manifest = shard_store.expected_hashes(content, url), json.loads(content)
        if missing := [name for name in hashes if name not in files]:
            raise UserError(f"{url} has no {missing[0]}, which is in its manifest; run 'electra prepare' again")
        small = {key: value for key, value in manifest.items() if not isinstance(value, list)}
        return {"kind": "shards", **small, "path": url, "size_bytes": sum(size for _, size in files.values())}
    if {"config.json", "config.toml"} & set(files):
        raise UserError(f"{url} is a checkpoint or run in an object store; copy it to a local folder first")
    if {"tokenizer.json", "vocab.txt"} & {*files, url.rpartition("/")[2]}:
        return _tokenizer(url)
    return _corpus(url)


def _run(path: Path) -> Description:
    out: Description = {"kind": "run", "path": str(path)}
    try:
        settings = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        settings = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path / 'config.toml'} is not valid TOML: {error}") from None
    out |= {key: settings[key] for key in ("preset", "task", "model") if isinstance(settings.get(key), str)}
    models = resolve.local_models(path)
    out["status"] = "finished" if models or (path / "final").is_dir() or (path / "best").is_dir() else "unfinished: continue with --resume"
    lines = run_metrics(path)
    for line in lines:
        out[f"last_{line.get('kind', 'train')}"] = {key: value for key, value in line.items() if key != "kind"}
    out |= {key: lines[-1][key] for key in SO_FAR if lines and key in lines[-1]}
    out |= _run_cost(path, settings, lines)
    out["checkpoints"] = sorted(p.name for p in (path / "checkpoints").glob("step-*") if (p / "config.json").exists())
    out |= {name: str(path / name) for name in ("final", "best") if (path / name / "config.json").exists()}
    out |= {"models": [str(model) for model in models]} if models else {}
    if (path / "scores.json").exists():
        out["scores"] = read_json(path / "scores.json")
    return out


def _run_cost(path: Path, settings: Description, lines: Sequence[Description]) -> Description:
    """FLOPs of a whole pre-training run; empty for other runs, or before a checkpoint has the size of the vocabulary."""
    found = [folder for part in (path, path / WARM_UP) for folder in (part / "final", *sorted((part / "checkpoints").glob("step-*"), reverse=True))]
    known = next((folder / "config.json" for folder in found if (folder / "config.json").exists()), None)
    if known is None or not {"model", "objective", "data"} <= {key for key, value in settings.items() if isinstance(value, dict)}:
        return {}
    try:
        found_settings = config.build(PretrainSettings, settings | {"output": str(path)}, str(path / "config.toml"))
    except UserError:
        return {}  # written by another version with other settings
    return _cost(found_settings, read_json(known)["vocab_size"], lines)


def _corpus(path: Path | str) -> Description:
    from electra.data.documents import read_documents
    from electra.data.sources import CorpusReport

    report = CorpusReport()
    counts = {"num_documents": 0, "num_lines": 0, "num_characters": 0, "num_words": 0}
    first = ""
    for document in read_documents([str(path)], report=report):
        counts["num_documents"] += 1
        counts["num_lines"] += len(document.lines)
        counts["num_characters"] += sum(map(len, document.lines))
        counts["num_words"] += sum(len(line.split()) for line in document.lines)
        first = first or next((line for line in document.lines if line.strip()), "")[:200]
    if not counts["num_documents"]:
        raise UserError(f"{path} contains no text; expected a corpus, tokenizer, tokenized data, checkpoint or run")
    if isinstance(path, str):
        sizes = [size for _, size in remote.list_files(path)[2].values()]
    else:
        sizes = [file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {
        "kind": "corpus",
        "path": str(path),
        "num_files": len(sizes),
        "size_bytes": sum(sizes),
        **counts,
        "begins_with": first,
        "problems": report.lines(),
    }


FOLDERS: list[tuple[tuple[str, ...], Callable[[Path], Description]]] = [
    (("manifest.json",), _shards),
    (("config.toml", "metrics.jsonl", "checkpoints", "scores.json"), _run),
    (("config.json", "modules.json", *SINGLE, SAFETENSORS_INDEX, BIN_INDEX), _checkpoint),
    (("tokenizer.json", "vocab.txt"), _tokenizer),
]
"""Files in a folder -> its description; the first row that matches."""

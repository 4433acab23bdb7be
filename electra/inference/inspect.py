"""A path or a hub name -> a description of its kind and contents, as plain values; the damaged files in it. Needs no torch."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from electra import bundled, config
from electra.data.sources import kind_of
from electra.data.tables import is_saved, table_format
from electra.data.tfrecord import describe_records, find_records
from electra.errors import UserError, did_you_mean, parse_json
from electra.inference.artifact import MANIFEST, damaged_files, is_artifact, open_artifact
from electra.inference.embeddings import read_modules
from electra.inference.parts import MANIFEST as PARTS
from electra.inference.parts import PLAN as BEGUN_PARTS
from electra.inference.parts import damaged_parts, describe_parts
from electra.model import flops
from electra.model.flops import SHAPE
from electra.model.hf_config import BIN_INDEX, SAFETENSORS_INDEX, SINGLE, read_config, safetensors_header, weight_files
from electra.protobuf import describe_checkpoint, is_checkpoint
from electra.settings import PretrainSettings
from electra.settings.pretrain import FIRST_PHASES, SO_FAR
from electra.storage import remote, resolve
from electra.storage.atomic import BROKEN_PACKED, read_json
from electra.tasks.data_warnings import BINARY, EVENTS, describe_binary, describe_file, describe_table
from electra.tasks.input_spec import CALIBRATION
from electra.train.run_log import read_metrics, run_metrics

Description = dict[str, Any]
DATA_SUFFIXES, MOST_ENTRIES = (".csv", ".tsv", ".json", ".conll", ".conllu"), 12


def describe(source: str) -> Description:
    """What commands read or write, a preset or a hub name -> {"kind": ..., "path": ..., ...}.

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
    if path.is_file():
        return _file(path)
    if is_artifact(path):
        return _artifact(path)
    if is_checkpoint(path):
        return describe_checkpoint(path)
    reader = _reader(path)
    if reader is None:
        return _folder(path)
    with _known_form(path):
        return reader(path)


def _reader(path: Path) -> Callable[[Path], Description] | None:
    """What describes a folder, by the files in it; None: they say nothing."""
    if (path / "plan.json").exists() and (path / "parts").is_dir():
        return _shards  # what an interrupted `prepare` leaves; the message says how to continue it
    return next((reader for marks, reader in FOLDERS if any((path / mark).exists() for mark in marks)), None)


def verify(source: str) -> list[str]:
    """Read everything in tokenized data, an artifact, a checkpoint or a run -> a line for each damaged file.

    Raises:
        UserError: not found, or something without recorded sizes or hashes.
    """
    path = Path(source) if remote.is_url(source) else bundled.located(source)
    if (remote.is_url(source) and PARTS in remote.file_sizes(source)) or (path / PARTS).is_file():
        return damaged_parts(source)
    if remote.is_url(source) or (path / "manifest.json").exists():
        from electra.data.shards import open_shards

        return open_shards(source).verify()
    if not path.exists():
        path = resolve.resolve(source)
    if is_artifact(path):
        return damaged_files(path)
    # Everywhere in a run: tasks, seeds and trials have folders of their own. A checkpoint's generator is checked with it.
    folders = sorted(file.parent for file in path.rglob("config.json") if path == file.parent or not (file.parent.parent / "config.json").exists())
    if not (found := [folder for folder in folders if not any(part.startswith(".") for part in folder.relative_to(path).parts)]):
        raise UserError(f"--verify reads tokenized data, artifacts, checkpoints, runs and parts; {source} is none of these")
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
    if is_checkpoint(path):
        return describe_checkpoint(path)
    if ".tfrecord" in path.name:
        return {**describe_records(find_records([path])), "path": str(path)}
    with path.open("rb") as stream:
        picture = stream.read(8) == b"\x89PNG\r\n\x1a\n"
    if path.suffix in BINARY or path.match(EVENTS) or picture:
        return describe_binary(path)
    if path.suffix == ".zip" or zipfile.is_zipfile(path):
        return _zip(path)
    if path.suffix == ".toml":
        return _settings(path)
    if kind_of(path) == "archive":
        return _corpus(path)
    resolve.check_form(path)
    if path.name == "metrics.jsonl":
        lines = read_metrics(path)
        return {"kind": "metrics", "path": str(path), "lines": len(lines), **_last_lines(lines)}
    if path.suffix == ".jsonl" and (found := _corruption_texts(path)):
        return found
    return describe_file(path) or (_json(path) if path.suffix == ".json" else _corpus(path))


def _corruption_texts(path: Path) -> Description | None:
    """Texts with replaced words, for `electra evaluate --corruption`; None if the first line is something else."""
    from electra.data.corruption_set import load_texts

    with path.open(encoding="utf-8", errors="replace") as stream:
        line = stream.readline()
    try:
        words = parse_json(line)["words"]
    except (ValueError, LookupError, TypeError):
        return None
    # Of tagged texts 'words' are strings or objects.
    if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
        return None
    texts = load_texts(path)
    shares = {}
    for source in dict.fromkeys(text.source for text in texts):
        replaced = [word[2] for text in texts if text.source == source for word in text.words]
        shares[source] = sum(replaced) / max(1, len(replaced))
    num_words = sum(len(text.words) for text in texts)
    return {"kind": "corruption set", "path": str(path), "examples": len(texts), "words": num_words, "replaced_fraction": shares}


def _zip(path: Path) -> Description:
    """An artifact, a submission to a benchmark, or an archive of texts."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.filename.endswith("/")]
            if MANIFEST in {Path(name).name for name in names}:
                return _artifact(path)
            if names and all(name.endswith((".tsv", "_predict.json")) for name in names):
                rows = {name: sum(1 for _ in archive.open(name)) - name.endswith(".tsv") for name in names}
                return {"kind": "submission", "path": str(path), "size_bytes": path.stat().st_size, "rows": rows}
    except zipfile.BadZipFile:
        return _artifact(path)  # says what is wrong
    except BROKEN_PACKED as error:
        raise UserError(f"{path} cannot be unpacked ({str(error)[:100]}); it is damaged: fetch it again") from None
    if any(name.endswith((".txt", ".jsonl", ".gz", ".xz", ".tar", ".md")) for name in names):
        return _corpus(path)
    return {"kind": "archive", "path": str(path), "size_bytes": path.stat().st_size, "files": names}


def _settings(path: Path) -> Description:
    """A TOML file of settings: a preset, or a run's config.toml."""
    values = config.read_toml(path)
    marks = (("pretrain", "objective"), ("ablate", "variant"), ("finetune", "task"), ("finetune", "loop"), ("finetune", "optimizer"))
    command = next(({"command": name} for name, mark in marks if mark in values), {})
    return {"kind": "settings" if command else "record", "path": str(path), **command, **values}


def _json(path: Path) -> Description:
    """Scores, results and other records in JSON; of a model's or a dataset's file, what it belongs to."""
    if (
        path.name in ("config.json", "manifest.json", MANIFEST)
        and (path.parent != path)
        and (reader := _reader(path.parent)) in (_checkpoint, _shards)
    ):
        return reader(path.parent) if not is_artifact(path.parent) else _artifact(path.parent)
    value = read_json(path)
    out: Description = {"kind": "record", "path": str(path), "size_bytes": path.stat().st_size}
    if not isinstance(value, dict):
        return out | ({"entries": len(value)} if isinstance(value, list) else {"value": value})
    with _known_form(path):
        if "scores" in value:
            return out | {"kind": "scores"} | _scores(value)
        if "rows" in value or "tasks" in value or "runs" in value:
            return out | _results(value)
    return out | {"keys": list(value)} | {key: item for key, item in value.items() if not isinstance(item, list | dict)}


def _scores(value: Description) -> Description:
    """The numbers of a scores.json or report.json: a mean over seeds, or a value, of each metric."""
    long = ("scores", "classes", "slices", "errors")
    known = {key: item for key, item in value.items() if key not in long and not isinstance(item, dict)}
    if "tasks" in value and "scores" not in value:  # of several tasks trained together
        return known | {"scores": {name: _scores(one)["scores"] for name, one in value["tasks"].items() if "scores" in one}}
    scores = {name: item.get("mean", item) if isinstance(item, dict) else item for name, item in value.get("scores", {}).items()}
    return known | {"scores": scores}


def _results(value: Description) -> Description:
    """A results.json: of `compare` (rows), a suite or search (tasks), or `ablate` (runs)."""
    if "rows" in value:
        known = {key: value[key] for key in ("task", "split", "num_examples", "threads", "date", "command") if value.get(key)}
        return {"kind": "comparison", **known, "measured": value["rows"]}
    if "tasks" in value:
        scores = {name: item["score"]["mean"] for name, item in value["tasks"].items() if isinstance(item, dict) and "score" in item}
        known = {key: value[key] for key in ("suite", "model", "preset") if key in value}
        return {"kind": "results", **known, "scores": scores} | ({"average": value["average"]["mean"]} if value.get("average") else {})
    known = {key: value[key] for key in ("variant", "task", "metric", "finished", "num_train", "num_dev") if key in value}
    tasks = value.get("by_task", {"": value})
    runs = {f"{task} {name}".strip(): run for task, found in tasks.items() for name, run in found["runs"].items()}
    scores = {name: run["points"][-1]["score"]["mean"] for name, run in runs.items() if run.get("points")}
    conclusions = [line for found in (value.get("mean", {}), *tasks.values()) for line in found.get("sentences", [])]
    return {"kind": "ablation", **known, "scores": scores, "conclusions": conclusions}


def _last_lines(lines: Sequence[Description]) -> Description:
    """The last line of each kind in metrics.jsonl, and what was spent up to it."""
    out = {f"last_{line.get('kind', 'train')}": {key: value for key, value in line.items() if key != "kind"} for line in lines}
    return out | {key: lines[-1][key] for key in SO_FAR if lines and key in lines[-1]}


# ---- folders of results and data ----


def _ablation(path: Path) -> Description:
    """An `electra ablate` folder, finished or not."""
    plan = read_json(path / "plan.json", dict) if (path / "plan.json").exists() else {}
    results = read_json(path / "results.json", dict) if (path / "results.json").exists() else {}
    settings = config.read_toml(path / "config.toml") if (path / "config.toml").exists() else {}
    known = {key: settings[key] for key in ("variant", "preset", "task", "seeds", "budget") if settings.get(key)}
    status = "finished" if results.get("finished") else "unfinished: continue with --resume"
    done = sorted(str(file.parent.relative_to(path)) for file in path.glob("seed-*/*/scores.json"))
    out = {"kind": "ablation", "path": str(path), **known, "status": status, "runs": [run["name"] for run in plan.get("runs", []) if "name" in run]}
    return out | {"num_finetunings": len(done)} | ({} if not results else _results(results) | {"status": status})


def _demo(path: Path) -> Description:
    """An `electra demo` folder, finished or not."""
    steps = {file.stem: read_json(file, dict) for file in sorted((path / "steps").glob("*.json"))}
    about, report = steps.pop("about", {}), {"report": str(path / "report.html")} if (path / "report.html").exists() else {}
    status = "finished" if report else "unfinished: the same command continues"
    out = {"kind": "demo", "path": str(path), "date": about.get("date"), "machine": about.get("machine"), **report, "status": status}
    return out | {"steps_seconds": {name: step.get("seconds") for name, step in steps.items()}}


def _report(path: Path) -> Description:
    """The folder of `electra evaluate --report`."""
    return {
        "kind": "report",
        "path": str(path),
        **_scores(read_json(path / "report.json", dict)),
        "files": sorted(file.name for file in path.iterdir()),
    }


def _comparison(path: Path) -> Description:
    """The folder of `electra compare --output`, or of results without their run."""
    return {
        "path": str(path),
        **_results(read_json(path / "results.json", dict)),
        "files": sorted(file.name for file in path.iterdir() if file.is_file()),
    }


def _folder(path: Path) -> Description:
    """TFRecords, a task's files, a folder of other things that are known here, or a corpus."""
    if events := sorted(path.glob(EVENTS)):
        return {**describe_binary(events[-1]), "path": str(path), "num_files": len(events)}
    if records := find_records([path]):
        return {**describe_records(records), "path": str(path)}
    if is_saved(path):
        return describe_file(path) or describe_table(path, table_format(path) or "arrow")
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    data = [file for file in files if file.suffix in DATA_SUFFIXES or file.stem.split("-")[0] in ("train", "dev", "test", "valid")]
    found = {file.name: described for file in data[:MOST_ENTRIES] if (described := describe_file(file)) is not None}
    if found:
        rows = {name: {key: one[key] for key in ("kind", "rows", "columns", "questions", "sentences") if key in one} for name, one in found.items()}
        return {"kind": "data set", "path": str(path), "files": rows}
    if not any(kind_of(file) for file in files):
        resolve.check_form(path)
    folders = {file.name: _kind(file) for file in sorted(path.iterdir()) if file.is_dir()}
    if any(folders.values()):
        return {"kind": "folder", "path": str(path), "entries": {name: kind or "not known" for name, kind in folders.items()}}
    return _corpus(path)


def _kind(path: Path) -> str:
    """What a folder is by its files, without reading them; empty: not known."""
    if is_artifact(path):
        return "artifact"
    if (reader := _reader(path)) is None:
        return "data set" if any(file.suffix in DATA_SUFFIXES for file in path.iterdir()) else ""
    return reader.__name__.removeprefix("_").replace("shards", "tokenized data")


def _is_vocabulary(path: Path) -> bool:
    with path.open("rb") as stream:
        start = {line.rstrip(b"\r") for line in stream.read(1 << 16).split(b"\n")}
    return b"[UNK]" in start and b"[CLS]" in start


@contextmanager
def _known_form(path: Path) -> Iterator[None]:
    """A record of scores or results without the fields or types that its form has -> UserError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path} does not have the form of its kind ({type(error).__name__}: {error}); it is damaged, or of another program"
        ) from None


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
        known = {"labels": list(values["id2label"].values()), "problem_type": values.get("problem_type"), "calibration": values.get(CALIBRATION)}
        out |= {key: value for key, value in known.items() if value is not None}
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
    if head == "encoder":
        out["commands"] = f"embed, finetune{' --preset public' * (values['model_type'] == 'bert')}, pretrain --init"
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
        for key in ("version", "layout", "target", "architecture", "role", "task", "labels", "calibration", "limits", "source")
        if manifest.get(key)
    }
    out |= {"generator": found.has_generator, "num_files": len(manifest["files"])} | ({"intact": True} if manifest.get("version") else {})
    out["build"] = {key: value for key, value in manifest["build"].items() if key != "options"} | dict(manifest["build"].get("options") or {})
    return out | ({"measured": manifest["measured"]} if manifest.get("measured") else {})


def _weights(path: Path) -> Description:
    """The header of a safetensors file -> parameters, types, bytes; the file's length must agree with it. Of other files nothing."""
    if path.suffix != ".safetensors":
        return {}
    size = path.stat().st_size
    try:
        entries = safetensors_header(path).values()
        num_parameters = sum(math.prod(entry["shape"]) for entry in entries if not entry["dtype"].startswith("I"))
        types = sorted({entry["dtype"] for entry in entries})
        with path.open("rb") as stream:
            end = 8 + int.from_bytes(stream.read(8), "little") + max((entry["data_offsets"][1] for entry in entries), default=0)
    except (UserError, KeyError, TypeError, AttributeError, IndexError):
        end = -1
    if end != size:
        raise UserError(f"{path} is damaged or incomplete; fetch or write it again")
    return {"file": path.name, "num_parameters": num_parameters, "num_tensors": len(entries), "dtype": ", ".join(types), "size_bytes": size}


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
    out |= {**model, "num_parameters": parameters, **flops.run_cost(settings, settings.data.vocab_size)}
    return out | ({} if settings.loop.budget is None else {"budget_seconds": settings.loop.budget})


def _in_store(url: str) -> Description:
    """Describe a URL. Of tokenized data only the manifest is fetched; a corpus is read completely."""
    _, _, files = remote.list_files(url, "corpus, tokenizer or tokenized dataset")
    if "manifest.json" in files:
        from electra.data import shards as shard_store

        content = shard_store.read_manifest(url)
        hashes, manifest = shard_store.expected_hashes(content, url), parse_json(content)
        if missing := [name for name in hashes if name not in files]:
            raise UserError(f"{url} has no {missing[0]}, which is in its manifest; run 'electra prepare' again")
        small = {key: value for key, value in manifest.items() if not isinstance(value, list)}
        return {"kind": "shards", **small, "path": url, "size_bytes": sum(size for _, size in files.values())}
    if {PARTS, BEGUN_PARTS} & set(files):
        return describe_parts(url)
    if {"config.json", "config.toml"} & set(files):
        raise UserError(f"{url} is a checkpoint or run in an object store; copy it to a local folder first")
    if {"tokenizer.json", "vocab.txt"} & {*files, url.rpartition("/")[2]}:
        return _tokenizer(url)
    return _corpus(url)


def _run(path: Path) -> Description:
    """A run of `pretrain` or `finetune`, or one seed or trial of it."""
    out: Description = {"kind": "run", "path": str(path)}
    settings = config.read_toml(path / "config.toml") if (path / "config.toml").is_file() else {}
    out |= {key: settings[key] for key in ("preset", "task", "model") if isinstance(settings.get(key), str)}
    models = resolve.local_models(path)
    finished = models or any((path / name).exists() for name in ("final", "best", "scores.json", "results.json"))
    out["status"] = "finished" if finished else "unfinished: continue with --resume"
    lines = run_metrics(path)
    out |= _last_lines(lines)
    out |= _run_cost(path, settings, lines)
    out["checkpoints"] = sorted(p.name for p in (path / "checkpoints").glob("step-*") if (p / "config.json").exists())
    out |= {name: str(path / name) for name in ("final", "best") if (path / name / "config.json").exists()}
    out |= {"models": [str(model) for model in models]} if models else {}
    if (path / "scores.json").exists():
        return out | {"scores": read_json(path / "scores.json", dict)}
    results = _results(read_json(path / "results.json", dict)) if (path / "results.json").exists() else {}
    return out | {key: value for key, value in results.items() if key not in out and key != "kind"}


def _run_cost(path: Path, settings: Description, lines: Sequence[Description]) -> Description:
    """FLOPs of a whole pre-training run; empty for other runs, or before a checkpoint has the size of the vocabulary."""
    parts = (path, *(path / name for name in FIRST_PHASES))
    found = [folder for part in parts for folder in (part / "final", *sorted((part / "checkpoints").glob("step-*"), reverse=True))]
    known = next((folder / "config.json" for folder in found if (folder / "config.json").exists()), None)
    if known is None or not {"model", "objective", "data"} <= {key for key, value in settings.items() if isinstance(value, dict)}:
        return {}
    try:
        found_settings = config.build(PretrainSettings, settings | {"output": str(path)}, str(path / "config.toml"))
    except UserError:
        return {}  # written by another version with other settings
    return flops.run_cost(found_settings, read_json(known, dict)["vocab_size"], lines)


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
    ((PARTS, BEGUN_PARTS), lambda path: describe_parts(str(path))),
    (("plan.json",), _ablation),
    (("steps/about.json",), _demo),
    (("report.json",), _report),
    (("config.toml", "metrics.jsonl", "scores.json"), _run),
    (("config.json", "modules.json", *SINGLE, SAFETENSORS_INDEX, BIN_INDEX), _checkpoint),
    (("tokenizer.json", "vocab.txt"), _tokenizer),
    (("results.json",), _comparison),
]
"""Files in a folder -> its description; the first row that matches."""

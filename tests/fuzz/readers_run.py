"""Readers of runs and records, settings, requests, and `inspect` of anything."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import readers_data, readers_model
from fuzz.limits import Wrong
from fuzz.places import Folder, as_json, chosen, new_folder, numbered, require_equal, root

from electra.errors import UserError

# ---- the state of a run ----

METRICS = (
    {"step": 1, "tokens": 100, "seconds": 0.5, "kind": "train", "loss": 5.5, "flops": 1e9},
    {"step": 2, "num_steps": 4, "tokens": 200, "seconds": 1.0, "kind": "evaluation", "disc_auc": 0.5},
)
STATE = "checkpoints/step-00000002/training/state.json"


@functools.cache
def _run_folder() -> Folder:
    from electra import config
    from electra.pretraining import setup
    from electra.settings import PretrainSettings

    folder, source = new_folder("run"), readers_model.checkpoint("ElectraForPreTraining")
    values = config.preset_values("tiny", "pretrain")
    settings = config.build(
        PretrainSettings,
        config.merge(values, {"data": {"data": [str(readers_data.shards())]}, "output": str(folder), "loop": {"num_train_steps": 4}}),
    )
    (folder / "config.toml").write_text(config.to_toml(settings), encoding="utf-8")
    (folder / "metrics.jsonl").write_bytes(b"".join(as_json(line) + b"\n" for line in METRICS))
    place = folder / STATE
    shutil.copytree(source, place.parent.parent)
    place.parent.mkdir()
    place.write_bytes(
        as_json({"step": 2, "num_steps": 4, "tokens": 200, "seconds": 1.0, "examples_per_update": 4, "positions": [{"epoch": 0, "example": 8}]})
    )
    records: dict[str, Any] = {
        "environment.json": {"started": "2026-01-01T00:00:00Z", "command": ["electra"], "threads": 1},
        "budget.json": {"budget_seconds": 10.0, "num_train_steps": 4, "num_evaluations": 1, "num_checkpoints": 1},
        "data.json": setup.data_fingerprints(settings),
        "start.json": ["from nothing"],
        "scores.json": {"task": "sst2", "main_metric": "accuracy", "scores": {"accuracy": {"mean": 0.5, "sd": None}}},
    }
    for name, value in records.items():
        (folder / name).write_bytes(as_json(value))
    return Folder(folder, ("metrics.jsonl", "config.toml", STATE, "scores.json", *list(records)[:-1]))


def run_seeds() -> list[bytes]:
    return _run_folder().seeds()


def _resume(run: Path) -> list[Callable[[], Any]]:
    """What `pretrain --resume` and `inspect` read of a run."""
    from dataclasses import replace

    from electra.inference.inspect import describe
    from electra.model import flops
    from electra.pretraining import setup
    from electra.pretraining.run import start_recorded
    from electra.train import checkpoint, loop, run_log

    def lengths() -> None:
        settings = setup.read_run(run)
        flops.planned_tokens(replace(settings, loop=replace(settings.loop, budget=10.0, num_train_steps=None)))
        setup.check_new_length(replace(settings, loop=replace(settings.loop, num_train_steps=3)))

    def batch() -> None:
        settings = setup.read_run(run)
        latest = checkpoint.latest_checkpoint(run)
        assert latest is not None
        checkpoint.split_global_batch(settings.loop, latest, 1)

    def log() -> None:
        before = {name: (run / name).read_bytes() for name in ("metrics.jsonl", "environment.json")}
        try:
            run_log.RunLog(run, tensorboard=False).truncate(1)
        finally:
            for name, content in before.items():
                (run / name).write_bytes(content)

    def data() -> None:
        setup.check_data(replace(setup.read_run(run), resume=True))

    return [
        lambda: run_log.run_metrics(run),
        lambda: loop.read_length(run, "budget", 10.0),
        lengths,
        batch,
        log,
        data,
        lambda: start_recorded(run, [], checkpoint.ALONE),
        lambda: describe(str(run)),
        lambda: describe(str(run / "metrics.jsonl")),
    ]


def run_state(data: bytes) -> None:
    """metrics.jsonl, config.toml, state.json, budget.json, environment.json, data.json, start.json: what `--resume`, `plot` and `inspect` read.
    References: `json` on every line, `tomllib`."""
    from electra.train.run_log import read_metrics

    folder = _run_folder()
    with folder.replaced(data) as name:
        refused: list[UserError] = []
        for read in _resume(folder.path):
            try:
                read()
            except UserError as error:
                refused.append(error)
        if name == "metrics.jsonl" and not refused:
            lines = data[1:].decode("utf-8", "replace").split("\n")
            theirs = [json.loads(line) for line in lines[:-2] if line.strip()] if len(lines) > 2 else []
            require_equal(read_metrics(folder.path / name)[: len(theirs)], theirs, "lines of metrics")
        if refused:
            raise refused[0]


# ---- records ----


@functools.cache
def _records_folder() -> Folder:
    from electra.benchmark.records import sealed

    folder = new_folder("records-of-runs")
    score = {"mean": 0.5, "sd": None, "median": 0.5, "best": 0.5, "interval": None, "each": [0.5]}
    seed = {"seed": 1, "scores": {"accuracy": 0.5}, "steps": 4, "tokens": 100, "seconds": 1.0, "selected_step": 4}
    scores = {"scores": {"accuracy": score}, "main_metric": "accuracy", "seconds": 1.0, "task": "sst2"}
    row = {"task": "sst2", "score": score, "metrics": {"accuracy": score}, "main_metric": "accuracy"}
    sealing = {"task": "sst2", "num_examples": 4, "calls": 1, "seed": 1, "date": "2026-01-01", "environments": [{}], "rows": []}
    run = {"name": "a", "seed": 1, "method": "rtd", "match": "steps", "folder": "x", "stage_steps": [4], "points": [[0, 4]]}
    plan = {"runs": [run], "vocab_size": 80, "tasks": [{"num_train": 4, "num_dev": 2, "finetune_seconds": 1.0}]}
    files: dict[str, Any] = {
        "seed/scores.json": seed,
        "trial/scores.json": scores,
        "trial/trial.json": {"returncode": 0, "seconds": 1.0, "peak_memory_bytes": 5, "error": None},
        "comparison/results.json": sealed(sealing),
        "plan/plan.json": plan,
        "suite/results.json": {"suite": "glue", "tasks": {"sst2": row}, "average": {"mean": 0.5}},
        "ablation/results.json": {"variant": "loss", "runs": {"a": {"points": [{"score": {"mean": 0.5}}]}}, "sentences": ["a beats b"]},
        "report/report.json": {"scores": {"accuracy": 0.5}, "classes": [], "split": "dev"},
        "demo/steps/about.json": {"date": "2026-01-01", "seconds": 1.0},
    }
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(as_json(value))
    return Folder(folder, tuple(files))


def record_seeds() -> list[bytes]:
    return _records_folder().seeds()


def records(data: bytes) -> None:
    """Scores of seeds and trials, a saved comparison, an ablation's plan and results, a suite's, a report: what continued commands read."""
    from types import SimpleNamespace

    from electra.benchmark.records import read_saved
    from electra.command_runner import read_ended
    from electra.finetuning import results, results_table
    from electra.inference.inspect import describe
    from electra.recipes.ablation.plan import read_plan
    from electra.recipes.ablation.results import main_score
    from electra.tasks.registry import find_task

    folder = _records_folder()
    with folder.replaced(data) as name:
        place = (folder.path / name).parent
        step: Any = SimpleNamespace(folder=place)
        readers: dict[str, Callable[[], Any]] = {
            "seed/scores.json": lambda: results.read_seed(place, {"sst2": find_task("sst2")}),
            "trial/scores.json": lambda: (results_table.main_score(step), main_score(place)),
            "trial/trial.json": lambda: read_ended(place),
            "comparison/results.json": lambda: read_saved(place),
            "plan/plan.json": lambda: read_plan(place),
        }
        refused: list[UserError] = []
        places = [folder.path / name, place if "steps" not in name else place.parent]
        for read in (readers.get(name), *(functools.partial(describe, str(one)) for one in places)):
            try:
                if read is not None:
                    read()
            except UserError as error:
                refused.append(error)
        if refused:
            raise refused[0]


# ---- settings ----

SETTINGS = ("pretrain", "finetune", "ablate", "evaluate")


def settings_seeds() -> list[bytes]:
    from electra import config

    texts = [next(iter(config.presets(kind).values())).read_bytes() if config.presets(kind) else b"" for kind in ("pretrain", "finetune")]
    own = b'base = "tiny"\ndescription = "x"\n[loop]\nnum_train_steps = 10\nbudget = "1h"\n[optimizer]\nlearning_rate = 1e-3\n'
    return [
        *numbered(texts),
        b"\0" + own,
        b"\1" + b'task = "sst2"\n[loop]\nnum_train_epochs = 2.0\n',
        b"\2variant = 'loss'\n",
        b"\3model = 'x'\ndata = ['y']\n",
    ]


def settings(data: bytes) -> None:
    """Files of settings in TOML, with their base. Reference: `tomllib`."""
    from electra import config
    from electra import settings as classes

    kind, content = chosen(data, SETTINGS)
    path = new_folder("settings") / "own.toml"
    path.write_bytes(content)
    values = config.read_toml(path)
    theirs = tomllib.loads(content.decode("utf-8"))
    if "base" not in theirs:
        require_equal(values, {key: value for key, value in theirs.items() if key not in ("description", "instead")}, "TOML")
    cls = getattr(classes, f"{kind.capitalize()}Settings")
    built = config.build(cls, {"output": "out", **values} if "output" in classes.__dict__ or kind in ("pretrain", "finetune", "ablate") else values)
    again = tomllib.loads(config.to_toml(built))
    require_equal(config.build(cls, again), built, "settings that were written again")


# ---- requests ----

LIMITS = {"max_tokens": 400, "max_texts": 8, "max_body_bytes": 70_000, "timeout": 20.0}
DECLARED = {200, 400, 401, 404, 405, 408, 413, 415, 422, 424, 429, 503, 504}


@functools.cache
def _server() -> tuple[Any, Any, list[str]]:
    """(event loop, application, paths) of tiny models of every kind."""
    import io

    from electra.inference.predictor import load
    from electra.serve.app import create_app
    from electra.serve.limits import Limits
    from electra.serve.models import as_model
    from electra.serve.observability import RequestLog
    from electra.serve.service import Serving

    kinds = {
        "classifier": "ElectraForSequenceClassification",
        "detector": "ElectraForPreTraining",
        "tagger": "ElectraForTokenClassification",
        "finder": "ElectraForQuestionAnswering",
        "masked": "ElectraForMaskedLM",
    }
    models = {name: as_model(name, load(readers_model.checkpoint(kind), threads=1)) for name, kind in kinds.items()}
    serving = Serving(models, Limits(**LIMITS), log=RequestLog(io.StringIO()))
    serving.start()
    app = create_app(serving)
    paths = [path for path, methods in app.app.openapi()["paths"].items() if "post" in methods]
    named = sorted({path.replace("{name}", name) for path, name in itertools.product(paths, kinds)})
    return asyncio.new_event_loop(), app, named


def request_seeds() -> list[bytes]:
    from electra.serve.app import bodies_of, operations_of

    _, app, paths = _server()
    document = app.app.openapi()
    found = []
    for path, method, operation in operations_of(document):
        for body in bodies_of(operation, document) if method == "post" else ():
            numbers = [number for number, named in enumerate(paths) if named == path or named.endswith(path.rpartition("}")[2] or "/")]
            found += [number.to_bytes(1, "little") + as_json(body) for number in numbers[:2]]
    return found


def requests(data: bytes) -> None:
    """The body of every route of the server that takes one. References: `json` (a body that it refuses is answered 400), the declared codes."""
    loop, app, paths = _server()
    path, body = chosen(data, paths)
    status, answer = loop.run_until_complete(_post(app, path, body))
    if status not in DECLARED:
        raise Wrong(f"status {status}")
    value = json.loads(answer, parse_constant=lambda name: _not_json(name))
    if status != 200 and not isinstance(value, dict):
        raise Wrong("an error in another form")
    if b"Traceback" in answer or str(root()).encode() in answer or b"/electra/" in answer:
        raise Wrong("an answer with a path of the server")
    try:
        json.loads(body.decode("utf-8"), parse_constant=lambda name: _not_json(name))
    except (ValueError, Wrong, RecursionError):
        if status not in (400, 413):
            raise Wrong(f"status {status} for a body that is not JSON") from None
    if status != 200:
        raise UserError(f"{path}: status {status}")


def _not_json(name: str) -> None:
    raise Wrong(f"{name} in JSON")  # Python's own extension


async def _post(app: Any, path: str, body: bytes) -> tuple[int, bytes]:
    """A request to the application, without a socket."""
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    scope["headers"] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"host", b"localhost")]
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


# ---- inspect ----

INSPECTED = (
    *("a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv", "a.toml", "a.zip", "a.safetensors", "a.npy", "a.npz", "a.png", "a.index", "a.parquet"),
    *("vocab.txt", "tokenizer.json", "metrics.jsonl", "config.json", "manifest.json", "a.tfrecord", "a", "a.bin", "a.onnx", "results.json", "a.gz"),
)


def inspect_seeds() -> list[bytes]:
    readers_data.array_seeds()
    places = {"a.npy": root() / "vectors.npy", "a.npz": root() / "corruption.npz", "vocab.txt": root() / "vocab.txt"}
    source = readers_model.checkpoint()
    places |= {"tokenizer.json": source / "tokenizer.json", "config.json": source / "config.json", "a.safetensors": source / "model.safetensors"}
    texts = {
        "a.json": as_json({"1": "an answer", "2": ""}),
        "a.toml": b'preset = "tiny"\n[objective]\nmask_prob = 0.1\n',
        "a.zip": readers_data.zipped({"sst2.tsv": b"index\tprediction\n0\t1\n"}),
        "a.png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0\0\0\1" * 2,
        "a.index": readers_model.index_file(readers_model.bundle()[0]),
        "metrics.jsonl": b"".join(as_json(line) + b"\n" for line in METRICS),
        "manifest.json": (readers_data.shards() / "manifest.json").read_bytes(),
        "results.json": _records_folder().contents["suite/results.json"],
    }
    contents = {name: place.read_bytes() for name, place in places.items()} | texts
    plain = b"a first text\na second one\n"
    return numbered([contents.get(name, plain) for name in INSPECTED])


def inspect(data: bytes) -> None:
    """`electra inspect` of a file of any name, and of a folder with it: what chooses a reader by name and content."""
    from electra.inference.inspect import describe, verify

    name, content = chosen(data, INSPECTED)
    folder = new_folder("inspected")
    (folder / name).write_bytes(content)
    refused: list[UserError] = []
    for read in (
        lambda: describe(str(folder / name)),
        lambda: describe(str(folder)),
        lambda: verify(str(folder)),
        lambda: verify(str(folder / name)),
    ):
        try:
            json.dumps(read(), default=str)
        except UserError as error:
            refused.append(error)
    if len(list(folder.iterdir())) != 1:
        raise Wrong("inspect wrote a file")
    if len(refused) == 4:
        raise refused[0]

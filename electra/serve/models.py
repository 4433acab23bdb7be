"""NAME=SOURCE words of the command line -> loaded models, each with what it can do."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electra import __version__, bundled
from electra.errors import UserError
from electra.inference.artifact import is_artifact, read_manifest
from electra.inference.predictor import Predictor, load
from electra.inference.text_io import Text
from electra.serve.limits import Limits
from electra.serve.operations import AnswerQuestion, Classify, Corrupt, Detect, Embed, EmbedAll, Fill, Operation, PreparedText, Rerank, Tag
from electra.settings import ServeSettings
from electra.storage import remote, resolve
from electra.tasks.registry import OF_FILES, find_task
from electra.tasks.tag_schemes import marks_spans, split_tag

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SHIPPED = ("shipped:sentiment", "shipped:encoder", "shipped:detector")
"""What is served where no model is named."""
GENERIC_FOLDERS = ("best", "final")
"""Folders of a run; a model in one is named after the run."""
ROLES = {
    "classification": "classifier",
    "tagging": "tagger",
    "replaced-tokens": "discriminator",
    "masked-lm": "generator",
    "span": "span finder",
}
"""Head -> role in /models, with the names of version 0.1."""
TASKS = {"classifier": "text-classification", "tagger": "token-classification", "span finder": "question-answering", "generator": "fill-mask"}
"""Role -> the task that Hugging Face's payloads mean; of another role it depends on the text."""
LABEL_MEANINGS = {
    "sst2": {"0": "negative", "1": "positive"},
    "cola": {"0": "not acceptable", "1": "acceptable"},
    "mrpc": {"0": "says something else", "1": "says the same"},
    "qqp": {"0": "asks something else", "1": "asks the same"},
    "wnli": {"0": "does not follow", "1": "follows"},
}
"""Task whose files number their classes -> what the numbers mean."""
ENTITY_TYPES = frozenset(("PER", "PERSON", "LOC", "LOCATION", "ORG", "ORGANIZATION", "GPE"))
"""A token classifier with one of these types finds named entities."""
UNNAMED_LABEL = re.compile(r"LABEL_\d+")
RUNTIMES = {"pytorch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
"""First part of a target -> what runs it."""
DTYPES = {"int8": "int8", "fp16": "float16", "bf16": "bfloat16"}
"""Part of a target -> the number format of the weights; of other targets float32."""
LISTED = 60
"""Characters of labels that a title lists; of more it gives the number."""
WARM_UP: dict[type[Operation], tuple[Operation, Any]] = {
    Classify: (Classify(), Text("a")),
    Rerank: (Rerank(), Text("a", "a")),
    Tag: (Tag(), "a"),
    AnswerQuestion: (AnswerQuestion(), ("a", "a")),
    Fill: (Fill(), "[MASK]"),
    Embed: (Embed(), "a"),
    EmbedAll: (EmbedAll(), "a"),
    Detect: (Detect(), "a"),
    Corrupt: (Corrupt(), "a"),
}
"""Every operation is tried once before a model serves: it warms up, and its abilities are known."""


class TorchThread:
    """The one thread in which the models that PyTorch runs are loaded and compute, one after the other.

    PyTorch has a pool of OpenMP threads for each thread that calls it. Pools that together have more threads than the machine has cores put their
    threads to sleep between two operations, and one text takes up to twice as long (libgomp, GOMP_SPINCOUNT).
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="PyTorch", daemon=True).start()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread -> what it returns or raises. Not to be called from the thread itself."""
        future: Future[Any] = Future()
        self._calls.put((future, function, arguments))
        return future.result()

    def _work(self) -> None:
        while True:
            future, function, arguments = self._calls.get()
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)


OWN_OPERATION: dict[str, type[Operation]] = {"classifier": Classify, "tagger": Tag, "span finder": AnswerQuestion, "discriminator": Detect}
"""Role -> what a model of it must be able to do."""


@dataclass
class Model:
    """A loaded model under its name."""

    name: str
    predictor: Predictor
    role: str
    task: str | None
    """What it was fine-tuned on, where that is recorded."""
    target: str
    """What runs it: 'pytorch', or the target of an artifact."""
    source: str = ""
    """Where it is from, without a path of this machine: 'shipped:sentiment', 'sst2/best', 'sst2.zip'."""
    built_from: str | None = None
    """Where the checkpoint of an artifact was from."""
    measured: list[Any] = field(default_factory=list)
    """Rows of a comparison in an artifact."""
    abilities: dict[str, type[Operation]] = field(default_factory=dict)
    torch_thread: TorchThread | None = None
    """Where it computes, if PyTorch runs it; None: in the thread that calls `run`."""

    def describe(self) -> dict[str, Any]:
        """Its entry in /models; no path of this machine."""
        labels = list(self.predictor.backend.labels) if self.role in ("classifier", "tagger") else []
        spec = {"max_length": self.predictor.max_length, "truncate": self.predictor.spec.truncate}
        out = {"name": self.name, **self.identity(), "role": self.role, "task": self.task, "labels": labels, **spec}
        out |= {"label_meanings": self.label_meanings, "multi_label": self.role == "classifier" and self.predictor.backend.is_multilabel}
        out |= {"regression": self.is_regression}
        return out | {"target": self.target, "measured": self.measured, "abilities": sorted(self.abilities)}

    def identity(self) -> dict[str, Any]:
        """What it is, for someone who did not start the server: what it does, where it is from, its shape, number format and runtime."""
        values = self.predictor.backend.hf_config
        kind, layers = str(values.get("model_type", "electra")).upper(), values["num_hidden_layers"]
        own = getattr(self.predictor.backend, "precision", self.target)
        dtype = next((name for part, name in DTYPES.items() if part in own), "float32")
        runtime = RUNTIMES.get(self.target.partition("-")[0], self.target)
        shape = f"{kind} {layers} x {self.predictor.backend.hidden_size}"
        names = {"title": title_of(self), "source": self.source, "built_from": self.built_from}
        return names | {"architecture": shape, "dtype": dtype, "runtime": runtime}

    @property
    def is_regression(self) -> bool:
        """Whether it gives a number for each text that is not a relevance."""
        return self.role == "classifier" and self.predictor.backend.is_regression and self.task != "rerank"

    @property
    def label_meanings(self) -> Mapping[str, str]:
        """Label -> what it means, where the labels are the numbers of a benchmark's files."""
        found = LABEL_MEANINGS.get(self.task or "", {})
        return found if found.keys() == {*self.predictor.backend.labels} else {}

    def info(self, limits: Limits) -> dict[str, Any]:
        """GET /info, with the fields of text-embeddings-inference."""
        labels, spec = list(self.predictor.backend.labels), self.predictor.spec
        modules, identity = self.predictor.modules, self.identity()
        kind: dict[str, Any] = {"embedding": {"pooling": "+".join(modules.pooling.modes)}}
        if self.role == "classifier":
            names = {"id2label": {str(i): label for i, label in enumerate(labels)}, "label2id": {label: i for i, label in enumerate(labels)}}
            kind = {"reranker" if len(labels) == 1 else "classifier": names}
        return {
            "model_id": self.name,
            "model_sha": None,
            "model_dtype": identity.pop("dtype"),
            "served_model_name": self.name,
            **identity,
            "model_type": kind,
            "max_concurrent_requests": limits.max_requests,
            "max_input_length": spec.max_length,
            "max_length": spec.max_length,
            "truncate": spec.truncate,
            "prompts": dict(modules.prompts) if modules.declared else {},
            "max_batch_tokens": limits.max_batch_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": limits.max_texts,
            "auto_truncate": (spec.truncate if self.role == "classifier" else self.predictor.embedder.truncate) != "windows",
            "tokenization_workers": 1,
            "version": __version__,
            "sha": None,
            "docker_label": None,
        }

    def run(self, operation: Operation, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Answer a batch; only the model's own thread calls this."""
        if self.torch_thread is not None:
            answers: list[Any] = self.torch_thread.call(operation.run, self.predictor, prepared, batch_size)
            return answers
        return operation.run(self.predictor, prepared, batch_size)


def named_sources(words: Sequence[str]) -> dict[str, str]:
    """'NAME=SOURCE' or 'SOURCE' -> name -> source, in their order; without a name it is the folder's.

    Raises:
        UserError: a name that is invalid in a URL, or two models of one name.
    """
    out: dict[str, str] = {}
    for word in words:
        name, source = _split(word)
        if not source:
            raise UserError(f"'{word}' names no model; give NAME=FOLDER")
        if not NAME.fullmatch(name):
            raise UserError(f"'{name}' cannot be a model's name; use letters, digits, '_', '.' and '-', as in sentiment={source}")
        if name in out:
            raise UserError(f"two models are called '{name}' ({out[name]} and {source}); name them: first={out[name]} second={source}")
        out[name] = source
    return out


def _split(word: str) -> tuple[str, str]:
    """A word of the command line -> (name, source). A path may hold a '=' itself."""
    name, given, source = word.partition("=")
    return (name, source) if given and not Path(word).exists() else (default_name(word), word)


def default_name(source: str) -> str:
    """The last part of a path, URL or hub name, without .zip; of runs/sst2/best it is sst2."""
    source = source.removeprefix(bundled.PREFIX)
    path = source if remote.is_url(source) or not Path(source).exists() else str(Path(source).resolve())
    parts = [part for part in path.split("/") if part] or [source]
    name = parts[-1].removesuffix(".zip")
    return parts[-2] if name in GENERIC_FOLDERS and len(parts) > 1 else name


def origin(source: str) -> str:
    """A source without its path on this machine: 'shipped:sentiment', 'org/name' of the hub; for /home/me/runs/sst2/best 'sst2/best'."""
    if bundled.is_shipped(source) or not (remote.is_url(source) or Path(source).exists()):
        return source
    return resolve.end_of(source if remote.is_url(source) else str(Path(source).resolve()))


def title_of(model: Model) -> str:
    """What a model does, in words: 'sentiment of film review sentences: negative / positive', 'named entities: LOC, PER, 5 tags'."""
    backend, modules = model.predictor.backend, model.predictor.modules
    about = _about(model.task)
    if model.role == "classifier":
        return _classifier_title(model, about)
    if model.role == "tagger":
        kinds = sorted({split_tag(tag)[1] or tag for tag in backend.labels} - {"O"} if marks_spans(backend.labels) else {*backend.labels})
        names = _listed(kinds, ", ")
        what = about or ("named entities" if ENTITY_TYPES & {*kinds} else "token classification")
        return f"{what}{': ' if names else ''}{names}, {len(backend.labels)} tags"
    if model.role == "span finder":
        return f"question answering: {about.removeprefix('questions about ')}" if about else "question answering"
    if backend.is_electric:
        return "likelihood of each token (Electric)"
    if model.role == "discriminator":
        return "detector of replaced tokens" + (" + generator" if Corrupt.name in model.abilities else "")
    if model.role == "generator":
        return "masked language model: fills in [MASK]"
    what = "sentence vectors" if modules.declared else "encoder, vectors"
    return f"{what}, {modules.width(backend.hidden_size)} dimensions"


def _about(task: str | None) -> str:
    """What a benchmark's task is about; empty for tasks of the user's own files and unknown ones."""
    try:
        found = find_task(task or "")
    except UserError:
        return ""
    return "" if found in OF_FILES else re.sub(r" \(.*\)$", "", found.description)


def _classifier_title(model: Model, about: str) -> str:
    backend = model.predictor.backend
    if len(backend.labels) <= 1:
        return about or ("a number for each text" if model.is_regression else "re-ranker")
    names = [model.label_meanings.get(label, label) for label in backend.labels]
    kind = about or ("classifier, several labels at once" if backend.is_multilabel else "classifier")
    if all(map(UNNAMED_LABEL.fullmatch, names)):
        return f"{kind}, {len(names)} labels without names"
    listed = _listed(names, ", " if backend.is_multilabel else " / ")
    return f"{kind}: {listed}" if listed else kind if re.search(r"\d", kind) else f"{kind}, {len(names)} labels"


def _listed(names: Sequence[str], separator: str) -> str:
    """Names joined; empty where that is too long for a title."""
    joined = separator.join(names)
    return joined if len(joined) <= LISTED else ""


def check_sources(sources: dict[str, str]) -> None:
    """Check that there is something at every source, before the first is loaded.

    Raises:
        UserError: the first that is not there.
    """
    for source in sources.values():
        if not is_artifact(source):
            resolve.resolve(source)


def open_models(sources: dict[str, str], settings: ServeSettings) -> dict[str, Model]:
    """Name -> source -> name -> model: everything a request may need is in memory afterwards.

    Raises:
        UserError: a source that cannot be opened.
    """
    check_sources(sources)
    given = {name: getattr(settings, name) for name in ("device", "threads", "precision", "max_length", "truncate")}
    torch_thread = TorchThread()
    out: dict[str, Model] = {}
    for name, source in sources.items():
        if is_artifact(source):
            out[name] = as_model(name, load(source, **given), artifact_record(source))
        else:
            out[name] = torch_thread.call(lambda name, source: as_model(name, load(source, **given)), name, source)
            out[name].torch_thread = torch_thread
    return out


def as_model(name: str, predictor: Predictor, record: dict[str, Any] | None = None) -> Model:
    """A predictor under a name, warmed up."""
    record = record or {}
    role = ROLES.get(resolve.head_of(predictor.backend.architecture), "encoder")
    task = record.get("task") or predictor.backend.hf_config.get("finetuning_task")
    target, measured, built = str(record.get("target", "pytorch")), list(record.get("measured") or []), record.get("source")
    source = origin(predictor.name)
    made = resolve.end_of(str(built["name"])) if isinstance(built, dict) and built.get("name") and not bundled.is_shipped(source) else None
    model = Model(name, predictor, role, str(task) if task else None, target, source, made if made != source else None, measured)
    for kind, (operation, item) in WARM_UP.items():
        try:
            operation.run(predictor, [operation.prepare(predictor, item, predictor.max_length)], 1)
        except UserError as error:
            if OWN_OPERATION.get(role) is kind:
                raise UserError(f"model '{name}' ({role}) cannot answer: {error}") from None
            continue
        model.abilities[kind.name] = kind
    # Messages use the name from here on: a client learns no path.
    predictor.name = name
    return model


def artifact_record(source: str) -> dict[str, Any]:
    """The manifest of an artifact; empty for a checkpoint."""
    return dict(read_manifest(source)) if is_artifact(source) else {}

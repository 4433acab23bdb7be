"""NAME=SOURCE words of the command line -> loaded models, each with what it can do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electra import bundled
from electra.errors import UserError
from electra.inference.artifact import is_artefact, read_manifest
from electra.inference.backends import SPAN_FINDERS
from electra.inference.predictor import Predictor, load
from electra.inference.text_io import Text
from electra.serve.operations import Answer, Classify, Corrupt, Detect, Embed, EmbedAll, Fill, Operation, Tag
from electra.settings import ServeSettings
from electra.storage import remote, resolve

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SHIPPED = ("shipped:sentiment", "shipped:detector")
"""What is served where no model was named."""
UNTOLD = ("best", "final")
"""Folders of a run whose own name says nothing: the run's is taken."""
ROLES = {
    "ElectraForSequenceClassification": "classifier",
    "ElectraOriginalClassifier": "classifier",
    "ElectraForTokenClassification": "tagger",
    "ElectraForPreTraining": "discriminator",
    "ElectraForMaskedLM": "generator",
    **dict.fromkeys(SPAN_FINDERS, "span finder"),
}
TASKS = {"classifier": "text-classification", "tagger": "token-classification", "span finder": "question-answering", "generator": "fill-mask"}
"""Role -> the task that Hugging Face's payloads mean; of another role it depends on the text."""
TRIALS: dict[type[Operation], tuple[Operation, Any]] = {
    Classify: (Classify(), Text("a")),
    Tag: (Tag(), "a"),
    Answer: (Answer(), ("a", "a")),
    Fill: (Fill(), "[MASK]"),
    Embed: (Embed(), "a"),
    EmbedAll: (EmbedAll(), "a"),
    Detect: (Detect(), "a"),
    Corrupt: (Corrupt(), "a"),
}
"""What a model is asked once before it serves: it warms up, and what it cannot do is known."""


@dataclass
class Model:
    """A loaded model under its name."""

    name: str
    predictor: Predictor
    role: str
    task: str | None
    """What it was fine-tuned on, where that is recorded."""
    target: str
    """What runs it: 'pytorch', or what an artefact was built for."""
    measured: list[Any] = field(default_factory=list)
    """Rows of a comparison that an artefact carries."""
    abilities: dict[str, type[Operation]] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """What /models says of it; no path of this machine."""
        labels = list(self.predictor.network.labels) if self.role in ("classifier", "tagger") else []
        out = {"name": self.name, "role": self.role, "task": self.task, "labels": labels, "max_length": self.predictor.max_length}
        return out | {"target": self.target, "measured": self.measured, "abilities": sorted(self.abilities)}

    def run(self, operation: Operation, items: list[Any], at_a_time: int) -> list[Any]:
        """Answer a batch; only the model's own thread calls this."""
        self.predictor.batch_size = at_a_time
        return operation.run(self.predictor, items)


def named_sources(words: Sequence[str]) -> dict[str, str]:
    """'NAME=SOURCE' or 'SOURCE' -> name -> source, in their order; without a name it is the folder's.

    Raises:
        UserError: a name that cannot stand in a URL, or two models of one name.
    """
    out: dict[str, str] = {}
    for word in words:
        name, source = _split(word)
        if not source:
            raise UserError(f"'{word}' names no model; give NAME=FOLDER")
        if not NAME.fullmatch(name):
            raise UserError(f"'{name}' is no name for a model; use letters, digits, '_', '.' and '-', as in sentiment={source}")
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
    return parts[-2] if name in UNTOLD and len(parts) > 1 else name


def check_sources(sources: dict[str, str]) -> None:
    """Nothing, when there is something at every source: asked before the first is loaded.

    Raises:
        UserError: the first that is not there.
    """
    for source in sources.values():
        if not is_artefact(source):
            resolve.resolve(source)


def open_models(sources: dict[str, str], settings: ServeSettings) -> dict[str, Model]:
    """Name -> source -> name -> model: everything a request may need is in memory afterwards.

    Raises:
        UserError: a source that cannot be opened.
    """
    check_sources(sources)
    out = {}
    for name, source in sources.items():
        predictor = load(source, device=settings.device, threads=settings.threads, max_length=settings.max_length)
        out[name] = as_model(name, predictor, artefact_record(source))
    return out


def as_model(name: str, predictor: Predictor, record: dict[str, Any] | None = None) -> Model:
    """A predictor under a name; it is asked everything once."""
    record = record or {}
    role = ROLES.get(predictor.network.architecture, "encoder")
    task = record.get("task") or predictor.network.hf_config.get("finetuning_task")
    model = Model(name, predictor, role, str(task) if task else None, str(record.get("target", "pytorch")), list(record.get("measured") or []))
    for kind, (operation, item) in TRIALS.items():
        try:
            operation.run(predictor, [item])
        except UserError:
            continue
        model.abilities[kind.name] = kind
    # Messages name it from here on: a client learns no path.
    predictor.name = name
    return model


def artefact_record(source: str) -> dict[str, Any]:
    """What an artefact says of itself; nothing for a checkpoint."""
    return dict(read_manifest(source)) if is_artefact(source) else {}

"""The Python API: the commands as functions, with the same settings as keyword arguments and typed results.

    import electra

    vocabulary = electra.train_vocabulary(["corpus/"], output="vocab", size=8192)
    dataset = electra.prepare(["corpus/"], tokenizer=vocabulary.path, output="shards")
    run = electra.pretrain("mini", data=[dataset.path], output="runs/mini", budget="1h")
    result = electra.finetune("sst2", model=run.checkpoint, data="glue/SST-2", output="runs/sst2", seeds=5)
    artifact = electra.build(result.model, target="onnx-int8", output="sst2-int8")
    electra.pipeline("sentiment-analysis", model=artifact.path)(["a wonderful film"], top_k=None)

Keyword arguments are the flags of the command (`electra pretrain --help-all`) with underscores, and values may be written as there: "1h", "30M",
"0.5%". Each function also takes its settings object instead (`electra.settings`), which is how the commands call it. A mistake raises
`electra.UserError` with the message that the command prints. Progress and warnings go to standard error.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from electra import config, environment
from electra.command_line import from_arguments
from electra.errors import UserError, did_you_mean, require
from electra.finetuning.results import FinetuneResult
from electra.settings import (
    BuildSettings,
    ColumnSettings,
    CompareSettings,
    EvaluateSettings,
    FinetuneSettings,
    PrepareSettings,
    PretrainSettings,
    PushSettings,
    VocabSettings,
)
from electra.settings.sections import check_ray_address
from electra.storage import atomic, remote, resolve
from electra.terminal import say

if TYPE_CHECKING:
    from typing import Unpack

    from electra.arguments import (
        BuildArguments,
        CompareArguments,
        EvaluateArguments,
        FinetuneArguments,
        PrepareArguments,
        PretrainArguments,
        PushArguments,
        VocabularyArguments,
    )
    from electra.benchmark.results import Comparison
    from electra.pretraining.run import PretrainResult
    from electra.tasks.retrieval import System

S = TypeVar("S")
Place = str | Path


def _settings(cls: type[S], function: str, first: str, value: Any, arguments: Mapping[str, Any]) -> S:
    """The arguments of a function -> its settings object."""
    if isinstance(value, cls):
        if arguments:
            raise TypeError(f"{function}({cls.__name__}) takes no further arguments, got {', '.join(arguments)}; use dataclasses.replace")
        return value
    return from_arguments(cls, {first: value, **arguments} if value is not None else dict(arguments), f"{function}()")


# ---- text -> vocabulary -> tokenized dataset ----


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A trained vocabulary, or a checkpoint with an extended or a trimmed one."""

    path: str
    """Folder or URL with vocab.txt, tokenizer.json and tokenizer_config.json; with `extend` and `trim` a whole checkpoint."""
    vocab_size: int
    """V."""
    text_bytes: int
    """Bytes of text that were read."""
    description: str
    """One line."""


def train_vocabulary(corpus: Place | Sequence[Place] | VocabSettings, **arguments: Unpack[VocabularyArguments]) -> Vocabulary:
    """Train a WordPiece vocabulary from a corpus; or add a domain's words to a checkpoint (`extend`), or keep what a corpus uses of it (`trim`).

    Args:
        corpus: files, folders or URLs of text, or 'hf:NAME'.
        **arguments: as flags of `electra vocab`; `output` is required.

    Raises:
        UserError: the corpus cannot be read or has no text, or `output` exists.
    """
    from electra.data.documents import sample_texts
    from electra.data.sources import CorpusReport
    from electra.data.vocabulary import train_tokenizer

    settings = _settings(VocabSettings, "train_vocabulary", "corpus", corpus, arguments)
    source = _checked_source(settings)
    remote.fresh_output(settings.output, remedy="choose another --output")
    report = CorpusReport()
    if source is not None:
        size, description = _adapt_vocabulary(settings, source, report)
    else:
        tokenizer = train_tokenizer(
            sample_texts(settings, report),
            30522 if settings.size is None else settings.size,
            settings.lowercase,
            settings.min_frequency,
            strip_accents=settings.strip_accents,
            split_chinese=settings.split_chinese,
            explain=say,
        )
        with remote.made_locally(settings.output) as folder:
            tokenizer.save(folder)
        size, description = tokenizer.vocab_size, f"{tokenizer.vocab_size:,} tokens"
    for line in report.lines():
        say(f"warning: {line}")
    return Vocabulary(path=settings.output, vocab_size=size, text_bytes=report.text_bytes, description=description)


def _checked_source(settings: VocabSettings) -> str | None:
    """The checkpoint whose vocabulary is changed, if there is one."""
    if settings.extend is not None and settings.trim is not None:
        raise UserError("--extend adds tokens to a checkpoint, --trim takes some away; give one of them")
    source = settings.trim if settings.extend is None else settings.extend
    for name in ("lowercase", "strip_accents", "split_chinese"):
        if source is not None and name in config.given(settings):
            raise UserError(f"{config.flag_name(name)}: {source} brings its rules; leave it out")
    return source


def _adapt_vocabulary(settings: VocabSettings, source: str, report: Any) -> tuple[int, str]:
    """The checkpoint `source` with more or fewer tokens, written to the output folder complete or not at all -> its vocabulary's size, a line."""
    require("torch", "train")
    from electra.data.adapted_vocabulary import Extension, Trimmed, extend_tokenizer, trim_tokenizer
    from electra.data.documents import sample_texts
    from electra.data.tokenizer import load_tokenizer
    from electra.data.vocabulary import UnknownWords, count_words
    from electra.model.adapted_embeddings import with_vocabulary
    from electra.model.huggingface import load_checkpoint, save_checkpoint
    from electra.model.model_card import adapted_card
    from electra.tasks.input_spec import copied_record, recorded

    place = resolve.resolve(source)
    checkpoint, tokenizer = load_checkpoint(place), load_tokenizer(place)
    if checkpoint.labels and settings.extend is not None:
        raise UserError(f"{source} is fine-tuned; extend the pre-trained checkpoint, pre-train it a little longer, and fine-tune that")
    counts = count_words(sample_texts(settings, report), tokenizer)
    found: Extension | Trimmed
    changes: tuple[Any, ...]
    if settings.trim is not None:
        found = trimmed = trim_tokenizer(tokenizer, counts, settings.size, settings.min_frequency)
        changes = (trimmed.kept,)
    else:
        found = more = extend_tokenizer(tokenizer, counts, settings.size or 1000, settings.min_frequency)
        changes = (range(tokenizer.vocab_size), more.parts, more.log_ratios)
    unknown = UnknownWords(found.tokenizer)
    unknown.add_words(counts)
    for line in unknown.lines():
        say(line)
    networks = {".": checkpoint}
    if (place / "generator" / "config.json").exists():
        networks["generator"] = load_checkpoint(place / "generator")
    card = adapted_card(settings.output.rstrip("/").rpartition("/")[2], source, found.tokenizer.vocab_size - tokenizer.vocab_size)
    with remote.made_locally(settings.output) as folder:
        for part, network in networks.items():
            save_checkpoint(
                with_vocabulary(network, *changes),
                folder / part,
                labels=network.labels,
                card=card if part == "." else None,
                extra=copied_record(network.hf_config),
            )
            positions = network.config.max_position_embeddings
            length = recorded(network.hf_config)[1] or min(tokenizer.settings.max_length or positions, positions)
            found.tokenizer.save(folder / part, length)
        if settings.trim is not None:
            resolve.copy_sentence_files(resolve.sentence_files(resolve.modules_folder(source, place), place), folder)
    return found.tokenizer.vocab_size, found.description


@dataclass(frozen=True, kw_only=True)
class TokenizedDataset:
    """A folder of shards made by `prepare`."""

    path: str
    """Folder or URL."""
    manifest: Mapping[str, Any]
    """What manifest.json holds."""
    text_bytes: int
    """Bytes of text read in this call."""
    run: Mapping[str, Any]
    """Speed and memory of this call, as in run.json."""

    @property
    def train_tokens(self) -> int:
        """Tokens to train on."""
        return int(self.manifest["splits"]["train"]["tokens"])

    @property
    def held_out_tokens(self) -> int:
        """Tokens set aside for evaluation."""
        return int(self.manifest["splits"]["held_out"]["tokens"])


def prepare(corpus: Place | Sequence[Place] | PrepareSettings, **arguments: Unpack[PrepareArguments]) -> TokenizedDataset:
    """Tokenize a corpus into memory-mapped shards with a held-out part; interrupted work continues.

    Args:
        corpus: files, folders or URLs of text, 'hf:NAME', or the original code's TFRecords.
        **arguments: as flags of `electra prepare`; `tokenizer` and `output` are required.

    Raises:
        UserError: the corpus or the tokenizer cannot be read, or `output` is finished or was begun with other settings.
    """
    from electra.data.prepare import prepare as tokenize
    from electra.data.sources import CorpusReport
    from electra.data.tokenizer import load_tokenizer

    settings = _settings(PrepareSettings, "prepare", "corpus", corpus, arguments)
    check_ray_address(settings.engine, settings.ray_address)
    tokenizer = load_tokenizer(settings.tokenizer, settings.lowercase, strip_accents=settings.strip_accents, split_chinese=settings.split_chinese)
    report, start = CorpusReport(), time.monotonic()
    shards = tokenize(settings, tokenizer, report=report)
    seconds = time.monotonic() - start
    speed = {
        "seconds": round(seconds, 2),
        "text_mb_per_s": round(report.text_bytes / 1e6 / max(1e-9, seconds), 2),
        "peak_memory_mb": {
            "reader": environment.peak_memory_bytes() // 1_000_000,
            "largest_worker": environment.peak_memory_of_children_bytes() // 1_000_000,
        },
        "workers": settings.workers or os.cpu_count(),
        "engine": settings.engine,
    }
    remote.write_text(remote.join(settings.output, "run.json"), json.dumps(speed, indent=2) + "\n")
    return TokenizedDataset(path=settings.output, manifest=shards.manifest, text_bytes=report.text_bytes, run=speed)


# ---- training ----


def pretrain(preset: Place | PretrainSettings | None = None, **arguments: Unpack[PretrainArguments]) -> PretrainResult:
    """Pre-train an encoder by replaced-token detection or masked LM.

    Args:
        preset: name of a preset or a TOML file; None together with `resume=RUN`.
        **arguments: as flags of `electra pretrain`; `data` and `output` are required, unless a run is resumed.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it; what was done is saved, and `resume=RUN` continues.
        UserError: settings, data or weights that do not fit together; nothing was written.
    """
    settings = _settings(PretrainSettings, "pretrain", "preset", preset, arguments)
    require("torch", "train")
    from electra.pretraining import run

    return _unless_stopped(run.pretrain(settings), preset)


def finetune(task: str | FinetuneSettings | None = None, **arguments: Unpack[FinetuneArguments]) -> FinetuneResult:
    """Fine-tune a checkpoint on a task, on several together ('sst2+rte'), or on a suite, over one or several seeds.

    Args:
        task: name of a task, 'own' (labelled files), 'tagging', several joined by '+', or a suite; None together with `resume=RUN`.
        **arguments: as flags of `electra finetune`; `model` and `output` are required, unless a run is resumed.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it; what was done is saved, and `resume=RUN` continues.
        UserError: anything wrong with the settings, the files or the model.
    """
    settings = _settings(FinetuneSettings, "finetune", "task", task, arguments)
    require("torch", "train")
    from electra.finetuning import sweep, trainer

    if not sweep.is_many(settings):
        return _unless_stopped(trainer.finetune(settings), task)
    if "+" in settings.task:
        raise UserError(f"{settings.task} is one network; --workers, --engine and --search are for single tasks")
    return _unless_stopped(sweep.run(settings), task)


Stoppable = TypeVar("Stoppable", "PretrainResult", FinetuneResult)


def _unless_stopped(result: Stoppable, given: object) -> Stoppable:
    """The result of a run that was not stopped. Ctrl-C, and Stop in a notebook, end the caller's code as they end any other call; the commands,
    which give settings, end by themselves.

    Raises:
        KeyboardInterrupt: SIGINT stopped it; what was done is saved.
        SystemExit: another signal did; 128 + its number.
    """
    if not result.signal or isinstance(given, config.Settings):
        return result
    if result.signal == signal.SIGINT:
        raise KeyboardInterrupt("stopped and saved; continue with resume=RUN")
    raise SystemExit(128 + result.signal)


# ---- use and measure ----


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a model."""

    metrics: Mapping[str, float]
    """Name -> value; accuracies and F1 are 0..1, correlations -1..1."""
    num_examples: int = 0
    """Examples of the task's split, or queries; 0 for pre-training metrics."""
    systems: tuple[System, ...] = ()
    """Retrieval: each way to search; `metrics` are those of the last."""


def evaluate(model: Place | EvaluateSettings, **arguments: Unpack[EvaluateArguments]) -> Evaluation:
    """Measure a model: pre-training metrics on held-out shards, or a task's metrics on its labelled data.

    Args:
        model: checkpoint folder, run, hub name, or for a task an artifact.
        **arguments: as flags of `electra evaluate`: `data`, and `task` for a fine-tuned model.

    Raises:
        UserError: no such model, data or task, or a model of another task.
    """
    from electra.tasks.evaluate import predictions_given, score_predictions

    settings = _settings(EvaluateSettings, "evaluate", "model", model, arguments)
    for name in ("reranker", "candidates", "fuse", "approximate"):
        if name in config.given(settings) and settings.task != "retrieval":
            raise UserError(f"{config.flag_name(name)} is for --task retrieval; leave it out")
    of_texts = settings.corruption is not None and settings.corruption.suffix == ".jsonl"
    if settings.against is not None and (settings.task is not None or not of_texts):
        raise UserError(f"--against {settings.against} needs --corruption FILE.jsonl, the texts on which both are scored, and no --task")
    if (given := predictions_given(settings)) is not None:
        return Evaluation(**score_predictions(*given))
    if settings.na_probs is not None:
        raise UserError("--na-probs is for a file of predictions (electra evaluate PREDICTIONS --task squad2); a model has its own")
    if settings.task in SEARCHED:
        return _evaluate_search(settings)
    if settings.task is not None:
        return _evaluate_task(settings)
    if settings.report or settings.predictions:
        raise UserError("--report and --predictions need a fine-tuned model; name its task by --task")
    torch = require("torch", "train")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    from electra.pretraining.evaluate import corruption_metrics, held_out_metrics, text_corruption_metrics

    measure = held_out_metrics if settings.corruption is None else text_corruption_metrics if of_texts else corruption_metrics
    return Evaluation(metrics=measure(settings))


def _evaluate_task(settings: EvaluateSettings) -> Evaluation:
    """A fine-tuned model on a labelled split or file; writes the predictions and the report where the settings name a place."""
    from electra.inference.predictor import open_fine_tuned
    from electra.tasks import error_report
    from electra.tasks.evaluate import assess, write_answers
    from electra.tasks.tagging import scores_by_type

    if not settings.data:
        raise UserError(f"--task {settings.task} needs --data, the task's folder or a labelled file")
    found = assess(settings, functools.partial(open_fine_tuned, threads=settings.threads, precision=settings.precision))
    if settings.predictions is not None:
        write_answers(found, settings.predictions)
    if settings.report is not None:
        error_report.write(found, settings.model, settings.report)
        say(f"report: {settings.report / 'report.md'}")
    by_type = scores_by_type(found.examples, found.predictions, found.head) if settings.per_class else {}
    calibration = {name: value for name, value in (error_report.reliability_of(found) or {}).items() if name == "expected_calibration_error"}
    return Evaluation(metrics=found.scores() | calibration | by_type, num_examples=len(found.examples))


SEARCHED = ("embed", "rerank", "retrieval")
"""Tasks of vectors and re-rankers."""


def _evaluate_search(settings: EvaluateSettings) -> Evaluation:
    """Vectors or a re-ranker on labelled texts, or on a collection of passages."""
    from electra.inference import search
    from electra.inference.predictor import load_for
    from electra.tasks import retrieval
    from electra.tasks.registry import find_search_task

    name = str(settings.task)
    used = {"model", "data", "task", "split", "threads", "precision", "batch_size", "max_length", "json"}
    used |= (
        {"reranker", "candidates", "fuse", "approximate", "num_examples", "seed", "report"} if name == "retrieval" else {"text", "text_pair", "label"}
    )
    if unused := sorted(config.given(settings).keys() - used):
        raise UserError(f"{config.flag_name(unused[0])} has no effect on {name}; leave it out")
    if len(settings.data) != 1:
        what = "a folder in BEIR's layout" if name == "retrieval" else "a labelled file, or the folder with it"
        raise UserError(f"--task {name} needs --data PLACE, {what}")
    place = atomic.existing_path(Path(settings.data[0]), "data")
    if name != "retrieval":
        task = find_search_task(settings)
        examples = task.read(place, settings.split)
        return Evaluation(metrics=search.scored_texts(load_for(settings, settings.model), task, examples), num_examples=len(examples))
    if settings.report is not None:
        atomic.fresh_output(settings.report, remedy="choose another place")
    collection = retrieval.read_collection(place, settings.split)
    if "num_examples" in config.given(settings):
        collection = collection.sampled(settings.num_examples, settings.seed)
    say(f"{place}: {len(collection.passages):,} passages, {len(collection.queries):,} queries")
    systems = search.searched(settings, load_for(settings, settings.model), collection)
    if settings.report is not None:
        retrieval.write_report(systems, settings.report)
    return Evaluation(metrics=systems[-1].scores(), num_examples=len(collection.queries), systems=tuple(systems))


@dataclass(frozen=True, kw_only=True)
class BuiltArtifact:
    """An artifact made by `build`."""

    path: Path
    """Folder or .zip."""
    manifest: Mapping[str, Any]
    """What artefact.json holds."""
    reason: str = ""
    """Target 'auto': why this target was chosen."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Target 'auto': the other targets, and why not."""

    @property
    def target(self) -> str:
        """'onnx-int8', ..."""
        return str(self.manifest["target"])

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(entry["size_bytes"] for entry in self.manifest["files"].values())


def build(model: Place | BuildSettings, **arguments: Unpack[BuildArguments]) -> BuiltArtifact:
    """Turn a checkpoint into an artifact that runs without PyTorch.

    Args:
        model: checkpoint folder, run or hub name.
        **arguments: as flags of `electra build`; `output` and, unless `layout` is 'hub', `target` are required.

    Raises:
        UserError: no such checkpoint or target, a missing package, or no target within `max_drop` ('auto').
    """
    settings = _settings(BuildSettings, "build", "model", model, arguments)
    if settings.layout == "hub":
        return _build_hub(settings)
    if "dtypes" in config.given(settings):
        raise UserError("--dtypes is for --layout hub; of an artifact the target names the number format")
    if not settings.target:
        raise UserError("build: --target is missing; give one, such as onnx (--help lists them), or --layout hub")
    return _build_fastest(settings) if settings.target == "auto" else _build_one(settings)


_FOR_AUTO = ("task", "data", "max_drop", "split", "labels", "calls", "threads", "skip")


def _build_one(settings: BuildSettings) -> BuiltArtifact:
    from electra.exporting.targets import build_artifact, target

    for name in _FOR_AUTO:
        if name in config.given(settings):
            raise UserError(f"--{name.replace('_', '-')} is for --target auto, target {settings.target} is not measured; leave it out")
    chosen = target(settings.target)
    _check_source(settings)
    chosen.require()
    if settings.calibrate is not None and not chosen.calibrated:
        raise UserError(f"--calibrate is for 8-bit targets with static quantization, target {settings.target} needs no texts; leave it out")
    texts = _calibration_texts(settings)
    spec = {"max_length": settings.max_length, "truncate": settings.truncate}
    manifest = build_artifact(settings.model, settings.target, settings.output, texts=texts, **spec, say=say)  # type: ignore[arg-type]
    return BuiltArtifact(path=settings.output, manifest=manifest)


def _build_hub(settings: BuildSettings) -> BuiltArtifact:
    from electra.exporting.targets import build_hub_folder

    for name in (*_FOR_AUTO, "calibrate", "num_texts"):
        if name in config.given(settings):
            raise UserError(f"--{name.replace('_', '-')} is for artifacts, --layout hub takes --dtypes, --max-length and --truncate; leave it out")
    if settings.target not in ("", "onnx"):
        raise UserError(f"--target {settings.target}: a folder for the hub is built for onnx; choose its number formats with --dtypes")
    if settings.output.suffix == ".zip":
        raise UserError(f"--output {settings.output}: --layout hub makes a folder; leave out .zip")
    _check_source(settings)
    spec = {"max_length": settings.max_length, "truncate": settings.truncate}
    manifest = build_hub_folder(settings.model, settings.output, dtypes=settings.dtypes, **spec, say=say)  # type: ignore[arg-type]
    return BuiltArtifact(path=settings.output, manifest=manifest)


def _check_source(settings: BuildSettings) -> None:
    from electra.inference.artifact import is_artifact

    atomic.fresh_output(settings.output, remedy="choose another name, or remove it first")
    if is_artifact(settings.model):
        raise UserError(f"{settings.model} is an artifact already; give the checkpoint it was built from")
    require("torch", "train")


def _calibration_texts(settings: BuildSettings) -> list[str]:
    """The texts of --calibrate, 'a<TAB>b' for a pair, sampled evenly; none without it."""
    from electra.data.tokenizer import load_tokenizer
    from electra.exporting.targets import spread
    from electra.inference import text_io
    from electra.tasks.data_warnings import reporting
    from electra.tasks.input_spec import columns_of

    if settings.calibrate is None:
        return []
    folder, given = resolve.resolve(settings.model), config.given(settings)
    columns = text_io.TextColumns(text=given.get("text"), pair=given.get("text_pair"), trained=columns_of(folder))
    texts = text_io.read_texts(settings.calibrate, columns)
    found = reporting(texts, load_tokenizer(folder))
    return spread([text.text if text.pair is None else f"{text.text}\t{text.pair}" for text in found], settings.num_texts)


def _build_fastest(settings: BuildSettings) -> BuiltArtifact:
    """Build every target, measure each, keep the fastest within `max_drop`."""
    from electra.exporting.targets import TARGETS, spread
    from electra.inference.artifact import REMOVED_TARGETS

    if settings.task is None or settings.data is None:
        raise UserError("--target auto measures what it builds: give --task TASK and --data DIR, with labels")
    for name in settings.skip:
        if name not in TARGETS and name not in REMOVED_TARGETS:
            raise UserError(f"--skip {name}: unknown target; {did_you_mean(name, TARGETS)}")
    _check_source(settings)
    from electra.benchmark.auto_target import build_fastest, training_texts
    from electra.benchmark.measure import MeasurementPlan
    from electra.inference.predictor import open_fine_tuned
    from electra.tasks.data_warnings import unknown_lines
    from electra.tasks.evaluate import data_place, named_task, read_labelled, resolved_task
    from electra.tasks.input_spec import recorded_columns, with_trained_columns

    names = (*ColumnSettings.__dataclass_fields__, "max_length", "truncate", "labels")
    columns = {name: value for name, value in config.given(settings).items() if name in names}
    evaluation = EvaluateSettings(model=settings.model, task=settings.task, data=(settings.data,), split=settings.split, **columns)
    config.mark_given(evaluation, columns)
    # Model and data are checked before minutes of building.
    model, task = open_fine_tuned(settings.model), named_task(evaluation)
    place = data_place(task, settings.data)
    if task.name != "own":
        read_labelled(task, place, settings.split)
    evaluation = with_trained_columns(evaluation, recorded_columns(model.hf_config))
    task, wanted = resolved_task(task, evaluation, model.head)
    opened = model.for_task(task, wanted, evaluation)
    texts = training_texts(evaluation, say) if settings.calibrate is None else _calibration_texts(settings)
    for line in unknown_lines({"": read_labelled(task, place, settings.split)}, opened.tokenizer):
        say(line)
    found = build_fastest(
        evaluation,
        settings.output,
        max_drop=settings.max_drop,
        plan=MeasurementPlan(calls=settings.calls, threads=len(environment.choose_cores(settings.threads))),
        texts=spread(texts, settings.num_texts) if texts else (),
        skip=settings.skip,
        say=say,
    )
    return BuiltArtifact(path=settings.output, manifest=found.manifest, reason=found.selection.reason, dropped=found.selection.dropped)


METADATA = ("license", "language", "base_model", "datasets")


def push(path: Place | PushSettings, **arguments: Unpack[PushArguments]) -> str:
    """Upload a checkpoint to the Hugging Face hub as a complete repository, or write it to a folder.

    Args:
        path: checkpoint folder, run, bundled model, or a folder of `build(..., layout="hub")`.
        **arguments: as flags of `electra push`; `name` or `output` is required.

    Returns:
        The repository's address, or the folder.

    Raises:
        UserError: not a model, a name without an owner, no token, or a hub that cannot be reached or refuses.
    """
    from electra.exporting import hub_repository
    from electra.exporting.targets import check_dtypes
    from electra.inference.artifact import is_artifact

    settings = _settings(PushSettings, "push", "path", path, arguments)
    if settings.name is None and settings.output is None:
        raise UserError("push: --name OWNER/NAME is missing, the repository on the hub; or write it to a folder, with --output FOLDER")
    if settings.name is not None:
        hub_repository.check_name(settings.name)
    if settings.output is not None and settings.private:
        raise UserError("--private is for a repository on the hub, with --output nothing is uploaded; leave it out")
    check_dtypes(settings.dtypes)
    source = hub_repository.check_source(settings.path)
    if is_artifact(source):
        for name in {"onnx", "dtypes"} & config.given(settings).keys():
            raise UserError(f"{config.flag_name(name)} is for checkpoints, {settings.path} has ONNX files alone; leave it out")
    else:
        require("torch", "train")
    metadata = {name: [*value] if isinstance(value, tuple) else value for name in METADATA if (value := getattr(settings, name))}
    options: dict[str, Any] = {"dtypes": settings.dtypes if settings.onnx else (), "metadata": metadata, "say": say}
    if settings.output is not None:
        atomic.fresh_output(settings.output, remedy="choose another --output")
        hub_repository.write_repository(source, settings.output, name=settings.name or settings.output.name, **options)
        return str(settings.output)
    assert settings.name is not None
    hub_repository.check_access(settings.name)
    with tempfile.TemporaryDirectory(prefix="electra-push-") as place:
        folder = Path(place) / "repository"
        hub_repository.write_repository(source, folder, name=settings.name, **options)
        return hub_repository.upload(folder, settings.name, private=settings.private)


def compare(models: Sequence[Place] | CompareSettings, **arguments: Unpack[CompareArguments]) -> Comparison:
    """Measure a model and its artifacts by one method: accuracy, latency, throughput, size, memory.

    Args:
        models: checkpoints and artifacts; the first is the reference.
        **arguments: as flags of `electra compare`; `task` and `data` are required.

    Returns:
        The rows; one that could not be measured has its `error`.

    Raises:
        UserError: no such task, data or model, or not one model could be measured.
    """
    from electra.benchmark.measure import MeasurementPlan, measure, unique_names
    from electra.benchmark.records import environments_of, read_all_saved
    from electra.benchmark.results import Comparison, check_chart, check_keep, keep
    from electra.benchmark.worker import labelled_data, task_of

    settings = _settings(CompareSettings, "compare", "models", models, arguments)
    if not settings.models:
        raise UserError("nothing to compare: give a model, and artifacts of it")
    given, settings = config.given(settings), dataclasses.replace(settings, task=settings.task or task_of(settings.models))
    config.mark_given(settings, given)
    threads = len(environment.choose_cores(settings.threads))
    if settings.output is not None:
        require("matplotlib", "runtime")  # before minutes of measuring
        atomic.fresh_output(settings.output, remedy="choose another --output")
    if settings.chart is not None:
        check_chart(settings.chart)
    check_keep(settings)
    plan = MeasurementPlan(calls=settings.calls, threads=threads, num_examples=settings.num_examples, seed=settings.seed, device=settings.device)
    here = environments_of(settings.python, threads, unique_names(settings.models)[0])
    saved, there = read_all_saved(settings.add, len(here))
    rows = measure(settings.models, labelled_data(settings), plan, say, here, saved)
    if all(row.error for row in rows):
        raise UserError(f"no model could be measured; {rows[0].name}: {rows[0].error}")
    found = Comparison(
        task=str(settings.task),
        split=settings.split,
        num_examples=next((row.num_examples for row in rows if row.num_examples), 0),
        calls=next((row.latency.num_calls for row in rows if row.latency is not None), settings.calls),
        threads=threads,
        machine=here[0].machine,
        rows=rows,
        environments=[*here, *there],
        seed=settings.seed,
        command=shlex.join(["electra", *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
    )
    keep(found, settings, say)
    return found

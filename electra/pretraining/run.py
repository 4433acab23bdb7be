"""Pre-training: tokenized data -> batches -> objective -> the loop -> a run directory with checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from electra import config
from electra.errors import UserError
from electra.pretraining.setup import (
    adopt_start,
    after_restart,
    check,
    check_data,
    loggers,
    phases_left,
    recorded,
    spent_before,
    with_absolute_paths,
    write_run,
)
from electra.settings import PretrainSettings
from electra.settings.pretrain import FIRST_PHASES, LAST_PHASE
from electra.storage import atomic
from electra.tasks import input_spec
from electra.terminal import say

if TYPE_CHECKING:
    from electra.model.objectives import PretrainingObjective
    from electra.pretraining.setup import Corpus
    from electra.train.distributed import Ranks
    from electra.train.loop import TrainResult
    from electra.train.run_log import Phase, RunLog


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """How a pre-training run ended."""

    output: Path
    """The run directory."""
    checkpoint: Path
    """RUN/final: a Hugging Face directory of the discriminator (or masked LM), its generator in generator/."""
    steps: int = 0
    """Optimizer updates of all phases."""
    tokens: int = 0
    """Real tokens trained on."""
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last evaluation on held-out text."""
    signal: int | None = None
    """The signal that stopped it; None if finished."""
    first: bool = True
    """Whether this process is rank 0, which reports."""
    estimate: tuple[str, ...] = ()
    """With `dry_run`: lines with parameters, memory, FLOPs and time."""


def pretrain(settings: PretrainSettings) -> PretrainResult:
    """Pre-train an encoder, or continue a run (`resume`); progress goes to standard error.

    Raises:
        UserError: settings, data or weights that do not fit together (nothing is written), or a loss that is not finite.
    """
    from electra.train import checkpoint, distributed
    from electra.train.run_log import check_loggers

    if settings.dry_run:
        return estimate(settings)
    if settings.output == Path():
        raise UserError("no run directory: give --output RUN (or --dry-run)")
    settings, lines = (recorded(settings), []) if settings.resume else adopt_start(settings)
    settings = with_absolute_paths(settings)
    check(settings)
    check_loggers(loggers(settings))
    with distributed.join(settings.loop.device, settings.loop.threads) as ranks:
        # A machine that lost no rank counts no restart of its own.
        if not settings.resume and any(ranks.gather(distributed.restarted())):
            settings = after_restart(settings)
        unknown = check_data(settings)
        if not settings.resume:
            checkpoint.split_global_batch(settings.loop, None, ranks.world_size)  # refuses before anything is written
            atomic.fresh_output(settings.output, remedy="continue it with --resume, or choose another --output")
        ranks.wait()
        with atomic.new_folder(settings.output, keep=lambda: _has_checkpoint(settings.output)) if ranks.first else nullcontext():
            for line in unknown if ranks.first else ():
                say(line)
            if ranks.first:
                write_run(settings)
            left = phases_left(settings)
            for phase in left:
                # What the phase before has spent is read by one rank: the others may see an older file system.
                spent = ranks.agree(spent_before(phase, settings.output) if ranks.first else {})
                result, metrics = train_phase(phase, ranks, settings.output, spent, lines)
                lines = []
                # A signal in the last moments of a phase ends the run before the next one.
                stop = result.signal or (result.late_signal if phase is not left[-1] else None)
                if stop:
                    if not result.signal and ranks.first:
                        say(f"stopped before the next phase; the same command with --resume continues {settings.output}")
                    break
        return PretrainResult(
            output=settings.output,
            checkpoint=settings.output / "final",
            steps=result.step + int(spent.get("step", 0)),
            tokens=result.tokens + int(spent.get("tokens", 0)),
            seconds=result.seconds + spent.get("seconds", 0.0),
            metrics=metrics,
            signal=stop,
            first=ranks.first,
        )


def _has_checkpoint(run: Path) -> bool:
    """Whether one of the run's phases has saved something."""
    return any(folder.exists() for part in (run, *(run / name for name in FIRST_PHASES)) for folder in (part / "checkpoints", part / "final"))


def estimate(settings: PretrainSettings) -> PretrainResult:
    """What the run would cost, from some trial updates; writes nothing."""
    from electra.pretraining.dry_run import report
    from electra.train import distributed

    if settings.resume:
        raise UserError("--dry-run is for new runs; leave out --resume")
    settings, found = adopt_start(settings)
    check(settings)
    if settings.data.data:
        check_data(settings)
    with distributed.join(settings.loop.device, settings.loop.threads) as ranks:
        first, *rest = report(settings, ranks)
        lines = [first, *found, *rest]
        return PretrainResult(output=settings.output, checkpoint=settings.output / "final", estimate=tuple(lines), first=ranks.first)


def train_phase(
    settings: PretrainSettings, ranks: Ranks, folder: Path, spent: Mapping[str, float] | None = None, lines: Sequence[str] = ()
) -> tuple[TrainResult, dict[str, float]]:
    """One phase of the run in `folder`: tokenized data -> batches -> objective -> the loop -> how it ended, and the last evaluation.

    `spent` is what the phases before it have spent (steps, tokens, seconds, FLOPs). `lines` say how the run starts; with what its networks
    start from they are in the log and in the model card.
    """
    from electra.model import pretraining_models
    from electra.model.model_card import pretraining_card
    from electra.pretraining.evaluate import held_out, open_probe, record, spec_of_run
    from electra.pretraining.setup import build, open_corpus, open_stream
    from electra.train import checkpoint, evaluation, loop
    from electra.train.run_log import Phase

    corpus = open_corpus(settings)
    settings, resume_from = with_the_runs_batch(settings, ranks, folder)
    objective, messages = build(settings, corpus, ranks, fresh=resume_from is None)
    messages = [*lines, *messages]
    # The encoder that a run has trained itself as a language model is no start of the run.
    begun = settings.init is not None and Path(settings.init).parent in [folder / name for name in FIRST_PHASES]
    starts = resume_from is None and not begun and (settings.init or settings.teacher) is not None
    start = start_recorded(folder, messages if starts else [], ranks)
    measured = held_out(spec_of_run(settings), corpus.shards, corpus.tokenizer)
    length, precision = settings.data.sequence_length, settings.loop.precision
    probe = open_probe(settings.watch, corpus.tokenizer, pretraining_models.main_network(objective).encoder, ranks.device, precision, length)
    several = settings.output != folder or spent
    name = LAST_PHASE if spent else FIRST_PHASES.get(settings.output.name, LAST_PHASE)
    phase = Phase(name=name, run=folder, before=spent or {}) if several else None
    log = open_log(settings, corpus, objective, ranks, messages, fresh=resume_from is None, phase=phase)
    metrics = {} if resume_from is None else last_evaluation(settings.output, checkpoint.read_state(resume_from)["step"])

    def evaluate() -> dict[str, float]:
        metrics.clear()
        metrics.update(evaluation.evaluate(objective, measured, ranks.device, settings.loop.precision))
        return dict(metrics)

    def save(folder: Path) -> None:
        card = pretraining_card(settings, corpus.describe(), metrics, start)
        extra = input_spec.record(None, length) | record(settings, objective)
        pretraining_models.save(objective, folder, tokenizer=corpus.tokenizer_path, card=card, extra=extra, max_length=length)

    if warning := memory_warning(settings, corpus, objective, ranks):
        log.message(warning)
    run = loop.Run(
        objective=objective,
        stream=open_stream(settings, corpus, settings.loop.batch_size, ranks),
        settings=settings.loop,
        optimizer=settings.optimizer,
        log=log,
        save=save,
        evaluate=evaluate if measured else None,
        probes=[] if probe is None else [(settings.watch.probe_every, probe)],
        separate_parameters=pretraining_models.generator_alone(objective),
        ranks=ranks,
    )
    return run.train(resume_from), metrics


def memory_warning(settings: PretrainSettings, corpus: Corpus, objective: PretrainingObjective, ranks: Ranks) -> str:
    """A line where a few examples show that a batch needs more memory than there is, else ''.

    Not of several ranks: an objective may exchange vectors with the others.
    """
    from electra.pretraining.setup import open_stream
    from electra.train import timing

    if ranks.world_size > 1:
        return ""
    few = min(4, settings.loop.batch_size)
    batch = next(open_stream(settings, corpus, few, ranks))
    needed = timing.memory_needed(objective, batch, few, settings.loop, ranks, settings.optimizer.moments)
    return timing.memory_warning(needed, ranks) or ""


def with_the_runs_batch(settings: PretrainSettings, ranks: Ranks, folder: Path) -> tuple[PretrainSettings, Path | None]:
    """A phase of the run in `folder` -> the same with this rank's part of the global batch, and the checkpoint it resumes from (None: a fresh
    start). A resumed run keeps its global batch, whatever the number of ranks is now: the last phase that of the first one."""
    from electra.train import checkpoint

    if not settings.resume:
        return replace(settings, loop=checkpoint.split_global_batch(settings.loop, None, ranks.world_size)), None
    places = (settings.output, *(folder / name for name in FIRST_PHASES))
    own, *earlier = ranks.agree([checkpoint.latest_checkpoint(place) for place in places])
    reference = own or next(filter(None, earlier), None)
    return replace(settings, loop=checkpoint.split_global_batch(settings.loop, reference, ranks.world_size)), own


def last_evaluation(phase: Path, step: int) -> dict[str, float]:
    """The held-out metrics that a phase's metrics.jsonl has of its checkpoint at `step`, or of the last evaluation before it; empty without one."""
    from electra.train.run_log import PLACE, read_metrics

    name = FIRST_PHASES.get(phase.name, LAST_PHASE)
    file = phase / "metrics.jsonl"
    for line in reversed(read_metrics(file) if file.exists() else []):
        mine = line.get("kind") == "evaluation" and line.get("phase", name) == name and line.get("phase_step", line["step"]) <= step
        if mine and (found := {key: value for key, value in line.items() if key not in PLACE and not key.startswith("probe_")}):
            return found
    return {}


def start_recorded(run: Path, lines: Sequence[str], ranks: Ranks) -> list[str]:
    """Add lines to RUN/start.json, what the run's networks start from -> all of them."""
    file = run / "start.json"
    if ranks.first and lines:
        known = atomic.read_json(file, list) if file.exists() else []
        atomic.write_text(file, json.dumps(list(dict.fromkeys([*known, *lines])), indent=1, ensure_ascii=False) + "\n")
    found: list[str] = atomic.read_json(file, list) if ranks.first and file.exists() else []
    return found


def open_log(
    settings: PretrainSettings,
    corpus: Corpus,
    objective: PretrainingObjective,
    ranks: Ranks,
    messages: list[str],
    *,
    fresh: bool,
    phase: Phase | None = None,
) -> RunLog:
    """The run directory's log; it starts with `messages` and, in a new run, some corrupted examples."""
    from electra.pretraining.dry_run import examples_shown
    from electra.pretraining.setup import cost, open_stream
    from electra.train.distributed import Ranks
    from electra.train.run_log import RunLog

    price = cost(settings, corpus.tokenizer.vocab_size, ranks)
    title, own = f"pretrain {settings.preset}", replace(settings, resume=False)
    if phase is not None and settings.output != phase.run and ranks.first:
        # Of a phase that goes on with another length: what it has in the end says what the next one has left.
        atomic.write_text(settings.output / "config.toml", config.to_toml(own))
    log = RunLog(settings.output, own, title=title, active=ranks.first, cost=price, logging=loggers(settings), phase=phase)
    for message in messages:
        log.message(message)
    if ranks.first and fresh and settings.watch.show_examples > 0:
        first = next(open_stream(settings, corpus, settings.watch.show_examples, Ranks(0, 1, ranks.device)))
        log.message("\n".join(examples_shown(objective, first, corpus.tokenizer)))
    return log
